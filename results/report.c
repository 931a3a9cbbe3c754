/* The door to reports: query, then one renderer, then a file written whole or not at all. */
#include "results/report.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/hash.h"
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

int avs_report(avs_store *s, const avs_report_spec *spec, avs_buf *out, avs_err *e)
{
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

static void put_bar(avs_buf *out, const int64_t *count, int64_t total)
{
    enum { CELLS = 40 };
    int64_t done = count[AVS_TRIAL_DONE], over = done + count[AVS_TRIAL_FAILED] + count[AVS_TRIAL_CANCELLED];
    int64_t full = total ? done * CELLS / total : 0, ended = total ? over * CELLS / total : 0;
    avs_buf_char(out, '[');
    for (int i = 0; i < CELLS; i++) avs_buf_char(out, (char)(i < full ? '#' : i < ended ? 'x' : '.'));
    avs_buf_fmt(out, "] %lld of %lld done", (long long)done, (long long)total);
    for (int i = 0; i < AVS_TRIAL_STATES; i++)
        if (i != AVS_TRIAL_DONE && count[i])
            avs_buf_fmt(out, ", %lld %s", (long long)count[i], avs_trial_state_name((avs_trial_state)i));
    avs_buf_char(out, '\n');
}

/* Whether the best configurations differ in a parameter, or have it and others not. */
static bool differs(avs_json *const *params, size_t n, const char *key)
{
    avs_buf x = AVS_BUF_INIT, y = AVS_BUF_INIT;
    bool any = false;
    for (size_t i = 1; i < n && !any; i++) {
        const avs_json *u = avs_json_get(params[0], key), *v = avs_json_get(params[i], key);
        avs_buf_clear(&x);
        avs_buf_clear(&y);
        if (u) avs_json_write(&x, u, true);
        if (v) avs_json_write(&y, v, true);
        any = strcmp(avs_buf_cstr(&x), avs_buf_cstr(&y)) != 0;
    }
    avs_buf_free(&x);
    avs_buf_free(&y);
    return any;
}

/* The best configurations by mIoU, if anything has finished: from stored summaries, with the parameters in which they differ. */
static int put_best(avs_store *s, const char *sweep, avs_arena *a, avs_buf *out, avs_err *e)
{
    static const avs_q_column miou = {.unit = AVS_U_FRACTION};
    avs_json *params[3];
    avs_store_best *best;
    size_t n;
    int rc;

    AVS_TRY(avs_store_best_of(s, sweep, "miou", 3, a, &best, &n, e));
    for (size_t i = 0; i < n; i++)
        AVS_TRY(
            avs_json_parse(a, "stored parameters", best[i].params, strlen(best[i].params), &params[i], e));
    for (size_t i = 0; i < n; i++) {
        avs_buf_fmt(out, "%s miou %s", i ? "             " : "best so far  ",
                    avs_cell_number(a, &miou, best[i].mean));
        if (best[i].n > 1)
            avs_buf_fmt(out, " ± %s (n=%lld)", avs_cell_number(a, &miou, best[i].half), (long long)best[i].n);
        else
            avs_buf_str(out, " (n=1)");
        avs_buf_fmt(out, "  %s%s%s", best[i].model, *best[i].task ? ", " : "", best[i].task);
        int shown = 0;
        for (const avs_json *m = params[i]->first; m && shown < 6; m = m->next) {
            if (!differs(params, n, m->key) || strcmp(m->key, "model") == 0 || strcmp(m->key, "task") == 0)
                continue;
            avs_buf_fmt(out, ", %s=", m->key);
            avs_json_write(out, m, true);
            shown++;
        }
        avs_buf_char(out, '\n');
    }
out:
    return rc;
}

int avs_report_status(avs_store *s, const char *sweep, avs_buf *out, avs_err *e)
{
    int64_t count[AVS_TRIAL_STATES], total = 0;
    avs_store_failure *f;
    size_t n;
    int rc;
    avs_arena *a = avs_arena_new();

    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for a status");
    AVS_TRY(avs_store_counts(s, sweep, count, e));
    for (int i = 0; i < AVS_TRIAL_STATES; i++) total += count[i];
    put_bar(out, count, total);
    AVS_TRY(put_best(s, sweep, a, out, e));
    AVS_TRY(avs_store_failures(s, sweep, 5, a, &f, &n, e));
    for (size_t i = 0; i < n; i++) {
        char hex[13];
        avs_hex(f[i].trial_hash, 6, hex);
        avs_buf_fmt(out, "%s %s attempt %d on %s: %s", i ? "             " : "last failures", hex, f[i].n,
                    *f[i].host ? f[i].host : "?", avs_end_reason_name(f[i].reason));
        if (f[i].signal) avs_buf_fmt(out, " (signal %d)", f[i].signal);
        if (*f[i].message) avs_buf_fmt(out, ": %.120s", f[i].message);
        avs_buf_char(out, '\n');
    }
    if (!avs_buf_ok(out) || avs_arena_failed(a)) rc = avs_fail(e, AVS_ENOMEM, "no memory for a status");
out:
    avs_arena_free(a);
    return rc;
}
