/* The transformer decoder of Stepping Stones: queries from the audio, keys told apart by the masks of stage one, layers
 * that look where the last prediction's mask is.
 *
 * A prediction's attention mask needs its mask at the size of one level. Resizing is linear, so the mask features are
 * resized once per level and multiplied with the embeddings, in place of a whole mask per prediction: the same up to
 * rounding, and a forward for inference makes one whole mask in place of ten. */
#include <math.h>

#include "models/aavs.h"

static const char scope[] = "model.model.transformer_module";
static const float BLOCK = -1e9F; /* its exponential is 0 beside any key that is open */

static avs_val table(avs_graph *g, const char *key, int rows, int C)
{
    return avs_param(g, key, AVS_F32T(rows, C), (avs_init){.kind = AVS_INIT_NORMAL, .a = 0.02F});
}

/* 1 where x < limit */
static avs_val below(avs_graph *g, avs_val x, float limit)
{
    return avs_ew_imm(g, AVS_EW_GT, avs_ew_unary(g, AVS_EW_NEG, x), -limit);
}

/* ------------------------------------------------------------------ queries */

avs_val avs_aavs_audio(avs_graph *g, const avs_cfg *cfg, avs_val feature)
{
    const int C = (int)avs_cfg_int(cfg, "embed_dim");
    avs_val a = avs_relu(g, avs_nn_linear(g, feature, "audio_proj.0", 512, true, AVS_NN_TORCH));
    a = avs_nn_linear(g, a, "audio_proj.2", C, true, AVS_NN_TORCH);
    if (a) avs_tap(g, "/audio_proj", avs_reshape(g, a, AVS_F32T(1, avs_dim(g, a, 0), C)));
    return a;
}

/* max(|x|, 1e-8) along the last axis */
static avs_val length(avs_graph *g, avs_val x)
{
    avs_val s = avs_reduce(g, avs_ew_unary(g, AVS_EW_SQUARE, x), 1, 2, false);
    return avs_ew_unary(g, AVS_EW_SQRT, avs_ew_imm(g, AVS_EW_MAX, s, 1e-16F));
}

/* Cosine similarity of each prototype with the audio [R,Q]. */
static avs_val similarity(avs_graph *g, avs_val prototypes, avs_val a)
{
    const int R = avs_dim(g, a, 0), Q = avs_dim(g, prototypes, 0);
    avs_val dot = avs_matmul(g, a, prototypes, (avs_matmul_attr){.tb = 1});
    avs_val by = avs_matmul(g, length(g, a), avs_reshape(g, length(g, prototypes), AVS_F32T(1, Q)),
                            (avs_matmul_attr){0});
    return avs_reshape(g, avs_div(g, dot, by), AVS_F32T(R, Q));
}

avs_val avs_aavs_queries(avs_graph *g, const avs_cfg *cfg, avs_val a, avs_val *position)
{
    const int Q = (int)avs_cfg_int(cfg, "num_queries"), C = (int)avs_cfg_int(cfg, "embed_dim"),
              R = avs_dim(g, a, 0);
    avs_scope_push(g, "%s", scope);
    avs_val P = table(g, "queries_embedder.weight", Q, C), O = table(g, "queries_features.weight", Q, C), x;
    avs_scope_pop(g);
    if (!a || !P || !O) return 0;
    *position = avs_reshape(g, P, AVS_F32T(1, Q, C));
    O = avs_reshape(g, O, AVS_F32T(1, Q, C));
    avs_val token = avs_reshape(g, a, AVS_F32T(R, 1, C));
    if (avs_cfg_is(cfg, "query_generator", "adaptive")) {
        avs_val s = avs_tap(g, "/transformer.similarity", similarity(g, P, a));
        x = avs_add(g, avs_matmul(g, avs_reshape(g, s, AVS_F32T(R, Q, 1)), token, (avs_matmul_attr){0}), O);
    } else {
        x = avs_expand(g, O, AVS_F32T(R, Q, C));
        if (avs_cfg_is(cfg, "query_generator", "add")) x = avs_add(g, x, token);
    }
    if (avs_cfg_is(cfg, "query_generator", "concat")) { /* one more query, which has no position */
        x = avs_concat(g, (avs_val[]){x, token}, 2, 1);
        *position = avs_pad(g, *position, 1, 0, 1);
    }
    return avs_tap(g, "/transformer.query_init", x);
}

/* ------------------------------------------------------------------ keys */

static avs_val mask_at(avs_graph *g, avs_val masks, int h, int w)
{
    avs_val r = avs_resize(g, masks, h, w, AVS_RESIZE_BILINEAR, false);
    return avs_reshape(g, r, AVS_F32T(avs_dim(g, masks, 0), (int64_t)h * w, 1));
}

avs_val avs_aavs_key_position(avs_graph *g, const avs_cfg *cfg, avs_val masks, int h, int w, avs_val *states)
{
    const int C = (int)avs_cfg_int(cfg, "embed_dim");
    avs_val sine = avs_aavs_sine(g, h, w, C);
    if (!avs_cfg_is(cfg, "stage", "two")) return sine;
    avs_scope_push(g, "%s", scope);
    avs_val state[3] = {table(g, "audio_embed.weight", 1, C), table(g, "silence_embed.weight", 1, C),
                        table(g, "uncertain_embed.weight", 1, C)};
    avs_scope_pop(g);
    if (!masks || !avs_cfg_bool(cfg, "robust_key")) return sine;
    avs_val r = mask_at(g, masks, h, w);
    avs_val above = avs_ew_imm(g, AVS_EW_GT, r, (float)avs_cfg_num(cfg, "key_threshold_low"));
    avs_val under = below(g, r, (float)avs_cfg_num(cfg, "key_threshold_high"));
    avs_val is[3] = {avs_mul(g, above, avs_ew_imm(g, AVS_EW_RSUB, under, 1.F)),
                     avs_ew_imm(g, AVS_EW_RSUB, above, 1.F), avs_mul(g, above, under)};
    avs_val one_hot = avs_concat(g, is, 3, 2);
    if (states) *states = one_hot;
    avs_val e = avs_matmul(g, one_hot, avs_concat(g, state, 3, 0), (avs_matmul_attr){0});
    return avs_add(g, e, sine);
}

avs_val avs_aavs_first_blocked(avs_graph *g, avs_val masks, int h, int w)
{
    if (!masks) return 0;
    avs_val b = below(g, mask_at(g, masks, h, w), 0.5F);
    return avs_reshape(g, b, AVS_F32T(avs_dim(g, masks, 0), 1, (int64_t)h * w));
}

/* ------------------------------------------------------------------ layers */

typedef struct {
    const avs_cfg *cfg;
    avs_val qpos;                   /* [1,Q,C]                        */
    avs_val value[AVS_AAVS_LEVELS]; /* [R,L,C]                        */
    avs_val key[AVS_AAVS_LEVELS];   /* [R,L,C], positions in          */
    avs_val look[AVS_AAVS_LEVELS];  /* mask features at the level [R,L,C] */
    avs_val E;                      /* mask features [R,h*w,C]        */
    avs_val first;                  /* blocked keys of layer 0 [R,1,L], or 0: by its prediction */
} decoder;

/* tap: where the weights are looked at, NULL: nowhere. */
static avs_val attend(avs_graph *g, const decoder *d, const avs_val qkv[3], avs_val bias, const char *tap)
{
    const avs_val q = qkv[0], k = qkv[1], v = qkv[2];
    const int heads = (int)avs_cfg_int(d->cfg, "num_heads");
    if (!q || !k || !v) return 0;
    const float width = (float)avs_dim(g, q, 2) / (float)heads;
    avs_val s = avs_matmul(
        g, q, k,
        (avs_matmul_attr){.tb = 1, .a_split = 1, .b_split = 1, .heads = heads, .alpha = 1.F / sqrtf(width)});
    if (bias) s = avs_add(g, s, bias);
    avs_val a = avs_softmax(g, s);
    if (tap) avs_nn_tap(g, a, "%s:attn", tap);
    return avs_matmul(g, a, v, (avs_matmul_attr){.b_split = 1, .c_split = 1, .heads = heads});
}

/* Blocked keys [R,Q or 1,L] to what is added to scores [R,heads,Q,L]; a query all of whose keys are blocked sees all. */
static avs_val bias_of(avs_graph *g, int layer, avs_val blocked, int queries)
{
    if (!blocked) return 0;
    const int R = avs_dim(g, blocked, 0), rows = avs_dim(g, blocked, 1), L = avs_dim(g, blocked, 2);
    avs_val open = below(g, avs_reduce(g, blocked, 2, 3, false), (float)L - 0.5F);
    blocked = avs_mul(g, blocked, open);
    avs_nn_tap(g, rows == queries ? blocked : avs_expand(g, blocked, AVS_F32T(R, queries, L)),
               "/decoder.layer%d.attn_mask", layer);
    return avs_reshape(g, avs_scale(g, blocked, BLOCK), AVS_F32T(R, 1, rows, L));
}

static avs_val cross_attention(avs_graph *g, const decoder *d, int layer, avs_val x, avs_val bias)
{
    const int C = avs_dim(g, x, 2), l = layer % AVS_AAVS_LEVELS;
    avs_val y[3];
    if (!x) return 0;
    const avs_val in[3] = {avs_add(g, x, d->qpos), d->key[l], d->value[l]};
    avs_scope_push(g, "cross_attn");
    avs_val w = avs_param(g, "in_proj_weight", AVS_F32T((int64_t)3 * C, C),
                          (avs_init){.kind = AVS_INIT_XAVIER_UNIFORM});
    avs_val b = avs_param(g, "in_proj_bias", AVS_F32T((int64_t)3 * C), (avs_init){.kind = AVS_INIT_ZERO});
    for (int i = 0; i < 3; i++)
        y[i] = avs_linear(g, in[i], avs_slice(g, w, 0, i * C, C), avs_slice(g, b, 0, i * C, C));
    avs_scope_pop(g);
    avs_val o = attend(g, d, y, bias, "cross_attn");
    avs_scope_push(g, "cross_attn");
    o = avs_nn_linear(g, o, "out_proj", C, true, AVS_NN_XAVIER0);
    avs_scope_pop(g);
    avs_tap(g, "cross_attn:out", o);
    avs_nn_tap(g, o, "/transformer.layer%d.cross_attn", layer);
    return avs_nn_layernorm(g, avs_add(g, x, o), "cross_attn_layer_norm", 1e-5F);
}

static avs_val self_attention(avs_graph *g, const decoder *d, int layer, avs_val x)
{
    const bool adapts = avs_cfg_bool(d->cfg, "decoder_adapter"),
               projects = !adapts || avs_cfg_is(d->cfg, "attention_output", "projection_adapter");
    const int C = avs_dim(g, x, 2);
    if (!x) return 0;
    avs_val at = avs_add(g, x, d->qpos);
    avs_scope_push(g, "self_attn");
    avs_val q = avs_nn_linear(g, at, "q_proj", C, true, AVS_NN_XAVIER0);
    avs_val k = avs_nn_linear(g, at, "k_proj", C, true, AVS_NN_XAVIER0);
    avs_val v = avs_nn_linear(g, x, "v_proj", C, true, AVS_NN_XAVIER0);
    avs_val o = attend(g, d, (avs_val[]){q, k, v}, 0, NULL),
            z = avs_nn_linear(g, o, "out_proj", C, true, AVS_NN_XAVIER0);
    if (projects) o = z;
    if (adapts) o = avs_aavs_adapt(g, o, AVS_NN_XAVIER0);
    avs_scope_pop(g);
    avs_nn_tap(g, o, "/transformer.layer%d.self_attn", layer);
    return avs_nn_layernorm(g, avs_add(g, x, o), "self_attn_layer_norm", 1e-5F);
}

static avs_val layer(avs_graph *g, const decoder *d, int i, avs_val x, avs_val blocked)
{
    if (!x) return 0;
    avs_val bias = bias_of(g, i, blocked, avs_dim(g, x, 1));
    avs_scope_push(g, "%s.decoder.layers.%d", scope, i);
    x = self_attention(g, d, i, cross_attention(g, d, i, x, bias));
    if (x) {
        avs_val y = avs_nn_linear(g, x, "fc1", (int)avs_cfg_int(d->cfg, "ffn_dim"), true, AVS_NN_XAVIER0);
        y = avs_nn_linear(g, avs_relu(g, y), "fc2", avs_dim(g, x, 2), true, AVS_NN_XAVIER0);
        x = avs_nn_layernorm(g, avs_add(g, x, y), "final_layer_norm", 1e-5F);
    }
    avs_scope_pop(g);
    return avs_nn_tap(g, x, "/transformer.layer%d", i);
}

/* ------------------------------------------------------------------ predictions */

/* Prediction i from the queries x; returns the keys that layer i may not look at, 0: all may be seen. */
static avs_val predict(avs_graph *g, const decoder *d, int i, avs_val x, avs_aavs_predictions *out)
{
    static const char *const mlp[3] = {"mask_predictor.mask_embedder.0.0", "mask_predictor.mask_embedder.1.0",
                                       "mask_predictor.mask_embedder.2.0"};
    if (!x) return 0;
    const int C = avs_dim(g, x, 2);
    avs_scope_push(g, "%s.decoder", scope);
    avs_val y = avs_nn_layernorm(g, x, "layernorm", 1e-5F), e = y;
    for (int k = 0; k < 3; k++) {
        e = avs_nn_linear(g, e, mlp[k], C, true, AVS_NN_TRUNC02);
        if (k < 2) e = avs_relu(g, e);
    }
    avs_scope_pop(g);
    out->embedding[i] = e;
    out->classes[i] = avs_nn_linear(g, y, "model.class_predictor",
                                    (int)avs_cfg_int(d->cfg, "num_classes") + 1, true, AVS_NN_TRUNC02);
    out->masks[i] = avs_matmul(g, e, d->E, (avs_matmul_attr){.tb = 1});
    avs_nn_tap(g, out->classes[i], "/class_logits%d", i);
    avs_nn_tap(g, out->masks[i], "/decoder.mask_logits%d", i);
    if (i == out->n - 1 || !avs_cfg_bool(d->cfg, "masked_attention")) return 0;
    if (i == 0 && d->first) return d->first;
    avs_val z = avs_matmul(g, e, d->look[i % AVS_AAVS_LEVELS], (avs_matmul_attr){.tb = 1});
    return below(g, avs_sigmoid(g, z), 0.5F);
}

avs_val avs_aavs_value(avs_graph *g, int l, avs_val map)
{
    const int C = avs_dim(g, map, 3);
    if (!map) return 0;
    avs_scope_push(g, "%s", scope);
    avs_val embed = table(g, "level_embed.weight", AVS_AAVS_LEVELS, C);
    avs_scope_pop(g);
    return avs_add(g, avs_nn_tokens(g, map), avs_reshape(g, avs_slice(g, embed, 0, l, 1), AVS_F32T(1, 1, C)));
}

static void open_levels(avs_graph *g, decoder *d, const avs_val level[AVS_AAVS_LEVELS], avs_val E, avs_val S)
{
    for (int l = 0; l < AVS_AAVS_LEVELS; l++) {
        const int h = avs_dim(g, level[l], 1), w = avs_dim(g, level[l], 2);
        avs_val at = avs_aavs_key_position(g, d->cfg, S, h, w, NULL);
        d->value[l] = avs_aavs_value(g, l, level[l]);
        d->key[l] = avs_add(g, d->value[l], at);
        d->look[l] = avs_nn_tokens(g, avs_resize(g, E, h, w, AVS_RESIZE_BILINEAR, false));
        avs_nn_tap(g, at, "/transformer.key_pos%d", l);
        avs_nn_tap(g, d->value[l], "/transformer.value%d", l);
    }
}

void avs_aavs_decoder(avs_graph *g, const avs_cfg *cfg, const avs_val level[AVS_AAVS_LEVELS], avs_val E,
                      avs_val a, avs_val S, avs_aavs_predictions *out)
{
    decoder d = {.cfg = cfg};
    out->n = (int)avs_cfg_int(cfg, "num_decoder_layers") + 1;
    avs_val x = avs_aavs_queries(g, cfg, a, &d.qpos);
    if (!x || !E || !level[0] || !level[1] || !level[2]) return;
    if (S && avs_cfg_bool(cfg, "stage1_mask_features"))
        E = avs_add(g, E, avs_resize(g, S, avs_dim(g, E, 1), avs_dim(g, E, 2), AVS_RESIZE_BILINEAR, false));
    out->E = avs_tap(g, "/decoder.pixel_embeddings", E);
    d.E = avs_nn_tokens(g, E);
    open_levels(g, &d, level, E, S);
    if (S && avs_cfg_bool(cfg, "stage1_mask_attention"))
        d.first = avs_aavs_first_blocked(g, S, avs_dim(g, level[0], 1), avs_dim(g, level[0], 2));
    for (int i = 0; x && i < out->n; i++) {
        avs_val blocked = predict(g, &d, i, x, out);
        if (i < out->n - 1) x = layer(g, &d, i, x, blocked);
    }
}
