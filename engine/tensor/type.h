/* Types of values: dtype, extents, and the one layout of the engine.
 *
 * Every value is dense and row-major. Feature maps are B,H,W,C (channels last), token sequences B,N,C: the same
 * bytes, so going from map to tokens is a free view. Parameters keep the canonical (reference) extents: convolution
 * weights O,I,kh,kw, linear weights out,in. */
#ifndef AVS_ENGINE_TENSOR_TYPE_H
#define AVS_ENGINE_TENSOR_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* F64: storage of the ref backend only. */
typedef enum { AVS_F32, AVS_BF16, AVS_I32, AVS_U8, AVS_F64 } avs_dtype;

enum { AVS_MAX_RANK = 5 };

typedef struct {
    int32_t d[AVS_MAX_RANK];
    uint8_t rank; /* 0: a scalar (one element) */
    uint8_t dtype;
} avs_type;

avs_type avs_type_of(avs_dtype dtype, int rank, const int64_t *d);
#define AVS_TYPE(dtype, ...)                                                                                 \
    avs_type_of((dtype), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                          \
                (const int64_t[]){__VA_ARGS__})
#define AVS_F32T(...) AVS_TYPE(AVS_F32, __VA_ARGS__)

int64_t avs_type_count(const avs_type *t); /* elements */
size_t avs_dtype_size(avs_dtype d);
const char *avs_dtype_name(avs_dtype d); /* "f32", .. */
bool avs_type_same_shape(const avs_type *a, const avs_type *b);
/* "f32[2,16,256]" into buf; returns buf. */
const char *avs_type_text(const avs_type *t, char *buf, size_t n);

/* A dense tensor: a type and where its elements are. data == NULL: the operand is absent. */
typedef struct {
    avs_type type;
    void *data;
} avs_tensor;

#endif
