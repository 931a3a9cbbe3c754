/* Reports over a store with known numbers, compared byte for byte with tests/results/expected (dates and the folder of the
 * database replaced). AVS_WRITE_EXPECTED=1 writes those files anew. */
#include "tests/results/board.h"

#include "base/json.h"
#include "results/published.h"
#include "results/report.h"

static int fill_board(void **state)
{
    if (sample_setup(state) != 0) return -1;
    avs_store *s = sample_open("board.db");
    board_fill(s);
    OK(avs_store_check(s, e));
    avs_store_close(s);
    return 0;
}

static avs_store *reader(void)
{
    avs_store *s;
    OK(avs_store_open(sample_path("board.db"), AVS_STORE_READ, NULL, &s, e));
    return s;
}

/* The report with what differs between runs replaced. Free with avs_buf_free. */
static avs_buf render(const avs_report_spec *spec)
{
    avs_store *s = reader();
    avs_buf raw = AVS_BUF_INIT, out = AVS_BUF_INIT;
    OK(avs_report(s, spec, &raw, e));
    avs_store_close(s);
    size_t folder = strlen(sample_folder);
    for (const char *p = raw.data; *p;) {
        const char *utc = strncmp(p, "from 20", 7) == 0 ? strstr(p, "UTC") : NULL;
        if (utc && utc - p == 42) {
            avs_buf_str(&out, "from DATE to DATE ");
            p = utc;
        } else if (strncmp(p, sample_folder, folder) == 0) {
            avs_buf_str(&out, "FOLDER");
            p += folder;
        } else {
            avs_buf_char(&out, *p++);
        }
    }
    avs_buf_free(&raw);
    return out;
}

static void expect(const avs_report_spec *spec, const char *name)
{
    char path[512];
    avs_buf got = render(spec), want = AVS_BUF_INIT;
    snprintf(path, sizeof path, "%s/tests/results/expected/%s", AVS_SOURCE_DIR, name);
    if (getenv("AVS_WRITE_EXPECTED")) OK(avs_fs_write_atomic(path, got.data, got.len, e));
    OK(avs_fs_read(path, 0, &want, e));
    if (got.len != want.len || memcmp(got.data, want.data, got.len) != 0)
        fail_msg("%s differs; the report is now:\n%s", name, got.data);
    avs_buf_free(&got);
    avs_buf_free(&want);
}

static void the_text_report_is_as_expected(void **state)
{
    (void)state;
    expect(&(avs_report_spec){.format = AVS_REPORT_TEXT, .mixed = false}, "auto.txt");
}

static void the_markdown_report_is_as_expected(void **state)
{
    (void)state;
    expect(&(avs_report_spec){.format = AVS_REPORT_MARKDOWN, .title = "a|b *c*"}, "auto.md");
}

static void the_latex_report_is_as_expected(void **state)
{
    (void)state;
    const char *by[] = {"num_queries"}, *metrics[] = {"miou@task=s4", "latency_p50"};
    expect(&(avs_report_spec){.format = AVS_REPORT_LATEX,
                              .by = by,
                              .n_by = 1,
                              .metrics = metrics,
                              .n_metrics = 2,
                              .title = "50 %_{x}"},
           "auto.tex");
}

static void the_plot_is_as_expected(void **state)
{
    (void)state;
    expect(&(avs_report_spec){.format = AVS_REPORT_SVG, .pareto_x = "latency_p50", .pareto_y = "miou"},
           "auto.svg");
}

static void the_csv_report_is_as_expected(void **state)
{
    (void)state;
    expect(&(avs_report_spec){.format = AVS_REPORT_CSV}, "auto.csv");
}

static void the_json_report_is_as_expected_and_parses(void **state)
{
    (void)state;
    avs_report_spec spec = {.format = AVS_REPORT_JSON};
    expect(&spec, "auto.json");
    avs_buf got = render(&spec);
    avs_arena *a = avs_arena_new();
    avs_json *root;
    OK(avs_json_parse(a, "report", got.data, got.len, &root, e));
    assert_int_equal(avs_json_get(root, "rows")->len, 3);
    avs_arena_free(a);
    avs_buf_free(&got);
}

static void pins_sorting_baseline_and_top_are_as_expected(void **state)
{
    (void)state;
    const char *by[] = {"task"},
               *metrics[] = {"miou@num_queries=8", "miou@num_queries=16", "fscore:test", "latency_mean"};
    expect(
        &(avs_report_spec){.by = by, .n_by = 1, .metrics = metrics, .n_metrics = 4, .hide_published = true},
        "pins.txt");
    const char *by2[] = {"num_queries"}, *metrics2[] = {"miou", "latency_p90"};
    expect(&(avs_report_spec){.by = by2,
                              .n_by = 1,
                              .metrics = metrics2,
                              .n_metrics = 2,
                              .sort = "miou",
                              .top = 2,
                              .baseline = "num_queries=8",
                              .ci = 99},
           "sorted.txt");
    expect(&(avs_report_spec){.where = "num_queries=16,seed!=4,kind=train", .color = true}, "where.txt");
}

static void check_error(const avs_report_spec *spec, int code, const char *words)
{
    avs_store *s = reader();
    avs_buf out = AVS_BUF_INIT;
    avs_err bad = AVS_ERR_INIT;
    assert_int_equal(avs_report(s, spec, &out, &bad), code);
    if (!strstr(bad.msg, words)) fail_msg("'%s' does not say '%s'", bad.msg, words);
    avs_buf_free(&out);
    avs_store_close(s);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    const char *by[] = {"queries"}, *metrics[] = {"mIoU"}, *none[] = {"@task=s4"};
    check_error(&(avs_report_spec){.by = by, .n_by = 1}, AVS_EMISSING, "'queries'; there are: kind, model");
    check_error(&(avs_report_spec){.metrics = metrics, .n_metrics = 1}, AVS_EMISSING,
                "'mIoU'; there are: fscore, latency_p50, miou");
    check_error(&(avs_report_spec){.metrics = none, .n_metrics = 1}, AVS_ERANGE, "names no metric");
    check_error(&(avs_report_spec){.where = "num_queries"}, AVS_ERANGE, "KEY=VALUE");
    check_error(&(avs_report_spec){.where = "nothing=1"}, AVS_EMISSING, "'nothing'");
    check_error(&(avs_report_spec){.where = "num_queries=7"}, AVS_EMISSING,
                "no trial matches where num_queries=7");
    check_error(&(avs_report_spec){.sweep = "nobody"}, AVS_EMISSING, "no sweep called nobody");
    check_error(&(avs_report_spec){.sort = "loss"}, AVS_EMISSING, "not one of its columns");
    check_error(&(avs_report_spec){.baseline = "seed=0"}, AVS_ERANGE, "more than one row");
    check_error(&(avs_report_spec){.ci = 100}, AVS_ERANGE, "confidence");
    check_error(&(avs_report_spec){.format = AVS_REPORT_HTML, .pareto_x = "macs"}, AVS_EMISSING, "'macs'");
    avs_report_format f;
    avs_err bad = AVS_ERR_INIT;
    assert_int_equal(avs_report_format_parse("pdf", &f, &bad), AVS_ERANGE);
    assert_int_equal(avs_report_format_parse("md", &f, &bad), AVS_OK);
    assert_int_equal(avs_report_format_parse("tex", &f, &bad), AVS_OK);
    assert_int_equal(f, AVS_REPORT_LATEX);
}

/* Every element is closed, every attribute quoted, and nothing points outside the file. */
static void check_html(const char *p)
{
    char open[64][32];
    int depth = 0;
    for (; (p = strchr(p, '<')) != NULL; p++) {
        if (p[1] == '!') continue;
        bool closing = p[1] == '/';
        const char *name = p + 1 + closing, *end = name;
        size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");
        if (n == 0 || n >= 32) fail_msg("a bare '<' in: %.40s", p);
        for (bool quoted = false; *end && (quoted || *end != '>'); end++) {
            if (*end == '"') quoted = !quoted;
            if (*end == '<') fail_msg("'<' inside a tag: %.60s", p);
        }
        if (*end != '>') fail_msg("a tag does not end: %.60s", p);
        if (closing) {
            if (depth == 0 || strncmp(open[depth - 1], name, n) != 0 || open[depth - 1][n])
                fail_msg("</%.*s> closes <%s>", (int)n, name, depth ? open[depth - 1] : "");
            depth--;
        } else if (end[-1] != '/' && !(n == 4 && memcmp(name, "meta", 4) == 0) &&
                   !(n == 3 && memcmp(name, "img", 3) == 0) && !(n == 5 && memcmp(name, "input", 5) == 0)) {
            if (depth == 64) fail_msg("too deep at %.40s", p);
            snprintf(open[depth++], 32, "%.*s", (int)n, name);
            if (n == 6 && memcmp(name, "script", 6) == 0) end = strstr(end, "</script>") - 1;
            if (n == 5 && memcmp(name, "style", 5) == 0) end = strstr(end, "</style>") - 1;
        }
        p = end;
    }
    assert_int_equal(depth, 0);
}

static void the_page_is_well_formed_and_needs_no_network(void **state)
{
    (void)state;
    avs_buf page = render(&(avs_report_spec){
        .format = AVS_REPORT_HTML, .title = "<script>alert(1)</script> & \"more\"", .pictures = true});
    check_html(page.data);
    assert_null(strstr(page.data, "http://"));
    assert_null(strstr(page.data, "https://"));
    assert_null(strstr(page.data, "<script>alert"));
    assert_null(strstr(page.data, "@import"));
    for (const char *p = page.data; (p = strstr(p, "url(")) != NULL; p++)
        assert_int_equal(strncmp(p, "url(data:image/png;base64,", 26), 0);
    for (const char *p = page.data; (p = strstr(p, "src=\"")) != NULL; p++)
        assert_int_equal(strncmp(p + 5, "data:image/png;base64,", 22), 0);
    assert_non_null(strstr(page.data, "data:image/png;base64,iVBORw0KGgo"));
    assert_non_null(strstr(page.data, "gone &lt;&amp;&gt;.png"));
    assert_non_null(strstr(page.data, "class=\"front\""));
    assert_non_null(strstr(page.data, "aria-label=\"loss\""));
    assert_non_null(strstr(page.data, "79.9 ± 0.5"));
    avs_buf_free(&page);
}

static void a_report_is_written_whole(void **state)
{
    (void)state;
    avs_store *s = reader();
    avs_err bad = AVS_ERR_INIT;
    avs_buf b = AVS_BUF_INIT;
    avs_report_spec spec = {.format = AVS_REPORT_CSV};
    OK(avs_report_to(s, &spec, sample_path("r.csv"), e));
    OK(avs_fs_read(sample_path("r.csv"), 0, &b, e));
    assert_int_equal(strncmp(b.data, "num_queries,miou,", 17), 0);
    avs_buf_free(&b);
    assert_int_equal(avs_report_to(s, &spec, sample_path("no/r.csv"), &bad), AVS_EIO);
    avs_store_close(s);
}

static void latencies_of_two_machines_do_not_share_a_column(void **state)
{
    (void)state;
    avs_store *s = sample_open("mixed.db");
    avs_buf out = AVS_BUF_INIT;
    avs_err bad = AVS_ERR_INIT;
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "speed", "latency");
    for (int i = 0; i < 2; i++)
        sample_latency(
            s,
            sample_register(s, sweep,
                            sample_trial(stage, i, "latency", "m", "s4", i ? "{\"q\":1}" : "{\"q\":2}", 0)),
            10, 100, i ? "{\"cpu\":\"A\"}" : "{\"cpu\":\"B\"}");
    OK(avs_store_flush(s, e));
    avs_report_spec spec = {.format = AVS_REPORT_TEXT};
    assert_int_equal(avs_report(s, &spec, &out, &bad), AVS_ERANGE);
    assert_non_null(strstr(bad.msg, "different machines"));
    assert_non_null(strstr(bad.msg, "--mixed"));
    spec.mixed = true;
    OK(avs_report(s, &spec, &out, e));
    assert_non_null(strstr(out.data, "(mixed!)"));
    assert_non_null(strstr(out.data, "mixes machines or code"));
    avs_buf_free(&out);
    avs_store_close(s);
}

/* Three repeats of two configurations; of the second one repeat was disturbed, and its precision differs if asked. */
static avs_store *repeats(const char *name, const char *second)
{
    avs_store *s = sample_open(name);
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "speed", "latency");
    for (int i = 0; i < 6; i++) {
        uint32_t x[100];
        for (int k = 0; k < 100; k++) x[k] = (uint32_t)(10000 + 100 * i + (k * 37) % 101);
        int64_t t = sample_register(
            s, sweep, sample_trial(stage, i, "latency", "m", "s4", i < 3 ? "{\"q\":1}" : second, i % 3));
        avs_store_latency l = {"latency", x, 100, 1000, i == 4 ? 4 : 0, (double)NAN, (double)NAN, NULL};
        avs_store_end end = {
            .reason = AVS_END_OK, .latencies = &l, .n_latencies = 1, .env_json = "{\"cpu\":\"A\"}"};
        OK(avs_store_attempt_end(s, sample_begin(s, t), &end, NULL, e));
    }
    OK(avs_store_flush(s, e));
    return s;
}

static avs_buf report_of(avs_store *s, const avs_report_spec *spec)
{
    avs_buf out = AVS_BUF_INIT;
    OK(avs_report(s, spec, &out, e));
    return out;
}

static void a_suspect_latency_is_left_out_and_counted(void **state)
{
    (void)state;
    avs_store *s = repeats("suspect.db", "{\"q\":2}");
    avs_report_spec spec = {.format = AVS_REPORT_TEXT};
    avs_buf out = report_of(s, &spec);
    assert_non_null(strstr(out.data, "(2/3, 1 suspect)"));
    assert_non_null(
        strstr(out.data, "latency_p50: 1 suspect measurement drifted or was disturbed and is left out"));
    avs_buf_free(&out);
    spec.suspect = true;
    out = report_of(s, &spec);
    assert_null(strstr(out.data, "(2/3"));
    assert_non_null(strstr(out.data, "†"));
    assert_non_null(strstr(out.data, "is marked (†)"));
    avs_buf_free(&out);
    avs_store_close(s);
}

static void precisions_share_a_latency_column_only_when_the_table_shows_them(void **state)
{
    (void)state;
    avs_store *s = repeats("precision.db", "{\"q\":1,\"precision\":\"bf16\"}");
    avs_buf out = AVS_BUF_INIT;
    avs_err bad = AVS_ERR_INIT;
    const char *model[] = {"model"}, *precision[] = {"precision"};
    avs_report_spec spec = {.format = AVS_REPORT_TEXT, .by = model, .n_by = 1};
    assert_int_equal(avs_report(s, &spec, &out, &bad), AVS_ERANGE);
    assert_non_null(strstr(bad.msg, "bf16"));
    spec.by = precision;
    OK(avs_report(s, &spec, &out, e));
    avs_buf_free(&out);
    avs_store_close(s);
}

static void n_is_shown_where_cells_differ_in_it(void **state)
{
    (void)state;
    avs_store *s = sample_open("n.db");
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train");
    for (int i = 0; i < 14; i++)
        sample_done(s,
                    sample_register(s, sweep,
                                    sample_trial(stage, i, "train", "m", "s4",
                                                 i < 11 ? "{\"q\":1}" : "{\"q\":2}", i < 11 ? i : i - 11)),
                    0.5 + 0.01 * (i % 4), 0.75 + 0.001 * i);
    OK(avs_store_flush(s, e));
    const char *metrics[] = {"miou"};
    avs_report_spec spec = {.format = AVS_REPORT_TEXT, .metrics = metrics, .n_metrics = 1};
    avs_buf out = report_of(s, &spec);
    assert_non_null(strstr(out.data, "(n=11)"));
    assert_non_null(strstr(out.data, "(n=3)"));
    assert_non_null(strstr(out.data, "paired t over common seeds (n = 3)"));
    avs_buf_free(&out);
    avs_store_close(s);
}

static void ten_common_seeds_can_be_tested_by_ranks(void **state)
{
    (void)state;
    avs_store *s = sample_open("ranks.db");
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train");
    for (int i = 0; i < 20; i++)
        sample_done(s,
                    sample_register(s, sweep,
                                    sample_trial(stage, i, "train", "m", "s4",
                                                 i < 10 ? "{\"q\":1}" : "{\"q\":2}", i % 10)),
                    0.5 + 0.01 * (i % 10) + 0.001 * i * (i < 10), 0.75);
    OK(avs_store_flush(s, e));
    const char *metrics[] = {"miou"};
    avs_report_spec spec = {
        .format = AVS_REPORT_JSON, .metrics = metrics, .n_metrics = 1, .nonparametric = true};
    avs_buf out = report_of(s, &spec);
    /* nine differences of one sign and a zero: 2 of 2^9 sign patterns */
    assert_non_null(strstr(out.data, "\"best_p\":0.00390625"));
    assert_non_null(strstr(out.data, "paired Wilcoxon over common seeds (n = 10)"));
    avs_buf_free(&out);
    avs_store_close(s);
}

static void a_store_without_results_still_reports_its_trials(void **state)
{
    (void)state;
    avs_store *s = sample_open("young.db");
    avs_buf out = AVS_BUF_INIT;
    avs_err bad = AVS_ERR_INIT;
    avs_report_spec spec = {.format = AVS_REPORT_TEXT};
    assert_int_equal(avs_report(s, &spec, &out, &bad), AVS_EMISSING);
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train");
    sample_register(s, sweep, sample_trial(stage, 0, "train", "m", "s4", "{\"q\":1}", 0));
    OK(avs_report(s, &spec, &out, e));
    assert_non_null(strstr(out.data, "- (0/1)"));
    avs_buf_free(&out);
    avs_store_close(s);
}

static void the_report_block_of_the_sweep_file_is_the_default(void **state)
{
    (void)state;
    avs_store *s = sample_open("block.db");
    avs_buf out = AVS_BUF_INIT;
    int64_t sweep = sample_sweep(s, "x", "{\"by\":[\"q\"],\"metrics\":[\"fscore\",\"latency_p50\"]}");
    int64_t stage = sample_stage(s, sweep, "train", "train");
    sample_done(s, sample_register(s, sweep, sample_trial(stage, 0, "train", "m", "s4", "{\"q\":5}", 0)),
                0.25, 0.75);
    OK(avs_report(s, &(avs_report_spec){.format = AVS_REPORT_CSV}, &out, e));
    assert_int_equal(strncmp(out.data, "q,fscore,", 9), 0);
    assert_non_null(strstr(out.data, ",latency_p50,"));
    assert_non_null(strstr(out.data, "\n5,0.75,"));
    avs_buf_free(&out);
    avs_store_close(s);
}

/* A failed trial has no number; what its paper says stands there all the same, and only where it belongs. */
static void the_papers_number_stands_beside_a_failed_trial(void **state)
{
    (void)state;
    avs_store *s = sample_open("failed.db");
    avs_buf out = AVS_BUF_INIT;
    int64_t sweep =
        sample_sweep(s, "x",
                     "{\"by\":[\"q\"],\"metrics\":[\"miou\"],\"published\":{\"source\":\"p\",\"rows\":[{"
                     "\"where\":{\"q\":6},\"miou\":47.5}]}}");
    int64_t stage = sample_stage(s, sweep, "train", "train");
    sample_done(s, sample_register(s, sweep, sample_trial(stage, 0, "train", "m", "s4", "{\"q\":5}", 0)),
                0.25, 0.75);
    sample_failed(s, sample_register(s, sweep, sample_trial(stage, 1, "train", "m", "s4", "{\"q\":6}", 0)),
                  "gone");
    OK(avs_report(s, &(avs_report_spec){.format = AVS_REPORT_CSV}, &out, e));
    assert_string_equal(strchr(out.data, '\n') + 1, "5,0.25,,,1,1,,,\n6,,,,0,1,0.475,,\n");
    avs_buf_free(&out);
    avs_store_close(s);
}

/* Columns that are pinned to tasks keep apart what differs between tasks; a column over both averages. */
static void rows_say_what_they_average_over_and_only_that(void **state)
{
    (void)state;
    static const char *const params[] = {"{\"q\":1,\"freeze\":2,\"task\":\"s4\"}",
                                         "{\"q\":1,\"freeze\":0,\"task\":\"ms3\"}",
                                         "{\"q\":1,\"freeze\":0,\"lr\":5,\"task\":\"ms3\"}"};
    static const char *const by[] = {"q"}, *const pinned[] = {"miou@task=s4", "miou@task=ms3"},
                             *const open[] = {"miou"};
    avs_store *s = sample_open("hidden.db");
    avs_buf out = AVS_BUF_INIT;
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train");
    for (int i = 0; i < 2; i++)
        sample_done(
            s,
            sample_register(s, sweep, sample_trial(stage, i, "train", "m", i ? "ms3" : "s4", params[i], 0)),
            0.5, 0.5);
    avs_report_spec spec = {
        .format = AVS_REPORT_TEXT, .by = by, .n_by = 1, .metrics = pinned, .n_metrics = 2};
    OK(avs_report(s, &spec, &out, e));
    assert_null(strstr(out.data, "average"));
    avs_buf_clear(&out);
    spec.metrics = open;
    spec.n_metrics = 1;
    OK(avs_report(s, &spec, &out, e));
    assert_non_null(strstr(out.data, "1 row averages over trials that differ in: freeze, task."));
    avs_buf_clear(&out);
    sample_done(s, sample_register(s, sweep, sample_trial(stage, 2, "train", "m", "ms3", params[2], 0)), 0.6,
                0.5);
    spec.metrics = pinned;
    spec.n_metrics = 2;
    OK(avs_report(s, &spec, &out, e));
    assert_non_null(strstr(out.data, "1 row averages over trials that differ in: lr."));
    avs_buf_free(&out);
    avs_store_close(s);
}

/* Everything else that the block says, and that an option is stronger. */
static void the_rest_of_the_block_counts_too(void **state)
{
    (void)state;
    avs_store *s = sample_open("whole-block.db");
    avs_buf out = AVS_BUF_INIT;
    int64_t sweep =
        sample_sweep(s, "x",
                     "{\"by\":[\"q\",\"r\"],\"metrics\":[\"miou\",\"fscore\",\"params\"],\"where\":{\"r\":"
                     "1.5},\"baseline\":{\"q\":\"two\"},\"sort\":\"miou\",\"top\":2,\"ci\":90,\"title\":"
                     "\"The <title>\",\"pareto\":{\"x\":\"params\",\"y\":\"fscore\"}}");
    int64_t stage = sample_stage(s, sweep, "train", "train");
    static const char *const params[] = {"{\"q\":\"one\",\"r\":1.5}", "{\"q\":\"two\",\"r\":1.5}",
                                         "{\"q\":\"three\",\"r\":1.5}", "{\"q\":\"four\",\"r\":2}"};
    for (int i = 0; i < 8; i++)
        sample_done(
            s, sample_register(s, sweep, sample_trial(stage, i, "train", "m", "s4", params[i / 2], i % 2)),
            0.2 + 0.1 * (i / 2) + 0.01 * (i % 2), 0.5);
    OK(avs_report(s, &(avs_report_spec){.format = AVS_REPORT_TEXT}, &out, e));
    assert_int_equal(strncmp(out.data, "The <title>\n", 12), 0);
    assert_non_null(strstr(out.data, "vs base"));
    assert_non_null(strstr(out.data, "two"));
    assert_true(strstr(out.data, "\nthree") < strstr(out.data, "\ntwo")); /* best first */
    assert_null(strstr(out.data, "\none"));                               /* the third of two */
    assert_null(strstr(out.data, "four"));                                /* r is 2 */
    assert_non_null(strstr(out.data, "\302\261 3.2")); /* 6.314 * 0.5 at 90 %, not 12.7 * 0.5 */
    avs_buf_clear(&out);
    OK(avs_report(s, &(avs_report_spec){.format = AVS_REPORT_SVG}, &out, e));
    assert_non_null(strstr(out.data, "fscore [%] against params"));
    avs_buf_clear(&out);
    OK(avs_report(s, &(avs_report_spec){.format = AVS_REPORT_HTML}, &out, e));
    assert_non_null(strstr(out.data, "The &lt;title&gt;"));
    assert_non_null(strstr(out.data, "fscore [%] against params"));
    avs_buf_clear(&out);
    OK(avs_report(s,
                  &(avs_report_spec){.format = AVS_REPORT_TEXT,
                                     .title = "own",
                                     .where = "r=2",
                                     .sort = "fscore",
                                     .baseline = "q=four",
                                     .top = 9,
                                     .ci = 95,
                                     .pareto_x = "miou"},
                  &out, e));
    assert_int_equal(strncmp(out.data, "own\n", 4), 0);
    assert_non_null(strstr(out.data, "\302\261 6.4"));
    assert_non_null(strstr(out.data, "four"));
    avs_buf_clear(&out);
    OK(avs_report(s, &(avs_report_spec){.format = AVS_REPORT_TEXT, .where = "q=one"}, &out, e));
    assert_non_null(strstr(out.data, "The baseline 'q=two' of the sweep file matches no row."));
    avs_buf_clear(&out);
    static const char *const by[] = {"q"}; /* keys of its own: nothing of the block */
    OK(avs_report(s, &(avs_report_spec){.format = AVS_REPORT_TEXT, .by = by, .n_by = 1}, &out, e));
    assert_non_null(strstr(out.data, "four"));
    assert_null(strstr(out.data, "vs base"));
    avs_buf_free(&out);
    avs_store_close(s);
}

/* One failing allocation at a time, ever further on: an error, or the very same bytes, never a report that lacks something. */
static void a_failed_allocation_never_gives_a_wrong_report(void **state)
{
    (void)state;
    avs_store *s = reader();
    for (int format = AVS_REPORT_TEXT; format <= AVS_REPORT_HTML; format++) {
        avs_report_spec spec = {.format = (avs_report_format)format, .pictures = true};
        avs_buf whole = AVS_BUF_INIT;
        OK(avs_report(s, &spec, &whole, e));
        long failed = 0, unhurt = 0;
        for (long n = 1; unhurt < 60; n += 1 + n / 64) { /* so many in a row: it needs fewer allocations */
            avs_buf out = AVS_BUF_INIT;
            avs_err bad = AVS_ERR_INIT;
            avs_alloc_fail_after(n);
            int rc = avs_report(s, &spec, &out, &bad);
            avs_alloc_fail_after(0);
            bool same = rc == AVS_OK && out.len == whole.len && memcmp(out.data, whole.data, out.len) == 0;
            if (rc == AVS_OK && !same)
                fail_msg("format %d, allocation %ld: a report of %zu bytes", format, n, out.len);
            if (rc != AVS_OK && rc != AVS_ENOMEM)
                fail_msg("format %d, allocation %ld: %s", format, n, bad.msg);
            avs_buf_free(&out);
            unhurt = same ? unhurt + 1 : 0;
            failed += !same;
        }
        assert_true(failed > 50);
        avs_buf_free(&whole);
    }
    avs_store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_report_is_as_expected),
        cmocka_unit_test(the_markdown_report_is_as_expected),
        cmocka_unit_test(the_latex_report_is_as_expected),
        cmocka_unit_test(the_plot_is_as_expected),
        cmocka_unit_test(the_csv_report_is_as_expected),
        cmocka_unit_test(the_json_report_is_as_expected_and_parses),
        cmocka_unit_test(pins_sorting_baseline_and_top_are_as_expected),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(the_page_is_well_formed_and_needs_no_network),
        cmocka_unit_test(a_report_is_written_whole),
        cmocka_unit_test(latencies_of_two_machines_do_not_share_a_column),
        cmocka_unit_test(a_suspect_latency_is_left_out_and_counted),
        cmocka_unit_test(precisions_share_a_latency_column_only_when_the_table_shows_them),
        cmocka_unit_test(n_is_shown_where_cells_differ_in_it),
        cmocka_unit_test(ten_common_seeds_can_be_tested_by_ranks),
        cmocka_unit_test(the_report_block_of_the_sweep_file_is_the_default),
        cmocka_unit_test(the_rest_of_the_block_counts_too),
        cmocka_unit_test(the_papers_number_stands_beside_a_failed_trial),
        cmocka_unit_test(rows_say_what_they_average_over_and_only_that),
        cmocka_unit_test(a_store_without_results_still_reports_its_trials),
        cmocka_unit_test(a_failed_allocation_never_gives_a_wrong_report),
    };
    return cmocka_run_group_tests(tests, fill_board, sample_teardown);
}
