/* Losses as graph builders: means over the rows (frames) that carry a label.
 *
 * Each returns a scalar [1]. row_weight [R] is 1 for labelled rows, 0 for others; 0 (absent): all rows count.
 */
#ifndef AVS_MODELS_LOSSES_H
#define AVS_MODELS_LOSSES_H

#include "engine/graph/ops.h"

/* logits [R,H,W,1] against target [R,H,W] in {0,1}: binary cross entropy, mean over pixels and rows. */
avs_val avs_loss_bce(avs_graph *g, avs_val logits, avs_val target, avs_val row_weight);
/* logits [R,H,W,K] against classes i32 [R,H,W]: cross entropy, mean over pixels and rows. */
avs_val avs_loss_ce(avs_graph *g, avs_val logits, avs_val target, avs_val row_weight);
/* prob and target in [0,1], equal counts. squared with smooth in each sum: 1 - 2 I/((P+s)+(T+s)); not
 * squared: 1 - (2I + s)/(P + T + s). */
avs_val avs_loss_dice(avs_graph *g, avs_val prob, avs_val target, avs_val row_weight, bool squared,
                      float smooth);
/* 1 - (I + s)/(sum p + sum t - I + s) */
avs_val avs_loss_soft_iou(avs_graph *g, avs_val prob, avs_val target, avs_val row_weight, float smooth);

/* Foreground of a class map: [c > 0] as f32, extents of the map. */
avs_val avs_foreground(avs_graph *g, avs_val classes);
/* Probability of the foreground [R,H,W,1]: sigmoid of one channel, or 1 - softmax(logits)[0] of K classes. */
avs_val avs_foreground_prob(avs_graph *g, avs_val logits);

/* x over its Euclidean length along the last axis, or over 1e-12 where that is larger. A zero vector has no gradient. */
avs_val avs_l2_normalized(avs_graph *g, avs_val x);

/* Collects weight * term; weight 0 leaves the term out of the total (it stays a tap). */
typedef struct {
    avs_val total;
} avs_loss_sum;
void avs_loss_add(avs_graph *g, avs_loss_sum *sum, const char *name, avs_val term, double weight);
/* The same, tapping weight * term. */
void avs_loss_add_scaled(avs_graph *g, avs_loss_sum *sum, const char *name, avs_val term, double weight);

#endif
