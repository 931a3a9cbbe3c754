/* DROPOUT: the mask is a pure function of seed, stream, step, row and element, so forward and backward agree. */
#include "engine/backend/ref/io.h"

#include "base/rng.h"

int avs_ref_dropout(const avs_kernel_args *a)
{
    const avs_dropout_attr *d = a->attr;
    const avs_type *t = &a->in[0].type;
    int64_t rows = t->d[0], per = avs_type_count(t) / rows;
    double keep = 1 - (double)d->p, limit = keep * 4294967296.0;
    const uint32_t key[2] = {(uint32_t)a->rt->seed, (uint32_t)(a->rt->seed >> 32)};
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < per; i++) {
            int64_t element = d->per_row ? 0 : i;
            uint32_t ctr[4] = {d->stream, (uint32_t)a->rt->step, (uint32_t)(a->rt->sample0 + r),
                               (uint32_t)(element / 4)};
            uint32_t word[4];
            avs_philox4x32(ctr, key, word);
            io.out[0][r * per + i] = (double)word[element % 4] < limit ? io.in[0][r * per + i] / keep : 0;
        }
    return ref_end(&io, AVS_OK);
}
