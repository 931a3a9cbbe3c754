/* Statistics against published tables and against values small enough to count by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include "metrics/stats.h"
#include "tests/metrics/near.h"

static void t_quantiles_equal_the_published_tables(void **state)
{
    (void)state;
    /* two-sided 90, 95, 99 %: NIST/SEMATECH e-Handbook table 1.3.6.7.2 */
    static const struct {
        double df, c90, c95, c99;
    } table[] = {{1, 6.314, 12.706, 63.657}, {2, 2.920, 4.303, 9.925},  {3, 2.353, 3.182, 5.841},
                 {4, 2.132, 2.776, 4.604},   {5, 2.015, 2.571, 4.032},  {9, 1.833, 2.262, 3.250},
                 {10, 1.812, 2.228, 3.169},  {20, 1.725, 2.086, 2.845}, {30, 1.697, 2.042, 2.750},
                 {60, 1.671, 2.000, 2.660},  {100, 1.660, 1.984, 2.626}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_near(avs_t_quantile(0.950, table[i].df), table[i].c90, 6e-4);
        assert_near(avs_t_quantile(0.975, table[i].df), table[i].c95, 6e-4);
        assert_near(avs_t_quantile(0.995, table[i].df), table[i].c99, 6e-4);
        assert_near(avs_t_quantile(0.025, table[i].df), -avs_t_quantile(0.975, table[i].df), 1e-9);
    }
}

static void t_with_one_degree_is_the_cauchy_distribution(void **state)
{
    (void)state;
    for (double t = -50; t <= 50; t += 3.7) assert_near(avs_t_cdf(t, 1), 0.5 + atan(t) / acos(-1.0), 1e-13);
}

static void normal_quantiles_are_known(void **state)
{
    (void)state;
    assert_near(avs_normal_quantile(0.975), 1.959963984540054, 1e-12);
    assert_near(avs_normal_cdf(1.0), 0.841344746068543, 1e-13);
}

static void the_incomplete_beta_of_integers_is_a_binomial_sum(void **state)
{
    (void)state;
    /* I_x(a, b) = P[Binomial(a+b-1, x) >= a] */
    for (int n = 1; n <= 30; n++) {
        for (int a = 1; a <= n; a++) {
            double x = 0.37, sum = 0;
            for (int k = a; k <= n; k++)
                sum +=
                    exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(x) + (n - k) * log1p(-x));
            assert_near(avs_beta_inc(a, n - a + 1, x), sum, 1e-12);
        }
    }
}

static void the_interval_of_five_seeds_is_computed_by_hand(void **state)
{
    (void)state;
    double x[5] = {1, 2, 3, 4, 5};
    assert_near(avs_mean(x, 5), 3, 0);
    assert_near(avs_sd(x, 5), sqrt(2.5), 1e-15);
    assert_near(avs_t_halfwidth(x, 5, 0.95), 2.7764451051977934 * sqrt(0.5), 1e-12);
    assert_true(isnan(avs_t_halfwidth(x, 1, 0.95)));
    assert_true(isnan(avs_mean(x, 0)));
}

static void a_paired_t_test_equals_the_worked_example(void **state)
{
    (void)state;
    /* Student 1908, extra sleep of ten patients: t = -4.0621, p = 0.002833 */
    double a[10] = {0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0};
    double b[10] = {1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4};
    avs_paired r = avs_paired_t(a, b, 10, 0.95);
    assert_near(r.diff, -1.58, 1e-12);
    assert_near(r.t, -4.0621, 5e-5);
    assert_near(r.p, 0.002833, 5e-7);
    assert_near(r.lo, -2.4598858, 1e-6);
    assert_near(r.hi, -0.7001142, 1e-6);
    r = avs_paired_t(a, a, 10, 0.95);
    assert_near(r.p, 1, 0);
    r = avs_paired_t(a, b, 1, 0.95);
    assert_true(isnan(r.p));
}

static void holm_steps_down_and_never_decreases(void **state)
{
    (void)state;
    double p[5] = {0.01, 0.04, 0.03, 0.005, 0.9}, q[5];
    size_t order[5];
    avs_holm(p, 5, q, order);
    assert_near(q[3], 0.025, 1e-15);
    assert_near(q[0], 0.04, 1e-15);
    assert_near(q[2], 0.09, 1e-15);
    assert_near(q[1], 0.09, 1e-15);
    assert_near(q[4], 0.9, 1e-15);
}

static void wilcoxon_counts_all_sign_patterns(void **state)
{
    (void)state;
    double up[6] = {1, 2, 3, 4, 5, 6};
    assert_near(avs_wilcoxon(up, 6), 2.0 / 64, 1e-15);
    double mixed[8] = {1, -2, 3, 4, 5, 6, 7, 8};
    assert_near(avs_wilcoxon(mixed, 8), 2.0 * 3 / 256, 1e-15); /* sums 0, 1, 2 */
    double none[3] = {0, 0, 0};
    assert_near(avs_wilcoxon(none, 3), 1, 0);
    double many[13] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
    assert_near(avs_wilcoxon(many, 13), 2.0 / 8192, 1e-15);
    double tied[4] = {1, 1, 1, -2}; /* ranks 2, 2, 2, 4: sums 0..10, observed 6: 5 +- 1 or more */
    assert_near(avs_wilcoxon(tied, 4), 1, 1e-15);
    double gap[2] = {1, (double)NAN};
    assert_true(isnan(avs_wilcoxon(gap, 2)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(t_quantiles_equal_the_published_tables),
        cmocka_unit_test(t_with_one_degree_is_the_cauchy_distribution),
        cmocka_unit_test(normal_quantiles_are_known),
        cmocka_unit_test(the_incomplete_beta_of_integers_is_a_binomial_sum),
        cmocka_unit_test(the_interval_of_five_seeds_is_computed_by_hand),
        cmocka_unit_test(a_paired_t_test_equals_the_worked_example),
        cmocka_unit_test(holm_steps_down_and_never_decreases),
        cmocka_unit_test(wilcoxon_counts_all_sign_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
