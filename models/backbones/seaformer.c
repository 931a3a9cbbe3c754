/* SeaFormer T, S, B and L (arXiv 2301.13156), the segmentation variant: five stages of inverted residuals, transformer
 * stacks behind the last two (L: three) of them.
 *
 * Attention works on means over rows and over columns. The means and the detail branch all read [q,k,v] side by side, so
 * in evaluation the three 1x1 convolutions are one with their weights stacked; in training they stay apart, because
 * each keeps running statistics of its own. */
#include <math.h>

#include "models/backbones/backbones.h"
#include "models/layers.h"

enum { STAGES = 5, POSITIONS = 16 };

typedef struct {
    int kernel, factor, out, stride;
} residual;

typedef struct {
    int stem;
    residual block[STAGES][4]; /* ends with out 0 */
    int stacks;                /* behind the last stages */
    int depth[3], key_dim[3], mlp_ratio[3];
    int heads;
} variant;

static const variant variants[] = {
    ['t' - 'a'] = {16,
                   {{{3, 1, 16, 1}, {3, 4, 16, 2}, {3, 3, 16, 1}},
                    {{5, 3, 32, 2}, {5, 3, 32, 1}},
                    {{3, 3, 64, 2}, {3, 3, 64, 1}},
                    {{5, 3, 128, 2}},
                    {{3, 6, 160, 2}}},
                   2,
                   {2, 2},
                   {16, 24},
                   {2, 4},
                   4},
    ['s' - 'a'] = {16,
                   {{{3, 1, 16, 1}, {3, 4, 24, 2}, {3, 3, 24, 1}},
                    {{5, 3, 48, 2}, {5, 3, 48, 1}},
                    {{3, 3, 96, 2}, {3, 3, 96, 1}},
                    {{5, 4, 160, 2}},
                    {{3, 6, 192, 2}}},
                   2,
                   {3, 3},
                   {16, 24},
                   {2, 4},
                   6},
    ['b' - 'a'] = {16,
                   {{{3, 1, 16, 1}, {3, 4, 32, 2}, {3, 3, 32, 1}},
                    {{5, 3, 64, 2}, {5, 3, 64, 1}},
                    {{3, 3, 128, 2}, {3, 3, 128, 1}},
                    {{5, 4, 192, 2}},
                    {{3, 6, 256, 2}}},
                   2,
                   {4, 4},
                   {16, 24},
                   {2, 4},
                   8},
    ['l' - 'a'] = {32,
                   {{{3, 3, 32, 1}, {3, 4, 64, 2}, {3, 4, 64, 1}},
                    {{5, 4, 128, 2}, {5, 4, 128, 1}},
                    {{3, 4, 192, 2}, {3, 4, 192, 1}},
                    {{5, 4, 256, 2}},
                    {{3, 6, 320, 2}}},
                   3,
                   {3, 3, 3},
                   {16, 20, 24},
                   {2, 4, 6},
                   8},
};

static const variant *find(char name)
{
    const size_t i = (size_t)(name - 'a');
    return name >= 'a' && i < sizeof variants / sizeof *variants && variants[i].stem ? &variants[i] : NULL;
}

/* ------------------------------------------------------------------ convolution with normalisation */

typedef struct {
    int out, kernel, stride, groups;
} shape;

/* N(0, 2/(k k out/groups)), the initialisation of the reference's segmentation training. */
static avs_val conv_weight(avs_graph *g, int in, shape s)
{
    const int fan_out = s.kernel * s.kernel * s.out / s.groups;
    return avs_param(g, "weight", AVS_F32T(s.out, in / s.groups, s.kernel, s.kernel),
                     (avs_init){.kind = AVS_INIT_NORMAL, .a = sqrtf(2.F / (float)fan_out)});
}

/* Convolution without bias, then batch normalisation: NAME.c, NAME.bn. */
static avs_val conv_bn(avs_graph *g, avs_val x, const char *name, shape s)
{
    avs_scope_push(g, "%s", name);
    avs_scope_push(g, "c");
    avs_val w = conv_weight(g, avs_dim(g, x, 3), s);
    avs_scope_pop(g);
    x = avs_nn_batchnorm(g, avs_conv2d(g, x, w, 0, s.stride, s.kernel / 2, 1, s.groups), "bn");
    avs_scope_pop(g);
    return x;
}

/* ------------------------------------------------------------------ attention */

typedef struct {
    int heads, Q, V; /* channels of q and of k; of v */
} widths;

/* In evaluation: the parameters of to_q, to_k and to_v stacked, one convolution. */
static avs_val stacked(avs_graph *g, avs_val x, const widths *w)
{
    static const char *const names[3] = {"to_q", "to_k", "to_v"};
    static const char *const stats[4] = {"weight", "bias", "running_mean", "running_var"};
    const int in = avs_dim(g, x, 3);
    avs_val weight[3], bn[4][3];
    for (int i = 0; i < 3; i++) {
        const shape s = {i < 2 ? w->Q : w->V, 1, 1, 1};
        avs_scope_push(g, "%s.c", names[i]);
        weight[i] = conv_weight(g, in, s);
        avs_scope_pop(g);
        avs_scope_push(g, "%s.bn", names[i]);
        for (int k = 0; k < 4; k++) {
            const avs_init init = {.kind = k % 3 ? AVS_INIT_ZERO : AVS_INIT_ONE};
            bn[k][i] = k < 2 ? avs_param(g, stats[k], AVS_F32T(s.out), init)
                             : avs_buffer(g, stats[k], AVS_F32T(s.out), init);
        }
        avs_scope_pop(g);
    }
    avs_val y = avs_conv2d(g, x, avs_concat(g, weight, 3, 0), 0, 1, 0, 1, 1);
    return avs_batchnorm(g, y, avs_concat(g, bn[0], 3, 0), avs_concat(g, bn[1], 3, 0),
                         avs_concat(g, bn[2], 3, 0), avs_concat(g, bn[3], 3, 0), 1e-5F, 0.1F, false);
}

static avs_val queries_keys_values(avs_graph *g, avs_val x, const widths *w)
{
    if (!g->training) return stacked(g, x, w);
    const avs_val part[3] = {conv_bn(g, x, "to_q", (shape){w->Q, 1, 1, 1}),
                             conv_bn(g, x, "to_k", (shape){w->Q, 1, 1, 1}),
                             conv_bn(g, x, "to_v", (shape){w->V, 1, 1, 1})};
    return avs_concat(g, part, 3, 3);
}

/* Linear interpolation from 16 positions to n, borders repeated (align_corners false), as the matrix [n,16]. */
static avs_val interpolation(avs_graph *g, int n)
{
    float *m = AVS_NEW_N(g->arena, float, n *POSITIONS);
    if (!m) return avs_graph_fail(g, AVS_ENOMEM, "out of memory for %d positions", n);
    for (int i = 0; i < n; i++) {
        const float at = ((float)i + 0.5F) * ((float)POSITIONS / (float)n) - 0.5F, s = at > 0 ? at : 0;
        const int lo = (int)s, hi = lo + 1 < POSITIONS ? lo + 1 : POSITIONS - 1;
        m[i * POSITIONS + lo] += 1.F - (s - (float)lo);
        m[i * POSITIONS + hi] += s - (float)lo;
    }
    return avs_const(g, AVS_F32T(n, POSITIONS), m);
}

/* The learned position of n tokens: pos_emb_NAME.pos_embed (1,C,16) -> [n,C]. */
static avs_val position(avs_graph *g, const char *line, char part, int n, int C)
{
    avs_scope_push(g, "pos_emb_%s%c", line, part);
    avs_val p =
        avs_param(g, "pos_embed", AVS_F32T(1, C, POSITIONS), (avs_init){.kind = AVS_INIT_NORMAL, .a = 1.F});
    avs_scope_pop(g);
    return avs_linear(g, interpolation(g, n), avs_reshape(g, p, AVS_F32T(C, POSITIONS)), 0);
}

/* Attention among the lines (rows, columns) of a map. mean [B,H,1,2Q+V] or [B,1,W,2Q+V] -> the same with V channels. */
static avs_val among_lines(avs_graph *g, avs_val mean, const char *line, const widths *w)
{
    if (!mean) return 0;
    const avs_type t = *avs_t(g, mean);
    const int B = t.d[0], N = t.d[1] * t.d[2];
    avs_val tokens = avs_reshape(g, mean, AVS_F32T(B, N, t.d[3]));
    avs_val q = avs_add(g, avs_slice(g, tokens, 2, 0, w->Q), position(g, line, 'q', N, w->Q));
    avs_val k = avs_add(g, avs_slice(g, tokens, 2, w->Q, w->Q), position(g, line, 'k', N, w->Q));
    avs_val v = avs_slice(g, tokens, 2, 2 * w->Q, w->V);
    const int key_dim = w->Q / w->heads;
    const float scale = 1.F / sqrtf((float)key_dim);
    avs_val a = avs_softmax(
        g, avs_matmul(
               g, q, k,
               (avs_matmul_attr){.tb = 1, .a_split = 1, .b_split = 1, .heads = w->heads, .alpha = scale}));
    avs_val y = avs_matmul(g, a, v, (avs_matmul_attr){.b_split = 1, .c_split = 1, .heads = w->heads});
    y = avs_relu6(g, avs_reshape(g, y, AVS_F32T(B, t.d[1], t.d[2], w->V)));
    avs_scope_push(g, "proj_encode_%s", line);
    y = y ? conv_bn(g, y, "1", (shape){w->V, 1, 1, 1}) : 0;
    avs_scope_pop(g);
    return y;
}

avs_val avs_sea_attention(avs_graph *g, avs_val x, int key_dim, int heads)
{
    if (!x) return 0;
    const int dim = avs_dim(g, x, 3);
    const widths w = {heads, heads * key_dim, 2 * heads * key_dim};
    const int all = 2 * w.Q + w.V;
    avs_val qkv = queries_keys_values(g, x, &w);
    avs_val detail = avs_relu6(g, conv_bn(g, qkv, "dwconv", (shape){all, 3, 1, all}));
    detail = conv_bn(g, detail, "pwconv", (shape){dim, 1, 1, 1});
    avs_val row = among_lines(g, avs_reduce(g, qkv, 2, 3, true), "row", &w);
    avs_val column = among_lines(g, avs_reduce(g, qkv, 1, 2, true), "column", &w);
    avs_val z = avs_add(g, avs_slice(g, qkv, 3, 2 * w.Q, w.V), avs_add(g, row, column));
    avs_scope_push(g, "proj");
    z = z ? conv_bn(g, avs_relu6(g, z), "1", (shape){dim, 1, 1, 1}) : 0;
    avs_scope_pop(g);
    return avs_mul(g, avs_hardsigmoid(g, z), detail);
}

/* ------------------------------------------------------------------ blocks */

/* The depthwise convolution has a bias and no normalisation. */
static avs_val mlp(avs_graph *g, avs_val x, int ratio)
{
    const int dim = avs_dim(g, x, 3), hidden = dim * ratio;
    x = conv_bn(g, x, "fc1", (shape){hidden, 1, 1, 1});
    avs_scope_push(g, "dwconv");
    avs_val w = conv_weight(g, hidden, (shape){hidden, 3, 1, hidden});
    avs_val b = avs_param(g, "bias", AVS_F32T(hidden), (avs_init){.kind = AVS_INIT_ZERO});
    avs_scope_pop(g);
    x = avs_relu6(g, avs_conv2d(g, x, w, b, 1, 1, 1, hidden));
    return conv_bn(g, x, "fc2", (shape){dim, 1, 1, 1});
}

static avs_val transformer(avs_graph *g, avs_val x, const variant *v, int stack, float drop_path)
{
    for (int m = 0; m < v->depth[stack] && x; m++) {
        const float drop = drop_path * (float)m / (float)(v->depth[stack] - 1);
        avs_scope_push(g, "trans%d.transformer_blocks.%d", stack + 1, m);
        avs_scope_push(g, "attn");
        avs_val y = avs_sea_attention(g, x, v->key_dim[stack], v->heads);
        avs_scope_pop(g);
        x = avs_add(g, x, avs_dropout(g, y, drop, true));
        avs_scope_push(g, "mlp");
        y = x ? mlp(g, x, v->mlp_ratio[stack]) : 0;
        avs_scope_pop(g);
        x = avs_add(g, x, avs_dropout(g, y, drop, true));
        avs_scope_pop(g);
        avs_nn_tap(g, x, "trans%d.transformer_blocks.%d", stack + 1, m);
    }
    return avs_nn_tap(g, x, "trans%d", stack + 1);
}

static avs_val inverted_residual(avs_graph *g, avs_val x, residual r)
{
    const int in = avs_dim(g, x, 3), hidden = r.factor * in, first = r.factor == 1 ? -2 : 0;
    avs_val y = x;
    char name[8];
    avs_scope_push(g, "conv");
    if (r.factor != 1) y = avs_relu(g, conv_bn(g, y, "0", (shape){hidden, 1, 1, 1}));
    snprintf(name, sizeof name, "%d", first + 2);
    y = avs_relu(g, conv_bn(g, y, name, (shape){hidden, r.kernel, r.stride, hidden}));
    snprintf(name, sizeof name, "%d", first + 4);
    y = conv_bn(g, y, name, (shape){r.out, 1, 1, 1});
    avs_scope_pop(g);
    return r.stride == 1 && in == r.out ? avs_add(g, x, y) : y;
}

avs_val avs_seaformer_stage(avs_graph *g, char name, int stage, avs_val x, float drop_path)
{
    const variant *v = find(name);
    if (!v || stage < 1 || stage > STAGES)
        return avs_graph_fail(g, AVS_EMISSING, "seaformer_%c has no stage %d (t, s, b or l; 1 to 5)",
                              name ? name : '?', stage);
    if (!x) return 0;
    avs_scope_push(g, "smb%d", stage);
    if (stage == 1)
        x = avs_tap(g, "stem_block", avs_relu(g, conv_bn(g, x, "stem_block.0", (shape){v->stem, 3, 2, 1})));
    for (int j = 0; v->block[stage - 1][j].out && x; j++) {
        avs_scope_push(g, "layer%d", j + 1);
        x = inverted_residual(g, x, v->block[stage - 1][j]);
        avs_scope_pop(g);
        avs_nn_tap(g, x, "layer%d", j + 1);
    }
    avs_scope_pop(g);
    avs_nn_tap(g, x, "smb%d", stage);
    const int stack = stage - 1 - (STAGES - v->stacks);
    return stack >= 0 ? transformer(g, x, v, stack, drop_path) : x;
}

int avs_seaformer(avs_graph *g, char name, avs_val x, float drop_path, avs_val out[4])
{
    const variant *v = find(name);
    int n = 0;
    for (int stage = 1; stage <= STAGES; stage++) {
        x = avs_seaformer_stage(g, name, stage, x, drop_path);
        if (stage == 2 || (v && stage > STAGES - v->stacks)) out[n++] = x;
    }
    while (n < 4) out[n++] = 0;
    return v ? 1 + v->stacks : 0;
}
