/* The image encoder of SAM (Segment Anything, arXiv 2304.02643): a plain ViT with attention in windows, global in a few
 * blocks, decomposed relative positions, and a neck. Keys are those of the public checkpoints behind "image_encoder.".
 *
 * With adapter_ratio an adapter stands beside every MLP: a channel gate and a convolution pair over half the resolution, as
 * in SAM-Med2D (arXiv 2308.16184) and SAVE (arXiv 2407.02004). Its keys are blocks.I.Adapter.*.
 *
 * Taps (from the top): patch_embed, blockI.norm1, blockI.attn, blockI.mlp, blockI.adapter, blockI, neck0..neck3. */
#ifndef AVS_MODELS_BACKBONES_SAM_VIT_H
#define AVS_MODELS_BACKBONES_SAM_VIT_H

#include "engine/graph/ops.h"

enum { AVS_SAM_GLOBALS = 8 };
typedef struct {
    int patch, dim, depth, heads;
    int window; /* side of the windows of all blocks that are not global */
    int n_global, global_block[AVS_SAM_GLOBALS];
    int out;        /* channels of the neck */
    int table_grid; /* side of the grid for which position parameters are stored; 0: that of the input.
                     * 64 is that of the public checkpoints: tables are interpolated in the graph     */
    /* Taps blockI.attn as windows with their padding, as the reference has it; else as tokens. */
    bool tap_windows;
    float mlp_ratio;      /* MLP width over width                                               */
    double adapter_ratio; /* hidden width of an adapter's channel part = floor(dim * ratio); 0: no adapters */
    bool adapter_zero;    /* start the adapters' norm gain at 0                                 */
    const avs_val *inject; /* per block: [B,1,dim], added to all tokens before it; NULL, 0: nothing */
} avs_sam_vit_cfg;

bool avs_sam_vit_named(const char *name, avs_sam_vit_cfg *cfg); /* sam_vit_b, sam_vit_l, sam_vit_h */
/* x[B,S,S,3], S a multiple of the patch -> [B,G,G,out], G = S / patch. Parameters stand in the current scope. */
avs_val avs_sam_vit(avs_graph *g, const avs_sam_vit_cfg *cfg, avs_val x);

/* The parts that interpolate, for checkpoints of another size.
 * position[1,P,P,D] -> [1,grid,grid,D], bilinear. */
avs_val avs_sam_position(avs_graph *g, avs_val position, int grid);
/* table[R,d] -> [2 max(nq,nk) - 1, d], linear along the rows, ends clamped. */
avs_val avs_sam_relative_table(avs_graph *g, avs_val table, int nq, int nk);
/* table[R,d] -> [nq,nk,d]: the row that belongs to a query and a key along one axis. */
avs_val avs_sam_relative_rows(avs_graph *g, avs_val table, int nq, int nk);
/* score[B,heads,h*w,h*w] + q . rel_h + q . rel_w, where q[B,h*w,heads*d] is not scaled; tables [R,d] of any size. */
avs_val avs_sam_add_relative(avs_graph *g, avs_val score, avs_val q, avs_val table_h, avs_val table_w, int h,
                             int w);

#endif
