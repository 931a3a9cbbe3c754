/* The optimiser step over the parameter slab.
 *
 * AdamW (Loshchilov and Hutter, arXiv 1711.05101), bias-corrected, decoupled decay; or Adam (decay added to the
 * gradient). One pass; deterministic (the norm is a fixed tree over chunks of 4096 elements, whatever the thread
 * count). All arrays have the slab's layout, 64-byte aligned, n elements. */
#ifndef AVS_ENGINE_OPTIM_ADAMW_H
#define AVS_ENGINE_OPTIM_ADAMW_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t off, len; /* elements of the slab                       */
    float lr_mult;    /* times cfg.lr; 0: untouched, decay included */
    float weight_decay;
    int64_t idle; /* steps of the run that left it untouched so far: it counts its own, t - idle */
} avs_opt_segment;

typedef struct {
    float lr, beta1, beta2, eps;
    bool decoupled; /* AdamW; false: Adam with L2 */
} avs_adamw_cfg;

/* Weights, gradients and moments: arrays of the slab's layout. */
typedef struct {
    float *w;
    const float *g;
    float *m, *v;
} avs_adamw_arrays;

/* What a step needs to know about a segment; t and grad_scale as below. */
struct avs_adamw_factors;
void avs_adamw_factors_of(struct avs_adamw_factors *f, const avs_opt_segment *seg, const avs_adamw_cfg *cfg,
                          int64_t t, float grad_scale);

/* t = 1 for the first step. grad_scale multiplies every gradient first (clipping, averaging over micro-batches). */
void avs_adamw_step(const avs_adamw_arrays *x, const avs_opt_segment *seg, int n_seg,
                    const avs_adamw_cfg *cfg, int64_t t, float grad_scale);
/* Global L2 norm of g, in float64, fixed order. */
double avs_grad_norm(const float *g, int64_t n);

#endif
