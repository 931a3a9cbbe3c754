/* The end of the mask heads of AVSegFormer and AVESFormer, parameters in the current scope under the keys given: maps of the
 * queries, the MLP that mixes them back into the mask feature, the convolutions that classify at full size. */
#ifndef AVS_MODELS_MASK_HEAD_H
#define AVS_MODELS_MASK_HEAD_H

#include "models/layers.h"

/* feature [B,h,w,C], queries [B,Q,C] -> [B,h,w,Q]: the inner product of each pixel with each query. */
avs_val avs_query_maps(avs_graph *g, avs_val feature, avs_val queries);
/* Three 1x1 convolutions, hidden, hidden, out channels, ReLU between. */
avs_val avs_query_mlp(avs_graph *g, avs_val maps, const char *const key[3], int hidden, int out);
/* [B,h,w,C] -> logits [B,4h,4w,classes]: 3x3 convolution to 128, bilinear x4, 3x3 to 32, ReLU, 1x1 without bias. */
avs_val avs_mask_classifier(avs_graph *g, avs_val x, const char *const key[3], int classes);

#endif
