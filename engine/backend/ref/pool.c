/* POOL_MAX: the first maximum of a window in row-major order wins; elements in the padding never do. */
#include "engine/backend/ref/io.h"

/* Row of the map that window element `at` of output position (oy, ox) reads, or -1 in the padding. */
static int64_t source(const avs_pool_attr *p, int64_t b, int oy, int ox, int at)
{
    int iy = oy * p->s - p->p + at / p->k, ix = ox * p->s - p->p + at % p->k;
    if (iy < 0 || iy >= p->in_h || ix < 0 || ix >= p->in_w) return -1;
    return (b * p->in_h + iy) * p->in_w + ix;
}

int avs_ref_pool_max(const avs_kernel_args *a)
{
    const avs_pool_attr *p = a->attr;
    const avs_type *t = &a->out[0].type;
    int64_t C = t->d[3], n_pos = avs_type_count(t) / C;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t pos = 0; pos < n_pos; pos++) {
        double *y = io.out[0] + pos * C, *arg = io.out[1] + pos * C;
        for (int64_t c = 0; c < C; c++) arg[c] = -1; /* no element seen yet */
        for (int at = 0; at < p->k * p->k; at++) {
            int64_t row =
                source(p, pos / t->d[2] / t->d[1], (int)(pos / t->d[2] % t->d[1]), (int)(pos % t->d[2]), at);
            if (row < 0) continue;
            for (int64_t c = 0; c < C; c++) {
                double v = io.in[0][row * C + c];
                if (arg[c] >= 0 && !(v > y[c])) continue;
                y[c] = v;
                arg[c] = at;
            }
        }
    }
    return ref_end(&io, AVS_OK);
}

int avs_ref_pool_max_bwd(const avs_kernel_args *a)
{
    const avs_pool_attr *p = a->attr;
    const avs_type *t = &a->in[0].type;
    int64_t C = t->d[3], n = avs_type_count(t);
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t i = 0; i < n; i++) {
        int64_t pos = i / C;
        int64_t row = source(p, pos / t->d[2] / t->d[1], (int)(pos / t->d[2] % t->d[1]), (int)(pos % t->d[2]),
                             (int)io.in[1][i]);
        if (row >= 0) io.out[0][row * C + i % C] += io.in[0][i];
    }
    return ref_end(&io, AVS_OK);
}
