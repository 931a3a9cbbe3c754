/* Damaged files: bytes flipped, pages zeroed, swapped or cut off, values replaced by others of the wrong kind. Whatever is
 * asked of such a file, the answer is a result or one line that says what is wrong. AVS_DAMAGE_ROUNDS=N runs more rounds. */
#include "tests/results/board.h"

#include <sqlite3.h>
#include "base/rng.h"
#include "results/compare.h"
#include "results/db.h"
#include "results/maintain.h"
#include "results/report.h"

enum { PAGE = 8192 };

static int rounds(int usual)
{
    const char *text = getenv("AVS_DAMAGE_ROUNDS");
    return text ? atoi(text) : usual;
}

static void one_line(int rc, const avs_err *e, const char *what)
{
    if (rc == AVS_OK) return;
    if (!*e->msg || strchr(e->msg, '\n')) fail_msg("%s says '%s'", what, e->msg);
    if (rc < AVS_OK) fail_msg("%s returns %d", what, rc);
}

/* Everything that only reads. */
static void ask_all(const char *path)
{
    static const avs_report_format formats[] = {AVS_REPORT_TEXT, AVS_REPORT_JSON, AVS_REPORT_HTML};
    avs_store *s = NULL;
    avs_err e = AVS_ERR_INIT;
    avs_buf out = AVS_BUF_INIT;
    int64_t counts[AVS_TRIAL_STATES];
    int n, verdicts[AVS_VERDICTS], rc = avs_store_open(path, AVS_STORE_READ, NULL, &s, &e);
    one_line(rc, &e, "open");
    if (rc != AVS_OK) return;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        avs_buf_clear(&out);
        one_line(avs_report(s, &(avs_report_spec){.format = formats[i], .mixed = true, .suspect = i == 1},
                            &out, &e),
                 &e, "report");
    }
    avs_arena *a = avs_arena_new();
    avs_store_failure *failed;
    size_t found;
    one_line(avs_store_failures(s, NULL, 5, a, &failed, &found, &e), &e, "failures");
    avs_arena_free(a);
    one_line(avs_store_counts(s, "queries", counts, &e), &e, "counts");
    avs_buf_clear(&out);
    one_line(avs_store_check_all(s, &out, &n, &e), &e, "check");
    avs_compare_spec c = {.a = {s, "num_queries=8", NULL, NULL, "A"},
                          .b = {s, "num_queries=16", NULL, NULL, "B"},
                          .metric = "miou",
                          .format = AVS_REPORT_TEXT};
    one_line(avs_compare(&c, &out, verdicts, &e), &e, "compare");
    avs_buf_free(&out);
    avs_store_close(s);
}

/* A coordinator that goes on with the file, and a merge from it. */
static void go_on(const char *path, const char *target)
{
    avs_store *s = NULL;
    avs_err e = AVS_ERR_INIT;
    avs_store_trial t = sample_trial(1, 100, "train", "m", "s4", "{\"q\":1}", 0);
    avs_buf list = AVS_BUF_INIT;
    avs_merge_count count;
    int64_t attempt = 0;
    int rc = avs_store_open(target, AVS_STORE_WRITE, "t", &s, &e);
    assert_int_equal(rc, AVS_OK);
    one_line(avs_store_merge(s, path, &list, &count, &e), &e, "merge");
    /* the target stays sound whatever came */
    if (avs_store_check(s, &e) != AVS_OK) fail_msg("the target of a merge: %s", e.msg);
    avs_store_close(s);
    avs_buf_free(&list);
    rc = avs_store_open(path, AVS_STORE_WRITE, "t", &s, &e);
    one_line(rc, &e, "open to write");
    if (rc != AVS_OK) return;
    one_line(avs_store_lose_orphans(s, NULL, &e), &e, "orphans");
    rc = avs_store_register(s, 1, &t, 1, &e);
    one_line(rc, &e, "register");
    if (rc == AVS_OK)
        one_line(
            avs_store_attempt_begin(s, &(avs_store_start){.trial_id = t.trial_id}, &attempt, NULL, NULL, &e),
            &e, "begin");
    avs_store_result r = {"miou", "test", 0.5, "fraction", 1};
    one_line(avs_store_attempt_end(
                 s, attempt, &(avs_store_end){.reason = AVS_END_OK, .results = &r, .n_results = 1}, NULL, &e),
             &e, "end");
    one_line(avs_store_flush(s, &e), &e, "flush");
    avs_gc_count gc;
    one_line(avs_store_gc(s, NULL, &gc, &e), &e, "gc");
    avs_store_close(s);
}

static avs_buf sound_file(void)
{
    avs_buf whole = AVS_BUF_INIT;
    if (!avs_fs_exists(sample_path("sound.db"))) {
        avs_store *s = sample_open("sound.db");
        board_fill(s);
        avs_store_close(s); /* the log is empty now */
    }
    OK(avs_fs_read(sample_path("sound.db"), 0, &whole, e));
    return whole;
}

static void hurt(avs_rng *r, avs_buf *b)
{
    const int64_t pages = (int64_t)b->len / PAGE;
    char *page = b->data + PAGE * avs_rng_range(r, 0, pages - 1),
         *other = b->data + PAGE * avs_rng_range(r, 0, pages - 1);
    char copy[PAGE];
    switch (avs_rng_range(r, 0, 5)) {
    case 0: /* a few bits anywhere but in the header's magic */
        for (int64_t k = avs_rng_range(r, 1, 20); k > 0; k--)
            b->data[avs_rng_range(r, 16, (int64_t)b->len - 1)] ^= (char)(1 << avs_rng_range(r, 0, 7));
        break;
    case 1: /* the header of a page: type, number of cells, free space */
        for (int k = 0; k < 4; k++) page[avs_rng_range(r, 0, 15)] = (char)avs_rng_u64(r);
        break;
    case 2:
        memset(page, 0, PAGE);
        break;
    case 3:
        memcpy(copy, page, PAGE);
        memmove(page, other, PAGE);
        memcpy(other, copy, PAGE);
        break;
    case 4:
        b->len = (size_t)avs_rng_range(r, 0, (int64_t)b->len - 1);
        break;
    default: /* noise in one place: cells, lengths, texts */
        for (int64_t at = avs_rng_range(r, 0, PAGE - 64), k = 0; k < 64; k++)
            page[at + k] = (char)avs_rng_u64(r);
        break;
    }
}

static void remove_logs(const char *name)
{
    static const char *const tail[] = {"-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof tail / sizeof *tail; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s%s", name, tail[i]);
        unlink(sample_path(path));
    }
}

static void damaged_bytes_are_told_in_one_line(void **state)
{
    (void)state;
    avs_buf whole = sound_file(), b = AVS_BUF_INIT;
    avs_store_close(sample_open("target.db"));
    char target[512], path[512];
    snprintf(target, sizeof target, "%s", sample_path("target.db"));
    snprintf(path, sizeof path, "%s", sample_path("hurt.db"));
    for (int i = 0, n = rounds(60); i < n; i++) {
        avs_rng r = avs_rng_seed(1000 + (uint64_t)i);
        avs_buf_clear(&b);
        avs_buf_put(&b, whole.data, whole.len);
        hurt(&r, &b);
        remove_logs("hurt.db");
        OK(avs_fs_write_atomic(path, b.data, b.len, e));
        ask_all(path);
        go_on(path, target);
    }
    avs_buf_free(&b);
    avs_buf_free(&whole);
}

/* STRICT tables refuse a wrong type, not a wrong value; a schema without STRICT would not even do that. */
static void values_that_make_no_sense_are_survived(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "UPDATE config SET params='{}'",
        "UPDATE config SET params='{\"a\":[1,{\"b\":null}],\"\":\"\",\"c\\u0000d\":1e400}'",
        "UPDATE config SET params='{\"x\":' || replace(hex(zeroblob(20000)),'00','[') || "
        "replace(hex(zeroblob(20000)),'00',']') || '}'",
        "UPDATE config SET model=NULL, task=CAST(x'fffe80' AS TEXT)",
        "UPDATE config SET kind=''",
        "UPDATE trial SET seed=-9223372036854775808 WHERE trial_id=1; UPDATE trial SET "
        "seed=9223372036854775807 WHERE trial_id=2",
        "UPDATE trial SET best_attempt=NULL",
        "UPDATE trial SET attempts=-5, epoch=9223372036854775807, priority=9e999",
        "UPDATE latency SET samples=x'', n=0",
        "UPDATE latency SET samples=x'010203', n=-7, unit_ns=-1, p50=-9e999",
        "UPDATE latency SET unit_ns=9e999, p50=9e999, flags=-1, clocks='[]'",
        "UPDATE result SET value=9e999; UPDATE leaderboard SET mean=-9e999, sd=9e999, n=-1",
        "UPDATE metric SET name='' WHERE name='miou'",
        "UPDATE metric SET unit='parsec', better=99",
        "UPDATE attempt SET ended=-1, started=9223372036854775807",
        "UPDATE attempt SET message=replace(hex(zeroblob(5000)),'00','\n')",
        "UPDATE env SET vars='[]', host=NULL, cpu=NULL",
        "UPDATE published SET config_match='[1,2]', value=9e999",
        "UPDATE sweep SET name=char(8238)||'<script>', report='{\"by\":3,\"metrics\":{\"a\":1}}', "
        "started=NULL",
        "UPDATE sweep SET report='{\"by\":[\"nothing\"],\"metrics\":[\"@\",\"miou@\"]}'",
        "DELETE FROM state_name; DELETE FROM reason_name",
        "DELETE FROM tally; DELETE FROM usage",
        "UPDATE tally SET trials=-9223372036854775808",
        "UPDATE point SET step=-9223372036854775808+step, value=9e999",
        "UPDATE artifact SET path=replace(hex(zeroblob(9000)),'00','../')",
        "DROP VIEW v_trial; CREATE TABLE v_trial(x)",
        "DROP TABLE event",
        "DROP TABLE latency",
        "DROP TABLE result; CREATE TABLE result(trial_id, metric_id, split, value); INSERT INTO result "
        "VALUES('a','b',x'00',NULL),(1,1,NULL,'text')",
        "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql='CREATE TABLE nonsense(' WHERE "
        "name='config'",
    };
    avs_buf whole = sound_file();
    char target[512], path[512];
    avs_store_close(sample_open("target2.db"));
    snprintf(target, sizeof target, "%s", sample_path("target2.db"));
    snprintf(path, sizeof path, "%s", sample_path("odd.db"));
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        sqlite3 *db;
        remove_logs("odd.db");
        OK(avs_fs_write_atomic(path, whole.data, whole.len, e));
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        sqlite3_exec(db, "PRAGMA ignore_check_constraints=ON", NULL, NULL, NULL);
        sqlite3_exec(db, changes[i], NULL, NULL, NULL);
        sqlite3_close(db);
        ask_all(path);
        go_on(path, target);
    }
    avs_buf_free(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_bytes_are_told_in_one_line),
        cmocka_unit_test(values_that_make_no_sense_are_survived),
    };
    return cmocka_run_group_tests(tests, sample_setup, sample_teardown);
}
