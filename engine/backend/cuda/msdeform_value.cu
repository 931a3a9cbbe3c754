/* The scatter of deformable attention's backward, turned round so that it needs no atomics: every token has one owner,
 * who adds what falls on it in the order of the queries. The bits depend on the sizes alone.
 *
 * A block of 8 warps owns 8 x 8 tokens of one level, 32 channels of one head of one sample; warp w owns row w, a lane a
 * channel. The block goes through all samples of its level, 256 at a time: first each thread works out one sample
 * (which tokens of the tile its four corners are, and their factors), then each warp asks by ballot which samples meet
 * its row and adds those. Shared memory: 8 KiB of sums, 5 KiB of samples.
 * Not measured on a device yet. */
#include "engine/backend/cuda/msdeform_value.h"
#include "engine/kernel/msdeform.k.h"

enum { TILE = 8, CHANNELS = 32, SAMPLES = 256, NOWHERE = 255 };

typedef struct {
    avs_msdeform_value_p q;
    int64_t tiles, chunks; /* tiles of all levels; chunks of 32 channels of a head */
} value_p;

/* What a block owns: tile (y, x) of level l, whose first token is first. */
typedef struct {
    int l, y, x;
    int64_t first;
} value_tile;

AVS_FN int tiles_of(int extent)
{
    return (extent + TILE - 1) / TILE;
}

AVS_FN value_tile tile_of(const avs_msdeform_attr *a, int64_t index)
{
    value_tile t = {0, 0, 0, 0};
    int64_t n = (int64_t)tiles_of(a->h[0]) * tiles_of(a->w[0]);
    while (index >= n) {
        index -= n;
        t.first += (int64_t)a->h[t.l] * a->w[t.l];
        t.l++;
        n = (int64_t)tiles_of(a->h[t.l]) * tiles_of(a->w[t.l]);
    }
    t.y = (int)(index / tiles_of(a->w[t.l])) * TILE;
    t.x = (int)(index % tiles_of(a->w[t.l])) * TILE;
    return t;
}

/* The four corners of a sample as places of the tile, one byte each, NOWHERE outside; w: their factors. */
AVS_FN uint32_t places_of(const value_tile *tile, int H, int W, const float *loc, float weight, float *w)
{
    avs_msd_tap t;
    uint32_t places = 0xffffffffu;
    if (!avs_msd_tap_of(loc[0], loc[1], H, W, &t)) return places;
    for (int i = 0; i < 4; i++) {
        const int y = t.at[i] / W - tile->y, x = t.at[i] % W - tile->x;
        w[i] = weight * t.w[i];
        if (t.in[i] != 0.f && y >= 0 && y < TILE && x >= 0 && x < TILE)
            places ^= (uint32_t)(NOWHERE ^ (y * TILE + x)) << (8 * i);
    }
    return places;
}

AVS_FN int meets_row(uint32_t places, int row)
{
    int is = 0;
    for (int i = 0; i < 4; i++) is |= (int)(places >> (8 * i) & 255u) / TILE == row;
    return is;
}

AVS_GLOBAL(msdeform_value, value_p)
{
    AVS_SHARED float sum[TILE][TILE][CHANNELS];
    AVS_SHARED float factor[SAMPLES][4];
    AVS_SHARED uint32_t places[SAMPLES];
    const avs_msdeform_value_p *q = &p.q;
    const int M = q->a.heads, P = q->a.points, lane = AVS_LANE, row = AVS_THREAD / 32;
    const int64_t LP = (int64_t)q->a.levels * P, MD = (int64_t)M * q->D, n = (int64_t)q->Q * P;
    const value_tile tile = tile_of(&q->a, AVS_BLOCK % p.tiles);
    const int64_t chunk = AVS_BLOCK / p.tiles % p.chunks, m = AVS_BLOCK / p.tiles / p.chunks % M;
    const int64_t b = AVS_BLOCK / p.tiles / p.chunks / M;
    const int64_t d = chunk * CHANNELS + lane;
    const int H = q->a.h[tile.l], W = q->a.w[tile.l];
    const float *gy = q->gy + b * q->Q * MD + m * q->D + d;

    for (int x = 0; x < TILE; x++) sum[row][x][lane] = 0.f;
    for (int64_t from = 0; from < n; from += SAMPLES) {
        const int64_t j = from + AVS_THREAD;
        uint32_t mine = 0xffffffffu;
        if (j < n) {
            const int64_t k = ((b * q->Q + j / P) * M + m) * LP + (int64_t)tile.l * P + j % P;
            mine = places_of(&tile, H, W, q->loc + 2 * k, q->weight[k], factor[AVS_THREAD]);
        }
        places[AVS_THREAD] = mine;
        AVS_SYNC();
        for (int s0 = 0; s0 < SAMPLES; s0 += 32) {
            uint32_t todo = AVS_LANE_BALLOT(meets_row(places[s0 + lane], row));
            for (int s = s0; todo; s++, todo >>= 1) {
                if (!(todo & 1u)) continue;
                const float g = d < q->D ? gy[(from + s) / P * MD] : 0.f;
                for (int i = 0; i < 4; i++) {
                    const int at = (int)(places[s] >> (8 * i) & 255u);
                    if (at / TILE == row) sum[row][at % TILE][lane] += factor[s][i] * g;
                }
            }
        }
        AVS_SYNC();
    }
    if (tile.y + row >= H || d >= q->D) return;
    for (int x = 0; x < TILE && tile.x + x < W; x++) {
        const int64_t token = tile.first + (int64_t)(tile.y + row) * W + tile.x + x;
        q->gvalue[(b * q->S + token) * MD + m * q->D + d] = sum[row][x][lane];
    }
}

AVS_HOST(int) avs_msdeform_value_cuda(const avs_msdeform_value_p *p, int64_t B, void *stream)
{
    value_p q = {*p, 0, (p->D + CHANNELS - 1) / CHANNELS};
    for (int l = 0; l < p->a.levels; l++)
        q.tiles += (int64_t)((p->a.h[l] + TILE - 1) / TILE) * ((p->a.w[l] + TILE - 1) / TILE);
    return AVS_LAUNCH(msdeform_value, B * p->a.heads * q.chunks * q.tiles, TILE * 32, stream, q);
}
