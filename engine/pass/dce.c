/* Dead code: one sweep backwards from outputs and updates. */
#include "engine/pass/rewrite.h"

int avs_pass_dce(avs_graph *g, avs_err *e)
{
    bool *live = AVS_NEW_N(g->arena, bool, g->n_v);
    if (!live) return avs_fail(e, AVS_ENOMEM, "no memory for a table of live values");
    for (uint32_t i = 0; i < g->n_output; i++) live[avs_root(g, g->output[i].val)] = true;
    for (uint32_t i = 0; i < g->n_update; i++) live[avs_root(g, g->update[i].value)] = true;
    for (uint32_t i = g->n_node; i-- > 1;) {
        const avs_node *n = &g->node[i];
        bool is_live = false;
        for (int k = 0; k < n->n_out; k++) is_live = is_live || (n->out[k] && live[n->out[k]]);
        if (!is_live) {
            avs_drop_node(g, i);
            continue;
        }
        for (int k = 0; k < n->n_in; k++) live[avs_root(g, n->in[k])] = true;
    }
    avs_compact(g);
    return AVS_OK;
}
