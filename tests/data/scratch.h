/* For the tests of data/: a temporary folder, files in it, synthetic pictures and sounds, small AVSBench trees. Nothing here
 * is taken from any data set. */
#ifndef AVS_TESTS_DATA_SCRATCH_H
#define AVS_TESTS_DATA_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/rng.h"
#include "data/dataset.h"
#include "data/image.h"
#include "data/resample_image.h"
#include "data/wav.h"

#define UNUSED __attribute__((unused))
#define assert_ok(call, err)                                                                                 \
    do {                                                                                                     \
        if ((call) != AVS_OK) fail_msg("%s: %s", #call, (err).msg);                                          \
    } while (0)

typedef struct {
    char dir[256];
    char path[1024]; /* last path made by scratch_path */
} scratch;

static UNUSED void scratch_open(scratch *s)
{
    snprintf(s->dir, sizeof s->dir, "%s/avs-data-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(s->dir));
}

static UNUSED int scratch_remove_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)st, (void)flag, (void)f;
    return remove(path);
}

static UNUSED void scratch_close(scratch *s)
{
    nftw(s->dir, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

__attribute__((format(printf, 2, 3))) static UNUSED const char *scratch_path(scratch *s, const char *fmt, ...)
{
    const int n = snprintf(s->path, sizeof s->path, "%s/", s->dir);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->path + n, sizeof s->path - (size_t)n, fmt, ap);
    va_end(ap);
    return s->path;
}

static UNUSED void put_file(const char *path, const void *data, size_t n)
{
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_fs_mkdirs_for(path, &e), e);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static UNUSED void put_text(const char *path, const char *text)
{
    put_file(path, text, strlen(text));
}

/* A picture of its own for each number: a gradient with blocks. */
static UNUSED avs_image test_picture(int w, int h, int channels, int number)
{
    avs_image im;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_image_alloc(&im, w, h, channels, &e), e);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < channels; c++)
                im.px[((int64_t)y * w + x) * channels + c] =
                    (uint8_t)(number * 37 + x * (3 + c) + y * (5 - c) + ((x / 4 + y / 4) % 2) * 60);
    return im;
}

/* Foreground box that depends on number; on is the byte of the foreground. */
static UNUSED avs_image test_mask(int w, int h, int number, uint8_t on)
{
    avs_image im;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_image_alloc(&im, w, h, 1, &e), e);
    const int x0 = number % (w / 2), y0 = number % (h / 3);
    for (int y = y0; y < y0 + h / 3; y++)
        for (int x = x0; x < x0 + w / 2; x++) im.px[(int64_t)y * w + x] = on;
    return im;
}

static UNUSED void put_png(const char *path, avs_image im)
{
    avs_buf b = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_png_encode(&b, &im, 6, &e), e);
    put_file(path, b.data, b.len);
    avs_buf_free(&b);
    avs_image_free(&im);
}

static UNUSED void put_jpeg(const char *path, avs_image im)
{
    avs_buf b = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_jpeg_encode(&b, &im, 95, &e), e);
    put_file(path, b.data, b.len);
    avs_buf_free(&b);
    avs_image_free(&im);
}

/* seconds of a tone as 16-bit WAV. */
static UNUSED void put_tone(const char *path, double hz, double seconds, int rate)
{
    const int64_t n = (int64_t)(seconds * rate);
    int16_t *x = malloc(sizeof *x * (size_t)(n + 1));
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = (int16_t)(9000 * sin(6.283185307179586 * hz * (double)i / rate));
    avs_buf b = AVS_BUF_INIT;
    avs_wav_encode(&b, x, n, rate);
    put_file(path, b.data, b.len);
    avs_buf_free(&b);
    free(x);
}

/* MS3 tree: n clips per split of side px. */
static UNUSED void put_ms3(scratch *s, int n, int side)
{
    avs_buf csv = AVS_BUF_INIT;
    avs_buf_str(&csv, "video,split\n");
    for (int i = 0; i < 3 * n; i++) {
        const char *split = avs_split_name((avs_split)(i % 3));
        avs_buf_fmt(&csv, "clip%d,%s\n", i, split);
        for (int k = 1; k <= 5; k++) {
            put_png(scratch_path(s, "Multi-sources/ms3_data/visual_frames/clip%d/clip%d.mp4_%d.png", i, i, k),
                    test_picture(side, side, 3, 5 * i + k));
            put_png(
                scratch_path(s, "Multi-sources/ms3_data/gt_masks/%s/clip%d/clip%d_%d.png", split, i, i, k),
                test_mask(side, side, i + k, 255));
        }
        put_tone(scratch_path(s, "Multi-sources/ms3_data/audio_wav/%s/clip%d.wav", split, i), 200 + 90 * i, 5,
                 16000);
    }
    put_text(scratch_path(s, "Multi-sources/ms3_meta_data.csv"), avs_buf_cstr(&csv));
    avs_buf_free(&csv);
}

static UNUSED avs_dataset *open_split(const char *root, avs_task task, avs_split split, int side)
{
    avs_dataset *ds;
    avs_err e = AVS_ERR_INIT;
    const avs_dataset_cfg cfg = {.root = root, .task = task, .split = split, .height = side, .width = side};
    assert_ok(avs_dataset_open(&ds, &cfg, &e), e);
    return ds;
}

#endif
