/* Between the host and a plan's memory, and what works on slabs wherever they lie. On a CPU all of it is plain. */
#include "engine/plan/plan_impl.h"

#include <string.h>

int avs_plan_wait(avs_plan *p, avs_err *e)
{
    return p->ops->device ? p->ops->device->sync(p->be, e) : AVS_OK;
}

int avs_plan_write(avs_plan *p, void *dst, const void *src, size_t bytes, avs_err *e)
{
    if (!p->ops->device) {
        memcpy(dst, src, bytes);
        return AVS_OK;
    }
    const int rc = p->ops->device->copy(p->be, dst, src, bytes, e);
    return rc == AVS_OK ? p->ops->device->sync(p->be, e) : rc;
}

int avs_plan_read(avs_plan *p, void *dst, const void *src, size_t bytes, avs_err *e)
{
    return avs_plan_write(p, dst, src, bytes, e);
}

/* ------------------------------------------------------------------ slabs */

float *avs_plan_slab_new(avs_plan *p, avs_err *e)
{
    void *slab = NULL;
    if (p->ops->device) {
        p->ops->device->alloc(p->be, p->slab_bytes + 256, "an array of optimiser state", &slab, e);
        return slab;
    }
    avs_slab_list *l = AVS_NEW(p->arena, avs_slab_list);
    slab = l ? avs_xalloc(p->slab_bytes + 64) : NULL;
    if (!slab) {
        avs_fail(e, AVS_ENOMEM, "no memory for optimiser state (%zu bytes)", p->slab_bytes);
        return NULL;
    }
    *l = (avs_slab_list){.next = p->slabs, .slab = slab};
    p->slabs = l;
    return slab;
}

int avs_plan_slab_read(avs_plan *p, const float *slab, int64_t off, int64_t n, float *host, avs_err *e)
{
    return avs_plan_read(p, host, slab + off, (size_t)n * sizeof *host, e);
}

int avs_plan_slab_write(avs_plan *p, float *slab, int64_t off, int64_t n, const float *host, avs_err *e)
{
    return avs_plan_write(p, slab + off, host, (size_t)n * sizeof *host, e);
}

int avs_plan_slab_clear(avs_plan *p, float *slab, int64_t off, int64_t n, avs_err *e)
{
    enum { PIECE = 1 << 20 };
    int rc = AVS_OK;
    if (!p->ops->device) {
        memset(slab + off, 0, (size_t)n * sizeof *slab);
        return rc;
    }
    if (!p->zeros) rc = p->ops->device->alloc(p->be, PIECE * sizeof *slab, "zeros", &p->zeros, e);
    for (int64_t at = 0; at < n && rc == AVS_OK; at += PIECE) {
        const int64_t m = n - at < PIECE ? n - at : PIECE;
        rc = p->ops->device->copy(p->be, slab + off + at, p->zeros, (size_t)m * sizeof *slab, e);
    }
    return rc;
}

int avs_plan_adamw(avs_plan *p, const avs_adamw_arrays *x, const avs_opt_segment *seg, int n_seg,
                   const avs_adamw_cfg *cfg, int64_t t, float grad_scale, avs_err *e)
{
    int rc = AVS_OK;
    if (p->ops->device)
        rc = p->ops->device->adamw(p->be, x, seg, n_seg, cfg, t, grad_scale, e);
    else
        avs_adamw_step(x, seg, n_seg, cfg, t, grad_scale);
    avs_plan_params_changed(p);
    return rc;
}

int avs_plan_grad_norm(avs_plan *p, const float *g, double *norm, avs_err *e)
{
    if (p->ops->device) return p->ops->device->norm(p->be, g, p->slab_elems, norm, e);
    *norm = avs_grad_norm(g, p->slab_elems);
    return AVS_OK;
}

int avs_plan_slab_add(avs_plan *p, const float *x, float *sum, bool keep, avs_err *e)
{
    if (p->ops->device) return p->ops->device->add(p->be, x, sum, p->slab_elems, keep, e);
    for (int64_t i = 0; i < p->slab_elems; i++) sum[i] = (keep ? sum[i] : 0.F) + x[i];
    return AVS_OK;
}

/* ------------------------------------------------------------------ the device */

void *avs_plan_queue(avs_plan *p)
{
    return p->ops->device ? p->ops->device->queue(p->be) : NULL;
}

bool avs_plan_is_device(const avs_plan *p)
{
    return p->ops->device != NULL;
}

const char *avs_plan_device(avs_plan *p, char *out, size_t n)
{
    if (n) *out = 0;
    if (p->ops->device) p->ops->device->describe(p->be, out, n);
    return out;
}

double avs_plan_device_us(avs_plan *p)
{
    double us = -1;
    if (!p->has_marks || p->ops->device->elapsed(p->be, &us, NULL) != AVS_OK) return -1;
    return us;
}
