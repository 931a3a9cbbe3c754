/* Safetensors: a golden file, round trips, conversions, and every kind of header that must be refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/hash.h"
#include "engine/tensor/safetensors.h"

#define GOLDEN AVS_SOURCE_DIR "/tests/golden/pqg"

static char path[64];

static int name_file(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/avs_st_%ld", (long)getpid());
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    (void)unlink(path);
    return 0;
}

static void a_golden_file_has_the_shapes_of_its_manifest(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_st_file f;
    avs_json *json;
    avs_arena *a = avs_arena_new();
    assert_int_equal(avs_json_file(a, GOLDEN ".json", &json, &e), AVS_OK);
    if (avs_st_open(&f, GOLDEN ".safetensors", &e) != AVS_OK) fail_msg("%s", e.msg);
    const avs_json *outputs = avs_json_get(json, "outputs");
    assert_true(outputs && outputs->len > 0);
    assert_int_equal(outputs->len, f.n);
    for (const avs_json *o = outputs->first; o; o = o->next) {
        const avs_st_tensor *t = avs_st_find(&f, o->key);
        assert_non_null(t);
        assert_int_equal(t->rank, o->len);
        for (int i = 0; i < t->rank; i++) assert_int_equal(t->d[i], avs_json_at(o, (size_t)i)->i);
        float *x = malloc((size_t)t->count * sizeof *x);
        assert_int_equal(avs_st_f32(t, x, &e), AVS_OK);
        for (int64_t i = 0; i < t->count; i++) assert_true(isfinite(x[i]));
        free(x);
    }
    assert_null(avs_st_find(&f, "none"));
    avs_st_close(&f);
    avs_st_close(&f);
    avs_arena_free(a);
}

static void write_sample(uint8_t sha[32])
{
    static const float w[6] = {1, -2, 3.5f, 0, 1e-30f, INFINITY};
    static const int64_t steps[1] = {1234567};
    static const uint8_t flags[3] = {0, 1, 2};
    avs_arena *a = avs_arena_new();
    avs_st_writer *s = avs_st_writer_new(a);
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_st_writer_meta(s, "step", "7"), AVS_OK);
    assert_int_equal(avs_st_writer_meta(s, "model", "a \"quoted\" name"), AVS_OK);
    assert_int_equal(avs_st_writer_add(s, "conv.weight", "F32", 2, (const int64_t[]){2, 3}, w), AVS_OK);
    assert_int_equal(avs_st_writer_add(s, "empty", "F32", 2, (const int64_t[]){0, 3}, NULL), AVS_OK);
    assert_int_equal(avs_st_writer_add(s, "flags", "BOOL", 1, (const int64_t[]){3}, flags), AVS_OK);
    assert_int_equal(avs_st_writer_add(s, "steps", "I64", 0, NULL, steps), AVS_OK);
    assert_int_equal(avs_st_writer_write(s, path, sha, &e), AVS_OK);
    avs_arena_free(a);
}

static void written_files_read_back_and_are_deterministic(void **state)
{
    (void)state;
    uint8_t first[32], again[32], of_file[32];
    avs_err e = AVS_ERR_INIT;
    avs_st_file f;
    write_sample(first);
    write_sample(again);
    assert_memory_equal(first, again, 32);
    assert_int_equal(avs_sha256_file(path, of_file, &e), AVS_OK);
    assert_memory_equal(first, of_file, 32);
    if (avs_st_open(&f, path, &e) != AVS_OK) fail_msg("%s", e.msg);
    assert_int_equal(f.n, 4);
    assert_int_equal((f.t[0].data - f.map.data) % 8, 0);
    assert_string_equal(f.t[0].name, "conv.weight");
    assert_string_equal(avs_json_str(f.meta, "model", ""), "a \"quoted\" name");
    float x[6];
    assert_int_equal(avs_st_f32(avs_st_find(&f, "conv.weight"), x, &e), AVS_OK);
    assert_true(x[1] == -2 && x[2] == 3.5f && isinf(x[5]));
    assert_int_equal(avs_st_f32(avs_st_find(&f, "flags"), x, &e), AVS_OK);
    assert_true(x[0] == 0 && x[1] == 1 && x[2] == 1);
    assert_int_equal(avs_st_f32(avs_st_find(&f, "steps"), x, &e), AVS_OK);
    assert_true(x[0] == 1234567);
    assert_int_equal(avs_st_find(&f, "steps")->rank, 0);
    assert_int_equal(avs_st_find(&f, "empty")->count, 0);
    avs_st_close(&f);
}

static void the_writer_refuses_what_cannot_be_read(void **state)
{
    (void)state;
    static const struct {
        const char *name, *dtype;
        int rank;
        int64_t d;
        int code;
    } rows[] = {{"x", "F8", 1, 1, AVS_ERANGE},          {"x", "F32", 9, 1, AVS_ERANGE},
                {"x", "F32", 1, -1, AVS_ESHAPE},        {"__metadata__", "F32", 1, 1, AVS_ERANGE},
                {"x", "F32", 1, INT64_MAX, AVS_ESHAPE}, {"ok", "F32", 1, 1, AVS_ERANGE}};
    float v[1] = {1};
    (void)unlink(path);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        avs_arena *a = avs_arena_new();
        avs_st_writer *w = avs_st_writer_new(a);
        int64_t d[9] = {rows[i].d, 1, 1, 1, 1, 1, 1, 1, 1};
        assert_int_equal(avs_st_writer_add(w, "ok", "F32", 1, (const int64_t[]){1}, v), AVS_OK);
        assert_int_equal(avs_st_writer_add(w, rows[i].name, rows[i].dtype, rows[i].rank, d, v), rows[i].code);
        assert_int_equal(avs_st_writer_write(w, path, NULL, NULL), rows[i].code);
        avs_arena_free(a);
    }
    assert_false(avs_fs_exists(path));
}

/* One tensor of n elements of dtype, in memory at an odd address. */
static void convert(const char *dtype, const void *data, size_t bytes, int64_t n, float *out)
{
    uint8_t *odd = malloc(bytes + 1);
    memcpy(odd + 1, data, bytes);
    avs_st_tensor t = {
        .name = "x", .dtype = dtype, .rank = 1, .d = {n}, .count = n, .data = odd + 1, .bytes = bytes};
    assert_int_equal(avs_st_f32(&t, out, NULL), AVS_OK);
    free(odd);
}

static void conversions_are_exact(void **state)
{
    (void)state;
    float x[16];
    static const uint16_t half[] = {0x3C00, 0xC000, 0x7BFF, 0x0400, 0x0001,
                                    0x83FF, 0x7C00, 0xFC00, 0x8000, 0x3555};
    convert("F16", half, sizeof half, 10, x);
    assert_true(x[0] == 1 && x[1] == -2 && x[2] == 65504 && x[3] == 0x1p-14f && x[4] == 0x1p-24f);
    assert_true(x[5] == -1023 * 0x1p-24f && isinf(x[6]) && x[7] == -INFINITY && x[8] == 0 && signbit(x[8]));
    assert_true(x[9] == 0.333251953125f);
    convert("F16", (const uint16_t[]){0x7E00}, 2, 1, x);
    assert_true(isnan(x[0]));
    convert("BF16", (const uint16_t[]){0x3F80, 0xC040, 0x0001, 0x7F80}, 8, 4, x);
    assert_true(x[0] == 1 && x[1] == -3 && x[2] == 0x1p-133f && isinf(x[3]));
    convert("F64", (const double[]){0.1, -3}, 16, 2, x);
    assert_true(x[0] == 0.1f && x[1] == -3);
    convert("I64", (const int64_t[]){-5, 1LL << 40}, 16, 2, x);
    assert_true(x[0] == -5 && x[1] == 0x1p40f);
    convert("I32", (const int32_t[]){-7}, 4, 1, x);
    assert_true(x[0] == -7);
    convert("U8", (const uint8_t[]){255}, 1, 1, x);
    assert_true(x[0] == 255);
    avs_st_tensor odd = {.name = "x", .dtype = "F8", .count = 1};
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_st_f32(&odd, x, &e), AVS_EPARSE);
}

/* A file with this header and so many data bytes. */
static int parse_header(const char *header, size_t data, avs_err *e)
{
    size_t h = strlen(header), n = 8 + h + data;
    uint8_t *bytes = calloc(1, n);
    for (size_t i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)h >> (8 * i));
    memcpy(bytes + 8, header, h);
    avs_st_file f;
    int rc = avs_st_parse(&f, "t", bytes, n, e);
    if (rc != AVS_OK) assert_null(f.arena);
    avs_st_close(&f);
    free(bytes);
    return rc;
}

#define T(name, lo, hi) "\"" name "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[" lo "," hi "]}"

static void headers_in_any_order_are_accepted(void **state)
{
    (void)state;
    assert_int_equal(parse_header("{}", 0, NULL), AVS_OK);
    assert_int_equal(parse_header("{" T("b", "4", "8") "," T("a", "0", "4") "}   ", 8, NULL), AVS_OK);
    assert_int_equal(
        parse_header("{\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}," T("a", "0", "4") "}",
                     4, NULL),
        AVS_OK);
}

static void malformed_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header, *says;
        size_t data;
    } rows[] = {
        {"[]", "begin with", 0},
        {"{", "t:1:2", 0},
        {" {}", "begin with", 0},
        {"{} x", "end of the text", 0},
        {"{" T("a", "0", "4") "}", "end at byte 4", 5},
        {"{" T("a", "0", "4") "}", "does not lie", 3},
        {"{" T("a", "4", "0") "}", "does not lie", 8},
        {"{" T("a", "-4", "0") "}", "does not lie", 8},
        {"{" T("a", "4", "8") "}", "ends at 0", 8},
        {"{" T("a", "0", "4") "," T("b", "0", "4") "}", "ends at 4", 4},
        {"{" T("a", "0", "4") "," T("b", "8", "12") "}", "ends at 4", 12},
        {"{" T("a", "0", "4") "," T("a", "4", "8") "}", "appears twice", 8},
        {"{" T("a", "0", "8") "}", "do not fill", 8},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", "dtype", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", "extent 0", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "extent 0", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", "at most 8", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}", "overflows",
         4},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}", "do not fill",
         0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", "two integers", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]}}", "two integers", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", "two integers", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", "shape", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", "unknown key", 4},
        {"{\"a\":3}", "an object is expected", 0},
        {"{\"__metadata__\":3}", "must be an object", 0},
        {"{\"__metadata__\":{\"a\":3}}", "must be a string", 0},
        {"{\"a\":{\"b\":[[[1]]]}}", "depth", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        avs_err e = AVS_ERR_INIT;
        if (parse_header(rows[i].header, rows[i].data, &e) != AVS_EPARSE)
            fail_msg("accepted: %s", rows[i].header);
        if (!strstr(e.msg, rows[i].says)) fail_msg("%s gave: %s", rows[i].header, e.msg);
    }
}

static void a_header_longer_than_the_file_is_refused(void **state)
{
    (void)state;
    avs_st_file f;
    static const uint64_t lengths[] = {3, 1u << 26, (1u << 26) + 1, UINT64_MAX, UINT64_MAX - 7, 1ull << 63};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t bytes[10] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        for (size_t k = 0; k < 8; k++) bytes[k] = (uint8_t)(lengths[i] >> (8 * k));
        assert_int_equal(avs_st_parse(&f, "t", bytes, sizeof bytes, NULL), AVS_EPARSE);
    }
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    avs_buf b = AVS_BUF_INIT;
    write_sample(NULL);
    assert_int_equal(avs_fs_read(path, 0, &b, NULL), AVS_OK);
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *copy = malloc(n ? n : 1);
        memcpy(copy, b.data, n);
        avs_st_file f;
        assert_int_equal(avs_st_parse(&f, "t", copy, n, NULL), AVS_EPARSE);
        free(copy);
    }
    avs_buf_free(&b);
}

static void every_failed_allocation_is_an_error(void **state)
{
    (void)state;
    write_sample(NULL);
    long n = 0;
    int rc = AVS_ENOMEM;
    while (rc != AVS_OK) {
        avs_st_file f;
        avs_alloc_fail_after(++n);
        rc = avs_st_open(&f, path, NULL);
        avs_alloc_fail_after(0);
        assert_true(rc == AVS_OK || rc == AVS_ENOMEM);
        avs_st_close(&f);
        assert_true(n < 1000);
    }
    assert_true(n > 20);
}

static void a_writer_without_memory_leaves_no_file(void **state)
{
    (void)state;
    static const float w[2] = {1, 2};
    int rc = AVS_ENOMEM;
    (void)unlink(path);
    for (long n = 1; rc != AVS_OK; n++) {
        avs_arena *a = avs_arena_new();
        avs_alloc_fail_after(n);
        avs_st_writer *s = avs_st_writer_new(a);
        if (s) {
            (void)avs_st_writer_meta(s, "k", "v");
            (void)avs_st_writer_add(s, "w", "F32", 1, (const int64_t[]){2}, w);
            rc = avs_st_writer_write(s, path, NULL, NULL);
        }
        avs_alloc_fail_after(0);
        assert_true(rc == AVS_OK || rc == AVS_ENOMEM);
        assert_int_equal(avs_fs_exists(path), rc == AVS_OK);
        avs_arena_free(a);
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_golden_file_has_the_shapes_of_its_manifest),
        cmocka_unit_test(written_files_read_back_and_are_deterministic),
        cmocka_unit_test(the_writer_refuses_what_cannot_be_read),
        cmocka_unit_test(conversions_are_exact),
        cmocka_unit_test(headers_in_any_order_are_accepted),
        cmocka_unit_test(malformed_headers_are_refused),
        cmocka_unit_test(a_header_longer_than_the_file_is_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_failed_allocation_is_an_error),
        cmocka_unit_test(a_writer_without_memory_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, name_file, remove_file);
}
