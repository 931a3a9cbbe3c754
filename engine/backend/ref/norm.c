/* LAYERNORM, BATCHNORM, GROUPNORM: the same arithmetic over different sets of elements.
 *
 * Set k consists of base(k) + o * C + i for o < outer, i < inner: a row (layer), a channel of all rows (batch), a run
 * of channels of all positions of one item (group). Formulas: engine/graph/op/norm.c. */
#include "engine/backend/ref/io.h"

#include <math.h>

#include "base/arena.h"

typedef struct {
    int64_t n_set, outer, inner, C;
    int64_t per_item, item; /* base(k) = k / per_item * item + k % per_item * inner */
} sets;

static int64_t base(const sets *s, int64_t k)
{
    return k / s->per_item * s->item + k % s->per_item * s->inner;
}

static sets layer_sets(const avs_type *x)
{
    int64_t C = x->d[x->rank - 1], rows = avs_type_count(x) / C;
    return (sets){rows, 1, C, C, 1, C};
}

static sets batch_sets(const avs_type *x)
{
    int64_t C = x->d[x->rank - 1], rows = avs_type_count(x) / C;
    return (sets){C, rows, 1, C, C, 0};
}

static sets group_sets(const avs_type *x, int groups)
{
    int64_t C = x->d[x->rank - 1], item = avs_type_count(x) / x->d[0];
    return (sets){(int64_t)x->d[0] * groups, item / C, C / groups, C, groups, item};
}

/* x [n] and *count summed over the ranks where the op asks for it. */
static int over_ranks(const avs_kernel_args *k, double *x, int64_t n, double *count)
{
    const avs_norm_attr *a = k->attr;
    if (!a->is_sync || !k->rt || !k->rt->sum) return AVS_OK;
    const int rc = k->rt->sum(k->rt->sum_ctx, x, n);
    return rc == AVS_OK ? k->rt->sum(k->rt->sum_ctx, count, 1) : rc;
}

/* y, mean, rstd of x gamma beta; var [n_set] gets the biased variances. Ranks add their sums, then their squares of
 * deviations from the common mean. *count: elements of a set. */
static int forward(const sets *s, const avs_kernel_args *k, const ref_io *io, double *var, double *count)
{
    const avs_norm_attr *a = k->attr;
    const double *x = io->in[0], *gamma = io->in[1], *beta = io->in[2];
    double *mean = io->out[1], n = (double)(s->outer * s->inner), own = n;
    for (int64_t j = 0; j < s->n_set; j++) {
        int64_t b = base(s, j);
        mean[j] = var[j] = 0;
        for (int64_t o = 0; o < s->outer; o++)
            for (int64_t i = 0; i < s->inner; i++) mean[j] += x[b + o * s->C + i];
    }
    int rc = over_ranks(k, mean, s->n_set, &n);
    for (int64_t j = 0; j < s->n_set; j++) {
        int64_t b = base(s, j);
        mean[j] /= n;
        for (int64_t o = 0; o < s->outer; o++)
            for (int64_t i = 0; i < s->inner; i++) {
                double d = x[b + o * s->C + i] - mean[j];
                var[j] += d * d;
            }
    }
    if (rc == AVS_OK) rc = over_ranks(k, var, s->n_set, &own);
    for (int64_t j = 0; j < s->n_set; j++) {
        int64_t b = base(s, j);
        var[j] /= n;
        double rstd = 1 / sqrt(var[j] + (double)a->eps);
        for (int64_t o = 0; o < s->outer; o++)
            for (int64_t i = 0; i < s->inner; i++) {
                int64_t at = b + o * s->C + i, c = at % s->C;
                double y = (x[at] - mean[j]) * rstd * gamma[c] + beta[c];
                io->out[0][at] = a->act == AVS_ACT_RELU && y < 0 ? 0 : y;
            }
        io->out[2][j] = rstd;
    }
    *count = n;
    return rc;
}

/* gx dgamma dbeta of gy x gamma mean rstd [beta]: with act RELU gy counts where the forward's value is above 0. */
static int backward(const sets *s, const avs_kernel_args *call, const ref_io *io)
{
    const avs_norm_attr *a = call->attr;
    const double *gy = io->in[0], *x = io->in[1], *gamma = io->in[2], *mean = io->in[3], *rstd = io->in[4];
    const double *beta = a->act == AVS_ACT_RELU ? io->in[5] : NULL;
    double n = (double)(s->outer * s->inner), *sums = avs_xalloc(sizeof *sums * 2 * (size_t)s->n_set);
    if (!sums) return AVS_ENOMEM;
    for (int64_t k = 0; k < s->n_set; k++) {
        double sum = 0, dot = 0;
        int64_t b = base(s, k);
        for (int64_t o = 0; o < s->outer; o++)
            for (int64_t i = 0; i < s->inner; i++) {
                int64_t at = b + o * s->C + i, c = at % s->C;
                double xhat = (x[at] - mean[k]) * rstd[k];
                double g = beta && !(xhat * gamma[c] + beta[c] > 0) ? 0 : gy[at];
                sum += g * gamma[c];
                dot += g * gamma[c] * xhat;
                io->out[1][c] += g * xhat;
                io->out[2][c] += g;
            }
        sums[2 * k] = sum;
        sums[2 * k + 1] = dot;
    }
    const int rc = over_ranks(call, sums, 2 * s->n_set, &n);
    for (int64_t k = 0; k < s->n_set; k++) {
        const double sum = sums[2 * k], dot = sums[2 * k + 1];
        int64_t b = base(s, k);
        for (int64_t o = 0; o < s->outer; o++)
            for (int64_t i = 0; i < s->inner; i++) {
                int64_t at = b + o * s->C + i, c = at % s->C;
                double xhat = (x[at] - mean[k]) * rstd[k];
                double g = beta && !(xhat * gamma[c] + beta[c] > 0) ? 0 : gy[at];
                io->out[0][at] = rstd[k] * (g * gamma[c] - sum / n - xhat * dot / n);
            }
    }
    avs_xfree(sums);
    return rc;
}

static int run_forward(const sets *s, const avs_kernel_args *a)
{
    ref_io io;
    double n;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    double *var = avs_xalloc(sizeof *var * (size_t)s->n_set);
    rc = var ? forward(s, a, &io, var, &n) : AVS_ENOMEM;
    avs_xfree(var);
    return ref_end(&io, rc);
}

static int run_backward(const sets *s, const avs_kernel_args *a)
{
    ref_io io;
    int rc = ref_begin(&io, a);
    return rc == AVS_OK ? ref_end(&io, backward(s, a, &io)) : rc;
}

int avs_ref_layernorm(const avs_kernel_args *a)
{
    const sets s = layer_sets(&a->in[0].type);
    return run_forward(&s, a);
}

int avs_ref_layernorm_bwd(const avs_kernel_args *a)
{
    const sets s = layer_sets(&a->in[1].type);
    return run_backward(&s, a);
}

int avs_ref_batchnorm(const avs_kernel_args *a)
{
    const avs_norm_attr *n = a->attr;
    const sets s = batch_sets(&a->in[0].type);
    double m = (double)n->momentum, count = 0;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    rc = forward(&s, a, &io, io.out[4], &count);
    for (int64_t c = 0; c < s.C; c++) {
        io.out[3][c] = (1 - m) * io.in[3][c] + m * io.out[1][c];
        io.out[4][c] = (1 - m) * io.in[4][c] + m * io.out[4][c] * count / (count - 1);
    }
    return ref_end(&io, rc);
}

int avs_ref_batchnorm_bwd(const avs_kernel_args *a)
{
    const sets s = batch_sets(&a->in[1].type);
    return run_backward(&s, a);
}

int avs_ref_groupnorm(const avs_kernel_args *a)
{
    const sets s = group_sets(&a->in[0].type, ((const avs_norm_attr *)a->attr)->groups);
    return run_forward(&s, a);
}

int avs_ref_groupnorm_bwd(const avs_kernel_args *a)
{
    const sets s = group_sets(&a->in[1].type, ((const avs_norm_attr *)a->attr)->groups);
    return run_backward(&s, a);
}
