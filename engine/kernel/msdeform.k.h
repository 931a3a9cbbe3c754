/* Multi-scale deformable attention core (Deformable DETR, arXiv 2010.04159, eq. 3).
 *
 * Forward: index = (b, query, head), lanes over the D channels of a head:
 *   o_d = sum over (l, k) of w bilinear(v_l, x, y)_d,  x = px W_l - 0.5,  y = py H_l - 0.5, zero outside.
 * Backward for loc and weight (a gather, same index): with s_d the sample and g the gradient of o,
 *   dw = sum_d g_d s_d;  dpx = W_l w sum_d g_d ds_d/dx;  dpy = H_l w sum_d g_d ds_d/dy.
 * The gradient of value is a scatter; it is done by whoever owns the (b, head) slice. */
#ifndef AVS_ENGINE_KERNEL_MSDEFORM_K_H
#define AVS_ENGINE_KERNEL_MSDEFORM_K_H

#include "engine/graph/ops.h"
#include "engine/kernel/math.k.h"

/* The four corners of a sample: offsets in tokens from the level's first one and bilinear weights. A corner outside
 * the map has weight 0 and the offset of a corner inside. */
typedef struct {
    int32_t at[4];
    float w[4];
    float in[4]; /* 1 inside, 0 outside */
    float fx, fy;
    float W, H; /* of the level */
} avs_msd_tap;

/* 0 if the sample contributes nothing (NaN too). */
AVS_FN int avs_msd_tap_of(float px, float py, int H, int W, avs_msd_tap *t)
{
    const float x = px * (float)W - 0.5f, y = py * (float)H - 0.5f;
    if (!(x > -1.f && y > -1.f && x < (float)W && y < (float)H)) return 0;
    int x0 = (int)x, y0 = (int)y;
    x0 -= x < (float)x0;
    y0 -= y < (float)y0;
    const float fx = x - (float)x0, fy = y - (float)y0;
    const int x1 = x0 + 1, y1 = y0 + 1;
    const float ix0 = x0 >= 0 ? 1.f : 0.f, ix1 = x1 < W ? 1.f : 0.f;
    const float iy0 = y0 >= 0 ? 1.f : 0.f, iy1 = y1 < H ? 1.f : 0.f;
    const int cx0 = x0 >= 0 ? x0 : 0, cx1 = x1 < W ? x1 : W - 1, cy0 = y0 >= 0 ? y0 : 0,
              cy1 = y1 < H ? y1 : H - 1;
    t->at[0] = cy0 * W + cx0;
    t->at[1] = cy0 * W + cx1;
    t->at[2] = cy1 * W + cx0;
    t->at[3] = cy1 * W + cx1;
    t->in[0] = iy0 * ix0;
    t->in[1] = iy0 * ix1;
    t->in[2] = iy1 * ix0;
    t->in[3] = iy1 * ix1;
    t->w[0] = (1.f - fy) * (1.f - fx) * t->in[0];
    t->w[1] = (1.f - fy) * fx * t->in[1];
    t->w[2] = fy * (1.f - fx) * t->in[2];
    t->w[3] = fy * fx * t->in[3];
    t->fx = fx;
    t->fy = fy;
    t->W = (float)W;
    t->H = (float)H;
    return 1;
}

typedef struct {
    const float *value, *loc, *weight;
    float *out;
    avs_msdeform_attr a;
    int32_t S, Q, D;
} avs_msdeform_p;

/* D is an argument of its own so that the common 32 channels become a constant. */
AVS_FN void avs_msdeform_at(const avs_msdeform_p *p, int64_t r, int D)
{
    const int M = p->a.heads;
    const int64_t LP = (int64_t)p->a.levels * p->a.points;
    const int64_t bq = r / M, m = r % M, b = bq / p->Q, MD = (int64_t)M * D;
    const float *AVS_RESTRICT loc = p->loc + r * LP * 2, *AVS_RESTRICT weight = p->weight + r * LP;
    const float *AVS_RESTRICT v = p->value + b * p->S * MD + m * D;
    float *AVS_RESTRICT out = p->out + bq * MD + m * D;
    AVS_SIMD
    for (int d = AVS_LANE; d < D; d += AVS_LANES) out[d] = 0.f;
    for (int l = 0; l < p->a.levels; l++) {
        const int H = p->a.h[l], W = p->a.w[l];
        for (int64_t k = (int64_t)l * p->a.points; k < ((int64_t)l + 1) * p->a.points; k++) {
            avs_msd_tap t;
            if (!avs_msd_tap_of(loc[2 * k], loc[2 * k + 1], H, W, &t)) continue;
            const float w0 = weight[k] * t.w[0], w1 = weight[k] * t.w[1], w2 = weight[k] * t.w[2],
                        w3 = weight[k] * t.w[3];
            const float *AVS_RESTRICT v0 = v + t.at[0] * MD, *AVS_RESTRICT v1 = v + t.at[1] * MD;
            const float *AVS_RESTRICT v2 = v + t.at[2] * MD, *AVS_RESTRICT v3 = v + t.at[3] * MD;
            AVS_SIMD
            for (int d = AVS_LANE; d < D; d += AVS_LANES)
                out[d] += (w0 * v0[d] + w1 * v1[d]) + (w2 * v2[d] + w3 * v3[d]);
        }
        v += (int64_t)H * W * MD;
    }
}

AVS_FN void avs_msdeform_body(const avs_msdeform_p *p, int64_t r)
{
    if (p->D == 32)
        avs_msdeform_at(p, r, 32);
    else
        avs_msdeform_at(p, r, p->D);
}
AVS_KERNEL_ROW(avs_msdeform, avs_msdeform_p)

typedef struct {
    const float *gy, *value, *loc, *weight;
    float *gloc, *gweight;
    avs_msdeform_attr a;
    int32_t S, Q, D;
} avs_msdeform_bwd_p;

/* Dot products of g with the four corners, and with them dw, dpx, dpy of one sample. */
AVS_FN void avs_msd_point_grad(const avs_msd_tap *t, const float *AVS_RESTRICT g, const float *AVS_RESTRICT v,
                               int64_t MD, int D, float w, float *gloc, float *gweight)
{
    const float *AVS_RESTRICT v0 = v + t->at[0] * MD, *AVS_RESTRICT v1 = v + t->at[1] * MD;
    const float *AVS_RESTRICT v2 = v + t->at[2] * MD, *AVS_RESTRICT v3 = v + t->at[3] * MD;
    float s0 = 0.f, s1 = 0.f, s2 = 0.f, s3 = 0.f;
#if AVS_LANES == 1
    AVS_PRAGMA(omp simd reduction(+ : s0, s1, s2, s3))
#endif
    for (int d = AVS_LANE; d < D; d += AVS_LANES) {
        s0 += g[d] * v0[d];
        s1 += g[d] * v1[d];
        s2 += g[d] * v2[d];
        s3 += g[d] * v3[d];
    }
    s0 = avs_lane_sum(s0) * t->in[0];
    s1 = avs_lane_sum(s1) * t->in[1];
    s2 = avs_lane_sum(s2) * t->in[2];
    s3 = avs_lane_sum(s3) * t->in[3];
    if (AVS_LANE == 0) {
        const float fx = t->fx, fy = t->fy;
        gweight[0] = (1.f - fy) * ((1.f - fx) * s0 + fx * s1) + fy * ((1.f - fx) * s2 + fx * s3);
        gloc[0] = t->W * w * ((1.f - fy) * (s1 - s0) + fy * (s3 - s2));
        gloc[1] = t->H * w * ((1.f - fx) * (s2 - s0) + fx * (s3 - s1));
    }
}

AVS_FN void avs_msdeform_bwd_body(const avs_msdeform_bwd_p *p, int64_t r)
{
    const int M = p->a.heads, D = p->D;
    const int64_t LP = (int64_t)p->a.levels * p->a.points;
    const int64_t bq = r / M, m = r % M, b = bq / p->Q, MD = (int64_t)M * D;
    const float *loc = p->loc + r * LP * 2, *weight = p->weight + r * LP;
    const float *v = p->value + b * p->S * MD + m * D, *g = p->gy + bq * MD + m * D;
    float *gloc = p->gloc + r * LP * 2, *gweight = p->gweight + r * LP;
    for (int l = 0; l < p->a.levels; l++) {
        const int H = p->a.h[l], W = p->a.w[l];
        for (int64_t k = (int64_t)l * p->a.points; k < ((int64_t)l + 1) * p->a.points; k++) {
            avs_msd_tap t;
            if (avs_msd_tap_of(loc[2 * k], loc[2 * k + 1], H, W, &t)) {
                avs_msd_point_grad(&t, g, v, MD, D, weight[k], gloc + 2 * k, gweight + k);
            } else if (AVS_LANE == 0) {
                gloc[2 * k] = gloc[2 * k + 1] = gweight[k] = 0.f;
            }
        }
        v += (int64_t)H * W * MD;
    }
}
AVS_KERNEL_ROW(avs_msdeform_bwd, avs_msdeform_bwd_p)

#endif
