/* Training: y = relu(batchnorm(x)) is kept for the gradient of the next convolution's weight alone, while x is kept for
 * the normalisation's own gradient. So y dies in the forward, and one elementwise pass makes it again from x just before
 * that gradient, which then finds it in cache. */
#include "engine/pass/rewrite.h"

enum { MAX_READERS = 8 };

static bool is_backward(const avs_graph *g, const avs_node *n)
{
    return g->first_grad && n->out[0] >= g->first_grad;
}

/* Backward nodes that read y: their number; 0 where one of them, or an output, wants y for anything else than a
 * convolution's weight. */
static int late_readers(const avs_graph *g, avs_val y, uint32_t *reader)
{
    int n_reader = 0;
    if (avs_is_kept(g, y)) return 0;
    for (uint32_t i = 1; i < g->n_node; i++) {
        const avs_node *n = &g->node[i];
        for (int k = 0; k < n->n_in; k++) {
            if (avs_root(g, n->in[k]) != y || !is_backward(g, n)) continue;
            if (n->op != AVS_OP_CONV2D_BWD_W || k != 0 || n->in[k] != y || n_reader == MAX_READERS) return 0;
            reader[n_reader++] = i;
        }
    }
    return n_reader;
}

/* relu((x - mean) rstd gamma + beta) */
static avs_val make_again(avs_graph *g, const avs_node *bn)
{
    const avs_ew_attr a = {.n = 6,
                           .instr = {{.code = AVS_EW_LOAD},
                                     {.code = AVS_EW_SUB, .src = AVS_EW_STREAM, .arg = 1},
                                     {.code = AVS_EW_MUL, .src = AVS_EW_STREAM, .arg = 2},
                                     {.code = AVS_EW_MUL, .src = AVS_EW_STREAM, .arg = 3},
                                     {.code = AVS_EW_ADD, .src = AVS_EW_STREAM, .arg = 4},
                                     {.code = AVS_EW_RELU}},
                           .out = *avs_t(g, bn->out[0])};
    const avs_val in[] = {bn->in[0], bn->out[1], bn->out[2], bn->in[1], bn->in[2]};
    return avs_graph_node(g, AVS_OP_EW, in, 5, &a, NULL);
}

int avs_pass_remake_bn(avs_graph *g, avs_err *e)
{
    int rc = AVS_OK;
    const uint32_t n_node = g->n_node;
    const char *scope = g->scope;
    for (uint32_t i = 1; i < n_node; i++) {
        const avs_node bn = g->node[i];
        uint32_t reader[MAX_READERS];
        if (bn.op != AVS_OP_BATCHNORM || ((const avs_norm_attr *)bn.attr)->act != AVS_ACT_RELU) continue;
        const int n_reader = late_readers(g, bn.out[0], reader);
        if (!n_reader) continue;
        g->scope = bn.scope;
        const avs_val y = make_again(g, &bn);
        for (int k = 0; y && k < n_reader; k++) g->node[reader[k]].in[0] = y;
    }
    g->scope = scope;
    AVS_TRY(avs_graph_check(g, e));
    if (g->n_node > n_node) AVS_TRY(avs_sort_nodes(g, e));
out:
    return rc;
}
