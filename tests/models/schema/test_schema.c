/* Resolving configurations: defaults by task, canonical form, every kind of problem, and the schemas themselves. */
#include "models/schema_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

typedef struct {
    avs_arena *a;
    avs_cfg *cfg;
    avs_problem *problems;
    int rc;
    char json[8192];
} result;

static result resolve(const char *kind, const char *text)
{
    result r = {.a = avs_arena_new()};
    avs_json *given = NULL;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_json_parse(r.a, "given", text, strlen(text), &given, &e), AVS_OK);
    r.rc = avs_cfg_resolve(r.a, kind, given, &r.cfg, &r.problems, &e);
    if (r.rc == AVS_OK) {
        avs_buf b = AVS_BUF_INIT;
        avs_json_write(&b, avs_cfg_identity_json(r.cfg), true);
        assert_true(avs_buf_ok(&b));
        (void)snprintf(r.json, sizeof r.json, "%s", avs_buf_cstr(&b));
        avs_buf_free(&b);
    } else {
        assert_non_null(r.problems);
        assert_string_not_equal(e.msg, "");
    }
    return r;
}

static void every_model_resolves_from_its_name_alone(void **state)
{
    (void)state;
    static const char *const kinds[] = {"train", "eval", "latency", "noop"};
    for (const char *const *m = avs_schema_models(); *m; m++)
        for (int k = 0; k < 4; k++)
            for (int t = 0; t < 3; t++) {
                static const char *const tasks[] = {"s4", "ms3", "avss"};
                char text[160];
                bool binary = strcmp(*m, "save") == 0 || strcmp(*m, "sama") == 0;
                bool two_stages = strcmp(*m, "aavs") == 0;
                if (t == 2 && binary) continue;
                (void)snprintf(text, sizeof text, "{\"model\":\"%s\",\"task\":\"%s\"%s}", *m, tasks[t],
                               t == 2 && two_stages ? ",\"stage1_masks\":\"m\"" : "");
                result r = resolve(kinds[k], text);
                assert_int_equal(r.rc, AVS_OK);
                avs_arena_free(r.a);
            }
}

static void resolving_the_canonical_form_again_changes_nothing(void **state)
{
    (void)state;
    static const char *const given[] = {
        "{\"model\":\"avesformer\"}",
        "{\"model\":\"avesformer\",\"query_generator\":\"none\",\"aux_loss\":\"none\"}",
        "{\"model\":\"avesformer_mini\",\"resolution\":[96,128],\"steps\":1100,\"task\":\"ms3\"}",
        "{\"model\":\"tpavi\",\"task\":\"ms3\",\"tpavi_stages\":[3,1]}",
        "{\"model\":\"aavs\",\"backbone\":\"swin_custom\",\"backbone_patch_size\":4,\"backbone_embed_dim\":"
        "16,"
        "\"backbone_depths\":[1,1,2,1],\"backbone_num_heads\":2,\"backbone_window_size\":4,"
        "\"backbone_mlp_ratio\":4}",
    };
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
        result one = resolve("train", given[i]);
        assert_int_equal(one.rc, AVS_OK);
        result two = resolve("train", one.json);
        assert_int_equal(two.rc, AVS_OK);
        assert_string_equal(one.json, two.json);
        avs_arena_free(one.a);
        avs_arena_free(two.a);
    }
}

static void defaults_follow_task_variant_and_kind(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *given, *name;
        double want;
    } rows[] = {
        {"train", "{\"model\":\"avesformer\",\"task\":\"s4\"}", "epochs", 30},
        {"train", "{\"model\":\"avesformer\",\"task\":\"ms3\"}", "epochs", 60},
        {"train", "{\"model\":\"avesformer\",\"task\":\"avss\"}", "iou_weight", 1.0},
        {"train", "{\"model\":\"avesformer\",\"task\":\"avss\"}", "num_classes", 71},
        {"train", "{\"model\":\"avesformer\",\"query_generator\":\"qg\"}", "num_queries", 300},
        {"train", "{\"model\":\"avesformer\"}", "dropout", 0.1},
        {"latency", "{\"model\":\"avesformer\",\"task\":\"avss\"}", "frames", 1},
        {"latency", "{\"model\":\"avesformer\",\"frames\":5}", "frames", 5},
        {"train", "{\"model\":\"avesformer\",\"backbone\":\"pvt_v2_b5\"}", "drop_path", 0.1},
        {"train", "{\"model\":\"avesformer\",\"drop_path\":\"auto\"}", "drop_path", 0},
        {"train", "{\"model\":\"avesformer_mini\"}", "ffn_dim", 256},
        {"train", "{\"model\":\"avesformer_mini\",\"embed_dim\":32}", "generator_ffn_dim", 128},
        {"train", "{\"model\":\"avesformer_mini\"}", "lr", 2e-3},
        {"train", "{\"model\":\"avesformer_mini\"}", "lr_warmup_steps", 30},
        {"train", "{\"model\":\"avsegformer\",\"variant\":\"released\"}", "resolution", 512},
        {"train", "{\"model\":\"avsegformer\",\"task\":\"avss\"}", "eval_start", 10},
        {"train", "{\"model\":\"avsegformer\",\"task\":\"ms3\"}", "freeze_backbone_epochs", 10},
        {"train", "{\"model\":\"aavs\"}", "num_classes", 2},
        {"train", "{\"model\":\"aavs\"}", "grad_clip", 0.01},
        {"train", "{\"model\":\"save\"}", "batch", 8},
        {"train", "{\"model\":\"save\",\"resolution\":1024}", "batch", 2},
        {"train", "{\"model\":\"lightavseg\",\"backbone\":\"seaformer_t\"}", "embed_dim", 128},
        {"train", "{\"model\":\"lightavseg\",\"aux_loss\":\"mix\"}", "aux_weight", 0.1},
        {"train", "{\"model\":\"tpavi\",\"task\":\"s4\",\"aux_loss\":\"cosine\"}", "aux_weight", 50},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        result r = resolve(rows[i].kind, rows[i].given);
        assert_int_equal(r.rc, AVS_OK);
        assert_true(avs_cfg_num(r.cfg, rows[i].name) >= rows[i].want - 1e-12);
        assert_true(avs_cfg_num(r.cfg, rows[i].name) <= rows[i].want + 1e-12);
        avs_arena_free(r.a);
    }
}

static void two_spellings_of_one_configuration_are_equal(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"{\"model\":\"avesformer\"}", "{\"num_queries\":16,\"model\":\"avesformer\",\"task\":\"s4\"}"},
        {"{\"model\":\"avesformer\",\"dice_weight\":1}", "{\"model\":\"avesformer\",\"dice_weight\":1.0}"},
        {"{\"model\":\"avesformer\",\"num_queries\":8.0}", "{\"model\":\"avesformer\",\"num_queries\":8}"},
        {"{\"model\":\"avesformer\",\"resolution\":[224,224]}", "{\"model\":\"avesformer\"}"},
        {"{\"model\":\"avesformer\",\"num_classes\":\"auto\"}", "{\"model\":\"avesformer\"}"},
        {"{\"model\":\"lightavseg\",\"aux_loss\":\"none\",\"align_temperature\":0.1}",
         "{\"model\":\"lightavseg\",\"aux_loss\":\"none\"}"},
        {"{\"model\":\"tpavi\",\"tpavi_stages\":[3,0]}", "{\"model\":\"tpavi\",\"tpavi_stages\":[0,3]}"},
        {"{\"model\":\"avesformer\",\"data_root\":\"/a\"}",
         "{\"model\":\"avesformer\",\"data_root\":\"/b\"}"},
        {"{\"model\":\"avesformer\",\"latency_warmup\":7}", "{\"model\":\"avesformer\"}"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        result x = resolve("train", pairs[i][0]), y = resolve("train", pairs[i][1]);
        assert_int_equal(x.rc, AVS_OK);
        assert_int_equal(y.rc, AVS_OK);
        assert_string_equal(x.json, y.json);
        avs_arena_free(x.a);
        avs_arena_free(y.a);
    }
}

static void canonical_form_has_no_auto_and_no_inactive_parameter(void **state)
{
    (void)state;
    result r = resolve("latency", "{\"model\":\"avesformer_mini\",\"batch\":3,\"data_root\":\"d\"}");
    assert_int_equal(r.rc, AVS_OK);
    assert_string_equal(
        r.json, "{\"audio_backbone\":\"mel_stats\",\"audio_norm\":true,\"backbone\":\"mini\","
                "\"backbone_weights\":\"random\",\"backbone_width\":16,\"cuda_graph\":false,"
                "\"dataset\":\"avsbench\",\"embed_dim\":64,\"ffn_dim\":256,\"frames\":1,"
                "\"generator_ffn_dim\":256,\"init\":\"\",\"latency_max_seconds\":600,"
                "\"latency_min_samples\":1024,\"latency_min_seconds\":10,\"latency_scope\":\"audio\","
                "\"latency_warmup\":50,\"model\":\"avesformer_mini\",\"num_blocks\":2,\"num_classes\":1,"
                "\"num_generator_layers\":1,\"num_heads\":4,\"num_queries\":16,\"precision\":\"fp32\","
                "\"resolution\":96,\"task\":\"s4\"}");
    assert_false(avs_cfg_has(r.cfg, "batch"));
    assert_true(avs_cfg_has(r.cfg, "data_root"));
    assert_string_equal(avs_json_str(avs_cfg_json(r.cfg), "data_root", ""), "d");
    avs_arena_free(r.a);
}

static void every_kind_of_problem_names_its_key(void **state)
{
    (void)state;
    static const struct {
        const char *given;
        avs_problem_kind kind;
        const char *key, *text, *help;
    } rows[] = {
        {"{\"task\":\"s4\"}", AVS_P_NO_MODEL, "model", "no model is given", NULL},
        {"{\"model\":\"avesfomer\"}", AVS_P_NO_MODEL, "model", "there is no model 'avesfomer'",
         "did you mean 'avesformer'?"},
        {"{\"model\":3}", AVS_P_NO_MODEL, "model", "model wants a name, found 3", NULL},
        {"{\"model\":\"avesformer\",\"num_querys\":8}", AVS_P_UNKNOWN, "num_querys",
         "unknown key 'num_querys' for model 'avesformer'",
         "did you mean 'num_queries'? (avsweep show --schema avesformer lists them all)"},
        {"{\"model\":\"avesformer\",\"seed\":1}", AVS_P_RESERVED, "seed", NULL,
         "use the key 'seeds' of the sweep"},
        {"{\"model\":\"avesformer\",\"batch\":1.5}", AVS_P_TYPE, "batch",
         "batch wants a whole number, found 1.5", NULL},
        {"{\"model\":\"avesformer\",\"shuffle\":\"yes\"}", AVS_P_TYPE, "shuffle",
         "shuffle wants true or false, found \"yes\"", NULL},
        {"{\"model\":\"avesformer\",\"lr\":\"0.1\"}", AVS_P_TYPE, "lr", "lr wants a number, found \"0.1\"",
         NULL},
        {"{\"model\":\"avesformer\",\"fusion\":\"cros\"}", AVS_P_OPTION, "fusion",
         "'cros' is no fusion of model 'avesformer'",
         "did you mean 'cross'? (avesformer accepts dissipation, tpavi, cha, sigmoid, cross)"},
        {"{\"model\":\"save\",\"task\":\"avss\"}", AVS_P_OPTION, "task", "'avss' is no task of model 'save'",
         NULL},
        {"{\"model\":\"avesformer\",\"backbone\":\"swin_b\"}", AVS_P_OPTION, "backbone", NULL, NULL},
        {"{\"model\":\"avesformer\",\"lr\":11}", AVS_P_RANGE, "lr", "lr is 11, outside its range 0 to 10",
         NULL},
        {"{\"model\":\"avesformer\",\"resolution\":200}", AVS_P_RANGE, "resolution",
         "resolution is 200, not a multiple of 32", NULL},
        {"{\"model\":\"avesformer\",\"embed_dim\":96,\"num_heads\":7}", AVS_P_CONFLICT, "embed_dim",
         "embed_dim is 96, not a multiple of num_heads 7", NULL},
        {"{\"model\":\"avesformer\",\"num_heads\":7}", AVS_P_CONFLICT, "num_heads",
         "embed_dim is 256, not a multiple of num_heads 7", NULL},
        {"{\"model\":\"avesformer\",\"elf_stages\":\"CTX\"}", AVS_P_RANGE, "elf_stages", NULL, NULL},
        {"{\"model\":\"avesformer\",\"neck_kernel_size\":4}", AVS_P_RANGE, "neck_kernel_size", NULL, NULL},
        {"{\"model\":\"avesformer\",\"query_generator\":\"none\",\"num_queries\":2}", AVS_P_CONFLICT,
         "num_queries", "query_generator none has one query", NULL},
        {"{\"model\":\"avesformer\",\"num_classes\":3}", AVS_P_CONFLICT, "num_classes", NULL, NULL},
        {"{\"model\":\"avesformer\",\"backbone_depths\":3}", AVS_P_UNKNOWN, "backbone_depths", NULL, NULL},
        {"{\"model\":\"aavs\",\"backbone_depths\":3}", AVS_P_CONFLICT, "backbone_depths",
         "backbone_depths goes only with a custom backbone, not with 'swin_b'", NULL},
        {"{\"model\":\"sama\",\"backbone\":\"sam_vit_custom\"}", AVS_P_MISSING, "backbone_patch_size", NULL,
         NULL},
        {"{\"model\":\"aavs\",\"stage\":\"two\",\"task\":\"s4\",\"stage1_masks\":\"m\"}", AVS_P_CONFLICT,
         "stage", "stages two and end_to_end need task avss", NULL},
        {"{\"model\":\"aavs\",\"task\":\"avss\"}", AVS_P_MISSING, "stage1_masks",
         "stage1_masks must be given where stage1_mask_eval is predicted", NULL},
        {"{\"model\":\"aavs\",\"robust_key\":false}", AVS_P_INACTIVE, "robust_key",
         "robust_key has no effect here: it acts only where stage=two", NULL},
        {"{\"model\":\"lightavseg\",\"cmfd\":false,\"aux_loss\":\"avm\"}", AVS_P_CONFLICT, "aux_loss", NULL,
         NULL},
        {"{\"model\":\"lightavseg\",\"resolution\":[96,48]}", AVS_P_RANGE, "resolution",
         "resolution is 48, below 64", NULL},
        {"{\"model\":\"avsegformer\",\"aux_loss\":\"mix\"}", AVS_P_CONFLICT, "aux_loss", NULL, NULL},
        {"{\"model\":\"tpavi\",\"task\":\"s4\",\"aux_loss\":\"avm\"}", AVS_P_CONFLICT, "aux_loss", NULL,
         NULL},
        {"{\"model\":\"tpavi\",\"task\":\"ms3\",\"tpavi_stages\":[0,1],\"avm_stages\":[1,2]}", AVS_P_CONFLICT,
         "avm_stages", "avm_stages has stage 2, which is not in tpavi_stages", NULL},
        {"{\"model\":\"tpavi\",\"task\":\"ms3\",\"tpavi_stages\":[]}", AVS_P_CONFLICT, "tpavi_stages", NULL,
         NULL},
        {"{\"model\":\"tpavi\",\"task\":\"ms3\",\"tpavi_audio_visual\":false}", AVS_P_CONFLICT,
         "tpavi_audio_visual", NULL, NULL},
        {"{\"model\":\"tpavi\",\"tpavi_stages\":[1,1]}", AVS_P_RANGE, "tpavi_stages",
         "tpavi_stages lists 1 twice", NULL},
        {"{\"model\":\"tpavi\",\"tpavi_stages\":[4]}", AVS_P_RANGE, "tpavi_stages", NULL, NULL},
        {"{\"model\":\"tpavi\",\"tpavi_stages\":1}", AVS_P_TYPE, "tpavi_stages", NULL, NULL},
        {"{\"model\":\"avesformer_mini\",\"steps\":10,\"epochs\":5}", AVS_P_INACTIVE, "epochs",
         "epochs has no effect here: it acts only where steps=0", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        result r = resolve("train", rows[i].given);
        if (r.rc != AVS_EPARSE) print_message("%s was accepted\n", rows[i].given);
        assert_int_equal(r.rc, AVS_EPARSE);
        assert_string_equal(r.problems->key, rows[i].key);
        assert_int_equal(r.problems->kind, rows[i].kind);
        if (rows[i].text) assert_string_equal(r.problems->text, rows[i].text);
        if (rows[i].help) assert_string_equal(r.problems->help, rows[i].help);
        avs_arena_free(r.a);
    }
}

static void problems_come_in_the_order_of_the_keys(void **state)
{
    (void)state;
    result r =
        resolve("train", "{\"zzz\":1,\"lr\":-1,\"model\":\"avesformer\",\"batch\":\"x\",\"foo_bar\":1}");
    static const char *const want[] = {"zzz", "lr", "batch", "foo_bar"};
    const avs_problem *p = r.problems;
    for (int i = 0; i < 4; i++, p = p->next) {
        assert_non_null(p);
        assert_string_equal(p->key, want[i]);
    }
    assert_null(p);
    avs_arena_free(r.a);
}

static void nearest_counts_swaps_once_and_refuses_far_words(void **state)
{
    (void)state;
    static const char *const names[] = {"batch", "num_queries", "lr", "epochs"};
    assert_string_equal(avs_nearest("bacth", names, 4), "batch");
    assert_string_equal(avs_nearest("num_querys", names, 4), "num_queries");
    assert_string_equal(avs_nearest("epoch", names, 4), "epochs");
    assert_null(avs_nearest("xy", names, 4));
    assert_null(avs_nearest("resolution", names, 4));
    assert_null(avs_nearest("", names, 4));
}

static bool has_rule_text(const char *sets, const char *name)
{
    const char *word;
    size_t n, len = strlen(name);
    while (avs_schema_word(&sets, &word, &n))
        if (n >= len && strncmp(word, name, len) == 0 && (n == len || word[len] == '=')) return true;
    return false;
}

/* A rule that names a parameter no model has would never act. */
static void every_rule_names_parameters_of_its_models(void **state)
{
    (void)state;
    for (const char *const *m = avs_schema_models(); *m; m++) {
        for (const avs_default_rule *r = avs_default_rules; r->models; r++) {
            const char *at = r->sets, *word;
            size_t n;
            if (!avs_schema_lists(r->models, *m)) continue;
            while (avs_schema_word(&at, &word, &n)) {
                char name[64];
                size_t len = strcspn(word, "=");
                assert_true(len < sizeof name && len < n);
                memcpy(name, word, len);
                name[len] = '\0';
                assert_non_null(avs_schema_find(*m, name));
            }
        }
        for (const avs_active_rule *r = avs_active_rules; r->models; r++) {
            if (!avs_schema_lists(r->models, *m)) continue;
            bool any = false;
            for (const avs_param_spec *p = avs_schema_of(*m); p->name; p++)
                any |= has_rule_text(r->names, p->name);
            assert_true(any);
        }
        for (const avs_constraint_rule *r = avs_constraint_rules; r->models; r++)
            if (avs_schema_lists(r->models, *m)) {
                assert_non_null(avs_schema_find(*m, r->key));
                assert_non_null(avs_schema_find(*m, r->other));
            }
    }
}

static void schemas_are_written_in_three_formats(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    for (const char *const *m = avs_schema_models(); *m; m++) {
        avs_buf b = AVS_BUF_INIT;
        avs_arena *a = avs_arena_new();
        avs_json *j = NULL;
        size_t n = 0;
        for (const avs_param_spec *p = avs_schema_of(*m); p->name; p++) n++;
        assert_int_equal(avs_schema_write(&b, *m, "json", &e), AVS_OK);
        assert_int_equal(avs_json_parse(a, "schema", b.data, b.len, &j, &e), AVS_OK);
        assert_int_equal(avs_json_get(j, "parameters")->len, n);
        avs_buf_clear(&b);
        assert_int_equal(avs_schema_write(&b, *m, "md", &e), AVS_OK);
        size_t lines = 0;
        for (size_t i = 0; i < b.len; i++) lines += b.data[i] == '\n';
        assert_int_equal(lines, n + 2);
        avs_buf_clear(&b);
        assert_int_equal(avs_schema_write(&b, *m, "text", &e), AVS_OK);
        assert_non_null(strstr(avs_buf_cstr(&b), "num_classes"));
        avs_buf_free(&b);
        avs_arena_free(a);
    }
    avs_buf b = AVS_BUF_INIT;
    assert_int_equal(avs_schema_write(&b, "nobody", "md", &e), AVS_EMISSING);
    assert_int_equal(avs_schema_write(&b, "save", "pdf", &e), AVS_ERANGE);
    avs_buf_free(&b);
}

static void running_out_of_memory_is_an_error(void **state)
{
    (void)state;
    static const char text[] = "{\"model\":\"avesformer\",\"lr\":99,\"nope\":1}";
    for (long n = 1; n < 400; n++) {
        avs_arena *a = avs_arena_new();
        avs_json *given = NULL;
        avs_cfg *cfg = NULL;
        avs_problem *p = NULL;
        avs_err e = AVS_ERR_INIT;
        assert_int_equal(avs_json_parse(a, "given", text, sizeof text - 1, &given, &e), AVS_OK);
        avs_alloc_fail_after(n);
        int rc = avs_cfg_resolve(a, "train", given, &cfg, &p, &e);
        avs_alloc_fail_after(0);
        assert_true(rc == AVS_ENOMEM || rc == AVS_EPARSE);
        avs_arena_free(a);
        if (rc == AVS_EPARSE) return;
    }
    fail_msg("more than 400 allocations");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_resolves_from_its_name_alone),
        cmocka_unit_test(resolving_the_canonical_form_again_changes_nothing),
        cmocka_unit_test(defaults_follow_task_variant_and_kind),
        cmocka_unit_test(two_spellings_of_one_configuration_are_equal),
        cmocka_unit_test(canonical_form_has_no_auto_and_no_inactive_parameter),
        cmocka_unit_test(every_kind_of_problem_names_its_key),
        cmocka_unit_test(problems_come_in_the_order_of_the_keys),
        cmocka_unit_test(nearest_counts_swaps_once_and_refuses_far_words),
        cmocka_unit_test(every_rule_names_parameters_of_its_models),
        cmocka_unit_test(schemas_are_written_in_three_formats),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
