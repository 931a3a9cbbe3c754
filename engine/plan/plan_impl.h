/* Inside of a plan: where each value lies, the steps, and the tables behind the public calls. */
#ifndef AVS_ENGINE_PLAN_PLAN_IMPL_H
#define AVS_ENGINE_PLAN_PLAN_IMPL_H

#include "base/arena.h"
#include "engine/backend/backend.h"
#include "engine/plan/plan.h"

typedef enum {
    AVS_AT_NOWHERE, /* never read or written                                        */
    AVS_AT_FIXED, /* its own place for the plan's life: inputs, constants, frozen parameters, buffers, prologue */
    AVS_AT_PARAM, /* the PARAM slab                                               */
    AVS_AT_GRAD,  /* the GRAD slab                                                */
    AVS_AT_ARENA  /* the activation slab, shared over time                        */
} avs_place_kind;

/* One per value; views have none of their own (see avs_plan.root). */
typedef struct {
    avs_place_kind kind;
    size_t bytes;             /* of storage, not rounded                           */
    size_t off;               /* in its slab                                       */
    int32_t first, last;      /* main steps between which an ARENA value lives; outputs: last = n_main */
    avs_val shares;           /* ARENA: != 0 when it lies in the place of that one */
    const avs_layout *layout; /* NULL: plain                                       */
    char *ptr;
} avs_place;

typedef enum { AVS_STEP_NODE, AVS_STEP_COPY } avs_step_kind;
typedef struct {
    avs_step step;
    avs_step_kind kind;
    uint32_t node; /* NODE */
    struct {
        const char *src;
        char *dst;
        size_t bytes;
        const char *key;
    } copy;
} avs_plan_step;

typedef struct {
    avs_plan_param pub;
    avs_val val, grad; /* grad 0: none */
} avs_param_rec;

typedef struct {
    const char *name;
    avs_val val;
    int64_t n;
    /* F64 plans: the f32 image of the value (NULL for i32 and u8); devices: the host's copy; else NULL */
    void *stage;
    bool is_f64_set; /* inputs: written with avs_plan_input_f64, so the image is not read */
    bool is_stale;   /* outputs of devices: the copy is of another run */
} avs_io;

typedef struct avs_slab_list {
    struct avs_slab_list *next;
    float *slab;
} avs_slab_list;

struct avs_plan {
    avs_arena *arena;
    avs_plan_cfg cfg;
    const avs_backend_ops *ops;
    avs_backend *be;
    avs_graph *g;
    avs_runtime rt;
    bool *is_const;
    avs_val *root; /* per value: itself, or what it is a view of */
    avs_place *place;
    avs_plan_step *main, *prologue;
    int n_main, n_prologue;
    int peak_step; /* main step at which most activations live */
    avs_plan_bucket *bucket;
    int n_bucket;
    avs_bucket_fn on_bucket;
    void *bucket_ctx;
    avs_sum_fn on_sum;
    void *sum_ctx;
    avs_err sum_err; /* what on_sum said; steps return its code alone */
    avs_param_rec *param;
    int n_param;
    avs_io *input, *output;
    int n_input, n_output;
    char *act, *fixed, *param_slab, *grad_slab, *work;
    size_t act_bytes, fixed_bytes, slab_bytes, work_bytes, lower_bound;
    int64_t slab_elems;
    double build_ms;
    bool is_dirty;        /* constants changed: the prologue runs before the next run */
    avs_slab_list *slabs; /* of avs_plan_slab_new, on a CPU */
    void *zeros;          /* of the device, from which slabs are cleared; NULL until then */
    /* Devices: steps recorded for replay, and how many runs came before (the first one queues: libraries set up). */
    bool is_recorded;
    int n_kernels, n_runs;
    char *device_base;
    bool has_marks;
};

/* Bytes of one element of this dtype in this plan (f32 is stored as f64 in F64 plans). */
size_t avs_plan_elem(const avs_plan *p, uint8_t dtype);
/* The tensor of a value: its address and the dtype of its storage. */
avs_tensor avs_plan_tensor(const avs_plan *p, avs_val v);
static inline size_t avs_plan_round(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

int avs_plan_place(avs_plan *p,
                   avs_err *e); /* classes, layouts, lifetimes, offsets, slabs: place[] is final */
int avs_plan_lower(avs_plan *p, avs_err *e);   /* steps; first, last and peak_step count them from here on */
int avs_plan_buckets(avs_plan *p, avs_err *e); /* after lower */
/* One step; *e names it when it fails. With check_nan also looks at what it made. */
int avs_plan_step_run(avs_plan *p, const avs_plan_step *s, avs_err *e);
int avs_plan_check_finite(avs_plan *p, const avs_plan_step *s, avs_err *e);
const char *avs_plan_step_op(const avs_plan *p, const avs_plan_step *s);
const char *avs_plan_step_scope(const avs_plan *p, const avs_plan_step *s); /* "" for none */
/* "conv2d  f32[1,56,56,64]  KERNEL  SCOPE" in columns, no line end. */
void avs_plan_describe(const avs_plan *p, const avs_plan_step *s, FILE *f);
/* Multiply-accumulates; 0 for what is neither convolution nor matrix product. */
int64_t avs_plan_step_macs(const avs_plan *p, const avs_plan_step *s);
int avs_plan_io(avs_plan *p, avs_err *e); /* input and output tables */
/* Inputs from their images into their storage; outputs into their images (devices: when they are asked for). */
int avs_plan_io_begin(avs_plan *p, avs_err *e);
void avs_plan_io_end(avs_plan *p);
int avs_plan_params(avs_plan *p, avs_err *e); /* parameter table, in the order of the graph */
avs_param_rec *avs_plan_param_rec(const avs_plan *p, const char *key);

/* n elements between f32 and the plan's storage of f32 values, in the host's memory. */
void avs_plan_store(const avs_plan *p, const float *src, void *dst, int64_t n);
void avs_plan_load(const avs_plan *p, const void *src, float *dst, int64_t n);
/* Devices: waits for the queue. */
int avs_plan_wait(avs_plan *p, avs_err *e);

#endif
