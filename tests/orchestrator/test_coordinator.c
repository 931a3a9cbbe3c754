/* Single decisions of the coordinator's state machine, one situation each. Random schedules: test_schedules.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "orchestrator/coordinator.h"

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

static void a_disturbed_latency_is_measured_three_times_and_then_kept(void **state)
{
    (void)state;
    avs_coord_class t = {.retries = 0, .exclusive = AVS_EXCL_NODE};
    bench b = bench_new(avs_coord_cfg_default(), &t, 1);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .cores = 2});
    for (int repeat = 0; repeat < AVS_COORD_REPEATS; repeat++) {
        avs_action s = *first(&b, AVS_ACT_START);
        end_attempt(&b, s, AVS_OUT_DISTURBED, 0);
        assert_null(first(&b, AVS_ACT_COMMIT));
        assert_int_equal(first(&b, AVS_ACT_RECORD)->state, AVS_JOB_PENDING);
        b.now = avs_coord_next_ms(b.c);
        tell(&b, (avs_event){.type = AVS_EV_TICK});
    }
    avs_action s = *first(&b, AVS_ACT_START);
    end_attempt(&b, s, AVS_OUT_DISTURBED, 0);
    assert_non_null(first(&b, AVS_ACT_COMMIT));
    avs_coord_free(b.c);
}

static void hear(bench *b, int64_t heard_ms, const avs_held *held, int32_t n)
{
    tell(b, (avs_event){.type = AVS_EV_BEAT, .heard_ms = heard_ms, .held = held, .n_held = n});
}

static void a_start_that_was_lost_is_made_good_at_the_next_beat(void **state)
{
    (void)state;
    avs_coord_class t = {.retries = 0};
    bench b = bench_new(avs_coord_cfg_default(), &t, 1);
    b.now = 100;
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .cores = 2});
    avs_action s = *first(&b, AVS_ACT_START);
    b.now = 5000;
    hear(&b, 100, NULL, 0); /* the START may still be under way */
    assert_int_equal(b.n, 0);
    hear(&b, 101, (avs_held[]){{s.attempt, s.epoch, false, true}}, 1); /* it runs */
    assert_int_equal(b.n, 0);
    hear(&b, 101, NULL, 0);
    assert_int_equal(first(&b, AVS_ACT_RECORD)->outcome, AVS_OUT_LOST);
    const avs_action *again = first(&b, AVS_ACT_START);
    assert_non_null(again);
    assert_int_equal(again->epoch, s.epoch + 1);
    avs_action late = *again;
    /* The first START arrives after all: its processes are ended. */
    hear(&b, 101, (avs_held[]){{s.attempt, s.epoch, false, true}}, 1);
    const avs_action *kill = first(&b, AVS_ACT_KILL);
    assert_non_null(kill);
    assert_true(kill->attempt == s.attempt && kill->epoch == s.epoch);
    end_attempt(&b, late, AVS_OUT_DONE, 0);
    assert_non_null(first(&b, AVS_ACT_COMMIT));
    avs_coord_free(b.c);
}

static void a_gang_whose_ready_or_go_was_lost_is_told_again(void **state)
{
    (void)state;
    avs_coord_class t = {.ranks = 2, .cores = 1, .pack = AVS_PACK_SPREAD};
    avs_coord_cfg cfg = avs_coord_cfg_default();
    cfg.agents_expected = 2;
    bench b = bench_new(cfg, &t, 1);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .agent = 0, .cores = 1});
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .agent = 1, .cores = 1});
    avs_action s = *first(&b, AVS_ACT_START);
    const avs_held up = {s.attempt, s.epoch, true, false}, on = {s.attempt, s.epoch, true, true};
    b.now = 10;
    tell(&b, (avs_event){.type = AVS_EV_READY, .agent = 0, .attempt = s.attempt, .epoch = s.epoch});
    assert_null(first(&b, AVS_ACT_GO));
    tell(&b, (avs_event){.type = AVS_EV_BEAT, .agent = 1, .heard_ms = 5, .held = &up, .n_held = 1});
    assert_int_equal(b.n, 2); /* GO for both */
    b.now = 20;
    tell(&b, (avs_event){.type = AVS_EV_BEAT, .agent = 1, .heard_ms = 10, .held = &up, .n_held = 1});
    assert_int_equal(b.n, 0); /* GO may still be under way */
    tell(&b, (avs_event){.type = AVS_EV_BEAT, .agent = 0, .heard_ms = 15, .held = &on, .n_held = 1});
    assert_int_equal(b.n, 0);
    tell(&b, (avs_event){.type = AVS_EV_BEAT, .agent = 1, .heard_ms = 15, .held = &up, .n_held = 1});
    assert_int_equal(b.n, 1);
    assert_int_equal(b.act[0].type, AVS_ACT_GO);
    assert_int_equal(b.act[0].agent, 1);
    avs_coord_free(b.c);
}

static void a_trial_that_took_two_nodes_down_is_poison(void **state)
{
    (void)state;
    avs_coord_class t = {.cores = 1, .retries = 5};
    avs_coord_cfg cfg = avs_coord_cfg_default();
    cfg.agents_expected = 3;
    bench b = bench_new(cfg, &t, 1);
    for (int32_t i = 0; i < 3; i++) tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .agent = i, .cores = 1});
    const avs_action one = *first(&b, AVS_ACT_START);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_DOWN, .agent = one.agent});
    assert_int_equal(first(&b, AVS_ACT_RECORD)->outcome, AVS_OUT_LOST);
    assert_int_not_equal(first(&b, AVS_ACT_RECORD)->state, AVS_JOB_FAILED);
    const avs_action two = *first(&b, AVS_ACT_START);
    assert_int_not_equal(two.agent, one.agent);
    tell(&b, (avs_event){.type = AVS_EV_AGENT_DOWN, .agent = two.agent});
    assert_int_equal(first(&b, AVS_ACT_RECORD)->state, AVS_JOB_FAILED);
    assert_null(first(&b, AVS_ACT_START)); /* the third node is spared */
    assert_int_equal(first(&b, AVS_ACT_FINISH)->code, 1);
    avs_coord_free(b.c);
}

static void a_failed_attempt_is_repeated_on_another_node(void **state)
{
    (void)state;
    avs_coord_class t = {.cores = 1, .retries = 5};
    avs_coord_cfg cfg = avs_coord_cfg_default();
    cfg.agents_expected = 2;
    bench b = bench_new(cfg, &t, 1);
    for (int32_t i = 0; i < 2; i++) tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .agent = i, .cores = 1});
    avs_action s = *first(&b, AVS_ACT_START);
    for (int i = 0; i < 3; i++) {
        const int32_t before = s.agent;
        end_attempt(&b, s, AVS_OUT_CRASH, 0);
        b.now = avs_coord_next_ms(b.c);
        tell(&b, (avs_event){.type = AVS_EV_TICK});
        s = *first(&b, AVS_ACT_START);
        assert_int_not_equal(s.agent, before);
    }
    avs_coord_free(b.c);
}

/* How many attempts a trial gets when all of them end so. The node lives on meanwhile. */
static int attempts_until_failed(avs_outcome o, avs_coord_class t)
{
    bench b = bench_new(avs_coord_cfg_default(), &t, 1);
    int n = 0;
    tell(&b, (avs_event){.type = AVS_EV_AGENT_UP, .cores = 1});
    for (int turn = 0; turn < 1000 && !first(&b, AVS_ACT_FINISH); turn++) {
        const avs_action *start = first(&b, AVS_ACT_START);
        if (start) {
            n++;
            end_attempt(&b, *start, o, (uint64_t)n);
        } else {
            const int64_t next = avs_coord_next_ms(b.c);
            b.now = next < b.now + 5000 ? next : b.now + 5000;
            tell(&b, (avs_event){.type = AVS_EV_SEEN});
        }
    }
    assert_int_equal(first(&b, AVS_ACT_FINISH)->code, 1);
    avs_coord_free(b.c);
    return n;
}

static void each_kind_of_end_has_its_own_number_of_attempts(void **state)
{
    (void)state;
    avs_coord_class t = {.cores = 1, .retries = 2};
    static const avs_outcome counted[] = {AVS_OUT_CRASH, AVS_OUT_ERROR, AVS_OUT_HANG, AVS_OUT_OOM,
                                          AVS_OUT_OOM_GPU};
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) {
        t.no_retry[counted[i]] = false;
        assert_int_equal(attempts_until_failed(counted[i], t), 3);
        t.no_retry[counted[i]] = true;
        assert_int_equal(attempts_until_failed(counted[i], t), 1);
    }
    assert_int_equal(attempts_until_failed(AVS_OUT_TIMEOUT, t), 1);
    t.retries = 0; /* what is nobody's fault costs none, and yet ends after ten */
    assert_int_equal(attempts_until_failed(AVS_OUT_KILLED, t), 11);
    assert_int_equal(attempts_until_failed(AVS_OUT_STOPPED, t), 11);
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
        cmocka_unit_test(an_identical_error_is_not_tried_a_third_time),
        cmocka_unit_test(a_trial_that_no_node_can_hold_ends_the_run_before_it_begins),
        cmocka_unit_test(an_exclusive_trial_gets_an_empty_node_and_is_not_overtaken),
        cmocka_unit_test(drain_stops_then_kills_and_leaves_the_rest_for_the_next_run),
        cmocka_unit_test(a_late_result_of_a_lost_node_counts_and_stops_the_newer_attempt),
        cmocka_unit_test(a_disturbed_latency_is_measured_three_times_and_then_kept),
        cmocka_unit_test(a_start_that_was_lost_is_made_good_at_the_next_beat),
        cmocka_unit_test(a_gang_whose_ready_or_go_was_lost_is_told_again),
        cmocka_unit_test(a_trial_that_took_two_nodes_down_is_poison),
        cmocka_unit_test(a_failed_attempt_is_repeated_on_another_node),
        cmocka_unit_test(each_kind_of_end_has_its_own_number_of_attempts),
        cmocka_unit_test(three_infra_failures_quarantine_a_node),
        cmocka_unit_test(a_database_that_fails_ends_the_run_and_keeps_results_in_the_spools),
        cmocka_unit_test(a_failed_upstream_trial_blocks_what_needs_it),
        cmocka_unit_test(what_was_blocked_runs_after_a_retry_of_its_need_is_done),
        cmocka_unit_test(a_circle_of_needs_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
