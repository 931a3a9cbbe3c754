/* Winograd convolutions: every instruction set and tile size against the definition in double, edges and epilogues
 * included; bits that depend neither on threads nor on blocks; when plans take them. */
#include "tests/engine/plan/nets.h"

#include <float.h>
#include <omp.h>
#include "base/rng.h"
#include "engine/backend/cpu/winograd.h"

typedef struct {
    int B, H, W, Ci, Co, ph, pw;
    bool bias, residual;
    int act;
} conv_case;

static const conv_case cases[] = {
    {1, 8, 8, 16, 32, 1, 1, false, false, AVS_ACT_NONE},
    {1, 6, 6, 32, 32, 0, 0, true, false, AVS_ACT_RELU},
    {2, 7, 9, 17, 33, 1, 1, true, true, AVS_ACT_RELU},
    {1, 3, 3, 1, 1, 0, 0, true, true, AVS_ACT_NONE},
    {1, 1, 1, 5, 3, 1, 1, false, true, AVS_ACT_NONE},
    {3, 5, 13, 48, 20, 2, 2, true, false, AVS_ACT_RELU6},
    {1, 1, 37, 40, 71, 2, 0, false, false, AVS_ACT_RELU},
    {2, 29, 11, 8, 16, 0, 2, true, true, AVS_ACT_RELU6},
    {5, 7, 7, 64, 96, 1, 1, true, true, AVS_ACT_RELU},
    {1, 31, 30, 33, 15, 1, 1, true, false, AVS_ACT_NONE},
};
enum { N_CASE = sizeof cases / sizeof *cases };

/* One case with its operands and the exact result. */
typedef struct {
    const conv_case *c;
    avs_conv_attr attr;
    avs_type tx, ty;
    float *x, *w, *bias, *residual;
    double *y, scale; /* scale: the largest sum before the activation, at least 1 */
} problem;

static float *draw(avs_rng *r, int64_t n)
{
    float *p = malloc((size_t)n * sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++) p[i] = (float)avs_rng_normal(r);
    return p;
}

static double exact(const problem *p, int b, int h, int w, int co)
{
    const conv_case *c = p->c;
    double s = c->bias ? (double)p->bias[co] : 0;
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) {
            const int hi = h + i - c->ph, wi = w + j - c->pw;
            if (hi < 0 || hi >= c->H || wi < 0 || wi >= c->W) continue;
            const float *x = p->x + (((int64_t)b * c->H + hi) * c->W + wi) * c->Ci;
            const float *g = p->w + ((int64_t)co * c->Ci * 3 + i) * 3 + j;
            for (int k = 0; k < c->Ci; k++) s += (double)x[k] * (double)g[(int64_t)k * 9];
        }
    }
    return s;
}

static problem make(const conv_case *c)
{
    avs_rng r = avs_rng_seed(700 + (uint64_t)(c - cases));
    problem p = {.c = c,
                 .attr = {.sh = 1, .sw = 1, .dh = 1, .dw = 1, .kh = 3, .kw = 3, .groups = 1},
                 .tx = AVS_F32T(c->B, c->H, c->W, c->Ci),
                 .scale = 1,
                 .ty = AVS_F32T(c->B, c->H + 2 * c->ph - 2, c->W + 2 * c->pw - 2, c->Co)};
    p.attr.ph = c->ph, p.attr.pw = c->pw, p.attr.act = c->act, p.attr.in_h = c->H, p.attr.in_w = c->W;
    const int64_t n = avs_type_count(&p.ty);
    p.x = draw(&r, avs_type_count(&p.tx));
    p.w = draw(&r, (int64_t)c->Co * c->Ci * 9);
    p.bias = draw(&r, c->Co);
    p.residual = draw(&r, n);
    p.y = malloc((size_t)n * sizeof *p.y);
    assert_non_null(p.y);
    for (int64_t i = 0; i < n; i++) {
        const int co = (int)(i % c->Co), w = (int)(i / c->Co % p.ty.d[2]);
        const int h = (int)(i / c->Co / p.ty.d[2] % p.ty.d[1]), b = (int)(i / c->Co / p.ty.d[2] / p.ty.d[1]);
        double v = exact(&p, b, h, w, co);
        if (c->residual) v += (double)p.residual[i];
        p.scale = fmax(p.scale, fabs(v));
        if (c->act != AVS_ACT_NONE && v < 0) v = 0;
        p.y[i] = c->act == AVS_ACT_RELU6 && v > 6 ? 6 : v;
    }
    return p;
}

static void discard(problem *p)
{
    free(p->x);
    free(p->w);
    free(p->bias);
    free(p->residual);
    free(p->y);
}

static void *aligned(size_t bytes)
{
    void *p = NULL;
    assert_int_equal(posix_memalign(&p, 64, bytes), 0);
    memset(p, 0xff, bytes); /* NaN: nothing may be read before it is written */
    return p;
}

/* The weight kernels of the same instruction set. */
static const avs_winograd_weight_kernel *weights_of(const avs_winograd_kernel *k)
{
    for (int v = 0; avs_winograd_variant(v); v++)
        if (avs_winograd_variant(v) == k) return avs_winograd_weight_variant(v);
    return NULL;
}

/* Runs into y, which has the output's extents; in_place: the residual lies there. */
static void run(const problem *p, const avs_winograd_kernel *k, int m, int threads, bool in_place, float *y)
{
    avs_winograd_call call = {.s = avs_winograd_plan(k, m, &p->attr, &p->tx, &p->ty, threads),
                              .x = p->x,
                              .bias = p->c->bias ? p->bias : NULL,
                              .y = y};
    if (p->c->residual) call.residual = in_place ? y : p->residual;
    if (p->c->residual && in_place) memcpy(y, p->residual, (size_t)avs_type_count(&p->ty) * sizeof *y);
    float *u = aligned(avs_winograd_weights(&call.s));
    weights_of(k)->pack(&call.s, p->w, false, u);
    call.u = u;
    call.work = aligned(avs_winograd_work(&call.s));
    k->run(&call);
    free(call.work);
    free(u);
}

/* The tolerance of a cpu kernel: 1e-6 + 4 eps sqrt(K) scale. */
static void compare(const problem *p, const float *y, int index, const char *impl)
{
    const int64_t n = avs_type_count(&p->ty);
    const double bound = 1e-6 + 4 * (double)FLT_EPSILON * sqrt(9.0 * p->c->Ci) * p->scale;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)y[i] - p->y[i]) <= bound))
            fail_msg("case %d, %s: element %lld is %.9g, expected %.9g, allowed %.3g", index, impl,
                     (long long)i, (double)y[i], p->y[i], bound);
}

static void every_variant_equals_the_definition(void **state)
{
    (void)state;
    int n_run = 0;
    for (int i = 0; i < N_CASE; i++) {
        problem p = make(&cases[i]);
        float *y = aligned((size_t)avs_type_count(&p.ty) * sizeof *y);
        const avs_winograd_kernel *k;
        for (int v = 0; (k = avs_winograd_variant(v)); v++) {
            for (int m = 2; m <= 4; m += 2) {
                for (int in_place = 0; in_place < 2; in_place++, n_run++) {
                    run(&p, k, m, 1, in_place, y);
                    compare(&p, y, i, m == 4 ? k->impl4 : k->impl2);
                }
            }
        }
        free(y);
        discard(&p);
    }
    assert_true(n_run >= 4 * N_CASE);
}

/* ------------------------------------------------------------------ gradients */

/* The exact gradients of sum(y * gy) for gy = p->residual. */
static void exact_gradients(const problem *p, double *gx, double *gw)
{
    const conv_case *c = p->c;
    memset(gx, 0, (size_t)avs_type_count(&p->tx) * sizeof *gx);
    memset(gw, 0, (size_t)c->Co * (size_t)c->Ci * 9 * sizeof *gw);
    for (int64_t i = 0; i < avs_type_count(&p->ty) * 9; i++) {
        const int tap = (int)(i % 9), co = (int)(i / 9 % c->Co), w = (int)(i / 9 / c->Co % p->ty.d[2]);
        const int h = (int)(i / 9 / c->Co / p->ty.d[2] % p->ty.d[1]);
        const int b = (int)(i / 9 / c->Co / p->ty.d[2] / p->ty.d[1]);
        const int hi = h + tap / 3 - c->ph, wi = w + tap % 3 - c->pw;
        if (hi < 0 || hi >= c->H || wi < 0 || wi >= c->W) continue;
        const int64_t at_x = (((int64_t)b * c->H + hi) * c->W + wi) * c->Ci;
        const double gy = (double)p->residual[i / 9];
        for (int k = 0; k < c->Ci; k++) {
            const int64_t at_w = ((int64_t)co * c->Ci + k) * 9 + tap;
            gx[at_x + k] += gy * (double)p->w[at_w];
            gw[at_w] += gy * (double)p->x[at_x + k];
        }
    }
}

static void input_gradient(const problem *p, const avs_winograd_kernel *k, int m, float *gx)
{
    avs_conv_attr turned = p->attr;
    turned.act = AVS_ACT_NONE;
    turned.ph = 2 - turned.ph;
    turned.pw = 2 - turned.pw;
    avs_winograd_call call = {
        .s = avs_winograd_plan(k, m, &turned, &p->ty, &p->tx, 1), .x = p->residual, .y = gx};
    float *u = aligned(avs_winograd_weights(&call.s));
    weights_of(k)->pack(&call.s, p->w, true, u);
    call.u = u;
    call.work = aligned(avs_winograd_work(&call.s));
    k->run(&call);
    free(call.work);
    free(u);
}

static void weight_gradient(const problem *p, const avs_winograd_kernel *k, int m, float *gw)
{
    avs_winograd_grad_call call = {
        .s = avs_winograd_plan_grad(k, m, &p->attr, &p->tx, &p->ty), .x = p->x, .gy = p->residual, .gw = gw};
    call.work = aligned(avs_winograd_grad_work(&call.s));
    weights_of(k)->grad(&call);
    free(call.work);
}

/* Relative L2: the transforms mix large and small sums, so one element says little. F4 has about 2e-6. */
static void close_by(const float *got, const double *want, int64_t n, int index, const char *what)
{
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        s += want[i] * want[i];
    }
    if (!(sqrt(d) <= 5e-6 * sqrt(s))) fail_msg("case %d, %s: relative L2 %g", index, what, sqrt(d / s));
}

static void both_gradients_equal_the_definition_in_every_variant(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASE; i++) {
        problem p = make(&cases[i]);
        const int64_t nx = avs_type_count(&p.tx), nw = (int64_t)cases[i].Co * cases[i].Ci * 9;
        float *gx = aligned((size_t)nx * sizeof *gx), *gw = aligned((size_t)nw * sizeof *gw);
        double *ex = aligned((size_t)nx * sizeof *ex), *ew = aligned((size_t)nw * sizeof *ew);
        exact_gradients(&p, ex, ew);
        const avs_winograd_kernel *k;
        for (int v = 0; (k = avs_winograd_variant(v)); v++) {
            for (int m = 2; m <= 4; m += 2) {
                input_gradient(&p, k, m, gx);
                close_by(gx, ex, nx, i, "gradient of the input");
                weight_gradient(&p, k, m, gw);
                close_by(gw, ew, nw, i, m == 4 ? weights_of(k)->grad4 : weights_of(k)->grad2);
            }
        }
        free(gx), free(gw), free(ex), free(ew);
        discard(&p);
    }
}

/* Several blocks of tiles, in whose order the sums are made. */
static void gradients_of_weights_do_not_depend_on_threads(void **state)
{
    (void)state;
    static const conv_case wide = {2, 61, 59, 24, 40, 1, 1, false, false, AVS_ACT_NONE};
    const int before = omp_get_max_threads();
    const size_t bytes = sizeof(float) * 40 * 24 * 9;
    avs_rng r = avs_rng_seed(5);
    problem p = {
        .c = &wide,
        .attr = {.sh = 1, .sw = 1, .dh = 1, .dw = 1, .kh = 3, .kw = 3, .groups = 1, .ph = 1, .pw = 1},
        .tx = AVS_F32T(2, 61, 59, 24),
        .ty = AVS_F32T(2, 61, 59, 40)};
    p.x = draw(&r, avs_type_count(&p.tx));
    p.residual = draw(&r, avs_type_count(&p.ty));
    float *one = aligned(bytes), *more = aligned(bytes);
    const avs_winograd s = avs_winograd_plan_grad(avs_winograd_best(), 4, &p.attr, &p.tx, &p.ty);
    assert_true(s.block * 2 <= s.B * s.th * s.tw);
    omp_set_num_threads(1);
    weight_gradient(&p, avs_winograd_best(), 4, one);
    for (int threads = 2; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        weight_gradient(&p, avs_winograd_best(), 4, more);
        assert_memory_equal(one, more, bytes);
    }
    omp_set_num_threads(before);
    free(one), free(more), free(p.x), free(p.residual);
}

static void bits_depend_neither_on_threads_nor_on_blocks(void **state)
{
    (void)state;
    const int before = omp_get_max_threads();
    bool has_shared = false, has_apart = false;
    for (int i = 0; i < N_CASE; i++) {
        problem p = make(&cases[i]);
        const size_t bytes = (size_t)avs_type_count(&p.ty) * sizeof(float);
        float *one = aligned(bytes), *more = aligned(bytes);
        const avs_winograd_kernel *k = avs_winograd_best();
        omp_set_num_threads(1);
        run(&p, k, 4, 1, false, one);
        for (int planned = 1; planned <= 3; planned++) {
            const bool is_shared = avs_winograd_plan(k, 4, &p.attr, &p.tx, &p.ty, planned).is_shared;
            has_shared |= is_shared;
            has_apart |= !is_shared && planned > 1;
            for (int threads = 1; threads <= 4; threads++) { /* more than planned for, too */
                omp_set_num_threads(threads);
                run(&p, k, 4, planned, false, more);
                assert_memory_equal(one, more, bytes);
            }
        }
        free(one);
        free(more);
        discard(&p);
    }
    omp_set_num_threads(before);
    assert_true(has_shared && has_apart);
}

static void the_rule_takes_only_what_it_can_do(void **state)
{
    (void)state;
    const avs_conv_attr good = {.sh = 1,
                                .sw = 1,
                                .ph = 1,
                                .pw = 1,
                                .dh = 1,
                                .dw = 1,
                                .kh = 3,
                                .kw = 3,
                                .groups = 1,
                                .in_h = 56,
                                .in_w = 56};
    const avs_type x = AVS_F32T(1, 56, 56, 64), w = AVS_F32T(64, 64, 3, 3);
    const int expected = avs_winograd_best()->is_fast ? 4 : 0;
    assert_int_equal(avs_winograd_choose(&good, &x, &w, 1), expected);
    avs_conv_attr bad[5];
    for (int i = 0; i < 5; i++) bad[i] = good;
    bad[0].sh = 2;
    bad[1].dw = 2;
    bad[2].groups = 2;
    bad[3].kh = 1;
    bad[4].kw = 5;
    for (int i = 0; i < 5; i++) {
        assert_false(avs_winograd_can(&bad[i]));
        assert_int_equal(avs_winograd_choose(&bad[i], &x, &w, 1), 0);
    }
    const avs_type small = AVS_F32T(1, 7, 7, 512), big = AVS_F32T(512, 512, 3, 3);
    assert_int_equal(avs_winograd_choose(&good, &small, &big, 1), expected / 2);
    const avs_type narrow = AVS_F32T(1, 56, 56, 3), from3 = AVS_F32T(64, 3, 3, 3);
    const avs_type dot = AVS_F32T(1, 3, 3, 64);
    assert_int_equal(avs_winograd_choose(&good, &narrow, &from3, 1), 0);
    assert_int_equal(avs_winograd_choose(&good, &dot, &w, 1), 0);
    /* where the direct way takes half the time, only what gains more than twice is left */
    assert_int_equal(avs_winograd_choose(&good, &x, &w, 2), expected);
    assert_int_equal(avs_winograd_choose(&good, &small, &big, 2), 0);
    assert_int_equal(avs_winograd_choose(&good, &x, &w, 8), 0);
    for (int op = AVS_OP_CONV2D; op <= AVS_OP_CONV2D_BWD_W; op++) {
        const avs_type many = AVS_F32T(8, 6, 6, 64);
        assert_int_equal(avs_winograd_choose_training(op, &good, &x, &w, 1), expected);
        assert_int_equal(avs_winograd_choose_training(op, &good, &many, &w, 1), expected / 2);
        assert_int_equal(avs_winograd_choose_training(op, &good, &small, &big, 1),
                         0); /* weights outweigh it */
        assert_int_equal(avs_winograd_choose_training(op, &bad[0], &x, &w, 1), 0);
    }
}

/* ------------------------------------------------------------------ in plans */

static const avs_init zero = {AVS_INIT_ZERO, 0, 0, 0};

/* A block with a shortcut; bias, residual and ReLU become epilogues; 29x29 is no multiple of a tile. */
static avs_graph *block(avs_arena *a, bool train)
{
    avs_graph *g = avs_graph_new(a, train);
    avs_val x = avs_input(g, "x", AVS_F32T(2, 29, 29, 32));
    avs_val w = avs_param(g, "w", AVS_F32T(48, 32, 3, 3), zero), b = avs_param(g, "b", AVS_F32T(48), zero);
    avs_val y = avs_relu(g, avs_conv2d(g, x, w, b, 1, 1, 1, 1));
    avs_val v = avs_param(g, "v", AVS_F32T(48, 48, 3, 3), zero);
    y = avs_relu(g, avs_add(g, y, avs_conv2d(g, y, v, 0, 1, 1, 1, 1)));
    avs_graph_output(g, "y", y);
    if (train) avs_backward(g, net_loss(g, y));
    return g;
}
static avs_graph *block_eval(avs_arena *a)
{
    return block(a, false);
}

static avs_graph *block_train(avs_arena *a)
{
    return block(a, true);
}

static int count_winograd(bool train, bool no_winograd)
{
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_plan *p = NULL;
    char *text = NULL;
    size_t len;
    int n = 0;
    const avs_plan_cfg cfg = {.backend = "cpu", .training = train, .no_winograd = no_winograd};
    assert_int_equal(avs_plan_build(&p, block(a, train), &cfg, &e), AVS_OK);
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    avs_plan_report(p, f);
    fclose(f);
    for (const char *s = text; (s = strstr(s, "winograd")); s++) n++;
    free(text);
    avs_plan_free(p);
    avs_arena_free(a);
    return n;
}

static void plans_take_it_unless_told_not_to(void **state)
{
    (void)state;
    const bool is_fast = avs_winograd_best()->is_fast;
    assert_int_equal(count_winograd(false, false), is_fast ? 2 : 0);
    assert_int_equal(count_winograd(false, true), 0);
    assert_int_equal(count_winograd(true, false), is_fast ? 5 : 0); /* x needs no gradient */
    assert_int_equal(count_winograd(true, true), 0);
}

static void plans_with_and_without_it_equal_the_oracle(void **state)
{
    (void)state;
    avs_plan_cfg cfg = {.backend = "cpu"};
    for (int i = 0; i < 8; i++) {
        cfg.passes_off = i & 1 ? AVS_PASS_EVERY : 0;
        cfg.no_winograd = i & 2;
        cfg.training = i & 4;
        const double worst = net_worst(cfg.training ? block_train : block_eval, &cfg, false);
        if (!(worst < 1e-5)) fail_msg("way %d: relative L2 %g", i, worst);
    }
}

/* Twice the weight, twice the result, bit for bit: the transformed weight follows the parameter. */
static void a_new_weight_is_transformed_again(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, false);
    avs_plan *p = NULL;
    avs_type t;
    avs_rng r = avs_rng_seed(3);
    avs_val x = avs_input(g, "x", AVS_F32T(1, 9, 9, 32));
    avs_val w = avs_param(g, "w", AVS_F32T(32, 32, 3, 3), zero);
    avs_graph_output(g, "y", avs_conv2d(g, x, w, 0, 1, 1, 1, 1));
    assert_int_equal(avs_plan_build(&p, g, &(avs_plan_cfg){.backend = "cpu"}, &e), AVS_OK);
    float *in = avs_plan_input(p, "x", &t), *weight = draw(&r, 32 * 32 * 9), once[9 * 9 * 32];
    for (int64_t i = 0; i < avs_type_count(&t); i++) in[i] = (float)avs_rng_normal(&r);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(avs_plan_param_set(p, "w", weight, &e), AVS_OK);
        assert_int_equal(avs_plan_run(p, &e), AVS_OK);
        const float *y = avs_plan_output(p, "y", &t);
        if (round == 0) {
            memcpy(once, y, sizeof once);
            for (int i = 0; i < 32 * 32 * 9; i++) weight[i] *= 2;
        } else {
            for (int i = 0; i < 9 * 9 * 32; i++) assert_true(y[i] == 2 * once[i]);
        }
    }
    assert_true(fabsf(once[40 * 32]) > 1e-3f);
    free(weight);
    avs_plan_free(p);
    avs_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_equals_the_definition),
        cmocka_unit_test(both_gradients_equal_the_definition_in_every_variant),
        cmocka_unit_test(gradients_of_weights_do_not_depend_on_threads),
        cmocka_unit_test(bits_depend_neither_on_threads_nor_on_blocks),
        cmocka_unit_test(the_rule_takes_only_what_it_can_do),
        cmocka_unit_test(plans_take_it_unless_told_not_to),
        cmocka_unit_test(plans_with_and_without_it_equal_the_oracle),
        cmocka_unit_test(a_new_weight_is_transformed_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
