/* Conversion between storage and double, and the table of kernels. */
#include "engine/backend/ref/io.h"

#include <string.h>

#include "base/arena.h"

int ref_load(const void *src, int dtype, int64_t n, double *dst)
{
    switch (dtype) {
    case AVS_F32:
        for (int64_t i = 0; i < n; i++) dst[i] = (double)((const float *)src)[i];
        return AVS_OK;
    case AVS_F64:
        memcpy(dst, src, sizeof(double) * (size_t)n);
        return AVS_OK;
    case AVS_I32:
        for (int64_t i = 0; i < n; i++) dst[i] = ((const int32_t *)src)[i];
        return AVS_OK;
    case AVS_U8:
        for (int64_t i = 0; i < n; i++) dst[i] = ((const uint8_t *)src)[i];
        return AVS_OK;
    default:
        return AVS_ERANGE;
    }
}

int ref_store(void *dst, int dtype, int64_t n, const double *src)
{
    switch (dtype) {
    case AVS_F32:
        for (int64_t i = 0; i < n; i++) ((float *)dst)[i] = (float)src[i];
        return AVS_OK;
    case AVS_F64:
        memcpy(dst, src, sizeof(double) * (size_t)n);
        return AVS_OK;
    case AVS_I32:
        for (int64_t i = 0; i < n; i++) ((int32_t *)dst)[i] = (int32_t)src[i];
        return AVS_OK;
    case AVS_U8:
        for (int64_t i = 0; i < n; i++) ((uint8_t *)dst)[i] = (uint8_t)src[i];
        return AVS_OK;
    default:
        return AVS_ERANGE;
    }
}

static double *scratch(ref_io *io, int64_t n)
{
    double *p = avs_xalloc(sizeof(double) * (size_t)n);
    if (p) io->own[io->n_own++] = p;
    return p;
}

int ref_begin(ref_io *io, const avs_kernel_args *a)
{
    *io = (ref_io){.a = a};
    for (int i = 0; i < a->n_in; i++) {
        const avs_tensor *t = &a->in[i];
        int64_t n = avs_type_count(&t->type);
        double *p;
        int rc;
        if (!t->data) continue;
        if (t->type.dtype == AVS_F64) {
            io->in[i] = t->data;
            continue;
        }
        if (!(p = scratch(io, n))) return ref_end(io, AVS_ENOMEM);
        if ((rc = ref_load(t->data, t->type.dtype, n, p)) != AVS_OK) return ref_end(io, rc);
        io->in[i] = p;
    }
    for (int i = 0; i < a->n_out; i++) {
        const avs_tensor *t = &a->out[i];
        int64_t n = avs_type_count(&t->type);
        if (t->type.dtype == AVS_F64)
            memset(io->out[i] = t->data, 0, sizeof(double) * (size_t)n);
        else if (!(io->out[i] = scratch(io, n)))
            return ref_end(io, AVS_ENOMEM);
    }
    return AVS_OK;
}

int ref_end(ref_io *io, int rc)
{
    for (int i = 0; i < io->a->n_out && rc == AVS_OK; i++) {
        const avs_tensor *t = &io->a->out[i];
        if (io->out[i] != t->data)
            rc = ref_store(t->data, t->type.dtype, avs_type_count(&t->type), io->out[i]);
    }
    for (int i = 0; i < io->n_own; i++) avs_xfree(io->own[i]);
    io->n_own = 0;
    return rc;
}

const avs_kernel_fn avs_ref_kernels[AVS_OP_COUNT] = {
#define X(E, lower, attr, lo, hi, outs) [AVS_OP_##E] = avs_ref_##lower,
#include "engine/graph/ops.def"
#undef X
};
