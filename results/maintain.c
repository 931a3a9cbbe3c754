/* Migration and garbage. The copy that a migration keeps is complete and on disk before the first byte changes. */
#include "results/maintain.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/arena.h"
#include "base/fs.h"
#include "base/log.h"
#include "results/db.h"
#include "results/published.h"
#include "results/schema.h"

/* PATH.v1.bak, or PATH.v1.bak.2 where that is taken: an earlier copy is never overwritten. */
static int name_backup(const char *path, int version, char *backup, size_t cap, avs_err *e)
{
    for (int k = 1; k < 1000; k++) {
        char number[16] = "";
        if (k > 1) snprintf(number, sizeof number, ".%d", k);
        if ((size_t)snprintf(backup, cap, "%s.v%d.bak%s", path, version, number) >= cap)
            return avs_fail(e, AVS_EIO, "%s: the path is too long for a copy beside it", path);
        if (!avs_fs_exists(backup)) return AVS_OK;
    }
    return avs_fail(e, AVS_EIO, "%s has a thousand copies beside it already", path);
}

static int upgrade(avs_store *s, const char *tool_version, avs_err *e)
{
    int rc;
    sqlite3_busy_timeout(s->db, 2000);
    AVS_TRY(avs_db_script(s, "PRAGMA synchronous=FULL", e));
    AVS_TRY(avs_db_script(s, "BEGIN EXCLUSIVE", e));
    AVS_TRY(avs_schema_upgrade(s, s->version, tool_version, e));
    s->version = AVS_STORE_SCHEMA_VERSION;
    AVS_TRY(avs_published_import(s, NULL, e));
    AVS_TRY(avs_db_script(s, "COMMIT", e));
    s->unflushed = 0;
out:
    if (rc != AVS_OK && !sqlite3_get_autocommit(s->db)) {
        for (int i = 0; i < s->n_cache; i++) sqlite3_reset(s->cache[i].stmt);
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return rc;
}

int avs_store_migrate(const char *path, const char *tool_version, int *from, char *backup, size_t cap,
                      avs_err *e)
{
    avs_store s = {.path = (char *)(uintptr_t)path, .journal = "wal", .writable = true};
    avs_buf found = AVS_BUF_INIT;
    bool fresh;
    int rc, n;

    if (cap) *backup = '\0';
    AVS_TRY(avs_store_inspect(path, AVS_STORE_READ, &fresh, from, e));
    if (*from == AVS_STORE_SCHEMA_VERSION) return AVS_OK;
    if (*from > AVS_STORE_SCHEMA_VERSION)
        return avs_fail(e, AVS_EDB,
                        "%s has schema version %d, this avsweep knows version %d: there is no way back", path,
                        *from, AVS_STORE_SCHEMA_VERSION);
    s.version = *from;
    if (sqlite3_open_v2(path, &s.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        rc = avs_db_fail(&s, "the database cannot be opened", e);
        goto out;
    }
    AVS_TRY(avs_store_check_all(&s, &found, &n, e));
    if (n) {
        rc = avs_fail(e, AVS_EDB, "%s is damaged and stays as it is: %.*s", path,
                      (int)strcspn(avs_buf_cstr(&found), "\n"), avs_buf_cstr(&found));
        goto out;
    }
    AVS_TRY(name_backup(path, *from, backup, cap, e));
    AVS_TRY(avs_store_copy(&s, backup, e));
    AVS_TRY(upgrade(&s, tool_version, e));
out:
    for (int i = 0; i < s.n_cache; i++) sqlite3_finalize(s.cache[i].stmt);
    sqlite3_close(s.db);
    avs_buf_free(&found);
    return rc;
}

/* ---- garbage ---- */

static int64_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

static int mark_gone_files(avs_store *s, const char *root, int64_t *files, avs_err *e)
{
    char own[PATH_MAX], full[PATH_MAX];
    sqlite3_stmt *q;
    bool row;
    int rc;

    if (!root) {
        const char *slash = strrchr(s->path, '/');
        snprintf(own, sizeof own, "%.*s", slash ? (int)(slash - s->path) : 1, slash ? s->path : ".");
        root = own;
    }
    AVS_TRY(avs_db_bind(s, &q, e, "SELECT artifact_id, path FROM artifact WHERE deleted IS NULL", ""));
    while ((rc = avs_db_step(s, q, &row, e)) == AVS_OK && row) {
        const char *path = avs_db_text(q, 1);
        struct stat st;
        if ((size_t)snprintf(full, sizeof full, "%s%s%s", *path == '/' ? "" : root, *path == '/' ? "" : "/",
                             path) >= sizeof full)
            continue;
        if (stat(full, &st) == 0 || (errno != ENOENT && errno != ENOTDIR)) continue;
        rc = avs_db_run(s, e, "UPDATE artifact SET deleted=? WHERE artifact_id=?", "ii", avs_wall_us(),
                        sqlite3_column_int64(q, 0));
        if (rc != AVS_OK) {
            sqlite3_reset(q);
            return rc;
        }
        ++*files;
    }
out:
    return rc;
}

int avs_store_gc(avs_store *s, const char *artifact_root, avs_gc_count *count, avs_err *e)
{
    static const char *const garbage[] = {
        "DELETE FROM leaderboard WHERE config_id NOT IN (SELECT config_id FROM trial)",
        "DELETE FROM config WHERE config_id NOT IN (SELECT config_id FROM trial)",
        "DELETE FROM env WHERE env_id NOT IN (SELECT env_id FROM attempt_rank WHERE env_id IS NOT NULL)",
        "DELETE FROM gpu WHERE gpu_id NOT IN (SELECT gpu_id FROM attempt_rank WHERE gpu_id IS NOT NULL)",
        ("DELETE FROM published WHERE origin='sweep' AND rowid NOT IN (SELECT min(rowid) FROM published "
         "GROUP BY source, config_match, metric_id, value)"),
    };
    int rc;

    *count = (avs_gc_count){.before = size_of(s->path)};
    if (s->unflushed) return avs_fail(e, AVS_EDB, "%s: writes are waiting for their commit", s->path);
    if ((rc = avs_db_begin(s, e)) != AVS_OK) return rc;
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage && rc == AVS_OK; i++) {
        rc = avs_db_run(s, e, garbage[i], "");
        count->rows += sqlite3_changes(s->db);
    }
    if (rc == AVS_OK) rc = mark_gone_files(s, artifact_root, &count->files, e);
    if (rc == AVS_OK) rc = avs_schema_summaries(s, e);
    if ((rc = avs_db_end(s, rc, e)) != AVS_OK) return rc;
    s->view_is_stale = true;
    AVS_TRY(avs_store_flush(s, e));
    AVS_TRY(avs_db_script(s, "VACUUM", e));
    AVS_TRY(avs_db_script(s, "PRAGMA wal_checkpoint(TRUNCATE)", e));
    count->after = size_of(s->path);
out:
    return rc;
}
