/* Dropout: blocks of 64 counters make 256 random words at full vector width, then the block is masked. */
#include "engine/backend/cpu/isa/isa.h"
#include "engine/kernel/philox.k.h"

enum { GROUPS = 64 };
static const int64_t WORDS = 4 * (int64_t)GROUPS;

static void drop_block(const avs_dropout_p *p, int64_t row, int64_t g0)
{
    _Alignas(64) uint32_t word[4 * GROUPS];
    const uint32_t sample = p->sample0 + (uint32_t)row;
    AVS_SIMD
    for (int i = 0; i < GROUPS; i++) {
        const avs_philox_words q =
            avs_philox(p->stream, p->step, sample, (uint32_t)g0 + (uint32_t)i, p->key[0], p->key[1]);
        word[4 * i + 0] = q.w[0];
        word[4 * i + 1] = q.w[1];
        word[4 * i + 2] = q.w[2];
        word[4 * i + 3] = q.w[3];
    }
    const int64_t n = avs_min64(WORDS, p->width - 4 * g0), o = row * p->width + 4 * g0;
    const avs_dropout_p q = *p; /* its fields cannot be what y is written over */
    AVS_SIMD
    for (int64_t j = 0; j < n; j++) q.y[o + j] = avs_dropout_apply(&q, q.x[o + j], word[j]);
}

static void drop_row(const avs_dropout_p *p, int64_t row)
{
    const avs_philox_words q =
        avs_philox(p->stream, p->step, p->sample0 + (uint32_t)row, 0, p->key[0], p->key[1]);
    const float *x = p->x + row * p->width;
    float *y = p->y + row * p->width;
    AVS_SIMD
    for (int64_t i = 0; i < p->width; i++) y[i] = avs_dropout_apply(p, x[i], q.w[0]);
}

int AVS_ISA(avs_cpu_dropout)(const avs_cpu_call *c)
{
    const avs_dropout_attr *at = c->k.attr;
    const avs_runtime *rt = c->k.rt;
    const avs_type *t = &c->k.in[0].type;
    const int64_t rows = t->rank ? t->d[0] : 1, width = avs_type_count(t) / rows;
    const double limit = (1.0 - (double)at->p) * 4294967296.0;
    const avs_dropout_p p = {.x = c->k.in[0].data,
                             .y = c->k.out[0].data,
                             .width = width,
                             .key = {(uint32_t)rt->seed, (uint32_t)(rt->seed >> 32)},
                             .stream = at->stream,
                             .step = (uint32_t)rt->step,
                             .sample0 = (uint32_t)rt->sample0,
                             .limit = limit > 4294967295.0 ? 0 : (uint32_t)__builtin_ceil(limit),
                             .is_all = limit > 4294967295.0,
                             .scale = (float)(1.0 / (1.0 - (double)at->p))};
    if (at->per_row) {
#pragma omp parallel for schedule(static) if (rows * width >= AVS_PAR_MIN)
        for (int64_t r = 0; r < rows; r++) drop_row(&p, r);
        return AVS_OK;
    }
    const int64_t blocks = avs_ceil_div(width, WORDS);
#pragma omp parallel for schedule(static) if (rows * width >= AVS_PAR_MIN)
    for (int64_t i = 0; i < rows * blocks; i++) drop_block(&p, i / blocks, i % blocks * GROUPS);
    return AVS_OK;
}
