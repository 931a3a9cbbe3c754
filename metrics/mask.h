/* Scores of binary masks (tasks s4 and ms3): mIoU ("J") and the F-score of the AVSBench family.
 *
 * One frame at a time: logits or a binary prediction against a binary target, plain row-major arrays. A score
 * object gathers frames into clips and clips into batches, because the published F-score takes one maximum
 * per test batch (first the mean curve over the batch's frames, then the maximum): it depends on the batch
 * size.
 *
 *   avs_mask_score s;
 *   avs_mask_score_init(&s, 1);                        one clip per maximum: the avsweep protocol
 *   for each clip { for each frame avs_mask_score_add(&s, logits, target, H, W, err);
 * avs_mask_score_end_clip(&s, err); } avs_mask_result r;  avs_mask_score_finish(&s, &r, err);
 *   avs_mask_score_fini(&s);
 *
 * Definitions (sources OpenNLPLab/AVSBench utility.py,
 * GeWu-Lab/Stepping-Stones): p = 1 where sigmoid(logit) > 0.5, so logit 0 gives 0 (and a logit below 2^-24
 * too: its float32 sigmoid is 0.5). iou = |p & t| / (|p | t| + 1e-7); an empty target scores the share of
 * pixels predicted 0. F at threshold th_k: s >= th_k with s = (float)(1 / (1 + exp(-(double)logit))); 255
 * thresholds on [0,1]; frames whose target is empty have no F. A batch of empty frames counts with F = 0.
 *   f_at_half: th = 0.5 (s >= 0.5f), per frame, mean over the frames whose target is not empty.
 *
 * Values are deterministic: frames are summed in the order they were added. Counts are exact below 2^24
 * pixels per frame (AVS_ERANGE above). NaN logits count as background. Thread rules: one object, one thread
 * at a time. */
#ifndef AVS_METRICS_MASK_H
#define AVS_METRICS_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum { AVS_F_THRESHOLDS = 255 };

/* th_0 = 0 .. th_254 = 1; the reference's float32 table, kept verbatim (no closed form gives all 255). */
extern const float avs_f_thresholds[AVS_F_THRESHOLDS];

/* (float)(1/(1+exp(-x))) evaluated in double: reproduces the reference curves bit for bit. */
float avs_sigmoid_f32(float logit);

typedef struct {
    float iou;            /* of this frame                                          */
    float f_at_half;      /* 0 when the target is empty                             */
    float f_max;          /* maximum of this frame's own curve; 0 when target empty */
    bool target_is_empty; /* no pixel set: the frame has no F                       */
} avs_mask_frame;

/* One frame. target H,W f32 (> 0.5 is foreground); logits H,W f32; curve: 255 values or NULL (F per
 * threshold, zeros when the target is empty). Errors: AVS_ERANGE if H or W < 1 or H*W >= 2^24. */
int avs_mask_frame_logits(const float *logits, const float *target, int64_t H, int64_t W, avs_mask_frame *out,
                          float *curve, avs_err *e);
/* The same with the thresholds on the logits themselves; the iou stays that of the sigmoid. A quirk of the SAMA-AVS code. */
int avs_mask_frame_raw(const float *logits, const float *target, int64_t H, int64_t W, avs_mask_frame *out,
                       float *curve, avs_err *e);
/* The same for a prediction that is already binary: pred H,W u8 (0 or not 0) stands for s = 0 or 1. A
 * constant mask is scored this way too. */
int avs_mask_frame_binary(const uint8_t *pred, const float *target, int64_t H, int64_t W, avs_mask_frame *out,
                          float *curve, avs_err *e);
/* Two-channel logits 2,H,W (Stepping-Stones stage one): p = argmax (tie -> 0) for the iou, s = sigmoid(2*l1 -
 * l0) for F. */
int avs_mask_frame_two_channel(const float *logits, const float *target, int64_t H, int64_t W,
                               avs_mask_frame *out, float *curve, avs_err *e);

typedef struct {
    int fscore_batch;   /* clips per F maximum, >= 1                                 */
    bool on_logits;     /* avs_mask_score_add thresholds the logits themselves; set after init */
    int clips_in_batch; /* private from here on                                      */
    int64_t n_frames, n_clips;
    avs_mask_frame *frames; /* n_frames, in the order added; owner: this object, until fini */
    size_t cap;
    float curve_sum[AVS_F_THRESHOLDS]; /* of the open batch */
    int64_t curve_frames;              /* frames with an F in the open batch  */
    int64_t batch_frames;              /* frames of the open batch            */
    double f_sum, batch_iou_sum;
    float iou_sum; /* float32 sum over the open batch, as the reference adds */
    int64_t n_batches;
} avs_mask_score;

/* fscore_batch: clips per F maximum, values < 1 count as 1. */
void avs_mask_score_init(avs_mask_score *s, int fscore_batch);
void avs_mask_score_fini(avs_mask_score *s); /* accepts a zeroed object */

/* Each adds one frame (arguments as above). Errors: AVS_ERANGE, AVS_ENOMEM. */
int avs_mask_score_add(avs_mask_score *s, const float *logits, const float *target, int64_t H, int64_t W,
                       avs_err *e);
int avs_mask_score_add_binary(avs_mask_score *s, const uint8_t *pred, const float *target, int64_t H,
                              int64_t W, avs_err *e);
int avs_mask_score_add_two_channel(avs_mask_score *s, const float *logits, const float *target, int64_t H,
                                   int64_t W, avs_err *e);
/* Closes a clip; every fscore_batch clips one maximum is taken. */
void avs_mask_score_end_clip(avs_mask_score *s);

typedef struct {
    int64_t n_frames, n_nonempty, n_clips, n_batches;
    double miou;           /* mean over all frames                                        */
    double miou_nonempty;  /* mean over frames whose target is not empty; 0 without any   */
    double miou_published; /* mean over batches of the batch means: what the papers print */
    double fscore;         /* mean over batches of the batch maxima                       */
    double fscore_at_half; /* mean over frames whose target is not empty; 0 without any   */
} avs_mask_result;

/* Closes an open clip and an unfinished last batch (a ragged batch counts as one) and computes the means. The
 * object can still be read (frames) but not added to. Errors: AVS_EMISSING when no frame was added. */
int avs_mask_score_finish(avs_mask_score *s, avs_mask_result *out, avs_err *e);

#endif
