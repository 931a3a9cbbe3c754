/* The door to exports: which trials, then one writer per format; CSV and JSON lines are written here. */
#include "results/export.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "results/db.h"
#include "results/export_trial.h"
#include "results/query.h"
#include "results/render.h"

static const struct {
    const char *word;
    avs_export_to to;
} known[] = {{"csv", AVS_EXPORT_CSV},
             {"json", AVS_EXPORT_JSON},
             {"jsonl", AVS_EXPORT_JSON},
             {"sqlite", AVS_EXPORT_SQLITE},
             {"mlflow", AVS_EXPORT_MLFLOW},
             {"wandb", AVS_EXPORT_WANDB},
             {"tensorboard", AVS_EXPORT_TENSORBOARD}};

int avs_export_parse(const char *word, avs_export_to *out, avs_err *e)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].word, word) != 0) continue;
        *out = known[i].to;
        return AVS_OK;
    }
    return avs_fail(e, AVS_ERANGE,
                    "export to '%s' is not known; there are csv, json, sqlite, mlflow, wandb and tensorboard",
                    word);
}

/* ---- the whole file ---- */

/* Page by page, then out of WAL mode and compacted, so that the copy is one file that any sqlite3 opens. */
static int copy_database(avs_store *s, const char *path, avs_err *e)
{
    sqlite3 *to = NULL;
    int rc = sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    sqlite3_backup *b = rc == SQLITE_OK ? sqlite3_backup_init(to, "main", s->db, "main") : NULL;
    if (b) {
        (void)sqlite3_backup_step(b, -1);
        rc = sqlite3_backup_finish(b);
        if (rc == SQLITE_OK) rc = sqlite3_exec(to, "PRAGMA journal_mode=DELETE; VACUUM", NULL, NULL, NULL);
    } else if (rc == SQLITE_OK) {
        rc = sqlite3_errcode(to);
    }
    if (rc != SQLITE_OK) avs_fail(e, AVS_EIO, "%s cannot be written: %s", path, sqlite3_errstr(rc));
    sqlite3_close(to);
    return rc == SQLITE_OK ? AVS_OK : AVS_EIO;
}

static int export_sqlite(avs_store *s, const avs_export_spec *spec, const char *path, avs_err *e)
{
    char tmp[4096];
    int rc;
    if (spec->sweep || spec->where)
        return avs_fail(e, AVS_ERANGE,
                        "an export to sqlite copies the whole database; leave --sweep and --where out");
    int n = snprintf(tmp, sizeof tmp, "%s.tmp.%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof tmp)
        return avs_fail(e, AVS_ERANGE, "the path %.60s.. is too long", path);
    AVS_TRY(copy_database(s, tmp, e));
    if (rename(tmp, path) != 0) rc = avs_fail(e, AVS_EIO, "%s cannot be written: %s", path, strerror(errno));
out:
    if (rc != AVS_OK) (void)unlink(tmp);
    return rc;
}

/* ---- lines ---- */

static void json_line(avs_buf *out, const avs_export_trial *t)
{
    const struct {
        const char *key, *text;
    } texts[] = {{"trial", t->hash},    {"config", t->config_hash}, {"kind", t->kind},   {"model", t->model},
                 {"task", t->task},     {"state", t->state},        {"sweep", t->sweep}, {"host", t->host},
                 {"reason", t->reason}, {"message", t->message}};
    avs_buf_str(out, "{\"type\":\"trial\",\"v\":1");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        avs_buf_fmt(out, ",\"%s\":", texts[i].key);
        avs_json_write_str(out, texts[i].text);
    }
    avs_buf_fmt(out, ",\"seed\":%lld,\"attempts\":%lld,\"started_us\":%lld,\"ended_us\":%lld,\"params\":",
                (long long)t->seed, (long long)t->attempts, (long long)t->started_us, (long long)t->ended_us);
    avs_json_write(out, t->params, true);
    avs_buf_str(out, ",\"values\":{");
    for (int i = 0; i < t->n_values; i++) {
        avs_buf_str(out, i ? "," : "");
        avs_json_write_str(out, t->value[i].name);
        avs_buf_char(out, ':');
        avs_json_write_num(out, t->value[i].value);
    }
    avs_buf_str(out, "},\"series\":{");
    for (int i = 0; i < t->n_series; i++) {
        avs_buf_str(out, i ? "," : "");
        avs_json_write_str(out, t->series[i].name);
        avs_buf_str(out, ":[");
        for (size_t k = 0; k < t->series[i].n; k++) {
            avs_buf_fmt(out, "%s[%lld,", k ? "," : "", (long long)t->series[i].step[k]);
            avs_json_write_num(out, t->series[i].value[k]);
            avs_buf_char(out, ']');
        }
        avs_buf_char(out, ']');
    }
    avs_buf_str(out, "}}\n");
}

typedef struct {
    const char **key;
    int n, cap;
} columns;

/* Adds a name in order of appearance; false when memory is out. */
static bool add_column(columns *c, avs_arena *a, const char *name)
{
    for (int i = 0; i < c->n; i++)
        if (strcmp(c->key[i], name) == 0) return true;
    if (c->n == c->cap) {
        const int grown = c->cap ? 2 * c->cap : 64;
        const char **more = AVS_NEW_N(a, const char *, grown);
        if (!more) return false;
        if (c->n) memcpy(more, c->key, (size_t)c->n * sizeof *more);
        c->key = more;
        c->cap = grown;
    }
    return (c->key[c->n++] = avs_arena_str(a, name)) != NULL;
}

static int value_columns(avs_store *s, avs_arena *a, columns *c, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc;
    AVS_TRY(avs_db_bind(s, &q, e,
                        "SELECT CASE split WHEN '' THEN 'final' ELSE split END||'/'||name FROM (SELECT "
                        "DISTINCT metric_id, split FROM"
                        " result) JOIN metric USING(metric_id) UNION SELECT 'final/'||name||'_'||stat||'_ns' "
                        "FROM (SELECT DISTINCT"
                        " name FROM latency), (SELECT 'p50' AS stat UNION SELECT 'p90' UNION SELECT 'p99' "
                        "UNION SELECT 'mean' UNION"
                        " SELECT 'min' UNION SELECT 'max') ORDER BY 1",
                        ""));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        if (add_column(c, a, avs_db_text(q, 0))) continue;
        sqlite3_reset(q);
        return avs_fail(e, AVS_ENOMEM, "no memory for columns");
    }
out:
    return rc;
}

static const char *const fixed[] = {"trial", "config", "sweep", "kind",       "model",   "task",
                                    "seed",  "state",  "host",  "started_us", "ended_us"};
enum { N_FIXED = sizeof fixed / sizeof *fixed };

static bool is_fixed(const char *name)
{
    for (int i = 0; i < N_FIXED; i++)
        if (strcmp(fixed[i], name) == 0) return true;
    return false;
}

/* Parameters that have their column already. */
static bool is_told(const char *param)
{
    return strcmp(param, "model") == 0 || strcmp(param, "task") == 0;
}

/* No two columns have one name: a parameter called host is param/host. */
static void csv_head(avs_buf *out, const columns *params, const columns *values)
{
    for (int i = 0; i < N_FIXED; i++) avs_buf_fmt(out, "%s%s", i ? "," : "", fixed[i]);
    for (int i = 0; i < params->n; i++) {
        if (is_told(params->key[i])) continue;
        avs_buf_str(out, is_fixed(params->key[i]) ? ",param/" : ",");
        avs_csv_text(out, params->key[i]);
    }
    for (int i = 0; i < values->n; i++) {
        avs_buf_char(out, ',');
        avs_csv_text(out, values->key[i]);
    }
    avs_buf_char(out, '\n');
}

static void csv_line(avs_buf *out, const avs_export_trial *t, const columns *params, const columns *values,
                     avs_arena *a)
{
    const char *texts[] = {t->hash, t->config_hash, t->sweep, t->kind, t->model, t->task};
    for (int i = 0; i < 6; i++) {
        avs_buf_str(out, i ? "," : "");
        avs_csv_text(out, texts[i]);
    }
    avs_buf_fmt(out, ",%lld,%s,", (long long)t->seed, t->state);
    avs_csv_text(out, t->host);
    avs_buf_fmt(out, ",%lld,%lld", (long long)t->started_us, (long long)t->ended_us);
    for (int i = 0; i < params->n; i++) {
        const avs_json *p = avs_json_get(t->params, params->key[i]);
        if (is_told(params->key[i])) continue;
        avs_buf_char(out, ',');
        if (p) avs_csv_text(out, avs_export_param(a, p));
    }
    for (int i = 0; i < values->n; i++) {
        avs_buf_char(out, ',');
        for (int k = 0; k < t->n_values; k++)
            if (strcmp(t->value[k].name, values->key[i]) == 0) avs_json_write_num(out, t->value[k].value);
    }
    avs_buf_char(out, '\n');
}

/* ---- all trials ---- */

typedef struct {
    avs_store *s;
    const avs_export_spec *spec;
    const char *path;
    int fd;
    columns params, values;
} job;

static int write_trial(const job *j, int64_t id, avs_buf *out, avs_err *e)
{
    avs_export_trial t;
    avs_arena *a = avs_arena_new();
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for a trial");
    int rc = avs_export_load(j->s, id, a, &t, e);
    if (rc == AVS_OK) {
        switch (j->spec->to) {
        case AVS_EXPORT_CSV:
            csv_line(out, &t, &j->params, &j->values, a);
            break;
        case AVS_EXPORT_JSON:
            json_line(out, &t);
            break;
        case AVS_EXPORT_MLFLOW:
            rc = avs_export_mlflow(j->path, &t, a, e);
            break;
        case AVS_EXPORT_WANDB:
            rc = avs_export_wandb(j->path, &t, a, e);
            break;
        case AVS_EXPORT_TENSORBOARD:
            rc = avs_export_tensorboard(j->path, &t, a, e);
            break;
        case AVS_EXPORT_SQLITE:
            break;
        }
    }
    if (rc == AVS_OK && (avs_arena_failed(a) || !avs_buf_ok(out)))
        rc = avs_fail(e, AVS_ENOMEM, "no memory for a trial");
    avs_arena_free(a);
    return rc;
}

static int flush(const job *j, avs_buf *out, avs_err *e)
{
    int rc = AVS_OK;
    if (out->len && avs_fs_full_write(j->fd, out->data, out->len) != 0)
        rc = avs_fail(e, AVS_EIO, "%s cannot be written: %s", j->path, strerror(errno));
    avs_buf_clear(out);
    return rc;
}

static int write_all(job *j, const avs_table *t, avs_arena *a, avs_err *e)
{
    avs_buf out = AVS_BUF_INIT;
    int rc = AVS_OK;
    if (j->spec->to == AVS_EXPORT_CSV) {
        const avs_q_shape *last = NULL;
        for (int i = 0; i < t->n_trials; i++) {
            const avs_q_shape *shape = t->trial[i].cfg->shape;
            for (int k = 0; shape != last && k < shape->n; k++)
                if (!add_column(&j->params, a, shape->key[k]))
                    rc = avs_fail(e, AVS_ENOMEM, "no memory for columns");
            last = shape;
        }
        if (rc == AVS_OK) rc = value_columns(j->s, a, &j->values, e);
        csv_head(&out, &j->params, &j->values);
    }
    for (int i = 0; i < t->n_trials && rc == AVS_OK; i++) {
        rc = write_trial(j, t->trial[i].id, &out, e);
        if (rc == AVS_OK && out.len > 1 << 16) rc = flush(j, &out, e);
    }
    if (rc == AVS_OK) rc = flush(j, &out, e);
    avs_buf_free(&out);
    return rc;
}

int avs_export(avs_store *s, const avs_export_spec *spec, const char *path, avs_err *e)
{
    const avs_report_spec which = {.sweep = spec->sweep, .where = spec->where};
    const bool lines = spec->to == AVS_EXPORT_CSV || spec->to == AVS_EXPORT_JSON,
               to_stdout = strcmp(path, "-") == 0;
    avs_fs_out file = {.fd = -1};
    avs_table t = {0};
    job j = {.s = s, .spec = spec, .path = path, .fd = STDOUT_FILENO};
    int rc;

    if (!lines && to_stdout) return avs_fail(e, AVS_ERANGE, "this export needs a path: give --output");
    if (spec->to == AVS_EXPORT_SQLITE) return export_sqlite(s, spec, path, e);
    avs_arena *a = avs_arena_new();
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for an export");
    AVS_TRY(avs_q_load(s, &which, a, &t, e));
    if (lines && !to_stdout) {
        AVS_TRY(avs_fs_out_open(&file, path, e));
        j.fd = file.fd;
    }
    if (!lines) AVS_TRY(avs_fs_mkdirs(path, e));
    AVS_TRY(write_all(&j, &t, a, e));
    if (lines && !to_stdout) AVS_TRY(avs_fs_out_commit(&file, e));
out:
    if (lines && !to_stdout && rc != AVS_OK) avs_fs_out_abort(&file);
    avs_arena_free(a);
    return rc;
}
