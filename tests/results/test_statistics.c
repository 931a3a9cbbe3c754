/* Statistics against scipy and numpy (statistics.csv, made by statistics.py), and fronts against their definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/fs.h"
#include "base/rng.h"
#include "metrics/latency.h"
#include "metrics/stats.h"
#include "results/compare.h"
#include "results/stat_bootstrap.h"
#include "results/stat_pareto.h"

enum { MAX_ARGS = 4, MAX_VALUES = 1024 };

typedef struct {
    char name[32];
    double want;
    double x[MAX_ARGS][MAX_VALUES];
    int n[MAX_ARGS], args;
} row;

/* "name;value;1.0 2.0;3.0" */
static void read_row(char *line, row *r)
{
    char *rest = NULL, *word = strtok_r(line, ";", &rest);
    snprintf(r->name, sizeof r->name, "%s", word);
    r->want = strtod(strtok_r(NULL, ";", &rest), NULL);
    for (r->args = 0; (word = strtok_r(NULL, ";", &rest)) != NULL; r->args++) {
        assert_true(r->args < MAX_ARGS);
        r->n[r->args] = 0;
        for (char *end; *word; word = end) {
            const double v = strtod(word, &end);
            if (end == word) break;
            assert_true(r->n[r->args] < MAX_VALUES);
            r->x[r->args][r->n[r->args]++] = v;
        }
    }
}

static double of_pairs(const row *r)
{
    const avs_paired p = avs_paired_t(r->x[0], r->x[1], (size_t)r->n[0], 0.95);
    return strcmp(r->name, "paired_p") == 0 ? p.p : strcmp(r->name, "paired_lo") == 0 ? p.lo : p.hi;
}

static double of_welch(const row *r)
{
    int64_t seed[2][MAX_VALUES];
    double scratch[2 * MAX_VALUES];
    for (int i = 0; i < MAX_VALUES; i++) seed[0][i] = i;
    for (int i = 0; i < MAX_VALUES; i++) seed[1][i] = MAX_VALUES + i;
    const avs_compare_set a = {r->x[0], seed[0], r->n[0]}, b = {r->x[1], seed[1], r->n[1]};
    const avs_compare_result w = avs_compare_sets(&a, &b, scratch, 0.95, false, false);
    assert_string_equal(w.test, "Welch");
    return strcmp(r->name, "welch_p") == 0 ? w.p : w.lo;
}

static int ascending(const void *x, const void *y)
{
    const uint32_t *a = x, *b = y;
    return (*a > *b) - (*a < *b);
}

/* "boot_lo_p50": one end; *width is that of our interval. */
static double of_bootstrap(const row *r, double *width)
{
    static uint32_t sorted[MAX_ARGS][MAX_VALUES];
    avs_boot_repeat repeat[MAX_ARGS];
    double lo, hi;
    for (int k = 0; k < r->args; k++) {
        for (int i = 0; i < r->n[k]; i++) sorted[k][i] = (uint32_t)r->x[k][i];
        qsort(sorted[k], (size_t)r->n[k], sizeof sorted[k][0], ascending);
        repeat[k] = (avs_boot_repeat){sorted[k], r->n[k], 1};
    }
    assert_int_equal(avs_boot_latency(repeat, r->args, r->name + 8, 0.95, &lo, &hi, NULL), AVS_OK);
    *width = hi - lo;
    return strncmp(r->name, "boot_lo", 7) == 0 ? lo : hi;
}

static double compute(const row *r, double *tolerance)
{
    double adjusted[MAX_VALUES], tau, p, width;
    size_t order[MAX_VALUES];
    *tolerance = 1e-9 * (1 + fabs(r->want));
    if (strcmp(r->name, "t_quantile") == 0) return avs_t_quantile(r->x[0][0], r->x[1][0]);
    if (strcmp(r->name, "t_cdf") == 0) {
        *tolerance = 1e-12 * (1 + fabs(r->want));
        return avs_t_cdf(r->x[0][0], r->x[1][0]);
    }
    if (strncmp(r->name, "paired", 6) == 0) return of_pairs(r);
    if (strncmp(r->name, "welch", 5) == 0) return of_welch(r);
    if (strcmp(r->name, "wilcoxon") == 0) return avs_wilcoxon(r->x[0], (size_t)r->n[0]);
    if (strcmp(r->name, "holm") == 0) {
        avs_holm(r->x[0], (size_t)r->n[0], adjusted, order);
        return adjusted[(int)r->x[1][0]];
    }
    if (strcmp(r->name, "kendall") == 0) {
        assert_int_equal(avs_kendall_trend(r->x[0], r->n[0], &tau, &p, NULL), AVS_OK);
        return tau;
    }
    if (strcmp(r->name, "early_stop") == 0)
        return (double)avs_latency_early_stop(r->x[0][0], 0.99, (int64_t)r->x[1][0]);
    if (strncmp(r->name, "boot_", 5) == 0) {
        const double v = of_bootstrap(r, &width);
        *tolerance = 1 + 0.05 * width; /* both are random; samples are whole numbers */
        return v;
    }
    fail_msg("statistics.csv: no function %s", r->name);
    return (double)NAN;
}

static void all_numbers_are_those_of_scipy(void **state)
{
    (void)state;
    static row r;
    avs_buf text = AVS_BUF_INIT;
    int rows = 0;
    assert_int_equal(avs_fs_read(AVS_SOURCE_DIR "/tests/results/statistics.csv", 0, &text, NULL), AVS_OK);
    for (char *line = text.data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        double tolerance;
        *end = '\0';
        read_row(line, &r);
        const double got = compute(&r, &tolerance);
        if (!(fabs(got - r.want) <= tolerance))
            fail_msg("%s of row %d: %.15g, scipy has %.15g", r.name, rows + 1, got, r.want);
        rows++;
    }
    assert_true(rows > 200);
    avs_buf_free(&text);
}

static void the_early_stopping_table_is_exact(void **state)
{
    (void)state;
    static const struct {
        int64_t n, t;
    } table[] = {{63, 0}, {64, 1}, {100, 3}, {200, 10}, {500, 34}, {1000, 78}, {1024, 80}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(avs_latency_early_stop(0.9, 0.99, table[i].n), table[i].t);
        assert_int_equal(avs_boot_order("p90_bound", table[i].n), table[i].t ? table[i].n - table[i].t : -2);
    }
}

static void the_bootstrap_repeats_and_names_what_it_lacks(void **state)
{
    (void)state;
    uint32_t x[100], same[100];
    double lo, hi, lo2, hi2;
    for (int i = 0; i < 100; i++) {
        x[i] = (uint32_t)(1000 + i);
        same[i] = 7;
    }
    avs_boot_repeat r[3] = {{x, 100, 1000}, {x, 90, 1000}, {x, 80, 1000}}, one = {same, 100, 2};
    assert_int_equal(avs_boot_latency(r, 3, "p50", 0.95, &lo, &hi, NULL), AVS_OK);
    assert_int_equal(avs_boot_latency(r, 3, "p50", 0.95, &lo2, &hi2, NULL), AVS_OK);
    assert_true(lo == lo2 && hi == hi2 && lo < hi && lo >= 1000000 && hi <= 1099000);
    assert_int_equal(avs_boot_latency(&one, 1, "p50", 0.95, &lo, &hi, NULL), AVS_OK);
    assert_true(lo == 14 && hi == 14);
    assert_int_equal(avs_boot_latency(r, 3, "mean", 0.95, &lo, &hi, NULL), AVS_OK);
    assert_true(lo > 1030000 && lo < 1045000 && hi > 1045000 && hi < 1060000);
    assert_int_equal(avs_boot_latency(r, 3, "p99_bound", 0.95, &lo, &hi, NULL),
                     AVS_OK); /* needs 662 samples */
    assert_true(isnan(lo) && isnan(hi));
    assert_int_equal(avs_boot_latency(r, 0, "p50", 0.95, &lo, &hi, NULL), AVS_OK);
    assert_true(isnan(lo));
    for (long n = 1; n <= 5; n++) {
        avs_alloc_fail_after(n);
        const int rc = avs_boot_latency(r, 3, "p50", 0.95, &lo, &hi, NULL);
        avs_alloc_fail_after(0);
        assert_int_equal(rc, AVS_ENOMEM);
    }
}

static bool at_least(double a, double b, int better)
{
    return better > 0 ? a >= b : a <= b;
}

/* By the definition: every point against every other. */
static void check_front(avs_pareto_point *p, size_t n, int bx, int by)
{
    size_t order[2 * 64], front;
    avs_pareto(p, n, bx, by, order, &front);
    size_t expected = 0;
    for (size_t i = 0; i < n; i++) {
        bool beaten = isnan(p[i].x) || isnan(p[i].y), surely = false;
        for (size_t k = 0; k < n; k++) {
            if (k == i || isnan(p[k].x) || isnan(p[k].y)) continue;
            beaten = beaten || (at_least(p[k].x, p[i].x, bx) && at_least(p[k].y, p[i].y, by) &&
                                (p[k].x != p[i].x || p[k].y != p[i].y));
            const double kx = bx > 0 ? p[k].x_lo : p[k].x_hi, ix = bx > 0 ? p[i].x_hi : p[i].x_lo;
            const double ky = by > 0 ? p[k].y_lo : p[k].y_hi, iy = by > 0 ? p[i].y_hi : p[i].y_lo;
            surely = surely || ((kx - ix) * bx > 0 && (ky - iy) * by > 0);
        }
        if (isnan(p[i].x) || isnan(p[i].y)) surely = false;
        assert_int_equal(p[i].is_front, !beaten);
        assert_int_equal(p[i].is_dominated, surely);
        assert_false(p[i].is_front && p[i].is_dominated);
        expected += p[i].is_front;
    }
    assert_int_equal(front, expected);
    for (size_t i = 1; i < front; i++) assert_true(p[order[i]].x >= p[order[i - 1]].x);
}

static void fronts_are_what_no_point_beats(void **state)
{
    (void)state;
    avs_rng rng = avs_rng_seed(5);
    for (int round = 0; round < 2000; round++) {
        avs_pareto_point p[64];
        const size_t n = (size_t)avs_rng_range(&rng, 1, round < 1000 ? 6 : 60);
        for (size_t i = 0; i < n; i++) { /* whole numbers: ties */
            p[i].x = (double)avs_rng_range(&rng, 0, 12);
            p[i].y = (double)avs_rng_range(&rng, 0, 12);
            p[i].x_lo = p[i].x - (double)avs_rng_range(&rng, 0, 3);
            p[i].x_hi = p[i].x + (double)avs_rng_range(&rng, 0, 3);
            p[i].y_lo = p[i].y - (double)avs_rng_range(&rng, 0, 3);
            p[i].y_hi = p[i].y + (double)avs_rng_range(&rng, 0, 3);
            if (avs_rng_range(&rng, 0, 20) == 0) p[i].y = (double)NAN;
        }
        check_front(p, n, round % 2 ? 1 : -1, round % 4 < 2 ? 1 : -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_numbers_are_those_of_scipy),
        cmocka_unit_test(the_early_stopping_table_is_exact),
        cmocka_unit_test(the_bootstrap_repeats_and_names_what_it_lacks),
        cmocka_unit_test(fronts_are_what_no_point_beats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
