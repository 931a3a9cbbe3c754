/* MATMUL: linear layers, batched products and attention products in one op.
 *
 * Write A' = op(a), B' = op(b), C = alpha A' B'. Then dA' = alpha G B'^T and dB' = alpha A'^T G; a transposed operand
 * gets the transposed product, so every gradient is one MATMUL again. An operand keeps its split flag wherever it
 * stands, which makes the head forms no special case. */
#include "engine/graph/op/op.h"

#include <string.h>

/* One operand of the head form: rows and columns of the matrix of a head. */
static int head_extents(const avs_type *in, int i, bool split, int heads, int *rows, int *cols, avs_err *e)
{
    if (op_want_rank(in, i, split ? 3 : 4, split ? 3 : 4, e) != AVS_OK) return AVS_ESHAPE;
    if (split ? in[i].d[2] % heads != 0 : in[i].d[1] != heads)
        return avs_fail(e, AVS_ESHAPE, "operand %d does not hold %d heads", i, heads);
    *rows = split ? in[i].d[1] : in[i].d[2];
    *cols = split ? in[i].d[2] / heads : in[i].d[3];
    return AVS_OK;
}

static int infer_product(const avs_type *in, const avs_matmul_attr *m, avs_type *out, avs_err *e)
{
    int ra, ca, rb, cb;
    const avs_type *a = &in[0], *b = &in[1];
    bool is_linear = b->rank == 2 && m->heads == 0;
    if (is_linear) {
        if (a->rank < 1 || (m->ta && a->rank != 2))
            return avs_fail(e, AVS_ESHAPE, "operand 0 has rank %d%s", a->rank,
                            m->ta ? " and is transposed" : "");
        ca = a->d[a->rank - 1];
        ra = a->rank > 1 ? a->d[a->rank - 2] : 1;
        rb = b->d[0];
        cb = b->d[1];
    } else if (m->heads == 0) {
        if (a->rank != b->rank || (a->rank != 3 && a->rank != 4))
            return avs_fail(e, AVS_ESHAPE, "a batched product wants two operands of rank 3 or 4");
        for (int i = 0; i < a->rank - 2; i++)
            if (a->d[i] != b->d[i])
                return avs_fail(e, AVS_ESHAPE, "batch axis %d is %d and %d", i, a->d[i], b->d[i]);
        ra = a->d[a->rank - 2];
        ca = a->d[a->rank - 1];
        rb = b->d[b->rank - 2];
        cb = b->d[b->rank - 1];
    } else {
        int rc;
        if (m->heads < 0) return avs_fail(e, AVS_ERANGE, "heads is %d", m->heads);
        if ((rc = head_extents(in, 0, m->a_split, m->heads, &ra, &ca, e)) != AVS_OK) return rc;
        if ((rc = head_extents(in, 1, m->b_split, m->heads, &rb, &cb, e)) != AVS_OK) return rc;
        if (a->d[0] != b->d[0]) return avs_fail(e, AVS_ESHAPE, "batch is %d and %d", a->d[0], b->d[0]);
    }
    int M = m->ta ? ca : ra, Ka = m->ta ? ra : ca, Kb = m->tb ? cb : rb, N = m->tb ? rb : cb;
    if (Ka != Kb) return avs_fail(e, AVS_ESHAPE, "the inner extents are %d and %d", Ka, Kb);
    if (m->heads) {
        out[0] = m->c_split ? AVS_F32T(a->d[0], M, (int64_t)m->heads * N) : AVS_F32T(a->d[0], m->heads, M, N);
        return AVS_OK;
    }
    out[0] = *a;
    out[0].d[a->rank - 1] = N;
    if (a->rank > 1) out[0].d[a->rank - 2] = M;
    return AVS_OK;
}

int avs_infer_matmul(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_matmul_attr *m = attr;
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    if (m->heads == 0 && (m->a_split || m->b_split || m->c_split))
        return avs_fail(e, AVS_ERANGE, "split operands want heads > 0");
    AVS_TRY(infer_product(in, m, out, e));
    if (op_has(in, n_in, 2)) {
        if (m->heads) return avs_fail(e, AVS_ESHAPE, "the head form takes no bias");
        AVS_TRY(op_want_vector(in, 2, out[0].d[out[0].rank - 1], e));
    }
    if (op_has(in, n_in, 3)) AVS_TRY(op_want_shape(in, 3, &out[0], e));
out:
    return rc;
}

static avs_val product(avs_graph *g, avs_val a, avs_val b, avs_matmul_attr m)
{
    return avs_graph_node(g, AVS_OP_MATMUL, (avs_val[]){a, b}, 2, &m, NULL);
}

/* [.., n] as [rows, n] */
static avs_val as_rows(avs_graph *g, avs_val x)
{
    const avs_type *t = avs_t(g, x);
    int n = t->d[t->rank - 1];
    return avs_reshape(g, x, AVS_F32T(avs_type_count(t) / n, n));
}

void avs_vjp_matmul(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    const avs_matmul_attr m = *(const avs_matmul_attr *)n.attr;
    avs_val a = n.in[0], b = n.in[1], gy = gout[0];
    if (m.act != AVS_ACT_NONE || n.in[3]) {
        avs_graph_fail(g, AVS_ERANGE, "matmul with an epilogue cannot be differentiated");
        return;
    }
    const avs_matmul_attr base = {.heads = m.heads, .alpha = m.alpha};
    bool is_linear = avs_t(g, b)->rank == 2 && m.heads == 0;
    if (need[0]) {
        avs_matmul_attr d = base;
        d.c_split = m.a_split;
        if (m.ta) { /* d(a) = B' G^T */
            d.ta = m.tb, d.tb = 1, d.a_split = m.b_split, d.b_split = m.c_split;
            gin[0] = product(g, b, gy, d);
        } else { /* d(a) = G B'^T */
            d.tb = !m.tb, d.a_split = m.c_split, d.b_split = m.b_split;
            gin[0] = product(g, gy, b, d);
        }
    }
    if (need[1]) {
        avs_matmul_attr d = base;
        avs_val rows = is_linear ? as_rows(g, a) : a, grad = is_linear ? as_rows(g, gy) : gy;
        d.c_split = m.b_split;
        if (m.tb) { /* d(b) = G^T A' */
            d.ta = 1, d.tb = m.ta, d.a_split = m.c_split, d.b_split = m.a_split;
            gin[1] = product(g, grad, rows, d);
        } else { /* d(b) = A'^T G */
            d.ta = !m.ta, d.a_split = m.a_split, d.b_split = m.c_split;
            gin[1] = product(g, rows, grad, d);
        }
    }
    if (need[2]) gin[2] = avs_reshape(g, avs_reduce(g, as_rows(g, gy), 0, 1, false), *avs_t(g, n.in[2]));
}

avs_val avs_matmul(avs_graph *g, avs_val a, avs_val b, avs_matmul_attr attr)
{
    if (attr.alpha == 0) attr.alpha = 1;
    return product(g, a, b, attr);
}

avs_val avs_linear(avs_graph *g, avs_val x, avs_val w, avs_val bias)
{
    avs_matmul_attr m = {.tb = 1, .alpha = 1};
    return avs_graph_node(g, AVS_OP_MATMUL, (avs_val[]){x, w, bias}, 3, &m, NULL);
}
