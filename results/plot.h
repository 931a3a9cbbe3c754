/* Plots as SVG without script: one frame with ticks for all, points and lines in it. Colours are classes: a page gives them by
 * its style sheet, a file of its own carries one (avs_plot_style). Okabe-Ito colours, told apart for the colour-blind too;
 * lines also differ by their dashes. Private to this room. */
#ifndef AVS_RESULTS_PLOT_H
#define AVS_RESULTS_PLOT_H

#include "base/buf.h"
#include "results/query.h"

enum { AVS_PLOT_W = 760, AVS_PLOT_H = 420, AVS_PLOT_COLORS = 7 };

typedef struct {
    double lo, hi, step;
} avs_plot_axis;

typedef struct {
    avs_plot_axis x, y;
    const char *title, *x_title, *y_title;
    bool is_file; /* with name space, size and style sheet */
} avs_plot_frame;

avs_plot_axis avs_plot_make_axis(double lo, double hi); /* widened to round ticks, about five of them */
double avs_plot_x(const avs_plot_frame *f, double v);
double avs_plot_y(const avs_plot_frame *f, double v);
/* <svg ..> with its title; a file of its own brings style and background along. */
void avs_plot_begin(const char *title, int width, int height, bool is_file, avs_buf *out);
void avs_plot_open(const avs_plot_frame *f,
                   avs_buf *out);   /* <svg>, grid, ticks, titles; the caller closes it */
extern const char avs_plot_style[]; /* CSS that both pages and files use */

typedef struct {
    const char *label;
    const double *x, *y;
    size_t n;
    int color; /* 0.. */
} avs_plot_line;
/* Lines and below them their legend (HTML). Lines of one label share a place in the legend. */
void avs_plot_lines(const char *title, const char *x_title, const char *y_title, const avs_plot_line *lines,
                    int n, avs_buf *out);

/* Quality against cost: columns x and y of the table. False: no row has both. */
bool avs_plot_pareto(const avs_table *t, avs_arena *a, int x, int y, bool is_file, avs_buf *out);

#endif
