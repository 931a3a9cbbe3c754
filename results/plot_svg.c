/* The frame of a plot, and curves in it: learning curves and histograms are lines with other numbers. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "results/plot.h"
#include "results/render.h"

enum { LEFT = 70, RIGHT = 24, TOP = 24, BOTTOM = 54, MAX_POINTS = 240 };

const char avs_plot_style[] =
    "svg text{fill:var(--fg);font:12px "
    "system-ui,sans-serif;paint-order:stroke;stroke:var(--bg);stroke-width:3px}\n"
    ".grid{stroke:var(--line);stroke-width:1}.pt circle{stroke-width:1.5;fill:var(--c0);stroke:var(--c0)}\n"
    ".pt path{stroke:var(--c0);stroke-width:1.5}.dominated circle{fill:var(--dim);stroke:var(--dim)}\n"
    ".open circle{fill:var(--bg);stroke-width:2.5}"
    ".dominated path{stroke:var(--dim)}.dominated text{fill:var(--dim)}\n"
    ".published circle{fill:none;stroke:var(--c1);stroke-width:2}\n"
    ".published path{stroke:var(--c1);stroke-dasharray:2 3}.published text{fill:var(--c1)}\n"
    ".pt .lead,.published .lead{stroke:var(--dim);stroke-width:.7;stroke-dasharray:none}\n"
    ".front{fill:none;stroke:var(--c2);stroke-width:1.8;stroke-dasharray:6 4}\n"
    ".ln path{fill:none;stroke:currentColor;stroke-width:1.8;stroke-linejoin:round}\n"
    ".ln.c1 path{stroke-dasharray:8 3}.ln.c2 path{stroke-dasharray:2 3}.ln.c3 path{stroke-dasharray:10 3 2 "
    "3}\n"
    ".ln.c4 path{stroke-dasharray:14 4}.ln.c5 path{stroke-dasharray:4 2}.ln.c6 path{stroke-dasharray:1 4}\n"
    ".c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}\n"
    ".c5{color:var(--c5)}.c6{color:var(--c6)}\n"
    ":root{--bg:#fff;--fg:#1b1b1b;--dim:#6b6b6b;--line:#d6d6d6;--soft:#f4f5f6;--c0:#0072b2;"
    "--c1:#c25200;--c2:#00795a;--c3:#b0548a;--c4:#8a6a00;--c5:#2a7fb0;--c6:#555}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#15171a;--fg:#e8e8e8;--dim:#9aa0a6;--line:#3a3d42;"
    "--soft:#1f2226;--c0:#56b4e9;--c1:#ff9a4d;--c2:#3fd0a0;--c3:#e6a3c8;--c4:#f0e442;--c5:#9ad3f5;--c6:#bbb}}"
    "\n";

avs_plot_axis avs_plot_make_axis(double lo, double hi)
{
    avs_plot_axis a;
    if (!(hi - lo > 1e-12 * fmax(fabs(lo), fabs(hi)))) {
        double pad = fabs(lo) > 0 ? fabs(lo) * 0.1 : 1;
        lo -= pad;
        hi += pad;
    }
    double raw = (hi - lo) / 5, mag = pow(10, floor(log10(raw))), f = raw / mag;
    a.step = mag * (f < 1.5 ? 1 : f < 3.5 ? 2 : f < 7.5 ? 5 : 10);
    a.lo = floor(lo / a.step) * a.step;
    a.hi = ceil(hi / a.step) * a.step;
    return a;
}

double avs_plot_x(const avs_plot_frame *f, double v)
{
    return LEFT + (v - f->x.lo) / (f->x.hi - f->x.lo) * (AVS_PLOT_W - LEFT - RIGHT);
}

double avs_plot_y(const avs_plot_frame *f, double v)
{
    return AVS_PLOT_H - BOTTOM - (v - f->y.lo) / (f->y.hi - f->y.lo) * (AVS_PLOT_H - TOP - BOTTOM);
}

static double tick(const avs_plot_axis *a, int i)
{
    double v = a->lo + i * a->step;
    return fabs(v) < a->step * 1e-9 ? 0.0 : v;
}

static bool is_on(const avs_plot_axis *a, int i)
{
    return i <= 16 && tick(a, i) <= a->hi + a->step * 1e-9;
}

void avs_plot_begin(const char *title, int width, int height, bool is_file, avs_buf *out)
{
    avs_buf_fmt(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", width, height);
    avs_html_escape(out, title);
    avs_buf_char(out, '"');
    if (is_file) {
        avs_buf_fmt(out, " xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\">\n<title>", width,
                    height);
        avs_html_escape(out, title);
        avs_buf_fmt(out,
                    "</title>\n<style>\n%s</style>\n<rect width=\"100%%\" height=\"100%%\" "
                    "style=\"fill:var(--bg)\"/>\n",
                    avs_plot_style);
    } else {
        avs_buf_str(out, ">\n");
    }
}

void avs_plot_open(const avs_plot_frame *f, avs_buf *out)
{
    const int right = AVS_PLOT_W - RIGHT, bottom = AVS_PLOT_H - BOTTOM;
    avs_plot_begin(f->title, AVS_PLOT_W, AVS_PLOT_H, f->is_file, out);
    for (int i = 0; is_on(&f->x, i); i++) {
        double x = avs_plot_x(f, tick(&f->x, i));
        avs_buf_fmt(out,
                    "<path class=\"grid\" d=\"M%.1f %dV%d\"/><text x=\"%.1f\" y=\"%d\" "
                    "text-anchor=\"middle\">%.6g</text>\n",
                    x, (int)TOP, bottom, x, bottom + 18, tick(&f->x, i));
    }
    for (int i = 0; is_on(&f->y, i); i++) {
        double y = avs_plot_y(f, tick(&f->y, i));
        avs_buf_fmt(out,
                    "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" "
                    "text-anchor=\"end\">%.6g</text>\n",
                    (int)LEFT, y, right, LEFT - 8, y + 4, tick(&f->y, i));
    }
    avs_buf_fmt(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + right) / 2, AVS_PLOT_H - 12);
    avs_html_escape(out, f->x_title);
    avs_buf_fmt(out, "</text>\n<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\">",
                (TOP + bottom) / 2);
    avs_html_escape(out, f->y_title);
    avs_buf_str(out, "</text>\n");
}

static void legend(const avs_plot_line *lines, int n, avs_buf *out)
{
    avs_buf_str(out, "<ul class=\"legend\">");
    for (int l = 0; l < n; l++) {
        if (l && strcmp(lines[l].label, lines[l - 1].label) == 0) continue;
        avs_buf_fmt(out,
                    "<li><svg class=\"ln c%d\" viewBox=\"0 0 40 8\" aria-hidden=\"true\"><path "
                    "d=\"M0 4H40\"/></svg>",
                    lines[l].color % AVS_PLOT_COLORS);
        avs_html_escape(out, lines[l].label);
        avs_buf_str(out, "</li>");
    }
    avs_buf_str(out, "</ul>\n");
}

void avs_plot_lines(const char *title, const char *x_title, const char *y_title, const avs_plot_line *lines,
                    int n, avs_buf *out)
{
    double lox = INFINITY, hix = -INFINITY, loy = INFINITY, hiy = -INFINITY;
    for (int l = 0; l < n; l++) {
        for (size_t i = 0; i < lines[l].n; i++) {
            lox = fmin(lox, lines[l].x[i]), hix = fmax(hix, lines[l].x[i]);
            loy = fmin(loy, lines[l].y[i]), hiy = fmax(hiy, lines[l].y[i]);
        }
    }
    if (!(hix >= lox)) return;
    avs_plot_frame f = {.x = avs_plot_make_axis(lox, hix),
                        .y = avs_plot_make_axis(loy, hiy),
                        .title = title,
                        .x_title = x_title,
                        .y_title = y_title};
    if (lox >= 0 && f.x.lo < 0) f.x.lo = 0;
    avs_buf_str(out, "<figure class=\"plot\">");
    avs_plot_open(&f, out);
    for (int l = 0; l < n; l++) {
        size_t stride = lines[l].n / MAX_POINTS + 1; /* more points than pixels say nothing more */
        avs_buf_fmt(out, "<g class=\"ln c%d\"><title>", lines[l].color % AVS_PLOT_COLORS);
        avs_html_escape(out, lines[l].label);
        avs_buf_str(out, "</title><path d=\"");
        for (size_t i = 0; i < lines[l].n; i += stride)
            avs_buf_fmt(out, "%c%.1f %.1f", i ? 'L' : 'M', avs_plot_x(&f, lines[l].x[i]),
                        avs_plot_y(&f, lines[l].y[i]));
        avs_buf_str(out, "\"/></g>\n");
    }
    avs_buf_str(out, "</svg>\n");
    legend(lines, n, out);
    avs_buf_str(out, "</figure>\n");
}
