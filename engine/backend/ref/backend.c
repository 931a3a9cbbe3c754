/* The ref backend: every step is the op's naive kernel over plain tensors, F32 or F64 as the plan's storage says. */
#include "engine/backend/backend.h"
#include "engine/backend/ref/ref.h"

struct avs_backend {
    avs_arena *arena;
};

typedef struct {
    avs_kernel_fn fn;
    avs_kernel_args args;
} ref_ctx;

static int ref_run(void *ctx, void *workspace)
{
    const ref_ctx *c = ctx;
    (void)workspace;
    return c->fn(&c->args);
}

static int ref_open(avs_backend **out, avs_math math, avs_err *e)
{
    (void)math; /* the plan asks for f32 or f64 alone */
    avs_arena *arena = avs_arena_new();
    avs_backend *be = arena ? AVS_NEW(arena, avs_backend) : NULL;
    if (!be) {
        avs_arena_free(arena);
        return avs_fail(e, AVS_ENOMEM, "no memory for the ref backend");
    }
    be->arena = arena;
    *out = be;
    return AVS_OK;
}

static void ref_close(avs_backend *be)
{
    if (be) avs_arena_free(be->arena);
}

static int ref_lower(avs_backend *be, const avs_lower_req *req, avs_step *out, avs_err *e)
{
    const avs_node *n = &req->g->node[req->node];
    ref_ctx *c = AVS_NEW(be->arena, ref_ctx);
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory for a step");
    c->fn = avs_ref_kernels[n->op];
    if (!c->fn)
        return avs_fail(e, AVS_EMISSING, "the ref backend has no kernel for op %s", avs_op_rules[n->op].name);
    c->args = (avs_kernel_args){.n_in = n->n_in, .n_out = n->n_out, .attr = n->attr, .rt = req->rt};
    for (int i = 0; i < n->n_in; i++) c->args.in[i] = req->in[i];
    for (int i = 0; i < n->n_out; i++) c->args.out[i] = req->out[i];
    *out = (avs_step){.run = ref_run, .ctx = c, .impl = "ref"};
    return AVS_OK;
}

const avs_backend_ops avs_backend_ref = {
    .name = "ref", .open = ref_open, .close = ref_close, .lower = ref_lower};
