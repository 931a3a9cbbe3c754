/* The composer's outside: reads the sources once, composes the clips of each setting on a few threads, writes the tables. */
#include "data/compose.h"

#include "base/fs.h"
#include "data/composer.h"
#include "data/dataset.h"
#include "data/parallel.h"

#include <stdio.h>
#include <string.h>

static const struct {
    int bit;
    const char *name, *meta;
} settings[3] = {
    {AVS_COMPOSE_S4, "s4", "Single-source/s4_meta_data.csv"},
    {AVS_COMPOSE_MS3, "ms3", "Multi-sources/ms3_meta_data.csv"},
    {AVS_COMPOSE_AVSS, "avss", "metadata.csv"},
};

avs_compose_cfg avs_compose_demo(void)
{
    return (avs_compose_cfg){.settings = AVS_COMPOSE_MS3,
                             .n_classes = 16,
                             .size = 96,
                             .n_clips = {800, 128, 128},
                             .seed = 1,
                             .n_threads = avs_cpu_count()};
}

int avs_compose_settings_parse(const char *text, unsigned *bits, avs_err *e)
{
    *bits = 0;
    for (const char *p = text; *p;) {
        const size_t n = strcspn(p, ",");
        int k = 0;
        while (k < 3 && (strlen(settings[k].name) != n || memcmp(settings[k].name, p, n) != 0)) k++;
        if (k == 3)
            return avs_fail(e, AVS_ERANGE, "expected settings out of s4,ms3,avss, found \"%.*s\"", (int)n, p);
        *bits |= (unsigned)settings[k].bit;
        p += n;
        if (*p == ',') p++;
    }
    return *bits ? AVS_OK : avs_fail(e, AVS_ERANGE, "expected settings out of s4,ms3,avss, found none");
}

static int check_config(const avs_compose_cfg *c, avs_err *e)
{
    char path[4096];
    if (!c->out || !c->out[0]) return avs_fail(e, AVS_EMISSING, "no folder for the composed data was given");
    if (!(c->settings & 7)) return avs_fail(e, AVS_ERANGE, "no setting to compose");
    if (c->n_classes < AVS_SCENE_OBJECTS || c->n_classes > AVS_COMPOSE_MAX_CLASSES)
        return avs_fail(e, AVS_ERANGE, "%d classes, expected %d..%d", c->n_classes, AVS_SCENE_OBJECTS,
                        AVS_COMPOSE_MAX_CLASSES);
    if (c->size < 16 || c->size > 512) return avs_fail(e, AVS_ERANGE, "size %d, expected 16..512", c->size);
    for (int s = 0; s < 3; s++)
        if (c->n_clips[s] < 0 || c->n_clips[s] > 99999)
            return avs_fail(e, AVS_ERANGE, "%d clips in a split, expected 0..99999", c->n_clips[s]);
    for (int k = 0; k < 3; k++) {
        if (!(c->settings & (unsigned)settings[k].bit) || c->replace) continue;
        const int n = snprintf(path, sizeof path, "%s/%s", c->out, settings[k].meta);
        if (n < 0 || n >= (int)sizeof path) return avs_fail(e, AVS_ERANGE, "the folder's name is too long");
        if (avs_fs_exists(path))
            return avs_fail(e, AVS_ERANGE, "%s is already there: choose another folder or replace it", path);
    }
    return AVS_OK;
}

typedef struct {
    const avs_compose_cfg *cfg;
    avs_stamp *stamps;
    avs_image *backgrounds;
    const char **paths;
    int n_backgrounds;
} loading;

/* Jobs 0 .. classes-1 are cut-outs, the rest photographs. */
static int load_job(void *ctx, int64_t job, int worker, avs_err *e)
{
    loading *l = ctx;
    (void)worker;
    if (job < l->cfg->n_classes) return avs_stamp_load(&l->stamps[job], e);
    const int64_t b = job - l->cfg->n_classes;
    return avs_background_load(&l->backgrounds[b], l->paths[b], 3 * l->cfg->size, e);
}

/* Every split that is wanted has a background of its own. */
static int check_backgrounds(const avs_compose_cfg *c, int n, avs_err *e)
{
    static const int first[3] = {1, 4, 5};
    for (int s = 0; s < 3; s++)
        if (c->n_clips[s] > 0 && n < first[s])
            return avs_fail(
                e, AVS_EMISSING,
                "%d backgrounds: the split %s needs at least %d (index mod 5: 3 val, 4 test, else train)", n,
                avs_split_name((avs_split)s), first[s]);
    return AVS_OK;
}

static void fill_pools(avs_sources *src)
{
    const int n = src->cfg->n_classes;
    for (int i = 0; i < n; i++) {
        src->pool[src->n_pool++] = i;
        bool is_new = src->stamps[i].avss > 0;
        for (int j = 0; j < i && is_new; j++) is_new = src->stamps[j].avss != src->stamps[i].avss;
        if (is_new) src->avss_pool[src->n_avss_pool++] = i;
    }
}

typedef struct {
    const avs_sources *src;
    avs_composed *clips;
} composing;

static int clip_job(void *ctx, int64_t job, int worker, avs_err *e)
{
    const composing *c = ctx;
    (void)worker;
    return avs_compose_clip(c->src, &c->clips[job], e);
}

static int compose_setting(const avs_sources *src, int k, avs_arena *a, avs_compose_info *info,
                           bool want_shares, avs_err *e)
{
    const avs_compose_cfg *cfg = src->cfg;
    const int total = cfg->n_clips[0] + cfg->n_clips[1] + cfg->n_clips[2];
    const int64_t begin = avs_now_ns();
    avs_composed *clips = AVS_NEW_N(a, avs_composed, total + 1);
    if (!clips) return avs_fail(e, AVS_ENOMEM, "no memory for %d clips", total);
    for (int split = 0, i = 0; split < 3; split++)
        for (int n = 0; n < cfg->n_clips[split]; n++)
            clips[i++] = (avs_composed){.setting = settings[k].bit, .split = split, .number = n};
    int rc = avs_parallel(total, cfg->n_threads, clip_job, &(composing){src, clips}, e);
    if (rc == AVS_OK) rc = avs_compose_meta(src, settings[k].bit, clips, total, e);
    if (rc != AVS_OK) {
        (void)avs_ctx(e, "composing %s", settings[k].name);
        return rc;
    }
    int64_t mask = 0, objects = 0, pixels = 0, empty = 0, frames = 0;
    for (int i = 0; i < total; i++) {
        mask += clips[i].mask_px;
        objects += clips[i].object_px;
        pixels += clips[i].pixels;
        empty += clips[i].empty;
        frames += clips[i].T;
        info->bytes += clips[i].bytes;
    }
    info->clips += total;
    info->frames += frames;
    if (want_shares && pixels > 0) {
        info->foreground = (double)mask / (double)pixels;
        info->objects = (double)objects / (double)pixels;
        info->empty = (double)empty / (double)frames;
    }
    if (cfg->log)
        avs_log_line(cfg->log, AVS_LOG_I, "compose setting=%s clips=%d frames=%lld seconds=%.1f",
                     settings[k].name, total, (long long)frames, (double)(avs_now_ns() - begin) * 1e-9);
    return AVS_OK;
}

int avs_compose(const avs_compose_cfg *cfg, avs_compose_info *info, avs_err *e)
{
    avs_sources src = {.cfg = cfg};
    loading l = {.cfg = cfg};
    avs_arena *a = avs_arena_new();
    int rc;
    *info = (avs_compose_info){0};
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory to compose");
    AVS_TRY(check_config(cfg, e));
    AVS_TRY(avs_stamps_find(&l.stamps, a, cfg->stamps, cfg->list, cfg->n_classes, e));
    AVS_TRY(avs_backgrounds_find(&l.paths, &l.n_backgrounds, a, cfg->backgrounds, cfg->n_backgrounds, e));
    AVS_TRY(check_backgrounds(cfg, l.n_backgrounds, e));
    l.backgrounds = AVS_NEW_N(a, avs_image, l.n_backgrounds + 1);
    if (!l.backgrounds) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for %d backgrounds", l.n_backgrounds);
        goto out;
    }
    AVS_TRY(avs_parallel(cfg->n_classes + l.n_backgrounds, cfg->n_threads, load_job, &l, e));
    src.stamps = l.stamps;
    src.backgrounds = l.backgrounds;
    src.background_path = l.paths;
    src.n_backgrounds = l.n_backgrounds;
    fill_pools(&src);
    if ((cfg->settings & AVS_COMPOSE_AVSS) && src.n_avss_pool < AVS_SCENE_OBJECTS) {
        rc = avs_fail(e, AVS_ERANGE,
                      "avss needs %d classes that AVSBench-semantic has too, %d of the %d chosen are",
                      AVS_SCENE_OBJECTS, src.n_avss_pool, cfg->n_classes);
        goto out;
    }
    /* ms3 last, so that its shares are the ones reported when it is among several */
    static const int order[3] = {0, 2, 1};
    for (int i = 0; i < 3; i++)
        if (cfg->settings & (unsigned)settings[order[i]].bit)
            AVS_TRY(compose_setting(&src, order[i], a, info,
                                    order[i] == 1 || !(cfg->settings & AVS_COMPOSE_MS3), e));
out:
    for (int i = 0; l.stamps && i < cfg->n_classes; i++) avs_stamp_unload(&l.stamps[i]);
    for (int i = 0; l.backgrounds && i < l.n_backgrounds; i++) avs_image_free(&l.backgrounds[i]);
    avs_arena_free(a);
    return rc;
}
