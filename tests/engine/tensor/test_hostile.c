/* Files whose headers promise far more than they hold must be refused before memory is taken for it. Every allocation of the
 * readers passes the wrappers below (the linker's --wrap), which count bytes and the largest request. The same files are
 * entries of the fuzzers' corpus: with AVS_WRITE_CORPUS=DIR this program writes them there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"
#include "engine/tensor/pth.h"

#define FIXTURES AVS_SOURCE_DIR "/tests/engine/tensor/fixtures/"

/* ------------------------------------------------------------------ counted allocation */

// NOLINTBEGIN(bugprone-reserved-identifier): the linker gives these names
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);

static size_t asked, largest;

static size_t count(size_t bytes)
{
    asked += bytes;
    largest = bytes > largest ? bytes : largest;
    return bytes;
}

void *__wrap_malloc(size_t bytes)
{
    return __real_malloc(count(bytes));
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    (void)count(n * bytes);
    return __real_calloc(n, bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
    return __real_realloc(p, count(bytes));
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
    return __real_aligned_alloc(align, count(bytes));
}
// NOLINTEND(bugprone-reserved-identifier)

#define PUT(b, text) avs_buf_put(b, text, sizeof(text) - 1)

/* ------------------------------------------------------------------ hostile files */

static void header(avs_buf *b, const char *json)
{
    avs_buf_u64(b, strlen(json));
    avs_buf_str(b, json);
}

static void st_length_2_63(avs_buf *b)
{
    avs_buf_u64(b, (uint64_t)1 << 63);
    avs_buf_str(b, "{\"a\":{}}");
}

static void st_extents_2_62(avs_buf *b)
{
    header(b, "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}");
}

static void st_extent_beyond_64_bits(avs_buf *b)
{
    header(b, "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}");
    avs_buf_u64(b, 0);
}

static void st_offsets_2_63(avs_buf *b)
{
    header(b, "{\"a\":{\"dtype\":\"U8\",\"shape\":[9223372036854775807],\"data_offsets\":[0,"
              "9223372036854775807]}}");
}

/* A header of `n` times `piece` behind `front`, its length told truly. */
static void repeat(avs_buf *b, const char *front, const char *piece, size_t n)
{
    avs_buf_u64(b, strlen(front) + n * strlen(piece));
    avs_buf_str(b, front);
    for (size_t i = 0; i < n; i++) avs_buf_str(b, piece);
}

static void st_many_dimensions(avs_buf *b)
{
    repeat(b, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1", ",1", 10000);
}

static void st_depth(avs_buf *b)
{
    repeat(b, "{\"a\":", "[", 100000);
}

static void st_depth_of_objects(avs_buf *b)
{
    repeat(b, "", "{\"a\":", 20000);
}

static void st_many_values(avs_buf *b)
{
    repeat(b, "{\"__metadata__\":{\"\":\"\"", ",\"\":\"\"", 2000000);
}

/* The fixture kinds.pth with a field of the directory entry of data.pkl or of the end records replaced. */
static void zip_with(avs_buf *b, const char *record, size_t field, uint64_t v, int bytes)
{
    avs_err e = AVS_ERR_INIT;
    if (avs_fs_read(FIXTURES "two.pth", 0, b, &e) != AVS_OK) fail_msg("%s", e.msg);
    for (size_t at = b->len; at-- > 0;)
        if (!memcmp(b->data + at, record, 4)) {
            for (int i = 0; i < bytes; i++) b->data[at + field + (size_t)i] = (char)(uint8_t)(v >> (8 * i));
            return;
        }
    fail_msg("no such record");
}

static void zip_deflated(avs_buf *b)
{
    zip_with(b, "PK\1\2", 10, 8, 2);
}

static void zip_entry_4_gib(avs_buf *b)
{
    zip_with(b, "PK\1\2", 24, 0xFFFFFFFE, 4);
}

static void zip_entries_2_63(avs_buf *b)
{
    zip_with(b, "PK\6\6", 32, (uint64_t)1 << 63, 8);
}

static void zip_directory_2_63(avs_buf *b)
{
    zip_with(b, "PK\6\6", 40, (uint64_t)1 << 63, 8);
}

/* A deflated entry that would unpack to 16 MiB of zeros a thousand times smaller: the classic bomb, as zip -9 writes it. */
static void zip_bomb(avs_buf *b)
{
    static const char local[] = "PK\3\4\x14\0\0\0\x08\0\0\0\0\0";
    enum { PACKED = 16384 };
    avs_buf_put(b, local, 14);
    avs_buf_u32(b, 0);
    avs_buf_u32(b, PACKED);
    avs_buf_u32(b, 16 << 20);
    PUT(b, "\x0a\0\0\0");
    avs_buf_str(b, "a/data.pkl");
    for (int i = 0; i < PACKED; i++) avs_buf_u8(b, 0);
    const uint32_t at = (uint32_t)b->len;
    PUT(b, "PK\1\2\x14\0\x14\0\0\0\x08\0\0\0\0\0");
    avs_buf_u32(b, 0);
    avs_buf_u32(b, PACKED);
    avs_buf_u32(b, 16 << 20);
    PUT(b, "\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    avs_buf_str(b, "a/data.pkl");
    const uint32_t n = (uint32_t)b->len - at;
    PUT(b, "PK\5\6\0\0\0\0\1\0\1\0");
    avs_buf_u32(b, n);
    avs_buf_u32(b, at);
    PUT(b, "\0\0");
}

/* The front of a file of torch before 1.6, up to its object. */
static void legacy(avs_buf *b)
{
    PUT(b, "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3.");
    PUT(b, "\x80\2}U\x0dlittle_endian\x88s.\x80\2");
}

static void pickle_depth(avs_buf *b)
{
    legacy(b);
    for (int i = 0; i < 100000; i++) avs_buf_char(b, ']');
    for (int i = 1; i < 100000; i++) avs_buf_char(b, 'a');
    avs_buf_char(b, '.');
}

static void pickle_string_2_63(avs_buf *b)
{
    legacy(b);
    PUT(b, "\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx.");
}

static void pickle_memo_2_32(avs_buf *b)
{
    legacy(b);
    PUT(b, "}r\xff\xff\xff\x7f.");
}

/* {"w": tensor} with these extents, strides and element count, then the keys and the count again. */
static void tensor(avs_buf *b, const char *extents, size_t n, const char *count, uint64_t stored)
{
    legacy(b);
    avs_buf_str(b, "}U");
    avs_buf_str(b, "\1wctorch._utils\n_rebuild_tensor\n((U\7storagectorch\nFloatStorage\nU\1"
                   "0U\3cpu");
    avs_buf_put(b, count, 10); /* LONG1 of eight bytes */
    avs_buf_str(b, "tQ");
    PUT(b, "K\0");
    avs_buf_put(b, extents, n);
    avs_buf_str(b, "tRs.\x80\2]U\1"
                   "0a.");
    avs_buf_u64(b, stored);
    PUT(b, "\0\0\0\0");
}

#define TWO_58 "\x8a\x08\0\0\0\0\0\0\0\x04"
#define ONE    "\x8a\x08\1\0\0\0\0\0\0\0"

static void pickle_storage_2_58(avs_buf *b)
{
    tensor(b, "K\1\x85K\1\x85", 6, TWO_58, (uint64_t)1 << 58);
}

static void pickle_extent_2_58(avs_buf *b)
{
    tensor(b, TWO_58 "\x85K\0\x85", 14, ONE, 1);
}

static void pickle_dimensions(avs_buf *b)
{
    avs_buf extents = AVS_BUF_INIT;
    for (int k = 0; k < 2; k++) {
        avs_buf_char(&extents, '(');
        for (int i = 0; i < 10000; i++) avs_buf_str(&extents, "K\1");
        avs_buf_char(&extents, 't');
    }
    tensor(b, avs_buf_cstr(&extents), extents.len, ONE, 1);
    avs_buf_free(&extents);
}

/* ------------------------------------------------------------------ the test */

enum { AMPLE = 1 << 20, PER_BYTE = 256 };

static const struct {
    const char *name;
    void (*make)(avs_buf *);
    const char *says;
    bool scales; /* the file itself is large: memory in proportion to it is in order */
} rows[] = {
    {"length-2-63.safetensors", st_length_2_63, "a header of 9223372036854775808 bytes", false},
    {"extents-2-62.safetensors", st_extents_2_62, "the product of the extents overflows", false},
    {"extent-beyond.safetensors", st_extent_beyond_64_bits, "extent 0 is no non-negative integer", false},
    {"offsets-2-63.safetensors", st_offsets_2_63, "does not lie in the 0 data bytes", false},
    {"dimensions.safetensors", st_many_dimensions, "holds at most 8", false},
    {"depth.safetensors", st_depth, "depth <= 4", false},
    {"depth-objects.safetensors", st_depth_of_objects, "depth <= 4", false},
    {"", st_many_values, "more than 1048576 values", false},
    {"deflated.pth", zip_deflated, "compressed (method 8)", false},
    {"bomb.pth", zip_bomb, "compressed (method 8)", false},
    {"entry-4-gib.pth", zip_entry_4_gib, "are said to be 4294967294", false},
    {"entries-2-63.pth", zip_entries_2_63, "disagree", false},
    {"directory-2-63.pth", zip_directory_2_63, "disagree", false},
    {"depth.pth", pickle_depth, "nested deeper than 64", true},
    {"string-2-63.pth", pickle_string_2_63, "pickle opcode 0x8d", false},
    {"memo-2-32.pth", pickle_memo_2_32, "values are remembered", false},
    {"storage-2-58.pth", pickle_storage_2_58, "the file ends after 4 bytes", false},
    {"extent-2-58.pth", pickle_extent_2_58, "more than the file of", false},
    {"dimensions.pth", pickle_dimensions, "has 10000 axes, at most 8 are read", true},
};

static void hostile_headers_are_refused_before_memory_is_taken(void **state)
{
    (void)state;
    const char *corpus = getenv("AVS_WRITE_CORPUS");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        avs_buf b = AVS_BUF_INIT;
        avs_st_file f;
        avs_err e = AVS_ERR_INIT;
        rows[i].make(&b);
        const uint8_t *data = (const uint8_t *)avs_buf_cstr(&b);
        if (corpus && rows[i].name[0]) {
            char path[512];
            (void)snprintf(path, sizeof path, "%s/%s", corpus, rows[i].name);
            assert_int_equal(avs_fs_write_atomic(path, data, b.len, &e), AVS_OK);
        }
        asked = largest = 0;
        const int rc = avs_pth_is(data, b.len) ? avs_pth_parse(&f, "x", data, b.len, NULL, NULL, &e)
                                               : avs_st_parse(&f, "x", data, b.len, &e);
        const size_t most = AMPLE + (rows[i].scales ? PER_BYTE * b.len : 0);
        if (rc != AVS_EPARSE || !strstr(e.msg, rows[i].says) || asked > most || largest > most)
            fail_msg("%s: code %d, '%s' (want '%s'), %zu bytes asked for, %zu at once, the file has %zu",
                     rows[i].name, rc, e.msg, rows[i].says, asked, largest, b.len);
        avs_buf_free(&b);
    }
}

static void the_wrappers_see_what_the_readers_take(void **state)
{
    (void)state;
    avs_st_file f;
    avs_err e = AVS_ERR_INIT;
    asked = largest = 0;
    assert_int_equal(avs_pth_open(&f, FIXTURES "kinds.pth", NULL, NULL, &e), AVS_OK);
    assert_true(asked > 1000 && largest > 0);
    avs_st_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wrappers_see_what_the_readers_take),
        cmocka_unit_test(hostile_headers_are_refused_before_memory_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
