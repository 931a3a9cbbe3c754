/* What a transport of the host ring fills: shared memory inside a node (ring_shm.c), TCP across nodes (ring_tcp.c).
 * Private to them and ring.c. */
#ifndef AVS_WORKERS_RING_TABLE_H
#define AVS_WORKERS_RING_TABLE_H

#include "workers/ring.h"

typedef struct {
    int (*mean)(avs_ring *r, float *x, int64_t n, avs_err *e);
    int (*sum)(avs_ring *r, double *x, int64_t n, avs_err *e);
    int (*barrier)(avs_ring *r, avs_err *e);
    int (*agree)(avs_ring *r, double *value, bool largest, avs_err *e); /* on the largest, or on rank 0's */
    bool (*gone)(const avs_ring *r);
    void (*close)(avs_ring *r);
} avs_ring_ops;

struct avs_ring {
    const avs_ring_ops *ops;
    int rank, ranks;
};

#endif
