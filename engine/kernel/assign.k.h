/* Minimum-cost assignment of n rows to m >= n columns by shortest augmenting paths with potentials (Hungarian method,
 * O(n^2 m)); every row gets a column of its own. All in double and in a fixed order: the lanes of a warp share the
 * columns, lane k has those of number k modulo AVS_LANES, and the result is that of one lane. */
#ifndef AVS_ENGINE_KERNEL_ASSIGN_K_H
#define AVS_ENGINE_KERNEL_ASSIGN_K_H

#include <float.h>
#include <stddef.h>

#include "engine/kernel/lane.k.h"

/* Bytes of scratch for m columns (n <= m), 8-byte aligned. */
static inline size_t avs_assign_bytes(int64_t m)
{
    const size_t n = (size_t)m + 1;
    return n * (3 * sizeof(double) + 2 * sizeof(int32_t) + sizeof(int32_t));
}

typedef struct {
    double *u, *v, *least;           /* u: of rows; v and least: of columns, from 1 */
    int32_t *row_of, *way, *is_used; /* of columns, rows from 1, 0: none            */
    int m;
} avs_assign_state;

/* The column that row row_of[j0] reaches at least cost; what that costs goes into the potentials. */
AVS_FN int avs_assign_step(const avs_assign_state *s, const double *cost, int64_t row_pitch,
                           int64_t col_pitch, int j0)
{
    const int i0 = s->row_of[j0];
    const double u0 = s->u[i0];
    double delta = DBL_MAX;
    int j1 = 0;
    if (j0 % AVS_LANES == AVS_LANE) s->is_used[j0] = 1;
    for (int j = AVS_LANE; j <= s->m; j += AVS_LANES) {
        if (j == 0 || s->is_used[j]) continue;
        const double c = cost[(i0 - 1) * row_pitch + (j - 1) * col_pitch] - u0 - s->v[j];
        if (c < s->least[j]) {
            s->least[j] = c;
            s->way[j] = j0;
        }
        if (s->least[j] < delta) {
            delta = s->least[j];
            j1 = j;
        }
    }
    avs_lane_least(&delta, &j1);
    AVS_LANE_SYNC();
    for (int j = AVS_LANE; j <= s->m; j += AVS_LANES) {
        if (s->is_used[j]) {
            s->u[s->row_of[j]] += delta;
            s->v[j] -= delta;
        } else {
            s->least[j] -= delta;
        }
    }
    AVS_LANE_SYNC();
    return j1;
}

/* cost of row i and column j is cost[i*row_pitch + j*col_pitch], finite. column[n] gets each row's column. */
AVS_FN void avs_assign(const double *cost, int64_t row_pitch, int64_t col_pitch, int n, int m, void *scratch,
                       int32_t *column)
{
    avs_assign_state s;
    s.u = (double *)scratch; /* n+1 <= m+1 entries */
    s.v = s.u + m + 1;
    s.least = s.v + m + 1;
    s.row_of = (int32_t *)(s.least + m + 1);
    s.way = s.row_of + m + 1;
    s.is_used = s.way + m + 1;
    s.m = m;
    for (int j = AVS_LANE; j <= m; j += AVS_LANES) {
        s.u[j] = s.v[j] = 0;
        s.row_of[j] = s.way[j] = 0;
    }
    AVS_LANE_SYNC();
    for (int i = 1; i <= n; i++) {
        int j0 = 0;
        for (int j = AVS_LANE; j <= m; j += AVS_LANES) {
            s.least[j] = DBL_MAX;
            s.is_used[j] = 0;
        }
        if (AVS_LANE == 0) s.row_of[0] = i;
        AVS_LANE_SYNC();
        do j0 = avs_assign_step(&s, cost, row_pitch, col_pitch, j0);
        while (s.row_of[j0]);
        AVS_LANE_SYNC();
        while (AVS_LANE == 0 && j0) {
            const int j1 = s.way[j0];
            s.row_of[j0] = s.row_of[j1];
            j0 = j1;
        }
        AVS_LANE_SYNC();
    }
    for (int j = AVS_LANE; j <= m; j += AVS_LANES)
        if (j > 0 && s.row_of[j]) column[s.row_of[j] - 1] = j - 1;
    AVS_LANE_SYNC();
}

#endif
