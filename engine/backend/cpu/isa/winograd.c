/* Winograd convolutions, the part that runs for every call: input transform, matrix products, output transform.
 * Products lie as [point][panel][tile][panel width]; inputs as winograd_tile.h says. */
#include "engine/backend/cpu/isa/winograd_tile.h"

#include <omp.h>

/* ------------------------------------------------------------------ one-dimensional output transforms */

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

AVS_FN vec activate(int act, vec v)
{
    if (act == AVS_ACT_NONE) return v;
    v = (vec)((ivec)v & (v > 0.0f));
    if (act != AVS_ACT_RELU6) return v;
    const vec six = (vec){0} + 6.0f;
    const ivec is_more = v > six;
    return (vec)(((ivec)six & is_more) | ((ivec)v & ~is_more));
}

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
