/* Bilinear over [h,w,d]; a table [rows,d] is one of width 1. Places are computed in double: the float32 places of the
 * reference are off by 1e-5 of a row at 127 rows. */
#include "workers/weights_resize.h"

typedef struct {
    int64_t lo, hi;
    float t; /* share of hi */
} place;

static place place_of(int64_t i, int64_t n_from, int64_t n_to)
{
    const double at = ((double)i + 0.5) * (double)n_from / (double)n_to - 0.5, src = at > 0 ? at : 0;
    const int64_t floored = (int64_t)src, lo = floored < n_from - 1 ? floored : n_from - 1;
    return (place){.lo = lo, .hi = lo + 1 < n_from ? lo + 1 : lo, .t = (float)(src - (double)lo)};
}

bool avs_weights_can_resize(const avs_st_tensor *t, const avs_type *want)
{
    const int r = t->rank;
    if (r != want->rank || (r != 2 && r != 4)) return false;
    for (int i = 0; i < r; i++)
        if (t->d[i] < 1 || want->d[i] < 1) return false;
    return t->d[r - 1] == want->d[r - 1] && (r == 2 || (t->d[0] == 1 && want->d[0] == 1));
}

void avs_weights_resize(const avs_st_tensor *t, const float *from, const avs_type *want, float *to)
{
    const int first = t->rank == 2 ? 0 : 1;
    const int64_t d = t->d[t->rank - 1], h = t->d[first], w = t->rank == 2 ? 1 : t->d[2];
    const int64_t H = want->d[first], W = t->rank == 2 ? 1 : want->d[2];
    for (int64_t y = 0; y < H; y++) {
        const place p = place_of(y, h, H);
        for (int64_t x = 0; x < W; x++) {
            const place q = place_of(x, w, W);
            const float *a = from + (p.lo * w + q.lo) * d, *b = from + (p.lo * w + q.hi) * d;
            const float *c = from + (p.hi * w + q.lo) * d, *e = from + (p.hi * w + q.hi) * d;
            for (int64_t k = 0; k < d; k++)
                *to++ = (1 - p.t) * ((1 - q.t) * a[k] + q.t * b[k]) + p.t * ((1 - q.t) * c[k] + q.t * e[k]);
        }
    }
}
