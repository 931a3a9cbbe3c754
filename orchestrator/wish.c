/* DB.commands/TIME-PID.json: written under another name, renamed, taken, removed. */
#include "orchestrator/wish.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"

enum { MAX_WISH = 256 << 20 };

static const char *const words[AVS_WISHES] = {"retry", "cancel", "pause", "prioritise"};

const char *avs_wish_word(avs_wish_verb v)
{
    return (unsigned)v < AVS_WISHES ? words[v] : "?";
}

int avs_wish_put(const char *db, const avs_wish *w, char path[4096], avs_err *e)
{
    avs_buf b = AVS_BUF_INIT;
    int n =
        snprintf(path, 4096, "%s.commands/%020lld-%ld.json", db, (long long)avs_wall_us(), (long)getpid());
    if (n < 0 || n >= 4096) return avs_fail(e, AVS_ERANGE, "the path of the database is too long");
    int rc = avs_fs_mkdirs_for(path, e);
    if (rc != AVS_OK) return rc;
    avs_buf_fmt(&b, "{\"type\":\"wish\",\"v\":1,\"verb\":\"%s\",\"priority\":", avs_wish_word(w->verb));
    avs_json_write_num(&b, w->priority);
    avs_buf_str(&b, ",\"trials\":[");
    for (size_t i = 0; i < w->n; i++) avs_buf_fmt(&b, "%s%lld", i ? "," : "", (long long)w->trials[i]);
    avs_buf_str(&b, "]}\n");
    rc = avs_buf_ok(&b) ? avs_fs_write_atomic(path, b.data, b.len, e) : avs_fail(e, AVS_ENOMEM, "no memory");
    avs_buf_free(&b);
    return rc;
}

static bool read_wish(avs_arena *a, const char *path, avs_wish *w)
{
    avs_json *j = NULL;
    avs_buf text = AVS_BUF_INIT;
    bool ok = avs_fs_read(path, MAX_WISH, &text, NULL) == AVS_OK &&
              avs_json_parse(a, path, avs_buf_cstr(&text), text.len, &j, NULL) == AVS_OK;
    avs_buf_free(&text);
    const char *verb = avs_json_str(j, "verb", "");
    const avs_json *list = avs_json_get(j, "trials");
    if (!ok || avs_json_int(j, "v", 0) != 1 || !list || list->kind != AVS_J_ARR) return false;
    *w = (avs_wish){.verb = AVS_WISHES, .priority = avs_json_num(j, "priority", 0)};
    for (int v = 0; v < AVS_WISHES; v++)
        if (strcmp(verb, words[v]) == 0) w->verb = (avs_wish_verb)v;
    int64_t *ids = AVS_NEW_N(a, int64_t, list->len + 1);
    if (w->verb == AVS_WISHES || !ids) return false;
    for (const avs_json *t = list->first; t; t = t->next) {
        if (t->kind != AVS_J_INT) return false;
        ids[w->n++] = t->i;
    }
    w->trials = ids;
    return true;
}

static int is_wish(const struct dirent *d)
{
    const char *end = strrchr(d->d_name, '.');
    return end && strcmp(end, ".json") == 0;
}

int avs_wish_take(const char *db, int64_t *stamp, avs_wish_fn take, void *ctx, int *bad, avs_err *e)
{
    char folder[4096], path[8192], aside[8300];
    struct stat st;
    struct dirent **names = NULL;
    int rc = AVS_OK;
    *bad = 0;
    snprintf(folder, sizeof folder, "%s.commands", db);
    if (stat(folder, &st) != 0) return AVS_OK; /* nobody ever wished anything */
    int64_t now = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if (now == *stamp) return AVS_OK;
    int n = scandir(folder, &names, is_wish, alphasort);
    if (n < 0) return avs_fail(e, AVS_EIO, "%s: %s", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        avs_wish w;
        avs_arena *a = avs_arena_new();
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (a && read_wish(a, path, &w)) {
            take(ctx, &w);
            if (unlink(path) != 0 && rc == AVS_OK) rc = avs_fail(e, AVS_EIO, "%s: %s", path, strerror(errno));
        } else if (a) {
            snprintf(aside, sizeof aside, "%s.bad", path);
            ++*bad;
            if (rename(path, aside) != 0 && rc == AVS_OK)
                rc = avs_fail(e, AVS_EIO, "%s: %s", path, strerror(errno));
        } else {
            rc = avs_fail(e, AVS_ENOMEM, "no memory to read %s", path);
        }
        avs_arena_free(a);
        free(names[i]);
    }
    free(names);
    /* With something taken the folder has another time now; the next look finds it empty and settles the stamp. */
    *stamp = n == 0 ? now : 0;
    return rc;
}
