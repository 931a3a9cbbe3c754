/* LOSS: one value per row of axis 0, from logits (BCE, CE) or probabilities (DICE, IOU); the target gets no
 * gradient. avs_row_mean turns the rows into a scalar. */
#include "engine/graph/op/op.h"

static int check(const avs_type *pred, const avs_type *target, const avs_loss_attr *a, avs_err *e)
{
    char t[2][64];
    const char *pt = avs_type_text(pred, t[0], sizeof(t[0])), *tt = avs_type_text(target, t[1], sizeof(t[1]));
    bool is_ce = a->kind == AVS_LOSS_CE;
    if (a->kind < AVS_LOSS_BCE || a->kind > AVS_LOSS_IOU)
        return avs_fail(e, AVS_ERANGE, "kind is %d", a->kind);
    if (pred->dtype != AVS_F32 || target->dtype != (is_ce ? AVS_I32 : AVS_F32))
        return avs_fail(e, AVS_ESHAPE, "the target %s should be %s", tt, is_ce ? "i32 classes" : "f32");
    int64_t n = avs_type_count(pred);
    if (pred->rank < 1 || target->rank < 1 || pred->d[0] != target->d[0])
        return avs_fail(e, AVS_ESHAPE, "prediction %s and target %s differ in rows", pt, tt);
    if (is_ce && pred->rank < 2) return avs_fail(e, AVS_ESHAPE, "prediction %s has no class axis", pt);
    if (n != avs_type_count(target) * (is_ce ? pred->d[pred->rank - 1] : 1))
        return avs_fail(e, AVS_ESHAPE, "prediction %s and target %s differ in elements", pt, tt);
    return AVS_OK;
}

int avs_infer_loss(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    (void)n_in;
    int rc = check(&in[0], &in[1], attr, e);
    if (rc == AVS_OK) out[0] = AVS_F32T(in[0].d[0]);
    return rc;
}

int avs_infer_loss_bwd(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    int rc;
    (void)n_in;
    AVS_TRY(check(&in[1], &in[2], attr, e));
    AVS_TRY(op_want_dtype(in, 0, AVS_F32, e));
    AVS_TRY(op_want_vector(in, 0, in[1].d[0], e));
    out[0] = in[1];
out:
    return rc;
}

void avs_vjp_loss(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    if (need[1])
        avs_graph_fail(g, AVS_ERANGE, "loss: the target cannot be differentiated");
    else
        gin[0] = avs_graph_node(g, AVS_OP_LOSS_BWD, (avs_val[]){gout[0], n.in[0], n.in[1]}, 3, n.attr, NULL);
}

avs_val avs_loss(avs_graph *g, avs_val pred, avs_val target, avs_loss_attr attr)
{
    return avs_graph_node(g, AVS_OP_LOSS, (avs_val[]){pred, target}, 2, &attr, NULL);
}

avs_val avs_row_mean(avs_graph *g, avs_val rows, avs_val w)
{
    if (!w) return avs_reduce(g, rows, 0, 1, true);
    avs_val sum = avs_reduce(g, avs_mul(g, rows, w), 0, 1, false);
    return avs_div(g, sum, avs_ew_imm(g, AVS_EW_MAX, avs_reduce(g, w, 0, 1, false), 1));
}
