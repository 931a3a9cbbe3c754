/* Batch and group normalisation: x [S][n][C], statistics per (set, group of channels); batch: one set, groups of one
 * channel.
 *
 * Forward: small groups are a block's. Else a block takes 32 columns and AVS_NORM_ROWS rows (8 strips of threads, 3 KiB
 * shared) and leaves each column's mean, sum of deviations and of their squares; a warp per group joins them in double
 * with Chan's formula and leaves mean, factor and shift per channel; then one pass over elements, four per thread where C
 * allows.
 * Backward: column sums of g and g (x - mean), then coefficients per channel, then gx = k1 g - k2 - (x - mean) k3, where
 * with a ReLU g is gy where the forward's value before it is above 0.
 * Over ranks (is_sync) each direction is two launchers, between which the host has the ranks' moments or sums added.
 * Not measured on a device yet. */
#include "engine/backend/cuda/kernels.h"
#include "engine/kernel/lane.k.h"
#include "engine/kernel/moments.k.h"

#include <math.h>

enum { NORM_COLS = 32, NORM_STRIPS = 8 };

typedef struct {
    avs_norm_p q;
    float *table; /* [S][3][C]: mean, factor, shift */
    double *over; /* of the ranks */
    int64_t chunks, n_col_blocks;
} norm_stage_p;

AVS_GLOBAL(norm_stats, norm_stage_p)
{
    AVS_SHARED float strip[3][NORM_STRIPS][NORM_COLS];
    const avs_norm_p *q = &p.q;
    const int lane = AVS_THREAD % NORM_COLS, s = AVS_THREAD / NORM_COLS;
    const int64_t c = AVS_BLOCK % p.n_col_blocks * NORM_COLS + lane, at = AVS_BLOCK / p.n_col_blocks,
                  C = q->C;
    const int64_t from = at % p.chunks * AVS_NORM_ROWS,
                  rows = q->n - from < AVS_NORM_ROWS ? q->n - from : AVS_NORM_ROWS;
    const float *x = q->x + (at / p.chunks * q->n + from) * C + c;
    float sum = 0.f, d1 = 0.f, d2 = 0.f;
    if (c < C)
        for (int64_t r = s; r < rows; r += NORM_STRIPS) sum += x[r * C];
    strip[0][s][lane] = sum;
    AVS_SYNC();
    sum = 0.f;
    for (int i = 0; i < NORM_STRIPS; i++) sum += strip[0][i][lane];
    const float mean = sum / (float)rows;
    if (c < C)
        for (int64_t r = s; r < rows; r += NORM_STRIPS) {
            const float d = x[r * C] - mean;
            d1 += d;
            d2 += d * d;
        }
    strip[1][s][lane] = d1;
    strip[2][s][lane] = d2;
    AVS_SYNC();
    if (s < 2 && c < C) {
        float total = 0.f;
        for (int i = 0; i < NORM_STRIPS; i++) total += strip[1 + s][i][lane];
        q->part[(at * 3 + 1 + s) * C + c] = total;
        if (s == 0) q->part[at * 3 * C + c] = mean;
    }
}

/* Statistic i from mean and sum of squared deviations of `total` elements: results, and its channels' rows of the table. */
AVS_FN void norm_statistic(const norm_stage_p *p, int64_t i, double m, double v, double total)
{
    const avs_norm_p *q = &p->q;
    const int64_t C = q->C, Cg = C / q->G, c0 = i % q->G * Cg;
    const float mean = (float)m, rstd = (float)(1.0 / sqrt(v / total + (double)q->eps));
    float *table = p->table + i / q->G * 3 * C;
    for (int64_t c = c0 + AVS_LANE; c < c0 + Cg; c += AVS_LANES) {
        const float factor = rstd * q->gamma[c];
        table[c] = mean;
        table[C + c] = factor;
        table[2 * C + c] = (float)((double)q->beta[c] - (m - (double)mean) * (double)factor);
    }
    if (AVS_LANE != 0) return;
    q->mean[i] = mean;
    q->rstd[i] = rstd;
    if (q->nm) {
        const double f = (double)q->momentum;
        q->nm[i] = (float)((1 - f) * (double)q->rm[i] + f * m);
        q->nv[i] = (float)((1 - f) * (double)q->rv[i] + f * v / (total - 1));
    }
}

/* Group i: all its (chunk, channel) pairs over the lanes. */
typedef norm_stage_p avs_norm_join_p;
AVS_FN void avs_norm_join_body(const avs_norm_join_p *p, int64_t i)
{
    const avs_norm_p *q = &p->q;
    const int64_t C = q->C, Cg = C / q->G, s = i / q->G, c0 = i % q->G * Cg, pairs = p->chunks * Cg;
    const float *part = q->part + s * p->chunks * 3 * C;
    double m = 0, v = 0;
    for (int64_t e = AVS_LANE; e < pairs; e += AVS_LANES) {
        const int64_t k = e / Cg, left = q->n - k * AVS_NORM_ROWS;
        const float *a = part + k * 3 * C + c0 + e % Cg;
        m += (double)(left < AVS_NORM_ROWS ? left : AVS_NORM_ROWS) * (double)a[0] + (double)a[C];
    }
    m = avs_lane_sum_d(m) / (double)(q->n * Cg);
    for (int64_t e = AVS_LANE; e < pairs; e += AVS_LANES) {
        const int64_t k = e / Cg, left = q->n - k * AVS_NORM_ROWS;
        const float *a = part + k * 3 * C + c0 + e % Cg;
        const double d = (double)a[0] - m;
        v += (double)a[2 * C] + 2 * d * (double)a[C] +
             (double)(left < AVS_NORM_ROWS ? left : AVS_NORM_ROWS) * d * d;
    }
    v = avs_lane_sum_d(v);
    v = v > 0 ? v : 0;
    if (!q->is_sync)
        norm_statistic(p, i, m, v, (double)(q->n * Cg));
    else if (AVS_LANE == 0)
        avs_moments_put(p->over, C, i, (double)q->n, (double)q->rm[i], m, v);
}
AVS_OWN_ROW(avs_norm_join, avs_norm_join_p)

/* Channel i, from what the ranks added. */
typedef norm_stage_p avs_norm_ranks_p;
AVS_FN void avs_norm_ranks_body(const avs_norm_ranks_p *p, int64_t i)
{
    double m, v;
    avs_moments_get(p->over, p->q.C, i, (double)p->q.rm[i], &m, &v);
    norm_statistic(p, i, m, v, p->over[0]);
}
AVS_OWN_ROW(avs_norm_ranks, avs_norm_ranks_p)

AVS_FN float norm_value(const avs_norm_p *q, const float *table, int64_t c, float x)
{
    const float v = (x - table[c]) * table[q->C + c] + table[2 * q->C + c];
    return q->has_relu && v < 0.f ? 0.f : v;
}

/* Index = four consecutive elements of one row. */
typedef norm_stage_p avs_norm_apply4_p;
AVS_FN void avs_norm_apply4_body(const avs_norm_apply4_p *p, int64_t i)
{
    const avs_norm_p *q = &p->q;
    const int64_t c = i * 4 % q->C;
    const float *table = p->table + i * 4 / q->C / q->n * 3 * q->C;
    const avs_f4 x = ((const avs_f4 *)q->x)[i];
    avs_f4 y;
    for (int j = 0; j < 4; j++) y.v[j] = norm_value(q, table, c + j, x.v[j]);
    ((avs_f4 *)q->y)[i] = y;
}
AVS_OWN_EW(avs_norm_apply4, avs_norm_apply4_p)

typedef norm_stage_p avs_norm_apply_p;
AVS_FN void avs_norm_apply_body(const avs_norm_apply_p *p, int64_t i)
{
    const avs_norm_p *q = &p->q;
    q->y[i] = norm_value(q, p->table + i / q->C / q->n * 3 * q->C, i % q->C, q->x[i]);
}
AVS_OWN_EW(avs_norm_apply, avs_norm_apply_p)

/* A block per statistic, all in one kernel: for groups whose elements a block gets through in a moment. Thread t has channel
 * t % Cg of the group and every (threads / Cg)th row, so its channel stays and neighbours read what lies side by side. */
enum { NORM_GROUP_THREADS = 512, NORM_GROUP_MOST = 32768 };

/* The sum over the block's threads, for all of them; slot: a double per warp, its own for every call. */
AVS_FN double norm_block_sum(float v, double *slot)
{
    const double d = avs_lane_sum_d((double)v);
    double sum = 0;
    if (AVS_LANE == 0) slot[AVS_THREAD / 32] = d;
    AVS_SYNC();
    for (int i = 0; i < NORM_GROUP_THREADS / 32; i++) sum += slot[i];
    return sum;
}

AVS_GLOBAL(norm_group, avs_norm_p)
{
    AVS_SHARED double slot[3][NORM_GROUP_THREADS / 32];
    const int Cg = (int)(p.C / p.G), step = NORM_GROUP_THREADS / Cg, row = AVS_THREAD / Cg;
    const int64_t c = AVS_BLOCK % p.G * Cg + AVS_THREAD % Cg, set = AVS_BLOCK / p.G * p.n * p.C + c;
    const int64_t from = row < step ? row : p.n; /* threads that are left over have no rows */
    const double total = (double)(p.n * Cg);
    float sum = 0.f, d1 = 0.f, d2 = 0.f;
    for (int64_t r = from; r < p.n; r += step) sum += p.x[set + r * p.C];
    const float first = (float)(norm_block_sum(sum, slot[0]) / total);
    for (int64_t r = from; r < p.n; r += step) {
        const float d = p.x[set + r * p.C] - first;
        d1 += d;
        d2 += d * d;
    }
    /* what rounding took from the mean goes into the variance and the shift */
    const double rest = norm_block_sum(d1, slot[1]) / total, square = norm_block_sum(d2, slot[2]) / total;
    const double mean = (double)first + rest, var = square - rest * rest;
    const float rstd = (float)(1.0 / sqrt((var > 0 ? var : 0) + (double)p.eps)), factor = rstd * p.gamma[c];
    const float shift = (float)((double)p.beta[c] - (mean - (double)(float)mean) * (double)factor);
    for (int64_t r = from; r < p.n; r += step) {
        const float v = (p.x[set + r * p.C] - (float)mean) * factor + shift;
        p.y[set + r * p.C] = p.has_relu && v < 0.f ? 0.f : v;
    }
    if (AVS_THREAD == 0) {
        p.mean[AVS_BLOCK] = (float)mean;
        p.rstd[AVS_BLOCK] = rstd;
    }
}

static inline int norm_is_one_kernel(const avs_norm_p *p)
{
    const int64_t Cg = p->C / p->G;
    return !p->nm && Cg >= 4 && Cg <= NORM_GROUP_THREADS && p->n * Cg <= NORM_GROUP_MOST;
}

static inline int norm_is_quad(int64_t C, const void *a, const void *b, const void *c)
{
    return C % 4 == 0 && ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) % 16 == 0;
}

static inline norm_stage_p norm_stages(const avs_norm_p *p)
{
    const int64_t chunks = (p->n + AVS_NORM_ROWS - 1) / AVS_NORM_ROWS;
    const norm_stage_p q = {*p, p->part + 3 * p->S * chunks * p->C,
                            (double *)(p->part + avs_norm_over(p->S, p->n, p->C)), chunks,
                            (p->C + NORM_COLS - 1) / NORM_COLS};
    return q;
}

static inline int norm_apply(const norm_stage_p *q, void *stream)
{
    const avs_norm_p *p = &q->q;
    const int64_t total = p->S * p->n * p->C;
    return norm_is_quad(p->C, p->x, p->y, p->y) ? avs_norm_apply4_cuda(q, total / 4, stream)
                                                : avs_norm_apply_cuda(q, total, stream);
}

AVS_HOST(int) avs_norm_cuda(const avs_norm_p *p, int64_t n, void *stream)
{
    (void)n;
    if (norm_is_one_kernel(p)) return AVS_LAUNCH(norm_group, p->S * p->G, NORM_GROUP_THREADS, stream, *p);
    const norm_stage_p q = norm_stages(p);
    int rc = AVS_LAUNCH(norm_stats, p->S * q.chunks * q.n_col_blocks, NORM_COLS * NORM_STRIPS, stream, q);
    if (!rc) rc = avs_norm_join_cuda(&q, p->S * p->G, stream);
    return rc || p->is_sync ? rc : norm_apply(&q, stream);
}

AVS_HOST(int) avs_norm_finish_cuda(const avs_norm_p *p, int64_t n, void *stream)
{
    const norm_stage_p q = norm_stages(p);
    (void)n;
    const int rc = avs_norm_ranks_cuda(&q, p->C, stream);
    return rc ? rc : norm_apply(&q, stream);
}

/* ------------------------------------------------------------------ backward */

typedef struct {
    avs_norm_bwd_p q;
    float *sums;  /* [S][2][C]: A, B             */
    float *table; /* [S][4][C]: mean, k1, k2, k3 */
    double *over; /* of the ranks                */
    int64_t chunks, n_col_blocks;
} norm_grad_p;

AVS_FN float norm_counted(const avs_norm_bwd_p *q, float gy, float d, float factor, int64_t c)
{
    return !q->beta || d * factor + q->beta[c] > 0.f ? gy : 0.f;
}

AVS_GLOBAL(norm_grad_sums, norm_grad_p)
{
    AVS_SHARED float strip[2][NORM_STRIPS][NORM_COLS];
    const avs_norm_bwd_p *q = &p.q;
    const int lane = AVS_THREAD % NORM_COLS, s = AVS_THREAD / NORM_COLS;
    const int64_t c = AVS_BLOCK % p.n_col_blocks * NORM_COLS + lane, at = AVS_BLOCK / p.n_col_blocks,
                  C = q->C;
    const int64_t set = at / p.chunks, from = at % p.chunks * AVS_NORM_ROWS,
                  rows = q->n - from < AVS_NORM_ROWS ? q->n - from : AVS_NORM_ROWS;
    const int64_t first = (set * q->n + from) * C + c;
    float a = 0.f, b = 0.f;
    if (c < C) {
        const int64_t group = set * q->G + c / (C / q->G);
        const float mean = q->mean[group], factor = q->rstd[group] * q->gamma[c];
        for (int64_t r = s; r < rows; r += NORM_STRIPS) {
            const float d = q->x[first + r * C] - mean,
                        g = norm_counted(q, q->gy[first + r * C], d, factor, c);
            a += g;
            b += g * d;
        }
    }
    strip[0][s][lane] = a;
    strip[1][s][lane] = b;
    AVS_SYNC();
    if (s < 2 && c < C) {
        float total = 0.f;
        for (int i = 0; i < NORM_STRIPS; i++) total += strip[s][i][lane];
        q->part[(at * 2 + s) * C + c] = total;
    }
}

/* Index = (set, channel): the coefficients; the first set's threads also make dgamma and dbeta. */
typedef norm_grad_p avs_norm_table_p;
AVS_FN void avs_norm_table_body(const avs_norm_table_p *p, int64_t i)
{
    const avs_norm_bwd_p *q = &p->q;
    const int64_t C = q->C, Cg = C / q->G, s = i / C, c = i % C, g = c / Cg;
    const float *A = p->sums + s * 2 * C, *B = A + C;
    double s1 = 0, s2 = 0;
    for (int64_t j = g * Cg; j < (g + 1) * Cg; j++) {
        s1 += (double)q->gamma[j] * (double)A[j];
        s2 += (double)q->gamma[j] * (double)B[j];
    }
    double m = (double)(q->n * Cg);
    if (q->is_sync) {
        s1 = (double)q->gamma[c] * p->over[1 + c];
        s2 = (double)q->gamma[c] * p->over[1 + C + c];
        m = p->over[0];
    }
    const float rstd = q->rstd[s * q->G + g];
    const double k = (double)rstd;
    float *table = p->table + s * 4 * C;
    table[c] = q->mean[s * q->G + g];
    table[C + c] = rstd * q->gamma[c];
    table[2 * C + c] = (float)(k * s1 / m);
    table[3 * C + c] = (float)(k * k * k * s2 / m);
    if (s != 0) return;
    double a = 0, b = 0;
    for (int64_t t = 0; t < q->S; t++) {
        a += (double)p->sums[t * 2 * C + c];
        b += (double)p->sums[t * 2 * C + C + c] * (double)q->rstd[t * q->G + g];
    }
    q->dbeta[c] = (float)a;
    q->dgamma[c] = (float)b;
}
AVS_OWN_EW(avs_norm_table, avs_norm_table_p)

/* Index = one of the 2 C sums: this rank's, to be added. */
typedef norm_grad_p avs_norm_grad_put_p;
AVS_FN void avs_norm_grad_put_body(const avs_norm_grad_put_p *p, int64_t i)
{
    if (i == 0) p->over[0] = (double)p->q.n;
    p->over[1 + i] = (double)p->sums[i];
}
AVS_OWN_EW(avs_norm_grad_put, avs_norm_grad_put_p)

AVS_FN float norm_grad(const avs_norm_bwd_p *q, const float *table, int64_t c, float gy, float x)
{
    const int64_t C = q->C;
    const float d = x - table[c];
    return (table[C + c] * norm_counted(q, gy, d, table[C + c], c) - table[2 * C + c]) - d * table[3 * C + c];
}

typedef norm_grad_p avs_norm_grad4_p;
AVS_FN void avs_norm_grad4_body(const avs_norm_grad4_p *p, int64_t i)
{
    const avs_norm_bwd_p *q = &p->q;
    const int64_t c = i * 4 % q->C;
    const float *table = p->table + i * 4 / q->C / q->n * 4 * q->C;
    const avs_f4 x = ((const avs_f4 *)q->x)[i], g = ((const avs_f4 *)q->gy)[i];
    avs_f4 y;
    for (int j = 0; j < 4; j++) y.v[j] = norm_grad(q, table, c + j, g.v[j], x.v[j]);
    ((avs_f4 *)q->gx)[i] = y;
}
AVS_OWN_EW(avs_norm_grad4, avs_norm_grad4_p)

typedef norm_grad_p avs_norm_grad_p;
AVS_FN void avs_norm_grad_body(const avs_norm_grad_p *p, int64_t i)
{
    const avs_norm_bwd_p *q = &p->q;
    q->gx[i] = norm_grad(q, p->table + i / q->C / q->n * 4 * q->C, i % q->C, q->gy[i], q->x[i]);
}
AVS_OWN_EW(avs_norm_grad, avs_norm_grad_p)

static inline norm_grad_p norm_grad_stages(const avs_norm_bwd_p *p)
{
    const int64_t chunks = (p->n + AVS_NORM_ROWS - 1) / AVS_NORM_ROWS, C = p->C;
    float *sums = p->part + 2 * p->S * chunks * C;
    const norm_grad_p q = {*p,
                           sums,
                           sums + 2 * p->S * C,
                           (double *)(p->part + avs_norm_over(p->S, p->n, C)),
                           chunks,
                           (C + NORM_COLS - 1) / NORM_COLS};
    return q;
}

static inline int norm_grad_apply(const norm_grad_p *q, void *stream)
{
    const avs_norm_bwd_p *p = &q->q;
    const int64_t total = p->S * p->n * p->C;
    const int rc = avs_norm_table_cuda(q, p->S * p->C, stream);
    if (rc) return rc;
    return norm_is_quad(p->C, p->x, p->gy, p->gx) ? avs_norm_grad4_cuda(q, total / 4, stream)
                                                  : avs_norm_grad_cuda(q, total, stream);
}

AVS_HOST(int) avs_norm_bwd_cuda(const avs_norm_bwd_p *p, int64_t n, void *stream)
{
    const norm_grad_p q = norm_grad_stages(p);
    const avs_reduce_p join = {p->part, q.sums, q.table + 4 * p->S * p->C, p->S, q.chunks, 2 * p->C, 1.f};
    (void)n;
    int rc = AVS_LAUNCH(norm_grad_sums, p->S * q.chunks * q.n_col_blocks, NORM_COLS * NORM_STRIPS, stream, q);
    if (!rc) rc = avs_reduce_cuda(&join, 0, stream);
    if (rc) return rc;
    return p->is_sync ? avs_norm_grad_put_cuda(&q, 2 * p->C, stream) : norm_grad_apply(&q, stream);
}

AVS_HOST(int) avs_norm_bwd_finish_cuda(const avs_norm_bwd_p *p, int64_t n, void *stream)
{
    const norm_grad_p q = norm_grad_stages(p);
    (void)n;
    return norm_grad_apply(&q, stream);
}
