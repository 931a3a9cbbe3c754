/* Running a plan: the prologue when parameters were set, then one call per step. Whoever asked for buckets of gradients is
 * called between the steps. On a device the calls queue work; plans of inference record them in their second run (in the
 * first the libraries settle) and from then on launch all at once. The timed loops are apart (profile.c), so that
 * profiling costs nothing when off. */
#include "engine/plan/plan_impl.h"

#include <string.h>

int avs_plan_step_run(avs_plan *p, const avs_plan_step *s, avs_err *e)
{
    if (s->kind == AVS_STEP_COPY) {
        if (p->ops->device) return p->ops->device->copy(p->be, s->copy.dst, s->copy.src, s->copy.bytes, e);
        memcpy(s->copy.dst, s->copy.src, s->copy.bytes);
        return AVS_OK;
    }
    int rc = s->step.run(s->step.ctx, p->work);
    if (rc == AVS_OK) return p->cfg.check_nan ? avs_plan_check_finite(p, s, e) : AVS_OK;
    if (p->sum_err.code != AVS_OK) {
        if (e) *e = p->sum_err;
        p->sum_err = AVS_ERR_INIT;
        avs_ctx(e, "step %s in '%s'", avs_plan_step_op(p, s), avs_plan_step_scope(p, s));
        return rc;
    }
    if (p->ops->device && rc == AVS_ECUDA)
        return avs_fail(e, AVS_ECUDA, "step %s (%s) in '%s' failed: %s", avs_plan_step_op(p, s), s->step.impl,
                        avs_plan_step_scope(p, s), p->ops->device->why(p->be));
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

static int run_steps(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK, i = 0;
    for (int k = 0; p->on_bucket && k < p->n_bucket; k++) {
        for (; i <= p->bucket[k].step; i++) AVS_TRY(avs_plan_step_run(p, &p->main[i], e));
        AVS_TRY(p->on_bucket(p->bucket_ctx, &p->bucket[k], e));
    }
    for (; i < p->n_main; i++) AVS_TRY(avs_plan_step_run(p, &p->main[i], e));
out:
    return rc;
}

/* Keeps the steps for replay. Nothing waits while they are recorded. */
static int record(avs_plan *p, avs_err *e)
{
    const avs_backend_device *d = p->ops->device;
    int rc = d->record(p->be, e);
    if (rc != AVS_OK) return rc;
    rc = run_steps(p, e);
    const int ended = d->recorded(p->be, &p->n_kernels, rc == AVS_OK ? e : NULL);
    p->is_recorded = rc == AVS_OK && ended == AVS_OK;
    return rc != AVS_OK ? rc : ended;
}

static int execute_on_device(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    const avs_backend_device *d = p->ops->device;
    const bool may_record = !p->cfg.training && !p->cfg.no_capture && !p->cfg.check_nan;
    if (p->is_dirty) AVS_TRY(run_prologue(p, e));
    if (may_record && !p->is_recorded && p->n_runs > 0) AVS_TRY(record(p, e));
    AVS_TRY(d->begin(p->be, &p->rt, e));
    AVS_TRY(d->mark(p->be, 0, e));
    AVS_TRY(p->is_recorded ? d->replay(p->be, e) : run_steps(p, e));
    AVS_TRY(d->mark(p->be, 1, e));
    AVS_TRY(d->sync(p->be, e));
    p->has_marks = true;
    p->n_runs++;
out:
    avs_plan_io_end(p);
    return rc;
}

int avs_plan_upload(avs_plan *p, avs_err *e)
{
    int rc = p->ops->device ? avs_plan_io_begin(p, e) : AVS_OK;
    return rc == AVS_OK ? avs_plan_wait(p, e) : rc;
}

int avs_plan_execute(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    if (p->ops->device) return execute_on_device(p, e);
    if (p->is_dirty) AVS_TRY(run_prologue(p, e));
    AVS_TRY(avs_plan_io_begin(p, e));
    AVS_TRY(run_steps(p, e));
    avs_plan_io_end(p);
out:
    return rc;
}

int avs_plan_run(avs_plan *p, avs_err *e)
{
    const int rc = p->ops->device ? avs_plan_io_begin(p, e) : AVS_OK;
    return rc == AVS_OK ? avs_plan_execute(p, e) : rc;
}

static int sum_over_ranks(void *ctx, double *x, int64_t n)
{
    avs_plan *p = ctx;
    return p->on_sum(p->sum_ctx, x, n, &p->sum_err);
}

void avs_plan_on_sum(avs_plan *p, avs_sum_fn fn, void *ctx)
{
    p->on_sum = fn;
    p->sum_ctx = ctx;
    p->rt.sum = fn ? sum_over_ranks : NULL;
    p->rt.sum_ctx = p;
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
                            .n_kernels = p->n_kernels,
                            .device_bytes = p->ops->device ? p->ops->device->in_use(p->be) : 0,
                            .build_ms = p->build_ms};
}
