/* Sum or mean over a run of axes: x is [outer][mid][inner] and mid goes. A task is one outer index, one chunk of mid
 * and one block of inner; chunks of mid have a constant size and are joined in order, in double. */
#include "engine/backend/cpu/isa/columns.h"

enum { INNER_BLOCK = 1024, FLAT_CHUNK = 4096 };

typedef struct {
    int64_t outer, mid, inner, step, chunks, blocks;
} reduce_plan;

static reduce_plan reduce_plan_of(const avs_kernel_args *a)
{
    const avs_reduce_attr *at = a->attr;
    const avs_type *t = &a->in[0].type;
    reduce_plan q = {.outer = avs_extent(t, 0, at->from),
                     .mid = avs_extent(t, at->from, at->to),
                     .inner = avs_extent(t, at->to, t->rank)};
    q.step = q.inner == 1 ? FLAT_CHUNK : avs_max64(16, 16384 / q.inner);
    q.chunks = avs_ceil_div(q.mid, q.step);
    q.blocks = avs_ceil_div(q.inner, INNER_BLOCK);
    return q;
}

size_t AVS_ISA(avs_cpu_reduce_work)(const avs_kernel_args *a)
{
    const reduce_plan q = reduce_plan_of(a);
    return q.chunks > 1 ? (size_t)(q.outer * q.chunks * q.inner) * sizeof(float) : 0;
}

/* s[0..w) = scale * sum over n rows of x, rows `stride` apart. */
static void sum_rows(const float *AVS_RESTRICT x, int64_t n, int64_t stride, int64_t w, float scale,
                     float *AVS_RESTRICT s)
{
    if (w == 1 && stride == 1) {
        float t = 0.f;
        AVS_SIMD_SUM(t)
        for (int64_t i = 0; i < n; i++) t += x[i];
        s[0] = t * scale;
        return;
    }
    int64_t r = 0;
    for (int64_t j = 0; j < w; j++) s[j] = 0.f;
    for (; r + 4 <= n; r += 4) {
        const float *x0 = x + r * stride, *x1 = x0 + stride, *x2 = x1 + stride, *x3 = x2 + stride;
        AVS_SIMD
        for (int64_t j = 0; j < w; j++) s[j] += (x0[j] + x1[j]) + (x2[j] + x3[j]);
    }
    for (; r < n; r++) {
        const float *x0 = x + r * stride;
        AVS_SIMD
        for (int64_t j = 0; j < w; j++) s[j] += x0[j];
    }
    for (int64_t j = 0; j < w; j++) s[j] *= scale;
}

int AVS_ISA(avs_cpu_reduce)(const avs_cpu_call *c)
{
    const reduce_plan q = reduce_plan_of(&c->k);
    const avs_reduce_attr *at = c->k.attr;
    const float *x = c->k.in[0].data;
    float *y = c->k.out[0].data;
    const float scale = at->mean ? 1.f / (float)q.mid : 1.f;
    float *dst = q.chunks > 1 ? c->work : y;
    const int64_t tasks = q.outer * q.chunks * q.blocks;
#pragma omp parallel for schedule(static) if (q.outer * q.mid * q.inner >= AVS_PAR_MIN)
    for (int64_t t = 0; t < tasks; t++) {
        const int64_t b = t % q.blocks, k = t / q.blocks % q.chunks, o = t / q.blocks / q.chunks;
        const int64_t j0 = b * INNER_BLOCK;
        sum_rows(x + (o * q.mid + k * q.step) * q.inner + j0, avs_min64(q.step, q.mid - k * q.step), q.inner,
                 avs_min64(INNER_BLOCK, q.inner - j0), scale, dst + (o * q.chunks + k) * q.inner + j0);
    }
    if (q.chunks > 1) {
        for (int64_t o = 0; o < q.outer; o++)
            avs_add_chunks(dst + o * q.chunks * q.inner, q.chunks, q.inner, q.inner, y + o * q.inner);
    }
    return AVS_OK;
}
