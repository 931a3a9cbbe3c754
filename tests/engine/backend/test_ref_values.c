/* The ref kernels against values worked out by hand (or printed in PyTorch's documentation), in both storages. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "engine/backend/ref/eval.h"

#define LIST(...)                                                                                            \
    (const float[])                                                                                          \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }
#define WANT(...)                                                                                            \
    (const double[])                                                                                         \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }

typedef struct {
    avs_arena *a;
    avs_graph *g;
} fixture;

static int set_up(void **state)
{
    static fixture f;
    f.a = avs_arena_new();
    f.g = avs_graph_new(f.a, true);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    avs_arena_free(((fixture *)*state)->a);
    return 0;
}

static avs_ref_run *run(const avs_graph *g, avs_dtype store)
{
    avs_ref_run *r = NULL;
    avs_err e = AVS_ERR_INIT;
    int rc = avs_ref_open(&r, g, store, NULL, &e);
    if (rc == AVS_OK) rc = avs_ref_exec(r, 0, &e);
    if (rc != AVS_OK) fail_msg("%s", e.msg);
    return r;
}

static void expect(const avs_graph *g, avs_val v, int64_t n, const double *want)
{
    for (int s = 0; s < 2; s++) {
        avs_ref_run *r = run(g, s ? AVS_F64 : AVS_F32);
        assert_int_equal(avs_type_count(avs_t(g, v)), n);
        for (int64_t i = 0; i < n; i++) {
            double got = avs_ref_at(r, v, i);
            if (!(fabs(got - want[i]) <= (s ? 1e-9 : 3e-6) * fmax(1, fabs(want[i]))))
                fail_msg("value %%%u element %lld is %.9g, not %.9g", v, (long long)i, got, want[i]);
        }
        avs_ref_close(r);
    }
}
#define EXPECT(g, v, ...)                                                                                    \
    expect((g), (v), (int64_t)(sizeof(WANT(__VA_ARGS__)) / sizeof(double)), WANT(__VA_ARGS__))

static avs_graph *graph(void **state)
{
    return ((fixture *)*state)->g;
}

/* Elements i*a mod m - m/2 */
static avs_val pattern(avs_graph *g, avs_type t, int a, int m)
{
    float x[64];
    for (int i = 0; i < avs_type_count(&t); i++) x[i] = (float)(i * a % m - m / 2);
    return avs_const(g, t, x);
}

static void conv2d_with_groups_stride_and_padding(void **state)
{
    avs_graph *g = graph(state);
    avs_val x = pattern(g, AVS_F32T(1, 3, 4, 2), 7, 11), w = pattern(g, AVS_F32T(4, 1, 3, 2), 5, 7);
    EXPECT(g, avs_conv2d(g, x, w, 0, 2, 1, 1, 2), 6, -12, -2, -6, -3, 4, -17, -6, 15, -2, 0, 2, -2, 12, 5, -9,
           1, -5, 7, -10, -15, -15, -5, 1);
}

static void conv2d_with_dilation_and_its_gradients(void **state)
{
    avs_graph *g = graph(state);
    avs_val x = pattern(g, AVS_F32T(1, 5, 4, 1), 7, 11), w = pattern(g, AVS_F32T(2, 1, 3, 2), 5, 7);
    avs_val gy = pattern(g, AVS_F32T(1, 3, 4, 2), 3, 5);
    avs_val y = avs_conv2d(g, x, w, avs_const(g, AVS_F32T(2), LIST(100, 0)), 1, 1, 2, 1);
    EXPECT(g, y, 104, -6, 103, 13, 95, 1, 115, -2, 102, 6, 104, 9, 122, -31, 106, 0, 98, 9, 95, -9, 107, -1,
           88, 6);
    const void *c = g->node[g->n_node - 1].attr;
    EXPECT(g, avs_graph_node(g, AVS_OP_CONV2D_BWD_X, (avs_val[]){gy, w}, 2, c, NULL), 5, 5, -5, -8, -2, 10, 5,
           -7, 2, 0, 0, 2, -7, 5, 10, -2, -8, -5, 5, 5);
    EXPECT(g, avs_graph_node(g, AVS_OP_CONV2D_BWD_W, (avs_val[]){x, gy}, 2, c, NULL), 12, 8, 11, 21, 5, 11, 8,
           11, 16, -3, 8, -2);
}

static void conv2d_epilogue_adds_residual_then_cuts_below_zero(void **state)
{
    avs_graph *g = graph(state);
    avs_conv_attr c = {
        .sh = 1, .sw = 1, .dh = 1, .dw = 1, .groups = 1, .kh = 1, .kw = 1, .in_h = 1, .in_w = 2};
    c.act = AVS_ACT_RELU;
    avs_val in[] = {avs_const(g, AVS_F32T(1, 1, 2, 1), LIST(2, 3)),
                    avs_const(g, AVS_F32T(1, 1, 1, 1), LIST(-1)), 0,
                    avs_const(g, AVS_F32T(1, 1, 2, 1), LIST(4, 1))};
    EXPECT(g, avs_graph_node(g, AVS_OP_CONV2D, in, 4, &c, NULL), 2, 0);
}

static void matmul_of_two_by_three(void **state)
{
    avs_graph *g = graph(state);
    avs_val a = avs_const(g, AVS_F32T(2, 3), LIST(1, 2, 3, 4, 5, 6)),
            b = avs_const(g, AVS_F32T(3, 2), LIST(1, 0, 2, -1, 0, 1));
    avs_val bias = avs_const(g, AVS_F32T(2), LIST(10, -10));
    EXPECT(g, avs_matmul(g, a, b, (avs_matmul_attr){0}), 5, 1, 14, 1);
    EXPECT(g, avs_matmul(g, b, a, (avs_matmul_attr){.ta = 1, .tb = 1, .alpha = 0.5f}), 2.5, 7, 0.5, 0.5);
    avs_matmul_attr m = {.alpha = 2, .act = AVS_ACT_RELU};
    EXPECT(g, avs_graph_node(g, AVS_OP_MATMUL, (avs_val[]){a, b, bias, b}, 3, &m, NULL), 20, 0, 38, 0);
    avs_val w = avs_const(g, AVS_F32T(1, 3), LIST(1, 1, 1));
    EXPECT(g, avs_linear(g, a, w, avs_const(g, AVS_F32T(1), LIST(0.5f))), 6.5, 15.5);
}

static void matmul_heads_take_their_own_channels(void **state)
{
    avs_graph *g = graph(state);
    avs_val q = avs_const(g, AVS_F32T(1, 2, 4), LIST(1, 2, 3, 4, 5, 6, 7, 8)),
            k = avs_const(g, AVS_F32T(1, 1, 4), LIST(1, 0, 0, 2));
    avs_val s = avs_matmul(g, q, k, (avs_matmul_attr){.tb = 1, .a_split = 1, .b_split = 1, .heads = 2});
    EXPECT(g, s, 1, 5, 8, 16); /* [1,2,2,1]: head 0 then head 1 */
    avs_val o = avs_matmul(g, s, k, (avs_matmul_attr){.b_split = 1, .c_split = 1, .heads = 2});
    EXPECT(g, o, 1, 0, 0, 16, 5, 0, 0, 32);
}

static void softmax_of_logarithms_and_of_large_values(void **state)
{
    avs_graph *g = graph(state);
    avs_val x = avs_const(g, AVS_F32T(2, 3), LIST(0, 0.69314718056f, 1.09861228867f, 1000, -1000, 1000));
    avs_val y = avs_softmax(g, x);
    for (int s = 0; s < 2; s++) {
        avs_ref_run *r = run(g, s ? AVS_F64 : AVS_F32);
        const double want[] = {1.0 / 6, 2.0 / 6, 3.0 / 6, 0.5, 0, 0.5};
        for (int i = 0; i < 6; i++) assert_true(fabs(avs_ref_at(r, y, i) - want[i]) < 1e-7);
        avs_ref_close(r);
    }
    avs_val p = avs_const(g, AVS_F32T(1, 3), LIST(0.25f, 0.25f, 0.5f)),
            gy = avs_const(g, AVS_F32T(1, 3), LIST(4, 0, 2));
    EXPECT(g, avs_graph_node(g, AVS_OP_SOFTMAX_BWD, (avs_val[]){gy, p}, 2, NULL, NULL), 0.5, -0.5, 0);
}

/* 1 2 3 4: mean 2.5, biased variance 1.25 */
static const double R = 0.89442719099991588;

static void layernorm_of_one_to_four(void **state)
{
    avs_graph *g = graph(state);
    avs_val in[] = {avs_const(g, AVS_F32T(1, 4), LIST(1, 2, 3, 4)),
                    avs_const(g, AVS_F32T(4), LIST(1, 2, 1, 2)), avs_const(g, AVS_F32T(4), LIST(0, 0, 1, 1))};
    avs_norm_attr a = {.eps = 0};
    avs_val out[5];
    avs_graph_node(g, AVS_OP_LAYERNORM, in, 3, &a, out);
    EXPECT(g, out[0], -1.5 * R, -R, 0.5 * R + 1, 3 * R + 1);
    EXPECT(g, out[1], 2.5);
    EXPECT(g, out[2], R);
    /* gamma gy = 1 0 0 0: gx = R (h - 1/4 - xhat (-1.5 R)/4) */
    avs_val bwd[] = {avs_const(g, AVS_F32T(1, 4), LIST(1, 0, 0, 0)), in[0], in[1], out[1], out[2]}, d[5];
    avs_graph_node(g, AVS_OP_LAYERNORM_BWD, bwd, 5, &a, d);
    EXPECT(g, d[0], R * (0.75 - 2.25 * 0.8 / 4), R * (-0.25 - 0.75 * 0.8 / 4), R * (-0.25 + 0.75 * 0.8 / 4),
           R * (-0.25 + 2.25 * 0.8 / 4));
    EXPECT(g, d[1], -1.5 * R, 0, 0, 0);
    EXPECT(g, d[2], 1, 0, 0, 0);
}

static void batchnorm_normalises_channels_and_moves_running_statistics(void **state)
{
    avs_graph *g = graph(state);
    avs_init zero = {AVS_INIT_ZERO, 0, 0, 0};
    avs_val rm = avs_buffer(g, "running_mean", AVS_F32T(2), zero),
            rv = avs_buffer(g, "running_var", AVS_F32T(2), zero);
    avs_val x = avs_const(g, AVS_F32T(1, 2, 2, 2), LIST(1, 0, 2, 0, 3, 0, 4, 8));
    avs_val y = avs_batchnorm(g, x, avs_const(g, AVS_F32T(2), LIST(2, 1)),
                              avs_const(g, AVS_F32T(2), LIST(1, 0)), rm, rv, 0, 0.125f, true);
    double r = 1 / sqrt(12); /* 0 0 0 8: mean 2, variance 12 */
    EXPECT(g, y, 1 - 3 * R, -2 * r, 1 - R, -2 * r, 1 + R, -2 * r, 1 + 3 * R, 6 * r);
    EXPECT(g, g->node[1].out[1], 2.5, 2);
    EXPECT(g, g->node[1].out[2], R, r);
    EXPECT(g, g->node[1].out[4], 0.125 * 1.25 * 4 / 3, 0.125 * 16);
    avs_ref_run *run64 = NULL;
    assert_int_equal(avs_ref_open(&run64, g, AVS_F64, NULL, NULL), AVS_OK);
    avs_ref_set(run64, rm, WANT(8, -8));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(avs_ref_exec(run64, 0, NULL), AVS_OK);
        assert_true(avs_ref_at(run64, rm, 0) == (i ? 0.875 * 8 + 0.125 * 2.5 : 8)); /* moves when asked to */
        avs_ref_apply_updates(run64);
    }
    assert_true(fabs(avs_ref_at(run64, rm, 1) - (0.875 * (0.875 * -8 + 0.125 * 2) + 0.25)) < 1e-12);
    avs_ref_close(run64);
}

static void batchnorm_backward_with_relu_counts_positive_outputs(void **state)
{
    avs_graph *g = graph(state);
    avs_norm_attr a = {.eps = 0, .act = AVS_ACT_RELU};
    avs_val in[] = {avs_const(g, AVS_F32T(4, 1), LIST(1, 1, 1, 1)),
                    avs_const(g, AVS_F32T(4, 1), LIST(1, 2, 3, 4)),
                    avs_const(g, AVS_F32T(1), LIST(1)),
                    avs_const(g, AVS_F32T(1), LIST(2.5f)),
                    avs_const(g, AVS_F32T(1), LIST(1)),
                    avs_const(g, AVS_F32T(1), LIST(-1))};
    avs_val d[5];
    avs_graph_node(g, AVS_OP_BATCHNORM_BWD, in, 6, &a,
                   d); /* rstd is given as 1: xhat = x - 2.5, y = xhat - 1, g = 0 0 0 1 */
    EXPECT(g, d[0], -0.25 + 1.5 * 0.375, -0.25 + 0.5 * 0.375, -0.25 - 0.5 * 0.375, 0.75 - 1.5 * 0.375);
    EXPECT(g, d[1], 1.5);
    EXPECT(g, d[2], 1);
}

static void batchnorm_with_running_statistics_is_affine(void **state)
{
    avs_graph *g = graph(state);
    avs_val x = avs_const(g, AVS_F32T(2, 2), LIST(1, 2, 3, 4)), gamma = avs_const(g, AVS_F32T(2), LIST(2, 3));
    avs_val beta = avs_const(g, AVS_F32T(2), LIST(1, 0)), rm = avs_const(g, AVS_F32T(2), LIST(1, 2));
    avs_val rv = avs_const(g, AVS_F32T(2), LIST(3.75f, 0));
    EXPECT(g, avs_batchnorm(g, x, gamma, beta, rm, rv, 0.25f, 0.1f, false), 1, 0, 3, 12);
    assert_int_equal(g->n_update, 0);
}

static void groupnorm_keeps_groups_apart(void **state)
{
    avs_graph *g = graph(state);
    /* one item, two positions, channels 0 1 | 2: group 0 holds 1 2 3 4, group 1 holds 0 8 */
    avs_val in[] = {avs_const(g, AVS_F32T(1, 2, 4), LIST(1, 2, 0, 0, 3, 4, 8, 8)),
                    avs_const(g, AVS_F32T(4), LIST(1, 1, 1, 2)), avs_const(g, AVS_F32T(4), LIST(0, 0, 0, 5))};
    avs_norm_attr a = {.eps = 0, .groups = 2};
    avs_val out[5], d[5];
    avs_graph_node(g, AVS_OP_GROUPNORM, in, 3, &a, out);
    EXPECT(g, out[0], -1.5 * R, -0.5 * R, -1, 3, 0.5 * R, 1.5 * R, 1, 7);
    EXPECT(g, out[1], 2.5, 4);
    EXPECT(g, out[2], R, 0.25);
    avs_val bwd[] = {avs_const(g, AVS_F32T(1, 2, 4), LIST(1, 0, 1, 0, 0, 0, 0, 0)), in[0], in[1], out[1],
                     out[2]};
    avs_graph_node(g, AVS_OP_GROUPNORM_BWD, bwd, 5, &a, d);
    /* group 1: h = 1 0 0 0, xhat = -1 -1 1 1 */
    EXPECT(g, d[0], R * (0.75 - 2.25 * 0.8 / 4), R * (-0.25 - 0.75 * 0.8 / 4), 0.125, -0.125,
           R * (-0.25 + 0.75 * 0.8 / 4), R * (-0.25 + 2.25 * 0.8 / 4), 0, 0);
    EXPECT(g, d[1], -1.5 * R, 0, -1, 0);
    EXPECT(g, d[2], 1, 0, 1, 0);
}

static void pool_takes_the_first_maximum_and_never_the_padding(void **state)
{
    avs_graph *g = graph(state);
    avs_val x = avs_const(g, AVS_F32T(1, 3, 3, 1), LIST(-5, -1, -2, -3, -1, -7, -9, -8, -6));
    avs_val y = avs_pool_max(g, x, 3, 2, 1);
    avs_val gy = avs_const(g, AVS_F32T(1, 2, 2, 1), LIST(1, 2, 4, 8));
    const avs_node *n = &g->node[1];
    EXPECT(g, y, -1, -1, -1, -1);
    EXPECT(g, n->out[1], 5, 3, 2,
           0); /* places inside the windows: (0,1) is first of the two -1 for the upper two */
    EXPECT(g, avs_graph_node(g, AVS_OP_POOL_MAX_BWD, (avs_val[]){gy, n->out[1]}, 2, n->attr, NULL), 0, 3, 0,
           0, 12, 0, 0, 0, 0);
}

static void row_max_takes_the_first_of_equal_rows(void **state)
{
    avs_graph *g = graph(state);
    avs_val x = avs_const(g, AVS_F32T(1, 3, 2), LIST(-5, 2, -1, 7, -1, 3)), index;
    avs_val y = avs_row_max(g, x, &index);
    avs_val gy = avs_const(g, AVS_F32T(1, 2), LIST(4, 8));
    EXPECT(g, y, -1, 7);
    EXPECT(g, index, 1, 1);
    EXPECT(
        g,
        avs_graph_node(g, AVS_OP_ROW_MAX_BWD, (avs_val[]){gy, index}, 2, &(avs_gather_attr){.rows = 3}, NULL),
        0, 0, 4, 8, 0, 0);
}

static void resize_agrees_with_the_examples_of_torch_upsample(void **state)
{
    avs_graph *g = graph(state);
    avs_val x = avs_const(g, AVS_F32T(1, 2, 2, 1), LIST(1, 2, 3, 4));
    EXPECT(g, avs_resize(g, x, 4, 4, AVS_RESIZE_BILINEAR, false), 1, 1.25, 1.75, 2, 1.5, 1.75, 2.25, 2.5, 2.5,
           2.75, 3.25, 3.5, 3, 3.25, 3.75, 4);
    double t = 1.0 / 3;
    EXPECT(g, avs_resize(g, x, 4, 4, AVS_RESIZE_BILINEAR, true), 1, 1 + t, 2 - t, 2, 2 - t, 2, 2 + t, 3 - t,
           2 + t, 3 - t, 3, 3 + t, 3, 3 + t, 4 - t, 4);
    EXPECT(g, avs_resize(g, x, 4, 4, AVS_RESIZE_NEAREST, false), 1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4,
           4);
    EXPECT(g, avs_resize(g, x, 1, 1, AVS_RESIZE_BILINEAR, true), 1);
    EXPECT(g, avs_resize(g, x, 1, 1, AVS_RESIZE_BILINEAR, false), 2.5);
    EXPECT(g, avs_resize(g, x, 3, 1, AVS_RESIZE_NEAREST, false), 1, 1, 3);
    assert_int_equal(avs_resize(g, x, 2, 2, AVS_RESIZE_BILINEAR, false), x);
}

static void resize_backward_spreads_the_weights(void **state)
{
    avs_graph *g = graph(state);
    avs_resize_attr a = {.in_h = 2, .in_w = 1, .out_h = 4, .out_w = 1};
    avs_val gy = avs_const(g, AVS_F32T(1, 4, 1, 1), LIST(1, 10, 100, 1000));
    EXPECT(g, avs_graph_node(g, AVS_OP_RESIZE_BWD, &gy, 1, &a, NULL), 1 + 7.5 + 25, 2.5 + 75 + 1000);
}

static void msdeform_samples_centres_and_cuts_at_the_border(void **state)
{
    avs_graph *g = graph(state);
    avs_msdeform_attr m = {.heads = 1, .levels = 1, .points = 3, .h = {2}, .w = {2}};
    avs_val v = avs_const(g, AVS_F32T(1, 4, 1), LIST(1, 2, 3, 4));
    /* centre of pixel (0,1); the middle of the map; half a pixel beyond the left edge at row 1 */
    avs_val loc = avs_const(g, AVS_F32T(1, 1, 6), LIST(0.75f, 0.25f, 0.5f, 0.5f, 0, 0.75f));
    avs_val w = avs_const(g, AVS_F32T(1, 1, 3), LIST(1, 10, 100)),
            gy = avs_const(g, AVS_F32T(1, 1, 1), LIST(2));
    EXPECT(g, avs_msdeform(g, v, loc, w, &m), 2 + 25 + 150);
    avs_val d[5];
    avs_graph_node(g, AVS_OP_MSDEFORM_BWD, (avs_val[]){gy, v, loc, w}, 4, &m, d);
    EXPECT(g, d[0], 5, 7, 105, 5);
    EXPECT(g, d[1], -8, 8, 40, 80, 1200, -600); /* x by 2 W w ds/dx; at a centre the right-hand derivative */
    EXPECT(g, d[2], 4, 5, 3);
}

static void ew_functions_at_one(void **state)
{
    avs_graph *g = graph(state);
    const struct {
        avs_ew_code code;
        double at_half, at_minus_two;
    } t[] = {{AVS_EW_NEG, -0.5, 2},
             {AVS_EW_RELU, 0.5, 0},
             {AVS_EW_SIGMOID, 0.62245933120185459, 0.11920292202211755},
             {AVS_EW_TANH, 0.46211715726000979, -0.9640275800758169},
             {AVS_EW_GELU, 0.34573123063700656, -0.045500263896358417},
             {AVS_EW_SILU, 0.31122966560092729, -0.2384058440442351},
             {AVS_EW_EXP, 1.6487212707001282, 0.1353352832366127},
             {AVS_EW_SQUARE, 0.25, 4},
             {AVS_EW_SIN, 0.47942553860420301, -0.90929742682568171},
             {AVS_EW_COS, 0.87758256189037276, -0.41614683654714241},
             {AVS_EW_ABS, 0.5, 2}};
    avs_val x = avs_const(g, AVS_F32T(2), LIST(0.5f, -2)), p = avs_const(g, AVS_F32T(1), LIST(0.25f));
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
        EXPECT(g, avs_ew_unary(g, t[i].code, x), t[i].at_half, t[i].at_minus_two);
    EXPECT(g, avs_ew_unary(g, AVS_EW_LOG, p), -1.3862943611198906);
    EXPECT(g, avs_ew_unary(g, AVS_EW_SQRT, p), 0.5);
    EXPECT(g, avs_ew_unary(g, AVS_EW_RSQRT, p), 2);
}

static void ew_binary_codes_keep_their_sides(void **state)
{
    avs_graph *g = graph(state);
    avs_val a = avs_const(g, AVS_F32T(2), LIST(6, 2)), b = avs_const(g, AVS_F32T(1), LIST(4));
    const struct {
        avs_ew_code code;
        double six, two;
    } t[] = {{AVS_EW_ADD, 10, 6},    {AVS_EW_SUB, 2, -2},       {AVS_EW_RSUB, -2, 2}, {AVS_EW_MUL, 24, 8},
             {AVS_EW_DIV, 1.5, 0.5}, {AVS_EW_RDIV, 4.0 / 6, 2}, {AVS_EW_MAX, 6, 4},   {AVS_EW_MIN, 4, 2},
             {AVS_EW_GT, 1, 0},      {AVS_EW_LOAD, 4, 4}};
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        EXPECT(g, avs_ew_binary(g, t[i].code, a, b), t[i].six, t[i].two);
        EXPECT(g, avs_ew_imm(g, t[i].code, a, 4), t[i].six, t[i].two);
    }
}

static void ew_programs_use_temps_and_broadcast_runs(void **state)
{
    avs_graph *g = graph(state);
    avs_val x = avs_const(g, AVS_F32T(2, 3, 2), LIST(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
    avs_val row = avs_const(g, AVS_F32T(2, 1, 2), LIST(1, 2, 3, 4)),
            cls = avs_const(g, AVS_TYPE(AVS_I32, 1), (int32_t[]){-40});
    avs_ew_attr p = {.n = 5,
                     .instr = {{.code = AVS_EW_LOAD, .src = AVS_EW_STREAM, .arg = 1},
                               {.code = AVS_EW_SAVE, .arg = 2},
                               {.code = AVS_EW_MUL, .src = AVS_EW_STREAM, .arg = 0},
                               {.code = AVS_EW_ADD, .src = AVS_EW_TEMP, .arg = 2},
                               {.code = AVS_EW_ADD, .src = AVS_EW_STREAM, .arg = 2}},
                     .out = AVS_F32T(2, 3, 2)};
    avs_val y = avs_graph_node(g, AVS_OP_EW, (avs_val[]){x, row, cls}, 3, &p, NULL);
    EXPECT(g, y, -39, -36, -37, -32, -35, -28, -19, -8, -13, 0, -7, 8);
}

static void reduce_sums_a_run_of_axes(void **state)
{
    avs_graph *g = graph(state);
    avs_val x = avs_const(g, AVS_F32T(2, 2, 2), LIST(1, 2, 3, 4, 5, 6, 7, 9));
    EXPECT(g, avs_reduce(g, x, 0, 1, false), 6, 8, 10, 13);
    EXPECT(g, avs_reduce(g, x, 1, 2, false), 4, 6, 12, 15);
    EXPECT(g, avs_reduce(g, x, 1, 3, true), 2.5, 6.75);
}

static void shapes_move_elements(void **state)
{
    avs_graph *g = graph(state);
    avs_val x = avs_const(g, AVS_F32T(2, 3), LIST(1, 2, 3, 4, 5, 6)),
            y = avs_const(g, AVS_F32T(2, 1), LIST(7, 8));
    EXPECT(g, avs_concat(g, (avs_val[]){x, y}, 2, 1), 1, 2, 3, 7, 4, 5, 6, 8);
    EXPECT(g, avs_slice(g, x, 1, 1, 2), 2, 3, 5, 6);
    EXPECT(g, avs_slice(g, x, 0, 1, 1), 4, 5, 6);
    EXPECT(g, avs_pad(g, x, 1, 1, 1), 0, 1, 2, 3, 0, 0, 4, 5, 6, 0);
    EXPECT(g, avs_permute(g, x, (int[]){1, 0}), 1, 4, 2, 5, 3, 6);
    avs_val z = avs_const(g, AVS_F32T(2, 1, 2, 2), LIST(1, 2, 3, 4, 5, 6, 7, 8));
    EXPECT(g, avs_permute(g, z, (int[]){2, 0, 3, 1}), 1, 2, 5, 6, 3, 4, 7, 8);
}

static void losses_have_their_closed_forms(void **state)
{
    avs_graph *g = graph(state);
    avs_val x = avs_const(g, AVS_F32T(2, 2), LIST(0, 0, 2, -2)),
            t = avs_const(g, AVS_F32T(2, 2), LIST(0, 1, 1, 1));
    double soft = log1p(exp(-2.0));
    EXPECT(g, avs_loss(g, x, t, (avs_loss_attr){.kind = AVS_LOSS_BCE}), log(2), (soft + 2 + soft) / 2);
    avs_val z = avs_const(g, AVS_F32T(1, 2, 4), LIST(5, 5, 5, 5, 1000, 0, 0, 0));
    avs_val cls = avs_const(g, AVS_TYPE(AVS_I32, 1, 2), (int32_t[]){3, 1});
    EXPECT(g, avs_loss(g, z, cls, (avs_loss_attr){.kind = AVS_LOSS_CE}), (log(4) + 1000) / 2);
    avs_val p = avs_const(g, AVS_F32T(1, 4), LIST(0.5f, 0.25f, 1, 0)),
            m = avs_const(g, AVS_F32T(1, 4), LIST(1, 0, 1, 0));
    avs_loss_attr a = {.kind = AVS_LOSS_DICE, .s_num = 1, .s_den = 2};
    EXPECT(g, avs_loss(g, p, m, a), 1 - 4 / 5.75);
    a.squared = 1;
    EXPECT(g, avs_loss(g, p, m, a), 1 - 4 / 5.3125);
    a.kind = AVS_LOSS_IOU;
    EXPECT(g, avs_loss(g, p, m, a), 1 - 2.5 / 4.25);
    EXPECT(
        g,
        avs_row_mean(g, avs_const(g, AVS_F32T(3), LIST(1, 5, 9)), avs_const(g, AVS_F32T(3), LIST(1, 0, 1))),
        5);
    EXPECT(g, avs_row_mean(g, avs_const(g, AVS_F32T(2), LIST(3, 4)), avs_const(g, AVS_F32T(2), LIST(0, 0))),
           0);
}

static void loss_gradients_have_their_closed_forms(void **state)
{
    avs_graph *g = graph(state);
    avs_val gr = avs_const(g, AVS_F32T(2), LIST(1, 4));
    avs_val x = avs_const(g, AVS_F32T(2, 2), LIST(0, 0, 0, 0)),
            t = avs_const(g, AVS_F32T(2, 2), LIST(0, 1, 1, 1));
    avs_loss_attr a = {.kind = AVS_LOSS_BCE};
    EXPECT(g, avs_graph_node(g, AVS_OP_LOSS_BWD, (avs_val[]){gr, x, t}, 3, &a, NULL), 0.25, -0.25, -1, -1);
    a.kind = AVS_LOSS_CE;
    avs_val cls = avs_const(g, AVS_TYPE(AVS_I32, 2), (int32_t[]){1, 0});
    EXPECT(g, avs_graph_node(g, AVS_OP_LOSS_BWD, (avs_val[]){gr, x, cls}, 3, &a, NULL), 0.5, -0.5, -2, 2);
}

static void a_class_outside_its_range_is_an_error_with_the_node(void **state)
{
    avs_graph *g = graph(state);
    avs_ref_run *r = NULL;
    avs_err e = AVS_ERR_INIT;
    avs_scope_push(g, "head");
    avs_loss(g, avs_const(g, AVS_F32T(1, 3), LIST(1, 2, 3)),
             avs_const(g, AVS_TYPE(AVS_I32, 1), (int32_t[]){3}), (avs_loss_attr){.kind = AVS_LOSS_CE});
    assert_int_equal(avs_ref_open(&r, g, AVS_F32, NULL, &e), AVS_OK);
    assert_int_equal(avs_ref_exec(r, 0, &e), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "loss in 'head'"));
    avs_ref_close(r);
}

static void dropout_keeps_the_right_share_and_repeats_itself(void **state)
{
    avs_graph *g = graph(state);
    enum { ROWS = 8, N = 4000 };
    avs_val x = avs_expand(g, avs_const_scalar(g, 1), AVS_F32T(ROWS, N));
    avs_val y = avs_dropout(g, x, 0.25f, false),
            again = avs_graph_node(g, AVS_OP_DROPOUT, &y, 1, g->node[2].attr, NULL);
    avs_val other = avs_dropout(g, x, 0.25f, false), rows = avs_dropout(g, x, 0.5f, true);
    avs_runtime rt = {.seed = 42, .step = 5, .sample0 = 0};
    avs_ref_run *r = NULL;
    static double a[ROWS * N], b[ROWS * N], c[ROWS * N], d[ROWS * N], shifted[ROWS * N];
    assert_int_equal(avs_ref_open(&r, g, AVS_F64, &rt, NULL), AVS_OK);
    assert_int_equal(avs_ref_exec(r, 0, NULL), AVS_OK);
    avs_ref_get(r, y, a), avs_ref_get(r, again, b), avs_ref_get(r, other, c), avs_ref_get(r, rows, d);
    int kept = 0, differ = 0;
    for (int i = 0; i < ROWS * N; i++) {
        assert_true(a[i] == 0 || fabs(a[i] - 4.0 / 3) < 1e-12);
        assert_true((a[i] == 0) == (b[i] == 0)); /* the same mask on what it let through: as in a backward */
        kept += a[i] > 0;
        differ += (a[i] > 0) != (c[i] > 0);
        assert_true(d[i] == d[i / N * N]);
    }
    assert_in_range(kept, 24000 - 300, 24000 + 300);   /* 4 standard deviations are 310 */
    assert_in_range(differ, 12000 - 350, 12000 + 350); /* two streams are independent: 2 * 3/16 */
    rt.sample0 = 3;
    avs_ref_runtime(r, &rt);
    assert_int_equal(avs_ref_exec(r, 0, NULL), AVS_OK);
    avs_ref_get(r, y, shifted);
    assert_memory_equal(shifted, a + 3 * N, sizeof(double) * (ROWS - 3) * N);
    rt.step = 6;
    avs_ref_runtime(r, &rt);
    assert_int_equal(avs_ref_exec(r, 0, NULL), AVS_OK);
    avs_ref_get(r, y, b);
    assert_memory_not_equal(shifted, b, sizeof(double) * N);
    avs_ref_close(r);
}

static int fill(void *ctx, const char *name, avs_vkind kind, const avs_type *t, double *out, avs_err *e)
{
    (void)kind;
    if (strcmp(name, ctx) == 0) return avs_fail(e, AVS_EMISSING, "no values for %s", name);
    for (int64_t i = 0; i < avs_type_count(t); i++) out[i] = (double)(i + 1);
    return AVS_OK;
}

static void eval_fills_by_name_shares_views_and_reports_missing_values(void **state)
{
    avs_graph *g = graph(state);
    avs_ref_run *r = NULL;
    avs_err e = AVS_ERR_INIT;
    avs_val w = avs_param(g, "w", AVS_F32T(3, 2), (avs_init){AVS_INIT_ZERO, 0, 0, 0});
    avs_val row = avs_reshape(g, avs_slice(g, w, 0, 1, 2), AVS_F32T(4)), y = avs_scale(g, row, 2);
    assert_int_equal(g->n_node, 2); /* slice and reshape are free */
    assert_int_equal(avs_ref_eval(&r, g, AVS_F32, NULL, fill, (char[]){""}, &e), AVS_OK);
    assert_true(avs_ref_at(r, row, 0) == 3 && avs_ref_at(r, row, 3) == 6 && avs_ref_at(r, y, 3) == 12);
    avs_ref_close(r);
    assert_int_equal(avs_ref_eval(&r, g, AVS_F32, NULL, fill, (char[]){"w"}, &e), AVS_EMISSING);
    assert_null(r);
    assert_string_equal(e.msg, "no values for w");
}

static void eval_survives_every_failing_allocation(void **state)
{
    avs_graph *g = graph(state);
    avs_val w = avs_param(g, "w", AVS_F32T(3, 2), (avs_init){AVS_INIT_ZERO, 0, 0, 0});
    avs_softmax(g, avs_scale(g, w, 2));
    int rc = AVS_ENOMEM;
    long n = 0;
    while (rc != AVS_OK && ++n < 200) {
        avs_ref_run *r = NULL;
        avs_alloc_fail_after(n);
        rc = avs_ref_eval(&r, g, AVS_F32, NULL, fill, (char[]){""}, NULL);
        avs_alloc_fail_after(0);
        if (rc != AVS_OK) assert_int_equal(rc, AVS_ENOMEM);
        avs_ref_close(r);
    }
    assert_in_range(n, 5, 199);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(conv2d_with_groups_stride_and_padding),
        TEST(conv2d_with_dilation_and_its_gradients),
        TEST(conv2d_epilogue_adds_residual_then_cuts_below_zero),
        TEST(matmul_of_two_by_three),
        TEST(matmul_heads_take_their_own_channels),
        TEST(softmax_of_logarithms_and_of_large_values),
        TEST(layernorm_of_one_to_four),
        TEST(batchnorm_normalises_channels_and_moves_running_statistics),
        TEST(batchnorm_backward_with_relu_counts_positive_outputs),
        TEST(batchnorm_with_running_statistics_is_affine),
        TEST(groupnorm_keeps_groups_apart),
        TEST(pool_takes_the_first_maximum_and_never_the_padding),
        TEST(row_max_takes_the_first_of_equal_rows),
        TEST(resize_agrees_with_the_examples_of_torch_upsample),
        TEST(resize_backward_spreads_the_weights),
        TEST(msdeform_samples_centres_and_cuts_at_the_border),
        TEST(ew_functions_at_one),
        TEST(ew_binary_codes_keep_their_sides),
        TEST(ew_programs_use_temps_and_broadcast_runs),
        TEST(reduce_sums_a_run_of_axes),
        TEST(shapes_move_elements),
        TEST(losses_have_their_closed_forms),
        TEST(loss_gradients_have_their_closed_forms),
        TEST(a_class_outside_its_range_is_an_error_with_the_node),
        TEST(dropout_keeps_the_right_share_and_repeats_itself),
        TEST(eval_fills_by_name_shares_views_and_reports_missing_values),
        TEST(eval_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
