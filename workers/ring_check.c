/* Every rank brings numbers whose mean is known exactly in fp32; every rank checks every number. */
#include "workers/ring_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "workers/ring.h"

enum { N = 1 << 18, ROUNDS = 8, MAX_RANKS = 64, TIMEOUT_MS = 20000 };

/* meet: of the ring over TCP at rank 0; name is its address, else that of the shared memory. */
static int one_rank(const char *name, bool tcp, avs_ring_meet *meet, int rank, int ranks)
{
    avs_err e = AVS_ERR_INIT;
    avs_ring *ring = NULL;
    float *x = avs_xalloc(N * sizeof *x);
    int rc = !x    ? avs_fail(&e, AVS_ENOMEM, "no memory")
             : tcp ? avs_ring_open_tcp(&ring, meet, name, rank, ranks, TIMEOUT_MS, &e)
                   : avs_ring_open(&ring, name, rank, ranks, TIMEOUT_MS, &e);
    const int64_t begin = avs_now_ns();
    int64_t wrong = 0;
    for (int round = 0; rc == AVS_OK && round < ROUNDS; round++) {
        for (int i = 0; i < N; i++)
            x[i] = (float)(ranks * (i % 1024 + rank)); /* whole numbers: sums are exact */
        rc = avs_ring_mean(ring, x, N, &e);
        for (int i = 0; rc == AVS_OK && i < N; i++) {
            const int sum = ranks * (i % 1024) + ranks * (ranks - 1) / 2;
            wrong += x[i] < (float)sum || x[i] > (float)sum;
        }
    }
    const double ms = (double)(avs_now_ns() - begin) / 1e6 / ROUNDS;
    if (rc == AVS_OK && ranks > 1) rc = avs_ring_barrier(ring, &e);
    avs_ring_close(ring);
    avs_xfree(x);
    if (rc != AVS_OK)
        fprintf(stderr, "error: rank %d: %s\n", rank, e.msg);
    else if (wrong)
        fprintf(stderr, "error: rank %d: %lld of %d sums are wrong\n", rank, (long long)wrong, N * ROUNDS);
    else if (rank == 0)
        printf("%d ranks%s, all-reduce of 1 MiB right, %.2f ms each\n", ranks, tcp ? " over TCP" : "", ms);
    return rc != AVS_OK || wrong;
}

int avs_ring_check_command(int argc, char **argv)
{
    const int ranks = argc > 0 ? (int)strtol(argv[0], NULL, 10) : 2;
    const bool tcp = argc == 2 && strcmp(argv[1], "tcp") == 0;
    char name[AVS_RING_ADDRESS];
    pid_t pid[MAX_RANKS];
    int bad = 0;
    avs_err e = AVS_ERR_INIT;
    avs_ring_meet *meet = NULL;
    if (argc > 2 || (argc == 2 && !tcp) || ranks < 1 + tcp || ranks > MAX_RANKS) {
        fprintf(stderr, "usage: avsweep-trial ring [RANKS, 1 to %d] [tcp]\n", MAX_RANKS);
        return 2;
    }
    (void)snprintf(name, sizeof name, "/avs-check-%ld", (long)getpid());
    if (tcp && avs_ring_listen(&meet, name, &e) != AVS_OK) {
        fprintf(stderr, "error: %s\n", e.msg);
        return 1;
    }
    (void)fflush(NULL);
    for (int r = 1; r < ranks; r++) {
        pid[r] = fork();
        if (pid[r] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            avs_ring_unlisten(meet);
            _exit(one_rank(name, tcp, NULL, r, ranks));
        }
        bad |= pid[r] < 0;
    }
    if (bad)
        avs_ring_unlisten(meet);
    else
        bad = one_rank(name, tcp, meet, 0, ranks);
    for (int r = 1; r < ranks; r++) {
        int status = 0;
        if (pid[r] < 0) continue;
        if (bad) (void)kill(pid[r], SIGKILL);
        (void)waitpid(pid[r], &status, 0);
        bad |= !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    return bad ? 1 : 0;
}
