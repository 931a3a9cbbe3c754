/* MATMUL on oneDNN: every form is one matmul primitive over strided descriptors, so that transposes and head splits
 * cost no copy. oneDNN 2.6's brgemm takes all of them (measured: 8 heads x 17x32 @ 32x17 in 5 us, one thread). */
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

static void matrices(const avs_lower_req *req, const avs_matmul_attr *at, mat *a, mat *b, mat *c)
{
    const avs_type *ta = &req->in[0].type, *tb = &req->in[1].type, *tc = &req->out[0].type;
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
    if (act == AVS_ACT_RELU)
        AVS_DNNL(dnnl_post_ops_append_eltwise(post, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f));
    AVS_DNNL(dnnl_primitive_attr_set_post_ops(*attr, post));
out:
    if (post) dnnl_post_ops_destroy(post);
    return rc;
}

int avs_dnnl_lower_matmul(avs_backend *be, const avs_lower_req *req, avs_step *out, avs_err *e)
{
    int rc = AVS_OK;
    const avs_node *n = &req->g->node[req->node];
    const avs_matmul_attr *at = n->attr;
    const float alpha = at->alpha == 0.0f ? 1.0f : at->alpha;
    const avs_tensor *in = req->in, *y = &req->out[0];
    const bool has_bias = n->n_in > 2 && in[2].data, has_residual = n->n_in > 3 && in[3].data;
    const bool scaled_bias = has_bias && alpha != 1.0f;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_memory_desc_t ma, mb, mc, bias, any;
    dnnl_matmul_desc_t d;
    const char *impl = NULL;
    mat a, b, c;
    avs_dnnl_ctx *ctx = avs_dnnl_ctx_new(be, e);
    if (!ctx) return AVS_ENOMEM;

    matrices(req, at, &a, &b, &c);
    AVS_TRY(desc(&ma, &a, e));
    AVS_TRY(desc(&mb, &b, e));
    AVS_TRY(desc(&mc, &c, e));
    mat row = {.rank = c.rank};
    for (int i = 0; i < c.rank; i++) row.dim[i] = 1, row.stride[i] = c.dim[c.rank - 1];
    row.dim[c.rank - 1] = c.dim[c.rank - 1];
    row.stride[c.rank - 1] = 1;
    AVS_TRY(desc(&bias, &row, e));
    if (scaled_bias)
        AVS_TRY(scaled_bias_attr(&attr, alpha, &bias, has_residual, at->act, e));
    else
        AVS_TRY(avs_dnnl_attr(&attr, alpha, has_residual, at->act, e));
    /* A constant B of a linear layer is packed once; the others are taken as they lie. */
    AVS_DNNL(dnnl_memory_desc_init_by_tag(&any, b.rank, b.dim, dnnl_f32, dnnl_format_tag_any));
    AVS_DNNL(dnnl_matmul_desc_init(&d, &ma, req->in_is_const[1] && b.rank == 2 ? &any : &mb,
                                   has_bias && !scaled_bias ? &bias : NULL, &mc));
    AVS_DNNL(dnnl_primitive_desc_create(&pd, &d, attr, be->engine, NULL));
    AVS_TRY(avs_dnnl_impl(be, pd, &impl, e));
    AVS_TRY(avs_dnnl_set_primitive(ctx, pd, e));
    AVS_TRY(avs_dnnl_arg(ctx, DNNL_ARG_SRC, &ma, in[0].data, e));
    AVS_TRY(avs_dnnl_arg_weight(ctx, DNNL_ARG_WEIGHTS, &mb,
                                dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), in[1].data,
                                req->in_is_const[1], e));
    AVS_TRY(avs_dnnl_arg(ctx, DNNL_ARG_DST, &mc, y->data, e));
    if (has_bias) {
        int slot = scaled_bias ? DNNL_ARG_ATTR_MULTIPLE_POST_OP(has_residual ? 1 : 0) | DNNL_ARG_SRC_1
                               : DNNL_ARG_BIAS;
        AVS_TRY(avs_dnnl_arg(ctx, slot, &bias, in[2].data, e));
    }
    if (has_residual && in[3].data != y->data) {
        ctx->copy_src = in[3].data;
        ctx->copy_dst = y->data;
        ctx->copy_bytes = dnnl_memory_desc_get_size(&mc);
    }
    avs_dnnl_finish(ctx, impl, out);
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return rc;
}
