/* Statistics over a handful of seeds. The t distribution comes from the incomplete beta function by its
 * continued fraction (modified Lentz); quantiles by bisection on the distribution function, which needs no
 * starting value and cannot diverge. */
#include "metrics/stats.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

enum { WILCOXON_MAX = 12, BISECTIONS = 200 };

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

avs_paired avs_paired_t(const double *a, const double *b, size_t n, double level)
{
    avs_paired r = {.diff = (double)NAN,
                    .lo = (double)NAN,
                    .hi = (double)NAN,
                    .t = (double)NAN,
                    .p = (double)NAN,
                    .n = n};
    if (n == 0) return r;
    double m = 0, ss = 0;
    for (size_t i = 0; i < n; i++) m += a[i] - b[i];
    m /= (double)n;
    r.diff = m;
    if (n < 2) return r;
    for (size_t i = 0; i < n; i++) ss += (a[i] - b[i] - m) * (a[i] - b[i] - m);
    double se = sqrt(ss / (double)(n - 1) / (double)n);
    double df = (double)(n - 1), half = avs_t_quantile(0.5 + level / 2, df) * se;
    r.lo = m - half;
    r.hi = m + half;
    if (se > 0) {
        r.t = m / se;
        r.p = 2 * avs_t_cdf(-fabs(r.t), df);
    } else if (se == 0) {
        r.t = m == 0 ? 0 : copysign(INFINITY, m);
        r.p = m == 0 ? 1 : 0;
    }
    return r;
}

void avs_holm(const double *p, size_t n, double *out)
{
    /* The k-th smallest p is multiplied by n-k; a later one is never below an earlier one. Ties go by index.
     */
    double running = 0;
    for (size_t i = 0; i < n; i++) out[i] = -1;
    for (size_t k = 0; k < n; k++) {
        size_t pick = n;
        for (size_t i = 0; i < n; i++)
            if (out[i] < 0 && (pick == n || p[i] < p[pick])) pick = i;
        double v = (double)(n - k) * p[pick];
        if (v > 1) v = 1;
        if (v > running) running = v;
        out[pick] = running;
    }
}

double avs_wilcoxon_exact(const double *diff, size_t n)
{
    double d[WILCOXON_MAX], rank[WILCOXON_MAX];
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(diff[i])) return (double)NAN;
        if (diff[i] == 0) continue;
        if (m == WILCOXON_MAX) return (double)NAN;
        d[m++] = diff[i];
    }
    if (m == 0) return 1;
    double total = 0, observed = 0;
    for (size_t i = 0; i < m; i++) {
        size_t below = 0, same = 0;
        for (size_t j = 0; j < m; j++) {
            below += fabs(d[j]) < fabs(d[i]);
            same += fabs(d[j]) == fabs(d[i]);
        }
        rank[i] = (double)below + ((double)same + 1) / 2;
        total += rank[i];
        if (d[i] > 0) observed += rank[i];
    }
    /* Under the null every sign pattern is equally likely; ranks are multiples of 1/2, so the sums are exact.
     */
    double distance = fabs(observed - total / 2);
    uint32_t extreme = 0;
    for (uint32_t signs = 0; signs < (1u << m); signs++) {
        double w = 0;
        for (size_t i = 0; i < m; i++)
            if (signs >> i & 1u) w += rank[i];
        extreme += fabs(w - total / 2) >= distance;
    }
    return (double)extreme / (double)(1u << m);
}
