/* One call of one op with random operands, for the tests and benchmarks of kernels.
 *
 * A case names the op, its attributes, the types of its inputs and how each is filled; outputs come from infer. */
#ifndef AVS_TESTS_OP_CASE_H
#define AVS_TESTS_OP_CASE_H

#include "base/rng.h"
#include "engine/backend/cpu/kernels.h"

typedef enum {
    FILL_NORMAL,   /* N(0, 1)                                           */
    FILL_OFFSET,   /* 100 + N(0, 1): means must not cost the variance   */
    FILL_UNIT,     /* [0, 1)                                            */
    FILL_POSITIVE, /* [0.5, 2)                                          */
    FILL_MASK,     /* 0 or 1                                            */
    FILL_LOC,      /* [-0.3, 1.3): sampling positions, some outside     */
    FILL_CLASS,    /* i32 in [0, limit)                                 */
    FILL_WINDOW    /* u8 in [0, limit)                                  */
} op_fill;

typedef struct {
    avs_op op;
    const void *attr;
    int n_in;
    avs_type in[AVS_MAX_IN]; /* rank 255: absent */
    op_fill fill[AVS_MAX_IN];
    int limit;
    double K; /* length of the longest reduction, for the tolerance */
    const char *note;
} op_case;

/* Operands of a case: f32 for the CPU, and the same values in f64 for the reference. */
typedef struct {
    avs_kernel_args f32, f64;
    avs_runtime rt;
    void *owned[64];
    int n_owned;
} op_call;

/* Memory of exactly `bytes`, 64-byte aligned, all bits set; released by op_call_fini. */
void *op_call_alloc(op_call *c, size_t bytes);
/* Fails the running test if infer refuses the case. with_f64: also make the reference's operands. */
void op_call_init(op_call *c, const op_case *k, uint64_t seed, bool with_f64);
void op_call_fini(op_call *c);
/* Sets all bits of the f32 outputs, lends workspace of exactly the size asked for, calls. */
int op_call_run(op_call *c, const avs_cpu_kernel *kernel);

#endif
