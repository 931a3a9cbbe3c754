/* Model commands. Options are parameters: --num_queries 32 sets num_queries (dashes count as underscores). */
#include "workers/explain.h"

#include <errno.h>
#include <limits.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/pass/pass.h"
#include "metrics/latency.h"
#include "workers/bare.h"
#include "workers/latency.h"
#include "workers/net.h"
#include "workers/report_trial.h"
#include "workers/step.h"

typedef struct {
    avs_arena *arena;
    avs_json *given;
    int threads, runs;
    bool json, graph, training, profile, check_nan;
    const char *trace; /* file to write the trace to; NULL: none */
    unsigned passes_off;
    size_t mem_budget;
} options;

static int fail(const avs_err *e)
{
    fprintf(stderr, "error: %s\n", e->msg);
    return 1;
}

/* A whole number of at least 1; 0 after saying what is wrong. */
static int whole(const char *option, const char *text)
{
    char *end;
    const long n = strtol(text, &end, 10);
    if (end != text && !*end && n >= 1 && n <= INT_MAX) return (int)n;
    fprintf(stderr, "error: %s wants a whole number of at least 1, found '%s'\n", option, text);
    return 0;
}

/* The options of the planner and of the run, which are no parameters of a model. *is_known: this was one of them;
 * returns the exit status. */
static int parse_own(options *o, const char *option, const char *value, bool *is_known)
{
    avs_err e = AVS_ERR_INIT;
    *is_known = true;
    if (!strcmp(option, "--threads")) return (o->threads = whole(option, value)) ? 0 : 2;
    if (!strcmp(option, "--runs")) return (o->runs = whole(option, value)) ? 0 : 2;
    if (!strcmp(option, "--mem-budget")) {
        o->mem_budget = (size_t)whole(option, value) << 20;
        return o->mem_budget ? 0 : 2;
    }
    if (!strcmp(option, "--trace")) {
        o->trace = value;
        return 0;
    }
    *is_known = !strcmp(option, "--no-pass");
    if (!*is_known || avs_pass_parse(value, &o->passes_off, &e) == AVS_OK) return 0;
    fprintf(stderr, "error: --no-pass: %s\n", e.msg);
    return 2;
}

/* The text of an option's value as the JSON it looks like. */
static void add_value(options *o, const char *key, const char *text)
{
    char *end;
    avs_json *list = NULL;
    if (text[0] == '[' && avs_json_parse(o->arena, key, text, strlen(text), &list, NULL) == AVS_OK) {
        avs_json_add(o->arena, o->given, key, list);
        return;
    }
    const long long i = strtoll(text, &end, 10);
    if (*text && !*end) {
        avs_json_add_int(o->arena, o->given, key, i);
        return;
    }
    const double d = strtod(text, &end);
    if (*text && !*end)
        avs_json_add_num(o->arena, o->given, key, d);
    else if (!strcmp(text, "true") || !strcmp(text, "false"))
        avs_json_add_bool(o->arena, o->given, key, text[0] == 't');
    else
        avs_json_add_str(o->arena, o->given, key, text);
}

static int parse(int argc, char **argv, options *o)
{
    *o = (options){.arena = avs_arena_new(), .threads = (int)sysconf(_SC_NPROCESSORS_ONLN), .runs = 30};
    o->given = o->arena ? avs_json_new(o->arena, AVS_J_OBJ) : NULL;
    if (!o->given) return 1;
    for (int i = 0; i < argc && argv[i]; i++) {
        const char *a = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--json")) {
            o->json = true;
        } else if (!strcmp(argv[i], "--graph")) {
            o->graph = true;
        } else if (!strcmp(argv[i], "--training")) {
            o->training = true;
        } else if (!strcmp(argv[i], "--profile")) {
            o->profile = true;
        } else if (!strcmp(argv[i], "--check-nan")) {
            o->check_nan = true;
        } else if (!strcmp(argv[i], "--backend") && a) {
            (void)setenv("AVSWEEP_BACKEND", a, 1); /* of this process and what it plans */
            i++;
        } else if (argv[i][0] != '-' && !avs_json_get(o->given, "model")) {
            avs_json_add_str(o->arena, o->given, "model", argv[i]);
        } else if (!strncmp(argv[i], "--", 2) && a) {
            bool is_own;
            const int status = parse_own(o, argv[i], a, &is_own);
            if (status) return status;
            if (!is_own) {
                char *key = avs_arena_str(o->arena, argv[i] + 2);
                for (char *p = key; p && *p; p++)
                    if (*p == '-') *p = '_';
                add_value(o, key, a);
            }
            i++;
        } else {
            fprintf(stderr, "error: '%s' is unknown or lacks its value\n", argv[i]);
            return 2;
        }
    }
    return 0;
}

static int resolve(options *o, const char *kind, avs_cfg **cfg, avs_err *e)
{
    avs_problem *p = NULL;
    int rc = avs_cfg_resolve(o->arena, kind, o->given, cfg, &p, e);
    if (rc != AVS_OK && p)
        return avs_fail(e, rc, "%s: %s%s%s", p->key ? p->key : "?", p->text, p->help ? "; " : "",
                        p->help ? p->help : "");
    return rc;
}

static int open_net(const options *o, const avs_cfg *cfg, avs_net *n, avs_err *e)
{
    int h, w;
    avs_cfg_size(cfg, "resolution", &h, &w);
    const int rows = o->training && avs_cfg_has(cfg, "batch") ? (int)avs_cfg_int(cfg, "batch")
                                                              : (int)avs_cfg_int(cfg, "frames");
    const avs_net_cfg nc = {.rows = rows,
                            .height = h,
                            .width = w,
                            .training = o->training,
                            .passes_off = o->passes_off,
                            .mem_budget = o->mem_budget,
                            .check_nan = o->check_nan};
    return avs_net_open(n, cfg, &nc, e);
}

/* What explain prints of a plan: the report, or timings of runs, and the trace file. */
static int show(const options *o, avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    if (o->profile)
        rc = avs_plan_profile(p, o->runs, stdout, e);
    else
        avs_plan_report(p, stdout);
    if (rc == AVS_OK && o->check_nan && (rc = avs_plan_run(p, e)) == AVS_OK)
        printf("every value of a run is finite\n");
    if (rc != AVS_OK || !o->trace) return rc;
    FILE *f = fopen(o->trace, "w");
    if (!f) return avs_fail(e, AVS_EIO, "%s: %s", o->trace, strerror(errno));
    rc = avs_plan_trace(p, f, e);
    if (fclose(f) && rc == AVS_OK) rc = avs_fail(e, AVS_EIO, "%s: %s", o->trace, strerror(errno));
    return rc;
}

/* ------------------------------------------------------------------ a backbone alone */

/* --backbone-only NAME [--resolution N or HxW] [--batch N] [--precision P]; NULL: not asked for. */
static const char *bare_name(const options *o)
{
    return avs_json_str(o->given, "backbone_only", NULL);
}

/* HxW? */
static bool is_extent(const char *s, int *h, int *w)
{
    char *end;
    *h = (int)strtol(s, &end, 10);
    if (end == s || *end != 'x') return false;
    s = end + 1;
    *w = (int)strtol(s, &end, 10);
    return end != s && !*end;
}

static int open_bare(const options *o, avs_bare *b, avs_err *e)
{
    avs_bare_cfg cfg = {.name = bare_name(o),
                        .rows = 1,
                        .height = 224,
                        .width = 224,
                        .training = o->training,
                        .passes_off = o->passes_off,
                        .mem_budget = o->mem_budget,
                        .check_nan = o->check_nan};
    for (const avs_json *p = o->given->first; p; p = p->next) {
        const bool is_size = !strcmp(p->key, "resolution");
        if (!strcmp(p->key, "backbone_only")) continue;
        if (is_size && p->kind == AVS_J_INT)
            cfg.height = cfg.width = (int)p->i;
        else if (is_size && p->kind == AVS_J_STR && is_extent(p->s, &cfg.height, &cfg.width))
            continue;
        else if (!strcmp(p->key, "precision") && p->kind == AVS_J_STR) {
            int rc = avs_net_precision(p->s, &cfg.prec, e);
            if (rc != AVS_OK) return rc;
        } else if (!strcmp(p->key, "batch") && p->kind == AVS_J_INT && p->i > 0 && p->i <= 4096)
            cfg.rows = (int)p->i;
        else
            return avs_fail(e, AVS_EPARSE, "a backbone alone has no parameter '%s' of that kind", p->key);
    }
    if (cfg.height < 1 || cfg.width < 1 || cfg.height > 16384 || cfg.width > 16384)
        return avs_fail(e, AVS_ERANGE, "resolution %dx%d is not usable", cfg.height, cfg.width);
    return avs_bare_open(b, &cfg, e);
}

static int explain_bare(const options *o)
{
    avs_bare b = {0};
    avs_err e = AVS_ERR_INIT;
    int rc = open_bare(o, &b, &e);
    if (rc == AVS_OK && o->graph) avs_graph_dump(b.graph, stdout);
    if (rc == AVS_OK) rc = show(o, b.plan, &e);
    avs_bare_close(&b);
    return rc == AVS_OK ? 0 : fail(&e);
}

static void print_speed(const options *o, const avs_latency_stats *st, int64_t runs, const avs_graph *g,
                        int64_t macs)
{
    if (o->json)
        printf("{\"median_ms\":%.4f,\"min_ms\":%.4f,\"p90_ms\":%.4f,\"runs\":%lld,\"threads\":%d,"
               "\"params\":%lld,\"macs\":%lld}\n",
               st->p50 * 1e-6, st->min * 1e-6, st->p90 * 1e-6, (long long)runs, o->threads,
               (long long)avs_graph_param_count(g, false), (long long)macs);
    else
        printf("median %.3f ms, min %.3f ms, p90 %.3f ms over %lld runs on %d threads\n", st->p50 * 1e-6,
               st->min * 1e-6, st->p90 * 1e-6, (long long)runs, o->threads);
}

static int bench_bare(const options *o)
{
    avs_bare b = {0};
    avs_latency_stats st = {0};
    avs_err e = AVS_ERR_INIT;
    double unit = 1;
    uint32_t *ns = AVS_NEW_N(o->arena, uint32_t, o->runs);
    int rc = ns ? open_bare(o, &b, &e) : avs_fail(&e, AVS_ENOMEM, "out of memory for %d samples", o->runs);
    if (rc == AVS_OK) rc = avs_bare_time(&b, 3, o->runs, ns, &unit, &e);
    if (rc == AVS_OK) rc = avs_latency_summarise(ns, o->runs, unit, &st, &e);
    if (rc == AVS_OK) print_speed(o, &st, o->runs, b.graph, b.macs);
    avs_bare_close(&b);
    return rc == AVS_OK ? 0 : fail(&e);
}

/* ------------------------------------------------------------------ explain */

int avs_explain_command(int argc, char **argv)
{
    options o;
    avs_cfg *cfg;
    avs_net n = {0};
    avs_err e = AVS_ERR_INIT;
    int status = parse(argc, argv, &o);
    if (!status && bare_name(&o)) {
        omp_set_num_threads(o.threads);
        status = explain_bare(&o);
    } else if (!status) {
        omp_set_num_threads(o.threads);
        int rc = resolve(&o, o.training ? "train" : "latency", &cfg, &e);
        if (rc == AVS_OK) rc = open_net(&o, cfg, &n, &e);
        if (rc == AVS_OK && o.graph) avs_graph_dump(n.graph, stdout);
        if (rc == AVS_OK) rc = show(&o, n.plan, &e);
        if (rc != AVS_OK) status = fail(&e);
    }
    avs_net_close(&n);
    avs_arena_free(o.arena);
    return status;
}

/* ------------------------------------------------------------------ bench-forward */

int avs_bench_forward_command(int argc, char **argv)
{
    options o;
    avs_cfg *cfg;
    avs_net n = {0};
    avs_latency_samples s = {0};
    avs_latency_stats st = {0};
    avs_err e = AVS_ERR_INIT;
    int status = parse(argc, argv, &o);
    if (!status && bare_name(&o)) {
        omp_set_num_threads(o.threads);
        status = bench_bare(&o);
    } else if (!status) {
        omp_set_num_threads(o.threads);
        int rc = resolve(&o, o.training ? "train" : "latency", &cfg, &e);
        if (rc == AVS_OK) rc = open_net(&o, cfg, &n, &e);
        const avs_latency_cfg lc = {.warmup = 3,
                                    .min_samples = o.runs,
                                    .capacity = o.runs,
                                    .max_seconds = 600,
                                    .scope = AVS_SCOPE_AUDIO};
        if (rc == AVS_OK) rc = avs_latency_measure(&n, &lc, NULL, &s, &e);
        if (rc == AVS_OK) rc = avs_latency_summarise(s.latency, s.n, s.latency_unit, &st, &e);
        if (rc != AVS_OK)
            status = fail(&e);
        else
            print_speed(&o, &st, s.n, n.graph, avs_graph_macs(n.graph));
    }
    avs_latency_samples_free(&s);
    avs_net_close(&n);
    avs_arena_free(o.arena);
    return status;
}

/* ------------------------------------------------------------------ bench-step */

/* {"ms":[..],..}: every sample, so that whoever asked can join them with others'. */
static void print_steps(const options *o, const avs_plan *p, const double *ms, int64_t before_kib)
{
    const avs_plan_stats st = avs_plan_get_stats(p);
    printf("{\"ms\":[");
    for (int i = 0; i < o->runs; i++) printf("%s%.3f", i ? "," : "", ms[i]);
    printf("],\"threads\":%d,\"before_kib\":%lld,\"peak_kib\":%lld,\"build_ms\":%.1f,\"arena_kib\":%zu,"
           "\"workspace_kib\":%zu}\n",
           o->threads, (long long)before_kib, (long long)avs_peak_kib(), st.build_ms, st.arena_bytes >> 10,
           st.workspace_bytes >> 10);
}

int avs_bench_step_command(int argc, char **argv)
{
    options o;
    avs_cfg *cfg;
    avs_net n = {0};
    avs_bare b = {0};
    avs_err e = AVS_ERR_INIT;
    const int64_t before_kib = avs_peak_kib();
    int status = parse(argc, argv, &o);
    if (!status) {
        int rc = AVS_OK;
        double *ms = AVS_NEW_N(o.arena, double, o.runs);
        o.training = true;
        omp_set_num_threads(o.threads);
        if (!ms) rc = avs_fail(&e, AVS_ENOMEM, "out of memory for %d samples", o.runs);
        if (rc == AVS_OK && bare_name(&o)) {
            rc = open_bare(&o, &b, &e);
        } else if (rc == AVS_OK) {
            rc = resolve(&o, "train", &cfg, &e);
            if (rc == AVS_OK) rc = open_net(&o, cfg, &n, &e);
        }
        avs_plan *p = b.plan ? b.plan : n.plan;
        if (rc == AVS_OK) avs_step_fill(p);
        if (rc == AVS_OK) rc = avs_step_time(p, 2, o.runs, ms, &e);
        if (rc == AVS_OK)
            print_steps(&o, p, ms, before_kib);
        else
            status = fail(&e);
    }
    avs_bare_close(&b);
    avs_net_close(&n);
    avs_arena_free(o.arena);
    return status;
}
