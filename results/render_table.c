/* Text and Markdown: the same grid of strings, aligned by display width. A grid column is a row key, a metric, or one of
 * the columns that follow a metric: paper, delta, difference from the baseline. */
#include <math.h>
#include <string.h>
#include "results/render.h"

typedef enum { PLAIN, BEST, TIED } style;

typedef struct {
    const char **text;
    style *look;
    int rows, cols;
    bool *right;
} grid;

static void put(grid *g, int r, int c, const char *text, style look)
{
    g->text[r * g->cols + c] = text ? text : "";
    g->look[r * g->cols + c] = look;
}

static const char *base_text(avs_arena *a, const avs_q_column *c, const avs_q_cell *x)
{
    if (!x->has_base) return "";
    const char *diff = avs_cell_signed(a, c, x->base->diff);
    return isnan(x->base->p) ? diff : avs_arena_fmt(a, "%s (p=%.3f)", diff, x->base->p);
}

static bool build(const avs_table *t, avs_arena *a, grid *g)
{
    g->rows = t->n_rows + 1;
    g->cols = t->n_by;
    for (int c = 0; c < t->n_columns; c++) g->cols += 1 + 2 * t->column[c].has_paper + t->column[c].has_base;
    size_t cells = (size_t)g->rows * (size_t)g->cols;
    g->text = AVS_NEW_N(a, const char *, cells);
    g->look = AVS_NEW_N(a, style, cells);
    g->right = AVS_NEW_N(a, bool, g->cols);
    if (!g->text || !g->look || !g->right) return false;
    for (int k = 0; k < t->n_by; k++) {
        put(g, 0, k, t->by[k], PLAIN);
        for (int r = 0; r < t->n_rows; r++)
            put(g, r + 1, k, t->row[r].key[k] ? t->row[r].key[k] : "-", PLAIN);
    }
    int at = t->n_by;
    for (int c = 0; c < t->n_columns; c++) {
        const avs_q_column *col = &t->column[c];
        int paper = at + 1, base = at + 1 + 2 * col->has_paper;
        put(g, 0, at, avs_cell_title(a, col), PLAIN);
        if (col->has_paper) {
            put(g, 0, paper, "paper", PLAIN);
            put(g, 0, paper + 1, "delta", PLAIN);
        }
        if (col->has_base) put(g, 0, base, "vs base", PLAIN);
        for (int r = 0; r < t->n_rows; r++) {
            const avs_q_cell *x = &t->row[r].cell[c];
            put(g, r + 1, at, avs_cell_text(a, col, x), x->is_best ? BEST : x->is_tied ? TIED : PLAIN);
            if (col->has_paper) {
                put(g, r + 1, paper, x->has_paper ? avs_cell_number(a, col, x->paper) : "", PLAIN);
                const char *delta = x->has_paper ? avs_cell_signed(a, col, x->mean - x->paper) : "";
                put(g, r + 1, paper + 1, x->paper_inside ? avs_arena_fmt(a, "%s =", delta) : delta, PLAIN);
            }
            if (col->has_base) put(g, r + 1, base, t->row[r].is_base ? "base" : base_text(a, col, x), PLAIN);
        }
        at = base + col->has_base;
    }
    for (int c = t->n_by; c < g->cols; c++) g->right[c] = true;
    return true;
}

static bool has_look(const grid *g, style look)
{
    for (int i = 0; i < g->rows * g->cols; i++)
        if (g->look[i] == look) return true;
    return false;
}

static bool has_inside(const avs_table *t)
{
    for (int r = 0; r < t->n_rows; r++)
        for (int c = 0; c < t->n_columns; c++)
            if (t->row[r].cell[c].paper_inside) return true;
    return false;
}

void avs_render_text(const avs_table *t, avs_arena *a, bool color, avs_buf *out)
{
    static const char *const on[] = {"", "\033[1m", "\033[4m"}, *const mark[] = {" ", "*", "~"};
    grid g = {0};

    if (!build(t, a, &g)) {
        out->failed = true;
        return;
    }
    size_t *width = AVS_NEW_N(a, size_t, g.cols);
    bool *marked = AVS_NEW_N(a, bool, g.cols);
    if (!width || !marked) {
        out->failed = true;
        return;
    }
    for (int i = 0; i < g.rows * g.cols; i++) {
        size_t w = avs_text_width(g.text[i]);
        if (w > width[i % g.cols]) width[i % g.cols] = w;
        marked[i % g.cols] = marked[i % g.cols] || g.look[i] != PLAIN;
    }
    avs_buf_fmt(out, "%s\n\n", t->title);
    for (int r = 0; r < g.rows; r++) {
        for (int c = 0; c < g.cols; c++) {
            style look = g.look[r * g.cols + c];
            if (c) avs_buf_str(out, "  ");
            if (color) avs_buf_str(out, on[look]);
            avs_text_pad(out, g.text[r * g.cols + c], width[c], g.right[c]);
            if (color && look != PLAIN) avs_buf_str(out, "\033[0m");
            if (!color && marked[c]) avs_buf_str(out, mark[look]);
        }
        while (out->len && out->data[out->len - 1] == ' ') out->data[--out->len] = 0;
        avs_buf_char(out, '\n');
        if (r > 0) continue;
        for (int c = 0; c < g.cols; c++) {
            if (c) avs_buf_str(out, "  ");
            for (size_t i = 0; i < width[c] + (!color && marked[c]); i++) avs_buf_char(out, '-');
        }
        avs_buf_char(out, '\n');
    }
    avs_buf_char(out, '\n');
    if (!color && has_look(&g, BEST)) avs_buf_str(out, "* best of its column\n");
    if (!color && has_look(&g, TIED)) avs_buf_str(out, "~ not significantly worse than the best\n");
    if (has_inside(t)) avs_buf_str(out, "= after delta: the paper's value lies inside our interval\n");
    for (int i = 0; i < t->n_notes; i++) avs_buf_fmt(out, "%s\n", t->note[i]);
    avs_buf_char(out, '\n');
    for (int i = 0; i < t->n_provenance; i++) avs_buf_fmt(out, "%s\n", t->provenance[i]);
}

/* Pipes would end the cell, angle brackets would be markup. */
static const char *markdown(avs_buf *out, avs_arena *a, const char *text)
{
    avs_buf b = AVS_BUF_INIT;
    for (; *text; text++) {
        if (*text == '|' || *text == '\\' || *text == '*' || *text == '`' || *text == '_' || *text == '~')
            avs_buf_char(&b, '\\');
        if (*text == '<')
            avs_buf_str(&b, "&lt;");
        else
            avs_buf_char(&b, (char)(*text == '\n' ? ' ' : *text));
    }
    if (!avs_buf_ok(&b)) out->failed = true;
    const char *copy = avs_arena_str(a, avs_buf_cstr(&b));
    avs_buf_free(&b);
    return copy ? copy : "";
}

void avs_render_markdown(const avs_table *t, avs_arena *a, avs_buf *out)
{
    grid g = {0};

    if (!build(t, a, &g)) {
        out->failed = true;
        return;
    }
    avs_buf_fmt(out, "### %s\n\n", markdown(out, a, t->title));
    for (int r = 0; r < g.rows; r++) {
        avs_buf_char(out, '|');
        for (int c = 0; c < g.cols; c++) {
            const char *text = markdown(out, a, g.text[r * g.cols + c]);
            style look = g.look[r * g.cols + c];
            avs_buf_fmt(out, look == BEST ? " **%s** |" : look == TIED ? " <u>%s</u> |" : " %s |", text);
        }
        avs_buf_char(out, '\n');
        if (r > 0) continue;
        avs_buf_char(out, '|');
        for (int c = 0; c < g.cols; c++) avs_buf_str(out, g.right[c] ? " ---: |" : " --- |");
        avs_buf_char(out, '\n');
    }
    avs_buf_char(out, '\n');
    if (has_look(&g, BEST)) avs_buf_str(out, "Bold: best of its column.");
    if (has_look(&g, TIED)) avs_buf_str(out, " Underlined: not significantly worse.");
    if (has_inside(t)) avs_buf_str(out, " `=` after delta: the paper's value lies inside our interval.");
    for (int i = 0; i < t->n_notes; i++) avs_buf_fmt(out, " %s", markdown(out, a, t->note[i]));
    avs_buf_str(out, "\n\n");
    for (int i = 0; i < t->n_provenance; i++) avs_buf_fmt(out, "- %s\n", markdown(out, a, t->provenance[i]));
}
