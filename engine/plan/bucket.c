/* The GRAD slab in ranges for reduction over ranks. Its order is that in which gradients complete, so a bucket is an
 * address range and buckets complete one after the other. The first is small, so that the transfer starts early. */
#include "engine/pass/pass.h"
#include "engine/plan/plan_impl.h"

#include <stdlib.h>

enum { FIRST_BYTES = 1 << 20, OTHER_BYTES = 25 << 20 };

typedef struct {
    int64_t off;
    int step;
} part;

static int by_offset(const void *a, const void *b)
{
    const part *x = a, *y = b;
    return (x->off > y->off) - (x->off < y->off);
}

/* The main step after which gradient r lies in the slab. */
static int completed_at(const avs_plan *p, const avs_param_rec *r)
{
    const char *dst = p->grad_slab + p->place[r->val].off;
    const avs_place *from = &p->place[p->root[r->grad]];
    if (from->kind == AVS_AT_GRAD && from->ptr == dst) return from->first;
    int i = 0;
    while (p->main[i].kind != AVS_STEP_COPY || p->main[i].copy.dst != dst) i++; /* lower made one for each */
    return i;
}

int avs_plan_buckets(avs_plan *p, avs_err *e)
{
    int n = 0;
    const bool is_one = p->cfg.passes_off & AVS_PASS_BUCKET;
    const int64_t limit = p->cfg.bucket_bytes ? p->cfg.bucket_bytes : OTHER_BYTES;
    const int64_t elem = (int64_t)avs_plan_elem(p, AVS_F32);
    part *x = AVS_NEW_N(p->arena, part, p->n_param + 1);
    avs_plan_bucket *const bucket = p->bucket = AVS_NEW_N(p->arena, avs_plan_bucket, p->n_param + 1);
    if (!x || !bucket) return avs_fail(e, AVS_ENOMEM, "no memory for the table of buckets");
    for (int i = 0; i < p->n_param; i++)
        if (p->param[i].grad) x[n++] = (part){p->param[i].pub.slab_off, completed_at(p, &p->param[i])};
    qsort(x, (size_t)n, sizeof *x, by_offset);
    for (int i = 0; i < n; i++) {
        const int64_t end = i + 1 < n ? x[i + 1].off : p->slab_elems;
        const int64_t most = p->n_bucket <= 1 && limit > FIRST_BYTES ? FIRST_BYTES : limit;
        const avs_plan_bucket *last = p->n_bucket ? &bucket[p->n_bucket - 1] : NULL;
        if (!last || (!is_one && (end - last->off) * elem > most))
            bucket[p->n_bucket++] = (avs_plan_bucket){.off = x[i].off, .step = last ? last->step : -1};
        avs_plan_bucket *b = &bucket[p->n_bucket - 1];
        b->len = end - b->off;
        if (x[i].step > b->step) b->step = x[i].step;
    }
    return AVS_OK;
}

int avs_plan_n_buckets(const avs_plan *p)
{
    return p->n_bucket;
}

const avs_plan_bucket *avs_plan_bucket_at(const avs_plan *p, int i)
{
    return &p->bucket[i];
}

void avs_plan_on_bucket(avs_plan *p, avs_bucket_fn fn, void *ctx)
{
    p->on_bucket = fn;
    p->bucket_ctx = ctx;
}
