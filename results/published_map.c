/* Tables of words. A row names everything its paper held fixed, so that a sweep over another parameter does not meet the
 * paper's main row by accident: the default configuration of the paper's model, and the input size. */
#include "results/published_map.h"

#include <stddef.h>
#include <string.h>
#include "base/json.h"

typedef struct {
    const char *word, *value;
} word;

/* A method's numbers are taken from its own paper; the first word of `sources` that matches decides. */
static const struct {
    const char *method, *model, *sources[2];
} methods[] = {
    {"AVESFormer", "avesformer", {"AVESFormer", NULL}},
    {"AVSegFormer", "avsegformer", {"AVSegFormer", "vvvb-github/AVSegFormer README"}},
    {"AVSBench", "tpavi", {"AVSegFormer", NULL}},
    {"AAVS", "aavs", {"GeWu-Lab/Stepping-Stones README", NULL}},
    {"SAMA-AVS", "sama", {"GeWu-Lab/Stepping-Stones README", NULL}},
    {"LightAVSeg", "lightavseg", {"LightAVSeg", NULL}},
    {"SAVE", "save", {"SAVE", NULL}},
};

static const word backbones[] = {{"ResNet-18", "resnet18"},      {"ResNet-34", "resnet34"},
                                 {"ResNet-50", "resnet50"},      {"PVTv2", "pvt_v2_b5"},
                                 {"Swin-B", "swin_b"},           {"SeaFormer-L", "seaformer_l"},
                                 {"SeaFormer-B", "seaformer_b"}, {"SeaFormer-T", "seaformer_t"}};
static const word tasks[] = {{"S4", "s4"}, {"MS3", "ms3"}, {"AVSS", "avss"}};

/* variant word -> parameter and its JSON value; of one source and table ("" any) */
static const struct {
    const char *source, *table, *word, *param, *json;
} variants[] = {
    {"AVESFormer", "", "query_generator=none", "query_generator", "\"none\""},
    {"AVESFormer", "", "query_generator=QG", "query_generator", "\"qg\""},
    {"AVESFormer", "", "query_generator=BQG", "query_generator", "\"bqg\""},
    {"AVESFormer", "", "query_generator=PQG", "query_generator", "\"pqg\""},
    {"AVESFormer", "", "fusion=dissipation", "fusion", "\"dissipation\""},
    {"AVESFormer", "", "fusion=TPAVI", "fusion", "\"tpavi\""},
    {"AVESFormer", "", "fusion=CHA", "fusion", "\"cha\""},
    {"AVESFormer", "", "fusion=sigmoid", "fusion", "\"sigmoid\""},
    {"AVESFormer", "", "fusion=cross attn", "fusion", "\"cross\""},
    {"AVESFormer", "", "decoder=T-T-T", "elf_stages", "\"TTT\""},
    {"AVESFormer", "", "decoder=C-T-T", "elf_stages", "\"CTT\""},
    {"AVESFormer", "", "decoder=T-C-T", "elf_stages", "\"TCT\""},
    {"AVESFormer", "", "decoder=T-T-C", "elf_stages", "\"TTC\""},
    {"AVSegFormer", "Table 2b", "learnable_queries=yes", "learnable_queries", "true"},
    {"AVSegFormer", "Table 2b", "learnable_queries=no", "learnable_queries", "false"},
    {"AVSegFormer", "Table 2c", "mixer=none", "mixer", "\"none\""},
    {"AVSegFormer", "Table 2c", "mixer=CHA", "mixer", "\"cha\""},
    {"AVSegFormer", "Table 2c", "mixer=CRA", "mixer", "\"cra\""},
    {"AVSegFormer", "Table 2d", "mask_reformer=none", "aux_loss", "\"none\""},
    {"AVSegFormer", "Table 2d", "mask_reformer=AR", "aux_loss", "\"ar\""},
    {"AVSegFormer", "Table 2d", "mask_reformer=QR", "aux_loss", "\"qr\""},
    {"LightAVSeg", "Ablation", "loss=seg", "aux_loss", "\"none\""},
    {"LightAVSeg", "Ablation", "loss=seg+AVM", "aux_loss", "\"avm\""},
    {"LightAVSeg", "Ablation", "loss=seg+mix", "aux_loss", "\"mix\""},
    {"LightAVSeg", "Ablation", "loss=seg+msa", "aux_loss", "\"msa\""},
    {"SAVE", "", "input=256", "resolution", "256"},
    {"SAVE", "", "input=1024", "resolution", "1024"},
};

/* What the tables of a paper keep fixed (its default configuration) unless the variant names it. */
static const struct {
    const char *model, *key, *json;
} fixed[] = {
    {"avesformer", "query_generator", "\"pqg\""},
    {"avesformer", "fusion", "\"cross\""},
    {"avesformer", "elf_stages", "\"CTT\""},
    {"avsegformer", "learnable_queries", "true"},
    {"avsegformer", "mixer", "\"cha\""},
    {"avsegformer", "aux_loss", "\"qr\""},
    {"lightavseg", "agve", "true"},
    {"lightavseg", "har", "true"},
    {"lightavseg", "cmfd", "true"},
    {"lightavseg", "pooling", "\"max\""},
    {"lightavseg", "aux_loss", "\"msa\""},
    {"save", "adapter_ratio", "0.25"},
    {"save", "image_adapter", "true"},
    {"save", "audio_adapter", "true"},
    {"save", "audio_residual", "true"},
    {"save", "audio_inject", "true"},
    {"save", "audio_prompt", "true"},
    {"aavs", "query_generator", "\"adaptive\""},
};

static const word stage_two[] = {{"stage1_mask_train", "\"ground_truth\""},
                                 {"stage1_mask_eval", "\"predicted\""},
                                 {"robust_key", "true"},
                                 {"key_threshold_low", "0.4"},
                                 {"key_threshold_high", "0.6"}};

static const struct {
    const char *word, *unit, *metric;
    double factor;
} metrics[] = {{"mIoU", "%", "miou", 0.01},
               {"F-score", "%", "fscore", 0.01},
               {"params (audio backbone included)", "M", "params", 1e6},
               {"params", "M", "params", 1e6},
               {"latency", "ms", "latency_p50", 1e6}};

static void put(avs_buf *b, const char *key, const char *json)
{
    avs_buf_fmt(b, "%c\"%s\":%s", b->len && b->data[b->len - 1] == '{' ? ' ' : ',', key, json);
}

static void put_str(avs_buf *b, const char *key, const char *text)
{
    put(b, key, "");
    avs_json_write_str(b, text);
}

static const char *model_of(const avs_published_row *r)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (strcmp(methods[i].method, r->method) != 0) continue;
        for (int k = 0; k < 2; k++)
            if (methods[i].sources[k] && strcmp(methods[i].sources[k], r->source) == 0)
                return methods[i].model;
        /* AVESFormer's table 6 measures AVSegFormer again, with other query generators. */
        if (strcmp(r->source, "AVESFormer") == 0 && strcmp(r->table, "Table 6") == 0) return methods[i].model;
    }
    return NULL;
}

/* num_queries of "queries=64", or NULL. */
static const char *queries_of(const avs_published_row *r)
{
    return strncmp(r->variant, "queries=", 8) == 0 ? r->variant + 8 : NULL;
}

static bool put_variant(const avs_published_row *r, avs_buf *b, const char **param)
{
    *param = "";
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        bool here = strcmp(variants[i].source, r->source) == 0 &&
                    (!*variants[i].table || strcmp(variants[i].table, r->table) == 0);
        if (!here || strcmp(variants[i].word, r->variant) != 0) continue;
        *param = variants[i].param;
        put(b, variants[i].param, variants[i].json);
        return true;
    }
    if (queries_of(r)) {
        const char *n = queries_of(r);
        if (strspn(n, "0123456789") != strlen(n) || !*n) return false;
        *param = "num_queries";
        put(b, "num_queries", n);
        return true;
    }
    return strcmp(r->variant, "main") == 0 || strcmp(r->variant, "main, Stepping Stones training") == 0 ||
           strcmp(r->variant, "T=1") == 0 || !*r->variant || strcmp(r->variant, "backbone") == 0 ||
           strcmp(r->variant, "visual backbone") == 0 || strcmp(r->variant, "released checkpoint") == 0;
}

/* AVSegFormer exists as printed in the paper and as released. */
static bool is_released(const avs_published_row *r)
{
    return strcmp(r->variant, "released checkpoint") == 0 || strcmp(r->table, "Table 6") == 0;
}

static void put_release(const avs_published_row *r, const char *model, avs_buf *b)
{
    const bool released = is_released(r);
    if (strcmp(model, "avsegformer") != 0) return;
    put_str(b, "variant", released ? "released" : "paper");
}

bool avs_published_map(const avs_published_row *r, avs_buf *b, const char **metric, double *factor)
{
    const char *model = model_of(r), *param = "", *backbone = NULL, *task = NULL;

    *metric = NULL;
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        if (strcmp(metrics[i].word, r->metric) == 0 && strcmp(metrics[i].unit, r->unit) == 0) {
            *metric = metrics[i].metric;
            *factor = metrics[i].factor;
        }
    }
    for (size_t i = 0; i < sizeof backbones / sizeof *backbones; i++)
        if (strncmp(backbones[i].word, r->backbone, strlen(backbones[i].word)) == 0)
            backbone = backbones[i].value;
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
        if (strcmp(tasks[i].word, r->setting) == 0) task = tasks[i].value;
    if (!model || !*metric || (*r->setting && !task)) return false;

    avs_buf_char(b, '{');
    put_str(b, "model", model);
    if (task) put_str(b, "task", task);
    if (backbone) put_str(b, "backbone", backbone);
    if (!put_variant(r, b, &param)) return false;
    put_release(r, model, b);
    const bool is_other = strcmp(model, "avsegformer") == 0 && is_released(r); /* its defaults differ */
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed && !is_other; i++)
        if (strcmp(model, fixed[i].model) == 0 && strcmp(param, fixed[i].key) != 0)
            put(b, fixed[i].key, fixed[i].json);
    if (strcmp(model, "aavs") == 0 && task) {
        const bool two = strcmp(task, "avss") == 0;
        put_str(b, "stage", two ? "two" : "one");
        for (size_t i = 0; two && i < sizeof stage_two / sizeof *stage_two; i++)
            put(b, stage_two[i].word, stage_two[i].value);
    }
    if (strcmp(model, "avesformer") == 0) {
        /* the generators none and qg have no learned query count */
        bool counted =
            strcmp(r->variant, "query_generator=none") != 0 && strcmp(r->variant, "query_generator=QG") != 0;
        if (counted && strcmp(param, "num_queries") != 0) put(b, "num_queries", "16");
    }
    if (strcmp(*metric, "latency_p50") == 0) {
        put_str(b, "kind", "latency");
        put(b, "frames", "1");
    }
    if (strcmp(model, "aavs") == 0)
        put(b, "resolution", "384");
    else if (strcmp(model, "save") != 0 && strcmp(model, "sama") != 0)
        put(b, "resolution", "224");
    avs_buf_char(b, '}');
    return true;
}
