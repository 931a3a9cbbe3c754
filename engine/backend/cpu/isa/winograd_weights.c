/* Winograd convolutions, what concerns weights: their transform G g G^T, and their gradient.
 *
 * With Y = A^T [ (G g G^T) * (B^T d B) ] A the gradient is the adjoint, dg = G^T [ sum over tiles of (B^T d B) *
 * (A dY A^T) ] G: n*n matrix products of [Ci x tiles] by [tiles x Co]. Inputs of a block of tiles lie as in
 * winograd_tile.h, gradients of outputs as [point][panel][tile][panel width], sums as [point][group][panel][16][panel
 * width]. Blocks are added in order and every sum is made by one thread, so no bit depends on their number. */
#include "engine/backend/cpu/isa/winograd_tile.h"

#include <string.h>

enum { GRAD_ROWS = VEC == 16 ? 8 : 4 }; /* input channels of one register tile */

/* Rows 1 to 4 of G for F4 are 1, p, p^2 by 1 / (2 p^2 (p^2 - q^2)), with both signs of p, then p and q exchanged. */
static const float A1 =
    (float)(1 / (2 * AVS_WINOGRAD_P * AVS_WINOGRAD_P *
                 (AVS_WINOGRAD_P * AVS_WINOGRAD_P - 1 / (AVS_WINOGRAD_P * AVS_WINOGRAD_P))));
static const float A2 =
    (float)(AVS_WINOGRAD_P * AVS_WINOGRAD_P /
            (2 * (1 / (AVS_WINOGRAD_P * AVS_WINOGRAD_P) - AVS_WINOGRAD_P * AVS_WINOGRAD_P)));

/* o[n] = G d[3] */
AVS_FN void weight_1d(int m, const vec *d, vec *o)
{
    if (m == 2) {
        const vec s = 0.5f * (d[0] + d[2]), t = 0.5f * d[1];
        o[0] = -d[0];
        o[1] = s + t;
        o[2] = s - t;
        o[3] = d[2];
        return;
    }
    const vec s = A1 * (d[0] + P2 * d[2]), t = A1 * P * d[1];
    const vec u = A2 * (d[0] + Q2 * d[2]), v = A2 * Q * d[1];
    o[0] = d[0];
    o[1] = s + t;
    o[2] = s - t;
    o[3] = u + v;
    o[4] = u - v;
    o[5] = d[2];
}

/* o[3] = G^T u[n] */
AVS_FN void weight_adjoint(int m, const vec *u, vec *o)
{
    if (m == 2) {
        const vec s = 0.5f * (u[1] + u[2]);
        o[0] = s - u[0];
        o[1] = 0.5f * (u[1] - u[2]);
        o[2] = s + u[3];
        return;
    }
    const vec s = A1 * (u[1] + u[2]), t = A1 * (u[1] - u[2]);
    const vec v = A2 * (u[3] + u[4]), w = A2 * (u[3] - u[4]);
    o[0] = u[0] + s + v;
    o[1] = P * t + Q * w;
    o[2] = P2 * s + Q2 * v + u[5];
}

/* o[n] = A d[m] */
AVS_FN void out_adjoint(int m, const vec *d, vec *o)
{
    if (m == 2) {
        o[0] = d[0];
        o[1] = d[0] + d[1];
        o[2] = d[0] - d[1];
        o[3] = d[1];
        return;
    }
    const vec s = d[0] + P2 * d[2], t = P * d[1] + P3 * d[3];
    const vec u = d[0] + Q2 * d[2], v = Q * d[1] + Q3 * d[3];
    o[0] = d[0];
    o[1] = s + t;
    o[2] = s - t;
    o[3] = u + v;
    o[4] = u - v;
    o[5] = d[3];
}

/* ------------------------------------------------------------------ weights */

/* Taps of 16 input by VEC output channels, [16][9][VEC], zeros beyond the last channel of either kind. */
static void gather_taps(const avs_winograd *s, const float *w, bool transposed, int64_t k0, int64_t j0,
                        float *to)
{
    const int64_t nk = avs_min64(LANES, s->Ci - k0), nj = avs_min64(VEC, s->Co - j0);
    if (nk < LANES || nj < VEC) memset(to, 0, sizeof(float) * LANES * 9 * VEC);
    if (transposed) { /* w[k][j][8 - tap] */
        for (int64_t k = 0; k < nk; k++) {
            const float *from = w + ((k0 + k) * s->Co + j0) * 9;
            for (int64_t j = 0; j < nj; j++)
                for (int t = 0; t < 9; t++) to[(k * 9 + t) * VEC + j] = from[j * 9 + 8 - t];
        }
        return;
    }
    for (int64_t j = 0; j < nj; j++) { /* w[j][k][tap] */
        const float *from = w + ((j0 + j) * s->Ci + k0) * 9;
        for (int64_t i = 0; i < nk * 9; i++) to[i * VEC + j] = from[i];
    }
}

AVS_FN void transform_taps(int m, const float *taps, float *u, int64_t point)
{
    const int n = m + 2;
    for (int k = 0; k < LANES; k++, taps += 9 * VEC, u += PANEL) {
        vec t[6][3];
        UNROLL for (int j = 0; j < 3; j++)
        {
            vec d[3], o[6];
            UNROLL for (int i = 0; i < 3; i++) d[i] = load(taps + (i * 3 + j) * VEC);
            weight_1d(m, d, o);
            UNROLL for (int i = 0; i < n; i++) t[i][j] = o[i];
        }
        UNROLL for (int i = 0; i < n; i++)
        {
            vec o[6];
            weight_1d(m, t[i], o);
            UNROLL for (int j = 0; j < n; j++) store(u + (i * n + j) * point, o[j]);
        }
    }
}

static void pack(const avs_winograd *s, const float *w, bool transposed, float *u)
{
    const int64_t K = (int64_t)s->groups * LANES, point = (int64_t)s->panels * K * PANEL;
    const int64_t tasks = (int64_t)s->panels * s->groups;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < tasks; i++) {
        const int64_t panel = i / s->groups, k0 = i % s->groups * LANES;
        for (int64_t j = 0; j < PANEL; j += VEC) {
            float taps[LANES * 9 * VEC];
            float *to = u + (panel * K + k0) * PANEL + j;
            gather_taps(s, w, transposed, k0, panel * PANEL + j, taps);
            if (s->m == 4)
                transform_taps(4, taps, to, point);
            else
                transform_taps(2, taps, to, point);
        }
    }
}

/* ------------------------------------------------------------------ gradients of outputs */

/* One tile of gy, zeros beyond the map, into place t of the block at `to`. */
AVS_FN void grad_tile(int m, const avs_winograd *s, const float *gy, int64_t tile, int64_t t, float *to)
{
    const int n = m + 2;
    const tile_at at = locate(s, tile);
    const int64_t nh = s->Ho - at.h, nw = s->Wo - at.w, Co = s->Co;
    const float *from = gy + ((at.b * s->Ho + at.h) * s->Wo + at.w) * Co;
    for (int64_t co = 0; co < (int64_t)s->panels * PANEL; co += VEC) {
        float *p = to + co / PANEL * s->m_panel + t * PANEL + co % PANEL;
        vec c[6][4];
        UNROLL for (int j = 0; j < m; j++)
        {
            vec d[4], o[6];
            UNROLL for (int i = 0; i < m; i++) d[i] =
                i < nh && j < nw ? load_n(from + (i * s->Wo + j) * Co + co, Co - co) : (vec){0};
            out_adjoint(m, d, o);
            UNROLL for (int i = 0; i < n; i++) c[i][j] = o[i];
        }
        UNROLL for (int i = 0; i < n; i++)
        {
            vec o[6];
            out_adjoint(m, c[i], o);
            UNROLL for (int j = 0; j < n; j++) store(p + (i * n + j) * s->m_point, o[j]);
        }
    }
}

/* ------------------------------------------------------------------ sums over tiles */

/* out[r][j] (+)= sum over tiles of v[t][r] * g[t][j]; GRAD_ROWS rows. */
AVS_FN void tile_sums(int64_t tiles, const float *v, const float *g, float *out, bool is_first)
{
    vec acc[GRAD_ROWS][2];
    UNROLL for (int r = 0; r < GRAD_ROWS; r++)
    {
        acc[r][0] = is_first ? (vec){0} : load(out + r * PANEL);
        acc[r][1] = is_first ? (vec){0} : load(out + r * PANEL + VEC);
    }
    for (int64_t t = 0; t < tiles; t++, v += LANES, g += PANEL) {
        const vec b0 = load(g), b1 = load(g + VEC);
        UNROLL for (int r = 0; r < GRAD_ROWS; r++)
        {
            acc[r][0] += v[r] * b0;
            acc[r][1] += v[r] * b1;
        }
    }
    UNROLL for (int r = 0; r < GRAD_ROWS; r++)
    {
        store(out + r * PANEL, acc[r][0]);
        store(out + r * PANEL + VEC, acc[r][1]);
    }
}

/* Where a gradient's block lies in the workspace. */
typedef struct {
    float *v, *g, *sums;
} grad_work;

static grad_work grad_places(const avs_winograd_grad_call *c)
{
    const int64_t points = (int64_t)(c->s.m + 2) * (c->s.m + 2);
    grad_work w = {.v = c->work};
    w.g = w.v + points * c->s.v_point;
    w.sums = w.g + points * c->s.m_point;
    return w;
}

/* All panels of one point and one group of input channels. */
static void sum_group(const avs_winograd *s, const grad_work *w, int64_t task, int64_t tiles, bool is_first)
{
    const int64_t point = task / s->groups, group = task % s->groups;
    const float *v = w->v + point * s->v_point + group * s->v_group;
    for (int64_t panel = 0; panel < s->panels; panel++) {
        const float *g = w->g + point * s->m_point + panel * s->m_panel;
        float *out = w->sums + (task * s->panels + panel) * LANES * PANEL;
        for (int r = 0; r < LANES; r += GRAD_ROWS) tile_sums(tiles, v + r, g, out + r * PANEL, is_first);
    }
}

/* ------------------------------------------------------------------ the gradient of weights */

AVS_FN void weight_taps(int m, const float *u, int64_t point, float *taps)
{
    const int n = m + 2;
    vec t[3][6];
    UNROLL for (int j = 0; j < n; j++)
    {
        vec d[6], o[3];
        UNROLL for (int i = 0; i < n; i++) d[i] = load(u + (i * n + j) * point);
        weight_adjoint(m, d, o);
        UNROLL for (int i = 0; i < 3; i++) t[i][j] = o[i];
    }
    UNROLL for (int i = 0; i < 3; i++)
    {
        vec o[3];
        weight_adjoint(m, t[i], o);
        UNROLL for (int j = 0; j < 3; j++) store(taps + (i * 3 + j) * VEC, o[j]);
    }
}

/* The taps of 16 input channels and one panel, to gw[Co][Ci][9]. */
static void write_taps(const avs_winograd_grad_call *c, const float *sums, int64_t group, int64_t panel)
{
    const avs_winograd *s = &c->s;
    const int64_t point = (int64_t)s->groups * s->panels * LANES * PANEL, k0 = group * LANES;
    const int64_t nk = avs_min64(LANES, s->Ci - k0);
    const float *from = sums + (group * s->panels + panel) * LANES * PANEL;
    for (int64_t j0 = 0; j0 < PANEL; j0 += VEC) {
        float taps[LANES * 9 * VEC];
        const int64_t co = panel * PANEL + j0, nj = avs_min64(VEC, s->Co - co);
        for (int64_t k = 0; k < nk; k++) {
            if (s->m == 4)
                weight_taps(4, from + k * PANEL + j0, point, taps + k * 9 * VEC);
            else
                weight_taps(2, from + k * PANEL + j0, point, taps + k * 9 * VEC);
        }
        for (int64_t j = 0; j < nj; j++) {
            float *to = c->gw + ((co + j) * s->Ci + k0) * 9;
            /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): weight_taps wrote 9 of each k */
            for (int64_t i = 0; i < nk * 9; i++) to[i] = taps[i * VEC + j];
        }
    }
}

static void in_any(const avs_winograd_call *in, int64_t tile, int64_t t, float *v)
{
    if (in->s.m == 4)
        in_tile(4, in, tile, t, v);
    else
        in_tile(2, in, tile, t, v);
}

static void grad_any(const avs_winograd *s, const float *gy, int64_t tile, int64_t t, float *to)
{
    if (s->m == 4)
        grad_tile(4, s, gy, tile, t, to);
    else
        grad_tile(2, s, gy, tile, t, to);
}

static void grad(const avs_winograd_grad_call *c)
{
    const avs_winograd *s = &c->s;
    const avs_winograd_call in = {.s = *s, .x = c->x};
    const grad_work w = grad_places(c);
    const int64_t all = (int64_t)s->B * s->th * s->tw, points = (int64_t)(s->m + 2) * (s->m + 2);
#pragma omp parallel
    {
        for (int64_t first = 0; first < all; first += s->block) {
            const int64_t tiles = avs_min64(s->block, all - first);
#pragma omp for schedule(static)
            for (int64_t t = 0; t < 2 * tiles; t++) {
                if (t < tiles)
                    in_any(&in, first + t, t, w.v);
                else
                    grad_any(s, c->gy, first + t - tiles, t - tiles, w.g);
            }
#pragma omp for schedule(static)
            for (int64_t task = 0; task < points * s->groups; task++)
                sum_group(s, &w, task, tiles, first == 0);
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < (int64_t)s->groups * s->panels; i++)
            write_taps(c, w.sums, i % s->groups, i / s->groups);
    }
}

const avs_winograd_weight_kernel AVS_ISA(avs_winograd_weight) = {
    .grad4 = "winograd4x3_grad:" ISA_NAME, .grad2 = "winograd2x3_grad:" ISA_NAME, .pack = pack, .grad = grad};
