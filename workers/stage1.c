/* Masks between the stages. Files are written whole or not at all, so that a run that was killed leaves no half mask. */
#include "workers/stage1.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/hash.h"
#include "base/probe.h"
#include "data/resample_image.h"
#include "workers/sheet.h"

enum { PATH = 4096, CELL = 16 };

static int path_of(char out[PATH], const char *root, const char *split, const avs_clip *c, int frame,
                   avs_err *e)
{
    const int n = snprintf(out, PATH, "%s%s%s%s%s/%s/%d.png", root, split[0] ? "/" : "", split,
                           c->group[0] ? "/" : "", c->group, c->name, frame);
    return n > 0 && n < PATH ? AVS_OK
                             : avs_fail(e, AVS_ERANGE, "the path of a mask below %s is too long", root);
}

static int check_there(const avs_stage1 *s, avs_err *e)
{
    char path[PATH];
    for (int i = 0; i < avs_dataset_count(s->ds); i++) {
        const avs_clip *c = avs_dataset_clip(s->ds, i);
        for (int t = 0; t < c->n_frames; t++) {
            int rc = path_of(path, s->root, s->split, c, t, e);
            if (rc != AVS_OK) return rc;
            if (!avs_fs_exists(path))
                return avs_fail(
                    e, AVS_EMISSING,
                    "stage1_masks: %s is missing (expected SPLIT/GROUP/NAME/FRAME.png below the folder)",
                    path);
        }
    }
    return AVS_OK;
}

int avs_stage1_open(avs_stage1 *s, const avs_cfg *cfg, const avs_dataset *ds, const char *root, avs_err *e)
{
    const avs_dataset_cfg *dc = avs_dataset_config(ds);
    const bool trains = dc->split == AVS_SPLIT_TRAIN;
    char folder[PATH];
    *s = (avs_stage1){.ds = ds,
                      .iou = avs_cfg_num(cfg, "stage1_mask_iou"),
                      .seed = avs_cfg_int(cfg, "stage1_mask_seed"),
                      .h = dc->label_height,
                      .w = dc->label_width};
    if (root || avs_cfg_is(cfg, trains ? "stage1_mask_train" : "stage1_mask_eval", "predicted"))
        s->root = root ? root : avs_cfg_str(cfg, "stage1_masks");
    if (!s->root) return AVS_OK;
    if (!s->root[0])
        return avs_fail(e, AVS_EMISSING,
                        "'stage1_masks' is needed where the masks of stage one are predicted");
    if (!avs_fs_is_dir(s->root))
        return avs_fail(e, AVS_EMISSING, "stage1_masks: there is no folder %s", s->root);
    const int n = snprintf(folder, sizeof folder, "%s/%s", s->root, avs_split_name(dc->split));
    if (n > 0 && n < PATH && avs_fs_is_dir(folder))
        snprintf(s->split, sizeof s->split, "%s", avs_split_name(dc->split));
    return check_there(s, e);
}

int avs_stage1_read(const char *path, int h, int w, float *out, avs_err *e)
{
    avs_image in = AVS_IMAGE_INIT, fit = AVS_IMAGE_INIT;
    int rc = avs_image_read(&in, AVS_PX_GREY, path, e);
    if (rc == AVS_OK && (in.w != w || in.h != h)) {
        rc = avs_resize_bilinear(&fit, &in, w, h, e);
        if (rc != AVS_OK) avs_ctx(e, "%s", path);
    }
    const uint8_t *px = fit.px ? fit.px : in.px;
    for (int64_t i = 0; rc == AVS_OK && i < (int64_t)h * w; i++) out[i] = (float)px[i] / 255.F;
    avs_image_free(&in);
    avs_image_free(&fit);
    return rc;
}

typedef struct {
    double at;
    int cell;
} place;

static int by_value(const void *a, const void *b)
{
    const place *p = a, *q = b;
    return p->at < q->at ? -1 : p->at > q->at ? 1 : p->cell - q->cell;
}

int avs_stage1_corrupt(float *mask, int h, int w, double iou, const char *name, avs_err *e)
{
    const int rows = (h + CELL - 1) / CELL, cols = (w + CELL - 1) / CELL, n = rows * cols;
    const uint64_t hash = avs_fnv1a64_str(name);
    int64_t truth = 0, both, either;
    for (int64_t i = 0; i < (int64_t)h * w; i++) truth += mask[i] > 0.5F;
    if (!truth || iou >= 1) return AVS_OK;
    place *order = avs_xalloc(sizeof *order * (size_t)n);
    if (!order) return avs_fail(e, AVS_ENOMEM, "out of memory for the cells of a mask");
    for (int i = 0; i < n; i++) order[i] = (place){avs_probe_unit(hash, i), i};
    qsort(order, (size_t)n, sizeof *order, by_value);
    both = either = truth;
    for (int i = 0; i < n && (double)both > iou * (double)either; i++) {
        const int y0 = order[i].cell / cols * CELL, x0 = order[i].cell % cols * CELL;
        for (int y = y0; y < y0 + CELL && y < h; y++)
            for (int x = x0; x < x0 + CELL && x < w; x++) {
                float *m = mask + (int64_t)y * w + x;
                const bool was = *m > 0.5F;
                both -= was;
                either += !was;
                *m = was ? 0.F : 1.F;
            }
    }
    avs_xfree(order);
    return AVS_OK;
}

int avs_stage1_load(const avs_stage1 *s, int clip, const avs_pick *pick, float *out, avs_err *e)
{
    const avs_clip *c = avs_dataset_clip(s->ds, clip);
    const int64_t pixels = (int64_t)s->h * s->w;
    char path[PATH];
    avs_pick plain = *pick;
    plain.flip = false; /* cells and files are those of the picture as it is */
    int rc = s->root ? AVS_OK : avs_clip_load(s->ds, clip, &plain, &(avs_clip_out){.target = out}, e);
    for (int r = 0; r < pick->n && rc == AVS_OK; r++) {
        const int t = pick->frames ? pick->frames[r] : r;
        float *m = out + r * pixels;
        if (t >= c->n_frames) {
            memset(m, 0, (size_t)pixels * sizeof(float));
        } else if (s->root) {
            rc = path_of(path, s->root, s->split, c, t, e);
            if (rc == AVS_OK) rc = avs_stage1_read(path, s->h, s->w, m, e);
            if (rc != AVS_OK) avs_ctx(e, "stage1_masks");
        } else {
            snprintf(path, sizeof path, "corrupt.%lld.%s.%d", (long long)s->seed, c->name, t);
            rc = avs_stage1_corrupt(m, s->h, s->w, s->iou, path, e);
        }
        for (int64_t y = 0; pick->flip && y < s->h; y++)
            for (int64_t a = y * s->w, b = a + s->w - 1; a < b; a++, b--) {
                const float v = m[a];
                m[a] = m[b];
                m[b] = v;
            }
    }
    return rc;
}

/* ------------------------------------------------------------------ writing */

typedef struct {
    const avs_evaluator *ev;
    const avs_dataset *ds;
    const char *root;
    uint8_t *px;
} writer;

static int write_row(void *ctx, int clip, int frame, const float *logits, avs_err *e)
{
    const writer *w = ctx;
    const int H = w->ev->net.label_h, W = w->ev->net.label_w;
    char path[PATH];
    int rc = path_of(path, w->root, avs_split_name(avs_dataset_config(w->ds)->split),
                     avs_dataset_clip(w->ds, clip), frame, e);
    if (rc != AVS_OK) return rc;
    avs_label_of_logits(logits, (int64_t)H * W, w->ev->net.classes, w->px);
    for (int64_t i = 0; i < (int64_t)H * W; i++) w->px[i] = w->px[i] ? 255 : 0;
    return avs_png_write(path, &(avs_image){.px = w->px, .w = W, .h = H, .channels = 1}, 6, e);
}

int avs_stage1_write(avs_evaluator *ev, const avs_dataset *ds, const avs_features *features, const char *root,
                     avs_err *e)
{
    avs_scores s;
    writer w = {.ev = ev,
                .ds = ds,
                .root = root,
                .px = avs_xalloc((size_t)ev->net.label_h * (size_t)ev->net.label_w)};
    if (!w.px) return avs_fail(e, AVS_ENOMEM, "out of memory for a mask");
    const int rc = avs_evaluate(ev, ds, features, AVS_SOUND_RIGHT, &s, write_row, &w, e);
    avs_xfree(w.px);
    return rc;
}

/* ------------------------------------------------------------------ index */

typedef struct {
    avs_arena *arena;
    char **path;
    size_t n, cap;
} listing;

static int list_below(listing *l, const char *root, const char *below, avs_err *e)
{
    const char *full = avs_arena_fmt(l->arena, "%s%s%s", root, below[0] ? "/" : "", below);
    DIR *d = full ? opendir(full) : NULL;
    int rc = AVS_OK;
    if (!d) return avs_fail(e, AVS_EIO, "the folder of masks %s cannot be read", root);
    for (struct dirent *f; rc == AVS_OK && (f = readdir(d));) {
        if (f->d_name[0] == '.') continue;
        char *path = avs_arena_fmt(l->arena, "%s%s%s", below, below[0] ? "/" : "", f->d_name);
        const char *whole = path ? avs_arena_fmt(l->arena, "%s/%s", root, path) : NULL;
        if (!path || !whole) {
            rc = avs_fail(e, AVS_ENOMEM, "out of memory for the list of masks");
        } else if (avs_fs_is_dir(whole)) {
            rc = list_below(l, root, path, e);
        } else if (strlen(path) > 4 && !strcmp(path + strlen(path) - 4, ".png")) {
            if (!l->path || l->n == l->cap) {
                l->cap = l->cap ? 2 * l->cap : 1024;
                char **more = avs_xrealloc(l->path, l->cap * sizeof *more);
                if (!more) {
                    rc = avs_fail(e, AVS_ENOMEM, "out of memory for the list of masks");
                    break;
                }
                l->path = more;
            }
            l->path[l->n++] = path;
        }
    }
    closedir(d);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_files(const listing *l, const char *root, avs_sha256 *h, int64_t *bytes, avs_err *e)
{
    avs_buf text = AVS_BUF_INIT;
    char path[PATH];
    int rc = AVS_OK;
    for (size_t i = 0; i < l->n; i++) avs_buf_fmt(&text, "%s\n", l->path[i]);
    avs_sha256_put(h, avs_buf_cstr(&text), text.len);
    *bytes = (int64_t)text.len;
    snprintf(path, sizeof path, "%s/index.txt", root);
    rc = avs_fs_write_atomic(path, avs_buf_cstr(&text), text.len, e);
    for (size_t i = 0; i < l->n && rc == AVS_OK; i++) {
        avs_map m = {0};
        snprintf(path, sizeof path, "%s/%s", root, l->path[i]);
        rc = avs_map_open(&m, path, e);
        if (rc == AVS_OK) {
            avs_sha256_put(h, m.data, m.len);
            *bytes += (int64_t)m.len;
        }
        avs_map_close(&m);
    }
    avs_buf_free(&text);
    return rc;
}

int avs_stage1_index(const char *root, int64_t *bytes, uint8_t sha256[32], avs_err *e)
{
    listing l = {.arena = avs_arena_new()};
    avs_sha256 h;
    int rc = l.arena ? list_below(&l, root, "", e)
                     : avs_fail(e, AVS_ENOMEM, "out of memory for the list of masks");
    if (rc == AVS_OK && l.n) qsort(l.path, l.n, sizeof *l.path, by_name);
    avs_sha256_init(&h);
    if (rc == AVS_OK) rc = add_files(&l, root, &h, bytes, e);
    avs_sha256_end(&h, sha256);
    free(l.path);
    avs_arena_free(l.arena);
    return rc;
}
