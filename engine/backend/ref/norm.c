/* LAYERNORM, BATCHNORM, GROUPNORM: the same arithmetic over different sets of elements.
 *
 * Set k consists of base(k) + o * C + i for o < outer, i < inner: a row (layer), a channel of all rows (batch), a run
 * of channels of all positions of one item (group). Formulas: engine/graph/op/norm.c. */
#include "engine/backend/ref/io.h"

#include <math.h>

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

/* y, mean, rstd of x gamma beta; var gets the biased variances, or is NULL. */
static void forward(const sets *s, const avs_norm_attr *a, const ref_io *io, double *var)
{
    const double *x = io->in[0], *gamma = io->in[1], *beta = io->in[2];
    double n = (double)(s->outer * s->inner);
    for (int64_t k = 0; k < s->n_set; k++) {
        double sum = 0, square = 0;
        int64_t b = base(s, k);
        for (int64_t o = 0; o < s->outer; o++)
            for (int64_t i = 0; i < s->inner; i++) sum += x[b + o * s->C + i];
        double mean = sum / n;
        for (int64_t o = 0; o < s->outer; o++)
            for (int64_t i = 0; i < s->inner; i++) {
                double d = x[b + o * s->C + i] - mean;
                square += d * d;
            }
        double rstd = 1 / sqrt(square / n + (double)a->eps);
        for (int64_t o = 0; o < s->outer; o++)
            for (int64_t i = 0; i < s->inner; i++) {
                int64_t at = b + o * s->C + i, c = at % s->C;
                double y = (x[at] - mean) * rstd * gamma[c] + beta[c];
                io->out[0][at] = a->act == AVS_ACT_RELU && y < 0 ? 0 : y;
            }
        io->out[1][k] = mean;
        io->out[2][k] = rstd;
        if (var) var[k] = square / n;
    }
}

/* gx dgamma dbeta of gy x gamma mean rstd [beta]: with act RELU gy counts where the forward's value is above 0. */
static void backward(const sets *s, const avs_norm_attr *a, const ref_io *io)
{
    const double *gy = io->in[0], *x = io->in[1], *gamma = io->in[2], *mean = io->in[3], *rstd = io->in[4];
    const double *beta = a->act == AVS_ACT_RELU ? io->in[5] : NULL;
    double n = (double)(s->outer * s->inner);
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
        for (int64_t o = 0; o < s->outer; o++)
            for (int64_t i = 0; i < s->inner; i++) {
                int64_t at = b + o * s->C + i, c = at % s->C;
                double xhat = (x[at] - mean[k]) * rstd[k];
                double g = beta && !(xhat * gamma[c] + beta[c] > 0) ? 0 : gy[at];
                io->out[0][at] = rstd[k] * (g * gamma[c] - sum / n - xhat * dot / n);
            }
    }
}

int avs_ref_layernorm(const avs_kernel_args *a)
{
    sets s = layer_sets(&a->in[0].type);
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    forward(&s, a->attr, &io, NULL);
    return ref_end(&io, AVS_OK);
}

int avs_ref_layernorm_bwd(const avs_kernel_args *a)
{
    sets s = layer_sets(&a->in[1].type);
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    backward(&s, a->attr, &io);
    return ref_end(&io, AVS_OK);
}

int avs_ref_batchnorm(const avs_kernel_args *a)
{
    const avs_norm_attr *n = a->attr;
    sets s = batch_sets(&a->in[0].type);
    double m = (double)n->momentum, count = (double)s.outer;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    forward(&s, n, &io, io.out[4]);
    for (int64_t c = 0; c < s.C; c++) {
        io.out[3][c] = (1 - m) * io.in[3][c] + m * io.out[1][c];
        io.out[4][c] = (1 - m) * io.in[4][c] + m * io.out[4][c] * count / (count - 1);
    }
    return ref_end(&io, AVS_OK);
}

int avs_ref_batchnorm_bwd(const avs_kernel_args *a)
{
    sets s = batch_sets(&a->in[1].type);
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    backward(&s, a->attr, &io);
    return ref_end(&io, AVS_OK);
}

int avs_ref_groupnorm(const avs_kernel_args *a)
{
    const avs_norm_attr *n = a->attr;
    sets s = group_sets(&a->in[0].type, n->groups);
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    forward(&s, n, &io, NULL);
    return ref_end(&io, AVS_OK);
}

int avs_ref_groupnorm_bwd(const avs_kernel_args *a)
{
    const avs_norm_attr *n = a->attr;
    sets s = group_sets(&a->in[1].type, n->groups);
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    backward(&s, n, &io);
    return ref_end(&io, AVS_OK);
}
