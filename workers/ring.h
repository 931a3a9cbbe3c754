/* The host ring: sums gradients over the ranks of a trial, through shared memory inside a node and over TCP across nodes.
 *
 * Deterministic: numbers are added in rank order, by either transport, so all ranks hold the same bits, a rerun gives them
 * again, and it does not matter on which nodes the ranks lie. Waits sleep (futexes in slices, poll) and end when a peer
 * died or gave up (AVS_ECANCEL): no rank hangs longer than the peer's death takes to be seen. Thread rules: one thread
 * per rank. */
#ifndef AVS_WORKERS_RING_H
#define AVS_WORKERS_RING_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/frame.h"

typedef struct avs_ring avs_ring;

/* All ranks on one node. name: of the shared-memory object ("/avs-..."), the same on all ranks and of this trial's attempt
 * alone. Rank 0 makes it, the others wait for it at most timeout_ms. ranks 1: *out is NULL and every call below is a
 * no-op. */
int avs_ring_open(avs_ring **out, const char *name, int rank, int ranks, int timeout_ms, avs_err *e);

/* Ranks on several nodes (2 or more). Rank 0 listens first; `address` says where and carries the secret of this ring: it
 * reaches the other ranks by a way of its own. Ports are the system's choice. The addresses told are those of all
 * interfaces that lead out of the node, or of what AVSWEEP_RING_ADDRESS names: an interface, an address or a host. */
enum { AVS_RING_ADDRESS = AVS_FRAME_RING };
typedef struct avs_ring_meet avs_ring_meet;
int avs_ring_listen(avs_ring_meet **out, char address[AVS_RING_ADDRESS], avs_err *e);
void avs_ring_unlisten(avs_ring_meet *m); /* accepts NULL */
/* meet: rank 0's, which is used up; NULL for the others. Who does not prove the secret is not let in. AVS_EPARSE: the
 * address; AVS_EMISSING: not all ranks came within timeout_ms. */
int avs_ring_open_tcp(avs_ring **out, avs_ring_meet *meet, const char *address, int rank, int ranks,
                      int timeout_ms, avs_err *e);

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
