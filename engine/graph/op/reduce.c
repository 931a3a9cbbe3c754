/* REDUCE: sum or mean over a run of axes, which stay with extent 1; its gradient spreads gy again. */
#include "engine/graph/op/op.h"

int avs_infer_reduce(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_reduce_attr *a = attr;
    if (op_want_f32(in, n_in, e) != AVS_OK) return AVS_ESHAPE;
    if (a->from < 0 || a->from >= a->to || a->to > in[0].rank)
        return avs_fail(e, AVS_ERANGE, "axes %d to %d do not lie inside rank %d", a->from, a->to, in[0].rank);
    out[0] = in[0];
    for (int i = a->from; i < a->to; i++) out[0].d[i] = 1;
    return AVS_OK;
}

void avs_vjp_reduce(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    const avs_reduce_attr *a = n.attr;
    const avs_type *x = avs_t(g, n.in[0]);
    int64_t count = avs_type_count(x) / avs_type_count(avs_t(g, n.out[0]));
    (void)need;
    gin[0] =
        avs_expand(g, a->mean && count > 1 ? avs_ew_imm(g, AVS_EW_DIV, gout[0], (float)count) : gout[0], *x);
}

avs_val avs_reduce(avs_graph *g, avs_val x, int from, int to, bool mean)
{
    avs_reduce_attr a = {.from = from, .to = to, .mean = mean};
    return avs_graph_node(g, AVS_OP_REDUCE, &x, 1, &a, NULL);
}
