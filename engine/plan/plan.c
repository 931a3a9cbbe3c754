/* Building and freeing a plan: copy the graph, rewrite it, place its values, lower its nodes. */
#include "engine/plan/plan_impl.h"

#include <string.h>
#include "base/log.h"
#include "engine/pass/pass.h"

static const avs_backend_ops *find_backend(const char *name)
{
    if (!strcmp(name, "ref")) return &avs_backend_ref;
#ifdef AVS_HAVE_ONEDNN
    if (!strcmp(name, "cpu")) return &avs_backend_cpu;
#endif
#ifdef AVS_HAVE_CUDA
    if (!strcmp(name, "cuda")) return &avs_backend_cuda;
#endif
#ifdef AVS_HAVE_CUDA_EMUL
    if (!strcmp(name, "cuda-emul")) return &avs_backend_cuda_emul;
#endif
    return NULL;
}

size_t avs_plan_device_peak(const char *backend)
{
    const avs_backend_ops *ops = find_backend(backend);
    return ops && ops->device ? ops->device->peak() : 0;
}

size_t avs_plan_elem(const avs_plan *p, uint8_t dtype)
{
    if (dtype == AVS_F32 && p->cfg.prec == AVS_PREC_F64) return sizeof(double);
    return avs_dtype_size((avs_dtype)dtype);
}

avs_tensor avs_plan_tensor(const avs_plan *p, avs_val v)
{
    avs_tensor t = {0};
    if (!v) return t;
    const avs_value *val = &p->g->v[v];
    t.type = val->type;
    if (t.type.dtype == AVS_F32 && p->cfg.prec == AVS_PREC_F64) t.type.dtype = AVS_F64;
    char *base = p->place[p->root[v]].ptr;
    int64_t off = val->view_of ? val->view_off : 0;
    if (base) t.data = base + (size_t)off * avs_plan_elem(p, val->type.dtype);
    return t;
}

static int resolve_views(avs_plan *p, avs_err *e)
{
    p->root = AVS_NEW_N(p->arena, avs_val, p->g->n_v);
    p->place = AVS_NEW_N(p->arena, avs_place, p->g->n_v);
    p->is_const = AVS_NEW_N(p->arena, bool, p->g->n_v);
    if (!p->root || !p->place || !p->is_const)
        return avs_fail(e, AVS_ENOMEM, "no memory for the plan's tables");
    for (avs_val v = 1; v < p->g->n_v; v++) p->root[v] = p->g->v[v].view_of ? p->g->v[v].view_of : v;
    return avs_graph_const_values(p->g, p->is_const, e);
}

static int taps_to_outputs(avs_graph *g, avs_err *e)
{
    for (uint32_t i = 0; i < g->n_tap; i++) {
        char name[512];
        snprintf(name, sizeof name, "act:%s", g->tap[i].name);
        avs_graph_output(g, name, g->tap[i].val);
    }
    return avs_graph_check(g, e);
}

static avs_math math_of(avs_prec prec)
{
    return prec == AVS_PREC_BF16 ? AVS_MATH_BF16 : prec == AVS_PREC_TF32 ? AVS_MATH_TF32 : AVS_MATH_F32;
}

static int build(avs_plan *p, const avs_graph *g, avs_err *e)
{
    int rc = AVS_OK;
    AVS_TRY(avs_graph_check(g, e));
    p->g = avs_graph_clone(g, p->arena);
    if (!p->g) return avs_fail(e, AVS_ENOMEM, "no memory for a copy of the graph");
    if (p->cfg.taps) AVS_TRY(taps_to_outputs(p->g, e));
    avs_pass_cfg passes = {.off = p->cfg.passes_off, .mem_budget = p->cfg.mem_budget};
    /* it saves launches; on a CPU reading a residual costs more than the sum did */
    if (!p->ops->device) passes.off |= AVS_PASS_FOLD_SUM;
    AVS_TRY(avs_pass_all(p->g, &passes, e));
    AVS_TRY(p->ops->open(&p->be, math_of(p->cfg.prec), e));
    AVS_TRY(resolve_views(p, e));
    AVS_TRY(avs_plan_params(p, e));
    AVS_TRY(avs_plan_place(p, e));
    AVS_TRY(avs_plan_io(p, e));
    AVS_TRY(avs_plan_lower(p, e));
    AVS_TRY(avs_plan_buckets(p, e));
out:
    return rc;
}

int avs_plan_build(avs_plan **out, const avs_graph *g, const avs_plan_cfg *cfg, avs_err *e)
{
    *out = NULL;
    const int64_t start = avs_now_ns();
    const avs_backend_ops *ops = find_backend(cfg->backend ? cfg->backend : "cpu");
    if (!ops)
        return avs_fail(
            e, AVS_EMISSING, "this build has no backend '%s'%s", cfg->backend ? cfg->backend : "cpu",
            cfg->backend && !strcmp(cfg->backend, "cuda")
                ? ": it needs nvcc, a C++ compiler, and the headers of CUDA, cuBLAS and cuDNN when it is "
                  "configured (AVS_CUDA)"
                : "");
    if (cfg->prec == AVS_PREC_F64 && ops != &avs_backend_ref)
        return avs_fail(e, AVS_ERANGE, "float64 plans exist on the backend 'ref' only, not on '%s'",
                        ops->name);
    if ((cfg->prec == AVS_PREC_BF16 || cfg->prec == AVS_PREC_TF32) && ops == &avs_backend_ref)
        return avs_fail(e, AVS_ERANGE, "the backend 'ref' computes in float64 and float32, not in %s",
                        cfg->prec == AVS_PREC_BF16 ? "bf16" : "tf32");
    avs_arena *arena = avs_arena_new();
    avs_plan *p = arena ? AVS_NEW(arena, avs_plan) : NULL;
    if (!p) {
        avs_arena_free(arena);
        return avs_fail(e, AVS_ENOMEM, "no memory for a plan");
    }
    p->arena = arena;
    p->cfg = *cfg;
    p->ops = ops;
    p->rt.seed = cfg->dropout_seed;
    p->is_dirty = true;
    int rc = build(p, g, e);
    if (rc != AVS_OK) {
        avs_plan_free(p);
        return rc;
    }
    p->build_ms = (double)(avs_now_ns() - start) * 1e-6;
    *out = p;
    return AVS_OK;
}

void avs_plan_free(avs_plan *p)
{
    if (!p) return;
    p->ops->close(p->be);
    for (avs_slab_list *l = p->slabs; l; l = l->next) avs_xfree(l->slab);
    if (p->ops->device) {
        avs_arena_free(p->arena);
        return;
    }
    avs_xfree(p->act);
    avs_xfree(p->fixed);
    avs_xfree(p->param_slab);
    avs_xfree(p->grad_slab);
    avs_xfree(p->work);
    avs_arena_free(p->arena);
}
