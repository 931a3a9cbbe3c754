/* Rows by a fixed index. Neighbours that stay neighbours (a row of a window) move in one piece. The transpose sorts the
 * index by counting, so that every row of the table sums its own sources in their order: no atomics, and the bits do
 * not depend on the threads. */
#include <string.h>
#include "engine/backend/cpu/isa/isa.h"

static bool is_in_range(const int32_t *index, int64_t n, int32_t rows)
{
    int64_t bad = 0;
    for (int64_t q = 0; q < n; q++) bad += index[q] < -1 || index[q] >= rows;
    return bad == 0;
}

/* y[q] = x[index[q]] for q in [from, to). */
static void copy_rows(const char *x, char *y, const int32_t *index, int64_t from, int64_t to, int64_t row)
{
    for (int64_t q = from; q < to;) {
        int64_t end = q + 1;
        if (index[q] < 0) {
            while (end < to && index[end] < 0) end++;
            memset(y + q * row, 0, (size_t)((end - q) * row));
        } else {
            while (end < to && index[end] == index[end - 1] + 1) end++;
            memcpy(y + q * row, x + index[q] * row, (size_t)((end - q) * row));
        }
        q = end;
    }
}

int AVS_ISA(avs_cpu_gather_rows)(const avs_cpu_call *c)
{
    const avs_tensor *x = &c->k.in[0], *y = &c->k.out[0];
    const int32_t *index = c->k.in[1].data;
    const int64_t B = x->type.d[0], R = x->type.d[1], C = x->type.d[2], Q = y->type.d[1];
    const int64_t row = C * (int64_t)sizeof(float), block = avs_max64(1, 65536 / row);
    const int64_t pieces = avs_ceil_div(Q, block);
    if (!is_in_range(index, Q, (int32_t)R)) return AVS_ERANGE;
#pragma omp parallel for schedule(static) if (B * Q * C >= AVS_PAR_MIN)
    for (int64_t t = 0; t < B * pieces; t++) {
        const int64_t b = t / pieces, from = t % pieces * block;
        copy_rows((const char *)x->data + b * R * row, (char *)y->data + b * Q * row, index, from,
                  avs_min64(Q, from + block), row);
    }
    return AVS_OK;
}

size_t AVS_ISA(avs_cpu_gather_rows_bwd_work)(const avs_kernel_args *a)
{
    return sizeof(int32_t) * (size_t)(a->out[0].type.d[1] + 1 + a->in[1].type.d[0]);
}

/* source[start[r] .. start[r + 1]): the places whose row is r, ascending. */
static void sort_by_row(const int32_t *index, int64_t Q, int64_t R, int32_t *start, int32_t *source)
{
    memset(start, 0, sizeof(*start) * (size_t)(R + 1));
    for (int64_t q = 0; q < Q; q++)
        if (index[q] >= 0) start[index[q] + 1]++;
    for (int64_t r = 0; r < R; r++) start[r + 1] += start[r];
    for (int64_t q = 0; q < Q; q++)
        if (index[q] >= 0) source[start[index[q]]++] = (int32_t)q;
    for (int64_t r = R; r > 0; r--) start[r] = start[r - 1];
    start[0] = 0;
}

int AVS_ISA(avs_cpu_gather_rows_bwd)(const avs_cpu_call *c)
{
    const avs_tensor *gy = &c->k.in[0], *gx = &c->k.out[0];
    const int32_t *index = c->k.in[1].data;
    const int64_t B = gy->type.d[0], Q = gy->type.d[1], C = gy->type.d[2], R = gx->type.d[1];
    int32_t *start = c->work, *source = start ? start + R + 1 : NULL;
    if (!start) return AVS_ENOMEM;
    if (!is_in_range(index, Q, (int32_t)R)) return AVS_ERANGE;
    sort_by_row(index, Q, R, start, source);
#pragma omp parallel for schedule(static) if (B * Q * C >= AVS_PAR_MIN)
    for (int64_t t = 0; t < B * R; t++) {
        const int64_t b = t / R, r = t % R;
        const float *from = (const float *)gy->data + b * Q * C;
        float *AVS_RESTRICT to = (float *)gx->data + t * C;
        memset(to, 0, sizeof(float) * (size_t)C);
        for (int32_t i = start[r]; i < start[r + 1]; i++) {
            const float *AVS_RESTRICT s = from + source[i] * C;
            AVS_SIMD
            for (int64_t k = 0; k < C; k++) to[k] += s[k];
        }
    }
    return AVS_OK;
}
