/* Keys of a file against keys of a model. Both lists are walked once with a binary search in a sorted copy. */
#include "workers/weights.h"

#include <stdlib.h>
#include <string.h>

#include "workers/weights_resize.h"

enum { SHOWN = 20, NAMED = 2 };

typedef struct {
    const char *name;
    int i; /* tensor of the file */
    bool is_used;
} place;

typedef struct {
    place *at; /* sorted by name */
    int n;
} names;

static bool begins(const char *key, const char *prefix)
{
    return !strncmp(key, prefix, strlen(prefix));
}

/* ------------------------------------------------------------------ rules */

/* Number of the first rule of that kind for the key, those of the user first; -1: none. */
static int find_rule(const avs_weights_cfg *cfg, avs_key_rule_kind kind, const char *key)
{
    int n;
    const avs_key_rule *table = avs_key_rules(&n);
    for (int i = 0; i < cfg->n_extra; i++)
        if (cfg->extra[i].kind == kind && avs_key_matches(cfg->extra[i].key, key)) return i;
    for (int i = 0; i < n; i++)
        if (table[i].kind == kind && avs_key_matches(table[i].part, cfg->part) &&
            avs_key_matches(table[i].key, key))
            return cfg->n_extra + i;
    return -1;
}

static const char *rename_one(avs_arena *a, const avs_key_rule *r, const char *key)
{
    if (r->kind != AVS_KEY_RENAME || !begins(key, r->key)) return key;
    return avs_arena_fmt(a, "%s%s", r->to, key + strlen(r->key));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const place *)a)->name, ((const place *)b)->name);
}

/* Sorted places of all names that are not NULL; *count of them. */
static place *sort_names(avs_arena *a, const char *const *name, int n, int *count)
{
    place *out = AVS_NEW_N(a, place, n + 1);
    *count = 0;
    for (int i = 0; out && i < n; i++)
        if (name[i]) out[(*count)++] = (place){.name = name[i], .i = i};
    if (out) qsort(out, (size_t)*count, sizeof *out, by_name);
    return out;
}

int avs_weights_rename(avs_arena *a, const avs_st_file *f, const avs_weights_cfg *cfg, bool with_table,
                       avs_weights_match *m, avs_err *e)
{
    int n_table, n;
    const avs_key_rule *table = avs_key_rules(&n_table);
    *m = (avs_weights_match){.name = AVS_NEW_N(a, const char *, f->n + 1)};
    for (int i = 0; m->name && i < f->n; i++) {
        const char *key = f->t[i].name;
        bool ignored = false;
        for (int k = 0; key && k < cfg->n_extra; k++) {
            key = rename_one(a, &cfg->extra[k], key);
            ignored |=
                key && cfg->extra[k].kind == AVS_KEY_UNEXPECTED && avs_key_matches(cfg->extra[k].key, key);
        }
        for (int k = 0; key && with_table && k < n_table; k++)
            if (avs_key_matches(table[k].part, cfg->part)) key = rename_one(a, &table[k], key);
        m->name[i] = ignored ? NULL : key;
    }
    place *sorted = m->name ? sort_names(a, m->name, f->n, &n) : NULL;
    if (!sorted || avs_arena_failed(a))
        return avs_fail(e, AVS_ENOMEM, "%s: no memory for its keys", cfg->path);
    for (int i = 0; i < n; i++)
        if (!sorted[i].name[0] || (i && !strcmp(sorted[i - 1].name, sorted[i].name)))
            return avs_fail(e, AVS_ERANGE, "%s: after renaming, key %.150s (was %.150s) %s", cfg->path,
                            sorted[i].name, f->t[sorted[i].i].name,
                            sorted[i].name[0] ? "occurs twice" : "is empty");
    return AVS_OK;
}

/* ------------------------------------------------------------------ the part of a larger file */

/* Does a key of the file begin so, and none of the model? */
static bool is_outer(const char *prefix, const char *const *name, int n_names, const avs_weights_cfg *cfg,
                     const avs_weights_want *want, int n)
{
    bool any = false;
    if (!prefix[0]) return false;
    for (int i = 0; i < n_names && !any; i++) any = name[i] && begins(name[i], prefix);
    for (int i = 0; i < n && any; i++) any = !begins(want[i].key + strlen(cfg->prefix), prefix);
    return any;
}

/* The prefix below which the part lies in this file, "" where the file holds the part alone. */
static const char *outer_prefix(const char *const *name, int n_names, const avs_weights_cfg *cfg,
                                const avs_weights_want *want, int n)
{
    int n_table;
    const avs_key_rule *table = avs_key_rules(&n_table);
    if (is_outer(cfg->prefix, name, n_names, cfg, want, n)) return cfg->prefix;
    for (int k = 0; k < n_table; k++)
        if (table[k].kind == AVS_KEY_INSIDE && avs_key_matches(table[k].part, cfg->part) &&
            is_outer(table[k].key, name, n_names, cfg, want, n))
            return table[k].key;
    return "";
}

/* ------------------------------------------------------------------ comparison */

typedef struct {
    avs_buf lines; /* of one kind of difference, up to SHOWN */
    avs_buf first; /* the first keys for the error */
    int n;
} difference;

typedef struct {
    difference missing, unexpected, shape, aside, kept, resized;
} differences;

/* Keys are bytes of a stranger: control characters must not reach a terminal. */
static void add_key(avs_buf *b, const char *key, size_t most)
{
    for (size_t i = 0; key[i] && i < most; i++)
        if ((unsigned char)key[i] < 0x20 || key[i] == 0x7f)
            avs_buf_char(b, '?');
        else
            avs_buf_char(b, key[i]);
}

static void add(difference *d, const char *key, const char *detail)
{
    if (d->n++ < SHOWN) {
        avs_buf_str(&d->lines, "  ");
        add_key(&d->lines, key, 400);
        avs_buf_fmt(&d->lines, "%s\n", detail);
    }
    if (d->n > NAMED) return;
    avs_buf_str(&d->first, d->n > 1 ? ", " : "");
    add_key(&d->first, key, 60);
}

static void show(avs_buf *out, const char *what, const difference *d)
{
    if (!d->n) return;
    avs_buf_fmt(out, "%d %s:\n%s", d->n, what, avs_buf_cstr(&d->lines));
    if (d->n > SHOWN) avs_buf_fmt(out, "  .. and %d more\n", d->n - SHOWN);
}

static void misfit(const avs_st_tensor *t, const avs_type *want, avs_buf *out)
{
    char text[96];
    avs_buf_clear(out);
    avs_buf_str(out, " is [");
    for (int i = 0; i < t->rank; i++) avs_buf_fmt(out, "%s%lld", i ? "," : "", (long long)t->d[i]);
    avs_buf_fmt(out, "], the model wants %s", strchr(avs_type_text(want, text, sizeof text), '['));
}

/* is_partly: per rule, whether a key that it lets the file lack is there. */
static void note_present(const avs_weights_cfg *cfg, const char *key, bool *is_partly)
{
    const int r = find_rule(cfg, AVS_KEY_MISSING, key);
    if (r >= 0) is_partly[r] = true;
}

static void compare_one(const avs_st_tensor *t, const avs_weights_cfg *cfg, const avs_type *want,
                        const char *key, const avs_st_tensor **source, differences *d)
{
    avs_buf text = AVS_BUF_INIT;
    const bool fits = avs_st_fits(t, want);
    if (!fits) misfit(t, want, &text);
    if (fits) {
        *source = t;
    } else if (find_rule(cfg, AVS_KEY_RESIZE, key) >= 0 && avs_weights_can_resize(t, want)) {
        *source = t;
        add(&d->resized, key, "");
    } else {
        const bool keeps = !cfg->exact && find_rule(cfg, AVS_KEY_SHAPE, key) >= 0;
        add(keeps ? &d->kept : &d->shape, key, avs_buf_cstr(&text));
    }
    avs_buf_free(&text);
}

static place *find_place(const names *in, const char *name)
{
    const place key = {.name = name};
    return in->n ? bsearch(&key, in->at, (size_t)in->n, sizeof *in->at, by_name) : NULL;
}

/* Place of what the model's key takes: the same key, or the one that a rule names. */
static place *find_source(const avs_weights_cfg *cfg, const names *in, const char *key)
{
    char other[512];
    int n;
    const avs_key_rule *table = avs_key_rules(&n);
    place *p = find_place(in, key);
    for (int k = 0; k < n && !p; k++) {
        if (table[k].kind != AVS_KEY_FROM || !avs_key_matches(table[k].part, cfg->part) ||
            !begins(key, table[k].key))
            continue;
        const int len = snprintf(other, sizeof other, "%s%s", table[k].to, key + strlen(table[k].key));
        if (len > 0 && (size_t)len < sizeof other) p = find_place(in, other);
    }
    return p;
}

static void compare_wants(const avs_st_file *f, const avs_weights_cfg *cfg, const avs_weights_want *want,
                          int n, const names *in, bool *is_partly, avs_weights_match *m, differences *d)
{
    const size_t cut = strlen(cfg->prefix);
    for (int i = 0; i < n; i++) {
        const char *key = want[i].key + cut;
        place *p = find_source(cfg, in, key);
        if (!p) continue;
        p->is_used = true;
        note_present(cfg, key, is_partly);
        compare_one(&f->t[p->i], cfg, &want[i].type, key, &m->source[i], d);
        m->n_taken += m->source[i] != NULL;
    }
    for (int i = 0; i < n; i++) {
        const char *key = want[i].key + cut;
        if (find_source(cfg, in, key)) continue;
        const int r = find_rule(cfg, AVS_KEY_MISSING, key);
        add(r >= 0 && !is_partly[r] ? &d->kept : &d->missing, key, "");
    }
    for (int i = 0; i < in->n; i++)
        if (!in->at[i].is_used)
            add(find_rule(cfg, AVS_KEY_UNEXPECTED, in->at[i].name) >= 0 ? &d->aside : &d->unexpected,
                in->at[i].name, "");
}

static void mention(avs_buf *out, const char *what, const difference *d)
{
    if (d->n)
        avs_buf_fmt(out, "; by rule %d %s (%s%s)", d->n, what, avs_buf_cstr(&d->first),
                    d->n > NAMED ? ", .." : "");
}

static int judge(avs_arena *a, const avs_weights_cfg *cfg, int n, const char *outer, const differences *d,
                 avs_weights_match *m, avs_err *e)
{
    avs_buf out = AVS_BUF_INIT;
    avs_buf_fmt(&out, "weights: %s: %d of %d keys of %s taken", cfg->path, m->n_taken, n, cfg->part);
    if (outer[0]) avs_buf_fmt(&out, " from those under %s", outer);
    mention(&out, "are interpolated", &d->resized);
    mention(&out, "keep their values", &d->kept);
    mention(&out, "are left aside", &d->aside);
    avs_buf_char(&out, '\n');
    show(&out, "missing in the file", &d->missing);
    show(&out, "not expected by the model", &d->unexpected);
    show(&out, "of another shape", &d->shape);
    m->n_resized = d->resized.n;
    m->n_missing = d->missing.n;
    m->n_unexpected = d->unexpected.n;
    m->n_shape = d->shape.n;
    m->report = avs_buf_ok(&out) ? avs_arena_str(a, avs_buf_cstr(&out)) : NULL;
    avs_buf_free(&out);
    if (!m->report) return avs_fail(e, AVS_ENOMEM, "%s: no memory for a report", cfg->path);
    if (m->n_missing || m->n_unexpected || m->n_shape) {
        const difference *all[3] = {&d->missing, &d->unexpected, &d->shape};
        const char *t[3];
        for (int k = 0; k < 3; k++) t[k] = avs_buf_cstr(&all[k]->first);
#define SOME(k) all[k]->n ? " (" : "", t[k], all[k]->n > NAMED ? ", .." : "", all[k]->n ? ")" : ""
        return avs_fail(e, AVS_ESHAPE,
                        "%s does not fit %s: %d keys are missing%s%s%s%s, %d not expected%s%s%s%s, %d of "
                        "another shape%s%s%s%s",
                        cfg->path, cfg->part, m->n_missing, SOME(0), m->n_unexpected, SOME(1), m->n_shape,
                        SOME(2));
#undef SOME
    }
    return m->n_taken || !n
               ? AVS_OK
               : avs_fail(e, AVS_EMISSING, "%s: holds no key that fits %s", cfg->path, cfg->part);
}

int avs_weights_compare(avs_arena *a, const avs_st_file *f, const avs_weights_cfg *cfg,
                        const avs_weights_want *want, int n, avs_weights_match *m, avs_err *e)
{
    differences d = {0};
    names in = {0};
    int n_table;
    (void)avs_key_rules(&n_table);
    int rc = avs_weights_rename(a, f, cfg, true, m, e);
    if (rc != AVS_OK) return rc;
    const char *outer = outer_prefix(m->name, f->n, cfg, want, n);
    for (int i = 0; i < f->n && outer[0]; i++)
        if (m->name[i]) m->name[i] = begins(m->name[i], outer) ? m->name[i] + strlen(outer) : NULL;
    m->source = AVS_NEW_N(a, const avs_st_tensor *, n + 1);
    bool *is_partly = AVS_NEW_N(a, bool, cfg->n_extra + n_table);
    in.at = sort_names(a, m->name, f->n, &in.n);
    if (!m->source || !is_partly || !in.at)
        return avs_fail(e, AVS_ENOMEM, "%s: no memory for its keys", cfg->path);
    compare_wants(f, cfg, want, n, &in, is_partly, m, &d);
    rc = judge(a, cfg, n, outer, &d, m, e);
    for (difference *k = &d.missing; k <= &d.resized; k++) {
        avs_buf_free(&k->lines);
        avs_buf_free(&k->first);
    }
    return rc;
}
