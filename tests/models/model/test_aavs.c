/* Stepping Stones: what trains in which phase against the counts measured on the public code, every option in both stages,
 * and what the masks of stage one reach. Graphs are built and counted; no plan is made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/graph/ops.h"
#include "models/aavs.h"
#include "tests/models/model/net.h"

static const avs_build TRAINING = {.rows = 2,
                                   .clip_rows = 2,
                                   .height = 64,
                                   .width = 64,
                                   .training = true,
                                   .with_loss = true,
                                   .audio_input = AVS_AUDIO_FEATURE};

static void open_aavs(net *n, const char *options, const avs_build *b)
{
    char text[900];
    (void)snprintf(text, sizeof text, "\"model\":\"aavs\"%s%s", *options ? "," : "", options);
    open_net(n, "train", text, b);
}

#define TWO "\"task\":\"avss\",\"stage1_mask_eval\":\"ground_truth\""

static void each_phase_trains_what_the_public_code_trains(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        int phase;
        int64_t trained;
    } cases[] = {
        {"", 1, 709827},
        {"", 2, 7719491},
        {TWO, 1, 738568},
        {TWO, 2, 7748232},
        {"\"backbone_adapter\":\"always\"", 1, 7719491},
        {"\"backbone_adapter\":\"off\"", 2, 709827},
        {"\"freeze_backbone\":false", 2, 114551675},
        {"\"freeze_backbone\":false", 1, 114551675 - 7009664},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        net n;
        open_aavs(&n, cases[i].options, &TRAINING);
        avs_model_freeze(n.g, &avs_aavs_rule, n.cfg, cases[i].phase);
        if (avs_graph_param_count(n.g, true) != cases[i].trained)
            fail_msg("%s in phase %d trains %lld", cases[i].options, cases[i].phase,
                     (long long)avs_graph_param_count(n.g, true));
        avs_arena_free(n.arena);
    }
}

#define TINY                                                                                                 \
    "\"backbone\":\"swin_custom\",\"backbone_patch_size\":4,\"backbone_embed_dim\":8,\"backbone_depths\":1," \
    "\"backbone_num_heads\":[1,2,2,4],\"backbone_window_size\":4,\"embed_dim\":32,\"num_heads\":4,\"num_"    \
    "queries\":5"

static void every_option_builds_and_differentiates(void **state)
{
    (void)state;
    static const char *const stages[] = {"\"stage\":\"one\"", TWO,
                                         "\"task\":\"avss\",\"stage\":\"end_to_end\"",
                                         "\"task\":\"avss\",\"stage\":\"one\""},
                             *const options[] = {"\"query_generator\":\"adaptive\"",
                                                 "\"query_generator\":\"fixed\"",
                                                 "\"query_generator\":\"add\"",
                                                 "\"query_generator\":\"concat\"",
                                                 "\"masked_attention\":false",
                                                 "\"decoder_adapter\":false",
                                                 "\"attention_output\":\"adapter\"",
                                                 "\"attention_output\":\"projection_adapter\"",
                                                 "\"deep_supervision\":false",
                                                 "\"backbone_adapter\":\"off\"",
                                                 "\"num_encoder_layers\":1",
                                                 "\"num_decoder_layers\":1",
                                                 "\"num_points\":2",
                                                 "\"importance_sample_ratio\":0",
                                                 "\"importance_sample_ratio\":1",
                                                 "\"oversample_ratio\":1",
                                                 "\"num_queries\":1"};
    for (size_t s = 0; s < 4; s++)
        for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
            net n;
            char text[768];
            avs_err e = AVS_ERR_INIT;
            const char *tiny = strstr(options[i], "num_queries") ? "" : TINY ",";
            (void)snprintf(text, sizeof text, "%s%s,%s", tiny, stages[s], options[i]);
            open_aavs(&n, text, &TRAINING);
            if (avs_backward(n.g, n.io.loss) != AVS_OK || avs_graph_check(n.g, &e) != AVS_OK)
                fail_msg("%s: %s", text, e.msg);
            const avs_type t = *avs_t(n.g, n.io.logits);
            const int classes = strstr(stages[s], "\"one\"") ? 2 : 71;
            if (t.rank != 4 || t.d[0] != 2 || t.d[1] != 224 || t.d[2] != 224 || t.d[3] != classes)
                fail_msg("%s: logits of rank %d", text, t.rank);
            avs_arena_free(n.arena);
        }
}

/* Inputs that the scores depend on, by walking back from them. */
static bool reaches(const avs_graph *g, avs_val from, const char *input, bool *seen)
{
    if (!from || seen[from]) return false;
    seen[from] = true;
    const avs_value *v = &g->v[from];
    if (v->kind == AVS_V_INPUT && !strcmp(v->name, input)) return true;
    if (v->view_of && reaches(g, v->view_of, input, seen)) return true;
    for (int i = 0; v->node && i < g->node[v->node].n_in; i++)
        if (reaches(g, g->node[v->node].in[i], input, seen)) return true;
    return false;
}

static void masks_of_stage_one_enter_in_three_places(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        bool reach;
    } cases[] = {
        {"\"robust_key\":false,\"stage1_mask_attention\":false,\"stage1_mask_features\":false", false},
        {"\"stage1_mask_attention\":false,\"stage1_mask_features\":false", true},
        {"\"robust_key\":false,\"stage1_mask_features\":false", true},
        {"\"robust_key\":false,\"stage1_mask_attention\":false", true},
        {"\"robust_key\":false,\"stage1_mask_features\":false,\"masked_attention\":false", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        net n;
        char text[768];
        (void)snprintf(text, sizeof text, TINY "," TWO ",%s", cases[i].options);
        open_aavs(&n, text,
                  &(avs_build){.rows = 1, .height = 64, .width = 64, .audio_input = AVS_AUDIO_FEATURE});
        bool *seen = avs_arena_alloc(n.arena, n.g->n_v * sizeof *seen);
        memset(seen, 0, n.g->n_v * sizeof *seen);
        if (reaches(n.g, n.io.logits, "stage1_mask", seen) != cases[i].reach)
            fail_msg("%s", cases[i].options);
        avs_arena_free(n.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_phase_trains_what_the_public_code_trains),
        cmocka_unit_test(every_option_builds_and_differentiates),
        cmocka_unit_test(masks_of_stage_one_enter_in_three_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
