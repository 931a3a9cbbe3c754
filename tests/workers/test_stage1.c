/* Masks between the stages of aavs: made worse by a rule, read, refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fs.h"
#include "data/image.h"
#include "workers/stage1.h"

enum { H = 40, W = 56, N = H * W };

/* A rectangle of the upper left corner, h x w pixels. */
static void rectangle(float *m, int h, int w)
{
    for (int i = 0; i < N; i++) m[i] = i / W < h && i % W < w ? 1.F : 0.F;
}

static double iou_of(const float *a, const float *b)
{
    int both = 0, either = 0;
    for (int i = 0; i < N; i++) {
        both += a[i] > 0.5F && b[i] > 0.5F;
        either += a[i] > 0.5F || b[i] > 0.5F;
    }
    return either ? (double)both / either : 1;
}

static void corruption_stops_at_the_first_cell_at_or_below_the_wanted_iou(void **state)
{
    (void)state;
    static const double wanted[] = {0.9, 0.7, 0.4, 0};
    avs_err e = AVS_ERR_INIT;
    float truth[N], last[N], m[N];
    rectangle(truth, 32, 48);
    memcpy(last, truth, sizeof last);
    for (int i = 0; i < 4; i++) {
        memcpy(m, truth, sizeof m);
        assert_int_equal(avs_stage1_corrupt(m, H, W, wanted[i], "corrupt.7.clip.0", &e), AVS_OK);
        assert_true(iou_of(m, truth) <= wanted[i]);
        /* one cell of 16 x 16 moves the IoU by at most its share of the mask */
        assert_true(iou_of(m, truth) >= wanted[i] - 256.0 / (32 * 48) - 1e-9);
        /* the same order of cells: what was flipped stays flipped further down */
        for (int k = 0; k < N; k++)
            if (last[k] != truth[k]) assert_true(m[k] == last[k]);
        memcpy(last, m, sizeof last);
    }
}

static void corruption_is_a_function_of_its_name(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    float a[N], b[N], c[N];
    rectangle(a, 20, 30);
    memcpy(b, a, sizeof b);
    memcpy(c, a, sizeof c);
    assert_int_equal(avs_stage1_corrupt(a, H, W, 0.5, "corrupt.1.clip.0", &e), AVS_OK);
    assert_int_equal(avs_stage1_corrupt(b, H, W, 0.5, "corrupt.1.clip.0", &e), AVS_OK);
    assert_int_equal(avs_stage1_corrupt(c, H, W, 0.5, "corrupt.2.clip.0", &e), AVS_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_true(memcmp(a, c, sizeof a) != 0);
}

static void empty_masks_and_an_iou_of_one_stay_as_they_are(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    float empty[N] = {0}, m[N], was[N];
    assert_int_equal(avs_stage1_corrupt(empty, H, W, 0, "corrupt.1.clip.0", &e), AVS_OK);
    for (int i = 0; i < N; i++) assert_true(empty[i] == 0.F);
    rectangle(m, 20, 30);
    memcpy(was, m, sizeof was);
    assert_int_equal(avs_stage1_corrupt(m, H, W, 1, "corrupt.1.clip.0", &e), AVS_OK);
    assert_memory_equal(m, was, sizeof m);
}

static void masks_of_another_size_are_brought_to_the_wanted_one(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    char path[] = "/tmp/avs-mask-XXXXXX";
    uint8_t px[4] = {0, 255, 0, 255};
    float out[16];
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(avs_png_write(path, &(avs_image){.px = px, .w = 2, .h = 2, .channels = 1}, 6, &e),
                     AVS_OK);
    assert_int_equal(avs_stage1_read(path, 2, 2, out, &e), AVS_OK);
    assert_true(out[0] == 0.F && out[1] == 1.F && out[2] == 0.F && out[3] == 1.F);
    assert_int_equal(avs_stage1_read(path, 4, 4, out, &e), AVS_OK);
    assert_true(out[0] == 0.F && out[3] == 1.F && out[1] < out[2]);
    unlink(path);
    assert_int_equal(avs_stage1_read(path, 2, 2, out, &e), AVS_EMISSING);
    assert_non_null(strstr(e.msg, path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corruption_stops_at_the_first_cell_at_or_below_the_wanted_iou),
        cmocka_unit_test(corruption_is_a_function_of_its_name),
        cmocka_unit_test(empty_masks_and_an_iou_of_one_stay_as_they_are),
        cmocka_unit_test(masks_of_another_size_are_brought_to_the_wanted_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
