/* Reverse-mode differentiation as a graph transformation.
 *
 * Nodes lie in topological order, so one sweep from the last to the first sees every consumer of a value before its
 * producer. Gradients are kept per value and added when a second one arrives. A view collects its own gradient, which
 * is put into the gradient of the viewed value just before that one is used: reshapes stay free and a slice that is
 * used n times is padded once. */
#include "engine/graph/graph.h"

#include <string.h>

#include "engine/graph/ops.h"

typedef struct {
    avs_graph *g;
    uint32_t n_v, n_node; /* of the forward */
    avs_val *grad;        /* per value; 0 = none arrived */
    uint8_t *need;        /* per value: leads back to something trainable */
    avs_val *first_view, *next_view;
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

/* The whole gradient of a value that is not a view: its own and that of its views. */
static avs_val gather(diff *d, avs_val v)
{
    avs_graph *g = d->g;
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
    if (!d.grad || !d.need || !d.first_view || !d.next_view) {
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
