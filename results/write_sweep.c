/* Sweeps, stages and trials: everything that is known before anything runs. Registration is idempotent: a hash names one
 * row for ever, whichever sweep brought it. */
#include <string.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "results/db.h"
#include "results/published.h"

/* The indexed part of a hash; the full 32 bytes are compared on a hit. */
static int64_t key_of(const uint8_t hash[32])
{
    int64_t k;
    memcpy(&k, hash, sizeof k);
    return k;
}

static int add_sources(avs_store *s, const avs_store_sweep *w, int64_t id, avs_err *e)
{
    for (size_t i = 0; i < w->n_sources; i++) {
        uint8_t sha[32];
        avs_sha256_of(w->sources[i].text, w->sources[i].len, sha);
        int rc = avs_db_run(s, e, "INSERT OR REPLACE INTO sweep_source VALUES(?,?,?,?)", "ithb", id,
                            w->sources[i].path, sha, w->sources[i].text, w->sources[i].len);
        if (rc != AVS_OK) return rc;
    }
    return AVS_OK;
}

/* The numbers that the sweep file itself quotes from a paper. */
static int add_published(avs_store *s, const char *report_json, avs_err *e)
{
    avs_arena *a = avs_arena_new();
    avs_buf text = AVS_BUF_INIT;
    avs_json *report;
    int rc;

    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for the report block");
    AVS_TRY(avs_json_parse(a, "report", report_json, strlen(report_json), &report, e));
    const avs_json *published = avs_json_get(report, "published");
    if (!published) goto out;
    /* One source, or a list of them. */
    bool many = published->kind == AVS_J_ARR;
    for (const avs_json *one = many ? published->first : published; one && rc == AVS_OK;
         one = many ? one->next : NULL) {
        avs_buf_clear(&text);
        avs_json_write(&text, one, false);
        rc = avs_buf_ok(&text) ? avs_published_add_json(s, text.data, e)
                               : avs_fail(e, AVS_ENOMEM, "no memory for report.published");
    }
out:
    avs_buf_free(&text);
    avs_arena_free(a);
    return rc;
}

int avs_store_sweep_begin(avs_store *s, const avs_store_sweep *w, int64_t *sweep_id, bool *resumed,
                          avs_err *e)
{
    int64_t newest, same;
    int rc;

    if (resumed) *resumed = false;
    if ((rc = avs_db_begin(s, e)) != AVS_OK) return rc;
    AVS_TRY(avs_db_int(s, &newest, 0, e, "SELECT max(sweep_id) FROM sweep WHERE name=?", "t", w->name));
    AVS_TRY(avs_db_int(s, &same, 0, e, "SELECT sweep_id FROM sweep WHERE sweep_id=? AND file_hash=?", "ih",
                       newest, w->file_hash));
    if (same) {
        AVS_TRY(avs_db_run(s, e, "UPDATE sweep SET ended=NULL WHERE sweep_id=?", "i", same));
        *sweep_id = same;
        if (resumed) *resumed = true;
        goto out;
    }
    static const char insert[] =
        "INSERT INTO sweep(name, file_hash, started, argv, report, tool_version, git_commit,"
        " git_dirty, supersedes) VALUES(?,?,?,?,?,?,?,?,nullif(?,0))";
    AVS_TRY(avs_db_run(s, e, insert, "thittttii", w->name, w->file_hash, avs_wall_us(),
                       w->argv_json ? w->argv_json : "[]", w->report_json, w->tool_version, w->git_commit,
                       (int64_t)w->git_dirty, newest));
    *sweep_id = sqlite3_last_insert_rowid(s->db);
    AVS_TRY(add_sources(s, w, *sweep_id, e));
out:
    rc = avs_db_end(s, rc, e);
    if (rc == AVS_OK && w->report_json) rc = add_published(s, w->report_json, e);
    if (rc != AVS_OK) avs_ctx(e, "sweep %s", w->name);
    return rc;
}

int avs_store_sweep_end(avs_store *s, int64_t sweep_id, avs_err *e)
{
    int rc = avs_db_begin(s, e);
    if (rc != AVS_OK) return rc;
    rc = avs_db_run(s, e, "UPDATE sweep SET ended=? WHERE sweep_id=?", "ii", avs_wall_us(), sweep_id);
    return avs_db_end(s, rc, e);
}

int avs_store_stage(avs_store *s, int64_t sweep_id, const avs_store_stage_def *d, int64_t *stage_id,
                    avs_err *e)
{
    int rc = avs_db_begin(s, e);
    if (rc != AVS_OK) return rc;
    AVS_TRY(avs_db_int(s, stage_id, 0, e, "SELECT stage_id FROM stage WHERE sweep_id=? AND name=?", "it",
                       sweep_id, d->name));
    if (*stage_id) goto out;
    AVS_TRY(avs_db_run(
        s, e, "INSERT INTO stage(sweep_id, name, kind, objective, limits, resources) VALUES(?,?,?,?,?,?)",
        "ittttt", sweep_id, d->name, d->kind, d->objective_json, d->limits_json, d->resources_json));
    *stage_id = sqlite3_last_insert_rowid(s->db);
out:
    return avs_db_end(s, rc, e);
}

static int find_or_add_config(avs_store *s, const avs_store_trial *t, int64_t *id, avs_err *e)
{
    int64_t key = key_of(t->config_hash);
    int rc = avs_db_int(s, id, 0, e, "SELECT config_id FROM config WHERE key=? AND hash=?", "ih", key,
                        t->config_hash);
    if (rc != AVS_OK || *id) return rc;
    rc = avs_db_run(s, e,
                    "INSERT INTO config(key, hash, kind, model, task, params, model_schema, data_fp)"
                    " VALUES(?,?,?,?,?,?,?,?)",
                    "ihttttih", key, t->config_hash, t->kind, t->model, t->task, t->params_json,
                    (int64_t)t->model_schema, t->data_fp);
    if (rc != AVS_OK && (sqlite3_extended_errcode(s->db) == SQLITE_CONSTRAINT_CHECK ||
                         sqlite3_extended_errcode(s->db) == SQLITE_ERROR))
        return avs_fail(e, AVS_EPARSE, "the parameters are not a JSON object: %.200s", t->params_json);
    *id = sqlite3_last_insert_rowid(s->db);
    s->view_is_stale = true;
    return rc;
}

/* One call of avs_store_register: what neighbours share is looked up once, and counters are moved at the end. */
typedef struct {
    int64_t sweep_id, config_id;
    const uint8_t *config_hash; /* of config_id; NULL: none yet */
    int64_t added;
    int64_t placed[AVS_TRIAL_STATES];
} registration;

/* Columns trial_id, state, attempts, epoch, priority of a trial that is there. */
static void read_trial(avs_store_trial *t, sqlite3_stmt *st)
{
    t->reused = true;
    t->trial_id = sqlite3_column_int64(st, 0);
    t->state = (avs_trial_state)sqlite3_column_int(st, 1);
    t->attempts = sqlite3_column_int(st, 2);
    t->epoch = sqlite3_column_int(st, 3);
    t->priority = sqlite3_column_double(st, 4);
}

static int find_or_add_trial(avs_store *s, registration *g, avs_store_trial *t, avs_err *e)
{
    int64_t key = key_of(t->hash);
    sqlite3_stmt *st;
    bool row;
    int rc;

    AVS_TRY(avs_db_bind(s, &st, e,
                        "SELECT trial_id, state, attempts, epoch, priority FROM trial WHERE key=? AND hash=?",
                        "ih", key, t->hash));
    AVS_TRY(avs_db_step(s, st, &row, e));
    t->reused = row;
    if (row) {
        read_trial(t, st);
        sqlite3_reset(st);
        return AVS_OK;
    }
    if (!g->config_hash || memcmp(g->config_hash, t->config_hash, 32) != 0) {
        g->config_hash = NULL;
        AVS_TRY(find_or_add_config(s, t, &g->config_id, e));
        g->config_hash = t->config_hash;
    }
    AVS_TRY(avs_db_run(s, e,
                       "INSERT INTO trial(key, hash, config_id, seed, state, epoch, priority, attempts)"
                       " VALUES(?,?,?,?,0,0,?,0)",
                       "ihiid", key, t->hash, g->config_id, t->seed, t->priority));
    t->trial_id = sqlite3_last_insert_rowid(s->db);
    t->state = AVS_TRIAL_PENDING;
    t->attempts = t->epoch = 0;
    g->added++;
out:
    return rc;
}

static int place(avs_store *s, registration *g, const avs_store_trial *t, avs_err *e)
{
    static const char insert[] = "INSERT OR IGNORE INTO sweep_trial VALUES(?,?,?,?,?)";
    int64_t there = 0, member = 0;
    int rc;
    if (t->reused) /* perhaps a member by another place already */
        AVS_TRY(avs_db_int(s, &member, 0, e,
                           "SELECT 1 FROM sweep_trial WHERE trial_id=? AND sweep_id=? LIMIT 1", "ii",
                           t->trial_id, g->sweep_id));
    AVS_TRY(avs_db_run(s, e, insert, "iiiii", g->sweep_id, t->stage_id, t->ordinal, t->trial_id,
                       (int64_t)t->reused));
    if (sqlite3_changes(s->db) > 0) {
        if (!member) g->placed[t->state]++;
        return AVS_OK;
    }
    AVS_TRY(avs_db_int(s, &there, 0, e,
                       "SELECT trial_id FROM sweep_trial WHERE sweep_id=? AND stage_id=? AND ordinal=?",
                       "iii", g->sweep_id, t->stage_id, t->ordinal));
    if (there != t->trial_id)
        rc = avs_fail(e, AVS_ERANGE, "place %lld of stage %lld already belongs to trial %lld of this sweep",
                      (long long)t->ordinal, (long long)t->stage_id, (long long)there);
out:
    return rc;
}

/* A resumed sweep lists what it listed before: neighbouring places are read in one pass, in the order in which they are
 * stored. *known false: something differs, and every trial is to be looked up by itself. */
static int take_known(avs_store *s, int64_t sweep_id, avs_store_trial *trials, size_t n, bool *known,
                      avs_err *e)
{
    sqlite3_stmt *st;
    bool row;
    size_t i = 0;
    int rc;

    *known = false;
    for (size_t k = 1; k < n; k++)
        if (trials[k].stage_id != trials[0].stage_id || trials[k].ordinal != trials[k - 1].ordinal + 1)
            return AVS_OK;
    if (n == 0) return AVS_OK;
    AVS_TRY(avs_db_bind(
        s, &st, e,
        "SELECT t.trial_id, t.state, t.attempts, t.epoch, t.priority, t.hash FROM sweep_trial p CROSS JOIN "
        "trial t"
        " ON t.trial_id=p.trial_id WHERE p.sweep_id=? AND p.stage_id=? AND p.ordinal BETWEEN ? AND ?"
        " ORDER BY p.ordinal",
        "iiii", sweep_id, trials[0].stage_id, trials[0].ordinal, trials[n - 1].ordinal));
    while ((rc = avs_db_step(s, st, &row, e)) == AVS_OK && row) {
        const void *hash = sqlite3_column_blob(st, 5);
        if (i == n || sqlite3_column_bytes(st, 5) != 32 || memcmp(hash, trials[i].hash, 32) != 0) {
            sqlite3_reset(st);
            return AVS_OK;
        }
        read_trial(&trials[i++], st);
    }
    *known = rc == AVS_OK && i == n;
out:
    return rc;
}

int avs_store_register(avs_store *s, int64_t sweep_id, avs_store_trial *trials, size_t n, avs_err *e)
{
    size_t i = n;
    bool known;
    registration g = {.sweep_id = sweep_id};
    int rc = avs_db_begin(s, e);
    if (rc != AVS_OK) return rc;
    AVS_TRY(take_known(s, sweep_id, trials, n, &known, e));
    if (known) goto out;
    for (i = 0; i < n; i++) {
        AVS_TRY(find_or_add_trial(s, &g, &trials[i], e));
        AVS_TRY(place(s, &g, &trials[i], e));
    }
    if (g.added) AVS_TRY(avs_tally_add(s, 0, AVS_TRIAL_PENDING, g.added, e));
    for (int k = 0; k < AVS_TRIAL_STATES; k++)
        if (g.placed[k]) AVS_TRY(avs_tally_add(s, sweep_id, k, g.placed[k], e));
out:
    if (rc != AVS_OK && i < n) avs_ctx(e, "trial %zu", i);
    return avs_db_end(s, rc, e);
}

int avs_store_set_state(avs_store *s, int64_t trial_id, avs_trial_state state, avs_err *e)
{
    int64_t before;
    int rc = avs_db_begin(s, e);
    if (rc != AVS_OK) return rc;
    AVS_TRY(avs_db_int(s, &before, -1, e, "SELECT state FROM trial WHERE trial_id=?", "i", trial_id));
    if (before < 0) {
        rc = avs_fail(e, AVS_EMISSING, "there is no trial %lld", (long long)trial_id);
        goto out;
    }
    AVS_TRY(avs_db_run(s, e, "UPDATE trial SET state=? WHERE trial_id=?", "ii", (int64_t)state, trial_id));
    AVS_TRY(avs_tally_move(s, trial_id, (int)before, (int)state, e));
out:
    return avs_db_end(s, rc, e);
}

int avs_store_set_priority(avs_store *s, int64_t trial_id, double priority, avs_err *e)
{
    int rc = avs_db_begin(s, e);
    if (rc != AVS_OK) return rc;
    AVS_TRY(avs_db_run(s, e, "UPDATE trial SET priority=? WHERE trial_id=?", "di", priority, trial_id));
    if (sqlite3_changes(s->db) == 0)
        rc = avs_fail(e, AVS_EMISSING, "there is no trial %lld", (long long)trial_id);
out:
    return avs_db_end(s, rc, e);
}

int avs_store_event(avs_store *s, char level, const char *host, int64_t attempt_id, const char *code,
                    const char *text, avs_err *e)
{
    char lv[2] = {level, 0};
    int rc = avs_db_begin(s, e);
    if (rc != AVS_OK) return rc;
    rc = avs_db_run(s, e,
                    "INSERT INTO event(t, level, host, attempt_id, code, text) VALUES(?,?,?,nullif(?,0),?,?)",
                    "ittitt", avs_wall_us(), lv, host, attempt_id, code, text);
    return avs_db_end(s, rc, e);
}
