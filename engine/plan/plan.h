/* Plans: a graph lowered to a backend, placed in memory, ready to run as a flat array of steps.
 *
 * avs_plan_build copies the graph, runs the passes, asks the backend for each node's kernel, places activations in one
 * slab (lifetimes over the schedule, first fit by decreasing size) and packs parameters. avs_plan_run neither looks
 * anything up nor allocates. Nodes that depend on parameters and constants alone (folded batch normalisation) form a
 * prologue that runs once after parameters change.
 *
 * Slabs: trainable parameters lie in one slab (PARAM) and their gradients in another (GRAD) with the same offsets, in
 * the backend's packed layout; the order is that of gradient completion. Canonical layout exists only in
 * avs_plan_param_set/get, avs_plan_pack/unpack. Padding elements of packed layouts are 0 and stay 0.
 *
 * | pointer                | owner | valid until                                       |
 * | avs_plan_input()       | plan  | avs_plan_free; write before each run              |
 * | avs_plan_output()      | plan  | avs_plan_free; contents until the next run        |
 * | avs_plan_slab()        | plan  | avs_plan_free                                     |
 * On a GPU (backend cuda) the slabs and all values lie in its memory: inputs and outputs go through staging memory,
 * outputs and canonical parameters are fetched when they are asked for, slabs are addresses that only functions of this
 * header can use. Inference records all steps once and then launches them as one.
 * Thread rules: one plan, one thread at a time; kernels use OpenMP inside. */
#ifndef AVS_ENGINE_PLAN_PLAN_H
#define AVS_ENGINE_PLAN_PLAN_H

#include <stdbool.h>
#include <stdio.h>
#include "engine/graph/graph.h"
#include "engine/optim/adamw.h"

/* TF32 (cuda only): tensor cores round f32 operands to 10 bits of mantissa. BF16 (cpu, cuda): storage, norms, softmax, losses and sums stay f32; dense convolutions and products round their
 * operands to bf16 and accumulate in f32 (docs/precision.md). */
typedef enum { AVS_PREC_F32, AVS_PREC_F64 /* ref only */, AVS_PREC_BF16, AVS_PREC_TF32 } avs_prec;

typedef struct {
    const char *backend; /* "cpu", "cuda" or "ref"; in builds with tests "cuda-emul"    */
    avs_prec prec;
    bool training;       /* the graph holds a backward: keep parameters packed, no constant folding of them */
    bool taps;           /* named activations become outputs "act:NAME" (no fusion across them) */
    unsigned passes_off; /* AVS_PASS_* bits of engine/pass/pass.h: these do not run  */
    /* bytes that the activations of a training plan should stay within, at the price of computing some twice; 0: no
     * limit */
    size_t mem_budget;
    bool keep_all;    /* no memory sharing between activations (debugging)           */
    bool no_winograd; /* cpu: no Winograd convolutions, forward or backward */
    bool check_nan;   /* every run looks at what each step made and stops at the first NaN or infinity */
    /* most bytes in a bucket of gradients; 0: 1 MiB for the first, 25 MiB for the others */
    int64_t bucket_bytes;
    uint64_t dropout_seed;
    bool no_capture; /* cuda: queue every step of every run instead of one recorded launch */
} avs_plan_cfg;

typedef struct avs_plan avs_plan;

int avs_plan_build(avs_plan **out, const avs_graph *g, const avs_plan_cfg *cfg, avs_err *e);
void avs_plan_free(avs_plan *p); /* accepts NULL */

/* Runs every step and waits for the end. AVS_OK or the first failing step's error with its scope. */
int avs_plan_run(avs_plan *p, avs_err *e);
/* The two halves of a run: inputs to where the steps read them (nothing to do on a CPU), and the steps. */
int avs_plan_upload(avs_plan *p, avs_err *e);
int avs_plan_execute(avs_plan *p, avs_err *e);
/* Microseconds of the last avs_plan_execute by the device's own clock; negative on a CPU or before the first. */
double avs_plan_device_us(avs_plan *p);
/* Counters for dropout: optimiser step and the global number of this batch's first row. */
void avs_plan_set_step(avs_plan *p, int64_t step, int64_t sample0);

/* Buffers in engine layout (maps B,H,W,C), f32 or i32 (u8 for argmax outputs). NULL: no such name. With F64 plans
 * inputs and outputs are still f32 (converted at the border); avs_plan_output_f64 gives the f64 elements. */
void *avs_plan_input(avs_plan *p, const char *name, avs_type *t);
const void *avs_plan_output(avs_plan *p, const char *name, avs_type *t);
int avs_plan_input_f64(avs_plan *p, const char *name, const double *src);
int avs_plan_output_f64(avs_plan *p, const char *name, double *dst);

typedef struct {
    const char *key;
    avs_type type;              /* canonical extents */
    avs_vkind kind;             /* PARAM or BUFFER   */
    bool is_trainable;          /* has a gradient in this plan */
    int64_t slab_off, slab_len; /* elements in the PARAM and GRAD slabs; -1, 0 if not trainable */
} avs_plan_param;
int avs_plan_n_params(const avs_plan *p);
const avs_plan_param *avs_plan_param_at(const avs_plan *p, int i);
const avs_plan_param *avs_plan_param_find(const avs_plan *p, const char *key);
int avs_plan_param_set(avs_plan *p, const char *key, const float *canon, avs_err *e);
int avs_plan_param_get(avs_plan *p, const char *key, float *canon, avs_err *e);
/* Zeros if it has no gradient. */
int avs_plan_grad_get(avs_plan *p, const char *key, float *canon, avs_err *e);

/* On a GPU the pointers to slabs are addresses of the device. avs_plan_slab_new: one more array of the slab's layout in
 * the same memory, zeroed, for optimiser state; lives as long as the plan; NULL with *e set. */
typedef enum { AVS_SLAB_PARAM, AVS_SLAB_GRAD } avs_slab;
float *avs_plan_slab(avs_plan *p, avs_slab which, int64_t *n);
float *avs_plan_slab_new(avs_plan *p, avs_err *e);
/* n elements between the host and a slab, from element off; both wait. */
int avs_plan_slab_read(avs_plan *p, const float *slab, int64_t off, int64_t n, float *host, avs_err *e);
int avs_plan_slab_write(avs_plan *p, float *slab, int64_t off, int64_t n, const float *host, avs_err *e);
/* Bytes between the host and memory of the plan; both wait. */
int avs_plan_write(avs_plan *p, void *dst, const void *src, size_t bytes, avs_err *e);
int avs_plan_read(avs_plan *p, void *dst, const void *src, size_t bytes, avs_err *e);
/* n elements from off become 0; queued behind what runs. */
int avs_plan_slab_clear(avs_plan *p, float *slab, int64_t off, int64_t n, avs_err *e);
/* The optimiser's passes over slabs, as engine/optim/adamw.h says, wherever the slabs lie; on a GPU one launch each. sum
 * = (keep ? sum : 0) + x. avs_plan_adamw also says that parameters changed. */
int avs_plan_adamw(avs_plan *p, const avs_adamw_arrays *x, const avs_opt_segment *seg, int n_seg,
                   const avs_adamw_cfg *cfg, int64_t t, float grad_scale, avs_err *e);
int avs_plan_grad_norm(avs_plan *p, const float *g, double *norm, avs_err *e);
int avs_plan_slab_add(avs_plan *p, const float *x, float *sum, bool keep, avs_err *e);
/* The queue of a GPU plan (a cudaStream_t), for collectives; NULL on a CPU. is_device: do slabs lie on a device? */
void *avs_plan_queue(avs_plan *p);
bool avs_plan_is_device(const avs_plan *p);
/* The most bytes that the plans of this process have held at one time on that backend's device; 0 without one. What the
 * driver and the libraries keep for themselves is not in it. */
size_t avs_plan_device_peak(const char *backend);
/* "NVIDIA H100 80GB HBM3, sm_90, .."; "" on a CPU. */
const char *avs_plan_device(avs_plan *p, char *out, size_t n);
/* One parameter between an array with the slab's layout (optimiser state) and canonical layout. */
int avs_plan_unpack(avs_plan *p, const char *key, const float *slab, float *canon, avs_err *e);
int avs_plan_pack(avs_plan *p, const char *key, const float *canon, float *slab, avs_err *e);
/* After writing the PARAM slab directly (optimiser step): the prologue runs again before the next run. */
void avs_plan_params_changed(avs_plan *p);

/* A bucket: a range of the GRAD slab, in elements, that is complete after main step `step` (-1: before the first). The
 * buckets of a plan cover the slab in order; a gradient is never divided. While the rest of the backward runs, whoever
 * reduces gradients over ranks can work on it. */
typedef struct {
    int64_t off, len;
    int step;
} avs_plan_bucket;
int avs_plan_n_buckets(const avs_plan *p);
const avs_plan_bucket *avs_plan_bucket_at(const avs_plan *p, int i);
/* Called in every run between the steps, in order, as soon as a bucket is complete; an error ends the run. fn NULL: no
 * more calls. */
typedef int (*avs_bucket_fn)(void *ctx, const avs_plan_bucket *b, avs_err *e);
void avs_plan_on_bucket(avs_plan *p, avs_bucket_fn fn, void *ctx);
/* What batch statistics over ranks (avs_graph.is_bn_sync) call inside their steps, forward, backward and where a forward is
 * computed again: x [n] in the plan's memory becomes its sum over the ranks, with the same bits on all. Plans of one graph and
 * one configuration call it, and whoever waits for buckets, in the same order on every rank. fn NULL: one rank. */
typedef int (*avs_sum_fn)(void *ctx, double *x, int64_t n, avs_err *e);
void avs_plan_on_sum(avs_plan *p, avs_sum_fn fn, void *ctx);

typedef struct {
    size_t arena_bytes, lower_bound_bytes, param_bytes, workspace_bytes;
    size_t device_bytes; /* on a GPU: all that the plan has allocated there */
    int n_steps, n_prologue;
    int n_kernels;   /* of the recorded launch; 0: none */
    double build_ms; /* that avs_plan_build took */
} avs_plan_stats;
avs_plan_stats avs_plan_get_stats(const avs_plan *p);
/* Per step: op, scope, MACs, bytes, offset, lifetime; the map of the activations at the fullest step; MACs per scope;
 * buckets; slabs and lower bound. */
void avs_plan_report(const avs_plan *p, FILE *f);
/* Runs once with a clock around each step; prints milliseconds per op kind and the slowest steps. */
int avs_plan_profile(avs_plan *p, int runs, FILE *f, avs_err *e);
/* Runs once warm and once with a clock around each step; writes the steps as Chrome trace events (JSON). */
int avs_plan_trace(avs_plan *p, FILE *f, avs_err *e);

#endif
