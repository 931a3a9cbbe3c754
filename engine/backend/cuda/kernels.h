/* The table of kernels that the cuda backend launches: parameters, and one row per launcher. The GPU fills it from the
 * .cu files as nvcc compiles them, the emulated device from the same files on fibres (engine/backend/emul).
 *
 * Every launcher is int NAME_cuda(const P *p, int64_t n, void *stream): p holds device addresses and is copied into
 * the launch, n counts rows, pixels or elements as said at P, stream is the device's. 0 or the device's error code (a
 * cudaError_t; an avs_code on fibres); nothing waits. Same sizes, same bits: no sum depends on timing.
 * All maps are channels last, f32 unless said otherwise. */
#ifndef AVS_ENGINE_BACKEND_CUDA_KERNELS_H
#define AVS_ENGINE_BACKEND_CUDA_KERNELS_H

#include "engine/backend/cuda/columns.h"
#include "engine/backend/cuda/msdeform_value.h"
#include "engine/backend/cuda/rows.h"
#include "engine/kernel/assign.k.h"
#include "engine/kernel/moments.k.h"

/* What a run found wrong in its data; read back by the host after it. */
enum { AVS_STATUS_CLASS = 1, AVS_STATUS_POINTS };

/* Normalisation of x [S][n][C] over n and the channels of a group (batch: S 1, G C). part: avs_norm_work floats.
 * Forward (n of the launcher is not used): y, mean and rstd [S][G]; batch: new running statistics from rm, rv. */
typedef struct {
    const float *x, *gamma, *beta, *rm, *rv;
    float *y, *mean, *rstd, *nm, *nv; /* rm, rv, nm, nv: NULL without running statistics */
    float *part;
    int64_t S, n, C, G;
    float eps, momentum;
    int32_t has_relu, is_sync;
} avs_norm_p;
/* Backward; beta: where a ReLU follows, else NULL. gx may be gy. */
typedef struct {
    const float *gy, *x, *gamma, *beta, *mean, *rstd;
    float *gx, *dgamma, *dbeta;
    float *part;
    int64_t S, n, C, G;
    int32_t is_sync;
} avs_norm_bwd_p;
enum { AVS_NORM_ROWS = 128 };
/* Offset in part, in floats, of the 2 C + 1 doubles that ranks add (is_sync; engine/kernel/moments.k.h): the launchers norm
 * and norm_bwd then stop before that sum, norm_finish and norm_bwd_finish go on behind it. */
static inline int64_t avs_norm_over(int64_t S, int64_t n, int64_t C)
{
    const int64_t chunks = (n + AVS_NORM_ROWS - 1) / AVS_NORM_ROWS;
    return (3 * S * chunks * C + 8 * S * C + 1) / 2 * 2;
}
static inline int64_t avs_norm_work(int64_t S, int64_t n, int64_t C)
{
    return avs_norm_over(S, n, C) + 2 * AVS_MOMENTS(C);
}

/* CONCAT, SLICE and PAD in units of 1, 4 or 16 bytes: position q of a run of y lies in part i with at[i] <= q < at[i+1]
 * and is unit o * run[i] + skip + q - at[i] of x[i]; before the first and behind the last part y is 0. n: units of y. */
typedef struct {
    const void *x[AVS_MAX_IN];
    void *y;
    int64_t at[AVS_MAX_IN + 1], run[AVS_MAX_IN], skip, y_run;
    int32_t n_parts, unit;
} avs_move_p;

/* y[i0..] = x[sum of coordinate * stride], units of 1, 4 or 16 bytes, axes outermost first. n: units of y. */
typedef struct {
    const void *x;
    void *y;
    int64_t d[AVS_MAX_RANK], stride[AVS_MAX_RANK];
    int32_t rank, unit;
} avs_permute_p;

/* Rows of x [B][R][C] by index [Q]; gather: n = B*Q rows of y. Transposed: n = B*R rows of y, x is [B][Q][C]. */
typedef struct {
    const float *x;
    const int32_t *index;
    float *y;
    int32_t *status;
    int64_t R, Q, C;
} avs_gather_p;

/* ROW_MAX: n = B*C. Transposed: x is gy, y is gx, n = B*R*C. */
typedef struct {
    const float *x;
    float *y;
    int32_t *index;
    int32_t *status;
    int64_t R, C;
} avs_row_max_p;

/* LOSS: y [B]; part: avs_loss_work doubles. LOSS_BWD: y is gpred. n is not used by either. */
typedef struct {
    const float *pred, *g;
    const void *target;
    float *y;
    double *part;
    int32_t *status;
    int64_t B, n, K; /* samples, positions per sample, classes (1 if not CE) */
    avs_loss_attr a;
} avs_loss_p;
enum { AVS_LOSS_CHUNK = 4096 };
static inline int64_t avs_loss_work(int64_t B, int64_t n)
{
    return 3 * B * ((n + AVS_LOSS_CHUNK - 1) / AVS_LOSS_CHUNK) + 3 * B;
}

/* SET_LOSS as in engine/graph/ops.h; given: NULL where points are drawn. work: avs_set_loss_layout bytes. n of the
 * launcher is not used. */
typedef struct {
    int32_t at[4];
    float w[4];
} avs_set_corners;
/* Up to four targets of a point and their shares; unused shares are 0 and come last. */
typedef struct {
    int32_t of[4];
    float share[4];
} avs_set_labels;
typedef struct {
    int32_t b, n, cls, nth; /* row, query, class, number in the row */
} avs_set_pair;
typedef struct {
    double num; /* targets of all rows */
    int64_t n_pairs;
} avs_set_head;
typedef enum {
    AVS_SET_FLAG,   /* i32 [B][K]  is the class there                        */
    AVS_SET_CLASS,  /* i32 [B][K]  classes of a row, ascending               */
    AVS_SET_LOCAL,  /* i32 [B][K]  class -> target, -1                       */
    AVS_SET_COUNT,  /* i32 [B]     classes; -1: the row has no weight        */
    AVS_SET_ROW,    /* i32 [B][2]  targets (-1: does not count), first pair  */
    AVS_SET_HEAD,   /* avs_set_head                                          */
    AVS_SET_SPOT,   /* avs_set_corners [B][points]                           */
    AVS_SET_LABEL,  /* avs_set_labels [B][points]                            */
    AVS_SET_COST,   /* f64 [B][Q][K]                                         */
    AVS_SET_ASSIGN, /* [B] of assign_bytes                                   */
    AVS_SET_COLUMN, /* i32 [B][max(Q,K)]                                     */
    AVS_SET_PAIR,   /* avs_set_pair [B*min(Q,K)]                             */
    AVS_SET_TERM,   /* f64 [B*min(Q,K)][2]                                   */
    AVS_SET_SUM,    /* i64 [slots][h*w]  gradient of a pair in whole numbers */
    AVS_SET_KEY,    /* u32 [slots][candidates]                               */
    AVS_SET_SPOTS,  /* avs_set_corners [slots][points]                       */
    AVS_SET_X,      /* f32 [slots][points]                                   */
    AVS_SET_T,      /* f32 [slots][points]                                   */
    AVS_SET_PARTS
} avs_set_part;
enum { AVS_SET_SLOTS = 64 }; /* pairs that are worked on at one time */
typedef struct {
    const float *classes, *masks, *weight, *given[3];
    const int32_t *target;
    float *terms, *gclasses, *gmasks, *cost;
    int32_t *match, *status;
    const uint32_t *counters; /* step and sample0 */
    char *work;
    int64_t B, Q, K, h, w, H, W, given_pairs[2]; /* pairs that candidates and random points are given for */
    size_t at[AVS_SET_PARTS], assign_bytes;
    avs_set_loss_attr a;
    uint32_t key[2];
} avs_set_loss_p;
/* Sets p->at and p->assign_bytes from the extents; the bytes of p->work. */
static inline size_t avs_set_loss_layout(avs_set_loss_p *p)
{
    const size_t B = (size_t)p->B, K = (size_t)p->K, Q = (size_t)p->Q, P = (size_t)p->a.points;
    const size_t most = Q > K ? Q : K, pairs = B * (Q < K ? Q : K),
                 slots = pairs < AVS_SET_SLOTS ? pairs : (size_t)AVS_SET_SLOTS;
    p->assign_bytes = (avs_assign_bytes((int64_t)most) + 7) / 8 * 8;
    const size_t bytes[AVS_SET_PARTS] = {B * K * sizeof(int32_t),
                                         B * K * sizeof(int32_t),
                                         B * K * sizeof(int32_t),
                                         B * sizeof(int32_t),
                                         2 * B * sizeof(int32_t),
                                         sizeof(avs_set_head),
                                         B * P * sizeof(avs_set_corners),
                                         B * P * sizeof(avs_set_labels),
                                         B * Q * K * sizeof(double),
                                         B * p->assign_bytes,
                                         B * most * sizeof(int32_t),
                                         pairs * sizeof(avs_set_pair),
                                         2 * pairs * sizeof(double),
                                         slots * (size_t)(p->h * p->w) * sizeof(int64_t),
                                         slots * ((size_t)p->a.candidates + 1) * sizeof(uint32_t),
                                         slots * P * sizeof(avs_set_corners),
                                         slots * P * sizeof(float),
                                         slots * P * sizeof(float)};
    size_t used = 0;
    for (int i = 0; i < AVS_SET_PARTS; i++) {
        p->at[i] = used;
        used += (bytes[i] + 255) / 256 * 256;
    }
    return used;
}

/* Depthwise convolution, weights [C][kh][kw]. x and y of the forward's sides in all three; what is not read is NULL.
 * Forward: y = act(conv + bias + residual), n = B*Ho*Wo. BWD_X: writes x from y, n = B*H*W. BWD_W: writes w from x and
 * y; part: avs_depthwise_work floats; n is not used. */
typedef struct {
    const float *bias, *residual;
    float *x, *y, *w, *part;
    avs_conv_attr a;
    int64_t B;
    int32_t H, W, C, Ho, Wo;
} avs_depthwise_p;
enum { AVS_DEPTHWISE_ROWS = 512 }; /* output positions of a chunk */
static inline int64_t avs_depthwise_work(int64_t B, const avs_conv_attr *a, int64_t Ho, int64_t Wo, int64_t C)
{
    return (B * Ho * Wo + AVS_DEPTHWISE_ROWS - 1) / AVS_DEPTHWISE_ROWS * a->kh * a->kw * C;
}

/* y = act(x + bias[i % C] + residual), x f32 or bf16 bits; bias and residual may be NULL; x and residual may be y.
 * n: elements. */
typedef struct {
    const void *x;
    const float *bias, *residual;
    float *y;
    int64_t C;
    int32_t act, is_bf16;
} avs_epilogue_p;

/* f32 to the nearest bf16, ties to even. n: elements. */
typedef struct {
    const float *x;
    uint16_t *y;
} avs_round_p;

/* A convolution's weight between [O][I][A] (files) and [O][A][I] (kernels), A = kh*kw. n: elements. */
typedef struct {
    const float *x;
    float *y;
    int64_t I, A;
    int32_t to_files;
} avs_turn_p;

/* AdamW over the whole slab in one launch: segment s covers [off, end); between segments nothing changes. n: slab. */
typedef struct {
    int64_t off, end;
    avs_adamw_factors f;
} avs_adamw_segment;
typedef struct {
    const float *g;
    float *w, *m, *v;
    const avs_adamw_segment *seg; /* on the device, by offset */
    int64_t n_seg;
} avs_adamw_slab_p;

/* *sum = sum of squares of g [n]; part: AVS_SQUARES_PARTS doubles. */
enum { AVS_SQUARES_PARTS = 1024 };
typedef struct {
    const float *g;
    double *part, *sum;
} avs_squares_p;

/* y = (keep ? y : 0) + x. n: elements. */
typedef struct {
    const float *x;
    float *y;
    int32_t keep;
} avs_add_slab_p;

/* Of RESIZE: _few takes elements instead of pixels, for maps of few channels (n: elements of y). RESIZE_BWD: x is gy, y
 * is gx, n counts pixels or elements of gx. */

#define AVS_CUDA_LAUNCHERS(X)                                                                                \
    X(softmax, avs_softmax_p)                                                                                \
    X(softmax_bwd, avs_softmax_bwd_p)                                                                        \
    X(layernorm, avs_layernorm_p)                                                                            \
    X(layernorm_bwd, avs_layernorm_bwd_p)                                                                    \
    X(layernorm_params, avs_layernorm_params_p)                                                              \
    X(norm, avs_norm_p)                                                                                      \
    X(norm_finish, avs_norm_p)                                                                               \
    X(norm_bwd, avs_norm_bwd_p)                                                                              \
    X(norm_bwd_finish, avs_norm_bwd_p)                                                                       \
    X(pool_max, avs_pool_max_p)                                                                              \
    X(pool_max_bwd, avs_pool_max_bwd_p)                                                                      \
    X(pool_avg, avs_pool_avg_p)                                                                              \
    X(pool_avg_bwd, avs_pool_avg_p)                                                                          \
    X(resize, avs_resize_p)                                                                                  \
    X(resize_few, avs_resize_p)                                                                              \
    X(resize_bwd, avs_resize_p)                                                                              \
    X(resize_bwd_few, avs_resize_p)                                                                          \
    X(msdeform, avs_msdeform_p)                                                                              \
    X(msdeform_bwd, avs_msdeform_bwd_p)                                                                      \
    X(msdeform_value, avs_msdeform_value_p)                                                                  \
    X(ew, avs_ew_p)                                                                                          \
    X(reduce, avs_reduce_p)                                                                                  \
    X(move, avs_move_p)                                                                                      \
    X(permute, avs_permute_p)                                                                                \
    X(gather_rows, avs_gather_p)                                                                             \
    X(gather_rows_bwd, avs_gather_p)                                                                         \
    X(row_max, avs_row_max_p)                                                                                \
    X(row_max_bwd, avs_row_max_p)                                                                            \
    X(dropout, avs_dropout_p)                                                                                \
    X(loss, avs_loss_p)                                                                                      \
    X(loss_bwd, avs_loss_p)                                                                                  \
    X(set_loss, avs_set_loss_p)                                                                              \
    X(depthwise, avs_depthwise_p)                                                                            \
    X(depthwise_bwd_x, avs_depthwise_p)                                                                      \
    X(depthwise_bwd_w, avs_depthwise_p)                                                                      \
    X(epilogue, avs_epilogue_p)                                                                              \
    X(round, avs_round_p)                                                                                    \
    X(turn, avs_turn_p)                                                                                      \
    X(adamw_slab, avs_adamw_slab_p)                                                                          \
    X(squares, avs_squares_p)                                                                                \
    X(add_slab, avs_add_slab_p)

typedef struct {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): a declarator */
#define X(name, P) int (*name)(const P *p, int64_t n, void *stream);
    AVS_CUDA_LAUNCHERS(X)
#undef X
} avs_cuda_kernels;

#ifndef AVS_EMUL /* in the emulator the launchers are static functions of the including file */
#ifdef __cplusplus
extern "C" {
#endif
#define X(name, P) int avs_##name##_cuda(const P *p, int64_t n, void *stream);
AVS_CUDA_LAUNCHERS(X)
#undef X
#ifdef __cplusplus
}
#endif
#endif

#endif
