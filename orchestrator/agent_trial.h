/* One attempt in the hands of an agent: the processes of its ranks on this node, their sockets and limits, what they
 * have said, and how it ended. Ranks live and die together: the first that ends badly takes the others along. Private
 * to the agent; times are nanoseconds of the monotonic clock. */
#ifndef AVS_ORCHESTRATOR_AGENT_TRIAL_H
#define AVS_ORCHESTRATOR_AGENT_TRIAL_H

#include "base/frame.h"
#include "orchestrator/gpu_inventory.h"
#include "orchestrator/quiet.h"
#include "orchestrator/message.h"
#include "orchestrator/spawner.h"

typedef struct {
    int fd; /* our end of the control socket; -1 closed */
    avs_frame_reader in;
    avs_buf out; /* frames for the trial that did not fit into the socket yet */
    cpu_set_t cpus;
    int cores;
    uint32_t gpus; /* bits of the agent's list */
    bool hello, ended, said_done, said_fail, said_stopped, broken;
    bool followed; /* its FAIL says no more than that another rank ended */
    int64_t pid;
} agent_rank;

typedef struct {
    uint64_t attempt;
    uint32_t epoch;
    uint64_t spawn_id; /* of the first rank here; the others follow */
    char trial[65];
    char log_path[2048];
    int ranks, first_rank, n, n_left, n_hello; /* n: ranks on this node, n_left: that still run */
    agent_rank *rank;
    avs_buf spool;             /* everything durable it has said */
    char ring[AVS_FRAME_RING]; /* gangs across nodes: where rank 0, if it is here, lets the others in */
    bool quiet, ready_said, going, has_end;
    bool waiting;    /* for a quiet node: no process yet */
    avs_buf start;   /* then the fields of its START */
    avs_quiet watch; /* of a quiet trial */
    int64_t look_ns; /* when to look at the node again */
    int64_t fail_code, stopped_step, dropped, max_rss, max_gpu;
    int code, signal; /* of the process that decided the end */
    char text[1024];
    int64_t start_ns, progress_ns, passed_ns; /* passed: the last PROGRESS that went on */
    int64_t time_ns, hang_ns;                 /* limits, 0 none                         */
    int64_t kill_ns;                          /* SIGKILL is due then, 0 none            */
    avs_outcome forced;                       /* AVS_OUT_DONE: we did nothing to it     */
    avs_outcome outcome;                      /* of the ranks that have ended           */
    long long *memory_kills;                  /* the agent's last look at the counter below */
    const avs_gpu_inventory *gpus;            /* of the node; the agent's                   */
} agent_trial;

/* How often the kernel has killed for want of memory since boot; -1: it does not say. */
long long agent_memory_kills(void);

/* Reads the START into t (n ranks with no processes yet). */
int agent_trial_read_start(agent_trial *t, const avs_frame *start, avs_err *e);
/* Folders, JOB.json, log, sockets, spawn requests. What fails is a sentence in e; the trial then counts as infra. */
int agent_trial_start(agent_trial *t, avs_spawner *s, const char *program, const avs_frame *start,
                      avs_err *e);

/* Reads the sockets; frames to pass on are appended to *pass. */
void agent_trial_read(agent_trial *t, avs_spawner *s, avs_buf *pass, int64_t now);
void agent_trial_write(agent_trial *t);                     /* moves out */
void agent_trial_ready(const agent_trial *t, avs_buf *out); /* M_READY, if its ranks are up and wait */
void agent_trial_go(agent_trial *t, const avs_frame *go);
void agent_trial_stop(agent_trial *t, avs_spawner *s, const char *reason, bool kill);
/* Applies limits; returns when to look again. */
int64_t agent_trial_limits(agent_trial *t, avs_spawner *s, int64_t now);

/* The process of rank k here is gone (failed != 0: it never was, errno). true: it was the last; M_ENDED is appended to
 * *out and t->outcome tells how the attempt ended on this node. */
bool agent_trial_rank_gone(agent_trial *t, avs_spawner *s, int k, const avs_spawn_report *r, avs_buf *out,
                           int64_t now);
/* A quiet trial: looks at the node when it is time. true: it waits no longer and is to be started. */
bool agent_trial_look(agent_trial *t, int64_t now);
/* M_ENDED of one that is stopped while it waits. */
void agent_trial_cancel(agent_trial *t, bool kill, avs_buf *out);
/* M_ENDED of an attempt that never started. */
void agent_trial_never(const agent_trial *t, const char *why, avs_buf *out);
void agent_trial_free(agent_trial *t);

#endif
