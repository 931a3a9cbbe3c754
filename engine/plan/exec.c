/* Running a plan: the prologue when parameters were set, then one call per step. Whoever asked for buckets of gradients is
 * called between the steps. The timed loops are apart (profile.c), so that profiling costs nothing when off. */
#include "engine/plan/plan_impl.h"

#include <string.h>

int avs_plan_step_run(avs_plan *p, const avs_plan_step *s, avs_err *e)
{
    if (s->kind == AVS_STEP_COPY) {
        memcpy(s->copy.dst, s->copy.src, s->copy.bytes);
        return AVS_OK;
    }
    int rc = s->step.run(s->step.ctx, p->work);
    if (rc == AVS_OK) return p->cfg.check_nan ? avs_plan_check_finite(p, s, e) : AVS_OK;
    return avs_fail(e, (avs_code)rc, "step %s (%s) in '%s' failed: %s", avs_plan_step_op(p, s), s->step.impl,
                    avs_plan_step_scope(p, s),
                    rc == AVS_ERANGE ? "a target class lies outside the classes of the prediction"
                                     : avs_code_name((avs_code)rc));
}

static int prepare(avs_plan *p, const avs_plan_step *s, avs_err *e)
{
    if (!s->step.prepare) return AVS_OK;
    int rc = s->step.prepare(s->step.ctx, p->work);
    return rc == AVS_OK ? rc
                        : avs_fail(e, (avs_code)rc, "packing the weight of %s in '%s' failed",
                                   avs_plan_step_op(p, s), avs_plan_step_scope(p, s));
}

/* What depends on parameters and constants alone. */
static int run_prologue(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    for (int i = 0; i < p->n_prologue; i++) {
        AVS_TRY(prepare(p, &p->prologue[i], e));
        AVS_TRY(avs_plan_step_run(p, &p->prologue[i], e));
    }
    for (int i = 0; i < p->n_main; i++) AVS_TRY(prepare(p, &p->main[i], e));
    p->is_dirty = false;
out:
    return rc;
}

int avs_plan_run(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    if (p->is_dirty) AVS_TRY(run_prologue(p, e));
    avs_plan_io_begin(p);
    int i = 0;
    for (int k = 0; p->on_bucket && k < p->n_bucket; k++) {
        for (; i <= p->bucket[k].step; i++) AVS_TRY(avs_plan_step_run(p, &p->main[i], e));
        AVS_TRY(p->on_bucket(p->bucket_ctx, &p->bucket[k], e));
    }
    for (; i < p->n_main; i++) AVS_TRY(avs_plan_step_run(p, &p->main[i], e));
    avs_plan_io_end(p);
out:
    return rc;
}

void avs_plan_set_step(avs_plan *p, int64_t step, int64_t sample0)
{
    p->rt.step = step;
    p->rt.sample0 = sample0;
}

avs_plan_stats avs_plan_get_stats(const avs_plan *p)
{
    return (avs_plan_stats){.arena_bytes = p->act_bytes,
                            .lower_bound_bytes = p->lower_bound,
                            .param_bytes = p->slab_bytes,
                            .workspace_bytes = p->work_bytes,
                            .n_steps = p->n_main,
                            .n_prologue = p->n_prologue,
                            .build_ms = p->build_ms};
}
