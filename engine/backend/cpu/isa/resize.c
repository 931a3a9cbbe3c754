/* Resampling on the CPU.
 *
 * Forward: maps of many channels go through the dual-source body, lanes over channels. Mask-like maps of few channels
 * are blended row by row instead: first the two input rows (contiguous), then along the row.
 * Backward: per axis, a list of the output pixels that touch each input pixel, with weights. One input row and one
 * block of channels is a task: the rows of gy are summed into a buffer, then the buffer along the row. Both are
 * gathers in a fixed order. */
#include "engine/backend/cpu/isa/isa.h"
#include "engine/kernel/resize.k.h"

enum { ROW_BUF = 8192, FEW_CHANNELS = 8 };

static void fill_taps(avs_resize_tap *t, int in, int out, const avs_resize_attr *a)
{
    for (int o = 0; o < out; o++) t[o] = avs_resize_tap_of(o, in, out, a->mode, a->align_corners);
}

size_t AVS_ISA(avs_cpu_resize_work)(const avs_kernel_args *k)
{
    const avs_resize_attr *a = k->attr;
    return (size_t)(a->out_h + a->out_w) * sizeof(avs_resize_tap);
}

/* One output row of a map of few channels; buf holds in_w * C numbers. */
static void thin_row(const avs_resize_p *p, int64_t r, float *AVS_RESTRICT buf)
{
    const avs_resize_attr *a = &p->a;
    const int C = p->C;
    const avs_resize_tap v = p->ty[r % a->out_h];
    const float *AVS_RESTRICT x = p->x + r / a->out_h * a->in_h * a->in_w * C;
    const float *AVS_RESTRICT r0 = x + (int64_t)v.i0 * a->in_w * C,
                              *AVS_RESTRICT r1 = x + (int64_t)v.i1 * a->in_w * C;
    float *AVS_RESTRICT y = p->y + r * a->out_w * C;
    const avs_resize_tap *AVS_RESTRICT tx = p->tx;
    AVS_SIMD
    for (int i = 0; i < a->in_w * C; i++) buf[i] = (1.f - v.f) * r0[i] + v.f * r1[i];
    if (C == 1) {
        AVS_SIMD
        for (int i = 0; i < a->out_w; i++) y[i] = (1.f - tx[i].f) * buf[tx[i].i0] + tx[i].f * buf[tx[i].i1];
        return;
    }
    for (int i = 0; i < a->out_w; i++) {
        const float *b0 = buf + (int64_t)tx[i].i0 * C, *b1 = buf + (int64_t)tx[i].i1 * C;
        for (int c = 0; c < C; c++) y[i * C + c] = (1.f - tx[i].f) * b0[c] + tx[i].f * b1[c];
    }
}

int AVS_ISA(avs_cpu_resize)(const avs_cpu_call *c)
{
    if (!c->work) return AVS_ENOMEM;
    const avs_resize_attr *a = c->k.attr;
    const avs_type *t = &c->k.out[0].type;
    avs_resize_tap *ty = c->work, *tx = ty + a->out_h;
    fill_taps(ty, a->in_h, a->out_h, a);
    fill_taps(tx, a->in_w, a->out_w, a);
    const avs_resize_p p = {
        .x = c->k.in[0].data, .y = c->k.out[0].data, .ty = ty, .tx = tx, .a = *a, .C = t->d[3]};
    const int64_t rows = (int64_t)t->d[0] * a->out_h;
    if (p.C < FEW_CHANNELS && (int64_t)a->in_w * p.C <= ROW_BUF && a->mode == AVS_RESIZE_BILINEAR) {
#pragma omp parallel for schedule(static) if (rows * a->out_w * p.C >= AVS_PAR_MIN)
        for (int64_t r = 0; r < rows; r++) {
            _Alignas(64) float buf[ROW_BUF];
            thin_row(&p, r, buf);
        }
        return AVS_OK;
    }
    avs_resize_cpu(&p, rows * a->out_w, p.C);
    return AVS_OK;
}

/* Output pixels that read an input pixel i: at[start[i]] .. at[start[i + 1] - 1], in increasing order. */
typedef struct {
    int32_t o;
    float w;
} touch;
typedef struct {
    int32_t *start;
    touch *at;
} touch_list;

static touch_list take_list(avs_scratch *s, int in, int out)
{
    touch_list l;
    l.start = avs_scratch_take(s, (size_t)(in + 1) * sizeof(int32_t));
    l.at = avs_scratch_take(s, (size_t)out * 2 * sizeof(touch));
    return l;
}

/* Taps of consecutive outputs never go backwards, so one sweep over the outputs per input end fills the lists in
 * order; the cursor of input i is start[i + 1] while filling. */
static void fill_list(const touch_list *l, int in, int out, const avs_resize_attr *a)
{
    for (int i = 0; i <= in; i++) l->start[i] = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int o = 0; o < out; o++) {
            const avs_resize_tap t = avs_resize_tap_of(o, in, out, a->mode, a->align_corners);
            const bool is_one = t.i0 == t.i1 || t.f == 0.f;
            if (pass == 0) {
                l->start[t.i0]++;
                if (!is_one) l->start[t.i1]++;
            } else {
                l->at[l->start[t.i0]++] = (touch){o, is_one ? 1.f : 1.f - t.f};
                if (!is_one) l->at[l->start[t.i1]++] = (touch){o, t.f};
            }
        }
        if (pass == 0) { /* counts become first positions */
            int32_t sum = 0;
            for (int i = 0; i <= in; i++) {
                const int32_t n = l->start[i];
                l->start[i] = sum;
                sum += n;
            }
        } else { /* each cursor now stands at the next list's start: shift back */
            for (int i = in; i > 0; i--) l->start[i] = l->start[i - 1];
            l->start[0] = 0;
        }
    }
}

size_t AVS_ISA(avs_cpu_resize_bwd_work)(const avs_kernel_args *k)
{
    const avs_resize_attr *a = k->attr;
    avs_scratch s = {0};
    take_list(&s, a->in_h, a->out_h);
    take_list(&s, a->in_w, a->out_w);
    return s.used;
}

typedef struct {
    const float *gy;
    float *gx;
    touch_list ly, lx;
    const avs_resize_attr *a;
    int32_t C, cb; /* channels, channels per block */
} bwd_plan;

/* gx[row, all x, c0 .. c0 + w): buf[ox][w] = sum over oy of wy gy[oy][ox], then along x. */
static void bwd_task(const bwd_plan *q, int64_t row, int c0, int w, float *AVS_RESTRICT buf)
{
    const avs_resize_attr *a = q->a;
    const int C = q->C, iy = (int)(row % a->in_h);
    const float *gy = q->gy + row / a->in_h * a->out_h * a->out_w * C + c0;
    float *gx = q->gx + row * a->in_w * C + c0;
    for (int i = 0; i < a->out_w * w; i++) buf[i] = 0.f;
    for (int32_t e = q->ly.start[iy]; e < q->ly.start[iy + 1]; e++) {
        const float *AVS_RESTRICT g = gy + (int64_t)q->ly.at[e].o * a->out_w * C;
        const float k = q->ly.at[e].w;
        if (w == C) {
            AVS_SIMD
            for (int i = 0; i < a->out_w * C; i++) buf[i] += k * g[i];
            continue;
        }
        for (int ox = 0; ox < a->out_w; ox++) {
            AVS_SIMD
            for (int c = 0; c < w; c++) buf[ox * w + c] += k * g[(int64_t)ox * C + c];
        }
    }
    for (int ix = 0; ix < a->in_w; ix++) {
        float *AVS_RESTRICT y = gx + (int64_t)ix * C;
        for (int c = 0; c < w; c++) y[c] = 0.f;
        for (int32_t e = q->lx.start[ix]; e < q->lx.start[ix + 1]; e++) {
            const float *AVS_RESTRICT b = buf + (int64_t)q->lx.at[e].o * w;
            const float k = q->lx.at[e].w;
            AVS_SIMD
            for (int c = 0; c < w; c++) y[c] += k * b[c];
        }
    }
}

/* Rows too wide for the buffer: straight double sum, one channel after another. */
static void bwd_direct(const bwd_plan *q, int64_t row)
{
    const avs_resize_attr *a = q->a;
    const int C = q->C, iy = (int)(row % a->in_h);
    const float *gy = q->gy + row / a->in_h * a->out_h * a->out_w * C;
    float *gx = q->gx + row * a->in_w * C;
    for (int i = 0; i < a->in_w * C; i++) gx[i] = 0.f;
    for (int ix = 0; ix < a->in_w; ix++) {
        for (int32_t e = q->ly.start[iy]; e < q->ly.start[iy + 1]; e++) {
            for (int32_t f = q->lx.start[ix]; f < q->lx.start[ix + 1]; f++) {
                const float k = q->ly.at[e].w * q->lx.at[f].w;
                const float *AVS_RESTRICT g = gy + ((int64_t)q->ly.at[e].o * a->out_w + q->lx.at[f].o) * C;
                AVS_SIMD
                for (int c = 0; c < C; c++) gx[(int64_t)ix * C + c] += k * g[c];
            }
        }
    }
}

int AVS_ISA(avs_cpu_resize_bwd)(const avs_cpu_call *c)
{
    if (!c->work) return AVS_ENOMEM;
    const avs_resize_attr *a = c->k.attr;
    const avs_type *t = &c->k.out[0].type;
    avs_scratch s = {.base = c->work};
    bwd_plan q = {.gy = c->k.in[0].data, .gx = c->k.out[0].data, .a = a, .C = t->d[3]};
    q.ly = take_list(&s, a->in_h, a->out_h);
    q.lx = take_list(&s, a->in_w, a->out_w);
    fill_list(&q.ly, a->in_h, a->out_h, a);
    fill_list(&q.lx, a->in_w, a->out_w, a);
    const int64_t rows = (int64_t)t->d[0] * a->in_h, work = (int64_t)t->d[0] * a->out_h * a->out_w * q.C;
    q.cb = (int32_t)avs_min64(q.C, ROW_BUF / a->out_w);
    if (q.cb > 16 && q.cb < q.C) q.cb &= ~15;
    if (q.cb == 0) {
#pragma omp parallel for schedule(static) if (work >= AVS_PAR_MIN)
        for (int64_t r = 0; r < rows; r++) bwd_direct(&q, r);
        return AVS_OK;
    }
    const int64_t blocks = avs_ceil_div(q.C, q.cb);
#pragma omp parallel for schedule(static) if (work >= AVS_PAR_MIN)
    for (int64_t i = 0; i < rows * blocks; i++) {
        _Alignas(64) float buf[ROW_BUF];
        const int c0 = (int)(i % blocks) * q.cb;
        bwd_task(&q, i / blocks, c0, (int)avs_min64(q.cb, q.C - c0), buf);
    }
    return AVS_OK;
}
