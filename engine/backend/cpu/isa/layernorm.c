/* Layer normalisation. The backward makes gx row by row and, while the row is in L1, adds it to the chunk's partial
 * sums of dgamma and dbeta. */
#include "engine/backend/cpu/isa/columns.h"
#include "engine/kernel/layernorm.k.h"

int AVS_ISA(avs_cpu_layernorm)(const avs_cpu_call *c)
{
    const avs_kernel_args *k = &c->k;
    const avs_norm_attr *at = k->attr;
    const int64_t C = avs_last(&k->in[0].type);
    const avs_layernorm_p p = {.x = k->in[0].data,
                               .gamma = k->in[1].data,
                               .beta = k->in[2].data,
                               .y = k->out[0].data,
                               .mean = k->out[1].data,
                               .rstd = k->out[2].data,
                               .C = (int32_t)C,
                               .eps = at->eps};
    avs_layernorm_cpu(&p, avs_type_count(&k->in[0].type) / C, C);
    return AVS_OK;
}

size_t AVS_ISA(avs_cpu_layernorm_bwd_work)(const avs_kernel_args *a)
{
    const int64_t C = avs_last(&a->in[1].type), rows = avs_type_count(&a->in[1].type) / C;
    return (size_t)(avs_ceil_div(rows, avs_chunk_rows(rows, C)) * 2 * C) * sizeof(float);
}

static void param_sums(const avs_layernorm_bwd_p *p, int64_t r, float *AVS_RESTRICT dg,
                       float *AVS_RESTRICT db)
{
    const int C = p->C;
    const float *AVS_RESTRICT gy = p->gy + r * C, *AVS_RESTRICT x = p->x + r * C;
    const float m = p->mean[r], k = p->rstd[r];
    AVS_SIMD
    for (int c = 0; c < C; c++) {
        dg[c] += gy[c] * ((x[c] - m) * k);
        db[c] += gy[c];
    }
}

int AVS_ISA(avs_cpu_layernorm_bwd)(const avs_cpu_call *c)
{
    if (!c->work) return AVS_ENOMEM;
    const avs_kernel_args *k = &c->k;
    const int64_t C = avs_last(&k->in[1].type), rows = avs_type_count(&k->in[1].type) / C;
    const int64_t step = avs_chunk_rows(rows, C), n = avs_ceil_div(rows, step);
    const avs_layernorm_bwd_p p = {.gy = k->in[0].data,
                                   .x = k->in[1].data,
                                   .gamma = k->in[2].data,
                                   .mean = k->in[3].data,
                                   .rstd = k->in[4].data,
                                   .gx = k->out[0].data,
                                   .C = (int32_t)C};
    float *part = c->work;
#pragma omp parallel for schedule(static) if (rows * C >= AVS_PAR_MIN)
    for (int64_t j = 0; j < n; j++) {
        float *dg = part + j * 2 * C, *db = dg + C;
        for (int64_t i = 0; i < 2 * C; i++) dg[i] = 0.f;
        for (int64_t r = j * step; r < avs_min64(rows, (j + 1) * step); r++) {
            avs_layernorm_bwd_body(&p, r);
            param_sums(&p, r, dg, db);
        }
    }
    avs_add_chunks(part, n, 2 * C, C, k->out[1].data);
    avs_add_chunks(part + C, n, 2 * C, C, k->out[2].data);
    return AVS_OK;
}
