/* A sheet of test pictures: picture, ground truth, prediction, side by side, for a few clips spread over the split. Masks
 * are laid over the picture in colour. */
#ifndef AVS_WORKERS_SHEET_H
#define AVS_WORKERS_SHEET_H

#include "base/sheet_layout.h"
#include "data/dataset.h"
#include "data/image.h"

typedef struct {
    const avs_dataset *ds;
    int classes, shown;
    bool is_binary;
    avs_image image;
} avs_sheet;

/* classes: channels of the logits. */
int avs_sheet_open(avs_sheet *s, const avs_dataset *ds, int classes, bool is_binary, avs_err *e);
/* An avs_eval_row: takes the rows it shows (the middle frame of every n-th clip). ctx: the sheet. */
int avs_sheet_row(void *ctx, int clip, int frame, const float *logits, avs_err *e);
int avs_sheet_write(const avs_sheet *s, const char *path, avs_err *e);
void avs_sheet_close(avs_sheet *s); /* accepts a zeroed sheet */

/* Lays a label map over pixels: class 0 leaves them, others blend half with their colour (binary: a warm red). */
void avs_overlay(uint8_t *rgb, const uint8_t *label, int64_t n, bool is_binary);
/* Logits [n,K] to labels: K = 1 foreground where positive, else the highest class. */
void avs_label_of_logits(const float *logits, int64_t n, int K, uint8_t *label);

#endif
