/* Resampling of maps, one output pixel per index, lanes over channels: four taps.
 *
 * The position of an output pixel on the input axis is worked out in double (in float32 it would be off by 1e-5 at
 * 500 pixels, which is the size of the error allowed for the whole op). The CPU does it once per axis and hands the
 * tables in; a GPU, where tables would cost a copy, passes NULL and computes them per pixel. */
#ifndef AVS_ENGINE_KERNEL_RESIZE_K_H
#define AVS_ENGINE_KERNEL_RESIZE_K_H

#include "engine/graph/ops.h"
#include "engine/kernel/math.k.h"

/* Output pixel = (1 - f) input[i0] + f input[i1]. */
typedef struct {
    int32_t i0, i1;
    float f;
} avs_resize_tap;

AVS_FN avs_resize_tap avs_resize_tap_of(int o, int in, int out, int mode, int align_corners)
{
    avs_resize_tap t;
    if (mode == AVS_RESIZE_NEAREST) {
        t.i0 = t.i1 = (int32_t)((int64_t)o * in / out);
        t.f = 0.f;
        return t;
    }
    double src;
    if (align_corners)
        src = out > 1 ? (double)((int64_t)o * (in - 1)) / (double)(out - 1) : 0.0;
    else
        src = (double)((int64_t)(2 * o + 1) * in) / (double)(2 * (int64_t)out) - 0.5;
    if (src < 0.0) src = 0.0;
    t.i0 = (int32_t)src;
    if (t.i0 > in - 1) t.i0 = in - 1;
    t.i1 = t.i0 + 1 < in ? t.i0 + 1 : in - 1;
    t.f = (float)(src - (double)t.i0);
    return t;
}

typedef struct {
    const float *x;
    float *y;
    const avs_resize_tap *ty, *tx; /* [out_h], [out_w]; or both NULL */
    avs_resize_attr a;
    int32_t C;
} avs_resize_p;

AVS_FN void avs_resize_body(const avs_resize_p *p, int64_t r)
{
    const avs_resize_attr *a = &p->a;
    const int C = p->C, ox = (int)(r % a->out_w), oy = (int)(r / a->out_w % a->out_h);
    const float *AVS_RESTRICT x = p->x + r / a->out_w / a->out_h * a->in_h * a->in_w * C;
    float *AVS_RESTRICT y = p->y + r * C;
    const avs_resize_tap v =
        p->ty ? p->ty[oy] : avs_resize_tap_of(oy, a->in_h, a->out_h, a->mode, a->align_corners);
    const avs_resize_tap h =
        p->tx ? p->tx[ox] : avs_resize_tap_of(ox, a->in_w, a->out_w, a->mode, a->align_corners);
    const float *AVS_RESTRICT x00 = x + ((int64_t)v.i0 * a->in_w + h.i0) * C;
    const float *AVS_RESTRICT x01 = x + ((int64_t)v.i0 * a->in_w + h.i1) * C;
    const float *AVS_RESTRICT x10 = x + ((int64_t)v.i1 * a->in_w + h.i0) * C;
    const float *AVS_RESTRICT x11 = x + ((int64_t)v.i1 * a->in_w + h.i1) * C;
    if (a->mode == AVS_RESIZE_NEAREST) {
        AVS_SIMD
        for (int c = AVS_LANE; c < C; c += AVS_LANES) y[c] = x00[c];
        return;
    }
    const float w00 = (1.f - v.f) * (1.f - h.f), w01 = (1.f - v.f) * h.f, w10 = v.f * (1.f - h.f),
                w11 = v.f * h.f;
    AVS_SIMD
    for (int c = AVS_LANE; c < C; c += AVS_LANES)
        y[c] = (w00 * x00[c] + w01 * x01[c]) + (w10 * x10[c] + w11 * x11[c]);
}
AVS_KERNEL_ROW(avs_resize, avs_resize_p)

#endif
