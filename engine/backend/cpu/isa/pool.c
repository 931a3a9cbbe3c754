/* Max and mean pooling through the dual-source bodies. */
#include "engine/backend/cpu/isa/isa.h"
#include "engine/kernel/pool.k.h"

int AVS_ISA(avs_cpu_pool_max)(const avs_cpu_call *c)
{
    const avs_pool_attr *at = c->k.attr;
    const avs_type *x = &c->k.in[0].type, *y = &c->k.out[0].type;
    const avs_pool_max_p p = {.x = c->k.in[0].data,
                              .y = c->k.out[0].data,
                              .arg = c->k.out[1].data,
                              .H = x->d[1],
                              .W = x->d[2],
                              .C = x->d[3],
                              .Ho = y->d[1],
                              .Wo = y->d[2],
                              .k = at->k,
                              .s = at->s,
                              .p = at->p};
    avs_pool_max_cpu(&p, (int64_t)y->d[0] * y->d[1] * y->d[2], (int64_t)y->d[3] * at->k * at->k);
    return AVS_OK;
}

int AVS_ISA(avs_cpu_pool_max_bwd)(const avs_cpu_call *c)
{
    const avs_pool_attr *at = c->k.attr;
    const avs_type *y = &c->k.in[0].type, *x = &c->k.out[0].type;
    const avs_pool_max_bwd_p p = {.gy = c->k.in[0].data,
                                  .arg = c->k.in[1].data,
                                  .gx = c->k.out[0].data,
                                  .H = x->d[1],
                                  .W = x->d[2],
                                  .C = x->d[3],
                                  .Ho = y->d[1],
                                  .Wo = y->d[2],
                                  .k = at->k,
                                  .s = at->s,
                                  .p = at->p};
    avs_pool_max_bwd_cpu(&p, (int64_t)x->d[0] * x->d[1] * x->d[2], (int64_t)x->d[3] * 4);
    return AVS_OK;
}

static avs_pool_avg_p mean_of(const avs_cpu_call *c)
{
    const avs_pool_avg_attr *at = c->k.attr;
    return (avs_pool_avg_p){.x = c->k.in[0].data,
                            .y = c->k.out[0].data,
                            .H = at->in_h,
                            .W = at->in_w,
                            .C = c->k.in[0].type.d[3],
                            .Ho = at->out_h,
                            .Wo = at->out_w,
                            .k = at->k,
                            .s = at->s,
                            .p = at->p};
}

int AVS_ISA(avs_cpu_pool_avg)(const avs_cpu_call *c)
{
    const avs_pool_avg_p p = mean_of(c);
    const int64_t area = p.k ? (int64_t)p.k * p.k : avs_ceil_div((int64_t)p.H * p.W, (int64_t)p.Ho * p.Wo);
    avs_pool_avg_cpu(&p, (int64_t)c->k.out[0].type.d[0] * p.Ho * p.Wo, p.C * area);
    return AVS_OK;
}

int AVS_ISA(avs_cpu_pool_avg_bwd)(const avs_cpu_call *c)
{
    const avs_pool_avg_p p = mean_of(c);
    avs_pool_avg_bwd_cpu(&p, (int64_t)c->k.out[0].type.d[0] * p.H * p.W, (int64_t)p.C * 4);
    return AVS_OK;
}
