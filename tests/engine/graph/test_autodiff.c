/* Every gradient against central differences in double.
 *
 * A case builds some value from parameters; the loss is its inner product with fixed weights. Values are drawn by the
 * first letter of a parameter's name, so that kinks stay away: x in [-1,1], n with 0.3 <= |n| <= 1.3, p in [0.5,1.5],
 * q in [0.1,0.9], u all different with gaps of 0.05, l sampling locations inside pixels. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/backend/ref/eval.h"
#include "engine/backend/ref/ref.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static avs_val param(avs_graph *g, const char *name, avs_type t)
{
    return avs_param(g, name, t, (avs_init){AVS_INIT_ZERO, 0, 0, 0});
}

/* ---------------------------------------------------------------- cases */

typedef struct {
    int B, H, W, Ci, Co, k, s, p, d, groups;
} conv_shape;
static const conv_shape CONV[] = {{1, 1, 1, 1, 1, 1, 1, 0, 1, 1},
                                  {2, 5, 7, 3, 5, 3, 2, 1, 1, 1},
                                  {1, 7, 5, 4, 6, 3, 1, 2, 2, 2},
                                  {2, 4, 3, 5, 5, 3, 1, 1, 1, 5},
                                  {1, 11, 3, 2, 3, 1, 2, 0, 1, 1}};

static avs_val conv(avs_graph *g, int i)
{
    const conv_shape *s = &CONV[i];
    return avs_conv2d(g, param(g, "x", AVS_F32T(s->B, s->H, s->W, s->Ci)),
                      param(g, "xw", AVS_F32T(s->Co, s->Ci / s->groups, s->k, s->k)),
                      i ? param(g, "xb", AVS_F32T(s->Co)) : 0, s->s, s->p, s->d, s->groups);
}

static avs_val conv_transposed(avs_graph *g, int i)
{
    avs_conv_attr c = {.sh = 2, .sw = 1, .ph = i, .pw = 0, .dh = 1, .dw = 1, .groups = 1, .kh = 3, .kw = 2};
    c.in_h = 7, c.in_w = 4;
    avs_val gy = param(g, "x", AVS_F32T(2, (7 + 2 * i - 3) / 2 + 1, 3, 5)),
            w = param(g, "xw", AVS_F32T(5, 3, 3, 2));
    return avs_graph_node(g, AVS_OP_CONV2D_BWD_X, (avs_val[]){gy, w}, 2, &c, NULL);
}

static avs_type matrix(int rank, int rows, int cols, int is_transposed)
{
    int r = is_transposed ? cols : rows, c = is_transposed ? rows : cols;
    if (rank == 2) return AVS_F32T(r, c);
    return rank == 3 ? AVS_F32T(2, r, c) : AVS_F32T(2, 3, r, c);
}

static avs_val matmul_plain(avs_graph *g, int i)
{
    int rank = 2 + i / 4;
    avs_matmul_attr m = {.ta = i & 1, .tb = i >> 1 & 1, .alpha = 0.75f};
    avs_val a = param(g, "xa", matrix(rank, 3, 5, m.ta)), b = param(g, "xb", matrix(rank, 5, 7, m.tb));
    return avs_matmul(g, a, b, m);
}

static avs_val matmul_bias(avs_graph *g, int i)
{
    avs_type x[] = {AVS_F32T(5), AVS_F32T(1, 5), AVS_F32T(2, 3, 5), AVS_F32T(2, 1, 3, 5)};
    avs_matmul_attr m = {.tb = i & 1, .alpha = 0.5f};
    avs_val in[] = {param(g, "xa", x[i / 2]), param(g, "xb", matrix(2, 5, 11, m.tb)),
                    param(g, "xc", AVS_F32T(11))};
    return avs_graph_node(g, AVS_OP_MATMUL, in, 3, &m, NULL);
}

static avs_type heads(int rows, int cols, int is_transposed, int is_split)
{
    int r = is_transposed ? cols : rows, c = is_transposed ? rows : cols;
    return is_split ? AVS_F32T(2, r, 3 * c) : AVS_F32T(2, 3, r, c);
}

static avs_val matmul_heads(avs_graph *g, int i)
{
    avs_matmul_attr m = {.ta = i & 1,
                         .tb = i >> 1 & 1,
                         .a_split = i >> 2 & 1,
                         .b_split = i >> 3 & 1,
                         .c_split = i >> 4 & 1,
                         .heads = 3,
                         .alpha = 0.5f};
    avs_val a = param(g, "xa", heads(2, 5, m.ta, m.a_split)),
            b = param(g, "xb", heads(5, 4, m.tb, m.b_split));
    return avs_matmul(g, a, b, m);
}

static avs_val linear(avs_graph *g, int i)
{
    avs_val w =
        param(g, "xw", AVS_F32T(12, 3)); /* rows of one weight used as three layers, as in in_proj_weight */
    avs_val x = param(g, "x", AVS_F32T(2, 5, 3));
    avs_val q = avs_linear(g, x, avs_slice(g, w, 0, 0, 4), i ? param(g, "xb", AVS_F32T(4)) : 0);
    avs_val k = avs_linear(g, x, avs_slice(g, w, 0, 4, 4), 0);
    return avs_add(g, avs_mul(g, q, k), avs_linear(g, x, avs_slice(g, w, 0, 8, 4), 0));
}

static avs_val softmax(avs_graph *g, int i)
{
    avs_type t[] = {AVS_F32T(7), AVS_F32T(2, 1), AVS_F32T(3, 2, 11)};
    return avs_softmax(g, param(g, "x", t[i]));
}

static avs_val norm(avs_graph *g, int i)
{
    avs_type t[] = {AVS_F32T(7), AVS_F32T(3, 5), AVS_F32T(2, 3, 2, 11)};
    int C = t[i].d[t[i].rank - 1];
    return avs_layernorm(g, param(g, "x", t[i]), param(g, "pg", AVS_F32T(C)), param(g, "xb", AVS_F32T(C)),
                         1e-5f);
}

static avs_val batchnorm(avs_graph *g, int i)
{
    avs_type t[] = {AVS_F32T(3, 1), AVS_F32T(5, 3), AVS_F32T(2, 3, 2, 5)};
    int C = t[i % 3].d[t[i % 3].rank - 1];
    avs_init zero = {AVS_INIT_ZERO, 0, 0, 0};
    return avs_batchnorm(g, param(g, "x", t[i % 3]), param(g, "pg", AVS_F32T(C)), param(g, "xb", AVS_F32T(C)),
                         avs_buffer(g, "xm", AVS_F32T(C), zero), avs_buffer(g, "pv", AVS_F32T(C), zero),
                         1e-5f, 0.1f, i < 3);
}

static avs_val groupnorm(avs_graph *g, int i)
{
    avs_type t[] = {AVS_F32T(2, 6), AVS_F32T(1, 3, 5, 6), AVS_F32T(3, 7, 6)};
    int groups[] = {3, 2, 6};
    return avs_groupnorm(g, param(g, "x", t[i]), param(g, "pg", AVS_F32T(6)), param(g, "xb", AVS_F32T(6)),
                         groups[i], 1e-5f);
}

static avs_val pool_avg(avs_graph *g, int i)
{
    avs_val x = param(g, "x", AVS_F32T(2, 7, 5, 3));
    if (i < 3) return avs_pool_avg(g, x, 2 + i % 2, 1 + i, i > 0);
    return avs_pool_adaptive(g, x, i == 3 ? 3 : 9, i == 3 ? 2 : 5);
}

static avs_val pool(avs_graph *g, int i)
{
    int shape[][6] = {{1, 1, 1, 1, 1, 0}, {5, 7, 3, 3, 2, 1}, {6, 5, 2, 2, 1, 0}, {7, 4, 3, 3, 1, 1}};
    const int *s = shape[i];
    return avs_pool_max(g, param(g, "u", AVS_F32T(2, s[0], s[1], s[2])), s[3], s[4], s[5]);
}

static avs_val resize(avs_graph *g, int i)
{
    int shape[][4] = {{1, 1, 3, 2}, {3, 5, 7, 11}, {7, 4, 3, 2}, {2, 3, 1, 6}};
    int mode = i / 4; /* bilinear, bilinear with corners, nearest */
    const int *s = shape[i % 4];
    return avs_resize(g, param(g, "x", AVS_F32T(2, s[0], s[1], 3)), s[2], s[3],
                      mode == 2 ? AVS_RESIZE_NEAREST : AVS_RESIZE_BILINEAR, mode == 1);
}

static const avs_msdeform_attr DEFORM[] = {
    {1, 1, 1, {1}, {1}}, {2, 3, 2, {3, 2, 1}, {5, 3, 2}}, {3, 2, 1, {2, 7}, {4, 1}}};

static avs_val msdeform(avs_graph *g, int i)
{
    const avs_msdeform_attr *m = &DEFORM[i];
    int S = 0, n = m->heads * m->levels * m->points;
    for (int l = 0; l < m->levels; l++) S += m->h[l] * m->w[l];
    return avs_msdeform(g, param(g, "x", AVS_F32T(2, S, m->heads * 3)),
                        param(g,
                              i == 0   ? "l0"
                              : i == 1 ? "l1"
                                       : "l2",
                              AVS_F32T(2, 5, 2 * n)),
                        param(g, "q", AVS_F32T(2, 5, n)), m);
}

static const avs_ew_code UNARY[] = {
    AVS_EW_NEG,   AVS_EW_RELU,        AVS_EW_SIGMOID,   AVS_EW_TANH,  AVS_EW_GELU,   AVS_EW_SILU,
    AVS_EW_EXP,   AVS_EW_LOG,         AVS_EW_SQRT,      AVS_EW_RSQRT, AVS_EW_SQUARE, AVS_EW_ABS,
    AVS_EW_RELU6, AVS_EW_HARDSIGMOID, AVS_EW_HARDSWISH, AVS_EW_SIN,   AVS_EW_COS};

static avs_val unary(avs_graph *g, int i)
{
    bool positive = UNARY[i] == AVS_EW_LOG || UNARY[i] == AVS_EW_SQRT || UNARY[i] == AVS_EW_RSQRT;
    return avs_ew_unary(g, UNARY[i], param(g, positive ? "p" : "n", AVS_F32T(3, 7)));
}

/* Values on all sides of the kinks at -3, 0, 3 and 6. */
static avs_val clipped(avs_graph *g, int i)
{
    avs_val x = avs_scale(g, param(g, "n", AVS_F32T(5, 7)), i == 0 ? 8 : 4);
    return avs_ew_unary(g, (avs_ew_code[]){AVS_EW_RELU6, AVS_EW_HARDSIGMOID, AVS_EW_HARDSWISH}[i], x);
}

static const avs_ew_code BINARY[] = {AVS_EW_ADD, AVS_EW_SUB,  AVS_EW_RSUB, AVS_EW_MUL,
                                     AVS_EW_DIV, AVS_EW_RDIV, AVS_EW_MAX,  AVS_EW_MIN};

static avs_val binary(avs_graph *g, int i)
{
    avs_type other[] = {AVS_F32T(2, 3, 5), AVS_F32T(5), AVS_F32T(2, 1, 5), AVS_F32T(2, 1, 1), AVS_F32T(1)};
    /* p and u never come within 0.01 of each other: the list of u is offset against that of p */
    avs_val a = param(g, "u", AVS_F32T(2, 3, 5)), b = param(g, "v", other[i % 5]);
    return i / 5 % 2 ? avs_ew_binary(g, BINARY[i / 10], b, a) : avs_ew_binary(g, BINARY[i / 10], a, b);
}

static avs_val immediate(avs_graph *g, int i)
{
    return avs_ew_imm(g, BINARY[i], param(g, "n", AVS_F32T(5, 3)), 0.25f);
}

static avs_val expand(avs_graph *g, int i)
{
    avs_type from[] = {AVS_F32T(1), AVS_F32T(1, 3, 1), AVS_F32T(3, 1), AVS_F32T(2, 1, 1, 5)};
    avs_type to[] = {AVS_F32T(2, 3), AVS_F32T(7, 3, 1), AVS_F32T(3, 7), AVS_F32T(2, 3, 4, 5)};
    return avs_expand(g, param(g, "x", from[i]), to[i]);
}

static avs_val both_spread(avs_graph *g, int i)
{
    avs_val a = param(g, "x", AVS_F32T(2, 1, 5)), b = param(g, "xb", i ? AVS_F32T(3, 1) : AVS_F32T(1, 3, 5));
    return avs_mul(g, i ? avs_reshape(g, avs_reduce(g, a, 0, 1, false), AVS_F32T(5)) : a, b);
}

static avs_val reduce(avs_graph *g, int i)
{
    int range[][2] = {{0, 1}, {1, 3}, {2, 3}, {0, 3}};
    return avs_reduce(g, param(g, "x", AVS_F32T(2, 3, 7)), range[i % 4][0], range[i % 4][1], i >= 4);
}

static avs_val concat(avs_graph *g, int i)
{
    avs_val x[11];
    int axis = i % 3, n = i < 3 ? 3 : 11;
    for (int k = 0; k < n; k++) {
        int64_t d[3] = {2, 3, 5};
        d[axis] = 1 + k % 3;
        x[k] = param(g, (char[3]){'x', (char)('a' + k), 0}, avs_type_of(AVS_F32, 3, d));
    }
    return avs_concat(g, x, n, axis);
}

static avs_val slice(avs_graph *g, int i)
{
    avs_val x = param(g, "x", AVS_F32T(3, 7, 5));
    return avs_slice(g, x, i, 1, i == 0 ? 1 : 3);
}

static avs_val pad(avs_graph *g, int i)
{
    return avs_pad(g, param(g, "x", AVS_F32T(3, 2, 5)), i, i, 2);
}

static avs_val permute(avs_graph *g, int i)
{
    int perm[][4] = {{0, 2, 1, 3}, {3, 1, 0, 2}, {0, 1, 2, 3}};
    avs_val x = param(g, "x", AVS_F32T(2, 3, 5, 4));
    return avs_mul(g, avs_permute(g, x, perm[i]), avs_permute(g, x, perm[i]));
}

static avs_val row_max(avs_graph *g, int i)
{
    int shape[][3] = {{1, 1, 1}, {3, 7, 2}, {2, 5, 9}};
    return avs_row_max(g, param(g, "u", AVS_F32T(shape[i][0], shape[i][1], shape[i][2])), NULL);
}

/* A permutation with holes (whose transpose is a gather), rows named twice, and one row alone. */
static avs_val gather(avs_graph *g, int i)
{
    static const int32_t index[][6] = {{3, 0, -1, 4, 1, -1}, {2, 2, 0, 2, -1, 4}, {4}};
    const int n = i == 2 ? 1 : 6;
    return avs_gather_rows(g, param(g, "x", AVS_F32T(2, 5, 3)), avs_const(g, AVS_TYPE(AVS_I32, n), index[i]));
}

static avs_val dropout(avs_graph *g, int i)
{
    return avs_dropout(g, param(g, "x", AVS_F32T(5, 3, 3)), 0.4f, i == 1);
}

static avs_val loss(avs_graph *g, int i)
{
    int kinds[] = {AVS_LOSS_BCE, AVS_LOSS_CE, AVS_LOSS_DICE, AVS_LOSS_DICE, AVS_LOSS_IOU};
    avs_loss_attr a = {.kind = kinds[i], .squared = i == 3, .s_num = 1, .s_den = 1.5f};
    avs_init zero = {AVS_INIT_ZERO, 0, 0, 0};
    int32_t cls[] = {0, 4, 2, 1, 3, 4};
    avs_val t =
        i == 1 ? avs_const(g, AVS_TYPE(AVS_I32, 2, 3), cls) : avs_buffer(g, "q", AVS_F32T(2, 7), zero);
    avs_val p = i == 1 ? param(g, "x", AVS_F32T(2, 3, 5)) : param(g, i ? "qp" : "x", AVS_F32T(2, 7, 1));
    return avs_loss(g, p, t, a);
}

/* Points drawn: gradients are those of samples that stay where they are. */
static avs_val set_loss(avs_graph *g, int i)
{
    static const int32_t map[2 * 9] = {0, 1, 1, 0, 2, 2, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    const avs_set_loss_attr a = {.points = 12,
                                 .candidates = 20,
                                 .uncertain = i ? 8 : 0,
                                 .clip_rows = i == 2,
                                 .no_object = 0.1f,
                                 .w_class = 2,
                                 .w_mask = 5,
                                 .w_dice = 3};
    const avs_val in[7] = {param(g, "x", AVS_F32T(2, 4, 4)), param(g, "xm", AVS_F32T(2, 4, 3, 5)),
                           avs_const(g, AVS_TYPE(AVS_I32, 2, 3, 3), map),
                           avs_const(g, AVS_F32T(2), (float[]){1, 1})};
    return avs_slice(g, avs_set_loss(g, in, a).terms, 0, 0, 1);
}

static avs_val row_mean(avs_graph *g, int i)
{
    avs_val w = avs_const(g, AVS_F32T(5), (float[]){1, 0, 1, 1, 0});
    return avs_row_mean(g, param(g, "x", AVS_F32T(5)), i ? w : 0);
}

/* One value used as it is, reshaped, sliced and twice in one node. */
static avs_val views(avs_graph *g, int i)
{
    avs_val x = avs_relu(g, param(g, "n", AVS_F32T(6, 4)));
    avs_val flat = avs_reshape(g, x, AVS_F32T(2, 12)), part = avs_slice(g, flat, 0, 1, 1);
    avs_val y = avs_mul(g, avs_reshape(g, part, AVS_F32T(3, 4)), avs_slice(g, x, 0, i, 3));
    return avs_add(g, y, avs_mul(g, avs_slice(g, x, 0, 1, 3), avs_slice(g, x, 0, 1, 3)));
}

typedef struct {
    const char *name;
    avs_val (*build)(avs_graph *g, int i);
    int n;
} fd_case;
static const fd_case CASES[] = {{"conv", conv, COUNT(CONV)},
                                {"conv_transposed", conv_transposed, 2},
                                {"matmul_plain", matmul_plain, 12},
                                {"matmul_bias", matmul_bias, 8},
                                {"matmul_heads", matmul_heads, 32},
                                {"linear", linear, 2},
                                {"softmax", softmax, 3},
                                {"layernorm", norm, 3},
                                {"batchnorm", batchnorm, 6},
                                {"groupnorm", groupnorm, 3},
                                {"pool", pool, 4},
                                {"pool_avg", pool_avg, 5},
                                {"clipped", clipped, 3},
                                {"resize", resize, 12},
                                {"msdeform", msdeform, COUNT(DEFORM)},
                                {"unary", unary, COUNT(UNARY)},
                                {"binary", binary, 10 * COUNT(BINARY)},
                                {"immediate", immediate, COUNT(BINARY)},
                                {"expand", expand, 4},
                                {"both_spread", both_spread, 2},
                                {"reduce", reduce, 8},
                                {"concat", concat, 6},
                                {"slice", slice, 3},
                                {"pad", pad, 3},
                                {"permute", permute, 3},
                                {"gather", gather, 3},
                                {"row_max", row_max, 3},
                                {"dropout", dropout, 2},
                                {"loss", loss, 5},
                                {"set_loss", set_loss, 3},
                                {"row_mean", row_mean, 2},
                                {"views", views, 3}};

/* ---------------------------------------------------------------- differences */

/* A location inside pixel cells of its level, a few of them outside the map. */
static double location(avs_rng *r, const avs_msdeform_attr *m, int64_t i)
{
    int64_t level = i / 2 / m->points % m->levels;
    int n = i % 2 ? m->h[level] : m->w[level];
    return ((double)avs_rng_range(r, -2, n) + avs_rng_uniform(r, 0.2, 0.8) + 0.5) / n;
}

static void draw(avs_rng *r, const char *name, int64_t n, double *out)
{
    int32_t *order = calloc((size_t)n, sizeof(*order));
    for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
    avs_rng_shuffle(r, order, n);
    for (int64_t i = 0; i < n; i++) {
        double u = avs_rng_unit(r);
        switch (name[0]) {
        case 'x':
            out[i] = 2 * u - 1;
            break;
        case 'n':
            out[i] = (u < 0.5 ? -1 : 1) * (0.3 + fabs(2 * u - 1));
            break;
        case 'p':
            out[i] = 0.5 + u;
            break;
        case 'q':
            out[i] = 0.1 + 0.8 * u;
            break;
        case 'u':
            out[i] = 0.05 * (order[i] + 10);
            break;
        case 'v':
            out[i] = 0.05 * (order[i] % 30 + 10) + 0.02;
            break;
        case 'l':
            out[i] = location(r, &DEFORM[name[1] - '0'], i);
            break;
        default:
            fail_msg("no rule for a parameter called %s", name);
        }
    }
    free(order);
}

static avs_val weighted_sum(avs_graph *g, avs_val y)
{
    int64_t n = avs_type_count(avs_t(g, y));
    avs_rng r = avs_rng_seed(99);
    float *w = calloc((size_t)n, sizeof(*w));
    for (int64_t i = 0; i < n; i++) w[i] = (float)avs_rng_uniform(&r, -1, 1);
    avs_val c = avs_const(g, AVS_F32T(n), w);
    free(w);
    return avs_reduce(g, avs_mul(g, avs_reshape(g, y, AVS_F32T(n)), c), 0, 1, false);
}

/* Largest difference between the gradient of one parameter and differences of the loss, over the largest gradient. */
static void check_param(const char *what, int i, avs_ref_run *run, const avs_graph *g, uint32_t n_fwd,
                        avs_val p, avs_val loss_value)
{
    const avs_value *v = &g->v[p];
    int64_t n = avs_type_count(&v->type);
    char key[64];
    avs_err e = AVS_ERR_INIT;
    snprintf(key, sizeof(key), "grad:%s", v->name);
    avs_val grad = avs_graph_find_output(g, key);
    if (!grad) fail_msg("%s %d: no output %s", what, i, key);
    double *x = calloc((size_t)n, sizeof(*x)), *got = calloc((size_t)n, sizeof(*got)), worst = 0, top = 0;
    avs_ref_get(run, p, x);
    avs_ref_get(run, grad, got);
    for (int64_t k = 0; k < n; k++) {
        const double h = 1e-5, at = x[k];
        double side[2];
        for (int s = 0; s < 2; s++) {
            x[k] = s ? at + h : at - h;
            avs_ref_set(run, p, x);
            assert_int_equal(avs_ref_exec(run, n_fwd, &e), AVS_OK);
            side[s] = avs_ref_at(run, loss_value, 0);
        }
        x[k] = at;
        double want = (side[1] - side[0]) / (2 * h);
        worst = fmax(worst, fabs(want - got[k]));
        top = fmax(top, fmax(fabs(want), fabs(got[k])));
    }
    avs_ref_set(run, p, x);
    free(x);
    free(got);
    bool is_flat =
        strcmp(what, "softmax") == 0 && avs_dim(g, p, v->type.rank - 1) == 1; /* one class: always 1 */
    if (!is_flat && !(top > 1e-4)) fail_msg("%s %d: %s is %g everywhere", what, i, key, top);
    if (!(worst <= 1e-6 * fmax(top, 1e-3)))
        fail_msg("%s %d: %s is off by %g of %g", what, i, key, worst, top);
}

static void check_case(const fd_case *c, int i)
{
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, true);
    avs_ref_run *run = NULL;
    avs_err e = AVS_ERR_INIT;
    avs_rng r = avs_rng_seed(1000 + (uint64_t)i);
    avs_val loss_value = weighted_sum(g, c->build(g, i));
    uint32_t n_v = g->n_v, n_fwd = g->n_node - 1;
    avs_backward(g, loss_value);
    if (avs_graph_check(g, &e) != AVS_OK) fail_msg("%s %d: %s", c->name, i, e.msg);
    assert_int_equal(avs_ref_open(&run, g, AVS_F64, &(avs_runtime){.seed = 7, .step = 3, .sample0 = 2}, &e),
                     AVS_OK);
    for (avs_val v = 1; v < n_v; v++) {
        if (g->v[v].kind != AVS_V_PARAM && g->v[v].kind != AVS_V_BUFFER) continue;
        int64_t n = avs_type_count(&g->v[v].type);
        double *x = calloc((size_t)n, sizeof(*x));
        draw(&r, g->v[v].name, n, x);
        avs_ref_set(run, v, x);
        free(x);
    }
    if (avs_ref_exec(run, 0, &e) != AVS_OK) fail_msg("%s %d: %s", c->name, i, e.msg);
    for (avs_val v = 1; v < n_v; v++)
        if (g->v[v].kind == AVS_V_PARAM) check_param(c->name, i, run, g, n_fwd, v, loss_value);
    avs_ref_close(run);
    avs_arena_free(a);
}

static void every_gradient_agrees_with_differences(void **state)
{
    (void)state;
    for (int c = 0; c < COUNT(CASES); c++)
        for (int i = 0; i < CASES[c].n; i++) check_case(&CASES[c], i);
}

static void every_op_has_infer_kernel_and_gradient_case(void **state)
{
    bool seen[AVS_OP_COUNT] = {false};
    (void)state;
    for (int c = 0; c < COUNT(CASES); c++)
        for (int i = 0; i < CASES[c].n; i++) {
            avs_arena *a = avs_arena_new();
            avs_graph *g = avs_graph_new(a, true);
            CASES[c].build(g, i);
            for (uint32_t n = 1; n < g->n_node; n++) seen[g->node[n].op] = true;
            avs_arena_free(a);
        }
    for (int op = 1; op < AVS_OP_COUNT; op++) {
        const avs_op_rule *rule = &avs_op_rules[op];
        if (!rule->infer) fail_msg("op %d has no infer", op);
        if (!avs_ref_kernels[op]) fail_msg("%s has no ref kernel", rule->name);
        if (rule->vjp && !seen[op]) fail_msg("%s has a vjp, but no case here", rule->name);
    }
}

/* ---------------------------------------------------------------- policies */

static void frozen_prefixes_make_no_nodes(void **state)
{
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, true);
    (void)state;
    avs_graph_freeze(g, "backbone.");
    avs_scope_push(g, "backbone");
    avs_val x = avs_input(g, "frames", AVS_F32T(1, 6, 6, 3));
    avs_val y = avs_relu(g, avs_conv2d(g, x, param(g, "conv.weight", AVS_F32T(4, 3, 3, 3)), 0, 1, 1, 1, 1));
    avs_scope_pop(g);
    y = avs_conv2d(g, y, param(g, "head.weight", AVS_F32T(2, 4, 1, 1)), 0, 1, 0, 1, 1);
    avs_val l = weighted_sum(g, y);
    uint32_t before = g->n_node;
    assert_int_equal(avs_backward(g, l), AVS_OK);
    assert_int_equal(avs_graph_find_output(g, "grad:backbone.conv.weight"), 0);
    assert_int_not_equal(avs_graph_find_output(g, "grad:head.weight"), 0);
    int bwd_x = 0, bwd_w = 0;
    for (uint32_t i = before; i < g->n_node; i++) {
        bwd_x += g->node[i].op == AVS_OP_CONV2D_BWD_X;
        bwd_w += g->node[i].op == AVS_OP_CONV2D_BWD_W;
        assert_string_equal(g->node[i].scope, "");
    }
    assert_int_equal(bwd_x, 0);
    assert_int_equal(bwd_w, 1);
    avs_arena_free(a);
}

static void inputs_get_gradients_on_request_and_unreached_parameters_none(void **state)
{
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, true);
    (void)state;
    avs_val x = avs_input(g, "x", AVS_F32T(2, 3)), z = avs_input(g, "z", AVS_F32T(2, 3));
    avs_graph_want_grad(g, x);
    param(g, "unused", AVS_F32T(3));
    avs_val l = weighted_sum(g, avs_mul(g, avs_mul(g, x, z), param(g, "w", AVS_F32T(3))));
    assert_int_equal(avs_backward(g, l), AVS_OK);
    assert_int_equal(g->n_output, 2);
    assert_int_not_equal(avs_graph_find_output(g, "grad:x"), 0);
    assert_int_not_equal(avs_graph_find_output(g, "grad:w"), 0);
    avs_arena_free(a);
}

static void the_loss_has_to_be_one_element(void **state)
{
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, true);
    (void)state;
    assert_int_equal(avs_backward(g, param(g, "w", AVS_F32T(3))), AVS_ESHAPE);
    assert_non_null(strstr(g->err.msg, "f32[3]"));
    avs_arena_free(a);
}

static void backward_nodes_and_fused_nodes_cannot_be_differentiated(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, true);
        avs_val x = param(g, "x", AVS_F32T(1, 4)), y;
        avs_matmul_attr m = {.tb = 1, .alpha = 1, .act = AVS_ACT_RELU};
        avs_ew_attr p = {.n = 3,
                         .instr = {{.code = AVS_EW_LOAD}, {.code = AVS_EW_RELU}, {.code = AVS_EW_NEG}}};
        p.out = *avs_t(g, x);
        if (i == 0)
            y = avs_graph_node(g, AVS_OP_SOFTMAX_BWD, (avs_val[]){x, x}, 2, NULL, NULL);
        else if (i == 1)
            y = avs_graph_node(g, AVS_OP_MATMUL, (avs_val[]){x, x}, 2, &m, NULL);
        else
            y = avs_graph_node(g, AVS_OP_EW, &x, 1, &p, NULL);
        assert_int_equal(avs_backward(g, weighted_sum(g, y)), AVS_ERANGE);
        assert_non_null(strstr(g->err.msg, "differentiated"));
        avs_arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_has_infer_kernel_and_gradient_case),
        cmocka_unit_test(every_gradient_agrees_with_differences),
        cmocka_unit_test(frozen_prefixes_make_no_nodes),
        cmocka_unit_test(inputs_get_gradients_on_request_and_unreached_parameters_none),
        cmocka_unit_test(the_loss_has_to_be_one_element),
        cmocka_unit_test(backward_nodes_and_fused_nodes_cannot_be_differentiated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
