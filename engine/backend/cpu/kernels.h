/* The production CPU kernels that are this project's own (all ops except matmul and convolution, which oneDNN
 * does; of those the weight gradient of depthwise convolutions).
 *
 * One table per instruction set (baseline x86-64, x86-64-v3, x86-64-v4), made from the same sources in isa/;
 * the right one is chosen once, by what the processor can do. What an op computes is in engine/graph/ops.h.
 *
 * Tensors are dense f32, channels last (EW inputs and CE targets may be i32, argmax is u8; CONCAT, SLICE, PAD
 * and PERMUTE move elements of 4 or 1 bytes). Kernels use OpenMP inside and allocate nothing: the ones that
 * need scratch say how much, the caller lends it (64-byte aligned; contents need not survive between calls,
 * nothing is read before it is written). Same input, same machine: same bits, whatever the thread count.
 * Outputs must not overlap inputs, except that EW and DROPOUT may write over an input that has the output's
 * extents. */
#ifndef AVS_ENGINE_BACKEND_CPU_KERNELS_H
#define AVS_ENGINE_BACKEND_CPU_KERNELS_H

#include "engine/graph/ops.h"

/* Where elements of a depthwise weight lie: channel c, tap (y, x) at c / block * outer + c % block + y * ky + x * kx. */
typedef struct {
    int64_t block, outer, ky, kx;
} avs_weight_place;

typedef struct {
    avs_kernel_args k;
    void *work; /* avs_cpu_kernel.work(&k) bytes; NULL if that is 0 or there is no such function */
    const avs_weight_place *place; /* CONV2D_BWD_W; NULL: canonical */
} avs_cpu_call;

typedef struct {
    int (*fn)(const avs_cpu_call *c); /* AVS_OK; AVS_ERANGE for a class out of range; NULL: no kernel here */
    size_t (*work)(const avs_kernel_args *a); /* bytes of scratch for these shapes; NULL: none */
} avs_cpu_kernel;

/* avs_cpu_kernel_table()[op], AVS_OP_COUNT rows; CONV2D, CONV2D_BWD_X and MATMUL empty, CONV2D_BWD_W for depthwise
 * convolutions alone (groups, inputs and outputs equal). Static storage. */
const avs_cpu_kernel *avs_cpu_kernel_table(void);

/* All tables that this build has and this processor can run, for tests and benchmarks: i = 0 is the baseline.
 * NULL after the last; *name (may be NULL) gets "x86-64", "x86-64-v3", "x86-64-v4". */
const avs_cpu_kernel *avs_cpu_kernel_variant(int i, const char **name);

#endif
