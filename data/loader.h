/* Batches ahead of time: worker threads fill slots while the caller computes.
 *
 * The caller decides deterministically what is in every batch (clips, frames, flips) and pushes the lists;
 * batches come back in the order of the pushes, filled item by item at fixed places, so that nothing depends
 * on the number of threads. At most n_slots batches are in memory: the one the caller holds and n_slots - 1
 * that are ready or being filled.
 *
 * Ownership: the loader owns the batch; it is valid until the next avs_loader_next or avs_loader_free.
 * Thread rules: push, next and free belong to one thread (the trial's). The dataset must outlive the loader.
 */
#ifndef AVS_DATA_LOADER_H
#define AVS_DATA_LOADER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "data/dataset.h"

typedef struct {
    const avs_dataset *ds;
    int n_threads;                                            /* >= 1 */
    int n_slots;                                              /* >= 2 */
    int max_rows;                                             /* frames in the largest batch */
    bool want_frames, want_logmel, want_target, want_classes; /* parts that are filled; the others are NULL */
} avs_loader_cfg;

typedef struct {
    int32_t clip;
    int32_t sound; /* clip whose log-mel is used; normally == clip (swapped-sound protocol: another one) */
    int32_t n;     /* frames of this clip in the batch, 1..AVS_CLIP_MAX_FRAMES */
    int32_t frames[AVS_CLIP_MAX_FRAMES];
    bool flip;
} avs_loader_item;

typedef struct {
    int64_t number;               /* 0-based, in order of the pushes                           */
    int n_rows, n_items;          /* rows of item k follow those of item k-1                    */
    const avs_loader_item *items; /* [n_items] as pushed                               */
    float *frames;                /* f32 [n_rows,H,W,3]                                        */
    float *logmel;                /* f32 [n_rows,96,64]                                        */
    float *target;                /* f32 [n_rows,H,W] of the labels                            */
    int32_t *classes;             /* i32 [n_rows,H,W] of the labels                            */
    float *row_weight;            /* f32 [n_rows], always filled                               */
    float *frame_weight;          /* f32 [n_rows], always filled                               */
} avs_batch;

typedef struct avs_loader avs_loader;

int avs_loader_new(avs_loader **out, const avs_loader_cfg *cfg, avs_err *e);
/* Stops the threads (batches under way are finished, queued ones dropped) and frees everything; accepts NULL.
 */
void avs_loader_free(avs_loader *l);
/* Copies the list; never waits. Errors: AVS_ERANGE (clip or frame outside the data set, more than max_rows
 * rows). */
int avs_loader_push(avs_loader *l, const avs_loader_item *items, int n_items, avs_err *e);
int avs_loader_pending(const avs_loader *l); /* pushed and not yet returned */
/* Waits for the next batch in order. Errors: that of the first item of the batch that failed; AVS_EMISSING
 * when nothing is pending. After an error the loader can only be freed. */
int avs_loader_next(avs_loader *l, const avs_batch **out, avs_err *e);

#endif
