/* CONCAT, SLICE, PAD, PERMUTE, and the free views.
 *
 * Each is an index map, its gradient the inverse map: concat -> slices, slice -> pad, pad -> slice, permute ->
 * inverse permute. A slice is a view where the chosen part lies in one piece (all axes before are 1), a permutation
 * is one where only axes of extent 1 move. */
#include "engine/graph/op/op.h"

#include <string.h>

static int check_axis(const avs_type *t, int axis, avs_err *e)
{
    if (axis >= 0 && axis < t->rank) return AVS_OK;
    return avs_fail(e, AVS_ERANGE, "axis %d does not lie inside rank %d", axis, t->rank);
}

/* ---------------------------------------------------------------- concat */

int avs_infer_concat(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_axis_attr *a = attr;
    int64_t sum = 0;
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(check_axis(&in[0], a->axis, e));
    for (int i = 0; i < n_in; i++) {
        avs_type want = in[0];
        if (in[i].rank == want.rank) want.d[a->axis] = in[i].d[a->axis];
        AVS_TRY(op_want_shape(in, i, &want, e));
        sum += in[i].d[a->axis];
    }
    if (sum > INT32_MAX) return avs_fail(e, AVS_ERANGE, "the extents add up to %lld", (long long)sum);
    out[0] = in[0];
    out[0].d[a->axis] = (int32_t)sum;
out:
    return rc;
}

void avs_vjp_concat(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    int axis = ((const avs_axis_attr *)n.attr)->axis, start = 0;
    for (int i = 0; i < n.n_in; i++) {
        int len = avs_dim(g, n.in[i], axis);
        if (need[i]) gin[i] = avs_slice(g, gout[0], axis, start, len);
        start += len;
    }
}

avs_val avs_concat(avs_graph *g, const avs_val *x, int n, int axis)
{
    avs_axis_attr a = {.axis = axis};
    if (n == 1) return x[0];
    if (n <= AVS_MAX_IN) return avs_graph_node(g, AVS_OP_CONCAT, x, n, &a, NULL);
    /* More than fit one node: eight runs of nearly equal length, each joined first. */
    avs_val part[AVS_MAX_IN];
    for (int i = 0; i < AVS_MAX_IN; i++) {
        int lo = (int)((int64_t)n * i / AVS_MAX_IN), hi = (int)((int64_t)n * (i + 1) / AVS_MAX_IN);
        part[i] = avs_concat(g, x + lo, hi - lo, axis);
    }
    return avs_graph_node(g, AVS_OP_CONCAT, part, AVS_MAX_IN, &a, NULL);
}

/* ---------------------------------------------------------------- slice and pad */

int avs_infer_slice(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_axis_attr *a = attr;
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(check_axis(&in[0], a->axis, e));
    if (a->before < 0 || a->len < 1 || (int64_t)a->before + a->len > in[0].d[a->axis])
        return avs_fail(e, AVS_ERANGE, "%d elements from %d do not lie inside extent %d", a->len, a->before,
                        in[0].d[a->axis]);
    out[0] = in[0];
    out[0].d[a->axis] = a->len;
out:
    return rc;
}

void avs_vjp_slice(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    const avs_axis_attr *a = n.attr;
    (void)need;
    gin[0] = avs_pad(g, gout[0], a->axis, a->before, avs_dim(g, n.in[0], a->axis) - a->before - a->len);
}

avs_val avs_slice(avs_graph *g, avs_val x, int axis, int start, int len)
{
    avs_type t = *avs_t(g, x);
    avs_axis_attr a = {.axis = axis, .before = start, .len = len};
    if (x && axis >= 0 && axis < t.rank && start >= 0 && len >= 1 && (int64_t)start + len <= t.d[axis]) {
        int64_t before = 1, inner = 1;
        if (len == t.d[axis]) return x;
        for (int i = 0; i < axis; i++) before *= t.d[i];
        for (int i = axis + 1; i < t.rank; i++) inner *= t.d[i];
        t.d[axis] = len;
        if (before == 1) return avs_graph_view(g, x, t, start * inner);
    }
    return avs_graph_node(g, AVS_OP_SLICE, &x, 1, &a, NULL);
}

int avs_infer_pad(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_axis_attr *a = attr;
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    AVS_TRY(check_axis(&in[0], a->axis, e));
    int64_t n = (int64_t)in[0].d[a->axis] + a->before + a->after;
    if (a->before < 0 || a->after < 0 || n > INT32_MAX)
        return avs_fail(e, AVS_ERANGE, "%d before and %d after are not usable", a->before, a->after);
    out[0] = in[0];
    out[0].d[a->axis] = (int32_t)n;
out:
    return rc;
}

void avs_vjp_pad(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    const avs_axis_attr *a = n.attr;
    (void)need;
    gin[0] = avs_slice(g, gout[0], a->axis, a->before, avs_dim(g, n.in[0], a->axis));
}

avs_val avs_pad(avs_graph *g, avs_val x, int axis, int before, int after)
{
    avs_axis_attr a = {.axis = axis, .before = before, .after = after};
    if (before == 0 && after == 0) return x;
    return avs_graph_node(g, AVS_OP_PAD, &x, 1, &a, NULL);
}

/* ---------------------------------------------------------------- permute and reshape */

int avs_infer_permute(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_permute_attr *a = attr;
    unsigned seen = 0;
    int rc;
    AVS_TRY(op_want_f32(in, n_in, e));
    out[0] = in[0];
    for (int i = 0; i < in[0].rank; i++) {
        if (a->perm[i] < 0 || a->perm[i] >= in[0].rank || (seen >> a->perm[i] & 1))
            return avs_fail(e, AVS_ERANGE, "axis %d at place %d makes no permutation of %d axes", a->perm[i],
                            i, in[0].rank);
        seen |= 1u << a->perm[i];
        out[0].d[i] = in[0].d[a->perm[i]];
    }
out:
    return rc;
}

void avs_vjp_permute(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    const avs_permute_attr *a = n.attr;
    int inverse[AVS_MAX_RANK] = {0};
    (void)need;
    for (int i = 0; i < avs_t(g, n.in[0])->rank; i++) inverse[a->perm[i]] = i;
    gin[0] = avs_permute(g, gout[0], inverse);
}

avs_val avs_permute(avs_graph *g, avs_val x, const int *perm)
{
    const avs_type t = *avs_t(g, x);
    avs_permute_attr a = {.perm = {0}};
    avs_type out = t, checked;
    int last = -1;
    bool is_free = true;
    for (int i = 0; i < t.rank; i++) a.perm[i] = perm[i];
    if (!x || avs_infer_permute(&t, 1, &a, &checked, NULL) != AVS_OK)
        return avs_graph_node(g, AVS_OP_PERMUTE, &x, 1, &a, NULL);
    for (int i = 0; i < t.rank; i++) {
        out.d[i] = t.d[perm[i]];
        if (out.d[i] == 1) continue;
        is_free = is_free && perm[i] > last;
        last = perm[i];
    }
    return is_free ? avs_graph_view(g, x, out, 0) : avs_graph_node(g, AVS_OP_PERMUTE, &x, 1, &a, NULL);
}

avs_val avs_reshape(avs_graph *g, avs_val x, avs_type t)
{
    char a[64], b[64];
    if (!x || g->err.code != AVS_OK) return 0;
    const int64_t want = avs_type_count(avs_t(g, x));
    int64_t n = 1;
    for (int i = 0; i < t.rank && n > 0 && n <= want; i++) n *= t.d[i]; /* stops before it can overflow */
    if (n != want)
        return avs_graph_fail(g, AVS_ESHAPE, "reshape: %s does not hold the elements of %s",
                              avs_type_text(&t, a, sizeof(a)), avs_type_text(avs_t(g, x), b, sizeof(b)));
    return avs_graph_view(g, x, t, 0);
}
