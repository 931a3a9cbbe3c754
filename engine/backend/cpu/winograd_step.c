/* A Winograd convolution as a step of a plan: prepare() transforms the weight, which is constant in inference plans,
 * into memory of the backend; run() calls the kernel. */
#include <omp.h>

#include "engine/backend/cpu/dnnl_step.h"
#include "engine/backend/cpu/winograd.h"

typedef struct {
    const avs_winograd_kernel *kernel;
    avs_winograd_call call;
    avs_backend *be;
    const float *w;
    float *u;
    dnnl_memory_desc_t have, plain; /* how the weight lies, how it is transformed */
} winograd_ctx;

static int run_winograd(void *ctx, void *workspace)
{
    winograd_ctx *c = ctx;
    c->call.work = workspace;
    c->kernel->run(&c->call);
    return AVS_OK;
}

static int prepare_winograd(void *ctx, void *workspace)
{
    winograd_ctx *c = ctx;
    (void)workspace;
    if (dnnl_memory_desc_equal(&c->have, &c->plain)) {
        avs_winograd_pack(&c->call.s, c->w, c->u);
        return AVS_OK;
    }
    float *plain = avs_xalloc(dnnl_memory_desc_get_size(&c->plain));
    if (!plain) return AVS_ENOMEM;
    int rc = avs_dnnl_reorder_now(c->be, &c->have, c->w, &c->plain, plain, NULL);
    if (rc == AVS_OK) avs_winograd_pack(&c->call.s, plain, c->u);
    avs_xfree(plain);
    return rc;
}

int avs_winograd_lower(avs_backend *be, const avs_lower_req *req, const dnnl_memory_desc_t *w, avs_step *out,
                       bool *is_taken, avs_err *e)
{
    int rc = AVS_OK;
    const avs_node *n = &req->g->node[req->node];
    const avs_tensor *in = req->in;
    const avs_type *tw = &in[1].type;
    *is_taken = false;
    if (n->op != AVS_OP_CONV2D || req->training || req->no_winograd || !req->in_is_const[1]) return AVS_OK;
    const int m = avs_winograd_choose(n->attr, &in[0].type, tw, be->is_bf16);
    if (!m) return AVS_OK;
    winograd_ctx *c = AVS_NEW(be->arena, winograd_ctx);
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory for a step");
    c->be = be;
    c->kernel = avs_winograd_best();
    c->have = *w;
    AVS_DNNL(dnnl_memory_desc_init_by_tag(&c->plain, 4, (dnnl_dims_t){tw->d[0], tw->d[1], tw->d[2], tw->d[3]},
                                          dnnl_f32, dnnl_oihw));
    c->call = (avs_winograd_call){
        .s = avs_winograd_plan(c->kernel, m, n->attr, &in[0].type, &req->out[0].type, omp_get_max_threads()),
        .x = in[0].data,
        .bias = in[2].data,
        .residual = in[3].data,
        .y = req->out[0].data};
    c->w = in[1].data;
    c->u = avs_dnnl_bytes(be, avs_winograd_weights(&c->call.s), e);
    if (!c->u) return AVS_ENOMEM;
    c->call.u = c->u;
    *out = (avs_step){.run = run_winograd,
                      .prepare = prepare_winograd,
                      .ctx = c,
                      .workspace = avs_winograd_work(&c->call.s),
                      .impl = m == 4 ? c->kernel->impl4 : c->kernel->impl2};
    *is_taken = true;
out:
    return rc;
}
