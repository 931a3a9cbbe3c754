/* CSV parser: one pass over the text, cells are copied into the arena as they end. */
#include "data/csv.h"

#include "base/buf.h"
#include "base/fs.h"

#include <stdbool.h>
#include <string.h>

typedef struct {
    const char *what, *p, *end;
    int line;
    avs_buf cell;       /* text of the cell under way */
    avs_buf cells;      /* const char * of all cells so far */
    avs_buf lines;      /* int, one per row with the header */
    int n_cols, in_row; /* cells of the header; cells of the row under way */
} reader;

/* Reads one cell and says whether the row ends after it. */
static int read_cell(reader *r, bool *row_ends, avs_err *e)
{
    avs_buf_clear(&r->cell);
    const int start = r->line;
    bool quoted = r->p < r->end && *r->p == '"';
    if (quoted) {
        for (r->p++;; r->p++) {
            if (r->p >= r->end)
                return avs_fail(e, AVS_EPARSE, "%s:%d: a quoted field has no closing quote", r->what, start);
            if (*r->p == '"') {
                if (r->p + 1 >= r->end || r->p[1] != '"') break;
                r->p++;
            }
            if (*r->p == '\n') r->line++;
            if (*r->p == '\0') break;
            avs_buf_char(&r->cell, *r->p);
        }
        if (*r->p == '"') r->p++;
    } else {
        while (r->p < r->end && *r->p != ',' && *r->p != '\n' && *r->p != '\r' && *r->p != '"' &&
               *r->p != '\0')
            avs_buf_char(&r->cell, *r->p++);
    }
    *row_ends = true;
    if (r->p >= r->end) return AVS_OK;
    if (*r->p == ',') {
        r->p++;
        *row_ends = false;
        return AVS_OK;
    }
    if (*r->p == '\r' && r->p + 1 < r->end && r->p[1] == '\n') r->p++;
    if (*r->p == '\n') {
        r->p++;
        r->line++;
        return AVS_OK;
    }
    return avs_fail(e, AVS_EPARSE,
                    "%s:%d: expected a comma or the end of the line after a field, found byte 0x%02x",
                    r->what, r->line, (unsigned char)*r->p);
}

static int read_row(reader *r, avs_arena *a, avs_err *e)
{
    const int line = r->line, row = (int)(r->lines.len / sizeof(int));
    bool ends = false;
    int n = 0;
    while (!ends) {
        int rc = read_cell(r, &ends, e);
        if (rc != AVS_OK) return rc;
        const char *s = avs_arena_strn(a, avs_buf_cstr(&r->cell), r->cell.len);
        if (!s || !avs_buf_ok(&r->cell)) return avs_fail(e, AVS_ENOMEM, "%s: no memory", r->what);
        avs_buf_put(&r->cells, &s, sizeof s);
        n++;
    }
    if (row > 0 && n != r->n_cols)
        return avs_fail(e, AVS_EPARSE, "%s:%d: expected %d fields as in the header, found %d", r->what, line,
                        r->n_cols, n);
    if (row == 0) r->n_cols = n;
    avs_buf_put(&r->lines, &line, sizeof line);
    return AVS_OK;
}

int avs_csv_parse(avs_csv *out, avs_arena *a, const char *what, const char *text, size_t n, avs_err *e)
{
    reader r = {.what = what, .p = text, .end = text + n, .line = 1};
    int rc = AVS_OK;
    *out = (avs_csv){.what = avs_arena_str(a, what)};
    if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) r.p += 3;
    while (r.p < r.end) {
        if (*r.p == '\n' ||
            (*r.p == '\r' && r.p + 1 < r.end && r.p[1] == '\n')) { /* empty lines are skipped */
            r.p += *r.p == '\r' ? 2 : 1;
            r.line++;
            continue;
        }
        AVS_TRY(read_row(&r, a, e));
    }
    if (r.n_cols == 0) {
        rc = avs_fail(e, AVS_EPARSE, "%s:1: expected a header line, found an empty file", what);
        goto out;
    }
    if (!avs_buf_ok(&r.cells) || !avs_buf_ok(&r.lines)) {
        rc = avs_fail(e, AVS_ENOMEM, "%s: no memory", what);
        goto out;
    }
    out->n_cols = r.n_cols;
    out->n_rows = (int)(r.lines.len / sizeof(int)) - 1;
    const char **cells = avs_arena_dup(a, r.cells.data, r.cells.len);
    int *lines = avs_arena_dup(a, r.lines.data, r.lines.len);
    if (!cells || !lines || !out->what) {
        rc = avs_fail(e, AVS_ENOMEM, "%s: no memory", what);
        goto out;
    }
    out->header = cells;
    out->cell = cells + out->n_cols;
    out->line = lines + 1;
out:
    avs_buf_free(&r.cell);
    avs_buf_free(&r.cells);
    avs_buf_free(&r.lines);
    return rc;
}

int avs_csv_read(avs_csv *out, avs_arena *a, const char *path, avs_err *e)
{
    avs_buf file = AVS_BUF_INIT;
    int rc = avs_fs_read(path, 256u << 20, &file, e);
    if (rc == AVS_OK) rc = avs_csv_parse(out, a, path, avs_buf_cstr(&file), file.len, e);
    avs_buf_free(&file);
    return rc;
}

int avs_csv_col(const avs_csv *c, const char *name)
{
    for (int i = 0; i < c->n_cols; i++)
        if (strcmp(c->header[i], name) == 0) return i;
    return -1;
}
