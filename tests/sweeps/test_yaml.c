/* YAML: the core schema, places, and texts that are made to hurt a reader. */
#include "sweeps/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "base/rng.h"

typedef struct {
    avs_arena *a;
    avs_source src;
    avs_diag d;
    avs_ynode *root;
} loaded;

static void read_text(loaded *l, const char *text, size_t n)
{
    *l = (loaded){.a = avs_arena_new(), .src = {.path = "t.yaml", .text = text, .len = n}};
    avs_diag_init(&l->d, l->a);
    l->root = avs_yaml_parse(l->a, &l->src, &l->d);
    if (!l->root) assert_true(l->d.n_errors > 0);
}

static void check_error(const char *text, size_t n, const char *want)
{
    loaded l;
    avs_buf b = AVS_BUF_INIT;
    read_text(&l, text, n);
    assert_null(l.root);
    avs_diag_write(&l.d, &b);
    char first[300];
    (void)snprintf(first, sizeof first, "%.*s", (int)strcspn(avs_buf_cstr(&b), "\n"), avs_buf_cstr(&b));
    assert_string_equal(first, want);
    avs_buf_free(&b);
    avs_arena_free(l.a);
}

static void scalars_have_the_types_of_the_core_schema(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        avs_ykind kind;
        double value;
    } rows[] = {
        {"1", AVS_Y_INT, 1},
        {"-17", AVS_Y_INT, -17},
        {"+3", AVS_Y_INT, 3},
        {"0x1F", AVS_Y_INT, 31},
        {"0o17", AVS_Y_INT, 15},
        {"012", AVS_Y_INT, 12},
        {"1.0", AVS_Y_FLOAT, 1},
        {"1e-4", AVS_Y_FLOAT, 1e-4},
        {".5", AVS_Y_FLOAT, 0.5},
        {"5.", AVS_Y_FLOAT, 5},
        {"1E+2", AVS_Y_FLOAT, 100},
        {"-.5e1", AVS_Y_FLOAT, -5},
        {"99999999999999999999", AVS_Y_FLOAT, 1e20},
        {"9223372036854775807", AVS_Y_INT, 9223372036854775807.0},
        {"-9223372036854775808", AVS_Y_INT, -9223372036854775808.0},
        {"9223372036854775808", AVS_Y_FLOAT, 9223372036854775808.0},
        {"true", AVS_Y_BOOL, 0},
        {"False", AVS_Y_BOOL, 0},
        {"TRUE", AVS_Y_BOOL, 0},
        {"yes", AVS_Y_STR, 0},
        {"no", AVS_Y_STR, 0},
        {"on", AVS_Y_STR, 0},
        {"off", AVS_Y_STR, 0},
        {"y", AVS_Y_STR, 0},
        {"tRue", AVS_Y_STR, 0},
        {"~", AVS_Y_NULL, 0},
        {"null", AVS_Y_NULL, 0},
        {"", AVS_Y_NULL, 0},
        {"1e", AVS_Y_STR, 0},
        {"1.2.3", AVS_Y_STR, 0},
        {".", AVS_Y_STR, 0},
        {"0b11", AVS_Y_STR, 0},
        {"1_000", AVS_Y_STR, 0},
        {"12:30:45", AVS_Y_STR, 0},
        {"2001-01-01", AVS_Y_STR, 0},
        {"'1'", AVS_Y_STR, 0},
        {"\"true\"", AVS_Y_STR, 0},
        {"e1", AVS_Y_STR, 0},
        {"-", AVS_Y_STR, 0},
        {"+", AVS_Y_STR, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[64];
        loaded l;
        (void)snprintf(text, sizeof text, "k: %s\n", rows[i].text);
        if (strcmp(rows[i].text, "-") == 0) continue; /* a block sequence, not a scalar */
        read_text(&l, text, strlen(text));
        const avs_ynode *v = avs_yaml_get(l.root, "k");
        assert_non_null(v);
        assert_int_equal(v->kind, rows[i].kind);
        if (v->kind == AVS_Y_INT || v->kind == AVS_Y_FLOAT)
            assert_true(v->d >= rows[i].value && v->d <= rows[i].value);
        avs_arena_free(l.a);
    }
}

static void nodes_know_their_lines_and_columns_in_characters(void **state)
{
    (void)state;
    static const char text[] = "# comment\na: [1, 'ä', äb]\nµ:\n  - x\n";
    loaded l;
    read_text(&l, text, sizeof text - 1);
    const avs_ynode *list = avs_yaml_get(l.root, "a");
    assert_int_equal(list->items[2]->pos.line, 2);
    assert_int_equal(list->items[2]->pos.col, 13);
    assert_int_equal(list->items[2]->pos.len, 2);
    const avs_ynode *x = avs_yaml_get(l.root, "µ")->items[0];
    assert_int_equal(x->pos.line, 4);
    assert_int_equal(x->pos.col, 5);
    avs_arena_free(l.a);
}

static void a_byte_order_mark_and_crlf_are_fine(void **state)
{
    (void)state;
    loaded l;
    static const char text[] = "a: 1\r\nb: 2\r\n";
    read_text(&l, text, sizeof text - 1);
    assert_int_equal(avs_yaml_get(l.root, "b")->i, 2);
    avs_arena_free(l.a);
}

#define BAD(text, want) check_error(text, sizeof(text) - 1, want)

static void bad_texts_are_refused_at_their_place(void **state)
{
    (void)state;
    BAD("a: 1\nb:\t2\n", "t.yaml:2:3: error[E002]: a tab");
    BAD("a: 1\n\tb: 2\n", "t.yaml:2:1: error[E002]: a tab");
    BAD("a: \xff\n", "t.yaml:1:4: error[E003]: byte 0xff is no UTF-8");
    BAD("a: \xc3\n", "t.yaml:1:4: error[E003]: byte 0xc3 is no UTF-8");
    BAD("a: \xed\xa0\x80\n", "t.yaml:1:4: error[E003]: byte 0xed is no UTF-8");
    BAD("a: b\0c\n", "t.yaml:1:5: error[E003]: control character 0x00");
    BAD("a: \"x\\0y\"\n", "t.yaml:1:4: error[E003]: a string with a NUL character");
    BAD("a: 1\nb: 2\na: 3\n", "t.yaml:3:1: error[E006]: the key 'a' is written twice (first on line 1)");
    BAD("{a: 1, 'a': 2}\n", "t.yaml:1:8: error[E006]: the key 'a' is written twice (first on line 1)");
    BAD("a: !!str 1\n", "t.yaml:1:4: error[E007]: the tag 'tag:yaml.org,2002:str'");
    BAD("a: !x [1]\n", "t.yaml:1:4: error[E007]: the tag '!x'");
    BAD("a: *b\n", "t.yaml:1:4: error[E008]: there is no anchor 'b' before this alias");
    BAD("a: &x [*x]\n", "t.yaml:1:8: error[E008]: there is no anchor 'x' before this alias");
    BAD("? [a]\n: 1\n", "t.yaml:1:3: error[E011]: a key wants a scalar, found a list");
    BAD("a: 1\n---\nb: 2\n", "t.yaml:2:1: error[E001]: a second document; a sweep file has one");
    BAD("a: [1, 2\nb: 3\n", "t.yaml:2:2: error[E001]: not valid YAML: did not find expected ',' or ']' while "
                            "parsing a flow sequence");
    BAD("a: 'x\n", "t.yaml:2:1: error[E001]: not valid YAML: found unexpected end of stream while scanning a "
                   "quoted scalar");
    BAD("%YAML 1.1\n", "t.yaml:2:1: error[E001]: not valid YAML: did not find expected <document start>");
}

static double seconds(void)
{
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void deep_flow_is_refused_quickly(void **state)
{
    (void)state;
    size_t n = 200000;
    char *text = malloc(n + 1);
    assert_non_null(text);
    double start = seconds();
    memset(text, '[', n);
    check_error(text, n, "t.yaml:1:65: error[E004]: nested deeper than 64");
    memset(text, '{', n);
    check_error(text, n, "t.yaml:1:65: error[E004]: nested deeper than 64");
    for (size_t i = 0; i < n; i += 2) memcpy(text + i, "- ", 2);
    check_error(text, n, "t.yaml:1:129: error[E004]: nested deeper than 64");
    assert_true(seconds() - start < 5); /* measured: a few milliseconds; quadratic time would be minutes */
    free(text);
}

static void aliases_cannot_grow_or_deepen_the_document(void **state)
{
    (void)state;
    avs_buf b = AVS_BUF_INIT;
    avs_buf_str(&b, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 9; i++) {
        avs_buf_fmt(&b, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++) avs_buf_fmt(&b, "%s*a%d", k ? ", " : "", i - 1);
        avs_buf_str(&b, "]\n");
    }
    check_error(b.data, b.len,
                "t.yaml:6:45: error[E008]: the document has more than 1000000 nodes with its aliases");
    avs_buf_clear(&b);
    avs_buf_str(&b, "a0: &a0 [x]\n");
    for (int i = 1; i < 70; i++) avs_buf_fmt(&b, "a%d: &a%d [*a%d]\n", i, i, i - 1);
    check_error(b.data, b.len, "t.yaml:63:12: error[E004]: nested deeper than 64");
    avs_buf_free(&b);
}

static void large_maps_find_duplicates_and_stay_linear(void **state)
{
    (void)state;
    avs_buf b = AVS_BUF_INIT;
    for (int i = 0; i < 50000; i++) avs_buf_fmt(&b, "key%d: %d\n", i, i);
    loaded l;
    read_text(&l, b.data, b.len);
    assert_non_null(l.root);
    assert_int_equal(l.root->n, 50000);
    avs_arena_free(l.a);
    avs_buf_str(&b, "key77: 1\n");
    check_error(b.data, b.len,
                "t.yaml:50001:1: error[E006]: the key 'key77' is written twice (first on line 78)");
    avs_buf_free(&b);
}

static void oversized_texts_are_refused(void **state)
{
    (void)state;
    size_t n = AVS_YAML_BYTES + 1u;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, '#', n);
    check_error(text, n, "t.yaml: error[E005]: the file has 16777217 bytes, at most 16 MiB are read");
    free(text);
}

/* Every place that is reported lies inside the text. */
static void truncated_and_mutated_texts_never_crash(void **state)
{
    (void)state;
    static const char good[] =
        "avsweep: 1\nname: x\nbase: &b {model: avesformer, list: [1, 'two', \"th\\u00e4ree\"]}\n"
        "sweep:\n  - grid: {a: [1, 2], b: {pow2: [1, 8]}}\n  - zip:\n      c: *b\n"
        "text: |\n  block\n  of text\nfold: >\n  a\n  b\n";
    avs_rng r = avs_rng_seed(11);
    for (int trial = 0; trial < 3000; trial++) {
        char text[sizeof good];
        size_t n = trial < (int)sizeof good ? (size_t)trial : sizeof good - 1;
        memcpy(text, good, sizeof good);
        int edits = trial < (int)sizeof good ? 0 : (int)avs_rng_range(&r, 1, 4);
        for (int k = 0; k < edits; k++)
            text[avs_rng_range(&r, 0, (int64_t)n - 1)] =
                "[]{}:,-&*!|>'\"%#?\n a\t\x80"[avs_rng_range(&r, 0, 22)];
        loaded l;
        read_text(&l, text, n);
        uint32_t lines = 1;
        for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
        for (int i = 0; i < l.d.n_errors; i++) assert_in_range(l.d.errors[i].pos.line, 1, lines);
        avs_arena_free(l.a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_have_the_types_of_the_core_schema),
        cmocka_unit_test(nodes_know_their_lines_and_columns_in_characters),
        cmocka_unit_test(a_byte_order_mark_and_crlf_are_fine),
        cmocka_unit_test(bad_texts_are_refused_at_their_place),
        cmocka_unit_test(deep_flow_is_refused_quickly),
        cmocka_unit_test(aliases_cannot_grow_or_deepen_the_document),
        cmocka_unit_test(large_maps_find_duplicates_and_stay_linear),
        cmocka_unit_test(oversized_texts_are_refused),
        cmocka_unit_test(truncated_and_mutated_texts_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
