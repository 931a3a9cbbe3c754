/* SQLite behind the store: the handle, cached statements, and one way to bind, step and report. Private to this room.
 *
 * Bind letters, in the order of the ?: i int64_t, d double (NaN is stored as NULL), t const char * (NULL allowed),
 * h const uint8_t * of 32 bytes (NULL allowed), b (const void *, size_t), n nothing (NULL).
 * sql must be a string that lives for ever (a literal): statements are cached by its address. */
#ifndef AVS_RESULTS_DB_H
#define AVS_RESULTS_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include "results/store.h"

enum { AVS_DB_CACHE = 96 };

struct avs_store {
    sqlite3 *db;
    char *path;
    const char *journal;
    bool writable, is_network, is_lost; /* is_lost: SQLite rolled the open group back by itself */
    size_t unflushed;
    int64_t group_since_ns;
    double t95[512];    /* critical values by degrees of freedom, filled when first used; 0: not yet */
    bool view_is_stale; /* a parameter or metric appeared that v_trial does not show yet */
    struct {
        const char *sql;
        sqlite3_stmt *stmt;
    } cache[AVS_DB_CACHE];
    int n_cache;
};

/* e becomes "PATH: doing: SQLite's text"; returns AVS_EDB. */
int avs_db_fail(avs_store *s, const char *doing, avs_err *e);
/* Runs a script without results. */
int avs_db_script(avs_store *s, const char *sql, avs_err *e);
/* A cached statement, bound; step it with avs_db_step and finish with sqlite3_reset. */
int avs_db_bind(avs_store *s, sqlite3_stmt **out, avs_err *e, const char *sql, const char *types, ...);
/* *row says whether there is one; when there is none the statement has been reset. */
int avs_db_step(avs_store *s, sqlite3_stmt *st, bool *row, avs_err *e);
/* Binds and steps to the end, ignoring rows. */
int avs_db_run(avs_store *s, avs_err *e, const char *sql, const char *types, ...);
/* First column of the first row as integer; fallback when there is no row or it is NULL. */
int avs_db_int(avs_store *s, int64_t *out, int64_t fallback, avs_err *e, const char *sql, const char *types,
               ...);

/* One write call: opens the group if needed and sets a savepoint; end releases it (rc AVS_OK) or goes back to it, and
 * returns rc. */
int avs_db_begin(avs_store *s, avs_err *e);
int avs_db_end(avs_store *s, int rc, avs_err *e);

const char *avs_db_text(sqlite3_stmt *st, int col); /* "" for NULL */
int64_t avs_db_metric(avs_store *s, const char *name, const char *unit, int better,
                      avs_err *e); /* id or -1 */

#endif
