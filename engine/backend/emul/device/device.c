/* The emulated device: the cuda backend without a GPU. Memory is the host's, kernels are the .cu files on fibres, products
 * and convolutions are plain loops with sums in double, recorded launches are closures over copied parameters, as CUDA
 * graphs copy them.
 *
 * So plans, lowering, workspaces, recording and the optimiser run here as on a GPU, under AddressSanitizer, which also
 * knows the bounds of every allocation. What it cannot show: timing, and faults of the libraries' calls. Its memory is
 * limited (AVS_EMUL_MEMORY_MIB) so that running out is tested too. In precision bf16 convolutions answer with bf16, as
 * cuDNN may. */
#define AVS_EMUL 1
#include "engine/backend/cuda/columns.cu"
#include "engine/backend/cuda/conv.cu"
#include "engine/backend/cuda/loss.cu"
#include "engine/backend/cuda/move.cu"
#include "engine/backend/cuda/msdeform_value.cu"
#include "engine/backend/cuda/norm.cu"
#include "engine/backend/cuda/optim.cu"
#include "engine/backend/cuda/resize.cu"
#include "engine/backend/cuda/rows.cu"
#include "engine/backend/cuda/set_loss.cu"

#include "base/arena.h"
#include "base/log.h"
#include "engine/backend/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORY_MIB = 16384 };

typedef struct block {
    struct block *next;
} block;

/* Something queued: a launch with its parameters, a copy, a product, a convolution. */
typedef struct kept {
    int (*go)(avs_cuda_device *d, struct kept *k);
    int (*launch)(const void *p, int64_t n, void *stream);
    struct kept *next;
    int64_t n;
    const avs_cuda_call *call;
    void *x, *w, *y, *workspace;
    const float *bias, *residual;
    size_t bytes;
    _Alignas(16) char p[];
} kept;

struct avs_cuda_device {
    avs_arena *arena; /* calls */
    block *memory;
    size_t used, limit;
    kept *first, **last;
    bool is_recording;
    int64_t marked[2];
    const char *failure;
};

/* Kernels have no context, so the device that records is found here; one device records at a time. */
static avs_cuda_device *recorder;

static int queue(avs_cuda_device *d, const kept *k, const void *p, size_t bytes)
{
    kept *own = avs_xalloc(sizeof *own + bytes);
    if (!own) return AVS_ENOMEM;
    *own = *k;
    if (bytes) memcpy(own->p, p, bytes);
    own->next = NULL;
    *d->last = own;
    d->last = &own->next;
    return AVS_OK;
}

static int go_launch(avs_cuda_device *d, kept *k)
{
    (void)d;
    return k->launch(k->p, k->n, NULL);
}

/* One function per launcher: now, or kept for later. */
#define X(name, P)                                                                                           \
    static int now_##name(const void *p, int64_t n, void *stream)                                            \
    {                                                                                                        \
        return avs_##name##_cuda((const P *)p, n, stream);                                                   \
    }                                                                                                        \
    static int emul_##name(const P *p, int64_t n, void *stream)                                              \
    {                                                                                                        \
        if (!recorder) return avs_##name##_cuda(p, n, stream);                                               \
        const kept k = {.go = go_launch, .launch = now_##name, .n = n};                                      \
        return queue(recorder, &k, p, sizeof *p);                                                            \
    }
AVS_CUDA_LAUNCHERS(X)
#undef X

static const avs_cuda_kernels kernels = {
#define X(name, P) .name = emul_##name,
    AVS_CUDA_LAUNCHERS(X)
#undef X
};

/* ------------------------------------------------------------------ memory, copies */

static int emul_open(avs_cuda_device **out, avs_math math, avs_err *e)
{
    const char *mib = getenv("AVS_EMUL_MEMORY_MIB");
    const long limit = mib ? strtol(mib, NULL, 10) : 0;
    avs_cuda_device *d = avs_xalloc(sizeof *d);
    (void)math;
    if (!d || !(d->arena = avs_arena_new())) {
        avs_xfree(d);
        return avs_fail(e, AVS_ENOMEM, "no memory for the emulated device");
    }
    d->limit = (size_t)(limit > 0 ? limit : MEMORY_MIB) << 20;
    d->last = &d->first;
    d->failure = "";
    *out = d;
    return AVS_OK;
}

static void forget(avs_cuda_device *d)
{
    for (kept *k = d->first, *next; k; k = next) {
        next = k->next;
        avs_xfree(k);
    }
    d->first = NULL;
    d->last = &d->first;
}

static void emul_close(avs_cuda_device *d)
{
    if (!d) return;
    if (recorder == d) recorder = NULL;
    forget(d);
    for (block *b = d->memory, *next; b; b = next) {
        next = b->next;
        avs_xfree(b);
    }
    avs_arena_free(d->arena);
    avs_xfree(d);
}

static int emul_memory(avs_cuda_device *d, size_t *free_bytes, size_t *total, avs_err *e)
{
    (void)e;
    *total = d->limit;
    *free_bytes = d->limit - d->used;
    return AVS_OK;
}

/* 256 bytes in front hold the list; the device's memory begins behind them. */
static int take(avs_cuda_device *d, size_t bytes, void **out, avs_err *e)
{
    block *b = avs_xalloc(AVS_CUDA_ALIGN + bytes);
    if (!b) return avs_fail(e, AVS_ENOMEM, "no memory for %zu bytes of the emulated device", bytes);
    b->next = d->memory;
    d->memory = b;
    *out = (char *)b + AVS_CUDA_ALIGN;
    return AVS_OK;
}

static int emul_alloc(avs_cuda_device *d, size_t bytes, void **out, avs_err *e)
{
    if (bytes > d->limit - d->used) return avs_fail(e, AVS_ENOMEM, "the emulated device is full");
    d->used += bytes;
    return take(d, bytes, out, e);
}

static int go_copy(avs_cuda_device *d, kept *k)
{
    (void)d;
    if (emul_counts_only()) return AVS_OK;
    memmove(k->y, k->x, k->bytes);
    return AVS_OK;
}

static int emul_copy(avs_cuda_device *d, void *dst, const void *src, size_t bytes)
{
    const kept k = {.go = go_copy, .x = (void *)(uintptr_t)src, .y = dst, .bytes = bytes};
    if (d->is_recording) return queue(d, &k, NULL, 0);
    memmove(dst, src, bytes);
    return AVS_OK;
}

static int emul_sync(avs_cuda_device *d)
{
    return d->is_recording ? AVS_ECUDA : AVS_OK; /* waiting ends a recording on a GPU too */
}

static void *emul_stream(avs_cuda_device *d)
{
    (void)d;
    return NULL;
}

/* ------------------------------------------------------------------ recording */

static int emul_record(avs_cuda_device *d)
{
    if (recorder) {
        d->failure = "another device records";
        return AVS_ECUDA;
    }
    forget(d);
    d->is_recording = true;
    recorder = d;
    return AVS_OK;
}

static int emul_replay(avs_cuda_device *d)
{
    int rc = AVS_OK;
    for (kept *k = d->first; k && rc == AVS_OK; k = k->next) rc = k->go(d, k);
    return rc;
}

/* Kernels are counted without running them, one for each product or convolution. */
static int emul_recorded(avs_cuda_device *d, int *n)
{
    const int64_t before = emul_launches();
    const bool was_counting = emul_counts_only();
    d->is_recording = false;
    recorder = NULL;
    emul_count_only(true);
    const int rc = emul_replay(d);
    emul_count_only(was_counting);
    *n = (int)(emul_launches() - before);
    return rc;
}

static int emul_mark(avs_cuda_device *d, int which)
{
    d->marked[which] = avs_now_ns();
    return AVS_OK;
}

static int emul_elapsed(avs_cuda_device *d, double *us)
{
    *us = (double)(d->marked[1] - d->marked[0]) * 1e-3;
    return AVS_OK;
}

/* ------------------------------------------------------------------ products and convolutions */

static double number(const void *p, int64_t i, bool is_bf16)
{
    return (double)(is_bf16 ? avs_float((uint32_t)((const uint16_t *)p)[i] << 16) : ((const float *)p)[i]);
}

static int emul_gemm_new(avs_cuda_device *d, const avs_cuda_gemm *g, avs_cuda_call *out, avs_err *e)
{
    avs_cuda_gemm *own = avs_arena_dup(d->arena, g, sizeof *g);
    if (!own) return avs_fail(e, AVS_ENOMEM, "no memory for a product");
    *out = (avs_cuda_call){.plan = own, .is_fused = true, .impl = g->is_bf16 ? "loops_bf16" : "loops"};
    return AVS_OK;
}

static int go_gemm(avs_cuda_device *d, kept *k)
{
    const avs_cuda_gemm *g = k->call->plan;
    float *y = k->y;
    (void)d;
    emul_count_one();
    if (emul_counts_only()) return AVS_OK;
    for (int64_t z = 0; z < g->batch; z++)
        for (int64_t i = 0; i < g->M; i++)
            for (int64_t j = 0; j < g->N; j++) {
                const int64_t a0 = z * g->stride_a, b0 = z * g->stride_b,
                              at = z * g->stride_c + i * g->ldc + j;
                double s = 0;
                for (int64_t m = 0; m < g->K; m++)
                    s += number(k->x, a0 + (g->ta ? m * g->lda + i : i * g->lda + m), g->is_bf16) *
                         number(k->w, b0 + (g->tb ? j * g->ldb + m : m * g->ldb + j), g->is_bf16);
                s *= (double)g->alpha;
                if (g->has_bias) s += (double)k->bias[j];
                if (g->has_residual) s += (double)k->residual[at];
                y[at] = g->act == AVS_ACT_RELU && s < 0 ? 0.f : (float)s;
            }
    return AVS_OK;
}

static int emul_gemm_run(avs_cuda_device *d, const avs_cuda_call *c, const void *a, const void *b,
                         const float *bias, const float *residual, float *y, void *workspace)
{
    kept k = {.go = go_gemm,
              .call = c,
              .x = (void *)(uintptr_t)a,
              .w = (void *)(uintptr_t)b,
              .y = y,
              .workspace = workspace,
              .bias = bias,
              .residual = residual};
    if (!d->is_recording) return go_gemm(d, &k);
    return queue(d, &k, NULL, 0);
}

typedef struct {
    avs_cuda_conv g;
    bool is_fused, gives_bf16;
} conv_plan;

static int emul_conv_new(avs_cuda_device *d, const avs_cuda_conv *g, avs_cuda_call *out, avs_err *e)
{
    conv_plan *p = AVS_NEW(d->arena, conv_plan);
    if (!p) return avs_fail(e, AVS_ENOMEM, "no memory for a convolution");
    *p = (conv_plan){.g = *g, .is_fused = !g->has_residual, .gives_bf16 = g->is_bf16 && !g->needs_f32};
    if (p->gives_bf16) p->is_fused = false;
    *out = (avs_cuda_call){.plan = p,
                           .workspace = 4096,
                           .is_fused = p->is_fused,
                           .gives_bf16 = p->gives_bf16,
                           .impl = g->is_bf16 ? "loops_conv_bf16" : "loops_conv"};
    return AVS_OK;
}

/* Calls tap(c, index of x, of w, of y) for every product of the convolution. */
typedef void (*tap_fn)(kept *k, const avs_cuda_conv *g, double *sum, int64_t x, int64_t w, int64_t y);
static void tap_y(kept *k, const avs_cuda_conv *g, double *sum, int64_t x, int64_t w, int64_t y)
{
    sum[y] += number(k->x, x, g->is_bf16) * number(k->w, w, g->is_bf16);
}
static void tap_x(kept *k, const avs_cuda_conv *g, double *sum, int64_t x, int64_t w, int64_t y)
{
    sum[x] += number(k->y, y, g->is_bf16) * number(k->w, w, g->is_bf16);
}
static void tap_w(kept *k, const avs_cuda_conv *g, double *sum, int64_t x, int64_t w, int64_t y)
{
    sum[w] += number(k->x, x, g->is_bf16) * number(k->y, y, g->is_bf16);
}

static void every_tap(kept *k, const avs_cuda_conv *g, double *sum, tap_fn tap)
{
    const avs_conv_attr *a = &g->a;
    const int64_t Ig = g->Ci / a->groups, Og = g->Co / a->groups, positions = g->B * g->Ho * g->Wo;
    for (int64_t r = 0; r < positions; r++) {
        const int64_t b = r / g->Wo / g->Ho, oy = r / g->Wo % g->Ho, ox = r % g->Wo;
        for (int64_t t = 0; t < (int64_t)a->kh * a->kw; t++) {
            const int64_t iy = oy * a->sh - a->ph + t / a->kw * a->dh,
                          ix = ox * a->sw - a->pw + t % a->kw * a->dw;
            if (iy < 0 || iy >= g->H || ix < 0 || ix >= g->W) continue;
            for (int64_t o = 0; o < g->Co; o++)
                for (int64_t i = 0; i < Ig; i++)
                    tap(k, g, sum, ((b * g->H + iy) * g->W + ix) * g->Ci + o / Og * Ig + i,
                        (o * a->kh * a->kw + t) * Ig + i, r * g->Co + o);
        }
    }
}

static int go_conv(avs_cuda_device *d, kept *k)
{
    const conv_plan *p = k->call->plan;
    const avs_cuda_conv *g = &p->g;
    const int64_t counts[] = {g->B * g->Ho * g->Wo * g->Co, g->B * g->H * g->W * g->Ci,
                              g->Co * g->a.kh * g->a.kw * (g->Ci / g->a.groups)};
    static const tap_fn taps[] = {tap_y, tap_x, tap_w};
    const int64_t n = counts[g->kind];
    void *to = g->kind == AVS_CONV_FWD ? k->y : g->kind == AVS_CONV_BWD_X ? k->x : k->w;
    (void)d;
    emul_count_one();
    if (emul_counts_only()) return AVS_OK;
    double *sum = avs_xalloc((size_t)n * sizeof *sum);
    if (!sum) return AVS_ENOMEM;
    memset(k->workspace, 0xff, k->call->workspace); /* lent for the whole call */
    every_tap(k, g, sum, taps[g->kind]);
    for (int64_t i = 0; i < n; i++) {
        double v = sum[i];
        if (p->is_fused && g->has_bias) v += (double)k->bias[i % g->Co];
        if (p->is_fused && g->act == AVS_ACT_RELU && v < 0) v = 0;
        if (p->gives_bf16) {
            const float f = (float)v;
            const avs_round_p one = {&f, (uint16_t *)to + i};
            avs_round_body(&one, 0);
        } else {
            ((float *)to)[i] = (float)v;
        }
    }
    avs_xfree(sum);
    return AVS_OK;
}

static int emul_conv_run(avs_cuda_device *d, const avs_cuda_call *c, void *x, void *w, void *y,
                         const float *bias, const float *residual, void *workspace)
{
    kept k = {.go = go_conv,
              .call = c,
              .x = x,
              .w = w,
              .y = y,
              .workspace = workspace,
              .bias = bias,
              .residual = residual};
    if (!d->is_recording) return go_conv(d, &k);
    return queue(d, &k, NULL, 0);
}

static void emul_describe(avs_cuda_device *d, char *out, size_t n)
{
    snprintf(out, n, "emulated device, %zu MiB", d->limit >> 20);
}

static const char *emul_why(avs_cuda_device *d)
{
    return *emul_error() ? emul_error() : d->failure;
}

const avs_cuda_device_ops avs_cuda_emul = {.name = "cuda-emul",
                                           .kernels = &kernels,
                                           .open = emul_open,
                                           .close = emul_close,
                                           .memory = emul_memory,
                                           .alloc = emul_alloc,
                                           .alloc_host = take,
                                           .copy = emul_copy,
                                           .sync = emul_sync,
                                           .stream = emul_stream,
                                           .record = emul_record,
                                           .recorded = emul_recorded,
                                           .replay = emul_replay,
                                           .mark = emul_mark,
                                           .elapsed = emul_elapsed,
                                           .gemm_new = emul_gemm_new,
                                           .gemm_run = emul_gemm_run,
                                           .conv_new = emul_conv_new,
                                           .conv_run = emul_conv_run,
                                           .describe = emul_describe,
                                           .why = emul_why};

static int open_emul(avs_backend **out, avs_math math, avs_err *e)
{
    return avs_cuda_open_on(&avs_cuda_emul, out, math, e);
}

const avs_backend_ops avs_backend_cuda_emul = {.name = "cuda-emul",
                                               .open = open_emul,
                                               .close = avs_cuda_close,
                                               .weight_layout = avs_cuda_weight_layout,
                                               .repack = avs_cuda_repack,
                                               .may_overwrite = avs_cuda_may_overwrite,
                                               .lower = avs_cuda_lower,
                                               .device = &avs_cuda_face};
