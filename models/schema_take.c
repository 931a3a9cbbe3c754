/* Given values: each is checked against its spec and put into its slot; what is wrong is noted, with the nearest name
 * or choice, and the checks go on with the default in its place. */
#include "models/schema_cfg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void avs_cfg_problem_at(avs_cfg *c, avs_problem_kind kind, const char *key, int order, const char *other,
                        const char *text, const char *help)
{
    avs_ordered *o = AVS_NEW(c->a, avs_ordered), **at = &c->problems;
    if (!o || !text) {
        c->no_memory = true;
        return;
    }
    o->order = order;
    o->p = (avs_problem){.kind = kind, .key = key, .other = other, .text = text, .help = help};
    while (*at && (*at)->order <= order) at = &(*at)->next;
    o->next = *at;
    *at = o;
}

void avs_cfg_problem(avs_cfg *c, avs_problem_kind kind, const avs_param_spec *key, const char *other,
                     const char *text, const char *help)
{
    avs_slot *s = &c->slots[key - c->specs];
    s->bad = true;
    avs_cfg_problem_at(c, kind, key->name, s->given ? s->order : c->n_given, other, text, help);
}

int avs_cfg_find(const avs_cfg *c, const char *name, size_t len)
{
    for (int i = 0; i < c->n; i++)
        if (strncmp(c->specs[i].name, name, len) == 0 && c->specs[i].name[len] == '\0') return i;
    return -1;
}

static const char *num(avs_arena *a, double v)
{
    avs_buf b = AVS_BUF_INIT;
    if (!isfinite(v))
        avs_buf_fmt(&b, "%g", v);
    else if (v == floor(v) && fabs(v) < 1e15)
        avs_buf_fmt(&b, "%.0f", v);
    else
        avs_json_write_num(&b, v);
    const char *text = avs_arena_str(a, avs_buf_cstr(&b));
    avs_buf_free(&b);
    return text ? text : "";
}

const char *avs_cfg_show(avs_arena *a, const avs_json *v)
{
    avs_buf b = AVS_BUF_INIT;
    if (v->kind == AVS_J_FLOAT) return num(a, v->d); /* JSON has no infinity */
    avs_json_write(&b, v, false);
    const char *text =
        b.len > 60 ? avs_arena_fmt(a, "%.60s..", avs_buf_cstr(&b)) : avs_arena_str(a, avs_buf_cstr(&b));
    avs_buf_free(&b);
    return text ? text : "";
}

static void wrong_type(avs_cfg *c, const avs_param_spec *spec, const avs_json *v)
{
    static const char *const wants[] = {[AVS_P_BOOL] = "true or false",
                                        [AVS_P_INT] = "a whole number",
                                        [AVS_P_FLOAT] = "a number",
                                        [AVS_P_CHOICE] = "one of its choices",
                                        [AVS_P_STRING] = "a string",
                                        [AVS_P_SIZE] = "a whole number or [height, width]",
                                        [AVS_P_INT_LIST] = "a list of numbers",
                                        [AVS_P_INT_OR_LIST] = "a whole number or a list of them"};
    avs_cfg_problem(
        c, AVS_P_TYPE, spec, NULL,
        avs_arena_fmt(c->a, "%s wants %s, found %s", spec->name, wants[spec->type], avs_cfg_show(c->a, v)),
        NULL);
}

static bool in_range(avs_cfg *c, const avs_param_spec *spec, double v)
{
    if (v >= spec->min && v <= spec->max) return true;
    avs_cfg_problem(c, AVS_P_RANGE, spec, NULL,
                    avs_arena_fmt(c->a, "%s is %s, outside its range %s to %s", spec->name, num(c->a, v),
                                  num(c->a, spec->min), num(c->a, spec->max)),
                    NULL);
    return false;
}

/* An integer, also written as an integral float. */
static bool whole(const avs_json *v, int64_t *out)
{
    if (v->kind == AVS_J_INT) {
        *out = v->i;
        return true;
    }
    if (v->kind != AVS_J_FLOAT || !(fabs(v->d) < 9e15) || v->d != floor(v->d)) return false;
    *out = (int64_t)v->d;
    return true;
}

static void take_choice(avs_cfg *c, const avs_param_spec *spec, const avs_json *v, avs_slot *s)
{
    const char *names[64] = {NULL};
    int n = 0;
    for (const char *p = spec->choices; *p && n < 64; n++) {
        size_t len = strcspn(p, "|");
        names[n] = avs_arena_strn(c->a, p, len);
        if (!names[n]) {
            c->no_memory = true;
            return;
        }
        if (strcmp(names[n], v->s) == 0) s->s = names[n];
        p += len + (p[len] == '|');
    }
    if (s->s) return;
    const char *near = avs_nearest(v->s, names, n);
    avs_buf list = AVS_BUF_INIT;
    for (int i = 0; i < n; i++) avs_buf_fmt(&list, "%s%s", i ? ", " : "", names[i]);
    const char *help =
        near ? avs_arena_fmt(c->a, "did you mean '%s'? (%s accepts %s)", near, c->model, avs_buf_cstr(&list))
             : avs_arena_fmt(c->a, "%s accepts %s", c->model, avs_buf_cstr(&list));
    avs_buf_free(&list);
    avs_cfg_problem(c, AVS_P_OPTION, spec, NULL,
                    avs_arena_fmt(c->a, "'%.60s' is no %s of model '%s'", v->s, spec->name, c->model), help);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* INT_LIST is a set: sorted, each item once. INT_OR_LIST keeps its order. */
static void take_list(avs_cfg *c, const avs_param_spec *spec, const avs_json *v, avs_slot *s)
{
    if (v->kind == AVS_J_ARR && v->len > AVS_CFG_MAX_LIST) {
        avs_cfg_problem(c, AVS_P_RANGE, spec, NULL,
                        avs_arena_fmt(c->a, "%s has %zu items, at most %d are allowed", spec->name, v->len,
                                      AVS_CFG_MAX_LIST),
                        NULL);
        return;
    }
    int64_t *items = AVS_NEW_N(c->a, int64_t, AVS_CFG_MAX_LIST);
    if (!items) {
        c->no_memory = true;
        return;
    }
    int64_t one;
    s->list = items;
    if (spec->type == AVS_P_INT_OR_LIST && whole(v, &one)) {
        items[s->n++] = one;
        (void)in_range(c, spec, (double)one);
        return;
    }
    if (v->kind != AVS_J_ARR || (spec->type == AVS_P_INT_OR_LIST && v->len == 0)) {
        wrong_type(c, spec, v);
        return;
    }
    for (const avs_json *x = v->first; x; x = x->next) {
        if (!whole(x, &items[s->n++])) {
            wrong_type(c, spec, v);
            return;
        }
        if (!in_range(c, spec, (double)items[s->n - 1])) return;
    }
    if (spec->type != AVS_P_INT_LIST) return;
    qsort(items, (size_t)s->n, sizeof items[0], by_value);
    for (int i = 1; i < s->n; i++)
        if (items[i] == items[i - 1]) {
            avs_cfg_problem(c, AVS_P_RANGE, spec, NULL,
                            avs_arena_fmt(c->a, "%s lists %lld twice", spec->name, (long long)items[i]),
                            NULL);
            return;
        }
}

static void take_size(avs_cfg *c, const avs_param_spec *spec, const avs_json *v, avs_slot *s)
{
    int64_t h, w;
    if (whole(v, &h))
        w = h;
    else if (v->kind != AVS_J_ARR || v->len != 2 || !whole(v->first, &h) || !whole(v->first->next, &w)) {
        wrong_type(c, spec, v);
        return;
    }
    if (!in_range(c, spec, (double)h) || !in_range(c, spec, (double)w)) return;
    s->i = h;
    s->n = (int)w;
    s->d = (double)h;
}

static void take(avs_cfg *c, const avs_param_spec *spec, const avs_json *v, avs_slot *s)
{
    switch (spec->type) {
    case AVS_P_BOOL:
        s->i = v->b;
        if (v->kind != AVS_J_BOOL) wrong_type(c, spec, v);
        break;
    case AVS_P_INT:
        if (!whole(v, &s->i))
            wrong_type(c, spec, v);
        else
            (void)in_range(c, spec, (double)s->i);
        s->d = (double)s->i;
        break;
    case AVS_P_FLOAT:
        s->d = v->d;
        if (v->kind != AVS_J_FLOAT && v->kind != AVS_J_INT)
            wrong_type(c, spec, v);
        else
            (void)in_range(c, spec, s->d);
        break;
    case AVS_P_CHOICE:
        if (v->kind != AVS_J_STR)
            wrong_type(c, spec, v);
        else
            take_choice(c, spec, v, s);
        break;
    case AVS_P_STRING:
        s->s = v->s;
        if (v->kind != AVS_J_STR)
            wrong_type(c, spec, v);
        else if (strlen(v->s) != v->len || v->len > 4096)
            avs_cfg_problem(c, AVS_P_RANGE, spec, NULL,
                            avs_arena_fmt(c->a, "%s is longer than 4096 bytes or holds a NUL", spec->name),
                            NULL);
        break;
    case AVS_P_SIZE:
        take_size(c, spec, v, s);
        break;
    case AVS_P_INT_LIST:
    case AVS_P_INT_OR_LIST:
        take_list(c, spec, v, s);
        break;
    }
    s->state =
        s->bad ? AVS_SLOT_RAW
               : AVS_SLOT_DONE; /* a bad value is replaced by the default, so that the other checks go on */
}

static void unknown(avs_cfg *c, const char *key, int order)
{
    if (strcmp(key, "seed") == 0) {
        avs_cfg_problem_at(c, AVS_P_RESERVED, key, order, NULL, "seed is not a parameter of a configuration",
                           "use the key 'seeds' of the sweep");
        return;
    }
    const char *names[128] = {NULL};
    int n = 0;
    for (; n < c->n && n < 128; n++) names[n] = c->specs[n].name;
    const char *near = avs_nearest(key, names, n);
    avs_cfg_problem_at(c, AVS_P_UNKNOWN, key, order, NULL,
                       avs_arena_fmt(c->a, "unknown key '%.60s' for model '%s'", key, c->model),
                       near ? avs_arena_fmt(c->a,
                                            "did you mean '%s'? (avsweep show --schema %s lists them all)",
                                            near, c->model)
                            : avs_arena_fmt(c->a, "avsweep show --schema %s lists all keys", c->model));
}

void avs_cfg_take_all(avs_cfg *c, const avs_json *given)
{
    int order = 0;
    for (const avs_json *v = given->first; v; v = v->next) {
        int at = avs_cfg_find(c, v->key, strlen(v->key));
        if (at < 0) {
            unknown(c, v->key, order++);
            continue;
        }
        avs_slot *s = &c->slots[at];
        s->given = true;
        s->order = order++;
        bool is_auto = v->kind == AVS_J_STR && strcmp(v->s, "auto") == 0 && c->specs[at].fallback &&
                       strcmp(c->specs[at].fallback, "auto") == 0;
        if (is_auto)
            s->given = false;
        else
            take(c, &c->specs[at], v, s);
    }
}
