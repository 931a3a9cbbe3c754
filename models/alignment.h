/* Losses of LightAVSeg (arXiv 2605.08805): multi-scale alignment between a map and the sound beside it, and Dice over classes.
 * No public code exists: forms that the paper leaves open are ours (docs/models.md). */
#ifndef AVS_MODELS_ALIGNMENT_H
#define AVS_MODELS_ALIGNMENT_H

#include "engine/graph/ops.h"

typedef struct {
    avs_val map[4], sound[4]; /* [R,h,w,D] and [R,1,1,D] at strides 4, 8, 16, 32; 0: none */
    avs_val mask;             /* [R,H,W] foreground, 0 or 1                               */
    avs_val row_weight;       /* [R] 1 where the row is labelled                          */
    float temperature;
} avs_alignment;

/* Cosine of each pixel and the sound at one level: [R,h,w,1]. */
avs_val avs_alignment_cosine(avs_graph *g, const avs_alignment *in, int level);
/* Of one level, scalar [1], a mean over labelled rows. BCE of sigmoid(cosine / temperature), resized after the sigmoid;
 * by_kl: KL of the mask's distribution over pixels from softmax(cosine / temperature), over rows with a mask. */
avs_val avs_alignment_level(avs_graph *g, const avs_alignment *in, int level, bool by_kl);
/* Mean over the three finest levels. */
avs_val avs_loss_alignment(avs_graph *g, const avs_alignment *in, bool by_kl);

/* logits [R,H,W,K] against classes i32 [R,H,W]: 1 - (2 I + smooth)/(P + T + smooth) of each class of each labelled row,
 * mean over the pairs of row and class that have a pixel. */
avs_val avs_loss_dice_classes(avs_graph *g, avs_val logits, avs_val target, avs_val row_weight, float smooth);

#endif
