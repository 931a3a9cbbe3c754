/* Reports over names that try to break out: each format must keep them inside their cell. LaTeX is compiled where pdflatex is
 * installed; the page is opened in headless Chromium where that is installed. */
#include "tests/results/sample.h"
#include "tests/results/xml.h"

#include <time.h>
#include "base/json.h"
#include "results/render.h"
#include "results/report.h"

enum { HOSTILE = 9 };
static char long_name[10241];
static const char *hostile[HOSTILE] = {
    "'; DROP TABLE trial; --",
    "<script>alert('x')</script><img src=x onerror=alert(1)>",
    "\\input{/etc/passwd} \\end{tabular} $x^{2}$ 50% #1 & a_b ~ {",
    "$(rm -rf /) `id` | tee; && \"q\"",
    "\xe2\x80\xae"
    "evil\xe2\x80\xac \xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d",
    "line\nbreak\ttab \x1b[31mred\x07",
    "\xe6\xbc\xa2\xe5\xad\x97 e\xcc\x81 \xf0\x9f\x98\x80 </script>",
    "[link](javascript:alert(1)) **bold** | cell | `code`",
    long_name,
};

static void add_hostile_rows(avs_store *s, int64_t sweep)
{
    int64_t train = sample_stage(s, sweep, "train", "train"),
            speed = sample_stage(s, sweep, "speed", "latency");
    memset(long_name, 'x', sizeof long_name - 1);
    memcpy(long_name + sizeof long_name - 4, "end", 3);
    for (int i = 0; i < HOSTILE; i++) {
        avs_buf p = AVS_BUF_INIT;
        avs_buf_str(&p, "{\"name\":");
        avs_json_write_str(&p, hostile[i]);
        avs_buf_str(&p, "}");
        for (int seed = 0; seed < 3; seed++) {
            avs_store_trial t = sample_trial(train, 3 * i + seed, "train", "m", "s4", p.data, seed);
            int64_t attempt =
                sample_done(s, sample_register(s, sweep, t), 0.5 + 0.02 * i + 0.004 * seed, 0.8);
            avs_store_point points[] = {{"loss", 0, 1.0}, {"loss", 10, 0.5 - 0.01 * i}, {"loss", 20, 0.3}};
            OK(avs_store_points(s, attempt, points, 3, e));
        }
        avs_store_trial t = sample_trial(speed, i, "latency", "m", "s4", p.data, 0);
        sample_latency(s, sample_register(s, sweep, t), 10 + i, 300, "{\"cpu\":\"<b>CPU</b>\"}");
        avs_buf_free(&p);
    }
}

static int fill(void **state)
{
    if (sample_setup(state) != 0) return -1;
    avs_store *s = sample_open("hostile.db");
    add_hostile_rows(s, sample_sweep(s, "hostile", NULL));
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    return 0;
}

static avs_buf render_of(const char *db, avs_report_spec spec)
{
    static const char *by[] = {"name"};
    avs_store *s;
    avs_buf out = AVS_BUF_INIT;
    spec.by = spec.n_by ? spec.by : by;
    spec.n_by = spec.n_by ? spec.n_by : 1;
    OK(avs_store_open(sample_path(db), AVS_STORE_READ, NULL, &s, e));
    OK(avs_report(s, &spec, &out, e));
    avs_store_close(s);
    return out;
}

static avs_buf render(avs_report_format format)
{
    return render_of("hostile.db",
                     (avs_report_spec){.format = format, .title = hostile[1], .standalone = true});
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p += strlen(what)) n++;
    return n;
}

static bool is_installed(const char *program)
{
    char cmd[200];
    snprintf(cmd, sizeof cmd, "command -v %s >/dev/null 2>&1", program);
    return system(cmd) == 0;
}

static void widths_are_those_of_terminals(void **state)
{
    (void)state;
    assert_int_equal(avs_text_width("abc"), 3);
    assert_int_equal(avs_text_width("\xe6\xbc\xa2\xe5\xad\x97"), 4); /* two ideographs */
    assert_int_equal(avs_text_width("e\xcc\x81t\xc3\xa9"), 3);       /* a combining acute, a composed one */
    assert_int_equal(avs_text_width("\xf0\x9f\x98\x80"), 2);         /* a face */
    assert_int_equal(avs_text_width("\xd7\xa9\xd6\xb8"), 1);         /* a Hebrew letter with its vowel */
    assert_int_equal(avs_text_width("\xe1\x84\x92\xe1\x85\xa1"), 2); /* Hangul of two parts */
    assert_int_equal(avs_text_width("a\xe2\x80\x8b"
                                    "b"),
                     2);                                          /* a space of no width */
    assert_int_equal(avs_text_width("\xff\xc3"), 2);              /* two bytes that are nothing */
    assert_int_equal(avs_text_width("\xef\xbc\xa1 \xc2\xb1"), 4); /* a wide A, plus-minus */
}

static void long_names_lose_their_middle(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    const char *short_name = avs_text_shown(a, long_name, 30);
    assert_int_equal(avs_text_width(short_name), 30);
    assert_non_null(strstr(short_name, "\xe2\x80\xa6"));
    assert_string_equal(short_name + strlen(short_name) - 3, "end");
    assert_string_equal(avs_text_shown(a,
                                       "a\xe2\x80\xae"
                                       "b\n",
                                       30),
                        "a<U+202E>b<U+000A>");
    for (size_t w = 8; w < 40; w++)
        assert_true(avs_text_width(
                        avs_text_shown(a,
                                       "\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97 wide and narrow \xe6"
                                       "\xbc\xa2\xe5\xad\x97",
                                       w)) <= w);
    avs_arena_free(a);
}

static void text_lines_stay_lines_and_align(void **state)
{
    (void)state;
    avs_buf t = render(AVS_REPORT_TEXT);
    int lines = 0;
    size_t width = 0;
    assert_null(strchr(t.data, '\x1b'));
    assert_null(strstr(t.data, "\xe2\x80\xae"));
    assert_non_null(strstr(t.data, "<U+202E>evil"));
    assert_non_null(strstr(t.data, "line<U+000A>break"));
    for (char *rest = NULL, *line = strtok_r(t.data, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest), lines++) {
        if (lines == 2) width = avs_text_width(line); /* the rule below the heading */
        if (lines >= 3 && lines < 3 + HOSTILE && avs_text_width(line) > width)
            fail_msg("a line of %zu columns below a rule of %zu: %s", avs_text_width(line), width, line);
    }
    assert_true(lines > 3 + HOSTILE);
    avs_buf_free(&t);
}

/* Cells of a row: bars that no backslash escapes. */
static void markdown_cells_keep_their_number(void **state)
{
    (void)state;
    avs_buf t = render(AVS_REPORT_MARKDOWN);
    int want = 0, rows = 0;
    assert_null(strstr(t.data, "<script"));
    assert_null(strstr(t.data, "<img"));
    assert_null(strstr(t.data, " [link]("));
    for (char *rest = NULL, *line = strtok_r(t.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (*line != '|') continue;
        int bars = 0;
        for (const char *p = line; *p; p++) {
            if (*p == '\\' && p[1])
                p++;
            else
                bars += *p == '|';
        }
        if (rows++ == 0) want = bars;
        assert_int_equal(bars, want);
    }
    assert_int_equal(rows, HOSTILE + 2);
    avs_buf_free(&t);
}

/* What CSV readers see: quotes doubled inside quotes, one record a row, the name whole. */
static void csv_records_are_whole(void **state)
{
    (void)state;
    avs_buf t = render(AVS_REPORT_CSV), name = AVS_BUF_INIT;
    int records = 0, found = 0;
    const char *p = t.data;
    while (*p) {
        int fields = 1;
        avs_buf_clear(&name);
        for (bool quoted = false; *p && (quoted || *p != '\n'); p++) {
            if (*p == '"' && quoted && p[1] == '"')
                avs_buf_char(&name, *p++);
            else if (*p == '"')
                quoted = !quoted;
            else if (*p == ',' && !quoted)
                fields++;
            else if (fields == 1)
                avs_buf_char(&name, *p);
        }
        p += *p == '\n';
        for (int i = 0; i < HOSTILE; i++) found += strcmp(avs_buf_cstr(&name), hostile[i]) == 0;
        records++;
    }
    assert_int_equal(records, HOSTILE + 1);
    assert_int_equal(found, HOSTILE);
    avs_buf_free(&name);
    avs_buf_free(&t);
}

static void json_parses_and_keeps_the_names(void **state)
{
    (void)state;
    avs_buf t = render(AVS_REPORT_JSON);
    avs_arena *a = avs_arena_new();
    avs_json *root;
    OK(avs_json_parse(a, "report", t.data, t.len, &root, e));
    const avs_json *rows = avs_json_get(root, "rows");
    for (int i = 0; i < HOSTILE; i++)
        assert_string_equal(avs_json_str(avs_json_get(avs_json_at(rows, (size_t)i), "keys"), "name", ""),
                            hostile[i]);
    avs_arena_free(a);
    avs_buf_free(&t);
}

/* A strict reading of the tabular: the same number of & in every row, braces balanced, no command that is not ours. */
static void latex_is_escaped(void **state)
{
    static const char *const known[] = {"documentclass",
                                        "usepackage",
                                        "pagestyle",
                                        "setlength",
                                        "parindent",
                                        "newsavebox",
                                        "results",
                                        "begin",
                                        "large",
                                        "par",
                                        "medskip",
                                        "sbox",
                                        "toprule",
                                        "midrule",
                                        "bottomrule",
                                        "cmidrule",
                                        "multicolumn",
                                        "textbf",
                                        "underline",
                                        "pm",
                                        "textbackslash",
                                        "textasciitilde",
                                        "textasciicircum",
                                        "ldots",
                                        "end",
                                        "ifdim",
                                        "wd",
                                        "textwidth",
                                        "resizebox",
                                        "usebox",
                                        "else",
                                        "fi",
                                        "footnotesize",
                                        "raggedright",
                                        "dag",
                                        "times",
                                        "cdot",
                                        "mu"};
    (void)state;
    avs_buf t = render(AVS_REPORT_LATEX);
    int depth = 0;
    for (const char *p = t.data; *p; p++) {
        if ((unsigned char)*p >= 0x80 && (unsigned char)*p != 0xc3 && (unsigned char)p[-1] != 0xc3)
            fail_msg("a byte that pdflatex does not know: %.20s", p);
        if (*p == '\\' && strchr("#$%&_{}\\", p[1])) {
            p++;
            continue;
        }
        depth += (*p == '{') - (*p == '}');
        assert_true(depth >= 0);
        if (*p != '\\') continue;
        size_t n = strspn(p + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"), is_known = 0;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            is_known += strlen(known[k]) == n && strncmp(known[k], p + 1, n) == 0;
        if (!is_known) fail_msg("an unknown command: %.30s", p);
    }
    assert_int_equal(depth, 0);
    assert_null(strstr(t.data, "\\input"));
    assert_int_equal(count(t.data, "\\end{tabular}"), 1);
    avs_buf_free(&t);
}

static void latex_compiles_with_plain_pdflatex(void **state)
{
    (void)state;
    char cmd[1200];
    if (!is_installed("pdflatex")) {
        print_message("pdflatex is not installed: the LaTeX report was not compiled\n");
        skip();
    }
    avs_buf t = render(AVS_REPORT_LATEX);
    OK(avs_fs_write_atomic(sample_path("r.tex"), t.data, t.len, e));
    avs_buf_free(&t);
    snprintf(cmd, sizeof cmd,
             "cd '%s' && timeout 100 pdflatex -halt-on-error -interaction=batchmode r.tex >/dev/null || "
             "{ grep -A6 '^!' r.log; false; }",
             sample_folder);
    assert_int_equal(system(cmd), 0);
    assert_true(avs_fs_exists(sample_path("r.pdf")));
}

typedef struct {
    double x0, y0, x1, y1;
} box;

/* Every label carries its width (textLength), so its box is known. */
static void labels_of_the_plot_do_not_overlap(void **state)
{
    (void)state;
    avs_buf t = render(AVS_REPORT_SVG);
    box b[64];
    int n = 0;
    for (const char *p = t.data; (p = strstr(p, "<text class=\"label\" x=\"")) != NULL && n < 64; p++) {
        double x, y, w;
        assert_int_equal(
            sscanf(p, "<text class=\"label\" x=\"%lf\" y=\"%lf\" textLength=\"%lf\"", &x, &y, &w), 3);
        b[n++] = (box){x, y - 10, x + w, y + 2};
        assert_true(x >= 0 && x + w <= 760 && y <= 420);
    }
    assert_true(n >= 5);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++)
            if (b[i].x0 < b[k].x1 && b[k].x0 < b[i].x1 && b[i].y0 < b[k].y1 && b[k].y0 < b[i].y1)
                fail_msg("labels %d and %d overlap", k, i);
    assert_xml(t.data);
    assert_int_equal(count(t.data, "<g class=\"pt"), HOSTILE);
    assert_int_equal(count(t.data, "<title>"), HOSTILE + 1);
    assert_null(strstr(t.data, "<script"));
    avs_buf_free(&t);
}

/* ---- the page in a browser */

enum { MANY = 100000 };

static void fill_many(void)
{
    avs_store *s = sample_open("many.db");
    int64_t sweep = sample_sweep(s, "many", NULL), stage = sample_stage(s, sweep, "train", "train");
    avs_store_trial *t = calloc(MANY, sizeof *t);
    char(*text)[48] = calloc(MANY, sizeof *text);
    for (int i = 0; i < MANY; i++) {
        snprintf(text[i], sizeof text[i], "{\"lr\":%g,\"n\":%d}", 1e-5 * (i % 97 + 1), i);
        t[i] = sample_trial(stage, i, "train", "m", i % 2 ? "s4" : "ms3", text[i], 0);
    }
    OK(avs_store_register(s, sweep, t, MANY, e));
    for (int i = 0; i < 300; i++) sample_done(s, t[i].trial_id, 0.2 + 0.001 * i, 0.5);
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    free(text);
    free(t);
}

/* Opens a page and gives its document after the script ran; fails on anything that reached the console. */
static avs_buf browse(const char *page, const char *hash)
{
    char cmd[2000];
    avs_buf dom = AVS_BUF_INIT, console = AVS_BUF_INIT;
    snprintf(cmd, sizeof cmd,
             "cd '%s' && timeout 120 chromium --headless --no-sandbox --disable-gpu --user-data-dir=chrome "
             "--enable-logging=stderr --virtual-time-budget=5000 --dump-dom 'file://%s/%s#%s' >dom.txt "
             "2>console.txt",
             sample_folder, sample_folder, page, hash);
    assert_int_equal(system(cmd), 0);
    OK(avs_fs_read(sample_path("dom.txt"), 0, &dom, e));
    OK(avs_fs_read(sample_path("console.txt"), 0, &console, e));
    if (strstr(avs_buf_cstr(&console), "CONSOLE"))
        fail_msg("%s wrote to the console: %s", page, console.data);
    avs_buf_free(&console);
    return dom;
}

static void the_page_works_in_chromium(void **state)
{
    (void)state;
    if (!is_installed("chromium")) {
        print_message("chromium is not installed: the page was not opened\n");
        skip();
    }
    avs_buf page = render(AVS_REPORT_HTML);
    OK(avs_fs_write_atomic(sample_path("hostile.html"), page.data, page.len, e));
    avs_buf_free(&page);
    avs_buf dom = browse("hostile.html", "q=miou%3E53&s=1d");
    assert_non_null(strstr(dom.data, "7 rows, 9 without the filter"));
    assert_non_null(strstr(dom.data, "aria-sort=\"descending\""));
    const char *body = strstr(dom.data, "<tbody>");
    const char *end = body ? strstr(body, "</tbody>") : NULL;
    assert_non_null(end);
    assert_true(strstr(body, "DROP TABLE") == NULL ||
                strstr(body, "DROP TABLE") > end); /* 50.4 % is filtered out */
    assert_true(strstr(body, "66.4") < end);
    avs_buf_free(&dom);
}

static void a_page_of_many_rows_stays_usable(void **state)
{
    static const char *by[] = {"task", "lr", "n"};
    (void)state;
    if (!is_installed("chromium")) {
        print_message("chromium is not installed: the page was not opened\n");
        skip();
    }
    fill_many();
    avs_buf page = render_of("many.db", (avs_report_spec){.format = AVS_REPORT_HTML, .by = by, .n_by = 3});
    OK(avs_fs_write_atomic(sample_path("many.html"), page.data, page.len, e));
    avs_buf_free(&page);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    avs_buf dom = browse("many.html", "q=task%3Ds4&s=3d&p=1");
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_non_null(strstr(dom.data, "51 to 100 of 50000 rows, 100000 without the filter"));
    assert_true(dom.len > 0 && count(dom.data, "<tr>") < 120); /* one page of rows, not all */
    assert_true(to.tv_sec - from.tv_sec < 60);
    avs_buf_free(&dom);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widths_are_those_of_terminals),
        cmocka_unit_test(long_names_lose_their_middle),
        cmocka_unit_test(text_lines_stay_lines_and_align),
        cmocka_unit_test(markdown_cells_keep_their_number),
        cmocka_unit_test(csv_records_are_whole),
        cmocka_unit_test(json_parses_and_keeps_the_names),
        cmocka_unit_test(latex_is_escaped),
        cmocka_unit_test(latex_compiles_with_plain_pdflatex),
        cmocka_unit_test(labels_of_the_plot_do_not_overlap),
        cmocka_unit_test(the_page_works_in_chromium),
        cmocka_unit_test(a_page_of_many_rows_stays_usable),
    };
    return cmocka_run_group_tests(tests, fill, sample_teardown);
}
