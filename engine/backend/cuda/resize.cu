/* Resampling beyond the dual-source forward: maps of few channels, and the backward, both gathers.
 *
 * Backward: an input pixel looks at the output pixels that may touch it (a range per axis, one wider than arithmetic
 * asks for), works out their taps as the forward does, and adds those that name it, in order. Lanes over channels; with
 * few channels a thread per element. No shared memory. Not measured on a device yet. */
#include "engine/backend/cuda/kernels.h"
#include "engine/kernel/lane.k.h"

AVS_FN void avs_resize_few_body(const avs_resize_p *p, int64_t i)
{
    const avs_resize_attr *a = &p->a;
    const int C = p->C;
    const int64_t r = i / C, c = i % C;
    const int ox = (int)(r % a->out_w), oy = (int)(r / a->out_w % a->out_h);
    const float *x = p->x + r / a->out_w / a->out_h * a->in_h * a->in_w * C + c;
    const avs_resize_tap v = avs_resize_tap_of(oy, a->in_h, a->out_h, a->mode, a->align_corners);
    const avs_resize_tap h = avs_resize_tap_of(ox, a->in_w, a->out_w, a->mode, a->align_corners);
    const int64_t r0 = (int64_t)v.i0 * a->in_w, r1 = (int64_t)v.i1 * a->in_w;
    const float x00 = x[(r0 + h.i0) * C], x01 = x[(r0 + h.i1) * C], x10 = x[(r1 + h.i0) * C],
                x11 = x[(r1 + h.i1) * C];
    const float w00 = (1.f - v.f) * (1.f - h.f), w01 = (1.f - v.f) * h.f, w10 = v.f * (1.f - h.f),
                w11 = v.f * h.f;
    p->y[i] = a->mode == AVS_RESIZE_NEAREST ? x00 : (w00 * x00 + w01 * x01) + (w10 * x10 + w11 * x11);
}
AVS_OWN_EW(avs_resize_few, avs_resize_p)

typedef struct {
    int from, to;
} resize_range;

/* Output positions that may read input position i. */
AVS_FN resize_range resize_readers(int i, int in, int out, const avs_resize_attr *a)
{
    resize_range r = {0, out};
    const int is_corners = a->align_corners && a->mode != AVS_RESIZE_NEAREST;
    if (in == 1 || (is_corners && out == 1)) return r;
    const double step = is_corners ? (double)(out - 1) / (double)(in - 1) : (double)out / (double)in;
    const double shift = is_corners ? 0.0 : 0.5;
    const int from = (int)((double)(i - 1 + shift) * step) - 2,
              to = (int)((double)(i + 1 + shift) * step) + 3;
    if (i > 0 && from > 0) r.from = from;
    if (i < in - 1 && to < out) r.to = to;
    return r;
}

/* What output position o gives to input position i. */
AVS_FN float resize_share(int o, int i, int in, int out, const avs_resize_attr *a)
{
    const avs_resize_tap t = avs_resize_tap_of(o, in, out, a->mode, a->align_corners);
    if (t.i0 == t.i1) return t.i0 == i ? 1.f : 0.f;
    return t.i0 == i ? 1.f - t.f : t.i1 == i ? t.f : 0.f;
}

/* Channels c0, c0 + step, .. of input pixel r. */
AVS_FN void resize_bwd_at(const avs_resize_p *p, int64_t r, int c0, int step)
{
    const avs_resize_attr *a = &p->a;
    const int C = p->C, ix = (int)(r % a->in_w), iy = (int)(r / a->in_w % a->in_h);
    const float *gy = p->x + r / a->in_w / a->in_h * a->out_h * a->out_w * C;
    const resize_range ry = resize_readers(iy, a->in_h, a->out_h, a),
                       rx = resize_readers(ix, a->in_w, a->out_w, a);
    for (int c = c0; c < C; c += step) {
        float sum = 0.f;
        for (int oy = ry.from; oy < ry.to; oy++) {
            const float wy = resize_share(oy, iy, a->in_h, a->out_h, a);
            if (wy == 0.f) continue;
            float row = 0.f;
            for (int ox = rx.from; ox < rx.to; ox++) {
                const float wx = resize_share(ox, ix, a->in_w, a->out_w, a);
                if (wx != 0.f) row += wx * gy[((int64_t)oy * a->out_w + ox) * C + c];
            }
            sum += wy * row;
        }
        p->y[r * C + c] = sum;
    }
}

AVS_FN void avs_resize_bwd_body(const avs_resize_p *p, int64_t r)
{
    resize_bwd_at(p, r, AVS_LANE, AVS_LANES);
}
AVS_OWN_ROW(avs_resize_bwd, avs_resize_p)

AVS_FN void avs_resize_bwd_few_body(const avs_resize_p *p, int64_t i)
{
    resize_bwd_at(p, i / p->C, (int)(i % p->C), p->C);
}
AVS_OWN_EW(avs_resize_bwd_few, avs_resize_p)
