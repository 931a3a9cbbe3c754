/* MATMUL on oneDNN: every form is one matmul primitive over strided descriptors, so that transposes and head splits
 * cost no copy. Precision bf16: products that gain read rounded operands and write f32. oneDNN 2.6's brgemm takes all of them (measured: 8 heads x 17x32 @ 32x17 in 5 us, one thread). */
#include "engine/backend/cpu/dnnl_step.h"

/* [.., rows, cols] of an operand: extents and strides per axis, in the order batch axes, rows, columns. */
typedef struct {
    dnnl_dims_t dim, stride;
    int rank;
} mat;

static mat matrix2(int64_t rows, int64_t cols, bool transposed)
{
    mat m = {.rank = 2, .dim = {rows, cols}};
    m.stride[0] = transposed ? 1 : cols;
    m.stride[1] = transposed ? rows : 1;
    return m;
}

static void transpose(mat *m)
{
    int64_t d = m->dim[m->rank - 2], s = m->stride[m->rank - 2];
    m->dim[m->rank - 2] = m->dim[m->rank - 1];
    m->stride[m->rank - 2] = m->stride[m->rank - 1];
    m->dim[m->rank - 1] = d;
    m->stride[m->rank - 1] = s;
}

/* A dense operand of rank 3 or 4 as it lies. */
static mat dense(const avs_type *t)
{
    mat m = {.rank = t->rank};
    int64_t s = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        m.dim[i] = t->d[i];
        m.stride[i] = s;
        s *= t->d[i];
    }
    return m;
}

/* [B,R,h*D] read as [B,h,R,D]. */
static mat split(const avs_type *t, int heads)
{
    int64_t B = t->d[0], R = t->d[1], hD = t->d[2], D = hD / heads;
    return (mat){.rank = 4, .dim = {B, heads, R, D}, .stride = {R * hD, D, hD, 1}};
}

static mat operand(const avs_type *t, int heads, bool is_split, bool transposed)
{
    mat m = heads && is_split ? split(t, heads) : dense(t);
    if (transposed) transpose(&m);
    return m;
}

static int desc(dnnl_memory_desc_t *md, const mat *m, avs_err *e)
{
    int rc = AVS_OK;
    AVS_DNNL(dnnl_memory_desc_init_by_strides(md, m->rank, m->dim, dnnl_f32, m->stride));
out:
    return rc;
}

/* One product: the operands as oneDNN sees them. */
typedef struct {
    dnnl_memory_desc_t a, b, c, bias;
    float alpha;
    int act;
    bool is_linear, has_bias, has_residual;
    bool has_scaled_bias; /* bias and alpha != 1 */
    double macs;
    int64_t depth;
} product;

static void matrices(const avs_type *ta, const avs_type *tb, const avs_type *tc, const avs_matmul_attr *at,
                     mat *a, mat *b, mat *c)
{
    if (tb->rank == 2) {
        int64_t K = at->tb ? tb->d[1] : tb->d[0], N = at->tb ? tb->d[0] : tb->d[1];
        int64_t M = avs_type_count(tc) / N;
        *a = matrix2(M, K, at->ta);
        *b = matrix2(K, N, at->tb);
        *c = matrix2(M, N, false);
    } else {
        *a = operand(ta, at->heads, at->a_split, at->ta);
        *b = operand(tb, at->heads, at->b_split, at->tb);
        *c = operand(tc, at->heads, at->c_split, false);
    }
}

static int product_of(const avs_graph *g, uint32_t node, product *p, avs_err *e)
{
    int rc = AVS_OK;
    const avs_node *n = &g->node[node];
    const avs_matmul_attr *at = n->attr;
    mat a, b, c;
    matrices(avs_t(g, n->in[0]), avs_t(g, n->in[1]), avs_t(g, n->out[0]), at, &a, &b, &c);
    mat row = {.rank = c.rank};
    for (int i = 0; i < c.rank; i++) row.dim[i] = 1, row.stride[i] = c.dim[c.rank - 1];
    row.dim[c.rank - 1] = c.dim[c.rank - 1];
    row.stride[c.rank - 1] = 1;
    *p = (product){.alpha = at->alpha == 0.0f ? 1.0f : at->alpha, .act = at->act, .is_linear = b.rank == 2};
    p->has_bias = n->n_in > 2 && n->in[2];
    p->has_residual = n->n_in > 3 && n->in[3];
    p->has_scaled_bias = p->has_bias && p->alpha != 1.0f;
    p->depth = a.dim[a.rank - 1];
    p->macs = (double)avs_type_count(avs_t(g, n->out[0])) * (double)p->depth;
    AVS_TRY(desc(&p->a, &a, e));
    AVS_TRY(desc(&p->b, &b, e));
    AVS_TRY(desc(&p->c, &c, e));
    AVS_TRY(desc(&p->bias, &row, e));
out:
    return rc;
}

/* alpha together with a bias: oneDNN scales product and bias alike, so the bias becomes a binary post-op after the
 * scale. Rare (no model has it), hence correct rather than fast. */
static int scaled_bias_attr(dnnl_primitive_attr_t *attr, float alpha, const dnnl_memory_desc_t *bias,
                            bool accumulate, int act, avs_err *e)
{
    int rc = AVS_OK;
    dnnl_post_ops_t post = NULL;
    AVS_TRY(avs_dnnl_attr(attr, alpha, false, AVS_ACT_NONE, e));
    AVS_DNNL(dnnl_post_ops_create(&post));
    if (accumulate) AVS_DNNL(dnnl_post_ops_append_sum(post, 1.0f));
    AVS_DNNL(dnnl_post_ops_append_binary(post, dnnl_binary_add, bias));
    AVS_TRY(avs_dnnl_post_act(post, act, e));
    AVS_DNNL(dnnl_primitive_attr_set_post_ops(*attr, post));
out:
    if (post) dnnl_post_ops_destroy(post);
    return rc;
}

/* b: the layout in which B lies; NULL: oneDNN chooses. */
static int make_pd(avs_backend *be, const product *p, const dnnl_memory_desc_t *b, dnnl_primitive_desc_t *pd,
                   avs_err *e)
{
    int rc = AVS_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_memory_desc_t any;
    dnnl_matmul_desc_t d;
    if (p->has_scaled_bias)
        AVS_TRY(scaled_bias_attr(&attr, p->alpha, &p->bias, p->has_residual, p->act, e));
    else
        AVS_TRY(avs_dnnl_attr(&attr, p->alpha, p->has_residual, p->act, e));
    AVS_DNNL(dnnl_memory_desc_init_by_tag(&any, p->b.ndims, p->b.dims, p->b.data_type, dnnl_format_tag_any));
    AVS_DNNL(dnnl_matmul_desc_init(&d, &p->a, b ? b : &any,
                                   p->has_bias && !p->has_scaled_bias ? &p->bias : NULL, &p->c));
    AVS_DNNL(dnnl_primitive_desc_create(pd, &d, attr, be->engine, NULL));
out:
    if (attr) dnnl_primitive_attr_destroy(attr);
    return rc;
}

/* Does this product gain from rounded operands, B among them unless it is constant? */
static bool gains(const product *p, bool const_b)
{
    return avs_bf16_pays(p->macs, avs_dnnl_elements(&p->a) + (const_b ? 0 : avs_dnnl_elements(&p->b)),
                         p->depth);
}

/* The descriptor over rounded operands. A B that changes is rounded as it lies: packing it costs more than it saves
 * (1029x2048 operand: 0.16 against 0.91 ms, for a product of 5.2 or 5.0 ms; one thread of Zen 4). *pd stays NULL if the product does not gain or oneDNN has nothing fast. */
static int rounded_pd(avs_backend *be, product *p, bool const_b, dnnl_primitive_desc_t *pd, const char **impl,
                      avs_err *e)
{
    product r = *p;
    if (!be->is_bf16 || !gains(p, const_b)) return AVS_OK;
    r.a = avs_bf16_desc(&p->a);
    r.b = avs_bf16_desc(&p->b);
    if (make_pd(be, &r, r.is_linear && const_b ? NULL : &r.b, pd, NULL) != AVS_OK) return AVS_OK;
    int rc = avs_dnnl_impl(be, *pd, impl, e);
    if (rc == AVS_OK && !avs_dnnl_is_slow(*impl)) {
        *p = r;
        return AVS_OK;
    }
    dnnl_primitive_desc_destroy(*pd);
    *pd = NULL;
    return rc;
}

int avs_dnnl_matmul_layout(avs_backend *be, const avs_graph *g, uint32_t node, const avs_layout **out,
                           avs_err *e)
{
    int rc = AVS_OK;
    dnnl_primitive_desc_t pd = NULL;
    product p;
    *out = NULL;
    AVS_TRY(product_of(g, node, &p, e));
    if (!p.is_linear || (be->is_bf16 && gains(&p, true)))
        goto out; /* rounded copies are made of plain ones */
    AVS_TRY(make_pd(be, &p, NULL, &pd, e));
    AVS_TRY(
        avs_dnnl_layout_for(be, &p.b, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), out, e));
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    return rc;
}

int avs_dnnl_lower_matmul(avs_backend *be, const avs_lower_req *req, avs_step *out, avs_err *e)
{
    int rc = AVS_OK;
    const avs_tensor *in = req->in, *y = &req->out[0];
    const avs_dnnl_layout *layout = (const avs_dnnl_layout *)req->in_layout[1];
    dnnl_primitive_desc_t pd = NULL;
    const char *impl = NULL;
    product p;
    avs_dnnl_ctx *ctx = avs_dnnl_ctx_new(be, e);
    if (!ctx) return AVS_ENOMEM;

    AVS_TRY(product_of(req->g, req->node, &p, e));
    const dnnl_memory_desc_t plain_b = p.b, *have = layout ? &layout->md : &plain_b;
    AVS_TRY(rounded_pd(be, &p, req->in_is_const[1], &pd, &impl, e));
    /* A constant B of a linear layer is packed once (2 to 8 times faster for few rows); others are taken as they
     * lie. */
    if (!pd) {
        AVS_TRY(make_pd(be, &p, !layout && p.is_linear && req->in_is_const[1] ? NULL : have, &pd, e));
        AVS_TRY(avs_dnnl_impl(be, pd, &impl, e));
    }
    AVS_TRY(avs_dnnl_set_primitive(ctx, pd, e));
    AVS_TRY(avs_dnnl_arg_operand(ctx, DNNL_ARG_SRC, &p.a, in[0].data, e));
    if (p.b.data_type == dnnl_bf16 && !req->in_is_const[1])
        AVS_TRY(avs_dnnl_arg_operand(ctx, DNNL_ARG_WEIGHTS, &p.b, in[1].data, e));
    else
        AVS_TRY(avs_dnnl_arg_weight(ctx, DNNL_ARG_WEIGHTS, have,
                                    dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), in[1].data,
                                    req->in_is_const[1], e));
    AVS_TRY(avs_dnnl_arg(ctx, DNNL_ARG_DST, &p.c, y->data, e));
    if (p.has_bias) {
        int slot = DNNL_ARG_BIAS;
        if (p.has_scaled_bias) slot = DNNL_ARG_ATTR_MULTIPLE_POST_OP(p.has_residual ? 1 : 0) | DNNL_ARG_SRC_1;
        AVS_TRY(avs_dnnl_arg(ctx, slot, &p.bias, in[2].data, e));
    }
    if (p.has_residual && in[3].data != y->data) {
        ctx->copy_src = in[3].data;
        ctx->copy_dst = y->data;
        ctx->copy_bytes = dnnl_memory_desc_get_size(&p.c);
    }
    avs_dnnl_finish(ctx, impl, out);
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    return rc;
}
