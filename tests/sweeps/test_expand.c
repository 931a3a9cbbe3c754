/* Expansion: the example sweeps and their stated counts, blocks, joins, identities and the printed lists. */
#include "sweeps/sweep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fs.h"
#include "base/hash.h"
#include "models/schema.h"
#include "sweeps/expr.h"
#include "sweeps/listing.h"

#define EXAMPLES AVS_SOURCE_DIR "/tests/sweeps/examples/"
#define HEAD     "avsweep: 1\nname: t\nkind: train\n"

typedef struct {
    avs_arena *a;
    avs_sweep *s;
    avs_diag d;
    avs_buf text; /* diagnostics */
} loaded;

static loaded finish(loaded l, avs_sweep *s)
{
    l.s = s;
    avs_diag_write(&l.d, &l.text);
    return l;
}

static loaded parse_with(const char *text, const avs_sweep_options *o)
{
    loaded l = {.a = avs_arena_new()};
    avs_err e = AVS_ERR_INIT;
    avs_diag_init(&l.d, l.a);
    avs_sweep *s = avs_sweep_parse(l.a, "t.yaml", text, strlen(text), o, &l.d, &e);
    return finish(l, s);
}

static loaded parse(const char *text)
{
    loaded l = parse_with(text, NULL);
    if (!l.s) print_message("%s", avs_buf_cstr(&l.text));
    assert_non_null(l.s);
    return l;
}

static loaded load(const char *path, const avs_sweep_options *o)
{
    loaded l = {.a = avs_arena_new()};
    avs_err e = AVS_ERR_INIT;
    avs_diag_init(&l.d, l.a);
    avs_sweep *s = avs_sweep_load(l.a, path, o, &l.d, &e);
    l = finish(l, s);
    if (!s) print_message("%s%s\n", avs_buf_cstr(&l.text), e.msg);
    assert_non_null(l.s);
    return l;
}

static const char *params_of(const loaded *l, const avs_sweep_trial *t)
{
    const char *text = avs_sweep_params(l->s, t->config, l->a);
    assert_non_null(text);
    return text;
}

static const avs_json *axes_of(const loaded *l, const avs_sweep_trial *t)
{
    const avs_json *axes = avs_sweep_axes(l->s, t->config, l->a);
    assert_non_null(axes);
    return axes;
}

static void unload(loaded *l)
{
    avs_buf_free(&l->text);
    avs_arena_free(l->a);
}

static void check_counts(const char *path, int stages, const int64_t *want)
{
    loaded l = load(path, NULL);
    assert_int_equal(l.s->n_stages, stages);
    int64_t sum = 0;
    for (int i = 0; i < stages; i++) {
        assert_int_equal(l.s->stages[i].n_trials, want[i]);
        sum += want[i];
    }
    assert_int_equal(l.s->n_trials, sum);
    assert_int_equal(l.d.n_errors, 0);
    unload(&l);
}

static void the_six_example_sweeps_have_their_stated_counts(void **state)
{
    (void)state;
    check_counts(EXAMPLES "queries.yaml", 1, (int64_t[]){60});
    check_counts(EXAMPLES "elf.yaml", 2, (int64_t[]){36, 4});
    check_counts(EXAMPLES "save-adapters.yaml", 1, (int64_t[]){42});
    check_counts(EXAMPLES "lightavseg-loss.yaml", 1, (int64_t[]){30});
    check_counts(EXAMPLES "stepping-stones.yaml", 2, (int64_t[]){6, 12});
    check_counts(EXAMPLES "latency-all.yaml", 1, (int64_t[]){93});
}

static void the_sweeps_that_come_with_the_program_expand(void **state)
{
    (void)state;
    check_counts(AVS_SOURCE_DIR "/sweeps/demo.yaml", 2, (int64_t[]){6, 3});
    check_counts(AVS_SOURCE_DIR "/sweeps/smoke.yaml", 1, (int64_t[]){1});
    const char *sets[] = {"profile=quick"};
    avs_sweep_options o = {.sets = sets, .n_sets = 1};
    loaded l = load(AVS_SOURCE_DIR "/sweeps/demo.yaml", &o);
    assert_int_equal(l.s->n_trials, 6);
    assert_non_null(strstr(params_of(&l, l.s->trials[0]), "\"steps\":60"));
    unload(&l);
}

static void let_and_resources_follow_the_point(void **state)
{
    (void)state;
    loaded l = load(EXAMPLES "save-adapters.yaml", NULL);
    int small = 0, large = 0, middle = 0;
    for (int64_t i = 0; i < l.s->n_trials; i++) {
        const avs_sweep_config *c = l.s->trials[i]->config;
        const char *params = params_of(&l, l.s->trials[i]);
        int64_t resolution = avs_json_int(axes_of(&l, l.s->trials[i]), "resolution", 0);
        small += resolution == 256 && c->resources.gpus == 1 && strstr(params, "\"micro_batch\":8,");
        middle += resolution == 512 && c->resources.gpus == 4 && strstr(params, "\"micro_batch\":2,");
        large += resolution == 1024 && c->resources.gpus == 4 && strstr(params, "\"micro_batch\":1,");
        assert_string_equal(c->resources.pack, "node");
    }
    assert_int_equal(small, 18);
    assert_int_equal(middle, 18);
    assert_int_equal(large, 6);
    unload(&l);
}

static void joined_trials_have_equal_match_keys_and_depend_on_the_upstream_hash(void **state)
{
    (void)state;
    loaded l = load(EXAMPLES "stepping-stones.yaml", NULL);
    for (int64_t i = 0; i < 12; i++) {
        const avs_sweep_trial *t = l.s->stages[1].trials[i];
        assert_int_equal(t->n_needs, 1);
        assert_string_equal(t->needs[0].alias, "s1");
        const avs_sweep_trial *up = t->needs[0].upstream;
        assert_int_equal(up->stage, 0);
        assert_int_equal(up->seed, t->seed);
        assert_string_equal(avs_json_str(axes_of(&l, up), "backbone", "x"),
                            avs_json_str(axes_of(&l, t), "backbone", "y"));
    }
    uint8_t before[32];
    memcpy(before, l.s->stages[1].trials[0]->hash, 32);
    unload(&l);
    const char *sets[] = {"base.adam_eps=1e-7"};
    avs_sweep_options o = {.sets = sets, .n_sets = 1};
    l = load(EXAMPLES "stepping-stones.yaml", &o);
    assert_memory_not_equal(before, l.s->stages[1].trials[0]->hash, 32);
    unload(&l);
}

static void points_come_first_block_slowest_and_seeds_fastest(void **state)
{
    (void)state;
    loaded l = parse(HEAD "base: {model: avesformer}\nsweep:\n  - grid: {task: [s4, ms3], batch: [2, 4]}\n"
                          "  - zip: {num_queries: [8, 16], lr: [1e-3, 1e-4]}\nseeds: [7, 3]\n");
    static const char *const want[] = {"s4 2 8 7",  "s4 2 8 3", "s4 2 16 7",
                                       "s4 2 16 3", "s4 4 8 7", "s4 4 8 3"};
    assert_int_equal(l.s->n_trials, 16);
    for (int i = 0; i < 6; i++) {
        char got[80];
        const avs_sweep_trial *t = l.s->trials[i];
        (void)snprintf(got, sizeof got, "%s %d %d %u", t->config->task,
                       (int)avs_json_int(axes_of(&l, t), "batch", 0),
                       (int)avs_json_int(axes_of(&l, t), "num_queries", 0), t->seed);
        assert_string_equal(got, want[i]);
        assert_int_equal(t->ordinal, i);
    }
    unload(&l);
}

static void axis_values_are(const char *axis, const char *want)
{
    char text[512];
    avs_buf got = AVS_BUF_INIT;
    (void)snprintf(text, sizeof text, HEAD "base: {model: avesformer}\nsweep: [{grid: {%s}}]\n", axis);
    loaded l = parse(text);
    for (int64_t i = 0; i < l.s->n_trials; i++) {
        if (i) avs_buf_char(&got, ' ');
        avs_json_write(&got, axes_of(&l, l.s->trials[i])->first, true);
    }
    assert_string_equal(avs_buf_cstr(&got), want);
    avs_buf_free(&got);
    unload(&l);
}

static void numeric_axes_give_the_written_values(void **state)
{
    (void)state;
    axis_values_are("batch: {range: [2, 10, 4]}", "2 6 10");
    axis_values_are("batch: {range: [10, 1, -3]}", "10 7 4 1");
    axis_values_are("dropout: {range: [0.1, 0.5, 0.1]}", "0.1 0.2 0.3 0.4 0.5");
    axis_values_are("num_queries: {pow2: [8, 256]}", "8 16 32 64 128 256");
    axis_values_are("num_queries: {pow2: [1, 5]}", "1 2 4");
    axis_values_are("lr: {logspace: [1e-5, 1e-3, 3]}", "1e-5 0.0001 0.001");
}

static void random_draws_do_not_depend_on_other_parameters_or_on_n(void **state)
{
    (void)state;
    loaded x = parse(HEAD "base: {model: avesformer}\nsweep:\n"
                          "  - random: {n: 4, seed: 7, params: {lr: {loguniform: [1e-5, 1e-3]}}}\n");
    loaded y = parse(HEAD "base: {model: avesformer}\nsweep:\n"
                          "  - random: {n: 9, seed: 7, params: {dropout: {uniform: [0, 0.3]}, "
                          "lr: {loguniform: [1e-5, 1e-3]}, embed_dim: {choice: [128, 256]}, "
                          "blocks_per_stage: {int: [1, 4]}, weight_decay: {qlog: [1e-4, 1e-1, 1e-4]}}}\n");
    assert_int_equal(x.s->n_trials, 4);
    assert_int_equal(y.s->n_trials, 9);
    for (int i = 0; i < 4; i++) {
        double lr = avs_json_num(axes_of(&x, x.s->trials[i]), "lr", 0);
        assert_true(lr >= 1e-5 && lr <= 1e-3);
        assert_memory_equal(&lr, &(double){avs_json_num(axes_of(&y, y.s->trials[i]), "lr", 1)}, sizeof lr);
    }
    for (int i = 0; i < 9; i++) {
        int64_t blocks = avs_json_int(axes_of(&y, y.s->trials[i]), "blocks_per_stage", 0);
        assert_in_range(blocks, 1, 4);
    }
    unload(&x);
    unload(&y);
}

static void hash_of(const char *text, char out[65])
{
    loaded l = parse(text);
    assert_int_equal(l.s->n_trials, 1);
    avs_hex(l.s->trials[0]->hash, 32, out);
    unload(&l);
}

static void hashes_ignore_spelling_and_see_values(void **state)
{
    (void)state;
    static const char *const same[] = {
        HEAD "base: {model: avesformer, lr: 1, batch: 8, resolution: 224}\n",
        HEAD "# a comment\nbase:\n  batch: 8 # another\n  lr: 1.0\n  model: avesformer\n",
        "kind: train\nname: other-name\nbase: {resolution: [224, 224], lr: 1e0, model: 'avesformer', batch: "
        "8.0}\n"
        "avsweep: 1\nresources: {gpus: 2}\nlimits: {time: 1h}\norder: {mode: shuffle}\n",
        HEAD "base: {model: avesformer, batch: 8, data_root: /elsewhere}\nsweep: [{grid: {lr: [1.0]}}]\n",
        HEAD "vars: {m: avesformer, b: 8}\nbase: {model: \"${m}\", batch: \"${b}\"}\nlet: {lr: 2 - 1}\n",
        HEAD "base: {model: avesformer, lr: +1, batch: 0x8, num_queries: null, latency_warmup: 3}\n",
    };
    static const char *const other[] = {
        HEAD "base: {model: avesformer, lr: 1, batch: 9}\n",
        HEAD "base: {model: avesformer, lr: 1, batch: 8}\nseeds: [1]\n",
        "avsweep: 1\nname: t\nkind: noop\nbase: {model: avesformer, lr: 1, batch: 8}\n",
    };
    char want[65], got[65];
    hash_of(same[0], want);
    /* A change here means that every stored result loses its identity: raise the schema version instead. */
    assert_string_equal(want, "022b3bc46d186f6aed90fa30f344acf4214896c5e4e453dc1896730b1cb370fc");
    for (size_t i = 1; i < sizeof same / sizeof same[0]; i++) {
        hash_of(same[i], got);
        assert_string_equal(got, want);
    }
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        hash_of(other[i], got);
        assert_string_not_equal(got, want);
    }
}

#define EXEC(model) "avsweep: 1\nname: t\nkind: exec\nbase: {command: [sh], model: \"" model "\"}\n"
#define INIT(path)  HEAD "base: {model: avesformer, init: \"" path "\"}\n"
#define AXIS(path)  HEAD "base: {model: avesformer}\nsweep: [{grid: {lr: [0.1], init: [\"" path "\"]}}]\n"

static void texts_are_hashed_in_normal_form_c(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        {EXEC("Caf\u00e9"), EXEC("Cafe\u0301")},
        {INIT("/w/Caf\u00e9.pth"), INIT("/w/Cafe\u0301.pth")},
        {AXIS("/w/Caf\u00e9.pth"), AXIS("/w/Cafe\u0301.pth")},
        {EXEC("a\u0323\u0307"), EXEC("a\u0307\u0323")}, /* two marks in either order */
        {EXEC("\ud55c"), EXEC("\u1112\u1161\u11ab")},   /* a syllable and its letters */
        {EXEC("\u212b"), EXEC("\u00c5")},               /* the sign of the unit is the letter */
    };
    static const char *const other[][2] = {
        {EXEC("Cafe"), EXEC("Caf\u00e9")},
        {EXEC("\ufb01"), EXEC("fi")}, /* a ligature is another text */
        {EXEC("\u00e9"), EXEC("\u00e8")},
    };
    char a[65], b[65];
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        hash_of(same[i][0], a);
        hash_of(same[i][1], b);
        assert_string_equal(a, b);
    }
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        hash_of(other[i][0], a);
        hash_of(other[i][1], b);
        assert_string_not_equal(a, b);
    }
    /* A path is given to the trial as it was written, and one trial remains of two spellings. */
    loaded l =
        parse(HEAD "base: {model: avesformer}\nsweep: [{grid: {init: [\"Cafe\u0301\", \"Caf\u00e9\"]}}]\n");
    assert_int_equal(l.s->n_trials, 1);
    assert_non_null(strstr(params_of(&l, l.s->trials[0]), "\"init\":\"Cafe\u0301\""));
    assert_non_null(strstr(avs_buf_cstr(&l.text), "warning[W030]: 1 point"));
    unload(&l);
}

static void hash_is_sha256_of_the_documented_text(void **state)
{
    (void)state;
    loaded l = parse("avsweep: 1\nname: t\nkind: latency\nbase: {model: avesformer_mini}\nseeds: [5]\n");
    const avs_sweep_trial *t = l.s->trials[0];
    char text[4096], hex[65];
    uint8_t want[32];
    assert_non_null(strstr(avs_sweep_identity(l.s, t->config, l.a),
                           "{\"data_fingerprint\":null,\"gpu_model\":\"any\",\"kind\":\"latency\","
                           "\"model\":\"avesformer_mini\",\"model_schema\":1,\"params\":{"));
    (void)snprintf(text, sizeof text, "avsweep-config-1\n%s", avs_sweep_identity(l.s, t->config, l.a));
    avs_sha256_of(text, strlen(text), want);
    assert_memory_equal(want, t->config->hash, 32);
    avs_hex(want, 32, hex);
    (void)snprintf(text, sizeof text, "avsweep-trial-1\n%s\n5", hex);
    avs_sha256_of(text, strlen(text), want);
    assert_memory_equal(want, t->hash, 32);
    unload(&l);
}

static bool print_of(void *ctx, const char *root, uint8_t out[32])
{
    memset(out, root[0] + *(const int *)ctx, 32);
    return true;
}

static void data_enter_the_identity_by_fingerprint_not_by_path(void **state)
{
    (void)state;
    static const char *const text[] = {HEAD "base: {model: avesformer, data_root: a/x}\n",
                                       HEAD "base: {model: avesformer, data_root: a/y}\n"};
    int zero = 0, one = 1;
    avs_sweep_options o = {.fingerprint = print_of, .ctx = &zero};
    loaded x = parse_with(text[0], &o), y = parse_with(text[1], &o);
    assert_true(x.s->data_indexed);
    assert_memory_equal(x.s->trials[0]->hash, y.s->trials[0]->hash, 32);
    assert_string_equal(y.s->trials[0]->config->data_root, "a/y");
    assert_int_equal(strlen(x.s->trials[0]->config->data_fingerprint), 64);
    o.ctx = &one;
    loaded z = parse_with(text[0], &o), w = parse(text[0]);
    assert_memory_not_equal(x.s->trials[0]->hash, z.s->trials[0]->hash, 32);
    assert_false(w.s->data_indexed);
    unload(&x);
    unload(&y);
    unload(&z);
    unload(&w);
}

static void repeated_points_collapse_with_a_warning(void **state)
{
    (void)state;
    loaded l =
        parse(HEAD "base: {model: avesformer}\nsweep: [{grid: {num_queries: [16, 8, 16]}}]\nseeds: 2\n");
    assert_int_equal(l.s->n_trials, 4);
    assert_non_null(strstr(avs_buf_cstr(&l.text),
                           "warning[W030]: 1 point of stage 'main' repeats an earlier configuration"));
    unload(&l);
}

static void rules_count_what_they_drop_and_warn_when_they_never_act(void **state)
{
    (void)state;
    loaded l = parse(HEAD "base: {model: avesformer}\nsweep: [{grid: {batch: [1, 2, 3, 4]}}]\n"
                          "exclude: [\"batch == 2\", \"batch == 9\"]\nrequire: [\"batch < 4\"]\n");
    assert_int_equal(l.s->n_trials, 2);
    assert_int_equal(l.s->stages[0].n_points, 4);
    assert_int_equal(l.s->stages[0].rules[0].dropped, 1);
    assert_int_equal(l.s->stages[0].rules[1].dropped, 0);
    assert_int_equal(l.s->stages[0].rules[2].dropped, 1);
    assert_string_equal(avs_buf_cstr(&l.text),
                        "t.yaml:6:25: warning[W031]: exclude rule 2 (line 6) matched no point\n"
                        "   6 | exclude: [\"batch == 2\", \"batch == 9\"]\n"
                        "     |                         ^~~~~~~~~~~~\n");
    unload(&l);
}

static void when_multiplies_only_the_points_it_holds_for(void **state)
{
    (void)state;
    loaded l = parse(HEAD "base: {model: lightavseg}\nsweep:\n  - grid: {aux_loss: [none, mix]}\n"
                          "  - any:\n      - {when: \"aux_loss == 'none'\", grid: {batch: [1, 2]}}\n"
                          "      - {list: [{batch: 5, lr: 1e-3}]}\n");
    /* none: 1, 2 and the list; mix: passes the first alternative unchanged, and the list */
    assert_int_equal(l.s->n_trials, 5);
    unload(&l);
}

static void evaluations_of_other_trainings_are_other_trials(void **state)
{
    (void)state;
    loaded l =
        parse("avsweep: 1\nname: t\nbase: {model: avesformer}\nseeds: 2\nstages:\n"
              "  - {name: one, kind: train, sweep: [{grid: {lr: [1e-3, 1e-4, 1]}}]}\n"
              "  - name: two\n    kind: eval\n    needs: {t: {from: one, match: [lr, seed]}}\n"
              "    base: {init: \"${t.checkpoint.best}\"}\n    sweep: [{grid: {lr: [1e-3, 1.0, 0.0001]}}]\n");
    assert_int_equal(l.s->stages[1].n_trials, 6);
    assert_int_equal(l.s->stages[1].n_configs, 1); /* a learning rate means nothing to an evaluation */
    assert_int_equal(l.d.n_warnings, 0);
    for (int i = 0; i < 6; i++) {
        const avs_sweep_trial *t = l.s->stages[1].trials[i];
        static const int upstream[] = {0, 1, 4, 5, 2, 3};
        assert_int_equal(t->needs[0].upstream->ordinal, upstream[i]);
        for (int k = 0; k < i; k++) assert_memory_not_equal(t->hash, l.s->stages[1].trials[k]->hash, 32);
    }
    unload(&l);
}

/* The short way through shapes gives what resolving each point by itself gives. */
static void every_trial_has_the_parameters_of_its_own_resolution(void **state)
{
    (void)state;
    loaded l = parse(
        "avsweep: 1\nname: t\nkind: train\nbase: {batch: 4}\nsweep:\n"
        "  - any:\n"
        "      - grid: {model: [avesformer], backbone: [resnet50, pvt_v2_b5], query_generator: [pqg, none]}\n"
        "      - list: [{model: lightavseg, backbone: seaformer_l, aux_loss: mix}, {model: tpavi, task: "
        "ms3}]\n"
        "  - {when: \"model == 'lightavseg'\", zip: {aux_weight: [0.1, 0.5], lr: [1, 1e-3]}}\n"
        "  - grid: {lr_warmup_steps: [0, 10.0], flip_probability: [0.5, 0.25, 1], augment: [flip]}\n"
        "  - random: {n: 3, seed: 4, params: {weight_decay: {loguniform: [1e-5, 1e-2]}, dropout: {uniform: "
        "[0, "
        "0.3]}}}\n"
        "let: {grad_clip: \"0.5 if batch > 2 else 1\", eval_batch: 2 * batch}\n");
    assert_int_equal(l.s->n_trials, (4 + 2 + 1) * 6 * 3);
    for (int64_t i = 0; i < l.s->n_trials; i++) {
        const avs_sweep_trial *t = l.s->trials[i];
        const char *text = params_of(&l, t);
        avs_json *given = NULL;
        avs_cfg *cfg = NULL;
        avs_buf again = AVS_BUF_INIT, identity = AVS_BUF_INIT;
        avs_problem *problems;
        assert_int_equal(avs_json_parse(l.a, "params", text, strlen(text), &given, NULL), AVS_OK);
        assert_int_equal(avs_cfg_resolve(l.a, "train", given, &cfg, &problems, NULL), AVS_OK);
        avs_json_write(&again, avs_cfg_json(cfg), true);
        assert_string_equal(avs_buf_cstr(&again), text);
        avs_buf_str(&identity, "avsweep-config-1\n");
        avs_buf_str(&identity, avs_sweep_identity(l.s, t->config, l.a));
        uint8_t hash[32];
        avs_sha256_of(identity.data, identity.len, hash);
        assert_memory_equal(hash, t->config->hash, 32);
        for (const avs_json *v = axes_of(&l, t)->first; v; v = v->next) {
            const avs_json *have = avs_json_get(given, v->key);
            if (have) assert_true(avs_value_equal(have, v));
        }
        avs_buf_free(&again);
        avs_buf_free(&identity);
    }
    unload(&l);
}

static void a_parameter_that_stands_alone_changes_one_place_only(void **state)
{
    (void)state;
    int free_ones = 0;
    for (const char *const *m = avs_schema_models(); *m; m++) {
        for (const avs_param_spec *p = avs_schema_of(*m); p->name; p++) {
            if (!avs_schema_is_free(*m, p->name) || (p->type != AVS_P_INT && p->type != AVS_P_FLOAT))
                continue;
            avs_arena *a = avs_arena_new();
            avs_buf texts[2] = {AVS_BUF_INIT, AVS_BUF_INIT};
            for (int k = 0; k < 2; k++) {
                avs_json *given = avs_json_new(a, AVS_J_OBJ);
                avs_cfg *cfg = NULL;
                avs_json_add_str(a, given, "model", *m);
                double v = k == 0 ? p->min : p->max;
                if (p->type == AVS_P_INT)
                    avs_json_add_int(a, given, p->name, (int64_t)v);
                else
                    avs_json_add_num(a, given, p->name, v);
                if (avs_cfg_resolve(a, "noop", given, &cfg, NULL, NULL) != AVS_OK)
                    continue; /* switched off */
                avs_json *all = avs_json_new(a, AVS_J_OBJ);
                for (const avs_json *c = avs_cfg_json(cfg)->first; c; c = c->next) {
                    avs_json *copy = avs_arena_dup(a, c, sizeof *c);
                    copy->next = NULL;
                    if (strcmp(c->key, p->name) != 0) avs_json_add(a, all, c->key, copy);
                }
                avs_json_write(&texts[k], all, true);
            }
            if (texts[0].len && texts[1].len)
                assert_string_equal(avs_buf_cstr(&texts[0]), avs_buf_cstr(&texts[1]));
            free_ones++;
            avs_buf_free(&texts[0]);
            avs_buf_free(&texts[1]);
            avs_arena_free(a);
        }
    }
    assert_true(free_ones > 100);
    assert_true(avs_schema_is_free("avesformer", "lr"));
    assert_false(avs_schema_is_free("avesformer", "resolution"));
    assert_false(avs_schema_is_free("avesformer_mini", "embed_dim")); /* a factor of ffn_dim */
    assert_false(avs_schema_is_free("avesformer", "nonsense"));
}

static void counting_gives_the_numbers_and_the_digest_of_the_whole(void **state)
{
    (void)state;
    static const char *const files[] = {"queries", "elf", "save-adapters", "stepping-stones", "latency-all"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512];
        (void)snprintf(path, sizeof path, EXAMPLES "%s.yaml", files[i]);
        avs_sweep_options o = {.count_only = true};
        loaded x = load(path, NULL), y = load(path, &o);
        assert_int_equal(x.s->n_trials, y.s->n_trials);
        assert_memory_equal(x.s->digest, y.s->digest, 32);
        for (int k = 0; k < x.s->n_stages; k++) {
            assert_int_equal(x.s->stages[k].n_trials, y.s->stages[k].n_trials);
            assert_int_equal(x.s->stages[k].n_configs, y.s->stages[k].n_configs);
        }
        unload(&x);
        unload(&y);
    }
}

static void a_profile_reaches_stages_by_their_names(void **state)
{
    (void)state;
    static const char text[] =
        "avsweep: 1\nname: t\nbase: {model: avesformer}\nstages:\n"
        "  - {name: one, kind: train, seeds: 3, base: {lr: 1e-3}, sweep: [{grid: {batch: [2, 4]}}]}\n"
        "  - {name: two, kind: noop, seeds: 2}\n"
        "profiles:\n  smoke:\n    stages:\n      one: {seeds: 1, base: {steps: 4}, sweep: [{grid: {batch: "
        "[2]}}]}\n"
        "  none: {stages: {three: {seeds: 1}}}\n";
    const char *sets[] = {"profile=smoke", "stages.two.seeds=5"};
    avs_sweep_options o = {.sets = sets, .n_sets = 2};
    loaded l = parse_with(text, &o);
    assert_non_null(l.s);
    assert_int_equal(l.s->stages[0].n_trials, 1);
    assert_int_equal(l.s->stages[1].n_trials, 5);
    assert_non_null(strstr(params_of(&l, l.s->trials[0]), "\"steps\":4"));
    assert_non_null(strstr(params_of(&l, l.s->trials[0]), "\"lr\":0.001"));
    unload(&l);
    sets[0] = "profile=none";
    l = parse_with(text, &o);
    assert_null(l.s);
    assert_non_null(strstr(avs_buf_cstr(&l.text), "t.yaml:11:19: error[E047]: there is no stage 'three'"));
    unload(&l);
}

static void overrides_and_profiles_replace_values(void **state)
{
    (void)state;
    static const char text[] =
        HEAD "vars: {n: 8}\nbase: {model: avesformer, num_queries: \"${n}\", batch: 4}\nseeds: 3\n"
             "profiles: {small: {base: {batch: 2}, seeds: 1}}\n";
    const char *sets[] = {"n=32", "lr=1e-3", "limits.time=90m", "profile=small", "resources.cpus=2"};
    avs_sweep_options o = {.sets = sets, .n_sets = 5};
    loaded l = parse_with(text, &o);
    assert_non_null(l.s);
    assert_int_equal(l.s->n_trials, 1);
    const char *params = params_of(&l, l.s->trials[0]);
    assert_non_null(strstr(params, "\"num_queries\":32"));
    assert_non_null(strstr(params, "\"batch\":2,"));
    assert_non_null(strstr(params, "\"lr\":0.001,"));
    assert_int_equal((int)l.s->stages[0].limits.time_s, 5400);
    assert_int_equal(l.s->trials[0]->config->resources.cpus, 2);
    unload(&l);
}

static void environment_values_are_recorded(void **state)
{
    (void)state;
    assert_int_equal(setenv("AVS_TEST_ROOT", "/data/of mine", 1), 0);
    avs_sweep_options o = {.allow_env = true};
    loaded l = parse_with(HEAD "base: {model: avesformer, data_root: \"${env:AVS_TEST_ROOT}/v1\"}\n", &o);
    assert_non_null(l.s);
    assert_string_equal(l.s->trials[0]->config->data_root, "/data/of mine/v1");
    assert_string_equal(avs_json_str(l.s->env, "AVS_TEST_ROOT", ""), "/data/of mine");
    unload(&l);
}

static void includes_merge_below_the_file(void **state)
{
    (void)state;
    char path[256], text[600];
    avs_err e = AVS_ERR_INIT;
    static const char below[] =
        "avsweep: 1\nkind: train\nbase: {model: avesformer, batch: 4, lr: 1e-3}\nseeds: 3\n";
    (void)snprintf(path, sizeof path, "%s/include-%d.yaml", AVS_BINARY_DIR, (int)getpid());
    assert_int_equal(avs_fs_write_atomic(path, below, sizeof below - 1, &e), AVS_OK);
    (void)snprintf(text, sizeof text, "name: t\ninclude: ['%s']\nbase: {batch: 2}\n", path);
    loaded l = parse(text);
    assert_int_equal(l.s->n_trials, 3);
    assert_int_equal(l.s->n_sources, 2);
    assert_non_null(strstr(params_of(&l, l.s->trials[0]), "\"batch\":2,"));
    assert_non_null(strstr(params_of(&l, l.s->trials[0]), "\"lr\":0.001,"));
    unload(&l);
    assert_int_equal(remove(path), 0);
}

static void limits_order_and_objective_are_read(void **state)
{
    (void)state;
    loaded l = parse(
        HEAD "base: {model: avesformer}\nlimits: {time: 6h, hang: 1h30m, grace: 90, retries: 0, "
             "retry_on: [crash, oom], max_failures: 20, checkpoint_every: 15m, checkpoint_every_steps: 50}\n"
             "order: {mode: shuffle, seed: 4, group: repeat, priority: \"1 if true else 0\"}\n"
             "objective: {metric: loss, mode: min}\n"
             "resources: {gpus: 2, cpus_per_gpu: 6, mem_gb: 48, pack: spread, gpu_model: 'H100|A100', "
             "exclusive: numa, prefer: nvlink}\n");
    const avs_sweep_stage *g = &l.s->stages[0];
    assert_int_equal((int)g->limits.time_s, 21600);
    assert_int_equal((int)g->limits.hang_s, 5400);
    assert_int_equal((int)g->limits.grace_s, 90);
    assert_int_equal(g->limits.retries, 0);
    assert_int_equal(g->limits.retry_on, AVS_RETRY_CRASH | AVS_RETRY_OOM);
    assert_int_equal(g->limits.max_failures, 20);
    assert_int_equal((int)g->limits.checkpoint_every_s, 900);
    assert_int_equal(g->limits.checkpoint_every_steps, 50);
    assert_string_equal(g->order.mode, "shuffle");
    assert_string_equal(g->order.group, "repeat");
    assert_int_equal(g->order.seed, 4);
    assert_string_equal(g->metric, "loss");
    assert_false(g->maximise);
    const avs_sweep_resources *r = &l.s->trials[0]->config->resources;
    assert_int_equal(r->gpus, 2);
    assert_int_equal(r->cpus_per_gpu, 6);
    assert_string_equal(r->gpu_model, "H100|A100");
    assert_string_equal(r->prefer, "nvlink");
    assert_true(l.s->trials[0]->config->priority > 0.5);
    unload(&l);
}

static void report_keeps_published_rows_as_a_list(void **state)
{
    (void)state;
    loaded l = load(EXAMPLES "queries.yaml", NULL);
    const avs_json *published = avs_json_get(l.s->report, "published");
    assert_int_equal(published->kind, AVS_J_ARR);
    const avs_json *rows = avs_json_get(avs_json_at(published, 0), "rows");
    assert_int_equal(rows->len, 3);
    assert_string_equal(avs_json_str(avs_json_get(avs_json_at(rows, 1), "where"), "task", ""), "ms3");
    assert_string_equal(avs_json_at(avs_json_get(l.s->report, "by"), 0)->s, "num_queries");
    unload(&l);
}

static void prefixes_of_hashes_find_trials(void **state)
{
    (void)state;
    loaded l = load(EXAMPLES "queries.yaml", NULL);
    char hex[65];
    bool ambiguous = true;
    avs_hex(l.s->trials[17]->hash, 32, hex);
    assert_ptr_equal(avs_sweep_find(l.s, hex, &ambiguous), l.s->trials[17]);
    hex[12] = '\0';
    assert_ptr_equal(avs_sweep_find(l.s, hex, &ambiguous), l.s->trials[17]);
    assert_false(ambiguous);
    hex[5] = '\0';
    assert_null(avs_sweep_find(l.s, hex, &ambiguous));
    assert_null(avs_sweep_find(l.s, "zzzzzz", &ambiguous));
    unload(&l);
}

/* Golden lists: written anew when AVS_WRITE_GOLDEN is set. */
static void check_golden(const char *name, const avs_buf *got)
{
    char path[512];
    avs_buf want = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    (void)snprintf(path, sizeof path, "%s/tests/sweeps/golden/%s", AVS_SOURCE_DIR, name);
    if (getenv("AVS_WRITE_GOLDEN"))
        assert_int_equal(avs_fs_write_atomic(path, got->data, got->len, &e), AVS_OK);
    assert_int_equal(avs_fs_read(path, 0, &want, &e), AVS_OK);
    assert_string_equal(avs_buf_cstr(got), avs_buf_cstr(&want));
    avs_buf_free(&want);
}

static void printed_lists_equal_their_golden_files(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*write)(avs_buf *, const avs_sweep *);
    } rows[] = {{"stepping-stones.txt", avs_list_text}, {"stepping-stones.csv", avs_list_csv}};
    loaded l = load(EXAMPLES "stepping-stones.yaml", NULL);
    for (int i = 0; i < 2; i++) {
        avs_buf b = AVS_BUF_INIT;
        rows[i].write(&b, l.s);
        check_golden(rows[i].name, &b);
        avs_buf_free(&b);
    }
    unload(&l);
    l = load(AVS_SOURCE_DIR "/sweeps/demo.yaml", NULL);
    avs_buf b = AVS_BUF_INIT;
    avs_list_json(&b, l.s);
    check_golden("demo.jsonl", &b);
    avs_buf_clear(&b);
    avs_list_count(&b, l.s);
    assert_string_equal(avs_buf_cstr(&b), "train: 6 trials of 3 configurations (train)\n"
                                          "speed: 3 trials of 3 configurations (latency)\n9 trials\n");
    avs_buf_free(&b);
    unload(&l);
}

static void running_out_of_memory_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    static const char text[] =
        HEAD "base: {model: avesformer}\nsweep: [{grid: {num_queries: [8, 16]}}]\nseeds: 2\n"
             "resources: {gpus: 1}\nreport: {by: [num_queries]}\n";
    for (long n = 1; n < 5000; n += n < 300 ? 1 : 37) {
        avs_arena *a = avs_arena_new();
        avs_diag d;
        avs_err e = AVS_ERR_INIT;
        avs_diag_init(&d, a);
        avs_alloc_fail_after(n);
        avs_sweep *s = avs_sweep_parse(a, "t.yaml", text, sizeof text - 1, NULL, &d, &e);
        avs_alloc_fail_after(0);
        bool done = s != NULL;
        if (!done) assert_int_not_equal(e.code, AVS_OK);
        avs_arena_free(a);
        if (done) return;
    }
    fail_msg("more than 5000 allocations");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_six_example_sweeps_have_their_stated_counts),
        cmocka_unit_test(the_sweeps_that_come_with_the_program_expand),
        cmocka_unit_test(let_and_resources_follow_the_point),
        cmocka_unit_test(joined_trials_have_equal_match_keys_and_depend_on_the_upstream_hash),
        cmocka_unit_test(points_come_first_block_slowest_and_seeds_fastest),
        cmocka_unit_test(numeric_axes_give_the_written_values),
        cmocka_unit_test(random_draws_do_not_depend_on_other_parameters_or_on_n),
        cmocka_unit_test(hashes_ignore_spelling_and_see_values),
        cmocka_unit_test(texts_are_hashed_in_normal_form_c),
        cmocka_unit_test(hash_is_sha256_of_the_documented_text),
        cmocka_unit_test(data_enter_the_identity_by_fingerprint_not_by_path),
        cmocka_unit_test(repeated_points_collapse_with_a_warning),
        cmocka_unit_test(rules_count_what_they_drop_and_warn_when_they_never_act),
        cmocka_unit_test(when_multiplies_only_the_points_it_holds_for),
        cmocka_unit_test(evaluations_of_other_trainings_are_other_trials),
        cmocka_unit_test(every_trial_has_the_parameters_of_its_own_resolution),
        cmocka_unit_test(a_parameter_that_stands_alone_changes_one_place_only),
        cmocka_unit_test(counting_gives_the_numbers_and_the_digest_of_the_whole),
        cmocka_unit_test(a_profile_reaches_stages_by_their_names),
        cmocka_unit_test(overrides_and_profiles_replace_values),
        cmocka_unit_test(environment_values_are_recorded),
        cmocka_unit_test(includes_merge_below_the_file),
        cmocka_unit_test(limits_order_and_objective_are_read),
        cmocka_unit_test(report_keeps_published_rows_as_a_list),
        cmocka_unit_test(prefixes_of_hashes_find_trials),
        cmocka_unit_test(printed_lists_equal_their_golden_files),
        cmocka_unit_test(running_out_of_memory_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
