/* AVESFormer (arXiv 2408.01708): neck, query generator, six ELF blocks, mask head with query-map MLP, losses.
 * The paper's code is not public; what it leaves open follows docs/models.md (neck, FPN, MLP fixed by the
 * parameter counts). */
#include "models/avesformer.h"

#include <string.h>

#include "models/backbones/backbones.h"
#include "models/losses.h"
#include "models/mask_head.h"

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
    static const char *const mlp[3] = {"mlp.0", "mlp.1", "mlp.2"}, *const fc[3] = {"fc.0", "fc.1", "fc.2"};
    avs_val q = avs_tap(g, "query_maps", avs_query_maps(g, F, gen));
    avs_scope_push(g, "mask_head");
    q = avs_query_mlp(g, q, mlp, (int)avs_cfg_int(cfg, "mask_mlp_dim"), avs_dim(g, F, 3));
    avs_scope_pop(g);
    avs_tap(g, "mlp", q);
    avs_scope_push(g, "mask_head");
    avs_val z = avs_mask_classifier(g, avs_add(g, F, q), fc, (int)avs_cfg_int(cfg, "num_classes"));
    avs_scope_pop(g);
    return avs_tap(g, "logits", z);
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
    avs_val token = avs_nn_linear(g, avs_model_vggish(g, b, io), "audio_proj", C, true, AVS_NN_XAVIER);
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
                         .dropout = (float)avs_cfg_num(cfg, "dropout")};
    const char *elf = avs_cfg_str(cfg, "elf_stages");
    const int per_stage = (int)avs_cfg_int(cfg, "blocks_per_stage");
    avs_val x = avs_level_tokens(g, neck + 1, (int)avs_cfg_int(cfg, "num_levels"), &block.levels);
    if (!x) return;
    avs_val pos = avs_tap(g, "position", avs_level_position(g, &block.levels, avs_dim(g, x, 2)));
    for (int i = 0; i < 3 * per_stage; i++) {
        block.kind = elf[i / per_stage];
        avs_scope_push(g, "decoder.%d", i);
        x = avs_elf_block(g, x, pos, gen, token, &block);
        avs_scope_pop(g);
        avs_nn_tap(g, x, "decoder.%d", i);
    }
    avs_level_maps(g, x, &block.levels, maps);
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
        avs_model_targets(g, cfg, b, io);
        losses(g, cfg, io, feature);
    }
    return avs_graph_check(g, e);
}

const avs_model_rule avs_avesformer_rule = {
    .name = "avesformer", .build = build, .backbone_prefix = "backbone.", .audio_prefix = "vggish."};
