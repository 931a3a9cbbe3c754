/* POOL_MAX: the forward keeps the place of the maximum inside each window, the backward sends gy there.
 * POOL_AVG: means over fixed or adaptive windows; the backward spreads gy over each window. */
#include "engine/graph/op/op.h"

static int check(const avs_pool_attr *a, int batch, int channels, avs_type *y, avs_err *e)
{
    if (a->k < 1 || a->k > 15 || a->s < 1 || a->p < 0 || a->p > a->k / 2)
        return avs_fail(e, AVS_ERANGE,
                        "window %d (1 to 15), stride %d, padding %d (at most half a window) are not usable",
                        a->k, a->s, a->p);
    int h = a->in_h + 2 * a->p - a->k, w = a->in_w + 2 * a->p - a->k;
    if (h < 0 || w < 0)
        return avs_fail(e, AVS_ESHAPE, "a map of %dx%d is too small for a window of %d", a->in_h, a->in_w,
                        a->k);
    *y = AVS_F32T(batch, h / a->s + 1, w / a->s + 1, channels);
    return AVS_OK;
}

int avs_infer_pool_max(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_pool_attr *a = attr;
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(op_want_rank(in, 0, 4, 4, e));
    if (in[0].d[1] != a->in_h || in[0].d[2] != a->in_w)
        return avs_fail(e, AVS_ESHAPE, "the map is %dx%d, not %dx%d", in[0].d[1], in[0].d[2], a->in_h,
                        a->in_w);
    AVS_TRY(check(a, in[0].d[0], in[0].d[3], &out[0], e));
    out[1] = out[0];
    out[1].dtype = AVS_U8;
out:
    return rc;
}

int avs_infer_pool_max_bwd(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_pool_attr *a = attr;
    avs_type y;
    int rc;
    (void)n_in;
    AVS_TRY(op_want_dtype(in, 0, AVS_F32, e));
    AVS_TRY(op_want_dtype(in, 1, AVS_U8, e));
    AVS_TRY(op_want_rank(in, 0, 4, 4, e));
    AVS_TRY(check(a, in[0].d[0], in[0].d[3], &y, e));
    AVS_TRY(op_want_shape(in, 0, &y, e));
    AVS_TRY(op_want_shape(in, 1, &y, e));
    out[0] = AVS_F32T(y.d[0], a->in_h, a->in_w, y.d[3]);
out:
    return rc;
}

void avs_vjp_pool_max(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    (void)need;
    gin[0] = avs_graph_node(g, AVS_OP_POOL_MAX_BWD, (avs_val[]){gout[0], n.out[1]}, 2, n.attr, NULL);
}

avs_val avs_pool_max(avs_graph *g, avs_val x, int k, int s, int p)
{
    const avs_type *t = avs_t(g, x);
    avs_pool_attr a = {.k = k, .s = s, .p = p, .in_h = t->d[1], .in_w = t->d[2]};
    return avs_graph_node(g, AVS_OP_POOL_MAX, &x, 1, &a, NULL);
}

/* ---------------------------------------------------------------- mean */

/* The output's extents have to be those that the attributes imply. */
static int check_avg(const avs_pool_avg_attr *a, avs_err *e)
{
    if (a->k == 0) {
        if (a->out_h >= 1 && a->out_w >= 1 && a->in_h >= 1 && a->in_w >= 1) return AVS_OK;
        return avs_fail(e, AVS_ERANGE, "a map of %dx%d cannot be averaged to %dx%d", a->in_h, a->in_w,
                        a->out_h, a->out_w);
    }
    const avs_pool_attr p = {.k = a->k, .s = a->s, .p = a->p, .in_h = a->in_h, .in_w = a->in_w};
    avs_type y;
    int rc;
    AVS_TRY(check(&p, 1, 1, &y, e));
    if (y.d[1] != a->out_h || y.d[2] != a->out_w)
        return avs_fail(e, AVS_ESHAPE, "windows over %dx%d give %dx%d, not %dx%d", a->in_h, a->in_w, y.d[1],
                        y.d[2], a->out_h, a->out_w);
out:
    return rc;
}

static int infer_avg(const avs_type *in, const avs_pool_avg_attr *a, bool backward, avs_type *out, avs_err *e)
{
    const int h = backward ? a->out_h : a->in_h, w = backward ? a->out_w : a->in_w;
    int rc;
    AVS_TRY(op_want_dtype(in, 0, AVS_F32, e));
    AVS_TRY(op_want_rank(in, 0, 4, 4, e));
    AVS_TRY(check_avg(a, e));
    if (in[0].d[1] != h || in[0].d[2] != w)
        return avs_fail(e, AVS_ESHAPE, "the map is %dx%d, not %dx%d", in[0].d[1], in[0].d[2], h, w);
    out[0] = AVS_F32T(in[0].d[0], backward ? a->in_h : a->out_h, backward ? a->in_w : a->out_w, in[0].d[3]);
out:
    return rc;
}

int avs_infer_pool_avg(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    (void)n_in;
    return infer_avg(in, attr, false, out, e);
}

int avs_infer_pool_avg_bwd(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    (void)n_in;
    return infer_avg(in, attr, true, out, e);
}

void avs_vjp_pool_avg(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    (void)need;
    gin[0] = avs_graph_node(g, AVS_OP_POOL_AVG_BWD, &gout[0], 1, g->node[node].attr, NULL);
}

avs_val avs_pool_avg(avs_graph *g, avs_val x, int k, int s, int p)
{
    const avs_type *t = avs_t(g, x);
    avs_pool_avg_attr a = {.k = k, .s = s, .p = p, .in_h = t->d[1], .in_w = t->d[2]};
    if (k < 1 || s < 1) return avs_graph_fail(g, AVS_ERANGE, "window %d and stride %d are not usable", k, s);
    a.out_h = (a.in_h + 2 * p - k) / s + 1;
    a.out_w = (a.in_w + 2 * p - k) / s + 1;
    return avs_graph_node(g, AVS_OP_POOL_AVG, &x, 1, &a, NULL);
}

avs_val avs_pool_adaptive(avs_graph *g, avs_val x, int out_h, int out_w)
{
    const avs_type *t = avs_t(g, x);
    avs_pool_avg_attr a = {.in_h = t->d[1], .in_w = t->d[2], .out_h = out_h, .out_w = out_w};
    return avs_graph_node(g, AVS_OP_POOL_AVG, &x, 1, &a, NULL);
}
