/* Inside of the cuda backend: the instance, and how nodes become launches. */
#ifndef AVS_ENGINE_BACKEND_CUDA_CUDA_H
#define AVS_ENGINE_BACKEND_CUDA_CUDA_H

#include "base/arena.h"
#include "engine/backend/cuda/device.h"

/* [O][I][A] of files against [O][A][I] of kernels, A = kh*kw. */
typedef struct avs_cuda_layout {
    avs_layout base;
    int64_t O, I, A;
    struct avs_cuda_layout *next;
} avs_cuda_layout;

/* What the device reads and writes beside the plan's memory. */
typedef struct {
    int32_t status;
    uint32_t counters[2]; /* step, sample0 */
    int32_t unused;
    double sum;
    double part[AVS_SQUARES_PARTS];
} avs_cuda_words;

struct avs_backend {
    avs_arena *arena;
    const avs_cuda_device_ops *ops;
    avs_cuda_device *dev;
    avs_math math;
    avs_cuda_layout *layouts;
    avs_cuda_words *words, *words_host;          /* device, pinned                            */
    avs_adamw_segment *segments, *segments_host; /* cap_segments; made by the first optimiser step */
    int cap_segments;
    bool has_status, has_counters; /* some step reports into status, reads counters */
    size_t in_use;
};

/* One launch of an own kernel; a step may be a chain of them. */
typedef struct avs_cuda_launch {
    int (*go)(const avs_cuda_kernels *k, const void *p, int64_t n, void *stream);
    void *p;
    int64_t n;
    size_t work_at; /* offset in p of the workspace's address; SIZE_MAX: none */
    struct avs_cuda_launch *next;
} avs_cuda_launch;

enum { AVS_CUDA_ALIGN = 256 };
static inline size_t avs_cuda_round(size_t bytes)
{
    return (bytes + AVS_CUDA_ALIGN - 1) / AVS_CUDA_ALIGN * AVS_CUDA_ALIGN;
}

#define X(name, P) int avs_cuda_go_##name(const avs_cuda_kernels *k, const void *p, int64_t n, void *stream);
AVS_CUDA_LAUNCHERS(X)
#undef X

/* A launch with a copy of p in the backend's arena; NULL with *e set. */
avs_cuda_launch *avs_cuda_launch_new(avs_backend *be,
                                     int (*go)(const avs_cuda_kernels *, const void *, int64_t, void *),
                                     const void *p, size_t size, int64_t n, avs_err *e);
#define AVS_CUDA_LAUNCH(be, name, p, n, e)                                                                   \
    avs_cuda_launch_new((be), avs_cuda_go_##name, &(p), sizeof(p), (n), (e))
int avs_cuda_launch_run(avs_backend *be, const avs_cuda_launch *l, void *workspace);
/* The chain as a step. */
int avs_cuda_step(avs_backend *be, avs_cuda_launch *first, size_t workspace, const char *impl, avs_step *out,
                  avs_err *e);

/* NULL: this op is no row of that table. */
typedef int (*avs_cuda_lower_fn)(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e);
extern const avs_cuda_lower_fn avs_cuda_lower_table[AVS_OP_COUNT];

int avs_cuda_lower_rows(avs_backend *be, const avs_lower_req *r, avs_step *out,
                        avs_err *e); /* norms, softmax, .. */
int avs_cuda_lower_moves(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e);
int avs_cuda_lower_matmul(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e);
int avs_cuda_lower_conv(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e);
int avs_cuda_weight_layout(avs_backend *be, const avs_graph *g, uint32_t node, bool training,
                           const avs_layout **out, avs_err *e);
int avs_cuda_repack(avs_backend *be, const avs_layout *layout, const float *src, float *dst, bool to_canon,
                    avs_err *e);

/* An instance on that device; the rest of the rows of avs_backend_ops. */
int avs_cuda_open_on(const avs_cuda_device_ops *ops, avs_backend **out, avs_math math, avs_err *e);
void avs_cuda_close(avs_backend *be);
bool avs_cuda_may_overwrite(const avs_node *n, int operand);
int avs_cuda_lower(avs_backend *be, const avs_lower_req *req, avs_step *out, avs_err *e);
extern const avs_backend_device avs_cuda_face;

/* Does machine code for archs ("80,90", the last also as PTX) run on sm_<major><minor>? AVS_EMISSING says what is there
 * and what is needed. */
int avs_cuda_fits_arch(const char *gpu, int major, int minor, const char *archs, avs_err *e);
/* Versions as cuDNN counts them, major * 10000 + minor * 100 + patch: the same major, not older. Else AVS_EMISSING. */
int avs_cuda_fits_version(const char *library, size_t have, size_t need, avs_err *e);

int avs_cuda_alloc(avs_backend *be, size_t bytes, const char *what, void **out, avs_err *e);

#endif
