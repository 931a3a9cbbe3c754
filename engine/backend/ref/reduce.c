/* REDUCE: x seen as [outer][mid][inner] is summed over mid. */
#include "engine/backend/ref/io.h"

int avs_ref_reduce(const avs_kernel_args *a)
{
    const avs_reduce_attr *r = a->attr;
    const avs_type *t = &a->in[0].type;
    int64_t mid = 1, inner = 1, n = avs_type_count(t);
    for (int i = r->from; i < r->to; i++) mid *= t->d[i];
    for (int i = r->to; i < t->rank; i++) inner *= t->d[i];
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t i = 0; i < n; i++) io.out[0][i / (mid * inner) * inner + i % inner] += io.in[0][i];
    for (int64_t i = 0; r->mean && i < n / mid; i++) io.out[0][i] /= (double)mid;
    return ref_end(&io, AVS_OK);
}
