/* Differences with their intervals, one below the other: a line for each pair, zero and the threshold across. What the verdict
 * is shows by fill and by word, not by colour alone. */
#include <math.h>
#include <string.h>
#include "results/compare_pairs.h"
#include "results/plot.h"
#include "results/render.h"

enum { WIDTH = 760, LEFT = 250, RIGHT = 100, TOP = 34, LINE = 22, BOTTOM = 46, MOST = 400, LABEL = 34 };

const char *avs_compare_label(const avs_comparison *c, const avs_compare_pair *x, size_t width)
{
    const char *label = "";
    for (size_t k = 0; k < c->n_by && label; k++)
        label = avs_arena_fmt(c->arena, "%s%s%s", label, k ? " \xc2\xb7 " : "",
                              x->a->key[k] ? x->a->key[k] : "-");
    return avs_text_shown(c->arena, label && *label ? label : "all", width);
}

typedef struct {
    avs_plot_axis x;
    double scale; /* shown = stored * scale */
    int rows;
} frame;

static double place(const frame *f, double v)
{
    return LEFT + (v * f->scale - f->x.lo) / (f->x.hi - f->x.lo) * (WIDTH - LEFT - RIGHT);
}

static double limit_of(const avs_comparison *c, const avs_compare_pair *x)
{
    return c->spec->threshold * (c->spec->is_relative ? fabs(x->cell_a->mean) : 1);
}

static frame make_frame(const avs_comparison *c)
{
    frame f = {.scale = avs_cell_scale(&c->a.column[0]), .rows = c->n_pairs < MOST ? c->n_pairs : MOST};
    double lo = 0, hi = 0;
    for (int i = 0; i < f.rows; i++) {
        const avs_compare_result *r = &c->pairs[i].r;
        const double limit = limit_of(c, &c->pairs[i]);
        const double ends[] = {r->delta, r->lo, r->hi, -limit, limit};
        for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
            if (!isfinite(ends[k])) continue;
            lo = fmin(lo, ends[k] * f.scale);
            hi = fmax(hi, ends[k] * f.scale);
        }
    }
    f.x = avs_plot_make_axis(lo, hi);
    return f;
}

static void put_ticks(const frame *f, int bottom, avs_buf *out)
{
    for (int i = 0; i <= 16; i++) {
        const double v = f->x.lo + i * f->x.step;
        if (v > f->x.hi + f->x.step * 1e-9) break;
        const double x = place(f, v / f->scale);
        avs_buf_fmt(out,
                    "<path class=\"grid\" d=\"M%.1f %dV%d\"/><text x=\"%.1f\" y=\"%d\" "
                    "text-anchor=\"middle\">%.6g</text>\n",
                    x, (int)TOP, bottom, x, bottom + 18, fabs(v) < f->x.step * 1e-9 ? 0.0 : v);
    }
    avs_buf_fmt(out, "<path d=\"M%.1f %dV%d\" style=\"stroke:var(--fg);stroke-width:1.4\"/>\n", place(f, 0),
                (int)TOP, bottom);
}

static void put_pair(const avs_comparison *c, const frame *f, int i, avs_buf *out)
{
    const avs_compare_pair *p = &c->pairs[i];
    const double y = TOP + LINE * (i + 0.5), limit = limit_of(c, p);
    const bool sure = p->verdict == AVS_BETTER || p->verdict == AVS_WORSE;
    const char *color = p->verdict == AVS_BETTER ? "--c2" : p->verdict == AVS_WORSE ? "--c1" : "--dim";
    avs_buf_str(out, "<g><title>");
    avs_html_escape(out, avs_compare_label(c, p, 200));
    avs_buf_fmt(out, ": %s, %.5g", avs_verdict_name(p->verdict), p->r.delta * f->scale);
    if (isfinite(p->r.lo)) avs_buf_fmt(out, " (%.5g to %.5g)", p->r.lo * f->scale, p->r.hi * f->scale);
    avs_buf_fmt(out, "</title><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT - 10, y + 4);
    avs_html_escape(out, avs_compare_label(c, p, LABEL));
    avs_buf_str(out, "</text>");
    for (int side = -1; side <= 1 && limit > 0; side += 2)
        avs_buf_fmt(
            out,
            "<path d=\"M%.1f %.1fv%d\" style=\"stroke:var(--dim);stroke-width:1.2;stroke-dasharray:3 3\"/>",
            place(f, side * limit), y - LINE / 2.0, (int)LINE);
    if (isfinite(p->r.lo) && isfinite(p->r.hi))
        avs_buf_fmt(
            out, "<path d=\"M%.1f %.1fH%.1fm0 -4v8M%.1f %.1fv8\" style=\"stroke:var(%s);stroke-width:1.8\"/>",
            place(f, p->r.lo), y, place(f, p->r.hi), place(f, p->r.lo), y - 4, color);
    if (isfinite(p->r.delta))
        avs_buf_fmt(out,
                    "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\" "
                    "style=\"fill:var(%s);stroke:var(%s);stroke-width:2\"/>",
                    place(f, p->r.delta), y, sure ? color : "--bg", color);
    avs_buf_fmt(out, "<text x=\"%d\" y=\"%.1f\">%s</text></g>\n", WIDTH - RIGHT + 12, y + 4,
                avs_verdict_name(p->verdict));
}

void avs_compare_plot(const avs_comparison *c, const char *title, bool is_file, avs_buf *out)
{
    const frame f = make_frame(c);
    const int bottom = TOP + LINE * f.rows, height = bottom + BOTTOM;
    const char *unit = avs_cell_title(c->arena, &c->a.column[0]);
    avs_plot_begin(title, WIDTH, height, is_file, out);
    put_ticks(&f, bottom, out);
    for (int i = 0; i < f.rows; i++) put_pair(c, &f, i, out);
    if (c->n_pairs > f.rows)
        avs_buf_fmt(out, "<text x=\"%d\" y=\"20\" text-anchor=\"end\">the first %d of %d pairs</text>\n",
                    WIDTH - 12, f.rows, c->n_pairs);
    avs_buf_fmt(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">B - A, ", (LEFT + WIDTH - RIGHT) / 2,
                height - 8);
    avs_html_escape(out, avs_text_shown(c->arena, unit ? unit : "", 60));
    avs_buf_str(out, "</text>\n</svg>\n");
}
