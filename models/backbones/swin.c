/* Swin Transformer. What a stage shares among its blocks (windows, their index of biases, the shift mask) is made once
 * as constants. Linear layers see tokens, never padding: see window.h. */
#include "models/backbones/swin.h"

#include <math.h>
#include <string.h>

#include "models/backbones/window.h"
#include "models/layers.h"

/* The reference draws N(0, 0.02^2); the cut at +-2 is 100 deviations away. */
static const avs_nn_init INIT = AVS_NN_TRUNC02;

typedef struct {
    const avs_swin_cfg *cfg;
    int h, w, heads;
    avs_windows win[2]; /* plain, shifted                       */
    avs_val index;      /* i32[side^4] into the table of biases */
    avs_val mask;       /* [windows,1,side^2,side^2]            */
} stage;

/* What a block taps; names of taps do not follow the keys, so they are given outside the block's scope. */
typedef struct {
    avs_val norm, self, attention, intermediate, output;
} block_taps;

bool avs_swin_named(const char *name, avs_swin_cfg *cfg)
{
    if (strcmp(name, "swin_b") != 0) return false;
    *cfg = (avs_swin_cfg){.patch = 4,
                          .dim = 128,
                          .depth = {2, 2, 18, 2},
                          .heads = {4, 8, 16, 32},
                          .window = 12,
                          .mlp_ratio = 4.F};
    return true;
}

void avs_swin_relative_index(int side, int32_t *index)
{
    const int n = side * side, pitch = 2 * side - 1;
    for (int a = 0; a < n; a++)
        for (int b = 0; b < n; b++)
            *index++ = (a / side - b / side + side - 1) * pitch + (a % side - b % side + side - 1);
}

static int band(int at, int extent, int side, int shift)
{
    return at < extent - side ? 0 : at < extent - shift ? 1 : 2;
}

void avs_swin_shift_mask(int h, int w, int side, int shift, float *mask)
{
    const int rows = (h + side - 1) / side, cols = (w + side - 1) / side, n = side * side;
    for (int i = 0; i < rows * cols; i++)
        for (int a = 0; a < n; a++)
            for (int b = 0; b < n; b++) {
                const int y = i / cols * side, x = i % cols * side;
                const bool same = band(y + a / side, rows * side, side, shift) ==
                                      band(y + b / side, rows * side, side, shift) &&
                                  band(x + a % side, cols * side, side, shift) ==
                                      band(x + b % side, cols * side, side, shift);
                *mask++ = same ? 0.F : -100.F;
            }
}

static avs_val param(avs_graph *g, const char *key, avs_type t)
{
    const avs_init_kind kind = t.rank > 1 ? AVS_INIT_TRUNC_NORMAL : AVS_INIT_ZERO;
    return avs_param(g, key, t, (avs_init){.kind = kind, .a = 0.02F});
}

/* x + Linear(ReLU(Linear(x))) through a quarter of the channels */
static avs_val adapter(avs_graph *g, avs_val x, const char *name)
{
    if (!x) return 0;
    const int C = avs_dim(g, x, avs_t(g, x)->rank - 1);
    avs_scope_push(g, "%s", name);
    avs_val y = avs_relu(g, avs_nn_linear(g, x, "0", C / 4, true, INIT));
    y = avs_nn_linear(g, y, "2", C, true, INIT);
    avs_scope_pop(g);
    return avs_add(g, y, x);
}

/* bias[1,heads,N,N] from the block's table */
static avs_val bias_of(avs_graph *g, const stage *s)
{
    const int side = s->cfg->window, N = side * side, R = (2 * side - 1) * (2 * side - 1);
    avs_val table = avs_param(g, "relative_position_bias_table", AVS_F32T(R, s->heads),
                              (avs_init){.kind = AVS_INIT_ZERO});
    avs_val b = avs_gather_rows(g, avs_reshape(g, table, AVS_F32T(1, R, s->heads)), s->index);
    b = avs_permute(g, b, (int[]){0, 2, 1});
    return avs_reshape(g, b, AVS_F32T(1, s->heads, N, N));
}

/* Scores [B*windows,heads,N,N] plus bias and, where windows are shifted, mask. With several samples the mask spreads
 * over two runs of axes; then bias and mask are added up first. */
static avs_val add_biases(avs_graph *g, const stage *s, bool shifted, avs_val score)
{
    avs_val bias = bias_of(g, s);
    if (!score || !bias || !shifted) return avs_add(g, score, bias);
    const avs_type t = *avs_t(g, score);
    const int windows = avs_dim(g, s->mask, 0);
    if (t.d[0] == windows) return avs_add(g, avs_add(g, score, bias), s->mask);
    const int64_t n = (int64_t)windows * t.d[1] * t.d[2] * t.d[3];
    avs_val both = avs_reshape(g, avs_add(g, s->mask, bias), AVS_F32T(n));
    avs_val sum = avs_add(g, avs_reshape(g, score, AVS_F32T(t.d[0] / windows, n)), both);
    return avs_reshape(g, sum, t);
}

/* Tokens [B,N,C] -> [B*windows, side^2, C] */
static avs_val attention(avs_graph *g, const stage *s, bool shifted, avs_val x)
{
    static const char *const names[3] = {"query", "key", "value"};
    const avs_window_input in = avs_window_input_of(g, &s->win[shifted], x);
    if (!in.x) return 0;
    const int C = avs_dim(g, x, 2);
    avs_val part[3];
    for (int i = 0; i < 3; i++) {
        avs_scope_push(g, "%s", names[i]);
        part[i] =
            avs_window_linear(g, &in, param(g, "weight", AVS_F32T(C, C)), param(g, "bias", AVS_F32T(C)));
        avs_scope_pop(g);
    }
    avs_val score = avs_matmul(g, part[0], part[1],
                               (avs_matmul_attr){.tb = 1,
                                                 .a_split = 1,
                                                 .b_split = 1,
                                                 .heads = s->heads,
                                                 .alpha = 1.F / sqrtf((float)C / (float)s->heads)});
    avs_val p = avs_softmax(g, add_biases(g, s, shifted, score));
    return avs_matmul(g, p, part[2], (avs_matmul_attr){.b_split = 1, .c_split = 1, .heads = s->heads});
}

static avs_val project(avs_graph *g, const stage *s, avs_val x)
{
    if (!x) return 0;
    x = avs_nn_linear(g, x, "dense", avs_dim(g, x, 2), true, INIT);
    return s->cfg->adapter ? adapter(g, x, "swin_adapt_1") : x;
}

static avs_val block(avs_graph *g, const stage *s, bool shifted, avs_val x, block_taps *tap)
{
    avs_val y = tap->norm = avs_nn_layernorm(g, x, "layernorm_before", 1e-5F);
    if (!y) return 0;
    const int C = avs_dim(g, x, 2);
    avs_scope_push(g, "attention.self");
    tap->self = attention(g, s, shifted, y);
    avs_scope_pop(g);
    avs_scope_push(g, "attention.output");
    y = project(g, s, avs_windows_join(g, &s->win[shifted], tap->self));
    if (s->cfg->tap_windows) tap->attention = project(g, s, tap->self);
    avs_scope_pop(g);
    x = avs_add(g, x, avs_dropout(g, y, s->cfg->drop_path, true));
    y = avs_nn_layernorm(g, x, "layernorm_after", 1e-5F);
    y = avs_nn_linear(g, y, "intermediate.dense", (int)lrintf(s->cfg->mlp_ratio * (float)C), true, INIT);
    y = tap->intermediate = avs_gelu(g, y);
    avs_scope_push(g, "output");
    y = avs_nn_linear(g, y, "dense", C, true, INIT);
    if (s->cfg->adapter) y = adapter(g, y, "swin_adapt_3");
    avs_scope_pop(g);
    tap->output = y;
    return avs_add(g, x, y);
}

/* Pixels (even, even), (odd, even), (even, odd), (odd, odd) side by side; what lies outside the map is zero. */
static avs_val merge(avs_graph *g, avs_val x, int h, int w)
{
    if (!x) return 0;
    const int H = (h + 1) / 2, W = (w + 1) / 2, C = avs_dim(g, x, 2), B = avs_dim(g, x, 0);
    int32_t *index = AVS_NEW_N(g->arena, int32_t, 4 * (size_t)H * (size_t)W);
    if (!index) return avs_graph_fail(g, AVS_ENOMEM, "out of memory for merging %dx%d tokens", h, w);
    for (int i = 0; i < 4 * H * W; i++) {
        const int y = i / 4 / W * 2 + i % 2, c = i / 4 % W * 2 + i / 2 % 2;
        index[i] = y < h && c < w ? y * w + c : -1;
    }
    x = avs_gather_rows(g, x, avs_const(g, AVS_TYPE(AVS_I32, 4 * (int64_t)H * W), index));
    x = avs_nn_layernorm(g, avs_reshape(g, x, AVS_F32T(B, (int64_t)H * W, 4 * (int64_t)C)), "norm", 1e-5F);
    return avs_nn_linear(g, x, "reduction", 2 * C, false, INIT);
}

static int stage_begin(avs_graph *g, const avs_swin_cfg *cfg, int nth, int h, int w, stage *s)
{
    const int side = cfg->window, N = side * side;
    *s = (stage){.cfg = cfg, .h = h, .w = w, .heads = cfg->heads[nth]};
    for (int i = 0; i < 2; i++) s->win[i] = avs_windows_new(g, h, w, side, i * (side / 2));
    if (g->err.code != AVS_OK) return g->err.code;
    const int64_t n = (int64_t)N * N, windows = (int64_t)s->win[0].rows * s->win[0].cols;
    int32_t *index = AVS_NEW_N(g->arena, int32_t, (size_t)n);
    float *mask = AVS_NEW_N(g->arena, float, (size_t)(n * windows));
    if (!index || !mask) {
        avs_graph_fail(g, AVS_ENOMEM, "out of memory for the tables of windows of side %d", side);
        return AVS_ENOMEM;
    }
    avs_swin_relative_index(side, index);
    s->index = avs_const(g, AVS_TYPE(AVS_I32, n), index);
    if (cfg->depth[nth] > 1) {
        avs_swin_shift_mask(h, w, side, side / 2, mask);
        s->mask = avs_const(g, AVS_F32T(windows, 1, N, N), mask);
    }
    return g->err.code;
}

static avs_val run_stage(avs_graph *g, const stage *s, int nth, avs_val x)
{
    for (int j = 0; j < s->cfg->depth[nth] && x; j++) {
        block_taps t = {0};
        avs_scope_push(g, "encoder.layers.%d.blocks.%d", nth, j);
        x = block(g, s, j % 2 == 1 && s->win[1].shift > 0, x, &t);
        avs_scope_pop(g);
        avs_scope_push(g, "stage%d.block%d", nth + 1, j);
        avs_tap(g, "layernorm_before", t.norm);
        avs_tap(g, "attention.self", t.self);
        if (t.attention) avs_tap(g, "attention", t.attention);
        avs_tap(g, "intermediate", t.intermediate);
        avs_tap(g, "output", t.output);
        avs_scope_pop(g);
        avs_nn_tap(g, x, "stage%d.block%d", nth + 1, j);
    }
    return x;
}

void avs_swin(avs_graph *g, const avs_swin_cfg *cfg, avs_val x, avs_val out[4])
{
    const int P = cfg->patch;
    memset(out, 0, 4 * sizeof *out);
    for (int axis = 1; axis < 3 && x; axis++) x = avs_pad(g, x, axis, 0, (P - avs_dim(g, x, axis) % P) % P);
    x = avs_nn_conv(g, x, "embeddings.patch_embeddings.projection", cfg->dim, P, P, 0, true, INIT);
    if (!x) return;
    int h = avs_dim(g, x, 1), w = avs_dim(g, x, 2);
    x = avs_tap(g, "embeddings", avs_nn_layernorm(g, avs_nn_tokens(g, x), "embeddings.norm", 1e-5F));
    for (int i = 0; i < 4 && x; i++) {
        stage s;
        char name[32];
        if (stage_begin(g, cfg, i, h, w, &s) != AVS_OK) return;
        x = run_stage(g, &s, i, x);
        snprintf(name, sizeof name, "hidden_states_norms.stage%d", i + 1);
        out[i] = avs_nn_tap(g, avs_nn_map(g, avs_nn_layernorm(g, x, name, 1e-5F), h, w), "feature%d", i + 1);
        if (i == 3) break;
        avs_scope_push(g, "encoder.layers.%d.downsample", i);
        x = merge(g, x, h, w);
        avs_scope_pop(g);
        avs_nn_tap(g, x, "stage%d.downsample", i + 1);
        h = (h + 1) / 2;
        w = (w + 1) / 2;
    }
}
