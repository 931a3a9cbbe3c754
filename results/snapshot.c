/* Snapshots for readers on other hosts: SQLite's backup into NAME.snapshot.db.tmp, a few pages after each commit, then fsync
 * and rename, so that a reader finds an old whole file or a new whole file. Writes of the same connection reach a backup
 * under way by themselves. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "results/db.h"
#include "results/maintain.h"

enum { PAGES_A_STEP = 256, ALL_PAGES = -1 }; /* 2 MiB between two commits */
static const int64_t PERIOD_NS = 60000000000;

static int sync_path(const char *path, int flags, avs_err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    int bad = fd < 0 ? -1 : fsync(fd);
    if (bad) avs_fail(e, AVS_EIO, "%s cannot be synced: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    return bad ? AVS_EIO : AVS_OK;
}

static int publish(const char *tmp, const char *path, avs_err *e)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int rc = sync_path(tmp, 0, e);
    if (rc != AVS_OK) return rc;
    if (rename(tmp, path) != 0)
        return avs_fail(e, AVS_EIO, "%s cannot be renamed to %s: %s", tmp, path, strerror(errno));
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    return sync_path(folder, O_DIRECTORY, e);
}

static int open_target(const char *tmp, sqlite3 **db, avs_err *e)
{
    if (unlink(tmp) != 0 && errno != ENOENT)
        return avs_fail(e, AVS_EIO, "%s cannot be removed: %s", tmp, strerror(errno));
    if (sqlite3_open_v2(tmp, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) ==
        SQLITE_OK)
        return AVS_OK;
    avs_fail(e, AVS_EDB, "%s cannot be created: %s", tmp, sqlite3_errmsg(*db));
    sqlite3_close(*db);
    *db = NULL;
    return AVS_EDB;
}

/* A copy of a WAL database says WAL in its header; as a file that nobody writes it is better without, so that readers need
 * no second file. */
static int close_target(sqlite3 *db, const char *tmp, avs_err *e)
{
    int rc = sqlite3_exec(db, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL) == SQLITE_OK
                 ? AVS_OK
                 : avs_fail(e, AVS_EDB, "%s: %s", tmp, sqlite3_errmsg(db));
    sqlite3_close(db);
    return rc;
}

void avs_snapshot_abort(avs_store *s)
{
    if (s->backup) sqlite3_backup_finish(s->backup);
    s->backup = NULL;
    sqlite3_close(s->backup_db);
    s->backup_db = NULL;
}

int avs_snapshot_step(avs_store *s, bool to_the_end, avs_err *e)
{
    char tmp[PATH_MAX], path[PATH_MAX];
    int rc;

    if (!s->backup && !to_the_end && s->snapshot_ns && avs_now_ns() - s->snapshot_ns < PERIOD_NS)
        return AVS_OK;
    if ((size_t)snprintf(path, sizeof path, "%s" AVS_STORE_SNAPSHOT_SUFFIX, s->path) >= sizeof path ||
        (size_t)snprintf(tmp, sizeof tmp, "%s.tmp", path) >= sizeof tmp)
        return avs_fail(e, AVS_EIO, "%s: the path is too long for a snapshot beside it", s->path);
    if (!s->backup) {
        AVS_TRY(open_target(tmp, &s->backup_db, e));
        s->backup = sqlite3_backup_init(s->backup_db, "main", s->db, "main");
        if (!s->backup) {
            rc = avs_fail(e, AVS_EDB, "%s: %s", tmp, sqlite3_errmsg(s->backup_db));
            goto out;
        }
    }
    int got = sqlite3_backup_step(s->backup, to_the_end ? ALL_PAGES : PAGES_A_STEP);
    if (got == SQLITE_OK) return AVS_OK;
    rc = got == SQLITE_DONE ? AVS_OK : avs_fail(e, AVS_EDB, "%s: %s", tmp, sqlite3_errstr(got));
    sqlite3_backup_finish(s->backup);
    s->backup = NULL;
    if (rc == AVS_OK) {
        sqlite3 *db = s->backup_db;
        s->backup_db = NULL;
        AVS_TRY(close_target(db, tmp, e));
        AVS_TRY(publish(tmp, path, e));
        s->snapshot_ns = avs_now_ns();
    }
out:
    if (rc != AVS_OK) {
        avs_snapshot_abort(s);
        unlink(tmp);
    }
    return rc;
}

int avs_store_copy(avs_store *s, const char *path, avs_err *e)
{
    char tmp[PATH_MAX];
    sqlite3 *db = NULL;
    int rc;

    if ((size_t)snprintf(tmp, sizeof tmp, "%s.tmp.%ld", path, (long)getpid()) >= sizeof tmp)
        return avs_fail(e, AVS_EIO, "%s: the path is too long", path);
    AVS_TRY(open_target(tmp, &db, e));
    sqlite3_backup *b = sqlite3_backup_init(db, "main", s->db, "main");
    int got = b ? sqlite3_backup_step(b, ALL_PAGES) : sqlite3_errcode(db);
    if (b) sqlite3_backup_finish(b);
    if (got != SQLITE_DONE)
        rc = avs_fail(e, AVS_EDB, "%s cannot be copied to %s: %s", s->path, tmp, sqlite3_errstr(got));
    if (rc == AVS_OK)
        rc = close_target(db, tmp, e);
    else
        sqlite3_close(db);
    if (rc == AVS_OK) rc = publish(tmp, path, e);
    if (rc != AVS_OK) unlink(tmp);
out:
    return rc;
}
