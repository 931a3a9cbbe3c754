/* Evaluation of expressions: integers stay exact (overflow is an error), nothing is converted silently. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "sweeps/expr_tree.h"

typedef struct {
    avs_arena *a;
    avs_expr_lookup get;
    void *ctx;
    avs_expr_error *e;
} run;

static void complain(run *r, const avs_xnode *x, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void complain(run *r, const avs_xnode *x, const char *fmt, ...)
{
    va_list ap;
    r->e->offset = x->offset;
    va_start(ap, fmt);
    if (vsnprintf(r->e->msg, sizeof r->e->msg, fmt, ap) < 0) r->e->msg[0] = '?';
    va_end(ap);
}
/* False, after the complaint. */
#define fail(...) (complain(__VA_ARGS__), false)

static const char *kind_name(const avs_json *v)
{
    static const char *const names[] = {"null",     "true or false", "a number", "a number",
                                        "a string", "a list",        "a map"};
    return names[v->kind];
}

static bool is_num(const avs_json *v)
{
    return v->kind == AVS_J_INT || v->kind == AVS_J_FLOAT;
}

static bool eval(run *r, const avs_xnode *x, avs_json *out);

static bool set_int(avs_json *out, int64_t v)
{
    *out = (avs_json){.kind = AVS_J_INT, .i = v, .d = (double)v};
    return true;
}

static bool set_num(run *r, const avs_xnode *x, avs_json *out, double v)
{
    if (!isfinite(v)) return fail(r, x, "the result is no finite number");
    *out = (avs_json){.kind = AVS_J_FLOAT, .d = v};
    return true;
}

static bool set_bool(avs_json *out, bool v)
{
    *out = (avs_json){.kind = AVS_J_BOOL, .b = v};
    return true;
}

static bool truth(run *r, const avs_xnode *x, bool *out)
{
    avs_json v;
    if (!eval(r, x, &v)) return false;
    if (v.kind != AVS_J_BOOL) return fail(r, x, "true or false is expected, found %s", kind_name(&v));
    *out = v.b;
    return true;
}

static bool arithmetic(run *r, const avs_xnode *x, avs_json *out)
{
    avs_json l, m;
    if (!eval(r, x->first, &l) || !eval(r, x->first->next, &m)) return false;
    if (!is_num(&l) || !is_num(&m))
        return fail(r, x, "numbers are expected, found %s and %s", kind_name(&l), kind_name(&m));
    bool both_int = l.kind == AVS_J_INT && m.kind == AVS_J_INT, over = false;
    bool divides = x->op == AVS_X_DIV || x->op == AVS_X_MOD;
    if (divides && (m.d == 0.0)) return fail(r, x, "division by zero");
    int64_t v = 0;
    if (both_int && x->op != AVS_X_DIV) {
        switch (x->op) {
        case AVS_X_ADD:
            over = __builtin_add_overflow(l.i, m.i, &v);
            break;
        case AVS_X_SUB:
            over = __builtin_sub_overflow(l.i, m.i, &v);
            break;
        case AVS_X_MUL:
            over = __builtin_mul_overflow(l.i, m.i, &v);
            break;
        default:
            v = m.i == -1 ? 0 : l.i % m.i;
            if (v && (v < 0) != (m.i < 0)) v += m.i;
        }
        return over ? fail(r, x, "the whole number does not fit 64 bits") : set_int(out, v);
    }
    double d = 0;
    switch (x->op) {
    case AVS_X_ADD:
        d = l.d + m.d;
        break;
    case AVS_X_SUB:
        d = l.d - m.d;
        break;
    case AVS_X_MUL:
        d = l.d * m.d;
        break;
    case AVS_X_DIV:
        d = l.d / m.d;
        break;
    default:
        d = fmod(l.d, m.d);
        if (d != 0.0 && (d < 0) != (m.d < 0)) d += m.d;
    }
    return set_num(r, x, out, d);
}

/* -1, 0, 1; ints compare exactly. */
static int order(const avs_json *l, const avs_json *m)
{
    if (l->kind == AVS_J_STR) {
        int c = strcmp(l->s, m->s);
        return (c > 0) - (c < 0);
    }
    if (l->kind == AVS_J_INT && m->kind == AVS_J_INT) return (l->i > m->i) - (l->i < m->i);
    return (l->d > m->d) - (l->d < m->d);
}

static bool comparable(const avs_json *l, const avs_json *m)
{
    return (is_num(l) && is_num(m)) || l->kind == m->kind || l->kind == AVS_J_NULL || m->kind == AVS_J_NULL;
}

bool avs_value_equal(const avs_json *x, const avs_json *y)
{
    if (is_num(x) && is_num(y)) return order(x, y) == 0;
    if (x->kind != y->kind) return false;
    switch (x->kind) {
    case AVS_J_NULL:
        return true;
    case AVS_J_BOOL:
        return x->b == y->b;
    case AVS_J_STR:
        return strcmp(x->s, y->s) == 0;
    case AVS_J_ARR: {
        const avs_json *p = x->first, *q = y->first;
        for (; p && q; p = p->next, q = q->next)
            if (!avs_value_equal(p, q)) return false;
        return !p && !q;
    }
    default:
        return false;
    }
}

static bool compare(run *r, const avs_xnode *x, avs_json *out)
{
    avs_json l, m;
    if (!eval(r, x->first, &l) || !eval(r, x->first->next, &m)) return false;
    bool ordered = x->op >= AVS_X_LT && x->op <= AVS_X_GE;
    if (!comparable(&l, &m) || (ordered && (!(is_num(&l) || l.kind == AVS_J_STR) || m.kind == AVS_J_NULL)))
        return fail(r, x, "%s cannot be compared with %s", kind_name(&l), kind_name(&m));
    if (x->op == AVS_X_EQ || x->op == AVS_X_NE)
        return set_bool(out, avs_value_equal(&l, &m) == (x->op == AVS_X_EQ));
    int c = order(&l, &m);
    return set_bool(out, x->op == AVS_X_LT   ? c < 0
                         : x->op == AVS_X_LE ? c <= 0
                         : x->op == AVS_X_GT ? c > 0
                                             : c >= 0);
}

static bool contains(run *r, const avs_xnode *x, avs_json *out)
{
    avs_json l, m;
    bool found = false;
    if (!eval(r, x->first, &l) || !eval(r, x->first->next, &m)) return false;
    if (m.kind != AVS_J_ARR) return fail(r, x, "'in' wants a list on its right, found %s", kind_name(&m));
    for (const avs_json *v = m.first; v; v = v->next) {
        if (!comparable(&l, v))
            return fail(r, x, "%s cannot be compared with %s", kind_name(&l), kind_name(v));
        found |= avs_value_equal(&l, v);
    }
    return set_bool(out, found == (x->op == AVS_X_IN));
}

static bool extreme(run *r, const avs_xnode *x, avs_json *out)
{
    bool first = true;
    for (const avs_xnode *c = x->first; c; c = c->next) {
        avs_json v;
        if (!eval(r, c, &v)) return false;
        if (!is_num(&v)) return fail(r, c, "a number is expected, found %s", kind_name(&v));
        if (first || (x->op == AVS_X_MIN ? order(&v, out) < 0 : order(&v, out) > 0)) *out = v;
        first = false;
    }
    return true;
}

static bool nearest(run *r, const avs_xnode *x, avs_json *out)
{
    avs_json v;
    if (!eval(r, x->first, &v)) return false;
    if (!is_num(&v)) return fail(r, x->first, "a number is expected, found %s", kind_name(&v));
    if (v.kind == AVS_J_INT) return set_int(out, v.i);
    double d = round(v.d);
    if (!(fabs(d) < 9e15)) return fail(r, x, "the whole number does not fit 64 bits");
    return set_int(out, (int64_t)d);
}

static bool list(run *r, const avs_xnode *x, avs_json *out)
{
    *out = (avs_json){.kind = AVS_J_ARR};
    for (const avs_xnode *c = x->first; c; c = c->next) {
        avs_json v, *item = avs_json_new(r->a, AVS_J_NULL);
        if (!eval(r, c, &v)) return false;
        if (!item) return fail(r, x, "no memory");
        *item = v;
        if (!avs_json_add(r->a, out, NULL, item)) return fail(r, x, "no memory");
    }
    return true;
}

static bool name(run *r, const avs_xnode *x, avs_json *out)
{
    const avs_json *v = r->get ? r->get(r->ctx, x->name) : NULL;
    if (!v) return fail(r, x, "'%.60s' is not set here; defined(%.60s) asks whether it is", x->name, x->name);
    *out = *v;
    out->key = NULL;
    out->next = NULL;
    return true;
}

static bool eval(run *r, const avs_xnode *x, avs_json *out)
{
    *out = (avs_json){.kind = AVS_J_NULL};
    bool b = false;
    switch (x->op) {
    case AVS_X_CONST:
        *out = x->value;
        return true;
    case AVS_X_NAME:
        return name(r, x, out);
    case AVS_X_LIST:
        return list(r, x, out);
    case AVS_X_DEFINED:
        return set_bool(out, r->get && r->get(r->ctx, x->name));
    case AVS_X_MIN:
    case AVS_X_MAX:
        return extreme(r, x, out);
    case AVS_X_ROUND:
        return nearest(r, x, out);
    case AVS_X_NEG:
        if (!eval(r, x->first, out)) return false;
        if (out->kind == AVS_J_INT)
            return out->i == INT64_MIN ? fail(r, x, "the whole number does not fit 64 bits")
                                       : set_int(out, -out->i);
        if (out->kind == AVS_J_FLOAT) return set_num(r, x, out, -out->d);
        return fail(r, x, "a number is expected, found %s", kind_name(out));
    case AVS_X_NOT:
        return truth(r, x->first, &b) && set_bool(out, !b);
    case AVS_X_AND:
    case AVS_X_OR:
        if (!truth(r, x->first, &b)) return false;
        if (b == (x->op == AVS_X_OR)) return set_bool(out, b);
        return truth(r, x->first->next, &b) && set_bool(out, b);
    case AVS_X_IF:
        if (!truth(r, x->first, &b)) return false;
        return eval(r, b ? x->first->next : x->first->next->next, out);
    case AVS_X_IN:
    case AVS_X_NOT_IN:
        return contains(r, x, out);
    case AVS_X_EQ:
    case AVS_X_NE:
    case AVS_X_LT:
    case AVS_X_LE:
    case AVS_X_GT:
    case AVS_X_GE:
        return compare(r, x, out);
    default:
        return arithmetic(r, x, out);
    }
}

int avs_expr_eval(const avs_expr *x, avs_arena *a, avs_expr_lookup get, void *ctx, avs_json *out,
                  avs_expr_error *e)
{
    run r = {a, get, ctx, e};
    *e = (avs_expr_error){0};
    *out = (avs_json){.kind = AVS_J_NULL};
    return eval(&r, x->root, out) ? AVS_OK : AVS_EPARSE;
}
