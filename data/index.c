/* The manifest: walk, sort, take hashes from the old manifest where inode, time and size agree, hash the rest in
 * parallel, write. */
#include "data/index.h"

#include "base/arena.h"
#include "base/fs.h"
#include "base/hash.h"
#include "data/parallel.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_LEN = 4096, MAX_DEPTH = 24 };

typedef struct {
    const char *path; /* below ROOT */
    int64_t size, mtime_ns;
    uint64_t inode;
    uint8_t sha[32];
    bool known;
} entry;

typedef struct {
    avs_arena *arena;
    avs_buf list; /* entry */
} entries;

static entry *at(const entries *l)
{
    return (entry *)(void *)l->list.data;
}
static int64_t count(const entries *l)
{
    return (int64_t)(l->list.len / sizeof(entry));
}

static int walk(entries *l, const char *root, const char *below, int depth, avs_err *e);

static int visit(entries *l, const char *root, const char *path, int depth, avs_err *e)
{
    char full[PATH_LEN];
    struct stat st;
    const int n = snprintf(full, sizeof full, "%s/%s", root, path);
    if (n < 0 || n >= (int)sizeof full)
        return avs_fail(e, AVS_ERANGE, "%s: a path is longer than %d bytes", root, PATH_LEN);
    if (stat(full, &st) != 0) return avs_fail(e, AVS_EIO, "%s: %s", full, strerror(errno));
    if (S_ISDIR(st.st_mode)) return walk(l, root, path, depth + 1, e);
    if (!S_ISREG(st.st_mode)) return AVS_OK;
    if (strpbrk(path, "\n\r\t"))
        return avs_fail(e, AVS_EPARSE, "%s: the file name holds a line break or tab", full);
    const entry f = {.path = avs_arena_str(l->arena, path),
                     .size = st.st_size,
                     .inode = st.st_ino,
                     .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
    avs_buf_put(&l->list, &f, sizeof f);
    return f.path && avs_buf_ok(&l->list) ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for the manifest");
}

static int walk(entries *l, const char *root, const char *below, int depth, avs_err *e)
{
    char dir[PATH_LEN], path[PATH_LEN];
    snprintf(dir, sizeof dir, "%s/%s", root, below);
    if (depth > MAX_DEPTH)
        return avs_fail(e, AVS_ERANGE, "%s: folders are nested deeper than %d (a link that leads back?)", dir,
                        MAX_DEPTH);
    DIR *d = opendir(dir);
    if (!d)
        return avs_fail(e, errno == ENOENT ? AVS_EMISSING : AVS_EIO, "%s: cannot list the folder: %s", dir,
                        strerror(errno));
    int rc = AVS_OK;
    for (struct dirent *f; rc == AVS_OK && (f = readdir(d));) {
        if (strcmp(f->d_name, ".") == 0 || strcmp(f->d_name, "..") == 0) continue;
        if (strncmp(f->d_name, ".avsweep", 8) == 0) continue;
        const int n = snprintf(path, sizeof path, "%s%s%s", below, below[0] ? "/" : "", f->d_name);
        rc = n < 0 || n >= (int)sizeof path
                 ? avs_fail(e, AVS_ERANGE, "%s: a path is longer than %d bytes", dir, PATH_LEN)
                 : visit(l, root, path, depth, e);
    }
    closedir(d);
    return rc;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->path, ((const entry *)b)->path);
}

static int manifest_path(const char *root, char path[PATH_LEN], avs_err *e)
{
    const int n = snprintf(path, PATH_LEN, "%s/.avsweep-manifest", root);
    return n < 0 || n >= PATH_LEN ? avs_fail(e, AVS_ERANGE, "data_root is longer than %d bytes", PATH_LEN)
                                  : AVS_OK;
}

static const char head[] = "avs-manifest-1 ";

/* Fingerprint of the first line; AVS_EPARSE where the text is no manifest. */
static int parse_head(const char *path, const char *text, size_t n, uint8_t out[32], avs_err *e)
{
    const size_t h = sizeof head - 1;
    if (n < h + 66 || memcmp(text, head, h) != 0 || !avs_unhex(text + h, 32, out) || text[h + 64] != ' ')
        return avs_fail(e, AVS_EPARSE,
                        "%s:1: expected \"%sFINGERPRINT FILES\"; delete the file and index again", path,
                        head);
    return AVS_OK;
}

/* The whole number at *p, which moves behind it. */
static bool number(const char **p, int64_t *v)
{
    char *end;
    errno = 0;
    *v = strtoll(*p, &end, 10);
    const bool ok = end != *p && errno == 0;
    *p = end;
    return ok;
}

static bool inode_number(const char **p, uint64_t *v)
{
    char *end;
    errno = 0;
    *v = strtoull(*p, &end, 10);
    const bool ok = end != *p && errno == 0;
    *p = end;
    return ok;
}

/* Takes over hashes from the old manifest; a line that does not parse is simply not used. */
static void reuse(entries *l, char *text)
{
    char *save = NULL;
    strtok_r(text, "\n", &save);
    for (char *line; (line = strtok_r(NULL, "\n", &save));) {
        entry old = {0};
        if (strlen(line) < 66 || !avs_unhex(line, 32, old.sha)) continue;
        const char *rest = line + 64;
        if (!number(&rest, &old.size) || !number(&rest, &old.mtime_ns) || !inode_number(&rest, &old.inode))
            continue;
        old.path = rest + strspn(rest, " ");
        entry *f = bsearch(&old, at(l), (size_t)count(l), sizeof(entry), by_path);
        if (!f || f->size != old.size || f->mtime_ns != old.mtime_ns || f->inode != old.inode) continue;
        memcpy(f->sha, old.sha, 32);
        f->known = true;
    }
}

typedef struct {
    const char *root;
    entries *l;
} hash_ctx;

static int hash_job(void *ctx, int64_t job, int worker, avs_err *e)
{
    const hash_ctx *c = ctx;
    entry *f = &at(c->l)[job];
    char full[PATH_LEN];
    (void)worker;
    if (f->known) return AVS_OK;
    snprintf(full, sizeof full, "%s/%s", c->root, f->path);
    return avs_sha256_file(full, f->sha, e);
}

static int write_manifest(const entries *l, const char *path, avs_index_info *info, avs_err *e)
{
    avs_buf body = AVS_BUF_INIT, file = AVS_BUF_INIT;
    avs_sha256 sum;
    char hex[65];
    avs_sha256_init(&sum);
    for (int64_t i = 0; i < count(l); i++) {
        const entry *f = &at(l)[i];
        avs_buf id = AVS_BUF_INIT;
        avs_hex(f->sha, 32, hex);
        avs_buf_fmt(&id, "%s\t%" PRId64 "\t%s\n", f->path, f->size, hex);
        avs_sha256_put(&sum, avs_buf_cstr(&id), id.len);
        avs_buf_fmt(&body, "%s %" PRId64 " %" PRId64 " %" PRIu64 " %s\n", hex, f->size, f->mtime_ns, f->inode,
                    f->path);
        body.failed = body.failed || !avs_buf_ok(&id);
        avs_buf_free(&id);
    }
    avs_sha256_end(&sum, info->fingerprint);
    avs_hex(info->fingerprint, 32, hex);
    avs_buf_fmt(&file, "%s%s %" PRId64 "\n", head, hex, count(l));
    avs_buf_put(&file, avs_buf_cstr(&body), body.len);
    int rc = avs_buf_ok(&body) && avs_buf_ok(&file) ? avs_fs_write_atomic(path, file.data, file.len, e)
                                                    : avs_fail(e, AVS_ENOMEM, "no memory for the manifest");
    avs_buf_free(&body);
    avs_buf_free(&file);
    return rc;
}

int avs_data_index(const char *root, int n_threads, avs_index_info *info, avs_err *e)
{
    char path[PATH_LEN];
    entries l = {.arena = avs_arena_new()};
    avs_buf old = AVS_BUF_INIT;
    int rc;
    *info = (avs_index_info){0};
    if (!l.arena) return avs_fail(e, AVS_ENOMEM, "no memory for the manifest");
    if (!avs_fs_is_dir(root)) {
        rc = avs_fail(e, AVS_EMISSING, "%s: there is no such folder", root);
        goto out;
    }
    AVS_TRY(manifest_path(root, path, e));
    AVS_TRY(walk(&l, root, "", 0, e));
    if (count(&l)) qsort(at(&l), (size_t)count(&l), sizeof(entry), by_path);
    if (count(&l) && avs_fs_exists(path)) {
        uint8_t ignored[32];
        AVS_TRY(avs_fs_read(path, 0, &old, e));
        if (parse_head(path, avs_buf_cstr(&old), old.len, ignored, NULL) == AVS_OK) reuse(&l, old.data);
    }
    info->n_files = count(&l);
    for (int64_t i = 0; i < info->n_files; i++) {
        info->bytes += at(&l)[i].size;
        info->n_hashed += !at(&l)[i].known;
    }
    AVS_TRY(avs_parallel(info->n_files, n_threads, hash_job, &(hash_ctx){root, &l}, e));
    AVS_TRY(write_manifest(&l, path, info, e));
out:
    avs_buf_free(&old);
    avs_buf_free(&l.list);
    avs_arena_free(l.arena);
    return rc;
}

int avs_data_fingerprint(const char *root, uint8_t out[32], bool *found, avs_err *e)
{
    char path[PATH_LEN];
    avs_buf text = AVS_BUF_INIT;
    int rc;
    *found = false;
    AVS_TRY(manifest_path(root, path, e));
    if (!avs_fs_exists(path)) goto out;
    AVS_TRY(avs_fs_read(path, 0, &text, e));
    AVS_TRY(parse_head(path, avs_buf_cstr(&text), text.len, out, e));
    *found = true;
out:
    avs_buf_free(&text);
    return rc;
}
