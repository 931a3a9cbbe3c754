/* JSON: a strict reader into an arena tree and a writer.
 *
 * Reader: RFC 8259, UTF-8 checked, depth at most 64, duplicate keys refused, numbers kept both as text and as
 * double (integers exactly when they fit int64). Errors carry line:col.
 * Ownership: nodes and strings belong to the arena that was passed. */
#ifndef AVS_BASE_JSON_H
#define AVS_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

typedef enum { AVS_J_NULL, AVS_J_BOOL, AVS_J_INT, AVS_J_FLOAT, AVS_J_STR, AVS_J_ARR, AVS_J_OBJ } avs_jkind;

typedef struct avs_json {
    avs_jkind kind;
    const char *key; /* member name inside an object, else NULL */
    bool b;          /* BOOL                                    */
    int64_t i;       /* INT                                     */
    double d;        /* INT and FLOAT                           */
    const char *s;   /* STR (NUL-terminated, UTF-8); numbers of a parsed text: as written */
    size_t len;      /* bytes of s; ARR, OBJ: number of children */
    struct avs_json *first, *next, *last; /* children in order; next sibling */
} avs_json;

/* *out is the root; what names the text in errors ("case.json"). AVS_EPARSE with what:line:col. */
int avs_json_parse(avs_arena *a, const char *what, const char *text, size_t n, avs_json **out, avs_err *e);
int avs_json_file(avs_arena *a, const char *path, avs_json **out, avs_err *e);

/* Look-ups accept NULL and wrong kinds (they return NULL or the default). */
const avs_json *avs_json_get(const avs_json *obj, const char *key);
const avs_json *avs_json_at(const avs_json *arr, size_t i);
const char *avs_json_str(const avs_json *obj, const char *key, const char *fallback);
double avs_json_num(const avs_json *obj, const char *key, double fallback);
int64_t avs_json_int(const avs_json *obj, const char *key, int64_t fallback);
bool avs_json_bool(const avs_json *obj, const char *key, bool fallback);

/* Builders (children are appended; key ignored for array parents). NULL only when memory is out. */
avs_json *avs_json_new(avs_arena *a, avs_jkind kind);
avs_json *avs_json_add(avs_arena *a, avs_json *parent, const char *key, avs_json *child);
avs_json *avs_json_add_str(avs_arena *a, avs_json *parent, const char *key, const char *s);
avs_json *avs_json_add_int(avs_arena *a, avs_json *parent, const char *key, int64_t n);
avs_json *avs_json_add_num(avs_arena *a, avs_json *parent, const char *key, double d);
avs_json *avs_json_add_bool(avs_arena *a, avs_json *parent, const char *key, bool b);

/* Writes compact JSON. canonical: object keys sorted by byte, -0 as 0, floats as the shortest text that reads back
 * to the same double, NaN and infinity refused (buffer fails). Not canonical: given order. */
void avs_json_write(avs_buf *out, const avs_json *v, bool canonical);
void avs_json_write_str(avs_buf *out, const char *s); /* quoted and escaped */
void avs_json_write_num(avs_buf *out, double v);      /* shortest round trip */

/* Bytes (1..4) of the well-formed UTF-8 sequence at s, of which n bytes are there; 0 if there is none. */
size_t avs_utf8_len(const char *s, size_t n);

#endif
