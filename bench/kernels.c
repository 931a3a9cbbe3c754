/* Micro-benchmark of the CPU kernels on shapes that models use: lower quartile of the times of one call, in us, for
 * each instruction set, and what that is in GB/s counting every operand and result once.
 *
 *   bench_kernels [-t threads] [-r repetitions] [op name]
 *   bench_kernels --msdeform SIDE BATCH [-t threads] [-r repetitions]
 *
 * The second form times the deformable attention, forward and backward, with every token of three levels (SIDE, half and
 * a quarter of it) as a query, and prints every sample as JSON: bench/pytorch/train_step.py reads it. */
#include "tests/engine/kernel/op_case.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_CASES = 64, MAX_REPS = 2001 };

static op_case cases[MAX_CASES];
static int n_cases;

static op_case *add(avs_op op, const char *note, const void *attr)
{
    op_case *c = &cases[n_cases++];
    *c = (op_case){.op = op, .note = note, .attr = attr, .limit = 9, .K = 1};
    return c;
}
static void in(op_case *c, avs_type t, op_fill fill)
{
    c->in[c->n_in] = t;
    c->fill[c->n_in++] = fill;
}

static void add_rows(const char *note, int R, int C)
{
    static const avs_norm_attr at = {.eps = 1e-5f};
    const avs_type x = AVS_F32T(R, C), v = AVS_F32T(C), r = AVS_F32T(R);
    op_case *c = add(AVS_OP_LAYERNORM, note, &at);
    in(c, x, FILL_NORMAL);
    in(c, v, FILL_NORMAL);
    in(c, v, FILL_NORMAL);
    c = add(AVS_OP_LAYERNORM_BWD, note, &at);
    in(c, x, FILL_NORMAL);
    in(c, x, FILL_NORMAL);
    in(c, v, FILL_NORMAL);
    in(c, r, FILL_NORMAL);
    in(c, r, FILL_POSITIVE);
}

static void add_softmax(const char *note, int R, int C)
{
    in(add(AVS_OP_SOFTMAX, note, NULL), AVS_F32T(R, C), FILL_NORMAL);
    op_case *c = add(AVS_OP_SOFTMAX_BWD, note, NULL);
    in(c, AVS_F32T(R, C), FILL_NORMAL);
    in(c, AVS_F32T(R, C), FILL_NORMAL);
}

static void add_maps(void)
{
    static const avs_norm_attr bn = {.eps = 1e-5f, .momentum = 0.1f, .act = AVS_ACT_RELU};
    static const avs_norm_attr gn = {.eps = 1e-5f, .groups = 32};
    static const avs_pool_attr pool = {.k = 3, .s = 2, .p = 1, .in_h = 112, .in_w = 112};
    static const avs_resize_attr mask = {.in_h = 56, .in_w = 56, .out_h = 224, .out_w = 224};
    static const avs_resize_attr neck = {.in_h = 28, .in_w = 28, .out_h = 56, .out_w = 56};
    const avs_type x = AVS_F32T(2, 56, 56, 256), v = AVS_F32T(256), g = AVS_F32T(2, 32);
    op_case *c = add(AVS_OP_BATCHNORM, "2x56x56x256 relu", &bn);
    in(c, x, FILL_NORMAL);
    for (int i = 0; i < 4; i++) in(c, v, FILL_POSITIVE);
    c = add(AVS_OP_BATCHNORM_BWD, "2x56x56x256 relu", &bn);
    in(c, x, FILL_NORMAL);
    in(c, x, FILL_NORMAL);
    for (int i = 0; i < 3; i++) in(c, v, FILL_POSITIVE);
    in(c, v, FILL_NORMAL);
    c = add(AVS_OP_GROUPNORM, "2x56x56x256 g32", &gn);
    in(c, x, FILL_NORMAL);
    in(c, v, FILL_NORMAL);
    in(c, v, FILL_NORMAL);
    c = add(AVS_OP_GROUPNORM_BWD, "2x56x56x256 g32", &gn);
    in(c, x, FILL_NORMAL);
    in(c, x, FILL_NORMAL);
    in(c, v, FILL_NORMAL);
    in(c, g, FILL_NORMAL);
    in(c, g, FILL_POSITIVE);
    in(add(AVS_OP_POOL_MAX, "2x112x112x64 k3 s2", &pool), AVS_F32T(2, 112, 112, 64), FILL_NORMAL);
    c = add(AVS_OP_POOL_MAX_BWD, "2x112x112x64 k3 s2", &pool);
    in(c, AVS_F32T(2, 56, 56, 64), FILL_NORMAL);
    in(c, AVS_TYPE(AVS_U8, 2, 56, 56, 64), FILL_WINDOW);
    in(add(AVS_OP_RESIZE, "56->224 C1", &mask), AVS_F32T(2, 56, 56, 1), FILL_NORMAL);
    in(add(AVS_OP_RESIZE_BWD, "56->224 C1", &mask), AVS_F32T(2, 224, 224, 1), FILL_NORMAL);
    in(add(AVS_OP_RESIZE, "28->56 C256", &neck), AVS_F32T(2, 28, 28, 256), FILL_NORMAL);
    in(add(AVS_OP_RESIZE_BWD, "28->56 C256", &neck), AVS_F32T(2, 56, 56, 256), FILL_NORMAL);
}

static void add_msdeform(void)
{
    static const avs_msdeform_attr at = {
        .heads = 8, .levels = 3, .points = 4, .h = {28, 14, 7}, .w = {28, 14, 7}};
    const avs_type v = AVS_F32T(1, 1029, 256), l = AVS_F32T(1, 1029, 192), w = AVS_F32T(1, 1029, 96);
    op_case *c = add(AVS_OP_MSDEFORM, "1029 q, 8x32, 28+14+7", &at);
    in(c, v, FILL_NORMAL);
    in(c, l, FILL_LOC);
    in(c, w, FILL_UNIT);
    c = add(AVS_OP_MSDEFORM_BWD, "1029 q, 8x32, 28+14+7", &at);
    in(c, v, FILL_NORMAL);
    in(c, v, FILL_NORMAL);
    in(c, l, FILL_LOC);
    in(c, w, FILL_UNIT);
}

static void add_ew(void)
{
    static avs_ew_attr at[5];
    const avs_type x = AVS_F32T(3136, 256), ch = AVS_F32T(256);
    const avs_ew_instr load = {.code = AVS_EW_LOAD}, gelu = {.code = AVS_EW_GELU};
    for (int i = 0; i < 5; i++) at[i].out = x;
    at[0].n = at[1].n = 2;
    at[0].instr[0] = at[1].instr[0] = at[2].instr[0] = at[3].instr[0] = load;
    at[0].instr[1] = (avs_ew_instr){.code = AVS_EW_ADD, .arg = 1};
    at[1].instr[1] = gelu;
    at[2].n = 6; /* affine by channel, gelu, gate, residual */
    at[2].instr[1] = (avs_ew_instr){.code = AVS_EW_MUL, .arg = 1};
    at[2].instr[2] = (avs_ew_instr){.code = AVS_EW_ADD, .arg = 2};
    at[2].instr[3] = gelu;
    at[2].instr[4] = (avs_ew_instr){.code = AVS_EW_MUL, .arg = 3};
    at[2].instr[5] = (avs_ew_instr){.code = AVS_EW_ADD, .arg = 4};
    at[3].n = 3;
    at[3].instr[1] = (avs_ew_instr){.code = AVS_EW_ADD, .arg = 1};
    at[3].instr[2] = (avs_ew_instr){.code = AVS_EW_RELU};
    op_case *c = add(AVS_OP_EW, "add 3136x256", &at[0]);
    in(c, x, FILL_NORMAL);
    in(c, x, FILL_NORMAL);
    in(add(AVS_OP_EW, "gelu 3136x256", &at[1]), x, FILL_NORMAL);
    c = add(AVS_OP_EW, "affine gelu gate res", &at[2]);
    in(c, x, FILL_NORMAL);
    in(c, ch, FILL_NORMAL);
    in(c, ch, FILL_NORMAL);
    in(c, x, FILL_NORMAL);
    in(c, x, FILL_NORMAL);
    c = add(AVS_OP_EW, "bias relu 3136x256", &at[3]);
    in(c, x, FILL_NORMAL);
    in(c, ch, FILL_NORMAL);
}

static void add_rest(void)
{
    static const avs_reduce_attr rows = {.from = 0, .to = 1}, cols = {.from = 1, .to = 2, .mean = 1};
    static const avs_axis_attr cat = {.axis = 2}, slice = {.axis = 2, .before = 64, .len = 128};
    static const avs_permute_attr heads = {.perm = {0, 2, 1, 3}}, swap = {.perm = {0, 2, 1}};
    static const avs_dropout_attr drop = {.stream = 1, .p = 0.1f};
    static const avs_loss_attr bce = {.kind = AVS_LOSS_BCE}, ce = {.kind = AVS_LOSS_CE};
    const avs_type map = AVS_F32T(2, 3136, 256), mask = AVS_F32T(2, 50176);
    in(add(AVS_OP_REDUCE, "6272x256 over rows", &rows), AVS_F32T(6272, 256), FILL_NORMAL);
    in(add(AVS_OP_REDUCE, "6272x256 over columns", &cols), AVS_F32T(6272, 256), FILL_NORMAL);
    op_case *c = add(AVS_OP_CONCAT, "2 x 2x3136x256", &cat);
    in(c, map, FILL_NORMAL);
    in(c, map, FILL_NORMAL);
    in(add(AVS_OP_SLICE, "128 of 2x3136x256", &slice), map, FILL_NORMAL);
    in(add(AVS_OP_PERMUTE, "2x3136x8x32 heads", &heads), AVS_F32T(2, 3136, 8, 32), FILL_NORMAL);
    in(add(AVS_OP_PERMUTE, "2x3136x256 swap", &swap), map, FILL_NORMAL);
    in(add(AVS_OP_DROPOUT, "2x3136x256", &drop), map, FILL_NORMAL);
    c = add(AVS_OP_LOSS, "bce 2x224x224", &bce);
    in(c, mask, FILL_NORMAL);
    in(c, mask, FILL_MASK);
    c = add(AVS_OP_LOSS_BWD, "bce 2x224x224", &bce);
    in(c, AVS_F32T(2), FILL_NORMAL);
    in(c, mask, FILL_NORMAL);
    in(c, mask, FILL_MASK);
    c = add(AVS_OP_LOSS, "ce 2x3136x71", &ce);
    in(c, AVS_F32T(2, 3136, 71), FILL_NORMAL);
    in(c, AVS_TYPE(AVS_I32, 2, 3136), FILL_CLASS);
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Lower quartile of at most `reps` calls within about half a second. */
static double time_call(const avs_cpu_kernel *kernel, const avs_cpu_call *call, int reps)
{
    static double t[MAX_REPS];
    int n = 0;
    kernel->fn(call);
    const double start = now_us();
    while (n < reps && (n < 5 || now_us() - start < 5e5)) {
        const double t0 = now_us();
        kernel->fn(call);
        t[n++] = now_us() - t0;
    }
    qsort(t, (size_t)n, sizeof(t[0]), by_size);
    return t[n / 4];
}

static void bench(const op_case *k, int reps)
{
    op_call c;
    op_call_init(&c, k, 1, false);
    double bytes = 0;
    for (int i = 0; i < c.f32.n_in; i++)
        bytes += (double)avs_type_count(&c.f32.in[i].type) *
                 (double)avs_dtype_size((avs_dtype)c.f32.in[i].type.dtype);
    for (int i = 0; i < c.f32.n_out; i++)
        bytes += (double)avs_type_count(&c.f32.out[i].type) *
                 (double)avs_dtype_size((avs_dtype)c.f32.out[i].type.dtype);
    printf("%-14s %-24s", avs_op_rules[k->op].name, k->note);
    double us = 0;
    for (int v = 0; avs_cpu_kernel_variant(v, NULL); v++) {
        const avs_cpu_kernel *kernel = &avs_cpu_kernel_variant(v, NULL)[k->op];
        avs_cpu_call call = {.k = c.f32};
        const size_t work = kernel->work ? kernel->work(&c.f32) : 0;
        if (work) call.work = op_call_alloc(&c, work);
        us = time_call(kernel, &call, reps);
        printf(" %9.1f", us);
    }
    printf(" %8.1f\n", bytes / us * 1e-3);
    op_call_fini(&c);
}

/* Milliseconds of `reps` calls after one other, as a JSON list. */
static void print_samples(const char *name, const op_case *k, int reps)
{
    op_call c;
    op_call_init(&c, k, 1, false);
    const avs_cpu_kernel *kernel = &avs_cpu_kernel_table()[k->op];
    avs_cpu_call call = {.k = c.f32};
    const size_t work = kernel->work ? kernel->work(&c.f32) : 0;
    if (work) call.work = op_call_alloc(&c, work);
    kernel->fn(&call);
    printf("\"%s\":[", name);
    for (int i = 0; i < reps; i++) {
        const double t0 = now_us();
        kernel->fn(&call);
        printf("%s%.4f", i ? "," : "", (now_us() - t0) * 1e-3);
    }
    printf("]");
    op_call_fini(&c);
}

static void msdeform_json(int side, int batch, int reps)
{
    const avs_msdeform_attr at = {.heads = 8,
                                  .levels = 3,
                                  .points = 4,
                                  .h = {side, side / 2, side / 4},
                                  .w = {side, side / 2, side / 4}};
    int n = 0;
    for (int l = 0; l < 3; l++) n += at.h[l] * at.w[l];
    const avs_type v = AVS_F32T(batch, n, 256), l = AVS_F32T(batch, n, 192), w = AVS_F32T(batch, n, 96);
    op_case *f = add(AVS_OP_MSDEFORM, "", &at), *b = add(AVS_OP_MSDEFORM_BWD, "", &at);
    in(f, v, FILL_NORMAL);
    in(b, v, FILL_NORMAL);
    in(b, v, FILL_NORMAL);
    for (int k = 0; k < 2; k++) {
        in(k ? b : f, l, FILL_LOC);
        in(k ? b : f, w, FILL_UNIT);
    }
    printf("{");
    print_samples("forward_ms", f, reps);
    printf(",");
    print_samples("backward_ms", b, reps);
    printf("}\n");
}

int main(int argc, char **argv)
{
    int threads = 1, reps = 201, side = 0, batch = 0;
    const char *only = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-t") == 0 && i + 1 < argc)
            threads = (int)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--msdeform") == 0 && i + 2 < argc) {
            side = (int)strtol(argv[++i], NULL, 10);
            batch = (int)strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "-r") == 0 && i + 1 < argc)
            reps = (int)strtol(argv[++i], NULL, 10);
        else
            only = argv[i];
    }
    if (threads < 1 || reps < 1 || reps > MAX_REPS) {
        fprintf(stderr, "bench_kernels: threads and repetitions are positive, repetitions at most %d\n",
                MAX_REPS);
        return 2;
    }
    omp_set_num_threads(threads);
    if (side) {
        if (side < 4 || side > 1024 || batch < 1 || batch > 64) {
            fprintf(stderr,
                    "bench_kernels: --msdeform wants a side from 4 to 1024 and a batch from 1 to 64\n");
            return 2;
        }
        msdeform_json(side, batch, reps);
        return 0;
    }
    add_softmax("8232x12 points", 8232, 12);
    add_softmax("2400x16 keys", 2400, 16);
    add_softmax("2400x300", 2400, 300);
    add_rows("3136x256", 3136, 256);
    add_rows("300x256", 300, 256);
    add_maps();
    add_msdeform();
    add_ew();
    add_rest();
    printf("%-14s %-24s", "op", "shape");
    const char *name;
    for (int v = 0; avs_cpu_kernel_variant(v, &name); v++) printf(" %9s", name);
    printf(" %8s\n", "GB/s");
    for (int i = 0; i < n_cases; i++)
        if (!only || strcmp(only, avs_op_rules[cases[i].op].name) == 0) bench(&cases[i], reps);
    return 0;
}
