/* The standing property: a plan computes what the graph says, whichever backend, with passes and without. */
#include "tests/engine/plan/nets.h"

static const net_fn all_nets[] = {net_conv_eval,       net_conv_train,  net_mixed_train,   net_attention_eval,
                                  net_attention_train, net_tower_train, net_positions_eval};
enum { N_NETS = sizeof all_nets / sizeof *all_nets };

static void check_all(avs_plan_cfg cfg, double tolerance)
{
    for (int i = 0; i < N_NETS; i++) {
        cfg.training = i != 0 && i != 3 && i != 6;
        double worst = net_worst(all_nets[i], &cfg, getenv("AVS_VERBOSE") != NULL);
        if (!(worst <= tolerance)) fail_msg("net %d: relative L2 %g > %g", i, worst, tolerance);
    }
}

/* The same on every backend that is held against the oracle. */
static void check_backends(avs_plan_cfg cfg, double tolerance)
{
    for (int b = 0; (cfg.backend = net_backend(b)) != NULL; b++) check_all(cfg, tolerance);
}

static void ref_f64_without_passes_equals_the_oracle(void **state)
{
    (void)state;
    check_all(
        (avs_plan_cfg){
            .backend = "ref", .prec = AVS_PREC_F64, .passes_off = AVS_PASS_EVERY, .dropout_seed = 5},
        1e-7);
}

static void ref_f64_with_passes_equals_the_oracle(void **state)
{
    (void)state;
    check_all((avs_plan_cfg){.backend = "ref", .prec = AVS_PREC_F64, .dropout_seed = 5}, 1e-7);
}

static void ref_f32_equals_the_oracle(void **state)
{
    (void)state;
    check_all((avs_plan_cfg){.backend = "ref", .dropout_seed = 5}, 2e-5);
}

static void backends_without_passes_equals_the_oracle(void **state)
{
    (void)state;
    check_backends((avs_plan_cfg){.passes_off = AVS_PASS_EVERY, .dropout_seed = 5}, 2e-5);
}

static void backends_with_passes_equals_the_oracle(void **state)
{
    (void)state;
    check_backends((avs_plan_cfg){.dropout_seed = 5}, 2e-5);
}

static void backends_without_any_one_pass_equals_the_oracle(void **state)
{
    (void)state;
    for (unsigned bit = 1; bit & AVS_PASS_EVERY; bit <<= 1)
        check_backends((avs_plan_cfg){.passes_off = bit, .dropout_seed = 5}, 2e-5);
}

static void a_budget_of_one_byte_changes_no_results(void **state)
{
    (void)state;
    check_all((avs_plan_cfg){.backend = "ref", .prec = AVS_PREC_F64, .mem_budget = 1, .dropout_seed = 5},
              1e-7);
    check_backends((avs_plan_cfg){.mem_budget = 1, .dropout_seed = 5}, 2e-5);
    check_backends((avs_plan_cfg){.mem_budget = 1,
                                  .passes_off = AVS_PASS_EVERY & ~AVS_PASS_RECOMPUTE,
                                  .dropout_seed = 5},
                   2e-5);
}

static void backends_without_shared_memory_equals_the_oracle(void **state)
{
    (void)state;
    check_backends((avs_plan_cfg){.keep_all = true, .dropout_seed = 5}, 2e-5);
}

static void taps_do_not_change_results(void **state)
{
    (void)state;
    check_backends((avs_plan_cfg){.taps = true, .dropout_seed = 5}, 2e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_f64_without_passes_equals_the_oracle),
        cmocka_unit_test(ref_f64_with_passes_equals_the_oracle),
        cmocka_unit_test(ref_f32_equals_the_oracle),
        cmocka_unit_test(backends_without_passes_equals_the_oracle),
        cmocka_unit_test(backends_with_passes_equals_the_oracle),
        cmocka_unit_test(backends_without_any_one_pass_equals_the_oracle),
        cmocka_unit_test(a_budget_of_one_byte_changes_no_results),
        cmocka_unit_test(backends_without_shared_memory_equals_the_oracle),
        cmocka_unit_test(taps_do_not_change_results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
