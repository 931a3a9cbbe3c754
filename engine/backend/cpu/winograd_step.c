/* A Winograd convolution as a step of a plan. A constant weight is transformed in prepare() into memory of the backend,
 * any other before every run into the workspace. The gradient of the input is a convolution of the output's gradient;
 * that of the weight has a kernel of its own. */
#include <omp.h>

#include "engine/backend/cpu/dnnl_step.h"
#include "engine/backend/cpu/winograd.h"

typedef struct {
    const avs_winograd_kernel *kernel;
    const avs_winograd_weight_kernel *weights;
    avs_winograd_call call;
    avs_winograd_grad_call grad;
    avs_backend *be;
    const float *w;
    float *u; /* constant weights: their transform */
    bool is_turned;
    size_t u_bytes;                 /* other weights: bytes of the transform, first in the workspace */
    dnnl_memory_desc_t have, plain; /* how the weight lies, how it is transformed */
} winograd_ctx;

static int run_prepared(void *ctx, void *workspace)
{
    winograd_ctx *c = ctx;
    c->call.work = workspace;
    c->kernel->run(&c->call);
    return AVS_OK;
}

static int run_whole(void *ctx, void *workspace)
{
    winograd_ctx *c = ctx;
    float *u = workspace;
    c->weights->pack(&c->call.s, c->w, c->is_turned, u);
    c->call.u = u;
    c->call.work = u + c->u_bytes / sizeof *u;
    c->kernel->run(&c->call);
    return AVS_OK;
}

static int run_grad(void *ctx, void *workspace)
{
    winograd_ctx *c = ctx;
    c->grad.work = workspace;
    c->weights->grad(&c->grad);
    return AVS_OK;
}

static int prepare(void *ctx, void *workspace)
{
    winograd_ctx *c = ctx;
    (void)workspace;
    if (dnnl_memory_desc_equal(&c->have, &c->plain)) {
        c->weights->pack(&c->call.s, c->w, c->is_turned, c->u);
        return AVS_OK;
    }
    float *plain = avs_xalloc(dnnl_memory_desc_get_size(&c->plain));
    if (!plain) return AVS_ENOMEM;
    int rc = avs_dnnl_reorder_now(c->be, &c->have, c->w, &c->plain, plain, NULL);
    if (rc == AVS_OK) c->weights->pack(&c->call.s, plain, c->is_turned, c->u);
    avs_xfree(plain);
    return rc;
}

static void finish_grad(winograd_ctx *c, const avs_lower_req *req, int m, avs_step *out)
{
    const avs_conv_attr *a = req->g->node[req->node].attr;
    c->grad = (avs_winograd_grad_call){
        .s = avs_winograd_plan_grad(c->kernel, m, a, &req->in[0].type, &req->in[1].type),
        .x = req->in[0].data,
        .gy = req->in[1].data,
        .gw = req->out[0].data};
    *out = (avs_step){.run = run_grad,
                      .ctx = c,
                      .workspace = avs_winograd_grad_work(&c->grad.s),
                      .impl = m == 4 ? c->weights->grad4 : c->weights->grad2};
}

static int finish_product(winograd_ctx *c, const avs_lower_req *req, int m, avs_step *out, avs_err *e)
{
    avs_conv_attr a = *(const avs_conv_attr *)req->g->node[req->node].attr;
    const avs_tensor *in = req->in;
    if (c->is_turned) {
        a.act = AVS_ACT_NONE;
        a.ph = 2 - a.ph;
        a.pw = 2 - a.pw;
    }
    c->call = (avs_winograd_call){
        .s = avs_winograd_plan(c->kernel, m, &a, &in[0].type, &req->out[0].type, omp_get_max_threads()),
        .x = in[0].data,
        .bias = c->is_turned ? NULL : in[2].data,
        .residual = c->is_turned ? NULL : in[3].data,
        .y = req->out[0].data};
    c->w = in[1].data;
    *out = (avs_step){.ctx = c,
                      .workspace = avs_winograd_work(&c->call.s),
                      .impl = m == 4 ? c->kernel->impl4 : c->kernel->impl2};
    if (req->in_is_const[1]) {
        out->run = run_prepared;
        out->prepare = prepare;
        c->u = avs_dnnl_bytes(c->be, avs_winograd_weights(&c->call.s), e);
        c->call.u = c->u;
        return c->u ? AVS_OK : AVS_ENOMEM;
    }
    out->run = run_whole;
    c->u_bytes = avs_winograd_weights(&c->call.s);
    out->workspace += c->u_bytes;
    return AVS_OK;
}

int avs_winograd_lower(avs_backend *be, const avs_lower_req *req, const dnnl_memory_desc_t *w, avs_step *out,
                       bool *is_taken, avs_err *e)
{
    int rc = AVS_OK;
    const avs_node *n = &req->g->node[req->node];
    const bool is_grad = n->op == AVS_OP_CONV2D_BWD_W, is_turned = n->op == AVS_OP_CONV2D_BWD_X;
    const bool is_const = !is_grad && req->in_is_const[1];
    const avs_type *tw = is_grad ? &req->out[0].type : &req->in[1].type;
    const avs_type *tx = is_turned ? &req->out[0].type : &req->in[0].type;
    dnnl_memory_desc_t plain;
    *is_taken = false;
    if (req->no_winograd) return AVS_OK;
    AVS_DNNL(dnnl_memory_desc_init_by_tag(&plain, 4, (dnnl_dims_t){tw->d[0], tw->d[1], tw->d[2], tw->d[3]},
                                          dnnl_f32, dnnl_oihw));
    if (!is_const && !dnnl_memory_desc_equal(w, &plain)) return AVS_OK;
    const int m = is_const && !is_turned
                      ? avs_winograd_choose(n->attr, tx, tw, be->direct_speed)
                      : avs_winograd_choose_training(n->op, n->attr, tx, tw, be->direct_speed);
    if (!m) return AVS_OK;
    winograd_ctx *c = AVS_NEW(be->arena, winograd_ctx);
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory for a step");
    c->be = be;
    c->kernel = avs_winograd_best();
    c->weights = avs_winograd_weight_best();
    c->have = *w;
    c->plain = plain;
    c->is_turned = is_turned;
    if (is_grad)
        finish_grad(c, req, m, out);
    else
        AVS_TRY(finish_product(c, req, m, out, e));
    *is_taken = true;
out:
    return rc;
}
