/* How kernels are declared and launched: on the GPU under nvcc, on fibres with AVS_EMUL.
 *
 *   AVS_GLOBAL(name, P) { .. p .. }      a kernel whose one argument is the parameter struct p of type P
 *   AVS_LAUNCH(name, grid, block, stream, p)   int: 0 or the error (cudaError_t, or avs_code in the emulator)
 *   AVS_SHARED float s[256];             shared memory of constant size
 *   AVS_THREAD, AVS_BLOCK_DIM, AVS_BLOCK, AVS_GRID_DIM, AVS_SYNC
 * Parameters are passed as const __grid_constant__, so that fields indexed at run time stay in constant memory. */
#ifndef AVS_ENGINE_BACKEND_CUDA_LAUNCH_CUH
#define AVS_ENGINE_BACKEND_CUDA_LAUNCH_CUH

enum { AVS_ROW_WARPS = 4, AVS_EW_THREADS = 256 };

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#define AVS_THREAD    ((int)threadIdx.x)
#define AVS_BLOCK_DIM ((int)blockDim.x)
#define AVS_BLOCK     ((int64_t)blockIdx.x)
#define AVS_GRID_DIM  ((int64_t)gridDim.x)
#define AVS_SHARED    __shared__
#define AVS_SYNC()    __syncthreads()
/* Whole numbers alone: their sum does not depend on the order. */
#define AVS_ATOMIC_ADD(at, v) ((void)atomicAdd((unsigned long long *)(at), (unsigned long long)(v)))
#define AVS_GLOBAL(name, P)   static __global__ void name(const __grid_constant__ P p)
#define AVS_LAUNCH(name, grid, block, stream, p)                                                             \
    (name<<<(unsigned)(grid), (unsigned)(block), 0, (cudaStream_t)(stream)>>>(p), (int)cudaPeekAtLastError())
#define AVS_HOST(ret) extern "C" ret

#else

#define AVS_THREAD            emul_thread()
#define AVS_BLOCK_DIM         emul_block_dim()
#define AVS_BLOCK             emul_block()
#define AVS_GRID_DIM          emul_grid_dim()
#define AVS_SHARED            static
#define AVS_SYNC()            emul_syncthreads()
#define AVS_ATOMIC_ADD(at, v) ((void)(*(at) += (v)))
#define AVS_GLOBAL(name, P)                                                                                  \
    static void name(P p);                                                                                   \
    static void name##_thunk(const void *args)                                                               \
    {                                                                                                        \
        name(*(const P *)args);                                                                              \
    }                                                                                                        \
    static void name(P p)
#define AVS_LAUNCH(name, grid, block, stream, p)                                                             \
    ((void)(stream), emul_launch(name##_thunk, &(p), (grid), (block)))
#define AVS_HOST(ret) static inline ret
#endif

/* Four floats that are read and written as one; addresses are multiples of 16 bytes. */
typedef struct __attribute__((aligned(16))) {
    float v[4];
} avs_f4;

/* A row is a warp's, an element a thread's; the grid strides over what is left. */
#define AVS_MAX_GRID 65535
#define AVS_GRID_OF(n, per_block)                                                                            \
    ((n) / (per_block) + 1 < AVS_MAX_GRID ? (n) / (per_block) + 1 : AVS_MAX_GRID)

#define AVS_OWN_INDEX(name, P, at, per_block, threads)                                                       \
    typedef struct {                                                                                         \
        P p;                                                                                                 \
        int64_t n;                                                                                           \
    } name##_launch;                                                                                         \
    AVS_GLOBAL(name##_kernel, name##_launch)                                                                 \
    {                                                                                                        \
        const int64_t first = AVS_BLOCK * (per_block) + (at);                                                \
        for (int64_t i = first; i < p.n; i += AVS_GRID_DIM * (per_block)) name##_body(&p.p, i);              \
    }                                                                                                        \
    AVS_HOST(int) name##_cuda(const P *p, int64_t n, void *stream)                                           \
    {                                                                                                        \
        const name##_launch q = {*p, n};                                                                     \
        return AVS_LAUNCH(name##_kernel, AVS_GRID_OF(n, per_block), threads, stream, q);                     \
    }
/* Bodies of this folder: kernel and launcher. */
#define AVS_OWN_ROW(name, P) AVS_OWN_INDEX(name, P, AVS_THREAD / 32, AVS_ROW_WARPS, AVS_ROW_WARPS * 32)
#define AVS_OWN_EW(name, P)  AVS_OWN_INDEX(name, P, AVS_THREAD, AVS_EW_THREADS, AVS_EW_THREADS)

/* Dual-source bodies. Under nvcc one file, rows.cu, defines the kernels; to the others the bodies' headers only declare
 * the launchers. */
#if defined(__CUDACC__) && !defined(AVS_DEFINE_ROWS)
#define AVS_KERNEL_ROW(name, P) extern "C" int name##_cuda(const P *p, int64_t n, void *stream);
#define AVS_KERNEL_EW(name, P)  AVS_KERNEL_ROW(name, P)
#else
#define AVS_KERNEL_ROW(name, P) AVS_OWN_ROW(name, P)
#define AVS_KERNEL_EW(name, P)  AVS_OWN_EW(name, P)
#endif

#endif
