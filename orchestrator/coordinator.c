/* The state machine behind orchestrator/coordinator.h: what events make of attempts and trials.
 *
 * A trial that may run lies in the heap of its class (by place in the queue); one in a back-off pause lies in `pause`
 * (by end time). Heaps are lazy: an entry counts only while it is still true. After every event the machine places
 * what fits (placement.c), then looks whether it is finished. No event costs time in proportion to nodes or trials. */
#include "orchestrator/coordinator.h"

#include <stdlib.h>
#include <string.h>
#include "orchestrator/coordinator_state.h"

enum { INFRA_WINDOW_MS = 600000 };

avs_coord_cfg avs_coord_cfg_default(void)
{
    return (avs_coord_cfg){.agents_expected = 1,
                           .hold_ms = 30000,
                           .backoff_ms = 5000,
                           .suspect_ms = 60000,
                           .lost_ms = 600000,
                           .ready_ms = 60000,
                           .seed = 1};
}

/* ---- small helpers ---- */

avs_action *coord_emit(avs_coord *c, avs_action_type type)
{
    if (c->n_act == c->cap_act) {
        int32_t cap = c->cap_act ? 2 * c->cap_act : 32;
        avs_action *act = avs_xrealloc(c->act, sizeof *act * (size_t)cap);
        if (!act) {
            c->oom = true;
            return &c->sink;
        }
        c->act = act;
        c->cap_act = cap;
    }
    avs_action *a = &c->act[c->n_act++];
    *a = (avs_action){.type = type, .agent = -1, .trial = -1};
    return a;
}

void coord_set_state(avs_coord *c, int32_t i, avs_job_state s)
{
    c->count[c->t[i].state]--;
    c->t[i].state = (uint8_t)s;
    c->count[s]++;
}

void coord_tell_state(avs_coord *c, int32_t i, avs_job_state s)
{
    coord_set_state(c, i, s);
    avs_action *a = coord_emit(c, AVS_ACT_STATE);
    a->trial = i;
    a->state = s;
}

static void push_ready(avs_coord *c, int32_t i)
{
    trial *t = &c->t[i];
    job_class *k = &c->cls[t->class_id];
    t->pausing = false;
    if (t->in_ready) return;
    t->in_ready = true;
    if (k->ready.n == 0) c->reserved_freed = true;
    if (!avs_queue_push(&k->ready, coord_queue_key(c, i), i)) c->oom = true;
    coord_file_class(c, t->class_id);
}

void coord_enqueue(avs_coord *c, int32_t i, int64_t at)
{
    coord_set_state(c, i, AVS_JOB_PENDING);
    if (at <= c->now) {
        push_ready(c, i);
        return;
    }
    c->t[i].pausing = true;
    if (!avs_queue_push(&c->pause, at, i)) c->oom = true;
}

void coord_deadline(avs_coord *c, int32_t slot, int64_t at)
{
    c->live[slot]->deadline = at;
    if (at != INT64_MAX && !avs_queue_push(&c->timer, at, slot)) c->oom = true;
}

/* ---- events ---- */

static void agent_lost(avs_coord *c, int32_t id)
{
    node *a = &c->node[id];
    if (!a->up) return;
    a->up = false;
    c->n_up--;
    c->n_down++;
    c->n_suspect -= a->suspect;
    c->n_usable -= !a->quarantined;
    c->cores -= a->info.cores;
    c->gpus -= a->info.n_gpus;
    coord_emit(c, AVS_ACT_LOST)->agent = id;
    node_file(c, id);
    while (a->parts) {
        part *p = a->parts;
        live *l = c->live[p->slot];
        int32_t s = p->slot;
        if (!c->draining && c->t[l->trial].poison < UINT8_MAX) c->t[l->trial].poison++;
        coord_end_part(c, s, p, AVS_OUT_LOST);
        a = &c->node[id];
    }
}

static bool reserve_agent(avs_coord *c, int32_t id)
{
    if (id >= c->cap_node) {
        int32_t cap = id + 16 + id / 2;
        node *a = avs_xrealloc(c->node, sizeof *a * (size_t)cap);
        if (!a) return false;
        memset(a + c->cap_node, 0, sizeof *a * (size_t)(cap - c->cap_node));
        c->node = a;
        c->cap_node = cap;
    }
    for (; c->n_node <= id; c->n_node++) {
        node *a = &c->node[c->n_node];
        a->reserved = -1;
        for (int k = 0; k < 3; k++) a->bucket[k] = -1;
    }
    return true;
}

static void watch(avs_coord *c, int32_t id)
{
    const node *a = &c->node[id];
    int64_t wait = a->suspect                           ? c->cfg.lost_ms
                   : c->cfg.suspect_ms < c->cfg.lost_ms ? c->cfg.suspect_ms
                                                        : c->cfg.lost_ms;
    if (!avs_queue_push(&c->quiet, a->seen + wait, id)) c->oom = true;
}

static void agent_up(avs_coord *c, const avs_event *ev)
{
    node *a = &c->node[ev->agent];
    if (a->up) return;
    bool back = a->known;
    avs_node_info plain = {.cores = ev->cores};
    c->n_known += !a->known;
    node_init(c, ev->agent, ev->node ? ev->node : &plain);
    a->known = a->up = true;
    a->seen = c->now;
    c->n_down -= back;
    c->n_up++;
    c->n_usable++;
    c->cores += a->info.cores;
    c->gpus += a->info.n_gpus;
    c->freed = true;
    node_file(c, ev->agent);
    watch(c, ev->agent);
}

static void agent_down(avs_coord *c, int32_t id)
{
    node *a = &c->node[id];
    if (!a->known) { /* it died before its HELLO */
        a->known = true;
        c->n_known++;
        c->n_down++;
        coord_emit(c, AVS_ACT_LOST)->agent = id;
    }
    agent_lost(c, id);
}

static void seen(avs_coord *c, int32_t id)
{
    node *a = &c->node[id];
    a->seen = c->now;
    if (!a->suspect) return;
    a->suspect = false;
    c->n_suspect -= a->up;
    c->freed = true;
    node_file(c, id);
}

static void note_infra(avs_coord *c, int32_t id, int32_t i)
{
    node *a = &c->node[id];
    for (int32_t k = 0; k < a->n_infra; k++)
        if (a->infra_trial[k] == i || c->now - a->infra_at[k] > INFRA_WINDOW_MS) {
            a->infra_trial[k] = a->infra_trial[--a->n_infra];
            a->infra_at[k] = a->infra_at[a->n_infra];
            k--;
        }
    a->infra_trial[a->n_infra] = i;
    a->infra_at[a->n_infra++] = c->now;
    if (a->n_infra < INFRA_LIMIT || a->quarantined) {
        if (a->n_infra == INFRA_LIMIT) a->n_infra--;
        return;
    }
    a->n_infra--;
    a->quarantined = true;
    c->n_usable -= a->up;
    node_file(c, id);
    coord_emit(c, AVS_ACT_QUARANTINE)->agent = id;
}

/* A slot for a result that came without a live attempt: late, repeated or from a spool. */
static void commit_late(avs_coord *c, const avs_event *ev)
{
    int32_t s = coord_new_slot(c, 0, 0), before = c->t[ev->trial].slot;
    if (s < 0) return;
    live *l = c->live[s];
    l->attempt = ev->attempt;
    l->epoch = ev->epoch;
    l->trial = ev->trial;
    l->class_id = c->t[ev->trial].class_id;
    l->agent = ev->agent;
    l->deadline = INT64_MAX;
    if (!avs_id_put(&c->by_attempt, l->attempt, s)) c->oom = true;
    l->overtook = before >= 0 ? c->live[before]->attempt : 0;
    coord_commit(c, s);
    if (before >= 0) coord_stop(c, before, true);
}

/* What the end counts as: a disturbed measurement that is not repeated any more, or came late, is done. */
static avs_outcome counts_as(const avs_coord *c, const avs_event *ev, bool in_time)
{
    if (ev->outcome != AVS_OUT_DISTURBED) return ev->outcome;
    return in_time && c->t[ev->trial].repeats < AVS_COORD_REPEATS ? AVS_OUT_DISTURBED : AVS_OUT_DONE;
}

static void ended(avs_coord *c, const avs_event *ev)
{
    int32_t s = avs_id_get(&c->by_attempt, ev->attempt);
    live *l = s >= 0 ? c->live[s] : NULL;
    if (l && l->epoch == ev->epoch && l->trial == ev->trial) {
        part *p = coord_open_part(l, ev->agent);
        if (p) {
            bool leads = p->first_rank == 0;
            if (ev->outcome == AVS_OUT_INFRA) note_infra(c, ev->agent, l->trial);
            coord_close_part(c, l, p);
            coord_note_end(l, counts_as(c, ev, true), ev->text_hash);
            if (leads)
                l->leader_ended = true;
            else
                coord_send_ack(c, ev->agent, ev->attempt, ev->epoch);
            coord_part_ended(c, s);
            return;
        }
        if (l->committing || l->n_open > 0) { /* said twice; what is still needed is acknowledged in time */
            if (ev->follower) coord_send_ack(c, ev->agent, ev->attempt, ev->epoch);
            return;
        }
    }
    /* A late, repeated or spooled report. Only a DONE can still be of use. */
    if (counts_as(c, ev, false) == AVS_OUT_DONE && !ev->follower && ev->trial >= 0 && ev->trial < c->n) {
        const trial *t = &c->t[ev->trial];
        if (t->state == AVS_JOB_COMMITTING || c->db_failed)
            return; /* the ACK follows COMMITTED, or the next offer */
        bool is_open = t->state == AVS_JOB_PENDING || t->state == AVS_JOB_RUNNING || t->state == AVS_JOB_HELD;
        if (is_open && ev->epoch > 0 && ev->epoch <= t->epoch) {
            commit_late(c, ev);
            return;
        }
    }
    coord_send_ack(c, ev->agent, ev->attempt, ev->epoch);
}

static void ready(avs_coord *c, const avs_event *ev)
{
    int32_t s = avs_id_get(&c->by_attempt, ev->attempt);
    live *l = s >= 0 ? c->live[s] : NULL;
    part *p = l && l->epoch == ev->epoch ? coord_open_part(l, ev->agent) : NULL;
    if (p) coord_part_ready(c, s, p);
}

static int32_t committing_slot(const avs_coord *c, const avs_event *ev)
{
    if (ev->trial < 0 || ev->trial >= c->n) return -1;
    const trial *t = &c->t[ev->trial];
    bool mine = t->state == AVS_JOB_COMMITTING && t->slot >= 0 && c->live[t->slot]->attempt == ev->attempt;
    return mine ? t->slot : -1;
}

static void committed(avs_coord *c, const avs_event *ev)
{
    int32_t s = committing_slot(c, ev);
    if (s < 0) return;
    const live *l = c->live[s];
    coord_set_state(c, ev->trial, AVS_JOB_DONE);
    coord_send_ack(c, l->agent, l->attempt, l->epoch);
    c->t[ev->trial].slot = -1;
    coord_free_slot(c, s);
    coord_release_downstream(c, ev->trial);
}

static void refused(avs_coord *c, const avs_event *ev)
{
    int32_t s = committing_slot(c, ev);
    if (s < 0) return;
    int32_t ag = c->live[s]->agent;
    uint32_t epoch = c->live[s]->epoch;
    coord_attempt_over(c, s, AVS_OUT_ERROR, 1);
    coord_send_ack(c, ag, ev->attempt, epoch);
}

static void db_failed(avs_coord *c)
{
    c->forced_code = 4;
    c->db_failed = true;
    coord_stop_all(c, false);
    for (int32_t s = 0; s < c->n_slot; s++) { /* what was about to be committed stays in the spools */
        if (!c->live[s] || !c->live[s]->committing) continue;
        int32_t i = c->live[s]->trial;
        c->t[i].slot = -1;
        coord_set_state(c, i, AVS_JOB_PENDING);
        coord_free_slot(c, s);
    }
}

/* Into the queue, or to wait for its needs, or blocked by one of them. */
static void wait_again(avs_coord *c, int32_t i)
{
    bool dead = false;
    coord_tell_state(c, i, AVS_JOB_WAITING);
    if (c->t[i].unmet == 0) {
        coord_enqueue(c, i, c->now);
        return;
    }
    for (int32_t u = c->need_first[i]; u < c->need_first[i + 1]; u++)
        dead |= coord_is_dead_end(c, c->need[u]);
    if (dead) coord_tell_state(c, i, AVS_JOB_BLOCKED);
}

/* What the user asks of a trial while the sweep runs. */
static void asked(avs_coord *c, const avs_event *ev)
{
    if (ev->trial < 0 || ev->trial >= c->n || c->finished) return;
    int32_t i = ev->trial;
    trial *t = &c->t[i];
    avs_job_state s = (avs_job_state)t->state;
    if (ev->type == AVS_EV_RETRY && (s == AVS_JOB_FAILED || s == AVS_JOB_CANCELLED)) {
        t->faults = t->free_retries = t->poison = t->repeats = 0;
        t->text_hash = 0;
        if (t->slot >= 0) { /* its cancelled attempt is still dying: queued again when that is over */
            coord_tell_state(c, i, AVS_JOB_RUNNING);
            coord_unblock_downstream(c, i);
            return;
        }
        wait_again(c, i);
        if (t->state != AVS_JOB_BLOCKED) coord_unblock_downstream(c, i);
    } else if ((ev->type == AVS_EV_CANCEL || ev->type == AVS_EV_PRUNE) && s != AVS_JOB_DONE &&
               s != AVS_JOB_COMMITTING && s != AVS_JOB_CANCELLED && s != AVS_JOB_PRUNED) {
        if (t->slot >= 0) coord_stop(c, t->slot, true);
        coord_tell_state(c, i, ev->type == AVS_EV_CANCEL ? AVS_JOB_CANCELLED : AVS_JOB_PRUNED);
        coord_block_downstream(c, i);
    } else if (ev->type == AVS_EV_PAUSE && s == AVS_JOB_RUNNING && t->slot >= 0) {
        coord_stop(c, t->slot, false);
        coord_tell_state(c, i, AVS_JOB_HELD);
    } else if (ev->type == AVS_EV_UNHOLD && s == AVS_JOB_HELD && t->slot >= 0) {
        coord_tell_state(c, i, AVS_JOB_RUNNING); /* it is still stopping: queued again when that is over */
    } else if (ev->type == AVS_EV_HOLD && (s == AVS_JOB_PENDING || s == AVS_JOB_WAITING)) {
        coord_tell_state(c, i, AVS_JOB_HELD);
    } else if ((ev->type == AVS_EV_UNHOLD || ev->type == AVS_EV_RETRY) && s == AVS_JOB_HELD) {
        wait_again(c, i);
    } else if (ev->type == AVS_EV_PRIORITY && ev->priority != t->priority) {
        t->priority = ev->priority;
        t->in_ready = false; /* the old entry has another key and counts no more */
        if (s == AVS_JOB_PENDING && !t->pausing) push_ready(c, i);
    }
}

/* ---- time ---- */

static void deadline_passed(avs_coord *c, int32_t s)
{
    live *l = c->live[s];
    if (!l->stopping) { /* a gang whose ranks did not all come up */
        coord_note_end(l, AVS_OUT_INFRA, 0);
        for (int32_t p = 0; p < l->n_parts; p++)
            if (l->part[p].open && !l->part[p].ready) note_infra(c, l->part[p].agent, l->trial);
        coord_stop(c, s, true);
        return;
    }
    if (!l->killed) {
        coord_stop(c, s, true);
        return;
    }
    for (int32_t p = 0; p < l->n_parts; p++) /* the agent does not answer */
        if (l->part[p].open) coord_close_part(c, l, &l->part[p]);
    coord_note_end(l, AVS_OUT_LOST, 0);
    coord_part_ended(c, s);
}

static void silence(avs_coord *c, int32_t id)
{
    node *a = &c->node[id];
    if (!a->up) return;
    int64_t age = c->now - a->seen;
    if (age >= c->cfg.lost_ms) {
        agent_lost(c, id);
        return;
    }
    if (age >= c->cfg.suspect_ms && !a->suspect) {
        a->suspect = true;
        c->n_suspect++;
        node_file(c, id);
    }
    watch(c, id);
}

static void time_passes(avs_coord *c)
{
    avs_queue_entry e;
    while (c->quiet.n > 0 && c->quiet.at[0].key <= c->now) {
        avs_queue_pop(&c->quiet, &e);
        silence(c, e.item);
    }
    if (c->cfg.end_ms && !c->draining && c->now >= c->cfg.end_ms - c->longest_grace) coord_stop_all(c, false);
    while (c->timer.n > 0 && c->timer.at[0].key <= c->now) {
        avs_queue_pop(&c->timer, &e);
        if (c->live[e.item] && c->live[e.item]->deadline == e.key) {
            c->live[e.item]->deadline = INT64_MAX;
            deadline_passed(c, e.item);
        }
    }
    while (c->pause.n > 0 && c->pause.at[0].key <= c->now) {
        avs_queue_pop(&c->pause, &e);
        if (c->t[e.item].state == AVS_JOB_PENDING && c->t[e.item].pausing) push_ready(c, e.item);
    }
}

static void look_for_end(avs_coord *c)
{
    if (c->finished || c->n_live > 0 || c->count[AVS_JOB_COMMITTING] > 0) return;
    bool left = c->count[AVS_JOB_PENDING] + c->count[AVS_JOB_WAITING] + c->count[AVS_JOB_HELD] > 0;
    bool all_here = c->n_known >= c->cfg.agents_expected || c->now >= c->hold_until;
    bool nobody = c->n_usable == 0 && all_here;
    /* Agents are there, yet nothing runs and nothing will: what is left fits none of them, or not before the end. */
    bool stuck = c->placing && c->pause.n == 0 && c->n_suspect == 0 && all_here;
    if (left && !c->draining && !nobody && !stuck) return;
    int32_t bad = c->count[AVS_JOB_FAILED] + c->count[AVS_JOB_BLOCKED] + c->count[AVS_JOB_CANCELLED];
    int32_t code = left ? 75 : bad > 0 ? 1 : 0;
    if (left && c->killing) code = 130;
    if (c->forced_code && (left || c->forced_code != 1)) code = c->forced_code;
    c->finished = true;
    for (int32_t id = 0; id < c->n_node; id++)
        if (c->node[id].up) coord_emit(c, AVS_ACT_BYE)->agent = id;
    coord_emit(c, AVS_ACT_FINISH)->code = code;
}

/* ---- public ---- */

static void handle(avs_coord *c, const avs_event *ev)
{
    switch (ev->type) {
    case AVS_EV_AGENT_UP:
        agent_up(c, ev);
        if (c->finished) coord_emit(c, AVS_ACT_BYE)->agent = ev->agent;
        break;
    case AVS_EV_AGENT_DOWN:
        agent_down(c, ev->agent);
        break;
    case AVS_EV_SEEN:
        break;
    case AVS_EV_READY:
        ready(c, ev);
        break;
    case AVS_EV_BEAT:
        coord_beat(c, ev);
        break;
    case AVS_EV_ENDED:
        ended(c, ev);
        break;
    case AVS_EV_COMMITTED:
        committed(c, ev);
        break;
    case AVS_EV_REFUSED:
        refused(c, ev);
        break;
    case AVS_EV_DB_FAILED:
        db_failed(c);
        break;
    case AVS_EV_DRAIN:
        coord_stop_all(c, false);
        break;
    case AVS_EV_KILL:
        c->killing = true;
        coord_stop_all(c, true);
        break;
    case AVS_EV_RETRY:
    case AVS_EV_CANCEL:
    case AVS_EV_HOLD:
    case AVS_EV_UNHOLD:
    case AVS_EV_PAUSE:
    case AVS_EV_PRUNE:
    case AVS_EV_PRIORITY:
        asked(c, ev);
        break;
    case AVS_EV_TICK:
        break;
    }
}

int avs_coord_step(avs_coord *c, const avs_event *ev, const avs_action **actions, int32_t *n, avs_err *e)
{
    c->n_act = 0;
    if (ev->now_ms > c->now || !c->started) c->now = ev->now_ms;
    if (!c->started) {
        c->started = true;
        c->hold_until = c->now + c->cfg.hold_ms;
    }
    bool of_agent = ev->type <= AVS_EV_ENDED;
    if (of_agent && (ev->agent < 0 || ev->agent >= AVS_COORD_AGENTS))
        return avs_fail(e, AVS_ERANGE, "agent %d is outside 0..%d", ev->agent, AVS_COORD_AGENTS - 1);
    if (of_agent && !reserve_agent(c, ev->agent))
        return avs_fail(e, AVS_ENOMEM, "no memory for agent %d", ev->agent);
    if (of_agent && ev->type != AVS_EV_AGENT_UP && ev->type != AVS_EV_AGENT_DOWN) {
        const node *a = &c->node[ev->agent];
        seen(c, ev->agent);
        /* Counted out, yet alive (its network came back): its trials run elsewhere, so it must end. */
        if (a->known && !a->up && !c->finished && ev->type == AVS_EV_SEEN)
            coord_emit(c, AVS_ACT_BYE)->agent = ev->agent;
    }
    handle(c, ev);
    time_passes(c);
    coord_place(c);
    look_for_end(c);
    *actions = c->act;
    *n = c->n_act;
    return c->oom ? avs_fail(e, AVS_ENOMEM, "the coordinator is out of memory") : AVS_OK;
}

void avs_coord_name(avs_coord *c, uint64_t provisional, uint64_t attempt)
{
    int32_t s = avs_id_get(&c->by_attempt, provisional);
    if (s < 0) return;
    avs_id_drop(&c->by_attempt, provisional);
    c->live[s]->attempt = attempt;
    if (!avs_id_put(&c->by_attempt, attempt, s)) c->oom = true;
}

int64_t avs_coord_next_ms(const avs_coord *c)
{
    int64_t next = INT64_MAX;
    if (c->finished) return next;
    if (!c->placing && c->started) next = c->hold_until;
    if (c->pause.n > 0 && c->pause.at[0].key < next) next = c->pause.at[0].key;
    if (c->timer.n > 0 && c->timer.at[0].key < next) next = c->timer.at[0].key;
    if (c->quiet.n > 0 && c->quiet.at[0].key < next) next = c->quiet.at[0].key;
    if (c->cfg.end_ms && !c->draining && c->cfg.end_ms - c->longest_grace < next)
        next = c->cfg.end_ms - c->longest_grace;
    return next;
}

avs_coord_counts avs_coord_count(const avs_coord *c)
{
    return (avs_coord_counts){.total = c->n,
                              .waiting = c->count[AVS_JOB_WAITING],
                              .pending = c->count[AVS_JOB_PENDING],
                              .running = c->count[AVS_JOB_RUNNING],
                              .committing = c->count[AVS_JOB_COMMITTING],
                              .done = c->count[AVS_JOB_DONE],
                              .failed = c->count[AVS_JOB_FAILED],
                              .blocked = c->count[AVS_JOB_BLOCKED],
                              .held = c->count[AVS_JOB_HELD],
                              .cancelled = c->count[AVS_JOB_CANCELLED],
                              .pruned = c->count[AVS_JOB_PRUNED],
                              .done_before = c->done_before,
                              .agents = c->n_up,
                              .cores = (int32_t)c->cores,
                              .cores_busy = (int32_t)c->cores_busy,
                              .gpus = (int32_t)c->gpus,
                              .gpus_busy = (int32_t)c->gpus_busy,
                              .draining = c->draining,
                              .finished = c->finished};
}

int32_t avs_coord_class_of(const avs_coord *c, int32_t i)
{
    return c->t[i].class_id;
}

avs_job_state avs_coord_state(const avs_coord *c, int32_t i)
{
    return (avs_job_state)c->t[i].state;
}

uint64_t avs_coord_attempt_of(const avs_coord *c, int32_t i)
{
    return c->t[i].slot >= 0 ? c->live[c->t[i].slot]->attempt : 0;
}
