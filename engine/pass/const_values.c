/* Which values are fixed until parameters are set: one sweep in topological order. */
#include "engine/pass/pass.h"

#include <string.h>

avs_val avs_graph_grad_of(const avs_graph *g, avs_val param)
{
    const char *key = g->v[param].name;
    if (g->v[param].kind != AVS_V_PARAM || !key) return 0;
    for (uint32_t i = 0; i < g->n_output; i++)
        if (!strncmp(g->output[i].name, "grad:", 5) && !strcmp(g->output[i].name + 5, key))
            return g->output[i].val;
    return 0;
}

static void views_of_sources(const avs_graph *g, bool *is_const)
{
    for (avs_val v = 1; v < g->n_v; v++)
        if (g->v[v].view_of) is_const[v] = is_const[g->v[v].view_of];
}

int avs_graph_const_values(const avs_graph *g, bool *is_const, avs_err *e)
{
    memset(is_const, 0, g->n_v);
    for (avs_val v = 1; v < g->n_v; v++) {
        if (g->v[v].view_of) continue;
        if (g->v[v].kind == AVS_V_CONST || g->v[v].kind == AVS_V_BUFFER) is_const[v] = true;
        if (g->v[v].kind == AVS_V_PARAM) is_const[v] = avs_graph_grad_of(g, v) == 0;
    }
    for (uint32_t i = 0; i < g->n_update; i++) is_const[g->update[i].buffer] = false;
    views_of_sources(g, is_const);
    for (uint32_t i = 1; i < g->n_node; i++) {
        const avs_node *n = &g->node[i];
        bool all = n->op != AVS_OP_NONE && n->op != AVS_OP_DROPOUT;
        for (int k = 0; k < n->n_in && all; k++) {
            avs_val v = n->in[k];
            while (v && g->v[v].view_of) v = g->v[v].view_of;
            all = !v || is_const[v];
        }
        for (int k = 0; k < n->n_out; k++)
            if (n->out[k]) is_const[n->out[k]] = all;
    }
    views_of_sources(g, is_const);
    (void)e;
    return AVS_OK;
}
