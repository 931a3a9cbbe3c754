/* The union of two files by hash, as a list of statements over an attached database. Temporary tables map ids of the other
 * file to ids here; every statement after the maps only reads them. */
#include <string.h>
#include "base/log.h"
#include "results/db.h"
#include "results/maintain.h"
#include "results/schema.h"

// clang-format off
/* Names and machines: whatever both files call the same is one row. */
static const char NAMES[] =
    "INSERT INTO main.metric(name, unit, better) SELECT name, unit, better FROM src.metric WHERE name NOT IN (SELECT name"
    " FROM main.metric);"
    "CREATE TEMP TABLE m_metric(src INTEGER PRIMARY KEY, dst INTEGER NOT NULL);"
    "INSERT INTO m_metric SELECT a.metric_id, b.metric_id FROM src.metric a JOIN main.metric b USING(name);"
    "INSERT INTO main.env(hash, host, kernel, cpu, mem, driver, cuda, nccl, cudnn, mpi, compiler, flags, code_fp, modules,"
    " vars, container, git_commit, git_dirty, libraries, precision, threads, environment) SELECT hash, host, kernel, cpu, mem,"
    " driver, cuda, nccl, cudnn, mpi, compiler, flags, code_fp, modules, vars, container, git_commit, git_dirty, libraries,"
    " precision, threads, environment FROM src.env WHERE hash NOT IN (SELECT hash FROM main.env);"
    "CREATE TEMP TABLE m_env(src INTEGER PRIMARY KEY, dst INTEGER NOT NULL);"
    "INSERT INTO m_env SELECT a.env_id, b.env_id FROM src.env a JOIN main.env b USING(hash);"
    "INSERT INTO main.gpu(uuid, model, mem, vbios, pci, sm) SELECT uuid, model, mem, vbios, pci, sm FROM src.gpu WHERE uuid IS"
    " NOT NULL AND uuid NOT IN (SELECT uuid FROM main.gpu WHERE uuid IS NOT NULL);"
    "CREATE TEMP TABLE m_gpu(src INTEGER PRIMARY KEY, dst INTEGER NOT NULL);"
    "INSERT INTO m_gpu SELECT a.gpu_id, b.gpu_id FROM src.gpu a JOIN main.gpu b USING(uuid);";

static const char CONFIGS[] =
    "INSERT INTO main.config(key, hash, kind, model, task, params, model_schema, data_fp) SELECT key, hash, kind, model, task,"
    " params, model_schema, data_fp FROM src.config c WHERE NOT EXISTS(SELECT 1 FROM main.config m WHERE m.key=c.key AND"
    " m.hash=c.hash) ORDER BY config_id";
/* What is not done there waits here, whatever it waits for there; a running trial waits too. */
static const char TRIALS[] =
    "INSERT INTO main.trial(key, hash, config_id, seed, state, epoch, priority, attempts) SELECT t.key, t.hash, m.dst, t.seed,"
    " iif(t.state IN (1,2),0,t.state), t.epoch, t.priority, 0 FROM src.trial t JOIN m_config m ON m.src=t.config_id WHERE NOT"
    " EXISTS(SELECT 1 FROM main.trial u WHERE u.key=t.key AND u.hash=t.hash) ORDER BY t.trial_id";
static const char CONFIG_MAP[] =
    "CREATE TEMP TABLE m_config(src INTEGER PRIMARY KEY, dst INTEGER NOT NULL);"
    "INSERT INTO m_config SELECT c.config_id, m.config_id FROM src.config c JOIN main.config m ON m.key=c.key AND"
    " m.hash=c.hash;";
static const char TRIAL_MAP[] =
    "CREATE TEMP TABLE m_trial(src INTEGER PRIMARY KEY, dst INTEGER NOT NULL);"
    "INSERT INTO m_trial SELECT t.trial_id, u.trial_id FROM src.trial t JOIN main.trial u ON u.key=t.key AND u.hash=t.hash;"
    "INSERT OR IGNORE INTO main.trial_dep SELECT a.dst, d.alias, b.dst FROM src.trial_dep d JOIN m_trial a ON"
    " a.src=d.trial_id JOIN m_trial b ON b.src=d.upstream_id;"
    /* attempts that are here already, from an earlier merge */
    "CREATE TEMP TABLE m_attempt(src INTEGER PRIMARY KEY, dst INTEGER NOT NULL, fresh INTEGER NOT NULL);"
    "INSERT INTO m_attempt SELECT a.attempt_id, min(b.attempt_id), 0 FROM src.attempt a JOIN m_trial m ON m.src=a.trial_id"
    " JOIN main.attempt b ON b.trial_id=m.dst AND b.started IS a.started AND b.ended IS a.ended AND b.reason=a.reason AND"
    " b.run_id IS a.run_id LEFT JOIN src.attempt_rank ka ON ka.attempt_id=a.attempt_id AND ka.rank=0 LEFT JOIN"
    " main.attempt_rank kb ON kb.attempt_id=b.attempt_id AND kb.rank=0 WHERE a.ended IS NOT NULL AND ka.host IS kb.host"
    " GROUP BY a.attempt_id;"
    "INSERT INTO m_attempt SELECT a.attempt_id, (SELECT coalesce(max(attempt_id),0) FROM main.attempt)+row_number() OVER"
    " (ORDER BY a.attempt_id), 1 FROM src.attempt a WHERE a.ended IS NOT NULL AND a.attempt_id NOT IN (SELECT src FROM"
    " m_attempt);";
static const char ATTEMPTS[] =
    "INSERT INTO main.attempt(attempt_id, trial_id, n, epoch, run_id, queued, started, ended, reason, exit_code, signal,"
    " message, resumed_from, gpus, gpu_seconds, max_rss, max_gpu_mem, energy_j, log_path) SELECT x.dst, m.dst,"
    " (SELECT coalesce(max(b.n),0) FROM main.attempt b WHERE b.trial_id=m.dst)+row_number() OVER (PARTITION BY m.dst ORDER BY"
    " a.n), a.epoch, a.run_id, a.queued, a.started, a.ended, a.reason, a.exit_code, a.signal, a.message, a.resumed_from,"
    " a.gpus, a.gpu_seconds, a.max_rss, a.max_gpu_mem, a.energy_j, a.log_path FROM src.attempt a JOIN m_attempt x ON"
    " x.src=a.attempt_id AND x.fresh JOIN m_trial m ON m.src=a.trial_id";
static const char OF_ATTEMPTS[] =
    "INSERT INTO main.attempt_rank SELECT x.dst, k.rank, k.host, g.dst, k.cpus, v.dst, k.pid, k.exit_code, k.signal FROM"
    " src.attempt_rank k JOIN m_attempt x ON x.src=k.attempt_id AND x.fresh LEFT JOIN m_gpu g ON g.src=k.gpu_id LEFT JOIN"
    " m_env v ON v.src=k.env_id;"
    "INSERT INTO main.point SELECT x.dst, m.dst, p.step, p.value FROM src.point p JOIN m_attempt x ON x.src=p.attempt_id AND"
    " x.fresh JOIN m_metric m ON m.src=p.metric_id;"
    "INSERT INTO main.latency(attempt_id, name, n, unit_ns, samples, p50, p90, p99, p90_bound, p99_bound, mean, sd, min, max,"
    " p50_lo, p50_hi, h2d, d2h, flags, clocks) SELECT x.dst, name, n, unit_ns, samples, p50, p90, p99, p90_bound, p99_bound,"
    " mean, sd, min, max, p50_lo, p50_hi, h2d, d2h, flags, clocks FROM src.latency l JOIN m_attempt x ON x.src=l.attempt_id"
    " AND x.fresh;"
    "INSERT INTO main.artifact(attempt_id, name, kind, path, bytes, sha256, step, created, deleted) SELECT x.dst, name, kind,"
    " path, bytes, sha256, step, created, deleted FROM src.artifact f JOIN m_attempt x ON x.src=f.attempt_id AND x.fresh;"
    "INSERT INTO main.attempt_result SELECT x.dst, m.dst, r.split, r.value FROM src.attempt_result r JOIN m_attempt x ON"
    " x.src=r.attempt_id AND x.fresh JOIN m_metric m ON m.src=r.metric_id;"
    "UPDATE main.trial SET attempts=(SELECT coalesce(max(a.n),0) FROM main.attempt a WHERE a.trial_id=trial.trial_id),"
    " epoch=max(epoch,(SELECT t.epoch FROM src.trial t JOIN m_trial m ON m.src=t.trial_id WHERE m.dst=trial.trial_id))"
    " WHERE trial_id IN (SELECT m.dst FROM m_trial m JOIN src.attempt a ON a.trial_id=m.src JOIN m_attempt x ON"
    " x.src=a.attempt_id AND x.fresh);";

/* Trials done there: either not done here, then they are taken; or done here by another attempt, then both stay. */
static const char DONE[] =
    "CREATE TEMP TABLE m_done(src INTEGER PRIMARY KEY, dst INTEGER NOT NULL, attempt INTEGER NOT NULL, taken INTEGER NOT"
    " NULL);"
    "INSERT INTO m_done SELECT t.trial_id, u.trial_id, x.dst, u.state<>2 FROM src.trial t JOIN m_trial m ON m.src=t.trial_id"
    " JOIN main.trial u ON u.trial_id=m.dst JOIN m_attempt x ON x.src=t.best_attempt WHERE t.state=2 AND (u.state<>2 OR"
    " u.best_attempt<>x.dst);"
    "INSERT INTO main.result SELECT d.dst, m.dst, r.split, r.value FROM m_done d JOIN src.result r ON r.trial_id=d.src JOIN"
    " m_metric m ON m.src=r.metric_id WHERE d.taken;"
    "INSERT OR IGNORE INTO main.attempt_result SELECT d.attempt, m.dst, r.split, r.value FROM m_done d JOIN src.result r ON"
    " r.trial_id=d.src JOIN m_metric m ON m.src=r.metric_id WHERE NOT d.taken;"
    "UPDATE main.trial SET state=2, best_attempt=(SELECT attempt FROM m_done WHERE dst=trial.trial_id) WHERE trial_id IN"
    " (SELECT dst FROM m_done WHERE taken);"
    "CREATE TEMP TABLE m_board AS SELECT DISTINCT t.config_id, r.metric_id, r.split FROM m_done d JOIN main.trial t ON"
    " t.trial_id=d.dst JOIN main.result r ON r.trial_id=d.dst WHERE d.taken;";

static const char SWEEPS[] =
    "CREATE TEMP TABLE m_sweep(src INTEGER PRIMARY KEY, dst INTEGER NOT NULL, fresh INTEGER NOT NULL);"
    "INSERT INTO m_sweep SELECT a.sweep_id, max(b.sweep_id), 0 FROM src.sweep a JOIN main.sweep b ON b.name=a.name AND"
    " b.file_hash=a.file_hash GROUP BY a.sweep_id;"
    "INSERT INTO m_sweep SELECT a.sweep_id, (SELECT coalesce(max(sweep_id),0) FROM main.sweep)+row_number() OVER (ORDER BY"
    " a.sweep_id), 1 FROM src.sweep a WHERE a.sweep_id NOT IN (SELECT src FROM m_sweep);";
static const char NEW_SWEEPS[] =
    "INSERT INTO main.sweep(sweep_id, name, file_hash, started, ended, argv, report, tool_version, git_commit, git_dirty)"
    " SELECT x.dst, a.name, a.file_hash, a.started, a.ended, a.argv, a.report, a.tool_version, a.git_commit, a.git_dirty FROM"
    " src.sweep a JOIN m_sweep x ON x.src=a.sweep_id AND x.fresh ORDER BY x.dst";
static const char OF_SWEEPS[] =
    "UPDATE main.sweep SET supersedes=(SELECT y.dst FROM m_sweep x JOIN src.sweep a ON a.sweep_id=x.src JOIN m_sweep y ON"
    " y.src=a.supersedes WHERE x.dst=sweep.sweep_id) WHERE sweep_id IN (SELECT dst FROM m_sweep WHERE fresh);"
    "INSERT OR IGNORE INTO main.sweep_source SELECT x.dst, q.path, q.sha256, q.text FROM src.sweep_source q JOIN m_sweep x ON"
    " x.src=q.sweep_id;"
    "INSERT OR IGNORE INTO main.stage(sweep_id, name, kind, objective, limits, resources) SELECT x.dst, g.name, g.kind,"
    " g.objective, g.limits, g.resources FROM src.stage g JOIN m_sweep x ON x.src=g.sweep_id ORDER BY g.stage_id;"
    "INSERT OR IGNORE INTO main.sweep_trial SELECT x.dst, b.stage_id, p.ordinal, m.dst, p.reused FROM src.sweep_trial p JOIN"
    " m_sweep x ON x.src=p.sweep_id JOIN src.stage a ON a.stage_id=p.stage_id JOIN main.stage b ON b.sweep_id=x.dst AND"
    " b.name=a.name JOIN m_trial m ON m.src=p.trial_id;"
    "INSERT INTO main.published SELECT p.source, p.config_match, m.dst, p.value, p.sd, p.note, p.origin FROM src.published p"
    " JOIN m_metric m ON m.src=p.metric_id WHERE p.origin='sweep' AND NOT EXISTS(SELECT 1 FROM main.published q WHERE"
    " q.source=p.source AND q.config_match=p.config_match AND q.metric_id=m.dst AND q.value=p.value);"
    "INSERT INTO main.event(t, level, host, attempt_id, code, text) SELECT v.t, v.level, v.host, x.dst, v.code, v.text FROM"
    " src.event v LEFT JOIN m_attempt x ON x.src=v.attempt_id EXCEPT SELECT t, level, host, attempt_id, code, text FROM"
    " main.event;";

/* Times differ between any two runs and contradict nothing. */
static const char CONFLICTS[] =
    "SELECT lower(hex(substr(t.hash,1,6))), m.name, r.split, r.value, k.value, d.attempt FROM m_done d JOIN main.trial t ON"
    " t.trial_id=d.dst JOIN main.result r ON r.trial_id=d.dst JOIN main.attempt_result k ON k.attempt_id=d.attempt AND"
    " k.metric_id=r.metric_id AND k.split=r.split JOIN main.metric m ON m.metric_id=r.metric_id WHERE NOT d.taken AND"
    " k.value<>r.value AND coalesce(m.unit,'') NOT IN ('s','ns') GROUP BY d.dst ORDER BY d.dst";

static const char DROP_MAPS[] =
    "DROP TABLE IF EXISTS temp.m_metric;DROP TABLE IF EXISTS temp.m_env;DROP TABLE IF EXISTS temp.m_gpu;"
    "DROP TABLE IF EXISTS temp.m_config;DROP TABLE IF EXISTS temp.m_trial;DROP TABLE IF EXISTS temp.m_attempt;"
    "DROP TABLE IF EXISTS temp.m_done;DROP TABLE IF EXISTS temp.m_board;DROP TABLE IF EXISTS temp.m_sweep;";
// clang-format on

/* Not through the cache: the statement would hold tables of a database that is detached later. */
static int run_counted(avs_store *s, const char *sql, int64_t *n, avs_err *e)
{
    int rc = avs_db_script(s, sql, e);
    *n = sqlite3_changes64(s->db);
    return rc;
}

static int recount(avs_store *s, avs_err *e)
{
    sqlite3_stmt *q = NULL;
    int rc = AVS_OK, got = SQLITE_DONE;

    if (sqlite3_prepare_v2(s->db, "SELECT config_id, metric_id, split FROM m_board", -1, &q, NULL) !=
        SQLITE_OK)
        return avs_db_fail(s, "the summaries cannot be counted", e);
    while (rc == AVS_OK && (got = sqlite3_step(q)) == SQLITE_ROW)
        rc = avs_board_recount(s, sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 1), avs_db_text(q, 2),
                               e);
    if (rc == AVS_OK && got != SQLITE_DONE) rc = avs_db_fail(s, "the summaries cannot be counted", e);
    sqlite3_finalize(q);
    return rc;
}

static int list_conflicts(avs_store *s, const char *from, avs_buf *out, int64_t *n, avs_err *e)
{
    sqlite3_stmt *q = NULL;
    int got;

    if (sqlite3_prepare_v2(s->db, CONFLICTS, -1, &q, NULL) != SQLITE_OK)
        return avs_db_fail(s, "the differences cannot be listed", e);
    while ((got = sqlite3_step(q)) == SQLITE_ROW) {
        avs_buf_fmt(out, "trial %s: %s%s%s is %.9g here and %.9g in %s; that one is kept with attempt %lld\n",
                    avs_db_text(q, 0), avs_db_text(q, 1), *avs_db_text(q, 2) ? ":" : "", avs_db_text(q, 2),
                    sqlite3_column_double(q, 3), sqlite3_column_double(q, 4), from,
                    (long long)sqlite3_column_int64(q, 5));
        ++*n;
    }
    int rc = got == SQLITE_DONE ? AVS_OK : avs_db_fail(s, "the differences cannot be listed", e);
    sqlite3_finalize(q);
    return rc;
}

static int take_over(avs_store *s, const char *from, avs_buf *out, avs_merge_count *c, avs_err *e)
{
    int64_t n;
    int rc;

    AVS_TRY(avs_db_script(s, NAMES, e));
    AVS_TRY(run_counted(s, CONFIGS, &c->configs, e));
    AVS_TRY(avs_db_script(s, CONFIG_MAP, e));
    AVS_TRY(run_counted(s, TRIALS, &c->trials, e));
    AVS_TRY(avs_db_script(s, TRIAL_MAP, e));
    AVS_TRY(run_counted(s, ATTEMPTS, &c->attempts, e));
    AVS_TRY(avs_db_script(s, OF_ATTEMPTS, e));
    AVS_TRY(avs_db_script(s, DONE, e));
    AVS_TRY(avs_db_int(s, &c->taken, 0, e, "SELECT count(*) FROM m_done WHERE taken", ""));
    AVS_TRY(recount(s, e));
    AVS_TRY(avs_db_script(s, SWEEPS, e));
    AVS_TRY(run_counted(s, NEW_SWEEPS, &c->sweeps, e));
    AVS_TRY(avs_db_script(s, OF_SWEEPS, e));
    AVS_TRY(list_conflicts(s, from, out, &c->conflicts, e));
    AVS_TRY(avs_schema_summaries(s, e));
    AVS_TRY(avs_schema_trial_view(s, e));
    AVS_TRY(avs_db_int(s, &n, 0, e, "SELECT count(*) FROM pragma_foreign_key_check", ""));
    if (n) rc = avs_fail(e, AVS_EDB, "%s cannot be merged: %lld references would break", from, (long long)n);
out:
    return rc;
}

/* The other file must be whole, of this version, and nobody may be writing to it. */
static int check_source(const char *from, avs_err *e)
{
    avs_store *other = NULL;
    int64_t live;
    int rc;

    AVS_TRY(avs_store_open(from, AVS_STORE_READ, NULL, &other, e));
    if (other->version != AVS_STORE_SCHEMA_VERSION) {
        rc = other->version < AVS_STORE_SCHEMA_VERSION
                 ? avs_fail(e, AVS_EDB, "%s has schema version %d; 'avsweep db migrate --db %s' first", from,
                            other->version, from)
                 : avs_fail(e, AVS_EDB,
                            "%s has schema version %d, this avsweep knows version %d: use a newer one", from,
                            other->version, AVS_STORE_SCHEMA_VERSION);
        goto out;
    }
    AVS_TRY(avs_store_check(other, e));
    AVS_TRY(avs_db_int(other, &live, 0, e,
                       "SELECT count(*) FROM sqlite_master WHERE type='trigger' OR (type='view' AND"
                       " name NOT LIKE 'v\\_%' ESCAPE '\\')",
                       ""));
    if (live)
        rc =
            avs_fail(e, AVS_EDB, "%s holds triggers or views that are not avsweep's; it is not merged", from);
out:
    avs_store_close(other);
    return rc;
}

int avs_store_merge(avs_store *s, const char *from, avs_buf *out, avs_merge_count *count, avs_err *e)
{
    int rc;

    *count = (avs_merge_count){0};
    if (s->unflushed || !s->writable)
        return avs_fail(e, AVS_EDB, "%s: nothing can be merged into it while writes wait or it is read only",
                        s->path);
    AVS_TRY(check_source(from, e));
    AVS_TRY(avs_db_run(s, e, "ATTACH DATABASE ? AS src", "t", from));
    AVS_TRY(avs_db_script(s, "BEGIN IMMEDIATE", e));
    AVS_TRY(take_over(s, from, out, count, e));
    AVS_TRY(avs_db_script(s, "COMMIT", e));
out:
    for (int i = 0; i < s->n_cache; i++) sqlite3_finalize(s->cache[i].stmt);
    s->n_cache = 0;
    if (!sqlite3_get_autocommit(s->db)) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_exec(s->db, DROP_MAPS, NULL, NULL, NULL);
    sqlite3_exec(s->db, "DETACH DATABASE src", NULL, NULL, NULL);
    if (rc != AVS_OK) avs_ctx(e, "merge of %s", from);
    return rc;
}
