/* Hashes and generators against published vectors, and the properties their users rely on. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fs.h"
#include "base/hash.h"
#include "base/sha256_ni.h"
#include "base/rng.h"

static void expect_sha(const void *data, size_t n, const char *want)
{
    uint8_t d[32];
    char hex[65];
    avs_sha256_of(data, n, d);
    avs_hex(d, 32, hex);
    assert_string_equal(hex, want);
}

static void expect_fips_examples(void)
{
    expect_sha("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect_sha("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect_sha("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    avs_sha256 s;
    uint8_t d[32];
    char hex[65];
    avs_sha256_init(&s);
    for (int i = 0; i < 1000; i++) {
        char chunk[1000];
        memset(chunk, 'a', sizeof chunk);
        avs_sha256_put(&s, chunk, sizeof chunk);
    }
    avs_sha256_end(&s, d);
    avs_hex(d, 32, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void sha256_equals_the_fips_examples(void **state)
{
    (void)state;
    avs_sha256_choose(true); /* plain C */
    expect_fips_examples();
    avs_sha256_choose(false); /* what this machine has */
    expect_fips_examples();
}

static void sha256_does_not_depend_on_the_pieces(void **state)
{
    (void)state;
    uint8_t data[300], whole[32], parts[32];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7);
    avs_rng r = avs_rng_seed(3);
    for (size_t n = 0; n <= sizeof data; n++) {
        avs_sha256_of(data, n, whole);
        avs_sha256 s;
        avs_sha256_init(&s);
        for (size_t at = 0; at < n;) {
            size_t take = (size_t)avs_rng_range(&r, 1, (int64_t)(n - at));
            avs_sha256_put(&s, data + at, take);
            at += take;
        }
        avs_sha256_end(&s, parts);
        assert_memory_equal(whole, parts, 32);
    }
}

static void sha256_of_a_file_equals_that_of_its_bytes(void **state)
{
    (void)state;
    char path[64];
    (void)snprintf(path, sizeof path, "/tmp/avs_hash_%ld", (long)getpid());
    static char data[40000];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (char)(i % 251);
    avs_err e = AVS_ERR_INIT;
    uint8_t a[32], b[32];
    assert_int_equal(avs_fs_write_atomic(path, data, sizeof data, &e), AVS_OK);
    assert_int_equal(avs_sha256_file(path, a, &e), AVS_OK);
    avs_sha256_of(data, sizeof data, b);
    assert_memory_equal(a, b, 32);
    (void)unlink(path);
    assert_int_equal(avs_sha256_file(path, a, &e), AVS_EIO);
    assert_non_null(strstr(e.msg, path));
}

static void philox_equals_the_known_answers(void **state)
{
    (void)state;
    static const uint32_t kat[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb,
         0x5001e420, 0x24126ea1}};
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        avs_philox4x32(kat[i], kat[i] + 4, out);
        assert_memory_equal(out, kat[i] + 6, sizeof out);
    }
}

static void splitmix_equals_the_published_sequence(void **state)
{
    (void)state;
    /* First outputs of the reference splitmix64.c for state 1234567. */
    static const uint64_t want[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u};
    avs_rng r = avs_rng_seed(1234567);
    for (int i = 0; i < 3; i++) assert_true(avs_rng_u64(&r) == want[i]);
    assert_true(avs_stream_seed(5, "init") == avs_splitmix64(5 ^ avs_fnv1a64_str("init")));
    assert_true(avs_stream_seed(5, "init") != avs_stream_seed(5, "order"));
}

static void ranges_are_inclusive_and_flat(void **state)
{
    (void)state;
    avs_rng r = avs_rng_seed(17);
    int hits[7] = {0};
    for (int i = 0; i < 70000; i++) {
        int64_t v = avs_rng_range(&r, -3, 3);
        assert_in_range(v + 3, 0, 6);
        hits[v + 3]++;
    }
    for (int i = 0; i < 7; i++) assert_in_range(hits[i], 9500, 10500);
    assert_int_equal(avs_rng_range(&r, 4, 4), 4);
    for (int i = 0; i < 100; i++) {
        int64_t v = avs_rng_range(&r, INT64_MIN, INT64_MAX - 1);
        assert_true(v < INT64_MAX);
    }
}

static void normal_draws_have_mean_0_and_variance_1(void **state)
{
    (void)state;
    avs_rng r = avs_rng_seed(23);
    double sum = 0, squares = 0;
    enum { N = 100000 };
    for (int i = 0; i < N; i++) {
        double v = avs_rng_normal(&r), u = avs_rng_uniform(&r, -2, 5);
        assert_true(isfinite(v) && u >= -2 && u < 5);
        sum += v;
        squares += v * v;
    }
    assert_true(fabs(sum / N) < 0.02);
    assert_true(fabs(squares / N - 1) < 0.02);
}

static void a_shuffle_is_a_permutation_and_repeats(void **state)
{
    (void)state;
    int32_t a[100], b[100];
    int seen[100] = {0}, moved = 0;
    for (int i = 0; i < 100; i++) a[i] = b[i] = i;
    avs_rng r = avs_rng_seed(9), s = avs_rng_seed(9);
    avs_rng_shuffle(&r, a, 100);
    avs_rng_shuffle(&s, b, 100);
    assert_memory_equal(a, b, sizeof a);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(seen[a[i]]++, 0);
        moved += a[i] != i;
    }
    assert_true(moved > 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_equals_the_fips_examples),
        cmocka_unit_test(sha256_does_not_depend_on_the_pieces),
        cmocka_unit_test(sha256_of_a_file_equals_that_of_its_bytes),
        cmocka_unit_test(philox_equals_the_known_answers),
        cmocka_unit_test(splitmix_equals_the_published_sequence),
        cmocka_unit_test(ranges_are_inclusive_and_flat),
        cmocka_unit_test(normal_draws_have_mean_0_and_variance_1),
        cmocka_unit_test(a_shuffle_is_a_permutation_and_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
