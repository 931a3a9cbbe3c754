/* LAYERNORM, BATCHNORM (batch statistics) and GROUPNORM.
 *
 * All three compute y = gamma (x - mean) rstd + beta and differ in the set that mean and rstd are taken over; with
 * xhat = (x - mean) rstd, h = gamma gy and n elements in the set:
 *   gx = rstd (h - mean(h) - xhat mean(h xhat)),  dgamma = sum(gy xhat),  dbeta = sum(gy).
 * Batch normalisation with running statistics is composed of EW nodes, so that it can be folded. */
#include "engine/graph/op/op.h"

/* x of rank >= lo and the vectors gamma, beta. */
static int check(const avs_type *in, int n_in, int lo, const avs_norm_attr *a, avs_err *e)
{
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(op_want_rank(in, 0, lo, AVS_MAX_RANK, e));
    int c = in[0].d[in[0].rank - 1];
    AVS_TRY(op_want_vector(in, 1, c, e));
    AVS_TRY(op_want_vector(in, 2, c, e));
    if (!(a->eps >= 0)) return avs_fail(e, AVS_ERANGE, "eps is %g", (double)a->eps);
out:
    return rc;
}

/* gy x gamma mean rstd: outputs as x, gamma, gamma; stat is what mean and rstd must be. */
static int check_bwd(const avs_type *in, int n_in, const avs_type *stat, avs_type *out, avs_err *e)
{
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(op_want_shape(in, 0, &in[1], e));
    AVS_TRY(op_want_vector(in, 2, in[1].d[in[1].rank - 1], e));
    AVS_TRY(op_want_shape(in, 3, stat, e));
    AVS_TRY(op_want_shape(in, 4, stat, e));
    out[0] = in[1];
    out[1] = out[2] = in[2];
out:
    return rc;
}

/* ---------------------------------------------------------------- layer */

static avs_type layer_stat(const avs_type *x)
{
    avs_type t = *x;
    t.rank--;
    t.d[t.rank] = 0;
    return t;
}

int avs_infer_layernorm(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    int rc;
    AVS_TRY(check(in, n_in, 1, attr, e));
    out[0] = in[0];
    out[1] = out[2] = layer_stat(&in[0]);
out:
    return rc;
}

int avs_infer_layernorm_bwd(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    int rc;
    (void)attr;
    AVS_TRY(op_want_rank(in, 1, 1, AVS_MAX_RANK, e));
    avs_type stat = layer_stat(&in[1]);
    AVS_TRY(check_bwd(in, n_in, &stat, out, e));
out:
    return rc;
}

/* The three backward nodes take gy x gamma mean rstd and return gx dgamma dbeta. */
static void vjp(avs_graph *g, int op, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    avs_val out[AVS_MAX_OUT] = {0};
    const avs_norm_attr *a = n.attr;
    if (!gout[0]) return;
    if (a->act != AVS_ACT_NONE) {
        avs_graph_fail(g, AVS_ERANGE, "a normalisation with an epilogue cannot be differentiated");
        return;
    }
    avs_graph_node(g, op, (avs_val[]){gout[0], n.in[0], n.in[1], n.out[1], n.out[2]}, 5, a, out);
    for (int i = 0; i < 3; i++) gin[i] = need[i] ? out[i] : 0;
}

void avs_vjp_layernorm(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    vjp(g, AVS_OP_LAYERNORM_BWD, node, gout, need, gin);
}

avs_val avs_layernorm(avs_graph *g, avs_val x, avs_val gamma, avs_val beta, float eps)
{
    avs_norm_attr a = {.eps = eps};
    return avs_graph_node(g, AVS_OP_LAYERNORM, (avs_val[]){x, gamma, beta}, 3, &a, NULL);
}

/* ---------------------------------------------------------------- batch */

int avs_infer_batchnorm(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_norm_attr *a = attr;
    int rc;
    AVS_TRY(check(in, n_in, 2, a, e));
    int c = in[0].d[in[0].rank - 1];
    AVS_TRY(op_want_vector(in, 3, c, e));
    AVS_TRY(op_want_vector(in, 4, c, e));
    if (!(a->momentum >= 0 && a->momentum <= 1))
        return avs_fail(e, AVS_ERANGE, "momentum is %g", (double)a->momentum);
    if (avs_type_count(&in[0]) == c)
        return avs_fail(e, AVS_ESHAPE, "batch statistics want more than one value per channel");
    out[0] = in[0];
    for (int i = 1; i < 5; i++) out[i] = in[1];
out:
    return rc;
}

int avs_infer_batchnorm_bwd(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_norm_attr *a = attr;
    int rc;
    AVS_TRY(op_want_rank(in, 1, 2, AVS_MAX_RANK, e));
    AVS_TRY(check_bwd(in, n_in, &in[2], out, e));
    if (op_has(in, n_in, 5))
        AVS_TRY(op_want_vector(in, 5, in[1].d[in[1].rank - 1], e));
    else if (a->act == AVS_ACT_RELU)
        return avs_fail(e, AVS_EMISSING, "with relu beta is wanted as operand 5");
out:
    return rc;
}

void avs_vjp_batchnorm(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    vjp(g, AVS_OP_BATCHNORM_BWD, node, gout, need, gin);
}

/* What a buffer holds after the updates made so far: a layer that is called twice updates it twice. */
static avs_val latest(const avs_graph *g, avs_val buffer)
{
    for (uint32_t i = g->n_update; i-- > 0;)
        if (g->update[i].buffer == buffer) return g->update[i].value;
    return buffer;
}

/* NOLINTNEXTLINE(readability-function-size): five operands and three constants, as everywhere for this op */
avs_val avs_batchnorm(avs_graph *g, avs_val x, avs_val gamma, avs_val beta, avs_val running_mean,
                      avs_val running_var, float eps, float momentum, bool train)
{
    if (!train) {
        avs_val s = avs_mul(g, gamma, avs_ew_unary(g, AVS_EW_RSQRT, avs_offset(g, running_var, eps)));
        avs_val t = avs_sub(g, beta, avs_mul(g, running_mean, s));
        return avs_add(g, avs_mul(g, x, s), t);
    }
    avs_norm_attr a = {.eps = eps, .momentum = momentum, .is_sync = g->is_bn_sync};
    avs_val out[AVS_MAX_OUT] = {0};
    const avs_val in[5] = {x, gamma, beta, latest(g, running_mean), latest(g, running_var)};
    avs_val y = avs_graph_node(g, AVS_OP_BATCHNORM, in, 5, &a, out);
    avs_graph_update(g, running_mean, out[3]);
    avs_graph_update(g, running_var, out[4]);
    return y;
}

/* ---------------------------------------------------------------- group */

static int check_groups(const avs_type *x, const avs_norm_attr *a, avs_type *stat, avs_err *e)
{
    int c = x->d[x->rank - 1];
    if (a->groups < 1 || c % a->groups)
        return avs_fail(e, AVS_ESHAPE, "%d channels do not fall into %d groups", c, a->groups);
    *stat = AVS_F32T(x->d[0], a->groups);
    return AVS_OK;
}

int avs_infer_groupnorm(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    int rc;
    AVS_TRY(check(in, n_in, 2, attr, e));
    AVS_TRY(check_groups(&in[0], attr, &out[1], e));
    out[0] = in[0];
    out[2] = out[1];
out:
    return rc;
}

int avs_infer_groupnorm_bwd(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    avs_type stat;
    int rc;
    AVS_TRY(op_want_rank(in, 1, 2, AVS_MAX_RANK, e));
    AVS_TRY(check_groups(&in[1], attr, &stat, e));
    AVS_TRY(check_bwd(in, n_in, &stat, out, e));
out:
    return rc;
}

void avs_vjp_groupnorm(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    vjp(g, AVS_OP_GROUPNORM_BWD, node, gout, need, gin);
}

avs_val avs_groupnorm(avs_graph *g, avs_val x, avs_val gamma, avs_val beta, int groups, float eps)
{
    avs_norm_attr a = {.eps = eps, .groups = groups};
    return avs_graph_node(g, AVS_OP_GROUPNORM, (avs_val[]){x, gamma, beta}, 3, &a, NULL);
}
