/* Softmax rows. Long rows go through the dual-source body. Short ones (attention over 12 points or 16 keys) are taken
 * many at a time: the exponential, which is nearly all the work, runs over the flat block at full vector width. The
 * loops along a row have a handful of steps, so the widths that models use are compiled with constant bounds. */
#include "engine/backend/cpu/isa/isa.h"
#include "engine/kernel/softmax.k.h"

enum { SHORT_ROW = 64, BLOCK = 1024 };

AVS_FN void short_block(const float *AVS_RESTRICT x, float *AVS_RESTRICT y, int64_t rows, int C)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *xr = x + r * C;
        float m = xr[0];
        AVS_SIMD_MAX(m)
        for (int c = 0; c < C; c++) m = xr[c] > m ? xr[c] : m;
        AVS_SIMD
        for (int c = 0; c < C; c++) y[r * C + c] = xr[c] - m;
    }
    AVS_SIMD
    for (int64_t i = 0; i < rows * C; i++) y[i] = avs_expf(y[i]);
    for (int64_t r = 0; r < rows; r++) {
        float s = 0.f;
        AVS_SIMD_SUM(s)
        for (int c = 0; c < C; c++) s += y[r * C + c];
        const float k = 1.f / s;
        AVS_SIMD
        for (int c = 0; c < C; c++) y[r * C + c] *= k;
    }
}

AVS_FN void short_block_bwd(const float *AVS_RESTRICT gy, const float *AVS_RESTRICT y, float *AVS_RESTRICT gx,
                            int64_t rows, int C)
{
    for (int64_t r = 0; r < rows; r++) {
        const int64_t o = r * C;
        float s = 0.f;
        AVS_SIMD_SUM(s)
        for (int c = 0; c < C; c++) s += gy[o + c] * y[o + c];
        AVS_SIMD
        for (int c = 0; c < C; c++) gx[o + c] = y[o + c] * (gy[o + c] - s);
    }
}

/* Points of deformable attention, keys of short memories, Swin windows. */
#define SHORT_WIDTHS(X) X(4) X(8) X(12) X(16) X(32) X(49) X(64)

static void short_rows(const float *x, float *y, int64_t rows, int C)
{
    switch (C) {
#define X(N)                                                                                                 \
    case N:                                                                                                  \
        short_block(x, y, rows, N);                                                                          \
        break;
        SHORT_WIDTHS(X)
#undef X
    default:
        short_block(x, y, rows, C);
        break;
    }
}

static void short_rows_bwd(const float *gy, const float *y, float *gx, int64_t rows, int C)
{
    switch (C) {
#define X(N)                                                                                                 \
    case N:                                                                                                  \
        short_block_bwd(gy, y, gx, rows, N);                                                                 \
        break;
        SHORT_WIDTHS(X)
#undef X
    default:
        short_block_bwd(gy, y, gx, rows, C);
        break;
    }
}

int AVS_ISA(avs_cpu_softmax)(const avs_cpu_call *c)
{
    const avs_tensor *x = &c->k.in[0];
    const int64_t C = avs_last(&x->type), rows = avs_type_count(&x->type) / C;
    const avs_softmax_p p = {.x = x->data, .y = c->k.out[0].data, .C = (int32_t)C};
    if (C > SHORT_ROW) {
        avs_softmax_cpu(&p, rows, C);
        return AVS_OK;
    }
    const int64_t step = BLOCK / C;
#pragma omp parallel for schedule(static) if (rows * C >= AVS_PAR_MIN)
    for (int64_t r = 0; r < rows; r += step)
        short_rows(p.x + r * C, p.y + r * C, avs_min64(step, rows - r), (int)C);
    return AVS_OK;
}

int AVS_ISA(avs_cpu_softmax_bwd)(const avs_cpu_call *c)
{
    const avs_type *t = &c->k.in[0].type;
    const int64_t C = avs_last(t);
    const avs_softmax_bwd_p p = {
        .gy = c->k.in[0].data, .y = c->k.in[1].data, .gx = c->k.out[0].data, .C = (int32_t)C};
    const int64_t rows = avs_type_count(t) / C, step = BLOCK / C;
    if (C > SHORT_ROW) {
        avs_softmax_bwd_cpu(&p, rows, C);
        return AVS_OK;
    }
#pragma omp parallel for schedule(static) if (rows * C >= AVS_PAR_MIN)
    for (int64_t r = 0; r < rows; r += step)
        short_rows_bwd(p.gy + r * C, p.y + r * C, p.gx + r * C, avs_min64(step, rows - r), (int)C);
    return AVS_OK;
}
