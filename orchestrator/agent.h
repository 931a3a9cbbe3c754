/* The agent: one per node. It starts trials through its spawner, listens to them on their sockets, enforces time and
 * hang limits, and passes what they say on to the coordinator. It decides nothing else.
 *
 * It ends when the coordinator says M_BYE, when the connection closes, or when nothing was heard for ten minutes; its
 * trials end with it. Thread rules: one thread, one agent. */
#ifndef AVS_ORCHESTRATOR_AGENT_H
#define AVS_ORCHESTRATOR_AGENT_H

#include <stdbool.h>
#include "base/err.h"
#include "base/log.h"
#include "orchestrator/spawner.h"
#include "orchestrator/transport.h"

/* Word of the internal subcommand: `avsweep __agent TRIAL_PROGRAM ROOT` serves the coordinator on fd 3. */
#define AVS_AGENT_WORD "__agent"

typedef struct {
    const char *program; /* avsweep-trial, absolute                                             */
    const char *root;    /* work root; NULL: told by the coordinator                            */
    bool offer_spool;    /* offer what an earlier run left behind (the coordinator's own agent) */
    int cores;           /* 0: what this process may use; else so many, unbound (tests)         */
    avs_log log;
} avs_agent_cfg;

/* Serves until the end; owns neither t nor s. AVS_OK after M_BYE, AVS_ECANCEL when the coordinator vanished. */
int avs_agent_run(avs_transport *t, avs_spawner *s, const avs_agent_cfg *cfg, avs_err *e);

/* Name of this node and the cores this process may use (an Open MPI binding is undone first). */
void avs_agent_host(char *out, size_t n);
int avs_agent_cores(cpu_set_t *set);

#endif
