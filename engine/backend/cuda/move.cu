/* What moves elements: CONCAT, SLICE and PAD in one kernel, PERMUTE, rows by index and back, the largest row of each
 * column and back.
 *
 * Moves work in units of 16 bytes where extents and addresses allow it, else of 4 or 1: one unit per thread, writes
 * coalesced. Rows: a warp per row, lanes over channels. The transposed gather lets each row of the result look for its
 * readers, so nothing is scattered. No shared memory. Not measured on a device yet. */
#include "engine/backend/cuda/kernels.h"
#include "engine/kernel/lane.k.h"

/* y[i] = x[j], or 0 where j < 0. */
AVS_FN void move_unit(const void *x, int64_t j, void *y, int64_t i, int unit)
{
    if (unit == 16) {
        const avs_f4 zero = {{0.f, 0.f, 0.f, 0.f}};
        ((avs_f4 *)y)[i] = j < 0 ? zero : ((const avs_f4 *)x)[j];
    } else if (unit == 4) {
        ((uint32_t *)y)[i] = j < 0 ? 0u : ((const uint32_t *)x)[j];
    } else {
        ((uint8_t *)y)[i] = j < 0 ? (uint8_t)0 : ((const uint8_t *)x)[j];
    }
}

AVS_FN void avs_move_body(const avs_move_p *p, int64_t i)
{
    const int64_t o = i / p->y_run, q = i % p->y_run;
    int part = 0;
    for (int k = 1; k < p->n_parts; k++) part = q >= p->at[k] ? k : part;
    const int is_inside = q >= p->at[0] && q < p->at[p->n_parts];
    move_unit(p->x[part], is_inside ? o * p->run[part] + p->skip + q - p->at[part] : -1, p->y, i, p->unit);
}
AVS_OWN_EW(avs_move, avs_move_p)

AVS_FN void avs_permute_body(const avs_permute_p *p, int64_t i)
{
    int64_t j = 0, rest = i;
    for (int a = p->rank - 1; a > 0; a--) {
        const int64_t next = rest / p->d[a];
        j += (rest - next * p->d[a]) * p->stride[a];
        rest = next;
    }
    move_unit(p->x, j + rest * p->stride[0], p->y, i, p->unit);
}
AVS_OWN_EW(avs_permute, avs_permute_p)

AVS_FN void avs_gather_rows_body(const avs_gather_p *p, int64_t r)
{
    const int64_t b = r / p->Q, from = p->index[r % p->Q], C = p->C;
    const int is_bad = from < -1 || from >= p->R;
    if (is_bad && AVS_LANE == 0) *p->status = AVS_STATUS_CLASS;
    const float *x = p->x + (b * p->R + (is_bad || from < 0 ? 0 : from)) * C;
    for (int64_t c = AVS_LANE; c < C; c += AVS_LANES) p->y[r * C + c] = is_bad || from < 0 ? 0.f : x[c];
}
AVS_OWN_ROW(avs_gather_rows, avs_gather_p)

AVS_FN void avs_gather_rows_bwd_body(const avs_gather_p *p, int64_t row)
{
    const int64_t b = row / p->R, r = row % p->R, C = p->C;
    const float *x = p->x + b * p->Q * C;
    for (int64_t c0 = 0; c0 < C; c0 += AVS_LANES) {
        const int64_t c = c0 + AVS_LANE;
        float sum = 0.f;
        for (int64_t q0 = 0; q0 < p->Q; q0 += AVS_LANES) {
            const int64_t q = q0 + AVS_LANE, at = q < p->Q ? p->index[q] : -1;
            if (at < -1 || at >= p->R) *p->status = AVS_STATUS_CLASS;
            uint32_t todo = AVS_LANE_BALLOT(at == r);
            for (int64_t k = q0; todo; k++, todo >>= 1)
                if ((todo & 1u) && c < C) sum += x[k * C + c];
        }
        if (c < C) p->y[row * C + c] = sum;
    }
}
AVS_OWN_ROW(avs_gather_rows_bwd, avs_gather_p)

AVS_FN void avs_row_max_body(const avs_row_max_p *p, int64_t i)
{
    const int64_t C = p->C;
    const float *x = p->x + i / C * p->R * C + i % C;
    float best = x[0];
    int64_t at = 0;
    for (int64_t r = 1; r < p->R; r++) {
        const float v = x[r * C];
        at = v > best ? r : at;
        best = v > best ? v : best;
    }
    p->y[i] = best;
    p->index[i] = (int32_t)at;
}
AVS_OWN_EW(avs_row_max, avs_row_max_p)

AVS_FN void avs_row_max_bwd_body(const avs_row_max_p *p, int64_t i)
{
    const int64_t b = i / p->C / p->R, r = i / p->C % p->R, column = b * p->C + i % p->C;
    const int64_t at = p->index[column];
    if (at < 0 || at >= p->R) *p->status = AVS_STATUS_CLASS;
    p->y[i] = at == r ? p->x[column] : 0.f;
}
AVS_OWN_EW(avs_row_max_bwd, avs_row_max_p)
