/* JSON trees: look-ups, builders and the writer. Canonical text is what configurations are hashed over, hence
 * one spelling per value: sorted keys, no spaces, shortest round-trip numbers, integral doubles below 1e15 as
 * integers. */
#include "base/json.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const avs_json *avs_json_get(const avs_json *obj, const char *key)
{
    if (!obj || obj->kind != AVS_J_OBJ) return NULL;
    for (const avs_json *c = obj->first; c; c = c->next)
        if (c->key && strcmp(c->key, key) == 0) return c;
    return NULL;
}

const avs_json *avs_json_at(const avs_json *arr, size_t i)
{
    if (!arr || (arr->kind != AVS_J_ARR && arr->kind != AVS_J_OBJ)) return NULL;
    const avs_json *c = arr->first;
    while (c && i--) c = c->next;
    return c;
}

const char *avs_json_str(const avs_json *obj, const char *key, const char *fallback)
{
    const avs_json *v = avs_json_get(obj, key);
    return v && v->kind == AVS_J_STR ? v->s : fallback;
}

double avs_json_num(const avs_json *obj, const char *key, double fallback)
{
    const avs_json *v = avs_json_get(obj, key);
    return v && (v->kind == AVS_J_INT || v->kind == AVS_J_FLOAT) ? v->d : fallback;
}

int64_t avs_json_int(const avs_json *obj, const char *key, int64_t fallback)
{
    const avs_json *v = avs_json_get(obj, key);
    if (v && v->kind == AVS_J_INT) return v->i;
    /* 2.0 and 1e3 are integers too; beyond 2^53 a float no longer says which one. */
    if (v && v->kind == AVS_J_FLOAT && fabs(v->d) <= 0x1p53 && v->d == floor(v->d)) return (int64_t)v->d;
    return fallback;
}

bool avs_json_bool(const avs_json *obj, const char *key, bool fallback)
{
    const avs_json *v = avs_json_get(obj, key);
    return v && v->kind == AVS_J_BOOL ? v->b : fallback;
}

avs_json *avs_json_new(avs_arena *a, avs_jkind kind)
{
    avs_json *v = AVS_NEW(a, avs_json);
    if (v) v->kind = kind;
    return v;
}

avs_json *avs_json_add(avs_arena *a, avs_json *parent, const char *key, avs_json *child)
{
    if (!parent || !child) return NULL;
    if (parent->kind == AVS_J_OBJ && key) {
        child->key = avs_arena_str(a, key);
        if (!child->key) return NULL;
    }
    child->next = NULL;
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    parent->len++;
    return child;
}

avs_json *avs_json_add_str(avs_arena *a, avs_json *parent, const char *key, const char *s)
{
    avs_json *v = avs_json_new(a, s ? AVS_J_STR : AVS_J_NULL);
    if (v && s) {
        v->len = strlen(s);
        v->s = avs_arena_strn(a, s, v->len);
        if (!v->s) return NULL;
    }
    return avs_json_add(a, parent, key, v);
}

avs_json *avs_json_add_int(avs_arena *a, avs_json *parent, const char *key, int64_t n)
{
    avs_json *v = avs_json_new(a, AVS_J_INT);
    if (v) {
        v->i = n;
        v->d = (double)n;
    }
    return avs_json_add(a, parent, key, v);
}

avs_json *avs_json_add_num(avs_arena *a, avs_json *parent, const char *key, double d)
{
    avs_json *v = avs_json_new(a, AVS_J_FLOAT);
    if (v) v->d = d;
    return avs_json_add(a, parent, key, v);
}

avs_json *avs_json_add_bool(avs_arena *a, avs_json *parent, const char *key, bool b)
{
    avs_json *v = avs_json_new(a, AVS_J_BOOL);
    if (v) v->b = b;
    return avs_json_add(a, parent, key, v);
}

static void write_str(avs_buf *out, const char *s, size_t n)
{
    static const char short_escape[] = "\bb\tt\nn\ff\rr\"\"\\\\"; /* pairs: byte, letter */
    avs_buf_char(out, '"');
    for (size_t i = 0; i < n;) {
        size_t run = i;
        while (run < n && (unsigned char)s[run] >= 0x20 && (unsigned char)s[run] < 0x80 && s[run] != '"' &&
               s[run] != '\\')
            run++;
        if (run > i) {
            avs_buf_put(out, s + i, run - i);
            i = run;
            continue;
        }
        size_t u = (unsigned char)s[i] < 0x80 ? 0 : avs_utf8_len(s + i, n - i);
        if (u) {
            avs_buf_put(out, s + i, u);
            i += u;
            continue;
        }
        const char *hit = NULL;
        for (const char *p = short_escape; *p; p += 2)
            if (*p == s[i]) hit = p;
        if ((unsigned char)s[i] >= 0x80)
            avs_buf_str(out, "\\ufffd"); /* not UTF-8: the replacement character */
        else if (hit)
            avs_buf_fmt(out, "\\%c", hit[1]);
        else
            avs_buf_fmt(out, "\\u%04x", (unsigned)s[i]);
        i++;
    }
    avs_buf_char(out, '"');
}

void avs_json_write_str(avs_buf *out, const char *s)
{
    write_str(out, s, strlen(s));
}

void avs_json_write_num(avs_buf *out, double v)
{
    if (!isfinite(v)) {
        out->failed = true;
        return;
    }
    char text[40];
    if (v == floor(v) && fabs(v) < 1e15) {
        (void)snprintf(text, sizeof text, "%s%" PRId64, v == 0 && signbit(v) ? "-" : "", (int64_t)v);
        avs_buf_str(out, text);
        return;
    }
    /* 15 digits are always shortest when they read back, except for subnormal numbers, which have fewer bits.
     */
    for (int digits = fabs(v) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    char *exponent = strchr(text, 'e');
    if (exponent) { /* 1e-05 -> 1e-5, 1e+20 -> 1e20 */
        char *to = exponent + 1;
        const char *from = exponent + 1;
        if (*from == '-')
            *to++ = *from++;
        else if (*from == '+')
            from++;
        while (*from == '0') from++;
        memmove(to, from, strlen(from) + 1);
    }
    avs_buf_str(out, text);
}

static int by_key(const void *a, const void *b)
{
    const avs_json *const *x = a, *const *y = b;
    const char *p = (*x)->key ? (*x)->key : "", *q = (*y)->key ? (*y)->key : "";
    return strcmp(p, q);
}

static void write_member(avs_buf *out, const avs_json *v, bool canonical, bool comma)
{
    if (comma) avs_buf_char(out, ',');
    avs_json_write_str(out, v->key ? v->key : "");
    avs_buf_char(out, ':');
    avs_json_write(out, v, canonical);
}

static void write_object(avs_buf *out, const avs_json *v, bool canonical)
{
    avs_buf_char(out, '{');
    if (!canonical || v->len < 2) {
        for (const avs_json *c = v->first; c; c = c->next) write_member(out, c, canonical, c != v->first);
    } else {
        const avs_json **sorted = avs_xalloc(v->len * sizeof *sorted);
        if (!sorted) {
            out->failed = true;
            return;
        }
        size_t n = 0;
        for (const avs_json *c = v->first; c && n < v->len; c = c->next) sorted[n++] = c;
        qsort(sorted, n, sizeof *sorted, by_key);
        for (size_t i = 0; i < n; i++) write_member(out, sorted[i], canonical, i > 0);
        avs_xfree(sorted);
    }
    avs_buf_char(out, '}');
}

void avs_json_write(avs_buf *out, const avs_json *v, bool canonical)
{
    switch (v ? v->kind : AVS_J_NULL) {
    case AVS_J_NULL:
        avs_buf_str(out, "null");
        break;
    case AVS_J_BOOL:
        avs_buf_str(out, v->b ? "true" : "false");
        break;
    case AVS_J_INT:
        avs_buf_fmt(out, "%" PRId64, v->i);
        break;
    case AVS_J_FLOAT:
        avs_json_write_num(out, canonical && v->d == 0 ? 0.0 : v->d);
        break;
    case AVS_J_STR:
        write_str(out, v->s ? v->s : "", v->s ? v->len : 0);
        break;
    case AVS_J_ARR:
        avs_buf_char(out, '[');
        for (const avs_json *c = v->first; c; c = c->next) {
            if (c != v->first) avs_buf_char(out, ',');
            avs_json_write(out, c, canonical);
        }
        avs_buf_char(out, ']');
        break;
    case AVS_J_OBJ:
        write_object(out, v, canonical);
        break;
    }
}
