/* Statements are prepared once and kept; every SQLite return code goes through avs_db_fail, which adds the path and the
 * library's own text. A write call is a savepoint inside the open group, so that one bad call cannot spoil the rest. */
#include "results/db.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>
#include "base/log.h"

int avs_db_fail(avs_store *s, const char *doing, avs_err *e)
{
    return avs_fail(e, AVS_EDB, "%s: %s: %s", s->path, doing, sqlite3_errmsg(s->db));
}

int avs_db_script(avs_store *s, const char *sql, avs_err *e)
{
    if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK) return AVS_OK;
    return avs_db_fail(s, "a statement was refused", e);
}

static int cached(avs_store *s, const char *sql, sqlite3_stmt **out, avs_err *e)
{
    for (int i = 0; i < s->n_cache; i++) {
        if (s->cache[i].sql == sql) {
            *out = s->cache[i].stmt;
            sqlite3_reset(*out);
            return AVS_OK;
        }
    }
    if (s->n_cache == AVS_DB_CACHE) return avs_fail(e, AVS_EDB, "%s: the statement cache is full", s->path);
    if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) != SQLITE_OK)
        return avs_db_fail(s, "a statement cannot be prepared", e);
    s->cache[s->n_cache].sql = sql;
    s->cache[s->n_cache++].stmt = *out;
    return AVS_OK;
}

static int bind_all(avs_store *s, sqlite3_stmt *st, const char *types, va_list args, avs_err *e)
{
    int ok = SQLITE_OK;
    for (int i = 1; types[i - 1] && ok == SQLITE_OK; i++) {
        switch (types[i - 1]) {
        case 'i':
            ok = sqlite3_bind_int64(st, i, va_arg(args, int64_t));
            break;
        case 'd':
            ok = sqlite3_bind_double(st, i, va_arg(args, double));
            break;
        case 't':
            ok = sqlite3_bind_text(st, i, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
            break;
        case 'h': {
            const uint8_t *hash = va_arg(args, const uint8_t *);
            ok = hash ? sqlite3_bind_blob(st, i, hash, 32, SQLITE_TRANSIENT) : sqlite3_bind_null(st, i);
            break;
        }
        case 'b': {
            const void *data = va_arg(args, const void *);
            size_t n = va_arg(args, size_t);
            ok = sqlite3_bind_blob64(st, i, data ? data : "", n, SQLITE_TRANSIENT);
            break;
        }
        default:
            ok = sqlite3_bind_null(st, i);
            break;
        }
    }
    return ok == SQLITE_OK ? AVS_OK : avs_db_fail(s, "a value cannot be bound", e);
}

static int vbind(avs_store *s, sqlite3_stmt **out, avs_err *e, const char *sql, const char *types,
                 va_list args)
{
    int rc = cached(s, sql, out, e);
    return rc != AVS_OK ? rc : bind_all(s, *out, types, args, e);
}

int avs_db_bind(avs_store *s, sqlite3_stmt **out, avs_err *e, const char *sql, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    int rc = vbind(s, out, e, sql, types, args);
    va_end(args);
    return rc;
}

int avs_db_step(avs_store *s, sqlite3_stmt *st, bool *row, avs_err *e)
{
    int got = sqlite3_step(st);
    *row = got == SQLITE_ROW;
    if (got == SQLITE_ROW) return AVS_OK;
    int rc = got == SQLITE_DONE ? AVS_OK : avs_db_fail(s, "a statement failed", e);
    sqlite3_reset(st);
    return rc;
}

static int drain(avs_store *s, sqlite3_stmt *st, avs_err *e)
{
    bool row = true;
    int rc = AVS_OK;
    while (rc == AVS_OK && row) rc = avs_db_step(s, st, &row, e);
    return rc;
}

int avs_db_run(avs_store *s, avs_err *e, const char *sql, const char *types, ...)
{
    sqlite3_stmt *st;
    va_list args;
    va_start(args, types);
    int rc = vbind(s, &st, e, sql, types, args);
    va_end(args);
    return rc != AVS_OK ? rc : drain(s, st, e);
}

int avs_db_int(avs_store *s, int64_t *out, int64_t fallback, avs_err *e, const char *sql, const char *types,
               ...)
{
    sqlite3_stmt *st;
    bool row = false;
    va_list args;

    *out = fallback;
    va_start(args, types);
    int rc = vbind(s, &st, e, sql, types, args);
    va_end(args);
    if (rc == AVS_OK) rc = avs_db_step(s, st, &row, e);
    if (rc == AVS_OK && row) {
        if (sqlite3_column_type(st, 0) != SQLITE_NULL) *out = sqlite3_column_int64(st, 0);
        sqlite3_reset(st);
    }
    return rc;
}

int avs_db_begin(avs_store *s, avs_err *e)
{
    if (!s->writable)
        return avs_fail(e, AVS_EDB, "%s was opened for reading; nothing can be written", s->path);
    if (s->is_lost)
        return avs_fail(e, AVS_EDB,
                        "%s: SQLite rolled the open group back; flush says so once, then writing goes on",
                        s->path);
    if (s->unflushed == 0 && sqlite3_get_autocommit(s->db)) {
        int rc = avs_db_run(s, e, "BEGIN IMMEDIATE", "");
        if (rc != AVS_OK) return rc;
        s->group_since_ns = avs_now_ns();
    }
    return avs_db_run(s, e, "SAVEPOINT op", "");
}

int avs_db_end(avs_store *s, int rc, avs_err *e)
{
    if (sqlite3_get_autocommit(s->db)) { /* disk full, I/O error: the whole group is gone */
        s->is_lost = s->unflushed > 0;
        s->group.n = s->op.n = 0;
        return rc != AVS_OK ? rc : avs_fail(e, AVS_EDB, "%s: SQLite rolled the open group back", s->path);
    }
    if (rc == AVS_OK && s->group.n + s->op.n > AVS_DB_TALLIES) rc = avs_tally_flush(s, &s->op, e);
    if (rc == AVS_OK) {
        rc = avs_db_run(s, e, "RELEASE op", "");
        if (rc == AVS_OK) {
            s->unflushed++;
            avs_tally_keep(s);
        }
        return rc;
    }
    s->op.n = 0;
    for (int i = 0; i < s->n_cache; i++) sqlite3_reset(s->cache[i].stmt);
    sqlite3_exec(s->db, "ROLLBACK TO op; RELEASE op", NULL, NULL, NULL);
    if (s->unflushed == 0)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL); /* the group held only this call */
    return rc;
}

const char *avs_db_text(sqlite3_stmt *st, int col)
{
    const unsigned char *t = sqlite3_column_text(st, col);
    return t ? (const char *)t : "";
}

int64_t avs_db_metric(avs_store *s, const char *name, const char *unit, int better, avs_err *e)
{
    int64_t id;
    if (!name || !*name) {
        avs_fail(e, AVS_ERANGE, "a metric needs a name");
        return -1;
    }
    if (avs_db_int(s, &id, -1, e, "SELECT metric_id FROM metric WHERE name=?", "t", name) != AVS_OK)
        return -1;
    if (id > 0) return id;
    if (avs_db_run(s, e, "INSERT INTO metric(name, unit, better) VALUES(?,?,?)", "tti", name,
                   unit ? unit : "", (int64_t)better) != AVS_OK)
        return -1;
    s->view_is_stale = true;
    return sqlite3_last_insert_rowid(s->db);
}
