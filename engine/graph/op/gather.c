/* GATHER_ROWS: rows of each batch entry by a fixed index, -1 for a row of zeros.
 *
 * Windows, shifts, paddings, crops and table look-ups are all of this one form. The gradient is the transposed gather.
 * Where the index is a constant that names no row twice (windows and their inverse) that is a gather again, by the
 * inverse index; otherwise GATHER_ROWS_BWD adds up the rows that came from one place. */
#include "engine/graph/op/op.h"

static int check(const avs_type *in, int n_in, int rows, avs_err *e)
{
    int rc;
    AVS_TRY(op_want_f32(in, n_in - 1, e));
    AVS_TRY(op_want_rank(in, 0, 3, 3, e));
    AVS_TRY(op_want_rank(in, 1, 1, 1, e));
    AVS_TRY(op_want_dtype(in, 1, AVS_I32, e));
    if (rows < 1) return avs_fail(e, AVS_ERANGE, "the table has %d rows", rows);
out:
    return rc;
}

int avs_infer_gather_rows(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_gather_attr *a = attr;
    int rc;
    AVS_TRY(check(in, n_in, a->rows, e));
    if (in[0].d[1] != a->rows)
        return avs_fail(e, AVS_ESHAPE, "operand 0 has %d rows, not %d", in[0].d[1], a->rows);
    out[0] = AVS_F32T(in[0].d[0], in[1].d[0], in[0].d[2]);
out:
    return rc;
}

int avs_infer_gather_rows_bwd(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_gather_attr *a = attr;
    int rc;
    AVS_TRY(check(in, n_in, a->rows, e));
    if (in[0].d[1] != in[1].d[0])
        return avs_fail(e, AVS_ESHAPE, "operand 0 has %d rows, the index has %d", in[0].d[1], in[1].d[0]);
    out[0] = AVS_F32T(in[0].d[0], a->rows, in[0].d[2]);
out:
    return rc;
}

/* The inverse of a constant index as a new constant; 0 if a row is named twice or the index is no constant. */
static avs_val inverse_of(avs_graph *g, avs_val index, int rows)
{
    if (g->v[index].kind != AVS_V_CONST) return 0;
    const int32_t *at = g->v[index].data;
    const int n = avs_dim(g, index, 0);
    int32_t *from = AVS_NEW_N(g->arena, int32_t, rows);
    if (!from) return avs_graph_fail(g, AVS_ENOMEM, "out of memory for an index of %d rows", rows);
    for (int r = 0; r < rows; r++) from[r] = -1;
    for (int q = 0; q < n; q++) {
        if (at[q] < 0) continue;
        if (from[at[q]] >= 0) return 0;
        from[at[q]] = q;
    }
    return avs_const(g, AVS_TYPE(AVS_I32, rows), from);
}

void avs_vjp_gather_rows(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    if (!need[0]) return;
    avs_val inverse = inverse_of(g, n.in[1], ((const avs_gather_attr *)n.attr)->rows);
    gin[0] = inverse
                 ? avs_gather_rows(g, gout[0], inverse)
                 : avs_graph_node(g, AVS_OP_GATHER_ROWS_BWD, (avs_val[]){gout[0], n.in[1]}, 2, n.attr, NULL);
}

avs_val avs_gather_rows(avs_graph *g, avs_val x, avs_val index)
{
    const avs_gather_attr a = {.rows = avs_dim(g, x, 1)};
    if (x && index && g->v[index].kind == AVS_V_CONST && avs_t(g, index)->dtype == AVS_I32) {
        const int32_t *at = g->v[index].data;
        for (int64_t q = 0; q < avs_type_count(avs_t(g, index)); q++)
            if (at[q] < -1 || at[q] >= a.rows)
                return avs_graph_fail(g, AVS_ERANGE,
                                      "gather_rows: index %d at place %lld, the table has %d rows", at[q],
                                      (long long)q, a.rows);
    }
    return avs_graph_node(g, AVS_OP_GATHER_ROWS, (avs_val[]){x, index}, 2, &a, NULL);
}
