/* Small-sample statistics over seeds: means, t-intervals, paired t, Holm, exact Wilcoxon. Plain double
 * arrays.
 *
 * Nothing here allocates; n is the number of seeds (small). NaN inputs give NaN results. */
#ifndef AVS_METRICS_STATS_H
#define AVS_METRICS_STATS_H

#include <stddef.h>

double avs_mean(const double *x, size_t n); /* NaN for n = 0                     */
double avs_sd(const double *x, size_t n);   /* with n-1; NaN for n < 2           */

double avs_beta_inc(double a, double b, double x); /* regularised I_x(a,b), a, b > 0    */
double avs_t_cdf(double t, double df);             /* P[T <= t], df > 0                 */
double avs_t_quantile(double p, double df);        /* 0 < p < 1                         */
double avs_normal_cdf(double z);
double avs_normal_quantile(double p); /* 0 < p < 1                         */

/* Half-width of the two-sided interval of the mean; level 0.95 for 95 %. NaN for n < 2. */
double avs_t_halfwidth(const double *x, size_t n, double level);

typedef struct {
    double diff, lo, hi; /* mean of a-b and its interval at `level`                  */
    double t, p;         /* two-sided p; all differences equal: p = 0, or 1 if all 0 */
    size_t n;
} avs_paired;
avs_paired avs_paired_t(const double *a, const double *b, size_t n,
                        double level); /* n < 2: t, p, lo, hi NaN */

/* p alone, without the interval. */
double avs_paired_p(const double *a, const double *b, size_t n);

/* Holm's step-down: adjusted p-values into out. order is scratch for n numbers; p, out and order must not overlap. A NaN
 * stays NaN and counts as no comparison. O(n log n). */
void avs_holm(const double *p, size_t n, double *out, size_t *order);

/* Two-sided Wilcoxon signed-rank p of the differences (zeros dropped, mid-ranks for ties): 1 when nothing is left. Exact up
 * to AVS_WILCOXON_EXACT differences, by counting rank sums, ties included; above by the normal limit with the variance
 * corrected for ties, without continuity correction. NaN if any difference is NaN. O(n^2). */
enum { AVS_WILCOXON_EXACT = 50 };
double avs_wilcoxon(const double *diff, size_t n);

#endif
