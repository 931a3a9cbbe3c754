/* Max and mean pooling, lanes over channels, one output pixel (forward) or one input pixel (backward) per index.
 * The backward is a gather: an input pixel looks at the windows that cover it and takes the gradient of those whose
 * argmax names it. So nothing is scattered and the order of additions is fixed. */
#ifndef AVS_ENGINE_KERNEL_POOL_K_H
#define AVS_ENGINE_KERNEL_POOL_K_H

#include "engine/kernel/math.k.h"

typedef struct {
    const float *x;
    float *y;
    uint8_t *arg;
    int32_t H, W, C, Ho, Wo, k, s, p;
} avs_pool_max_p;

/* Channels are taken in blocks whose running maximum and index (32 bits wide, so that both compare and select at one
 * vector width) stay in registers or L1. */
enum { AVS_POOL_BLOCK = 64 };

AVS_FN void avs_pool_max_body(const avs_pool_max_p *p, int64_t r)
{
    const int C = p->C, ox = (int)(r % p->Wo), oy = (int)(r / p->Wo % p->Ho);
    const float *x = p->x + r / p->Wo / p->Ho * p->H * p->W * C;
    const int y0 = oy * p->s - p->p, x0 = ox * p->s - p->p;
    for (int c0 = 0; c0 < C; c0 += AVS_POOL_BLOCK) {
        const int n = C - c0 < AVS_POOL_BLOCK ? C - c0 : AVS_POOL_BLOCK;
        float best[AVS_POOL_BLOCK / AVS_LANES];
        int32_t at[AVS_POOL_BLOCK / AVS_LANES];
        for (int j = 0; j < AVS_POOL_BLOCK / AVS_LANES; j++) {
            best[j] = 0.f;
            at[j] = -1; /* nothing seen: even -inf wins over padding */
        }
        for (int k = 0; k < p->k * p->k; k++) {
            const int iy = y0 + k / p->k, ix = x0 + k % p->k;
            if (iy < 0 || iy >= p->H || ix < 0 || ix >= p->W) continue;
            const float *AVS_RESTRICT v = x + ((int64_t)iy * p->W + ix) * C + c0;
            AVS_SIMD
            for (int c = AVS_LANE; c < n; c += AVS_LANES) {
                const int j = c / AVS_LANES;
                const int is_more = (at[j] < 0) | (v[c] > best[j]);
                best[j] = is_more ? v[c] : best[j];
                at[j] = is_more ? k : at[j];
            }
        }
        float *AVS_RESTRICT y = p->y + r * C + c0;
        uint8_t *AVS_RESTRICT arg = p->arg + r * C + c0;
        AVS_SIMD
        for (int c = AVS_LANE; c < n; c += AVS_LANES) {
            y[c] = best[c / AVS_LANES];
            arg[c] = (uint8_t)at[c / AVS_LANES];
        }
    }
}
AVS_KERNEL_ROW(avs_pool_max, avs_pool_max_p)

typedef struct {
    const float *gy;
    const uint8_t *arg;
    float *gx;
    int32_t H, W, C, Ho, Wo, k, s, p;
} avs_pool_max_bwd_p;

AVS_FN void avs_pool_max_bwd_body(const avs_pool_max_bwd_p *p, int64_t r)
{
    const int C = p->C, ix = (int)(r % p->W), iy = (int)(r / p->W % p->H);
    const int64_t image = r / p->W / p->H * p->Ho * p->Wo * C;
    const float *AVS_RESTRICT gy = p->gy + image;
    const uint8_t *AVS_RESTRICT arg = p->arg + image;
    float *AVS_RESTRICT gx = p->gx + r * C;
    const int ay = iy + p->p - p->k + 1, ax = ix + p->p - p->k + 1;
    const int oy0 = ay > 0 ? (ay + p->s - 1) / p->s : 0, ox0 = ax > 0 ? (ax + p->s - 1) / p->s : 0;
    int oy1 = (iy + p->p) / p->s, ox1 = (ix + p->p) / p->s;
    oy1 = oy1 < p->Ho - 1 ? oy1 : p->Ho - 1;
    ox1 = ox1 < p->Wo - 1 ? ox1 : p->Wo - 1;
    AVS_SIMD
    for (int c = AVS_LANE; c < C; c += AVS_LANES) gx[c] = 0.f;
    for (int oy = oy0; oy <= oy1; oy++) {
        for (int ox = ox0; ox <= ox1; ox++) {
            const int64_t o = ((int64_t)oy * p->Wo + ox) * C;
            const uint8_t tap = (uint8_t)((iy + p->p - oy * p->s) * p->k + ix + p->p - ox * p->s);
            AVS_SIMD
            for (int c = AVS_LANE; c < C; c += AVS_LANES) {
                const float all = gy[o + c];
                gx[c] += arg[o + c] == tap ? all : 0.f;
            }
        }
    }
}
AVS_KERNEL_ROW(avs_pool_max_bwd, avs_pool_max_bwd_p)

/* Means over windows: small[B,Ho,Wo,C] and big[B,H,W,C]. k == 0: adaptive windows. One pixel per index: of small in the
 * forward, of big in the backward, which gathers from the windows that cover it. */
typedef struct {
    const float *x;
    float *y;
    int32_t H, W, C, Ho, Wo, k, s, p;
} avs_pool_avg_p;

typedef struct {
    int32_t from, to;
} avs_span;

/* What window o of n over an axis of `extent` covers. */
AVS_FN avs_span avs_pool_window(const avs_pool_avg_p *p, int o, int extent, int n)
{
    avs_span w;
    w.from = p->k ? o * p->s - p->p : (int32_t)((int64_t)o * extent / n);
    w.to = p->k ? w.from + p->k : (int32_t)(((int64_t)(o + 1) * extent + n - 1) / n);
    w.from = w.from > 0 ? w.from : 0;
    w.to = w.to < extent ? w.to : extent;
    return w;
}

/* The windows that cover element i of the axis. */
AVS_FN avs_span avs_pool_covering(const avs_pool_avg_p *p, int i, int extent, int n)
{
    avs_span o;
    if (p->k) {
        const int first = i + p->p - p->k + 1;
        o.from = first > 0 ? (first + p->s - 1) / p->s : 0;
        o.to = (i + p->p) / p->s + 1;
    } else {
        o.from = (int32_t)((int64_t)i * n / extent);
        o.to = (int32_t)(((int64_t)(i + 1) * n + extent - 1) / extent);
    }
    o.to = o.to < n ? o.to : n;
    return o;
}

AVS_FN float avs_pool_size(const avs_pool_avg_p *p, avs_span y, avs_span x)
{
    return p->k ? (float)(p->k * p->k) : (float)((y.to - y.from) * (x.to - x.from));
}

AVS_FN void avs_pool_avg_body(const avs_pool_avg_p *p, int64_t r)
{
    const int C = p->C;
    const avs_span ox = avs_pool_window(p, (int)(r % p->Wo), p->W, p->Wo),
                   oy = avs_pool_window(p, (int)(r / p->Wo % p->Ho), p->H, p->Ho);
    const float *AVS_RESTRICT x = p->x + r / p->Wo / p->Ho * p->H * p->W * C;
    float *AVS_RESTRICT y = p->y + r * C;
    const float size = avs_pool_size(p, oy, ox);
    AVS_SIMD
    for (int c = AVS_LANE; c < C; c += AVS_LANES) y[c] = 0.f;
    for (int iy = oy.from; iy < oy.to; iy++) {
        for (int ix = ox.from; ix < ox.to; ix++) {
            const float *AVS_RESTRICT v = x + ((int64_t)iy * p->W + ix) * C;
            AVS_SIMD
            for (int c = AVS_LANE; c < C; c += AVS_LANES) y[c] += v[c];
        }
    }
    AVS_SIMD
    for (int c = AVS_LANE; c < C; c += AVS_LANES) y[c] = y[c] / size;
}
AVS_KERNEL_ROW(avs_pool_avg, avs_pool_avg_p)

/* x is gy here, y is gx. */
AVS_FN void avs_pool_avg_bwd_body(const avs_pool_avg_p *p, int64_t r)
{
    const int C = p->C;
    const avs_span ox = avs_pool_covering(p, (int)(r % p->W), p->W, p->Wo),
                   oy = avs_pool_covering(p, (int)(r / p->W % p->H), p->H, p->Ho);
    const float *AVS_RESTRICT gy = p->x + r / p->W / p->H * p->Ho * p->Wo * C;
    float *AVS_RESTRICT gx = p->y + r * C;
    AVS_SIMD
    for (int c = AVS_LANE; c < C; c += AVS_LANES) gx[c] = 0.f;
    for (int y = oy.from; y < oy.to; y++) {
        for (int x = ox.from; x < ox.to; x++) {
            const float size =
                avs_pool_size(p, avs_pool_window(p, y, p->H, p->Ho), avs_pool_window(p, x, p->W, p->Wo));
            const float *AVS_RESTRICT v = gy + ((int64_t)y * p->Wo + x) * C;
            AVS_SIMD
            for (int c = AVS_LANE; c < C; c += AVS_LANES) gx[c] += v[c] / size;
        }
    }
}
AVS_KERNEL_ROW(avs_pool_avg_bwd, avs_pool_avg_p)

#endif
