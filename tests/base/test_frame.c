/* Frames survive any splitting of the stream; any damage is an error, never a wrong frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/frame.h"
#include "base/rng.h"

static void build(avs_buf *b, int i)
{
    size_t mark = avs_frame_begin(b, AVS_F_RESULT, 7, 0x0123456789abcdefu + (unsigned)i);
    avs_frame_put_str(b, AVS_T_NAME, "miou");
    avs_frame_put_f64(b, AVS_T_VALUE, 0.25 * i);
    avs_frame_put_i64(b, AVS_T_STEP, -i);
    avs_frame_put(b, AVS_T_BLOB, "\0\1\2", (size_t)(i % 4));
    avs_frame_end(b, mark);
}

static void check(const avs_frame *f, int i)
{
    avs_arena *a = avs_arena_new();
    size_t n;
    assert_int_equal(f->type, AVS_F_RESULT);
    assert_int_equal(f->epoch, 7);
    assert_true(f->attempt == 0x0123456789abcdefu + (unsigned)i);
    assert_string_equal(avs_frame_str(f, AVS_T_NAME, a), "miou");
    assert_true(avs_frame_f64(f, AVS_T_VALUE, 9) == 0.25 * i);
    assert_int_equal(avs_frame_i64(f, AVS_T_STEP, 9), -i);
    assert_non_null(avs_frame_get(f, AVS_T_BLOB, &n));
    assert_int_equal(n, i % 4);
    assert_null(avs_frame_str(f, AVS_T_PATH, a));
    assert_null(avs_frame_get(f, AVS_T_PATH, &n));
    assert_int_equal(avs_frame_i64(f, AVS_T_PATH, 9), 9);
    assert_int_equal(avs_frame_i64(f, AVS_T_NAME, 9), 9);
    assert_true(avs_frame_f64(f, AVS_T_NAME, 0.5) == 0.5);
    avs_arena_free(a);
}

static void frames_survive_any_splitting(void **state)
{
    (void)state;
    enum { N = 200 };
    avs_buf b = AVS_BUF_INIT;
    for (int i = 0; i < N; i++) build(&b, i);
    assert_true(avs_buf_ok(&b));
    avs_rng r = avs_rng_seed(31);
    for (int trial = 0; trial < 20; trial++) {
        avs_frame_reader in = {0};
        avs_frame f;
        avs_err e = AVS_ERR_INIT;
        bool got;
        int seen = 0;
        for (size_t at = 0; at < b.len;) {
            size_t n = (size_t)avs_rng_range(&r, 1, trial == 0 ? 1 : 400);
            if (n > b.len - at) n = b.len - at;
            avs_frame_feed(&in, b.data + at, n);
            at += n;
            do {
                assert_int_equal(avs_frame_next(&in, &f, &got, &e), AVS_OK);
                if (got) check(&f, seen++);
            } while (got);
        }
        assert_int_equal(seen, N);
        avs_frame_reader_free(&in);
    }
    avs_buf_free(&b);
}

/* Bytes as one stream: the code of the first failure, or OK with the number of frames in *frames. */
static int read_all(const void *data, size_t n, int *frames, avs_err *e)
{
    avs_frame_reader in = {0};
    avs_frame f;
    bool got = false;
    int rc;
    *frames = 0;
    avs_frame_feed(&in, data, n);
    while ((rc = avs_frame_next(&in, &f, &got, e)) == AVS_OK && got) (*frames)++;
    avs_frame_reader_free(&in);
    return rc;
}

static void every_truncation_waits_for_more(void **state)
{
    (void)state;
    avs_buf b = AVS_BUF_INIT;
    build(&b, 3);
    int frames;
    for (size_t n = 0; n <= b.len; n++) {
        assert_int_equal(read_all(b.data, n, &frames, NULL), AVS_OK);
        assert_int_equal(frames, n == b.len);
    }
    avs_buf_free(&b);
}

static void every_flipped_bit_of_length_magic_version_and_body_is_seen(void **state)
{
    (void)state;
    avs_buf b = AVS_BUF_INIT;
    build(&b, 3);
    int frames;
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        size_t at = bit / 8;
        if (at >= 6 && at < 20) continue; /* type, epoch, attempt: any value is a frame */
        b.data[at] = (char)(b.data[at] ^ (1 << bit % 8));
        int rc = read_all(b.data, b.len, &frames, NULL);
        /* A longer length below the limit is a frame that is not complete yet. */
        if (at >= 20 && at < 24)
            assert_int_equal(frames, 0);
        else
            assert_int_equal(rc, AVS_EPARSE);
        b.data[at] = (char)(b.data[at] ^ (1 << bit % 8));
    }
    avs_buf_free(&b);
}

static void a_huge_length_is_refused_at_once(void **state)
{
    (void)state;
    avs_buf b = AVS_BUF_INIT;
    size_t mark = avs_frame_begin(&b, 1, 0, 0);
    avs_frame_end(&b, mark);
    b.data[mark + 23] = 0x7f;
    int frames;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(read_all(b.data, b.len, &frames, &e), AVS_EPARSE);
    assert_non_null(strstr(e.msg, "at most"));
    avs_buf_free(&b);
}

static void a_field_longer_than_its_body_is_refused(void **state)
{
    (void)state;
    for (uint32_t len = 0; len < 12; len++) {
        avs_buf b = AVS_BUF_INIT;
        size_t mark = avs_frame_begin(&b, 1, 0, 0);
        avs_buf_u16(&b, AVS_T_NAME);
        avs_buf_u32(&b, len); /* five bytes follow */
        avs_buf_str(&b, "12345");
        avs_frame_end(&b, mark);
        int frames;
        assert_int_equal(read_all(b.data, b.len, &frames, NULL), len == 5 ? AVS_OK : AVS_EPARSE);
        avs_buf_free(&b);
    }
}

static void an_oversized_frame_fails_its_buffer(void **state)
{
    (void)state;
    size_t n = AVS_FRAME_MAX;
    char *blob = calloc(1, n);
    avs_buf b = AVS_BUF_INIT;
    size_t mark = avs_frame_begin(&b, 1, 0, 0);
    avs_frame_put(&b, AVS_T_BLOB, blob, n);
    avs_frame_end(&b, mark);
    assert_false(avs_buf_ok(&b));
    avs_buf_free(&b);
    free(blob);
}

static void a_reader_out_of_memory_says_so(void **state)
{
    (void)state;
    avs_frame_reader in = {0};
    avs_frame f;
    bool got = true;
    avs_alloc_fail_after(1);
    avs_frame_feed(&in, "AVSF", 4);
    avs_alloc_fail_after(0);
    assert_int_equal(avs_frame_next(&in, &f, &got, NULL), AVS_ENOMEM);
    assert_false(got);
    avs_frame_reader_free(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_survive_any_splitting),
        cmocka_unit_test(every_truncation_waits_for_more),
        cmocka_unit_test(every_flipped_bit_of_length_magic_version_and_body_is_seen),
        cmocka_unit_test(a_huge_length_is_refused_at_once),
        cmocka_unit_test(a_field_longer_than_its_body_is_refused),
        cmocka_unit_test(an_oversized_frame_fails_its_buffer),
        cmocka_unit_test(a_reader_out_of_memory_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
