/* The ref kernels: the executable specification of every op, in naive loops.
 *
 * Storage is F32 or F64 (plus I32 and U8 where an op has them); arithmetic is always in double, so with F64 storage
 * the kernels serve as oracle for the fast ones and for finite differences. One thread, fixed order. Operands and
 * results must not overlap. Errors: AVS_ENOMEM (scratch copies), AVS_ERANGE (a class outside its range, a dtype
 * without an accessor). */
#ifndef AVS_ENGINE_BACKEND_REF_REF_H
#define AVS_ENGINE_BACKEND_REF_REF_H

#include "engine/graph/ops.h"

#define X(E, lower, attr, lo, hi, outs) int avs_ref_##lower(const avs_kernel_args *a);
#include "engine/graph/ops.def"
#undef X

extern const avs_kernel_fn avs_ref_kernels[AVS_OP_COUNT];

#endif
