/* One attempt in the hands of an agent: its socket, its limits, what it has said, and how it ended. Private to the
 * agent; times are nanoseconds of the monotonic clock. */
#ifndef AVS_ORCHESTRATOR_AGENT_TRIAL_H
#define AVS_ORCHESTRATOR_AGENT_TRIAL_H

#include "base/frame.h"
#include "orchestrator/message.h"
#include "orchestrator/spawner.h"

typedef struct {
    uint64_t attempt;
    uint32_t epoch;
    char trial[65];
    char log_path[2048];
    int fd; /* our end of the control socket; -1 closed */
    avs_frame_reader in;
    avs_buf out;   /* frames for the trial that did not fit into the socket yet */
    avs_buf spool; /* everything durable it has said                            */
    cpu_set_t cpus;
    bool quiet, started, hello, said_done, said_fail, said_stopped, broken;
    int64_t fail_code, stopped_step, dropped;
    char text[1024];
    int64_t start_ns, progress_ns, passed_ns; /* passed: the last PROGRESS that went on */
    int64_t time_ns, hang_ns;                 /* limits, 0 none                         */
    int64_t kill_ns;                          /* SIGKILL is due then, 0 none            */
    avs_outcome forced;                       /* AVS_OUT_DONE: we did nothing to it     */
} agent_trial;

/* Folders, JOB.json, log, sockets, spawn request. What fails is a sentence in e; the trial then counts as infra. */
int agent_trial_start(agent_trial *t, avs_spawner *s, const char *program, const avs_frame *start,
                      avs_err *e);

/* Reads the socket; frames to pass on are appended to *pass. */
void agent_trial_read(agent_trial *t, avs_spawner *s, avs_buf *pass, int64_t now);
void agent_trial_write(agent_trial *t); /* moves out */
void agent_trial_stop(agent_trial *t, avs_spawner *s, const char *reason, bool kill);
/* Applies limits; returns when to look again. */
int64_t agent_trial_limits(agent_trial *t, avs_spawner *s, int64_t now);

/* The M_ENDED of a process that is gone, appended to *out. */
avs_outcome agent_trial_end(agent_trial *t, const avs_spawn_report *r, avs_buf *out, int64_t now);
/* The same for one that never started. */
void agent_trial_never(uint64_t attempt, uint32_t epoch, const char *trial, const char *why, avs_buf *out);
void agent_trial_free(agent_trial *t);

#endif
