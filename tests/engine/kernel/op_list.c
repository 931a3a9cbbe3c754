/* The shapes on which every kernel is compared with the reference: 1, primes, 17, 31, 33, 64, 300, and shapes that
 * models use. Cases of one op stand together. */
#include "tests/engine/kernel/op_list.h"

#include <math.h>
#include <string.h>

static op_case cases[1024];
static int n_cases;
static char attr_pool[1 << 18];
static size_t attr_used;

/* Appends a case; the attributes are copied. */
static op_case *add(avs_op op, const char *note, const void *attr, size_t attr_size, double K)
{
    op_case *c = &cases[n_cases++];
    memset(c, 0, sizeof(*c));
    c->op = op;
    c->note = note;
    c->K = K;
    if (attr) {
        c->attr = attr_pool + attr_used;
        memcpy(attr_pool + attr_used, attr, attr_size);
        attr_used += (attr_size + 15) & ~(size_t)15;
    }
    return c;
}
#define ADD(op, note, attr, K) add((op), (note), &(attr), sizeof(attr), (K))

static void in(op_case *c, avs_type t, op_fill fill)
{
    c->in[c->n_in] = t;
    c->fill[c->n_in++] = fill;
}

static const int rows_of[] = {1, 7, 33, 300}, widths[] = {1, 2, 12, 16, 17, 31, 33, 64, 65, 300};

static void add_rows(void)
{
    for (size_t i = 0; i < sizeof(rows_of) / sizeof(int); i++) {
        for (size_t j = 0; j < sizeof(widths) / sizeof(int); j++) {
            const int R = rows_of[i], C = widths[j];
            const avs_type x = AVS_F32T(R, C), v = AVS_F32T(C), r = AVS_F32T(R);
            op_case *c = add(AVS_OP_SOFTMAX, "rows", NULL, 0, C);
            in(c, x, FILL_NORMAL);
            c = add(AVS_OP_SOFTMAX_BWD, "rows", NULL, 0, C);
            in(c, x, FILL_NORMAL);
            in(c, x, FILL_UNIT);
            const avs_norm_attr at = {.eps = 1e-5f};
            c = ADD(AVS_OP_LAYERNORM, "rows", at, C);
            in(c, x, C > 2 ? FILL_OFFSET : FILL_NORMAL);
            in(c, v, FILL_NORMAL);
            in(c, v, FILL_NORMAL);
            c = ADD(AVS_OP_LAYERNORM_BWD, "rows", at, fmax(R, C));
            in(c, x, FILL_NORMAL);
            in(c, x, FILL_NORMAL);
            in(c, v, FILL_NORMAL);
            in(c, r, FILL_NORMAL);
            in(c, r, FILL_POSITIVE);
        }
    }
}

static void add_batchnorm(int B, int H, int W, int C, int act, bool is_sync)
{
    const avs_type x = AVS_F32T(B, H, W, C), v = AVS_F32T(C);
    const avs_norm_attr at = {.eps = 1e-5f, .momentum = 0.1f, .act = act, .is_sync = is_sync};
    op_case *c = ADD(AVS_OP_BATCHNORM, "batch", at, B * H * W);
    in(c, x, FILL_OFFSET);
    for (int i = 0; i < 3; i++) in(c, v, FILL_NORMAL);
    in(c, v, FILL_POSITIVE);
    c = ADD(AVS_OP_BATCHNORM_BWD, "batch", at, B * H * W);
    in(c, x, FILL_NORMAL);
    in(c, x, FILL_NORMAL);
    in(c, v, FILL_NORMAL);
    in(c, v, FILL_NORMAL);
    in(c, v, FILL_POSITIVE);
    if (act == AVS_ACT_RELU) in(c, v, FILL_NORMAL);
}

static void add_groupnorm(int B, int H, int W, int C, int groups)
{
    const avs_type x = AVS_F32T(B, H, W, C), v = AVS_F32T(C), s = AVS_F32T(B, groups);
    const avs_norm_attr at = {.eps = 1e-5f, .groups = groups};
    const double K = (double)H * W * C / groups;
    op_case *c = ADD(AVS_OP_GROUPNORM, "groups", at, K);
    in(c, x, K > 8 ? FILL_OFFSET : FILL_NORMAL);
    in(c, v, FILL_NORMAL);
    in(c, v, FILL_NORMAL);
    c = ADD(AVS_OP_GROUPNORM_BWD, "groups", at, K * B);
    in(c, x, FILL_NORMAL);
    in(c, x, FILL_NORMAL);
    in(c, v, FILL_NORMAL);
    in(c, s, FILL_NORMAL);
    in(c, s, FILL_POSITIVE);
}

static void add_pool(int B, int H, int W, int C, int k, int s, int p)
{
    const avs_pool_attr at = {.k = k, .s = s, .p = p, .in_h = H, .in_w = W};
    const int Ho = (H + 2 * p - k) / s + 1, Wo = (W + 2 * p - k) / s + 1;
    op_case *c = ADD(AVS_OP_POOL_MAX, "pool", at, 1);
    in(c, AVS_F32T(B, H, W, C), FILL_NORMAL);
    c = ADD(AVS_OP_POOL_MAX, "pool with ties", at, 1);
    in(c, AVS_F32T(B, H, W, C), FILL_MASK);
    c = ADD(AVS_OP_POOL_MAX_BWD, "pool", at, k * k);
    in(c, AVS_F32T(B, Ho, Wo, C), FILL_NORMAL);
    in(c, AVS_TYPE(AVS_U8, B, Ho, Wo, C), FILL_WINDOW);
    c->limit = k * k;
}

/* k 0: adaptive, to Ho x Wo. */
static void add_pool_avg(int H, int W, int C, int k, int s, int p, int Ho, int Wo)
{
    avs_pool_avg_attr at = {.k = k, .s = s, .p = p, .in_h = H, .in_w = W, .out_h = Ho, .out_w = Wo};
    if (k) {
        at.out_h = (H + 2 * p - k) / s + 1;
        at.out_w = (W + 2 * p - k) / s + 1;
    }
    op_case *c = ADD(AVS_OP_POOL_AVG, k ? "mean" : "adaptive", at, (double)H * W);
    in(c, AVS_F32T(2, H, W, C), FILL_NORMAL);
    c = ADD(AVS_OP_POOL_AVG_BWD, k ? "mean" : "adaptive", at, (double)H * W);
    in(c, AVS_F32T(2, at.out_h, at.out_w, C), FILL_NORMAL);
}

/* {B, H, W, C, kh, kw, sh, sw, ph, pw, dh, dw}: the weight gradient of a depthwise convolution. */
static void add_depthwise(const int *v)
{
    const avs_conv_attr at = {.sh = v[6],
                              .sw = v[7],
                              .ph = v[8],
                              .pw = v[9],
                              .dh = v[10],
                              .dw = v[11],
                              .groups = v[3],
                              .kh = v[4],
                              .kw = v[5],
                              .in_h = v[1],
                              .in_w = v[2]};
    const int Ho = (v[1] + 2 * v[8] - v[10] * (v[4] - 1) - 1) / v[6] + 1,
              Wo = (v[2] + 2 * v[9] - v[11] * (v[5] - 1) - 1) / v[7] + 1;
    op_case *c = ADD(AVS_OP_CONV2D_BWD_W, "depthwise", at, (double)v[0] * Ho * Wo);
    in(c, AVS_F32T(v[0], v[1], v[2], v[3]), FILL_NORMAL);
    in(c, AVS_F32T(v[0], Ho, Wo, v[3]), FILL_NORMAL);
}

static void add_resize(int B, int H, int W, int C, int Ho, int Wo)
{
    for (int v = 0; v < 3; v++) {
        const avs_resize_attr at = {.in_h = H,
                                    .in_w = W,
                                    .out_h = Ho,
                                    .out_w = Wo,
                                    .mode = v == 2 ? AVS_RESIZE_NEAREST : AVS_RESIZE_BILINEAR,
                                    .align_corners = v == 1};
        static const char *const notes[] = {"bilinear", "bilinear, corners aligned", "nearest"};
        op_case *c = ADD(AVS_OP_RESIZE, notes[v], at, 4);
        in(c, AVS_F32T(B, H, W, C), FILL_NORMAL);
        const int per_pixel = 4 * (Ho / H + 1) * (Wo / W + 1);
        c = ADD(AVS_OP_RESIZE_BWD, notes[v], at, per_pixel);
        in(c, AVS_F32T(B, Ho, Wo, C), FILL_NORMAL);
    }
}

static void add_msdeform(int B, int Q, int heads, int D, int levels, int points)
{
    avs_msdeform_attr at = {.heads = heads, .levels = levels, .points = points};
    int S = 0;
    for (int l = 0; l < levels; l++) {
        at.h[l] = 7 >> l;
        at.w[l] = 9 - 2 * l;
        S += at.h[l] * at.w[l];
    }
    const int64_t MD = (int64_t)heads * D, MLP = (int64_t)heads * levels * points;
    const avs_type value = AVS_F32T(B, S, MD), loc = AVS_F32T(B, Q, MLP * 2);
    const avs_type weight = AVS_F32T(B, Q, MLP), out = AVS_F32T(B, Q, MD);
    op_case *c = ADD(AVS_OP_MSDEFORM, "deformable", at, levels * points * 4);
    in(c, value, FILL_NORMAL);
    in(c, loc, FILL_LOC);
    in(c, weight, FILL_UNIT);
    c = ADD(AVS_OP_MSDEFORM_BWD, "deformable", at, fmax(Q * points, D * 4));
    in(c, out, FILL_NORMAL);
    in(c, value, FILL_NORMAL);
    in(c, loc, FILL_LOC);
    in(c, weight, FILL_UNIT);
}

static void add_ew(void)
{
    const avs_type full = AVS_F32T(3, 37, 33), row = AVS_F32T(3, 37, 1), chan = AVS_F32T(33),
                   one = AVS_F32T(1);
    const avs_type batch = AVS_F32T(3, 1, 33), grid = AVS_F32T(37, 33), ints = AVS_TYPE(AVS_I32, 3, 37, 33);
    const avs_type sample = AVS_F32T(3, 1, 1), int_row = AVS_TYPE(AVS_I32, 3, 37, 1);
    const avs_type second[] = {full, row, chan, one, batch, grid, ints, sample, int_row};
    for (int code = 0; code < AVS_EW_N_CODES; code++) {
        const bool unary = code >= AVS_EW_NEG && code <= AVS_EW_ABS;
        const bool is_root = code == AVS_EW_LOG || code == AVS_EW_SQRT || code == AVS_EW_RSQRT;
        if (code == AVS_EW_SAVE) continue;
        for (size_t s = 0; s < (unary ? 1 : sizeof(second) / sizeof(second[0])); s++) {
            avs_ew_attr at = {.n = 2, .out = full};
            at.instr[0] = (avs_ew_instr){.code = AVS_EW_LOAD};
            at.instr[1] = (avs_ew_instr){.code = (uint8_t)code, .src = AVS_EW_STREAM, .arg = unary ? 0 : 1};
            op_case *c = ADD(AVS_OP_EW, "one instruction", at, 1);
            in(c, full, is_root || code == AVS_EW_RDIV ? FILL_POSITIVE : FILL_NORMAL);
            if (!unary) in(c, second[s], code == AVS_EW_DIV ? FILL_POSITIVE : FILL_NORMAL);
            if (code == AVS_EW_DIV && second[s].dtype == AVS_I32) n_cases--; /* zeros among small integers */
            c->limit = 5;
        }
        avs_ew_attr at = {.n = 2, .out = full};
        at.instr[0] = (avs_ew_instr){.code = AVS_EW_LOAD};
        at.instr[1] = (avs_ew_instr){.code = (uint8_t)code, .src = AVS_EW_IMM, .imm = 0.75f};
        if (!unary) in(ADD(AVS_OP_EW, "immediate", at, 1), full, FILL_POSITIVE);
    }
    /* t0 = x*s + b; gelu(t0) * sigmoid(t0) + r, then a second save: temps, channel vectors and a residual. */
    avs_ew_attr at = {.n = 10, .out = full};
    const avs_ew_instr program[] = {{AVS_EW_LOAD, AVS_EW_STREAM, 0, 0},    {AVS_EW_MUL, AVS_EW_STREAM, 1, 0},
                                    {AVS_EW_ADD, AVS_EW_STREAM, 2, 0},     {AVS_EW_SAVE, AVS_EW_STREAM, 0, 0},
                                    {AVS_EW_SIGMOID, AVS_EW_STREAM, 0, 0}, {AVS_EW_SAVE, AVS_EW_STREAM, 3, 0},
                                    {AVS_EW_LOAD, AVS_EW_TEMP, 0, 0},      {AVS_EW_GELU, AVS_EW_STREAM, 0, 0},
                                    {AVS_EW_MUL, AVS_EW_TEMP, 3, 0},       {AVS_EW_ADD, AVS_EW_STREAM, 3, 0}};
    memcpy(at.instr, program, sizeof(program));
    op_case *c = ADD(AVS_OP_EW, "a fused program", at, 4);
    in(c, full, FILL_NORMAL);
    in(c, chan, FILL_NORMAL);
    in(c, chan, FILL_NORMAL);
    in(c, full, FILL_NORMAL);
    /* Ends on SAVE, and on LOAD of a row scalar. */
    avs_ew_attr ends[2] = {{.n = 2, .out = full}, {.n = 1, .out = full}};
    ends[0].instr[0] = (avs_ew_instr){.code = AVS_EW_LOAD};
    ends[0].instr[1] = (avs_ew_instr){.code = AVS_EW_SAVE};
    ends[1].instr[0] = (avs_ew_instr){.code = AVS_EW_LOAD};
    in(ADD(AVS_OP_EW, "ends on save", ends[0], 1), full, FILL_NORMAL);
    in(ADD(AVS_OP_EW, "expands row scalars", ends[1], 1), row, FILL_NORMAL);
    ends[1].out = AVS_F32T(70001);
    in(ADD(AVS_OP_EW, "expands one number", ends[1], 1), one, FILL_NORMAL);
}

static void add_reduce(int a, int b, int c3, int from, int to)
{
    const avs_type x = AVS_F32T(a, b, c3);
    double K = 1;
    for (int i = from; i < to; i++) K *= x.d[i];
    for (int mean = 0; mean < 2; mean++) {
        const avs_reduce_attr at = {.from = from, .to = to, .mean = mean};
        in(ADD(AVS_OP_REDUCE, mean ? "mean" : "sum", at, K), x, FILL_NORMAL);
    }
}

static void add_moves(avs_type x, avs_type x2, int axis)
{
    avs_axis_attr at = {.axis = axis};
    op_case *c = ADD(AVS_OP_CONCAT, "two and one again", at, 1);
    c->limit = 200;
    in(c, x, FILL_NORMAL);
    in(c, x2, FILL_NORMAL);
    in(c, x, FILL_NORMAL);
    at = (avs_axis_attr){.axis = axis, .before = x.d[axis] / 3, .len = x.d[axis] - x.d[axis] / 2};
    c = ADD(AVS_OP_SLICE, "inside", at, 1);
    c->limit = 200;
    in(c, x, FILL_NORMAL);
    at = (avs_axis_attr){.axis = axis, .before = 2, .after = 1};
    c = ADD(AVS_OP_PAD, "both ends", at, 1);
    c->limit = 200;
    in(c, x, FILL_NORMAL);
}

static void add_permute(avs_type x, int p0, int p1, int p2, int p3, int p4)
{
    const avs_permute_attr at = {.perm = {p0, p1, p2, p3, p4}};
    op_case *c = ADD(AVS_OP_PERMUTE, "permutation", at, 1);
    c->limit = 200;
    in(c, x, FILL_NORMAL);
}

/* The index is drawn from 0 to limit - 1, so rows are named several times and some never. */
static void add_gather(int B, int R, int C, int Q)
{
    const avs_gather_attr at = {.rows = R};
    op_case *c = ADD(AVS_OP_GATHER_ROWS, "rows", at, 1);
    in(c, AVS_F32T(B, R, C), FILL_NORMAL);
    in(c, AVS_TYPE(AVS_I32, Q), FILL_CLASS);
    c->limit = R;
    c = ADD(AVS_OP_GATHER_ROWS_BWD, "rows", at, Q);
    in(c, AVS_F32T(B, Q, C), FILL_NORMAL);
    in(c, AVS_TYPE(AVS_I32, Q), FILL_CLASS);
    c->limit = R;
}

static void add_row_max(int B, int R, int C)
{
    const avs_gather_attr at = {.rows = R};
    in(ADD(AVS_OP_ROW_MAX, "rows", at, 1), AVS_F32T(B, R, C), FILL_NORMAL);
    in(ADD(AVS_OP_ROW_MAX, "rows with ties", at, 1), AVS_F32T(B, R, C), FILL_MASK);
    op_case *c = ADD(AVS_OP_ROW_MAX_BWD, "rows", at, 1);
    in(c, AVS_F32T(B, C), FILL_NORMAL);
    in(c, AVS_TYPE(AVS_I32, B, C), FILL_CLASS);
    c->limit = R;
}

static void add_dropout(void)
{
    static const struct {
        int rows, width, per_row;
        float p;
    } d[] = {{1, 1, 0, 0.1f},   {3, 255, 0, 0.5f}, {2, 1029, 0, 0.1f},
             {5, 331, 1, 0.5f}, {7, 33, 0, 0.f},   {2, 40000, 0, 0.25f}};
    for (size_t i = 0; i < sizeof(d) / sizeof(d[0]); i++) {
        const avs_dropout_attr at = {
            .stream = 0x9e3779b9u + (uint32_t)i, .p = d[i].p, .per_row = d[i].per_row};
        in(ADD(AVS_OP_DROPOUT, "dropout", at, 1), AVS_F32T(d[i].rows, d[i].width), FILL_NORMAL);
    }
}

static void add_loss(int B, int n, int classes)
{
    static const struct {
        int kind, squared;
        const char *note;
    } k[] = {{AVS_LOSS_BCE, 0, "bce"},
             {AVS_LOSS_DICE, 0, "dice"},
             {AVS_LOSS_DICE, 1, "dice squared"},
             {AVS_LOSS_IOU, 0, "iou"}};
    const avs_type map = AVS_F32T(B, n), g = AVS_F32T(B);
    for (int i = 0; i < 4; i++) {
        const avs_loss_attr at = {.kind = k[i].kind, .squared = k[i].squared, .s_num = 1.f, .s_den = 1.5f};
        const op_fill fill = k[i].kind == AVS_LOSS_BCE ? FILL_NORMAL : FILL_UNIT;
        op_case *c = ADD(AVS_OP_LOSS, k[i].note, at, n);
        in(c, map, fill);
        in(c, map, FILL_MASK);
        c = ADD(AVS_OP_LOSS_BWD, k[i].note, at, n);
        in(c, g, FILL_NORMAL);
        in(c, map, fill);
        in(c, map, FILL_MASK);
    }
    const avs_loss_attr at = {.kind = AVS_LOSS_CE};
    const avs_type logits = AVS_F32T(B, n, classes), target = AVS_TYPE(AVS_I32, B, n);
    op_case *c = ADD(AVS_OP_LOSS, "ce", at, n);
    in(c, logits, FILL_NORMAL);
    in(c, target, FILL_CLASS);
    c->limit = classes;
    c = ADD(AVS_OP_LOSS_BWD, "ce", at, n);
    in(c, g, FILL_NORMAL);
    in(c, logits, FILL_NORMAL);
    in(c, target, FILL_CLASS);
    c->limit = classes;
}

/* given: points are operands, for as many pairs as there can be; else they are drawn. */
static void add_set_loss(int B, int Q, int K, int h, int w, int side, bool given)
{
    const avs_set_loss_attr at = {.points = 33,
                                  .candidates = 70,
                                  .uncertain = 24,
                                  .clip_rows = given ? 2 : 0,
                                  .no_object = 0.1f,
                                  .w_class = 2,
                                  .w_mask = 5,
                                  .w_dice = 3,
                                  .stream = 17};
    const int pairs = B * (Q < K ? Q : K);
    op_case *c = ADD(AVS_OP_SET_LOSS, given ? "points given" : "points drawn", at, 33);
    in(c, AVS_F32T(B, Q, K + 1), FILL_NORMAL);
    in(c, AVS_F32T(B, Q, h, w), FILL_NORMAL);
    in(c, AVS_TYPE(AVS_I32, B, side, side + 3), FILL_CLASS);
    in(c, AVS_F32T(B), given ? FILL_MASK : FILL_POSITIVE);
    c->limit = K;
    if (!given) return;
    in(c, AVS_F32T(B, 33, 2), FILL_UNIT);
    in(c, AVS_F32T(pairs, 70, 2), FILL_UNIT);
    in(c, AVS_F32T(pairs, 9, 2), FILL_UNIT);
}

static void add_all(void)
{
    add_rows();
    static const int bn[][4] = {{2, 1, 1, 1}, {1, 3, 5, 7}, {2, 17, 13, 31}, {3, 20, 20, 64}, {2, 5, 3, 300}};
    for (int i = 0; i < 5; i++) {
        add_batchnorm(bn[i][0], bn[i][1], bn[i][2], bn[i][3], AVS_ACT_NONE, false);
        add_batchnorm(bn[i][0], bn[i][1], bn[i][2], bn[i][3], AVS_ACT_RELU, i % 2);
    }
    add_groupnorm(1, 1, 2, 2, 1);
    add_groupnorm(3, 7, 5, 33, 11);
    add_groupnorm(2, 20, 17, 64, 32);
    add_groupnorm(2, 3, 3, 300, 4);
    add_pool(1, 1, 1, 1, 1, 1, 0);
    add_pool(2, 7, 5, 17, 3, 2, 1);
    add_pool(1, 17, 31, 64, 2, 2, 0);
    add_pool(2, 9, 8, 33, 3, 1, 1);
    add_pool_avg(1, 1, 1, 1, 1, 0, 0, 0);
    add_pool_avg(7, 5, 17, 3, 2, 1, 0, 0);
    add_pool_avg(17, 31, 64, 2, 2, 0, 0, 0);
    add_pool_avg(9, 8, 33, 3, 1, 1, 0, 0);
    add_pool_avg(13, 17, 33, 0, 0, 0, 7, 7);
    add_pool_avg(5, 3, 300, 0, 0, 0, 7, 4); /* windows that overlap: more outputs than rows */
    add_pool_avg(31, 17, 12, 0, 0, 0, 1, 1);
    static const int dw[][12] = {
        {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1},    {2, 7, 5, 3, 3, 3, 1, 1, 1, 1, 1, 1},
        {2, 9, 8, 17, 3, 3, 2, 2, 1, 1, 1, 1},   {1, 14, 13, 31, 5, 5, 1, 1, 2, 2, 1, 1},
        {2, 17, 11, 64, 5, 5, 2, 2, 2, 2, 1, 1}, {1, 12, 10, 96, 7, 7, 1, 1, 3, 3, 1, 1},
        {1, 13, 9, 33, 3, 5, 1, 2, 0, 4, 2, 1},  {3, 4, 4, 300, 5, 5, 1, 1, 2, 2, 1, 1},
        {2, 56, 56, 72, 3, 3, 1, 1, 1, 1, 1, 1}, {1, 3, 2, 40, 5, 5, 2, 2, 2, 2, 1, 1},
        {1, 9, 31, 8, 2, 4, 3, 1, 1, 2, 1, 2}};
    for (size_t i = 0; i < sizeof(dw) / sizeof(dw[0]); i++) add_depthwise(dw[i]);
    add_resize(1, 1, 1, 1, 1, 1);
    add_resize(2, 7, 5, 3, 17, 31);
    add_resize(1, 16, 16, 1, 64, 64);
    add_resize(2, 7, 9, 33, 14, 18);
    add_resize(2, 17, 13, 64, 5, 6);
    add_resize(1, 3, 2, 5, 4, 9001);   /* rows wider than the buffers */
    add_resize(1, 5, 300, 40, 9, 333); /* blocks of channels          */
    add_msdeform(1, 1, 1, 1, 1, 1);
    add_msdeform(2, 17, 8, 32, 3, 4);
    add_msdeform(1, 31, 3, 17, 2, 3);
    add_msdeform(1, 70, 1, 32, 2, 4); /* the constant D, more samples than a block takes at once */
    add_msdeform(2, 3, 2, 45, 3, 1);
    add_ew();
    static const int rd[][5] = {{1, 1, 1, 0, 3},     {7, 31, 33, 0, 1},  {7, 31, 33, 1, 2},
                                {7, 31, 33, 2, 3},   {7, 31, 33, 0, 2},  {7, 31, 33, 0, 3},
                                {2, 9001, 1, 1, 2},  {3, 700, 64, 1, 2}, {4, 5, 3000, 0, 1},
                                {900, 17, 12, 2, 3}, {300, 300, 1, 0, 2}};
    for (size_t i = 0; i < sizeof(rd) / sizeof(rd[0]); i++)
        add_reduce(rd[i][0], rd[i][1], rd[i][2], rd[i][3], rd[i][4]);
    add_moves(AVS_F32T(3, 17, 31), AVS_F32T(3, 5, 31), 1);
    add_moves(AVS_F32T(33, 64), AVS_F32T(33, 1), 1);
    add_moves(AVS_F32T(31), AVS_F32T(300), 0);
    add_permute(AVS_F32T(31), 0, 0, 0, 0, 0);
    add_permute(AVS_F32T(17, 33), 1, 0, 0, 0, 0);
    add_permute(AVS_F32T(300, 64), 1, 0, 0, 0, 0);
    add_permute(AVS_F32T(2, 17, 1, 31), 0, 3, 2, 1, 0);
    add_permute(AVS_F32T(2, 17, 3, 31), 0, 2, 1, 3, 0);
    add_permute(AVS_F32T(2, 3, 5, 7, 33), 4, 2, 0, 3, 1);
    add_permute(AVS_F32T(2, 3, 5, 7, 33), 1, 0, 3, 2, 4);
    add_permute(AVS_F32T(5, 7, 33), 2, 1, 0, 0, 0);
    add_gather(1, 1, 1, 1);
    add_gather(2, 17, 33, 300);
    add_gather(3, 300, 64, 31);
    add_gather(1, 49, 4, 1296);
    add_row_max(1, 1, 1);
    add_row_max(300, 31, 1);
    add_row_max(3, 33, 65);
    add_row_max(2, 784, 17);
    add_dropout();
    add_loss(1, 1, 2);
    add_loss(3, 31, 17);
    add_loss(2, 9001, 5);
    add_set_loss(1, 1, 1, 1, 1, 1, false);
    add_set_loss(3, 7, 5, 9, 13, 3, true);
    add_set_loss(2, 3, 11, 5, 6, 4, false); /* fewer queries than classes */
    add_set_loss(4, 30, 2, 14, 14, 2, true);
}

const op_case *op_list(int *n)
{
    if (!n_cases) add_all();
    *n = n_cases;
    return cases;
}
