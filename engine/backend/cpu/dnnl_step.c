/* Steps made of oneDNN primitives: everything is created while lowering, so that running is one to three execute
 * calls. Objects are owned by the backend instance through one list and die with it. */
#include "engine/backend/cpu/dnnl_step.h"

#include <string.h>

static size_t round_up(size_t n)
{
    return (n + 63) / 64 * 64;
}

static avs_dnnl_owned *own(avs_backend *be, avs_err *e)
{
    avs_dnnl_owned *o = AVS_NEW(be->arena, avs_dnnl_owned);
    if (!o) {
        avs_fail(e, AVS_ENOMEM, "no memory for an oneDNN object");
        return NULL;
    }
    o->next = be->owned;
    be->owned = o;
    return o;
}

void *avs_dnnl_bytes(avs_backend *be, size_t bytes, avs_err *e)
{
    avs_dnnl_owned *o = own(be, e);
    if (!o) return NULL;
    o->bytes = avs_xalloc(round_up(bytes));
    if (!o->bytes) avs_fail(e, AVS_ENOMEM, "no memory for a packed weight of %zu bytes", bytes);
    return o->bytes;
}

static int new_memory(avs_backend *be, const dnnl_memory_desc_t *md, void *data, dnnl_memory_t *out,
                      avs_err *e)
{
    int rc = AVS_OK;
    avs_dnnl_owned *o = own(be, e);
    if (!o) return AVS_ENOMEM;
    AVS_DNNL(dnnl_memory_create(&o->mem, md, be->engine, data));
    *out = o->mem;
out:
    return rc;
}

/* A memory object inside the workspace, bound to its address at the first run. */
static int new_bound(avs_dnnl_ctx *c, const dnnl_memory_desc_t *md, dnnl_memory_t *out, avs_err *e)
{
    int rc = new_memory(c->be, md, DNNL_MEMORY_NONE, out, e);
    if (rc != AVS_OK) return rc;
    c->bound[c->n_bound].mem = *out;
    c->bound[c->n_bound].off = c->workspace_bytes;
    c->n_bound++;
    c->workspace_bytes += round_up(dnnl_memory_desc_get_size(md));
    return AVS_OK;
}

static int new_reorder(avs_backend *be, const dnnl_memory_desc_t *from, dnnl_memory_t src,
                       const dnnl_memory_desc_t *to, dnnl_memory_t dst, avs_dnnl_reorder *out, avs_err *e)
{
    int rc = AVS_OK;
    dnnl_primitive_desc_t pd = NULL;
    avs_dnnl_owned *o = own(be, e);
    if (!o) return AVS_ENOMEM;
    AVS_DNNL(dnnl_reorder_primitive_desc_create(&pd, from, be->engine, to, be->engine, NULL));
    AVS_DNNL(dnnl_primitive_create(&o->prim, pd));
    out->prim = o->prim;
    out->arg[0] = (dnnl_exec_arg_t){DNNL_ARG_FROM, src};
    out->arg[1] = (dnnl_exec_arg_t){DNNL_ARG_TO, dst};
out:
    if (pd) dnnl_primitive_desc_destroy(pd);
    return rc;
}

avs_dnnl_ctx *avs_dnnl_ctx_new(avs_backend *be, avs_err *e)
{
    avs_dnnl_ctx *c = AVS_NEW(be->arena, avs_dnnl_ctx);
    if (!c)
        avs_fail(e, AVS_ENOMEM, "no memory for a step");
    else
        c->be = be;
    return c;
}

int avs_dnnl_impl(avs_backend *be, const_dnnl_primitive_desc_t pd, const char **impl, avs_err *e)
{
    int rc = AVS_OK;
    const char *text = NULL;
    AVS_DNNL(dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&text));
    *impl = avs_arena_str(be->arena, text);
    if (!*impl) rc = avs_fail(e, AVS_ENOMEM, "no memory for a name");
out:
    return rc;
}

int avs_dnnl_set_primitive(avs_dnnl_ctx *c, const_dnnl_primitive_desc_t pd, avs_err *e)
{
    int rc = AVS_OK;
    const dnnl_memory_desc_t *scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    avs_dnnl_owned *o = own(c->be, e);
    if (!o) return AVS_ENOMEM;
    AVS_DNNL(dnnl_primitive_create(&o->prim, pd));
    c->prim = o->prim;
    if (scratch && dnnl_memory_desc_get_size(scratch) > 0) {
        dnnl_memory_t mem = NULL;
        AVS_TRY(new_bound(c, scratch, &mem, e));
        c->arg[c->n_arg++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, mem};
    }
out:
    return rc;
}

int avs_dnnl_arg(avs_dnnl_ctx *c, int arg, const dnnl_memory_desc_t *md, const void *data, avs_err *e)
{
    dnnl_memory_t mem = NULL;
    void *p;
    memcpy(&p, &data, sizeof p); /* oneDNN takes one pointer type for operands and results */
    int rc = new_memory(c->be, md, p, &mem, e);
    if (rc == AVS_OK) c->arg[c->n_arg++] = (dnnl_exec_arg_t){arg, mem};
    return rc;
}

int avs_dnnl_arg_operand(avs_dnnl_ctx *c, int arg, const dnnl_memory_desc_t *md, const void *data, avs_err *e)
{
    int rc = AVS_OK;
    dnnl_memory_desc_t flat, flat_bf16;
    dnnl_memory_t from = NULL, to = NULL, as_read = NULL;
    dnnl_dims_t n = {(int64_t)avs_dnnl_elements(md)};
    void *src;
    if (md->data_type != dnnl_bf16) return avs_dnnl_arg(c, arg, md, data, e);
    memcpy(&src, &data, sizeof src);
    AVS_DNNL(dnnl_memory_desc_init_by_tag(&flat, 1, n, dnnl_f32, dnnl_a));
    flat_bf16 = avs_bf16_desc(&flat);
    const size_t at = c->workspace_bytes;
    AVS_TRY(new_memory(c->be, &flat, src, &from, e));
    AVS_TRY(new_bound(c, &flat_bf16, &to, e));
    const size_t end = c->workspace_bytes;
    c->workspace_bytes = at; /* the same bytes under two descriptors */
    AVS_TRY(new_bound(c, md, &as_read, e));
    c->workspace_bytes = end;
    AVS_TRY(new_reorder(c->be, &flat, from, &flat_bf16, to, &c->before[c->n_before++], e));
    c->arg[c->n_arg++] = (dnnl_exec_arg_t){arg, as_read};
out:
    return rc;
}

int avs_dnnl_arg_weight(avs_dnnl_ctx *c, int arg, const dnnl_memory_desc_t *have,
                        const dnnl_memory_desc_t *want, const void *data, bool is_const, avs_err *e)
{
    int rc = AVS_OK;
    void *src;
    dnnl_memory_t from = NULL, to = NULL;
    memcpy(&src, &data, sizeof src);
    if (dnnl_memory_desc_equal(have, want)) return avs_dnnl_arg(c, arg, want, data, e);
    AVS_TRY(new_memory(c->be, have, src, &from, e));
    if (is_const) {
        void *bytes = avs_dnnl_bytes(c->be, dnnl_memory_desc_get_size(want), e);
        if (!bytes) return AVS_ENOMEM;
        AVS_TRY(new_memory(c->be, want, bytes, &to, e));
    } else {
        AVS_TRY(new_bound(c, want, &to, e));
    }
    AVS_TRY(new_reorder(c->be, have, from, want, to, is_const ? &c->prepare : &c->before[c->n_before++], e));
    c->arg[c->n_arg++] = (dnnl_exec_arg_t){arg, to};
out:
    return rc;
}

int avs_dnnl_arg_result(avs_dnnl_ctx *c, int arg, const dnnl_memory_desc_t *made,
                        const dnnl_memory_desc_t *want, void *data, avs_err *e)
{
    int rc = AVS_OK;
    dnnl_memory_t from = NULL, to = NULL;
    if (dnnl_memory_desc_equal(made, want)) return avs_dnnl_arg(c, arg, want, data, e);
    AVS_TRY(new_bound(c, made, &from, e));
    AVS_TRY(new_memory(c->be, want, data, &to, e));
    AVS_TRY(new_reorder(c->be, made, from, want, to, &c->after, e));
    c->arg[c->n_arg++] = (dnnl_exec_arg_t){arg, from};
out:
    return rc;
}

static int execute(avs_dnnl_ctx *c, dnnl_primitive_t prim, int n, const dnnl_exec_arg_t *arg)
{
    return dnnl_primitive_execute(prim, c->be->stream, n, arg) == dnnl_success ? AVS_OK : AVS_ELIB;
}

static int run_prepare(void *ctx, void *workspace)
{
    avs_dnnl_ctx *c = ctx;
    (void)workspace;
    return execute(c, c->prepare.prim, 2, c->prepare.arg);
}

static int bind(avs_dnnl_ctx *c, void *workspace)
{
    for (int i = 0; i < c->n_bound; i++)
        if (dnnl_memory_set_data_handle(c->bound[i].mem, (char *)workspace + c->bound[i].off) != dnnl_success)
            return AVS_ELIB;
    c->workspace = workspace;
    return AVS_OK;
}

static int run_step(void *ctx, void *workspace)
{
    avs_dnnl_ctx *c = ctx;
    int rc = AVS_OK;
    if (c->n_bound && c->workspace != workspace) rc = bind(c, workspace);
    for (int i = 0; rc == AVS_OK && i < c->n_before; i++)
        rc = execute(c, c->before[i].prim, 2, c->before[i].arg);
    if (rc == AVS_OK && c->copy_src) memcpy(c->copy_dst, c->copy_src, c->copy_bytes);
    if (rc == AVS_OK) rc = execute(c, c->prim, c->n_arg, c->arg);
    if (rc == AVS_OK && c->after.prim) rc = execute(c, c->after.prim, 2, c->after.arg);
    return rc;
}

void avs_dnnl_finish(avs_dnnl_ctx *c, const char *impl, avs_step *out)
{
    *out = (avs_step){.run = run_step,
                      .prepare = c->prepare.prim ? run_prepare : NULL,
                      .ctx = c,
                      .workspace = c->workspace_bytes,
                      .impl = impl};
}

int avs_dnnl_reorder_now(avs_backend *be, const dnnl_memory_desc_t *from, const void *src,
                         const dnnl_memory_desc_t *to, void *dst, avs_err *e)
{
    int rc = AVS_OK;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t prim = NULL;
    dnnl_memory_t m_src = NULL, m_dst = NULL;
    void *s;
    memcpy(&s, &src, sizeof s);
    AVS_DNNL(dnnl_memory_create(&m_src, from, be->engine, s));
    AVS_DNNL(dnnl_memory_create(&m_dst, to, be->engine, dst));
    AVS_DNNL(dnnl_reorder_primitive_desc_create(&pd, from, be->engine, to, be->engine, NULL));
    AVS_DNNL(dnnl_primitive_create(&prim, pd));
    AVS_DNNL(dnnl_primitive_execute(prim, be->stream, 2,
                                    (dnnl_exec_arg_t[]){{DNNL_ARG_FROM, m_src}, {DNNL_ARG_TO, m_dst}}));
    AVS_DNNL(dnnl_stream_wait(be->stream));
out:
    if (prim) dnnl_primitive_destroy(prim);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (m_dst) dnnl_memory_destroy(m_dst);
    if (m_src) dnnl_memory_destroy(m_src);
    return rc;
}

bool avs_dnnl_is_slow(const char *impl)
{
    return strstr(impl, "ref") || strstr(impl, "gemm");
}

int avs_dnnl_post_act(dnnl_post_ops_t post, int act, avs_err *e)
{
    int rc = AVS_OK;
    if (act == AVS_ACT_RELU)
        AVS_DNNL(dnnl_post_ops_append_eltwise(post, 1.0f, dnnl_eltwise_relu, 0.0f, 0.0f));
    if (act == AVS_ACT_RELU6)
        AVS_DNNL(dnnl_post_ops_append_eltwise(post, 1.0f, dnnl_eltwise_clip, 0.0f, 6.0f));
    if (act == AVS_ACT_GELU)
        AVS_DNNL(dnnl_post_ops_append_eltwise(post, 1.0f, dnnl_eltwise_gelu_erf, 0.0f, 0.0f));
out:
    return rc;
}

int avs_dnnl_attr(dnnl_primitive_attr_t *attr, float scale, bool accumulate, int act, avs_err *e)
{
    int rc = AVS_OK;
    dnnl_post_ops_t post = NULL;
    AVS_DNNL(dnnl_primitive_attr_create(attr));
    AVS_DNNL(dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user));
    if (scale != 1.0f) AVS_DNNL(dnnl_primitive_attr_set_output_scales(*attr, 1, 0, &scale));
    if (accumulate || act != AVS_ACT_NONE) {
        AVS_DNNL(dnnl_post_ops_create(&post));
        if (accumulate) AVS_DNNL(dnnl_post_ops_append_sum(post, 1.0f));
        AVS_TRY(avs_dnnl_post_act(post, act, e));
        AVS_DNNL(dnnl_primitive_attr_set_post_ops(*attr, post));
    }
out:
    if (post) dnnl_post_ops_destroy(post);
    return rc;
}

int avs_dnnl_layout_for(avs_backend *be, const dnnl_memory_desc_t *plain, const dnnl_memory_desc_t *packed,
                        const avs_layout **out, avs_err *e)
{
    *out = NULL;
    if (dnnl_memory_desc_equal(plain, packed)) return AVS_OK;
    for (avs_dnnl_layout *l = be->layouts; l; l = l->next) {
        if (!dnnl_memory_desc_equal(&l->md, packed) || !dnnl_memory_desc_equal(&l->plain, plain)) continue;
        *out = &l->base;
        return AVS_OK;
    }
    avs_dnnl_layout *l = AVS_NEW(be->arena, avs_dnnl_layout);
    if (!l) return avs_fail(e, AVS_ENOMEM, "no memory for a layout");
    l->md = *packed;
    l->plain = *plain;
    l->base.len = (int64_t)(dnnl_memory_desc_get_size(packed) / sizeof(float));
    l->next = be->layouts;
    be->layouts = l;
    *out = &l->base;
    return AVS_OK;
}

int avs_dnnl_repack(avs_backend *be, const avs_layout *layout, const float *src, float *dst, bool to_canon,
                    avs_err *e)
{
    const avs_dnnl_layout *l = (const avs_dnnl_layout *)layout;
    if (to_canon) return avs_dnnl_reorder_now(be, &l->md, src, &l->plain, dst, e);
    return avs_dnnl_reorder_now(be, &l->plain, src, &l->md, dst, e);
}
