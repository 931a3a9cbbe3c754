/* SOFTMAX and its gradient, row by row. */
#include "engine/backend/ref/io.h"

#include <math.h>

int avs_ref_softmax(const avs_kernel_args *a)
{
    const avs_type *t = &a->in[0].type;
    int64_t C = t->d[t->rank - 1], n = avs_type_count(t);
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t r = 0; r < n; r += C) {
        const double *x = io.in[0] + r;
        double *y = io.out[0] + r, top = x[0], sum = 0;
        for (int64_t c = 1; c < C; c++) top = x[c] > top ? x[c] : top;
        for (int64_t c = 0; c < C; c++) sum += y[c] = exp(x[c] - top);
        for (int64_t c = 0; c < C; c++) y[c] /= sum;
    }
    return ref_end(&io, AVS_OK);
}

int avs_ref_softmax_bwd(const avs_kernel_args *a)
{
    const avs_type *t = &a->in[0].type;
    int64_t C = t->d[t->rank - 1], n = avs_type_count(t);
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t r = 0; r < n; r += C) {
        const double *gy = io.in[0] + r, *y = io.in[1] + r;
        double dot = 0;
        for (int64_t c = 0; c < C; c++) dot += gy[c] * y[c];
        for (int64_t c = 0; c < C; c++) io.out[0][r + c] = y[c] * (gy[c] - dot);
    }
    return ref_end(&io, AVS_OK);
}
