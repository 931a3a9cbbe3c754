/* EW: pointwise programs. Builders make one operation per node (LOAD stream 0; OP operand); fusion concatenates them
 * later, so only such single operations are differentiated here.
 *
 * MAX and MIN give the gradient to the operand that is strictly ahead, to the other one otherwise. GT has no
 * gradient. */
#include "engine/graph/op/op.h"

bool avs_ew_broadcast(const avs_type *in, const avs_type *out, int64_t *mid, int64_t *inner)
{
    int lead = out->rank - in->rank, first = -1, last = -1;
    if (lead < 0) return false;
    for (int i = 0; i < out->rank; i++) {
        int have = i < lead ? 1 : in->d[i - lead];
        if (have == out->d[i]) continue;
        if (have != 1) return false;
        if (first < 0) first = i;
        last = i;
    }
    *mid = *inner = 1;
    if (first < 0) {
        *inner = avs_type_count(out);
        return true;
    }
    for (int i = first; i < out->rank; i++) {
        int have = i < lead ? 1 : in->d[i - lead];
        if (i > last)
            *inner *= out->d[i];
        else if (have != 1)
            return false; /* a second run: extents between two broadcast axes are kept */
        else
            *mid *= out->d[i];
    }
    return true;
}

static int check_instr(const avs_ew_instr *p, int n_in, int at, unsigned *saved, avs_err *e)
{
    if (p->code >= AVS_EW_N_CODES) return avs_fail(e, AVS_ERANGE, "instruction %d has code %d", at, p->code);
    bool is_unary = p->code >= AVS_EW_NEG && p->code <= AVS_EW_ABS;
    if (p->code == AVS_EW_SAVE) {
        if (p->arg >= AVS_EW_TEMPS)
            return avs_fail(e, AVS_ERANGE, "instruction %d saves temp %d", at, p->arg);
        *saved |= 1u << p->arg;
        return AVS_OK;
    }
    if (is_unary) return AVS_OK;
    if (p->src == AVS_EW_STREAM && p->arg >= n_in)
        return avs_fail(e, AVS_ERANGE, "instruction %d reads stream %d of %d", at, p->arg, n_in);
    if (p->src == AVS_EW_TEMP && (p->arg >= AVS_EW_TEMPS || !(*saved >> p->arg & 1)))
        return avs_fail(e, AVS_ERANGE, "instruction %d reads temp %d before it is saved", at, p->arg);
    if (p->src > AVS_EW_TEMP) return avs_fail(e, AVS_ERANGE, "instruction %d has source %d", at, p->src);
    return AVS_OK;
}

int avs_infer_ew(const avs_type *in, int n_in, const void *attr, avs_type *out, avs_err *e)
{
    const avs_ew_attr *a = attr;
    unsigned saved = 0;
    char text[2][64];
    int rc;
    if (a->n < 1 || a->n > AVS_EW_MAX_INSTR || a->instr[0].code != AVS_EW_LOAD)
        return avs_fail(e, AVS_ERANGE, "a program has 1 to %d instructions and starts with a load",
                        AVS_EW_MAX_INSTR);
    for (int i = 0; i < a->n; i++)
        if ((rc = check_instr(&a->instr[i], n_in, i, &saved, e)) != AVS_OK) return rc;
    for (int i = 0; i < n_in; i++) {
        int64_t mid, inner;
        if (in[i].dtype != AVS_F32 && in[i].dtype != AVS_I32)
            return avs_fail(e, AVS_ESHAPE, "operand %d is %s, not f32 or i32", i,
                            avs_dtype_name((avs_dtype)in[i].dtype));
        if (!avs_ew_broadcast(&in[i], &a->out, &mid, &inner))
            return avs_fail(e, AVS_ESHAPE, "operand %d %s does not spread over %s in one run of axes", i,
                            avs_type_text(&in[i], text[0], sizeof(text[0])),
                            avs_type_text(&a->out, text[1], sizeof(text[1])));
    }
    out[0] = a->out;
    out[0].dtype = AVS_F32;
    return AVS_OK;
}

/* ---------------------------------------------------------------- builders */

avs_val avs_ew_unary(avs_graph *g, avs_ew_code code, avs_val x)
{
    avs_ew_attr a = {.n = 2, .instr = {{.code = AVS_EW_LOAD}, {.code = (uint8_t)code}}, .out = *avs_t(g, x)};
    a.out.dtype = AVS_F32;
    if (code < AVS_EW_NEG || code > AVS_EW_ABS)
        return avs_graph_fail(g, AVS_ERANGE, "ew: code %d is not unary", (int)code);
    return avs_graph_node(g, AVS_OP_EW, &x, 1, &a, NULL);
}

static bool is_binary(avs_ew_code code)
{
    return code < AVS_EW_SAVE || (code > AVS_EW_ABS && code < AVS_EW_N_CODES);
}

avs_val avs_ew_binary(avs_graph *g, avs_ew_code code, avs_val a, avs_val b)
{
    const avs_type *ta = avs_t(g, a), *tb = avs_t(g, b), *big = ta->rank >= tb->rank ? ta : tb,
                   *low = big == ta ? tb : ta;
    avs_ew_attr p = {
        .n = 2,
        .instr = {{.code = AVS_EW_LOAD}, {.code = (uint8_t)code, .src = AVS_EW_STREAM, .arg = 1}},
        .out = *big};
    if (!is_binary(code)) return avs_graph_fail(g, AVS_ERANGE, "ew: code %d is not binary", (int)code);
    for (int i = 0; i < low->rank; i++) {
        int32_t *d = &p.out.d[big->rank - low->rank + i];
        if (low->d[i] > *d) *d = low->d[i];
    }
    p.out.dtype = AVS_F32;
    return avs_graph_node(g, AVS_OP_EW, (avs_val[]){a, b}, 2, &p, NULL);
}

avs_val avs_ew_imm(avs_graph *g, avs_ew_code code, avs_val x, float imm)
{
    avs_ew_attr p = {.n = 2,
                     .instr = {{.code = AVS_EW_LOAD}, {.code = (uint8_t)code, .src = AVS_EW_IMM, .imm = imm}},
                     .out = *avs_t(g, x)};
    p.out.dtype = AVS_F32;
    if (!is_binary(code)) return avs_graph_fail(g, AVS_ERANGE, "ew: code %d is not binary", (int)code);
    return avs_graph_node(g, AVS_OP_EW, &x, 1, &p, NULL);
}

avs_val avs_expand(avs_graph *g, avs_val x, avs_type t)
{
    avs_ew_attr p = {.n = 1, .instr = {{.code = AVS_EW_LOAD}}, .out = t};
    if (x && avs_type_same_shape(avs_t(g, x), &t)) return x;
    p.out.dtype = AVS_F32;
    return avs_graph_node(g, AVS_OP_EW, &x, 1, &p, NULL);
}

/* ---------------------------------------------------------------- gradient */

/* Sums a gradient of type `from` over the axes that operand v was broadcast along. */
static avs_val unspread(avs_graph *g, avs_val grad, avs_val v)
{
    const avs_type t = *avs_t(g, v), from = *avs_t(g, grad);
    int64_t mid, inner;
    if (!grad || !avs_ew_broadcast(&t, &from, &mid, &inner)) return 0;
    if (mid > 1) {
        avs_val x = avs_reshape(g, grad, AVS_F32T(avs_type_count(&from) / (mid * inner), mid, inner));
        grad = avs_reduce(g, x, 1, 2, false);
    }
    return avs_reshape(g, grad, t);
}

static avs_val vjp_unary(avs_graph *g, avs_ew_code code, avs_val gy, avs_val x, avs_val y)
{
    switch (code) {
    case AVS_EW_NEG:
        return avs_ew_unary(g, AVS_EW_NEG, gy);
    case AVS_EW_RELU:
        return avs_ew_binary(g, AVS_EW_RELU_GRAD, gy, y);
    case AVS_EW_SIGMOID:
        return avs_ew_binary(g, AVS_EW_SIGMOID_GRAD, gy, y);
    case AVS_EW_TANH:
        return avs_ew_binary(g, AVS_EW_TANH_GRAD, gy, y);
    case AVS_EW_GELU:
        return avs_ew_binary(g, AVS_EW_GELU_GRAD, gy, x);
    case AVS_EW_SILU:
        return avs_ew_binary(g, AVS_EW_SILU_GRAD, gy, x);
    case AVS_EW_EXP:
        return avs_mul(g, gy, y);
    case AVS_EW_LOG:
        return avs_div(g, gy, x);
    case AVS_EW_SQRT:
        return avs_scale(g, avs_div(g, gy, y), 0.5f);
    case AVS_EW_RSQRT:
        return avs_scale(g, avs_div(g, avs_mul(g, gy, y), x), -0.5f); /* -1/2 x^(-3/2) */
    case AVS_EW_SQUARE:
        return avs_scale(g, avs_mul(g, gy, x), 2);
    case AVS_EW_RELU6:
        return avs_ew_binary(g, AVS_EW_RELU6_GRAD, gy, y);
    case AVS_EW_HARDSIGMOID:
        return avs_ew_binary(g, AVS_EW_HARDSIGMOID_GRAD, gy, y);
    case AVS_EW_HARDSWISH:
        return avs_ew_binary(g, AVS_EW_HARDSWISH_GRAD, gy, x);
    case AVS_EW_SIN:
        return avs_mul(g, gy, avs_ew_unary(g, AVS_EW_COS, x));
    case AVS_EW_COS:
        return avs_ew_unary(g, AVS_EW_NEG, avs_mul(g, gy, avs_ew_unary(g, AVS_EW_SIN, x)));
    case AVS_EW_ABS:
        return avs_ew_binary(g, AVS_EW_SIGN_MUL, gy, x);
    default:
        return avs_graph_fail(g, AVS_ERANGE, "ew: code %d cannot be differentiated", (int)code);
    }
}

static avs_val vjp_imm(avs_graph *g, avs_ew_code code, avs_val gy, avs_val x, avs_val y, float imm)
{
    switch (code) {
    case AVS_EW_LOAD:
    case AVS_EW_GT:
        return 0;
    case AVS_EW_ADD:
    case AVS_EW_SUB:
        return gy;
    case AVS_EW_RSUB:
        return avs_ew_unary(g, AVS_EW_NEG, gy);
    case AVS_EW_MUL:
        return avs_scale(g, gy, imm);
    case AVS_EW_DIV:
        return avs_ew_imm(g, AVS_EW_DIV, gy, imm);
    case AVS_EW_RDIV:
        return avs_ew_unary(g, AVS_EW_NEG, avs_div(g, avs_mul(g, gy, y), x));
    case AVS_EW_MAX:
        return avs_mul(g, gy, avs_ew_imm(g, AVS_EW_GT, x, imm));
    case AVS_EW_MIN: /* 1 where -x > -imm */
        return avs_mul(g, gy, avs_ew_imm(g, AVS_EW_GT, avs_ew_unary(g, AVS_EW_NEG, x), -imm));
    default:
        return avs_graph_fail(g, AVS_ERANGE, "ew: code %d cannot be differentiated", (int)code);
    }
}

/* y = a OP b; gradients of the extents of y. */
static void vjp_binary(avs_graph *g, avs_ew_code code, avs_val gy, avs_val a, avs_val b, avs_val y,
                       const bool *need, avs_val *gin)
{
    avs_val den = code == AVS_EW_RDIV ? a : b;
    int i_num = code == AVS_EW_RDIV ? 1 : 0;
    switch (code) {
    case AVS_EW_LOAD:
        gin[1] = gy;
        break;
    case AVS_EW_GT:
        break;
    case AVS_EW_ADD:
        gin[0] = gin[1] = gy;
        break;
    case AVS_EW_SUB:
    case AVS_EW_RSUB:
        gin[code == AVS_EW_SUB ? 0 : 1] = gy;
        if (need[code == AVS_EW_SUB ? 1 : 0])
            gin[code == AVS_EW_SUB ? 1 : 0] = avs_ew_unary(g, AVS_EW_NEG, gy);
        break;
    case AVS_EW_MUL:
        if (need[0]) gin[0] = avs_mul(g, gy, b);
        if (need[1]) gin[1] = avs_mul(g, gy, a);
        break;
    case AVS_EW_DIV:
    case AVS_EW_RDIV:
        if (need[i_num]) gin[i_num] = avs_div(g, gy, den);
        if (need[1 - i_num]) gin[1 - i_num] = avs_ew_unary(g, AVS_EW_NEG, avs_div(g, avs_mul(g, gy, y), den));
        break;
    case AVS_EW_MAX:
    case AVS_EW_MIN: {
        avs_val ahead =
            code == AVS_EW_MAX ? avs_ew_binary(g, AVS_EW_GT, a, b) : avs_ew_binary(g, AVS_EW_GT, b, a);
        gin[0] = avs_mul(g, gy, ahead);
        if (need[1]) gin[1] = avs_sub(g, gy, gin[0]);
        break;
    }
    default:
        avs_graph_fail(g, AVS_ERANGE, "ew: code %d cannot be differentiated", (int)code);
    }
}

void avs_vjp_ew(avs_graph *g, uint32_t node, const avs_val *gout, const bool *need, avs_val *gin)
{
    const avs_node n = g->node[node];
    const avs_ew_attr *p = n.attr;
    avs_ew_instr op = p->instr[p->n - 1];
    avs_val part[AVS_MAX_IN] = {0};
    bool is_single = p->n <= 2 && p->instr[0].src == AVS_EW_STREAM && p->instr[0].arg == 0;
    if (p->n == 1)
        part[0] = gout[0];
    else if (is_single && op.code >= AVS_EW_NEG && op.code <= AVS_EW_ABS)
        part[0] = vjp_unary(g, (avs_ew_code)op.code, gout[0], n.in[0], n.out[0]);
    else if (is_single && op.src == AVS_EW_IMM)
        part[0] = vjp_imm(g, (avs_ew_code)op.code, gout[0], n.in[0], n.out[0], op.imm);
    else if (is_single && op.src == AVS_EW_STREAM && op.arg == 1)
        vjp_binary(g, (avs_ew_code)op.code, gout[0], n.in[0], n.in[1], n.out[0], need, part);
    else
        avs_graph_fail(g, AVS_ERANGE, "ew: only programs of one operation can be differentiated");
    for (int i = 0; i < n.n_in; i++)
        if (need[i] && part[i]) gin[i] = unspread(g, part[i], n.in[i]);
}
