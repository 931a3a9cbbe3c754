/* The pixel decoder of Stepping Stones: deformable self-attention over strides 32, 16 and 8, one step up to stride 4. In
 * stage one the adapter stands in place of the output projection, which is kept in the state dict and never run. */
#include <math.h>

#include "models/aavs.h"
#include "models/attention.h"

/* One more than the reference's temperature table needs no name of its own: 10000^(2 floor(k/2) / half). */
avs_val avs_aavs_sine(avs_graph *g, int h, int w, int C)
{
    const int half = C / 2;
    float *pos = AVS_NEW_N(g->arena, float, (int64_t)h *w *C), *p = pos;
    if (!pos) return avs_graph_fail(g, AVS_ENOMEM, "out of memory for a position table of %dx%d", h, w);
    for (int r = 0; r < h; r++)
        for (int c = 0; c < w; c++)
            for (int k = 0; k < C; k++) {
                const int j = k % half;
                const float t = powf(10000.F, (float)(j - j % 2) / (float)half);
                const float at =
                    k < half ? (float)(r + 1) / ((float)h + 1e-6F) : (float)(c + 1) / ((float)w + 1e-6F);
                const float angle = at * 6.283185307179586F / t;
                *p++ = j % 2 ? cosf(angle) : sinf(angle);
            }
    return avs_const(g, AVS_F32T(1, (int64_t)h * w, C), pos);
}

avs_val avs_aavs_adapt(avs_graph *g, avs_val x, avs_nn_init init)
{
    const int C = avs_dim(g, x, avs_t(g, x)->rank - 1);
    if (!x) return 0;
    avs_scope_push(g, "avs_adapt");
    avs_val y = avs_nn_linear(g, x, "0", C / 4, true, init);
    y = avs_nn_linear(g, avs_relu(g, y), "2", C, true, init);
    avs_scope_pop(g);
    return y;
}

static avs_val conv_norm(avs_graph *g, avs_val x, const char *name, int out, int k, bool bias)
{
    avs_scope_push(g, "%s", name);
    avs_val y = avs_nn_groupnorm(g, avs_nn_conv(g, x, "0", out, k, 1, k / 2, bias, AVS_NN_TRUNC02), "1", 32);
    avs_scope_pop(g);
    return y;
}

static avs_val self_attention(avs_graph *g, const avs_cfg *cfg, avs_val x, avs_val position,
                              const avs_msdeform_attr *lv)
{
    const avs_deformable_cfg dc = {.heads = (int)avs_cfg_int(cfg, "num_heads"),
                                   .points = (int)avs_cfg_int(cfg, "num_points"),
                                   .levels = lv,
                                   .is_plain = true};
    const bool adapts = avs_cfg_bool(cfg, "decoder_adapter"),
               projects = !adapts || avs_cfg_is(cfg, "attention_output", "projection_adapter");
    avs_val y = avs_deformable_samples(g, "self_attn", avs_add(g, x, position), 0, x, &dc);
    if (!y) return 0;
    avs_scope_push(g, "self_attn");
    avs_val z = avs_nn_linear(g, y, "output_proj", avs_dim(g, y, 2), true, AVS_NN_TRUNC02);
    if (projects) y = z;
    if (adapts) y = avs_aavs_adapt(g, y, AVS_NN_TRUNC02);
    avs_scope_pop(g);
    return y;
}

static avs_val encoder(avs_graph *g, const avs_cfg *cfg, avs_val x, avs_val position,
                       const avs_msdeform_attr *lv)
{
    for (int i = 0; x && i < (int)avs_cfg_int(cfg, "num_encoder_layers"); i++) {
        avs_scope_push(g, "encoder.layers.%d", i);
        avs_val y = avs_nn_tap(g, self_attention(g, cfg, x, position, lv), "/pixdec.layer%d.self_attn", i);
        x = avs_nn_layernorm(g, avs_add(g, x, y), "self_attn_layer_norm", 1e-5F);
        if (!x) return 0;
        y = avs_relu(
            g, avs_nn_linear(g, x, "fc1", (int)avs_cfg_int(cfg, "encoder_ffn_dim"), true, AVS_NN_TRUNC02));
        y = avs_nn_linear(g, y, "fc2", avs_dim(g, x, 2), true, AVS_NN_TRUNC02);
        x = avs_nn_layernorm(g, avs_add(g, x, y), "final_layer_norm", 1e-5F);
        avs_scope_pop(g);
        avs_nn_tap(g, x, "/pixdec.layer%d", i);
    }
    return x;
}

static avs_val position_of(avs_graph *g, const avs_msdeform_attr *lv, int C)
{
    avs_val part[AVS_AAVS_LEVELS];
    avs_val embed =
        avs_param(g, "level_embed", AVS_F32T(AVS_AAVS_LEVELS, C), (avs_init){.kind = AVS_INIT_ZERO});
    for (int l = 0; l < AVS_AAVS_LEVELS; l++)
        part[l] = avs_add(g, avs_aavs_sine(g, lv->h[l], lv->w[l], C),
                          avs_reshape(g, avs_slice(g, embed, 0, l, 1), AVS_F32T(1, 1, C)));
    return avs_concat(g, part, AVS_AAVS_LEVELS, 1);
}

avs_val avs_aavs_pixel_decoder(avs_graph *g, const avs_cfg *cfg, const avs_val f[4],
                               avs_val level[AVS_AAVS_LEVELS])
{
    const int C = (int)avs_cfg_int(cfg, "embed_dim");
    avs_msdeform_attr lv = {0};
    avs_val map[AVS_AAVS_LEVELS];
    char name[32];
    if (!f[0] || !f[1] || !f[2] || !f[3]) return 0;
    avs_scope_push(g, "model.model.pixel_level_module.decoder");
    for (int l = 0; l < AVS_AAVS_LEVELS; l++) {
        snprintf(name, sizeof name, "input_projections.%d", l);
        map[l] = avs_nn_tap(g, conv_norm(g, f[3 - l], name, C, 1, true), "/pixdec.input_projection%d", l);
    }
    avs_val x = avs_level_tokens(g, map, AVS_AAVS_LEVELS, &lv);
    x = encoder(g, cfg, x, position_of(g, &lv, C), &lv);
    if (x) avs_level_maps(g, x, &lv, level);
    for (int l = 0; l < AVS_AAVS_LEVELS; l++) avs_nn_tap(g, level[l], "/pixdec.multi_scale%d", l);
    avs_val y = avs_tap(g, "/pixdec.adapter_1", conv_norm(g, f[0], "adapter_1", C, 1, false));
    if (x && y)
        y = avs_add(g, y,
                    avs_resize(g, level[2], avs_dim(g, y, 1), avs_dim(g, y, 2), AVS_RESIZE_BILINEAR, false));
    y = avs_tap(g, "/pixdec.layer_1", avs_relu(g, conv_norm(g, y, "layer_1", C, 3, false)));
    y = avs_nn_conv(g, y, "mask_projection", C, 1, 1, 0, true, AVS_NN_TRUNC02);
    avs_scope_pop(g);
    return avs_tap(g, "/pixdec.mask_features", y);
}
