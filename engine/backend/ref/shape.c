/* CONCAT, SLICE, PAD, PERMUTE: copies with an index map. Along one axis a tensor is [outer][extent][inner]. */
#include "engine/backend/ref/io.h"

/* Copies len slices along axis: dst[o, dst_at + i] = src[o, src_at + i]. */
static void copy_axis(const avs_type *ts, const double *src, int64_t src_at, const avs_type *td, double *dst,
                      int64_t dst_at, int axis, int64_t len)
{
    int64_t outer = 1, inner = 1, ns = ts->d[axis], nd = td->d[axis];
    for (int i = 0; i < axis; i++) outer *= ts->d[i];
    for (int i = axis + 1; i < ts->rank; i++) inner *= ts->d[i];
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < len * inner; i++)
            dst[(o * nd + dst_at) * inner + i] = src[(o * ns + src_at) * inner + i];
}

int avs_ref_concat(const avs_kernel_args *a)
{
    int axis = ((const avs_axis_attr *)a->attr)->axis, at = 0;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int i = 0; i < a->n_in; i++) {
        const avs_type *t = &a->in[i].type;
        copy_axis(t, io.in[i], 0, &a->out[0].type, io.out[0], at, axis, t->d[axis]);
        at += t->d[axis];
    }
    return ref_end(&io, AVS_OK);
}

int avs_ref_slice(const avs_kernel_args *a)
{
    const avs_axis_attr *s = a->attr;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    copy_axis(&a->in[0].type, io.in[0], s->before, &a->out[0].type, io.out[0], 0, s->axis, s->len);
    return ref_end(&io, AVS_OK);
}

int avs_ref_pad(const avs_kernel_args *a)
{
    const avs_axis_attr *s = a->attr;
    const avs_type *t = &a->in[0].type;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    copy_axis(t, io.in[0], 0, &a->out[0].type, io.out[0], s->before, s->axis, t->d[s->axis]);
    return ref_end(&io, AVS_OK);
}

int avs_ref_permute(const avs_kernel_args *a)
{
    const avs_permute_attr *p = a->attr;
    const avs_type *ti = &a->in[0].type, *to = &a->out[0].type;
    int64_t stride[AVS_MAX_RANK], n = avs_type_count(to), s = 1;
    for (int i = ti->rank; i-- > 0; s *= ti->d[i]) stride[i] = s;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i, from = 0;
        for (int k = to->rank; k-- > 0; rest /= to->d[k]) from += rest % to->d[k] * stride[p->perm[k]];
        io.out[0][i] = io.in[0][from];
    }
    return ref_end(&io, AVS_OK);
}
