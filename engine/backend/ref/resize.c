/* RESIZE: each output pixel is a weighted sum of up to 2 x 2 input pixels, the backward the transposed sum. */
#include "engine/backend/ref/io.h"

#include <math.h>

typedef struct {
    int64_t at[2];
    double w[2];
} taps;

/* The taps of output coordinate o along one axis. */
static taps axis_taps(const avs_resize_attr *a, int64_t o, int64_t in, int64_t out)
{
    if (a->mode == AVS_RESIZE_NEAREST) return (taps){{o * in / out, 0}, {1, 0}};
    double src;
    if (a->align_corners)
        src = out > 1 ? (double)o * (double)(in - 1) / (double)(out - 1) : 0;
    else
        src = ((double)o + 0.5) * (double)in / (double)out - 0.5;
    if (src < 0) src = 0;
    int64_t i = (int64_t)floor(src);
    if (i > in - 1) i = in - 1;
    double f = src - (double)i;
    return (taps){{i, i < in - 1 ? i + 1 : i}, {1 - f, f}};
}

/* Visits all taps: low is the map of in_h x in_w, high that of out_h x out_w. */
static void sample(const avs_resize_attr *a, int64_t B, int64_t C, const double *src, double *dst,
                   bool to_low)
{
    for (int64_t b = 0; b < B; b++)
        for (int64_t oy = 0; oy < a->out_h; oy++)
            for (int64_t ox = 0; ox < a->out_w; ox++) {
                taps ty = axis_taps(a, oy, a->in_h, a->out_h), tx = axis_taps(a, ox, a->in_w, a->out_w);
                int64_t high = ((b * a->out_h + oy) * a->out_w + ox) * C;
                for (int k = 0; k < 4; k++) {
                    double w = ty.w[k / 2] * tx.w[k % 2];
                    int64_t low = ((b * a->in_h + ty.at[k / 2]) * a->in_w + tx.at[k % 2]) * C;
                    if (w <= 0) continue;
                    for (int64_t c = 0; c < C; c++) {
                        if (to_low)
                            dst[low + c] += w * src[high + c];
                        else
                            dst[high + c] += w * src[low + c];
                    }
                }
            }
}

int avs_ref_resize(const avs_kernel_args *a)
{
    const avs_type *t = &a->in[0].type;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    sample(a->attr, t->d[0], t->d[3], io.in[0], io.out[0], false);
    return ref_end(&io, AVS_OK);
}

int avs_ref_resize_bwd(const avs_kernel_args *a)
{
    const avs_type *t = &a->in[0].type;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    sample(a->attr, t->d[0], t->d[3], io.in[0], io.out[0], true);
    return ref_end(&io, AVS_OK);
}
