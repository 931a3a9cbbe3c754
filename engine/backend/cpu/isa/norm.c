/* Batch and group normalisation: one algorithm. x is seen as [S][n][C] (batch: S = 1 set of all rows; group: a set
 * per sample) with statistics per (set, group of channels); batch normalisation has groups of one channel.
 *
 * Forward: every chunk of rows gives its columns' mean and sum of squared deviations (two passes in cache); chunks and
 * the channels of a group are joined in double with Chan's formula. Then y = act((x - mean) rstd gamma + beta).
 * Backward: column sums A = sum g and B = sum g xh give dbeta, dgamma and
 *   gx = rstd (g gamma - mean(g gamma) - xh mean(g gamma xh)), means over the set's group. With ReLU g is gy where the
 *   forward's value before it, computed again, is above 0.
 * Over ranks (is_sync) moments and column sums go through the runtime's sum between these passes. */
#include "engine/backend/cpu/isa/columns.h"
#include "engine/kernel/moments.k.h"

typedef struct {
    int64_t S, n, C, G; /* sets, rows per set, channels, groups */
    int64_t step, chunks;
    float *part;  /* [S * chunks][3 C]        */
    float *table; /* [S][4 C], per channel    */
    float *sums;  /* [S][2 C]                 */
    double *over; /* what ranks add: [2 C + 1], NULL where they do not */
    double total; /* elements that a statistic is taken over, of all ranks */
} norm_plan;

/* is_batch: one set of all rows and C groups. */
static norm_plan norm_plan_of(const avs_kernel_args *a, int x_at, bool is_batch, void *work, size_t *bytes)
{
    const avs_type *t = &a->in[x_at].type;
    const avs_norm_attr *at = a->attr;
    norm_plan q = {.C = avs_last(t)};
    q.S = is_batch ? 1 : t->d[0];
    q.G = is_batch ? q.C : at->groups;
    q.n = avs_type_count(t) / q.C / q.S;
    q.step = avs_chunk_rows(q.n, q.C);
    q.chunks = avs_ceil_div(q.n, q.step);
    avs_scratch s = {.base = work};
    q.part = avs_scratch_take(&s, (size_t)(q.S * q.chunks * 3 * q.C) * sizeof(float));
    q.table = avs_scratch_take(&s, (size_t)(q.S * 4 * q.C) * sizeof(float));
    q.sums = avs_scratch_take(&s, (size_t)(q.S * 2 * q.C) * sizeof(float));
    const int64_t group = q.n * (q.C / q.G);
    q.total = (double)group;
    double *over = at->is_sync ? avs_scratch_take(&s, (size_t)AVS_MOMENTS(q.C) * sizeof *over) : NULL;
    if (a->rt && a->rt->sum) q.over = over;
    if (bytes) *bytes = s.used;
    return q;
}

/* The rows of task t (a chunk of a set). */
static int64_t task_rows(const norm_plan *q, int64_t t, int64_t *first)
{
    const int64_t k = t % q->chunks;
    *first = t / q->chunks * q->n + k * q->step;
    return avs_min64(q->step, q->n - k * q->step);
}

static void column_sum(const float *AVS_RESTRICT x, int64_t rows, int64_t C, float *AVS_RESTRICT s)
{
    int64_t r = 0;
    for (int64_t c = 0; c < C; c++) s[c] = 0.f;
    for (; r + 4 <= rows; r += 4) {
        const float *x0 = x + r * C, *x1 = x0 + C, *x2 = x1 + C, *x3 = x2 + C;
        AVS_SIMD
        for (int64_t c = 0; c < C; c++) s[c] += (x0[c] + x1[c]) + (x2[c] + x3[c]);
    }
    for (; r < rows; r++) {
        const float *x0 = x + r * C;
        AVS_SIMD
        for (int64_t c = 0; c < C; c++) s[c] += x0[c];
    }
}

/* part: the chunk's mean as f32, the sums of deviations from it (what rounding took from the mean) and of their
 * squares. */
static void chunk_moments(const float *AVS_RESTRICT x, int64_t rows, int64_t C, float *AVS_RESTRICT part)
{
    float *AVS_RESTRICT mean = part, *AVS_RESTRICT d1 = part + C, *AVS_RESTRICT d2 = part + 2 * C;
    column_sum(x, rows, C, mean);
    const float k = 1.f / (float)rows;
    for (int64_t c = 0; c < C; c++) {
        mean[c] *= k;
        d1[c] = d2[c] = 0.f;
    }
    int64_t r = 0;
    for (; r + 2 <= rows; r += 2) {
        const float *x0 = x + r * C, *x1 = x0 + C;
        AVS_SIMD
        for (int64_t c = 0; c < C; c++) {
            const float a = x0[c] - mean[c], b = x1[c] - mean[c];
            d1[c] += a + b;
            d2[c] += a * a + b * b;
        }
    }
    for (; r < rows; r++) {
        const float *x0 = x + r * C;
        AVS_SIMD
        for (int64_t c = 0; c < C; c++) {
            const float a = x0[c] - mean[c];
            d1[c] += a;
            d2[c] += a * a;
        }
    }
}

/* Joins the chunks of channels [c0, c1) of set s: their common mean and sum of squared deviations. */
static void join_moments(const norm_plan *q, int64_t s, int64_t c0, int64_t c1, double *mean, double *m2)
{
    const int64_t C = q->C;
    const float *part = q->part + s * q->chunks * 3 * C;
    double m = 0, v = 0;
    for (int64_t k = 0; k < q->chunks; k++) {
        const double n = (double)avs_min64(q->step, q->n - k * q->step);
        for (int64_t c = c0; c < c1; c++)
            m += n * (double)part[k * 3 * C + c] + (double)part[k * 3 * C + C + c];
    }
    m /= (double)(q->n * (c1 - c0));
    for (int64_t k = 0; k < q->chunks; k++) {
        const double n = (double)avs_min64(q->step, q->n - k * q->step);
        for (int64_t c = c0; c < c1; c++) {
            const float *p = part + k * 3 * C + c;
            const double d = (double)p[0] - m;
            v += (double)p[2 * C] + 2 * d * (double)p[C] + n * d * d;
        }
    }
    *mean = m;
    *m2 = v > 0 ? v : 0;
}

static void affine_rows(const norm_plan *q, const float *AVS_RESTRICT x, const float *AVS_RESTRICT tab,
                        float *AVS_RESTRICT y, int64_t rows, bool has_relu)
{
    const int64_t C = q->C;
    const float *AVS_RESTRICT mean = tab, *AVS_RESTRICT scale = tab + C, *AVS_RESTRICT beta = tab + 2 * C;
    const float floor = has_relu ? 0.f : -avs_float(0x7f800000u);
    for (int64_t r = 0; r < rows; r++) {
        AVS_SIMD
        for (int64_t c = 0; c < C; c++) {
            const float v = (x[r * C + c] - mean[c]) * scale[c] + beta[c];
            y[r * C + c] = v < floor ? floor : v;
        }
    }
}

/* The moments of this rank's channels become those of all ranks; about the running mean, which all hold alike. */
static int add_ranks(const avs_kernel_args *k, norm_plan *q)
{
    const float *shift = k->in[3].data;
#pragma omp parallel for schedule(static) if (q->chunks * q->C >= AVS_PAR_MIN)
    for (int64_t c = 0; c < q->C; c++) {
        double m, m2;
        join_moments(q, 0, c, c + 1, &m, &m2);
        avs_moments_put(q->over, q->C, c, q->total, (double)shift[c], m, m2);
    }
    const int rc = k->rt->sum(k->rt->sum_ctx, q->over, AVS_MOMENTS(q->C));
    q->total = q->over[0];
    return rc;
}

/* Statistic i (set, group): its results, and the channels' rows of the table. */
static void finish_group(const avs_kernel_args *k, const norm_plan *q, int64_t i)
{
    const avs_norm_attr *at = k->attr;
    const float *gamma = k->in[1].data, *beta = k->in[2].data;
    float *mean = k->out[1].data, *rstd = k->out[2].data;
    const int64_t C = q->C, Cg = C / q->G, s = i / q->G, c0 = i % q->G * Cg;
    double m, m2;
    if (q->over)
        avs_moments_get(q->over, C, c0, (double)((const float *)k->in[3].data)[c0], &m, &m2);
    else
        join_moments(q, s, c0, c0 + Cg, &m, &m2);
    mean[i] = (float)m;
    rstd[i] = (float)(1.0 / __builtin_sqrt(m2 / q->total + (double)at->eps));
    float *tab = q->table + s * 4 * C;
    for (int64_t j = c0; j < c0 + Cg; j++) {
        tab[j] = mean[i];
        tab[C + j] = rstd[i] * gamma[j];
        /* what rounding took from the mean goes into the shift */
        tab[2 * C + j] = (float)((double)beta[j] - (m - (double)mean[i]) * (double)tab[C + j]);
    }
    if (k->n_in == 5) { /* batch normalisation: running statistics, unbiased variance */
        const double f = (double)at->momentum;
        const float *rm = k->in[3].data, *rv = k->in[4].data;
        float *nm = k->out[3].data, *nv = k->out[4].data;
        nm[i] = (float)((1 - f) * (double)rm[i] + f * m);
        nv[i] = (float)((1 - f) * (double)rv[i] + f * m2 / (q->total - 1));
    }
}

static int norm_forward(const avs_cpu_call *c, norm_plan *q)
{
    const avs_kernel_args *k = &c->k;
    const avs_norm_attr *at = k->attr;
    const float *x = k->in[0].data;
    float *y = k->out[0].data;
    const int64_t C = q->C, tasks = q->S * q->chunks;
#pragma omp parallel for schedule(static) if (q->S * q->n * C >= AVS_PAR_MIN)
    for (int64_t t = 0; t < tasks; t++) {
        int64_t first;
        const int64_t rows = task_rows(q, t, &first);
        chunk_moments(x + first * C, rows, C, q->part + t * 3 * C);
    }
    const int rc = q->over ? add_ranks(k, q) : AVS_OK;
    if (rc != AVS_OK) return rc;
#pragma omp parallel for schedule(static) if (tasks * C >= AVS_PAR_MIN)
    for (int64_t i = 0; i < q->S * q->G; i++) finish_group(k, q, i);
#pragma omp parallel for schedule(static) if (q->S * q->n * C >= AVS_PAR_MIN)
    for (int64_t t = 0; t < tasks; t++) {
        int64_t first;
        const int64_t rows = task_rows(q, t, &first);
        affine_rows(q, x + first * C, q->table + t / q->chunks * 4 * C, y + first * C, rows,
                    at->act == AVS_ACT_RELU);
    }
    return AVS_OK;
}

/* What counts of gy at one element: with ReLU nothing where the forward's value is not above 0. */
AVS_FN float counted(bool has_relu, float gy, float d, float scale, float beta)
{
    return !has_relu || d * scale + beta > 0.f ? gy : 0.f;
}

/* A = sum g and B = sum g (x - mean), still without rstd, of a chunk's columns. */
AVS_FN void sum_rows(bool has_relu, int64_t C, const float *AVS_RESTRICT gy, const float *AVS_RESTRICT x,
                     const float *AVS_RESTRICT tab, const float *AVS_RESTRICT beta, int64_t rows,
                     float *AVS_RESTRICT part)
{
    const float *AVS_RESTRICT mean = tab, *AVS_RESTRICT scale = tab + C;
    float *AVS_RESTRICT A = part, *AVS_RESTRICT B = part + C;
    int64_t r = 0;
    for (int64_t c = 0; c < 2 * C; c++) part[c] = 0.f;
    for (; r + 2 <= rows; r += 2) {
        const float *x0 = x + r * C, *x1 = x0 + C, *g0 = gy + r * C, *g1 = g0 + C;
        AVS_SIMD
        for (int64_t c = 0; c < C; c++) {
            const float b = has_relu ? beta[c] : 0.f, d0 = x0[c] - mean[c], d1 = x1[c] - mean[c];
            const float a0 = counted(has_relu, g0[c], d0, scale[c], b);
            const float a1 = counted(has_relu, g1[c], d1, scale[c], b);
            A[c] += a0 + a1;
            B[c] += a0 * d0 + a1 * d1;
        }
    }
    for (; r < rows; r++) {
        AVS_SIMD
        for (int64_t c = 0; c < C; c++) {
            const float d = x[r * C + c] - mean[c];
            const float a = counted(has_relu, gy[r * C + c], d, scale[c], has_relu ? beta[c] : 0.f);
            A[c] += a;
            B[c] += a * d;
        }
    }
}

static void chunk_sums(const norm_plan *q, const float *gy, const float *x, const float *tab,
                       const float *beta, int64_t rows, float *part)
{
    if (beta)
        sum_rows(true, q->C, gy, x, tab, beta, rows, part);
    else
        sum_rows(false, q->C, gy, x, tab, NULL, rows, part);
}

/* gx = k1 g - k2 - (x - mean) k3, the four per channel in tab; two rows at a time. gx may be gy. */
AVS_FN void apply_rows(bool has_relu, int64_t C, const float *gy, const float *AVS_RESTRICT x,
                       const float *AVS_RESTRICT tab, const float *AVS_RESTRICT beta, int64_t rows, float *gx)
{
    const float *AVS_RESTRICT mean = tab, *AVS_RESTRICT k1 = tab + C, *AVS_RESTRICT k2 = tab + 2 * C,
                              *AVS_RESTRICT k3 = tab + 3 * C;
    for (int64_t r = 0; r < rows; r += 2) {
        const int64_t o = r * C, p = r + 1 < rows ? o + C : o; /* an odd row is done twice */
        AVS_SIMD
        for (int64_t c = 0; c < C; c++) {
            const float m = mean[c], k = k1[c], b = has_relu ? beta[c] : 0.f;
            const float d0 = x[o + c] - m, d1 = x[p + c] - m;
            const float a0 = counted(has_relu, gy[o + c], d0, k, b),
                        a1 = counted(has_relu, gy[p + c], d1, k, b);
            gx[o + c] = (k * a0 - k2[c]) - d0 * k3[c];
            gx[p + c] = (k * a1 - k2[c]) - d1 * k3[c];
        }
    }
}

static void grad_rows(const norm_plan *q, const float *gy, const float *x, const float *tab,
                      const float *beta, int64_t rows, float *gx)
{
    if (beta)
        apply_rows(true, q->C, gy, x, tab, beta, rows, gx);
    else
        apply_rows(false, q->C, gy, x, tab, NULL, rows, gx);
}

/* The coefficients of grad_rows for the channels of one group, from the sums A and B of its set. */
static void grad_table(const norm_plan *q, const float *gamma, float mean, float rstd, int64_t s, int64_t c0)
{
    const int64_t C = q->C, Cg = C / q->G;
    const float *A = q->sums + s * 2 * C, *B = A + C;
    float *tab = q->table + s * 4 * C;
    double s1 = 0, s2 = 0;
    for (int64_t c = c0; c < c0 + Cg; c++) {
        s1 += (double)gamma[c] * (double)A[c];
        s2 += (double)gamma[c] * (double)B[c];
    }
    const double m = q->total, k = (double)rstd;
    for (int64_t c = c0; c < c0 + Cg; c++) {
        tab[c] = mean;
        tab[C + c] = rstd * gamma[c];
        tab[2 * C + c] = (float)(k * s1 / m);
        tab[3 * C + c] = (float)(k * k * k * s2 / m);
    }
}

/* The column sums of this rank become those of all ranks. */
static int add_rank_sums(const avs_kernel_args *k, norm_plan *q)
{
    q->over[0] = q->total;
    for (int64_t j = 0; j < 2 * q->C; j++) q->over[1 + j] = (double)q->sums[j];
    const int rc = k->rt->sum(k->rt->sum_ctx, q->over, AVS_MOMENTS(q->C));
    q->total = q->over[0];
    for (int64_t j = 0; j < 2 * q->C; j++) q->sums[j] = (float)q->over[1 + j];
    return rc;
}

static int norm_backward(const avs_cpu_call *c, norm_plan *q)
{
    const avs_kernel_args *k = &c->k;
    const float *gy = k->in[0].data, *x = k->in[1].data, *gamma = k->in[2].data;
    const float *mean = k->in[3].data, *rstd = k->in[4].data;
    const float *beta = k->n_in > 5 ? k->in[5].data : NULL;
    float *gx = k->out[0].data, *dgamma = k->out[1].data, *dbeta = k->out[2].data;
    const int64_t C = q->C, Cg = C / q->G, tasks = q->S * q->chunks;
    for (int64_t i = 0; i < q->S * C; i++) {
        const int64_t at = i / C * 4 * C + i % C, group = i / C * q->G + i % C / Cg;
        q->table[at] = mean[group];
        q->table[at + C] = rstd[group] * gamma[i % C];
    }
#pragma omp parallel for schedule(static) if (q->S * q->n * C >= AVS_PAR_MIN)
    for (int64_t t = 0; t < tasks; t++) {
        int64_t first;
        const int64_t rows = task_rows(q, t, &first), o = first * C;
        chunk_sums(q, gy + o, x + o, q->table + t / q->chunks * 4 * C, beta, rows, q->part + t * 2 * C);
    }
    for (int64_t s = 0; s < q->S; s++)
        avs_add_chunks(q->part + s * q->chunks * 2 * C, q->chunks, 2 * C, 2 * C, q->sums + s * 2 * C);
    for (int64_t j = 0; j < C; j++) {
        double a = 0, b = 0;
        for (int64_t s = 0; s < q->S; s++) {
            a += (double)q->sums[s * 2 * C + j];
            b += (double)q->sums[s * 2 * C + C + j] * (double)rstd[s * q->G + j / Cg];
        }
        dbeta[j] = (float)a;
        dgamma[j] = (float)b;
    }
    const int rc = q->over ? add_rank_sums(k, q) : AVS_OK;
    if (rc != AVS_OK) return rc;
    for (int64_t i = 0; i < q->S * q->G; i++) grad_table(q, gamma, mean[i], rstd[i], i / q->G, i % q->G * Cg);
#pragma omp parallel for schedule(static) if (q->S * q->n * C >= AVS_PAR_MIN)
    for (int64_t t = 0; t < tasks; t++) {
        int64_t first;
        const int64_t rows = task_rows(q, t, &first), o = first * C;
        grad_rows(q, gy + o, x + o, q->table + t / q->chunks * 4 * C, beta, rows, gx + o);
    }
    return AVS_OK;
}

#define NORM_WORK(name, x_at, is_batch)                                                                      \
    size_t AVS_ISA(avs_cpu_##name##_work)(const avs_kernel_args *a)                                          \
    {                                                                                                        \
        size_t bytes;                                                                                        \
        norm_plan_of(a, x_at, is_batch, NULL, &bytes);                                                       \
        return bytes;                                                                                        \
    }
NORM_WORK(batchnorm, 0, true)
NORM_WORK(batchnorm_bwd, 1, true)
NORM_WORK(groupnorm, 0, false)
NORM_WORK(groupnorm_bwd, 1, false)

int AVS_ISA(avs_cpu_batchnorm)(const avs_cpu_call *c)
{
    if (!c->work) return AVS_ENOMEM;
    norm_plan q = norm_plan_of(&c->k, 0, true, c->work, NULL);
    return norm_forward(c, &q);
}

int AVS_ISA(avs_cpu_batchnorm_bwd)(const avs_cpu_call *c)
{
    if (!c->work) return AVS_ENOMEM;
    norm_plan q = norm_plan_of(&c->k, 1, true, c->work, NULL);
    return norm_backward(c, &q);
}

int AVS_ISA(avs_cpu_groupnorm)(const avs_cpu_call *c)
{
    if (!c->work) return AVS_ENOMEM;
    norm_plan q = norm_plan_of(&c->k, 0, false, c->work, NULL);
    return norm_forward(c, &q);
}

int AVS_ISA(avs_cpu_groupnorm_bwd)(const avs_cpu_call *c)
{
    if (!c->work) return AVS_ENOMEM;
    norm_plan q = norm_plan_of(&c->k, 1, false, c->work, NULL);
    return norm_backward(c, &q);
}
