/* Column sums of a [rows][C] matrix, for the parameter gradients of the norms and for biases: two stages, no atomics,
 * so the order of additions and hence the bits depend on the sizes alone.
 *
 * Stage 1: block (32 columns x 8 row strips, 256 threads) takes one chunk of AVS_COLSUM_ROWS rows and 32 columns; a
 * thread adds every 8th row, the strips are joined through 1 KiB of shared memory. Stage 2: the same over the chunks'
 * rows of partial sums. Layer norm's parameter gradients fill two columns of partial sums at once. Row sums of long
 * rows: one block per row, shuffles inside warps, shared memory across.
 * Not measured on a device yet. */
#include "engine/backend/cuda/columns.h"
#include "engine/kernel/lane.k.h"

enum { COLS = 32, STRIPS = 8, ROW_THREADS = 256 };

typedef struct {
    const float *x;
    float *y;
    int64_t rows, C, stride, chunk; /* stride: elements from one row of x to the next */
    int64_t n_col_blocks;
    int64_t chunks; /* of one matrix; further matrices follow in x and y */
    float scale;
} colsum_p;

AVS_GLOBAL(colsum_stage, colsum_p)
{
    AVS_SHARED float strip[STRIPS][COLS];
    const int lane = AVS_THREAD % COLS, s = AVS_THREAD / COLS;
    const int64_t c = AVS_BLOCK % p.n_col_blocks * COLS + lane, at = AVS_BLOCK / p.n_col_blocks;
    const int64_t k = at % p.chunks, o = at / p.chunks;
    const int64_t end = (k + 1) * p.chunk < p.rows ? (k + 1) * p.chunk : p.rows;
    const float *x = p.x + o * p.rows * p.stride;
    float sum = 0.f;
    if (c < p.C)
        for (int64_t r = k * p.chunk + s; r < end; r += STRIPS) sum += x[r * p.stride + c];
    strip[s][lane] = sum;
    AVS_SYNC();
    if (s == 0 && c < p.C) {
        float total = 0.f;
        for (int i = 0; i < STRIPS; i++) total += strip[i][lane];
        p.y[at * p.C + c] = total * p.scale;
    }
}

AVS_HOST(size_t) avs_colsum_work(int64_t rows, int64_t C)
{
    const int64_t chunks = (rows + AVS_COLSUM_ROWS - 1) / AVS_COLSUM_ROWS;
    return (size_t)(chunks * C) * sizeof(float);
}

AVS_HOST(int) avs_colsum_cuda(const float *x, float *y, int64_t rows, int64_t C, void *work, void *stream)
{
    const int64_t blocks = (C + COLS - 1) / COLS, chunks = (rows + AVS_COLSUM_ROWS - 1) / AVS_COLSUM_ROWS;
    const colsum_p one = {x, (float *)work, rows, C, C, AVS_COLSUM_ROWS, blocks, chunks, 1.f};
    const colsum_p two = {(const float *)work, y, chunks, C, C, chunks, blocks, 1, 1.f};
    const int rc = AVS_LAUNCH(colsum_stage, blocks * chunks, COLS * STRIPS, stream, one);
    return rc ? rc : AVS_LAUNCH(colsum_stage, blocks, COLS * STRIPS, stream, two);
}

typedef struct {
    avs_layernorm_bwd_p q;
    float *part; /* [chunks][2][C]: dgamma, dbeta */
    int64_t rows, n_col_blocks;
} layernorm_sums_p;

AVS_GLOBAL(layernorm_sums, layernorm_sums_p)
{
    AVS_SHARED float strip[2][STRIPS][COLS];
    const avs_layernorm_bwd_p *q = &p.q;
    const int lane = AVS_THREAD % COLS, s = AVS_THREAD / COLS;
    const int64_t c = AVS_BLOCK % p.n_col_blocks * COLS + lane, k = AVS_BLOCK / p.n_col_blocks, C = q->C;
    const int64_t next = (k + 1) * AVS_COLSUM_ROWS, end = next < p.rows ? next : p.rows;
    float dgamma = 0.f, dbeta = 0.f;
    if (c < C)
        for (int64_t r = k * AVS_COLSUM_ROWS + s; r < end; r += STRIPS) {
            const float g = q->gy[r * C + c];
            dgamma += g * ((q->x[r * C + c] - q->mean[r]) * q->rstd[r]);
            dbeta += g;
        }
    strip[0][s][lane] = dgamma;
    strip[1][s][lane] = dbeta;
    AVS_SYNC();
    if (s < 2 && c < C) {
        float total = 0.f;
        for (int i = 0; i < STRIPS; i++) total += strip[s][i][lane];
        p.part[(2 * k + s) * C + c] = total;
    }
}

AVS_HOST(size_t) avs_layernorm_sums_work(int64_t rows, int64_t C)
{
    return 2 * avs_colsum_work(rows, C);
}

AVS_HOST(int)
avs_layernorm_sums_cuda(const avs_layernorm_bwd_p *p, int64_t rows, float *dgamma, float *dbeta, void *work,
                        void *stream)
{
    const int64_t C = p->C, blocks = (C + COLS - 1) / COLS,
                  chunks = (rows + AVS_COLSUM_ROWS - 1) / AVS_COLSUM_ROWS;
    float *part = (float *)work;
    const layernorm_sums_p one = {*p, part, rows, blocks};
    const colsum_p gamma = {part, dgamma, chunks, C, 2 * C, chunks, blocks, 1, 1.f};
    const colsum_p beta = {part + C, dbeta, chunks, C, 2 * C, chunks, blocks, 1, 1.f};
    int rc = AVS_LAUNCH(layernorm_sums, blocks * chunks, COLS * STRIPS, stream, one);
    if (!rc) rc = AVS_LAUNCH(colsum_stage, blocks, COLS * STRIPS, stream, gamma);
    return rc ? rc : AVS_LAUNCH(colsum_stage, blocks, COLS * STRIPS, stream, beta);
}

typedef struct {
    const float *x;
    float *y;
    int64_t C;
} rowsum_p;

AVS_GLOBAL(rowsum, rowsum_p)
{
    AVS_SHARED float warp[ROW_THREADS / 32];
    const float *x = p.x + AVS_BLOCK * p.C;
    float sum = 0.f;
    for (int64_t c = AVS_THREAD; c < p.C; c += ROW_THREADS) sum += x[c];
    sum = avs_lane_sum(sum);
    if (AVS_LANE == 0) warp[AVS_THREAD / 32] = sum;
    AVS_SYNC();
    if (AVS_THREAD == 0) {
        float total = 0.f;
        for (int i = 0; i < ROW_THREADS / 32; i++) total += warp[i];
        p.y[AVS_BLOCK] = total;
    }
}

AVS_HOST(int) avs_rowsum_cuda(const float *x, float *y, int64_t rows, int64_t C, void *stream)
{
    const rowsum_p p = {x, y, C};
    return AVS_LAUNCH(rowsum, rows, ROW_THREADS, stream, p);
}

AVS_HOST(int) avs_layernorm_params_cuda(const avs_layernorm_params_p *p, int64_t rows, void *stream)
{
    return avs_layernorm_sums_cuda(&p->q, rows, p->dgamma, p->dbeta, p->work, stream);
}

/* ------------------------------------------------------------------ sums over a run of axes */

/* Row r: chunk r % chunks of vector r / chunks. */
typedef struct {
    const float *x;
    float *y;
    int64_t len, chunk, chunks;
    float scale;
} avs_rowsums_p;

AVS_FN void avs_rowsums_body(const avs_rowsums_p *p, int64_t r)
{
    const int64_t k = r % p->chunks, from = k * p->chunk;
    const int64_t end = from + p->chunk < p->len ? from + p->chunk : p->len;
    const float *x = p->x + r / p->chunks * p->len;
    float sum = 0.f;
    for (int64_t i = from + AVS_LANE; i < end; i += AVS_LANES) sum += x[i];
    sum = avs_lane_sum(sum);
    if (AVS_LANE == 0) p->y[r] = sum * p->scale;
}
AVS_OWN_ROW(avs_rowsums, avs_rowsums_p)

AVS_HOST(int) avs_reduce_cuda(const avs_reduce_p *p, int64_t n, void *stream)
{
    const int64_t chunk = avs_reduce_chunk(p->mid, p->inner), chunks = (p->mid + chunk - 1) / chunk;
    const int64_t C = p->inner, blocks = (C + COLS - 1) / COLS;
    const float scale = chunks > 1 ? 1.f : p->scale;
    float *to = chunks > 1 ? p->work : p->y;
    int rc;
    (void)n;
    if (C == 1) {
        const avs_rowsums_p one = {p->x, to, p->mid, chunk, chunks, scale};
        const avs_rowsums_p two = {to, p->y, chunks, chunks, 1, p->scale};
        rc = avs_rowsums_cuda(&one, p->outer * chunks, stream);
        return rc || chunks == 1 ? rc : avs_rowsums_cuda(&two, p->outer, stream);
    }
    const colsum_p one = {p->x, to, p->mid, C, C, chunk, blocks, chunks, scale};
    const colsum_p two = {to, p->y, chunks, C, C, chunks, blocks, 1, p->scale};
    rc = AVS_LAUNCH(colsum_stage, blocks * chunks * p->outer, COLS * STRIPS, stream, one);
    return rc || chunks == 1 ? rc : AVS_LAUNCH(colsum_stage, blocks * p->outer, COLS * STRIPS, stream, two);
}
