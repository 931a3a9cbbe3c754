/* What a trial takes over from the trials that it needs: files and results of the attempt that counts. */
#include <string.h>
#include "base/buf.h"
#include "base/json.h"
#include "results/db.h"

int avs_store_dep(avs_store *s, int64_t trial_id, int64_t upstream_id, const char *alias, avs_err *e)
{
    int rc = avs_db_begin(s, e);
    if (rc != AVS_OK) return rc;
    rc = avs_db_run(s, e, "INSERT OR REPLACE INTO trial_dep(trial_id, upstream_id, alias) VALUES(?,?,?)",
                    "iit", trial_id, upstream_id, alias);
    return avs_db_end(s, rc, e);
}

/* The first row's text in *out, NULL when there is no row. */
static int first_text(avs_store *s, sqlite3_stmt *q, avs_arena *a, const char **out, avs_err *e)
{
    bool row;
    int rc = avs_db_step(s, q, &row, e);
    if (rc != AVS_OK || !row) return rc;
    *out = avs_arena_str(a, avs_db_text(q, 0));
    sqlite3_reset(q);
    return *out ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for a path");
}

int avs_store_artifact_path(avs_store *s, int64_t trial_id, const char *name, avs_arena *a, const char **out,
                            avs_err *e)
{
    static const char named[] = "SELECT f.path FROM trial t JOIN artifact f ON f.attempt_id=t.best_attempt"
                                " WHERE t.trial_id=? AND f.name=? AND f.deleted IS NULL"
                                " ORDER BY f.step DESC, f.artifact_id DESC LIMIT 1";
    sqlite3_stmt *q;
    *out = NULL;
    int rc = avs_db_bind(s, &q, e, named, "it", trial_id, name);
    return rc == AVS_OK ? first_text(s, q, a, out, e) : rc;
}

int avs_store_result_text(avs_store *s, int64_t trial_id, const char *metric, avs_arena *a, const char **out,
                          avs_err *e)
{
    static const char sql[] =
        "SELECT r.value FROM result r JOIN metric m USING(metric_id)"
        " WHERE r.trial_id=? AND m.name=? ORDER BY CASE r.split WHEN '' THEN 0 WHEN 'test'"
        " THEN 1 ELSE 2 END, r.split LIMIT 1";
    sqlite3_stmt *q;
    bool row;
    *out = NULL;
    int rc = avs_db_bind(s, &q, e, sql, "it", trial_id, metric);
    if (rc == AVS_OK) rc = avs_db_step(s, q, &row, e);
    if (rc != AVS_OK || !row) return rc;
    avs_buf b = AVS_BUF_INIT;
    avs_json_write_num(&b, sqlite3_column_double(q, 0));
    sqlite3_reset(q);
    *out = avs_buf_ok(&b) ? avs_arena_str(a, avs_buf_cstr(&b)) : NULL;
    avs_buf_free(&b);
    return *out ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for a result");
}

int avs_store_last_reason(avs_store *s, int64_t trial_id, avs_end_reason *out, avs_err *e)
{
    int64_t reason;
    int rc = avs_db_int(s, &reason, AVS_END_NONE, e,
                        "SELECT reason FROM attempt WHERE trial_id=? ORDER BY n DESC LIMIT 1", "i", trial_id);
    *out = (avs_end_reason)reason;
    return rc;
}

int avs_store_code_of(avs_store *s, int64_t trial_id, avs_arena *a, const char **out, avs_err *e)
{
    static const char sql[] =
        "SELECT v.code_fp FROM trial t JOIN attempt_rank k ON k.attempt_id=t.best_attempt AND k.rank=0"
        " JOIN env v USING(env_id) WHERE t.trial_id=? AND v.code_fp IS NOT NULL";
    sqlite3_stmt *q;
    *out = NULL;
    int rc = avs_db_bind(s, &q, e, sql, "i", trial_id);
    return rc == AVS_OK ? first_text(s, q, a, out, e) : rc;
}

int avs_store_has_other_code(avs_store *s, const char *code, bool *out, avs_err *e)
{
    int64_t n;
    int rc = avs_db_int(s, &n, 0, e, "SELECT 1 FROM env WHERE code_fp IS NOT NULL AND code_fp<>? LIMIT 1",
                        "t", code);
    *out = n != 0;
    return rc;
}

int avs_store_state_of(avs_store *s, const uint8_t hash[32], bool *found, avs_trial_state *out, avs_err *e)
{
    int64_t key, state;
    memcpy(&key, hash, sizeof key);
    int rc = avs_db_int(s, &state, -1, e, "SELECT state FROM trial WHERE key=? AND hash=?", "ih", key, hash);
    *found = state >= 0;
    if (*found) *out = (avs_trial_state)state;
    return rc;
}

static bool past_row(sqlite3_stmt *q, avs_arena *a, avs_store_past *p, const avs_store_past *before)
{
    const void *hash = sqlite3_column_blob(q, 0);
    const char **texts[] = {&p->kind, &p->model, &p->task, &p->gpu};
    const char *const *same[] = {&before->kind, &before->model, &before->task, &before->gpu};
    if (hash && sqlite3_column_bytes(q, 0) == 32) memcpy(p->config_hash, hash, 32);
    for (int i = 0; i < 4; i++) {
        const char *text = avs_db_text(q, 1 + i);
        *texts[i] = *same[i] && strcmp(*same[i], text) == 0 ? *same[i] : avs_arena_str(a, text);
        if (!*texts[i]) return false;
    }
    p->seconds = sqlite3_column_double(q, 5);
    double h = sqlite3_column_double(q, 6), w = sqlite3_column_double(q, 7);
    p->pixels = h * w;
    return true;
}

int avs_store_past_attempts(avs_store *s, avs_arena *a, avs_store_past **out, size_t *n, avs_err *e)
{
    enum { MOST = 100000 };
    static const avs_store_past none = {.kind = NULL};
    static const char sql[] =
        "SELECT c.hash, c.kind, c.model, c.task, coalesce(g.model,''), (a.ended-a.started)/1e6,"
        " coalesce(json_extract(c.params,'$.resolution[0]'),json_extract(c.params,'$.resolution')),"
        " coalesce(json_extract(c.params,'$.resolution[1]'),json_extract(c.params,'$.resolution'))"
        " FROM trial t JOIN attempt a ON a.attempt_id=t.best_attempt JOIN config c USING(config_id)"
        " LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0 LEFT JOIN gpu g USING(gpu_id)"
        " WHERE a.ended>a.started ORDER BY a.attempt_id DESC LIMIT ?";
    sqlite3_stmt *q;
    bool row;
    size_t cap = 0;
    *n = 0;
    *out = NULL;
    int rc = avs_db_bind(s, &q, e, sql, "i", (int64_t)MOST);
    while (rc == AVS_OK && (rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        if (*n == cap) {
            cap = cap ? 2 * cap : 256;
            avs_store_past *more = AVS_NEW_N(a, avs_store_past, cap);
            if (more && *n) memcpy(more, *out, *n * sizeof *more);
            *out = more;
        }
        if (!*out || !past_row(q, a, &(*out)[*n], *n ? &(*out)[*n - 1] : &none)) {
            sqlite3_reset(q);
            return avs_fail(e, AVS_ENOMEM, "no memory for past attempts");
        }
        ++*n;
    }
    return rc;
}

int avs_store_objective_points(avs_store *s, int64_t trial_id, const char *name, avs_arena *a,
                               avs_store_point **out, size_t *n, avs_err *e)
{
    static const char sql[] =
        "SELECT p.step, p.value FROM attempt t JOIN point p USING(attempt_id) JOIN metric m"
        " USING(metric_id) WHERE t.trial_id=?1 AND m.name IN (?2, 'val_'||?2)"
        " ORDER BY p.step, t.attempt_id";
    sqlite3_stmt *q;
    bool row;
    size_t cap = 0;
    *n = 0;
    *out = NULL;
    int rc = avs_db_bind(s, &q, e, sql, "it", trial_id, name);
    while (rc == AVS_OK && (rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        if (*n == cap) {
            cap = cap ? 2 * cap : 64;
            avs_store_point *more = AVS_NEW_N(a, avs_store_point, cap);
            if (more && *n) memcpy(more, *out, *n * sizeof *more);
            *out = more;
        }
        if (!*out) {
            sqlite3_reset(q);
            return avs_fail(e, AVS_ENOMEM, "no memory for points");
        }
        (*out)[(*n)++] = (avs_store_point){
            .name = name, .step = sqlite3_column_int64(q, 0), .value = sqlite3_column_double(q, 1)};
    }
    return rc;
}

/* The results of a trial that was done stay with the attempt that made them; summaries are counted again. */
static int move_results(avs_store *s, int64_t trial_id, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc;
    AVS_TRY(avs_db_run(
        s, e,
        "INSERT OR REPLACE INTO attempt_result SELECT t.best_attempt, r.metric_id, r.split, r.value"
        " FROM result r JOIN trial t USING(trial_id) WHERE r.trial_id=? AND t.best_attempt IS NOT NULL",
        "i", trial_id));
    AVS_TRY(avs_db_run(s, e, "DELETE FROM result WHERE trial_id=?", "i", trial_id));
    AVS_TRY(avs_db_bind(s, &q, e,
                        "SELECT t.config_id, r.metric_id, r.split FROM attempt_result r JOIN trial t ON"
                        " t.best_attempt=r.attempt_id WHERE t.trial_id=?",
                        "i", trial_id));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        rc = avs_board_recount(s, sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 1), avs_db_text(q, 2),
                               e);
        if (rc != AVS_OK) {
            sqlite3_reset(q);
            return rc;
        }
    }
    if (rc == AVS_OK)
        rc = avs_db_run(s, e, "UPDATE trial SET best_attempt=NULL WHERE trial_id=?", "i", trial_id);
out:
    return rc;
}

int avs_store_forget_done(avs_store *s, int64_t trial_id, const char *from, const char *to, avs_err *e)
{
    int rc = avs_db_begin(s, e);
    if (rc != AVS_OK) return rc;
    AVS_TRY(move_results(s, trial_id, e));
    if (from)
        AVS_TRY(avs_db_run(s, e,
                           "UPDATE artifact SET path=?2||substr(path,length(?1)+1) WHERE attempt_id IN"
                           " (SELECT attempt_id FROM attempt WHERE trial_id=?3) AND"
                           " substr(path,1,length(?1)+1)=?1||'/'",
                           "tti", from, to, trial_id));
out:
    rc = avs_db_end(s, rc, e);
    return rc == AVS_OK ? avs_store_set_state(s, trial_id, AVS_TRIAL_PENDING, e) : rc;
}
