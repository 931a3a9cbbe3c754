/* Matching losses between what is seen under the predicted mask and what is heard: AVSBench's audio-visual matching
 * (arXiv 2207.05042, its loss code) in all variants, and the cosine matching of its single-source setting.
 *
 * Each stage has a visual map v_map[i] [N,h,w,C] and an audio vector a_fea[i] with N*C values, frame-major; a stage without
 * them holds 0. N rows are clips times frames. */
#ifndef AVS_MODELS_AVM_H
#define AVS_MODELS_AVM_H

#include "engine/graph/ops.h"
#include "models/schema.h"

typedef struct {
    avs_val v_map[4], a_fea[4];
    avs_val logits;     /* [N,H,W,K]; H and W are h and w times 4, 8, 16, 32 */
    avs_val row_weight; /* [N] 1 where the row counts; 0 (absent): all       */
} avs_avm_input;

typedef struct {
    bool is_euclidean; /* else KL of softmax over channels                                           */
    bool to_nearest;   /* partner: visual vector of the frame whose sound is nearest; else the sound */
    bool max_pooling, normalize, threshold;
    int n_stages, stage[4];
} avs_avm_cfg;

avs_avm_cfg avs_avm_cfg_of(const avs_cfg *cfg); /* from the parameters avm_* of tpavi */

/* Mean over the stages (those that hold a map and a sound) of the distance of each frame's pair, scalar [1]. K = 1: the mask is the sigmoid of pooled logits
 * and KL is summed over frames; K > 1: the mask is [argmax != 0] pooled, and KL is a mean over the rows that count. */
avs_val avs_loss_avm(avs_graph *g, const avs_avm_input *in, const avs_avm_cfg *cfg);

/* Mean over stages and all rows of -ln(relu(cos(v, a)) + 1e-6), v the mean of v_map where the pooled mask is above 0.5.
 * Only v_map and a_fea get a gradient. Stages that hold none are left out. */
avs_val avs_loss_cosine(avs_graph *g, const avs_avm_input *in);

#endif
