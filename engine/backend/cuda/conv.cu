/* What surrounds the libraries' convolutions and products, and depthwise convolutions.
 *
 * Depthwise: a warp per pixel, lanes over channels (coalesced maps; the few weights stay in L1). Its weight gradient:
 * a block takes 32 channels, one tap and a chunk of output positions (8 strips of threads, 1 KiB shared), then a thread
 * per weight adds the chunks in order. Epilogue, rounding to bf16 and turning weights: a thread per element.
 * Not measured on a device yet. */
#include "engine/backend/cuda/kernels.h"
#include "engine/kernel/lane.k.h"

AVS_FN float conv_activate(int act, float v)
{
    if (act == AVS_ACT_NONE) return v;
    if (act == AVS_ACT_GELU) return avs_geluf(v);
    v = v > 0.f ? v : 0.f;
    return act == AVS_ACT_RELU6 && v > 6.f ? 6.f : v;
}

AVS_FN void avs_depthwise_body(const avs_depthwise_p *p, int64_t r)
{
    const avs_conv_attr *a = &p->a;
    const int C = p->C, taps = a->kh * a->kw, ox = (int)(r % p->Wo), oy = (int)(r / p->Wo % p->Ho);
    const float *x = p->x + r / p->Wo / p->Ho * p->H * p->W * C;
    for (int c = AVS_LANE; c < C; c += AVS_LANES) {
        float sum = 0.f;
        for (int k = 0; k < taps; k++) {
            const int iy = oy * a->sh - a->ph + k / a->kw * a->dh,
                      ix = ox * a->sw - a->pw + k % a->kw * a->dw;
            if (iy < 0 || iy >= p->H || ix < 0 || ix >= p->W) continue;
            sum += p->w[(int64_t)c * taps + k] * x[((int64_t)iy * p->W + ix) * C + c];
        }
        if (p->bias) sum += p->bias[c];
        if (p->residual) sum += p->residual[r * C + c];
        p->y[r * C + c] = conv_activate(a->act, sum);
    }
}
AVS_OWN_ROW(avs_depthwise, avs_depthwise_p)

AVS_FN void avs_depthwise_bwd_x_body(const avs_depthwise_p *p, int64_t r)
{
    const avs_conv_attr *a = &p->a;
    const int C = p->C, taps = a->kh * a->kw, ix = (int)(r % p->W), iy = (int)(r / p->W % p->H);
    const float *gy = p->y + r / p->W / p->H * p->Ho * p->Wo * C;
    for (int c = AVS_LANE; c < C; c += AVS_LANES) {
        float sum = 0.f;
        for (int k = 0; k < taps; k++) {
            const int y = iy + a->ph - k / a->kw * a->dh, x = ix + a->pw - k % a->kw * a->dw;
            if (y < 0 || x < 0 || y % a->sh || x % a->sw || y / a->sh >= p->Ho || x / a->sw >= p->Wo)
                continue;
            sum += p->w[(int64_t)c * taps + k] * gy[((int64_t)(y / a->sh) * p->Wo + x / a->sw) * C + c];
        }
        p->x[r * C + c] = sum;
    }
}
AVS_OWN_ROW(avs_depthwise_bwd_x, avs_depthwise_p)

enum { DEPTHWISE_COLS = 32, DEPTHWISE_STRIPS = 8 };
typedef struct {
    avs_depthwise_p q;
    int64_t positions, chunks, n_col_blocks;
} depthwise_sums_p;

AVS_GLOBAL(depthwise_sums, depthwise_sums_p)
{
    AVS_SHARED float strip[DEPTHWISE_STRIPS][DEPTHWISE_COLS];
    const avs_depthwise_p *q = &p.q;
    const avs_conv_attr *a = &q->a;
    const int lane = AVS_THREAD % DEPTHWISE_COLS, s = AVS_THREAD / DEPTHWISE_COLS, taps = a->kh * a->kw;
    const int64_t C = q->C, c = AVS_BLOCK % p.n_col_blocks * DEPTHWISE_COLS + lane;
    const int64_t tap = AVS_BLOCK / p.n_col_blocks % taps, chunk = AVS_BLOCK / p.n_col_blocks / taps;
    const int64_t from = chunk * AVS_DEPTHWISE_ROWS,
                  end = from + AVS_DEPTHWISE_ROWS < p.positions ? from + AVS_DEPTHWISE_ROWS : p.positions;
    const int dy = (int)(tap / a->kw) * a->dh - a->ph, dx = (int)(tap % a->kw) * a->dw - a->pw;
    float sum = 0.f;
    if (c < C)
        for (int64_t r = from + s; r < end; r += DEPTHWISE_STRIPS) {
            const int iy = (int)(r / q->Wo % q->Ho) * a->sh + dy, ix = (int)(r % q->Wo) * a->sw + dx;
            if (iy < 0 || iy >= q->H || ix < 0 || ix >= q->W) continue;
            const int64_t b = r / q->Wo / q->Ho;
            sum += q->y[r * C + c] * q->x[((b * q->H + iy) * q->W + ix) * C + c];
        }
    strip[s][lane] = sum;
    AVS_SYNC();
    if (s == 0 && c < C) {
        float total = 0.f;
        for (int i = 0; i < DEPTHWISE_STRIPS; i++) total += strip[i][lane];
        q->part[(chunk * taps + tap) * C + c] = total;
    }
}

/* Index = channel * taps + tap. */
typedef depthwise_sums_p avs_depthwise_join_p;
AVS_FN void avs_depthwise_join_body(const avs_depthwise_join_p *p, int64_t i)
{
    const int64_t taps = (int64_t)p->q.a.kh * p->q.a.kw, C = p->q.C;
    const float *part = p->q.part + i % taps * C + i / taps;
    float sum = 0.f;
    for (int64_t k = 0; k < p->chunks; k++) sum += part[k * taps * C];
    p->q.w[i] = sum;
}
AVS_OWN_EW(avs_depthwise_join, avs_depthwise_join_p)

AVS_HOST(int) avs_depthwise_bwd_w_cuda(const avs_depthwise_p *p, int64_t n, void *stream)
{
    const int64_t positions = p->B * p->Ho * p->Wo, taps = (int64_t)p->a.kh * p->a.kw;
    const int64_t chunks = (positions + AVS_DEPTHWISE_ROWS - 1) / AVS_DEPTHWISE_ROWS;
    const depthwise_sums_p q = {*p, positions, chunks, (p->C + DEPTHWISE_COLS - 1) / DEPTHWISE_COLS};
    (void)n;
    const int rc = AVS_LAUNCH(depthwise_sums, chunks * taps * q.n_col_blocks,
                              DEPTHWISE_COLS * DEPTHWISE_STRIPS, stream, q);
    return rc ? rc : avs_depthwise_join_cuda(&q, p->C * taps, stream);
}

AVS_FN void avs_epilogue_body(const avs_epilogue_p *p, int64_t i)
{
    float v = p->is_bf16 ? avs_float((uint32_t)((const uint16_t *)p->x)[i] << 16) : ((const float *)p->x)[i];
    if (p->bias) v += p->bias[i % p->C];
    if (p->residual) v += p->residual[i];
    p->y[i] = conv_activate(p->act, v);
}
AVS_OWN_EW(avs_epilogue, avs_epilogue_p)

AVS_FN void avs_round_body(const avs_round_p *p, int64_t i)
{
    const uint32_t u = avs_bits(p->x[i]);
    const int is_nan = (u & 0x7fffffffu) > 0x7f800000u;
    const uint32_t near = u + 0x7fffu + (u >> 16 & 1u);
    p->y[i] = (uint16_t)(is_nan ? u >> 16 | 64u : near >> 16);
}
AVS_OWN_EW(avs_round, avs_round_p)

AVS_FN void avs_turn_body(const avs_turn_p *p, int64_t i)
{
    const int64_t o = i / (p->I * p->A), rest = i % (p->I * p->A);
    const int64_t in_files = p->to_files ? rest : rest % p->I * p->A + rest / p->I;
    const int64_t in_kernels = p->to_files ? rest % p->A * p->I + rest / p->A : rest;
    const int64_t base = o * p->I * p->A;
    p->y[i] = p->x[base + (p->to_files ? in_kernels : in_files)];
}
AVS_OWN_EW(avs_turn, avs_turn_p)
