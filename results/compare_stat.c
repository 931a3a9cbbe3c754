/* One pair of cells: difference, interval and p. Paired where seeds are common, since common seeds share data order and
 * initial values; otherwise Welch's t with Satterthwaite's degrees of freedom. */
#include <math.h>
#include "metrics/stats.h"
#include "results/compare.h"
#include "results/query.h"

enum { WILCOXON_FROM = 10 };

const char *avs_verdict_name(avs_verdict v)
{
    static const char *const names[] = {"same", "better", "worse", "undecided"};
    return (unsigned)v < AVS_VERDICTS ? names[v] : "?";
}

static void welch(const avs_compare_set *a, const avs_compare_set *b, double level, avs_compare_result *r)
{
    const double sa = avs_sd(a->value, (size_t)a->n), sb = avs_sd(b->value, (size_t)b->n);
    const double va = sa * sa / a->n, vb = sb * sb / b->n, se = sqrt(va + vb);
    r->test = "Welch";
    if (se == 0) {
        r->lo = r->hi = r->delta;
        r->p = r->delta == 0 ? 1 : 0;
        return;
    }
    const double df = (va + vb) * (va + vb) / (va * va / (a->n - 1) + vb * vb / (b->n - 1));
    const double half = avs_t_quantile(0.5 + level / 2, df) * se;
    r->lo = r->delta - half;
    r->hi = r->delta + half;
    r->p = 2 * avs_t_cdf(-fabs(r->delta) / se, df);
}

avs_compare_result avs_compare_sets(const avs_compare_set *a, const avs_compare_set *b, double *scratch,
                                    double level, bool nonparametric, bool exact)
{
    const avs_q_cell x = {.n = a->n, .value = a->value, .seed = a->seed},
                     y = {.n = b->n, .value = b->value, .seed = b->seed};
    double *u = scratch, *v = scratch + a->n;
    avs_compare_result r = {
        .delta = (double)NAN, .lo = (double)NAN, .hi = (double)NAN, .p = (double)NAN, .test = ""};

    if (a->n < 1 || b->n < 1) return r;
    r.delta = avs_mean(b->value, (size_t)b->n) - avs_mean(a->value, (size_t)a->n);
    if (exact) {
        r.lo = r.hi = r.delta;
        r.p = r.delta == 0 ? 1 : 0;
        r.test = "exact";
        return r;
    }
    r.n = avs_q_common(&x, &y, u, v);
    if (r.n < 2) {
        r.n = 0;
        if (a->n >= 2 && b->n >= 2) welch(a, b, level, &r);
        return r;
    }
    const avs_paired d = avs_paired_t(v, u, (size_t)r.n, level);
    r.delta = d.diff;
    r.lo = d.lo;
    r.hi = d.hi;
    r.p = d.p;
    r.test = "paired t";
    if (nonparametric && r.n >= WILCOXON_FROM) {
        for (int i = 0; i < r.n; i++) v[i] -= u[i];
        r.p = avs_wilcoxon(v, (size_t)r.n);
        r.test = "Wilcoxon";
    }
    return r;
}

avs_verdict avs_compare_verdict(const avs_compare_result *r, int better, double threshold)
{
    if (isnan(r->lo) || isnan(r->hi)) return AVS_UNDECIDED;
    if (r->lo > threshold) return better > 0 ? AVS_BETTER : AVS_WORSE;
    if (r->hi < -threshold) return better > 0 ? AVS_WORSE : AVS_BETTER;
    return r->lo >= -threshold && r->hi <= threshold ? AVS_SAME : AVS_UNDECIDED;
}
