/* The coordinator under a hundred thousand random schedules: a simulated clock, gangs on several nodes, agents that die
 * and come back, messages that are lost, late, doubled or in another order, users who retry, cancel, hold and prioritise,
 * coordinators that die between commit and ACK. The world below keeps its own books and checks every action. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/rng.h"
#include "orchestrator/coordinator.h"

enum {
    TRIALS = 12,
    AGENTS = 4,
    BAG = 8192,
    SEEN = 4096,
    SPOOL = 512,
    MAX_STEPS = 40000,
    ACTIONS = 256,
    HELD = 8
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SCHEDULES = 15000 }; /* the optimised build runs them all */
#else
enum { SCHEDULES = 100000 };
#endif

typedef struct {
    int agent; /* destination or source */
    bool to_agent;
    bool beat; /* to_agent: the coordinator's time is ev.heard_ms; else `held` goes with ev */
    avs_action act;
    avs_event ev;
    uint64_t held[HELD]; /* attempt << 32 | epoch << 2 | ready << 1 | going */
} message;

/* The ranks of an attempt on an agent. */
typedef struct {
    uint64_t attempt;
    uint32_t epoch;
    int trial;
    bool follower, going, ready;
    int64_t end_ms;
    avs_outcome outcome;
    uint64_t text;
} running;

typedef struct {
    bool up;
    avs_node_info info;
    running run[64];
    int n_run;
    uint64_t seen[SEEN];
    int n_seen;
    int64_t heard_ms; /* the coordinator's last beat that it heard */
} sim_agent;

/* What the coordinator has given to a live attempt on one agent. */
typedef struct {
    bool open;
    int cores;
    uint32_t gpus;
    int64_t since; /* the START, or the last GO */
} holding;

typedef struct {
    uint64_t seed;
    avs_rng rng;
    int64_t now, beat_ms;
    int n, n_agents, lossy;
    avs_coord_class cls[TRIALS]; /* every trial is of a class of its own */
    avs_coord_trial trial[TRIALS];
    int32_t needs[TRIALS][2];
    /* the database */
    int db_done[TRIALS];
    uint32_t db_epoch[TRIALS];
    bool db_failed[TRIALS], db_cancelled[TRIALS];
    uint64_t next_attempt;
    /* what the coordinator believes */
    uint64_t live[TRIALS], named;
    holding held[TRIALS][AGENTS];
    int faults[TRIALS], starts[TRIALS];
    message bag[BAG];
    int n_bag;
    sim_agent agent[AGENTS];
    avs_event spool[SPOOL]; /* DONE reports without ACK: survive everything */
    int n_spool;
    avs_coord *c;
    int code; /* -1: not finished */
    bool faulty;
} world;

#define CHECK(w, cond)                                                                                       \
    do {                                                                                                     \
        if (!(cond)) fail_msg("seed %llu: %s", (unsigned long long)(w)->seed, #cond);                        \
    } while (0)

static int below(world *w, int n)
{
    return (int)avs_rng_range(&w->rng, 0, n - 1);
}

static bool chance(world *w, int percent)
{
    return below(w, 100) < percent;
}

static void post(world *w, message m)
{
    int copies = w->faulty && chance(w, 15) ? 2 : 1;
    if (w->lossy && chance(w, w->lossy)) copies = 0;
    for (int i = 0; i < copies && w->n_bag < BAG; i++) w->bag[w->n_bag++] = m;
}

static void step(world *w, avs_event ev);

static void let_go(world *w, int trial)
{
    memset(w->held[trial], 0, sizeof w->held[trial]);
    w->live[trial] = 0;
}

/* Nothing is given twice, nothing is given that is not there, and exclusive trials are alone. */
static void check_room(world *w, int id)
{
    int cores = 0, exclusive = 0, n = 0;
    uint32_t gpus = 0;
    for (int i = 0; i < w->n; i++) {
        const holding *h = &w->held[i][id];
        if (!h->open) continue;
        CHECK(w, (gpus & h->gpus) == 0);
        gpus |= h->gpus;
        cores += h->cores;
        n++;
        exclusive += w->cls[i].exclusive == AVS_EXCL_NODE || w->cls[i].cores == 0;
    }
    CHECK(w, cores <= w->agent[id].info.cores);
    CHECK(w, gpus < 1u << w->agent[id].info.n_gpus);
    CHECK(w, exclusive == 0 || n == 1);
}

static void on_start(world *w, const avs_action *a)
{
    const avs_coord_class *k = &w->cls[a->trial];
    if (a->first_rank == 0) {
        CHECK(w, w->live[a->trial] == 0);           /* never two live attempts of one trial */
        CHECK(w, a->epoch > w->db_epoch[a->trial]); /* every attempt has a new epoch        */
        CHECK(w, w->db_done[a->trial] == 0 && !w->db_cancelled[a->trial]);
        for (int i = 0; i < w->trial[a->trial].n_need; i++)
            CHECK(w, w->db_done[w->trial[a->trial].need[i]] == 1);
        CHECK(w, ++w->starts[a->trial] <= k->retries + 1 + AVS_COORD_FREE_RETRIES + 1 + AVS_COORD_REPEATS);
        w->db_epoch[a->trial] = a->epoch; /* durable before START goes out */
        w->live[a->trial] = w->named = w->next_attempt++;
        avs_coord_name(w->c, a->attempt, w->named);
    }
    CHECK(w, w->live[a->trial] == w->named);
    CHECK(w, a->ranks == (k->ranks > 1 ? k->ranks : 1));
    if (k->pack == AVS_PACK_NODE || k->pack == AVS_PACK_NUMA) CHECK(w, a->n_ranks == a->ranks);
    if (k->pack == AVS_PACK_SPREAD && a->ranks > 1) CHECK(w, a->n_ranks == 1);
    holding *h = &w->held[a->trial][a->agent];
    CHECK(w, !h->open);
    *h = (holding){.open = true, .since = w->now};
    for (int r = 0; r < a->n_ranks; r++) {
        CHECK(w, (h->gpus & a->place[r].gpus) == 0);
        CHECK(w, __builtin_popcount(a->place[r].gpus) == k->gpus);
        h->gpus |= a->place[r].gpus;
        h->cores += a->place[r].cores;
    }
    check_room(w, a->agent);
    avs_action named = *a;
    named.attempt = w->named;
    post(w, (message){.agent = a->agent, .to_agent = true, .act = named});
}

static void on_commit(world *w, const avs_action *a, avs_event *later, int *n_later)
{
    CHECK(w, w->db_done[a->trial] == 0); /* exactly once, over all coordinators */
    w->db_done[a->trial]++;
    if (w->live[a->trial] == a->attempt) let_go(w, a->trial);
    later[(*n_later)++] = (avs_event){.type = AVS_EV_COMMITTED, .trial = a->trial, .attempt = a->attempt};
}

static void on_record(world *w, const avs_action *a)
{
    CHECK(w, a->outcome != AVS_OUT_DONE);
    if (w->live[a->trial] == a->attempt) let_go(w, a->trial);
    if (a->outcome == AVS_OUT_ERROR || a->outcome == AVS_OUT_CRASH || a->outcome == AVS_OUT_HANG)
        CHECK(w, ++w->faults[a->trial] <= w->cls[a->trial].retries + 1); /* bounded */
    if (a->state == AVS_JOB_FAILED) w->db_failed[a->trial] = true;
}

static void on_ack(world *w, const avs_action *a)
{
    for (int i = 0; i < w->n_spool; i++) {
        const avs_event *s = &w->spool[i];
        if (s->attempt != a->attempt || s->epoch != a->epoch || s->agent != a->agent) continue;
        /* A result may be thrown away only when its trial is settled without it, or another rank ended badly. */
        CHECK(w, w->cls[s->trial].ranks > 1 || w->db_done[s->trial] == 1 || w->db_failed[s->trial] ||
                     s->epoch > w->db_epoch[s->trial] || avs_coord_state(w->c, s->trial) >= AVS_JOB_FAILED);
    }
    post(w, (message){.agent = a->agent, .to_agent = true, .act = *a});
}

static void on_state(world *w, const avs_action *a)
{
    if (a->state == AVS_JOB_WAITING || a->state == AVS_JOB_RUNNING) /* tried again */
        w->db_failed[a->trial] = w->db_cancelled[a->trial] = false;
    if (a->state == AVS_JOB_CANCELLED) w->db_cancelled[a->trial] = true;
}

static void carry_out(world *w, const avs_action *acts, int32_t n)
{
    avs_event later[TRIALS * 2];
    int n_later = 0;
    for (int32_t i = 0; i < n; i++) {
        const avs_action *a = &acts[i];
        switch (a->type) {
        case AVS_ACT_START:
            on_start(w, a);
            break;
        case AVS_ACT_COMMIT:
            on_commit(w, a, later, &n_later);
            break;
        case AVS_ACT_RECORD:
            on_record(w, a);
            break;
        case AVS_ACT_ACK:
            on_ack(w, a);
            break;
        case AVS_ACT_STATE:
            on_state(w, a);
            break;
        case AVS_ACT_LOST:
            for (int t = 0; t < w->n; t++) w->held[t][a->agent].open = false;
            break;
        case AVS_ACT_GO:
            w->held[a->trial][a->agent].since = w->now;
            post(w, (message){.agent = a->agent, .to_agent = true, .act = *a});
            break;
        case AVS_ACT_STOP:
        case AVS_ACT_KILL:
        case AVS_ACT_BYE:
            post(w, (message){.agent = a->agent, .to_agent = true, .act = *a});
            break;
        case AVS_ACT_FINISH:
            CHECK(w, w->code == -1);
            CHECK(w, i == n - 1);
            w->code = a->code;
            break;
        default:
            break;
        }
    }
    for (int i = 0; i < n_later; i++) step(w, later[i]);
}

/* What an agent does not list although it heard of it is not there any more. */
static void note_beat(world *w, const avs_event *ev)
{
    for (int i = 0; i < w->n; i++) {
        holding *h = &w->held[i][ev->agent];
        bool listed = false;
        for (int k = 0; k < ev->n_held; k++)
            listed |= ev->held[k].attempt == w->live[i] && ev->held[k].epoch == w->db_epoch[i];
        if (h->open && !listed && ev->heard_ms > h->since) h->open = false;
    }
}

static void step(world *w, avs_event ev)
{
    const avs_action *acts;
    int32_t n;
    avs_action copy[ACTIONS];
    ev.now_ms = w->now;
    if (ev.type == AVS_EV_BEAT) note_beat(w, &ev);
    if (ev.type == AVS_EV_ENDED && w->live[ev.trial] == ev.attempt && w->db_epoch[ev.trial] == ev.epoch)
        w->held[ev.trial][ev.agent].open = false;
    CHECK(w, avs_coord_step(w->c, &ev, &acts, &n, NULL) == AVS_OK);
    CHECK(w, n <= ACTIONS);
    if (n > 0) memcpy(copy, acts, sizeof *acts * (size_t)n); /* a COMMITTED inside reuses the array */
    carry_out(w, copy, n);
}

/* ---- agents ---- */

static void agent_starts(world *w, int id, const avs_action *a)
{
    sim_agent *g = &w->agent[id];
    for (int i = 0; i < g->n_seen; i++)
        if (g->seen[i] == a->attempt) return;
    CHECK(w, g->n_seen < SEEN && g->n_run < 64);
    g->seen[g->n_seen++] = a->attempt;
    running r = {.attempt = a->attempt,
                 .epoch = a->epoch,
                 .trial = a->trial,
                 .follower = a->first_rank > 0,
                 .going = a->ranks == 1,
                 .end_ms = w->now + below(w, 4000)};
    int dice = below(w, 100);
    if (w->faulty && dice < 30) {
        static const avs_outcome bad[] = {AVS_OUT_ERROR, AVS_OUT_CRASH,   AVS_OUT_HANG,     AVS_OUT_TIMEOUT,
                                          AVS_OUT_INFRA, AVS_OUT_STOPPED, AVS_OUT_DISTURBED};
        r.outcome = bad[dice % 7];
        r.text = (uint64_t)(1 + dice % 2);
    }
    g->run[g->n_run++] = r;
    bool never = w->faulty && chance(w, 3); /* a gang that does not come up */
    g->run[g->n_run - 1].ready = a->ranks > 1 && !never;
    if (a->ranks > 1 && !never)
        post(w,
             (message){.agent = id,
                       .ev = {.type = AVS_EV_READY, .agent = id, .attempt = a->attempt, .epoch = a->epoch}});
}

static void agent_ends(world *w, int id, int k, avs_outcome o)
{
    sim_agent *g = &w->agent[id];
    running r = g->run[k];
    g->run[k] = g->run[--g->n_run];
    avs_event ev = {.type = AVS_EV_ENDED,
                    .agent = id,
                    .trial = r.trial,
                    .attempt = r.attempt,
                    .epoch = r.epoch,
                    .outcome = o,
                    .follower = r.follower,
                    .text_hash = r.text};
    if (o == AVS_OUT_DONE && !r.follower && w->n_spool < SPOOL) w->spool[w->n_spool++] = ev;
    post(w, (message){.agent = id, .ev = ev});
}

static void agent_takes(world *w, int id, const avs_action *a)
{
    sim_agent *g = &w->agent[id];
    if (!g->up) return;
    switch (a->type) {
    case AVS_ACT_START:
        agent_starts(w, id, a);
        break;
    case AVS_ACT_GO:
        for (int k = 0; k < g->n_run; k++)
            if (g->run[k].attempt == a->attempt && !g->run[k].going) {
                g->run[k].going = true;
                g->run[k].end_ms = w->now + below(w, 4000);
            }
        break;
    case AVS_ACT_STOP:
    case AVS_ACT_KILL:
        for (int k = g->n_run - 1; k >= 0; k--)
            if (g->run[k].attempt == a->attempt)
                agent_ends(w, id, k, a->type == AVS_ACT_KILL ? AVS_OUT_KILLED : AVS_OUT_STOPPED);
        break;
    case AVS_ACT_ACK:
        for (int i = w->n_spool - 1; i >= 0; i--)
            if (w->spool[i].attempt == a->attempt && w->spool[i].epoch == a->epoch)
                w->spool[i] = w->spool[--w->n_spool];
        break;
    case AVS_ACT_BYE:
        g->n_run = 0;
        g->up = false;
        break;
    default:
        break;
    }
}

static void agent_dies(world *w, int id)
{
    w->agent[id].up = false;
    w->agent[id].n_run = 0;
    int lossy = w->lossy;
    w->lossy = 0; /* a closed connection is always seen */
    post(w, (message){.agent = id, .ev = {.type = AVS_EV_AGENT_DOWN, .agent = id}});
    w->lossy = lossy;
}

/* ---- coordinator ---- */

static void begin(world *w)
{
    avs_coord_cfg cfg = avs_coord_cfg_default();
    cfg.agents_expected = w->n_agents;
    cfg.seed = w->seed;
    for (int i = 0; i < w->n; i++) {
        w->trial[i].done = w->db_done[i] > 0;
        w->trial[i].failed = w->db_failed[i];
        w->trial[i].cancelled = w->db_cancelled[i] && !w->db_failed[i];
        w->trial[i].epoch = w->db_epoch[i];
        let_go(w, i);
        w->faults[i] = w->starts[i] = 0;
    }
    CHECK(w, avs_coord_new(&w->c, &cfg, w->cls, w->n, w->trial, w->n, NULL) == AVS_OK);
    w->n_bag = 0;
    w->code = -1;
    for (int i = 0; i < w->n_spool; i++) { /* the coordinator's own agent offers what is left */
        avs_event ev = w->spool[i];
        ev.agent = 0;
        step(w, ev);
    }
    for (int id = 0; id < w->n_agents; id++) {
        w->agent[id].up = true;
        w->agent[id].n_run = 0;
        w->agent[id].heard_ms = 0;
        step(w, (avs_event){.type = AVS_EV_AGENT_UP, .agent = id, .node = &w->agent[id].info});
    }
}

static void coordinator_dies(world *w)
{
    avs_coord_free(w->c);
    for (int id = 0; id < w->n_agents; id++) w->agent[id].up = false;
    begin(w);
}

static void deliver(world *w)
{
    /* Without faults in order; with faults any message may be next. */
    int k = w->faulty ? below(w, w->n_bag) : 0;
    message m = w->bag[k];
    memmove(w->bag + k, w->bag + k + 1, sizeof m * (size_t)(w->n_bag - k - 1));
    w->n_bag--;
    if (m.to_agent && m.beat) {
        if (w->agent[m.agent].heard_ms < m.ev.heard_ms) w->agent[m.agent].heard_ms = m.ev.heard_ms;
    } else if (m.to_agent) {
        agent_takes(w, m.agent, &m.act);
    } else {
        avs_held held[HELD];
        for (int i = 0; i < m.ev.n_held; i++)
            held[i] = (avs_held){.attempt = m.held[i] >> 32,
                                 .epoch = (uint32_t)m.held[i] >> 2,
                                 .ready = (m.held[i] & 2) != 0,
                                 .going = (m.held[i] & 1) != 0};
        m.ev.held = held;
        step(w, m.ev);
    }
}

/* Both sides of the beat, every five seconds; time may run ahead of delivery, so not while much is under way. */
static void post_beats(world *w)
{
    if (w->now < w->beat_ms || w->n_bag > 2 * AGENTS) return;
    w->beat_ms = w->now + 5000;
    for (int id = 0; id < w->n_agents; id++) {
        const sim_agent *g = &w->agent[id];
        if (!g->up || g->n_run > HELD) continue;
        message m = {.agent = id,
                     .beat = true,
                     .ev = {.type = AVS_EV_BEAT, .agent = id, .heard_ms = g->heard_ms, .n_held = g->n_run}};
        for (int k = 0; k < g->n_run; k++) {
            const running *r = &g->run[k];
            m.held[k] = r->attempt << 32 | (uint64_t)r->epoch << 2 | (uint64_t)r->ready << 1 | r->going;
        }
        post(w, m);
        post(w, (message){.agent = id, .to_agent = true, .beat = true, .ev = {.heard_ms = w->now}});
    }
}

static void pass_time(world *w)
{
    int64_t next = avs_coord_next_ms(w->c);
    for (int id = 0; id < w->n_agents; id++)
        for (int k = 0; k < w->agent[id].n_run; k++)
            if (w->agent[id].run[k].going && w->agent[id].run[k].end_ms < next)
                next = w->agent[id].run[k].end_ms;
    if (w->now + 5000 < next) next = w->now + 5000; /* beats */
    if (next > w->now) w->now = next;
    post_beats(w);
    for (int id = 0; id < w->n_agents; id++) {
        for (int k = w->agent[id].n_run - 1; k >= 0; k--)
            if (w->agent[id].run[k].going && w->agent[id].run[k].end_ms <= w->now)
                agent_ends(w, id, k, w->agent[id].run[k].outcome);
        if (w->agent[id].up) step(w, (avs_event){.type = AVS_EV_SEEN, .agent = id});
        if (w->code >= 0) return;
    }
    step(w, (avs_event){.type = AVS_EV_TICK});
}

static void user_asks(world *w)
{
    static const avs_event_type verb[] = {AVS_EV_RETRY, AVS_EV_CANCEL, AVS_EV_HOLD, AVS_EV_UNHOLD,
                                          AVS_EV_PRIORITY};
    avs_event ev = {.type = verb[below(w, 5)], .trial = below(w, w->n), .priority = (float)below(w, 3)};
    avs_job_state s = avs_coord_state(w->c, ev.trial);
    if (ev.type == AVS_EV_RETRY && (s == AVS_JOB_FAILED || s == AVS_JOB_CANCELLED))
        w->faults[ev.trial] = w->starts[ev.trial] = 0;
    step(w, ev);
}

static void world_init(world *w, uint64_t seed, bool faulty)
{
    *w = (world){.seed = seed, .rng = avs_rng_seed(seed), .next_attempt = 1, .faulty = faulty};
    w->n = 1 + below(w, TRIALS);
    w->n_agents = 1 + below(w, AGENTS);
    int most = 0;
    for (int id = 0; id < w->n_agents; id++) {
        avs_node_info *x = &w->agent[id].info;
        *x = (avs_node_info){.cores = 2 + below(w, 3), .n_gpus = below(w, 4), .n_numa = 1 + below(w, 2)};
        x->numa_cores[0] = x->n_numa > 1 ? x->cores / 2 : x->cores;
        x->numa_cores[1] = x->cores - x->numa_cores[0];
        for (int g = 0; g < x->n_gpus; g++) x->gpu[g].numa = g % x->n_numa;
        if (x->n_gpus > most) most = x->n_gpus;
    }
    for (int i = 0; i < w->n; i++) {
        avs_coord_class *k = &w->cls[i];
        *k = (avs_coord_class){.cores = below(w, 3),
                               .gpus = most > 0 ? below(w, 2) : 0,
                               .exclusive = chance(w, 15) ? AVS_EXCL_NODE : AVS_EXCL_NONE,
                               .retries = below(w, 3),
                               .limit_ms = chance(w, 50) ? 1000 * (1 + below(w, 6)) : 0,
                               .grace_ms = 1000};
        if (chance(w, 40)) { /* a gang that fits on the smallest node, or one rank a node */
            k->ranks = 2;
            k->gpus = 0;
            if (k->cores > 1) k->cores = 1;
            k->pack = w->n_agents > 1 && chance(w, 30) ? AVS_PACK_SPREAD
                      : chance(w, 50)                  ? AVS_PACK_NODE
                                                       : AVS_PACK_ANY;
        }
        w->trial[i] = (avs_coord_trial){.class_id = i, .need = w->needs[i]};
        if (i > 2 && chance(w, 30)) w->needs[i][w->trial[i].n_need++] = below(w, i);
    }
}

typedef struct {
    int restarts;
    bool drain, users, lossy;
} hazards;

static int run_schedule(uint64_t seed, bool faulty, hazards h)
{
    static world w;
    world_init(&w, seed, faulty);
    begin(&w);
    int deaths = faulty ? below(&w, 4) : 0, steps = 0;
    w.lossy = h.lossy ? 10 : 0;
    for (; w.code < 0; steps++) {
        CHECK(&w, steps < MAX_STEPS); /* it ends */
        if (deaths > 0 && chance(&w, 3)) {
            int id = below(&w, w.n_agents);
            if (w.agent[id].up) agent_dies(&w, id);
            deaths--;
        } else if (h.restarts > 0 && chance(&w, 3)) {
            coordinator_dies(&w);
            h.restarts--;
        } else if (h.drain && chance(&w, 1)) {
            step(&w, (avs_event){.type = chance(&w, 50) ? AVS_EV_DRAIN : AVS_EV_KILL});
        } else if (h.users && chance(&w, 4)) {
            user_asks(&w);
        } else if (w.n_bag > 0 && chance(&w, 80)) {
            deliver(&w);
        } else {
            pass_time(&w);
        }
    }
    int failed = 0, left = 0;
    for (int i = 0; i < w.n; i++) {
        avs_job_state s = avs_coord_state(w.c, i);
        CHECK(&w, (s == AVS_JOB_DONE) == (w.db_done[i] == 1));
        CHECK(&w, s != AVS_JOB_RUNNING && s != AVS_JOB_COMMITTING);
        failed += s == AVS_JOB_FAILED || s == AVS_JOB_BLOCKED || s == AVS_JOB_CANCELLED;
        left += s == AVS_JOB_PENDING || s == AVS_JOB_WAITING || s == AVS_JOB_HELD;
    }
    if (w.code == 0) CHECK(&w, failed == 0 && left == 0);
    if (w.code == 1) CHECK(&w, failed > 0 && left == 0);
    if (w.code == 75 || w.code == 130) CHECK(&w, left > 0);
    avs_coord_counts count = avs_coord_count(w.c);
    CHECK(&w, count.cores_busy == 0 && count.gpus_busy == 0);
    avs_coord_free(w.c);
    return w.code;
}

static void every_trial_is_done_once_when_nothing_goes_wrong(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 1000; seed++)
        assert_in_range(run_schedule(seed, false, (hazards){0}), 0, 6);
}

static void every_trial_is_done_once_when_messages_are_lost(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++)
        assert_int_equal(run_schedule(seed, false, (hazards){.lossy = true}), 0);
}

static void every_trial_is_done_once_when_coordinators_die(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++)
        assert_int_equal(run_schedule(seed, false, (hazards){.restarts = 3}), 0);
}

static void random_schedules_keep_the_promises(void **state)
{
    (void)state;
    int codes[3] = {0};
    for (uint64_t seed = 1; seed <= SCHEDULES; seed++) {
        hazards h = {.restarts = (int)(seed % 3),
                     .drain = seed % 4 == 0,
                     .users = seed % 5 == 0,
                     .lossy = seed % 7 == 0};
        int code = run_schedule(seed, true, h);
        codes[code == 0 ? 0 : code == 1 ? 1 : 2]++;
    }
    /* The schedules reach every kind of end: all done, some failed, work left. */
    for (int k = 0; k < 3; k++) assert_true(codes[k] > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_trial_is_done_once_when_nothing_goes_wrong),
        cmocka_unit_test(every_trial_is_done_once_when_messages_are_lost),
        cmocka_unit_test(every_trial_is_done_once_when_coordinators_die),
        cmocka_unit_test(random_schedules_keep_the_promises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
