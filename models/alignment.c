/* Alignment losses, from cosines at the decoder's size to values of the label's size. */
#include "models/alignment.h"

#include "models/losses.h"

enum { LEVELS = 3 };
static const float TINY = 1e-38F; /* keeps logarithms finite */

avs_val avs_alignment_cosine(avs_graph *g, const avs_alignment *in, int level)
{
    avs_val v = avs_l2_normalized(g, in->map[level]), a = avs_l2_normalized(g, in->sound[level]);
    return avs_reduce(g, avs_mul(g, v, a), 3, 4, false);
}

static avs_val log_of(avs_graph *g, avs_val x)
{
    return avs_ew_unary(g, AVS_EW_LOG, avs_ew_imm(g, AVS_EW_MAX, x, TINY));
}

/* Sum over the axis of pixels of x [R,N] as [R]. */
static avs_val row_sum(avs_graph *g, avs_val x, bool mean)
{
    return avs_reshape(g, avs_reduce(g, x, 1, 2, mean), AVS_F32T(avs_dim(g, x, 0)));
}

avs_val avs_alignment_level(avs_graph *g, const avs_alignment *in, int level, bool by_kl)
{
    avs_val s = avs_scale(g, avs_alignment_cosine(g, in, level), 1.F / in->temperature);
    if (!s || !in->mask) return 0;
    const avs_type t = *avs_t(g, in->mask);
    const avs_type flat = AVS_F32T(t.d[0], (int64_t)t.d[1] * t.d[2]);
    avs_val M = avs_reshape(g, in->mask, flat);
    s = avs_resize(g, by_kl ? s : avs_sigmoid(g, s), t.d[1], t.d[2], AVS_RESIZE_BILINEAR, false);
    s = avs_reshape(g, s, flat);
    if (!by_kl) { /* M log s + (1 - M) log(1 - s) */
        avs_val on = log_of(g, s), off = log_of(g, avs_ew_imm(g, AVS_EW_RSUB, s, 1.F));
        avs_val y = avs_add(g, avs_mul(g, M, avs_sub(g, on, off)), off);
        return avs_ew_unary(g, AVS_EW_NEG, avs_row_mean(g, row_sum(g, y, true), in->row_weight));
    }
    /* q = M / sum M is the same at all pixels of the mask, so sum q log q = -log sum M */
    avs_val area = avs_reduce(g, M, 1, 2, false), at_least = avs_ew_imm(g, AVS_EW_MAX, area, 1.F);
    avs_val seen = avs_div(g, row_sum(g, avs_mul(g, M, log_of(g, avs_softmax(g, s))), false),
                           avs_reshape(g, at_least, AVS_F32T(t.d[0])));
    avs_val kl = avs_add(g, seen, avs_reshape(g, avs_ew_unary(g, AVS_EW_LOG, at_least), AVS_F32T(t.d[0])));
    avs_val w = avs_reshape(g, avs_ew_imm(g, AVS_EW_GT, area, 0.F), AVS_F32T(t.d[0]));
    if (in->row_weight) w = avs_mul(g, w, in->row_weight);
    return avs_ew_unary(g, AVS_EW_NEG, avs_row_mean(g, kl, w));
}

avs_val avs_loss_alignment(avs_graph *g, const avs_alignment *in, bool by_kl)
{
    avs_val sum = 0;
    for (int i = 0; i < LEVELS; i++) {
        avs_val part = avs_alignment_level(g, in, i, by_kl);
        sum = sum ? avs_add(g, sum, part) : part;
    }
    return avs_scale(g, sum, 1.F / LEVELS);
}

avs_val avs_loss_dice_classes(avs_graph *g, avs_val logits, avs_val target, avs_val row_weight, float smooth)
{
    if (!logits || !target) return 0;
    const avs_type t = *avs_t(g, logits);
    const int R = t.d[0], K = t.d[3];
    const int64_t N = (int64_t)t.d[1] * t.d[2];
    const avs_type all = AVS_F32T(R, N, K), pairs = AVS_F32T((int64_t)R * K);
    float *number = AVS_NEW_N(g->arena, float, K);
    if (!number) return avs_graph_fail(g, AVS_ENOMEM, "out of memory for %d classes", K);
    for (int k = 0; k < K; k++) number[k] = (float)k;
    avs_val p = avs_reshape(g, avs_softmax(g, logits), all);
    /* 1 where the pixel's class is k: |class - k| is not above 1/2 */
    avs_val d = avs_sub(g, avs_expand(g, avs_reshape(g, target, AVS_TYPE(AVS_I32, R, N, 1)), all),
                        avs_const(g, AVS_F32T(K), number));
    avs_val m =
        avs_ew_imm(g, AVS_EW_RSUB, avs_ew_imm(g, AVS_EW_GT, avs_ew_unary(g, AVS_EW_ABS, d), 0.5F), 1.F);
    avs_val I = avs_reduce(g, avs_mul(g, p, m), 1, 2, false), T = avs_reduce(g, m, 1, 2, false);
    avs_val sum = avs_offset(g, avs_add(g, avs_reduce(g, p, 1, 2, false), T), smooth);
    avs_val ratio = avs_div(g, avs_offset(g, avs_scale(g, I, 2.F), smooth), sum);
    avs_val w = avs_reshape(g, avs_ew_imm(g, AVS_EW_GT, T, 0.F), AVS_F32T(R, K));
    if (row_weight) w = avs_mul(g, w, avs_reshape(g, row_weight, AVS_F32T(R, 1)));
    return avs_row_mean(g, avs_reshape(g, avs_ew_imm(g, AVS_EW_RSUB, ratio, 1.F), pairs),
                        avs_reshape(g, w, pairs));
}
