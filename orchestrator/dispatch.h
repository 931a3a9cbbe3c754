/* The event loop of the coordinator process: from messages to events, from actions to database rows and messages.
 *
 * What a turn does: take messages, step the machine, write rows, flush them in one transaction, and only then send.
 * So nothing is said that the database does not know: START after the attempt row, ACK after the results. */
#ifndef AVS_ORCHESTRATOR_DISPATCH_H
#define AVS_ORCHESTRATOR_DISPATCH_H

#include <sys/types.h>
#include "orchestrator/lease.h"
#include "orchestrator/progress.h"
#include "orchestrator/transport.h"
#include "orchestrator/trial_list.h"

/* Nanoseconds from the end of a trial to the next one on the same agent, where one followed at once (bench). */
typedef struct {
    int64_t *ns;
    size_t n, cap;
    bool spawned; /* until the next process runs, not only until its START has left */
} avs_dispatch_samples;

typedef struct {
    avs_trial_list *list; /* its coord is given up */
    avs_store *db;
    const avs_lease *lease;
    avs_transport *const *links; /* agents in this order: those of links[0], of links[1], .. */
    int n_links;
    avs_coord_cfg coord;
    bool quiet;
    int verbose;                   /* 1: every attempt, 2: nodes and messages too */
    bool json;                     /* events as JSON objects, one per line, on stdout */
    bool inline_noops;             /* agents answer every trial without a process (bench) */
    bool commit_each;              /* a transaction for every result (bench)              */
    avs_dispatch_samples *samples; /* NULL: none */
} avs_dispatch_cfg;

typedef struct {
    int code;        /* exit code of the run                          */
    int lost_agents; /* without a BYE: MPI_Finalize would wait for them for ever */
    avs_coord_counts counts;
} avs_dispatch_result;

/* Signals (INT, TERM, USR1, USR2, HUP) must be blocked; they arrive through a signalfd. */
int avs_dispatch(const avs_dispatch_cfg *cfg, avs_dispatch_result *out, avs_err *e);

#endif
