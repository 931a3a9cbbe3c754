/* One HTML file that needs nothing else: table sortable by buttons, plots as inline SVG, prediction sheets as data URIs.
 * A content security policy forbids every request, so the page cannot depend on the network by accident. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "results/db.h"
#include "results/render.h"

enum { MAX_LINES = 7, MAX_SERIES = 4, MAX_SHEETS = 24, MAX_SHEET_BYTES = 4 << 20 };

// clang-format off
static const char STYLE[] =
    ":root{--bg:#fff;--fg:#1b1b1b;--dim:#6a6a6a;--line:#d8d8d8;--soft:#f4f4f4;--c0:#0072b2;"
    "--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#a67c00;--c5:#3a9bd0;--c6:#555}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#15171a;--fg:#e8e8e8;--dim:#9aa0a6;--line:#3a3d42;"
    "--soft:#1f2226;--c0:#56b4e9;--c1:#ff9a4d;--c2:#3fd0a0;--c3:#e6a3c8;--c4:#f0e442;--c5:#9ad3f5;"
    "--c6:#bbb}}\n"
    "body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;margin:2rem auto;"
    "padding:0 1rem;max-width:86rem}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2.2rem}\n"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.35rem .8rem;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}\n"
    "td.n,th.n{text-align:right}th button{all:unset;cursor:pointer;font-weight:600}\n"
    "th button:focus-visible{outline:2px solid var(--c0);outline-offset:2px}\n"
    "th[aria-sort=ascending] button::after{content:' \\2191'}\n"
    "th[aria-sort=descending] button::after{content:' \\2193'}tbody tr:hover{background:var(--soft)}\n"
    ".best{font-weight:700}.tied{text-decoration:underline}.paper,.notes{color:var(--dim)}\n"
    ".notes{font-size:13px;padding-left:1.2rem}svg{width:100%;max-width:760px;height:auto}\n"
    "svg text{fill:var(--fg);font-size:12px;paint-order:stroke;stroke:var(--bg);stroke-width:3px}\n"
    ".grid{stroke:var(--line)}.best circle{fill:var(--c0)}.best path{stroke:var(--c0)}\n"
    ".dominated circle{fill:var(--dim)}.dominated path{stroke:var(--dim)}\n"
    ".dominated text{fill:var(--dim)}\n"
    ".front{fill:none;stroke:var(--c1);stroke-width:1.5;stroke-dasharray:5 4}\n"
    ".line path{fill:none;stroke:currentColor;stroke-width:1.8}\n"
    ".legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:13px}\n"
    ".legend li::before{content:'';display:inline-block;width:1.2em;height:.25em;"
    "background:currentColor;margin-right:.5em;vertical-align:middle}.c0{color:var(--c0)}\n"
    ".c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}\n"
    ".c5{color:var(--c5)}.c6{color:var(--c6)}\n"
    ".sheets{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1.2rem}\n"
    "figure{margin:0}\n"
    "figure img{width:100%;height:auto;image-rendering:auto;border:1px solid var(--line)}\n"
    "figcaption{font-size:13px;color:var(--dim)}\n"
    "footer{margin-top:2.5rem;border-top:1px solid var(--line);color:var(--dim);font-size:13px}\n";
// clang-format on

/* Missing numbers stay at the end whichever way a column is sorted. */
static const char SCRIPT[] =
    "for(const b of document.querySelectorAll('th button'))b.addEventListener('click',()=>{const "
    "h=b.closest('th'),"
    "t=h.closest('table'),i=[...h.parentNode.children].indexOf(h),d=h.getAttribute('aria-sort')==='"
    "descending'?1:-1;"
    "for(const o of h.parentNode.children)o.removeAttribute('aria-sort');"
    "h.setAttribute('aria-sort',d>0?'ascending':'descending');const k=r=>r.children[i].dataset.v;"
    "const rows=[...t.tBodies[0].rows].sort((x,y)=>{const "
    "u=k(x),v=k(y);if(u===''||v==='')return(u==='')-(v==='');"
    "const n=u-v;return d*(isNaN(n)?u.localeCompare(v):n)});t.tBodies[0].append(...rows)});";

void avs_html_escape(avs_buf *out, const char *text)
{
    for (; text && *text;
         text++) { /* NULL: a text that could not be allocated; the report fails at its end */
        switch (*text) {
        case '&':
            avs_buf_str(out, "&amp;");
            break;
        case '<':
            avs_buf_str(out, "&lt;");
            break;
        case '>':
            avs_buf_str(out, "&gt;");
            break;
        case '"':
            avs_buf_str(out, "&quot;");
            break;
        case '\'':
            avs_buf_str(out, "&#39;");
            break;
        default:
            if ((unsigned char)*text >= 32 || *text == '\n' || *text == '\t') avs_buf_char(out, *text);
        }
    }
}

static void head_cell(avs_buf *out, const char *text, bool number)
{
    avs_buf_fmt(out, "<th scope=\"col\"%s><button type=\"button\">", number ? " class=\"n\"" : "");
    avs_html_escape(out, text);
    avs_buf_str(out, "</button></th>");
}

static void number_cell(avs_buf *out, const char *text, const char *look, double sort)
{
    avs_buf_fmt(out, "<td class=\"n%s\" data-v=\"", look);
    if (isfinite(sort)) avs_buf_fmt(out, "%.17g", sort);
    avs_buf_str(out, "\">");
    avs_html_escape(out, text);
    avs_buf_str(out, "</td>");
}

static void put_table(const avs_table *t, avs_arena *a, avs_buf *out)
{
    const double none = (double)NAN;
    avs_buf_str(out, "<div class=\"scroll\"><table>\n<thead><tr>");
    for (int k = 0; k < t->n_by; k++) head_cell(out, t->by[k], false);
    for (int c = 0; c < t->n_columns; c++) {
        head_cell(out, avs_cell_title(a, &t->column[c]), true);
        if (t->column[c].has_paper) {
            head_cell(out, "paper", true);
            head_cell(out, "delta", true);
        }
        if (t->column[c].has_base) head_cell(out, "vs base", true);
    }
    avs_buf_str(out, "</tr></thead>\n<tbody>\n");
    for (int r = 0; r < t->n_rows; r++) {
        avs_buf_str(out, "<tr>");
        for (int k = 0; k < t->n_by; k++) {
            const char *key = t->row[r].key[k] ? t->row[r].key[k] : "";
            avs_buf_str(out, "<td data-v=\"");
            avs_html_escape(out, key);
            avs_buf_str(out, "\">");
            avs_html_escape(out, *key ? key : "-");
            avs_buf_str(out, "</td>");
        }
        for (int c = 0; c < t->n_columns; c++) {
            const avs_q_column *col = &t->column[c];
            const avs_q_cell *x = &t->row[r].cell[c];
            number_cell(out, avs_cell_text(a, col, x),
                        x->is_best   ? " best"
                        : x->is_tied ? " tied"
                                     : "",
                        x->n ? x->mean : none);
            if (col->has_paper) {
                const char *sign = x->has_paper ? avs_cell_signed(a, col, x->mean - x->paper) : "";
                number_cell(out, x->has_paper ? avs_cell_number(a, col, x->paper) : "", " paper",
                            x->has_paper ? x->paper : none);
                number_cell(out, x->paper_inside ? avs_arena_fmt(a, "%s =", sign) : sign, " paper",
                            x->has_paper ? x->mean - x->paper : none);
            }
            if (col->has_base)
                number_cell(out, x->has_base ? avs_cell_signed(a, col, x->base->diff) : "", "",
                            x->has_base ? x->base->diff : none);
        }
        avs_buf_str(out, "</tr>\n");
    }
    avs_buf_str(out,
                "</tbody></table></div>\n<ul class=\"notes\">\n<li>Bold: best of its column; underlined: not "
                "significantly worse.</li>\n");
    for (int i = 0; i < t->n_notes; i++) {
        avs_buf_str(out, "<li>");
        avs_html_escape(out, t->note[i]);
        avs_buf_str(out, "</li>\n");
    }
    avs_buf_str(out, "</ul>\n");
}

static int column_of(const avs_table *t, const char *name)
{
    for (int c = 0; c < t->n_columns; c++)
        if (strcmp(t->column[c].name, name) == 0) return c;
    return -1;
}

static int put_plot(const avs_report_spec *spec, const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e)
{
    const char *names[2] = {spec->pareto_x, spec->pareto_y};
    int axis[2] = {-1, -1}, both = 0;

    for (int i = 0; i < 2; i++) {
        if (names[i] && (axis[i] = column_of(t, names[i])) < 0)
            return avs_fail(e, AVS_EMISSING, "the plot needs the column '%s', which the report does not have",
                            names[i]);
    }
    for (int c = t->n_columns - 1; c >= 0; c--) {
        if (axis[0] < 0 && !names[0] && t->column[c].latency) axis[0] = c;
        if (!names[1] && t->column[c].unit == AVS_U_FRACTION && t->column[c].better >= 0) axis[1] = c;
    }
    if (axis[0] < 0 || axis[1] < 0) return AVS_OK;
    for (int r = 0; r < t->n_rows; r++) both += t->row[r].cell[axis[0]].n && t->row[r].cell[axis[1]].n;
    if (!both) return AVS_OK;
    avs_buf_str(out, "<h2>Quality against cost</h2>\n");
    avs_plot_pareto(t, a, axis[0], axis[1], out);
    return AVS_OK;
}

/* Trials whose attempt recorded the series, at most MAX_LINES. */
static int put_curve(avs_store *s, const avs_table *t, avs_arena *a, const char *name, avs_buf *out,
                     avs_err *e)
{
    avs_plot_line line[MAX_LINES];
    int n = 0;
    for (int i = 0; i < t->n_trials && n < MAX_LINES; i++) {
        const avs_q_trial *x = &t->trial[i];
        int64_t *steps;
        double *values;
        size_t points;
        if (!x->attempt || x->row >= t->n_rows) continue;
        int rc = avs_store_series(s, x->attempt, name, a, &steps, &values, &points, e);
        if (rc != AVS_OK) return rc;
        if (points < 2) continue;
        const char *label =
            avs_arena_fmt(a, "%s, seed=%lld", avs_row_label(t, &t->row[x->row], a), (long long)x->seed);
        line[n++] = (avs_plot_line){label ? label : "", steps, values, points};
    }
    if (n) avs_plot_lines(name, line, n, out);
    return AVS_OK;
}

static int put_curves(avs_store *s, const avs_table *t, avs_arena *a, avs_buf *out, avs_err *e)
{
    const char *names[MAX_SERIES];
    sqlite3_stmt *q;
    bool row;
    int n = 0, rc;

    AVS_TRY(avs_db_bind(s, &q, e,
                        "SELECT name FROM metric WHERE name<>'train_seconds' AND EXISTS (SELECT 1 FROM point "
                        "WHERE point.metric_id="
                        "metric.metric_id) ORDER BY name<>'loss', name NOT LIKE '%miou%', metric_id LIMIT ?",
                        "i", (int64_t)MAX_SERIES));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row)
        if (n < MAX_SERIES && (names[n] = avs_arena_str(a, avs_db_text(q, 0))) != NULL) n++;
    if (rc != AVS_OK || n == 0) return rc;
    avs_buf_str(out, "<h2>Learning curves</h2>\n");
    for (int i = 0; i < n; i++) AVS_TRY(put_curve(s, t, a, names[i], out, e));
out:
    return rc;
}

static void put_base64(avs_buf *out, const unsigned char *p, size_t n)
{
    static const char code[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned v =
            (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0u);
        avs_buf_char(out, code[v >> 18]);
        avs_buf_char(out, code[v >> 12 & 63]);
        avs_buf_char(out, (char)(i + 1 < n ? code[v >> 6 & 63] : '='));
        avs_buf_char(out, (char)(i + 2 < n ? code[v & 63] : '='));
    }
}

/* A sheet that is gone or is no PNG is named instead of shown. */
static void put_sheet(avs_buf *out, avs_arena *a, const avs_report_spec *spec, const char *db,
                      const char *path, const char *caption)
{
    avs_buf file = AVS_BUF_INIT;
    const char *slash = strrchr(db, '/'), *full = path;
    avs_err why = AVS_ERR_INIT;

    if (*path != '/' && spec->artifact_root)
        full = avs_arena_fmt(a, "%s/%s", spec->artifact_root, path);
    else if (*path != '/' && slash)
        full = avs_arena_fmt(a, "%.*s/%s", (int)(slash - db), db, path);
    bool ok = full && avs_fs_read(full, MAX_SHEET_BYTES, &file, &why) == AVS_OK && file.len > 8 &&
              memcmp(file.data, "\x89PNG\r\n\x1a\n", 8) == 0;
    if (why.code == AVS_ENOMEM) out->failed = true;
    avs_buf_str(out, "<figure>");
    if (ok) {
        avs_buf_str(out, "<img loading=\"lazy\" alt=\"predictions of ");
        avs_html_escape(out, caption);
        avs_buf_str(out, "\" src=\"data:image/png;base64,");
        put_base64(out, (const unsigned char *)file.data, file.len);
        avs_buf_str(out, "\">");
    }
    avs_buf_str(out, "<figcaption>");
    avs_html_escape(out, caption);
    if (!ok) {
        avs_buf_str(out, ": the picture cannot be shown (");
        avs_html_escape(out, why.msg[0] ? why.msg : path);
        avs_buf_str(out, ")");
    }
    avs_buf_str(out, "</figcaption></figure>\n");
    avs_buf_free(&file);
}

static int put_sheets(avs_store *s, const avs_report_spec *spec, const avs_table *t, avs_arena *a,
                      avs_buf *out, avs_err *e)
{
    int shown = 0, rc = AVS_OK;
    for (int i = 0; i < t->n_trials && shown < MAX_SHEETS; i++) {
        const avs_q_trial *x = &t->trial[i];
        sqlite3_stmt *q;
        bool row;
        if (!x->attempt || x->row >= t->n_rows) continue;
        AVS_TRY(avs_db_bind(s, &q, e,
                            "SELECT coalesce(name,''), path FROM artifact WHERE attempt_id=? AND"
                            " kind='prediction' AND deleted IS NULL ORDER BY artifact_id",
                            "i", x->attempt));
        while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
            if (shown >= MAX_SHEETS) continue;
            const char *name = avs_db_text(q, 0);
            const char *caption = avs_arena_fmt(a, "%s, seed=%lld%s%s", avs_row_label(t, &t->row[x->row], a),
                                                (long long)x->seed, *name ? ": " : "", name);
            if (!shown++) avs_buf_str(out, "<h2>Predictions on test pictures</h2>\n<div class=\"sheets\">\n");
            put_sheet(out, a, spec, avs_store_path(s), avs_db_text(q, 1), caption ? caption : "");
        }
        if (rc != AVS_OK) break;
    }
out:
    if (shown) avs_buf_str(out, "</div>\n");
    return rc;
}

int avs_render_html(avs_store *s, const avs_report_spec *spec, const avs_table *t, avs_arena *a, avs_buf *out,
                    avs_err *e)
{
    int rc;
    avs_buf_str(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
        "content=\"width=device-width\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
        "'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>");
    avs_html_escape(out, t->title);
    avs_buf_fmt(out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", STYLE);
    avs_html_escape(out, t->title);
    avs_buf_str(out, "</h1>\n<main>\n");
    put_table(t, a, out);
    AVS_TRY(put_plot(spec, t, a, out, e));
    AVS_TRY(put_curves(s, t, a, out, e));
    AVS_TRY(put_sheets(s, spec, t, a, out, e));
    avs_buf_str(out, "</main>\n<footer>\n<ul>\n");
    for (int i = 0; i < t->n_provenance; i++) {
        avs_buf_str(out, "<li>");
        avs_html_escape(out, t->provenance[i]);
        avs_buf_str(out, "</li>\n");
    }
    avs_buf_fmt(out, "</ul>\n</footer>\n<script>\n%s\n</script>\n</body>\n</html>\n", SCRIPT);
out:
    return rc;
}
