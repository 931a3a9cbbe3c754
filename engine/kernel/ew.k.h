/* What each instruction of an elementwise program does to one element, and how a broadcast input is indexed.
 * The CPU runs one instruction over a block at a time (the switch folds away), the GPU all of them per element. */
#ifndef AVS_ENGINE_KERNEL_EW_K_H
#define AVS_ENGINE_KERNEL_EW_K_H

#include "engine/graph/ops.h"
#include "engine/kernel/math.k.h"

AVS_FN float avs_relu6f(float x)
{
    const float low = x > 0.f ? x : 0.f;
    return low < 6.f ? low : 6.f;
}

/* Result of one instruction; b is ignored by unary ones. SAVE is the interpreter's business. */
AVS_FN float avs_ew_apply(int code, float a, float b)
{
    switch (code) {
    case AVS_EW_LOAD:
        return b;
    case AVS_EW_ADD:
        return a + b;
    case AVS_EW_SUB:
        return a - b;
    case AVS_EW_RSUB:
        return b - a;
    case AVS_EW_MUL:
        return a * b;
    case AVS_EW_DIV:
        return a / b;
    case AVS_EW_RDIV:
        return b / a;
    case AVS_EW_MAX:
        return a > b ? a : b;
    case AVS_EW_MIN:
        return a < b ? a : b;
    case AVS_EW_GT:
        return a > b ? 1.f : 0.f;
    case AVS_EW_NEG:
        return -a;
    case AVS_EW_RELU:
        return a > 0.f ? a : 0.f;
    case AVS_EW_SIGMOID:
        return avs_sigmoidf(a);
    case AVS_EW_TANH:
        return avs_tanhf(a);
    case AVS_EW_GELU:
        return avs_geluf(a);
    case AVS_EW_SILU:
        return avs_siluf(a);
    case AVS_EW_EXP:
        return avs_expf(a);
    case AVS_EW_LOG:
        return avs_logf(a);
    case AVS_EW_SQRT:
        return avs_sqrtf(a);
    case AVS_EW_RSQRT:
        return 1.f / avs_sqrtf(a);
    case AVS_EW_SQUARE:
        return a * a;
    case AVS_EW_RELU6:
        return avs_relu6f(a);
    case AVS_EW_HARDSIGMOID:
        return avs_relu6f(a + 3.f) / 6.f;
    case AVS_EW_HARDSWISH:
        return a * (avs_relu6f(a + 3.f) / 6.f);
    case AVS_EW_SIN:
        return avs_sinf(a);
    case AVS_EW_COS:
        return avs_cosf(a);
    case AVS_EW_ABS:
        return avs_absf(a);
    case AVS_EW_RELU_GRAD:
        return b > 0.f ? a : 0.f;
    case AVS_EW_SIGMOID_GRAD:
        return a * b * (1.f - b);
    case AVS_EW_TANH_GRAD:
        return a * (1.f - b * b);
    case AVS_EW_GELU_GRAD:
        return a * avs_gelu_gradf(b);
    case AVS_EW_SILU_GRAD:
        return a * avs_silu_gradf(b);
    case AVS_EW_SIGN_MUL:
        return b > 0.f ? a : b < 0.f ? -a : a * b; /* b == 0 gives 0, NaN stays */
    case AVS_EW_RELU6_GRAD:
        return (b > 0.f) & (b < 6.f) ? a : 0.f;
    case AVS_EW_HARDSIGMOID_GRAD:
        return (b > 0.f) & (b < 1.f) ? a / 6.f : 0.f;
    case AVS_EW_HARDSWISH_GRAD:
        return a * (avs_relu6f(b + 3.f) / 6.f + ((b > -3.f) & (b < 3.f) ? b / 6.f : 0.f));
    default:
        return a;
    }
}

/* One input: element (i / (mid*inner)) * inner + i % inner, f32 or (is_i32) i32. */
typedef struct {
    const void *data;
    int64_t mid, inner;
    int32_t is_i32;
} avs_ew_stream;

typedef struct {
    avs_ew_stream s[AVS_MAX_IN];
    avs_ew_instr instr[AVS_EW_MAX_INSTR];
    float *y;
    int32_t n;
} avs_ew_p;

#if AVS_LANES > 1
AVS_FN float avs_ew_read(const avs_ew_stream *s, int64_t i)
{
    const int64_t j = s->mid == 1 ? i : i / (s->mid * s->inner) * s->inner + i % s->inner;
    return s->is_i32 ? (float)((const int32_t *)s->data)[j] : ((const float *)s->data)[j];
}

/* Temps are four scalars behind selects: an indexed array would live in local memory. */
AVS_FN void avs_ew_body(const avs_ew_p *p, int64_t i)
{
    float acc = 0.f, t0 = 0.f, t1 = 0.f, t2 = 0.f, t3 = 0.f;
    for (int k = 0; k < p->n; k++) {
        const avs_ew_instr *q = &p->instr[k];
        float b = q->imm;
        if (q->code == AVS_EW_SAVE) {
            t0 = q->arg == 0 ? acc : t0;
            t1 = q->arg == 1 ? acc : t1;
            t2 = q->arg == 2 ? acc : t2;
            t3 = q->arg == 3 ? acc : t3;
            continue;
        }
        if (q->src == AVS_EW_TEMP) b = q->arg == 0 ? t0 : q->arg == 1 ? t1 : q->arg == 2 ? t2 : t3;
        const int is_unary = q->code >= AVS_EW_NEG && q->code <= AVS_EW_ABS;
        if (q->src == AVS_EW_STREAM && !is_unary) b = avs_ew_read(&p->s[q->arg], i);
        acc = avs_ew_apply(q->code, acc, b);
    }
    p->y[i] = acc;
}
AVS_KERNEL_EW(avs_ew, avs_ew_p)
#endif

#endif
