/* CSV: quoting, line ends, and errors with their line. */
#include "scratch.h"

#include "data/csv.h"

static int parse(avs_csv *c, avs_arena *a, const char *text, avs_err *e)
{
    char *copy = malloc(strlen(text) + 1); /* without the NUL the parser must not need */
    memcpy(copy, text, strlen(text));
    int rc = avs_csv_parse(c, a, "t.csv", copy, strlen(text), e);
    free(copy);
    return rc;
}

static void quotes_commas_line_ends_and_empty_cells_are_read(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_csv c;
    avs_err e = AVS_ERR_INIT;
    assert_ok(parse(&c, a, "\xEF\xBB\xBFname,split\r\n\"a,b\",\"x \"\"y\"\"\"\r\n\n,\n\"two\nlines\",z", &e),
              e);
    assert_int_equal(c.n_cols, 2);
    assert_int_equal(c.n_rows, 3);
    assert_string_equal(c.header[0], "name");
    assert_int_equal(avs_csv_col(&c, "split"), 1);
    assert_int_equal(avs_csv_col(&c, "none"), -1);
    assert_string_equal(avs_csv_at(&c, 0, 0), "a,b");
    assert_string_equal(avs_csv_at(&c, 0, 1), "x \"y\"");
    assert_string_equal(avs_csv_at(&c, 1, 0), "");
    assert_string_equal(avs_csv_at(&c, 2, 0), "two\nlines");
    assert_string_equal(avs_csv_at(&c, 2, 1), "z");
    assert_int_equal(c.line[0], 2);
    assert_int_equal(c.line[1], 4);
    assert_int_equal(c.line[2], 5);
    avs_arena_free(a);
}

static void a_bad_row_is_named_by_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "t.csv:1: expected a header"},
        {"\n\n", "t.csv:1: expected a header"},
        {"a,b\n1,2\n3\n", "t.csv:3: expected 2 fields as in the header, found 1"},
        {"a,b\n1,2,3\n", "t.csv:2: expected 2 fields as in the header, found 3"},
        {"a,b\n\"1,2\n", "t.csv:2: a quoted field has no closing quote"},
        {"a,b\n\"1\"x,2\n", "t.csv:2: expected a comma"},
        {"a,b\n1\"2,2\n", "t.csv:2: expected a comma"},
        {"a,b\n1\r2,2\n", "t.csv:2: expected a comma"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        avs_arena *a = avs_arena_new();
        avs_csv c;
        avs_err e = AVS_ERR_INIT;
        assert_int_equal(parse(&c, a, cases[i].text, &e), AVS_EPARSE);
        if (!strstr(e.msg, cases[i].says)) fail_msg("case %zu says: %s", i, e.msg);
        avs_arena_free(a);
    }
}

static void a_zero_byte_is_refused_inside_and_outside_quotes(void **state)
{
    (void)state;
    static const char plain[] = "a,b\n1\0,2\n", quoted[] = "a,b\n\"1\0\",2\n";
    for (int i = 0; i < 2; i++) {
        avs_arena *a = avs_arena_new();
        avs_csv c;
        avs_err e = AVS_ERR_INIT;
        assert_int_equal(
            avs_csv_parse(&c, a, "z", i ? quoted : plain, (i ? sizeof quoted : sizeof plain) - 1, &e),
            AVS_EPARSE);
        assert_non_null(strstr(e.msg, "0x00"));
        avs_arena_free(a);
    }
}

static void text_cut_anywhere_gives_whole_rows_or_an_error(void **state)
{
    (void)state;
    static const char text[] = "name,split\nabc,train\n\"d\"\"e\",test\n";
    for (size_t n = 0; n < sizeof text; n++) {
        avs_arena *a = avs_arena_new();
        avs_csv c;
        char *copy = malloc(n ? n : 1);
        memcpy(copy, text, n);
        const int rc = avs_csv_parse(&c, a, "t", copy, n > sizeof text - 1 ? sizeof text - 1 : n, NULL);
        if (rc == AVS_OK && c.n_rows > 0)
            assert_true(c.n_cols == 2 && strncmp(avs_csv_at(&c, 0, 0), "abc", 3) == 0);
        if (rc != AVS_OK) assert_int_equal(rc, AVS_EPARSE);
        free(copy);
        avs_arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes_commas_line_ends_and_empty_cells_are_read),
        cmocka_unit_test(a_bad_row_is_named_by_its_line),
        cmocka_unit_test(a_zero_byte_is_refused_inside_and_outside_quotes),
        cmocka_unit_test(text_cut_anywhere_gives_whole_rows_or_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
