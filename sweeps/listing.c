/* Renderers of an expanded sweep. Columns are the keys that any configuration sets, in order of first appearance. */
#include "sweeps/listing.h"

#include <string.h>
#include "base/hash.h"
#include "models/schema.h"

enum { MAX_COLUMNS = 256 };

typedef struct {
    const char *names[MAX_COLUMNS];
    size_t width[MAX_COLUMNS];
    int n;
} columns;

/* A scalar bare, lists as JSON. */
static void put_value(avs_buf *out, const avs_json *v)
{
    if (!v) return;
    if (v->kind == AVS_J_STR)
        avs_buf_put(out, v->s, v->len);
    else
        avs_json_write(out, v, true);
}

/* The texts of the configuration at hand; the trials of one follow each other. */
typedef struct {
    const avs_sweep *s;
    avs_arena *a;
    const avs_sweep_config *config;
    const avs_json *axes;
} cursor;

static const avs_json *axes_of(cursor *c, avs_buf *out, const avs_sweep_config *config)
{
    if (c->config == config) return c->axes;
    avs_arena_reset(c->a);
    c->config = config;
    c->axes = avs_sweep_axes(c->s, config, c->a);
    if (!c->axes) out->failed = true;
    return c->axes;
}

static size_t chars(const avs_buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->len; i++) n += ((unsigned char)b->data[i] & 0xC0) != 0x80;
    return n;
}

static void find_columns(cursor *at_config, avs_buf *out, columns *c)
{
    const avs_sweep *s = at_config->s;
    avs_buf b = AVS_BUF_INIT;
    c->n = 0;
    for (int64_t i = 0; i < s->n_trials; i++) {
        if (s->trials[i]->config == at_config->config) continue;
        const avs_json *axes = axes_of(at_config, out, s->trials[i]->config);
        for (const avs_json *v = axes ? axes->first : NULL; v; v = v->next) {
            int at = 0;
            while (at < c->n && strcmp(c->names[at], v->key) != 0) at++;
            if (at == MAX_COLUMNS) continue;
            if (at == c->n) {
                c->names[c->n++] = v->key;
                c->width[at] = strlen(v->key);
            }
            put_value(&b, v);
            if (chars(&b) > c->width[at]) c->width[at] = chars(&b);
            avs_buf_clear(&b);
        }
    }
    avs_buf_free(&b);
}

static void put_hash(avs_buf *out, const uint8_t hash[32], size_t digits)
{
    char hex[65];
    avs_hex(hash, 32, hex);
    avs_buf_put(out, hex, digits);
}

void avs_list_count(avs_buf *out, const avs_sweep *s)
{
    for (int i = 0; i < s->n_stages; i++) {
        const avs_sweep_stage *g = &s->stages[i];
        avs_buf_fmt(out, "%s: %lld trials of %lld configurations (%s)\n", g->name, (long long)g->n_trials,
                    (long long)g->n_configs, g->kind);
        for (int k = 0; k < g->n_rules; k++)
            avs_buf_fmt(out, "  %s %s: %lld points dropped\n", g->rules[k].is_require ? "require" : "exclude",
                        g->rules[k].text, (long long)g->rules[k].dropped);
    }
    avs_buf_fmt(out, "%lld trials\n", (long long)s->n_trials);
}

void avs_list_digest(avs_buf *out, const avs_sweep *s)
{
    put_hash(out, s->digest, 64);
    avs_buf_char(out, '\n');
}

static void pad(avs_buf *out, size_t from, size_t width)
{
    for (size_t i = from; i < width; i++) avs_buf_char(out, ' ');
}

void avs_list_text(avs_buf *out, const avs_sweep *s)
{
    columns c;
    size_t stage = 5, model = 5;
    cursor at = {.s = s, .a = avs_arena_new()};
    if (!at.a) {
        out->failed = true;
        return;
    }
    find_columns(&at, out, &c);
    for (int i = 0; i < s->n_stages; i++)
        if (strlen(s->stages[i].name) > stage) stage = strlen(s->stages[i].name);
    for (int64_t i = 0; i < s->n_trials; i++)
        if (strlen(s->trials[i]->config->model) > model) model = strlen(s->trials[i]->config->model);
    avs_buf_fmt(out, "     #  trial         %-*s  kind     %-*s  task  seed", (int)stage, "stage", (int)model,
                "model");
    for (int k = 0; k < c.n; k++) avs_buf_fmt(out, "  %-*s", (int)c.width[k], c.names[k]);
    avs_buf_char(out, '\n');
    avs_buf b = AVS_BUF_INIT;
    for (int g = 0; g < s->n_stages; g++)
        for (int64_t i = 0; i < s->stages[g].n_trials; i++) {
            const avs_sweep_trial *t = s->stages[g].trials[i];
            avs_buf_fmt(out, "%6u  ", t->ordinal);
            put_hash(out, t->hash, 12);
            avs_buf_fmt(out, "  %-*s  %-7s  %-*s  %-4s  %4u", (int)stage, s->stages[g].name, t->config->kind,
                        (int)model, t->config->model, t->config->task, t->seed);
            for (int k = 0; k < c.n; k++) {
                const avs_json *v = avs_json_get(axes_of(&at, out, t->config), c.names[k]);
                if (v)
                    put_value(&b, v);
                else
                    avs_buf_char(&b, '-');
                avs_buf_str(out, "  ");
                avs_buf_put(out, avs_buf_cstr(&b), b.len);
                if (k + 1 < c.n) pad(out, chars(&b), c.width[k]);
                avs_buf_clear(&b);
            }
            avs_buf_char(out, '\n');
        }
    avs_buf_free(&b);
    avs_arena_free(at.a);
}

static void csv_cell(avs_buf *out, const avs_buf *cell)
{
    const char *s = avs_buf_cstr(cell);
    if (!strpbrk(s, ",\"\n\r")) {
        avs_buf_put(out, s, cell->len);
        return;
    }
    avs_buf_char(out, '"');
    for (; *s; s++) {
        if (*s == '"') avs_buf_char(out, '"');
        avs_buf_char(out, *s);
    }
    avs_buf_char(out, '"');
}

void avs_list_csv(avs_buf *out, const avs_sweep *s)
{
    columns c;
    avs_buf b = AVS_BUF_INIT;
    cursor at = {.s = s, .a = avs_arena_new()};
    if (!at.a) {
        out->failed = true;
        return;
    }
    find_columns(&at, out, &c);
    avs_buf_str(out, "ordinal,trial_hash,config_hash,stage,kind,model,task,seed");
    for (int k = 0; k < c.n; k++) avs_buf_fmt(out, ",%s", c.names[k]);
    avs_buf_char(out, '\n');
    for (int g = 0; g < s->n_stages; g++)
        for (int64_t i = 0; i < s->stages[g].n_trials; i++) {
            const avs_sweep_trial *t = s->stages[g].trials[i];
            avs_buf_fmt(out, "%u,", t->ordinal);
            put_hash(out, t->hash, 64);
            avs_buf_char(out, ',');
            put_hash(out, t->config->hash, 64);
            avs_buf_fmt(out, ",%s,%s,%s,%s,%u", s->stages[g].name, t->config->kind, t->config->model,
                        t->config->task, t->seed);
            for (int k = 0; k < c.n; k++) {
                avs_buf_char(out, ',');
                put_value(&b, avs_json_get(axes_of(&at, out, t->config), c.names[k]));
                csv_cell(out, &b);
                avs_buf_clear(&b);
            }
            avs_buf_char(out, '\n');
        }
    avs_buf_free(&b);
    avs_arena_free(at.a);
}

static void put_resources(avs_buf *out, const avs_sweep_resources *r)
{
    avs_buf_fmt(out, "{\"cpus\":%d,\"cpus_per_gpu\":%d,\"exclusive\":\"%s\",\"gpu_model\":", r->cpus,
                r->cpus_per_gpu, r->exclusive);
    avs_json_write_str(out, r->gpu_model);
    avs_buf_fmt(out, ",\"gpus\":%d,\"mem_gb\":", r->gpus);
    avs_json_write_num(out, r->mem_gb);
    avs_buf_fmt(out, ",\"pack\":\"%s\",\"prefer\":\"%s\"}", r->pack, r->prefer);
}

static void put_needs(avs_buf *out, const avs_sweep_trial *t)
{
    avs_buf_str(out, ",\"needs\":{");
    for (int k = 0; k < t->n_needs; k++) {
        avs_buf_str(out, k ? "," : "");
        avs_json_write_str(out, t->needs[k].alias);
        avs_buf_str(out, ":\"");
        put_hash(out, t->needs[k].upstream->hash, 64);
        avs_buf_char(out, '"');
    }
    avs_buf_char(out, '}');
}

void avs_list_json(avs_buf *out, const avs_sweep *s)
{
    cursor at = {.s = s, .a = avs_arena_new()};
    const char *params = NULL;
    for (int g = 0; at.a && g < s->n_stages; g++)
        for (int64_t i = 0; i < s->stages[g].n_trials; i++) {
            const avs_sweep_trial *t = s->stages[g].trials[i];
            const avs_sweep_config *c = t->config;
            bool fresh = !at.config || at.config != c;
            const avs_json *axes = axes_of(&at, out, c);
            if (fresh) params = avs_sweep_params(s, c, at.a);
            avs_buf_str(out, "{\"type\":\"trial\",\"v\":1,\"sweep\":");
            avs_json_write_str(out, s->name);
            avs_buf_fmt(out, ",\"stage\":\"%s\",\"ordinal\":%u,\"hash\":\"", s->stages[g].name, t->ordinal);
            put_hash(out, t->hash, 64);
            avs_buf_str(out, "\",\"config_hash\":\"");
            put_hash(out, c->hash, 64);
            avs_buf_fmt(out,
                        "\",\"kind\":\"%s\",\"model\":\"%s\",\"task\":\"%s\",\"seed\":%u,\"axes\":", c->kind,
                        c->model, c->task, t->seed);
            if (axes) avs_json_write(out, axes, false);
            avs_buf_str(out, ",\"params\":");
            avs_buf_str(out, params ? params : "");
            avs_buf_str(out, ",\"resources\":");
            put_resources(out, &c->resources);
            put_needs(out, t);
            avs_buf_str(out, "}\n");
            if (!params) out->failed = true;
        }
    if (!at.a) out->failed = true;
    avs_arena_free(at.a);
}

int avs_list_schema(avs_buf *out, const char *model, const char *format, avs_err *e)
{
    return avs_schema_write(out, model, format, e);
}

bool avs_list_knows_model(const char *model)
{
    return avs_schema_of(model) != NULL;
}

const char *const *avs_list_models(void)
{
    return avs_schema_models();
}
