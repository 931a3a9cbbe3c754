/* The graph container: values, nodes, names, scopes, freezing, cloning.
 *
 * All tables grow by copying inside the graph's arena. The old copy stays readable, so a pointer to a type or a node
 * that a builder took before it appended something still shows the same contents. */
#include "engine/graph/graph.h"

#include <string.h>

#include "engine/graph/ops.h"

/* ---------------------------------------------------------------- storage */

/* Room for one more element; NULL (and the graph's error) when memory is out. */
static void *grown(avs_graph *g, void *old, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap) return old;
    uint32_t more = *cap ? *cap * 2 : 16;
    void *p = avs_arena_alloc(g->arena, (size_t)more * size);
    if (!p) {
        avs_graph_fail(g, AVS_ENOMEM, "no memory for %u entries of %zu bytes", more, size);
        return NULL;
    }
    if (n) memcpy(p, old, (size_t)n * size);
    *cap = more;
    return p;
}

avs_graph *avs_graph_new(avs_arena *a, bool training)
{
    avs_graph *g = AVS_NEW(a, avs_graph);
    if (!g) return NULL;
    *g = (avs_graph){.arena = a, .scope = "", .training = training, .cap_v = 64, .cap_node = 64};
    g->v = AVS_NEW_N(a, avs_value, g->cap_v);
    g->node = AVS_NEW_N(a, avs_node, g->cap_node);
    if (!g->v || !g->node) return NULL;
    g->n_v = g->n_node = 1;
    return g;
}

int avs_graph_check(const avs_graph *g, avs_err *e)
{
    if (g->err.code == AVS_OK) return AVS_OK;
    if (e) *e = g->err;
    return (int)g->err.code;
}

avs_val avs_graph_fail(avs_graph *g, avs_code code, const char *fmt, ...)
{
    if (g->err.code != AVS_OK) return 0;
    va_list ap;
    va_start(ap, fmt);
    char text[sizeof(g->err.msg)];
    if (vsnprintf(text, sizeof(text), fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    if (g->scope[0])
        avs_fail(&g->err, code, "in '%s': %s", g->scope, text);
    else
        avs_fail(&g->err, code, "%s", text);
    return 0;
}

static avs_val new_value(avs_graph *g, avs_value v)
{
    avs_value *table = grown(g, g->v, g->n_v, &g->cap_v, sizeof(*g->v));
    if (!table) return 0;
    g->v = table;
    v.scope = g->scope;
    g->v[g->n_v] = v;
    return g->n_v++;
}

static bool is_type_ok(const avs_type *t)
{
    if (t->rank > AVS_MAX_RANK || t->dtype > AVS_F64) return false;
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) {
        if (t->d[i] < 1 || n > INT64_MAX / 16 / t->d[i]) return false;
        n *= t->d[i];
    }
    return true;
}

const avs_type *avs_t(const avs_graph *g, avs_val v)
{
    static const avs_type none = {.d = {1, 1, 1, 1, 1}};
    return v && v < g->n_v ? &g->v[v].type : &none;
}

/* ---------------------------------------------------------------- named values */

static const char *scoped(avs_graph *g, const char *name)
{
    const char *s =
        g->scope[0] ? avs_arena_fmt(g->arena, "%s.%s", g->scope, name) : avs_arena_str(g->arena, name);
    if (!s) avs_graph_fail(g, AVS_ENOMEM, "no memory for the name '%s'", name);
    return s;
}

avs_val avs_graph_find(const avs_graph *g, const char *key)
{
    for (uint32_t i = 1; i < g->n_v; i++) {
        avs_vkind k = g->v[i].kind;
        if ((k == AVS_V_PARAM || k == AVS_V_BUFFER || k == AVS_V_INPUT) && strcmp(g->v[i].name, key) == 0)
            return i;
    }
    return 0;
}

static bool has_prefix(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static avs_val named(avs_graph *g, const char *name, avs_vkind kind, avs_type t, avs_init init)
{
    static const char *const kinds[] = {"", "parameter", "buffer", "input", "constant", "value"};
    char want[64], have[64];
    if (g->err.code != AVS_OK || !name) return 0;
    if (!is_type_ok(&t))
        return avs_graph_fail(g, AVS_ESHAPE, "%s %s: %s is not a type with positive extents", kinds[kind],
                              name, avs_type_text(&t, want, sizeof(want)));
    avs_val old = avs_graph_find(g, name);
    if (old) {
        const avs_value *v = &g->v[old];
        if (v->kind != kind || v->type.dtype != t.dtype || !avs_type_same_shape(&v->type, &t))
            return avs_graph_fail(g, AVS_ESHAPE, "%s %s %s was made before as %s %s", kinds[kind], name,
                                  avs_type_text(&t, want, sizeof(want)), kinds[v->kind],
                                  avs_type_text(&v->type, have, sizeof(have)));
        return old;
    }
    avs_value v = {.type = t, .kind = kind, .name = name, .init = init};
    for (uint32_t i = 0; kind == AVS_V_PARAM && i < g->n_frozen; i++)
        if (has_prefix(name, g->frozen[i])) v.is_frozen = 1;
    return new_value(g, v);
}

avs_val avs_param(avs_graph *g, const char *key, avs_type t, avs_init init)
{
    return named(g, scoped(g, key), AVS_V_PARAM, t, init);
}

avs_val avs_buffer(avs_graph *g, const char *key, avs_type t, avs_init init)
{
    return named(g, scoped(g, key), AVS_V_BUFFER, t, init);
}

avs_val avs_input(avs_graph *g, const char *name, avs_type t)
{
    const char *s = avs_arena_str(g->arena, name);
    if (!s) return avs_graph_fail(g, AVS_ENOMEM, "no memory for the name '%s'", name);
    return named(g, s, AVS_V_INPUT, t, (avs_init){AVS_INIT_ZERO, 0, 0, 0});
}

avs_val avs_const(avs_graph *g, avs_type t, const void *data)
{
    char text[64];
    if (g->err.code != AVS_OK) return 0;
    if (!is_type_ok(&t) || (t.dtype != AVS_F32 && t.dtype != AVS_I32))
        return avs_graph_fail(g, AVS_ESHAPE, "constant: %s is neither f32 nor i32 with positive extents",
                              avs_type_text(&t, text, sizeof(text)));
    void *copy =
        avs_arena_dup(g->arena, data, (size_t)avs_type_count(&t) * avs_dtype_size((avs_dtype)t.dtype));
    if (!copy)
        return avs_graph_fail(g, AVS_ENOMEM, "no memory for a constant %s",
                              avs_type_text(&t, text, sizeof(text)));
    return new_value(g, (avs_value){.type = t, .kind = AVS_V_CONST, .data = copy});
}

avs_val avs_const_scalar(avs_graph *g, float v)
{
    return avs_const(g, AVS_F32T(1), &v);
}

/* ---------------------------------------------------------------- scopes and policies */

void avs_scope_push(avs_graph *g, const char *fmt, ...)
{
    char part[256];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(part, sizeof(part), fmt, ap) < 0) part[0] = '\0';
    va_end(ap);
    const char **outer = grown(g, g->outer, g->n_outer, &g->cap_outer, sizeof(*g->outer));
    if (!outer) return;
    g->outer = outer;
    g->outer[g->n_outer++] = g->scope;
    const char *path = part[0] ? scoped(g, part) : g->scope;
    if (path) g->scope = path;
}

void avs_scope_pop(avs_graph *g)
{
    if (g->n_outer)
        g->scope = g->outer[--g->n_outer];
    else
        avs_graph_fail(g, AVS_ERANGE, "avs_scope_pop without a scope");
}

void avs_graph_freeze(avs_graph *g, const char *prefix)
{
    const char **frozen = grown(g, g->frozen, g->n_frozen, &g->cap_frozen, sizeof(*g->frozen));
    const char *copy = avs_arena_str(g->arena, prefix);
    if (!frozen || !copy) {
        avs_graph_fail(g, AVS_ENOMEM, "no memory to freeze '%s'", prefix);
        return;
    }
    g->frozen = frozen;
    g->frozen[g->n_frozen++] = copy;
    for (uint32_t i = 1; i < g->n_v; i++)
        if (g->v[i].kind == AVS_V_PARAM && has_prefix(g->v[i].name, copy)) g->v[i].is_frozen = 1;
}

void avs_graph_want_grad(avs_graph *g, avs_val input)
{
    if (!input || g->err.code != AVS_OK) return;
    if (g->v[input].kind != AVS_V_INPUT || g->v[input].type.dtype != AVS_F32)
        avs_graph_fail(g, AVS_ERANGE, "avs_graph_want_grad: value %%%u is not an f32 input", input);
    else
        g->v[input].want_grad = 1;
}

/* ---------------------------------------------------------------- outputs, taps, updates */

int avs_graph_output(avs_graph *g, const char *name, avs_val v)
{
    if (!v)
        avs_graph_fail(g, AVS_EMISSING, "output '%s' has no value", name);
    else if (avs_graph_find_output(g, name))
        avs_graph_fail(g, AVS_ERANGE, "output '%s' is there already", name);
    if (g->err.code != AVS_OK) return (int)g->err.code;
    avs_named *table = grown(g, g->output, g->n_output, &g->cap_output, sizeof(*g->output));
    const char *copy = avs_arena_str(g->arena, name);
    if (!table || !copy) {
        avs_graph_fail(g, AVS_ENOMEM, "no memory for output '%s'", name);
        return AVS_ENOMEM;
    }
    g->output = table;
    g->output[g->n_output++] = (avs_named){copy, v};
    return AVS_OK;
}

avs_val avs_graph_find_output(const avs_graph *g, const char *name)
{
    for (uint32_t i = 0; i < g->n_output; i++)
        if (strcmp(g->output[i].name, name) == 0) return g->output[i].val;
    return 0;
}

avs_val avs_tap(avs_graph *g, const char *name, avs_val v)
{
    if (!v || g->err.code != AVS_OK) return v;
    avs_named *table = grown(g, g->tap, g->n_tap, &g->cap_tap, sizeof(*g->tap));
    const char *full = name[0] == '/' ? avs_arena_str(g->arena, name + 1) : scoped(g, name);
    if (!table || !full) return 0;
    g->tap = table;
    g->tap[g->n_tap++] = (avs_named){full, v};
    return v;
}

void avs_graph_update(avs_graph *g, avs_val buffer, avs_val value)
{
    if (!buffer || !value || g->err.code != AVS_OK) return;
    if (g->v[buffer].kind != AVS_V_BUFFER || !avs_type_same_shape(&g->v[buffer].type, &g->v[value].type)) {
        avs_graph_fail(g, AVS_ESHAPE, "avs_graph_update: value %%%u does not fit the buffer %%%u", value,
                       buffer);
        return;
    }
    for (uint32_t i = 0; i < g->n_update; i++)
        if (g->update[i].buffer == buffer) {
            g->update[i].value = value;
            return;
        }
    void *table = grown(g, g->update, g->n_update, &g->cap_update, sizeof(*g->update));
    if (!table) return;
    g->update = table;
    g->update[g->n_update].buffer = buffer;
    g->update[g->n_update++].value = value;
}

/* ---------------------------------------------------------------- nodes and views */

avs_val avs_graph_view(avs_graph *g, avs_val of, avs_type t, int64_t off)
{
    char want[64], have[64];
    if (!of || g->err.code != AVS_OK) return 0;
    const avs_value base = g->v[of];
    t.dtype = base.type.dtype;
    if (!is_type_ok(&t) || off < 0 || off + avs_type_count(&t) > avs_type_count(&base.type))
        return avs_graph_fail(g, AVS_ESHAPE, "view: %s from element %lld does not lie inside %s",
                              avs_type_text(&t, want, sizeof(want)), (long long)off,
                              avs_type_text(&base.type, have, sizeof(have)));
    if (off == 0 && avs_type_same_shape(&t, &base.type)) return of;
    avs_value v = {.type = t, .kind = AVS_V_TMP, .view_of = of, .view_off = off};
    if (base.view_of) {
        v.view_of = base.view_of;
        v.view_off += base.view_off;
    }
    const avs_type *root = &g->v[v.view_of].type;
    if (v.view_off == 0 && avs_type_same_shape(&t, root)) return v.view_of;
    return new_value(g, v);
}

/* "f32[2,3], -, f32[3]": the operands, for error texts. */
static void operands_text(const avs_type *in, int n, char *buf, size_t size)
{
    size_t used = 0;
    buf[0] = 0;
    for (int i = 0; i < n && used + 2 < size; i++) {
        char t[64];
        int k = snprintf(buf + used, size - used, "%s%s", i ? ", " : "",
                         in[i].rank == 255 ? "-" : avs_type_text(&in[i], t, sizeof(t)));
        used += k > 0 ? (size_t)k : 0;
    }
}

avs_val avs_graph_node(avs_graph *g, int op, const avs_val *in, int n_in, const void *attr, avs_val *out)
{
    const avs_op_rule *rule = &avs_op_rules[op];
    avs_type tin[AVS_MAX_IN] = {{.rank = 0}}, tout[AVS_MAX_OUT] = {{.rank = 0}};
    bool has_optional = op != AVS_OP_EW && op != AVS_OP_CONCAT;
    for (int i = 0; out && i < rule->n_out; i++) out[i] = 0;
    if (g->err.code != AVS_OK) return 0;
    while (has_optional && n_in > rule->in_min && !in[n_in - 1]) n_in--;
    if (n_in < rule->in_min || n_in > rule->in_max)
        return avs_graph_fail(g, AVS_ERANGE, "%s takes %d to %d operands, not %d", rule->name, rule->in_min,
                              rule->in_max, n_in);
    for (int i = 0; i < n_in; i++) {
        if ((i < rule->in_min || !has_optional) && !in[i])
            return avs_graph_fail(g, AVS_EMISSING, "%s: operand %d is missing", rule->name, i);
        tin[i] = *avs_t(g, in[i]);
        if (!in[i]) tin[i].rank = 255;
    }
    void *copy = avs_arena_alloc(g->arena, rule->attr_size);
    if (!copy) return avs_graph_fail(g, AVS_ENOMEM, "no memory for the attributes of %s", rule->name);
    if (attr) memcpy(copy, attr, rule->attr_size);
    avs_err e = AVS_ERR_INIT;
    int rc = rule->infer(tin, n_in, copy, tout, &e);
    for (int i = 0; rc == AVS_OK && i < rule->n_out; i++)
        if (!is_type_ok(&tout[i])) rc = avs_fail(&e, AVS_ESHAPE, "output %d has no positive extents", i);
    if (rc != AVS_OK) {
        char text[280];
        operands_text(tin, n_in, text, sizeof(text));
        return avs_graph_fail(g, (avs_code)rc, "%s(%s): %s", rule->name, text, e.msg);
    }
    avs_node *table = grown(g, g->node, g->n_node, &g->cap_node, sizeof(*g->node));
    if (!table) return 0;
    g->node = table;
    avs_node n = {.op = (uint16_t)op,
                  .n_in = (uint8_t)n_in,
                  .n_out = (uint8_t)rule->n_out,
                  .attr = copy,
                  .scope = g->scope};
    memcpy(n.in, in, sizeof(avs_val) * (size_t)n_in);
    for (int i = 0; i < rule->n_out; i++) {
        n.out[i] = new_value(
            g, (avs_value){.type = tout[i], .kind = AVS_V_TMP, .node = g->n_node, .out = (uint8_t)i});
        if (!n.out[i]) return 0;
        if (out) out[i] = n.out[i];
    }
    g->node[g->n_node++] = n;
    return n.out[0];
}

/* ---------------------------------------------------------------- whole graphs */

/* A copy in arena a; *ok turns false when memory is out. */
static void *copied(avs_arena *a, const void *p, size_t n, size_t size, bool *ok)
{
    if (!p) return NULL;
    void *c = avs_arena_alloc(a, n * size + 1);
    if (c)
        memcpy(c, p, n * size);
    else
        *ok = false;
    return c;
}

static const char *copied_str(avs_arena *a, const char *s, bool *ok)
{
    return s ? copied(a, s, strlen(s) + 1, 1, ok) : NULL;
}

avs_graph *avs_graph_clone(const avs_graph *g, avs_arena *a)
{
    bool ok = true;
    avs_graph *c = copied(a, g, 1, sizeof(*g), &ok);
    if (!c) return NULL;
    c->arena = a;
    c->v = copied(a, g->v, g->cap_v, sizeof(*g->v), &ok);
    c->node = copied(a, g->node, g->cap_node, sizeof(*g->node), &ok);
    c->output = copied(a, g->output, g->cap_output, sizeof(*g->output), &ok);
    c->tap = copied(a, g->tap, g->cap_tap, sizeof(*g->tap), &ok);
    c->update = copied(a, g->update, g->cap_update, sizeof(*g->update), &ok);
    c->outer = copied(a, g->outer, g->cap_outer, sizeof(*g->outer), &ok);
    c->frozen = copied(a, g->frozen, g->cap_frozen, sizeof(*g->frozen), &ok);
    c->scope = copied_str(a, g->scope, &ok);
    if (!ok) return NULL;
    for (uint32_t i = 1; i < c->n_v; i++) {
        avs_value *v = &c->v[i];
        v->name = copied_str(a, v->name, &ok);
        v->scope = copied_str(a, v->scope, &ok);
        v->data = copied(a, v->data, (size_t)avs_type_count(&v->type),
                         avs_dtype_size((avs_dtype)v->type.dtype), &ok);
    }
    for (uint32_t i = 1; i < c->n_node; i++) {
        c->node[i].attr = copied(a, g->node[i].attr, 1, avs_op_rules[g->node[i].op].attr_size, &ok);
        c->node[i].scope = copied_str(a, g->node[i].scope, &ok);
    }
    for (uint32_t i = 0; i < c->n_output; i++) c->output[i].name = copied_str(a, g->output[i].name, &ok);
    for (uint32_t i = 0; i < c->n_tap; i++) c->tap[i].name = copied_str(a, g->tap[i].name, &ok);
    for (uint32_t i = 0; i < c->n_outer; i++) c->outer[i] = copied_str(a, g->outer[i], &ok);
    for (uint32_t i = 0; i < c->n_frozen; i++) c->frozen[i] = copied_str(a, g->frozen[i], &ok);
    return ok ? c : NULL;
}

/* Values that an output needs; all of them while there is no output. NULL: no memory. Operands come before their node,
 * so one sweep from the last node back marks them all. */
static bool *live_values(const avs_graph *g)
{
    bool *live = AVS_NEW_N(g->arena, bool, g->n_v);
    for (uint32_t i = 0; live && i < g->n_v; i++) live[i] = !g->n_output;
    for (uint32_t i = 0; live && i < g->n_output; i++) live[g->output[i].val] = true;
    for (uint32_t i = g->n_v; live && i-- > 1;) {
        const avs_value *v = &g->v[i];
        if (!live[i]) continue;
        if (v->view_of) live[v->view_of] = true;
        for (int k = 0; v->node && k < g->node[v->node].n_in; k++) live[g->node[v->node].in[k]] = true;
    }
    return live;
}

static bool node_is_live(const avs_node *n, const bool *live)
{
    bool any = !live;
    for (int k = 0; k < n->n_out && !any; k++) any = live[n->out[k]];
    return any;
}

int64_t avs_graph_macs(const avs_graph *g)
{
    int64_t macs = 0;
    const bool *live = live_values(g);
    for (uint32_t i = 1; i < g->n_node; i++) {
        const avs_node *n = &g->node[i];
        if (!node_is_live(n, live)) continue;
        int64_t out = avs_type_count(avs_t(g, n->out[0]));
        if (n->op == AVS_OP_CONV2D) {
            const avs_type *w = avs_t(g, n->in[1]);
            macs += out * w->d[1] * w->d[2] * w->d[3];
        } else if (n->op == AVS_OP_CONV2D_BWD_X) { /* transposed */
            const avs_type *w = avs_t(g, n->in[1]);
            macs += avs_type_count(avs_t(g, n->in[0])) * w->d[1] * w->d[2] * w->d[3];
        } else if (n->op == AVS_OP_MATMUL) {
            const avs_matmul_attr *m = n->attr;
            const avs_type *a = avs_t(g, n->in[0]);
            int64_t rows = a->d[a->rank > 1 ? a->rank - 2 : 0], cols = a->d[a->rank - 1];
            macs += out * (m->ta ? rows : m->heads && m->a_split ? cols / m->heads : cols);
        }
    }
    return macs;
}

int64_t avs_graph_param_count(const avs_graph *g, bool trainable_only)
{
    int64_t n = 0;
    for (uint32_t i = 1; i < g->n_v; i++)
        if (g->v[i].kind == AVS_V_PARAM && !(trainable_only && g->v[i].is_frozen))
            n += avs_type_count(&g->v[i].type);
    return n;
}

int64_t avs_graph_param_used(const avs_graph *g)
{
    int64_t n = 0;
    const bool *live = live_values(g);
    for (uint32_t i = 1; i < g->n_v; i++)
        if (g->v[i].kind == AVS_V_PARAM && !g->v[i].view_of && (!live || live[i]))
            n += avs_type_count(&g->v[i].type);
    return n;
}
