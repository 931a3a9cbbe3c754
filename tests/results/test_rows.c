/* What the commands that look at trials read: which trials, all of one trial, the rows of `status`. */
#include "tests/results/sample.h"

#include "results/status_rows.h"
#include "results/trial_parts.h"
#include "results/trial_rows.h"

enum { TRIALS = 12 };

/* Trials 0..11 of sweep `one`, 0..3 of them also of `two`; the first bytes of the hashes are chosen. */
static avs_store *sample_rows(const char *name, avs_store_trial t[TRIALS])
{
    avs_store *s = sample_open(name);
    const int64_t one = sample_sweep(s, "one", NULL), two = sample_sweep(s, "two", NULL);
    const int64_t stage = sample_stage(s, one, "train", "train"),
                  other = sample_stage(s, two, "eval", "train");
    for (int i = 0; i < TRIALS; i++) {
        t[i] = sample_trial(stage, i, "train", "m", "s4", i < 6 ? "{\"lr\":0.1}" : "{\"lr\":0.2}", i);
        memcpy(t[i].hash, "\xab\xcd\xef\x01\x23\x45\x67\x89", 8);
    }
    t[1].hash[2] = 0x0f; /* abcd0f */
    t[2].hash[7] = 0x8a; /* abcdef012345678a */
    t[3].hash[3] = 0xf1; /* abcdeff1 */
    memset(t[4].hash, 0, 8);
    memset(t[5].hash, 0xff, 8);
    OK(avs_store_register(s, one, t, TRIALS, e));
    for (int i = 0; i < 4; i++) {
        avs_store_trial again = t[i];
        again.stage_id = other;
        sample_register(s, two, again);
    }
    OK(avs_store_flush(s, e));
    return s;
}

typedef struct {
    int64_t ids[TRIALS];
    int n, stop_at;
} list;

static int collect(void *ctx, const avs_trial_row *t, avs_err *e)
{
    list *l = ctx;
    assert_true(l->n < TRIALS);
    l->ids[l->n++] = t->trial_id;
    return l->n == l->stop_at ? avs_fail(e, AVS_ECANCEL, "enough") : AVS_OK;
}

static int count(avs_store *s, const char *prefix, const char *sweep, const char *state)
{
    list l = {.n = 0};
    OK(avs_store_trials(s, &(avs_trial_filter){prefix, sweep, state}, collect, &l, e));
    for (int i = 1; i < l.n; i++) assert_true(l.ids[i - 1] < l.ids[i]);
    return l.n;
}

static void trials_are_found_by_any_prefix_of_their_hash(void **state)
{
    (void)state;
    avs_store_trial t[TRIALS];
    avs_store *s = sample_rows("prefix.db", t);
    char hex[65], got[65];
    int64_t id;
    for (int i = 0; i < TRIALS; i++) {
        avs_hex(t[i].hash, 32, hex);
        for (int n = 64; n >= 6; n--) { /* against what the hashes themselves say */
            int same = 0;
            hex[n] = '\0';
            for (int k = 0; k < TRIALS; k++) {
                char other[65];
                avs_hex(t[k].hash, 32, other);
                same += strncmp(other, hex, (size_t)n) == 0;
            }
            assert_int_equal(count(s, hex, NULL, NULL), same);
            avs_err bad = AVS_ERR_INIT;
            const int rc = avs_store_trial_by_prefix(s, hex, &id, got, &bad);
            assert_int_equal(rc, same == 1 ? AVS_OK : AVS_ERANGE);
            if (rc == AVS_OK) assert_int_equal(id, t[i].trial_id);
        }
    }
    assert_int_equal(count(s, "ABCD0F", NULL, NULL), 1);
    assert_int_equal(count(s, "abc", NULL, NULL), 10);
    assert_int_equal(count(s, "abcdef", "two", NULL), 3);
    assert_int_equal(count(s, "abcdef0123456789", "two", NULL), 1);
    avs_err bad = AVS_ERR_INIT;
    assert_int_equal(avs_store_trial_by_prefix(s, "abcd00", &id, got, &bad), AVS_EMISSING);
    assert_non_null(strstr(bad.msg, "prefix.db has no trial abcd00"));
    for (const char *const *text = (const char *const[]){"abcde", "", "abcdeg", "abcdef'", "%", NULL}; *text;
         text++)
        assert_int_equal(avs_store_trial_by_prefix(s, *text, &id, got, &bad), AVS_ERANGE);
    avs_store_close(s);
}

static void rows_are_filtered_by_sweep_and_state(void **state)
{
    (void)state;
    avs_store_trial t[TRIALS];
    avs_store *s = sample_rows("filter.db", t);
    sample_done(s, t[2].trial_id, 0.5, 0.6);
    sample_done(s, t[7].trial_id, 0.5, 0.6);
    assert_int_equal(count(s, NULL, NULL, NULL), TRIALS);
    assert_int_equal(count(s, NULL, "two", NULL), 4);
    assert_int_equal(count(s, NULL, "one", "done"), 2);
    assert_int_equal(count(s, NULL, "two", "done"), 1);
    assert_int_equal(count(s, NULL, NULL, "failed"), 0);
    avs_err bad = AVS_ERR_INIT;
    list l = {.stop_at = 3};
    assert_int_equal(avs_store_trials(s, &(avs_trial_filter){.sweep = "x' OR 1"}, collect, &l, &bad),
                     AVS_EMISSING);
    assert_non_null(strstr(bad.msg, "no sweep 'x' OR 1'"));
    assert_int_equal(avs_store_trials(s, &(avs_trial_filter){0}, collect, &l, &bad), AVS_ECANCEL);
    assert_int_equal(l.n, 3);
    avs_store_close(s);
}

static void a_metric_is_that_of_the_test_split(void **state)
{
    (void)state;
    avs_store_trial t[TRIALS];
    avs_store *s = sample_rows("metric.db", t);
    const int64_t attempt = sample_begin(s, t[0].trial_id);
    avs_store_result r[] = {{"acc", "val", 1, "", 1},
                            {"acc", "", 2, "", 1},
                            {"acc", "test", 3, "", 1},
                            {"loss", "val", 4, "", -1}};
    avs_store_end end = {.reason = AVS_END_OK, .results = r, .n_results = 4};
    OK(avs_store_attempt_end(s, attempt, &end, NULL, e));
    bool found = false;
    double v = 0;
    OK(avs_store_trial_metric(s, t[0].trial_id, "acc,loss", 3, &found, &v, e));
    assert_true(found && v == 3);
    OK(avs_store_trial_metric(s, t[0].trial_id, "loss", 4, &found, &v, e));
    assert_true(found && v == 4);
    OK(avs_store_trial_metric(s, t[0].trial_id, "los", 3, &found, &v, e));
    assert_false(found);
    OK(avs_store_trial_metric(s, t[1].trial_id, "acc", 3, &found, &v, e));
    assert_false(found);
    avs_store_close(s);
}

typedef struct {
    int rows[AVS_PARTS];
    char text[AVS_PARTS][512];
} told;

static void tell(void *ctx, avs_trial_part p, const avs_cell *c, int n)
{
    told *w = ctx;
    size_t at = strlen(w->text[p]);
    w->rows[p]++;
    for (int i = 0; i < n && i < 5 && at < sizeof w->text[p]; i++)
        at += (size_t)snprintf(w->text[p] + at, sizeof w->text[p] - at, "%s=%s(%d) ", c[i].name, c[i].text,
                               (int)c[i].kind);
}

static void a_trial_tells_its_parts(void **state)
{
    (void)state;
    avs_store_trial t[TRIALS];
    avs_store *s = sample_rows("parts.db", t);
    const int64_t attempt = sample_done(s, t[0].trial_id, 0.5, 0.25);
    OK(avs_store_artifact_add(s, attempt, &(avs_store_artifact){"best", "checkpoint", "a/b", 7, NULL, -1},
                              e));
    told w = {0};
    for (int p = 0; p < AVS_PARTS; p++)
        OK(avs_store_trial_part(s, t[0].trial_id, (avs_trial_part)p, tell, &w, e));
    assert_int_equal(w.rows[AVS_PART_TRIAL], 1);
    assert_int_equal(w.rows[AVS_PART_ATTEMPT], 1);
    assert_int_equal(w.rows[AVS_PART_RESULT], 4);
    assert_int_equal(w.rows[AVS_PART_ENV], 1);
    assert_non_null(strstr(w.text[AVS_PART_TRIAL], "state=done(3) kind=train(3)"));
    assert_non_null(strstr(w.text[AVS_PART_ATTEMPT], "n=1(1) reason=ok(3)"));
    assert_non_null(strstr(w.text[AVS_PART_ATTEMPT], "message=(0)"));
    assert_non_null(strstr(w.text[AVS_PART_RESULT],
                           "metric=fscore(3) split=test(3) value=0.25(2) unit=fraction(3) better=1(1)"));
    assert_string_equal(w.text[AVS_PART_ARTIFACT],
                        "name=best(3) kind=checkpoint(3) bytes=7(1) path=a/b(3) step=(0) ");
    told none = {0};
    OK(avs_store_trial_part(s, 999, AVS_PART_TRIAL, tell, &none, e));
    assert_int_equal(none.rows[AVS_PART_TRIAL], 0);
    avs_store_close(s);
}

static void a_record_is_that_of_the_attempt_that_counts(void **state)
{
    (void)state;
    avs_store_trial t[TRIALS];
    avs_store *s = sample_rows("record.db", t);
    avs_arena *a = avs_arena_new();
    avs_trial_record r;
    sample_failed(s, t[0].trial_id, "bad luck");
    sample_done(s, t[0].trial_id, 0.5, 0.25);
    OK(avs_store_trial_record(s, t[0].trial_id, a, &r, e));
    assert_string_equal(r.model, "m");
    assert_string_equal(r.cpu, "Test CPU");
    assert_string_equal(r.code, "abc");
    assert_string_equal(r.tool, "0.1.0-test");
    assert_string_equal(r.host, "n01");
    assert_int_equal(r.attempt, 2);
    assert_int_equal(r.threads, 2);
    assert_int_equal(r.n_results, 4);
    assert_string_equal(r.results[0].name, "fscore");
    assert_true(r.results[0].value == 0.25);
    OK(avs_store_trial_record(s, t[1].trial_id, a, &r, e));
    assert_int_equal(r.attempt, 0);
    assert_int_equal(r.n_results, 0);
    assert_string_equal(r.host, "");
    avs_err bad = AVS_ERR_INIT;
    assert_int_equal(avs_store_trial_record(s, 999, a, &r, &bad), AVS_EMISSING);
    bool found = true;
    avs_attempt_log log;
    OK(avs_store_attempt_log(s, t[0].trial_id, 0, &found, &log, e));
    assert_true(found && log.n == 2 && log.ended);
    assert_string_equal(log.path, "logs/1");
    OK(avs_store_attempt_log(s, t[0].trial_id, 3, &found, &log, e));
    assert_false(found);
    avs_arena_free(a);
    avs_store_close(s);
}

static void status_rows_are_of_the_file_or_of_a_sweep(void **state)
{
    (void)state;
    avs_store_trial t[TRIALS];
    avs_store *s = sample_rows("status.db", t);
    avs_status_rows w;
    sample_done(s, t[0].trial_id, 0.5, 0.25);
    sample_done(s, t[8].trial_id, 0.75, 0.25);
    for (int i = 1; i < 3; i++) sample_failed(s, t[i].trial_id, "bad luck\nmore");
    sample_failed(s, t[9].trial_id, "worse");
    const int64_t live = sample_begin(s, t[10].trial_id);
    OK(avs_store_points(s, live, &(avs_store_point){"loss", 3, 0.125}, 1, e));
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    OK(avs_store_open(sample_path("status.db"), AVS_STORE_READ, "", &s, e));
    OK(avs_store_status(s, NULL, &w, e));
    assert_int_equal(w.total, TRIALS);
    assert_int_equal(w.count[AVS_TRIAL_DONE], 2);
    assert_int_equal(w.count[AVS_TRIAL_RUNNING], 1);
    assert_string_equal(w.sweep, "two");
    assert_int_equal(w.n_live, 1);
    assert_string_equal(w.live[0].point, "step 3, loss 0.125");
    assert_true(w.eta_s >= 0);
    assert_int_equal(w.n_causes, 2);
    assert_int_equal(w.cause[0].count + w.cause[1].count, 3);
    OK(avs_store_status(s, "two", &w, e));
    assert_int_equal(w.total, 4);
    assert_int_equal(w.n_causes, 1);
    assert_int_equal(w.cause[0].count, 2);
    assert_string_equal(w.cause[0].text, "bad luck");
    assert_int_equal(w.n_live, 0);
    avs_err bad = AVS_ERR_INIT;
    assert_int_equal(avs_store_status(s, "three", &w, &bad), AVS_EMISSING);
    OK(avs_store_status(s, "one", &w, e)); /* the transaction of the refused one is over */
    assert_int_equal(w.count[AVS_TRIAL_DONE], 2);
    avs_store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trials_are_found_by_any_prefix_of_their_hash),
        cmocka_unit_test(rows_are_filtered_by_sweep_and_state),
        cmocka_unit_test(a_metric_is_that_of_the_test_split),
        cmocka_unit_test(a_trial_tells_its_parts),
        cmocka_unit_test(a_record_is_that_of_the_attempt_that_counts),
        cmocka_unit_test(status_rows_are_of_the_file_or_of_a_sweep),
    };
    return cmocka_run_group_tests(tests, sample_setup, sample_teardown);
}
