/* Types of results, and the messages of operands that do not fit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "engine/graph/ops.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* A fresh input of the extents given; every call has its own name. */
static avs_val in(avs_graph *g, avs_type t)
{
    char name[32];
    snprintf(name, sizeof(name), "in%u", g->n_v);
    return avs_input(g, name, t);
}
#define IN(...)  in(g, AVS_F32T(__VA_ARGS__))
#define INI(...) in(g, AVS_TYPE(AVS_I32, __VA_ARGS__))

static avs_val node(avs_graph *g, int op, const void *attr, int n, const avs_val *x)
{
    return avs_graph_node(g, op, x, n, attr, NULL);
}
#define NODE(op, attr, ...)                                                                                  \
    node(g, AVS_OP_##op, (attr), (int)(sizeof((avs_val[]){__VA_ARGS__}) / sizeof(avs_val)),                  \
         (avs_val[]){__VA_ARGS__})

static const avs_conv_attr CONV = {.sh = 2,
                                   .sw = 2,
                                   .ph = 1,
                                   .pw = 1,
                                   .dh = 1,
                                   .dw = 1,
                                   .groups = 1,
                                   .kh = 3,
                                   .kw = 3,
                                   .in_h = 7,
                                   .in_w = 5};
static const avs_pool_attr POOL = {.k = 3, .s = 2, .p = 1, .in_h = 7, .in_w = 5};
static const avs_resize_attr RESIZE = {.in_h = 7, .in_w = 5, .out_h = 3, .out_w = 4};
static const avs_norm_attr GROUPS = {.eps = 1e-5f, .groups = 4};
static const avs_msdeform_attr DEFORM = {.heads = 2, .levels = 2, .points = 3, .h = {3, 1}, .w = {2, 2}};
static const avs_matmul_attr HEADS = {.tb = 1, .a_split = 1, .b_split = 1, .heads = 2, .alpha = 1};
static const avs_gather_attr ROWS = {.rows = 9};
static const avs_loss_attr CE = {.kind = AVS_LOSS_CE};
static const avs_set_loss_attr SETS = {.points = 4, .candidates = 12, .uncertain = 3};

/* ---------------------------------------------------------------- good */

static avs_val good(avs_graph *g, int i)
{
    switch (i) {
    case 0:
        return avs_conv2d(g, IN(2, 224, 224, 3), IN(64, 3, 7, 7), IN(64), 2, 3, 1, 1);
    case 1:
        return avs_conv2d(g, IN(1, 9, 9, 8), IN(8, 1, 3, 3), 0, 1, 0, 4, 8);
    case 2:
        return NODE(CONV2D_BWD_X, &CONV, IN(2, 4, 3, 6), IN(6, 4, 3, 3));
    case 3:
        return NODE(CONV2D_BWD_W, &CONV, IN(2, 7, 5, 4), IN(2, 4, 3, 6));
    case 4:
        return avs_linear(g, IN(2, 5, 7, 3), IN(4, 3), IN(4));
    case 5:
        return avs_matmul(g, IN(2, 3, 4, 5), IN(2, 3, 5, 6), (avs_matmul_attr){0});
    case 6:
        return NODE(MATMUL, &HEADS, IN(2, 5, 8), IN(2, 7, 8));
    case 7:
        return avs_softmax(g, IN(3, 4));
    case 8:
        return avs_layernorm(g, IN(3, 4, 5), IN(5), IN(5), 1e-5f);
    case 9:
        return avs_groupnorm(g, IN(3, 4, 8), IN(8), IN(8), 4, 1e-5f);
    case 10:
        return avs_pool_max(g, IN(1, 112, 112, 64), 3, 2, 1);
    case 11:
        return NODE(RESIZE_BWD, &RESIZE, IN(2, 3, 4, 6));
    case 12:
        return avs_msdeform(g, IN(2, 8, 6), IN(2, 5, 24), IN(2, 5, 12), &DEFORM);
    case 13:
        return avs_add(g, IN(5), IN(2, 3, 5));
    case 14:
        return avs_mul(g, INI(2, 1, 5), IN(2, 3, 1));
    case 15:
        return avs_reduce(g, IN(2, 3, 4), 1, 3, false);
    case 16:
        return avs_concat(g, (avs_val[]){IN(2, 1, 4), IN(2, 5, 4)}, 2, 1);
    case 17:
        return avs_slice(g, IN(2, 5, 4), 1, 1, 3);
    case 18:
        return avs_pad(g, IN(2, 5, 4), 2, 1, 2);
    case 19:
        return avs_permute(g, IN(2, 5, 4), (int[]){2, 0, 1});
    case 20:
        return avs_loss(g, IN(2, 3, 4, 7), INI(2, 3, 4), CE);
    case 21:
        return avs_row_mean(g, IN(6), IN(6));
    case 22:
        return avs_expand(g, IN(1, 1, 4), AVS_F32T(2, 3, 4));
    case 23:
        return avs_linear(g, IN(3), IN(4, 3), 0);
    case 24:
        return NODE(POOL_MAX_BWD, &POOL, IN(1, 4, 3, 2), in(g, AVS_TYPE(AVS_U8, 1, 4, 3, 2)));
    case 25:
        return avs_gather_rows(g, IN(2, 9, 4), INI(13));
    case 26:
        return NODE(GATHER_ROWS_BWD, &ROWS, IN(2, 13, 4), INI(13));
    case 27:
        return avs_row_max(g, IN(2, 9, 4), NULL);
    case 28:
        return NODE(ROW_MAX_BWD, &ROWS, IN(2, 4), INI(2, 4));
    case 29:
        return avs_set_loss(g, (avs_val[7]){IN(2, 5, 4), IN(2, 5, 6, 7), INI(2, 9, 8), IN(2)}, SETS).cost;
    default:
        return 0;
    }
}
static const char *const GOOD[] = {
    "f32[2,112,112,64]", "f32[1,1,1,8]", "f32[2,7,5,4]", "f32[6,4,3,3]", "f32[2,5,7,4]",    "f32[2,3,4,6]",
    "f32[2,2,5,7]",      "f32[3,4]",     "f32[3,4,5]",   "f32[3,4,8]",   "f32[1,56,56,64]", "f32[2,7,5,6]",
    "f32[2,5,6]",        "f32[2,3,5]",   "f32[2,3,5]",   "f32[2,1,1]",   "f32[2,6,4]",      "f32[2,3,4]",
    "f32[2,5,7]",        "f32[4,2,5]",   "f32[2]",       "f32[1]",       "f32[2,3,4]",      "f32[4]",
    "f32[1,7,5,2]",      "f32[2,13,4]",  "f32[2,9,4]",   "f32[2,4]",     "f32[2,9,4]",      "f32[2,5,3]"};

static void results_have_the_types_of_the_op_list(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(GOOD); i++) {
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, true);
        char text[64];
        avs_val y = good(g, i);
        if (!y) fail_msg("case %d: %s", i, g->err.msg);
        assert_string_equal(avs_type_text(avs_t(g, y), text, sizeof(text)), GOOD[i]);
        avs_arena_free(a);
    }
}

static void norms_and_pools_have_their_other_results(void **state)
{
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, true);
    avs_val o[AVS_MAX_OUT];
    char text[64];
    (void)state;
    avs_graph_node(g, AVS_OP_LAYERNORM, (avs_val[]){IN(3, 4, 5), IN(5), IN(5)}, 3, &GROUPS, o);
    assert_string_equal(avs_type_text(avs_t(g, o[2]), text, sizeof(text)), "f32[3,4]");
    avs_graph_node(g, AVS_OP_GROUPNORM, (avs_val[]){IN(3, 4, 8), IN(8), IN(8)}, 3, &GROUPS, o);
    assert_string_equal(avs_type_text(avs_t(g, o[1]), text, sizeof(text)), "f32[3,4]");
    avs_graph_node(g, AVS_OP_BATCHNORM, (avs_val[]){IN(3, 8), IN(8), IN(8), IN(8), IN(8)}, 5, &GROUPS, o);
    assert_string_equal(avs_type_text(avs_t(g, o[4]), text, sizeof(text)), "f32[8]");
    avs_graph_node(g, AVS_OP_POOL_MAX, (avs_val[]){IN(1, 7, 5, 2)}, 1, &POOL, o);
    assert_string_equal(avs_type_text(avs_t(g, o[1]), text, sizeof(text)), "u8[1,4,3,2]");
    avs_arena_free(a);
}

/* ---------------------------------------------------------------- bad */

static avs_val bad(avs_graph *g, int i)
{
    avs_ew_attr p = {.n = 2,
                     .instr = {{.code = AVS_EW_LOAD}, {.code = AVS_EW_ADD, .src = AVS_EW_STREAM, .arg = 1}}};
    avs_conv_attr c = CONV;
    avs_init zero = {AVS_INIT_ZERO, 0, 0, 0};
    p.out = AVS_F32T(2, 3);
    switch (i) {
    case 0:
        return avs_conv2d(g, IN(1, 8, 8, 3), IN(4, 2, 3, 3), 0, 1, 1, 1, 1);
    case 1:
        return avs_conv2d(g, IN(1, 2, 2, 3), IN(4, 3, 3, 3), 0, 1, 0, 1, 1);
    case 2:
        return avs_conv2d(g, IN(1, 8, 8, 3), IN(4, 3, 3, 3), IN(5), 1, 1, 1, 1);
    case 3:
        return avs_conv2d(g, IN(8, 8, 3), IN(4, 3, 3, 3), 0, 1, 1, 1, 1);
    case 4:
        return avs_conv2d(g, IN(1, 8, 8, 3), IN(4, 3, 3, 3), 0, 0, 1, 1, 1);
    case 5:
        return NODE(CONV2D_BWD_X, &CONV, IN(2, 4, 4, 6), IN(6, 4, 3, 3));
    case 6:
        c.kh = 5;
        return NODE(CONV2D_BWD_X, &c, IN(2, 4, 3, 6), IN(6, 4, 3, 3));
    case 7:
        return avs_linear(g, IN(2, 5), IN(4, 3), 0);
    case 8:
        return avs_matmul(g, IN(2, 4, 5), IN(3, 5, 6), (avs_matmul_attr){0});
    case 9:
        return avs_matmul(g, IN(2, 4, 6), IN(2, 4, 6),
                          (avs_matmul_attr){.heads = 4, .a_split = 1, .b_split = 1});
    case 10:
        return avs_matmul(g, IN(2, 4, 6), IN(2, 4, 6), (avs_matmul_attr){.a_split = 1});
    case 11:
        return avs_layernorm(g, IN(3, 4), IN(3), IN(4), 1e-5f);
    case 12:
        return avs_groupnorm(g, IN(3, 6), IN(6), IN(6), 4, 1e-5f);
    case 13:
        return avs_batchnorm(g, IN(1, 1, 1, 4), IN(4), IN(4), IN(4), IN(4), 1e-5f, 0.1f, true);
    case 14:
        return avs_pool_max(g, IN(1, 8, 8, 2), 3, 2, 2);
    case 15:
        return avs_resize(g, IN(1, 8, 8, 2), 0, 4, AVS_RESIZE_BILINEAR, false);
    case 16:
        return avs_msdeform(g, IN(2, 9, 6), IN(2, 5, 24), IN(2, 5, 12), &DEFORM);
    case 17:
        return avs_add(g, IN(2, 3), IN(2, 4));
    case 18:
        return avs_add(g, IN(2, 3, 2), IN(1, 3, 1)); /* two runs */
    case 19:
        p.instr[1].arg = 2;
        return NODE(EW, &p, IN(2, 3), IN(2, 3));
    case 20:
        p.instr[1].src = AVS_EW_TEMP;
        return NODE(EW, &p, IN(2, 3), IN(2, 3));
    case 21:
        p.n = 17;
        return NODE(EW, &p, IN(2, 3), IN(2, 3));
    case 22:
        return avs_reduce(g, IN(2, 3), 1, 3, false);
    case 23:
        return avs_concat(g, (avs_val[]){IN(2, 3), IN(3, 3)}, 2, 1);
    case 24:
        return avs_slice(g, IN(2, 3), 1, 2, 2);
    case 25:
        return avs_pad(g, IN(2, 3), 2, 1, 0);
    case 26:
        return avs_permute(g, IN(2, 3), (int[]){0, 0});
    case 27:
        return avs_dropout(g, IN(2, 3), 1, false);
    case 28:
        return avs_loss(g, IN(2, 3), INI(2, 3), CE);
    case 29:
        return avs_loss(g, IN(2, 3), IN(2), CE);
    case 30:
        return avs_reshape(g, IN(2, 3), AVS_F32T(7));
    case 31:
        return avs_add(g, IN(2, 3), 0);
    case 32:
        return avs_softmax(g, INI(2, 3));
    case 33:
        return avs_input(g, "empty", AVS_F32T(2, 0));
    case 34:
        return avs_param(g, "w", AVS_F32T(2), zero) ? avs_param(g, "w", AVS_F32T(3), zero) : 0;
    case 35:
        return avs_graph_view(g, IN(2, 3), AVS_F32T(3), 4);
    case 36:
        return avs_ew_unary(g, AVS_EW_ADD, IN(2));
    case 37:
        return avs_ew_imm(g, AVS_EW_RELU, IN(2), 1);
    case 38:
        return avs_const(g, AVS_TYPE(AVS_U8, 1), "x");
    case 39:
        return avs_matmul(g, IN(2, 4, 5), IN(2, 3, 4, 5), (avs_matmul_attr){0});
    case 40:
        return avs_gather_rows(g, IN(2, 9, 4), IN(13));
    case 41:
        return avs_gather_rows(g, IN(2, 3, 4), avs_const(g, AVS_TYPE(AVS_I32, 2), (int32_t[]){-1, 3}));
    case 42:
        return NODE(GATHER_ROWS_BWD, &ROWS, IN(2, 9, 4), INI(13));
    default:
        return 0;
    }
}
static const struct {
    avs_code code;
    const char *says;
} BAD[] = {{AVS_ESHAPE, "3 channels in 1 groups do not fit weights of 4 outputs and 2 inputs"},
           {AVS_ESHAPE, "a map of 2x2 is too small for a kernel of 3x3"},
           {AVS_ESHAPE, "operand 2 is f32[5], not a vector of 4"},
           {AVS_ESHAPE, "operand 0 has rank 3, not 4"},
           {AVS_ERANGE, "stride 0x0"},
           {AVS_ESHAPE, "operand 0 is f32[2,4,4,6], not f32[2,4,3,6]"},
           {AVS_ESHAPE, "the kernel is 5x3, the weights are 3x3"},
           {AVS_ESHAPE, "the inner extents are 5 and 3"},
           {AVS_ESHAPE, "batch axis 0 is 2 and 3"},
           {AVS_ESHAPE, "operand 0 does not hold 4 heads"},
           {AVS_ERANGE, "split operands want heads > 0"},
           {AVS_ESHAPE, "operand 1 is f32[3], not a vector of 4"},
           {AVS_ESHAPE, "6 channels do not fall into 4 groups"},
           {AVS_ESHAPE, "batch statistics want more than one value per channel"},
           {AVS_ERANGE, "padding 2 (at most half a window)"},
           {AVS_ERANGE, "8x8 to 0x4 are not positive"},
           {AVS_ESHAPE, "value has 9 rows, the levels have 8"},
           {AVS_ESHAPE, "operand 0 f32[2,3] does not spread over f32[2,4]"},
           {AVS_ESHAPE, "in one run of axes"},
           {AVS_ERANGE, "instruction 1 reads stream 2 of 2"},
           {AVS_ERANGE, "reads temp 1 before it is saved"},
           {AVS_ERANGE, "1 to 16 instructions"},
           {AVS_ERANGE, "axes 1 to 3 do not lie inside rank 2"},
           {AVS_ESHAPE, "operand 1 is f32[3,3], not f32[2,3]"},
           {AVS_ERANGE, "2 elements from 2 do not lie inside extent 3"},
           {AVS_ERANGE, "axis 2 does not lie inside rank 2"},
           {AVS_ERANGE, "makes no permutation of 2 axes"},
           {AVS_ERANGE, "p is 1, not in [0,1)"},
           {AVS_ESHAPE, "differ in elements"},
           {AVS_ESHAPE, "should be i32 classes"},
           {AVS_ESHAPE, "f32[7] does not hold the elements of f32[2,3]"},
           {AVS_EMISSING, "ew: operand 1 is missing"},
           {AVS_ESHAPE, "operand 0 is i32, not f32"},
           {AVS_ESHAPE, "input empty: f32[2,0]"},
           {AVS_ESHAPE, "parameter enc.w f32[3] was made before as parameter f32[2]"},
           {AVS_ESHAPE, "f32[3] from element 4 does not lie inside f32[2,3]"},
           {AVS_ERANGE, "is not unary"},
           {AVS_ERANGE, "is not binary"},
           {AVS_ESHAPE, "neither f32 nor i32"},
           {AVS_ESHAPE, "two operands of rank 3 or 4"},
           {AVS_ESHAPE, "operand 1 is f32, not i32"},
           {AVS_ERANGE, "index 3 at place 1, the table has 3 rows"},
           {AVS_ESHAPE, "operand 0 has 9 rows, the index has 13"}};

static void operands_that_do_not_fit_are_named_with_scope_and_extents(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(BAD); i++) {
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, true);
        avs_err e = AVS_ERR_INIT;
        avs_scope_push(g, "enc");
        if (bad(g, i)) fail_msg("case %d was accepted", i);
        if (avs_graph_check(g, &e) != (int)BAD[i].code || !strstr(e.msg, BAD[i].says) ||
            !strstr(e.msg, "in 'enc'"))
            fail_msg("case %d: code %d, '%s' should say '%s'", i, (int)e.code, e.msg, BAD[i].says);
        avs_arena_free(a);
    }
}

static void the_first_error_stays_and_later_builders_return_none(void **state)
{
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, true);
    avs_err e = AVS_ERR_INIT;
    (void)state;
    avs_val x = IN(2, 3), y = avs_linear(g, x, IN(4, 5), 0);
    assert_int_equal(avs_dim(g, y, 1), 1); /* extents of none are 1: divisions by them are safe */
    avs_val z = avs_softmax(g, avs_relu(g, y));
    avs_reshape(g, z, AVS_F32T(99));
    assert_int_equal(z, 0);
    assert_int_equal(avs_graph_output(g, "z", z), AVS_ESHAPE);
    assert_int_equal(avs_backward(g, z), AVS_ESHAPE);
    avs_graph_check(g, &e);
    assert_string_equal(e.msg, "matmul(f32[2,3], f32[4,5]): the inner extents are 3 and 5");
    avs_arena_free(a);
}

static void broadcasting_gives_the_run_of_axes(void **state)
{
    const avs_type out = AVS_F32T(2, 3, 5);
    const avs_type from[] = {AVS_F32T(2, 3, 5), AVS_F32T(5),       AVS_F32T(2, 1, 5),
                             AVS_F32T(2, 3, 1), AVS_F32T(2, 1, 1), AVS_F32T(1)};
    const int want[][2] = {{1, 30}, {6, 5}, {3, 5}, {5, 1}, {15, 1}, {30, 1}};
    (void)state;
    for (int i = 0; i < COUNT(from); i++) {
        int64_t mid = 0, inner = 0;
        assert_true(avs_ew_broadcast(&from[i], &out, &mid, &inner));
        assert_int_equal(mid, want[i][0]);
        assert_int_equal(inner, want[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_have_the_types_of_the_op_list),
        cmocka_unit_test(norms_and_pools_have_their_other_results),
        cmocka_unit_test(operands_that_do_not_fit_are_named_with_scope_and_extents),
        cmocka_unit_test(the_first_error_stays_and_later_builders_return_none),
        cmocka_unit_test(broadcasting_gives_the_run_of_axes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
