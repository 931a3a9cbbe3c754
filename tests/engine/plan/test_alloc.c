/* A built plan runs without allocating: every allocator that our code calls is wrapped by the linker and counted. What
 * oneDNN does behind its own interface is not ours to count. */
#include <sys/mman.h>
#include <sys/types.h>

#include "tests/engine/plan/nets.h"

static long n_calls;

#define WRAP(type, name, args, pass)                                                                         \
    type __real_##name args;                                                                                 \
    type __wrap_##name args;                                                                                 \
    type __wrap_##name args                                                                                  \
    {                                                                                                        \
        n_calls++;                                                                                           \
        return __real_##name pass;                                                                           \
    }
WRAP(void *, malloc, (size_t n), (n))
WRAP(void *, calloc, (size_t k, size_t n), (k, n))
WRAP(void *, realloc, (void *p, size_t n), (p, n))
WRAP(void *, aligned_alloc, (size_t a, size_t n), (a, n))
WRAP(int, posix_memalign, (void **p, size_t a, size_t n), (p, a, n))
WRAP(void *, mmap, (void *p, size_t n, int prot, int flags, int fd, off_t off), (p, n, prot, flags, fd, off))

static long calls_of_runs(net_fn net, avs_plan_cfg cfg)
{
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_graph *g = net(a);
    avs_plan *p = NULL;
    const long before_build = n_calls;
    if (avs_plan_build(&p, g, &cfg, &e) != AVS_OK) fail_msg("%s", e.msg);
    assert_true(n_calls > before_build); /* the count works */
    net_load(p, g);
    if (avs_plan_run(p, &e) != AVS_OK) fail_msg("%s", e.msg); /* the prologue */
    const long before = n_calls;
    for (int i = 0; i < 3; i++) {
        avs_plan_params_changed(p);
        if (avs_plan_run(p, &e) != AVS_OK) fail_msg("%s", e.msg);
    }
    const long calls = n_calls - before;
    avs_plan_free(p);
    avs_arena_free(a);
    return calls;
}

static void a_run_of_inference_allocates_nothing(void **state)
{
    (void)state;
    const net_fn nets[] = {net_conv_eval, net_attention_eval};
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        for (unsigned off = 0; off <= AVS_PASS_EVERY; off += AVS_PASS_EVERY)
            assert_int_equal(calls_of_runs(nets[i], (avs_plan_cfg){.backend = "cpu", .passes_off = off}), 0);
}

static void a_step_of_training_allocates_nothing(void **state)
{
    (void)state;
    const net_fn nets[] = {net_conv_train, net_mixed_train, net_attention_train, net_tower_train};
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        for (size_t budget = 0; budget < 2; budget++)
            assert_int_equal(calls_of_runs(nets[i], (avs_plan_cfg){.backend = "cpu",
                                                                   .training = true,
                                                                   .mem_budget = budget,
                                                                   .dropout_seed = 5}),
                             0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_of_inference_allocates_nothing),
        cmocka_unit_test(a_step_of_training_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
