/* Arenas and buffers: alignment, zeroing, growth, formatting, and what an injected failure leaves behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/rng.h"

static void memory_is_zeroed_aligned_and_disjoint(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_rng r = avs_rng_seed(11);
    enum { N = 500 };
    unsigned char *p[N];
    size_t n[N], total = 0;
    for (int i = 0; i < N; i++) {
        n[i] = (size_t)avs_rng_range(&r, 0, i % 50 == 0 ? 3000000 : 900);
        size_t align = (size_t)1 << avs_rng_range(&r, 0, 12);
        p[i] = i % 2 ? avs_arena_alloc(a, n[i]) : avs_arena_alloc_aligned(a, n[i], align);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % (i % 2 ? 16 : align), 0);
        for (size_t k = 0; k < n[i]; k += 97) assert_int_equal(p[i][k], 0);
        memset(p[i], i & 255, n[i]);
        total += n[i];
    }
    for (int i = 0; i < N; i++)
        for (size_t k = 0; k < n[i]; k++)
            if (p[i][k] != (i & 255)) fail_msg("block %d was overwritten at %zu", i, k);
    assert_int_equal(avs_arena_bytes(a), total);
    avs_arena_free(a);
    avs_arena_free(NULL);
}

static void a_reset_arena_gives_zeroed_memory_again(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_arena_reset(a); /* also before the first request */
    for (int round = 0; round < 3; round++) {
        for (size_t n = 1; n < 5000; n += 777) {
            char *p = avs_arena_alloc(a, n);
            for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
            memset(p, 0xAA, n);
        }
        assert_true(avs_arena_bytes(a) > 0);
        avs_arena_reset(a);
        assert_int_equal(avs_arena_bytes(a), 0);
    }
    avs_arena_free(a);
}

static void impossible_requests_give_null(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    assert_null(avs_arena_alloc(a, SIZE_MAX));
    assert_null(avs_arena_alloc(a, SIZE_MAX / 2));
    assert_null(avs_arena_alloc_aligned(a, 8, 3));
    assert_null(avs_arena_alloc_aligned(a, 8, 8192));
    assert_null(avs_arena_strn(a, "", SIZE_MAX));
    assert_null(avs_xalloc(SIZE_MAX));
    assert_null(avs_xrealloc(NULL, SIZE_MAX));
    assert_non_null(avs_arena_alloc(a, 8));
    avs_arena_free(a);
}

static void strings_are_copied_and_formatted(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    char src[] = "frame";
    char *s = avs_arena_str(a, src), *t = avs_arena_strn(a, src, 2);
    src[0] = 'X';
    assert_string_equal(s, "frame");
    assert_string_equal(t, "fr");
    assert_string_equal(avs_arena_fmt(a, "%s=%d", s, 7), "frame=7");
    char *longer = avs_arena_fmt(a, "%9000d", 1);
    assert_int_equal(strlen(longer), 9000);
    assert_memory_equal(avs_arena_dup(a, "\0\1\2", 3), "\0\1\2", 3);
    avs_arena_free(a);
}

static void the_nth_allocation_fails_once(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_alloc_fail_after(3);
    assert_non_null(avs_arena_alloc(a, 8));
    void *x = avs_xalloc(8);
    assert_non_null(x);
    assert_int_equal((uintptr_t)x % 64, 0);
    assert_null(avs_arena_alloc(a, 8));
    assert_non_null(avs_arena_alloc(a, 8));
    avs_alloc_fail_after(1);
    assert_null(avs_arena_new());
    avs_alloc_fail_after(0);
    avs_xfree(x);
    avs_arena_free(a);
}

static void buffers_grow_and_stay_terminated(void **state)
{
    (void)state;
    avs_buf b = AVS_BUF_INIT;
    assert_string_equal(avs_buf_cstr(&b), "");
    for (int i = 0; i < 5000; i++) avs_buf_fmt(&b, "%d,", i);
    assert_true(avs_buf_ok(&b));
    assert_int_equal(strlen(b.data), b.len);
    assert_memory_equal(b.data, "0,1,2,3,", 8);
    avs_buf_clear(&b);
    avs_buf_fmt(&b, "%1000d", 5);
    assert_int_equal(b.len, 1000);
    avs_buf_clear(&b);
    avs_buf_u8(&b, 1);
    avs_buf_u16(&b, 0x0302);
    avs_buf_u32(&b, 0x07060504);
    avs_buf_u64(&b, 0x0f0e0d0c0b0a0908);
    for (unsigned i = 0; i < 15; i++) assert_int_equal((unsigned char)b.data[i], i + 1);
    avs_buf_free(&b);
}

static void a_failed_growth_sticks(void **state)
{
    (void)state;
    avs_buf b = AVS_BUF_INIT;
    avs_buf_str(&b, "kept");
    avs_alloc_fail_after(1);
    avs_buf_fmt(&b, "%100d", 1);
    avs_alloc_fail_after(0);
    assert_false(avs_buf_ok(&b));
    avs_buf_str(&b, "!");
    assert_string_equal(avs_buf_cstr(&b), "kept");
    avs_buf_clear(&b);
    avs_buf_str(&b, "again");
    assert_true(avs_buf_ok(&b));
    avs_buf_free(&b);
}

static void errors_gain_context_in_front(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_ctx(&e, "nothing"), AVS_OK);
    assert_int_equal(avs_fail(&e, AVS_ESHAPE, "%d rows, %d expected", 3, 4), AVS_ESHAPE);
    assert_non_null(strstr(e.file, "test_arena_buf.c"));
    assert_int_equal(avs_ctx(&e, "layer %d", 7), AVS_ESHAPE);
    assert_string_equal(e.msg, "layer 7: 3 rows, 4 expected");
    assert_int_equal(avs_fail(&e, AVS_EIO, "again: %s", e.msg), AVS_EIO);
    assert_string_equal(e.msg, "again: layer 7: 3 rows, 4 expected");
    for (int i = 0; i < 100; i++) avs_ctx(&e, "a rather long context %d", i);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    avs_ctx(&e, "%600d", 1);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    assert_int_equal(avs_fail(NULL, AVS_EDB, "no place"), AVS_EDB);
    for (int c = AVS_OK; c <= AVS_ECANCEL; c++)
        assert_string_not_equal(avs_code_name((avs_code)c), "unknown");
}

static void messages_are_one_line_without_control_characters(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_fail(&e, AVS_EPARSE, "key %s is unknown", "a\x1b[2J\nb\x7f\t"), AVS_EPARSE);
    assert_string_equal(e.msg, "key a?[2J?b?? is unknown");
    assert_int_equal(avs_ctx(&e, "x\r.pth"), AVS_EPARSE);
    assert_string_equal(e.msg, "x?.pth: key a?[2J?b?? is unknown");
    assert_int_equal(avs_fail(&e, AVS_EPARSE, "gr\xc3\xbc\xc3\x9f"), AVS_EPARSE);
    assert_string_equal(e.msg, "gr\xc3\xbc\xc3\x9f");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_disjoint),
        cmocka_unit_test(a_reset_arena_gives_zeroed_memory_again),
        cmocka_unit_test(impossible_requests_give_null),
        cmocka_unit_test(strings_are_copied_and_formatted),
        cmocka_unit_test(the_nth_allocation_fails_once),
        cmocka_unit_test(buffers_grow_and_stay_terminated),
        cmocka_unit_test(a_failed_growth_sticks),
        cmocka_unit_test(errors_gain_context_in_front),
        cmocka_unit_test(messages_are_one_line_without_control_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
