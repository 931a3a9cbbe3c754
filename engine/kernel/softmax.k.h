/* Softmax over the last axis and its gradient, one row per index.
 *   y_c = exp(x_c - max) / sum exp(x - max);   gx = y (gy - sum(gy y)) */
#ifndef AVS_ENGINE_KERNEL_SOFTMAX_K_H
#define AVS_ENGINE_KERNEL_SOFTMAX_K_H

#include "engine/kernel/math.k.h"

typedef struct {
    const float *x;
    float *y;
    int32_t C;
} avs_softmax_p;

AVS_FN void avs_softmax_body(const avs_softmax_p *p, int64_t r)
{
    const int C = p->C;
    const float *AVS_RESTRICT x = p->x + r * C;
    float *AVS_RESTRICT y = p->y + r * C;
    float m = x[0];
    AVS_SIMD_MAX(m)
    for (int c = AVS_LANE; c < C; c += AVS_LANES) m = x[c] > m ? x[c] : m;
    m = avs_lane_max(m);
    float s = 0.f;
    AVS_SIMD_SUM(s)
    for (int c = AVS_LANE; c < C; c += AVS_LANES) {
        const float e = avs_expf(x[c] - m);
        y[c] = e;
        s += e;
    }
    const float k = 1.f / avs_lane_sum(s);
    AVS_SIMD
    for (int c = AVS_LANE; c < C; c += AVS_LANES) y[c] *= k;
}
AVS_KERNEL_ROW(avs_softmax, avs_softmax_p)

typedef struct {
    const float *gy, *y;
    float *gx;
    int32_t C;
} avs_softmax_bwd_p;

AVS_FN void avs_softmax_bwd_body(const avs_softmax_bwd_p *p, int64_t r)
{
    const int C = p->C;
    const float *AVS_RESTRICT gy = p->gy + r * C;
    const float *AVS_RESTRICT y = p->y + r * C;
    float *AVS_RESTRICT gx = p->gx + r * C;
    float s = 0.f;
    AVS_SIMD_SUM(s)
    for (int c = AVS_LANE; c < C; c += AVS_LANES) s += gy[c] * y[c];
    s = avs_lane_sum(s);
    AVS_SIMD
    for (int c = AVS_LANE; c < C; c += AVS_LANES) gx[c] = y[c] * (gy[c] - s);
}
AVS_KERNEL_ROW(avs_softmax_bwd, avs_softmax_bwd_p)

#endif
