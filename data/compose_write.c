/* One composed clip as files of its setting (paths come from the reader's own layouts, so that the two cannot differ), and
 * the tables of a setting. */
#include "data/composer.h"

#include "base/buf.h"
#include "base/fs.h"
#include "base/hash.h"
#include "data/layout.h"
#include "data/wav.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const avs_layout *layout_of(int setting)
{
    return setting == AVS_COMPOSE_S4    ? &avs_layout_s4
           : setting == AVS_COMPOSE_MS3 ? &avs_layout_ms3
                                        : &avs_layout_avss;
}

/* What is needed while one clip is written. */
typedef struct {
    const avs_sources *src;
    avs_composed *c;
    avs_clip_record rec;
    avs_buf buf;
    char folder[AVS_PATH_MAX];
} writer;

/* Without fsync: a half-made data set has no meta file, which is written last. */
static int put_file(writer *w, const char *below, avs_err *e)
{
    char path[AVS_PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s/%s", w->src->cfg->out, below);
    if (n < 0 || n >= (int)sizeof path)
        return avs_fail(e, AVS_ERANGE, "a path is longer than %d bytes", AVS_PATH_MAX);
    if (!avs_buf_ok(&w->buf)) return avs_fail(e, AVS_ENOMEM, "%s: no memory", path);
    const size_t dir = (size_t)(strrchr(path, '/') - path);
    if (strncmp(path, w->folder, dir) != 0 || w->folder[dir] != '\0') {
        int rc = avs_fs_mkdirs_for(path, e);
        if (rc != AVS_OK) return rc;
        memcpy(w->folder, path, dir);
        w->folder[dir] = '\0';
    }
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return avs_fail(e, AVS_EIO, "%s: cannot be written: %s", path, strerror(errno));
    int bad = avs_fs_full_write(fd, w->buf.data, w->buf.len);
    const int why = errno;
    if (close(fd) != 0) bad = -1;
    if (bad) return avs_fail(e, AVS_EIO, "%s: write failed: %s", path, strerror(why));
    w->c->bytes += (int64_t)w->buf.len;
    return AVS_OK;
}

static int put_part(writer *w, avs_part part, int t, avs_err *e)
{
    char below[AVS_PATH_MAX];
    if (!layout_of(w->c->setting)->path(&w->rec, part, t, below, sizeof below))
        return avs_fail(e, AVS_ERANGE, "a path is longer than %d bytes", AVS_PATH_MAX);
    return put_file(w, below, e);
}

static int put_png(writer *w, avs_part part, int t, uint8_t *px, int channels, int level, avs_err *e)
{
    const int S = w->src->cfg->size;
    avs_buf_clear(&w->buf);
    int rc = avs_png_encode(&w->buf, &(avs_image){.px = px, .w = S, .h = S, .channels = channels}, level, e);
    return rc == AVS_OK ? put_part(w, part, t, e) : rc;
}

static int put_frame(writer *w, int t, uint8_t *rgb, avs_err *e)
{
    const int S = w->src->cfg->size;
    if (w->c->setting != AVS_COMPOSE_AVSS) return put_png(w, AVS_PART_FRAME, t, rgb, 3, 4, e);
    avs_buf_clear(&w->buf);
    int rc = avs_jpeg_encode(&w->buf, &(avs_image){.px = rgb, .w = S, .h = S, .channels = 3}, 95, e);
    return rc == AVS_OK ? put_part(w, AVS_PART_FRAME, t, e) : rc;
}

/* value [S,S]: 0 or 1 + object. S4, MS3: a mask of 0 and 255; AVSS: colours, and indices beside them. */
static int put_label(writer *w, int t, const uint8_t *value, avs_arena *a, avs_err *e)
{
    const int64_t n = (int64_t)w->src->cfg->size * w->src->cfg->size;
    uint8_t *px = avs_arena_alloc(a, (size_t)n * 4);
    if (!px) return avs_fail(e, AVS_ENOMEM, "no memory for a mask");
    if (w->c->setting != AVS_COMPOSE_AVSS) {
        for (int64_t i = 0; i < n; i++) px[i] = value[i] ? 255 : 0;
        return put_png(w, AVS_PART_LABEL, t, px, 1, 6, e);
    }
    uint8_t *rgb = px + n;
    for (int64_t i = 0; i < n; i++) {
        px[i] = value[i] ? (uint8_t)w->src->stamps[w->c->cls[value[i] - 1]].avss : 0;
        avs_palette_colour(px[i], rgb + 3 * i);
    }
    int rc = put_png(w, AVS_PART_LABEL, t, rgb, 3, 6, e);
    if (rc != AVS_OK) return rc;
    char below[AVS_PATH_MAX];
    const int S = w->src->cfg->size;
    snprintf(below, sizeof below, "%s/%s/labels_semantic/%d.png", w->c->group, w->c->name, t);
    avs_buf_clear(&w->buf);
    rc = avs_png_encode(&w->buf, &(avs_image){.px = px, .w = S, .h = S, .channels = 1}, 6, e);
    return rc == AVS_OK ? put_file(w, below, e) : rc;
}

/* One frame: picture, what sounds, what is there. */
static int write_frame(writer *w, const avs_scene *s, int t, avs_rng *noise, avs_err *e)
{
    const int64_t n = (int64_t)s->S * s->S;
    avs_arena *a = s->arena;
    uint8_t *rgb = avs_arena_alloc(a, (size_t)n * 3), *owner = avs_arena_alloc(a, (size_t)n);
    uint8_t *value = avs_arena_alloc(a, (size_t)n), *objects = avs_arena_alloc(a, (size_t)n);
    int64_t mask = 0;
    int rc;
    if (!rgb || !owner || !value || !objects) return avs_fail(e, AVS_ENOMEM, "no memory for a frame");
    AVS_TRY(avs_scene_frame(s, t, noise, rgb, owner, e));
    for (int64_t i = 0; i < n; i++) {
        if (owner[i] == 255) continue;
        objects[i] = 255;
        w->c->object_px++;
        if (s->sounding[t] >> owner[i] & 1) value[i] = (uint8_t)(1 + owner[i]);
        mask += value[i] != 0;
    }
    w->c->mask_px += mask;
    w->c->pixels += n;
    w->c->empty += mask == 0;
    AVS_TRY(put_frame(w, t, rgb, e));
    if (t < w->rec.n_labels) AVS_TRY(put_label(w, t, value, a, e));
    AVS_TRY(put_png(w, AVS_PART_OBJECTS, t, objects, 1, 6, e));
out:
    return rc;
}

/* Name, group and kind of scene. AVSS takes its three subsets in turns. */
static void name_clip(avs_composed *c, bool *single)
{
    static const char *const subset[3] = {"v1s", "v1m", "v2"};
    const char *split = avs_split_name((avs_split)c->split);
    const int kind = c->setting == AVS_COMPOSE_AVSS ? c->number % 3 : 1;
    c->T = kind == 2 ? 10 : 5;
    *single = c->setting == AVS_COMPOSE_S4 || kind == 0;
    snprintf(c->vid, sizeof c->vid, "%s%05d", split, c->number);
    if (c->setting != AVS_COMPOSE_AVSS) {
        snprintf(c->name, sizeof c->name, "%s_%05d", split, c->number);
        c->group = "";
    } else {
        if (kind == 1)
            snprintf(c->name, sizeof c->name, "%s", c->vid);
        else
            snprintf(c->name, sizeof c->name, "%s_0_%d", c->vid, c->T * 1000);
        c->group = subset[kind];
    }
}

static int choose_background(const avs_sources *src, int split, avs_rng *r)
{
    int own[1024], n = 0;
    for (int i = 0; i < src->n_backgrounds && n < 1024; i++) {
        const int s = i % 5 == 3 ? AVS_SPLIT_VAL : i % 5 == 4 ? AVS_SPLIT_TEST : AVS_SPLIT_TRAIN;
        if (s == split) own[n++] = i;
    }
    return own[avs_rng_range(r, 0, n - 1)];
}

int avs_compose_clip(const avs_sources *src, avs_composed *c, avs_err *e)
{
    char stream[64];
    bool single;
    avs_scene s;
    writer w = {.src = src, .c = c};
    avs_arena *a = avs_arena_new();
    int rc;
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for a clip");
    name_clip(c, &single);
    snprintf(stream, sizeof stream, "compose/%d/%d/%d", c->setting, c->split, c->number);
    avs_rng r = avs_rng_seed(avs_stream_seed(src->cfg->seed, stream));
    avs_rng noise = avs_rng_seed(avs_rng_u64(&r));
    const bool avss = c->setting == AVS_COMPOSE_AVSS;
    c->background = choose_background(src, c->split, &r);
    s = (avs_scene){.S = src->cfg->size, .T = c->T, .arena = a};
    AVS_TRY(avs_scene_make(&s, &r, src->stamps, avss ? src->avss_pool : src->pool,
                           avss ? src->n_avss_pool : src->n_pool, &src->backgrounds[c->background], e));
    c->n = s.n;
    for (int k = 0; k < s.n; k++) c->cls[k] = s.sprite[k].stamp;
    if (single) {
        const int k = (int)avs_rng_range(&r, 0, s.n - 1);
        for (int t = 0; t < s.T; t++) s.sounding[t] = (uint8_t)(1 << k);
        if (c->setting == AVS_COMPOSE_S4) c->group = src->stamps[c->cls[k]].name;
    } else {
        avs_sounding_draw(&s, &r);
    }
    memcpy(c->sounding, s.sounding, sizeof c->sounding);
    w.rec = (avs_clip_record){.pub = {.name = c->name, .group = c->group, .n_frames = c->T, .T = c->T},
                              .split = avs_split_name((avs_split)c->split),
                              .n_labels = single && c->split == AVS_SPLIT_TRAIN ? 1 : c->T};
    for (int t = 0; t < s.T; t++) AVS_TRY(write_frame(&w, &s, t, &noise, e));
    const int64_t n = (int64_t)AVS_SCENE_RATE * s.T;
    int16_t *x = AVS_NEW_N(a, int16_t, n);
    if (!x) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for %lld samples", (long long)n);
        goto out;
    }
    AVS_TRY(avs_sound_mix(&s, src->stamps, &r, x, e));
    avs_buf_clear(&w.buf);
    avs_wav_encode(&w.buf, x, n, AVS_SCENE_RATE);
    AVS_TRY(put_part(&w, AVS_PART_SOUND, 0, e));
out:
    avs_buf_free(&w.buf);
    avs_arena_free(a);
    return rc;
}

static void put_names(avs_buf *b, const avs_sources *src, const avs_composed *c, unsigned set, char join,
                      bool avss_name)
{
    bool first = true;
    for (int k = 0; k < c->n; k++) {
        if (!(set >> k & 1)) continue;
        const avs_stamp *s = &src->stamps[c->cls[k]];
        if (!first) avs_buf_char(b, join);
        avs_buf_str(b, avss_name ? avs_avss_names[s->avss] : s->name);
        first = false;
    }
}

static void meta_row(avs_buf *b, const avs_sources *src, const avs_composed *c)
{
    const char *split = avs_split_name((avs_split)c->split);
    if (c->setting == AVS_COMPOSE_S4) {
        avs_buf_fmt(b, "%s,0,%s,%s\n", c->name, c->group, split);
    } else if (c->setting == AVS_COMPOSE_MS3) {
        avs_buf_fmt(b, "%s,%s\n", c->name, split);
    } else {
        unsigned heard = 0;
        for (int t = 0; t < c->T; t++) heard |= c->sounding[t];
        avs_buf_fmt(b, "%s,%s,0,0,", c->vid, c->name);
        if (heard)
            put_names(b, src, c, heard, '_', true);
        else
            avs_buf_str(b, avs_avss_names[0]);
        avs_buf_fmt(b, ",%s,%s\n", split, c->group);
    }
}

static void sidecar_row(avs_buf *b, const avs_sources *src, const avs_composed *c)
{
    const char *path = src->background_path[c->background], *slash = strrchr(path, '/');
    avs_buf_fmt(b, "%s,%s,%s,", c->name, avs_split_name((avs_split)c->split), c->group);
    put_names(b, src, c, (1u << c->n) - 1, '+', false);
    avs_buf_char(b, ',');
    for (int t = 0; t < c->T; t++) {
        if (t) avs_buf_char(b, '|');
        put_names(b, src, c, c->sounding[t], '+', false);
    }
    avs_buf_fmt(b, ",\"%s\",%lld,%lld,%lld\n", slash ? slash + 1 : path, (long long)c->mask_px,
                (long long)c->object_px, (long long)c->pixels);
}

static int put_table(const avs_sources *src, const char *below, const avs_buf *b, avs_err *e)
{
    char path[AVS_PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s/%s", src->cfg->out, below);
    if (n < 0 || n >= (int)sizeof path)
        return avs_fail(e, AVS_ERANGE, "a path is longer than %d bytes", AVS_PATH_MAX);
    if (!avs_buf_ok(b)) return avs_fail(e, AVS_ENOMEM, "%s: no memory", path);
    return avs_fs_write_atomic(path, b->data, b->len, e);
}

int avs_compose_meta(const avs_sources *src, int setting, const avs_composed *clips, int n, avs_err *e)
{
    const avs_layout *l = layout_of(setting);
    avs_buf meta = AVS_BUF_INIT, side = AVS_BUF_INIT, index = AVS_BUF_INIT;
    int rc;
    avs_buf_str(&meta, setting == AVS_COMPOSE_S4    ? "video_id,start,category,split\n"
                       : setting == AVS_COMPOSE_MS3 ? "video_id,split\n"
                                                    : "vid,uid,s_min,s_sec,a_obj,split,label\n");
    avs_buf_str(&side, "name,split,group,objects,sounding,background,mask_pixels,object_pixels,pixels\n");
    for (int i = 0; i < n; i++) {
        meta_row(&meta, src, &clips[i]);
        sidecar_row(&side, src, &clips[i]);
    }
    if (setting == AVS_COMPOSE_AVSS) {
        for (int i = 0; i < 71; i++)
            avs_buf_fmt(&index, "%s\"%s\": %d", i ? ", " : "{", avs_avss_names[i], i + 1);
        avs_buf_str(&index, "}\n");
        AVS_TRY(put_table(src, "label2idx.json", &index, e));
    }
    AVS_TRY(put_table(src, l->sidecar, &side, e));
    AVS_TRY(put_table(src, l->meta, &meta, e));
out:
    avs_buf_free(&meta);
    avs_buf_free(&side);
    avs_buf_free(&index);
    return rc;
}
