/* What a backend gives to the planner: for each node a step, and packed layouts for weights.
 *
 * A backend instance belongs to one plan and owns everything it makes (contexts, library primitives, packed constant
 * copies) until close. Lowering happens once; all addresses are final by then, except that of the workspace, which is
 * one block for the whole plan and is handed to every step.
 * Thread rules: as the plan's. */
#ifndef AVS_ENGINE_BACKEND_BACKEND_H
#define AVS_ENGINE_BACKEND_BACKEND_H

#include <stdbool.h>
#include "base/err.h"
#include "engine/graph/graph.h"
#include "engine/graph/ops.h"

typedef struct avs_backend avs_backend;

/* A packed layout of one weight. len is its length in f32 elements, padding included. The backend derives from it. */
typedef struct {
    int64_t len;
} avs_layout;

typedef struct {
    const avs_graph *g;
    uint32_t node;
    avs_tensor in[AVS_MAX_IN], out[AVS_MAX_OUT]; /* final addresses; absent operands have data NULL */
    const avs_layout *in_layout[AVS_MAX_IN], *out_layout[AVS_MAX_OUT]; /* NULL: plain */
    bool in_is_const
        [AVS_MAX_IN]; /* the operand changes only when parameters are set: prepare() may repack it */
    bool training;
    bool no_winograd;      /* the plan's wish: convolutions as products and sums of the definition alone */
    const avs_runtime *rt; /* the plan's, read at run time */
} avs_lower_req;

/* workspace: 64-byte aligned, at least the bytes asked for in avs_step. Returns an avs_code. */
typedef int (*avs_step_fn)(void *ctx, void *workspace);
typedef struct {
    avs_step_fn run;
    avs_step_fn prepare; /* NULL: none; runs before the next run whenever parameters were set */
    void *ctx;
    size_t workspace; /* bytes */
    const char *impl; /* which implementation was chosen, for reports; never NULL */
} avs_step;

typedef struct {
    const char *name;
    /* bf16: convolutions and products may round their operands to bf16. AVS_EMISSING, naming what was found, where the
     * processor has no arithmetic for that. */
    int (*open)(avs_backend **out, bool bf16, avs_err *e);
    void (*close)(avs_backend *be); /* accepts NULL */
    /* The layout in which `node` (CONV2D, or MATMUL with a constant B) reads operand 1 fastest; equal layouts are one
     * pointer. *out = NULL:
     * plain is as good. The member is NULL if the backend has no packed layouts. */
    int (*weight_layout)(avs_backend *be, const avs_graph *g, uint32_t node, bool training,
                         const avs_layout **out, avs_err *e);
    /* Between canonical f32 elements and the packed layout; padding becomes 0. NULL where weight_layout is NULL. */
    int (*repack)(avs_backend *be, const avs_layout *layout, const float *src, float *dst, bool to_canon,
                  avs_err *e);
    /* May output 0 of the node occupy the memory of this operand (same extents, dies here)? NULL: never. */
    bool (*may_overwrite)(const avs_node *n, int operand);
    int (*lower)(avs_backend *be, const avs_lower_req *req, avs_step *out, avs_err *e);
} avs_backend_ops;

extern const avs_backend_ops avs_backend_ref; /* naive kernels, F32 or F64 storage */
extern const avs_backend_ops avs_backend_cpu; /* oneDNN and OpenMP kernels, F32 storage */

#endif
