/* Winograd convolutions: geometry, and the rules that choose between direct and Winograd. What runs for every call is in
 * isa/winograd.c and isa/winograd_weights.c. */
#include "engine/backend/cpu/winograd.h"

#include <math.h>

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

bool avs_winograd_can(const avs_conv_attr *a)
{
    return a->kh == 3 && a->kw == 3 && a->sh == 1 && a->sw == 1 && a->dh == 1 && a->dw == 1 && a->groups == 1;
}

/* Time of F(m) in multiply-adds that a matrix product would do meanwhile, padding included. Fewer than 8 tiles are paid
 * like 8: the n*n matrices of weights then arrive from memory more slowly than they are multiplied. Both transforms
 * together cost about 8 multiply-adds per point and channel. */
static double winograd_cost(int m, double panel, double Ci, double Co, const int64_t y[3])
{
    const double points = (m + 2) * (m + 2);
    const double tiles = (double)(y[0] * ceil_div(y[1], m) * ceil_div(y[2], m));
    const double K = ceil(Ci / AVS_WINOGRAD_LANES) * AVS_WINOGRAD_LANES, N = ceil(Co / panel) * panel;
    return points * (K * N * fmax(tiles, 8) + tiles * 8 * (K + N));
}

/* Winograd where the cost above is less than 1/1.2 of the direct convolution's. One thread of Zen 4 (AVX-512), 1 map
 * unless told otherwise, times in us of oneDNN 2.6.3 (brgconv), of F4 and F2, then the choice:
 *   56x56 256->256   31861   9886          F4 |  14x14 256->256    1799    710   938  F4
 *   56x56 256->128   15973   5139          F4 |  14x14 512->512   11712   3383  4383  F4
 *   224x224 128->32  35333  13638          F4 |  12x8 512->512     3811   1448  2103  F4
 *   112x112 128->128 33187  10757          F4 |  7x7 512->512      1800   1200  1260  F2
 *   56x56 64->64      1942    638          F4 |  7x7 512->512 x5  10113   4198 11015  F4
 *   28x28 256->256    7714   2498          F4 |  4x4 256->256       116    113    79  direct
 *   28x28 128->128    1880    580          F4 |  3x3 64->64           4      7     6  direct
 *   14x14 256->256 x5 9326   4236          F4 |  56x56 16->16       125    102   163  direct
 *   56x56 64->64 x5  10061   3626          F4 |  56x56 3->64        102    260   414  direct
 *   56x56 64->16       486    328   538    F4 |  96x64 1->64         81    510   810  direct
 * oneDNN's own Winograd takes channel-blocked maps alone and gains no more (56x56 256->256 11029, 224x224 128->32
 * 15696, 56x56 64->64 1002). Direct over bf16 operands takes half of direct: 56x56 64->64 971, 28x28 128->128 939,
 * 14x14 256->256 902, 7x7 512->512 815; Winograd stays f32. */
int avs_winograd_choose(const avs_conv_attr *a, const avs_type *x, const avs_type *w, double speed)
{
    const avs_winograd_kernel *k = avs_winograd_best();
    if (!avs_winograd_can(a) || !k->is_fast || a->act == AVS_ACT_GELU) return 0;
    const int64_t y[] = {x->d[0], x->d[1] + 2 * a->ph - 2, x->d[2] + 2 * a->pw - 2};
    const double Ci = (double)x->d[3], Co = (double)w->d[0];
    const double direct = 9 * (double)(y[0] * y[1] * y[2]) * Ci * ceil(Co / 16) * 16;
    const double f4 = winograd_cost(4, k->panel, Ci, Co, y), f2 = winograd_cost(2, k->panel, Ci, Co, y);
    if (fmin(f4, f2) * 1.2 > direct / speed) return 0;
    return f2 < f4 ? 2 : 4;
}

/* The same per training op, with the transform of n*n points per weight, which costs as much as 28 multiply-adds of a
 * product each way. Zen 4, one thread, processor time in ms of oneDNN 2.6.3, F4 and F2 for forward, gradient of the input
 * and gradient of the weight; then the choice:
 *   8x56x56 64->64      16.3  6.0  9.3   16.6  5.8  9.3   18.1  6.8  9.5   F4
 *   8x56x56 256->256     255   79  129    272   79  129    293   88  134   F4
 *   8x28x28 128->128    15.9  5.8  8.6   15.9  5.4  8.5   17.1  5.7  8.8   F4
 *   8x14x14 256->256    15.5  7.7  8.9   15.3  7.2  8.7   16.7  7.6  8.9   F4
 *   8x7x7 512->512      15.5 10.1 13.2   14.6  9.9 12.8   18.2 11.8 13.0   F4
 *   8x6x6 64->64        0.16 0.14 0.13   0.15 0.14 0.12   0.17 0.14 0.12   F2
 *   1x14x14 256->256    2.43 1.81 1.71   2.03 1.57 1.39   2.45 1.52 1.48   F2
 *   1x7x7 512->512      3.65 5.17 4.00   2.92 5.04 3.42   4.01 7.14 3.98   direct
 *   8x56x56 16->16      1.17 1.03 1.57   1.34 0.93 1.44   1.02 0.91 1.45   direct */
int avs_winograd_choose_training(int op, const avs_conv_attr *a, const avs_type *x, const avs_type *w,
                                 double speed)
{
    const avs_winograd_kernel *k = avs_winograd_best();
    const bool is_turned = op == AVS_OP_CONV2D_BWD_X;
    if (!avs_winograd_can(a) || !k->is_fast || (is_turned && (a->ph > 2 || a->pw > 2))) return 0;
    const int64_t out[] = {x->d[0], x->d[1] + 2 * a->ph - 2, x->d[2] + 2 * a->pw - 2};
    const int64_t *y = is_turned ? (int64_t[]){x->d[0], x->d[1], x->d[2]} : out;
    const double K = is_turned ? w->d[0] : x->d[3], N = is_turned ? x->d[3] : w->d[0];
    const double direct = 9 * (double)(out[0] * out[1] * out[2]) * K * ceil(N / 16) * 16;
    const double weights =
        28 * ceil(K / AVS_WINOGRAD_LANES) * AVS_WINOGRAD_LANES * ceil(N / k->panel) * k->panel;
    const double f4 = winograd_cost(4, k->panel, K, N, y) + 36 * weights;
    const double f2 = winograd_cost(2, k->panel, K, N, y) + 16 * weights;
    if (fmin(f4, f2) * 1.2 > direct / speed) return 0;
    return f2 < f4 ? 2 : 4;
}

/* An odd number of cache lines, so that the n*n planes of a block do not fall on the same sets. */
static int64_t odd_lines(int64_t floats)
{
    const int64_t lines = ceil_div(floats, 16);
    return (lines | 1) * 16;
}

/* Blocks, measured on Zen 4 (1 MB of L2): 14 tiles while the weights stay in L2, 28 to read larger ones half as often;
 * 5x56x56 64->64 3.8 ms at 14, 4.3 at 28, 4.7 at 112; 1x112x112 128->128 11.1 ms at 14, 10.7 at 28, 11.6 at 196;
 * 5x7x7 512->512 4.6 ms at 14, 4.1 at 20. Too few tiles for every thread: all work on one block, each on some of its
 * products, so that weights are still read once. */
static void choose_blocks(avs_winograd *s, int rows, int threads)
{
    const int64_t tiles = (int64_t)s->B * s->th * s->tw;
    const int64_t target = avs_winograd_weights(s) <= (1u << 20) ? rows : 2 * (int64_t)rows;
    s->is_shared = threads > 1 && tiles < 2 * (int64_t)threads * rows;
    s->slots = s->is_shared ? 1 : threads;
    int64_t blocks = ceil_div(tiles, s->is_shared ? 4 * (int64_t)rows : target);
    if (!s->is_shared) blocks = ceil_div(blocks, threads) * threads;
    s->block = (int32_t)ceil_div(tiles, blocks);
}

static void place_blocks(avs_winograd *s)
{
    s->v_group = (int64_t)s->block * AVS_WINOGRAD_LANES;
    s->v_point = odd_lines(s->groups * s->v_group);
    s->m_panel = (int64_t)s->block * s->panel;
    s->m_point = odd_lines(s->panels * s->m_panel);
}

avs_winograd avs_winograd_plan(const avs_winograd_kernel *k, int m, const avs_conv_attr *a, const avs_type *x,
                               const avs_type *y, int threads)
{
    avs_winograd s = {.m = m,
                      .B = x->d[0],
                      .H = x->d[1],
                      .W = x->d[2],
                      .Ci = x->d[3],
                      .Ho = y->d[1],
                      .Wo = y->d[2],
                      .Co = y->d[3],
                      .ph = a->ph,
                      .pw = a->pw,
                      .act = a->act,
                      .panel = k->panel};
    s.th = (int32_t)ceil_div(s.Ho, m);
    s.tw = (int32_t)ceil_div(s.Wo, m);
    s.groups = (int32_t)ceil_div(s.Ci, AVS_WINOGRAD_LANES);
    s.panels = (int32_t)ceil_div(s.Co, s.panel);
    choose_blocks(&s, k->rows, threads);
    place_blocks(&s);
    return s;
}

size_t avs_winograd_work(const avs_winograd *s)
{
    const int64_t points = (int64_t)(s->m + 2) * (s->m + 2);
    return (size_t)(s->slots * points * (s->v_point + s->m_point)) * sizeof(float);
}

size_t avs_winograd_weights(const avs_winograd *s)
{
    const int64_t points = (int64_t)(s->m + 2) * (s->m + 2);
    return (size_t)(points * s->panels * s->panel * s->groups * AVS_WINOGRAD_LANES) * sizeof(float);
}

/* ------------------------------------------------------------------ gradient of weights */

/* As many tiles as fit with their gradients in 1 MB, or in the space of the sums, which every block reads and writes. */
avs_winograd avs_winograd_plan_grad(const avs_winograd_kernel *k, int m, const avs_conv_attr *a,
                                    const avs_type *x, const avs_type *y)
{
    avs_winograd s = avs_winograd_plan(k, m, a, x, y, 1);
    const int64_t tiles = (int64_t)s.B * s.th * s.tw;
    const int64_t K = (int64_t)s.groups * AVS_WINOGRAD_LANES, N = (int64_t)s.panels * s.panel;
    const int64_t points = (int64_t)(m + 2) * (m + 2), space = K * N * points;
    const int64_t most = (space > (1 << 18) ? space : 1 << 18) / (points * (K + N));
    const int64_t blocks = ceil_div(tiles, most < 16 ? 16 : most);
    s.is_shared = true;
    s.slots = 1;
    s.block = (int32_t)ceil_div(tiles, blocks);
    place_blocks(&s);
    return s;
}

size_t avs_winograd_grad_work(const avs_winograd *s)
{
    const int64_t points = (int64_t)(s->m + 2) * (s->m + 2);
    return (size_t)(points * (s->v_point + s->m_point)) * sizeof(float) + avs_winograd_weights(s);
}
