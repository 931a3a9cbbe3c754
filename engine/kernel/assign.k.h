/* Minimum-cost assignment of n rows to m >= n columns by shortest augmenting paths with potentials (Hungarian method,
 * O(n^2 m)); every row gets a column of its own. All in double and in a fixed order, on the host alone. */
#ifndef AVS_ENGINE_KERNEL_ASSIGN_K_H
#define AVS_ENGINE_KERNEL_ASSIGN_K_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of scratch for m columns (n <= m). */
static inline size_t avs_assign_bytes(int64_t m)
{
    const size_t n = (size_t)m + 1;
    return n * (3 * sizeof(double) + 2 * sizeof(int32_t) + sizeof(int32_t));
}

/* cost of row i and column j is cost[i*row_pitch + j*col_pitch], finite. column[n] gets each row's column. */
static inline void avs_assign(const double *cost, int64_t row_pitch, int64_t col_pitch, int n, int m,
                              void *scratch, int32_t *column)
{
    double *u = scratch, *v = u + m + 1, *least = v + m + 1; /* u has n+1 <= m+1 entries     */
    int32_t *row_of = (int32_t *)(least + m + 1), *way = row_of + m + 1,
            *is_used = way + m + 1; /* 1-based, 0: none */
    for (int j = 0; j <= m; j++) {
        u[j] = v[j] = 0;
        row_of[j] = way[j] = 0;
    }
    for (int i = 1; i <= n; i++) {
        int j0 = 0;
        row_of[0] = i;
        for (int j = 0; j <= m; j++) {
            least[j] = DBL_MAX;
            is_used[j] = 0;
        }
        do {
            const int i0 = row_of[j0];
            double delta = DBL_MAX;
            int j1 = 0;
            is_used[j0] = 1;
            for (int j = 1; j <= m; j++) {
                if (is_used[j]) continue;
                const double c = cost[(i0 - 1) * row_pitch + (j - 1) * col_pitch] - u[i0] - v[j];
                if (c < least[j]) {
                    least[j] = c;
                    way[j] = j0;
                }
                if (least[j] < delta) {
                    delta = least[j];
                    j1 = j;
                }
            }
            for (int j = 0; j <= m; j++) {
                if (is_used[j]) {
                    u[row_of[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            j0 = j1;
        } while (row_of[j0]);
        do {
            const int j1 = way[j0];
            row_of[j0] = row_of[j1];
            j0 = j1;
        } while (j0);
    }
    for (int j = 1; j <= m; j++)
        if (row_of[j]) column[row_of[j] - 1] = j - 1;
}

#endif
