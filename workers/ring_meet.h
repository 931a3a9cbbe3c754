/* How ranks on several nodes find each other. Every rank ends with a connection to the rank before and the one after it.
 *
 *   1. rank 0 listens; its address (port, secret, numeric addresses of its node) reaches the others from outside
 *   2. all connect to rank 0 and tell the port that they listen on; when all have come, rank 0 tells each the address of
 *      the rank before it, as rank 0 sees it
 *   3. each connects to that one and lets the next one in
 * Both ends of a connection prove that they know the secret before anything else is said: greeting with a nonce, then the
 * SHA-256 of secret and both greetings, so the secret itself is never sent. Who says anything else, or nothing for 5 s, is
 * shut out. Private to the ring. */
#ifndef AVS_WORKERS_RING_MEET_H
#define AVS_WORKERS_RING_MEET_H

#include "workers/ring.h"

/* Out: sockets that do not block, -1 where there is no such rank. meet (rank 0) is used up in any case. */
int avs_ring_join(avs_ring_meet *meet, const char *address, int rank, int ranks, int timeout_ms, int *prev,
                  int *next, avs_err *e);

#endif
