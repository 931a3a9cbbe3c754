/* Expressions of the sweep language: conditions, derived parameters, resources.
 *
 * Identifiers (dotted), numbers, quoted strings, true false null, lists, `+ - * / % == != < <= > >= in not and or ( )`,
 * `A if C else B`, min max round defined. Int op int stays int except `/`; `%` has the sign of its right side; round
 * goes to the nearest integer, halves away from zero. Comparing a number with a string is an error, an absent key is
 * an error outside defined(), `and` and `or` stop early and want true or false. null equals only null.
 * Limits: 4096 bytes, nesting 64. Ownership: an expression belongs to the arena it was parsed into. */
#ifndef AVS_SWEEPS_EXPR_H
#define AVS_SWEEPS_EXPR_H

#include "base/json.h"

typedef struct avs_expr avs_expr;

typedef struct {
    size_t offset; /* byte in the text */
    char msg[200]; /* "" when fine     */
} avs_expr_error;

/* NULL with *e filled. */
avs_expr *avs_expr_parse(avs_arena *a, const char *text, avs_expr_error *e);

typedef const avs_json *(*avs_expr_lookup)(void *ctx, const char *name); /* NULL: no such key */
/* *out is the value; lists point into a. */
int avs_expr_eval(const avs_expr *x, avs_arena *a, avs_expr_lookup get, void *ctx, avs_json *out,
                  avs_expr_error *e);
const char *avs_expr_text(const avs_expr *x);

/* Equality as `==` has it: 1 equals 1.0. False for values that cannot be compared. */
bool avs_value_equal(const avs_json *x, const avs_json *y);

#endif
