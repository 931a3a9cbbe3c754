/* Files. A written file appears under its name only when it is whole and on the disk: temporary name, fsync,
 * rename, fsync of the folder. */
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    (void)remove(path);
    return 0;
}

void avs_fs_remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int avs_fs_full_write(int fd, const void *data, size_t n)
{
    const char *p = data;
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return -1;
        if (w == 0) {
            errno = EIO;
            return -1;
        }
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

static int open_regular(const char *path, int *fd, struct stat *st, avs_err *e)
{
    /* O_NONBLOCK: opening a FIFO by mistake must not hang; it changes nothing for regular files. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return avs_fail(e, errno == ENOENT ? AVS_EMISSING : AVS_EIO, "%s: cannot be opened: %s", path,
                        strerror(errno));
    int rc = AVS_OK;
    if (fstat(*fd, st) != 0)
        rc = avs_fail(e, AVS_EIO, "%s: fstat failed: %s", path, strerror(errno));
    else if (!S_ISREG(st->st_mode))
        rc = avs_fail(e, AVS_EIO, "%s: a regular file is expected, this is %s", path,
                      S_ISDIR(st->st_mode) ? "a folder" : "something else");
    if (rc != AVS_OK) {
        (void)close(*fd);
        *fd = -1;
    }
    return rc;
}

int avs_fs_read(const char *path, size_t max_bytes, avs_buf *out, avs_err *e)
{
    int fd;
    struct stat st;
    int rc = open_regular(path, &fd, &st, e);
    if (rc != AVS_OK) return rc;
    size_t total = 0;
    char chunk[16384];
    if (max_bytes && (uint64_t)st.st_size > max_bytes) {
        rc = avs_fail(e, AVS_ERANGE, "%s: %lld bytes, at most %zu are accepted", path, (long long)st.st_size,
                      max_bytes);
        goto out;
    }
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            rc = avs_fail(e, AVS_EIO, "%s: read failed: %s", path, strerror(errno));
            goto out;
        }
        if (n == 0) break;
        total += (size_t)n;
        if (max_bytes && total > max_bytes) { /* it grew, or it is a file that states no size */
            rc = avs_fail(e, AVS_ERANGE, "%s: more than %zu bytes", path, max_bytes);
            goto out;
        }
        avs_buf_put(out, chunk, (size_t)n);
        if (!avs_buf_ok(out)) break;
    }
    if (!avs_buf_ok(out)) rc = avs_fail(e, AVS_ENOMEM, "%s: no memory after %zu bytes", path, total);
out:
    (void)close(fd);
    return rc;
}

int avs_map_open(avs_map *m, const char *path, avs_err *e)
{
    *m = (avs_map){0};
    int fd;
    struct stat st;
    int rc = open_regular(path, &fd, &st, e);
    if (rc != AVS_OK) return rc;
    if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            rc = avs_fail(e, AVS_EIO, "%s: cannot be mapped: %s", path, strerror(errno));
        else
            *m = (avs_map){.data = p, .len = (size_t)st.st_size, .base = p};
    }
    (void)close(fd);
    return rc;
}

void avs_map_close(avs_map *m)
{
    if (m->base) (void)munmap(m->base, m->len);
    *m = (avs_map){0};
}

int avs_fs_out_open(avs_fs_out *o, const char *path, avs_err *e)
{
    *o = (avs_fs_out){.fd = -1};
    int n = snprintf(o->tmp, sizeof o->tmp, "%s.tmp.%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof o->tmp) {
        o->tmp[0] = '\0';
        return avs_fail(e, AVS_ERANGE, "a path of %zu bytes is too long", strlen(path));
    }
    (void)snprintf(o->path, sizeof o->path, "%s", path);
    o->fd = open(o->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (o->fd < 0) {
        int rc = avs_fail(e, AVS_EIO, "%s: cannot be created: %s", o->tmp, strerror(errno));
        o->tmp[0] = '\0';
        return rc;
    }
    return AVS_OK;
}

int avs_fs_out_put(avs_fs_out *o, const void *data, size_t n, avs_err *e)
{
    if (avs_fs_full_write(o->fd, data, n) == 0) return AVS_OK;
    return avs_fail(e, AVS_EIO, "%s: writing %zu bytes failed: %s", o->tmp, n, strerror(errno));
}

/* Makes the rename itself durable. */
static int sync_folder_of(const char *path, avs_err *e)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof folder) return avs_fail(e, AVS_ERANGE, "a folder name of %zu bytes is too long", n);
    if (!slash) {
        memcpy(folder, ".", 2);
    } else if (n == 0) {
        memcpy(folder, "/", 2);
    } else {
        memcpy(folder, path, n);
        folder[n] = '\0';
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return avs_fail(e, AVS_EIO, "%s: cannot be opened: %s", folder, strerror(errno));
    int rc = AVS_OK;
    /* EINVAL: a file system without fsync of folders has nothing to promise. */
    if (fsync(fd) != 0 && errno != EINVAL)
        rc = avs_fail(e, AVS_EIO, "%s: fsync failed: %s", folder, strerror(errno));
    (void)close(fd);
    return rc;
}

int avs_fs_out_commit(avs_fs_out *o, avs_err *e)
{
    int rc = AVS_OK;
    if (fsync(o->fd) != 0) rc = avs_fail(e, AVS_EIO, "%s: fsync failed: %s", o->tmp, strerror(errno));
    if (close(o->fd) != 0 && rc == AVS_OK)
        rc = avs_fail(e, AVS_EIO, "%s: close failed: %s", o->tmp, strerror(errno));
    o->fd = -1;
    if (rc == AVS_OK && rename(o->tmp, o->path) != 0)
        rc = avs_fail(e, AVS_EIO, "%s: cannot be renamed to %s: %s", o->tmp, o->path, strerror(errno));
    if (rc != AVS_OK) {
        (void)unlink(o->tmp);
        o->tmp[0] = '\0';
        return rc;
    }
    o->tmp[0] = '\0';
    return sync_folder_of(o->path, e);
}

void avs_fs_out_abort(avs_fs_out *o)
{
    if (!o->tmp[0]) return; /* zeroed, committed or failed at open: fd is not ours */
    if (o->fd >= 0) (void)close(o->fd);
    (void)unlink(o->tmp);
    o->fd = -1;
    o->tmp[0] = '\0';
}

int avs_fs_write_atomic(const char *path, const void *data, size_t n, avs_err *e)
{
    avs_fs_out o;
    int rc = avs_fs_out_open(&o, path, e);
    if (rc == AVS_OK) rc = avs_fs_out_put(&o, data, n, e);
    if (rc == AVS_OK) rc = avs_fs_out_commit(&o, e);
    avs_fs_out_abort(&o);
    return rc;
}

int avs_fs_mkdirs(const char *path, avs_err *e)
{
    char part[4096];
    size_t n = strlen(path);
    if (n >= sizeof part) return avs_fail(e, AVS_ERANGE, "a path of %zu bytes is too long", n);
    if (mkdir(path, 0777) == 0 || avs_fs_is_dir(path)) return AVS_OK; /* mostly its parents are there */
    for (size_t i = 1; i <= n; i++) {
        if (i < n && path[i] != '/') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) != 0) {
            int why = errno; /* EROFS or EACCES on a folder that is there are no failures */
            if (!avs_fs_is_dir(part))
                return avs_fail(e, AVS_EIO, "%s: the folder cannot be made: %s", part, strerror(why));
        }
    }
    return AVS_OK;
}

int avs_fs_mkdirs_for(const char *path, avs_err *e)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) return AVS_OK;
    char folder[4096];
    size_t n = (size_t)(slash - path);
    if (n >= sizeof folder) return avs_fail(e, AVS_ERANGE, "a path of %zu bytes is too long", n);
    memcpy(folder, path, n);
    folder[n] = '\0';
    return avs_fs_mkdirs(folder, e);
}

bool avs_fs_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool avs_fs_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}
