/* Attention blocks shared by the systems, with torch's packed key names.
 *
 * C channels, h heads, scale 1/sqrt(C/h). Attention weights are tapped as "PATH:attn" [B,h,N,K] and outputs
 * before the residual as "PATH:out", for the dissipation statistics. */
#ifndef AVS_MODELS_ATTENTION_H
#define AVS_MODELS_ATTENTION_H

#include "models/layers.h"

typedef struct {
    int heads;
    bool bias;
    bool sigmoid;         /* sigmoid(q.k/sqrt(d)) in place of softmax, not normalised by K */
    float dropout;        /* on the attention weights, training only                       */
    avs_nn_init out_init; /* of out_proj                                                   */
    avs_val *weights;     /* takes the weights after dropout [B,h,N,K]; NULL: not wanted   */
} avs_attention_cfg;

/* q [B,N,C], kv [B,K,C] -> [B,N,C]. Parameters under name: in_proj_weight (3C,C) rows q then k then v,
 * in_proj_bias, out_proj.weight, out_proj.bias. */
avs_val avs_attention(avs_graph *g, const char *name, avs_val q, avs_val kv, const avs_attention_cfg *cfg);

/* Scaled dot products of given q, k, v [B,*,C] (no parameters) -> [B,N,C]. tap may be NULL. */
avs_val avs_attention_core(avs_graph *g, avs_val q, avs_val k, avs_val v, const avs_attention_cfg *cfg,
                           const char *tap);

/* The attention of AVSegFormer's mixers, also AVESFormer's fusion `cha`: q [B,N,C], kv [B,K,C] -> [B,N,C]. Parameters under
 * name: q_proj.weight (C,C), kv_proj.weight (2C,C) rows k then v, proj.weight, proj.bias. */
avs_val avs_mixer_attention(avs_graph *g, const char *name, avs_val q, avs_val kv, int heads);

/* Multi-scale deformable self-attention over tokens whose levels are (h[l], w[l]) in order.
 * query, x [B,N,C], N = sum h*w; the reference point of a token is its own pixel centre, the same for all
 * levels. Parameters under name: sampling_offsets, attention_weights, value_proj, output_proj. Source:
 * Deformable DETR, arXiv 2010.04159; ms-deform-attn. */
avs_val avs_deformable(avs_graph *g, const char *name, avs_val query, avs_val x, int heads, int points,
                       const avs_msdeform_attr *levels);
/* The same with given reference points ref [B,Q,L*2] (x, y in [0,1]); query [B,Q,C]. */
avs_val avs_deformable_at(avs_graph *g, const char *name, avs_val query, avs_val ref, avs_val x, int heads,
                          int points, const avs_msdeform_attr *levels);

typedef struct {
    int heads, points;
    const avs_msdeform_attr *levels;
    bool is_plain; /* starts as Mask2Former does: offsets and weights N(0, 0.02^2), no directions */
} avs_deformable_cfg;
/* The samples of all heads side by side [B,Q,C], before an output projection; ref 0: the tokens' own. */
avs_val avs_deformable_samples(avs_graph *g, const char *name, avs_val query, avs_val ref, avs_val x,
                               const avs_deformable_cfg *cfg);

/* Unnormalised sine position of the pixels of the levels lv [1,N,C]. */
avs_val avs_sine_position(avs_graph *g, const avs_msdeform_attr *lv, int C);
/* The same plus the parameter level_embed (levels,C), N(0,1), each row on the tokens of its level. */
avs_val avs_level_position(avs_graph *g, const avs_msdeform_attr *lv, int C);
/* Maps [B,h,w,C] of ascending stride as tokens [B,N,C] in one row, and their sizes into lv. */
avs_val avs_level_tokens(avs_graph *g, const avs_val *map, int n, avs_msdeform_attr *lv);
/* The way back: the tokens of each level as a map. */
void avs_level_maps(avs_graph *g, avs_val tokens, const avs_msdeform_attr *lv, avs_val *map);

#endif
