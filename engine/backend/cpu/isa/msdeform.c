/* Multi-scale deformable attention. The backward's task is one (b, head): it owns that slice of the gradient of value
 * and goes through the queries in order, so the scatter needs no atomics and its bits are fixed; the gradients of loc
 * and weight fall out of the same visit to the four corners. */
#include "engine/backend/cpu/isa/isa.h"
#include "engine/kernel/msdeform.k.h"

int AVS_ISA(avs_cpu_msdeform)(const avs_cpu_call *c)
{
    const avs_kernel_args *k = &c->k;
    const avs_msdeform_attr *a = k->attr;
    const avs_type *v = &k->in[0].type, *l = &k->in[1].type;
    const avs_msdeform_p p = {.value = k->in[0].data,
                              .loc = k->in[1].data,
                              .weight = k->in[2].data,
                              .out = k->out[0].data,
                              .a = *a,
                              .S = v->d[1],
                              .Q = l->d[1],
                              .D = v->d[2] / a->heads};
    avs_msdeform_cpu(&p, (int64_t)v->d[0] * p.Q * a->heads, (int64_t)a->levels * a->points * p.D);
    return AVS_OK;
}

AVS_FN void scatter_task(const avs_msdeform_bwd_p *p, float *gvalue, int64_t b, int64_t m, int D)
{
    const int M = p->a.heads;
    const int64_t LP = (int64_t)p->a.levels * p->a.points;
    const int64_t MD = (int64_t)M * D, base = b * p->S * MD + m * D;
    for (int64_t s = 0; s < p->S; s++) {
        float *gv = gvalue + base + s * MD;
        AVS_SIMD
        for (int d = 0; d < D; d++) gv[d] = 0.f;
    }
    for (int64_t q = 0; q < p->Q; q++) {
        const int64_t bq = b * p->Q + q, r = bq * M + m;
        const float *AVS_RESTRICT loc = p->loc + r * LP * 2, *AVS_RESTRICT weight = p->weight + r * LP;
        const float *AVS_RESTRICT g = p->gy + bq * MD + m * D;
        float *gloc = p->gloc + r * LP * 2, *gweight = p->gweight + r * LP;
        int64_t at = base;
        for (int l = 0; l < p->a.levels; l++) {
            const int H = p->a.h[l], W = p->a.w[l];
            for (int64_t k = (int64_t)l * p->a.points; k < ((int64_t)l + 1) * p->a.points; k++) {
                avs_msd_tap t;
                if (!avs_msd_tap_of(loc[2 * k], loc[2 * k + 1], H, W, &t)) {
                    gloc[2 * k] = gloc[2 * k + 1] = gweight[k] = 0.f;
                    continue;
                }
                avs_msd_point_grad(&t, g, p->value + at, MD, D, weight[k], gloc + 2 * k, gweight + k);
                /* Corners outside alias one inside: with weight 0 they add nothing, one after another. */
                for (int i = 0; i < 4; i++) {
                    const float w = weight[k] * t.w[i];
                    float *AVS_RESTRICT gv = gvalue + at + t.at[i] * MD;
                    AVS_SIMD
                    for (int d = 0; d < D; d++) gv[d] += w * g[d];
                }
            }
            at += (int64_t)H * W * MD;
        }
    }
}

int AVS_ISA(avs_cpu_msdeform_bwd)(const avs_cpu_call *c)
{
    const avs_kernel_args *k = &c->k;
    const avs_msdeform_attr *a = k->attr;
    const avs_type *v = &k->in[1].type, *l = &k->in[2].type;
    const avs_msdeform_bwd_p p = {.gy = k->in[0].data,
                                  .value = k->in[1].data,
                                  .loc = k->in[2].data,
                                  .weight = k->in[3].data,
                                  .gloc = k->out[1].data,
                                  .gweight = k->out[2].data,
                                  .a = *a,
                                  .S = v->d[1],
                                  .Q = l->d[1],
                                  .D = v->d[2] / a->heads};
    float *gvalue = k->out[0].data;
    const int64_t tasks = (int64_t)v->d[0] * a->heads;
#pragma omp parallel for schedule(static) if (tasks * p.Q * a->levels * a->points * p.D >= AVS_PAR_MIN)
    for (int64_t t = 0; t < tasks; t++) {
        if (p.D == 32)
            scatter_task(&p, gvalue, t / a->heads, t % a->heads, 32);
        else
            scatter_task(&p, gvalue, t / a->heads, t % a->heads, p.D);
    }
    return AVS_OK;
}
