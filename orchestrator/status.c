/* Gathering is a handful of indexed queries, so that it stays below a tenth of a second on a million trials. */
#include "orchestrator/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "orchestrator/command_io.h"
#include "orchestrator/select.h"
#include "results/store.h"
#include "orchestrator/watch.h"

enum { RECENT = 50 };

/* ---- gathering ---- */

typedef struct {
    sqlite3 *db;
    const char *sweep; /* "" all */
    sqlite3_stmt *st;
    avs_err *e;
    int rc;
} query;

static const char *text(query *q, int i)
{
    const unsigned char *t = sqlite3_column_text(q->st, i);
    return t ? (const char *)t : "";
}

/* The next row of sql, whose ?1 is the sweep's name and ?2 a number; false at the end or after an error. */
static bool row(query *q, const char *sql, int64_t number)
{
    if (q->rc != AVS_OK) return false;
    int rc = SQLITE_OK;
    if (!q->st) {
        rc = sqlite3_prepare_v2(q->db, sql, -1, &q->st, NULL);
        if (rc == SQLITE_OK && sqlite3_bind_parameter_count(q->st) > 0)
            rc = sqlite3_bind_text(q->st, 1, q->sweep, -1, SQLITE_STATIC);
        if (rc == SQLITE_OK && sqlite3_bind_parameter_count(q->st) > 1)
            rc = sqlite3_bind_int64(q->st, 2, number);
    }
    if (rc == SQLITE_OK) rc = sqlite3_step(q->st);
    if (rc == SQLITE_ROW) return true;
    if (rc != SQLITE_DONE)
        q->rc = avs_fail(q->e, AVS_EDB, "%s: %s", sqlite3_db_filename(q->db, NULL), sqlite3_errmsg(q->db));
    sqlite3_finalize(q->st);
    q->st = NULL;
    return false;
}

static void done(query *q)
{
    sqlite3_finalize(q->st);
    q->st = NULL;
}

/* One look into the index per trial: a list of all trials of a sweep would be made anew for each query. */
#define OF_SWEEP                                                                                             \
    "(?1='' OR EXISTS(SELECT 1 FROM (SELECT trial_id AS its_trial, sweep_id AS its_sweep FROM sweep_trial) " \
    "WHERE its_trial=trial_id AND its_sweep=(SELECT max(sweep_id) FROM sweep WHERE name=?1)))"

static void read_counts(query *q, avs_status *s)
{
    const char *all = "SELECT state, count(*) FROM trial GROUP BY state";
    const char *kept =
        "SELECT state, trials FROM tally WHERE sweep_id=CASE ?1 WHEN '' THEN 0 ELSE (SELECT max(sweep_id) "
        "FROM sweep WHERE name=?1) END";
    bool tallied = false; /* databases of schema 1 keep no counts */
    while (row(q, "SELECT 1 FROM sqlite_master WHERE name='tally'", 0)) tallied = true;
    const char *some = "SELECT state, count(*) FROM trial WHERE " OF_SWEEP " GROUP BY state";
    while (row(q, tallied ? kept : q->sweep[0] ? some : all, 0)) {
        const int64_t state = sqlite3_column_int64(q->st, 0);
        if (state < 0 || state >= AVS_TRIAL_STATES) continue;
        s->count[state] = sqlite3_column_int64(q->st, 1);
        s->total += s->count[state];
    }
}

static void read_sweep(query *q, avs_status *s)
{
    avs_arena *a = avs_arena_new();
    avs_json *j = NULL;
    while (
        row(q,
            "SELECT w.name, g.objective FROM sweep w JOIN stage g USING(sweep_id) WHERE (?1='' OR w.name=?1) "
            "ORDER BY w.sweep_id DESC, (g.objective IS NULL OR g.objective='{}'), g.stage_id LIMIT 1",
            0)) {
        snprintf(s->sweep, sizeof s->sweep, "%s", text(q, 0));
        if (a && avs_json_parse(a, "objective", text(q, 1), strlen(text(q, 1)), &j, NULL) == AVS_OK) {
            snprintf(s->metric, sizeof s->metric, "%s", avs_json_str(j, "metric", "miou"));
            s->maximise = strcmp(avs_json_str(j, "mode", "max"), "min") != 0;
        }
    }
    avs_arena_free(a);
}

static void read_live(query *q, avs_status *s)
{
    const int64_t now = avs_wall_us();
    while (row(q,
               "SELECT count(DISTINCT a.attempt_id), count(DISTINCT k.host), "
               "(SELECT coalesce(sum(gpus),0) FROM attempt WHERE ended IS NULL AND " OF_SWEEP "), "
               "(SELECT count(*) FROM gpu) FROM attempt a LEFT JOIN attempt_rank k USING(attempt_id) WHERE "
               "a.ended IS "
               "NULL AND " OF_SWEEP,
               0)) {
        s->running = sqlite3_column_int64(q->st, 0);
        s->hosts = sqlite3_column_int64(q->st, 1);
        s->gpus_busy = sqlite3_column_int64(q->st, 2);
        s->gpus = sqlite3_column_int64(q->st, 3);
    }
    int64_t ids[AVS_STATUS_RUNNING] = {0};
    while (row(
        q,
        "SELECT a.attempt_id, lower(hex(substr(t.hash,1,6))), c.kind, c.model, c.task, t.seed, "
        "k.host, a.started "
        "FROM attempt a JOIN trial t USING(trial_id) JOIN config c USING(config_id) LEFT JOIN "
        "attempt_rank k ON "
        "k.attempt_id=a.attempt_id AND k.rank=0 WHERE a.ended IS NULL AND " OF_SWEEP
        " ORDER BY +a.attempt_id LIMIT ?2", /* + : by the index of live attempts, not along the whole table */
        AVS_STATUS_RUNNING)) {
        ids[s->n_live] = sqlite3_column_int64(q->st, 0);
        snprintf(s->live[s->n_live].trial, sizeof s->live->trial, "%s", text(q, 1));
        snprintf(s->live[s->n_live].what, sizeof s->live->what, "%s %s %s seed %s", text(q, 2), text(q, 3),
                 text(q, 4), text(q, 5));
        snprintf(s->live[s->n_live].host, sizeof s->live->host, "%s", text(q, 6));
        s->live[s->n_live++].seconds = (double)(now - sqlite3_column_int64(q->st, 7)) / 1e6;
    }
    for (int i = 0; i < s->n_live; i++)
        while (row(q,
                   "SELECT m.name, p.step, p.value FROM point p JOIN metric m USING(metric_id) WHERE "
                   "p.attempt_id=?2 AND "
                   "p.metric_id=(SELECT min(metric_id) FROM point WHERE attempt_id=?2) AND ?1=?1 ORDER BY "
                   "p.step DESC "
                   "LIMIT 1",
                   ids[i]))
            snprintf(s->live[i].point, sizeof s->live->point, "step %s, %s %.4g", text(q, 1), text(q, 0),
                     sqlite3_column_double(q->st, 2));
}

static int by_value(const void *x, const void *y)
{
    const double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

/* What is left, at the pace of the last attempts that ended well, as many at a time as run now. */
static void estimate(query *q, avs_status *s)
{
    double seconds[RECENT];
    int n = 0;
    s->eta_s = -1;
    while (row(q,
               "SELECT (ended-started)/1e6 FROM attempt WHERE reason=1 AND ended IS NOT NULL AND " OF_SWEEP
               " ORDER BY attempt_id DESC LIMIT ?2",
               RECENT))
        seconds[n++] = sqlite3_column_double(q->st, 0);
    const int64_t left =
        s->count[AVS_TRIAL_PENDING] + s->count[AVS_TRIAL_RUNNING] + s->count[AVS_TRIAL_PREEMPTED];
    if (n == 0 || left == 0 || s->running == 0) return;
    qsort(seconds, (size_t)n, sizeof *seconds, by_value);
    const double median = seconds[n / 2];
    s->eta_s = ceil((double)left / (double)s->running) * median;
    snprintf(s->basis, sizeof s->basis, "median of the last %d: %.3g s, %lld at a time", n, median,
             (long long)s->running);
}

static void read_causes(query *q, avs_status *s)
{
    char sql[700];
    snprintf(
        sql, sizeof sql,
        "SELECT r.name, lower(hex(substr(t.hash,1,6))), coalesce(k.host,'?'), coalesce(a.message,''), "
        "a.ended FROM "
        "attempt a JOIN trial t USING(trial_id) JOIN reason_name r USING(reason) LEFT JOIN attempt_rank k ON "
        "k.attempt_id=a.attempt_id AND k.rank=0 WHERE a.reason > 1 AND a.reason NOT IN (%d,%d,%d,%d) AND %s"
        " ORDER BY a.ended DESC LIMIT 200",
        AVS_END_PREEMPTED, AVS_END_PAUSED, AVS_END_PRUNED, AVS_END_CANCELLED, OF_SWEEP);
    while (row(q, sql, 0)) {
        int i = 0;
        char line[160];
        snprintf(line, sizeof line, "%s", text(q, 3));
        line[strcspn(line, "\n")] = '\0';
        while (i < s->n_causes &&
               (strcmp(s->cause[i].reason, text(q, 0)) != 0 || strncmp(s->cause[i].text, line, 40) != 0))
            i++;
        if (i == AVS_STATUS_CAUSES) continue;
        if (s->cause[i].count++ > 0) continue;
        s->n_causes = i + 1;
        snprintf(s->cause[i].reason, sizeof s->cause->reason, "%s", text(q, 0));
        snprintf(s->cause[i].trial, sizeof s->cause->trial, "%s", text(q, 1));
        snprintf(s->cause[i].host, sizeof s->cause->host, "%s", text(q, 2));
        snprintf(s->cause[i].text, sizeof s->cause->text, "%s", line);
        s->cause[i].ended_us = sqlite3_column_int64(q->st, 4);
    }
}

/* The values in which the configurations of the sweep differ, of one of them. A look at its first trials must do. */
static void label(query *q, int64_t config, char *out, size_t n)
{
    size_t at = 0;
    out[0] = '\0';
    while (
        row(q,
            "WITH c AS (SELECT config_id, params FROM config WHERE config_id=?2 OR config_id IN "
            "(SELECT config_id FROM config WHERE ?1='' ORDER BY config_id LIMIT 500) OR config_id IN "
            "(SELECT t.config_id FROM (SELECT trial_id FROM sweep_trial WHERE ?1<>'' AND "
            "sweep_id=(SELECT max(sweep_id) FROM sweep WHERE name=?1) ORDER BY stage_id, ordinal "
            "LIMIT 2000) f JOIN trial t USING(trial_id))) "
            "SELECT j.key, j.value FROM config, json_each(config.params) j WHERE config_id=?2 AND j.key IN "
            "(SELECT k.key FROM c, json_each(c.params) k GROUP BY 1 HAVING count(DISTINCT k.value) > 1 OR "
            "count(*) < (SELECT count(*) FROM c)) ORDER BY 1",
            config)) {
        if (at >= n) continue;
        const int k = snprintf(out + at, n - at, "%s%s=%s", at ? " " : "", text(q, 0), text(q, 1));
        if (k > 0) at += (size_t)k;
    }
    if (!out[0]) snprintf(out, n, "the only configuration");
}

static void read_best(query *q, avs_status *s)
{
    char sql[900];
    int64_t ids[AVS_STATUS_BEST] = {0};
    if (!s->metric[0]) return;
    /* Down the index on (metric, split, mean), until enough are found. */
    snprintf(
        sql, sizeof sql,
        "SELECT l.config_id, l.mean, coalesce(l.sd,-1), l.n, coalesce(m.unit,'') FROM metric m CROSS JOIN "
        "leaderboard l USING(metric_id) WHERE m.name='%s' AND l.split=(SELECT w.split FROM (SELECT 'test' AS "
        "split, 0 AS rank UNION ALL SELECT '', 1 UNION ALL SELECT 'val', 2) w WHERE EXISTS(SELECT 1 FROM "
        "leaderboard b WHERE b.metric_id=m.metric_id AND b.split=w.split) ORDER BY w.rank LIMIT 1) AND "
        "(?1='' OR "
        "EXISTS(SELECT 1 FROM trial t JOIN sweep_trial st USING(trial_id) WHERE t.config_id=l.config_id AND "
        "st.sweep_id=(SELECT max(sweep_id) FROM sweep WHERE name=?1))) ORDER BY l.mean %s LIMIT ?2",
        s->metric, s->maximise ? "DESC" : "ASC");
    if (strpbrk(s->metric, "'\"\\")) return; /* no name of a metric that we would paste into SQL */
    while (row(q, sql, AVS_STATUS_BEST)) {
        ids[s->n_best] = sqlite3_column_int64(q->st, 0);
        s->best[s->n_best].mean = sqlite3_column_double(q->st, 1);
        s->best[s->n_best].sd = sqlite3_column_double(q->st, 2);
        snprintf(s->unit, sizeof s->unit, "%s", text(q, 4));
        s->best[s->n_best++].n = sqlite3_column_int64(q->st, 3);
    }
    for (int i = 0; i < s->n_best; i++) label(q, ids[i], s->best[i].label, sizeof s->best->label);
}

int avs_status_read(sqlite3 *db, const char *path, const char *sweep, avs_status *s, avs_err *e)
{
    query q = {.db = db, .sweep = sweep ? sweep : "", .e = e};
    *s = (avs_status){.eta_s = -1};
    s->owner = avs_lease_look(path);
    sqlite3_exec(db, "BEGIN", NULL, NULL, NULL); /* all queries see one state */
    read_sweep(&q, s);
    read_counts(&q, s);
    read_live(&q, s);
    estimate(&q, s);
    read_causes(&q, s);
    read_best(&q, s);
    done(&q);
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    if (q.rc == AVS_OK && sweep && !s->sweep[0])
        return avs_fail(e, AVS_EMISSING, "%s has no sweep '%s'", path, sweep);
    return q.rc;
}

/* ---- showing ---- */

static const char *tint(bool color, const char *code)
{
    return color ? code : "";
}
#define GREEN tint(color, "\x1b[32m")
#define RED   tint(color, "\x1b[31m")
#define BOLD  tint(color, "\x1b[1m")
#define PLAIN tint(color, "\x1b[0m")

static void put_counts(const avs_status *s, avs_buf *out)
{
    avs_buf_fmt(out, "%lld/%lld done", (long long)s->count[AVS_TRIAL_DONE], (long long)s->total);
    for (int i = 0; i < AVS_TRIAL_STATES; i++)
        if (i != AVS_TRIAL_DONE && s->count[i])
            avs_buf_fmt(out, ", %lld %s", (long long)s->count[i], avs_trial_state_name((avs_trial_state)i));
}

static void put_bar(const avs_status *s, int width, bool color, avs_buf *out)
{
    const int cells = width < 60 ? 10 : width / 3 > 40 ? 40 : width / 3;
    const int64_t total = s->total ? s->total : 1,
                  over = s->count[AVS_TRIAL_FAILED] + s->count[AVS_TRIAL_CANCELLED];
    const int full = (int)(cells * s->count[AVS_TRIAL_DONE] / total);
    const int bad = (int)(cells * (s->count[AVS_TRIAL_DONE] + over) / total) - full;
    avs_buf_fmt(out, "%s%s%s [%s", BOLD, s->sweep[0] ? s->sweep : "no sweep", PLAIN, GREEN);
    for (int i = 0; i < full; i++) avs_buf_char(out, '#');
    avs_buf_str(out, RED);
    for (int i = 0; i < bad; i++) avs_buf_char(out, 'x');
    avs_buf_str(out, PLAIN);
    for (int i = full + bad; i < cells; i++) avs_buf_char(out, '.');
    avs_buf_str(out, "] ");
    put_counts(s, out);
    avs_buf_char(out, '\n');
}

static void put_owner(const avs_status *s, avs_buf *out)
{
    const avs_lease_owner *w = &s->owner;
    if (!w->held)
        avs_buf_str(out, "run     none");
    else if (w->alive)
        avs_buf_fmt(out, "run     pid %lld on %s%s%s, last sign of life %.0f s ago", (long long)w->pid,
                    w->host, w->job[0] ? ", Slurm job " : "", w->job, w->silent_s);
    else
        avs_buf_fmt(out, "run     pid %lld on %s is gone; the same command again resumes", (long long)w->pid,
                    w->host);
    avs_buf_char(out, '\n');
    avs_buf_fmt(out, "now     %lld trials on %lld node%s", (long long)s->running, (long long)s->hosts,
                s->hosts == 1 ? "" : "s");
    if (s->gpus_busy || s->gpus)
        avs_buf_fmt(out, ", %lld of %lld GPUs", (long long)s->gpus_busy, (long long)s->gpus);
    avs_buf_str(out, "\nETA     ");
    if (s->eta_s >= 0) {
        avs_duration(out, s->eta_s);
        avs_buf_fmt(out, " (%s)", s->basis);
    } else {
        avs_buf_str(out, s->running ? "unknown: nothing has ended yet" : "none: nothing runs");
    }
    avs_buf_char(out, '\n');
}

static void put_value(const avs_status *s, double mean, double sd, int64_t n, avs_buf *out)
{
    const bool percent = strcmp(s->unit, "fraction") == 0;
    const double k = percent ? 100 : 1;
    if (sd >= 0)
        avs_buf_fmt(out, percent ? "%.1f (sd %.1f, n=%lld)" : "%.4g (sd %.2g, n=%lld)", k * mean, k * sd,
                    (long long)n);
    else
        avs_buf_fmt(out, percent ? "%.1f (n=%lld)" : "%.4g (n=%lld)", k * mean, (long long)n);
}

void avs_status_text(const avs_status *s, int width, bool color, bool with_live, avs_buf *out)
{
    put_bar(s, width, color, out);
    put_owner(s, out);
    for (int i = 0; i < s->n_best; i++) {
        avs_buf_fmt(out, "%s %s ", i ? "       " : "best   ", s->metric);
        put_value(s, s->best[i].mean, s->best[i].sd, s->best[i].n, out);
        avs_buf_fmt(out, "  %s\n", s->best[i].label);
    }
    for (int i = 0; i < s->n_causes; i++)
        avs_buf_fmt(out, "%s %s%s%s %lldx, last %s on %s%s%s\n", i ? "       " : "failed ", RED,
                    s->cause[i].reason, PLAIN, (long long)s->cause[i].count, s->cause[i].trial,
                    s->cause[i].host, s->cause[i].text[0] ? ": " : "", s->cause[i].text);
    for (int i = 0; with_live && i < s->n_live; i++) {
        avs_buf_fmt(out, "%s %s %s on %s, ", i ? "       " : "running", s->live[i].trial, s->live[i].what,
                    s->live[i].host);
        avs_duration(out, s->live[i].seconds);
        avs_buf_fmt(out, "%s%s\n", s->live[i].point[0] ? "  " : "", s->live[i].point);
    }
    if (with_live && s->running > s->n_live)
        avs_buf_fmt(out, "        and %lld more\n", (long long)(s->running - s->n_live));
}

void avs_status_line(const avs_status *s, avs_buf *out)
{
    put_counts(s, out);
    if (s->eta_s >= 0) {
        avs_buf_str(out, ", ETA ");
        avs_duration(out, s->eta_s);
    }
    if (s->n_causes)
        avs_buf_fmt(out, "; last failure: %s %s: %.80s", s->cause[0].trial, s->cause[0].reason,
                    s->cause[0].text);
}

static void number_or_null(avs_buf *out, const char *name, double v, bool known)
{
    avs_buf_fmt(out, ",\"%s\":", name);
    if (known)
        avs_json_write_num(out, v);
    else
        avs_buf_str(out, "null");
}

static void words(avs_buf *out, const char *name, const char *value)
{
    avs_buf_fmt(out, ",\"%s\":", name);
    avs_json_write_str(out, value);
}

void avs_status_json(const avs_status *s, avs_buf *out)
{
    avs_buf_str(out, "{\"type\":\"status\",\"v\":1");
    words(out, "sweep", s->sweep);
    avs_buf_fmt(out, ",\"total\":%lld", (long long)s->total);
    for (int i = 0; i < AVS_TRIAL_STATES; i++)
        avs_buf_fmt(out, ",\"%s\":%lld", avs_trial_state_name((avs_trial_state)i), (long long)s->count[i]);
    avs_buf_fmt(out, ",\"live\":%s", s->owner.held && s->owner.alive ? "true" : "false");
    if (s->owner.held) {
        words(out, "host", s->owner.host);
        avs_buf_fmt(out, ",\"pid\":%lld", (long long)s->owner.pid);
        number_or_null(out, "silent_s", s->owner.silent_s, true);
    }
    avs_buf_fmt(out, ",\"attempts_running\":%lld,\"nodes\":%lld,\"gpus_busy\":%lld,\"gpus\":%lld",
                (long long)s->running, (long long)s->hosts, (long long)s->gpus_busy, (long long)s->gpus);
    number_or_null(out, "eta_s", s->eta_s, s->eta_s >= 0);
    words(out, "eta_basis", s->basis);
    avs_buf_str(out, "}\n");
    for (int i = 0; i < s->n_best; i++) {
        avs_buf_str(out, "{\"type\":\"best\",\"v\":1");
        words(out, "metric", s->metric);
        words(out, "label", s->best[i].label);
        number_or_null(out, "mean", s->best[i].mean, true);
        number_or_null(out, "sd", s->best[i].sd, s->best[i].sd >= 0);
        avs_buf_fmt(out, ",\"n\":%lld}\n", (long long)s->best[i].n);
    }
    for (int i = 0; i < s->n_causes; i++) {
        avs_buf_str(out, "{\"type\":\"failure\",\"v\":1");
        words(out, "reason", s->cause[i].reason);
        words(out, "trial", s->cause[i].trial);
        words(out, "host", s->cause[i].host);
        words(out, "text", s->cause[i].text);
        avs_buf_fmt(out, ",\"count\":%lld}\n", (long long)s->cause[i].count);
    }
    for (int i = 0; i < s->n_live; i++) {
        avs_buf_str(out, "{\"type\":\"running\",\"v\":1");
        words(out, "trial", s->live[i].trial);
        words(out, "what", s->live[i].what);
        words(out, "host", s->live[i].host);
        words(out, "point", s->live[i].point);
        number_or_null(out, "seconds", s->live[i].seconds, true);
        avs_buf_str(out, "}\n");
    }
}

int avs_command_status(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    sqlite3 *db = NULL;
    avs_status s;
    avs_buf b = AVS_BUF_INIT;
    struct winsize w;
    if (avs_need_db(o)) return AVS_EXIT_USAGE;
    if (o->watch) return avs_watch(o);
    int rc = avs_store_open_sql(o->db, &db, &err);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_DB, &err);
    rc = avs_status_read(db, o->db, o->sweep, &s, &err);
    sqlite3_close(db);
    if (rc != AVS_OK) return avs_complain(avs_exit_of(rc), &err);
    if (o->json)
        avs_status_json(&s, &b);
    else
        avs_status_text(&s, ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 100,
                        avs_wants_color(o), false, &b);
    return avs_print(&b);
}
