/* The dual-source bodies on a GPU against the CPU kernels, over the list of cases. Skipped, visibly, where there is no
 * device. Built only where nvcc and the CUDA runtime are. */
#include "engine/backend/cuda/columns.h"
#include "engine/backend/cuda/msdeform_value.h"
#include "engine/backend/cuda/rows.h"

#include <cuda_runtime_api.h>

static void *lent;

static void *lend(size_t bytes)
{
    cudaFree(lent);
    lent = NULL;
    return cudaMalloc(&lent, bytes ? bytes : 1) == cudaSuccess ? lent : NULL;
}

#include "tests/engine/kernel/cuda_calls.h"

static void need_device(void)
{
    int n = 0;
    if (cudaGetDeviceCount(&n) != cudaSuccess || n == 0) {
        print_message("no CUDA device: skipped\n");
        skip();
    }
}

static size_t bytes_of(const avs_tensor *t)
{
    return (size_t)avs_type_count(&t->type) * avs_dtype_size((avs_dtype)t->type.dtype);
}

/* Memory that both sides see. */
static void *managed(size_t bytes)
{
    void *p = NULL;
    assert_int_equal(cudaMallocManaged(&p, bytes ? bytes : 1, cudaMemAttachGlobal), cudaSuccess);
    return p;
}

static void run_case(const op_case *k, int index, int b)
{
    op_call c;
    op_call_init(&c, k, (uint64_t)index, false);
    assert_int_equal(op_call_run(&c, &avs_cpu_kernel_table()[k->op]), AVS_OK);
    avs_kernel_args a = c.f32;
    for (int i = 0; i < a.n_in; i++) {
        if (!a.in[i].data) continue;
        a.in[i].data = managed(bytes_of(&a.in[i]));
        memcpy(a.in[i].data, c.f32.in[i].data, bytes_of(&a.in[i]));
    }
    for (int o = 0; o < a.n_out; o++) a.out[o].data = managed(bytes_of(&a.out[o]));
    const int rc = bodies[b].run(&a), rc2 = (int)cudaDeviceSynchronize();
    if (rc || rc2)
        fail_msg("case %d, %s: %s", index, avs_op_rules[k->op].name,
                 cudaGetErrorString((cudaError_t)(rc ? rc : rc2)));
    for (int o = 0; o < a.n_out; o++)
        if (bodies[b].outputs >> o & 1) compare(k, index, &a.out[o], &c.f32.out[o]);
    for (int i = 0; i < a.n_in; i++) cudaFree(a.in[i].data);
    for (int o = 0; o < a.n_out; o++) cudaFree(a.out[o].data);
    op_call_fini(&c);
}

static void bodies_on_the_gpu_agree_with_the_cpu(void **state)
{
    (void)state;
    int n;
    need_device();
    const op_case *k = op_list(&n);
    for (int b = 0; b < (int)(sizeof(bodies) / sizeof(bodies[0])); b++)
        for (int i = 0; i < n; i++)
            if (k[i].op == bodies[b].op) run_case(&k[i], i, b);
    cudaFree(lent);
    lent = NULL;
}

/* nvcc fuses multiply and add, so the last bits differ from the CPU's. */
static void optimiser_steps_on_the_gpu_agree_with_the_cpu(void **state)
{
    (void)state;
    need_device();
    for (int is_decoupled = 0; is_decoupled < 2; is_decoupled++) {
        const avs_adamw_cfg cfg = {
            .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .decoupled = is_decoupled};
        adamw_slab *want = managed(sizeof(*want)), *got = managed(sizeof(*got));
        slab_init(want);
        slab_init(got);
        for (int t = 1; t <= SLAB_STEPS; t++) {
            slab_gradient(want, t);
            slab_gradient(got, t);
            avs_adamw_step(&(avs_adamw_arrays){want->w, want->g, want->m, want->v}, slab_segments, 3, &cfg, t,
                           0.25f);
            assert_int_equal(run_adamw(got, &cfg, t), 0);
            assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
        }
        for (int i = 0; i < SLAB; i++)
            assert_true(fabs((double)got->w[i] - (double)want->w[i]) <=
                        1e-6 + 1e-6 * fabs((double)want->w[i]));
        cudaFree(want);
        cudaFree(got);
    }
}

/* Small integers: every order of additions gives the same sum. */
static void sums_on_the_gpu_are_exact_for_integers(void **state)
{
    (void)state;
    enum { ROWS = 1931, COLUMNS = 77 };
    need_device();
    float *x = managed(sizeof(float) * ROWS * COLUMNS), *col = managed(sizeof(float) * COLUMNS);
    float *row = managed(sizeof(float) * ROWS), want_col[COLUMNS] = {0}, want_row[ROWS] = {0};
    void *work = managed(avs_colsum_work(ROWS, COLUMNS));
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        x[i] = (float)(i * 7 % 31 - 15);
        want_col[i % COLUMNS] += x[i];
        want_row[i / COLUMNS] += x[i];
    }
    assert_int_equal(avs_colsum_cuda(x, col, ROWS, COLUMNS, work, NULL), 0);
    assert_int_equal(avs_rowsum_cuda(x, row, ROWS, COLUMNS, NULL), 0);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    assert_memory_equal(col, want_col, sizeof(want_col));
    assert_memory_equal(row, want_row, sizeof(want_row));
    cudaFree(x);
    cudaFree(col);
    cudaFree(row);
    cudaFree(work);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_on_the_gpu_agree_with_the_cpu),
        cmocka_unit_test(optimiser_steps_on_the_gpu_agree_with_the_cpu),
        cmocka_unit_test(sums_on_the_gpu_are_exact_for_integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
