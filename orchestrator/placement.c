/* Which trial starts on which node: takes trials from the front of the queue, finds the node with the tightest fit.
 *
 * A trial that fits no node now reserves the emptiest one that could hold it: nothing overtakes it there. Pure: no
 * clock, no I/O; the result is START actions. */
#include <string.h>
#include "base/arena.h"
#include "orchestrator/coordinator_state.h"

enum { SCAN_AHEAD = 64 };

static bool usable(const agent *a)
{
    return a->up && !a->suspect && !a->quarantined;
}

static int32_t wants(const avs_coord *c, int32_t i, const agent *a)
{
    (void)c;
    const avs_coord_trial *t = &c->t[i].in;
    return t->cores > 0 && !t->exclusive ? t->cores : a->cores;
}

/* Tightest fit, another node than the last time first. -1: none has room now; *could: some node ever could. */
static int32_t find_agent(const avs_coord *c, int32_t i, const bool *reserved, int32_t *could)
{
    const avs_coord_trial *t = &c->t[i].in;
    int32_t best = -1;
    int64_t best_score = INT64_MAX;
    *could = -1;
    for (int32_t id = 0; id < c->n_agent; id++) {
        const agent *a = &c->agent[id];
        if (!usable(a) || t->cores > a->cores) continue;
        if (!reserved[id] && (*could < 0 || a->free > c->agent[*could].free)) *could = id;
        if (reserved[id] || a->exclusive || a->free < wants(c, i, a) || (t->exclusive && a->n_live > 0))
            continue;
        int64_t score = (int64_t)a->free + (id == c->t[i].last_agent && c->t[i].faults > 0 ? 1 << 20 : 0);
        if (score < best_score) {
            best_score = score;
            best = id;
        }
    }
    return best;
}

static void start_trial(avs_coord *c, int32_t i, int32_t id)
{
    trial *t = &c->t[i];
    agent *a = &c->agent[id];
    if (c->n_live == c->cap_live) {
        int32_t cap = c->cap_live ? 2 * c->cap_live : 64;
        live *l = avs_xrealloc(c->live, sizeof *l * (size_t)cap);
        if (!l) {
            c->oom = true;
            return;
        }
        c->live = l;
        c->cap_live = cap;
    }
    live *l = &c->live[c->n_live++];
    *l = (live){.attempt = AVS_COORD_PROVISIONAL | ++c->n_started,
                .epoch = ++t->in.epoch,
                .trial = i,
                .agent = id,
                .cores = wants(c, i, a),
                .exclusive = t->in.exclusive,
                .deadline = INT64_MAX};
    a->free -= l->cores;
    a->n_live++;
    a->exclusive |= l->exclusive;
    coord_set_state(c, i, AVS_JOB_RUNNING);
    avs_action *s = coord_emit(c, AVS_ACT_START);
    s->agent = id;
    s->trial = i;
    s->attempt = l->attempt;
    s->epoch = l->epoch;
    s->cores = l->cores;
}

/* Once, when the agents are there: a trial that no node can ever hold ends the run before anything starts. */
static bool all_fit(avs_coord *c)
{
    int32_t most = 0;
    for (int32_t id = 0; id < c->n_agent; id++)
        if (c->agent[id].up && c->agent[id].cores > most) most = c->agent[id].cores;
    for (int32_t i = 0; i < c->n; i++) {
        avs_job_state s = c->t[i].state;
        if ((s != AVS_JOB_PENDING && s != AVS_JOB_WAITING) || c->t[i].in.cores <= most) continue;
        avs_action *a = coord_emit(c, AVS_ACT_TOO_BIG);
        a->trial = i;
        a->cores = most;
        c->forced_code = 6;
        c->draining = true;
        return false;
    }
    return true;
}

void coord_place(avs_coord *c)
{
    if (c->draining || c->finished) return;
    int32_t n_up = 0, free = 0;
    for (int32_t id = 0; id < c->n_agent; id++) {
        n_up += c->agent[id].up;
        if (usable(&c->agent[id])) free += c->agent[id].free;
    }
    if (!c->placing) {
        if (n_up == 0 || (n_up + c->n_down < c->cfg.agents_expected && c->now < c->hold_until)) return;
        if (!all_fit(c)) return;
        c->placing = true;
    }
    bool reserved[AVS_COORD_AGENTS];
    memset(reserved, 0, sizeof *reserved * (size_t)c->n_agent);
    int32_t skipped[SCAN_AHEAD], n_skipped = 0;
    avs_queue_entry e;
    while (free > 0 && n_skipped < SCAN_AHEAD && !c->oom &&
           (c->cfg.max_parallel == 0 || c->n_live < c->cfg.max_parallel) && avs_queue_pop(&c->ready, &e)) {
        int32_t i = e.item, could;
        if (c->t[i].state != AVS_JOB_PENDING) continue;
        int32_t id = find_agent(c, i, reserved, &could);
        if (id >= 0) {
            start_trial(c, i, id);
            free -= c->live[c->n_live - 1].cores;
            continue;
        }
        skipped[n_skipped++] = i;
        if (could >= 0) { /* nobody may overtake it there: a big trial waits no longer than what runs now */
            reserved[could] = true;
            free -= c->agent[could].free;
        }
    }
    for (int32_t k = 0; k < n_skipped; k++)
        if (!avs_queue_push(&c->ready, skipped[k], skipped[k])) c->oom = true;
}
