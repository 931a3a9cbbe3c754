/* Nodes whose kernels run over rows, pixels or queries: softmax, norms, pooling, resampling, deformable attention. */
#include "engine/backend/cuda/cuda.h"

#include <stddef.h>

enum { FEW_CHANNELS = 32 }; /* maps of fewer are done per element: lanes over channels would idle */

static int64_t last_of(const avs_type *t)
{
    return t->rank ? t->d[t->rank - 1] : 1;
}

static int softmax(avs_backend *be, const avs_lower_req *r, bool is_bwd, avs_step *out, avs_err *e)
{
    const int64_t C = last_of(&r->out[0].type), rows = avs_type_count(&r->out[0].type) / C;
    if (is_bwd) {
        const avs_softmax_bwd_p p = {
            .gy = r->in[0].data, .y = r->in[1].data, .gx = r->out[0].data, .C = (int32_t)C};
        return avs_cuda_step(be, AVS_CUDA_LAUNCH(be, softmax_bwd, p, rows, e), 0, "softmax_bwd", out, e);
    }
    const avs_softmax_p p = {.x = r->in[0].data, .y = r->out[0].data, .C = (int32_t)C};
    return avs_cuda_step(be, AVS_CUDA_LAUNCH(be, softmax, p, rows, e), 0, "softmax", out, e);
}

static int layernorm(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const avs_norm_attr *at = r->g->node[r->node].attr;
    const int64_t C = last_of(&r->in[0].type);
    const avs_layernorm_p p = {.x = r->in[0].data,
                               .gamma = r->in[1].data,
                               .beta = r->in[2].data,
                               .y = r->out[0].data,
                               .mean = r->out[1].data,
                               .rstd = r->out[2].data,
                               .C = (int32_t)C,
                               .eps = at->eps};
    return avs_cuda_step(be, AVS_CUDA_LAUNCH(be, layernorm, p, avs_type_count(&r->in[0].type) / C, e), 0,
                         "layernorm", out, e);
}

static int layernorm_bwd(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const int64_t C = last_of(&r->in[1].type), rows = avs_type_count(&r->in[1].type) / C;
    const int64_t chunks = (rows + AVS_COLSUM_ROWS - 1) / AVS_COLSUM_ROWS;
    const avs_layernorm_params_p p = {.q = {.gy = r->in[0].data,
                                            .x = r->in[1].data,
                                            .gamma = r->in[2].data,
                                            .mean = r->in[3].data,
                                            .rstd = r->in[4].data,
                                            .gx = r->out[0].data,
                                            .C = (int32_t)C},
                                      .dgamma = r->out[1].data,
                                      .dbeta = r->out[2].data};
    avs_cuda_launch *rows_of = AVS_CUDA_LAUNCH(be, layernorm_bwd, p.q, rows, e);
    avs_cuda_launch *params = AVS_CUDA_LAUNCH(be, layernorm_params, p, rows, e);
    if (!rows_of || !params) return AVS_ENOMEM;
    params->work_at = offsetof(avs_layernorm_params_p, work);
    rows_of->next = params;
    return avs_cuda_step(be, rows_of, (size_t)(2 * chunks * C) * sizeof(float), "layernorm_bwd", out, e);
}

/* x as [S][n][C] with G groups. */
typedef struct {
    int64_t S, n, C, G;
} norm_extents;

static norm_extents extents_of(const avs_type *x, const avs_norm_attr *at, bool is_batch)
{
    norm_extents q = {.C = last_of(x)};
    q.S = is_batch ? 1 : x->d[0];
    q.G = is_batch ? q.C : at->groups;
    q.n = avs_type_count(x) / q.C / q.S;
    return q;
}

/* Batch statistics over ranks: kernels, the sum of what they left, kernels. */
typedef struct {
    avs_backend *be;
    avs_cuda_launch *before, *after;
    const avs_runtime *rt;
    int64_t over, count; /* where in the workspace, in floats; doubles */
} ranks_ctx;

static int ranks_run(void *ctx, void *workspace)
{
    const ranks_ctx *c = ctx;
    int rc = avs_cuda_launch_run(c->be, c->before, workspace);
    if (rc == AVS_OK && c->rt->sum)
        rc = c->rt->sum(c->rt->sum_ctx, (double *)(void *)((float *)workspace + c->over), c->count);
    return rc == AVS_OK ? avs_cuda_launch_run(c->be, c->after, workspace) : rc;
}

/* `out` is that of the kernels before the sum; the same parameters serve those behind it. */
static int over_ranks(avs_backend *be, const avs_lower_req *r, const norm_extents *q, avs_cuda_launch *before,
                      avs_cuda_launch *after, avs_step *out, avs_err *e)
{
    ranks_ctx *c = before && after ? AVS_NEW(be->arena, ranks_ctx) : NULL;
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory for a step");
    after->work_at = before->work_at;
    *c = (ranks_ctx){be, before, after, r->rt, avs_norm_over(q->S, q->n, q->C), AVS_MOMENTS(q->C)};
    out->run = ranks_run;
    out->ctx = c;
    return AVS_OK;
}

static int norm(avs_backend *be, const avs_lower_req *r, bool is_batch, avs_step *out, avs_err *e)
{
    const avs_norm_attr *at = r->g->node[r->node].attr;
    const norm_extents q = extents_of(&r->in[0].type, at, is_batch);
    const avs_norm_p p = {.x = r->in[0].data,
                          .gamma = r->in[1].data,
                          .beta = r->in[2].data,
                          .rm = is_batch ? r->in[3].data : NULL,
                          .rv = is_batch ? r->in[4].data : NULL,
                          .y = r->out[0].data,
                          .mean = r->out[1].data,
                          .rstd = r->out[2].data,
                          .nm = is_batch ? r->out[3].data : NULL,
                          .nv = is_batch ? r->out[4].data : NULL,
                          .S = q.S,
                          .n = q.n,
                          .C = q.C,
                          .G = q.G,
                          .eps = at->eps,
                          .momentum = at->momentum,
                          .has_relu = at->act == AVS_ACT_RELU,
                          .is_sync = is_batch && at->is_sync};
    avs_cuda_launch *l = AVS_CUDA_LAUNCH(be, norm, p, 0, e);
    if (l) l->work_at = offsetof(avs_norm_p, part);
    const int rc = avs_cuda_step(be, l, (size_t)avs_norm_work(q.S, q.n, q.C) * sizeof(float), "norm", out, e);
    if (rc != AVS_OK || !p.is_sync) return rc;
    return over_ranks(be, r, &q, l, AVS_CUDA_LAUNCH(be, norm_finish, p, 0, e), out, e);
}

static int norm_bwd(avs_backend *be, const avs_lower_req *r, bool is_batch, avs_step *out, avs_err *e)
{
    const avs_node *n = &r->g->node[r->node];
    const norm_extents q = extents_of(&r->in[1].type, n->attr, is_batch);
    const avs_norm_bwd_p p = {.gy = r->in[0].data,
                              .x = r->in[1].data,
                              .gamma = r->in[2].data,
                              .beta = n->n_in > 5 ? r->in[5].data : NULL,
                              .mean = r->in[3].data,
                              .rstd = r->in[4].data,
                              .gx = r->out[0].data,
                              .dgamma = r->out[1].data,
                              .dbeta = r->out[2].data,
                              .S = q.S,
                              .n = q.n,
                              .C = q.C,
                              .G = q.G,
                              .is_sync = is_batch && ((const avs_norm_attr *)n->attr)->is_sync};
    avs_cuda_launch *l = AVS_CUDA_LAUNCH(be, norm_bwd, p, 0, e);
    if (l) l->work_at = offsetof(avs_norm_bwd_p, part);
    const int rc =
        avs_cuda_step(be, l, (size_t)avs_norm_work(q.S, q.n, q.C) * sizeof(float), "norm_bwd", out, e);
    if (rc != AVS_OK || !p.is_sync) return rc;
    return over_ranks(be, r, &q, l, AVS_CUDA_LAUNCH(be, norm_bwd_finish, p, 0, e), out, e);
}

static int64_t pixels_of(const avs_type *t)
{
    return (int64_t)t->d[0] * t->d[1] * t->d[2];
}

static int pool_max(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const avs_pool_attr *at = r->g->node[r->node].attr;
    const avs_type *x = &r->in[0].type, *y = &r->out[0].type;
    const avs_pool_max_p p = {r->in[0].data, r->out[0].data, r->out[1].data, x->d[1], x->d[2], x->d[3],
                              y->d[1],       y->d[2],        at->k,          at->s,   at->p};
    return avs_cuda_step(be, AVS_CUDA_LAUNCH(be, pool_max, p, pixels_of(y), e), 0, "pool_max", out, e);
}

static int pool_max_bwd(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const avs_pool_attr *at = r->g->node[r->node].attr;
    const avs_type *x = &r->out[0].type, *y = &r->in[0].type;
    const avs_pool_max_bwd_p p = {r->in[0].data, r->in[1].data, r->out[0].data, x->d[1], x->d[2], x->d[3],
                                  y->d[1],       y->d[2],       at->k,          at->s,   at->p};
    return avs_cuda_step(be, AVS_CUDA_LAUNCH(be, pool_max_bwd, p, pixels_of(x), e), 0, "pool_max_bwd", out,
                         e);
}

static int pool_avg(avs_backend *be, const avs_lower_req *r, bool is_bwd, avs_step *out, avs_err *e)
{
    const avs_pool_avg_attr *at = r->g->node[r->node].attr;
    const avs_pool_avg_p p = {r->in[0].data, r->out[0].data, at->in_h, at->in_w, r->in[0].type.d[3],
                              at->out_h,     at->out_w,      at->k,    at->s,    at->p};
    const int64_t n = pixels_of(&r->out[0].type);
    return is_bwd ? avs_cuda_step(be, AVS_CUDA_LAUNCH(be, pool_avg_bwd, p, n, e), 0, "pool_avg_bwd", out, e)
                  : avs_cuda_step(be, AVS_CUDA_LAUNCH(be, pool_avg, p, n, e), 0, "pool_avg", out, e);
}

static int resize(avs_backend *be, const avs_lower_req *r, bool is_bwd, avs_step *out, avs_err *e)
{
    const avs_type *y = &r->out[0].type;
    const avs_resize_p p = {.x = r->in[0].data,
                            .y = r->out[0].data,
                            .a = *(const avs_resize_attr *)r->g->node[r->node].attr,
                            .C = y->d[3]};
    const bool is_few = p.C < FEW_CHANNELS;
    const int64_t n = is_few ? avs_type_count(y) : pixels_of(y);
    avs_cuda_launch *l;
    if (is_bwd)
        l = is_few ? AVS_CUDA_LAUNCH(be, resize_bwd_few, p, n, e) : AVS_CUDA_LAUNCH(be, resize_bwd, p, n, e);
    else
        l = is_few ? AVS_CUDA_LAUNCH(be, resize_few, p, n, e) : AVS_CUDA_LAUNCH(be, resize, p, n, e);
    return avs_cuda_step(be, l, 0, is_bwd ? "resize_bwd" : "resize", out, e);
}

static int msdeform(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const avs_msdeform_attr *at = r->g->node[r->node].attr;
    const avs_type *v = &r->in[0].type;
    const avs_msdeform_p p = {.value = r->in[0].data,
                              .loc = r->in[1].data,
                              .weight = r->in[2].data,
                              .out = r->out[0].data,
                              .a = *at,
                              .S = v->d[1],
                              .Q = r->in[1].type.d[1],
                              .D = v->d[2] / at->heads};
    return avs_cuda_step(be, AVS_CUDA_LAUNCH(be, msdeform, p, (int64_t)v->d[0] * p.Q * at->heads, e), 0,
                         "msdeform", out, e);
}

static int msdeform_bwd(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const avs_msdeform_attr *at = r->g->node[r->node].attr;
    const avs_type *v = &r->in[1].type;
    const avs_msdeform_bwd_p p = {.gy = r->in[0].data,
                                  .value = r->in[1].data,
                                  .loc = r->in[2].data,
                                  .weight = r->in[3].data,
                                  .gloc = r->out[1].data,
                                  .gweight = r->out[2].data,
                                  .a = *at,
                                  .S = v->d[1],
                                  .Q = r->in[2].type.d[1],
                                  .D = v->d[2] / at->heads};
    const avs_msdeform_value_p value = {.gy = p.gy,
                                        .loc = p.loc,
                                        .weight = p.weight,
                                        .gvalue = r->out[0].data,
                                        .a = *at,
                                        .S = p.S,
                                        .Q = p.Q,
                                        .D = p.D};
    avs_cuda_launch *l = AVS_CUDA_LAUNCH(be, msdeform_bwd, p, (int64_t)v->d[0] * p.Q * at->heads, e);
    if (l) l->next = AVS_CUDA_LAUNCH(be, msdeform_value, value, v->d[0], e);
    if (!l || !l->next) return AVS_ENOMEM;
    return avs_cuda_step(be, l, 0, "msdeform_bwd", out, e);
}

int avs_cuda_lower_rows(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    switch (r->g->node[r->node].op) {
    case AVS_OP_SOFTMAX:
        return softmax(be, r, false, out, e);
    case AVS_OP_SOFTMAX_BWD:
        return softmax(be, r, true, out, e);
    case AVS_OP_LAYERNORM:
        return layernorm(be, r, out, e);
    case AVS_OP_LAYERNORM_BWD:
        return layernorm_bwd(be, r, out, e);
    case AVS_OP_BATCHNORM:
        return norm(be, r, true, out, e);
    case AVS_OP_BATCHNORM_BWD:
        return norm_bwd(be, r, true, out, e);
    case AVS_OP_GROUPNORM:
        return norm(be, r, false, out, e);
    case AVS_OP_GROUPNORM_BWD:
        return norm_bwd(be, r, false, out, e);
    case AVS_OP_POOL_MAX:
        return pool_max(be, r, out, e);
    case AVS_OP_POOL_MAX_BWD:
        return pool_max_bwd(be, r, out, e);
    case AVS_OP_POOL_AVG:
        return pool_avg(be, r, false, out, e);
    case AVS_OP_POOL_AVG_BWD:
        return pool_avg(be, r, true, out, e);
    case AVS_OP_RESIZE:
        return resize(be, r, false, out, e);
    case AVS_OP_RESIZE_BWD:
        return resize(be, r, true, out, e);
    case AVS_OP_MSDEFORM:
        return msdeform(be, r, out, e);
    case AVS_OP_MSDEFORM_BWD:
        return msdeform_bwd(be, r, out, e);
    default:
        return avs_fail(e, AVS_EMISSING, "op %s is no op over rows",
                        avs_op_rules[r->g->node[r->node].op].name);
    }
}
