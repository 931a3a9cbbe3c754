/* Loss of a set of masks. Matching samples every mask at one set of points per row: the four pixels and weights of a point
 * and its few targets are tabled once and used by all queries. With S = sum softplus(x), a bce is (S - sum x t) / n, so
 * that a query costs one pass over the points whatever the number of targets.
 *
 * The work is cut by queries and by pairs, whose sums and gradients are their own, never by threads. Scratch of pairs is
 * that of SLOTS lanes of work, pair i in lane i % SLOTS. */
#include "engine/backend/cpu/isa/isa.h"

#include <string.h>

#include "engine/kernel/assign.k.h"
#include "engine/kernel/math.k.h"
#include "engine/kernel/philox.k.h"

enum { SLOTS = 16, BLOCK = 256 };

typedef struct {
    int32_t at[4];
    float w[4];
} corners;

/* Up to four targets of a point and their shares; unused shares are 0. */
typedef struct {
    int32_t of[4];
    float share[4];
} labels;

typedef struct {
    int32_t b, n, cls, nth; /* row, query, class, number in the row */
} pair;

typedef struct {
    const avs_cpu_call *c;
    const avs_set_loss_attr *a;
    const float *classes, *masks, *weight, *given[3];
    const int32_t *target;
    float *terms, *gclasses, *gmasks, *cost;
    int32_t *match;
    int64_t B, Q, K, h, w, H, W, n_pairs;
    double num;
    /* scratch */
    corners *spot;  /* [points]        of the row      */
    labels *label;  /* [points]        of the row      */
    double *packed; /* [Q][K]          costs of a row  */
    void *assign;
    int32_t *column, *local;  /* of a row: assignment; class -> target or -1 [K] */
    int32_t *row_cls, *row_n; /* [B][K] classes of each row and their number (-1: does not count) */
    pair *pairs;              /* [B*min(Q,K)] */
    double *pair_terms;       /* [B*min(Q,K)][2] */
    char *slots;              /* [SLOTS] of slot_bytes */
    size_t slot_bytes;
} job;

/* The scratch of one pair. */
typedef struct {
    uint32_t *key, *order; /* [candidates] bits of |x|, and a copy that is partitioned */
    float *xy, *x, *t;     /* [points] chosen */
} slot;

static slot slot_of(const job *q, int64_t i, size_t *bytes)
{
    avs_scratch s = {.base = q->slots ? q->slots + (size_t)i * q->slot_bytes : NULL};
    const size_t C = (size_t)q->a->candidates + 1, P = (size_t)q->a->points;
    slot r;
    r.key = avs_scratch_take(&s, C * sizeof(uint32_t));
    r.order = avs_scratch_take(&s, C * sizeof(uint32_t));
    r.xy = avs_scratch_take(&s, 2 * P * sizeof(float));
    r.x = avs_scratch_take(&s, P * sizeof(float));
    r.t = avs_scratch_take(&s, P * sizeof(float));
    if (bytes) *bytes = s.used;
    return r;
}

static job job_of(const avs_kernel_args *k, void *work, size_t *bytes)
{
    const avs_type *c = &k->in[0].type, *m = &k->in[1].type, *t = &k->in[2].type;
    job q = {.a = k->attr,
             .B = c->d[0],
             .Q = c->d[1],
             .K = c->d[2] - 1,
             .h = m->d[2],
             .w = m->d[3],
             .H = t->d[1],
             .W = t->d[2]};
    const size_t most = (size_t)avs_max64(q.Q, q.K), pairs = (size_t)(q.B * avs_min64(q.Q, q.K)),
                 P = (size_t)q.a->points;
    avs_scratch s = {.base = work};
    slot_of(&q, 0, &q.slot_bytes);
    q.spot = avs_scratch_take(&s, P * sizeof *q.spot);
    q.label = avs_scratch_take(&s, P * sizeof *q.label);
    q.packed = avs_scratch_take(&s, (size_t)(q.Q * q.K) * sizeof(double));
    q.assign = avs_scratch_take(&s, avs_assign_bytes((int64_t)most));
    q.column = avs_scratch_take(&s, most * sizeof(int32_t));
    q.local = avs_scratch_take(&s, (size_t)q.K * sizeof(int32_t));
    q.row_cls = avs_scratch_take(&s, (size_t)(q.B * q.K) * sizeof(int32_t));
    q.row_n = avs_scratch_take(&s, (size_t)q.B * sizeof(int32_t));
    q.pairs = avs_scratch_take(&s, pairs * sizeof *q.pairs);
    q.pair_terms = avs_scratch_take(&s, 2 * pairs * sizeof(double));
    q.slots = avs_scratch_take(&s, SLOTS * q.slot_bytes);
    if (bytes) *bytes = s.used;
    return q;
}

size_t AVS_ISA(avs_cpu_set_loss_work)(const avs_kernel_args *a)
{
    size_t bytes;
    job_of(a, NULL, &bytes);
    return bytes;
}

/* ------------------------------------------------------------------ points */

/* `count` points of set `set`. at: row (matching) or pair; nth: pair of its row. */
typedef struct {
    int set;
    int64_t row, at, nth, count;
} point_set;

/* Points [from, from + n) of the set into xy: given, or drawn. */
static void points_of(const job *q, point_set of, int64_t from, int64_t n, float *xy)
{
    if (n <= 0) return;
    if (q->given[of.set]) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): scratch is null only while its size is counted */
        memcpy(xy, q->given[of.set] + (of.at * of.count + from) * 2, (size_t)n * 2 * sizeof(float));
        return;
    }
    const avs_runtime *rt = q->c->k.rt;
    const uint32_t stream = q->a->stream + (uint32_t)of.set, sample = (uint32_t)(rt->sample0 + of.row);
    const int64_t first = of.nth * ((of.count + 1) / 2);
    for (int64_t i = from; i < from + n; i++) {
        const avs_philox_words p = avs_philox(stream, (uint32_t)rt->step, sample, (uint32_t)(first + i / 2),
                                              (uint32_t)rt->seed, (uint32_t)(rt->seed >> 32));
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): scratch is null only while its size is counted */
        for (int k = 0; k < 2; k++) *xy++ = (float)(p.w[i % 2 * 2 + k] >> 8) * (1.F / 16777216.F);
    }
}

static corners corners_of(float px, float py, int64_t h, int64_t w)
{
    corners c = {{0}, {0}};
    const float x = px * (float)w - 0.5F, y = py * (float)h - 0.5F;
    if (!(x > -1.F && x < (float)w && y > -1.F && y < (float)h)) return c;
    const float flx = __builtin_floorf(x), fly = __builtin_floorf(y), fx = x - flx, fy = y - fly;
    const int32_t x0 = (int32_t)flx, y0 = (int32_t)fly, W = (int32_t)w, H = (int32_t)h;
    for (int i = 0; i < 4; i++) {
        const int32_t cx = x0 + i % 2, cy = y0 + i / 2;
        const int inside = cx >= 0 && cy >= 0 && cx < W && cy < H;
        c.at[i] = inside ? cy * W + cx : 0;
        c.w[i] = inside ? (i % 2 ? fx : 1.F - fx) * (i / 2 ? fy : 1.F - fy) : 0.F;
    }
    return c;
}

static inline float sampled(const float *map, const corners *c)
{
    return c->w[0] * map[c->at[0]] + c->w[1] * map[c->at[1]] + c->w[2] * map[c->at[2]] +
           c->w[3] * map[c->at[3]];
}

/* ------------------------------------------------------------------ rows */

/* Classes of row b, ascending; false: one is out of range. */
static bool list_classes(const job *q, int64_t b)
{
    uint8_t is_there[AVS_SET_LOSS_CLASSES] = {0};
    const int32_t *t = q->target + b * q->H * q->W;
    int32_t *cls = q->row_cls + b * q->K, n = 0;
    for (int64_t i = 0; i < q->H * q->W; i++) {
        if (t[i] == AVS_SET_LOSS_IGNORE) continue;
        if (t[i] < 0 || t[i] >= q->K) return false;
        is_there[t[i]] = 1;
    }
    for (int32_t c = 0; c < (int32_t)q->K; c++)
        if (is_there[c]) cls[n++] = c;
    q->row_n[b] = q->weight[b] > 0.F ? n : -1;
    return true;
}

/* Clips that hold background alone do not count. */
static void drop_empty_clips(const job *q)
{
    const int64_t T = q->a->clip_rows;
    for (int64_t from = 0; T > 0 && from < q->B; from += T) {
        const int64_t to = avs_min64(from + T, q->B);
        bool is_sounding = false;
        for (int64_t b = from; b < to; b++) {
            const int32_t n = q->row_n[b];
            is_sounding |= n > 0 && q->row_cls[b * q->K + n - 1] > 0;
        }
        for (int64_t b = from; b < to && !is_sounding; b++) q->row_n[b] = -1;
    }
}

/* Pixels and targets of the points that row b is matched at. */
static void table_points(const job *q, int64_t b)
{
    const int64_t P = q->a->points;
    const int32_t *map = q->target + b * q->H * q->W;
    for (int32_t c = 0; c < (int32_t)q->K; c++) q->local[c] = -1;
    for (int32_t m = 0; m < q->row_n[b]; m++) q->local[q->row_cls[b * q->K + m]] = m;
    for (int64_t from = 0; from < P; from += BLOCK) {
        float xy[2 * BLOCK];
        const int64_t n = avs_min64(BLOCK, P - from);
        points_of(q, (point_set){0, b, b, 0, P}, from, n, xy);
        for (int64_t i = 0; i < n; i++) {
            const corners c = corners_of(xy[2 * i], xy[2 * i + 1], q->H, q->W);
            labels l = {{0}, {0}};
            q->spot[from + i] = corners_of(xy[2 * i], xy[2 * i + 1], q->h, q->w);
            int used = 0;
            for (int k = 0; k < 4; k++) { /* corners of one class are one share */
                const int32_t cls = map[c.at[k]], m = cls == AVS_SET_LOSS_IGNORE ? -1 : q->local[cls];
                int at = 0;
                if (m < 0 || c.w[k] == 0.F) continue;
                while (at < used && l.of[at] != m) at++;
                used += at == used;
                l.of[at] = m;
                l.share[at] += c.w[k];
            }
            q->label[from + i] = l;
        }
    }
}

static float top_of(const float *x, int64_t n)
{
    float m = x[0];
    for (int64_t i = 1; i < n; i++) m = x[i] > m ? x[i] : m;
    return m;
}

static double exp_sum(const float *x, int64_t n, float top)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)avs_expf(x[i] - top);
    return s;
}

/* Costs of query n of row b against all targets. */
static void query_costs(const job *q, int64_t b, int64_t n)
{
    const int64_t P = q->a->points, M = q->row_n[b];
    const float *map = q->masks + (b * q->Q + n) * q->h * q->w,
                *logit = q->classes + (b * q->Q + n) * (q->K + 1);
    double xt[AVS_SET_LOSS_CLASSES], st[AVS_SET_LOSS_CLASSES], tt[AVS_SET_LOSS_CLASSES], plus = 0, all = 0;
    for (int64_t m = 0; m < M; m++) xt[m] = st[m] = tt[m] = 0;
    for (int64_t from = 0; from < P; from += BLOCK) {
        float x[BLOCK], s[BLOCK], sum_plus = 0.F, sum_s = 0.F;
        const int64_t c = avs_min64(BLOCK, P - from);
        for (int64_t i = 0; i < c; i++) x[i] = sampled(map, &q->spot[from + i]);
        AVS_PRAGMA(omp simd reduction(+ : sum_plus, sum_s))
        for (int64_t i = 0; i < c; i++) {
            const float e = avs_expf(-avs_absf(x[i])), big = 1.F / (1.F + e);
            s[i] = x[i] >= 0.F ? big : e * big;
            sum_plus += (x[i] > 0.F ? x[i] : 0.F) + avs_log1pf(e);
            sum_s += s[i];
        }
        plus += (double)sum_plus;
        all += (double)sum_s;
        for (int64_t i = 0; i < c; i++) {
            const labels *l = &q->label[from + i];
            for (int k = 0; k < 4 && l->share[k] > 0.F; k++) {
                const double share = (double)l->share[k];
                xt[l->of[k]] += share * (double)x[i];
                st[l->of[k]] += share * (double)s[i];
                tt[l->of[k]] += share;
            }
        }
    }
    const float top = top_of(logit, q->K + 1);
    const double sum = exp_sum(logit, q->K + 1, top);
    for (int64_t m = 0; m < M; m++) {
        const int32_t cls = q->row_cls[b * q->K + m];
        const double p = (double)avs_expf(logit[cls] - top) / sum,
                     dice = 1 - (2 * st[m] + 1) / (all + tt[m] + 1);
        double cost = 5 * (plus - xt[m]) / (double)P - p + 5 * dice;
        if (!(cost < 1e10)) cost = 1e10; /* not a number, or beyond all others */
        q->packed[n * q->K + m] = cost;
        q->cost[(b * q->Q + n) * q->K + cls] = (float)cost;
    }
}

static void match_row(const job *q, int64_t b)
{
    const int64_t M = q->row_n[b], Q = q->Q, K = q->K;
    int32_t *match = q->match + b * Q;
    for (int64_t n = 0; n < Q; n++) match[n] = -1;
    if (M < 1) return;
    table_points(q, b);
#pragma omp parallel for schedule(static) if (Q * q->a->points >= AVS_PAR_MIN)
    for (int64_t n = 0; n < Q; n++) query_costs(q, b, n);
    if (M <= Q) {
        avs_assign(q->packed, 1, K, (int)M, (int)Q, q->assign, q->column);
        for (int64_t m = 0; m < M; m++) match[q->column[m]] = (int32_t)m;
    } else {
        avs_assign(q->packed, K, 1, (int)Q, (int)M, q->assign, q->column);
        memcpy(match, q->column, (size_t)Q * sizeof(int32_t));
    }
}

/* ------------------------------------------------------------------ pairs */

/* The k-th smallest (from 0) of n words, by halving the range of bits: 32 passes of counting at most, no order kept. */
static uint32_t kth(uint32_t *v, int64_t n, int64_t k)
{
    for (int bit = 30; bit >= 0 && n > 1; bit--) { /* |x| has no sign */
        int64_t zeros = 0, end = n;
        while (zeros < end) { /* words whose bit is 0 come first */
            if (v[zeros] >> bit & 1) {
                const uint32_t w = v[--end];
                v[end] = v[zeros];
                v[zeros] = w;
            } else {
                zeros++;
            }
        }
        if (k < zeros) {
            n = zeros;
        } else {
            k -= zeros;
            v += zeros;
            n -= zeros;
        }
    }
    return v[0];
}

/* The points of pair i into s->xy. */
static void choose(const job *q, const pair *p, int64_t i, const slot *s)
{
    const int64_t C = q->a->candidates, U = q->a->uncertain, P = q->a->points;
    const float *map = q->masks + ((int64_t)p->b * q->Q + p->n) * q->h * q->w;
    const point_set tried = {1, p->b, i, p->nth, C}, rest = {2, p->b, i, p->nth, P - U};
    float xy[2 * BLOCK];
    for (int64_t from = 0; U && from < C; from += BLOCK) {
        const int64_t n = avs_min64(BLOCK, C - from);
        points_of(q, tried, from, n, xy);
        for (int64_t k = 0; k < n; k++) {
            const corners c = corners_of(xy[2 * k], xy[2 * k + 1], q->h, q->w);
            const float x = avs_absf(sampled(map, &c));
            /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): scratch is null only while its size is counted */
            memcpy(&s->key[from + k], &x, sizeof x);
        }
    }
    if (U) {
        int64_t below = 0, taken = 0, ties;
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): scratch is null only while its size is counted */
        memcpy(s->order, s->key, (size_t)C * sizeof(uint32_t));
        const uint32_t limit = kth(s->order, C, U - 1);
        for (int64_t k = 0; k < C; k++) below += s->key[k] < limit;
        ties = U - below;
        for (int64_t from = 0; from < C && taken < U; from += BLOCK) {
            const int64_t n = avs_min64(BLOCK, C - from);
            points_of(q, tried, from, n, xy);
            for (int64_t k = 0; k < n && taken < U; k++) {
                const uint32_t key = s->key[from + k];
                if (key > limit || (key == limit && ties-- <= 0)) continue;
                memcpy(s->xy + 2 * taken++, xy + 2 * k, 2 * sizeof(float));
            }
        }
    }
    points_of(q, rest, 0, P - U, s->xy + 2 * U);
}

static float target_at(const job *q, const pair *p, float x, float y)
{
    const int32_t *map = q->target + (int64_t)p->b * q->H * q->W;
    const corners c = corners_of(x, y, q->H, q->W);
    float t = 0.F;
    for (int k = 0; k < 4; k++) t += map[c.at[k]] == p->cls ? c.w[k] : 0.F;
    return t;
}

/* BCE and dice of pair i over the number of targets, and the gradient of its mask. */
static void run_pair(const job *q, int64_t i)
{
    const pair *p = &q->pairs[i];
    const slot s = slot_of(q, i % SLOTS, NULL);
    const int64_t P = q->a->points, at = ((int64_t)p->b * q->Q + p->n) * q->h * q->w;
    double bce = 0, both = 0, sum = 1;
    choose(q, p, i, &s);
    for (int64_t k = 0; k < P; k++) {
        const corners c = corners_of(s.xy[2 * k], s.xy[2 * k + 1], q->h, q->w);
        s.x[k] = sampled(q->masks + at, &c);
        s.t[k] = target_at(q, p, s.xy[2 * k], s.xy[2 * k + 1]);
    }
    for (int64_t from = 0; from < P; from += BLOCK) {
        const int64_t n = avs_min64(BLOCK, P - from);
        float *x = s.x + from;
        const float *t = s.t + from;
        float b = 0.F, st = 0.F, u = 0.F;
        AVS_PRAGMA(omp simd reduction(+ : b, st, u))
        for (int64_t k = 0; k < n; k++) {
            const float e = avs_expf(-avs_absf(x[k])), big = 1.F / (1.F + e), v = x[k] >= 0.F ? big : e * big;
            b += (x[k] > 0.F ? x[k] : 0.F) - x[k] * t[k] + avs_log1pf(e);
            st += v * t[k];
            u += v + t[k];
            x[k] = v; /* from here on the sigmoid */
        }
        bce += (double)b;
        both += (double)st;
        sum += (double)u;
    }
    q->pair_terms[2 * i] = bce / (double)P / q->num;
    q->pair_terms[2 * i + 1] = (1 - (2 * both + 1) / sum) / q->num;
    const float gb = (float)((double)q->a->w_mask / (double)P / q->num),
                wd = (float)((double)q->a->w_dice / q->num), dt = (float)(-2 / sum),
                d0 = (float)((2 * both + 1) / (sum * sum));
    float *grad = q->gmasks + at;
    for (int64_t k = 0; k < P; k++) {
        const float v = s.x[k], g = gb * (v - s.t[k]) + wd * (dt * s.t[k] + d0) * v * (1.F - v);
        const corners c = corners_of(s.xy[2 * k], s.xy[2 * k + 1], q->h, q->w);
        for (int j = 0; j < 4; j++) grad[c.at[j]] += c.w[j] * g;
    }
}

/* The pairs by row and query; false: more than points are given for. */
static bool list_pairs(job *q)
{
    for (int64_t b = 0; b < q->B; b++) {
        int32_t nth = 0;
        for (int64_t n = 0; n < q->Q; n++) {
            const int32_t m = q->match[b * q->Q + n];
            if (m < 0) continue;
            q->pairs[q->n_pairs++] =
                (pair){.b = (int32_t)b, .n = (int32_t)n, .cls = q->row_cls[b * q->K + m], .nth = nth++};
        }
        q->num += q->row_n[b] > 0 ? q->row_n[b] : 0;
    }
    for (int set = 1; set < 3; set++)
        if (q->given[set] && q->n_pairs > q->c->k.in[4 + set].type.d[0]) return false;
    return true;
}

/* ------------------------------------------------------------------ classes */

/* Class and weight of query n of row b; weight 0: the row does not count. */
static float wanted_class(const job *q, int64_t b, int64_t n, int32_t *cls)
{
    const int32_t m = q->match[b * q->Q + n];
    *cls = m < 0 ? (int32_t)q->K : q->row_cls[b * q->K + m];
    if (q->row_n[b] < 0) return 0.F;
    return m < 0 ? q->a->no_object : 1.F;
}

static double entropy(const job *q)
{
    double sum = 0, of = 0;
    int32_t cls;
    for (int64_t i = 0; i < q->B * q->Q; i++) of += (double)wanted_class(q, i / q->Q, i % q->Q, &cls);
    for (int64_t i = 0; i < q->B * q->Q && of > 0; i++) {
        const float *x = q->classes + i * (q->K + 1), weight = wanted_class(q, i / q->Q, i % q->Q, &cls);
        if (weight == 0.F) continue;
        const float top = top_of(x, q->K + 1);
        const double e = exp_sum(x, q->K + 1, top);
        const float k = (float)((double)q->a->w_class * (double)weight / of), f = (float)((double)k / e);
        float *g = q->gclasses + i * (q->K + 1);
        for (int64_t j = 0; j <= q->K; j++) g[j] = f * avs_expf(x[j] - top);
        g[cls] -= k;
        sum += (double)weight * ((double)avs_logf((float)e) + (double)(top - x[cls]));
    }
    return of > 0 ? sum / of : 0;
}

int AVS_ISA(avs_cpu_set_loss)(const avs_cpu_call *c)
{
    if (!c->work) return AVS_ENOMEM;
    job q = job_of(&c->k, c->work, NULL);
    double terms[3] = {0};
    q.c = c;
    q.classes = c->k.in[0].data;
    q.masks = c->k.in[1].data;
    q.target = c->k.in[2].data;
    q.weight = c->k.in[3].data;
    for (int i = 0; i < 3; i++) q.given[i] = 4 + i < c->k.n_in ? c->k.in[4 + i].data : NULL;
    q.terms = c->k.out[0].data;
    q.gclasses = c->k.out[1].data;
    q.gmasks = c->k.out[2].data;
    q.match = c->k.out[3].data;
    q.cost = c->k.out[4].data;
    memset(q.gclasses, 0, (size_t)(q.B * q.Q * (q.K + 1)) * sizeof(float));
    memset(q.gmasks, 0, (size_t)(q.B * q.Q * q.h * q.w) * sizeof(float));
    memset(q.cost, 0, (size_t)(q.B * q.Q * q.K) * sizeof(float));
    for (int64_t b = 0; b < q.B; b++)
        if (!list_classes(&q, b)) {
            if (q.weight[b] > 0.F) return AVS_ERANGE;
            q.row_n[b] = -1;
        }
    drop_empty_clips(&q);
    for (int64_t b = 0; b < q.B; b++) match_row(&q, b);
    if (!list_pairs(&q)) return AVS_ERANGE;
    const int64_t n = q.n_pairs;
#pragma omp parallel for schedule(static) if (n * q.a->candidates >= AVS_PAR_MIN)
    for (int64_t lane = 0; lane < SLOTS; lane++)
        for (int64_t i = lane; i < n; i += SLOTS) run_pair(&q, i);
    for (int64_t i = 0; i < n; i++) {
        terms[1] += q.pair_terms[2 * i];
        terms[2] += q.pair_terms[2 * i + 1];
    }
    terms[0] = entropy(&q);
    q.terms[0] = (float)((double)q.a->w_class * terms[0] + (double)q.a->w_mask * terms[1] +
                         (double)q.a->w_dice * terms[2]);
    for (int i = 0; i < 3; i++) q.terms[1 + i] = (float)terms[i];
    return AVS_OK;
}
