/* Swin and SAM: parameter counts as measured on the reference implementations, windows and their way back, what
 * padding holds, the shift mask, interpolated tables, stochastic depth. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/backend/ref/eval.h"
#include "models/backbones/backbones.h"
#include "models/backbones/sam_vit.h"
#include "models/backbones/swin.h"
#include "models/backbones/window.h"

static int64_t swin_count(bool adapter, const char *freeze)
{
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, false);
    avs_swin_cfg cfg;
    avs_err e = AVS_ERR_INIT;
    avs_val out[4];
    assert_true(avs_swin_named("swin_b", &cfg));
    cfg.adapter = adapter;
    if (freeze) avs_graph_freeze(g, freeze);
    avs_swin(g, &cfg, avs_input(g, "x", AVS_F32T(1, 96, 96, 3)), out);
    if (avs_graph_check(g, &e) != AVS_OK) fail_msg("%s", e.msg);
    const int64_t n = avs_graph_param_count(g, freeze != NULL);
    avs_arena_free(a);
    return n;
}

static void swin_b_has_the_measured_parameters(void **state)
{
    (void)state;
    assert_int_equal(swin_count(false, NULL), 86880376);
    assert_int_equal(swin_count(true, NULL), 93890040);
    assert_int_equal(swin_count(true, "encoder.layers.2."), 93890040 - 63738144);
}

static void sam_encoders_have_the_measured_parameters(void **state)
{
    static const struct {
        const char *name;
        int side, grid;
        int64_t count;
    } want[] = {{"sam_vit_b", 1024, 0, 89670912},  {"sam_vit_b", 512, 0, 87278848},
                {"sam_vit_b", 256, 0, 86672640},   {"sam_vit_b", 256, 64, 89670912},
                {"sam_vit_l", 1024, 0, 308278272}, {"sam_vit_l", 256, 0, 304296960},
                {"sam_vit_h", 1024, 0, 637026048}, {"sam_vit_h", 256, 0, 632049408}};
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, false);
        avs_sam_vit_cfg cfg;
        avs_err e = AVS_ERR_INIT;
        assert_true(avs_sam_vit_named(want[i].name, &cfg));
        cfg.table_grid = want[i].grid;
        avs_val y = avs_sam_vit(g, &cfg, avs_input(g, "x", AVS_F32T(1, want[i].side, want[i].side, 3)));
        if (avs_graph_check(g, &e) != AVS_OK) fail_msg("%s", e.msg);
        assert_int_equal(avs_dim(g, y, 1), want[i].side / 16);
        assert_int_equal(avs_dim(g, y, 3), 256);
        assert_int_equal(avs_graph_param_count(g, false), want[i].count);
        avs_arena_free(a);
    }
}

static void sizes_that_do_not_fit_are_errors_of_the_graph(void **state)
{
    avs_err e = AVS_ERR_INIT;
    avs_sam_vit_cfg cfg;
    (void)state;
    for (int i = 0; i < 3; i++) {
        avs_arena *a = avs_arena_new();
        avs_graph *g = avs_graph_new(a, false);
        assert_true(avs_sam_vit_named("sam_vit_b", &cfg));
        if (i < 2)
            assert_int_equal(avs_sam_vit(g, &cfg, avs_input(g, "x", AVS_F32T(1, 64, i ? 72 : 80, 3))), 0);
        else
            avs_windows_new(g, 4, 4, 3, 3);
        assert_int_not_equal(avs_graph_check(g, &e), AVS_OK);
        assert_non_null(strstr(e.msg, i < 2 ? "square images of a multiple of 16 pixels" : "shifted by 3"));
        avs_arena_free(a);
    }
    assert_false(avs_sam_vit_named("sam_vit_x", &cfg));
    assert_true(avs_backbone_known("swin_b"));
    assert_false(avs_backbone_known("swin_c"));
}

/* A map whose tokens are numbered, cut and joined: 5 x 7 in windows of 3, shifted by 1. */
static void windows_hold_rolled_tokens_and_join_again(void **state)
{
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, false);
    avs_ref_run *run = NULL;
    avs_err e = AVS_ERR_INIT;
    (void)state;
    const avs_windows win = avs_windows_new(g, 5, 7, 3, 1);
    assert_int_equal(win.rows, 2);
    assert_int_equal(win.cols, 3);
    assert_true(win.is_padded);
    avs_val x = avs_input(g, "x", AVS_F32T(1, 35, 1));
    const avs_window_input in = avs_window_input_of(g, &win, x);
    avs_val cut = avs_windows_split(g, &win, in.x), back = avs_windows_join(g, &win, cut);
    if (avs_graph_check(g, &e) != AVS_OK || avs_ref_open(&run, g, AVS_F64, NULL, &e) != AVS_OK)
        fail_msg("%s", e.msg);
    double v[35];
    for (int i = 0; i < 35; i++) v[i] = 100 + i;
    avs_ref_set(run, x, v);
    assert_int_equal(avs_ref_exec(run, 0, &e), AVS_OK);
    for (int y = 0; y < 6; y++)
        for (int c = 0; c < 9; c++) { /* place of the rolled, padded map */
            const int sy = (y + 1) % 6, sx = (c + 1) % 9;
            const double want = sy < 5 && sx < 7 ? 100 + sy * 7 + sx : 0;
            const int place = (y / 3 * 3 + c / 3) * 9 + y % 3 * 3 + c % 3;
            assert_true(avs_ref_at(run, cut, place) == want);
        }
    for (int i = 0; i < 35; i++) assert_true(avs_ref_at(run, back, i) == v[i]);
    avs_ref_close(run);
    avs_arena_free(a);
}

static void masks_cut_windows_at_the_seam_alone(void **state)
{
    float mask[4 * 16 * 16];
    int blocked[4] = {0};
    (void)state;
    avs_swin_shift_mask(8, 8, 4, 2, mask);
    for (int i = 0; i < 4 * 256; i++) {
        assert_true(mask[i] == 0.F || mask[i] == -100.F);
        blocked[i / 256] += mask[i] != 0.F;
    }
    assert_int_equal(blocked[0], 0);
    assert_int_equal(blocked[1], 128); /* two halves side by side */
    assert_int_equal(blocked[2], 128);
    assert_int_equal(blocked[3], 192);     /* four quarters */
    avs_swin_shift_mask(3, 3, 4, 2, mask); /* one window, larger than the map */
    for (int i = 0; i < 256; i++) blocked[3] -= mask[i] != 0.F;
    assert_int_equal(blocked[3], 0);
}

static int per_row_dropouts(bool training)
{
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, training);
    avs_val out[4];
    int n = 0;
    avs_backbone(g, "swin_b", avs_input(g, "x", AVS_F32T(2, 32, 32, 3)), 0.3F, out);
    assert_int_equal(g->err.code, AVS_OK);
    for (uint32_t i = 1; i < g->n_node; i++) {
        if (g->node[i].op != AVS_OP_DROPOUT) continue;
        const avs_dropout_attr *d = g->node[i].attr;
        assert_true(d->per_row && d->p == 0.3F);
        assert_int_equal(avs_dim(g, g->node[i].in[0], 0), 2); /* one decision per image */
        n++;
    }
    avs_arena_free(a);
    return n;
}

static void every_block_drops_its_attention_branch_at_one_rate(void **state)
{
    (void)state;
    assert_int_equal(per_row_dropouts(true), 24);
    assert_int_equal(per_row_dropouts(false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(swin_b_has_the_measured_parameters),
        cmocka_unit_test(sam_encoders_have_the_measured_parameters),
        cmocka_unit_test(sizes_that_do_not_fit_are_errors_of_the_graph),
        cmocka_unit_test(windows_hold_rolled_tokens_and_join_again),
        cmocka_unit_test(masks_cut_windows_at_the_seam_alone),
        cmocka_unit_test(every_block_drops_its_attention_branch_at_one_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
