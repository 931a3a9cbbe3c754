/* Properties of the binary scores that hold for any input: the histogram equals counting at every threshold, the
 * empty target rule, batches, and refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/rng.h"
#include "metrics/mask.h"
#include "tests/metrics/near.h"

static float naive_f(const float *l, const float *t, int64_t n, float th)
{
    int64_t tp = 0, chosen = 0, target = 0;
    for (int64_t i = 0; i < n; i++) {
        int y = avs_sigmoid_f32(l[i]) >= th;
        tp += y && t[i] > 0.5f;
        chosen += y;
        target += t[i] > 0.5f;
    }
    float P = (float)tp / ((float)chosen + 1e-20f), R = (float)tp / ((float)target + 1e-20f);
    float F = 1.3f * P * R / (0.3f * P + R);
    return isnan(F) ? 0.0f : F;
}

static void the_histogram_equals_counting_at_every_threshold(void **state)
{
    (void)state;
    avs_rng r = avs_rng_seed(11);
    for (int trial = 0; trial < 60; trial++) {
        int64_t H = avs_rng_range(&r, 1, 20), W = avs_rng_range(&r, 1, 20), n = H * W;
        float l[400], t[400], curve[AVS_F_THRESHOLDS];
        avs_mask_frame m;
        for (int64_t i = 0; i < n; i++) {
            /* half of the scores sit on a threshold or one float step beside it */
            float s = avs_f_thresholds[avs_rng_range(&r, 1, 253)];
            l[i] = avs_rng_range(&r, 0, 1) ? (float)log((double)s / (1.0 - (double)s))
                                           : (float)avs_rng_normal(&r) * 9;
            t[i] = (float)avs_rng_range(&r, 0, 1);
        }
        t[0] = 1;
        assert_int_equal(avs_mask_frame_logits(l, t, H, W, &m, curve, NULL), AVS_OK);
        for (int k = 0; k < AVS_F_THRESHOLDS; k++)
            if (curve[k] != naive_f(l, t, n, avs_f_thresholds[k]))
                fail_msg("trial %d threshold %d: %.9g instead of %.9g", trial, k, (double)curve[k],
                         (double)naive_f(l, t, n, avs_f_thresholds[k]));
    }
}

static void an_empty_target_scores_the_share_of_empty_pixels(void **state)
{
    (void)state;
    float t[8] = {0};
    uint8_t p[8] = {1, 1, 0, 0, 0, 0, 0, 0};
    avs_mask_frame m;
    assert_int_equal(avs_mask_frame_binary(p, t, 2, 4, &m, NULL, NULL), AVS_OK);
    assert_true(m.target_is_empty);
    assert_true(m.iou == 0.75f);
    assert_true(m.f_max == 0.0f);
}

static void a_binary_prediction_scores_as_saturated_logits(void **state)
{
    (void)state;
    avs_rng r = avs_rng_seed(5);
    float t[64], l[64], c1[AVS_F_THRESHOLDS], c2[AVS_F_THRESHOLDS];
    uint8_t p[64];
    avs_mask_frame a, b;
    for (int i = 0; i < 64; i++) {
        t[i] = (float)avs_rng_range(&r, 0, 1);
        p[i] = (uint8_t)avs_rng_range(&r, 0, 1);
        l[i] = p[i] ? 200.0f : -200.0f;
    }
    assert_int_equal(avs_mask_frame_binary(p, t, 8, 8, &a, c1, NULL), AVS_OK);
    assert_int_equal(avs_mask_frame_logits(l, t, 8, 8, &b, c2, NULL), AVS_OK);
    assert_true(a.iou == b.iou);
    /* th_0 = 0 takes all pixels in both; sigmoid(-200) is above 0 but below th_1 */
    assert_memory_equal(c1, c2, sizeof c1);
}

static void zero_and_nan_logits_are_background(void **state)
{
    (void)state;
    float l[4] = {0.0f, NAN, 1e-9f, 1.0f}, t[4] = {1, 1, 1, 1};
    avs_mask_frame m;
    assert_int_equal(avs_mask_frame_logits(l, t, 2, 2, &m, NULL, NULL), AVS_OK);
    assert_true(m.iou == 0.25f / (1.0f + 0.25e-7f));
}

static void raw_logits_are_thresholded_as_they_are(void **state)
{
    (void)state;
    const float raw[8] = {-3, -0.01F, 0, 0.25F, 0.75F, 1, 7, NAN}, t[8] = {1, 0, 1, 0, 1, 1, 0, 1};
    float curve[AVS_F_THRESHOLDS];
    avs_mask_frame m, whole;
    assert_int_equal(avs_mask_frame_raw(raw, t, 2, 4, &m, curve, NULL), AVS_OK);
    for (int k = 0; k < AVS_F_THRESHOLDS; k++) {
        float tp = 0, chosen = 0;
        for (int i = 0; i < 8; i++) {
            chosen += raw[i] >= avs_f_thresholds[k];
            tp += raw[i] >= avs_f_thresholds[k] && t[i] > 0;
        }
        const float P = tp / (chosen + 1e-20f), R = tp / (5 + 1e-20f);
        assert_true(curve[k] == 1.3f * P * R / (0.3f * P + R));
    }
    assert_int_equal(avs_mask_frame_logits(raw, t, 2, 4, &whole, NULL, NULL), AVS_OK);
    assert_true(m.iou == whole.iou && m.f_max != whole.f_max);
    avs_mask_score s;
    avs_mask_result r;
    avs_mask_score_init(&s, 1);
    s.on_logits = true;
    assert_int_equal(avs_mask_score_add(&s, raw, t, 2, 4, NULL), AVS_OK);
    assert_int_equal(avs_mask_score_finish(&s, &r, NULL), AVS_OK);
    assert_true(r.fscore == (double)m.f_max);
    avs_mask_score_fini(&s);
}

static void an_open_clip_and_a_ragged_batch_enter_the_means(void **state)
{
    (void)state;
    float t[4] = {1, 0, 0, 0};
    uint8_t right[4] = {1, 0, 0, 0}, wrong[4] = {0, 1, 0, 0};
    avs_mask_score s;
    avs_mask_result r;
    avs_mask_score_init(&s, 2);
    for (int clip = 0; clip < 3; clip++) {
        assert_int_equal(avs_mask_score_add_binary(&s, clip < 2 ? right : wrong, t, 2, 2, NULL), AVS_OK);
        if (clip < 2) avs_mask_score_end_clip(&s);
    }
    assert_int_equal(avs_mask_score_finish(&s, &r, NULL), AVS_OK);
    assert_int_equal(r.n_batches, 2);
    assert_near(r.miou, 2.0 / 3, 1e-6);
    assert_near(r.miou_published, 0.5, 1e-6);
    double floor_f = 1.3 * 0.25 / (0.3 * 0.25 + 1);
    assert_near(r.fscore, (1 + floor_f) / 2, 1e-6);
    assert_near(r.fscore_at_half, 2.0 / 3, 1e-6);
    avs_mask_score_fini(&s);
}

static void means_without_empty_frames_leave_them_out(void **state)
{
    (void)state;
    float full[4] = {1, 1, 1, 1}, none[4] = {0};
    uint8_t half[4] = {1, 1, 0, 0};
    avs_mask_score s;
    avs_mask_result r;
    avs_mask_score_init(&s, 1);
    assert_int_equal(avs_mask_score_add_binary(&s, half, full, 2, 2, NULL), AVS_OK);
    assert_int_equal(avs_mask_score_add_binary(&s, (uint8_t[4]){0}, none, 2, 2, NULL), AVS_OK);
    avs_mask_score_end_clip(&s);
    assert_int_equal(avs_mask_score_finish(&s, &r, NULL), AVS_OK);
    assert_int_equal(r.n_nonempty, 1);
    assert_near(r.miou, 0.75, 1e-6);
    assert_near(r.miou_nonempty, 0.5, 1e-6);
    avs_mask_score_fini(&s);
}

static void nothing_scored_and_bad_extents_are_refused(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_mask_score s;
    avs_mask_result r;
    avs_mask_frame m;
    float x[1] = {0};
    avs_mask_score_init(&s, 1);
    assert_int_equal(avs_mask_score_finish(&s, &r, &e), AVS_EMISSING);
    assert_int_equal(avs_mask_frame_logits(x, x, 0, 4, &m, NULL, &e), AVS_ERANGE);
    assert_int_equal(avs_mask_frame_logits(x, x, 4096, 4096, &m, NULL, &e), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "4096 x 4096"));
}

static void a_failed_allocation_is_an_error_and_keeps_the_object(void **state)
{
    (void)state;
    avs_mask_score s;
    avs_err e = AVS_ERR_INIT;
    float x[1] = {1};
    avs_mask_score_init(&s, 1);
    avs_alloc_fail_after(1);
    assert_int_equal(avs_mask_score_add(&s, x, x, 1, 1, &e), AVS_ENOMEM);
    avs_alloc_fail_after(0);
    assert_int_equal(s.n_frames, 0);
    assert_int_equal(avs_mask_score_add(&s, x, x, 1, 1, &e), AVS_OK);
    avs_mask_score_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_histogram_equals_counting_at_every_threshold),
        cmocka_unit_test(an_empty_target_scores_the_share_of_empty_pixels),
        cmocka_unit_test(a_binary_prediction_scores_as_saturated_logits),
        cmocka_unit_test(zero_and_nan_logits_are_background),
        cmocka_unit_test(raw_logits_are_thresholded_as_they_are),
        cmocka_unit_test(an_open_clip_and_a_ragged_batch_enter_the_means),
        cmocka_unit_test(means_without_empty_frames_leave_them_out),
        cmocka_unit_test(nothing_scored_and_bad_extents_are_refused),
        cmocka_unit_test(a_failed_allocation_is_an_error_and_keeps_the_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
