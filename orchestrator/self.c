/* posix_spawn of /proc/self/exe: works before and after MPI_Init, and costs the same whatever this process holds. */
#include "orchestrator/self.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

extern char **environ;

int avs_self_start(int type, char *argv[], const char *what, pid_t *pid, int *fd, avs_err *e)
{
    int pair[2];
    *pid = 0;
    *fd = -1;
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) != 0)
        return avs_fail(e, AVS_EIO, "socket pair for %s: %s", what, strerror(errno));
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, pair[1], 3);
    posix_spawn_file_actions_addclosefrom_np(&fa, 4);
    posix_spawnattr_init(&at);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSID);
    int err = posix_spawn(pid, "/proc/self/exe", &fa, &at, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&at);
    close(pair[1]);
    if (err) {
        close(pair[0]);
        *pid = 0;
        return avs_fail(e, AVS_EIO, "cannot start %s: %s", what, strerror(err));
    }
    *fd = pair[0];
    return AVS_OK;
}

void avs_self_block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    for (const int *s = (const int[]){SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, 0}; *s; s++)
        sigaddset(&set, *s);
    sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}
