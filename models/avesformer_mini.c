/* avesformer_mini: see the header. w = backbone_width, C = embed_dim; cbr = 3x3 convolution without bias,
 * BatchNorm, ReLU.
 *
 * Audio encoders: mel_stats (mean and standard deviation over time of the log-mel patch), cnn, vggish
 * (frozen), none (a learned constant token: the negative control that cannot hear). */
#include "models/avesformer_mini.h"

#include <math.h>
#include <string.h>

#include "models/attention.h"
#include "models/avesformer.h"
#include "models/backbones/backbones.h"
#include "models/layers.h"
#include "models/losses.h"

static avs_val cbr(avs_graph *g, avs_val x, const char *name, int out, int stride)
{
    avs_scope_push(g, "%s", name);
    x = avs_nn_batchnorm(g, avs_nn_conv(g, x, "conv", out, 3, stride, 1, false, AVS_NN_TORCH), "bn");
    avs_scope_pop(g);
    return avs_relu(g, x);
}

static avs_val residual_stage(avs_graph *g, avs_val x, const char *name, int out)
{
    avs_scope_push(g, "%s", name);
    avs_val y = cbr(g, x, "cbr", out, 2);
    y = avs_nn_batchnorm(g, avs_nn_conv(g, y, "conv2", out, 3, 1, 1, false, AVS_NN_TORCH), "bn2");
    avs_val r =
        avs_nn_batchnorm(g, avs_nn_conv(g, x, "shortcut", out, 1, 2, 0, false, AVS_NN_TORCH), "bn_shortcut");
    avs_scope_pop(g);
    return avs_relu(g, avs_add(g, y, r));
}

/* Mean and standard deviation (divisor n-1) over the 96 time steps: [R,128]. */
static avs_val mel_stats(avs_graph *g, avs_val mel, int rows)
{
    avs_val x = avs_reshape(g, mel, AVS_F32T(rows, 96, 64));
    avs_val mean = avs_reduce(g, x, 1, 2, true);
    avs_val d = avs_ew_unary(g, AVS_EW_SQUARE, avs_sub(g, x, mean));
    /* the small offset keeps the derivative of the root finite for constant patches (digital silence) */
    avs_val var = avs_offset(g, avs_scale(g, avs_reduce(g, d, 1, 2, false), 1.F / 95.F), 1e-12F);
    avs_val std = avs_ew_unary(g, AVS_EW_SQRT, var);
    avs_val parts[2] = {avs_reshape(g, mean, AVS_F32T(rows, 64)), avs_reshape(g, std, AVS_F32T(rows, 64))};
    return avs_concat(g, parts, 2, 1);
}

static avs_val audio_cnn(avs_graph *g, avs_val mel, int rows)
{
    static const int width[4] = {16, 32, 64, 64};
    char name[16];
    avs_val x = avs_scale(g, avs_offset(g, mel, 2.F), 0.5F);
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%d", i);
        x = cbr(g, x, name, width[i], 2);
    }
    x = avs_reduce(g, x, 1, 2, true); /* over time: [R,1,4,64] */
    return avs_reshape(g, x, AVS_F32T(rows, 256));
}

static avs_val audio_token(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io)
{
    const char *kind = avs_cfg_str(cfg, "audio_backbone");
    const int C = (int)avs_cfg_int(cfg, "embed_dim"), R = b->rows;
    avs_val x;
    if (b->audio_input == AVS_AUDIO_FEATURE)
        x = io->audio = avs_input(g, "audio_feature", AVS_F32T(R, 128));
    else
        x = io->audio = avs_input(g, "audio", AVS_F32T(R, 96, 64, 1));
    if (!strcmp(kind, "none")) {
        avs_val t =
            avs_param(g, "audio_constant", AVS_F32T(1, 1, C), (avs_init){.kind = AVS_INIT_NORMAL, .a = 1.F});
        return avs_expand(g, t, AVS_F32T(R, 1, C));
    }
    avs_scope_push(g, !strcmp(kind, "vggish") ? "vggish" : "audio");
    if (!strcmp(kind, "mel_stats"))
        x = mel_stats(g, x, R);
    else if (!strcmp(kind, "cnn"))
        x = audio_cnn(g, x, R);
    else if (b->audio_input == AVS_AUDIO_MEL)
        x = avs_vggish(g, x);
    avs_scope_pop(g);
    if (strcmp(kind, "cnn") != 0 && avs_cfg_bool(cfg, "audio_norm")) x = avs_nn_batchnorm(g, x, "audio_norm");
    return avs_reshape(g, avs_nn_linear(g, x, "audio_proj", C, true, AVS_NN_TORCH), AVS_F32T(R, 1, C));
}

static void backbone(avs_graph *g, avs_val frames, int w, avs_val f[4])
{
    char name[16];
    avs_scope_push(g, "backbone");
    f[0] = cbr(g, frames, "stem", w, 2);
    for (int i = 1; i < 4; i++) {
        snprintf(name, sizeof name, "stage%d", i);
        f[i] = residual_stage(g, f[i - 1], name, w << i);
    }
    avs_scope_pop(g);
}

static avs_val cross_block(avs_graph *g, avs_val x, avs_val gen, const avs_cfg *cfg)
{
    const float p = (float)avs_cfg_num(cfg, "dropout");
    const avs_attention_cfg attn = {.heads = (int)avs_cfg_int(cfg, "num_heads"), .bias = true, .dropout = p};
    avs_val y = avs_dropout(g, avs_attention(g, "cross_attn", x, gen, &attn), p, false);
    x = avs_nn_layernorm(g, avs_add(g, x, y), "norm1", 1e-5F);
    return avs_nn_ffn(g, x, "norm2", (int)avs_cfg_int(cfg, "ffn_dim"), p, AVS_NN_TORCH);
}

/* Strides 8 and 16 see the audio: v + cbr(v), two cross-attention blocks. */
static void fuse(avs_graph *g, const avs_cfg *cfg, const avs_val n[4], avs_val gen, avs_val t[4])
{
    avs_val part[2];
    char name[16];
    for (int i = 2; i < 4; i++) {
        if (!n[i]) return;
        snprintf(name, sizeof name, "mix.%d", i);
        part[i - 2] = avs_nn_tokens(g, avs_add(g, n[i], cbr(g, n[i], name, avs_dim(g, n[i], 3), 1)));
    }
    avs_val x = avs_concat(g, part, 2, 1);
    for (int i = 0; i < (int)avs_cfg_int(cfg, "num_blocks"); i++) {
        avs_scope_push(g, "decoder.%d", i);
        x = cross_block(g, x, gen, cfg);
        avs_scope_pop(g);
        avs_nn_tap(g, x, "decoder.%d", i);
    }
    for (int i = 2, start = 0; i < 4; i++) {
        const int h = avs_dim(g, n[i], 1), w = avs_dim(g, n[i], 2);
        t[i] = avs_nn_map(g, avs_slice(g, x, 1, start, h * w), h, w);
        start += h * w;
    }
}

static avs_val up_to(avs_graph *g, avs_val x, int h, int w)
{
    return avs_resize(g, x, h, w, AVS_RESIZE_BILINEAR, false);
}

static avs_val head(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_val f0, avs_val n1,
                    const avs_val t[4], avs_val gen)
{
    const int C = (int)avs_cfg_int(cfg, "embed_dim");
    if (!f0 || !n1 || !t[2] || !t[3] || !gen) return 0;
    avs_val y =
        avs_add(g, t[2], cbr(g, up_to(g, t[3], avs_dim(g, t[2], 1), avs_dim(g, t[2], 2)), "fpn.0", C, 1));
    const int h = avs_dim(g, n1, 1), w = avs_dim(g, n1, 2);
    y = avs_add(g, n1, cbr(g, up_to(g, y, h, w), "fpn.1", C, 1));
    avs_val m =
        avs_matmul(g, avs_nn_tokens(g, y), gen, (avs_matmul_attr){.tb = 1, .alpha = 1.F / sqrtf((float)C)});
    m = avs_nn_map(g, m, h, w);
    m = avs_relu(g, avs_nn_conv(g, m, "mlp.0", 2 * C, 1, 1, 0, true, AVS_NN_TORCH));
    m = avs_nn_conv(g, m, "mlp.1", C, 1, 1, 0, true, AVS_NN_TORCH);
    y = cbr(g, avs_add(g, y, m), "out.0", 32, 1);
    avs_val detail = avs_nn_conv(g, f0, "detail", 32, 1, 1, 0, true, AVS_NN_TORCH);
    y = avs_add(g, up_to(g, y, avs_dim(g, f0, 1), avs_dim(g, f0, 2)), detail);
    y = cbr(g, y, "out.1", 16, 1);
    y = avs_nn_conv(g, y, "fc", (int)avs_cfg_int(cfg, "num_classes"), 1, 1, 0, true, AVS_NN_TORCH);
    return up_to(g, y, b->height, b->width);
}

static void losses(avs_graph *g, const avs_cfg *cfg, avs_model_io *io)
{
    avs_loss_sum sum = {0};
    if (!io->logits) return;
    const bool classes = avs_dim(g, io->logits, 3) > 1;
    avs_val fg = classes ? avs_foreground(g, io->target) : io->target;
    avs_val cross = classes ? avs_loss_ce(g, io->logits, io->target, io->row_weight)
                            : avs_loss_bce(g, io->logits, io->target, io->row_weight);
    avs_loss_add(g, &sum, "bce", cross, avs_cfg_num(cfg, "bce_weight"));
    avs_val dice = avs_loss_dice(g, avs_foreground_prob(g, io->logits), fg, io->row_weight, false, 1.F);
    avs_loss_add(g, &sum, "dice", dice, avs_cfg_num(cfg, "dice_weight"));
    io->loss = avs_tap(g, "loss:total", sum.total);
    avs_graph_output(g, "loss", io->loss);
}

static int build(avs_graph *g, const avs_cfg *cfg, const avs_build *b, avs_model_io *io, avs_err *e)
{
    const int C = (int)avs_cfg_int(cfg, "embed_dim");
    avs_val f[4] = {0}, n[4] = {0}, t[4] = {0};

    io->frames = avs_input(g, "frames", AVS_F32T(b->rows, b->height, b->width, 3));
    avs_val token = avs_tap(g, "audio_token", audio_token(g, cfg, b, io));
    backbone(g, io->frames, (int)avs_cfg_int(cfg, "backbone_width"), f);
    for (int i = 1; i < 4; i++) {
        avs_scope_push(g, "neck.%d", i);
        n[i] = avs_nn_groupnorm(g, avs_nn_conv(g, f[i], "0", C, 1, 1, 0, true, AVS_NN_TORCH), "1", 8);
        avs_scope_pop(g);
    }
    avs_scope_push(g, "generator");
    avs_val gen =
        avs_query_generator(g, token,
                            &(avs_generator_cfg){.kind = "pqg",
                                                 .num_queries = (int)avs_cfg_int(cfg, "num_queries"),
                                                 .layers = (int)avs_cfg_int(cfg, "num_generator_layers"),
                                                 .heads = (int)avs_cfg_int(cfg, "num_heads"),
                                                 .ffn_dim = (int)avs_cfg_int(cfg, "generator_ffn_dim"),
                                                 .normal_queries = true});
    avs_scope_pop(g);
    avs_tap(g, "generated_queries", gen);
    fuse(g, cfg, n, gen, t);
    avs_scope_push(g, "mask_head");
    io->logits = head(g, cfg, b, f[0], n[1], t, gen);
    avs_scope_pop(g);
    avs_tap(g, "logits", io->logits);
    avs_graph_output(g, "logits", io->logits);
    if (b->with_loss) {
        avs_model_targets(g, cfg, b, io);
        losses(g, cfg, io);
    }
    return avs_graph_check(g, e);
}

const avs_model_rule avs_avesformer_mini_rule = {
    .name = "avesformer_mini", .build = build, .backbone_prefix = "backbone.", .audio_prefix = "vggish."};
