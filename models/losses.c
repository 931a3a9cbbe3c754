/* Losses as graph builders. Terms are tapped as "loss:NAME"; what no plan asks for is removed before it costs
 * anything. */
#include "models/losses.h"

#include "models/layers.h"

avs_val avs_loss_bce(avs_graph *g, avs_val logits, avs_val target, avs_val row_weight)
{
    return avs_row_mean(g, avs_loss(g, logits, target, (avs_loss_attr){.kind = AVS_LOSS_BCE}), row_weight);
}

avs_val avs_loss_ce(avs_graph *g, avs_val logits, avs_val target, avs_val row_weight)
{
    return avs_row_mean(g, avs_loss(g, logits, target, (avs_loss_attr){.kind = AVS_LOSS_CE}), row_weight);
}

avs_val avs_loss_dice(avs_graph *g, avs_val prob, avs_val target, avs_val row_weight, bool squared,
                      float smooth)
{
    const avs_loss_attr attr = {.kind = AVS_LOSS_DICE,
                                .squared = squared,
                                .s_num = squared ? 0.F : smooth,
                                .s_den = squared ? 2.F * smooth : smooth};
    return avs_row_mean(g, avs_loss(g, prob, target, attr), row_weight);
}

avs_val avs_loss_soft_iou(avs_graph *g, avs_val prob, avs_val target, avs_val row_weight, float smooth)
{
    const avs_loss_attr attr = {.kind = AVS_LOSS_IOU, .s_num = smooth, .s_den = smooth};
    return avs_row_mean(g, avs_loss(g, prob, target, attr), row_weight);
}

avs_val avs_foreground(avs_graph *g, avs_val classes)
{
    return avs_ew_imm(g, AVS_EW_GT, classes, 0.F);
}

avs_val avs_foreground_prob(avs_graph *g, avs_val logits)
{
    if (!logits) return 0;
    if (avs_dim(g, logits, 3) == 1) return avs_sigmoid(g, logits);
    avs_val background = avs_slice(g, avs_softmax(g, logits), 3, 0, 1);
    return avs_ew_imm(g, AVS_EW_RSUB, background, 1.F);
}

avs_val avs_l2_normalized(avs_graph *g, avs_val x)
{
    const int rank = avs_t(g, x)->rank;
    avs_val n = avs_reduce(g, avs_ew_unary(g, AVS_EW_SQUARE, x), rank - 1, rank, false);
    return avs_div(g, x, avs_ew_unary(g, AVS_EW_SQRT, avs_ew_imm(g, AVS_EW_MAX, n, 1e-24F)));
}

static void add(avs_graph *g, avs_loss_sum *sum, avs_val part)
{
    sum->total = sum->total ? avs_add(g, sum->total, part) : part;
}

void avs_loss_add(avs_graph *g, avs_loss_sum *sum, const char *name, avs_val term, double weight)
{
    avs_nn_tap(g, term, "loss:%s", name);
    if (weight != 0.0) add(g, sum, avs_scale(g, term, (float)weight));
}

void avs_loss_add_scaled(avs_graph *g, avs_loss_sum *sum, const char *name, avs_val term, double weight)
{
    avs_val part = avs_nn_tap(g, avs_scale(g, term, (float)weight), "loss:%s", name);
    if (weight != 0.0) add(g, sum, part);
}
