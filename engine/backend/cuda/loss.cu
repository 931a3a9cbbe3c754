/* Losses per sample and their gradients; the formulas are those of engine/backend/cpu/isa/loss.c.
 *
 * A block of 256 threads takes a chunk of 4096 positions of one sample and leaves up to three sums (shuffles inside
 * warps, 192 B shared across); a warp per sample joins the chunks in double. Cross entropy: a thread per position, a loop
 * over the classes. A class out of range sets the status word, which the host reads after the run.
 * Not measured on a device yet. */
#include "engine/backend/cuda/kernels.h"
#include "engine/kernel/lane.k.h"

enum { LOSS_THREADS = 256, LOSS_SUMS = 3 };

typedef struct {
    avs_loss_p q;
    int64_t chunks;
    double *sum; /* [B][3] */
} loss_stage_p;

AVS_FN float loss_row_max(const float *v, int64_t K)
{
    float m = v[0];
    for (int64_t k = 1; k < K; k++) m = v[k] > m ? v[k] : m;
    return m;
}

AVS_FN float loss_ce_at(const avs_loss_p *q, int64_t at)
{
    const float *v = q->pred + at * q->K;
    const int64_t t = ((const int32_t *)q->target)[at];
    if (t < 0 || t >= q->K) {
        *q->status = AVS_STATUS_CLASS;
        return 0.f;
    }
    const float m = loss_row_max(v, q->K);
    float s = 0.f;
    for (int64_t k = 0; k < q->K; k++) s += avs_expf(v[k] - m);
    return avs_logf(s) + (m - v[t]);
}

AVS_GLOBAL(loss_sums, loss_stage_p)
{
    AVS_SHARED double warp[LOSS_SUMS][LOSS_THREADS / 32];
    const avs_loss_p *q = &p.q;
    const int64_t b = AVS_BLOCK / p.chunks, from = AVS_BLOCK % p.chunks * AVS_LOSS_CHUNK;
    const int64_t end = from + AVS_LOSS_CHUNK < q->n ? from + AVS_LOSS_CHUNK : q->n;
    const float *x = q->pred + b * q->n, *t = (const float *)q->target + b * q->n;
    const int is_squared = q->a.kind == AVS_LOSS_DICE && q->a.squared;
    float s0 = 0.f, s1 = 0.f, s2 = 0.f;
    for (int64_t i = from + AVS_THREAD; i < end; i += LOSS_THREADS) {
        if (q->a.kind == AVS_LOSS_CE) {
            s0 += loss_ce_at(q, b * q->n + i);
        } else if (q->a.kind == AVS_LOSS_BCE) {
            const float v = x[i];
            s0 += (v > 0.f ? v : 0.f) - v * t[i] + avs_log1pf(avs_expf(-avs_absf(v)));
        } else {
            s0 += x[i] * t[i];
            s1 += is_squared ? x[i] * x[i] : x[i];
            s2 += is_squared ? t[i] * t[i] : t[i];
        }
    }
    const double d0 = avs_lane_sum_d((double)s0), d1 = avs_lane_sum_d((double)s1),
                 d2 = avs_lane_sum_d((double)s2);
    if (AVS_LANE == 0) {
        warp[0][AVS_THREAD / 32] = d0;
        warp[1][AVS_THREAD / 32] = d1;
        warp[2][AVS_THREAD / 32] = d2;
    }
    AVS_SYNC();
    if (AVS_THREAD < LOSS_SUMS) {
        double total = 0;
        for (int i = 0; i < LOSS_THREADS / 32; i++) total += warp[AVS_THREAD][i];
        q->part[AVS_BLOCK * LOSS_SUMS + AVS_THREAD] = total;
    }
}

/* Sample b: its sums, and the value where y is wanted. */
typedef loss_stage_p avs_loss_join_p;
AVS_FN void avs_loss_join_body(const avs_loss_join_p *p, int64_t b)
{
    const avs_loss_p *q = &p->q;
    double s[LOSS_SUMS];
    for (int j = 0; j < LOSS_SUMS; j++) {
        double total = 0;
        for (int64_t k = AVS_LANE; k < p->chunks; k += AVS_LANES)
            total += q->part[(b * p->chunks + k) * LOSS_SUMS + j];
        s[j] = avs_lane_sum_d(total);
    }
    if (AVS_LANE != 0) return;
    for (int j = 0; j < LOSS_SUMS; j++) p->sum[b * LOSS_SUMS + j] = s[j];
    if (q->g) return;
    const double s_num = (double)q->a.s_num, s_den = (double)q->a.s_den;
    if (q->a.kind == AVS_LOSS_DICE)
        q->y[b] = (float)(1 - (2 * s[0] + s_num) / (s[1] + s[2] + s_den));
    else if (q->a.kind == AVS_LOSS_IOU)
        q->y[b] = (float)(1 - (s[0] + s_num) / (s[1] + s[2] - s[0] + s_den));
    else
        q->y[b] = (float)(s[0] / (double)q->n);
}
AVS_OWN_ROW(avs_loss_join, avs_loss_join_p)

static int loss_stages(const loss_stage_p *q, void *stream)
{
    const int rc = AVS_LAUNCH(loss_sums, q->q.B * q->chunks, LOSS_THREADS, stream, *q);
    return rc ? rc : avs_loss_join_cuda(q, q->q.B, stream);
}

static loss_stage_p loss_stage_of(const avs_loss_p *p)
{
    const int64_t chunks = (p->n + AVS_LOSS_CHUNK - 1) / AVS_LOSS_CHUNK;
    const loss_stage_p q = {*p, chunks, p->part + LOSS_SUMS * p->B * chunks};
    return q;
}

AVS_HOST(int) avs_loss_cuda(const avs_loss_p *p, int64_t n, void *stream)
{
    const loss_stage_p q = loss_stage_of(p);
    (void)n;
    return loss_stages(&q, stream);
}

/* Index = position of any sample. */
typedef loss_stage_p avs_loss_grad_p;
AVS_FN void avs_loss_grad_body(const avs_loss_grad_p *p, int64_t i)
{
    const avs_loss_p *q = &p->q;
    const int64_t b = i / q->n;
    const float g = q->g[b], k = g / (float)q->n;
    if (q->a.kind == AVS_LOSS_BCE) {
        q->y[i] = k * (avs_sigmoidf(q->pred[i]) - ((const float *)q->target)[i]);
        return;
    }
    if (q->a.kind == AVS_LOSS_CE) {
        const float *v = q->pred + i * q->K;
        float *gx = q->y + i * q->K, s = 0.f;
        const int64_t t = ((const int32_t *)q->target)[i];
        const float m = loss_row_max(v, q->K);
        if (t < 0 || t >= q->K) *q->status = AVS_STATUS_CLASS;
        for (int64_t j = 0; j < q->K; j++) s += avs_expf(v[j] - m);
        for (int64_t j = 0; j < q->K; j++) gx[j] = avs_expf(v[j] - m) * (k / s) - (j == t ? k : 0.f);
        return;
    }
    const double *s = p->sum + b * LOSS_SUMS, s_num = (double)q->a.s_num, s_den = (double)q->a.s_den;
    const int is_dice = q->a.kind == AVS_LOSS_DICE, is_squared = q->a.squared;
    const double N = is_dice ? 2 * s[0] + s_num : s[0] + s_num;
    const double D = is_dice ? s[1] + s[2] + s_den : s[1] + s[2] - s[0] + s_den,
                 slope = (double)g * N / (D * D);
    const float ct = (float)(is_dice ? -2 * (double)g / D : -(double)g * (D + N) / (D * D));
    const float c0 = is_dice && is_squared ? 0.f : (float)slope;
    const float cp = is_dice && is_squared ? (float)(2 * slope) : 0.f;
    q->y[i] = c0 + ct * ((const float *)q->target)[i] + cp * q->pred[i];
}
AVS_OWN_EW(avs_loss_grad, avs_loss_grad_p)

AVS_HOST(int) avs_loss_bwd_cuda(const avs_loss_p *p, int64_t n, void *stream)
{
    const loss_stage_p q = loss_stage_of(p);
    const int wants_sums = p->a.kind == AVS_LOSS_DICE || p->a.kind == AVS_LOSS_IOU;
    const int rc = wants_sums ? loss_stages(&q, stream) : 0;
    (void)n;
    return rc ? rc : avs_loss_grad_cuda(&q, p->B * p->n, stream);
}
