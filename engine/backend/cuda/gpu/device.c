/* The GPU: memory, copies, streams, recorded launches and events of the CUDA runtime, which is linked in statically and
 * itself looks for the driver. The device is the first of those that CUDA_VISIBLE_DEVICES leaves. */
#include "engine/backend/cuda/gpu/gpu.h"
#include "engine/backend/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef AVS_CUDA_ARCHS
#error "AVS_CUDA_ARCHS names the architectures of the kernels, see engine/backend/cuda/CMakeLists.txt"
#endif

static const avs_cuda_kernels kernels = {
#define X(name, P) .name = avs_##name##_cuda,
    AVS_CUDA_LAUNCHERS(X)
#undef X
};

int avs_gpu_failed(avs_cuda_device *d, const char *call, const char *text)
{
    snprintf(d->failure, sizeof d->failure, "%.*s: %s", (int)strcspn(call, "("), call, text);
    return AVS_ECUDA;
}

int avs_gpu_own(avs_cuda_device *d, void (*destroy)(const avs_gpu_libs *, void *), void *p, avs_err *e)
{
    avs_gpu_owned *o = AVS_NEW(d->arena, avs_gpu_owned);
    if (!o) {
        destroy(d->lib, p);
        return avs_fail(e, AVS_ENOMEM, "no memory for a library's descriptor");
    }
    *o = (avs_gpu_owned){.next = d->owned, .destroy = destroy, .p = p};
    d->owned = o;
    return AVS_OK;
}

/* ------------------------------------------------------------------ opening */

static int find_device(avs_cuda_device *d, avs_err *e)
{
    int n = 0;
    const cudaError_t status = cudaGetDeviceCount(&n);
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    (void)cudaDriverGetVersion(&d->driver);
    (void)cudaRuntimeGetVersion(&d->runtime);
    if (status != cudaSuccess || n == 0)
        return avs_fail(
            e, AVS_EMISSING,
            "no NVIDIA GPU: %s (driver for CUDA %d.%d, this build needs %d.%d; CUDA_VISIBLE_DEVICES is %s)",
            status != cudaSuccess ? cudaGetErrorString(status) : "0 devices", d->driver / 1000,
            d->driver % 1000 / 10, d->runtime / 1000, d->runtime % 1000 / 10, visible ? visible : "not set");
    cudaError_t failed = cudaSetDevice(d->index);
    if (failed == cudaSuccess) failed = cudaGetDeviceProperties(&d->prop, d->index);
    if (failed != cudaSuccess)
        return avs_fail(e, AVS_ECUDA, "GPU %d: %s", d->index, cudaGetErrorString(failed));
    return avs_cuda_fits_arch(d->prop.name, d->prop.major, d->prop.minor, AVS_CUDA_ARCHS, e);
}

static int open_runtime(avs_cuda_device *d)
{
    AVS_GPU(d, cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking));
    AVS_GPU(d, cudaEventCreate(&d->marked[0]));
    AVS_GPU(d, cudaEventCreate(&d->marked[1]));
    const cublasStatus_t blas = d->lib->cublasLtCreate(&d->blas);
    if (blas != CUBLAS_STATUS_SUCCESS)
        return avs_gpu_failed(d, "cublasLtCreate", d->lib->cublasLtGetStatusString(blas));
    cudnnStatus_t dnn = d->lib->cudnnCreate(&d->dnn);
    if (dnn == CUDNN_STATUS_SUCCESS) dnn = d->lib->cudnnSetStream(d->dnn, d->stream);
    return dnn == CUDNN_STATUS_SUCCESS ? AVS_OK
                                       : avs_gpu_failed(d, "cudnnCreate", d->lib->cudnnGetErrorString(dnn));
}

static void gpu_close(avs_cuda_device *d)
{
    if (!d) return;
    if (d->stream) (void)cudaStreamSynchronize(d->stream);
    for (avs_gpu_owned *o = d->owned; o; o = o->next) o->destroy(d->lib, o->p);
    if (d->exec) (void)cudaGraphExecDestroy(d->exec);
    if (d->graph) (void)cudaGraphDestroy(d->graph);
    if (d->dnn) (void)d->lib->cudnnDestroy(d->dnn);
    if (d->blas) (void)d->lib->cublasLtDestroy(d->blas);
    for (avs_gpu_block *b = d->memory; b; b = b->next)
        (void)(b->is_host ? cudaFreeHost(b->p) : cudaFree(b->p));
    for (int i = 0; i < 2; i++)
        if (d->marked[i]) (void)cudaEventDestroy(d->marked[i]);
    if (d->stream) (void)cudaStreamDestroy(d->stream);
    avs_arena_free(d->arena);
}

static int gpu_open(avs_cuda_device **out, avs_math math, avs_err *e)
{
    avs_arena *arena = avs_arena_new();
    avs_cuda_device *d = arena ? AVS_NEW(arena, avs_cuda_device) : NULL;
    if (!d) {
        avs_arena_free(arena);
        return avs_fail(e, AVS_ENOMEM, "no memory for a device");
    }
    d->arena = arena;
    d->math = math;
    int rc = find_device(d, e);
    if (rc == AVS_OK) rc = avs_gpu_libs_load(&d->lib, e);
    if (rc == AVS_OK && open_runtime(d) != AVS_OK)
        rc = avs_fail(e, AVS_ECUDA, "%s could not be opened: %s", d->prop.name, d->failure);
    if (rc == AVS_OK && !(d->choices = avs_algo_cache_open(arena, NULL)))
        rc = avs_fail(e, AVS_ENOMEM, "no memory for a device");
    if (rc != AVS_OK) {
        gpu_close(d);
        return rc;
    }
    *out = d;
    return AVS_OK;
}

/* ------------------------------------------------------------------ memory */

static int gpu_memory(avs_cuda_device *d, size_t *free_bytes, size_t *total, avs_err *e)
{
    const cudaError_t status = cudaMemGetInfo(free_bytes, total);
    return status == cudaSuccess ? AVS_OK
                                 : avs_fail(e, AVS_ECUDA, "the free memory of %s: %s", d->prop.name,
                                            cudaGetErrorString(status));
}

static int keep(avs_cuda_device *d, void *p, bool is_host, avs_err *e)
{
    avs_gpu_block *b = AVS_NEW(d->arena, avs_gpu_block);
    if (!b) {
        (void)(is_host ? cudaFreeHost(p) : cudaFree(p));
        return avs_fail(e, AVS_ENOMEM, "no memory for the list of allocations");
    }
    *b = (avs_gpu_block){.next = d->memory, .p = p, .is_host = is_host};
    d->memory = b;
    return AVS_OK;
}

static int gpu_alloc(avs_cuda_device *d, size_t bytes, void **out, avs_err *e)
{
    void *p = NULL;
    cudaError_t status = cudaMalloc(&p, bytes ? bytes : 1);
    if (status != cudaSuccess)
        return avs_fail(e, AVS_ENOMEM, "%zu bytes on %s: %s", bytes, d->prop.name,
                        cudaGetErrorString(status));
    int rc = keep(d, p, false, e);
    if (rc != AVS_OK) return rc;
    status = cudaMemsetAsync(p, 0, bytes, d->stream);
    if (status == cudaSuccess) status = cudaStreamSynchronize(d->stream);
    if (status != cudaSuccess)
        return avs_fail(e, AVS_ECUDA, "memory of %s: %s", d->prop.name, cudaGetErrorString(status));
    *out = p;
    return AVS_OK;
}

static int gpu_alloc_host(avs_cuda_device *d, size_t bytes, void **out, avs_err *e)
{
    void *p = NULL;
    const cudaError_t status = cudaMallocHost(&p, bytes ? bytes : 1);
    if (status != cudaSuccess)
        return avs_fail(e, AVS_ENOMEM, "%zu bytes of pinned memory: %s", bytes, cudaGetErrorString(status));
    memset(p, 0, bytes);
    *out = p;
    return keep(d, p, true, e);
}

static int gpu_copy(avs_cuda_device *d, void *dst, const void *src, size_t bytes)
{
    AVS_GPU(d, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, d->stream));
    return AVS_OK;
}

static int gpu_sync(avs_cuda_device *d)
{
    AVS_GPU(d, cudaStreamSynchronize(d->stream));
    return AVS_OK;
}

static void *gpu_stream(avs_cuda_device *d)
{
    return d->stream;
}

/* ------------------------------------------------------------------ recording, events */

static int gpu_record(avs_cuda_device *d)
{
    if (d->exec) AVS_GPU(d, cudaGraphExecDestroy(d->exec));
    d->exec = NULL;
    if (d->graph) AVS_GPU(d, cudaGraphDestroy(d->graph));
    d->graph = NULL;
    AVS_GPU(d, cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal));
    return AVS_OK;
}

static int count_kernels(avs_cuda_device *d, int *kernels_out)
{
    size_t n = 0;
    *kernels_out = 0;
    AVS_GPU(d, cudaGraphGetNodes(d->graph, NULL, &n));
    cudaGraphNode_t *node = AVS_NEW_N(d->arena, cudaGraphNode_t, n + 1);
    if (!node) return avs_gpu_failed(d, "cudaGraphGetNodes", "no memory");
    AVS_GPU(d, cudaGraphGetNodes(d->graph, node, &n));
    for (size_t i = 0; i < n; i++) {
        enum cudaGraphNodeType type;
        AVS_GPU(d, cudaGraphNodeGetType(node[i], &type));
        *kernels_out += type == cudaGraphNodeTypeKernel;
    }
    return AVS_OK;
}

static int gpu_recorded(avs_cuda_device *d, int *n)
{
    AVS_GPU(d, cudaStreamEndCapture(d->stream, &d->graph));
    const int rc = count_kernels(d, n);
    if (rc != AVS_OK) return rc;
    AVS_GPU(d, cudaGraphInstantiate(&d->exec, d->graph, 0));
    AVS_GPU(d, cudaGraphUpload(d->exec, d->stream));
    return AVS_OK;
}

static int gpu_replay(avs_cuda_device *d)
{
    AVS_GPU(d, cudaGraphLaunch(d->exec, d->stream));
    return AVS_OK;
}

static int gpu_mark(avs_cuda_device *d, int which)
{
    AVS_GPU(d, cudaEventRecord(d->marked[which], d->stream));
    return AVS_OK;
}

static int gpu_elapsed(avs_cuda_device *d, double *us)
{
    float ms = 0;
    AVS_GPU(d, cudaEventElapsedTime(&ms, d->marked[0], d->marked[1]));
    *us = 1e3 * (double)ms;
    return AVS_OK;
}

static void gpu_describe(avs_cuda_device *d, char *out, size_t n)
{
    const size_t dnn = d->lib ? d->lib->cudnnGetVersion() : 0,
                 blas = d->lib ? d->lib->cublasLtGetVersion() : 0;
    snprintf(out, n, "%s, sm_%d%d, driver for CUDA %d.%d, runtime %d.%d, cuDNN %zu.%zu.%zu, cuBLASLt %zu",
             d->prop.name, d->prop.major, d->prop.minor, d->driver / 1000, d->driver % 1000 / 10,
             d->runtime / 1000, d->runtime % 1000 / 10, dnn / 10000, dnn / 100 % 100, dnn % 100, blas);
}

static const char *gpu_why(avs_cuda_device *d)
{
    if (!d->failure[0]) {
        const cudaError_t last = cudaPeekAtLastError();
        if (last != cudaSuccess) return cudaGetErrorString(last);
    }
    return d->failure;
}

const avs_cuda_device_ops avs_cuda_gpu = {.name = "cuda",
                                          .kernels = &kernels,
                                          .open = gpu_open,
                                          .close = gpu_close,
                                          .memory = gpu_memory,
                                          .alloc = gpu_alloc,
                                          .alloc_host = gpu_alloc_host,
                                          .copy = gpu_copy,
                                          .sync = gpu_sync,
                                          .stream = gpu_stream,
                                          .record = gpu_record,
                                          .recorded = gpu_recorded,
                                          .replay = gpu_replay,
                                          .mark = gpu_mark,
                                          .elapsed = gpu_elapsed,
                                          .gemm_new = avs_gpu_gemm_new,
                                          .gemm_run = avs_gpu_gemm_run,
                                          .conv_new = avs_gpu_conv_new,
                                          .conv_run = avs_gpu_conv_run,
                                          .describe = gpu_describe,
                                          .why = gpu_why};

static int open_gpu(avs_backend **out, avs_math math, avs_err *e)
{
    return avs_cuda_open_on(&avs_cuda_gpu, out, math, e);
}

const avs_backend_ops avs_backend_cuda = {.name = "cuda",
                                          .open = open_gpu,
                                          .close = avs_cuda_close,
                                          .weight_layout = avs_cuda_weight_layout,
                                          .repack = avs_cuda_repack,
                                          .may_overwrite = avs_cuda_may_overwrite,
                                          .lower = avs_cuda_lower,
                                          .device = &avs_cuda_face};
