/* Each answer is a query; a row is either put into words or, with --format json, written as an object whose members are
 * the query's columns. */
#include "orchestrator/look.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/json.h"
#include "orchestrator/command_io.h"
#include "orchestrator/effective.h"
#include "orchestrator/select.h"
#include "results/store.h"
#include "sweeps/listing.h"

static const char *text(sqlite3_stmt *st, int i)
{
    const unsigned char *t = sqlite3_column_text(st, i);
    return t ? (const char *)t : "";
}

/* ---- rows ---- */

/* Columns called params or vars hold JSON and are written as they are. */
static void json_row(sqlite3_stmt *st, const char *type, avs_buf *out)
{
    avs_buf_fmt(out, "{\"type\":\"%s\",\"v\":1", type);
    for (int i = 0; i < sqlite3_column_count(st); i++) {
        const char *name = sqlite3_column_name(st, i);
        const int kind = sqlite3_column_type(st, i);
        avs_buf_fmt(out, ",\"%s\":", name);
        if (kind == SQLITE_NULL)
            avs_buf_str(out, "null");
        else if (kind == SQLITE_INTEGER)
            avs_buf_fmt(out, "%lld", (long long)sqlite3_column_int64(st, i));
        else if (kind == SQLITE_FLOAT)
            avs_json_write_num(out, sqlite3_column_double(st, i));
        else if (strcmp(name, "params") == 0 || strcmp(name, "vars") == 0)
            avs_buf_str(out, text(st, i));
        else
            avs_json_write_str(out, text(st, i));
    }
    avs_buf_str(out, "}\n");
}

typedef void (*row_fn)(sqlite3_stmt *st, avs_buf *out);

/* Runs sql with the id of a trial; NULL `words` writes JSON. */
static int each(sqlite3 *db, const char *sql, int64_t id, const char *type, row_fn words, avs_buf *out,
                avs_err *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_bind_int64(st, 1, id);
    if (rc == SQLITE_OK)
        while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
            if (words)
                words(st, out);
            else
                json_row(st, type, out);
        }
    int code = rc == SQLITE_DONE
                   ? AVS_OK
                   : avs_fail(e, AVS_EDB, "%s: %s", sqlite3_db_filename(db, NULL), sqlite3_errmsg(db));
    sqlite3_finalize(st);
    return code;
}

/* ---- ls ---- */

typedef struct {
    const avs_options *o;
    avs_buf out;
} listing;

/* The results named by --metrics, in their order. */
static void put_metrics(listing *l, const avs_selected *t)
{
    const char *rest = l->o->metrics;
    while (rest && *rest) {
        const size_t n = strcspn(rest, ",");
        double v = 0;
        const bool found = avs_selected_metric(t, rest, n, &v);
        if (l->o->json) {
            avs_buf_fmt(&l->out, ",\"metric.%.*s\":", (int)n, rest);
            if (found)
                avs_json_write_num(&l->out, v);
            else
                avs_buf_str(&l->out, "null");
        } else if (found) {
            avs_buf_fmt(&l->out, "  %.*s %.6g", (int)n, rest, v);
        } else {
            avs_buf_fmt(&l->out, "  %.*s -", (int)n, rest);
        }
        rest += n + (rest[n] == ',');
    }
}

static void list_one(void *ctx, const avs_selected *t)
{
    listing *l = ctx;
    avs_buf *b = &l->out;
    if (l->o->json) {
        avs_buf_fmt(b,
                    "{\"type\":\"trial\",\"v\":1,\"trial\":\"%.12s\",\"hash\":\"%s\",\"state\":\"%s\","
                    "\"kind\":\"%s\",\"model\":",
                    t->hash, t->hash, t->state, t->kind);
        avs_json_write_str(b, t->model);
        avs_buf_str(b, ",\"task\":");
        avs_json_write_str(b, t->task);
        avs_buf_fmt(b, ",\"seed\":%lld,\"attempts\":%lld,\"priority\":", (long long)t->seed,
                    (long long)t->attempts);
        avs_json_write_num(b, t->priority);
        put_metrics(l, t);
        avs_buf_fmt(b, ",\"params\":%s}\n", t->params);
        return;
    }
    avs_buf_fmt(b, "%.12s  %-9s %-8s %-12s %-5s seed %-4lld attempts %lld", t->hash, t->state, t->kind,
                t->model, t->task, (long long)t->seed, (long long)t->attempts);
    put_metrics(l, t);
    avs_buf_char(b, '\n');
}

int avs_command_ls(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    sqlite3 *db = NULL;
    listing l = {.o = o, .out = AVS_BUF_INIT};
    int64_t n = 0;
    if (avs_need_db(o)) return AVS_EXIT_USAGE;
    int rc = avs_store_open_sql(o->db, &db, &err);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_DB, &err);
    rc = avs_select(db, &(avs_selection){o->where, o->sweep, o->state}, list_one, &l, &n, &err);
    sqlite3_close(db);
    if (rc == AVS_OK && n == 0) rc = avs_fail(&err, AVS_EMISSING, "%s: no trial matches", o->db);
    if (rc == AVS_OK) return avs_print(&l.out);
    avs_buf_free(&l.out);
    return avs_complain(avs_exit_of(rc), &err);
}

/* ---- show ---- */

static void trial_row(sqlite3_stmt *st, avs_buf *out)
{
    avs_buf_fmt(out,
                "trial     %s\nstate     %s\nkind      %s\nmodel     %s\ntask      %s\nseed      %s\n"
                "config    %.12s\nparams    %s\n",
                text(st, 0), text(st, 1), text(st, 2), text(st, 3), text(st, 4), text(st, 5), text(st, 6),
                text(st, 7));
}

static void attempt_row(sqlite3_stmt *st, avs_buf *out)
{
    avs_buf_fmt(out, "attempt %s  %s, %.1f s on %s%s%s\n", text(st, 0), text(st, 1),
                sqlite3_column_double(st, 2), text(st, 3)[0] ? text(st, 3) : "?", text(st, 4)[0] ? ": " : "",
                text(st, 4));
    if (text(st, 5)[0]) avs_buf_fmt(out, "  log %s\n", text(st, 5));
}

static void result_row(sqlite3_stmt *st, avs_buf *out)
{
    avs_buf_fmt(out, "result    %s%s%s = %.6g %s\n", text(st, 0), text(st, 1)[0] ? ":" : "", text(st, 1),
                sqlite3_column_double(st, 2), text(st, 3));
}

static void artifact_row(sqlite3_stmt *st, avs_buf *out)
{
    avs_buf_fmt(out, "artifact  %s %s, %s bytes: %s\n", text(st, 0), text(st, 1), text(st, 2), text(st, 3));
}

static void env_row(sqlite3_stmt *st, avs_buf *out)
{
    avs_buf_fmt(out, "env       attempt %s: %s, %s, code %.12s\n", text(st, 0), text(st, 1), text(st, 2),
                text(st, 3)[0] ? text(st, 3) : "?");
}

static const struct {
    const char *type, *sql;
    row_fn words;
} parts[] = {
    {"trial",
     "SELECT lower(hex(t.hash)) AS hash, n.name AS state, c.kind, c.model, c.task, t.seed, "
     "lower(hex(c.hash)) AS "
     "config_hash, c.params, t.attempts, t.epoch, t.priority FROM trial t JOIN config c USING(config_id) "
     "JOIN "
     "state_name n USING(state) WHERE t.trial_id=?1",
     trial_row},
    {"attempt",
     "SELECT a.n, r.name AS reason, (coalesce(a.ended,a.started)-a.started)/1e6 AS seconds, k.host, "
     "a.message, "
     "a.log_path, a.epoch, a.exit_code, a.signal, a.resumed_from, a.started, a.ended, a.max_rss, "
     "a.max_gpu_mem FROM attempt "
     "a JOIN "
     "reason_name r USING(reason) LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0 WHERE "
     "a.trial_id=?1 ORDER BY a.n",
     attempt_row},
    {"env",
     "SELECT a.n, k.host, v.cpu, v.code_fp, v.kernel, v.compiler, v.flags, v.vars FROM attempt a JOIN "
     "attempt_rank k "
     "USING(attempt_id) JOIN env v USING(env_id) WHERE a.trial_id=?1 AND k.rank=0 ORDER BY a.n",
     env_row},
    {"result",
     "SELECT m.name AS metric, x.split, x.value, m.unit, m.better FROM result x JOIN metric m "
     "USING(metric_id) WHERE "
     "x.trial_id=?1 ORDER BY 1, 2",
     result_row},
    {"artifact",
     "SELECT f.name, f.kind, f.bytes, f.path, f.step, lower(hex(f.sha256)) AS sha256 FROM artifact f JOIN "
     "attempt a "
     "USING(attempt_id) WHERE a.trial_id=?1 ORDER BY f.artifact_id",
     artifact_row},
};

static int show_trial(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    avs_buf b = AVS_BUF_INIT;
    sqlite3 *db = NULL;
    int64_t id = 0;
    char hex[65];
    if (avs_need_db(o)) return AVS_EXIT_USAGE;
    int rc = avs_store_open_sql(o->db, &db, &err);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_DB, &err);
    rc = avs_select_one(db, o->words[0], &id, hex, &err);
    for (size_t i = 0; rc == AVS_OK && i < sizeof parts / sizeof *parts; i++)
        rc = each(db, parts[i].sql, id, parts[i].type, o->json ? NULL : parts[i].words, &b, &err);
    sqlite3_close(db);
    if (rc == AVS_OK) return avs_print(&b);
    avs_buf_free(&b);
    return avs_complain(avs_exit_of(rc), &err);
}

int avs_command_show(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    avs_buf b = AVS_BUF_INIT;
    if (o->effective) return avs_show_effective(o);
    if (!o->schema && o->n_words == 0) {
        avs_fail(&err, AVS_ERANGE, "show needs a trial hash, --schema MODEL or --effective");
        return avs_complain(AVS_EXIT_USAGE, &err);
    }
    if (!o->schema) return show_trial(o);
    if (avs_list_schema(&b, o->schema, o->format ? o->format : "text", &err) == AVS_OK) return avs_print(&b);
    avs_buf_free(&b);
    return avs_complain(AVS_EXIT_USAGE, &err);
}

/* ---- logs ---- */

typedef struct {
    char path[4096], hex[65];
    int64_t attempt_id;
    int n;
    bool ended;
} log_file;

/* The attempt asked for, or the newest; its log and whether it is over. */
static int find_log(sqlite3 *db, int64_t id, int n, log_file *f, avs_err *e)
{
    static const char sql[] =
        "SELECT attempt_id, n, log_path, ended IS NOT NULL FROM attempt WHERE trial_id=?1 AND "
        "(?2=0 OR n=?2) ORDER BY n DESC LIMIT 1";
    sqlite3_stmt *st = NULL;
    int rc = AVS_OK, step = SQLITE_ERROR;
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
        sqlite3_bind_int64(st, 1, id) == SQLITE_OK && sqlite3_bind_int(st, 2, n) == SQLITE_OK)
        step = sqlite3_step(st);
    if (step == SQLITE_ROW) {
        f->attempt_id = sqlite3_column_int64(st, 0);
        f->n = sqlite3_column_int(st, 1);
        snprintf(f->path, sizeof f->path, "%s", text(st, 2));
        f->ended = sqlite3_column_int(st, 3) != 0;
    } else if (step == SQLITE_DONE) {
        rc = n ? avs_fail(e, AVS_EMISSING, "trial %.12s has no attempt %d", f->hex, n)
               : avs_fail(e, AVS_EMISSING, "trial %.12s was never started", f->hex);
    } else {
        rc = avs_fail(e, AVS_EDB, "%s: %s", sqlite3_db_filename(db, NULL), sqlite3_errmsg(db));
    }
    sqlite3_finalize(st);
    return rc;
}

/* Bytes that are no UTF-8 become '?': a log may hold anything, JSON may not. */
static void json_line(const log_file *f, char *line, size_t n, avs_buf *out)
{
    for (size_t i = 0, step; i < n; i += step) {
        step = avs_utf8_len(line + i, n - i);
        if (step == 0 || line[i] == '\0') line[i] = '?';
        if (step == 0) step = 1;
    }
    line[n] = '\0';
    avs_buf_fmt(out, "{\"type\":\"log\",\"v\":1,\"trial\":\"%.12s\",\"attempt\":%d,\"line\":", f->hex, f->n);
    avs_json_write_str(out, line);
    avs_buf_str(out, "}\n");
}

typedef struct {
    const avs_options *o;
    const log_file *f;
    int fd;
    avs_buf part; /* JSON: a line that is not whole yet */
    bool closed;  /* nobody reads stdout any more */
} follower;

static int put(follower *w, char *data, size_t n, avs_err *e)
{
    avs_buf out = AVS_BUF_INIT;
    if (!w->o->json) {
        avs_buf_put(&out, data, n);
    } else {
        avs_buf_put(&w->part, data, n);
        char *at = w->part.data, *end = w->part.data + w->part.len, *nl;
        while (at && at < end && (nl = memchr(at, '\n', (size_t)(end - at)))) {
            json_line(w->f, at, (size_t)(nl - at), &out);
            at = nl + 1;
        }
        if (at) {
            memmove(w->part.data, at, (size_t)(end - at));
            w->part.len = (size_t)(end - at);
        }
    }
    int rc = AVS_OK;
    if (out.len && avs_fs_full_write(STDOUT_FILENO, out.data, out.len) != 0) {
        w->closed = errno == EPIPE;
        if (!w->closed) rc = avs_fail(e, AVS_EIO, "stdout: %s", strerror(errno));
    }
    avs_buf_free(&out);
    return rc;
}

/* What has been written since the last time. */
static int drain(follower *w, avs_err *e)
{
    char chunk[64 << 10];
    ssize_t k = 0;
    int rc = AVS_OK;
    while (rc == AVS_OK && !w->closed && (k = read(w->fd, chunk, sizeof chunk)) > 0)
        rc = put(w, chunk, (size_t)k, e);
    if (rc == AVS_OK && k < 0) rc = avs_fail(e, AVS_EIO, "%s: %s", w->f->path, strerror(errno));
    return rc;
}

int avs_command_logs(const avs_options *o)
{
    enum { LOOK_MS = 200, PATIENCE = 3000 / LOOK_MS };
    avs_err err = AVS_ERR_INIT;
    sqlite3 *db = NULL;
    log_file f = {.n = 0};
    int64_t id = 0;
    if (avs_need_db(o)) return AVS_EXIT_USAGE;
    int rc = avs_store_open_sql(o->db, &db, &err);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_DB, &err);
    follower w = {.o = o, .f = &f, .fd = -1, .part = AVS_BUF_INIT};
    AVS_TRY(avs_select_one(db, o->words[0], &id, f.hex, &err));
    AVS_TRY(find_log(db, id, o->attempt, &f, &err));
    if (o->rank > 0) { /* rank 0 writes X.log, rank r X.r.log */
        char *dot = strrchr(f.path, '.');
        char tail[32];
        snprintf(tail, sizeof tail, ".%d.log", o->rank);
        if (dot && (size_t)(dot - f.path) + strlen(tail) < sizeof f.path) memcpy(dot, tail, strlen(tail) + 1);
    }
    for (int i = 0; (w.fd = open(f.path, O_RDONLY | O_CLOEXEC)) < 0 && o->follow && !f.ended && i < PATIENCE;
         i++)
        poll(NULL, 0, LOOK_MS);
    if (w.fd < 0) {
        rc = avs_fail(&err, errno == ENOENT ? AVS_EMISSING : AVS_EIO,
                      "the log of attempt %d of trial %.12s: %s: %s", f.n, f.hex, f.path, strerror(errno));
        goto out;
    }
    for (;;) {
        const bool over = f.ended; /* asked before the last read, so nothing is missed */
        AVS_TRY(drain(&w, &err));
        if (!o->follow || over || w.closed) break;
        poll(NULL, 0, LOOK_MS); /* on network file systems nothing tells of writes */
        log_file now = f;
        AVS_TRY(find_log(db, id, f.n, &now, &err));
        f.ended = now.ended;
    }
    if (w.part.len) {
        char newline[] = "\n";
        rc = put(&w, newline, 1, &err);
    }
out:
    if (w.fd >= 0) close(w.fd);
    avs_buf_free(&w.part);
    sqlite3_close(db);
    return rc == AVS_OK ? AVS_EXIT_OK : avs_complain(avs_exit_of(rc), &err);
}
