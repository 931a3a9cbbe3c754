/* Early stopping: values of the objective go to the successive halving of their stage, its verdicts become events. What
 * an earlier run recorded is read at the beginning, so that a resumed run decides as if it had never died. */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/asha.h"
#include "orchestrator/dispatch_state.h"

/* How far a trial is. */
typedef struct walked_trial {
    int32_t number; /* in the halving of its stage */
    int64_t step, validations;
} walked;

typedef struct stage_asha {
    avs_asha *asha; /* NULL: trials of this stage run to their end */
    const avs_sweep_stage *stage;
    int32_t *index; /* place in the list, by number */
} stage_asha;

static stage_asha *of(dispatch_run *r, int32_t trial)
{
    stage_asha *s = &r->asha[r->cfg->list->at[trial].trial->stage];
    return s->asha ? s : NULL;
}

static bool is_objective(const stage_asha *s, const char *name)
{
    if (name && strncmp(name, "val_", 4) == 0) name += 4;
    return name && strcmp(name, s->stage->metric) == 0;
}

/* Where the trial is on the scale of its rungs; false for a point that was seen before. */
static bool advance(const stage_asha *s, walked *w, int64_t step, int64_t *at)
{
    if (w->validations > 0 && step <= w->step) return false;
    w->step = step;
    w->validations++;
    *at = s->stage->stop.by_step ? step : w->validations;
    return true;
}

static void act(dispatch_run *r, avs_event_type type, int32_t trial)
{
    dispatch_step(r, (avs_event){.type = type, .trial = trial});
}

static void settle(dispatch_run *r, stage_asha *s)
{
    for (int32_t k = avs_asha_next(s->asha); k >= 0; k = avs_asha_next(s->asha))
        act(r, AVS_EV_UNHOLD, s->index[k]);
    for (int32_t k = avs_asha_rest(s->asha); k >= 0; k = avs_asha_rest(s->asha))
        act(r, AVS_EV_PRUNE, s->index[k]);
}

void dispatch_asha_point(dispatch_run *r, int32_t trial, const char *name, int64_t step, double value)
{
    stage_asha *s = of(r, trial);
    walked *w = &r->walked[trial];
    int64_t at;
    if (!s || !is_objective(s, name) || !advance(s, w, step, &at)) return;
    avs_asha_verdict v = avs_asha_report(s->asha, w->number, at, value);
    if (v == AVS_ASHA_PRUNE) act(r, AVS_EV_PRUNE, trial);
    if (v == AVS_ASHA_PAUSE) act(r, AVS_EV_PAUSE, trial);
    settle(r, s);
}

void dispatch_asha_over(dispatch_run *r, int32_t trial)
{
    stage_asha *s = r->asha ? of(r, trial) : NULL;
    if (!s) return;
    avs_asha_over(s->asha, r->walked[trial].number);
    settle(r, s);
}

/* ---- the beginning ---- */

static int replay(dispatch_run *r, stage_asha *s, int32_t trial, avs_err *e)
{
    const avs_trial_list *l = r->cfg->list;
    walked *w = &r->walked[trial];
    avs_arena *a = avs_arena_new();
    avs_store_point *p = NULL;
    size_t n = 0;
    int64_t at;
    int rc = !a ? avs_fail(e, AVS_ENOMEM, "no memory for the points of a trial")
                : avs_store_objective_points(l->db, avs_trial_row(l, trial), s->stage->metric, a, &p, &n, e);
    for (size_t i = 0; i < n; i++)
        if (advance(s, w, p[i].step, &at)) avs_asha_replay(s->asha, w->number, at, p[i].value);
    avs_arena_free(a);
    if (l->coord[trial].done || l->coord[trial].failed || l->coord[trial].cancelled)
        avs_asha_over(s->asha, w->number);
    else if (l->coord[trial].pruned)
        avs_asha_was_pruned(s->asha, w->number);
    else if (l->held[trial])
        avs_asha_was_paused(s->asha, w->number);
    return rc;
}

static bool make_stage(dispatch_run *r, stage_asha *s)
{
    const avs_trial_list *l = r->cfg->list;
    int32_t n = 0;
    for (int32_t i = 0; i < l->n; i++)
        if (avs_trial_stage(l, i) == s->stage) r->walked[i].number = n++;
    s->index = avs_xrealloc(NULL, sizeof *s->index * (size_t)(n + 1));
    if (!s->index) return false;
    for (int32_t i = 0; i < l->n; i++)
        if (avs_trial_stage(l, i) == s->stage) s->index[r->walked[i].number] = i;
    const avs_sweep_stop *stop = &s->stage->stop;
    const avs_asha_rule rule = {stop->min, stop->max, stop->eta, s->stage->maximise, stop->promote};
    s->asha = avs_asha_new(&rule, n);
    return s->asha != NULL;
}

void dispatch_asha_begin(dispatch_run *r)
{
    const avs_sweep *sweep = r->cfg->list->sweep;
    const int32_t n = r->cfg->list->n;
    avs_err err = AVS_ERR_INIT;
    bool any = false, ok = true;
    for (int k = 0; k < sweep->n_stages; k++) any |= sweep->stages[k].stop.eta > 0;
    if (!any) return;
    r->asha = avs_xalloc(sizeof *r->asha * (size_t)sweep->n_stages);
    r->walked = avs_xalloc(sizeof *r->walked * (size_t)(n + 1));
    ok = r->asha && r->walked;
    for (int k = 0; ok && k < sweep->n_stages; k++) {
        r->asha[k].stage = &sweep->stages[k];
        if (sweep->stages[k].stop.eta > 0) ok = make_stage(r, &r->asha[k]);
    }
    if (!ok) {
        r->failed = true;
        avs_fail(&r->err, AVS_ENOMEM, "no memory for early stopping");
        return;
    }
    for (int32_t i = 0; i < n; i++)
        if (of(r, i) && replay(r, of(r, i), i, &err) != AVS_OK) dispatch_db_trouble(r, &err);
    for (int k = 0; k < sweep->n_stages; k++)
        if (r->asha[k].asha) settle(r, &r->asha[k]);
}

void dispatch_asha_free(dispatch_run *r)
{
    for (int k = 0; r->asha && k < r->cfg->list->sweep->n_stages; k++) {
        avs_asha_free(r->asha[k].asha);
        free(r->asha[k].index);
    }
    avs_xfree(r->asha);
    avs_xfree(r->walked);
}
