/* What the two halves of the state machine share: coordinator.c (events, fates) and placement.c (who runs where).
 * Private to them. */
#ifndef AVS_ORCHESTRATOR_COORDINATOR_STATE_H
#define AVS_ORCHESTRATOR_COORDINATOR_STATE_H

#include "base/rng.h"
#include "orchestrator/coordinator.h"
#include "orchestrator/queue.h"

enum { INFRA_LIMIT = 3 };

typedef struct {
    avs_coord_trial in;
    avs_job_state state;
    int32_t unmet;  /* upstream trials that are not done */
    int32_t faults; /* error, crash and hang attempts of this run */
    int32_t free_retries;
    int32_t last_agent;  /* of the attempt that ended last, -1 none */
    uint64_t text_hash;  /* of the last error, 0 none               */
    uint64_t committing; /* attempt whose results are being stored  */
    int32_t commit_agent;
    uint32_t commit_epoch;
} trial;

typedef struct {
    uint64_t attempt;
    uint32_t epoch;
    int32_t trial, agent, cores;
    bool exclusive, stopping, killed;
    int64_t deadline; /* of the stop or the kill; INT64_MAX none */
} live;

typedef struct {
    bool known, up, suspect, quarantined;
    int32_t cores, free, n_live;
    bool exclusive; /* an exclusive trial is on it */
    int64_t seen;
    int32_t infra_trial[INFRA_LIMIT];
    int64_t infra_at[INFRA_LIMIT];
    int32_t n_infra;
} agent;

struct avs_coord {
    avs_coord_cfg cfg;
    trial *t;
    int32_t n;
    int32_t *need, *dep_first, *dep; /* upstream lists; downstream lists as CSR */
    avs_queue ready, pause;
    live *live;
    int32_t n_live, cap_live;
    agent *agent;
    int32_t n_agent, cap_agent; /* n_agent: highest id + 1 */
    avs_action *act, sink;      /* sink: written when memory is out */
    int32_t n_act, cap_act;
    int64_t now, hold_until;
    int32_t count[AVS_JOB_BLOCKED + 1];
    int32_t done_before, n_down;
    uint64_t n_started;
    bool started, placing, draining, killing, db_failed, finished, oom;
    int32_t forced_code; /* exit code decided by a failure limit, the database or a second signal; 0 none */
    avs_rng rng;
};

/* A new action of this step; never NULL (when memory is out, oom is set and a sink is handed out). */
avs_action *coord_emit(avs_coord *c, avs_action_type type);
void coord_set_state(avs_coord *c, int32_t i, avs_job_state s);
/* Starts what may run and fits; looks once, when the agents are there, whether every trial fits some node. */
void coord_place(avs_coord *c);

#endif
