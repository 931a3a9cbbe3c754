/* Every knob of every published table: each value builds a training graph of its own, unlike that of any other value, and
 * the smaller ones take two optimiser steps. Combinations that no system has are refused in one line. */
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
#include "base/rng.h"
#include "models/model.h"
#include "workers/net.h"
#include "workers/step.h"

enum { MAX_KNOBS = 64, ROWS = 2 };
typedef enum { TRAINS, BUILDS } how; /* BUILDS: too large to run here */

typedef struct {
    const char *options; /* JSON members, without braces */
    how how;
} knob;

typedef struct {
    const char *model, *tiny; /* tiny: what makes it small; an option of a knob wins */
    knob knobs[MAX_KNOBS];
} table;

/* The members of `options` over those of `tiny`; null takes one away. */
static avs_json *joined(avs_arena *a, const char *model, const char *tiny, const char *options)
{
    avs_err e = AVS_ERR_INIT;
    avs_json *base = NULL, *over = NULL, *out = avs_json_new(a, AVS_J_OBJ);
    const char *b = avs_arena_fmt(a, "{\"model\":\"%s\",%s}", model, tiny),
               *o = avs_arena_fmt(a, "{%s}", options);
    if (avs_json_parse(a, "base", b, strlen(b), &base, &e) != AVS_OK ||
        avs_json_parse(a, "knob", o, strlen(o), &over, &e) != AVS_OK)
        fail_msg("%s: %s", options, e.msg);
    for (avs_json *p = base->first, *next; p; p = next) {
        next = p->next;
        p->next = NULL;
        if (!avs_json_get(over, p->key)) avs_json_add(a, out, p->key, p);
    }
    for (avs_json *p = over->first, *next; p; p = next) {
        next = p->next;
        p->next = NULL;
        if (p->kind != AVS_J_NULL) avs_json_add(a, out, p->key, p);
    }
    return out;
}

static avs_cfg *resolved(avs_arena *a, const table *t, const char *options)
{
    avs_err e = AVS_ERR_INIT;
    avs_problem *p = NULL;
    avs_cfg *cfg = NULL;
    if (avs_cfg_resolve(a, "train", joined(a, t->model, t->tiny, options), &cfg, &p, &e) != AVS_OK)
        fail_msg("%s: %s: %s", t->model, options, p ? p->text : e.msg);
    return cfg;
}

/* Hash of the whole training graph as text, gradients included. */
static void fingerprint(const table *t, const char *options, uint8_t out[32])
{
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    const avs_cfg *cfg = resolved(a, t, options);
    const avs_model_rule *rule = avs_model_find(t->model);
    avs_graph *g = avs_graph_new(a, true);
    avs_model_io io = {0};
    int h, w;
    avs_cfg_size(cfg, "resolution", &h, &w);
    const avs_build b = {.rows = ROWS,
                         .clip_rows = ROWS,
                         .height = h,
                         .width = w,
                         .training = true,
                         .with_loss = true,
                         .with_frame_mask = avs_cfg_is(cfg, "task", "avss"),
                         .audio_input = AVS_AUDIO_FEATURE};
    if (rule->build(g, cfg, &b, &io, &e) != AVS_OK) fail_msg("%s: %s: %s", t->model, options, e.msg);
    avs_model_freeze(g, rule, cfg, 2);
    if (avs_backward(g, io.loss) != AVS_OK) fail_msg("%s: %s: %s", t->model, options, g->err.msg);
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    avs_graph_dump(g, f);
    (void)fclose(f);
    avs_sha256 s;
    avs_sha256_init(&s);
    avs_sha256_put(&s, text, n);
    avs_sha256_end(&s, out);
    free(text);
    avs_arena_free(a);
}

static void takes_two_steps(const table *t, const char *options)
{
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    const avs_cfg *cfg = resolved(a, t, options);
    avs_net n;
    avs_type type;
    double ms[2];
    int h, w;
    avs_cfg_size(cfg, "resolution", &h, &w);
    const avs_net_cfg nc = {.rows = ROWS,
                            .clip_rows = ROWS,
                            .height = h,
                            .width = w,
                            .training = true,
                            .features = true,
                            .seed = 7};
    if (avs_net_open(&n, cfg, &nc, &e) != AVS_OK) fail_msg("%s: %s: %s", t->model, options, e.msg);
    avs_step_fill(n.plan);
    avs_rng r = avs_rng_seed(3);
    for (int64_t i = 0; n.audio && i < ROWS * n.audio_width; i++)
        n.audio[i] = fabsf((float)avs_rng_normal(&r)); /* features are behind a ReLU */
    if (avs_step_time(n.plan, 0, 2, ms, &e) != AVS_OK) fail_msg("%s: %s: %s", t->model, options, e.msg);
    const float loss = *(const float *)avs_plan_output(n.plan, "loss", &type);
    if (!isfinite(loss) || loss <= 0) fail_msg("%s: %s: loss %g", t->model, options, (double)loss);
    avs_net_close(&n);
    avs_arena_free(a);
}

static void check(const table *t)
{
    uint8_t print[MAX_KNOBS][32];
    for (int i = 0; i < MAX_KNOBS && t->knobs[i].options; i++) {
        fingerprint(t, t->knobs[i].options, print[i]);
        for (int k = 0; k < i; k++)
            if (!memcmp(print[i], print[k], 32))
                fail_msg("%s: %s and %s build the same graph", t->model, t->knobs[i].options,
                         t->knobs[k].options);
        if (t->knobs[i].how == TRAINS) takes_two_steps(t, t->knobs[i].options);
    }
}

#define SMALL "\"resolution\":64,\"backbone_weights\":\"random\",\"audio_weights\":\"random\""

static void avesformer_takes_every_row_of_tables_4_to_9(void **state)
{
    (void)state;
    static const table rows = {
        "avesformer",
        SMALL
        ",\"task\":\"ms3\",\"backbone\":\"resnet18\",\"embed_dim\":32,\"mask_mlp_dim\":16,\"ffn_dim\":32",
        {{"", TRAINS},
         {"\"query_generator\":\"none\"", TRAINS},
         {"\"query_generator\":\"qg\"", TRAINS},
         {"\"query_generator\":\"bqg\"", TRAINS},
         {"\"fusion\":\"dissipation\"", TRAINS},
         {"\"fusion\":\"tpavi\"", TRAINS},
         {"\"fusion\":\"cha\"", TRAINS},
         {"\"fusion\":\"sigmoid\"", TRAINS},
         {"\"num_queries\":8", TRAINS},
         {"\"num_queries\":32", TRAINS},
         {"\"num_queries\":64", TRAINS},
         {"\"num_queries\":128", TRAINS},
         {"\"num_queries\":256", TRAINS},
         {"\"elf_stages\":\"CCC\"", TRAINS},
         {"\"elf_stages\":\"CCT\"", TRAINS},
         {"\"elf_stages\":\"CTC\"", TRAINS},
         {"\"elf_stages\":\"TCC\"", TRAINS},
         {"\"elf_stages\":\"TTT\"", TRAINS},
         {"\"elf_stages\":\"TCT\"", TRAINS},
         {"\"elf_stages\":\"TTC\"", TRAINS},
         {"\"backbone\":\"resnet34\"", BUILDS},
         {"\"backbone\":\"resnet50\"", BUILDS},
         {"\"backbone\":\"pvt_v2_b0\"", TRAINS},
         {"\"backbone\":\"pvt_v2_b5\"", BUILDS},
         {"\"task\":\"s4\",\"iou_loss\":\"soft\"", TRAINS},
         {"\"task\":\"avss\"", TRAINS},
         {"\"aux_loss\":\"none\"", TRAINS},
         {"\"resolution\":224,\"embed_dim\":256,\"mask_mlp_dim\":2048,\"ffn_dim\":2048", BUILDS}}};
    check(&rows);
}

static void avsegformer_takes_every_row_of_table_2_and_the_generators(void **state)
{
    (void)state;
#define TINY                                                                                                 \
    SMALL ",\"task\":\"ms3\",\"backbone\":\"pvt_v2_b0\",\"embed_dim\":32,\"num_heads\":4,"                   \
          "\"num_encoder_layers\":1,\"num_decoder_layers\":2,\"ffn_dim\":16,\"mask_mlp_dim\":8"
    static const table paper = {"avsegformer",
                                TINY,
                                {{"", TRAINS},
                                 {"\"num_queries\":1", TRAINS},
                                 {"\"num_queries\":100", TRAINS},
                                 {"\"num_queries\":200", TRAINS},
                                 {"\"learnable_queries\":false", TRAINS},
                                 {"\"mixer\":\"none\"", TRAINS},
                                 {"\"mixer\":\"cra\"", TRAINS},
                                 {"\"aux_loss\":\"none\"", TRAINS},
                                 {"\"aux_loss\":\"ar\",\"num_queries\":20", TRAINS},
                                 {"\"num_queries\":20", TRAINS},
                                 {"\"seg_loss\":\"bce\"", TRAINS},
                                 {"\"task\":\"avss\"", TRAINS},
                                 {"\"backbone\":\"resnet50\"", BUILDS},
                                 {"\"backbone\":\"pvt_v2_b5\"", BUILDS},
                                 {"\"resolution\":224", BUILDS}}};
    static const table released = {
        "avsegformer",
        TINY
        ",\"variant\":\"released\",\"num_generator_layers\":1,\"generator_ffn_dim\":16,\"num_queries\":16",
        {{"\"query_generator\":\"qg\"", TRAINS},
         {"\"query_generator\":\"pqg\"", TRAINS},
         {"\"query_generator\":\"pqg\",\"num_queries\":300", TRAINS},
         {"\"learnable_queries\":false", TRAINS},
         {"\"aux_loss\":\"none\"", TRAINS},
         {"\"task\":\"avss\"", TRAINS},
         {"\"backbone\":\"resnet50\"", BUILDS},
         {"\"resolution\":512", BUILDS}}};
#undef TINY
    check(&paper);
    check(&released);
}

#define VIT                                                                                                  \
    SMALL                                                                                                    \
    ",\"task\":\"ms3\",\"backbone\":\"sam_vit_custom\",\"backbone_embed_dim\":16,\"backbone_depths\":2,"     \
    "\"backbone_num_heads\":2,\"backbone_patch_size\":8,\"backbone_window_size\":3,"                         \
    "\"backbone_global_blocks\":[1],\"backbone_mlp_ratio\":2,\"embed_dim\":32,\"ffn_dim\":32,"               \
    "\"iou_hidden_dim\":16,\"audio_hidden_dim\":16"
#define NAMED(name, size) "\"resolution\":" size ",\"backbone\":\"" name "\""

/* The named sizes go without the sizes of the custom one. */
static void save_and_sama_take_adapters_sizes_and_resolutions(void **state)
{
    (void)state;
    static const table tiny = {"save",
                               VIT,
                               {{"", TRAINS},
                                {"\"adapter_ratio\":0.1", TRAINS},
                                {"\"adapter_ratio\":0.5", TRAINS},
                                {"\"image_adapter\":false", TRAINS},
                                {"\"adapter_zero_init\":true,\"bce_weight\":2", TRAINS},
                                {"\"audio_adapter\":false,\"audio_hidden_dim\":null", TRAINS},
                                {"\"audio_residual\":false", TRAINS},
                                {"\"audio_inject\":false", TRAINS},
                                {"\"audio_prompt\":false", TRAINS},
                                {"\"audio_hidden_dim\":32", TRAINS},
                                {"\"freeze_mask_decoder\":true", TRAINS},
                                {"\"freeze_prompt_encoder\":false", TRAINS},
                                {"\"freeze_backbone\":false", TRAINS},
                                {"\"resolution\":128", TRAINS}}};
    static const table named = {"save",
                                "\"task\":\"ms3\"",
                                {{NAMED("sam_vit_b", "256"), BUILDS},
                                 {NAMED("sam_vit_b", "512"), BUILDS},
                                 {NAMED("sam_vit_b", "1024"), BUILDS},
                                 {NAMED("sam_vit_l", "256"), BUILDS},
                                 {NAMED("sam_vit_h", "256"), BUILDS},
                                 {NAMED("sam_vit_h", "1024"), BUILDS}}};
    static const table sama = {"sama",
                               VIT,
                               {{"", TRAINS},
                                {"\"audio_hidden_dim\":32", TRAINS},
                                {"\"freeze_mask_decoder\":true", TRAINS},
                                {"\"freeze_backbone\":false", TRAINS},
                                {"\"num_decoder_layers\":1", TRAINS}}};
    static const table sama_named = {"sama",
                                     "\"task\":\"s4\"",
                                     {{NAMED("sam_vit_b", "256"), BUILDS},
                                      {NAMED("sam_vit_l", "512"), BUILDS},
                                      {NAMED("sam_vit_h", "1024"), BUILDS}}};
    check(&tiny);
    check(&named);
    check(&sama);
    check(&sama_named);
}

static void lightavseg_takes_backbones_losses_components_and_sizes(void **state)
{
    (void)state;
    static const table t = {"lightavseg",
                            SMALL ",\"task\":\"ms3\",\"backbone\":\"seaformer_t\",\"embed_dim\":16",
                            {{"", TRAINS},
                             {"\"aux_loss\":\"none\"", TRAINS},
                             {"\"aux_loss\":\"avm\"", TRAINS},
                             {"\"aux_loss\":\"mix\"", TRAINS},
                             {"\"aux_loss\":\"msa_kl\"", TRAINS},
                             {"\"agve\":false", TRAINS},
                             {"\"har\":false", TRAINS},
                             {"\"cmfd\":false", TRAINS},
                             {"\"agve\":false,\"har\":false,\"cmfd\":false", TRAINS},
                             {"\"context\":false", TRAINS},
                             {"\"pooling\":\"avg\"", TRAINS},
                             {"\"backbone\":\"seaformer_s\"", TRAINS},
                             {"\"backbone\":\"seaformer_b\"", TRAINS},
                             {"\"backbone\":\"seaformer_l\"", BUILDS},
                             {"\"backbone\":\"resnet50\"", BUILDS},
                             {"\"resolution\":96", TRAINS},
                             {"\"resolution\":224", BUILDS},
                             {"\"resolution\":384", BUILDS},
                             {"\"task\":\"avss\"", TRAINS}}};
    check(&t);
}

static void tpavi_takes_stages_attention_and_matching_losses(void **state)
{
    (void)state;
    static const table t = {
        "tpavi",
        SMALL ",\"task\":\"ms3\",\"backbone\":\"pvt_v2_b0\",\"embed_dim\":8",
        {{"", TRAINS},
         {"\"tpavi_stages\":[3]", TRAINS},
         {"\"tpavi_stages\":[2,3]", TRAINS},
         {"\"tpavi_stages\":[1,2,3]", TRAINS},
         {"\"tpavi_visual_visual\":true", TRAINS},
         {"\"tpavi_audio_visual\":false,\"tpavi_visual_visual\":true,\"aux_loss\":\"none\"", TRAINS},
         {"\"tpavi_audio_visual\":false,\"aux_loss\":\"none\"", TRAINS},
         {"\"aux_loss\":\"none\"", TRAINS},
         {"\"aux_weight\":0.1", TRAINS},
         {"\"aux_weight\":1", TRAINS},
         {"\"avm_distance\":\"euclidean\"", TRAINS},
         {"\"avm_target\":\"nearest_video\"", TRAINS},
         {"\"avm_target\":\"nearest_video\",\"avm_distance\":\"euclidean\"", TRAINS},
         {"\"avm_pooling\":\"max\"", TRAINS},
         {"\"avm_normalize\":true", TRAINS},
         {"\"avm_threshold\":true", TRAINS},
         {"\"avm_stages\":[0]", TRAINS},
         {"\"task\":\"s4\",\"aux_loss\":\"cosine\"", TRAINS},
         {"\"task\":\"avss\"", TRAINS},
         {"\"backbone\":\"resnet50\"", BUILDS},
         {"\"backbone\":\"pvt_v2_b5\"", BUILDS}}};
    check(&t);
}

static void a_wrong_combination_is_one_line_with_the_options_named(void **state)
{
    (void)state;
    static const struct {
        const char *options, *words[2];
    } wrong[] = {
        {"\"model\":\"avesformer\",\"query_generator\":\"none\",\"num_queries\":4",
         {"query_generator", "num_queries"}},
        {"\"model\":\"avesformer\",\"elf_stages\":\"CXT\"", {"elf_stages", "C"}},
        {"\"model\":\"avesformer\",\"elf_stages\":\"CT\"", {"elf_stages", "T"}},
        {"\"model\":\"avesformer\",\"fusion\":\"crosss\"", {"fusion", "cross"}},
        {"\"model\":\"avesformer\",\"embed_dim\":20,\"num_heads\":3", {"embed_dim", "num_heads"}},
        {"\"model\":\"avesformer\",\"resolution\":100", {"resolution", "32"}},
        {"\"model\":\"avesformer\",\"backbone\":\"sam_vit_b\"", {"backbone", "resnet18"}},
        {"\"model\":\"avsegformer\",\"aux_loss\":\"mix\"", {"aux_loss", "variant"}},
        {"\"model\":\"avsegformer\",\"variant\":\"released\",\"aux_loss\":\"qr\"", {"aux_loss", "variant"}},
        {"\"model\":\"avsegformer\",\"query_generator\":\"pqg\"", {"query_generator", "variant"}},
        {"\"model\":\"avsegformer\",\"task\":\"avss\",\"seg_loss\":\"dice\"", {"seg_loss", "num_classes"}},
        {"\"model\":\"avsegformer\",\"task\":\"ms3\",\"num_classes\":5", {"num_classes", "task"}},
        {"\"model\":\"save\",\"task\":\"avss\"", {"task", "s4"}},
        {"\"model\":\"save\",\"resolution\":250", {"resolution", "32"}},
        {"\"model\":\"save\",\"backbone\":\"sam_vit_custom\"", {"backbone_", "sam_vit_custom"}},
        {"\"model\":\"sama\",\"adapter_ratio\":0.5", {"adapter_ratio", "sama"}},
        {"\"model\":\"lightavseg\",\"cmfd\":false,\"aux_loss\":\"msa\"", {"cmfd", "aux_loss"}},
        {"\"model\":\"lightavseg\",\"audio_backbone\":\"vggish\"", {"audio_backbone", "mobilenet_v2"}},
        {"\"model\":\"tpavi\",\"task\":\"ms3\",\"aux_loss\":\"cosine\"", {"aux_loss", "task"}},
        {"\"model\":\"tpavi\",\"task\":\"s4\",\"aux_loss\":\"avm\"", {"aux_loss", "task"}},
        {"\"model\":\"tpavi\",\"task\":\"ms3\",\"tpavi_audio_visual\":false",
         {"aux_loss", "tpavi_audio_visual"}},
        {"\"model\":\"tpavi\",\"tpavi_stages\":[4]", {"tpavi_stages", "3"}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        avs_err e = AVS_ERR_INIT;
        avs_arena *a = avs_arena_new();
        avs_json *given = NULL;
        avs_cfg *cfg = NULL;
        avs_problem *p = NULL;
        const char *text = avs_arena_fmt(a, "{%s}", wrong[i].options);
        assert_int_equal(avs_json_parse(a, "wrong", text, strlen(text), &given, &e), AVS_OK);
        if (avs_cfg_resolve(a, "train", given, &cfg, &p, &e) == AVS_OK) fail_msg("%s was taken", text);
        if (!p || !p->text) fail_msg("%s: no word on what is wrong", text);
        const char *said =
            avs_arena_fmt(a, "%s: %s; %s", p->key ? p->key : "", p->text, p->help ? p->help : "");
        if (strchr(said, '\n')) fail_msg("%s: more than a line: %s", text, said);
        for (int k = 0; k < 2; k++)
            if (!strstr(said, wrong[i].words[k]))
                fail_msg("%s: no '%s' in: %s", text, wrong[i].words[k], said);
        avs_arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(avesformer_takes_every_row_of_tables_4_to_9),
        cmocka_unit_test(avsegformer_takes_every_row_of_table_2_and_the_generators),
        cmocka_unit_test(save_and_sama_take_adapters_sizes_and_resolutions),
        cmocka_unit_test(lightavseg_takes_backbones_losses_components_and_sizes),
        cmocka_unit_test(tpavi_takes_stages_attention_and_matching_losses),
        cmocka_unit_test(a_wrong_combination_is_one_line_with_the_options_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
