/* Sizes of the light backbones against the figures that were measured on the reference implementations. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "models/backbones/backbones.h"

typedef struct {
    avs_arena *arena;
    avs_graph *g;
    avs_val out[4];
    int n_out;
} net;

static net seaformer(char variant, int side, bool training)
{
    net n = {.arena = avs_arena_new()};
    n.g = avs_graph_new(n.arena, training);
    avs_val x = avs_input(n.g, "frames", AVS_F32T(training ? 2 : 1, side, side, 3));
    n.n_out = avs_seaformer(n.g, variant, x, training ? 0.1F : 0.F, n.out);
    return n;
}

static int count(const avs_graph *g, avs_vkind kind)
{
    int n = 0;
    for (uint32_t i = 1; i < g->n_v; i++) n += g->v[i].kind == kind;
    return n;
}

static int64_t elements(const avs_graph *g, const char *prefix)
{
    int64_t n = 0;
    for (uint32_t i = 1; i < g->n_v; i++)
        if (g->v[i].kind == AVS_V_PARAM && !strncmp(g->v[i].name, prefix, strlen(prefix)))
            n += avs_type_count(&g->v[i].type);
    return n;
}

static const struct {
    char variant;
    int64_t total, smb5, trans1, trans2;
    int tensors, keys, n_out;
    double mega_224, mega_512;
    int channels[4], sides[4];
} sizes[] = {
    {'t', 1620096, 231488, 384000, 905344, 225, 426, 3, 93.2, 466.6, {32, 128, 160}, {28, 7, 4}},
    {'s', 3912656, 350784, 1039296, 2296512, 297, 558, 3, 177.3, 877.0, {48, 160, 192}, {28, 7, 4}},
    {'b', 8485664, 531584, 2183680, 5393408, 369, 690, 3, 314.9, 1532.3, {64, 192, 256}, {28, 7, 4}},
    {'l',
     13725504,
     905344,
     1637760,
     3517056,
     408,
     762,
     4,
     1160.9,
     5905.2,
     {128, 192, 256, 320},
     {28, 14, 7, 4}},
};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static void seaformers_have_the_reference_s_parameters_in_both_modes(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIZES; i++)
        for (int training = 0; training < 2; training++) {
            net n = seaformer(sizes[i].variant, 224, training);
            assert_int_equal(avs_graph_check(n.g, NULL), AVS_OK);
            assert_int_equal(avs_graph_param_count(n.g, false), sizes[i].total);
            assert_int_equal(elements(n.g, "smb5."), sizes[i].smb5);
            assert_int_equal(elements(n.g, "trans1."), sizes[i].trans1);
            assert_int_equal(elements(n.g, "trans2."), sizes[i].trans2);
            assert_int_equal(count(n.g, AVS_V_PARAM), sizes[i].tensors);
            /* two running statistics of ours stand for three keys of the reference */
            assert_int_equal(count(n.g, AVS_V_PARAM) + count(n.g, AVS_V_BUFFER) / 2 * 3, sizes[i].keys);
            avs_arena_free(n.arena);
        }
}

static void seaformers_return_the_reference_s_maps(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIZES; i++) {
        net n = seaformer(sizes[i].variant, 224, false);
        assert_int_equal(n.n_out, sizes[i].n_out);
        for (int k = 0; k < n.n_out; k++) {
            const avs_type *t = avs_t(n.g, n.out[k]);
            assert_int_equal(t->d[1], sizes[i].sides[k]);
            assert_int_equal(t->d[2], sizes[i].sides[k]);
            assert_int_equal(t->d[3], sizes[i].channels[k]);
        }
        avs_arena_free(n.arena);
    }
}

/* Ours count the interpolation of positions too, a few thousandths at most. */
static void seaformers_cost_what_the_reference_costs(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIZES; i++)
        for (int large = 0; large < 2; large++) {
            net n = seaformer(sizes[i].variant, large ? 512 : 224, false);
            const double got = (double)avs_graph_macs(n.g) * 1e-6;
            const double want = large ? sizes[i].mega_512 : sizes[i].mega_224;
            if (!(fabs(got - want) < 0.005 * want))
                fail_msg("seaformer_%c: %g M multiply-adds, not %g M", sizes[i].variant, got, want);
            avs_arena_free(n.arena);
        }
}

static void a_stage_alone_is_the_stage_of_the_whole(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIZES; i++) {
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, false);
        avs_val x = avs_input(g, "frames", AVS_F32T(1, 65, 130, 3));
        static const int want[5][2] = {{17, 33}, {9, 17}, {5, 9}, {3, 5}, {2, 3}}; /* n becomes ceil(n/2) */
        for (int s = 1; s <= 5; s++) {
            x = avs_seaformer_stage(g, sizes[i].variant, s, x, 0.F);
            assert_int_equal(avs_dim(g, x, 1), want[s - 1][0]);
            assert_int_equal(avs_dim(g, x, 2), want[s - 1][1]);
        }
        assert_int_equal(avs_graph_param_count(g, false), sizes[i].total);
        avs_arena_free(a);
    }
}

static void every_parameter_of_a_seaformer_gets_a_gradient(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIZES; i++) {
        net n = seaformer(sizes[i].variant, 128, true);
        avs_val loss = 0;
        for (int k = 0; k < n.n_out; k++) {
            avs_val part = avs_reshape(n.g, avs_reduce(n.g, n.out[k], 0, 4, true), AVS_F32T(1));
            loss = loss ? avs_add(n.g, loss, part) : part;
        }
        assert_int_equal(avs_backward(n.g, loss), AVS_OK);
        int grads = 0;
        for (uint32_t k = 0; k < n.g->n_output; k++) grads += !strncmp(n.g->output[k].name, "grad:", 5);
        assert_int_equal(grads, sizes[i].tensors);
        avs_arena_free(n.arena);
    }
}

static void an_unknown_variant_or_stage_is_the_graph_s_error(void **state)
{
    (void)state;
    static const struct {
        char variant;
        int stage;
    } bad[] = {{'x', 1}, {'c', 1}, {0, 1}, {'T', 1}, {'t', 0}, {'t', 6}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, false);
        avs_err e = AVS_ERR_INIT;
        avs_val x = avs_input(g, "frames", AVS_F32T(1, 64, 64, 3));
        assert_int_equal(avs_seaformer_stage(g, bad[i].variant, bad[i].stage, x, 0.F), 0);
        assert_int_equal(avs_graph_check(g, &e), AVS_EMISSING);
        assert_non_null(strstr(e.msg, "stage"));
        avs_arena_free(a);
    }
}

/* ------------------------------------------------------------------ MobileNetV2 */

static void mobilenet_v2_has_the_reference_s_size(void **state)
{
    (void)state;
    for (int channels = 1; channels <= 3; channels += 2)
        for (int training = 0; training < 2; training++) {
            avs_arena *a = avs_arena_new();
            avs_graph *g = avs_graph_new(a, training);
            avs_val y = avs_mobilenet_v2(g, avs_input(g, "audio", AVS_F32T(1, 96, 64, channels)));
            const avs_type want = AVS_F32T(1, 1024);
            assert_int_equal(avs_graph_check(g, NULL), AVS_OK);
            assert_true(avs_type_same_shape(avs_t(g, y), &want));
            assert_int_equal(avs_graph_param_count(g, false), channels == 1 ? 3535040 : 3535616);
            assert_int_equal(elements(g, "features."), channels == 1 ? 2223296 : 2223872);
            assert_int_equal(count(g, AVS_V_PARAM) + count(g, AVS_V_BUFFER) / 2 * 3, 314);
            if (channels == 1) assert_true(fabs((double)avs_graph_macs(g) * 1e-6 - 37.1) < 0.05);
            /* running statistics in training too: nothing is updated */
            assert_int_equal(g->n_update, 0);
            assert_int_equal(g->training, training);
            avs_arena_free(a);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seaformers_have_the_reference_s_parameters_in_both_modes),
        cmocka_unit_test(seaformers_return_the_reference_s_maps),
        cmocka_unit_test(seaformers_cost_what_the_reference_costs),
        cmocka_unit_test(a_stage_alone_is_the_stage_of_the_whole),
        cmocka_unit_test(every_parameter_of_a_seaformer_gets_a_gradient),
        cmocka_unit_test(an_unknown_variant_or_stage_is_the_graph_s_error),
        cmocka_unit_test(mobilenet_v2_has_the_reference_s_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
