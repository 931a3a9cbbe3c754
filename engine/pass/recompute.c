/* Less memory for more work. Backward nodes that read a chosen value of the forward read a copy instead, whose node is
 * placed just before the first of them, so that the original dies in the forward.
 *
 * Round by round against the peak: first single values whose makers are cheap and whose operands live until then anyway
 * or are cheap themselves; when none is left, blocks. A block lies between two cuts, points of the forward over which few
 * bytes cross: the residual stream between transformer layers, the feature map between residual blocks. What crosses
 * the cut before a block is kept, everything inside that the backward reads is made again from it. */
#include "engine/pass/liveness.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CHAIN = 8 };

typedef struct {
    avs_graph *g;
    avs_arena *arena; /* of one round */
    avs_life life;
    uint32_t *late;     /* of each root value: first backward node that reads it; 0: none               */
    uint32_t *fwd_last; /* of each root value: last forward node that reads it, or makes it             */
    bool *is_chosen;    /* of each node: made again                                                     */
    size_t *crossing;   /* of each node: bytes that later forward nodes read                            */
} round_of;

typedef struct {
    size_t gain;
    uint32_t id;       /* value, or first node of a block less one */
    uint32_t to, late; /* blocks: last node; first backward node that reads a value of it */
} candidate;

static bool is_backward(const avs_graph *g, const avs_node *n)
{
    return n->out[0] >= g->first_grad;
}

static bool is_cheap(const avs_node *n)
{
    switch (n->op) {
    case AVS_OP_EW:
    case AVS_OP_DROPOUT: /* a function of seed and position: the same numbers again */
    case AVS_OP_LAYERNORM:
    case AVS_OP_RESIZE:
    case AVS_OP_CONCAT:
    case AVS_OP_SLICE:
    case AVS_OP_PAD:
    case AVS_OP_PERMUTE:
    case AVS_OP_GATHER_ROWS:
        return true;
    default:
        return false;
    }
}

static int begin(round_of *r, avs_err *e)
{
    const avs_graph *g = r->g;
    int rc = avs_life_find(g, r->arena, &r->life, e);
    if (rc != AVS_OK) return rc;
    r->late = AVS_NEW_N(r->arena, uint32_t, g->n_v);
    r->fwd_last = AVS_NEW_N(r->arena, uint32_t, g->n_v);
    r->is_chosen = AVS_NEW_N(r->arena, bool, g->n_node);
    r->crossing = AVS_NEW_N(r->arena, size_t, g->n_node + 1);
    if (!r->late || !r->fwd_last || !r->is_chosen || !r->crossing)
        return avs_fail(e, AVS_ENOMEM, "no memory for the lifetimes of %u values", g->n_v);
    for (uint32_t i = 1; i < g->n_node; i++) {
        const avs_node *n = &g->node[i];
        const bool late = is_backward(g, n);
        for (int k = 0; k < n->n_out; k++) r->fwd_last[n->out[k]] = i;
        for (int k = 0; k < n->n_in; k++) {
            const avs_val v = avs_root(g, n->in[k]);
            if (late && !r->late[v]) r->late[v] = i;
            if (!late) r->fwd_last[v] = i;
        }
    }
    return AVS_OK;
}

/* A forward value that is kept over the peak for backward nodes alone. */
static bool waits_over_peak(const round_of *r, avs_val v)
{
    const avs_life *l = &r->life;
    return v < r->g->first_grad && l->bytes[v] && l->last[v] != r->g->n_node && r->late[v] > l->at &&
           l->first[v] < l->at && r->fwd_last[v] < l->at;
}

static int by_gain(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->gain != y->gain) return x->gain > y->gain ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* ------------------------------------------------------------------ single values */

/* Can v be made before backward node `late` from what lives then, cheaply? */
static bool is_at_hand(const round_of *r, avs_val v, uint32_t late, int depth)
{
    const avs_node *n = &r->g->node[r->g->v[v].node];
    if (!is_cheap(n) || depth == MAX_CHAIN) return false;
    for (int k = 0; k < n->n_in; k++) {
        const avs_val x = avs_root(r->g, n->in[k]);
        if (!x || !r->life.bytes[x] || r->life.last[x] >= late) continue;
        if (x >= r->g->first_grad || !is_at_hand(r, x, late, depth + 1)) return false;
    }
    return true;
}

static void choose_chain(round_of *r, avs_val v, uint32_t late)
{
    const uint32_t node = r->g->v[v].node;
    r->is_chosen[node] = true;
    for (int k = 0; k < r->g->node[node].n_in; k++) {
        const avs_val x = avs_root(r->g, r->g->node[node].in[k]);
        if (x && r->life.bytes[x] && r->life.last[x] < late) choose_chain(r, x, late);
    }
}

/* Chooses until about `wanted` bytes are saved; *any: something was chosen. */
static int choose_values(round_of *r, size_t wanted, bool *any, avs_err *e)
{
    const avs_graph *g = r->g;
    candidate *c = AVS_NEW_N(r->arena, candidate, g->n_v);
    size_t n = 0, saved = 0;
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory for a table of values");
    for (avs_val v = 1; v < g->n_v; v++)
        if (waits_over_peak(r, v) && is_at_hand(r, v, r->late[v], 0))
            c[n++] = (candidate){.gain = r->life.bytes[v], .id = v};
    qsort(c, n, sizeof *c, by_gain);
    for (size_t i = 0; i < n && saved < wanted; i++) {
        choose_chain(r, c[i].id, r->late[c[i].id]);
        saved += c[i].gain;
    }
    *any = saved > 0;
    return AVS_OK;
}

/* ------------------------------------------------------------------ blocks */

static void find_crossing(round_of *r)
{
    const avs_graph *g = r->g;
    for (avs_val v = 1; v < g->n_v && v < g->first_grad; v++) {
        if (!r->life.bytes[v]) continue;
        r->crossing[r->life.first[v]] += r->life.bytes[v];
        r->crossing[r->fwd_last[v]] -= r->life.bytes[v]; /* wraps, and wraps back in the sum */
    }
    for (uint32_t i = 1; i < g->n_node; i++) r->crossing[i] += r->crossing[i - 1];
}

/* Valleys of the crossing bytes over the forward nodes: a minimum counts when the way up from it, and the way down to it,
 * is at least half of it again. cut[0] = 0. */
static uint32_t find_cuts(const round_of *r, uint32_t *cut)
{
    uint32_t n = 1, low = 0;
    size_t high = 0;
    cut[0] = 0;
    for (uint32_t i = 1; i < r->g->n_node; i++) {
        const size_t x = r->crossing[i];
        if (is_backward(r->g, &r->g->node[i])) continue;
        if (!low) {
            if (x > high) high = x;
            if (2 * high >= 3 * x && high > x) low = i;
        } else if (x <= r->crossing[low]) {
            low = i;
        } else if (2 * x >= 3 * r->crossing[low]) {
            cut[n++] = low;
            low = 0;
            high = x;
        }
    }
    return n;
}

/* The block (from, to]: marks what has to run again for its values that wait over the peak. The gain is their bytes less
 * those that must be kept longer for that. stamp: per value, the last block that counted it. */
static candidate weigh_block(const round_of *r, uint32_t from, uint32_t to, bool *is_marked, uint32_t *stamp)
{
    const avs_graph *g = r->g;
    const avs_life *l = &r->life;
    candidate c = {.id = from, .to = to, .late = g->n_node};
    size_t cost = 0;
    for (uint32_t i = from + 1; i <= to; i++) {
        const avs_node *n = &g->node[i];
        for (int k = 0; k < n->n_out; k++) {
            const avs_val v = n->out[k];
            if (!waits_over_peak(r, v) || r->fwd_last[v] > to) continue;
            is_marked[i] = true;
            c.gain += l->bytes[v];
            if (r->late[v] < c.late) c.late = r->late[v];
        }
    }
    for (uint32_t i = to; i > from; i--) {
        const avs_node *n = &g->node[i];
        for (int k = 0; is_marked[i] && k < n->n_in; k++) {
            const avs_val v = avs_root(g, n->in[k]);
            if (!v || !l->bytes[v] || l->last[v] == g->n_node) continue;
            if (l->first[v] > from && r->fwd_last[v] <= to)
                is_marked[g->v[v].node] = true;
            else if (l->last[v] < c.late && stamp[v] != to) {
                stamp[v] = to;
                cost += l->bytes[v];
            }
        }
    }
    c.gain = c.gain > cost ? c.gain - cost : 0;
    return c;
}

static int choose_blocks(round_of *r, size_t wanted, bool *any, avs_err *e)
{
    const avs_graph *g = r->g;
    size_t n = 0, saved = 0;
    uint32_t *cut = AVS_NEW_N(r->arena, uint32_t, g->n_node), *stamp = AVS_NEW_N(r->arena, uint32_t, g->n_v);
    bool *is_marked = AVS_NEW_N(r->arena, bool, g->n_node);
    candidate *c = AVS_NEW_N(r->arena, candidate, g->n_node);
    if (!cut || !stamp || !is_marked || !c) return avs_fail(e, AVS_ENOMEM, "no memory for a table of blocks");
    find_crossing(r);
    const uint32_t n_cut = find_cuts(r, cut);
    for (uint32_t k = 0; k + 1 < n_cut; k++) {
        c[n] = weigh_block(r, cut[k], cut[k + 1], is_marked, stamp);
        if (c[n].gain) n++;
    }
    qsort(c, n, sizeof *c, by_gain);
    for (size_t i = 0; i < n && saved < wanted; i++) {
        for (uint32_t k = c[i].id + 1; k <= c[i].to; k++) r->is_chosen[k] = is_marked[k];
        saved += c[i].gain;
    }
    *any = saved > 0;
    return AVS_OK;
}

/* ------------------------------------------------------------------ rewriting */

/* What stands for x in the backward: a view of the copy where x is a view. */
static avs_val replaced(avs_graph *g, avs_val x, const avs_val *again, avs_val *view)
{
    const avs_val root = avs_root(g, x);
    if (!x || !again[root]) return x;
    if (x == root) return again[x];
    if (!view[x]) view[x] = avs_graph_view(g, again[root], g->v[x].type, g->v[x].view_off);
    return view[x];
}

/* A second node like each chosen one; backward nodes read its outputs. */
static int make_again(const round_of *r, avs_err *e)
{
    avs_graph *g = r->g;
    const uint32_t n_node = g->n_node, n_v = g->n_v;
    const char *scope = g->scope;
    avs_val *again = AVS_NEW_N(r->arena, avs_val, n_v), *view = AVS_NEW_N(r->arena, avs_val, n_v);
    if (!again || !view) return avs_fail(e, AVS_ENOMEM, "no memory for a table of copies");
    for (uint32_t i = 1; i < n_node; i++) {
        const avs_node n = g->node[i];
        avs_val in[AVS_MAX_IN], out[AVS_MAX_OUT] = {0};
        if (!r->is_chosen[i]) continue;
        for (int k = 0; k < n.n_in; k++) in[k] = replaced(g, n.in[k], again, view);
        g->scope = n.scope;
        avs_graph_node(g, n.op, in, n.n_in, n.attr, out);
        for (int k = 0; k < n.n_out; k++) again[n.out[k]] = out[k];
    }
    g->scope = scope;
    for (uint32_t i = 1; i < n_node; i++) {
        if (!is_backward(g, &g->node[i])) continue;
        for (int k = 0; k < g->node[i].n_in; k++) {
            const avs_val x = g->node[i].in[k], y = replaced(g, x, again, view);
            g->node[i].in[k] = y;
        }
    }
    int rc = avs_graph_check(g, e);
    return rc == AVS_OK ? avs_sort_nodes(g, e) : rc;
}

static int one_round(avs_graph *g, size_t budget, bool *any, avs_err *e)
{
    round_of r = {.g = g, .arena = avs_arena_new()};
    int rc = r.arena ? begin(&r, e) : avs_fail(e, AVS_ENOMEM, "no memory for the lifetimes of values");
    *any = false;
    if (rc == AVS_OK && r.life.peak > budget) {
        const size_t wanted = r.life.peak - budget;
        rc = choose_values(&r, wanted, any, e);
        if (rc == AVS_OK && !*any) rc = choose_blocks(&r, wanted, any, e);
        if (rc == AVS_OK && *any) rc = make_again(&r, e);
    }
    avs_arena_free(r.arena);
    return rc;
}

int avs_pass_recompute(avs_graph *g, size_t budget, avs_err *e)
{
    bool any = budget && g->first_grad;
    int rc = AVS_OK;
    while (rc == AVS_OK && any) rc = one_round(g, budget, &any, e);
    return rc;
}
