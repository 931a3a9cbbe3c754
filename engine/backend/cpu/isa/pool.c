/* Max pooling through the dual-source bodies. */
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
