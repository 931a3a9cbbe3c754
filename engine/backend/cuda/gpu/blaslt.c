/* Products on cuBLASLt. Its matrices are columns first, ours rows first: C = A B there is C^T = B^T A^T, so B goes in as
 * the first operand and the bias along N is the one along rows that the epilogue knows. The algorithm is the first that
 * the library's heuristic names; f32 means f32 (TF32 only when the plan asks for it). */
#include "engine/backend/cuda/gpu/gpu.h"

#include <string.h>

enum { WORKSPACE_BYTES = 32 << 20 };

typedef struct {
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
    float alpha, beta;
    bool has_bias;
    size_t workspace;
} gemm_plan;

static void destroy(const avs_gpu_libs *l, void *p)
{
    gemm_plan *g = p;
    if (g->op) (void)l->cublasLtMatmulDescDestroy(g->op);
    if (g->a) (void)l->cublasLtMatrixLayoutDestroy(g->a);
    if (g->b) (void)l->cublasLtMatrixLayoutDestroy(g->b);
    if (g->c) (void)l->cublasLtMatrixLayoutDestroy(g->c);
}

static int told(const avs_gpu_libs *l, cublasStatus_t s, const char *call, avs_err *e)
{
    return s == CUBLAS_STATUS_SUCCESS ? AVS_OK
                                      : avs_fail(e, AVS_ELIB, "%s: %s", call, l->cublasLtGetStatusString(s));
}
#define LT(call)                     AVS_TRY(told(l, l->call, #call, e))
#define LT_SET(f, what, attr, value) LT(f(what, attr, &(value), sizeof(value)))

/* A batch of matrices as cuBLASLt sees them: column-major. */
typedef struct {
    cudaDataType_t type;
    int64_t rows, cols, ld, stride;
} matrices;

static int layout(const avs_gpu_libs *l, cublasLtMatrixLayout_t *out, matrices m, int64_t count, avs_err *e)
{
    int rc = AVS_OK;
    const int32_t batch = (int32_t)count;
    LT(cublasLtMatrixLayoutCreate(out, m.type, (uint64_t)m.rows, (uint64_t)m.cols, m.ld));
    if (batch > 1) {
        LT_SET(cublasLtMatrixLayoutSetAttribute, *out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, batch);
        LT_SET(cublasLtMatrixLayoutSetAttribute, *out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, m.stride);
    }
out:
    return rc;
}

static int describe(const avs_gpu_libs *l, gemm_plan *p, const avs_cuda_gemm *g, avs_math math, avs_err *e)
{
    int rc = AVS_OK;
    const cudaDataType_t type = g->is_bf16 ? CUDA_R_16BF : CUDA_R_32F;
    const bool is_tf32 = math == AVS_MATH_TF32 && !g->is_bf16;
    const cublasOperation_t first = g->tb ? CUBLAS_OP_T : CUBLAS_OP_N,
                            second = g->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    const bool relu = g->act == AVS_ACT_RELU;
    const cublasLtEpilogue_t epilogue = g->has_bias
                                            ? (relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS)
                                            : (relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT);
    LT(cublasLtMatmulDescCreate(&p->op, is_tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                                CUDA_R_32F));
    LT_SET(cublasLtMatmulDescSetAttribute, p->op, CUBLASLT_MATMUL_DESC_TRANSA, first);
    LT_SET(cublasLtMatmulDescSetAttribute, p->op, CUBLASLT_MATMUL_DESC_TRANSB, second);
    LT_SET(cublasLtMatmulDescSetAttribute, p->op, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    const matrices b = {type, g->tb ? g->K : g->N, g->tb ? g->N : g->K, g->ldb, g->stride_b},
                   a = {type, g->ta ? g->M : g->K, g->ta ? g->K : g->M, g->lda, g->stride_a},
                   c = {CUDA_R_32F, g->N, g->M, g->ldc, g->stride_c};
    AVS_TRY(layout(l, &p->a, b, g->batch, e)); /* row-major C = A B is column-major C' = B' A' */
    AVS_TRY(layout(l, &p->b, a, g->batch, e));
    AVS_TRY(layout(l, &p->c, c, g->batch, e));
out:
    return rc;
}

static int choose(avs_cuda_device *d, gemm_plan *p, const avs_cuda_gemm *g, avs_err *e)
{
    int rc = AVS_OK, n = 0;
    const avs_gpu_libs *l = d->lib;
    const uint64_t most = WORKSPACE_BYTES;
    cublasLtMatmulPreference_t pref = NULL;
    cublasLtMatmulHeuristicResult_t found[1];
    LT(cublasLtMatmulPreferenceCreate(&pref));
    LT_SET(cublasLtMatmulPreferenceSetAttribute, pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, most);
    LT_SET(cublasLtMatmulPreferenceSetAttribute, pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
           g->align_b);
    LT_SET(cublasLtMatmulPreferenceSetAttribute, pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
           g->align_a);
    LT_SET(cublasLtMatmulPreferenceSetAttribute, pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
           g->align_c);
    LT_SET(cublasLtMatmulPreferenceSetAttribute, pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
           g->align_c);
    const cublasStatus_t s =
        l->cublasLtMatmulAlgoGetHeuristic(d->blas, p->op, p->a, p->b, p->c, p->c, pref, 1, found, &n);
    if (s != CUBLAS_STATUS_SUCCESS || n == 0)
        AVS_TRY(avs_fail(
            e, AVS_EMISSING,
            "cuBLASLt has no algorithm for %lld x %lld x %lld (batch %lld, rows of %lld, %lld, %lld): %s",
            (long long)g->M, (long long)g->N, (long long)g->K, (long long)g->batch, (long long)g->lda,
            (long long)g->ldb, (long long)g->ldc, l->cublasLtGetStatusString(s)));
    p->algo = found[0].algo;
    p->workspace = found[0].workspaceSize;
out:
    if (pref) (void)l->cublasLtMatmulPreferenceDestroy(pref);
    return rc;
}

int avs_gpu_gemm_new(avs_cuda_device *d, const avs_cuda_gemm *g, avs_cuda_call *out, avs_err *e)
{
    gemm_plan *p = AVS_NEW(d->arena, gemm_plan);
    if (!p) return avs_fail(e, AVS_ENOMEM, "no memory for a product");
    int rc = avs_gpu_own(d, destroy, p, e);
    if (rc != AVS_OK) return rc;
    p->alpha = g->alpha;
    p->beta = g->has_residual ? 1.f : 0.f;
    p->has_bias = g->has_bias;
    rc = describe(d->lib, p, g, d->math, e);
    if (rc == AVS_OK) rc = choose(d, p, g, e);
    if (rc != AVS_OK) return rc;
    *out = (avs_cuda_call){.plan = p,
                           .workspace = p->workspace,
                           .is_fused = true,
                           .impl = g->is_bf16                 ? "cublaslt_bf16"
                                   : d->math == AVS_MATH_TF32 ? "cublaslt_tf32"
                                                              : "cublaslt"};
    return AVS_OK;
}

int avs_gpu_gemm_run(avs_cuda_device *d, const avs_cuda_call *c, const void *a, const void *b,
                     const float *bias, const float *residual, float *y, void *workspace)
{
    const gemm_plan *p = c->plan;
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
    if (p->has_bias)
        s = d->lib->cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                                   sizeof bias);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = d->lib->cublasLtMatmul(d->blas, p->op, &p->alpha, b, p->a, a, p->b, &p->beta,
                                   residual ? residual : y, p->c, y, p->c, &p->algo, workspace, p->workspace,
                                   d->stream);
    return s == CUBLAS_STATUS_SUCCESS
               ? AVS_OK
               : avs_gpu_failed(d, "cublasLtMatmul", d->lib->cublasLtGetStatusString(s));
}
