/* Timed training steps. The optimiser's state lies in two arrays with the layout of the parameter slab, as in training;
 * every parameter has the same rate and decay. */
#include "workers/step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"
#include "engine/optim/adamw.h"

void avs_step_fill(avs_plan *p)
{
    static const char *const names[] = {"frames", "audio", "target", "row_weight", "stage1_mask"};
    avs_rng r = avs_rng_seed(1);
    for (int k = 0; k < 5; k++) {
        avs_type t;
        void *x = avs_plan_input(p, names[k], &t);
        float *f = x;
        int32_t *c = x;
        const int64_t n = x ? avs_type_count(&t) : 0;
        for (int64_t i = 0; i < n; i++) {
            if (t.dtype == AVS_I32)
                c[i] = avs_rng_normal(&r) > 0;
            else if (k == 2 || k == 4)
                f[i] = avs_rng_normal(&r) > 0 ? 1.F : 0.F;
            else
                f[i] = k == 3 ? 1.F : (float)avs_rng_normal(&r);
        }
    }
}

typedef struct {
    float *m, *v;
    avs_opt_segment *seg;
    int n_seg;
} optimiser;

static int open_optimiser(optimiser *o, avs_plan *p, avs_err *e)
{
    int64_t n;
    const int count = avs_plan_n_params(p);
    avs_plan_slab(p, AVS_SLAB_PARAM, &n);
    o->m = avs_plan_slab_new(p, e);
    o->v = o->m ? avs_plan_slab_new(p, e) : NULL;
    o->seg = avs_xalloc(((size_t)count + 1) * sizeof *o->seg);
    if (!o->v) return AVS_ENOMEM;
    if (!o->seg) return avs_fail(e, AVS_ENOMEM, "out of memory for the optimiser's state");
    for (int i = 0; i < count; i++) {
        const avs_plan_param *q = avs_plan_param_at(p, i);
        if (!q->is_trainable) continue;
        o->seg[o->n_seg++] =
            (avs_opt_segment){.off = q->slab_off, .len = q->slab_len, .lr_mult = 1, .weight_decay = 0.01F};
    }
    return AVS_OK;
}

static int step(avs_plan *p, optimiser *o, int64_t t, avs_err *e)
{
    static const avs_adamw_cfg cfg = {
        .lr = 1e-4F, .beta1 = 0.9F, .beta2 = 0.999F, .eps = 1e-8F, .decoupled = true};
    int64_t n;
    avs_plan_set_step(p, t, 0);
    int rc = avs_plan_run(p, e);
    if (rc != AVS_OK) return rc;
    const avs_adamw_arrays x = {avs_plan_slab(p, AVS_SLAB_PARAM, &n), avs_plan_slab(p, AVS_SLAB_GRAD, &n),
                                o->m, o->v};
    return avs_plan_adamw(p, &x, o->seg, o->n_seg, &cfg, t + 1, 1.F, e);
}

int avs_step_time(avs_plan *p, int warmup, int runs, double *ms, avs_err *e)
{
    optimiser o = {0};
    int rc = open_optimiser(&o, p, e);
    for (int i = 0; i < warmup + runs && rc == AVS_OK; i++) {
        const int64_t t0 = avs_now_ns();
        rc = step(p, &o, i, e);
        if (i >= warmup) ms[i - warmup] = (double)(avs_now_ns() - t0) * 1e-6;
    }
    avs_xfree(o.seg);
    return rc;
}

int64_t avs_peak_kib(void)
{
    char line[256];
    long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmHWM:", 6) == 0) {
            kib = strtoll(line + 6, NULL, 10);
            break;
        }
    if (f) (void)fclose(f);
    return kib;
}
