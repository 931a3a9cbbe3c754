/* One HTML file that needs nothing else. The leaderboard is paged by a small script over JSON in the page; the first page is
 * there without it. Plots are inline SVG, pictures data URIs. A content security policy forbids every request, so the page
 * cannot depend on the network by accident. */
#include <math.h>
#include <string.h>
#include "base/json.h"
#include "results/grid.h"
#include "results/html.h"
#include "results/page.h"
#include "results/plot.h"

enum { PAGE = 50 };

static const char *const look_class[] = {"", "best", "tied", "paper"};

/* A JSON string that cannot end the script element around it. */
static void script_string(avs_buf *out, const char *text)
{
    avs_buf_char(out, '"');
    for (const char *p = text; *p;) {
        const char *start = p;
        uint32_t c = avs_text_point(&p);
        if (c == '"' || c == '\\')
            avs_buf_fmt(out, "\\%c", (char)c);
        else if (c < 0x20 || c == '<' || c == '>' || c == '&' || c == 0x2028 || c == 0x2029 || c == 0xfffd)
            avs_buf_fmt(out, "\\u%04x", (unsigned)c);
        else
            avs_buf_put(out, start, (size_t)(p - start));
    }
    avs_buf_char(out, '"');
}

static void put_data(const avs_grid *g, const char *const *by, int n_by, avs_buf *out)
{
    avs_buf_str(out, "<script type=\"application/json\" id=\"data\">\n{\"head\":[");
    for (int c = 0; c < g->cols; c++) {
        const char *word = c < n_by ? by[c] : g->column[c].name;
        avs_buf_str(out, c ? ",{\"n\":" : "{\"n\":");
        script_string(out, g->column[c].name);
        avs_buf_str(out, ",\"f\":"); /* the word of filters: the name up to its unit */
        size_t n = c < n_by ? strlen(word) : strcspn(word, " ");
        avs_buf word_only = AVS_BUF_INIT;
        avs_buf_put(&word_only, word, n);
        if (!avs_buf_ok(&word_only)) out->failed = true;
        script_string(out, avs_buf_cstr(&word_only));
        avs_buf_free(&word_only);
        avs_buf_fmt(out, ",\"r\":%d}", g->column[c].right);
    }
    avs_buf_str(out, "],\"rows\":[\n");
    for (int r = 0; r < g->rows; r++) {
        avs_buf_str(out, r ? ",\n[" : "[");
        for (int c = 0; c < g->cols; c++) {
            const avs_grid_cell *x = &g->cell[(size_t)r * (size_t)g->cols + (size_t)c];
            if (c) avs_buf_char(out, ',');
            if (!g->column[c].right) {
                script_string(out, x->text);
                continue;
            }
            avs_buf_char(out, '[');
            script_string(out, x->text);
            avs_buf_char(out, ',');
            if (isfinite(x->value))
                avs_buf_fmt(out, "%.9g", x->value);
            else
                avs_buf_str(out, "null");
            if (*look_class[x->look]) avs_buf_fmt(out, ",\"%s\"", look_class[x->look]);
            avs_buf_char(out, ']');
        }
        avs_buf_char(out, ']');
    }
    avs_buf_str(out, "]}\n</script>\n");
}

static void put_head(const avs_grid *g, avs_buf *out)
{
    avs_buf_str(out, "<thead><tr>");
    for (int c = 0; c < g->cols; c++) {
        avs_buf_fmt(out, "<th scope=\"col\"%s><button type=\"button\">",
                    g->column[c].right ? " class=\"n\"" : "");
        avs_html_escape(out, g->column[c].name);
        avs_buf_str(out, "</button></th>");
    }
    avs_buf_str(out, "</tr></thead>\n");
}

static void put_rows(const avs_grid *g, avs_buf *out)
{
    avs_buf_str(out, "<tbody>\n");
    for (int r = 0; r < g->rows && r < PAGE; r++) {
        avs_buf_str(out, "<tr>");
        for (int c = 0; c < g->cols; c++) {
            const avs_grid_cell *x = &g->cell[(size_t)r * (size_t)g->cols + (size_t)c];
            avs_buf_fmt(out, "<td dir=\"auto\" class=\"%s%s\">", g->column[c].right ? "n " : "",
                        look_class[x->look]);
            avs_html_escape(out, x->text);
            avs_buf_str(out, "</td>");
        }
        avs_buf_str(out, "</tr>\n");
    }
    avs_buf_str(out, "</tbody>");
}

void avs_html_item(avs_buf *out, const char *text)
{
    avs_buf_str(out, "<li>");
    avs_html_escape(out, text);
    avs_buf_str(out, "</li>\n");
}

void avs_html_board(const avs_grid *g, const char *const *by, int n_by, const char *title, avs_buf *out)
{
    avs_buf_fmt(out, "<section id=\"leaderboard\"><h2>%s</h2>\n", title);
    avs_buf_str(out, "<div class=\"bar\" id=\"bar\" hidden>"
                     "<label>Filter <input type=\"search\" id=\"q\" placeholder=\"task=s4 miou&gt;70\" "
                     "autocomplete=\"off\" aria-describedby=\"hint\"></label></div>\n"
                     "<p class=\"vh\" id=\"hint\">Words that occur in a key, or a column, one of = != &lt; "
                     "&gt; &lt;= &gt;= "
                     "and a value. The key / comes here, Escape clears.</p>\n"
                     "<div class=\"scroll\" role=\"region\" aria-label=\"");
    avs_buf_str(out, title);
    avs_buf_str(out, "\" tabindex=\"0\">"
                     "<table id=\"board\"><caption>A column's button sorts by it.</caption>\n");
    put_head(g, out);
    put_rows(g, out);
    avs_buf_str(out,
                "</table></div>\n<div class=\"bar\" id=\"pager\" role=\"group\" aria-label=\"Pages\" hidden>"
                "<button type=\"button\" class=\"b\" id=\"first\">First</button>"
                "<button type=\"button\" class=\"b\" id=\"prev\">Previous</button>"
                "<span id=\"count\" aria-live=\"polite\"></span>"
                "<button type=\"button\" class=\"b\" id=\"next\">Next</button>"
                "<button type=\"button\" class=\"b\" id=\"last\">Last</button>"
                "<label>Rows a page <select id=\"size\"><option selected=\"selected\">50</option>"
                "<option>200</option><option>1000</option></select></label></div>\n");
    if (g->rows > PAGE)
        avs_buf_fmt(out,
                    "<noscript><p>Without script only the first %d of %d rows are shown.</p></noscript>\n",
                    (int)PAGE, g->rows);
    avs_buf_str(out, "<ul class=\"notes\">\n");
    if (g->has_best) avs_html_item(out, "Bold: best of its column.");
    if (g->has_tied) avs_html_item(out, "Underlined: not significantly worse than the best.");
    if (g->has_inside) avs_html_item(out, "= after delta: the paper's value lies inside our interval.");
    for (int i = 0; i < g->n_notes; i++) avs_html_item(out, g->note[i]);
    avs_buf_str(out, "</ul></section>\n");
    put_data(g, by, n_by, out);
}

static int put_plot(const avs_report_spec *spec, const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e)
{
    int axis[2], rc = avs_pareto_axes(spec, t, axis, e);
    avs_buf plot = AVS_BUF_INIT;

    if (rc != AVS_OK || axis[0] < 0 || axis[1] < 0) return rc;
    if (avs_plot_pareto(t, a, axis[0], axis[1], false, &plot)) {
        avs_buf_str(out, "<section id=\"pareto\"><h2>Quality against cost</h2>\n<figure class=\"plot\">");
        avs_buf_put(out, avs_buf_cstr(&plot), plot.len);
        avs_buf_str(out, "<figcaption>Blue: on the front (dashed line); grey: dominated; grey ring: behind "
                         "the front, but within the intervals; bars: intervals; orange ring: "
                         "published.</figcaption></figure></section>\n");
    }
    if (!avs_buf_ok(&plot)) out->failed = true;
    avs_buf_free(&plot);
    return AVS_OK;
}

static void put_states(const avs_table *t, avs_buf *out)
{
    int state[AVS_TRIAL_STATES] = {0};
    for (int i = 0; i < t->n_trials; i++) state[t->trial[i].state]++;
    avs_buf_fmt(out, "<p class=\"dim\">%d trials", t->n_trials);
    for (int i = 0; i < AVS_TRIAL_STATES; i++)
        if (state[i]) avs_buf_fmt(out, ", %d %s", state[i], avs_trial_state_name((avs_trial_state)i));
    avs_buf_str(out, "</p>\n");
}

void avs_html_open(const char *title, avs_buf *out)
{
    avs_buf_str(out,
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width\">\n"
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
                "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>");
    avs_html_escape(out, title);
    avs_buf_fmt(out, "</title>\n<style>\n%s", avs_plot_style);
    avs_buf_put(out, avs_page_css, avs_page_css_len);
    avs_buf_str(out, "</style>\n</head>\n<body>\n<h1 dir=\"auto\">");
    avs_html_escape(out, title);
    avs_buf_str(out, "</h1>\n");
}

void avs_html_close(avs_buf *out)
{
    avs_buf_str(out, "<script>\n");
    avs_buf_put(out, avs_page_js, avs_page_js_len);
    avs_buf_str(out, "</script>\n</body>\n</html>\n");
}

int avs_render_html(avs_store *s, const avs_report_spec *spec, const avs_table *t, avs_arena *a, avs_buf *out,
                    avs_err *e)
{
    avs_grid g;
    int rc;

    if (!avs_grid_of_table(t, a, &g)) return avs_fail(e, AVS_ENOMEM, "no memory for a page");
    avs_html_open(g.title, out);
    put_states(t, out);
    avs_buf_str(out, "<main>\n");
    avs_html_board(&g, t->by, t->n_by, "Leaderboard", out);
    AVS_TRY(put_plot(spec, t, a, out, e));
    AVS_TRY(avs_html_curves(s, t, a, out, e));
    AVS_TRY(avs_html_classes(s, t, a, out, e));
    AVS_TRY(avs_html_latency(s, t, a, out, e));
    if (spec->pictures) AVS_TRY(avs_html_pictures(s, spec, t, a, out, e));
    AVS_TRY(avs_html_failures(s, spec, a, out, e));
    avs_buf_str(out, "</main>\n");
    AVS_TRY(avs_html_provenance(s, spec, t, a, out, e));
    avs_html_close(out);
out:
    return rc;
}
