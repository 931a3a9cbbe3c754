/* Weights from one file to another: rename, leave out, compare with a model if one is named, widen to F32, write. Nothing
 * is written unless all of it is right. */
#include "workers/convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "models/model.h"
#include "workers/bare.h"
#include "workers/weights.h"

enum { MAX_RULES = 64 };

static const char help[] =
    "usage: avsweep convert IN OUT.safetensors [options]\n"
    "IN: a checkpoint of torch.save (.pth, .pt; nothing in it is executed) or safetensors.\n"
    "  --key NAME          the mapping of tensors to take; default: the top level, or the one of\n"
    "                      state_dict, model, model_state_dict\n"
    "  --rename A=B        keys that begin with A begin with B instead (B may be empty); may be repeated\n"
    "  --ignore PATTERN    leave out keys that match after renaming; * stands for anything; may be repeated\n"
    "The keys and shapes must be those of (docs/weights.md has the differences that are allowed):\n"
    "  --model M [--PARAMETER VALUE]..          a whole system\n"
    "  --model M [..] --part backbone | audio   its visual backbone or its audio encoder\n"
    "  --backbone-only NAME [--resolution N]    a backbone without a system, of\n"
    "                      " AVS_BARE_NAMES "\n"
    "Without either, keys and shapes are taken as they are.\n"
    "Half, bfloat16 and double tensors become F32 (double: rounded to nearest), integers stay what they "
    "are.\n";

typedef struct {
    avs_arena *arena;
    const char *in, *out, *key, *part, *bare;
    avs_json *given; /* of --model and its parameters; NULL without */
    avs_key_rule rules[MAX_RULES];
    int n_rules;
} options;

static int usage(const char *what, const char *word)
{
    fprintf(stderr, "avsweep convert: %s%s%s\n%s", what, word[0] ? ": " : "", word, help);
    return 2;
}

static int add_rule(options *o, const char *option, const char *text)
{
    avs_key_rule r = {.part = "*", .kind = AVS_KEY_UNEXPECTED, .key = text, .to = "", .why = option};
    if (o->n_rules == MAX_RULES) return usage("more than 64 --rename and --ignore", "");
    if (!strcmp(option, "--rename")) {
        const char *eq = strchr(text, '=');
        if (!eq || (eq == text && !eq[1])) return usage("--rename wants A=B", text);
        r.kind = AVS_KEY_RENAME;
        r.key = avs_arena_strn(o->arena, text, (size_t)(eq - text));
        r.to = eq + 1;
        if (!r.key) return 1;
    }
    o->rules[o->n_rules++] = r;
    return 0;
}

/* --num_queries 32 as {"num_queries": 32}; what is no JSON is a string. */
static int add_parameter(options *o, const char *option, const char *value)
{
    avs_json *v = NULL;
    char *key = avs_arena_str(o->arena, option + 2);
    for (char *p = key; p && *p; p++)
        if (*p == '-') *p = '_';
    if (!o->given && !(o->given = avs_json_new(o->arena, AVS_J_OBJ))) return 1;
    if (!key) return 1;
    if (strcmp(key, "model") != 0 &&
        avs_json_parse(o->arena, option, value, strlen(value), &v, NULL) == AVS_OK)
        return avs_json_add(o->arena, o->given, key, v) ? 0 : 1;
    return avs_json_add_str(o->arena, o->given, key, value) ? 0 : 1;
}

static int parse(options *o, int argc, char **argv)
{
    int status = 0;
    for (int i = 0; i < argc && !status; i++) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (word[0] != '-') {
            const char **to = !o->in ? &o->in : !o->out ? &o->out : NULL;
            if (!to) return usage("a third file", word);
            *to = word;
            continue;
        }
        if (strncmp(word, "--", 2) != 0 || !value)
            return usage("an unknown option, or one without its value", word);
        i++;
        if (!strcmp(word, "--key"))
            o->key = value;
        else if (!strcmp(word, "--part"))
            o->part = value;
        else if (!strcmp(word, "--backbone-only"))
            o->bare = value;
        else if (!strcmp(word, "--rename") || !strcmp(word, "--ignore"))
            status = add_rule(o, word, value);
        else
            status = add_parameter(o, word, value);
    }
    if (status) return status;
    if (!o->in || !o->out) return usage("IN and OUT.safetensors are wanted", "");
    const avs_json *stray = o->given ? o->given->first : NULL;
    if (o->bare && stray && (stray->next || strcmp(stray->key, "resolution") != 0))
        return usage("--backbone-only takes --resolution alone, not", stray->key);
    if (!o->bare && stray && !avs_json_get(o->given, "model"))
        return usage("parameters of a model, but no --model; the first", stray->key);
    if (o->part && (o->bare || !o->given)) return usage("--part is one of a --model", "");
    if (o->part && strcmp(o->part, "model") != 0 && strcmp(o->part, "backbone") != 0 &&
        strcmp(o->part, "audio") != 0)
        return usage("--part is model, backbone or audio", o->part);
    return 0;
}

/* ------------------------------------------------------------------ the model */

/* The rules of the model behind those of the user. */
static int add_model_rules(const options *o, const avs_model_rule *rule, const avs_cfg *cfg,
                           avs_weights_cfg *wc, avs_err *e)
{
    int n = 0;
    const avs_key_rule *more = rule->weight_rules ? rule->weight_rules(cfg, &n) : NULL;
    avs_key_rule *all = n ? AVS_NEW_N(o->arena, avs_key_rule, o->n_rules + n) : NULL;
    if (!n) return AVS_OK;
    if (!all) return avs_fail(e, AVS_ENOMEM, "out of memory for the rules of %s", rule->name);
    memcpy(all, o->rules, sizeof *all * (size_t)o->n_rules);
    memcpy(all + o->n_rules, more, sizeof *all * (size_t)n);
    wc->extra = all;
    wc->n_extra = o->n_rules + n;
    return AVS_OK;
}

/* Appends the system that the options name; wc gets its part and prefix. */
static int build_model(const options *o, avs_graph *g, avs_weights_cfg *wc, avs_err *e)
{
    avs_problem *p = NULL;
    avs_cfg *cfg;
    avs_model_io io = {0};
    int h, w;
    int rc = avs_cfg_resolve(o->arena, "latency", o->given, &cfg, &p, e);
    if (rc != AVS_OK)
        return p ? avs_fail(e, rc, "%s: %s%s%s", p->key ? p->key : "model", p->text, p->help ? "; " : "",
                            p->help ? p->help : "")
                 : rc;
    const avs_model_rule *rule = avs_model_find(avs_cfg_str(cfg, "model"));
    if (!rule) return avs_fail(e, AVS_EMISSING, "model '%s' is not built in yet", avs_cfg_str(cfg, "model"));
    wc->part = rule->name;
    if (o->part && o->part[0] == 'b') {
        wc->part = avs_cfg_str(cfg, "backbone");
        wc->prefix = avs_model_backbone_prefix(rule, cfg);
        if (avs_model_takes_whole(rule, cfg)) {
            wc->part = avs_arena_fmt(o->arena, "%s/%s", rule->name, wc->part);
            wc->prefix = "";
            rc = add_model_rules(o, rule, cfg, wc, e);
            if (rc != AVS_OK) return rc;
        }
    } else if (o->part && o->part[0] == 'a') {
        wc->part = avs_cfg_str(cfg, "audio_backbone");
        wc->prefix = rule->audio_prefix;
    }
    if (!wc->prefix) return avs_fail(e, AVS_EMISSING, "%s has no part '%s'", rule->name, o->part);
    avs_cfg_size(cfg, "resolution", &h, &w);
    return rule->build(g, cfg, &(avs_build){.rows = 1, .height = h, .width = w}, &io, e);
}

/* SAM's position tables follow from the side of the image, that of the public checkpoints being 1024. */
static int build_bare(const options *o, avs_graph *g, avs_weights_cfg *wc, avs_err *e)
{
    const int usual = !strncmp(o->bare, "sam_", 4) ? 1024 : 224;
    const int side = (int)avs_json_int(o->given, "resolution", usual);
    const avs_bare_cfg cfg = {.name = o->bare, .rows = 1, .height = side, .width = side};
    avs_val out[4];
    int n;
    wc->part = o->bare;
    if (side < 1 || side > 16384) return avs_fail(e, AVS_ERANGE, "resolution %d is not usable", side);
    return avs_bare_append(g, &cfg, out, &n, e);
}

/* Keys and shapes of what the options name. */
static int model_keys(const options *o, avs_weights_cfg *wc, avs_weights_want **want, int *n, avs_err *e)
{
    avs_graph *g = avs_graph_new(o->arena, false);
    if (!g) return avs_fail(e, AVS_ENOMEM, "out of memory for a graph");
    int rc = o->bare ? build_bare(o, g, wc, e) : build_model(o, g, wc, e);
    if (rc == AVS_OK) rc = avs_graph_check(g, e);
    if (rc != AVS_OK) return rc;
    *want = AVS_NEW_N(o->arena, avs_weights_want, g->n_v);
    if (!*want) return avs_fail(e, AVS_ENOMEM, "out of memory for the keys of %s", wc->part);
    for (uint32_t i = 1; i < g->n_v; i++)
        if ((g->v[i].kind == AVS_V_PARAM || g->v[i].kind == AVS_V_BUFFER) &&
            !strncmp(g->v[i].name, wc->prefix, strlen(wc->prefix)))
            (*want)[(*n)++] = (avs_weights_want){.key = g->v[i].name, .type = g->v[i].type};
    return *n ? AVS_OK : avs_fail(e, AVS_EMISSING, "this %s has no parameters", wc->part);
}

/* ------------------------------------------------------------------ writing */

typedef struct {
    int written, widened, integers;
    bool has_double;
} counts;

/* want: what the model takes of t, NULL: t as it is. */
static int write_one(avs_st_writer *w, avs_arena *a, const avs_st_tensor *t, const avs_weights_want *want,
                     const char *name, counts *c, avs_err *e)
{
    const bool is_wide = !strcmp(t->dtype, "F64"), is_f32 = !strcmp(t->dtype, "F32");
    const bool widens = is_wide || !strcmp(t->dtype, "F16") || !strcmp(t->dtype, "BF16");
    const int64_t n = want ? avs_type_count(&want->type) : t->count;
    int64_t d[8] = {0};
    for (int i = 0; i < t->rank; i++) d[i] = want ? want->type.d[i] : t->d[i];
    const void *data = t->data;
    const bool converts = widens || (want && (!is_f32 || !avs_st_fits(t, &want->type)));
    if (converts) {
        float *x = avs_arena_alloc(a, (size_t)n * sizeof *x);
        int rc = !x     ? avs_fail(e, AVS_ENOMEM, "out of memory for %s", name)
                 : want ? avs_weights_value(t, want, x, e)
                        : avs_st_f32(t, x, e);
        if (rc != AVS_OK) return rc;
        data = x;
    }
    c->widened += widens;
    c->has_double |= is_wide;
    c->integers += !converts && !is_f32;
    c->written++;
    int rc = avs_st_writer_add(w, name, converts ? "F32" : t->dtype, t->rank, d, data);
    return rc == AVS_OK ? AVS_OK : avs_fail(e, rc, "%s cannot be written under that name", name);
}

static int write_all(const options *o, const avs_st_file *f, const avs_weights_match *m, int n_want,
                     const avs_weights_want *want, const avs_weights_cfg *wc, counts *c, avs_err *e)
{
    uint8_t sha[32];
    char hex[65];
    int rc = avs_sha256_file(o->in, sha, e);
    if (rc != AVS_OK) return rc;
    avs_hex(sha, sizeof sha, hex);
    avs_st_writer *w = avs_st_writer_new(o->arena);
    if (!w || avs_st_writer_meta(w, "format", "pt") != AVS_OK ||
        avs_st_writer_meta(w, "source_sha256", hex) != AVS_OK)
        return avs_fail(e, AVS_ENOMEM, "out of memory");
    for (int i = 0; want && i < n_want && rc == AVS_OK; i++)
        if (m->source[i])
            rc = write_one(w, o->arena, m->source[i], &want[i], want[i].key + strlen(wc->prefix), c, e);
    for (int i = 0; i < f->n && !want && rc == AVS_OK; i++)
        if (m->name[i]) rc = write_one(w, o->arena, &f->t[i], NULL, m->name[i], c, e);
    if (rc == AVS_OK && !c->written) rc = avs_fail(e, AVS_EMISSING, "%s: nothing is left to write", o->in);
    return rc == AVS_OK ? avs_st_writer_write(w, o->out, NULL, e) : rc;
}

static void say(const options *o, const avs_pth_info *info, const counts *c, const avs_weights_match *m)
{
    if (m->report) (void)fputs(m->report, stdout);
    printf("read %s (%s)%s%s\n", o->in, info->container, info->taken[0] ? ", the mapping under " : "",
           info->taken);
    if (info->n_skipped)
        printf("note: %d entries are no tensors and were skipped: %s\n", info->n_skipped, info->skipped);
    if (c->widened)
        printf("note: %d tensors of less or more than 32 bits became F32%s\n", c->widened,
               c->has_double ? " (doubles rounded to nearest)" : " (exactly)");
    if (c->integers)
        printf("note: %d integer tensors are kept as integers; loading a model ignores them\n", c->integers);
    printf("wrote %s: %d tensors\n", o->out, c->written);
}

static int convert(const options *o, avs_st_file *f, avs_err *e)
{
    avs_weights_cfg wc = {.path = o->in, .part = "", .prefix = "", .extra = o->rules, .n_extra = o->n_rules};
    avs_weights_match m = {0};
    avs_weights_want *want = NULL;
    avs_pth_info info;
    counts c = {0};
    int n = 0, rc = AVS_OK;
    if (o->given || o->bare) rc = model_keys(o, &wc, &want, &n, e);
    if (rc == AVS_OK) rc = avs_weights_open(f, o->in, o->key, &info, e);
    if (rc == AVS_OK)
        rc = want ? avs_weights_compare(o->arena, f, &wc, want, n, &m, e)
                  : avs_weights_rename(o->arena, f, &wc, false, &m, e);
    if (rc != AVS_OK && m.report) (void)fputs(m.report, stderr);
    if (rc == AVS_OK) rc = write_all(o, f, &m, n, want, &wc, &c, e);
    if (rc == AVS_OK) say(o, &info, &c, &m);
    return rc;
}

int avs_convert_command(int argc, char **argv)
{
    options o = {.arena = avs_arena_new()};
    avs_st_file f = {0};
    avs_err e = AVS_ERR_INIT;
    for (int i = 0; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            (void)fputs(help, stdout);
            avs_arena_free(o.arena);
            return 0;
        }
    int status = o.arena ? parse(&o, argc, argv) : 1;
    if (!status && convert(&o, &f, &e) != AVS_OK) {
        fprintf(stderr, "error: %s\n", e.msg);
        status = 1;
    }
    avs_st_close(&f);
    avs_arena_free(o.arena);
    return status;
}
