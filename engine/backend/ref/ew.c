/* EW: the program is interpreted element by element. */
#include "engine/backend/ref/io.h"

#include <math.h>

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

static double gelu_grad(double x)
{
    return 0.5 * (1 + erf(x * M_SQRT1_2)) + x * exp(-0.5 * x * x) * 0.5 * M_2_SQRTPI * M_SQRT1_2;
}

static double silu_grad(double x)
{
    double s = sigmoid(x);
    return s * (1 + x * (1 - s));
}

static double relu6(double x)
{
    return x > 0 ? (x < 6 ? x : 6) : 0;
}

static double apply(avs_ew_code code, double acc, double op)
{
    switch (code) {
    case AVS_EW_LOAD:
        return op;
    case AVS_EW_ADD:
        return acc + op;
    case AVS_EW_SUB:
        return acc - op;
    case AVS_EW_RSUB:
        return op - acc;
    case AVS_EW_MUL:
        return acc * op;
    case AVS_EW_DIV:
        return acc / op;
    case AVS_EW_RDIV:
        return op / acc;
    case AVS_EW_MAX:
        return acc > op ? acc : op;
    case AVS_EW_MIN:
        return acc < op ? acc : op;
    case AVS_EW_GT:
        return acc > op ? 1 : 0;
    case AVS_EW_NEG:
        return -acc;
    case AVS_EW_RELU:
        return acc > 0 ? acc : 0;
    case AVS_EW_SIGMOID:
        return sigmoid(acc);
    case AVS_EW_TANH:
        return tanh(acc);
    case AVS_EW_GELU:
        return 0.5 * acc * (1 + erf(acc * M_SQRT1_2));
    case AVS_EW_SILU:
        return acc * sigmoid(acc);
    case AVS_EW_EXP:
        return exp(acc);
    case AVS_EW_LOG:
        return log(acc);
    case AVS_EW_SQRT:
        return sqrt(acc);
    case AVS_EW_RSQRT:
        return 1 / sqrt(acc);
    case AVS_EW_SQUARE:
        return acc * acc;
    case AVS_EW_RELU6:
        return relu6(acc);
    case AVS_EW_HARDSIGMOID:
        return relu6(acc + 3) / 6;
    case AVS_EW_HARDSWISH:
        return acc * (relu6(acc + 3) / 6);
    case AVS_EW_SIN:
        return sin(acc);
    case AVS_EW_COS:
        return cos(acc);
    case AVS_EW_ABS:
        return fabs(acc);
    case AVS_EW_RELU_GRAD:
        return op > 0 ? acc : 0;
    case AVS_EW_SIGMOID_GRAD:
        return acc * op * (1 - op);
    case AVS_EW_TANH_GRAD:
        return acc * (1 - op * op);
    case AVS_EW_GELU_GRAD:
        return acc * gelu_grad(op);
    case AVS_EW_SILU_GRAD:
        return acc * silu_grad(op);
    case AVS_EW_SIGN_MUL:
        return op > 0 ? acc : op < 0 ? -acc : 0;
    case AVS_EW_RELU6_GRAD:
        return op > 0 && op < 6 ? acc : 0;
    case AVS_EW_HARDSIGMOID_GRAD:
        return op > 0 && op < 1 ? acc / 6 : 0;
    case AVS_EW_HARDSWISH_GRAD:
        return acc * (relu6(op + 3) / 6 + (op > -3 && op < 3 ? op / 6 : 0));
    case AVS_EW_SAVE:
    case AVS_EW_N_CODES:
        break;
    }
    return acc;
}

int avs_ref_ew(const avs_kernel_args *a)
{
    const avs_ew_attr *p = a->attr;
    const avs_type *t = &a->out[0].type;
    int64_t n = avs_type_count(t), mid[AVS_MAX_IN] = {0}, inner[AVS_MAX_IN] = {0};
    ref_io io;
    int rc = ref_begin(&io, a);
    if (rc != AVS_OK) return rc;
    for (int i = 0; i < a->n_in; i++) avs_ew_broadcast(&a->in[i].type, t, &mid[i], &inner[i]);
    for (int64_t i = 0; i < n; i++) {
        double acc = 0, temp[AVS_EW_TEMPS] = {0};
        for (int k = 0; k < p->n; k++) {
            const avs_ew_instr *s = &p->instr[k];
            double op = (double)s->imm;
            if (s->code == AVS_EW_SAVE) {
                temp[s->arg] = acc;
                continue;
            }
            if (s->code < AVS_EW_NEG || s->code > AVS_EW_ABS) {
                if (s->src == AVS_EW_TEMP) op = temp[s->arg];
                if (s->src == AVS_EW_STREAM)
                    op = io.in[s->arg][i / (mid[s->arg] * inner[s->arg]) * inner[s->arg] + i % inner[s->arg]];
            }
            acc = apply((avs_ew_code)s->code, acc, op);
        }
        io.out[0][i] = acc;
    }
    return ref_end(&io, AVS_OK);
}
