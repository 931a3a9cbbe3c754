/* Predictions side by side: the sheets of trials on the same data are cut into clips again, so that a row of the grid is one
 * clip and a column one model. A sheet is embedded once; its cells are windows onto it. A sheet of unknown layout is shown
 * whole, one that is gone is named. */
#include <string.h>
#include "base/fs.h"
#include "base/sheet_layout.h"
#include "results/db.h"
#include "results/html.h"

enum { MAX_SHEETS = 24, MAX_SHEET_BYTES = 8 << 20, ROWS = 24 };

typedef struct {
    const char *caption, *path, *data_key; /* sheets of one key show the same clips */
    avs_buf png;
    char why[200];             /* it cannot be shown */
    int width, height;         /* of the sheet */
    int cell_w, cell_h, clips; /* clips 0: no layout known */
} sheet;

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

static int be32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (int)((unsigned)(b[0] & 0x7f) << 24 | (unsigned)b[1] << 16 | (unsigned)b[2] << 8 | b[3]);
}

/* Square pictures: the height of the sheet is then a whole number of rows. */
static void find_layout(sheet *s)
{
    const int gap = AVS_SHEET_GAP, half = s->width / AVS_SHEET_COLUMNS - 2 * gap, w = half / 3 - gap;
    s->clips = 0;
    if (w < 8 || half % 3 != 0 || s->width % AVS_SHEET_COLUMNS != 0 || (s->height - gap) % (w + gap) != 0)
        return;
    s->cell_w = s->cell_h = w;
    s->clips = (s->height - gap) / (w + gap) * AVS_SHEET_COLUMNS;
    if (s->clips > AVS_SHEET_CLIPS) s->clips = AVS_SHEET_CLIPS;
}

static void load_sheet(sheet *s, avs_arena *a, const avs_report_spec *spec, const char *db, avs_buf *out)
{
    const char *slash = strrchr(db, '/'), *full = s->path;
    avs_err why = AVS_ERR_INIT;

    if (*s->path != '/' && spec->artifact_root)
        full = avs_arena_fmt(a, "%s/%s", spec->artifact_root, s->path);
    else if (*s->path != '/' && slash)
        full = avs_arena_fmt(a, "%.*s/%s", (int)(slash - db), db, s->path);
    int rc = full ? avs_fs_read(full, MAX_SHEET_BYTES, &s->png, &why) : AVS_ENOMEM;
    if (rc == AVS_ENOMEM || why.code == AVS_ENOMEM) out->failed = true;
    bool is_png = rc == AVS_OK && s->png.len > 24 && memcmp(s->png.data, "\x89PNG\r\n\x1a\n", 8) == 0;
    if (is_png) {
        s->width = be32(s->png.data + 16);
        s->height = be32(s->png.data + 20);
        find_layout(s);
        return;
    }
    const char *text = rc == AVS_OK ? "it is no PNG file" : why.msg;
    memcpy(s->why, text, strnlen(text, sizeof s->why - 1));
    avs_buf_free(&s->png);
}

/* One window onto sheet number i: picture `part` (0 picture, 1 truth, 2 prediction) of a clip. */
static void put_window(const sheet *s, int i, int clip, int part, const char *what, avs_buf *out)
{
    const int gap = AVS_SHEET_GAP, w = s->cell_w, h = s->cell_h;
    const int x = gap + clip % AVS_SHEET_COLUMNS * (3 * (w + gap) + 2 * gap) + part * (w + gap);
    const int y = gap + clip / AVS_SHEET_COLUMNS * (h + gap);
    avs_buf_fmt(out, "<div class=\"pic s%d\" role=\"img\" aria-label=\"clip %d, ", i, clip + 1);
    avs_html_escape(out, what);
    avs_buf_fmt(
        out,
        "\" style=\"aspect-ratio:%d/%d;background-size:%.4f%% auto;background-position:%.4f%% %.4f%%\">"
        "</div>\n",
        w, h, 100.0 * s->width / w, 100.0 * x / (s->width - w),
        s->height > h ? 100.0 * y / (s->height - h) : 0.0);
}

/* The sheets first, first+1, .. that share their data. */
static void put_grid(const sheet *s, const int *member, int n, avs_buf *out)
{
    int clips = AVS_SHEET_CLIPS;
    for (int i = 0; i < n; i++)
        if (s[member[i]].clips < clips) clips = s[member[i]].clips;
    avs_buf_fmt(
        out,
        "<div class=\"pics\" role=\"group\" tabindex=\"0\" aria-label=\"Predictions side by side\" "
        "style=\"grid-template-columns:repeat(%d,minmax(7rem,14rem))\">\n<div>picture</div><div>ground "
        "truth</div>",
        n + 2);
    for (int i = 0; i < n; i++) {
        avs_buf_str(out, "<div>");
        avs_html_escape(out, s[member[i]].caption);
        avs_buf_str(out, "</div>");
    }
    avs_buf_char(out, '\n');
    for (int c = 0; c < clips; c++) {
        put_window(&s[member[0]], member[0], c, 0, "picture", out);
        put_window(&s[member[0]], member[0], c, 1, "ground truth", out);
        for (int i = 0; i < n; i++) put_window(&s[member[i]], member[i], c, 2, s[member[i]].caption, out);
    }
    avs_buf_str(out, "</div>\n");
}

static void put_whole(const sheet *s, avs_buf *out)
{
    avs_buf_str(out, "<figure>");
    if (!s->why[0]) {
        avs_buf_str(out, "<img loading=\"lazy\" alt=\"predictions of ");
        avs_html_escape(out, s->caption);
        avs_buf_str(out, "\" src=\"data:image/png;base64,");
        put_base64(out, (const unsigned char *)s->png.data, s->png.len);
        avs_buf_str(out, "\">");
    }
    avs_buf_str(out, "<figcaption>");
    avs_html_escape(out, s->caption);
    if (s->why[0]) {
        avs_buf_str(out, ": the picture cannot be shown (");
        avs_html_escape(out, s->why);
        avs_buf_char(out, ')');
    }
    avs_buf_str(out, "</figcaption></figure>\n");
}

static int list_sheets(avs_store *st, const avs_report_spec *spec, const avs_table *t, avs_arena *a, sheet *s,
                       int *n, avs_buf *out, avs_err *e)
{
    const avs_q_trial *trial[ROWS];
    const int *ranking = avs_html_ranking(t, a);
    int rc = AVS_OK;

    if (!ranking) return avs_fail(e, AVS_ENOMEM, "no memory for pictures");
    const int trials = avs_html_trials(t, a, ranking, ROWS, trial, ROWS);
    for (int i = 0; i < trials && *n < MAX_SHEETS; i++) {
        sqlite3_stmt *q;
        bool row;
        AVS_TRY(
            avs_db_bind(st, &q, e,
                        "SELECT coalesce(f.name,''), f.path, c.task||' '||coalesce(hex(c.data_fp),'?') FROM"
                        " artifact f JOIN attempt USING(attempt_id) JOIN trial USING(trial_id) JOIN config c"
                        " USING(config_id) WHERE f.attempt_id=? AND f.kind='prediction' AND f.deleted IS NULL"
                        " ORDER BY artifact_id",
                        "i", trial[i]->attempt));
        while ((rc = avs_db_step(st, q, &row, e)) == AVS_OK && row) {
            if (*n == MAX_SHEETS) continue;
            sheet *x = &s[(*n)++];
            const char *name = avs_db_text(q, 0), *label = avs_row_label(t, &t->row[trial[i]->row], a);
            bool usual = !*name || strcmp(name, "predictions") == 0;
            x->caption =
                avs_text_shown(a,
                               avs_arena_fmt(a, "%s, seed=%lld%s%s", label, (long long)trial[i]->seed,
                                             usual ? "" : ": ", usual ? "" : name),
                               120);
            x->path = avs_arena_str(a, avs_db_text(q, 1));
            x->data_key = avs_arena_str(a, avs_db_text(q, 2));
            if (x->path && x->data_key) load_sheet(x, a, spec, avs_store_path(st), out);
        }
        if (rc != AVS_OK) break;
    }
out:
    return rc;
}

static void put_sheets(const sheet *s, int n, avs_buf *out)
{
    bool used[MAX_SHEETS] = {false};
    avs_buf_str(out, "<section id=\"pictures\"><h2>Predictions on test pictures</h2>\n<style>\n");
    for (int i = 0; i < n; i++) {
        if (!s[i].clips) continue;
        avs_buf_fmt(out, ".s%d{background-image:url(data:image/png;base64,", i);
        put_base64(out, (const unsigned char *)s[i].png.data, s[i].png.len);
        avs_buf_str(out, ")}\n");
    }
    avs_buf_str(out, "</style>\n");
    for (int i = 0; i < n; i++) {
        int member[MAX_SHEETS], m = 0;
        for (int k = i; k < n; k++) {
            if (used[k] || !s[k].clips || strcmp(s[k].data_key, s[i].data_key) != 0) continue;
            used[k] = true;
            member[m++] = k;
        }
        if (m) put_grid(s, member, m, out);
    }
    for (int i = 0; i < n; i++)
        if (!s[i].clips) put_whole(&s[i], out);
    avs_buf_str(out, "</section>\n");
}

int avs_html_pictures(avs_store *st, const avs_report_spec *spec, const avs_table *t, avs_arena *a,
                      avs_buf *out, avs_err *e)
{
    sheet *s = AVS_NEW_N(a, sheet, MAX_SHEETS);
    int n = 0, rc;

    if (!s) return avs_fail(e, AVS_ENOMEM, "no memory for pictures");
    rc = list_sheets(st, spec, t, a, s, &n, out, e);
    for (int i = 0; i < n && rc == AVS_OK; i++)
        if (!s[i].path || !s[i].data_key) rc = avs_fail(e, AVS_ENOMEM, "no memory for pictures");
    if (n && rc == AVS_OK) put_sheets(s, n, out);
    for (int i = 0; i < n; i++) avs_buf_free(&s[i].png);
    return rc;
}
