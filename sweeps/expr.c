/* Parser of expressions: recursive descent over a text of at most 4096 bytes, nesting counted. Precedence, loosest
 * first: if-else, or, and, not, comparison (not chained), sum, product, minus. */
#include "sweeps/expr.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sweeps/expr_tree.h"

enum { MAX_TEXT = 4096, MAX_DEPTH = 64 };

typedef enum { T_END, T_NUMBER, T_STRING, T_NAME, T_OP, T_BAD } token;

typedef struct {
    avs_arena *a;
    const char *text;
    size_t at, end; /* of the current token */
    token tok;
    int depth;
    avs_expr_error *e;
} parser;

static avs_xnode *fail(parser *p, size_t offset, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static avs_xnode *fail(parser *p, size_t offset, const char *fmt, ...)
{
    va_list ap;
    if (p->e->msg[0]) return NULL; /* the first one counts */
    p->e->offset = offset;
    va_start(ap, fmt);
    if (vsnprintf(p->e->msg, sizeof p->e->msg, fmt, ap) < 0) p->e->msg[0] = '?';
    va_end(ap);
    return NULL;
}

static bool name_start(char c)
{
    return isalpha((unsigned char)c) || c == '_';
}
static bool name_part(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '.';
}

static void advance(parser *p)
{
    const char *s = p->text;
    size_t i = p->end;
    while (s[i] == ' ' || s[i] == '\n' || s[i] == '\r') i++;
    p->at = i;
    if (!s[i]) {
        p->tok = T_END;
    } else if (isdigit((unsigned char)s[i]) || (s[i] == '.' && isdigit((unsigned char)s[i + 1]))) {
        p->tok = T_NUMBER;
        while (isdigit((unsigned char)s[i]) || s[i] == '.') i++;
        if (s[i] == 'e' || s[i] == 'E') {
            i += s[i + 1] == '+' || s[i + 1] == '-' ? 2 : 1;
            while (isdigit((unsigned char)s[i])) i++;
        }
        while (name_part(s[i])) i++; /* 8px is one bad number, not two tokens */
    } else if (name_start(s[i])) {
        p->tok = T_NAME;
        while (name_part(s[i])) i++;
    } else if (s[i] == '\'' || s[i] == '"') {
        char quote = s[i++];
        while (s[i] && s[i] != quote) i++;
        p->tok = s[i] ? T_STRING : T_BAD;
        i += s[i] != '\0';
    } else {
        bool two = (strchr("=!<>", s[i]) && s[i + 1] == '=');
        p->tok = two || strchr("+-*/%<>()[],", s[i]) ? T_OP : T_BAD;
        i += two ? 2 : 1;
    }
    p->end = i;
}

static bool is(const parser *p, const char *word)
{
    return (p->tok == T_OP || p->tok == T_NAME) && p->end - p->at == strlen(word) &&
           strncmp(p->text + p->at, word, p->end - p->at) == 0;
}

static bool eat(parser *p, const char *word)
{
    if (!is(p, word)) return false;
    advance(p);
    return true;
}

static avs_xnode *make(parser *p, avs_xop op, size_t offset)
{
    avs_xnode *x = AVS_NEW(p->a, avs_xnode);
    if (!x) return fail(p, offset, "no memory");
    x->op = op;
    x->offset = offset;
    return x;
}

static avs_xnode *append(avs_xnode *x, avs_xnode *child)
{
    avs_xnode **at = &x->first;
    if (!child) return NULL;
    while (*at) at = &(*at)->next;
    *at = child;
    x->n++;
    return x;
}

static avs_xnode *binary(parser *p, avs_xop op, size_t offset, avs_xnode *l, avs_xnode *r)
{
    avs_xnode *x = l && r ? make(p, op, offset) : NULL;
    return x && append(x, l) ? append(x, r) : NULL;
}

static avs_xnode *expected(parser *p, const char *what)
{
    if (p->tok == T_END) return fail(p, p->at, "%s is expected at the end", what);
    if (p->tok == T_BAD && (p->text[p->at] == '\'' || p->text[p->at] == '"'))
        return fail(p, p->at, "a string without its closing quote");
    return fail(p, p->at, "%s is expected, found '%.*s'", what,
                (int)(p->end - p->at < 40 ? p->end - p->at : 40), p->text + p->at);
}

static avs_xnode *expression(parser *p);

/* Items up to the closing bracket, which is eaten. */
static avs_xnode *items(parser *p, avs_xnode *x, const char *close)
{
    while (x && !is(p, close)) {
        x = append(x, expression(p));
        if (!x) return NULL;
        if (!eat(p, ",") && !is(p, close)) return expected(p, close[0] == ']' ? "',' or ']'" : "',' or ')'");
    }
    if (x) advance(p);
    return x;
}

static avs_xnode *number(parser *p)
{
    avs_xnode *x = make(p, AVS_X_CONST, p->at);
    if (!x) return NULL;
    char word[64], *end;
    size_t n = p->end - p->at;
    if (n >= sizeof word) return fail(p, p->at, "a number of more than 63 characters");
    memcpy(word, p->text + p->at, n);
    word[n] = '\0';
    bool whole = strspn(word, "0123456789") == n;
    errno = 0;
    int64_t v = whole ? strtoll(word, NULL, 10) : 0;
    bool fits = whole && errno == 0; /* larger ones become floats, as in YAML */
    x->value.kind = fits ? AVS_J_INT : AVS_J_FLOAT;
    x->value.i = fits ? v : 0;
    x->value.d = strtod(word, &end);
    if (*end || (whole && n > 1 && word[0] == '0')) return fail(p, p->at, "'%s' is no number", word);
    advance(p);
    return x;
}

static avs_xnode *string(parser *p)
{
    avs_xnode *x = make(p, AVS_X_CONST, p->at);
    if (!x) return NULL;
    x->value.kind = AVS_J_STR;
    x->value.len = p->end - p->at - 2;
    x->value.s = avs_arena_strn(p->a, p->text + p->at + 1, x->value.len);
    if (!x->value.s) return fail(p, p->at, "no memory");
    advance(p);
    return x;
}

static avs_xnode *constant(parser *p, avs_jkind kind, bool b)
{
    avs_xnode *x = make(p, AVS_X_CONST, p->at);
    if (x) {
        x->value.kind = kind;
        x->value.b = b;
        advance(p);
    }
    return x;
}

static avs_xnode *call(parser *p, avs_xop op, size_t at)
{
    avs_xnode *x = make(p, op, at);
    advance(p); /* the bracket */
    if (!x) return NULL;
    if (op == AVS_X_DEFINED) {
        if (p->tok != T_NAME) return expected(p, "a name inside defined()");
        x->name = avs_arena_strn(p->a, p->text + p->at, p->end - p->at);
        if (!x->name) return fail(p, at, "no memory");
        advance(p);
        return eat(p, ")") ? x : expected(p, "')'");
    }
    x = items(p, x, ")");
    if (x && op == AVS_X_ROUND && x->n != 1) return fail(p, at, "round() takes one value, found %d", x->n);
    if (x && x->n == 0) return fail(p, at, "%s() takes at least one value", op == AVS_X_MIN ? "min" : "max");
    return x;
}

static avs_xnode *named(parser *p)
{
    static const char *const words[] = {"and", "or", "not", "in", "if", "else"};
    static const struct {
        const char *name;
        avs_xop op;
    } calls[] = {{"min", AVS_X_MIN}, {"max", AVS_X_MAX}, {"round", AVS_X_ROUND}, {"defined", AVS_X_DEFINED}};
    if (is(p, "true") || is(p, "false")) return constant(p, AVS_J_BOOL, is(p, "true"));
    if (is(p, "null")) return constant(p, AVS_J_NULL, false);
    for (int i = 0; i < 6; i++)
        if (is(p, words[i])) return expected(p, "a value");
    size_t at = p->at, n = p->end - p->at;
    const char *name = avs_arena_strn(p->a, p->text + at, n);
    if (!name) return fail(p, at, "no memory");
    advance(p);
    if (is(p, "(")) {
        for (int i = 0; i < 4; i++)
            if (strcmp(name, calls[i].name) == 0) return call(p, calls[i].op, at);
        return fail(p, at, "there is no function '%.60s' (min, max, round, defined)", name);
    }
    avs_xnode *x = make(p, AVS_X_NAME, at);
    if (x) x->name = name;
    return x;
}

static avs_xnode *atom(parser *p)
{
    size_t at = p->at;
    if (p->tok == T_NUMBER) return number(p);
    if (p->tok == T_STRING) return string(p);
    if (p->tok == T_NAME) return named(p);
    if (eat(p, "(")) {
        avs_xnode *x = expression(p);
        if (!x) return NULL;
        return eat(p, ")") ? x : expected(p, "')'");
    }
    if (eat(p, "[")) return items(p, make(p, AVS_X_LIST, at), "]");
    return expected(p, "a value");
}

static avs_xnode *minus(parser *p)
{
    size_t at = p->at;
    if (!eat(p, "-")) return atom(p);
    if (++p->depth > MAX_DEPTH) return fail(p, at, "nested deeper than %d", MAX_DEPTH);
    avs_xnode *x = make(p, AVS_X_NEG, at), *of = minus(p);
    p->depth--;
    return x && of ? append(x, of) : NULL;
}

static avs_xnode *product(parser *p)
{
    avs_xnode *x = minus(p);
    while (x && (is(p, "*") || is(p, "/") || is(p, "%"))) {
        avs_xop op = is(p, "*") ? AVS_X_MUL : is(p, "/") ? AVS_X_DIV : AVS_X_MOD;
        size_t at = p->at;
        advance(p);
        x = binary(p, op, at, x, minus(p));
    }
    return x;
}

static avs_xnode *sum(parser *p)
{
    avs_xnode *x = product(p);
    while (x && (is(p, "+") || is(p, "-"))) {
        avs_xop op = is(p, "+") ? AVS_X_ADD : AVS_X_SUB;
        size_t at = p->at;
        advance(p);
        x = binary(p, op, at, x, product(p));
    }
    return x;
}

static bool comparison_op(parser *p, avs_xop *op)
{
    static const struct {
        const char *word;
        avs_xop op;
    } ops[] = {{"==", AVS_X_EQ}, {"!=", AVS_X_NE}, {"<", AVS_X_LT}, {"<=", AVS_X_LE},
               {">", AVS_X_GT},  {">=", AVS_X_GE}, {"in", AVS_X_IN}};
    for (int i = 0; i < 7; i++)
        if (eat(p, ops[i].word)) {
            *op = ops[i].op;
            return true;
        }
    if (!eat(p, "not")) return false;
    if (!eat(p, "in")) (void)expected(p, "'in' after 'not'");
    *op = AVS_X_NOT_IN;
    return true;
}

static avs_xnode *comparison(parser *p)
{
    avs_xnode *x = sum(p);
    avs_xop op;
    size_t at = p->at;
    if (!x || !comparison_op(p, &op)) return x;
    x = binary(p, op, at, x, sum(p));
    at = p->at;
    if (x && comparison_op(p, &op)) return fail(p, at, "comparisons are not chained; join them with 'and'");
    return x;
}

static avs_xnode *negation(parser *p)
{
    size_t at = p->at;
    if (!eat(p, "not")) return comparison(p);
    if (++p->depth > MAX_DEPTH) return fail(p, at, "nested deeper than %d", MAX_DEPTH);
    avs_xnode *x = make(p, AVS_X_NOT, at), *of = negation(p);
    p->depth--;
    return x && of ? append(x, of) : NULL;
}

static avs_xnode *junction(parser *p, bool is_or)
{
    avs_xnode *x = is_or ? junction(p, false) : negation(p);
    while (x && is(p, is_or ? "or" : "and")) {
        size_t at = p->at;
        advance(p);
        x = binary(p, is_or ? AVS_X_OR : AVS_X_AND, at, x, is_or ? junction(p, false) : negation(p));
    }
    return x;
}

static avs_xnode *expression(parser *p)
{
    if (++p->depth > MAX_DEPTH) return fail(p, p->at, "nested deeper than %d", MAX_DEPTH);
    avs_xnode *x = junction(p, true);
    size_t at = p->at;
    if (x && eat(p, "if")) {
        avs_xnode *choice = make(p, AVS_X_IF, at), *cond = junction(p, true);
        if (!cond || !choice) return NULL;
        if (!eat(p, "else")) return expected(p, "'else'");
        avs_xnode *other = expression(p);
        if (!other || !append(choice, cond) || !append(choice, x) || !append(choice, other)) return NULL;
        x = choice;
    }
    p->depth--;
    return x;
}

avs_expr *avs_expr_parse(avs_arena *a, const char *text, avs_expr_error *e)
{
    *e = (avs_expr_error){0};
    parser p = {.a = a, .text = text, .e = e};
    avs_expr *x = AVS_NEW(a, avs_expr);
    const char *copy = avs_arena_str(a, text);
    if (!x || !copy) {
        (void)fail(&p, 0, "no memory");
        return NULL;
    }
    if (strlen(text) > MAX_TEXT) {
        (void)fail(&p, 0, "an expression of more than %d bytes", MAX_TEXT);
        return NULL;
    }
    advance(&p);
    x->text = copy;
    x->root = expression(&p);
    if (x->root && p.tok != T_END) (void)expected(&p, "an operator or the end");
    return x->root && !e->msg[0] ? x : NULL;
}

const char *avs_expr_text(const avs_expr *x)
{
    return x->text;
}
