/* Types of values: extents are kept in 32 bits, products are formed in 64. */
#include "engine/tensor/type.h"

#include <stdio.h>

avs_type avs_type_of(avs_dtype dtype, int rank, const int64_t *d)
{
    avs_type t = {.dtype = (uint8_t)dtype, .rank = (uint8_t)(rank < AVS_MAX_RANK ? rank : AVS_MAX_RANK)};
    for (int i = 0; i < t.rank; i++) t.d[i] = (int32_t)d[i];
    return t;
}

int64_t avs_type_count(const avs_type *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->d[i];
    return n;
}

size_t avs_dtype_size(avs_dtype d)
{
    switch (d) {
    case AVS_F32:
    case AVS_I32:
        return 4;
    case AVS_BF16:
        return 2;
    case AVS_U8:
        return 1;
    case AVS_F64:
        return 8;
    }
    return 0;
}

const char *avs_dtype_name(avs_dtype d)
{
    switch (d) {
    case AVS_F32:
        return "f32";
    case AVS_BF16:
        return "bf16";
    case AVS_I32:
        return "i32";
    case AVS_U8:
        return "u8";
    case AVS_F64:
        return "f64";
    }
    return "?";
}

bool avs_type_same_shape(const avs_type *a, const avs_type *b)
{
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->d[i] != b->d[i]) return false;
    return true;
}

const char *avs_type_text(const avs_type *t, char *buf, size_t n)
{
    if (n == 0) return buf;
    size_t used = 0;
    int w = snprintf(buf, n, "%s[", avs_dtype_name((avs_dtype)t->dtype));
    for (int i = 0; w >= 0; i++) {
        used += (size_t)w;
        if (used >= n || i > t->rank) break; /* cut, and still NUL-terminated */
        if (i == t->rank)
            w = snprintf(buf + used, n - used, "]");
        else
            w = snprintf(buf + used, n - used, "%s%d", i ? "," : "", t->d[i]);
    }
    return buf;
}
