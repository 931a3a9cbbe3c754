/* Attempts from their start to their end: how they are stopped, what the ends of their parts add up to, and what then
 * becomes of their trial. Several parts (one per node of a gang) end one by one; the last one decides. */
#include <stdlib.h>
#include "orchestrator/coordinator_state.h"

enum { KILL_WAIT_MS = 15000 };

void coord_send_ack(avs_coord *c, int32_t ag, uint64_t attempt, uint32_t epoch)
{
    avs_action *a = coord_emit(c, AVS_ACT_ACK);
    a->agent = ag;
    a->attempt = attempt;
    a->epoch = epoch;
}

void coord_free_slot(avs_coord *c, int32_t s)
{
    avs_id_drop(&c->by_attempt, c->live[s]->attempt);
    free(c->live[s]);
    c->live[s] = NULL;
    c->free_slot[c->n_free_slot++] = s;
}

void coord_stop(avs_coord *c, int32_t s, bool kill)
{
    live *l = c->live[s];
    if (!l->going) kill = true; /* a gang that does not communicate yet has nothing to save */
    if (l->n_open == 0 || (kill ? l->killed : (l->stopping || l->killed))) return;
    for (int32_t p = 0; p < l->n_parts; p++) {
        if (!l->part[p].open) continue;
        avs_action *a = coord_emit(c, kill ? AVS_ACT_KILL : AVS_ACT_STOP);
        a->agent = l->part[p].agent;
        a->trial = l->trial;
        a->attempt = l->attempt;
        a->epoch = l->epoch;
    }
    l->stopping = true;
    l->killed |= kill;
    coord_deadline(c, s, c->now + (kill ? KILL_WAIT_MS : c->cls[l->class_id].in.grace_ms));
}

void coord_stop_all(avs_coord *c, bool kill)
{
    c->draining = true;
    for (int32_t s = 0; s < c->n_slot; s++)
        if (c->live[s]) coord_stop(c, s, kill);
}

/* ---- what becomes of trials ---- */

static int64_t backoff(avs_coord *c, int32_t k)
{
    double ms = (double)c->cfg.backoff_ms * (double)((int64_t)1 << (k < 7 ? k : 7));
    return c->now + (int64_t)(ms * (1.0 + 0.25 * avs_rng_unit(&c->rng)));
}

static void fail_trial(avs_coord *c, int32_t i)
{
    coord_set_state(c, i, AVS_JOB_FAILED);
    coord_block_downstream(c, i);
    if (c->cfg.max_failures > 0 && c->count[AVS_JOB_FAILED] >= c->cfg.max_failures && !c->draining) {
        c->forced_code = 1;
        coord_stop_all(c, false);
    }
}

/* Decides between another attempt and failure; the attempt is no longer live. */
static void requeue_or_fail(avs_coord *c, int32_t i, avs_outcome o, uint64_t text_hash)
{
    trial *t = &c->t[i];
    const avs_coord_class *k = &c->cls[t->class_id].in;
    bool again = true;
    int64_t at = c->now;
    switch (o) {
    case AVS_OUT_ERROR:
    case AVS_OUT_CRASH:
    case AVS_OUT_HANG:
    case AVS_OUT_OOM:
    case AVS_OUT_OOM_GPU:
        again = t->faults < k->retries && !k->no_retry[o];
        if (t->faults < UINT8_MAX) t->faults++;
        if (o == AVS_OUT_ERROR && t->text_hash && t->text_hash == text_hash) again = false;
        t->text_hash = o == AVS_OUT_ERROR ? text_hash : 0;
        at = backoff(c, t->faults - 1);
        break;
    case AVS_OUT_TIMEOUT:
        again = false;
        break;
    case AVS_OUT_DISTURBED:
        at = backoff(c, t->repeats++);
        break;
    default:
        if (c->draining) break;
        again = t->free_retries < AVS_COORD_FREE_RETRIES && !k->no_retry[o] && t->poison < AVS_COORD_POISON;
        if (t->free_retries < UINT8_MAX) t->free_retries++;
        if (o != AVS_OUT_LOST) at = backoff(c, t->free_retries - 1);
        break;
    }
    if (again)
        coord_enqueue(c, i, at);
    else
        fail_trial(c, i);
}

/* The attempt has ended without results that count; its slot is free afterwards. */
void coord_attempt_over(avs_coord *c, int32_t s, avs_outcome o, uint64_t text_hash)
{
    const live *l = c->live[s];
    trial *t = &c->t[l->trial];
    bool current = t->slot == s;
    int32_t rec = c->n_act;
    avs_action said = {.type = AVS_ACT_RECORD,
                       .agent = l->agent,
                       .trial = l->trial,
                       .attempt = l->attempt,
                       .epoch = l->epoch,
                       .outcome = o};
    uint64_t overtook = l->overtook;
    coord_emit(c, AVS_ACT_RECORD);
    t->last_agent = l->agent;
    coord_free_slot(c, s);
    int32_t other = current && overtook ? avs_id_get(&c->by_attempt, overtook) : -1;
    if (other >= 0) { /* a late result that was refused: the attempt it overtook is still dying */
        t->slot = other;
        coord_set_state(c, said.trial, AVS_JOB_RUNNING);
    } else if (current) {
        t->slot = -1;
        if (t->state == AVS_JOB_RUNNING || t->state == AVS_JOB_COMMITTING)
            requeue_or_fail(c, said.trial, o, text_hash);
    }
    if (c->oom) return;
    said.state = (avs_job_state)t->state;
    c->act[rec] = said;
}

void coord_commit(avs_coord *c, int32_t s)
{
    const live *l = c->live[s];
    c->live[s]->committing = true;
    c->t[l->trial].slot = s;
    coord_set_state(c, l->trial, AVS_JOB_COMMITTING);
    avs_action *a = coord_emit(c, AVS_ACT_COMMIT);
    a->agent = l->agent;
    a->trial = l->trial;
    a->attempt = l->attempt;
    a->epoch = l->epoch;
}

/* ---- parts of attempts ---- */

void coord_close_part(avs_coord *c, live *l, part *p)
{
    node *a = &c->node[p->agent];
    p->open = false;
    l->n_open--;
    if (p->prev)
        p->prev->next = p->next;
    else
        a->parts = p->next;
    if (p->next) p->next->prev = p->prev;
    node_give(c, p->agent, &c->cls[l->class_id], l->rank + p->first_rank, p->n_ranks);
    if (l->n_open == 0) c->n_live--;
}

/* Of several ends in a gang the first that tells the cause counts: not the ends that we made ourselves. */
void coord_note_end(live *l, avs_outcome o, uint64_t text_hash)
{
    if (o == AVS_OUT_DONE) return;
    bool told = l->bad && l->outcome != AVS_OUT_KILLED && l->outcome != AVS_OUT_STOPPED;
    bool weak = o == AVS_OUT_KILLED || (o == AVS_OUT_STOPPED && l->bad && l->outcome == AVS_OUT_STOPPED);
    if (told || (l->bad && weak)) return;
    l->bad = true;
    l->outcome = o;
    l->text_hash = text_hash;
}

/* A part is closed: the rest of a gang that cannot go on dies, the last one decides. */
void coord_part_ended(avs_coord *c, int32_t s)
{
    live *l = c->live[s];
    const trial *t = &c->t[l->trial];
    if (l->n_open > 0) {
        if (l->bad && l->outcome != AVS_OUT_STOPPED) coord_stop(c, s, true);
        return;
    }
    bool overtaken = t->slot != s || (t->state != AVS_JOB_RUNNING && t->state != AVS_JOB_HELD);
    if (l->bad ||
        overtaken) { /* DONE of an attempt that was overtaken by a late one is worth nothing any more */
        avs_outcome o = l->bad ? l->outcome : AVS_OUT_KILLED;
        uint64_t attempt = l->attempt, hash = l->text_hash;
        uint32_t epoch = l->epoch;
        int32_t ag = l->agent;
        bool told = l->leader_ended; /* else its agent still has to tell, or never will */
        coord_attempt_over(c, s, o, hash);
        if (told) coord_send_ack(c, ag, attempt, epoch);
        return;
    }
    if (c->db_failed) { /* no ACK: the result stays in the spool for the next run */
        int32_t i = l->trial;
        c->t[i].slot = -1;
        coord_set_state(c, i, AVS_JOB_PENDING);
        coord_free_slot(c, s);
        return;
    }
    coord_commit(c, s); /* the ACK follows COMMITTED */
}

void coord_end_part(avs_coord *c, int32_t slot, part *p, avs_outcome o)
{
    live *l = c->live[slot];
    coord_close_part(c, l, p);
    coord_note_end(l, o, 0);
    coord_part_ended(c, slot);
}

part *coord_open_part(live *l, int32_t agent)
{
    for (int32_t p = 0; p < l->n_parts; p++)
        if (l->part[p].agent == agent && l->part[p].open) return &l->part[p];
    return NULL;
}
