/* The manifest: same data, same fingerprint; a change is seen; what did not change is not read again. */
#include "scratch.h"

#include "base/hash.h"
#include "data/index.h"

static void put_some(scratch *s)
{
    put_text(scratch_path(s, "b/two.txt"), "two");
    put_text(scratch_path(s, "a.txt"), "one");
    put_text(scratch_path(s, "b/with space.bin"), "three");
}

static void a_copy_elsewhere_has_the_same_fingerprint(void **state)
{
    (void)state;
    scratch s[2];
    avs_index_info info[2];
    avs_err e = AVS_ERR_INIT;
    for (int i = 0; i < 2; i++) {
        scratch_open(&s[i]);
        put_some(&s[i]);
        assert_ok(avs_data_index(s[i].dir, 1 + i, &info[i], &e), e);
        assert_int_equal(info[i].n_files, 3);
        assert_int_equal(info[i].n_hashed, 3);
        assert_int_equal(info[i].bytes, 11);
    }
    assert_memory_equal(info[0].fingerprint, info[1].fingerprint, 32);
    for (int i = 0; i < 2; i++) scratch_close(&s[i]);
}

static void unchanged_files_are_not_read_again_and_changes_are_seen(void **state)
{
    (void)state;
    scratch s;
    avs_index_info first, second, third;
    avs_err e = AVS_ERR_INIT;
    uint8_t found[32];
    bool is_there;
    scratch_open(&s);
    put_some(&s);
    assert_ok(avs_data_fingerprint(s.dir, found, &is_there, &e), e);
    assert_false(is_there);
    assert_ok(avs_data_index(s.dir, 1, &first, &e), e);
    assert_ok(avs_data_fingerprint(s.dir, found, &is_there, &e), e);
    assert_true(is_there);
    assert_memory_equal(found, first.fingerprint, 32);
    assert_ok(avs_data_index(s.dir, 1, &second, &e), e);
    assert_int_equal(second.n_hashed, 0);
    assert_memory_equal(first.fingerprint, second.fingerprint, 32);
    put_text(scratch_path(&s, "b/two.txt"), "TWO!"); /* another size: seen even within the clock's grain */
    put_text(scratch_path(&s, "c.txt"), "");
    assert_ok(avs_data_index(s.dir, 2, &third, &e), e);
    assert_int_equal(third.n_files, 4);
    assert_int_equal(third.n_hashed, 2);
    assert_memory_not_equal(first.fingerprint, third.fingerprint, 32);
    scratch_close(&s);
}

static void fingerprint_is_sha256_over_the_sorted_lines(void **state)
{
    (void)state;
    scratch s;
    avs_index_info info;
    avs_err e = AVS_ERR_INIT;
    char hex[65];
    scratch_open(&s);
    put_text(scratch_path(&s, "x"), "abc");
    assert_ok(avs_data_index(s.dir, 1, &info, &e), e);
    const char *line = "x\t3\tba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";
    uint8_t want[32];
    avs_sha256_of(line, strlen(line), want);
    assert_memory_equal(want, info.fingerprint, 32);
    avs_hex(want, 32, hex);
    avs_buf b = AVS_BUF_INIT;
    assert_ok(avs_fs_read(scratch_path(&s, ".avsweep-manifest"), 0, &b, &e), e);
    assert_int_equal(strncmp(b.data, "avs-manifest-1 ", 15), 0);
    assert_int_equal(strncmp(b.data + 15, hex, 64), 0);
    avs_buf_free(&b);
    scratch_close(&s);
}

static void a_damaged_manifest_is_an_error_and_is_made_anew(void **state)
{
    (void)state;
    scratch s;
    avs_index_info info;
    avs_err e = AVS_ERR_INIT;
    uint8_t found[32];
    bool is_there;
    scratch_open(&s);
    put_some(&s);
    put_text(scratch_path(&s, ".avsweep-manifest"), "avs-manifest-1 0123\n");
    assert_int_equal(avs_data_fingerprint(s.dir, found, &is_there, &e), AVS_EPARSE);
    assert_non_null(strstr(e.msg, ".avsweep-manifest:1"));
    assert_ok(avs_data_index(s.dir, 1, &info, &e), e);
    assert_int_equal(info.n_hashed, 3);
    assert_ok(avs_data_fingerprint(s.dir, found, &is_there, &e), e);
    assert_true(is_there);
    assert_int_equal(avs_data_index(scratch_path(&s, "none"), 1, &info, &e), AVS_EMISSING);
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_elsewhere_has_the_same_fingerprint),
        cmocka_unit_test(unchanged_files_are_not_read_again_and_changes_are_seen),
        cmocka_unit_test(fingerprint_is_sha256_over_the_sorted_lines),
        cmocka_unit_test(a_damaged_manifest_is_an_error_and_is_made_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
