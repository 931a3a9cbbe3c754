/* Spool files: DIR/<attempt>-<epoch>.frames. */
#include "orchestrator/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "orchestrator/message.h"

static void name_of(char *out, size_t n, const char *dir, uint64_t attempt, uint32_t epoch)
{
    snprintf(out, n, "%s/%020" PRIu64 "-%010" PRIu32 ".frames", dir, attempt, epoch);
}

int avs_spool_put(const char *dir, uint64_t attempt, uint32_t epoch, const avs_buf *frames, avs_err *e)
{
    char path[4096], tmp[4200];
    name_of(path, sizeof path, dir, attempt, epoch);
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    int rc = avs_fs_mkdirs(dir, e);
    if (rc != AVS_OK) return rc;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return avs_fail(e, AVS_EIO, "%s: %s", tmp, strerror(errno));
    bool ok = avs_fs_full_write(fd, frames->data, frames->len) == 0;
    ok = close(fd) == 0 && ok;
    if (ok && rename(tmp, path) == 0) return AVS_OK;
    rc = avs_fail(e, AVS_EIO, "%s: %s", path, strerror(errno));
    unlink(tmp);
    return rc;
}

void avs_spool_drop(const char *dir, uint64_t attempt, uint32_t epoch)
{
    char path[4096];
    name_of(path, sizeof path, dir, attempt, epoch);
    unlink(path);
}

/* Whole: only frames, and the last one is M_ENDED. */
static bool is_whole(const avs_buf *b)
{
    avs_frame_reader r = {0};
    avs_frame f = {0};
    bool got = false;
    uint16_t last = 0;
    size_t seen = 0;
    avs_frame_feed(&r, b->data, b->len);
    while (avs_frame_next(&r, &f, &got, NULL) == AVS_OK && got) {
        last = f.type;
        seen += AVS_FRAME_HEADER + f.len;
    }
    avs_frame_reader_free(&r);
    return last == AVS_M_ENDED && seen == b->len;
}

static int is_frames(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 7 && strcmp(d->d_name + n - 7, ".frames") == 0;
}

int avs_spool_each(const char *dir, void (*got)(void *ctx, const void *frames, size_t n), void *ctx, int *bad,
                   avs_err *e)
{
    struct dirent **list = NULL;
    *bad = 0;
    int n = scandir(dir, &list, is_frames, alphasort);
    if (n < 0) return errno == ENOENT ? AVS_OK : avs_fail(e, AVS_EIO, "%s: %s", dir, strerror(errno));
    int rc = AVS_OK;
    for (int i = 0; i < n; i++) {
        char path[4096], aside[4200];
        avs_buf b = AVS_BUF_INIT;
        snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name);
        snprintf(aside, sizeof aside, "%s.bad", path);
        if (rc == AVS_OK) rc = avs_fs_read(path, 0, &b, e);
        if (rc == AVS_OK && is_whole(&b)) {
            got(ctx, b.data, b.len);
        } else if (rc == AVS_OK) {
            ++*bad;
            if (rename(path, aside) != 0) rc = avs_fail(e, AVS_EIO, "%s: %s", path, strerror(errno));
        }
        avs_buf_free(&b);
        free(list[i]);
    }
    free(list);
    return rc;
}
