/* Inputs and outputs by name. F32 plans on a CPU hand out the storage itself; F64 plans an f32 image that is converted at
 * the border of a run; plans on a device a copy in pinned memory: inputs go over before a run, an output comes when it is
 * asked for, once per run. */
#include "engine/plan/plan_impl.h"

#include <string.h>

static size_t bytes_of(const avs_plan *p, const avs_io *io)
{
    return (size_t)io->n * avs_dtype_size((avs_dtype)avs_t(p->g, io->val)->dtype);
}

static int stage(avs_plan *p, avs_io *io, bool is_input, avs_err *e)
{
    const avs_type *t = avs_t(p->g, io->val);
    io->n = avs_type_count(t);
    io->is_stale = true;
    if (p->ops->device) {
        if (!is_input)
            return AVS_OK; /* when it is first asked for: most outputs of a training plan never are */
        return p->ops->device->alloc_host(p->be, bytes_of(p, io), &io->stage, e);
    }
    if (p->cfg.prec != AVS_PREC_F64 || t->dtype != AVS_F32) return AVS_OK;
    io->stage = avs_arena_alloc_aligned(p->arena, (size_t)io->n * sizeof(float), 64);
    return io->stage ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for '%s'", io->name);
}

int avs_plan_io(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    const avs_graph *g = p->g;
    for (avs_val v = 1; v < g->n_v; v++) p->n_input += g->v[v].kind == AVS_V_INPUT && !g->v[v].view_of;
    p->input = AVS_NEW_N(p->arena, avs_io, p->n_input + 1);
    p->output = AVS_NEW_N(p->arena, avs_io, g->n_output + 1);
    if (!p->input || !p->output) return avs_fail(e, AVS_ENOMEM, "no memory for the plan's tables");
    p->n_input = 0;
    for (avs_val v = 1; v < g->n_v; v++) {
        if (g->v[v].kind != AVS_V_INPUT || g->v[v].view_of) continue;
        p->input[p->n_input] = (avs_io){.name = g->v[v].name, .val = v};
        AVS_TRY(stage(p, &p->input[p->n_input++], true, e));
    }
    for (uint32_t i = 0; i < g->n_output; i++) {
        p->output[p->n_output] = (avs_io){.name = g->output[i].name, .val = g->output[i].val};
        AVS_TRY(stage(p, &p->output[p->n_output++], false, e));
    }
out:
    return rc;
}

static avs_io *find(avs_io *io, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(io[i].name, name)) return &io[i];
    return NULL;
}

static void *storage(const avs_plan *p, const avs_io *io)
{
    return avs_plan_tensor(p, io->val).data;
}

void *avs_plan_input(avs_plan *p, const char *name, avs_type *t)
{
    avs_io *io = find(p->input, p->n_input, name);
    if (!io) return NULL;
    if (t) *t = *avs_t(p->g, io->val);
    io->is_f64_set = false;
    return io->stage ? io->stage : storage(p, io);
}

/* The host's copy of an output of a device; NULL where the device fails. */
static const void *fetch(avs_plan *p, avs_io *io)
{
    if (!io->stage && p->ops->device->alloc_host(p->be, bytes_of(p, io), &io->stage, NULL) != AVS_OK)
        return NULL;
    if (io->is_stale && avs_plan_read(p, io->stage, storage(p, io), bytes_of(p, io), NULL) != AVS_OK)
        return NULL;
    io->is_stale = false;
    return io->stage;
}

/* Packed gradients are no plain tensors: avs_plan_grad_get gives them. */
const void *avs_plan_output(avs_plan *p, const char *name, avs_type *t)
{
    avs_io *io = find(p->output, p->n_output, name);
    if (!io || p->place[p->root[io->val]].layout) return NULL;
    if (t) *t = *avs_t(p->g, io->val);
    if (p->ops->device) return fetch(p, io);
    return io->stage ? (const void *)io->stage : storage(p, io);
}

int avs_plan_input_f64(avs_plan *p, const char *name, const double *src)
{
    avs_io *io = find(p->input, p->n_input, name);
    if (!io || avs_t(p->g, io->val)->dtype != AVS_F32) return AVS_EMISSING;
    if (p->cfg.prec == AVS_PREC_F64) {
        memcpy(storage(p, io), src, (size_t)io->n * sizeof *src);
        io->is_f64_set = true;
    } else {
        float *dst = io->stage ? io->stage : storage(p, io);
        for (int64_t i = 0; i < io->n; i++) dst[i] = (float)src[i];
    }
    return AVS_OK;
}

int avs_plan_output_f64(avs_plan *p, const char *name, double *dst)
{
    avs_io *io = find(p->output, p->n_output, name);
    if (!io || avs_t(p->g, io->val)->dtype != AVS_F32 || p->place[p->root[io->val]].layout)
        return AVS_EMISSING;
    if (p->cfg.prec == AVS_PREC_F64) {
        memcpy(dst, storage(p, io), (size_t)io->n * sizeof *dst);
    } else {
        const float *src = p->ops->device ? fetch(p, io) : storage(p, io);
        if (!src) return AVS_ECUDA;
        for (int64_t i = 0; i < io->n; i++) dst[i] = (double)src[i];
    }
    return AVS_OK;
}

int avs_plan_io_begin(avs_plan *p, avs_err *e)
{
    int rc = AVS_OK;
    for (int i = 0; i < p->n_input && rc == AVS_OK; i++) {
        const avs_io *io = &p->input[i];
        void *to = storage(p, io);
        if (p->ops->device)
            rc = to ? p->ops->device->copy(p->be, to, io->stage, bytes_of(p, io), e) : AVS_OK;
        else if (io->stage && !io->is_f64_set)
            avs_plan_store(p, io->stage, to, io->n);
    }
    return rc;
}

void avs_plan_io_end(avs_plan *p)
{
    for (int i = 0; i < p->n_output; i++) {
        avs_io *io = &p->output[i];
        io->is_stale = true;
        if (io->stage && !p->ops->device) avs_plan_load(p, storage(p, io), io->stage, io->n);
    }
}
