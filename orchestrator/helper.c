/* This program again with the word for agents. */
#include "orchestrator/helper.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "orchestrator/agent.h"
#include "orchestrator/self.h"

int avs_helper_start(avs_helper *h, const char *program, const char *root, int cores, avs_err *e)
{
    char number[16];
    snprintf(number, sizeof number, "%d", cores);
    char name[] = "avsweep", word[] = AVS_AGENT_WORD;
    char *argv[] = {name, word, (char *)(uintptr_t)program, (char *)(uintptr_t)root, number, NULL};
    return avs_self_start(SOCK_STREAM, argv, "the agent", &h->pid, &h->fd, e);
}

void avs_helper_wait(avs_helper *h)
{
    while (h->pid > 0 && waitpid(h->pid, NULL, 0) < 0 && errno == EINTR) {}
    *h = (avs_helper){0, -1};
}
