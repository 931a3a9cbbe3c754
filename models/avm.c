/* Matching losses. Maps are pooled channels-last; a stage is a handful of reductions over [N,h,w,C]. */
#include "models/avm.h"

#include <string.h>

#include "models/losses.h"

avs_avm_cfg avs_avm_cfg_of(const avs_cfg *cfg)
{
    const int64_t *stage;
    const int n = avs_cfg_list(cfg, "avm_stages", &stage);
    avs_avm_cfg out = {.is_euclidean = avs_cfg_is(cfg, "avm_distance", "euclidean"),
                       .to_nearest = avs_cfg_is(cfg, "avm_target", "nearest_video"),
                       .max_pooling = avs_cfg_is(cfg, "avm_pooling", "max"),
                       .normalize = avs_cfg_bool(cfg, "avm_normalize"),
                       .threshold = avs_cfg_bool(cfg, "avm_threshold")};
    for (int i = 0; i < n && i < 4; i++) out.stage[out.n_stages++] = (int)stage[i];
    return out;
}

/* [N,H,W,1] where each pixel is 1 if its highest class is not the background. */
static avs_val predicted_foreground(avs_graph *g, avs_val logits)
{
    const avs_type t = *avs_t(g, logits);
    avs_val index;
    avs_row_max(g, avs_reshape(g, logits, AVS_F32T((int64_t)t.d[0] * t.d[1] * t.d[2], t.d[3], 1)), &index);
    return avs_reshape(g, avs_ew_imm(g, AVS_EW_GT, index, 0.F), AVS_F32T(t.d[0], t.d[1], t.d[2], 1));
}

/* Largest value of each of h x w equal windows; extents fall by 4 and then by halves. */
static avs_val max_to(avs_graph *g, avs_val x, int h)
{
    while (x && avs_dim(g, x, 1) > h) {
        const int k = avs_dim(g, x, 1) >= 4 * h ? 4 : 2;
        x = avs_pool_max(g, x, k, k, 0);
    }
    return x;
}

/* Mean of map over the pixels, weighted by mask [N,h,w,1]: [N,C]. by_area: divided by the mask's sum + 1e-6. */
static avs_val pooled(avs_graph *g, avs_val map, avs_val mask, bool by_area)
{
    if (!map || !mask) return 0;
    const avs_type t = *avs_t(g, map);
    avs_val v = avs_reduce(g, avs_mul(g, map, mask), 1, 3, !by_area);
    if (by_area) v = avs_div(g, v, avs_offset(g, avs_reduce(g, mask, 1, 3, false), 1e-6F));
    return avs_reshape(g, v, AVS_F32T(t.d[0], t.d[3]));
}

/* [N]: KL divergence of softmax(v) from softmax(target), summed over channels. */
static avs_val divergence(avs_graph *g, avs_val target, avs_val v)
{
    if (!target || !v) return 0;
    avs_val p = avs_softmax(g, target), q = avs_softmax(g, v);
    avs_val d = avs_mul(g, p, avs_sub(g, avs_ew_unary(g, AVS_EW_LOG, p), avs_ew_unary(g, AVS_EW_LOG, q)));
    return avs_reshape(g, avs_reduce(g, d, 1, 2, false), AVS_F32T(avs_dim(g, v, 0)));
}

/* [N]: || a - b + 1e-6 || */
static avs_val euclidean(avs_graph *g, avs_val a, avs_val b)
{
    if (!a || !b) return 0;
    avs_val d = avs_ew_unary(g, AVS_EW_SQUARE, avs_offset(g, avs_sub(g, a, b), 1e-6F));
    return avs_reshape(g, avs_ew_unary(g, AVS_EW_SQRT, avs_reduce(g, d, 1, 2, false)),
                       AVS_F32T(avs_dim(g, a, 0)));
}

/* v [N,C] of the frame whose a [N,C] is nearest. The frame itself is moved away by 10, no further: as the reference. */
static avs_val of_nearest(avs_graph *g, avs_val v, avs_val a)
{
    if (!v || !a) return 0;
    const int N = avs_dim(g, a, 0), C = avs_dim(g, a, 1);
    float *self = AVS_NEW_N(g->arena, float, (size_t)N *(size_t)N);
    if (!self) return avs_graph_fail(g, AVS_ENOMEM, "out of memory for the distances of %d frames", N);
    for (int i = 0; i < N; i++) self[(size_t)i * (size_t)N + (size_t)i] = 10.F;
    const avs_type all = AVS_F32T(N, N, C);
    avs_val d = avs_sub(g, avs_expand(g, avs_reshape(g, a, AVS_F32T(N, 1, C)), all),
                        avs_reshape(g, a, AVS_F32T(1, N, C)));
    d = avs_ew_unary(g, AVS_EW_SQRT, avs_reduce(g, avs_ew_unary(g, AVS_EW_SQUARE, d), 2, 3, false));
    d = avs_add(g, d, avs_const(g, AVS_F32T(N, N, 1), self));
    avs_val index;
    avs_row_max(g, avs_ew_unary(g, AVS_EW_NEG, d), &index);
    v = avs_gather_rows(g, avs_reshape(g, v, AVS_F32T(1, N, C)), avs_reshape(g, index, AVS_TYPE(AVS_I32, N)));
    return avs_reshape(g, v, AVS_F32T(N, C));
}

static avs_val stage_loss(avs_graph *g, const avs_avm_input *in, const avs_avm_cfg *cfg, avs_val mask, int i)
{
    avs_val map = in->v_map[i], a = in->a_fea[i];
    const bool by_class = avs_dim(g, in->logits, 3) > 1;
    const int N = avs_dim(g, map, 0), h = avs_dim(g, map, 1), w = avs_dim(g, map, 2), C = avs_dim(g, map, 3);
    mask = cfg->max_pooling ? max_to(g, mask, h) : avs_pool_adaptive(g, mask, h, w);
    if (!by_class) mask = avs_sigmoid(g, mask);
    if (cfg->threshold) mask = avs_ew_imm(g, AVS_EW_GT, mask, 0.5F);
    avs_val v = pooled(g, map, mask, cfg->threshold);
    a = avs_reshape(g, a, AVS_F32T(N, C));
    if (cfg->normalize) {
        v = avs_l2_normalized(g, v);
        a = avs_l2_normalized(g, a);
    }
    avs_val target = cfg->to_nearest ? of_nearest(g, v, a) : a;
    if (cfg->is_euclidean) return avs_row_mean(g, euclidean(g, target, v), in->row_weight);
    if (by_class) /* with classes the reference compares with the sound in either case */
        return avs_row_mean(g, divergence(g, a, v), in->row_weight);
    avs_val d = divergence(g, target, v);
    if (in->row_weight) d = avs_mul(g, d, in->row_weight);
    return avs_reduce(g, d, 0, 1, false);
}

avs_val avs_loss_avm(avs_graph *g, const avs_avm_input *in, const avs_avm_cfg *cfg)
{
    avs_val sum = 0;
    int n = 0;
    if (!in->logits) return 0;
    avs_val mask = avs_dim(g, in->logits, 3) > 1 ? predicted_foreground(g, in->logits) : in->logits;
    for (int k = 0; k < cfg->n_stages; k++) {
        if (!in->v_map[cfg->stage[k]] || !in->a_fea[cfg->stage[k]]) continue;
        avs_val part = stage_loss(g, in, cfg, mask, cfg->stage[k]);
        sum = sum ? avs_add(g, sum, part) : part;
        n++;
    }
    return sum ? avs_scale(g, sum, 1.F / (float)n)
               : avs_graph_fail(g, AVS_ERANGE, "the matching loss has no stage that hears");
}

avs_val avs_loss_cosine(avs_graph *g, const avs_avm_input *in)
{
    avs_val sum = 0, prob = avs_sigmoid(g, in->logits);
    int n = 0;
    for (int i = 0; i < 4 && prob; i++) {
        avs_val map = in->v_map[i], a = in->a_fea[i];
        if (!map || !a) continue;
        const int N = avs_dim(g, map, 0), C = avs_dim(g, map, 3);
        avs_val mask = avs_pool_adaptive(g, prob, avs_dim(g, map, 1), avs_dim(g, map, 2));
        avs_val v = avs_l2_normalized(g, pooled(g, map, avs_ew_imm(g, AVS_EW_GT, mask, 0.5F), true));
        a = avs_l2_normalized(g, avs_reshape(g, a, AVS_F32T(N, C)));
        avs_val cosine = avs_reduce(g, avs_mul(g, v, a), 1, 2, false);
        avs_val part = avs_ew_unary(g, AVS_EW_LOG, avs_offset(g, avs_relu(g, cosine), 1e-6F));
        part = avs_reshape(g, avs_reduce(g, part, 0, 2, true), AVS_F32T(1));
        sum = sum ? avs_add(g, sum, part) : part;
        n++;
    }
    return sum ? avs_scale(g, sum, -1.F / (float)n)
               : avs_graph_fail(g, AVS_ERANGE, "the cosine loss has no stage that hears");
}
