/* LaTeX with booktabs and nothing else: two levels of headings where a metric has the paper's value beside it. The notes and
 * the provenance are comments of the table, and text below it when the document stands alone. */
#include "results/grid.h"
#include "results/render.h"

static void comments(const avs_grid *g, avs_buf *out)
{
    avs_buf_fmt(out, "%% %s\n", g->title);
    for (int i = 0; i < g->n_notes; i++) avs_buf_fmt(out, "%% %s\n", g->note[i]);
    for (int i = 0; i < g->n_provenance; i++) avs_buf_fmt(out, "%% %s\n", g->provenance[i]);
}

static void groups(const avs_grid *g, avs_buf *out)
{
    bool any = false;
    for (int c = 0; c < g->cols; c++) any = any || g->column[c].group;
    if (!any) return;
    for (int c = 0, n; c < g->cols; c += n) {
        for (n = 1; g->column[c].group && c + n < g->cols && g->column[c + n].group == g->column[c].group;)
            n++;
        avs_buf_str(out, c ? " & " : " ");
        if (!g->column[c].group) continue;
        avs_buf_fmt(out, "\\multicolumn{%d}{c}{", n);
        avs_latex_escape(out, g->column[c].group);
        avs_buf_char(out, '}');
    }
    avs_buf_str(out, "\\\\\n");
    for (int c = 0, n; c < g->cols; c += n) {
        for (n = 1; g->column[c].group && c + n < g->cols && g->column[c + n].group == g->column[c].group;)
            n++;
        if (g->column[c].group) avs_buf_fmt(out, "\\cmidrule(lr){%d-%d}", c + 1, c + n);
    }
    avs_buf_char(out, '\n');
}

static void tabular(const avs_grid *g, avs_buf *out)
{
    static const char *const open[] = {"", "\\textbf{", "\\underline{", ""};
    avs_buf_str(out, "\\begin{tabular}{");
    for (int c = 0; c < g->cols; c++) avs_buf_char(out, g->column[c].right ? 'r' : 'l');
    avs_buf_str(out, "}\\toprule\n");
    groups(g, out);
    for (int c = 0; c < g->cols; c++) {
        avs_buf_str(out, c ? " & " : "");
        avs_latex_escape(out, g->column[c].under);
    }
    avs_buf_str(out, "\\\\ \\midrule\n");
    for (int r = 0; r < g->rows; r++) {
        for (int c = 0; c < g->cols; c++) {
            const avs_grid_cell *x = &g->cell[(size_t)r * (size_t)g->cols + (size_t)c];
            const char *text = x->text;
            const bool minus = g->column[c].right && *text == '-' && text[1];
            if (c) avs_buf_str(out, " & ");
            if (!c && !((*text | 32) >= 'a' && (*text | 32) <= 'z'))
                avs_buf_str(out, "{}"); /* [ and * would belong to the \\ before */
            avs_buf_str(out, open[x->look]);
            if (minus) avs_buf_str(out, "$-$");
            avs_latex_escape(out, text + minus);
            avs_buf_str(out, *open[x->look] ? "}" : "");
        }
        avs_buf_str(out, "\\\\\n");
    }
    avs_buf_str(out, "\\bottomrule\n\\end{tabular}\n");
}

static void paragraph(avs_buf *out, const char *text)
{
    avs_latex_escape(out, text);
    avs_buf_str(out, "\\par\n");
}

void avs_grid_latex(const avs_grid *g, bool standalone, avs_buf *out)
{
    if (!standalone) {
        comments(g, out);
        tabular(g, out);
        return;
    }
    avs_buf_str(out, "\\documentclass{article}\n\\usepackage[utf8]{inputenc}\n\\usepackage{booktabs}\n"
                     "\\usepackage{graphicx}\n\\pagestyle{empty}\n\\setlength{\\parindent}{0pt}\n"
                     "\\newsavebox\\results\n\\begin{document}\n{\\large ");
    avs_latex_escape(out, g->title);
    avs_buf_str(out, "\\par}\\medskip\n\\sbox\\results{%\n");
    tabular(g, out);
    avs_buf_str(out, "}\n\\ifdim\\wd\\results>\\textwidth\\resizebox{\\textwidth}{!}{\\usebox\\results}"
                     "\\else\\usebox\\results\\fi\\par\\medskip\n{\\footnotesize\\raggedright\n");
    if (g->has_best) paragraph(out, "Bold: best of its column.");
    if (g->has_tied) paragraph(out, "Underlined: not significantly worse.");
    if (g->has_inside) paragraph(out, "= after delta: the paper's value lies inside our interval.");
    for (int i = 0; i < g->n_notes; i++) paragraph(out, g->note[i]);
    avs_buf_str(out, "\\medskip\n");
    for (int i = 0; i < g->n_provenance; i++) paragraph(out, g->provenance[i]);
    avs_buf_str(out, "}\n\\end{document}\n");
}

void avs_render_latex(const avs_table *t, avs_arena *a, bool standalone, avs_buf *out)
{
    avs_grid g;
    if (avs_grid_of_table(t, a, &g))
        avs_grid_latex(&g, standalone, out);
    else
        out->failed = true;
}
