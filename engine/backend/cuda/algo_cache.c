/* The file is small (a line per distinct convolution): read whole at the start, searched line by line. */
#include "engine/backend/cuda/algo_cache.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

typedef struct entry {
    struct entry *next; /* later lines stand in front */
    const char *key;
    int choice;
} entry;

struct avs_algo_cache {
    avs_arena *arena;
    const char *path;
    entry *first;
};

enum { MAX_BYTES = 16 << 20, MAX_CHOICE = 1000 };

static const char *default_path(avs_arena *a)
{
    const char *own = getenv("AVSWEEP_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (own && *own) return avs_arena_fmt(a, "%s/cudnn-algorithms.txt", own);
    if (xdg && *xdg) return avs_arena_fmt(a, "%s/avsweep/cudnn-algorithms.txt", xdg);
    return home && *home ? avs_arena_fmt(a, "%s/.cache/avsweep/cudnn-algorithms.txt", home) : NULL;
}

static void remember(avs_algo_cache *c, const char *key, size_t n, int choice)
{
    entry *e = AVS_NEW(c->arena, entry);
    char *own = e ? avs_arena_strn(c->arena, key, n) : NULL;
    if (!own) return;
    *e = (entry){.next = c->first, .key = own, .choice = choice};
    c->first = e;
}

/* Lines that are not as they should be are passed over: the file is only a memory. */
static void read_lines(avs_algo_cache *c, char *text)
{
    for (char *line = text, *end; line && *line; line = end) {
        end = strchr(line, '\n');
        if (end) *end++ = 0;
        char *tab = strchr(line, '\t'), *rest = NULL;
        const long choice = tab ? strtol(tab + 1, &rest, 10) : -1;
        if (tab && tab > line && rest != tab + 1 && !*rest && choice >= 0 && choice < MAX_CHOICE)
            remember(c, line, (size_t)(tab - line), (int)choice);
    }
}

avs_algo_cache *avs_algo_cache_open(avs_arena *a, const char *path)
{
    avs_algo_cache *c = AVS_NEW(a, avs_algo_cache);
    if (!c) return NULL;
    c->arena = a;
    c->path = path ? avs_arena_str(a, path) : default_path(a);
    avs_buf b = AVS_BUF_INIT;
    if (c->path && avs_fs_exists(c->path) && avs_fs_read(c->path, MAX_BYTES, &b, NULL) == AVS_OK) {
        char *text = avs_arena_strn(a, avs_buf_cstr(&b), b.len);
        if (text) read_lines(c, text);
    }
    avs_buf_free(&b);
    return c;
}

int avs_algo_cache_find(const avs_algo_cache *c, const char *key)
{
    for (const entry *e = c->first; e; e = e->next)
        if (!strcmp(e->key, key)) return e->choice;
    return -1;
}

void avs_algo_cache_put(avs_algo_cache *c, const char *key, int choice)
{
    char line[640];
    const int n = snprintf(line, sizeof line, "%s\t%d\n", key, choice);
    if (choice < 0 || choice >= MAX_CHOICE || n >= (int)sizeof line || strpbrk(key, "\t\n")) return;
    remember(c, key, strlen(key), choice);
    if (!c->path || avs_fs_mkdirs_for(c->path, NULL) != AVS_OK) return;
    const int fd = open(c->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) return;
    (void)!write(fd, line, (size_t)n);
    (void)close(fd);
}
