/* Evaluation of a model on a split: scores with the right sound, and the protocol that asks whether it listens.
 *
 *   right     each clip with its own sound
 *   swapped   with the sound of the next clip that shares no sounding class (composed data)
 *   silent    log-mel ln 0.01 everywhere
 *
 * Floors and a ceiling without a model are in floors.h. */
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
    avs_control *control;           /* progress; NULL: none */
    const struct avs_stage1 *masks; /* of stage one, of the split that is evaluated; set after opening where
                                     * net.stage1_mask is there */
} avs_evaluator;

/* Opens the net, whose parameters have no values yet: copy, load or draw them (avs_init_again). features: audio enters as cached features. */
int avs_evaluator_open(avs_evaluator *ev, const avs_cfg *cfg, const avs_dataset *ds, bool features,
                       uint64_t seed, avs_control *control, avs_err *e);
typedef struct {
    bool features, attention; /* attention: as in avs_net_cfg */
    uint64_t seed;
    avs_control *control;
    int clips; /* at once */
} avs_evaluator_cfg;
int avs_evaluator_open_for(avs_evaluator *ev, const avs_cfg *cfg, const avs_dataset *ds,
                           const avs_evaluator_cfg *ec, avs_err *e);
void avs_evaluator_close(avs_evaluator *ev);
/* Puts frames of `clip` and the sound of clip `sound` (-1: silence) at place `at` < clips_at_once of the net's inputs. */
int avs_evaluator_fill(avs_evaluator *ev, const avs_dataset *ds, const avs_features *features, int clip,
                       int sound, int at, avs_err *e);

typedef enum { AVS_SOUND_RIGHT, AVS_SOUND_SWAPPED, AVS_SOUND_SILENT } avs_eval_sound;

enum { AVS_SCORE_CLASSES = 1024 };

typedef struct {
    double miou, fscore;                  /* fractions, all of them                       */
    double fscore_at_half, miou_nonempty; /* one class; else 0                            */
    double miou_present;                  /* classes: mean over those that occur; else 0 */
    int classes;                          /* how many; 0: one                            */
    float class_iou[AVS_SCORE_CLASSES];   /* of each; NaN where a class does not occur   */
} avs_scores;

/* Called for each row that is scored: logits [H,W,K], of frame `frame` of clip `clip`. */
typedef int (*avs_eval_row)(void *ctx, int clip, int frame, const float *logits, avs_err *e);

/* features: of ds, or NULL when the net takes log-mel. AVS_ECANCEL when the trial is asked to stop. row may be NULL. */
int avs_evaluate(avs_evaluator *ev, const avs_dataset *ds, const avs_features *features, avs_eval_sound sound,
                 avs_scores *out, avs_eval_row row, void *ctx, avs_err *e);

#endif
