/* Common subexpressions: equal constants, equal views and equal nodes become one, in one forward sweep. DROPOUT is no
 * exception: its mask is a function of its attributes. */
#include "engine/pass/rewrite.h"

#include <string.h>
#include "base/hash.h"

typedef struct {
    avs_graph *g;
    avs_val *map;        /* what each value became */
    avs_val *first_view; /* per root: canonical views, linked */
    avs_val *next_view;
    uint64_t *hash; /* per node */
} cse;

static bool same_type(const avs_type *a, const avs_type *b)
{
    return a->dtype == b->dtype && avs_type_same_shape(a, b);
}

/* The value that stands for v. */
static avs_val canonical(cse *c, avs_val v)
{
    avs_graph *g = c->g;
    if (!v || c->map[v] != v || !g->v[v].view_of) return v ? c->map[v] : 0;
    avs_val root = c->map[g->v[v].view_of];
    g->v[v].view_of = root;
    for (avs_val w = c->first_view[root]; w; w = c->next_view[w]) {
        if (w == v) return v;
        if (g->v[w].view_off == g->v[v].view_off && same_type(avs_t(g, w), avs_t(g, v))) return c->map[v] = w;
    }
    c->next_view[v] = c->first_view[root];
    c->first_view[root] = v;
    return v;
}

static void merge_constants(cse *c)
{
    avs_graph *g = c->g;
    for (avs_val v = 1; v < g->n_v; v++) {
        if (g->v[v].kind != AVS_V_CONST) continue;
        size_t bytes = (size_t)avs_type_count(&g->v[v].type) * avs_dtype_size((avs_dtype)g->v[v].type.dtype);
        for (avs_val w = 1; w < v && c->map[v] == v; w++)
            if (g->v[w].kind == AVS_V_CONST && same_type(&g->v[w].type, &g->v[v].type) &&
                !memcmp(g->v[w].data, g->v[v].data, bytes))
                c->map[v] = w;
    }
}

static bool same_node(const avs_node *a, const avs_node *b)
{
    return a->op == b->op && a->n_in == b->n_in && !memcmp(a->in, b->in, sizeof a->in) &&
           !memcmp(a->attr, b->attr, avs_op_rules[a->op].attr_size);
}

static void merge_nodes(cse *c)
{
    avs_graph *g = c->g;
    for (uint32_t i = 1; i < g->n_node; i++) {
        avs_node *n = &g->node[i];
        for (int k = 0; k < n->n_in; k++) n->in[k] = canonical(c, n->in[k]);
        c->hash[i] = avs_fnv1a64(n->in, sizeof n->in) ^
                     (avs_fnv1a64(n->attr, avs_op_rules[n->op].attr_size) * 3) ^ n->op;
        for (uint32_t j = 1; j < i; j++) {
            if (c->hash[j] != c->hash[i] || !same_node(&g->node[j], n)) continue;
            for (int k = 0; k < n->n_out; k++) c->map[n->out[k]] = g->node[j].out[k];
            c->hash[i] = 0;
            n->op = AVS_OP_NONE;
            break;
        }
    }
}

int avs_pass_cse(avs_graph *g, avs_err *e)
{
    cse c = {.g = g,
             .map = AVS_NEW_N(g->arena, avs_val, g->n_v),
             .first_view = AVS_NEW_N(g->arena, avs_val, g->n_v),
             .next_view = AVS_NEW_N(g->arena, avs_val, g->n_v),
             .hash = AVS_NEW_N(g->arena, uint64_t, g->n_node)};
    if (!c.map || !c.first_view || !c.next_view || !c.hash)
        return avs_fail(e, AVS_ENOMEM, "no memory for the tables of cse");
    for (avs_val v = 1; v < g->n_v; v++) c.map[v] = v;
    merge_constants(&c);
    merge_nodes(&c);
    for (avs_val v = 1; v < g->n_v; v++) canonical(&c, v);
    for (uint32_t i = 0; i < g->n_output; i++) g->output[i].val = canonical(&c, g->output[i].val);
    for (uint32_t i = 0; i < g->n_update; i++) g->update[i].value = canonical(&c, g->update[i].value);
    for (uint32_t i = 1; i < g->n_node; i++)
        if (g->node[i].op == AVS_OP_NONE) avs_drop_node(g, i);
    avs_compact(g);
    return AVS_OK;
}
