/* Quality against cost: measured points with their intervals, the front as a step line, dominated points grey, the papers'
 * values hollow. Labels take the first free place around their point, near before far. */
#include <math.h>
#include <string.h>
#include "results/plot.h"
#include "results/render.h"
#include "results/stat_pareto.h"

enum { MAX_DOMINATED = 1500, MAX_LABELS = 48, LABEL_WIDTH = 36 };

typedef struct {
    double x0, y0, x1, y1;
} box;

typedef struct {
    box *at;
    int n, cap, labels;
} taken;

typedef struct {
    const avs_table *t;
    avs_arena *a;
    avs_plot_frame f;
    int cx, cy; /* columns */
    taken boxes;
    avs_pareto_point *p; /* as shown: measured points, then the papers' */
    int *row;            /* of each */
    int n, n_paper;
} plot;

static double end_of(double end, double mean, double scale)
{
    return (isnan(end) ? mean : end) * scale;
}

static void collect(plot *g)
{
    const avs_table *t = g->t;
    double sx = avs_cell_scale(&t->column[g->cx]), sy = avs_cell_scale(&t->column[g->cy]);
    for (int r = 0; r < t->n_rows; r++) {
        const avs_q_cell *u = &t->row[r].cell[g->cx], *v = &t->row[r].cell[g->cy];
        if (u->n == 0 || v->n == 0) continue;
        g->row[g->n] = r;
        g->p[g->n++] = (avs_pareto_point){.x = u->mean * sx,
                                          .x_lo = end_of(u->lo, u->mean, sx),
                                          .x_hi = end_of(u->hi, u->mean, sx),
                                          .y = v->mean * sy,
                                          .y_lo = end_of(v->lo, v->mean, sy),
                                          .y_hi = end_of(v->hi, v->mean, sy)};
    }
    /* The papers' points: both values published, or the quality alone, which then stands at our cost. */
    for (int r = 0; r < t->n_rows; r++) {
        const avs_q_cell *u = &t->row[r].cell[g->cx], *v = &t->row[r].cell[g->cy];
        if (!v->has_paper || (!u->has_paper && u->n == 0)) continue;
        const double x = (u->has_paper ? u->paper : u->mean) * sx, y = v->paper * sy;
        g->row[g->n + g->n_paper] = r;
        g->p[g->n + g->n_paper++] =
            (avs_pareto_point){.x = x, .x_lo = x, .x_hi = x, .y = y, .y_lo = y, .y_hi = y};
    }
}

static void take(taken *b, double x0, double y0, double x1, double y1)
{
    if (b->n < b->cap) b->at[b->n++] = (box){x0, y0, x1, y1};
}

static bool is_free(const taken *b, box q)
{
    if (q.x0 < 72 || q.x1 > AVS_PLOT_W - 4 || q.y0 < 2 || q.y1 > AVS_PLOT_H - 58) return false;
    for (int i = 0; i < b->n; i++)
        if (q.x1 >= b->at[i].x0 && q.x0 <= b->at[i].x1 && q.y1 >= b->at[i].y0 && q.y0 <= b->at[i].y1)
            return false;
    return true;
}

/* Eight directions at growing distance; a far label gets a line to its point. Without a free place the title still tells. */
static void put_label(plot *g, double x, double y, const char *label, int reach, avs_buf *out)
{
    static const double way[8][2] = {{1, -1}, {-1, -1}, {1, 1}, {-1, 1}, {0, -1}, {0, 1}, {1, 0}, {-1, 0}};
    const double w = 7.0 * (double)avs_text_width(label) + 4, h = 14;
    if (g->boxes.labels >= MAX_LABELS) return;
    for (int far = 0; far < reach; far++) {
        for (int k = 0; k < 8; k++) {
            double d = 8 + 16 * far, cx = x + way[k][0] * (d + w / 2), cy = y + way[k][1] * (d + h / 2);
            box q = {cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2};
            if (!is_free(&g->boxes, q)) continue;
            take(&g->boxes, q.x0, q.y0, q.x1, q.y1);
            g->boxes.labels++;
            if (far)
                avs_buf_fmt(out, "<path class=\"lead\" d=\"M%.1f %.1fL%.1f %.1f\"/>", x, y,
                            x < q.x0   ? q.x0
                            : x > q.x1 ? q.x1
                                       : x,
                            y < q.y0   ? q.y0
                            : y > q.y1 ? q.y1
                                       : y);
            avs_buf_fmt(out,
                        "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" textLength=\"%.0f\" "
                        "lengthAdjust=\"spacingAndGlyphs\">",
                        q.x0 + 2, q.y1 - 3, w - 4);
            avs_html_escape(out, label);
            avs_buf_str(out, "</text>");
            return;
        }
    }
}

/* The front's points in order of x. Where less x is better a quality holds from its point to the right, until the next one's
 * cost is paid; where more is better it holds to the left. */
static void draw_front(const plot *g, const size_t *front, size_t n, int x_better, avs_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        const double x = avs_plot_x(&g->f, g->p[front[i]].x), y = avs_plot_y(&g->f, g->p[front[i]].y);
        if (i == 0)
            avs_buf_fmt(out, "<path class=\"front\" d=\"M%.1f %.1fH%.1f",
                        x_better < 0 ? x : avs_plot_x(&g->f, g->f.x.lo), y, x);
        else
            x_better < 0 ? avs_buf_fmt(out, "H%.1fV%.1f", x, y) : avs_buf_fmt(out, "V%.1fH%.1f", y, x);
    }
    if (n && x_better < 0) avs_buf_fmt(out, "H%.1f", avs_plot_x(&g->f, g->f.x.hi));
    if (n) avs_buf_str(out, "\"/>\n");
}

/* One key with its name; of several the values alone, the title tells which is which. */
static const char *label_of(plot *g, int row)
{
    const avs_q_row *r = &g->t->row[row];
    const char *label = "";
    if (g->t->n_by == 1) return avs_text_shown(g->a, avs_row_label(g->t, r, g->a), LABEL_WIDTH);
    for (int k = 0; k < g->t->n_by && label; k++)
        label = avs_arena_fmt(g->a, "%s%s%s", label, k ? " " : "", r->key[k] ? r->key[k] : "-");
    return avs_text_shown(g->a, label, LABEL_WIDTH);
}

static void put_name(plot *g, int row, avs_buf *out)
{
    avs_html_escape(out, avs_text_shown(g->a, avs_row_label(g->t, &g->t->row[row], g->a), 200));
}

static void draw_point(plot *g, int i, avs_buf *out)
{
    const avs_plot_frame *f = &g->f;
    const avs_pareto_point *p = &g->p[i];
    const double x = avs_plot_x(f, p->x), y = avs_plot_y(f, p->y);
    avs_buf_fmt(out, "<g class=\"pt %s\"><title>",
                p->is_front       ? "best"
                : p->is_dominated ? "dominated"
                                  : "dominated open");
    put_name(g, g->row[i], out);
    avs_buf_fmt(out, ": %.5g (%.5g to %.5g), %.5g (%.5g to %.5g)%s</title>", p->x, p->x_lo, p->x_hi, p->y,
                p->y_lo, p->y_hi,
                p->is_front       ? ", on the front"
                : p->is_dominated ? ", dominated"
                                  : ", behind the front, but within the intervals");
    if (p->x_hi > p->x_lo)
        avs_buf_fmt(out, "<path d=\"M%.1f %.1fH%.1fm0 -3v6M%.1f %.1fv6\"/>", avs_plot_x(f, p->x_lo), y,
                    avs_plot_x(f, p->x_hi), avs_plot_x(f, p->x_lo), y - 3);
    if (p->y_hi > p->y_lo)
        avs_buf_fmt(out, "<path d=\"M%.1f %.1fV%.1fm-3 0h6M%.1f %.1fh6\"/>", x, avs_plot_y(f, p->y_lo),
                    avs_plot_y(f, p->y_hi), x - 3, avs_plot_y(f, p->y_lo));
    avs_buf_fmt(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"/>", x, y, p->is_front ? "5" : "4");
    put_label(g, x, y, label_of(g, g->row[i]), p->is_front ? 5 : 2, out);
    avs_buf_str(out, "</g>\n");
}

static void draw_published(plot *g, int i, avs_buf *out)
{
    const avs_q_cell *u = &g->t->row[g->row[i]].cell[g->cx], *v = &g->t->row[g->row[i]].cell[g->cy];
    const bool measured = u->n && v->n;
    const double x = avs_plot_x(&g->f, g->p[i].x), y = avs_plot_y(&g->f, g->p[i].y);
    avs_buf_str(out, "<g class=\"published\"><title>");
    put_name(g, g->row[i], out);
    avs_buf_fmt(out, ", published: %.5g, %.5g (", g->p[i].x, g->p[i].y);
    avs_html_escape(out, v->paper_source);
    avs_buf_str(out, u->has_paper ? ")</title>" : "; its cost is the one measured here)</title>");
    if (measured)
        avs_buf_fmt(out, "<path d=\"M%.1f %.1fL%.1f %.1f\"/>",
                    avs_plot_x(&g->f, u->mean * avs_cell_scale(&g->t->column[g->cx])),
                    avs_plot_y(&g->f, v->mean * avs_cell_scale(&g->t->column[g->cy])), x, y);
    avs_buf_fmt(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\"/>", x, y);
    if (!measured) put_label(g, x, y, label_of(g, g->row[i]), 3, out);
    avs_buf_str(out, "</g>\n");
}

static void make_frame(plot *g)
{
    const char *xt = avs_text_shown(g->a, avs_cell_title(g->a, &g->t->column[g->cx]), 80);
    const char *yt = avs_text_shown(g->a, avs_cell_title(g->a, &g->t->column[g->cy]), 60);
    const char *title = avs_arena_fmt(g->a, "%s against %s", yt, xt);
    double lox = INFINITY, hix = -INFINITY, loy = INFINITY, hiy = -INFINITY;
    for (int i = 0; i < g->n + g->n_paper; i++) {
        lox = fmin(lox, g->p[i].x_lo), hix = fmax(hix, g->p[i].x_hi);
        loy = fmin(loy, g->p[i].y_lo), hiy = fmax(hiy, g->p[i].y_hi);
    }
    g->f.x = avs_plot_make_axis(lox, hix);
    g->f.y = avs_plot_make_axis(loy, hiy);
    g->f.title = title ? title : "";
    g->f.x_title = xt;
    g->f.y_title = yt;
}

static void take_points(plot *g)
{
    for (int i = 0; i < g->n + g->n_paper; i++) {
        const double x = avs_plot_x(&g->f, g->p[i].x), y = avs_plot_y(&g->f, g->p[i].y);
        take(&g->boxes, x - 6, y - 6, x + 6, y + 6);
    }
    for (int i = 0; i < g->n && i < 100; i++)
        if (g->p[i].y_hi > g->p[i].y_lo)
            take(&g->boxes, avs_plot_x(&g->f, g->p[i].x) - 3, avs_plot_y(&g->f, g->p[i].y_hi),
                 avs_plot_x(&g->f, g->p[i].x) + 3, avs_plot_y(&g->f, g->p[i].y_lo));
}

bool avs_plot_pareto(const avs_table *t, avs_arena *a, int cx, int cy, bool is_file, avs_buf *out)
{
    plot g = {.t = t, .a = a, .f.is_file = is_file, .cx = cx, .cy = cy};
    const size_t most = 2 * (size_t)t->n_rows + 1;
    const int x_better = t->column[cx].better > 0 ? 1 : -1, y_better = t->column[cy].better < 0 ? -1 : 1;
    size_t *order = AVS_NEW_N(a, size_t, most), n_front = 0;

    g.boxes.cap = 3 * t->n_rows + MAX_LABELS;
    g.boxes.at = AVS_NEW_N(a, box, g.boxes.cap);
    g.p = AVS_NEW_N(a, avs_pareto_point, most);
    g.row = AVS_NEW_N(a, int, most);
    if (!order || !g.p || !g.row || !g.boxes.at) return false;
    collect(&g);
    if (g.n + g.n_paper == 0) return false;
    avs_pareto(g.p, (size_t)g.n, x_better, y_better, order, &n_front);
    make_frame(&g);
    take_points(&g);
    avs_plot_open(&g.f, out);
    draw_front(&g, order, n_front, x_better, out);
    for (size_t i = 0; i < n_front; i++)
        draw_point(&g, (int)order[i], out); /* first, for the better places */
    for (int i = 0; i < g.n_paper && i < MAX_DOMINATED; i++) draw_published(&g, g.n + i, out);
    for (int i = 0, drawn = 0; i < g.n && drawn < MAX_DOMINATED; i++) {
        if (g.p[i].is_front) continue;
        draw_point(&g, i, out);
        drawn++;
    }
    avs_buf_str(out, "</svg>\n");
    return true;
}
