/* The coordinator's state machine against a simulated cluster in virtual time: AGENTS nodes of 8 GPUs, TRIALS trials of
 * mixed gang size. Prints how much of the GPUs the schedule uses in comparison with an offline bound (no schedule can
 * end before all GPU time is spent on all GPUs, or before the longest trial) and what it costs in real time.
 *
 *   sim-cluster [AGENTS TRIALS [SEED]]     defaults 10000 1000000 1 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "base/arena.h"
#include "base/log.h"
#include "base/rng.h"
#include "orchestrator/coordinator.h"
#include "orchestrator/queue.h"

enum { GPUS = 8, CORES = 64, SIZES = 6, BINS = 8, MINUTE = 60000 };

typedef struct {
    uint64_t attempt;
    uint32_t epoch;
    int32_t trial, n_parts;
    int32_t *agent;
} running;

typedef struct {
    avs_coord *c;
    avs_rng rng;
    int64_t now, gpu_ms, longest;
    const avs_coord_class *cls;
    const avs_coord_trial *t;
    running *run; /* by trial */
    avs_queue ends;
    int64_t n_events;
    int code;
} sim;

static void act(sim *s, const avs_event *ev);

static void start(sim *s, const avs_action *a)
{
    running *r = &s->run[a->trial];
    if (a->first_rank == 0) {
        *r = (running){.attempt = a->attempt, .epoch = a->epoch, .trial = a->trial};
        /* Estimates are what they are: true lengths lie up to a fifth around them. */
        const avs_coord_class *k = &s->cls[s->t[a->trial].class_id];
        int64_t length = (int64_t)((double)k->expect_ms * avs_rng_uniform(&s->rng, 0.8, 1.2));
        s->gpu_ms += length * k->ranks * k->gpus;
        if (length > s->longest) s->longest = length;
        if (!avs_queue_push(&s->ends, s->now + length, a->trial)) exit(70);
    }
    r->agent = avs_xrealloc(r->agent, sizeof(int32_t) * (size_t)(r->n_parts + 1));
    if (!r->agent) exit(70);
    r->agent[r->n_parts++] = a->agent;
}

static void act(sim *s, const avs_event *ev)
{
    const avs_action *acts;
    int32_t n;
    avs_event e = *ev;
    e.now_ms = s->now;
    s->n_events++;
    if (avs_coord_step(s->c, &e, &acts, &n, NULL) != AVS_OK) exit(70);
    if (n == 0) return;
    avs_action *copy = avs_xrealloc(NULL, sizeof *copy * (size_t)n);
    if (!copy) exit(70);
    memcpy(copy, acts, sizeof *copy * (size_t)n);
    for (int32_t i = 0; i < n; i++) {
        const avs_action *a = &copy[i];
        if (a->type == AVS_ACT_START) {
            start(s, a);
            if (a->ranks > 1)
                act(s,
                    &(avs_event){
                        .type = AVS_EV_READY, .agent = a->agent, .attempt = a->attempt, .epoch = a->epoch});
        } else if (a->type == AVS_ACT_COMMIT) {
            act(s, &(avs_event){.type = AVS_EV_COMMITTED, .trial = a->trial, .attempt = a->attempt});
        } else if (a->type == AVS_ACT_FINISH) {
            s->code = a->code;
        }
    }
    free(copy);
}

static void end_trial(sim *s, int32_t i)
{
    running r = s->run[i];
    s->run[i].agent = NULL;
    s->run[i].n_parts = 0;
    for (int32_t p = r.n_parts - 1; p >= 0; p--)
        act(s, &(avs_event){.type = AVS_EV_ENDED,
                            .agent = r.agent[p],
                            .trial = i,
                            .attempt = r.attempt,
                            .epoch = r.epoch,
                            .follower = p > 0});
    free(r.agent);
}

int main(int argc, char **argv)
{
    static const int32_t size[SIZES] = {1, 2, 4, 8, 16, 64}, share[SIZES] = {600, 200, 120, 60, 15, 5};
    int32_t agents = argc > 2 ? atoi(argv[1]) : 10000, n = argc > 2 ? atoi(argv[2]) : 1000000;
    sim s = {.rng = avs_rng_seed(argc > 3 ? strtoull(argv[3], NULL, 10) : 1), .code = -1};
    avs_coord_class cls[SIZES * BINS];
    for (int32_t k = 0; k < SIZES * BINS; k++)
        cls[k] = (avs_coord_class){.ranks = size[k / BINS],
                                   .gpus = 1,
                                   .cores = 6,
                                   .expect_ms = (int64_t)(10 + 15 * (k % BINS)) * MINUTE,
                                   .limit_ms = (int64_t)(20 + 30 * (k % BINS)) * MINUTE};
    avs_coord_trial *t = avs_xrealloc(NULL, sizeof *t * (size_t)(n + 1));
    s.run = avs_xrealloc(NULL, sizeof *s.run * (size_t)(n + 1));
    if (!t || !s.run || agents < 1 || agents > AVS_COORD_AGENTS || n < 1) return 2;
    memset(s.run, 0, sizeof *s.run * (size_t)(n + 1));
    for (int32_t i = 0; i < n; i++) {
        int32_t dice = (int32_t)avs_rng_range(&s.rng, 0, 999), k = 0;
        while (dice >= share[k]) dice -= share[k++];
        k = k * BINS + (int32_t)avs_rng_range(&s.rng, 0, BINS - 1);
        t[i] = (avs_coord_trial){.class_id = k, .priority = (float)cls[k].expect_ms}; /* longest first */
    }
    avs_coord_cfg cfg = avs_coord_cfg_default();
    cfg.agents_expected = agents;
    cfg.suspect_ms = cfg.lost_ms = INT64_C(1) << 50; /* nodes do not beat here */
    s.cls = cls;
    s.t = t;
    int64_t t0 = avs_now_ns();
    struct rusage ru0, ru;
    getrusage(RUSAGE_SELF, &ru0);
    if (avs_coord_new(&s.c, &cfg, cls, SIZES * BINS, t, n, NULL) != AVS_OK) return 70;
    getrusage(RUSAGE_SELF, &ru);
    long new_kib = ru.ru_maxrss - ru0.ru_maxrss;
    avs_node_info node = {
        .cores = CORES, .mem_mb = 1 << 20, .n_numa = 2, .numa_cores = {CORES / 2, CORES / 2}, .n_gpus = GPUS};
    for (int g = 0; g < GPUS; g++) node.gpu[g] = (avs_node_gpu){.numa = g / 4, .model = "simulated"};
    for (int32_t id = 0; id < agents; id++)
        act(&s, &(avs_event){.type = AVS_EV_AGENT_UP, .agent = id, .node = &node});
    avs_queue_entry e;
    while (s.code < 0 && avs_queue_pop(&s.ends, &e)) {
        s.now = e.key;
        end_trial(&s, e.item);
    }
    double real = (double)(avs_now_ns() - t0) * 1e-9;
    double spent = (double)s.gpu_ms / ((double)agents * GPUS),
           bound = spent > (double)s.longest ? spent : (double)s.longest;
    avs_coord_counts c = avs_coord_count(s.c);
    getrusage(RUSAGE_SELF, &ru);
    printf(
        "{\"agents\":%d,\"gpus\":%d,\"trials\":%d,\"done\":%d,\"exit\":%d,\"makespan_h\":%.3f,\"bound_h\":%."
        "3f,"
        "\"share_of_bound\":%.4f,\"real_s\":%.2f,\"events\":%lld,\"us_per_event\":%.2f,\"pending_mib\":%.1f,"
        "\"peak_rss_mib\":%.1f}\n",
        agents, agents * GPUS, n, c.done, s.code, (double)s.now / 3.6e6, bound / 3.6e6, bound / (double)s.now,
        real, (long long)s.n_events, real * 1e6 / (double)s.n_events, (double)new_kib / 1024,
        (double)ru.ru_maxrss / 1024);
    avs_coord_free(s.c);
    avs_queue_free(&s.ends);
    free(s.run);
    free(t);
    return s.code == 0 && c.done == n ? 0 : 1;
}
