/* Evaluation of a model on a split: scores with the right sound, and the protocol that asks whether it listens.
 *
 *   right     each clip with its own sound
 *   swapped   with the sound of the next clip that shares no sounding class (composed data)
 *   silent    log-mel ln 0.01 everywhere
 *   constant  the best single mask for all frames, chosen on the training masks and scored on this split
 *   objects   every pixel of any visible object: about the ceiling of a model that cannot hear */
#ifndef AVS_WORKERS_EVALUATE_H
#define AVS_WORKERS_EVALUATE_H

#include "data/dataset.h"
#include "workers/control.h"
#include "workers/features.h"
#include "workers/net.h"

typedef struct {
    const avs_cfg *cfg;
    avs_net net; /* inference, rows = clips_at_once * T */
    int clips_at_once, T;
    avs_task task;
    avs_control *control; /* progress; NULL: none */
} avs_evaluator;

/* Opens the net (initial values; copy or load parameters into ev->net). features: audio enters as cached features. */
int avs_evaluator_open(avs_evaluator *ev, const avs_cfg *cfg, const avs_dataset *ds, bool features,
                       uint64_t seed, avs_control *control, avs_err *e);
void avs_evaluator_close(avs_evaluator *ev);

typedef enum { AVS_SOUND_RIGHT, AVS_SOUND_SWAPPED, AVS_SOUND_SILENT } avs_eval_sound;

typedef struct {
    double miou, fscore, fscore_at_half, miou_nonempty; /* fractions; the last two 0 for avss */
} avs_scores;

/* Called for each row that is scored: logits [H,W,K], of frame `frame` of clip `clip`. */
typedef int (*avs_eval_row)(void *ctx, int clip, int frame, const float *logits, avs_err *e);

/* features: of ds, or NULL when the net takes log-mel. AVS_ECANCEL when the trial is asked to stop. row may be NULL. */
int avs_evaluate(avs_evaluator *ev, const avs_dataset *ds, const avs_features *features, avs_eval_sound sound,
                 avs_scores *out, avs_eval_row row, void *ctx, avs_err *e);

/* mIoU of the best constant mask (thresholds on train's mean mask, scored on ds) and of all visible objects. */
int avs_evaluate_constant(const avs_dataset *train, const avs_dataset *ds, int threads, double *miou,
                          avs_err *e);
int avs_evaluate_objects(const avs_dataset *ds, double *miou, avs_err *e);

#endif
