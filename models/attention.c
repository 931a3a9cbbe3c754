/* Attention blocks: packed multi-head attention and multi-scale deformable self-attention, composed of
 * MATMUL, SOFTMAX and MSDEFORM. The rows of in_proj_weight are read as free views of the parameter. */
#include "models/attention.h"

#include <math.h>

avs_val avs_attention_core(avs_graph *g, avs_val q, avs_val k, avs_val v, const avs_attention_cfg *cfg,
                           const char *tap)
{
    if (!q || !k || !v) return 0;
    const float d = (float)avs_dim(g, q, 2) / (float)cfg->heads;
    avs_val a = avs_matmul(
        g, q, k,
        (avs_matmul_attr){.tb = 1, .a_split = 1, .b_split = 1, .heads = cfg->heads, .alpha = 1.F / sqrtf(d)});
    a = cfg->sigmoid ? avs_sigmoid(g, a) : avs_softmax(g, a);
    if (tap) avs_nn_tap(g, a, "%s:attn", tap);
    a = avs_dropout(g, a, cfg->dropout, false);
    if (cfg->weights) *cfg->weights = a;
    return avs_matmul(g, a, v, (avs_matmul_attr){.b_split = 1, .c_split = 1, .heads = cfg->heads});
}

avs_val avs_attention(avs_graph *g, const char *name, avs_val q, avs_val kv, const avs_attention_cfg *cfg)
{
    if (!q || !kv) return 0;
    const int C = avs_dim(g, q, 2);
    avs_val part[3];
    avs_scope_push(g, "%s", name);
    avs_val w = avs_param(g, "in_proj_weight", AVS_F32T((int64_t)3 * C, C),
                          (avs_init){.kind = AVS_INIT_XAVIER_UNIFORM});
    avs_val b =
        cfg->bias ? avs_param(g, "in_proj_bias", AVS_F32T((int64_t)3 * C), (avs_init){.kind = AVS_INIT_ZERO})
                  : 0;
    for (int i = 0; i < 3; i++) {
        avs_val wi = avs_slice(g, w, 0, i * C, C), bi = b ? avs_slice(g, b, 0, i * C, C) : 0;
        part[i] = avs_linear(g, i == 0 ? q : kv, wi, bi);
    }
    avs_scope_pop(g);
    avs_val y = avs_attention_core(g, part[0], part[1], part[2], cfg, name);
    avs_scope_push(g, "%s", name);
    y = avs_nn_linear(g, y, "out_proj", C, cfg->bias, cfg->out_init);
    avs_scope_pop(g);
    avs_nn_tap(g, y, "%s:out", name);
    return y;
}

avs_val avs_mixer_attention(avs_graph *g, const char *name, avs_val q, avs_val kv, int heads)
{
    if (!q || !kv) return 0;
    const int C = avs_dim(g, q, 2);
    avs_scope_push(g, "%s", name);
    q = avs_nn_linear(g, q, "q_proj", C, false, AVS_NN_XAVIER);
    avs_val w = avs_param(g, "kv_proj.weight", AVS_F32T((int64_t)2 * C, C),
                          (avs_init){.kind = AVS_INIT_XAVIER_UNIFORM});
    avs_val k = avs_linear(g, kv, avs_slice(g, w, 0, 0, C), 0);
    avs_val v = avs_linear(g, kv, avs_slice(g, w, 0, C, C), 0);
    avs_scope_pop(g);
    avs_val y = avs_attention_core(g, q, k, v, &(avs_attention_cfg){.heads = heads}, name);
    avs_scope_push(g, "%s", name);
    y = avs_nn_linear(g, y, "proj", C, true, AVS_NN_XAVIER);
    avs_tap(g, "proj", y);
    avs_scope_pop(g);
    return y;
}

avs_val avs_sine_position(avs_graph *g, const avs_msdeform_attr *lv, int C)
{
    int64_t n = 0;
    for (int l = 0; l < lv->levels; l++) n += (int64_t)lv->h[l] * lv->w[l];
    float *pos = AVS_NEW_N(g->arena, float, n *C);
    if (!pos)
        return avs_graph_fail(g, AVS_ENOMEM, "out of memory for a position table of %lld values",
                              (long long)(n * C));
    const int half = C / 2;
    float *p = pos;
    for (int l = 0; l < lv->levels; l++)
        for (int y = 1; y <= lv->h[l]; y++)
            for (int x = 1; x <= lv->w[l]; x++)
                for (int c = 0; c < C; c++) {
                    const int j = c % half;
                    /* float32 as the reference: its table is compared element by element */
                    const float freq = powf(10000.F, (float)(j - j % 2) / (float)half);
                    const float a = (float)(c < half ? y : x) / freq;
                    *p++ = j % 2 ? cosf(a) : sinf(a);
                }
    return avs_const(g, AVS_F32T(1, n, C), pos);
}

avs_val avs_level_position(avs_graph *g, const avs_msdeform_attr *lv, int C)
{
    avs_val embed =
        avs_param(g, "level_embed", AVS_F32T(lv->levels, C), (avs_init){.kind = AVS_INIT_NORMAL, .a = 1.F});
    avs_val part[AVS_MAX_LEVELS];
    for (int l = 0; l < lv->levels; l++) {
        avs_val e = avs_reshape(g, avs_slice(g, embed, 0, l, 1), AVS_F32T(1, 1, C));
        part[l] = avs_expand(g, e, AVS_F32T(1, (int64_t)lv->h[l] * lv->w[l], C));
    }
    return avs_add(g, avs_sine_position(g, lv, C), avs_concat(g, part, lv->levels, 1));
}

avs_val avs_level_tokens(avs_graph *g, const avs_val *map, int n, avs_msdeform_attr *lv)
{
    avs_val part[AVS_MAX_LEVELS];
    lv->levels = n;
    for (int l = 0; l < n; l++) {
        if (!map[l]) return 0;
        lv->h[l] = avs_dim(g, map[l], 1);
        lv->w[l] = avs_dim(g, map[l], 2);
        part[l] = avs_nn_tokens(g, map[l]);
    }
    return avs_concat(g, part, n, 1);
}

void avs_level_maps(avs_graph *g, avs_val tokens, const avs_msdeform_attr *lv, avs_val *map)
{
    for (int l = 0, start = 0; l < lv->levels; l++) {
        const int h = lv->h[l], w = lv->w[l];
        map[l] = avs_nn_map(g, avs_slice(g, tokens, 1, start, h * w), h, w);
        start += h * w;
    }
}

/* Reference points of the tokens themselves, repeated for each level: [1,N,L*2]. */
static avs_val own_reference(avs_graph *g, const avs_msdeform_attr *lv)
{
    int64_t n = 0;
    for (int l = 0; l < lv->levels; l++) n += (int64_t)lv->h[l] * lv->w[l];
    float *ref = AVS_NEW_N(g->arena, float, n * lv->levels * 2);
    if (!ref) return avs_graph_fail(g, AVS_ENOMEM, "out of memory for reference points");
    float *p = ref;
    for (int l = 0; l < lv->levels; l++)
        for (int y = 0; y < lv->h[l]; y++)
            for (int x = 0; x < lv->w[l]; x++)
                for (int k = 0; k < lv->levels; k++) {
                    *p++ = ((float)x + 0.5F) / (float)lv->w[l];
                    *p++ = ((float)y + 0.5F) / (float)lv->h[l];
                }
    return avs_const(g, AVS_F32T(1, n, (int64_t)lv->levels * 2), ref);
}

/* The parameter NAME.weight, NAME.bias of the offsets, as they start. */
static avs_val offsets(avs_graph *g, avs_val query, const avs_deformable_cfg *cfg, int64_t xy)
{
    const avs_init none = {.kind = AVS_INIT_ZERO};
    const avs_init compass = {.kind = AVS_INIT_MSDEFORM_BIAS,
                              .a = (float)cfg->heads,
                              .b = (float)cfg->levels->levels,
                              .c = (float)cfg->points};
    const avs_init normal = {.kind = AVS_INIT_TRUNC_NORMAL, .a = 0.02F};
    avs_scope_push(g, "sampling_offsets");
    avs_val w = avs_param(g, "weight", AVS_F32T(xy, avs_dim(g, query, 2)), cfg->is_plain ? normal : none);
    avs_val b = avs_param(g, "bias", AVS_F32T(xy), cfg->is_plain ? none : compass);
    avs_scope_pop(g);
    return avs_tap(g, "sampling_offsets", avs_linear(g, query, w, b));
}

avs_val avs_deformable_samples(avs_graph *g, const char *name, avs_val query, avs_val ref, avs_val x,
                               const avs_deformable_cfg *cfg)
{
    if (!ref) ref = own_reference(g, cfg->levels);
    if (!query || !ref || !x) return 0;
    const int B = avs_dim(g, query, 0), Q = avs_dim(g, query, 1), C = avs_dim(g, query, 2),
              heads = cfg->heads, points = cfg->points, L = cfg->levels->levels;
    const int n = heads * L * points;
    const int64_t xy = (int64_t)2 * n, samples = (int64_t)L * points; /* of a query; of a query and a head */
    avs_msdeform_attr attr = *cfg->levels;
    attr.heads = heads;
    attr.points = points;

    avs_scope_push(g, "%s", name);
    avs_val value =
        avs_nn_linear(g, x, "value_proj", C, true, cfg->is_plain ? AVS_NN_TRUNC02 : AVS_NN_XAVIER0);
    avs_val off = offsets(g, query, cfg, xy);
    avs_val weight =
        avs_nn_linear(g, query, "attention_weights", n, true, cfg->is_plain ? AVS_NN_TRUNC02 : AVS_NN_ZERO);
    avs_tap(g, "attention_weights", weight);
    avs_scope_pop(g);
    weight = avs_softmax(g, avs_reshape(g, weight, AVS_F32T(B, Q, heads, samples)));
    weight = avs_reshape(g, weight, AVS_F32T(B, Q, n));

    /* loc = ref + off / (w, h): channel (m, l, p, xy) of an offset counts pixels of level l */
    float *inv = AVS_NEW_N(g->arena, float, xy);
    if (!inv) return avs_graph_fail(g, AVS_ENOMEM, "out of memory for a table of level sizes");
    for (int64_t i = 0; i < n; i++) {
        const int64_t l = i / points % L;
        inv[2 * i] = 1.F / (float)attr.w[l];
        inv[2 * i + 1] = 1.F / (float)attr.h[l];
    }
    off = avs_mul(g, off, avs_const(g, AVS_F32T(xy), inv));
    /* ref [R,Q,L,2] broadcast over heads and points, one axis at a time */
    const int R = avs_dim(g, ref, 0);
    avs_val r = avs_reshape(g, ref, AVS_F32T(R, (int64_t)Q * L, 1, 2));
    r = avs_expand(g, r, AVS_F32T(R, (int64_t)Q * L, points, 2));
    r = avs_reshape(g, r, AVS_F32T(R, Q, 1, 2 * samples));
    if (R == B) {
        off = avs_add(g, avs_reshape(g, off, AVS_F32T(B, Q, heads, 2 * samples)), r);
    } else { /* one table for all rows: two runs of broadcast axes, so repeat it over the heads once */
        r = avs_reshape(g, avs_expand(g, r, AVS_F32T(R, Q, heads, 2 * samples)), AVS_F32T(R, Q, xy));
        off = avs_add(g, off, r);
    }
    off = avs_reshape(g, off, AVS_F32T(B, Q, xy));
    return avs_msdeform(g, value, off, weight, &attr);
}

avs_val avs_deformable_at(avs_graph *g, const char *name, avs_val query, avs_val ref, avs_val x, int heads,
                          int points, const avs_msdeform_attr *levels)
{
    const avs_deformable_cfg cfg = {.heads = heads, .points = points, .levels = levels};
    avs_val y = avs_deformable_samples(g, name, query, ref, x, &cfg);
    if (!y) return 0;
    avs_scope_push(g, "%s", name);
    y = avs_nn_linear(g, y, "output_proj", avs_dim(g, query, 2), true, AVS_NN_XAVIER0);
    avs_scope_pop(g);
    return y;
}

avs_val avs_deformable(avs_graph *g, const char *name, avs_val query, avs_val x, int heads, int points,
                       const avs_msdeform_attr *levels)
{
    return avs_deformable_at(g, name, query, own_reference(g, levels), x, heads, points, levels);
}
