/* Every kernel of every instruction set against the reference in f64, over the list of cases; coverage of the op
 * table; independence of the thread count; what happens to bad classes. */
#include "tests/engine/kernel/op_list.h"
#include "engine/backend/ref/ref.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static bool is_made_elsewhere(int op)
{
    return op == AVS_OP_NONE || op == AVS_OP_CONV2D || op == AVS_OP_CONV2D_BWD_X || op == AVS_OP_MATMUL;
}

static void every_op_of_the_table_has_a_kernel_and_a_case(void **state)
{
    (void)state;
    int n;
    const op_case *k = op_list(&n);
    bool has_case[AVS_OP_COUNT] = {false};
    for (int i = 0; i < n; i++) has_case[k[i].op] = true;
    for (int v = 0; avs_cpu_kernel_variant(v, NULL); v++) {
        for (int op = 1; op < AVS_OP_COUNT; op++) {
            if (is_made_elsewhere(op)) continue;
            if (!avs_cpu_kernel_variant(v, NULL)[op].fn) fail_msg("%s has no kernel", avs_op_rules[op].name);
            if (!has_case[op]) fail_msg("%s has no case in op_list.c", avs_op_rules[op].name);
        }
    }
}

static void the_chosen_table_is_the_best_variant(void **state)
{
    (void)state;
    int last = 0;
    while (avs_cpu_kernel_variant(last + 1, NULL)) last++;
    assert_ptr_equal(avs_cpu_kernel_table(), avs_cpu_kernel_variant(last, NULL));
}

/* abs <= 1e-6 + 4 eps sqrt(K) scale, scale = the largest element expected, at least 1. */
static void compare(const op_call *c, const op_case *k, int index, const char *isa)
{
    for (int o = 0; o < c->f32.n_out; o++) {
        const avs_tensor *got = &c->f32.out[o], *want = &c->f64.out[o];
        const int64_t n = avs_type_count(&got->type);
        char text[64];
        if (got->type.dtype != AVS_F32) {
            const size_t bytes = (size_t)n * avs_dtype_size((avs_dtype)got->type.dtype);
            if (memcmp(got->data, want->data, bytes) != 0)
                fail_msg("case %d, %s (%s) %s: integer output %d differs", index, avs_op_rules[k->op].name,
                         k->note, isa, o);
            continue;
        }
        const double *w = want->data;
        const float *g = got->data;
        double scale = 1;
        for (int64_t i = 0; i < n; i++) scale = fmax(scale, fabs(w[i]));
        const double bound = 1e-6 + 4 * (double)FLT_EPSILON * sqrt(k->K) * scale;
        for (int64_t i = 0; i < n; i++) {
            if (!(fabs((double)g[i] - w[i]) <= bound))
                fail_msg(
                    "case %d, %s (%s) %s: output %d %s, element %lld is %.9g, expected %.9g, allowed %.3g",
                    index, avs_op_rules[k->op].name, k->note, isa, o,
                    avs_type_text(&got->type, text, sizeof(text)), (long long)i, (double)g[i], w[i], bound);
        }
    }
}

static void every_kernel_agrees_with_the_reference(void **state)
{
    (void)state;
    int n;
    const op_case *k = op_list(&n);
    for (int i = 0; i < n; i++) {
        op_call c;
        op_call_init(&c, &k[i], (uint64_t)i, true);
        assert_int_equal(avs_ref_kernels[k[i].op](&c.f64), AVS_OK);
        const char *isa = NULL;
        for (int v = 0; avs_cpu_kernel_variant(v, &isa); v++) {
            if (op_call_run(&c, &avs_cpu_kernel_variant(v, NULL)[k[i].op]) != AVS_OK)
                fail_msg("case %d, %s (%s) %s: the kernel failed", i, avs_op_rules[k[i].op].name, k[i].note,
                         isa);
            compare(&c, &k[i], i, isa);
        }
        op_call_fini(&c);
    }
}

/* Bytes of all outputs, one after another. */
static size_t gather_outputs(const op_call *c, char *dst)
{
    size_t at = 0;
    for (int o = 0; o < c->f32.n_out; o++) {
        const avs_type *t = &c->f32.out[o].type;
        const size_t bytes = (size_t)avs_type_count(t) * avs_dtype_size((avs_dtype)t->dtype);
        if (dst) memcpy(dst + at, c->f32.out[o].data, bytes);
        at += bytes;
    }
    return at;
}

static void bits_do_not_depend_on_the_number_of_threads(void **state)
{
    (void)state;
    int n;
    const op_case *k = op_list(&n);
    const int before = omp_get_max_threads();
    for (int i = 0; i < n; i++) {
        op_call c;
        char *one, *more;
        op_call_init(&c, &k[i], (uint64_t)i, false);
        const size_t bytes = gather_outputs(&c, NULL);
        one = op_call_alloc(&c, bytes);
        more = op_call_alloc(&c, bytes);
        for (int threads = 1; threads <= 3; threads++) {
            omp_set_num_threads(threads);
            assert_int_equal(op_call_run(&c, &avs_cpu_kernel_table()[k[i].op]), AVS_OK);
            gather_outputs(&c, threads == 1 ? one : more);
            if (threads > 1 && memcmp(one, more, bytes) != 0)
                fail_msg("case %d, %s (%s): %d threads give other bits", i, avs_op_rules[k[i].op].name,
                         k[i].note, threads);
        }
        op_call_fini(&c);
    }
    omp_set_num_threads(before);
}

static void a_class_out_of_range_is_an_error(void **state)
{
    (void)state;
    const avs_loss_attr at = {.kind = AVS_LOSS_CE};
    op_case k = {.op = AVS_OP_LOSS,
                 .attr = &at,
                 .n_in = 2,
                 .in = {AVS_F32T(2, 5, 3), AVS_TYPE(AVS_I32, 2, 5)},
                 .limit = 3,
                 .note = "bad class"};
    op_case back = {.op = AVS_OP_LOSS_BWD,
                    .attr = &at,
                    .n_in = 3,
                    .in = {AVS_F32T(2), AVS_F32T(2, 5, 3), AVS_TYPE(AVS_I32, 2, 5)},
                    .limit = 3,
                    .note = "bad class"};
    static const int32_t bad[] = {-1, 3, INT32_MIN, INT32_MAX};
    for (int i = 0; i < 4; i++) {
        op_call c;
        op_call_init(&c, &k, 1, false);
        ((int32_t *)c.f32.in[1].data)[7] = bad[i];
        assert_int_equal(op_call_run(&c, &avs_cpu_kernel_table()[AVS_OP_LOSS]), AVS_ERANGE);
        op_call_fini(&c);
        op_call_init(&c, &back, 1, false);
        ((int32_t *)c.f32.in[2].data)[7] = bad[i];
        assert_int_equal(op_call_run(&c, &avs_cpu_kernel_table()[AVS_OP_LOSS_BWD]), AVS_ERANGE);
        op_call_fini(&c);
    }
}

static void holes_of_an_index_are_zero_and_rows_out_of_range_an_error(void **state)
{
    (void)state;
    const avs_gather_attr at = {.rows = 5};
    static const int32_t index[] = {1, 2, 3, -1, -1, 0, 4, -1, 2};
    op_case k[2] = {{.op = AVS_OP_GATHER_ROWS,
                     .attr = &at,
                     .n_in = 2,
                     .in = {AVS_F32T(2, 5, 3), AVS_TYPE(AVS_I32, 9)},
                     .limit = 5,
                     .note = "holes"}};
    k[1] = k[0];
    k[1].op = AVS_OP_GATHER_ROWS_BWD;
    k[1].in[0] = AVS_F32T(2, 9, 3);
    for (int i = 0; i < 2; i++) {
        op_call c;
        op_call_init(&c, &k[i], 1, true);
        memcpy(c.f32.in[1].data, index, sizeof(index));
        assert_int_equal(avs_ref_kernels[k[i].op](&c.f64), AVS_OK);
        assert_int_equal(op_call_run(&c, &avs_cpu_kernel_table()[k[i].op]), AVS_OK);
        k[i].K = 2;
        compare(&c, &k[i], i, "the chosen one");
        for (int bad = -2; bad <= 5; bad += 7) {
            ((int32_t *)c.f32.in[1].data)[8] = bad;
            assert_int_equal(op_call_run(&c, &avs_cpu_kernel_table()[k[i].op]), AVS_ERANGE);
            assert_int_equal(avs_ref_kernels[k[i].op](&c.f64), AVS_ERANGE);
        }
        op_call_fini(&c);
    }
}

/* Extreme logits must give finite losses and probabilities. */
static void extreme_logits_stay_finite(void **state)
{
    (void)state;
    static const float extreme[] = {-1e30f, -100.f, 0.f, 100.f, 1e30f};
    const op_case soft = {.op = AVS_OP_SOFTMAX, .n_in = 1, .in = {AVS_F32T(7, 5)}, .note = "extreme"};
    const avs_loss_attr at = {.kind = AVS_LOSS_BCE};
    const op_case bce = {.op = AVS_OP_LOSS,
                         .attr = &at,
                         .n_in = 2,
                         .in = {AVS_F32T(1, 35), AVS_F32T(1, 35)},
                         .note = "extreme"};
    op_call c;
    op_call_init(&c, &soft, 1, false);
    for (int i = 0; i < 35; i++) ((float *)c.f32.in[0].data)[i] = extreme[(i + i / 5) % 5];
    op_call_run(&c, &avs_cpu_kernel_table()[AVS_OP_SOFTMAX]);
    for (int i = 0; i < 35; i++)
        assert_true(((float *)c.f32.out[0].data)[i] == (extreme[(i + i / 5) % 5] > 200.f));
    op_call_fini(&c);
    op_call_init(&c, &bce, 1, false);
    for (int i = 0; i < 35; i++) {
        ((float *)c.f32.in[0].data)[i] = extreme[i % 5];
        ((float *)c.f32.in[1].data)[i] = extreme[i % 5] > 0.f ? 1.f : 0.f;
    }
    op_call_run(&c, &avs_cpu_kernel_table()[AVS_OP_LOSS]);
    assert_true(fabs((double)*(float *)c.f32.out[0].data - log(2.0) / 5) < 1e-6);
    op_call_fini(&c);
}

/* The planner lets EW and DROPOUT write over an operand of the output's extents. */
static void ew_and_dropout_may_write_over_an_operand(void **state)
{
    (void)state;
    int n, n_checked = 0;
    const op_case *k = op_list(&n);
    for (int i = 0; i < n; i++) {
        if (k[i].op != AVS_OP_EW && k[i].op != AVS_OP_DROPOUT) continue;
        op_call c;
        op_call_init(&c, &k[i], (uint64_t)i, false);
        assert_int_equal(op_call_run(&c, &avs_cpu_kernel_table()[k[i].op]), AVS_OK);
        const size_t bytes = (size_t)avs_type_count(&c.f32.out[0].type) * sizeof(float);
        for (int j = 0; j < c.f32.n_in; j++) {
            if (!avs_type_same_shape(&c.f32.in[j].type, &c.f32.out[0].type)) continue;
            avs_cpu_call over = {.k = c.f32};
            over.k.in[j].data = over.k.out[0].data = op_call_alloc(&c, bytes);
            memcpy(over.k.out[0].data, c.f32.in[j].data, bytes);
            assert_int_equal(avs_cpu_kernel_table()[k[i].op].fn(&over), AVS_OK);
            assert_memory_equal(over.k.out[0].data, c.f32.out[0].data, bytes);
            n_checked++;
        }
        op_call_fini(&c);
    }
    assert_true(n_checked > 100);
}

static void a_kernel_without_its_workspace_is_refused(void **state)
{
    (void)state;
    int n, n_refused = 0;
    const op_case *k = op_list(&n);
    for (int i = 0; i < n; i++) {
        const avs_cpu_kernel *kernel = &avs_cpu_kernel_table()[k[i].op];
        if (!kernel->work || k[i].op == AVS_OP_REDUCE) continue; /* small reductions need none */
        op_call c;
        op_call_init(&c, &k[i], (uint64_t)i, false);
        const avs_cpu_call call = {.k = c.f32};
        assert_true(kernel->work(&c.f32) > 0);
        assert_int_equal(kernel->fn(&call), AVS_ENOMEM);
        n_refused++;
        op_call_fini(&c);
    }
    assert_true(n_refused > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_of_the_table_has_a_kernel_and_a_case),
        cmocka_unit_test(the_chosen_table_is_the_best_variant),
        cmocka_unit_test(every_kernel_agrees_with_the_reference),
        cmocka_unit_test(bits_do_not_depend_on_the_number_of_threads),
        cmocka_unit_test(ew_and_dropout_may_write_over_an_operand),
        cmocka_unit_test(a_kernel_without_its_workspace_is_refused),
        cmocka_unit_test(a_class_out_of_range_is_an_error),
        cmocka_unit_test(holes_of_an_index_are_zero_and_rows_out_of_range_an_error),
        cmocka_unit_test(extreme_logits_stay_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
