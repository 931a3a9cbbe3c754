/* One sweep for lifetimes, differences at their ends for the sums. Values that depend on constants alone are made before
 * the first step and are left out, as are views: whoever reads a view reads its root. */
#include "engine/pass/liveness.h"

#include <string.h>

static int allocate(const avs_graph *g, avs_arena *a, avs_life *life, bool **is_const, avs_err *e)
{
    *life = (avs_life){.bytes = AVS_NEW_N(a, size_t, g->n_v),
                       .first = AVS_NEW_N(a, uint32_t, g->n_v),
                       .last = AVS_NEW_N(a, uint32_t, g->n_v),
                       .live = AVS_NEW_N(a, size_t, g->n_node + 2)};
    *is_const = AVS_NEW_N(a, bool, g->n_v);
    if (!life->bytes || !life->first || !life->last || !life->live || !*is_const)
        return avs_fail(e, AVS_ENOMEM, "no memory for the lifetimes of %u values", g->n_v);
    return avs_graph_const_values(g, *is_const, e);
}

static bool is_param_grad(const avs_graph *g, const avs_named *o)
{
    if (strncmp(o->name, "grad:", 5) != 0) return false;
    const avs_val of = avs_graph_find(g, o->name + 5);
    return of && g->v[of].kind == AVS_V_PARAM;
}

static void find_ends(const avs_graph *g, avs_life *life, const bool *is_const)
{
    for (uint32_t i = 1; i < g->n_node; i++) {
        const avs_node *n = &g->node[i];
        for (int k = 0; k < n->n_out; k++) {
            const avs_val v = n->out[k];
            if (!v || is_const[v]) continue;
            life->bytes[v] =
                (size_t)avs_type_count(avs_t(g, v)) * avs_dtype_size((avs_dtype)g->v[v].type.dtype);
            life->first[v] = life->last[v] = i;
        }
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k]) life->last[avs_root(g, n->in[k])] = i;
    }
    for (uint32_t i = 0; i < g->n_update; i++) life->last[avs_root(g, g->update[i].value)] = g->n_node;
    for (uint32_t i = 0; i < g->n_output; i++) {
        const avs_val r = avs_root(g, g->output[i].val);
        life->last[r] = g->n_node;
        if (is_param_grad(g, &g->output[i])) life->bytes[r] = 0;
    }
}

/* Can output 0 of node i take the place of an operand? */
static bool is_in_place(const avs_graph *g, const avs_life *life, uint32_t i)
{
    const avs_node *n = &g->node[i];
    const bool any = n->op == AVS_OP_EW || n->op == AVS_OP_DROPOUT;
    if (!any && n->op != AVS_OP_CONV2D && n->op != AVS_OP_MATMUL) return false;
    for (int k = any ? 0 : 3; k < n->n_in; k++) {
        const avs_val r = avs_root(g, n->in[k]);
        if (r && life->bytes[r] && life->last[r] == i && life->bytes[r] == life->bytes[n->out[0]])
            return true;
    }
    return false;
}

int avs_life_find(const avs_graph *g, avs_arena *a, avs_life *life, avs_err *e)
{
    bool *is_const;
    int rc = allocate(g, a, life, &is_const, e);
    if (rc != AVS_OK) return rc;
    find_ends(g, life, is_const);
    for (avs_val v = 1; v < g->n_v; v++) {
        if (!life->bytes[v]) continue;
        life->live[life->first[v]] += life->bytes[v];
        life->live[life->last[v] + 1] -= life->bytes[v]; /* wraps, and wraps back in the sum */
    }
    for (uint32_t i = 1; i <= g->n_node; i++) life->live[i] += life->live[i - 1];
    for (uint32_t i = 1; i < g->n_node; i++)
        if (is_in_place(g, life, i)) life->live[i] -= life->bytes[g->node[i].out[0]];
    for (uint32_t i = 1; i <= g->n_node; i++) {
        if (life->live[i] <= life->peak) continue;
        life->peak = life->live[i];
        life->at = i;
    }
    return AVS_OK;
}
