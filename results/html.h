/* Parts of the HTML report. Each appends its section, heading included, or nothing when there is nothing to show. Private to
 * this room. */
#ifndef AVS_RESULTS_HTML_H
#define AVS_RESULTS_HTML_H

#include "results/grid.h"
#include "results/render.h"

/* A page: head and heading; the table that the script sorts, filters and pages, its notes below it (title: ours, not escaped;
 * by: the first n_by columns as filters name them); the script and the end. */
void avs_html_open(const char *title, avs_buf *out);
void avs_html_board(const avs_grid *g, const char *const *by, int n_by, const char *title, avs_buf *out);
void avs_html_item(avs_buf *out, const char *text); /* <li>, escaped */
void avs_html_close(avs_buf *out);

/* Rows in order of the first quality column, best first, those without a number last; NULL when memory is out. */
const int *avs_html_ranking(const avs_table *t, avs_arena *a);
/* The trials to show for a ranking, at most cap: of each row the lowest seed first. */
int avs_html_trials(const avs_table *t, avs_arena *a, const int *ranking, int rows, const avs_q_trial **out,
                    int cap);

int avs_html_curves(avs_store *s, const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e);
int avs_html_classes(avs_store *s, const avs_table *t, avs_arena *a, avs_buf *out,
                     avs_err *e); /* iou_class_* */
int avs_html_latency(avs_store *s, const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e);
int avs_html_pictures(avs_store *s, const avs_report_spec *spec, const avs_table *t, avs_arena *a,
                      avs_buf *out, avs_err *e);
int avs_html_failures(avs_store *s, const avs_report_spec *spec, avs_arena *a, avs_buf *out, avs_err *e);
int avs_html_provenance(avs_store *s, const avs_report_spec *spec, const avs_table *t, avs_arena *a,
                        avs_buf *out, avs_err *e);

#endif
