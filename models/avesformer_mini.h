/* avesformer_mini: AVESFormer reduced for training from scratch on a few CPU cores (the demo). Same parts in
 * small: a residual backbone at strides 2..16, a prompt query generator, two blocks of cross-attention to the
 * generated queries, a mask head with query maps. No deformable attention, no pretrained weights. Not a
 * published model. */
#ifndef AVS_MODELS_AVESFORMER_MINI_H
#define AVS_MODELS_AVESFORMER_MINI_H

#include "models/model.h"

extern const avs_model_rule avs_avesformer_mini_rule;

#endif
