/* Statistics of latency samples: percentiles as MLPerf defines them, a bound by early stopping, a confidence
 * interval of the median, and a test for drift.
 *
 * Samples are unsigned 32-bit counts of unit_ns nanoseconds in the order they were taken. Results are in
 * nanoseconds. */
#ifndef AVS_METRICS_LATENCY_H
#define AVS_METRICS_LATENCY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

/* Flags stored with a latency row. */
enum {
    AVS_LAT_DRIFT = 1,     /* Kendall trend over time, p < 0.01; see trend_p          */
    AVS_LAT_SHORT = 2,     /* fewer than 64 samples: no bound of p90                  */
    AVS_LAT_SHARED = 4,    /* something else ran on the machine (the runner sets it)  */
    AVS_LAT_THROTTLED = 8, /* clocks were reduced (the runner sets it)                */
    AVS_LAT_UNLOCKED = 16  /* clocks were not locked (the runner sets it)             */
};

typedef struct {
    int64_t n;
    double min, max, mean, sd;   /* ns; sd with n-1, 0 for n = 1                                       */
    double p50, p90, p99;        /* sorted[(size_t)(n*p)], no interpolation                            */
    double p90_bound, p99_bound; /* early-stopping estimate, confidence 0.99; NaN when n is too small  */
    double p50_lo, p50_hi;       /* 95 % interval of the median from order statistics; = min, max if n < 6 */
    /* Two-sided p of Kendall's tau against time (1 for n < 3); of n >= 128 samples over the medians of 32 equal spans, for
     * neighbouring samples are alike and the test wants independent ones. */
    double trend_p;
    int flags; /* AVS_LAT_DRIFT, AVS_LAT_SHORT as found here                                               */
} avs_latency_stats;

/* Makes ns the sample number n, after n others, in units of *unit_ns nanoseconds (1 at the start). Where it is more than 32
 * bits hold, 4.29 s, all samples become microseconds and *unit_ns 1000; above 71 minutes it counts as 71 minutes. */
void avs_latency_put(uint32_t *samples, int64_t n, double *unit_ns, int64_t ns);

/* samples: n values. Errors: AVS_ERANGE if n < 1 or unit_ns is not positive and finite; AVS_ENOMEM. */
int avs_latency_summarise(const uint32_t *samples, int64_t n, double unit_ns, avs_latency_stats *out,
                          avs_err *e);

/* Smallest N with P[Binomial(N, 1-p) <= t] <= 1 - confidence. 0 < p < 1, t >= 0. */
int64_t avs_latency_needed(double p, double confidence, int64_t t);
/* Largest t with needed(t) <= n; 0 when even needed(1) is more than n. The estimate is sorted[n - t]. */
int64_t avs_latency_early_stop(double p, double confidence, int64_t n);

/* Two-sided p-value of Kendall's tau-b (normal approximation with ties) of x over its index; O(n log n). *tau
 * may be NULL. n < 3 or all equal: p = 1, tau = 0. Errors: AVS_ENOMEM. */
int avs_kendall_trend(const double *x, int64_t n, double *tau, double *p, avs_err *e);

/* True once the 95 % half-width of the median is below `share` of the median: the runner's stopping rule. */
bool avs_latency_is_settled(const avs_latency_stats *s, double share);

#endif
