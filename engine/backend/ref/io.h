/* Accessors of the ref kernels: every operand as an array of double, whatever its dtype.
 *
 * ref_begin shows F64 operands in place and converts the others; ref_end rounds the results into their storage. So a
 * kernel body is plain loops over double arrays, and the dtype switch is paid once per operand. */
#ifndef AVS_ENGINE_BACKEND_REF_IO_H
#define AVS_ENGINE_BACKEND_REF_IO_H

#include <math.h>

#include "engine/backend/ref/ref.h"

typedef struct {
    const avs_kernel_args *a;
    const double *in[AVS_MAX_IN]; /* NULL: absent */
    double *out[AVS_MAX_OUT];     /* zeroed at the start */
    void *own[AVS_MAX_IN + AVS_MAX_OUT];
    int n_own;
} ref_io;

int ref_begin(ref_io *io, const avs_kernel_args *a);
/* Stores the results if rc is AVS_OK and frees the copies; returns rc. */
int ref_end(ref_io *io, int rc);

/* n elements between storage and double. AVS_ERANGE: dtype without an accessor. */
int ref_load(const void *src, int dtype, int64_t n, double *dst);
int ref_store(void *dst, int dtype, int64_t n, const double *src);

/* The epilogue avs_act of one element. */
static inline double ref_act(int act, double v)
{
    if (act == AVS_ACT_GELU) return 0.5 * v * (1 + erf(v * M_SQRT1_2));
    if (act != AVS_ACT_NONE && v < 0) return 0;
    return act == AVS_ACT_RELU6 && v > 6 ? 6 : v;
}

#endif
