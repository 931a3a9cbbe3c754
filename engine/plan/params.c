/* Parameters of a plan: the table, and the way between canonical layout and where they live. */
#include "engine/plan/plan_impl.h"

#include <string.h>
#include "engine/pass/pass.h"

int avs_plan_params(avs_plan *p, avs_err *e)
{
    const avs_graph *g = p->g;
    for (avs_val v = 1; v < g->n_v; v++)
        p->n_param += !g->v[v].view_of && (g->v[v].kind == AVS_V_PARAM || g->v[v].kind == AVS_V_BUFFER);
    p->param = AVS_NEW_N(p->arena, avs_param_rec, p->n_param + 1);
    if (!p->param) return avs_fail(e, AVS_ENOMEM, "no memory for the parameter table");
    p->n_param = 0;
    for (avs_val v = 1; v < g->n_v; v++) {
        const avs_value *val = &g->v[v];
        if (val->view_of || (val->kind != AVS_V_PARAM && val->kind != AVS_V_BUFFER)) continue;
        avs_param_rec *r = &p->param[p->n_param++];
        r->val = v;
        r->grad = avs_graph_grad_of(g, v);
        r->pub = (avs_plan_param){.key = val->name,
                                  .type = val->type,
                                  .kind = val->kind,
                                  .is_trainable = r->grad != 0,
                                  .slab_off = -1};
    }
    return AVS_OK;
}

avs_param_rec *avs_plan_param_rec(const avs_plan *p, const char *key)
{
    for (int i = 0; i < p->n_param; i++)
        if (!strcmp(p->param[i].pub.key, key)) return &p->param[i];
    return NULL;
}

static int find(const avs_plan *p, const char *key, avs_param_rec **r, avs_err *e)
{
    *r = avs_plan_param_rec(p, key);
    return *r ? AVS_OK : avs_fail(e, AVS_EMISSING, "the plan has no parameter or buffer '%s'", key);
}

void avs_plan_store(const avs_plan *p, const float *src, void *dst, int64_t n)
{
    if (p->cfg.prec == AVS_PREC_F64) {
        double *d = dst;
        for (int64_t i = 0; i < n; i++) d[i] = (double)src[i];
    } else {
        memcpy(dst, src, (size_t)n * sizeof *src);
    }
}

void avs_plan_load(const avs_plan *p, const void *src, float *dst, int64_t n)
{
    if (p->cfg.prec == AVS_PREC_F64) {
        const double *s = src;
        for (int64_t i = 0; i < n; i++) dst[i] = (float)s[i];
    } else {
        memcpy(dst, src, (size_t)n * sizeof *dst);
    }
}

/* Storage of parameter r <-> canonical f32, in the host's memory. */
static int put_host(avs_plan *p, const avs_param_rec *r, const float *canon, void *dst, avs_err *e)
{
    const avs_layout *layout = p->place[r->val].layout;
    if (layout) return p->ops->repack(p->be, layout, canon, dst, false, e);
    avs_plan_store(p, canon, dst, avs_type_count(&r->pub.type));
    return AVS_OK;
}

static int get_host(avs_plan *p, const avs_param_rec *r, const void *src, float *canon, avs_err *e)
{
    const avs_layout *layout = p->place[r->val].layout;
    if (layout) return p->ops->repack(p->be, layout, src, canon, true, e);
    avs_plan_load(p, src, canon, avs_type_count(&r->pub.type));
    return AVS_OK;
}

/* The same where the plan's memory is: a copy in the host's memory stands between. */
static int put(avs_plan *p, const avs_param_rec *r, const float *canon, void *dst, avs_err *e)
{
    const size_t bytes = p->place[r->val].bytes;
    if (!p->ops->device) return put_host(p, r, canon, dst, e);
    void *x = avs_xalloc(bytes);
    int rc =
        x ? put_host(p, r, canon, x, e) : avs_fail(e, AVS_ENOMEM, "no memory for a copy of '%s'", r->pub.key);
    if (rc == AVS_OK) rc = avs_plan_write(p, dst, x, bytes, e);
    avs_xfree(x);
    return rc;
}

static int get(avs_plan *p, const avs_param_rec *r, const void *src, float *canon, avs_err *e)
{
    const size_t bytes = p->place[r->val].bytes;
    if (!p->ops->device) return get_host(p, r, src, canon, e);
    void *x = avs_xalloc(bytes);
    int rc = x ? avs_plan_read(p, x, src, bytes, e)
               : avs_fail(e, AVS_ENOMEM, "no memory for a copy of '%s'", r->pub.key);
    if (rc == AVS_OK) rc = get_host(p, r, x, canon, e);
    avs_xfree(x);
    return rc;
}

int avs_plan_n_params(const avs_plan *p)
{
    return p->n_param;
}

const avs_plan_param *avs_plan_param_at(const avs_plan *p, int i)
{
    return &p->param[i].pub;
}

const avs_plan_param *avs_plan_param_find(const avs_plan *p, const char *key)
{
    const avs_param_rec *r = avs_plan_param_rec(p, key);
    return r ? &r->pub : NULL;
}

int avs_plan_param_set(avs_plan *p, const char *key, const float *canon, avs_err *e)
{
    int rc = AVS_OK;
    avs_param_rec *r = NULL;
    AVS_TRY(find(p, key, &r, e));
    AVS_TRY(put(p, r, canon, p->place[r->val].ptr, e));
    p->is_dirty = true;
out:
    return rc;
}

int avs_plan_param_get(avs_plan *p, const char *key, float *canon, avs_err *e)
{
    avs_param_rec *r = NULL;
    int rc = find(p, key, &r, e);
    return rc == AVS_OK ? get(p, r, p->place[r->val].ptr, canon, e) : rc;
}

int avs_plan_grad_get(avs_plan *p, const char *key, float *canon, avs_err *e)
{
    avs_param_rec *r = NULL;
    int rc = find(p, key, &r, e);
    if (rc != AVS_OK || !r) return rc;
    if (r->grad) return get(p, r, p->grad_slab + p->place[r->val].off, canon, e);
    memset(canon, 0, (size_t)avs_type_count(&r->pub.type) * sizeof *canon);
    return AVS_OK;
}

float *avs_plan_slab(avs_plan *p, avs_slab which, int64_t *n)
{
    *n = p->slab_elems;
    if (p->cfg.prec == AVS_PREC_F64) return NULL;
    return (float *)(void *)(which == AVS_SLAB_PARAM ? p->param_slab : p->grad_slab);
}

static int find_in_slab(const avs_plan *p, const char *key, avs_param_rec **r, avs_err *e)
{
    int rc = find(p, key, r, e);
    if (rc != AVS_OK || !*r) return rc;
    if (!(*r)->grad)
        return avs_fail(e, AVS_EMISSING, "'%s' has no gradient in this plan, so no place in its slab", key);
    return AVS_OK;
}

int avs_plan_unpack(avs_plan *p, const char *key, const float *slab, float *canon, avs_err *e)
{
    avs_param_rec *r = NULL;
    int rc = find_in_slab(p, key, &r, e);
    return rc == AVS_OK ? get(p, r, slab + r->pub.slab_off, canon, e) : rc;
}

int avs_plan_pack(avs_plan *p, const char *key, const float *canon, float *slab, avs_err *e)
{
    avs_param_rec *r = NULL;
    int rc = find_in_slab(p, key, &r, e);
    return rc == AVS_OK ? put(p, r, canon, slab + r->pub.slab_off, e) : rc;
}

void avs_plan_params_changed(avs_plan *p)
{
    /* What the prologue computes depends on parameters outside the slab alone, so a training step repeats nothing. */
    if (p->slab_elems == 0) p->is_dirty = true;
}
