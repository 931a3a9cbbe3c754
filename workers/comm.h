/* The mean of gradients over the ranks of a trial: a small table that the host ring and NCCL fill.
 *
 * Ranges of a slab are started in the same order on all ranks, while the backward may still run; wait makes sure that all
 * of them are done, in the order of the plan's queue. Plans on GPUs take NCCL where this build and the machine have it,
 * else (and on CPUs always) the ring carries the numbers through the host. Either way every rank ends with the same bits.
 * NCCL's unique id goes from rank 0 to the others over the ring; its communicator starts without blocking and is aborted
 * when a rank dies, so no process hangs on a peer. Thread rules: one thread per rank. */
#ifndef AVS_WORKERS_COMM_H
#define AVS_WORKERS_COMM_H

#include "engine/plan/plan.h"
#include "workers/ring.h"

typedef struct avs_comm avs_comm;
typedef struct {
    const char *name;                                              /* "ring", "nccl" */
    int (*start)(avs_comm *c, float *slab, int64_t n, avs_err *e); /* in place */
    int (*wait)(avs_comm *c, avs_err *e);
    int (*sum)(avs_comm *c, double *x, int64_t n, avs_err *e); /* in place, done on return */
    void (*close)(avs_comm *c);                                /* aborts what runs */
} avs_comm_ops;
struct avs_comm {
    const avs_comm_ops *ops;
    avs_ring *ring;
    avs_plan *plan;
    int rank, ranks;
};

/* *out NULL with one rank. The plan and the ring must outlive it. */
int avs_comm_open(avs_comm **out, avs_ring *ring, int rank, int ranks, avs_plan *plan, avs_err *e);
void avs_comm_close(avs_comm *c); /* accepts NULL */
static inline int avs_comm_start(avs_comm *c, float *slab, int64_t n, avs_err *e)
{
    return c->ops->start(c, slab, n, e);
}
static inline int avs_comm_wait(avs_comm *c, avs_err *e)
{
    return c->ops->wait(c, e);
}
/* For avs_plan_on_bucket: starts the bucket's range of the GRAD slab; ctx is the avs_comm. */
int avs_comm_bucket(void *ctx, const avs_plan_bucket *b, avs_err *e);

/* For avs_plan_on_sum: small sums inside steps, behind the buckets that were started; ctx is the avs_comm. */
int avs_comm_sum(void *ctx, double *x, int64_t n, avs_err *e);

/* NCCL's filling of the table (workers/gpu); AVS_EMISSING where the library is not installed. */
int avs_comm_nccl_open(avs_comm **out, avs_ring *ring, int rank, int ranks, avs_plan *plan, avs_err *e);

#endif
