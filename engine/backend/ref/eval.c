/* The ref interpreter: one allocation per value, nodes in order. */
#include "engine/backend/ref/eval.h"

#include <string.h>

#include "base/arena.h"
#include "engine/backend/ref/io.h"

struct avs_ref_run {
    const avs_graph *g;
    avs_arena *arena;
    avs_tensor *t; /* per value, type with the storage dtype */
    avs_runtime rt;
};

static int place(avs_ref_run *r, avs_val i, avs_dtype store, avs_err *e)
{
    const avs_value *v = &r->g->v[i];
    avs_tensor *t = &r->t[i];
    int64_t n = avs_type_count(&v->type);
    t->type = v->type;
    if (v->type.dtype == AVS_F32) t->type.dtype = (uint8_t)store;
    size_t size = avs_dtype_size((avs_dtype)t->type.dtype);
    if (v->view_of) {
        t->data = (char *)r->t[v->view_of].data + (size_t)v->view_off * size;
        return AVS_OK;
    }
    t->data = avs_arena_alloc_aligned(r->arena, (size_t)n * size, 64);
    if (!t->data)
        return avs_fail(e, AVS_ENOMEM, "no memory for value %%%u of %lld elements", i, (long long)n);
    if (v->kind != AVS_V_CONST) return AVS_OK;
    if (v->type.dtype == AVS_F32)
        avs_ref_set_f32(r, i, v->data);
    else
        memcpy(t->data, v->data, (size_t)n * size);
    return AVS_OK;
}

int avs_ref_open(avs_ref_run **out, const avs_graph *g, avs_dtype store, const avs_runtime *rt, avs_err *e)
{
    int rc = avs_graph_check(g, e);
    *out = NULL;
    if (rc != AVS_OK) return rc;
    if (store != AVS_F32 && store != AVS_F64)
        return avs_fail(e, AVS_ERANGE, "storage %s is neither f32 nor f64", avs_dtype_name(store));
    avs_arena *a = avs_arena_new();
    avs_ref_run *r = a ? AVS_NEW(a, avs_ref_run) : NULL;
    if (r) *r = (avs_ref_run){.g = g, .arena = a, .t = AVS_NEW_N(a, avs_tensor, g->n_v)};
    if (!r || !r->t) rc = avs_fail(e, AVS_ENOMEM, "no memory for %u values", g->n_v);
    for (uint32_t i = 1; rc == AVS_OK && i < g->n_v; i++) rc = place(r, i, store, e);
    if (rc != AVS_OK) {
        avs_arena_free(a);
        return rc;
    }
    avs_ref_runtime(r, rt);
    *out = r;
    return AVS_OK;
}

void avs_ref_close(avs_ref_run *r)
{
    if (r) avs_arena_free(r->arena);
}

void avs_ref_runtime(avs_ref_run *r, const avs_runtime *rt)
{
    r->rt = rt ? *rt : (avs_runtime){0};
}

void avs_ref_set(avs_ref_run *r, avs_val v, const double *src)
{
    const avs_tensor *t = &r->t[v];
    ref_store(t->data, t->type.dtype, avs_type_count(&t->type), src);
}

void avs_ref_set_f32(avs_ref_run *r, avs_val v, const float *src)
{
    const avs_tensor *t = &r->t[v];
    for (int64_t i = 0, n = avs_type_count(&t->type); i < n; i++) {
        double x = (double)src[i];
        ref_store((char *)t->data + (size_t)i * avs_dtype_size((avs_dtype)t->type.dtype), t->type.dtype, 1,
                  &x);
    }
}

void avs_ref_get(const avs_ref_run *r, avs_val v, double *dst)
{
    const avs_tensor *t = &r->t[v];
    ref_load(t->data, t->type.dtype, avs_type_count(&t->type), dst);
}

double avs_ref_at(const avs_ref_run *r, avs_val v, int64_t i)
{
    const avs_tensor *t = &r->t[v];
    double x = 0;
    ref_load((const char *)t->data + (size_t)i * avs_dtype_size((avs_dtype)t->type.dtype), t->type.dtype, 1,
             &x);
    return x;
}

int avs_ref_exec(avs_ref_run *r, uint32_t last, avs_err *e)
{
    for (uint32_t i = 1; i < r->g->n_node && (last == 0 || i <= last); i++) {
        const avs_node *n = &r->g->node[i];
        avs_kernel_args a = {.n_in = n->n_in, .n_out = n->n_out, .attr = n->attr, .rt = &r->rt};
        for (int k = 0; k < n->n_in; k++) a.in[k] = r->t[n->in[k]]; /* value 0 is the absent tensor */
        for (int k = 0; k < n->n_out; k++) a.out[k] = r->t[n->out[k]];
        int rc = avs_ref_kernels[n->op](&a);
        if (rc != AVS_OK)
            return avs_fail(e, (avs_code)rc, "ref: node %u, %s in '%s': %s", i, avs_op_rules[n->op].name,
                            n->scope, avs_code_name((avs_code)rc));
    }
    return AVS_OK;
}

void avs_ref_apply_updates(avs_ref_run *r)
{
    for (uint32_t i = 0; i < r->g->n_update; i++) {
        const avs_tensor *to = &r->t[r->g->update[i].buffer], *from = &r->t[r->g->update[i].value];
        memcpy(to->data, from->data,
               (size_t)avs_type_count(&to->type) * avs_dtype_size((avs_dtype)to->type.dtype));
    }
}

int avs_ref_eval(avs_ref_run **out, const avs_graph *g, avs_dtype store, const avs_runtime *rt,
                 avs_ref_fill fill, void *ctx, avs_err *e)
{
    avs_ref_run *r = NULL;
    double *buf = NULL;
    int rc;
    *out = NULL;
    AVS_TRY(avs_ref_open(&r, g, store, rt, e));
    for (uint32_t i = 1; i < g->n_v; i++) {
        const avs_value *v = &g->v[i];
        if (v->kind != AVS_V_PARAM && v->kind != AVS_V_BUFFER && v->kind != AVS_V_INPUT) continue;
        avs_xfree(buf);
        buf = avs_xalloc(sizeof(double) * (size_t)avs_type_count(&v->type));
        if (!buf) AVS_TRY(avs_fail(e, AVS_ENOMEM, "no memory for the elements of %s", v->name));
        AVS_TRY(fill(ctx, v->name, v->kind, &v->type, buf, e));
        avs_ref_set(r, i, buf);
    }
    AVS_TRY(avs_ref_exec(r, 0, e));
    *out = r;
out:
    avs_xfree(buf);
    if (rc != AVS_OK) avs_ref_close(r);
    return rc;
}
