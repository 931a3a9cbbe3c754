/* Small nets for planner tests, values for everything named in them, and the comparison of a plan with the oracle. */
#ifndef AVS_TESTS_ENGINE_PLAN_NETS_H
#define AVS_TESTS_ENGINE_PLAN_NETS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/hash.h"
#include "base/probe.h"
#include "engine/backend/ref/eval.h"
#include "engine/graph/ops.h"
#include "engine/pass/pass.h"
#include "engine/plan/plan.h"

typedef avs_graph *(*net_fn)(avs_arena *);

static inline avs_val net_conv_bn(avs_graph *g, const char *name, avs_val x, int cout, int k, int stride,
                                  int groups, bool train)
{
    avs_scope_push(g, "%s", name);
    int cin = avs_dim(g, x, 3);
    avs_val w =
        avs_param(g, "weight", AVS_F32T(cout, cin / groups, k, k), (avs_init){AVS_INIT_HE_FAN_OUT, 0, 0, 0});
    avs_init one = {AVS_INIT_ONE, 0, 0, 0}, zero = {AVS_INIT_ZERO, 0, 0, 0};
    avs_val y = avs_conv2d(g, x, w, 0, stride, k / 2, 1, groups);
    y = avs_batchnorm(g, y, avs_param(g, "bn.weight", AVS_F32T(cout), one),
                      avs_param(g, "bn.bias", AVS_F32T(cout), zero),
                      avs_buffer(g, "bn.running_mean", AVS_F32T(cout), zero),
                      avs_buffer(g, "bn.running_var", AVS_F32T(cout), one), 1e-5f, 0.1f, train);
    avs_tap(g, "out", y);
    avs_scope_pop(g);
    return y;
}

static inline avs_val net_linear(avs_graph *g, const char *name, avs_val x, int n)
{
    avs_scope_push(g, "%s", name);
    int K = avs_dim(g, x, avs_t(g, x)->rank - 1);
    avs_val w = avs_param(g, "weight", AVS_F32T(n, K), (avs_init){AVS_INIT_XAVIER_UNIFORM, 0, 0, 0});
    avs_val y = avs_linear(g, x, w, avs_param(g, "bias", AVS_F32T(n), (avs_init){AVS_INIT_ZERO, 0, 0, 0}));
    avs_scope_pop(g);
    return y;
}

/* Mean of squares of all elements: a loss that reaches everything. */
static inline avs_val net_loss(avs_graph *g, avs_val x)
{
    int64_t n = avs_type_count(avs_t(g, x));
    avs_val flat = avs_reshape(g, x, AVS_F32T(n));
    return avs_reshape(g, avs_reduce(g, avs_ew_unary(g, AVS_EW_SQUARE, flat), 0, 1, true), AVS_F32T(1));
}

/* Stem on 3 channels, a residual block with a strided shortcut, a depthwise block; 24 channels are no multiple of 16. */
static inline avs_val net_conv_body(avs_graph *g, bool train)
{
    avs_val x = avs_input(g, "image", AVS_F32T(2, 19, 17, 3));
    x = avs_relu(g, net_conv_bn(g, "stem", x, 16, 7, 2, 1, train));
    x = avs_pool_max(g, x, 3, 2, 1);
    avs_val skip = net_conv_bn(g, "down", x, 24, 1, 2, 1, train);
    avs_val y = avs_relu(g, net_conv_bn(g, "c1", x, 24, 3, 2, 1, train));
    y = net_conv_bn(g, "c2", y, 24, 3, 1, 1, train);
    y = avs_relu(g, avs_add(g, y, skip));
    y = avs_relu(g, net_conv_bn(g, "dw", y, 24, 3, 1, 24, train));
    return avs_add(g, y, net_conv_bn(g, "pw", y, 24, 1, 1, 1, train));
}

static inline avs_graph *net_conv_eval(avs_arena *a)
{
    avs_graph *g = avs_graph_new(a, false);
    avs_val y = net_conv_body(g, false);
    avs_graph_output(g, "y", y);
    avs_val w = avs_param(g, "head.weight", AVS_F32T(5, 24, 1, 1), (avs_init){AVS_INIT_ZERO, 0, 0, 0});
    avs_val b = avs_param(g, "head.bias", AVS_F32T(5), (avs_init){AVS_INIT_ZERO, 0, 0, 0});
    y = avs_conv2d(g, y, w, b, 1, 0, 1, 1);
    avs_graph_output(g, "logits", avs_resize(g, y, 9, 7, AVS_RESIZE_BILINEAR, false));
    return g;
}

static inline avs_graph *net_conv_train(avs_arena *a)
{
    avs_graph *g = avs_graph_new(a, true);
    avs_val y = net_conv_body(g, true);
    avs_graph_output(g, "y", y);
    avs_val loss = net_loss(g, avs_sigmoid(g, y));
    avs_graph_output(g, "loss", loss);
    avs_backward(g, loss);
    return g;
}

/* Frozen stem with running statistics, a weight that two strides share (so it stays plain), a slice of a parameter. */
static inline avs_graph *net_mixed_train(avs_arena *a)
{
    avs_graph *g = avs_graph_new(a, true);
    avs_val x = avs_input(g, "image", AVS_F32T(2, 12, 10, 3));
    x = avs_relu(g, net_conv_bn(g, "frozen", x, 16, 3, 1, 1, false));
    avs_graph_freeze(g, "frozen");
    avs_val w = avs_param(g, "shared.weight", AVS_F32T(16, 16, 3, 3), (avs_init){AVS_INIT_ZERO, 0, 0, 0});
    avs_val y = avs_relu(g, avs_conv2d(g, x, w, 0, 1, 1, 1, 1));
    y = avs_dropout(g, avs_conv2d(g, y, w, 0, 2, 2, 2, 1), 0.25f, false);
    avs_val table = avs_param(g, "table", AVS_F32T(4, 16), (avs_init){AVS_INIT_ZERO, 0, 0, 0});
    avs_val row = avs_reshape(g, avs_slice(g, table, 0, 2, 1), AVS_F32T(16));
    avs_val s = avs_param(g, "unused", AVS_F32T(3), (avs_init){AVS_INIT_ZERO, 0, 0, 0});
    (void)s;
    y = avs_groupnorm(g, avs_mul(g, y, row),
                      avs_param(g, "gn.weight", AVS_F32T(16), (avs_init){AVS_INIT_ONE, 0, 0, 0}),
                      avs_param(g, "gn.bias", AVS_F32T(16), (avs_init){AVS_INIT_ZERO, 0, 0, 0}), 4, 1e-5f);
    avs_val loss = net_loss(g, y);
    avs_graph_output(g, "loss", loss);
    avs_backward(g, loss);
    return g;
}

/* Pre-norm attention block with 4 heads of 8 and a GELU and a ReLU layer. */
static inline avs_graph *net_attention(avs_arena *a, bool train)
{
    enum { B = 2, N = 13, M = 9, C = 32, H = 4 };
    avs_graph *g = avs_graph_new(a, train);
    avs_init one = {AVS_INIT_ONE, 0, 0, 0}, zero = {AVS_INIT_ZERO, 0, 0, 0};
    avs_val x = avs_input(g, "x", AVS_F32T(B, N, C)), mem = avs_input(g, "memory", AVS_F32T(B, M, C));
    avs_graph_want_grad(g, mem);
    avs_val n = avs_layernorm(g, x, avs_param(g, "n1.weight", AVS_F32T(C), one),
                              avs_param(g, "n1.bias", AVS_F32T(C), zero), 1e-5f);
    avs_val q = net_linear(g, "q", n, C), k = net_linear(g, "k", mem, C), v = net_linear(g, "v", mem, C);
    avs_val p = avs_matmul(
        g, q, k, (avs_matmul_attr){.tb = 1, .a_split = 1, .b_split = 1, .heads = H, .alpha = 0.35f});
    p = avs_softmax(g, p);
    avs_val o = avs_matmul(g, p, v, (avs_matmul_attr){.b_split = 1, .c_split = 1, .heads = H});
    avs_tap(g, "attention", o);
    x = avs_add(g, x, net_linear(g, "o", o, C));
    n = avs_layernorm(g, x, avs_param(g, "n2.weight", AVS_F32T(C), one),
                      avs_param(g, "n2.bias", AVS_F32T(C), zero), 1e-5f);
    avs_val h = avs_gelu(g, net_linear(g, "f1", n, 40));
    h = avs_relu(g, net_linear(g, "f2", h, C));
    x = avs_add(g, x, h);
    avs_graph_output(g, "y", x);
    if (train) {
        avs_val loss = net_loss(g, avs_ew_unary(g, AVS_EW_TANH, x));
        avs_graph_output(g, "loss", loss);
        avs_backward(g, loss);
    }
    return g;
}

static inline avs_graph *net_attention_eval(avs_arena *a)
{
    return net_attention(a, false);
}
static inline avs_graph *net_attention_train(avs_arena *a)
{
    return net_attention(a, true);
}

/* Four pre-norm layers on one residual stream: attention to itself, then an MLP with GELU and dropout. */
static inline avs_graph *net_tower_train(avs_arena *a)
{
    enum { B = 2, N = 24, C = 16, H = 2, LAYERS = 4 };
    avs_graph *g = avs_graph_new(a, true);
    avs_init one = {AVS_INIT_ONE, 0, 0, 0}, zero = {AVS_INIT_ZERO, 0, 0, 0};
    avs_val x = avs_input(g, "x", AVS_F32T(B, N, C));
    x = avs_add(g, x, avs_param(g, "pos", AVS_F32T(N, C), one));
    for (int i = 0; i < LAYERS; i++) {
        avs_scope_push(g, "layer%d", i);
        avs_val n = avs_layernorm(g, x, avs_param(g, "n1.weight", AVS_F32T(C), one),
                                  avs_param(g, "n1.bias", AVS_F32T(C), zero), 1e-5f);
        avs_val q = net_linear(g, "q", n, C), k = net_linear(g, "k", n, C), v = net_linear(g, "v", n, C);
        avs_val p = avs_softmax(
            g,
            avs_matmul(g, q, k,
                       (avs_matmul_attr){.tb = 1, .a_split = 1, .b_split = 1, .heads = H, .alpha = 0.35f}));
        avs_val o = avs_matmul(g, p, v, (avs_matmul_attr){.b_split = 1, .c_split = 1, .heads = H});
        x = avs_add(g, x, net_linear(g, "o", o, C));
        n = avs_layernorm(g, x, avs_param(g, "n2.weight", AVS_F32T(C), one),
                          avs_param(g, "n2.bias", AVS_F32T(C), zero), 1e-5f);
        avs_val h = avs_dropout(g, avs_gelu(g, net_linear(g, "f1", n, 4 * C)), 0.25f, false);
        x = avs_add(g, x, net_linear(g, "f2", h, C));
        avs_scope_pop(g);
    }
    avs_val loss = net_loss(g, x);
    avs_graph_output(g, "loss", loss);
    avs_backward(g, loss);
    return g;
}

/* Two layers over tokens with constant positions, and what a deformable encoder makes of one of them: a row times it, seen
 * by heads, plus points of reference. The batch is one, so that positions have all elements of the sum. */
static inline avs_graph *net_positions_eval(avs_arena *a)
{
    enum { N = 15, C = 16, H = 4 };
    avs_graph *g = avs_graph_new(a, false);
    const avs_init one = {AVS_INIT_ONE, 0, 0, 0};
    avs_val x = avs_input(g, "x", AVS_F32T(1, N, C));
    avs_val pos =
        avs_add(g, avs_param(g, "pos", AVS_F32T(1, N, C), one), avs_param(g, "level", AVS_F32T(C), one));
    avs_val y = avs_add(g, x, pos);
    avs_val points =
        avs_mul(g, net_linear(g, "points", y, H * 6), avs_param(g, "size", AVS_F32T(H * 6), one));
    points =
        avs_add(g, avs_reshape(g, points, AVS_F32T(1, N, H, 6)), avs_input(g, "ref", AVS_F32T(1, N, 1, 6)));
    avs_graph_output(g, "points", points);
    avs_graph_output(g, "weights", avs_softmax(g, net_linear(g, "weights", y, H * 3)));
    return g;
}

/* ------------------------------------------------------------------ values */

static inline void net_values(const char *name, avs_vkind kind, const avs_type *t, float *out)
{
    int64_t d[AVS_MAX_RANK];
    for (int i = 0; i < t->rank; i++) d[i] = t->d[i];
    if (kind == AVS_V_INPUT)
        avs_probe_tensor(name, avs_type_count(t), 1.0, 0.0, out);
    else
        avs_probe_param(name, d, t->rank, out);
}

static inline int net_fill(void *ctx, const char *name, avs_vkind kind, const avs_type *t, double *out,
                           avs_err *e)
{
    int64_t n = avs_type_count(t);
    float *tmp = malloc((size_t)n * sizeof *tmp);
    (void)ctx;
    (void)e;
    net_values(name, kind, t, tmp);
    for (int64_t i = 0; i < n; i++) out[i] = (double)tmp[i];
    free(tmp);
    return AVS_OK;
}

static inline void net_load(avs_plan *p, const avs_graph *g)
{
    avs_err e = AVS_ERR_INIT;
    for (avs_val v = 1; v < g->n_v; v++) {
        const avs_value *val = &g->v[v];
        if (val->view_of || !val->name) continue;
        if (val->kind == AVS_V_INPUT) {
            net_values(val->name, val->kind, &val->type, avs_plan_input(p, val->name, NULL));
        } else if (val->kind == AVS_V_PARAM || val->kind == AVS_V_BUFFER) {
            float *tmp = malloc((size_t)avs_type_count(&val->type) * sizeof *tmp);
            net_values(val->name, val->kind, &val->type, tmp);
            assert_int_equal(avs_plan_param_set(p, val->name, tmp, &e), AVS_OK);
            free(tmp);
        }
    }
}

/* An output of the plan in canonical f32; gradients of parameters come through the slab. */
static inline void net_output(avs_plan *p, const char *name, int64_t n, float *out)
{
    const avs_plan_param *param = strncmp(name, "grad:", 5) ? NULL : avs_plan_param_find(p, name + 5);
    if (param) {
        assert_int_equal(avs_plan_grad_get(p, name + 5, out, NULL), AVS_OK);
        return;
    }
    const float *src = avs_plan_output(p, name, NULL);
    assert_non_null(src);
    memcpy(out, src, (size_t)n * sizeof *out);
}

static inline double net_rel_l2(const float *a, const double *b, int64_t n)
{
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        s += b[i] * b[i];
    }
    return sqrt(d) / (sqrt(s) + 1e-3 * sqrt((double)n)); /* some gradients are 0: a key bias under softmax */
}

/* The backends that are held against the oracle: cpu and the emulated cuda, or the one that AVS_TEST_BACKEND names.
 * NULL after the last. */
static inline const char *net_backend(int i)
{
    static const char *const all[] = {"cpu", "cuda-emul", NULL};
    const char *one = getenv("AVS_TEST_BACKEND");
    if (!one) return all[i];
    return i ? NULL : one;
}

/* Largest relative L2 difference of all outputs and updated buffers of a plan against the oracle in float64. */
static inline double net_worst(net_fn net, const avs_plan_cfg *cfg, bool verbose)
{
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_graph *g = net(a);
    avs_runtime rt = {.seed = cfg->dropout_seed, .step = 3, .sample0 = 7};
    avs_ref_run *ref = NULL;
    avs_plan *p = NULL;
    double worst = 0;
    if (avs_graph_check(g, &e) != AVS_OK) fail_msg("%s", e.msg);
    if (avs_ref_eval(&ref, g, AVS_F64, &rt, net_fill, NULL, &e) != AVS_OK) fail_msg("%s", e.msg);
    if (avs_plan_build(&p, g, cfg, &e) != AVS_OK) fail_msg("%s", e.msg);
    net_load(p, g);
    avs_plan_set_step(p, 3, 7);
    /* on a device the second run of inference records its steps, the third launches what was recorded */
    for (int runs = avs_plan_is_device(p) && !cfg->training ? 3 : 1; runs > 0; runs--)
        if (avs_plan_run(p, &e) != AVS_OK) fail_msg("%s", e.msg);
    avs_ref_apply_updates(ref);
    for (uint32_t i = 0; i < g->n_output + g->n_update; i++) {
        bool is_update = i >= g->n_output;
        avs_val v = is_update ? g->update[i - g->n_output].buffer : g->output[i].val;
        const char *name = is_update ? g->v[v].name : g->output[i].name;
        int64_t n = avs_type_count(avs_t(g, v));
        float *have = malloc((size_t)n * sizeof *have);
        double *want = malloc((size_t)n * sizeof *want);
        avs_ref_get(ref, v, want);
        if (is_update)
            assert_int_equal(avs_plan_param_get(p, name, have, &e), AVS_OK);
        else
            net_output(p, name, n, have);
        double d = net_rel_l2(have, want, n);
        if (verbose) printf("%-28s %.3g\n", name, d);
        if (!(d <= worst)) worst = d;
        free(have);
        free(want);
    }
    avs_plan_free(p);
    avs_ref_close(ref);
    avs_arena_free(a);
    return worst;
}

#endif
