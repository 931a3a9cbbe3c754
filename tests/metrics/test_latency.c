/* Latency statistics: the load generator's tables, percentiles without interpolation, drift. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include "base/rng.h"
#include "metrics/latency.h"
#include "tests/metrics/near.h"

static void needed_queries_equal_the_published_table(void **state)
{
    (void)state;
    static const int64_t t[5] = {1, 2, 3, 5, 10};
    static const int64_t want[3][5] = {
        {64, 81, 97, 127, 197}, {662, 838, 1001, 1307, 2010}, {6636, 8403, 10042, 13105, 20140}};
    static const double p[3] = {0.90, 0.99, 0.999};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 5; j++) assert_int_equal(avs_latency_needed(p[i], 0.99, t[j]), want[i][j]);
}

static void queries_of_any_length_keep_their_time(void **state)
{
    (void)state;
    uint32_t x[4];
    double unit = 1;
    avs_latency_stats st;
    avs_latency_put(x, 0, &unit, 1234567);
    avs_latency_put(x, 1, &unit, UINT32_MAX);
    assert_true(unit == 1 && x[0] == 1234567 && x[1] == UINT32_MAX);
    avs_latency_put(x, 2, &unit, 130000000999); /* 130 s */
    avs_latency_put(x, 3, &unit, -5);
    assert_true(unit == 1000 && x[0] == 1234 && x[1] == 4294967 && x[2] == 130000000 && x[3] == 0);
    assert_int_equal(avs_latency_summarise(x, 4, unit, &st, NULL), AVS_OK);
    assert_true(st.max == 130e9 && st.min == 0);
    avs_latency_put(x, 3, &unit, INT64_MAX);
    assert_int_equal(x[3], UINT32_MAX);
}

static void early_stopping_drops_as_many_as_published(void **state)
{
    (void)state;
    static const int64_t n[7] = {64, 100, 200, 500, 1000, 1024, 7914}, t[7] = {1, 3, 10, 34, 78, 80, 729};
    for (int i = 0; i < 7; i++) assert_int_equal(avs_latency_early_stop(0.9, 0.99, n[i]), t[i]);
    assert_int_equal(avs_latency_early_stop(0.9, 0.99, 63), 0);
    for (int64_t k = 1; k < 400; k++) {
        int64_t drops = avs_latency_early_stop(0.9, 0.99, k);
        if (drops > 0) assert_true(avs_latency_needed(0.9, 0.99, drops) <= k);
        assert_true(avs_latency_needed(0.9, 0.99, drops + 1) > k);
    }
}

static void percentiles_are_order_statistics_in_nanoseconds(void **state)
{
    (void)state;
    uint32_t x[1000];
    avs_latency_stats s;
    for (uint32_t i = 0; i < 1000; i++) x[i] = (i * 7919u) % 1000u + 1u; /* a permutation of 1..1000 */
    assert_int_equal(avs_latency_summarise(x, 1000, 10.0, &s, NULL), AVS_OK);
    assert_near(s.p50, 5010, 0);
    assert_near(s.p90, 9010, 0);
    assert_near(s.p99, 9910, 0);
    assert_near(s.min, 10, 0);
    assert_near(s.max, 10000, 0);
    assert_near(s.mean, 5005, 1e-9);
    assert_near(s.p90_bound, (1000 - 78 + 1) * 10.0, 0);
    assert_true(s.p50_lo < s.p50 && s.p50 < s.p50_hi);
    assert_near(s.p50_lo, 4690, 10); /* 500 - 1.96 sqrt(1000)/2 */
    assert_near(s.p50_hi, 5320, 10);
    assert_int_equal(s.flags, 0);
}

static void few_samples_have_no_bound_and_are_flagged_short(void **state)
{
    (void)state;
    uint32_t x[1] = {42};
    avs_latency_stats s;
    assert_int_equal(avs_latency_summarise(x, 1, 1.0, &s, NULL), AVS_OK);
    assert_near(s.p99, 42, 0);
    assert_near(s.sd, 0, 0);
    assert_true(isnan(s.p90_bound));
    assert_true(s.flags & AVS_LAT_SHORT);
    assert_int_equal(avs_latency_summarise(x, 0, 1.0, &s, NULL), AVS_ERANGE);
    assert_int_equal(avs_latency_summarise(x, 1, 0.0, &s, NULL), AVS_ERANGE);
    assert_int_equal(avs_latency_summarise(x, 1, (double)NAN, &s, NULL), AVS_ERANGE);
}

static void drift_is_flagged_and_noise_is_not(void **state)
{
    (void)state;
    avs_rng r = avs_rng_seed(3);
    uint32_t flat[500], rising[500];
    avs_latency_stats s;
    for (int i = 0; i < 500; i++) {
        flat[i] = (uint32_t)avs_rng_range(&r, 1000, 1100);
        rising[i] = flat[i] + (uint32_t)i / 8;
    }
    assert_int_equal(avs_latency_summarise(flat, 500, 1.0, &s, NULL), AVS_OK);
    assert_false(s.flags & AVS_LAT_DRIFT);
    assert_true(avs_latency_is_settled(&s, 0.01));
    assert_false(avs_latency_is_settled(&s, 0.001));
    assert_int_equal(avs_latency_summarise(rising, 500, 1.0, &s, NULL), AVS_OK);
    assert_true(s.flags & AVS_LAT_DRIFT);
}

/* Neighbours are alike (correlation 0.95), nothing drifts: sample by sample the test would cry in most series. */
static void waves_are_no_drift(void **state)
{
    (void)state;
    enum { N = 4000, SERIES = 200 };
    static uint32_t x[N];
    static double all[N];
    int flagged = 0, naive = 0;
    for (int k = 0; k < SERIES; k++) {
        avs_rng r = avs_rng_seed((uint64_t)k);
        avs_latency_stats s;
        double wave = 0, p = 1;
        for (int i = 0; i < N; i++) {
            wave = 0.95 * wave + avs_rng_normal(&r);
            x[i] = (uint32_t)(100000.0 + 1000.0 * wave);
            all[i] = (double)x[i];
        }
        assert_int_equal(avs_latency_summarise(x, N, 1.0, &s, NULL), AVS_OK);
        assert_int_equal(avs_kendall_trend(all, N, NULL, &p, NULL), AVS_OK);
        flagged += (s.flags & AVS_LAT_DRIFT) != 0;
        naive += p < 0.01;
        for (int i = 0; i < N; i++) x[i] += (uint32_t)(3 * i); /* 12 % in all */
        assert_int_equal(avs_latency_summarise(x, N, 1.0, &s, NULL), AVS_OK);
        assert_true(s.flags & AVS_LAT_DRIFT);
    }
    assert_in_range(flagged, 0, SERIES / 25);
    assert_true(naive > SERIES / 2);
}

static void kendall_equals_counting_all_pairs(void **state)
{
    (void)state;
    avs_rng r = avs_rng_seed(9);
    for (int trial = 0; trial < 40; trial++) {
        int n = (int)avs_rng_range(&r, 3, 60);
        double x[60], tau, p, s = 0, ties = 0;
        for (int i = 0; i < n; i++) x[i] = (double)avs_rng_range(&r, 0, 20);
        for (int i = 0; i < n; i++) {
            for (int j = i + 1; j < n; j++) {
                s += (x[j] > x[i]) - (x[j] < x[i]);
                ties += x[j] == x[i];
            }
        }
        double pairs = n * (n - 1) / 2.0;
        assert_int_equal(avs_kendall_trend(x, n, &tau, &p, NULL), AVS_OK);
        assert_near(tau, s / sqrt(pairs * (pairs - ties)), 1e-12);
        assert_true(p >= 0 && p <= 1);
    }
    double same[5] = {2, 2, 2, 2, 2}, tau, p;
    assert_int_equal(avs_kendall_trend(same, 5, &tau, &p, NULL), AVS_OK);
    assert_near(p, 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(needed_queries_equal_the_published_table),
        cmocka_unit_test(queries_of_any_length_keep_their_time),
        cmocka_unit_test(early_stopping_drops_as_many_as_published),
        cmocka_unit_test(percentiles_are_order_statistics_in_nanoseconds),
        cmocka_unit_test(few_samples_have_no_bound_and_are_flagged_short),
        cmocka_unit_test(drift_is_flagged_and_noise_is_not),
        cmocka_unit_test(waves_are_no_drift),
        cmocka_unit_test(kendall_equals_counting_all_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
