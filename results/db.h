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

enum { AVS_DB_CACHE = 128, AVS_DB_TALLIES = 16 };

/* Trials that changed state and are not in table tally yet: by sweep (0: the whole file) and state. */
typedef struct {
    struct {
        int64_t sweep, delta[AVS_TRIAL_STATES];
    } at[AVS_DB_TALLIES];
    int n;
} avs_tally;

struct avs_store {
    sqlite3 *db;
    char *path;
    const char *journal;
    bool writable, is_network, is_lost; /* is_lost: SQLite rolled the open group back by itself */
    int version;                        /* of the file's schema */
    size_t unflushed;
    int64_t group_since_ns;
    avs_tally group, op;    /* of the open group, of the open write call */
    sqlite3_backup *backup; /* a snapshot under way (snapshot.c) */
    sqlite3 *backup_db;
    int64_t snapshot_ns;     /* when the last one was complete; 0: none yet */
    int64_t snapshot_age_us; /* a reader of a snapshot: its age, else 0 */
    double t95[512];         /* critical values by degrees of freedom, filled when first used; 0: not yet */
    bool view_is_stale;      /* a parameter or metric appeared that v_trial does not show yet */
    struct {
        const char *sql;
        sqlite3_stmt *stmt;
    } cache[AVS_DB_CACHE];
    int n_cache;
};

/* Looks at the header only. *fresh: absent or empty (WRITE). Anything else must be a store of ours of some version. */
int avs_store_inspect(const char *path, avs_store_mode mode, bool *fresh, int *version, avs_err *e);
/* Whether WAL's shared memory does not work on a file system with this f_type of statfs. */
bool avs_store_is_network_fs(uint32_t magic);
/* Tests: 1 takes every file for one on network storage, 0 for a local one, -1 looks. */
void avs_store_assume_network(int network);

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

/* The newest sweep of that name, 0 for NULL: every sweep. AVS_EMISSING: there is none (read.c). */
int avs_db_sweep_id(avs_store *s, const char *sweep, int64_t *id, avs_err *e);

/* One write call: opens the group if needed and sets a savepoint; end releases it (rc AVS_OK) or goes back to it, and
 * returns rc. */
int avs_db_begin(avs_store *s, avs_err *e);
int avs_db_end(avs_store *s, int rc, avs_err *e);

/* Rows of table leaderboard (leaderboard.c): after one more trial of the config is done with value x; or all anew. */
int avs_board_add(avs_store *s, int64_t config_id, int64_t metric_id, const char *split, double x,
                  avs_err *e);
int avs_board_recount(avs_store *s, int64_t config_id, int64_t metric_id, const char *split, avs_err *e);

/* Trial counts (tally.c). A trial moves from one state to another, in every sweep that holds it; a negative state is none. */
int avs_tally_move(avs_store *s, int64_t trial_id, int from, int to, avs_err *e);
int avs_tally_add(avs_store *s, int64_t sweep_id, int state, int64_t n, avs_err *e);
void avs_tally_keep(avs_store *s); /* the call succeeded: its counts belong to the group */
int avs_tally_flush(avs_store *s, avs_tally *t, avs_err *e); /* into the table; t is empty afterwards */

/* Snapshots of a file on network storage (snapshot.c): a few pages after each commit, and the rest at the end. */
int avs_snapshot_step(avs_store *s, bool to_the_end, avs_err *e);
void avs_snapshot_abort(avs_store *s);

const char *avs_db_text(sqlite3_stmt *st, int col); /* "" for NULL */
int64_t avs_db_metric(avs_store *s, const char *name, const char *unit, int better,
                      avs_err *e); /* id or -1 */

#endif
