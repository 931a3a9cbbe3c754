/* The host ring's face: one rank needs none of it, more go through the table of their transport. */
#include "workers/ring_table.h"

void avs_ring_close(avs_ring *r)
{
    if (r) r->ops->close(r);
}

int avs_ring_mean(avs_ring *r, float *x, int64_t n, avs_err *e)
{
    return r ? r->ops->mean(r, x, n, e) : AVS_OK;
}

int avs_ring_sum(avs_ring *r, double *x, int64_t n, avs_err *e)
{
    return r ? r->ops->sum(r, x, n, e) : AVS_OK;
}

int avs_ring_barrier(avs_ring *r, avs_err *e)
{
    return r ? r->ops->barrier(r, e) : AVS_OK;
}

int avs_ring_broadcast(avs_ring *r, double *value, avs_err *e)
{
    return r ? r->ops->agree(r, value, false, e) : AVS_OK;
}

int avs_ring_max(avs_ring *r, double *value, avs_err *e)
{
    return r ? r->ops->agree(r, value, true, e) : AVS_OK;
}

bool avs_ring_peer_is_gone(const avs_ring *r)
{
    return r && r->ops->gone(r);
}
