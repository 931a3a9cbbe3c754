/* Statistics over a handful of seeds. The t distribution comes from the incomplete beta function by its
 * continued fraction (modified Lentz); quantiles by bisection on the distribution function, which needs no
 * starting value and cannot diverge. */
#include "metrics/stats.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { BISECTIONS = 200 };

double avs_mean(const double *x, size_t n)
{
    double s = 0;
    if (n == 0) return (double)NAN;
    for (size_t i = 0; i < n; i++) s += x[i];
    return s / (double)n;
}

double avs_sd(const double *x, size_t n)
{
    if (n < 2) return (double)NAN;
    double m = avs_mean(x, n), s = 0;
    for (size_t i = 0; i < n; i++) s += (x[i] - m) * (x[i] - m);
    return sqrt(s / (double)(n - 1));
}

/* Continued fraction of I_x(a,b); converges fast for x < (a+1)/(a+b+2). */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    if (fabs(d) < tiny) d = tiny;
    d = 1 / d;
    double h = d;
    for (int m = 1; m < 20000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 + even * d;
        c = 1 + even / c;
        if (fabs(d) < tiny) d = tiny;
        if (fabs(c) < tiny) c = tiny;
        d = 1 / d;
        h *= d * c;
        d = 1 + odd * d;
        c = 1 + odd / c;
        if (fabs(d) < tiny) d = tiny;
        if (fabs(c) < tiny) c = tiny;
        d = 1 / d;
        h *= d * c;
        if (fabs(d * c - 1) < 1e-16) break;
    }
    return h;
}

static double ln_gamma(double x)
{
    int sign;
    return lgamma_r(x, &sign);
}

double avs_beta_inc(double a, double b, double x)
{
    if (isnan(a) || isnan(b) || isnan(x) || a <= 0 || b <= 0) return (double)NAN;
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    double front = exp(ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double avs_t_cdf(double t, double df)
{
    if (isnan(t) || isnan(df) || df <= 0) return (double)NAN;
    double tail = 0.5 * avs_beta_inc(df / 2, 0.5, df / (df + t * t));
    return t > 0 ? 1 - tail : tail;
}

double avs_t_quantile(double p, double df)
{
    if (!(p > 0 && p < 1) || !(df > 0)) return (double)NAN;
    if (p < 0.5) return -avs_t_quantile(1 - p, df);
    double lo = 0, hi = 1;
    while (avs_t_cdf(hi, df) < p && hi < 1e300) hi *= 2;
    for (int i = 0; i < BISECTIONS && lo < hi; i++) {
        double mid = 0.5 * (lo + hi);
        if (mid == lo || mid == hi) break;
        if (avs_t_cdf(mid, df) < p)
            lo = mid;
        else
            hi = mid;
    }
    return hi;
}

double avs_normal_cdf(double z)
{
    return 0.5 * erfc(-z / sqrt(2.0));
}

double avs_normal_quantile(double p)
{
    if (!(p > 0 && p < 1)) return (double)NAN;
    double lo = -40, hi = 40;
    for (int i = 0; i < BISECTIONS; i++) {
        double mid = 0.5 * (lo + hi);
        if (mid == lo || mid == hi) break;
        if (avs_normal_cdf(mid) < p)
            lo = mid;
        else
            hi = mid;
    }
    return 0.5 * (lo + hi);
}

double avs_t_halfwidth(const double *x, size_t n, double level)
{
    if (n < 2) return (double)NAN;
    return avs_t_quantile(0.5 + level / 2, (double)(n - 1)) * avs_sd(x, n) / sqrt((double)n);
}

/* diff, t and p; *se is the standard error of the mean difference. */
static avs_paired paired(const double *a, const double *b, size_t n, double *se)
{
    avs_paired r = {.diff = (double)NAN,
                    .lo = (double)NAN,
                    .hi = (double)NAN,
                    .t = (double)NAN,
                    .p = (double)NAN,
                    .n = n};
    double m = 0, ss = 0;
    *se = (double)NAN;
    if (n == 0) return r;
    for (size_t i = 0; i < n; i++) m += a[i] - b[i];
    m /= (double)n;
    r.diff = m;
    if (n < 2) return r;
    for (size_t i = 0; i < n; i++) ss += (a[i] - b[i] - m) * (a[i] - b[i] - m);
    *se = sqrt(ss / (double)(n - 1) / (double)n);
    if (*se > 0) {
        r.t = m / *se;
        r.p = 2 * avs_t_cdf(-fabs(r.t), (double)(n - 1));
    } else if (*se == 0) {
        r.t = m == 0 ? 0 : copysign(INFINITY, m);
        r.p = m == 0 ? 1 : 0;
    }
    return r;
}

double avs_paired_p(const double *a, const double *b, size_t n)
{
    double se;
    return paired(a, b, n, &se).p;
}

avs_paired avs_paired_t(const double *a, const double *b, size_t n, double level)
{
    double se;
    avs_paired r = paired(a, b, n, &se);
    if (n < 2) return r;
    const double half = avs_t_quantile(0.5 + level / 2, (double)(n - 1)) * se;
    r.lo = r.diff - half;
    r.hi = r.diff + half;
    return r;
}

/* NaN last; equal values in order of their places. */
static int by_p(const void *x, const void *y, void *values)
{
    const size_t a = *(const size_t *)x, b = *(const size_t *)y;
    const double *p = values;
    if (isnan(p[a]) || isnan(p[b])) return isnan(p[a]) - isnan(p[b]);
    return p[a] != p[b] ? (p[a] > p[b]) - (p[a] < p[b]) : (a > b) - (a < b);
}

void avs_holm(const double *p, size_t n, double *out, size_t *order)
{
    double running = 0;
    size_t known = 0;
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
        out[i] = (double)NAN;
        known += !isnan(p[i]);
    }
    qsort_r(order, n, sizeof *order, by_p, (void *)(uintptr_t)p);
    for (size_t k = 0; k < known;
         k++) { /* the k-th smallest times what is left, never below an earlier one */
        double v = (double)(known - k) * p[order[k]];
        if (v > 1) v = 1;
        if (v > running) running = v;
        out[order[k]] = running;
    }
}

/* Twice the mid-rank of |d[i]| among the differences that are not zero: an integer. */
static size_t double_rank(const double *d, size_t n, size_t i)
{
    size_t below = 0, same = 0;
    for (size_t j = 0; j < n; j++) {
        below += d[j] != 0 && fabs(d[j]) < fabs(d[i]);
        same += fabs(d[j]) == fabs(d[i]);
    }
    return 2 * below + same + 1;
}

double avs_wilcoxon(const double *diff, size_t n)
{
    double up[AVS_WILCOXON_EXACT * (AVS_WILCOXON_EXACT + 1) + 1] = {
        1}; /* P[twice the sum of positive ranks = s] */
    double observed = 0, squares = 0;
    size_t m = 0, top = 0;

    for (size_t i = 0; i < n; i++) {
        if (isnan(diff[i])) return (double)NAN;
        m += diff[i] != 0;
    }
    if (m == 0) return 1;
    for (size_t i = 0; i < n; i++) {
        if (diff[i] == 0) continue;
        size_t r = double_rank(diff, n, i);
        if (diff[i] > 0) observed += (double)r;
        squares += (double)r * (double)r;
        top += r;
        if (m > AVS_WILCOXON_EXACT) continue;
        for (size_t s = top + 1; s-- > 0;) up[s] = 0.5 * (up[s] + (s >= r ? up[s - r] : 0));
    }
    double distance = fabs(observed - (double)top / 2);
    if (m > AVS_WILCOXON_EXACT) return 2 * avs_normal_cdf(-distance / (0.5 * sqrt(squares)));
    double p = 0;
    for (size_t s = 0; s <= top; s++)
        if (fabs((double)s - (double)top / 2) >= distance) p += up[s];
    return p < 1 ? p : 1;
}
