/* The sheet is as high as it may ever be from the start; only the rows in use are written. */
#include "workers/side_by_side.h"

#include <string.h>

#include "data/resample_image.h"

enum { CELL = 160, GAP = 4, ROWS = 60 };

int avs_side_open(avs_side_by_side *s, int columns, avs_err *e)
{
    *s = (avs_side_by_side){.columns = columns, .sheet = AVS_IMAGE_INIT};
    const int rc = avs_image_alloc(&s->sheet, columns * (CELL + GAP) - GAP, ROWS * (CELL + GAP) - GAP, 3, e);
    if (rc == AVS_OK) memset(s->sheet.px, 255, 3 * (size_t)s->sheet.w * (size_t)s->sheet.h);
    return rc;
}

int avs_side_put(avs_side_by_side *s, int row, int column, const uint8_t *rgb, int w, int h, avs_err *e)
{
    const avs_image in = {.px = (uint8_t *)(uintptr_t)rgb, .w = w, .h = h, .channels = 3};
    avs_image fit = AVS_IMAGE_INIT;
    if (row >= ROWS) return AVS_OK;
    const int rc = avs_resize_bilinear(&fit, &in, CELL, CELL, e);
    for (int y = 0; rc == AVS_OK && y < CELL; y++)
        memcpy(s->sheet.px + 3 * ((size_t)(row * (CELL + GAP) + y) * (size_t)s->sheet.w +
                                  (size_t)(column * (CELL + GAP))),
               fit.px + (size_t)(3 * y * CELL), (size_t)(3 * CELL));
    avs_image_free(&fit);
    if (row >= s->rows) s->rows = row + 1;
    return rc;
}

int avs_side_write(const avs_side_by_side *s, const char *path, avs_err *e)
{
    const avs_image used = {
        .px = s->sheet.px, .w = s->sheet.w, .h = s->rows * (CELL + GAP) - GAP, .channels = 3};
    return avs_png_write(path, &used, 6, e);
}

void avs_side_close(avs_side_by_side *s)
{
    avs_image_free(&s->sheet);
}
