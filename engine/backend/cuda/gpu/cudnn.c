/* Convolutions on cuDNN 9 through its C backend: an operation graph per convolution, engine configurations from its
 * heuristics, the fastest of those that keep the plan's precision, measured once and remembered on disk.
 *
 * A ladder of graphs is tried: convolution with bias, residual and ReLU in one; the bare convolution with an f32 result;
 * in bf16 also the bare one with a bf16 result (not every engine mixes types). What an engine may not be: non-deterministic;
 * on tensor cores where f32 is asked for (for f32 operands they mean TF32); with inputs rounded further or a reduced
 * sum. Descriptors are made with an allocation-free helper chain and destroyed with the device. */
#include "engine/backend/cuda/gpu/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef cudnnBackendDescriptor_t desc;

enum { UID_X = 1, UID_W, UID_Y, UID_BIAS, UID_RESIDUAL, UID_RAW, UID_SUM, UID_ACT };
enum { MOST_CONFIGS = 32, MOST_TIMED = 8, MOST_DESCS = 24, TIMED_RUNS = 3 };
static const size_t MOST_WORKSPACE = (size_t)256 << 20;

typedef struct {
    desc plan, engine_cfg;
    size_t workspace;
    bool has_bias, has_residual;
} conv_plan;

/* Descriptors of one graph; those that the plan needs later live on. */
typedef struct {
    avs_cuda_device *d;
    const avs_gpu_libs *l;
    desc all[MOST_DESCS];
    int n;
    avs_err *e;
} builder;

static int told(const avs_gpu_libs *l, cudnnStatus_t s, const char *what, avs_err *e)
{
    char more[200] = "";
    if (s == CUDNN_STATUS_SUCCESS) return AVS_OK;
    l->cudnnGetLastErrorString(more, sizeof more);
    return avs_fail(e, AVS_ELIB, "%s: %s%s%s", what, l->cudnnGetErrorString(s), *more ? ": " : "", more);
}

static int make(builder *b, cudnnBackendDescriptorType_t type, desc *out)
{
    const int rc =
        told(b->l, b->l->cudnnBackendCreateDescriptor(type, out), "cudnnBackendCreateDescriptor", b->e);
    if (rc == AVS_OK) b->all[b->n++] = *out;
    return rc;
}

static void release(builder *b)
{
    while (b->n) (void)b->l->cudnnBackendDestroyDescriptor(b->all[--b->n]);
}

static int set(builder *b, desc what, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
               int64_t n, const void *value)
{
    char text[64];
    snprintf(text, sizeof text, "cudnnBackendSetAttribute(%d)", (int)name);
    return told(b->l, b->l->cudnnBackendSetAttribute(what, name, type, n, value), text, b->e);
}

static int finalize(builder *b, desc what, const char *name)
{
    return told(b->l, b->l->cudnnBackendFinalize(what), name, b->e);
}

/* ------------------------------------------------------------------ tensors and operations */

/* Extents in cuDNN's order N, C, H, W; in memory channels come last. */
static int tensor(builder *b, int64_t uid, bool is_bf16, bool is_virtual, const int64_t *dim, int64_t align,
                  desc *out)
{
    int rc = AVS_OK;
    const cudnnDataType_t type = is_bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    const int64_t stride[4] = {dim[1] * dim[2] * dim[3], 1, dim[3] * dim[1], dim[1]};
    AVS_TRY(make(b, CUDNN_BACKEND_TENSOR_DESCRIPTOR, out));
    AVS_TRY(set(b, *out, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type));
    AVS_TRY(set(b, *out, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim));
    AVS_TRY(set(b, *out, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride));
    AVS_TRY(set(b, *out, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid));
    AVS_TRY(set(b, *out, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align));
    if (is_virtual) AVS_TRY(set(b, *out, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual));
    AVS_TRY(finalize(b, *out, "a tensor"));
out:
    return rc;
}

/* y = mode(x, other); other NULL for unary modes. */
static int pointwise(builder *b, cudnnPointwiseMode_t mode, desc x, desc other, desc y, desc *out)
{
    int rc = AVS_OK;
    desc pw;
    const cudnnDataType_t type = CUDNN_DATA_FLOAT;
    AVS_TRY(make(b, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, &pw));
    AVS_TRY(set(b, pw, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode));
    AVS_TRY(set(b, pw, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &type));
    AVS_TRY(finalize(b, pw, "a pointwise operation"));
    AVS_TRY(make(b, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, out));
    AVS_TRY(
        set(b, *out, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &pw));
    AVS_TRY(set(b, *out, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x));
    if (other)
        AVS_TRY(set(b, *out, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &other));
    AVS_TRY(set(b, *out, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y));
    AVS_TRY(finalize(b, *out, "a pointwise node"));
out:
    return rc;
}

static int convolution(builder *b, const avs_cuda_conv *g, desc x, desc w, desc y, desc *out)
{
    static const struct {
        cudnnBackendDescriptorType_t type;
        cudnnBackendAttributeName_t alpha, beta, conv, x, w, y;
    } kinds[] = {
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY},
    };
    int rc = AVS_OK;
    desc c;
    const cudnnDataType_t type = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t n = 2, dilation[2] = {g->a.dh, g->a.dw}, stride[2] = {g->a.sh, g->a.sw},
                  pad[2] = {g->a.ph, g->a.pw};
    const float alpha = 1.f, beta = 0.f;
    AVS_TRY(make(b, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, &c));
    AVS_TRY(set(b, c, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type));
    AVS_TRY(set(b, c, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
    AVS_TRY(set(b, c, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &n));
    AVS_TRY(set(b, c, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation));
    AVS_TRY(set(b, c, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride));
    AVS_TRY(set(b, c, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pad));
    AVS_TRY(set(b, c, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pad));
    AVS_TRY(finalize(b, c, "a convolution"));
    AVS_TRY(make(b, kinds[g->kind].type, out));
    AVS_TRY(set(b, *out, kinds[g->kind].alpha, CUDNN_TYPE_FLOAT, 1, &alpha));
    AVS_TRY(set(b, *out, kinds[g->kind].beta, CUDNN_TYPE_FLOAT, 1, &beta));
    AVS_TRY(set(b, *out, kinds[g->kind].conv, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &c));
    AVS_TRY(set(b, *out, kinds[g->kind].x, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x));
    AVS_TRY(set(b, *out, kinds[g->kind].w, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &w));
    AVS_TRY(set(b, *out, kinds[g->kind].y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y));
    AVS_TRY(finalize(b, *out, "a convolution node"));
out:
    return rc;
}

/* Which rung of the ladder. */
typedef struct {
    bool is_fused, gives_bf16;
} rung;

/* The operation graph: convolution, then bias, residual, ReLU as far as they are fused. */
static int graph_of(builder *b, const avs_cuda_conv *g, rung r, desc *out)
{
    int rc = AVS_OK, n = 0;
    const int64_t dx[4] = {g->B, g->Ci, g->H, g->W}, dw[4] = {g->Co, g->Ci / g->a.groups, g->a.kh, g->a.kw},
                  dy[4] = {g->B, g->Co, g->Ho, g->Wo}, db[4] = {1, g->Co, 1, 1};
    const avs_conv_kind k = g->kind;
    const int64_t align = g->align;
    desc x, w, y, at, op[4];
    const int n_more = r.is_fused ? g->has_bias + g->has_residual + (g->act == AVS_ACT_RELU) : 0;
    AVS_TRY(tensor(b, UID_X, k == AVS_CONV_BWD_X ? r.gives_bf16 : g->is_bf16, false, dx, align, &x));
    AVS_TRY(tensor(b, UID_W, k == AVS_CONV_BWD_W ? r.gives_bf16 : g->is_bf16, false, dw, align, &w));
    if (n_more)
        AVS_TRY(tensor(b, UID_RAW, false, true, dy, align, &y));
    else
        AVS_TRY(tensor(b, UID_Y, k == AVS_CONV_FWD ? r.gives_bf16 : g->is_bf16, false, dy, align, &y));
    AVS_TRY(convolution(b, g, x, w, y, &op[n++]));
    at = y;
    const struct {
        bool is_there;
        cudnnPointwiseMode_t mode;
        int64_t uid, to;
        const int64_t *dim;
    } more[] = {{g->has_bias, CUDNN_POINTWISE_ADD, UID_BIAS, UID_SUM, db},
                {g->has_residual, CUDNN_POINTWISE_ADD, UID_RESIDUAL, UID_ACT, dy},
                {g->act == AVS_ACT_RELU, CUDNN_POINTWISE_RELU_FWD, 0, 0, NULL}};
    for (int i = 0; i < 3 && n_more; i++) {
        desc other = NULL, to;
        if (!more[i].is_there) continue;
        if (more[i].uid) AVS_TRY(tensor(b, more[i].uid, false, false, more[i].dim, align, &other));
        const bool is_last = n == n_more;
        AVS_TRY(tensor(b, is_last ? UID_Y : more[i].to, false, !is_last, dy, align, &to));
        AVS_TRY(pointwise(b, more[i].mode, at, other, to, &op[n]));
        n++;
        at = to;
    }
    AVS_TRY(make(b, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, out));
    AVS_TRY(set(b, *out, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, n, op));
    AVS_TRY(set(b, *out, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &b->d->dnn));
    AVS_TRY(finalize(b, *out, "an operation graph"));
out:
    return rc;
}

/* ------------------------------------------------------------------ engines */

/* Does the configuration's engine keep what the plan promises? */
static bool is_allowed(const builder *b, desc cfg, bool is_strict)
{
    const avs_gpu_libs *l = b->l;
    desc engine = NULL;
    int64_t n = 0;
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    bool is_good = true;
    if (l->cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) != CUDNN_STATUS_SUCCESS)
        return false;
    if (l->cudnnBackendGetAttribute(cfg, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n,
                                    &engine) != CUDNN_STATUS_SUCCESS ||
        l->cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                    CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n, note) != CUDNN_STATUS_SUCCESS)
        is_good = false;
    for (int64_t i = 0; is_good && i < n; i++)
        is_good = note[i] != CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC &&
                  note[i] != CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION &&
                  (!is_strict || (note[i] != CUDNN_NUMERICAL_NOTE_TENSOR_CORE &&
                                  note[i] != CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS));
    (void)l->cudnnBackendDestroyDescriptor(engine);
    return is_good;
}

/* An execution plan of the configuration; false where it cannot be made or wants too much workspace. */
static bool plan_of(const builder *b, desc cfg, desc *plan, size_t *workspace)
{
    const avs_gpu_libs *l = b->l;
    int64_t bytes = 0, n = 0;
    *plan = NULL;
    if (l->cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, plan) !=
        CUDNN_STATUS_SUCCESS)
        return false;
    if (l->cudnnBackendSetAttribute(*plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                                    &b->d->dnn) == CUDNN_STATUS_SUCCESS &&
        l->cudnnBackendSetAttribute(*plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                    CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &cfg) == CUDNN_STATUS_SUCCESS &&
        l->cudnnBackendFinalize(*plan) == CUDNN_STATUS_SUCCESS &&
        l->cudnnBackendGetAttribute(*plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &n,
                                    &bytes) == CUDNN_STATUS_SUCCESS &&
        bytes >= 0 && (size_t)bytes <= MOST_WORKSPACE) {
        *workspace = (size_t)bytes;
        return true;
    }
    (void)l->cudnnBackendDestroyDescriptor(*plan);
    *plan = NULL;
    return false;
}

/* Engine configurations in the order of the heuristics, those that are not allowed left out. */
static int configs_of(builder *b, desc graph, bool is_strict, desc *cfg)
{
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};
    const avs_gpu_libs *l = b->l;
    int kept = 0;
    for (int m = 0; m < 2 && kept < MOST_CONFIGS; m++) {
        desc heur = NULL, found[MOST_CONFIGS];
        int64_t n = 0;
        int made = 0;
        if (l->cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heur) !=
            CUDNN_STATUS_SUCCESS)
            break;
        while (made < MOST_CONFIGS - kept &&
               l->cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &found[made]) ==
                   CUDNN_STATUS_SUCCESS)
            made++;
        if (l->cudnnBackendSetAttribute(heur, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                                        CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph) != CUDNN_STATUS_SUCCESS ||
            l->cudnnBackendSetAttribute(heur, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1,
                                        &modes[m]) != CUDNN_STATUS_SUCCESS ||
            l->cudnnBackendFinalize(heur) != CUDNN_STATUS_SUCCESS ||
            l->cudnnBackendGetAttribute(heur, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                        made, &n, found) != CUDNN_STATUS_SUCCESS)
            n = 0;
        for (int i = 0; i < made; i++) {
            if (i < n && is_allowed(b, found[i], is_strict))
                cfg[kept++] = found[i];
            else
                (void)l->cudnnBackendDestroyDescriptor(found[i]);
        }
        (void)l->cudnnBackendDestroyDescriptor(heur);
    }
    return kept;
}

/* ------------------------------------------------------------------ running */

static int execute(avs_cuda_device *d, const conv_plan *p, void *const *address, void *workspace)
{
    static const int64_t uids[] = {UID_X, UID_W, UID_Y, UID_BIAS, UID_RESIDUAL};
    const avs_gpu_libs *l = d->lib;
    int64_t uid[5];
    void *at[5];
    int64_t n = 0;
    desc pack = NULL;
    for (int i = 0; i < 5; i++) {
        if ((i == 3 && !p->has_bias) || (i == 4 && !p->has_residual)) continue;
        uid[n] = uids[i];
        at[n++] = address[i];
    }
    cudnnStatus_t s = l->cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    if (s == CUDNN_STATUS_SUCCESS)
        s = l->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, uid);
    if (s == CUDNN_STATUS_SUCCESS)
        s = l->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n,
                                        at);
    if (s == CUDNN_STATUS_SUCCESS)
        s = l->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1,
                                        &workspace);
    if (s == CUDNN_STATUS_SUCCESS) s = l->cudnnBackendFinalize(pack);
    if (s == CUDNN_STATUS_SUCCESS) s = l->cudnnBackendExecute(d->dnn, p->plan, pack);
    if (pack) (void)l->cudnnBackendDestroyDescriptor(pack);
    return s == CUDNN_STATUS_SUCCESS ? AVS_OK
                                     : avs_gpu_failed(d, "cudnnBackendExecute", l->cudnnGetErrorString(s));
}

int avs_gpu_conv_run(avs_cuda_device *d, const avs_cuda_call *c, void *x, void *w, void *y, const float *bias,
                     const float *residual, void *workspace)
{
    void *const address[] = {x, w, y, (void *)(uintptr_t)bias, (void *)(uintptr_t)residual};
    return execute(d, c->plan, address, workspace);
}

/* ------------------------------------------------------------------ measuring */

/* Memory in which candidates run: operands of the convolution's sizes and the largest workspace. */
static bool borrow(const avs_cuda_conv *g, void **base, void **address, void **workspace)
{
    const size_t sizes[] = {(size_t)(g->B * g->H * g->W * g->Ci) * 4,
                            (size_t)(g->Co * g->a.kh * g->a.kw * (g->Ci / g->a.groups)) * 4,
                            (size_t)(g->B * g->Ho * g->Wo * g->Co) * 4, (size_t)g->Co * 4,
                            (size_t)(g->B * g->Ho * g->Wo * g->Co) * 4};
    size_t at[6] = {0};
    for (int i = 0; i < 5; i++) at[i + 1] = at[i] + (sizes[i] + 255) / 256 * 256;
    *base = NULL;
    if (cudaMalloc(base, at[5] + MOST_WORKSPACE) != cudaSuccess) {
        (void)cudaGetLastError();
        return false;
    }
    (void)cudaMemset(*base, 0, at[5]);
    for (int i = 0; i < 5; i++) address[i] = (char *)*base + at[i];
    *workspace = (char *)*base + at[5];
    return true;
}

/* Least milliseconds of a few runs; negative where one fails. */
static float time_of(avs_cuda_device *d, const conv_plan *p, void *const *address, void *workspace)
{
    float best = -1;
    for (int i = 0; i <= TIMED_RUNS; i++) {
        float ms = 0;
        if (cudaEventRecord(d->marked[0], d->stream) != cudaSuccess) return -1;
        if (execute(d, p, address, workspace) != AVS_OK) return -1;
        if (cudaEventRecord(d->marked[1], d->stream) != cudaSuccess ||
            cudaEventSynchronize(d->marked[1]) != cudaSuccess ||
            cudaEventElapsedTime(&ms, d->marked[0], d->marked[1]) != cudaSuccess)
            return -1;
        if (i > 0 && (best < 0 || ms < best)) best = ms; /* the first run loads code */
    }
    return best;
}

/* The fastest of the first configurations that can be made; -1: none can. */
static int measure(builder *b, const avs_cuda_conv *g, const desc *cfg, int n, conv_plan like)
{
    void *base, *address[5], *workspace;
    int best = -1, timed = 0;
    float least = 0;
    const bool has_memory = borrow(g, &base, address, &workspace);
    for (int i = 0; i < n && timed < (has_memory ? MOST_TIMED : 1); i++) {
        conv_plan p = like;
        if (!plan_of(b, cfg[i], &p.plan, &p.workspace)) continue;
        const float ms = has_memory ? time_of(b->d, &p, address, workspace) : 0;
        (void)b->l->cudnnBackendDestroyDescriptor(p.plan);
        if (ms < 0) continue;
        timed++;
        if (best < 0 || ms < least) {
            best = i;
            least = ms;
        }
    }
    if (base) (void)cudaFree(base);
    return best;
}

static void key_of(const avs_cuda_device *d, const avs_cuda_conv *g, rung r, char *out, size_t n)
{
    const avs_conv_attr *a = &g->a;
    snprintf(out, n,
             "%s sm_%d%d driver %d cudnn %zu math %d kind %d %lldx%lldx%lldx%lld to %lldx%lldx%lld k%dx%d "
             "s%dx%d p%dx%d "
             "d%dx%d g%d fused %d%d%d%d bf16 %d%d align %u",
             d->prop.name, d->prop.major, d->prop.minor, d->driver, d->lib->cudnnGetVersion(), (int)d->math,
             (int)g->kind, (long long)g->B, (long long)g->H, (long long)g->W, (long long)g->Ci,
             (long long)g->Ho, (long long)g->Wo, (long long)g->Co, a->kh, a->kw, a->sh, a->sw, a->ph, a->pw,
             a->dh, a->dw, a->groups, r.is_fused, g->has_bias, g->has_residual, g->act, g->is_bf16,
             r.gives_bf16, g->align);
}

/* ------------------------------------------------------------------ choosing */

static void destroy(const avs_gpu_libs *l, void *p)
{
    conv_plan *c = p;
    if (c->plan) (void)l->cudnnBackendDestroyDescriptor(c->plan);
    if (c->engine_cfg) (void)l->cudnnBackendDestroyDescriptor(c->engine_cfg);
}

/* One rung: AVS_EMISSING where no engine does it. */
static int try_rung(avs_cuda_device *d, const avs_cuda_conv *g, rung r, conv_plan *out, avs_err *e)
{
    builder b = {.d = d, .l = d->lib, .e = e};
    desc graph, cfg[MOST_CONFIGS];
    char key[512];
    int rc = graph_of(&b, g, r, &graph), n = 0;
    conv_plan p = {.has_bias = r.is_fused && g->has_bias, .has_residual = r.is_fused && g->has_residual};
    if (rc == AVS_OK) {
        const bool is_strict = d->math == AVS_MATH_F32 || (d->math == AVS_MATH_BF16 && !g->is_bf16);
        n = configs_of(&b, graph, is_strict, cfg);
        key_of(d, g, r, key, sizeof key);
        int best = avs_algo_cache_find(d->choices, key);
        if (best < 0 || best >= n || !plan_of(&b, cfg[best], &p.plan, &p.workspace)) {
            best = measure(&b, g, cfg, n, p);
            if (best >= 0 && plan_of(&b, cfg[best], &p.plan, &p.workspace))
                avs_algo_cache_put(d->choices, key, best);
        }
        if (p.plan) {
            p.engine_cfg = cfg[best];
            cfg[best] = NULL;
        } else {
            rc = avs_fail(e, AVS_EMISSING, "cuDNN has no engine for the convolution %s (%d were offered)",
                          key, n);
        }
    }
    for (int i = 0; i < n; i++)
        if (cfg[i]) (void)d->lib->cudnnBackendDestroyDescriptor(cfg[i]);
    release(&b);
    if (rc == AVS_OK) *out = p;
    return rc;
}

int avs_gpu_conv_new(avs_cuda_device *d, const avs_cuda_conv *g, avs_cuda_call *out, avs_err *e)
{
    const bool has_more = g->has_bias || g->has_residual || g->act != AVS_ACT_NONE;
    const rung rungs[] = {{true, false}, {false, false}, {false, true}};
    conv_plan found = {0}, *p = AVS_NEW(d->arena, conv_plan);
    int rc = AVS_EMISSING;
    if (!p) return avs_fail(e, AVS_ENOMEM, "no memory for a convolution");
    for (int i = 0; i < 3 && rc != AVS_OK; i++) {
        if (rungs[i].gives_bf16 && (!g->is_bf16 || g->needs_f32)) continue;
        if (rungs[i].is_fused && !has_more) continue;
        rc = try_rung(d, g, rungs[i], &found, e);
        *out = (avs_cuda_call){.plan = p,
                               .workspace = found.workspace,
                               .is_fused = rungs[i].is_fused || !has_more,
                               .gives_bf16 = rungs[i].gives_bf16,
                               .impl = g->is_bf16                 ? "cudnn_bf16"
                                       : d->math == AVS_MATH_TF32 ? "cudnn_tf32"
                                                                  : "cudnn"};
    }
    if (rc != AVS_OK) return rc;
    *p = found;
    return avs_gpu_own(d, destroy, p, e);
}
