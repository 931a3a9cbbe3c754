/* posix_spawn of this program with the word for agents; Ctrl-C on the terminal does not reach it. */
#include "orchestrator/helper.h"

#include <errno.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "orchestrator/agent.h"

extern char **environ;

int avs_helper_start(avs_helper *h, const char *program, const char *root, int cores, avs_err *e)
{
    int pair[2];
    char number[16];
    *h = (avs_helper){0, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return avs_fail(e, AVS_EIO, "socket pair for the agent: %s", strerror(errno));
    snprintf(number, sizeof number, "%d", cores);
    char name[] = "avsweep", word[] = AVS_AGENT_WORD;
    char *argv[] = {name, word, (char *)(uintptr_t)program, (char *)(uintptr_t)root, number, NULL};
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, pair[1], 3);
    posix_spawn_file_actions_addclosefrom_np(&fa, 4);
    posix_spawnattr_init(&at);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSID); /* Ctrl-C is the coordinator's alone */
    int err = posix_spawn(&h->pid, "/proc/self/exe", &fa, &at, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&at);
    close(pair[1]);
    if (err) {
        close(pair[0]);
        return avs_fail(e, AVS_EIO, "cannot start the agent: %s", strerror(err));
    }
    h->fd = pair[0];
    return AVS_OK;
}

void avs_helper_wait(avs_helper *h)
{
    while (h->pid > 0 && waitpid(h->pid, NULL, 0) < 0 && errno == EINTR) {}
    *h = (avs_helper){0, -1};
}
