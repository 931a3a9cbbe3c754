/* Each repeat gets the distribution of its resampled order statistic once, as a table of cumulative probabilities around
 * the middle; a draw is one random number, a look into a guide and a step or two along the table. The mean has no such
 * table: few samples are drawn one by one, many by the normal limit. */
#include "results/stat_bootstrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/rng.h"
#include "metrics/latency.h"
#include "metrics/stats.h"

enum { GUIDE = 256, MEAN_BY_DRAWS = 64, MAX_REPEATS = 4096 };

typedef struct {
    int64_t order, first; /* cum[i] = P[J <= first + i]; order -1: the mean */
    int64_t n_cum;
    double *cum;
    int32_t guide[GUIDE];
    double mean, sd; /* of the samples, in counts; sd with n */
} table;

int64_t avs_boot_order(const char *stat, int64_t n)
{
    if (n < 1) return -2;
    if (strcmp(stat, "mean") == 0) return -1;
    if (strcmp(stat, "min") == 0) return 0;
    if (strcmp(stat, "max") == 0) return n - 1;
    if (strcmp(stat, "p50") == 0) return (int64_t)((double)n * 0.50);
    if (strcmp(stat, "p90") == 0) return (int64_t)((double)n * 0.90);
    if (strcmp(stat, "p99") == 0) return (int64_t)((double)n * 0.99);
    const double p = strcmp(stat, "p90_bound") == 0 ? 0.90 : strcmp(stat, "p99_bound") == 0 ? 0.99 : 0;
    const int64_t t = p > 0 ? avs_latency_early_stop(p, 0.99, n) : 0;
    return t < 1 ? -2 : n - t;
}

/* P[J <= j] for the order statistic number `order` (0-based) of n draws. */
static double below(int64_t n, int64_t order, int64_t j)
{
    if (j < 0) return 0;
    if (j >= n - 1) return 1;
    return avs_beta_inc((double)(order + 1), (double)(n - order), (double)(j + 1) / (double)n);
}

static int make_table(const avs_boot_repeat *r, const char *stat, table *t, avs_err *e)
{
    *t = (table){.order = avs_boot_order(stat, r->n)};
    if (t->order == -2) return AVS_OK;
    if (t->order == -1) {
        double s = 0, q = 0;
        for (int64_t i = 0; i < r->n; i++) s += r->sorted[i];
        t->mean = s / (double)r->n;
        for (int64_t i = 0; i < r->n; i++) q += (r->sorted[i] - t->mean) * (r->sorted[i] - t->mean);
        t->sd = sqrt(q / (double)r->n);
        return AVS_OK;
    }
    /* eight standard deviations of the Beta distribution to both sides, and a few places for the ends */
    const double n = (double)r->n, mid = (double)t->order, share = (mid + 1) / (n + 1);
    const int64_t reach = (int64_t)(8 * n * sqrt(share * (1 - share) / (n + 2))) + 40;
    const int64_t from = t->order > reach ? t->order - reach : 0;
    const int64_t to = t->order + reach < r->n - 1 ? t->order + reach : r->n - 1;
    t->first = from;
    t->n_cum = to - from + 1;
    t->cum = avs_xalloc((size_t)t->n_cum * sizeof *t->cum);
    if (!t->cum)
        return avs_fail(e, AVS_ENOMEM, "no memory for the bootstrap of %lld samples", (long long)r->n);
    for (int64_t i = 0; i < t->n_cum; i++) t->cum[i] = below(r->n, t->order, from + i);
    t->cum[t->n_cum - 1] = 1;
    int64_t at = 0;
    for (int g = 0; g < GUIDE; g++) {
        while (t->cum[at] < (double)g / GUIDE) at++;
        t->guide[g] = (int32_t)at;
    }
    return AVS_OK;
}

static double draw(const avs_boot_repeat *r, const table *t, avs_rng *rng)
{
    if (t->order >= 0) {
        const double u = avs_rng_unit(rng);
        int64_t i = t->guide[(int)(u * GUIDE)];
        while (t->cum[i] < u) i++;
        return r->sorted[t->first + i] * r->unit_ns;
    }
    if (r->n > MEAN_BY_DRAWS)
        return (t->mean + t->sd / sqrt((double)r->n) * avs_rng_normal(rng)) * r->unit_ns;
    double s = 0;
    for (int64_t i = 0; i < r->n; i++) s += r->sorted[avs_rng_range(rng, 0, r->n - 1)];
    return s / (double)r->n * r->unit_ns;
}

/* The value of rank k (0-based) of v; v is put into another order. Hoare's selection with the middle as pivot. */
static double select_rank(double *v, int n, int k)
{
    int lo = 0, hi = n - 1;
    while (lo < hi) {
        const double pivot = v[lo + (hi - lo) / 2];
        int i = lo, j = hi;
        while (i <= j) {
            while (v[i] < pivot) i++;
            while (v[j] > pivot) j--;
            if (i > j) break;
            const double swap = v[i];
            v[i++] = v[j];
            v[j--] = swap;
        }
        if (k <= j)
            hi = j;
        else if (k >= i)
            lo = i;
        else
            break;
    }
    return v[k];
}

static double median_of(double *v, int n)
{
    for (int i = 1; i < n && n <= 16; i++) { /* a handful of repeats: insertion */
        const double x = v[i];
        int k = i;
        for (; k > 0 && v[k - 1] > x; k--) v[k] = v[k - 1];
        v[k] = x;
    }
    const double high = n <= 16 ? v[n / 2] : select_rank(v, n, n / 2);
    if (n % 2) return high;
    return (high + (n <= 16 ? v[n / 2 - 1] : select_rank(v, n, n / 2 - 1))) / 2;
}

int avs_boot_latency(const avs_boot_repeat *repeat, int n, const char *stat, double level, double *lo,
                     double *hi, avs_err *e)
{
    int rc = AVS_OK;
    bool whole = n >= 1 && n <= MAX_REPEATS;

    *lo = *hi = (double)NAN;
    if (!whole) return AVS_OK;
    table *t = avs_xalloc((size_t)n * sizeof *t);
    double *value = avs_xalloc((AVS_BOOTSTRAP_DRAWS + (size_t)n) * sizeof *value);
    if (!t || !value) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for the bootstrap of %d repeats", n);
        goto out;
    }
    for (int i = 0; i < n; i++) {
        AVS_TRY(make_table(&repeat[i], stat, &t[i], e));
        whole = whole && t[i].order != -2;
    }
    if (!whole) goto out;
    avs_rng rng = avs_rng_seed(20240801);
    double *drawn = value + AVS_BOOTSTRAP_DRAWS;
    for (int b = 0; b < AVS_BOOTSTRAP_DRAWS; b++) {
        for (int i = 0; i < n; i++) {
            const int64_t k = avs_rng_range(&rng, 0, n - 1);
            drawn[i] = draw(&repeat[k], &t[k], &rng);
        }
        value[b] = median_of(drawn, n);
    }
    const int tail = (int)(AVS_BOOTSTRAP_DRAWS * (1 - level) / 2);
    *lo = select_rank(value, AVS_BOOTSTRAP_DRAWS, tail);
    *hi = select_rank(value, AVS_BOOTSTRAP_DRAWS, AVS_BOOTSTRAP_DRAWS - 1 - tail);
out:
    for (int i = 0; t && i < n; i++) avs_xfree(t[i].cum);
    avs_xfree(t);
    avs_xfree(value);
    return rc;
}
