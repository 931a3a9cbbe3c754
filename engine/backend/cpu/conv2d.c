/* Convolutions on oneDNN: channels-last activations as they are, weights in the layout the forward primitive prefers.
 *
 * The layout is asked for with format "any" and then handed to both backward primitives, so that a parameter and its
 * gradient keep one layout and no step reorders weights. Only where that layout would send a backward primitive to
 * oneDNN's reference code, or where the weight is not a parameter of its own, does the step reorder. In inference,
 * convolutions that are faster by Winograd leave oneDNN (winograd_step.c). */
#include "engine/backend/cpu/dnnl_step.h"
#include "engine/backend/cpu/winograd.h"

#include <string.h>

/* Everything oneDNN wants to know about one convolution. */
typedef struct {
    dnnl_memory_desc_t x, w_plain, w_any, bias, y;
    dnnl_dims_t stride, dilate, pad;
    bool has_bias, has_residual;
    int act;
} conv_shape;

static void nhwc(dnnl_memory_desc_t *md, const avs_type *t)
{
    dnnl_dims_t d = {t->d[0], t->d[3], t->d[1], t->d[2]};
    dnnl_memory_desc_init_by_tag(md, 4, d, dnnl_f32, dnnl_nhwc);
}

static void weight_desc(dnnl_memory_desc_t *md, const avs_type *w, int groups, bool any)
{
    if (groups == 1) {
        dnnl_dims_t d = {w->d[0], w->d[1], w->d[2], w->d[3]};
        dnnl_memory_desc_init_by_tag(md, 4, d, dnnl_f32, any ? dnnl_format_tag_any : dnnl_oihw);
    } else {
        dnnl_dims_t d = {groups, w->d[0] / groups, w->d[1], w->d[2], w->d[3]};
        dnnl_memory_desc_init_by_tag(md, 5, d, dnnl_f32, any ? dnnl_format_tag_any : dnnl_goihw);
    }
}

static conv_shape shape_of(const avs_graph *g, uint32_t node)
{
    const avs_node *n = &g->node[node];
    const avs_conv_attr *a = n->attr;
    conv_shape s = {.stride = {a->sh, a->sw}, .dilate = {a->dh - 1, a->dw - 1}, .pad = {a->ph, a->pw}};
    const avs_type *x, *w, *y;
    if (n->op == AVS_OP_CONV2D) {
        x = avs_t(g, n->in[0]), w = avs_t(g, n->in[1]), y = avs_t(g, n->out[0]);
        s.has_bias = n->n_in > 2 && n->in[2];
        s.has_residual = n->n_in > 3 && n->in[3];
        s.act = a->act;
    } else if (n->op == AVS_OP_CONV2D_BWD_X) {
        x = avs_t(g, n->out[0]), w = avs_t(g, n->in[1]), y = avs_t(g, n->in[0]);
    } else {
        x = avs_t(g, n->in[0]), w = avs_t(g, n->out[0]), y = avs_t(g, n->in[1]);
    }
    nhwc(&s.x, x);
    nhwc(&s.y, y);
    weight_desc(&s.w_plain, w, a->groups, false);
    weight_desc(&s.w_any, w, a->groups, true);
    dnnl_memory_desc_init_by_tag(&s.bias, 1, (dnnl_dims_t){w->d[0]}, dnnl_f32, dnnl_a);
    return s;
}

static int forward_pd(avs_backend *be, const conv_shape *s, const dnnl_memory_desc_t *w, bool training,
                      dnnl_primitive_desc_t *pd, avs_err *e)
{
    int rc = AVS_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_convolution_desc_t d;
    AVS_TRY(avs_dnnl_attr(&attr, 1.0f, s->has_residual, s->act, e));
    AVS_DNNL(dnnl_dilated_convolution_forward_desc_init(
        &d, training ? dnnl_forward_training : dnnl_forward_inference, dnnl_convolution_direct, &s->x, w,
        s->has_bias ? &s->bias : NULL, &s->y, s->stride, s->dilate, s->pad, s->pad));
    AVS_DNNL(dnnl_primitive_desc_create(pd, &d, attr, be->engine, NULL));
out:
    if (attr) dnnl_primitive_attr_destroy(attr);
    return rc;
}

static int backward_pd(avs_backend *be, const conv_shape *s, bool data, const dnnl_memory_desc_t *w,
                       dnnl_primitive_desc_t *pd, avs_err *e)
{
    int rc = AVS_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t hint = NULL;
    dnnl_convolution_desc_t d;
    AVS_TRY(forward_pd(be, s, w, true, &hint, e));
    AVS_TRY(avs_dnnl_attr(&attr, 1.0f, false, AVS_ACT_NONE, e));
    if (data)
        AVS_DNNL(dnnl_dilated_convolution_backward_data_desc_init(
            &d, dnnl_convolution_direct, &s->x, w, &s->y, s->stride, s->dilate, s->pad, s->pad));
    else
        AVS_DNNL(dnnl_dilated_convolution_backward_weights_desc_init(
            &d, dnnl_convolution_direct, &s->x, w, NULL, &s->y, s->stride, s->dilate, s->pad, s->pad));
    AVS_DNNL(dnnl_primitive_desc_create(pd, &d, attr, be->engine, hint));
out:
    if (hint) dnnl_primitive_desc_destroy(hint);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return rc;
}

static int make_pd(avs_backend *be, const conv_shape *s, int op, const dnnl_memory_desc_t *w, bool training,
                   dnnl_primitive_desc_t *pd, avs_err *e)
{
    if (op == AVS_OP_CONV2D) return forward_pd(be, s, w, training, pd, e);
    return backward_pd(be, s, op == AVS_OP_CONV2D_BWD_X, w, pd, e);
}

/* oneDNN's slow paths: the naive loops and im2col. */
static bool is_slow(const char *impl)
{
    return strstr(impl, "ref") || strstr(impl, "gemm");
}

/* The descriptor for weights in layout w; "any" instead if that alone escapes the slow paths. */
static int best_pd(avs_backend *be, const conv_shape *s, int op, const avs_dnnl_layout *layout, bool training,
                   dnnl_primitive_desc_t *out, const char **impl, avs_err *e)
{
    int rc = AVS_OK;
    dnnl_primitive_desc_t fixed = NULL, any = NULL;
    const char *fixed_impl = NULL, *any_impl = NULL;
    if (layout && make_pd(be, s, op, &layout->md, training, &fixed, NULL) == AVS_OK)
        AVS_TRY(avs_dnnl_impl(be, fixed, &fixed_impl, e));
    if (!fixed || is_slow(fixed_impl)) {
        AVS_TRY(make_pd(be, s, op, &s->w_any, training, &any, e));
        AVS_TRY(avs_dnnl_impl(be, any, &any_impl, e));
    }
    bool take_any = !fixed || (any && !is_slow(any_impl));
    *out = take_any ? any : fixed;
    *impl = take_any ? any_impl : fixed_impl;
    if (take_any)
        any = NULL;
    else
        fixed = NULL;
out:
    if (fixed) dnnl_primitive_desc_destroy(fixed);
    if (any) dnnl_primitive_desc_destroy(any);
    return rc;
}

int avs_dnnl_conv2d_layout(avs_backend *be, const avs_graph *g, uint32_t node, bool training,
                           const avs_layout **out, avs_err *e)
{
    int rc = AVS_OK;
    dnnl_primitive_desc_t pd = NULL;
    conv_shape s = shape_of(g, node);
    const avs_node *n = &g->node[node];
    *out = NULL;
    if (!training && avs_winograd_choose(n->attr, avs_t(g, n->in[0]), avs_t(g, n->in[1]))) return AVS_OK;
    AVS_TRY(forward_pd(be, &s, &s.w_any, training, &pd, e));
    AVS_TRY(avs_dnnl_layout_for(be, &s.w_plain, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0),
                                out, e));
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    return rc;
}

static int lower_forward(avs_dnnl_ctx *c, const avs_lower_req *req, const conv_shape *s,
                         const dnnl_memory_desc_t *have, const dnnl_memory_desc_t *want, avs_err *e)
{
    int rc = AVS_OK;
    const avs_tensor *in = req->in, *y = &req->out[0];
    AVS_TRY(avs_dnnl_arg(c, DNNL_ARG_SRC, &s->x, in[0].data, e));
    AVS_TRY(avs_dnnl_arg_weight(c, DNNL_ARG_WEIGHTS, have, want, in[1].data, req->in_is_const[1], e));
    if (s->has_bias) AVS_TRY(avs_dnnl_arg(c, DNNL_ARG_BIAS, &s->bias, in[2].data, e));
    AVS_TRY(avs_dnnl_arg(c, DNNL_ARG_DST, &s->y, y->data, e));
    if (s->has_residual && in[3].data != y->data) {
        c->copy_src = in[3].data;
        c->copy_dst = y->data;
        c->copy_bytes = dnnl_memory_desc_get_size(&s->y);
    }
out:
    return rc;
}

int avs_dnnl_lower_conv2d(avs_backend *be, const avs_lower_req *req, avs_step *out, avs_err *e)
{
    int rc = AVS_OK;
    int op = req->g->node[req->node].op;
    const avs_layout *given = op == AVS_OP_CONV2D_BWD_W ? req->out_layout[0] : req->in_layout[1];
    const avs_dnnl_layout *layout = (const avs_dnnl_layout *)given;
    conv_shape s = shape_of(req->g, req->node);
    dnnl_primitive_desc_t pd = NULL;
    const char *impl = NULL;
    bool is_winograd = false;
    const dnnl_memory_desc_t *have = layout ? &layout->md : &s.w_plain;
    AVS_TRY(avs_winograd_lower(be, req, have, out, &is_winograd, e));
    if (is_winograd) return AVS_OK;
    avs_dnnl_ctx *c = avs_dnnl_ctx_new(be, e);
    if (!c) return AVS_ENOMEM;

    AVS_TRY(best_pd(be, &s, op, layout, req->training, &pd, &impl, e));
    AVS_TRY(avs_dnnl_set_primitive(c, pd, e));
    if (op == AVS_OP_CONV2D) {
        AVS_TRY(
            lower_forward(c, req, &s, have, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), e));
    } else if (op == AVS_OP_CONV2D_BWD_X) {
        const dnnl_memory_desc_t *want = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
        AVS_TRY(avs_dnnl_arg(c, DNNL_ARG_DIFF_DST, &s.y, req->in[0].data, e));
        AVS_TRY(
            avs_dnnl_arg_weight(c, DNNL_ARG_WEIGHTS, have, want, req->in[1].data, req->in_is_const[1], e));
        AVS_TRY(avs_dnnl_arg(c, DNNL_ARG_DIFF_SRC, &s.x, req->out[0].data, e));
    } else {
        const dnnl_memory_desc_t *made = dnnl_primitive_desc_query_md(pd, dnnl_query_diff_weights_md, 0);
        AVS_TRY(avs_dnnl_arg(c, DNNL_ARG_SRC, &s.x, req->in[0].data, e));
        AVS_TRY(avs_dnnl_arg(c, DNNL_ARG_DIFF_DST, &s.y, req->in[1].data, e));
        AVS_TRY(avs_dnnl_arg_result(c, DNNL_ARG_DIFF_WEIGHTS, made, have, req->out[0].data, e));
    }
    avs_dnnl_finish(c, impl, out);
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    return rc;
}
