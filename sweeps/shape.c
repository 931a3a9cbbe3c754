/* Texts of resolved configurations with holes, found by the settings that are not free. */
#include "sweeps/shape.h"

#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "sweeps/identity.h"
#include "sweeps/nfc.h"

enum { SLOTS = 2 * AVS_SHAPES, KEYS = 64 };

typedef struct {
    const char *s;
    uint32_t cut[AVS_SHAPE_HOLES + 1]; /* piece i ends at cut[i], the last at the end */
} holed;

struct avs_shape {
    const char *key; /* what it holds for: the settings that are not free */
    size_t key_len;
    uint64_t hash;
    int n; /* holes */
    holed params, identity;
    avs_sha256 begun; /* over the first piece of identity */
    const char *kind, *model, *task, *data_root, *fingerprint;
};

/* What is known of a key for a model. */
typedef struct {
    const char *model, *key;
    const avs_param_spec *spec; /* NULL: not free */
} known_key;

struct avs_shapes {
    avs_parse *p;
    char *pool; /* untouched pages cost nothing */
    size_t used;
    avs_shape *slots[SLOTS];
    int n;
    known_key keys[KEYS];
    int n_keys;
    const char **names; /* strings that outlive the shapes */
    int n_names, cap_names;
    struct seen_data *seen; /* a data_root is looked at once */
};

typedef struct seen_data {
    const char *root, *print;
    struct seen_data *next;
} seen_data;

avs_shapes *avs_shapes_new(avs_parse *p)
{
    avs_shapes *h = AVS_NEW(p->a, avs_shapes);
    if (!h) return NULL;
    h->p = p;
    h->pool = avs_arena_alloc(p->a, AVS_SHAPE_POOL);
    return h->pool ? h : NULL;
}

/* Room in the pool, or in a when the pool has none. */
static void *room(avs_shapes *h, avs_arena *a, bool in_pool, size_t n)
{
    size_t want = (n + 15) & ~(size_t)15;
    if (!in_pool || want > AVS_SHAPE_POOL - h->used) return avs_arena_alloc(a, n);
    void *p = h->pool + h->used;
    h->used += want;
    return p;
}

static const char *keep(avs_shapes *h, const char *s)
{
    for (int i = h->n_names; i-- > 0;)
        if (strcmp(h->names[i], s) == 0) return h->names[i];
    if (h->n_names == h->cap_names) {
        int cap = h->cap_names ? 2 * h->cap_names : 32;
        const char **more = avs_arena_alloc(h->p->a, (size_t)cap * sizeof *more);
        if (!more) return NULL;
        if (h->n_names) memcpy(more, h->names, (size_t)h->n_names * sizeof *more);
        h->names = more;
        h->cap_names = cap;
    }
    const char *copy = avs_arena_str(h->p->a, s);
    if (copy) h->names[h->n_names++] = copy;
    return copy;
}

/* ---- the key ------------------------------------------------------------------------------------------------------ */

/* The spec of a free parameter, or NULL. */
static const avs_param_spec *free_spec(avs_shapes *h, const char *model, const char *key)
{
    for (int i = 0; i < h->n_keys; i++)
        if (strcmp(h->keys[i].key, key) == 0 && strcmp(h->keys[i].model, model) == 0) return h->keys[i].spec;
    const avs_param_spec *spec = avs_schema_is_free(model, key) ? avs_schema_find(model, key) : NULL;
    if (h->n_keys == KEYS) h->n_keys = 0;
    known_key k = {keep(h, model), keep(h, key), spec};
    if (k.model && k.key) h->keys[h->n_keys++] = k;
    return spec;
}

typedef struct {
    const avs_param_spec *spec;
    const char *text;
    uint32_t len;
} hole;

/* The text of a free value; kept with the setting when that outlives the point. false: it has none, or one that the
 * identity holds in another form (nfc.h), so that it cannot be put into a hole. */
static bool value_text(avs_shapes *h, avs_arena *a, avs_setting *s, const avs_param_spec *spec, hole *out)
{
    avs_json v;
    if (s->spec != spec) {
        if (!avs_schema_value(spec, s->value, &v)) return false;
        avs_buf b = AVS_BUF_INIT;
        avs_json_write(&b, &v, true);
        char *text =
            avs_buf_ok(&b) ? avs_arena_strn(s->computed ? a : h->p->a, avs_buf_cstr(&b), b.len) : NULL;
        s->text_len = (uint32_t)b.len;
        avs_buf_free(&b);
        if (!text) return false;
        s->text = text;
        s->spec = spec;
    }
    *out = (hole){spec, s->text, s->text_len};
    return avs_is_ascii(s->text, s->text_len);
}

/* A value as bytes: not JSON, because it may be infinite and nobody reads it. */
static void put_value(avs_buf *key, const avs_json *v)
{
    avs_buf_char(key, (char)('A' + (int)v->kind));
    if (v->kind == AVS_J_BOOL)
        avs_buf_char(key, v->b ? '1' : '0');
    else if (v->kind == AVS_J_INT)
        avs_buf_put(key, &v->i, sizeof v->i);
    else if (v->kind == AVS_J_FLOAT)
        avs_buf_put(key, &v->d, sizeof v->d);
    else if (v->kind != AVS_J_NULL)
        avs_buf_put(key, &v->len, sizeof v->len);
    if (v->kind == AVS_J_STR) avs_buf_put(key, v->s, v->len);
    for (const avs_json *c = v->kind >= AVS_J_ARR ? v->first : NULL; c; c = c->next) put_value(key, c);
}

/* Writes the key and finds the holes, sorted by name; how many. */
static int make_key(avs_shapes *h, avs_point *pt, avs_arena *a, avs_buf *key, hole *holes)
{
    const avs_setting *m = avs_point_find(pt, "model");
    bool any_name = strcmp(pt->s->out->kind, "exec") == 0; /* not parameters of a model */
    const char *model = m && m->value->kind == AVS_J_STR && !any_name ? m->value->s : NULL;
    int n = 0;
    avs_buf_put(key, &pt->s, sizeof pt->s);
    for (int i = 0; i < pt->n; i++) {
        avs_setting *s = pt->at[i];
        const avs_param_spec *spec = model && n < AVS_SHAPE_HOLES ? free_spec(h, model, s->key) : NULL;
        hole one;
        avs_buf_put(key, s->key, strlen(s->key) + 1);
        if (spec && value_text(h, a, s, spec, &one)) {
            int at = n++;
            for (; at > 0 && strcmp(holes[at - 1].spec->name, spec->name) > 0; at--)
                holes[at] = holes[at - 1];
            holes[at] = one;
            avs_buf_char(key, '\1');
        } else {
            put_value(key, s->value);
        }
    }
    return n;
}

static uint64_t hash_of(const avs_buf *key)
{
    uint64_t h = 0x9E3779B97F4A7C15u;
    size_t i = 0;
    for (; i + 8 <= key->len; i += 8) {
        uint64_t w;
        memcpy(&w, key->data + i, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    for (; i < key->len; i++) h = (h ^ (uint8_t)key->data[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static avs_shape **slot_of(avs_shapes *h, const avs_buf *key, uint64_t hash)
{
    uint64_t at = hash & (SLOTS - 1);
    for (; h->slots[at]; at = (at + 1) & (SLOTS - 1)) {
        const avs_shape *x = h->slots[at];
        if (x->hash == hash && x->key_len == key->len && memcmp(x->key, key->data, x->key_len) == 0) break;
    }
    return &h->slots[at];
}

/* ---- making a shape ------------------------------------------------------------------------------------------------ */

static int by_name(const void *x, const void *y)
{
    return strcmp((*(const avs_json *const *)x)->key, (*(const avs_json *const *)y)->key);
}

/* The members of a resolved configuration in canonical order, cut at the holes. */
static bool write_holed(avs_arena *a, const avs_json *object, const hole *holes, int n, avs_buf *b,
                        holed *out)
{
    size_t members = object->len, i = 0;
    int filled = 0;
    const avs_json **sorted = avs_arena_alloc(a, sizeof *sorted * (members + 1));
    if (!sorted) return false;
    for (const avs_json *v = object->first; v; v = v->next) sorted[i++] = v;
    qsort(sorted, members, sizeof *sorted, by_name);
    for (i = 0; i < members; i++) {
        avs_buf_char(b, i ? ',' : '{');
        avs_json_write_str(b, sorted[i]->key);
        avs_buf_char(b, ':');
        if (filled < n && strcmp(sorted[i]->key, holes[filled].spec->name) == 0)
            out->cut[filled++] = (uint32_t)b->len;
        else
            avs_json_write(b, sorted[i], true);
    }
    avs_buf_str(b, members ? "}" : "{}");
    return filled == n;
}

static const char *fingerprint(avs_shapes *h, const avs_cfg *cfg)
{
    const char *root = avs_cfg_str(cfg, "data_root"), *kind = avs_cfg_kind(cfg);
    const avs_sweep_options *o = h->p->o;
    uint8_t print[32];
    char hex[65] = "";
    if (strcmp(kind, "train") != 0 && strcmp(kind, "eval") != 0) return "";
    for (const seen_data *seen = h->seen; seen; seen = seen->next)
        if (strcmp(seen->root, root) == 0) return seen->print;
    if (root[0] && o->fingerprint && o->fingerprint(o->ctx, root, print))
        avs_hex(print, 32, hex);
    else
        h->p->unindexed = true;
    seen_data *seen = AVS_NEW(h->p->a, seen_data);
    if (!seen) return NULL;
    *seen = (seen_data){keep(h, root), keep(h, hex), h->seen};
    if (!seen->root || !seen->print) return NULL;
    h->seen = seen;
    return seen->print;
}

/* The text in normal form C, piece by piece: pieces begin and end with signs of JSON, which combine with nothing. */
static bool normalise(avs_buf *text, holed *x, int n)
{
    avs_buf out = AVS_BUF_INIT;
    size_t at = 0;
    if (avs_is_ascii(text->data, text->len)) return true;
    for (int i = 0; i <= n; i++) {
        const size_t end = i < n ? x->cut[i] : text->len;
        if (!avs_nfc(&out, text->data + at, end - at)) {
            avs_buf_free(&out);
            return false;
        }
        at = end;
        if (i < n) x->cut[i] = (uint32_t)out.len;
    }
    avs_buf_free(text);
    *text = out;
    return out.data != NULL;
}

/* The texts of a shape into two buffers; false without memory. */
static bool write_texts(avs_shapes *h, avs_arena *a, const avs_cfg *cfg, const avs_stage_def *s,
                        const hole *holes, avs_shape *x, avs_buf *params, avs_buf *identity)
{
    x->kind = s->out->kind;
    x->model = keep(h, avs_cfg_str(cfg, "model"));
    x->task = keep(h, avs_cfg_str(cfg, "task"));
    x->data_root = keep(h, avs_cfg_str(cfg, "data_root"));
    x->fingerprint = fingerprint(h, cfg);
    if (!x->model || !x->task || !x->data_root || !x->fingerprint) return false;
    avs_identity_begin(identity, cfg, x->fingerprint, s->resources.gpu_model);
    if (!write_holed(a, avs_cfg_json(cfg), holes, x->n, params, &x->params) ||
        !write_holed(a, avs_cfg_identity_json(cfg), holes, x->n, identity, &x->identity))
        return false;
    avs_identity_end(identity, cfg);
    return avs_buf_ok(params) && avs_buf_ok(identity) && normalise(identity, &x->identity, x->n);
}

/* A shape for this key, in the pool; without holes and for this point alone when n is 0 and key NULL. */
static avs_shape *make_shape(avs_shapes *h, avs_arena *a, const avs_cfg *cfg, const avs_stage_def *s,
                             const hole *holes, int n, const avs_buf *key)
{
    avs_shape made = {.n = n}, *x = NULL;
    avs_buf params = AVS_BUF_INIT, identity = AVS_BUF_INIT;
    if (write_texts(h, a, cfg, s, holes, &made, &params, &identity)) {
        size_t key_len = key ? key->len : 0, total = sizeof *x + params.len + identity.len + key_len;
        if (key && (h->n == AVS_SHAPES || total + 16 > AVS_SHAPE_POOL - h->used)) {
            memset(h->slots, 0, sizeof h->slots);
            h->n = 0;
            h->used = 0;
        }
        x = room(h, a, key != NULL, total);
    }
    if (x) {
        char *text = (char *)(x + 1);
        memcpy(text, params.data, params.len);
        memcpy(text + params.len, identity.data, identity.len);
        made.params.s = text;
        made.params.cut[n] = (uint32_t)params.len;
        made.identity.s = text + params.len;
        made.identity.cut[n] = (uint32_t)identity.len;
        avs_config_hash_begin(&made.begun);
        avs_sha256_put(&made.begun, made.identity.s, made.identity.cut[0]);
        if (key) {
            made.key = memcpy(text + params.len + identity.len, key->data, key->len);
            made.key_len = key->len;
            made.hash = hash_of(key);
        }
        *x = made;
    }
    avs_buf_free(&params);
    avs_buf_free(&identity);
    return x;
}

static bool has_all(const avs_json *object, const hole *holes, int n)
{
    for (int i = 0; i < n; i++)
        if (!avs_json_get(object, holes[i].spec->name)) return false;
    return true;
}

static void fill(avs_filled *out, const avs_shape *x, const hole *holes)
{
    out->shape = x;
    for (int i = 0; i < x->n; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): as many as the shape's key has */
        out->text[i] = holes[i].text;
        out->len[i] = holes[i].len;
    }
}

typedef struct {
    avs_buf key;
    int n;
    hole hole[AVS_SHAPE_HOLES];
} pattern;

/* Resolves in full, and keeps the shape when it holds for every value of the holes. */
static int resolve(avs_shapes *h, avs_point *pt, avs_arena *a, const pattern *of, avs_shape **out,
                   avs_problem **problems, avs_err *e)
{
    avs_json *given = avs_point_given(pt, a);
    avs_cfg *cfg = NULL;
    if (!given) return avs_fail(e, AVS_ENOMEM, "no memory for a point");
    int rc = avs_cfg_resolve(a, pt->s->out->kind, given, &cfg, problems, e);
    if (rc != AVS_OK) return rc;
    /* A free parameter that is switched off here is checked against its default, so each value by itself. */
    bool holds = has_all(avs_cfg_json(cfg), of->hole, of->n);
    *out = make_shape(h, a, cfg, pt->s, of->hole, holds ? of->n : 0, holds ? &of->key : NULL);
    if (!*out) return avs_fail(e, AVS_ENOMEM, "no memory for a point");
    const char *at = (const char *)*out;
    if (holds && at >= h->pool && at < h->pool + AVS_SHAPE_POOL) {
        *slot_of(h, &of->key, (*out)->hash) = *out;
        h->n++;
    }
    return AVS_OK;
}

int avs_shapes_resolve(avs_shapes *h, avs_point *pt, avs_arena *a, avs_filled *out, avs_problem **problems,
                       avs_err *e)
{
    pattern of; /* its holes are filled up to n */
    int rc = AVS_OK;
    of.key = (avs_buf)AVS_BUF_INIT;
    of.n = make_key(h, pt, a, &of.key, of.hole);
    *problems = NULL;
    if (avs_buf_ok(&of.key)) {
        avs_shape *x = *slot_of(h, &of.key, hash_of(&of.key));
        if (!x) rc = resolve(h, pt, a, &of, &x, problems, e);
        if (rc == AVS_OK) fill(out, x, of.hole);
    } else {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for a point");
    }
    avs_buf_free(&of.key);
    return rc;
}

/* ---- filled ------------------------------------------------------------------------------------------------------ */

static void write_filled(const avs_filled *f, const holed *x, avs_buf *out)
{
    uint32_t at = 0;
    for (int i = 0; i <= f->shape->n; i++) {
        avs_buf_put(out, x->s + at, x->cut[i] - at);
        at = x->cut[i];
        if (i < f->shape->n) avs_buf_put(out, f->text[i], f->len[i]);
    }
}

void avs_filled_params(const avs_filled *f, avs_buf *out)
{
    write_filled(f, &f->shape->params, out);
}

void avs_filled_identity(const avs_filled *f, avs_buf *out)
{
    write_filled(f, &f->shape->identity, out);
}

void avs_filled_hash(const avs_filled *f, uint8_t out[32])
{
    const holed *x = &f->shape->identity;
    avs_sha256 s = f->shape->begun;
    for (int i = 0; i < f->shape->n; i++) {
        avs_sha256_put(&s, f->text[i], f->len[i]);
        avs_sha256_put(&s, x->s + x->cut[i], x->cut[i + 1] - x->cut[i]);
    }
    avs_sha256_end(&s, out);
}

void avs_filled_names(const avs_filled *f, avs_sweep_config *c)
{
    const avs_shape *x = f->shape;
    c->kind = x->kind;
    c->model = x->model;
    c->task = x->task;
    c->data_root = x->data_root;
    c->data_fingerprint = x->fingerprint;
}
