/* `init` with a whole checkpoint of every system, at full size: every key and extent that the reference implementation
 * writes, made here from the system's own declarations and what the rules say that a file holds beside them. Headers alone:
 * no values are needed to see whether a file fits. One key less, one more, or one of another extent is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "models/model.h"
#include "workers/weights.h"

enum { MOST = 8192 };

typedef struct {
    avs_arena *a;
    avs_graph *g; /* as in training: on cached features, without the audio encoder */
    const char *model;
    avs_st_file file;
    avs_weights_want *want;
    int n_want, encoder; /* keys of the file that belong to the audio encoder */
} checkpoint;

static avs_graph *built(avs_arena *a, const char *options, avs_audio_input audio, const char **model)
{
    avs_err e = AVS_ERR_INIT;
    avs_problem *p = NULL;
    avs_json *given = NULL;
    avs_cfg *cfg = NULL;
    avs_model_io io = {0};
    int h, w;
    const char *text = avs_arena_fmt(a, "{%s}", options);
    if (avs_json_parse(a, "case", text, strlen(text), &given, &e) != AVS_OK ||
        avs_cfg_resolve(a, "train", given, &cfg, &p, &e) != AVS_OK)
        fail_msg("%s: %s", options, p ? p->text : e.msg);
    avs_cfg_size(cfg, "resolution", &h, &w);
    avs_graph *g = avs_graph_new(a, true);
    const avs_build b = {
        .rows = 1, .height = h, .width = w, .training = true, .with_loss = true, .audio_input = audio};
    *model = avs_cfg_str(cfg, "model");
    if (avs_model_find(*model)->build(g, cfg, &b, &io, &e) != AVS_OK) fail_msg("%s: %s", options, e.msg);
    return g;
}

static bool is_weight(const avs_graph *g, uint32_t i)
{
    return (g->v[i].kind == AVS_V_PARAM || g->v[i].kind == AVS_V_BUFFER) && !g->v[i].view_of;
}

static void put(checkpoint *c, const char *name, const avs_type *t)
{
    assert_true(c->file.n < MOST);
    avs_st_tensor *x = &c->file.t[c->file.n++];
    *x = (avs_st_tensor){.name = name, .dtype = "F32", .rank = t->rank, .count = avs_type_count(t)};
    for (int k = 0; k < t->rank; k++) x->d[k] = t->d[k];
}

/* As torch.save of a DataParallel module writes it: "module." before every key, BatchNorm counts its batches. */
static void write_keys(checkpoint *c, const avs_graph *whole, const char *encoder)
{
    const avs_type scalar = AVS_F32T(1);
    for (uint32_t i = 1; i < whole->n_v; i++) {
        if (!is_weight(whole, i)) continue;
        const char *key = whole->v[i].name, *mean = strstr(key, "running_mean");
        put(c, avs_arena_fmt(c->a, "module.%s", key), &whole->v[i].type);
        c->encoder += !strncmp(key, encoder, strlen(encoder));
        if (!mean) continue;
        put(c, avs_arena_fmt(c->a, "module.%.*snum_batches_tracked", (int)(mean - key), key), &scalar);
    }
}

static void open_checkpoint(checkpoint *c, const char *options)
{
    *c = (checkpoint){.a = avs_arena_new()};
    c->file.t = calloc(MOST, sizeof *c->file.t);
    c->want = calloc(MOST, sizeof *c->want);
    assert_non_null(c->file.t);
    assert_non_null(c->want);
    const avs_graph *whole = built(c->a, options, AVS_AUDIO_MEL, &c->model);
    write_keys(c, whole, avs_model_find(c->model)->audio_prefix);
    c->g = built(c->a, options, AVS_AUDIO_FEATURE, &c->model);
    for (uint32_t i = 1; i < c->g->n_v; i++)
        if (is_weight(c->g, i))
            c->want[c->n_want++] = (avs_weights_want){.key = c->g->v[i].name, .type = c->g->v[i].type};
}

static void close_checkpoint(checkpoint *c)
{
    free(c->file.t);
    free(c->want);
    avs_arena_free(c->a);
}

static int compared(const checkpoint *c, avs_weights_match *m, avs_err *e)
{
    *m = (avs_weights_match){0};
    *e = (avs_err)AVS_ERR_INIT;
    return avs_weights_compare(c->a, &c->file,
                               &(avs_weights_cfg){.path = "x.pth", .part = c->model, .prefix = ""}, c->want,
                               c->n_want, m, e);
}

static void refused(const checkpoint *c, const char *options, const char *change, const char *key)
{
    avs_weights_match m;
    avs_err e;
    const int rc = compared(c, &m, &e);
    if (rc != AVS_ESHAPE || !strstr(e.msg, key))
        fail_msg("%s: %s of %s: code %d, '%s'", options, change, key, rc, e.msg);
}

static void check(const char *options)
{
    checkpoint c;
    avs_weights_match m;
    avs_err e;
    open_checkpoint(&c, options);
    if (compared(&c, &m, &e) != AVS_OK) fail_msg("%s: %s\n%s", options, e.msg, m.report);
    if (m.n_taken != c.n_want || m.n_missing || m.n_unexpected || m.n_shape || m.n_resized)
        fail_msg("%s: %d of %d keys taken, %s", options, m.n_taken, c.n_want, m.report);
    assert_true(c.encoder > 0); /* it was in the file, and was left aside */

    /* a weight in the middle of the system, of which no rule speaks */
    int nth = c.n_want / 2;
    while (strcmp(strrchr(c.want[nth].key, '.'), ".weight") != 0) nth++;
    const char *key = avs_arena_fmt(c.a, "module.%s", c.want[nth].key);
    avs_st_tensor *one = c.file.t;
    while (strcmp(one->name, key) != 0) one++;
    const avs_st_tensor kept = *one;
    one->d[0]++;
    refused(&c, options, "another extent", kept.name + strlen("module."));
    *one = kept;
    one->name = "module.a_key_of_somebody_else";
    refused(&c, options, "a strange key", "a_key_of_somebody_else");
    refused(&c, options, "the loss", kept.name + strlen("module."));
    close_checkpoint(&c);
}

static void a_checkpoint_of_each_reference_starts_its_system(void **state)
{
    (void)state;
    static const char *const systems[] = {
        "\"model\":\"avesformer\",\"backbone\":\"resnet18\"",
        "\"model\":\"avesformer\"",
        "\"model\":\"avesformer\",\"backbone\":\"pvt_v2_b5\",\"task\":\"avss\"",
        "\"model\":\"avsegformer\"",
        "\"model\":\"avsegformer\",\"variant\":\"released\",\"task\":\"ms3\",\"resolution\":224",
        "\"model\":\"avsegformer\",\"backbone\":\"pvt_v2_b5\",\"task\":\"avss\"",
        "\"model\":\"save\"",
        "\"model\":\"save\",\"backbone\":\"sam_vit_h\"",
        "\"model\":\"sama\",\"resolution\":256",
        "\"model\":\"lightavseg\"",
        "\"model\":\"lightavseg\",\"backbone\":\"resnet50\",\"task\":\"avss\"",
        "\"model\":\"tpavi\"",
        "\"model\":\"tpavi\",\"task\":\"ms3\",\"backbone\":\"pvt_v2_b5\"",
        "\"model\":\"tpavi\",\"task\":\"avss\"",
    };
    for (size_t i = 0; i < sizeof systems / sizeof *systems; i++) check(systems[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_checkpoint_of_each_reference_starts_its_system)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
