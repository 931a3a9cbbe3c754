/* Latency statistics on sorted integer samples. Bounds and the interval of the median are order statistics,
 * found by bisection on the binomial distribution (an incomplete beta function), so nothing assumes a shape
 * of the latencies. */
#include "metrics/latency.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "metrics/stats.h"

/* P[Binomial(n, q) <= t] */
static double binomial_cdf(int64_t t, int64_t n, double q)
{
    if (t < 0) return 0;
    if (t >= n) return 1;
    return avs_beta_inc((double)(n - t), (double)(t + 1), 1 - q);
}

int64_t avs_latency_needed(double p, double confidence, int64_t t)
{
    int64_t lo = t, hi = t + 1; /* cdf(lo) is 1; cdf(hi) becomes small enough */
    if (!(p > 0 && p < 1) || !(confidence > 0 && confidence < 1) || t < 0) return 0;
    while (binomial_cdf(t, hi, 1 - p) > 1 - confidence && hi < INT64_MAX / 4) hi *= 2;
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;
        if (binomial_cdf(t, mid, 1 - p) > 1 - confidence)
            lo = mid;
        else
            hi = mid;
    }
    return hi;
}

int64_t avs_latency_early_stop(double p, double confidence, int64_t n)
{
    int64_t lo = 0, hi = n; /* cdf(hi) is 1 */
    if (!(p > 0 && p < 1) || !(confidence > 0 && confidence < 1) || n < 1) return 0;
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;
        if (binomial_cdf(mid, n, 1 - p) <= 1 - confidence)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* Inversions of v[0..n) (pairs i < j with v[i] > v[j]) by merge sort; v is sorted afterwards. */
static int64_t inversions(double *v, double *tmp, int64_t n)
{
    int64_t count = 0;
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t lo = 0; lo < n; lo += 2 * width) {
            int64_t mid = lo + width < n ? lo + width : n, hi = lo + 2 * width < n ? lo + 2 * width : n;
            int64_t i = lo, j = mid;
            for (int64_t k = lo; k < hi; k++) {
                bool take_left = j >= hi || (i < mid && v[i] <= v[j]);
                if (!take_left) count += mid - i;
                tmp[k] = take_left ? v[i++] : v[j++];
            }
        }
        memcpy(v, tmp, (size_t)n * sizeof *v);
    }
    return count;
}

int avs_kendall_trend(const double *x, int64_t n, double *tau, double *p, avs_err *e)
{
    if (tau) *tau = 0;
    *p = 1;
    if (n < 3) return AVS_OK;
    double *v = avs_xalloc(2 * (size_t)n * sizeof *v);
    if (!v) return avs_fail(e, AVS_ENOMEM, "no memory to rank %lld samples", (long long)n);
    memcpy(v, x, (size_t)n * sizeof *v);
    double discordant = (double)inversions(v, v + n, n);
    double N = (double)n, pairs = N * (N - 1) / 2, tied = 0, correction = 0;
    for (int64_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && v[j] == v[i]; j++) {}
        double t = (double)(j - i);
        tied += t * (t - 1) / 2;
        correction += t * (t - 1) * (2 * t + 5);
    }
    avs_xfree(v);
    double S = pairs - tied - 2 * discordant;
    double var = (N * (N - 1) * (2 * N + 5) - correction) / 18;
    if (pairs - tied <= 0 || var <= 0) return AVS_OK;
    if (tau) *tau = S / sqrt(pairs * (pairs - tied));
    *p = erfc(fabs(S) / sqrt(var) / sqrt(2.0));
    return AVS_OK;
}

/* Percentile as the MLPerf load generator takes it. */
static double percentile(const uint32_t *sorted, int64_t n, double p, double unit)
{
    return (double)sorted[(size_t)((double)n * p)] * unit;
}

static void median_interval(const uint32_t *sorted, int64_t n, double unit, avs_latency_stats *out)
{
    int64_t lo = 0, hi = (n + 1) / 2; /* largest l with P[Binomial(n, 1/2) <= l-1] <= 0.025 */
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;
        if (binomial_cdf(mid - 1, n, 0.5) <= 0.025)
            lo = mid;
        else
            hi = mid;
    }
    if (lo < 1) lo = 1;
    out->p50_lo = (double)sorted[lo - 1] * unit;
    out->p50_hi = (double)sorted[n - lo] * unit;
}

static double bound(const uint32_t *sorted, int64_t n, double p, double unit)
{
    int64_t t = avs_latency_early_stop(p, 0.99, n);
    return t < 1 ? (double)NAN : (double)sorted[n - t] * unit;
}

void avs_latency_put(uint32_t *samples, int64_t n, double *unit_ns, int64_t ns)
{
    if (*unit_ns == 1 && ns > UINT32_MAX) {
        for (int64_t i = 0; i < n; i++) samples[i] /= 1000;
        *unit_ns = 1000;
    }
    const int64_t v = ns < 0 ? 0 : *unit_ns == 1 ? ns : ns / 1000;
    samples[n] = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

enum { SPANS = 32 };

/* The medians of SPANS equal spans of the samples. scratch: n values. */
static void span_medians(const uint32_t *samples, int64_t n, uint32_t *scratch, double *median)
{
    for (int64_t s = 0; s < SPANS; s++) {
        const int64_t from = s * n / SPANS, len = (s + 1) * n / SPANS - from;
        memcpy(scratch, samples + from, (size_t)len * sizeof *scratch);
        qsort(scratch, (size_t)len, sizeof *scratch, by_value);
        const int64_t below = (len - 1) / 2, above = len / 2;
        median[s] = 0.5 * ((double)scratch[below] + (double)scratch[above]);
    }
}

int avs_latency_summarise(const uint32_t *samples, int64_t n, double unit_ns, avs_latency_stats *out,
                          avs_err *e)
{
    *out = (avs_latency_stats){0};
    if (n < 1)
        return avs_fail(e, AVS_ERANGE, "latency needs at least one sample, there are %lld", (long long)n);
    if (!(unit_ns > 0) || isinf(unit_ns))
        return avs_fail(e, AVS_ERANGE, "the unit of latency samples is %g ns; it must be positive", unit_ns);
    uint32_t *sorted = avs_xalloc((size_t)n * sizeof *sorted);
    double *series = avs_xalloc((size_t)n * sizeof *series);
    int rc = AVS_OK;
    if (!sorted || !series) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory to sort %lld latency samples", (long long)n);
        goto out;
    }
    for (int64_t i = 0; i < n; i++) series[i] = (double)samples[i];
    memcpy(sorted, samples, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    out->n = n;
    out->min = (double)sorted[0] * unit_ns;
    out->max = (double)sorted[n - 1] * unit_ns;
    out->mean = avs_mean(series, (size_t)n) * unit_ns;
    out->sd = n > 1 ? avs_sd(series, (size_t)n) * unit_ns : 0;
    out->p50 = percentile(sorted, n, 0.50, unit_ns);
    out->p90 = percentile(sorted, n, 0.90, unit_ns);
    out->p99 = percentile(sorted, n, 0.99, unit_ns);
    out->p90_bound = bound(sorted, n, 0.90, unit_ns);
    out->p99_bound = bound(sorted, n, 0.99, unit_ns);
    median_interval(sorted, n, unit_ns, out);
    const bool in_spans = n >= (int64_t)4 * SPANS;
    if (in_spans) span_medians(samples, n, sorted, series);
    AVS_TRY(avs_kendall_trend(series, in_spans ? SPANS : n, NULL, &out->trend_p, e));
    if (out->trend_p < 0.01) out->flags |= AVS_LAT_DRIFT;
    if (n < 64) out->flags |= AVS_LAT_SHORT;
out:
    avs_xfree(sorted);
    avs_xfree(series);
    return rc;
}

bool avs_latency_is_settled(const avs_latency_stats *s, double share)
{
    return s->n >= 6 && s->p50 > 0 && (s->p50_hi - s->p50_lo) / 2 < share * s->p50;
}
