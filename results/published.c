/* Reading the published table (comma-separated, quotes as in RFC 4180) and a sweep's own published rows. */
#include "results/published.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/json.h"
#include "results/db.h"
#include "results/published_map.h"
#include "results/published_table.h"

enum { COLUMNS = 11 };

static const char *const header[COLUMNS] = {"source",  "arxiv",  "table", "method", "backbone", "setting",
                                            "variant", "metric", "value", "unit",   "hardware"};

typedef struct {
    const char *what, *p, *end;
    int line;
    avs_buf text; /* the fields of the row, each NUL-terminated */
    const char *field[COLUMNS];
    int n;
} reader;

/* One field into r->text; *last: it ended the row. */
static int read_field(reader *r, bool *last, avs_err *e)
{
    bool quoted = r->p < r->end && *r->p == '"';
    if (quoted) r->p++;
    for (;; r->p++) {
        if (r->p == r->end) {
            if (quoted)
                return avs_fail(e, AVS_EPARSE, "%s:%d: a quoted field does not end", r->what, r->line);
            break;
        }
        char c = *r->p;
        if (quoted && c == '"') {
            if (r->p + 1 < r->end && r->p[1] == '"') {
                r->p++;
            } else {
                quoted = false;
                continue;
            }
        } else if (!quoted && (c == ',' || c == '\n')) {
            break;
        } else if (!quoted && c == '\r' && r->p + 1 < r->end && r->p[1] == '\n') {
            continue;
        }
        if (c == '\n') r->line++;
        if (c == 0) return avs_fail(e, AVS_EPARSE, "%s:%d: a zero byte in a text table", r->what, r->line);
        avs_buf_char(&r->text, c);
    }
    avs_buf_char(&r->text, '\0');
    *last = r->p == r->end || *r->p == '\n';
    if (r->p < r->end) r->p++;
    return AVS_OK;
}

static int read_row(reader *r, bool *got, avs_err *e)
{
    size_t at[COLUMNS + 1] = {0};
    bool last = false;
    int rc;

    *got = r->p < r->end;
    if (!*got) return AVS_OK;
    avs_buf_clear(&r->text);
    r->line++;
    for (r->n = 0; !last; r->n++) {
        if (r->n == COLUMNS)
            return avs_fail(e, AVS_EPARSE, "%s:%d: more than %d columns", r->what, r->line, (int)COLUMNS);
        at[r->n] = r->text.len;
        if ((rc = read_field(r, &last, e)) != AVS_OK) return rc;
    }
    if (r->n != COLUMNS)
        return avs_fail(e, AVS_EPARSE, "%s:%d: %d columns; %d were expected", r->what, r->line, r->n,
                        (int)COLUMNS);
    if (!avs_buf_ok(&r->text)) return avs_fail(e, AVS_ENOMEM, "%s:%d: no memory for a row", r->what, r->line);
    for (int i = 0; i < COLUMNS; i++) r->field[i] = r->text.data + at[i];
    return AVS_OK;
}

static int number(const reader *r, const char *text, double *out, avs_err *e)
{
    char *end;
    *out = strtod(text, &end);
    if (!*text || *end || !isfinite(*out))
        return avs_fail(e, AVS_EPARSE, "%s:%d: value '%.40s' is not a number", r->what, r->line, text);
    return AVS_OK;
}

static int store_row(avs_store *s, const reader *r, avs_published_count *count, avs_err *e)
{
    avs_published_row row = {.source = r->field[0],
                             .table = r->field[2],
                             .method = r->field[3],
                             .backbone = r->field[4],
                             .setting = r->field[5],
                             .variant = r->field[6],
                             .metric = r->field[7],
                             .unit = r->field[9]};
    avs_buf match = AVS_BUF_INIT, note = AVS_BUF_INIT;
    const char *metric;
    double factor = 1, value = 0;
    int rc;

    AVS_TRY(number(r, r->field[8], &value, e));
    count->rows++;
    if (!avs_published_map(&row, &match, &metric, &factor)) {
        count->unmapped++;
        goto out;
    }
    avs_buf_fmt(&note, "%s, %s%s%s", row.source, row.table, *r->field[10] ? ", on " : "", r->field[10]);
    if (!avs_buf_ok(&match) || !avs_buf_ok(&note)) {
        rc = avs_fail(e, AVS_ENOMEM, "%s:%d: no memory", r->what, r->line);
        goto out;
    }
    bool latency = strcmp(metric, "latency_p50") == 0, fraction = factor == 0.01;
    int64_t id = avs_db_metric(s, metric,
                               latency    ? "ns"
                               : fraction ? "fraction"
                                          : "count",
                               fraction ? 1 : -1, e);
    if (id < 0) {
        rc = AVS_EDB;
        goto out;
    }
    count->stored++;
    rc = avs_db_run(s, e,
                    "INSERT INTO published(source, config_match, metric_id, value, note, origin)"
                    " VALUES(?,?,?,?,?,'table')",
                    "ttidt", row.source, match.data, id, fraction ? value / 100 : value * factor, note.data);
out:
    avs_buf_free(&match);
    avs_buf_free(&note);
    return rc;
}

int avs_published_import_csv(avs_store *s, const char *what, const char *text, size_t len,
                             avs_published_count *count, avs_err *e)
{
    avs_published_count own = {0};
    reader r = {.what = what, .p = text, .end = text + len};
    bool got;
    int rc = avs_db_begin(s, e);

    if (rc != AVS_OK) return rc;
    AVS_TRY(avs_db_run(s, e, "DELETE FROM published WHERE origin='table'", ""));
    AVS_TRY(read_row(&r, &got, e));
    for (int i = 0; i < COLUMNS; i++) {
        if (got && strcmp(r.field[i], header[i]) == 0) continue;
        rc = avs_fail(e, AVS_EPARSE, "%s:1: column %d is '%.40s'; '%s' was expected", what, i + 1,
                      got ? r.field[i] : "", header[i]);
        goto out;
    }
    while ((rc = read_row(&r, &got, e)) == AVS_OK && got) AVS_TRY(store_row(s, &r, &own, e));
out:
    avs_buf_free(&r.text);
    rc = avs_db_end(s, rc, e);
    if (count) *count = own;
    return rc;
}

int avs_published_import(avs_store *s, avs_published_count *count, avs_err *e)
{
    return avs_published_import_csv(s, "published.csv", (const char *)avs_published_table,
                                    avs_published_table_len, count, e);
}

static bool is_percent(const char *metric)
{
    return strncmp(metric, "miou", 4) == 0 || strncmp(metric, "fscore", 6) == 0;
}

static int add_json_row(avs_store *s, const char *source, const avs_json *row, int i, avs_err *e)
{
    const avs_json *where = avs_json_get(row, "where");
    avs_buf match = AVS_BUF_INIT;
    int rc = AVS_OK;

    if (!where || where->kind != AVS_J_OBJ)
        return avs_fail(e, AVS_EPARSE, "report.published: row %d has no map `where`", i);
    avs_json_write(&match, where, true);
    if (!avs_buf_ok(&match)) rc = avs_fail(e, AVS_ENOMEM, "report.published: no memory");
    for (const avs_json *m = row->first; m && rc == AVS_OK; m = m->next) {
        if (m == where) continue;
        if (m->kind != AVS_J_INT && m->kind != AVS_J_FLOAT) {
            rc = avs_fail(e, AVS_EPARSE, "report.published: %s of row %d is not a number", m->key, i);
            break;
        }
        bool percent = is_percent(m->key), ms = strncmp(m->key, "latency", 7) == 0;
        double v = percent ? m->d / 100 : m->d * (ms ? 1e6 : 1.0);
        int64_t id = avs_db_metric(s, m->key,
                                   percent ? "fraction"
                                   : ms    ? "ns"
                                           : "",
                                   percent ? 1
                                   : ms    ? -1
                                           : 0,
                                   e);
        rc = id < 0 ? AVS_EDB
                    : avs_db_run(s, e,
                                 "INSERT INTO published(source, config_match, metric_id, value, note, origin)"
                                 " VALUES(?1,?2,?3,?4,?1,'sweep')",
                                 "ttid", source, match.data, id, v);
    }
    avs_buf_free(&match);
    return rc;
}

static int add_block(avs_store *s, const avs_json *block, avs_err *e)
{
    const char *source = avs_json_str(block, "source", "the sweep file");
    const avs_json *rows = avs_json_get(block, "rows");
    int rc, i = 0;

    if (!rows || rows->kind != AVS_J_ARR)
        return avs_fail(e, AVS_EPARSE, "report.published has no list `rows`");
    AVS_TRY(avs_db_run(s, e, "DELETE FROM published WHERE origin='sweep' AND source=?", "t", source));
    for (const avs_json *row = rows->first; row; row = row->next)
        AVS_TRY(add_json_row(s, source, row, ++i, e));
out:
    return rc;
}

int avs_published_add_json(avs_store *s, const char *json, avs_err *e)
{
    avs_arena *a = avs_arena_new();
    avs_json *root;
    int rc;

    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for report.published");
    rc = avs_json_parse(a, "report.published", json, strlen(json), &root, e);
    if (rc == AVS_OK) rc = avs_db_begin(s, e);
    if (rc == AVS_OK) {
        if (root->kind != AVS_J_ARR) rc = add_block(s, root, e);
        for (const avs_json *b = root->kind == AVS_J_ARR ? root->first : NULL; b && rc == AVS_OK; b = b->next)
            rc = add_block(s, b, e);
        rc = avs_db_end(s, rc, e);
    }
    avs_arena_free(a);
    return rc;
}
