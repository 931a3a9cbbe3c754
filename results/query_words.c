/* Parameters as numbers of words. A configuration has some fifty parameters and hardly any text of its own, so that names
 * and values are stored once and a configuration costs four bytes for each: 2e5 configurations fit 50 MB, and keys are
 * compared without reading text. A flat object of plain scalars is scanned in place; anything else goes through the
 * JSON reader, so that both give the same words. */
#include "results/query.h"

#include <string.h>
#include "base/buf.h"
#include "base/hash.h"

typedef struct {
    const char *text;
    uint32_t len, hash,
        word; /* word: of a number's canonical text where its own is not that; else its own place */
} entry;

struct avs_q_words {
    avs_arena *a;
    entry *at; /* at[0] is unused */
    uint32_t n, cap;
    uint32_t *slot;
    uint32_t mask;
    avs_q_shape **shape;
    int n_shapes, cap_shapes;
    uint32_t *key, *value; /* of the object being read */
    int cap_params;
};

enum { SHAPES_SEARCHED = 256 };
enum {
    RAW = 1
}; /* number as written: its own kind of entry, so that the string "0.10" is not the number 0.10 */

static bool grow(avs_q_words *w)
{
    const uint32_t cap = w->cap * 2, size = cap * 2;
    entry *at = AVS_NEW_N(w->a, entry, cap);
    uint32_t *slot = AVS_NEW_N(w->a, uint32_t, size);
    if (!at || !slot) return false;
    memcpy(at, w->at, w->n * sizeof *at);
    w->at = at;
    w->cap = cap;
    w->slot = slot;
    w->mask = size - 1;
    for (uint32_t k = 1; k < w->n; k++) {
        uint32_t i = at[k].hash & w->mask;
        while (slot[i]) i = (i + 1) & w->mask;
        slot[i] = k;
    }
    return true;
}

avs_q_words *avs_q_words_new(avs_arena *a)
{
    avs_q_words *w = AVS_NEW_N(a, avs_q_words, 1);
    if (!w) return NULL;
    *w = (avs_q_words){.a = a, .n = 1, .cap = 512, .cap_params = 64};
    w->at = AVS_NEW_N(a, entry, 1);
    w->key = AVS_NEW_N(a, uint32_t, w->cap_params);
    w->value = AVS_NEW_N(a, uint32_t, w->cap_params);
    return w->at && w->key && w->value && grow(w) ? w : NULL;
}

/* The place of an entry, added when it is new; 0: no memory. */
static uint32_t look_up(avs_q_words *w, const char *text, size_t n, uint32_t kind)
{
    const uint32_t hash = (uint32_t)(avs_fnv1a64(text, n) >> 7) * 2 + kind;
    uint32_t i = (hash >> 1) & w->mask;
    for (; w->slot[i]; i = (i + 1) & w->mask) {
        const entry *x = &w->at[w->slot[i]];
        if (x->hash == hash && x->len == n && memcmp(x->text, text, n) == 0) return w->slot[i];
    }
    if (w->n == w->cap) {
        if (n > UINT32_MAX || !grow(w)) return 0;
        return look_up(w, text, n, kind);
    }
    char *copy = avs_arena_strn(w->a, text, n);
    if (!copy) return 0;
    w->at[w->n] = (entry){.text = copy, .len = (uint32_t)n, .hash = hash};
    w->slot[i] = w->n;
    return w->n++;
}

uint32_t avs_q_word(avs_q_words *w, const char *text, size_t n)
{
    return look_up(w, text, n, 0);
}

const char *avs_q_word_text(const avs_q_words *w, uint32_t word)
{
    return word ? w->at[word].text : NULL;
}

int avs_q_shapes(const avs_q_words *w)
{
    return w->n_shapes;
}

static bool is_word(const char *text, size_t n)
{
    return (n == 4 && (memcmp(text, "true", 4) == 0 || memcmp(text, "null", 4) == 0)) ||
           (n == 5 && memcmp(text, "false", 5) == 0);
}

/* 0, 17 or -3: canonical as it stands. */
static bool is_integer(const char *text, size_t n)
{
    const size_t sign = n > 0 && text[0] == '-';
    if (n - sign < 1 || n - sign > 15 || (text[sign] == '0' && n > 1)) return false;
    for (size_t i = sign; i < n; i++)
        if (text[i] < '0' || text[i] > '9') return false;
    return true;
}

/* A number, true, false or null as it is written; 0: no JSON, or no memory. */
static uint32_t scalar_word(avs_q_words *w, const char *text, size_t n)
{
    if (is_word(text, n) || is_integer(text, n)) return avs_q_word(w, text, n);
    const uint32_t raw = look_up(w, text, n, RAW);
    if (!raw || w->at[raw].word) return raw ? w->at[raw].word : 0;
    avs_arena *a = avs_arena_new();
    avs_buf b = AVS_BUF_INIT;
    avs_json *v = NULL;
    uint32_t word = 0;
    if (a && avs_json_parse(a, "number", text, n, &v, NULL) == AVS_OK) {
        avs_json_write(&b, v, true);
        if (avs_buf_ok(&b)) word = avs_q_word(w, b.data, b.len);
    }
    avs_buf_free(&b);
    avs_arena_free(a);
    w->at[raw].word = word;
    return word;
}

static bool room_for(avs_q_words *w, int n)
{
    if (n < w->cap_params) return true;
    uint32_t *key = AVS_NEW_N(w->a, uint32_t, 2 * (size_t)w->cap_params);
    uint32_t *value = AVS_NEW_N(w->a, uint32_t, 2 * (size_t)w->cap_params);
    if (!key || !value) return false;
    memcpy(key, w->key, (size_t)n * sizeof *key);
    memcpy(value, w->value, (size_t)n * sizeof *value);
    w->key = key;
    w->value = value;
    w->cap_params *= 2;
    return true;
}

static const char *skip(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
    return p;
}

/* The end of a string without escapes that begins at p (after its quote); NULL: it has some, or no end. */
static const char *plain_string(const char *p, const char *end)
{
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20) p++;
    return p < end && *p == '"' ? p : NULL;
}

/* -1: not a flat object of plain scalars (or no JSON at all); -2: no memory; else how many parameters. */
static int scan(avs_q_words *w, const char *p, const char *end)
{
    int n = 0;
    p = skip(p, end);
    if (p == end || *p != '{') return -1;
    p = skip(p + 1, end);
    if (p < end && *p == '}') return skip(p + 1, end) == end ? 0 : -1;
    for (;;) {
        if (p == end || *p != '"') return -1;
        const char *key = p + 1, *key_end = plain_string(key, end);
        if (!key_end) return -1;
        p = skip(key_end + 1, end);
        if (p == end || *p != ':') return -1;
        p = skip(p + 1, end);
        if (!room_for(w, n)) return -2;
        w->key[n] = avs_q_word(w, key, (size_t)(key_end - key));
        const char *value = p;
        if (p < end && *p == '"') {
            value++;
            p = plain_string(value, end);
            if (!p) return -1;
            w->value[n] = avs_q_word(w, value, (size_t)(p++ - value));
        } else {
            while (p < end && (*p == '-' || *p == '+' || *p == '.' || (*p >= '0' && *p <= '9') ||
                               (*p >= 'a' && *p <= 'z') || *p == 'E'))
                p++;
            if (p == value) return -1;
            w->value[n] = scalar_word(w, value, (size_t)(p - value));
        }
        if (!w->key[n] || !w->value[n]) return -1; /* the reader says what it is */
        n++;
        p = skip(p, end);
        if (p < end && *p == '}') return skip(p + 1, end) == end ? n : -1;
        if (p == end || *p != ',') return -1;
        p = skip(p + 1, end);
    }
}

static int read_tree(avs_q_words *w, const char *json, size_t len, int *count, avs_err *e)
{
    avs_arena *a = avs_arena_new();
    avs_buf b = AVS_BUF_INIT;
    avs_json *root;
    int rc, n = 0;
    bool ok = true;

    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for stored parameters");
    AVS_TRY(avs_json_parse(a, "stored parameters", json, len, &root, e));
    for (const avs_json *m = root->kind == AVS_J_OBJ ? root->first : NULL; m && ok; m = m->next) {
        avs_buf_clear(&b);
        if (m->kind == AVS_J_STR)
            avs_buf_put(&b, m->s, m->len);
        else
            avs_json_write(&b, m, true);
        ok = avs_buf_ok(&b) && room_for(w, n) && (w->key[n] = avs_q_word(w, m->key, strlen(m->key))) != 0 &&
             (w->value[n] = avs_q_word(w, b.len ? b.data : "", b.len)) != 0;
        n += ok;
    }
    *count = n;
    if (!ok) rc = avs_fail(e, AVS_ENOMEM, "no memory for stored parameters");
out:
    avs_buf_free(&b);
    avs_arena_free(a);
    return rc;
}

static const avs_q_shape *shape_of(avs_q_words *w, int n)
{
    const int oldest = w->n_shapes > SHAPES_SEARCHED ? w->n_shapes - SHAPES_SEARCHED : 0;
    for (int i = w->n_shapes; i-- > oldest;) /* more kinds of configurations than that only cost memory */
        if (w->shape[i]->n == n && memcmp(w->shape[i]->key_word, w->key, (size_t)n * sizeof *w->key) == 0)
            return w->shape[i];
    if (w->n_shapes == w->cap_shapes) {
        const int cap = w->cap_shapes ? 2 * w->cap_shapes : 16;
        avs_q_shape **more = AVS_NEW_N(w->a, avs_q_shape *, cap);
        if (!more) return NULL;
        if (w->n_shapes) memcpy(more, w->shape, (size_t)w->n_shapes * sizeof *more);
        w->shape = more;
        w->cap_shapes = cap;
    }
    avs_q_shape *s = AVS_NEW_N(w->a, avs_q_shape, 1);
    const char **key = AVS_NEW_N(w->a, const char *, n + 1);
    const uint32_t *word = avs_arena_dup(w->a, w->key, ((size_t)n + 1) * sizeof *word);
    if (!s || !key || !word) return NULL;
    for (int i = 0; i < n; i++) key[i] = avs_q_word_text(w, word[i]);
    *s = (avs_q_shape){.n = n, .number = w->n_shapes, .key = key, .key_word = word, .words = w};
    w->shape[w->n_shapes++] = s;
    return s;
}

int avs_q_params(avs_q_words *w, const char *json, size_t len, avs_q_config *c, avs_err *e)
{
    int n = scan(w, json, json + len);
    if (n == -1) {
        int rc = read_tree(w, json, len, &n, e);
        if (rc != AVS_OK) return rc;
    }
    if (n >= 0) {
        c->shape = shape_of(w, n);
        c->value = avs_arena_dup(w->a, w->value, ((size_t)n + 1) * sizeof *c->value);
    }
    return n >= 0 && c->shape && c->value ? AVS_OK
                                          : avs_fail(e, AVS_ENOMEM, "no memory for stored parameters");
}
