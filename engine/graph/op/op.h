/* What the op files share: the prototypes that ops.def implies and a few checks on types.
 *
 * Messages of infer functions name extents only; avs_graph_node puts op, scope and operand types before them. */
#ifndef AVS_ENGINE_GRAPH_OP_OP_H
#define AVS_ENGINE_GRAPH_OP_OP_H

#include "engine/graph/ops.h"

#define X(E, lower, attr, lo, hi, outs)                                                                      \
    int avs_infer_##lower(const avs_type *in, int n_in, const void *attr_of, avs_type *out, avs_err *e);     \
    void avs_vjp_##lower(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin);
#include "engine/graph/ops.def"
#undef X

/* Is operand i given? */
static inline bool op_has(const avs_type *in, int n_in, int i)
{
    return i < n_in && in[i].rank != 255;
}

static inline int op_want_rank(const avs_type *in, int i, int lo, int hi, avs_err *e)
{
    if (in[i].rank >= lo && in[i].rank <= hi) return AVS_OK;
    return lo == hi ? avs_fail(e, AVS_ESHAPE, "operand %d has rank %d, not %d", i, in[i].rank, lo)
                    : avs_fail(e, AVS_ESHAPE, "operand %d has rank %d, not %d to %d", i, in[i].rank, lo, hi);
}

static inline int op_want_dtype(const avs_type *in, int i, avs_dtype d, avs_err *e)
{
    return in[i].dtype == d ? AVS_OK
                            : avs_fail(e, AVS_ESHAPE, "operand %d is %s, not %s", i,
                                       avs_dtype_name((avs_dtype)in[i].dtype), avs_dtype_name(d));
}

/* All operands from..n_in-1 that are given are f32. */
static inline int op_want_f32(const avs_type *in, int n_in, avs_err *e)
{
    for (int i = 0; i < n_in; i++)
        if (in[i].rank != 255 && op_want_dtype(in, i, AVS_F32, e) != AVS_OK) return AVS_ESHAPE;
    return AVS_OK;
}

/* Operand i is a vector of n elements. */
static inline int op_want_vector(const avs_type *in, int i, int64_t n, avs_err *e)
{
    if (in[i].rank == 1 && in[i].d[0] == n) return AVS_OK;
    char t[64];
    return avs_fail(e, AVS_ESHAPE, "operand %d is %s, not a vector of %lld", i,
                    avs_type_text(&in[i], t, sizeof(t)), (long long)n);
}

static inline int op_want_shape(const avs_type *in, int i, const avs_type *want, avs_err *e)
{
    if (in[i].rank == want->rank && avs_type_same_shape(&in[i], want)) return AVS_OK;
    char a[64], b[64];
    return avs_fail(e, AVS_ESHAPE, "operand %d is %s, not %s", i, avs_type_text(&in[i], a, sizeof(a)),
                    avs_type_text(want, b, sizeof(b)));
}

#endif
