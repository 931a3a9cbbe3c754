/* Keys of weight files against keys of a model: every rule and every difference, with files of both containers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "models/layers.h"
#include "models/model.h"
#include "workers/init.h"
#include "workers/weights.h"

#define NESTED AVS_SOURCE_DIR "/tests/engine/tensor/fixtures/nested.pth"

static char path[64];

static int name_file(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/avs_weights_%ld.safetensors", (long)getpid());
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    (void)unlink(path);
    return 0;
}

/* ------------------------------------------------------------------ files and wants by hand */

enum { MOST = 8 };

/* "key:2x3" -> key and extents; at most two axes, none: a scalar. */
static int64_t split(const char *text, char key[96], int64_t d[2], int *rank)
{
    const char *colon = strrchr(text, ':');
    char *end;
    int64_t n = 1;
    *rank = 0;
    (void)snprintf(key, 96, "%.*s", (int)(colon - text), text);
    for (const char *p = colon + 1; *p; p = *end ? end + 1 : end) {
        d[*rank] = strtoll(p, &end, 10);
        n *= d[(*rank)++];
    }
    return n;
}

/* A file whose tensors hold 0, 1, 2, ..; up to MOST texts of split, ended by NULL. */
static void write_file(const char *const *tensors)
{
    static const float ramp[64] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                   16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    avs_arena *a = avs_arena_new();
    avs_st_writer *w = avs_st_writer_new(a);
    avs_err e = AVS_ERR_INIT;
    for (; *tensors; tensors++) {
        char key[96];
        int64_t d[2];
        int rank;
        (void)split(*tensors, key, d, &rank);
        assert_int_equal(avs_st_writer_add(w, key, "F32", rank, d, ramp), AVS_OK);
    }
    if (avs_st_writer_write(w, path, NULL, &e) != AVS_OK) fail_msg("%s", e.msg);
    avs_arena_free(a);
}

typedef struct {
    avs_arena *a;
    avs_st_file f;
    avs_weights_match m;
    avs_weights_want want[MOST];
    int n, rc;
    avs_err e;
} trial;

/* Writes file, compares it with wants; close with done. */
static trial compare(const avs_weights_cfg *given, const char *const *file, const char *const *wants)
{
    trial t = {.a = avs_arena_new()};
    avs_weights_cfg cfg = *given;
    cfg.path = "x.safetensors";
    if (!cfg.prefix) cfg.prefix = "";
    for (; *wants; wants++) {
        char key[96];
        int64_t d[2];
        int rank;
        (void)split(*wants, key, d, &rank);
        t.want[t.n++] = (avs_weights_want){.key = avs_arena_str(t.a, key),
                                           .type = rank == 2   ? AVS_F32T(d[0], d[1])
                                                   : rank == 1 ? AVS_F32T(d[0])
                                                               : (avs_type){.dtype = AVS_F32}};
    }
    write_file(file);
    if (avs_weights_open(&t.f, path, NULL, NULL, &t.e) != AVS_OK) fail_msg("%s", t.e.msg);
    t.rc = avs_weights_compare(t.a, &t.f, &cfg, t.want, t.n, &t.m, &t.e);
    return t;
}

static void done(trial *t)
{
    avs_st_close(&t->f);
    avs_arena_free(t->a);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void expect(const char *what, const trial *t, int code, int taken, const char *words)
{
    if (t->rc != code || t->m.n_taken != taken || !strstr(code == AVS_OK ? t->m.report : t->e.msg, words))
        fail_msg("%s: code %d, %d taken, report '%s', error '%s'", what, t->rc, t->m.n_taken,
                 t->m.report ? t->m.report : "", t->e.msg);
    if (code == AVS_OK) assert_ptr_equal(strchr(t->m.report, '\n'), t->m.report + strlen(t->m.report) - 1);
}

/* ------------------------------------------------------------------ rules */

static void a_star_stands_for_anything(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *key;
        bool matches;
    } rows[] = {{"fc.*", "fc.weight", true},
                {"fc.*", "fc.", true},
                {"fc.*", "fc", false},
                {"fc.*", "xfc.weight", false},
                {"*", "", true},
                {"", "", true},
                {"", "a", false},
                {"*b*b", "abab", true},
                {"*b*b", "aba", false},
                {"a**c", "abc", true},
                {"*a*b*c", "aabbabbc", true},
                {"resnet*", "resnet50", true},
                {"resnet*", "wide_resnet50", false},
                {"*tracked", "bn.num_batches_tracked", true},
                {"blocks.*.attn.rel_pos_h", "blocks.11.attn.rel_pos_h", true},
                {"blocks.*.attn.rel_pos_h", "blocks.11.attn.rel_pos_w", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (avs_key_matches(rows[i].pattern, rows[i].key) != rows[i].matches)
            fail_msg("%s against %s", rows[i].pattern, rows[i].key);
}

static void every_rule_is_for_a_part_that_exists(void **state)
{
    (void)state;
    static const char *const parts[] = {"resnet18",        "pvt_v2_b2",    "swin_b",    "sam_vit_b",
                                        "seaformer_l",     "mobilenet_v2", "vggish",    "avesformer",
                                        "avesformer_mini", "save",         "sama",      "save/sam_vit_b",
                                        "sama/sam_vit_h",  "avsegformer",  "aavs",      "aavs/swin_b",
                                        "resnet50",        "tpavi",        "lightavseg"};
    int n;
    const avs_key_rule *rule = avs_key_rules(&n);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        bool found = false;
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
            found |= avs_key_matches(rule[i].part, parts[k]);
        if (!found || !rule[i].key[0] || !rule[i].why[0]) fail_msg("rule %d, %s", i, rule[i].key);
        if (rule[i].kind == AVS_KEY_INSIDE) assert_int_equal(rule[i].key[strlen(rule[i].key) - 1], '.');
    }
}

static void docs_show_every_rule(void **state)
{
    (void)state;
    avs_buf b = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    int n;
    const avs_key_rule *rule = avs_key_rules(&n);
    if (avs_fs_read(AVS_SOURCE_DIR "/docs/weights.md", 0, &b, &e) != AVS_OK) fail_msg("%s", e.msg);
    for (int i = 0; i < n; i++) {
        char key[128];
        (void)snprintf(key, sizeof key, "`%s`", rule[i].key);
        const char *text = avs_buf_cstr(&b);
        if (!strstr(text, key) || !strstr(text, rule[i].why))
            fail_msg("docs/weights.md lacks %s (%s)", key, rule[i].why);
    }
    avs_buf_free(&b);
}

/* ------------------------------------------------------------------ comparison */

static void twin_stages_take_the_keys_of_the_one_stage(void **state)
{
    (void)state;
    const avs_weights_cfg cfg = {.part = "resnet50", .prefix = "resnet."};
    trial t = compare(&cfg, LIST("layer2.w:3", "layer3.w:2"),
                      LIST("resnet.layer2.w:3", "resnet.layer3_1.w:2", "resnet.layer3_2.w:2"));
    expect("twin", &t, AVS_OK, 3, "weights: x.safetensors: 3 of 3 keys of resnet50 taken\n");
    assert_string_equal(t.m.source[1]->name, "layer3.w");
    assert_string_equal(t.m.source[2]->name, "layer3.w");
    done(&t);
}

static void a_file_that_fits_gives_one_line(void **state)
{
    (void)state;
    const avs_weights_cfg cfg = {.part = "resnet18"};
    trial t = compare(&cfg, LIST("b:3", "a:2x3"), LIST("a:2x3", "b:3"));
    expect("fits", &t, AVS_OK, 2, "weights: x.safetensors: 2 of 2 keys of resnet18 taken\n");
    assert_string_equal(t.m.source[0]->name, "a");
    assert_string_equal(t.m.source[1]->name, "b");
    done(&t);
}

/* All of a checkpoint of SAM enters; what the systems add keeps its values; tables follow the resolution. */
static void checkpoints_of_sam_start_the_systems_on_it(void **state)
{
    (void)state;
    avs_weights_cfg cfg = {.part = "save/sam_vit_b"};
    trial t =
        compare(&cfg, LIST("image_encoder.blocks.2.attn.rel_pos_h:7x2", "mask_decoder.iou_token.weight:1x2"),
                LIST("image_encoder.blocks.2.attn.rel_pos_h:3x2", "mask_decoder.iou_token.weight:1x2",
                     "image_encoder.blocks.2.Adapter.norm.weight:2", "audio_adapter.inject.bias:2",
                     "vggish.features.0.bias:4"));
    expect("save", &t, AVS_OK, 2, "2 of 5 keys");
    assert_int_equal(t.m.n_resized, 1);
    done(&t);
    t = compare(&cfg, LIST("mask_decoder.iou_token.weight:1x2"),
                LIST("mask_decoder.iou_token.weight:1x2", "prompt_encoder.no_mask_embed.weight:1x2"));
    expect("half a SAM", &t, AVS_ESHAPE, 1, "prompt_encoder.no_mask_embed.weight");
    done(&t);

    /* SAMA keeps two tensors of the prompt encoder under other names, and starts them anew unless told */
    const avs_model_rule *rule = avs_model_find("sama");
    for (int loads = 0; loads < 2; loads++) {
        avs_arena *a = avs_arena_new();
        avs_json *given = avs_json_new(a, AVS_J_OBJ);
        avs_cfg *options;
        avs_problem *problems;
        avs_err e = AVS_ERR_INIT;
        avs_json_add_str(a, given, "model", "sama");
        avs_json_add_bool(a, given, "load_prompt_embedding", loads);
        assert_int_equal(avs_cfg_resolve(a, "train", given, &options, &problems, &e), AVS_OK);
        cfg = (avs_weights_cfg){.part = "sama/sam_vit_h"};
        cfg.extra = rule->weight_rules(options, &cfg.n_extra);
        t = compare(&cfg,
                    LIST("prompt_encoder.no_mask_embed.weight:1x2", "mask_decoder.iou_token.weight:1x2"),
                    LIST("no_mask_embed.weight:1x2", "mask_decoder.iou_token.weight:1x2"));
        expect("sama", &t, AVS_OK, 1 + loads, "");
        done(&t);
        avs_arena_free(a);
    }
}

static void every_kind_of_difference_is_refused_by_name(void **state)
{
    (void)state;
    const avs_weights_cfg cfg = {.part = "resnet18"};
    static const struct {
        const char *file[4], *want[4], *says, *reports;
        int missing, unexpected, shape;
    } rows[] = {
        {{"a:2"}, {"a:2", "b:3"}, "1 keys are missing (b)", "1 missing in the file:\n  b\n", 1, 0, 0},
        {{"a:2", "c:1"}, {"a:2"}, "1 not expected (c)", "1 not expected by the model:\n  c\n", 0, 1, 0},
        {{"a:3"}, {"a:2"}, "1 of another shape (a)", "a is [3], the model wants [2]", 0, 0, 1},
        {{"a:2x3"}, {"a:6"}, "1 of another shape (a)", "a is [2,3], the model wants [6]", 0, 0, 1},
        {{"a:1"}, {"a:"}, "1 of another shape (a)", "a is [1], the model wants []", 0, 0, 1},
        {{"a:3x2"}, {"a:2x3"}, "1 of another shape (a)", "a is [3,2]", 0, 0, 1},
        {{"a:3", "c:1"},
         {"a:2", "b:1"},
         "1 keys are missing (b), 1 not expected (c), 1 of another",
         "",
         1,
         1,
         1},
        {{"d:1"}, {"a:1", "b:1", "c:1"}, "3 keys are missing (a, b, ..)", "", 3, 1, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        trial t = compare(&cfg, rows[i].file, rows[i].want);
        const int taken = t.n - rows[i].missing - rows[i].shape;
        expect(rows[i].says, &t, AVS_ESHAPE, taken, rows[i].says);
        assert_int_equal(t.m.n_missing, rows[i].missing);
        assert_int_equal(t.m.n_unexpected, rows[i].unexpected);
        assert_int_equal(t.m.n_shape, rows[i].shape);
        if (!strstr(t.m.report, rows[i].reports)) fail_msg("%s", t.m.report);
        assert_true(strncmp(t.e.msg, "x.safetensors does not fit resnet18: ", 37) == 0);
        assert_null(strchr(t.e.msg, '\n'));
        done(&t);
    }
}

static void rules_allow_what_they_name_for_their_part_alone(void **state)
{
    (void)state;
    static const struct {
        const char *part, *prefix, *file[5], *want[5];
        int code, taken;
        const char *says;
    } rows[] = {
        {"resnet50", "", {"a:1", "fc.weight:2", "fc.bias:1"}, {"a:1"}, AVS_OK, 1, "by rule 2 are left aside"},
        {"swin_b", "", {"a:1", "fc.weight:2"}, {"a:1"}, AVS_ESHAPE, 1, "1 not expected (fc.weight)"},
        {"swin_b", "", {"a:1", "b.num_batches_tracked:"}, {"a:1"}, AVS_OK, 1, "left aside"},
        {"pvt_v2_b2", "", {"module.a:1", "module.head.bias:1"}, {"a:1"}, AVS_OK, 1, "left aside (head.bias)"},
        {"vggish", "", {"a:1", "pproc.pca_means:1"}, {"a:1"}, AVS_OK, 1, "left aside"},
        /* all or none of what may be missing */
        {"mobilenet_v2", "", {"a:1"}, {"a:1", "embed.weight:2", "embed.bias:1"}, AVS_OK, 1, "2 keep their"},
        {"mobilenet_v2",
         "",
         {"a:1", "embed.bias:1"},
         {"a:1", "embed.weight:2", "embed.bias:1"},
         AVS_ESHAPE,
         2,
         "1 keys are missing (embed.weight)"},
        {"resnet18", "", {"a:1"}, {"a:1", "embed.weight:2"}, AVS_ESHAPE, 1, "missing"},
        /* checkpoints of ours */
        {"avesformer",
         "",
         {"a:1", "opt.m.a:1", "opt.v.a:1"},
         {"a:1"},
         AVS_OK,
         1,
         "left aside (opt.m.a, opt.v.a)"},
        {"avesformer", "", {"a:1", "vggish.x:1"}, {"a:1"}, AVS_OK, 1, "left aside"},
        {"avesformer", "", {"a:1"}, {"a:1", "vggish.x:1"}, AVS_OK, 1, "1 keep their values (vggish.x)"},
        {"avesformer",
         "",
         {"a:1", "mask_head.fc.2.weight:1"},
         {"a:1", "mask_head.fc.2.weight:71"},
         AVS_OK,
         1,
         "1 keep their values (mask_head.fc.2.weight)"},
        /* a part of a larger file: the rest does not count, but what lies below the prefix does */
        {"resnet18",
         "backbone.",
         {"backbone.a:1", "backbone.fc.bias:1", "neck.b:1"},
         {"backbone.a:1"},
         AVS_OK,
         1,
         "taken from those under backbone.;"},
        {"resnet18", "backbone.", {"backbone.a:1", "backbone.c:1"}, {"backbone.a:1"}, AVS_ESHAPE, 1, "(c)"},
        {"resnet18", "backbone.", {"a:1"}, {"backbone.a:1"}, AVS_OK, 1, "1 of 1 keys of resnet18 taken\n"},
        {"resnet18", "backbone.", {"module.backbone.a:1"}, {"backbone.a:1"}, AVS_OK, 1, "under backbone."},
        {"sam_vit_b",
         "",
         {"image_encoder.a:1", "mask_decoder.b:1"},
         {"a:1"},
         AVS_OK,
         1,
         "under image_encoder."},
        {"sam_vit_b",
         "image_encoder.",
         {"image_encoder.a:1", "mask_decoder.b:1"},
         {"image_encoder.a:1"},
         AVS_OK,
         1,
         "under image_encoder."},
        /* a whole system that itself has keys below that prefix keeps them */
        {"sam_vit_b",
         "",
         {"image_encoder.a:1", "mask_decoder.b:1"},
         {"image_encoder.a:1", "mask_decoder.b:1"},
         AVS_OK,
         2,
         "2 of 2"},
        {"resnet18", "", {"image_encoder.a:1"}, {"a:1"}, AVS_ESHAPE, 0, "1 not expected (image_encoder.a)"},
        /* Mask2Former's keys stand one deeper, what it lacks keeps its values */
        {"aavs/swin_b",
         "",
         {"model.a:1", "class_predictor.bias:9", "criterion.empty_weight:9"},
         {"model.model.a:1", "model.class_predictor.bias:3", "audio_proj.0.bias:2"},
         AVS_OK,
         1,
         "2 keep their values"},
        {"aavs", "", {"a:1", "model.criterion.empty_weight:3"}, {"a:1"}, AVS_OK, 1, "left aside"},
        {"swin_b",
         "",
         {"swin.a:1", "classifier.weight:1"},
         {"a:1", "hidden_states_norms.stage1.bias:1"},
         AVS_OK,
         1,
         "keep their values (hidden_states_norms"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char what[32];
        const avs_weights_cfg cfg = {.part = rows[i].part, .prefix = rows[i].prefix};
        (void)snprintf(what, sizeof what, "row %d", (int)i);
        trial t = compare(&cfg, rows[i].file, rows[i].want);
        expect(what, &t, rows[i].code, rows[i].taken, rows[i].says);
        done(&t);
    }
}

static void extents_may_not_differ_where_no_training_follows(void **state)
{
    (void)state;
    const avs_weights_cfg cfg = {.part = "avesformer", .exact = true};
    trial t = compare(&cfg, LIST("a:1", "generator.query:16x4"), LIST("a:1", "generator.query:8x4"));
    expect("exact", &t, AVS_ESHAPE, 1, "1 of another shape (generator.query)");
    done(&t);
}

static void a_file_of_another_model_is_refused(void **state)
{
    (void)state;
    const avs_weights_cfg cfg = {.part = "avesformer"};
    trial t = compare(&cfg, LIST("vggish.x:1"), LIST("vggish.y:1"));
    expect("nothing fits", &t, AVS_EMISSING, 0, "x.safetensors: holds no key that fits avesformer");
    done(&t);
}

static void rules_of_the_user_come_first(void **state)
{
    (void)state;
    const avs_key_rule extra[] = {{"*", AVS_KEY_RENAME, "net.", "", "--rename"},
                                  {"*", AVS_KEY_RENAME, "stem.", "conv1.", "--rename"},
                                  {"*", AVS_KEY_UNEXPECTED, "aux.*", "", "--ignore"}};
    const avs_weights_cfg cfg = {.part = "resnet18", .extra = extra, .n_extra = 3};
    trial t = compare(&cfg, LIST("net.stem.weight:2", "net.aux.bias:1"), LIST("conv1.weight:2"));
    expect("renamed", &t, AVS_OK, 1, "1 of 1");
    assert_null(t.m.name[1]);
    done(&t);
}

static void two_keys_may_not_become_one(void **state)
{
    (void)state;
    const avs_weights_cfg cfg = {.part = "resnet18"};
    trial t = compare(&cfg, LIST("a:1", "module.a:1"), LIST("a:1"));
    assert_int_equal(t.rc, AVS_ERANGE);
    assert_non_null(strstr(t.e.msg, "key a (was "));
    assert_non_null(strstr(t.e.msg, "occurs twice"));
    done(&t);
    t = compare(&cfg, LIST("module.:1"), LIST("a:1"));
    assert_int_equal(t.rc, AVS_ERANGE);
    assert_non_null(strstr(t.e.msg, "is empty"));
    done(&t);
}

static void keys_cannot_drive_a_terminal(void **state)
{
    (void)state;
    const avs_weights_cfg cfg = {.part = "resnet18"};
    trial t = compare(&cfg, LIST("a:1", "\x1b[2Jx\ny:1", "module.\x1b[2J:1", "\x1b[2J:1"), LIST("a:1"));
    assert_int_equal(t.rc, AVS_ERANGE); /* two become one: the message quotes the key */
    assert_null(strpbrk(t.e.msg, "\x1b\n"));
    done(&t);
    t = compare(&cfg, LIST("a:1", "\x1b[2Jx\ny:1"), LIST("a:1"));
    expect("hostile key", &t, AVS_ESHAPE, 1, "(?[2Jx?y)");
    assert_null(strchr(t.m.report, '\x1b'));
    assert_non_null(strstr(t.m.report, "  ?[2Jx?y\n"));
    done(&t);
}

static void a_report_shows_twenty_of_a_kind(void **state)
{
    (void)state;
    const avs_weights_cfg cfg = {.path = "x", .part = "resnet18", .prefix = ""};
    avs_arena *a = avs_arena_new();
    avs_weights_want want[30];
    avs_weights_match m;
    avs_st_file f;
    avs_err e = AVS_ERR_INIT;
    write_file(LIST("k0:1"));
    assert_int_equal(avs_weights_open(&f, path, NULL, NULL, &e), AVS_OK);
    for (int i = 0; i < 30; i++)
        want[i] = (avs_weights_want){.key = avs_arena_fmt(a, "k%d", i), .type = AVS_F32T(1)};
    assert_int_equal(avs_weights_compare(a, &f, &cfg, want, 30, &m, &e), AVS_ESHAPE);
    assert_int_equal(m.n_missing, 29);
    assert_non_null(strstr(m.report, "  k20\n  .. and 9 more\n"));
    avs_st_close(&f);
    avs_arena_free(a);
}

static void every_failed_allocation_is_an_error(void **state)
{
    (void)state;
    const avs_weights_cfg cfg = {.path = "x", .part = "resnet18", .prefix = ""};
    const avs_weights_want want[] = {{"a", AVS_F32T(1)}, {"b", AVS_F32T(2)}};
    int rc = AVS_ENOMEM;
    write_file(LIST("a:1", "fc.bias:1", "c:4", "b:3"));
    for (long n = 1; rc != AVS_ESHAPE && n < 1000; n++) {
        avs_weights_match m = {0};
        avs_st_file f = {0};
        avs_err e = AVS_ERR_INIT;
        avs_alloc_fail_after(n);
        avs_arena *a = avs_arena_new();
        rc = a ? avs_weights_open(&f, path, NULL, NULL, &e) : AVS_ENOMEM;
        if (rc == AVS_OK) rc = avs_weights_compare(a, &f, &cfg, want, 2, &m, &e);
        avs_alloc_fail_after(0);
        assert_true(rc == AVS_ENOMEM || rc == AVS_ESHAPE);
        avs_st_close(&f);
        avs_arena_free(a);
    }
    assert_int_equal(rc, AVS_ESHAPE);
}

/* ------------------------------------------------------------------ interpolation */

static void position_tables_are_interpolated_at_pixel_centres(void **state)
{
    (void)state;
    /* rows 0 1 2 3 of one column: shrunk, each is the mean of the two around its centre; grown, ends are kept */
    static const struct {
        const char *file, *want;
        int n;
        float v[8];
    } rows[] = {{"blocks.2.attn.rel_pos_h:4x1", "blocks.2.attn.rel_pos_h:2x1", 2, {0.5F, 2.5F}},
                {"blocks.2.attn.rel_pos_w:2x1", "blocks.2.attn.rel_pos_w:4x1", 4, {0, 0.25F, 0.75F, 1}},
                {"blocks.2.attn.rel_pos_w:1x2", "blocks.2.attn.rel_pos_w:3x2", 6, {0, 1, 0, 1, 0, 1}},
                {"blocks.2.attn.rel_pos_h:4x2", "blocks.2.attn.rel_pos_h:1x2", 2, {3, 4}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const avs_weights_cfg cfg = {.part = "sam_vit_b", .exact = true};
        float got[8];
        avs_err e = AVS_ERR_INIT;
        trial t = compare(&cfg, LIST(rows[i].file), LIST(rows[i].want));
        expect(rows[i].want, &t, AVS_OK, 1, "by rule 1 are interpolated (blocks.2.attn.rel_pos_");
        assert_int_equal(t.m.n_resized, 1);
        assert_int_equal(avs_weights_value(t.m.source[0], &t.want[0], got, &e), AVS_OK);
        for (int k = 0; k < rows[i].n; k++)
            if (got[k] != rows[i].v[k]) fail_msg("%s[%d] is %g", rows[i].want, k, (double)got[k]);
        done(&t);
    }
}

static void a_grid_of_positions_is_interpolated_along_both_axes(void **state)
{
    (void)state;
    float grid[2 * 4 * 2], got[4 * 2 * 2];
    avs_err e = AVS_ERR_INIT;
    for (int i = 0; i < 16; i++) grid[i] = (float)i;
    const avs_st_tensor t = {.name = "pos_embed",
                             .dtype = "F32",
                             .rank = 4,
                             .d = {1, 2, 4, 2},
                             .count = 16,
                             .data = (const uint8_t *)grid,
                             .bytes = sizeof grid};
    const avs_weights_want want = {.key = "pos_embed", .type = AVS_F32T(1, 4, 2, 2)};
    assert_int_equal(avs_weights_value(&t, &want, got, &e), AVS_OK);
    for (int y = 0; y < 4; y++)
        for (int x = 0; x < 2; x++)
            for (int k = 0; k < 2; k++) {
                static const float row[4] = {0, 0.25F, 0.75F, 1};
                const float v = row[y] * 8 + (float)(x ? 2.5 : 0.5) * 2 + (float)k;
                assert_true(got[(y * 2 + x) * 2 + k] == v);
            }
}

static void only_tables_of_the_same_width_are_interpolated(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"blocks.2.attn.rel_pos_h:4x2", "blocks.2.attn.rel_pos_h:2x3"},
                                          {"blocks.2.attn.rel_pos_h:4", "blocks.2.attn.rel_pos_h:2"},
                                          {"blocks.2.attn.rel_pos_h:0x2", "blocks.2.attn.rel_pos_h:2x2"},
                                          {"pos_embed:4x2", "pos_embed:8"},
                                          {"blocks.2.attn.qkv.weight:4x2", "blocks.2.attn.qkv.weight:2x2"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const avs_weights_cfg cfg = {.part = "sam_vit_b"};
        trial t = compare(&cfg, LIST(rows[i][0]), LIST(rows[i][1]));
        expect(rows[i][0], &t, AVS_ESHAPE, 0, "1 of another shape");
        done(&t);
    }
}

/* ------------------------------------------------------------------ containers and plans */

static void write_bytes(const void *data, size_t n)
{
    avs_err e = AVS_ERR_INIT;
    if (avs_fs_write_atomic(path, data, n, &e) != AVS_OK) fail_msg("%s", e.msg);
}

/* The length 640 begins with the bytes 80 02, as a pickle of protocol 2 does. */
static void a_header_length_is_not_taken_for_a_pickle(void **state)
{
    (void)state;
    for (uint8_t protocol = 2; protocol <= 5; protocol++) {
        static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
        char bytes[8 + 0x580 + 1];
        const size_t n = 0x80 + ((size_t)protocol << 8);
        avs_st_file f;
        avs_pth_info info;
        avs_err e = AVS_ERR_INIT;
        memset(bytes, ' ', sizeof bytes);
        memcpy(bytes, (const char[8]){(char)0x80, (char)protocol}, 8);
        memcpy(bytes + 8, header, sizeof header - 1);
        write_bytes(bytes, 8 + n + 1);
        if (avs_weights_open(&f, path, NULL, &info, &e) != AVS_OK) fail_msg("%s", e.msg);
        assert_string_equal(info.container, "safetensors");
        assert_int_equal(f.n, 1);
        avs_st_close(&f);
    }
}

static void what_is_no_weight_file_is_told_so(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } rows[] = {
        {"<!DOCTYPE html>", 15, "neither a safetensors file nor a checkpoint of torch.save: it begins"},
        {"", 0, "neither a safetensors file"},
        {"PK\3\4", 4, "cut off or damaged"},
        {"\x80\2K\1.", 5, "magic number of torch.save"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        avs_st_file f;
        avs_err e = AVS_ERR_INIT;
        write_bytes(rows[i].bytes, rows[i].n);
        assert_int_equal(avs_weights_open(&f, path, NULL, NULL, &e), AVS_EPARSE);
        if (!strstr(e.msg, rows[i].says) || strncmp(e.msg, path, strlen(path)) != 0) fail_msg("%s", e.msg);
    }
    avs_st_file f;
    avs_err e = AVS_ERR_INIT;
    write_file(LIST("a:1"));
    assert_int_equal(avs_weights_open(&f, path, "model", NULL, &e), AVS_ERANGE);
    assert_int_equal(avs_weights_open(&f, "/nowhere/x.pth", NULL, NULL, &e), AVS_EMISSING);
}

typedef struct {
    avs_arena *a;
    avs_plan *plan;
} small;

/* What nested.pth holds, below "net.": a convolution and its BatchNorm. */
static small open_small(int channels)
{
    small s = {.a = avs_arena_new()};
    avs_err e = AVS_ERR_INIT;
    avs_graph *g = avs_graph_new(s.a, false);
    avs_val x = avs_input(g, "x", AVS_F32T(1, 8, 8, 3));
    avs_scope_push(g, "net");
    x = avs_nn_batchnorm(g, avs_nn_conv(g, x, "0", channels, 3, 1, 0, true, AVS_NN_TORCH), "1");
    avs_scope_pop(g);
    avs_graph_output(g, "y", x);
    const avs_plan_cfg pc = {.backend = "cpu"};
    if (avs_graph_check(g, &e) != AVS_OK || avs_plan_build(&s.plan, g, &pc, &e) != AVS_OK ||
        avs_init_plan(s.plan, g, 1, &e) != AVS_OK)
        fail_msg("%s", e.msg);
    return s;
}

static void close_small(small *s)
{
    avs_plan_free(s->plan);
    avs_arena_free(s->a);
}

static void get(small *s, const char *key, float out[256])
{
    avs_err e = AVS_ERR_INIT;
    assert_true(avs_type_count(&avs_plan_param_find(s->plan, key)->type) <= 256);
    memset(out, 0, 256 * sizeof *out);
    if (avs_plan_param_get(s->plan, key, out, &e) != AVS_OK) fail_msg("%s", e.msg);
}

/* nested.pth as safetensors in `path`. */
static void rewrite_nested(void)
{
    avs_st_file f;
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_st_writer *w = avs_st_writer_new(a);
    if (avs_weights_open(&f, NESTED, NULL, NULL, &e) != AVS_OK) fail_msg("%s", e.msg);
    for (int i = 0; i < f.n; i++)
        assert_int_equal(avs_st_writer_add(w, f.t[i].name, f.t[i].dtype, f.t[i].rank, f.t[i].d, f.t[i].data),
                         AVS_OK);
    assert_int_equal(avs_st_writer_write(w, path, NULL, &e), AVS_OK);
    avs_st_close(&f);
    avs_arena_free(a);
}

static void both_containers_give_a_plan_the_same_values(void **state)
{
    (void)state;
    static const char *const keys[] = {"net.0.weight", "net.0.bias",         "net.1.weight",
                                       "net.1.bias",   "net.1.running_mean", "net.1.running_var"};
    small from_pth = open_small(4), from_st = open_small(4);
    avs_err e = AVS_ERR_INIT;
    float x[256], y[256];
    rewrite_nested();
    const avs_weights_cfg pth = {.path = NESTED, .part = "resnet18", .prefix = "net."};
    const avs_weights_cfg st = {.path = path, .part = "resnet18", .prefix = "net."};
    if (avs_weights_load(from_pth.plan, &pth, NULL, &e) != AVS_OK) fail_msg("%s", e.msg);
    if (avs_weights_load(from_st.plan, &st, NULL, &e) != AVS_OK) fail_msg("%s", e.msg);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        get(&from_pth, keys[i], x);
        get(&from_st, keys[i], y);
        assert_memory_equal(x, y, sizeof x);
    }
    get(&from_pth, "net.0.bias", x);
    assert_true(x[1] == 0.125F && x[3] == 0.375F);
    close_small(&from_pth);
    close_small(&from_st);
}

static void a_file_that_does_not_fit_changes_nothing(void **state)
{
    (void)state;
    small s = open_small(5);
    avs_err e = AVS_ERR_INIT;
    float before[256], after[256];
    char text[512];
    FILE *log = fmemopen(text, sizeof text, "w");
    const avs_weights_cfg cfg = {.path = NESTED, .part = "resnet18", .prefix = "net."};
    get(&s, "net.0.weight", before);
    assert_int_equal(avs_weights_load(s.plan, &cfg, log, &e), AVS_ESHAPE);
    (void)fclose(log);
    get(&s, "net.0.weight", after);
    assert_memory_equal(before, after, sizeof before);
    assert_non_null(strstr(text, "0.weight is [4,3,3,3], the model wants [5,3,3,3]"));
    assert_non_null(strstr(e.msg, "6 of another shape"));
    close_small(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_star_stands_for_anything),
        cmocka_unit_test(every_rule_is_for_a_part_that_exists),
        cmocka_unit_test(docs_show_every_rule),
        cmocka_unit_test(a_file_that_fits_gives_one_line),
        cmocka_unit_test(checkpoints_of_sam_start_the_systems_on_it),
        cmocka_unit_test(twin_stages_take_the_keys_of_the_one_stage),
        cmocka_unit_test(every_kind_of_difference_is_refused_by_name),
        cmocka_unit_test(rules_allow_what_they_name_for_their_part_alone),
        cmocka_unit_test(extents_may_not_differ_where_no_training_follows),
        cmocka_unit_test(a_file_of_another_model_is_refused),
        cmocka_unit_test(rules_of_the_user_come_first),
        cmocka_unit_test(two_keys_may_not_become_one),
        cmocka_unit_test(keys_cannot_drive_a_terminal),
        cmocka_unit_test(a_report_shows_twenty_of_a_kind),
        cmocka_unit_test(every_failed_allocation_is_an_error),
        cmocka_unit_test(position_tables_are_interpolated_at_pixel_centres),
        cmocka_unit_test(a_grid_of_positions_is_interpolated_along_both_axes),
        cmocka_unit_test(only_tables_of_the_same_width_are_interpolated),
        cmocka_unit_test(a_header_length_is_not_taken_for_a_pickle),
        cmocka_unit_test(what_is_no_weight_file_is_told_so),
        cmocka_unit_test(both_containers_give_a_plan_the_same_values),
        cmocka_unit_test(a_file_that_does_not_fit_changes_nothing),
    };
    return cmocka_run_group_tests(tests, name_file, remove_file);
}
