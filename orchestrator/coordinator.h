/* The coordinator as a pure state machine: step(state, event) -> actions.
 *
 * No I/O and no clock: time comes with each event, effects go out as actions that the caller (orchestrator/run.c)
 * carries out. So ten thousand random schedules of deaths, duplicates and late messages run in a test.
 *
 * Promises
 *  - a trial becomes done through exactly one COMMIT action that the caller confirms (COMMITTED)
 *  - every START carries a new epoch of its trial and a new attempt id; the live attempt of a trial is at most one
 *  - retries are bounded: errors, crashes and hangs by `retries`, everything else that is not the trial's fault by 10
 *  - ACK follows only when nothing of the attempt is needed any more (results committed, or worthless)
 * Thread rules: one thread. Memory: one arena per coordinator; avs_coord_free frees everything. */
#ifndef AVS_ORCHESTRATOR_COORDINATOR_H
#define AVS_ORCHESTRATOR_COORDINATOR_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "orchestrator/message.h"

typedef struct avs_coord avs_coord;

/* One trial as the caller describes it, in queue order. */
typedef struct {
    int32_t cores;                /* 0: all cores of a node                                           */
    bool exclusive;               /* nothing else on the node meanwhile (latency)                     */
    bool done;                    /* already done in the database: never started                      */
    bool failed;                  /* already failed for good in the database and not to be retried    */
    uint32_t epoch;               /* of the last attempt, 0 when there was none                       */
    int32_t retries;              /* how many error, crash and hang attempts may be repeated          */
    bool no_retry[AVS_OUT_COUNT]; /* outcomes of this kind are final (error, crash, hang, infra)      */
    int64_t grace_ms;             /* time for a checkpoint after STOP                                 */
    const int32_t *need;          /* indices of upstream trials that must be done first               */
    int32_t n_need;
} avs_coord_trial;

typedef struct {
    int32_t agents_expected; /* placement waits for so many agents, at most hold_ms                */
    int64_t hold_ms;         /* 30000                                                              */
    int64_t backoff_ms;      /* 5000: first pause before a retry, doubled each time                */
    int64_t suspect_ms;      /* 60000: a silent agent gets nothing new                             */
    int64_t lost_ms;         /* 600000: a silent agent is lost, its trials are queued again        */
    int64_t end_ms;          /* drain so that all is stopped by then; 0: no end                    */
    int32_t max_failures;    /* stop early at so many failed trials; 0: never                      */
    int32_t max_parallel;    /* live attempts at one time; 0: as many as fit                       */
    uint64_t seed;           /* of the jitter of back-off                                          */
} avs_coord_cfg;
avs_coord_cfg avs_coord_cfg_default(void);

typedef enum {
    AVS_JOB_WAITING = 0, /* an upstream trial is not done yet        */
    AVS_JOB_PENDING,     /* in the queue, or in a back-off pause     */
    AVS_JOB_RUNNING,
    AVS_JOB_COMMITTING,
    AVS_JOB_DONE,
    AVS_JOB_FAILED,
    AVS_JOB_BLOCKED /* an upstream trial failed                  */
} avs_job_state;

typedef enum {
    AVS_EV_AGENT_UP,   /* agent, cores                                                     */
    AVS_EV_AGENT_DOWN, /* agent: its connection is gone                                    */
    AVS_EV_SEEN,       /* agent: any sign of life                                          */
    AVS_EV_ENDED,      /* agent, trial, attempt, epoch, outcome, text_hash                 */
    AVS_EV_COMMITTED,  /* trial, attempt: the results of the COMMIT action are durable     */
    AVS_EV_REFUSED,    /* trial, attempt: the results of the COMMIT action make no sense (not finite)   */
    AVS_EV_DB_FAILED,  /* the database refused: stop everything, exit 4                    */
    AVS_EV_DRAIN,      /* first signal: checkpoint and stop, exit 75                       */
    AVS_EV_KILL,       /* second signal: kill, exit 130                                    */
    AVS_EV_TICK        /* time passes                                                      */
} avs_event_type;

typedef struct {
    avs_event_type type;
    int64_t now_ms;
    int32_t agent; /* 0 .. AVS_COORD_AGENTS-1, chosen by the caller */
    int32_t cores;
    int32_t trial; /* index into the trials; -1: unknown to this sweep */
    uint64_t attempt;
    uint32_t epoch;
    avs_outcome outcome;
    uint64_t text_hash; /* of the error text: an identical error is not repeated a third time */
} avs_event;

typedef enum {
    AVS_ACT_START,  /* agent, trial, attempt, epoch, cores                                               */
    AVS_ACT_STOP,   /* agent, attempt, epoch: checkpoint and stop                                        */
    AVS_ACT_KILL,   /* agent, attempt, epoch                                                             */
    AVS_ACT_COMMIT, /* agent, trial, attempt, epoch: store the results, then send COMMITTED              */
    AVS_ACT_RECORD, /* trial, attempt, epoch, outcome, state: the attempt ended without results          */
    AVS_ACT_ACK,    /* agent, attempt, epoch                                                             */
    AVS_ACT_STATE,  /* trial, state: a trial changed without an attempt (blocked)                        */
    AVS_ACT_BYE,    /* agent: it may go                                                                  */
    AVS_ACT_LOST,   /* agent: counted out                                                                */
    AVS_ACT_QUARANTINE, /* agent: gets nothing more                                                      */
    AVS_ACT_TOO_BIG,    /* trial: no node has that many cores                                            */
    AVS_ACT_FINISH      /* code: nothing is left to do; the last action ever                             */
} avs_action_type;

typedef struct {
    avs_action_type type;
    int32_t agent, trial, cores, code;
    uint64_t attempt;
    uint32_t epoch;
    avs_outcome outcome;
    avs_job_state state;
} avs_action;

enum { AVS_COORD_AGENTS = 4096, AVS_COORD_FREE_RETRIES = 10 };

/* Trials are copied. AVS_ERANGE: a need outside 0..n-1 or a cycle. */
int avs_coord_new(avs_coord **out, const avs_coord_cfg *cfg, const avs_coord_trial *trials, int32_t n,
                  avs_err *e);
void avs_coord_free(avs_coord *c);

/* Handles one event. *actions stays valid until the next step; carry them out in order. AVS_ENOMEM only. */
int avs_coord_step(avs_coord *c, const avs_event *ev, const avs_action **actions, int32_t *n, avs_err *e);

/* START actions carry a provisional attempt id (top bit set). The caller that keeps attempts elsewhere gives the
 * attempt its lasting id before anything is said about it; without that the provisional id stays. */
#define AVS_COORD_PROVISIONAL (1ULL << 63)
void avs_coord_name(avs_coord *c, uint64_t provisional, uint64_t attempt);

/* When a TICK would change something (milliseconds on the event clock), INT64_MAX: never by itself. */
int64_t avs_coord_next_ms(const avs_coord *c);

typedef struct {
    int32_t total, waiting, pending, running, committing, done, failed, blocked;
    int32_t done_before; /* of done: already done when the run began */
    int32_t agents, cores, cores_busy;
    bool draining, finished;
} avs_coord_counts;
avs_coord_counts avs_coord_count(const avs_coord *c);
/* Of trial i. */
avs_job_state avs_coord_state(const avs_coord *c, int32_t i);
uint64_t avs_coord_attempt_of(const avs_coord *c, int32_t i); /* live or committing attempt, 0: none */

#endif
