/* Reports: leaderboards from a store, as text, Markdown, CSV, JSON or one HTML file.
 *
 * Rows are configs grouped by the keys in `by` (parameters, or kind, model, task); columns are metrics. A
 * cell is the mean over trials (seeds) with the half-width of the t-interval: `79.9 ± 0.4`; one trial: `79.9
 * (n=1)`; trials that are missing or failed stay visible: `79.9 ± 0.4 (3/5)`.
 *
 * Metrics: any name that trials reported, optionally
 *   miou@task=s4    pinned: its own column of the trials where task is s4 (task then is no row key)
 *   miou:val        split (default: test if there is any, else "", else val)
 *   latency_p50     _p90, _p99, _mean, _min, latency_e2e_p50, ..: from the stored samples, in ms, median over
 *                   attempts
 * miou*, fscore* and every metric with unit "fraction" are shown in percent (JSON and CSV keep the stored
 * value).
 *
 * Published values (results/published.h) add the columns `paper` and `delta` beside a metric that has any.
 * Thread rules and errors as for the store. */
#ifndef AVS_RESULTS_REPORT_H
#define AVS_RESULTS_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "base/err.h"
#include "results/store.h"

typedef enum {
    AVS_REPORT_TEXT,
    AVS_REPORT_MARKDOWN,
    AVS_REPORT_CSV,
    AVS_REPORT_LATEX,
    AVS_REPORT_JSON,
    AVS_REPORT_SVG, /* the Pareto plot of pareto_x and pareto_y */
    AVS_REPORT_HTML
} avs_report_format;
/* "text", "md", "markdown", "latex", "tex", "csv", "json", "html", "svg" -> format. AVS_ERANGE names the choices. */
int avs_report_format_parse(const char *word, avs_report_format *out, avs_err *e);

/* Without `by` and `metrics` a report of one sweep (named, or the only one of the file) takes both from the report block
 * that its file carried, and with them where, baseline, sort, top, ci, title and pareto as far as they are not given here;
 * columns of that block that have no numbers yet stay, empty. */
typedef struct {
    const char *const *by; /* row keys; n_by = 0: the parameters in which the trials differ (none: model) */
    size_t n_by;
    const char *const *metrics; /* columns; n_metrics = 0: the usual ones that have numbers */
    size_t n_metrics;
    const char *where; /* "task=s4,backbone=resnet18" (all hold; also kind, seed, state); NULL: all */
    int64_t config;    /* only this row of table config; 0: all */
    bool missing_keys; /* a key in `by` that no trial has is absent everywhere, not an error */
    const char *sweep; /* name of a sweep (its newest row); NULL: every trial in the file */
    const char *title; /* NULL: the sweep's name or the file's */
    const char *sort;  /* a metric as in `metrics`: best first; NULL: in order of the keys  */
    int top;   /* rows shown after sorting; 0: all                                                          */
    double ci; /* confidence level in percent; 0: 95                                                        */
    const char *baseline; /* where-list that picks one row: other rows get the difference and p; NULL: none */
    bool
        mixed; /* allow one latency column to mix CPUs, GPUs, drivers, precision, threads or code; else AVS_ERANGE */
    bool
        suspect; /* keep latencies that drifted or were disturbed, marked; otherwise they are left out and counted */
    bool nonparametric;  /* Wilcoxon signed-rank in place of paired t where at least 10 seeds are common    */
    bool hide_published; /* no `paper` and `delta` columns */
    bool color;          /* text only: bold by ANSI codes          */
    bool standalone;     /* LaTeX: a whole document                */
    bool pictures;       /* HTML: with the prediction sheets       */
    const char *pareto_x, *pareto_y; /* HTML plot; NULL: latency_p50 and the first quality metric */
    const char *artifact_root; /* where relative artifact paths begin; NULL: the folder of the database */
    avs_report_format format;
} avs_report_spec;

/* Appends the report to out. Errors: AVS_EMISSING when no trial matches or a metric or key does not exist
 * (the message lists those that do); AVS_ERANGE for a malformed spec or a mixed latency column. */
int avs_report(avs_store *s, const avs_report_spec *asked, avs_buf *out, avs_err *e);
/* The same into a file (atomically), or to a file descriptor with path "-" (stdout). */
int avs_report_to(avs_store *s, const avs_report_spec *spec, const char *path, avs_err *e);

#endif
