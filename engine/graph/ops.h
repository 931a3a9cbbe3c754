/* Ops: what each row of ops.def computes, its attributes, and the builders that models call.
 *
 * B batch (rows), maps B,H,W,C, tokens B,N,C. Shapes are checked by infer; a mismatch becomes the graph's error and
 * names the op, the scope and the shapes. Optional operands are 0 (absent: avs_tensor.data == NULL in kernels).
 * Kernels: int avs_ref_NAME(const avs_kernel_args *) is the executable specification (naive loops, F32 or F64
 * storage); avs_cpu_NAME is the production kernel. Accumulation order is fixed by sizes, never by thread count. */
#ifndef AVS_ENGINE_GRAPH_OPS_H
#define AVS_ENGINE_GRAPH_OPS_H

#include "engine/graph/graph.h"

typedef enum {
    AVS_OP_NONE,
#define X(E, name, attr, lo, hi, out) AVS_OP_##E,
#include "engine/graph/ops.def"
#undef X
    AVS_OP_COUNT
} avs_op;

/* Epilogues; set by fusion, builders leave NONE. RELU6 and GELU (x Phi(x), exact) are known to CONV2D and MATMUL alone. */
typedef enum { AVS_ACT_NONE, AVS_ACT_RELU, AVS_ACT_RELU6, AVS_ACT_GELU } avs_act;

typedef struct {
    char unused;
} avs_no_attr;

/* CONV2D  x[B,H,W,Ci] w[Co,Ci/g,kh,kw] bias[Co]? residual[B,Ho,Wo,Co]? -> act(conv + bias + residual)[B,Ho,Wo,Co]
 *         Ho = floor((H + 2 ph - dh (kh-1) - 1)/sh) + 1
 * CONV2D_BWD_X  gy[B,Ho,Wo,Co] w -> gx[B,in_h,in_w,Ci]      (in_h, in_w of the forward input)
 * CONV2D_BWD_W  x gy -> gw[Co,Ci/g,kh,kw] */
typedef struct {
    int32_t sh, sw, ph, pw, dh, dw, groups;
    int32_t kh, kw;     /* kernel (equal to w's extents)      */
    int32_t in_h, in_w; /* extents of the forward input       */
    int32_t act;        /* avs_act                            */
} avs_conv_attr;

/* MATMUL  a b bias[N]? residual[as out]? -> act(alpha * A B + bias + residual)
 * Linear form (b of rank 2): A = a[...,K] with leading axes flattened to rows (ta only if a has rank 2),
 *   B = b[K,N], or b[N,K] with tb; out [...,N].
 * Batched form, heads = 0: a[B,M,K] (or [B,K,M] with ta), b[B,K,N] (or [B,N,K] with tb), out [B,M,N]; likewise rank 4
 *   with two batch axes.
 * Batched form, heads = h > 0: an operand with its split flag has shape [B,R,h*D] and stands for h matrices R x D
 *   (head-major channels); without the flag it has shape [B,h,R,D]. ta and tb transpose the R x D matrix of a head.
 *   So Q K^T is {tb, a_split, b_split} -> [B,h,Nq,Nk] and P V is {b_split, c_split} -> [B,Nq,h*D]. bias: none. */
typedef struct {
    uint8_t ta, tb, a_split, b_split, c_split;
    int32_t heads;
    int32_t act;
    float alpha;
} avs_matmul_attr;

/* SOFTMAX  x -> y over the last axis.   SOFTMAX_BWD  gy y -> y*(gy - sum(gy*y)).
 * LAYERNORM  x[..,C] gamma[C] beta[C] -> y, mean[rows], rstd[rows]; over the last axis, biased variance.
 *   mean and rstd have the extents of x without the last axis.
 *   LAYERNORM_BWD  gy x gamma mean rstd -> gx dgamma dbeta
 * BATCHNORM (training)  x[..,C] gamma beta running_mean running_var -> y, mean[C], invstd[C], new running_mean,
 *   new running_var (momentum; unbiased variance); over all axes but the last. act: y = act(..).
 *   n = 1 element per channel is AVS_ESHAPE, as in the reference. is_sync: statistics, and the two sums of the backward
 *   that gx goes by, are those of all ranks (avs_runtime.sum); dgamma and dbeta stay the rank's own.
 *   BATCHNORM_BWD  gy x gamma mean invstd beta? -> gx dgamma dbeta; with act RELU beta is given, and gy counts where
 *   (x - mean) invstd gamma + beta > 0, so that y need not be kept
 * GROUPNORM  x[B,..,C] gamma beta -> y, mean[B,G], rstd[B,G]; channel c is in group c/(C/G).  GROUPNORM_BWD alike. */
typedef struct {
    float eps, momentum;
    int32_t groups;
    int32_t act;
    int32_t is_sync;
} avs_norm_attr;

/* POOL_MAX  x[B,H,W,C] -> y, argmax u8[B,Ho,Wo,C] (index ky*k+kx inside the window, first maximum in row-major order;
 *   padding counts as -inf).  POOL_MAX_BWD  gy argmax -> gx[B,in_h,in_w,C] */
typedef struct {
    int32_t k, s, p, in_h, in_w;
} avs_pool_attr;

/* POOL_AVG  x[B,H,W,C] -> [B,out_h,out_w,C], a mean over windows. k > 0: windows of k x k with stride s and padding p,
 *   divided by k*k, padding counts as zeros (torch's default). k == 0: adaptive, window i of n outputs over H rows is
 *   [floor(i H/n), ceil((i+1) H/n)), divided by its own size. One window over the whole map is REDUCE over axes 1 and 2.
 *   POOL_AVG_BWD  gy[B,out_h,out_w,C] -> gx[B,in_h,in_w,C] */
typedef struct {
    int32_t k, s, p, in_h, in_w, out_h, out_w;
} avs_pool_avg_attr;

/* RESIZE  x[B,H,W,C] -> [B,out_h,out_w,C].  Bilinear as torch: align_corners=false: src = (o+0.5)*in/out - 0.5, below 0
 *   clamped to 0, taps clamped to the border; align_corners=true: src = o*(in-1)/(out-1).  Nearest: floor(o*in/out).
 *   RESIZE_BWD  gy[B,out_h,out_w,C] -> gx[B,in_h,in_w,C] */
typedef enum { AVS_RESIZE_BILINEAR, AVS_RESIZE_NEAREST } avs_resize_mode;
typedef struct {
    int32_t in_h, in_w, out_h, out_w, mode, align_corners;
} avs_resize_attr;

/* MSDEFORM  value[B,S,M*D] loc[B,Q,M*L*P*2] weight[B,Q,M*L*P] -> out[B,Q,M*D]
 *   S = sum of h*w over levels, level-major, row-major inside; loc: x then y in units of the level (0..1 are the outer
 *   edges of border pixels); weight is used as given (softmax is the caller's). Samples outside contribute 0.
 *   MSDEFORM_BWD  gy value loc weight -> gvalue gloc gweight.  Source: Deformable DETR, arXiv 2010.04159 eq. 3. */
enum { AVS_MAX_LEVELS = 4 };
typedef struct {
    int32_t heads, levels, points;
    int32_t h[AVS_MAX_LEVELS], w[AVS_MAX_LEVELS];
} avs_msdeform_attr;

/* EW: an accumulator program over one iteration space (the output's extents).
 *   acc is undefined at the start; LOAD sets it. Binary instructions take one operand: stream k (input k of the node,
 *   broadcast), the immediate, or temp t. SAVE t stores acc in temp t. The final acc is the output.
 *   Inputs may be f32 or i32 (converted); the output is f32.
 *   Broadcast: an input equals the output's extents, or has extent 1 (or lacks leading axes) on ONE contiguous run of
 *   axes: seen as [outer][mid][inner] with mid broadcast. Its element for output index i is
 *   (i / (mid*inner)) * inner + i % inner. This covers channel vectors, row scalars, batch constants and [B,1,C].
 *   avs_ew_broadcast (graph/op/ew.c) gives mid and inner for an input. */
typedef enum {
    AVS_EW_LOAD, /* acc = op               */
    AVS_EW_ADD,
    AVS_EW_SUB,  /* acc - op               */
    AVS_EW_RSUB, /* op - acc               */
    AVS_EW_MUL,
    AVS_EW_DIV,  /* acc / op               */
    AVS_EW_RDIV, /* op / acc               */
    AVS_EW_MAX,
    AVS_EW_MIN,
    AVS_EW_GT,   /* acc > op ? 1 : 0       */
    AVS_EW_SAVE, /* temp[arg] = acc        */
    /* unary */
    AVS_EW_NEG,
    AVS_EW_RELU,
    AVS_EW_SIGMOID,
    AVS_EW_TANH,
    AVS_EW_GELU, /* exact: 0.5 x (1 + erf(x/sqrt 2)) */
    AVS_EW_SILU,
    AVS_EW_EXP,
    AVS_EW_LOG,
    AVS_EW_SQRT,
    AVS_EW_RSQRT,
    AVS_EW_SQUARE,
    AVS_EW_RELU6,       /* min(max(x, 0), 6)    */
    AVS_EW_HARDSIGMOID, /* relu6(x + 3) / 6     */
    AVS_EW_HARDSWISH,   /* x * hardsigmoid(x)   */
    AVS_EW_SIN,         /* of radians           */
    AVS_EW_COS,
    AVS_EW_ABS, /* the last unary code  */
    /* derivative forms: acc is the incoming gradient, op the saved value */
    AVS_EW_RELU_GRAD,    /* acc * (op > 0), op = y or x         */
    AVS_EW_SIGMOID_GRAD, /* acc * op (1 - op), op = y           */
    AVS_EW_TANH_GRAD,    /* acc * (1 - op^2), op = y            */
    AVS_EW_GELU_GRAD,    /* acc * gelu'(op), op = x             */
    AVS_EW_SILU_GRAD,    /* acc * silu'(op), op = x             */
    AVS_EW_SIGN_MUL,     /* acc * sign(op): derivative of ABS   */
    /* at a kink the side that is flat counts, as in torch's hardtanh */
    AVS_EW_RELU6_GRAD,       /* acc * (0 < op < 6), op = y or x     */
    AVS_EW_HARDSIGMOID_GRAD, /* acc / 6 * (0 < op < 1), op = y      */
    AVS_EW_HARDSWISH_GRAD,   /* acc * (hardsigmoid(op) + op / 6 * (-3 < op < 3)), op = x */
    AVS_EW_N_CODES
} avs_ew_code;
typedef enum { AVS_EW_STREAM, AVS_EW_IMM, AVS_EW_TEMP } avs_ew_src;
enum { AVS_EW_MAX_INSTR = 16, AVS_EW_TEMPS = 4 };
typedef struct {
    uint8_t code, src, arg; /* arg: stream or temp number */
    float imm;
} avs_ew_instr;
typedef struct {
    int32_t n;
    avs_ew_instr instr[AVS_EW_MAX_INSTR];
    avs_type out; /* extents of the result */
} avs_ew_attr;
/* How input `in` is read against `out`: index = (i / (mid*inner)) * inner + i % inner. false: not broadcastable. */
bool avs_ew_broadcast(const avs_type *in, const avs_type *out, int64_t *mid, int64_t *inner);

/* REDUCE  x -> sum or mean over the axes [from, to), which become extent 1. */
typedef struct {
    int32_t from, to, mean;
} avs_reduce_attr;

/* CONCAT along axis; SLICE start, len along axis (start = before); PAD with zeros, before and after along axis. */
typedef struct {
    int32_t axis, before, after, len;
} avs_axis_attr;

/* PERMUTE  out axis i is input axis perm[i]. */
typedef struct {
    int32_t perm[AVS_MAX_RANK];
} avs_permute_attr;

/* GATHER_ROWS  x[B,R,C] index i32[Q] -> y[B,Q,C], y[b,q] = x[b,index[q]]; index -1 gives a row of zeros.
 * GATHER_ROWS_BWD  gy[B,Q,C] index -> gx[B,R,C], the sum over all q with index[q] = r.
 * Kernels answer an index outside [-1,R) with AVS_ERANGE. */
typedef struct {
    int32_t rows; /* R */
} avs_gather_attr;

/* ROW_MAX  x[B,R,C] -> y[B,C], index i32[B,C]: the largest of the R rows of each column and the first row that holds it.
 *   ROW_MAX_BWD  gy[B,C] index -> gx[B,R,C]. Attributes as GATHER_ROWS: rows is R. */

/* DROPOUT  y = x * keep / (1-p). keep is Philox4x32-10 with key = rt->seed (low word first), counter = (stream, step,
 *   rt->sample0 + row, element/4 inside the row); word (element % 4) < (1-p) * 2^32 keeps, 1-p and the product in
 *   double. per_row: one decision, that of element 0, for a whole row of axis 0 (stochastic depth). Its own backward:
 *   the same op on the gradient. */
typedef struct {
    uint32_t stream;
    float p;
    int32_t per_row;
} avs_dropout_attr;

/* LOSS  pred target -> [B], one value per row of axis 0 (means over rows are built with EW and REDUCE).
 *   BCE   logits f32, target f32 in [0,1], same count: mean over the row of max(x,0) - x t + log(1+exp(-|x|))
 *   CE    logits [B,..,K], target i32 [B,..]: mean over the row of logsumexp - x[t]
 *   DICE  p in [0,1]: 1 - (2 sum(p t) + s_num) / (P + T + s_den), P = sum p^2 and T = sum t^2 if squared, else sums
 *   IOU   p in [0,1]: 1 - (I + s_num) / (sum p + sum t - I + s_den), I = sum p t
 * LOSS_BWD  g[B] pred target -> gpred */
typedef enum { AVS_LOSS_BCE, AVS_LOSS_CE, AVS_LOSS_DICE, AVS_LOSS_IOU } avs_loss_kind;
typedef struct {
    int32_t kind, squared;
    float s_num, s_den;
} avs_loss_attr;

/* SET_LOSS  classes[B,Q,K+1] masks[B,Q,h,w] target i32[B,H,W] weight[B] points? candidates? random?
 *   -> terms[4], gclasses, gmasks, match i32[B,Q], cost[B,Q,K]
 *   Loss of a set of masks against the classes of a map (Mask2Former, arXiv 2112.01527). Targets of a row with weight > 0:
 *   one mask per distinct class of its map, ascending, background 0 included, value 255 left out.
 *   Matching, per row: at `points` uniform points (x, y) in [0,1)^2 masks and targets are sampled bilinearly (pixel
 *   x*width - 0.5, zero outside); cost = 5 bce - softmax(classes)[target's class] + 5 dice; an assignment of least cost.
 *   Loss: term 1, cross entropy over the queries of these rows, unmatched ones against class K with weight no_object;
 *   terms 2 and 3, per pair BCE and dice (1 - (2 sum s t + 1)/(sum s + sum t + 1)) at points of its own, over the number of
 *   targets of all rows: the `uncertain` ones of `candidates` points where |mask| is smallest, the others uniform.
 *   Term 0 = w_class * term 1 + w_mask * term 2 + w_dice * term 3; it alone has a gradient, which outputs 1 and 2 hold.
 *   match: target (its place in the row) or -1. cost: by class, 0 where it is absent.
 *   clip_rows > 0: rows of a clip of that many rows whose maps hold background alone do not count.
 *   Points are drawn by Philox4x32-10 as in DROPOUT, counter (stream + 0, 1 or 2, step, sample0 + row, number of two
 *   points); the number goes on from pair to pair of a row. Or they are given: points[B,points,2], candidates[pairs,..],
 *   random[pairs,..], pairs by row and query. Kernels answer a class outside 0..K-1, or more pairs than points, with
 *   AVS_ERANGE. */
enum { AVS_SET_LOSS_CLASSES = 1024, AVS_SET_LOSS_IGNORE = 255 };
typedef struct {
    int32_t points, candidates, uncertain, clip_rows;
    float no_object, w_class, w_mask, w_dice;
    uint32_t stream;
} avs_set_loss_attr;

/* ------------------------------------------------------------------ rules */
typedef struct {
    /* Extents of the outputs from those of the inputs (absent: rank 255). */
    int (*infer)(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e);
    /* gin[i] = gradient of input i built into g; 0 = not needed. need[i] says which are wanted. gout[k] may be 0.
     * NULL for ops that only appear in a backward: differentiating one is the graph's error. */
    void (*vjp)(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin);
    const char *name;
    size_t attr_size;
    int in_min, in_max, n_out;
} avs_op_rule;
extern const avs_op_rule avs_op_rules[AVS_OP_COUNT];

/* ------------------------------------------------------------------ kernels */
typedef struct {
    uint64_t seed;   /* of the stream "dropout" of the trial */
    int64_t step;    /* optimiser step                       */
    int64_t sample0; /* global number of row 0 of this rank  */
    /* x [n], where the step's operands lie, becomes its sum over the ranks of a trial, with the same bits on all; every
     * rank calls it in the same steps. Returns an avs_code. NULL: one rank. */
    int (*sum)(void *ctx, double *x, int64_t n);
    void *sum_ctx;
} avs_runtime;
typedef struct {
    avs_tensor in[AVS_MAX_IN], out[AVS_MAX_OUT]; /* all outputs are always present */
    int n_in, n_out;
    const void *attr;
    const avs_runtime *rt;
} avs_kernel_args;
/* AVS_OK; kernels cannot fail on shapes that infer accepted, but AVS_ERANGE is returned for a class out of range. */
typedef int (*avs_kernel_fn)(const avs_kernel_args *a);

/* ------------------------------------------------------------------ builders */
avs_val avs_conv2d(avs_graph *g, avs_val x, avs_val w, avs_val bias, int stride, int pad, int dilation,
                   int groups);
avs_val avs_matmul(avs_graph *g, avs_val a, avs_val b, avs_matmul_attr attr); /* alpha 0 means 1 */
/* x[B,h,w,Ci] w[Ci,Co,kh,kw] bias[Co]? -> [B,(h-1) stride + kh - 2 pad,..,Co]: CONV2D_BWD_X in a forward. */
avs_val avs_conv_transpose2d(avs_graph *g, avs_val x, avs_val w, avs_val bias, int stride, int pad);
/* x[..,K] w[N,K] bias[N]? -> [..,N] */
avs_val avs_linear(avs_graph *g, avs_val x, avs_val w, avs_val bias);
avs_val avs_softmax(avs_graph *g, avs_val x);
avs_val avs_layernorm(avs_graph *g, avs_val x, avs_val gamma, avs_val beta, float eps);
avs_val avs_groupnorm(avs_graph *g, avs_val x, avs_val gamma, avs_val beta, int groups, float eps);
/* Batch statistics if train (registers the running-statistics updates), else the affine map of running statistics,
 * composed of EW so that it folds into a convolution. */
avs_val avs_batchnorm(avs_graph *g, avs_val x, avs_val gamma, avs_val beta, avs_val running_mean,
                      avs_val running_var, float eps, float momentum, bool train);
avs_val avs_pool_max(avs_graph *g, avs_val x, int k, int s, int p);
avs_val avs_pool_avg(avs_graph *g, avs_val x, int k, int s, int p); /* padding counts as zeros */
avs_val avs_pool_adaptive(avs_graph *g, avs_val x, int out_h, int out_w);
avs_val avs_resize(avs_graph *g, avs_val x, int out_h, int out_w, avs_resize_mode mode, bool align_corners);
avs_val avs_msdeform(avs_graph *g, avs_val value, avs_val loc, avs_val weight, const avs_msdeform_attr *attr);

avs_val avs_ew_unary(avs_graph *g, avs_ew_code code, avs_val x);
avs_val avs_ew_binary(avs_graph *g, avs_ew_code code, avs_val a, avs_val b); /* broadcasts either side */
avs_val avs_ew_imm(avs_graph *g, avs_ew_code code, avs_val x, float imm);
#define avs_add(g, a, b)      avs_ew_binary((g), AVS_EW_ADD, (a), (b))
#define avs_sub(g, a, b)      avs_ew_binary((g), AVS_EW_SUB, (a), (b))
#define avs_mul(g, a, b)      avs_ew_binary((g), AVS_EW_MUL, (a), (b))
#define avs_div(g, a, b)      avs_ew_binary((g), AVS_EW_DIV, (a), (b))
#define avs_scale(g, x, s)    avs_ew_imm((g), AVS_EW_MUL, (x), (s))
#define avs_offset(g, x, s)   avs_ew_imm((g), AVS_EW_ADD, (x), (s))
#define avs_relu(g, x)        avs_ew_unary((g), AVS_EW_RELU, (x))
#define avs_gelu(g, x)        avs_ew_unary((g), AVS_EW_GELU, (x))
#define avs_sigmoid(g, x)     avs_ew_unary((g), AVS_EW_SIGMOID, (x))
#define avs_relu6(g, x)       avs_ew_unary((g), AVS_EW_RELU6, (x))
#define avs_hardsigmoid(g, x) avs_ew_unary((g), AVS_EW_HARDSIGMOID, (x))
avs_val avs_expand(avs_graph *g, avs_val x, avs_type t); /* broadcast to t */

avs_val avs_reduce(avs_graph *g, avs_val x, int from, int to, bool mean);
avs_val avs_concat(avs_graph *g, const avs_val *x, int n, int axis);
avs_val avs_slice(avs_graph *g, avs_val x, int axis, int start,
                  int len); /* a free view where axes before are 1 */
avs_val avs_pad(avs_graph *g, avs_val x, int axis, int before, int after);
avs_val avs_permute(avs_graph *g, avs_val x, const int *perm);
avs_val avs_reshape(avs_graph *g, avs_val x, avs_type t); /* free view; keeps the dtype of x */
avs_val avs_gather_rows(avs_graph *g, avs_val x, avs_val index);
/* x[B,R,C] -> [B,C]; index (may be NULL) gets the i32 rows, which have no gradient. */
avs_val avs_row_max(avs_graph *g, avs_val x, avs_val *index);
avs_val avs_dropout(avs_graph *g, avs_val x, float p,
                    bool per_row); /* x itself unless g->training and p > 0 */
/* -> [B] */
avs_val avs_loss(avs_graph *g, avs_val pred, avs_val target, avs_loss_attr attr);
typedef struct {
    avs_val terms, match, cost;
} avs_set_losses;
/* in: the operands of SET_LOSS, the last three may be 0. The stream is the builder's. */
avs_set_losses avs_set_loss(avs_graph *g, const avs_val in[7], avs_set_loss_attr attr);
/* sum_b w_b x_b / max(sum_b w_b, 1): scalar [1] mean over the rows with weight; w 0: all ones */
avs_val avs_row_mean(avs_graph *g, avs_val rows, avs_val w);

/* Type of a value; for 0 rank 0 with every extent 1, so that arithmetic with extents is safe after an error. Pointers
 * stay readable while the graph grows. */
const avs_type *avs_t(const avs_graph *g, avs_val v);
static inline int avs_dim(const avs_graph *g, avs_val v, int axis)
{
    return avs_t(g, v)->d[axis];
}

#endif
