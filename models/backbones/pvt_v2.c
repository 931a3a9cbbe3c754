/* PVTv2 b0..b5 (arXiv 2106.13797; the classifier removed, no `linear` variant). Tokens and maps are the same
 * bytes, so the reshapes of the reference are free views. */
#include "models/backbones/backbones.h"

#include "models/attention.h"
#include "models/layers.h"

typedef struct {
    int dim[4], depth[4], ratio[4], heads[4], sr[4];
} pvt_size;

static const pvt_size sizes[6] = {
    {{32, 64, 160, 256}, {2, 2, 2, 2}, {8, 8, 4, 4}, {1, 2, 5, 8}, {8, 4, 2, 1}},
    {{64, 128, 320, 512}, {2, 2, 2, 2}, {8, 8, 4, 4}, {1, 2, 5, 8}, {8, 4, 2, 1}},
    {{64, 128, 320, 512}, {3, 4, 6, 3}, {8, 8, 4, 4}, {1, 2, 5, 8}, {8, 4, 2, 1}},
    {{64, 128, 320, 512}, {3, 4, 18, 3}, {8, 8, 4, 4}, {1, 2, 5, 8}, {8, 4, 2, 1}},
    {{64, 128, 320, 512}, {3, 8, 27, 3}, {8, 8, 4, 4}, {1, 2, 5, 8}, {8, 4, 2, 1}},
    {{64, 128, 320, 512}, {3, 6, 40, 3}, {4, 4, 4, 4}, {1, 2, 5, 8}, {8, 4, 2, 1}},
};

/* Spatial-reduction attention: keys and values come from a map reduced by sr. */
static avs_val attention(avs_graph *g, avs_val x, int h, int w, int heads, int sr)
{
    const int C = avs_dim(g, x, 2);
    avs_val q = avs_nn_linear(g, x, "q", C, true, AVS_NN_TRUNC02), kv = x;
    if (sr > 1) {
        kv = avs_nn_conv(g, avs_nn_map(g, x, h, w), "sr", C, sr, sr, 0, true, AVS_NN_HE_OUT);
        kv = avs_nn_tokens(g, avs_tap(g, "sr", kv));
        kv = avs_tap(g, "norm", avs_nn_layernorm(g, kv, "norm", 1e-5F));
    }
    avs_scope_push(g, "kv");
    avs_val wt = avs_param(g, "weight", AVS_F32T((int64_t)2 * C, C),
                           (avs_init){.kind = AVS_INIT_TRUNC_NORMAL, .a = 0.02F});
    avs_val b = avs_param(g, "bias", AVS_F32T((int64_t)2 * C), (avs_init){.kind = AVS_INIT_ZERO});
    avs_scope_pop(g);
    avs_val k = avs_linear(g, kv, avs_slice(g, wt, 0, 0, C), avs_slice(g, b, 0, 0, C));
    avs_val v = avs_linear(g, kv, avs_slice(g, wt, 0, C, C), avs_slice(g, b, 0, C, C));
    avs_val y = avs_attention_core(g, q, k, v, &(avs_attention_cfg){.heads = heads}, NULL);
    return avs_nn_linear(g, y, "proj", C, true, AVS_NN_TRUNC02);
}

static avs_val mlp(avs_graph *g, avs_val x, int h, int w, int ratio)
{
    const int C = avs_dim(g, x, 2);
    x = avs_nn_linear(g, x, "fc1", ratio * C, true, AVS_NN_TRUNC02);
    x = avs_nn_depthwise(g, avs_nn_map(g, x, h, w), "dwconv.dwconv", 3, 1, true, AVS_NN_HE_OUT);
    x = avs_tap(g, "dwconv", avs_nn_tokens(g, x));
    return avs_nn_linear(g, avs_gelu(g, x), "fc2", C, true, AVS_NN_TRUNC02);
}

static avs_val block(avs_graph *g, avs_val x, int h, int w, const pvt_size *p, int stage, float drop)
{
    avs_val y = avs_nn_layernorm(g, x, "norm1", 1e-6F);
    avs_scope_push(g, "attn");
    y = attention(g, y, h, w, p->heads[stage], p->sr[stage]);
    avs_scope_pop(g);
    avs_tap(g, "attn", y);
    x = avs_add(g, x, avs_dropout(g, y, drop, true));
    y = avs_nn_layernorm(g, x, "norm2", 1e-6F);
    avs_scope_push(g, "mlp");
    y = mlp(g, y, h, w, p->ratio[stage]);
    avs_scope_pop(g);
    avs_tap(g, "mlp", y);
    return avs_add(g, x, avs_dropout(g, y, drop, true));
}

void avs_pvt_v2(avs_graph *g, int b, avs_val x, float drop_path, avs_val out[4])
{
    const pvt_size *p = &sizes[b];
    const int total = p->depth[0] + p->depth[1] + p->depth[2] + p->depth[3];
    char name[16];
    int nth = 0;
    for (int s = 0; s < 4 && x; s++) {
        avs_scope_push(g, "patch_embed%d", s + 1);
        x = avs_nn_conv(g, x, "proj", p->dim[s], s ? 3 : 7, s ? 2 : 4, s ? 1 : 3, true, AVS_NN_HE_OUT);
        if (!x) {
            avs_scope_pop(g);
            return;
        }
        const int h = avs_dim(g, x, 1), w = avs_dim(g, x, 2);
        x = avs_nn_layernorm(g, avs_nn_tokens(g, x), "norm", 1e-5F);
        avs_scope_pop(g);
        avs_nn_tap(g, x, "patch_embed%d", s + 1);
        for (int j = 0; j < p->depth[s] && x; j++, nth++) {
            avs_scope_push(g, "block%d.%d", s + 1, j);
            x = block(g, x, h, w, p, s, drop_path * (float)nth / (float)(total - 1));
            avs_scope_pop(g);
            avs_nn_tap(g, x, "block%d.%d", s + 1, j);
        }
        snprintf(name, sizeof name, "norm%d", s + 1);
        x = avs_nn_map(g, avs_tap(g, name, avs_nn_layernorm(g, x, name, 1e-6F)), h, w);
        out[s] = avs_nn_tap(g, x, "out.%d", s);
    }
}
