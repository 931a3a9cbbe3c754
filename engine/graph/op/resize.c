/* RESIZE: bilinear or nearest sampling of maps; linear in x, so the backward is the transposed sampling. */
#include "engine/graph/op/op.h"

static int check(const avs_resize_attr *a, const avs_type *t, int h, int w, avs_err *e)
{
    if (a->in_h < 1 || a->in_w < 1 || a->out_h < 1 || a->out_w < 1)
        return avs_fail(e, AVS_ERANGE, "extents %dx%d to %dx%d are not positive", a->in_h, a->in_w, a->out_h,
                        a->out_w);
    if (a->mode != AVS_RESIZE_BILINEAR && a->mode != AVS_RESIZE_NEAREST)
        return avs_fail(e, AVS_ERANGE, "mode is %d", a->mode);
    if (t->d[1] != h || t->d[2] != w)
        return avs_fail(e, AVS_ESHAPE, "the map is %dx%d, not %dx%d", t->d[1], t->d[2], h, w);
    return AVS_OK;
}

int avs_infer_resize(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_resize_attr *a = attr;
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(op_want_rank(in, 0, 4, 4, e));
    AVS_TRY(check(a, &in[0], a->in_h, a->in_w, e));
    out[0] = AVS_F32T(in[0].d[0], a->out_h, a->out_w, in[0].d[3]);
out:
    return rc;
}

int avs_infer_resize_bwd(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_resize_attr *a = attr;
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(op_want_rank(in, 0, 4, 4, e));
    AVS_TRY(check(a, &in[0], a->out_h, a->out_w, e));
    out[0] = AVS_F32T(in[0].d[0], a->in_h, a->in_w, in[0].d[3]);
out:
    return rc;
}

void avs_vjp_resize(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    (void)need;
    gin[0] = avs_graph_node(g, AVS_OP_RESIZE_BWD, &gout[0], 1, g->node[node].attr, NULL);
}

avs_val avs_resize(avs_graph *g, avs_val x, int out_h, int out_w, avs_resize_mode mode, bool align_corners)
{
    const avs_type *t = avs_t(g, x);
    avs_resize_attr a = {.in_h = t->d[1],
                         .in_w = t->d[2],
                         .out_h = out_h,
                         .out_w = out_w,
                         .mode = (int)mode,
                         .align_corners = align_corners};
    if (t->rank == 4 && a.in_h == out_h && a.in_w == out_w) return x;
    return avs_graph_node(g, AVS_OP_RESIZE, &x, 1, &a, NULL);
}
