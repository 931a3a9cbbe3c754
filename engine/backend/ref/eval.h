/* An interpreter of graphs on the ref kernels, independent of planner and passes: the oracle of tests.
 *
 * Every value has its own memory (views share that of their root), nodes run in graph order. Values that are f32 in
 * the graph are stored as `store`; i32 and u8 stay. Typical use: open, set what the graph needs by name, run, get.
 * Ownership: the run borrows the graph, which must outlive it and must not be changed meanwhile. */
#ifndef AVS_ENGINE_BACKEND_REF_EVAL_H
#define AVS_ENGINE_BACKEND_REF_EVAL_H

#include "engine/graph/ops.h"

typedef struct avs_ref_run avs_ref_run;

/* store: AVS_F32 or AVS_F64. Parameters, buffers and inputs start as 0. rt: copied; NULL: zeros. */
int avs_ref_open(avs_ref_run **out, const avs_graph *g, avs_dtype store, const avs_runtime *rt, avs_err *e);
void avs_ref_close(avs_ref_run *r); /* accepts NULL */
void avs_ref_runtime(avs_ref_run *r, const avs_runtime *rt);

/* Elements of a value, converted from and to double; count as in the graph. */
void avs_ref_set(avs_ref_run *r, avs_val v, const double *src);
void avs_ref_set_f32(avs_ref_run *r, avs_val v, const float *src);
void avs_ref_get(const avs_ref_run *r, avs_val v, double *dst);
double avs_ref_at(const avs_ref_run *r, avs_val v, int64_t i);

/* Nodes 1..last run in order (0: all). The error names the node and its scope. */
int avs_ref_exec(avs_ref_run *r, uint32_t last, avs_err *e);
/* Copies the values of avs_graph_update into their buffers. */
void avs_ref_apply_updates(avs_ref_run *r);

/* Gives the elements of one parameter, buffer or input (canonical extents of t). */
typedef int (*avs_ref_fill)(void *ctx, const char *name, avs_vkind kind, const avs_type *t, double *out,
                            avs_err *e);
/* Open, fill everything that has a name, run all nodes. */
int avs_ref_eval(avs_ref_run **out, const avs_graph *g, avs_dtype store, const avs_runtime *rt,
                 avs_ref_fill fill, void *ctx, avs_err *e);

#endif
