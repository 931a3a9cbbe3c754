/* Trials that need others: what waits, is blocked, or may run when a trial that others need changes its state. */
#include "orchestrator/coordinator_state.h"

void coord_block_downstream(avs_coord *c, int32_t i)
{
    if (!c->dep) return;
    for (int32_t k = c->dep_first[i]; k < c->dep_first[i + 1]; k++) {
        int32_t d = c->dep[k];
        if (c->t[d].state != AVS_JOB_WAITING) continue;
        coord_tell_state(c, d, AVS_JOB_BLOCKED);
        coord_block_downstream(c, d); /* depth is that of the stages, a handful */
    }
}

bool coord_is_dead_end(const avs_coord *c, int32_t i)
{
    avs_job_state s = c->t[i].state;
    return s == AVS_JOB_FAILED || s == AVS_JOB_BLOCKED || s == AVS_JOB_CANCELLED || s == AVS_JOB_PRUNED;
}

void coord_unblock_downstream(avs_coord *c, int32_t i)
{
    if (!c->dep) return;
    for (int32_t k = c->dep_first[i]; k < c->dep_first[i + 1]; k++) {
        int32_t d = c->dep[k];
        bool blocked = c->t[d].state == AVS_JOB_BLOCKED;
        for (int32_t u = c->need_first[d]; blocked && u < c->need_first[d + 1]; u++)
            if (coord_is_dead_end(c, c->need[u])) blocked = false;
        if (!blocked) continue;
        coord_tell_state(c, d, AVS_JOB_WAITING);
        coord_unblock_downstream(c, d);
    }
}

void coord_release_downstream(avs_coord *c, int32_t i)
{
    if (!c->dep) return;
    for (int32_t k = c->dep_first[i]; k < c->dep_first[i + 1]; k++) {
        int32_t d = c->dep[k];
        if (--c->t[d].unmet == 0 && c->t[d].state == AVS_JOB_WAITING) coord_enqueue(c, d, c->now);
    }
}
