/* Interval of a latency over process repeats: percentile bootstrap over repeats, then over the samples of each drawn repeat
 * (Efron and Tibshirani 1993, chapters 13 and 8.3), 10,000 draws, fixed seed, so that a report repeats.
 *
 * The k-th smallest of n samples drawn with replacement from sorted[0..n) is sorted[J] with
 * P[J <= j] = P[Binomial(n, (j+1)/n) >= k]: J is drawn from that distribution, once for each repeat and draw, in place of n
 * samples. The result has exactly the distribution of the plain bootstrap and costs well below a millisecond per repeat. */
#ifndef AVS_RESULTS_STAT_BOOTSTRAP_H
#define AVS_RESULTS_STAT_BOOTSTRAP_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

enum { AVS_BOOTSTRAP_DRAWS = 10000 };

typedef struct {
    const uint32_t *sorted; /* ascending */
    int64_t n;              /* at least 1 */
    double unit_ns;         /* of one count */
} avs_boot_repeat;

/* "p50", "p90", "p99", "min", "max", "mean", "p90_bound", "p99_bound" of one repeat: the 0-based order statistic that it is,
 * -1 for the mean, -2 where it does not exist (a bound of too few samples) or the word is unknown. */
int64_t avs_boot_order(const char *stat, int64_t n);

/* Interval at `level` (0.95) of the median over n repeats of a statistic. *lo and *hi in ns; NaN when n < 1 or any repeat
 * lacks the statistic. Errors: AVS_ENOMEM. */
int avs_boot_latency(const avs_boot_repeat *repeat, int n, const char *stat, double level, double *lo,
                     double *hi, avs_err *e);

#endif
