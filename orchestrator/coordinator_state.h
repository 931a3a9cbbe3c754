/* What the parts of the state machine share. Private to them.
 *   coordinator.c      events, fates of attempts and trials
 *   coordinator_new.c  construction: classes, needs, first states
 *   coordinator_beat.c what an agent holds against what it should hold
 *   nodes.c            one node: what is free, how ranks lie on it; the index that finds nodes
 *   placement.c        which trial starts where; reservations and backfill */
#ifndef AVS_ORCHESTRATOR_COORDINATOR_STATE_H
#define AVS_ORCHESTRATOR_COORDINATOR_STATE_H

#include "base/rng.h"
#include "orchestrator/coordinator.h"
#include "orchestrator/id_map.h"
#include "orchestrator/queue.h"

enum { INFRA_LIMIT = 3, MODELS = 64, RESERVATIONS = 64, GPU_BUCKETS = AVS_NODE_GPUS + 1, CORE_BUCKETS = 256 };

typedef struct {
    uint64_t text_hash; /* of the last error, 0 none                               */
    int32_t class_id;
    int32_t unmet;      /* upstream trials that are not done                       */
    int32_t slot;       /* live or committing attempt; -1 none                     */
    int32_t last_agent; /* of the attempt that ended last, -1 none                 */
    uint32_t epoch;
    float priority;
    uint8_t state, faults, free_retries, poison, repeats;
    bool in_ready; /* its class's heap has an entry for it                    */
    bool pausing;  /* it waits in `pause`                                     */
} trial;

typedef struct {
    avs_coord_class in;
    avs_queue ready; /* key: place in the queue; lazy                            */
    uint64_t models; /* bit m: models[m] matches gpu_model                       */
    int64_t filed;   /* key under which the class lies in `order`; INT64_MAX not */
    bool parked;     /* did not fit; looked at again when something is freed     */
    bool seen_to_fit;
    int32_t n_reserved; /* reservations for its trials                            */
} job_class;

/* The ranks of an attempt on one node. */
typedef struct part {
    int32_t agent, slot, first_rank, n_ranks;
    struct part *prev, *next; /* other parts on the node              */
    bool open, ready;         /* open: still runs, holds resources    */
    int64_t since;            /* when its START, or its last GO, went out */
} part;

typedef struct {
    avs_rank_place place;
    uint16_t taken[AVS_NODE_NUMA]; /* cores per domain */
} rank_at;

typedef struct {
    uint64_t attempt;
    uint32_t epoch;
    int32_t trial, class_id, n_ranks, n_parts, n_open, n_ready;
    int32_t agent;     /* of rank 0 */
    uint64_t overtook; /* a late result: the attempt that ran when it came, 0 none */
    bool going, stopping, killed, bad, committing, leader_ended;
    avs_outcome outcome; /* when bad */
    uint64_t text_hash;
    int64_t deadline; /* of the preparation, the stop or the kill; INT64_MAX none */
    int64_t due;      /* when it should be over; INT64_MAX unknown                */
    part *part;
    rank_at *rank;
    avs_rank_place *place; /* the same places, as START tells them */
} live;                    /* one block of memory, so its pointers stay */

typedef struct {
    avs_node_info info; /* its model pointers are not used after AGENT_UP */
    uint8_t model[AVS_NODE_GPUS];
    uint32_t gpu_free, gpu_all;
    int32_t free_cores, free_mb, n_gpu_free, numa_free[AVS_NODE_NUMA];
    uint32_t numa_gpus[AVS_NODE_NUMA];
    int32_t numa_parts[AVS_NODE_NUMA];          /* attempts that touch the domain           */
    uint32_t numa_held;                         /* domains an exclusive trial holds         */
    bool known, up, suspect, quarantined, held; /* held: by an exclusive trial      */
    int32_t n_parts;
    part *parts;      /* live ones on it */
    int32_t reserved; /* reservation, -1                   */
    int64_t seen;
    int32_t infra_trial[INFRA_LIMIT];
    int64_t infra_at[INFRA_LIMIT];
    int32_t n_infra;
    int32_t prev[3], next[3], bucket[3]; /* lists of the index: by GPUs, by cores, empty; bucket -1: not in */
} node;

/* The freest nodes are found by bucket: [0] by free GPUs, [1] by free cores, [2] empty nodes, by GPUs. */
typedef struct {
    int32_t head[CORE_BUCKETS + 1];
    uint64_t used[(CORE_BUCKETS + 64) / 64]; /* bit b: head[b] is not empty */
} node_list;

typedef struct {
    int32_t class_id; /* -1: slot is free */
    int32_t n;
    int32_t *node;
    int64_t at; /* when it should fit; INT64_MAX unknown */
    bool dirty; /* something was released there          */
} reservation;

typedef struct {
    int32_t id, n;
} plan_node;

struct avs_coord {
    avs_coord_cfg cfg;
    trial *t;
    int32_t n;
    job_class *cls;
    int32_t n_cls;
    int32_t *need_first, *need, *dep_first, *dep; /* upstream and downstream lists as CSR; NULL: no needs */
    avs_queue order;                              /* classes by the key of their first trial; lazy */
    avs_queue pause;                              /* trials by end of their pause                  */
    avs_queue timer;                              /* slots by deadline; lazy                       */
    avs_queue quiet;                              /* agents by when their silence would count; lazy */
    int32_t *parked;                              /* classes that did not fit                      */
    int32_t n_parked;
    bool freed;          /* something was released since              */
    bool reserved_freed; /* on a node that waits for a gang, or a class is new to those */
    live **live;
    int32_t n_slot, cap_slot, n_live; /* n_live: with open parts */
    int32_t *free_slot, n_free_slot;
    avs_id_map by_attempt;
    node *node;
    int32_t n_node, cap_node; /* n_node: highest id + 1 */
    node_list list[3];
    reservation res[RESERVATIONS];
    int32_t n_res, n_res_nodes, dirty[RESERVATIONS], n_dirty;
    struct { /* ranks on nodes, before they are taken */
        plan_node *node;
        rank_at *rank;
        int32_t n, cap;
    } plan;
    char *model_name[MODELS];
    int32_t n_models;
    int64_t free_gpus;     /* of the nodes in the index */
    avs_action *act, sink; /* sink: written when memory is out */
    int32_t n_act, cap_act;
    int64_t now, hold_until, longest_grace;
    int32_t count[AVS_JOB_STATES];
    int32_t n_up, n_known, n_down, n_suspect, n_usable; /* usable: up and not quarantined */
    int64_t cores, cores_busy, gpus, gpus_busy;
    int32_t done_before;
    uint64_t n_started;
    bool started, placing, draining, killing, db_failed, finished, oom;
    int forced_code; /* exit code decided by a failure limit, the database or a second signal; 0 none */
    avs_rng rng;
};

/* ---- coordinator.c ---- */
/* A new action of this step; never NULL (when memory is out, oom is set and a sink is handed out). */
avs_action *coord_emit(avs_coord *c, avs_action_type type);
void coord_set_state(avs_coord *c, int32_t i, avs_job_state s);
void coord_tell_state(avs_coord *c, int32_t i, avs_job_state s); /* the same with an action */
void coord_enqueue(avs_coord *c, int32_t i, int64_t at);         /* PENDING from `at` on */
void coord_deadline(avs_coord *c, int32_t slot, int64_t at);

/* ---- coordinator_attempt.c ---- */
void coord_send_ack(avs_coord *c, int32_t agent, uint64_t attempt, uint32_t epoch);
void coord_free_slot(avs_coord *c, int32_t slot);
/* STOP, or KILL, to every node of the attempt; a gang that does not communicate yet is killed. Nothing if that was said
 * already. */
void coord_stop(avs_coord *c, int32_t slot, bool kill);
void coord_stop_all(avs_coord *c, bool kill); /* and nothing new starts */
/* The attempt has ended without results that count: RECORD, and its trial waits again or fails. The slot is free after. */
void coord_attempt_over(avs_coord *c, int32_t slot, avs_outcome o, uint64_t text_hash);
void coord_commit(avs_coord *c, int32_t slot);
part *coord_open_part(live *l, int32_t agent);         /* NULL: none */
void coord_close_part(avs_coord *c, live *l, part *p); /* its room is given back */
void coord_note_end(live *l, avs_outcome o, uint64_t text_hash);
/* After a part was closed: the rest of a gang that cannot go on dies; the last part decides. */
void coord_part_ended(avs_coord *c, int32_t slot);
/* All three: the part is over with this outcome. */
void coord_end_part(avs_coord *c, int32_t slot, part *p, avs_outcome o);

/* ---- coordinator_beat.c ---- */
/* The ranks of the part are up; after the last part the gang may communicate. */
void coord_part_ready(avs_coord *c, int32_t slot, part *p);
void coord_beat(avs_coord *c, const avs_event *ev);

/* ---- coordinator_needs.c ---- */
/* Failed, blocked, cancelled or pruned: what needs it cannot run now. */
bool coord_is_dead_end(const avs_coord *c, int32_t i);
void coord_block_downstream(avs_coord *c, int32_t i);
/* The reverse: what was blocked by i alone waits again. */
void coord_unblock_downstream(avs_coord *c, int32_t i);
/* i is done: what needed nothing else may run. */
void coord_release_downstream(avs_coord *c, int32_t i);

/* ---- nodes.c ---- */
enum { BY_GPUS, BY_CORES, EMPTY };
bool node_usable(const node *a);
/* Brings the node's places in the index up to date with what is free; out of it while it may not be used. */
void node_file(avs_coord *c, int32_t id);
void node_init(avs_coord *c, int32_t id, const avs_node_info *info);
/* How many of `want` ranks of the class fit now (0: none). out [want] or NULL: how they would lie. */
int32_t node_fit(const node *a, const job_class *k, int32_t want, rank_at *out);
/* The same for the node as if nothing ran on it. */
int32_t node_could(const node *a, const job_class *k, int32_t want);
void node_take(avs_coord *c, int32_t id, const job_class *k, const rank_at *r, int32_t n);
void node_give(avs_coord *c, int32_t id, const job_class *k, const rank_at *r, int32_t n);
/* Gives back on a copy of a node, which no index knows. */
void node_return(node *a, const job_class *k, const rank_at *r, int32_t n);
/* First bucket of a list at or above b that is not empty; -1 none. */
int32_t node_bucket_up(const node_list *l, int32_t b);
int32_t node_bucket_down(const node_list *l, int32_t b);

/* ---- placement.c ---- */
/* Starts what may run and fits; looks once, when the agents are there, whether every trial fits. */
void coord_place(avs_coord *c);
void coord_file_class(avs_coord *c, int32_t k); /* after its first trial may have changed */
int64_t coord_queue_key(const avs_coord *c, int32_t i);
void coord_unreserve(avs_coord *c, int32_t res);
/* A free slot with room for the parts and ranks; -1: memory is out. */
int32_t coord_new_slot(avs_coord *c, int32_t n_parts, int32_t n_ranks);

#endif
