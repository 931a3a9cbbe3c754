/* Launchers of the dual-source bodies on the GPU (rows.cu). p holds device addresses and is copied into the launch;
 * n is the number of rows, pixels or elements as the body's file says (dropout: groups of four elements). Each
 * returns 0 or a cudaError_t of the launch; nothing waits. stream is a cudaStream_t. */
#ifndef AVS_ENGINE_BACKEND_CUDA_ROWS_H
#define AVS_ENGINE_BACKEND_CUDA_ROWS_H

#include "engine/kernel/philox.k.h"
#include "engine/kernel/adamw.k.h"
#include "engine/kernel/ew.k.h"
#include "engine/kernel/layernorm.k.h"
#include "engine/kernel/msdeform.k.h"
#include "engine/kernel/pool.k.h"
#include "engine/kernel/resize.k.h"
#include "engine/kernel/softmax.k.h"

#ifndef AVS_EMUL /* in the emulator these are static functions of the including file */
#ifdef __cplusplus
extern "C" {
#endif
int avs_softmax_cuda(const avs_softmax_p *p, int64_t n, void *stream);
int avs_softmax_bwd_cuda(const avs_softmax_bwd_p *p, int64_t n, void *stream);
int avs_layernorm_cuda(const avs_layernorm_p *p, int64_t n, void *stream);
int avs_layernorm_bwd_cuda(const avs_layernorm_bwd_p *p, int64_t n, void *stream);
int avs_pool_max_cuda(const avs_pool_max_p *p, int64_t n, void *stream);
int avs_pool_max_bwd_cuda(const avs_pool_max_bwd_p *p, int64_t n, void *stream);
int avs_pool_avg_cuda(const avs_pool_avg_p *p, int64_t n, void *stream);
int avs_pool_avg_bwd_cuda(const avs_pool_avg_p *p, int64_t n, void *stream);
int avs_resize_cuda(const avs_resize_p *p, int64_t n, void *stream);
int avs_msdeform_cuda(const avs_msdeform_p *p, int64_t n, void *stream);
int avs_msdeform_bwd_cuda(const avs_msdeform_bwd_p *p, int64_t n, void *stream);
int avs_ew_cuda(const avs_ew_p *p, int64_t n, void *stream);
int avs_adamw_cuda(const avs_adamw_p *p, int64_t n, void *stream);
int avs_dropout_cuda(const avs_dropout_p *p, int64_t n, void *stream);
#ifdef __cplusplus
}
#endif
#endif

#endif
