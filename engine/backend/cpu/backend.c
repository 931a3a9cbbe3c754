/* The cpu backend: oneDNN for convolutions and matrix products, this project's own kernels for all the rest and for the
 * weight gradient of depthwise convolutions, where oneDNN is several times slower. */
#include "engine/backend/cpu/dnnl_step.h"
#include "engine/backend/cpu/kernels.h"

typedef struct {
    int (*fn)(const avs_cpu_call *c);
    avs_cpu_call call;
    avs_weight_place place;
    bool wants_work;
} own_ctx;

static int own_run(void *ctx, void *workspace)
{
    own_ctx *c = ctx;
    if (c->wants_work) c->call.work = workspace;
    return c->fn(&c->call);
}

static int lower_own(avs_backend *be, const avs_lower_req *req, avs_step *out, avs_err *e)
{
    const avs_node *n = &req->g->node[req->node];
    const avs_cpu_kernel *k = &avs_cpu_kernel_table()[n->op];
    own_ctx *c = AVS_NEW(be->arena, own_ctx);
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory for a step");
    if (!k->fn)
        return avs_fail(e, AVS_EMISSING, "the cpu backend has no kernel for op %s", avs_op_rules[n->op].name);
    c->fn = k->fn;
    c->call.k = (avs_kernel_args){.n_in = n->n_in, .n_out = n->n_out, .attr = n->attr, .rt = req->rt};
    for (int i = 0; i < n->n_in; i++) c->call.k.in[i] = req->in[i];
    for (int i = 0; i < n->n_out; i++) c->call.k.out[i] = req->out[i];
    size_t work = k->work ? k->work(&c->call.k) : 0;
    c->wants_work = work > 0;
    *out = (avs_step){.run = own_run, .ctx = c, .workspace = work, .impl = "own"};
    return AVS_OK;
}

/* Can the depthwise kernel write this node's gradient where the weight lies? Plain, or blocks of channels. */
static bool depthwise_place(const avs_lower_req *req, avs_weight_place *at)
{
    const avs_conv_attr *a = req->g->node[req->node].attr;
    const avs_dnnl_layout *l = (const avs_dnnl_layout *)req->out_layout[0];
    const avs_type *w = &req->out[0].type;
    if (a->groups == 1 || a->groups != w->d[0] || w->d[1] != 1) return false;
    *at = (avs_weight_place){.block = 1, .outer = (int64_t)a->kh * a->kw, .ky = a->kw, .kx = 1};
    if (!l) return true;
    const dnnl_blocking_desc_t *b = &l->md.format_desc.blocking;
    if (l->md.format_kind != dnnl_blocked || l->md.ndims != 5 || l->md.offset0 || b->inner_nblks > 1)
        return false;
    if (b->inner_nblks == 1 && b->inner_idxs[0] != 0) return false;
    *at = (avs_weight_place){.block = b->inner_nblks ? b->inner_blks[0] : 1,
                             .outer = b->strides[0],
                             .ky = b->strides[3],
                             .kx = b->strides[4]};
    return true;
}

static int lower_depthwise(avs_backend *be, const avs_lower_req *req, const avs_weight_place *at,
                           avs_step *out, avs_err *e)
{
    int rc = lower_own(be, req, out, e);
    if (rc != AVS_OK) return rc;
    own_ctx *c = out->ctx;
    c->place = *at;
    c->call.place = &c->place;
    return AVS_OK;
}

static void cpu_close(avs_backend *be)
{
    if (!be) return;
    for (avs_dnnl_owned *o = be->owned; o; o = o->next) {
        if (o->prim) dnnl_primitive_destroy(o->prim);
        if (o->mem) dnnl_memory_destroy(o->mem);
        avs_xfree(o->bytes);
    }
    if (be->stream) dnnl_stream_destroy(be->stream);
    if (be->engine) dnnl_engine_destroy(be->engine);
    avs_arena_free(be->arena);
}

static int cpu_open(avs_backend **out, avs_math math, avs_err *e)
{
    double speed = 1;
    const bool bf16 = math == AVS_MATH_BF16;
    if (math == AVS_MATH_TF32)
        return avs_fail(e, AVS_EMISSING,
                        "precision tf32 exists on GPUs only; this processor runs fp32 and bf16");
    int rc = avs_dnnl_load(e);
    if (rc == AVS_OK && bf16) rc = avs_cpu_bf16_probe(&speed, e);
    if (rc != AVS_OK) return rc;
    avs_arena *arena = avs_arena_new();
    avs_backend *be = arena ? AVS_NEW(arena, avs_backend) : NULL;
    if (!be) {
        avs_arena_free(arena);
        return avs_fail(e, AVS_ENOMEM, "no memory for the cpu backend");
    }
    be->arena = arena;
    be->is_bf16 = bf16;
    be->direct_speed = speed;
    AVS_DNNL(dnnl_engine_create(&be->engine, dnnl_cpu, 0));
    AVS_DNNL(dnnl_stream_create(&be->stream, be->engine, dnnl_stream_default_flags));
    *out = be;
    be = NULL;
out:
    cpu_close(be);
    return rc;
}

static int cpu_weight_layout(avs_backend *be, const avs_graph *g, uint32_t node, bool training,
                             const avs_layout **out, avs_err *e)
{
    *out = NULL;
    switch (g->node[node].op) {
    case AVS_OP_CONV2D:
        return avs_dnnl_conv2d_layout(be, g, node, training, out, e);
    case AVS_OP_MATMUL:
        return avs_dnnl_matmul_layout(be, g, node, out, e);
    default:
        return AVS_OK;
    }
}

static bool cpu_may_overwrite(const avs_node *n, int operand)
{
    switch (n->op) {
    case AVS_OP_EW:
    case AVS_OP_DROPOUT:
        return true;
    case AVS_OP_CONV2D:
    case AVS_OP_MATMUL:
        return operand == 3; /* the residual: accumulated in place */
    case AVS_OP_BATCHNORM_BWD:
    case AVS_OP_GROUPNORM_BWD:
        return operand == 0; /* the gradient: sums come first, then one pass over elements */
    default:
        return false;
    }
}

static int cpu_lower(avs_backend *be, const avs_lower_req *req, avs_step *out, avs_err *e)
{
    avs_weight_place at;
    switch (req->g->node[req->node].op) {
    case AVS_OP_CONV2D_BWD_W:
        if (depthwise_place(req, &at)) return lower_depthwise(be, req, &at, out, e);
        return avs_dnnl_lower_conv2d(be, req, out, e);
    case AVS_OP_CONV2D:
    case AVS_OP_CONV2D_BWD_X:
        return avs_dnnl_lower_conv2d(be, req, out, e);
    case AVS_OP_MATMUL:
        return avs_dnnl_lower_matmul(be, req, out, e);
    default:
        return lower_own(be, req, out, e);
    }
}

const avs_backend_ops avs_backend_cpu = {.name = "cpu",
                                         .open = cpu_open,
                                         .close = cpu_close,
                                         .weight_layout = cpu_weight_layout,
                                         .repack = avs_dnnl_repack,
                                         .may_overwrite = cpu_may_overwrite,
                                         .lower = cpu_lower};
