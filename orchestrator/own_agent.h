/* The helper agent: the agent of the coordinator's own node, a child process on a socket pair. */
#ifndef AVS_ORCHESTRATOR_OWN_AGENT_H
#define AVS_ORCHESTRATOR_OWN_AGENT_H

#include <sys/types.h>
#include "base/err.h"

typedef struct {
    pid_t pid;
    int fd; /* our end; whoever makes a transport of it owns it then. -1: none */
} avs_own_agent;

/* program: avsweep-trial; root: work root; cores: 0 those of the machine. AVS_EIO. */
int avs_own_agent_start(avs_own_agent *h, const char *program, const char *root, int cores, avs_err *e);
/* Its connection is closed already: waits for its end. */
void avs_own_agent_wait(avs_own_agent *h);

#endif
