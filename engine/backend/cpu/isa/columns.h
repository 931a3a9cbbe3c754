/* Sums over rows: rows are cut into chunks whose length depends on the row width alone, each chunk leaves a row of
 * partial sums in the workspace, and those are added in order, in double. */
#ifndef AVS_ENGINE_BACKEND_CPU_COLUMNS_H
#define AVS_ENGINE_BACKEND_CPU_COLUMNS_H

#include "engine/backend/cpu/isa/isa.h"

/* About 64 KiB of a chunk: a second pass over it still finds it in L2. */
static inline int64_t avs_chunk_rows(int64_t rows, int64_t width)
{
    return avs_min64(rows, avs_max64(16, 16384 / width));
}

enum { AVS_COLS = 64 }; /* columns that one task adds up */

/* out[j] = sum over k < n of part[k * stride + j], j < width. */
static inline void avs_add_chunks(const float *part, int64_t n, int64_t stride, int64_t width, float *out)
{
#pragma omp parallel for schedule(static) if (n * width >= AVS_PAR_MIN)
    for (int64_t j0 = 0; j0 < width; j0 += AVS_COLS) {
        const int64_t w = avs_min64(AVS_COLS, width - j0);
        double s[AVS_COLS] = {0};
        for (int64_t k = 0; k < n; k++) {
            const float *q = part + k * stride + j0;
            AVS_SIMD
            for (int64_t j = 0; j < w; j++) s[j] += (double)q[j];
        }
        for (int64_t j = 0; j < w; j++) out[j0 + j] = (float)s[j];
    }
}

#endif
