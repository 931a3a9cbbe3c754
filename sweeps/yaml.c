/* From libyaml's events to a tree of nodes with places. libyaml itself accepts duplicate keys and tabs and resolves no
 * types, so all of that is done here; its marks count characters. */
#include "sweeps/yaml.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>
#include "base/hash.h"

enum { MAX_ANCHORS = 4096, SMALL_MAP = 12 };

typedef struct {
    avs_ynode *node, *key; /* key: of the pair being read, in a map */
    avs_ynode **keys, **items;
    uint32_t cap;
    const char *anchor;
} level;

typedef struct {
    const char *name;
    avs_ynode *node;
} anchor;

typedef struct {
    avs_arena *a;
    const avs_source *src;
    avs_diag *d;
    level levels[AVS_YAML_DEPTH + 1];
    int depth;
    anchor *anchors;
    int n_anchors;
    uint64_t nodes;
    avs_ynode *root;
    int documents;
} reader;

static const char *keep(reader *r, const void *s, size_t n)
{
    const char *copy = avs_arena_strn(r->a, s, n);
    if (!copy) r->d->no_memory = true;
    return copy;
}

static avs_pos place(const reader *r, yaml_mark_t start, yaml_mark_t end)
{
    uint32_t len =
        start.line == end.line && end.column > start.column ? (uint32_t)(end.column - start.column) : 1;
    return (avs_pos){r->src, (uint32_t)start.line + 1, (uint32_t)start.column + 1, len};
}

/* ---- before libyaml: bytes ---------------------------------------------------------------------------------- */

static bool check_bytes(const avs_source *src, avs_diag *d)
{
    uint32_t line = 1, col = 1;
    if (src->len > AVS_YAML_BYTES) {
        avs_diag_add(d, "E005", (avs_pos){src, 0, 0, 0}, NULL,
                     "the file has %zu bytes, at most 16 MiB are read", src->len);
        return false;
    }
    for (size_t i = 0; i < src->len;) {
        size_t n = avs_utf8_len(src->text + i, src->len - i);
        avs_pos pos = {src, line, col, 1};
        unsigned char c = (unsigned char)src->text[i];
        if (n == 0) {
            avs_diag_add(d, "E003", pos, "save the file as UTF-8", "byte 0x%02x is no UTF-8", c);
            return false;
        }
        if (c == '\t') {
            avs_diag_add(d, "E002", pos, "indent with spaces; inside double quotes write \\t", "a tab");
            return false;
        }
        if ((c < 32 && c != '\n' && c != '\r') || c == 127) {
            avs_diag_add(d, "E003", pos, NULL, "control character 0x%02x", c);
            return false;
        }
        size_t end = avs_line_break(src->text + i, src->text + src->len);
        col++;
        if (end) {
            line++;
            col = 1;
        }
        i += end ? end : n;
    }
    return true;
}

/* ---- scalars ------------------------------------------------------------------------------------------------ */

static bool is_word(const char *s, const char *lower, const char *title, const char *upper)
{
    return strcmp(s, lower) == 0 || strcmp(s, title) == 0 || strcmp(s, upper) == 0;
}

static bool all_in(const char *s, const char *set)
{
    return *s && s[strspn(s, set)] == '\0';
}

/* Digits with an optional point and exponent, as the core schema has floats. */
static bool is_float(const char *s)
{
    static const char digits[] = "0123456789";
    s += *s == '-' || *s == '+';
    size_t whole = strspn(s, digits), part = 0;
    s += whole;
    if (*s == '.') {
        part = strspn(s + 1, digits);
        s += 1 + part;
    }
    if (whole + part == 0) return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '-' || *s == '+';
        return all_in(s, digits);
    }
    return *s == '\0';
}

static bool is_integer(const char *s, int64_t *out, bool *fits)
{
    const char *digits = s + (*s == '-' || *s == '+');
    int base = 10;
    if (strncmp(s, "0x", 2) == 0 && all_in(s + 2, "0123456789abcdefABCDEF"))
        base = 16;
    else if (strncmp(s, "0o", 2) == 0 && all_in(s + 2, "01234567"))
        base = 8;
    else if (!all_in(digits, "0123456789"))
        return false;
    uint64_t v = 0, limit = *s == '-' ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    *fits = true;
    for (const char *p = base == 10 ? digits : s + 2; *p && *fits; p++) {
        unsigned digit = (unsigned)(*p <= '9' ? *p - '0' : (*p | 32) - 'a' + 10);
        *fits = v <= (limit - digit) / (unsigned)base;
        v = v * (unsigned)base + digit;
    }
    *out = *s == '-' ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

void avs_yaml_resolve(avs_ynode *n)
{
    const char *s = n->s;
    bool fits = false;
    n->kind = AVS_Y_STR;
    if (*s == '\0' || strcmp(s, "~") == 0 || is_word(s, "null", "Null", "NULL")) {
        n->kind = AVS_Y_NULL;
    } else if (is_word(s, "true", "True", "TRUE") || is_word(s, "false", "False", "FALSE")) {
        n->kind = AVS_Y_BOOL;
        n->b = *s == 't' || *s == 'T';
    } else if (is_integer(s, &n->i, &fits)) {
        n->kind = fits ? AVS_Y_INT : AVS_Y_FLOAT;
        n->d = fits ? (double)n->i : strtod(s, NULL);
    } else if (is_float(s)) {
        n->kind = AVS_Y_FLOAT;
        n->d = strtod(s, NULL);
    } else if (is_word(s + (*s == '-' || *s == '+'), ".inf", ".Inf", ".INF")) {
        n->kind = AVS_Y_FLOAT;
        n->d = *s == '-' ? -(double)INFINITY : (double)INFINITY;
    } else if (is_word(s, ".nan", ".NaN", ".NAN")) {
        n->kind = AVS_Y_FLOAT;
        n->d = (double)NAN;
    }
}

/* ---- building ----------------------------------------------------------------------------------------------- */

static avs_ynode *new_node(reader *r, avs_ykind kind, const yaml_event_t *ev)
{
    avs_ynode *n = AVS_NEW(r->a, avs_ynode);
    if (!n) {
        r->d->no_memory = true;
        return NULL;
    }
    *n = (avs_ynode){.kind = kind, .s = "", .size = 1, .height = 1};
    n->pos = place(r, ev->start_mark, ev->end_mark);
    if (kind >= AVS_Y_SEQ) n->pos.len = 1;
    return n;
}

static bool remember(reader *r, const char *name, avs_ynode *node)
{
    if (!name) return true;
    if (r->n_anchors == MAX_ANCHORS) {
        avs_diag_add(r->d, "E008", node->pos, NULL, "more than %d anchors", MAX_ANCHORS);
        return false;
    }
    if (!r->anchors) r->anchors = AVS_NEW_N(r->a, anchor, MAX_ANCHORS);
    if (!r->anchors) {
        r->d->no_memory = true;
        return false;
    }
    r->anchors[r->n_anchors++] = (anchor){name, node};
    return true;
}

static bool push_pair(level *l, avs_ynode *key, avs_ynode *item)
{
    if (l->node->n == l->cap) {
        uint32_t cap = l->cap ? 2 * l->cap : 8;
        avs_ynode **items = avs_xrealloc(l->items, cap * sizeof *items);
        if (items) l->items = items;
        avs_ynode **keys = avs_xrealloc(l->keys, cap * sizeof *keys);
        if (keys) l->keys = keys;
        if (!items || !keys) return false;
        l->cap = cap;
    }
    l->keys[l->node->n] = key;
    l->items[l->node->n++] = item;
    return true;
}

/* Counts nodes of the document with its aliases expanded. */
static bool count(reader *r, uint32_t nodes, avs_pos pos)
{
    r->nodes += nodes;
    if (r->nodes <= AVS_YAML_NODES) return true;
    avs_diag_add(r->d, "E008", pos, NULL, "the document has more than %d nodes with its aliases",
                 AVS_YAML_NODES);
    return false;
}

/* A finished node (or an alias to one) becomes the root, a key, a value or an item. */
static bool attach(reader *r, avs_ynode *node, avs_pos pos)
{
    if (r->depth == 0) {
        r->root = node;
        return true;
    }
    level *l = &r->levels[r->depth - 1];
    if ((uint32_t)r->depth + node->height > AVS_YAML_DEPTH) {
        avs_diag_add(r->d, "E004", pos, NULL, "nested deeper than %d", AVS_YAML_DEPTH);
        return false;
    }
    if (l->node->kind == AVS_Y_MAP && !l->key) {
        if (node->kind >= AVS_Y_SEQ) {
            avs_diag_add(r->d, "E011", pos, NULL, "a key wants a scalar, found %s", avs_yaml_kind(node));
            return false;
        }
        l->key = node;
        return true;
    }
    if (!push_pair(l, l->key, node)) {
        r->d->no_memory = true;
        return false;
    }
    l->node->size += node->size + (l->key ? 1 : 0);
    if (node->height >= l->node->height) l->node->height = node->height + 1;
    l->key = NULL;
    return true;
}

static bool refuse_tag(reader *r, const yaml_char_t *tag, const yaml_event_t *ev)
{
    if (!tag) return true;
    avs_diag_add(r->d, "E007", place(r, ev->start_mark, ev->end_mark), "leave it out; quotes make a string",
                 "the tag '%.60s'", (const char *)tag);
    return false;
}

static bool on_scalar(reader *r, const yaml_event_t *ev)
{
    if (!refuse_tag(r, ev->data.scalar.tag, ev)) return false;
    avs_ynode *n = new_node(r, AVS_Y_STR, ev);
    if (!n) return false;
    if (memchr(ev->data.scalar.value, '\0', ev->data.scalar.length)) {
        avs_diag_add(r->d, "E003", n->pos, NULL, "a string with a NUL character");
        return false;
    }
    n->s = keep(r, ev->data.scalar.value, ev->data.scalar.length);
    n->len = ev->data.scalar.length;
    n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (!n->s) return false;
    if (n->plain) avs_yaml_resolve(n);
    const yaml_char_t *name = ev->data.scalar.anchor;
    if (name && !remember(r, keep(r, name, strlen((const char *)name)), n)) return false;
    return count(r, 1, n->pos) && attach(r, n, n->pos);
}

static bool on_alias(reader *r, const yaml_event_t *ev)
{
    const char *name = (const char *)ev->data.alias.anchor;
    avs_pos pos = place(r, ev->start_mark, ev->end_mark);
    for (int i = r->n_anchors; i-- > 0;)
        if (strcmp(r->anchors[i].name, name) == 0)
            return count(r, r->anchors[i].node->size, pos) && attach(r, r->anchors[i].node, pos);
    avs_diag_add(r->d, "E008", pos, "an anchor is written &NAME before the value, and not inside itself",
                 "there is no anchor '%.60s' before this alias", name);
    return false;
}

static bool on_start(reader *r, const yaml_event_t *ev, avs_ykind kind, const yaml_char_t *tag,
                     const yaml_char_t *name)
{
    if (r->depth == AVS_YAML_DEPTH) {
        avs_diag_add(r->d, "E004", place(r, ev->start_mark, ev->end_mark), NULL, "nested deeper than %d",
                     AVS_YAML_DEPTH);
        return false;
    }
    if (!refuse_tag(r, tag, ev)) return false;
    level *l = &r->levels[r->depth];
    *l = (level){.node = new_node(r, kind, ev)};
    if (!l->node) return false;
    r->depth++;
    if (name) {
        l->anchor = keep(r, name, strlen((const char *)name));
        if (!l->anchor) return false;
    }
    return true;
}

static void duplicate(reader *r, const avs_ynode *again, const avs_ynode *first)
{
    avs_diag_add(r->d, "E006", again->pos, NULL, "the key '%.60s' is written twice (first on line %u)",
                 again->s, first->pos.line);
}

static bool check_duplicates(reader *r, const avs_ynode *map)
{
    int before = r->d->n_errors;
    if (map->n <= SMALL_MAP) {
        for (uint32_t i = 1; i < map->n; i++)
            for (uint32_t j = 0; j < i; j++)
                if (strcmp(map->keys[i]->s, map->keys[j]->s) == 0) {
                    duplicate(r, map->keys[i], map->keys[j]);
                    break;
                }
        return r->d->n_errors == before;
    }
    uint32_t cap = 32;
    while (cap < 2 * map->n) cap *= 2;
    uint32_t *slots = avs_xrealloc(NULL, cap * sizeof *slots);
    if (!slots) {
        r->d->no_memory = true;
        return false;
    }
    memset(slots, 0xff, cap * sizeof *slots);
    for (uint32_t i = 0; i < map->n; i++) {
        uint32_t at = (uint32_t)avs_fnv1a64_str(map->keys[i]->s) & (cap - 1);
        while (slots[at] != UINT32_MAX && strcmp(map->keys[slots[at]]->s, map->keys[i]->s) != 0)
            at = (at + 1) & (cap - 1);
        if (slots[at] != UINT32_MAX)
            duplicate(r, map->keys[i], map->keys[slots[at]]);
        else
            slots[at] = i;
    }
    free(slots);
    return r->d->n_errors == before;
}

static bool on_end(reader *r)
{
    level l = r->levels[--r->depth];
    avs_ynode *n = l.node;
    bool ok = true;
    if (n->n) {
        n->items = avs_arena_dup(r->a, l.items, n->n * sizeof *l.items);
        n->keys = avs_arena_dup(r->a, l.keys, n->n * sizeof *l.keys);
        if (!n->items || !n->keys) {
            r->d->no_memory = true;
            ok = false;
        }
    }
    free(l.items);
    free(l.keys);
    if (ok && n->kind == AVS_Y_MAP) (void)check_duplicates(r, n); /* an error, but reading goes on */
    return ok && remember(r, l.anchor, n) && count(r, 1, n->pos) && attach(r, n, n->pos);
}

static bool on_document(reader *r, const yaml_event_t *ev)
{
    if (r->documents++ == 0) return true;
    avs_diag_add(r->d, "E001", place(r, ev->start_mark, ev->end_mark), NULL,
                 "a second document; a sweep file has one");
    return false;
}

static bool on_event(reader *r, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_SEQUENCE_START_EVENT:
        return on_start(r, ev, AVS_Y_SEQ, ev->data.sequence_start.tag, ev->data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT:
        return on_start(r, ev, AVS_Y_MAP, ev->data.mapping_start.tag, ev->data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return r->depth > 0 && on_end(r); /* libyaml ends only what it started */
    case YAML_SCALAR_EVENT:
        return on_scalar(r, ev);
    case YAML_ALIAS_EVENT:
        return on_alias(r, ev);
    case YAML_DOCUMENT_START_EVENT:
        return on_document(r, ev);
    default:
        return true;
    }
}

/* The place of a complaint of libyaml, kept inside the file. */
static avs_pos complaint(const reader *r, const yaml_parser_t *p)
{
    uint32_t line = (uint32_t)p->problem_mark.line + 1, lines = 1, col = 1;
    const char *at = r->src->text, *end = at + r->src->len;
    while (at < end) {
        size_t step = avs_line_break(at, end);
        bool lead = ((unsigned char)*at & 0xC0) != 0x80;
        lines += step > 0;
        col = step > 0 ? 1 : col + lead;
        at += step > 0 ? step : 1;
    }
    if (line > lines) return (avs_pos){r->src, lines, col, 1};
    return (avs_pos){r->src, line, (uint32_t)p->problem_mark.column + 1, 1};
}

avs_ynode *avs_yaml_parse(avs_arena *a, const avs_source *src, avs_diag *d)
{
    reader *r = AVS_NEW(a, reader);
    int before = d->n_errors;
    if (!r) {
        d->no_memory = true;
        return NULL;
    }
    *r = (reader){.a = a, .src = src, .d = d};
    if (!check_bytes(src, d)) return NULL;
    yaml_parser_t p;
    if (!yaml_parser_initialize(&p)) {
        d->no_memory = true;
        return NULL;
    }
    yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p, (const unsigned char *)src->text, src->len);
    bool going = true, ok = true;
    while (going && ok) {
        yaml_event_t ev;
        if (!yaml_parser_parse(&p, &ev)) {
            if (p.error == YAML_MEMORY_ERROR)
                d->no_memory = true;
            else
                avs_diag_add(d, "E001", complaint(r, &p), NULL, "not valid YAML: %s%s%s",
                             p.problem ? p.problem : "unreadable", p.context ? " " : "",
                             p.context ? p.context : "");
            ok = false;
            break;
        }
        going = ev.type != YAML_STREAM_END_EVENT;
        ok = on_event(r, &ev);
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&p);
    while (r->depth > 0) {
        free(r->levels[--r->depth].items);
        free(r->levels[r->depth].keys);
    }
    if (!ok || d->n_errors > before || d->no_memory) return NULL;
    if (!r->root) {
        r->root = AVS_NEW(a, avs_ynode);
        if (!r->root)
            d->no_memory = true;
        else
            *r->root =
                (avs_ynode){.kind = AVS_Y_NULL, .s = "", .pos = {src, 1, 1, 1}, .size = 1, .height = 1};
    }
    return r->root;
}
