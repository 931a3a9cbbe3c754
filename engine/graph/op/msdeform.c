/* MSDEFORM: multi-scale deformable attention core (arXiv 2010.04159, eq. 3); one backward node gives all gradients. */
#include "engine/graph/op/op.h"

int avs_infer_msdeform(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_msdeform_attr *a = attr;
    int rc;
    int64_t rows = 0;
    AVS_TRY(op_want_f32(in, n_in, e));
    for (int i = 0; i < 3; i++) AVS_TRY(op_want_rank(in, i, 3, 3, e));
    if (a->heads < 1 || a->heads > in[0].d[2] || a->levels < 1 || a->levels > AVS_MAX_LEVELS ||
        a->points < 1 || a->points > 4096)
        return avs_fail(e, AVS_ERANGE, "%d heads, %d levels, %d points are not usable", a->heads, a->levels,
                        a->points);
    for (int l = 0; l < a->levels; l++) {
        if (a->h[l] < 1 || a->w[l] < 1)
            return avs_fail(e, AVS_ERANGE, "level %d is %dx%d", l, a->h[l], a->w[l]);
        rows += (int64_t)a->h[l] * a->w[l];
    }
    if (in[0].d[1] != rows)
        return avs_fail(e, AVS_ESHAPE, "value has %d rows, the levels have %lld", in[0].d[1],
                        (long long)rows);
    if (in[0].d[2] % a->heads)
        return avs_fail(e, AVS_ESHAPE, "%d channels do not fall into %d heads", in[0].d[2], a->heads);
    int64_t n = (int64_t)a->heads * a->levels * a->points, Q = in[1].d[1], B = in[0].d[0];
    if (n > INT32_MAX / 2) return avs_fail(e, AVS_ERANGE, "%lld points are too many", (long long)n);
    avs_type loc = AVS_F32T(B, Q, 2 * n), weight = AVS_F32T(B, Q, n);
    AVS_TRY(op_want_shape(in, 1, &loc, e));
    AVS_TRY(op_want_shape(in, 2, &weight, e));
    out[0] = AVS_F32T(B, Q, in[0].d[2]);
out:
    return rc;
}

int avs_infer_msdeform_bwd(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    avs_type y;
    int rc;
    AVS_TRY(op_want_dtype(in, 0, AVS_F32, e));
    AVS_TRY(avs_infer_msdeform(in + 1, n_in - 1, attr, &y, e));
    AVS_TRY(op_want_shape(in, 0, &y, e));
    for (int i = 0; i < 3; i++) out[i] = in[i + 1];
out:
    return rc;
}

void avs_vjp_msdeform(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    avs_val out[AVS_MAX_OUT] = {0};
    avs_graph_node(g, AVS_OP_MSDEFORM_BWD, (avs_val[]){gout[0], n.in[0], n.in[1], n.in[2]}, 4, n.attr, out);
    for (int i = 0; i < 3; i++) gin[i] = need[i] ? out[i] : 0;
}

avs_val avs_msdeform(avs_graph *g, avs_val value, avs_val loc, avs_val weight, const avs_msdeform_attr *attr)
{
    return avs_graph_node(g, AVS_OP_MSDEFORM, (avs_val[]){value, loc, weight}, 3, attr, NULL);
}
