/* PyTorch checkpoints: files that torch 1.13 wrote (fixtures/make_pth.py), and every kind of damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/rng.h"
#include "engine/tensor/pth.h"
#include "engine/tensor/pth_pickle.h"

#define FIXTURES AVS_SOURCE_DIR "/tests/engine/tensor/fixtures/"

static void open_fixture(avs_st_file *f, const char *name, const char *key, avs_pth_info *info)
{
    char path[512];
    avs_err e = AVS_ERR_INIT;
    (void)snprintf(path, sizeof path, FIXTURES "%s", name);
    if (avs_pth_open(f, path, key, info, &e) != AVS_OK) fail_msg("%s", e.msg);
}

static void load(avs_buf *b, const char *name)
{
    char path[512];
    avs_err e = AVS_ERR_INIT;
    (void)snprintf(path, sizeof path, FIXTURES "%s", name);
    if (avs_fs_read(path, 0, b, &e) != AVS_OK) fail_msg("%s", e.msg);
}

/* Parses an exact-size copy, so that a read past the end is seen; it must fail with `code` and words in its message. */
static void refuse(const void *data, size_t n, const char *key, int code, const char *words)
{
    avs_st_file f;
    avs_err e = AVS_ERR_INIT;
    uint8_t *copy = malloc(n + 1);
    memcpy(copy, data, n);
    uint8_t *exact = realloc(copy, n ? n : 1);
    const int rc = avs_pth_parse(&f, "x.pth", exact, n, key, NULL, &e);
    if (rc != code || !strstr(e.msg, words) || strncmp(e.msg, "x.pth: ", 7) != 0 || strchr(e.msg, '\n'))
        fail_msg("code %d (want %d), message '%s' (want '%s')", rc, code, e.msg, words);
    free(exact);
}

static void expect(const avs_st_file *f, const char *name, const char *dtype, int rank, const int64_t *d,
                   const float *want)
{
    float got[32];
    avs_err e = AVS_ERR_INIT;
    const avs_st_tensor *t = avs_st_find(f, name);
    if (!t) fail_msg("%s is missing", name);
    assert_string_equal(t->dtype, dtype);
    assert_int_equal(t->rank, rank);
    int64_t n = 1;
    for (int k = 0; k < rank; k++) {
        assert_int_equal(t->d[k], d[k]);
        n *= d[k];
    }
    assert_int_equal(t->count, n);
    assert_int_equal(t->bytes, (size_t)n * avs_st_dtype_size(dtype));
    assert_true(n <= 32);
    assert_int_equal(avs_st_f32(t, got, &e), AVS_OK);
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_msg("%s[%d] is %g, not %g", name, (int)i, (double)got[i], (double)want[i]);
}
#define D(...)                                                                                               \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[])                             \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }
#define V(...)                                                                                               \
    (const float[])                                                                                          \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }

static void expect_kinds(const avs_st_file *f)
{
    float ramp[24], base[24], turned[24];
    for (int i = 0; i < 24; i++) {
        ramp[i] = (float)i / 8;
        base[i] = (float)i / 8 - 1;
        turned[i] = (float)(i % 4 * 6 + i / 4) / 8 - 1;
    }
    assert_int_equal(f->n, 17);
    assert_string_equal(f->t[0].name, "conv.weight");
    expect(f, "conv.weight", "F32", D(2, 3, 2, 2), ramp);
    expect(f, "tied", "F32", D(2, 3, 2, 2), ramp);
    assert_ptr_equal(avs_st_find(f, "tied")->data, f->t[0].data);
    expect(f, "base", "F32", D(4, 6), base);
    expect(f, "rows", "F32", D(2, 3),
           V(13 / 8.F - 1, 15 / 8.F - 1, 17 / 8.F - 1, 19 / 8.F - 1, 21 / 8.F - 1, 23 / 8.F - 1));
    expect(f, "transposed", "F32", D(6, 4), turned);
    expect(f, "half", "F16", D(3), V(1, -2.5F, 0x1.998p-4F));
    expect(f, "bfloat16", "BF16", D(3), V(1, -2.5F, 0x1.9ap-4F));
    expect(f, "double", "F64", D(3), V(1, -2.5F, 0.1F));
    expect(f, "bn.num_batches_tracked", "I64", 0, NULL, V(1234567890123.F));
    expect(f, "int", "I32", D(2), V(-70000, 70000));
    expect(f, "short", "I32", D(2, 2), V(-300, 300, 5, 6));
    expect(f, "char", "I32", D(2), V(-100, 100));
    expect(f, "byte", "U8", D(2), V(0, 255));
    expect(f, "bool", "BOOL", D(3), V(1, 0, 1));
    expect(f, "empty", "F32", D(0, 3), NULL);
    expect(f, "expanded", "F32", D(2, 3), V(1, 1, 1, 2, 2, 2));
    expect(f, "scalar", "F32", 0, NULL, V(2.5F));
}

static void every_dtype_view_and_container_is_read(void **state)
{
    (void)state;
    static const char *const names[] = {"kinds.pth", "kinds-legacy.pth", "kinds-protocol4.pth",
                                        "kinds-legacy-protocol4.pth"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        avs_st_file f;
        avs_pth_info info;
        open_fixture(&f, names[i], NULL, &info);
        expect_kinds(&f);
        assert_string_equal(info.container, i % 2 ? "legacy" : "zip");
        assert_string_equal(info.taken, "");
        assert_int_equal(info.n_skipped, 0);
        avs_st_close(&f);
    }
}

static void the_state_dict_of_a_training_checkpoint_is_taken(void **state)
{
    (void)state;
    static const char *const names[] = {"nested.pth", "nested-legacy.pth"};
    for (size_t i = 0; i < 2; i++) {
        avs_st_file f;
        avs_pth_info info;
        open_fixture(&f, names[i], NULL, &info);
        assert_string_equal(info.taken, "state_dict");
        assert_int_equal(f.n, 7);
        expect(&f, "0.bias", "F32", D(4), V(0, 0.125F, 0.25F, 0.375F));
        expect(&f, "1.num_batches_tracked", "I64", 0, NULL, V(1));
        avs_st_close(&f);
    }
}

static void a_mapping_is_chosen_by_name(void **state)
{
    (void)state;
    avs_st_file f;
    avs_pth_info info;
    avs_buf b = AVS_BUF_INIT;
    load(&b, "two.pth");
    open_fixture(&f, "two.pth", "model_state_dict", &info);
    assert_string_equal(info.taken, "model_state_dict");
    expect(&f, "w", "F32", D(2), V(0, 0));
    avs_st_close(&f);
    open_fixture(&f, "two.pth", "ema", NULL);
    expect(&f, "w", "F32", D(2), V(1, 1));
    avs_st_close(&f);
    refuse(b.data, b.len, NULL, AVS_EMISSING, "model, model_state_dict, ema");
    refuse(b.data, b.len, "epoch", AVS_EMISSING, "'epoch' is an integer without tensors");
    refuse(b.data, b.len, "net", AVS_EMISSING, "'net' is not there");
    avs_buf_free(&b);
}

static void objects_with_tensors_are_refused_by_class(void **state)
{
    (void)state;
    static const struct {
        const char *name, *words;
    } rows[] = {{"module.pth", "an object of torch.nn.modules.linear.Linear"},
                {"wrapped.pth", "o (byte "},
                {"list.pth", "found a list"},
                {"sparse.pth", "torch._utils._rebuild_sparse_tensor"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        avs_buf b = AVS_BUF_INIT;
        load(&b, rows[i].name);
        refuse(b.data, b.len, NULL, AVS_EPARSE, rows[i].words);
        avs_buf_free(&b);
    }
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"kinds.pth", "kinds-legacy.pth", "nested.pth", "nested-legacy.pth"};
    for (size_t k = 0; k < 4; k++) {
        avs_buf b = AVS_BUF_INIT;
        load(&b, names[k]);
        for (size_t n = 0; n < b.len; n += n < 64 || n > b.len - 128 ? 1 : 7)
            refuse(b.data, n, NULL, AVS_EPARSE, "");
        avs_buf_free(&b);
    }
}

/* A zip file notices every flipped bit that changes what is read; a legacy file has no checksums. */
static void flipped_bits_never_change_a_zip_file_silently(void **state)
{
    (void)state;
    avs_buf b = AVS_BUF_INIT;
    load(&b, "kinds.pth");
    uint8_t *work = malloc(b.len);
    avs_rng r = avs_rng_seed(11);
    for (int trial = 0; trial < 3000; trial++) {
        avs_st_file f;
        avs_err e = AVS_ERR_INIT;
        memcpy(work, b.data, b.len);
        const size_t bit = (size_t)avs_rng_range(&r, 0, (int64_t)b.len * 8 - 1);
        work[bit / 8] ^= (uint8_t)(1U << bit % 8);
        if (avs_pth_parse(&f, "flipped", work, b.len, NULL, NULL, &e) == AVS_OK) {
            expect_kinds(&f);
            avs_st_close(&f);
        } else {
            assert_true(e.msg[0] && !strchr(e.msg, '\n'));
        }
    }
    free(work);
    avs_buf_free(&b);
}

/* ------------------------------------------------------------------ zip directories by hand */

static void put(uint8_t *p, uint64_t v, int n)
{
    for (int i = 0; i < n; i++) p[i] = (uint8_t)(v >> (8 * i));
}

/* Byte of the i-th entry of the directory. */
static size_t listed(const avs_buf *b, int i)
{
    for (size_t at = 0; at + 4 < b->len; at++)
        if (!memcmp(b->data + at, "PK\1\2", 4) && i-- == 0) return at;
    fail_msg("no such entry");
    return 0;
}

static void damaged_directories_are_refused(void **state)
{
    (void)state;
    static const struct {
        int entry;
        size_t at;
        int bytes;
        uint64_t v;
        const char *words;
    } rows[] = {
        {1, 10, 2, 8, "compressed (method 8)"},
        {1, 8, 2, 1, "encrypted"},
        {1, 20, 4, 17, "17 bytes are said to be"},
        {1, 42, 4, 5, "where there is no entry"},
        {1, 42, 4, 0x7FFFFFFF, "where there is no entry"},
        {1, 42, 4, 0, "overlap"},
        {1, 28, 2, 0xFFFF, "damaged name or length"},
        {1, 0, 4, 0, "a zip directory entry is expected"},
        {1, 16, 4, 12345, "does not have its checksum"},
        {0, 16, 4, 12345, "archive/data.pkl does not have its checksum"},
        {1, 24, 4, 0xFFFFFFFF, "64-bit sizes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        avs_buf b = AVS_BUF_INIT;
        load(&b, "two.pth");
        put((uint8_t *)b.data + listed(&b, rows[i].entry) + rows[i].at, rows[i].v, rows[i].bytes);
        refuse(b.data, b.len, "model", AVS_EPARSE, rows[i].words);
        avs_buf_free(&b);
    }
}

static void damaged_end_records_are_refused(void **state)
{
    (void)state;
    /* Bytes back from the end of the file: end record 22, its 64-bit locator 42, the 64-bit record 98. */
    static const struct {
        size_t back;
        int bytes;
        uint64_t v;
        const char *words;
    } rows[] = {
        {22, 4, 0, "no zip directory at its end"},
        {2, 2, 1, "no zip directory at its end"},
        {18, 2, 1, "several volumes"},
        {12, 2, 3, "several volumes"},
        {6, 4, 7, "disagree"},
        {34, 8, UINT64_MAX, "where there is none"},
        {34, 8, 3, "where there is none"},
        {98 - 32, 8, UINT64_MAX / 4, "disagree"},
        {98 - 48, 8, UINT64_MAX, "disagree"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        avs_buf b = AVS_BUF_INIT;
        load(&b, "two.pth");
        put((uint8_t *)b.data + b.len - rows[i].back, rows[i].v, rows[i].bytes);
        refuse(b.data, b.len, "model", AVS_EPARSE, rows[i].words);
        avs_buf_free(&b);
    }
}

/* Short fields that say "see the 64-bit record", as in files beyond 4 GiB. */
static void a_directory_of_64_bits_is_read_and_checked(void **state)
{
    (void)state;
    static const struct {
        size_t back;
        uint64_t v;
        const char *words;
    } rows[] = {{0, 0, NULL},
                {98 - 32, UINT64_MAX / 4, "zip entries in a directory"},
                {98 - 32, 1, "beyond its count"},
                {98 - 40, UINT64_MAX, "does not lie in the file"},
                {98 - 48, UINT64_MAX, "does not lie in the file"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        avs_buf b = AVS_BUF_INIT;
        load(&b, "two.pth");
        uint8_t *end = (uint8_t *)b.data + b.len;
        put(end - 14, 0xFFFF, 2);
        put(end - 12, 0xFFFF, 2);
        put(end - 10, 0xFFFFFFFF, 4);
        put(end - 6, 0xFFFFFFFF, 4);
        if (rows[i].words) {
            put(end - rows[i].back, rows[i].v, 8);
            refuse(b.data, b.len, "model", AVS_EPARSE, rows[i].words);
        } else {
            avs_st_file f;
            avs_err e = AVS_ERR_INIT;
            assert_int_equal(avs_pth_parse(&f, "x", (const uint8_t *)b.data, b.len, "ema", NULL, &e), AVS_OK);
            expect(&f, "w", "F32", D(2), V(1, 1));
            avs_st_close(&f);
        }
        avs_buf_free(&b);
    }
}

/* ------------------------------------------------------------------ legacy files by hand */

static void pickle_str(avs_buf *b, const char *s)
{
    avs_buf_char(b, 'U'); /* as Python 2 writes strings */
    avs_buf_u8(b, (uint8_t)strlen(s));
    avs_buf_str(b, s);
}

/* {"w": tensor} as torch under Python 2 wrote it; tensor: what _rebuild_tensor_v2 is called with behind the storage. */
static void legacy(avs_buf *b, const char *tensor, size_t n_tensor, uint64_t count, const char *view)
{
    static const uint8_t magic[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                    0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
    avs_buf_put(b, magic, sizeof magic);
    avs_buf_put(b, "\x80\2M\xe9\3.", 6);
    avs_buf_put(b, "\x80\2}", 3);
    pickle_str(b, "little_endian");
    avs_buf_put(b, "\x88s.", 3);
    avs_buf_put(b, "\x80\2ccollections\nOrderedDict\n]](", 30);
    pickle_str(b, "w");
    avs_buf_str(b, "ctorch._utils\n_rebuild_tensor\n((");
    pickle_str(b, "storage");
    avs_buf_str(b, "ctorch\nFloatStorage\n");
    pickle_str(b, "77");
    pickle_str(b, "cpu");
    avs_buf_str(b, "K\4");
    avs_buf_str(b, view);
    avs_buf_str(b, "tQ");
    avs_buf_put(b, tensor, n_tensor);
    avs_buf_str(b, "tRea"); /* call, fill the pair, append the pair */
    avs_buf_put(b, "\x85R.", 3);
    avs_buf_put(b, "\x80\2]", 3);
    pickle_str(b, "77");
    avs_buf_str(b, "a.");
    avs_buf_u64(b, count);
    for (int i = 0; i < 4; i++) avs_buf_put(b, &(float){(float)i + 0.5F}, 4);
}

static void checkpoints_of_python_2_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *view;
        float first;
    } rows[] = {{"K\1K\2\x85K\1\x85", "N", 1.5F},
                {"K\0K\2\x85K\1\x85", "(U\1xK\2K\2t", 2.5F}}; /* a view of the storage */
    for (size_t i = 0; i < 2; i++) {
        avs_buf b = AVS_BUF_INIT;
        avs_st_file f;
        avs_err e = AVS_ERR_INIT;
        legacy(&b, rows[i].tensor, 8, 4, rows[i].view);
        if (avs_pth_parse(&f, "x", (const uint8_t *)b.data, b.len, NULL, NULL, &e) != AVS_OK)
            fail_msg("%s", e.msg);
        expect(&f, "w", "F32", D(2), V(rows[i].first, rows[i].first + 1));
        avs_st_close(&f);
        avs_buf_free(&b);
    }
}

static void tensors_outside_their_storage_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        size_t n;
        uint64_t count;
        const char *view, *words;
    } rows[] = {
        {"K\1K\4\x85K\1\x85", 8, 4, "N",
         "w (byte 159 of the file): reaches element 4 of its storage 77, which has 4"},
        {"K\3K\2\x85K\0\x85", 8, 4, "N", NULL}, /* a repeated element is in order */
        {"K\0K\2\x85K\4\x85", 8, 4, "N", "reaches element 4"},
        {"K\0K\3\x85K\1\x85", 8, 4, "(U\1xK\2K\2t", "reaches element 2 of its storage 77, which has 2"},
        {"K\0K\3\x85K\1\x85", 8, 4, "(U\1xK\3K\2t", "a view of a storage reaches beyond it"},
        {"K\0K\2K\2\x86K\1\x85", 10, 4, "N", "not as many strides"},
        {"J\xff\xff\xff\xffK\2\x85K\1\x85", 11, 4, "N", "offset of a tensor"},
        {"K\0J\xff\xff\xff\xff\x85K\1\x85", 11, 4, "N", "non-negative"},
        {"K\0\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85K\0\x85", 16, 4, "N", "can hold"},
        {"K\0\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85K\2\x85", 16, 4, "N", "overflows"},
        {"K\0\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0\x85K\2\x85", 17, 4, "N", "non-negative"},
        {"K\1K\2\x85K\1\x85", 8, 5, "N", "has 5 elements, its tensors say 4"},
        {"K\1K\2\x85K\1\x85", 8, UINT64_MAX, "N", "its tensors say 4"},
        {"K\1K\2\x85", 5, 4, "N", "wrong number of arguments"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        avs_buf b = AVS_BUF_INIT;
        legacy(&b, rows[i].tensor, rows[i].n, rows[i].count, rows[i].view);
        if (rows[i].words) {
            refuse(b.data, b.len, NULL, AVS_EPARSE, rows[i].words);
        } else {
            avs_st_file f;
            assert_int_equal(avs_pth_parse(&f, "x", (const uint8_t *)b.data, b.len, NULL, NULL, NULL),
                             AVS_OK);
            expect(&f, "w", "F32", D(2), V(3.5F, 3.5F));
            avs_st_close(&f);
        }
        avs_buf_free(&b);
    }
}

static void bytes_behind_a_legacy_file_are_refused(void **state)
{
    (void)state;
    avs_buf b = AVS_BUF_INIT;
    load(&b, "kinds-legacy.pth");
    avs_buf_str(&b, "x");
    refuse(b.data, b.len, NULL, AVS_EPARSE, "1 bytes behind the last storage");
    avs_buf_free(&b);
}

/* ------------------------------------------------------------------ pickles by hand */

static int run_pickle(const void *data, size_t n, avs_pk_node **root, avs_arena **a, avs_err *e)
{
    *a = avs_arena_new();
    uint8_t *exact = malloc(n ? n : 1);
    memcpy(exact, data, n);
    avs_pk p = {.arena = *a, .what = "x", .data = exact, .n = n, .base = 100};
    const int rc = avs_pk_run(&p, root, e);
    avs_pk_fini(&p);
    free(exact);
    return rc;
}

static void refuse_pickle(const void *data, size_t n, const char *words)
{
    avs_pk_node *root;
    avs_arena *a;
    avs_err e = AVS_ERR_INIT;
    const int rc = run_pickle(data, n, &root, &a, &e);
    if (rc != AVS_EPARSE || !strstr(e.msg, words)) fail_msg("%d '%s' (want '%s')", rc, e.msg, words);
    assert_null(root);
    avs_arena_free(a);
}

static void malformed_pickles_are_refused(void **state)
{
    (void)state;
#define ROW(bytes, words)                                                                                    \
    {                                                                                                        \
        bytes, sizeof bytes - 1, words                                                                       \
    }
    static const struct {
        const char *bytes;
        size_t n;
        const char *words;
    } rows[] = {
        ROW("", "ends at byte 100 without STOP"),
        ROW(".", "not with exactly one value"),
        ROW("NN.", "byte 102, pickle opcode 0x2e: STOP, but not"),
        ROW("(N.", "not with exactly one value"),
        ROW("\x80\1N.", "protocols 2 to 5"),
        ROW("\x80\6N.", "protocols 2 to 5"),
        ROW("I1\n.", "not one that torch.save writes"),
        ROW("\x82\1.", "not one that torch.save writes"), /* EXT1 */
        ROW("ios\nsystem\n.", "not one that torch.save writes"),
        ROW("X\xff\xff\xff\xff"
            "a.",
            "wants 4294967295 bytes, the pickle has 2 left"),
        ROW("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
            "a.",
            "an absurd length"),
        ROW("\x8d\xff\xff\xff\xff\xff\xff\xff\x00"
            "a.",
            "the pickle has 2 left"),
        ROW("\x8b\xff\xff\xff\xff.", "a negative length"),
        ROW("X\2\0\0\0\xc0\x80.", "not UTF-8"),
        ROW("X\1\0\0\0\0.", "zero byte"),
        ROW("h\0.", "never remembered"),
        ROW("Nr\xff\xff\xff\xff.", "more than 1048576 values are remembered"),
        ROW("q\0.", "no value to remember"),
        ROW("(q\0.", "no value to remember"),
        ROW("R.", "a value is expected"),
        ROW("N)R.", "called is no global"),
        ROW("cos\nsystem\nNR.", "no tuple"),
        ROW("(Nt\x86.", "fewer values"),
        ROW("N(\x85.", "fewer values"),
        ROW("t.", "a mark is expected"),
        ROW("](Nu.", "items are set in a value that is no dict"),
        ROW("}(Nu.", "a key without a value"),
        ROW("(Nu.", "a list or dict is expected"),
        ROW("N(e.", "no list"),
        ROW("NNb.", "attributes are set"),
        ROW("NQ.", "a persistent id must be"),
        ROW("ctorch\nFloatStorage\n)R.", "a storage class is called"),
        ROW("ctorch._utils\n_rebuild_parameter\nNNN\x87R.", "no tensor"),
        ROW("ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.", "no storage"),
        ROW("ccollections\nOrderedDict\n](]Nae\x85R.", "list of pairs"),
        ROW("cos", "does not end within 256 bytes"),
        ROW("NN\x93.", "named by two strings"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refuse_pickle(rows[i].bytes, rows[i].n, rows[i].words);
}

static void bombs_hit_a_cap(void **state)
{
    (void)state;
    avs_buf b = AVS_BUF_INIT;
    for (int i = 0; i < 100; i++) avs_buf_char(&b, ']');
    for (int i = 0; i < 99; i++) avs_buf_char(&b, 'a');
    avs_buf_char(&b, '.');
    refuse_pickle(b.data, b.len, "nested deeper than 64");
    avs_buf_clear(&b);
    for (int i = 0; i < 1100000; i++) avs_buf_char(&b, 'N');
    refuse_pickle(b.data, b.len, "more than 1048576 values on the stack");
    avs_buf_clear(&b);
    for (int i = 0; i < 1100000; i++) avs_buf_char(&b, '(');
    refuse_pickle(b.data, b.len, "more than 1048576 marks");
    avs_buf_clear(&b);
    for (int i = 0; i < 4300000; i++) avs_buf_str(&b, "N0");
    refuse_pickle(b.data, b.len, "more than 4194304 values");
    avs_buf_clear(&b);
    /* doubling by memo: 40 levels of (x, x) would be 2^40 values if anybody walked them */
    avs_buf_str(&b, "Nq");
    avs_buf_u8(&b, 0);
    for (int i = 0; i < 40; i++) {
        avs_buf_char(&b, 'h');
        avs_buf_u8(&b, 0);
        avs_buf_put(&b, "\x86q\0", 3);
    }
    avs_buf_char(&b, '.');
    avs_pk_node *root;
    avs_arena *a;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(run_pickle(b.data, b.len, &root, &a, &e), AVS_OK);
    assert_int_equal(root->depth, 41);
    assert_true(avs_arena_bytes(a) < 20000);
    avs_arena_free(a);
    avs_buf_free(&b);
}

static void foreign_calls_are_kept_as_opaque_values(void **state)
{
    (void)state;
    static const char bytes[] = "\x80\2cos\nsystem\nX\4\0\0\0true\x85R}K\1K\2sb.";
    avs_pk_node *root;
    avs_arena *a;
    avs_err e = AVS_ERR_INIT;
    char text[64];
    assert_int_equal(run_pickle(bytes, sizeof bytes - 1, &root, &a, &e), AVS_OK);
    assert_int_equal(root->kind, AVS_PK_OPAQUE);
    assert_false(root->has_tensor);
    assert_string_equal(avs_pk_text(root, text, sizeof text), "an object of os.system");
    avs_arena_free(a);
}

static void integers_have_their_signs(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        int64_t v;
        bool is_big;
    } rows[] = {{"J\xfe\xff\xff\xff.", 6, -2, false},
                {"\x8a\1\xff.", 4, -1, false},
                {"\x8a\0.", 3, 0, false},
                {"\x8a\x08\0\0\0\0\0\0\0\x80.", 11, INT64_MIN, false},
                {"\x8a\x09\0\0\0\0\0\0\0\x80\0.", 12, INT64_MIN, true},
                {"M\xff\xff.", 4, 65535, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        avs_pk_node *root;
        avs_arena *a;
        avs_err e = AVS_ERR_INIT;
        assert_int_equal(run_pickle(rows[i].bytes, rows[i].n, &root, &a, &e), AVS_OK);
        assert_int_equal(root->kind, AVS_PK_INT);
        assert_true(root->i == rows[i].v && root->is_big == rows[i].is_big);
        avs_arena_free(a);
    }
}

static void every_failed_allocation_is_an_error(void **state)
{
    (void)state;
    static const char *const names[] = {"kinds.pth", "nested-legacy.pth"};
    for (size_t k = 0; k < 2; k++) {
        avs_buf b = AVS_BUF_INIT;
        load(&b, names[k]);
        int rc = AVS_ENOMEM;
        for (long n = 1; rc != AVS_OK && n < 10000; n++) {
            avs_st_file f;
            avs_pth_info info;
            avs_err e = AVS_ERR_INIT;
            avs_alloc_fail_after(n);
            rc = avs_pth_parse(&f, "x", (const uint8_t *)b.data, b.len, NULL, &info, &e);
            avs_alloc_fail_after(0);
            assert_true(rc == AVS_OK || rc == AVS_ENOMEM);
            if (rc == AVS_OK) avs_st_close(&f);
        }
        assert_int_equal(rc, AVS_OK);
        avs_buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dtype_view_and_container_is_read),
        cmocka_unit_test(the_state_dict_of_a_training_checkpoint_is_taken),
        cmocka_unit_test(a_mapping_is_chosen_by_name),
        cmocka_unit_test(objects_with_tensors_are_refused_by_class),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(flipped_bits_never_change_a_zip_file_silently),
        cmocka_unit_test(damaged_directories_are_refused),
        cmocka_unit_test(damaged_end_records_are_refused),
        cmocka_unit_test(a_directory_of_64_bits_is_read_and_checked),
        cmocka_unit_test(checkpoints_of_python_2_are_read),
        cmocka_unit_test(tensors_outside_their_storage_are_refused),
        cmocka_unit_test(bytes_behind_a_legacy_file_are_refused),
        cmocka_unit_test(malformed_pickles_are_refused),
        cmocka_unit_test(bombs_hit_a_cap),
        cmocka_unit_test(foreign_calls_are_kept_as_opaque_values),
        cmocka_unit_test(integers_have_their_signs),
        cmocka_unit_test(every_failed_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
