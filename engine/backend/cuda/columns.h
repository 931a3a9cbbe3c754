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

/* dgamma and dbeta of layer norm, q.gx untouched; n: rows. work: avs_layernorm_sums_work bytes. */
typedef struct {
    avs_layernorm_bwd_p q;
    float *dgamma, *dbeta;
    void *work;
} avs_layernorm_params_p;

/* y [outer][inner] = scale * sum over mid of x [outer][mid][inner]; work: avs_reduce_work floats. The launcher's n is
 * not used. */
typedef struct {
    const float *x;
    float *y, *work;
    int64_t outer, mid, inner;
    float scale;
} avs_reduce_p;
/* Rows (inner 1: elements) of a chunk; sums of more than one chunk are made in two stages. */
static inline int64_t avs_reduce_chunk(int64_t mid, int64_t inner)
{
    if (inner == 1) return mid <= 65536 ? 1024 : 4096;
    return mid <= 16384 ? 64 : 512;
}
static inline int64_t avs_reduce_work(int64_t outer, int64_t mid, int64_t inner)
{
    const int64_t chunk = avs_reduce_chunk(mid, inner), chunks = (mid + chunk - 1) / chunk;
    return chunks > 1 ? outer * chunks * inner : 0;
}

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
int avs_layernorm_params_cuda(const avs_layernorm_params_p *p, int64_t n, void *stream); /* n: rows */
int avs_reduce_cuda(const avs_reduce_p *p, int64_t n, void *stream);
#ifdef __cplusplus
}
#endif
#endif

#endif
