/* The container: names, scopes, views, freezing, counts, copies, and the text of a graph. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/graph/ops.h"

static const avs_init ZERO = {AVS_INIT_ZERO, 0, 0, 0};

static int set_up(void **state)
{
    avs_arena *a = avs_arena_new();
    *state = avs_graph_new(a, true);
    return *state ? 0 : -1;
}

static int tear_down(void **state)
{
    avs_arena_free(((avs_graph *)*state)->arena);
    return 0;
}

/* The dump as a string; free() it. */
static char *dump(const avs_graph *g)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    avs_graph_dump(g, f);
    fclose(f);
    return text;
}

static avs_val small_model(avs_graph *g)
{
    avs_val x = avs_input(g, "frames", AVS_F32T(2, 8, 8, 3));
    avs_scope_push(g, "backbone");
    x = avs_conv2d(g, x, avs_param(g, "conv1.weight", AVS_F32T(4, 3, 3, 3), ZERO), 0, 2, 1, 1, 1);
    avs_scope_push(g, "bn%d", 1);
    x = avs_batchnorm(g, x, avs_param(g, "weight", AVS_F32T(4), ZERO),
                      avs_param(g, "bias", AVS_F32T(4), ZERO),
                      avs_buffer(g, "running_mean", AVS_F32T(4), ZERO),
                      avs_buffer(g, "running_var", AVS_F32T(4), ZERO), 1e-5f, 0.1f, g->training);
    avs_scope_pop(g);
    x = avs_pool_max(g, avs_relu(g, x), 3, 2, 1);
    avs_scope_pop(g);
    x = avs_reshape(g, x, AVS_F32T(2, 4, 4)); /* tokens */
    avs_val w = avs_param(g, "in_proj_weight", AVS_F32T(8, 4), ZERO);
    avs_val q = avs_linear(g, x, avs_slice(g, w, 0, 0, 4), 0),
            k = avs_linear(g, x, avs_slice(g, w, 0, 4, 4), 0);
    avs_val s = avs_softmax(
        g, avs_matmul(g, q, k,
                      (avs_matmul_attr){.tb = 1, .a_split = 1, .b_split = 1, .heads = 2, .alpha = 0.5f}));
    return avs_reduce(g, avs_reshape(g, avs_scale(g, s, 3), AVS_F32T(64)), 0, 1, true);
}

static const char FORWARD[] =
    "%3 = conv2d(frames, backbone.conv1.weight) {k3x3 s2 p1} f32[2,4,4,4] @backbone\n"
    "%8,%9,%10,%11,%12 = batchnorm(%3, backbone.bn1.weight, backbone.bn1.bias, backbone.bn1.running_mean, "
    "backbone.bn1.running_var) {eps 9.99999975e-06} f32[2,4,4,4] f32[4] f32[4] f32[4] f32[4] @backbone.bn1\n"
    "%13 = ew(%8) {load $0; relu} f32[2,4,4,4] @backbone\n"
    "%14,%15 = pool_max(%13) {k3 s2 p1} f32[2,2,2,4] u8[2,2,2,4] @backbone\n"
    "%19 = matmul(%14:[2,4,4], in_proj_weight:[4,4]) {nt} f32[2,4,4]\n"
    "%21 = matmul(%14:[2,4,4], in_proj_weight:[4,4]+16) {nt} f32[2,4,4]\n"
    "%22 = matmul(%19, %21) {nt h2 ab- alpha 0.5} f32[2,2,4,4]\n"
    "%23 = softmax(%22) f32[2,2,4,4]\n"
    "%24 = ew(%23) {load $0; mul 3} f32[2,2,4,4]\n"
    "%26 = reduce(%24:[64]) {mean 0..1} f32[1]\n";
static const char ENDS[] = "output loss = %26\n"
                           "update backbone.bn1.running_mean = %11\n"
                           "update backbone.bn1.running_var = %12\n";

static void the_dump_is_one_stable_line_per_node(void **state)
{
    avs_graph *g = *state;
    char want[2048];
    avs_val loss = small_model(g);
    avs_graph_output(g, "loss", loss);
    assert_int_equal(avs_graph_check(g, NULL), AVS_OK);
    snprintf(want, sizeof(want), "%s%s", FORWARD, ENDS);
    char *text = dump(g);
    assert_string_equal(text, want);
    free(text);
}

static void the_backward_appends_and_names_gradients(void **state)
{
    avs_graph *g = *state;
    avs_graph_freeze(g, "backbone.");
    assert_int_equal(avs_backward(g, small_model(g)), AVS_OK);
    char *text = dump(g);
    assert_memory_equal(text, FORWARD, sizeof(FORWARD) - 1);
    assert_string_equal(text + sizeof(FORWARD) - 1,
                        "%28 = ew(1) {load $0; div 64} f32[1]\n"
                        "%29 = ew(%28) {load $0} f32[64]\n"
                        "%31 = ew(%29:[2,2,4,4]) {load $0; mul 3} f32[2,2,4,4]\n"
                        "%32 = softmax_bwd(%31, %23) f32[2,2,4,4]\n"
                        "%33 = matmul(%32, %21) {nn h2 -bc alpha 0.5} f32[2,4,4]\n"
                        "%34 = matmul(%32, %19) {tn h2 -bc alpha 0.5} f32[2,4,4]\n"
                        "%37 = matmul(%34:[8,4], %14:[8,4]) {tn} f32[4,4]\n"
                        "%40 = matmul(%33:[8,4], %14:[8,4]) {tn} f32[4,4]\n"
                        "%43 = concat(%40:[16], %37:[16]) {axis 0} f32[32]\n"
                        "output grad:in_proj_weight = %43:[8,4]\n"
                        "update backbone.bn1.running_mean = %11\n"
                        "update backbone.bn1.running_var = %12\n");
    free(text);
}

static void a_clone_is_deep_and_equal(void **state)
{
    avs_graph *g = *state;
    avs_arena *a = avs_arena_new();
    avs_graph_freeze(g, "head.");
    avs_val y = small_model(g);
    avs_scope_push(g, "inner");
    avs_tap(g, "/loss_tap", y);
    avs_scope_pop(g);
    avs_val c0 = avs_const(g, AVS_F32T(2), (float[]){1, 2});
    avs_graph *c = avs_graph_clone(g, a);
    assert_non_null(c);
    char *before = dump(g), *copy = dump(c);
    assert_string_equal(before, copy);
    assert_ptr_not_equal(c->v[c0].data, g->v[c0].data);
    assert_string_equal(c->tap[0].name, "loss_tap");
    avs_val p = avs_param(c, "head.weight", AVS_F32T(3), ZERO); /* frozen prefixes come along */
    assert_true(c->v[p].is_frozen);
    avs_softmax(c, p);
    char *after = dump(g);
    assert_string_equal(before, after);
    assert_int_equal(avs_graph_find(g, "head.weight"), 0);
    free(before), free(copy), free(after);
    avs_arena_free(a);
}

static void a_clone_outlives_its_original(void **state)
{
    avs_arena *a = avs_arena_new(), *b = avs_arena_new();
    avs_graph *g = avs_graph_new(a, true), *c;
    (void)state;
    avs_graph_output(g, "loss", small_model(g));
    avs_add(g, avs_input(g, "x", AVS_F32T(2)), avs_const(g, AVS_F32T(2), (float[]){1, 2}));
    assert_int_equal(avs_backward(g, avs_graph_find_output(g, "loss")), AVS_OK);
    char *before = dump(g);
    c = avs_graph_clone(g, b);
    for (uint32_t i = 1; i < g->n_node; i++) assert_ptr_not_equal(c->node[i].attr, g->node[i].attr);
    avs_arena_free(a);
    char *after = dump(c);
    assert_string_equal(before, after);
    assert_int_not_equal(avs_graph_find_output(c, "grad:in_proj_weight"), 0);
    free(before), free(after);
    avs_arena_free(b);
}

static void scopes_make_keys_and_pop_what_was_pushed(void **state)
{
    avs_graph *g = *state;
    avs_scope_push(g, "layer1.%d", 0);
    avs_scope_push(g, "conv1");
    avs_val w = avs_param(g, "weight", AVS_F32T(2), ZERO);
    assert_string_equal(g->v[w].name, "layer1.0.conv1.weight");
    avs_scope_pop(g);
    assert_string_equal(g->scope, "layer1.0");
    avs_scope_pop(g);
    assert_string_equal(g->scope, "");
    assert_int_equal(avs_graph_find(g, "layer1.0.conv1.weight"), w);
    assert_int_equal(avs_param(g, "layer1.0.conv1.weight", AVS_F32T(2), ZERO), w);
    avs_scope_pop(g);
    assert_int_equal(avs_graph_check(g, NULL), AVS_ERANGE);
}

static void views_of_views_lead_to_the_root(void **state)
{
    avs_graph *g = *state;
    avs_val x = avs_input(g, "x", AVS_F32T(6, 4));
    avs_val a = avs_slice(g, x, 0, 2, 4), b = avs_reshape(g, a, AVS_F32T(2, 8)), c = avs_slice(g, b, 0, 1, 1);
    assert_int_equal(g->v[c].view_of, x);
    assert_int_equal(g->v[c].view_off, 16);
    assert_int_equal(g->n_node, 1);
    assert_int_equal(avs_reshape(g, avs_reshape(g, x, AVS_F32T(24)), AVS_F32T(6, 4)), x);
    assert_int_not_equal(avs_slice(g, x, 1, 0, 2), 0);
    assert_int_equal(g->n_node, 2); /* not in one piece: a node */
    assert_int_not_equal(avs_permute(g, avs_reshape(g, x, AVS_F32T(6, 1, 4)), (int[]){1, 0, 2}), 0);
    assert_int_equal(g->n_node, 2); /* only an extent of 1 moves: free */
}

static void freezing_reaches_parameters_made_before_and_after(void **state)
{
    avs_graph *g = *state;
    avs_val a = avs_param(g, "vggish.a", AVS_F32T(10), ZERO);
    avs_graph_freeze(g, "vggish.");
    avs_val b = avs_param(g, "vggish.b", AVS_F32T(20), ZERO), c = avs_param(g, "vgg", AVS_F32T(40), ZERO);
    avs_buffer(g, "running", AVS_F32T(80), ZERO);
    assert_true(g->v[a].is_frozen && g->v[b].is_frozen && !g->v[c].is_frozen);
    assert_int_equal(avs_graph_param_count(g, false), 70);
    assert_int_equal(avs_graph_param_count(g, true), 40);
}

static void macs_count_convolutions_linear_layers_and_attention(void **state)
{
    avs_graph *g = *state;
    small_model(g);
    int64_t conv = 2 * 4 * 4 * 4 * 27, linear = 2 * (2 * 4 * 4 * 4), attention = 2 * 2 * 4 * 4 * 2;
    assert_int_equal(avs_graph_macs(g), conv + linear + attention);
    avs_val x = avs_input(g, "low", AVS_F32T(2, 3, 5, 4));
    x = avs_conv_transpose2d(g, x, avs_param(g, "up", AVS_F32T(4, 6, 4, 4), ZERO), 0, 2, 1);
    assert_int_equal(avs_dim(g, x, 1), 6);
    assert_int_equal(avs_dim(g, x, 2), 10);
    assert_int_equal(avs_dim(g, x, 3), 6);
    assert_int_equal(avs_graph_macs(g), conv + linear + attention + 2 * 3 * 5 * 4 * 6 * 16);
}

static void branches_that_no_output_needs_are_declared_but_not_counted(void **state)
{
    avs_graph *g = *state;
    avs_val x = avs_input(g, "x", AVS_F32T(3, 8)), w = avs_param(g, "w", AVS_F32T(5, 8), ZERO),
            idle = avs_param(g, "idle", AVS_F32T(7, 8), ZERO);
    avs_val part = avs_slice(g, w, 0, 0, 2); /* a view needs the whole parameter */
    avs_linear(g, x, idle, 0);
    avs_val y = avs_linear(g, x, part, 0);
    assert_int_equal(avs_graph_macs(g), 3 * 8 * 7 + 3 * 8 * 2);
    assert_int_equal(avs_graph_param_used(g), 96);
    avs_graph_output(g, "y", y);
    assert_int_equal(avs_graph_macs(g), 3 * 8 * 2);
    assert_int_equal(avs_graph_param_used(g), 40);
    assert_int_equal(avs_graph_param_count(g, false), 96);
}

static void outputs_have_one_value_per_name(void **state)
{
    avs_graph *g = *state;
    avs_val x = avs_input(g, "x", AVS_F32T(2));
    assert_int_equal(avs_graph_output(g, "y", x), AVS_OK);
    assert_int_equal(avs_graph_find_output(g, "y"), x);
    assert_int_equal(avs_graph_find_output(g, "z"), 0);
    assert_int_equal(avs_graph_output(g, "y", x), AVS_ERANGE);
}

static void dropout_streams_differ_by_scope_and_ordinal(void **state)
{
    avs_graph *g = *state;
    avs_val x = avs_input(g, "x", AVS_F32T(2, 3));
    uint32_t s[3];
    for (int i = 0; i < 3; i++) {
        if (i == 2) avs_scope_push(g, "enc");
        avs_dropout(g, x, 0.5f, false);
        s[i] = ((const avs_dropout_attr *)g->node[g->n_node - 1].attr)->stream;
    }
    assert_true(s[0] != s[1] && s[1] != s[2] && s[0] != s[2]);
    assert_int_equal(avs_dropout(g, x, 0, false), x);
    g->training = false;
    assert_int_equal(avs_dropout(g, x, 0.5f, false), x);
}

static void running_out_of_memory_anywhere_is_an_error(void **state)
{
    int rc = AVS_ENOMEM;
    long n = 0;
    (void)state;
    while (rc != AVS_OK && ++n < 10000) {
        avs_alloc_fail_after(n);
        avs_arena *a = avs_arena_new(), *b = avs_arena_new();
        avs_graph *g = a && b ? avs_graph_new(a, true) : NULL;
        avs_graph *c = NULL;
        rc = AVS_ENOMEM;
        if (g) {
            for (int i = 0; i < 200; i++) avs_softmax(g, avs_input(g, "x", AVS_F32T(1000)));
            rc = avs_backward(g, small_model(g));
            if (rc == AVS_OK) c = avs_graph_clone(g, b);
            if (rc == AVS_OK && !c) rc = AVS_ENOMEM;
        }
        avs_alloc_fail_after(0);
        if (rc != AVS_OK) assert_int_equal(rc, AVS_ENOMEM);
        avs_arena_free(a);
        avs_arena_free(b);
    }
    assert_in_range(n, 5, 9999);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_dump_is_one_stable_line_per_node),
        TEST(the_backward_appends_and_names_gradients),
        TEST(a_clone_is_deep_and_equal),
        TEST(a_clone_outlives_its_original),
        TEST(scopes_make_keys_and_pop_what_was_pushed),
        TEST(views_of_views_lead_to_the_root),
        TEST(freezing_reaches_parameters_made_before_and_after),
        TEST(macs_count_convolutions_linear_layers_and_attention),
        TEST(branches_that_no_output_needs_are_declared_but_not_counted),
        TEST(outputs_have_one_value_per_name),
        TEST(dropout_streams_differ_by_scope_and_ordinal),
        TEST(running_out_of_memory_anywhere_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
