/* ROW_MAX: the first of the largest rows wins; its transpose puts gy there and zeros elsewhere. */
#include "engine/backend/ref/io.h"

int avs_ref_row_max(const avs_kernel_args *a)
{
    const int64_t B = a->in[0].type.d[0], R = a->in[0].type.d[1], C = a->in[0].type.d[2];
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t i = 0; i < B * C; i++) {
        const double *x = io.in[0] + i / C * R * C + i % C;
        int64_t at = 0;
        for (int64_t r = 1; r < R; r++)
            if (x[r * C] > x[at * C]) at = r;
        io.out[0][i] = x[at * C];
        io.out[1][i] = (double)at;
    }
    return ref_end(&io, AVS_OK);
}

int avs_ref_row_max_bwd(const avs_kernel_args *a)
{
    const int64_t B = a->in[0].type.d[0], C = a->in[0].type.d[1],
                  R = ((const avs_gather_attr *)a->attr)->rows;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t i = 0; i < B * C && rc == AVS_OK; i++) {
        const int64_t r = (int64_t)io.in[1][i];
        if (r < 0 || r >= R)
            rc = AVS_ERANGE;
        else
            io.out[0][(i / C * R + r) * C + i % C] = io.in[0][i];
    }
    return ref_end(&io, rc);
}
