/* Swin Transformer (arXiv 2103.14030) with the keys of its Hugging Face implementation, and optionally two bottleneck
 * adapters per block as in Stepping Stones (swin_adapt_1 behind the attention's projection, swin_adapt_3 behind the
 * MLP). Window and shift are the same at every size of the map, also where the map is smaller than a window.
 *
 * Taps: embeddings, stageI.blockJ.{layernorm_before,attention.self,intermediate,output}, stageI.blockJ,
 * stageI.downsample, featureI; stageI.blockJ.attention with tap_windows alone. */
#ifndef AVS_MODELS_BACKBONES_SWIN_H
#define AVS_MODELS_BACKBONES_SWIN_H

#include "engine/graph/ops.h"

typedef struct {
    int patch, dim; /* side of a patch; channels of stage 1, doubled from stage to stage */
    int depth[4], heads[4];
    int window;
    float mlp_ratio, drop_path; /* drop_path: the same rate in every block, on the attention branch alone */
    bool adapter;
    /* Makes the projection behind the attention in the windows too, padding included, as the reference does, only
     * to tap it. The forward itself projects the tokens alone. */
    bool tap_windows;
} avs_swin_cfg;

bool avs_swin_named(const char *name, avs_swin_cfg *cfg); /* swin_b, without adapters; false: no such name */
/* x[B,H,W,3], any H and W -> maps at strides patch * {1,2,4,8}, sizes rounded up, each behind its own LayerNorm. */
void avs_swin(avs_graph *g, const avs_swin_cfg *cfg, avs_val x, avs_val out[4]);

/* index[side^2 * side^2]: row of the bias table for a pair of tokens of a window. */
void avs_swin_relative_index(int side, int32_t *index);
/* mask[windows][side^2 * side^2]: 0, or -100 where two tokens of a shifted window come from different sides of the
 * map's seam. Windows over h x w tokens after padding. */
void avs_swin_shift_mask(int h, int w, int side, int shift, float *mask);

#endif
