/* Every row is a graph that is built and counted: one frame, the resolution of the system's default configuration. Published
 * sizes come from results/published.csv, the row of the same method and backbone. */
#include "workers/models_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/csv.h"
#include "engine/graph/graph.h"
#include "models/model.h"
#include "workers/published_table.h"

typedef struct {
    const char *model, *backbone, *variant; /* variant "": the model has none */
    const char *method, *words;             /* as published.csv says them; "": nothing published */
    const char *paper;                      /* arXiv; "": our own */
} row;

static const row rows[] = {
    {"avesformer", "resnet18", "", "AVESFormer", "ResNet-18", "2408.01708"},
    {"avesformer", "resnet34", "", "", "", "2408.01708"},
    {"avesformer", "resnet50", "", "AVESFormer", "ResNet-50", "2408.01708"},
    {"avesformer", "pvt_v2_b5", "", "", "", "2408.01708"},
    {"avesformer_mini", "mini", "", "", "", ""},
    {"avsegformer", "resnet50", "paper", "", "", "2307.01146"},
    {"avsegformer", "resnet50", "released", "AVSegFormer", "ResNet-50", "2307.01146"},
    {"avsegformer", "pvt_v2_b5", "paper", "", "", "2307.01146"},
    {"avsegformer", "pvt_v2_b5", "released", "", "", "2307.01146"},
    {"save", "sam_vit_b", "", "", "", "2407.02004"},
    {"save", "sam_vit_l", "", "", "", "2407.02004"},
    {"save", "sam_vit_h", "", "", "", "2407.02004"},
    {"sama", "sam_vit_h", "", "", "", "2305.11019"},
    {"aavs", "swin_b", "", "", "", "2407.11820"},
    {"lightavseg", "seaformer_t", "", "", "", "2605.08805"},
    {"lightavseg", "seaformer_s", "", "", "", "2605.08805"},
    {"lightavseg", "seaformer_b", "", "", "", "2605.08805"},
    {"lightavseg", "seaformer_l", "", "LightAVSeg", "SeaFormer-L + MobileNetV2", "2605.08805"},
    {"lightavseg", "resnet50", "", "", "", "2605.08805"},
    {"tpavi", "resnet50", "", "AVSBench", "ResNet-50", "2207.05042"},
    {"tpavi", "pvt_v2_b5", "", "", "", "2207.05042"},
};

typedef struct {
    int h, w;
    int64_t params, executed, trainable, macs;
    const char *published, *source; /* millions as printed, and where; NULL: none */
} sizes;

/* The first size that is printed for this method and backbone. */
static int find_published(avs_arena *a, const row *r, sizes *s, avs_err *e)
{
    avs_csv c;
    if (!r->method[0]) return AVS_OK;
    int rc =
        avs_csv_parse(&c, a, "published.csv", (const char *)avs_published_sizes, avs_published_sizes_len, e);
    static const char *const names[] = {"method", "backbone", "metric", "value", "source", "table"};
    int col[6];
    for (int k = 0; k < 6 && rc == AVS_OK; k++)
        if ((col[k] = avs_csv_col(&c, names[k])) < 0)
            rc = avs_fail(e, AVS_EPARSE, "published.csv has no column '%s'", names[k]);
    for (int i = 0; rc == AVS_OK && i < c.n_rows && !s->published; i++) {
        if (strcmp(avs_csv_at(&c, i, col[0]), r->method) != 0 ||
            strcmp(avs_csv_at(&c, i, col[1]), r->words) != 0 ||
            strncmp(avs_csv_at(&c, i, col[2]), "params", 6) != 0)
            continue;
        s->published = avs_csv_at(&c, i, col[3]);
        s->source = avs_arena_fmt(a, "%s, %s", avs_csv_at(&c, i, col[4]), avs_csv_at(&c, i, col[5]));
        if (!s->source) rc = avs_fail(e, AVS_ENOMEM, "out of memory");
    }
    return rc;
}

static int measure(avs_arena *a, const row *r, sizes *s, avs_err *e)
{
    avs_json *given = avs_json_new(a, AVS_J_OBJ);
    avs_cfg *cfg = NULL;
    avs_problem *p = NULL;
    avs_model_io io = {0};
    const avs_model_rule *rule = avs_model_find(r->model);
    avs_graph *g = avs_graph_new(a, false);
    if (!given || !g) return avs_fail(e, AVS_ENOMEM, "out of memory for a graph");
    avs_json_add_str(a, given, "model", r->model);
    avs_json_add_str(a, given, "backbone", r->backbone);
    avs_json_add_int(a, given, "frames", 1);
    if (r->variant[0]) avs_json_add_str(a, given, "variant", r->variant);
    int rc = avs_cfg_resolve(a, "latency", given, &cfg, &p, e);
    if (rc != AVS_OK) return p ? avs_fail(e, rc, "%s: %s", p->key ? p->key : r->model, p->text) : rc;
    avs_cfg_size(cfg, "resolution", &s->h, &s->w);
    rc = rule->build(g, cfg, &(avs_build){.rows = 1, .height = s->h, .width = s->w}, &io, e);
    if (rc != AVS_OK) return rc;
    avs_model_freeze(g, rule, cfg, 2);
    s->params = avs_graph_param_count(g, false);
    s->executed = avs_graph_param_used(g);
    s->trainable = avs_graph_param_count(g, true);
    s->macs = avs_graph_macs(g);
    return find_published(a, r, s, e);
}

static void print_text(const row *r, const sizes *s)
{
    printf("%-16s %-12s %-9s %4dx%-4d %13lld %13lld %13lld %9.2f  %9s  %s\n", r->model, r->backbone,
           r->variant, s->h, s->w, (long long)s->params, (long long)s->executed, (long long)s->trainable,
           (double)s->macs * 1e-9, s->published ? s->published : "-", r->paper[0] ? r->paper : "own");
}

static int print_json(avs_arena *a, const row *r, const sizes *s, bool first)
{
    avs_buf b = AVS_BUF_INIT;
    avs_json *j = avs_json_new(a, AVS_J_OBJ);
    if (!j) return 1;
    avs_json_add_str(a, j, "model", r->model);
    avs_json_add_str(a, j, "backbone", r->backbone);
    if (r->variant[0]) avs_json_add_str(a, j, "variant", r->variant);
    avs_json_add_int(a, j, "height", s->h);
    avs_json_add_int(a, j, "width", s->w);
    avs_json_add_int(a, j, "params", s->params);
    avs_json_add_int(a, j, "params_executed", s->executed);
    avs_json_add_int(a, j, "params_trainable", s->trainable);
    avs_json_add_int(a, j, "macs_t1", s->macs);
    if (s->published) {
        avs_json_add_num(a, j, "published_params_m", strtod(s->published, NULL));
        avs_json_add_str(a, j, "published_in", s->source);
    }
    if (r->paper[0]) avs_json_add_str(a, j, "arxiv", r->paper);
    avs_json_write(&b, j, true);
    printf("%s%s", first ? "[" : ",\n ", avs_buf_cstr(&b));
    avs_buf_free(&b);
    return 0;
}

/* 0 text, 1 JSON, -1 after saying what is wrong */
static int format_of(int argc, char **argv)
{
    if (!argc) return 0;
    if (argc == 2 && !strcmp(argv[0], "--format")) {
        if (!strcmp(argv[1], "text")) return 0;
        if (!strcmp(argv[1], "json")) return 1;
    }
    fprintf(stderr, "usage: avsweep models [--format text|json]\n");
    return -1;
}

int avs_models_command(int argc, char **argv)
{
    const int json = format_of(argc, argv);
    if (json < 0) return 2;
    if (!json)
        printf("%-16s %-12s %-9s %9s %13s %13s %13s %9s  %9s  %s\n", "model", "backbone", "variant", "input",
               "parameters", "executed", "trainable", "GMAC T=1", "published", "arXiv");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        avs_err e = AVS_ERR_INIT;
        sizes s = {0};
        avs_arena *a = avs_arena_new();
        int rc = a ? measure(a, &rows[i], &s, &e) : avs_fail(&e, AVS_ENOMEM, "out of memory");
        if (rc == AVS_OK && json)
            rc = print_json(a, &rows[i], &s, i == 0) ? avs_fail(&e, AVS_ENOMEM, "out of memory") : AVS_OK;
        else if (rc == AVS_OK)
            print_text(&rows[i], &s);
        avs_arena_free(a);
        if (rc == AVS_OK) continue;
        fprintf(stderr, "error: %s, %s: %s\n", rows[i].model, rows[i].backbone, e.msg);
        return 1;
    }
    if (json)
        printf("]\n");
    else
        printf("published: millions as the papers print them, VGGish included where the paper counts it "
               "(results/published.csv)\n");
    return 0;
}
