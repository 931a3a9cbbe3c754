/* Keys of a file against keys of a model. Both lists are walked once with a binary search in a sorted copy. */
#include "workers/weights.h"

#include <stdlib.h>
#include <string.h>

enum { SHOWN = 20, NAMED = 2 };

typedef struct {
    const char *name;
    int i; /* tensor of the file */
    bool is_used;
} place;

int avs_weights_open(avs_st_file *f, const char *path, const char *key, avs_pth_info *info, avs_err *e)
{
    avs_map map;
    *f = (avs_st_file){0};
    int rc = avs_map_open(&map, path, e);
    if (rc != AVS_OK) return rc;
    const bool is_pth = avs_pth_is(map.data, map.len);
    avs_map_close(&map);
    if (is_pth) return avs_pth_open(f, path, key, info, e);
    if (key)
        return avs_fail(e, AVS_ERANGE, "%s: only a checkpoint of torch.save has a mapping '%.80s' to choose",
                        path, key);
    if (info) *info = (avs_pth_info){.container = "safetensors", .taken = "", .skipped = ""};
    return avs_st_open(f, path, e);
}

/* ------------------------------------------------------------------ rules */

static const avs_key_rule *find_rule(const avs_weights_cfg *cfg, avs_key_rule_kind kind, const char *key)
{
    int n;
    const avs_key_rule *table = avs_key_rules(&n);
    for (int i = 0; i < cfg->n_extra; i++)
        if (cfg->extra[i].kind == kind && avs_key_matches(cfg->extra[i].key, key)) return &cfg->extra[i];
    for (int i = 0; i < n; i++)
        if (table[i].kind == kind && avs_key_matches(table[i].part, cfg->part) &&
            avs_key_matches(table[i].key, key))
            return &table[i];
    return NULL;
}

static const char *rename_one(avs_arena *a, const avs_key_rule *r, const char *key)
{
    const size_t n = strlen(r->key);
    if (r->kind != AVS_KEY_RENAME || strncmp(key, r->key, n) != 0) return key;
    return avs_arena_fmt(a, "%s%s", r->to, key + n);
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

/* ------------------------------------------------------------------ comparison */

typedef struct {
    avs_buf lines; /* of one kind of difference, up to SHOWN */
    avs_buf first; /* the first keys for the error */
    int n;
} difference;

static void add(difference *d, const char *key, const char *detail)
{
    if (d->n++ < SHOWN) avs_buf_fmt(&d->lines, "  %s%s\n", key, detail);
    if (d->n <= NAMED) avs_buf_fmt(&d->first, "%s%.60s", d->n > 1 ? ", " : "", key);
}

static void show(avs_buf *out, const char *what, const difference *d)
{
    if (!d->n) return;
    avs_buf_fmt(out, "%d %s:\n%s", d->n, what, avs_buf_cstr(&d->lines));
    if (d->n > SHOWN) avs_buf_fmt(out, "  .. and %d more\n", d->n - SHOWN);
}

static bool same_extents(const avs_st_tensor *t, const avs_type *want)
{
    if (t->rank != want->rank) return false;
    for (int i = 0; i < t->rank; i++)
        if (t->d[i] != want->d[i]) return false;
    return true;
}

static void misfit(const avs_st_tensor *t, const avs_type *want, avs_buf *out)
{
    char text[96];
    avs_buf_str(out, " is [");
    for (int i = 0; i < t->rank; i++) avs_buf_fmt(out, "%s%lld", i ? "," : "", (long long)t->d[i]);
    avs_buf_fmt(out, "], the model wants %s", strchr(avs_type_text(want, text, sizeof text), '['));
}

/* Every key of the file below the prefix, or NULL where it is of another part: only if any has the prefix. */
static bool cut_prefix(const avs_weights_cfg *cfg, const char **name, int n)
{
    const size_t len = strlen(cfg->prefix);
    bool any = false;
    for (int i = 0; i < n && len; i++) any = any || (name[i] && !strncmp(name[i], cfg->prefix, len));
    for (int i = 0; i < n && any; i++)
        if (name[i]) name[i] = strncmp(name[i], cfg->prefix, len) ? NULL : name[i] + len;
    return any;
}

typedef struct {
    difference missing, unexpected, shape, aside, kept;
} differences;

static void compare_wants(const avs_st_file *f, const avs_weights_cfg *cfg, const avs_weights_want *want,
                          int n, place *sorted, int n_sorted, avs_weights_match *m, differences *d)
{
    const size_t cut = strlen(cfg->prefix);
    avs_buf text = AVS_BUF_INIT;
    for (int i = 0; i < n; i++) {
        const place key = {.name = want[i].key + cut};
        place *p = n_sorted ? bsearch(&key, sorted, (size_t)n_sorted, sizeof *sorted, by_name) : NULL;
        if (p) p->is_used = true;
        const avs_st_tensor *t = p ? &f->t[p->i] : NULL;
        const bool fits = t && same_extents(t, &want[i].type);
        if (fits) {
            m->source[i] = t;
            m->n_taken++;
            continue;
        }
        avs_buf_clear(&text);
        if (t) misfit(t, &want[i].type, &text);
        if (find_rule(cfg, t ? AVS_KEY_SHAPE : AVS_KEY_MISSING, key.name))
            add(&d->kept, key.name, avs_buf_cstr(&text));
        else
            add(t ? &d->shape : &d->missing, key.name, avs_buf_cstr(&text));
    }
    for (int i = 0; i < n_sorted; i++)
        if (!sorted[i].is_used)
            add(find_rule(cfg, AVS_KEY_UNEXPECTED, sorted[i].name) ? &d->aside : &d->unexpected,
                sorted[i].name, "");
    avs_buf_free(&text);
}

static int judge(avs_arena *a, const avs_weights_cfg *cfg, int n, bool is_cut, const differences *d,
                 avs_weights_match *m, avs_err *e)
{
    avs_buf out = AVS_BUF_INIT;
    avs_buf_fmt(&out, "weights: %s: %d of %d keys of %s taken", cfg->path, m->n_taken, n, cfg->part);
    if (is_cut) avs_buf_fmt(&out, " from those under %s", cfg->prefix);
    if (d->kept.n)
        avs_buf_fmt(&out, "; by rule %d keep their values (%s%s)", d->kept.n, avs_buf_cstr(&d->kept.first),
                    d->kept.n > NAMED ? ", .." : "");
    if (d->aside.n)
        avs_buf_fmt(&out, "; by rule %d are left aside (%s%s)", d->aside.n, avs_buf_cstr(&d->aside.first),
                    d->aside.n > NAMED ? ", .." : "");
    avs_buf_char(&out, '\n');
    show(&out, "missing in the file", &d->missing);
    show(&out, "not expected by the model", &d->unexpected);
    show(&out, "of another shape", &d->shape);
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
    int n_sorted = 0;
    int rc = avs_weights_rename(a, f, cfg, true, m, e);
    if (rc != AVS_OK) return rc;
    const bool is_cut = cut_prefix(cfg, m->name, f->n);
    m->source = AVS_NEW_N(a, const avs_st_tensor *, n + 1);
    place *sorted = sort_names(a, m->name, f->n, &n_sorted);
    if (!m->source || !sorted) return avs_fail(e, AVS_ENOMEM, "%s: no memory for its keys", cfg->path);
    compare_wants(f, cfg, want, n, sorted, n_sorted, m, &d);
    rc = judge(a, cfg, n, is_cut, &d, m, e);
    for (difference *k = &d.missing; k <= &d.kept; k++) {
        avs_buf_free(&k->lines);
        avs_buf_free(&k->first);
    }
    return rc;
}

/* ------------------------------------------------------------------ into a plan */

static int set_params(avs_plan *p, const avs_weights_want *want, int n, const avs_weights_match *m,
                      avs_err *e)
{
    int rc = AVS_OK;
    for (int i = 0; i < n && rc == AVS_OK; i++) {
        const avs_st_tensor *t = m->source[i];
        if (!t) continue;
        float *x = avs_xalloc((size_t)t->count * sizeof *x);
        rc = x ? avs_st_f32(t, x, e) : avs_fail(e, AVS_ENOMEM, "out of memory for %s", want[i].key);
        if (rc == AVS_OK) rc = avs_plan_param_set(p, want[i].key, x, e);
        avs_xfree(x);
    }
    return rc;
}

int avs_weights_load(avs_plan *p, const avs_weights_cfg *cfg, FILE *log, avs_err *e)
{
    avs_st_file f = {0};
    avs_weights_match m = {0};
    const int all = avs_plan_n_params(p);
    int n = 0;
    avs_arena *a = avs_arena_new();
    avs_weights_want *want = a ? AVS_NEW_N(a, avs_weights_want, all + 1) : NULL;
    int rc = want ? AVS_OK : avs_fail(e, AVS_ENOMEM, "%s: no memory", cfg->path);
    for (int i = 0; want && i < all; i++) {
        const avs_plan_param *info = avs_plan_param_at(p, i);
        if (!strncmp(info->key, cfg->prefix, strlen(cfg->prefix)))
            want[n++] = (avs_weights_want){.key = info->key, .type = info->type};
    }
    if (rc == AVS_OK) rc = avs_weights_open(&f, cfg->path, NULL, NULL, e);
    if (rc == AVS_OK) rc = avs_weights_compare(a, &f, cfg, want, n, &m, e);
    if (log && m.report) (void)fputs(m.report, log);
    if (rc == AVS_OK) rc = set_params(p, want, n, &m, e);
    avs_st_close(&f);
    avs_arena_free(a);
    return rc;
}
