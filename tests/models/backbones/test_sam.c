/* SAM's prompt encoder, mask decoder and image adapters: parameter counts as measured on the reference implementations,
 * pairs of image and prompts, padding points, errors of sizes. Values: golden cases sam-tiny, sam-tiny-pad, sam-vitb-256. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/probe.h"
#include "engine/backend/ref/eval.h"
#include "models/backbones/sam_vit.h"
#include "models/sam.h"

static int64_t count_of(const avs_graph *g, const char *prefix)
{
    int64_t n = 0;
    for (uint32_t i = 1; i < g->n_v; i++)
        if (g->v[i].kind == AVS_V_PARAM && !strncmp(g->v[i].name, prefix, strlen(prefix)))
            n += avs_type_count(&g->v[i].type);
    return n;
}

static void parts_have_the_measured_parameters(void **state)
{
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, false);
    const avs_sam_cfg cfg = avs_sam_default();
    avs_err e = AVS_ERR_INIT;
    (void)state;
    avs_scope_push(g, "prompt");
    avs_val gaussian = avs_sam_gaussian(g, cfg.dim);
    const avs_sam_prompted p = avs_sam_prompt_encoder(g, &cfg, &(avs_sam_prompts){0}, gaussian, 256);
    avs_scope_pop(g);
    assert_int_equal(count_of(g, "prompt."), 6220);
    assert_int_equal(p.sparse, 0);
    avs_scope_push(g, "decoder");
    const avs_sam_masks m =
        avs_sam_mask_decoder(g, &cfg, avs_input(g, "image", AVS_F32T(2, 16, 16, 256)),
                             avs_sam_dense_position(g, gaussian, 16), &p, (const int[]){1, 3}, "");
    avs_scope_pop(g);
    if (avs_graph_check(g, &e) != AVS_OK) fail_msg("%s", e.msg);
    assert_int_equal(count_of(g, "decoder."), 4058340);
    assert_int_equal(count_of(g, "decoder.transformer."), 3291264);
    assert_int_equal(count_of(g, "decoder.output_upscaling."), 73952);
    assert_int_equal(count_of(g, "decoder.output_hypernetworks_mlps."), 559232);
    assert_int_equal(count_of(g, "decoder.iou_prediction_head."), 132612);
    assert_int_equal(avs_dim(g, m.masks, 1), 64);
    assert_int_equal(avs_dim(g, m.masks, 3), 3);
    assert_int_equal(avs_dim(g, m.iou, 1), 3);
    avs_arena_free(a);
}

static void adapters_have_the_measured_parameters(void **state)
{
    static const struct {
        const char *name;
        double ratio;
        int64_t count;
    } want[] = {{"sam_vit_b", 0.1, 178366464}, {"sam_vit_b", 0.25, 180504576}, {"sam_vit_b", 0.5, 184043520},
                {"sam_vit_l", 0.1, 634208256}, {"sam_vit_l", 0.25, 641777664}, {"sam_vit_h", 0.1, 1321287680},
                {"sam_vit_h", 0.5, 1363230720}};
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, false);
        avs_sam_vit_cfg cfg;
        avs_err e = AVS_ERR_INIT;
        assert_true(avs_sam_vit_named(want[i].name, &cfg));
        avs_sam_vit(g, &cfg, avs_input(g, "x", AVS_F32T(1, 256, 256, 3)));
        const int64_t without = avs_graph_param_count(g, false);
        cfg.adapter_ratio = want[i].ratio;
        avs_sam_vit(g, &cfg, avs_graph_find(g, "x"));
        if (avs_graph_check(g, &e) != AVS_OK) fail_msg("%s", e.msg);
        assert_int_equal(avs_graph_param_count(g, false) - without, want[i].count);
        avs_arena_free(a);
    }
}

static void adapters_want_an_even_grid_and_a_hidden_channel(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, false);
        avs_sam_vit_cfg cfg;
        avs_err e = AVS_ERR_INIT;
        assert_true(avs_sam_vit_named("sam_vit_b", &cfg));
        cfg.adapter_ratio = i ? 0.001 : 0.25;
        const int side = i ? 32 : 48;
        assert_int_equal(avs_sam_vit(g, &cfg, avs_input(g, "x", AVS_F32T(1, side, side, 3))), 0);
        assert_int_equal(avs_graph_check(g, &e), AVS_ERANGE);
        assert_non_null(strstr(e.msg, i ? "floor(768 * 0.001)" : "3 patches"));
        avs_arena_free(a);
    }
}

static int probe(void *ctx, const char *name, avs_vkind kind, const avs_type *t, double *out, avs_err *e)
{
    float v[4096];
    int64_t d[AVS_MAX_RANK];
    (void)ctx;
    (void)kind;
    const int64_t n = avs_type_count(t);
    if (n > 4096) return avs_fail(e, AVS_ERANGE, "%s is too large for this test", name);
    for (int i = 0; i < t->rank; i++) d[i] = t->d[i];
    avs_probe_param(name, d, t->rank, v);
    for (int64_t i = 0; i < n; i++) out[i] = (double)v[i];
    return AVS_OK;
}

enum { SIDE = 8 }; /* of a low mask: grid 2 */

/* Masks of images from .. from + n - 1 of two, each with a box of its own. */
static void decode(int from, int n, double *out)
{
    const avs_sam_cfg cfg = {
        .dim = 16, .heads = 2, .layers = 2, .mlp_dim = 16, .iou_hidden = 16, .mask_channels = 4};
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, false);
    avs_ref_run *run = NULL;
    avs_err e = AVS_ERR_INIT;
    avs_val image = avs_slice(g, avs_input(g, "image", AVS_F32T(2, 2, 2, 16)), 0, from, n),
            boxes = avs_slice(g, avs_input(g, "boxes", AVS_F32T(2, 4)), 0, from, n);
    avs_val gaussian = avs_sam_gaussian(g, 16);
    const avs_sam_prompted p =
        avs_sam_prompt_encoder(g, &cfg, &(avs_sam_prompts){.boxes = boxes}, gaussian, 32);
    const avs_sam_masks m = avs_sam_mask_decoder(g, &cfg, image, avs_sam_dense_position(g, gaussian, 2), &p,
                                                 (const int[]){0, 1}, "");
    if (avs_graph_check(g, &e) != AVS_OK || avs_ref_eval(&run, g, AVS_F64, NULL, probe, NULL, &e) != AVS_OK)
        fail_msg("%s", e.msg);
    avs_ref_get(run, m.masks, out);
    avs_ref_close(run);
    avs_arena_free(a);
}

static void each_image_meets_its_own_prompts_alone(void **state)
{
    double both[2][SIDE * SIDE], one[2][SIDE * SIDE], gap = 0;
    (void)state;
    decode(0, 2, both[0]);
    decode(0, 1, one[0]);
    decode(1, 1, one[1]);
    for (int i = 0; i < 2 * SIDE * SIDE; i++) {
        assert_true(fabs(both[i / (SIDE * SIDE)][i % (SIDE * SIDE)] -
                         one[i / (SIDE * SIDE)][i % (SIDE * SIDE)]) < 1e-12);
        gap = fmax(gap, fabs(one[0][i % (SIDE * SIDE)] - one[1][i % (SIDE * SIDE)]));
    }
    assert_true(gap > 1e-3);
}

/* A padding point hides its position: label -1 gives not_a_point wherever it lies. */
static void points_of_padding_have_no_place(void **state)
{
    const avs_sam_cfg cfg = {.dim = 16, .mask_channels = 4};
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, false);
    avs_ref_run *run = NULL;
    avs_err e = AVS_ERR_INIT;
    (void)state;
    const avs_sam_prompts in = {.points = avs_const(g, AVS_F32T(1, 3, 2), (const float[]){3, 5, 7, 9, 3, 5}),
                                .labels = avs_const(g, AVS_F32T(1, 3), (const float[]){-1, -1, 1})};
    const avs_sam_prompted p = avs_sam_prompt_encoder(g, &cfg, &in, avs_sam_gaussian(g, 16), 16);
    assert_int_equal(avs_dim(g, p.sparse, 1), 4);
    if (avs_graph_check(g, &e) != AVS_OK || avs_ref_eval(&run, g, AVS_F64, NULL, probe, NULL, &e) != AVS_OK)
        fail_msg("%s", e.msg);
    double v[4 * 16], vector[16], gap = 0;
    avs_ref_get(run, p.sparse, v);
    avs_ref_get(run, avs_graph_find(g, "not_a_point_embed.weight"), vector);
    for (int i = 0; i < 16; i++) {
        assert_true(v[i] == vector[i] && v[16 + i] == vector[i] && v[48 + i] == vector[i]);
        gap = fmax(gap, fabs(v[32 + i] - vector[i]));
    }
    assert_true(gap > 1e-3);
    avs_ref_close(run);
    avs_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_have_the_measured_parameters),
        cmocka_unit_test(adapters_have_the_measured_parameters),
        cmocka_unit_test(adapters_want_an_even_grid_and_a_hidden_channel),
        cmocka_unit_test(each_image_meets_its_own_prompts_alone),
        cmocka_unit_test(points_of_padding_have_no_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
