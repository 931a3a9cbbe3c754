/* A linear layer over x + c with constant c, weight and bias is the layer over x plus a constant: x W + (c W + b). So where
 * every reader of such a sum is a linear layer (position embeddings before the projections of an encoder), the second part is
 * made in the prologue, the products take it as their residual, and the sum is not made at all. */
#include "engine/pass/rewrite.h"

enum { MAX_READERS = 8 };

/* node = x + c over all elements of both, c constant. */
static bool is_sum(const avs_graph *g, const bool *is_const, uint32_t node, avs_val *x, avs_val *c)
{
    avs_ew_simple s;
    const int64_t n = g->node[node].op == AVS_OP_EW ? avs_type_count(avs_t(g, g->node[node].out[0])) : 0;
    if (!n || !avs_ew_is_simple(g, node, &s) || s.code != AVS_EW_ADD || is_const[s.a] == is_const[s.b])
        return false;
    *x = is_const[s.a] ? s.b : s.a;
    *c = is_const[s.a] ? s.a : s.b;
    return avs_type_count(avs_t(g, *x)) == n && avs_type_count(avs_t(g, *c)) == n &&
           avs_t(g, *x)->dtype == AVS_F32 && avs_t(g, *c)->dtype == AVS_F32;
}

static bool is_fixed_linear(const avs_graph *g, const bool *is_const, const avs_node *n)
{
    if (n->op != AVS_OP_MATMUL) return false;
    const avs_matmul_attr *a = n->attr;
    if (a->heads || a->ta || avs_t(g, n->in[1])->rank != 2 || !is_const[n->in[1]]) return false;
    return !(n->n_in > 2 && n->in[2] && !is_const[n->in[2]]) && !(n->n_in > 3 && n->in[3]);
}

/* The nodes that read y: their number; 0 where one of them, or an output, wants it for anything else than such a layer. */
static int linear_readers(const avs_graph *g, const bool *is_const, avs_val y, uint32_t *reader)
{
    int n_reader = 0;
    if (avs_is_kept(g, y)) return 0;
    for (uint32_t i = 1; i < g->n_node; i++) {
        const avs_node *n = &g->node[i];
        for (int k = 0; k < n->n_in; k++) {
            if (!n->in[k] || avs_root(g, n->in[k]) != y) continue;
            if (k || n_reader == MAX_READERS || !is_fixed_linear(g, is_const, n)) return 0;
            reader[n_reader++] = i;
        }
    }
    return n_reader;
}

static int split(avs_graph *g, uint32_t linear, avs_val x, avs_val c, avs_err *e)
{
    const avs_node n = g->node[linear];
    const avs_type *t = avs_t(g, n.in[0]);
    avs_matmul_attr a = *(const avs_matmul_attr *)n.attr;
    a.act = AVS_ACT_NONE;
    g->scope = n.scope;
    const avs_val in[3] = {avs_as(g, c, t), n.in[1], n.n_in > 2 ? n.in[2] : 0};
    const avs_val rest = avs_graph_node(g, AVS_OP_MATMUL, in, in[2] ? 3 : 2, &a, NULL);
    if (!rest) return avs_graph_check(g, e);
    avs_node *m = &g->node[linear];
    m->in[0] = avs_as(g, x, avs_t(g, n.in[0]));
    m->in[2] = 0;
    m->in[3] = rest;
    m->n_in = 4;
    return AVS_OK;
}

int avs_pass_fold_sum(avs_graph *g, avs_err *e)
{
    int rc = AVS_OK;
    const uint32_t n_node = g->n_node;
    const char *scope = g->scope;
    bool *is_const = AVS_NEW_N(g->arena, bool, g->n_v);
    if (!is_const) return avs_fail(e, AVS_ENOMEM, "no memory for a table of constants");
    AVS_TRY(avs_graph_const_values(g, is_const, e));
    const avs_val n_known = g->n_v;
    for (uint32_t i = 1; i < n_node; i++) {
        avs_val x = 0, c = 0;
        uint32_t reader[MAX_READERS];
        const avs_node *n = &g->node[i];
        if (n->op != AVS_OP_EW || n->out[0] >= n_known || !is_sum(g, is_const, i, &x, &c)) continue;
        const int n_reader = linear_readers(g, is_const, n->out[0], reader);
        for (int k = 0; k < n_reader; k++) AVS_TRY(split(g, reader[k], x, c, e));
        if (n_reader) avs_drop_node(g, i);
    }
    g->scope = scope;
    AVS_TRY(avs_graph_check(g, e));
    AVS_TRY(avs_sort_nodes(g, e));
out:
    return rc;
}
