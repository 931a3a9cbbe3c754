/* Losses per sample and their gradients. A sample is cut into chunks of 4096 positions; each chunk leaves up to three
 * sums in the workspace, which are joined in order, in double.
 *
 * BCE  sum max(x,0) - x t + log(1 + exp(-|x|));   grad g/n (sigmoid(x) - t)
 * CE   sum logsumexp - x[t];                      grad g/n (softmax - onehot)
 * DICE N/D with N = 2 I + s_num, D = P + T + s_den: grad -g (2 t D - N dP/dp) / D^2, dP/dp = 2p or 1
 * IOU  N/U with N = I + s_num, U = sum p + sum t - I + s_den: grad -g (t U - N (1 - t)) / U^2 */
#include "engine/backend/cpu/isa/isa.h"
#include "engine/kernel/math.k.h"

enum { CHUNK = 4096, SUMS = 3 };

/* In backward calls pred and target come one later. */
typedef struct {
    const avs_loss_attr *at;
    const float *pred;
    const void *target;
    int64_t B, n, K, chunks; /* samples, positions per sample, classes (1 if not CE) */
    double *part;            /* [B][chunks][SUMS]                                    */
    double *sum;             /* [B][SUMS]                                            */
} loss_plan;

static loss_plan loss_plan_of(const avs_kernel_args *a, int at, void *work, size_t *bytes)
{
    loss_plan q = {.at = a->attr, .pred = a->in[at].data, .target = a->in[at + 1].data};
    q.B = a->in[at].type.d[0];
    q.K = q.at->kind == AVS_LOSS_CE ? avs_last(&a->in[at].type) : 1;
    q.n = avs_type_count(&a->in[at].type) / q.B / q.K;
    q.chunks = avs_ceil_div(q.n, CHUNK);
    avs_scratch s = {.base = work};
    q.part = avs_scratch_take(&s, (size_t)(q.B * q.chunks * SUMS) * sizeof(double));
    q.sum = avs_scratch_take(&s, (size_t)(q.B * SUMS) * sizeof(double));
    if (bytes) *bytes = s.used;
    return q;
}

static double bce_chunk(const float *AVS_RESTRICT x, const float *AVS_RESTRICT t, int64_t n)
{
    float s = 0.f;
    AVS_SIMD_SUM(s)
    for (int64_t i = 0; i < n; i++) {
        const float v = x[i];
        s += (v > 0.f ? v : 0.f) - v * t[i] + avs_log1pf(avs_expf(-avs_absf(v)));
    }
    return (double)s;
}

static float row_max(const float *x, int64_t K)
{
    float m = x[0];
    AVS_SIMD_MAX(m)
    for (int64_t k = 1; k < K; k++) m = x[k] > m ? x[k] : m;
    return m;
}

/* Sum over n positions of logsumexp - x[t]; *is_bad if a class is out of range. */
static double ce_chunk(const float *x, const int32_t *t, int64_t n, int64_t K, bool *is_bad)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *AVS_RESTRICT v = x + i * K;
        if (t[i] < 0 || t[i] >= K) {
            *is_bad = true;
            continue;
        }
        const float m = row_max(v, K);
        float s = 0.f;
        AVS_SIMD_SUM(s)
        for (int64_t k = 0; k < K; k++) s += avs_expf(v[k] - m);
        sum += (double)avs_logf(s) + (double)(m - v[t[i]]);
    }
    return sum;
}

static void overlap_chunk(const float *AVS_RESTRICT p, const float *AVS_RESTRICT t, int64_t n,
                          bool is_squared, double *out)
{
    float I = 0.f, P = 0.f, T = 0.f;
    if (is_squared) {
        AVS_PRAGMA(omp simd reduction(+ : I, P, T))
        for (int64_t i = 0; i < n; i++) {
            I += p[i] * t[i];
            P += p[i] * p[i];
            T += t[i] * t[i];
        }
    } else {
        AVS_PRAGMA(omp simd reduction(+ : I, P, T))
        for (int64_t i = 0; i < n; i++) {
            I += p[i] * t[i];
            P += p[i];
            T += t[i];
        }
    }
    out[0] = (double)I;
    out[1] = (double)P;
    out[2] = (double)T;
}

/* Fills sum[B][3]; false if a class is out of range. */
static bool loss_sums(const loss_plan *q)
{
    int n_bad = 0;
#pragma omp parallel for schedule(static) reduction(+ : n_bad) if (q->B * q->n * q->K >= AVS_PAR_MIN / 4)
    for (int64_t i = 0; i < q->B * q->chunks; i++) {
        const int64_t at = i / q->chunks * q->n + i % q->chunks * CHUNK;
        const int64_t n = avs_min64(CHUNK, q->n - i % q->chunks * CHUNK);
        double *out = q->part + i * SUMS;
        bool is_bad = false;
        out[0] = out[1] = out[2] = 0;
        if (q->at->kind == AVS_LOSS_BCE)
            out[0] = bce_chunk(q->pred + at, (const float *)q->target + at, n);
        else if (q->at->kind == AVS_LOSS_CE)
            out[0] = ce_chunk(q->pred + at * q->K, (const int32_t *)q->target + at, n, q->K, &is_bad);
        else
            overlap_chunk(q->pred + at, (const float *)q->target + at, n,
                          q->at->kind == AVS_LOSS_DICE && q->at->squared, out);
        n_bad += is_bad;
    }
    for (int64_t b = 0; b < q->B; b++) {
        double *s = q->sum + b * SUMS;
        s[0] = s[1] = s[2] = 0;
        for (int64_t k = 0; k < q->chunks; k++)
            for (int j = 0; j < SUMS; j++) s[j] += q->part[(b * q->chunks + k) * SUMS + j];
    }
    return n_bad == 0;
}

size_t AVS_ISA(avs_cpu_loss_work)(const avs_kernel_args *a)
{
    size_t bytes;
    loss_plan_of(a, 0, NULL, &bytes);
    return bytes;
}

int AVS_ISA(avs_cpu_loss)(const avs_cpu_call *c)
{
    if (!c->work) return AVS_ENOMEM;
    const loss_plan q = loss_plan_of(&c->k, 0, c->work, NULL);
    const double s_num = (double)q.at->s_num, s_den = (double)q.at->s_den;
    float *y = c->k.out[0].data;
    if (!loss_sums(&q)) return AVS_ERANGE;
    for (int64_t b = 0; b < q.B; b++) {
        const double *s = q.sum + b * SUMS;
        if (q.at->kind == AVS_LOSS_DICE)
            y[b] = (float)(1 - (2 * s[0] + s_num) / (s[1] + s[2] + s_den));
        else if (q.at->kind == AVS_LOSS_IOU)
            y[b] = (float)(1 - (s[0] + s_num) / (s[1] + s[2] - s[0] + s_den));
        else
            y[b] = (float)(s[0] / (double)q.n);
    }
    return AVS_OK;
}

static void bce_grad(const float *AVS_RESTRICT x, const float *AVS_RESTRICT t, int64_t n, float k,
                     float *AVS_RESTRICT gx)
{
    AVS_SIMD
    for (int64_t i = 0; i < n; i++) gx[i] = k * (avs_sigmoidf(x[i]) - t[i]);
}

static bool ce_grad(const float *x, const int32_t *t, int64_t n, int64_t K, float k, float *gx)
{
    bool is_good = true;
    for (int64_t i = 0; i < n; i++) {
        const float *AVS_RESTRICT v = x + i * K;
        float *AVS_RESTRICT g = gx + i * K;
        const float m = row_max(v, K);
        float s = 0.f;
        AVS_SIMD_SUM(s)
        for (int64_t j = 0; j < K; j++) {
            const float e = avs_expf(v[j] - m);
            g[j] = e;
            s += e;
        }
        const float f = k / s;
        AVS_SIMD
        for (int64_t j = 0; j < K; j++) g[j] *= f;
        if (t[i] < 0 || t[i] >= K)
            is_good = false;
        else
            g[t[i]] -= k;
    }
    return is_good;
}

/* gp = c0 + ct t + cp p */
static void affine_grad(const float *AVS_RESTRICT p, const float *AVS_RESTRICT t, int64_t n, float c0,
                        float ct, float cp, float *AVS_RESTRICT gp)
{
    AVS_SIMD
    for (int64_t i = 0; i < n; i++) gp[i] = c0 + ct * t[i] + cp * p[i];
}

/* The three coefficients of affine_grad for sample b. */
static void overlap_coefficients(const loss_plan *q, int64_t b, double g, float *c0, float *ct, float *cp)
{
    const double *s = q->sum + b * SUMS, s_num = (double)q->at->s_num, s_den = (double)q->at->s_den;
    if (q->at->kind == AVS_LOSS_DICE) {
        const double N = 2 * s[0] + s_num, D = s[1] + s[2] + s_den;
        *ct = (float)(-2 * g / D);
        *c0 = q->at->squared ? 0.f : (float)(g * N / (D * D));
        *cp = q->at->squared ? (float)(2 * g * N / (D * D)) : 0.f;
    } else {
        const double N = s[0] + s_num, U = s[1] + s[2] - s[0] + s_den;
        *c0 = (float)(g * N / (U * U));
        *ct = (float)(-g * (U + N) / (U * U));
        *cp = 0.f;
    }
}

size_t AVS_ISA(avs_cpu_loss_bwd_work)(const avs_kernel_args *a)
{
    size_t bytes;
    loss_plan_of(a, 1, NULL, &bytes);
    return bytes;
}

int AVS_ISA(avs_cpu_loss_bwd)(const avs_cpu_call *c)
{
    if (!c->work) return AVS_ENOMEM;
    const loss_plan q = loss_plan_of(&c->k, 1, c->work, NULL);
    const float *g = c->k.in[0].data;
    float *gx = c->k.out[0].data;
    const int kind = q.at->kind;
    int n_bad = 0;
    if (kind == AVS_LOSS_DICE || kind == AVS_LOSS_IOU) loss_sums(&q);
#pragma omp parallel for schedule(static) reduction(+ : n_bad) if (q.B * q.n * q.K >= AVS_PAR_MIN / 4)
    for (int64_t i = 0; i < q.B * q.chunks; i++) {
        const int64_t b = i / q.chunks, at = b * q.n + i % q.chunks * CHUNK;
        const int64_t n = avs_min64(CHUNK, q.n - i % q.chunks * CHUNK);
        const float k = g[b] / (float)q.n;
        if (kind == AVS_LOSS_BCE) {
            bce_grad(q.pred + at, (const float *)q.target + at, n, k, gx + at);
        } else if (kind == AVS_LOSS_CE) {
            n_bad += !ce_grad(q.pred + at * q.K, (const int32_t *)q.target + at, n, q.K, k, gx + at * q.K);
        } else {
            float c0, ct, cp;
            overlap_coefficients(&q, b, (double)g[b], &c0, &ct, &cp);
            affine_grad(q.pred + at, (const float *)q.target + at, n, c0, ct, cp, gx + at);
        }
    }
    return n_bad ? AVS_ERANGE : AVS_OK;
}
