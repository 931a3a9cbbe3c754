/* What every kernel file in this folder starts with. The folder's files are compiled once per instruction set, with
 * AVS_ISA_SUFFIX (v1, v3, v4) in the names of everything that has external linkage. */
#ifndef AVS_ENGINE_BACKEND_CPU_ISA_H
#define AVS_ENGINE_BACKEND_CPU_ISA_H

#include "engine/backend/cpu/kernels.h"
#include "engine/kernel/lane.k.h"

#ifndef AVS_ISA_SUFFIX
#error "compile the files of this folder with AVS_ISA_SUFFIX, see engine/backend/cpu/CMakeLists.txt"
#endif
#define AVS_ISA_(name, suffix)  name##_##suffix
#define AVS_ISA__(name, suffix) AVS_ISA_(name, suffix)
#define AVS_ISA(name)           AVS_ISA__(name, AVS_ISA_SUFFIX)

/* Kernels of the table: X(ENUM, lower_name, has workspace). */
// clang-format off
#define AVS_CPU_OWN_KERNELS(X)          \
    X(CONV2D_BWD_W,  conv2d_bwd_w,  1)  \
    X(SOFTMAX,       softmax,       0)  \
    X(SOFTMAX_BWD,   softmax_bwd,   0)  \
    X(LAYERNORM,     layernorm,     0)  \
    X(LAYERNORM_BWD, layernorm_bwd, 1)  \
    X(BATCHNORM,     batchnorm,     1)  \
    X(BATCHNORM_BWD, batchnorm_bwd, 1)  \
    X(GROUPNORM,     groupnorm,     1)  \
    X(GROUPNORM_BWD, groupnorm_bwd, 1)  \
    X(POOL_MAX,      pool_max,      0)  \
    X(POOL_MAX_BWD,  pool_max_bwd,  0)  \
    X(POOL_AVG,      pool_avg,      0)  \
    X(POOL_AVG_BWD,  pool_avg_bwd,  0)  \
    X(RESIZE,        resize,        1)  \
    X(RESIZE_BWD,    resize_bwd,    1)  \
    X(MSDEFORM,      msdeform,      0)  \
    X(MSDEFORM_BWD,  msdeform_bwd,  0)  \
    X(EW,            ew,            0)  \
    X(REDUCE,        reduce,        1)  \
    X(CONCAT,        concat,        0)  \
    X(SLICE,         slice,         0)  \
    X(PAD,           pad,           0)  \
    X(PERMUTE,       permute,       0)  \
    X(GATHER_ROWS,   gather_rows,   0)  \
    X(GATHER_ROWS_BWD, gather_rows_bwd, 1) \
    X(ROW_MAX,       row_max,       0)  \
    X(ROW_MAX_BWD,   row_max_bwd,   0)  \
    X(DROPOUT,       dropout,       0)  \
    X(LOSS,          loss,          1)  \
    X(LOSS_BWD,      loss_bwd,      1)  \
    X(SET_LOSS,      set_loss,      1)
// clang-format on

#define AVS_PROTO_0(name)
#define AVS_PROTO_1(name) size_t AVS_ISA(avs_cpu_##name##_work)(const avs_kernel_args *a);
#define X(E, name, has_work)                                                                                 \
    int AVS_ISA(avs_cpu_##name)(const avs_cpu_call *c);                                                      \
    AVS_PROTO_##has_work(name)
AVS_CPU_OWN_KERNELS(X)
#undef X
extern const avs_cpu_kernel AVS_ISA(avs_cpu_table)[AVS_OP_COUNT];

static inline int64_t avs_min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t avs_max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
static inline int64_t avs_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Product of the extents of axes [from, to). */
static inline int64_t avs_extent(const avs_type *t, int from, int to)
{
    int64_t n = 1;
    for (int i = from; i < to; i++) n *= t->d[i];
    return n;
}
static inline int64_t avs_last(const avs_type *t)
{
    return t->rank ? t->d[t->rank - 1] : 1;
}

/* Hands out pieces of the workspace, each aligned to 64 bytes. With base NULL it only counts. */
typedef struct {
    char *base;
    size_t used;
} avs_scratch;
static inline void *avs_scratch_take(avs_scratch *s, size_t bytes)
{
    void *p = s->base ? s->base + s->used : NULL;
    s->used += (bytes + 63) & ~(size_t)63;
    return p;
}

#endif
