/* PNG through libpng. libpng reports errors by longjmp, so everything that lives across a call is in a struct that the
 * caller owns: nothing that changes after setjmp is an automatic variable. */
#include "data/image.h"

#include "base/arena.h"

#include <png.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const uint8_t *data;
    size_t n, at;
    avs_buf *sink;
    png_structp png;
    png_infop info;
    uint8_t *raw; /* decoded pixels as libpng gives them */
    png_bytep *rows;
    int64_t w, h;
    int raw_channels;
    bool is_palette;
    char text[200];
} png_job;

static void on_error(png_structp png, png_const_charp text)
{
    png_job *j = png_get_error_ptr(png);
    snprintf(j->text, sizeof j->text, "%s", text);
    longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void on_read(png_structp png, png_bytep to, size_t n)
{
    png_job *j = png_get_io_ptr(png);
    if (j->n - j->at < n) png_error(png, "the file ends early");
    memcpy(to, j->data + j->at, n);
    j->at += n;
}

static void on_write(png_structp png, png_bytep from, size_t n)
{
    png_job *j = png_get_io_ptr(png);
    avs_buf_put(j->sink, from, n);
    if (!avs_buf_ok(j->sink)) png_error(png, "no memory");
}

static void on_flush(png_structp png)
{
    (void)png;
}

/* Chooses the conversions so that what arrives is 8 bits per channel. */
static void set_transforms(png_structp png, avs_px px, int colour, int depth, bool has_trns)
{
    if (depth == 16) png_set_strip_16(png);
    if (px == AVS_PX_INDEX && colour == PNG_COLOR_TYPE_PALETTE) {
        png_set_packing(png);
        return;
    }
    if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
    if (px == AVS_PX_RGBA) {
        if (has_trns) png_set_tRNS_to_alpha(png);
        png_set_add_alpha(png, 255, PNG_FILLER_AFTER);
    } else if (has_trns || (colour & PNG_COLOR_MASK_ALPHA)) {
        png_set_strip_alpha(png);
    }
    if ((px == AVS_PX_RGB || px == AVS_PX_RGBA) && !(colour & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(png);
}

/* False: j->text says why. */
static bool read_pixels(png_job *j, avs_px px)
{
    if (setjmp(png_jmpbuf(j->png))) return false;
    png_set_read_fn(j->png, j, on_read);
    png_set_user_limits(j->png, 1 << 20, 1 << 20);
    png_set_chunk_malloc_max(j->png, 8 << 20);
    png_read_info(j->png, j->info);
    j->w = png_get_image_width(j->png, j->info);
    j->h = png_get_image_height(j->png, j->info);
    if (j->w * j->h > AVS_IMAGE_MAX_PIXELS) png_error(j->png, "more than 64 Mi pixels");
    /* Deflate makes at most 1032 bytes of one: a small file that promises a large picture is refused unread. */
    const int64_t bits = (int64_t)png_get_bit_depth(j->png, j->info) * png_get_channels(j->png, j->info);
    if (j->w * bits / 8 * j->h > 1032 * (int64_t)j->n) png_error(j->png, "too short for its size");
    const int colour = png_get_color_type(j->png, j->info);
    j->is_palette = colour == PNG_COLOR_TYPE_PALETTE;
    set_transforms(j->png, px, colour, png_get_bit_depth(j->png, j->info),
                   png_get_valid(j->png, j->info, PNG_INFO_tRNS) != 0);
    png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
    j->raw_channels = png_get_channels(j->png, j->info);
    const size_t stride = png_get_rowbytes(j->png, j->info);
    if (stride != (size_t)j->w * (size_t)j->raw_channels) png_error(j->png, "unexpected pixel layout");
    j->raw = avs_xrealloc(NULL, stride * (size_t)j->h);
    j->rows = avs_xrealloc(NULL, sizeof *j->rows * (size_t)j->h);
    if (!j->raw || !j->rows) png_error(j->png, "no memory");
    memset(j->raw, 0, stride * (size_t)j->h);
    for (int64_t y = 0; y < j->h; y++) j->rows[y] = j->raw + (size_t)y * stride;
    png_read_image(j->png, j->rows);
    png_read_end(j->png, NULL);
    return true;
}

/* Hands the pixels over; three channels where one is wanted become luma. */
static int finish(png_job *j, avs_image *out, avs_px px, avs_err *e)
{
    const bool one = px == AVS_PX_GREY || px == AVS_PX_INDEX;
    if (!one || j->raw_channels == 1) {
        *out = (avs_image){.px = j->raw, .w = (int32_t)j->w, .h = (int32_t)j->h, .channels = j->raw_channels};
        j->raw = NULL;
        return AVS_OK;
    }
    int rc = avs_image_alloc(out, j->w, j->h, 1, e);
    if (rc != AVS_OK) return rc;
    for (int64_t i = 0; i < j->w * j->h; i++) {
        const uint8_t *p = j->raw + i * j->raw_channels;
        out->px[i] = (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16);
    }
    return AVS_OK;
}

int avs_png_decode(avs_image *out, avs_px px, const char *what, const void *data, size_t n, avs_err *e)
{
    png_job j = {.data = data, .n = n};
    int rc;
    *out = AVS_IMAGE_INIT;
    j.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning);
    if (j.png) j.info = png_create_info_struct(j.png);
    if (!j.info)
        rc = avs_fail(e, AVS_ENOMEM, "%s: no memory for a PNG decoder", what);
    else if (!read_pixels(&j, px))
        rc = avs_fail(e, AVS_EPARSE, "%s: expected a whole PNG file, found %zu bytes that are not: %s", what,
                      n, j.text);
    else
        rc = finish(&j, out, px, e);
    png_destroy_read_struct(&j.png, &j.info, NULL);
    free(j.raw);
    free(j.rows);
    return rc;
}

static bool write_pixels(png_job *j, const avs_image *im, int level)
{
    static const int colour[5] = {0, PNG_COLOR_TYPE_GRAY, 0, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGBA};
    if (setjmp(png_jmpbuf(j->png))) return false;
    png_set_write_fn(j->png, j, on_write, on_flush);
    png_set_compression_level(j->png, level);
    png_set_IHDR(j->png, j->info, (png_uint_32)im->w, (png_uint_32)im->h, 8, colour[im->channels],
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(j->png, j->info);
    for (int64_t y = 0; y < im->h; y++) png_write_row(j->png, im->px + (int64_t)y * im->w * im->channels);
    png_write_end(j->png, NULL);
    return true;
}

int avs_png_encode(avs_buf *out, const avs_image *im, int level, avs_err *e)
{
    png_job j = {.sink = out};
    int rc = AVS_OK;
    if ((im->channels != 1 && im->channels != 3 && im->channels != 4) || level < 0 || level > 9)
        return avs_fail(e, AVS_ERANGE, "a PNG needs 1, 3 or 4 channels and level 0..9, got %d and %d",
                        im->channels, level);
    j.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning);
    if (j.png) j.info = png_create_info_struct(j.png);
    if (!j.info)
        rc = avs_fail(e, AVS_ENOMEM, "no memory for a PNG encoder");
    else if (!write_pixels(&j, im, level))
        rc = avs_fail(e, avs_buf_ok(out) ? AVS_ELIB : AVS_ENOMEM, "PNG encoder: %s", j.text);
    png_destroy_write_struct(&j.png, &j.info);
    return rc;
}
