/* Scores of class maps (task avss): per-class IoU and F at the argmax, averaged over frames, then over
 * classes.
 *
 *   iou[c]   += inter / (union + 2^-52)      per frame; a class that is neither predicted nor labelled adds
 * nothing count[c] += 1 if union > 0               (so a false positive of a class adds a zero to that
 * class's mean) f[c]     += 1.3 P R / (0.3 P + R), 0/0 -> 0 class value = sum / count (0 for 0/0); mIoU and F
 * = mean over ALL classes, background included.
 *
 * Per-frame values are float32 and summed in float32 in the order of frames, as the reference does.
 * Source: OpenNLPLab/AVSBench compute_color_metrics.py. */
#ifndef AVS_METRICS_SEMANTIC_H
#define AVS_METRICS_SEMANTIC_H

#include <stdint.h>
#include "base/err.h"

typedef struct {
    int classes; /* C >= 1                                             */
    int64_t n_frames;
    float *iou;     /* C sums; owner: this object, until fini           */
    float *f;       /* C sums                                           */
    int64_t *count; /* C: frames in which the class occurs              */
} avs_semantic_score;

int avs_semantic_init(avs_semantic_score *s, int classes, avs_err *e); /* AVS_ERANGE, AVS_ENOMEM */
void avs_semantic_fini(avs_semantic_score *s);                         /* accepts a zeroed object */

/* pred and target H,W i32 in 0..C-1. Errors: AVS_ERANGE for a class outside, H*W >= 2^24, or extents < 1. */
int avs_semantic_add(avs_semantic_score *s, const int32_t *pred, const int32_t *target, int64_t H, int64_t W,
                     avs_err *e);
/* logits C,H,W f32 (channel-major); the prediction is the argmax, ties to the lowest class. */
int avs_semantic_add_logits(avs_semantic_score *s, const float *logits, const int32_t *target, int64_t H,
                            int64_t W, avs_err *e);
/* Argmax over C of logits C,H,W into pred H,W; ties to the lowest class, NaN never wins. */
void avs_argmax_chw(const float *logits, int C, int64_t H, int64_t W, int32_t *pred);

typedef struct {
    double miou, f;                   /* over all C classes                                         */
    double miou_no_first, f_no_first; /* background dropped (class 0): Stepping-Stones              */
    double miou_no_last, f_no_last;   /* last class dropped: parity with the released AVSBench code */
    double miou_present, f_present;   /* divided by the number of classes that occur                */
    int classes_absent;               /* classes with count 0                                       */
} avs_semantic_result;

/* class_iou and class_f: C values each, or NULL. Errors: AVS_EMISSING without a frame. */
int avs_semantic_finish(const avs_semantic_score *s, avs_semantic_result *out, float *class_iou,
                        float *class_f, avs_err *e);

#endif
