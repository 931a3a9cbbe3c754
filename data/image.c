/* Image storage, and files whose format is told by their first bytes. The decoders are in png.c and jpeg.c. */
#include "data/image.h"

#include "base/arena.h"
#include "base/fs.h"

#include <stdlib.h>
#include <string.h>

int avs_image_alloc(avs_image *im, int64_t w, int64_t h, int channels, avs_err *e)
{
    *im = AVS_IMAGE_INIT;
    if (w < 1 || h < 1 || w > INT32_MAX || h > INT32_MAX || w * h > AVS_IMAGE_MAX_PIXELS)
        return avs_fail(e, AVS_ERANGE, "an image of %lld x %lld pixels is outside 1 .. %d pixels",
                        (long long)w, (long long)h, AVS_IMAGE_MAX_PIXELS);
    uint8_t *px = avs_xrealloc(NULL, (size_t)(w * h * channels));
    if (!px)
        return avs_fail(e, AVS_ENOMEM, "no memory for an image of %lld x %lld", (long long)w, (long long)h);
    memset(px, 0, (size_t)(w * h * channels));
    *im = (avs_image){.px = px, .w = (int32_t)w, .h = (int32_t)h, .channels = channels};
    return AVS_OK;
}

void avs_image_free(avs_image *im)
{
    free(im->px);
    *im = AVS_IMAGE_INIT;
}

enum { MAX_FILE_BYTES = 256 << 20 };

int avs_image_read(avs_image *out, avs_px px, const char *path, avs_err *e)
{
    static const uint8_t png[4] = {0x89, 'P', 'N', 'G'}, jpeg[3] = {0xFF, 0xD8, 0xFF};
    avs_buf file = AVS_BUF_INIT;
    *out = AVS_IMAGE_INIT;
    int rc = avs_fs_read(path, MAX_FILE_BYTES, &file, e);
    if (rc == AVS_OK) {
        if (file.len >= 4 && memcmp(file.data, png, 4) == 0)
            rc = avs_png_decode(out, px, path, file.data, file.len, e);
        else if (file.len >= 3 && memcmp(file.data, jpeg, 3) == 0)
            rc = avs_jpeg_decode(out, px, 1, path, file.data, file.len, e);
        else
            rc = avs_fail(e, AVS_EPARSE, "%s: expected a PNG or JPEG file, found %s", path,
                          file.len ? "other bytes" : "an empty file");
    }
    avs_buf_free(&file);
    return rc;
}

int avs_png_write(const char *path, const avs_image *im, int level, avs_err *e)
{
    avs_buf b = AVS_BUF_INIT;
    int rc;
    AVS_TRY(avs_png_encode(&b, im, level, e));
    AVS_TRY(avs_fs_mkdirs_for(path, e));
    AVS_TRY(avs_fs_write_atomic(path, b.data, b.len, e));
out:
    avs_buf_free(&b);
    return rc;
}
