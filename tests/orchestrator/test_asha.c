/* Successive halving on simulated learning curves: what the rule says at every rung, budgets, resuming. */
#include "orchestrator/asha.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/rng.h"

enum { N = 81 };

static void rungs_lie_below_the_maximum(void **state)
{
    (void)state;
    assert_int_equal(avs_asha_rungs(&(avs_asha_rule){.min = 5, .max = 60, .eta = 3}), 3); /* 5 15 45 */
    assert_int_equal(avs_asha_rungs(&(avs_asha_rule){.min = 1, .max = 27, .eta = 3}), 3); /* 1 3 9 */
    assert_int_equal(avs_asha_rungs(&(avs_asha_rule){.min = 1, .max = 28, .eta = 3}), 4); /* and 27 */
    assert_int_equal(avs_asha_rungs(&(avs_asha_rule){.min = 1, .max = INT64_MAX, .eta = 2}), 40);
}

static void stop_keeps_the_best_third_of_those_that_came(void **state)
{
    (void)state;
    avs_asha *a = avs_asha_new(&(avs_asha_rule){.min = 5, .max = 60, .eta = 3, .maximise = true}, 8);
    assert_int_equal(avs_asha_report(a, 0, 4, 0.9), AVS_ASHA_GO_ON); /* below the rung: not recorded */
    assert_int_equal(avs_asha_report(a, 0, 5, 0.5), AVS_ASHA_GO_ON); /* the first one goes on */
    assert_int_equal(avs_asha_report(a, 1, 5, 0.4), AVS_ASHA_PRUNE);
    assert_int_equal(avs_asha_report(a, 2, 5, 0.6), AVS_ASHA_GO_ON);
    assert_int_equal(avs_asha_report(a, 3, 5, 0.6), AVS_ASHA_PRUNE); /* a tie goes to the first */
    assert_int_equal(avs_asha_report(a, 4, 5, (double)NAN), AVS_ASHA_PRUNE);
    assert_int_equal(avs_asha_report(a, 5, 5, 0.62), AVS_ASHA_GO_ON); /* best of six */
    assert_int_equal(avs_asha_report(a, 0, 15, 0.7), AVS_ASHA_GO_ON); /* alone at the next rung */
    assert_int_equal(avs_asha_report(a, 2, 15, 0.65), AVS_ASHA_PRUNE);
    assert_int_equal(avs_asha_report(a, 1, 15, 0.9),
                     AVS_ASHA_GO_ON); /* pruned already: what it says is late */
    assert_int_equal(avs_asha_next(a), -1);
    avs_asha_free(a);
}

static void promote_pauses_and_resumes_the_best(void **state)
{
    (void)state;
    /* A loss: smaller is better. */
    avs_asha *a = avs_asha_new(&(avs_asha_rule){.min = 1, .max = 9, .eta = 3, .promote = true}, 4);
    assert_int_equal(avs_asha_report(a, 0, 1, 3.0), AVS_ASHA_PAUSE);
    assert_int_equal(avs_asha_next(a), -1);
    assert_int_equal(avs_asha_report(a, 1, 1, 1.0), AVS_ASHA_PAUSE);
    assert_int_equal(avs_asha_next(a), -1);
    assert_int_equal(avs_asha_report(a, 2, 1, 2.0), AVS_ASHA_PAUSE); /* three are there: the best goes on */
    assert_int_equal(avs_asha_next(a), 1);
    assert_int_equal(avs_asha_next(a), -1);
    assert_int_equal(avs_asha_report(a, 3, 1, 0.5), AVS_ASHA_GO_ON); /* better than all: no pause */
    assert_int_equal(avs_asha_rest(a), -1);
    assert_int_equal(avs_asha_report(a, 1, 3, 0.9), AVS_ASHA_PAUSE);
    avs_asha_over(a, 3);
    /* Nothing can report any more: the rest is pruned, each once. */
    assert_int_equal(avs_asha_rest(a), 0);
    assert_int_equal(avs_asha_rest(a), 1);
    assert_int_equal(avs_asha_rest(a), 2);
    assert_int_equal(avs_asha_rest(a), -1);
    avs_asha_free(a);
}

/* Curves that cross early and settle at their quality. */
static double curve(int trial, double quality, int64_t epoch)
{
    double speed = 1.0 + (trial * 7 % 5);
    return quality * (1.0 - exp(-(double)epoch * speed / 6.0));
}

typedef struct {
    int64_t spent, epoch[N];
    int done, pruned, best_done;
    bool ended[N];
} outcome;

/* `workers` trials at a time, one epoch each in turn; a paused trial gives its worker to the next in the queue. */
static outcome simulate(const avs_asha_rule *rule, const double *quality, int workers)
{
    avs_asha *a = avs_asha_new(rule, N);
    outcome o = {.best_done = -1};
    int queue[8 * N], head = 0, tail = 0, slot[16];
    for (int i = 0; i < N; i++) queue[tail++] = i;
    for (int w = 0; w < workers; w++) slot[w] = -1;
    for (bool busy = true; busy;) {
        busy = false;
        for (int w = 0; w < workers; w++) {
            if (slot[w] < 0 && head < tail) slot[w] = queue[head++];
            int t = slot[w];
            if (t < 0) continue;
            busy = true;
            o.spent++;
            int64_t e = ++o.epoch[t];
            avs_asha_verdict v = avs_asha_report(a, t, e, curve(t, quality[t], e));
            if (v == AVS_ASHA_PRUNE) o.pruned++;
            if (v != AVS_ASHA_GO_ON) slot[w] = -1;
            if (v == AVS_ASHA_GO_ON && e == rule->max) {
                avs_asha_over(a, t);
                slot[w] = -1;
                o.done++;
                if (o.best_done < 0 || quality[t] > quality[o.best_done]) o.best_done = t;
            }
            for (int p = avs_asha_next(a); p >= 0; p = avs_asha_next(a)) {
                assert_true(tail < 8 * N);
                queue[tail++] = p;
            }
            for (int p = avs_asha_rest(a); p >= 0; p = avs_asha_rest(a)) {
                assert_false(o.ended[p]);
                o.ended[p] = true;
                o.pruned++;
            }
        }
    }
    avs_asha_free(a);
    return o;
}

static void halving_finds_a_good_trial_for_a_fraction_of_the_work(void **state)
{
    (void)state;
    double quality[N];
    for (uint64_t seed = 0; seed < 20; seed++) {
        int best = 0;
        avs_rng r = avs_rng_seed(seed);
        for (int i = 0; i < N; i++) {
            quality[i] = avs_rng_unit(&r);
            if (quality[i] > quality[best]) best = i;
        }
        for (int workers = 1; workers <= 16; workers *= 4) {
            for (int promote = 0; promote < 2; promote++) {
                avs_asha_rule rule = {.min = 3, .max = 81, .eta = 3, .maximise = true, .promote = promote};
                outcome o = simulate(&rule, quality, workers);
                assert_int_equal(o.done + o.pruned, N); /* every trial has one end */
                assert_true(o.done >= 1 && o.done < N / 3);
                assert_true(o.spent < (int64_t)N * 81 / 3);
                assert_true(quality[o.best_done] > 0.9 * quality[best]);
                outcome again = simulate(&rule, quality, workers);
                assert_memory_equal(&o, &again, sizeof o.epoch);
            }
        }
    }
}

static void a_resumed_run_decides_as_the_uninterrupted_one(void **state)
{
    (void)state;
    avs_asha_rule rule = {.min = 1, .max = 27, .eta = 3, .maximise = true, .promote = true};
    avs_asha *a = avs_asha_new(&rule, 6), *b = avs_asha_new(&rule, 6);
    double first[5] = {0.1, 0.5, 0.3, 0.2, 0.4};
    for (int i = 0; i < 5; i++) (void)avs_asha_report(a, i, 1, first[i]);
    assert_int_equal(avs_asha_next(a), 1);
    /* The run dies; another one reads the records. Trial 1 was promoted and is queued, the others are paused. */
    for (int i = 0; i < 5; i++) avs_asha_replay(b, i, 1, first[i]);
    for (int i = 0; i < 5; i++)
        if (i != 1) avs_asha_was_paused(b, i);
    assert_int_equal(avs_asha_next(b), -1);
    assert_int_equal(avs_asha_report(a, 5, 1, 0.05), avs_asha_report(b, 5, 1, 0.05));
    assert_int_equal(avs_asha_next(a), avs_asha_next(b)); /* the second of six */
    assert_int_equal(avs_asha_report(b, 4, 3, 0.6), AVS_ASHA_PAUSE);
    avs_asha_over(b, 1);
    assert_int_equal(avs_asha_rest(b), 0);
    avs_asha_was_pruned(a, 0);
    avs_asha_free(a);
    avs_asha_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rungs_lie_below_the_maximum),
        cmocka_unit_test(stop_keeps_the_best_third_of_those_that_came),
        cmocka_unit_test(promote_pauses_and_resumes_the_best),
        cmocka_unit_test(halving_finds_a_good_trial_for_a_fraction_of_the_work),
        cmocka_unit_test(a_resumed_run_decides_as_the_uninterrupted_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
