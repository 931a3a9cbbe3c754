/* The spawner: a small single-threaded child of the agent that starts trials and reports how they end.
 *
 * It is started before MPI_Init (a fork in a process that talks to a fabric is unsafe on some of them and slow in a
 * big one). Requests and reports are datagrams on a SOCK_SEQPACKET pair; the descriptors for fd 3 and the log travel
 * with the request. When its socket closes (the agent is gone) it kills the process groups of its trials and ends;
 * if it dies itself, its trials die by PDEATHSIG.
 * Thread rules: one spawner belongs to one thread. */
#ifndef AVS_ORCHESTRATOR_SPAWNER_H
#define AVS_ORCHESTRATOR_SPAWNER_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"

/* Word of the internal subcommand: `avsweep __spawner` serves the socket on fd 3. */
#define AVS_SPAWNER_WORD "__spawner"

typedef struct {
    int fd; /* poll it for POLLIN; -1: none */
    pid_t pid;
} avs_spawner;

/* Starts /proc/self/exe as spawner. Errors: AVS_EIO. */
int avs_spawner_open(avs_spawner *s, avs_err *e);
void avs_spawner_close(avs_spawner *s); /* its trials are killed; waits for its end; accepts {-1} */

typedef struct {
    uint64_t id;         /* names the process in reports                                  */
    const char *program; /* absolute path                                                 */
    const char *job;     /* absolute path of JOB.json                                     */
    const char *cwd;
    int control_fd, log_fd; /* become fd 3 and stdout+stderr there; the caller keeps its own */
    int threads;            /* OMP_NUM_THREADS                                               */
    const char *gpus;       /* "CUDA_VISIBLE_DEVICES=.."; NULL: as this process has it       */
    cpu_set_t cpus;         /* the process is bound to these; empty: not bound               */
} avs_spawn_request;
int avs_spawner_start(avs_spawner *s, const avs_spawn_request *r, avs_err *e);
int avs_spawner_signal(avs_spawner *s, uint64_t id, int signal, avs_err *e); /* to the whole group */

typedef enum { AVS_SPAWN_STARTED, AVS_SPAWN_FAILED, AVS_SPAWN_EXITED } avs_spawn_what;
typedef struct {
    uint64_t id;
    avs_spawn_what what;
    pid_t pid;
    int error;       /* FAILED: errno            */
    int status;      /* EXITED: as from waitpid  */
    int64_t max_rss; /* EXITED: bytes            */
} avs_spawn_report;
/* Takes one report without blocking: 1 taken, 0 none now, -1 the spawner is gone. */
int avs_spawner_next(avs_spawner *s, avs_spawn_report *r);

/* Body of the internal subcommand. Returns the exit status of the process. */
int avs_spawner_serve(int fd);

#endif
