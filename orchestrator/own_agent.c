/* This program again with the word for agents. */
#include "orchestrator/own_agent.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "orchestrator/agent.h"
#include "orchestrator/self.h"

int avs_own_agent_start(avs_own_agent *h, const char *program, const char *root, int cores, avs_err *e)
{
    char number[16];
    snprintf(number, sizeof number, "%d", cores);
    char name[] = "avsweep", word[] = AVS_AGENT_WORD;
    char *argv[] = {name, word, (char *)(uintptr_t)program, (char *)(uintptr_t)root, number, NULL};
    return avs_self_start(SOCK_STREAM, argv, "the agent", &h->pid, &h->fd, e);
}

void avs_own_agent_wait(avs_own_agent *h)
{
    while (h->pid > 0 && waitpid(h->pid, NULL, 0) < 0 && errno == EINTR) {}
    *h = (avs_own_agent){0, -1};
}
