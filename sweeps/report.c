/* The report block: checked here, so that a misspelt key is found before a week of training, and kept as JSON. */
#include <string.h>
#include "models/schema.h"
#include "sweeps/stage.h"

/* A parameter of any model, or one of the columns that every trial has. */
static bool known_key(const char *key, const char **near)
{
    static const char *const columns[] = {"seed", "stage", "kind"};
    const char *names[512] = {columns[0], columns[1], columns[2]};
    int n = 3;
    for (const char *const *m = avs_schema_models(); *m; m++) {
        if (avs_schema_find(*m, key)) return true;
        for (const avs_param_spec *s = avs_schema_of(*m); s->name && n < 512; s++) names[n++] = s->name;
    }
    for (int i = 0; i < 3; i++)
        if (strcmp(key, columns[i]) == 0) return true;
    *near = avs_nearest(key, names, n);
    return false;
}

static void check_key(avs_parse *p, const avs_ynode *at, const char *key)
{
    const char *near = NULL;
    if (known_key(key, &near)) return;
    avs_diag_add(p->d, "E042", at->pos, near ? avs_arena_fmt(p->a, "did you mean '%s'?", near) : NULL,
                 "'%.60s' is no parameter of any model, nor seed, stage or kind", key);
}

static void check_metric(avs_parse *p, const avs_ynode *at, const char *metric)
{
    const char *pin = strchr(metric, '@');
    size_t name = strcspn(metric, "@");
    bool ok = name > 0 &&
              strspn(metric, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:") == name;
    const char *eq = pin ? strchr(pin, '=') : NULL;
    if (!ok || (pin && (!eq || eq == pin + 1 || !eq[1]))) {
        avs_diag_add(p->d, "E042", at->pos, "write miou, or miou@task=s4", "'%.60s' is no metric", metric);
        return;
    }
    if (!pin) return;
    const char *key = avs_arena_strn(p->a, pin + 1, (size_t)(eq - pin - 1));
    if (key)
        check_key(p, at, key);
    else
        p->d->no_memory = true;
}

static void check_list(avs_parse *p, const avs_ynode *n, const char *what,
                       void (*check)(avs_parse *, const avs_ynode *, const char *))
{
    if (!n) return;
    if (n->kind != AVS_Y_SEQ) {
        avs_diag_add(p->d, "E011", n->pos, NULL, "%s wants a list, found %s", what, avs_yaml_kind(n));
        return;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        if (n->items[i]->kind == AVS_Y_STR)
            check(p, n->items[i], n->items[i]->s);
        else
            avs_diag_add(p->d, "E011", n->items[i]->pos, NULL, "%s wants names, found %s", what,
                         avs_yaml_kind(n->items[i]));
    }
}

static void check_where(avs_parse *p, const avs_ynode *n, const char *what)
{
    if (!n) return;
    if (n->kind != AVS_Y_MAP) {
        avs_diag_add(p->d, "E011", n->pos, NULL, "%s wants a map of parameters, found %s", what,
                     avs_yaml_kind(n));
        return;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        const avs_ynode *v = n->items[i];
        check_key(p, n->keys[i], n->keys[i]->s);
        if (v->kind == AVS_Y_SEQ || v->kind == AVS_Y_MAP || (v->kind == AVS_Y_STR && strchr(v->s, ',')))
            avs_diag_add(p->d, "E042", v->pos, NULL, "%s wants one value for each parameter, without a comma",
                         what);
    }
}

/* "KEY=VALUE,KEY!=VALUE", as --where has it. */
static void check_terms(avs_parse *p, const avs_ynode *at)
{
    const char *next;
    for (const char *s = at->s; s; s = next) {
        next = strchr(s, ',');
        s += strspn(s, " ");
        const size_t n = next ? (size_t)(next - s) : strlen(s), key = strcspn(s, "!=,");
        const char *name = avs_arena_strn(p->a, s, key);
        if (next) next++;
        if (!name) {
            p->d->no_memory = true;
        } else if (key == 0 || key >= n || (s[key] == '!' && s[key + 1] != '=')) {
            avs_diag_add(p->d, "E042", at->pos, NULL,
                         "where is KEY=VALUE or KEY!=VALUE, with commas between them; found '%.*s'",
                         (int)(n < 60 ? n : 60), s);
        } else {
            check_key(p, at, name);
        }
    }
}

/* A column that the table has, where it names its columns. */
static void check_column(avs_parse *p, const avs_ynode *at, const avs_ynode *metrics, const char *what)
{
    check_metric(p, at, at->s);
    if (!metrics || metrics->kind != AVS_Y_SEQ) return;
    for (uint32_t i = 0; i < metrics->n; i++)
        if (metrics->items[i]->kind == AVS_Y_STR && strcmp(metrics->items[i]->s, at->s) == 0) return;
    avs_diag_add(p->d, "E042", at->pos, NULL, "%s is '%.60s', which is none of the report's metrics", what,
                 at->s);
}

/* sort, top, ci and title. */
static void check_settings(avs_parse *p, const avs_ynode *n)
{
    const avs_ynode *sort = avs_yaml_get(n, "sort"), *top = avs_yaml_get(n, "top"),
                    *ci = avs_yaml_get(n, "ci"), *title = avs_yaml_get(n, "title");
    if (sort && sort->kind == AVS_Y_STR)
        check_column(p, sort, avs_yaml_get(n, "metrics"), "sort");
    else if (sort)
        avs_diag_add(p->d, "E011", sort->pos, NULL, "sort wants a metric, found %s", avs_yaml_kind(sort));
    if (top && (top->kind != AVS_Y_INT || top->i < 1))
        avs_diag_add(p->d, "E042", top->pos, NULL, "top wants a whole number of at least 1");
    const bool is_number = ci && (ci->kind == AVS_Y_INT || ci->kind == AVS_Y_FLOAT);
    if (ci && !(is_number && ci->d >= 50 && ci->d < 100))
        avs_diag_add(p->d, "E042", ci->pos, NULL, "ci wants a confidence level in percent, 50 to below 100");
    if (title && title->kind != AVS_Y_STR)
        avs_diag_add(p->d, "E011", title->pos, NULL, "title wants a text, found %s", avs_yaml_kind(title));
}

static void check_row(avs_parse *p, const avs_ynode *row)
{
    if (row->kind != AVS_Y_MAP) {
        avs_diag_add(p->d, "E011", row->pos, NULL, "a published row wants a map, found %s",
                     avs_yaml_kind(row));
        return;
    }
    check_where(p, avs_yaml_get(row, "where"), "where");
    for (uint32_t i = 0; i < row->n; i++) {
        const char *key = row->keys[i]->s;
        if (strcmp(key, "where") == 0 || strcmp(key, "note") == 0) continue;
        if (row->items[i]->kind != AVS_Y_INT && row->items[i]->kind != AVS_Y_FLOAT)
            avs_diag_add(p->d, "E042", row->items[i]->pos, NULL,
                         "the published %.60s wants a number, found %s", key, avs_yaml_kind(row->items[i]));
    }
}

static void check_published(avs_parse *p, const avs_ynode *n)
{
    static const char *const keys[] = {"source", "rows", NULL};
    const avs_ynode *source = avs_yaml_get(n, "source"), *rows = avs_yaml_get(n, "rows");
    if (n->kind != AVS_Y_MAP || !rows || rows->kind != AVS_Y_SEQ || !source || source->kind != AVS_Y_STR) {
        avs_diag_add(p->d, "E042", n->pos, NULL,
                     "published wants {source: text, rows: [{where: {..}, METRIC: value}]}");
        return;
    }
    (void)avs_check_keys(p->d, n, keys, "in 'published'");
    for (uint32_t i = 0; i < rows->n; i++) check_row(p, rows->items[i]);
}

static void check_pareto(avs_parse *p, const avs_ynode *n, const avs_ynode *metrics)
{
    static const char *const keys[] = {"x", "y", NULL};
    const avs_ynode *x = avs_yaml_get(n, "x"), *y = avs_yaml_get(n, "y");
    if (!x || !y || x->kind != AVS_Y_STR || y->kind != AVS_Y_STR) {
        avs_diag_add(p->d, "E042", n->pos, NULL, "pareto wants {x: METRIC, y: METRIC}");
        return;
    }
    (void)avs_check_keys(p->d, n, keys, "in 'pareto'");
    check_column(p, x, metrics, "pareto.x");
    check_column(p, y, metrics, "pareto.y");
}

void avs_parse_report(avs_parse *p, const avs_ynode *n)
{
    static const char *const keys[] = {"by",   "metrics", "published", "baseline", "pareto", "where",
                                       "sort", "top",     "ci",        "title",    NULL};
    avs_json *out = avs_json_new(p->a, AVS_J_OBJ);
    if (!out) p->d->no_memory = true;
    p->sweep->report = out;
    if (!n || !out) return;
    if (n->kind != AVS_Y_MAP) {
        avs_diag_add(p->d, "E011", n->pos, NULL, "report wants a map, found %s", avs_yaml_kind(n));
        return;
    }
    (void)avs_check_keys(p->d, n, keys, "in 'report'");
    check_list(p, avs_yaml_get(n, "by"), "by", check_key);
    check_list(p, avs_yaml_get(n, "metrics"), "metrics", check_metric);
    check_where(p, avs_yaml_get(n, "baseline"), "baseline");
    if (avs_yaml_get(n, "pareto")) check_pareto(p, avs_yaml_get(n, "pareto"), avs_yaml_get(n, "metrics"));
    const avs_ynode *where = avs_yaml_get(n, "where");
    if (where && where->kind == AVS_Y_STR)
        check_terms(p, where);
    else
        check_where(p, where, "where");
    check_settings(p, n);
    const avs_ynode *published = avs_yaml_get(n, "published");
    for (uint32_t i = 0; published && published->kind == AVS_Y_SEQ && i < published->n; i++)
        check_published(p, published->items[i]);
    if (published && published->kind != AVS_Y_SEQ) check_published(p, published);
    for (uint32_t i = 0; i < n->n; i++) {
        avs_json *v = avs_yaml_json(p->a, n->items[i]);
        if (n->items[i] == published && v && v->kind != AVS_J_ARR) {
            avs_json *list = avs_json_new(p->a, AVS_J_ARR);
            v = avs_json_add(p->a, list, NULL, v) ? list : NULL;
        }
        if (!v || !avs_json_add(p->a, out, n->keys[i]->s, v)) p->d->no_memory = true;
    }
}
