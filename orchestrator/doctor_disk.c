/* File systems: kind, room, the three locks we rely on, the clock of the server, and what SQLite keeps of commits that
 * were told before a kill -9. Everything is tried in a folder of its own that is removed again. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "orchestrator/doctor.h"
#include "results/db.h"

static const char *kind_of(const struct statfs *fs)
{
    static const struct {
        uint32_t magic;
        const char *name;
    } known[] = {{0xEF53, "ext"},         {0x58465342, "xfs"},  {0x9123683E, "btrfs"},  {0x01021994, "tmpfs"},
                 {0x794C7630, "overlay"}, {0x6969, "nfs"},      {0x0BD00BD0, "lustre"}, {0x47504653, "gpfs"},
                 {0x19830326, "beegfs"},  {0xFF534D42, "cifs"}, {0x65735546, "fuse"},   {0x2FC12FC1, "zfs"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].magic == (uint32_t)fs->f_type) return known[i].name;
    return "another kind";
}

static double gib(double blocks, double size)
{
    return blocks * size / (1024.0 * 1024 * 1024);
}

/* ---- locks ---- */

typedef enum { BY_FLOCK, BY_FCNTL } lock_kind;

static bool take_lock(int fd, lock_kind kind)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return kind == BY_FLOCK ? flock(fd, LOCK_EX | LOCK_NB) == 0 : fcntl(fd, F_SETLK, &l) == 0;
}

/* 1: another process is kept out while we hold the lock and let in when we die of kill -9; 0 not; -1 cannot be tried. */
static int lock_works(const char *path, lock_kind kind)
{
    int ready[2], result = -1, status = 0;
    char byte = 0;
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || pipe2(ready, O_CLOEXEC) != 0) {
        if (fd >= 0) close(fd);
        return -1;
    }
    const pid_t holder = fork();
    if (holder == 0) {
        const int own = open(path, O_RDWR | O_CLOEXEC);
        byte = own >= 0 && take_lock(own, kind) ? 'y' : 'n';
        if (write(ready[1], &byte, 1) != 1) _exit(1);
        for (;;) pause();
    }
    close(ready[1]);
    if (holder > 0 && read(ready[0], &byte, 1) == 1 && byte == 'y') {
        const bool kept_out = !take_lock(fd, kind);
        kill(holder, SIGKILL);
        waitpid(holder, &status, 0);
        result = kept_out && take_lock(fd, kind);
    } else if (holder > 0) {
        kill(holder, SIGKILL);
        waitpid(holder, &status, 0);
    }
    close(ready[0]);
    close(fd);
    return result;
}

static void check_locks(avs_doctor *d, const char *folder)
{
    char a[4200], b[4200];
    static const char *const names[] = {"flock", "fcntl"};
    for (int k = 0; k < 2; k++) {
        snprintf(a, sizeof a, "%s/%s", folder, names[k]);
        const int ok = lock_works(a, (lock_kind)k);
        avs_doc_say(d, ok == 1 ? AVS_DOC_OK : AVS_DOC_FAIL, "locks", "%s %s", names[k],
                    ok == 1   ? "keeps another process out and ends with its owner"
                    : ok == 0 ? "does not keep another process out"
                              : "cannot be had here");
        unlink(a);
    }
    snprintf(a, sizeof a, "%s/one", folder);
    snprintf(b, sizeof b, "%s/two", folder);
    const bool made = avs_fs_write_atomic(a, "x", 1, NULL) == AVS_OK && link(a, b) == 0;
    const bool again = made && link(a, b) != 0 && errno == EEXIST;
    avs_doc_say(d, again ? AVS_DOC_OK : AVS_DOC_FAIL, "locks", "link(2) %s",
                again  ? "is refused the second time"
                : made ? "replaces a file"
                       : "does not work here");
    unlink(a);
    unlink(b);
}

/* The server stamps files with its own clock. */
static void check_clock(avs_doctor *d, const char *folder)
{
    char path[4200];
    struct stat st;
    struct timespec before, after;
    snprintf(path, sizeof path, "%s/clock", folder);
    clock_gettime(CLOCK_REALTIME, &before);
    if (avs_fs_write_atomic(path, "x", 1, NULL) != AVS_OK || stat(path, &st) != 0) return;
    clock_gettime(CLOCK_REALTIME, &after);
    unlink(path);
    const double at = (double)st.st_mtim.tv_sec + (double)st.st_mtim.tv_nsec / 1e9;
    const double lo = (double)before.tv_sec + (double)before.tv_nsec / 1e9,
                 hi = (double)after.tv_sec + (double)after.tv_nsec / 1e9;
    const double off = at < lo - 0.02 ? at - lo
                       : at > hi      ? at - hi
                                      : 0; /* kernels stamp with a coarse clock */
    avs_doc_say(d, fabs(off) > 1 ? AVS_DOC_WARN : AVS_DOC_OK, "clock",
                "files are stamped %.2f s off this node's clock", off);
}

/* ---- SQLite ---- */

/* Commits one row after the other and says each on the pipe, until it is killed. */
static void committer(const char *path, int out)
{
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK ||
        sqlite3_exec(db,
                     "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;CREATE TABLE t(i INTEGER PRIMARY KEY)",
                     NULL, NULL, NULL) != SQLITE_OK)
        _exit(1);
    for (int32_t i = 1;; i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", i);
        if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK ||
            write(out, &i, sizeof i) != (ssize_t)sizeof i)
            _exit(1);
    }
}

static int number(void *out, int n, char **values, char **names)
{
    (void)names;
    if (n > 0 && values[0]) snprintf(out, 64, "%s", values[0]);
    return 0;
}

void avs_doc_sqlite(avs_doctor *d, const char *folder)
{
    char path[4200], found[64] = "?", sound[64] = "?";
    int pipe_[2], status = 0;
    int32_t last = 0, told = 0;
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/probe.db", folder);
    if (pipe2(pipe_, O_CLOEXEC) != 0) return;
    const int64_t begin = avs_now_ns();
    const pid_t pid = fork();
    if (pid == 0) {
        close(pipe_[0]);
        committer(path, pipe_[1]);
    }
    close(pipe_[1]);
    while (pid > 0 && read(pipe_[0], &last, sizeof last) == (ssize_t)sizeof last) {
        told = last;
        if (avs_now_ns() - begin > 300000000) break;
    }
    const double seconds = (double)(avs_now_ns() - begin) / 1e9;
    if (pid > 0) {
        kill(pid, SIGKILL);
        while (read(pipe_[0], &last, sizeof last) == (ssize_t)sizeof last)
            told = last; /* said before it died */
        waitpid(pid, &status, 0);
    }
    close(pipe_[0]);
    const bool opened = sqlite3_open(path, &db) == SQLITE_OK &&
                        sqlite3_exec(db, "SELECT count(*) FROM t", number, found, NULL) == SQLITE_OK &&
                        sqlite3_exec(db, "PRAGMA integrity_check", number, sound, NULL) == SQLITE_OK;
    sqlite3_close(db);
    const long kept = strtol(found, NULL, 10);
    const bool fine = opened && told > 0 && kept >= told && strcmp(sound, "ok") == 0;
    avs_doc_say(d, fine ? AVS_DOC_OK : AVS_DOC_FAIL, "sqlite",
                "%d commits were told before kill -9, %s are there, integrity %s; %.0f durable commits/s",
                told, found, sound, told / (seconds > 0 ? seconds : 1));
    for (const char *const *tail = (const char *const[]){"", "-wal", "-shm", NULL}; *tail; tail++) {
        char file[4300];
        snprintf(file, sizeof file, "%s%s", path, *tail);
        unlink(file);
    }
}

/* ---- folders ---- */

static bool room(avs_doctor *d, const char *check, const char *folder, const char *extra)
{
    struct statfs fs;
    if (statfs(folder, &fs) != 0 || access(folder, W_OK) != 0) {
        avs_doc_say(d, AVS_DOC_FAIL, check, "%s: %s", folder, strerror(errno));
        return false;
    }
    const double free_gib = gib((double)fs.f_bavail, (double)fs.f_bsize);
    avs_doc_say(d, free_gib < 1 ? AVS_DOC_WARN : AVS_DOC_OK, check, "%s: %s, %.1f GiB free%s%s", folder,
                kind_of(&fs), free_gib,
                avs_store_is_network_fs((uint32_t)fs.f_type) ? ", a network file system" : "", extra);
    return true;
}

void avs_doc_storage(avs_doctor *d, const char *folder)
{
    char own[4096];
    if (!room(d, "storage", folder, "")) return;
    snprintf(own, sizeof own, "%s/avsweep-doctor-XXXXXX", folder);
    if (!mkdtemp(own)) {
        avs_doc_say(d, AVS_DOC_FAIL, "storage", "%s: %s", folder, strerror(errno));
        return;
    }
    check_locks(d, own);
    check_clock(d, own);
    avs_doc_sqlite(d, own);
    (void)rmdir(own);
}

void avs_doc_scratch(avs_doctor *d)
{
    const char *folder = getenv("AVSWEEP_SCRATCH");
    if (!folder || !*folder) folder = getenv("TMPDIR");
    if (!folder || !*folder) folder = "/tmp";
    (void)room(d, "scratch", folder, "");
}
