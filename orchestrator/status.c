/* The rows come from the store, the owner from the lock beside it. */
#include "orchestrator/status.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "avs_version.h"
#include "base/json.h"
#include "orchestrator/command_io.h"
#include "orchestrator/watch.h"

int avs_status_read(avs_store *db, const char *path, const char *sweep, avs_status *s, avs_err *e)
{
    s->owner = avs_lease_look(path);
    return avs_store_status(db, sweep, &s->rows, e);
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
    avs_buf_fmt(out, "%lld/%lld done", (long long)s->rows.count[AVS_TRIAL_DONE], (long long)s->rows.total);
    for (int i = 0; i < AVS_TRIAL_STATES; i++)
        if (i != AVS_TRIAL_DONE && s->rows.count[i])
            avs_buf_fmt(out, ", %lld %s", (long long)s->rows.count[i],
                        avs_trial_state_name((avs_trial_state)i));
}

static void put_bar(const avs_status *s, int width, bool color, avs_buf *out)
{
    const int cells = width < 60 ? 10 : width / 3 > 40 ? 40 : width / 3;
    const int64_t total = s->rows.total ? s->rows.total : 1,
                  over = s->rows.count[AVS_TRIAL_FAILED] + s->rows.count[AVS_TRIAL_CANCELLED];
    const int full = (int)(cells * s->rows.count[AVS_TRIAL_DONE] / total);
    const int bad = (int)(cells * (s->rows.count[AVS_TRIAL_DONE] + over) / total) - full;
    avs_buf_fmt(out, "%s%s%s [%s", BOLD, s->rows.sweep[0] ? s->rows.sweep : "no sweep", PLAIN, GREEN);
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
    avs_buf_fmt(out, "now     %lld trials on %lld node%s", (long long)s->rows.running,
                (long long)s->rows.hosts, s->rows.hosts == 1 ? "" : "s");
    if (s->rows.gpus_busy || s->rows.gpus)
        avs_buf_fmt(out, ", %lld of %lld GPUs", (long long)s->rows.gpus_busy, (long long)s->rows.gpus);
    avs_buf_str(out, "\nETA     ");
    if (s->rows.eta_s >= 0) {
        avs_duration(out, s->rows.eta_s);
        avs_buf_fmt(out, " (%s)", s->rows.basis);
    } else {
        avs_buf_str(out, s->rows.running ? "unknown: nothing has ended yet" : "none: nothing runs");
    }
    avs_buf_char(out, '\n');
}

static void put_value(const avs_status *s, double mean, double sd, int64_t n, avs_buf *out)
{
    const bool percent = strcmp(s->rows.unit, "fraction") == 0;
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
    for (int i = 0; i < s->rows.n_best; i++) {
        avs_buf_fmt(out, "%s %s ", i ? "       " : "best   ", s->rows.metric);
        put_value(s, s->rows.best[i].mean, s->rows.best[i].sd, s->rows.best[i].n, out);
        avs_buf_fmt(out, "  %s\n", s->rows.best[i].label);
    }
    for (int i = 0; i < s->rows.n_causes; i++)
        avs_buf_fmt(out, "%s %s%s%s %lldx, last %s on %s%s%s\n", i ? "       " : "failed ", RED,
                    s->rows.cause[i].reason, PLAIN, (long long)s->rows.cause[i].count, s->rows.cause[i].trial,
                    s->rows.cause[i].host, s->rows.cause[i].text[0] ? ": " : "", s->rows.cause[i].text);
    for (int i = 0; with_live && i < s->rows.n_live; i++) {
        avs_buf_fmt(out, "%s %s %s on %s, ", i ? "       " : "running", s->rows.live[i].trial,
                    s->rows.live[i].what, s->rows.live[i].host);
        avs_duration(out, s->rows.live[i].seconds);
        avs_buf_fmt(out, "%s%s\n", s->rows.live[i].point[0] ? "  " : "", s->rows.live[i].point);
    }
    if (with_live && s->rows.running > s->rows.n_live)
        avs_buf_fmt(out, "        and %lld more\n", (long long)(s->rows.running - s->rows.n_live));
}

void avs_status_line(const avs_status *s, avs_buf *out)
{
    put_counts(s, out);
    if (s->rows.eta_s >= 0) {
        avs_buf_str(out, ", ETA ");
        avs_duration(out, s->rows.eta_s);
    }
    if (s->rows.n_causes)
        avs_buf_fmt(out, "; last failure: %s %s: %.80s", s->rows.cause[0].trial, s->rows.cause[0].reason,
                    s->rows.cause[0].text);
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
    words(out, "sweep", s->rows.sweep);
    avs_buf_fmt(out, ",\"total\":%lld", (long long)s->rows.total);
    for (int i = 0; i < AVS_TRIAL_STATES; i++)
        avs_buf_fmt(out, ",\"%s\":%lld", avs_trial_state_name((avs_trial_state)i),
                    (long long)s->rows.count[i]);
    avs_buf_fmt(out, ",\"live\":%s", s->owner.held && s->owner.alive ? "true" : "false");
    if (s->owner.held) {
        words(out, "host", s->owner.host);
        avs_buf_fmt(out, ",\"pid\":%lld", (long long)s->owner.pid);
        number_or_null(out, "silent_s", s->owner.silent_s, true);
    }
    avs_buf_fmt(out, ",\"attempts_running\":%lld,\"nodes\":%lld,\"gpus_busy\":%lld,\"gpus\":%lld",
                (long long)s->rows.running, (long long)s->rows.hosts, (long long)s->rows.gpus_busy,
                (long long)s->rows.gpus);
    number_or_null(out, "eta_s", s->rows.eta_s, s->rows.eta_s >= 0);
    words(out, "eta_basis", s->rows.basis);
    avs_buf_str(out, "}\n");
    for (int i = 0; i < s->rows.n_best; i++) {
        avs_buf_str(out, "{\"type\":\"best\",\"v\":1");
        words(out, "metric", s->rows.metric);
        words(out, "label", s->rows.best[i].label);
        number_or_null(out, "mean", s->rows.best[i].mean, true);
        number_or_null(out, "sd", s->rows.best[i].sd, s->rows.best[i].sd >= 0);
        avs_buf_fmt(out, ",\"n\":%lld}\n", (long long)s->rows.best[i].n);
    }
    for (int i = 0; i < s->rows.n_causes; i++) {
        avs_buf_str(out, "{\"type\":\"failure\",\"v\":1");
        words(out, "reason", s->rows.cause[i].reason);
        words(out, "trial", s->rows.cause[i].trial);
        words(out, "host", s->rows.cause[i].host);
        words(out, "text", s->rows.cause[i].text);
        avs_buf_fmt(out, ",\"count\":%lld}\n", (long long)s->rows.cause[i].count);
    }
    for (int i = 0; i < s->rows.n_live; i++) {
        avs_buf_str(out, "{\"type\":\"running\",\"v\":1");
        words(out, "trial", s->rows.live[i].trial);
        words(out, "what", s->rows.live[i].what);
        words(out, "host", s->rows.live[i].host);
        words(out, "point", s->rows.live[i].point);
        number_or_null(out, "seconds", s->rows.live[i].seconds, true);
        avs_buf_str(out, "}\n");
    }
}

int avs_command_status(const avs_options *o)
{
    avs_err err = AVS_ERR_INIT;
    avs_store *db = NULL;
    avs_status s;
    avs_buf b = AVS_BUF_INIT;
    struct winsize w;
    if (avs_need_db(o)) return AVS_EXIT_USAGE;
    if (o->watch) return avs_watch(o);
    int rc = avs_store_open(o->db, AVS_STORE_READ, AVS_VERSION, &db, &err);
    if (rc != AVS_OK) return avs_complain(AVS_EXIT_DB, &err);
    rc = avs_status_read(db, o->db, o->sweep, &s, &err);
    avs_store_close(db);
    if (rc != AVS_OK) return avs_complain(avs_exit_of(rc), &err);
    if (o->json)
        avs_status_json(&s, &b);
    else
        avs_status_text(&s, ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 100,
                        avs_wants_color(o), false, &b);
    return avs_print(&b);
}
