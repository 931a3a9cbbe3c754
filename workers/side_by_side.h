/* Pictures of several checkpoints beside each other: a row for each frame, the frame itself and then a column for each. */
#ifndef AVS_WORKERS_SIDE_BY_SIDE_H
#define AVS_WORKERS_SIDE_BY_SIDE_H

#include "data/image.h"

typedef struct {
    int columns, rows; /* rows: those that have anything */
    avs_image sheet;
} avs_side_by_side;

/* Room for `columns` pictures in a row. AVS_ENOMEM. */
int avs_side_open(avs_side_by_side *s, int columns, avs_err *e);
/* A picture (RGB, w x h) into a cell; rows beyond the last that a sheet has are left out. */
int avs_side_put(avs_side_by_side *s, int row, int column, const uint8_t *rgb, int w, int h, avs_err *e);
int avs_side_write(const avs_side_by_side *s, const char *path, avs_err *e); /* PNG */
void avs_side_close(avs_side_by_side *s);

#endif
