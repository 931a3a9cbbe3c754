/* Dual-source bodies: one function of one index and a parameter struct, compiled as a CPU loop, by nvcc, or for the
 * fibre emulator (AVS_EMUL). "Lanes" stand for the warp: one lane on the CPU, where `omp simd` does the same work,
 * 32 on a GPU.
 *
 *   AVS_KERNEL_ROW(name, P)  index = row, lanes run over the last axis; body name_body(const P *p, int64_t row)
 *   AVS_KERNEL_EW(name, P)   index = element;                           body name_body(const P *p, int64_t i)
 *
 * CPU: both define   static void name_cpu(const P *p, int64_t n, int64_t cost)   cost: elements touched per index.
 * CUDA: both define  int name_cuda(const P *p, int64_t n, void *stream)          with C linkage; a cudaError_t.
 * Emulator: the same, static, on fibres; an avs_code.
 *
 * Reassociation is spelled out with AVS_SIMD_SUM/MAX; write a maximum as x > m ? x : m. */
#ifndef AVS_ENGINE_KERNEL_LANE_K_H
#define AVS_ENGINE_KERNEL_LANE_K_H

#include <stdint.h>

#if defined(__CUDACC__)
#define AVS_FN                static __device__ __forceinline__
#define AVS_RESTRICT          __restrict__
#define AVS_LANES             32
#define AVS_LANE              ((int)(threadIdx.x & 31))
#define AVS_LANE_XOR(v, mask) __shfl_xor_sync(0xffffffffu, (v), (mask))
#define AVS_LANE_XOR_D        AVS_LANE_XOR                     /* of doubles */
#define AVS_LANE_BALLOT(is)   __ballot_sync(0xffffffffu, (is)) /* bit k: is of lane k */
#define AVS_LANE_SYNC()       __syncwarp()                     /* what a lane wrote, the others see */
#elif defined(AVS_EMUL)
#include "engine/backend/emul/emul.h"
#define AVS_FN                  static inline
#define AVS_RESTRICT            restrict
#define AVS_LANES               32
#define AVS_LANE                emul_lane()
#define AVS_LANE_XOR(v, mask)   emul_shfl_xor((v), (mask))
#define AVS_LANE_XOR_D(v, mask) emul_shfl_xor_d((v), (mask))
#define AVS_LANE_BALLOT(is)     emul_ballot((is))
#define AVS_LANE_SYNC()         ((void)emul_ballot(true))
#else
#define AVS_FN       static inline __attribute__((always_inline))
#define AVS_RESTRICT restrict
#define AVS_LANES    1
#define AVS_LANE     0
#define AVS_LANE_SYNC()
#endif

#if AVS_LANES == 1
#define AVS_PRAGMA(x) _Pragma(#x)
#define AVS_SIMD      AVS_PRAGMA(omp simd)
/* NOLINTBEGIN(bugprone-macro-parentheses): a reduction clause takes a bare name */
#define AVS_SIMD_SUM(v) AVS_PRAGMA(omp simd reduction(+ : v))
#define AVS_SIMD_MAX(v) AVS_PRAGMA(omp simd reduction(max : v))
/* NOLINTEND(bugprone-macro-parentheses) */
#else
#define AVS_SIMD
#define AVS_SIMD_SUM(v)
#define AVS_SIMD_MAX(v)
#endif

/* Combine over the lanes of one index; every lane gets the result. The order is fixed (butterfly). */
AVS_FN float avs_lane_sum(float v)
{
#if AVS_LANES > 1
    for (int mask = AVS_LANES / 2; mask > 0; mask /= 2) v += AVS_LANE_XOR(v, mask);
#endif
    return v;
}

AVS_FN double avs_lane_sum_d(double v)
{
#if AVS_LANES > 1
    for (int mask = AVS_LANES / 2; mask > 0; mask /= 2) v += AVS_LANE_XOR_D(v, mask);
#endif
    return v;
}

AVS_FN float avs_lane_max(float v)
{
#if AVS_LANES > 1
    for (int mask = AVS_LANES / 2; mask > 0; mask /= 2) {
        const float o = AVS_LANE_XOR(v, mask);
        v = o > v ? o : v;
    }
#endif
    return v;
}

/* The least of the lanes' values and where it is, for every lane; of equal ones the smallest place. */
/* NOLINTNEXTLINE(readability-non-const-parameter): the host has one lane */
AVS_FN void avs_lane_least(double *v, int *at)
{
#if AVS_LANES > 1
    for (int mask = AVS_LANES / 2; mask > 0; mask /= 2) {
        const double other = AVS_LANE_XOR_D(*v, mask);
        const int place = (int)AVS_LANE_XOR_D((double)*at, mask);
        if (other < *v || (other == *v && place < *at)) {
            *v = other;
            *at = place;
        }
    }
#else
    (void)v;
    (void)at;
#endif
}

#if defined(__CUDACC__) || defined(AVS_EMUL)
#include "engine/backend/cuda/launch.cuh"
#else
/* Below this many elements touched a parallel region costs more than it gains (about 5 us on two cores). Which side a
 * call falls on never changes its bits: work is cut into pieces by size alone. */
static const int64_t AVS_PAR_MIN = 16384;

#define AVS_KERNEL_ROW(name, P)                                                                              \
    static inline void name##_cpu(const P *p, int64_t n, int64_t cost)                                       \
    {                                                                                                        \
        AVS_PRAGMA(omp parallel for schedule(static) if (n * cost >= AVS_PAR_MIN))                           \
        for (int64_t i = 0; i < n; i++) name##_body(p, i);                                                   \
    }
#define AVS_KERNEL_EW(name, P) AVS_KERNEL_ROW(name, P)
#endif

#endif
