/* The store as the coordinator uses it: what is written is read back, twice is once, and foreign files stay as they were. */
#include "tests/results/sample.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/wait.h>

static int64_t ask(const char *name, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_open_v2(sample_path(name), &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    int64_t v = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

static void a_new_file_names_its_owner_and_version(void **state)
{
    (void)state;
    avs_store *s = sample_open("new.db");
    assert_string_equal(avs_store_journal(s), "wal");
    avs_store_close(s);
    assert_int_equal(ask("new.db", "PRAGMA application_id"), AVS_STORE_APPLICATION_ID);
    assert_int_equal(ask("new.db", "SELECT value FROM meta WHERE key='schema_version'"), 2);
    assert_int_equal(ask("new.db", "PRAGMA page_size"), 8192);
    assert_int_equal(
        ask("new.db", "SELECT count(*) FROM sqlite_master WHERE type='table' AND sql NOT LIKE '%STRICT%'"),
        0);
    assert_int_equal(ask("new.db", "SELECT count(*) FROM tcrit WHERE df=4 AND abs(c95-2.7764451)<1e-6"), 1);
}

static void registration_is_idempotent(void **state)
{
    (void)state;
    avs_store *s = sample_open("twice.db");
    int64_t sweep = sample_sweep(s, "one", NULL), stage = sample_stage(s, sweep, "train", "train");
    avs_store_trial t[4];
    for (int i = 0; i < 4; i++)
        t[i] = sample_trial(stage, i, "train", "m", "s4", i < 2 ? "{\"lr\":0.1}" : "{\"lr\":0.2}", i % 2);
    OK(avs_store_register(s, sweep, t, 4, e));
    for (int i = 0; i < 4; i++) assert_false(t[i].reused);
    sample_done(s, t[1].trial_id, 0.5, 0.6);
    OK(avs_store_register(s, sweep, t, 4, e));
    assert_true(t[1].reused);
    assert_int_equal(t[1].state, AVS_TRIAL_DONE);
    assert_int_equal(t[1].attempts, 1);
    assert_int_equal(t[0].state, AVS_TRIAL_PENDING);
    int64_t again = sample_sweep(s, "one", NULL);
    assert_int_equal(again, sweep);
    assert_int_equal(sample_stage(s, sweep, "train", "train"), stage);
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    assert_int_equal(ask("twice.db", "SELECT count(*) FROM trial"), 4);
    assert_int_equal(ask("twice.db", "SELECT count(*) FROM config"), 2);
    assert_int_equal(ask("twice.db", "SELECT count(*) FROM sweep"), 1);
}

static void a_changed_file_supersedes_the_sweep_and_shares_its_trials(void **state)
{
    (void)state;
    avs_store *s = sample_open("super.db");
    int64_t first = sample_sweep(s, "x", NULL), stage = sample_stage(s, first, "train", "train"), second;
    int64_t trial = sample_register(s, first, sample_trial(stage, 0, "train", "m", "s4", "{}", 0));
    avs_store_sweep w = {.name = "x", .file_hash = {9}};
    bool resumed = true;
    OK(avs_store_sweep_begin(s, &w, &second, &resumed, e));
    assert_false(resumed);
    int64_t stage2 = sample_stage(s, second, "train", "train");
    assert_int_equal(sample_register(s, second, sample_trial(stage2, 0, "train", "m", "s4", "{}", 0)), trial);
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    assert_int_equal(ask("super.db", "SELECT supersedes FROM sweep WHERE sweep_id=2"), first);
    assert_int_equal(ask("super.db", "SELECT reused FROM sweep_trial WHERE sweep_id=2"), 1);
}

static void a_taken_place_is_refused_and_leaves_nothing(void **state)
{
    (void)state;
    avs_store *s = sample_open("place.db");
    avs_err bad = AVS_ERR_INIT;
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train");
    sample_register(s, sweep, sample_trial(stage, 0, "train", "m", "s4", "{}", 0));
    avs_store_trial t[2] = {sample_trial(stage, 1, "train", "m", "s4", "{}", 1),
                            sample_trial(stage, 0, "train", "m", "s4", "{}", 2)};
    assert_int_equal(avs_store_register(s, sweep, t, 2, &bad), AVS_ERANGE);
    assert_non_null(strstr(bad.msg, "trial 1"));
    t[0].params_json = "[1]";
    t[0].config_hash[0] ^= 1;
    t[0].hash[0] ^= 1;
    assert_int_equal(avs_store_register(s, sweep, t, 1, &bad), AVS_EPARSE);
    t[0].params_json = "{oops";
    assert_int_equal(avs_store_register(s, sweep, t, 1, &bad), AVS_EPARSE);
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    assert_int_equal(ask("place.db", "SELECT count(*) FROM trial"), 1);
}

static void everything_a_trial_produced_is_read_back(void **state)
{
    (void)state;
    avs_store *s = sample_open("round.db");
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train");
    int64_t trial = sample_register(s, sweep, sample_trial(stage, 0, "train", "m", "s4", "{\"lr\":0.5}", 3));
    avs_store_start st = {.trial_id = trial, .host = "n01", .cpus = "0-1", .log_path = "logs/a"};
    int64_t attempt;
    int n, epoch;
    OK(avs_store_attempt_begin(s, &st, &attempt, &n, &epoch, e));
    assert_int_equal(n, 1);
    assert_int_equal(epoch, 1);
    avs_store_point live[3] = {{"loss", 10, 2.5}, {"loss", 20, (double)NAN}, {"loss", 10, 2.25}};
    OK(avs_store_points(s, attempt, live, 3, e));
    uint32_t samples[3] = {10, 30, 20};
    uint8_t sha[32] = {7};
    avs_store_result r[2] = {{"miou", "test", 0.75, "fraction", 1}, {"loss", NULL, 0.125, "", -1}};
    avs_store_point p[1] = {{"loss", 30, 1.0}};
    avs_store_latency l[1] = {{"latency", samples, 3, 1000, 0, (double)NAN, (double)NAN, "{\"warmup\":5}"}};
    avs_store_artifact a[1] = {{"best", "checkpoint", "ckpt/1", 77, sha, 30}};
    avs_store_end end = {.reason = AVS_END_OK,
                         .results = r,
                         .n_results = 2,
                         .points = p,
                         .n_points = 1,
                         .latencies = l,
                         .n_latencies = 1,
                         .artifacts = a,
                         .n_artifacts = 1,
                         .resumed_from = "ckpt/0",
                         .env_json = "{\"cpu\":\"x\",\"mem\":64}",
                         .host = "n02",
                         .pid = 4711,
                         .exit_code = 0};
    bool stale = true;
    OK(avs_store_attempt_end(s, attempt, &end, &stale, e));
    assert_false(stale);
    OK(avs_store_flush(s, e));
    OK(avs_store_check(s, e));
    avs_arena *ar = avs_arena_new();
    int64_t *steps;
    double *values;
    size_t points;
    OK(avs_store_series(s, attempt, "loss", ar, &steps, &values, &points, e));
    assert_int_equal(points, 2);
    assert_true(steps[0] == 10 && values[0] == 2.25 && steps[1] == 30 && values[1] == 1.0);
    OK(avs_store_series(s, attempt, "no such", ar, &steps, &values, &points, e));
    assert_int_equal(points, 0);
    avs_arena_free(ar);
    avs_store_close(s);
    assert_int_equal(ask("round.db",
                         "SELECT count(*) FROM v_trial WHERE \"metric.miou\"=0.75 AND lr=0.5 AND state='done'"
                         " AND host='n02'"),
                     1);
    assert_int_equal(ask("round.db",
                         "SELECT count(*) FROM latency WHERE hex(samples)='0A0000001E00000014000000' AND"
                         " p50=20000 AND flags=2 AND h2d IS NULL"),
                     1);
    assert_int_equal(ask("round.db", "SELECT count(*) FROM env WHERE mem='64' AND cpu='x'"), 1);
    assert_int_equal(ask("round.db", "SELECT count(*) FROM v_latency WHERE p50_ms=0.02 AND seed=3"), 1);
    assert_int_equal(ask("round.db", "SELECT count(*) FROM artifact WHERE bytes=77 AND step=30"), 1);
    assert_int_equal(ask("round.db", "SELECT count(*) FROM v_provenance WHERE host='n02' AND sweep='x'"), 1);
    assert_int_equal(ask("round.db", "SELECT count(*) FROM v_cost WHERE attempts=1"), 1);
    assert_int_equal(ask("round.db", "SELECT count(*) FROM attempt WHERE resumed_from='ckpt/0'"), 1);
    assert_int_equal(ask("round.db", "SELECT trials FROM v_progress WHERE state='done'"), 1);
}

/* An attempt that resumed records only what came after the checkpoint. */
static void a_series_goes_through_the_attempts_of_a_trial(void **state)
{
    (void)state;
    avs_store *s = sample_open("series.db");
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train");
    int64_t trial = sample_register(s, sweep, sample_trial(stage, 0, "train", "m", "s4", "{}", 3));
    avs_store_start st = {.trial_id = trial};
    int64_t first, second, *steps;
    double *values;
    size_t n;
    OK(avs_store_attempt_begin(s, &st, &first, NULL, NULL, e));
    avs_store_point before[] = {{"loss", 10, 3}, {"loss", 20, 2}, {"loss", 30, 9}};
    OK(avs_store_points(s, first, before, 3, e));
    OK(avs_store_lose_orphans(s, NULL, e));
    OK(avs_store_attempt_begin(s, &st, &second, NULL, NULL, e));
    avs_store_point after[] = {{"loss", 30, 1}, {"loss", 40, 0.5}};
    OK(avs_store_points(s, second, after, 2, e));
    avs_arena *ar = avs_arena_new();
    OK(avs_store_series(s, second, "loss", ar, &steps, &values, &n, e));
    assert_int_equal(n, 4);
    assert_true(values[0] == 3 && values[1] == 2 && values[2] == 1 && values[3] == 0.5 && steps[3] == 40);
    OK(avs_store_series(s, first, "loss", ar, &steps, &values, &n, e));
    assert_int_equal(n, 3);
    assert_true(values[2] == 9);
    avs_arena_free(ar);
    avs_store_close(s);
}

static void an_end_said_twice_counts_once(void **state)
{
    (void)state;
    avs_store *s = sample_open("dup.db");
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train");
    int64_t trial = sample_register(s, sweep, sample_trial(stage, 0, "train", "m", "s4", "{}", 0));
    int64_t attempt = sample_done(s, trial, 0.5, 0.5);
    avs_store_result r = {"miou", "test", 0.9, "fraction", 1};
    avs_store_end end = {.reason = AVS_END_OK, .results = &r, .n_results = 1};
    OK(avs_store_attempt_end(s, attempt, &end, NULL, e));
    OK(avs_store_flush(s, e));
    avs_err bad = AVS_ERR_INIT;
    avs_store_start st = {.trial_id = trial};
    assert_int_equal(avs_store_attempt_begin(s, &st, &attempt, NULL, NULL, &bad), AVS_ERANGE);
    assert_int_equal(avs_store_attempt_end(s, 999, &end, NULL, &bad), AVS_EMISSING);
    avs_store_close(s);
    assert_int_equal(
        ask("dup.db",
            "SELECT count(*) FROM result JOIN metric USING(metric_id) WHERE name='miou' AND value=0.5"),
        1);
}

static void lost_attempts_are_requeued_and_a_late_done_still_counts(void **state)
{
    (void)state;
    avs_store *s = sample_open("lost.db");
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train"), lost = 0;
    int64_t trial = sample_register(s, sweep, sample_trial(stage, 0, "train", "m", "s4", "{}", 0));
    int64_t first = sample_begin(s, trial);
    OK(avs_store_lose_orphans(s, &lost, e));
    assert_int_equal(lost, 1);
    int64_t second = sample_begin(s, trial);
    avs_store_result r = {"miou", "test", 0.25, "fraction", 1};
    avs_store_end end = {.reason = AVS_END_OK, .results = &r, .n_results = 1};
    bool stale = true;
    OK(avs_store_attempt_end(s, first, &end, &stale, e));
    assert_false(stale);
    r.value = 0.5;
    OK(avs_store_attempt_end(s, second, &end, &stale, e));
    assert_true(stale);
    OK(avs_store_flush(s, e));
    OK(avs_store_check(s, e));
    avs_store_close(s);
    assert_int_equal(ask("lost.db", "SELECT count(*) FROM result WHERE value=0.25"), 1);
    assert_int_equal(ask("lost.db", "SELECT count(*) FROM attempt WHERE ended IS NULL"), 0);
    assert_int_equal(ask("lost.db", "SELECT best_attempt FROM trial"), first);
}

static void a_failing_write_leaves_the_rest_of_the_group(void **state)
{
    (void)state;
    avs_store *s = sample_open("part.db");
    avs_err bad = AVS_ERR_INIT;
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train");
    int64_t good = sample_register(s, sweep, sample_trial(stage, 0, "train", "m", "s4", "{}", 0));
    int64_t other = sample_register(s, sweep, sample_trial(stage, 1, "train", "m", "s4", "{}", 1));
    sample_done(s, good, 0.5, 0.5);
    int64_t attempt = sample_begin(s, other);
    avs_store_result r[2] = {{"miou", "test", 0.5, "fraction", 1}, {"loss", "", (double)NAN, "", -1}};
    avs_store_end end = {.reason = AVS_END_OK, .results = r, .n_results = 2};
    assert_int_equal(avs_store_attempt_end(s, attempt, &end, NULL, &bad), AVS_ERANGE);
    assert_non_null(strstr(bad.msg, "loss"));
    end = (avs_store_end){
        .reason = AVS_END_ERROR, .next = AVS_TRIAL_FAILED, .message = "it's \"bad\"; DROP TABLE trial; --"};
    OK(avs_store_attempt_end(s, attempt, &end, NULL, e));
    OK(avs_store_flush(s, e));
    OK(avs_store_check(s, e));
    int64_t counts[AVS_TRIAL_STATES];
    OK(avs_store_counts(s, NULL, counts, e));
    assert_int_equal(counts[AVS_TRIAL_DONE], 1);
    assert_int_equal(counts[AVS_TRIAL_FAILED], 1);
    OK(avs_store_counts(s, "x", counts, e));
    assert_int_equal(counts[AVS_TRIAL_DONE], 1);
    assert_int_equal(avs_store_counts(s, "nobody", counts, &bad), AVS_EMISSING);
    avs_arena *a = avs_arena_new();
    avs_store_failure *f;
    size_t n;
    OK(avs_store_failures(s, "x", 5, a, &f, &n, e));
    assert_int_equal(n, 1);
    assert_string_equal(f[0].message, "it's \"bad\"; DROP TABLE trial; --");
    avs_arena_free(a);
    avs_store_close(s);
}

static void what_was_not_flushed_is_not_there(void **state)
{
    (void)state;
    avs_store *s = sample_open("roll.db");
    sample_sweep(s, "kept", NULL);
    assert_int_equal(avs_store_unflushed(s), 1);
    OK(avs_store_flush(s, e));
    assert_int_equal(avs_store_unflushed(s), 0);
    sample_sweep(s, "gone", NULL);
    assert_true(avs_store_unflushed_ns(s) > 0);
    avs_store_close(s);
    assert_int_equal(ask("roll.db", "SELECT count(*) FROM sweep"), 1);
}

static void metacharacters_in_every_string_are_data(void **state)
{
    (void)state;
    static const char evil[] = "a'); DROP TABLE trial;-- \"x\" `y` $(z) \\ \xC3\xA4\xE2\x82\xAC";
    avs_store *s = sample_open("evil.db");
    int64_t sweep = sample_sweep(s, evil, NULL), stage = sample_stage(s, sweep, evil, evil);
    int64_t trial =
        sample_register(s, sweep,
                        sample_trial(stage, 0, evil, evil, evil,
                                     "{\"k\\\"]'; DROP TABLE trial;--\":1,\"plain\":\"'x'\"}", 0));
    int64_t attempt = sample_begin(s, trial);
    avs_store_result r = {evil, evil, 1.0, evil, 1};
    avs_store_artifact a = {evil, evil, evil, 1, NULL, -1};
    avs_store_end end = {.reason = AVS_END_OK,
                         .results = &r,
                         .n_results = 1,
                         .artifacts = &a,
                         .n_artifacts = 1,
                         .message = evil,
                         .host = evil};
    OK(avs_store_attempt_end(s, attempt, &end, NULL, e));
    OK(avs_store_event(s, 'W', evil, attempt, evil, evil, e));
    OK(avs_store_flush(s, e));
    OK(avs_store_check(s, e));
    avs_store_close(s);
    assert_int_equal(ask("evil.db", "SELECT count(*) FROM v_trial WHERE plain='''x'''"), 1);
    assert_int_equal(ask("evil.db", "SELECT count(*) FROM event e JOIN sweep w ON e.text=w.name"), 1);
}

static void foreign_files_are_refused_and_left_alone(void **state)
{
    (void)state;
    avs_store *s = NULL;
    avs_err bad = AVS_ERR_INIT;
    char text[200];
    memset(text, 'x', sizeof text);
    OK(avs_fs_write_atomic(sample_path("text.db"), text, sizeof text, e));
    assert_int_equal(avs_store_open(sample_path("text.db"), AVS_STORE_WRITE, "t", &s, &bad), AVS_EDB);
    assert_non_null(strstr(bad.msg, "not an SQLite database"));
    assert_null(s);
    avs_buf b = AVS_BUF_INIT;
    OK(avs_fs_read(sample_path("text.db"), 0, &b, e));
    assert_int_equal(b.len, sizeof text);
    assert_memory_equal(b.data, text, sizeof text);
    avs_buf_free(&b);

    sqlite3 *db;
    assert_int_equal(sqlite3_open(sample_path("other.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA application_id=7; CREATE TABLE t(x)", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(avs_store_open(sample_path("other.db"), AVS_STORE_WRITE, "t", &s, &bad), AVS_EDB);
    assert_non_null(strstr(bad.msg, "another program"));
    assert_int_equal(ask("other.db", "SELECT count(*) FROM sqlite_master"), 1);

    avs_store_close(sample_open("future.db"));
    assert_int_equal(sqlite3_open(sample_path("future.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=7", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(avs_store_open(sample_path("future.db"), AVS_STORE_WRITE, "t", &s, &bad), AVS_EDB);
    assert_non_null(strstr(bad.msg, "schema version 7"));
    assert_non_null(strstr(bad.msg, "a newer avsweep"));

    assert_int_equal(avs_store_open(sample_path("absent.db"), AVS_STORE_READ, "t", &s, &bad), AVS_EMISSING);
    assert_false(avs_fs_exists(sample_path("absent.db")));
    assert_int_equal(avs_store_open(sample_folder, AVS_STORE_WRITE, "t", &s, &bad), AVS_EDB);
    assert_int_equal(avs_store_open(sample_path("no/such/folder.db"), AVS_STORE_WRITE, "t", &s, &bad),
                     AVS_EDB);
}

static void a_reader_cannot_write(void **state)
{
    (void)state;
    avs_store_close(sample_open("read.db"));
    avs_store *s;
    avs_err bad = AVS_ERR_INIT;
    int64_t id;
    OK(avs_store_open(sample_path("read.db"), AVS_STORE_READ, NULL, &s, e));
    avs_store_sweep w = {.name = "x"};
    assert_int_equal(avs_store_sweep_begin(s, &w, &id, NULL, &bad), AVS_EDB);
    assert_non_null(strstr(bad.msg, "opened for reading"));
    avs_store_close(s);
}

/* Root ignores permissions, so a child without privileges looks at the read-only folder. */
static void a_read_only_file_opens_for_reading_only(void **state)
{
    (void)state;
    avs_store_close(sample_open("ro.db"));
    assert_int_equal(chmod(sample_path("ro.db"), 0444), 0);
    assert_int_equal(chmod(sample_folder, 0555), 0);
    pid_t child = fork();
    if (child == 0) {
        avs_store *s;
        avs_err bad = AVS_ERR_INIT;
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(9);
        int rc = avs_store_open(sample_path("ro.db"), AVS_STORE_WRITE, "t", &s, &bad);
        if (rc != AVS_EDB || !strstr(bad.msg, "read-only")) _exit(1);
        int64_t counts[AVS_TRIAL_STATES];
        if (avs_store_open(sample_path("ro.db"), AVS_STORE_READ, "t", &s, &bad) != AVS_OK) _exit(2);
        if (avs_store_counts(s, NULL, counts, &bad) != AVS_OK) _exit(3);
        avs_store_close(s);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(chmod(sample_folder, 0755), 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void the_stored_leaderboard_has_t_intervals(void **state)
{
    (void)state;
    avs_store *s = sample_open("board.db");
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train");
    for (int i = 0; i < 5; i++)
        sample_done(s, sample_register(s, sweep, sample_trial(stage, i, "train", "m", "s4", "{}", i)),
                    0.1 * (i + 1), 0.5);
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    assert_int_equal(
        ask("board.db",
            "SELECT count(*) FROM v_leaderboard WHERE metric='miou' AND n=5 AND abs(mean-0.3)<1e-12"
            " AND abs(sd-0.158113883)<1e-8 AND abs(ci95_hi-mean-0.196324316)<1e-6"),
        1);
    assert_int_equal(ask("board.db", "SELECT count(*) FROM v_leaderboard WHERE metric='fscore' AND sd=0"), 1);
}

static void the_leaderboard_of_many_seeds_equals_the_plain_mean(void **state)
{
    (void)state;
    avs_store *s = sample_open("many.db");
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train");
    for (int i = 0; i < 100; i++)
        sample_done(s, sample_register(s, sweep, sample_trial(stage, i, "train", "m", "s4", "{}", i)),
                    i / 128.0, 0.5);
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    /* variance of 0..99 is 100*101/12 */
    assert_int_equal(ask("many.db", "SELECT count(*) FROM v_leaderboard WHERE metric='miou' AND n=100 AND"
                                    " abs(mean-49.5/128)<1e-14 AND abs(sd*sd*128*128-100*101/12.0)<1e-9"),
                     1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_file_names_its_owner_and_version),
        cmocka_unit_test(registration_is_idempotent),
        cmocka_unit_test(a_changed_file_supersedes_the_sweep_and_shares_its_trials),
        cmocka_unit_test(a_taken_place_is_refused_and_leaves_nothing),
        cmocka_unit_test(everything_a_trial_produced_is_read_back),
        cmocka_unit_test(a_series_goes_through_the_attempts_of_a_trial),
        cmocka_unit_test(an_end_said_twice_counts_once),
        cmocka_unit_test(lost_attempts_are_requeued_and_a_late_done_still_counts),
        cmocka_unit_test(a_failing_write_leaves_the_rest_of_the_group),
        cmocka_unit_test(what_was_not_flushed_is_not_there),
        cmocka_unit_test(metacharacters_in_every_string_are_data),
        cmocka_unit_test(foreign_files_are_refused_and_left_alone),
        cmocka_unit_test(a_reader_cannot_write),
        cmocka_unit_test(a_read_only_file_opens_for_reading_only),
        cmocka_unit_test(the_stored_leaderboard_has_t_intervals),
        cmocka_unit_test(the_leaderboard_of_many_seeds_equals_the_plain_mean),
    };
    return cmocka_run_group_tests(tests, sample_setup, sample_teardown);
}
