/* Opening, closing and committing. A file is looked at byte by byte before SQLite may touch it: a database of somebody
 * else, a text file or one of another version is refused with one sentence and stays as it was. */
#include "results/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/fs.h"
#include "base/log.h"
#include "results/db.h"
#include "results/published.h"
#include "results/schema.h"

enum { BUSY_MS = 10000, HEADER = 100, AT_VERSION = 60, AT_APPLICATION = 68 }; /* of the SQLite file format */

static const int64_t LOCAL_GROUP_NS = 5000000, NETWORK_GROUP_NS = 250000000;

const char *avs_trial_state_name(avs_trial_state s)
{
    static const char *const names[] = {"pending",   "running", "done",      "failed", "paused",
                                        "preempted", "blocked", "cancelled", "pruned"};
    return (unsigned)s < AVS_TRIAL_STATES ? names[s] : "?";
}

const char *avs_end_reason_name(avs_end_reason r)
{
    static const char *const names[] = {"running",  "ok",     "crash",     "error", "oom_gpu",
                                        "oom_host", "hang",   "timeout",   "infra", "preempted",
                                        "paused",   "pruned", "cancelled", "lost"};
    return (unsigned)r < AVS_END_REASONS ? names[r] : "?";
}

/* File systems on which WAL's shared memory does not work. Numbers of linux/magic.h and the vendors. */
bool avs_store_is_network_fs(uint32_t magic)
{
    static const uint32_t known[] = {
        0x6969 /* NFS */,      0x0BD00BD0 /* Lustre */,   0x47504653 /* GPFS */,  0x19830326 /* BeeGFS */,
        0xFF534D42 /* CIFS */, 0xFE534D42 /* SMB2 */,     0x517B /* SMB */,       0x65735546 /* FUSE */,
        0x01021997 /* 9p */,   0x00C36400 /* Ceph */,     0x01161970 /* GFS2 */,  0x7461636F /* OCFS2 */,
        0x5346414F /* AFS */,  0x20030528 /* OrangeFS */, 0xAAD7AAEA /* PanFS */, 0x786F4256 /* vboxsf */};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (magic == known[i]) return true;
    return false;
}

static int assumed = -1; /* tests: 0 local, 1 network */

void avs_store_assume_network(int network)
{
    assumed = network;
}

/* A link is followed: what counts is where the file lies. */
static bool is_network(const char *path)
{
    char real[PATH_MAX];
    struct statfs fs;

    if (assumed >= 0) return assumed != 0;
    if (!realpath(path, real)) snprintf(real, sizeof real, "%s", path);
    char *slash = strrchr(real, '/');
    if (slash) slash[slash == real] = '\0';
    return statfs(slash ? real : ".", &fs) == 0 && avs_store_is_network_fs((uint32_t)fs.f_type);
}

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int avs_store_inspect(const char *path, avs_store_mode mode, bool *fresh, int *version, avs_err *e)
{
    unsigned char h[HEADER];
    struct stat st;

    *fresh = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT && mode == AVS_STORE_WRITE) {
            *fresh = true;
            return AVS_OK;
        }
        if (errno == ENOENT) return avs_fail(e, AVS_EMISSING, "%s: there is no such database", path);
        return avs_fail(e, AVS_EIO, "%s cannot be opened: %s", path, strerror(errno));
    }
    ssize_t n = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? pread(fd, h, sizeof h, 0) : -1;
    close(fd);
    if (n < 0) return avs_fail(e, AVS_EDB, "%s is not a regular file; a result database was expected", path);
    if (n == 0 && mode == AVS_STORE_WRITE) {
        *fresh = true;
        return AVS_OK;
    }
    if (n < HEADER || memcmp(h, "SQLite format 3", 16) != 0)
        return avs_fail(e, AVS_EDB, "%s is not an SQLite database; nothing was written to it", path);
    uint32_t app = big_endian(h + AT_APPLICATION), found = big_endian(h + AT_VERSION);
    if (app != AVS_STORE_APPLICATION_ID)
        return avs_fail(
            e, AVS_EDB,
            "%s is a database of another program (application id 0x%08x, avsweep's is 0x%08x); nothing "
            "was written to it",
            path, (unsigned)app, (unsigned)AVS_STORE_APPLICATION_ID);
    if (found < 1 || found > INT32_MAX)
        return avs_fail(e, AVS_EDB, "%s has schema version %u, which no avsweep writes", path,
                        (unsigned)found);
    *version = (int)found;
    return AVS_OK;
}

/* A writer wants its own version. */
static int check_version(const char *path, int version, avs_err *e)
{
    if (version < AVS_STORE_SCHEMA_VERSION)
        return avs_fail(
            e, AVS_EDB,
            "%s has schema version %d, this avsweep writes version %d: 'avsweep db migrate --db %s' "
            "brings it up to date and keeps a copy",
            path, version, AVS_STORE_SCHEMA_VERSION, path);
    if (version > AVS_STORE_SCHEMA_VERSION)
        return avs_fail(
            e, AVS_EDB,
            "%s has schema version %d, this avsweep knows version %d: use a newer avsweep to write to "
            "it; nothing was written",
            path, version, AVS_STORE_SCHEMA_VERSION);
    return AVS_OK;
}

/* A reader of a WAL database needs its shared memory file; in a folder without write permission and without a log the
 * file cannot change under us and is opened as immutable. */
static int open_reader(avs_store *s, avs_err *e)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(s->db, "SELECT 1 FROM meta", -1, &st, NULL) == SQLITE_OK) {
        sqlite3_finalize(st);
        sqlite3_busy_timeout(s->db, BUSY_MS);
        return AVS_OK;
    }
    sqlite3_finalize(st);
    char *wal = sqlite3_mprintf("%s-wal", s->path);
    bool has_log = !wal || avs_fs_exists(wal);
    sqlite3_free(wal);
    if (has_log) return avs_db_fail(s, "the database cannot be read", e);
    sqlite3_close(s->db);
    s->db = NULL;
    avs_buf uri = AVS_BUF_INIT;
    avs_buf_str(&uri, "file:");
    for (const char *p = s->path; *p; p++) {
        if (*p == '%' || *p == '?' || *p == '#')
            avs_buf_fmt(&uri, "%%%02x", (unsigned)(unsigned char)*p);
        else
            avs_buf_char(&uri, *p);
    }
    avs_buf_str(&uri, "?immutable=1");
    int ok = avs_buf_ok(&uri)
                 ? sqlite3_open_v2(uri.data, &s->db,
                                   SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL)
                 : SQLITE_NOMEM;
    avs_buf_free(&uri);
    return ok == SQLITE_OK ? AVS_OK : avs_db_fail(s, "the database cannot be read", e);
}

static int open_writer(avs_store *s, bool fresh, const char *tool_version, avs_err *e)
{
    sqlite3_stmt *st;
    bool row = false;
    int rc;

    if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return avs_db_fail(s, "the database cannot be opened", e);
    if (sqlite3_db_readonly(s->db, "main") == 1)
        return avs_fail(e, AVS_EDB, "%s cannot be written: the file or its folder is read-only", s->path);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    if (s->is_network) AVS_TRY(avs_db_script(s, "PRAGMA locking_mode=EXCLUSIVE", e));
    if (fresh) AVS_TRY(avs_schema_create(s, tool_version, e));
    /* The schema is created under a rollback journal, so that the header of the main file names us from the start. */
    AVS_TRY(avs_db_bind(s, &st, e, s->is_network ? "PRAGMA journal_mode=TRUNCATE" : "PRAGMA journal_mode=WAL",
                        ""));
    AVS_TRY(avs_db_step(s, st, &row, e));
    s->journal = row && strcmp(avs_db_text(st, 0), "wal") == 0 ? "wal" : "truncate";
    sqlite3_reset(st);
    AVS_TRY(avs_db_script(s, "PRAGMA synchronous=FULL;PRAGMA temp_store=MEMORY" /* savepoints keep no file */,
                          e));
    if (fresh) {
        AVS_TRY(avs_published_import(s, NULL, e));
        AVS_TRY(avs_store_flush(s, e));
    }
out:
    return rc;
}

/* On network storage a reader of another host must not touch a file that is being written: while there is a lock, it reads
 * the snapshot that the writer publishes. Returns the path to open, which is `path` or in `other`. */
static const char *path_to_read(const char *path, char *other, size_t n, int64_t *age_us)
{
    struct stat st;
    char lock[PATH_MAX];
    *age_us = 0;
    if (!is_network(path) || (size_t)snprintf(lock, sizeof lock, "%s.lock", path) >= sizeof lock ||
        !avs_fs_exists(lock) || (size_t)snprintf(other, n, "%s" AVS_STORE_SNAPSHOT_SUFFIX, path) >= n ||
        stat(other, &st) != 0)
        return path;
    *age_us = avs_wall_us() - ((int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000);
    if (*age_us < 1) *age_us = 1;
    return other;
}

/* SQLite counts every allocation under a lock unless told not to before it starts. */
static void no_memory_statistics(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

int avs_store_open(const char *path, avs_store_mode mode, const char *tool_version, avs_store **out,
                   avs_err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char snapshot[PATH_MAX];
    int64_t age = 0;
    bool fresh;
    int rc, version = AVS_STORE_SCHEMA_VERSION;

    *out = NULL;
    (void)pthread_once(&once, no_memory_statistics);
    if (mode == AVS_STORE_READ) path = path_to_read(path, snapshot, sizeof snapshot, &age);
    AVS_TRY(avs_store_inspect(path, mode, &fresh, &version, e));
    if (mode == AVS_STORE_WRITE) AVS_TRY(check_version(path, version, e));
    avs_store *s = avs_xalloc(sizeof *s);
    const size_t path_size = strlen(path) + 1;
    char *copy = avs_xalloc(path_size);
    if (!s || !copy) {
        avs_xfree(s);
        avs_xfree(copy);
        return avs_fail(e, AVS_ENOMEM, "no memory to open %s", path);
    }
    memcpy(copy, path, path_size);
    *s = (avs_store){.path = copy,
                     .journal = "read",
                     .writable = mode == AVS_STORE_WRITE,
                     .is_network = is_network(path),
                     .version = version,
                     .snapshot_age_us = age};
    rc = s->writable ? open_writer(s, fresh, tool_version, e) : open_reader(s, e);
    if (rc == AVS_OK) rc = avs_db_script(s, "PRAGMA foreign_keys=ON", e);
    /* SQLite 3.40 calls json_valid unsafe in a CHECK of an untrusted schema, so only readers distrust the file; a
     * writer has just seen that the schema is its own. */
    if (rc == AVS_OK && !s->writable) rc = avs_db_script(s, "PRAGMA trusted_schema=OFF", e);
    if (rc == AVS_OK) {
        *out = s;
        return AVS_OK;
    }
    avs_store_close(s);
out:
    return rc;
}

void avs_store_close(avs_store *s)
{
    if (!s) return;
    if (s->db && !sqlite3_get_autocommit(s->db)) {
        for (int i = 0; i < s->n_cache; i++) sqlite3_reset(s->cache[i].stmt);
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    }
    if (s->db && s->writable && s->is_network) (void)avs_snapshot_step(s, true, NULL);
    avs_snapshot_abort(s);
    for (int i = 0; i < s->n_cache; i++) sqlite3_finalize(s->cache[i].stmt);
    sqlite3_close(s->db);
    avs_xfree(s->path);
    avs_xfree(s);
}

int avs_store_version(const avs_store *s)
{
    return s->version;
}
int64_t avs_store_snapshot_age_us(const avs_store *s)
{
    return s->snapshot_age_us;
}
const char *avs_store_path(const avs_store *s)
{
    return s->path;
}
const char *avs_store_journal(const avs_store *s)
{
    return s->journal;
}
size_t avs_store_unflushed(const avs_store *s)
{
    return s->unflushed;
}
int64_t avs_store_group_ns(const avs_store *s)
{
    return s->is_network ? NETWORK_GROUP_NS : LOCAL_GROUP_NS;
}

int64_t avs_store_unflushed_ns(const avs_store *s)
{
    return s->unflushed ? avs_now_ns() - s->group_since_ns : 0;
}

void avs_store_bulk(avs_store *s, bool on)
{
    sqlite3_exec(s->db, on ? "PRAGMA cache_size=-49152" : "PRAGMA cache_size=-2000", NULL, NULL, NULL);
    if (on) return;
    sqlite3_db_release_memory(s->db);
    malloc_trim(0);
}

int avs_store_flush(avs_store *s, avs_err *e)
{
    size_t n = s->unflushed;
    int rc = AVS_OK;

    if (s->is_lost) {
        s->is_lost = false;
        s->unflushed = 0;
        return avs_fail(e, AVS_EDB, "%s: SQLite rolled back %zu writes that were not committed yet", s->path,
                        n);
    }
    if (n == 0) return AVS_OK;
    if (s->view_is_stale) AVS_TRY(avs_schema_trial_view(s, e));
    AVS_TRY(avs_tally_flush(s, &s->group, e));
    AVS_TRY(avs_db_run(s, e, "COMMIT", ""));
    s->unflushed = 0;
    /* The commit stands whatever becomes of the snapshot: a failure shows as an old one. */
    if (s->is_network) (void)avs_snapshot_step(s, false, NULL);
    return AVS_OK;
out:
    if (!sqlite3_get_autocommit(s->db)) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    s->unflushed = 0;
    s->group.n = 0;
    avs_ctx(e, "%zu writes were not committed", n);
    return rc;
}
