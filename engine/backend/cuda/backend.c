/* The cuda backend above its device: memory with a message before anything is allocated, the words that steps share
 * with the host, the optimiser, and one table row per op. */
#include "engine/backend/cuda/cuda.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ launches */

#define X(name, P)                                                                                           \
    int avs_cuda_go_##name(const avs_cuda_kernels *k, const void *p, int64_t n, void *stream)                \
    {                                                                                                        \
        return k->name((const P *)p, n, stream);                                                             \
    }
AVS_CUDA_LAUNCHERS(X)
#undef X

avs_cuda_launch *avs_cuda_launch_new(avs_backend *be,
                                     int (*go)(const avs_cuda_kernels *, const void *, int64_t, void *),
                                     const void *p, size_t size, int64_t n, avs_err *e)
{
    avs_cuda_launch *l = AVS_NEW(be->arena, avs_cuda_launch);
    void *own = l ? avs_arena_dup(be->arena, p, size) : NULL;
    if (!own) {
        avs_fail(e, AVS_ENOMEM, "no memory for a step");
        return NULL;
    }
    *l = (avs_cuda_launch){.go = go, .p = own, .n = n, .work_at = SIZE_MAX};
    return l;
}

int avs_cuda_launch_run(avs_backend *be, const avs_cuda_launch *l, void *workspace)
{
    for (; l; l = l->next) {
        if (l->work_at != SIZE_MAX) memcpy((char *)l->p + l->work_at, &workspace, sizeof workspace);
        if (l->go(be->ops->kernels, l->p, l->n, be->ops->stream(be->dev))) return AVS_ECUDA;
    }
    return AVS_OK;
}

typedef struct {
    avs_backend *be;
    avs_cuda_launch *first;
} own_ctx;

static int own_run(void *ctx, void *workspace)
{
    const own_ctx *c = ctx;
    return avs_cuda_launch_run(c->be, c->first, workspace);
}

int avs_cuda_step(avs_backend *be, avs_cuda_launch *first, size_t workspace, const char *impl, avs_step *out,
                  avs_err *e)
{
    own_ctx *c = first ? AVS_NEW(be->arena, own_ctx) : NULL;
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory for a step");
    *c = (own_ctx){be, first};
    *out = (avs_step){.run = own_run, .ctx = c, .workspace = workspace, .impl = impl};
    return AVS_OK;
}

/* ------------------------------------------------------------------ memory */

/* Of all instances of this process; those that load data have threads, those that open devices have one. */
static _Atomic size_t held, most_held;

int avs_cuda_alloc(avs_backend *be, size_t bytes, const char *what, void **out, avs_err *e)
{
    size_t free_bytes = 0, total = 0;
    int rc = be->ops->memory(be->dev, &free_bytes, &total, e);
    if (rc != AVS_OK) return rc;
    if (bytes > free_bytes) {
        char name[160];
        be->ops->describe(be->dev, name, sizeof name);
        return avs_fail(
            e, AVS_ENOMEM,
            "%s takes %.1f MiB on the device, of whose %.1f MiB %.1f are free (%s); lower the batch, the "
            "resolution or --mem-budget, or end what else runs there",
            what, (double)bytes / 1048576, (double)total / 1048576, (double)free_bytes / 1048576, name);
    }
    rc = be->ops->alloc(be->dev, avs_cuda_round(bytes), out, e);
    if (rc != AVS_OK) return rc;
    be->in_use += avs_cuda_round(bytes);
    held += avs_cuda_round(bytes);
    if (held > most_held) most_held = held;
    return rc;
}

static int cuda_alloc_host(avs_backend *be, size_t bytes, void **out, avs_err *e)
{
    return be->ops->alloc_host(be->dev, bytes, out, e);
}

/* The device's failure as an error. */
static int told(avs_backend *be, int rc, const char *what, avs_err *e)
{
    return rc == AVS_OK ? rc : avs_fail(e, (avs_code)rc, "%s: %s", what, be->ops->why(be->dev));
}

static int cuda_copy(avs_backend *be, void *dst, const void *src, size_t bytes, avs_err *e)
{
    return told(be, be->ops->copy(be->dev, dst, src, bytes), "a copy to or from the device failed", e);
}

static int cuda_sync(avs_backend *be, avs_err *e)
{
    const size_t n = offsetof(avs_cuda_words, sum);
    int rc = be->has_status ? be->ops->copy(be->dev, be->words_host, be->words, n) : AVS_OK;
    if (rc == AVS_OK) rc = be->ops->sync(be->dev);
    if (rc != AVS_OK) return told(be, rc, "the device failed", e);
    if (!be->has_status || be->words_host->status == 0) return AVS_OK;
    const int32_t zero = 0;
    rc = be->ops->copy(be->dev, &be->words->status, &zero, sizeof zero);
    if (rc == AVS_OK) rc = be->ops->sync(be->dev);
    if (rc != AVS_OK) return told(be, rc, "the device failed", e);
    return avs_fail(
        e, AVS_ERANGE, "%s",
        be->words_host->status == AVS_STATUS_POINTS
            ? "a loss of a set of masks has more pairs than points are given for"
            : "a target class lies outside the classes of the prediction, or a row index outside its rows");
}

/* Pinned words are written here, so the copy of the run before must have been read: runs end with sync. */
static int cuda_begin(avs_backend *be, const avs_runtime *rt, avs_err *e)
{
    if (!be->has_counters) return AVS_OK;
    be->words_host->counters[0] = (uint32_t)rt->step;
    be->words_host->counters[1] = (uint32_t)rt->sample0;
    return told(be,
                be->ops->copy(be->dev, be->words->counters, be->words_host->counters,
                              sizeof be->words_host->counters),
                "the step's number could not be copied", e);
}

/* ------------------------------------------------------------------ recording, marks */

static int cuda_record(avs_backend *be, avs_err *e)
{
    return told(be, be->ops->record(be->dev), "recording the steps failed", e);
}
static int cuda_recorded(avs_backend *be, int *n_kernels, avs_err *e)
{
    return told(be, be->ops->recorded(be->dev, n_kernels), "recording the steps failed", e);
}
static int cuda_replay(avs_backend *be, avs_err *e)
{
    return told(be, be->ops->replay(be->dev), "launching the recorded steps failed", e);
}
static int cuda_mark(avs_backend *be, int which, avs_err *e)
{
    return told(be, be->ops->mark(be->dev, which), "marking the queue failed", e);
}
static int cuda_elapsed(avs_backend *be, double *us, avs_err *e)
{
    return told(be, be->ops->elapsed(be->dev, us), "reading the device's clock failed", e);
}

/* ------------------------------------------------------------------ optimiser */

static int need_segments(avs_backend *be, int n, avs_err *e)
{
    if (be->cap_segments >= n) return AVS_OK;
    const size_t bytes = (size_t)n * sizeof(avs_adamw_segment);
    int rc = avs_cuda_alloc(be, bytes, "the optimiser's table of parameters", (void **)&be->segments, e);
    if (rc == AVS_OK) rc = be->ops->alloc_host(be->dev, bytes, (void **)&be->segments_host, e);
    if (rc == AVS_OK) be->cap_segments = n;
    return rc;
}

/* Segments are in order of offset where the caller's are; they are sorted here otherwise (insertion: nearly sorted). */
static int fill_segments(avs_backend *be, const avs_opt_segment *seg, int n_seg, const avs_adamw_cfg *cfg,
                         int64_t t, float grad_scale)
{
    int n = 0;
    for (int i = 0; i < n_seg; i++) {
        if (seg[i].lr_mult == 0.f) continue;
        avs_adamw_segment s = {.off = seg[i].off, .end = seg[i].off + seg[i].len};
        avs_adamw_factors_of(&s.f, &seg[i], cfg, t, grad_scale);
        int at = n++;
        for (; at > 0 && be->segments_host[at - 1].off > s.off; at--)
            be->segments_host[at] = be->segments_host[at - 1];
        be->segments_host[at] = s;
    }
    return n;
}

static int cuda_adamw(avs_backend *be, const avs_adamw_arrays *x, const avs_opt_segment *seg, int n_seg,
                      const avs_adamw_cfg *cfg, int64_t t, float grad_scale, avs_err *e)
{
    int rc = need_segments(be, n_seg, e);
    if (rc == AVS_OK) rc = cuda_sync(be, e); /* the table of the step before has been read */
    if (rc != AVS_OK) return rc;
    const int n = fill_segments(be, seg, n_seg, cfg, t, grad_scale);
    if (!n) return AVS_OK;
    const avs_adamw_slab_p p = {.g = x->g, .w = x->w, .m = x->m, .v = x->v, .seg = be->segments, .n_seg = n};
    rc = cuda_copy(be, be->segments, be->segments_host, (size_t)n * sizeof *be->segments, e);
    if (rc != AVS_OK) return rc;
    const int failed =
        be->ops->kernels->adamw_slab(&p, be->segments_host[n - 1].end, be->ops->stream(be->dev));
    return told(be, failed ? AVS_ECUDA : AVS_OK, "the optimiser step failed", e);
}

static int cuda_norm(avs_backend *be, const float *g, int64_t n, double *norm, avs_err *e)
{
    const avs_squares_p p = {.g = g, .part = be->words->part, .sum = &be->words->sum};
    const int failed = be->ops->kernels->squares(&p, n, be->ops->stream(be->dev));
    int rc = told(be, failed ? AVS_ECUDA : AVS_OK, "the norm of the gradient failed", e);
    if (rc == AVS_OK) rc = cuda_copy(be, &be->words_host->sum, &be->words->sum, sizeof(double), e);
    if (rc == AVS_OK) rc = cuda_sync(be, e);
    *norm = rc == AVS_OK ? sqrt(be->words_host->sum) : 0;
    return rc;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the kernel writes sum */
static int cuda_add(avs_backend *be, const float *x, float *sum, int64_t n, bool keep, avs_err *e)
{
    const avs_add_slab_p p = {.x = x, .y = sum, .keep = keep};
    const int failed = be->ops->kernels->add_slab(&p, n, be->ops->stream(be->dev));
    return told(be, failed ? AVS_ECUDA : AVS_OK, "adding gradients failed", e);
}

/* ------------------------------------------------------------------ the rest of the device's face */

static void *cuda_queue(avs_backend *be)
{
    return be->ops->stream(be->dev);
}
static void cuda_describe(avs_backend *be, char *out, size_t n)
{
    be->ops->describe(be->dev, out, n);
}
static const char *cuda_why(avs_backend *be)
{
    return be->ops->why(be->dev);
}
static size_t cuda_in_use(avs_backend *be)
{
    return be->in_use;
}
static size_t cuda_peak(void)
{
    return most_held;
}

/* ------------------------------------------------------------------ instance */

void avs_cuda_close(avs_backend *be)
{
    if (!be) return;
    held -= be->in_use;
    be->ops->close(be->dev);
    avs_arena_free(be->arena);
}

int avs_cuda_open_on(const avs_cuda_device_ops *ops, avs_backend **out, avs_math math, avs_err *e)
{
    avs_arena *arena = avs_arena_new();
    avs_backend *be = arena ? AVS_NEW(arena, avs_backend) : NULL;
    if (!be) {
        avs_arena_free(arena);
        return avs_fail(e, AVS_ENOMEM, "no memory for the %s backend", ops->name);
    }
    be->arena = arena;
    be->ops = ops;
    be->math = math;
    int rc = ops->open(&be->dev, math, e);
    if (rc == AVS_OK) rc = avs_cuda_alloc(be, sizeof *be->words, "the backend", (void **)&be->words, e);
    if (rc == AVS_OK) rc = ops->alloc_host(be->dev, sizeof *be->words, (void **)&be->words_host, e);
    if (rc != AVS_OK) {
        avs_cuda_close(be);
        return rc;
    }
    *out = be;
    return AVS_OK;
}

/* Elementwise kernels may write where they read; products add the residual in place; the norms' gradients read an
 * element before they write it. */
bool avs_cuda_may_overwrite(const avs_node *n, int operand)
{
    switch (n->op) {
    case AVS_OP_EW:
    case AVS_OP_DROPOUT:
        return true;
    case AVS_OP_MATMUL:
        return operand == 3;
    case AVS_OP_BATCHNORM_BWD:
    case AVS_OP_GROUPNORM_BWD:
        return operand == 0;
    default:
        return false;
    }
}

// clang-format off
const avs_cuda_lower_fn avs_cuda_lower_table[AVS_OP_COUNT] = {
    [AVS_OP_CONV2D] = avs_cuda_lower_conv,          [AVS_OP_CONV2D_BWD_X] = avs_cuda_lower_conv,
    [AVS_OP_CONV2D_BWD_W] = avs_cuda_lower_conv,    [AVS_OP_MATMUL] = avs_cuda_lower_matmul,
    [AVS_OP_SOFTMAX] = avs_cuda_lower_rows,         [AVS_OP_SOFTMAX_BWD] = avs_cuda_lower_rows,
    [AVS_OP_LAYERNORM] = avs_cuda_lower_rows,       [AVS_OP_LAYERNORM_BWD] = avs_cuda_lower_rows,
    [AVS_OP_BATCHNORM] = avs_cuda_lower_rows,       [AVS_OP_BATCHNORM_BWD] = avs_cuda_lower_rows,
    [AVS_OP_GROUPNORM] = avs_cuda_lower_rows,       [AVS_OP_GROUPNORM_BWD] = avs_cuda_lower_rows,
    [AVS_OP_POOL_MAX] = avs_cuda_lower_rows,        [AVS_OP_POOL_MAX_BWD] = avs_cuda_lower_rows,
    [AVS_OP_POOL_AVG] = avs_cuda_lower_rows,        [AVS_OP_POOL_AVG_BWD] = avs_cuda_lower_rows,
    [AVS_OP_RESIZE] = avs_cuda_lower_rows,          [AVS_OP_RESIZE_BWD] = avs_cuda_lower_rows,
    [AVS_OP_MSDEFORM] = avs_cuda_lower_rows,        [AVS_OP_MSDEFORM_BWD] = avs_cuda_lower_rows,
    [AVS_OP_EW] = avs_cuda_lower_moves,             [AVS_OP_REDUCE] = avs_cuda_lower_moves,
    [AVS_OP_CONCAT] = avs_cuda_lower_moves,         [AVS_OP_SLICE] = avs_cuda_lower_moves,
    [AVS_OP_PAD] = avs_cuda_lower_moves,            [AVS_OP_PERMUTE] = avs_cuda_lower_moves,
    [AVS_OP_GATHER_ROWS] = avs_cuda_lower_moves,    [AVS_OP_GATHER_ROWS_BWD] = avs_cuda_lower_moves,
    [AVS_OP_ROW_MAX] = avs_cuda_lower_moves,        [AVS_OP_ROW_MAX_BWD] = avs_cuda_lower_moves,
    [AVS_OP_DROPOUT] = avs_cuda_lower_moves,        [AVS_OP_LOSS] = avs_cuda_lower_moves,
    [AVS_OP_LOSS_BWD] = avs_cuda_lower_moves,       [AVS_OP_SET_LOSS] = avs_cuda_lower_moves,
};
// clang-format on

int avs_cuda_lower(avs_backend *be, const avs_lower_req *req, avs_step *out, avs_err *e)
{
    const int op = req->g->node[req->node].op;
    return avs_cuda_lower_table[op]
               ? avs_cuda_lower_table[op](be, req, out, e)
               : avs_fail(e, AVS_EMISSING, "the cuda backend has no kernel for op %s", avs_op_rules[op].name);
}

const avs_backend_device avs_cuda_face = {.alloc = avs_cuda_alloc,
                                          .alloc_host = cuda_alloc_host,
                                          .copy = cuda_copy,
                                          .sync = cuda_sync,
                                          .begin = cuda_begin,
                                          .record = cuda_record,
                                          .recorded = cuda_recorded,
                                          .replay = cuda_replay,
                                          .mark = cuda_mark,
                                          .elapsed = cuda_elapsed,
                                          .adamw = cuda_adamw,
                                          .norm = cuda_norm,
                                          .add = cuda_add,
                                          .queue = cuda_queue,
                                          .describe = cuda_describe,
                                          .why = cuda_why,
                                          .in_use = cuda_in_use,
                                          .peak = cuda_peak};
