/* Reverse-mode differentiation as a graph transformation.
 *
 * Nodes lie in topological order, so one sweep from the last to the first sees every consumer of a value before its
 * producer. Gradients are kept per value and added when a second one arrives. A view collects its own gradient, which
 * is put into the gradient of the viewed value just before that one is used: reshapes stay free and a slice that is
 * used n times is padded once. Slices that tile a value (the three parts of a projection) are concatenated instead.
 * That of a parameter is put together right behind the last node that adds to it, so that the parts need not wait. */
#include "engine/graph/graph.h"

#include <string.h>

#include "engine/graph/ops.h"

typedef struct {
    avs_graph *g;
    uint32_t n_v, n_node; /* of the forward */
    avs_val *grad;        /* per value; 0 = none arrived */
    uint8_t *need;        /* per value: leads back to something trainable */
    avs_val *first_view, *next_view;
    uint32_t
        *first_use; /* per value that is no view: the first node that reads it or a view of it; 0: none */
} diff;

static void mark_needed(diff *d)
{
    const avs_graph *g = d->g;
    for (uint32_t i = 1; i < d->n_v; i++) {
        const avs_value *v = &g->v[i];
        bool need = false;
        if (v->kind == AVS_V_PARAM)
            need = !v->is_frozen;
        else if (v->kind == AVS_V_INPUT)
            need = v->want_grad;
        else if (v->view_of)
            need = d->need[v->view_of];
        else if (v->kind == AVS_V_TMP)
            for (int k = 0; k < g->node[v->node].n_in; k++) need = need || d->need[g->node[v->node].in[k]];
        d->need[i] = need && v->type.dtype == AVS_F32;
    }
    for (uint32_t i = d->n_node; i-- > 1;) {
        for (int k = 0; k < g->node[i].n_in; k++) {
            const avs_val v = g->node[i].in[k];
            d->first_use[g->v[v].view_of ? g->v[v].view_of : v] = i;
        }
    }
    for (uint32_t i = d->n_v; i-- > 1;) {
        avs_val base = g->v[i].view_of;
        if (!base) continue;
        d->next_view[i] = d->first_view[base];
        d->first_view[base] = i;
    }
}

static void add_grad(diff *d, avs_val v, avs_val grad)
{
    if (!grad) return;
    if (!avs_type_same_shape(avs_t(d->g, v), avs_t(d->g, grad))) {
        char a[64], b[64];
        avs_graph_fail(d->g, AVS_ESHAPE, "the gradient of a value %s came out as %s",
                       avs_type_text(avs_t(d->g, v), a, sizeof(a)),
                       avs_type_text(avs_t(d->g, grad), b, sizeof(b)));
        return;
    }
    d->grad[v] = d->grad[v] ? avs_add(d->g, d->grad[v], grad) : grad;
}

/* Where the views that have gradients tile all of v, which has none of its own: the gradients side by side. */
static void join_tiles(diff *d, avs_val v)
{
    avs_graph *g = d->g;
    avs_val w[AVS_MAX_IN], part[AVS_MAX_IN];
    int n = 0;
    int64_t end = 0;
    for (avs_val x = d->first_view[v]; x; x = d->next_view[x]) {
        if (!d->grad[x]) continue;
        if (n == AVS_MAX_IN) return;
        int at = n++;
        for (; at > 0 && g->v[w[at - 1]].view_off > g->v[x].view_off; at--) w[at] = w[at - 1];
        w[at] = x;
    }
    for (int i = 0; i < n; i++) {
        const int64_t count = avs_type_count(avs_t(g, w[i]));
        if (g->v[w[i]].view_off != end) return;
        part[i] = avs_reshape(g, d->grad[w[i]], AVS_F32T(count));
        end += count;
    }
    if (n < 2 || d->grad[v] || end != avs_type_count(avs_t(g, v))) return;
    for (int i = 0; i < n; i++) d->grad[w[i]] = 0;
    add_grad(d, v, avs_reshape(g, avs_concat(g, part, n, 0), *avs_t(g, v)));
}

/* The whole gradient of a value that is not a view: its own and that of its views. */
static avs_val gather(diff *d, avs_val v)
{
    avs_graph *g = d->g;
    join_tiles(d, v);
    for (avs_val w = d->first_view[v]; w; w = d->next_view[w]) {
        if (!d->grad[w]) continue;
        int64_t n = avs_type_count(avs_t(g, w)), all = avs_type_count(avs_t(g, v)), off = g->v[w].view_off;
        avs_val gw = d->grad[w];
        if (n != all) gw = avs_pad(g, avs_reshape(g, gw, AVS_F32T(n)), 0, (int)off, (int)(all - off - n));
        add_grad(d, v, avs_reshape(g, gw, *avs_t(g, v)));
        d->grad[w] = 0;
    }
    return d->grad[v];
}

static void through_node(diff *d, uint32_t at)
{
    avs_graph *g = d->g;
    const avs_node n = g->node[at];
    avs_val gout[AVS_MAX_OUT] = {0}, gin[AVS_MAX_IN] = {0};
    bool need[AVS_MAX_IN] = {false}, any = false, reached = false;
    for (int i = 0; i < n.n_in; i++) any |= need[i] = n.in[i] && d->need[n.in[i]];
    if (!any) return;
    g->scope = n.scope;
    for (int i = 0; i < n.n_out; i++) reached |= (gout[i] = gather(d, n.out[i])) != 0;
    if (!reached) return;
    if (!avs_op_rules[n.op].vjp) {
        avs_graph_fail(g, AVS_ERANGE, "%s (node %u) cannot be differentiated", avs_op_rules[n.op].name, at);
        return;
    }
    avs_op_rules[n.op].vjp(g, at, gout, need, gin);
    for (int i = 0; i < n.n_in; i++)
        if (need[i]) add_grad(d, n.in[i], gin[i]);
    for (int i = 0; i < n.n_in; i++) {
        const avs_val v = n.in[i] && g->v[n.in[i]].view_of ? g->v[n.in[i]].view_of : n.in[i];
        if (need[i] && g->v[v].kind == AVS_V_PARAM && d->first_use[v] == at) gather(d, v);
    }
}

static void name_outputs(diff *d)
{
    avs_graph *g = d->g;
    for (uint32_t i = 1; i < d->n_v && g->err.code == AVS_OK; i++) {
        const avs_value v = g->v[i];
        if (!d->need[i] || (v.kind != AVS_V_PARAM && v.kind != AVS_V_INPUT)) continue;
        avs_val grad = gather(d, i);
        if (!grad) continue;
        const char *name = avs_arena_fmt(g->arena, "grad:%s", v.name);
        if (name)
            avs_graph_output(g, name, grad);
        else
            avs_graph_fail(g, AVS_ENOMEM, "no memory for the gradient of %s", v.name);
    }
}

int avs_backward(avs_graph *g, avs_val loss)
{
    const char *scope = g->scope;
    float one = 1;
    diff d = {.g = g, .n_v = g->n_v, .n_node = g->n_node};
    if (g->err.code != AVS_OK) return (int)g->err.code;
    if (!loss || avs_type_count(avs_t(g, loss)) != 1 || avs_t(g, loss)->dtype != AVS_F32) {
        char t[64];
        avs_graph_fail(g, AVS_ESHAPE, "avs_backward wants one f32 element, the loss is %s",
                       avs_type_text(avs_t(g, loss), t, sizeof(t)));
        return (int)g->err.code;
    }
    d.grad = AVS_NEW_N(g->arena, avs_val, d.n_v);
    d.need = AVS_NEW_N(g->arena, uint8_t, d.n_v);
    d.first_view = AVS_NEW_N(g->arena, avs_val, d.n_v);
    d.next_view = AVS_NEW_N(g->arena, avs_val, d.n_v);
    d.first_use = AVS_NEW_N(g->arena, uint32_t, d.n_v);
    if (!d.grad || !d.need || !d.first_view || !d.next_view || !d.first_use) {
        avs_graph_fail(g, AVS_ENOMEM, "no memory for the backward of %u values", d.n_v);
        return (int)g->err.code;
    }
    mark_needed(&d);
    if (!g->first_grad) g->first_grad = g->n_v;
    if (d.need[loss]) d.grad[loss] = avs_const(g, *avs_t(g, loss), &one);
    for (uint32_t i = d.n_node; i-- > 1 && g->err.code == AVS_OK;) through_node(&d, i);
    g->scope = scope;
    name_outputs(&d);
    return (int)g->err.code;
}
