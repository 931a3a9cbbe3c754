/* Which trial starts where: EASY backfill over classes of trials that need the same.
 *
 * Trials of one class differ only in their place in the queue, so one that does not fit answers for all: the class is
 * parked until something is released. A parked class reserves the node (or nodes) where its first trial fits soonest;
 * smaller trials may use those meanwhile only if their time limit ends before. Gangs are planned whole, then taken.
 * Pure: no clock, no I/O; the result is START actions. */
#include "orchestrator/coordinator_state.h"

#include <stdlib.h>
#include <string.h>
#include "base/arena.h"

enum { SCAN_AHEAD = 64, CANDIDATES = 32, LOOK_AT = 64 };

/* ---- the queue of classes ---- */

int64_t coord_queue_key(const avs_coord *c, int32_t i)
{
    uint32_t u;
    memcpy(&u, &c->t[i].priority, sizeof u);
    u = u >> 31 ? u : ~(u | 0x80000000u); /* larger priorities become smaller numbers */
    return (int64_t)((uint64_t)u << 31 | (uint32_t)i);
}

/* The first trial of a class that may really start; entries that count no more are dropped. */
static bool first_of(avs_coord *c, int32_t k, avs_queue_entry *out)
{
    job_class *x = &c->cls[k];
    while (x->ready.n > 0) {
        *out = x->ready.at[0];
        trial *t = &c->t[out->item];
        bool same = t->in_ready && out->key == coord_queue_key(c, out->item);
        if (same && t->state == AVS_JOB_PENDING && !t->pausing) return true;
        if (same) t->in_ready = false;
        avs_queue_pop(&x->ready, out);
    }
    return false;
}

void coord_file_class(avs_coord *c, int32_t k)
{
    job_class *x = &c->cls[k];
    avs_queue_entry e;
    if (x->parked) return;
    if (!first_of(c, k, &e)) {
        for (int32_t r = 0; x->n_reserved > 0 && r < c->n_res; r++)
            if (c->res[r].class_id == k) coord_unreserve(c, r);
        return;
    }
    if (x->filed == e.key) return;
    x->filed = e.key;
    if (!avs_queue_push(&c->order, e.key, k)) c->oom = true;
}

static void park(avs_coord *c, int32_t k)
{
    c->cls[k].parked = true;
    c->parked[c->n_parked++] = k;
}

/* ---- plans: which ranks on which nodes ---- */

static bool plan_room(avs_coord *c, int32_t ranks)
{
    if (ranks <= c->plan.cap) return true;
    rank_at *r = avs_xrealloc(c->plan.rank, sizeof *r * (size_t)ranks);
    if (r) c->plan.rank = r;
    plan_node *n = avs_xrealloc(c->plan.node, sizeof *n * (size_t)ranks);
    if (n) c->plan.node = n;
    if (!r || !n) {
        c->oom = true;
        return false;
    }
    c->plan.cap = ranks;
    return true;
}

static bool one_node(const job_class *k)
{
    return k->in.ranks == 1 || k->in.pack == AVS_PACK_NODE || k->in.pack == AVS_PACK_NUMA;
}

static bool takes_whole(const job_class *k)
{
    return k->in.cores == 0 || k->in.exclusive == AVS_EXCL_NODE;
}

static bool plan_on(avs_coord *c, const job_class *k, int32_t id)
{
    if (node_fit(&c->node[id], k, k->in.ranks, c->plan.rank) < k->in.ranks) return false;
    c->plan.n = 1;
    c->plan.node[0] = (plan_node){id, k->in.ranks};
    return true;
}

static int32_t list_of(const job_class *k)
{
    return takes_whole(k) ? EMPTY : k->in.gpus > 0 ? BY_GPUS : BY_CORES;
}

/* Whether a look at the nodes can be worth while: enough GPUs are free where the class could use them. */
static bool may_fit(const avs_coord *c, const job_class *k)
{
    if (c->reserved_freed || k->in.gpus == 0) return true;
    if (!one_node(k)) return (int64_t)k->in.gpus * k->in.ranks <= c->free_gpus;
    return node_bucket_up(&c->list[list_of(k)], k->in.ranks * k->in.gpus) >= 0;
}

static void unpark(avs_coord *c)
{
    int32_t kept = 0;
    for (int32_t p = 0; p < c->n_parked; p++) {
        int32_t k = c->parked[p];
        if (!may_fit(c, &c->cls[k])) {
            c->parked[kept++] = k;
            continue;
        }
        c->cls[k].parked = false;
        coord_file_class(c, k);
    }
    c->n_parked = kept;
    c->freed = false;
}

/* All ranks on one node, the one with the least left over; not on `avoid` while there is another. */
static bool plan_one(avs_coord *c, const job_class *k, int32_t avoid)
{
    int32_t which = list_of(k), cores = k->in.ranks * k->in.cores;
    const node_list *l = &c->list[which];
    int32_t from = which == BY_CORES ? cores : k->in.ranks * k->in.gpus;
    if (from > CORE_BUCKETS) from = CORE_BUCKETS;
    for (int32_t b = node_bucket_up(l, from); b >= 0; b = node_bucket_up(l, b + 1))
        for (int32_t id = l->head[b]; id >= 0; id = c->node[id].next[which])
            if (id != avoid && plan_on(c, k, id)) return true;
    bool free_again = avoid >= 0 && avoid < c->n_node && c->node[avoid].bucket[which] >= 0;
    return free_again && plan_on(c, k, avoid);
}

static bool plan_add(avs_coord *c, const job_class *k, int32_t id, int32_t *left)
{
    int32_t want = k->in.pack == AVS_PACK_SPREAD ? 1 : *left, done = k->in.ranks - *left;
    int32_t n = node_fit(&c->node[id], k, want, c->plan.rank + done);
    if (n == 0) return false;
    c->plan.node[c->plan.n++] = (plan_node){id, n};
    *left -= n;
    return *left == 0;
}

/* Ranks over several nodes: few and free ones, or with `spread` one rank each on the fullest that can. */
static bool plan_many(avs_coord *c, const job_class *k)
{
    int32_t which = list_of(k), left = k->in.ranks;
    const node_list *l = &c->list[which];
    bool spread = k->in.pack == AVS_PACK_SPREAD;
    int32_t low = which == BY_CORES ? k->in.cores : k->in.gpus;
    if (low > CORE_BUCKETS) low = CORE_BUCKETS;
    if ((int64_t)k->in.gpus * k->in.ranks > c->free_gpus) return false;
    c->plan.n = 0;
    int32_t b = spread ? node_bucket_up(l, low) : node_bucket_down(l, CORE_BUCKETS);
    while (b >= low) {
        for (int32_t id = l->head[b]; id >= 0; id = c->node[id].next[which])
            if (plan_add(c, k, id, &left)) return true;
        b = spread ? node_bucket_up(l, b + 1) : node_bucket_down(l, b - 1);
    }
    return false;
}

static bool plan_any(avs_coord *c, const job_class *k, int32_t avoid)
{
    if (!plan_room(c, k->in.ranks)) return false;
    if (k->in.pack != AVS_PACK_SPREAD && plan_one(c, k, avoid)) return true;
    return !one_node(k) && plan_many(c, k);
}

static bool plan_reserved(avs_coord *c, const job_class *k, const reservation *r)
{
    int32_t left = k->in.ranks;
    if (!plan_room(c, k->in.ranks)) return false;
    if (one_node(k)) return plan_on(c, k, r->node[0]);
    c->plan.n = 0;
    for (int32_t j = 0; j < r->n; j++)
        if (plan_add(c, k, r->node[j], &left)) return true;
    return false;
}

/* On nodes that wait for a gang, if the time limit ends before the gang can start. */
static bool plan_backfill(avs_coord *c, const job_class *k)
{
    int64_t bound = k->in.limit_ms > 0 ? k->in.limit_ms : 2 * k->in.expect_ms;
    if (bound <= 0 || k->in.ranks > c->plan.cap || (!one_node(k) && k->in.pack == AVS_PACK_SPREAD))
        return false;
    for (int32_t r = 0, looked = 0; r < c->n_res && looked < LOOK_AT; r++) {
        const reservation *x = &c->res[r];
        if (x->class_id < 0) continue;
        looked++;
        if (x->at == INT64_MAX || c->now + bound > x->at) continue;
        for (int32_t j = 0; j < x->n; j++)
            if (plan_on(c, k, x->node[j])) return true;
    }
    return false;
}

/* ---- starting ---- */

int32_t coord_new_slot(avs_coord *c, int32_t n_parts, int32_t n_ranks)
{
    if (c->n_free_slot == 0 && c->n_slot == c->cap_slot) {
        int32_t cap = c->cap_slot ? 2 * c->cap_slot : 64;
        live **l = avs_xrealloc(c->live, sizeof(live *) * (size_t)cap);
        if (l) c->live = l;
        int32_t *f = avs_xrealloc(c->free_slot, sizeof *f * (size_t)cap);
        if (f) c->free_slot = f;
        if (!l || !f) {
            c->oom = true;
            return -1;
        }
        c->cap_slot = cap;
    }
    size_t parts = sizeof(part) * (size_t)n_parts, ranks = sizeof(rank_at) * (size_t)n_ranks;
    live *l = avs_xrealloc(NULL, sizeof *l + parts + ranks + sizeof(avs_rank_place) * (size_t)n_ranks);
    if (!l) {
        c->oom = true;
        return -1;
    }
    *l = (live){.n_ranks = n_ranks, .n_parts = n_parts, .deadline = INT64_MAX, .due = INT64_MAX};
    l->part = (part *)(l + 1);
    l->rank = (rank_at *)(l->part + n_parts);
    l->place = (avs_rank_place *)(l->rank + n_ranks);
    int32_t s = c->n_free_slot > 0 ? c->free_slot[--c->n_free_slot] : c->n_slot++;
    c->live[s] = l;
    return s;
}

static void open_parts(avs_coord *c, int32_t s, const job_class *k)
{
    live *l = c->live[s];
    int32_t rank = 0;
    for (int32_t p = 0; p < l->n_parts; p++) {
        part *x = &l->part[p];
        node *a = &c->node[c->plan.node[p].id];
        *x = (part){.agent = c->plan.node[p].id,
                    .slot = s,
                    .first_rank = rank,
                    .n_ranks = c->plan.node[p].n,
                    .next = a->parts,
                    .open = true,
                    .since = c->now};
        if (a->parts) a->parts->prev = x;
        a->parts = x;
        rank += x->n_ranks;
        node_take(c, x->agent, k, l->rank + x->first_rank, x->n_ranks);
    }
    l->n_open = l->n_parts;
    c->n_live++;
}

/* Carries the plan out for trial i. */
static void start_trial(avs_coord *c, int32_t i)
{
    trial *t = &c->t[i];
    const job_class *k = &c->cls[t->class_id];
    int32_t s = coord_new_slot(c, c->plan.n, k->in.ranks);
    if (s < 0) return;
    live *l = c->live[s];
    memcpy(l->rank, c->plan.rank, sizeof *l->rank * (size_t)l->n_ranks);
    for (int32_t r = 0; r < l->n_ranks; r++) l->place[r] = l->rank[r].place;
    l->attempt = AVS_COORD_PROVISIONAL | ++c->n_started;
    l->epoch = ++t->epoch;
    l->trial = i;
    l->class_id = t->class_id;
    l->agent = c->plan.node[0].id;
    l->going = l->n_ranks == 1;
    int64_t length = k->in.expect_ms > 0 ? k->in.expect_ms : k->in.limit_ms;
    if (length > 0) l->due = c->now + length;
    if (!l->going) coord_deadline(c, s, c->now + c->cfg.ready_ms);
    t->slot = s;
    open_parts(c, s, k);
    if (!avs_id_put(&c->by_attempt, l->attempt, s)) c->oom = true;
    coord_set_state(c, i, AVS_JOB_RUNNING);
    for (int32_t p = 0; p < l->n_parts; p++) {
        avs_action *a = coord_emit(c, AVS_ACT_START);
        a->agent = l->part[p].agent;
        a->trial = i;
        a->attempt = l->attempt;
        a->epoch = l->epoch;
        a->ranks = l->n_ranks;
        a->first_rank = l->part[p].first_rank;
        a->n_ranks = l->part[p].n_ranks;
        a->place = l->place + a->first_rank;
        a->cores = a->place->cores;
        a->gpus = __builtin_popcount(a->place->gpus);
    }
}

static void start_first(avs_coord *c, int32_t k, int32_t i)
{
    avs_queue_entry e;
    start_trial(c, i);
    avs_queue_pop(&c->cls[k].ready, &e);
    c->t[i].in_ready = false;
}

/* ---- reservations ---- */

void coord_unreserve(avs_coord *c, int32_t res)
{
    reservation *r = &c->res[res];
    if (r->class_id < 0) return;
    c->cls[r->class_id].n_reserved--;
    r->class_id = -1;
    c->n_res_nodes -= r->n;
    for (int32_t j = 0; j < r->n; j++) {
        c->node[r->node[j]].reserved = -1;
        node_file(c, r->node[j]);
    }
    free(r->node);
    r->node = NULL;
    c->freed = true;
}

static bool reservation_free(const avs_coord *c)
{
    for (int32_t r = 0; r < c->n_res; r++)
        if (c->res[r].class_id < 0) return true;
    return c->n_res < RESERVATIONS;
}

static int32_t reservation_slot(avs_coord *c)
{
    for (int32_t r = 0; r < c->n_res; r++)
        if (c->res[r].class_id < 0) return r;
    if (c->n_res == RESERVATIONS) return -1;
    c->res[c->n_res] = (reservation){.class_id = -1};
    return c->n_res++;
}

/* When the node, as its trials come to their ends, could hold n ranks of the class. */
static int64_t ready_time(const avs_coord *c, const node *a, const job_class *k, int32_t n)
{
    node later = *a;
    int64_t at = c->now;
    part *seen = NULL;
    for (int32_t done = 0; node_fit(&later, k, n, NULL) < n; done++) {
        part *next = NULL;
        if (done >= a->n_parts) return INT64_MAX;
        for (part *p = a->parts; p; p = p->next) { /* the next in the order of (due, address) */
            int64_t due = c->live[p->slot]->due;
            bool past =
                !seen || due > c->live[seen->slot]->due || (due == c->live[seen->slot]->due && p > seen);
            if (past &&
                (!next || due < c->live[next->slot]->due || (due == c->live[next->slot]->due && p < next)))
                next = p;
        }
        if (!next) return INT64_MAX;
        const live *l = c->live[next->slot];
        seen = next;
        if (l->due == INT64_MAX) at = INT64_MAX;
        if (at != INT64_MAX && l->due > at) at = l->due;
        node_return(&later, &c->cls[l->class_id], l->rank + next->first_rank, next->n_ranks);
    }
    return at;
}

typedef struct {
    int32_t id, n;
    int64_t at;
} candidate;

static int by_time(const void *x, const void *y)
{
    const candidate *a = x, *b = y;
    return a->at != b->at ? (a->at < b->at ? -1 : 1) : (a->id > b->id) - (a->id < b->id);
}

/* The freest nodes that could hold ranks of the class at all. */
static int32_t gather(const avs_coord *c, const job_class *k, candidate *out, int32_t cap)
{
    int32_t which = k->in.gpus > 0 ? BY_GPUS : BY_CORES, n = 0;
    const node_list *l = &c->list[which];
    int32_t want = k->in.pack == AVS_PACK_SPREAD ? 1 : k->in.ranks;
    for (int32_t b = node_bucket_down(l, CORE_BUCKETS); b >= 0 && n < cap; b = node_bucket_down(l, b - 1))
        for (int32_t id = l->head[b]; id >= 0 && n < cap; id = c->node[id].next[which]) {
            int32_t could = node_could(&c->node[id], k, want);
            if (could == 0 || (one_node(k) && could < want)) continue;
            out[n++] = (candidate){id, could, ready_time(c, &c->node[id], k, could)};
        }
    return n;
}

static void reserve(avs_coord *c, int32_t class_id)
{
    job_class *k = &c->cls[class_id];
    int32_t usable = c->n_usable - c->n_suspect;
    int32_t all = usable / 32 > 1 ? usable / 32 : 1;
    if (c->n_res_nodes >= all || !reservation_free(c)) return;
    int32_t cap = CANDIDATES + (one_node(k) ? 0 : 2 * k->in.ranks), need = 0, total = 0;
    candidate *list = avs_xrealloc(NULL, sizeof *list * (size_t)cap);
    if (!list) {
        c->oom = true;
        return;
    }
    int32_t n = gather(c, k, list, cap);
    qsort(list, (size_t)n, sizeof *list, by_time);
    while (need < n && total < k->in.ranks) total += list[need++].n;
    int32_t r = total >= k->in.ranks ? reservation_slot(c) : -1;
    int32_t *nodes = r >= 0 ? avs_xrealloc(NULL, sizeof *nodes * (size_t)need) : NULL;
    if (r >= 0 && !nodes) c->oom = true;
    if (nodes) {
        reservation *x = &c->res[r]; /* it may still be in the list of dirty ones */
        x->class_id = class_id;
        x->n = need;
        x->node = nodes;
        x->at = list[need - 1].at;
        k->n_reserved++;
        c->reserved_freed = true;
        c->n_res_nodes += need;
        for (int32_t j = 0; j < need; j++) {
            nodes[j] = list[j].id;
            c->node[nodes[j]].reserved = r;
            node_file(c, nodes[j]);
        }
    }
    free(list);
}

/* Nodes that wait for a gang and of which something was released. */
static void serve_reservations(avs_coord *c)
{
    while (c->n_dirty > 0) {
        int32_t r = c->dirty[--c->n_dirty];
        reservation *x = &c->res[r];
        avs_queue_entry e;
        x->dirty = false;
        if (x->class_id < 0) continue;
        int32_t k = x->class_id;
        if (!first_of(c, k, &e)) {
            coord_unreserve(c, r);
        } else if ((c->cfg.max_parallel == 0 || c->n_live < c->cfg.max_parallel) &&
                   plan_reserved(c, &c->cls[k], x)) {
            start_first(c, k, e.item);
            coord_unreserve(c, r);
        }
    }
}

/* ---- a round ---- */

/* Once, when the agents are there: a trial that no node can ever hold ends the run before anything starts. */
static bool fits_some(const avs_coord *c, const job_class *k)
{
    int64_t total = 0;
    for (int32_t id = 0; id < c->n_node; id++) {
        if (!c->node[id].up) continue;
        int32_t n = node_could(&c->node[id], k, k->in.pack == AVS_PACK_SPREAD ? 1 : k->in.ranks);
        if (one_node(k) && n < k->in.ranks) continue;
        total += n;
        if (total >= k->in.ranks) return true;
    }
    return false;
}

static bool all_fit(avs_coord *c)
{
    int32_t most_cores = 0, most_gpus = 0;
    for (int32_t id = 0; id < c->n_node; id++) {
        const node *a = &c->node[id];
        if (a->up && a->info.cores > most_cores) most_cores = a->info.cores;
        if (a->up && a->info.n_gpus > most_gpus) most_gpus = a->info.n_gpus;
    }
    for (int32_t k = 0; k < c->n_cls; k++)
        if (most_gpus == 0 && c->cls[k].in.host_ok) { /* no GPU anywhere: its ranks run on the host */
            c->cls[k].in.gpus = 0;
            c->cls[k].models = UINT64_MAX;
        }
    for (int32_t i = 0; i < c->n; i++) {
        job_class *k = &c->cls[c->t[i].class_id];
        avs_job_state s = (avs_job_state)c->t[i].state;
        if (k->seen_to_fit || (s != AVS_JOB_PENDING && s != AVS_JOB_WAITING)) continue;
        k->seen_to_fit = true;
        if (fits_some(c, k)) continue;
        avs_action *a = coord_emit(c, AVS_ACT_TOO_BIG);
        a->trial = i;
        a->cores = one_node(k) ? most_cores : (int32_t)c->cores;
        a->gpus = one_node(k) ? most_gpus : (int32_t)c->gpus;
        c->forced_code = 6;
        c->draining = true;
        return false;
    }
    return true;
}

static bool over_in_time(const avs_coord *c, const job_class *k)
{
    int64_t length = k->in.expect_ms > 0 ? k->in.expect_ms : k->in.limit_ms;
    return c->cfg.end_ms == 0 || k->in.resumes || c->now + length + k->in.grace_ms <= c->cfg.end_ms;
}

void coord_place(avs_coord *c)
{
    if (c->draining || c->finished) return;
    if (!c->placing) {
        if (c->n_up == 0 || (c->n_up + c->n_down < c->cfg.agents_expected && c->now < c->hold_until)) return;
        if (!all_fit(c)) return;
        c->placing = true;
    }
    serve_reservations(c);
    if (c->freed) unpark(c);
    avs_queue_entry o, e;
    for (int32_t tried = 0; !c->oom && (tried < SCAN_AHEAD || c->n_live == 0);) {
        if (c->cfg.max_parallel > 0 && c->n_live >= c->cfg.max_parallel) break;
        if (!avs_queue_pop(&c->order, &o)) break;
        job_class *k = &c->cls[o.item];
        if (k->filed != o.key || k->parked) continue;
        k->filed = INT64_MAX;
        if (!first_of(c, o.item, &e) || e.key != o.key) {
            coord_file_class(c, o.item);
            continue;
        }
        const trial *t = &c->t[e.item];
        int32_t avoid = t->faults + t->free_retries > 0 ? t->last_agent : -1;
        if (over_in_time(c, k) && (plan_any(c, k, avoid) || (c->reserved_freed && plan_backfill(c, k)))) {
            start_first(c, o.item, e.item);
            coord_file_class(c, o.item);
            continue;
        }
        tried++;
        park(c, o.item);
        bool others = c->order.n > 0 || c->n_parked > 1;                    /* that could overtake */
        if (tried == 1 && others && over_in_time(c, k)) reserve(c, o.item); /* the head of the queue alone */
    }
    if (c->order.n == 0) c->reserved_freed = false; /* every class has had its look at reserved nodes */
}
