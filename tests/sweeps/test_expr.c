/* Expressions: a table of values and a table of errors with their places. */
#include "sweeps/expr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const avs_json *lookup(void *ctx, const char *name)
{
    return avs_json_get(ctx, name);
}

static const char vars[] =
    "{\"n\":16,\"lr\":0.001,\"task\":\"s4\",\"on\":true,\"nothing\":null,\"size\":[224,256],"
    "\"a.b\":3}";

/* The value as JSON, or "OFFSET: message". */
static void value_of(const char *text, char out[256])
{
    avs_arena *a = avs_arena_new();
    avs_json *ctx = NULL, v;
    avs_expr_error e;
    avs_buf b = AVS_BUF_INIT;
    assert_int_equal(avs_json_parse(a, "vars", vars, sizeof vars - 1, &ctx, NULL), AVS_OK);
    avs_expr *x = avs_expr_parse(a, text, &e);
    if (x && avs_expr_eval(x, a, lookup, ctx, &v, &e) == AVS_OK)
        avs_json_write(&b, &v, true);
    else
        avs_buf_fmt(&b, "%zu: %s", e.offset, e.msg);
    (void)snprintf(out, 256, "%s", avs_buf_cstr(&b));
    avs_buf_free(&b);
    avs_arena_free(a);
}

static void check(const char *const rows[][2], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char got[256];
        value_of(rows[i][0], got);
        if (strcmp(got, rows[i][1]) != 0) print_message("in: %s\n", rows[i][0]);
        assert_string_equal(got, rows[i][1]);
    }
}

static void expressions_have_these_values(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"1 + 2 * 3", "7"},
        {"(1 + 2) * 3", "9"},
        {"7 / 2", "3.5"},
        {"8 / 2", "4"},
        {"7 % 3", "1"},
        {"-7 % 3", "2"},
        {"7 % -3", "-2"},
        {"7.5 % 2", "1.5"},
        {"2 - 3 - 4", "-5"},
        {"- - 3", "3"},
        {"1e-4 * 10", "0.001"},
        {".5 + .5", "1"},
        {"n", "16"},
        {"a.b + 1", "4"},
        {"n == 16.0", "true"},
        {"n != 16", "false"},
        {"'b' > 'a'", "true"},
        {"task == \"s4\"", "true"},
        {"task in ['ms3', 's4']", "true"},
        {"n not in [8, 16]", "false"},
        {"size == [224, 256]", "true"},
        {"not on or n > 8", "true"},
        {"not (on and n > 8)", "false"},
        {"nothing == null", "true"},
        {"n == null", "false"},
        {"null", "null"},
        {"defined(n) and not defined(m)", "true"},
        {"defined(m) and m > 3", "false"},
        {"on or m", "true"},
        {"8 if n <= 8 else 4 if n <= 16 else 2", "4"},
        {"1 if true else m", "1"},
        {"min(3, 2.5, 7)", "2.5"},
        {"max(1, 2 * 512 * 512 / (1024 * 1024))", "1"},
        {"round(2.5)", "3"},
        {"round(-2.5)", "-3"},
        {"round(n / 3)", "5"},
        {"[n, 'x', 1 + 1]", "[16,\"x\",2]"},
        {"9223372036854775807 == 9223372036854775807", "true"},
        {"not not true", "true"},
        {"1 < 2 and 2 < 3", "true"},
    };
    check(rows, sizeof rows / sizeof rows[0]);
}

static void expressions_fail_with_a_place_and_a_reason(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "0: a value is expected at the end"},
        {"1 +", "3: a value is expected at the end"},
        {"1 2", "2: an operator or the end is expected, found '2'"},
        {"(1", "2: ')' is expected at the end"},
        {"[1 2]", "3: ',' or ']' is expected, found '2'"},
        {"1 < 2 < 3", "6: comparisons are not chained; join them with 'and'"},
        {"a = 3", "2: an operator or the end is expected, found '='"},
        {"'abc", "0: a string without its closing quote"},
        {"n > 'x'", "2: a number cannot be compared with a string"},
        {"true < false", "5: true or false cannot be compared with true or false"},
        {"n < null", "2: a number cannot be compared with null"},
        {"m + 1", "0: 'm' is not set here; defined(m) asks whether it is"},
        {"n + 'x'", "2: numbers are expected, found a number and a string"},
        {"n and true", "0: true or false is expected, found a number"},
        {"1 if n else 2", "5: true or false is expected, found a number"},
        {"1 / 0", "2: division by zero"},
        {"1 % 0", "2: division by zero"},
        {"9000000000000000000 + 9000000000000000000", "20: the whole number does not fit 64 bits"},
        {"999999999999999999 * 999999999999999999", "19: the whole number does not fit 64 bits"},
        {"1e308 * 10", "6: the result is no finite number"},
        {"exp(1)", "0: there is no function 'exp' (min, max, round, defined)"},
        {"min()", "0: min() takes at least one value"},
        {"round(1, 2)", "0: round() takes one value, found 2"},
        {"defined(3)", "8: a name inside defined() is expected, found '3'"},
        {"1 in 2", "2: 'in' wants a list on its right, found a number"},
        {"1 in ['a']", "2: a number cannot be compared with a string"},
        {"8px", "0: '8px' is no number"},
        {"1.2.3", "0: '1.2.3' is no number"},
        {"007", "0: '007' is no number"},
        {"1 if true", "9: 'else' is expected at the end"},
        {"and", "0: a value is expected, found 'and'"},
        {"n not 3", "6: 'in' after 'not' is expected, found '3'"},
        {"a ? b", "2: an operator or the end is expected, found '?'"},
    };
    check(rows, sizeof rows / sizeof rows[0]);
}

static void deep_and_long_expressions_are_refused(void **state)
{
    (void)state;
    char text[6000], got[256];
    memset(text, '(', 1000);
    memcpy(text + 1000, "1", 2);
    value_of(text, got);
    assert_string_equal(got, "64: nested deeper than 64");
    memset(text, '-', 1000);
    value_of(text, got);
    assert_non_null(strstr(got, "nested deeper than 64"));
    memset(text, '1', 5000);
    text[5000] = '\0';
    value_of(text, got);
    assert_string_equal(got, "0: an expression of more than 4096 bytes");
    size_t n = 0;
    for (; n < 4000; n += 2) memcpy(text + n, "1+", 2);
    memcpy(text + n, "1", 2);
    value_of(text, got);
    assert_string_equal(got, "2001");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions_have_these_values),
        cmocka_unit_test(expressions_fail_with_a_place_and_a_reason),
        cmocka_unit_test(deep_and_long_expressions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
