/* Training: BATCHNORM then RELU alone becomes BATCHNORM with act, which saves writing and keeping the value between;
 * its backward takes the unmasked gradient and masks it itself, by what it finds before the ReLU. */
#include "engine/pass/rewrite.h"

static int fuse_forward(avs_graph *g, const avs_uses *u, uint32_t relu, avs_err *e)
{
    avs_ew_simple s;
    if (!avs_ew_is_simple(g, relu, &s) || s.code != AVS_EW_RELU) return AVS_OK;
    uint32_t bn = avs_sole_producer(g, u, s.a, AVS_OP_BATCHNORM);
    avs_val y = g->node[relu].out[0];
    if (!bn || !avs_type_same_shape(avs_t(g, y), avs_t(g, g->node[bn].out[0]))) return AVS_OK;
    avs_norm_attr a = *(const avs_norm_attr *)g->node[bn].attr;
    if (a.act != AVS_ACT_NONE) return AVS_OK;
    a.act = AVS_ACT_RELU;
    const void *attr = avs_new_attr(g, &a, sizeof a, e);
    if (!attr) return AVS_ENOMEM;
    g->v[g->node[bn].out[0]].kind = AVS_V_NONE;
    g->node[bn].attr = attr;
    g->node[bn].out[0] = y;
    g->v[y].node = bn;
    g->v[y].out = 0;
    g->node[relu] = (avs_node){.op = AVS_OP_NONE};
    return AVS_OK;
}

/* The BATCHNORM with act whose backward this is; NULL: none. */
static const avs_node *activated_forward(const avs_graph *g, const avs_node *bwd)
{
    const avs_value *mean = &g->v[bwd->in[3]];
    if (mean->kind != AVS_V_TMP || mean->view_of) return NULL;
    const avs_node *bn = &g->node[mean->node];
    if (bn->op != AVS_OP_BATCHNORM || bn->in[0] != bwd->in[1]) return NULL;
    return ((const avs_norm_attr *)bn->attr)->act == AVS_ACT_RELU ? bn : NULL;
}

static int fuse_backward(avs_graph *g, const avs_uses *u, uint32_t bwd, avs_err *e)
{
    avs_node *n = &g->node[bwd];
    avs_ew_simple s;
    if (n->op != AVS_OP_BATCHNORM_BWD || n->n_in != 5) return AVS_OK;
    const avs_node *bn = activated_forward(g, n);
    uint32_t mask = bn ? avs_sole_producer(g, u, n->in[0], AVS_OP_EW) : 0;
    if (!mask || !avs_ew_is_simple(g, mask, &s) || s.code != AVS_EW_RELU_GRAD || s.b != bn->out[0])
        return AVS_OK;
    if (!avs_type_same_shape(avs_t(g, s.a), avs_t(g, n->in[0]))) return AVS_OK;
    avs_norm_attr a = *(const avs_norm_attr *)n->attr;
    a.act = AVS_ACT_RELU;
    const void *attr = avs_new_attr(g, &a, sizeof a, e);
    if (!attr) return AVS_ENOMEM;
    n->attr = attr;
    n->in[0] = s.a;
    n->in[5] = bn->in[2];
    n->n_in = 6;
    avs_drop_node(g, mask);
    return AVS_OK;
}

int avs_pass_fuse_bn_relu(avs_graph *g, avs_err *e)
{
    int rc = AVS_OK;
    avs_uses u;
    AVS_TRY(avs_uses_find(g, &u, e));
    for (uint32_t i = 1; i < g->n_node; i++) AVS_TRY(fuse_forward(g, &u, i, e));
    for (uint32_t i = 1; i < g->n_node; i++) AVS_TRY(fuse_backward(g, &u, i, e));
    avs_compact(g);
out:
    return rc;
}
