/* Text for terminals, aligned by display width, and Markdown: the same grid with two sets of marks. */
#include "results/grid.h"
#include "results/render.h"

static size_t index_of(const avs_grid *g, int r, int c)
{
    return (size_t)r * (size_t)g->cols + (size_t)c;
}

static bool measure(const avs_grid *g, size_t *width, bool *marked)
{
    if (!width || !marked) return false;
    for (int c = 0; c < g->cols; c++) width[c] = avs_text_width(g->column[c].name);
    for (int r = 0; r < g->rows; r++) {
        for (int c = 0; c < g->cols; c++) {
            const avs_grid_cell *x = &g->cell[index_of(g, r, c)];
            size_t w = avs_text_width(x->text);
            if (w > width[c]) width[c] = w;
            marked[c] = marked[c] || x->look == AVS_LOOK_BEST || x->look == AVS_LOOK_TIED;
        }
    }
    return true;
}

static void end_line(avs_buf *out)
{
    while (out->len && out->data[out->len - 1] == ' ') out->data[--out->len] = 0;
    avs_buf_char(out, '\n');
}

void avs_grid_text(const avs_grid *g, avs_arena *a, bool color, avs_buf *out)
{
    static const char *const on[] = {"", "\033[1m", "\033[4m", "\033[2m"}, *const mark[] = {" ", "*", "~",
                                                                                            " "};
    size_t *width = AVS_NEW_N(a, size_t, g->cols + 1);
    bool *marked = AVS_NEW_N(a, bool, g->cols + 1);

    if (!measure(g, width, marked)) {
        out->failed = true;
        return;
    }
    avs_buf_fmt(out, "%s\n\n", g->title);
    for (int c = 0; c < g->cols; c++) {
        avs_buf_str(out, c ? "  " : "");
        avs_text_pad(out, g->column[c].name, width[c], g->column[c].right);
        if (!color && marked[c]) avs_buf_char(out, ' ');
    }
    end_line(out);
    for (int c = 0; c < g->cols; c++) {
        avs_buf_str(out, c ? "  " : "");
        for (size_t i = 0; i < width[c] + (!color && marked[c]); i++) avs_buf_char(out, '-');
    }
    avs_buf_char(out, '\n');
    for (int r = 0; r < g->rows; r++) {
        for (int c = 0; c < g->cols; c++) {
            const avs_grid_cell *x = &g->cell[index_of(g, r, c)];
            avs_buf_str(out, c ? "  " : "");
            if (color) avs_buf_str(out, on[x->look]);
            avs_text_pad(out, x->text, width[c], g->column[c].right);
            if (color && x->look != AVS_LOOK_PLAIN) avs_buf_str(out, "\033[0m");
            if (!color && marked[c]) avs_buf_str(out, mark[x->look]);
        }
        end_line(out);
    }
    avs_buf_char(out, '\n');
    if (!color && g->has_best) avs_buf_str(out, "* best of its column\n");
    if (!color && g->has_tied) avs_buf_str(out, "~ not significantly worse than the best\n");
    if (g->has_inside) avs_buf_str(out, "= after delta: the paper's value lies inside our interval\n");
    for (int i = 0; i < g->n_notes; i++) avs_buf_fmt(out, "%s\n", g->note[i]);
    avs_buf_char(out, '\n');
    for (int i = 0; i < g->n_provenance; i++) avs_buf_fmt(out, "%s\n", g->provenance[i]);
}

void avs_grid_markdown(const avs_grid *g, avs_buf *out)
{
    static const char *const open[] = {" ", " **", " <u>", " "}, *const close[] = {" |", "** |", "</u> |",
                                                                                   " |"};
    avs_buf_str(out, "### ");
    avs_markdown_escape(out, g->title);
    avs_buf_str(out, "\n\n|");
    for (int c = 0; c < g->cols; c++) {
        avs_buf_char(out, ' ');
        avs_markdown_escape(out, g->column[c].name);
        avs_buf_str(out, " |");
    }
    avs_buf_str(out, "\n|");
    for (int c = 0; c < g->cols; c++) avs_buf_str(out, g->column[c].right ? " ---: |" : " --- |");
    avs_buf_char(out, '\n');
    for (int r = 0; r < g->rows; r++) {
        avs_buf_char(out, '|');
        for (int c = 0; c < g->cols; c++) {
            const avs_grid_cell *x = &g->cell[index_of(g, r, c)];
            avs_buf_str(out, open[x->look]);
            avs_markdown_escape(out, x->text);
            avs_buf_str(out, close[x->look]);
        }
        avs_buf_char(out, '\n');
    }
    avs_buf_char(out, '\n');
    if (g->has_best) avs_buf_str(out, "Bold: best of its column.\n");
    if (g->has_tied) avs_buf_str(out, "Underlined: not significantly worse.\n");
    if (g->has_inside) avs_buf_str(out, "`=` after delta: the paper's value lies inside our interval.\n");
    for (int i = 0; i < g->n_notes; i++) {
        avs_markdown_escape(out, g->note[i]);
        avs_buf_char(out, '\n');
    }
    avs_buf_char(out, '\n');
    for (int i = 0; i < g->n_provenance; i++) {
        avs_buf_str(out, "- ");
        avs_markdown_escape(out, g->provenance[i]);
        avs_buf_char(out, '\n');
    }
}

void avs_render_text(const avs_table *t, avs_arena *a, bool color, avs_buf *out)
{
    avs_grid g;
    if (avs_grid_of_table(t, a, &g))
        avs_grid_text(&g, a, color, out);
    else
        out->failed = true;
}

void avs_render_markdown(const avs_table *t, avs_arena *a, avs_buf *out)
{
    avs_grid g;
    if (avs_grid_of_table(t, a, &g))
        avs_grid_markdown(&g, out);
    else
        out->failed = true;
}
