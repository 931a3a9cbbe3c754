/* Distances between what was computed and what a golden case holds, and the lines that report them. */
#include "workers/golden/report.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/probe.h"

static void count(avs_golden_report *r, const char *what, const char *name, double share)
{
    r->checks++;
    if (!(share <= r->worst)) {
        r->worst = share;
        snprintf(r->worst_name, sizeof r->worst_name, "%s %s", what, name);
    }
}

/* noise: the golden's own distance from float64, 0 if unknown or not needed */
static bool verdict(avs_golden_report *r, const char *what, const char *name, double distance, double bound,
                    double noise)
{
    const bool plain = distance <= bound, ok = plain || distance <= 2 * noise; /* NaN fails */
    const double limit = plain || !(noise > 0) ? bound : 2 * noise;
    count(r, what, name, limit > 0 ? distance / limit : distance);
    if (!ok) {
        if (!r->failed++) snprintf(r->first_failed, sizeof r->first_failed, "%s %s", what, name);
        fprintf(r->out, "  FAIL %s: %s %s is off by %.3g, allowed %.3g", r->case_name, what, name, distance,
                bound);
        if (noise > 0) fprintf(r->out, " (the golden itself is %.3g from float64)", noise);
        fprintf(r->out, "\n");
    } else if (!plain) {
        r->noisy++;
        fprintf(r->out,
                "  note %s: %s %s is off by %.3g, above %.3g, but the golden itself is %.3g from float64\n",
                r->case_name, what, name, distance, bound, noise);
    } else if (r->verbose) {
        fprintf(r->out, "  ok   %s: %s %s %.3g (allowed %.3g)\n", r->case_name, what, name, distance, bound);
    }
    return ok;
}

static const float *exact_of(avs_golden_report *r, int64_t n)
{
    return r->exact && r->exact_key ? r->exact(r->exact_ctx, r->exact_key, n) : NULL;
}

void avs_golden_miss(avs_golden_report *r, const char *what, const char *name, const char *text)
{
    r->checks++;
    if (!r->failed++) snprintf(r->first_failed, sizeof r->first_failed, "%s %s", what, name);
    r->worst = INFINITY;
    snprintf(r->worst_name, sizeof r->worst_name, "%s %s", what, name);
    fprintf(r->out, "  FAIL %s: %s %s: %s\n", r->case_name, what, name, text);
}

bool avs_golden_number(avs_golden_report *r, const char *what, const char *name, double got, double want,
                       double scale, double bound)
{
    const double s = fabs(want) > scale ? fabs(want) : scale;
    return verdict(r, what, name, s > 0 ? fabs(got - want) / s : fabs(got - want), bound, 0);
}

static double relative(double diff2, double norm2)
{
    /* a tensor that is zero is compared absolutely */
    return norm2 > 0 ? sqrt(diff2 / norm2) : sqrt(diff2);
}

static double array_distance(const float *x, const float *want, int64_t n)
{
    double diff = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = (double)x[i] - (double)want[i];
        diff += d * d;
        norm += (double)want[i] * (double)want[i];
    }
    return relative(diff, norm);
}

bool avs_golden_array(avs_golden_report *r, const char *what, const char *name, const float *got,
                      const float *want, int64_t n, double bound)
{
    const double d = array_distance(got, want, n);
    const float *exact = d <= bound ? NULL : exact_of(r, n);
    return verdict(r, what, name, d, bound, exact ? array_distance(exact, want, n) : 0);
}

static double l2_of(const float *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)x[i] * (double)x[i];
    return sqrt(s);
}

/* The three distances of a summary: norm, inner product, samples. */
typedef struct {
    double norm, dot, samples;
} distances;

/* One of them can be small by chance where the tensor is all round-off, so the largest says how noisy the golden is. */
static double largest_of(const distances *d)
{
    const double most = d->norm > d->dot ? d->norm : d->dot;
    return most > d->samples ? most : d->samples;
}

static distances summary_distances(const float *x, int64_t n, const char *probe, const avs_json *want)
{
    distances d = {0};
    const avs_json *samples = avs_json_get(want, "samples");
    const double l2 = avs_json_num(want, "l2", 0), got = l2_of(x, n), scale = l2 * sqrt((double)n / 3.0);
    d.norm = l2 > 0 ? fabs(got - l2) / l2 : fabs(got);
    if (avs_json_get(want, "dot")) {
        const double diff = fabs(avs_probe_dot(probe, x, n) - avs_json_num(want, "dot", 0));
        d.dot = scale > 0 ? diff / scale : diff;
    }
    const int64_t given = avs_json_int(want, "stride", 1), stride = given > 0 && given < n ? given : n;
    double diff = 0, norm = 0;
    int64_t i = 0;
    for (const avs_json *s = samples ? samples->first : NULL; s && i < n; s = s->next, i += stride) {
        diff += ((double)x[i] - s->d) * ((double)x[i] - s->d);
        norm += s->d * s->d;
    }
    /* few or small samples say little: their own norm, but at least what samples of this tensor have on average */
    const double typical = samples && n ? l2 * l2 / (double)n * (double)samples->len : 0;
    d.samples = relative(diff, norm > typical ? norm : typical);
    return d;
}

bool avs_golden_summary(avs_golden_report *r, const char *what, const char *name, const float *got, int64_t n,
                        const avs_json *want, double bound)
{
    const avs_json *shape = avs_json_get(want, "shape");
    const int failed = r->failed;
    int64_t size = 1;
    char probe[192], label[192];
    for (const avs_json *d = shape ? shape->first : NULL; d && size >= 0 && size <= n; d = d->next)
        size = d->i >= 0 && d->i <= n ? size * d->i : -1;
    if (size != n) {
        snprintf(label, sizeof label, "has %lld values, the case wants %lld", (long long)n, (long long)size);
        avs_golden_miss(r, what, name, label);
        return false;
    }
    snprintf(probe, sizeof probe, "act:%s", name);
    const distances d = summary_distances(got, n, probe, want);
    distances noise = {0};
    if (!(d.norm <= bound && d.dot <= bound && d.samples <= bound)) {
        const float *exact = exact_of(r, n);
        if (exact) noise = summary_distances(exact, n, probe, want);
    }
    const double own = largest_of(&noise);
    snprintf(label, sizeof label, "%s (norm)", name);
    verdict(r, what, label, d.norm, bound, own);
    snprintf(label, sizeof label, "%s (inner product)", name);
    verdict(r, what, label, d.dot, bound, own);
    snprintf(label, sizeof label, "%s (samples)", name);
    verdict(r, what, label, d.samples, bound, own);
    return r->failed == failed;
}

static distances digest_distances(const float *x, int64_t n, const char *probe, double norm, double dot)
{
    const double scale = norm * sqrt((double)n / 3.0), got = l2_of(x, n),
                 diff = fabs(avs_probe_dot(probe, x, n) - dot);
    return (distances){.norm = norm > 0 ? fabs(got - norm) / norm : got,
                       .dot = scale > 0 ? diff / scale : diff};
}

bool avs_golden_digest(avs_golden_report *r, const char *what, const char *prefix, const char *name,
                       const float *got, int64_t n, const avs_json *want, double bound)
{
    const int failed = r->failed;
    const avs_json *norm = avs_json_at(want, 0), *dot = avs_json_at(want, 1);
    char probe[256], label[192];
    if (!norm || !dot) {
        avs_golden_miss(r, what, name, "the case holds no [norm, inner product]");
        return false;
    }
    snprintf(probe, sizeof probe, "%s%s", prefix, name);
    const distances d = digest_distances(got, n, probe, norm->d, dot->d);
    distances noise = {0};
    if (!(d.norm <= bound && d.dot <= bound)) {
        const float *exact = exact_of(r, n);
        if (exact) noise = digest_distances(exact, n, probe, norm->d, dot->d);
    }
    const double own = largest_of(&noise);
    snprintf(label, sizeof label, "%s (norm)", name);
    verdict(r, what, label, d.norm, bound, own);
    snprintf(label, sizeof label, "%s (inner product)", name);
    verdict(r, what, label, d.dot, bound, own);
    return r->failed == failed;
}
