/* Log-mel examples. One frame is: window, a complex FFT of 256 points over even and odd samples, the split into 257 bins,
 * magnitudes, and 461 mel weights. The tables are made once per process and then only read. */
#include "data/logmel.h"

#include "base/arena.h"
#include "data/resample_audio.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PI 3.14159265358979323846
enum { HALF = AVS_MEL_FFT / 2, EDGES = AVS_MEL_BANDS + 2 };

typedef struct {
    double window[AVS_MEL_WINDOW];
    double cos[HALF], sin[HALF]; /* of 2 pi k / 512 */
    uint8_t reverse[HALF];
    int first[AVS_MEL_BANDS], count[AVS_MEL_BANDS]; /* bins with a weight */
    double weight[AVS_MEL_BINS * AVS_MEL_BANDS];    /* [257,64] */
} mel_tables;

static mel_tables tables;
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static double mel_of(double hz)
{
    return 1127.0 * log(1.0 + hz / 700.0);
}

static void make_matrix(mel_tables *t)
{
    const double lo = mel_of(125.0), hi = mel_of(7500.0);
    double edge[EDGES];
    for (int i = 0; i < EDGES; i++) edge[i] = lo + (hi - lo) * i / (EDGES - 1);
    for (int b = 0; b < AVS_MEL_BANDS; b++) {
        for (int k = 1; k < AVS_MEL_BINS; k++) { /* the weight of DC stays 0 */
            const double m = mel_of(8000.0 * k / (AVS_MEL_BINS - 1));
            const double up = (m - edge[b]) / (edge[b + 1] - edge[b]);
            const double down = (edge[b + 2] - m) / (edge[b + 2] - edge[b + 1]);
            const double w = fmax(0.0, fmin(up, down));
            t->weight[k * AVS_MEL_BANDS + b] = w;
            if (w <= 0) continue;
            if (t->count[b] == 0) t->first[b] = k;
            t->count[b] = k - t->first[b] + 1;
        }
    }
}

static void make_tables(void)
{
    mel_tables *t = &tables;
    for (int i = 0; i < AVS_MEL_WINDOW; i++) t->window[i] = 0.5 - 0.5 * cos(2 * PI * i / AVS_MEL_WINDOW);
    for (int k = 0; k < HALF; k++) {
        t->cos[k] = cos(2 * PI * k / AVS_MEL_FFT);
        t->sin[k] = sin(2 * PI * k / AVS_MEL_FFT);
        int r = 0;
        for (int b = 0; b < 8; b++) r |= ((k >> b) & 1) << (7 - b);
        t->reverse[k] = (uint8_t)r;
    }
    make_matrix(t);
}

static const mel_tables *get_tables(void)
{
    pthread_once(&tables_once, make_tables);
    return &tables;
}

void avs_logmel_window(double window[AVS_MEL_WINDOW])
{
    memcpy(window, get_tables()->window, sizeof(double) * AVS_MEL_WINDOW);
}

void avs_logmel_matrix(double *matrix)
{
    memcpy(matrix, get_tables()->weight, sizeof tables.weight);
}

/* In-place radix-2 over re, im in bit-reversed order, forward. */
static void fft256(const mel_tables *t, double *re, double *im)
{
    for (int len = 2; len <= HALF; len *= 2) {
        const int half = len / 2;
        const int64_t stride = AVS_MEL_FFT / len;
        for (int at = 0; at < HALF; at += len)
            for (int k = 0; k < half; k++) {
                const double c = t->cos[k * stride], s = -t->sin[k * stride];
                const int a = at + k, b = a + half;
                const double xr = re[b] * c - im[b] * s, xi = re[b] * s + im[b] * c;
                re[b] = re[a] - xr;
                im[b] = im[a] - xi;
                re[a] += xr;
                im[a] += xi;
            }
    }
}

void avs_rfft_magnitude(const double x[AVS_MEL_FFT], double mag[AVS_MEL_BINS])
{
    const mel_tables *t = get_tables();
    double re[HALF], im[HALF];
    for (int64_t i = 0; i < HALF; i++) {
        re[t->reverse[i]] = x[2 * i];
        im[t->reverse[i]] = x[2 * i + 1];
    }
    fft256(t, re, im);
    mag[0] = fabs(re[0] + im[0]);
    mag[HALF] = fabs(re[0] - im[0]);
    for (int k = 1; k < HALF; k++) {
        const int j = HALF - k;
        /* E = (Z[k] + conj Z[j]) / 2, O = (Z[k] - conj Z[j]) / 2i, X[k] = E + w^k O */
        const double er = (re[k] + re[j]) / 2, ei = (im[k] - im[j]) / 2;
        const double or = (im[k] + im[j]) / 2, oi = (re[j] - re[k]) / 2;
        const double c = t->cos[k], s = -t->sin[k];
        const double xr = er + or *c - oi * s, xi = ei + or *s + oi * c;
        mag[k] = sqrt(xr * xr + xi * xi);
    }
}

int64_t avs_logmel_examples(int64_t n)
{
    if (n < AVS_MEL_WINDOW) return 0;
    const int64_t frames = 1 + (n - AVS_MEL_WINDOW) / AVS_MEL_HOP;
    return frames / AVS_MEL_FRAMES;
}

static void one_frame(const mel_tables *t, const double *x, float *out)
{
    double in[AVS_MEL_FFT] = {0}, mag[AVS_MEL_BINS];
    for (int i = 0; i < AVS_MEL_WINDOW; i++) in[i] = x[i] * t->window[i];
    avs_rfft_magnitude(in, mag);
    for (int b = 0; b < AVS_MEL_BANDS; b++) {
        double sum = 0;
        for (int k = t->first[b]; k < t->first[b] + t->count[b]; k++)
            sum += mag[k] * t->weight[k * AVS_MEL_BANDS + b];
        out[b] = (float)log(sum + 0.01);
    }
}

int64_t avs_logmel(const double *x, int64_t n, int64_t count, float *out)
{
    const mel_tables *t = get_tables();
    const int64_t examples = avs_logmel_examples(n), m = examples < count ? examples : count;
    for (int64_t f = 0; f < m * AVS_MEL_FRAMES; f++)
        one_frame(t, x + f * AVS_MEL_HOP, out + f * AVS_MEL_BANDS);
    return m;
}

int avs_logmel_clip(const avs_sound *s, int64_t count, avs_mel_pad pad, float *out, avs_err *e)
{
    double *x = NULL;
    const double *at_16k = s->x;
    int64_t n = s->n, made = 0;
    int rc = AVS_OK;
    if (s->rate != AVS_MEL_RATE) {
        n = avs_resample_length(AVS_RESAMPY_043, s->n, s->rate, AVS_MEL_RATE);
        x = avs_xrealloc(NULL, sizeof(double) * (size_t)(n ? n : 1));
        if (!x) return avs_fail(e, AVS_ENOMEM, "no memory for %lld samples", (long long)n);
        AVS_TRY(avs_resample(AVS_RESAMPY_043, s->x, s->n, s->rate, AVS_MEL_RATE, x, e));
        at_16k = x;
    }
    made = avs_logmel(at_16k, n, count, out);
    if (made == count) goto out;
    if (pad == AVS_MEL_ZEROS) {
        memset(out + made * AVS_MEL_EXAMPLE, 0, sizeof(float) * (size_t)((count - made) * AVS_MEL_EXAMPLE));
    } else if (made == 0) {
        rc = avs_fail(e, AVS_ERANGE, "%.3f s of sound at %d Hz are too short: 0.975 s make the first example",
                      (double)s->n / s->rate, s->rate);
    } else {
        for (int64_t i = made; i < count; i++)
            memcpy(out + i * AVS_MEL_EXAMPLE, out + (made - 1) * AVS_MEL_EXAMPLE,
                   sizeof(float) * AVS_MEL_EXAMPLE);
    }
out:
    free(x);
    return rc;
}
