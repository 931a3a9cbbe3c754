/* The best constant answer: one mask for all frames, from thresholds on the mean training mask. What a model
 * reaches without looking or listening. */
#ifndef AVS_DATA_CONSTANT_H
#define AVS_DATA_CONSTANT_H

#include <stdint.h>
#include "base/err.h"
#include "data/dataset.h"

/* mean f32 [H,W]: share of labelled frames (label_mask) of the split in which the pixel is foreground; summed
 * as integers, so exact for any thread count. *n_frames (may be NULL): frames counted. */
int avs_constant_mean(const avs_dataset *ds, int n_threads, float *mean, int64_t *n_frames, avs_err *e);

/* Score of mask [n_pixels] (0 or 1) on the frames of the protocol; larger is better. */
typedef int (*avs_constant_score)(void *ctx, const uint8_t *mask, double *score, avs_err *e);

typedef struct {
    double score;
    double threshold; /* 1 for the empty mask */
} avs_constant_winner;

/* Candidates: the empty mask, and mean > k/(n_levels+1) * max(mean) for k = 0..n_levels. The first best one
 * wins: best u8 [n_pixels] is its mask. */
int avs_constant_best(const float *mean, int64_t n_pixels, int n_levels, avs_constant_score score, void *ctx,
                      uint8_t *best, avs_constant_winner *winner, avs_err *e);

#endif
