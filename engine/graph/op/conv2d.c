/* CONV2D and its two gradients: channels-last maps, weights O,I/g,kh,kw.
 *
 * With y = conv(x, w) + b: gx is the transposed convolution of gy with w, gw correlates x with gy, gb sums gy over
 * batch and positions. CONV2D_BWD_X is itself linear in both operands, so it has a gradient too (a transposed
 * convolution in a forward). Epilogues (act, residual) are set by passes after differentiation. */
#include "engine/graph/op/op.h"

static int64_t out_extent(int n, int k, int s, int p, int d)
{
    int64_t span = (int64_t)n + 2 * (int64_t)p - (int64_t)d * (k - 1) - 1;
    return span < 0 ? 0 : span / s + 1;
}

/* x and w against the attributes; y gets the output type. */
static int check(const avs_conv_attr *c, const avs_type *x, const avs_type *w, avs_type *y, avs_err *e)
{
    if (c->sh < 1 || c->sw < 1 || c->ph < 0 || c->pw < 0 || c->dh < 1 || c->dw < 1 || c->groups < 1)
        return avs_fail(e, AVS_ERANGE,
                        "stride %dx%d, padding %dx%d, dilation %dx%d, groups %d are not usable", c->sh, c->sw,
                        c->ph, c->pw, c->dh, c->dw, c->groups);
    if (w->d[2] != c->kh || w->d[3] != c->kw)
        return avs_fail(e, AVS_ESHAPE, "the kernel is %dx%d, the weights are %dx%d", c->kh, c->kw, w->d[2],
                        w->d[3]);
    if (x->d[1] != c->in_h || x->d[2] != c->in_w)
        return avs_fail(e, AVS_ESHAPE, "the map is %dx%d, not %dx%d", x->d[1], x->d[2], c->in_h, c->in_w);
    if (x->d[3] % c->groups || w->d[0] % c->groups || (int64_t)w->d[1] * c->groups != x->d[3])
        return avs_fail(e, AVS_ESHAPE,
                        "%d channels in %d groups do not fit weights of %d outputs and %d inputs", x->d[3],
                        c->groups, w->d[0], w->d[1]);
    int64_t ho = out_extent(c->in_h, c->kh, c->sh, c->ph, c->dh),
            wo = out_extent(c->in_w, c->kw, c->sw, c->pw, c->dw);
    if (ho > INT32_MAX || wo > INT32_MAX)
        return avs_fail(e, AVS_ERANGE, "the padding of %dx%d is too large", c->ph, c->pw);
    if (ho < 1 || wo < 1)
        return avs_fail(e, AVS_ESHAPE, "a map of %dx%d is too small for a kernel of %dx%d", c->in_h, c->in_w,
                        c->kh, c->kw);
    *y = AVS_F32T(x->d[0], ho, wo, w->d[0]);
    return AVS_OK;
}

int avs_infer_conv2d(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(op_want_rank(in, 0, 4, 4, e));
    AVS_TRY(op_want_rank(in, 1, 4, 4, e));
    AVS_TRY(check(attr, &in[0], &in[1], &out[0], e));
    if (op_has(in, n_in, 2)) AVS_TRY(op_want_vector(in, 2, in[1].d[0], e));
    if (op_has(in, n_in, 3)) AVS_TRY(op_want_shape(in, 3, &out[0], e));
out:
    return rc;
}

int avs_infer_conv2d_bwd_x(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_conv_attr *c = attr;
    avs_type y;
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(op_want_rank(in, 0, 4, 4, e));
    AVS_TRY(op_want_rank(in, 1, 4, 4, e));
    out[0] = AVS_F32T(in[0].d[0], c->in_h, c->in_w, (int64_t)in[1].d[1] * c->groups);
    AVS_TRY(check(c, &out[0], &in[1], &y, e));
    AVS_TRY(op_want_shape(in, 0, &y, e));
out:
    return rc;
}

int avs_infer_conv2d_bwd_w(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_conv_attr *c = attr;
    avs_type y;
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(op_want_rank(in, 0, 4, 4, e));
    AVS_TRY(op_want_rank(in, 1, 4, 4, e));
    out[0] = AVS_F32T(in[1].d[3], in[0].d[3] / (c->groups > 0 ? c->groups : 1), c->kh, c->kw);
    AVS_TRY(check(c, &in[0], &out[0], &y, e));
    AVS_TRY(op_want_shape(in, 1, &y, e));
out:
    return rc;
}

void avs_vjp_conv2d(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    const avs_conv_attr *c = n.attr;
    if (c->act != AVS_ACT_NONE || n.in[3]) {
        avs_graph_fail(g, AVS_ERANGE, "conv2d with an epilogue cannot be differentiated");
        return;
    }
    if (need[0]) gin[0] = avs_graph_node(g, AVS_OP_CONV2D_BWD_X, (avs_val[]){gout[0], n.in[1]}, 2, c, NULL);
    if (need[1]) gin[1] = avs_graph_node(g, AVS_OP_CONV2D_BWD_W, (avs_val[]){n.in[0], gout[0]}, 2, c, NULL);
    if (need[2]) gin[2] = avs_reshape(g, avs_reduce(g, gout[0], 0, 3, false), *avs_t(g, n.in[2]));
}

void avs_vjp_conv2d_bwd_x(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    if (need[0]) gin[0] = avs_graph_node(g, AVS_OP_CONV2D, (avs_val[]){gout[0], n.in[1]}, 2, n.attr, NULL);
    if (need[1])
        gin[1] = avs_graph_node(g, AVS_OP_CONV2D_BWD_W, (avs_val[]){gout[0], n.in[0]}, 2, n.attr, NULL);
}

avs_val avs_conv_transpose2d(avs_graph *g, avs_val x, avs_val w, avs_val bias, int stride, int pad)
{
    const avs_type *tx = avs_t(g, x), *tw = avs_t(g, w);
    const avs_conv_attr c = {.sh = stride,
                             .sw = stride,
                             .ph = pad,
                             .pw = pad,
                             .dh = 1,
                             .dw = 1,
                             .groups = 1,
                             .kh = tw->d[2],
                             .kw = tw->d[3],
                             .in_h = (tx->d[1] - 1) * stride + tw->d[2] - 2 * pad,
                             .in_w = (tx->d[2] - 1) * stride + tw->d[3] - 2 * pad};
    avs_val y = avs_graph_node(g, AVS_OP_CONV2D_BWD_X, (avs_val[]){x, w}, 2, &c, NULL);
    return bias ? avs_add(g, y, bias) : y;
}

avs_val avs_conv2d(avs_graph *g, avs_val x, avs_val w, avs_val bias, int stride, int pad, int dilation,
                   int groups)
{
    const avs_type *tx = avs_t(g, x), *tw = avs_t(g, w);
    avs_conv_attr c = {.sh = stride,
                       .sw = stride,
                       .ph = pad,
                       .pw = pad,
                       .dh = dilation,
                       .dw = dilation,
                       .groups = groups,
                       .kh = tw->d[2],
                       .kw = tw->d[3],
                       .in_h = tx->d[1],
                       .in_w = tx->d[2]};
    return avs_graph_node(g, AVS_OP_CONV2D, (avs_val[]){x, w, bias}, 3, &c, NULL);
}
