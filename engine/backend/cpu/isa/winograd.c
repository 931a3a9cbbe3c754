/* Winograd convolutions, the part that runs for every call: input transform, matrix products, output transform.
 *
 * Transforms run over channels, 16 at a time. The transformed input of a block lies as [point][group of 16 channels]
 * [tile][16], so that the matrix kernel reads a tile's channels at constant offsets and the transform stores whole
 * vectors; products lie as [point][panel][tile][panel width]. */
#include "engine/backend/cpu/isa/isa.h"
#include "engine/backend/cpu/winograd.h"

#include <omp.h>

#if defined(__AVX512F__)
#define VEC      16
#define ROWS     14
#define ISA_NAME "avx512_core"
#elif defined(__AVX2__)
#define VEC      8
#define ROWS     6
#define ISA_NAME "avx2"
#else
#define VEC      4
#define ROWS     6
#define ISA_NAME "baseline"
#endif
enum { LANES = AVS_WINOGRAD_LANES, PANEL = 2 * VEC };

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* A vector, and the same at any address of floats. */
typedef float vec __attribute__((vector_size(VEC * 4)));
typedef float uvec __attribute__((vector_size(VEC * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(VEC * 4)));

AVS_FN vec load(const float *p)
{
    return *(const uvec *)p;
}
AVS_FN void store(float *p, vec v)
{
    *(uvec *)p = v;
}
/* The first n of a vector's elements; the rest read as 0 and stay as they are. */
AVS_FN vec load_n(const float *p, int64_t n)
{
    if (n >= VEC) return load(p);
    float t[VEC] = {0};
    for (int64_t i = 0; i < n; i++) t[i] = p[i];
    return load(t);
}
AVS_FN void store_n(float *p, vec v, int64_t n)
{
    if (n >= VEC) {
        store(p, v);
        return;
    }
    float t[VEC];
    store(t, v);
    for (int64_t i = 0; i < n; i++) p[i] = t[i];
}
AVS_FN vec activate(int act, vec v)
{
    if (act == AVS_ACT_NONE) return v;
    v = (vec)((ivec)v & (v > 0.0f));
    if (act != AVS_ACT_RELU6) return v;
    const vec six = (vec){0} + 6.0f;
    const ivec is_more = v > six;
    return (vec)(((ivec)six & is_more) | ((ivec)v & ~is_more));
}

/* ------------------------------------------------------------------ one-dimensional transforms */

/* With p and q = 1/p: rows of B^T are the coefficients of x(x^2-p^2)(x^2-q^2) divided by each of its factors. */
static const float P = (float)AVS_WINOGRAD_P, Q = (float)(1 / AVS_WINOGRAD_P);
static const float P2 = (float)(AVS_WINOGRAD_P * AVS_WINOGRAD_P),
                   Q2 = (float)(1 / (AVS_WINOGRAD_P * AVS_WINOGRAD_P));
static const float P3 = (float)(AVS_WINOGRAD_P * AVS_WINOGRAD_P * AVS_WINOGRAD_P),
                   Q3 = (float)(1 / (AVS_WINOGRAD_P * AVS_WINOGRAD_P * AVS_WINOGRAD_P));
static const float S2 = (float)(AVS_WINOGRAD_P * AVS_WINOGRAD_P + 1 / (AVS_WINOGRAD_P * AVS_WINOGRAD_P));

AVS_FN void in4(const vec *d, vec *o)
{
    const vec e = d[4] - Q2 * d[2], t = d[3] - Q2 * d[1];
    const vec f = d[4] - P2 * d[2], u = d[3] - P2 * d[1];
    o[0] = d[0] + d[4] - S2 * d[2];
    o[1] = e + P * t;
    o[2] = e - P * t;
    o[3] = f + Q * u;
    o[4] = f - Q * u;
    o[5] = d[1] + d[5] - S2 * d[3];
}
AVS_FN void in2(const vec *d, vec *o)
{
    o[0] = d[2] - d[0];
    o[1] = d[1] + d[2];
    o[2] = d[2] - d[1];
    o[3] = d[3] - d[1];
}
AVS_FN void in_1d(int m, const vec *d, vec *o)
{
    if (m == 4)
        in4(d, o);
    else
        in2(d, o);
}

AVS_FN void out4(const vec *d, vec *o)
{
    const vec s = d[1] + d[2], t = d[1] - d[2], u = d[3] + d[4], v = d[3] - d[4];
    o[0] = d[0] + s + u;
    o[1] = P * t + Q * v;
    o[2] = P2 * s + Q2 * u;
    o[3] = P3 * t + Q3 * v + d[5];
}
AVS_FN void out2(const vec *d, vec *o)
{
    o[0] = d[0] + d[1] + d[2];
    o[1] = d[1] - d[2] + d[3];
}
AVS_FN void out_1d(int m, const vec *d, vec *o)
{
    if (m == 4)
        out4(d, o);
    else
        out2(d, o);
}

/* ------------------------------------------------------------------ input */

/* VEC channels of one patch at p, whose rows and columns are `row` and `col` floats apart. */
AVS_FN void in_patch(int m, const float *p, int64_t row, int64_t col, float *v, int64_t point)
{
    const int n = m + 2;
    vec t[6][6];
    UNROLL for (int j = 0; j < n; j++)
    {
        vec d[6], o[6];
        UNROLL for (int i = 0; i < n; i++) d[i] = load(p + i * row + j * col);
        in_1d(m, d, o);
        UNROLL for (int i = 0; i < n; i++) t[i][j] = o[i];
    }
    UNROLL for (int i = 0; i < n; i++)
    {
        vec o[6];
        in_1d(m, t[i], o);
        UNROLL for (int j = 0; j < n; j++) store(v + (i * n + j) * point, o[j]);
    }
}

/* The patch of 16 channels with zeros where it reaches beyond the map or the last channel. */
static void copy_patch(const avs_winograd *s, const float *x, int64_t h0, int64_t w0, int64_t c0, float *to)
{
    const int n = s->m + 2;
    const int64_t nc = avs_min64(LANES, s->Ci - c0);
    for (int64_t h = h0; h < h0 + n; h++) {
        for (int64_t w = w0; w < w0 + n; w++, to += LANES) {
            const bool is_inside = h >= 0 && h < s->H && w >= 0 && w < s->W;
            const float *from = is_inside ? x + (h * s->W + w) * s->Ci + c0 : NULL;
            for (int64_t c = 0; c < LANES; c += VEC)
                store(to + c, is_inside && c < nc ? load_n(from + c, nc - c) : (vec){0});
        }
    }
}

/* Where a tile lies: its map, its first output row and column. */
typedef struct {
    int64_t b, h, w;
} tile_at;

AVS_FN tile_at locate(const avs_winograd *s, int64_t tile)
{
    const int64_t per_map = (int64_t)s->th * s->tw, in_map = tile % per_map;
    return (tile_at){tile / per_map, in_map / s->tw * s->m, in_map % s->tw * s->m};
}

/* Transforms one tile into place t of the block at v. */
AVS_FN void in_tile(int m, const avs_winograd_call *c, int64_t tile, int64_t t, float *v)
{
    const avs_winograd *s = &c->s;
    const int n = m + 2;
    const tile_at at = locate(s, tile);
    const int64_t h0 = at.h - s->ph, w0 = at.w - s->pw, Ci = s->Ci, W = s->W;
    const float *x = c->x + at.b * s->H * W * Ci;
    const bool is_inside = h0 >= 0 && w0 >= 0 && h0 + n <= s->H && w0 + n <= W;
    const bool has_next = is_inside && w0 + m + n <= W;
    for (int64_t g = 0; g < s->groups; g++) {
        float *to = v + g * s->v_group + t * LANES, patch[36 * LANES];
        const bool is_direct = is_inside && (g + 1) * LANES <= Ci;
        const float *p = patch;
        if (is_direct)
            p = x + (h0 * W + w0) * Ci + g * LANES;
        else
            copy_patch(s, x, h0, w0, g * LANES, patch);
        const int64_t row = is_direct ? W * Ci : n * LANES, col = is_direct ? Ci : LANES;
        if (has_next && is_direct) { /* what the next tile adds, far ahead of its use */
            UNROLL for (int i = 0; i < n; i++) UNROLL for (int j = n; j < n + m; j++)
                __builtin_prefetch(p + i * row + j * col);
        }
        for (int i = 0; i < LANES; i += VEC) in_patch(m, p + i, row, col, to + i, s->v_point);
    }
}

/* ------------------------------------------------------------------ products */

/* `rows` tiles by one panel: out[r][j] = sum over k of v[k/16][r][k%16] * u[k][j]. */
AVS_FN void product(int rows, int64_t groups, const float *v, int64_t v_group, const float *u, float *out)
{
    vec acc[ROWS][2];
    UNROLL for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = (vec){0};
    for (int64_t g = 0; g < groups; g++, v += v_group) {
        UNROLL for (int k = 0; k < LANES; k++, u += PANEL)
        {
            const vec b0 = load(u), b1 = load(u + VEC);
            UNROLL for (int r = 0; r < rows; r++)
            {
                acc[r][0] += v[r * LANES + k] * b0;
                acc[r][1] += v[r * LANES + k] * b1;
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
    {
        store(out + r * PANEL, acc[r][0]);
        store(out + r * PANEL + VEC, acc[r][1]);
    }
}

static void product_rows(int rows, int64_t groups, const float *v, int64_t v_group, const float *u,
                         float *out)
{
    switch (rows) {
#define CASE(n)                                                                                              \
    case n:                                                                                                  \
        product(n, groups, v, v_group, u, out);                                                              \
        break;
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
#if ROWS > 6
        CASE(7)
        CASE(8)
        CASE(9)
        CASE(10)
        CASE(11)
        CASE(12)
        CASE(13)
        CASE(14)
#endif
#undef CASE
    default:
        break;
    }
}

/* One point, one panel, all tiles of the block, in nearly equal pieces. */
static void product_panel(const avs_winograd *s, int64_t tiles, const float *v, const float *u, float *out)
{
    const int64_t pieces = avs_ceil_div(tiles, ROWS);
    for (int64_t i = 0, t = 0; i < pieces; i++) {
        const int64_t rows = (tiles - t) / (pieces - i);
        product_rows((int)rows, s->groups, v + t * LANES, s->v_group, u, out + t * PANEL);
        t += rows;
    }
}

/* ------------------------------------------------------------------ output */

AVS_FN void out_patch(int m, const float *in, int64_t point, vec y[4][4])
{
    const int n = m + 2;
    vec t[4][6];
    UNROLL for (int j = 0; j < n; j++)
    {
        vec d[6], o[4];
        UNROLL for (int i = 0; i < n; i++) d[i] = load(in + (i * n + j) * point);
        out_1d(m, d, o);
        UNROLL for (int i = 0; i < m; i++) t[i][j] = o[i];
    }
    UNROLL for (int i = 0; i < m; i++) out_1d(m, t[i], y[i]);
}

AVS_FN void out_tile(int m, const avs_winograd_call *c, int64_t tile, int64_t t, const float *in)
{
    const avs_winograd *s = &c->s;
    const tile_at at = locate(s, tile);
    const int64_t nh = avs_min64(m, s->Ho - at.h), nw = avs_min64(m, s->Wo - at.w), Co = s->Co;
    const int64_t first = ((at.b * s->Ho + at.h) * s->Wo + at.w) * Co;
    for (int64_t co = 0; co < Co; co += VEC) {
        const float *from = in + co / PANEL * s->m_panel + t * PANEL + co % PANEL;
        const int64_t left = Co - co;
        const vec bias = c->bias ? load_n(c->bias + co, left) : (vec){0};
        vec y[4][4];
        out_patch(m, from, s->m_point, y);
        for (int64_t i = 0; i < nh; i++) {
            for (int64_t j = 0; j < nw; j++) {
                const int64_t at_y = first + (i * s->Wo + j) * Co + co;
                vec r = y[i][j] + bias;
                if (c->residual) r += load_n(c->residual + at_y, left);
                store_n(c->y + at_y, activate(s->act, r), left);
            }
        }
    }
}

/* ------------------------------------------------------------------ blocks */

/* What one block works in. */
typedef struct {
    int64_t first, tiles, points;
    float *v, *out;
} block;

static block block_at(const avs_winograd_call *c, int64_t first, int slot)
{
    const avs_winograd *s = &c->s;
    const int64_t points = (int64_t)(s->m + 2) * (s->m + 2), all = (int64_t)s->B * s->th * s->tw;
    block b = {.first = first, .tiles = avs_min64(s->block, all - first), .points = points};
    b.v = (float *)c->work + slot * points * (s->v_point + s->m_point);
    b.out = b.v + points * s->v_point;
    return b;
}

static void block_in(const avs_winograd_call *c, const block *b, int64_t t)
{
    if (c->s.m == 4)
        in_tile(4, c, b->first + t, t, b->v);
    else
        in_tile(2, c, b->first + t, t, b->v);
}

static void block_product(const avs_winograd_call *c, const block *b, int64_t task)
{
    const avs_winograd *s = &c->s;
    const int64_t point = task / s->panels, panel = task % s->panels;
    product_panel(s, b->tiles, b->v + point * s->v_point, c->u + task * s->groups * LANES * PANEL,
                  b->out + point * s->m_point + panel * s->m_panel);
}

static void block_out(const avs_winograd_call *c, const block *b, int64_t t)
{
    if (c->s.m == 4)
        out_tile(4, c, b->first + t, t, b->out);
    else
        out_tile(2, c, b->first + t, t, b->out);
}

/* All threads share every block. */
static void run_shared(const avs_winograd_call *c, int64_t all)
{
#pragma omp parallel
    for (int64_t first = 0; first < all; first += c->s.block) {
        const block b = block_at(c, first, 0);
        const int64_t tasks = b.points * c->s.panels;
#pragma omp for schedule(static)
        for (int64_t t = 0; t < b.tiles; t++) block_in(c, &b, t);
#pragma omp for schedule(static)
        for (int64_t k = 0; k < tasks; k++) block_product(c, &b, k);
#pragma omp for schedule(static) nowait /* the next block's inputs do not touch the products */
        for (int64_t t = 0; t < b.tiles; t++) block_out(c, &b, t);
    }
}

/* Each thread has blocks of its own. */
static void run_apart(const avs_winograd_call *c, int64_t all)
{
#pragma omp parallel for schedule(dynamic) num_threads(c->s.slots)
    for (int64_t first = 0; first < all; first += c->s.block) {
        const block b = block_at(c, first, omp_get_thread_num());
        const int64_t tasks = b.points * c->s.panels;
        for (int64_t t = 0; t < b.tiles; t++) block_in(c, &b, t);
        for (int64_t k = 0; k < tasks; k++) block_product(c, &b, k);
        for (int64_t t = 0; t < b.tiles; t++) block_out(c, &b, t);
    }
}

static void run(const avs_winograd_call *c)
{
    const int64_t all = (int64_t)c->s.B * c->s.th * c->s.tw;
    if (c->s.is_shared)
        run_shared(c, all);
    else
        run_apart(c, all);
}

const avs_winograd_kernel AVS_ISA(avs_winograd) = {.impl4 = "winograd4x3:" ISA_NAME,
                                                   .impl2 = "winograd2x3:" ISA_NAME,
                                                   .panel = PANEL,
                                                   .rows = ROWS,
                                                   .is_fast = VEC >= 8,
                                                   .run = run};
