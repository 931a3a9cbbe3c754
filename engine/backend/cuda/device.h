/* What the cuda backend asks of a device: memory, copies, kernels, products, convolutions, recorded launches.
 *
 * Two fill this table: the GPU (cuda/gpu) with the CUDA runtime, cuBLASLt and cuDNN, and the emulated device
 * (emul/device.c) with host memory, kernels on fibres and plain loops. Everything above the table is one code, so that
 * plans, launches and memory run on a machine without a GPU. Work is queued in one stream, in order.
 * Thread rules: one thread. Functions return an avs_code; those that run between begin and end of a step set no message,
 * which `why` gives. */
#ifndef AVS_ENGINE_BACKEND_CUDA_DEVICE_H
#define AVS_ENGINE_BACKEND_CUDA_DEVICE_H

#include <stdbool.h>
#include "base/err.h"
#include "engine/backend/backend.h"
#include "engine/backend/cuda/kernels.h"

typedef struct avs_cuda_device avs_cuda_device;

/* One product of `batch` matrices as they lie in memory, rows first: C[M,N] = act(alpha A B + bias[N] + residual), A
 * [M,K] ([K,M] with ta), B [K,N] ([N,K] with tb), residual as C and possibly C itself. ld*: elements from one row to the
 * next; stride*: from one matrix to the next. A and B f32, or bf16 with is_bf16; C, bias, residual f32; sums f32. */
typedef struct {
    int64_t M, N, K, batch;
    int64_t lda, ldb, ldc, stride_a, stride_b, stride_c;
    bool ta, tb, has_bias, has_residual, is_bf16;
    int act; /* NONE or RELU */
    float alpha;
    uint32_t align_a, align_b, align_c; /* of the addresses, at most 256 */
} avs_cuda_gemm;

/* One convolution over x[B,H,W,Ci], w[Co,kh,kw,Ci/groups], y[B,Ho,Wo,Co]. FWD writes y = act(conv + bias + residual),
 * BWD_X writes x, BWD_W writes w. Operands f32, or bf16 with is_bf16; results f32. */
typedef enum { AVS_CONV_FWD, AVS_CONV_BWD_X, AVS_CONV_BWD_W } avs_conv_kind;
typedef struct {
    avs_conv_kind kind;
    avs_conv_attr a;
    int64_t B, H, W, Ci, Ho, Wo, Co;
    bool has_bias, has_residual, is_bf16;
    bool needs_f32; /* the result must not be bf16 */
    int act;        /* NONE or RELU */
    uint32_t align; /* of all addresses, at most 256 */
} avs_cuda_conv;

/* A product or convolution that is ready to run; owned by the device until close. */
typedef struct {
    void *plan;
    size_t workspace;
    bool is_fused;   /* convolutions: bias, residual and act are done; else y is the bare convolution   */
    bool gives_bf16; /* convolutions: the bare result is bf16                                            */
    const char *impl;
} avs_cuda_call;

typedef struct {
    const char *name;
    const avs_cuda_kernels *kernels;
    int (*open)(avs_cuda_device **out, avs_math math, avs_err *e);
    void (*close)(avs_cuda_device *d); /* accepts NULL; frees all memory and calls */
    int (*memory)(avs_cuda_device *d, size_t *free_bytes, size_t *total, avs_err *e);
    int (*alloc)(avs_cuda_device *d, size_t bytes, void **out, avs_err *e); /* 256-byte aligned, zeroed */
    int (*alloc_host)(avs_cuda_device *d, size_t bytes, void **out, avs_err *e); /* pinned, zeroed */
    int (*copy)(avs_cuda_device *d, void *dst, const void *src, size_t bytes);   /* any direction, queued */
    int (*sync)(avs_cuda_device *d);
    void *(*stream)(avs_cuda_device *d);
    /* Calls between record and recorded are kept; kernels: how many launches. replay queues all of them. One recording
     * per device. NULL: none can be kept. */
    int (*record)(avs_cuda_device *d);
    int (*recorded)(avs_cuda_device *d, int *kernels);
    int (*replay)(avs_cuda_device *d);
    int (*mark)(avs_cuda_device *d, int which);
    int (*elapsed)(avs_cuda_device *d, double *us);
    /* AVS_EMISSING: the library has nothing for it. bias, residual: NULL where absent. */
    int (*gemm_new)(avs_cuda_device *d, const avs_cuda_gemm *g, avs_cuda_call *out, avs_err *e);
    int (*gemm_run)(avs_cuda_device *d, const avs_cuda_call *c, const void *a, const void *b,
                    const float *bias, const float *residual, float *y, void *workspace);
    int (*conv_new)(avs_cuda_device *d, const avs_cuda_conv *g, avs_cuda_call *out, avs_err *e);
    /* The operand that is written by address, the others by value, in the order x, w, y. */
    int (*conv_run)(avs_cuda_device *d, const avs_cuda_call *c, void *x, void *w, void *y, const float *bias,
                    const float *residual, void *workspace);
    void (*describe)(avs_cuda_device *d, char *out, size_t n);
    const char *(*why)(avs_cuda_device *d);
} avs_cuda_device_ops;

extern const avs_cuda_device_ops avs_cuda_gpu;
extern const avs_cuda_device_ops avs_cuda_emul;

#endif
