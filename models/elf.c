/* ELF blocks of AVESFormer's decoder. C: one 3x3 convolution per level in place of the two attentions. T:
 * deformable self-attention, audio-visual fusion. Both end in an FFN; post-norm throughout. */
#include "models/avesformer.h"

#include <string.h>

#include "models/layers.h"

static avs_val convolutions(avs_graph *g, avs_val x, const avs_msdeform_attr *lv)
{
    avs_msdeform_attr same;
    avs_val map[AVS_MAX_LEVELS];
    char name[24];
    avs_level_maps(g, x, lv, map);
    for (int l = 0; l < lv->levels; l++) {
        snprintf(name, sizeof name, "conv.%d", l);
        map[l] = avs_nn_conv(g, map[l], name, avs_dim(g, x, 2), 3, 1, 1, true, AVS_NN_XAVIER);
    }
    return avs_level_tokens(g, map, lv->levels, &same);
}

/* CHA: the generated queries attend to the tokens; their mean gates the channels. */
static avs_val channel_fusion(avs_graph *g, avs_val x, avs_val gen, int heads)
{
    avs_val y = avs_mixer_attention(g, "fuse", gen, x, heads);
    return avs_mul(g, x, avs_sigmoid(g, avs_reduce(g, y, 1, 2, true)));
}

/* TPAVI-like: plain dot products divided by the number of keys, no softmax. */
static avs_val dot_fusion(avs_graph *g, avs_val x, avs_val gen)
{
    const int C = avs_dim(g, x, 2), K = avs_dim(g, gen, 1);
    avs_scope_push(g, "fuse");
    avs_val theta = avs_nn_linear(g, x, "theta", C / 2, true, AVS_NN_XAVIER);
    avs_val phi = avs_nn_linear(g, gen, "phi", C / 2, true, AVS_NN_XAVIER);
    avs_val value = avs_nn_linear(g, gen, "g", C / 2, true, AVS_NN_XAVIER);
    avs_val a = avs_matmul(g, theta, phi, (avs_matmul_attr){.tb = 1, .alpha = 1.F / (float)K});
    avs_val y =
        avs_nn_linear(g, avs_matmul(g, a, value, (avs_matmul_attr){0}), "w_z", C, true, AVS_NN_XAVIER);
    avs_scope_pop(g);
    avs_tap(g, "fuse:out", y);
    return y;
}

static avs_val fuse(avs_graph *g, avs_val x, avs_val gen, avs_val audio, const avs_elf_cfg *cfg)
{
    if (!strcmp(cfg->fusion, "cha")) return channel_fusion(g, x, gen, cfg->heads);
    if (!strcmp(cfg->fusion, "tpavi")) return dot_fusion(g, x, gen);
    const avs_attention_cfg attn = {.heads = cfg->heads,
                                    .bias = true,
                                    .dropout = cfg->dropout,
                                    .sigmoid = !strcmp(cfg->fusion, "sigmoid")};
    return avs_attention(g, "fuse", x, strcmp(cfg->fusion, "dissipation") ? gen : audio, &attn);
}

avs_val avs_elf_block(avs_graph *g, avs_val x, avs_val position, avs_val gen, avs_val audio,
                      const avs_elf_cfg *cfg)
{
    if (!x) return 0;
    avs_val y;
    if (cfg->kind == 'C') {
        y = avs_dropout(g, convolutions(g, x, &cfg->levels), cfg->dropout, false);
        x = avs_nn_layernorm(g, avs_add(g, x, y), "norm1", 1e-5F);
    } else {
        y = avs_deformable(g, "self_attn", avs_add(g, x, position), x, cfg->heads, cfg->points, &cfg->levels);
        x = avs_nn_layernorm(g, avs_add(g, x, avs_dropout(g, y, cfg->dropout, false)), "norm1", 1e-5F);
        if (!x || !gen) return 0;
        y = fuse(g, x, gen, audio, cfg);
        x = avs_nn_layernorm(g, avs_add(g, x, avs_dropout(g, y, cfg->dropout, false)), "norm2", 1e-5F);
    }
    return avs_nn_ffn(g, x, "norm3", cfg->ffn_dim, cfg->dropout, AVS_NN_XAVIER);
}
