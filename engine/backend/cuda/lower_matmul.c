/* MATMUL as products of the device's library: one call for linear layers and for heads of one sample, else one per
 * sample or per head, whichever are fewer (a split operand has two batch strides, a call knows one).
 *
 * bf16: operands are rounded into copies first, constant ones once; sums, bias, residual and result stay f32. What the
 * library cannot do behind a product (exact GELU, ReLU6) is one elementwise pass in place. */
#include "engine/backend/cuda/cuda.h"

typedef struct {
    int64_t outer, inner, row; /* strides: of batches, of heads, of rows; elements */
} strides;

static strides strides_of(const avs_type *t, int heads, bool is_split)
{
    const int64_t n = t->d[t->rank - 1], m = t->rank > 1 ? t->d[t->rank - 2] : 1;
    if (heads && is_split) return (strides){m * n, n / heads, n};
    if (heads) return (strides){heads * m * n, m * n, n};
    return (strides){m * n, 0, n};
}

typedef struct {
    avs_backend *be;
    avs_cuda_call call;
    const char *a, *b;
    char *c;
    const float *bias, *residual;
    int64_t loops, step_a, step_b, step_c; /* elements from one call to the next */
    size_t elem;                           /* bytes of an element of A and B */
    avs_cuda_launch *round_a, *round_b;    /* bf16 copies in the workspace; NULL: none */
    avs_cuda_launch *round_const;          /* bf16 copy of a constant B, made by prepare */
    size_t off_b, off_lib;                 /* in the workspace; A's copy is at 0 */
    avs_cuda_launch *finish;
} product_ctx;

static int product_run(void *ctx, void *workspace)
{
    const product_ctx *c = ctx;
    const char *a = c->a, *b = c->b;
    char *work = workspace;
    if (c->round_a) {
        ((avs_round_p *)c->round_a->p)->y = (uint16_t *)(void *)work;
        a = work;
        if (avs_cuda_launch_run(c->be, c->round_a, NULL)) return AVS_ECUDA;
    }
    if (c->round_b) {
        ((avs_round_p *)c->round_b->p)->y = (uint16_t *)(void *)(work + c->off_b);
        b = work + c->off_b;
        if (avs_cuda_launch_run(c->be, c->round_b, NULL)) return AVS_ECUDA;
    }
    for (int64_t i = 0; i < c->loops; i++) {
        const int rc = c->be->ops->gemm_run(c->be->dev, &c->call, a + (size_t)(i * c->step_a) * c->elem,
                                            b + (size_t)(i * c->step_b) * c->elem, c->bias,
                                            c->residual ? c->residual + i * c->step_c : NULL,
                                            (float *)(void *)c->c + i * c->step_c, work + c->off_lib);
        if (rc != AVS_OK) return rc;
    }
    return avs_cuda_launch_run(c->be, c->finish, NULL);
}

static int product_prepare(void *ctx, void *workspace)
{
    const product_ctx *c = ctx;
    (void)workspace;
    return avs_cuda_launch_run(c->be, c->round_const, NULL);
}

static uint32_t alignment(const void *p)
{
    const uintptr_t u = (uintptr_t)p;
    uint32_t a = 256;
    while (a > 4 && u % a) a /= 2;
    return a;
}

/* The product's extents and strides, and how many calls it takes. */
static avs_cuda_gemm describe(const avs_lower_req *r, product_ctx *c)
{
    const avs_matmul_attr *m = r->g->node[r->node].attr;
    const avs_type *ta = &r->in[0].type, *tb = &r->in[1].type, *tc = &r->out[0].type;
    const int64_t total = avs_type_count(tc), n_last = tc->d[tc->rank - 1];
    avs_cuda_gemm g = {.ta = m->ta, .tb = m->tb, .alpha = m->alpha == 0.f ? 1.f : m->alpha, .batch = 1};
    g.has_bias = r->in[2].data != NULL;
    g.has_residual = r->in[3].data != NULL;
    c->loops = 1;
    if (tb->rank == 2 && m->heads == 0) {
        g.N = n_last;
        g.M = total / g.N;
        g.K = m->tb ? tb->d[1] : tb->d[0];
        g.lda = m->ta ? g.M : g.K;
        g.ldb = tb->d[1];
        g.ldc = g.N;
        return g;
    }
    const int heads = m->heads;
    const strides sa = strides_of(ta, heads, m->a_split), sb = strides_of(tb, heads, m->b_split),
                  sc = strides_of(tc, heads, m->c_split);
    const int64_t a_cols = ta->d[ta->rank - 1] / (heads && m->a_split ? heads : 1),
                  a_rows = ta->d[ta->rank - 2];
    g.N = heads && m->c_split ? n_last / heads : n_last;
    g.M = tc->d[tc->rank - 2];
    g.K = m->ta ? a_rows : a_cols;
    g.lda = sa.row;
    g.ldb = sb.row;
    g.ldc = sc.row;
    const int64_t n_mat = total / (g.M * g.N), n_outer = heads ? n_mat / heads : n_mat,
                  n_inner = heads ? heads : 1;
    const bool by_outer = n_inner >= n_outer; /* calls run over batches, each over heads */
    c->loops = by_outer ? n_outer : n_inner;
    g.batch = by_outer ? n_inner : n_outer;
    g.stride_a = by_outer ? sa.inner : sa.outer;
    g.stride_b = by_outer ? sb.inner : sb.outer;
    g.stride_c = by_outer ? sc.inner : sc.outer;
    c->step_a = by_outer ? sa.outer : sa.inner;
    c->step_b = by_outer ? sb.outer : sb.inner;
    c->step_c = by_outer ? sc.outer : sc.inner;
    return g;
}

static avs_cuda_launch *rounding(avs_backend *be, const avs_tensor *t, void *to, avs_err *e)
{
    const avs_round_p p = {.x = t->data, .y = to};
    return AVS_CUDA_LAUNCH(be, round, p, avs_type_count(&t->type), e);
}

/* Rounded operands: where they lie, and who makes them. */
static int round_operands(avs_backend *be, const avs_lower_req *r, product_ctx *c, avs_err *e)
{
    const size_t bytes_a = (size_t)avs_type_count(&r->in[0].type) * 2,
                 bytes_b = (size_t)avs_type_count(&r->in[1].type) * 2;
    c->elem = 2;
    c->round_a = rounding(be, &r->in[0], NULL, e);
    c->off_b = avs_cuda_round(bytes_a);
    c->off_lib = c->off_b;
    if (!c->round_a) return AVS_ENOMEM;
    if (r->in_is_const[1]) {
        void *copy = NULL;
        int rc = avs_cuda_alloc(be, bytes_b, "a rounded weight", &copy, e);
        if (rc != AVS_OK) return rc;
        c->round_const = rounding(be, &r->in[1], copy, e);
        c->b = copy;
        return c->round_const ? AVS_OK : AVS_ENOMEM;
    }
    c->round_b = rounding(be, &r->in[1], NULL, e);
    c->off_lib += avs_cuda_round(bytes_b);
    return c->round_b ? AVS_OK : AVS_ENOMEM;
}

int avs_cuda_lower_matmul(avs_backend *be, const avs_lower_req *r, avs_step *out, avs_err *e)
{
    const avs_matmul_attr *m = r->g->node[r->node].attr;
    product_ctx *c = AVS_NEW(be->arena, product_ctx);
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory for a step");
    *c = (product_ctx){.be = be,
                       .a = r->in[0].data,
                       .b = r->in[1].data,
                       .c = r->out[0].data,
                       .bias = r->in[2].data,
                       .residual = r->in[3].data,
                       .elem = sizeof(float)};
    avs_cuda_gemm g = describe(r, c);
    const bool is_late = m->act == AVS_ACT_GELU || m->act == AVS_ACT_RELU6;
    g.act = is_late ? AVS_ACT_NONE : m->act;
    /* A matrix of the batch may begin anywhere: the least alignment of start and steps counts. */
    g.align_a = alignment((const void *)((uintptr_t)c->a | (uintptr_t)(4 * (g.stride_a | c->step_a))));
    g.align_b = alignment((const void *)((uintptr_t)c->b | (uintptr_t)(4 * (g.stride_b | c->step_b))));
    g.align_c = alignment(
        (const void *)((uintptr_t)c->c | (uintptr_t)(4 * (g.stride_c | c->step_c)) | (uintptr_t)c->residual));
    g.is_bf16 = be->math == AVS_MATH_BF16;
    int rc = AVS_EMISSING;
    if (g.is_bf16) {
        avs_cuda_gemm h = g; /* copies begin at multiples of 256; steps count half the bytes */
        h.align_a = alignment((const void *)(uintptr_t)(2 * (g.stride_a | c->step_a)));
        h.align_b = alignment((const void *)(uintptr_t)(2 * (g.stride_b | c->step_b)));
        rc = be->ops->gemm_new(be->dev, &h, &c->call, NULL);
        if (rc == AVS_OK) rc = round_operands(be, r, c, e);
        if (rc == AVS_ENOMEM) return rc;
    }
    if (rc != AVS_OK) { /* f32 asked for, or the library has no rounded product of this form */
        g.is_bf16 = false;
        rc = be->ops->gemm_new(be->dev, &g, &c->call, e);
    }
    if (rc != AVS_OK) return rc;
    if (is_late) {
        const avs_epilogue_p p = {.x = r->out[0].data, .y = r->out[0].data, .C = 1, .act = m->act};
        c->finish = AVS_CUDA_LAUNCH(be, epilogue, p, avs_type_count(&r->out[0].type), e);
        if (!c->finish) return AVS_ENOMEM;
    }
    *out = (avs_step){.run = product_run,
                      .prepare = c->round_const ? product_prepare : NULL,
                      .ctx = c,
                      .workspace = c->off_lib + c->call.workspace,
                      .impl = c->call.impl};
    return AVS_OK;
}
