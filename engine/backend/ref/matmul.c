/* MATMUL: every form is a batch of strided matrices; only the strides differ. */
#include "engine/backend/ref/io.h"

/* Matrix z of an operand starts at (z / heads) * outer + (z % heads) * inner; element (i,j) is i*row + j*col on. */
typedef struct {
    int64_t outer, inner, row, col;
} strides;

static strides matrix(const avs_type *t, int heads, int is_split, int is_transposed)
{
    int64_t n = t->rank > 0 ? t->d[t->rank - 1] : 1, m = t->rank > 1 ? t->d[t->rank - 2] : 1;
    strides s = {.outer = m * n, .inner = 0, .row = n, .col = 1};
    if (heads && is_split)
        s.inner = n / heads;
    else if (heads)
        s = (strides){.outer = heads * m * n, .inner = m * n, .row = n, .col = 1};
    if (is_transposed) {
        s.row = s.col;
        s.col = n;
    }
    return s;
}

int avs_ref_matmul(const avs_kernel_args *a)
{
    const avs_matmul_attr *m = a->attr;
    const avs_type *ta = &a->in[0].type, *tb = &a->in[1].type, *tc = &a->out[0].type;
    bool is_linear = tb->rank == 2 && m->heads == 0;
    int heads = m->heads;
    int64_t total = avs_type_count(tc), n_last = tc->d[tc->rank - 1];
    int64_t N = heads && m->c_split ? n_last / heads : n_last;
    int64_t M = is_linear ? total / N : tc->d[tc->rank - 2], n_mat = total / (M * N);
    strides sa = matrix(ta, heads, m->a_split, m->ta), sb = matrix(tb, heads, m->b_split, m->tb);
    strides sc = matrix(tc, heads, m->c_split, 0);
    int64_t a_rows = is_linear && !m->ta ? M : ta->rank > 1 ? ta->d[ta->rank - 2] : 1;
    int64_t a_cols = ta->d[ta->rank - 1] / (heads && m->a_split ? heads : 1), K = m->ta ? a_rows : a_cols;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int64_t z = 0; z < n_mat; z++) {
        int64_t zo = heads ? z / heads : z, zi = heads ? z % heads : 0;
        const double *A = io.in[0] + zo * sa.outer + zi * sa.inner,
                     *B = io.in[1] + zo * sb.outer + zi * sb.inner;
        int64_t c0 = zo * sc.outer + zi * sc.inner;
        for (int64_t i = 0; i < M; i++)
            for (int64_t j = 0; j < N; j++) {
                double s = 0;
                int64_t at = c0 + i * sc.row + j;
                for (int64_t k = 0; k < K; k++) s += A[i * sa.row + k * sa.col] * B[k * sb.row + j * sb.col];
                s *= (double)m->alpha;
                if (io.in[2]) s += io.in[2][j];
                if (io.in[3]) s += io.in[3][at];
                io.out[0][at] = ref_act(m->act, s);
            }
    }
    return ref_end(&io, AVS_OK);
}
