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
#include "engine/optim/adamw.h"

typedef struct avs_backend avs_backend;

/* How convolutions and products compute: f32; cuda: tensor cores in TF32; operands rounded to bf16. Sums are f32. */
typedef enum { AVS_MATH_F32, AVS_MATH_TF32, AVS_MATH_BF16 } avs_math;

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

/* What a backend adds whose memory the host cannot reach and whose steps are queued instead of run. Every call is an
 * avs_code; a failure of the device may be told by a later call (sync at the latest). */
typedef struct {
    /* Zeroed, aligned to 256 bytes, freed by close. AVS_ENOMEM, before anything is allocated, names `what`, its size
     * and how much is free. */
    int (*alloc)(avs_backend *be, size_t bytes, const char *what, void **out, avs_err *e);
    /* Memory of the host that copies reach without a detour; freed by close. */
    int (*alloc_host)(avs_backend *be, size_t bytes, void **out, avs_err *e);
    /* Queued, in order with the steps; either side may be the host's. */
    int (*copy)(avs_backend *be, void *dst, const void *src, size_t bytes, avs_err *e);
    /* Waits for all that is queued. AVS_ERANGE: a step met a class or a row index out of range. */
    int (*sync)(avs_backend *be, avs_err *e);
    /* Before the steps of a run: what they read at run time. */
    int (*begin)(avs_backend *be, const avs_runtime *rt, avs_err *e);
    /* Between record and recorded steps are kept instead of queued; replay queues all of them with one launch.
     * n_kernels: kernels among them. */
    int (*record)(avs_backend *be, avs_err *e);
    int (*recorded)(avs_backend *be, int *n_kernels, avs_err *e);
    int (*replay)(avs_backend *be, avs_err *e);
    /* Marks a point in the queue (which 0: from, 1: to); elapsed: microseconds between them, after sync. */
    int (*mark)(avs_backend *be, int which, avs_err *e);
    int (*elapsed)(avs_backend *be, double *us, avs_err *e);
    /* The optimiser over slabs of this memory, as engine/optim/adamw.h; norm waits. sum = (keep ? sum : 0) + x. */
    int (*adamw)(avs_backend *be, const avs_adamw_arrays *x, const avs_opt_segment *seg, int n_seg,
                 const avs_adamw_cfg *cfg, int64_t t, float grad_scale, avs_err *e);
    int (*norm)(avs_backend *be, const float *g, int64_t n, double *norm, avs_err *e);
    int (*add)(avs_backend *be, const float *x, float *sum, int64_t n, bool keep, avs_err *e);
    /* The queue (a cudaStream_t) for whoever queues work of its own; NULL on the emulated device. */
    void *(*queue)(avs_backend *be);
    void (*describe)(avs_backend *be, char *out, size_t n); /* "NVIDIA H100, sm_90, driver .." */
    const char *(*why)(avs_backend *be); /* the device's own words for its last failure; "" if none */
    size_t (*in_use)(avs_backend *be);   /* bytes allocated */
    size_t (*peak)(void);                /* the most that all instances of this process held at one time */
} avs_backend_device;

typedef struct {
    const char *name;
    /* BF16: convolutions and products may round their operands to bf16. AVS_EMISSING, naming what was found and what is
     * needed, where the processor has no arithmetic for that or there is no device. */
    int (*open)(avs_backend **out, avs_math math, avs_err *e);
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
    const avs_backend_device *device; /* NULL: memory is the host's, steps have run when they return */
} avs_backend_ops;

extern const avs_backend_ops avs_backend_ref;  /* naive kernels, F32 or F64 storage */
extern const avs_backend_ops avs_backend_cpu;  /* oneDNN and OpenMP kernels, F32 storage */
extern const avs_backend_ops avs_backend_cuda; /* cuBLASLt, cuDNN and own kernels, F32 storage */
/* The cuda backend on a device that fibres and plain loops stand in for: for tests on machines without a GPU. */
extern const avs_backend_ops avs_backend_cuda_emul;

#endif
