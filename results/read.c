/* What `status` asks: counts, best, failures, series. Reports have their own reader (query.c). */
#include <math.h>
#include <string.h>
#include "results/db.h"

/* sweep NULL: 0 = every trial. Otherwise the id of the newest sweep of that name. */
static int sweep_id_of(avs_store *s, const char *sweep, int64_t *id, avs_err *e)
{
    *id = 0;
    if (!sweep) return AVS_OK;
    int rc = avs_db_int(s, id, 0, e, "SELECT max(sweep_id) FROM sweep WHERE name=?", "t", sweep);
    if (rc == AVS_OK && *id == 0)
        return avs_fail(e, AVS_EMISSING, "%s holds no sweep called %s", avs_store_path(s), sweep);
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
    AVS_TRY(sweep_id_of(s, sweep, &id, e));
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

/* One row per configuration, in the order of the index on (metric, split, mean); which of both directions is better is the
 * metric's. A configuration counts for a sweep when one of its trials belongs to it. */
#define BEST(direction)                                                                                      \
    "SELECT c.config_id, c.kind, c.model, c.task, c.params, l.mean, (l.ci95_hi-l.ci95_lo)/2, l.n FROM"       \
    " leaderboard l CROSS JOIN config c USING(config_id) WHERE l.metric_id=?1 AND l.split=?2 AND (?3=0 OR"   \
    " EXISTS(SELECT 1 FROM trial t JOIN sweep_trial st USING(trial_id) WHERE t.config_id=l.config_id AND"    \
    " st.sweep_id=?3)) ORDER BY l.mean " direction " LIMIT ?4"

static int best_of_split(avs_store *s, int64_t metric, const char *split, int64_t sweep, bool more,
                         int64_t limit, avs_arena *a, avs_store_best *out, size_t *n, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc;

    AVS_TRY(more ? avs_db_bind(s, &q, e, BEST("DESC"), "itii", metric, split, sweep, limit)
                 : avs_db_bind(s, &q, e, BEST("ASC"), "itii", metric, split, sweep, limit));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        avs_store_best *b = &out[(*n)++];
        *b = (avs_store_best){.config_id = sqlite3_column_int64(q, 0),
                              .kind = avs_arena_str(a, avs_db_text(q, 1)),
                              .model = avs_arena_str(a, avs_db_text(q, 2)),
                              .task = avs_arena_str(a, avs_db_text(q, 3)),
                              .params = avs_arena_str(a, avs_db_text(q, 4)),
                              .mean = sqlite3_column_double(q, 5),
                              .half = sqlite3_column_type(q, 6) == SQLITE_NULL ? (double)NAN
                                                                               : sqlite3_column_double(q, 6),
                              .n = sqlite3_column_int64(q, 7)};
        if (!b->kind || !b->model || !b->task || !b->params) {
            sqlite3_reset(q);
            return avs_fail(e, AVS_ENOMEM, "no memory for the best configurations");
        }
    }
out:
    return rc;
}

int avs_store_best_of(avs_store *s, const char *sweep, const char *metric, size_t limit, avs_arena *a,
                      avs_store_best **out, size_t *n, avs_err *e)
{
    static const char *const splits[] = {"test", "", "val"};
    int64_t id, metric_id, better;
    int rc;

    *n = 0;
    *out = AVS_NEW_N(a, avs_store_best, limit + 1);
    if (!*out) return avs_fail(e, AVS_ENOMEM, "no memory for %zu configurations", limit);
    AVS_TRY(sweep_id_of(s, sweep, &id, e));
    AVS_TRY(avs_db_int(s, &metric_id, 0, e, "SELECT metric_id FROM metric WHERE name=?", "t", metric));
    AVS_TRY(avs_db_int(s, &better, 0, e, "SELECT better FROM metric WHERE metric_id=?", "i", metric_id));
    for (size_t k = 0; k < sizeof splits / sizeof *splits && *n == 0 && metric_id; k++)
        AVS_TRY(best_of_split(s, metric_id, splits[k], id, better >= 0, (int64_t)limit, a, *out, n, e));
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
    AVS_TRY(sweep_id_of(s, sweep, &id, e));
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
