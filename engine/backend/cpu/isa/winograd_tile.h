/* What the Winograd files of this folder share: vectors of an instruction set, the transform of the input, tiles.
 *
 * Transforms run over channels, 16 at a time. The transformed input of a block lies as [point][group of 16 channels]
 * [tile][16], so that the matrix kernels read a tile's channels at constant offsets and the transform stores whole
 * vectors. */
#ifndef AVS_ENGINE_BACKEND_CPU_ISA_WINOGRAD_TILE_H
#define AVS_ENGINE_BACKEND_CPU_ISA_WINOGRAD_TILE_H

#include "engine/backend/cpu/isa/isa.h"
#include "engine/backend/cpu/winograd.h"

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

#endif
