/* Moving elements: CONCAT, SLICE and PAD are runs of [axis][inner] per outer index; PERMUTE joins axes that stay
 * neighbours and then either copies runs or transposes tiles. Elements of 4 or 1 bytes. */
#include <string.h>
#include "engine/backend/cpu/isa/isa.h"

static int64_t elem_bytes(const avs_tensor *t)
{
    return (int64_t)avs_dtype_size((avs_dtype)t->type.dtype);
}
static int64_t bytes_of(const avs_tensor *t)
{
    return avs_type_count(&t->type) * elem_bytes(t);
}

/* Bytes of [axis..] of one outer index. */
static int64_t run_bytes(const avs_tensor *t, int axis)
{
    return avs_extent(&t->type, axis, t->type.rank) * elem_bytes(t);
}

int AVS_ISA(avs_cpu_concat)(const avs_cpu_call *c)
{
    const avs_kernel_args *k = &c->k;
    const int axis = ((const avs_axis_attr *)k->attr)->axis;
    const avs_tensor *y = &k->out[0];
    const int64_t outer = avs_extent(&y->type, 0, axis), yrun = run_bytes(y, axis);
    int64_t run[AVS_MAX_IN];
    for (int i = 0; i < k->n_in; i++) run[i] = run_bytes(&k->in[i], axis);
#pragma omp parallel for schedule(static) if (outer * yrun >= 4 * AVS_PAR_MIN)
    for (int64_t o = 0; o < outer; o++) {
        char *dst = (char *)y->data + o * yrun;
        for (int i = 0; i < k->n_in; i++) {
            memcpy(dst, (const char *)k->in[i].data + o * run[i], (size_t)run[i]);
            dst += run[i];
        }
    }
    return AVS_OK;
}

int AVS_ISA(avs_cpu_slice)(const avs_cpu_call *c)
{
    const avs_axis_attr *at = c->k.attr;
    const avs_tensor *x = &c->k.in[0], *y = &c->k.out[0];
    const int64_t outer = avs_extent(&x->type, 0, at->axis), xrun = run_bytes(x, at->axis);
    const int64_t yrun = run_bytes(y, at->axis), skip = xrun / x->type.d[at->axis] * at->before;
#pragma omp parallel for schedule(static) if (outer * yrun >= 4 * AVS_PAR_MIN)
    for (int64_t o = 0; o < outer; o++)
        memcpy((char *)y->data + o * yrun, (const char *)x->data + o * xrun + skip, (size_t)yrun);
    return AVS_OK;
}

int AVS_ISA(avs_cpu_pad)(const avs_cpu_call *c)
{
    const avs_axis_attr *at = c->k.attr;
    const avs_tensor *x = &c->k.in[0], *y = &c->k.out[0];
    const int64_t outer = avs_extent(&x->type, 0, at->axis), xrun = run_bytes(x, at->axis);
    const int64_t yrun = run_bytes(y, at->axis), before = yrun / y->type.d[at->axis] * at->before;
#pragma omp parallel for schedule(static) if (outer * yrun >= 4 * AVS_PAR_MIN)
    for (int64_t o = 0; o < outer; o++) {
        char *dst = (char *)y->data + o * yrun;
        memset(dst, 0, (size_t)before);
        memcpy(dst + before, (const char *)x->data + o * xrun, (size_t)xrun);
        memset(dst + before + xrun, 0, (size_t)(yrun - before - xrun));
    }
    return AVS_OK;
}

/* The output's axes after joining, outermost first: extents and the input's stride along each, in elements. */
typedef struct {
    int n;
    int64_t d[AVS_MAX_RANK], xs[AVS_MAX_RANK], ys[AVS_MAX_RANK];
} perm_plan;

static perm_plan perm_plan_of(const avs_type *x, const int32_t *perm)
{
    int64_t stride[AVS_MAX_RANK], s = 1;
    for (int i = x->rank - 1; i >= 0; i--) {
        stride[i] = s;
        s *= x->d[i];
    }
    perm_plan q = {0};
    for (int i = 0; i < x->rank; i++) {
        const int64_t d = x->d[perm[i]], xs = stride[perm[i]];
        if (d == 1) continue;
        if (q.n > 0 && q.xs[q.n - 1] == xs * d) {
            q.d[q.n - 1] *= d;
            q.xs[q.n - 1] = xs;
        } else {
            q.d[q.n] = d;
            q.xs[q.n++] = xs;
        }
    }
    s = 1;
    for (int i = q.n - 1; i >= 0; i--) {
        q.ys[i] = s;
        s *= q.d[i];
    }
    return q;
}

/* Offsets in x and y of the i-th combination of all axes except those two. */
static void perm_offsets(const perm_plan *q, int64_t i, int skip_a, int skip_b, int64_t *xo, int64_t *yo)
{
    *xo = *yo = 0;
    for (int a = q->n - 1; a >= 0; a--) {
        if (a == skip_a || a == skip_b) continue;
        *xo += i % q->d[a] * q->xs[a];
        *yo += i % q->d[a] * q->ys[a];
        i /= q->d[a];
    }
}

enum { TILE = 16 };

/* y[i * ys + j] = x[i + j * xs]: a piece of TILE x TILE at most. */
/* NOLINTBEGIN(bugprone-macro-parentheses): T is a type */
#define TRANSPOSE_TILE(T)                                                                                    \
    static void transpose_##T(const T *AVS_RESTRICT x, T *AVS_RESTRICT y, int64_t ni, int64_t nj,            \
                              int64_t xs, int64_t ys)                                                        \
    {                                                                                                        \
        if (ni == TILE && nj == TILE) {                                                                      \
            T t[TILE][TILE];                                                                                 \
            for (int j = 0; j < TILE; j++)                                                                   \
                for (int i = 0; i < TILE; i++) t[i][j] = x[i + j * xs];                                      \
            for (int i = 0; i < TILE; i++) memcpy(y + i * ys, t[i], sizeof t[i]);                            \
            return;                                                                                          \
        }                                                                                                    \
        for (int64_t i = 0; i < ni; i++)                                                                     \
            for (int64_t j = 0; j < nj; j++) y[i * ys + j] = x[i + j * xs];                                  \
    }
/* NOLINTEND(bugprone-macro-parentheses) */
TRANSPOSE_TILE(uint32_t)
TRANSPOSE_TILE(uint8_t)

/* The last axis of y is not the last of x: tiles over y's last axis and the one that has stride 1 in x. */
static void permute_tiles(const perm_plan *q, const avs_tensor *x, const avs_tensor *y, int64_t total)
{
    const int last = q->n - 1;
    int unit = 0;
    while (q->xs[unit] != 1) unit++;
    const int64_t ni = q->d[unit], nj = q->d[last], bands = avs_ceil_div(ni, TILE);
    const int64_t tasks = total / (ni * nj) * bands, es = elem_bytes(x);
#pragma omp parallel for schedule(static) if (total >= AVS_PAR_MIN)
    for (int64_t t = 0; t < tasks; t++) {
        int64_t xo, yo;
        perm_offsets(q, t / bands, unit, last, &xo, &yo);
        const int64_t i0 = t % bands * TILE, hi = avs_min64(TILE, ni - i0);
        xo += i0;
        yo += i0 * q->ys[unit];
        for (int64_t j0 = 0; j0 < nj; j0 += TILE) {
            const int64_t wj = avs_min64(TILE, nj - j0), xj = xo + j0 * q->xs[last], yj = yo + j0;
            if (es == 4)
                transpose_uint32_t((const uint32_t *)x->data + xj, (uint32_t *)y->data + yj, hi, wj,
                                   q->xs[last], q->ys[unit]);
            else
                transpose_uint8_t((const uint8_t *)x->data + xj, (uint8_t *)y->data + yj, hi, wj, q->xs[last],
                                  q->ys[unit]);
        }
    }
}

/* n runs of `run` bytes, `stride` apart in src, side by side in dst. */
static void copy_runs(char *AVS_RESTRICT dst, const char *AVS_RESTRICT src, int64_t n, int64_t run,
                      int64_t stride)
{
    if (run == 128) { /* a head of 32 channels: a call of memcpy would cost more than the copy */
        for (int64_t i = 0; i < n; i++) memcpy(dst + i * 128, src + i * stride, 128);
        return;
    }
    for (int64_t i = 0; i < n; i++) memcpy(dst + i * run, src + i * stride, (size_t)run);
}

int AVS_ISA(avs_cpu_permute)(const avs_cpu_call *c)
{
    const avs_permute_attr *at = c->k.attr;
    const avs_tensor *x = &c->k.in[0], *y = &c->k.out[0];
    const perm_plan q = perm_plan_of(&x->type, at->perm);
    const int64_t total = avs_type_count(&x->type), es = elem_bytes(x);
    if (q.n <= 1) {
        memcpy(y->data, x->data, (size_t)bytes_of(x));
        return AVS_OK;
    }
    const int last = q.n - 1;
    if (q.xs[last] != 1) {
        permute_tiles(&q, x, y, total);
        return AVS_OK;
    }
    /* Runs of the last axis; the axis before it is walked with constant strides. */
    const int mid = last - 1;
    const int64_t run = q.d[last] * es, tasks = total / q.d[last] / q.d[mid];
    const int64_t block = avs_max64(1, 65536 / run), pieces = avs_ceil_div(q.d[mid], block);
#pragma omp parallel for schedule(static) if (total >= AVS_PAR_MIN)
    for (int64_t i = 0; i < tasks * pieces; i++) {
        const int64_t m0 = i % pieces * block, m1 = avs_min64(q.d[mid], m0 + block);
        int64_t xo, yo;
        perm_offsets(&q, i / pieces, last, mid, &xo, &yo);
        const char *src = (const char *)x->data + (xo + m0 * q.xs[mid]) * es;
        char *dst = (char *)y->data + (yo + m0 * q.ys[mid]) * es;
        copy_runs(dst, src, m1 - m0, run, q.xs[mid] * es);
    }
    return AVS_OK;
}
