/* One pass over the slab per segment: gradient, moments, weight. Memory-bound, so it is written plainly. The
 * arithmetic of an element is shared with the GPU: engine/kernel/adamw.k.h. */
#include "engine/optim/adamw.h"
#include "engine/kernel/adamw.k.h"

#include <math.h>

enum { CHUNK = 4096, MAX_PARTS = 1024, PAR_MIN = 16384 };

static void update(float *restrict w, const float *restrict g, float *restrict m, float *restrict v,
                   int64_t n, const avs_adamw_factors *f)
{
    const avs_adamw_factors q = *f; /* a copy that nothing points at stays in registers */
#pragma omp simd
    for (int64_t i = 0; i < n; i++) avs_adamw_element(&q, g[i], &w[i], &m[i], &v[i]);
}

void avs_adamw_factors_of(avs_adamw_factors *f, const avs_opt_segment *seg, const avs_adamw_cfg *cfg,
                          int64_t t, float grad_scale)
{
    const double own = (double)(t - seg->idle);
    const double bc1 = 1.0 - pow((double)cfg->beta1, own), bc2 = 1.0 - pow((double)cfg->beta2, own);
    const double lr = (double)cfg->lr * (double)seg->lr_mult, wd = (double)seg->weight_decay;
    *f = (avs_adamw_factors){.l2 = cfg->decoupled ? 0.f : seg->weight_decay,
                             .keep = cfg->decoupled ? (float)(1.0 - lr * wd) : 1.f,
                             .beta1 = cfg->beta1,
                             .beta2 = cfg->beta2,
                             .eps = cfg->eps,
                             .step = (float)(lr / bc1),
                             .inv_bc2 = (float)(1.0 / sqrt(bc2)),
                             .grad_scale = grad_scale};
}

void avs_adamw_step(const avs_adamw_arrays *x, const avs_opt_segment *seg, int n_seg,
                    const avs_adamw_cfg *cfg, int64_t t, float grad_scale)
{
    for (int s = 0; s < n_seg; s++) {
        const avs_opt_segment *q = &seg[s];
        avs_adamw_factors f;
        if (q->lr_mult == 0.f) continue;
        avs_adamw_factors_of(&f, q, cfg, t, grad_scale);
#pragma omp parallel for schedule(static) if (q->len >= PAR_MIN)
        for (int64_t i = 0; i < q->len; i += CHUNK) {
            const int64_t o = q->off + i, n = q->len - i < CHUNK ? q->len - i : CHUNK;
            update(x->w + o, x->g + o, x->m + o, x->v + o, n, &f);
        }
    }
}

static double sum_squares(const float *g, int64_t n)
{
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += (double)g[i] * (double)g[i];
    return s;
}

/* Chunks are dealt to at most 1024 parts of consecutive chunks, by size alone; parts are added in order. */
double avs_grad_norm(const float *g, int64_t n)
{
    const int64_t chunks = (n + CHUNK - 1) / CHUNK, per_part = (chunks + MAX_PARTS - 1) / MAX_PARTS;
    const int64_t parts = per_part ? (chunks + per_part - 1) / per_part : 0;
    double part[MAX_PARTS];
#pragma omp parallel for schedule(static) if (n >= PAR_MIN)
    for (int64_t p = 0; p < parts; p++) {
        part[p] = 0;
        for (int64_t c = p * per_part; c < chunks && c < (p + 1) * per_part; c++) {
            const int64_t o = c * CHUNK;
            part[p] += sum_squares(g + o, n - o < CHUNK ? n - o : CHUNK);
        }
    }
    double s = 0;
    for (int64_t p = 0; p < parts; p++) s += part[p];
    return sqrt(s);
}
