/* SET_LOSS: the loss of a set of masks (Mask2Former). The targets' number differs from run to run, which no graph of fixed
 * extents can express, so matching, points and all three terms are one op. It forms the gradient of its total along with
 * the value, since both need the same samples; the backward scales that. */
#include "engine/graph/op/op.h"

#include "base/hash.h"

/* points: [..,n,2] f32, or absent */
static int check_points(const avs_type *in, int n_in, int i, int n, avs_err *e)
{
    if (!op_has(in, n_in, i)) return AVS_OK;
    if (op_want_dtype(in, i, AVS_F32, e) != AVS_OK || op_want_rank(in, i, 3, 3, e) != AVS_OK)
        return AVS_ESHAPE;
    if (in[i].d[1] != n || in[i].d[2] != 2)
        return avs_fail(e, AVS_ESHAPE, "operand %d has %d points of %d, expected %d of 2", i, in[i].d[1],
                        in[i].d[2], n);
    return AVS_OK;
}

int avs_infer_set_loss(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_set_loss_attr *a = attr;
    int rc;
    AVS_TRY(op_want_rank(in, 0, 3, 3, e));
    AVS_TRY(op_want_rank(in, 1, 4, 4, e));
    AVS_TRY(op_want_rank(in, 2, 3, 3, e));
    AVS_TRY(op_want_dtype(in, 0, AVS_F32, e));
    AVS_TRY(op_want_dtype(in, 1, AVS_F32, e));
    AVS_TRY(op_want_dtype(in, 2, AVS_I32, e));
    AVS_TRY(op_want_dtype(in, 3, AVS_F32, e));
    const int B = in[0].d[0], Q = in[0].d[1], K = in[0].d[2] - 1;
    AVS_TRY(op_want_vector(in, 3, B, e));
    if (K < 1 || K > AVS_SET_LOSS_CLASSES || in[1].d[0] != B || in[1].d[1] != Q || in[2].d[0] != B)
        return avs_fail(e, AVS_ESHAPE,
                        "classes, masks and target differ in rows or queries, or there are %d classes", K);
    if (a->points < 1 || a->candidates < a->uncertain || a->uncertain < 0 || a->uncertain > a->points)
        return avs_fail(e, AVS_ERANGE, "%d points, %d of them from %d candidates", a->points, a->uncertain,
                        a->candidates);
    AVS_TRY(check_points(in, n_in, 4, a->points, e));
    AVS_TRY(check_points(in, n_in, 5, a->candidates, e));
    AVS_TRY(check_points(in, n_in, 6, a->points - a->uncertain, e));
    if (op_has(in, n_in, 4) && in[4].d[0] != B)
        return avs_fail(e, AVS_ESHAPE, "points of %d rows, not %d", in[4].d[0], B);
    out[0] = AVS_F32T(4);
    out[1] = in[0];
    out[2] = in[1];
    out[3] = AVS_TYPE(AVS_I32, B, Q);
    out[4] = AVS_F32T(B, Q, K);
out:
    return rc;
}

void avs_vjp_set_loss(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    if (!gout[0]) return;
    avs_val total = avs_slice(g, gout[0], 0, 0, 1);
    for (int i = 0; i < 2; i++)
        if (need[i]) gin[i] = avs_mul(g, n.out[1 + i], total);
    if (need[3]) avs_graph_fail(g, AVS_ERANGE, "set_loss: the weights of rows cannot be differentiated");
}

avs_set_losses avs_set_loss(avs_graph *g, const avs_val in[7], avs_set_loss_attr attr)
{
    char text[320];
    avs_val out[AVS_MAX_OUT] = {0};
    snprintf(text, sizeof(text), "%s#%u", g->scope, g->n_stream++);
    const uint64_t h = avs_fnv1a64_str(text);
    attr.stream = (uint32_t)(h ^ h >> 32);
    avs_graph_node(g, AVS_OP_SET_LOSS, in, 7, &attr, out);
    return (avs_set_losses){.terms = out[0], .match = out[3], .cost = out[4]};
}
