/* Where values lie: storage classes, packed weights, lifetimes, and the activation slab.
 *
 * A value that is a view has no place; everything that reads or writes it counts for its root. Activations are placed
 * by first fit: each takes the lowest offset that is free over its whole lifetime. Several orders are tried, decreasing size
 * first, until one reaches the lower bound, which is the largest sum of live bytes at any step. */
#include "engine/plan/plan_impl.h"

#include <stdlib.h>
#include <string.h>
#include "engine/pass/pass.h"

/* ------------------------------------------------------------------ readers */

static bool is_forward(const avs_node *n)
{
    return n->op == AVS_OP_CONV2D || n->op == AVS_OP_MATMUL;
}

static bool is_weight_operand(const avs_node *n, int k)
{
    return k == 1 && (is_forward(n) || n->op == AVS_OP_CONV2D_BWD_X);
}

typedef struct {
    bool *is_plain;    /* read or named by something that wants canonical layout */
    uint32_t *forward; /* the first CONV2D or MATMUL that reads it as weight */
} weight_uses;

/* A parameter can be packed when convolutions and products alone read it, as their weight, and it is nobody's view or
 * output. */
static int find_weight_uses(avs_plan *p, weight_uses *u, avs_err *e)
{
    const avs_graph *g = p->g;
    u->is_plain = AVS_NEW_N(p->arena, bool, g->n_v);
    u->forward = AVS_NEW_N(p->arena, uint32_t, g->n_v);
    if (!u->is_plain || !u->forward) return avs_fail(e, AVS_ENOMEM, "no memory for the plan's tables");
    for (avs_val v = 1; v < g->n_v; v++)
        if (g->v[v].view_of) u->is_plain[g->v[v].view_of] = true;
    for (uint32_t i = 0; i < g->n_output; i++) u->is_plain[p->root[g->output[i].val]] = true;
    for (uint32_t i = 0; i < g->n_update; i++) u->is_plain[p->root[g->update[i].value]] = true;
    for (uint32_t i = 1; i < g->n_node; i++) {
        const avs_node *n = &g->node[i];
        for (int k = 0; k < n->n_in; k++) {
            if (!n->in[k]) continue;
            if (!is_weight_operand(n, k)) u->is_plain[p->root[n->in[k]]] = true;
            if (is_weight_operand(n, k) && is_forward(n) && !u->forward[n->in[k]]) u->forward[n->in[k]] = i;
        }
    }
    return AVS_OK;
}

/* The gradient must come out of one CONV2D_BWD_W and go nowhere else. So trained weights of linear layers stay plain:
 * their forward and both products of their backward want three different layouts. */
static bool is_grad_packable(const avs_plan *p, avs_val grad)
{
    const avs_graph *g = p->g;
    int n_named = 0;
    if (!grad) return true;
    if (g->v[grad].view_of || g->v[grad].kind != AVS_V_TMP) return false;
    if (g->node[g->v[grad].node].op != AVS_OP_CONV2D_BWD_W) return false;
    for (avs_val v = 1; v < g->n_v; v++)
        if (g->v[v].view_of == grad) return false;
    for (uint32_t i = 1; i < g->n_node; i++)
        for (int k = 0; k < g->node[i].n_in; k++)
            if (g->node[i].in[k] == grad) return false;
    for (uint32_t i = 0; i < g->n_output; i++) n_named += g->output[i].val == grad;
    return n_named == 1;
}

static int choose_layouts(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    weight_uses u;
    if (!p->ops->weight_layout) return AVS_OK;
    AVS_TRY(find_weight_uses(p, &u, e));
    for (int i = 0; i < p->n_param; i++) {
        const avs_val v = p->param[i].val, grad = p->param[i].grad;
        const avs_layout *layout = NULL;
        if (p->param[i].pub.kind != AVS_V_PARAM || u.is_plain[v] || !u.forward[v] ||
            !is_grad_packable(p, grad))
            continue;
        AVS_TRY(p->ops->weight_layout(p->be, p->g, u.forward[v], p->cfg.training, &layout, e));
        for (uint32_t k = u.forward[v] + 1; layout && k < p->g->n_node; k++) {
            const avs_layout *other = NULL;
            if (!is_forward(&p->g->node[k]) || p->g->node[k].in[1] != v) continue;
            AVS_TRY(p->ops->weight_layout(p->be, p->g, k, p->cfg.training, &other, e));
            if (other != layout) layout = NULL;
        }
        p->place[v].layout = layout;
        if (grad) p->place[grad].layout = layout;
    }
out:
    return rc;
}

/* ------------------------------------------------------------------ classes and lifetimes */

static void classify(avs_plan *p)
{
    const avs_graph *g = p->g;
    for (avs_val v = 1; v < g->n_v; v++) {
        avs_place *at = &p->place[v];
        const avs_value *val = &g->v[v];
        if (val->view_of || val->kind == AVS_V_NONE) continue;
        if (val->kind == AVS_V_TMP && (!val->node || g->node[val->node].op == AVS_OP_NONE)) continue;
        at->bytes = (size_t)avs_type_count(&val->type) * avs_plan_elem(p, val->type.dtype);
        if (at->layout) at->bytes = (size_t)at->layout->len * sizeof(float);
        at->kind = val->kind == AVS_V_TMP && !p->is_const[v] ? AVS_AT_ARENA : AVS_AT_FIXED;
    }
}

/* main step number of each node, -1 for the prologue; *n = how many there are. */
static int32_t *number_steps(avs_plan *p, int *n_main, int *n_prologue)
{
    const avs_graph *g = p->g;
    int32_t *step = AVS_NEW_N(p->arena, int32_t, g->n_node);
    *n_main = *n_prologue = 0;
    for (uint32_t i = 1; step && i < g->n_node; i++) {
        step[i] = -1;
        if (g->node[i].op == AVS_OP_NONE) continue;
        if (p->is_const[g->node[i].out[0]])
            ++*n_prologue;
        else
            step[i] = (*n_main)++;
    }
    return step;
}

static void find_lifetimes(avs_plan *p, const int32_t *step, int n_main)
{
    const avs_graph *g = p->g;
    for (uint32_t i = 1; i < g->n_node; i++) {
        const avs_node *n = &g->node[i];
        if (step[i] < 0) continue;
        for (int k = 0; k < n->n_out; k++) p->place[n->out[k]].first = p->place[n->out[k]].last = step[i];
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k]) p->place[p->root[n->in[k]]].last = step[i];
    }
    for (uint32_t i = 0; i < g->n_output; i++) p->place[p->root[g->output[i].val]].last = n_main;
    for (uint32_t i = 0; i < g->n_update; i++) p->place[p->root[g->update[i].value]].last = n_main;
}

/* ------------------------------------------------------------------ the parameter slabs */

typedef struct {
    int32_t done; /* step at which the gradient is complete */
    int idx;
} completion;

static int by_completion(const void *a, const void *b)
{
    const completion *x = a, *y = b;
    return x->done != y->done ? (x->done < y->done ? -1 : 1) : (x->idx > y->idx) - (x->idx < y->idx);
}

/* May the producer write this gradient straight into the slab? */
static bool is_grad_direct(const avs_plan *p, const avs_param_rec *r)
{
    const avs_val root = p->root[r->grad];
    const avs_place *at = &p->place[root];
    return at->kind == AVS_AT_ARENA && at->layout == p->place[r->val].layout &&
           avs_type_count(avs_t(p->g, root)) == avs_type_count(&r->pub.type);
}

static int lay_out_slabs(avs_plan *p, avs_err *e)
{
    int n = 0;
    size_t off = 0;
    const size_t elem = avs_plan_elem(p, AVS_F32);
    completion *order = AVS_NEW_N(p->arena, completion, p->n_param + 1);
    if (!order) return avs_fail(e, AVS_ENOMEM, "no memory for the plan's tables");
    for (int i = 0; i < p->n_param; i++)
        if (p->param[i].grad) order[n++] = (completion){p->place[p->root[p->param[i].grad]].first, i};
    qsort(order, (size_t)n, sizeof *order, by_completion);
    for (int k = 0; k < n; k++) {
        avs_param_rec *r = &p->param[order[k].idx];
        avs_place *at = &p->place[r->val];
        at->kind = AVS_AT_PARAM;
        at->off = off;
        r->pub.slab_off = (int64_t)(off / elem);
        r->pub.slab_len = (int64_t)(at->bytes / elem);
        off += avs_plan_round(at->bytes);
        if (!is_grad_direct(p, r)) continue;
        avs_place *to = &p->place[p->root[r->grad]];
        to->kind = AVS_AT_GRAD;
        to->off = at->off;
    }
    p->slab_bytes = off;
    p->slab_elems = (int64_t)(off / elem);
    return AVS_OK;
}

/* ------------------------------------------------------------------ the activation slab */

/* The ARENA value whose place v uses. */
static avs_val holder(const avs_plan *p, avs_val v)
{
    while (p->place[v].shares) v = p->place[v].shares;
    return v;
}

/* Can output 0 of this node take the place of operand k? */
static bool may_take_place(const avs_plan *p, const avs_node *n, int k, int32_t step)
{
    const avs_graph *g = p->g;
    if (!n->in[k] || !p->ops->may_overwrite(n, k)) return false;
    const avs_val root = p->root[n->in[k]];
    const avs_type *a = avs_t(g, n->in[k]), *b = avs_t(g, n->out[0]);
    if (p->place[root].kind != AVS_AT_ARENA || p->place[holder(p, root)].last != step) return false;
    if (a->dtype != b->dtype || !avs_type_same_shape(a, b)) return false;
    if (avs_type_count(avs_t(g, root)) != avs_type_count(b)) return false;
    for (int j = 0; j < n->n_in; j++)
        if (j != k && n->in[j] && holder(p, p->root[n->in[j]]) == holder(p, root) &&
            (n->op != AVS_OP_EW || !avs_type_same_shape(avs_t(g, n->in[j]), b)))
            return false;
    return true;
}

static void share_places(avs_plan *p, const int32_t *step)
{
    const avs_graph *g = p->g;
    if (!p->ops->may_overwrite || p->cfg.keep_all) return;
    for (uint32_t i = 1; i < g->n_node; i++) {
        const avs_node *n = &g->node[i];
        if (step[i] < 0 || p->place[n->out[0]].kind != AVS_AT_ARENA) continue;
        for (int k = 0; k < n->n_in; k++) {
            if (!may_take_place(p, n, k, step[i])) continue;
            avs_val h = holder(p, p->root[n->in[k]]);
            p->place[n->out[0]].shares = h;
            p->place[h].last = p->place[n->out[0]].last;
            break;
        }
    }
}

typedef struct {
    size_t bytes, off, key;
    int32_t first, last;
    avs_val v;
} block;

/* In which order blocks are placed. Each is best on some graph; all are cheap, so all are tried. */
typedef enum { BY_SIZE, PEAK_THEN_SIZE, BY_AREA, BY_LIFE, N_ORDERS } placing;

static size_t key_of(const avs_plan *p, const block *b, placing order)
{
    const size_t life = (size_t)(b->last - b->first + 1);
    switch (order) {
    case PEAK_THEN_SIZE:
        return b->first <= p->peak_step && p->peak_step <= b->last;
    case BY_AREA:
        return life * b->bytes;
    case BY_LIFE:
        return life;
    default:
        return 0;
    }
}

static int by_key(const void *a, const void *b)
{
    const block *x = a, *y = b;
    if (x->key != y->key) return x->key > y->key ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return (x->v > y->v) - (x->v < y->v);
}

/* The lowest offset at which b overlaps none of the n placed blocks that live at the same time. placed is sorted by
 * offset; b is inserted. Returns where b ends. */
static size_t first_fit(block *placed, int n, block b, bool is_shared)
{
    size_t off = 0;
    for (int i = 0; i < n; i++) {
        const block *p = &placed[i];
        if (is_shared && (p->last < b.first || b.last < p->first)) continue;
        if (p->off >= off + b.bytes) break;
        if (p->off + p->bytes > off) off = p->off + p->bytes;
    }
    b.off = off;
    int at = n;
    for (; at > 0 && placed[at - 1].off > off; at--) placed[at] = placed[at - 1];
    placed[at] = b;
    return off + b.bytes;
}

/* The blocks of the slab and the most bytes that live at a time. */
static int find_blocks(avs_plan *p, int n_main, block *out, int *n, avs_err *e)
{
    size_t *live = AVS_NEW_N(p->arena, size_t, n_main + 1);
    if (!live) return avs_fail(e, AVS_ENOMEM, "no memory for the plan's tables");
    for (avs_val v = 1; v < p->g->n_v; v++) {
        const avs_place *at = &p->place[v];
        if (at->kind != AVS_AT_ARENA || at->shares) continue;
        out[(*n)++] = (block){avs_plan_round(at->bytes), 0, 0, at->first, at->last, v};
        for (int s = at->first; s <= at->last; s++) live[s] += avs_plan_round(at->bytes);
    }
    for (int s = 0; s <= n_main; s++) {
        if (live[s] <= p->lower_bound) continue;
        p->lower_bound = live[s];
        p->peak_step = s;
    }
    return AVS_OK;
}

static int lay_out_arena(avs_plan *p, int n_main, avs_err *e)
{
    int n = 0;
    block *all = AVS_NEW_N(p->arena, block, p->g->n_v), *placed = AVS_NEW_N(p->arena, block, p->g->n_v);
    if (!all || !placed) return avs_fail(e, AVS_ENOMEM, "no memory for the plan's tables");
    int rc = find_blocks(p, n_main, all, &n, e);
    if (rc != AVS_OK) return rc;
    p->act_bytes = SIZE_MAX;
    for (int order = 0; order < N_ORDERS && p->act_bytes > p->lower_bound; order++) {
        size_t end = 0;
        for (int i = 0; i < n; i++) all[i].key = key_of(p, &all[i], (placing)order);
        qsort(all, (size_t)n, sizeof *all, by_key);
        for (int i = 0; i < n; i++) {
            const size_t to = first_fit(placed, i, all[i], !p->cfg.keep_all);
            if (to > end) end = to;
        }
        if (end >= p->act_bytes) continue;
        p->act_bytes = end;
        for (int i = 0; i < n; i++) p->place[placed[i].v].off = placed[i].off;
    }
    return AVS_OK;
}

static void lay_out_fixed(avs_plan *p)
{
    for (avs_val v = 1; v < p->g->n_v; v++) {
        avs_place *at = &p->place[v];
        if (at->kind != AVS_AT_FIXED) continue;
        at->off = p->fixed_bytes;
        p->fixed_bytes += avs_plan_round(at->bytes);
    }
}

/* ------------------------------------------------------------------ addresses */

static int fill_constants(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    for (avs_val v = 1; rc == AVS_OK && v < p->g->n_v; v++) {
        const avs_value *val = &p->g->v[v];
        const avs_place *at = &p->place[v];
        if (val->kind != AVS_V_CONST || at->kind != AVS_AT_FIXED) continue;
        if (val->type.dtype == AVS_F32 && p->cfg.prec == AVS_PREC_F64)
            avs_plan_store(p, val->data, at->ptr, avs_type_count(&val->type));
        else
            rc = avs_plan_write(p, at->ptr, val->data, at->bytes, e);
    }
    return rc;
}

static int allocate_host(avs_plan *p, avs_err *e)
{
    p->act = avs_xalloc(p->act_bytes + 64);
    p->fixed = avs_xalloc(p->fixed_bytes + 64);
    p->param_slab = avs_xalloc(p->slab_bytes + 64);
    p->grad_slab = avs_xalloc(p->slab_bytes + 64);
    if (!p->act || !p->fixed || !p->param_slab || !p->grad_slab)
        return avs_fail(e, AVS_ENOMEM, "no memory for the plan's slabs (%zu + %zu + 2 * %zu bytes)",
                        p->act_bytes, p->fixed_bytes, p->slab_bytes);
    return AVS_OK;
}

static size_t device_round(size_t bytes)
{
    return (bytes + 64 + 255) / 256 * 256;
}

/* One piece for all slabs: what does not fit is known before anything is allocated. */
static int allocate_device(avs_plan *p, avs_err *e)
{
    const size_t act = device_round(p->act_bytes), fixed = device_round(p->fixed_bytes),
                 slab = device_round(p->slab_bytes);
    char what[160];
    void *base = NULL;
    snprintf(what, sizeof what, "the plan (%.1f MiB activations, %.1f parameters and gradients, %.1f kept)",
             (double)act / 1048576, 2 * (double)slab / 1048576, (double)fixed / 1048576);
    int rc = p->ops->device->alloc(p->be, act + fixed + 2 * slab, what, &base, e);
    if (rc != AVS_OK) return rc;
    p->act = base;
    p->fixed = p->act + act;
    p->param_slab = p->fixed + fixed;
    p->grad_slab = p->param_slab + slab;
    return AVS_OK;
}

static int allocate(avs_plan *p, avs_err *e)
{
    int rc = p->ops->device ? allocate_device(p, e) : allocate_host(p, e);
    if (rc != AVS_OK) return rc;
    for (avs_val v = 1; v < p->g->n_v; v++) {
        avs_place *at = &p->place[v];
        char *const base[] = {[AVS_AT_FIXED] = p->fixed,
                              [AVS_AT_PARAM] = p->param_slab,
                              [AVS_AT_GRAD] = p->grad_slab,
                              [AVS_AT_ARENA] = p->act};
        if (at->kind == AVS_AT_NOWHERE) continue;
        at->ptr = base[at->kind] + p->place[at->kind == AVS_AT_ARENA ? holder(p, v) : v].off;
    }
    return fill_constants(p, e);
}

int avs_plan_place(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    AVS_TRY(choose_layouts(p, e));
    classify(p);
    const int32_t *step = number_steps(p, &p->n_main, &p->n_prologue);
    if (!step) return avs_fail(e, AVS_ENOMEM, "no memory for the plan's tables");
    find_lifetimes(p, step, p->n_main);
    AVS_TRY(lay_out_slabs(p, e));
    share_places(p, step);
    AVS_TRY(lay_out_arena(p, p->n_main, e));
    lay_out_fixed(p);
    AVS_TRY(allocate(p, e));
out:
    return rc;
}
