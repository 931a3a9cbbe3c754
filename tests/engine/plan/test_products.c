/* Convolutions and products of the backends cpu and cuda (emulated) against the oracle in float64, over forms and sizes
 * that include 1, primes and channels that are no multiple of a vector. */
#include "tests/engine/plan/nets.h"

typedef struct {
    int B, H, W, Ci, Co, k, s, p, d, groups;
    bool bias;
} conv_case;

static const conv_case conv_cases[] = {
    {1, 7, 7, 1, 1, 1, 1, 0, 1, 1, false},     {1, 9, 11, 3, 16, 7, 2, 3, 1, 1, true},
    {2, 12, 8, 1, 64, 3, 1, 1, 1, 1, true},    {2, 13, 5, 17, 23, 3, 1, 1, 1, 1, true},
    {1, 10, 10, 16, 32, 3, 2, 1, 1, 1, false}, {2, 9, 9, 24, 24, 3, 1, 1, 1, 24, true},
    {1, 9, 9, 5, 5, 3, 2, 1, 1, 5, false},     {1, 11, 11, 16, 16, 3, 1, 2, 2, 1, false},
    {2, 8, 8, 12, 20, 1, 2, 0, 1, 1, false},   {1, 6, 6, 8, 16, 3, 1, 1, 1, 2, false},
    {1, 12, 12, 3, 8, 4, 4, 0, 1, 1, true},    {3, 5, 5, 64, 128, 1, 1, 0, 1, 1, true},
    {1, 1, 1, 32, 1, 1, 1, 0, 1, 1, true},     {1, 8, 8, 32, 32, 7, 1, 3, 1, 32, true},
};
enum { N_CONV = sizeof conv_cases / sizeof *conv_cases };
static int which; /* the case that the net builders below make */

static const avs_init zero = {AVS_INIT_ZERO, 0, 0, 0};

/* Convolution, its input's gradient and its parameters' gradients. */
static avs_graph *conv_net(avs_arena *a)
{
    const conv_case *c = &conv_cases[which];
    avs_graph *g = avs_graph_new(a, true);
    avs_val x = avs_input(g, "x", AVS_F32T(c->B, c->H, c->W, c->Ci));
    avs_graph_want_grad(g, x);
    avs_val w = avs_param(g, "w", AVS_F32T(c->Co, c->Ci / c->groups, c->k, c->k), zero);
    avs_val b = c->bias ? avs_param(g, "b", AVS_F32T(c->Co), zero) : 0;
    avs_val y = avs_conv2d(g, x, w, b, c->s, c->p, c->d, c->groups);
    avs_graph_output(g, "y", y);
    int64_t n = avs_type_count(avs_t(g, y));
    avs_val flat = avs_reshape(g, y, AVS_F32T(n)); /* a sum, not a mean: gradients of ordinary size */
    avs_backward(
        g, avs_reshape(g, avs_reduce(g, avs_ew_unary(g, AVS_EW_SQUARE, flat), 0, 1, false), AVS_F32T(1)));
    return g;
}

static void check(net_fn net, const char *what, bool training)
{
    avs_plan_cfg cfg = {.training = training};
    for (int b = 0; (cfg.backend = net_backend(b)) != NULL; b++)
        for (int passes = 0; passes < 2; passes++) {
            cfg.passes_off = passes ? 0 : AVS_PASS_EVERY;
            double worst = net_worst(net, &cfg, false);
            if (!(worst < 1e-5)) fail_msg("%s %d on %s: relative L2 %g", what, which, cfg.backend, worst);
        }
}

static void convolutions_and_their_gradients_equal_the_oracle(void **state)
{
    (void)state;
    for (which = 0; which < N_CONV; which++) check(conv_net, "convolution", true);
}

/* ------------------------------------------------------------------ products */

typedef struct {
    avs_type a, b;
    avs_matmul_attr attr;
    bool bias, residual;
} product_case;

static product_case product(int i)
{
    const product_case cases[] = {
        {AVS_F32T(5, 7), AVS_F32T(7, 3), {.alpha = 1}, false, false},
        {AVS_F32T(5, 7), AVS_F32T(3, 7), {.tb = 1, .alpha = 1}, true, false},
        {AVS_F32T(7, 5), AVS_F32T(7, 3), {.ta = 1, .alpha = 2.5f}, false, true},
        {AVS_F32T(7, 5), AVS_F32T(3, 7), {.ta = 1, .tb = 1, .alpha = 1}, true, true},
        {AVS_F32T(2, 5, 7), AVS_F32T(3, 7), {.tb = 1, .alpha = 0.5f}, true, false},
        {AVS_F32T(2, 5, 7), AVS_F32T(3, 7), {.tb = 1, .alpha = 0.5f}, true, true},
        {AVS_F32T(2, 3, 5, 7), AVS_F32T(7, 1), {.alpha = 1}, true, true},
        {AVS_F32T(1, 1), AVS_F32T(1, 1), {.alpha = 3}, false, false},
        {AVS_F32T(3, 5, 7), AVS_F32T(3, 7, 2), {.alpha = 1}, false, false},
        {AVS_F32T(3, 7, 5), AVS_F32T(3, 2, 7), {.ta = 1, .tb = 1, .alpha = 0.25f}, false, true},
        {AVS_F32T(2, 3, 5, 7), AVS_F32T(2, 3, 4, 7), {.tb = 1, .alpha = 1}, false, true},
        {AVS_F32T(2, 5, 24),
         AVS_F32T(2, 9, 24),
         {.tb = 1, .a_split = 1, .b_split = 1, .heads = 3, .alpha = 0.3f},
         false,
         false},
        {AVS_F32T(2, 3, 5, 9),
         AVS_F32T(2, 9, 24),
         {.b_split = 1, .c_split = 1, .heads = 3, .alpha = 1},
         false,
         true},
        {AVS_F32T(2, 3, 9, 5),
         AVS_F32T(2, 9, 24),
         {.ta = 1, .b_split = 1, .c_split = 1, .heads = 3, .alpha = 1},
         false,
         false},
        {AVS_F32T(1, 1029, 64),
         AVS_F32T(1, 17, 64),
         {.tb = 1, .a_split = 1, .b_split = 1, .heads = 2, .alpha = 0.2f},
         false,
         false},
        {AVS_F32T(257, 300), AVS_F32T(64, 300), {.tb = 1, .alpha = 1}, true, true},
    };
    enum { N = sizeof cases / sizeof *cases };
    return i < N ? cases[i] : (product_case){0};
}

/* The product alone (b a parameter in linear forms, so that it is packed in inference); gradients if training. */
static avs_graph *product_net_of(avs_arena *a, bool train)
{
    product_case c = product(which);
    avs_graph *g = avs_graph_new(a, train);
    avs_val x = avs_input(g, "x", c.a);
    avs_graph_want_grad(g, x);
    avs_val b = c.b.rank == 2 ? avs_param(g, "w", c.b, zero) : avs_input(g, "z", c.b);
    avs_val y = avs_matmul(g, x, b, c.attr);
    avs_type t = *avs_t(g, y);
    avs_val bias = c.bias ? avs_param(g, "b", AVS_F32T(t.d[t.rank - 1]), zero) : 0;
    avs_val r = c.residual ? avs_input(g, "r", t) : 0;
    if (!train) { /* the operands directly, as fusion would set them */
        c.attr.act = which % 3 == 2 ? AVS_ACT_GELU : AVS_ACT_RELU;
        y = avs_graph_node(g, AVS_OP_MATMUL, (avs_val[]){x, b, bias, r}, 4, &c.attr, NULL);
    } else {
        if (bias) y = avs_add(g, y, bias);
        if (r) y = avs_add(g, r, y);
    }
    avs_graph_output(g, "y", y);
    if (train) {
        int64_t n = avs_type_count(&t);
        avs_val flat = avs_reshape(g, y, AVS_F32T(n));
        avs_backward(
            g, avs_reshape(g, avs_reduce(g, avs_ew_unary(g, AVS_EW_SQUARE, flat), 0, 1, false), AVS_F32T(1)));
    }
    return g;
}
static avs_graph *product_net(avs_arena *a)
{
    return product_net_of(a, false);
}
static avs_graph *product_train_net(avs_arena *a)
{
    return product_net_of(a, true);
}

static void products_with_epilogues_equal_the_oracle(void **state)
{
    (void)state;
    for (which = 0; product(which).a.rank; which++) check(product_net, "product", false);
    assert_int_equal(which, 16);
}

static void products_and_their_gradients_equal_the_oracle(void **state)
{
    (void)state;
    for (which = 0; product(which).a.rank; which++) check(product_train_net, "gradient of product", true);
}

/* A frozen linear weight that forward and backward read in two ways. */
static avs_graph *frozen_linear(avs_arena *a)
{
    avs_graph *g = avs_graph_new(a, true);
    avs_val x = avs_input(g, "x", AVS_F32T(3, 40)), w = avs_param(g, "w", AVS_F32T(24, 40), zero);
    avs_graph_freeze(g, "w");
    avs_graph_want_grad(g, x);
    avs_val y = avs_linear(g, x, w, avs_param(g, "b", AVS_F32T(24), zero));
    avs_val flat = avs_reshape(g, y, AVS_F32T(72));
    avs_backward(
        g, avs_reshape(g, avs_reduce(g, avs_ew_unary(g, AVS_EW_SQUARE, flat), 0, 1, false), AVS_F32T(1)));
    return g;
}

static void a_frozen_linear_weight_serves_forward_and_backward(void **state)
{
    (void)state;
    which = 0;
    check(frozen_linear, "frozen linear", true);
}

/* The residual is still needed after the convolution that adds it. */
static avs_graph *residual_lives_on(avs_arena *a)
{
    avs_graph *g = avs_graph_new(a, false);
    avs_val x = avs_relu(g, avs_input(g, "x", AVS_F32T(1, 6, 6, 16)));
    avs_val w = avs_param(g, "w", AVS_F32T(16, 16, 3, 3), zero);
    avs_val y = avs_relu(g, avs_add(g, avs_conv2d(g, x, w, 0, 1, 1, 1, 1), x));
    avs_graph_output(g, "y", avs_mul(g, y, avs_offset(g, x, 1)));
    return g;
}

static void a_residual_that_lives_on_is_copied_first(void **state)
{
    (void)state;
    which = 0;
    check(residual_lives_on, "residual", false);
}

/* Depthwise and dense convolutions and a product, each cut to [0, 6] by what follows; in training too. */
static avs_graph *cut_at_six(avs_arena *a)
{
    avs_graph *g = avs_graph_new(a, true);
    avs_val x = avs_scale(g, avs_input(g, "x", AVS_F32T(2, 9, 7, 24)), 20);
    avs_val y = avs_relu6(g, avs_conv2d(g, x, avs_param(g, "wd", AVS_F32T(24, 1, 5, 5), zero),
                                        avs_param(g, "bd", AVS_F32T(24), zero), 2, 2, 1, 24));
    y = avs_relu6(g, avs_conv2d(g, avs_scale(g, y, 9), avs_param(g, "wc", AVS_F32T(17, 24, 1, 1), zero), 0, 1,
                                0, 1, 1));
    y = avs_relu6(g, avs_linear(g, avs_scale(g, y, 9), avs_param(g, "wl", AVS_F32T(12, 17), zero), 0));
    avs_graph_output(g, "y", y);
    avs_backward(g,
                 avs_reshape(g, avs_reduce(g, avs_ew_unary(g, AVS_EW_SQUARE, y), 0, 4, true), AVS_F32T(1)));
    return g;
}

static void what_is_cut_at_six_equals_the_oracle(void **state)
{
    (void)state;
    which = 0;
    check(cut_at_six, "relu6", true);
}

/* GELU behind a dense and a depthwise convolution and a product, with a bias and a residual: fused in inference. */
static avs_graph *bent(avs_arena *a)
{
    avs_graph *g = avs_graph_new(a, false);
    avs_val x = avs_scale(g, avs_input(g, "x", AVS_F32T(2, 9, 7, 32)), 5);
    avs_val y = avs_gelu(g, avs_conv2d(g, x, avs_param(g, "wd", AVS_F32T(32, 1, 3, 3), zero),
                                       avs_param(g, "bd", AVS_F32T(32), zero), 1, 1, 1, 32));
    y = avs_gelu(g, avs_conv2d(g, avs_scale(g, y, 9), avs_param(g, "wc", AVS_F32T(32, 32, 3, 3), zero), 0, 1,
                               1, 1, 1));
    avs_val z =
        avs_linear(g, y, avs_param(g, "wl", AVS_F32T(32, 32), zero), avs_param(g, "bl", AVS_F32T(32), zero));
    avs_graph_output(g, "y", avs_gelu(g, avs_add(g, z, x)));
    return g;
}

static void gelu_behind_products_equals_the_oracle(void **state)
{
    (void)state;
    which = 0;
    check(bent, "gelu", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions_and_their_gradients_equal_the_oracle),
        cmocka_unit_test(products_with_epilogues_equal_the_oracle),
        cmocka_unit_test(products_and_their_gradients_equal_the_oracle),
        cmocka_unit_test(gelu_behind_products_equals_the_oracle),
        cmocka_unit_test(a_frozen_linear_weight_serves_forward_and_backward),
        cmocka_unit_test(a_residual_that_lives_on_is_copied_first),
        cmocka_unit_test(what_is_cut_at_six_equals_the_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
