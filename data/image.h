/* Images: PNG and JPEG to 8-bit pixels and back.
 *
 * Pixels are row-major, interleaved, top row first, without padding: px[(y * w + x) * channels + c].
 * Decoders never trust a size: at most AVS_IMAGE_MAX_PIXELS pixels, and a file that ends early or is damaged
 * is AVS_EPARSE with its name in the message. Encoders are deterministic: same pixels, same bytes. Ownership:
 * an avs_image owns px; avs_image_free leaves it empty and accepts an empty one. */
#ifndef AVS_DATA_IMAGE_H
#define AVS_DATA_IMAGE_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

enum { AVS_IMAGE_MAX_PIXELS = 64 << 20 };

typedef struct {
    uint8_t *px;
    int32_t w, h, channels;
} avs_image;

#define AVS_IMAGE_INIT ((avs_image){0})
int avs_image_alloc(avs_image *im, int64_t w, int64_t h, int channels, avs_err *e); /* zeroed */
void avs_image_free(avs_image *im);

/* What a decoder hands out. */
typedef enum {
    AVS_PX_RGB,  /* 3 channels; alpha is dropped, not blended                                       */
    AVS_PX_RGBA, /* 4 channels, straight alpha (255 where the file has none)                        */
    AVS_PX_GREY, /* 1 channel; colour (palettes too) becomes (19595 R + 38470 G + 7471 B + 32768) >> 16 */
    AVS_PX_INDEX /* 1 channel; the index of a palette image, else as AVS_PX_GREY (PIL mode P of masks) */
} avs_px;

/* All PNG colour types and depths; 16 bits are cut to the upper 8, fewer than 8 grey bits are stretched to
 * 0..255. what names the bytes in messages. Errors: AVS_EPARSE, AVS_ERANGE (too many pixels), AVS_ENOMEM. */
int avs_png_decode(avs_image *out, avs_px px, const char *what, const void *data, size_t n, avs_err *e);

/* Grey and YCbCr JPEG (3 channels, or 1 with AVS_PX_GREY and AVS_PX_INDEX). shrink 1, 2, 4 or 8: decodes at
 * 1/shrink of the size, rounded up. A file that ends early is an error, not a grey rest. */
int avs_jpeg_decode(avs_image *out, avs_px px, int shrink, const char *what, const void *data, size_t n,
                    avs_err *e);
int avs_jpeg_size(int32_t *w, int32_t *h, const char *what, const void *data, size_t n, avs_err *e);

/* A file, PNG or JPEG by its first bytes. */
int avs_image_read(avs_image *out, avs_px px, const char *path, avs_err *e);

/* channels 1 (grey), 3 (RGB) or 4 (RGBA). level: zlib 0..9. The bytes are appended to *out. */
int avs_png_encode(avs_buf *out, const avs_image *im, int level, avs_err *e);
/* channels 1 or 3; quality 1..100; chroma is subsampled 2x2 below quality 90. */
int avs_jpeg_encode(avs_buf *out, const avs_image *im, int quality, avs_err *e);
/* PNG through avs_fs_write_atomic; folders above path are made. For small numbers of files that must not be
 * seen half written (predictions). */
int avs_png_write(const char *path, const avs_image *im, int level, avs_err *e);

#endif
