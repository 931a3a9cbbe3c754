/* What each pass makes of a small graph, as text: golden/NAME.txt. AVS_WRITE_GOLDEN=1 writes the files anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "engine/pass/pass.h"

static const avs_init zero = {AVS_INIT_ZERO, 0, 0, 0};

static avs_val param(avs_graph *g, const char *key, avs_type t)
{
    return avs_param(g, key, t, zero);
}

static avs_val conv(avs_graph *g, avs_val x, const char *key, int out)
{
    return avs_conv2d(g, x, param(g, key, AVS_F32T(out, avs_dim(g, x, 3), 3, 3)), 0, 1, 1, 1, 1);
}

static avs_val bn(avs_graph *g, avs_val x, const char *scope, bool train)
{
    int C = avs_dim(g, x, 3);
    avs_scope_push(g, "%s", scope);
    avs_val y = avs_batchnorm(g, x, param(g, "weight", AVS_F32T(C)), param(g, "bias", AVS_F32T(C)),
                              avs_buffer(g, "running_mean", AVS_F32T(C), zero),
                              avs_buffer(g, "running_var", AVS_F32T(C), zero), 1e-5f, 0.1f, train);
    avs_scope_pop(g);
    return y;
}

static avs_val sum(avs_graph *g, avs_val x)
{
    int64_t n = avs_type_count(avs_t(g, x));
    return avs_reshape(g, avs_reduce(g, avs_reshape(g, x, AVS_F32T(n)), 0, 1, false), AVS_F32T(1));
}

static void dead_branch(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(2, 3));
    avs_graph_output(g, "y", avs_relu(g, x));
    avs_gelu(g, avs_scale(g, x, 2));
}

/* The first GELU moves into its product, the second cannot: its operand is an output too. */
static void feed_forward(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(4, 8));
    avs_val h = avs_gelu(g, avs_linear(g, x, param(g, "w1", AVS_F32T(16, 8)), param(g, "b1", AVS_F32T(16))));
    avs_val z = avs_linear(g, h, param(g, "w2", AVS_F32T(8, 16)), param(g, "b2", AVS_F32T(8)));
    avs_graph_output(g, "z", z);
    avs_graph_output(g, "y", avs_gelu(g, z));
}

/* Two layers read x + position, and nothing else does; the second sum is an output too and stays. */
static void positions(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(1, 4, 8)), pos = param(g, "pos", AVS_F32T(4, 8));
    avs_val y = avs_add(g, x, avs_add(g, pos, param(g, "level", AVS_F32T(8))));
    y = avs_reshape(g, y, AVS_F32T(1, 4, 8));
    avs_graph_output(g, "a", avs_linear(g, y, param(g, "w1", AVS_F32T(6, 8)), param(g, "b1", AVS_F32T(6))));
    avs_graph_output(g, "b", avs_relu(g, avs_linear(g, y, param(g, "w2", AVS_F32T(3, 8)), 0)));
    avs_val z = avs_add(g, x, avs_reshape(g, pos, AVS_F32T(1, 4, 8)));
    avs_graph_output(g, "z", z);
    avs_graph_output(g, "c", avs_linear(g, z, param(g, "w3", AVS_F32T(2, 8)), 0));
}

/* A row over 24 elements is one over 4 times 6 too. */
static void ew_reshaped(avs_graph *g)
{
    avs_val x = avs_mul(g, avs_input(g, "x", AVS_F32T(5, 24)), param(g, "row", AVS_F32T(24)));
    avs_val y = avs_add(g, avs_reshape(g, x, AVS_F32T(5, 4, 6)), avs_input(g, "ref", AVS_F32T(5, 1, 6)));
    avs_graph_output(g, "y", y);
}

static void twice_the_same(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(2, 4));
    avs_val a = avs_sigmoid(g, avs_reshape(g, x, AVS_F32T(8))),
            b = avs_sigmoid(g, avs_reshape(g, x, AVS_F32T(8)));
    avs_graph_output(
        g, "y", avs_add(g, avs_mul(g, a, avs_const_scalar(g, 2)), avs_mul(g, b, avs_const_scalar(g, 2))));
}

static void conv_bn_eval(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(1, 4, 4, 3));
    avs_graph_output(g, "y", bn(g, conv(g, x, "w", 8), "bn", false));
}

/* Folding must leave a weight alone that is being trained. */
static void conv_bn_eval_trained(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(1, 4, 4, 3));
    avs_backward(g, sum(g, bn(g, conv(g, x, "w", 8), "bn", false)));
}

static void bn_relu_train(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(1, 4, 4, 3));
    avs_val y = avs_relu(g, bn(g, conv(g, x, "w", 8), "bn", true));
    avs_backward(g, sum(g, avs_ew_unary(g, AVS_EW_SQUARE, y)));
}

/* The first y is wanted by w2's gradient alone, the second by that of the square too. */
static void two_conv_bn_train(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(1, 4, 4, 3));
    avs_val y = avs_relu(g, bn(g, conv(g, x, "w1", 8), "bn1", true));
    y = avs_relu(g, bn(g, conv(g, y, "w2", 8), "bn2", true));
    avs_val z = avs_ew_unary(g, AVS_EW_SQUARE, y);
    avs_backward(g, sum(g, avs_add(g, z, conv(g, y, "w3", 8))));
}

static int fuse_and_remake_bn(avs_graph *g, avs_err *e)
{
    const int rc = avs_pass_fuse_bn_relu(g, e);
    return rc == AVS_OK ? avs_pass_remake_bn(g, e) : rc;
}

static void residual_block(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(1, 4, 4, 8));
    avs_val y = avs_relu(g, avs_add(g, conv(g, x, "w1", 8), param(g, "b1", AVS_F32T(8))));
    y = avs_relu(g, avs_add(g, x, conv(g, y, "w2", 8)));
    avs_val t = avs_reshape(g, y, AVS_F32T(1, 16, 8));
    avs_val lin = avs_linear(g, t, param(g, "w3", AVS_F32T(8, 8)), 0);
    avs_graph_output(g, "y", avs_add(g, avs_reshape(g, lin, AVS_F32T(1, 4, 4, 8)), y));
}

/* A product that two read, or that is an output, keeps its value. */
static void shared_product(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(1, 4, 4, 8));
    avs_val y = conv(g, x, "w1", 8), z = conv(g, x, "w2", 8);
    avs_graph_output(g, "z", z);
    avs_graph_output(g, "sum", avs_add(g, avs_relu(g, y), avs_add(g, y, avs_relu(g, z))));
}

static void ew_chain(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(2, 6)), s = avs_input(g, "s", AVS_F32T(6)),
            r = avs_input(g, "r", AVS_F32T(2, 3, 2));
    avs_val y = avs_sub(g, x, avs_mul(g, avs_relu(g, x), s)); /* swapped: the product is the second operand */
    y = avs_add(g, avs_reshape(g, y, AVS_F32T(2, 3, 2)), r);  /* the row s cannot be seen as [2,3,2] rows   */
    avs_val q = avs_sigmoid(g, y);
    avs_graph_output(g, "y", avs_mul(g, q, avs_scale(g, r, 3)));
}

static void ew_temp(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(8)), z = avs_input(g, "z", AVS_F32T(8));
    avs_ew_attr a = {.n = 4,
                     .instr = {{.code = AVS_EW_LOAD, .arg = 1},
                               {.code = AVS_EW_EXP},
                               {.code = AVS_EW_ADD, .src = AVS_EW_STREAM, .arg = 0},
                               {.code = AVS_EW_MUL, .src = AVS_EW_STREAM, .arg = 0}},
                     .out = AVS_F32T(8)};
    avs_val t = avs_ew_unary(g, AVS_EW_TANH, x);
    avs_graph_output(g, "y", avs_graph_node(g, AVS_OP_EW, (avs_val[]){t, z}, 2, &a, NULL));
}

/* What the backward reads is made again: gelu from its operand, the normalised rows from theirs. */
static void mlp_train(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(4, 8));
    x = avs_linear(g, x, param(g, "w0", AVS_F32T(8, 8)), 0);
    avs_val n = avs_layernorm(g, x, param(g, "gamma", AVS_F32T(8)), param(g, "beta", AVS_F32T(8)), 1e-5f);
    avs_val h = avs_gelu(g, avs_linear(g, n, param(g, "w1", AVS_F32T(32, 8)), 0));
    avs_backward(g,
                 sum(g, avs_linear(g, avs_dropout(g, h, 0.5f, false), param(g, "w2", AVS_F32T(64, 32)), 0)));
}

/* Blocks on a residual stream: their inside is made again from the stream. */
static void blocks_train(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(4, 8));
    for (int i = 0; i < 4; i++) {
        avs_scope_push(g, "b%d", i);
        avs_val h = avs_relu(g, avs_linear(g, x, param(g, "up", AVS_F32T(32, 8)), 0));
        x = avs_add(g, x, avs_linear(g, h, param(g, "down", AVS_F32T(8, 32)), 0));
        avs_scope_pop(g);
    }
    avs_backward(g, sum(g, x));
}

/* Both wide values first, then both narrow ones: better one pair after the other. */
static void wide_then_narrow(avs_graph *g)
{
    avs_val x = avs_input(g, "x", AVS_F32T(4, 8));
    avs_val a = avs_softmax(g, avs_linear(g, x, param(g, "w1", AVS_F32T(64, 8)), 0));
    avs_val b = avs_softmax(g, avs_linear(g, x, param(g, "w2", AVS_F32T(64, 8)), 0));
    avs_val p = avs_linear(g, a, param(g, "v1", AVS_F32T(8, 64)), 0);
    avs_val q = avs_linear(g, b, param(g, "v2", AVS_F32T(8, 64)), 0);
    avs_graph_output(g, "y", avs_softmax(g, avs_add(g, p, q)));
}

static int recompute_all(avs_graph *g, avs_err *e)
{
    return avs_pass_recompute(g, 1, e);
}

static int every_pass(avs_graph *g, avs_err *e)
{
    return avs_pass_all(g, &(avs_pass_cfg){0}, e);
}

static int no_pass(avs_graph *g, avs_err *e)
{
    return avs_pass_all(g, &(avs_pass_cfg){.off = AVS_PASS_EVERY, .mem_budget = 1}, e);
}

typedef struct {
    const char *name;
    void (*build)(avs_graph *);
    int (*pass)(avs_graph *, avs_err *);
    bool training;
} row;

static const row rows[] = {
    {"dce", dead_branch, avs_pass_dce, false},
    {"cse", twice_the_same, avs_pass_cse, false},
    {"fold_bn", conv_bn_eval, avs_pass_fold_bn, false},
    {"fold_bn_trained", conv_bn_eval_trained, avs_pass_fold_bn, true},
    {"fuse_bn_relu", bn_relu_train, avs_pass_fuse_bn_relu, true},
    {"remake_bn", two_conv_bn_train, fuse_and_remake_bn, true},
    {"fuse_epilogue", residual_block, avs_pass_fuse_epilogue, false},
    {"fuse_epilogue_shared", shared_product, avs_pass_fuse_epilogue, false},
    {"fuse_epilogue_gelu", feed_forward, avs_pass_fuse_epilogue, false},
    {"fuse_ew", ew_chain, avs_pass_fuse_ew, false},
    {"fuse_ew_temp", ew_temp, avs_pass_fuse_ew, false},
    {"fuse_ew_reshaped", ew_reshaped, avs_pass_fuse_ew, false},
    {"fold_sum", positions, avs_pass_fold_sum, false},
    {"recompute", mlp_train, recompute_all, true},
    {"recompute_blocks", blocks_train, recompute_all, true},
    {"schedule", wide_then_narrow, avs_pass_schedule, false},
    {"all_residual_block", residual_block, every_pass, false},
    {"all_off", residual_block, no_pass, false},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static char *dump(const avs_graph *g, const char *title, char *text, size_t n)
{
    char *body = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&body, &len);
    assert_non_null(f);
    avs_graph_dump(g, f);
    fclose(f);
    snprintf(text + strlen(text), n - strlen(text), "# %s\n%s", title, body);
    free(body);
    return text;
}

static void compare(const char *name, const char *text)
{
    char path[512], want[16384] = "";
    snprintf(path, sizeof path, "%s/tests/engine/pass/golden/%s.txt", AVS_SOURCE_DIR, name);
    if (getenv("AVS_WRITE_GOLDEN")) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
    }
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("%s is missing", path);
    size_t n = fread(want, 1, sizeof want - 1, f);
    fclose(f);
    want[n] = 0;
    if (strcmp(want, text)) fail_msg("%s differs; the pass gives:\n%s", path, text);
}

static void passes_rewrite_graphs_as_recorded(void **state)
{
    (void)state;
    for (int i = 0; i < N_ROWS; i++) {
        static char text[16384];
        avs_err e = AVS_ERR_INIT;
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, rows[i].training);
        rows[i].build(g);
        if (avs_graph_check(g, &e) != AVS_OK) fail_msg("%s: %s", rows[i].name, e.msg);
        text[0] = 0;
        dump(g, "before", text, sizeof text);
        if (rows[i].pass(g, &e) != AVS_OK) fail_msg("%s: %s", rows[i].name, e.msg);
        dump(g, "after", text, sizeof text);
        compare(rows[i].name, text);
        avs_arena_free(a);
    }
}

/* Each operand is made before it is read, and each value knows its node. */
static void passes_leave_topological_order(void **state)
{
    (void)state;
    for (int i = 0; i < N_ROWS; i++) {
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, rows[i].training);
        rows[i].build(g);
        assert_int_equal(rows[i].pass(g, NULL), AVS_OK);
        for (uint32_t n = 1; n < g->n_node; n++) {
            assert_int_not_equal(g->node[n].op, AVS_OP_NONE);
            for (int k = 0; k < g->node[n].n_out; k++) assert_int_equal(g->v[g->node[n].out[k]].node, n);
            for (int k = 0; k < g->node[n].n_in; k++) {
                avs_val v = g->node[n].in[k];
                if (v && g->v[v].view_of) v = g->v[v].view_of;
                if (v && g->v[v].kind == AVS_V_TMP) assert_true(g->v[v].node < n);
                if (v) assert_int_not_equal(g->v[v].kind, AVS_V_NONE);
            }
        }
        avs_arena_free(a);
    }
}

static void a_second_round_of_passes_changes_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < N_ROWS; i++) {
        static char first[16384], second[16384];
        first[0] = second[0] = 0;
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, rows[i].training);
        rows[i].build(g);
        assert_int_equal(every_pass(g, NULL), AVS_OK);
        dump(g, "x", first, sizeof first);
        assert_int_equal(every_pass(g, NULL), AVS_OK);
        assert_string_equal(dump(g, "x", second, sizeof second), first);
        avs_arena_free(a);
    }
}

static void pass_names_are_read_and_wrong_ones_are_told_the_names(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    unsigned off = 0;
    assert_int_equal(avs_pass_parse("cse,schedule", &off, &e), AVS_OK);
    assert_int_equal(off, AVS_PASS_CSE | AVS_PASS_SCHEDULE);
    assert_int_equal(avs_pass_parse("all", &off, &e), AVS_OK);
    assert_int_equal(off, AVS_PASS_EVERY);
    const char *const wrong[] = {"", "cse,", "cse,,dce", "CSE", "cs", "inlining"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(avs_pass_parse(wrong[i], &off, &e), AVS_EPARSE);
    assert_string_equal(
        e.msg, "there is no pass 'inlining'; the names are all, dce, cse, fold_bn, fold_sum, fuse_bn_relu, "
               "remake_bn, recompute, fuse_epilogue, fuse_ew, bucket, schedule");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_rewrite_graphs_as_recorded),
        cmocka_unit_test(passes_leave_topological_order),
        cmocka_unit_test(a_second_round_of_passes_changes_nothing),
        cmocka_unit_test(pass_names_are_read_and_wrong_ones_are_told_the_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
