/* Query generators of AVESFormer: how one audio token becomes N_q queries. Post-norm layers without
 * projection biases; exact GELU; no dropout, no position. */
#include "models/avesformer.h"

#include <string.h>

#include "models/layers.h"

static avs_val layer(avs_graph *g, avs_val x, avs_val audio, const avs_generator_cfg *cfg)
{
    const avs_attention_cfg attn = {.heads = cfg->heads};
    if (!x) return 0;
    const int C = avs_dim(g, x, 2);
    x = avs_nn_layernorm(g, avs_add(g, x, avs_attention(g, "self_attn", x, x, &attn)), "norm1", 1e-5F);
    if (audio)
        x = avs_nn_layernorm(g, avs_add(g, x, avs_attention(g, "cross_attn", x, audio, &attn)), "norm2",
                             1e-5F);
    avs_val y = avs_gelu(g, avs_nn_linear(g, x, "ffn.0", cfg->ffn_dim, true, AVS_NN_XAVIER));
    y = avs_nn_linear(g, y, "ffn.2", C, true, AVS_NN_XAVIER);
    return avs_nn_layernorm(g, avs_add(g, x, y), "norm3", 1e-5F);
}

avs_val avs_query_generator(avs_graph *g, avs_val audio, const avs_generator_cfg *cfg)
{
    if (!audio || !strcmp(cfg->kind, "none")) return audio;
    const int B = avs_dim(g, audio, 0), C = avs_dim(g, audio, 2), N = cfg->num_queries;
    avs_val query = avs_param(g, cfg->dotted_query ? "query.weight" : "query", AVS_F32T(N, C),
                              cfg->normal_queries ? (avs_init){.kind = AVS_INIT_NORMAL, .a = 1.F}
                                                  : (avs_init){.kind = AVS_INIT_XAVIER_UNIFORM});
    avs_val x = avs_expand(g, avs_reshape(g, query, AVS_F32T(1, N, C)), AVS_F32T(B, N, C));
    if (!strcmp(cfg->kind, "bqg")) return avs_add(g, x, audio);
    const bool prompt = !strcmp(cfg->kind, "pqg");
    if (prompt) x = avs_concat(g, (avs_val[]){audio, x}, 2, 1);
    for (int l = 0; l < cfg->layers; l++) {
        avs_scope_push(g, "layers.%d", l);
        x = layer(g, x, prompt ? 0 : audio, cfg);
        avs_scope_pop(g);
        avs_nn_tap(g, x, "layers.%d", l);
    }
    return prompt ? avs_slice(g, x, 1, 1, N) : x;
}
