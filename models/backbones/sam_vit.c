/* SAM's image encoder. Linear layers see tokens alone, never the padding of windows (at 256 pixels a window block of
 * the reference computes 784 places for 256 tokens); padded keys still take part in every softmax, as in the reference,
 * because their query, key and value are the biases (window.h).
 *
 * Relative positions along an axis: q_a . R[a - b + n - 1] for all keys b is a run of n neighbours of the product of
 * q_a with the reversed table. So one linear layer per axis and one static gather do what the reference does with a
 * batched product per row. */
#include "models/backbones/sam_vit.h"

#include <math.h>
#include <string.h>

#include "models/backbones/window.h"
#include "models/layers.h"

static const float EPS = 1e-6F;

bool avs_sam_vit_named(const char *name, avs_sam_vit_cfg *cfg)
{
    static const struct {
        const char *name;
        avs_sam_vit_cfg cfg;
    } sizes[] = {
        {"sam_vit_b", {16, 768, 12, 12, 14, 4, {2, 5, 8, 11}, 256, 0, false, 4.F, 0, false, NULL}},
        {"sam_vit_l", {16, 1024, 24, 16, 14, 4, {5, 11, 17, 23}, 256, 0, false, 4.F, 0, false, NULL}},
        {"sam_vit_h", {16, 1280, 32, 16, 14, 4, {7, 15, 23, 31}, 256, 0, false, 4.F, 0, false, NULL}}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!strcmp(name, sizes[i].name)) {
            *cfg = sizes[i].cfg;
            return true;
        }
    return false;
}

/* ---------------------------------------------------------------- positions */

avs_val avs_sam_position(avs_graph *g, avs_val position, int grid)
{
    return avs_resize(g, position, grid, grid, AVS_RESIZE_BILINEAR, false);
}

avs_val avs_sam_relative_table(avs_graph *g, avs_val table, int nq, int nk)
{
    if (!table) return 0;
    const avs_type t = *avs_t(g, table);
    const int L = 2 * (nq > nk ? nq : nk) - 1;
    avs_val x = avs_resize(g, avs_reshape(g, table, AVS_F32T(1, t.d[0], 1, t.d[1])), L, 1,
                           AVS_RESIZE_BILINEAR, false);
    return avs_reshape(g, x, AVS_F32T(L, t.d[1]));
}

/* Rows of table[L,d] by n indexes that were made in the graph's arena. */
static avs_val rows_of(avs_graph *g, avs_val table, const int32_t *index, int n)
{
    if (!table) return 0;
    const avs_type t = *avs_t(g, table);
    avs_val x = avs_gather_rows(g, avs_reshape(g, table, AVS_F32T(1, t.d[0], t.d[1])),
                                avs_const(g, AVS_TYPE(AVS_I32, n), index));
    return avs_reshape(g, x, AVS_F32T(n, t.d[1]));
}

static int32_t *new_index(avs_graph *g, int64_t n)
{
    int32_t *index = AVS_NEW_N(g->arena, int32_t, (size_t)n);
    if (!index)
        avs_graph_fail(g, AVS_ENOMEM, "out of memory for an index of %lld relative positions", (long long)n);
    return index;
}

avs_val avs_sam_relative_rows(avs_graph *g, avs_val table, int nq, int nk)
{
    int32_t *index = new_index(g, (int64_t)nq * nk);
    if (!index) return 0;
    const double of_q = nk > nq ? (double)nk / nq : 1, of_k = nq > nk ? (double)nq / nk : 1;
    for (int q = 0; q < nq; q++)
        for (int k = 0; k < nk; k++) index[q * nk + k] = (int32_t)(q * of_q - k * of_k + (nk - 1) * of_k);
    avs_val x = rows_of(g, avs_sam_relative_table(g, table, nq, nk), index, nq * nk);
    return x ? avs_reshape(g, x, AVS_F32T(nq, nk, avs_dim(g, table, 1))) : 0;
}

/* q . R along one axis of n places for all heads: [B, heads*N, n] from q[B,N,heads*d]. at(a): the place of token a along
 * the axis is a / step % n. */
static avs_val along_axis(avs_graph *g, avs_val q, avs_val table, int heads, int n, int step)
{
    if (!q || !table) return 0;
    const int B = avs_dim(g, q, 0), N = avs_dim(g, q, 1), d = avs_dim(g, table, 1), L = 2 * n - 1;
    int32_t *reversed = new_index(g, L), *run = new_index(g, (int64_t)heads * N * n);
    if (!reversed || !run) return 0;
    for (int i = 0; i < L; i++) reversed[i] = L - 1 - i;
    int32_t *p = run;
    for (int m = 0; m < heads; m++)
        for (int a = 0; a < N; a++)
            for (int k = 0; k < n; k++) *p++ = (a * heads + m) * L + n - 1 - a / step % n + k;
    avs_val r = rows_of(g, avs_sam_relative_table(g, table, n, n), reversed, L);
    avs_val x = avs_linear(g, avs_reshape(g, q, AVS_F32T(B, (int64_t)N * heads, d)), r, 0);
    x = avs_gather_rows(g, avs_reshape(g, x, AVS_F32T(B, (int64_t)N * heads * L, 1)),
                        avs_const(g, AVS_TYPE(AVS_I32, (int64_t)heads * N * n), run));
    return avs_reshape(g, x, AVS_F32T(B, (int64_t)heads * N, n));
}

avs_val avs_sam_add_relative(avs_graph *g, avs_val score, avs_val q, avs_val table_h, avs_val table_w, int h,
                             int w)
{
    if (!score || !q) return 0;
    const avs_type t = *avs_t(g, score);
    const int64_t rows = (int64_t)t.d[0] * t.d[1] * t.d[2];
    avs_val rh = along_axis(g, q, table_h, t.d[1], h, w), rw = along_axis(g, q, table_w, t.d[1], w, 1);
    if (!rh || !rw) return 0;
    avs_val y =
        avs_add(g, avs_reshape(g, score, AVS_F32T(rows, h, w)), avs_reshape(g, rh, AVS_F32T(rows, h, 1)));
    return avs_reshape(g, avs_add(g, y, avs_reshape(g, rw, AVS_F32T(rows, 1, w))), t);
}

/* ---------------------------------------------------------------- blocks */

/* side: of the window, or of the map where win is NULL. stored: side for which the tables are stored. */
static avs_val attention(avs_graph *g, const avs_sam_vit_cfg *cfg, const avs_windows *win, avs_val x,
                         int side, int stored)
{
    const int D = cfg->dim, d = D / cfg->heads;
    const avs_init zero = {.kind = AVS_INIT_ZERO}, fan = {.kind = AVS_INIT_FAN_IN_UNIFORM, .a = (float)D};
    const avs_window_input in = avs_window_input_of(g, win, x);
    avs_val part[3];
    avs_val w = avs_param(g, "qkv.weight", AVS_F32T((int64_t)3 * D, D), fan),
            b = avs_param(g, "qkv.bias", AVS_F32T((int64_t)3 * D), fan);
    for (int i = 0; i < 3; i++)
        part[i] = avs_window_linear(g, &in, avs_slice(g, w, 0, i * D, D), avs_slice(g, b, 0, i * D, D));
    avs_val table_h = avs_param(g, "rel_pos_h", AVS_F32T(2 * stored - 1, d), zero),
            table_w = avs_param(g, "rel_pos_w", AVS_F32T(2 * stored - 1, d), zero);
    avs_val score = avs_matmul(
        g, part[0], part[1],
        (avs_matmul_attr){
            .tb = 1, .a_split = 1, .b_split = 1, .heads = cfg->heads, .alpha = 1.F / sqrtf((float)d)});
    avs_val p = avs_softmax(g, avs_sam_add_relative(g, score, part[0], table_h, table_w, side, side));
    return avs_matmul(g, p, part[2], (avs_matmul_attr){.b_split = 1, .c_split = 1, .heads = cfg->heads});
}

typedef struct {
    avs_val norm, attn, mlp, adapter;
} block_taps;

/* LN(y + up(down(gate * y))); y [B,G*G,D]. The sum takes the ungated y. */
static avs_val adapter(avs_graph *g, const avs_sam_vit_cfg *cfg, avs_val y, int grid)
{
    const avs_init he = {.kind = AVS_INIT_HE_FAN_OUT};
    const int D = cfg->dim, hidden = (int)floor(D * cfg->adapter_ratio + 1e-9);
    if (!y) return 0;
    if (grid % 2 || hidden < 1)
        return avs_graph_fail(g, AVS_ERANGE,
                              "the adapters of SAM want an even number of patches a side and at least one "
                              "hidden channel, found %d patches and floor(%d * %g) channels",
                              grid, D, cfg->adapter_ratio);
    const int B = avs_dim(g, y, 0);
    avs_scope_push(g, "Adapter");
    avs_val p = avs_reshape(g, avs_reduce(g, y, 1, 2, true), AVS_F32T(B, D));
    p = avs_relu(g, avs_nn_linear(g, p, "channel.0", hidden, false, AVS_NN_HE_OUT));
    p = avs_sigmoid(g, avs_nn_linear(g, p, "channel.2", D, false, AVS_NN_HE_OUT));
    avs_val c = avs_mul(g, y, avs_reshape(g, p, AVS_F32T(B, 1, D)));
    c = avs_relu(g,
                 avs_nn_conv(g, avs_nn_map(g, c, grid, grid), "spatial.0", D, 3, 2, 1, false, AVS_NN_HE_OUT));
    c = avs_conv_transpose2d(g, c, avs_param(g, "spatial.2.weight", AVS_F32T(D, D, 4, 4), he), 0, 2, 1);
    c = avs_add(g, y, avs_nn_tokens(g, avs_relu(g, c)));
    avs_val gain = avs_param(g, "norm.weight", AVS_F32T(D),
                             (avs_init){.kind = cfg->adapter_zero ? AVS_INIT_ZERO : AVS_INIT_ONE}),
            bias = avs_param(g, "norm.bias", AVS_F32T(D), (avs_init){.kind = AVS_INIT_ZERO});
    c = avs_layernorm(g, c, gain, bias, 1e-5F);
    avs_scope_pop(g);
    return c;
}

static avs_val block(avs_graph *g, const avs_sam_vit_cfg *cfg, const avs_windows *win, avs_val x, int grid,
                     block_taps *tap)
{
    const int D = cfg->dim, stored = win ? win->side : cfg->table_grid ? cfg->table_grid : grid;
    avs_val y = tap->norm = avs_nn_layernorm(g, x, "norm1", EPS);
    avs_scope_push(g, "attn");
    y = attention(g, cfg, win, y, win ? win->side : grid, stored);
    if (win && cfg->tap_windows) tap->attn = avs_nn_linear(g, y, "proj", D, true, AVS_NN_TORCH);
    y = avs_nn_linear(g, win ? avs_windows_join(g, win, y) : y, "proj", D, true, AVS_NN_TORCH);
    if (!tap->attn) tap->attn = y;
    avs_scope_pop(g);
    x = avs_add(g, x, y);
    y = avs_nn_layernorm(g, x, "norm2", EPS);
    if (cfg->adapter_ratio > 0) tap->adapter = adapter(g, cfg, y, grid);
    y = avs_gelu(g, avs_nn_linear(g, y, "mlp.lin1", (int)((float)D * cfg->mlp_ratio), true, AVS_NN_TORCH));
    y = tap->mlp = avs_nn_linear(g, y, "mlp.lin2", D, true, AVS_NN_TORCH);
    x = avs_add(g, x, y);
    return tap->adapter ? avs_add(g, x, tap->adapter) : x;
}

static avs_val neck(avs_graph *g, const avs_sam_vit_cfg *cfg, avs_val x)
{
    x = avs_tap(g, "/neck0", avs_nn_conv(g, x, "neck.0", cfg->out, 1, 1, 0, false, AVS_NN_TORCH));
    x = avs_tap(g, "/neck1", avs_nn_layernorm(g, x, "neck.1", EPS));
    x = avs_tap(g, "/neck2", avs_nn_conv(g, x, "neck.2", cfg->out, 3, 1, 1, false, AVS_NN_TORCH));
    return avs_tap(g, "/neck3", avs_nn_layernorm(g, x, "neck.3", EPS));
}

static bool is_global(const avs_sam_vit_cfg *cfg, int nth)
{
    for (int i = 0; i < cfg->n_global; i++)
        if (cfg->global_block[i] == nth) return true;
    return false;
}

avs_val avs_sam_vit(avs_graph *g, const avs_sam_vit_cfg *cfg, avs_val x)
{
    const int P = cfg->patch, D = cfg->dim, S = avs_dim(g, x, 1);
    if (!x) return 0;
    if (S != avs_dim(g, x, 2) || S % P)
        return avs_graph_fail(g, AVS_ESHAPE,
                              "SAM wants square images of a multiple of %d pixels, found %dx%d", P, S,
                              avs_dim(g, x, 2));
    const int G = S / P, stored = cfg->table_grid ? cfg->table_grid : G;
    x = avs_nn_tokens(g, avs_nn_conv(g, x, "patch_embed.proj", D, P, P, 0, true, AVS_NN_TORCH));
    avs_tap(g, "/patch_embed", x);
    avs_val pos =
        avs_param(g, "pos_embed", AVS_F32T(1, stored, stored, D), (avs_init){.kind = AVS_INIT_ZERO});
    pos = avs_sam_position(g, pos, G);
    x = avs_add(g, x, pos ? avs_reshape(g, pos, AVS_F32T(1, (int64_t)G * G, D)) : 0);
    const avs_windows win = avs_windows_new(g, G, G, cfg->window, 0);
    for (int i = 0; i < cfg->depth && x; i++) {
        block_taps t = {0};
        if (cfg->inject && cfg->inject[i]) x = avs_add(g, x, cfg->inject[i]);
        avs_scope_push(g, "blocks.%d", i);
        x = block(g, cfg, is_global(cfg, i) ? NULL : &win, x, G, &t);
        avs_scope_pop(g);
        avs_nn_tap(g, t.norm, "/block%d.norm1", i);
        avs_nn_tap(g, t.attn, "/block%d.attn", i);
        avs_nn_tap(g, t.mlp, "/block%d.mlp", i);
        avs_nn_tap(g, t.adapter, "/block%d.adapter", i);
        avs_nn_tap(g, x, "/block%d", i);
    }
    return x ? neck(g, cfg, avs_nn_map(g, x, G, G)) : 0;
}
