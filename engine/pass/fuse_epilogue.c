/* What follows a convolution or a matrix product and touches each element once moves into it: a bias row, a residual,
 * ReLU, ReLU6 or GELU, in this order. One EW node is taken at a time; the product then stands where that node stood, so that the
 * residual is computed by then. */
#include "engine/pass/rewrite.h"

static bool has(const avs_node *n, int k)
{
    return n->n_in > k && n->in[k];
}

static int act_of(const avs_node *n)
{
    return n->op == AVS_OP_CONV2D ? ((const avs_conv_attr *)n->attr)->act
                                  : ((const avs_matmul_attr *)n->attr)->act;
}

static const void *with_act(avs_graph *g, const avs_node *n, avs_act act, avs_err *e)
{
    if (n->op == AVS_OP_CONV2D) {
        avs_conv_attr a = *(const avs_conv_attr *)n->attr;
        a.act = act;
        return avs_new_attr(g, &a, sizeof a, e);
    }
    avs_matmul_attr a = *(const avs_matmul_attr *)n->attr;
    a.act = act;
    return avs_new_attr(g, &a, sizeof a, e);
}

static bool takes_bias(const avs_graph *g, const avs_node *n, avs_val row)
{
    const avs_type *t = avs_t(g, row), *y = avs_t(g, n->out[0]);
    if (has(n, 2) || has(n, 3) || t->rank != 1 || t->dtype != AVS_F32 || t->d[0] != y->d[y->rank - 1])
        return false;
    if (n->op == AVS_OP_CONV2D) return true;
    const avs_matmul_attr *a = n->attr;
    return a->heads == 0 && a->alpha == 1.0f;
}

static bool takes_residual(const avs_graph *g, const avs_node *n, avs_val r)
{
    const avs_type *t = avs_t(g, r), *y = avs_t(g, n->out[0]);
    return !has(n, 3) && t->dtype == AVS_F32 && avs_type_count(t) == avs_type_count(y) &&
           avs_root(g, r) != n->out[0];
}

/* The product z of node `made` absorbs EW node ew = z + other. */
static bool absorb_add(avs_graph *g, avs_node *fused, avs_val other)
{
    if (act_of(fused) != AVS_ACT_NONE) return false;
    int slot = takes_bias(g, fused, other) ? 2 : takes_residual(g, fused, other) ? 3 : 0;
    if (!slot) return false;
    for (int k = fused->n_in; k < slot; k++) fused->in[k] = 0;
    if (fused->n_in <= slot) fused->n_in = (uint8_t)(slot + 1);
    fused->in[slot] = slot == 3 ? avs_as(g, other, avs_t(g, fused->out[0])) : other;
    return true;
}

/* The product that feeds operand v alone; 0: none. */
static uint32_t product_of(const avs_graph *g, const avs_uses *u, avs_val v)
{
    uint32_t p = v ? avs_sole_producer(g, u, v, AVS_OP_CONV2D) : 0;
    return p || !v ? p : avs_sole_producer(g, u, v, AVS_OP_MATMUL);
}

/* `fused` takes the place of node ew; the product it came from goes. */
static void install(avs_graph *g, avs_uses *u, uint32_t ew, uint32_t product, avs_node fused)
{
    avs_val y = g->node[ew].out[0], z = fused.out[0];
    g->node[product] = (avs_node){.op = AVS_OP_NONE};
    if (avs_type_same_shape(avs_t(g, y), avs_t(g, z))) {
        g->v[z].kind = AVS_V_NONE;
        fused.out[0] = y;
    } else {
        avs_make_view(g, y, z);
        u->n_read[z] = u->n_read[y];
        g->v[z].node = ew;
    }
    g->node[ew] = fused;
}

/* The epilogue that does what the EW code does; NONE: none. */
static avs_act act_for(int code)
{
    switch (code) {
    case AVS_EW_RELU:
        return AVS_ACT_RELU;
    case AVS_EW_RELU6:
        return AVS_ACT_RELU6;
    case AVS_EW_GELU:
        return AVS_ACT_GELU;
    default:
        return AVS_ACT_NONE;
    }
}

static int fuse_one(avs_graph *g, avs_uses *u, uint32_t ew, avs_err *e)
{
    avs_ew_simple s;
    if (!avs_ew_is_simple(g, ew, &s)) return AVS_OK;
    const bool is_full = avs_type_count(avs_t(g, s.a)) == avs_type_count(avs_t(g, g->node[ew].out[0]));
    if (act_for(s.code) != AVS_ACT_NONE && is_full) {
        uint32_t p = product_of(g, u, s.a);
        if (!p || act_of(&g->node[p]) != AVS_ACT_NONE) return AVS_OK;
        avs_node fused = g->node[p];
        fused.attr = with_act(g, &fused, act_for(s.code), e);
        if (!fused.attr) return AVS_ENOMEM;
        install(g, u, ew, p, fused);
    } else if (s.code == AVS_EW_ADD && avs_root(g, s.a) != avs_root(g, s.b)) {
        uint32_t pa = product_of(g, u, s.a), pb = product_of(g, u, s.b);
        for (int k = 0; k < 2; k++) { /* of two products the later one absorbs the sum */
            bool take_b = (pb > pa) == (k == 0);
            uint32_t p = take_b ? pb : pa;
            avs_val z = take_b ? s.b : s.a, other = take_b ? s.a : s.b;
            if (!p || avs_type_count(avs_t(g, z)) != avs_type_count(avs_t(g, g->node[ew].out[0]))) continue;
            avs_node fused = g->node[p];
            if (!absorb_add(g, &fused, other)) continue;
            install(g, u, ew, p, fused);
            break;
        }
    }
    return AVS_OK;
}

int avs_pass_fuse_epilogue(avs_graph *g, avs_err *e)
{
    int rc = AVS_OK;
    avs_uses u;
    AVS_TRY(avs_uses_find(g, &u, e));
    for (uint32_t i = 1; i < g->n_node; i++)
        if (g->node[i].op == AVS_OP_EW) AVS_TRY(fuse_one(g, &u, i, e));
    avs_compact(g);
    AVS_TRY(avs_graph_check(g, e));
out:
    return rc;
}
