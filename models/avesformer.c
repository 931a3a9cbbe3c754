/* AVESFormer (arXiv 2408.01708): neck, query generator, six ELF blocks, mask head with query-map MLP, losses.
 * The paper's code is not public; what it leaves open follows docs/models.md (neck, FPN, MLP fixed by the
 * parameter counts). */
#include "models/avesformer.h"

#include <string.h>

#include "models/backbones/backbones.h"
#include "models/layers.h"
#include "models/losses.h"

/* y = fpn.0(up(p32)) + p16; fpn.1(up(y)) + p8; fpn.2(up(y)) + lateral(n0); then the output convolutions. */
static avs_val mask_feature(avs_graph *g, const avs_val maps[3], int levels, avs_val quarter,
                            const avs_cfg *cfg)
{
    avs_val y = maps[levels - 1];
    char name[24];
    if (!y || !quarter) return 0;
    const int C = avs_dim(g, y, 3);
    for (int i = 0; i < levels; i++) {
        avs_val add = i < levels - 1 ? maps[levels - 2 - i] : 0;
        if (!add) {
            avs_scope_push(g, "lateral");
            add = avs_nn_groupnorm(g, avs_nn_conv(g, quarter, "0", C, 1, 1, 0, true, AVS_NN_XAVIER), "1", 32);
            avs_scope_pop(g);
        }
        if (!add) return 0;
        y = avs_resize(g, y, avs_dim(g, add, 1), avs_dim(g, add, 2), AVS_RESIZE_BILINEAR, false);
        snprintf(name, sizeof name, "fpn.%d", 3 - levels + i);
        y = avs_add(g, avs_nn_conv(g, y, name, C, 3, 1, 1, true, AVS_NN_XAVIER), add);
    }
    avs_scope_pop(g); /* taps are named from the model, not from mask_head */
    avs_tap(g, "fpn", y);
    avs_scope_push(g, "mask_head");
    for (int i = 0; i < (int)avs_cfg_int(cfg, "num_out_convs"); i++) {
        snprintf(name, sizeof name, "out.%d", 3 * i);
        y = avs_nn_conv(g, y, name, C, 3, 1, 1, true, AVS_NN_XAVIER);
        snprintf(name, sizeof name, "out.%d", 3 * i + 1);
        y = avs_relu(g, avs_nn_groupnorm(g, y, name, 32));
    }
    return y;
}

static avs_val mask_head(avs_graph *g, const avs_val maps[3], avs_val quarter, avs_val gen,
                         const avs_cfg *cfg, avs_val *feature)
{
    avs_scope_push(g, "mask_head");
    avs_val F = mask_feature(g, maps, (int)avs_cfg_int(cfg, "num_levels"), quarter, cfg);
    avs_scope_pop(g);
    *feature = avs_tap(g, "mask_feature", F);
    if (!F || !gen) return 0;
    const int h = avs_dim(g, F, 1), w = avs_dim(g, F, 2), C = avs_dim(g, F, 3),
              hidden = (int)avs_cfg_int(cfg, "mask_mlp_dim");
    /* q_j = sum_c gen[j,c] F[c]: tokens times the queries, channels-last */
    avs_val q = avs_matmul(g, avs_nn_tokens(g, F), gen, (avs_matmul_attr){.tb = 1});
    q = avs_tap(g, "query_maps", avs_nn_map(g, q, h, w));
    avs_scope_push(g, "mask_head");
    q = avs_relu(g, avs_nn_conv(g, q, "mlp.0", hidden, 1, 1, 0, true, AVS_NN_XAVIER));
    q = avs_relu(g, avs_nn_conv(g, q, "mlp.1", hidden, 1, 1, 0, true, AVS_NN_XAVIER));
    q = avs_nn_conv(g, q, "mlp.2", C, 1, 1, 0, true, AVS_NN_XAVIER);
    avs_scope_pop(g);
    avs_tap(g, "mlp", q);
    avs_scope_push(g, "mask_head");
    avs_val z = avs_nn_conv(g, avs_add(g, F, q), "fc.0", 128, 3, 1, 1, true, AVS_NN_XAVIER);
    z = avs_resize(g, z, 4 * h, 4 * w, AVS_RESIZE_BILINEAR, false);
    z = avs_relu(g, avs_nn_conv(g, z, "fc.1", 32, 3, 1, 1, true, AVS_NN_XAVIER));
    z = avs_nn_conv(g, z, "fc.2", (int)avs_cfg_int(cfg, "num_classes"), 1, 1, 0, false, AVS_NN_XAVIER);
    avs_scope_pop(g);
    return avs_tap(g, "logits", z);
}

/* Level embeddings are added to the sine table of each level: [1,N,C]. */
static avs_val position(avs_graph *g, const avs_msdeform_attr *lv, int C)
{
    avs_val embed =
        avs_param(g, "level_embed", AVS_F32T(lv->levels, C), (avs_init){.kind = AVS_INIT_NORMAL, .a = 1.F});
    avs_val part[AVS_MAX_LEVELS];
    for (int l = 0; l < lv->levels; l++) {
        avs_val e = avs_reshape(g, avs_slice(g, embed, 0, l, 1), AVS_F32T(1, 1, C));
        part[l] = avs_expand(g, e, AVS_F32T(1, (int64_t)lv->h[l] * lv->w[l], C));
    }
    return avs_tap(g, "position",
                   avs_add(g, avs_sine_position(g, lv, C), avs_concat(g, part, lv->levels, 1)));
}

static void losses(avs_graph *g, const avs_cfg *cfg, avs_model_io *io, avs_val feature)
{
    avs_loss_sum sum = {0};
    if (!io->logits || !feature) return;
    const int H = avs_dim(g, io->logits, 1), W = avs_dim(g, io->logits, 2);
    const bool classes = avs_dim(g, io->logits, 3) > 1;
    const double w_iou = avs_cfg_num(cfg, "iou_weight");
    const bool soft = !classes && avs_cfg_is(cfg, "iou_loss", "soft");
    avs_val fg = classes ? avs_foreground(g, io->target) : io->target;
    avs_val prob = avs_foreground_prob(g, io->logits);
    avs_val cross = classes ? avs_loss_ce(g, io->logits, io->target, io->row_weight)
                            : avs_loss_bce(g, io->logits, io->target, io->row_weight);
    avs_loss_add(g, &sum, "iou_bce", cross, soft ? 0.0 : w_iou);
    avs_loss_add(g, &sum, "iou_soft", avs_loss_soft_iou(g, prob, fg, io->row_weight, 1e-3F),
                 soft ? w_iou : 0.0);
    avs_loss_add(g, &sum, "dice", avs_loss_dice(g, prob, fg, io->row_weight, true, 1e-3F),
                 avs_cfg_num(cfg, "dice_weight"));
    /* L_aux: Dice of the channel mean of F. F >= 0, so sigmoid(m) >= 0.5 everywhere: kept from AVSegFormer.
     */
    avs_val m = avs_resize(g, avs_reduce(g, feature, 3, 4, true), H, W, AVS_RESIZE_BILINEAR, false);
    const double w_aux = avs_cfg_is(cfg, "aux_loss", "mix") ? avs_cfg_num(cfg, "aux_weight") : 0.0;
    avs_loss_add(g, &sum, "aux", avs_loss_dice(g, avs_sigmoid(g, m), fg, io->row_weight, true, 1e-3F), w_aux);
    io->loss = avs_tap(g, "loss:total", sum.total);
    avs_graph_output(g, "loss", io->loss);
}

static avs_val audio_token(avs_graph *g, const avs_build *b, int C, avs_model_io *io)
{
    avs_val feature;
    if (b->audio_input == AVS_AUDIO_FEATURE) {
        feature = io->audio = avs_input(g, "audio_feature", AVS_F32T(b->rows, 128));
    } else {
        io->audio = avs_input(g, "audio", AVS_F32T(b->rows, 96, 64, 1));
        avs_scope_push(g, "vggish");
        feature = avs_vggish(g, io->audio);
        avs_scope_pop(g);
    }
    avs_tap(g, "vggish", feature);
    avs_val token = avs_nn_linear(g, feature, "audio_proj", C, true, AVS_NN_XAVIER);
    return avs_tap(g, "audio_token", avs_reshape(g, token, AVS_F32T(b->rows, 1, C)));
}

static avs_val generated(avs_graph *g, const avs_cfg *cfg, avs_val token)
{
    const char *kind = avs_cfg_str(cfg, "query_generator");
    const bool layered = !strcmp(kind, "qg") || !strcmp(kind, "pqg");
    const avs_generator_cfg gc = {.kind = kind,
                                  .num_queries = (int)avs_cfg_int(cfg, "num_queries"),
                                  .heads = (int)avs_cfg_int(cfg, "num_heads"),
                                  .layers = layered ? (int)avs_cfg_int(cfg, "num_generator_layers") : 0,
                                  .ffn_dim = layered ? (int)avs_cfg_int(cfg, "generator_ffn_dim") : 0};
    avs_scope_push(g, "generator");
    avs_val gen = avs_query_generator(g, token, &gc);
    avs_scope_pop(g);
    avs_graph_output(g, "generated_queries", gen);
    return avs_tap(g, "generated_queries", gen);
}

/* Six blocks over the tokens of strides 8, 16, 32; maps[l] are the results per level. */
static void decoder(avs_graph *g, const avs_cfg *cfg, const avs_val neck[4], avs_val gen, avs_val token,
                    avs_val maps[3])
{
    avs_elf_cfg block = {.fusion = avs_cfg_str(cfg, "fusion"),
                         .heads = (int)avs_cfg_int(cfg, "num_heads"),
                         .points = (int)avs_cfg_int(cfg, "num_points"),
                         .ffn_dim = (int)avs_cfg_int(cfg, "ffn_dim"),
                         .dropout = (float)avs_cfg_num(cfg, "dropout"),
                         .levels.levels = (int)avs_cfg_int(cfg, "num_levels")};
    const char *elf = avs_cfg_str(cfg, "elf_stages");
    const int per_stage = (int)avs_cfg_int(cfg, "blocks_per_stage");
    avs_val part[3];
    for (int l = 0; l < block.levels.levels; l++) {
        if (!neck[l + 1]) return;
        block.levels.h[l] = avs_dim(g, neck[l + 1], 1);
        block.levels.w[l] = avs_dim(g, neck[l + 1], 2);
        part[l] = avs_nn_tokens(g, neck[l + 1]);
    }
    avs_val x = avs_concat(g, part, block.levels.levels, 1);
    if (!x) return;
    avs_val pos = position(g, &block.levels, avs_dim(g, x, 2));
    for (int i = 0; i < 3 * per_stage; i++) {
        block.kind = elf[i / per_stage];
        avs_scope_push(g, "decoder.%d", i);
        x = avs_elf_block(g, x, pos, gen, token, &block);
        avs_scope_pop(g);
        avs_nn_tap(g, x, "decoder.%d", i);
    }
    for (int l = 0, start = 0; l < block.levels.levels; l++) {
        const int h = block.levels.h[l], w = block.levels.w[l];
        maps[l] = avs_nn_map(g, avs_slice(g, x, 1, start, h * w), h, w);
        start += h * w;
    }
}

static int build(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io, avs_err *e)
{
    const int C = (int)avs_cfg_int(cfg, "embed_dim"), k = (int)avs_cfg_int(cfg, "neck_kernel_size");
    avs_val f[4] = {0}, neck[4] = {0}, maps[3] = {0}, feature = 0;
    char name[24];

    io->frames = avs_input(g, "frames", AVS_F32T(b->rows, b->height, b->width, 3));
    avs_val token = audio_token(g, b, C, io);
    avs_scope_push(g, "backbone");
    avs_backbone(g, avs_cfg_str(cfg, "backbone"), io->frames,
                 b->training ? (float)avs_cfg_num(cfg, "drop_path") : 0.F, f);
    avs_scope_pop(g);
    for (int i = 0; i < 4; i++) {
        avs_nn_tap(g, f[i], "backbone.%d", i);
        snprintf(name, sizeof name, "neck.%d", i);
        avs_scope_push(g, "%s", name);
        neck[i] =
            avs_nn_groupnorm(g, avs_nn_conv(g, f[i], "0", C, k, 1, k / 2, true, AVS_NN_XAVIER), "1", 32);
        avs_scope_pop(g);
        avs_tap(g, name, neck[i]);
    }
    avs_val gen = generated(g, cfg, token);
    decoder(g, cfg, neck, gen, token, maps);
    io->logits = mask_head(g, maps, neck[0], gen, cfg, &feature);
    avs_graph_output(g, "logits", io->logits);
    if (b->with_loss) {
        const bool classes = avs_cfg_int(cfg, "num_classes") > 1;
        io->target =
            avs_input(g, "target", AVS_TYPE(classes ? AVS_I32 : AVS_F32, b->rows, b->height, b->width));
        io->row_weight = avs_input(g, "row_weight", AVS_F32T(b->rows));
        losses(g, cfg, io, feature);
    }
    return avs_graph_check(g, e);
}

const avs_model_rule avs_avesformer_rule = {
    .name = "avesformer", .build = build, .backbone_prefix = "backbone.", .audio_prefix = "vggish."};
