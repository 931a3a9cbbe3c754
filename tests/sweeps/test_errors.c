/* Bad sweeps: the exact first line of the first diagnostic of each, the whole text of some, and the codes. */
#include "sweeps/sweep.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/fs.h"
#include "sweeps/codes.h"

#define H "avsweep: 1\nname: t\nkind: train\n"
#define M H "base: {model: avesformer}\n"

typedef struct {
    avs_arena *a;
    avs_diag d;
    avs_buf text;
} refused;

static refused refuse(const char *text, const avs_sweep_options *o)
{
    refused r = {.a = avs_arena_new()};
    avs_err e = AVS_ERR_INIT;
    avs_diag_init(&r.d, r.a);
    const avs_sweep *s = avs_sweep_parse(r.a, "f.yaml", text, strlen(text), o, &r.d, &e);
    avs_diag_write(&r.d, &r.text);
    if (s) print_message("accepted:\n%s\n", text);
    assert_null(s);
    assert_int_equal(e.code, AVS_EPARSE);
    assert_true(r.d.n_errors > 0);
    return r;
}

static void drop(refused *r)
{
    avs_buf_free(&r->text);
    avs_arena_free(r->a);
}

static void check(const char *text, const avs_sweep_options *o, const char *want)
{
    refused r = refuse(text, o);
    char first[400];
    (void)snprintf(first, sizeof first, "%.*s", (int)strcspn(avs_buf_cstr(&r.text), "\n"),
                   avs_buf_cstr(&r.text));
    if (strcmp(first, want) != 0) print_message("in:\n%s\n", text);
    assert_string_equal(first, want);
    drop(&r);
}

static void every_mistake_is_told_at_its_place(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "f.yaml:1:1: error[E011]: a sweep is a map, found nothing"},
        {"- a\n", "f.yaml:1:1: error[E011]: a sweep is a map, found a list"},
        {"name: t\nkind: train\nbase: {model: tpavi}\n",
         "f.yaml:1:1: error[E010]: the language version is missing"},
        {"avsweep: 2\nname: t\nkind: train\nbase: {model: tpavi}\n",
         "f.yaml:1:10: error[E040]: this program reads language version 1, found '2'"},
        {"avsweep: 1\nkind: train\nbase: {model: tpavi}\n", "f.yaml:1:1: error[E010]: the sweep has no name"},
        {"avsweep: 1\nname: A b\nkind: train\nbase: {model: tpavi}\n",
         "f.yaml:2:7: error[E040]: a name is 1 to 64 small letters, digits, '.', '_', '-', and begins with a "
         "letter or digit"},
        {"avsweep: 1\nname: t\nbase: {model: tpavi}\n", "f.yaml:1:1: error[E010]: the sweep has no kind"},
        {"avsweep: 1\nname: t\nkind: trian\nbase: {model: tpavi}\n",
         "f.yaml:3:7: error[E013]: kind wants train, eval, latency, noop or exec, found 'trian'"},
        {H "seed: 3\nbase: {model: tpavi}\n", "f.yaml:4:1: error[E012]: unknown key 'seed' at the top level"},
        {H "base: [1]\n", "f.yaml:4:7: error[E011]: base wants a map, found a list"},
        {H "base: {task: s4}\n", "f.yaml:1:1: error[E018]: no model is given"},
        {H "base: {model: avesfromer}\n", "f.yaml:4:15: error[E018]: there is no model 'avesfromer'"},
        {M "sweep:\n  - grid:\n      num_querys: [8, 16]\n",
         "f.yaml:7:7: error[E012]: unknown key 'num_querys' for model 'avesformer'"},
        {H "base: {model: avesformer, batch: 2.5}\n",
         "f.yaml:4:34: error[E015]: batch wants a whole number, found 2.5"},
        {H "base: {model: avesformer, shuffle: yes}\n",
         "f.yaml:4:36: error[E015]: shuffle wants true or false, found \"yes\""},
        {H "base: {model: avesformer, lr: .nan}\n",
         "f.yaml:4:31: error[E014]: lr is nan, outside its range 0 to 10"},
        {H "base: {model: avesformer, fusion: crss}\n",
         "f.yaml:4:35: error[E013]: 'crss' is no fusion of model 'avesformer'"},
        {M "sweep: [{grid: {resolution: [224, 100]}}]\n",
         "f.yaml:5:35: error[E014]: resolution is 100, not a multiple of 32"},
        {H "base: {model: lightavseg, aux_loss: none, aux_weight: 0.5}\n",
         "f.yaml:4:55: error[E016]: aux_weight has no effect here: it acts only where aux_loss!=none"},
        {H "base: {model: tpavi, task: s4, aux_loss: avm}\n",
         "f.yaml:4:42: error[E017]: aux_loss avm needs task ms3 or avss (task is set on line 4)"},
        {H "base: {model: tpavi, seed: 1}\n",
         "f.yaml:4:22: error[E019]: seed is not a parameter of a configuration"},
        {H "base: {model: sama, backbone: sam_vit_custom}\n",
         "f.yaml:4:31: error[E026]: backbone_patch_size must be given with backbone 'sam_vit_custom'"},
        {M "sweep: {grid: {batch: [1]}}\n",
         "f.yaml:5:8: error[E011]: a list of blocks is expected, found a map"},
        {M "sweep: []\n", "f.yaml:5:8: error[E025]: a list of blocks is expected, found an empty one"},
        {M "sweep: [{grid: {batch: [1]}, zip: {lr: [1]}}]\n",
         "f.yaml:5:9: error[E020]: a block wants exactly one of grid, zip, list, any, random, found several"},
        {M "sweep: [{when: \"true\"}]\n",
         "f.yaml:5:9: error[E020]: a block wants exactly one of grid, zip, list, any, random, found none"},
        {M "sweep: [{gird: {batch: [1]}}]\n", "f.yaml:5:10: error[E012]: unknown key 'gird' in a block"},
        {M "sweep: [3]\n", "f.yaml:5:9: error[E020]: a block wants a map with grid, zip, list, any or "
                           "random, found a whole number"},
        {M "sweep: [{grid: {batch: []}}]\n",
         "f.yaml:5:24: error[E025]: batch is an empty list: no point would be left"},
        {M "sweep: [{grid: {batch: 8}}]\n", "f.yaml:5:24: error[E023]: an axis wants a list, as in [8, 16], "
                                            "or {range: ..}, {pow2: ..}, {logspace: ..}"},
        {M "sweep: [{grid: {batch: {rnage: [1, 2, 1]}}}]\n",
         "f.yaml:5:25: error[E012]: unknown key 'rnage' in an axis"},
        {M "sweep: [{grid: {batch: {range: [1, 2, 0]}}}]\n",
         "f.yaml:5:32: error[E023]: an axis wants {range: [start, stop, step]} with a step that leads from "
         "start to stop"},
        {M "sweep: [{grid: {batch: {range: [0, 1000000000, 1]}}}]\n",
         "f.yaml:5:32: error[E024]: an axis of more than 1000000 values"},
        {M "sweep: [{grid: {batch: {pow2: [3, 9]}}}]\n",
         "f.yaml:5:31: error[E023]: an axis wants {pow2: [low, high]} with a power of two below or equal to "
         "high"},
        {M "sweep:\n  - zip: {aux_loss: [none, mix, mix, none],\n          aux_weight: [0.1, 0.2, 0.3]}\n",
         "f.yaml:6:11: error[E021]: zip lists differ in length: aux_loss has 4, aux_weight has 3 (line 7)"},
        {M "sweep:\n  - grid: {batch: [1, 2]}\n  - grid: {batch: [2, 3]}\n",
         "f.yaml:7:12: error[E022]: 'batch' is set twice with different values (first on line 6)"},
        {M "let: {model: \"'tpavi'\"}\n",
         "f.yaml:5:7: error[E022]: 'model' is set twice with different values (first on line 4)"},
        {M "exclude: [\"batch ==\"]\n", "f.yaml:5:20: error[E030]: a value is expected at the end"},
        {M "exclude: [batch > 3]\n",
         "f.yaml:5:11: error[E031]: 'batch' is not set here; defined(batch) asks whether it is"},
        {M "exclude: [1 + 1]\n", "f.yaml:5:11: error[E031]: the condition is neither true nor false"},
        {M "let: {batch: \"8 if model else 4\"}\n",
         "f.yaml:5:20: error[E031]: true or false is expected, found a string"},
        {H "base: {model: \"${mdl}\"}\nvars: {model: tpavi}\n",
         "f.yaml:4:15: error[E032]: there is no variable 'mdl' under 'vars'"},
        {H "vars: {a: \"${b}\", b: \"${a}\"}\nbase: {model: \"${a}\"}\n",
         "f.yaml:4:22: error[E032]: the variable 'a' refers to itself"},
        {H "base: {model: tpavi, data_root: \"${env:HOME}\"}\n",
         "f.yaml:4:33: error[E033]: ${env:HOME} reads the environment"},
        {M "seeds: 0\n", "f.yaml:5:8: error[E040]: seeds wants 1 to 1000000 seeds between 0 and 4294967295"},
        {M "seeds: [1, 2, 1]\n", "f.yaml:5:8: error[E040]: the seed 1 is listed twice"},
        {M "seeds: [-1]\n", "f.yaml:5:9: error[E040]: a seed is a whole number from 0 to 4294967295"},
        {M "seeds: many\n",
         "f.yaml:5:8: error[E011]: seeds wants a number, a list or {count, first}, found a string"},
        {M "resources: {gpu: 1}\n", "f.yaml:5:13: error[E012]: unknown key 'gpu' in 'resources'"},
        {M "resources: {gpus: -1}\n", "f.yaml:5:19: error[E040]: gpus is -1, outside 0 to 1000000"},
        {M "resources: {gpus: \"3 / 2\"}\n",
         "f.yaml:5:19: error[E040]: a count of GPUs or cores is a whole number"},
        {M "resources: {gpu_model: \"H100(\"}\n",
         "f.yaml:5:24: error[E040]: gpu_model is no regular expression: Unmatched ( or \\("},
        {M "resources: {pack: tight}\n",
         "f.yaml:5:19: error[E013]: pack wants one of node|numa|spread|any, found 'tight'"},
        {M "limits: {time: 6 hours}\n", "f.yaml:5:16: error[E041]: time is no duration: '6 hours'"},
        {M "limits: {retry_on: [crush]}\n",
         "f.yaml:5:21: error[E013]: retry_on wants crash, hang, infra, oom or error, found 'crush'"},
        {M "stop: {asha: {min: 5, max: 9}}\n",
         "f.yaml:5:7: error[E010]: 'stop' compares trials by the objective, and there is none"},
        {M "objective: {metric: miou}\nstop: {asha: {min: 5, max: 5}}\n",
         "f.yaml:6:14: error[E040]: asha wants max above min, found min 5 and max 5"},
        {M "objective: {metric: miou}\nstop: {asha: {max: 5, eta: 1}}\n",
         "f.yaml:6:28: error[E040]: eta is 1, outside 2 to 100"},
        {M "objective: {metric: miou}\nstop: {asha: {max: 5, variant: pause}}\n",
         "f.yaml:6:32: error[E013]: variant wants one of promote|stop, found 'pause'"},
        {M "objective: {metric: miou}\nstop: {median: 5}\n",
         "f.yaml:6:8: error[E012]: unknown key 'median' in 'stop'"},
        {M "report: {by: [num_querys]}\n",
         "f.yaml:5:15: error[E042]: 'num_querys' is no parameter of any model, nor seed, stage or kind"},
        {M "report: {metrics: [\"miou@task\"]}\n", "f.yaml:5:20: error[E042]: 'miou@task' is no metric"},
        {M "report: {metrics: [miou], pareto: {x: params, y: miou}}\n",
         "f.yaml:5:39: error[E042]: pareto.x is 'params', which is none of the report's metrics"},
        {M "report: {where: {task: \"s4,ms3\"}}\n",
         "f.yaml:5:24: error[E042]: where wants one value for each parameter, without a comma"},
        {M "report: {where: \"task=s4,sage!=one\"}\n",
         "f.yaml:5:17: error[E042]: 'sage' is no parameter of any model, nor seed, stage or kind"},
        {M "report: {where: \"task\"}\n", "f.yaml:5:17: error[E042]: where is KEY=VALUE or KEY!=VALUE, with "
                                          "commas between them; found 'task'"},
        {M "report: {top: 0}\n", "f.yaml:5:15: error[E042]: top wants a whole number of at least 1"},
        {M "report: {ci: 100}\n",
         "f.yaml:5:14: error[E042]: ci wants a confidence level in percent, 50 to below 100"},
        {M "report: {published: {rows: []}}\n",
         "f.yaml:5:21: error[E042]: published wants {source: text, rows: [{where: {..}, METRIC: value}]}"},
        {M "objective: {mode: max}\n",
         "f.yaml:5:12: error[E010]: objective wants the name of a metric, as in {metric: miou, mode: max}"},
        {M "sweep: [{grid: {batch: [1]}}]\nstages: [{name: a}]\n",
         "f.yaml:5:1: error[E037]: a sweep has 'sweep' or 'stages', not both"},
        {M "stages: [{name: a}, {name: a, seeds: [5]}]\n",
         "f.yaml:5:28: error[E036]: two stages are called 'a'"},
        {M "stages: [{kind: train}]\n",
         "f.yaml:5:10: error[E010]: a stage wants a name of small letters, digits, '.', '_' and '-'"},
        {M "stages: [{name: a, needs: {s: {from: b, match: [seed]}}}]\n",
         "f.yaml:5:38: error[E035]: there is no stage 'b' above this one"},
        {M "stages:\n  - {name: one, seeds: 3}\n  - {name: two, seeds: 5, base: {init: "
           "\"${s1.checkpoint.best}\"},\n"
           "     needs: {s1: {from: one, match: [seed]}}}\n",
         "f.yaml:8:14: error[E034]: stage 'two' needs exactly one 'one' per (seed); none for seed=3"},
        {M "stages:\n  - {name: one, seeds: 3}\n  - {name: two, base: {init: x}, needs: {s1: {from: one, "
           "match: [model]}}}\n",
         "f.yaml:7:42: error[E034]: stage 'two' needs exactly one 'one' per (model); 3 for model=avesformer"},
        {H "base: {model: avesformer, init: \"${s1.checkpoint.best}\"}\n",
         "f.yaml:4:34: error[E035]: 's1' is no alias under 'needs' of this stage"},
        {"include: [nowhere.yaml]\n" M, NULL},
        {"include: [f.yaml]\n" M, "f.yaml:1:11: error[E046]: 'f.yaml' includes itself"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i][1]) {
            check(rows[i][0], NULL, rows[i][1]);
            continue;
        }
        refused r = refuse(rows[i][0], NULL);
        assert_non_null(strstr(avs_buf_cstr(&r.text), "f.yaml:1:11: error[E009]: nowhere.yaml"));
        drop(&r);
    }
}

static void bad_options_are_told(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"lr", "--set:1:1: error[E048]: --set wants KEY=VALUE"},
        {"foo.bar=1", "--set:1:1: error[E048]: 'foo' is no key of a sweep"},
        {"base..lr=1", "--set:1:1: error[E048]: 'base..lr=1' is no path of keys"},
        {"lr=[1", "--set lr:1:3: error[E001]: not valid YAML: did not find expected ',' or ']' while parsing "
                  "a flow sequence"},
        {"lr=x", "--set lr:1:1: error[E015]: lr wants a number, found \"x\""},
        {"profile=none", "f.yaml:1:1: error[E047]: there is no profile 'none'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *sets[] = {rows[i][0]};
        avs_sweep_options o = {.sets = sets, .n_sets = 1};
        check(M, &o, rows[i][1]);
    }
    avs_sweep_options o = {.max_trials = 10};
    check(M "seeds: 11\n", &o, "f.yaml:1:1: error[E024]: the sweep has more than 10 trials");
    check(M "sweep: [{grid: {batch: {range: [1, 20, 1]}}}]\nexclude: [\"batch > 0\"]\n", &o,
          "f.yaml:1:1: error[E024]: the sweep has more than 10 points");
}

static void a_diagnostic_has_excerpt_caret_and_help(void **state)
{
    (void)state;
    refused r = refuse(M "sweep:\n  - grid:\n      num_querys: [8, 16]\n", NULL);
    assert_string_equal(
        avs_buf_cstr(&r.text),
        "f.yaml:7:7: error[E012]: unknown key 'num_querys' for model 'avesformer'\n"
        "   7 |       num_querys: [8, 16]\n"
        "     |       ^~~~~~~~~~\n"
        "help: did you mean 'num_queries'? (avsweep show --schema avesformer lists them all)\n");
    drop(&r);
}

static void the_missing_upstream_is_explained_by_the_seeds(void **state)
{
    (void)state;
    refused r =
        refuse(M "stages:\n  - {name: one, seeds: 3}\n  - name: two\n    seeds: 5\n    base: {init: x}\n"
                 "    needs: {s1: {from: one, match: [model, seed]}}\n",
               NULL);
    assert_string_equal(
        avs_buf_cstr(&r.text),
        "f.yaml:10:13: error[E034]: stage 'two' needs exactly one 'one' per (model, seed); none for "
        "model=avesformer, seed=3\n"
        "  10 |     needs: {s1: {from: one, match: [model, seed]}}\n"
        "     |             ^~\n"
        "help: stage 'one' has seeds 0-2, stage 'two' asks for 0-4\n");
    drop(&r);
}

static void all_errors_come_at_once_and_at_most_twenty(void **state)
{
    (void)state;
    avs_buf text = AVS_BUF_INIT;
    avs_buf_str(&text, H "seeds: x\nresources: {gpu: 1}\nbase:\n  model: avesformer\n");
    for (int i = 0; i < 30; i++) avs_buf_fmt(&text, "  wrong_%d: %d\n", i, i);
    refused r = refuse(avs_buf_cstr(&text), NULL);
    assert_non_null(strstr(avs_buf_cstr(&r.text), "f.yaml:4:8: error[E011]"));
    assert_non_null(strstr(avs_buf_cstr(&r.text), "f.yaml:5:13: error[E012]"));
    drop(&r);
    avs_buf_clear(&text);
    avs_buf_str(&text, H "base:\n  model: avesformer\n");
    for (int i = 0; i < 30; i++) avs_buf_fmt(&text, "  wrong_%d: %d\n", i, i);
    r = refuse(avs_buf_cstr(&text), NULL);
    assert_non_null(strstr(avs_buf_cstr(&r.text), "wrong_19"));
    assert_null(strstr(avs_buf_cstr(&r.text), "wrong_20'"));
    assert_non_null(strstr(avs_buf_cstr(&r.text), "10 more errors are not shown\n"));
    drop(&r);
    avs_buf_free(&text);
}

static void one_mistake_on_many_points_is_told_once(void **state)
{
    (void)state;
    refused r = refuse(M "sweep: [{grid: {batch: {range: [1, 500, 1]}, nope: [1]}}]\nseeds: 10\n", NULL);
    assert_int_equal(r.d.n_errors, 1);
    drop(&r);
}

static void long_and_odd_lines_are_cut_to_a_window(void **state)
{
    (void)state;
    avs_buf text = AVS_BUF_INIT;
    avs_buf_str(&text, H "base: {model: avesformer, ");
    for (int i = 0; i < 400; i++) avs_buf_str(&text, "   ");
    avs_buf_str(&text, "größe: 3}\n");
    refused r = refuse(avs_buf_cstr(&text), NULL);
    const char *caret = strstr(avs_buf_cstr(&r.text), "^~~~~\n");
    assert_non_null(caret);
    assert_true(r.text.len < 500);
    drop(&r);
    avs_buf_free(&text);
}

/* Appends every C file of a room. */
static void read_room(const char *room, avs_buf *all)
{
    char pattern[512];
    glob_t g;
    (void)snprintf(pattern, sizeof pattern, "%s/%s/*.c", AVS_SOURCE_DIR, room);
    assert_int_equal(glob(pattern, 0, NULL, &g), 0);
    for (size_t i = 0; i < g.gl_pathc; i++)
        if (!strstr(g.gl_pathv[i], "/codes.c"))
            assert_int_equal(avs_fs_read(g.gl_pathv[i], 0, all, NULL), AVS_OK);
    globfree(&g);
}

/* A code stands in quotes where a diagnostic is added, and in brackets where a message is written. */
static void every_code_in_the_sources_is_explained_and_no_other(void **state)
{
    (void)state;
    avs_buf all = AVS_BUF_INIT;
    read_room("sweeps", &all);
    read_room("orchestrator", &all);
    const char *text = avs_buf_cstr(&all);
    for (const char *p = text; (p = strpbrk(p, "\"[")); p++)
        if (p[1] && strchr("EWRD", p[1]) && strspn(p + 2, "0123456789") == 3 &&
            (p[5] == '"' || p[5] == ']')) {
            char code[5];
            (void)snprintf(code, sizeof code, "%.4s", p + 1);
            if (!avs_explain(code)) print_message("%s is used but not explained in sweeps/codes.c\n", code);
            assert_non_null(avs_explain(code));
        }
    for (const avs_explanation *x = avs_explanations(); x->code; x++) {
        char quoted[16], bracketed[16];
        (void)snprintf(quoted, sizeof quoted, "\"%s\"", x->code);
        (void)snprintf(bracketed, sizeof bracketed, "[%s]", x->code);
        bool used = strstr(text, quoted) || strstr(text, bracketed);
        if (!used) print_message("%s is explained but not used\n", x->code);
        assert_true(used);
        assert_true(strlen(x->text) > 40);
    }
    assert_ptr_equal(avs_explain("e034"), avs_explain("E034"));
    assert_null(avs_explain("E999"));
    avs_buf_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mistake_is_told_at_its_place),
        cmocka_unit_test(bad_options_are_told),
        cmocka_unit_test(a_diagnostic_has_excerpt_caret_and_help),
        cmocka_unit_test(the_missing_upstream_is_explained_by_the_seeds),
        cmocka_unit_test(all_errors_come_at_once_and_at_most_twenty),
        cmocka_unit_test(one_mistake_on_many_points_is_told_once),
        cmocka_unit_test(long_and_odd_lines_are_cut_to_a_window),
        cmocka_unit_test(every_code_in_the_sources_is_explained_and_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
