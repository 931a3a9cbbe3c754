/* Wishes of other commands (wish.h) become events of the machine; it ignores those that make no sense any more. */
#include <stdio.h>
#include <string.h>
#include "orchestrator/dispatch_state.h"
#include "orchestrator/wish.h"

enum { LOOK_MS = 400 };

static bool index_rows(dispatch_run *r)
{
    if (r->by_row.n > 0) return true;
    for (int32_t i = 0; i < r->cfg->list->n; i++)
        if (!avs_id_put(&r->by_row, (uint64_t)avs_trial_row(r->cfg->list, i), i)) return false;
    return true;
}

static void act(void *ctx, const avs_wish *w)
{
    static const avs_event_type events[AVS_WISHES] = {[AVS_WISH_RETRY] = AVS_EV_RETRY,
                                                      [AVS_WISH_CANCEL] = AVS_EV_CANCEL,
                                                      [AVS_WISH_PAUSE] = AVS_EV_HOLD,
                                                      [AVS_WISH_PRIORITISE] = AVS_EV_PRIORITY};
    dispatch_run *r = ctx;
    avs_err err = AVS_ERR_INIT;
    char text[200];
    size_t ours = 0;
    if (!index_rows(r)) return;
    for (size_t k = 0; k < w->n && !r->failed && !r->finished; k++) {
        const int32_t i = avs_id_get(&r->by_row, (uint64_t)w->trials[k]);
        if (i < 0) continue; /* of another sweep in this database */
        ours++;
        dispatch_step(r, (avs_event){.type = events[w->verb], .trial = i, .priority = (float)w->priority});
        if (w->verb == AVS_WISH_PAUSE) dispatch_step(r, (avs_event){.type = AVS_EV_PAUSE, .trial = i});
        if (w->verb == AVS_WISH_RETRY) dispatch_step(r, (avs_event){.type = AVS_EV_UNHOLD, .trial = i});
        if (w->verb == AVS_WISH_PRIORITISE && !r->db_failed &&
            avs_store_set_priority(r->cfg->db, w->trials[k], w->priority, &err) != AVS_OK)
            dispatch_db_trouble(r, &err);
    }
    (void)snprintf(text, sizeof text, "%s: %zu trial%s, by command", avs_wish_word(w->verb), ours,
                   ours == 1 ? "" : "s");
    dispatch_note(r, 'I', NULL, avs_wish_word(w->verb), text);
}

void dispatch_held(dispatch_run *r)
{
    for (int32_t i = 0; i < r->cfg->list->n && !r->failed; i++)
        if (r->cfg->list->held[i]) dispatch_step(r, (avs_event){.type = AVS_EV_HOLD, .trial = i});
}

void dispatch_wishes(dispatch_run *r, int64_t now)
{
    avs_err err = AVS_ERR_INIT;
    int bad = 0;
    if (now < r->wish_ms) return;
    r->wish_ms = now + LOOK_MS;
    if (avs_wish_take(avs_store_path(r->cfg->db), &r->wish_stamp, act, r, &bad, &err) != AVS_OK)
        dispatch_note(r, 'W', NULL, "wish", err.msg);
    if (bad)
        dispatch_note(r, 'W', NULL, "wish",
                      "a file in the folder of commands was no command and is put aside");
}
