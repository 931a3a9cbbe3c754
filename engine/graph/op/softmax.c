/* SOFTMAX over the last axis: y_i = exp(x_i - max) / sum; gx = y (gy - sum(gy y)). */
#include "engine/graph/op/op.h"

int avs_infer_softmax(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    int rc;
    (void)attr;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(op_want_rank(in, 0, 1, AVS_MAX_RANK, e));
    out[0] = in[0];
out:
    return rc;
}

int avs_infer_softmax_bwd(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    int rc;
    AVS_TRY(avs_infer_softmax(in, n_in, attr, out, e));
    AVS_TRY(op_want_shape(in, 1, &in[0], e));
out:
    return rc;
}

void avs_vjp_softmax(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    (void)need;
    gin[0] = avs_graph_node(g, AVS_OP_SOFTMAX_BWD, (avs_val[]){gout[0], g->node[node].out[0]}, 2, NULL, NULL);
}

avs_val avs_softmax(avs_graph *g, avs_val x)
{
    return avs_graph_node(g, AVS_OP_SOFTMAX, &x, 1, NULL, NULL);
}
