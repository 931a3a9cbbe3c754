/* Opening a split, checking it, and keeping its decoded clips in memory. */
#include "data/dataset.h"

#include "base/fs.h"
#include "data/layout.h"
#include "data/parallel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const task_names[] = {"s4", "ms3", "avss"};
static const char *const split_names[] = {"train", "val", "test"};

const char *avs_task_name(avs_task t)
{
    return task_names[t];
}
const char *avs_split_name(avs_split s)
{
    return split_names[s];
}
int avs_task_frames(avs_task t)
{
    return t == AVS_TASK_AVSS ? 10 : 5;
}

int avs_task_parse(const char *name, avs_task *t, avs_err *e)
{
    for (int i = 0; i < 3; i++)
        if (strcmp(name, task_names[i]) == 0) {
            *t = (avs_task)i;
            return AVS_OK;
        }
    return avs_fail(e, AVS_ERANGE, "expected task s4, ms3 or avss, found \"%s\"", name);
}

int avs_split_parse(const char *name, avs_split *s, avs_err *e)
{
    for (int i = 0; i < 3; i++)
        if (strcmp(name, split_names[i]) == 0) {
            *s = (avs_split)i;
            return AVS_OK;
        }
    return avs_fail(e, AVS_ERANGE, "expected split train, val or test, found \"%s\"", name);
}

int avs_layout_add(avs_dataset *ds, avs_clip_record **rec, avs_err *e)
{
    if (ds->n == ds->cap) {
        const int cap = ds->cap ? 2 * ds->cap : 256;
        avs_clip_record *grown = avs_xrealloc(ds->clips, sizeof *grown * (size_t)cap);
        if (!grown) return avs_fail(e, AVS_ENOMEM, "no memory for %d clips", cap);
        ds->clips = grown;
        ds->cap = cap;
    }
    *rec = &ds->clips[ds->n++];
    memset(*rec, 0, sizeof **rec);
    return AVS_OK;
}

int avs_layout_name(const char *what, int line, const char *column, const char *name, avs_err *e)
{
    if (name[0] == '\0' || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return avs_fail(e, AVS_EPARSE, "%s:%d: the %s \"%s\" cannot be part of a path", what, line, column,
                        name);
    return AVS_OK;
}

int avs_layout_col(const char *what, int found, const char *name, int *col, avs_err *e)
{
    *col = found;
    if (found < 0) return avs_fail(e, AVS_EMISSING, "%s:1: the header has no column \"%s\"", what, name);
    return AVS_OK;
}

int avs_layout_path(const avs_dataset *ds, const avs_clip_record *c, avs_part part, int k,
                    char buf[AVS_PATH_MAX], avs_err *e)
{
    const int n = snprintf(buf, AVS_PATH_MAX, "%s/", ds->cfg.root);
    if (n < 0 || n >= AVS_PATH_MAX || !ds->layout->path(c, part, k, buf + n, (size_t)(AVS_PATH_MAX - n)))
        return avs_fail(e, AVS_ERANGE, "the path of clip %s is longer than %d bytes", c->pub.name,
                        AVS_PATH_MAX);
    return AVS_OK;
}

static int check_files(const avs_dataset *ds, const char *meta, avs_err *e)
{
    static const struct {
        avs_part part;
        const char *word;
    } parts[3] = {{AVS_PART_FRAME, "first frame"}, {AVS_PART_LABEL, "first mask"}, {AVS_PART_SOUND, "sound"}};
    char path[AVS_PATH_MAX];
    for (int i = 0; i < ds->n; i++)
        for (int p = 0; p < 3; p++) {
            const avs_clip_record *c = &ds->clips[i];
            int rc = avs_layout_path(ds, c, parts[p].part, 0, path, e);
            if (rc != AVS_OK) return rc;
            if (!avs_fs_exists(path))
                return avs_fail(e, AVS_EMISSING, "%s:%d: clip %s has no %s: there is no %s", meta,
                                c->pub.line, c->pub.name, parts[p].word, path);
        }
    return AVS_OK;
}

static int check_config(const avs_dataset_cfg *cfg, avs_err *e)
{
    if (!cfg->root || !cfg->root[0]) return avs_fail(e, AVS_EMISSING, "data_root is not set");
    if (cfg->height < 1 || cfg->width < 1 || cfg->height > 4096 || cfg->width > 4096)
        return avs_fail(e, AVS_ERANGE, "the view is %d x %d, expected 1..4096 on both sides", cfg->height,
                        cfg->width);
    if (cfg->label_height < 0 || cfg->label_width < 0 || cfg->label_height > 4096 || cfg->label_width > 4096)
        return avs_fail(e, AVS_ERANGE, "labels of %d x %d, expected at most 4096 on both sides",
                        cfg->label_height, cfg->label_width);
    if (cfg->task == AVS_TASK_AVSS && cfg->split == AVS_SPLIT_TRAIN && !cfg->stretch &&
        cfg->height != cfg->width)
        return avs_fail(e, AVS_ERANGE, "AVSS training crops squares, not %d x %d", cfg->height, cfg->width);
    return AVS_OK;
}

int avs_dataset_open(avs_dataset **out, const avs_dataset_cfg *cfg, avs_err *e)
{
    static const avs_layout *const layouts[] = {&avs_layout_s4, &avs_layout_ms3, &avs_layout_avss};
    static const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};
    char meta[AVS_PATH_MAX];
    avs_dataset *ds = NULL;
    int rc;
    *out = NULL;
    AVS_TRY(check_config(cfg, e));
    avs_arena *a = avs_arena_new();
    ds = avs_xalloc(sizeof *ds);
    if (!a || !ds) {
        avs_arena_free(a);
        rc = avs_fail(e, AVS_ENOMEM, "no memory for a data set");
        goto out;
    }
    ds->arena = a;
    ds->cfg = *cfg;
    if (!cfg->label_height || !cfg->label_width) {
        ds->cfg.label_height = cfg->height;
        ds->cfg.label_width = cfg->width;
    }
    ds->layout = layouts[cfg->task];
    ds->cfg.root = avs_arena_str(a, cfg->root);
    const bool unset = cfg->std[0] == 0 && cfg->std[1] == 0 && cfg->std[2] == 0;
    if (unset) {
        memcpy(ds->cfg.mean, mean, sizeof mean);
        memcpy(ds->cfg.std, std, sizeof std);
    }
    if (!ds->cfg.root) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for a data set");
        goto out;
    }
    const int n = snprintf(meta, sizeof meta, "%s/%s", cfg->root, ds->layout->meta);
    if (n < 0 || n >= (int)sizeof meta) {
        rc = avs_fail(e, AVS_ERANGE, "data_root is longer than %zu bytes", sizeof meta);
        goto out;
    }
    if (!avs_fs_exists(meta)) {
        rc = avs_fail(e, AVS_EMISSING, "%s: there is no %s data here: expected the file %s", cfg->root,
                      avs_task_name(cfg->task), ds->layout->meta);
        goto out;
    }
    AVS_TRY(ds->layout->list(ds, meta, e));
    if (ds->n == 0) {
        rc = avs_fail(e, AVS_EMISSING, "%s: no clip of the split %s", meta, avs_split_name(cfg->split));
        goto out;
    }
    AVS_TRY(check_files(ds, meta, e));
    *out = ds;
    ds = NULL;
out:
    avs_dataset_close(ds);
    return rc;
}

static void free_cache(avs_clip_cache *c)
{
    free(c->frames);
    free(c->labels);
    free(c->logmel);
    *c = (avs_clip_cache){0};
}

void avs_dataset_close(avs_dataset *ds)
{
    if (!ds) return;
    for (int i = 0; i < ds->n; i++) free_cache(&ds->clips[i].cache);
    free(ds->clips);
    avs_arena_free(ds->arena);
    avs_xfree(ds);
}

int avs_dataset_count(const avs_dataset *ds)
{
    return ds->n;
}
const avs_clip *avs_dataset_clip(const avs_dataset *ds, int i)
{
    return &ds->clips[i].pub;
}
const avs_dataset_cfg *avs_dataset_config(const avs_dataset *ds)
{
    return &ds->cfg;
}
int avs_dataset_preloaded(const avs_dataset *ds)
{
    return ds->n_preloaded;
}

static size_t cache_bytes(const avs_dataset *ds, const avs_clip_record *c)
{
    const size_t pixels = (size_t)ds->cfg.height * (size_t)ds->cfg.width;
    const size_t label = (size_t)ds->cfg.label_height * (size_t)ds->cfg.label_width;
    return pixels * (size_t)c->pub.n_frames * 3 + label * (size_t)c->n_labels +
           sizeof(float) * AVS_MEL_EXAMPLE * (size_t)c->pub.T;
}

/* Fills *to; on failure it holds nothing. */
static int decode_clip(const avs_dataset *ds, int i, avs_clip_cache *to, int64_t *odd, avs_err *e)
{
    const avs_clip_record *c = &ds->clips[i];
    const size_t pixels = (size_t)ds->cfg.height * (size_t)ds->cfg.width,
                 label = (size_t)ds->cfg.label_height * (size_t)ds->cfg.label_width;
    avs_clip_cache k = {
        .frames = avs_xrealloc(NULL, pixels * 3 * (size_t)c->pub.n_frames),
        .labels = avs_xrealloc(NULL, label * (size_t)c->n_labels),
        .logmel = avs_xrealloc(NULL, sizeof(float) * AVS_MEL_EXAMPLE * (size_t)c->pub.T),
    };
    int rc = AVS_OK;
    if (!k.frames || !k.labels || !k.logmel)
        rc = avs_fail(e, AVS_ENOMEM, "no memory for clip %s", c->pub.name);
    for (int t = 0; t < c->pub.n_frames && rc == AVS_OK; t++)
        rc = avs_clip_read_frame(ds, i, t, k.frames + pixels * 3 * (size_t)t, e);
    for (int t = 0; t < c->n_labels && rc == AVS_OK; t++)
        rc = avs_clip_read_label(ds, i, t, k.labels + label * (size_t)t, odd, e);
    if (rc == AVS_OK) rc = avs_clip_read_logmel(ds, i, c->pub.T, k.logmel, e);
    if (rc == AVS_OK)
        *to = k;
    else
        free_cache(&k);
    return rc;
}

static int preload_job(void *ctx, int64_t job, int worker, avs_err *e)
{
    avs_dataset *ds = ctx;
    int64_t odd = 0;
    (void)worker;
    if (ds->clips[job].cache.frames) return AVS_OK;
    return decode_clip(ds, (int)job, &ds->clips[job].cache, &odd, e);
}

int avs_dataset_preload(avs_dataset *ds, int n_threads, size_t max_bytes, avs_err *e)
{
    size_t used = 0;
    int n = 0;
    for (; n < ds->n; n++) {
        used += cache_bytes(ds, &ds->clips[n]);
        if (max_bytes && used > max_bytes) break;
    }
    int rc = avs_parallel(n, n_threads, preload_job, ds, e);
    if (rc == AVS_OK && n > ds->n_preloaded) ds->n_preloaded = n;
    return rc;
}

typedef struct {
    const avs_dataset *ds;
    int64_t *odd; /* [clips] */
} check_ctx;

static int check_job(void *ctx, int64_t job, int worker, avs_err *e)
{
    check_ctx *c = ctx;
    avs_clip_cache k = {0};
    (void)worker;
    int rc = decode_clip(c->ds, (int)job, &k, &c->odd[job], e);
    free_cache(&k);
    return rc;
}

int avs_dataset_check(const avs_dataset *ds, int n_threads, int64_t *odd_masks, avs_err *e)
{
    check_ctx c = {ds, avs_xalloc(sizeof(int64_t) * (size_t)ds->n)};
    if (!c.odd) return avs_fail(e, AVS_ENOMEM, "no memory to check %d clips", ds->n);
    int rc = avs_parallel(ds->n, n_threads, check_job, &c, e);
    if (odd_masks) {
        *odd_masks = 0;
        for (int i = 0; i < ds->n; i++) *odd_masks += c.odd[i];
    }
    avs_xfree(c.odd);
    return rc;
}
