/* Layers with named parameters: each function declares its parameters under `name` (state_dict keys
 * "NAME.weight", "NAME.bias", ..) behind the graph's scope and applies the op. An empty name declares them in
 * the scope itself.
 *
 * Shapes: maps B,H,W,C; tokens B,N,C; weights as in the reference (O,I,kh,kw; out,in). Errors stay in the
 * graph. */
#ifndef AVS_MODELS_LAYERS_H
#define AVS_MODELS_LAYERS_H

#include "engine/graph/ops.h"

/* How weights and biases start from scratch. */
typedef enum {
    AVS_NN_XAVIER,  /* weight Xavier-uniform, bias +-1/sqrt(fan_in) (docs/models.md)           */
    AVS_NN_XAVIER0, /* weight Xavier-uniform, bias 0                                           */
    AVS_NN_TORCH,   /* both +-1/sqrt(fan_in): the default of torch's Linear and Conv2d         */
    AVS_NN_HE_OUT,  /* weight N(0, 2/fan_out), bias 0                                          */
    AVS_NN_HE_IN,   /* weight N(0, 2/fan_in), bias 0                                           */
    AVS_NN_CENTRED, /* the same, centred (AVS_INIT_HE_CENTRED), bias 0                         */
    AVS_NN_TRUNC02, /* weight truncated N(0, 0.02^2), bias 0                                   */
    AVS_NN_ZERO     /* both 0                                                                  */
} avs_nn_init;

avs_val avs_nn_conv(avs_graph *g, avs_val x, const char *name, int out, int kernel, int stride, int pad,
                    bool bias, avs_nn_init init);
avs_val avs_nn_depthwise(avs_graph *g, avs_val x, const char *name, int kernel, int pad, bool bias,
                         avs_nn_init init);
avs_val avs_nn_linear(avs_graph *g, avs_val x, const char *name, int out, bool bias, avs_nn_init init);
avs_val avs_nn_layernorm(avs_graph *g, avs_val x, const char *name, float eps);
avs_val avs_nn_groupnorm(avs_graph *g, avs_val x, const char *name, int groups);
/* eps 1e-5, momentum 0.1; batch statistics when g->training. _zero: the gain starts at 0, so that what is normalised
 * starts by adding nothing. */
avs_val avs_nn_batchnorm(avs_graph *g, avs_val x, const char *name);
avs_val avs_nn_batchnorm_zero(avs_graph *g, avs_val x, const char *name);

/* Post-norm FFN: NORM(x + drop(linear2(drop(gelu(linear1(x)))))), linear1 to `hidden`. norm: name of the LayerNorm. */
avs_val avs_nn_ffn(avs_graph *g, avs_val x, const char *norm, int hidden, float dropout, avs_nn_init init);

/* avs_tap with a formatted name; returns v. */
avs_val avs_nn_tap(avs_graph *g, avs_val v, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Map -> tokens and back (free views). */
avs_val avs_nn_tokens(avs_graph *g, avs_val map);
avs_val avs_nn_map(avs_graph *g, avs_val tokens, int h, int w);

#endif
