/* An order of the nodes that needs less memory: always the ready node that frees most over what it takes, the first
 * among equals, out of a window of the nodes to come. A wide window sees more and strays further from an order that is
 * good as a whole (a value made long before it is read), so several are tried; the best one is taken if its peak is
 * lower than that of the given order. */
#include "engine/pass/liveness.h"

#include <string.h>

typedef struct {
    const avs_graph *g;
    const avs_node *old; /* the nodes in the given order */
    const avs_life *life;
    uint32_t *n_wait;    /* of each node: operands that are not made yet            */
    uint32_t *n_left;    /* of each root value: readers to come, one more if kept   */
    uint32_t *reader_of; /* readers of value v: reader[reader_of[v] .. [v + 1])     */
    uint32_t *reader;
    uint32_t *n_wait_0, *n_left_0; /* the counts at the start */
    bool *is_done;
    uint32_t *order, n_order;
} scheduler;

/* The distinct root values that a node reads. */
static int operands(const avs_graph *g, const avs_node *n, avs_val out[AVS_MAX_IN])
{
    int count = 0;
    for (int k = 0; k < n->n_in; k++) {
        const avs_val r = avs_root(g, n->in[k]);
        bool is_new = r != 0;
        for (int j = 0; j < count; j++) is_new = is_new && out[j] != r;
        if (is_new) out[count++] = r;
    }
    return count;
}

static int fail(const avs_graph *g, avs_err *e)
{
    return avs_fail(e, AVS_ENOMEM, "no memory to order %u nodes", g->n_node);
}

static int prepare(scheduler *s, avs_arena *a, avs_err *e)
{
    const avs_graph *g = s->g;
    avs_val in[AVS_MAX_IN];
    s->n_wait = AVS_NEW_N(a, uint32_t, g->n_node);
    s->n_wait_0 = AVS_NEW_N(a, uint32_t, g->n_node);
    s->n_left = AVS_NEW_N(a, uint32_t, g->n_v);
    s->n_left_0 = AVS_NEW_N(a, uint32_t, g->n_v);
    s->reader_of = AVS_NEW_N(a, uint32_t, g->n_v + 1);
    s->is_done = AVS_NEW_N(a, bool, g->n_node);
    s->order = AVS_NEW_N(a, uint32_t, g->n_node);
    uint32_t *fill = AVS_NEW_N(a, uint32_t, g->n_v);
    if (!s->n_wait || !s->n_wait_0 || !s->n_left || !s->n_left_0 || !s->reader_of || !s->is_done ||
        !s->order || !fill)
        return fail(g, e);
    for (uint32_t i = 1; i < g->n_node; i++) {
        const int n = operands(g, &s->old[i], in);
        for (int k = 0; k < n; k++) {
            s->n_left_0[in[k]]++;
            s->n_wait_0[i] += g->v[in[k]].kind == AVS_V_TMP;
        }
    }
    for (avs_val v = 0; v < g->n_v; v++) s->reader_of[v + 1] = s->reader_of[v] + s->n_left_0[v];
    s->reader = AVS_NEW_N(a, uint32_t, s->reader_of[g->n_v] + 1);
    if (!s->reader) return fail(g, e);
    for (uint32_t i = 1; i < g->n_node; i++) {
        const int n = operands(g, &s->old[i], in);
        for (int k = 0; k < n; k++) s->reader[s->reader_of[in[k]] + fill[in[k]]++] = i;
    }
    for (avs_val v = 1; v < g->n_v; v++)
        if (s->life->last[v] == g->n_node) s->n_left_0[v]++;
    return AVS_OK;
}

/* Bytes that are free after the node and were not before, less those it takes. */
static int64_t gain(const scheduler *s, uint32_t node)
{
    const avs_node *n = &s->old[node];
    avs_val in[AVS_MAX_IN];
    const int n_in = operands(s->g, n, in);
    int64_t sum = 0;
    for (int k = 0; k < n_in; k++)
        if (s->n_left[in[k]] == 1) sum += (int64_t)s->life->bytes[in[k]];
    for (int k = 0; k < n->n_out; k++)
        if (n->out[k] && s->n_left[n->out[k]]) sum -= (int64_t)s->life->bytes[n->out[k]];
    return sum;
}

static void run(scheduler *s, uint32_t node)
{
    const avs_node *n = &s->old[node];
    avs_val in[AVS_MAX_IN];
    const int n_in = operands(s->g, n, in);
    s->is_done[node] = true;
    s->order[s->n_order++] = node;
    for (int k = 0; k < n_in; k++) s->n_left[in[k]]--;
    for (int k = 0; k < n->n_out; k++) {
        const avs_val v = n->out[k];
        if (!v) continue;
        for (uint32_t r = s->reader_of[v]; r < s->reader_of[v + 1]; r++) s->n_wait[s->reader[r]]--;
    }
}

/* The first node that is left is always ready, because the given order is topological. */
static void greedy(scheduler *s, uint32_t window)
{
    const uint32_t n_node = s->g->n_node;
    memcpy(s->n_wait, s->n_wait_0, sizeof *s->n_wait * n_node);
    memcpy(s->n_left, s->n_left_0, sizeof *s->n_left * s->g->n_v);
    memset(s->is_done, 0, sizeof *s->is_done * n_node);
    s->n_order = 0;
    for (uint32_t lo = 1; lo < n_node;) {
        uint32_t best = 0, seen = 0;
        int64_t best_gain = 0;
        for (uint32_t i = lo; i < n_node && seen < window; i++) {
            if (s->is_done[i]) continue;
            seen++;
            if (s->n_wait[i]) continue;
            const int64_t x = gain(s, i);
            if (best && x <= best_gain) continue;
            best = i;
            best_gain = x;
        }
        run(s, best);
        while (lo < n_node && s->is_done[lo]) lo++;
    }
}

/* Node order[i] becomes node i + 1. */
static void reorder(avs_graph *g, const avs_node *old, const uint32_t *order)
{
    for (uint32_t i = 1; i < g->n_node; i++) {
        g->node[i] = old[order[i - 1]];
        for (int k = 0; k < g->node[i].n_out; k++)
            if (g->node[i].out[k]) g->v[g->node[i].out[k]].node = i;
    }
}

int avs_pass_schedule(avs_graph *g, avs_err *e)
{
    static const uint32_t windows[] = {4, 16, 64, 256};
    int rc = AVS_OK;
    avs_life given;
    avs_arena *a = avs_arena_new();
    if (!a) return fail(g, e);
    scheduler s = {.g = g, .life = &given};
    uint32_t *best = AVS_NEW_N(a, uint32_t, g->n_node);
    s.old = avs_arena_dup(a, g->node, sizeof *g->node * g->n_node);
    if (!best || !s.old) {
        rc = fail(g, e);
        goto out;
    }
    AVS_TRY(avs_life_find(g, a, &given, e));
    AVS_TRY(prepare(&s, a, e));
    size_t peak = given.peak;
    for (uint32_t i = 1; i < g->n_node; i++) best[i - 1] = i;
    for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
        avs_life life;
        greedy(&s, windows[w]);
        reorder(g, s.old, s.order);
        AVS_TRY(avs_life_find(g, a, &life, e));
        if (life.peak >= peak) continue;
        peak = life.peak;
        memcpy(best, s.order, sizeof *best * s.n_order);
    }
    reorder(g, s.old, best);
out:
    avs_arena_free(a);
    return rc;
}
