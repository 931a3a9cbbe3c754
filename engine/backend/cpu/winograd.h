/* Winograd convolutions F(4x4,3x3) and F(2x2,3x3): 3x3 kernels, stride 1, no dilation, no groups; and their gradients:
 * that of the input is a convolution too (weights turned round, padding 2 - p), that of the weights is the adjoint.
 *
 * A tile of m x m outputs reads n x n inputs, n = m + 2, and costs n*n multiplications per pair of channels instead of
 * 9*m*m: 36 for 144, or 16 for 36. Y = A^T [ (G g G^T) * (B^T d B) ] A, where the products over channels are n*n
 * matrix products of [tiles x Ci] by [Ci x Co]. Tiles are worked on in blocks: transform the block's inputs, multiply,
 * transform back with bias, residual and activation. Everything lies in the workspace; no result depends on the number
 * of threads or on how tiles are grouped.
 *
 * The points are 0, +-p, +-1/p and infinity (F4; p = AVS_WINOGRAD_P), 0, +-1 and infinity (F2). */
#ifndef AVS_ENGINE_BACKEND_CPU_WINOGRAD_H
#define AVS_ENGINE_BACKEND_CPU_WINOGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "engine/graph/ops.h"

/* Relative L2 error of F4 on N(0,1) operands, 512 channels, against a direct convolution: p = 0.5 2.8e-6, 0.6 2.2e-6,
 * 0.707 2.2e-6, 0.8 3.2e-6; of F2 1.2e-6. */
#define AVS_WINOGRAD_P 0.70710678118654752440

enum { AVS_WINOGRAD_LANES = 16 }; /* channels of one group of the transformed input */

/* What one convolution needs to know. Filled by avs_winograd_plan. */
typedef struct {
    int32_t m;                                  /* outputs of a tile along an axis: 4 or 2  */
    int32_t B, H, W, Ci, Ho, Wo, Co, ph, pw;    /* as in CONV2D                             */
    int32_t act;                                /* avs_act                                  */
    int32_t th, tw;                             /* tiles of one map                         */
    int32_t groups, panels;                     /* of LANES input channels, of `panel` output channels */
    int32_t panel;                              /* the kernel's                             */
    int32_t block, slots;                       /* tiles of a block, blocks in the workspace */
    bool is_shared;                             /* all threads work on one block, else each on its own */
    int64_t v_group, v_point, m_panel, m_point; /* strides in floats: transformed inputs and products */
} avs_winograd;

typedef struct {
    avs_winograd s;
    const float *x, *u, *bias, *residual; /* u: packed weights; bias and residual may be NULL */
    float *y;                             /* may be the residual */
    void *work;                           /* avs_winograd_work bytes, 64-byte aligned */
} avs_winograd_call;

/* One instruction set's kernel. */
typedef struct {
    const char *impl4, *impl2; /* names for reports, by m */
    int32_t panel, rows;       /* output channels and tiles (at most) that one matrix kernel makes */
    bool is_fast;              /* worth choosing at all: at least 8 lanes */
    void (*run)(const avs_winograd_call *c);
} avs_winograd_kernel;

typedef struct {
    avs_winograd s; /* from avs_winograd_plan_grad; the convolution's own x and y */
    const float *x, *gy;
    float *gw;  /* [Co,Ci,3,3] */
    void *work; /* avs_winograd_grad_work bytes, 64-byte aligned */
} avs_winograd_grad_call;

typedef struct {
    const char *grad4, *grad2;
    /* Transforms w[Co,Ci,3,3] into [n*n][panels][groups*LANES][panel]; padding becomes 0. is_turned: w[Ci,Co,3,3] with
     * its taps in reverse, as the gradient of the input wants it. */
    void (*pack)(const avs_winograd *s, const float *w, bool is_turned, float *u);
    void (*grad)(const avs_winograd_grad_call *c);
} avs_winograd_weight_kernel;

/* The best for this processor; all that it can run, i = 0 the baseline, NULL after the last. */
const avs_winograd_kernel *avs_winograd_best(void);
const avs_winograd_kernel *avs_winograd_variant(int i);
const avs_winograd_weight_kernel *avs_winograd_weight_best(void);
const avs_winograd_weight_kernel *avs_winograd_weight_variant(int i);

/* Can a convolution with these attributes and operands be done this way at all? */
bool avs_winograd_can(const avs_conv_attr *a);
/* Is it expected to be faster than a direct convolution, where that is `speed` times as fast as in f32? m, or 0 for no.
 * The rule and its measurements stand above the definition. */
int avs_winograd_choose(const avs_conv_attr *a, const avs_type *x, const avs_type *w, double speed);
/* The same where the weight changes before every run, so that its transform counts, for one of the three ops of a
 * convolution with input x and weight w: AVS_OP_CONV2D, _BWD_X or _BWD_W. */
int avs_winograd_choose_training(int op, const avs_conv_attr *a, const avs_type *x, const avs_type *w,
                                 double speed);
/* threads: how many will run it at most; decides the workspace, not the result. */
avs_winograd avs_winograd_plan(const avs_winograd_kernel *k, int m, const avs_conv_attr *a, const avs_type *x,
                               const avs_type *y, int threads);
size_t avs_winograd_work(const avs_winograd *s);    /* bytes of workspace      */
size_t avs_winograd_weights(const avs_winograd *s); /* bytes of packed weights */
/* The gradient of weights: geometry with blocks of its own, whatever the number of threads, and its workspace. */
avs_winograd avs_winograd_plan_grad(const avs_winograd_kernel *k, int m, const avs_conv_attr *a,
                                    const avs_type *x, const avs_type *y);
size_t avs_winograd_grad_work(const avs_winograd *s);

#endif
