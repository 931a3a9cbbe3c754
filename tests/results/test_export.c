/* Exports read back by other means than the writers': checksums against known values, records by their framing, lines by a
 * parser, the copy by SQLite. */
#include "tests/results/board.h"

#include <dirent.h>
#include <sqlite3.h>
#include "base/json.h"
#include "results/export.h"
#include "results/export_trial.h"
#include "results/export_wire.h"

static int fill(void **state)
{
    if (sample_setup(state) != 0) return -1;
    avs_store *s = sample_open("board.db");
    board_fill(s);
    avs_store_close(s);
    return 0;
}

static int export_from(const char *db, const char *word, const char *where, const char *path, avs_err *err)
{
    avs_export_spec spec = {.where = where};
    avs_store *s;
    OK(avs_export_parse(word, &spec.to, e));
    OK(avs_store_open(sample_path(db), AVS_STORE_READ, NULL, &s, e));
    int rc = avs_export(s, &spec, path, err);
    avs_store_close(s);
    return rc;
}

static int export_to(const char *word, const char *where, const char *path, avs_err *err)
{
    return export_from("board.db", word, where, path, err);
}

static avs_buf read_all(const char *path)
{
    avs_buf b = AVS_BUF_INIT;
    OK(avs_fs_read(path, 0, &b, e));
    return b;
}

static void checksums_are_those_of_their_standards(void **state)
{
    (void)state;
    assert_int_equal(avs_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(avs_crc32(0, "123456789", 9), 0xcbf43926);
    assert_int_equal(avs_crc32(avs_crc32(0, "1234", 4), "56789", 5), 0xcbf43926);
    unsigned char zeros[32] = {0};
    assert_int_equal(avs_crc32c(zeros, 32), 0x8a9136aa); /* RFC 3720, B.4 */
}

static void csv_has_a_line_per_trial(void **state)
{
    (void)state;
    OK(export_to("csv", NULL, sample_path("t.csv"), e));
    avs_buf b = read_all(sample_path("t.csv"));
    int lines = 0;
    for (const char *p = b.data; *p; p++) lines += *p == '\n';
    assert_int_equal(lines, 19);
    assert_int_equal(strncmp(b.data, "trial,config,sweep,kind,model,task,seed,state,", 46), 0);
    assert_non_null(strstr(b.data, "test/miou"));
    char head[4096] = ",", column[80];
    strncat(head, b.data, strcspn(b.data, "\n"));
    strcat(head, ",");
    for (const char *p = head; p[1]; p += strcspn(p + 1, ",") + 1) { /* no two columns of one name */
        snprintf(column, sizeof column, "%.*s", (int)strcspn(p + 1, ",") + 2, p);
        assert_ptr_equal(strstr(head, column), p);
    }
    assert_null(strstr(head, "param/")); /* model and task stand in their columns already */
    assert_non_null(strstr(b.data, ",failed,"));
    assert_non_null(strstr(b.data, ",0.796"));
    avs_buf_free(&b);
    OK(export_to("csv", "num_queries=16,kind=latency", sample_path("t.csv"), e));
    b = read_all(sample_path("t.csv"));
    assert_non_null(strstr(b.data, ",12550000"));
    avs_buf_free(&b);
}

static void a_parameter_with_the_name_of_a_column_has_a_prefix(void **state)
{
    (void)state;
    avs_store *s = sample_open("host.db");
    const int64_t sweep = sample_sweep(s, "own", NULL), stage = sample_stage(s, sweep, "main", "exec");
    sample_done(
        s,
        sample_register(s, sweep, sample_trial(stage, 0, "exec", "", "", "{\"host\":\"h7\",\"width\":3}", 0)),
        0.5, 0.6);
    OK(avs_store_flush(s, e));
    avs_store_close(s);
    OK(export_from("host.db", "csv", NULL, sample_path("h.csv"), e));
    avs_buf b = read_all(sample_path("h.csv"));
    assert_non_null(strstr(b.data, ",host,"));
    assert_non_null(strstr(b.data, ",param/host,width,"));
    assert_non_null(strstr(b.data, ",h7,3,"));
    avs_buf_free(&b);
}

static void json_lines_parse_and_carry_the_series(void **state)
{
    (void)state;
    OK(export_to("jsonl", NULL, sample_path("t.jsonl"), e));
    avs_buf b = read_all(sample_path("t.jsonl"));
    avs_arena *a = avs_arena_new();
    int lines = 0, with_series = 0;
    for (char *rest = NULL, *line = strtok_r(b.data, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest), lines++) {
        avs_json *o;
        OK(avs_json_parse(a, "line", line, strlen(line), &o, e));
        const avs_json *loss = avs_json_get(avs_json_get(o, "series"), "loss");
        if (!loss) continue;
        with_series++;
        assert_int_equal(loss->len, 40);
        assert_int_equal(avs_json_at(avs_json_at(loss, 3), 0)->i, 30);
    }
    assert_int_equal(lines, 18);
    assert_int_equal(with_series, 3);
    avs_arena_free(a);
    avs_buf_free(&b);
}

static void the_sqlite_copy_is_whole(void **state)
{
    (void)state;
    sqlite3 *db;
    sqlite3_stmt *q;
    OK(export_to("sqlite", NULL, sample_path("copy.db"), e));
    assert_int_equal(sqlite3_open_v2(sample_path("copy.db"), &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*), sum(state=2) FROM trial", -1, &q, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(q, 0), 18);
    assert_int_equal(sqlite3_column_int(q, 1), 16);
    sqlite3_finalize(q);
    sqlite3_close(db);
    avs_err bad = AVS_ERR_INIT;
    assert_int_equal(export_to("sqlite", "task=s4", sample_path("copy2.db"), &bad), AVS_ERANGE);
}

static uint64_t little(const char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) v = v << 8 | (unsigned char)p[i];
    return v;
}

/* The first file below a folder whose name contains word, one folder deep. */
static const char *find_below(const char *folder, const char *in, const char *word)
{
    static char path[1200];
    char sub[700];
    DIR *d = opendir(folder);
    path[0] = 0;
    for (struct dirent *x; d && (x = readdir(d)) && !path[0];) {
        if (x->d_name[0] == '.' || !strstr(x->d_name, in)) continue;
        snprintf(sub, sizeof sub, "%s/%s", folder, x->d_name);
        DIR *inner = opendir(sub);
        for (struct dirent *y; inner && (y = readdir(inner));)
            if (strstr(y->d_name, word)) snprintf(path, sizeof path, "%s/%s", sub, y->d_name);
        if (inner) closedir(inner);
    }
    if (d) closedir(d);
    return path;
}

static void event_files_have_valid_records(void **state)
{
    (void)state;
    OK(export_to("tensorboard", "num_queries=16,seed=0,kind=train", sample_path("tb"), e));
    avs_buf b = read_all(find_below(sample_path("tb"), "avesformer-s4-", "events.out.tfevents."));
    int records = 0, losses = 0;
    for (size_t at = 0; at < b.len; records++) {
        const char *p = b.data + at;
        const size_t n = (size_t)little(p, 8);
        assert_true(at + 16 + n <= b.len);
        assert_int_equal(little(p + 8, 4), avs_crc32c_masked(p, 8));
        assert_int_equal(little(p + 12 + n, 4), avs_crc32c_masked(p + 12, n));
        for (size_t i = 0; i + 6 < n; i++) losses += memcmp(p + 12 + i, "\x0a\x04loss\x15", 7) == 0;
        at += 16 + n;
    }
    assert_int_equal(losses, 40);
    assert_int_equal(records, 1 + 40 + 4);
    avs_buf_free(&b);
}

/* Fragments join to records; a fragment never crosses a block. */
static void offline_runs_have_valid_records(void **state)
{
    (void)state;
    OK(export_to("wandb", "num_queries=16,seed=0,kind=train", sample_path("wb"), e));
    avs_buf b = read_all(find_below(sample_path("wb"), "offline-run-", ".wandb"));
    int records = 0;
    assert_memory_equal(b.data, ":W&B\xe1\xbe\0", 7);
    for (size_t at = 7; at < b.len;) {
        const size_t room = 32768 - at % 32768;
        if (room < 7) {
            at += room;
            continue;
        }
        const char *p = b.data + at;
        const size_t n = (size_t)little(p + 4, 2);
        assert_true(n + 7 <= room && at + 7 + n <= b.len);
        assert_int_equal(little(p, 4), avs_crc32(0, p + 6, n + 1));
        records += p[6] == 1 || p[6] == 2;
        at += 7 + n;
    }
    assert_int_equal(records, 2 + 40 + 2); /* header, run, history, summary, exit */
    avs_buf_free(&b);
}

static void the_file_store_has_its_files(void **state)
{
    (void)state;
    char path[1400], run[1200];
    OK(export_to("mlflow", "num_queries=16,seed=0,kind=train", sample_path("ml"), e));
    snprintf(run, sizeof run, "%s", find_below(sample_path("ml"), "", "meta.yaml"));
    avs_buf b = read_all(run);
    assert_non_null(strstr(b.data, "name: \"queries\"\n"));
    avs_buf_free(&b);
    *strrchr(run, '/') = 0;
    DIR *d = opendir(run);
    bool found = false;
    for (struct dirent *x; d && (x = readdir(d));) {
        if (strlen(x->d_name) != 32) continue;
        found = true;
        snprintf(path, sizeof path, "%s/%.32s/metrics/loss", run, x->d_name);
        b = read_all(path);
        assert_non_null(strstr(b.data, " 1.05 0\n"));
        avs_buf_free(&b);
        snprintf(path, sizeof path, "%s/%.32s/metrics/test/miou", run, x->d_name);
        b = read_all(path);
        assert_non_null(strstr(b.data, " 0.796 0\n"));
        avs_buf_free(&b);
        snprintf(path, sizeof path, "%s/%.32s/params/num_queries", run, x->d_name);
        b = read_all(path);
        assert_string_equal(b.data, "16");
        avs_buf_free(&b);
    }
    if (d) closedir(d);
    assert_true(found);
}

static void names_cannot_leave_their_folder(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    assert_string_equal(avs_export_name(a, "../../etc/passwd", true), "_./_./etc/passwd");
    assert_string_equal(avs_export_name(a, "/a b;$(x)", true), "_a_b___x_");
    assert_string_equal(avs_export_name(a, "a/b", false), "a_b");
    assert_string_equal(avs_export_name(a, "", true), "_");
    avs_arena_free(a);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    avs_export_to to;
    avs_err bad = AVS_ERR_INIT;
    assert_int_equal(avs_export_parse("comet", &to, &bad), AVS_ERANGE);
    assert_non_null(strstr(bad.msg, "tensorboard"));
    assert_int_equal(export_to("mlflow", NULL, "-", &bad), AVS_ERANGE);
    assert_int_equal(export_to("csv", "num_queries=7", sample_path("x.csv"), &bad), AVS_EMISSING);
    assert_false(avs_fs_exists(sample_path("x.csv")));
    assert_int_equal(export_to("csv", NULL, "/proc/nowhere/x.csv", &bad), AVS_EIO);
    assert_int_equal(export_to("mlflow", NULL, "/proc/nowhere", &bad), AVS_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums_are_those_of_their_standards),
        cmocka_unit_test(csv_has_a_line_per_trial),
        cmocka_unit_test(a_parameter_with_the_name_of_a_column_has_a_prefix),
        cmocka_unit_test(json_lines_parse_and_carry_the_series),
        cmocka_unit_test(the_sqlite_copy_is_whole),
        cmocka_unit_test(event_files_have_valid_records),
        cmocka_unit_test(offline_runs_have_valid_records),
        cmocka_unit_test(the_file_store_has_its_files),
        cmocka_unit_test(names_cannot_leave_their_folder),
        cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, fill, sample_teardown);
}
