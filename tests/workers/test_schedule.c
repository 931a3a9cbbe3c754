/* Learning-rate schedules against their formulas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "workers/schedule.h"

static void polynomial_starts_at_lr_and_ends_at_zero(void **state)
{
    (void)state;
    const avs_schedule s = {.kind = "polynomial", .lr = 2e-3, .power = 0.9, .steps = 100};
    assert_true(avs_schedule_lr(&s, 0) == 2e-3);
    assert_true(fabs(avs_schedule_lr(&s, 50) - 2e-3 * pow(0.5, 0.9)) < 1e-12);
    assert_true(avs_schedule_lr(&s, 99) > 0);
    assert_true(avs_schedule_lr(&s, 100) == 0);
}

static void warm_up_is_linear_and_reaches_lr(void **state)
{
    (void)state;
    const avs_schedule s = {.kind = "constant", .lr = 1, .steps = 100, .warmup = 4};
    for (int i = 0; i < 4; i++) assert_true(avs_schedule_lr(&s, i) == 0.25 * (i + 1));
    assert_true(avs_schedule_lr(&s, 4) == 1);
}

static void cosine_ends_near_lr_min_and_is_half_way_in_the_middle(void **state)
{
    (void)state;
    const avs_schedule s = {.kind = "cosine", .lr = 1, .lr_min = 0.1, .steps = 1000};
    assert_true(fabs(avs_schedule_lr(&s, 500) - 0.55) < 1e-12);
    assert_true(fabs(avs_schedule_lr(&s, 1000) - 0.1) < 1e-12);
}

static void per_epoch_changes_at_epoch_borders_only(void **state)
{
    (void)state;
    const avs_schedule s = {
        .kind = "polynomial", .lr = 1, .power = 1, .steps = 100, .steps_per_epoch = 10, .per_epoch = true};
    assert_true(avs_schedule_lr(&s, 10) == avs_schedule_lr(&s, 19));
    assert_true(avs_schedule_lr(&s, 19) > avs_schedule_lr(&s, 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(polynomial_starts_at_lr_and_ends_at_zero),
        cmocka_unit_test(warm_up_is_linear_and_reaches_lr),
        cmocka_unit_test(cosine_ends_near_lr_min_and_is_half_way_in_the_middle),
        cmocka_unit_test(per_epoch_changes_at_epoch_borders_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
