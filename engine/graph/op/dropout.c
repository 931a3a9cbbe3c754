/* DROPOUT and stochastic depth: y = x keep/(1-p). The mask is a function of stream, step and row, so the backward is
 * the same node on the gradient and nothing is stored. The stream is hashed from scope and ordinal when the builder
 * makes the node; passes keep it. */
#include "engine/graph/op/op.h"

#include "base/hash.h"

int avs_infer_dropout(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_dropout_attr *a = attr;
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(op_want_rank(in, 0, 1, AVS_MAX_RANK, e));
    if (!(a->p >= 0 && a->p < 1)) return avs_fail(e, AVS_ERANGE, "p is %g, not in [0,1)", (double)a->p);
    out[0] = in[0];
out:
    return rc;
}

void avs_vjp_dropout(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    (void)need;
    gin[0] = avs_graph_node(g, AVS_OP_DROPOUT, &gout[0], 1, g->node[node].attr, NULL);
}

avs_val avs_dropout(avs_graph *g, avs_val x, float p, bool per_row)
{
    char text[320];
    if (!g->training || p == 0) return x;
    snprintf(text, sizeof(text), "%s#%u", g->scope, g->n_stream++);
    uint64_t h = avs_fnv1a64_str(text);
    avs_dropout_attr a = {.stream = (uint32_t)(h ^ h >> 32), .p = p, .per_row = per_row};
    return avs_graph_node(g, AVS_OP_DROPOUT, &x, 1, &a, NULL);
}
