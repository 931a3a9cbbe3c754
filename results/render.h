/* Renderers: a table as bytes. Private to this room. All append to out; failures of memory show in avs_buf_ok. */
#ifndef AVS_RESULTS_RENDER_H
#define AVS_RESULTS_RENDER_H

#include "base/buf.h"
#include "results/query.h"

/* "miou [%]": name and the unit the cells are shown in. */
const char *avs_cell_title(avs_arena *a, const avs_q_column *c);
/* A stored value as it is shown, without unit: 0.7991 -> "79.9", 41.8e6 ns -> "41.80". NaN -> "". */
const char *avs_cell_number(avs_arena *a, const avs_q_column *c, double v);
const char *avs_cell_signed(avs_arena *a, const avs_q_column *c, double v); /* "+0.3", "-1.2"          */
/* "79.9 ± 0.4", "79.9 (n=1)", "79.9 ± 0.4 (3/5)", "- (0/5)", "" where the column does not apply. */
const char *avs_cell_text(avs_arena *a, const avs_q_column *c, const avs_q_cell *x);
double avs_cell_scale(const avs_q_column *c); /* shown = stored * scale */

/* Columns on a terminal: wide characters 2, combining marks 0. */
size_t avs_text_width(const char *utf8);
void avs_text_pad(avs_buf *out, const char *utf8, size_t width, bool right);
/* The next code point of well-formed UTF-8; any other byte is U+FFFD. *p must not be at the end. */
uint32_t avs_text_point(const char **p);
size_t avs_text_point_width(uint32_t c);
/* A copy fit for display: points that act (controls, direction marks) as <U+202E>, the middle of more than width columns as
 * an ellipsis. Never NULL. */
const char *avs_text_shown(avs_arena *a, const char *text, size_t width);
void avs_html_escape(avs_buf *out, const char *text); /* also for attributes, SVG and XML */
void avs_markdown_escape(avs_buf *out, const char *text);
void avs_latex_escape(avs_buf *out, const char *text);
void avs_csv_text(avs_buf *out, const char *text); /* quoted where RFC 4180 asks for it */

void avs_render_text(const avs_table *t, avs_arena *a, bool color, avs_buf *out);
void avs_render_markdown(const avs_table *t, avs_arena *a, avs_buf *out);
/* A tabular for \\input, or with standalone a whole document for pdflatex with booktabs. */
void avs_render_latex(const avs_table *t, avs_arena *a, bool standalone, avs_buf *out);
void avs_render_csv(const avs_table *t, avs_buf *out);
int avs_render_json(const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e);
int avs_render_html(avs_store *s, const avs_report_spec *spec, const avs_table *t, avs_arena *a, avs_buf *out,
                    avs_err *e);

/* The Pareto plot as a file. AVS_EMISSING: no such columns, or no row that has both. */
int avs_render_svg(const avs_report_spec *spec, const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e);
/* Columns of the plot: as named, else the first latency (else parameters) and the first quality; -1: there is none. */
int avs_pareto_axes(const avs_report_spec *spec, const avs_table *t, int axis[2], avs_err *e);

/* "resnet18 · s4": the keys of a row in one line. */
const char *avs_row_label(const avs_table *t, const avs_q_row *r, avs_arena *a);

#endif
