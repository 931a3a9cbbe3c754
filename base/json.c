/* The strict JSON reader: recursive descent with a depth limit of 64, one arena node per value. Strings are
 * checked for UTF-8 and unescaped in one pass. Duplicate keys are found by comparison in small objects and by
 * a hash set in larger ones, so that an object with 100,000 keys stays linear. Positions are computed only
 * when something fails. */
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/hash.h"

enum { MAX_DEPTH = 64, SMALL_OBJECT = 8, MAX_FILE = 1 << 30 };

typedef struct {
    avs_arena *a;
    const char *what;
    const char *text, *p, *end;
    int depth;
    avs_buf scratch; /* the string being unescaped */
    avs_err *e;
} reader;

/* Fails at position `at`; line and column count from 1, columns in bytes. */
#define FAIL_AT(r, at, ...) avs_failure(fail_at((r), (at), __LINE__, __VA_ARGS__))

static int fail_at(reader *r, const char *at, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static int fail_at(reader *r, const char *at, int line, const char *fmt, ...)
{
    long row = 1, col = 1;
    for (const char *p = r->text; p < at; p++) {
        col = *p == '\n' ? 1 : col + 1;
        row += *p == '\n';
    }
    char msg[256];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(msg, sizeof msg, fmt, ap) < 0) msg[0] = '\0';
    va_end(ap);
    return avs_fail_at(r->e, __FILE__, line, AVS_EPARSE, "%s:%ld:%ld: %s", r->what, row, col, msg);
}

static int no_memory(reader *r)
{
    (void)avs_fail(r->e, AVS_ENOMEM, "%s: no memory for the JSON tree", r->what);
    return AVS_ENOMEM;
}

/* Says what stands at the reading position, for messages. */
static const char *here(const reader *r, char out[24])
{
    if (r->p >= r->end) return "the end of the text";
    unsigned c = (unsigned char)*r->p;
    (void)snprintf(out, 24, c > 32 && c < 127 ? "'%c'" : "byte 0x%02x", c);
    return out;
}

static void skip_space(reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r')) r->p++;
}

size_t avs_utf8_len(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    if (n == 0) return 0;
    if (p[0] < 0x80) return 1;
    size_t len = p[0] >= 0xC2 && p[0] <= 0xDF ? 2 : p[0] >= 0xE0 && p[0] <= 0xEF ? 3 : 0;
    if (p[0] >= 0xF0 && p[0] <= 0xF4) len = 4;
    if (len == 0 || n < len) return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    /* Overlong forms, surrogates and code points above U+10FFFF differ in the second byte. */
    if (p[0] == 0xE0 && p[1] < 0xA0) return 0;
    if (p[0] == 0xED && p[1] > 0x9F) return 0;
    if (p[0] == 0xF0 && p[1] < 0x90) return 0;
    if (p[0] == 0xF4 && p[1] > 0x8F) return 0;
    return len;
}

/* Four hex digits at r->p + 2 (after \u); -1 if they are not there. */
static long hex4(const reader *r, const char *p)
{
    if (r->end - p < 4) return -1;
    long v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        long digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
        if (digit < 0) return -1;
        v = v * 16 + digit;
    }
    return v;
}

static void put_code_point(avs_buf *b, unsigned long c)
{
    char u[4];
    size_t n = 0;
    if (c < 0x80) {
        u[n++] = (char)c;
    } else if (c < 0x800) {
        u[n++] = (char)(0xC0 | c >> 6);
        u[n++] = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        u[n++] = (char)(0xE0 | c >> 12);
        u[n++] = (char)(0x80 | (c >> 6 & 63));
        u[n++] = (char)(0x80 | (c & 63));
    } else {
        u[n++] = (char)(0xF0 | c >> 18);
        u[n++] = (char)(0x80 | (c >> 12 & 63));
        u[n++] = (char)(0x80 | (c >> 6 & 63));
        u[n++] = (char)(0x80 | (c & 63));
    }
    avs_buf_put(b, u, n);
}

/* r->p at the backslash; appends what it stands for. */
static int read_escape(reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = r->p;
    if (r->end - at < 2) return FAIL_AT(r, at, "the text ends inside an escape");
    const char *hit = at[1] ? strchr(from, at[1]) : NULL;
    if (hit) {
        avs_buf_char(&r->scratch, to[hit - from]);
        r->p += 2;
        return AVS_OK;
    }
    if (at[1] != 'u') return FAIL_AT(r, at, "an escape that JSON does not have");
    long c = hex4(r, at + 2);
    if (c < 0) return FAIL_AT(r, at, "\\u wants four hex digits");
    r->p += 6;
    if (c >= 0xDC00 && c <= 0xDFFF) return FAIL_AT(r, at, "a low surrogate without a high one before it");
    if (c >= 0xD800 && c <= 0xDBFF) {
        long low = r->end - r->p >= 6 && r->p[0] == '\\' && r->p[1] == 'u' ? hex4(r, r->p + 2) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return FAIL_AT(r, at, "a high surrogate without a low one after it");
        r->p += 6;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    }
    put_code_point(&r->scratch, (unsigned long)c);
    return AVS_OK;
}

/* r->p at the opening quote. *s belongs to the arena. */
static int read_string(reader *r, const char **s, size_t *len)
{
    const char *open = r->p++;
    avs_buf_clear(&r->scratch);
    for (;;) {
        const char *run = r->p; /* bytes that stand for themselves are copied in one piece */
        while (r->p < r->end && *r->p != '"' && *r->p != '\\' && (unsigned char)*r->p >= 0x20) {
            size_t n = (unsigned char)*r->p < 0x80 ? 1 : avs_utf8_len(r->p, (size_t)(r->end - r->p));
            if (n == 0) return FAIL_AT(r, r->p, "byte 0x%02x is not UTF-8", (unsigned)(unsigned char)*r->p);
            r->p += n;
        }
        size_t n = (size_t)(r->p - run);
        /* No escape so far: straight to the arena. (A scratch that ran out of memory is empty as well.) */
        if (r->p < r->end && *r->p == '"' && r->scratch.len == 0 && avs_buf_ok(&r->scratch)) {
            r->p++;
            *s = avs_arena_strn(r->a, run, n);
            *len = n;
            return *s ? (int)AVS_OK : no_memory(r);
        }
        avs_buf_put(&r->scratch, run, n);
        if (r->p == r->end) return FAIL_AT(r, open, "a string that is not closed");
        if (*r->p == '"') break;
        if (*r->p != '\\')
            return FAIL_AT(r, r->p, "control character 0x%02x inside a string",
                           (unsigned)(unsigned char)*r->p);
        int rc = read_escape(r);
        if (rc != AVS_OK) return rc;
    }
    r->p++;
    *s = avs_buf_ok(&r->scratch) ? avs_arena_strn(r->a, avs_buf_cstr(&r->scratch), r->scratch.len) : NULL;
    *len = r->scratch.len;
    return *s ? (int)AVS_OK : no_memory(r);
}

static bool digits(reader *r)
{
    const char *from = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9') r->p++;
    return r->p > from;
}

static int read_number(reader *r, avs_json *v)
{
    const char *from = r->p;
    bool is_int = true;
    if (*r->p == '-') r->p++;
    if (r->p < r->end && *r->p == '0')
        r->p++;
    else if (!digits(r))
        return FAIL_AT(r, from, "a minus sign without digits");
    if (r->p < r->end && *r->p == '.') {
        is_int = false;
        r->p++;
        if (!digits(r)) return FAIL_AT(r, from, "a number without digits after its point");
    }
    if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        is_int = false;
        r->p++;
        if (r->p < r->end && (*r->p == '+' || *r->p == '-')) r->p++;
        if (!digits(r)) return FAIL_AT(r, from, "a number without digits in its exponent");
    }
    if (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        return FAIL_AT(r, from, "a number with a leading zero");
    v->len = (size_t)(r->p - from);
    v->s = avs_arena_strn(r->a, from, v->len);
    if (!v->s) return no_memory(r);
    v->kind = AVS_J_FLOAT;
    v->d = strtod(v->s, NULL);
    if (v->d > 1.7976931348623157e308 || v->d < -1.7976931348623157e308)
        return FAIL_AT(r, from, "number %.40s does not fit a double", v->s);
    if (is_int && strcmp(v->s, "-0") != 0) { /* -0 stays a float: an integer has no sign of zero */
        bool negative = v->s[0] == '-', fits = true;
        uint64_t m = 0, limit = negative ? (uint64_t)1 << 63 : INT64_MAX;
        for (const char *p = v->s + negative; *p && fits; p++) {
            uint64_t digit = (uint64_t)(*p - '0');
            fits = m <= (limit - digit) / 10;
            m = m * 10 + digit;
        }
        if (fits) {
            v->kind = AVS_J_INT;
            v->i = (int64_t)(negative ? 0 - m : m);
        }
    }
    return AVS_OK;
}

/* The keys of one object that is being read: open addressing, at most half full. */
typedef struct {
    const char **slot;
    size_t cap, n;
} key_set;

/* *fresh = false when the key is there already. False when memory is out. */
static bool key_set_insert(key_set *k, const char *key, bool *fresh)
{
    if (2 * (k->n + 1) > k->cap) {
        key_set bigger = {.cap = k->cap ? 2 * k->cap : 64};
        bigger.slot = avs_xalloc(bigger.cap * sizeof *bigger.slot);
        if (!bigger.slot) return false;
        for (size_t i = 0; i < k->cap; i++)
            if (k->slot[i] && !key_set_insert(&bigger, k->slot[i], fresh)) return false;
        avs_xfree(k->slot);
        *k = bigger;
    }
    size_t at = (size_t)avs_fnv1a64_str(key) & (k->cap - 1);
    for (; k->slot[at]; at = (at + 1) & (k->cap - 1))
        if (strcmp(k->slot[at], key) == 0) {
            *fresh = false;
            return true;
        }
    k->slot[at] = key;
    k->n++;
    *fresh = true;
    return true;
}

/* Is key new among the members read so far? Small objects are compared member by member. */
static bool key_is_fresh(const avs_json *obj, key_set *keys, const char *key, bool *fresh)
{
    if (obj->len < SMALL_OBJECT) {
        *fresh = true;
        for (const avs_json *c = obj->first; c; c = c->next)
            if (strcmp(c->key, key) == 0) *fresh = false;
        return true;
    }
    if (obj->len == SMALL_OBJECT)
        for (const avs_json *c = obj->first; c; c = c->next)
            if (!key_set_insert(keys, c->key, fresh)) return false;
    return key_set_insert(keys, key, fresh);
}

static int read_value(reader *r, avs_json **out);

static int read_key(reader *r, const avs_json *obj, key_set *keys, const char **key)
{
    char c[24];
    const char *at = r->p;
    size_t len;
    if (r->p >= r->end || *r->p != '"')
        return FAIL_AT(r, r->p, "a key in quotes is expected, found %s", here(r, c));
    int rc = read_string(r, key, &len);
    if (rc != AVS_OK) return rc;
    if (strlen(*key) != len) return FAIL_AT(r, at, "a key that holds \\u0000");
    bool fresh;
    if (!key_is_fresh(obj, keys, *key, &fresh)) return no_memory(r);
    if (!fresh) return FAIL_AT(r, at, "key \"%.80s\" appears twice in one object", *key);
    skip_space(r);
    if (r->p >= r->end || *r->p != ':')
        return FAIL_AT(r, r->p, "':' is expected after a key, found %s", here(r, c));
    r->p++;
    return AVS_OK;
}

/* r->p after the opening bracket. */
static int read_children(reader *r, avs_json *v, char close)
{
    key_set keys = {0};
    char c[24];
    int rc = AVS_OK;
    skip_space(r);
    if (r->p < r->end && *r->p == close) {
        r->p++;
        return AVS_OK;
    }
    for (;;) {
        const char *key = NULL;
        avs_json *child;
        skip_space(r);
        if (v->kind == AVS_J_OBJ) AVS_TRY(read_key(r, v, &keys, &key));
        AVS_TRY(read_value(r, &child));
        child->key = key;
        (void)avs_json_add(r->a, v, NULL, child);
        skip_space(r);
        if (r->p < r->end && *r->p == close) break;
        if (r->p >= r->end || *r->p != ',') {
            rc = FAIL_AT(r, r->p, "',' or '%c' is expected, found %s", close, here(r, c));
            goto out;
        }
        r->p++;
    }
    r->p++;
out:
    avs_xfree(keys.slot);
    return rc;
}

static bool word(reader *r, const char *w)
{
    size_t n = strlen(w);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, w, n) != 0) return false;
    r->p += n;
    return true;
}

static int read_value(reader *r, avs_json **out)
{
    char c[24];
    skip_space(r);
    avs_json *v = avs_json_new(r->a, AVS_J_NULL);
    if (!v) return no_memory(r);
    *out = v;
    char first = (char)(r->p < r->end ? *r->p : 0);
    if (first == '{' || first == '[') {
        if (r->depth == MAX_DEPTH) return FAIL_AT(r, r->p, "nested deeper than %d", MAX_DEPTH);
        r->depth++;
        r->p++;
        v->kind = first == '{' ? AVS_J_OBJ : AVS_J_ARR;
        int rc = read_children(r, v, (char)(first == '{' ? '}' : ']'));
        r->depth--;
        return rc;
    }
    if (first == '"') {
        v->kind = AVS_J_STR;
        return read_string(r, &v->s, &v->len);
    }
    if (first == '-' || (first >= '0' && first <= '9')) return read_number(r, v);
    if (word(r, "null")) return AVS_OK;
    if ((v->b = word(r, "true")) || word(r, "false")) {
        v->kind = AVS_J_BOOL;
        return AVS_OK;
    }
    return FAIL_AT(r, r->p, "a value is expected, found %s", here(r, c));
}

int avs_json_parse(avs_arena *a, const char *what, const char *text, size_t n, avs_json **out, avs_err *e)
{
    char c[24];
    if (n == 0) text = "";
    reader r = {.a = a, .what = what, .text = text, .p = text, .end = text + n, .e = e};
    avs_json *root = NULL;
    *out = NULL;
    int rc = read_value(&r, &root);
    if (rc == AVS_OK) {
        skip_space(&r);
        if (r.p < r.end) rc = FAIL_AT(&r, r.p, "the end of the text is expected, found %s", here(&r, c));
    }
    avs_buf_free(&r.scratch);
    if (rc == AVS_OK) *out = root;
    return rc;
}

int avs_json_file(avs_arena *a, const char *path, avs_json **out, avs_err *e)
{
    avs_buf text = AVS_BUF_INIT;
    *out = NULL;
    int rc = avs_fs_read(path, MAX_FILE, &text, e);
    if (rc == AVS_OK) rc = avs_json_parse(a, path, avs_buf_cstr(&text), text.len, out, e);
    avs_buf_free(&text);
    return rc;
}
