/* Initial values. Element i of key k draws from Philox with key = seed and counter = (FNV-1a(k), i/2): two 32-bit words
 * an element, so that uniform values have 32 random bits and normal ones a Box-Muller pair of their own. */
#include "workers/init.h"

#include <math.h>

#include "base/hash.h"
#include "base/rng.h"

typedef struct {
    uint32_t key[2], stream[2];
} source;

static void draw(const source *s, int64_t i, double u[2])
{
    const uint32_t ctr[4] = {(uint32_t)i, (uint32_t)((uint64_t)i >> 32), s->stream[0], s->stream[1]};
    uint32_t out[4];
    avs_philox4x32(ctr, s->key, out);
    u[0] = ((double)out[0] + 0.5) / 4294967296.0; /* (0,1) */
    u[1] = ((double)out[1] + 0.5) / 4294967296.0;
}

static double normal(const source *s, int64_t i)
{
    double u[2];
    draw(s, i, u);
    return sqrt(-2.0 * log(u[0])) * cos(6.283185307179586 * u[1]);
}

static double uniform(const source *s, int64_t i, double bound)
{
    double u[2];
    draw(s, i, u);
    return (2.0 * u[0] - 1.0) * bound;
}

/* Fans of the reference: O,I,kernel.. and out,in. */
static void fans(const avs_type *t, double *in, double *out)
{
    double area = 1;
    for (int k = 2; k < t->rank; k++) area *= t->d[k];
    *out = t->rank > 0 ? t->d[0] * area : 1;
    *in = t->rank > 1 ? t->d[1] * area : *out;
}

/* Compass directions on the unit square; cosine and sine in float32 as the reference takes them. */
static void msdeform_bias(const avs_init *init, float *out)
{
    const int M = (int)init->a, L = (int)init->b, P = (int)init->c;
    for (int m = 0; m < M; m++) {
        const float theta = (float)m * (float)(6.283185307179586 / M), c = cosf(theta), s = sinf(theta);
        const float big = fabsf(c) > fabsf(s) ? fabsf(c) : fabsf(s);
        for (int l = 0; l < L; l++)
            for (int p = 0; p < P; p++) {
                float *o = out + (size_t)2 * (size_t)((m * L + l) * P + p);
                o[0] = c / big * (float)(p + 1);
                o[1] = s / big * (float)(p + 1);
            }
    }
}

static void centre(float *w, int64_t each, int64_t outputs)
{
    for (int64_t o = 0; o < outputs; o++, w += each) {
        double sum = 0;
        for (int64_t i = 0; i < each; i++) sum += (double)w[i];
        for (int64_t i = 0; i < each; i++) w[i] -= (float)(sum / (double)each);
    }
}

void avs_init_fill(const avs_init *init, const avs_type *t, uint64_t seed, const char *key, float *out)
{
    const uint64_t stream = avs_fnv1a64_str(key);
    const source s = {.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                      .stream = {(uint32_t)stream, (uint32_t)(stream >> 32)}};
    const int64_t n = avs_type_count(t);
    double in, fan_out, scale = 0;
    fans(t, &in, &fan_out);
    bool is_normal = false;
    switch (init->kind) {
    case AVS_INIT_MSDEFORM_BIAS:
        msdeform_bias(init, out);
        return;
    case AVS_INIT_ZERO:
    case AVS_INIT_ONE:
        for (int64_t i = 0; i < n; i++) out[i] = init->kind == AVS_INIT_ONE ? 1.F : 0.F;
        return;
    case AVS_INIT_NORMAL:
    case AVS_INIT_TRUNC_NORMAL:
        scale = (double)init->a;
        is_normal = true;
        break;
    case AVS_INIT_HE_FAN_OUT:
        scale = sqrt(2.0 / fan_out);
        is_normal = true;
        break;
    case AVS_INIT_HE_FAN_IN:
        scale = sqrt(2.0 / in);
        is_normal = true;
        break;
    case AVS_INIT_HE_CENTRED: /* 1 / (1/2 - 1/(2 pi)): the variance of a rectified normal */
        scale = sqrt(2.0 / (1.0 - 1.0 / 3.14159265358979323846) / in);
        is_normal = true;
        break;
    case AVS_INIT_UNIFORM:
        scale = (double)init->a;
        break;
    case AVS_INIT_XAVIER_UNIFORM:
        scale = sqrt(6.0 / (in + fan_out));
        break;
    case AVS_INIT_FAN_IN_UNIFORM:
        scale = 1.0 / sqrt(init->a > 0 ? (double)init->a : in);
        break;
    }
    for (int64_t i = 0; i < n; i++) {
        double v = is_normal ? scale * normal(&s, i) : uniform(&s, i, scale);
        if (init->kind == AVS_INIT_TRUNC_NORMAL) v = v < -2 ? -2 : v > 2 ? 2 : v;
        out[i] = (float)v;
    }
    if (init->kind == AVS_INIT_HE_CENTRED) centre(out, n / t->d[0], t->d[0]);
}

int avs_init_plan(avs_plan *p, const avs_graph *g, uint64_t seed, avs_err *e)
{
    int rc = AVS_OK;
    for (int i = 0; rc == AVS_OK && i < avs_plan_n_params(p); i++) {
        const avs_plan_param *info = avs_plan_param_at(p, i);
        const avs_val v = avs_graph_find(g, info->key);
        float *x = avs_xalloc((size_t)avs_type_count(&info->type) * sizeof(float));
        if (!x) return avs_fail(e, AVS_ENOMEM, "out of memory for the initial values of %s", info->key);
        avs_init_fill(&g->v[v].init, &info->type, seed, info->key, x);
        rc = avs_plan_param_set(p, info->key, x, e);
        avs_xfree(x);
    }
    return rc;
}
