/* The host ring: sums gradients over the ranks of a trial on one node, through shared memory.
 *
 * Deterministic: every rank adds the same chunks in rank order, so all hold the same bits and a rerun gives them again.
 * Waits sleep on futexes in slices and end when a peer died or gave up (AVS_ECANCEL): no rank hangs longer than
 * the peer's death takes to be seen. Thread rules: one thread per rank. */
#ifndef AVS_WORKERS_RING_H
#define AVS_WORKERS_RING_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

typedef struct avs_ring avs_ring;

/* name: of the shared-memory object ("/avs-..."), the same on all ranks and of this trial's attempt alone. Rank 0 makes
 * it, the others wait for it at most timeout_ms. ranks 1: *out is NULL and every call below is a no-op. */
int avs_ring_open(avs_ring **out, const char *name, int rank, int ranks, int timeout_ms, avs_err *e);
/* A rank that leaves before the others tells them; accepts NULL. */
void avs_ring_close(avs_ring *r);

/* x [n]: replaced by the mean over ranks. */
int avs_ring_mean(avs_ring *r, float *x, int64_t n, avs_err *e);
/* x [n]: replaced by the sum over ranks. */
int avs_ring_sum(avs_ring *r, double *x, int64_t n, avs_err *e);
int avs_ring_barrier(avs_ring *r, avs_err *e);
/* value of rank 0 for all; the largest over ranks. */
int avs_ring_broadcast(avs_ring *r, double *value, avs_err *e);
int avs_ring_max(avs_ring *r, double *value, avs_err *e);
/* Whether a rank has ended or given up; for those who wait elsewhere. false for NULL. */
bool avs_ring_peer_is_gone(const avs_ring *r);

#endif
