/* The optimiser over the slab: AdamW with a table of segments and the sum of squared gradients, one launch each (the sum
 * has a second one of a single block), and sums of slabs over micro-batches.
 *
 * AdamW: a thread per element finds its segment by bisection (about 8 steps, the table stays in L1). Squares: 256
 * threads, partial sums in double through shuffles and 64 B shared, at most AVS_SQUARES_PARTS blocks, joined in order.
 * Not measured on a device yet. */
#include "engine/backend/cuda/kernels.h"
#include "engine/kernel/lane.k.h"

AVS_FN void avs_adamw_slab_body(const avs_adamw_slab_p *p, int64_t i)
{
    int64_t lo = 0, hi = p->n_seg;
    while (lo < hi) { /* the first segment that ends behind i */
        const int64_t mid = (lo + hi) / 2;
        if (p->seg[mid].end > i)
            hi = mid;
        else
            lo = mid + 1;
    }
    if (lo == p->n_seg || p->seg[lo].off > i) return;
    avs_adamw_element(&p->seg[lo].f, p->g[i], &p->w[i], &p->m[i], &p->v[i]);
}
AVS_OWN_EW(avs_adamw_slab, avs_adamw_slab_p)

enum { SQUARES_THREADS = 256 };
typedef struct {
    const float *g;
    const double *x;
    double *y;
    int64_t n;
} squares_stage_p;

/* y[block] = the block's share of the sum of squares of g, or of the sum of x. */
AVS_GLOBAL(squares_stage, squares_stage_p)
{
    AVS_SHARED double warp[SQUARES_THREADS / 32];
    double sum = 0;
    for (int64_t i = AVS_BLOCK * SQUARES_THREADS + AVS_THREAD; i < p.n; i += AVS_GRID_DIM * SQUARES_THREADS)
        sum += p.x ? p.x[i] : (double)p.g[i] * (double)p.g[i];
    sum = avs_lane_sum_d(sum);
    if (AVS_LANE == 0) warp[AVS_THREAD / 32] = sum;
    AVS_SYNC();
    if (AVS_THREAD == 0) {
        double total = 0;
        for (int i = 0; i < SQUARES_THREADS / 32; i++) total += warp[i];
        p.y[AVS_BLOCK] = total;
    }
}

AVS_HOST(int) avs_squares_cuda(const avs_squares_p *p, int64_t n, void *stream)
{
    const int64_t want = n / (4 * SQUARES_THREADS) + 1,
                  blocks = want < AVS_SQUARES_PARTS ? want : AVS_SQUARES_PARTS;
    const squares_stage_p one = {p->g, 0, p->part, n}, two = {0, p->part, p->sum, blocks};
    const int rc = AVS_LAUNCH(squares_stage, blocks, SQUARES_THREADS, stream, one);
    return rc ? rc : AVS_LAUNCH(squares_stage, 1, SQUARES_THREADS, stream, two);
}

AVS_FN void avs_add_slab_body(const avs_add_slab_p *p, int64_t i)
{
    p->y[i] = (p->keep ? p->y[i] : 0.f) + p->x[i];
}
AVS_OWN_EW(avs_add_slab, avs_add_slab_p)
