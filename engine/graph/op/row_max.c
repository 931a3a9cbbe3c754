/* ROW_MAX: the largest row of each column, and where it stands. Its gradient goes to that row alone. The index is an
 * output of its own: it serves look-ups by GATHER_ROWS and class maps, and has no gradient. */
#include "engine/graph/op/op.h"

int avs_infer_row_max(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_gather_attr *a = attr;
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(op_want_rank(in, 0, 3, 3, e));
    if (in[0].d[1] != a->rows || a->rows < 1)
        return avs_fail(e, AVS_ESHAPE, "operand 0 has %d rows, not %d", in[0].d[1], a->rows);
    out[0] = AVS_F32T(in[0].d[0], in[0].d[2]);
    out[1] = AVS_TYPE(AVS_I32, in[0].d[0], in[0].d[2]);
out:
    return rc;
}

int avs_infer_row_max_bwd(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_gather_attr *a = attr;
    int rc;
    AVS_TRY(op_want_f32(in, n_in - 1, e));
    AVS_TRY(op_want_rank(in, 0, 2, 2, e));
    AVS_TRY(op_want_dtype(in, 1, AVS_I32, e));
    AVS_TRY(op_want_shape(in, 1, &in[0], e));
    if (a->rows < 1) return avs_fail(e, AVS_ERANGE, "the gradient has %d rows", a->rows);
    out[0] = AVS_F32T(in[0].d[0], a->rows, in[0].d[1]);
out:
    return rc;
}

void avs_vjp_row_max(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    if (need[0] && gout[0])
        gin[0] = avs_graph_node(g, AVS_OP_ROW_MAX_BWD, (avs_val[]){gout[0], n.out[1]}, 2, n.attr, NULL);
}

avs_val avs_row_max(avs_graph *g, avs_val x, avs_val *index)
{
    const avs_gather_attr a = {.rows = avs_dim(g, x, 1)};
    avs_val out[AVS_MAX_OUT] = {0};
    avs_val y = avs_graph_node(g, AVS_OP_ROW_MAX, &x, 1, &a, out);
    if (index) *index = out[1];
    return y;
}
