/* The rest of SAM (Segment Anything, arXiv 2304.02643): prompt encoder and mask decoder; the image encoder is in
 * backbones/sam_vit.h. Keys are those of the public checkpoints: the caller pushes the scope ("prompt_encoder",
 * "mask_decoder") around a call, or none.
 *
 * T prompt sets, E prompt width, G side of the image embedding, S side of the image. Maps are [T,G,G,E]. */
#ifndef AVS_MODELS_SAM_H
#define AVS_MODELS_SAM_H

#include "engine/graph/ops.h"

typedef struct {
    int dim;           /* E */
    int heads, layers; /* of the two-way transformer */
    int mlp_dim, iou_hidden;
    int mask_channels; /* of the branch for mask prompts, a multiple of 4 */
} avs_sam_cfg;
avs_sam_cfg avs_sam_default(void); /* that of the public checkpoints */

/* The buffer pe_layer.positional_encoding_gaussian_matrix [2,E/2] in the current scope. */
avs_val avs_sam_gaussian(avs_graph *g, int dim);
/* Encoding of the centres of a grid's cells -> [1,G*G,E]. */
avs_val avs_sam_dense_position(avs_graph *g, avs_val gaussian, int grid);

/* What a user may point at; 0: absent. Positions are pixels (x, y) of the S x S image. */
typedef struct {
    avs_val points, labels; /* [T,K,2]; [T,K]: 1 positive, 0 negative, -1 padding */
    avs_val boxes;          /* [T,4] x0, y0, x1, y1                              */
    avs_val mask;           /* [T,4G,4G,1] logits                                */
} avs_sam_prompts;
typedef struct {
    avs_val sparse; /* [T,n,E]; 0: no tokens                                        */
    avs_val dense;  /* [T,G,G,E]; [1,1,1,E] where no mask is given: for every place */
} avs_sam_prompted;
/* Declares all parameters of the prompt encoder, those that the prompts at hand leave unused too. */
avs_sam_prompted avs_sam_prompt_encoder(avs_graph *g, const avs_sam_cfg *cfg, const avs_sam_prompts *prompts,
                                        avs_val gaussian, int side);

typedef struct {
    avs_val masks; /* [T,4G,4G,n] logits */
    avs_val iou;   /* [T,n]              */
} avs_sam_masks;
/* image [T,G,G,E] (image t belongs to prompt set t), position [1,G*G,E], prompts as above. Masks first .. first + n - 1
 * of the four are kept: 0, 1 is the reference's multimask_output=False, 1, 3 its True. In a graph for training the
 * others are computed too, because the reference gives them gradients of zero.
 *
 * Taps (tap in front, from the top): decoder.layerL.{self_attn,token_to_image,mlp,image_to_token,queries,keys},
 * decoder.{final_attn,queries,keys}, decoder.upscaleI, decoder.hyperM, decoder.iou_head. */
avs_sam_masks avs_sam_mask_decoder(avs_graph *g, const avs_sam_cfg *cfg, avs_val image, avs_val position,
                                   const avs_sam_prompted *prompts, const int first_n[2], const char *tap);

#endif
