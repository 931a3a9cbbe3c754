/* GATHER_ROWS and its transpose: y[b,q] = x[b,index[q]]; gx[b,r] = sum of gy[b,q] over index[q] = r. */
#include "engine/backend/ref/io.h"

static int walk(const avs_kernel_args *a, bool is_bwd)
{
    const int64_t B = a->in[0].type.d[0], R = ((const avs_gather_attr *)a->attr)->rows,
                  Q = a->in[1].type.d[0], C = a->in[0].type.d[2];
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t q = 0; q < Q && rc == AVS_OK; q++) {
        const int64_t r = (int64_t)io.in[1][q];
        if (r < -1 || r >= R) rc = AVS_ERANGE;
        for (int64_t i = 0; r >= 0 && rc == AVS_OK && i < B * C; i++) {
            const int64_t at_q = (i / C * Q + q) * C + i % C, at_r = (i / C * R + r) * C + i % C;
            if (is_bwd)
                io.out[0][at_r] += io.in[0][at_q];
            else
                io.out[0][at_q] = io.in[0][at_r];
        }
    }
    return ref_end(&io, rc);
}

int avs_ref_gather_rows(const avs_kernel_args *a)
{
    return walk(a, false);
}

int avs_ref_gather_rows_bwd(const avs_kernel_args *a)
{
    return walk(a, true);
}
