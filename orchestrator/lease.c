/* DB.lock: made under a temporary name, locked, then linked into place. */
#include "orchestrator/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/fs.h"
#include "base/json.h"

enum { MAX_LOCK = 4096, TRIES = 8 };

static void boot_id(char out[64])
{
    out[0] = '\0';
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t n = read(fd, out, 63);
    close(fd);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static void host_name(char out[256])
{
    if (gethostname(out, 256) != 0) snprintf(out, 256, "localhost");
    out[255] = '\0';
}

/* A lock file of our own under a temporary name, flock held. */
static int write_lock(avs_lease *l, const char *tmp, avs_err *e)
{
    char host[256], boot[64];
    avs_buf b = AVS_BUF_INIT;
    const char *job = getenv("SLURM_JOB_ID");
    host_name(host);
    boot_id(boot);
    avs_buf_str(&b, "{\"host\":");
    avs_json_write_str(&b, host);
    avs_buf_fmt(&b, ",\"pid\":%ld,\"started\":%lld,\"boot\":", (long)getpid(), (long long)time(NULL));
    avs_json_write_str(&b, boot);
    avs_buf_str(&b, ",\"job\":");
    avs_json_write_str(&b, job ? job : "");
    avs_buf_str(&b, "}\n");
    l->fd = open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int rc = AVS_OK;
    if (l->fd < 0 || flock(l->fd, LOCK_EX | LOCK_NB) != 0 || !avs_buf_ok(&b) ||
        avs_fs_full_write(l->fd, b.data, b.len) != 0) {
        rc = avs_fail(e, AVS_EIO, "%s: %s", tmp, strerror(errno));
        if (l->fd >= 0) close(l->fd);
        l->fd = -1;
        unlink(tmp);
    }
    avs_buf_free(&b);
    return rc;
}

/* Looks at the lock that is there. *stale: its owner is dead and *fd holds its flock. Otherwise e names the owner. */
static int inspect(const char *path, const char *db, bool steal, bool *stale, int *fd, avs_err *e)
{
    char host[256], boot[64], text[MAX_LOCK];
    struct stat here, open_one;
    *stale = false;
    *fd = open(path, O_RDWR | O_CLOEXEC);
    if (*fd < 0) return errno == ENOENT ? AVS_OK : avs_fail(e, AVS_EIO, "%s: %s", path, strerror(errno));
    bool free_flock = flock(*fd, LOCK_EX | LOCK_NB) == 0;
    ssize_t n = read(*fd, text, sizeof text);
    /* Somebody may have taken it over between open and flock: then the path is another file by now. */
    if (fstat(*fd, &open_one) != 0 || stat(path, &here) != 0 || here.st_ino != open_one.st_ino) return AVS_OK;
    avs_arena *a = avs_arena_new();
    avs_json *j = NULL;
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory to read %s", path);
    if (n < 0 || avs_json_parse(a, path, text, (size_t)n, &j, NULL) != AVS_OK) j = NULL;
    host_name(host);
    boot_id(boot);
    const char *their_boot = avs_json_str(j, "boot", ""),
               *their_host = avs_json_str(j, "host", "an unknown host");
    const char *job = avs_json_str(j, "job", "");
    bool same_boot = boot[0] && strcmp(their_boot, boot) == 0;
    *stale = (free_flock && (same_boot || strcmp(their_host, host) == 0)) || steal;
    int rc = AVS_OK;
    if (!*stale)
        rc = avs_fail(e, AVS_EDB,
                      "%s is in use by avsweep pid %lld on %s%s%s (last sign of life %lld s ago); give "
                      "--steal-lease only if that run is surely gone",
                      db, (long long)avs_json_int(j, "pid", 0), their_host, job[0] ? ", Slurm job " : "", job,
                      (long long)(time(NULL) - here.st_mtime));
    avs_arena_free(a);
    return rc;
}

int avs_lease_take(avs_lease *l, const char *db, bool steal, avs_err *e)
{
    char tmp[4200];
    int rc = AVS_OK;
    *l = (avs_lease){.fd = -1};
    if ((size_t)snprintf(l->path, sizeof l->path, "%s.lock", db) >= sizeof l->path)
        return avs_fail(e, AVS_ERANGE, "the path of the database is too long");
    snprintf(tmp, sizeof tmp, "%s.%ld", l->path, (long)getpid());
    rc = write_lock(l, tmp, e);
    if (rc != AVS_OK) return rc;
    for (int i = 0; i < TRIES && rc == AVS_OK; i++) {
        if (link(tmp, l->path) == 0) {
            unlink(tmp);
            return AVS_OK;
        }
        if (errno != EEXIST) {
            rc = avs_fail(e, AVS_EIO, "%s: %s", l->path, strerror(errno));
            break;
        }
        bool stale = false;
        int fd = -1;
        rc = inspect(l->path, db, steal, &stale, &fd, e);
        if (rc == AVS_OK && stale) unlink(l->path); /* under its flock: no two can do this to one file */
        if (fd >= 0) close(fd);
    }
    if (rc == AVS_OK) rc = avs_fail(e, AVS_EDB, "%s changes hands all the time; try again", l->path);
    unlink(tmp);
    close(l->fd);
    l->fd = -1;
    return rc;
}

avs_lease_owner avs_lease_look(const char *db)
{
    avs_lease_owner o = {0};
    char path[4200], text[MAX_LOCK], host[256], boot[64];
    struct stat st;
    snprintf(path, sizeof path, "%s.lock", db);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return o;
    o.held = true;
    ssize_t n = read(fd, text, sizeof text);
    if (fstat(fd, &st) == 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        o.silent_s =
            (double)(now.tv_sec - st.st_mtim.tv_sec) + (double)(now.tv_nsec - st.st_mtim.tv_nsec) / 1e9;
    }
    const bool free_flock = flock(fd, LOCK_SH | LOCK_NB) == 0; /* closing gives it back */
    close(fd);
    avs_arena *a = avs_arena_new();
    avs_json *j = NULL;
    if (a && n > 0 && avs_json_parse(a, path, text, (size_t)n, &j, NULL) != AVS_OK) j = NULL;
    host_name(host);
    boot_id(boot);
    snprintf(o.host, sizeof o.host, "%s", avs_json_str(j, "host", "?"));
    snprintf(o.job, sizeof o.job, "%.63s", avs_json_str(j, "job", ""));
    o.pid = avs_json_int(j, "pid", 0);
    o.started_s = avs_json_int(j, "started", 0);
    const bool here =
        strcmp(o.host, host) == 0 || (boot[0] && strcmp(avs_json_str(j, "boot", ""), boot) == 0);
    o.alive = !(here && free_flock);
    avs_arena_free(a);
    return o;
}

void avs_lease_touch(const avs_lease *l)
{
    if (l->fd >= 0) (void)futimens(l->fd, NULL);
}

void avs_lease_drop(avs_lease *l)
{
    if (l->fd < 0) return;
    struct stat mine, here;
    if (fstat(l->fd, &mine) == 0 && stat(l->path, &here) == 0 && mine.st_ino == here.st_ino) unlink(l->path);
    close(l->fd);
    l->fd = -1;
}
