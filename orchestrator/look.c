/* Each answer comes from the store in rows; a row is either put into words or, with --format json, written as an object
 * whose members are its cells. */
#include "orchestrator/look.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "avs_version.h"
#include "base/fs.h"
#include "base/json.h"
#include "orchestrator/command_io.h"
#include "orchestrator/effective.h"
#include "orchestrator/select.h"
#include "results/trial_parts.h"
#include "sweeps/listing.h"

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
    const avs_trial_row *row = t->row;
    avs_buf *b = &l->out;
    if (l->o->json) {
        avs_buf_fmt(b,
                    "{\"type\":\"trial\",\"v\":1,\"trial\":\"%.12s\",\"hash\":\"%s\",\"state\":\"%s\","
                    "\"kind\":\"%s\",\"model\":",
                    row->hash, row->hash, row->state, row->kind);
        avs_json_write_str(b, row->model);
        avs_buf_str(b, ",\"task\":");
        avs_json_write_str(b, row->task);
        avs_buf_fmt(b, ",\"seed\":%lld,\"attempts\":%lld,\"priority\":", (long long)row->seed,
                    (long long)row->attempts);
        avs_json_write_num(b, row->priority);
        put_metrics(l, t);
        avs_buf_fmt(b, ",\"params\":%s}\n", row->params);
        return;
    }
    avs_buf_fmt(b, "%.12s  %-9s %-8s %-12s %-5s seed %-4lld attempts %lld", row->hash, row->state, row->kind,
                row->model, row->task, (long long)row->seed, (long long)row->attempts);
    put_metrics(l, t);
    avs_buf_char(b, '\n');
}

int avs_command_ls(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    avs_store *db = NULL;
    listing l = {.o = o, .out = AVS_BUF_INIT};
    int64_t n = 0;
    if (avs_need_db(o)) return AVS_EXIT_USAGE;
    int rc = avs_store_open(o->db, AVS_STORE_READ, AVS_VERSION, &db, &err);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_DB, &err);
    rc = avs_select(db, &(avs_selection){o->where, o->sweep, o->state}, list_one, &l, &n, &err);
    avs_store_close(db);
    if (rc == AVS_OK && n == 0) rc = avs_fail(&err, AVS_EMISSING, "%s: no trial matches", o->db);
    if (rc == AVS_OK) return avs_print(&l.out);
    avs_buf_free(&l.out);
    return avs_complain(avs_exit_of(rc), &err);
}

/* ---- show ---- */

static void trial_row(const avs_cell *c, avs_buf *out)
{
    avs_buf_fmt(out,
                "trial     %s\nstate     %s\nkind      %s\nmodel     %s\ntask      %s\nseed      %s\n"
                "config    %.12s\nparams    %s\n",
                c[0].text, c[1].text, c[2].text, c[3].text, c[4].text, c[5].text, c[6].text, c[7].text);
}

static void attempt_row(const avs_cell *c, avs_buf *out)
{
    avs_buf_fmt(out, "attempt %s  %s, %.1f s on %s%s%s\n", c[0].text, c[1].text, c[2].d,
                c[3].text[0] ? c[3].text : "?", c[4].text[0] ? ": " : "", c[4].text);
    if (c[5].text[0]) avs_buf_fmt(out, "  log %s\n", c[5].text);
}

static void result_row(const avs_cell *c, avs_buf *out)
{
    avs_buf_fmt(out, "result    %s%s%s = %.6g %s\n", c[0].text, c[1].text[0] ? ":" : "", c[1].text, c[2].d,
                c[3].text);
}

static void artifact_row(const avs_cell *c, avs_buf *out)
{
    avs_buf_fmt(out, "artifact  %s %s, %s bytes: %s\n", c[0].text, c[1].text, c[2].text, c[3].text);
}

static void env_row(const avs_cell *c, avs_buf *out)
{
    avs_buf_fmt(out, "env       attempt %s: %s, %s, code %.12s\n", c[0].text, c[1].text, c[2].text,
                c[3].text[0] ? c[3].text : "?");
}

static void (*const in_words[AVS_PARTS])(const avs_cell *c, avs_buf *out) = {
    [AVS_PART_TRIAL] = trial_row,   [AVS_PART_ATTEMPT] = attempt_row,   [AVS_PART_ENV] = env_row,
    [AVS_PART_RESULT] = result_row, [AVS_PART_ARTIFACT] = artifact_row,
};

static void part_in_words(void *ctx, avs_trial_part p, const avs_cell *c, int n)
{
    (void)n;
    in_words[p](c, ctx);
}

static void part_as_json(void *ctx, avs_trial_part p, const avs_cell *c, int n)
{
    avs_buf *out = ctx;
    avs_buf_fmt(out, "{\"type\":\"%s\",\"v\":1", avs_trial_part_name(p));
    for (int i = 0; i < n; i++) {
        avs_buf_fmt(out, ",\"%s\":", c[i].name);
        if (c[i].kind == AVS_CELL_NULL)
            avs_buf_str(out, "null");
        else if (c[i].kind == AVS_CELL_INTEGER)
            avs_buf_fmt(out, "%lld", (long long)c[i].i);
        else if (c[i].kind == AVS_CELL_NUMBER)
            avs_json_write_num(out, c[i].d);
        else if (c[i].kind == AVS_CELL_JSON)
            avs_buf_str(out, c[i].text);
        else
            avs_json_write_str(out, c[i].text);
    }
    avs_buf_str(out, "}\n");
}

static int show_trial(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    avs_buf b = AVS_BUF_INIT;
    avs_store *db = NULL;
    int64_t id = 0;
    char hex[65];
    if (avs_need_db(o)) return AVS_EXIT_USAGE;
    int rc = avs_store_open(o->db, AVS_STORE_READ, AVS_VERSION, &db, &err);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_DB, &err);
    rc = avs_store_trial_by_prefix(db, o->words[0], &id, hex, &err);
    for (int p = 0; rc == AVS_OK && p < AVS_PARTS; p++)
        rc =
            avs_store_trial_part(db, id, (avs_trial_part)p, o->json ? part_as_json : part_in_words, &b, &err);
    avs_store_close(db);
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
    char hex[65];
    avs_attempt_log at;
} log_file;

/* The attempt asked for, 0: the newest. */
static int find_log(avs_store *db, int64_t id, int n, log_file *f, avs_err *e)
{
    bool found = false;
    const int rc = avs_store_attempt_log(db, id, n, &found, &f->at, e);
    if (rc != AVS_OK || found) return rc;
    return n ? avs_fail(e, AVS_EMISSING, "trial %.12s has no attempt %d", f->hex, n)
             : avs_fail(e, AVS_EMISSING, "trial %.12s was never started", f->hex);
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
    avs_buf_fmt(out, "{\"type\":\"log\",\"v\":1,\"trial\":\"%.12s\",\"attempt\":%d,\"line\":", f->hex,
                f->at.n);
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
    if (rc == AVS_OK && k < 0) rc = avs_fail(e, AVS_EIO, "%s: %s", w->f->at.path, strerror(errno));
    return rc;
}

int avs_command_logs(const avs_options *o)
{
    enum { LOOK_MS = 200, PATIENCE = 3000 / LOOK_MS };
    avs_err err = AVS_ERR_INIT;
    avs_store *db = NULL;
    log_file f = {.at = {.n = 0}};
    int64_t id = 0;
    if (avs_need_db(o)) return AVS_EXIT_USAGE;
    int rc = avs_store_open(o->db, AVS_STORE_READ, AVS_VERSION, &db, &err);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_DB, &err);
    follower w = {.o = o, .f = &f, .fd = -1, .part = AVS_BUF_INIT};
    AVS_TRY(avs_store_trial_by_prefix(db, o->words[0], &id, f.hex, &err));
    AVS_TRY(find_log(db, id, o->attempt, &f, &err));
    if (o->rank > 0) { /* rank 0 writes X.log, rank r X.r.log */
        char *dot = strrchr(f.at.path, '.');
        char tail[32];
        snprintf(tail, sizeof tail, ".%d.log", o->rank);
        if (dot && (size_t)(dot - f.at.path) + strlen(tail) < sizeof f.at.path)
            memcpy(dot, tail, strlen(tail) + 1);
    }
    for (int i = 0;
         (w.fd = open(f.at.path, O_RDONLY | O_CLOEXEC)) < 0 && o->follow && !f.at.ended && i < PATIENCE; i++)
        poll(NULL, 0, LOOK_MS);
    if (w.fd < 0) {
        rc = avs_fail(&err, errno == ENOENT ? AVS_EMISSING : AVS_EIO,
                      "the log of attempt %d of trial %.12s: %s: %s", f.at.n, f.hex, f.at.path,
                      strerror(errno));
        goto out;
    }
    for (;;) {
        const bool over = f.at.ended; /* asked before the last read, so nothing is missed */
        AVS_TRY(drain(&w, &err));
        if (!o->follow || over || w.closed) break;
        poll(NULL, 0, LOOK_MS); /* on network file systems nothing tells of writes */
        log_file now = f;
        AVS_TRY(find_log(db, id, f.at.n, &now, &err));
        f.at.ended = now.at.ended;
    }
    if (w.part.len) {
        char newline[] = "\n";
        rc = put(&w, newline, 1, &err);
    }
out:
    if (w.fd >= 0) close(w.fd);
    avs_buf_free(&w.part);
    avs_store_close(db);
    return rc == AVS_OK ? AVS_EXIT_OK : avs_complain(avs_exit_of(rc), &err);
}
