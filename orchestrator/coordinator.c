/* The state machine behind orchestrator/coordinator.h.
 *
 * A trial that may run lies in `ready` (by position); one in a back-off pause lies in `pause` (by end time). Both
 * heaps are lazy: an entry counts only while the trial is PENDING and its ticket matches. After every event the
 * machine places what fits, then looks whether it is finished. */
#include "orchestrator/coordinator.h"

#include <stdlib.h>
#include <string.h>
#include "orchestrator/coordinator_state.h"

enum { KILL_WAIT_MS = 15000, INFRA_WINDOW_MS = 600000 };

avs_coord_cfg avs_coord_cfg_default(void)
{
    return (avs_coord_cfg){.agents_expected = 1,
                           .hold_ms = 30000,
                           .backoff_ms = 5000,
                           .suspect_ms = 60000,
                           .lost_ms = 600000,
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
    c->t[i].state = s;
    c->count[s]++;
}

static void enqueue(avs_coord *c, int32_t i, int64_t at)
{
    coord_set_state(c, i, AVS_JOB_PENDING);
    bool ok = at > c->now ? avs_queue_push(&c->pause, at, i) : avs_queue_push(&c->ready, i, i);
    if (!ok) c->oom = true;
}

static int32_t find_live(const avs_coord *c, uint64_t attempt)
{
    for (int32_t k = 0; k < c->n_live; k++)
        if (c->live[k].attempt == attempt) return k;
    return -1;
}

static int32_t find_live_of(const avs_coord *c, int32_t i)
{
    for (int32_t k = 0; k < c->n_live; k++)
        if (c->live[k].trial == i) return k;
    return -1;
}

static void release(avs_coord *c, int32_t k)
{
    live *l = &c->live[k];
    agent *a = &c->agent[l->agent];
    a->free += l->cores;
    a->n_live--;
    if (l->exclusive) a->exclusive = false;
    c->live[k] = c->live[--c->n_live];
}

static void send_ack(avs_coord *c, int32_t ag, uint64_t attempt, uint32_t epoch)
{
    avs_action *a = coord_emit(c, AVS_ACT_ACK);
    a->agent = ag;
    a->attempt = attempt;
    a->epoch = epoch;
}

static void stop_live(avs_coord *c, live *l, bool kill)
{
    if (kill ? l->killed : (l->stopping || l->killed)) return;
    avs_action *a = coord_emit(c, kill ? AVS_ACT_KILL : AVS_ACT_STOP);
    a->agent = l->agent;
    a->trial = l->trial;
    a->attempt = l->attempt;
    a->epoch = l->epoch;
    l->stopping = true;
    l->killed |= kill;
    l->deadline = c->now + (kill ? KILL_WAIT_MS : c->t[l->trial].in.grace_ms);
}

static void drain(avs_coord *c)
{
    c->draining = true;
    for (int32_t k = 0; k < c->n_live; k++) stop_live(c, &c->live[k], false);
}

/* ---- what becomes of trials ---- */

static void block_downstream(avs_coord *c, int32_t i)
{
    for (int32_t k = c->dep_first[i]; k < c->dep_first[i + 1]; k++) {
        int32_t d = c->dep[k];
        if (c->t[d].state != AVS_JOB_WAITING) continue;
        coord_set_state(c, d, AVS_JOB_BLOCKED);
        avs_action *a = coord_emit(c, AVS_ACT_STATE);
        a->trial = d;
        a->state = AVS_JOB_BLOCKED;
        block_downstream(c, d); /* depth is that of the stages, a handful */
    }
}

static void release_downstream(avs_coord *c, int32_t i)
{
    for (int32_t k = c->dep_first[i]; k < c->dep_first[i + 1]; k++) {
        int32_t d = c->dep[k];
        if (--c->t[d].unmet == 0 && c->t[d].state == AVS_JOB_WAITING) enqueue(c, d, c->now);
    }
}

static int64_t backoff(avs_coord *c, int32_t k)
{
    double ms = (double)c->cfg.backoff_ms * (double)((int64_t)1 << (k < 7 ? k : 7));
    return c->now + (int64_t)(ms * (1.0 + 0.25 * avs_rng_unit(&c->rng)));
}

/* Decides between another attempt and failure; the attempt is no longer live. */
static void requeue_or_fail(avs_coord *c, int32_t i, avs_outcome o, uint64_t text_hash)
{
    trial *t = &c->t[i];
    bool again = true;
    int64_t at = c->now;
    switch (o) {
    case AVS_OUT_ERROR:
    case AVS_OUT_CRASH:
    case AVS_OUT_HANG:
        again = t->faults++ < t->in.retries && !t->in.no_retry[o];
        if (o == AVS_OUT_ERROR && t->text_hash && t->text_hash == text_hash) again = false;
        t->text_hash = o == AVS_OUT_ERROR ? text_hash : 0;
        at = backoff(c, t->faults - 1);
        break;
    case AVS_OUT_TIMEOUT:
        again = false;
        break;
    default:
        again = c->draining || (t->free_retries++ < AVS_COORD_FREE_RETRIES && !t->in.no_retry[o]);
        if (o != AVS_OUT_LOST && !c->draining) at = backoff(c, t->free_retries - 1);
        break;
    }
    if (again) {
        enqueue(c, i, at);
        return;
    }
    coord_set_state(c, i, AVS_JOB_FAILED);
    block_downstream(c, i);
    if (c->cfg.max_failures > 0 && c->count[AVS_JOB_FAILED] >= c->cfg.max_failures && !c->draining) {
        c->forced_code = 1;
        drain(c);
    }
}

static void attempt_over(avs_coord *c, const live *l, avs_outcome o, uint64_t text_hash)
{
    trial *t = &c->t[l->trial];
    t->last_agent = l->agent;
    bool current = t->state == AVS_JOB_RUNNING;
    int32_t rec = c->n_act;
    coord_emit(c, AVS_ACT_RECORD);
    if (current) requeue_or_fail(c, l->trial, o, text_hash);
    if (c->oom) return;
    avs_action *a = &c->act[rec];
    a->agent = l->agent;
    a->trial = l->trial;
    a->attempt = l->attempt;
    a->epoch = l->epoch;
    a->outcome = o;
    a->state = t->state;
}

static void commit(avs_coord *c, int32_t i, int32_t ag, uint64_t attempt, uint32_t epoch)
{
    trial *t = &c->t[i];
    coord_set_state(c, i, AVS_JOB_COMMITTING);
    t->committing = attempt;
    t->commit_agent = ag;
    t->commit_epoch = epoch;
    avs_action *a = coord_emit(c, AVS_ACT_COMMIT);
    a->agent = ag;
    a->trial = i;
    a->attempt = attempt;
    a->epoch = epoch;
}

/* ---- events ---- */

static bool reserve_agent(avs_coord *c, int32_t id)
{
    if (id >= c->cap_agent) {
        int32_t cap = id + 16;
        agent *a = avs_xrealloc(c->agent, sizeof *a * (size_t)cap);
        if (!a) return false;
        memset(a + c->cap_agent, 0, sizeof *a * (size_t)(cap - c->cap_agent));
        c->agent = a;
        c->cap_agent = cap;
    }
    if (id >= c->n_agent) c->n_agent = id + 1;
    return true;
}

static void agent_lost(avs_coord *c, int32_t id)
{
    agent *a = &c->agent[id];
    if (!a->up) return;
    a->up = false;
    c->n_down++;
    coord_emit(c, AVS_ACT_LOST)->agent = id;
    for (int32_t k = c->n_live - 1; k >= 0; k--) {
        if (c->live[k].agent != id) continue;
        live l = c->live[k];
        release(c, k);
        attempt_over(c, &l, AVS_OUT_LOST, 0);
    }
    a->n_live = 0;
}

static void agent_up(avs_coord *c, const avs_event *ev)
{
    agent *a = &c->agent[ev->agent];
    if (a->up) return;
    bool back = a->known;
    *a = (agent){.known = true, .up = true, .cores = ev->cores, .free = ev->cores, .seen = c->now};
    if (back) c->n_down--;
}

static void agent_down(avs_coord *c, int32_t id)
{
    agent *a = &c->agent[id];
    if (!a->known) { /* it died before its HELLO */
        a->known = true;
        c->n_down++;
        coord_emit(c, AVS_ACT_LOST)->agent = id;
    }
    agent_lost(c, id);
}

static void note_infra(avs_coord *c, int32_t id, int32_t i)
{
    agent *a = &c->agent[id];
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
    coord_emit(c, AVS_ACT_QUARANTINE)->agent = id;
}

static void ended(avs_coord *c, const avs_event *ev)
{
    int32_t k = find_live(c, ev->attempt);
    if (k >= 0 && c->live[k].epoch == ev->epoch && c->live[k].agent == ev->agent &&
        c->live[k].trial == ev->trial) {
        live l = c->live[k];
        trial *t = &c->t[l.trial];
        release(c, k);
        if (ev->outcome == AVS_OUT_DONE && t->state == AVS_JOB_RUNNING && c->db_failed) {
            coord_set_state(c, l.trial,
                            AVS_JOB_PENDING); /* no ACK: the result stays in the spool for the next run */
            return;
        }
        if (ev->outcome == AVS_OUT_DONE && t->state == AVS_JOB_RUNNING) {
            commit(c, l.trial, l.agent, l.attempt, l.epoch);
            return; /* the ACK follows COMMITTED */
        }
        if (ev->outcome == AVS_OUT_INFRA) note_infra(c, l.agent, l.trial);
        /* A DONE of an attempt that was overtaken by a late one is worth nothing any more. */
        attempt_over(c, &l, ev->outcome == AVS_OUT_DONE ? AVS_OUT_KILLED : ev->outcome, ev->text_hash);
        send_ack(c, ev->agent, ev->attempt, ev->epoch);
        return;
    }
    /* A late, repeated or spooled report. Only a DONE can still be of use. */
    if (ev->outcome == AVS_OUT_DONE && ev->trial >= 0 && ev->trial < c->n) {
        trial *t = &c->t[ev->trial];
        if (t->state == AVS_JOB_COMMITTING || c->db_failed)
            return; /* the ACK follows COMMITTED, or the next offer */
        bool open = t->state == AVS_JOB_PENDING || t->state == AVS_JOB_RUNNING;
        if (open && ev->epoch > 0 && ev->epoch <= t->in.epoch) {
            int32_t other = t->state == AVS_JOB_RUNNING ? find_live_of(c, ev->trial) : -1;
            commit(c, ev->trial, ev->agent, ev->attempt, ev->epoch);
            if (other >= 0) stop_live(c, &c->live[other], true);
            return;
        }
    }
    send_ack(c, ev->agent, ev->attempt, ev->epoch);
}

static void committed(avs_coord *c, const avs_event *ev)
{
    if (ev->trial < 0 || ev->trial >= c->n) return;
    trial *t = &c->t[ev->trial];
    if (t->state != AVS_JOB_COMMITTING || t->committing != ev->attempt) return;
    coord_set_state(c, ev->trial, AVS_JOB_DONE);
    send_ack(c, t->commit_agent, t->committing, t->commit_epoch);
    t->committing = 0;
    release_downstream(c, ev->trial);
}

static void refused(avs_coord *c, const avs_event *ev)
{
    if (ev->trial < 0 || ev->trial >= c->n) return;
    trial *t = &c->t[ev->trial];
    if (t->state != AVS_JOB_COMMITTING || t->committing != ev->attempt) return;
    live l = {
        .attempt = t->committing, .epoch = t->commit_epoch, .trial = ev->trial, .agent = t->commit_agent};
    t->committing = 0;
    coord_set_state(c, ev->trial, AVS_JOB_RUNNING);
    attempt_over(c, &l, AVS_OUT_ERROR, 1);
    send_ack(c, l.agent, l.attempt, l.epoch);
}

static void kill_all(avs_coord *c)
{
    c->killing = c->draining = true;
    for (int32_t k = 0; k < c->n_live; k++) stop_live(c, &c->live[k], true);
}

static int64_t longest_grace(const avs_coord *c)
{
    int64_t g = 0;
    for (int32_t k = 0; k < c->n_live; k++)
        if (c->t[c->live[k].trial].in.grace_ms > g) g = c->t[c->live[k].trial].in.grace_ms;
    return g;
}

static void time_passes(avs_coord *c)
{
    for (int32_t id = 0; id < c->n_agent; id++) {
        agent *a = &c->agent[id];
        if (!a->up) continue;
        a->suspect = c->now - a->seen >= c->cfg.suspect_ms;
        if (c->now - a->seen >= c->cfg.lost_ms) agent_lost(c, id);
    }
    if (c->cfg.end_ms && !c->draining && c->now >= c->cfg.end_ms - longest_grace(c)) drain(c);
    for (int32_t k = c->n_live - 1; k >= 0; k--) {
        live *l = &c->live[k];
        if (!l->stopping || c->now < l->deadline) continue;
        if (!l->killed) {
            stop_live(c, l, true);
        } else { /* the agent does not answer */
            live gone = *l;
            release(c, k);
            attempt_over(c, &gone, AVS_OUT_LOST, 0);
        }
    }
    while (c->pause.n > 0 && c->pause.at[0].key <= c->now) {
        avs_queue_entry e;
        avs_queue_pop(&c->pause, &e);
        if (c->t[e.item].state == AVS_JOB_PENDING && !avs_queue_push(&c->ready, e.item, e.item))
            c->oom = true;
    }
}

static void look_for_end(avs_coord *c)
{
    if (c->finished || c->n_live > 0 || c->count[AVS_JOB_COMMITTING] > 0) return;
    bool left = c->count[AVS_JOB_PENDING] + c->count[AVS_JOB_WAITING] > 0;
    int32_t n_usable = 0, n_known = 0;
    for (int32_t id = 0; id < c->n_agent; id++) {
        n_known += c->agent[id].known;
        n_usable += c->agent[id].up && !c->agent[id].quarantined;
    }
    bool nobody = n_usable == 0 && (n_known >= c->cfg.agents_expected || c->now >= c->hold_until);
    if (left && !c->draining && !nobody) return;
    int32_t code = left ? 75 : c->count[AVS_JOB_FAILED] + c->count[AVS_JOB_BLOCKED] > 0 ? 1 : 0;
    if (left && c->killing) code = 130;
    if (c->forced_code && (left || c->forced_code != 1)) code = c->forced_code;
    c->finished = true;
    for (int32_t id = 0; id < c->n_agent; id++)
        if (c->agent[id].up) coord_emit(c, AVS_ACT_BYE)->agent = id;
    coord_emit(c, AVS_ACT_FINISH)->code = code;
}

/* ---- public ---- */

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
        agent *a = &c->agent[ev->agent];
        a->seen = c->now;
        a->suspect = false;
        /* Counted out, yet alive (its network came back): its trials run elsewhere, so it must end. */
        if (a->known && !a->up && !c->finished && ev->type == AVS_EV_SEEN)
            coord_emit(c, AVS_ACT_BYE)->agent = ev->agent;
    }
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
        c->forced_code = 4;
        c->db_failed = true;
        drain(c);
        /* What was about to be committed stays in the spools. */
        for (int32_t i = 0; i < c->n; i++)
            if (c->t[i].state == AVS_JOB_COMMITTING) coord_set_state(c, i, AVS_JOB_PENDING);
        break;
    case AVS_EV_DRAIN:
        drain(c);
        break;
    case AVS_EV_KILL:
        kill_all(c);
        break;
    case AVS_EV_TICK:
        break;
    }
    time_passes(c);
    coord_place(c);
    look_for_end(c);
    *actions = c->act;
    *n = c->n_act;
    return c->oom ? avs_fail(e, AVS_ENOMEM, "the coordinator is out of memory") : AVS_OK;
}

void avs_coord_name(avs_coord *c, uint64_t provisional, uint64_t attempt)
{
    int32_t k = find_live(c, provisional);
    if (k >= 0) c->live[k].attempt = attempt;
}

int64_t avs_coord_next_ms(const avs_coord *c)
{
    int64_t next = INT64_MAX;
    if (c->finished) return next;
    if (!c->placing && c->started) next = c->hold_until;
    if (c->pause.n > 0 && c->pause.at[0].key < next) next = c->pause.at[0].key;
    for (int32_t k = 0; k < c->n_live; k++)
        if (c->live[k].deadline < next) next = c->live[k].deadline;
    for (int32_t id = 0; id < c->n_agent; id++) {
        const agent *a = &c->agent[id];
        if (!a->up) continue;
        int64_t at = a->seen + (a->suspect ? c->cfg.lost_ms : c->cfg.suspect_ms);
        if (at < next) next = at;
    }
    if (c->cfg.end_ms && !c->draining && c->cfg.end_ms - longest_grace(c) < next)
        next = c->cfg.end_ms - longest_grace(c);
    return next;
}

avs_coord_counts avs_coord_count(const avs_coord *c)
{
    avs_coord_counts r = {.total = c->n,
                          .waiting = c->count[AVS_JOB_WAITING],
                          .pending = c->count[AVS_JOB_PENDING],
                          .running = c->count[AVS_JOB_RUNNING],
                          .committing = c->count[AVS_JOB_COMMITTING],
                          .done = c->count[AVS_JOB_DONE],
                          .failed = c->count[AVS_JOB_FAILED],
                          .blocked = c->count[AVS_JOB_BLOCKED],
                          .done_before = c->done_before,
                          .draining = c->draining,
                          .finished = c->finished};
    for (int32_t id = 0; id < c->n_agent; id++) {
        if (!c->agent[id].up) continue;
        r.agents++;
        r.cores += c->agent[id].cores;
        r.cores_busy += c->agent[id].cores - c->agent[id].free;
    }
    return r;
}

avs_job_state avs_coord_state(const avs_coord *c, int32_t i)
{
    return c->t[i].state;
}

uint64_t avs_coord_attempt_of(const avs_coord *c, int32_t i)
{
    if (c->t[i].state == AVS_JOB_COMMITTING) return c->t[i].committing;
    if (c->t[i].state != AVS_JOB_RUNNING) return 0;
    int32_t k = find_live_of(c, i);
    return k >= 0 ? c->live[k].attempt : 0;
}

/* Downstream lists from the upstream lists, then the first states in an order that has every need before its user. */
static int link_trials(avs_coord *c, avs_err *e)
{
    int64_t total = 0;
    for (int32_t i = 0; i < c->n; i++) total += c->t[i].in.n_need;
    c->dep_first = avs_xrealloc(NULL, sizeof(int32_t) * (size_t)(c->n + 2));
    c->dep = avs_xrealloc(NULL, sizeof(int32_t) * (size_t)(total + 1));
    c->need = avs_xrealloc(NULL, sizeof(int32_t) * (size_t)(total + 1));
    if (!c->dep_first || !c->dep || !c->need) return avs_fail(e, AVS_ENOMEM, "no memory for %d trials", c->n);
    memset(c->dep_first, 0, sizeof(int32_t) * (size_t)(c->n + 2));
    int64_t at = 0;
    for (int32_t i = 0; i < c->n; i++) {
        avs_coord_trial *t = &c->t[i].in;
        for (int32_t k = 0; k < t->n_need; k++) {
            if (t->need[k] < 0 || t->need[k] >= c->n || t->need[k] == i)
                return avs_fail(e, AVS_ERANGE, "trial %d needs trial %d of %d", i, t->need[k], c->n);
            c->need[at + k] = t->need[k];
            c->dep_first[t->need[k] + 2]++;
        }
        t->need = c->need + at;
        at += t->n_need;
    }
    for (int32_t i = 2; i < c->n + 2; i++) c->dep_first[i] += c->dep_first[i - 1];
    for (int32_t i = 0; i < c->n; i++)
        for (int32_t k = 0; k < c->t[i].in.n_need; k++) c->dep[c->dep_first[c->t[i].in.need[k] + 1]++] = i;
    return AVS_OK;
}

static void first_states(avs_coord *c)
{
    for (int32_t i = 0; i < c->n; i++) c->t[i].unmet = c->t[i].in.n_need;
    for (int32_t i = 0; i < c->n; i++) {
        if (!c->t[i].in.done) continue;
        c->done_before++;
        coord_set_state(c, i, AVS_JOB_DONE);
        for (int32_t k = c->dep_first[i]; k < c->dep_first[i + 1]; k++) c->t[c->dep[k]].unmet--;
    }
    for (int32_t i = 0; i < c->n; i++)
        if (c->t[i].state == AVS_JOB_WAITING && c->t[i].in.failed) {
            coord_set_state(c, i, AVS_JOB_FAILED);
            block_downstream(c, i); /* its STATE actions are dropped: the database knows already */
        }
    for (int32_t i = 0; i < c->n; i++)
        if (c->t[i].state == AVS_JOB_WAITING && c->t[i].unmet == 0) enqueue(c, i, c->now);
    c->n_act = 0;
}

/* Kahn's count over the downstream lists: every trial must be reachable from those without needs. */
static int refuse_cycles(const avs_coord *c, avs_err *e)
{
    int32_t *unmet = avs_xrealloc(NULL, sizeof(int32_t) * (size_t)(2 * c->n + 1));
    if (!unmet) return avs_fail(e, AVS_ENOMEM, "no memory for %d trials", c->n);
    int32_t *stack = unmet + c->n, top = 0, seen = 0;
    for (int32_t i = 0; i < c->n; i++)
        if ((unmet[i] = c->t[i].in.n_need) == 0) stack[top++] = i;
    while (top > 0) {
        int32_t i = stack[--top];
        seen++;
        for (int32_t k = c->dep_first[i]; k < c->dep_first[i + 1]; k++)
            if (--unmet[c->dep[k]] == 0) stack[top++] = c->dep[k];
    }
    free(unmet);
    return seen == c->n ? AVS_OK
                        : avs_fail(e, AVS_ERANGE, "%d trials need each other in a circle", c->n - seen);
}

int avs_coord_new(avs_coord **out, const avs_coord_cfg *cfg, const avs_coord_trial *trials, int32_t n,
                  avs_err *e)
{
    *out = NULL;
    avs_coord *c = avs_xrealloc(NULL, sizeof *c);
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory for the coordinator");
    *c = (avs_coord){.cfg = *cfg, .n = n, .rng = avs_rng_seed(cfg->seed)};
    c->t = avs_xrealloc(NULL, sizeof *c->t * (size_t)(n + 1));
    int rc = c->t ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for %d trials", n);
    if (rc == AVS_OK) {
        for (int32_t i = 0; i < n; i++) c->t[i] = (trial){.in = trials[i], .last_agent = -1};
        c->count[AVS_JOB_WAITING] = n;
        rc = link_trials(c, e);
    }
    if (rc == AVS_OK) rc = refuse_cycles(c, e);
    if (rc == AVS_OK) first_states(c);
    if (rc == AVS_OK && c->oom) rc = avs_fail(e, AVS_ENOMEM, "no memory for %d trials", n);
    if (rc != AVS_OK) {
        avs_coord_free(c);
        return rc;
    }
    *out = c;
    return AVS_OK;
}

void avs_coord_free(avs_coord *c)
{
    if (!c) return;
    avs_queue_free(&c->ready);
    avs_queue_free(&c->pause);
    free(c->t);
    free(c->need);
    free(c->dep_first);
    free(c->dep);
    free(c->live);
    free(c->agent);
    free(c->act);
    free(c);
}
