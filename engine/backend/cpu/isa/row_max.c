/* The largest row of each column, lanes over channels. Blocks of channels keep maximum and row in registers; nothing
 * depends on the threads. */
#include "engine/backend/cpu/isa/isa.h"

enum { BLOCK = 64 };

static void block_max(const float *x, int64_t R, int64_t C, int n, float *y, int32_t *index)
{
    float best[BLOCK];
    int32_t at[BLOCK];
    for (int c = 0; c < n; c++) {
        best[c] = x[c];
        at[c] = 0;
    }
    for (int32_t r = 1; r < (int32_t)R; r++) {
        const float *v = x + r * C;
#pragma omp simd
        for (int c = 0; c < n; c++) {
            const int is_more = v[c] > best[c];
            best[c] = is_more ? v[c] : best[c];
            at[c] = is_more ? r : at[c];
        }
    }
    for (int c = 0; c < n; c++) {
        y[c] = best[c];
        index[c] = at[c];
    }
}

int AVS_ISA(avs_cpu_row_max)(const avs_cpu_call *c)
{
    const avs_type *t = &c->k.in[0].type;
    const int64_t B = t->d[0], R = t->d[1], C = t->d[2], blocks = avs_ceil_div(C, BLOCK);
    const float *x = c->k.in[0].data;
    float *y = c->k.out[0].data;
    int32_t *index = c->k.out[1].data;
#pragma omp parallel for schedule(static) if (B * R * C >= AVS_PAR_MIN)
    for (int64_t i = 0; i < B * blocks; i++) {
        const int64_t b = i / blocks, c0 = i % blocks * BLOCK;
        block_max(x + b * R * C + c0, R, C, (int)avs_min64(BLOCK, C - c0), y + b * C + c0,
                  index + b * C + c0);
    }
    return AVS_OK;
}

int AVS_ISA(avs_cpu_row_max_bwd)(const avs_cpu_call *c)
{
    const avs_type *t = &c->k.out[0].type;
    const int64_t B = t->d[0], R = t->d[1], C = t->d[2];
    const float *gy = c->k.in[0].data;
    const int32_t *index = c->k.in[1].data;
    float *gx = c->k.out[0].data;
    for (int64_t i = 0; i < B * C; i++)
        if (index[i] < 0 || index[i] >= R) return AVS_ERANGE;
#pragma omp parallel for schedule(static) if (B * R * C >= AVS_PAR_MIN)
    for (int64_t i = 0; i < B * R; i++) {
        const int64_t from = i / R * C;
        const int32_t r = (int32_t)(i % R);
#pragma omp simd
        for (int64_t k = 0; k < C; k++) gx[i * C + k] = index[from + k] == r ? gy[from + k] : 0.F;
    }
    return AVS_OK;
}
