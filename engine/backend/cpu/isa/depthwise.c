/* Weight gradient of depthwise convolutions: gw[c][ky][kx] = sum over b, y, x of gy[b,y,x,c] * x[b, y s + ky d - p, ..,c].
 *
 * A group of channels (a few vectors) and a run of output rows are one task. For each row and each ky the sums of up to
 * five kx stay in registers while x runs along the row, so an input row is read once per ky from the cache and nothing
 * is gathered. Runs are cut by size alone and summed in order: the bits do not depend on the number of threads. */
#include <string.h>
#include "engine/backend/cpu/isa/isa.h"

#if defined(__AVX512F__)
#define VEC 16
#define TOP 4 /* vectors of the widest group: five kx times TOP sums have to fit the registers */
#elif defined(__AVX2__)
#define VEC 8
#define TOP 2
#else
#define VEC 4
#define TOP 2
#endif
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
enum { MOST_KX = 5, MOST_RUNS = 16 };

/* A vector, and the same at any address of floats. */
typedef float vec __attribute__((vector_size(VEC * 4)));
typedef float uvec __attribute__((vector_size(VEC * 4), aligned(4), may_alias));

AVS_FN vec load(const float *p)
{
    return *(const uvec *)p;
}
AVS_FN void store(float *p, vec v)
{
    *(uvec *)p = v;
}

typedef struct {
    avs_conv_attr a;
    const float *x, *gy;
    float *part; /* [run][tap][C padded per group] */
    int32_t H, W, C, Ho, Wo;
    int32_t rows, runs;          /* all output rows, and into how many runs they are cut */
    int32_t wide, groups, slots; /* groups of TOP vectors, all groups, floats of all groups */
} job;

/* Channels [c0, c0 + width) of the map, of which the first `skip` belong to the group before; slot: in `part`. */
typedef struct {
    int32_t c0, width, skip, slot;
} group;

/* Groups of TOP vectors, then of one; a last incomplete vector is moved back to lie inside. With fewer channels than a
 * vector: groups of one channel. */
static group group_at(const job *j, int i)
{
    if (j->C < VEC) return (group){i, 1, 0, i};
    if (i < j->wide) return (group){i * TOP * VEC, TOP * VEC, 0, i * TOP * VEC};
    const int slot = j->wide * TOP * VEC + (i - j->wide) * VEC, over = slot + VEC - j->C;
    return (group){over > 0 ? j->C - VEC : slot, VEC, over > 0 ? over : 0, slot};
}

static job job_of(const avs_kernel_args *k)
{
    const avs_type *x = &k->in[0].type, *y = &k->in[1].type;
    job j = {.a = *(const avs_conv_attr *)k->attr,
             .x = k->in[0].data,
             .gy = k->in[1].data,
             .H = x->d[1],
             .W = x->d[2],
             .C = x->d[3],
             .Ho = y->d[1],
             .Wo = y->d[2],
             .rows = y->d[0] * y->d[1]};
    const int64_t products = (int64_t)j.rows * j.Wo * j.C * j.a.kh * j.a.kw;
    j.runs = (int32_t)avs_min64(avs_min64(MOST_RUNS, j.rows), 1 + products / (1 << 21));
    j.wide = j.C < VEC ? 0 : j.C / (TOP * VEC);
    j.groups = j.C < VEC ? j.C : j.wide + (j.C - j.wide * TOP * VEC + VEC - 1) / VEC;
    j.slots = j.C < VEC ? j.C : j.wide * TOP * VEC + (j.groups - j.wide) * VEC;
    return j;
}

size_t AVS_ISA(avs_cpu_conv2d_bwd_w_work)(const avs_kernel_args *k)
{
    const job j = job_of(k);
    return sizeof(float) * (size_t)j.runs * (size_t)(j.a.kh * j.a.kw) * (size_t)j.slots;
}

/* ------------------------------------------------------------------ one row, K taps beside each other */

/* Operands of output row (b, y) against input row iy, from channel c0 on; sum: the tap (ky, kx0), `pitch` apart. */
typedef struct {
    const float *x, *gy;
    float *sum;
    int64_t pitch;
    int32_t kx0;
} row;

/* Output positions [from, to) whose K taps all lie inside the map. */
static void inside(const job *j, int kx0, int K, int *from, int *to)
{
    const int first = j->a.pw - kx0 * j->a.dw, last = j->W - 1 + j->a.pw - (kx0 + K - 1) * j->a.dw;
    const int lo = first > 0 ? (first + j->a.sw - 1) / j->a.sw : 0, hi = last < 0 ? 0 : last / j->a.sw + 1;
    *from = lo < j->Wo ? lo : j->Wo;
    *to = hi < j->Wo ? hi : j->Wo;
    if (*to < *from) *to = *from;
}

AVS_FN void pixel(const job *j, const row *r, vec sum[MOST_KX][TOP], int ox, const int K, const int n,
                  bool all)
{
    const int64_t C = j->C;
    const int ix = ox * j->a.sw - j->a.pw + r->kx0 * j->a.dw;
    const float *gy = r->gy + ox * C, *x = r->x + ix * C;
    vec g[TOP];
    UNROLL for (int v = 0; v < n; v++) g[v] = load(gy + v * VEC);
    UNROLL for (int k = 0; k < K; k++)
    {
        const int at = ix + k * j->a.dw;
        if (!all && (at < 0 || at >= j->W)) continue;
        UNROLL for (int v = 0; v < n; v++) sum[k][v] += g[v] * load(x + k * j->a.dw * C + v * VEC);
    }
}

AVS_FN void taps(const job *j, const row *r, const int K, const int n)
{
    vec sum[MOST_KX][TOP];
    int from, to;
    inside(j, r->kx0, K, &from, &to);
    UNROLL for (int k = 0; k < K; k++)
    {
        UNROLL for (int v = 0; v < n; v++) sum[k][v] = load(r->sum + k * r->pitch + v * VEC);
    }
    for (int ox = 0; ox < from; ox++) pixel(j, r, sum, ox, K, n, false);
    for (int ox = from; ox < to; ox++) pixel(j, r, sum, ox, K, n, true);
    for (int ox = to; ox < j->Wo; ox++) pixel(j, r, sum, ox, K, n, false);
    UNROLL for (int k = 0; k < K; k++)
    {
        UNROLL for (int v = 0; v < n; v++) store(r->sum + k * r->pitch + v * VEC, sum[k][v]);
    }
}

static void taps_of_one_channel(const job *j, const row *r)
{
    float s = 0;
    for (int ox = 0; ox < j->Wo; ox++) {
        const int ix = ox * j->a.sw - j->a.pw + r->kx0 * j->a.dw;
        if (ix >= 0 && ix < j->W) s += r->gy[(int64_t)ox * j->C] * r->x[(int64_t)ix * j->C];
    }
    *r->sum += s;
}

/* All kx of one ky: five, three or one at a time. */
static void all_taps(const job *j, const group *g, row r)
{
    for (int left = j->a.kw; left > 0;) {
        const int K = g->width == 1 ? 1 : left >= 5 ? 5 : left >= 3 ? 3 : 1;
        r.kx0 = j->a.kw - left;
        if (g->width == 1)
            taps_of_one_channel(j, &r);
        else if (g->width > VEC)
            K == 5 ? taps(j, &r, 5, TOP) : K == 3 ? taps(j, &r, 3, TOP) : taps(j, &r, 1, TOP);
        else
            K == 5 ? taps(j, &r, 5, 1) : K == 3 ? taps(j, &r, 3, 1) : taps(j, &r, 1, 1);
        r.sum += K * r.pitch;
        left -= K;
    }
}

static void run_task(const job *j, int task)
{
    const group g = group_at(j, task % j->groups);
    const int run = task / j->groups, n_taps = j->a.kh * j->a.kw;
    const int first = (int)((int64_t)j->rows * run / j->runs),
              last = (int)((int64_t)j->rows * (run + 1) / j->runs);
    float *part = j->part + (int64_t)run * n_taps * j->slots + g.slot;
    for (int t = 0; t < n_taps; t++) memset(part + (int64_t)t * j->slots, 0, sizeof(float) * (size_t)g.width);
    for (int i = first; i < last; i++) {
        const int b = i / j->Ho, oy = i % j->Ho;
        for (int ky = 0; ky < j->a.kh; ky++) {
            const int iy = oy * j->a.sh - j->a.ph + ky * j->a.dh;
            if (iy < 0 || iy >= j->H) continue;
            all_taps(j, &g,
                     (row){.x = j->x + ((int64_t)b * j->H + iy) * j->W * j->C + g.c0,
                           .gy = j->gy + (int64_t)i * j->Wo * j->C + g.c0,
                           .sum = part + (int64_t)ky * j->a.kw * j->slots,
                           .pitch = j->slots});
        }
    }
}

/* The runs' sums, in order, to where the weight's elements lie. */
static void gather_group(const job *j, int i, const avs_weight_place *at, float *gw)
{
    const group g = group_at(j, i);
    const int n_taps = j->a.kh * j->a.kw;
    for (int t = 0; t < n_taps; t++) {
        const int64_t tap = t / j->a.kw * at->ky + t % j->a.kw * at->kx;
        for (int c = g.skip; c < g.width; c++) {
            const int channel = g.c0 + c;
            const float *part = j->part + (int64_t)t * j->slots + g.slot + c;
            float s = *part;
            for (int r = 1; r < j->runs; r++) s += part[(int64_t)r * n_taps * j->slots];
            gw[channel / at->block * at->outer + channel % at->block + tap] = s;
        }
    }
}

int AVS_ISA(avs_cpu_conv2d_bwd_w)(const avs_cpu_call *c)
{
    if (!c->work) return AVS_ENOMEM;
    job j = job_of(&c->k);
    const avs_weight_place plain = {.block = 1, .outer = (int64_t)j.a.kh * j.a.kw, .ky = j.a.kw, .kx = 1};
    const avs_weight_place *at = c->place ? c->place : &plain;
    const int64_t products = (int64_t)j.rows * j.Wo * j.C * j.a.kh * j.a.kw;
    j.part = c->work;
#pragma omp parallel if (products >= 4 * AVS_PAR_MIN)
    {
#pragma omp for schedule(static)
        for (int t = 0; t < j.groups * j.runs; t++) run_task(&j, t);
#pragma omp for schedule(static)
        for (int i = 0; i < j.groups; i++) gather_group(&j, i, at, c->k.out[0].data);
    }
    return AVS_OK;
}
