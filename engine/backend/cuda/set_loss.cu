/* Loss of a set of masks: the stages of engine/backend/cpu/isa/set_loss.c as kernels.
 *
 * Classes and rows are counted first, then the points of a row are tabled once for all its queries. A warp takes one cost
 * (query, target) over the points; a warp per row assigns (assign.k.h). A block takes one pair after another: it finds the
 * key of the last uncertain candidate bit by bit, keeps candidates in their order by a scan, and adds the gradient of the
 * four pixels of each point as whole numbers of 2^-k, whose sum does not depend on the order of the threads. One block
 * ends with the cross entropy and the terms.
 * Not measured on a device yet. */
#include "engine/backend/cuda/kernels.h"
#include "engine/kernel/lane.k.h"
#include "engine/kernel/math.k.h"

enum { SET_THREADS = 256 };

#define SET_AT(p, T, part) ((T *)((p)->work + (p)->at[part]))

/* ------------------------------------------------------------------ points */

/* Point i of set `set`: given, or drawn. at: row (matching) or pair; nth: pair of its row; count: points of the set. */
AVS_FN void set_point(const avs_set_loss_p *p, int set, int64_t row, int64_t at, int64_t nth, int64_t count,
                      int64_t i, float xy[2])
{
    if (p->given[set]) {
        xy[0] = p->given[set][(at * count + i) * 2];
        xy[1] = p->given[set][(at * count + i) * 2 + 1];
        return;
    }
    const avs_philox_words q =
        avs_philox(p->a.stream + (uint32_t)set, p->counters[0], p->counters[1] + (uint32_t)row,
                   (uint32_t)(nth * ((count + 1) / 2) + i / 2), p->key[0], p->key[1]);
    xy[0] = (float)((i & 1 ? q.w[2] : q.w[0]) >> 8) * (1.f / 16777216.f);
    xy[1] = (float)((i & 1 ? q.w[3] : q.w[1]) >> 8) * (1.f / 16777216.f);
}

/* Whole numbers not above v, for |v| below 2^24. */
AVS_FN int32_t set_floor(float v)
{
    const int32_t n = (int32_t)v;
    return (float)n > v ? n - 1 : n;
}

AVS_FN avs_set_corners set_corners(const float xy[2], int64_t h, int64_t w)
{
    avs_set_corners c;
    const float x = xy[0] * (float)w - 0.5f, y = xy[1] * (float)h - 0.5f;
    const int is_in = x > -1.f && x < (float)w && y > -1.f && y < (float)h;
    const int32_t x0 = is_in ? set_floor(x) : 0, y0 = is_in ? set_floor(y) : 0;
    const float fx = x - (float)x0, fy = y - (float)y0;
    for (int i = 0; i < 4; i++) {
        const int32_t cx = x0 + i % 2, cy = y0 + i / 2;
        const int inside = is_in && cx >= 0 && cy >= 0 && cx < (int32_t)w && cy < (int32_t)h;
        c.at[i] = inside ? cy * (int32_t)w + cx : 0;
        c.w[i] = inside ? (i % 2 ? fx : 1.f - fx) * (i / 2 ? fy : 1.f - fy) : 0.f;
    }
    return c;
}

AVS_FN float set_sampled(const float *map, const avs_set_corners *c)
{
    return c->w[0] * map[c->at[0]] + c->w[1] * map[c->at[1]] + c->w[2] * map[c->at[2]] +
           c->w[3] * map[c->at[3]];
}

/* softplus(x), and the sigmoid. */
AVS_FN float set_softplus(float x, float *sigmoid)
{
    const float e = avs_expf(-avs_absf(x)), big = 1.f / (1.f + e);
    *sigmoid = x >= 0.f ? big : e * big;
    return (x > 0.f ? x : 0.f) + avs_log1pf(e);
}

/* ------------------------------------------------------------------ rows */

/* Index = element of the largest of what starts as 0. */
typedef avs_set_loss_p avs_set_clear_p;
AVS_FN void avs_set_clear_body(const avs_set_clear_p *p, int64_t i)
{
    if (i < p->B * p->K) SET_AT(p, int32_t, AVS_SET_FLAG)[i] = 0;
    if (i < p->B * p->Q * (p->K + 1)) p->gclasses[i] = 0.f;
    if (i < p->B * p->Q * p->K) p->cost[i] = 0.f;
    if (i < p->B * p->Q * p->h * p->w) p->gmasks[i] = 0.f;
}
AVS_OWN_EW(avs_set_clear, avs_set_clear_p)

/* Index = pixel of the targets; threads that meet one class write the same. */
typedef avs_set_loss_p avs_set_flag_p;
AVS_FN void avs_set_flag_body(const avs_set_flag_p *p, int64_t i)
{
    const int64_t b = i / (p->H * p->W);
    const int32_t c = p->target[i];
    if (c == AVS_SET_LOSS_IGNORE) return;
    if (c >= 0 && c < p->K)
        SET_AT(p, int32_t, AVS_SET_FLAG)[b * p->K + c] = 1;
    else if (p->weight[b] > 0.f)
        *p->status = AVS_STATUS_CLASS;
}
AVS_OWN_EW(avs_set_flag, avs_set_flag_p)

/* Index = row: its classes. */
typedef avs_set_loss_p avs_set_list_p;
AVS_FN void avs_set_list_body(const avs_set_list_p *p, int64_t b)
{
    const int32_t *is_there = SET_AT(p, int32_t, AVS_SET_FLAG) + b * p->K;
    int32_t *cls = SET_AT(p, int32_t, AVS_SET_CLASS) + b * p->K,
            *local = SET_AT(p, int32_t, AVS_SET_LOCAL) + b * p->K;
    int32_t n = 0;
    for (int64_t c = 0; c < p->K; c++) {
        local[c] = is_there[c] ? n : -1;
        if (is_there[c]) cls[n++] = (int32_t)c;
    }
    SET_AT(p, int32_t, AVS_SET_COUNT)[b] = p->weight[b] > 0.f ? n : -1;
}
AVS_OWN_EW(avs_set_list, avs_set_list_p)

/* Targets of row b: none where its clip holds background alone. */
AVS_FN int32_t set_targets_of(const avs_set_loss_p *p, int64_t b)
{
    const int32_t *count = SET_AT(p, const int32_t, AVS_SET_COUNT),
                  *cls = SET_AT(p, const int32_t, AVS_SET_CLASS);
    const int64_t T = p->a.clip_rows;
    if (T < 1) return count[b];
    for (int64_t r = b / T * T; r < (b / T + 1) * T && r < p->B; r++)
        if (count[r] > 0 && cls[r * p->K + count[r] - 1] > 0) return count[b];
    return -1;
}

/* Index = row: its targets and where its pairs begin. */
typedef avs_set_loss_p avs_set_begin_p;
AVS_FN void avs_set_begin_body(const avs_set_begin_p *p, int64_t b)
{
    int64_t pairs = 0;
    double num = 0;
    for (int64_t r = 0; r <= b; r++) {
        const int32_t n = set_targets_of(p, r), kept = n > 0 ? n : 0;
        int32_t *row = SET_AT(p, int32_t, AVS_SET_ROW) + 2 * r;
        if (r == b) {
            row[0] = n;
            row[1] = (int32_t)pairs;
        }
        pairs += kept < p->Q ? kept : p->Q;
        num += (double)kept;
    }
    if (b + 1 < p->B) return;
    avs_set_head *h = SET_AT(p, avs_set_head, AVS_SET_HEAD);
    h->num = num;
    h->n_pairs = pairs;
    for (int i = 0; i < 2; i++)
        if (p->given[1 + i] && pairs > p->given_pairs[i]) {
            *p->status = AVS_STATUS_POINTS;
            h->n_pairs = pairs = p->given_pairs[i];
        }
}
AVS_OWN_EW(avs_set_begin, avs_set_begin_p)

/* Index = point of a row: its pixels, and its targets as shares. */
typedef avs_set_loss_p avs_set_table_p;
AVS_FN void avs_set_table_body(const avs_set_table_p *p, int64_t i)
{
    const int64_t P = p->a.points, b = i / P;
    const int32_t *map = p->target + b * p->H * p->W,
                  *local = SET_AT(p, const int32_t, AVS_SET_LOCAL) + b * p->K;
    if (SET_AT(p, const int32_t, AVS_SET_ROW)[2 * b] < 1) return;
    float xy[2];
    avs_set_labels l;
    int used = 0;
    set_point(p, 0, b, b, 0, P, i % P, xy);
    const avs_set_corners c = set_corners(xy, p->H, p->W);
    for (int k = 0; k < 4; k++) {
        l.of[k] = 0;
        l.share[k] = 0.f;
    }
    for (int k = 0; k < 4; k++) { /* corners of one class are one share */
        const int32_t cls = map[c.at[k]],
                      m = cls >= 0 && cls < p->K && cls != AVS_SET_LOSS_IGNORE ? local[cls] : -1;
        int at = 0;
        if (m < 0 || c.w[k] == 0.f) continue;
        while (at < used && l.of[at] != m) at++;
        used += at == used;
        l.of[at] = m;
        l.share[at] += c.w[k];
    }
    SET_AT(p, avs_set_corners, AVS_SET_SPOT)[i] = set_corners(xy, p->h, p->w);
    SET_AT(p, avs_set_labels, AVS_SET_LABEL)[i] = l;
}
AVS_OWN_EW(avs_set_table, avs_set_table_p)

/* ------------------------------------------------------------------ costs */

AVS_FN float set_top(const float *x, int64_t n)
{
    float m = x[0];
    for (int64_t i = 1; i < n; i++) m = x[i] > m ? x[i] : m;
    return m;
}

AVS_FN double set_exp_sum(const float *x, int64_t n, float top)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)avs_expf(x[i] - top);
    return s;
}

/* Index = query and place of a target: a warp over the points. */
typedef avs_set_loss_p avs_set_cost_p;
AVS_FN void avs_set_cost_body(const avs_set_cost_p *p, int64_t i)
{
    const int64_t P = p->a.points, m = i % p->K, bn = i / p->K, b = bn / p->Q;
    if (m >= SET_AT(p, const int32_t, AVS_SET_ROW)[2 * b]) return;
    const float *map = p->masks + bn * p->h * p->w, *logit = p->classes + bn * (p->K + 1);
    const avs_set_corners *spot = SET_AT(p, const avs_set_corners, AVS_SET_SPOT) + b * P;
    const avs_set_labels *label = SET_AT(p, const avs_set_labels, AVS_SET_LABEL) + b * P;
    double plus = 0, all = 0, xt = 0, st = 0, tt = 0;
    for (int64_t k = AVS_LANE; k < P; k += AVS_LANES) {
        const float x = set_sampled(map, &spot[k]);
        float s;
        plus += (double)set_softplus(x, &s);
        all += (double)s;
        for (int j = 0; j < 4; j++) {
            if (label[k].of[j] != m || !(label[k].share[j] > 0.f)) continue;
            const double share = (double)label[k].share[j];
            xt += share * (double)x;
            st += share * (double)s;
            tt += share;
        }
    }
    plus = avs_lane_sum_d(plus);
    all = avs_lane_sum_d(all);
    xt = avs_lane_sum_d(xt);
    st = avs_lane_sum_d(st);
    tt = avs_lane_sum_d(tt);
    if (AVS_LANE != 0) return;
    const int32_t cls = SET_AT(p, const int32_t, AVS_SET_CLASS)[b * p->K + m];
    const float top = set_top(logit, p->K + 1);
    const double of = set_exp_sum(logit, p->K + 1, top), chance = (double)avs_expf(logit[cls] - top) / of;
    double cost = 5 * (plus - xt) / (double)P - chance + 5 * (1 - (2 * st + 1) / (all + tt + 1));
    if (!(cost < 1e10)) cost = 1e10; /* not a number, or beyond all others */
    SET_AT(p, double, AVS_SET_COST)[bn * p->K + m] = cost;
    p->cost[bn * p->K + cls] = (float)cost;
}
AVS_OWN_ROW(avs_set_cost, avs_set_cost_p)

/* Index = row: a warp assigns, its first lane lists the pairs. */
typedef avs_set_loss_p avs_set_match_p;
AVS_FN void avs_set_match_body(const avs_set_match_p *p, int64_t b)
{
    const int32_t *row = SET_AT(p, const int32_t, AVS_SET_ROW) + 2 * b, M = row[0];
    const int64_t Q = p->Q, K = p->K, most = Q > K ? Q : K,
                  n_pairs = SET_AT(p, avs_set_head, AVS_SET_HEAD)->n_pairs;
    const double *cost = SET_AT(p, const double, AVS_SET_COST) + b * Q * K;
    int32_t *match = p->match + b * Q, *column = SET_AT(p, int32_t, AVS_SET_COLUMN) + b * most;
    char *scratch = SET_AT(p, char, AVS_SET_ASSIGN) + (size_t)b * p->assign_bytes;
    for (int64_t n = AVS_LANE; n < Q; n += AVS_LANES) match[n] = -1;
    AVS_LANE_SYNC();
    if (M < 1) return;
    if (M <= Q) {
        avs_assign(cost, 1, K, M, (int)Q, scratch, column);
        for (int32_t m = AVS_LANE; m < M; m += AVS_LANES) match[column[m]] = m;
    } else {
        avs_assign(cost, K, 1, (int)Q, M, scratch, column);
        for (int64_t n = AVS_LANE; n < Q; n += AVS_LANES) match[n] = column[n];
    }
    AVS_LANE_SYNC();
    int32_t nth = 0;
    for (int64_t n = 0; n < Q && AVS_LANE == 0; n++) {
        if (match[n] < 0) continue;
        if (row[1] + nth < n_pairs) {
            avs_set_pair *one = SET_AT(p, avs_set_pair, AVS_SET_PAIR) + row[1] + nth;
            one->b = (int32_t)b;
            one->n = (int32_t)n;
            one->cls = SET_AT(p, const int32_t, AVS_SET_CLASS)[b * K + match[n]];
            one->nth = nth;
        }
        nth++;
    }
}
AVS_OWN_ROW(avs_set_match, avs_set_match_p)

/* ------------------------------------------------------------------ pairs */

/* Sum over the threads of a block, for each of them. */
AVS_FN double set_block_sum(double v, double *warp)
{
    double s = 0;
    v = avs_lane_sum_d(v);
    AVS_SYNC();
    if (AVS_LANE == 0) warp[AVS_THREAD / 32] = v;
    AVS_SYNC();
    for (int i = 0; i < SET_THREADS / 32; i++) s += warp[i];
    return s;
}

/* The scratch of one slot. */
typedef struct {
    uint32_t *key;
    avs_set_corners *spot;
    float *x, *t;
    int64_t *sum;
} set_slot;

AVS_FN set_slot set_slot_of(const avs_set_loss_p *p, int64_t i)
{
    const int64_t P = p->a.points;
    set_slot s;
    s.key = SET_AT(p, uint32_t, AVS_SET_KEY) + i * (p->a.candidates + 1);
    s.spot = SET_AT(p, avs_set_corners, AVS_SET_SPOTS) + i * P;
    s.x = SET_AT(p, float, AVS_SET_X) + i * P;
    s.t = SET_AT(p, float, AVS_SET_T) + i * P;
    s.sum = SET_AT(p, int64_t, AVS_SET_SUM) + i * p->h * p->w;
    return s;
}

/* What the map and the target are at the point that becomes number k of the pair. */
AVS_FN void set_keep(const avs_set_loss_p *p, const avs_set_pair *pair, const set_slot *s, const float *map,
                     const float xy[2], int64_t k)
{
    const int32_t *target = p->target + (int64_t)pair->b * p->H * p->W;
    const avs_set_corners c = set_corners(xy, p->H, p->W), at = set_corners(xy, p->h, p->w);
    float t = 0.f;
    for (int j = 0; j < 4; j++) t += target[c.at[j]] == pair->cls ? c.w[j] : 0.f;
    s->spot[k] = at;
    s->x[k] = set_sampled(map, &at);
    s->t[k] = t;
}

/* The U-th smallest of the keys. */
AVS_FN uint32_t set_limit(const set_slot *s, int64_t C, int64_t U, double *warp)
{
    uint32_t limit = 0;
    int64_t left = U;                     /* of those whose higher bits are the limit's */
    for (int bit = 30; bit >= 0; bit--) { /* |x| has no sign */
        double mine = 0;
        for (int64_t k = AVS_THREAD; k < C; k += SET_THREADS)
            mine += s->key[k] >> bit == limit >> bit ? 1 : 0;
        const int64_t zeros = (int64_t)set_block_sum(mine, warp);
        if (left > zeros) {
            left -= zeros;
            limit |= 1u << bit;
        }
    }
    return limit;
}

/* The points of the pair: the U most doubtful candidates in their order, then the others. Each thread takes candidates in
 * a run. */
AVS_FN void set_choose(const avs_set_loss_p *p, const avs_set_pair *pair, int64_t i, const set_slot *s,
                       const float *map, double *warp, int32_t (*before)[2])
{
    const int64_t C = p->a.candidates, U = p->a.uncertain, P = p->a.points;
    float xy[2];
    for (int64_t k = AVS_THREAD; k < C && U; k += SET_THREADS) {
        set_point(p, 1, pair->b, i, pair->nth, C, k, xy);
        const avs_set_corners c = set_corners(xy, p->h, p->w);
        s->key[k] = avs_bits(avs_absf(set_sampled(map, &c)));
    }
    AVS_SYNC();
    if (U) {
        const uint32_t limit = set_limit(s, C, U, warp);
        const int64_t run = (C + SET_THREADS - 1) / SET_THREADS, from = AVS_THREAD * run,
                      to = from + run < C ? from + run : C;
        int32_t below = 0, equal = 0, all_below = 0;
        for (int64_t k = from; k < to; k++) {
            below += s->key[k] < limit;
            equal += s->key[k] == limit;
        }
        before[AVS_THREAD][0] = below;
        before[AVS_THREAD][1] = equal;
        AVS_SYNC();
        below = equal = 0;
        for (int t = 0; t < SET_THREADS; t++) {
            all_below += before[t][0];
            below += t < AVS_THREAD ? before[t][0] : 0;
            equal += t < AVS_THREAD ? before[t][1] : 0;
        }
        const int32_t ties = (int32_t)U - all_below;
        for (int64_t k = from; k < to; k++) {
            const uint32_t key = s->key[k];
            if (key < limit || (key == limit && equal < ties)) {
                set_point(p, 1, pair->b, i, pair->nth, C, k, xy);
                set_keep(p, pair, s, map, xy, below + (equal < ties ? equal : ties));
            }
            below += key < limit;
            equal += key == limit;
        }
    }
    for (int64_t k = AVS_THREAD; k < P - U; k += SET_THREADS) {
        set_point(p, 2, pair->b, i, pair->nth, P - U, k, xy);
        set_keep(p, pair, s, map, xy, U + k);
    }
    AVS_SYNC();
}

/* BCE and dice of pair i over the number of targets, and the gradient of its mask. Of P points each adds less than `most`
 * to a pixel, so that P * most * scale fits 62 bits. */
AVS_FN void set_run_pair(const avs_set_loss_p *p, int64_t i, const set_slot *s, double *warp,
                         int32_t (*before)[2])
{
    const avs_set_pair pair = SET_AT(p, const avs_set_pair, AVS_SET_PAIR)[i];
    const int64_t P = p->a.points, pixels = p->h * p->w, at = ((int64_t)pair.b * p->Q + pair.n) * pixels;
    const double num = SET_AT(p, avs_set_head, AVS_SET_HEAD)->num;
    double bce = 0, both = 0, sum = 0;
    set_choose(p, &pair, i, s, p->masks + at, warp, before);
    for (int64_t k = AVS_THREAD; k < pixels; k += SET_THREADS) s->sum[k] = 0;
    for (int64_t k = AVS_THREAD; k < P; k += SET_THREADS) {
        float v;
        bce += (double)(set_softplus(s->x[k], &v) - s->x[k] * s->t[k]);
        both += (double)(v * s->t[k]);
        sum += (double)(v + s->t[k]);
        s->x[k] = v; /* from here on the sigmoid */
    }
    bce = set_block_sum(bce, warp);
    both = set_block_sum(both, warp);
    sum = 1 + set_block_sum(sum, warp);
    if (AVS_THREAD == 0) {
        SET_AT(p, double, AVS_SET_TERM)[2 * i] = bce / (double)P / num;
        SET_AT(p, double, AVS_SET_TERM)[2 * i + 1] = (1 - (2 * both + 1) / sum) / num;
    }
    const double gb = (double)p->a.w_mask / (double)P / num, wd = (double)p->a.w_dice / num, dt = -2 / sum,
                 d0 = (2 * both + 1) / (sum * sum);
    const double most = (gb < 0 ? -gb : gb) + (wd < 0 ? -wd : wd) * (2 / sum + d0);
    double scale = 4611686018427387904.0 / ((double)P * (most > 0 ? most : 1)); /* 2^62 */
    if (scale > 1152921504606846976.0) scale = 1152921504606846976.0;
    for (int64_t k = AVS_THREAD; k < P; k += SET_THREADS) {
        const double v = (double)s->x[k], t = (double)s->t[k],
                     g = gb * (v - t) + wd * (dt * t + d0) * v * (1 - v);
        for (int j = 0; j < 4; j++)
            if (s->spot[k].w[j] > 0.f)
                AVS_ATOMIC_ADD(&s->sum[s->spot[k].at[j]], (int64_t)((double)s->spot[k].w[j] * g * scale));
    }
    AVS_SYNC();
    for (int64_t k = AVS_THREAD; k < pixels; k += SET_THREADS)
        p->gmasks[at + k] = (float)((double)s->sum[k] / scale);
}

AVS_GLOBAL(set_pairs, avs_set_loss_p)
{
    AVS_SHARED double warp[SET_THREADS / 32];
    AVS_SHARED int32_t before[SET_THREADS][2];
    const set_slot s = set_slot_of(&p, AVS_BLOCK);
    const int64_t n = SET_AT(&p, avs_set_head, AVS_SET_HEAD)->n_pairs;
    for (int64_t i = AVS_BLOCK; i < n; i += AVS_GRID_DIM) {
        set_run_pair(&p, i, &s, warp, before);
        AVS_SYNC();
    }
}

/* ------------------------------------------------------------------ classes and terms */

/* Class and weight of query i; weight 0: its row does not count. */
AVS_FN float set_wanted(const avs_set_loss_p *p, int64_t i, int64_t *cls)
{
    const int64_t b = i / p->Q;
    const int32_t m = p->match[i];
    *cls = m < 0 ? p->K : SET_AT(p, const int32_t, AVS_SET_CLASS)[b * p->K + m];
    if (SET_AT(p, const int32_t, AVS_SET_ROW)[2 * b] < 0) return 0.f;
    return m < 0 ? p->a.no_object : 1.f;
}

AVS_GLOBAL(set_terms, avs_set_loss_p)
{
    AVS_SHARED double warp[SET_THREADS / 32];
    const int64_t n = SET_AT(&p, avs_set_head, AVS_SET_HEAD)->n_pairs;
    const double *term = SET_AT(&p, const double, AVS_SET_TERM);
    double of = 0, sum = 0, mask = 0, dice = 0;
    int64_t cls;
    for (int64_t i = AVS_THREAD; i < p.B * p.Q; i += SET_THREADS) of += (double)set_wanted(&p, i, &cls);
    of = set_block_sum(of, warp);
    for (int64_t i = AVS_THREAD; i < p.B * p.Q && of > 0; i += SET_THREADS) {
        const float *x = p.classes + i * (p.K + 1), weight = set_wanted(&p, i, &cls);
        if (weight == 0.f) continue;
        const float top = set_top(x, p.K + 1);
        const double e = set_exp_sum(x, p.K + 1, top), k = (double)p.a.w_class * (double)weight / of;
        float *g = p.gclasses + i * (p.K + 1);
        for (int64_t j = 0; j <= p.K; j++)
            g[j] = (float)(k * ((double)avs_expf(x[j] - top) / e - (j == cls ? 1 : 0)));
        sum += (double)weight * ((double)avs_logf((float)e) + (double)(top - x[cls]));
    }
    for (int64_t i = AVS_THREAD; i < n; i += SET_THREADS) {
        mask += term[2 * i];
        dice += term[2 * i + 1];
    }
    sum = set_block_sum(sum, warp);
    mask = set_block_sum(mask, warp);
    dice = set_block_sum(dice, warp);
    if (AVS_THREAD != 0) return;
    const double entropy = of > 0 ? sum / of : 0;
    p.terms[0] =
        (float)((double)p.a.w_class * entropy + (double)p.a.w_mask * mask + (double)p.a.w_dice * dice);
    p.terms[1] = (float)entropy;
    p.terms[2] = (float)mask;
    p.terms[3] = (float)dice;
}

AVS_HOST(int) avs_set_loss_cuda(const avs_set_loss_p *p, int64_t n, void *stream)
{
    const int64_t maps = p->B * p->Q * p->h * p->w, classes = p->B * p->Q * (p->K + 1),
                  pairs = p->B * (p->Q < p->K ? p->Q : p->K),
                  slots = pairs < AVS_SET_SLOTS ? pairs : AVS_SET_SLOTS;
    (void)n;
    int rc = avs_set_clear_cuda(p, maps > classes ? maps : classes, stream);
    if (!rc) rc = avs_set_flag_cuda(p, p->B * p->H * p->W, stream);
    if (!rc) rc = avs_set_list_cuda(p, p->B, stream);
    if (!rc) rc = avs_set_begin_cuda(p, p->B, stream);
    if (!rc) rc = avs_set_table_cuda(p, p->B * p->a.points, stream);
    if (!rc) rc = avs_set_cost_cuda(p, p->B * p->Q * p->K, stream);
    if (!rc) rc = avs_set_match_cuda(p, p->B, stream);
    if (!rc) rc = AVS_LAUNCH(set_pairs, slots, SET_THREADS, stream, *p);
    return rc ? rc : AVS_LAUNCH(set_terms, 1, SET_THREADS, stream, *p);
}
