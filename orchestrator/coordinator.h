/* The coordinator as a pure state machine: step(state, event) -> actions.
 *
 * No I/O and no clock: time comes with each event, effects go out as actions that the caller (orchestrator/dispatch.c)
 * carries out. So a hundred thousand random schedules of deaths, duplicates and late messages run in a test.
 *
 * Promises
 *  - a trial becomes done through exactly one COMMIT action that the caller confirms (COMMITTED)
 *  - every attempt has a new epoch of its trial and a new attempt id; the live attempt of a trial is at most one
 *  - the ranks of a gang are placed all at once or not at all, and none goes on when one has ended badly
 *  - a trial that needs others starts after all of them are done. While one of them has failed it is BLOCKED; when
 *    that one is tried again (RETRY) it waits again and runs after all are done
 *  - a latency whose node was not quiet is measured again, twice; the third one counts whatever it is like
 *  - retries are bounded: errors, crashes and hangs by `retries`, everything else that is not the trial's fault by 10
 *  - what an agent holds and what it should hold are compared at every beat: a START or GO that was lost on the way is
 *    made good, a process that nobody knows of is killed
 *  - ACK follows only when nothing of the attempt is needed any more (results committed, or worthless)
 * Thread rules: one thread. Memory: about 56 bytes a trial; avs_coord_free frees everything. */
#ifndef AVS_ORCHESTRATOR_COORDINATOR_H
#define AVS_ORCHESTRATOR_COORDINATOR_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "orchestrator/message.h"

typedef struct avs_coord avs_coord;

enum {
    AVS_COORD_AGENTS = 16384,
    AVS_COORD_FREE_RETRIES = 10,
    AVS_COORD_REPEATS = 2, /* of a disturbed latency trial */
    AVS_COORD_POISON = 2,  /* nodes that may go down under a trial */
    AVS_NODE_GPUS = 32,
    AVS_NODE_NUMA = 8
};

/* ---- what runs ---- */

typedef enum {
    AVS_PACK_ANY,   /* as few nodes as possible          */
    AVS_PACK_NODE,  /* all ranks on one node             */
    AVS_PACK_NUMA,  /* all ranks in one NUMA domain      */
    AVS_PACK_SPREAD /* every rank on a node of its own   */
} avs_pack;

typedef enum {
    AVS_EXCL_NONE,
    AVS_EXCL_GPU,  /* as NONE: a GPU is never shared                 */
    AVS_EXCL_NUMA, /* nothing else in the NUMA domains it runs in    */
    AVS_EXCL_NODE  /* nothing else on its nodes (latency)            */
} avs_exclusive;

/* What trials have in common: resources of a rank, limits, rules of retry. */
typedef struct {
    int32_t ranks;  /* 0 or 1: one process; k: a gang                                        */
    int32_t gpus;   /* of a rank                                                             */
    int32_t cores;  /* of a rank; 0: the node is its own, ranks on it share the cores evenly */
    int32_t mem_mb; /* of a rank; 0: not stated                                              */
    avs_pack pack;
    avs_exclusive exclusive;
    bool nvlink;                  /* prefer GPUs that are linked                                       */
    const char *gpu_model;        /* extended regular expression; NULL: any. Copied                    */
    int64_t limit_ms;             /* limits.time, 0: none                                              */
    int64_t expect_ms;            /* estimate, 0: none                                                 */
    int64_t grace_ms;             /* time for a checkpoint after STOP                                  */
    bool host_ok;                 /* where no node has a GPU its ranks run on the host                 */
    bool resumes;                 /* may start although it will not be over before the end of the run  */
    int32_t retries;              /* how many error, crash and hang attempts may be repeated           */
    bool no_retry[AVS_OUT_COUNT]; /* outcomes of this kind are final (error, crash, hang, infra, oom)  */
} avs_coord_class;

/* One trial as the caller describes it, in queue order. */
typedef struct {
    const int32_t *need; /* indices of upstream trials that must be done first */
    int32_t n_need;
    int32_t class_id; /* index into the classes                             */
    uint32_t epoch;   /* of the last attempt, 0 when there was none         */
    float priority;   /* larger first; equal ones in the order of the array */
    bool done;        /* already done in the database: never started        */
    bool failed;      /* failed for good in the database and not to be retried */
    bool cancelled;   /* by the user: never started                         */
    bool pruned;      /* stopped early by an earlier run: never started     */
} avs_coord_trial;

typedef struct {
    int32_t agents_expected; /* placement waits for so many agents, at most hold_ms                */
    int64_t hold_ms;         /* 30000                                                              */
    int64_t backoff_ms;      /* 5000: first pause before a retry, doubled each time                */
    int64_t suspect_ms;      /* 60000: a silent agent gets nothing new                             */
    int64_t lost_ms;         /* 600000: a silent agent is lost, its trials are queued again        */
    int64_t ready_ms;        /* 60000: all ranks of a gang must be up by then                      */
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
    AVS_JOB_BLOCKED,   /* an upstream trial failed or was cancelled   */
    AVS_JOB_HELD,      /* paused, by the user or at a rung            */
    AVS_JOB_CANCELLED, /* by the user                                 */
    AVS_JOB_PRUNED,    /* stopped early for good; no failure          */
    AVS_JOB_STATES
} avs_job_state;

/* ---- where ---- */

typedef struct {
    int32_t numa;      /* domain it is nearest to                                        */
    int32_t island;    /* GPUs of one number are linked with each other (NVLink)         */
    const char *model; /* "NVIDIA H100 80GB HBM3"; NULL: ""                              */
} avs_node_gpu;

typedef struct {
    int32_t cores, mem_mb; /* mem_mb 0: unknown, taken as enough  */
    int32_t n_numa;        /* 0: one domain with all cores        */
    int32_t numa_cores[AVS_NODE_NUMA];
    int32_t n_gpus;
    avs_node_gpu gpu[AVS_NODE_GPUS];
} avs_node_info;

/* What one rank gets on its node. */
typedef struct {
    uint32_t gpus; /* bit g: GPU g of the node                                 */
    int32_t cores; /* how many                                                 */
    int32_t numa;  /* domain to take them from first; -1: any                  */
} avs_rank_place;

/* ---- events and actions ---- */

typedef enum {
    AVS_EV_AGENT_UP,   /* agent; node, or cores alone                                      */
    AVS_EV_AGENT_DOWN, /* agent: its connection is gone                                    */
    AVS_EV_SEEN,       /* agent: any sign of life                                          */
    AVS_EV_READY,      /* agent, attempt, epoch: all ranks of a gang on this node are up   */
    AVS_EV_BEAT,       /* agent, heard_ms, held, n_held: what it has in its hands          */
    AVS_EV_ENDED,      /* agent, trial, attempt, epoch, outcome, text_hash, follower       */
    AVS_EV_COMMITTED,  /* trial, attempt: the results of the COMMIT action are durable     */
    AVS_EV_REFUSED,    /* trial, attempt: the results of the COMMIT action make no sense (not finite)   */
    AVS_EV_DB_FAILED,  /* the database refused: stop everything, exit 4                    */
    AVS_EV_DRAIN,      /* first signal: checkpoint and stop, exit 75                       */
    AVS_EV_KILL,       /* second signal: kill, exit 130                                    */
    AVS_EV_RETRY,      /* trial: a failed, cancelled or held one is queued again with all its retries */
    AVS_EV_CANCEL,     /* trial: never start it; what runs is killed; what needs it is blocked  */
    AVS_EV_HOLD,       /* trial: do not start it now; what runs goes on                    */
    AVS_EV_UNHOLD,     /* trial: it may start again                                        */
    AVS_EV_PAUSE,      /* trial: checkpoint and stop what runs; HELD until UNHOLD          */
    AVS_EV_PRUNE,      /* trial: stop it for good; what needs it is blocked                */
    AVS_EV_PRIORITY,   /* trial, priority                                                  */
    AVS_EV_TICK        /* time passes                                                      */
} avs_event_type;

/* One attempt of which an agent has processes, as its beat tells. */
typedef struct {
    uint64_t attempt;
    uint32_t epoch;
    bool ready, going; /* gangs: its ranks there are up; it has been told to communicate */
} avs_held;

typedef struct {
    avs_event_type type;
    int64_t now_ms;
    int32_t agent; /* 0 .. AVS_COORD_AGENTS-1, chosen by the caller */
    int32_t cores;
    const avs_node_info *node; /* AGENT_UP; NULL: `cores` in one domain, no GPU */
    int32_t trial;             /* index into the trials; -1: unknown to this sweep */
    uint64_t attempt;
    uint32_t epoch;
    avs_outcome outcome;
    bool follower;      /* ENDED: of a node that does not hold rank 0; its DONE proves nothing */
    uint64_t text_hash; /* of the error text: an identical error is not repeated a third time */
    float priority;
    /* BEAT: everything sent before this time of the event clock had reached the agent when it wrote the list. */
    int64_t heard_ms;
    const avs_held *held; /* n_held */
    int32_t n_held;
} avs_event;

typedef enum {
    AVS_ACT_START, /* agent, trial, attempt, epoch, ranks, first_rank, n_ranks, place: one per node. A gang (ranks
                       above 1) waits for GO; the STARTs of an attempt follow each other, rank 0 first */
    AVS_ACT_GO,     /* agent, trial, attempt, epoch: every rank of the gang is up; communicate           */
    AVS_ACT_STOP,   /* agent, attempt, epoch: checkpoint and stop                                        */
    AVS_ACT_KILL,   /* agent, attempt, epoch                                                             */
    AVS_ACT_COMMIT, /* agent, trial, attempt, epoch: store the results, then send COMMITTED              */
    AVS_ACT_RECORD, /* agent, trial, attempt, epoch, outcome, state: the attempt ended without results   */
    AVS_ACT_ACK,    /* agent, attempt, epoch                                                             */
    AVS_ACT_STATE,  /* trial, state: a trial changed without an attempt (blocked, waiting, cancelled ..) */
    AVS_ACT_BYE,    /* agent: it may go                                                                  */
    AVS_ACT_LOST,   /* agent: counted out                                                                */
    AVS_ACT_QUARANTINE, /* agent: gets nothing more                                                      */
    AVS_ACT_TOO_BIG, /* trial, cores, gpus: it can never be held; what the largest node has, or all together
                           where its ranks may lie on several                                         */
    AVS_ACT_FINISH   /* code: nothing is left to do; the last action ever                             */
} avs_action_type;

typedef struct {
    avs_action_type type;
    int32_t agent, trial, cores, gpus, code;
    uint64_t attempt;
    uint32_t epoch;
    avs_outcome outcome;
    avs_job_state state;
    int32_t ranks, first_rank, n_ranks;
    const avs_rank_place *place; /* n_ranks; valid until the attempt has ended */
} avs_action;

/* Classes and trials are copied. AVS_ERANGE: a need or class outside its range, or a cycle; AVS_EPARSE: gpu_model. */
int avs_coord_new(avs_coord **out, const avs_coord_cfg *cfg, const avs_coord_class *classes,
                  int32_t n_classes, const avs_coord_trial *trials, int32_t n, avs_err *e);
void avs_coord_free(avs_coord *c);

/* Handles one event. *actions stays valid until the next step; carry them out in order. AVS_ENOMEM only. */
int avs_coord_step(avs_coord *c, const avs_event *ev, const avs_action **actions, int32_t *n, avs_err *e);

/* START actions carry a provisional attempt id (top bit set). The caller that keeps attempts elsewhere gives the
 * attempt its lasting id before anything is said about it; without that the provisional id stays. */
#define AVS_COORD_PROVISIONAL (1ULL << 63)
void avs_coord_name(avs_coord *c, uint64_t provisional, uint64_t attempt);

/* When a TICK would change something (milliseconds on the event clock), INT64_MAX: never by itself. May be early. */
int64_t avs_coord_next_ms(const avs_coord *c);

typedef struct {
    int32_t total, waiting, pending, running, committing, done, failed, blocked, held, cancelled, pruned;
    int32_t done_before; /* of done: already done when the run began */
    int32_t agents, cores, cores_busy, gpus, gpus_busy;
    bool draining, finished;
} avs_coord_counts;
avs_coord_counts avs_coord_count(const avs_coord *c);
/* Of trial i. */
int32_t avs_coord_class_of(const avs_coord *c, int32_t i);
avs_job_state avs_coord_state(const avs_coord *c, int32_t i);
uint64_t avs_coord_attempt_of(const avs_coord *c, int32_t i); /* live or committing attempt, 0: none */

#endif
