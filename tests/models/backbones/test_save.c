/* SAVE and SAMA-AVS: parameters in all and trained, as measured on the reference; what each option adds; the sound reaches
 * the mask only where it should. Values: golden cases save-*, sama-tiny-train. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "engine/graph/ops.h"
#include "models/model.h"

typedef struct {
    int64_t total, trained;
    bool hears; /* the logits depend on the audio feature */
} built;

static bool depends(const avs_graph *g, avs_val v, avs_val on)
{
    static bool live[200000];
    assert_true(g->n_v < sizeof live);
    memset(live, 0, sizeof live);
    live[v] = true;
    for (uint32_t i = g->n_v; i-- > 1;) {
        if (!live[i]) continue;
        if (g->v[i].view_of) live[g->v[i].view_of] = true;
        for (int k = 0; g->v[i].node && k < g->node[g->v[i].node].n_in; k++)
            live[g->node[g->v[i].node].in[k]] = true;
    }
    return live[on];
}

/* options: members of a JSON object; kind "train". */
static built build(const char *options)
{
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, true);
    avs_json *given;
    avs_cfg *cfg;
    avs_problem *p = NULL;
    avs_model_io io = {0};
    avs_err e = AVS_ERR_INIT;
    int h, w;
    assert_int_equal(avs_json_parse(a, "options", options, strlen(options), &given, &e), AVS_OK);
    if (avs_cfg_resolve(a, "train", given, &cfg, &p, &e) != AVS_OK)
        fail_msg("%s: %s", options, p ? p->text : e.msg);
    const avs_model_rule *rule = avs_model_find(avs_cfg_str(cfg, "model"));
    assert_non_null(rule);
    avs_cfg_size(cfg, "resolution", &h, &w);
    const avs_build b = {.rows = 2,
                         .height = h,
                         .width = w,
                         .training = true,
                         .with_loss = true,
                         .audio_input = AVS_AUDIO_FEATURE};
    if (rule->build(g, cfg, &b, &io, &e) != AVS_OK) fail_msg("%s: %s", options, e.msg);
    avs_model_freeze(g, rule, cfg, 2);
    const built out = {avs_graph_param_count(g, false), avs_graph_param_count(g, true),
                       depends(g, io.logits, io.audio)};
    assert_int_equal(avs_dim(g, io.logits, 1), h);
    assert_int_equal(avs_dim(g, io.logits, 3), 1);
    avs_arena_free(a);
    return out;
}

static void save_has_the_measured_parameters(void **state)
{
    static const struct {
        const char *options;
        int64_t total, trained;
    } want[] = {
        {"{\"model\":\"save\",\"adapter_ratio\":0.1}", 270816304, 184137444},
        {"{\"model\":\"save\"}", 272954416, 186275556},
        {"{\"model\":\"save\",\"freeze_mask_decoder\":true}", 272954416, 182217216},
        {"{\"model\":\"save\",\"freeze_prompt_encoder\":false}", 272954416, 186275556 + 6220},
        {"{\"model\":\"save\",\"adapter_ratio\":0.5}", 276493360, 189814500},
        {"{\"model\":\"save\",\"image_adapter\":false}", 272954416 - 180504576, 186275556 - 180504576},
        {"{\"model\":\"save\",\"audio_adapter\":false}", 272954416 - 1712640, 186275556 - 1712640},
        {"{\"model\":\"save\",\"freeze_backbone\":false}", 272954416, 272954416 - 6220},
        {"{\"model\":\"save\",\"resolution\":512}", 272954416 + 606208, 186275556},
        {"{\"model\":\"save\",\"resolution\":1024}", 272954416 + 2998272, 186275556},
        {"{\"model\":\"save\",\"backbone\":\"sam_vit_l\",\"adapter_ratio\":0.1}", 945895984, 641592804},
        {"{\"model\":\"save\",\"backbone\":\"sam_vit_l\"}", 953465392, 649162212},
        {"{\"model\":\"save\",\"backbone\":\"sam_vit_h\"}", 1977543216, 1345487588},
        {"{\"model\":\"save\",\"backbone\":\"sam_vit_h\",\"adapter_ratio\":0.5}", 2003757616, 1371701988},
        {"{\"model\":\"sama\"}", 637026048 + 6828772, 6828772},
        {"{\"model\":\"sama\",\"backbone\":\"sam_vit_b\",\"freeze_mask_decoder\":true}",
         89670912 + 1186560 + 4058340 + 256, 1186560 + 256}};
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const built b = build(want[i].options);
        if (b.total != want[i].total || b.trained != want[i].trained)
            fail_msg("%s: %lld parameters, %lld trained", want[i].options, (long long)b.total,
                     (long long)b.trained);
    }
}

#define TINY                                                                                                 \
    "{\"model\":\"save\",\"backbone\":\"sam_vit_custom\",\"backbone_patch_size\":8,"                         \
    "\"backbone_embed_dim\":16,\"backbone_depths\":2,\"backbone_num_heads\":2,\"backbone_window_size\":2,"   \
    "\"backbone_global_blocks\":[1],\"resolution\":32"

static void sound_reaches_the_mask_through_injection_or_prompt(void **state)
{
    (void)state;
    assert_true(build(TINY "}").hears);
    assert_true(build(TINY ",\"audio_residual\":false}").hears);
    assert_true(build(TINY ",\"audio_inject\":false}").hears);
    assert_true(build(TINY ",\"audio_prompt\":false}").hears);
    assert_false(build(TINY ",\"audio_inject\":false,\"audio_prompt\":false}").hears);
    assert_false(build(TINY ",\"audio_adapter\":false}").hears);
}

static void a_custom_encoder_has_the_sizes_that_are_given(void **state)
{
    (void)state;
    const built four = build(TINY "}"), two = build(TINY ",\"backbone_mlp_ratio\":2}");
    assert_int_equal(four.total - two.total, 2 * (2 * 2 * 16 * 16 + 2 * 16)); /* lin1, its bias, lin2 */
    assert_int_equal(four.trained, two.trained);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(save_has_the_measured_parameters),
        cmocka_unit_test(sound_reaches_the_mask_through_injection_or_prompt),
        cmocka_unit_test(a_custom_encoder_has_the_sizes_that_are_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
