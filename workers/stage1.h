/* Masks of stage one of aavs: written by stage one, read or made for stage two.
 *
 * On disk (the artefact "masks" of a trial, its PATH): ROOT/SPLIT/GROUP/NAME/FRAME.png, 8-bit grey, 0 or 255, 224 x 224;
 * SPLIT train, val or test; GROUP the category (s4) or subset (avss), absent for ms3; FRAME from 0. ROOT/index.txt lists
 * the files, one path a line. A folder without SPLIT folders is read as ROOT/GROUP/NAME/FRAME.png, which is the layout of
 * the public code.
 *
 * Made from the ground truth: 1 where the class is not background; with stage1_mask_iou below 1, cells of 16 x 16 pixels
 * are flipped one by one, in ascending order of the probe values unit("corrupt.SEED.NAME.FRAME"), until the IoU with the
 * ground truth is at most that. An empty mask stays empty. */
#ifndef AVS_WORKERS_STAGE1_H
#define AVS_WORKERS_STAGE1_H

#include "workers/evaluate.h"

typedef struct avs_stage1 {
    const avs_dataset *ds;
    const char *root; /* of predicted masks; NULL: the ground truth */
    char split[8];    /* folder below root, "" where root is of the public layout */
    double iou;
    int64_t seed;
    int32_t h, w;
} avs_stage1;

/* ds: opened with the labels' size of the model; its split decides between stage1_mask_train and stage1_mask_eval.
 * root: in place of stage1_masks, or NULL. AVS_EMISSING names the first mask that is not there. */
int avs_stage1_open(avs_stage1 *s, const avs_cfg *cfg, const avs_dataset *ds, const char *root, avs_err *e);
/* Masks of rows [n,h,w] of a clip; frames as in avs_pick (NULL: 0 .. n-1). Frames that do not exist get 0. */
int avs_stage1_load(const avs_stage1 *s, int clip, const avs_pick *pick, float *out, avs_err *e);
/* One mask file [h,w] of values in [0,1], brought to that size. */
int avs_stage1_read(const char *path, int h, int w, float *out, avs_err *e);
/* Flips cells of mask [h,w] (0 or 1, the ground truth) until its IoU with what it was is at most `iou`. */
int avs_stage1_corrupt(float *mask, int h, int w, double iou, const char *name, avs_err *e);

/* Writes the masks that ev (stage one, weights loaded) predicts for ds below root. */
int avs_stage1_write(avs_evaluator *ev, const avs_dataset *ds, const avs_features *features, const char *root,
                     avs_err *e);
/* The list of files below root, and their sizes and digest together (of index.txt and every file in its order). */
int avs_stage1_index(const char *root, int64_t *bytes, uint8_t sha256[32], avs_err *e);

#endif
