/* Batch normalisation in evaluation is y * s + t per channel: s goes into the weight of the convolution before it, t
 * becomes its bias. Only where weight, s and t are constant, so that folding happens in the prologue. */
#include "engine/pass/rewrite.h"

typedef struct {
    avs_graph *g;
    avs_uses use;
    const bool *is_const;
} folding;

/* Constant, and not made by this pass (such values lie behind the table). */
static bool is_fixed(const folding *f, uint32_t n_known, avs_val v)
{
    return v && v < n_known && f->is_const[v];
}

/* A constant row of C elements. */
static bool is_channel_row(const folding *f, uint32_t n_known, avs_val v, int C)
{
    const avs_type *t = avs_t(f->g, v);
    return is_fixed(f, n_known, v) && t->dtype == AVS_F32 && avs_type_count(t) == C && t->rank == 1;
}

/* node = y CODE row, with y the single use of a node of this op: that node, and the row. */
static uint32_t match(const folding *f, uint32_t n_known, uint32_t node, int code, int op, avs_val *row)
{
    avs_ew_simple s;
    if (!avs_ew_is_simple(f->g, node, &s) || s.code != code) return 0;
    for (int swap = 0; swap < 2; swap++) {
        avs_val y = swap ? s.b : s.a, r = swap ? s.a : s.b;
        const avs_type *t = avs_t(f->g, y);
        uint32_t p = avs_sole_producer(f->g, &f->use, y, op);
        if (!p || t->rank != 4 || !is_channel_row(f, n_known, r, t->d[3])) continue;
        *row = r;
        return p;
    }
    return 0;
}

static void fold(folding *f, uint32_t add, uint32_t mul, uint32_t conv, avs_val s, avs_val t)
{
    avs_graph *g = f->g;
    const avs_node c = g->node[conv];
    const int C = avs_t(g, s)->d[0];
    g->scope = c.scope;
    avs_val w = avs_mul(g, c.in[1], avs_reshape(g, s, AVS_F32T(C, 1, 1, 1)));
    avs_val bias = c.n_in > 2 && c.in[2] ? avs_add(g, avs_mul(g, c.in[2], s), t) : t;
    avs_node *n = &g->node[add]; /* the convolution stands where the addition stood, and makes its value */
    avs_node fused = c;
    fused.n_in = 3;
    fused.in[1] = w;
    fused.in[2] = bias;
    fused.out[0] = n->out[0];
    *n = fused;
    avs_drop_node(g, conv);
    avs_drop_node(g, mul);
}

int avs_pass_fold_bn(avs_graph *g, avs_err *e)
{
    int rc = AVS_OK;
    const uint32_t n_known = g->n_v, n_node = g->n_node;
    bool *is_const = AVS_NEW_N(g->arena, bool, g->n_v);
    const char *scope = g->scope;
    folding f = {.g = g, .is_const = is_const};
    if (!is_const) return avs_fail(e, AVS_ENOMEM, "no memory for a table of constants");
    AVS_TRY(avs_graph_const_values(g, is_const, e));
    AVS_TRY(avs_uses_find(g, &f.use, e));
    for (uint32_t i = 1; i < n_node; i++) {
        avs_val s = 0, t = 0;
        uint32_t mul = match(&f, n_known, i, AVS_EW_ADD, AVS_OP_EW, &t);
        uint32_t conv = mul ? match(&f, n_known, mul, AVS_EW_MUL, AVS_OP_CONV2D, &s) : 0;
        if (!conv) continue;
        const avs_node *c = &g->node[conv];
        const avs_conv_attr *a = c->attr;
        if (a->act != AVS_ACT_NONE || (c->n_in > 3 && c->in[3]) || !is_fixed(&f, n_known, c->in[1])) continue;
        if (c->n_in > 2 && c->in[2] && !is_fixed(&f, n_known, c->in[2])) continue;
        if (!avs_type_same_shape(avs_t(g, g->node[i].out[0]), avs_t(g, c->out[0]))) continue;
        fold(&f, i, mul, conv, s, t);
    }
    g->scope = scope;
    AVS_TRY(avs_graph_check(g, e));
    AVS_TRY(avs_sort_nodes(g, e));
out:
    return rc;
}
