/* Nodes that the host computes: operands come over, the cpu backend's kernel runs, results go back. For what is a search
 * rather than arithmetic (the assignment of masks to targets), where a GPU has nothing to win and other frameworks leave
 * the device too. Such a step waits, so a plan that holds one is not recorded. */
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cuda/cuda.h"

typedef struct {
    avs_backend *be;
    int (*fn)(const avs_cpu_call *c);
    avs_cpu_call call;                             /* operands in the host's memory */
    void *in_at[AVS_MAX_IN], *out_at[AVS_MAX_OUT]; /* where they lie on the device  */
    size_t in_bytes[AVS_MAX_IN], out_bytes[AVS_MAX_OUT];
} host_ctx;

static int host_run(void *ctx, void *workspace)
{
    host_ctx *c = ctx;
    const avs_cuda_device_ops *o = c->be->ops;
    int rc = AVS_OK;
    (void)workspace;
    for (int i = 0; i < c->call.k.n_in; i++)
        if (c->in_at[i]) AVS_TRY(o->copy(c->be->dev, c->call.k.in[i].data, c->in_at[i], c->in_bytes[i]));
    AVS_TRY(o->sync(c->be->dev));
    AVS_TRY(c->fn(&c->call));
    for (int i = 0; i < c->call.k.n_out; i++)
        AVS_TRY(o->copy(c->be->dev, c->out_at[i], c->call.k.out[i].data, c->out_bytes[i]));
    AVS_TRY(o->sync(c->be->dev)); /* the copies are free for the next run */
out:
    return rc;
}

/* A place in pinned memory for a tensor of the device. */
static int mirror(avs_backend *be, const avs_tensor *t, avs_tensor *host, void **at, size_t *bytes,
                  avs_err *e)
{
    *host = *t;
    *at = t->data;
    *bytes = (size_t)avs_type_count(&t->type) * avs_dtype_size((avs_dtype)t->type.dtype);
    return t->data ? be->ops->alloc_host(be->dev, *bytes, &host->data, e) : AVS_OK;
}

int avs_cuda_lower_host(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    int rc = AVS_OK;
    const avs_node *n = &r->g->node[r->node];
    const avs_cpu_kernel *kernel = &avs_cpu_kernel_table()[n->op];
    host_ctx *c = AVS_NEW(be->arena, host_ctx);
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory for a step");
    c->be = be;
    c->fn = kernel->fn;
    c->call.k =
        (avs_kernel_args){.n_in = n->n_in, .n_out = avs_op_rules[n->op].n_out, .attr = n->attr, .rt = r->rt};
    for (int i = 0; i < n->n_in; i++)
        AVS_TRY(mirror(be, &r->in[i], &c->call.k.in[i], &c->in_at[i], &c->in_bytes[i], e));
    for (int i = 0; i < c->call.k.n_out; i++)
        AVS_TRY(mirror(be, &r->out[i], &c->call.k.out[i], &c->out_at[i], &c->out_bytes[i], e));
    const size_t work = kernel->work ? kernel->work(&c->call.k) : 0;
    if (work) AVS_TRY(be->ops->alloc_host(be->dev, work, &c->call.work, e));
    be->has_host_steps = true;
    *out = (avs_step){.run = host_run, .ctx = c, .impl = "host"};
out:
    return rc;
}
