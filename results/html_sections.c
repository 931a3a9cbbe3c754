/* Learning curves, IoU by class, latency histograms, failures and provenance, for the best rows of a report. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "results/db.h"
#include "results/html.h"
#include "results/plot.h"

enum {
    MAX_ROWS = AVS_PLOT_COLORS,
    MAX_TRIALS = 42,
    MAX_SERIES = 6,
    BINS = 60,
    CLASS_ROWS = 10,
    MAX_CLASSES = 2048
};

static const avs_q_column *quality(const avs_table *t)
{
    for (int c = 0; c < t->n_columns; c++)
        if (t->column[c].better > 0) return &t->column[c];
    return NULL;
}

typedef struct {
    double value;
    int row;
} ranked;

static int best_first(const void *p, const void *q)
{
    const ranked *a = p, *b = q;
    if (isnan(a->value) != isnan(b->value)) return isnan(a->value) - isnan(b->value);
    if (a->value != b->value && !isnan(a->value)) return a->value > b->value ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

const int *avs_html_ranking(const avs_table *t, avs_arena *a)
{
    const avs_q_column *c = quality(t);
    ranked *list = AVS_NEW_N(a, ranked, t->n_rows + 1);
    int *order = AVS_NEW_N(a, int, t->n_rows + 1);
    if (!list || !order) return NULL;
    for (int r = 0; r < t->n_rows; r++) {
        const avs_q_cell *x = c ? &t->row[r].cell[c - t->column] : NULL;
        list[r] = (ranked){x && x->n ? x->mean : (double)NAN, r};
    }
    qsort(list, (size_t)t->n_rows, sizeof *list, best_first);
    for (int r = 0; r < t->n_rows; r++) order[r] = list[r].row;
    return order;
}

int avs_html_trials(const avs_table *t, avs_arena *a, const int *ranking, int rows, const avs_q_trial **out,
                    int cap)
{
    int n = 0, *place = AVS_NEW_N(a, int, t->n_rows + 1);
    if (!place) return 0;
    for (int r = 0; r < t->n_rows; r++) place[ranking[r]] = r;
    for (int i = 0; i < t->n_trials; i++) {
        const avs_q_trial *x = &t->trial[i];
        if (!x->attempt || x->row >= t->n_rows || place[x->row] >= rows) continue;
        int at = n < cap ? n++ : cap; /* ordered by place, then seed; what falls off the end is dropped */
        for (; at > 0; at--) {
            const avs_q_trial *y = out[at - 1];
            if (place[y->row] < place[x->row] || (y->row == x->row && y->seed <= x->seed)) break;
            if (at < cap) out[at] = y;
        }
        if (at < cap) out[at] = x;
    }
    return n;
}

static const char *row_label(const avs_table *t, avs_arena *a, int row)
{
    return avs_text_shown(a, avs_row_label(t, &t->row[row], a), 80);
}

/* Colours by row, in the order in which the rows come. */
static int color_of(const avs_q_trial *const *trial, int i)
{
    int color = 0;
    for (int k = 1; k <= i; k++) color += trial[k]->row != trial[k - 1]->row;
    return color;
}

/* Names of the series that the trials recorded, losses and scores first. */
static int series_names(avs_store *s, avs_arena *a, const avs_q_trial *const *trial, int n,
                        const char **names, int *count, avs_err *e)
{
    int rc = AVS_OK;
    *count = 0;
    for (int i = 0; i < n; i++) {
        sqlite3_stmt *q;
        bool row;
        AVS_TRY(avs_db_bind(
            s, &q, e,
            "SELECT name FROM (SELECT DISTINCT metric_id FROM point WHERE attempt_id=?) JOIN metric"
            " USING(metric_id) WHERE name<>'train_seconds' ORDER BY name<>'loss', name NOT LIKE"
            " '%miou%', name LIKE 'loss%', metric_id",
            "i", trial[i]->attempt));
        while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
            const char *name = avs_db_text(q, 0);
            bool known = *count == MAX_SERIES;
            for (int k = 0; k < *count && !known; k++) known = strcmp(names[k], name) == 0;
            if (!known && (names[*count] = avs_arena_str(a, name)) != NULL) ++*count;
        }
        if (rc != AVS_OK) break;
    }
out:
    return rc;
}

static int put_curve(avs_store *s, const avs_table *t, avs_arena *a, const char *name,
                     const avs_q_trial *const *trial, int n_trials, avs_buf *out, avs_err *e)
{
    avs_plot_line line[MAX_TRIALS];
    int n = 0;
    for (int i = 0; i < n_trials; i++) {
        int64_t *steps;
        double *values;
        size_t points;
        int rc = avs_store_series(s, trial[i]->attempt, name, a, &steps, &values, &points, e);
        if (rc != AVS_OK) return rc;
        if (points < 2) continue;
        double *x = AVS_NEW_N(a, double, points);
        if (!x) return avs_fail(e, AVS_ENOMEM, "no memory for a learning curve");
        for (size_t k = 0; k < points; k++) x[k] = (double)steps[k];
        line[n++] = (avs_plot_line){row_label(t, a, trial[i]->row), x, values, points, color_of(trial, i)};
    }
    const char *title = avs_text_shown(a, name, 80);
    avs_plot_lines(title, "step", title, line, n, out);
    return AVS_OK;
}

int avs_html_curves(avs_store *s, const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e)
{
    const char *names[MAX_SERIES];
    const avs_q_trial *trial[MAX_TRIALS];
    const int *ranking = avs_html_ranking(t, a);
    int n_names = 0, rc;

    if (!ranking) return avs_fail(e, AVS_ENOMEM, "no memory for a page");
    const int n = avs_html_trials(t, a, ranking, MAX_ROWS, trial, MAX_TRIALS);
    AVS_TRY(series_names(s, a, trial, n, names, &n_names, e));
    if (n_names == 0) return AVS_OK;
    avs_buf_str(out, "<section id=\"curves\"><h2>Learning curves</h2>\n");
    if (t->n_rows > MAX_ROWS)
        avs_buf_fmt(out, "<p class=\"dim\">The best %d of %d rows.</p>\n", (int)MAX_ROWS, t->n_rows);
    avs_buf_str(out, "<div class=\"plots\">\n");
    for (int i = 0; i < n_names; i++) AVS_TRY(put_curve(s, t, a, names[i], trial, n, out, e));
    avs_buf_str(out, "</div></section>\n");
out:
    return rc;
}

/* ---- IoU by class: results iou_class_NAME */

typedef struct {
    const char *name[MAX_CLASSES];
    double *sum; /* classes x CLASS_ROWS */
    int *n;
    int classes, rows;
} heat;

static int fill_heat(avs_store *s, avs_arena *a, const avs_q_trial *const *trial, int n_trials, heat *h,
                     avs_err *e)
{
    int rc = AVS_OK, row_at = -1;
    for (int i = 0; i < n_trials; i++) {
        sqlite3_stmt *q;
        bool row;
        if (i == 0 || trial[i]->row != trial[i - 1]->row) row_at++;
        AVS_TRY(avs_db_bind(s, &q, e,
                            "SELECT substr(name, 11), value FROM result JOIN metric USING(metric_id) WHERE"
                            " trial_id=? AND substr(name, 1, 10)='iou_class_' ORDER BY metric_id",
                            "i", trial[i]->id));
        while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
            const char *name = avs_db_text(q, 0);
            int c = 0;
            while (c < h->classes && strcmp(h->name[c], name) != 0) c++;
            if (c == MAX_CLASSES) continue;
            if (c == h->classes) {
                h->name[c] = avs_arena_str(a, name);
                if (!h->name[c]) return avs_fail(e, AVS_ENOMEM, "no memory for a class");
                h->classes++;
            }
            h->sum[c * CLASS_ROWS + row_at] += sqlite3_column_double(q, 1);
            h->n[c * CLASS_ROWS + row_at]++;
        }
        if (rc != AVS_OK) break;
    }
    h->rows = row_at + 1;
out:
    return rc;
}

int avs_html_classes(avs_store *s, const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e)
{
    const avs_q_trial *trial[4 * CLASS_ROWS];
    const int *ranking = avs_html_ranking(t, a);
    heat *h = AVS_NEW(a, heat);
    int64_t any;
    int rc;

    AVS_TRY(
        avs_db_int(s, &any, 0, e, "SELECT count(*) FROM metric WHERE substr(name, 1, 10)='iou_class_'", ""));
    if (!any) return AVS_OK;
    if (h) h->sum = AVS_NEW_N(a, double, (size_t)MAX_CLASSES *CLASS_ROWS);
    if (h) h->n = AVS_NEW_N(a, int, (size_t)MAX_CLASSES *CLASS_ROWS);
    if (!ranking || !h || !h->sum || !h->n) return avs_fail(e, AVS_ENOMEM, "no memory for a page");
    const int n = avs_html_trials(t, a, ranking, CLASS_ROWS, trial, 4 * CLASS_ROWS);
    AVS_TRY(fill_heat(s, a, trial, n, h, e));
    if (h->classes == 0) return AVS_OK;
    avs_buf_str(
        out, "<section id=\"classes\"><h2>IoU by class</h2>\n<div class=\"scroll\" role=\"region\" "
             "aria-label=\"IoU by class\" tabindex=\"0\"><table class=\"heat\"><caption>Percent, mean over "
             "seeds.</caption><thead><tr><th scope=\"col\">class</th>");
    for (int i = 0; i < n; i++) {
        if (i && trial[i]->row == trial[i - 1]->row) continue;
        avs_buf_str(out, "<th scope=\"col\" class=\"n\">");
        avs_html_escape(out, row_label(t, a, trial[i]->row));
        avs_buf_str(out, "</th>");
    }
    avs_buf_str(out, "</tr></thead><tbody>\n");
    for (int c = 0; c < h->classes; c++) {
        avs_buf_str(out, "<tr><th scope=\"row\">");
        avs_html_escape(out, avs_text_shown(a, h->name[c], 48));
        avs_buf_str(out, "</th>");
        for (int r = 0; r < h->rows; r++) {
            const int k = h->n[c * CLASS_ROWS + r];
            const double v = k ? 100 * h->sum[c * CLASS_ROWS + r] / k : 0;
            if (k)
                avs_buf_fmt(out, "<td class=\"n\" style=\"--v:%.1f\">%.1f</td>", v, v);
            else
                avs_buf_str(out, "<td class=\"n\" style=\"--v:0\">-</td>");
        }
        avs_buf_str(out, "</tr>\n");
    }
    avs_buf_str(out, "</tbody></table></div></section>\n");
out:
    return rc;
}

/* ---- latency */

typedef struct {
    double *ms; /* pooled over the processes of a row */
    size_t n;
    int row;
} pool;

static int add_samples(avs_store *s, avs_arena *a, int64_t attempt, pool *p, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc = avs_db_bind(
        s, &q, e, "SELECT samples, unit_ns FROM latency WHERE attempt_id=? AND name='latency'", "i", attempt);
    if (rc == AVS_OK) rc = avs_db_step(s, q, &row, e);
    if (rc != AVS_OK || !row) return rc;
    const unsigned char *blob = sqlite3_column_blob(q, 0);
    const size_t n = (size_t)sqlite3_column_bytes(q, 0) / 4;
    const double unit = sqlite3_column_double(q, 1) / 1e6;
    double *all = AVS_NEW_N(a, double, p->n + n + 1);
    if (all) {
        if (p->n) memcpy(all, p->ms, p->n * sizeof *all);
        for (size_t i = 0; i < n; i++)
            all[p->n + i] =
                unit * (double)((uint32_t)blob[4 * i] | (uint32_t)blob[4 * i + 1] << 8 |
                                (uint32_t)blob[4 * i + 2] << 16 | (uint32_t)blob[4 * i + 3] << 24);
        p->ms = all;
        p->n += n;
    }
    sqlite3_reset(q);
    return all ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for latency samples");
}

static int ascending(const void *x, const void *y)
{
    const double *a = x, *b = y;
    return (*a > *b) - (*a < *b);
}

/* A step line over bins, in percent of the samples; what lies beyond hi is left out. */
static bool histogram(avs_arena *a, const pool *p, double lo, double hi, avs_plot_line *line)
{
    double *x = AVS_NEW_N(a, double, 2 * BINS + 2), *y = AVS_NEW_N(a, double, 2 * BINS + 2);
    int count[BINS] = {0};
    if (!x || !y) return false;
    for (size_t i = 0; i < p->n; i++) {
        int b = (int)((p->ms[i] - lo) / (hi - lo) * BINS);
        if (b >= 0 && b < BINS) count[b]++;
    }
    size_t n = 0;
    for (int b = 0; b < BINS; b++) {
        for (int side = 0; side < 2; side++) {
            x[n] = lo + (hi - lo) * (b + side) / BINS;
            y[n++] = 100.0 * count[b] / (double)p->n;
        }
    }
    line->x = x;
    line->y = y;
    line->n = n;
    return true;
}

static bool put_histograms(const avs_table *t, avs_arena *a, pool *p, int n, avs_buf *out)
{
    avs_plot_line line[MAX_ROWS];
    double lo = INFINITY, hi = -INFINITY;
    for (int i = 0; i < n; i++) {
        qsort(p[i].ms, p[i].n, sizeof *p[i].ms, ascending);
        lo = fmin(lo, p[i].ms[0]);
        hi = fmax(hi, p[i].ms[(size_t)((double)p[i].n * 0.995)]);
    }
    if (!(hi > lo)) hi = lo + 1;
    hi += (hi - lo) / BINS;
    for (int i = 0; i < n; i++) {
        const double *ms = p[i].ms;
        const size_t k = p[i].n;
        const char *label =
            avs_arena_fmt(a, "%s: p50 %.4g, p90 %.4g, p99 %.4g ms (%zu samples)", row_label(t, a, p[i].row),
                          ms[k / 2], ms[(size_t)((double)k * 0.9)], ms[(size_t)((double)k * 0.99)], k);
        line[i] = (avs_plot_line){.label = label ? label : "", .color = i};
        if (!histogram(a, &p[i], lo, hi, &line[i])) return false;
    }
    avs_buf_str(out, "<section id=\"latency\"><h2>Latency</h2>\n");
    avs_plot_lines("latency samples", "ms, the slowest 0.5 % left out", "% of samples", line, n, out);
    avs_buf_str(out, "</section>\n");
    return true;
}

int avs_html_latency(avs_store *s, const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e)
{
    pool p[MAX_ROWS] = {{0}};
    int n = 0, rc = AVS_OK;

    for (int i = 0; i < t->n_trials; i++) {
        const avs_q_trial *x = &t->trial[i];
        int k = 0;
        if (!x->attempt || x->row >= t->n_rows || strcmp(x->cfg->kind, "latency") != 0) continue;
        while (k < n && p[k].row != x->row) k++;
        if (k == MAX_ROWS) continue;
        p[k].row = x->row;
        if (k == n) n++;
        AVS_TRY(add_samples(s, a, x->attempt, &p[k], e));
        if (p[k].n == 0 && k == n - 1) n--;
    }
    if (n > 0 && !put_histograms(t, a, p, n, out)) rc = avs_fail(e, AVS_ENOMEM, "no memory for histograms");
out:
    return rc;
}

/* ---- failures, provenance */

int avs_html_failures(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_buf *out, avs_err *e)
{
    avs_store_failure *f;
    size_t n;
    int rc;
    AVS_TRY(avs_store_failures(s, spec->sweep, 20, a, &f, &n, e));
    if (n == 0) return AVS_OK;
    avs_buf_str(out,
                "<section id=\"failures\"><h2>Last failures</h2>\n<div class=\"scroll\" role=\"region\" "
                "aria-label=\"Last failures\" tabindex=\"0\"><table><thead><tr><th scope=\"col\">trial</th>"
                "<th scope=\"col\">attempt</th><th scope=\"col\">reason</th><th scope=\"col\">host</th>"
                "<th scope=\"col\">message</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < n; i++) {
        char hex[13];
        avs_hex(f[i].trial_hash, 6, hex);
        avs_buf_fmt(out, "<tr><td>%s</td><td>%d</td><td>%s</td><td>", hex, f[i].n,
                    avs_end_reason_name(f[i].reason));
        avs_html_escape(out, avs_text_shown(a, f[i].host, 48));
        avs_buf_str(out, "</td><td>");
        avs_html_escape(out, avs_text_shown(a, f[i].message, 160));
        avs_buf_str(out, "</td></tr>\n");
    }
    avs_buf_str(out, "</tbody></table></div></section>\n");
out:
    return rc;
}

static int put_environments(avs_store *s, avs_arena *a, avs_buf *out, avs_err *e)
{
    static const char *const heads[] = {"host", "CPU", "kernel",   "driver", "CUDA", "cuDNN",
                                        "NCCL", "MPI", "compiler", "flags",  "code"};
    enum { COLUMNS = sizeof heads / sizeof *heads };
    sqlite3_stmt *q;
    bool row;
    int rc, n = 0;
    AVS_TRY(avs_db_bind(
        s, &q, e,
        "SELECT host, cpu, kernel, driver, cuda, cudnn, nccl, mpi, compiler, flags, code_fp FROM env"
        " ORDER BY env_id LIMIT 40",
        ""));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        if (n++ == 0) {
            avs_buf_str(out, "<div class=\"scroll\" role=\"region\" aria-label=\"Machines and builds\" "
                             "tabindex=\"0\"><table><caption>Machines and builds</caption><thead><tr>");
            for (int c = 0; c < COLUMNS; c++) avs_buf_fmt(out, "<th scope=\"col\">%s</th>", heads[c]);
            avs_buf_str(out, "</tr></thead><tbody>\n");
        }
        avs_buf_str(out, "<tr>");
        for (int c = 0; c < COLUMNS; c++) {
            const char *text = avs_db_text(q, c);
            avs_buf_str(out, "<td>");
            avs_html_escape(out, *text ? avs_text_shown(a, text, 64) : "-");
            avs_buf_str(out, "</td>");
        }
        avs_buf_str(out, "</tr>\n");
    }
    if (n) avs_buf_str(out, "</tbody></table></div>\n");
out:
    return rc;
}

/* The sweep files, word for word: who reads the page can run it again. */
static int put_sources(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_buf *out, avs_err *e)
{
    sqlite3_stmt *q;
    bool row;
    int rc;
    AVS_TRY(
        avs_db_bind(s, &q, e,
                    "SELECT path, substr(text, 1, 65536), length(text) FROM sweep_source WHERE sweep_id IN"
                    " (SELECT max(sweep_id) FROM sweep GROUP BY name) AND (?1 IS NULL OR sweep_id=(SELECT"
                    " max(sweep_id) FROM sweep WHERE name=?1)) ORDER BY sweep_id LIMIT 8",
                    "t", spec->sweep));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        avs_buf_str(out, "<details><summary>");
        avs_html_escape(out, avs_text_shown(a, avs_db_text(q, 0), 120));
        avs_buf_str(out, "</summary><pre tabindex=\"0\">");
        avs_html_escape(out, avs_db_text(q, 1));
        avs_buf_str(out,
                    sqlite3_column_int64(q, 2) > 65536 ? "\n(cut)</pre></details>\n" : "</pre></details>\n");
    }
out:
    return rc;
}

int avs_html_provenance(avs_store *s, const avs_report_spec *spec, const avs_table *t, avs_arena *a,
                        avs_buf *out, avs_err *e)
{
    int rc;
    avs_buf_str(out, "<footer id=\"provenance\"><h2>Provenance</h2>\n<ul>\n");
    for (int i = 0; i < t->n_provenance; i++) {
        avs_buf_str(out, "<li>");
        avs_html_escape(out, avs_text_shown(a, t->provenance[i], 400));
        avs_buf_str(out, "</li>\n");
    }
    avs_buf_str(out, "</ul>\n");
    AVS_TRY(put_environments(s, a, out, e));
    AVS_TRY(put_sources(s, spec, a, out, e));
    avs_buf_str(out, "</footer>\n");
out:
    return rc;
}
