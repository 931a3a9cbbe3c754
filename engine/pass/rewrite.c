/* Small edits on the index tables. Passes keep node order topological: a fused node stands where its last part stood. */
#include "engine/pass/rewrite.h"

#include <string.h>

bool avs_is_kept(const avs_graph *g, avs_val y)
{
    for (uint32_t i = 0; i < g->n_output; i++)
        if (avs_root(g, g->output[i].val) == y) return true;
    for (uint32_t i = 0; i < g->n_update; i++)
        if (avs_root(g, g->update[i].value) == y) return true;
    return false;
}

int avs_uses_find(const avs_graph *g, avs_uses *u, avs_err *e)
{
    u->n_read = AVS_NEW_N(g->arena, uint32_t, g->n_v);
    if (!u->n_read) return avs_fail(e, AVS_ENOMEM, "no memory for a table of readers");
    for (uint32_t i = 1; i < g->n_node; i++) {
        for (int k = 0; k < g->node[i].n_in; k++) {
            avs_val r = avs_root(g, g->node[i].in[k]);
            if (r) u->n_read[r]++;
        }
    }
    for (uint32_t i = 0; i < g->n_output; i++) u->n_read[avs_root(g, g->output[i].val)] += 2;
    for (uint32_t i = 0; i < g->n_update; i++) u->n_read[avs_root(g, g->update[i].value)] += 2;
    return AVS_OK;
}

uint32_t avs_sole_producer(const avs_graph *g, const avs_uses *u, avs_val v, int op)
{
    avs_val r = avs_root(g, v);
    if (!r || g->v[r].kind != AVS_V_TMP || g->v[r].out != 0 || u->n_read[r] != 1) return 0;
    if (avs_type_count(avs_t(g, v)) != avs_type_count(avs_t(g, r))) return 0;
    return g->node[g->v[r].node].op == op ? g->v[r].node : 0;
}

avs_val avs_as(avs_graph *g, avs_val v, const avs_type *t)
{
    return v && !avs_type_same_shape(avs_t(g, v), t) ? avs_graph_view(g, v, *t, 0) : v;
}

void avs_make_view(avs_graph *g, avs_val y, avs_val z)
{
    for (avs_val v = 1; v < g->n_v; v++)
        if (g->v[v].view_of == y) g->v[v].view_of = z;
    g->v[y].view_of = z;
    g->v[y].view_off = 0;
    g->v[y].node = 0;
    g->v[y].out = 0;
}

bool avs_ew_is_simple(const avs_graph *g, uint32_t node, avs_ew_simple *out)
{
    const avs_node *n = &g->node[node];
    const avs_ew_attr *p = n->attr;
    if (n->op != AVS_OP_EW || p->n != 2 || p->instr[0].src != AVS_EW_STREAM) return false;
    const avs_ew_instr *last = &p->instr[1];
    *out = (avs_ew_simple){.code = last->code, .a = n->in[p->instr[0].arg]};
    out->is_unary = last->code >= AVS_EW_NEG && last->code <= AVS_EW_ABS;
    if (out->is_unary) return true;
    if (last->code == AVS_EW_SAVE || last->code == AVS_EW_LOAD || last->src != AVS_EW_STREAM) return false;
    out->b = n->in[last->arg];
    return true;
}

void avs_drop_node(avs_graph *g, uint32_t node)
{
    avs_node *n = &g->node[node];
    for (int k = 0; k < n->n_out; k++)
        if (n->out[k] && g->v[n->out[k]].node == node) g->v[n->out[k]].kind = AVS_V_NONE;
    *n = (avs_node){.op = AVS_OP_NONE};
}

void avs_compact(avs_graph *g)
{
    uint32_t n = 1;
    for (uint32_t i = 1; i < g->n_node; i++) {
        if (g->node[i].op == AVS_OP_NONE) continue;
        g->node[n] = g->node[i];
        for (int k = 0; k < g->node[n].n_out; k++)
            if (g->node[n].out[k]) g->v[g->node[n].out[k]].node = n;
        n++;
    }
    g->n_node = n;
}

typedef struct {
    avs_graph *g;
    const avs_node *old;
    uint32_t *moved; /* new index of each old node; 0: not yet */
    uint32_t n;
} sorter;

/* Depth is small: nearly all producers stand earlier and are placed already. */
static void place(sorter *s, uint32_t i)
{
    if (s->moved[i]) return;
    const avs_node *n = &s->old[i];
    s->moved[i] = UINT32_MAX; /* graphs have no cycles; this guards the recursion */
    for (int k = 0; k < n->n_in; k++) {
        avs_val r = avs_root(s->g, n->in[k]);
        if (r && s->g->v[r].kind == AVS_V_TMP) place(s, s->g->v[r].node);
    }
    s->g->node[s->n] = *n;
    s->moved[i] = s->n++;
}

int avs_sort_nodes(avs_graph *g, avs_err *e)
{
    avs_compact(g);
    avs_arena *a = avs_arena_new();
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory to sort nodes");
    int rc = AVS_OK;
    sorter s = {.g = g, .n = 1};
    s.old = avs_arena_dup(a, g->node, sizeof *g->node * g->n_node);
    s.moved = AVS_NEW_N(a, uint32_t, g->n_node);
    if (s.old && s.moved) {
        for (uint32_t i = 1; i < g->n_node; i++) place(&s, i);
        avs_compact(g);
    } else {
        rc = avs_fail(e, AVS_ENOMEM, "no memory to sort nodes");
    }
    avs_arena_free(a);
    return rc;
}

void *avs_new_attr(avs_graph *g, const void *attr, size_t n, avs_err *e)
{
    void *p = avs_arena_dup(g->arena, attr, n);
    if (!p) avs_fail(e, AVS_ENOMEM, "no memory for attributes");
    return p;
}
