/* resampy's interpolation loop. The filter tables (half a Kaiser-windowed sinc) are the same for every call and take
 * 50 ms to make, so they are made once per process and then only read. */
#include "data/resample_audio.h"

#include "base/arena.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int zeros, per_zero;
    double beta, rolloff;
} filter;

static const filter filters[2] = {
    [AVS_RESAMPY_043] = {50, 8192, 12.984585247040012, 0.9173473712608761},
    [AVS_RESAMPY_022] = {64, 512, 14.769656459379492, 0.9475937167399596},
};

/* Modified Bessel function of order 0 by its power series: all terms are positive, so the sum is accurate. */
static double bessel_i0(double x)
{
    const double q = x * x / 4;
    double term = 1, sum = 1;
    for (int k = 1; k < 200 && term > 1e-18 * sum; k++) {
        term *= q / ((double)k * k);
        sum += term;
    }
    return sum;
}

int avs_resample_table(avs_resampler kind, double **table, int64_t *n, avs_err *e)
{
    const filter *f = &filters[kind];
    const int64_t last = (int64_t)f->zeros * f->per_zero;
    double *t = avs_xrealloc(NULL, sizeof(double) * (size_t)(last + 1));
    *table = NULL;
    if (!t)
        return avs_fail(e, AVS_ENOMEM, "no memory for a resampling filter of %lld values",
                        (long long)last + 1);
    const double norm = bessel_i0(f->beta), pi = 3.14159265358979323846;
    for (int64_t i = 0; i <= last; i++) {
        const double u = f->rolloff * (double)i / f->per_zero, r = (double)i / (double)last;
        const double sinc = i == 0 ? 1 : sin(pi * u) / (pi * u);
        t[i] = f->rolloff * sinc * bessel_i0(f->beta * sqrt(1 - r * r)) / norm;
    }
    *table = t;
    *n = last + 1;
    return AVS_OK;
}

/* Made once, only read afterwards: the one cache here, because an AVSS split resamples 10000 clips with one filter. */
static struct {
    pthread_once_t once;
    double *win;
    int64_t n;
} cache[2] = {{.once = PTHREAD_ONCE_INIT}, {.once = PTHREAD_ONCE_INIT}};

static void fill_043(void)
{
    avs_resample_table(AVS_RESAMPY_043, &cache[0].win, &cache[0].n, NULL);
}
static void fill_022(void)
{
    avs_resample_table(AVS_RESAMPY_022, &cache[1].win, &cache[1].n, NULL);
}

int64_t avs_resample_length(avs_resampler kind, int64_t n, int32_t from_hz, int32_t to_hz)
{
    if (from_hz == to_hz) return n;
    if (kind == AVS_RESAMPY_022) return (int64_t)((double)n * ((double)to_hz / from_hz));
    return (int64_t)((double)n * to_hz / from_hz);
}

/* One wing of the filter: taps win[off + k*step] interpolated by eta, over x[at], x[at + dir], .. */
typedef struct {
    const double *win;
    int64_t len, step;
    double gain;
    int per_zero;
} wing;

static double wing_sum(const wing *w, double frac, const double *x, int64_t dir, int64_t n)
{
    const double q = frac * w->per_zero;
    const int64_t off = (int64_t)q;
    const double eta = q - (double)off;
    const int64_t taps = (w->len - off) / w->step, count = n < taps ? n : taps;
    double y = 0;
    for (int64_t k = 0; k < count; k++) {
        const int64_t i = off + k * w->step;
        const double a = w->win[i] * w->gain, d = i + 1 < w->len ? w->win[i + 1] * w->gain - a : 0;
        y += (a + eta * d) * x[k * dir];
    }
    return y;
}

int avs_resample(avs_resampler kind, const double *x, int64_t n, int32_t from_hz, int32_t to_hz, double *out,
                 avs_err *e)
{
    if (from_hz < 1 || to_hz < 1)
        return avs_fail(e, AVS_ERANGE, "cannot resample from %d Hz to %d Hz", from_hz, to_hz);
    const int64_t m = avs_resample_length(kind, n, from_hz, to_hz);
    if (from_hz == to_hz) {
        if (n) memcpy(out, x, sizeof(double) * (size_t)n);
        return AVS_OK;
    }
    pthread_once(&cache[kind].once, kind == AVS_RESAMPY_043 ? fill_043 : fill_022);
    if (!cache[kind].win) return avs_fail(e, AVS_ENOMEM, "no memory for the resampling filter");
    const double ratio = (double)to_hz / from_hz, scale = ratio < 1 ? ratio : 1, per = 1.0 / ratio;
    const wing w = {cache[kind].win, cache[kind].n, (int64_t)(scale * filters[kind].per_zero), scale,
                    filters[kind].per_zero};
    if (w.step < 1) return avs_fail(e, AVS_ERANGE, "cannot resample from %d Hz to %d Hz", from_hz, to_hz);
    double running = 0;
    for (int64_t t = 0; t < m; t++) {
        const double time = kind == AVS_RESAMPY_022 ? running : (double)t * per;
        int64_t i0 = (int64_t)time;
        if (i0 > n - 1) i0 = n - 1;
        const double frac = scale * (time - (double)i0);
        double y = wing_sum(&w, frac, x + i0, -1, i0 + 1);
        const double rest = scale - frac;
        if (i0 + 1 < n) y += wing_sum(&w, rest > 0 ? rest : 0, x + i0 + 1, 1, n - i0 - 1);
        out[t] = y;
        running += per;
    }
    return AVS_OK;
}
