/* Reading one trial for the exporters: parameters, final numbers, latency percentiles, series. */
#include "results/export_trial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "results/db.h"

static int load_head(avs_store *s, int64_t id, avs_arena *a, avs_export_trial *t, int64_t *attempt,
                     avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    avs_json *params = NULL;
    int rc;

    AVS_TRY(
        avs_db_bind(s, &q, e,
                    "SELECT lower(hex(t.hash)), lower(hex(c.hash)), c.kind, c.model, c.task, n.name, "
                    "coalesce((SELECT w.name FROM"
                    " sweep_trial st JOIN sweep w USING(sweep_id) WHERE st.trial_id=t.trial_id ORDER BY "
                    "sweep_id DESC LIMIT 1),"
                    " 'avsweep'), coalesce(k.host,''), coalesce(r.name,''), coalesce(a.message,''), "
                    "c.params, t.seed, t.attempts,"
                    " coalesce(a.started,0), coalesce(a.ended,0), coalesce(a.attempt_id,0), t.state FROM "
                    "trial t JOIN config c"
                    " USING(config_id) JOIN state_name n USING(state) LEFT JOIN attempt a ON "
                    "a.attempt_id=coalesce(t.best_attempt,"
                    " (SELECT max(attempt_id) FROM attempt WHERE trial_id=t.trial_id)) LEFT JOIN reason_name "
                    "r USING(reason)"
                    " LEFT JOIN attempt_rank k ON k.attempt_id=a.attempt_id AND k.rank=0 WHERE t.trial_id=?",
                    "i", id));
    AVS_TRY(avs_db_step(s, q, &row, e));
    if (!row) return avs_fail(e, AVS_EMISSING, "%s: trial %lld is gone", avs_store_path(s), (long long)id);
    const char **text[] = {&t->hash,  &t->config_hash, &t->kind, &t->model,  &t->task,
                           &t->state, &t->sweep,       &t->host, &t->reason, &t->message};
    bool ok = true;
    for (int i = 0; i < 10; i++) ok = (*text[i] = avs_arena_str(a, avs_db_text(q, i))) != NULL && ok;
    t->seed = sqlite3_column_int64(q, 11);
    t->attempts = sqlite3_column_int64(q, 12);
    t->started_us = sqlite3_column_int64(q, 13);
    t->ended_us = sqlite3_column_int64(q, 14);
    *attempt = sqlite3_column_int64(q, 15);
    t->done = sqlite3_column_int(q, 16) == AVS_TRIAL_DONE;
    rc = avs_json_parse(a, "stored parameters", avs_db_text(q, 10), (size_t)sqlite3_column_bytes(q, 10),
                        &params, e);
    t->params = params;
    sqlite3_reset(q);
    if (rc == AVS_OK && !ok) rc = avs_fail(e, AVS_ENOMEM, "no memory for a trial");
out:
    return rc;
}

static int add_value(avs_arena *a, avs_export_trial *t, int *cap, const char *name, double value)
{
    if (t->n_values == *cap) {
        const int grown = *cap ? 2 * *cap : 32;
        avs_export_value *more = AVS_NEW_N(a, avs_export_value, grown);
        if (!more) return AVS_ENOMEM;
        if (*cap) memcpy(more, t->value, (size_t)*cap * sizeof *more);
        t->value = more;
        *cap = grown;
    }
    t->value[t->n_values++] = (avs_export_value){name, value};
    return name ? AVS_OK : AVS_ENOMEM;
}

static int load_values(avs_store *s, int64_t id, int64_t attempt, avs_arena *a, avs_export_trial *t,
                       avs_err *e)
{
    static const char *const stats[] = {"p50", "p90", "p99", "mean", "min", "max"};
    sqlite3_stmt *q;
    bool row;
    int rc, cap = 0;

    AVS_TRY(avs_db_bind(s, &q, e,
                        "SELECT name, split, value FROM result JOIN metric USING(metric_id) WHERE trial_id=?"
                        " ORDER BY name, split",
                        "i", id));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        const char *split = avs_db_text(q, 1);
        const char *name = avs_arena_fmt(a, "%s/%s", *split ? split : "final", avs_db_text(q, 0));
        if (add_value(a, t, &cap, name, sqlite3_column_double(q, 2)) == AVS_OK) continue;
        sqlite3_reset(q);
        return avs_fail(e, AVS_ENOMEM, "no memory for the results of a trial");
    }
    if (rc != AVS_OK) goto out;
    AVS_TRY(avs_db_bind(s, &q, e,
                        "SELECT name, p50, p90, p99, mean, min, max FROM latency WHERE attempt_id=?", "i",
                        attempt));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        for (int k = 0; k < 6; k++) {
            if (sqlite3_column_type(q, 1 + k) == SQLITE_NULL) continue;
            const char *name = avs_arena_fmt(a, "final/%s_%s_ns", avs_db_text(q, 0), stats[k]);
            if (add_value(a, t, &cap, name, sqlite3_column_double(q, 1 + k)) == AVS_OK) continue;
            sqlite3_reset(q);
            return avs_fail(e, AVS_ENOMEM, "no memory for the latencies of a trial");
        }
    }
out:
    return rc;
}

static int load_series(avs_store *s, int64_t attempt, avs_arena *a, avs_export_trial *t, avs_err *e)
{
    sqlite3_stmt *q;
    int64_t count;
    bool row;
    int rc;

    AVS_TRY(avs_db_int(s, &count, 0, e, "SELECT count(DISTINCT metric_id) FROM point WHERE attempt_id=?", "i",
                       attempt));
    t->series = AVS_NEW_N(a, avs_export_series, count + 1);
    if (!t->series) return avs_fail(e, AVS_ENOMEM, "no memory for the series of a trial");
    AVS_TRY(
        avs_db_bind(s, &q, e,
                    "SELECT name FROM (SELECT DISTINCT metric_id FROM point WHERE attempt_id=?1) JOIN metric"
                    " USING(metric_id) ORDER BY name LIMIT ?2",
                    "ii", attempt, count));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row)
        t->series[t->n_series++].name = avs_arena_str(a, avs_db_text(q, 0));
    for (int i = 0; i < t->n_series && rc == AVS_OK; i++) {
        avs_export_series *x = &t->series[i];
        if (!x->name) return avs_fail(e, AVS_ENOMEM, "no memory for the series of a trial");
        rc = avs_store_series(s, attempt, x->name, a, &x->step, &x->value, &x->n, e);
    }
out:
    return rc;
}

int avs_export_load(avs_store *s, int64_t trial_id, avs_arena *a, avs_export_trial *t, avs_err *e)
{
    int64_t attempt = 0;
    *t = (avs_export_trial){0};
    int rc = load_head(s, trial_id, a, t, &attempt, e);
    if (rc == AVS_OK) rc = load_values(s, trial_id, attempt, a, t, e);
    if (rc == AVS_OK) rc = load_series(s, attempt, a, t, e);
    return rc;
}

const char *avs_export_param(avs_arena *a, const avs_json *p)
{
    avs_buf b = AVS_BUF_INIT;
    const char *text;
    if (p->kind == AVS_J_STR) return p->s;
    avs_json_write(&b, p, true);
    text = avs_arena_str(a, avs_buf_cstr(&b));
    avs_buf_free(&b);
    return text ? text : "";
}

const char *avs_export_name(avs_arena *a, const char *text, bool slash)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    char *out = avs_arena_strn(a, text, strnlen(text, 200));
    for (char *p = out; p && *p; p++) {
        const bool first = p == out || p[-1] == '/';
        if (!(strchr(plain, *p) || (slash && *p == '/')) || (first && (*p == '.' || *p == '/'))) *p = '_';
    }
    return out && *out ? out : "_";
}

int avs_export_put(const char *folder, const char *name, const avs_buf *bytes, avs_err *e)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return avs_fail(e, AVS_ERANGE, "the path %.60s.. is too long", folder);
    if (!avs_buf_ok(bytes)) return avs_fail(e, AVS_ENOMEM, "no memory for %s", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0 && errno == ENOENT) {
        int rc = avs_fs_mkdirs_for(path, e);
        if (rc != AVS_OK) return rc;
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    }
    if (fd < 0) return avs_fail(e, AVS_EIO, "%s cannot be written: %s", path, strerror(errno));
    const bool bad = avs_fs_full_write(fd, avs_buf_cstr(bytes), bytes->len) != 0;
    const int why = errno;
    if (close(fd) != 0 || bad) return avs_fail(e, AVS_EIO, "%s cannot be written: %s", path, strerror(why));
    return AVS_OK;
}
