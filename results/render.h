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

size_t avs_text_width(const char *utf8); /* columns on a terminal: wide characters 2, combining marks 0 */
void avs_text_pad(avs_buf *out, const char *utf8, size_t width, bool right);

void avs_render_text(const avs_table *t, avs_arena *a, bool color, avs_buf *out);
void avs_render_markdown(const avs_table *t, avs_arena *a, avs_buf *out);
void avs_render_csv(const avs_table *t, avs_buf *out);
int avs_render_json(const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e);
int avs_render_html(avs_store *s, const avs_report_spec *spec, const avs_table *t, avs_arena *a, avs_buf *out,
                    avs_err *e);

/* SVG of quality against cost (columns x and y of the table) and of series over steps. */
void avs_plot_pareto(const avs_table *t, avs_arena *a, int x, int y, avs_buf *out);
typedef struct {
    const char *label;
    const int64_t *step;
    const double *value;
    size_t n;
} avs_plot_line;
void avs_plot_lines(const char *title, const avs_plot_line *lines, int n, avs_buf *out);

void avs_html_escape(avs_buf *out, const char *text);
/* "resnet18 · s4": the keys of a row in one line. */
const char *avs_row_label(const avs_table *t, const avs_q_row *r, avs_arena *a);

#endif
