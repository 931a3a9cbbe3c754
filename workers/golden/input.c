/* Inputs of golden cases. One function per `make`, one per step; each result is rounded to float32 before the
 * next step. */
#include "workers/golden/input.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/probe.h"

typedef struct {
    const avs_golden_source *src;
    avs_golden_inputs *in;
    avs_arena *a;
    int depth; /* of inputs that are made because another one needs them */
} maker;

static int make(maker *m, const avs_json *spec, const char *name, avs_golden_tensor *t, avs_err *e);

static int alloc(maker *m, avs_golden_tensor *t, int rank, const int64_t *d, avs_err *e)
{
    int64_t n = 1;
    if (rank < 0 || rank > AVS_GOLDEN_RANK)
        return avs_fail(e, AVS_EPARSE, "shape has %d axes, at most %d are supported", rank, AVS_GOLDEN_RANK);
    for (int i = 0; i < rank; i++) {
        if (d[i] < 1 || d[i] > (INT64_C(1) << 32) || n > (INT64_C(1) << 32) / d[i])
            return avs_fail(e, AVS_EPARSE, "extent %lld of axis %d is out of range", (long long)d[i], i);
        n *= d[i];
    }
    t->rank = rank;
    t->n = n;
    for (int i = 0; i < rank; i++) t->d[i] = d[i];
    t->v = AVS_NEW_N(m->a, float, n);
    return t->v ? AVS_OK : avs_fail(e, AVS_ENOMEM, "out of memory for %lld values", (long long)n);
}

static int shaped(maker *m, const avs_json *spec, avs_golden_tensor *t, avs_err *e)
{
    const avs_json *shape = avs_json_get(spec, "shape");
    int64_t d[AVS_GOLDEN_RANK];
    if (!shape || shape->kind != AVS_J_ARR || shape->len > AVS_GOLDEN_RANK)
        return avs_fail(e, AVS_EPARSE, "'shape' is missing or too long");
    int rank = 0;
    for (const avs_json *x = shape->first; x; x = x->next) d[rank++] = x->i;
    return alloc(m, t, rank, d, e);
}

static int64_t lead_of(const avs_golden_tensor *t)
{
    return t->rank < 2 ? 1 : t->n / (t->d[t->rank - 1] * t->d[t->rank - 2]);
}

static int make_blocks(maker *m, const avs_json *spec, const char *kind, const char *name,
                       avs_golden_tensor *t, avs_err *e)
{
    int rc = shaped(m, spec, t, e);
    if (rc != AVS_OK) return rc;
    if (t->rank < 2) return avs_fail(e, AVS_EPARSE, "'%s' needs at least two axes", kind);
    const int64_t h = t->d[t->rank - 2], w = t->d[t->rank - 1], cell = avs_json_int(spec, "cell", 16),
                  lead = lead_of(t);
    if (cell < 1) return avs_fail(e, AVS_EPARSE, "'cell' is %lld, expected at least 1", (long long)cell);
    if (!strcmp(kind, "mask")) {
        avs_probe_mask(name, lead, h, w, avs_json_num(spec, "fraction", 0.25), cell, t->v);
    } else if (!strcmp(kind, "grey")) {
        avs_probe_grey(name, lead, h, w, cell, t->v);
    } else {
        int32_t *c = AVS_NEW_N(m->a, int32_t, t->n);
        if (!c) return avs_fail(e, AVS_ENOMEM, "out of memory for a class map");
        avs_probe_classes(name, lead, h, w, avs_json_int(spec, "count", 2), cell, c);
        for (int64_t i = 0; i < t->n; i++) t->v[i] = (float)c[i];
    }
    return AVS_OK;
}

static int make_values(maker *m, const avs_json *spec, avs_golden_tensor *t, avs_err *e)
{
    const avs_json *v = avs_json_get(spec, "values");
    int64_t d[AVS_GOLDEN_RANK];
    int rank = 0;
    const avs_json *row = v;
    for (; row && row->kind == AVS_J_ARR && rank < AVS_GOLDEN_RANK; row = row->first)
        d[rank++] = (int64_t)row->len;
    if (!v || !rank) return avs_fail(e, AVS_EPARSE, "'values' is not a list");
    if (row && row->kind == AVS_J_STR) { /* words that only explain other inputs */
        t->rank = 0;
        t->n = 0;
        return AVS_OK;
    }
    int rc = alloc(m, t, rank, d, e);
    if (rc != AVS_OK) return rc;
    /* depth-first walk over the nested lists */
    const avs_json *stack[AVS_GOLDEN_RANK];
    int depth = 0;
    int64_t i = 0;
    stack[0] = v->first;
    while (depth >= 0) {
        const avs_json *x = stack[depth];
        if (!x) {
            depth--;
            continue;
        }
        stack[depth] = x->next;
        if (depth < rank - 1)
            stack[++depth] = x->first;
        else if (i < t->n)
            t->v[i++] = (float)x->d;
    }
    return i == t->n ? AVS_OK : avs_fail(e, AVS_EPARSE, "'values' is ragged");
}

const avs_json *avs_golden_item(const avs_json *list, size_t i)
{
    static const avs_json nothing = {.kind = AVS_J_NULL};
    const avs_json *item = avs_json_at(list, i);
    return item ? item : &nothing;
}

enum { MOST_SIDE = 65536 };

static int make_sine(maker *m, const avs_json *spec, avs_golden_tensor *t, avs_err *e)
{
    const avs_json *levels = avs_json_get(spec, "level_sizes");
    const int64_t dim = avs_json_int(spec, "dim", 0), half = dim / 2;
    int64_t n = 0;
    for (const avs_json *l = levels ? levels->first : NULL; l && n >= 0; l = l->next) {
        const int64_t h = avs_golden_item(l, 0)->i, w = avs_golden_item(l, 1)->i;
        n = h < 1 || w < 1 || h > MOST_SIDE || w > MOST_SIDE ? -1 : n + h * w;
    }
    if (half < 1 || n < 1) return avs_fail(e, AVS_EPARSE, "'sine_position' needs 'level_sizes' and 'dim'");
    int rc = alloc(m, t, 3, (const int64_t[]){1, n, dim}, e);
    float *p = t->v;
    for (const avs_json *l = levels->first; l && rc == AVS_OK; l = l->next)
        for (int64_t y = 1; y <= avs_golden_item(l, 0)->i; y++)
            for (int64_t x = 1; x <= avs_golden_item(l, 1)->i; x++)
                for (int64_t c = 0; c < dim; c++) {
                    const int64_t j = c % half;
                    const float a =
                        (float)(c < half ? y : x) / powf(10000.F, (float)(j - j % 2) / (float)half);
                    *p++ = j % 2 ? cosf(a) : sinf(a);
                }
    return rc;
}

static int make_audio(maker *m, const avs_json *spec, const char *kind, const char *name,
                      avs_golden_tensor *t, avs_err *e)
{
    const int64_t n = avs_json_int(spec, "samples", 0);
    const double sr = avs_json_num(spec, "sample_rate", 16000), amp = avs_json_num(spec, "amplitude", 0),
                 pi = 3.14159265358979323846;
    int rc = alloc(m, t, 1, &n, e);
    if (rc != AVS_OK) return rc;
    const uint64_t hash = avs_fnv1a64_str(name);
    for (int64_t i = 0; i < n; i++) {
        const double s = (double)i, u = avs_probe_unit(hash, i), q = s / (double)n;
        if (!strcmp(kind, "noise"))
            t->v[i] = (float)trunc(amp * u);
        else if (!strcmp(kind, "tone"))
            t->v[i] = (float)floor(
                32767 * (0.4 * sin(2 * pi * 440 * s / sr) + 0.2 * sin(2 * pi * 1234.5 * s / sr) + 0.1 * u) +
                0.5);
        else
            t->v[i] = (float)floor(20000 * (exp(-3 * q) * sin(2 * pi * (200 + 1500 * q) * s / sr)) + 0.5);
    }
    return AVS_OK;
}

static int make_columns(maker *m, const avs_json *spec, avs_golden_tensor *t, avs_err *e)
{
    const avs_json *of = avs_json_get(spec, "of");
    const int64_t n = of ? (int64_t)of->len : 0;
    int64_t k = 0;
    for (const avs_json *s = of ? of->first : NULL; s; s = s->next, k++) {
        avs_golden_tensor c = {0};
        int rc = make(m, s, avs_json_str(s, "name", ""), &c, e);
        if (rc == AVS_OK && k == 0) rc = alloc(m, t, 2, (const int64_t[]){c.n, n}, e);
        if (rc != AVS_OK) return rc;
        if (c.n != t->d[0]) return avs_fail(e, AVS_EPARSE, "columns differ in length");
        for (int64_t i = 0; i < c.n; i++) t->v[i * n + k] = c.v[i];
    }
    return n ? AVS_OK : avs_fail(e, AVS_EPARSE, "'columns' needs 'of'");
}

static int make_picture(maker *m, const avs_json *spec, avs_golden_tensor *t, avs_err *e)
{
    avs_golden_tensor blocks = {0};
    const avs_json *b = avs_json_get(spec, "blocks"), *noise = avs_json_get(spec, "noise");
    int rc = make(m, b, avs_json_str(b, "name", ""), &blocks, e);
    if (rc != AVS_OK) return rc;
    if (blocks.rank != 3 || !noise)
        return avs_fail(e, AVS_EPARSE, "'blocks_and_noise' needs blocks [3,H,W] and noise");
    const int64_t C = blocks.d[0], H = blocks.d[1], W = blocks.d[2];
    const uint64_t hash = avs_fnv1a64_str(avs_json_str(noise, "name", ""));
    rc = alloc(m, t, 3, (const int64_t[]){H, W, C}, e);
    for (int64_t i = 0; i < t->n && rc == AVS_OK; i++) {
        const int64_t c = i % C, yx = i / C;
        const int64_t sum =
            (int64_t)(3 * blocks.v[c * H * W + yx]) + (int64_t)floor((avs_probe_unit(hash, i) + 1) * 128);
        const int64_t value = sum / 4; /* whole numbers, as pixels are */
        t->v[i] = (float)value;
    }
    return rc;
}

static int make_two(maker *m, const avs_json *spec, const char *kind, avs_golden_tensor *t, avs_err *e)
{
    if (!strcmp(kind, "where")) {
        avs_golden_tensor c = {0}, f = {0};
        int rc = make(m, avs_json_get(spec, "condition"),
                      avs_json_str(avs_json_get(spec, "condition"), "name", ""), &c, e);
        if (rc == AVS_OK)
            rc = make(m, avs_json_get(spec, "true"), avs_json_str(avs_json_get(spec, "true"), "name", ""), t,
                      e);
        if (rc == AVS_OK)
            rc = make(m, avs_json_get(spec, "false"), avs_json_str(avs_json_get(spec, "false"), "name", ""),
                      &f, e);
        if (rc == AVS_OK && (c.n != t->n || f.n != t->n))
            rc = avs_fail(e, AVS_EPARSE, "'where' operands differ in size");
        for (int64_t i = 0; rc == AVS_OK && i < t->n; i++)
            if (c.v[i] == 0.F) t->v[i] = f.v[i];
        return rc;
    }
    const avs_json *of = avs_json_get(spec, "of"), *s = of ? of->first : NULL;
    if (!s) return avs_fail(e, AVS_EPARSE, "'%s' needs 'of'", kind);
    int rc = make(m, s, avs_json_str(s, "name", ""), t, e);
    if (!strcmp(kind, "not_equal")) {
        const float value = (float)avs_json_num(spec, "value", 0);
        for (int64_t i = 0; rc == AVS_OK && i < t->n; i++) t->v[i] = t->v[i] != value ? 1.F : 0.F;
        return rc;
    }
    for (s = s->next; s && rc == AVS_OK; s = s->next) {
        avs_golden_tensor o = {0};
        rc = make(m, s, avs_json_str(s, "name", ""), &o, e);
        if (rc == AVS_OK && o.n != t->n) rc = avs_fail(e, AVS_EPARSE, "factors of a product differ in size");
        for (int64_t i = 0; rc == AVS_OK && i < t->n; i++) t->v[i] *= o.v[i];
    }
    return rc;
}

static int copy_of(maker *m, const avs_golden_tensor *from, avs_golden_tensor *t, avs_err *e)
{
    int rc = alloc(m, t, from->rank, from->d, e);
    if (rc == AVS_OK) memcpy(t->v, from->v, (size_t)t->n * sizeof(float));
    return rc;
}

static bool fits(const avs_json *spec, const avs_json *config);

/* An input that stands further down in the list. */
static int make_ahead(maker *m, const char *role, avs_golden_tensor *t, avs_err *e)
{
    const avs_json *s = m->src->list ? m->src->list->first : NULL;
    while (s && (strcmp(avs_json_str(s, "role", ""), role) != 0 || !fits(s, m->src->config))) s = s->next;
    if (!s || m->depth > 4)
        return avs_fail(e, AVS_EMISSING, "the case has no input with role '%s' that could be made first",
                        role);
    m->depth++;
    int rc = make(m, s, avs_json_str(s, "name", ""), t, e);
    m->depth--;
    return rc;
}

static int make_reference(maker *m, const avs_json *spec, const char *kind, avs_golden_tensor *t, avs_err *e)
{
    if (!strcmp(kind, "copy")) {
        const avs_json *of = avs_json_get(spec, "of");
        return make(m, of, avs_json_str(of, "name", ""), t, e);
    }
    if (!strcmp(kind, "input")) {
        const char *role = avs_json_str(spec, "role", "");
        const avs_golden_tensor *from = avs_golden_find(m->in, role);
        return from ? copy_of(m, from, t, e) : make_ahead(m, role, t, e);
    }
    const char *name = avs_json_str(spec, "name", "");
    const avs_st_tensor *s = m->src->files ? avs_st_find(m->src->files, name) : NULL;
    if (!s) return avs_fail(e, AVS_EMISSING, "output '%s' is not in the safetensors file", name);
    int rc = alloc(m, t, s->rank, s->d, e);
    return rc == AVS_OK ? avs_st_f32(s, t->v, e) : rc;
}

/* ------------------------------------------------------------------ steps */

static int step_multiply(maker *m, const avs_json *s, avs_golden_tensor *t, avs_err *e)
{
    avs_golden_tensor by = {0};
    const avs_json *spec = avs_json_get(s, "by");
    int rc = make(m, spec, avs_json_str(spec, "name", ""), &by, e);
    if (rc != AVS_OK) return rc;
    if (by.n < 1 || t->n % by.n)
        return avs_fail(e, AVS_EPARSE, "'multiply' by %lld values does not fit %lld", (long long)by.n,
                        (long long)t->n);
    for (int64_t i = 0; i < t->n; i++) t->v[i] *= by.v[i / (t->n / by.n)];
    return AVS_OK;
}

static int step_add(maker *m, const avs_json *s, avs_golden_tensor *t, avs_err *e)
{
    avs_golden_tensor o = {0};
    const avs_json *of = avs_json_get(s, "of"), *channel = avs_json_get(s, "channel");
    const float times = (float)avs_json_num(s, "times", 1);
    int rc = of ? make(m, of, avs_json_str(of, "name", ""), &o, e) : make_values(m, s, &o, e);
    if (rc != AVS_OK) return rc;
    if (channel) {
        const int64_t C = t->rank > 1 ? t->d[1] : 1, inner = t->rank > 1 ? t->n / (t->d[0] * C) : 1;
        if (channel->i < 0 || channel->i >= C || o.n != t->n / C)
            return avs_fail(e, AVS_EPARSE, "'add' to channel %lld does not fit", (long long)channel->i);
        for (int64_t i = 0; i < o.n; i++)
            t->v[(i / inner * C + channel->i) * inner + i % inner] += times * o.v[i];
        return AVS_OK;
    }
    if (o.n < 1 || t->n % o.n)
        return avs_fail(e, AVS_EPARSE, "'add' of %lld values does not fit %lld", (long long)o.n,
                        (long long)t->n);
    for (int64_t i = 0; i < t->n; i++) t->v[i] += times * o.v[i % o.n];
    return AVS_OK;
}

static int step_fill(const avs_json *s, avs_golden_tensor *t, avs_err *e)
{
    const float value = (float)avs_json_num(s, "value", 0);
    const avs_json *rows = avs_json_get(s, "rows"), *image = avs_json_get(s, "image_rows"),
                   *channel = avs_json_get(s, "channel");
    if (image) {
        const int64_t H = t->rank > 1 ? t->d[t->rank - 2] : 1, W = t->d[t->rank - 1],
                      lo = avs_golden_item(image, 0)->i, hi = avs_golden_item(image, 1)->i;
        for (int64_t i = 0; i < t->n; i++)
            if (i / W % H >= lo && i / W % H < hi) t->v[i] = value;
        return AVS_OK;
    }
    if (channel) {
        const int64_t C = t->rank > 1 ? t->d[1] : 1, inner = t->n / (t->d[0] * C);
        for (int64_t i = 0; i < t->n; i++)
            if (i / inner % C == channel->i) t->v[i] = value;
        return AVS_OK;
    }
    for (const avs_json *r = rows ? rows->first : NULL; r; r = r->next) {
        int64_t off = 0, len = t->n;
        int axis = 0;
        for (const avs_json *x = r->kind == AVS_J_ARR ? r->first : r; x && axis < t->rank;
             x = r->kind == AVS_J_ARR ? x->next : NULL, axis++) {
            if (x->i < 0 || x->i >= t->d[axis])
                return avs_fail(e, AVS_EPARSE, "'fill' row %lld is outside axis %d", (long long)x->i, axis);
            len /= t->d[axis];
            off += x->i * len;
        }
        for (int64_t i = 0; i < len; i++) t->v[off + i] = value;
    }
    return rows ? AVS_OK : avs_fail(e, AVS_EPARSE, "'fill' needs rows, image_rows or channel");
}

static int step_rows(maker *m, const avs_json *s, avs_golden_tensor *t, avs_err *e)
{
    const avs_json *rows = avs_json_get(s, "rows");
    avs_golden_tensor o = {.role = t->role};
    int64_t d[AVS_GOLDEN_RANK];
    if (!rows || !t->rank) return avs_fail(e, AVS_EPARSE, "'rows' needs a list");
    memcpy(d, t->d, sizeof d);
    d[0] = (int64_t)rows->len;
    int rc = alloc(m, &o, t->rank, d, e);
    const int64_t len = t->n / t->d[0];
    int64_t k = 0;
    for (const avs_json *r = rows->first; r && rc == AVS_OK; r = r->next, k++) {
        if (r->i < 0 || r->i >= t->d[0])
            return avs_fail(e, AVS_EPARSE, "row %lld is outside axis 0", (long long)r->i);
        memcpy(o.v + k * len, t->v + r->i * len, (size_t)len * sizeof(float));
    }
    if (rc == AVS_OK) *t = o;
    return rc;
}

static int step_add_at_class(maker *m, const avs_json *s, avs_golden_tensor *t, avs_err *e)
{
    avs_golden_tensor c = {0};
    const avs_json *of = avs_json_get(s, "classes");
    int rc = make(m, of, avs_json_str(of, "name", ""), &c, e);
    if (rc != AVS_OK) return rc;
    const int64_t C = t->rank > 1 ? t->d[1] : 1, inner = t->n / (t->d[0] * C);
    /* a map of fewer rows covers the leading ones */
    if (c.n > t->n / C || c.n % inner) return avs_fail(e, AVS_EPARSE, "'add_at_class' map does not fit");
    for (int64_t i = 0; i < c.n; i++) {
        const int64_t k = (int64_t)c.v[i];
        if (k >= 0 && k < C)
            t->v[(i / inner * C + k) * inner + i % inner] += (float)avs_json_num(s, "value", 0);
    }
    return AVS_OK;
}

/* Class map [..,H,W] -> colours [..,H,W,3]. */
static int step_paint(maker *m, const avs_json *s, avs_golden_tensor *t, avs_err *e)
{
    const avs_json *palette = avs_json_get(m->src->root, avs_json_str(s, "with", "palette"));
    avs_golden_tensor o = {.role = t->role};
    int64_t d[AVS_GOLDEN_RANK];
    if (!palette || t->rank >= AVS_GOLDEN_RANK)
        return avs_fail(e, AVS_EPARSE, "'paint' names no palette of this case");
    memcpy(d, t->d, sizeof d);
    d[t->rank] = 3;
    int rc = alloc(m, &o, t->rank + 1, d, e);
    const avs_json **colour = AVS_NEW_N(m->a, const avs_json *, palette->len + 1);
    if (rc == AVS_OK && !colour) rc = avs_fail(e, AVS_ENOMEM, "out of memory for a palette");
    if (rc != AVS_OK) return rc;
    int64_t k = 0;
    for (const avs_json *c = palette->first; c; c = c->next) colour[k++] = c;
    for (int64_t i = 0; i < t->n; i++) {
        const int64_t c = (int64_t)t->v[i];
        if (c < 0 || c >= k) return avs_fail(e, AVS_EPARSE, "class %lld has no colour", (long long)c);
        for (size_t j = 0; j < 3; j++) o.v[3 * i + (int64_t)j] = (float)avs_golden_item(colour[c], j)->d;
    }
    *t = o;
    return AVS_OK;
}

static int apply(maker *m, const avs_json *s, avs_golden_tensor *t, avs_err *e)
{
    const char *what = avs_json_str(s, "do", "");
    if (!strcmp(what, "multiply")) return step_multiply(m, s, t, e);
    if (!strcmp(what, "add")) return step_add(m, s, t, e);
    if (!strcmp(what, "fill")) return step_fill(s, t, e);
    if (!strcmp(what, "rows")) return step_rows(m, s, t, e);
    if (!strcmp(what, "add_at_class")) return step_add_at_class(m, s, t, e);
    if (!strcmp(what, "paint")) return step_paint(m, s, t, e);
    const double scale = avs_json_num(s, "scale", 1), offset = avs_json_num(s, "offset", 0),
                 value = avs_json_num(s, "value", 0);
    for (int64_t i = 0; i < t->n; i++) {
        if (!strcmp(what, "affine"))
            t->v[i] = (float)((double)t->v[i] * scale + offset);
        else if (!strcmp(what, "max"))
            t->v[i] = t->v[i] > (float)value ? t->v[i] : (float)value;
        else if (!strcmp(what, "modulo") && value != 0)
            t->v[i] = (float)((int64_t)t->v[i] % (int64_t)value);
        else
            return avs_fail(e, AVS_EPARSE, "unknown step '%s'", what);
    }
    return AVS_OK;
}

static int make_plain(maker *m, const avs_json *spec, const char *name, avs_golden_tensor *t, avs_err *e)
{
    const char *kind = avs_json_str(spec, "make", "");
    if (!strcmp(kind, "tensor") || !strcmp(kind, "constant")) {
        int rc = shaped(m, spec, t, e);
        if (rc != AVS_OK) return rc;
        if (kind[0] == 't') {
            avs_probe_tensor(name, t->n, avs_json_num(spec, "scale", 1), avs_json_num(spec, "offset", 0),
                             t->v);
        } else {
            for (int64_t i = 0; i < t->n; i++) t->v[i] = (float)avs_json_num(spec, "value", 0);
        }
        return AVS_OK;
    }
    if (!strcmp(kind, "mask") || !strcmp(kind, "classes") || !strcmp(kind, "grey"))
        return make_blocks(m, spec, kind, name, t, e);
    if (!strcmp(kind, "values")) return make_values(m, spec, t, e);
    if (!strcmp(kind, "sine_position")) return make_sine(m, spec, t, e);
    if (!strcmp(kind, "noise") || !strcmp(kind, "tone") || !strcmp(kind, "fade"))
        return make_audio(m, spec, kind, name, t, e);
    if (!strcmp(kind, "columns")) return make_columns(m, spec, t, e);
    if (!strcmp(kind, "blocks_and_noise")) return make_picture(m, spec, t, e);
    if (!strcmp(kind, "product") || !strcmp(kind, "not_equal") || !strcmp(kind, "where"))
        return make_two(m, spec, kind, t, e);
    if (!strcmp(kind, "input") || !strcmp(kind, "copy") || !strcmp(kind, "output"))
        return make_reference(m, spec, kind, t, e);
    return avs_fail(e, AVS_EPARSE, "unknown make '%s'", kind);
}

static int make(maker *m, const avs_json *spec, const char *name, avs_golden_tensor *t, avs_err *e)
{
    if (!spec) return avs_fail(e, AVS_EPARSE, "an operand is missing");
    int rc = make_plain(m, spec, name, t, e);
    const avs_json *then = avs_json_get(spec, "then");
    for (const avs_json *s = then ? then->first : NULL; s && rc == AVS_OK; s = s->next)
        rc = apply(m, s, t, e);
    return rc;
}

/* `when: {option: value}` against the configuration; an option that is not stated does not fit. */
static bool fits(const avs_json *spec, const avs_json *config)
{
    const avs_json *when = avs_json_get(spec, "when");
    for (const avs_json *w = when ? when->first : NULL; w; w = w->next) {
        const avs_json *c = avs_json_get(config, w->key);
        if (!c) return false;
        if (w->kind == AVS_J_STR ? c->kind != AVS_J_STR || strcmp(c->s, w->s) != 0
                                 : c->d != w->d || c->b != w->b)
            return false;
    }
    return true;
}

/* Puts the counters of `for` into {key} of text. */
static char *filled(avs_arena *a, const char *text, const avs_json *loops, const int64_t *at)
{
    avs_buf b = AVS_BUF_INIT;
    for (const char *p = text; *p;) {
        const char *end = *p == '{' ? strchr(p, '}') : NULL;
        int k = 0;
        const avs_json *l = end && loops ? loops->first : NULL;
        while (l && (strncmp(l->key, p + 1, (size_t)(end - p - 1)) != 0 || l->key[end - p - 1])) {
            l = l->next;
            k++;
        }
        if (l) {
            avs_buf_fmt(&b, "%lld", (long long)at[k]);
            p = end + 1;
        } else {
            avs_buf_char(&b, *p++);
        }
    }
    char *s = avs_arena_str(a, avs_buf_cstr(&b));
    avs_buf_free(&b);
    return s;
}

enum { MAX_LOOPS = 4, MAX_INPUTS = 4096 };

static int make_all(maker *m, const avs_json *spec, avs_err *e)
{
    const avs_json *loops = avs_json_get(spec, "for");
    int64_t at[MAX_LOOPS] = {0};
    const int n = loops ? (int)loops->len : 0;
    if (n > MAX_LOOPS)
        return avs_fail(e, AVS_EPARSE, "'for' has %d keys, at most %d are supported", n, MAX_LOOPS);
    for (bool more = true; more;) {
        if (m->in->n >= MAX_INPUTS) return avs_fail(e, AVS_EPARSE, "more than %d inputs", MAX_INPUTS);
        avs_golden_tensor *t = &m->in->t[m->in->n];
        char *role = filled(m->a, avs_json_str(spec, "role", ""), loops, at);
        for (int i = 0; i < n && role && !strchr(avs_json_str(spec, "role", ""), '{'); i++)
            role = avs_arena_fmt(m->a, "%s.%lld", role, (long long)at[i]);
        t->role = role;
        int rc = make(m, spec, filled(m->a, avs_json_str(spec, "name", ""), loops, at), t, e);
        if (rc != AVS_OK) {
            (void)avs_ctx(e, "input '%s'", avs_json_str(spec, "role", "?"));
            return rc;
        }
        m->in->n++;
        more = false;
        int k = n - 1;
        for (const avs_json *l; k >= 0 && !more; k--) { /* odometer, last key fastest */
            l = loops->first;
            for (int i = 0; i < k; i++) l = l->next;
            if (++at[k] < l->i)
                more = true;
            else
                at[k] = 0;
        }
    }
    return AVS_OK;
}

int avs_golden_make(const avs_golden_source *src, avs_golden_inputs *out, avs_err *e)
{
    maker m = {.src = src, .in = out, .a = src->arena};
    *out = (avs_golden_inputs){0};
    out->t = AVS_NEW_N(src->arena, avs_golden_tensor, MAX_INPUTS);
    if (!out->t) return avs_fail(e, AVS_ENOMEM, "out of memory for the inputs of a golden case");
    for (const avs_json *s = src->list ? src->list->first : NULL; s; s = s->next) {
        if (!fits(s, src->config)) continue;
        int rc = make_all(&m, s, e);
        if (rc != AVS_OK) return rc;
    }
    return AVS_OK;
}

const avs_golden_tensor *avs_golden_find(const avs_golden_inputs *in, const char *role)
{
    for (int i = 0; i < in->n; i++)
        if (!strcmp(in->t[i].role, role)) return &in->t[i];
    return NULL;
}

int avs_golden_need(const avs_golden_inputs *in, const char *role, const avs_golden_tensor **out, avs_err *e)
{
    *out = avs_golden_find(in, role);
    return *out ? AVS_OK : avs_fail(e, AVS_EMISSING, "the case has no input with role '%s'", role);
}
