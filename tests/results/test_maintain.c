/* Migration from every older schema, snapshots, merging, garbage, and the checks, each of which must find what it is for. */
#include "tests/results/board.h"

#include <sqlite3.h>
#include "results/db.h"
#include "results/maintain.h"
#include "results/report.h"

static sqlite3 *raw(const char *name, int flags)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open_v2(sample_path(name), &db, flags, NULL), SQLITE_OK);
    return db;
}

static int64_t ask(const char *name, const char *sql)
{
    sqlite3 *db = raw(name, SQLITE_OPEN_READONLY);
    sqlite3_stmt *st;
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    int64_t v = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

static void change(const char *name, const char *sql)
{
    char *text = NULL;
    sqlite3 *db = raw(name, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (sqlite3_exec(db, sql, NULL, NULL, &text) != SQLITE_OK) fail_msg("%.80s: %s", sql, text);
    sqlite3_close(db);
}

static avs_store *open_to_read(const char *name)
{
    avs_store *s = NULL;
    OK(avs_store_open(sample_path(name), AVS_STORE_READ, NULL, &s, e));
    return s;
}

/* A file of an older schema, made from tests/results/schemas/v<N>.sql. */
static void make_old(const char *name, int version)
{
    char path[512];
    avs_buf sql = AVS_BUF_INIT;
    snprintf(path, sizeof path, "%s/tests/results/schemas/v%d.sql", AVS_SOURCE_DIR, version);
    OK(avs_fs_read(path, 0, &sql, e));
    change(name, avs_buf_cstr(&sql));
    avs_buf_free(&sql);
}

static avs_buf text_report(const char *name)
{
    avs_buf b = AVS_BUF_INIT;
    avs_store *s = open_to_read(name);
    OK(avs_report(s, &(avs_report_spec){.format = AVS_REPORT_CSV, .hide_published = true}, &b, e));
    int64_t count[AVS_TRIAL_STATES];
    OK(avs_store_counts(s, NULL, count, e));
    for (int i = 0; i < AVS_TRIAL_STATES; i++) avs_buf_fmt(&b, "%lld ", (long long)count[i]);
    avs_store_close(s);
    return b;
}

static void every_older_schema_is_reported_then_migrated_with_a_copy(void **state)
{
    (void)state;
    for (int v = 1; v < AVS_STORE_SCHEMA_VERSION; v++) {
        char name[32], backup[512], want[512], copy_name[64];
        avs_err bad = AVS_ERR_INIT;
        avs_store *s;
        int from;
        snprintf(name, sizeof name, "old%d.db", v);
        make_old(name, v);
        assert_int_equal(avs_store_open(sample_path(name), AVS_STORE_WRITE, "t", &s, &bad), AVS_EDB);
        assert_non_null(strstr(bad.msg, "avsweep db migrate"));
        avs_buf before = text_report(name), after;
        OK(avs_store_migrate(sample_path(name), "t", &from, backup, sizeof backup, e));
        assert_int_equal(from, v);
        snprintf(copy_name, sizeof copy_name, "%s.v%d.bak", name, v);
        snprintf(want, sizeof want, "%s", sample_path(copy_name));
        assert_string_equal(backup, want);
        assert_int_equal(ask(copy_name, "PRAGMA user_version"), v);
        assert_int_equal(ask(name, "PRAGMA user_version"), AVS_STORE_SCHEMA_VERSION);
        after = text_report(name);
        assert_string_equal(before.data, after.data);
        avs_buf_free(&after);
        after = text_report(copy_name);
        assert_string_equal(before.data, after.data);
        avs_buf_free(&after);
        avs_buf_free(&before);
        s = sample_open(name);
        OK(avs_store_check(s, e));
        int64_t sweep = sample_sweep(s, "more", NULL), stage = sample_stage(s, sweep, "train", "train");
        sample_done(s, sample_register(s, sweep, sample_trial(stage, 0, "train", "m", "s4", "{\"q\":1}", 0)),
                    0.5, 0.5);
        OK(avs_store_flush(s, e));
        OK(avs_store_check(s, e));
        avs_store_close(s);
        /* The schema is that of a new file, but for the order in which it was made. */
        avs_store_close(sample_open("fresh.db"));
        static const char names[] = "SELECT count(*) FROM (SELECT m.name, p.name, p.type FROM sqlite_master "
                                    "m JOIN pragma_table_info(m.name) p WHERE"
                                    " m.name<>'v_trial')";
        assert_int_equal(ask(name, names), ask("fresh.db", names));
        assert_int_equal(
            ask(name, "SELECT count(*) FROM env WHERE threads IS NULL AND json_extract(vars,'$.threads')"),
            0);
        assert_int_equal(unlink(sample_path("fresh.db")), 0);
        OK(avs_store_migrate(sample_path(name), "t", &from, backup, sizeof backup, e));
        assert_int_equal(from, AVS_STORE_SCHEMA_VERSION);
        assert_string_equal(backup, "");
    }
}

static void a_migration_that_cannot_be_finished_changes_nothing(void **state)
{
    (void)state;
    char backup[512];
    int from;
    avs_err bad = AVS_ERR_INIT;
    make_old("stuck.db", 1);
    change("stuck.db", "CREATE TABLE tally(x)"); /* in the way */
    assert_int_equal(avs_store_migrate(sample_path("stuck.db"), "t", &from, backup, sizeof backup, &bad),
                     AVS_EDB);
    assert_non_null(strstr(bad.msg, "tally"));
    assert_int_equal(ask("stuck.db", "PRAGMA user_version"), 1);
    assert_int_equal(ask("stuck.db", "SELECT count(*) FROM v_progress"),
                     ask("stuck.db.v1.bak", "SELECT count(*) FROM v_progress"));
    change("stuck.db", "DROP TABLE tally");
    OK(avs_store_migrate(sample_path("stuck.db"), "t", &from, backup, sizeof backup, e));
    assert_non_null(strstr(backup, ".v1.bak.2"));

    make_old("broken.db", 1);
    change("broken.db", "PRAGMA foreign_keys=OFF; UPDATE trial SET best_attempt=NULL WHERE trial_id=1");
    assert_int_equal(avs_store_migrate(sample_path("broken.db"), "t", &from, backup, sizeof backup, &bad),
                     AVS_EDB);
    assert_non_null(strstr(bad.msg, "damaged and stays as it is: 1 done trials without a finished attempt"));

    change("stuck.db", "PRAGMA user_version=9");
    assert_int_equal(avs_store_migrate(sample_path("stuck.db"), "t", &from, backup, sizeof backup, &bad),
                     AVS_EDB);
    assert_non_null(strstr(bad.msg, "no way back"));
    avs_store_close(open_to_read("stuck.db")); /* reports of known tables go on */
}

static void a_file_on_network_storage_has_no_wal_and_a_snapshot_for_readers(void **state)
{
    (void)state;
    avs_store_assume_network(1);
    avs_store *s = sample_open("net.db");
    assert_string_equal(avs_store_journal(s), "truncate");
    board_fill(s);
    assert_false(avs_fs_exists(sample_path("net.db-wal")));
    assert_true(avs_store_group_ns(s) == 250000000);
    /* While the writer lives a lock lies beside the file, and the file itself is locked. */
    OK(avs_fs_write_atomic(sample_path("net.db.lock"), "x", 1, e));
    avs_store *r = NULL;
    int64_t sweep = sample_sweep(s, "late", NULL), stage = sample_stage(s, sweep, "train", "train");
    sample_register(s, sweep, sample_trial(stage, 0, "train", "m", "s4", "{}", 0));
    s->snapshot_ns = 1;           /* the last one was long ago */
    for (int i = 0; i < 4; i++) { /* further commits carry the copy on to its end */
        OK(avs_store_event(s, 'I', NULL, 0, "X", "tick", e));
        OK(avs_store_flush(s, e));
    }
    OK(avs_store_open(sample_path("net.db"), AVS_STORE_READ, NULL, &r, e));
    assert_non_null(strstr(avs_store_path(r), "net.db.snapshot.db"));
    assert_true(avs_store_snapshot_age_us(r) > 0 && avs_store_snapshot_age_us(r) < 60000000);
    int64_t counts[AVS_TRIAL_STATES];
    OK(avs_store_counts(r, "queries", counts, e));
    assert_int_equal(counts[AVS_TRIAL_DONE], 16);
    avs_buf b = AVS_BUF_INIT;
    OK(avs_report(r, &(avs_report_spec){.format = AVS_REPORT_TEXT, .sweep = "queries"}, &b, e));
    assert_non_null(strstr(b.data, "a snapshot 0 s old"));
    avs_buf_free(&b);
    avs_store_close(r);
    avs_store_close(s); /* publishes the last state */
    OK(avs_store_open(sample_path("net.db"), AVS_STORE_READ, NULL, &r, e));
    OK(avs_store_counts(r, "late", counts, e));
    assert_int_equal(counts[AVS_TRIAL_PENDING], 1);
    OK(avs_store_check(r, e));
    avs_store_close(r);
    assert_int_equal(unlink(sample_path("net.db.lock")), 0);
    OK(avs_store_open(sample_path("net.db"), AVS_STORE_READ, NULL, &r, e));
    assert_null(strstr(avs_store_path(r), "snapshot"));
    avs_store_close(r);
    avs_store_assume_network(-1);
    assert_true(avs_store_is_network_fs(0x6969));
    assert_true(avs_store_is_network_fs(0x0BD00BD0));
    assert_false(avs_store_is_network_fs(0xEF53));
    assert_false(avs_store_is_network_fs(0x01021994)); /* tmpfs */
}

static void a_copy_is_whole_while_others_write(void **state)
{
    (void)state;
    avs_store *s = sample_open("busy.db");
    board_fill(s);
    avs_store *r = open_to_read("busy.db");
    int64_t sweep = sample_sweep(s, "open", NULL); /* not committed */
    (void)sweep;
    char path[512];
    snprintf(path, sizeof path, "%s", sample_path("copy.db"));
    OK(avs_store_copy(r, path, e));
    avs_store_close(r);
    avs_store_close(s);
    assert_int_equal(ask("copy.db", "SELECT count(*) FROM sweep"), 1);
    assert_int_equal(ask("copy.db", "SELECT count(*) FROM trial WHERE state=2"), 16);
    avs_err bad = AVS_ERR_INIT;
    r = open_to_read("copy.db");
    assert_int_not_equal(avs_store_copy(r, sample_path("no/such/folder.db"), &bad), AVS_OK);
    avs_store_close(r);
}

/* Two sweeps that share seeds 0 and 1 of one configuration: done here, pending there, or done in both. */
static void fill_part(const char *name, int from, int to, double shift)
{
    avs_store *s = sample_open(name);
    int64_t sweep = sample_sweep(s, "shared", NULL), stage = sample_stage(s, sweep, "train", "train");
    for (int i = 0; i < 6; i++) {
        int64_t t = sample_register(
            s, sweep, sample_trial(stage, i, "train", "m", "s4", i < 3 ? "{\"q\":1}" : "{\"q\":2}", i % 3));
        if (i >= from && i < to) sample_done(s, t, 0.5 + 0.01 * i + (i == 2 ? shift : 0), 0.75);
        if (i == 5 && from == 0) sample_failed(s, t, "out of luck");
    }
    OK(avs_store_event(s, 'W', "n01", 1, "R001", name, e));
    OK(avs_store_flush(s, e));
    avs_store_close(s);
}

static void merging_unites_by_hash_and_keeps_what_differs(void **state)
{
    (void)state;
    fill_part("a.db", 0, 3, 0);
    fill_part("b.db", 2, 5, 0.125);
    avs_store *s = sample_open("a.db");
    avs_buf list = AVS_BUF_INIT;
    avs_merge_count c;
    char from[512];
    snprintf(from, sizeof from, "%s", sample_path("b.db"));
    OK(avs_store_merge(s, from, &list, &c, e));
    assert_int_equal(c.configs, 0);
    assert_int_equal(c.trials, 0);
    assert_int_equal(c.attempts, 3);
    assert_int_equal(c.taken, 2);
    assert_int_equal(c.conflicts, 1);
    assert_int_equal(c.sweeps, 0);
    assert_non_null(strstr(list.data, "miou:test is 0.52 here and 0.645 in "));
    OK(avs_store_check(s, e));
    avs_buf_clear(&list);
    OK(avs_store_merge(s, from, &list, &c, e)); /* once more: nothing new, the difference is still said */
    assert_int_equal(c.attempts + c.taken + c.trials + c.configs + c.sweeps, 0);
    avs_buf_free(&list);
    OK(avs_store_check(s, e));
    int64_t counts[AVS_TRIAL_STATES];
    OK(avs_store_counts(s, "shared", counts, e));
    assert_int_equal(counts[AVS_TRIAL_DONE], 5);
    assert_int_equal(counts[AVS_TRIAL_FAILED], 1);
    avs_store_close(s);
    assert_int_equal(ask("a.db", "SELECT count(*) FROM attempt"), 7);
    assert_int_equal(
        ask("a.db", "SELECT count(*) FROM attempt_result JOIN metric USING(metric_id) WHERE name='miou' AND"
                    " value=0.645"),
        1);
    assert_int_equal(
        ask("a.db",
            "SELECT count(*) FROM result JOIN metric USING(metric_id) WHERE name='miou' AND value=0.645"),
        0);
    assert_int_equal(
        ask("a.db", "SELECT count(*) FROM v_leaderboard WHERE metric='miou' AND n=2 AND abs(mean-0.535)<1e-12"
                    " AND abs(sd-0.00707106781)<1e-9"),
        1);
    assert_int_equal(ask("a.db", "SELECT count(*) FROM env"), 1);
    assert_int_equal(ask("a.db", "SELECT count(*) FROM event WHERE code='R001'"), 2);
}

static void merging_into_an_empty_file_copies_everything(void **state)
{
    (void)state;
    avs_store *s = sample_open("full.db");
    board_fill(s);
    avs_store_close(s);
    s = sample_open("empty.db");
    avs_buf list = AVS_BUF_INIT;
    avs_merge_count c;
    OK(avs_store_merge(s, sample_path("full.db"), &list, &c, e));
    assert_int_equal(c.trials, 18);
    assert_int_equal(c.taken, 16);
    assert_int_equal(c.conflicts, 0);
    assert_int_equal(c.sweeps, 1);
    OK(avs_store_check(s, e));
    avs_store_close(s);
    avs_buf_free(&list);
    avs_buf one = text_report("full.db"), two = text_report("empty.db");
    assert_string_equal(one.data, two.data);
    avs_buf_free(&one);
    avs_buf_free(&two);
    static const char *const tables[] = {"attempt",  "attempt_rank", "point",       "result", "latency",
                                         "artifact", "leaderboard",  "sweep_trial", "stage",  "sweep_source",
                                         "tally",    "usage",        "env"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char sql[96];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", tables[i]);
        assert_int_equal(ask("empty.db", sql), ask("full.db", sql));
    }
    assert_int_equal(ask("empty.db", "SELECT sum(length(samples)) FROM latency"),
                     ask("full.db", "SELECT sum(length(samples)) FROM latency"));
}

static void a_damaged_or_old_file_is_not_merged(void **state)
{
    (void)state;
    make_old("old.db", 1);
    avs_store *s = sample_open("target.db");
    avs_buf list = AVS_BUF_INIT;
    avs_merge_count c;
    avs_err bad = AVS_ERR_INIT;
    assert_int_equal(avs_store_merge(s, sample_path("old.db"), &list, &c, &bad), AVS_EDB);
    assert_non_null(strstr(bad.msg, "avsweep db migrate"));
    fill_part("c.db", 0, 1, 0);
    change("c.db", "CREATE TRIGGER t AFTER INSERT ON event BEGIN DELETE FROM result; END");
    assert_int_equal(avs_store_merge(s, sample_path("c.db"), &list, &c, &bad), AVS_EDB);
    assert_non_null(strstr(bad.msg, "triggers"));
    assert_int_equal(avs_store_merge(s, sample_path("absent.db"), &list, &c, &bad), AVS_EMISSING);
    sample_sweep(s, "x", NULL);
    assert_int_equal(avs_store_merge(s, sample_path("c.db"), &list, &c, &bad), AVS_EDB); /* writes wait */
    avs_store_close(s);
    avs_buf_free(&list);
}

static void garbage_goes_and_the_rest_stays(void **state)
{
    (void)state;
    avs_store *s = sample_open("gc.db");
    board_fill(s);
    avs_store_close(s);
    change("gc.db", "INSERT INTO env(hash) VALUES(x'00'); INSERT INTO gpu(uuid) VALUES('gone'); INSERT INTO "
                    "config(key, hash,"
                    " kind, params) VALUES(1, zeroblob(32), 'train', '{}'); UPDATE tally SET trials=77");
    avs_buf before = text_report("full.db"), after;
    s = sample_open("gc.db");
    avs_gc_count c;
    OK(avs_store_gc(s, NULL, &c, e));
    assert_int_equal(c.rows, 3);
    assert_int_equal(c.files, 1); /* "gone <&>.png" of the board */
    assert_true(c.after > 0);
    OK(avs_store_check(s, e));
    OK(avs_store_gc(s, NULL, &c, e));
    assert_int_equal(c.rows + c.files, 0);
    avs_store_close(s);
    after = text_report("gc.db");
    assert_string_equal(before.data, after.data);
    avs_buf_free(&before);
    avs_buf_free(&after);
}

static void every_check_finds_its_damage(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *says;
    } damage[] = {
        {"UPDATE trial SET hash=x'01' WHERE trial_id=1", "hashes that are not 32 bytes, for example trial 1"},
        {"UPDATE trial SET key=(SELECT key FROM trial WHERE trial_id=1), hash=(SELECT hash FROM trial WHERE "
         "trial_id=1) WHERE"
         " trial_id=2",
         "trials with the hash of another trial, for example trial 2"},
        {"UPDATE config SET key=(SELECT key FROM config WHERE config_id=1), hash=(SELECT hash FROM config "
         "WHERE config_id=1)"
         " WHERE config_id=2",
         "configurations with the hash of another one"},
        {"UPDATE trial SET best_attempt=NULL WHERE trial_id=1",
         "done trials without a finished attempt, for example trial 1"},
        {"DELETE FROM result WHERE trial_id=1", "done trials without any number"},
        {"UPDATE trial SET state=3 WHERE trial_id=1", "results of trials that are not done"},
        {"UPDATE attempt SET ended=NULL, reason=0 WHERE attempt_id=1",
         "live attempts of trials that do not run"},
        {"UPDATE trial SET state=1 WHERE trial_id=5", "running trials without a live attempt"},
        {"UPDATE attempt SET reason=0 WHERE attempt_id=2", "attempts that ended without a reason"},
        {"DELETE FROM sweep_trial WHERE ordinal=1", "stages whose ordinals are not dense"},
        {"UPDATE latency SET n=n+1", "latencies whose samples do not have the stated number"},
        {"UPDATE leaderboard SET n=4 WHERE n=5", "summaries of a configuration that do not fit"},
        {"UPDATE tally SET trials=trials+1 WHERE state=2 AND sweep_id=1", "counts of trials that do not fit"},
        {"UPDATE attempt_rank SET env_id=99 WHERE attempt_id=1",
         "broken references, for example table attempt_rank"},
    };
    avs_store *s = sample_open("sound.db");
    board_fill(s);
    avs_store_close(s);
    avs_buf whole = AVS_BUF_INIT;
    OK(avs_fs_read(sample_path("sound.db"), 0, &whole, e));
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        avs_buf list = AVS_BUF_INIT;
        int n;
        OK(avs_fs_write_atomic(sample_path("hurt.db"), whole.data, whole.len, e));
        change("hurt.db", damage[i].sql);
        s = open_to_read("hurt.db");
        OK(avs_store_check_all(s, &list, &n, e));
        avs_store_close(s);
        if (n < 1 || !strstr(avs_buf_cstr(&list), damage[i].says))
            fail_msg("%s: '%s' does not say '%s'", damage[i].sql, avs_buf_cstr(&list), damage[i].says);
        avs_buf_free(&list);
    }
    avs_buf_free(&whole);
}

static void counts_follow_every_change(void **state)
{
    (void)state;
    avs_store *s = sample_open("tally.db");
    int64_t counts[AVS_TRIAL_STATES];
    enum { SWEEPS = 20, TRIALS = 6 };
    for (int w = 0; w < SWEEPS;
         w++) { /* more sweeps in one group than there is room in memory; trials are shared */
        char name[32];
        snprintf(name, sizeof name, "w%d", w);
        int64_t sweep = sample_sweep(s, name, NULL), stage = sample_stage(s, sweep, "train", "train");
        for (int i = 0; i < TRIALS; i++) {
            int64_t t = sample_register(s, sweep, sample_trial(stage, i, "train", "m", "s4", "{}", w + i));
            if (i == 0 && w % 2) sample_done(s, t, 0.5, 0.5);
            if (i == 1 && w % 5 == 0) sample_failed(s, t, "x");
            if (i == 2 && w == 8) sample_begin(s, t);
            if (i == 3 && w == 9) OK(avs_store_set_state(s, t, AVS_TRIAL_CANCELLED, e));
        }
    }
    OK(avs_store_counts(s, NULL, counts, e)); /* of the open group */
    int64_t total = 0;
    for (int k = 0; k < AVS_TRIAL_STATES; k++) total += counts[k];
    assert_int_equal(total, SWEEPS + TRIALS - 1);
    OK(avs_store_flush(s, e));
    avs_buf list = AVS_BUF_INIT;
    int n;
    OK(avs_store_check_all(s, &list, &n, e));
    if (n) fail_msg("%s", list.data);
    avs_err bad = AVS_ERR_INIT; /* a call that fails leaves the counts */
    assert_int_equal(avs_store_set_state(s, 999, AVS_TRIAL_DONE, &bad), AVS_EMISSING);
    OK(avs_store_lose_orphans(s, NULL, e));
    OK(avs_store_flush(s, e));
    OK(avs_store_check(s, e));
    OK(avs_store_counts(s, "w8", counts, e));
    assert_int_equal(counts[AVS_TRIAL_RUNNING], 0);
    avs_store_close(s);
    avs_buf_free(&list);
}

/* Functions that a view calls, seen when it is prepared. */
static int watch(void *seen, int action, const char *a, const char *function, const char *db,
                 const char *trigger)
{
    static const char *const core[] = {"json_extract", "lower", "hex", "substr",  "count",
                                       "sum",          "max",   "min", "coalesce"};
    (void)a;
    (void)db;
    (void)trigger;
    if (action != SQLITE_FUNCTION) return SQLITE_OK;
    for (size_t i = 0; i < sizeof core / sizeof *core; i++)
        if (strcmp(core[i], function) == 0) return SQLITE_OK;
    *(const char **)seen = sqlite3_mprintf("%s", function);
    return SQLITE_OK;
}

static void views_use_only_what_every_sqlite_has(void **state)
{
    (void)state;
    static const char *const views[] = {"v_trial",   "v_leaderboard", "v_progress",  "v_failures",
                                        "v_latency", "v_cost",        "v_provenance"};
    avs_store *s = sample_open("views.db");
    board_fill(s);
    avs_store_close(s);
    sqlite3 *db = raw("views.db", SQLITE_OPEN_READONLY);
    const char *strange = NULL;
    assert_int_equal(sqlite3_set_authorizer(db, watch, &strange), SQLITE_OK);
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        sqlite3_stmt *st;
        char sql[64];
        int rows = 0;
        snprintf(sql, sizeof sql, "SELECT * FROM %s", views[i]);
        if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
            fail_msg("%s: %s", sql, sqlite3_errmsg(db));
        if (strange) fail_msg("%s calls %s", views[i], strange);
        while (sqlite3_step(st) == SQLITE_ROW) rows++;
        sqlite3_finalize(st);
        assert_true(rows > 0);
    }
    sqlite3_close(db);
}

static void an_attempt_knows_where_it_came_from(void **state)
{
    (void)state;
    avs_store *s = sample_open("origin.db");
    int64_t sweep = sample_sweep(s, "x", NULL), stage = sample_stage(s, sweep, "train", "train");
    avs_store_trial t = sample_trial(stage, 0, "train", "m", "s4", "{\"precision\":\"bf16\"}", 7);
    uint8_t data[32] = {0xab};
    t.data_fp = data;
    avs_store_result r = {"miou", "test", 0.5, "fraction", 1};
    avs_store_end end = {
        .reason = AVS_END_OK,
        .results = &r,
        .n_results = 1,
        .host = "n01",
        .env_json =
            "{\"kernel\":\"6.1\",\"cpu\":\"A\",\"mem_bytes\":1024,\"commit\":\"c0ffee\",\"commit_dirty\":1,"
            "\"compiler\":"
            "\"cc "
            "12\",\"flags\":\"-O3\",\"libraries\":{\"onednn\":\"3.4\"},\"precision\":\"fp32\",\"threads\":2,"
            "\"environment\":{\"OMP_NUM_THREADS\":\"2\"},\"driver\":\"550\",\"load\":0.5,\"gpus\":[{\"uuid\":"
            "\"GPU-1\","
            "\"model\":\"H100\",\"mem\":80,\"sm\":90},{\"uuid\":\"GPU-2\",\"model\":\"H100\"},{\"model\":\"?"
            "\"}]}"};
    OK(avs_store_attempt_end(s, sample_begin(s, sample_register(s, sweep, t)), &end, NULL, e));
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    assert_int_equal(
        ask("origin.db",
            "SELECT count(*) FROM v_provenance WHERE sweep='x' AND git_commit='c0ffee' AND git_dirty=1 AND"
            " code_fp='c0ffee+' AND compiler='cc 12' AND flags='-O3' AND "
            "json_extract(libraries,'$.onednn')='3.4'"
            " AND host='n01' AND kernel='6.1' AND cpu='A' AND mem='1024' AND gpu='H100' AND gpu_uuid='GPU-1' "
            "AND"
            " driver='550' AND precision='bf16' AND threads=2 AND seed=7 AND counts AND"
            " data_fingerprint LIKE 'ab0000%' AND json_extract(environment,'$.OMP_NUM_THREADS')='2'"),
        1);
    assert_int_equal(ask("origin.db", "SELECT count(*) FROM gpu WHERE sm=90 OR model='H100'"), 2);
    assert_int_equal(ask("origin.db", "SELECT attempts FROM usage WHERE host='n01' AND env_id=1"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_older_schema_is_reported_then_migrated_with_a_copy),
        cmocka_unit_test(a_migration_that_cannot_be_finished_changes_nothing),
        cmocka_unit_test(a_file_on_network_storage_has_no_wal_and_a_snapshot_for_readers),
        cmocka_unit_test(a_copy_is_whole_while_others_write),
        cmocka_unit_test(merging_unites_by_hash_and_keeps_what_differs),
        cmocka_unit_test(merging_into_an_empty_file_copies_everything),
        cmocka_unit_test(a_damaged_or_old_file_is_not_merged),
        cmocka_unit_test(garbage_goes_and_the_rest_stays),
        cmocka_unit_test(every_check_finds_its_damage),
        cmocka_unit_test(counts_follow_every_change),
        cmocka_unit_test(views_use_only_what_every_sqlite_has),
        cmocka_unit_test(an_attempt_knows_where_it_came_from),
    };
    return cmocka_run_group_tests(tests, sample_setup, sample_teardown);
}
