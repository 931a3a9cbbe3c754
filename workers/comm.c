/* Which table is taken, and the one of the host ring: numbers of a device go over the host's memory. */
#include "workers/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

static int ring_start(avs_comm *c, float *slab, int64_t n, avs_err *e)
{
    if (!avs_plan_is_device(c->plan)) return avs_ring_mean(c->ring, slab, n, e);
    float *x = avs_xalloc((size_t)n * sizeof *x);
    int rc = x ? avs_plan_slab_read(c->plan, slab, 0, n, x, e)
               : avs_fail(e, AVS_ENOMEM, "out of memory for gradients on their way to other ranks");
    if (rc == AVS_OK) rc = avs_ring_mean(c->ring, x, n, e);
    if (rc == AVS_OK) rc = avs_plan_slab_write(c->plan, slab, 0, n, x, e);
    avs_xfree(x);
    return rc;
}

static int ring_sum(avs_comm *c, double *x, int64_t n, avs_err *e)
{
    const size_t bytes = (size_t)n * sizeof *x;
    if (!avs_plan_is_device(c->plan)) return avs_ring_sum(c->ring, x, n, e);
    double *own = avs_xalloc(bytes);
    int rc = own ? avs_plan_read(c->plan, own, x, bytes, e)
                 : avs_fail(e, AVS_ENOMEM, "out of memory for batch statistics on their way to other ranks");
    if (rc == AVS_OK) rc = avs_ring_sum(c->ring, own, n, e);
    if (rc == AVS_OK) rc = avs_plan_write(c->plan, x, own, bytes, e);
    avs_xfree(own);
    return rc;
}

static int ring_wait(avs_comm *c, avs_err *e)
{
    (void)c;
    (void)e;
    return AVS_OK; /* start returns when it is done */
}

static void ring_close(avs_comm *c)
{
    avs_xfree(c);
}

static const avs_comm_ops ring_ops = {"ring", ring_start, ring_wait, ring_sum, ring_close};

static int open_ring(avs_comm **out, avs_ring *ring, int rank, int ranks, avs_plan *plan, avs_err *e)
{
    avs_comm *c = avs_xalloc(sizeof *c);
    if (!c) return avs_fail(e, AVS_ENOMEM, "out of memory for the ranks' table");
    *c = (avs_comm){.ops = &ring_ops, .ring = ring, .plan = plan, .rank = rank, .ranks = ranks};
    *out = c;
    return AVS_OK;
}

int avs_comm_open(avs_comm **out, avs_ring *ring, int rank, int ranks, avs_plan *plan, avs_err *e)
{
    *out = NULL;
    if (ranks == 1) return AVS_OK;
#ifdef AVS_HAVE_NCCL
    const char *wish = getenv("AVSWEEP_COMM");
    if (avs_plan_queue(plan) && (!wish || strcmp(wish, "ring") != 0)) {
        avs_err why = AVS_ERR_INIT;
        double has = avs_comm_nccl_open(out, ring, rank, ranks, plan, &why) == AVS_OK ? 0 : 1;
        int rc = avs_ring_max(ring, &has, e); /* all ranks or none */
        if (rc == AVS_OK && has == 0) return AVS_OK;
        avs_comm_close(*out);
        *out = NULL;
        if (rc != AVS_OK) return rc;
        if (why.code != AVS_OK) fprintf(stderr, "warning: gradients go over the host: %s\n", why.msg);
    }
#endif
    return open_ring(out, ring, rank, ranks, plan, e);
}

void avs_comm_close(avs_comm *c)
{
    if (c) c->ops->close(c);
}

int avs_comm_bucket(void *ctx, const avs_plan_bucket *b, avs_err *e)
{
    avs_comm *c = ctx;
    int64_t n;
    float *grad = avs_plan_slab(c->plan, AVS_SLAB_GRAD, &n);
    return avs_comm_start(c, grad + b->off, b->len, e);
}

int avs_comm_sum(void *ctx, double *x, int64_t n, avs_err *e)
{
    avs_comm *c = ctx;
    return c->ops->sum(c, x, n, e);
}
