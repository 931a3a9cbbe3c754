/* Passes: rewrites of a graph that keep what it computes (outputs, gradients, updates) and make it cheaper.
 *
 * Each pass is int avs_pass_NAME(avs_graph *, avs_err *): it changes the graph in place and leaves it compact, in
 * topological order and valid. Values that are outputs (taps become outputs before any pass) stay available under
 * their names. Passes know nothing of backends. avs_pass_all runs those that are not switched off. */
#ifndef AVS_ENGINE_PASS_PASS_H
#define AVS_ENGINE_PASS_PASS_H

#include "engine/graph/graph.h"
#include "engine/graph/ops.h"

/* Bits of avs_pass_cfg.off, in the order in which the passes run. BUCKET is the planner's: without it all gradients are
 * one bucket. */
enum {
    AVS_PASS_DCE = 1 << 0,
    AVS_PASS_CSE = 1 << 1,
    AVS_PASS_FOLD_BN = 1 << 2,
    AVS_PASS_FUSE_BN_RELU = 1 << 3,
    AVS_PASS_RECOMPUTE = 1 << 4,
    AVS_PASS_FUSE_EPILOGUE = 1 << 5,
    AVS_PASS_FUSE_EW = 1 << 6,
    AVS_PASS_BUCKET = 1 << 7,
    AVS_PASS_SCHEDULE = 1 << 8,
    AVS_PASS_REMAKE_BN = 1 << 9, /* before RECOMPUTE */
    AVS_PASS_FOLD_SUM = 1 << 10, /* behind FOLD_BN */
    AVS_PASS_EVERY = (1 << 11) - 1
};

typedef struct {
    unsigned off;      /* AVS_PASS_* bits: these do not run                                       */
    size_t mem_budget; /* bytes that activations should stay within (RECOMPUTE); 0: no limit       */
} avs_pass_cfg;

/* Drops nodes whose results nobody reads. */
int avs_pass_dce(avs_graph *g, avs_err *e);
/* Nodes with equal op, attributes and operands, and equal views, become one. */
int avs_pass_cse(avs_graph *g, avs_err *e);
/* CONV2D, then EW times s[C] and plus t[C] with constant s, t, w: a CONV2D with weight w*s and bias t (+ bias*s). */
int avs_pass_fold_bn(avs_graph *g, avs_err *e);
/* Linear layers of x + c with constant c and weight: of x, with c W + bias, made once, as their residual. */
int avs_pass_fold_sum(avs_graph *g, avs_err *e);
/* BATCHNORM followed by RELU alone: act of the BATCHNORM; likewise the RELU_GRAD before BATCHNORM_BWD. */
int avs_pass_fuse_bn_relu(avs_graph *g, avs_err *e);
/* BATCHNORM with RELU whose backward readers are gradients of convolution weights: they read EW of its operands instead,
 * placed before them, so that its output dies in the forward. */
int avs_pass_remake_bn(avs_graph *g, avs_err *e);
/* While the activations of forward and backward need more than budget bytes: values of the forward are made a second
 * time just before the backward reads them. First those that are cheap to make from what is kept (EW, normalisation of
 * tokens, resizing, moves), then whole blocks from the values that enter them (checkpointing). Every op gives the same
 * bits twice. budget 0 or no backward: nothing happens. A budget that cannot be reached is approached as far as
 * possible; the plan's statistics tell. */
int avs_pass_recompute(avs_graph *g, size_t budget, avs_err *e);
/* CONV2D or MATMUL followed by EW that adds a bias row, adds a residual, takes RELU: operands and act of that node. */
int avs_pass_fuse_epilogue(avs_graph *g, avs_err *e);
/* EW into the EW that is its only reader. */
int avs_pass_fuse_ew(avs_graph *g, avs_err *e);
/* Another topological order where one is found that needs less memory at its peak; results keep their bits. */
int avs_pass_schedule(avs_graph *g, avs_err *e);
/* All of them in order. */
int avs_pass_all(avs_graph *g, const avs_pass_cfg *cfg, avs_err *e);

/* "cse,schedule" or "all" to bits of avs_pass_cfg.off, added to *off. AVS_EPARSE lists the names there are. */
int avs_pass_parse(const char *names, unsigned *off, avs_err *e);

/* is_const[v] for all g->n_v values: it depends only on constants, buffers that no update writes, and parameters
 * without an output "grad:KEY"; the planner computes such nodes once, in the prologue. */
int avs_graph_const_values(const avs_graph *g, bool *is_const, avs_err *e);
/* The value of output "grad:KEY" for a parameter; 0: none. */
avs_val avs_graph_grad_of(const avs_graph *g, avs_val param);

#endif
