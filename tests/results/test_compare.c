/* Comparisons: verdicts by hand, the rate of false alarms when nothing differs, and pairs found in lists, sweeps, hashes and
 * databases. */
#include "tests/results/board.h"

#include "base/json.h"
#include "base/rng.h"
#include "results/compare.h"
#include "tests/metrics/near.h"
#include "tests/results/xml.h"

static void a_verdict_needs_the_whole_interval(void **state)
{
    (void)state;
    static const struct {
        double lo, hi, threshold;
        int better;
        avs_verdict verdict;
    } cases[] = {{1, 3, 0.5, 1, AVS_BETTER},         {1, 3, 0.5, -1, AVS_WORSE},
                 {-3, -1, 0.5, 1, AVS_WORSE},        {-3, -1, 0.5, -1, AVS_BETTER},
                 {0.4, 3, 0.5, 1, AVS_UNDECIDED},    {-0.4, 0.4, 0.5, 1, AVS_SAME},
                 {-0.6, 0.4, 0.5, 1, AVS_UNDECIDED}, {0, 0, 0, 1, AVS_SAME},
                 {0.5, 0.5, 0.5, 1, AVS_SAME},       {(double)NAN, 1, 0, 1, AVS_UNDECIDED}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        avs_compare_result r = {.lo = cases[i].lo, .hi = cases[i].hi};
        assert_int_equal(avs_compare_verdict(&r, cases[i].better, cases[i].threshold), cases[i].verdict);
    }
}

static avs_compare_result compare(const double *a, const int64_t *sa, int na, const double *b,
                                  const int64_t *sb, int nb, double level, bool exact)
{
    double scratch[16];
    return avs_compare_sets(&(avs_compare_set){a, sa, na}, &(avs_compare_set){b, sb, nb}, scratch, level,
                            false, exact);
}

static void common_seeds_are_paired_and_others_are_not(void **state)
{
    (void)state;
    const double a[] = {1, 2, 3, 4}, b[] = {2.5, 3, 4.5, 9};
    const int64_t sa[] = {0, 1, 2, 3}, sb[] = {0, 1, 2, 7}, other[] = {10, 11, 12, 13};
    avs_compare_result r = compare(a, sa, 4, b, sb, 4, 0.95, false);
    assert_string_equal(r.test, "paired t");
    assert_int_equal(r.n, 3);
    assert_near(r.delta, (1.5 + 1 + 1.5) / 3, 1e-12);
    r = compare(a, sa, 4, b, other, 4, 0.95, false);
    assert_string_equal(r.test, "Welch");
    assert_near(r.delta, 2.25, 1e-12);
    /* se = sqrt(5/3/4 + 8.75/4), df = 4.1021 by Satterthwaite, t(0.975) = 2.7488 */
    assert_near(r.hi - r.delta, 4.4372, 2e-3);
    r = compare(a, sa, 1, b, other, 4, 0.95, false);
    assert_true(isnan(r.lo));
    assert_int_equal(avs_compare_verdict(&r, 1, 0), AVS_UNDECIDED);
    r = compare(a, sa, 1, b, sb, 1, 0.95, true);
    assert_string_equal(r.test, "exact");
    assert_int_equal(avs_compare_verdict(&r, -1, 0), AVS_WORSE);
}

/* What one comparison of m pairs without any difference says. Seeds share a part of their noise, as real ones do. */
static void compare_equals(avs_rng *rng, int m, int n, bool paired, bool skewed, bool *worse, bool *any)
{
    *worse = *any = false;
    for (int i = 0; i < m; i++) {
        double a[8], b[8];
        int64_t sa[8], sb[8];
        for (int k = 0; k < n; k++) {
            const double shared = avs_rng_normal(rng);
            sa[k] = k;
            sb[k] = paired ? k : 100 + k;
            a[k] = shared + 0.7 * avs_rng_normal(rng);
            b[k] = (paired ? shared : avs_rng_normal(rng)) + 0.7 * avs_rng_normal(rng);
            if (skewed) { /* latencies: a right tail */
                a[k] = 10 * exp(0.05 * a[k]);
                b[k] = 10 * exp(0.05 * b[k]);
            }
        }
        const avs_compare_result r = compare(a, sa, n, b, sb, n, 1 - 0.05 / m, false);
        const avs_verdict v = avs_compare_verdict(&r, -1, 0);
        *worse = *worse || v == AVS_WORSE;
        *any = *any || v == AVS_WORSE || v == AVS_BETTER;
    }
}

static void equal_systems_are_called_different_in_at_most_one_of_twenty_comparisons(void **state)
{
    (void)state;
    enum { ROUNDS = 3000 };
    static const int pairs[] = {1, 4, 12}, seeds[] = {2, 3, 5};
    avs_rng rng = avs_rng_seed(1234);
    /* three standard deviations of the count above 5 %, since the test hits 5 % exactly for one pair */
    const double most = ROUNDS * 0.05 + 3 * sqrt(ROUNDS * 0.05 * 0.95);
    int alarms = 0, rounds = 0;
    for (int kind = 0; kind < 4; kind++) {
        for (size_t m = 0; m < sizeof pairs / sizeof *pairs; m++) {
            for (size_t n = 0; n < sizeof seeds / sizeof *seeds; n++) {
                int called = 0;
                for (int i = 0; i < ROUNDS; i++) {
                    bool worse, any;
                    compare_equals(&rng, pairs[m], seeds[n], kind % 2 == 0, kind >= 2, &worse, &any);
                    called += any;
                    alarms += worse;
                }
                rounds += ROUNDS;
                if (called > most)
                    fail_msg("%d pairs, %d seeds, kind %d: %d of %d", pairs[m], seeds[n], kind, called,
                             ROUNDS);
            }
        }
    }
    /* exit status 7 */
    print_message("false alarms: %.2f %% of %d comparisons\n", 100.0 * alarms / rounds, rounds);
    assert_true(alarms <= 0.05 * rounds);
}

static const char *params(const char *fusion, int q)
{
    static char text[2][160];
    static int turn;
    char *p = text[turn++ % 2];
    snprintf(p, 160, "{\"fusion\":\"%s\",\"model\":\"m\",\"num_queries\":%d}", fusion, q);
    return p;
}

/* Two fusions by three numbers of queries, five seeds; "prior" is a point better at 8 and 16, equal at 32. */
static void fill(avs_store *s, const char *sweep_name, double shift)
{
    int64_t sweep = sample_sweep(s, sweep_name, NULL), stage = sample_stage(s, sweep, "train", "train");
    for (int i = 0; i < 30; i++) {
        const int seed = i % 5, q = 8 << (i / 5 % 3);
        const bool prior = i >= 15;
        const double miou =
            0.7 + 0.004 * seed + 0.0003 * ((i * 7) % 11) + (prior && q < 32 ? 0.01 : 0) + shift;
        if (prior && q == 32 && seed > 2) continue;
        sample_done(s,
                    sample_register(s, sweep,
                                    sample_trial(stage, prior && q == 32 ? 25 + seed : i, "train", "m", "s4",
                                                 params(prior ? "prior" : "cross", q), seed)),
                    miou, miou);
    }
    OK(avs_store_flush(s, e));
}

static void configurations_are_paired_by_what_both_sides_vary(void **state)
{
    (void)state;
    avs_store *s = sample_open("pairs.db");
    fill(s, "x", 0);
    avs_compare_spec spec = {.a = {s, "fusion=cross", NULL, NULL, "fusion=cross"},
                             .b = {s, "fusion=prior", NULL, NULL, "fusion=prior"},
                             .metric = "miou",
                             .format = AVS_REPORT_TEXT};
    avs_buf out = AVS_BUF_INIT;
    int v[AVS_VERDICTS];
    OK(avs_compare(&spec, &out, v, e));
    assert_int_equal(v[AVS_BETTER], 2);
    assert_int_equal(v[AVS_UNDECIDED], 1);
    assert_non_null(strstr(out.data, "num_queries"));
    assert_null(strstr(out.data, "fusion  "));
    assert_non_null(strstr(out.data, "2 better, 0 worse, 0 same, 1 undecided; threshold 0."));
    assert_non_null(strstr(out.data, "paired t (3)"));
    avs_buf_clear(&out);
    avs_compare_side swap = spec.a; /* the other way round it is a regression, but not one of five per cent */
    spec.a = spec.b;
    spec.b = swap;
    OK(avs_compare(&spec, &out, v, e));
    assert_int_equal(v[AVS_WORSE], 2);
    spec.threshold = 0.05;
    spec.is_relative = true;
    OK(avs_compare(&spec, &out, v, e));
    assert_int_equal(v[AVS_WORSE], 0);
    assert_int_equal(v[AVS_SAME], 3);
    avs_buf_clear(&out);
    spec.format = AVS_REPORT_JSON;
    OK(avs_compare(&spec, &out, v, e));
    avs_arena *a = avs_arena_new();
    int lines = 0;
    for (char *line = out.data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        avs_json *o;
        OK(avs_json_parse(a, "line", line, (size_t)(end - line), &o, e));
        lines++;
        if (lines == 4) assert_int_equal(avs_json_int(o, "same", 0), 3);
    }
    assert_int_equal(lines, 4);
    avs_arena_free(a);
    avs_buf_clear(&out);
    spec.format = AVS_REPORT_LATEX;
    OK(avs_compare(&spec, &out, v, e));
    assert_non_null(strstr(out.data, "\\begin{tabular}"));
    avs_buf_clear(&out);
    spec.format = AVS_REPORT_MARKDOWN;
    OK(avs_compare(&spec, &out, v, e));
    assert_non_null(strstr(out.data, "| 16 |"));
    avs_buf_clear(&out);
    spec.format = AVS_REPORT_CSV;
    OK(avs_compare(&spec, &out, v, e));
    assert_int_equal(
        strncmp(out.data, "num_queries,a,a_half,a_n,a_expected,b,b_half,b_n,b_expected,delta,lo,hi,p,", 74),
        0);
    assert_non_null(strstr(out.data, ",paired t,same\n"));
    avs_buf_clear(&out);
    spec.format = AVS_REPORT_SVG;
    OK(avs_compare(&spec, &out, v, e));
    assert_xml(out.data);
    avs_buf_clear(&out);
    spec.format = AVS_REPORT_HTML;
    OK(avs_compare(&spec, &out, v, e));
    assert_non_null(strstr(out.data, "<h2>Pairs</h2>"));
    assert_non_null(strstr(out.data, "B: database"));
    avs_buf_free(&out);
    avs_store_close(s);
}

static void databases_sweeps_and_hashes_are_sides_too(void **state)
{
    (void)state;
    avs_store *one = sample_open("one.db"), *two = sample_open("two.db");
    fill(one, "x", 0);
    fill(two, "x", -0.02);
    avs_compare_spec spec = {.a = {.store = one, .name = "one.db"},
                             .b = {.store = two, .name = "two.db"},
                             .metric = "miou",
                             .format = AVS_REPORT_TEXT};
    avs_buf out = AVS_BUF_INIT;
    int v[AVS_VERDICTS];
    OK(avs_compare(&spec, &out, v, e));
    assert_int_equal(v[AVS_WORSE], 6); /* the same noise: the difference is certain */
    assert_non_null(strstr(out.data, "fusion"));
    assert_non_null(strstr(out.data, "B: database"));
    avs_buf_clear(&out);
    spec.a.sweep = spec.b.sweep = "x";
    OK(avs_compare(&spec, &out, v, e));
    assert_int_equal(v[AVS_WORSE], 6);
    avs_store_trial t = sample_trial(0, 0, "train", "m", "s4", params("cross", 8), 0);
    char hex[13];
    avs_hex(t.hash, 6, hex);
    spec.a.sweep = spec.b.sweep = NULL;
    spec.a.hash = spec.b.hash = hex;
    avs_buf_clear(&out);
    OK(avs_compare(&spec, &out, v, e));
    assert_int_equal(v[AVS_WORSE], 1);
    spec.b.hash = "ffffffffff";
    avs_err bad = AVS_ERR_INIT;
    assert_int_equal(avs_compare(&spec, &out, v, &bad), AVS_EMISSING);
    assert_non_null(strstr(bad.msg, "no configuration or trial has the hash"));
    spec.a.hash = spec.b.hash = NULL;
    spec.b.where = "num_queries=64";
    assert_int_equal(avs_compare(&spec, &out, v, &bad), AVS_EMISSING);
    spec.b.where = NULL;
    spec.b.sweep = "nobody";
    assert_int_equal(avs_compare(&spec, &out, v, &bad), AVS_EMISSING);
    assert_non_null(strstr(bad.msg, "no sweep called nobody"));
    spec.b.sweep = NULL;
    spec.metric = "accuracy";
    assert_int_equal(avs_compare(&spec, &out, v, &bad), AVS_EMISSING);
    spec.metric = "params"; /* a count: exactly equal without any interval */
    avs_buf_clear(&out);
    OK(avs_compare(&spec, &out, v, e));
    assert_int_equal(v[AVS_SAME], 6);
    avs_buf_free(&out);
    avs_store_close(one);
    avs_store_close(two);
}

/* Records of CSV: as many fields as the heading has, and each name whole in one of them. */
static void check_csv(const char *text, const char *const *names, int n)
{
    int records = 0, found = 0, want = 0;
    avs_buf field = AVS_BUF_INIT;
    for (const char *p = text; *p; records++, p += *p == '\n') {
        int fields = 0;
        for (bool more = true; more; fields++) {
            avs_buf_clear(&field);
            bool quoted = false;
            for (; *p && (quoted || (*p != '\n' && *p != ',')); p++) {
                if (*p == '"' && quoted && p[1] == '"')
                    avs_buf_char(&field, *p++);
                else if (*p == '"')
                    quoted = !quoted;
                else
                    avs_buf_char(&field, *p);
            }
            for (int i = 0; i < n; i++) found += strcmp(avs_buf_cstr(&field), names[i]) == 0;
            more = *p == ',';
            p += more;
        }
        if (!records) want = fields;
        assert_int_equal(fields, want);
    }
    assert_int_equal(records, n + 1);
    assert_int_equal(found, n);
    avs_buf_free(&field);
}

/* SQL, LaTeX, HTML, shell, right-to-left, 10 kB and an ordinary one, as the value of a parameter that tells rows apart. */
static void hostile_names_are_data(void **state)
{
    (void)state;
    static char long_name[10001];
    const char *const names[] = {"'; DROP TABLE trial; --",
                                 "\\end{tabular}\\input{/etc/passwd}%$#_^&~",
                                 "</td><script>alert(1)</script>",
                                 "$(reboot); `id` | rm -rf / &",
                                 "\xe2\x80\xae"
                                 "gnp.exe",
                                 long_name,
                                 "%s%n%1000000d",
                                 "plain"};
    enum { NAMES = sizeof names / sizeof *names };
    memset(long_name, 'n', 10000);
    avs_store *s = sample_open("hostile.db");
    int64_t sweep = sample_sweep(s, names[0], NULL), stage = sample_stage(s, sweep, names[1], "train");
    for (int i = 0; i < 4 * NAMES; i++) {
        avs_buf p = AVS_BUF_INIT;
        avs_buf_str(&p, "{\"name\":");
        avs_json_write_str(&p, names[i / 4]);
        avs_buf_fmt(&p, ",\"side\":%d}", i % 2);
        avs_store_trial t = {.kind = "train",
                             .model = names[2],
                             .task = names[4],
                             .params_json = p.data,
                             .model_schema = 1,
                             .seed = i / 2 % 2,
                             .stage_id = stage,
                             .ordinal = i};
        avs_sha256_of(p.data, p.len, t.config_hash);
        avs_sha256_of(&i, sizeof i, t.hash);
        sample_done(s, sample_register(s, sweep, t), 0.5 + 0.01 * (i % 4) + 0.001 * i, 0.5);
        avs_buf_free(&p);
    }
    OK(avs_store_event(s, 'W', names[3], 0, names[0], long_name, e));
    OK(avs_store_flush(s, e));
    avs_compare_spec spec = {.a = {s, "side=0", names[0], NULL, names[1]},
                             .b = {s, "side=1", NULL, NULL, names[2]},
                             .metric = "miou"};
    spec.a.hash = NULL;
    spec.a.sweep = names[0];
    for (int f = AVS_REPORT_TEXT; f <= AVS_REPORT_HTML; f++) {
        avs_buf out = AVS_BUF_INIT;
        int v[AVS_VERDICTS];
        spec.format = (avs_report_format)f;
        OK(avs_compare(&spec, &out, v, e));
        assert_int_equal(v[AVS_BETTER] + v[AVS_SAME] + v[AVS_WORSE] + v[AVS_UNDECIDED], NAMES);
        if (f != AVS_REPORT_JSON && f != AVS_REPORT_CSV) assert_null(strstr(out.data, "\xe2\x80\xae"));
        if (f == AVS_REPORT_CSV) check_csv(out.data, names, NAMES);
        if (f == AVS_REPORT_SVG) assert_xml(out.data);
        if (f == AVS_REPORT_SVG || f == AVS_REPORT_HTML) assert_null(strstr(out.data, "<script>alert"));
        if (f == AVS_REPORT_LATEX) assert_null(strstr(strstr(out.data, "\\begin{tabular}"), "\\input"));
        if (f == AVS_REPORT_MARKDOWN) assert_null(strstr(out.data, "<script>"));
        avs_buf_free(&out);
    }
    avs_buf out = AVS_BUF_INIT;
    char where[64];
    snprintf(where, sizeof where, "name=%s", names[3]);
    OK(avs_report(s, &(avs_report_spec){.format = AVS_REPORT_CSV, .where = where, .sweep = names[0]}, &out,
                  e));
    avs_buf_free(&out);
    OK(avs_store_check(s, e));
    avs_store_close(s);
}

static void latencies_of_two_machines_are_not_compared(void **state)
{
    (void)state;
    avs_store *s[2] = {sample_open("cpu1.db"), sample_open("cpu2.db")};
    for (int k = 0; k < 2; k++) {
        int64_t sweep = sample_sweep(s[k], "x", NULL), stage = sample_stage(s[k], sweep, "speed", "latency");
        for (int i = 0; i < 3; i++)
            sample_latency(
                s[k], sample_register(s[k], sweep, sample_trial(stage, i, "latency", "m", "s4", "{}", i)),
                10 + 0.1 * i + k, 200,
                k ? "{\"cpu\":\"B\",\"code_fp\":\"2\"}" : "{\"cpu\":\"A\",\"code_fp\":\"1\"}");
        OK(avs_store_flush(s[k], e));
    }
    avs_compare_spec spec = {.a = {.store = s[0], .name = "cpu1.db"},
                             .b = {.store = s[1], .name = "cpu2.db"},
                             .metric = "latency_p50",
                             .format = AVS_REPORT_TEXT};
    avs_buf out = AVS_BUF_INIT;
    avs_err bad = AVS_ERR_INIT;
    int v[AVS_VERDICTS];
    assert_int_equal(avs_compare(&spec, &out, v, &bad), AVS_ERANGE);
    assert_non_null(strstr(bad.msg, "different machines"));
    spec.mixed = true;
    OK(avs_compare(&spec, &out, v, e));
    assert_int_equal(v[AVS_WORSE], 1);
    avs_buf_free(&out);
    avs_store_close(s[0]);
    avs_store_close(s[1]);
}

static void a_failed_allocation_never_gives_a_wrong_comparison(void **state)
{
    (void)state;
    avs_store *s = sample_open("alloc.db");
    fill(s, "x", 0);
    avs_compare_spec spec = {.a = {s, "fusion=cross", NULL, NULL, "A"},
                             .b = {s, "fusion=prior", NULL, NULL, "B"},
                             .metric = "miou",
                             .format = AVS_REPORT_TEXT};
    avs_buf whole = AVS_BUF_INIT;
    int v[AVS_VERDICTS], unhurt = 0;
    OK(avs_compare(&spec, &whole, v, e));
    for (long n = 1; unhurt < 40; n += 1 + n / 32) {
        avs_buf out = AVS_BUF_INIT;
        avs_err bad = AVS_ERR_INIT;
        avs_alloc_fail_after(n);
        int rc = avs_compare(&spec, &out, v, &bad);
        avs_alloc_fail_after(0);
        bool same = rc == AVS_OK && out.len == whole.len && memcmp(out.data, whole.data, out.len) == 0;
        if (rc == AVS_OK && !same) fail_msg("allocation %ld: another comparison:\n%s", n, out.data);
        if (rc != AVS_OK && rc != AVS_ENOMEM) fail_msg("allocation %ld: %s", n, bad.msg);
        unhurt = same ? unhurt + 1 : 0;
        avs_buf_free(&out);
    }
    avs_buf_free(&whole);
    avs_store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_verdict_needs_the_whole_interval),
        cmocka_unit_test(common_seeds_are_paired_and_others_are_not),
        cmocka_unit_test(equal_systems_are_called_different_in_at_most_one_of_twenty_comparisons),
        cmocka_unit_test(configurations_are_paired_by_what_both_sides_vary),
        cmocka_unit_test(databases_sweeps_and_hashes_are_sides_too),
        cmocka_unit_test(hostile_names_are_data),
        cmocka_unit_test(latencies_of_two_machines_are_not_compared),
        cmocka_unit_test(a_failed_allocation_never_gives_a_wrong_comparison),
    };
    return cmocka_run_group_tests(tests, sample_setup, sample_teardown);
}
