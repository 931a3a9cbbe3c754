/* Philox4x32-10 (Salmon et al., SC 2011) in a form that vectorises over counters; the same bits as base/rng.h.
 * And what dropout makes of it: see DROPOUT in engine/graph/ops.h. */
#ifndef AVS_ENGINE_KERNEL_PHILOX_K_H
#define AVS_ENGINE_KERNEL_PHILOX_K_H

#include "engine/kernel/lane.k.h"

typedef struct {
    uint32_t w[4];
} avs_philox_words;

#define AVS_PHILOX_ROUND                                                                                     \
    {                                                                                                        \
        const uint64_t p0 = (uint64_t)c0 * 0xd2511f53u, p1 = (uint64_t)c2 * 0xcd9e8d57u;                     \
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;             \
        c1 = (uint32_t)p1;                                                                                   \
        c3 = (uint32_t)p0;                                                                                   \
        c0 = n0;                                                                                             \
        c2 = n2;                                                                                             \
    }
#define AVS_PHILOX_NEXT                                                                                      \
    k0 += 0x9e3779b9u;                                                                                       \
    k1 += 0xbb67ae85u;                                                                                       \
    AVS_PHILOX_ROUND

AVS_FN avs_philox_words avs_philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0,
                                   uint32_t k1)
{
    AVS_PHILOX_ROUND
    AVS_PHILOX_NEXT AVS_PHILOX_NEXT AVS_PHILOX_NEXT AVS_PHILOX_NEXT AVS_PHILOX_NEXT AVS_PHILOX_NEXT
        AVS_PHILOX_NEXT AVS_PHILOX_NEXT AVS_PHILOX_NEXT avs_philox_words r;
    r.w[0] = c0;
    r.w[1] = c1;
    r.w[2] = c2;
    r.w[3] = c3;
    return r;
}

typedef struct {
    const float *x;
    float *y;
    int64_t width; /* elements of a row of axis 0 */
    uint32_t key[2], stream, step, sample0, limit;
    const uint32_t *counters; /* step and sample0 where a recorded launch finds them; NULL: the fields */
    int32_t is_all, per_row;  /* is_all: the limit is above every word, everything stays */
    float scale;
} avs_dropout_p;

AVS_FN float avs_dropout_apply(const avs_dropout_p *p, float x, uint32_t word)
{
    const float y = x * p->scale;
    return (word < p->limit) | p->is_all ? y : 0.f;
}

/* Index = group of four elements, groups of a row consecutive. */
AVS_FN void avs_dropout_body(const avs_dropout_p *p, int64_t i)
{
    const int64_t groups = (p->width + 3) / 4, row = i / groups, g = i % groups;
    const uint32_t step = p->counters ? p->counters[0] : p->step;
    const uint32_t sample0 = p->counters ? p->counters[1] : p->sample0;
    const avs_philox_words q = avs_philox(p->stream, step, sample0 + (uint32_t)row,
                                          p->per_row ? 0u : (uint32_t)g, p->key[0], p->key[1]);
    for (int j = 0; j < 4; j++) {
        const int64_t c = 4 * g + j, e = row * p->width + c;
        if (c < p->width) p->y[e] = avs_dropout_apply(p, p->x[e], p->per_row ? q.w[0] : q.w[j]);
    }
}
AVS_KERNEL_EW(avs_dropout, avs_dropout_p)

#endif
