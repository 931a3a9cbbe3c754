/* Trials by state, kept as rows so that `status` counts nothing. A write call gathers its changes in memory; they join the
 * group's when the call succeeds and reach the table once per commit. */
#include <string.h>
#include "results/db.h"

static const char ADD[] =
    "INSERT INTO tally VALUES(?,?,?) ON CONFLICT DO UPDATE SET trials=trials+excluded.trials";

int avs_tally_flush(avs_store *s, avs_tally *t, avs_err *e)
{
    int rc = AVS_OK;
    for (int i = 0; i < t->n; i++)
        for (int state = 0; state < AVS_TRIAL_STATES; state++)
            if (t->at[i].delta[state])
                AVS_TRY(avs_db_run(s, e, ADD, "iii", t->at[i].sweep, (int64_t)state, t->at[i].delta[state]));
    t->n = 0;
out:
    return rc;
}

/* The entry of a sweep; NULL: all are taken. */
static int64_t *entry(avs_tally *t, int64_t sweep)
{
    for (int i = 0; i < t->n; i++)
        if (t->at[i].sweep == sweep) return t->at[i].delta;
    if (t->n == AVS_DB_TALLIES) return NULL;
    memset(&t->at[t->n], 0, sizeof t->at[t->n]);
    t->at[t->n].sweep = sweep;
    return t->at[t->n++].delta;
}

int avs_tally_add(avs_store *s, int64_t sweep_id, int state, int64_t n, avs_err *e)
{
    int64_t *delta = entry(&s->op, sweep_id);
    if (!delta) { /* into the table at once: the savepoint takes it back if the call fails */
        int rc = avs_tally_flush(s, &s->op, e);
        if (rc != AVS_OK) return rc;
        delta = entry(&s->op, sweep_id);
    }
    if (state >= 0 && state < AVS_TRIAL_STATES) delta[state] += n;
    return AVS_OK;
}

int avs_tally_move(avs_store *s, int64_t trial_id, int from, int to, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc;

    if (from == to) return AVS_OK;
    AVS_TRY(avs_tally_add(s, 0, from, -1, e));
    AVS_TRY(avs_tally_add(s, 0, to, 1, e));
    AVS_TRY(
        avs_db_bind(s, &q, e, "SELECT DISTINCT sweep_id FROM sweep_trial WHERE trial_id=?", "i", trial_id));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        const int64_t sweep = sqlite3_column_int64(q, 0);
        rc = avs_tally_add(s, sweep, from, -1, e);
        if (rc == AVS_OK) rc = avs_tally_add(s, sweep, to, 1, e);
        if (rc != AVS_OK) {
            sqlite3_reset(q);
            return rc;
        }
    }
out:
    return rc;
}

void avs_tally_keep(avs_store *s)
{
    for (int i = 0; i < s->op.n; i++) {
        int64_t *delta = entry(&s->group, s->op.at[i].sweep);
        if (!delta) continue; /* cannot be: avs_db_end made room */
        for (int state = 0; state < AVS_TRIAL_STATES; state++) delta[state] += s->op.at[i].delta[state];
    }
    s->op.n = 0;
}
