/* SAM's prompt encoder and mask decoder. Linear layers on tokens and channels-last maps throughout; the layer norm over
 * channels of the reference (LayerNorm2d) is a plain layer norm here. Labels of points choose among three learned vectors:
 * three 0/1 columns times the table of vectors. */
#include "models/sam.h"

#include "models/attention.h"
#include "models/layers.h"

static const float TWO_PI = 6.28318530717958648F;
enum { MASKS = 4 };

avs_sam_cfg avs_sam_default(void)
{
    return (avs_sam_cfg){
        .dim = 256, .heads = 8, .layers = 2, .mlp_dim = 2048, .iou_hidden = 256, .mask_channels = 16};
}

static avs_val embedding(avs_graph *g, const char *name, int rows, int dim)
{
    avs_scope_push(g, "%s", name);
    avs_val v = avs_param(g, "weight", AVS_F32T(rows, dim), (avs_init){.kind = AVS_INIT_NORMAL, .a = 1.F});
    avs_scope_pop(g);
    return v;
}

/* ---------------------------------------------------------------- positions */

avs_val avs_sam_gaussian(avs_graph *g, int dim)
{
    return avs_buffer(g, "pe_layer.positional_encoding_gaussian_matrix", AVS_F32T(2, dim / 2),
                      (avs_init){.kind = AVS_INIT_NORMAL, .a = 1.F});
}

/* at [..,2] in [0,1] -> [..,E] */
static avs_val encode(avs_graph *g, avs_val gaussian, avs_val at)
{
    avs_val u = avs_offset(g, avs_scale(g, at, 2.F), -1.F);
    u = avs_scale(g, avs_matmul(g, u, gaussian, (avs_matmul_attr){0}), TWO_PI);
    avs_val part[2] = {avs_ew_unary(g, AVS_EW_SIN, u), avs_ew_unary(g, AVS_EW_COS, u)};
    return avs_concat(g, part, 2, avs_t(g, u)->rank - 1);
}

avs_val avs_sam_dense_position(avs_graph *g, avs_val gaussian, int grid)
{
    float *at = AVS_NEW_N(g->arena, float, (size_t)grid *(size_t)grid * 2);
    if (!at) return avs_graph_fail(g, AVS_ENOMEM, "out of memory for a grid of %dx%d", grid, grid);
    float *to = at;
    for (int y = 0; y < grid; y++)
        for (int x = 0; x < grid; x++) {
            *to++ = ((float)x + 0.5F) / (float)grid;
            *to++ = ((float)y + 0.5F) / (float)grid;
        }
    return encode(g, gaussian, avs_const(g, AVS_F32T(1, (int64_t)grid * grid, 2), at));
}

/* ---------------------------------------------------------------- prompt encoder */

/* Pixels -> the encoding of their centres: at [T,K,2]. */
static avs_val encode_pixels(avs_graph *g, avs_val gaussian, avs_val at, int side)
{
    return encode(g, gaussian, avs_scale(g, avs_offset(g, at, 0.5F), 1.F / (float)side));
}

/* Points with their labels [T,K,E]. is_alone: without a box one more point of padding is appended. */
static avs_val points(avs_graph *g, const avs_sam_prompts *p, avs_val gaussian, const avs_val vector[5],
                      int side, bool is_alone)
{
    if (!p->points || !p->labels || !gaussian) return 0;
    const int T = avs_dim(g, p->points, 0), K = avs_dim(g, p->points, 1), E = 2 * avs_dim(g, gaussian, 1);
    avs_val label = avs_reshape(g, p->labels, AVS_F32T(T, K, 1));
    avs_val is_real = avs_ew_imm(g, AVS_EW_GT, label, -0.5F),
            is_positive = avs_ew_imm(g, AVS_EW_GT, label, 0.5F);
    avs_val pick[3] = {avs_ew_imm(g, AVS_EW_RSUB, is_real, 1.F), avs_sub(g, is_real, is_positive),
                       is_positive};
    avs_val table[3] = {vector[4], vector[0], vector[1]};
    avs_val chosen =
        avs_matmul(g, avs_concat(g, pick, 3, 2), avs_concat(g, table, 3, 0), (avs_matmul_attr){0});
    avs_val x = avs_mul(g, encode_pixels(g, gaussian, p->points, side), is_real);
    x = avs_add(g, x, chosen);
    if (!is_alone) return x;
    avs_val pad = avs_expand(g, avs_reshape(g, vector[4], AVS_F32T(1, 1, E)), AVS_F32T(T, 1, E));
    return avs_concat(g, (avs_val[]){x, pad}, 2, 1);
}

static avs_val boxes(avs_graph *g, avs_val box, avs_val gaussian, const avs_val vector[5], int side)
{
    if (!box || !gaussian) return 0;
    const int T = avs_dim(g, box, 0), E = 2 * avs_dim(g, gaussian, 1);
    avs_val x = encode_pixels(g, gaussian, avs_reshape(g, box, AVS_F32T(T, 2, 2)), side);
    avs_val corner = avs_concat(g, (avs_val[]){vector[2], vector[3]}, 2, 0);
    return avs_add(g, x, avs_reshape(g, corner, AVS_F32T(1, 2, E)));
}

/* The parameters of the branch of mask prompts, with the initial values that downscaled() gives them. */
static void declare_downscaling(avs_graph *g, const avs_sam_cfg *cfg)
{
    const int c = cfg->mask_channels;
    const struct {
        const char *name;
        int out, in, kernel; /* in 0: a norm */
    } layers[] = {
        {"0", c / 4, 1, 2}, {"1", c / 4, 0, 0}, {"3", c, c / 4, 2}, {"4", c, 0, 0}, {"6", cfg->dim, c, 1}};
    avs_scope_push(g, "mask_downscaling");
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        const int out = layers[i].out, in = layers[i].in, k = layers[i].kernel;
        const avs_init fan = {.kind = AVS_INIT_FAN_IN_UNIFORM, .a = (float)(in * k * k)};
        avs_scope_push(g, "%s", layers[i].name);
        avs_param(g, "weight", in ? AVS_F32T(out, in, k, k) : AVS_F32T(out),
                  in ? fan : (avs_init){.kind = AVS_INIT_ONE});
        avs_param(g, "bias", AVS_F32T(out), in ? fan : (avs_init){.kind = AVS_INIT_ZERO});
        avs_scope_pop(g);
    }
    avs_scope_pop(g);
}

static avs_val downscaled(avs_graph *g, const avs_sam_cfg *cfg, avs_val mask)
{
    const int c = cfg->mask_channels;
    avs_scope_push(g, "mask_downscaling");
    avs_val x =
        avs_nn_layernorm(g, avs_nn_conv(g, mask, "0", c / 4, 2, 2, 0, true, AVS_NN_TORCH), "1", 1e-6F);
    x = avs_nn_layernorm(g, avs_nn_conv(g, avs_gelu(g, x), "3", c, 2, 2, 0, true, AVS_NN_TORCH), "4", 1e-6F);
    x = avs_nn_conv(g, avs_gelu(g, x), "6", cfg->dim, 1, 1, 0, true, AVS_NN_TORCH);
    avs_scope_pop(g);
    return x;
}

avs_sam_prompted avs_sam_prompt_encoder(avs_graph *g, const avs_sam_cfg *cfg, const avs_sam_prompts *prompts,
                                        avs_val gaussian, int side)
{
    avs_sam_prompted out = {0};
    avs_val vector[5], token[2];
    char name[40];
    int n = 0;
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "point_embeddings.%d", i);
        vector[i] = embedding(g, name, 1, cfg->dim);
    }
    vector[4] = embedding(g, "not_a_point_embed", 1, cfg->dim);
    avs_val no_mask = embedding(g, "no_mask_embed", 1, cfg->dim);
    if (prompts->points) token[n++] = points(g, prompts, gaussian, vector, side, !prompts->boxes);
    if (prompts->boxes) token[n++] = boxes(g, prompts->boxes, gaussian, vector, side);
    if (n) out.sparse = n == 2 ? avs_concat(g, token, 2, 1) : token[0];
    declare_downscaling(g, cfg);
    out.dense = prompts->mask ? downscaled(g, cfg, prompts->mask)
                              : avs_reshape(g, no_mask, AVS_F32T(1, 1, 1, cfg->dim));
    return out;
}

/* ---------------------------------------------------------------- two-way transformer */

typedef struct {
    avs_graph *g;
    const avs_sam_cfg *cfg;
    const char *tap;
    avs_val tokens, position; /* what is added to queries and keys: [T,n,E], [1,N,E] */
} two_way;

static void tap(const two_way *w, avs_val v, const char *where, const char *what)
{
    avs_nn_tap(w->g, v, "/%sdecoder.%s%s", w->tap, where, what);
}

/* Projections to `width`, heads of width / cfg->heads, and back. */
static avs_val attention(const two_way *w, const char *name, avs_val q, avs_val k, avs_val v, int width)
{
    avs_graph *g = w->g;
    const avs_attention_cfg attn = {.heads = w->cfg->heads};
    avs_scope_push(g, "%s", name);
    q = avs_nn_linear(g, q, "q_proj", width, true, AVS_NN_TORCH);
    k = avs_nn_linear(g, k, "k_proj", width, true, AVS_NN_TORCH);
    v = avs_nn_linear(g, v, "v_proj", width, true, AVS_NN_TORCH);
    avs_scope_pop(g);
    const bool alone = !w->tap[0]; /* else keys, and so names of taps, are shared with other prompts */
    avs_val y = avs_attention_core(g, q, k, v, &attn, alone ? name : NULL);
    avs_scope_push(g, "%s", name);
    y = avs_nn_linear(g, y, "out_proj", w->cfg->dim, true, AVS_NN_TORCH);
    avs_scope_pop(g);
    if (alone) avs_nn_tap(g, y, "%s:out", name);
    return y;
}

static void layer(const two_way *w, int nth, avs_val *Q, avs_val *K)
{
    avs_graph *g = w->g;
    const int E = w->cfg->dim;
    char at[24];
    avs_val q = *Q, k = *K;
    snprintf(at, sizeof at, "layer%d.", nth);
    if (nth == 0) {
        q = attention(w, "self_attn", q, q, q, E);
        tap(w, q, at, "self_attn");
    } else {
        avs_val qp = avs_add(g, q, w->tokens), y = attention(w, "self_attn", qp, qp, q, E);
        tap(w, y, at, "self_attn");
        q = avs_add(g, q, y);
    }
    q = avs_nn_layernorm(g, q, "norm1", 1e-5F);
    avs_val kp = avs_add(g, k, w->position);
    avs_val y = attention(w, "cross_attn_token_to_image", avs_add(g, q, w->tokens), kp, k, E / 2);
    tap(w, y, at, "token_to_image");
    q = avs_nn_layernorm(g, avs_add(g, q, y), "norm2", 1e-5F);
    y = avs_relu(g, avs_nn_linear(g, q, "mlp.lin1", w->cfg->mlp_dim, true, AVS_NN_TORCH));
    y = avs_nn_linear(g, y, "mlp.lin2", E, true, AVS_NN_TORCH);
    tap(w, y, at, "mlp");
    q = avs_nn_layernorm(g, avs_add(g, q, y), "norm3", 1e-5F);
    y = attention(w, "cross_attn_image_to_token", kp, avs_add(g, q, w->tokens), q, E / 2);
    tap(w, y, at, "image_to_token");
    k = avs_nn_layernorm(g, avs_add(g, k, y), "norm4", 1e-5F);
    tap(w, q, at, "queries");
    tap(w, k, at, "keys");
    *Q = q;
    *K = k;
}

static void transformer(const two_way *w, avs_val *Q, avs_val *K)
{
    avs_graph *g = w->g;
    for (int l = 0; l < w->cfg->layers; l++) {
        avs_scope_push(g, "layers.%d", l);
        layer(w, l, Q, K);
        avs_scope_pop(g);
    }
    avs_val y = attention(w, "final_attn_token_to_image", avs_add(g, *Q, w->tokens),
                          avs_add(g, *K, w->position), *K, w->cfg->dim / 2);
    tap(w, y, "", "final_attn");
    *Q = avs_nn_layernorm(g, avs_add(g, *Q, y), "norm_final_attn", 1e-5F);
    tap(w, *Q, "", "queries");
    tap(w, *K, "", "keys");
}

/* ---------------------------------------------------------------- mask decoder */

/* Transposed convolution, kernel and stride 2; weight [in,out,2,2]. */
static avs_val doubled(avs_graph *g, avs_val x, const char *name, int out)
{
    if (!x) return 0;
    avs_scope_push(g, "%s", name);
    avs_val w = avs_param(g, "weight", AVS_F32T(avs_dim(g, x, 3), out, 2, 2),
                          (avs_init){.kind = AVS_INIT_FAN_IN_UNIFORM});
    avs_val b = avs_param(g, "bias", AVS_F32T(out),
                          (avs_init){.kind = AVS_INIT_FAN_IN_UNIFORM, .a = 4.F * (float)out});
    avs_scope_pop(g);
    return avs_conv_transpose2d(g, x, w, b, 2, 0);
}

static avs_val upscaled(const two_way *w, avs_val x)
{
    avs_graph *g = w->g;
    const int E = w->cfg->dim;
    avs_val at[5];
    char name[24];
    avs_scope_push(g, "output_upscaling");
    at[0] = doubled(g, x, "0", E / 4);
    at[1] = avs_nn_layernorm(g, at[0], "1", 1e-6F);
    at[2] = avs_gelu(g, at[1]);
    at[3] = doubled(g, at[2], "3", E / 8);
    at[4] = avs_gelu(g, at[3]);
    avs_scope_pop(g);
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "upscale%d", i);
        tap(w, at[i], "", name);
    }
    return at[4];
}

/* Three linear layers NAME.layers.I on token `nth` of hs [T,n,E] -> [T,out]. */
static avs_val token_mlp(avs_graph *g, avs_val hs, int nth, const char *name, int hidden, int out)
{
    avs_val x = avs_slice(g, hs, 1, nth, 1);
    if (!x) return 0;
    x = avs_reshape(g, x, AVS_F32T(avs_dim(g, x, 0), avs_dim(g, x, 2)));
    avs_scope_push(g, "%s", name);
    x = avs_relu(g, avs_nn_linear(g, x, "layers.0", hidden, true, AVS_NN_TORCH));
    x = avs_relu(g, avs_nn_linear(g, x, "layers.1", hidden, true, AVS_NN_TORCH));
    x = avs_nn_linear(g, x, "layers.2", out, true, AVS_NN_TORCH);
    avs_scope_pop(g);
    return x;
}

/* mask_m(y,x) = v_m . U[y,x] */
static avs_val masks(const two_way *w, avs_val hs, avs_val up, int first, int n)
{
    avs_graph *g = w->g;
    avs_val v[MASKS];
    char name[40];
    if (!up) return 0;
    const int T = avs_dim(g, up, 0), side = avs_dim(g, up, 1), c = w->cfg->dim / 8;
    for (int m = 0; m < MASKS; m++) {
        snprintf(name, sizeof name, "output_hypernetworks_mlps.%d", m);
        v[m] = token_mlp(g, hs, 1 + m, name, w->cfg->dim, c);
        snprintf(name, sizeof name, "hyper%d", m);
        tap(w, v[m], "", name);
        v[m] = avs_reshape(g, v[m], AVS_F32T(T, 1, c));
    }
    const int from = g->training ? 0 : first, count = g->training ? MASKS : n;
    avs_val all = count == 1 ? v[from] : avs_concat(g, v + from, count, 1);
    avs_val y =
        avs_nn_map(g, avs_matmul(g, avs_nn_tokens(g, up), all, (avs_matmul_attr){.tb = 1}), side, side);
    return count == n ? y : avs_slice(g, y, 3, first - from, n);
}

avs_sam_masks avs_sam_mask_decoder(avs_graph *g, const avs_sam_cfg *cfg, avs_val image, avs_val position,
                                   const avs_sam_prompted *prompts, const int first_n[2], const char *tap_at)
{
    avs_sam_masks out = {0};
    if (!image || !position || !prompts->dense) return out;
    const int T = avs_dim(g, image, 0), G = avs_dim(g, image, 1), E = cfg->dim;
    avs_val own[2] = {embedding(g, "iou_token", 1, E), embedding(g, "mask_tokens", MASKS, E)};
    avs_val Q = avs_reshape(g, avs_concat(g, own, 2, 0), AVS_F32T(1, 1 + MASKS, E));
    Q = avs_expand(g, Q, AVS_F32T(T, 1 + MASKS, E));
    if (prompts->sparse) Q = avs_concat(g, (avs_val[]){Q, prompts->sparse}, 2, 1);
    avs_val K = avs_nn_tokens(g, avs_add(g, image, prompts->dense));
    const two_way w = {.g = g, .cfg = cfg, .tap = tap_at, .tokens = Q, .position = position};
    avs_scope_push(g, "transformer");
    transformer(&w, &Q, &K);
    avs_scope_pop(g);
    out.masks = masks(&w, Q, upscaled(&w, avs_nn_map(g, K, G, G)), first_n[0], first_n[1]);
    avs_val iou = token_mlp(g, Q, 0, "iou_prediction_head", cfg->iou_hidden, MASKS);
    tap(&w, iou, "", "iou_head");
    out.iou = first_n[1] == MASKS ? iou : avs_slice(g, iou, 1, first_n[0], first_n[1]);
    return out;
}
