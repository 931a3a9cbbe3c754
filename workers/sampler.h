/* What each training step looks at: clips, frames and flips, as a pure function of seed and step, so that order does not
 * depend on workers, ranks or restarts.
 *
 * Samples run through one seeded permutation of the split per epoch, epochs joined end to end: step s takes samples
 * s*batch .. (s+1)*batch-1 of that endless list. Rank r of R takes the r-th part of each pass. */
#ifndef AVS_WORKERS_SAMPLER_H
#define AVS_WORKERS_SAMPLER_H

#include "data/dataset.h"
#include "data/loader.h"
#include "models/schema.h"

typedef struct {
    const avs_dataset *ds;
    uint64_t order_seed, augment_seed;
    int batch;           /* samples of a step over all ranks and passes */
    int n_samples;       /* of an epoch                                 */
    int rows_per_sample; /* frames that a sample puts into a pass       */
    bool shuffle, by_frame, all_frames, flip, flip_per_batch;
    double flip_probability;
    int32_t *frame_of; /* by_frame: sample -> clip * AVS_CLIP_MAX_FRAMES + frame; else NULL */
    int32_t *order;    /* of epoch order_epoch; owner: the sampler */
    int64_t order_epoch;
} avs_sampler;

int avs_sampler_init(avs_sampler *s, const avs_dataset *ds, const avs_cfg *cfg, uint64_t trial_seed,
                     avs_err *e);
void avs_sampler_fini(avs_sampler *s);

/* Items of samples [first, first + n) of step `step`. counted[i]: frames of item i that are real; a sample with fewer
 * frames than rows_per_sample repeats its first one, and the rest must get weight 0. */
void avs_sampler_items(avs_sampler *s, int64_t step, int first, int n, avs_loader_item *items, int *counted);

#endif
