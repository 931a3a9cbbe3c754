/* Every op through the cuda backend on the emulated device: lowered, launched on fibres in both orders, compared with the
 * reference in f64 over the list of cases that the cpu kernels have; the table of ops is whole; data out of range is
 * told; a workspace is never assumed to be zero. */
#include "engine/backend/backend.h"
#include "engine/backend/cuda/cuda.h"
#include "engine/backend/emul/emul.h"
#include "engine/backend/ref/ref.h"
#include "tests/engine/kernel/op_list.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const avs_backend_ops *const B = &avs_backend_cuda_emul;

static void every_op_of_the_table_has_a_cuda_implementation(void **state)
{
    (void)state;
    for (int op = 1; op < AVS_OP_COUNT; op++)
        if (!avs_cuda_lower_table[op]) fail_msg("%s has no cuda implementation", avs_op_rules[op].name);
}

static size_t bytes_of(const avs_tensor *t)
{
    return (size_t)avs_type_count(&t->type) * avs_dtype_size((avs_dtype)t->type.dtype);
}

/* abs <= 1e-6 + 4 eps sqrt(K) scale, scale = the largest element expected, at least 1. */
static void compare(const op_case *k, int index, const avs_tensor *got, const avs_tensor *want)
{
    const int64_t n = avs_type_count(&got->type);
    if (got->type.dtype != AVS_F32) {
        if (memcmp(got->data, want->data, bytes_of(got)) != 0)
            fail_msg("case %d, %s (%s): integer output differs", index, avs_op_rules[k->op].name, k->note);
        return;
    }
    const double *w = want->data;
    const float *g = got->data;
    double scale = 1;
    for (int64_t i = 0; i < n; i++) scale = fmax(scale, fabs(w[i]));
    const double bound = 1e-6 + 4 * (double)FLT_EPSILON * sqrt(k->K) * scale;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)g[i] - w[i]) <= bound))
            fail_msg("case %d, %s (%s): element %lld is %.9g, expected %.9g, allowed %.3g", index,
                     avs_op_rules[k->op].name, k->note, (long long)i, (double)g[i], w[i], bound);
}

/* Lowers the case alone on a fresh backend, with operands in memory of exactly their size; c's outputs are filled. */
static int run(op_call *c, const op_case *k, bool is_reversed)
{
    avs_err e = AVS_ERR_INIT;
    avs_backend *be = NULL;
    avs_step step = {0};
    avs_node node[2] = {{0}, {.op = (uint16_t)k->op, .n_in = (uint8_t)k->n_in, .attr = k->attr}};
    const avs_graph g = {.node = node, .n_node = 2};
    avs_lower_req r = {.g = &g, .node = 1, .rt = &c->rt};
    const int mark = c->n_owned;
    for (int i = 0; i < k->n_in; i++) r.in[i] = c->f32.in[i];
    for (int o = 0; o < c->f32.n_out; o++) {
        r.out[o] = c->f32.out[o];
        memset(r.out[o].data, 0xff, bytes_of(&r.out[o]));
    }
    assert_int_equal(B->open(&be, AVS_MATH_F32, &e), AVS_OK);
    if (B->lower(be, &r, &step, &e) != AVS_OK) fail_msg("case of %s: %s", avs_op_rules[k->op].name, e.msg);
    void *work = op_call_alloc(c, step.workspace);
    emul_set_reversed(is_reversed);
    int rc = B->device->begin(be, &c->rt, &e);
    if (rc == AVS_OK && step.prepare) rc = step.prepare(step.ctx, work);
    if (rc == AVS_OK) rc = step.run(step.ctx, work);
    if (rc == AVS_ECUDA) fail_msg("%s: %s", avs_op_rules[k->op].name, B->device->why(be));
    if (rc == AVS_OK) rc = B->device->sync(be, &e);
    emul_set_reversed(false);
    B->close(be);
    while (c->n_owned > mark) free(c->owned[--c->n_owned]);
    return rc;
}

static int64_t size_of(const op_case *k)
{
    int64_t n = 0;
    for (int i = 0; i < k->n_in; i++) n += k->in[i].rank == 255 ? 0 : avs_type_count(&k->in[i]);
    return n;
}

static void check_case(const op_case *k, int index)
{
    op_call c;
    op_call_init(&c, k, (uint64_t)index, true);
    assert_int_equal(avs_ref_kernels[k->op](&c.f64), AVS_OK);
    void *first[AVS_MAX_OUT] = {NULL};
    for (int r = 0; r < 2; r++) {
        assert_int_equal(run(&c, k, r == 1), AVS_OK);
        for (int o = 0; o < c.f32.n_out; o++) {
            if (r == 0) {
                first[o] = op_call_alloc(&c, bytes_of(&c.f32.out[o]));
                memcpy(first[o], c.f32.out[o].data, bytes_of(&c.f32.out[o]));
                compare(k, index, &c.f32.out[o], &c.f64.out[o]);
            } else if (memcmp(first[o], c.f32.out[o].data, bytes_of(&c.f32.out[o])) != 0) {
                fail_msg("case %d, %s (%s): fibres in the other order give other bits", index,
                         avs_op_rules[k->op].name, k->note);
            }
        }
    }
    op_call_fini(&c);
}

/* Cases whose fibres take more than a moment are thinned out; every op keeps most of its own. */
static void every_kernel_agrees_with_the_reference_in_both_orders(void **state)
{
    (void)state;
    int n, n_run[AVS_OP_COUNT] = {0};
    const op_case *k = op_list(&n);
    for (int i = 0; i < n; i++) {
        const int64_t size = size_of(&k[i]);
        if (size > 120000 || (size > 20000 && n_run[k[i].op] > 12 && i % 5)) continue;
        check_case(&k[i], i);
        n_run[k[i].op]++;
    }
    for (int i = 0; i < n; i++)
        if (n_run[k[i].op] < 2) fail_msg("%s ran only %d cases", avs_op_rules[k[i].op].name, n_run[k[i].op]);
}

static void a_class_out_of_range_is_told_after_the_run(void **state)
{
    (void)state;
    int n;
    const op_case *k = op_list(&n);
    for (int i = 0; i < n; i++) {
        const bool is_ce = (k[i].op == AVS_OP_LOSS || k[i].op == AVS_OP_LOSS_BWD) &&
                           ((const avs_loss_attr *)k[i].attr)->kind == AVS_LOSS_CE;
        const bool has_rows = k[i].op == AVS_OP_GATHER_ROWS || k[i].op == AVS_OP_GATHER_ROWS_BWD ||
                              k[i].op == AVS_OP_ROW_MAX_BWD;
        const bool is_set = k[i].op == AVS_OP_SET_LOSS;
        if ((!is_ce && !has_rows && !is_set) || size_of(&k[i]) > 20000) continue;
        op_call c;
        op_call_init(&c, &k[i], (uint64_t)i, false);
        const int at = is_set ? 2 : k[i].n_in - 1;
        if (is_set) ((float *)c.f32.in[3].data)[c.f32.in[3].type.d[0] - 1] = 1; /* the row counts */
        ((int32_t *)c.f32.in[at].data)[avs_type_count(&c.f32.in[at].type) - 1] = 1000000;
        assert_int_equal(run(&c, &k[i], false), AVS_ERANGE);
        op_call_fini(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_of_the_table_has_a_cuda_implementation),
        cmocka_unit_test(every_kernel_agrees_with_the_reference_in_both_orders),
        cmocka_unit_test(a_class_out_of_range_is_told_after_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
