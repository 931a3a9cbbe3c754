/* SET_LOSS by its definition: for each row match, then sum over its pairs. */
#include "engine/backend/ref/io.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"
#include "engine/kernel/assign.k.h"

typedef struct {
    const avs_kernel_args *k;
    const avs_set_loss_attr *a;
    const ref_io *io;
    int64_t B, Q, K, h, w, H, W;
    int64_t pairs; /* matched so far */
    double num;    /* masks of all rows */
    double *x, *t; /* logits and targets at points */
    double *cost;  /* of a row [Q,K], classes packed */
    void *scratch;
    int32_t *column, *cls; /* of a row */
} task;

static double softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* Point i of set `set` (0 matching, 1 candidates, 2 at random): given, or drawn. n: points of the set; nth: which set of
 * the row, of all rows when they are given. */
static void point(const task *q, int set, int64_t row, int64_t nth, int64_t n, int64_t i, double xy[2])
{
    const double *given = q->k->n_in > 4 + set ? q->io->in[4 + set] : NULL;
    if (given) {
        const int64_t at = set ? q->pairs : row;
        xy[0] = given[(at * n + i) * 2];
        xy[1] = given[(at * n + i) * 2 + 1];
        return;
    }
    const avs_runtime *rt = q->k->rt;
    const uint32_t key[2] = {(uint32_t)rt->seed, (uint32_t)(rt->seed >> 32)},
                   ctr[4] = {q->a->stream + (uint32_t)set, (uint32_t)rt->step, (uint32_t)(rt->sample0 + row),
                             (uint32_t)(nth * ((n + 1) / 2) + i / 2)};
    uint32_t word[4];
    avs_philox4x32(ctr, key, word);
    for (int k = 0; k < 2; k++) xy[k] = (double)(word[i % 2 * 2 + k] >> 8) * (1.0 / 16777216.0);
}

typedef struct {
    int64_t at[4];
    double w[4];
} corners;

static corners corners_of(const double xy[2], int64_t h, int64_t w)
{
    corners c = {{0}, {0}};
    const double x = xy[0] * (double)w - 0.5, y = xy[1] * (double)h - 0.5;
    if (!(x > -1 && x < (double)w && y > -1 && y < (double)h)) return c;
    const int64_t x0 = (int64_t)floor(x), y0 = (int64_t)floor(y);
    const double fx = x - floor(x), fy = y - floor(y);
    for (int i = 0; i < 4; i++) {
        const int64_t cx = x0 + i % 2, cy = y0 + i / 2;
        if (cx < 0 || cy < 0 || cx >= w || cy >= h) continue;
        c.at[i] = cy * w + cx;
        c.w[i] = (i % 2 ? fx : 1 - fx) * (i / 2 ? fy : 1 - fy);
    }
    return c;
}

static double sample(const task *q, int64_t b, int64_t n, const double xy[2])
{
    const double *map = q->io->in[1] + (b * q->Q + n) * q->h * q->w;
    const corners c = corners_of(xy, q->h, q->w);
    double s = 0;
    for (int i = 0; i < 4; i++) s += c.w[i] * map[c.at[i]];
    return s;
}

static double target_at(const task *q, int64_t b, int64_t cls, const double xy[2])
{
    const double *map = q->io->in[2] + b * q->H * q->W;
    const corners c = corners_of(xy, q->H, q->W);
    double s = 0;
    for (int i = 0; i < 4; i++) s += (int64_t)map[c.at[i]] == cls ? c.w[i] : 0;
    return s;
}

/* Classes of row b, ascending; -1: a class is out of range. */
static int64_t classes_of(const task *q, int64_t b, int32_t *cls)
{
    bool is_there[AVS_SET_LOSS_CLASSES] = {false};
    int64_t n = 0;
    for (int64_t i = 0; i < q->H * q->W; i++) {
        const int64_t c = (int64_t)q->io->in[2][b * q->H * q->W + i];
        if (c == AVS_SET_LOSS_IGNORE) continue;
        if (c < 0 || c >= q->K) return -1;
        is_there[c] = true;
    }
    for (int64_t c = 0; c < q->K; c++)
        if (is_there[c]) cls[n++] = (int32_t)c;
    return n;
}

/* Does the clip of row b hold anything but background in a row that counts? */
static bool is_sounding(const task *q, int64_t b)
{
    const int64_t T = q->a->clip_rows;
    if (T < 1) return true;
    for (int64_t r = b / T * T; r < (b / T + 1) * T && r < q->B; r++)
        for (int64_t i = 0; i < q->H * q->W && q->io->in[3][r] > 0; i++) {
            const int64_t c = (int64_t)q->io->in[2][r * q->H * q->W + i];
            if (c != 0 && c != AVS_SET_LOSS_IGNORE) return true;
        }
    return false;
}

static double log_sum(const double *x, int64_t n)
{
    double top = x[0], s = 0;
    for (int64_t i = 1; i < n; i++) top = x[i] > top ? x[i] : top;
    for (int64_t i = 0; i < n; i++) s += exp(x[i] - top);
    return top + log(s);
}

static void costs(task *q, int64_t b, int64_t M)
{
    const int64_t P = q->a->points;
    for (int64_t n = 0; n < q->Q; n++) {
        const double *logit = q->io->in[0] + (b * q->Q + n) * (q->K + 1), all = log_sum(logit, q->K + 1);
        for (int64_t m = 0; m < M; m++) {
            double bce = 0, both = 0, sum = 1, xy[2];
            for (int64_t i = 0; i < P; i++) {
                point(q, 0, b, 0, P, i, xy);
                const double x = sample(q, b, n, xy), t = target_at(q, b, q->cls[m], xy), s = sigmoid(x);
                bce += softplus(-x) * t + softplus(x) * (1 - t);
                both += s * t;
                sum += s + t;
            }
            const double dice = 1 - (2 * both + 1) / sum;
            q->cost[n * q->K + m] = 5 * bce / (double)P - exp(logit[q->cls[m]] - all) + 5 * dice;
            q->io->out[4][(b * q->Q + n) * q->K + q->cls[m]] = q->cost[n * q->K + m];
        }
    }
}

typedef struct {
    double doubt; /* |x| */
    int64_t i;
} candidate;

/* Smaller |x| first, then the earlier candidate. */
static int by_doubt(const void *a, const void *b)
{
    const candidate *p = a, *q = b;
    return p->doubt < q->doubt ? -1 : p->doubt > q->doubt ? 1 : p->i < q->i ? -1 : 1;
}

/* The points of a pair into xy [points][2]; nth: its number in the row. */
static int chosen(const task *q, int64_t b, int64_t n, int64_t nth, double (*xy)[2])
{
    const int64_t C = q->a->candidates, U = q->a->uncertain, P = q->a->points;
    candidate *c = avs_xalloc(sizeof *c * (size_t)(C + 1));
    double p[2];
    if (!c) return AVS_ENOMEM;
    for (int64_t i = 0; i < C; i++) {
        point(q, 1, b, nth, C, i, p);
        c[i] = (candidate){fabs(sample(q, b, n, p)), i};
    }
    qsort(c, (size_t)C, sizeof *c, by_doubt);
    for (int64_t i = 0; i < U; i++) point(q, 1, b, nth, C, c[i].i, xy[i]);
    for (int64_t i = U; i < P; i++) point(q, 2, b, nth, P - U, i - U, xy[i]);
    avs_xfree(c);
    return AVS_OK;
}

/* Mask and dice of one pair, and their gradient (over q->num). */
static int pair(task *q, int64_t b, int64_t n, int64_t cls, int64_t nth, double terms[4])
{
    const int64_t P = q->a->points;
    double(*xy)[2] = avs_xalloc(sizeof(double[2]) * (size_t)P);
    double bce = 0, both = 0, sum = 1;
    int rc = xy ? chosen(q, b, n, nth, xy) : AVS_ENOMEM;
    for (int64_t i = 0; rc == AVS_OK && i < P; i++) {
        q->x[i] = sample(q, b, n, xy[i]);
        q->t[i] = target_at(q, b, cls, xy[i]);
        bce += softplus(q->x[i]) - q->x[i] * q->t[i];
        both += sigmoid(q->x[i]) * q->t[i];
        sum += sigmoid(q->x[i]) + q->t[i];
    }
    terms[2] += bce / (double)P / q->num;
    terms[3] += (1 - (2 * both + 1) / sum) / q->num;
    double *grad = q->io->out[2] + (b * q->Q + n) * q->h * q->w;
    for (int64_t i = 0; rc == AVS_OK && i < P; i++) {
        const double s = sigmoid(q->x[i]), t = q->t[i];
        const double dice = -(2 * t * sum - (2 * both + 1)) / (sum * sum) * s * (1 - s);
        const double g = ((double)q->a->w_mask * (s - t) / (double)P + (double)q->a->w_dice * dice) / q->num;
        const corners c = corners_of(xy[i], q->h, q->w);
        for (int k = 0; k < 4; k++) grad[c.at[k]] += c.w[k] * g;
    }
    avs_xfree(xy);
    return rc;
}

/* Target of each query of row b into the output match (index among cls, or -1). */
static void match_row(task *q, int64_t b, int64_t M)
{
    double *match = q->io->out[3] + b * q->Q;
    for (int64_t n = 0; n < q->Q; n++) match[n] = -1;
    if (M < 1) return;
    costs(q, b, M);
    if (M <= q->Q) {
        avs_assign(q->cost, 1, q->K, (int)M, (int)q->Q, q->scratch, q->column);
        for (int64_t m = 0; m < M; m++) match[q->column[m]] = (double)m;
    } else {
        avs_assign(q->cost, q->K, 1, (int)q->Q, (int)M, q->scratch, q->column);
        for (int64_t n = 0; n < q->Q; n++) match[n] = q->column[n];
    }
}

/* Weighted cross entropy over the queries of the rows that count, and its gradient. */
static void entropy(task *q, const bool *counts, double terms[4])
{
    double sum = 0, of = 0;
    for (int way = 0; way < 2; way++)
        for (int64_t b = 0; b < q->B; b++) {
            if (!counts[b]) continue;
            classes_of(q, b, q->cls);
            for (int64_t n = 0; n < q->Q; n++) {
                const double *x = q->io->in[0] + (b * q->Q + n) * (q->K + 1), m = q->io->out[3][b * q->Q + n];
                const int64_t c = m < 0 ? q->K : q->cls[(int64_t)m];
                const double weight = m < 0 ? (double)q->a->no_object : 1, all = log_sum(x, q->K + 1);
                if (!way) {
                    sum += weight * (all - x[c]);
                    of += weight;
                }
                for (int64_t k = 0; way && of > 0 && k <= q->K; k++)
                    q->io->out[1][(b * q->Q + n) * (q->K + 1) + k] =
                        (double)q->a->w_class * weight / of * (exp(x[k] - all) - (k == c ? 1 : 0));
            }
        }
    terms[1] = of > 0 ? sum / of : 0;
}

static int run(task *q, bool *counts)
{
    double *terms = q->io->out[0];
    int rc = AVS_OK;
    for (int64_t b = 0; b < q->B; b++) {
        counts[b] = q->io->in[3][b] > 0 && is_sounding(q, b);
        const int64_t M = counts[b] ? classes_of(q, b, q->cls) : 0;
        if (M < 0) return AVS_ERANGE;
        match_row(q, b, M);
        q->num += (double)M;
    }
    for (int64_t b = 0; b < q->B && rc == AVS_OK; b++) {
        int64_t nth = 0;
        if (counts[b]) classes_of(q, b, q->cls);
        for (int64_t n = 0; n < q->Q && rc == AVS_OK; n++) {
            const int64_t m = (int64_t)q->io->out[3][b * q->Q + n];
            if (m < 0) continue;
            if (q->k->n_in > 5 && q->io->in[5] && q->pairs >= q->k->in[5].type.d[0]) return AVS_ERANGE;
            if (q->k->n_in > 6 && q->io->in[6] && q->pairs >= q->k->in[6].type.d[0]) return AVS_ERANGE;
            rc = pair(q, b, n, q->cls[m], nth++, terms);
            q->pairs++;
        }
    }
    entropy(q, counts, terms);
    terms[0] =
        (double)q->a->w_class * terms[1] + (double)q->a->w_mask * terms[2] + (double)q->a->w_dice * terms[3];
    return rc;
}

int avs_ref_set_loss(const avs_kernel_args *a)
{
    const avs_type *c = &a->in[0].type, *m = &a->in[1].type, *t = &a->in[2].type;
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    task q = {.k = a,
              .a = a->attr,
              .io = &io,
              .B = c->d[0],
              .Q = c->d[1],
              .K = c->d[2] - 1,
              .h = m->d[2],
              .w = m->d[3],
              .H = t->d[1],
              .W = t->d[2]};
    const int64_t most = q.Q > q.K ? q.Q : q.K;
    q.x = avs_xalloc(sizeof(double) * (size_t)q.a->points);
    q.t = avs_xalloc(sizeof(double) * (size_t)q.a->points);
    q.cost = avs_xalloc(sizeof(double) * (size_t)(q.Q * q.K));
    q.scratch = avs_xalloc(avs_assign_bytes(most));
    q.column = avs_xalloc(sizeof(int32_t) * (size_t)most);
    q.cls = avs_xalloc(sizeof(int32_t) * (size_t)q.K);
    bool *counts = avs_xalloc(sizeof(bool) * (size_t)q.B);
    rc = q.x && q.t && q.cost && q.scratch && q.column && q.cls && counts ? run(&q, counts) : AVS_ENOMEM;
    avs_xfree(q.x);
    avs_xfree(q.t);
    avs_xfree(q.cost);
    avs_xfree(q.scratch);
    avs_xfree(q.column);
    avs_xfree(q.cls);
    avs_xfree(counts);
    return ref_end(&io, rc);
}
