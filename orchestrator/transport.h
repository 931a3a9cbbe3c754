/* Connections between the coordinator and its agents: ordered byte streams, one per peer.
 *
 * Two kinds behind one table of functions: a socket pair (the helper agent on the coordinator's own node) and MPI
 * (every other node). Nothing blocks and nothing spins: the caller waits in ppoll on `fd` where there is one, and
 * for MPI calls poll() after at most wait_ns, which grows from 0 over 50 us to 5 ms while nothing arrives. */
#ifndef AVS_ORCHESTRATOR_TRANSPORT_H
#define AVS_ORCHESTRATOR_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

typedef struct avs_transport avs_transport;
/* data == NULL: the peer is gone, n is 0. */
typedef void (*avs_transport_got)(void *ctx, int peer, const void *data, size_t n);

struct avs_transport {
    int n_peers;     /* peers are 0 .. n_peers-1                                                         */
    int fd;          /* to wait for; -1: none                                                            */
    bool want_write; /* wait for POLLOUT too                                                             */
    int64_t wait_ns; /* the longest the caller may wait before the next poll(); INT64_MAX: fd tells      */
    /* Takes all n bytes (queues what cannot go now). Sending to a peer that is gone is no error. */
    int (*send)(avs_transport *t, int peer, const void *data, size_t n, avs_err *e);
    /* Delivers what has arrived and moves what is queued. */
    int (*poll)(avs_transport *t, avs_transport_got got, void *ctx, avs_err *e);
    bool (*idle)(const avs_transport *t); /* nothing is queued any more */
    void (*close)(avs_transport *t);      /* frees t */
};

/* A stream socket that the transport then owns; one peer. */
int avs_transport_local(avs_transport **out, int fd, avs_err *e);

/* What the launcher made of this process. Read from the environment: OMPI_COMM_WORLD_*, PMI_*, PMIX_RANK, SLURM_*. */
typedef struct {
    int rank, size; /* 0 of 1 without a launcher */
    bool under_launcher;
} avs_launch;
avs_launch avs_launch_read(void);
/* AVSWEEP_EMULATE_NODES=1, for tests where the kernel makes no name spaces: every rank of one machine acts as a node of its
 * own, called HOST-rRANK. */
bool avs_launch_emulates_nodes(void);

typedef enum { AVS_ROLE_COORDINATOR, AVS_ROLE_AGENT, AVS_ROLE_PARKED } avs_role;

/* MPI_Init_thread(FUNNELED), then the roles: rank 0 coordinates, the lowest rank of every other node is an agent, all
 * others are parked. *out: coordinator: one peer per agent; agent: one peer, the coordinator; parked: NULL.
 * *n_parked: how many ranks are parked (coordinator). AVS_EMPI; AVS_EMISSING when this build has no MPI. */
int avs_transport_mpi(avs_transport **out, avs_role *role, int *n_parked, avs_err *e);
/* Parked ranks sleep here until the coordinator lets them go (avs_mpi_end). */
void avs_mpi_park(void);
/* Coordinator: lets parked ranks go. All: MPI_Finalize. abort_code != 0: agents were lost, end the job now. */
void avs_mpi_end(avs_role role, int abort_code);
const char *avs_mpi_version(void); /* "Open MPI v4.1.4 .." or "none" */

#endif
