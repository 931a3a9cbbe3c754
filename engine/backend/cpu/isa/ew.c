/* Elementwise programs: blocks of 1024 elements stay in L1 while the instructions run over them one after another.
 *
 * How an input is broadcast is worked out once per call. A full f32 stream is read in place; anything else is laid out
 * in a buffer of the block's length first. An operand that is one number for the whole block (immediate, row scalar)
 * has its own loop. A program starts with a LOAD, as infer demands; it moves nothing and the last instruction writes the output directly, so a program of
 * one instruction is one pass over memory. */
#include <string.h>
#include "engine/backend/cpu/isa/isa.h"
#include "engine/kernel/ew.k.h"

enum { BLOCK = 1024 };

/* Codes by operand; SAVE is handled apart. */
// clang-format off
#define BINARY_CODES(X)                                                                                      \
    X(ADD) X(SUB) X(RSUB) X(MUL) X(DIV) X(RDIV) X(MAX) X(MIN) X(GT) X(RELU_GRAD) X(SIGMOID_GRAD) X(TANH_GRAD) \
    X(GELU_GRAD) X(SILU_GRAD) X(SIGN_MUL) X(RELU6_GRAD) X(HARDSIGMOID_GRAD) X(HARDSWISH_GRAD)
#define UNARY_CODES(X)                                                                                       \
    X(NEG) X(RELU) X(SIGMOID) X(TANH) X(GELU) X(SILU) X(EXP) X(LOG) X(SQRT) X(RSQRT) X(SQUARE) X(RELU6) \
    X(HARDSIGMOID) X(HARDSWISH) X(SIN) X(COS) X(ABS)
// clang-format on

static bool is_unary(int code)
{
    return code >= AVS_EW_NEG && code <= AVS_EW_ABS;
}

/* NOLINTBEGIN(bugprone-branch-clone): each case folds to another instruction */
/* dst may be a; b is a block of n elements. */
static void run_binary(int code, float *dst, const float *a, const float *b, int64_t n)
{
    switch (code) {
#define X(E)                                                                                                 \
    case AVS_EW_##E:                                                                                         \
        AVS_SIMD                                                                                             \
        for (int64_t i = 0; i < n; i++) dst[i] = avs_ew_apply(AVS_EW_##E, a[i], b[i]);                       \
        break;
        BINARY_CODES(X)
#undef X
    default:
        break;
    }
}

static void run_scalar(int code, float *dst, const float *a, float b, int64_t n)
{
    switch (code) {
#define X(E)                                                                                                 \
    case AVS_EW_##E:                                                                                         \
        AVS_SIMD                                                                                             \
        for (int64_t i = 0; i < n; i++) dst[i] = avs_ew_apply(AVS_EW_##E, a[i], b);                          \
        break;
        BINARY_CODES(X)
#undef X
    default:
        break;
    }
}

static void run_unary(int code, float *dst, const float *a, int64_t n)
{
    switch (code) {
#define X(E)                                                                                                 \
    case AVS_EW_##E:                                                                                         \
        AVS_SIMD                                                                                             \
        for (int64_t i = 0; i < n; i++) dst[i] = avs_ew_apply(AVS_EW_##E, a[i], 0.f);                        \
        break;
        UNARY_CODES(X)
#undef X
    default:
        break;
    }
}
/* NOLINTEND(bugprone-branch-clone) */

static float stream_at(const avs_ew_stream *s, int64_t j)
{
    return s->is_i32 ? (float)((const int32_t *)s->data)[j] : ((const float *)s->data)[j];
}

static void copy_run(const avs_ew_stream *s, int64_t j, int64_t n, float *dst)
{
    if (s->is_i32) {
        const int32_t *src = (const int32_t *)s->data + j;
        AVS_SIMD
        for (int64_t i = 0; i < n; i++) dst[i] = (float)src[i];
    } else {
        memcpy(dst, (const float *)s->data + j, (size_t)n * sizeof(float));
    }
}

/* Elements [i0, i0 + n) of a broadcast stream into dst. */
static void gather_block(const avs_ew_stream *s, int64_t i0, int64_t n, float *dst)
{
    const int64_t inner = s->inner, span = s->mid * inner;
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a block exists, so no extent is 0 */
    int64_t o = i0 / span, rest = i0 % span, i = 0;
    if (inner == 1) {
        while (i < n) { /* runs of one value */
            const int64_t len = avs_min64(span - rest, n - i);
            const float v = stream_at(s, o++);
            AVS_SIMD
            for (int64_t j = 0; j < len; j++) dst[i + j] = v;
            i += len;
            rest = 0;
        }
        return;
    }
    int64_t c = rest % inner;
    while (i < n) { /* runs along the inner axis */
        const int64_t len = avs_min64(inner - c, n - i);
        copy_run(s, o * inner + c, len, dst + i);
        i += len;
        rest += len;
        c = 0;
        if (rest == span) {
            rest = 0;
            o++;
        }
    }
}

/* One operand of one instruction over a block: a pointer, or NULL and a number for the whole block. */
typedef struct {
    const float *v;
    float s;
} operand;

static operand fetch(const avs_ew_stream *s, int64_t i0, int64_t n, float *buf)
{
    if (s->mid == 1) {
        if (!s->is_i32) return (operand){.v = (const float *)s->data + i0};
        copy_run(s, i0, n, buf);
        return (operand){.v = buf};
    }
    if (s->inner == 1 && i0 / s->mid == (i0 + n - 1) / s->mid)
        return (operand){.v = NULL, .s = stream_at(s, i0 / s->mid)};
    gather_block(s, i0, n, buf);
    return (operand){.v = buf};
}

/* The block's operand of instruction q; streams that cannot be read in place are laid out in buf. */
static operand operand_of(const avs_ew_p *p, const avs_ew_instr *q, int64_t i0, int64_t n,
                          float temp[AVS_EW_TEMPS][BLOCK], float *buf)
{
    if (q->src == AVS_EW_TEMP) return (operand){.v = temp[q->arg]};
    if (q->src == AVS_EW_STREAM) return fetch(&p->s[q->arg], i0, n, buf);
    return (operand){.v = NULL, .s = q->imm};
}

/* A LOAD: where the accumulator now is. Nothing moves unless one number has to fill the block. */
static const float *load(operand b, int64_t n, float *buf)
{
    if (b.v) return b.v;
    for (int64_t i = 0; i < n; i++) buf[i] = b.s;
    return buf;
}

static void run_block(const avs_ew_p *p, int64_t i0, int64_t n)
{
    _Alignas(64) float accbuf[BLOCK], buf[BLOCK], loaded[BLOCK], temp[AVS_EW_TEMPS][BLOCK];
    const float *acc = load(operand_of(p, &p->instr[0], i0, n, temp, loaded), n, loaded);
    for (int k = 1; k < p->n; k++) {
        const avs_ew_instr *q = &p->instr[k];
        float *dst = k == p->n - 1 ? p->y + i0 : accbuf;
        if (q->code == AVS_EW_LOAD) {
            acc = load(operand_of(p, q, i0, n, temp, loaded), n, loaded);
        } else if (q->code == AVS_EW_SAVE) {
            memcpy(temp[q->arg], acc, (size_t)n * sizeof(float));
        } else if (is_unary(q->code)) {
            run_unary(q->code, dst, acc, n);
            acc = dst;
        } else {
            const operand b = operand_of(p, q, i0, n, temp, buf);
            if (b.v)
                run_binary(q->code, dst, acc, b.v, n);
            else
                run_scalar(q->code, dst, acc, b.s, n);
            acc = dst;
        }
    }
    if (acc != p->y + i0) memmove(p->y + i0, acc, (size_t)n * sizeof(float));
}

int AVS_ISA(avs_cpu_ew)(const avs_cpu_call *c)
{
    const avs_kernel_args *k = &c->k;
    const avs_ew_attr *at = k->attr;
    const avs_type *t = &k->out[0].type;
    avs_ew_p p = {.y = k->out[0].data, .n = at->n};
    for (int i = 0; i < at->n; i++) p.instr[i] = at->instr[i];
    for (int i = 0; i < k->n_in; i++) {
        p.s[i] = (avs_ew_stream){
            .data = k->in[i].data, .mid = 1, .inner = 1, .is_i32 = k->in[i].type.dtype == AVS_I32};
        if (!avs_ew_broadcast(&k->in[i].type, t, &p.s[i].mid, &p.s[i].inner)) return AVS_ESHAPE;
    }
    const int64_t n = avs_type_count(t);
#pragma omp parallel for schedule(static) if (n * at->n >= 2 * AVS_PAR_MIN)
    for (int64_t i = 0; i < n; i += BLOCK) run_block(&p, i, avs_min64(BLOCK, n - i));
    return AVS_OK;
}
