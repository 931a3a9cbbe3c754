/* The judgement over a node, on files as the kernel writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/fs.h"
#include "base/json.h"
#include "orchestrator/quiet.h"
#include "results/store.h"

#define S INT64_C(1000000000)

static char root[64];

static void put(const char *path, const char *text)
{
    char whole[256];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    assert_int_equal(avs_fs_mkdirs_for(whole, NULL), AVS_OK);
    assert_int_equal(avs_fs_write_atomic(whole, text, strlen(text), NULL), AVS_OK);
}

/* Two cores that were busy for so many ticks of 10 ms; process 7 took `own` of them. */
static void machine(int busy, int own, int throttles)
{
    char text[512];
    snprintf(
        text, sizeof text,
        "cpu  %d 0 0 1000 5 0 0 0 0 0\ncpu0 %d 0 0 500 5 0 0 0 0 0\ncpu1 0 0 0 500 0 0 0 0 0 0\nintr 1\n",
        busy, busy);
    put("/proc/stat", text);
    snprintf(text, sizeof text, "7 (a (b) c) R 1 7 7 0 -1 4194304 100 0 0 0 %d 0 0 0 20 0 1 0 5 1 1", own);
    put("/proc/7/stat", text);
    snprintf(text, sizeof text, "%d\n", throttles);
    put("/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", text);
    put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2400000\n");
    put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
}

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/avs-quiet.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int drop_root(void **state)
{
    (void)state;
    avs_fs_remove_tree(root);
    return 0;
}

static void a_trial_waits_until_the_others_are_silent(void **state)
{
    (void)state;
    avs_quiet q;
    int64_t again = 0;
    machine(1000, 0, 0);
    avs_quiet_begin(&q, root, 10, false, 0);
    assert_false(avs_quiet_may_start(&q, S / 2, &again)); /* too early to say */
    assert_int_equal(again, S);
    machine(1100, 0, 0); /* one core of two: half */
    assert_false(avs_quiet_may_start(&q, S, &again));
    machine(1110, 0, 0); /* a tenth of a core */
    assert_true(avs_quiet_may_start(&q, 2 * S, &again));
    assert_true(q.before > 0.04 && q.before < 0.06);
    avs_quiet_free(&q);

    machine(1000, 0, 0); /* never: it starts when the patience is over */
    avs_quiet_begin(&q, root, 3, false, 0);
    int s = 0;
    do {
        machine(1000 + 200 * ++s, 0, 0);
        assert_in_range(s, 1, 3);
    } while (!avs_quiet_may_start(&q, s * S, &again));
    assert_int_equal(s, 3);
    avs_quiet_free(&q);
}

/* Ten seconds; `others` ticks of other processes in the seconds from..to, the trial takes one core. The flags. */
static int measure(int others, int from, int to, int throttles, avs_json **j, avs_arena *a)
{
    avs_quiet q;
    avs_buf b = AVS_BUF_INIT;
    const int64_t pid = 7;
    int64_t again, at = 0;
    int busy = 1000;
    machine(busy, 0, 5);
    avs_quiet_begin(&q, root, 0, false, 0);
    assert_true(avs_quiet_may_start(&q, 0, &again));
    for (int s = 1; s <= 10; s++) {
        busy += 100 + (s >= from && s <= to ? others : 0);
        machine(busy, 100 * s, 5 + throttles);
        assert_int_equal(avs_quiet_look(&q, &pid, 1, s * S - S / 2), s * S); /* not before its time */
        at = avs_quiet_look(&q, &pid, 1, s * S);
        assert_int_equal(at, (s + 1) * S);
    }
    int flags = avs_quiet_end(&q, &b);
    assert_int_equal(avs_json_parse(a, "quiet", avs_buf_cstr(&b), b.len, j, NULL), AVS_OK);
    avs_buf_free(&b);
    avs_quiet_free(&q);
    return flags;
}

static void the_trials_own_work_is_no_disturbance_but_that_of_others_is(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_json *j = NULL;
    assert_int_equal(measure(0, 1, 10, 0, &j, a), 0);
    assert_true(avs_json_num(j, "mean", -1) < 0.01);
    assert_int_equal(avs_json_num(j, "seconds", -1), 10);
    assert_int_equal(measure(60, 3, 3, 0, &j, a), 0); /* one second in ten */
    assert_int_equal(avs_json_num(j, "disturbed", -1), 1);
    assert_true(avs_json_num(j, "worst", -1) > 0.29);
    assert_int_equal(measure(60, 3, 4, 0, &j, a), AVS_LAT_SHARED); /* two */
    assert_int_equal(measure(100, 1, 10, 0, &j, a), AVS_LAT_SHARED);
    assert_true(avs_json_num(j, "mean", -1) > 0.49);
    assert_int_equal(measure(0, 1, 10, 2, &j, a), AVS_LAT_THROTTLED);
    assert_int_equal(avs_json_num(j, "throttled", -1), 2);
    avs_arena_free(a);
}

static void what_the_kernel_does_not_tell_is_judged_by_nobody(void **state)
{
    (void)state;
    avs_quiet q;
    avs_buf b = AVS_BUF_INIT;
    const int64_t pid = 7;
    int64_t again;
    avs_quiet_begin(&q, "/nonexistent", 0, false, 0);
    assert_true(avs_quiet_may_start(&q, 0, &again));
    (void)avs_quiet_look(&q, &pid, 1, S);
    assert_int_equal(avs_quiet_end(&q, &b), 0);
    assert_string_equal(avs_buf_cstr(&b), "{\"waited_s\":0.0,\"seconds\":0,\"disturbed\":0}");
    avs_buf_free(&b);
    avs_quiet_free(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trial_waits_until_the_others_are_silent),
        cmocka_unit_test(the_trials_own_work_is_no_disturbance_but_that_of_others_is),
        cmocka_unit_test(what_the_kernel_does_not_tell_is_judged_by_nobody),
    };
    return cmocka_run_group_tests(tests, make_root, drop_root);
}
