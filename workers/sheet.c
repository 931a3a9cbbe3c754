/* The prediction sheet: AVS_SHEET_CLIPS triples in AVS_SHEET_COLUMNS columns with a thin gap. */
#include "workers/sheet.h"

#include <string.h>

#include "base/arena.h"
#include "data/resample_image.h"

enum { GAP = AVS_SHEET_GAP };

void avs_overlay(uint8_t *rgb, const uint8_t *label, int64_t n, bool is_binary)
{
    for (int64_t i = 0; i < n; i++) {
        uint8_t c[3] = {255, 64, 32};
        if (!label[i]) continue;
        if (!is_binary) avs_palette_colour(label[i], c);
        for (int k = 0; k < 3; k++) rgb[3 * i + k] = (uint8_t)((rgb[3 * i + k] + c[k]) / 2);
    }
}

void avs_label_of_logits(const float *logits, int64_t n, int K, uint8_t *label)
{
    for (int64_t i = 0; i < n; i++) {
        int best = 0;
        if (K == 1) {
            best = logits[i] > 0.F;
        } else {
            for (int k = 1; k < K; k++)
                if (logits[i * K + k] > logits[i * K + best]) best = k;
        }
        label[i] = (uint8_t)best;
    }
}

static int wanted(const avs_sheet *s)
{
    const int n = avs_dataset_count(s->ds);
    return n < AVS_SHEET_CLIPS ? n : AVS_SHEET_CLIPS;
}

int avs_sheet_open(avs_sheet *s, const avs_dataset *ds, int classes, bool is_binary, avs_err *e)
{
    const avs_dataset_cfg *dc = avs_dataset_config(ds);
    *s = (avs_sheet){.ds = ds, .classes = classes, .is_binary = is_binary};
    const int rows = (wanted(s) + AVS_SHEET_COLUMNS - 1) / AVS_SHEET_COLUMNS;
    const int64_t w = AVS_SHEET_COLUMNS * (3 * ((int64_t)dc->label_width + GAP) + (int64_t)2 * GAP),
                  h = (int64_t)rows * (dc->label_height + GAP) + GAP;
    int rc = avs_image_alloc(&s->image, w, h, 3, e);
    if (rc == AVS_OK) memset(s->image.px, 255, (size_t)(w * h * 3));
    return rc;
}

static void paste(avs_sheet *s, int x, int y, const uint8_t *rgb, int w, int h)
{
    for (int r = 0; r < h; r++)
        memcpy(s->image.px + 3 * ((int64_t)(y + r) * s->image.w + x), rgb + (int64_t)3 * r * w,
               (size_t)3 * (size_t)w);
}

/* The picture at the labels' size, into rgb. */
static int picture(const avs_sheet *s, int clip, const int32_t frames[1], uint8_t *rgb, avs_err *e)
{
    const avs_dataset_cfg *dc = avs_dataset_config(s->ds);
    const avs_pick pick = {.n = 1, .frames = frames};
    if (dc->width == dc->label_width && dc->height == dc->label_height)
        return avs_clip_load(s->ds, clip, &pick, &(avs_clip_out){.frames_u8 = rgb}, e);
    avs_image in = AVS_IMAGE_INIT, fit = AVS_IMAGE_INIT;
    int rc = avs_image_alloc(&in, dc->width, dc->height, 3, e);
    if (rc == AVS_OK) rc = avs_clip_load(s->ds, clip, &pick, &(avs_clip_out){.frames_u8 = in.px}, e);
    if (rc == AVS_OK) rc = avs_resize_bilinear(&fit, &in, dc->label_width, dc->label_height, e);
    if (rc == AVS_OK) memcpy(rgb, fit.px, (size_t)dc->label_width * (size_t)dc->label_height * 3);
    avs_image_free(&in);
    avs_image_free(&fit);
    return rc;
}

int avs_sheet_row(void *ctx, int clip, int frame, const float *logits, avs_err *e)
{
    avs_sheet *s = ctx;
    const avs_dataset_cfg *dc = avs_dataset_config(s->ds);
    const int n = avs_dataset_count(s->ds), count = wanted(s), w = dc->label_width, h = dc->label_height;
    const int64_t pixels = (int64_t)w * h;
    if (s->shown >= count || clip != (int)((int64_t)s->shown * n / count) ||
        frame != avs_dataset_clip(s->ds, clip)->n_frames / 2)
        return AVS_OK;
    uint8_t *rgb = avs_xalloc((size_t)pixels * 4), *label = rgb ? rgb + 3 * pixels : NULL;
    const int32_t frames[1] = {frame};
    const int x = GAP + s->shown % AVS_SHEET_COLUMNS * (3 * (w + GAP) + 2 * GAP),
              y = GAP + s->shown / AVS_SHEET_COLUMNS * (h + GAP);
    int rc = rgb ? AVS_OK : avs_fail(e, AVS_ENOMEM, "out of memory for a picture");
    for (int k = 0; k < 3 && rc == AVS_OK; k++) {
        rc = picture(s, clip, frames, rgb, e);
        if (rc == AVS_OK && k == 1)
            rc = avs_clip_load(s->ds, clip, &(avs_pick){.n = 1, .frames = frames},
                               &(avs_clip_out){.labels_u8 = label}, e);
        if (k == 2) avs_label_of_logits(logits, pixels, s->classes, label);
        if (rc == AVS_OK && k) avs_overlay(rgb, label, pixels, s->is_binary);
        if (rc == AVS_OK) paste(s, x + k * (w + GAP), y, rgb, w, h);
    }
    avs_xfree(rgb);
    s->shown++;
    return rc;
}

int avs_sheet_write(const avs_sheet *s, const char *path, avs_err *e)
{
    return avs_png_write(path, &s->image, 9, e);
}

void avs_sheet_close(avs_sheet *s)
{
    avs_image_free(&s->image);
    *s = (avs_sheet){0};
}
