/* AVSegFormer: deformable encoder over strides 8, 16 and 32, decoder of queries that start from the audio, mixer on the mask
 * feature, query maps, auxiliary masks. Where the paper and its code differ, this follows the code, with its keys.
 *
 * F frames (nothing mixes across time), C = embed_dim, Q queries, S tokens of all levels. Taps carry the module paths of the
 * reference; attention weights are tapped as PATH:attn, for the dissipation statistics. */
#include "models/avsegformer.h"

#include <string.h>

#include "models/attention.h"
#include "models/avesformer.h"
#include "models/backbones/backbones.h"
#include "models/losses.h"
#include "models/mask_head.h"

enum { MAX_LAYERS = 64 };

/* Frames that do not exist: x [F,..] times mask [F], nothing where there is no mask. */
static avs_val where_frames(avs_graph *g, avs_val x, avs_val mask)
{
    if (!x || !mask) return x;
    avs_type t = *avs_t(g, x);
    for (int i = 1; i < t.rank; i++) t.d[i] = 1;
    return avs_mul(g, x, avs_reshape(g, mask, t));
}

static avs_val conv_norm(avs_graph *g, avs_val x, const char *name, int out, int k)
{
    avs_scope_push(g, "%s", name);
    avs_val y = avs_nn_groupnorm(g, avs_nn_conv(g, x, "0", out, k, 1, k / 2, true, AVS_NN_XAVIER), "1", 32);
    avs_scope_pop(g);
    return y;
}

/* ------------------------------------------------------------------ transformer */

static avs_val encoder(avs_graph *g, const avs_cfg *cfg, avs_val x, avs_val position,
                       const avs_msdeform_attr *lv)
{
    const float p = (float)avs_cfg_num(cfg, "dropout");
    const int heads = (int)avs_cfg_int(cfg, "num_heads"), points = (int)avs_cfg_int(cfg, "num_points");
    for (int i = 0; i < (int)avs_cfg_int(cfg, "num_encoder_layers"); i++) {
        avs_scope_push(g, "transformer.encoder.layers.%d", i);
        avs_val y = avs_deformable(g, "self_attn", avs_add(g, x, position), x, heads, points, lv);
        avs_tap(g, "self_attn", y);
        x = avs_nn_layernorm(g, avs_add(g, x, avs_dropout(g, y, p, false)), "norm1", 1e-5F);
        x = avs_nn_ffn(g, x, "norm2", (int)avs_cfg_int(cfg, "ffn_dim"), p, AVS_NN_XAVIER);
        avs_scope_pop(g);
        avs_nn_tap(g, x, "transformer.encoder.layers.%d", i);
    }
    return x;
}

typedef struct {
    avs_val
        out[MAX_LAYERS]; /* queries after each layer [F,Q,C]                                               */
    avs_val map
        [MAX_LAYERS]; /* mean over the heads of the probabilities after dropout, as the code has it [F,Q,S] */
    int n;
} decoded;

static void decoder(avs_graph *g, const avs_cfg *cfg, avs_val q, avs_val memory, decoded *d)
{
    const float p = (float)avs_cfg_num(cfg, "dropout");
    avs_val weights = 0;
    const avs_attention_cfg self = {
        .heads = (int)avs_cfg_int(cfg, "num_heads"), .bias = true, .dropout = p, .out_init = AVS_NN_XAVIER0};
    avs_attention_cfg cross = self;
    cross.weights = &weights;
    d->n = (int)avs_cfg_int(cfg, "num_decoder_layers");
    for (int i = 0; i < d->n; i++) {
        avs_scope_push(g, "transformer.decoder.layers.%d", i);
        avs_val y = avs_dropout(g, avs_attention(g, "self_attn", q, q, &self), p, false);
        q = avs_tap(g, "norm1", avs_nn_layernorm(g, avs_add(g, q, y), "norm1", 1e-5F));
        y = avs_tap(g, "cross_attn.0", avs_attention(g, "cross_attn", q, memory, &cross));
        avs_val map = avs_reduce(g, weights, 1, 2, true);
        q = avs_nn_layernorm(g, avs_add(g, q, avs_dropout(g, y, p, false)), "norm2", 1e-5F);
        avs_tap(g, "norm2", q);
        q = avs_nn_ffn(g, q, "norm3", (int)avs_cfg_int(cfg, "ffn_dim"), p, AVS_NN_XAVIER);
        if (map)
            map = avs_reshape(g, map, AVS_F32T(avs_dim(g, map, 0), avs_dim(g, map, 2), avs_dim(g, map, 3)));
        d->map[i] = avs_tap(g, "cross_attn.1", map);
        avs_scope_pop(g);
        d->out[i] = avs_nn_tap(g, q, "transformer.decoder.layers.%d", i);
    }
}

/* Queries of the decoder [F,Q,C]: the audio token, repeated or through the generator, plus the learnable table. */
static avs_val queries(avs_graph *g, const avs_cfg *cfg, avs_val audio)
{
    if (!audio) return 0;
    const int F = avs_dim(g, audio, 0), C = avs_dim(g, audio, 2), Q = (int)avs_cfg_int(cfg, "num_queries");
    avs_val q;
    if (avs_cfg_is(cfg, "query_generator", "repeat")) {
        q = avs_expand(g, audio, AVS_F32T(F, Q, C));
    } else {
        const avs_generator_cfg gc = {.kind = avs_cfg_str(cfg, "query_generator"),
                                      .num_queries = Q,
                                      .layers = (int)avs_cfg_int(cfg, "num_generator_layers"),
                                      .heads = (int)avs_cfg_int(cfg, "num_heads"),
                                      .ffn_dim = (int)avs_cfg_int(cfg, "generator_ffn_dim"),
                                      .dotted_query = true};
        avs_scope_push(g, "query_generator");
        q = avs_query_generator(g, audio, &gc);
        avs_scope_pop(g);
        avs_tap(g, "query_generator", q);
    }
    avs_val table =
        avs_param(g, "learnable_query.weight", AVS_F32T(Q, C), (avs_init){.kind = AVS_INIT_XAVIER_UNIFORM});
    if (!avs_cfg_bool(cfg, "learnable_queries")) return q;
    return avs_add(g, q, avs_reshape(g, table, AVS_F32T(1, Q, C)));
}

/* ------------------------------------------------------------------ masks */

/* cha: the audio attends to the pixels, the result gates the channels (no residual, as in the code). cra: the pixels attend
 * to the one audio token, so every pixel gets the same vector. */
static avs_val mixer(avs_graph *g, const avs_cfg *cfg, avs_val m, avs_val audio)
{
    if (!m || !audio || avs_cfg_is(cfg, "mixer", "none")) return m;
    const int heads = (int)avs_cfg_int(cfg, "num_heads"), h = avs_dim(g, m, 1), w = avs_dim(g, m, 2);
    avs_val x = avs_nn_tokens(g, m);
    if (avs_cfg_is(cfg, "mixer", "cha"))
        x = avs_mul(g, x, avs_sigmoid(g, avs_mixer_attention(g, "fusion_block", audio, x, heads)));
    else
        x = avs_add(g, x, avs_mixer_attention(g, "fusion_block", x, audio, heads));
    return avs_tap(g, "fusion_block", avs_nn_map(g, x, h, w));
}

/* Intermediate mask of a decoder layer [F,H,W,K]. qr: the queries spread by their attention maps; ar: the maps themselves.
 * From the coarsest level to stride 4, then the classifier; parameters are shared by the layers. */
static avs_val reformer(avs_graph *g, const avs_cfg *cfg, avs_val out, avs_val map,
                        const avs_msdeform_attr *lv)
{
    static const char *const fc[3] = {"attn_fc.0", "attn_fc.2", "attn_fc.4"};
    avs_val level[AVS_MAX_LEVELS] = {0}, x;
    char name[24];
    if (!out || !map) return 0;
    if (avs_cfg_is(cfg, "aux_loss", "ar"))
        x = avs_permute(g, map, (const int[]){0, 2, 1});
    else
        x = avs_matmul(g, map, out, (avs_matmul_attr){.ta = 1});
    if (!x) return 0;
    avs_level_maps(g, x, lv, level);
    avs_val t = level[lv->levels - 1];
    for (int i = lv->levels - 1; t && i >= 0; i--) {
        t = avs_resize(g, t, 2 * lv->h[i], 2 * lv->w[i], AVS_RESIZE_BILINEAR, false);
        snprintf(name, sizeof name, "fpn.up%d.1", 3 - i);
        t = avs_nn_conv(g, t, name, avs_dim(g, x, 2), 3, 1, 1, true, AVS_NN_XAVIER);
        if (i > 0) t = avs_add(g, t, level[i - 1]);
    }
    return avs_mask_classifier(g, t, fc, (int)avs_cfg_int(cfg, "num_classes"));
}

/* ------------------------------------------------------------------ the whole */

typedef struct {
    avs_val mask[MAX_LAYERS], feature; /* auxiliary: one mask a layer, or the mask feature */
    int n;
} auxiliary;

static avs_val main_term(avs_graph *g, const avs_cfg *cfg, avs_val logits, const avs_model_io *io)
{
    if (avs_cfg_is(cfg, "seg_loss", "ce")) return avs_loss_ce(g, logits, io->target, io->row_weight);
    if (avs_cfg_is(cfg, "seg_loss", "bce")) return avs_loss_bce(g, logits, io->target, io->row_weight);
    return avs_loss_dice(g, avs_sigmoid(g, logits), io->target, io->row_weight, true, 1e-3F);
}

/* Terms are tapped with their weights in, under the names of the reference. */
static void losses(avs_graph *g, const avs_cfg *cfg, avs_model_io *io, const auxiliary *aux)
{
    avs_loss_sum sum = {0};
    char name[24];
    if (!io->logits) return;
    const int H = avs_dim(g, io->logits, 1), W = avs_dim(g, io->logits, 2);
    const double w_aux = avs_cfg_num(cfg, "aux_weight");
    avs_loss_add_scaled(g, &sum, "iou_loss", main_term(g, cfg, io->logits, io),
                        avs_cfg_num(cfg, "seg_weight"));
    for (int i = 0; i < aux->n; i++) {
        snprintf(name, sizeof name, "mask_loss%d", i);
        avs_loss_add_scaled(g, &sum, name, main_term(g, cfg, aux->mask[i], io), w_aux);
    }
    if (aux->feature) { /* never below one half, since the feature is not negative: kept from the code */
        avs_val fg = avs_cfg_int(cfg, "num_classes") > 1 ? avs_foreground(g, io->target) : io->target;
        avs_val z = avs_resize(g, avs_reduce(g, aux->feature, 3, 4, true), H, W, AVS_RESIZE_BILINEAR, false);
        avs_loss_add_scaled(g, &sum, "mix_loss",
                            avs_loss_dice(g, avs_sigmoid(g, z), fg, io->row_weight, true, 1e-3F), w_aux);
    }
    io->loss = avs_tap(g, "loss:total", sum.total);
    avs_graph_output(g, "loss", io->loss);
}

static void backbone(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_val frames, avs_val f[4])
{
    avs_scope_push(g, "backbone");
    if (avs_cfg_is(cfg, "backbone", "resnet50"))
        avs_resnet50_twin(g, frames, f);
    else
        avs_backbone(g, avs_cfg_str(cfg, "backbone"), frames,
                     b->training ? (float)avs_cfg_num(cfg, "drop_path") : 0.F, f);
    avs_scope_pop(g);
}

/* The mask feature [F,H/4,W/4,C] before the mixer, of the stride-4 projection and the first level of the memory. */
static avs_val mask_feature(avs_graph *g, avs_val quarter, avs_val eighth)
{
    if (!quarter || !eighth) return 0;
    const int C = avs_dim(g, quarter, 3);
    avs_val m = conv_norm(g, quarter, "lateral_conv", C, 1);
    avs_tap(g, "lateral_conv", m);
    m = avs_add(g, m, avs_resize(g, eighth, avs_dim(g, m, 1), avs_dim(g, m, 2), AVS_RESIZE_BILINEAR, false));
    avs_scope_pop(g);
    avs_tap(g, "mask_feature_sum", m);
    avs_scope_push(g, "head");
    return avs_tap(g, "out_conv", avs_relu(g, conv_norm(g, m, "out_conv", C, 3)));
}

/* Logits from the mask feature after the mixer and the decoder's last queries; called inside the scope `head`. */
static avs_val predict(avs_graph *g, const avs_cfg *cfg, avs_val m, avs_val q)
{
    static const char *const mlp[3] = {"mlp.layers.0", "mlp.layers.1", "mlp.layers.2"}, *const fc[3] = {
                                                                                            "fc.0", "fc.2",
                                                                                            "fc.4"};
    if (!m || !q) return 0;
    avs_val e = avs_query_maps(g, m, q);
    avs_val y = avs_query_mlp(g, e, mlp, (int)avs_cfg_int(cfg, "mask_mlp_dim"), avs_dim(g, m, 3));
    avs_tap(g, "mlp", y);
    avs_val u = avs_add(g, m, y);
    avs_val z = avs_tap(g, "fc", avs_mask_classifier(g, u, fc, (int)avs_cfg_int(cfg, "num_classes")));
    avs_scope_pop(g);
    avs_tap(g, "query_mask_product", e);
    avs_tap(g, "fc_input", u);
    avs_scope_push(g, "head");
    return z;
}

/* The scope `head`: everything behind backbone and audio projection. */
static avs_val head(avs_graph *g, const avs_cfg *cfg, const avs_val f[4], avs_val audio, avs_val mask,
                    auxiliary *aux)
{
    const int C = (int)avs_cfg_int(cfg, "embed_dim");
    avs_msdeform_attr lv = {0};
    avs_val x[4], level[AVS_MAX_LEVELS];
    decoded d = {0};
    char name[24];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "in_proj.%d", i);
        x[i] = avs_tap(g, name, conv_norm(g, where_frames(g, f[i], mask), name, C, 1));
    }
    avs_val src = avs_level_tokens(g, x + 1, (int)avs_cfg_int(cfg, "num_levels"), &lv);
    if (!src) return 0;
    avs_val position = avs_level_position(g, &lv, C), q = queries(g, cfg, audio);
    avs_scope_pop(g);
    avs_tap(g, "src_flatten", src);
    avs_tap(g, "lvl_pos_embed_flatten", avs_expand(g, position, *avs_t(g, src)));
    avs_tap(g, "query", q);
    avs_scope_push(g, "head");
    avs_val memory = encoder(g, cfg, src, position, &lv);
    decoder(g, cfg, q, memory, &d);
    if (!memory || !d.out[d.n - 1]) return 0;
    avs_level_maps(g, memory, &lv, level);
    avs_val m = mixer(g, cfg, mask_feature(g, x[0], level[0]), audio);
    avs_val logits = predict(g, cfg, m, d.out[d.n - 1]);
    if (avs_cfg_is(cfg, "aux_loss", "qr") || avs_cfg_is(cfg, "aux_loss", "ar"))
        aux->n = d.n;
    else /* declares the parameters that the code keeps and nothing reads: no plan runs it */
        (void)reformer(g, cfg, d.out[d.n - 1], d.map[d.n - 1], &lv);
    for (int i = 0; i < aux->n; i++)
        aux->mask[i] = where_frames(g, reformer(g, cfg, d.out[i], d.map[i], &lv), mask);
    if (avs_cfg_is(cfg, "variant", "released")) {
        m = where_frames(g, m, mask);
        avs_scope_pop(g);
        avs_tap(g, "mask_feature_out", m);
        avs_scope_push(g, "head");
        if (avs_cfg_is(cfg, "aux_loss", "mix")) aux->feature = m;
    }
    return where_frames(g, logits, mask);
}

static int build(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io, avs_err *e)
{
    const int C = (int)avs_cfg_int(cfg, "embed_dim");
    auxiliary aux = {0};
    avs_val f[4] = {0};

    io->frames = avs_input(g, "frames", AVS_F32T(b->rows, b->height, b->width, 3));
    avs_val audio = avs_nn_linear(g, avs_model_vggish(g, b, io), "audio_proj", C, true, AVS_NN_TORCH);
    audio = avs_tap(g, "audio_proj", avs_reshape(g, audio, AVS_F32T(b->rows, 1, C)));
    avs_val mask = b->with_frame_mask ? avs_input(g, "frame_mask", AVS_F32T(b->rows)) : 0;
    backbone(g, cfg, b, io->frames, f);
    avs_scope_push(g, "head");
    io->logits = head(g, cfg, f, audio, mask, &aux);
    avs_scope_pop(g);
    avs_tap(g, "pred", io->logits);
    for (int i = 0; i < aux.n; i++) avs_nn_tap(g, aux.mask[i], "attn_masks.%d", i);
    avs_graph_output(g, "logits", io->logits);
    if (b->with_loss) {
        avs_model_targets(g, cfg, b, io);
        losses(g, cfg, io, &aux);
    }
    return avs_graph_check(g, e);
}

const avs_model_rule avs_avsegformer_rule = {
    .name = "avsegformer", .build = build, .backbone_prefix = "backbone.", .audio_prefix = "vggish."};
