/* Two queries over the tables of the store. The store checks the file first (format, application, version). */
#include "orchestrator/look.h"

#include <ctype.h>
#include <sqlite3.h>
#include <string.h>
#include "avs_version.h"
#include "base/json.h"
#include "results/store.h"

static int open_db(const char *path, sqlite3 **db, avs_err *e)
{
    avs_store *s = NULL;
    int rc = avs_store_open(path, AVS_STORE_READ, AVS_VERSION, &s, e);
    avs_store_close(s);
    *db = NULL;
    if (rc != AVS_OK) return rc;
    if (sqlite3_open_v2(path, db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
        sqlite3_busy_timeout(*db, 10000) == SQLITE_OK)
        return AVS_OK;
    rc = avs_fail(e, AVS_EDB, "%s: %s", path, sqlite3_errmsg(*db));
    sqlite3_close(*db);
    *db = NULL;
    return rc;
}

static const char *text(sqlite3_stmt *st, int i)
{
    const unsigned char *t = sqlite3_column_text(st, i);
    return t ? (const char *)t : "";
}

typedef void (*row_fn)(sqlite3_stmt *st, void *ctx, avs_buf *out);

/* Runs sql with up to two text arguments and counts the rows. */
static int each(sqlite3 *db, const char *sql, const char *const arg[2], row_fn fn, void *ctx, avs_buf *out,
                int *n, avs_err *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    *n = 0;
    if (rc == SQLITE_OK && sqlite3_bind_parameter_count(st) > 0)
        rc = sqlite3_bind_text(st, 1, arg[0], -1, SQLITE_STATIC);
    if (rc == SQLITE_OK && sqlite3_bind_parameter_count(st) > 1)
        rc = sqlite3_bind_text(st, 2, arg[1], -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
            fn(st, ctx, out);
            ++*n;
        }
    int out_rc = rc == SQLITE_DONE
                     ? AVS_OK
                     : avs_fail(e, AVS_EDB, "%s: %s", sqlite3_db_filename(db, NULL), sqlite3_errmsg(db));
    sqlite3_finalize(st);
    return out_rc;
}

static void list_row(sqlite3_stmt *st, void *ctx, avs_buf *out)
{
    static const char *const names[] = {"trial", "state", "kind", "model", "task", "seed", "attempts"};
    if (!*(const bool *)ctx) {
        avs_buf_fmt(out, "%s  %-9s %-8s %-12s %-5s seed %-4s attempts %s\n", text(st, 0), text(st, 1),
                    text(st, 2), text(st, 3), text(st, 4), text(st, 5), text(st, 6));
        return;
    }
    avs_buf_str(out, "{\"type\":\"trial\"");
    for (int i = 0; i < 7; i++) {
        avs_buf_fmt(out, ",\"%s\":", names[i]);
        if (i >= 5)
            avs_buf_str(out, text(st, i));
        else
            avs_json_write_str(out, text(st, i));
    }
    avs_buf_str(out, "}\n");
}

int avs_look_list(const char *path, const char *sweep, const char *state, bool json, avs_buf *out, avs_err *e)
{
    static const char sql[] = "SELECT lower(hex(substr(t.hash,1,6))), n.name, c.kind, c.model, c.task, "
                              "t.seed, t.attempts FROM trial t "
                              "JOIN config c USING(config_id) JOIN state_name n USING(state) WHERE (?1='' OR "
                              "n.name=?1) AND (?2='' OR t.trial_id "
                              "IN (SELECT trial_id FROM sweep_trial JOIN sweep USING(sweep_id) WHERE "
                              "sweep.name=?2)) ORDER BY t.trial_id";
    sqlite3 *db;
    const char *const filter[2] = {state ? state : "", sweep ? sweep : ""};
    int n = 0, rc = open_db(path, &db, e);
    if (rc == AVS_OK) rc = each(db, sql, filter, list_row, &json, out, &n, e);
    if (rc == AVS_OK && n == 0) rc = avs_fail(e, AVS_EMISSING, "%s: no trial matches", path);
    sqlite3_close(db);
    return rc;
}

static void trial_row(sqlite3_stmt *st, void *ctx, avs_buf *out)
{
    (void)ctx;
    avs_buf_fmt(out,
                "trial     %s\nstate     %s\nkind      %s\nmodel     %s\ntask      %s\nseed      %s\nconfig  "
                "  %s\nparams    %s\n",
                text(st, 0), text(st, 1), text(st, 2), text(st, 3), text(st, 4), text(st, 5), text(st, 6),
                text(st, 7));
}

static void attempt_row(sqlite3_stmt *st, void *ctx, avs_buf *out)
{
    (void)ctx;
    avs_buf_fmt(out, "attempt %s  %s, %.1f s on %s%s%s\n", text(st, 0), text(st, 1),
                sqlite3_column_double(st, 2), text(st, 3), text(st, 4)[0] ? ": " : "", text(st, 4));
    if (text(st, 5)[0]) avs_buf_fmt(out, "  log %s\n", text(st, 5));
}

static void result_row(sqlite3_stmt *st, void *ctx, avs_buf *out)
{
    (void)ctx;
    avs_buf_fmt(out, "result    %s%s%s = %.6g %s\n", text(st, 0), text(st, 1)[0] ? ":" : "", text(st, 1),
                sqlite3_column_double(st, 2), text(st, 3));
}

static void artifact_row(sqlite3_stmt *st, void *ctx, avs_buf *out)
{
    (void)ctx;
    avs_buf_fmt(out, "artifact  %s %s, %s bytes: %s\n", text(st, 0), text(st, 1), text(st, 2), text(st, 3));
}

int avs_look_trial(const char *path, const char *prefix, avs_buf *out, avs_err *e)
{
#define TRIAL "(SELECT trial_id FROM trial WHERE lower(hex(hash)) LIKE ?1)"
    char like[80];
    size_t len = strlen(prefix);
    sqlite3 *db;
    int n = 0, rc = open_db(path, &db, e);
    if (rc != AVS_OK) return rc;
    bool hex = len >= 6 && len <= 64;
    for (size_t i = 0; hex && i < len; i++) {
        hex = isxdigit((unsigned char)prefix[i]) != 0;
        like[i] = (char)tolower((unsigned char)prefix[i]);
    }
    if (!hex) rc = avs_fail(e, AVS_ERANGE, "'%s' is no trial hash: 6 to 64 hex digits are expected", prefix);
    if (hex) {
        like[len] = '%';
        like[len + 1] = '\0';
        rc = each(db,
                  "SELECT lower(hex(t.hash)), n.name, c.kind, c.model, c.task, t.seed, "
                  "lower(hex(substr(c.hash,1,6))), "
                  "c.params FROM trial t JOIN config c USING(config_id) JOIN state_name n USING(state) "
                  "WHERE t.trial_id IN " TRIAL,
                  (const char *const[]){like, NULL}, trial_row, NULL, out, &n, e);
    }
    if (rc == AVS_OK && n == 0) rc = avs_fail(e, AVS_EMISSING, "%s has no trial %s", path, prefix);
    if (rc == AVS_OK && n > 1)
        rc = avs_fail(e, AVS_ERANGE, "%s: %d trials begin with %s; give more digits", path, n, prefix);
    if (rc == AVS_OK)
        rc = each(db,
                  "SELECT a.n, r.name, (coalesce(a.ended,a.started)-a.started)/1e6, coalesce(k.host,'?'), "
                  "a.message, "
                  "a.log_path FROM attempt a JOIN reason_name r USING(reason) LEFT JOIN attempt_rank k ON "
                  "k.attempt_id=a.attempt_id AND k.rank=0 WHERE a.trial_id IN " TRIAL " ORDER BY a.n",
                  (const char *const[]){like, NULL}, attempt_row, NULL, out, &n, e);
    if (rc == AVS_OK)
        rc = each(db,
                  "SELECT m.name, x.split, x.value, m.unit FROM result x JOIN metric m USING(metric_id) "
                  "WHERE x.trial_id "
                  "IN " TRIAL " ORDER BY 1, 2",
                  (const char *const[]){like, NULL}, result_row, NULL, out, &n, e);
    if (rc == AVS_OK)
        rc = each(db,
                  "SELECT f.name, f.kind, f.bytes, f.path FROM artifact f JOIN attempt a USING(attempt_id) "
                  "WHERE a.trial_id "
                  "IN " TRIAL " ORDER BY f.artifact_id",
                  (const char *const[]){like, NULL}, artifact_row, NULL, out, &n, e);
#undef TRIAL
    sqlite3_close(db);
    return rc;
}
