/* How a prediction sheet is laid out, for those who draw it and those who cut it up again: clips in AVS_SHEET_COLUMNS columns,
 * each as picture, ground truth and prediction of equal size, with a gap of AVS_SHEET_GAP pixels before each picture and row,
 * and two more after each clip. */
#ifndef AVS_BASE_SHEET_LAYOUT_H
#define AVS_BASE_SHEET_LAYOUT_H

enum { AVS_SHEET_CLIPS = 12, AVS_SHEET_COLUMNS = 2, AVS_SHEET_GAP = 4 };

#endif
