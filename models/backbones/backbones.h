/* Backbones as graph builders. Parameters are declared in the current scope with the reference's state_dict
 * keys; taps carry the module paths of the golden files.
 *
 * Inputs are normalised images [B,H,W,3] (visual) or log-mel patches [B,96,64,1] (audio). */
#ifndef AVS_MODELS_BACKBONES_BACKBONES_H
#define AVS_MODELS_BACKBONES_BACKBONES_H

#include "engine/graph/ops.h"

/* Four maps at strides 4, 8, 16, 32; channels by name (docs/models.md). A name that is not built in
 * is the graph's error. drop_path: highest rate of stochastic depth (pvt_v2; the rate of all blocks of swin_b; 0 outside
 * training). resnet18/34/50: torchvision's v1.5 (arXiv 1512.03385). pvt_v2_b0..b5: arXiv 2106.13797. swin_b: window 12,
 * without adapters; other sizes and adapters in swin.h. SAM's encoder, one map, is in sam_vit.h. */
void avs_backbone(avs_graph *g, const char *name, avs_val x, float drop_path, avs_val out[4]);
bool avs_backbone_known(const char *name);

/* VGGish (arXiv 1609.09430, torchvggish keys), log-mel [B,96,64,1] -> [B,128], ReLU last, no post-processing. */
avs_val avs_vggish(avs_graph *g, avs_val x);

/* MobileNetV2, width 1.0, as audio encoder (torchvision keys and `embed`): [B,96,64,1] -> [B,1024], ReLU last. Running
 * statistics also in training graphs; freeze its parameters with avs_graph_freeze. A patch of 3 equal channels is taken
 * as well. */
avs_val avs_mobilenet_v2(avs_graph *g, avs_val logmel);

/* SeaFormer (arXiv 2301.13156; fudan-zvg keys); name: t, s, b or l. Stages 1 to 5 end at strides 4, 8, 16, 32 and 64;
 * the transformer stack behind a stage is part of it. drop_path: highest rate within each stack; 0 outside training. */
avs_val avs_seaformer_stage(avs_graph *g, char name, int stage, avs_val x, float drop_path);
/* All five stages. out: what the reference returns, the map of stage 2 and that of each stage with a transformer (t, s, b:
 * strides 8, 32, 64; l: 8, 16, 32, 64); the rest 0. Returns how many. */
int avs_seaformer(avs_graph *g, char name, avs_val x, float drop_path, avs_val out[4]);
/* Squeeze-enhanced axial attention in the current scope: [B,H,W,C] -> [B,H,W,C]. */
avs_val avs_sea_attention(avs_graph *g, avs_val x, int key_dim, int heads);

void avs_resnet(avs_graph *g, int depth, avs_val x, avs_val out[4]);
/* Stage 1 (with the stem) to 4 alone; x is the image or the map of the stage before. */
avs_val avs_resnet_stage(avs_graph *g, int depth, int nth, avs_val x);
/* ResNet-50 as AVSBench and AVSegFormer have it: the upper stages are called layer3_1 and layer4_1, and a second copy,
 * layer3_2 and layer4_2 (22,063,104 parameters), is declared and never run. */
void avs_resnet50_twin(avs_graph *g, avs_val x, avs_val out[4]);
void avs_pvt_v2(avs_graph *g, int b, avs_val x, float drop_path, avs_val out[4]);

#endif
