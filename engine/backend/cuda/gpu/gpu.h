/* Inside of the GPU device: the instance, the libraries that are loaded when it opens, and checks of their calls. */
#ifndef AVS_ENGINE_BACKEND_CUDA_GPU_GPU_H
#define AVS_ENGINE_BACKEND_CUDA_GPU_GPU_H

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include "base/arena.h"
#include "engine/backend/cuda/algo_cache.h"
#include "engine/backend/cuda/device.h"

// clang-format off
#define AVS_BLASLT_CALLS(X)                                                                                  \
    X(cublasLtCreate) X(cublasLtDestroy) X(cublasLtGetVersion) X(cublasLtGetStatusString)                    \
    X(cublasLtMatmulDescCreate) X(cublasLtMatmulDescDestroy) X(cublasLtMatmulDescSetAttribute)               \
    X(cublasLtMatrixLayoutCreate) X(cublasLtMatrixLayoutDestroy) X(cublasLtMatrixLayoutSetAttribute)         \
    X(cublasLtMatmulPreferenceCreate) X(cublasLtMatmulPreferenceDestroy)                                     \
    X(cublasLtMatmulPreferenceSetAttribute) X(cublasLtMatmulAlgoGetHeuristic) X(cublasLtMatmul)
#define AVS_CUDNN_CALLS(X)                                                                                   \
    X(cudnnCreate) X(cudnnDestroy) X(cudnnSetStream) X(cudnnGetVersion) X(cudnnGetErrorString)               \
    X(cudnnGetLastErrorString) X(cudnnBackendCreateDescriptor) X(cudnnBackendDestroyDescriptor)              \
    X(cudnnBackendSetAttribute) X(cudnnBackendGetAttribute) X(cudnnBackendFinalize) X(cudnnBackendExecute)
// clang-format on

/* The libraries' functions, found at run time: a machine without them runs everything else. */
typedef struct {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): a declarator */
#define X(name) __typeof__(&name) name;
    AVS_BLASLT_CALLS(X)
    AVS_CUDNN_CALLS(X)
#undef X
} avs_gpu_libs;
/* AVS_EMISSING names the library, the version that is needed and what the loader said. Loaded once per process. */
int avs_gpu_libs_load(const avs_gpu_libs **out, avs_err *e);

typedef struct avs_gpu_block {
    struct avs_gpu_block *next;
    void *p;
    bool is_host;
} avs_gpu_block;

typedef struct avs_gpu_owned {
    struct avs_gpu_owned *next;
    void (*destroy)(const avs_gpu_libs *l, void *p);
    void *p;
} avs_gpu_owned;

struct avs_cuda_device {
    avs_arena *arena;
    const avs_gpu_libs *lib;
    avs_math math;
    int index;
    struct cudaDeviceProp prop;
    int driver, runtime;
    cudaStream_t stream;
    cudaEvent_t marked[2];
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cublasLtHandle_t blas;
    cudnnHandle_t dnn;
    avs_algo_cache *choices;
    avs_gpu_block *memory;
    avs_gpu_owned *owned; /* descriptors of the libraries */
    char failure[320];
};

/* Remembers what failed for `why`; the code. */
int avs_gpu_failed(avs_cuda_device *d, const char *call, const char *text);
int avs_gpu_own(avs_cuda_device *d, void (*destroy)(const avs_gpu_libs *, void *), void *p, avs_err *e);

#define AVS_GPU(d, call)                                                                                     \
    do {                                                                                                     \
        const cudaError_t avs_status = (call);                                                               \
        if (avs_status != cudaSuccess) return avs_gpu_failed((d), #call, cudaGetErrorString(avs_status));    \
    } while (0)

int avs_gpu_gemm_new(avs_cuda_device *d, const avs_cuda_gemm *g, avs_cuda_call *out, avs_err *e);
int avs_gpu_gemm_run(avs_cuda_device *d, const avs_cuda_call *c, const void *a, const void *b,
                     const float *bias, const float *residual, float *y, void *workspace);
int avs_gpu_conv_new(avs_cuda_device *d, const avs_cuda_conv *g, avs_cuda_call *out, avs_err *e);
int avs_gpu_conv_run(avs_cuda_device *d, const avs_cuda_call *c, void *x, void *w, void *y, const float *bias,
                     const float *residual, void *workspace);

#endif
