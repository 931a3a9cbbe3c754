/* Inline SVG without script: quality against cost with the Pareto front, and curves over training steps. Colours come
 * from the page's CSS variables (Okabe-Ito, readable for the colour-blind, in light and dark). */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "results/render.h"

enum { W = 760, H = 420, LEFT = 70, RIGHT = 24, TOP = 24, BOTTOM = 54 };

typedef struct {
    double lo, hi, step;
} axis;

/* A range widened to round ticks, about five of them. */
static axis make_axis(double lo, double hi)
{
    axis a;
    if (!(hi > lo)) {
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

static double at_x(const axis *a, double v)
{
    return LEFT + (v - a->lo) / (a->hi - a->lo) * (W - LEFT - RIGHT);
}
static double at_y(const axis *a, double v)
{
    return H - BOTTOM - (v - a->lo) / (a->hi - a->lo) * (H - TOP - BOTTOM);
}

static void frame(avs_buf *out, const char *title, const axis *x, const axis *y, const char *xt,
                  const char *yt)
{
    avs_buf_fmt(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", (int)W, (int)H);
    avs_html_escape(out, title);
    avs_buf_str(out, "\">\n");
    for (int i = 0; i <= 12; i++) {
        double v = x->lo + i * x->step;
        if (v > x->hi + x->step * 1e-9) break;
        avs_buf_fmt(out,
                    "<path class=\"grid\" d=\"M%.1f %dV%d\"/><text x=\"%.1f\" y=\"%d\" "
                    "text-anchor=\"middle\">%.6g</text>\n",
                    at_x(x, v), (int)TOP, H - BOTTOM, at_x(x, v), H - BOTTOM + 18,
                    fabs(v) < x->step * 1e-9 ? 0.0 : v);
    }
    for (int i = 0; i <= 12; i++) {
        double v = y->lo + i * y->step;
        if (v > y->hi + y->step * 1e-9) break;
        avs_buf_fmt(out,
                    "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" "
                    "text-anchor=\"end\">%.6g</text>\n",
                    (int)LEFT, at_y(y, v), W - RIGHT, LEFT - 8, at_y(y, v) + 4,
                    fabs(v) < y->step * 1e-9 ? 0.0 : v);
    }
    avs_buf_fmt(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + W - RIGHT) / 2, H - 12);
    avs_html_escape(out, xt);
    avs_buf_fmt(out, "</text>\n<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\">",
                (TOP + H - BOTTOM) / 2);
    avs_html_escape(out, yt);
    avs_buf_str(out, "</text>\n");
}

typedef struct {
    double x0, y0, x1, y1;
} box;

/* The first of four places beside a point that is free; false when all are taken (the title still tells). */
static bool place_label(box *taken, int *n, int cap, double x, double y, double w, box *at)
{
    const double h = 13,
                 try[4][2] = {{x + 8, y - 18}, {x - 8 - w, y - 18}, {x + 8, y + 6}, {x - 8 - w, y + 6}};
    for (int k = 0; k < 4 && *n < cap; k++) {
        box b = {try[k][0], try[k][1], try[k][0] + w, try[k][1] + h};
        bool is_free = b.x0 >= LEFT && b.x1 <= W - 2 && b.y0 >= 0 && b.y1 <= H - BOTTOM;
        for (int i = 0; i < *n && is_free; i++)
            is_free = b.x1 < taken[i].x0 || b.x0 > taken[i].x1 || b.y1 < taken[i].y0 || b.y0 > taken[i].y1;
        if (!is_free) continue;
        taken[(*n)++] = b;
        *at = b;
        return true;
    }
    return false;
}

typedef struct {
    double x, y, hx, hy;
    const char *label;
    bool is_front;
} point;

static int collect(const avs_table *t, avs_arena *a, int cx, int cy, point *p)
{
    const avs_q_column *x = &t->column[cx], *y = &t->column[cy];
    double sx = avs_cell_scale(x), sy = avs_cell_scale(y);
    int n = 0;
    for (int r = 0; r < t->n_rows; r++) {
        const avs_q_cell *u = &t->row[r].cell[cx], *v = &t->row[r].cell[cy];
        if (u->n == 0 || v->n == 0) continue;
        p[n++] = (point){.x = u->mean * sx,
                         .y = v->mean * sy,
                         .hx = isnan(u->half) ? 0 : u->half * sx,
                         .hy = isnan(v->half) ? 0 : v->half * sy,
                         .label = avs_row_label(t, &t->row[r], a)};
    }
    double bx = x->better > 0 ? 1 : -1, by = y->better < 0 ? -1 : 1;
    for (int i = 0; i < n; i++) {
        p[i].is_front = true;
        for (int k = 0; k < n; k++)
            if (bx * p[k].x >= bx * p[i].x && by * p[k].y >= by * p[i].y &&
                (p[k].x != p[i].x || p[k].y != p[i].y))
                p[i].is_front = false;
    }
    return n;
}

/* The front as a step line: from one front point to the next the quality holds until the cost is paid. */
static void draw_front(avs_buf *out, const point *p, int n, const axis *ax, const axis *ay)
{
    double last = -INFINITY;
    bool open = false;
    for (;;) {
        int next = -1;
        for (int i = 0; i < n; i++)
            if (p[i].is_front && p[i].x > last && (next < 0 || p[i].x < p[next].x)) next = i;
        if (next < 0) break;
        if (!open)
            avs_buf_fmt(out, "<path class=\"front\" d=\"M%.1f %.1f", at_x(ax, p[next].x),
                        at_y(ay, p[next].y));
        else
            avs_buf_fmt(out, "H%.1f V%.1f", at_x(ax, p[next].x), at_y(ay, p[next].y));
        open = true;
        last = p[next].x;
    }
    if (open) avs_buf_fmt(out, "H%d\"/>\n", W - RIGHT);
}

void avs_plot_pareto(const avs_table *t, avs_arena *a, int cx, int cy, avs_buf *out)
{
    point *p = AVS_NEW_N(a, point, t->n_rows + 1);
    box *taken = AVS_NEW_N(a, box, 2 * t->n_rows + 1);
    int n = p ? collect(t, a, cx, cy, p) : 0, n_taken = 0;
    double lox = INFINITY, hix = -INFINITY, loy = INFINITY, hiy = -INFINITY;

    if (!p || !taken || n == 0) return;
    for (int i = 0; i < n; i++) {
        lox = fmin(lox, p[i].x - p[i].hx), hix = fmax(hix, p[i].x + p[i].hx);
        loy = fmin(loy, p[i].y - p[i].hy), hiy = fmax(hiy, p[i].y + p[i].hy);
    }
    axis ax = make_axis(lox, hix), ay = make_axis(loy, hiy);
    const char *xt = avs_cell_title(a, &t->column[cx]), *yt = avs_cell_title(a, &t->column[cy]);
    const char *title = avs_arena_fmt(a, "%s against %s", yt, xt);
    frame(out, title ? title : "", &ax, &ay, xt ? xt : "", yt ? yt : "");
    draw_front(out, p, n, &ax, &ay);
    for (int i = 0; i < n; i++)
        taken[n_taken++] =
            (box){at_x(&ax, p[i].x) - 5, at_y(&ay, p[i].y) - 5, at_x(&ax, p[i].x) + 5, at_y(&ay, p[i].y) + 5};
    for (int i = 0; i < n; i++) {
        double x = at_x(&ax, p[i].x), y = at_y(&ay, p[i].y);
        avs_buf_fmt(out, "<g class=\"%s\"><title>", p[i].is_front ? "best" : "dominated");
        avs_html_escape(out, p[i].label);
        avs_buf_fmt(out, ": %.5g, %.5g</title>", p[i].x, p[i].y);
        if (p[i].hx > 0)
            avs_buf_fmt(out, "<path d=\"M%.1f %.1fH%.1f\"/>", at_x(&ax, p[i].x - p[i].hx), y,
                        at_x(&ax, p[i].x + p[i].hx));
        if (p[i].hy > 0)
            avs_buf_fmt(out, "<path d=\"M%.1f %.1fV%.1f\"/>", x, at_y(&ay, p[i].y - p[i].hy),
                        at_y(&ay, p[i].y + p[i].hy));
        avs_buf_fmt(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\"/>", x, y);
        box at;
        if (place_label(taken, &n_taken, 2 * t->n_rows + 1, x, y, 7.4 * (double)avs_text_width(p[i].label),
                        &at)) {
            avs_buf_fmt(out, "<text x=\"%.1f\" y=\"%.1f\">", at.x0, at.y1 - 2);
            avs_html_escape(out, p[i].label);
            avs_buf_str(out, "</text>");
        }
        avs_buf_str(out, "</g>\n");
    }
    avs_buf_str(out, "</svg>\n");
}

void avs_plot_lines(const char *title, const avs_plot_line *lines, int n, avs_buf *out)
{
    double lox = INFINITY, hix = -INFINITY, loy = INFINITY, hiy = -INFINITY;
    for (int l = 0; l < n; l++) {
        for (size_t i = 0; i < lines[l].n; i++) {
            lox = fmin(lox, (double)lines[l].step[i]), hix = fmax(hix, (double)lines[l].step[i]);
            loy = fmin(loy, lines[l].value[i]), hiy = fmax(hiy, lines[l].value[i]);
        }
    }
    if (!(hix >= lox)) return;
    axis ax = make_axis(lox, hix), ay = make_axis(loy, hiy);
    if (lox >= 0 && ax.lo < 0) ax.lo = 0;
    frame(out, title, &ax, &ay, "step", title);
    for (int l = 0; l < n; l++) {
        size_t stride = lines[l].n / 400 + 1; /* more points than pixels say nothing more */
        avs_buf_fmt(out, "<g class=\"line c%d\"><title>", l % 7);
        avs_html_escape(out, lines[l].label);
        avs_buf_str(out, "</title><path d=\"");
        for (size_t i = 0; i < lines[l].n; i += stride)
            avs_buf_fmt(out, "%c%.1f %.1f", i ? 'L' : 'M', at_x(&ax, (double)lines[l].step[i]),
                        at_y(&ay, lines[l].value[i]));
        avs_buf_str(out, "\"/></g>\n");
    }
    avs_buf_str(out, "</svg>\n<ul class=\"legend\">");
    for (int l = 0; l < n; l++) {
        avs_buf_fmt(out, "<li class=\"c%d\">", l % 7);
        avs_html_escape(out, lines[l].label);
        avs_buf_str(out, "</li>");
    }
    avs_buf_str(out, "</ul>\n");
}
