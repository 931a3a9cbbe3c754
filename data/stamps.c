/* The sources of a composition: cut-outs with recordings, found by name in a tree of folders, and background photographs. */
#include "data/composer.h"

#include "base/fs.h"
#include "data/resample_audio.h"
#include "data/resample_image.h"
#include "data/wav.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_LEN = 4096, MAX_DEPTH = 16 };

#define DEFAULT_STAMPS "/usr/share/tuxpaint/stamps"

/* A growing list of strings of an arena. */
typedef struct {
    avs_arena *arena;
    avs_buf list; /* const char * */
} strings;

static const char **item(const strings *l)
{
    return (const char **)(void *)l->list.data;
}
static int count(const strings *l)
{
    return (int)(l->list.len / sizeof(char *));
}

static int add(strings *l, const char *s, avs_err *e)
{
    const char *copy = avs_arena_str(l->arena, s);
    avs_buf_put(&l->list, &copy, sizeof copy);
    return copy && avs_buf_ok(&l->list) ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for file names");
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sort(strings *l)
{
    if (count(l)) qsort(item(l), (size_t)count(l), sizeof(char *), by_bytes);
}

/* All files of the folder, and below it when deep. */
static int list_files(strings *l, const char *folder, bool deep, int depth, avs_err *e)
{
    char path[PATH_LEN];
    DIR *d = opendir(folder);
    if (!d) return avs_fail(e, AVS_EMISSING, "%s: cannot list the folder: %s", folder, strerror(errno));
    int rc = AVS_OK;
    for (struct dirent *f; rc == AVS_OK && (f = readdir(d));) {
        if (f->d_name[0] == '.') continue;
        const int n = snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
        if (n < 0 || n >= (int)sizeof path)
            rc = avs_fail(e, AVS_ERANGE, "%s: a path is longer than %d bytes", folder, PATH_LEN);
        else if (!avs_fs_is_dir(path))
            rc = add(l, path, e);
        else if (deep && depth < MAX_DEPTH)
            rc = list_files(l, path, deep, depth + 1, e);
    }
    closedir(d);
    return rc;
}

static bool ends_with(const char *s, const char *tail)
{
    const size_t n = strlen(s), m = strlen(tail);
    return n > m && strcasecmp(s + n - m, tail) == 0;
}

/* Name without folder and ending into buf. */
static void stem_of(const char *path, char *buf, size_t n)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    snprintf(buf, n, "%s", base);
    char *dot = strrchr(buf, '.');
    if (dot) *dot = '\0';
}

/* The sound of the same stem beside STEM.png into *out, or NULL. */
static int sound_beside(const char **out, avs_arena *a, const char *png, avs_err *e)
{
    static const char *const ending[] = {"ogg", "wav", "flac"};
    *out = NULL;
    for (int i = 0; i < 3 && !*out; i++) {
        char path[PATH_LEN];
        snprintf(path, sizeof path, "%.*s%s", (int)(strlen(png) - 3), png, ending[i]);
        if (!avs_fs_exists(path)) continue;
        *out = avs_arena_str(a, path);
        if (!*out) return avs_fail(e, AVS_ENOMEM, "no memory for file names");
    }
    return AVS_OK;
}

static int find_pairs(avs_stamp **out, int *n, avs_arena *a, const char *root, avs_err *e)
{
    strings files = {.arena = a};
    char stem[256];
    int rc;
    *n = 0;
    *out = NULL;
    AVS_TRY(list_files(&files, root, true, 0, e));
    sort(&files);
    avs_stamp *s = AVS_NEW_N(a, avs_stamp, count(&files) + 1);
    if (!s) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for %d files", count(&files));
        goto out;
    }
    for (int i = 0; i < count(&files); i++) {
        const char *png = item(&files)[i];
        if (!ends_with(png, ".png")) continue;
        const char *sound;
        AVS_TRY(sound_beside(&sound, a, png, e));
        stem_of(png, stem, sizeof stem);
        bool ok = sound != NULL && stem[0];
        for (const char *c = stem; ok && *c; c++) ok = isalnum((unsigned char)*c) || strchr("_-.", *c);
        for (int k = 0; ok && k < *n; k++)
            ok = strcmp(s[k].name, stem) != 0; /* the first in path order counts */
        if (!ok) continue;
        s[*n] = (avs_stamp){
            .name = avs_arena_str(a, stem), .png = png, .sound = sound, .avss = avs_avss_class_of(stem)};
        if (!s[(*n)++].name) {
            rc = avs_fail(e, AVS_ENOMEM, "no memory for names");
            goto out;
        }
    }
    *out = s;
out:
    avs_buf_free(&files.list);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const avs_stamp *)a)->name, ((const avs_stamp *)b)->name);
}

static const avs_stamp *find_name(const avs_stamp *s, int n, const char *name)
{
    for (int i = 0; s && i < n; i++)
        if (strcmp(s[i].name, name) == 0) return &s[i];
    return NULL;
}

static int read_list(strings *l, const char *path, avs_err *e)
{
    avs_buf text = AVS_BUF_INIT;
    int rc = avs_fs_read(path, 1 << 20, &text, e);
    char *save = NULL;
    for (char *line = rc == AVS_OK && text.data ? strtok_r(text.data, "\n", &save) : NULL;
         line && rc == AVS_OK; line = strtok_r(NULL, "\n", &save)) {
        line[strcspn(line, "#\r")] = '\0';
        char *word = line + strspn(line, " \t");
        word[strcspn(word, " \t")] = '\0';
        if (word[0]) rc = add(l, word, e);
    }
    avs_buf_free(&text);
    return rc;
}

/* The wanted names in order: the given list, else the built-in one if the folder holds its first n, else none (all found,
 * sorted). */
static int wanted_names(strings *l, const avs_stamp *found, int n_found, const char *list, int n,
                        bool is_default, avs_err *e)
{
    if (list) return read_list(l, list, e);
    int built_in = 0;
    while (avs_stamp_list[built_in]) built_in++;
    bool all = n <= built_in;
    for (int i = 0; all && i < n; i++) all = find_name(found, n_found, avs_stamp_list[i]) != NULL;
    if (!all && !is_default) return AVS_OK;
    int rc = AVS_OK;
    for (int i = 0; i < built_in && rc == AVS_OK; i++) rc = add(l, avs_stamp_list[i], e);
    return rc;
}

int avs_stamps_find(avs_stamp **out, avs_arena *a, const char *root, const char *list, int n, avs_err *e)
{
    strings names = {.arena = a};
    avs_stamp *found = NULL, *chosen;
    int n_found = 0, rc;
    const bool is_default = root == NULL;
    if (is_default) root = DEFAULT_STAMPS;
    if (!avs_fs_is_dir(root))
        return avs_fail(e, AVS_EMISSING, "%s: no such folder of cut-outs%s", root,
                        is_default ? ": install the package tuxpaint-stamps-default or name another folder"
                                   : "");
    AVS_TRY(find_pairs(&found, &n_found, a, root, e));
    AVS_TRY(wanted_names(&names, found, n_found, list, n, is_default, e));
    if (count(&names) == 0 && found) { /* every stem, sorted by name */
        qsort(found, (size_t)n_found, sizeof *found, by_name);
        for (int i = 0; i < n_found; i++) AVS_TRY(add(&names, found[i].name, e));
    }
    if (count(&names) < n) {
        rc = avs_fail(e, AVS_EMISSING,
                      "%s: %d classes are wanted, %d cut-outs with a sound (STEM.png and STEM.ogg, .wav or "
                      ".flac) are there",
                      list ? list : root, n, count(&names));
        goto out;
    }
    chosen = AVS_NEW_N(a, avs_stamp, n);
    if (!chosen) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for %d classes", n);
        goto out;
    }
    for (int i = 0; i < n; i++) {
        const avs_stamp *s = find_name(found, n_found, item(&names)[i]);
        if (!s) {
            rc = avs_fail(e, AVS_EMISSING, "%s: there is no %s.png with a sound beside it", root,
                          item(&names)[i]);
            goto out;
        }
        chosen[i] = *s;
    }
    *out = chosen;
out:
    avs_buf_free(&names.list);
    return rc;
}

int avs_stamp_crop(avs_image *out, const avs_image *rgba, avs_err *e)
{
    int32_t x0 = rgba->w, y0 = rgba->h, x1 = -1, y1 = -1;
    for (int32_t y = 0; y < rgba->h; y++)
        for (int32_t x = 0; x < rgba->w; x++) {
            if (rgba->px[((int64_t)y * rgba->w + x) * 4 + 3] <= 127) continue;
            x0 = x < x0 ? x : x0;
            x1 = x > x1 ? x : x1;
            y0 = y < y0 ? y : y0;
            y1 = y > y1 ? y : y1;
        }
    *out = AVS_IMAGE_INIT;
    if (x1 < 0) return avs_fail(e, AVS_ERANGE, "the cut-out has no pixel with alpha above 127");
    int rc = avs_image_alloc(out, x1 - x0 + 1, y1 - y0 + 1, 4, e);
    for (int32_t y = y0; rc == AVS_OK && y <= y1; y++)
        memcpy(out->px + (int64_t)(y - y0) * out->w * 4, rgba->px + ((int64_t)y * rgba->w + x0) * 4,
               (size_t)out->w * 4);
    return rc;
}

static double rms(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return n ? sqrt(sum / (double)n) : 0;
}

int avs_stamp_ring(const double *x, int64_t n, double **ring, int64_t *ring_n, avs_err *e)
{
    enum { WINDOW = 800 }; /* 50 ms at 16 kHz */
    const int64_t windows = (n + WINDOW - 1) / WINDOW;
    double *level = avs_xalloc(sizeof(double) * (size_t)(windows + 2)),
           *y = avs_xrealloc(NULL, sizeof(double) * (size_t)(n + 1));
    double top = 0;
    *ring = NULL;
    if (!level || !y) {
        avs_xfree(level);
        free(y);
        return avs_fail(e, AVS_ENOMEM, "no memory for %lld samples", (long long)n);
    }
    for (int64_t k = 0; k < windows; k++) { /* level[0] and the last one stay 0: no neighbour */
        const int64_t left = n - k * WINDOW;
        level[k + 1] = rms(x + k * WINDOW, left < WINDOW ? left : WINDOW);
        top = fmax(top, level[k + 1]);
    }
    int64_t m = 0;
    for (int64_t k = 0; k < windows; k++) {
        const double cut = 0.1 * top;
        if (level[k + 1] < cut && level[k] < cut && level[k + 2] < cut) continue;
        const int64_t left = n - k * WINDOW, take = left < WINDOW ? left : WINDOW;
        memcpy(y + m, x + k * WINDOW, sizeof(double) * (size_t)take);
        m += take;
    }
    avs_xfree(level);
    const double r = rms(y, m);
    if (m == 0 || r < 1e-6) {
        free(y);
        return avs_fail(e, AVS_ERANGE, "the recording is silent");
    }
    for (int64_t i = 0; i < m; i++) y[i] *= 0.1 / r;
    *ring = y;
    *ring_n = m;
    return AVS_OK;
}

int avs_stamp_load(avs_stamp *s, avs_err *e)
{
    avs_image im = AVS_IMAGE_INIT;
    avs_sound sound = {0};
    double *x = NULL;
    int rc;
    AVS_TRY(avs_image_read(&im, AVS_PX_RGBA, s->png, e));
    if ((rc = avs_stamp_crop(&s->cut, &im, e)) != AVS_OK) {
        avs_ctx(e, "%s", s->png);
        goto out;
    }
    AVS_TRY(avs_sound_read(&sound, s->sound, e));
    const int64_t n = avs_resample_length(AVS_RESAMPY_043, sound.n, sound.rate, AVS_SCENE_RATE);
    x = avs_xrealloc(NULL, sizeof(double) * (size_t)(n + 1));
    if (!x) {
        rc = avs_fail(e, AVS_ENOMEM, "%s: no memory for %lld samples", s->sound, (long long)n);
        goto out;
    }
    rc = avs_resample(AVS_RESAMPY_043, sound.x, sound.n, sound.rate, AVS_SCENE_RATE, x, e);
    if (rc == AVS_OK) rc = avs_stamp_ring(x, n, &s->ring, &s->ring_n, e);
    if (rc != AVS_OK) avs_ctx(e, "%s", s->sound);
out:
    free(x);
    avs_sound_free(&sound);
    avs_image_free(&im);
    return rc;
}

void avs_stamp_unload(avs_stamp *s)
{
    avs_image_free(&s->cut);
    free(s->ring);
    s->ring = NULL;
}

/* The photographs of the demo recipe, sorted inside each package. */
static const char *const lomiri[] = {
    "Bridge_by_Sander_Klootwijk.jpg",
    "Dragonfly_by_Bolly.jpg",
    "Picture_0B_by_freespace.jpg",
    "Picture_1A_by_freespace.jpg",
    "Wine_by_Jakkub_Mede.jpg",
    "aitzgorri_by_Aitzol_Berasategi.jpg",
    "greentock_by_Peter_Nerlich.jpg",
    "life_by_Aitzol_Berasategi.jpg",
    "picosdeeuropa_by_Aitzol_Berasategi.jpg",
    "seeding_by_Clements_Engelhardt.jpg",
    "sunset_by_Aitzol_Berasategi.jpg",
};
static const char *const mate[] = {
    "Aqua.jpg",     "Blinds.jpg",    "Dune.jpg",  "FreshFlower.jpg", "Garden.jpg", "GreenMeadow.jpg",
    "LadyBird.jpg", "RainDrops.jpg", "Storm.jpg", "TwoWings.jpg",    "Wood.jpg",   "YellowFlower.jpg",
};

static int add_known(strings *l, const char *folder, const char *const *names, size_t n, const char *package,
                     avs_err *e)
{
    char path[PATH_LEN];
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (!avs_fs_exists(path))
            return avs_fail(e, AVS_EMISSING,
                            "%s is missing: install the package %s or name folders of backgrounds", path,
                            package);
        int rc = add(l, path, e);
        if (rc != AVS_OK) return rc;
    }
    return AVS_OK;
}

static int add_folder(strings *l, const char *folder, avs_err *e)
{
    strings files = {.arena = l->arena};
    int rc = list_files(&files, folder, false, 0, e);
    sort(&files);
    for (int i = 0; rc == AVS_OK && i < count(&files); i++) {
        const char *f = item(&files)[i];
        if (ends_with(f, ".jpg") || ends_with(f, ".jpeg") || ends_with(f, ".png")) rc = add(l, f, e);
    }
    avs_buf_free(&files.list);
    return rc;
}

int avs_backgrounds_find(const char ***paths, int *n, avs_arena *a, const char *const *folders, int n_folders,
                         avs_err *e)
{
    strings l = {.arena = a};
    int rc = AVS_OK;
    if (n_folders == 0) {
        AVS_TRY(add_known(&l, "/usr/share/backgrounds", lomiri, sizeof lomiri / sizeof *lomiri,
                          "lomiri-wallpapers-16.04", e));
        AVS_TRY(add_known(&l, "/usr/share/backgrounds/mate/nature", mate, sizeof mate / sizeof *mate,
                          "mate-backgrounds", e));
    }
    for (int i = 0; i < n_folders; i++) AVS_TRY(add_folder(&l, folders[i], e));
    *n = count(&l);
    *paths = avs_arena_dup(a, l.list.data ? (const void *)l.list.data : "", l.list.len);
    if (!*paths) rc = avs_fail(e, AVS_ENOMEM, "no memory for file names");
out:
    avs_buf_free(&l.list);
    return rc;
}

int avs_background_load(avs_image *out, const char *path, int limit, avs_err *e)
{
    avs_buf file = AVS_BUF_INIT;
    avs_image im = AVS_IMAGE_INIT;
    int rc;
    *out = AVS_IMAGE_INIT;
    AVS_TRY(avs_fs_read(path, 256u << 20, &file, e));
    if (file.len >= 2 && (uint8_t)file.data[0] == 0xFF) {
        int32_t w, h;
        int shrink = 1;
        AVS_TRY(avs_jpeg_size(&w, &h, path, file.data, file.len, e));
        while (shrink < 8 && (w < h ? w : h) / (shrink * 2) >= limit) shrink *= 2;
        AVS_TRY(avs_jpeg_decode(&im, AVS_PX_RGB, shrink, path, file.data, file.len, e));
    } else {
        AVS_TRY(avs_image_read(&im, AVS_PX_RGB, path, e));
    }
    const int32_t side = im.w < im.h ? im.w : im.h;
    if (side <= limit) {
        *out = im;
        im = AVS_IMAGE_INIT;
        goto out;
    }
    AVS_TRY(avs_resize_bilinear(out, &im, (int64_t)im.w * limit / side, (int64_t)im.h * limit / side, e));
out:
    avs_image_free(&im);
    avs_buf_free(&file);
    return rc;
}
