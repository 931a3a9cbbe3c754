/* Passes: rewrites of a graph that keep what it computes (outputs, gradients, updates) and make it cheaper.
 *
 * Each pass is int avs_pass_NAME(avs_graph *, avs_err *): it changes the graph in place and leaves it compact, in
 * topological order and valid. Values that are outputs (taps become outputs before any pass) stay available under
 * their names. Passes know nothing of backends. */
#ifndef AVS_ENGINE_PASS_PASS_H
#define AVS_ENGINE_PASS_PASS_H

#include "engine/graph/graph.h"
#include "engine/graph/ops.h"

/* Drops nodes whose results nobody reads. */
int avs_pass_dce(avs_graph *g, avs_err *e);
/* Nodes with equal op, attributes and operands, and equal views, become one. */
int avs_pass_cse(avs_graph *g, avs_err *e);
/* CONV2D, then EW times s[C] and plus t[C] with constant s, t, w: a CONV2D with weight w*s and bias t (+ bias*s). */
int avs_pass_fold_bn(avs_graph *g, avs_err *e);
/* BATCHNORM followed by RELU alone: act of the BATCHNORM; likewise the RELU_GRAD before BATCHNORM_BWD. */
int avs_pass_fuse_bn_relu(avs_graph *g, avs_err *e);
/* CONV2D or MATMUL followed by EW that adds a bias row, adds a residual, takes RELU: operands and act of that node. */
int avs_pass_fuse_epilogue(avs_graph *g, avs_err *e);
/* EW into the EW that is its only reader. */
int avs_pass_fuse_ew(avs_graph *g, avs_err *e);
/* All of them in order. */
int avs_pass_all(avs_graph *g, avs_err *e);

/* is_const[v] for all g->n_v values: it depends only on constants, buffers that no update writes, and parameters
 * without an output "grad:KEY"; the planner computes such nodes once, in the prologue. */
int avs_graph_const_values(const avs_graph *g, bool *is_const, avs_err *e);
/* The value of output "grad:KEY" for a parameter; 0: none. */
avs_val avs_graph_grad_of(const avs_graph *g, avs_val param);

#endif
