/* Gradient of value of multi-scale deformable attention on the GPU; see msdeform_value.cu. The gradients of loc and
 * weight are avs_msdeform_bwd_cuda (rows.h), which ignores gvalue.
 *
 *   gy B,Q,M*D; loc B,Q,M*L*P*2; weight B,Q,M*L*P; gvalue B,S,M*D; all f32 on the device. Every element of gvalue is
 * written. Returns 0 or a cudaError_t; nothing waits. */
#ifndef AVS_ENGINE_BACKEND_CUDA_MSDEFORM_VALUE_H
#define AVS_ENGINE_BACKEND_CUDA_MSDEFORM_VALUE_H

#include "engine/graph/ops.h"

#include <stdint.h>

typedef struct {
    const float *gy, *loc, *weight;
    float *gvalue;
    avs_msdeform_attr a;
    int32_t S, Q, D;
} avs_msdeform_value_p;

#ifndef AVS_EMUL /* in the emulator this is a static function of the including file */
#ifdef __cplusplus
extern "C"
#endif
    int
    avs_msdeform_value_cuda(const avs_msdeform_value_p *p, int64_t n, void *stream); /* n: B */
#endif

#endif
