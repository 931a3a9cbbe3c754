/* Precision bf16 of the cpu backend: operands are rounded, nothing else; where the processor cannot, it says so. On such
 * processors that refusal is all that can be tested. */
#include "base/rng.h"
#include "tests/engine/plan/nets.h"

static const avs_init zero = {AVS_INIT_ZERO, 0, 0, 0};

static bool is_here(void)
{
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_plan *p = NULL;
    const int rc = avs_plan_build(&p, net_conv_eval(a), &(avs_plan_cfg){.prec = AVS_PREC_BF16}, &e);
    if (rc != AVS_OK) {
        assert_int_equal(rc, AVS_EMISSING);
        assert_non_null(strstr(e.msg, "AVX512-BF16 or AMX"));
    }
    avs_plan_free(p);
    avs_arena_free(a);
    return rc == AVS_OK;
}

/* ------------------------------------------------------------------ one product and its gradients */

typedef struct {
    int B, H, Ci, Co, k, s;
} conv_case;
static const conv_case convs[] = {{1, 14, 64, 64, 3, 1},  {2, 9, 48, 40, 3, 2}, {1, 14, 64, 128, 1, 1},
                                  {4, 9, 256, 256, 1, 2}, {1, 30, 3, 48, 7, 2}, {3, 7, 17, 65, 3, 1}};
enum { N_CONVS = sizeof convs / sizeof *convs, N_MATS = 3 };
static int which;

/* The sum of y times a given cotangent: so gradients are products of given numbers too. */
static void close_net(avs_graph *g, avs_val x, avs_val y)
{
    avs_val c = avs_input(g, "c", *avs_t(g, y));
    const int64_t n = avs_type_count(avs_t(g, y));
    avs_graph_want_grad(g, x);
    avs_graph_output(g, "y", y);
    avs_val flat = avs_reshape(g, avs_mul(g, y, c), AVS_F32T(n));
    avs_backward(g, avs_reshape(g, avs_reduce(g, flat, 0, 1, false), AVS_F32T(1)));
}

static avs_graph *conv_net(avs_arena *a)
{
    const conv_case *c = &convs[which];
    avs_graph *g = avs_graph_new(a, true);
    avs_val x = avs_input(g, "x", AVS_F32T(c->B, c->H, c->H, c->Ci));
    avs_val w = avs_param(g, "w", AVS_F32T(c->Co, c->Ci, c->k, c->k), zero);
    close_net(g, x, avs_conv2d(g, x, w, avs_param(g, "b", AVS_F32T(c->Co), zero), c->s, c->k / 2, 1, 1));
    return g;
}

static avs_graph *mat_net(avs_arena *a)
{
    avs_graph *g = avs_graph_new(a, true);
    if (which == 0) {
        avs_val x = avs_input(g, "x", AVS_F32T(2, 100, 96)), w = avs_param(g, "w", AVS_F32T(128, 96), zero);
        close_net(g, x, avs_linear(g, x, w, avs_param(g, "b", AVS_F32T(128), zero)));
    } else if (which == 1) { /* queries and keys in 2 heads of 64 */
        avs_val x = avs_input(g, "x", AVS_F32T(2, 70, 128)), z = avs_input(g, "z", AVS_F32T(2, 66, 128));
        avs_graph_want_grad(g, z);
        const avs_matmul_attr at = {.tb = 1, .a_split = 1, .b_split = 1, .heads = 2, .alpha = 0.5F};
        close_net(g, x, avs_matmul(g, x, z, at));
    } else { /* weights and values */
        avs_val x = avs_input(g, "x", AVS_F32T(2, 2, 70, 66)), z = avs_input(g, "z", AVS_F32T(2, 66, 128));
        avs_graph_want_grad(g, z);
        const avs_matmul_attr at = {.b_split = 1, .c_split = 1, .heads = 2, .alpha = 1};
        close_net(g, x, avs_matmul(g, x, z, at));
    }
    return g;
}

/* Values for everything that has a name; cut: all but 8 bits of each mantissa, so that bf16 holds them exactly. */
static void load(avs_plan *p, const avs_graph *g, bool cut)
{
    avs_rng r = avs_rng_seed(11);
    for (avs_val v = 1; v < g->n_v; v++) {
        const avs_value *val = &g->v[v];
        if (val->view_of || !val->name || (val->kind != AVS_V_INPUT && val->kind != AVS_V_PARAM)) continue;
        const int64_t n = avs_type_count(&val->type);
        float *x = malloc((size_t)n * sizeof *x);
        for (int64_t i = 0; i < n; i++) {
            uint32_t bits;
            x[i] = (float)avs_rng_normal(&r);
            memcpy(&bits, &x[i], sizeof bits);
            if (cut) bits &= 0xffff0000U;
            memcpy(&x[i], &bits, sizeof bits);
        }
        if (val->kind == AVS_V_INPUT)
            memcpy(avs_plan_input(p, val->name, NULL), x, (size_t)n * sizeof *x);
        else
            assert_int_equal(avs_plan_param_set(p, val->name, x, NULL), AVS_OK);
        free(x);
    }
}

/* How many steps of the plan read rounded operands. */
static int rounded_steps(const avs_plan *p)
{
    char *text = NULL;
    size_t len;
    int n = 0;
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    avs_plan_report(p, f);
    (void)fclose(f);
    for (const char *s = text; (s = strstr(s, "avx512_core_")); s++)
        n += !strncmp(s + 12, "bf16", 4) || !strncmp(s + 12, "amx_bf16", 8);
    free(text);
    return n;
}

/* Largest relative L2 distance of an output of the bf16 plan from the f32 plan's; *steps as above. */
static double distance(net_fn net, bool cut, int *steps)
{
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_graph *g = net(a);
    avs_plan *p[2] = {NULL, NULL};
    double worst = 0;
    for (int i = 0; i < 2; i++) {
        const avs_plan_cfg cfg = {.prec = i ? AVS_PREC_BF16 : AVS_PREC_F32, .training = true};
        if (avs_plan_build(&p[i], g, &cfg, &e) != AVS_OK) fail_msg("%s", e.msg);
        load(p[i], g, cut);
        assert_int_equal(avs_plan_run(p[i], &e), AVS_OK);
    }
    for (uint32_t i = 0; i < g->n_output; i++) {
        const int64_t n = avs_type_count(avs_t(g, g->output[i].val));
        float *f = malloc((size_t)n * sizeof *f), *b = malloc((size_t)n * sizeof *b);
        double *want = malloc((size_t)n * sizeof *want);
        net_output(p[0], g->output[i].name, n, f);
        net_output(p[1], g->output[i].name, n, b);
        for (int64_t k = 0; k < n; k++) want[k] = (double)f[k];
        const double d = net_rel_l2(b, want, n);
        if (!(d <= worst)) worst = d;
        free(f);
        free(b);
        free(want);
    }
    *steps = rounded_steps(p[1]);
    assert_int_equal(rounded_steps(p[0]), 0);
    avs_plan_free(p[0]);
    avs_plan_free(p[1]);
    avs_arena_free(a);
    return worst;
}

static void check(net_fn net, const char *what)
{
    int steps;
    const double exact = distance(net, true, &steps), real = distance(net, false, &steps);
    if (steps != 3) fail_msg("%s %d: %d of 3 products over bf16", what, which, steps);
    if (!(exact < 1e-5)) fail_msg("%s %d, operands that bf16 holds: relative L2 %g", what, which, exact);
    if (!(real < 8e-3 && real > 1e-4)) fail_msg("%s %d: relative L2 %g", what, which, real);
}

static void products_and_gradients_differ_by_the_rounding_of_operands_alone(void **state)
{
    (void)state;
    if (!is_here()) skip();
    for (which = 0; which < N_CONVS; which++) check(conv_net, "convolution");
    for (which = 0; which < N_MATS; which++) check(mat_net, "product");
}

/* ------------------------------------------------------------------ whole nets */

static void nets_stay_near_the_oracle(void **state)
{
    (void)state;
    static const net_fn nets[] = {net_conv_eval, net_conv_train, net_mixed_train, net_attention_eval,
                                  net_attention_train};
    if (!is_here()) skip();
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        const avs_plan_cfg cfg = {.prec = AVS_PREC_BF16, .training = i == 1 || i == 2 || i == 4};
        const double worst = net_worst(nets[i], &cfg, false);
        /* gradients through batch statistics of few rows magnify what is rounded */
        if (!(worst < (cfg.training ? 2e-1 : 5e-2))) fail_msg("net %zu: relative L2 %g", i, worst);
    }
}

static void the_same_input_gives_the_same_bits(void **state)
{
    (void)state;
    if (!is_here()) skip();
    for (which = 0; which < N_CONVS; which++) {
        avs_err e = AVS_ERR_INIT;
        avs_arena *a = avs_arena_new();
        avs_graph *g = conv_net(a);
        avs_plan *p = NULL;
        const int64_t n = (int64_t)convs[which].Co * convs[which].Ci * convs[which].k * convs[which].k;
        float *once = malloc((size_t)n * sizeof *once), *again = malloc((size_t)n * sizeof *again);
        assert_int_equal(avs_plan_build(&p, g, &(avs_plan_cfg){.prec = AVS_PREC_BF16, .training = true}, &e),
                         AVS_OK);
        load(p, g, false);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(avs_plan_run(p, &e), AVS_OK);
            assert_int_equal(avs_plan_grad_get(p, "w", i ? again : once, &e), AVS_OK);
        }
        assert_memory_equal(once, again, (size_t)n * sizeof *once);
        free(once);
        free(again);
        avs_plan_free(p);
        avs_arena_free(a);
    }
}

/* What an optimiser does to the slab reaches the next run's rounded copies. */
static void a_changed_weight_is_rounded_again(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    if (!is_here()) skip();
    for (int training = 0; training < 2; training++) {
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, training);
        avs_plan *p = NULL;
        which = 0;
        avs_val x = avs_input(g, "x", AVS_F32T(1, 8, 8, 32));
        avs_val y = avs_conv2d(g, x, avs_param(g, "w", AVS_F32T(64, 32, 1, 1), zero), 0, 1, 0, 1, 1);
        if (training)
            close_net(g, x, y);
        else
            avs_graph_output(g, "y", y);
        assert_int_equal(
            avs_plan_build(&p, g, &(avs_plan_cfg){.prec = AVS_PREC_BF16, .training = training}, &e), AVS_OK);
        load(p, g, false);
        assert_int_equal(avs_plan_run(p, &e), AVS_OK);
        float once[8 * 8 * 64], w[64 * 32];
        memcpy(once, avs_plan_output(p, "y", NULL), sizeof once);
        if (training) {
            int64_t n;
            float *slab = avs_plan_slab(p, AVS_SLAB_PARAM, &n);
            for (int64_t i = 0; i < n; i++) slab[i] *= 2;
            avs_plan_params_changed(p);
        } else {
            assert_int_equal(avs_plan_param_get(p, "w", w, &e), AVS_OK);
            for (int i = 0; i < 64 * 32; i++) w[i] *= 2;
            assert_int_equal(avs_plan_param_set(p, "w", w, &e), AVS_OK);
        }
        assert_int_equal(avs_plan_run(p, &e), AVS_OK);
        const float *twice = avs_plan_output(p, "y", NULL);
        for (size_t i = 0; i < sizeof once / sizeof *once; i++) assert_true(twice[i] == 2 * once[i]);
        assert_true(fabsf(once[77]) > 1e-3F);
        avs_plan_free(p);
        avs_arena_free(a);
    }
}

static void the_oracle_has_no_bf16(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_plan *p = NULL;
    const avs_plan_cfg cfg = {.backend = "ref", .prec = AVS_PREC_BF16};
    assert_int_equal(avs_plan_build(&p, net_conv_eval(a), &cfg, &e), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "not in bf16"));
    avs_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_and_gradients_differ_by_the_rounding_of_operands_alone),
        cmocka_unit_test(nets_stay_near_the_oracle),
        cmocka_unit_test(the_same_input_gives_the_same_bits),
        cmocka_unit_test(a_changed_weight_is_rounded_again),
        cmocka_unit_test(the_oracle_has_no_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
