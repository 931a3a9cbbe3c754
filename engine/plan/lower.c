/* From nodes to steps: operands get their addresses, the backend makes a step of each node, and copies are added for
 * what no node writes in place: gradients that are not produced inside the slab (never packed ones, see place.c), and
 * buffer updates. */
#include "engine/plan/plan_impl.h"

static int lower_node(avs_plan *p, uint32_t node, avs_plan_step *out, avs_err *e)
{
    const avs_node *n = &p->g->node[node];
    avs_lower_req req = {.g = p->g,
                         .node = node,
                         .training = p->cfg.training,
                         .no_winograd = p->cfg.no_winograd,
                         .rt = &p->rt};
    for (int k = 0; k < n->n_in; k++) {
        req.in[k] = avs_plan_tensor(p, n->in[k]);
        if (!n->in[k]) continue;
        req.in_layout[k] = p->place[p->root[n->in[k]]].layout;
        req.in_is_const[k] = p->is_const[n->in[k]];
    }
    for (int k = 0; k < n->n_out; k++) {
        req.out[k] = avs_plan_tensor(p, n->out[k]);
        req.out_layout[k] = p->place[n->out[k]].layout;
    }
    out->kind = AVS_STEP_NODE;
    out->node = node;
    int rc = p->ops->lower(p->be, &req, &out->step, e);
    if (rc != AVS_OK)
        avs_ctx(e, "node %u (%s) in '%s'", node, avs_op_rules[n->op].name, n->scope ? n->scope : "");
    else if (out->step.workspace > p->work_bytes)
        p->work_bytes = out->step.workspace;
    return rc;
}

static avs_plan_step copy_step(const avs_plan *p, avs_val from, char *dst, const char *key)
{
    avs_tensor t = avs_plan_tensor(p, from);
    avs_plan_step s = {.kind = AVS_STEP_COPY, .step.impl = "copy"};
    s.copy.src = t.data;
    s.copy.dst = dst;
    s.copy.bytes = (size_t)avs_type_count(&t.type) * avs_dtype_size((avs_dtype)t.type.dtype);
    s.copy.key = key;
    return s;
}

/* The gradients that main step `made` (counted without copies; -1: none, they are constants, inputs or parameters) has
 * completed elsewhere go to the slab at once, so that buckets complete early. */
static void copy_gradients(avs_plan *p, int32_t made)
{
    for (int i = 0; i < p->n_param; i++) {
        const avs_param_rec *r = &p->param[i];
        if (!r->grad) continue;
        const avs_val root = p->root[r->grad];
        const avs_place *from = &p->place[root], *to = &p->place[r->val];
        const bool is_made = p->g->v[root].kind == AVS_V_TMP && !p->is_const[root];
        if ((is_made ? from->first : -1) != made || (from->kind == AVS_AT_GRAD && from->off == to->off))
            continue;
        p->main[p->n_main++] = copy_step(p, r->grad, p->grad_slab + to->off, r->pub.key);
    }
}

static void copy_updates(avs_plan *p)
{
    for (uint32_t i = 0; i < p->g->n_update; i++) {
        char *dst = avs_plan_tensor(p, p->g->update[i].buffer).data;
        p->main[p->n_main++] = copy_step(p, p->g->update[i].value, dst, p->g->v[p->g->update[i].buffer].name);
    }
}

/* Lifetimes count copies too from here on. at[s]: where step s came to stand. */
static void renumber(avs_plan *p, const int32_t *at, int32_t n)
{
    for (avs_val v = 1; v < p->g->n_v; v++) {
        avs_place *x = &p->place[v];
        if (x->kind != AVS_AT_ARENA && x->kind != AVS_AT_GRAD) continue;
        x->first = at[x->first];
        x->last = x->last < n ? at[x->last] : p->n_main;
    }
    p->peak_step = n ? at[p->peak_step < n ? p->peak_step : n - 1] : 0;
}

int avs_plan_lower(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    const avs_graph *g = p->g;
    const size_t n_max = (size_t)g->n_node + (size_t)p->n_param + g->n_update + 1;
    p->main = AVS_NEW_N(p->arena, avs_plan_step, n_max);
    p->prologue = AVS_NEW_N(p->arena, avs_plan_step, g->n_node);
    int32_t *at = AVS_NEW_N(p->arena, int32_t, g->n_node), n = 0;
    if (!p->main || !p->prologue || !at) return avs_fail(e, AVS_ENOMEM, "no memory for the plan's steps");
    p->n_main = p->n_prologue = 0;
    copy_gradients(p, -1);
    for (uint32_t i = 1; i < g->n_node; i++) {
        if (g->node[i].op == AVS_OP_NONE) continue;
        if (p->is_const[g->node[i].out[0]]) {
            AVS_TRY(lower_node(p, i, &p->prologue[p->n_prologue++], e));
            continue;
        }
        at[n] = p->n_main;
        AVS_TRY(lower_node(p, i, &p->main[p->n_main++], e));
        copy_gradients(p, n++);
    }
    copy_updates(p);
    renumber(p, at, n);
    if (p->ops->device) {
        void *work = NULL;
        rc = p->ops->device->alloc(p->be, p->work_bytes + 256, "the plan's workspace", &work, e);
        p->work = work;
        goto out;
    }
    p->work = avs_xalloc(p->work_bytes + 64);
    if (!p->work) rc = avs_fail(e, AVS_ENOMEM, "no memory for a workspace of %zu bytes", p->work_bytes);
out:
    return rc;
}
