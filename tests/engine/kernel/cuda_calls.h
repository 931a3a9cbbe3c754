/* The launchers of engine/backend/cuda called with the operands of an op: the same code for fibres (AVS_EMUL) and for
 * the GPU. The including file includes the launchers first and defines
 *   static void *lend(size_t bytes)   workspace that the launchers can reach; the next call may take it back. */
#ifndef AVS_TESTS_CUDA_CALLS_H
#define AVS_TESTS_CUDA_CALLS_H

#include "base/rng.h"
#include "engine/optim/adamw.h"
#include "tests/engine/kernel/op_list.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static int run_softmax(const avs_kernel_args *a)
{
    const int64_t C = a->in[0].type.d[1], rows = a->in[0].type.d[0];
    const avs_softmax_p p = {.x = a->in[0].data, .y = a->out[0].data, .C = (int32_t)C};
    return avs_softmax_cuda(&p, rows, NULL);
}

static int run_softmax_bwd(const avs_kernel_args *a)
{
    const avs_softmax_bwd_p p = {
        .gy = a->in[0].data, .y = a->in[1].data, .gx = a->out[0].data, .C = a->in[0].type.d[1]};
    return avs_softmax_bwd_cuda(&p, a->in[0].type.d[0], NULL);
}

static int run_layernorm(const avs_kernel_args *a)
{
    const avs_layernorm_p p = {.x = a->in[0].data,
                               .gamma = a->in[1].data,
                               .beta = a->in[2].data,
                               .y = a->out[0].data,
                               .mean = a->out[1].data,
                               .rstd = a->out[2].data,
                               .C = a->in[0].type.d[1],
                               .eps = ((const avs_norm_attr *)a->attr)->eps};
    return avs_layernorm_cuda(&p, a->in[0].type.d[0], NULL);
}

static int run_layernorm_bwd(const avs_kernel_args *a)
{
    const int64_t rows = a->in[1].type.d[0], C = a->in[1].type.d[1];
    const avs_layernorm_bwd_p p = {.gy = a->in[0].data,
                                   .x = a->in[1].data,
                                   .gamma = a->in[2].data,
                                   .mean = a->in[3].data,
                                   .rstd = a->in[4].data,
                                   .gx = a->out[0].data,
                                   .C = (int32_t)C};
    void *work = lend(avs_layernorm_sums_work(rows, C));
    const int rc = avs_layernorm_bwd_cuda(&p, rows, NULL);
    return rc ? rc : avs_layernorm_sums_cuda(&p, rows, a->out[1].data, a->out[2].data, work, NULL);
}

static int run_pool_max(const avs_kernel_args *a)
{
    const avs_pool_attr *at = a->attr;
    const avs_type *x = &a->in[0].type, *y = &a->out[0].type;
    const avs_pool_max_p p = {a->in[0].data, a->out[0].data, a->out[1].data, x->d[1], x->d[2], x->d[3],
                              y->d[1],       y->d[2],        at->k,          at->s,   at->p};
    return avs_pool_max_cuda(&p, (int64_t)y->d[0] * y->d[1] * y->d[2], NULL);
}

static int run_pool_max_bwd(const avs_kernel_args *a)
{
    const avs_pool_attr *at = a->attr;
    const avs_type *x = &a->out[0].type, *y = &a->in[0].type;
    const avs_pool_max_bwd_p p = {a->in[0].data, a->in[1].data, a->out[0].data, x->d[1], x->d[2], x->d[3],
                                  y->d[1],       y->d[2],       at->k,          at->s,   at->p};
    return avs_pool_max_bwd_cuda(&p, (int64_t)x->d[0] * x->d[1] * x->d[2], NULL);
}

static avs_pool_avg_p pool_avg_of(const avs_kernel_args *a)
{
    const avs_pool_avg_attr *at = a->attr;
    return (avs_pool_avg_p){a->in[0].data, a->out[0].data, at->in_h, at->in_w, a->in[0].type.d[3],
                            at->out_h,     at->out_w,      at->k,    at->s,    at->p};
}

static int run_pool_avg(const avs_kernel_args *a)
{
    const avs_pool_avg_p p = pool_avg_of(a);
    return avs_pool_avg_cuda(&p, (int64_t)a->in[0].type.d[0] * p.Ho * p.Wo, NULL);
}

static int run_pool_avg_bwd(const avs_kernel_args *a)
{
    const avs_pool_avg_p p = pool_avg_of(a);
    return avs_pool_avg_bwd_cuda(&p, (int64_t)a->in[0].type.d[0] * p.H * p.W, NULL);
}

static int run_resize(const avs_kernel_args *a)
{
    const avs_type *y = &a->out[0].type;
    const avs_resize_p p = {
        .x = a->in[0].data, .y = a->out[0].data, .a = *(const avs_resize_attr *)a->attr, .C = y->d[3]};
    return avs_resize_cuda(&p, (int64_t)y->d[0] * y->d[1] * y->d[2], NULL);
}

static int run_msdeform(const avs_kernel_args *a)
{
    const avs_msdeform_attr *at = a->attr;
    const avs_type *v = &a->in[0].type, *l = &a->in[1].type;
    const avs_msdeform_p p = {.value = a->in[0].data,
                              .loc = a->in[1].data,
                              .weight = a->in[2].data,
                              .out = a->out[0].data,
                              .a = *at,
                              .S = v->d[1],
                              .Q = l->d[1],
                              .D = v->d[2] / at->heads};
    return avs_msdeform_cuda(&p, (int64_t)v->d[0] * p.Q * at->heads, NULL);
}

static int run_msdeform_bwd(const avs_kernel_args *a)
{
    const avs_msdeform_attr *at = a->attr;
    const avs_type *v = &a->in[1].type, *l = &a->in[2].type;
    const avs_msdeform_bwd_p p = {.gy = a->in[0].data,
                                  .value = a->in[1].data,
                                  .loc = a->in[2].data,
                                  .weight = a->in[3].data,
                                  .gloc = a->out[1].data,
                                  .gweight = a->out[2].data,
                                  .a = *at,
                                  .S = v->d[1],
                                  .Q = l->d[1],
                                  .D = v->d[2] / at->heads};
    const avs_msdeform_value_p value = {.gy = p.gy,
                                        .loc = p.loc,
                                        .weight = p.weight,
                                        .gvalue = a->out[0].data,
                                        .a = *at,
                                        .S = p.S,
                                        .Q = p.Q,
                                        .D = p.D};
    const int rc = avs_msdeform_bwd_cuda(&p, (int64_t)v->d[0] * p.Q * at->heads, NULL);
    return rc ? rc : avs_msdeform_value_cuda(&value, v->d[0], NULL);
}

static int run_ew(const avs_kernel_args *a)
{
    const avs_ew_attr *at = a->attr;
    avs_ew_p p = {.y = a->out[0].data, .n = at->n};
    memcpy(p.instr, at->instr, sizeof(p.instr));
    for (int i = 0; i < a->n_in; i++) {
        p.s[i] = (avs_ew_stream){.data = a->in[i].data, .is_i32 = a->in[i].type.dtype == AVS_I32};
        assert_true(avs_ew_broadcast(&a->in[i].type, &at->out, &p.s[i].mid, &p.s[i].inner));
    }
    return avs_ew_cuda(&p, avs_type_count(&at->out), NULL);
}

static int run_dropout(const avs_kernel_args *a)
{
    const avs_dropout_attr *at = a->attr;
    const double limit = (1.0 - (double)at->p) * 4294967296.0;
    const avs_dropout_p p = {.x = a->in[0].data,
                             .y = a->out[0].data,
                             .width = a->in[0].type.d[1],
                             .key = {(uint32_t)a->rt->seed, (uint32_t)(a->rt->seed >> 32)},
                             .stream = at->stream,
                             .step = (uint32_t)a->rt->step,
                             .sample0 = (uint32_t)a->rt->sample0,
                             .limit = limit > 4294967295.0 ? 0 : (uint32_t)ceil(limit),
                             .is_all = limit > 4294967295.0,
                             .per_row = at->per_row,
                             .scale = (float)(1.0 / (1.0 - (double)at->p))};
    return avs_dropout_cuda(&p, a->in[0].type.d[0] * ((p.width + 3) / 4), NULL);
}

static const struct {
    int (*run)(const avs_kernel_args *a);
    avs_op op;
    unsigned outputs; /* bit k: output k is made */
} bodies[] = {
    {run_softmax, AVS_OP_SOFTMAX, 1},
    {run_softmax_bwd, AVS_OP_SOFTMAX_BWD, 1},
    {run_layernorm, AVS_OP_LAYERNORM, 7},
    {run_layernorm_bwd, AVS_OP_LAYERNORM_BWD, 7},
    {run_pool_max, AVS_OP_POOL_MAX, 3},
    {run_pool_max_bwd, AVS_OP_POOL_MAX_BWD, 1},
    {run_pool_avg, AVS_OP_POOL_AVG, 1},
    {run_pool_avg_bwd, AVS_OP_POOL_AVG_BWD, 1},
    {run_resize, AVS_OP_RESIZE, 1},
    {run_msdeform, AVS_OP_MSDEFORM, 1},
    {run_msdeform_bwd, AVS_OP_MSDEFORM_BWD, 7},
    {run_ew, AVS_OP_EW, 1},
    {run_dropout, AVS_OP_DROPOUT, 1},
};

/* A slab of parameters in three segments: one frozen, one with L2 decay or decoupled decay, none a multiple of 32. */
enum { SLAB = 1801, SLAB_STEPS = 3 };
typedef struct {
    float w[SLAB], g[SLAB], m[SLAB], v[SLAB];
} adamw_slab;

static const avs_opt_segment slab_segments[] = {
    {.off = 0, .len = 1, .lr_mult = 1.f, .weight_decay = 0.05f},
    {.off = 1, .len = 300, .lr_mult = 0.f, .weight_decay = 0.05f},
    {.off = 301, .len = SLAB - 301, .lr_mult = 0.1f, .weight_decay = 0.01f},
};

static void slab_init(adamw_slab *s)
{
    avs_rng r = avs_rng_seed(17);
    memset(s, 0, sizeof(*s));
    for (int i = 0; i < SLAB; i++) s->w[i] = (float)avs_rng_normal(&r);
}

static void slab_gradient(adamw_slab *s, int t)
{
    avs_rng r = avs_rng_seed(100 + (uint64_t)t);
    for (int i = 0; i < SLAB; i++) s->g[i] = (float)avs_rng_normal(&r) * (i % 3 ? 1.f : 1e-4f);
}

static int run_adamw(adamw_slab *s, const avs_adamw_cfg *cfg, int t)
{
    for (size_t k = 0; k < sizeof(slab_segments) / sizeof(slab_segments[0]); k++) {
        const avs_opt_segment *q = &slab_segments[k];
        avs_adamw_p p = {.g = s->g + q->off, .w = s->w + q->off, .m = s->m + q->off, .v = s->v + q->off};
        if (q->lr_mult == 0.f) continue;
        avs_adamw_factors_of(&p.f, q, cfg, t, 0.25f);
        const int rc = avs_adamw_cuda(&p, q->len, NULL);
        if (rc) return rc;
    }
    return 0;
}

/* Both are f32: twice the bound of a comparison with f64. */
static void compare(const op_case *k, int index, const avs_tensor *got, const avs_tensor *want)
{
    const int64_t n = avs_type_count(&got->type);
    if (got->type.dtype != AVS_F32) {
        assert_memory_equal(got->data, want->data, (size_t)n * avs_dtype_size((avs_dtype)got->type.dtype));
        return;
    }
    const float *g = got->data, *w = want->data;
    double scale = 1;
    for (int64_t i = 0; i < n; i++) scale = fmax(scale, fabs((double)w[i]));
    const double bound = 2e-6 + 8 * (double)FLT_EPSILON * sqrt(k->K) * scale;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)g[i] - (double)w[i]) <= bound))
            fail_msg("case %d, %s (%s): element %lld is %.9g, on the CPU %.9g", index,
                     avs_op_rules[k->op].name, k->note, (long long)i, (double)g[i], (double)w[i]);
}

#endif
