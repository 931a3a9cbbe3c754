/* JPEG through libjpeg. Warnings are tolerated (stray bytes are common) except the ones that mean that picture data is
 * missing. As in png.c, everything that lives across a longjmp is in a struct. */
#include "data/image.h"

#include "base/arena.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

enum { MAX_SCANS = 500 }; /* progressive files with more are built to burn time */

typedef struct {
    struct jpeg_error_mgr err; /* first: libjpeg hands this pointer back */
    jmp_buf jump;
    char text[JMSG_LENGTH_MAX];
    struct jpeg_decompress_struct in;
    struct jpeg_compress_struct out;
    struct jpeg_progress_mgr progress;
    avs_image im;
    uint8_t *row;
    unsigned char *mem;
    unsigned long mem_n;
} jpeg_job;

static void on_error(j_common_ptr c)
{
    jpeg_job *j = (jpeg_job *)(void *)c->err;
    c->err->format_message(c, j->text);
    longjmp(j->jump, 1);
}

static void on_message(j_common_ptr c, int level)
{
    if (level >= 0) return;
    const int code = c->err->msg_code;
    if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE) on_error(c);
}

static void on_progress(j_common_ptr c)
{
    if (((j_decompress_ptr)(void *)c)->input_scan_number > MAX_SCANS) {
        jpeg_job *j = (jpeg_job *)(void *)c->err;
        snprintf(j->text, sizeof j->text, "more than %d scans", MAX_SCANS);
        longjmp(j->jump, 1);
    }
}

static void prepare(jpeg_job *j, struct jpeg_error_mgr **slot)
{
    *slot = jpeg_std_error(&j->err);
    j->err.error_exit = on_error;
    j->err.emit_message = on_message;
}

static bool read_header(jpeg_job *j, const void *data, size_t n)
{
    if (setjmp(j->jump)) return false;
    jpeg_create_decompress(&j->in);
    j->progress.progress_monitor = on_progress;
    j->in.progress = &j->progress;
    jpeg_mem_src(&j->in, data, (unsigned long)n);
    jpeg_read_header(&j->in, TRUE);
    return true;
}

static bool read_pixels(jpeg_job *j, avs_px px, int shrink, size_t n)
{
    if (setjmp(j->jump)) return false;
    const bool one = px == AVS_PX_GREY || px == AVS_PX_INDEX;
    const int64_t pixels = (int64_t)j->in.image_width * j->in.image_height;
    /* A block of 64 pixels takes at least one bit. Checked first: progressive files are held as a whole. */
    if (pixels > AVS_IMAGE_MAX_PIXELS || pixels > 512 * (int64_t)n) {
        snprintf(j->text, sizeof j->text, "%u x %u pixels are more than %d or too many for this length",
                 j->in.image_width, j->in.image_height, AVS_IMAGE_MAX_PIXELS);
        return false;
    }
    if (j->in.num_components != 1 && j->in.num_components != 3) {
        snprintf(j->text, sizeof j->text, "%d colour components, expected 1 or 3", j->in.num_components);
        return false;
    }
    j->in.out_color_space = one ? JCS_GRAYSCALE : JCS_RGB;
    j->in.scale_num = 1;
    j->in.scale_denom = (unsigned)shrink;
    jpeg_start_decompress(&j->in);
    avs_err e = AVS_ERR_INIT;
    const int channels = px == AVS_PX_RGBA ? 4 : one ? 1 : 3;
    if (avs_image_alloc(&j->im, j->in.output_width, j->in.output_height, channels, &e) != AVS_OK) {
        snprintf(j->text, sizeof j->text, "%.190s", e.msg);
        return false;
    }
    const size_t stride = (size_t)j->im.w * (one ? 1 : 3);
    j->row = avs_xrealloc(NULL, stride);
    if (!j->row) {
        snprintf(j->text, sizeof j->text, "no memory");
        return false;
    }
    while (j->in.output_scanline < j->in.output_height) {
        uint8_t *to = j->im.px + (size_t)j->in.output_scanline * (size_t)j->im.w * (size_t)channels;
        JSAMPROW row = j->row;
        jpeg_read_scanlines(&j->in, &row, 1);
        if (channels != 4) {
            memcpy(to, j->row, stride);
        } else {
            for (int32_t x = 0; x < j->im.w; x++) {
                memcpy(to + 4 * (size_t)x, j->row + 3 * (size_t)x, 3);
                to[4 * (size_t)x + 3] = 255;
            }
        }
    }
    jpeg_finish_decompress(&j->in);
    return true;
}

static int damaged(const jpeg_job *j, const char *what, size_t n, avs_err *e)
{
    return avs_fail(e, AVS_EPARSE, "%s: expected a whole JPEG file, found %zu bytes that are not: %s", what,
                    n, j->text);
}

static jpeg_job *new_job(avs_err *e)
{
    jpeg_job *j = avs_xalloc(sizeof *j);
    if (!j) avs_fail(e, AVS_ENOMEM, "no memory for a JPEG codec");
    return j;
}

int avs_jpeg_decode(avs_image *out, avs_px px, int shrink, const char *what, const void *data, size_t n,
                    avs_err *e)
{
    *out = AVS_IMAGE_INIT;
    if (shrink != 1 && shrink != 2 && shrink != 4 && shrink != 8)
        return avs_fail(e, AVS_ERANGE, "%s: shrink must be 1, 2, 4 or 8, not %d", what, shrink);
    jpeg_job *j = new_job(e);
    if (!j) return AVS_ENOMEM;
    prepare(j, &j->in.err);
    int rc = AVS_OK;
    if (!read_header(j, data, n) || !read_pixels(j, px, shrink, n)) {
        rc = damaged(j, what, n, e);
        avs_image_free(&j->im);
    } else {
        *out = j->im;
    }
    jpeg_destroy_decompress(&j->in);
    free(j->row);
    avs_xfree(j);
    return rc;
}

int avs_jpeg_size(int32_t *w, int32_t *h, const char *what, const void *data, size_t n, avs_err *e)
{
    jpeg_job *j = new_job(e);
    if (!j) return AVS_ENOMEM;
    prepare(j, &j->in.err);
    int rc = AVS_OK;
    if (!read_header(j, data, n)) {
        rc = damaged(j, what, n, e);
    } else {
        *w = (int32_t)j->in.image_width;
        *h = (int32_t)j->in.image_height;
    }
    jpeg_destroy_decompress(&j->in);
    avs_xfree(j);
    return rc;
}

static bool write_pixels(jpeg_job *j, const avs_image *im, int quality)
{
    if (setjmp(j->jump)) return false;
    jpeg_create_compress(&j->out);
    jpeg_mem_dest(&j->out, &j->mem, &j->mem_n);
    j->out.image_width = (unsigned)im->w;
    j->out.image_height = (unsigned)im->h;
    j->out.input_components = im->channels;
    j->out.in_color_space = im->channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(&j->out);
    jpeg_set_quality(&j->out, quality, TRUE);
    if (im->channels == 3 && quality >= 90)
        j->out.comp_info[0].h_samp_factor = j->out.comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(&j->out, TRUE);
    while (j->out.next_scanline < j->out.image_height) {
        JSAMPROW row = im->px + (size_t)j->out.next_scanline * (size_t)im->w * (size_t)im->channels;
        jpeg_write_scanlines(&j->out, &row, 1);
    }
    jpeg_finish_compress(&j->out);
    return true;
}

int avs_jpeg_encode(avs_buf *out, const avs_image *im, int quality, avs_err *e)
{
    if ((im->channels != 1 && im->channels != 3) || quality < 1 || quality > 100)
        return avs_fail(e, AVS_ERANGE, "a JPEG needs 1 or 3 channels and quality 1..100, got %d and %d",
                        im->channels, quality);
    jpeg_job *j = new_job(e);
    if (!j) return AVS_ENOMEM;
    prepare(j, &j->out.err);
    int rc = AVS_OK;
    if (!write_pixels(j, im, quality)) {
        rc = avs_fail(e, AVS_ELIB, "JPEG encoder: %s", j->text);
    } else {
        avs_buf_put(out, j->mem, j->mem_n);
        if (!avs_buf_ok(out)) rc = avs_fail(e, AVS_ENOMEM, "no memory for a JPEG of %lu bytes", j->mem_n);
    }
    jpeg_destroy_compress(&j->out);
    free(j->mem);
    avs_xfree(j);
    return rc;
}
