/* Layer normalisation over the last axis, one row per index (Ba et al., arXiv 1607.06450), biased variance, two
 * passes: y = (x - mean) rstd gamma + beta.  Gradient of x: with xh = (x - mean) rstd and g = gy gamma,
 *   gx = rstd (g - mean_c(g) - xh mean_c(g xh));  dgamma and dbeta are column sums, made elsewhere. */
#ifndef AVS_ENGINE_KERNEL_LAYERNORM_K_H
#define AVS_ENGINE_KERNEL_LAYERNORM_K_H

#include "engine/kernel/math.k.h"

typedef struct {
    const float *x, *gamma, *beta;
    float *y, *mean, *rstd;
    int32_t C;
    float eps;
} avs_layernorm_p;

AVS_FN void avs_layernorm_body(const avs_layernorm_p *p, int64_t r)
{
    const int C = p->C;
    const float *AVS_RESTRICT x = p->x + r * C, *AVS_RESTRICT g = p->gamma, *AVS_RESTRICT b = p->beta;
    float *AVS_RESTRICT y = p->y + r * C;
    const float n = 1.f / (float)C;
    float s = 0.f;
    AVS_SIMD_SUM(s)
    for (int c = AVS_LANE; c < C; c += AVS_LANES) s += x[c];
    const float m0 = avs_lane_sum(s) * n;
    /* The second pass also sums the deviations: their mean dm is the rounding error of m0, which matters where the
     * mean is large against the deviations. */
    float q = 0.f, d1 = 0.f;
#if AVS_LANES == 1
    AVS_PRAGMA(omp simd reduction(+ : q, d1))
#endif
    for (int c = AVS_LANE; c < C; c += AVS_LANES) {
        const float d = x[c] - m0;
        q += d * d;
        d1 += d;
    }
    const float dm = avs_lane_sum(d1) * n;
    const float var = avs_lane_sum(q) * n - dm * dm;
    const float k = 1.f / avs_sqrtf((var > 0.f ? var : 0.f) + p->eps);
    AVS_SIMD
    for (int c = AVS_LANE; c < C; c += AVS_LANES) y[c] = ((x[c] - m0) - dm) * k * g[c] + b[c];
    if (AVS_LANE == 0) {
        p->mean[r] = m0 + dm;
        p->rstd[r] = k;
    }
}
AVS_KERNEL_ROW(avs_layernorm, avs_layernorm_p)

typedef struct {
    const float *gy, *x, *gamma, *mean, *rstd;
    float *gx;
    int32_t C;
} avs_layernorm_bwd_p;

AVS_FN void avs_layernorm_bwd_body(const avs_layernorm_bwd_p *p, int64_t r)
{
    const int C = p->C;
    const float *AVS_RESTRICT gy = p->gy + r * C, *AVS_RESTRICT x = p->x + r * C;
    const float *AVS_RESTRICT gamma = p->gamma;
    float *AVS_RESTRICT gx = p->gx + r * C;
    const float m = p->mean[r], k = p->rstd[r], n = 1.f / (float)C;
    float s1 = 0.f, s2 = 0.f;
#if AVS_LANES == 1
    AVS_PRAGMA(omp simd reduction(+ : s1, s2))
#endif
    for (int c = AVS_LANE; c < C; c += AVS_LANES) {
        const float g = gy[c] * gamma[c];
        s1 += g;
        s2 += g * ((x[c] - m) * k);
    }
    s1 = avs_lane_sum(s1) * n;
    s2 = avs_lane_sum(s2) * n;
    AVS_SIMD
    for (int c = AVS_LANE; c < C; c += AVS_LANES) {
        const float xh = (x[c] - m) * k;
        gx[c] = k * (gy[c] * gamma[c] - s1 - xh * s2);
    }
}
AVS_KERNEL_ROW(avs_layernorm_bwd, avs_layernorm_bwd_p)

#endif
