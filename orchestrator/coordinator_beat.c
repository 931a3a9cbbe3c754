/* What an agent holds against what it should hold, at every beat of the agent.
 *
 * A beat lists the attempts of which the agent has processes, and says up to when it had heard everything (heard_ms: the
 * coordinator's own time, which the agent echoes). An attempt that was started before that time and is not listed has
 * no process: its START was lost, or its end was. It counts as lost and is queued again with a new epoch. A listed
 * attempt that is not open here was given up (its STOP was lost, the agent came back): it is killed. */
#include "orchestrator/coordinator_state.h"

static void tell_go(avs_coord *c, int32_t slot, part *p)
{
    const live *l = c->live[slot];
    avs_action *a = coord_emit(c, AVS_ACT_GO);
    a->agent = p->agent;
    a->trial = l->trial;
    a->attempt = l->attempt;
    a->epoch = l->epoch;
    p->since = c->now;
}

void coord_part_ready(avs_coord *c, int32_t slot, part *p)
{
    live *l = c->live[slot];
    if (p->ready || l->going || l->stopping) return;
    p->ready = true;
    if (++l->n_ready < l->n_parts) return;
    l->going = true;
    coord_deadline(c, slot, INT64_MAX);
    for (int32_t k = 0; k < l->n_parts; k++) tell_go(c, slot, &l->part[k]);
}

static const avs_held *find(const avs_event *ev, uint64_t attempt, uint32_t epoch)
{
    for (int32_t k = 0; k < ev->n_held; k++)
        if (ev->held[k].attempt == attempt && ev->held[k].epoch == epoch) return &ev->held[k];
    return NULL;
}

/* Kills what is listed and not open here; takes in what was said and lost of what is. */
static void take_listed(avs_coord *c, const avs_event *ev, const avs_held *h)
{
    int32_t s = avs_id_get(&c->by_attempt, h->attempt);
    live *l = s >= 0 && c->live[s]->epoch == h->epoch ? c->live[s] : NULL;
    part *p = l ? coord_open_part(l, ev->agent) : NULL;
    if (!p) {
        avs_action *a = coord_emit(c, AVS_ACT_KILL);
        a->agent = ev->agent;
        a->attempt = h->attempt;
        a->epoch = h->epoch;
        return;
    }
    if (h->ready) coord_part_ready(c, s, p);
    if (l->going && l->n_ranks > 1 && !h->going && !l->stopping && ev->heard_ms > p->since) tell_go(c, s, p);
}

void coord_beat(avs_coord *c, const avs_event *ev)
{
    for (int32_t k = 0; k < ev->n_held; k++) take_listed(c, ev, &ev->held[k]);
    for (part *p = c->node[ev->agent].parts, *next; p; p = next) {
        const live *l = c->live[p->slot];
        next = p->next;
        if (ev->heard_ms <= p->since || find(ev, l->attempt, l->epoch)) continue;
        coord_end_part(c, p->slot, p, AVS_OUT_LOST);
        next = c->node[ev->agent].parts; /* the end of one may end or start others */
    }
}
