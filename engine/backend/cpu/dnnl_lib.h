/* oneDNN, loaded when the cpu backend is first opened: the loader needs some milliseconds for the library and what it
 * brings along, which a process that computes nothing (a no-op, an external trial, --version) should not pay.
 * Where oneDNN is a static library it is linked, and the table holds its addresses. */
#ifndef AVS_ENGINE_BACKEND_CPU_DNNL_LIB_H
#define AVS_ENGINE_BACKEND_CPU_DNNL_LIB_H

#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>
#include "base/err.h"

// clang-format off
#define AVS_DNNL_CALLS(X) \
    X(dnnl_dilated_convolution_backward_data_desc_init) \
    X(dnnl_dilated_convolution_backward_weights_desc_init) \
    X(dnnl_dilated_convolution_forward_desc_init) \
    X(dnnl_engine_create) \
    X(dnnl_engine_destroy) \
    X(dnnl_get_effective_cpu_isa) \
    X(dnnl_matmul_desc_init) \
    X(dnnl_memory_create) \
    X(dnnl_memory_desc_equal) \
    X(dnnl_memory_desc_get_size) \
    X(dnnl_memory_desc_init_by_strides) \
    X(dnnl_memory_desc_init_by_tag) \
    X(dnnl_memory_destroy) \
    X(dnnl_memory_set_data_handle) \
    X(dnnl_post_ops_append_binary) \
    X(dnnl_post_ops_append_eltwise) \
    X(dnnl_post_ops_append_sum) \
    X(dnnl_post_ops_create) \
    X(dnnl_post_ops_destroy) \
    X(dnnl_primitive_attr_create) \
    X(dnnl_primitive_attr_destroy) \
    X(dnnl_primitive_attr_set_output_scales) \
    X(dnnl_primitive_attr_set_post_ops) \
    X(dnnl_primitive_attr_set_scratchpad_mode) \
    X(dnnl_primitive_create) \
    X(dnnl_primitive_desc_create) \
    X(dnnl_primitive_desc_destroy) \
    X(dnnl_primitive_desc_query) \
    X(dnnl_primitive_desc_query_md) \
    X(dnnl_primitive_destroy) \
    X(dnnl_primitive_execute) \
    X(dnnl_reorder_primitive_desc_create) \
    X(dnnl_status2str) \
    X(dnnl_stream_create) \
    X(dnnl_stream_destroy) \
    X(dnnl_stream_wait) \
    X(dnnl_version)
// clang-format on

/* Each call under its own name. */
typedef struct {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): a declarator */
#define X(f) __typeof__(&(f)) f;
    AVS_DNNL_CALLS(X)
#undef X
} avs_dnnl_calls;
extern avs_dnnl_calls avs_dnnl;

/* Fills avs_dnnl, once a process; any thread. AVS_EMISSING with the loader's reason: the library is not found, or is
 * another version. */
int avs_dnnl_load(avs_err *e);
/* "2.6.0" of the library at hand; "" when it cannot be loaded. */
const char *avs_dnnl_version_text(void);

#endif
