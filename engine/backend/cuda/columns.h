/* Column and row sums on the GPU; see columns.cu. x [rows][C] and y f32 on the device, work on the device of
 * avs_colsum_work bytes. y: [C] (columns), [rows] (rows). Returns 0 or a cudaError_t; nothing waits.
 * Layer norm: dgamma and dbeta [C] from what avs_layernorm_bwd_cuda reads (gx is not touched); work of
 * avs_layernorm_sums_work bytes. */
#ifndef AVS_ENGINE_BACKEND_CUDA_COLUMNS_H
#define AVS_ENGINE_BACKEND_CUDA_COLUMNS_H

#include "engine/kernel/layernorm.k.h"

#include <stddef.h>
#include <stdint.h>

enum { AVS_COLSUM_ROWS = 64 };

#ifndef AVS_EMUL /* in the emulator these are static functions of the including file */
#ifdef __cplusplus
extern "C" {
#endif
size_t avs_colsum_work(int64_t rows, int64_t C);
int avs_colsum_cuda(const float *x, float *y, int64_t rows, int64_t C, void *work, void *stream);
size_t avs_layernorm_sums_work(int64_t rows, int64_t C);
int avs_layernorm_sums_cuda(const avs_layernorm_bwd_p *p, int64_t rows, float *dgamma, float *dbeta,
                            void *work, void *stream);
int avs_rowsum_cuda(const float *x, float *y, int64_t rows, int64_t C, void *stream);
#ifdef __cplusplus
}
#endif
#endif

#endif
