/* CUDA sources on fibres: the dual-source bodies as warps and the hand-written kernels against the CPU kernels, sums
 * against sums in double, all in both fibre orders; that every barrier of a hand-written kernel is missed if it is
 * taken out; and that the emulator reports what it promises to. */
#define AVS_EMUL 1
#include "engine/backend/cuda/rows.cu"
#include "engine/backend/cuda/columns.cu"
#include "engine/backend/cuda/msdeform_value.cu"

#include <stdlib.h>

static void *lent;

static void *lend(size_t bytes)
{
    free(lent);
    lent = malloc(bytes ? bytes : 1);
    return lent;
}

#include "tests/engine/kernel/cuda_calls.h"

/* ------------------------------------------------------------------ dual-source bodies */

static size_t bytes_of(const avs_tensor *t)
{
    return (size_t)avs_type_count(&t->type) * avs_dtype_size((avs_dtype)t->type.dtype);
}

static void check_body(const op_case *k, int index, int b)
{
    op_call c;
    op_call_init(&c, k, (uint64_t)index, false);
    assert_int_equal(op_call_run(&c, &avs_cpu_kernel_table()[k->op]), AVS_OK);
    avs_kernel_args order[2] = {c.f32, c.f32};
    for (int r = 0; r < 2; r++) {
        for (int o = 0; o < c.f32.n_out; o++)
            order[r].out[o].data = op_call_alloc(&c, bytes_of(&c.f32.out[o]));
        emul_set_reversed(r == 1);
        if (bodies[b].run(&order[r]) != AVS_OK)
            fail_msg("case %d, %s: %s", index, avs_op_rules[k->op].name, emul_error());
    }
    emul_set_reversed(false);
    for (int o = 0; o < c.f32.n_out; o++) {
        if (!(bodies[b].outputs >> o & 1)) continue;
        assert_memory_equal(order[0].out[o].data, order[1].out[o].data, bytes_of(&c.f32.out[o]));
        compare(k, index, &order[0].out[o], &c.f32.out[o]);
    }
    op_call_fini(&c);
}

/* Every case that is small enough to take well under a second on fibres; of each op at least one. */
static void bodies_as_warps_agree_with_the_cpu_in_both_orders(void **state)
{
    (void)state;
    int n, n_run[sizeof(bodies) / sizeof(bodies[0])] = {0};
    const op_case *k = op_list(&n);
    for (int b = 0; b < (int)(sizeof(bodies) / sizeof(bodies[0])); b++) {
        for (int i = 0; i < n; i++) {
            if (k[i].op != bodies[b].op || avs_type_count(&k[i].in[0]) > 4500) continue;
            /* Of elementwise programs every instruction, with a third of the ways to broadcast its operand. */
            const bool is_dear = k[i].op == AVS_OP_EW ? k[i].n_in == 2 && i % 3 : n_run[b] >= 6 && i % 7;
            if (is_dear) continue;
            check_body(&k[i], i, b);
            n_run[b]++;
        }
        if (n_run[b] < 2) fail_msg("%s ran only %d cases", avs_op_rules[bodies[b].op].name, n_run[b]);
    }
    free(lent);
    lent = NULL;
}

/* The same operations in the same order, and neither side fuses: every bit. */
static void optimiser_steps_have_the_bits_of_the_cpu_in_both_orders(void **state)
{
    (void)state;
    for (int v = 0; v < 4; v++) {
        const avs_adamw_cfg cfg = {
            .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .decoupled = v % 2 == 0};
        adamw_slab *want = malloc(sizeof(*want)), *got = malloc(sizeof(*got));
        assert_true(want && got);
        slab_init(want);
        slab_init(got);
        emul_set_reversed(v / 2 == 1);
        for (int t = 1; t <= SLAB_STEPS; t++) {
            slab_gradient(want, t);
            slab_gradient(got, t);
            avs_adamw_step(&(avs_adamw_arrays){want->w, want->g, want->m, want->v}, slab_segments, 3, &cfg, t,
                           0.25f);
            assert_int_equal(run_adamw(got, &cfg, t), AVS_OK);
        }
        emul_set_reversed(false);
        assert_memory_equal(got, want, sizeof(*want));
        free(want);
        free(got);
    }
}

/* ------------------------------------------------------------------ hand-written sums */

static void check_sums(int64_t rows, int64_t C)
{
    avs_rng r = avs_rng_seed(11);
    const size_t n = (size_t)(rows * C);
    float *x = calloc(n, sizeof(float)), *col[2] = {NULL}, *row[2] = {NULL};
    void *work = malloc(avs_colsum_work(rows, C));
    for (size_t i = 0; i < n; i++) x[i] = (float)avs_rng_normal(&r);
    for (int k = 0; k < 2; k++) {
        col[k] = calloc((size_t)C, sizeof(float));
        row[k] = calloc((size_t)rows, sizeof(float));
        emul_set_reversed(k == 1);
        assert_int_equal(avs_colsum_cuda(x, col[k], rows, C, work, NULL), AVS_OK);
        assert_int_equal(avs_rowsum_cuda(x, row[k], rows, C, NULL), AVS_OK);
    }
    emul_set_reversed(false);
    assert_memory_equal(col[0], col[1], (size_t)C * sizeof(float));
    assert_memory_equal(row[0], row[1], (size_t)rows * sizeof(float));
    for (int64_t c = 0; c < C; c++) {
        double s = 0;
        for (int64_t i = 0; i < rows; i++) s += (double)x[i * C + c];
        assert_true(fabs(s - (double)col[0][c]) <= 1e-6 + 4 * (double)FLT_EPSILON * (double)rows);
    }
    for (int64_t i = 0; i < rows; i++) {
        double s = 0;
        for (int64_t c = 0; c < C; c++) s += (double)x[i * C + c];
        assert_true(fabs(s - (double)row[0][i]) <= 1e-6 + 4 * (double)FLT_EPSILON * (double)C);
    }
    for (int k = 0; k < 2; k++) {
        free(col[k]);
        free(row[k]);
    }
    free(work);
    free(x);
}

static void sums_are_right_in_both_orders(void **state)
{
    (void)state;
    check_sums(1, 1);
    check_sums(17, 33);
    check_sums(193, 77);
    check_sums(5, 300);
}

/* ------------------------------------------------------------------ what the emulator reports */

typedef struct {
    float *y;
    int n; /* threads that take part */
} fault_p;

AVS_GLOBAL(part_of_the_barrier, fault_p)
{
    AVS_SHARED float s[256];
    s[AVS_THREAD] = (float)AVS_THREAD;
    if (AVS_THREAD < p.n) AVS_SYNC();
    p.y[AVS_THREAD] = s[AVS_BLOCK_DIM - 1 - AVS_THREAD];
}

AVS_GLOBAL(no_barrier, fault_p)
{
    AVS_SHARED float s[256];
    s[AVS_THREAD] = p.y[AVS_THREAD];
    p.y[AVS_THREAD] = s[AVS_BLOCK_DIM - 1 - AVS_THREAD];
}

AVS_GLOBAL(shuffle_without_all_lanes, fault_p)
{
    if (AVS_LANE >= p.n) return;
    p.y[AVS_THREAD] = avs_lane_sum(1.f);
}

/* ------------------------------------------------------------------ a barrier taken out of a real kernel */

enum { LOST_ROWS = 193, LOST_COLUMNS = 77, LOST_Q = 150 };

/* What the hand-written kernels make of fixed operands, all in one array. */
typedef struct {
    float column[LOST_COLUMNS], row[LOST_ROWS], dgamma[LOST_COLUMNS], dbeta[LOST_COLUMNS];
    float gvalue[(17 * 9 + 5 * 3) * 2 * 5];
} lost_result;

typedef enum { LOST_COLSUM, LOST_ROWSUM, LOST_LAYERNORM, LOST_VALUE } lost_kernel;

static void lost_run(lost_kernel kernel, bool is_reversed, int dropped, lost_result *y)
{
    enum { M = 2, P = 4, D = 5, L = 2 };
    static float x[LOST_ROWS * LOST_COLUMNS], mean[LOST_ROWS], loc[LOST_Q * M * L * P * 2],
        weight[LOST_Q * M * L * P];
    avs_rng r = avs_rng_seed(5);
    for (size_t i = 0; i < sizeof(x) / sizeof(float); i++) x[i] = (float)avs_rng_normal(&r);
    for (size_t i = 0; i < sizeof(mean) / sizeof(float); i++) mean[i] = (float)avs_rng_normal(&r);
    for (size_t i = 0; i < sizeof(loc) / sizeof(float); i++) loc[i] = (float)avs_rng_unit(&r);
    for (size_t i = 0; i < sizeof(weight) / sizeof(float); i++) weight[i] = (float)avs_rng_unit(&r);
    memset(y, 0, sizeof(*y));
    emul_set_reversed(is_reversed);
    emul_drop_barrier(dropped);
    const avs_layernorm_bwd_p norm = {.gy = x, .x = x, .mean = mean, .rstd = mean, .C = LOST_COLUMNS};
    const avs_msdeform_value_p value = {
        .gy = x,
        .loc = loc,
        .weight = weight,
        .gvalue = y->gvalue,
        .a = {.heads = M, .levels = L, .points = P, .h = {17, 5}, .w = {9, 3}},
        .S = 17 * 9 + 5 * 3,
        .Q = LOST_Q,
        .D = D};
    int rc = AVS_OK;
    switch (kernel) {
    case LOST_COLSUM:
        rc = avs_colsum_cuda(x, y->column, LOST_ROWS, LOST_COLUMNS,
                             lend(avs_colsum_work(LOST_ROWS, LOST_COLUMNS)), NULL);
        break;
    case LOST_ROWSUM:
        rc = avs_rowsum_cuda(x, y->row, LOST_ROWS, LOST_COLUMNS, NULL);
        break;
    case LOST_LAYERNORM:
        rc = avs_layernorm_sums_cuda(&norm, LOST_ROWS, y->dgamma, y->dbeta,
                                     lend(avs_layernorm_sums_work(LOST_ROWS, LOST_COLUMNS)), NULL);
        break;
    case LOST_VALUE:
        rc = avs_msdeform_value_cuda(&value, 1, NULL);
        break;
    }
    emul_set_reversed(false);
    emul_drop_barrier(0);
    assert_int_equal(rc, AVS_OK);
    free(lent);
    lent = NULL;
}

static void a_barrier_taken_out_of_a_kernel_shows(void **state)
{
    (void)state;
    static const struct {
        lost_kernel kernel;
        int barriers;
    } k[] = {{LOST_COLSUM, 1}, {LOST_ROWSUM, 1}, {LOST_LAYERNORM, 1}, {LOST_VALUE, 5}};
    lost_result *whole = malloc(sizeof(*whole)), *y = malloc(2 * sizeof(*y));
    assert_true(whole && y);
    for (size_t i = 0; i < sizeof(k) / sizeof(k[0]); i++) {
        lost_run(k[i].kernel, false, 0, whole);
        lost_run(k[i].kernel, true, 0, y);
        assert_memory_equal(whole, y, sizeof(*y));
        for (int lost = 1; lost <= k[i].barriers; lost++) {
            lost_run(k[i].kernel, false, lost, &y[0]);
            lost_run(k[i].kernel, true, lost, &y[1]);
            if (memcmp(&y[0], &y[1], sizeof(*y)) == 0)
                fail_msg("kernel %zu: without barrier %d both orders agree", i, lost);
        }
    }
    free(whole);
    free(y);
}

/* ------------------------------------------------------------------ faults of a kernel */

static void a_barrier_that_part_of_the_threads_skip_is_reported(void **state)
{
    (void)state;
    float y[256];
    const fault_p p = {y, 224}, all = {y, 256};
    assert_int_equal(AVS_LAUNCH(part_of_the_barrier, 1, 256, NULL, p), AVS_ECUDA);
    assert_non_null(strstr(emul_error(), "reached by 224 of 256 threads"));
    assert_int_equal(AVS_LAUNCH(part_of_the_barrier, 1, 256, NULL, all), AVS_OK);
    assert_string_equal(emul_error(), "");
    for (int i = 0; i < 256; i++) assert_true(y[i] == (float)(255 - i));
}

static void a_barrier_that_all_threads_skip_shows_in_the_other_order(void **state)
{
    (void)state;
    float y[2][64];
    for (int k = 0; k < 2; k++) {
        const fault_p p = {y[k], 0};
        for (int i = 0; i < 64; i++) y[k][i] = (float)(i + 1);
        emul_set_reversed(k == 1);
        assert_int_equal(AVS_LAUNCH(no_barrier, 1, 64, NULL, p), AVS_OK);
    }
    emul_set_reversed(false);
    assert_memory_not_equal(y[0], y[1], sizeof(y[0]));
}

static void a_shuffle_after_lanes_have_left_is_reported(void **state)
{
    (void)state;
    float y[64];
    const fault_p p = {y, 20};
    assert_int_equal(AVS_LAUNCH(shuffle_without_all_lanes, 1, 64, NULL, p), AVS_ECUDA);
    assert_non_null(
        strstr(emul_error(), "a shuffle or ballot is reached by 20 of 32 lanes of warp 0; 12 have exited"));
}

static void a_launch_of_no_threads_is_refused(void **state)
{
    (void)state;
    const fault_p p = {NULL, 0};
    assert_int_equal(AVS_LAUNCH(no_barrier, 1, 0, NULL, p), AVS_ERANGE);
    assert_int_equal(AVS_LAUNCH(no_barrier, 1, 2000, NULL, p), AVS_ERANGE);
    assert_int_equal(AVS_LAUNCH(no_barrier, 0, 32, NULL, p), AVS_ERANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_as_warps_agree_with_the_cpu_in_both_orders),
        cmocka_unit_test(optimiser_steps_have_the_bits_of_the_cpu_in_both_orders),
        cmocka_unit_test(sums_are_right_in_both_orders),
        cmocka_unit_test(a_barrier_taken_out_of_a_kernel_shows),
        cmocka_unit_test(a_barrier_that_part_of_the_threads_skip_is_reported),
        cmocka_unit_test(a_barrier_that_all_threads_skip_shows_in_the_other_order),
        cmocka_unit_test(a_shuffle_after_lanes_have_left_is_reported),
        cmocka_unit_test(a_launch_of_no_threads_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
