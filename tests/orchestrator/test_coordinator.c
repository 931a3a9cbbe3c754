/* The coordinator under ten thousand random schedules: a simulated clock, agents that die and come back, messages
 * that arrive late, twice or in another order, coordinators that die between commit and ACK. The world below keeps
 * its own books and checks every action against them. */
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

enum { TRIALS = 12, AGENTS = 4, BAG = 4096, SEEN = 1024, SPOOL = 256, MAX_STEPS = 20000 };

typedef struct {
    int agent; /* destination or source */
    bool to_agent;
    avs_action act;
    avs_event ev;
} message;

typedef struct {
    uint64_t attempt;
    uint32_t epoch;
    int trial;
    int64_t end_ms; /* -1: hangs until it is killed */
    avs_outcome outcome;
    uint64_t text;
} running;

typedef struct {
    bool up;
    int cores;
    running run[SEEN];
    int n_run;
    uint64_t seen[SEEN];
    int n_seen;
} sim_agent;

typedef struct {
    uint64_t seed;
    avs_rng rng;
    int64_t now;
    int n, n_agents;
    avs_coord_class cls[TRIALS]; /* every trial is of a class of its own */
    avs_coord_trial trial[TRIALS];
    int32_t needs[TRIALS][2];
    /* the database */
    int db_done[TRIALS];
    uint32_t db_epoch[TRIALS];
    bool db_failed[TRIALS];
    uint64_t next_attempt;
    /* what the coordinator believes */
    uint64_t live[TRIALS];
    int live_agent[TRIALS], live_cores[TRIALS];
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
    for (int i = 0; i < copies && w->n_bag < BAG; i++) w->bag[w->n_bag++] = m;
}

static void step(world *w, avs_event ev);

static void on_start(world *w, const avs_action *a)
{
    CHECK(w, w->live[a->trial] == 0);           /* never two live attempts of one trial */
    CHECK(w, a->epoch > w->db_epoch[a->trial]); /* every attempt has a new epoch        */
    CHECK(w, w->db_done[a->trial] == 0);
    CHECK(w, w->agent[a->agent].cores >= a->cores);
    for (int i = 0; i < w->trial[a->trial].n_need; i++) CHECK(w, w->db_done[w->trial[a->trial].need[i]] == 1);
    int busy = a->cores;
    for (int i = 0; i < w->n; i++) {
        if (w->live[i] == 0 || w->live_agent[i] != a->agent) continue;
        busy += w->live_cores[i];
        CHECK(w, w->cls[i].exclusive != AVS_EXCL_NODE && w->cls[a->trial].exclusive != AVS_EXCL_NODE);
    }
    CHECK(w, busy <= w->agent[a->agent].cores);
    CHECK(w, ++w->starts[a->trial] <= w->cls[a->trial].retries + 1 + AVS_COORD_FREE_RETRIES + 1);
    w->db_epoch[a->trial] = a->epoch; /* durable before START goes out */
    avs_action named = *a;
    named.attempt = w->next_attempt++;
    avs_coord_name(w->c, a->attempt, named.attempt);
    w->live[a->trial] = named.attempt;
    w->live_agent[a->trial] = a->agent;
    w->live_cores[a->trial] = a->cores;
    post(w, (message){.agent = a->agent, .to_agent = true, .act = named});
}

static void on_commit(world *w, const avs_action *a, avs_event *later, int *n_later)
{
    CHECK(w, w->db_done[a->trial] == 0); /* exactly once, over all coordinators */
    w->db_done[a->trial]++;
    if (w->live[a->trial] == a->attempt) w->live[a->trial] = 0;
    later[(*n_later)++] = (avs_event){.type = AVS_EV_COMMITTED, .trial = a->trial, .attempt = a->attempt};
}

static void on_record(world *w, const avs_action *a)
{
    CHECK(w, a->outcome != AVS_OUT_DONE);
    if (w->live[a->trial] == a->attempt) w->live[a->trial] = 0;
    if (a->outcome == AVS_OUT_ERROR || a->outcome == AVS_OUT_CRASH || a->outcome == AVS_OUT_HANG)
        CHECK(w, ++w->faults[a->trial] <= w->cls[a->trial].retries + 1); /* bounded */
    if (a->state == AVS_JOB_FAILED) w->db_failed[a->trial] = true;
}

static void on_ack(world *w, const avs_action *a)
{
    for (int i = 0; i < w->n_spool; i++) {
        const avs_event *s = &w->spool[i];
        if (s->attempt != a->attempt || s->epoch != a->epoch) continue;
        /* A result may be thrown away only when its trial is settled without it. */
        CHECK(w, w->db_done[s->trial] == 1 || w->db_failed[s->trial] || s->epoch > w->db_epoch[s->trial] ||
                     avs_coord_state(w->c, s->trial) >= AVS_JOB_FAILED);
    }
    post(w, (message){.agent = a->agent, .to_agent = true, .act = *a});
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

static void step(world *w, avs_event ev)
{
    const avs_action *acts;
    int32_t n;
    avs_action copy[64];
    ev.now_ms = w->now;
    CHECK(w, avs_coord_step(w->c, &ev, &acts, &n, NULL) == AVS_OK);
    CHECK(w, n <= 64);
    if (n > 0) memcpy(copy, acts, sizeof *acts * (size_t)n); /* a COMMITTED inside reuses the array */
    carry_out(w, copy, n);
}

/* ---- agents ---- */

static void agent_starts(world *w, sim_agent *g, const avs_action *a)
{
    for (int i = 0; i < g->n_seen; i++)
        if (g->seen[i] == a->attempt) return;
    g->seen[g->n_seen++ % SEEN] = a->attempt;
    running r = {a->attempt, a->epoch, a->trial, w->now + below(w, 4000), AVS_OUT_DONE, 0};
    int dice = below(w, 100);
    if (w->faulty && dice < 40) {
        static const avs_outcome bad[] = {AVS_OUT_ERROR, AVS_OUT_CRASH,   AVS_OUT_HANG, AVS_OUT_TIMEOUT,
                                          AVS_OUT_INFRA, AVS_OUT_STOPPED, AVS_OUT_ERROR};
        r.outcome = bad[dice % 7];
        r.text = (uint64_t)(1 + dice % 2);
    }
    g->run[g->n_run++] = r;
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
                    .text_hash = r.text};
    if (o == AVS_OUT_DONE && w->n_spool < SPOOL) w->spool[w->n_spool++] = ev;
    post(w, (message){.agent = id, .ev = ev});
}

static void agent_takes(world *w, int id, const avs_action *a)
{
    sim_agent *g = &w->agent[id];
    if (!g->up) return;
    switch (a->type) {
    case AVS_ACT_START:
        agent_starts(w, g, a);
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
    post(w, (message){.agent = id, .ev = {.type = AVS_EV_AGENT_DOWN, .agent = id}});
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
        w->trial[i].epoch = w->db_epoch[i];
        w->live[i] = 0;
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
        step(w, (avs_event){.type = AVS_EV_AGENT_UP, .agent = id, .cores = w->agent[id].cores});
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
    if (m.to_agent)
        agent_takes(w, m.agent, &m.act);
    else
        step(w, m.ev);
}

static void pass_time(world *w)
{
    int64_t next = avs_coord_next_ms(w->c);
    for (int id = 0; id < w->n_agents; id++)
        for (int k = 0; k < w->agent[id].n_run; k++)
            if (w->agent[id].run[k].end_ms < next) next = w->agent[id].run[k].end_ms;
    if (w->now + 5000 < next) next = w->now + 5000; /* beats */
    if (next > w->now) w->now = next;
    for (int id = 0; id < w->n_agents; id++) {
        for (int k = w->agent[id].n_run - 1; k >= 0; k--)
            if (w->agent[id].run[k].end_ms <= w->now) agent_ends(w, id, k, w->agent[id].run[k].outcome);
        if (w->agent[id].up) step(w, (avs_event){.type = AVS_EV_SEEN, .agent = id});
        if (w->code >= 0) return;
    }
    step(w, (avs_event){.type = AVS_EV_TICK});
}

static void world_init(world *w, uint64_t seed, bool faulty)
{
    *w = (world){.seed = seed, .rng = avs_rng_seed(seed), .next_attempt = 1, .faulty = faulty};
    w->n = 1 + below(w, TRIALS);
    w->n_agents = 1 + below(w, AGENTS);
    for (int id = 0; id < w->n_agents; id++) w->agent[id].cores = 2 + below(w, 3);
    for (int i = 0; i < w->n; i++) {
        w->cls[i] = (avs_coord_class){.cores = below(w, 3),
                                      .exclusive = chance(w, 15) ? AVS_EXCL_NODE : AVS_EXCL_NONE,
                                      .retries = below(w, 3),
                                      .grace_ms = 1000};
        w->trial[i] = (avs_coord_trial){.class_id = i, .need = w->needs[i]};
        if (i > 2 && chance(w, 30)) w->needs[i][w->trial[i].n_need++] = below(w, i);
    }
}

static int run_schedule(uint64_t seed, bool faulty, int kill_coordinator, bool may_drain)
{
    static world w;
    world_init(&w, seed, faulty);
    begin(&w);
    int deaths = faulty ? below(&w, 4) : 0, restarts = kill_coordinator, steps = 0;
    for (; w.code < 0; steps++) {
        CHECK(&w, steps < MAX_STEPS); /* it ends */
        if (deaths > 0 && chance(&w, 3)) {
            int id = below(&w, w.n_agents);
            if (w.agent[id].up) agent_dies(&w, id);
            deaths--;
        } else if (restarts > 0 && chance(&w, 3)) {
            coordinator_dies(&w);
            restarts--;
        } else if (may_drain && chance(&w, 1)) {
            step(&w, (avs_event){.type = chance(&w, 50) ? AVS_EV_DRAIN : AVS_EV_KILL});
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
        failed += s == AVS_JOB_FAILED || s == AVS_JOB_BLOCKED;
        left += s == AVS_JOB_PENDING || s == AVS_JOB_WAITING;
    }
    if (w.code == 0) CHECK(&w, failed == 0 && left == 0);
    if (w.code == 1) CHECK(&w, failed > 0 && left == 0);
    if (w.code == 75 || w.code == 130) CHECK(&w, left > 0);
    if (!faulty && !may_drain) CHECK(&w, w.code == 0);
    avs_coord_free(w.c);
    return w.code;
}

static void every_trial_is_done_once_when_nothing_goes_wrong(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 1000; seed++) assert_int_equal(run_schedule(seed, false, 0, false), 0);
}

static void every_trial_is_done_once_when_coordinators_die(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) assert_int_equal(run_schedule(seed, false, 3, false), 0);
}

static void random_schedules_keep_the_promises(void **state)
{
    (void)state;
    int codes[3] = {0};
    for (uint64_t seed = 1; seed <= 10000; seed++) {
        int code = run_schedule(seed, true, (int)(seed % 3), seed % 4 == 0);
        codes[code == 0 ? 0 : code == 1 ? 1 : 2]++;
    }
    /* The schedules reach all three kinds of end. */
    assert_true(codes[0] > 100 && codes[1] > 100 && codes[2] > 100);
}

/* ---- single decisions ---- */

typedef struct {
    avs_coord *c;
    const avs_action *act;
    int32_t n;
    int64_t now;
} bench;

static bench bench_full(avs_coord_cfg cfg, const avs_coord_class *k, const avs_coord_trial *t, int32_t n)
{
    bench b = {0};
    assert_int_equal(avs_coord_new(&b.c, &cfg, k, n, t, n, NULL), AVS_OK);
    return b;
}

/* One trial of each class. */
static bench bench_new(avs_coord_cfg cfg, const avs_coord_class *k, int32_t n)
{
    avs_coord_trial t[64] = {{0}};
    for (int32_t i = 0; i < n; i++) t[i].class_id = i;
    return bench_full(cfg, k, t, n);
}

static void tell(bench *b, avs_event ev)
{
    ev.now_ms = b->now;
    assert_int_equal(avs_coord_step(b->c, &ev, &b->act, &b->n, NULL), AVS_OK);
}

static const avs_action *first(const bench *b, avs_action_type type)
{
    for (int32_t i = 0; i < b->n; i++)
        if (b->act[i].type == type) return &b->act[i];
    return NULL;
}

static void end_attempt(bench *b, avs_action start, avs_outcome o, uint64_t text)
{
    tell(b, (avs_event){.type = AVS_EV_ENDED,
                        .agent = start.agent,
                        .trial = start.trial,
                        .attempt = start.attempt,
                        .epoch = start.epoch,
                        .outcome = o,
                        .text_hash = text});
}

static void an_identical_error_is_not_tried_a_third_time(void **state)
{
    (void)state;
    avs_coord_class t = {.retries = 5};
    bench b = bench_new(avs_coord_cfg_default(), &t, 1);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .cores = 2});
    avs_action s = *first(&b, AVS_ACT_START);
    end_attempt(&b, s, AVS_OUT_ERROR, 42);
    assert_null(first(&b, AVS_ACT_START)); /* back-off */
    b.now = avs_coord_next_ms(b.c);
    assert_true(b.now >= 5000 && b.now <= 6250);
    tell(&b, (avs_event){.type = AVS_EV_TICK});
    s = *first(&b, AVS_ACT_START);
    end_attempt(&b, s, AVS_OUT_ERROR, 42);
    assert_int_equal(first(&b, AVS_ACT_RECORD)->state, AVS_JOB_FAILED);
    assert_int_equal(first(&b, AVS_ACT_FINISH)->code, 1);
    avs_coord_free(b.c);
}

static void a_trial_that_no_node_can_hold_ends_the_run_before_it_begins(void **state)
{
    (void)state;
    avs_coord_class t[2] = {{.cores = 1}, {.cores = 8}};
    bench b = bench_new(avs_coord_cfg_default(), t, 2);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .cores = 4});
    assert_null(first(&b, AVS_ACT_START));
    assert_int_equal(first(&b, AVS_ACT_TOO_BIG)->trial, 1);
    assert_int_equal(first(&b, AVS_ACT_FINISH)->code, 6);
    avs_coord_free(b.c);
}

static void an_exclusive_trial_gets_an_empty_node_and_is_not_overtaken(void **state)
{
    (void)state;
    avs_coord_class t[3] = {{.cores = 1}, {.exclusive = AVS_EXCL_NODE}, {.cores = 1}};
    bench b = bench_new(avs_coord_cfg_default(), t, 3);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .cores = 4});
    avs_action s = *first(&b, AVS_ACT_START);
    assert_int_equal(s.trial, 0);
    assert_int_equal(avs_coord_count(b.c).running, 1);
    end_attempt(&b, s, AVS_OUT_DONE, 0);
    s = *first(&b, AVS_ACT_START);
    assert_int_equal(s.trial, 1);
    assert_int_equal(s.cores, 4);
    assert_int_equal(avs_coord_count(b.c).running, 1);
    avs_coord_free(b.c);
}

static void drain_stops_then_kills_and_leaves_the_rest_for_the_next_run(void **state)
{
    (void)state;
    avs_coord_class t[2] = {{.grace_ms = 1000}, {.grace_ms = 1000}};
    bench b = bench_new(avs_coord_cfg_default(), t, 2);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .cores = 1});
    avs_action s = *first(&b, AVS_ACT_START);
    tell(&b, (avs_event){.type = AVS_EV_DRAIN});
    assert_non_null(first(&b, AVS_ACT_STOP));
    b.now = 1000;
    tell(&b, (avs_event){.type = AVS_EV_TICK});
    assert_non_null(first(&b, AVS_ACT_KILL));
    end_attempt(&b, s, AVS_OUT_KILLED, 0);
    assert_int_equal(first(&b, AVS_ACT_FINISH)->code, 75);
    avs_coord_free(b.c);
}

static void a_late_result_of_a_lost_node_counts_and_stops_the_newer_attempt(void **state)
{
    (void)state;
    avs_coord_class t = {.cores = 1};
    avs_coord_cfg cfg = avs_coord_cfg_default();
    cfg.agents_expected = 2;
    bench b = bench_new(cfg, &t, 1);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .agent = 0, .cores = 1});
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .agent = 1, .cores = 1});
    avs_action s = *first(&b, AVS_ACT_START);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_DOWN, .agent = s.agent});
    avs_action again = *first(&b, AVS_ACT_START);
    assert_int_equal(again.epoch, s.epoch + 1);
    end_attempt(&b, s, AVS_OUT_DONE, 0);
    assert_int_equal(first(&b, AVS_ACT_COMMIT)->attempt, s.attempt);
    assert_int_equal(first(&b, AVS_ACT_KILL)->attempt, again.attempt);
    end_attempt(&b, again, AVS_OUT_KILLED, 0);
    tell(&b, (avs_event){.type = AVS_EV_COMMITTED, .trial = 0, .attempt = s.attempt});
    assert_int_equal(first(&b, AVS_ACT_FINISH)->code, 0);
    avs_coord_free(b.c);
}

static void three_infra_failures_quarantine_a_node(void **state)
{
    (void)state;
    avs_coord_class t[3] = {{.cores = 1}, {.cores = 1}, {.cores = 1}};
    bench b = bench_new(avs_coord_cfg_default(), t, 3);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .cores = 3});
    avs_action s[3];
    int k = 0;
    for (int32_t i = 0; i < b.n; i++)
        if (b.act[i].type == AVS_ACT_START) s[k++] = b.act[i];
    assert_int_equal(k, 3);
    for (int i = 0; i < 3; i++) end_attempt(&b, s[i], AVS_OUT_INFRA, 0);
    assert_non_null(first(&b, AVS_ACT_QUARANTINE));
    assert_int_equal(first(&b, AVS_ACT_FINISH)->code, 75);
    avs_coord_free(b.c);
}

static void a_database_that_fails_ends_the_run_and_keeps_results_in_the_spools(void **state)
{
    (void)state;
    avs_coord_class t[2] = {{.cores = 1}, {.cores = 1}};
    bench b = bench_new(avs_coord_cfg_default(), t, 2);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .cores = 2});
    avs_action s = *first(&b, AVS_ACT_START), u = b.act[b.n - 1];
    end_attempt(&b, s, AVS_OUT_DONE, 0);
    assert_non_null(first(&b, AVS_ACT_COMMIT));
    tell(&b, (avs_event){.type = AVS_EV_DB_FAILED});
    assert_non_null(first(&b, AVS_ACT_STOP));
    end_attempt(&b, u, AVS_OUT_DONE, 0);
    assert_null(first(&b, AVS_ACT_COMMIT));
    assert_null(first(&b, AVS_ACT_ACK));
    assert_int_equal(first(&b, AVS_ACT_FINISH)->code, 4);
    avs_coord_free(b.c);
}

static void a_failed_upstream_trial_blocks_what_needs_it(void **state)
{
    (void)state;
    static const int32_t zero = 0, one = 1;
    avs_coord_trial t[3] = {{0}, {.need = &zero, .n_need = 1}, {.need = &one, .n_need = 1}};
    const avs_coord_class k[3] = {{.cores = 1}};
    bench b = bench_full(avs_coord_cfg_default(), k, t, 3);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .cores = 1});
    end_attempt(&b, *first(&b, AVS_ACT_START), AVS_OUT_TIMEOUT, 0);
    assert_int_equal(avs_coord_count(b.c).blocked, 2);
    assert_int_equal(first(&b, AVS_ACT_FINISH)->code, 1);
    avs_coord_free(b.c);
}

static void what_was_blocked_runs_after_a_retry_of_its_need_is_done(void **state)
{
    (void)state;
    static const int32_t zero = 0, one = 1;
    const avs_coord_trial t[4] = {{0}, {.need = &zero, .n_need = 1}, {.need = &one, .n_need = 1}, {0}};
    const avs_coord_class k[4] = {{.cores = 1}};
    bench b = bench_full(avs_coord_cfg_default(), k, t, 4);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .cores = 1});
    end_attempt(&b, *first(&b, AVS_ACT_START), AVS_OUT_TIMEOUT, 0);
    avs_action other = *first(&b, AVS_ACT_START);
    assert_int_equal(other.trial, 3); /* keeps the run alive */
    assert_int_equal(avs_coord_state(b.c, 2), AVS_JOB_BLOCKED);
    tell(&b, (avs_event){.type = AVS_EV_RETRY, .trial = 0});
    assert_int_equal(avs_coord_state(b.c, 0), AVS_JOB_PENDING);
    assert_int_equal(avs_coord_state(b.c, 1), AVS_JOB_WAITING);
    assert_int_equal(avs_coord_state(b.c, 2), AVS_JOB_WAITING);
    tell(&b, (avs_event){.type = AVS_EV_HOLD, .trial = 0}); /* one at a time is easier to follow */
    for (int i = 0; i < 4; i++) {
        end_attempt(&b, other, AVS_OUT_DONE, 0);
        if (i == 0) tell(&b, (avs_event){.type = AVS_EV_UNHOLD, .trial = 0});
        avs_action next = b.n > 0 && first(&b, AVS_ACT_START) ? *first(&b, AVS_ACT_START) : other;
        tell(&b, (avs_event){.type = AVS_EV_COMMITTED, .trial = other.trial, .attempt = other.attempt});
        if (i == 3) break;
        other = i == 0 ? next : *first(&b, AVS_ACT_START);
        assert_int_equal(other.trial, i);
    }
    assert_int_equal(first(&b, AVS_ACT_FINISH)->code, 0);
    avs_coord_free(b.c);
}

static void a_circle_of_needs_is_refused(void **state)
{
    (void)state;
    static const int32_t zero = 0, one = 1;
    const avs_coord_trial t[2] = {{.need = &one, .n_need = 1}, {.need = &zero, .n_need = 1}};
    const avs_coord_class k = {.cores = 1};
    avs_coord *c;
    avs_err e = AVS_ERR_INIT;
    avs_coord_cfg cfg = avs_coord_cfg_default();
    assert_int_equal(avs_coord_new(&c, &cfg, &k, 1, t, 2, &e), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "circle"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_trial_is_done_once_when_nothing_goes_wrong),
        cmocka_unit_test(every_trial_is_done_once_when_coordinators_die),
        cmocka_unit_test(random_schedules_keep_the_promises),
        cmocka_unit_test(an_identical_error_is_not_tried_a_third_time),
        cmocka_unit_test(a_trial_that_no_node_can_hold_ends_the_run_before_it_begins),
        cmocka_unit_test(an_exclusive_trial_gets_an_empty_node_and_is_not_overtaken),
        cmocka_unit_test(drain_stops_then_kills_and_leaves_the_rest_for_the_next_run),
        cmocka_unit_test(a_late_result_of_a_lost_node_counts_and_stops_the_newer_attempt),
        cmocka_unit_test(three_infra_failures_quarantine_a_node),
        cmocka_unit_test(a_database_that_fails_ends_the_run_and_keeps_results_in_the_spools),
        cmocka_unit_test(a_failed_upstream_trial_blocks_what_needs_it),
        cmocka_unit_test(what_was_blocked_runs_after_a_retry_of_its_need_is_done),
        cmocka_unit_test(a_circle_of_needs_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
