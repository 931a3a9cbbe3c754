/* Starting this program again: the helper agent and the spawner are children of one word each on a socket pair. */
#ifndef AVS_ORCHESTRATOR_SELF_H
#define AVS_ORCHESTRATOR_SELF_H

#include <sys/types.h>
#include "base/err.h"

/* /proc/self/exe with argv (NULL at the end) in a session of its own, so that Ctrl-C on the terminal is the coordinator's
 * alone; its descriptor 3 is one end of a pair of sockets of the type, ours is *fd (close-on-exec). what: "the agent", for
 * the message. AVS_EIO. */
int avs_self_start(int type, char *argv[], const char *what, pid_t *pid, int *fd, avs_err *e);

/* Blocks the signals that end or drain a run; they are read from a descriptor. SIGPIPE is ignored. */
void avs_self_block_signals(void);

#endif
