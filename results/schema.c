/* The schema as text. Times are microseconds UTC, hashes 32-byte blobs, JSON is checked text; all tables are STRICT.
 * Anything a stock sqlite3 cannot compute (roots, percentiles) is a stored column, so that every view works anywhere:
 * sqlite3 3.38 without compile-time options. Migrations from older versions stand below the tables. */
#include "results/schema.h"

#include <string.h>
#include "base/buf.h"
#include "base/log.h"
#include "metrics/stats.h"

// clang-format off
#define JSON(col) col " TEXT CHECK(" col " IS NULL OR json_valid(" col "))"

/* The key comes first: integrity_check of SQLite 3.40 misreads a table without rowid whose key columns do not. */
#define TRIAL_DEP                                                                                                    \
    "CREATE TABLE trial_dep(trial_id INTEGER NOT NULL REFERENCES trial, alias TEXT NOT NULL,"                        \
    " upstream_id INTEGER NOT NULL REFERENCES trial, PRIMARY KEY(trial_id, alias)) STRICT, WITHOUT ROWID;"

static const char TABLES[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT) STRICT;"
    "CREATE TABLE lease(id INTEGER PRIMARY KEY CHECK(id=1), host TEXT, pid INTEGER, job TEXT, started INTEGER, beat INTEGER)"
    " STRICT;"
    "CREATE TABLE state_name(state INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;"
    "CREATE TABLE reason_name(reason INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;"
    "CREATE TABLE sweep(sweep_id INTEGER PRIMARY KEY, name TEXT NOT NULL, file_hash BLOB NOT NULL, started INTEGER,"
    " ended INTEGER, " JSON("argv") ", " JSON("report") ", tool_version TEXT, git_commit TEXT, git_dirty INTEGER,"
    " supersedes INTEGER REFERENCES sweep) STRICT;"
    "CREATE TABLE sweep_source(sweep_id INTEGER NOT NULL REFERENCES sweep, path TEXT NOT NULL, sha256 BLOB, text BLOB,"
    " PRIMARY KEY(sweep_id, path)) STRICT;"
    "CREATE TABLE stage(stage_id INTEGER PRIMARY KEY, sweep_id INTEGER NOT NULL REFERENCES sweep, name TEXT NOT NULL,"
    " kind TEXT NOT NULL, " JSON("objective") ", " JSON("limits") ", " JSON("resources") ", UNIQUE(sweep_id, name)) STRICT;"
    "CREATE TABLE config(config_id INTEGER PRIMARY KEY, key INTEGER NOT NULL, hash BLOB NOT NULL, kind TEXT NOT NULL,"
    " model TEXT, task TEXT, params TEXT NOT NULL CHECK(json_valid(params) AND json_type(params)='object'),"
    " model_schema INTEGER, data_fp BLOB) STRICT;"
    "CREATE INDEX config_key ON config(key);"
    "CREATE TABLE trial(trial_id INTEGER PRIMARY KEY, key INTEGER NOT NULL, hash BLOB NOT NULL,"
    " config_id INTEGER NOT NULL REFERENCES config, seed INTEGER NOT NULL, state INTEGER NOT NULL REFERENCES state_name,"
    " epoch INTEGER NOT NULL, priority REAL NOT NULL, attempts INTEGER NOT NULL, best_attempt INTEGER REFERENCES attempt)"
    " STRICT;"
    "CREATE INDEX trial_key ON trial(key);"
    "CREATE INDEX trial_config ON trial(config_id);"
    "CREATE INDEX trial_state ON trial(state);"
    "CREATE TABLE sweep_trial(sweep_id INTEGER NOT NULL REFERENCES sweep, stage_id INTEGER NOT NULL REFERENCES stage,"
    " ordinal INTEGER NOT NULL, trial_id INTEGER NOT NULL REFERENCES trial, reused INTEGER NOT NULL,"
    " PRIMARY KEY(sweep_id, stage_id, ordinal)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX sweep_trial_trial ON sweep_trial(trial_id);"
    TRIAL_DEP
    "CREATE TABLE env(env_id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, host TEXT, kernel TEXT, cpu TEXT, mem ANY,"
    " driver TEXT, cuda TEXT, nccl TEXT, cudnn TEXT, mpi TEXT, compiler TEXT, flags TEXT, code_fp TEXT, modules TEXT,"
    " " JSON("vars") ", container TEXT, git_commit TEXT, git_dirty INTEGER, " JSON("libraries") ", precision TEXT,"
    " threads INTEGER, " JSON("environment") ") STRICT;"
    "CREATE TABLE gpu(gpu_id INTEGER PRIMARY KEY, uuid TEXT UNIQUE, model TEXT, mem INTEGER, vbios TEXT, pci TEXT,"
    " sm INTEGER) STRICT;"
    "CREATE TABLE attempt(attempt_id INTEGER PRIMARY KEY, trial_id INTEGER NOT NULL REFERENCES trial, n INTEGER NOT NULL,"
    " epoch INTEGER NOT NULL, run_id INTEGER, queued INTEGER, started INTEGER, ended INTEGER,"
    " reason INTEGER NOT NULL REFERENCES reason_name, exit_code INTEGER, signal INTEGER, message TEXT, resumed_from TEXT,"
    " gpus INTEGER, gpu_seconds REAL, max_rss INTEGER, max_gpu_mem INTEGER, energy_j REAL, log_path TEXT,"
    " UNIQUE(trial_id, n)) STRICT;"
    "CREATE INDEX attempt_live ON attempt(trial_id) WHERE ended IS NULL;"
    "CREATE INDEX attempt_bad ON attempt(ended) WHERE reason > 1;"
    "CREATE TABLE attempt_rank(attempt_id INTEGER NOT NULL REFERENCES attempt, rank INTEGER NOT NULL, host TEXT,"
    " gpu_id INTEGER REFERENCES gpu, cpus TEXT, env_id INTEGER REFERENCES env, pid INTEGER, exit_code INTEGER,"
    " signal INTEGER, PRIMARY KEY(attempt_id, rank)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE metric(metric_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, unit TEXT, better INTEGER) STRICT;"
    "CREATE TABLE point(attempt_id INTEGER NOT NULL REFERENCES attempt, metric_id INTEGER NOT NULL REFERENCES metric,"
    " step INTEGER NOT NULL, value REAL NOT NULL, PRIMARY KEY(attempt_id, metric_id, step)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE result(trial_id INTEGER NOT NULL REFERENCES trial, metric_id INTEGER NOT NULL REFERENCES metric,"
    " split TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY(trial_id, metric_id, split)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE leaderboard(config_id INTEGER NOT NULL REFERENCES config, metric_id INTEGER NOT NULL REFERENCES metric,"
    " split TEXT NOT NULL, n INTEGER NOT NULL, mean REAL NOT NULL, sd REAL, ci95_lo REAL, ci95_hi REAL,"
    " PRIMARY KEY(config_id, metric_id, split)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE latency(attempt_id INTEGER NOT NULL REFERENCES attempt, name TEXT NOT NULL, n INTEGER NOT NULL,"
    " unit_ns REAL NOT NULL, samples BLOB NOT NULL, p50 REAL, p90 REAL, p99 REAL, p90_bound REAL, p99_bound REAL, mean REAL,"
    " sd REAL, min REAL, max REAL, p50_lo REAL, p50_hi REAL, h2d REAL, d2h REAL, flags INTEGER, " JSON("clocks") ","
    " PRIMARY KEY(attempt_id, name)) STRICT;"
    "CREATE TABLE artifact(artifact_id INTEGER PRIMARY KEY, attempt_id INTEGER NOT NULL REFERENCES attempt, name TEXT,"
    " kind TEXT, path TEXT NOT NULL, bytes INTEGER, sha256 BLOB, step INTEGER, created INTEGER, deleted INTEGER) STRICT;"
    "CREATE INDEX artifact_attempt ON artifact(attempt_id);"
    "CREATE TABLE published(source TEXT NOT NULL, config_match TEXT NOT NULL CHECK(json_valid(config_match)),"
    " metric_id INTEGER NOT NULL REFERENCES metric, value REAL NOT NULL, sd REAL, note TEXT, origin TEXT NOT NULL) STRICT;"
    "CREATE TABLE event(event_id INTEGER PRIMARY KEY, t INTEGER NOT NULL, level TEXT NOT NULL, host TEXT,"
    " attempt_id INTEGER, code TEXT, text TEXT) STRICT;"
    "CREATE TABLE tcrit(df INTEGER PRIMARY KEY, c90 REAL, c95 REAL, c99 REAL) STRICT;";

/* New in version 2: counters that `status` reads, where attempts ran, the numbers of attempts that do not count. */
static const char TABLES_2[] =
    "CREATE TABLE tally(sweep_id INTEGER NOT NULL, state INTEGER NOT NULL REFERENCES state_name, trials INTEGER NOT NULL,"
    " PRIMARY KEY(sweep_id, state)) STRICT, WITHOUT ROWID;"  /* sweep 0: the whole file */
    "CREATE TABLE usage(env_id INTEGER NOT NULL, host TEXT NOT NULL, attempts INTEGER NOT NULL, first INTEGER, last INTEGER,"
    " PRIMARY KEY(env_id, host)) STRICT, WITHOUT ROWID;"     /* attempts that ended ok; environment 0: not known */
    "CREATE TABLE attempt_result(attempt_id INTEGER NOT NULL REFERENCES attempt, metric_id INTEGER NOT NULL REFERENCES metric,"
    " split TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY(attempt_id, metric_id, split)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX leaderboard_best ON leaderboard(metric_id, split, mean);";

#define FILL_TALLY                                                                                                          \
    "INSERT INTO tally SELECT 0, state, count(*) FROM trial GROUP BY state;"                                                 \
    "INSERT INTO tally SELECT sweep_id, state, count(*) FROM (SELECT DISTINCT sweep_id, trial_id FROM sweep_trial)"          \
    " JOIN trial USING(trial_id) GROUP BY 1, 2;"
#define FILL_USAGE                                                                                                          \
    "INSERT INTO usage SELECT coalesce(k.env_id,0), coalesce(k.host,''), count(*), min(a.started), max(a.ended)"             \
    " FROM attempt a LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0 WHERE a.reason=1 GROUP BY 1, 2;"

static const char SUMMARIES[] = "DELETE FROM tally;" FILL_TALLY "DELETE FROM usage;" FILL_USAGE;

/* What a file of version v needs to become v+1, beside new tables and views. */
static const char TO_2[] =
    "DROP TABLE trial_dep;" /* which version 1 never filled */ TRIAL_DEP
    "ALTER TABLE env ADD COLUMN git_commit TEXT;"
    "ALTER TABLE env ADD COLUMN git_dirty INTEGER;"
    "ALTER TABLE env ADD COLUMN " JSON("libraries") ";"
    "ALTER TABLE env ADD COLUMN precision TEXT;"
    "ALTER TABLE env ADD COLUMN threads INTEGER;"
    "ALTER TABLE env ADD COLUMN " JSON("environment") ";"
    "UPDATE env SET git_commit=json_extract(vars,'$.commit'), git_dirty=json_extract(vars,'$.commit_dirty')<>0,"
    " libraries=iif(json_extract(vars,'$.onednn') IS NULL,NULL,json_object('onednn',json_extract(vars,'$.onednn'))),"
    " precision=json_extract(vars,'$.precision'), threads=CAST(json_extract(vars,'$.threads') AS INTEGER)"
    " WHERE json_type(vars)='object';";

static const char DROP_VIEWS[] =
    "DROP VIEW IF EXISTS v_trial;DROP VIEW IF EXISTS v_leaderboard;DROP VIEW IF EXISTS v_progress;"
    "DROP VIEW IF EXISTS v_failures;DROP VIEW IF EXISTS v_latency;DROP VIEW IF EXISTS v_cost;"
    "DROP VIEW IF EXISTS v_provenance;";

static const char VIEWS[] =
    "CREATE VIEW v_leaderboard AS SELECT c.config_id, c.kind, c.model, c.task, m.name AS metric, l.split, l.n, l.mean,"
    " l.sd, l.ci95_lo, l.ci95_hi, m.unit, m.better, c.params FROM leaderboard l JOIN config c USING(config_id)"
    " JOIN metric m USING(metric_id);"
    "CREATE VIEW v_progress AS SELECT w.sweep_id, w.name AS sweep, g.name AS stage, n.name AS state, count(*) AS trials"
    " FROM sweep_trial st JOIN sweep w USING(sweep_id) JOIN stage g USING(stage_id) JOIN trial t USING(trial_id)"
    " JOIN state_name n USING(state) GROUP BY w.sweep_id, g.stage_id, n.state;"
    "CREATE VIEW v_failures AS SELECT a.attempt_id, a.trial_id, lower(hex(substr(t.hash,1,6))) AS trial, a.n,"
    " r.name AS reason, a.exit_code, a.signal, a.message, k.host, a.log_path, a.ended, s.name AS trial_state"
    " FROM attempt a JOIN trial t USING(trial_id) JOIN reason_name r USING(reason) JOIN state_name s USING(state)"
    " LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0 WHERE a.reason > 1;"
    "CREATE VIEW v_latency AS SELECT l.attempt_id, a.trial_id, c.model, c.task, t.seed, l.name, l.n, l.p50/1e6 AS p50_ms,"
    " l.p90/1e6 AS p90_ms, l.p99/1e6 AS p99_ms, l.p90_bound/1e6 AS p90_bound_ms, l.mean/1e6 AS mean_ms,"
    " l.min/1e6 AS min_ms, l.max/1e6 AS max_ms, l.p50_lo/1e6 AS p50_lo_ms, l.p50_hi/1e6 AS p50_hi_ms, l.flags,"
    " (l.flags & 1) <> 0 AS drift, (l.flags & 2) <> 0 AS short, (l.flags & 4) <> 0 AS shared, (l.flags & 8) <> 0 AS throttled,"
    " (l.flags & 16) <> 0 AS unlocked_clocks, (l.flags & 13) <> 0 AS suspect, t.best_attempt=l.attempt_id AS counts,"
    " k.host, v.cpu, g.model AS gpu, v.driver, coalesce(json_extract(c.params,'$.precision'), v.precision) AS precision,"
    " v.threads, v.code_fp, l.clocks, c.params"
    " FROM latency l JOIN attempt a USING(attempt_id) JOIN trial t USING(trial_id) JOIN config c USING(config_id)"
    " LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0 LEFT JOIN env v USING(env_id)"
    " LEFT JOIN gpu g USING(gpu_id);"
    "CREATE VIEW v_cost AS SELECT c.config_id, c.kind, c.model, c.task, count(*) AS attempts,"
    " sum(a.ended-a.started)/1e6 AS seconds, sum(a.gpu_seconds) AS gpu_seconds, sum(a.energy_j) AS energy_j,"
    " max(a.max_rss) AS max_rss FROM attempt a JOIN trial t USING(trial_id)"
    " JOIN config c USING(config_id) WHERE a.ended IS NOT NULL GROUP BY c.config_id;"
    "CREATE VIEW v_provenance AS SELECT a.attempt_id, a.trial_id, lower(hex(substr(t.hash,1,6))) AS trial, a.n,"
    " (SELECT w.name FROM sweep_trial st JOIN sweep w USING(sweep_id) WHERE st.trial_id=t.trial_id ORDER BY w.sweep_id DESC"
    " LIMIT 1) AS sweep, r.name AS reason, t.best_attempt=a.attempt_id AS counts, c.kind, c.model, c.task, t.seed,"
    " lower(hex(c.data_fp)) AS data_fingerprint, v.git_commit, v.git_dirty, v.code_fp, v.compiler, v.flags, v.libraries,"
    " k.host, v.kernel, v.cpu, v.mem, k.cpus AS cores, v.threads,"
    " coalesce(json_extract(c.params,'$.precision'), v.precision) AS precision, g.model AS gpu, g.uuid AS gpu_uuid, g.vbios,"
    " v.driver, v.cuda, v.cudnn, v.nccl, v.mpi, v.modules, v.container, v.environment,"
    " (SELECT l.clocks FROM latency l WHERE l.attempt_id=a.attempt_id ORDER BY l.name LIMIT 1) AS clocks,"
    " a.resumed_from, a.started, a.ended"
    " FROM attempt a JOIN trial t USING(trial_id) JOIN config c USING(config_id) JOIN reason_name r USING(reason)"
    " LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0 LEFT JOIN env v USING(env_id)"
    " LEFT JOIN gpu g USING(gpu_id);";
// clang-format on

static int fill_names(avs_store *s, avs_err *e)
{
    int rc = AVS_OK;
    for (int i = 0; i < AVS_TRIAL_STATES; i++)
        AVS_TRY(avs_db_run(s, e, "INSERT INTO state_name VALUES(?,?)", "it", (int64_t)i,
                           avs_trial_state_name((avs_trial_state)i)));
    for (int i = 0; i < AVS_END_REASONS; i++)
        AVS_TRY(avs_db_run(s, e, "INSERT INTO reason_name VALUES(?,?)", "it", (int64_t)i,
                           avs_end_reason_name((avs_end_reason)i)));
    for (int df = 1; df <= 200; df++)
        AVS_TRY(avs_db_run(s, e, "INSERT INTO tcrit VALUES(?,?,?,?)", "iddd", (int64_t)df,
                           avs_t_quantile(0.95, df), avs_t_quantile(0.975, df), avs_t_quantile(0.995, df)));
out:
    return rc;
}

int avs_schema_create(avs_store *s, const char *tool_version, avs_err *e)
{
    char number[32];
    int rc;

    sqlite3_snprintf(sizeof number, number, "%d", AVS_STORE_SCHEMA_VERSION);
    AVS_TRY(avs_db_script(s, "PRAGMA page_size=8192", e));
    AVS_TRY(avs_db_script(s, "BEGIN IMMEDIATE", e));
    char pragmas[96];
    sqlite3_snprintf(sizeof pragmas, pragmas, "PRAGMA application_id=%d;PRAGMA user_version=%d",
                     AVS_STORE_APPLICATION_ID, AVS_STORE_SCHEMA_VERSION);
    AVS_TRY(avs_db_script(s, pragmas, e));
    AVS_TRY(avs_db_script(s, TABLES, e));
    AVS_TRY(avs_db_script(s, TABLES_2, e));
    AVS_TRY(avs_db_script(s, VIEWS, e));
    AVS_TRY(fill_names(s, e));
    AVS_TRY(avs_db_run(s, e, "INSERT INTO meta VALUES('schema_version',?)", "t", number));
    AVS_TRY(avs_db_run(s, e, "INSERT INTO meta VALUES('created',?)", "i", avs_wall_us()));
    AVS_TRY(avs_db_run(s, e, "INSERT INTO meta VALUES('tool_version',?)", "t",
                       tool_version ? tool_version : "unknown"));
    AVS_TRY(avs_schema_trial_view(s, e));
    AVS_TRY(avs_db_script(s, "COMMIT", e));
out:
    if (rc != AVS_OK && !sqlite3_get_autocommit(s->db)) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

int avs_schema_upgrade(avs_store *s, int from, const char *tool_version, avs_err *e)
{
    char text[96];
    int rc;

    AVS_TRY(avs_db_script(s, DROP_VIEWS, e));
    if (from < 2) {
        AVS_TRY(avs_db_script(s, TO_2, e));
        AVS_TRY(avs_db_script(s, TABLES_2, e));
    }
    AVS_TRY(avs_db_script(s, SUMMARIES, e));
    AVS_TRY(avs_db_script(s, VIEWS, e));
    AVS_TRY(avs_schema_trial_view(s, e));
    sqlite3_snprintf(sizeof text, text, "PRAGMA user_version=%d", AVS_STORE_SCHEMA_VERSION);
    AVS_TRY(avs_db_script(s, text, e));
    AVS_TRY(avs_db_run(s, e, "INSERT OR REPLACE INTO meta VALUES('schema_version',CAST(? AS TEXT))", "i",
                       (int64_t)AVS_STORE_SCHEMA_VERSION));
    AVS_TRY(avs_db_run(s, e, "INSERT OR REPLACE INTO meta VALUES('migrated_from',CAST(? AS TEXT))", "i",
                       (int64_t)from));
    AVS_TRY(avs_db_run(s, e, "INSERT OR REPLACE INTO meta VALUES('tool_version',?)", "t",
                       tool_version ? tool_version : "unknown"));
out:
    return rc;
}

int avs_schema_summaries(avs_store *s, avs_err *e)
{
    return avs_db_script(s, SUMMARIES, e);
}

/* Only names of this alphabet become columns; others stay reachable through the params column. */
static bool is_plain(const char *name)
{
    return *name && strlen(name) < 128 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") == strlen(name);
}

/* Column names are case-insensitive in SQL; the fixed ones come first and win. */
static const char *const fixed[] = {"trial_id", "trial", "config_id", "kind",     "model",
                                    "task",     "seed",  "state",     "attempts", "params",
                                    "started",  "ended", "host",      "reason",   "metrics"};

static bool is_taken(const char *name)
{
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (sqlite3_stricmp(fixed[i], name) == 0) return true;
    return false;
}

enum { MAX_COLUMNS = 900 }; /* below SQLite's default limit of 2000, params and metrics each */

int avs_schema_trial_view(avs_store *s, avs_err *e)
{
    avs_buf sql = AVS_BUF_INIT;
    sqlite3_stmt *st = NULL;
    bool row = false;
    int rc, n = 0;

    avs_buf_str(
        &sql,
        "CREATE VIEW v_trial AS SELECT t.trial_id, lower(hex(substr(t.hash,1,6))) AS trial, t.config_id,"
        " c.kind, c.model, c.task, t.seed, n.name AS state, t.attempts, c.params, a.started, a.ended,"
        " k.host");
    AVS_TRY(avs_db_bind(s, &st, e, "SELECT DISTINCT j.key FROM config, json_each(config.params) j ORDER BY 1",
                        ""));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row) {
        const char *name = avs_db_text(st, 0);
        if (is_plain(name) && !is_taken(name) && n++ < MAX_COLUMNS)
            avs_buf_fmt(&sql, ", json_extract(c.params, '$.\"%s\"') AS \"%s\"", name, name);
    }
    if (rc != AVS_OK) goto out;
    n = 0;
    AVS_TRY(avs_db_bind(s, &st, e,
                        "SELECT metric_id, name FROM metric WHERE metric_id IN (SELECT metric_id FROM result)"
                        " ORDER BY 1",
                        ""));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row) {
        const char *name = avs_db_text(st, 1);
        if (is_plain(name) && n++ < MAX_COLUMNS)
            avs_buf_fmt(&sql,
                        ", (SELECT r.value FROM result r WHERE r.trial_id=t.trial_id AND r.metric_id=%lld"
                        " ORDER BY CASE r.split WHEN 'test' THEN 0 WHEN '' THEN 1 ELSE 2 END LIMIT 1) AS "
                        "\"metric.%s\"",
                        (long long)sqlite3_column_int64(st, 0), name);
    }
    if (rc != AVS_OK) goto out;
    avs_buf_str(&sql, " FROM trial t JOIN config c USING(config_id) JOIN state_name n USING(state)"
                      " LEFT JOIN attempt a ON a.attempt_id=t.best_attempt"
                      " LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0");
    if (!avs_buf_ok(&sql)) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for the text of view v_trial");
        goto out;
    }
    AVS_TRY(avs_db_script(s, "DROP VIEW IF EXISTS v_trial", e));
    AVS_TRY(avs_db_script(s, sql.data, e));
    s->view_is_stale = false;
out:
    avs_buf_free(&sql);
    return rc;
}
