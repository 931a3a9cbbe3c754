/* What `status` asks: counts, failures, series. Reports have their own reader (query.c). */
#include <string.h>
#include "results/db.h"

int avs_db_sweep_id(avs_store *s, const char *sweep, int64_t *id, avs_err *e)
{
    *id = 0;
    if (!sweep) return AVS_OK;
    int rc = avs_db_int(s, id, 0, e, "SELECT max(sweep_id) FROM sweep WHERE name=?", "t", sweep);
    if (rc == AVS_OK && *id == 0)
        return avs_fail(e, AVS_EMISSING, "%s has no sweep '%s'", avs_store_path(s), sweep);
    return rc;
}

/* From the summary rows; a file of version 1 has none. */
int avs_store_counts(avs_store *s, const char *sweep, int64_t counts[AVS_TRIAL_STATES], avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int64_t id;
    int rc;

    memset(counts, 0, AVS_TRIAL_STATES * sizeof *counts);
    AVS_TRY(avs_db_sweep_id(s, sweep, &id, e));
    if (s->version >= 2)
        AVS_TRY(avs_db_bind(s, &q, e, "SELECT state, trials FROM tally WHERE sweep_id=?", "i", id));
    else if (id)
        AVS_TRY(avs_db_bind(s, &q, e,
                            "SELECT state, count(*) FROM trial WHERE trial_id IN"
                            " (SELECT trial_id FROM sweep_trial WHERE sweep_id=?) GROUP BY state",
                            "i", id));
    else
        AVS_TRY(avs_db_bind(s, &q, e, "SELECT state, count(*) FROM trial GROUP BY state", ""));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        int state = sqlite3_column_int(q, 0);
        if (state >= 0 && state < AVS_TRIAL_STATES) counts[state] = sqlite3_column_int64(q, 1);
    }
    for (int i = 0; i < s->group.n; i++) /* changes of the open group */
        for (int k = 0; k < AVS_TRIAL_STATES && s->group.at[i].sweep == id; k++)
            counts[k] += s->group.at[i].delta[k];
out:
    return rc;
}

int avs_store_failures(avs_store *s, const char *sweep, size_t limit, avs_arena *a, avs_store_failure **out,
                       size_t *n, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int64_t id;
    int rc;

    *n = 0;
    *out = AVS_NEW_N(a, avs_store_failure, limit ? limit : 1);
    if (!*out) return avs_fail(e, AVS_ENOMEM, "no memory for %zu failures", limit);
    AVS_TRY(avs_db_sweep_id(s, sweep, &id, e));
    AVS_TRY(avs_db_bind(
        s, &q, e,
        "SELECT t.hash, a.trial_id, a.attempt_id, a.n, a.ended, a.reason, coalesce(a.exit_code,-1),"
        " coalesce(a.signal,0), a.message, k.host, a.log_path FROM attempt a JOIN trial t USING(trial_id)"
        " LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0 WHERE a.reason>1 AND (?1=0 OR"
        " a.trial_id IN (SELECT trial_id FROM sweep_trial WHERE sweep_id=?1)) ORDER BY a.ended DESC, "
        "a.attempt_id DESC"
        " LIMIT ?2",
        "ii", id, (int64_t)limit));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        avs_store_failure *f = &(*out)[(*n)++];
        const void *hash = sqlite3_column_blob(q, 0);
        if (hash && sqlite3_column_bytes(q, 0) == 32) memcpy(f->trial_hash, hash, 32);
        f->trial_id = sqlite3_column_int64(q, 1);
        f->attempt_id = sqlite3_column_int64(q, 2);
        f->n = sqlite3_column_int(q, 3);
        f->ended_us = sqlite3_column_int64(q, 4);
        f->reason = (avs_end_reason)sqlite3_column_int(q, 5);
        f->exit_code = sqlite3_column_int(q, 6);
        f->signal = sqlite3_column_int(q, 7);
        f->message = avs_arena_str(a, avs_db_text(q, 8));
        f->host = avs_arena_str(a, avs_db_text(q, 9));
        f->log_path = avs_arena_str(a, avs_db_text(q, 10));
        if (!f->message || !f->host || !f->log_path) {
            sqlite3_reset(q);
            return avs_fail(e, AVS_ENOMEM, "no memory for the text of a failure");
        }
    }
out:
    return rc;
}

/* With a bare column beside max(), SQLite takes it from the row of the maximum: the newest attempt. */
#define SERIES                                                                                               \
    "SELECT step, value, max(p.n) FROM attempt a JOIN attempt p ON p.trial_id=a.trial_id AND p.n<=a.n JOIN"  \
    " point ON point.attempt_id=p.attempt_id JOIN metric USING(metric_id)"                                   \
    " WHERE a.attempt_id=?1 AND name=?2 GROUP BY step ORDER BY step"

int avs_store_series(avs_store *s, int64_t attempt_id, const char *name, avs_arena *a, int64_t **steps,
                     double **values, size_t *n, avs_err *e)
{
    sqlite3_stmt *q;
    int64_t count;
    bool row;
    int rc;

    *n = 0;
    AVS_TRY(avs_db_int(s, &count, 0, e, "SELECT count(*) FROM (" SERIES ")", "it", attempt_id, name));
    *steps = AVS_NEW_N(a, int64_t, count + 1);
    *values = AVS_NEW_N(a, double, count + 1);
    if (!*steps || !*values) return avs_fail(e, AVS_ENOMEM, "no memory for %lld points", (long long)count);
    AVS_TRY(avs_db_bind(s, &q, e, SERIES " LIMIT ?3", "iti", attempt_id, name, count));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        (*steps)[*n] = sqlite3_column_int64(q, 0);
        (*values)[(*n)++] = sqlite3_column_double(q, 1);
    }
out:
    return rc;
}
