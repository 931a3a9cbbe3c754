/* POOL_MAX: the first maximum of a window in row-major order wins; elements in the padding never do.
 * POOL_AVG: each window is walked once; forward reads it, backward adds to it. */
#include "engine/backend/ref/io.h"

/* Row of the map that window element `at` of output position (oy, ox) reads, or -1 in the padding. */
static int64_t source(const avs_pool_attr *p, int64_t b, int oy, int ox, int at)
{
    int iy = oy * p->s - p->p + at / p->k, ix = ox * p->s - p->p + at % p->k;
    if (iy < 0 || iy >= p->in_h || ix < 0 || ix >= p->in_w) return -1;
    return (b * p->in_h + iy) * p->in_w + ix;
}

int avs_ref_pool_max(const avs_kernel_args *a)
{
    const avs_pool_attr *p = a->attr;
    const avs_type *t = &a->out[0].type;
    int64_t C = t->d[3], n_pos = avs_type_count(t) / C;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t pos = 0; pos < n_pos; pos++) {
        double *y = io.out[0] + pos * C, *arg = io.out[1] + pos * C;
        for (int64_t c = 0; c < C; c++) arg[c] = -1; /* no element seen yet */
        for (int at = 0; at < p->k * p->k; at++) {
            int64_t row =
                source(p, pos / t->d[2] / t->d[1], (int)(pos / t->d[2] % t->d[1]), (int)(pos % t->d[2]), at);
            if (row < 0) continue;
            for (int64_t c = 0; c < C; c++) {
                double v = io.in[0][row * C + c];
                if (arg[c] >= 0 && !(v > y[c])) continue;
                y[c] = v;
                arg[c] = at;
            }
        }
    }
    return ref_end(&io, AVS_OK);
}

int avs_ref_pool_max_bwd(const avs_kernel_args *a)
{
    const avs_pool_attr *p = a->attr;
    const avs_type *t = &a->in[0].type;
    int64_t C = t->d[3], n = avs_type_count(t);
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t i = 0; i < n; i++) {
        int64_t pos = i / C;
        int64_t row = source(p, pos / t->d[2] / t->d[1], (int)(pos / t->d[2] % t->d[1]), (int)(pos % t->d[2]),
                             (int)io.in[1][i]);
        if (row >= 0) io.out[0][row * C + i % C] += io.in[0][i];
    }
    return ref_end(&io, AVS_OK);
}

typedef struct {
    int y0, y1, x0, x1; /* inside the map */
    double size;        /* what the sum is divided by */
} window;

static window window_of(const avs_pool_avg_attr *p, int oy, int ox)
{
    if (p->k == 0) {
        window w = {oy * p->in_h / p->out_h, ((oy + 1) * p->in_h + p->out_h - 1) / p->out_h,
                    ox * p->in_w / p->out_w, ((ox + 1) * p->in_w + p->out_w - 1) / p->out_w, 0};
        w.size = (double)(w.y1 - w.y0) * (w.x1 - w.x0);
        return w;
    }
    const int y = oy * p->s - p->p, x = ox * p->s - p->p;
    return (window){.y0 = y < 0 ? 0 : y,
                    .y1 = y + p->k > p->in_h ? p->in_h : y + p->k,
                    .x0 = x < 0 ? 0 : x,
                    .x1 = x + p->k > p->in_w ? p->in_w : x + p->k,
                    .size = (double)p->k * p->k};
}

/* Means of src[B,in_h,in_w,C] into dst[B,out_h,out_w,C]; spread: src of the latter extents over dst of the former. */
static void average(const avs_pool_avg_attr *p, const avs_type *t, const double *src, double *dst,
                    bool spread)
{
    const int64_t B = t->d[0], C = t->d[3];
    for (int64_t b = 0; b < B; b++)
        for (int oy = 0; oy < p->out_h; oy++)
            for (int ox = 0; ox < p->out_w; ox++) {
                const window w = window_of(p, oy, ox);
                const int64_t y = ((b * p->out_h + oy) * p->out_w + ox) * C;
                for (int iy = w.y0; iy < w.y1; iy++)
                    for (int ix = w.x0; ix < w.x1; ix++) {
                        const int64_t x = ((b * p->in_h + iy) * p->in_w + ix) * C;
                        for (int64_t c = 0; c < C; c++) {
                            if (spread)
                                dst[x + c] += src[y + c] / w.size;
                            else
                                dst[y + c] += src[x + c] / w.size;
                        }
                    }
            }
}

int avs_ref_pool_avg(const avs_kernel_args *a)
{
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    average(a->attr, &a->out[0].type, io.in[0], io.out[0], false);
    return ref_end(&io, AVS_OK);
}

int avs_ref_pool_avg_bwd(const avs_kernel_args *a)
{
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    average(a->attr, &a->out[0].type, io.in[0], io.out[0], true);
    return ref_end(&io, AVS_OK);
}
