/* Inside the cpu backend: the instance, and steps made of oneDNN primitives.
 *
 * A step is one primitive with its memory objects, at most two reorders before (a weight that is not kept packed,
 * operands rounded to bf16) and one after (a gradient that is wanted plain), and at most one copy (a residual that the
 * primitive accumulates onto).
 * Scratchpads and reorder targets lie in the plan's workspace at fixed offsets and are bound at the first run. */
#ifndef AVS_ENGINE_BACKEND_CPU_DNNL_STEP_H
#define AVS_ENGINE_BACKEND_CPU_DNNL_STEP_H

#include "engine/backend/backend.h"
#include "engine/backend/cpu/dnnl_lib.h"

/* Calls go through the table. */
// clang-format off
#define dnnl_dilated_convolution_backward_data_desc_init avs_dnnl.dnnl_dilated_convolution_backward_data_desc_init
#define dnnl_dilated_convolution_backward_weights_desc_init avs_dnnl.dnnl_dilated_convolution_backward_weights_desc_init
#define dnnl_dilated_convolution_forward_desc_init avs_dnnl.dnnl_dilated_convolution_forward_desc_init
#define dnnl_engine_create avs_dnnl.dnnl_engine_create
#define dnnl_engine_destroy avs_dnnl.dnnl_engine_destroy
#define dnnl_get_effective_cpu_isa avs_dnnl.dnnl_get_effective_cpu_isa
#define dnnl_matmul_desc_init avs_dnnl.dnnl_matmul_desc_init
#define dnnl_memory_create avs_dnnl.dnnl_memory_create
#define dnnl_memory_desc_equal avs_dnnl.dnnl_memory_desc_equal
#define dnnl_memory_desc_get_size avs_dnnl.dnnl_memory_desc_get_size
#define dnnl_memory_desc_init_by_strides avs_dnnl.dnnl_memory_desc_init_by_strides
#define dnnl_memory_desc_init_by_tag avs_dnnl.dnnl_memory_desc_init_by_tag
#define dnnl_memory_destroy avs_dnnl.dnnl_memory_destroy
#define dnnl_memory_set_data_handle avs_dnnl.dnnl_memory_set_data_handle
#define dnnl_post_ops_append_binary avs_dnnl.dnnl_post_ops_append_binary
#define dnnl_post_ops_append_eltwise avs_dnnl.dnnl_post_ops_append_eltwise
#define dnnl_post_ops_append_sum avs_dnnl.dnnl_post_ops_append_sum
#define dnnl_post_ops_create avs_dnnl.dnnl_post_ops_create
#define dnnl_post_ops_destroy avs_dnnl.dnnl_post_ops_destroy
#define dnnl_primitive_attr_create avs_dnnl.dnnl_primitive_attr_create
#define dnnl_primitive_attr_destroy avs_dnnl.dnnl_primitive_attr_destroy
#define dnnl_primitive_attr_set_output_scales avs_dnnl.dnnl_primitive_attr_set_output_scales
#define dnnl_primitive_attr_set_post_ops avs_dnnl.dnnl_primitive_attr_set_post_ops
#define dnnl_primitive_attr_set_scratchpad_mode avs_dnnl.dnnl_primitive_attr_set_scratchpad_mode
#define dnnl_primitive_create avs_dnnl.dnnl_primitive_create
#define dnnl_primitive_desc_create avs_dnnl.dnnl_primitive_desc_create
#define dnnl_primitive_desc_destroy avs_dnnl.dnnl_primitive_desc_destroy
#define dnnl_primitive_desc_query avs_dnnl.dnnl_primitive_desc_query
#define dnnl_primitive_desc_query_md avs_dnnl.dnnl_primitive_desc_query_md
#define dnnl_primitive_destroy avs_dnnl.dnnl_primitive_destroy
#define dnnl_primitive_execute avs_dnnl.dnnl_primitive_execute
#define dnnl_reorder_primitive_desc_create avs_dnnl.dnnl_reorder_primitive_desc_create
#define dnnl_status2str avs_dnnl.dnnl_status2str
#define dnnl_stream_create avs_dnnl.dnnl_stream_create
#define dnnl_stream_destroy avs_dnnl.dnnl_stream_destroy
#define dnnl_stream_wait avs_dnnl.dnnl_stream_wait
// clang-format on

typedef struct avs_dnnl_owned {
    struct avs_dnnl_owned *next;
    dnnl_primitive_t prim;
    dnnl_memory_t mem;
    void *bytes; /* from avs_xalloc */
} avs_dnnl_owned;

typedef struct avs_dnnl_layout {
    avs_layout base; /* first: the planner sees this */
    dnnl_memory_desc_t md, plain;
    struct avs_dnnl_layout *next;
} avs_dnnl_layout;

struct avs_backend {
    avs_arena *arena;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    avs_dnnl_owned *owned;
    avs_dnnl_layout *layouts;
    bool is_bf16;        /* products may round their operands           */
    double direct_speed; /* of convolutions over what they read, f32 = 1 */
};

typedef struct {
    dnnl_primitive_t prim; /* NULL: none */
    dnnl_exec_arg_t arg[2];
} avs_dnnl_reorder;

enum { AVS_DNNL_MAX_ARGS = 8, AVS_DNNL_MAX_BOUND = 6, AVS_DNNL_MAX_BEFORE = 2 };
typedef struct {
    avs_backend *be;
    dnnl_primitive_t prim;
    dnnl_exec_arg_t arg[AVS_DNNL_MAX_ARGS];
    int n_arg;
    avs_dnnl_reorder prepare, before[AVS_DNNL_MAX_BEFORE], after;
    int n_before;
    const void *copy_src; /* NULL: no copy */
    void *copy_dst;
    size_t copy_bytes;
    struct {
        dnnl_memory_t mem;
        size_t off;
    } bound[AVS_DNNL_MAX_BOUND]; /* memory objects inside the workspace */
    int n_bound;
    void *workspace; /* what they are bound to */
    size_t workspace_bytes;
} avs_dnnl_ctx;

/* Calls a oneDNN function; its failure becomes an AVS_ELIB error with the library's word for it. */
#define AVS_DNNL(call)                                                                                       \
    do {                                                                                                     \
        dnnl_status_t dnnl_st_ = (call);                                                                     \
        if (dnnl_st_ != dnnl_success) {                                                                      \
            rc = avs_fail(e, dnnl_st_ == dnnl_out_of_memory ? AVS_ENOMEM : AVS_ELIB, "oneDNN: %s in %s",     \
                          dnnl_status2str(dnnl_st_), #call);                                                 \
            goto out;                                                                                        \
        }                                                                                                    \
    } while (0)

/* 64-byte aligned memory that lives as long as the backend; NULL with *e set. */
void *avs_dnnl_bytes(avs_backend *be, size_t bytes, avs_err *e);
avs_dnnl_ctx *avs_dnnl_ctx_new(avs_backend *be, avs_err *e);
/* The implementation's name, valid as long as the backend. */
int avs_dnnl_impl(avs_backend *be, const_dnnl_primitive_desc_t pd, const char **impl, avs_err *e);
/* Creates the step's primitive and, with it, its scratchpad in the workspace. */
int avs_dnnl_set_primitive(avs_dnnl_ctx *c, const_dnnl_primitive_desc_t pd, avs_err *e);
/* Adds an argument at a fixed address; the memory object is owned by the backend. */
int avs_dnnl_arg(avs_dnnl_ctx *c, int arg, const dnnl_memory_desc_t *md, const void *data, avs_err *e);
/* Adds an f32 operand that the primitive reads as md: where that is bf16, rounded into the workspace before every run.
 * md is dense, in whatever order of axes. */
int avs_dnnl_arg_operand(avs_dnnl_ctx *c, int arg, const dnnl_memory_desc_t *md, const void *data,
                         avs_err *e);
/* Adds a weight operand at `data` in layout `have` that the primitive reads as `want`: reordered once per parameter
 * change if is_const, else before every run. */
int avs_dnnl_arg_weight(avs_dnnl_ctx *c, int arg, const dnnl_memory_desc_t *have,
                        const dnnl_memory_desc_t *want, const void *data, bool is_const, avs_err *e);
/* Adds an output that the primitive writes as `made` and that must arrive at `data` as `want`. */
int avs_dnnl_arg_result(avs_dnnl_ctx *c, int arg, const dnnl_memory_desc_t *made,
                        const dnnl_memory_desc_t *want, void *data, avs_err *e);
void avs_dnnl_finish(avs_dnnl_ctx *c, const char *impl, avs_step *out);
/* One reorder now. */
int avs_dnnl_reorder_now(avs_backend *be, const dnnl_memory_desc_t *from, const void *src,
                         const dnnl_memory_desc_t *to, void *dst, avs_err *e);
/* AVS_EMISSING, naming what was found, unless oneDNN can use AVX512-BF16 or AMX here. *speed: of dense convolutions over
 * bf16 operands, f32 = 1. */
int avs_cpu_bf16_probe(double *speed, avs_err *e);
/* Is rounding so many elements per run worth it for so many multiply-adds, `depth` of them per result? */
bool avs_bf16_pays(double macs, double rounded, int64_t depth);
double avs_dnnl_elements(const dnnl_memory_desc_t *md);
/* The same extents and strides in bf16. */
dnnl_memory_desc_t avs_bf16_desc(const dnnl_memory_desc_t *md);
/* oneDNN's slow paths: the naive loops and im2col. */
bool avs_dnnl_is_slow(const char *impl);
/* Attributes with scratchpad in user memory, scale, accumulation onto the destination and act. The caller destroys. */
int avs_dnnl_attr(dnnl_primitive_attr_t *attr, float scale, bool accumulate, int act, avs_err *e);
/* Appends the avs_act act; NONE appends nothing. */
int avs_dnnl_post_act(dnnl_post_ops_t post, int act, avs_err *e);

/* The layout object for `packed` over canonical `plain`; NULL where they are equal. */
int avs_dnnl_layout_for(avs_backend *be, const dnnl_memory_desc_t *plain, const dnnl_memory_desc_t *packed,
                        const avs_layout **out, avs_err *e);
int avs_dnnl_repack(avs_backend *be, const avs_layout *layout, const float *src, float *dst, bool to_canon,
                    avs_err *e);
int avs_dnnl_conv2d_layout(avs_backend *be, const avs_graph *g, uint32_t node, bool training,
                           const avs_layout **out, avs_err *e);
int avs_dnnl_matmul_layout(avs_backend *be, const avs_graph *g, uint32_t node, const avs_layout **out,
                           avs_err *e);
int avs_dnnl_lower_conv2d(avs_backend *be, const avs_lower_req *req, avs_step *out, avs_err *e);
/* Makes `out` a Winograd step if that is possible and expected to be faster; else leaves *is_taken false. `w` describes
 * the weight as it lies. */
int avs_winograd_lower(avs_backend *be, const avs_lower_req *req, const dnnl_memory_desc_t *w, avs_step *out,
                       bool *is_taken, avs_err *e);
int avs_dnnl_lower_matmul(avs_backend *be, const avs_lower_req *req, avs_step *out, avs_err *e);

#endif
