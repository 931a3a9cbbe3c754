/* The invariants of the dissipation metrics that the specification names, and cases computed by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include "metrics/dissipation.h"
#include "tests/metrics/near.h"

static void one_key_dissipates_fully(void **state)
{
    (void)state;
    float A[6] = {1, 1, 1, 1, 0.5f, 2};
    avs_dissipation d;
    assert_int_equal(avs_attention_dissipation(A, 2, 3, 1, &d, NULL), AVS_OK);
    assert_near(d.entropy, 0, 1e-15);
    assert_near(d.normalised_entropy, 1, 1e-15);
    assert_near(d.dissipation, 1, 1e-15);
}

static void uniform_attention_dissipates_fully(void **state)
{
    (void)state;
    float A[12];
    avs_dissipation d;
    for (int i = 0; i < 12; i++) A[i] = 0.25f;
    assert_int_equal(avs_attention_dissipation(A, 1, 3, 4, &d, NULL), AVS_OK);
    assert_near(d.normalised_entropy, 1, 1e-12);
    assert_near(d.dissipation, 1, 1e-12);
}

static void permutation_attention_does_not_dissipate(void **state)
{
    (void)state;
    float A[9] = {0, 1, 0, 0, 0, 1, 1, 0, 0};
    avs_dissipation d;
    assert_int_equal(avs_attention_dissipation(A, 1, 3, 3, &d, NULL), AVS_OK);
    assert_near(d.normalised_entropy, 0, 1e-15);
    assert_near(d.dissipation, 0, 1e-12);
}

static void rows_on_one_key_are_seen_by_dissipation_not_by_entropy(void **state)
{
    (void)state;
    float A[6] = {0, 3, 0, 0, 7, 0}; /* rows are normalised first */
    avs_dissipation d;
    assert_int_equal(avs_attention_dissipation(A, 1, 2, 3, &d, NULL), AVS_OK);
    assert_near(d.normalised_entropy, 0, 1e-15);
    assert_near(d.dissipation, 1, 1e-12);
}

static void negative_weights_are_refused(void **state)
{
    (void)state;
    float A[2] = {1, -1};
    avs_dissipation d;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_attention_dissipation(A, 1, 1, 2, &d, &e), AVS_ERANGE);
    assert_int_equal(avs_attention_dissipation(A, 0, 1, 2, &d, &e), AVS_ERANGE);
}

static void replication_is_one_for_equal_tokens_and_one_over_n_for_orthogonal_ones(void **state)
{
    (void)state;
    float same[6] = {1, 2, 1, 2, 1, 2}, cross[4] = {1, 0, 0, 1}, zero[4] = {0};
    double v;
    assert_int_equal(avs_replication_index(same, 1, 3, 2, &v, NULL), AVS_OK);
    assert_near(v, 1, 1e-12);
    assert_int_equal(avs_replication_index(cross, 1, 2, 2, &v, NULL), AVS_OK);
    assert_near(v, 0.5, 1e-12);
    assert_int_equal(avs_replication_index(zero, 1, 2, 2, &v, NULL), AVS_OK);
    assert_near(v, 1, 0);
    assert_int_equal(avs_replication_index(zero, 1, 0, 2, &v, NULL), AVS_ERANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_key_dissipates_fully),
        cmocka_unit_test(uniform_attention_dissipates_fully),
        cmocka_unit_test(permutation_attention_does_not_dissipate),
        cmocka_unit_test(rows_on_one_key_are_seen_by_dissipation_not_by_entropy),
        cmocka_unit_test(negative_weights_are_refused),
        cmocka_unit_test(replication_is_one_for_equal_tokens_and_one_over_n_for_orthogonal_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
