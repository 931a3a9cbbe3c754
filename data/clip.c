/* One clip: from files, or from the cache when it is there, to the arrays of a batch. */
#include "data/dataset.h"

#include "base/fs.h"
#include "data/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decodes the picture and brings it to the size of the view, or of labels (nearest). */
static int read_fitted(const avs_dataset *ds, const char *path, avs_px px, bool nearest, avs_image *out,
                       avs_err *e)
{
    avs_image im = AVS_IMAGE_INIT;
    *out = AVS_IMAGE_INIT;
    int rc = avs_image_read(&im, px, path, e);
    if (rc != AVS_OK) return rc;
    const bool crops = ds->cfg.split == AVS_SPLIT_TRAIN && !ds->cfg.stretch;
    const avs_fit fit = crops ? ds->layout->train_fit : AVS_FIT_STRETCH;
    const int32_t w = nearest ? ds->cfg.label_width : ds->cfg.width,
                  h = nearest ? ds->cfg.label_height : ds->cfg.height;
    if (im.w == w && im.h == h) {
        *out = im;
        return AVS_OK;
    }
    rc = avs_fit_image(out, &im, w, h, fit, nearest, e);
    if (rc != AVS_OK) avs_ctx(e, "%s", path);
    avs_image_free(&im);
    return rc;
}

int avs_clip_read_frame(const avs_dataset *ds, int i, int k, uint8_t *px, avs_err *e)
{
    char path[AVS_PATH_MAX];
    avs_image im = AVS_IMAGE_INIT;
    int rc;
    AVS_TRY(avs_layout_path(ds, &ds->clips[i], AVS_PART_FRAME, k, path, e));
    AVS_TRY(read_fitted(ds, path, AVS_PX_RGB, false, &im, e));
    memcpy(px, im.px, (size_t)im.w * (size_t)im.h * 3);
out:
    avs_image_free(&im);
    return rc;
}

static void cut_binary(const avs_image *im, uint8_t *label, int64_t *odd)
{
    bool strange = false;
    for (int64_t p = 0; p < (int64_t)im->w * im->h; p++) {
        strange = strange || (im->px[p] != 0 && im->px[p] != 255);
        label[p] = im->px[p] > 127;
    }
    if (strange) ++*odd;
}

int avs_clip_read_label(const avs_dataset *ds, int i, int k, uint8_t *label, int64_t *odd, avs_err *e)
{
    char path[AVS_PATH_MAX];
    avs_image im = AVS_IMAGE_INIT;
    int rc;
    AVS_TRY(avs_layout_path(ds, &ds->clips[i], AVS_PART_LABEL, k, path, e));
    AVS_TRY(read_fitted(ds, path, ds->layout->label_px, true, &im, e));
    if (ds->layout->binary)
        cut_binary(&im, label, odd);
    else
        avs_label_decode(&im, AVS_AVSS_CLASSES, label);
out:
    avs_image_free(&im);
    return rc;
}

int avs_clip_read_objects(const avs_dataset *ds, int i, int k, uint8_t *objects, avs_err *e)
{
    char path[AVS_PATH_MAX];
    avs_image im = AVS_IMAGE_INIT;
    int64_t odd = 0;
    int rc;
    AVS_TRY(avs_layout_path(ds, &ds->clips[i], AVS_PART_OBJECTS, k, path, e));
    if (!avs_fs_exists(path)) {
        rc = avs_fail(e, AVS_EMISSING,
                      "clip %s has no mask of all objects (only composed data have): there is no %s",
                      ds->clips[i].pub.name, path);
        goto out;
    }
    AVS_TRY(read_fitted(ds, path, AVS_PX_GREY, true, &im, e));
    cut_binary(&im, objects, &odd);
out:
    avs_image_free(&im);
    return rc;
}

int avs_clip_read_logmel(const avs_dataset *ds, int i, int count, float *logmel, avs_err *e)
{
    char path[AVS_PATH_MAX];
    avs_sound s = {0};
    int rc;
    AVS_TRY(avs_layout_path(ds, &ds->clips[i], AVS_PART_SOUND, 0, path, e));
    AVS_TRY(avs_sound_read(&s, path, e));
    rc = avs_logmel_clip(&s, count, ds->layout->mel_pad, logmel, e);
    if (rc != AVS_OK) avs_ctx(e, "%s", path);
out:
    avs_sound_free(&s);
    return rc;
}

static void mirror(uint8_t *px, int64_t h, int64_t w, int channels)
{
    for (int64_t y = 0; y < h; y++) {
        uint8_t *row = px + y * w * channels;
        for (int64_t a = 0, b = w - 1; a < b; a++, b--)
            for (int c = 0; c < channels; c++) {
                const uint8_t t = row[a * channels + c];
                row[a * channels + c] = row[b * channels + c];
                row[b * channels + c] = t;
            }
    }
}

/* Everything that loading one clip needs; the scratch picture holds one frame or label. */
typedef struct {
    const avs_dataset *ds;
    int i;
    const avs_clip_record *rec;
    int64_t h, w, pixels;
    int64_t label_h, label_w, label_pixels;
    bool flip;
    uint8_t *scratch; /* [pixels * 3] */
} load;

static int load_frame(const load *l, int row, int k, const avs_clip_out *out, avs_err *e)
{
    const size_t bytes = (size_t)l->pixels * 3;
    float *to = out->frames ? out->frames + (int64_t)row * l->pixels * 3 : NULL;
    uint8_t *raw = out->frames_u8 ? out->frames_u8 + (size_t)row * bytes : l->scratch;
    if (k >= l->rec->pub.n_frames) { /* padding: zero after normalisation */
        if (to) memset(to, 0, sizeof(float) * bytes);
        if (out->frames_u8) memset(raw, 0, bytes);
        return AVS_OK;
    }
    if (l->rec->cache.frames) {
        memcpy(raw, l->rec->cache.frames + (size_t)k * bytes, bytes);
    } else {
        int rc = avs_clip_read_frame(l->ds, l->i, k, raw, e);
        if (rc != AVS_OK) return rc;
    }
    if (l->flip) mirror(raw, l->h, l->w, 3);
    if (to) avs_normalise(raw, l->pixels, l->ds->cfg.mean, l->ds->cfg.std, to);
    return AVS_OK;
}

static int load_label(const load *l, int row, int k, const avs_clip_out *out, avs_err *e)
{
    uint8_t *raw = out->labels_u8 ? out->labels_u8 + (int64_t)row * l->label_pixels : l->scratch;
    int64_t odd = 0;
    int rc = AVS_OK;
    if (k >= l->rec->n_labels)
        memset(raw, 0, (size_t)l->label_pixels);
    else if (l->rec->cache.labels)
        memcpy(raw, l->rec->cache.labels + (int64_t)k * l->label_pixels, (size_t)l->label_pixels);
    else
        rc = avs_clip_read_label(l->ds, l->i, k, raw, &odd, e);
    if (rc != AVS_OK) return rc;
    if (l->flip) mirror(raw, l->label_h, l->label_w, 1);
    if (out->target) {
        float *to = out->target + (int64_t)row * l->label_pixels;
        for (int64_t p = 0; p < l->label_pixels; p++) to[p] = raw[p] ? 1.0f : 0.0f;
    }
    if (out->classes) {
        int32_t *to = out->classes + (int64_t)row * l->label_pixels;
        for (int64_t p = 0; p < l->label_pixels; p++) to[p] = raw[p];
    }
    return AVS_OK;
}

static int load_objects(const load *l, int row, int k, const avs_clip_out *out, avs_err *e)
{
    uint8_t *to = out->objects + (int64_t)row * l->label_pixels;
    if (k >= l->rec->pub.n_frames) {
        memset(to, 0, (size_t)l->label_pixels);
        return AVS_OK;
    }
    int rc = avs_clip_read_objects(l->ds, l->i, k, to, e);
    if (rc == AVS_OK && l->flip) mirror(to, l->label_h, l->label_w, 1);
    return rc;
}

static inline int frame_of(const avs_pick *pick, int row)
{
    return pick->frames ? pick->frames[row] : row;
}

static int load_sound(const load *l, const avs_pick *pick, float *out, avs_err *e)
{
    const size_t bytes = sizeof(float) * AVS_MEL_EXAMPLE;
    const float *from = l->rec->cache.logmel;
    float *made = NULL;
    if (!from) {
        int count = 1;
        for (int r = 0; r < pick->n; r++)
            if (frame_of(pick, r) >= count) count = frame_of(pick, r) + 1;
        made = avs_xrealloc(NULL, bytes * (size_t)count);
        if (!made) return avs_fail(e, AVS_ENOMEM, "no memory for the log-mel of %d frames", count);
        const int rc = avs_clip_read_logmel(l->ds, l->i, count, made, e);
        if (rc != AVS_OK) {
            free(made);
            return rc;
        }
        from = made;
    }
    for (int r = 0; r < pick->n; r++)
        memcpy(out + (int64_t)r * AVS_MEL_EXAMPLE, from + (int64_t)frame_of(pick, r) * AVS_MEL_EXAMPLE,
               bytes);
    free(made);
    return AVS_OK;
}

int avs_clip_load(const avs_dataset *ds, int i, const avs_pick *pick, const avs_clip_out *out, avs_err *e)
{
    load l = {.ds = ds, .i = i, .h = ds->cfg.height, .w = ds->cfg.width, .flip = pick->flip};
    int rc = AVS_OK;
    if (i < 0 || i >= ds->n) return avs_fail(e, AVS_ERANGE, "clip %d of %d does not exist", i, ds->n);
    l.rec = &ds->clips[i];
    l.pixels = l.h * l.w;
    l.label_h = ds->cfg.label_height;
    l.label_w = ds->cfg.label_width;
    l.label_pixels = l.label_h * l.label_w;
    for (int r = 0; r < pick->n; r++)
        if (frame_of(pick, r) < 0 || frame_of(pick, r) >= l.rec->pub.T)
            return avs_fail(e, AVS_ERANGE, "frame %d of clip %s does not exist: there are %d",
                            frame_of(pick, r), l.rec->pub.name, l.rec->pub.T);
    l.scratch = avs_xrealloc(NULL, (size_t)(l.pixels > l.label_pixels ? l.pixels : l.label_pixels) * 3);
    if (!l.scratch)
        return avs_fail(e, AVS_ENOMEM, "no memory for a frame of %lld pixels", (long long)l.pixels);
    for (int r = 0; r < pick->n; r++) {
        const int k = frame_of(pick, r);
        if (out->frames || out->frames_u8) AVS_TRY(load_frame(&l, r, k, out, e));
        if (out->target || out->classes || out->labels_u8) AVS_TRY(load_label(&l, r, k, out, e));
        if (out->objects) AVS_TRY(load_objects(&l, r, k, out, e));
        if (out->row_weight) out->row_weight[r] = l.rec->pub.label_mask[k] ? 1.0f : 0.0f;
        if (out->frame_weight) out->frame_weight[r] = l.rec->pub.frame_mask[k] ? 1.0f : 0.0f;
    }
    if (out->logmel) AVS_TRY(load_sound(&l, pick, out->logmel, e));
out:
    free(l.scratch);
    return rc;
}
