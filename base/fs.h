/* Files: whole-file reads, memory maps, and writes that are never seen half done. */
#ifndef AVS_BASE_FS_H
#define AVS_BASE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

/* Appends the file to *out. Refuses files over max_bytes (0: no limit) and folders. */
int avs_fs_read(const char *path, size_t max_bytes, avs_buf *out, avs_err *e);

typedef struct {
    const uint8_t *data;
    size_t len;
    void *base; /* private */
} avs_map;
int avs_map_open(avs_map *m, const char *path, avs_err *e); /* read-only mmap; empty file: data NULL, len 0 */
void avs_map_close(avs_map *m);                             /* accepts a zeroed map */

/* Writes path.tmp.PID, fsync, rename to path, fsync of the folder. */
int avs_fs_write_atomic(const char *path, const void *data, size_t n, avs_err *e);

/* The same for streams: write to fd, then commit (fsync, rename, fsync folder) or abort (unlink). */
typedef struct {
    int fd;
    char tmp[4096], path[4096];
} avs_fs_out;
int avs_fs_out_open(avs_fs_out *o, const char *path, avs_err *e);
int avs_fs_out_put(avs_fs_out *o, const void *data, size_t n, avs_err *e);
int avs_fs_out_commit(avs_fs_out *o, avs_err *e);
void avs_fs_out_abort(avs_fs_out *o); /* accepts a zeroed or committed object */

int avs_fs_mkdirs(const char *path, avs_err *e);     /* mkdir -p                             */
int avs_fs_mkdirs_for(const char *path, avs_err *e); /* the folders above path                */
bool avs_fs_exists(const char *path);
bool avs_fs_is_dir(const char *path);
/* A file, or a folder with all that is below it; of links the link. What cannot be removed stays. */
void avs_fs_remove_tree(const char *path);
/* 0 or -1 with errno; EINTR and short writes handled. */
int avs_fs_full_write(int fd, const void *data, size_t n);

#endif
