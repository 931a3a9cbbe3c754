/* Convolutions on oneDNN: channels-last activations as they are, weights in the layout the forward primitive prefers.
 *
 * The layout is asked for with format "any" and then handed to both backward primitives, so that a parameter and its
 * gradient keep one layout and no step reorders weights. Only where that layout would send a backward primitive to
 * oneDNN's reference code, or where the weight is not a parameter of its own, does the step reorder. What is faster by
 * Winograd leaves oneDNN (winograd_step.c) and keeps its weight plain.
 *
 * Precision bf16: dense convolutions read rounded operands where that pays, and write f32. A trained weight then lies
 * in f32 in the layout of its gradient, and each step rounds it into the layouts of the forward and backward
 * primitives; constant weights are rounded once. */
#include "engine/backend/cpu/dnnl_step.h"
#include "engine/backend/cpu/winograd.h"

#include <string.h>

/* Everything oneDNN wants to know about one convolution. */
typedef struct {
    dnnl_memory_desc_t x, w_plain, w_any, bias, y;
    dnnl_dims_t stride, dilate, pad;
    bool has_bias, has_residual, is_grouped;
    int act;
    double macs;
    int64_t depth; /* products per sum of the forward convolution */
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
    s.is_grouped = a->groups != 1;
    s.depth = (int64_t)w->d[1] * w->d[2] * w->d[3];
    s.macs = (double)avs_type_count(y) * (double)s.depth;
    dnnl_memory_desc_init_by_tag(&s.bias, 1, (dnnl_dims_t){w->d[0]}, dnnl_f32, dnnl_a);
    return s;
}

/* Does this pass gain from rounded operands, the weight among them unless it is constant? */
static bool gains(const conv_shape *s, int op, bool const_weight)
{
    const double w = op == AVS_OP_CONV2D_BWD_W || const_weight ? 0 : avs_dnnl_elements(&s->w_plain);
    const double x = op == AVS_OP_CONV2D_BWD_X ? 0 : avs_dnnl_elements(&s->x),
                 y = op == AVS_OP_CONV2D ? 0 : avs_dnnl_elements(&s->y);
    return !s->is_grouped && avs_bf16_pays(s->macs, x + y + w, s->depth);
}

/* The same pass over operands in bf16; what it writes stays f32. */
static conv_shape rounded(const conv_shape *s, int op)
{
    conv_shape r = *s;
    if (op != AVS_OP_CONV2D_BWD_X) r.x = avs_bf16_desc(&s->x);
    if (op != AVS_OP_CONV2D) r.y = avs_bf16_desc(&s->y);
    if (op != AVS_OP_CONV2D_BWD_W) r.w_any = avs_bf16_desc(&s->w_any);
    return r;
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
    conv_shape h = *s; /* of the forward pass: what its backward needs to know is one dtype for all */
    if (s->y.data_type == dnnl_bf16) {
        h.x = avs_bf16_desc(&s->x);
        h.w_any = avs_bf16_desc(&s->w_any);
    }
    AVS_TRY(forward_pd(be, &h, s->y.data_type == dnnl_bf16 ? &h.w_any : w, true, &hint, e));
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

/* The descriptor for weights in layout w; "any" instead if that alone escapes the slow paths. */
static int best_pd(avs_backend *be, const conv_shape *s, int op, const avs_dnnl_layout *layout, bool training,
                   dnnl_primitive_desc_t *out, const char **impl, avs_err *e)
{
    int rc = AVS_OK;
    dnnl_primitive_desc_t fixed = NULL, any = NULL;
    const char *fixed_impl = NULL, *any_impl = NULL;
    /* a weight to be rounded is reordered anyhow */
    const bool may_fix = layout && s->w_any.data_type == dnnl_f32;
    if (may_fix && make_pd(be, s, op, &layout->md, training, &fixed, NULL) == AVS_OK)
        AVS_TRY(avs_dnnl_impl(be, fixed, &fixed_impl, e));
    if (!fixed_impl || avs_dnnl_is_slow(fixed_impl)) {
        AVS_TRY(make_pd(be, s, op, &s->w_any, training, &any, e));
        AVS_TRY(avs_dnnl_impl(be, any, &any_impl, e));
    }
    bool take_any = !fixed_impl || (any_impl && !avs_dnnl_is_slow(any_impl));
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

/* As best_pd, over rounded operands if the backend may and the pass gains; then *s becomes that. */
static int choose_pd(avs_backend *be, conv_shape *s, int op, const avs_lower_req *req,
                     const avs_dnnl_layout *layout, dnnl_primitive_desc_t *out, const char **impl, avs_err *e)
{
    const bool training = req->training;
    if (be->is_bf16 && gains(s, op, req->in_is_const[1])) {
        conv_shape r = rounded(s, op);
        if (best_pd(be, &r, op, layout, training, out, impl, NULL) == AVS_OK) {
            if (!avs_dnnl_is_slow(*impl)) {
                *s = r;
                return AVS_OK;
            }
            dnnl_primitive_desc_destroy(*out);
        }
        *out = NULL;
    }
    return best_pd(be, s, op, layout, training, out, impl, e);
}

/* bf16: a constant weight lies plain, since its step keeps a rounded copy; a trained one as its gradient is made. */
static int rounded_layout(avs_backend *be, const conv_shape *s, bool training, const avs_layout **out,
                          bool *is_decided, avs_err *e)
{
    dnnl_primitive_desc_t pd = NULL;
    int rc = AVS_OK;
    const int op = training ? AVS_OP_CONV2D_BWD_W : AVS_OP_CONV2D;
    conv_shape r = rounded(s, op);
    *is_decided = gains(s, op, true) && make_pd(be, &r, op, &r.w_any, training, &pd, NULL) == AVS_OK;
    if (*is_decided && training)
        rc = avs_dnnl_layout_for(be, &s->w_plain,
                                 dnnl_primitive_desc_query_md(pd, dnnl_query_diff_weights_md, 0), out, e);
    if (pd) dnnl_primitive_desc_destroy(pd);
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
    const avs_type *tx = avs_t(g, n->in[0]), *tw = avs_t(g, n->in[1]);
    if (training ? avs_winograd_choose_training(n->op, n->attr, tx, tw, be->direct_speed)
                 : avs_winograd_choose(n->attr, tx, tw, be->direct_speed))
        return AVS_OK;
    bool is_decided = false;
    if (be->is_bf16) AVS_TRY(rounded_layout(be, &s, training, out, &is_decided, e));
    if (is_decided) return AVS_OK;
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
    AVS_TRY(avs_dnnl_arg_operand(c, DNNL_ARG_SRC, &s->x, in[0].data, e));
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

    AVS_TRY(choose_pd(be, &s, op, req, layout, &pd, &impl, e));
    AVS_TRY(avs_dnnl_set_primitive(c, pd, e));
    if (op == AVS_OP_CONV2D) {
        AVS_TRY(
            lower_forward(c, req, &s, have, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), e));
    } else if (op == AVS_OP_CONV2D_BWD_X) {
        const dnnl_memory_desc_t *want = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
        AVS_TRY(avs_dnnl_arg_operand(c, DNNL_ARG_DIFF_DST, &s.y, req->in[0].data, e));
        AVS_TRY(
            avs_dnnl_arg_weight(c, DNNL_ARG_WEIGHTS, have, want, req->in[1].data, req->in_is_const[1], e));
        AVS_TRY(avs_dnnl_arg(c, DNNL_ARG_DIFF_SRC, &s.x, req->out[0].data, e));
    } else {
        const dnnl_memory_desc_t *made = dnnl_primitive_desc_query_md(pd, dnnl_query_diff_weights_md, 0);
        AVS_TRY(avs_dnnl_arg_operand(c, DNNL_ARG_SRC, &s.x, req->in[0].data, e));
        AVS_TRY(avs_dnnl_arg_operand(c, DNNL_ARG_DIFF_DST, &s.y, req->in[1].data, e));
        AVS_TRY(avs_dnnl_arg_result(c, DNNL_ARG_DIFF_WEIGHTS, made, have, req->out[0].data, e));
    }
    avs_dnnl_finish(c, impl, out);
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    return rc;
}
