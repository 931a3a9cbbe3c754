/* Who sounds in which second, and the mixed track. */
#include "data/composer.h"

#include <math.h>
#include <stdlib.h>

void avs_noise_fill(avs_rng *r, float *out, int64_t n, double sigma)
{
    for (int64_t i = 0; i < n; i += 2) { /* Box-Muller, both values of a pair */
        const double u = 1.0 - avs_rng_unit(r), v = 6.283185307179586 * avs_rng_unit(r);
        const double radius = sigma * sqrt(-2.0 * log(u));
        out[i] = (float)(radius * cos(v));
        if (i + 1 < n) out[i + 1] = (float)(radius * sin(v));
    }
}

void avs_sounding_draw(avs_scene *s, avs_rng *r)
{
    for (int t = 0; t < s->T; t++) {
        if (t > 0 && avs_rng_unit(r) >= 0.5) {
            s->sounding[t] = s->sounding[t - 1];
            continue;
        }
        const double u = avs_rng_unit(r);
        if (u < 0.05) {
            s->sounding[t] = 0;
            continue;
        }
        const int a = (int)avs_rng_range(r, 0, s->n - 1);
        s->sounding[t] = (uint8_t)(1 << a);
        if (u < 0.40 && s->n > 2) {
            const int b = (int)avs_rng_range(r, 0, s->n - 2);
            s->sounding[t] |= (uint8_t)(1 << (b < a ? b : b + 1));
        }
    }
}

/* Seconds lie on the grid of the log-mel examples (15360 samples), so that example t never holds second t-1. */
static int64_t second_start(const avs_scene *s, int t)
{
    return t < s->T ? (int64_t)15360 * t : (int64_t)AVS_SCENE_RATE * s->T;
}

static void add_run(double *x, int64_t from, int64_t to, const avs_stamp *stamp, avs_rng *r)
{
    enum { FADE = 160 }; /* 10 ms */
    const int64_t start = avs_rng_range(r, 0, stamp->ring_n - 1), n = to - from;
    const double gain = pow(10.0, avs_rng_uniform(r, -6, 3) / 20);
    for (int64_t i = 0; i < n; i++) {
        double g = gain;
        if (i < FADE) g *= (double)i / FADE;
        if (n - 1 - i < FADE) g *= (double)(n - 1 - i) / FADE;
        x[from + i] += g * stamp->ring[(start + i) % stamp->ring_n];
    }
}

int avs_sound_mix(const avs_scene *s, const avs_stamp *stamps, avs_rng *r, int16_t *out, avs_err *e)
{
    const int64_t n = (int64_t)AVS_SCENE_RATE * s->T;
    double *x = AVS_NEW_N(s->arena, double, n);
    float *noise = AVS_NEW_N(s->arena, float, n);
    if (!x || !noise) return avs_fail(e, AVS_ENOMEM, "no memory for %lld samples", (long long)n);
    for (int k = 0; k < s->n; k++)
        for (int t = 0; t < s->T;) {
            int end = t;
            while (end < s->T && (s->sounding[end] >> k & 1)) end++;
            if (end > t) add_run(x, second_start(s, t), second_start(s, end), &stamps[s->sprite[k].stamp], r);
            t = end > t ? end : t + 1;
        }
    avs_noise_fill(r, noise, n, 0.3 * pow(10.0, avs_rng_uniform(r, -2.5, -1.75)));
    for (int64_t i = 0; i < n; i++) {
        const double v = floor((x[i] + (double)noise[i]) * 32768 + 0.5);
        out[i] = (int16_t)(v < -32768 ? -32768 : v > 32767 ? 32767 : v);
    }
    return AVS_OK;
}
