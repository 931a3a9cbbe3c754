/* The door to reports: query, then one renderer, then a file written whole or not at all. */
#include "results/report.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "results/query.h"
#include "results/render.h"

int avs_report_format_parse(const char *word, avs_report_format *out, avs_err *e)
{
    static const struct {
        const char *word;
        avs_report_format format;
    } known[] = {{"text", AVS_REPORT_TEXT},   {"md", AVS_REPORT_MARKDOWN}, {"markdown", AVS_REPORT_MARKDOWN},
                 {"latex", AVS_REPORT_LATEX}, {"tex", AVS_REPORT_LATEX},   {"csv", AVS_REPORT_CSV},
                 {"json", AVS_REPORT_JSON},   {"svg", AVS_REPORT_SVG},     {"html", AVS_REPORT_HTML}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].word, word) != 0) continue;
        *out = known[i].format;
        return AVS_OK;
    }
    return avs_fail(e, AVS_ERANGE,
                    "report format '%s' is not known; there are text, md, latex, csv, json, html and svg",
                    word);
}

int avs_report(avs_store *s, const avs_report_spec *asked, avs_buf *out, avs_err *e)
{
    avs_report_spec own = *asked, *spec = &own;
    avs_table t;
    avs_arena *a = avs_arena_new();
    int rc;

    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for a report");
    AVS_TRY(avs_query(s, spec, a, &t, e));
    switch (spec->format) {
    case AVS_REPORT_TEXT:
        avs_render_text(&t, a, spec->color, out);
        break;
    case AVS_REPORT_MARKDOWN:
        avs_render_markdown(&t, a, out);
        break;
    case AVS_REPORT_CSV:
        avs_render_csv(&t, out);
        break;
    case AVS_REPORT_JSON:
        AVS_TRY(avs_render_json(&t, a, out, e));
        break;
    case AVS_REPORT_LATEX:
        avs_render_latex(&t, a, spec->standalone, out);
        break;
    case AVS_REPORT_SVG:
        AVS_TRY(avs_render_svg(spec, &t, a, out, e));
        break;
    case AVS_REPORT_HTML:
        AVS_TRY(avs_render_html(s, spec, &t, a, out, e));
        break;
    }
    /* Texts of cells and notes are not checked one by one: a report that lost any of them is none. */
    if (!avs_buf_ok(out) || avs_arena_failed(a)) rc = avs_fail(e, AVS_ENOMEM, "no memory for a report");
out:
    if (rc != AVS_OK && avs_arena_failed(a)) rc = avs_fail(e, AVS_ENOMEM, "no memory for a report");
    avs_arena_free(a);
    return rc;
}

int avs_report_to(avs_store *s, const avs_report_spec *spec, const char *path, avs_err *e)
{
    avs_buf text = AVS_BUF_INIT;
    int rc;

    AVS_TRY(avs_report(s, spec, &text, e));
    if (strcmp(path, "-") != 0)
        AVS_TRY(avs_fs_write_atomic(path, avs_buf_cstr(&text), text.len, e));
    else if (avs_fs_full_write(STDOUT_FILENO, avs_buf_cstr(&text), text.len) != 0)
        rc = avs_fail(e, AVS_EIO, "the report cannot be written to stdout: %s", strerror(errno));
out:
    avs_buf_free(&text);
    return rc;
}
