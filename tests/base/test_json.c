/* The JSON reader refuses what RFC 8259 refuses and says where; the writer's text reads back to the same tree. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/json.h"
#include "base/log.h"
#include "base/rng.h"

static int parse(avs_arena *a, const char *text, avs_json **v, avs_err *e)
{
    return avs_json_parse(a, "t", text, strlen(text), v, e);
}

/* Text after parsing and writing. */
static void expect_written(const char *text, bool canonical, const char *want)
{
    avs_arena *a = avs_arena_new();
    avs_json *v;
    avs_err e = AVS_ERR_INIT;
    if (parse(a, text, &v, &e) != AVS_OK) fail_msg("%s: %s", text, e.msg);
    avs_buf out = AVS_BUF_INIT;
    avs_json_write(&out, v, canonical);
    assert_true(avs_buf_ok(&out));
    assert_string_equal(avs_buf_cstr(&out), want);
    avs_buf_free(&out);
    avs_arena_free(a);
}

static void values_are_read_and_written_back(void **state)
{
    (void)state;
    static const char *const same[] = {"null",
                                       "true",
                                       "false",
                                       "0",
                                       "-1",
                                       "9223372036854775807",
                                       "-9223372036854775808",
                                       "0.1",
                                       "1e-5",
                                       "1.5e300",
                                       "\"\"",
                                       "\"a\\\"b\\\\c\\n\\t\\u0001\"",
                                       "[]",
                                       "{}",
                                       "[1,[2,[]],{\"a\":null}]",
                                       "{\"b\":1,\"a\":[true,false]}",
                                       "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
                                       "-0"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) expect_written(same[i], false, same[i]);
    expect_written(" \t\r\n[ 1 , 2 ]\n", false, "[1,2]");
    expect_written("\"\\u00e9\\ud83d\\ude00\\/\"", false, "\"\xc3\xa9\xf0\x9f\x98\x80/\"");
    expect_written("[1e-05,1E+20,2.0,1.0e0,100000000000000000000]", false, "[1e-5,1e20,2,1,1e20]");
}

static void canonical_text_has_one_spelling_per_value(void **state)
{
    (void)state;
    expect_written("{\"b\":-0.0,\"a\":{\"z\":1.0,\"B\":1,\"\xc3\xa9\":2}}", true,
                   "{\"a\":{\"B\":1,\"z\":1,\"\xc3\xa9\":2},\"b\":0}");
    expect_written("[0.30000000000000004,0.3,1e-05,123456.5,5e-324]", true,
                   "[0.30000000000000004,0.3,1e-5,123456.5,5e-324]");
}

static void wrong_text_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *where;
    } bad[] = {{"", "t:1:1:"},
               {"[1,]", "t:1:4:"},
               {"[1 2]", "t:1:4:"},
               {"{\"a\" 1}", "t:1:6:"},
               {"{\"a\":1,}", "t:1:8:"},
               {"{a:1}", "t:1:2:"},
               {"{\n \"a\":1,\n \"a\":2}", "t:3:2: key \"a\" appears twice"},
               {"01", "t:1:1:"},
               {"-", "t:1:1:"},
               {"1.", "t:1:1:"},
               {".5", "t:1:1:"},
               {"+1", "t:1:1:"},
               {"1e", "t:1:1:"},
               {"1e+", "t:1:1:"},
               {"1e999", "t:1:1:"},
               {"NaN", "t:1:1:"},
               {"tru", "t:1:1:"},
               {"nullx", "t:1:5:"},
               {"1 1", "t:1:3:"},
               {"\"abc", "t:1:1:"},
               {"\"a\nb\"", "t:1:3:"},
               {"\"\\x\"", "t:1:2:"},
               {"\"\\u12g4\"", "t:1:2:"},
               {"\"\\ud800\"", "t:1:2:"},
               {"\"\\ud800\\u0041\"", "t:1:2:"},
               {"\"\\udc00\"", "t:1:2:"},
               {"\"\xff\"", "t:1:2:"},
               {"\"\xc0\x80\"", "t:1:2:"},
               {"\"\xed\xa0\x80\"", "t:1:2:"},
               {"\"\xf4\x90\x80\x80\"", "t:1:2:"},
               {"\"\xe2\x82\"", "t:1:2:"},
               {"\xef\xbb\xbf{}", "t:1:1:"},
               {"{\"a\\u0000\":1}", "t:1:2:"},
               {"[1}", "t:1:3:"},
               {"// x\n1", "t:1:1:"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        avs_arena *a = avs_arena_new();
        avs_json *v;
        avs_err e = AVS_ERR_INIT;
        if (parse(a, bad[i].text, &v, &e) != AVS_EPARSE) fail_msg("accepted: %s", bad[i].text);
        if (strncmp(e.msg, bad[i].where, strlen(bad[i].where)) != 0)
            fail_msg("%s gave %s", bad[i].text, e.msg);
        assert_null(v);
        avs_arena_free(a);
    }
}

static void nesting_ends_at_64(void **state)
{
    (void)state;
    char text[200];
    for (int depth = 60; depth <= 70; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = '\0';
        avs_arena *a = avs_arena_new();
        avs_json *v;
        assert_int_equal(parse(a, text, &v, NULL), depth <= 64 ? AVS_OK : AVS_EPARSE);
        avs_arena_free(a);
    }
}

static void doubles_survive_the_round_trip(void **state)
{
    (void)state;
    avs_rng r = avs_rng_seed(5);
    avs_buf out = AVS_BUF_INIT;
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = avs_rng_u64(&r);
        double v;
        memcpy(&v, &bits, sizeof v);
        if (i % 3 == 0) v = avs_rng_normal(&r);
        if (i % 3 == 1) v = (double)avs_rng_range(&r, -1000000, 1000000) / 1000;
        if (!isfinite(v)) continue;
        avs_buf_clear(&out);
        avs_json_write_num(&out, v);
        double back = strtod(avs_buf_cstr(&out), NULL);
        if (memcmp(&back, &v, sizeof v) != 0) fail_msg("%a became %s", v, avs_buf_cstr(&out));
        assert_null(strstr(out.data, "e0"));
        assert_null(strchr(out.data, '+'));
    }
    avs_buf_clear(&out);
    avs_json_write_num(&out, (double)NAN);
    assert_false(avs_buf_ok(&out));
    avs_buf_clear(&out);
    avs_json_write_num(&out, (double)INFINITY);
    assert_false(avs_buf_ok(&out));
    avs_buf_free(&out);
}

static void lookups_accept_null_and_wrong_kinds(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_json *v;
    assert_int_equal(parse(a, "{\"i\":3,\"f\":2.0,\"h\":2.5,\"s\":\"x\",\"b\":true,\"l\":[10,20]}", &v, NULL),
                     AVS_OK);
    assert_int_equal(avs_json_int(v, "i", 9), 3);
    assert_int_equal(avs_json_int(v, "f", 9), 2);
    assert_int_equal(avs_json_int(v, "h", 9), 9);
    assert_int_equal(avs_json_int(v, "s", 9), 9);
    assert_true(avs_json_num(v, "h", 0) == 2.5 && avs_json_num(v, "i", 0) == 3 &&
                avs_json_num(v, "b", 7) == 7);
    assert_string_equal(avs_json_str(v, "s", "-"), "x");
    assert_string_equal(avs_json_str(v, "i", "-"), "-");
    assert_true(avs_json_bool(v, "b", false));
    assert_false(avs_json_bool(v, "none", false));
    assert_int_equal(avs_json_at(avs_json_get(v, "l"), 1)->i, 20);
    assert_null(avs_json_at(avs_json_get(v, "l"), 2));
    assert_null(avs_json_get(NULL, "x"));
    assert_null(avs_json_at(NULL, 0));
    avs_arena_free(a);
}

static void built_trees_are_written_in_order(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_json *o = avs_json_new(a, AVS_J_OBJ);
    avs_json_add_str(a, o, "s", "\x01 \xff!");
    avs_json_add_int(a, o, "i", -5);
    avs_json_add_num(a, o, "d", 0.5);
    avs_json_add_bool(a, o, "b", true);
    avs_json *l = avs_json_add(a, o, "l", avs_json_new(a, AVS_J_ARR));
    avs_json_add_num(a, l, NULL, 1);
    avs_json_add_str(a, l, NULL, NULL);
    avs_buf out = AVS_BUF_INIT;
    avs_json_write(&out, o, false);
    assert_string_equal(avs_buf_cstr(&out),
                        "{\"s\":\"\\u0001 \\ufffd!\",\"i\":-5,\"d\":0.5,\"b\":true,\"l\":[1,null]}");
    avs_buf_free(&out);
    avs_arena_free(a);
}

static void large_objects_stay_linear(void **state)
{
    (void)state;
    enum { N = 100000 };
    avs_buf text = AVS_BUF_INIT;
    avs_buf_char(&text, '{');
    for (int i = 0; i < N; i++) avs_buf_fmt(&text, "%s\"key number %d\":%d", i ? "," : "", i, i);
    avs_buf_str(&text, ",\"key number 7\":0}");
    avs_arena *a = avs_arena_new();
    avs_json *v;
    avs_err e = AVS_ERR_INIT;
    int64_t start = avs_now_ns();
    assert_int_equal(avs_json_parse(a, "big", text.data, text.len, &v, &e), AVS_EPARSE);
    assert_non_null(strstr(e.msg, "\"key number 7\" appears twice"));
    text.data[text.len - 4] = '9'; /* another key: 9":0} */
    text.data[text.len - 5] = '_';
    memcpy(text.data + text.len - 5, "x\":0", 4);
    assert_int_equal(avs_json_parse(a, "big", text.data, text.len, &v, &e), AVS_OK);
    assert_int_equal(v->len, N + 1);
    /* 5e9 comparisons of a quadratic check take minutes under the sanitizers. */
    assert_true(avs_now_ns() - start < 20000000000);
    avs_arena_free(a);
    avs_buf_free(&text);
}

static const char SAMPLE[] =
    "{\"a\":[1,2.5e-3,true,null],\"b\":{\"c\":\"\\u00e9x\",\"d\":{}},\"e\":1,\"f\":2,\"g\":3,"
    "\"h\":4,\"i\":5,\"j\":6,\"k\":7,\"l\":8,\"m\":9}";

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof SAMPLE - 1; n++) {
        avs_arena *a = avs_arena_new();
        avs_json *v;
        char *copy = malloc(n ? n : 1); /* exact size: a read past the end is seen by ASan */
        memcpy(copy, SAMPLE, n);
        assert_int_equal(avs_json_parse(a, "t", copy, n, &v, NULL), AVS_EPARSE);
        free(copy);
        avs_arena_free(a);
    }
}

static void every_failed_allocation_is_an_error(void **state)
{
    (void)state;
    int rc = AVS_ENOMEM;
    long n = 0;
    while (rc != AVS_OK) {
        avs_arena *a = avs_arena_new();
        avs_json *v;
        avs_err e = AVS_ERR_INIT;
        avs_alloc_fail_after(++n);
        rc = avs_json_parse(a, "t", SAMPLE, sizeof SAMPLE - 1, &v, &e);
        if (rc != AVS_OK) assert_int_equal(rc, AVS_ENOMEM);
        avs_alloc_fail_after(0);
        avs_arena_free(a);
        assert_true(n < 1000);
    }
    assert_true(n > 30);
}

static void a_failed_allocation_while_writing_is_seen(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_json *v;
    assert_int_equal(avs_json_parse(a, "t", SAMPLE, sizeof SAMPLE - 1, &v, NULL), AVS_OK);
    bool ok = false;
    for (long n = 1; !ok; n++) {
        avs_buf out = AVS_BUF_INIT;
        avs_alloc_fail_after(n);
        avs_json_write(&out, v, true);
        avs_alloc_fail_after(0);
        ok = avs_buf_ok(&out);
        avs_buf_free(&out);
        assert_true(n < 100);
    }
    avs_arena_free(a);
}

static void files_are_named_in_errors(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_json *v;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_json_file(a, AVS_SOURCE_DIR "/tests/golden/probe.json", &v, &e), AVS_OK);
    assert_non_null(avs_json_get(v, "fnv1a64"));
    assert_int_equal(avs_json_file(a, AVS_SOURCE_DIR "/tests/golden/none.json", &v, &e), AVS_EMISSING);
    assert_non_null(strstr(e.msg, "none.json"));
    assert_int_equal(avs_json_file(a, AVS_SOURCE_DIR "/tests", &v, &e), AVS_EIO);
    avs_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read_and_written_back),
        cmocka_unit_test(canonical_text_has_one_spelling_per_value),
        cmocka_unit_test(wrong_text_is_refused_with_its_place),
        cmocka_unit_test(nesting_ends_at_64),
        cmocka_unit_test(doubles_survive_the_round_trip),
        cmocka_unit_test(lookups_accept_null_and_wrong_kinds),
        cmocka_unit_test(built_trees_are_written_in_order),
        cmocka_unit_test(large_objects_stay_linear),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_failed_allocation_is_an_error),
        cmocka_unit_test(a_failed_allocation_while_writing_is_seen),
        cmocka_unit_test(files_are_named_in_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
