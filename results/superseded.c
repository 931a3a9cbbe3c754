/* What an earlier version of a sweep file listed and the present one does not. */
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "results/db.h"

/* In the sweep that ?1 supersedes, and in the newest sweep of no name. */
static const char gone[] =
    "SELECT t.trial_id, t.state, t.hash FROM sweep_trial g JOIN trial t USING(trial_id)"
    " WHERE g.sweep_id=(SELECT supersedes FROM sweep WHERE sweep_id=?) AND NOT EXISTS(SELECT 1 FROM "
    "sweep_trial o"
    " WHERE o.trial_id=g.trial_id AND o.sweep_id IN (SELECT max(sweep_id) FROM sweep GROUP BY name))"
    " GROUP BY t.trial_id ORDER BY g.stage_id, g.ordinal";

static bool is_open(int64_t state)
{
    return state == AVS_TRIAL_PENDING || state == AVS_TRIAL_PAUSED || state == AVS_TRIAL_PREEMPTED ||
           state == AVS_TRIAL_BLOCKED;
}

static int note(avs_store_gone *out, int64_t **ids, int64_t id, int64_t state, const void *hash, avs_err *e)
{
    if (out->n < AVS_STORE_GONE_NAMED && hash) avs_hex(hash, 6, out->hex[out->n]);
    out->n++;
    if (!is_open(state)) return AVS_OK;
    if ((out->n_open & (out->n_open - 1)) == 0) { /* a power of two: full */
        int64_t *wide = avs_xrealloc(*ids, sizeof **ids * (size_t)(out->n_open ? 2 * out->n_open : 1));
        if (!wide) return avs_fail(e, AVS_ENOMEM, "no memory for the trials that a sweep lists no more");
        *ids = wide;
    }
    (*ids)[out->n_open++] = id;
    return AVS_OK;
}

int avs_store_superseded(avs_store *s, int64_t sweep_id, bool cancel, avs_store_gone *out, avs_err *e)
{
    sqlite3_stmt *q;
    int64_t *ids = NULL;
    bool row = false;
    *out = (avs_store_gone){0};
    int rc = avs_db_bind(s, &q, e, gone, "i", sweep_id);
    if (rc != AVS_OK) return rc;
    while (rc == AVS_OK && (rc = avs_db_step(s, q, &row, e)) == AVS_OK && row)
        rc = note(out, &ids, sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 1),
                  sqlite3_column_bytes(q, 2) == 32 ? sqlite3_column_blob(q, 2) : NULL, e);
    sqlite3_reset(q);
    for (int64_t i = 0; cancel && rc == AVS_OK && i < out->n_open; i++)
        rc = avs_store_set_state(s, ids[i], AVS_TRIAL_CANCELLED, e);
    free(ids);
    return rc;
}
