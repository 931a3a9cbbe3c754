/* One element of an AdamW or Adam step: gradient, moments, weight. The optimiser of the CPU (engine/optim) loops over a
 * segment with it, a GPU gives every element a thread; both get their factors from avs_adamw_factors_of. */
#ifndef AVS_ENGINE_KERNEL_ADAMW_K_H
#define AVS_ENGINE_KERNEL_ADAMW_K_H

#include "engine/kernel/math.k.h"

typedef struct avs_adamw_factors {
    float l2, keep, beta1, beta2, eps; /* keep: 1 - lr * decay */
    float step, inv_bc2, grad_scale;   /* step: lr / (1 - beta1^t); inv_bc2: 1 / sqrt(1 - beta2^t) */
} avs_adamw_factors;

AVS_FN void avs_adamw_element(const avs_adamw_factors *f, float g, float *w, float *m, float *v)
{
    const float b1 = f->beta1, b2 = f->beta2, a1 = 1.f - b1, a2 = 1.f - b2;
    const float gi = g * f->grad_scale + f->l2 * *w;
    const float mi = b1 * *m + a1 * gi, vi = b2 * *v + a2 * gi * gi;
    *m = mi;
    *v = vi;
    *w = *w * f->keep - f->step * mi / (avs_sqrtf(vi) * f->inv_bc2 + f->eps);
}

/* The elements of one segment: all four pointers at its first element. */
typedef struct {
    const float *g;
    float *w, *m, *v;
    avs_adamw_factors f;
} avs_adamw_p;

#if AVS_LANES > 1
AVS_FN void avs_adamw_body(const avs_adamw_p *p, int64_t i)
{
    avs_adamw_element(&p->f, p->g[i], &p->w[i], &p->m[i], &p->v[i]);
}
AVS_KERNEL_EW(avs_adamw, avs_adamw_p)
#endif

#endif
