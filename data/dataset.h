/* The data set on disk, as a list of clips of one split.
 *
 * Three tasks: S4 (AVSBench-object, Single-source), MS3 (Multi-sources), AVSS (AVSBench-semantic: v1s, v1m,
 * v2). Opening reads the CSV and checks that every clip's folder, sound, first frame and first mask are
 * there; a row that names something missing is AVS_EMISSING with FILE:LINE. Frames are prepared at the size
 * of the view: the dataset is opened for one size.
 *
 *   task  T   frames on disk            labelled in train    spatial preparation          log-mel padding
 *   s4    5   5                         frame 0              stretch                      repeat the last
 * example ms3   5   5                         all                  stretch                      repeat the
 * last example avss  10  5 (v1s, v1m) or 10 (v2)   v1s frame 0, else all of the existing ones train: crop,
 * else stretch    zeros
 *
 * In val and test every existing frame is labelled (S4, MS3; AVSS: the label mask is the same in every split,
 * so v1s has one labelled frame; scores of AVSS use the frames that exist, see avs_clip.frame_mask). Frames
 * and labels beyond those on disk (AVSS padding): image 0 after normalisation, raw image 0, label 0.
 *
 * Ownership: avs_dataset owns everything it hands out; pointers of avs_clip live until avs_dataset_close.
 * Thread rules: after avs_dataset_open (and avs_dataset_preload, which must run alone) all functions that
 * take a const avs_dataset may be called from any number of threads. Options of the command line that end
 * here: `data list ROOT`, `data check ROOT` (avs_dataset_check), `data index ROOT` (index.h), `data compose
 * OUT` (compose.h). */
#ifndef AVS_DATA_DATASET_H
#define AVS_DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

typedef enum { AVS_TASK_S4, AVS_TASK_MS3, AVS_TASK_AVSS } avs_task;
typedef enum { AVS_SPLIT_TRAIN, AVS_SPLIT_VAL, AVS_SPLIT_TEST } avs_split;

const char *avs_task_name(avs_task t);   /* "s4", "ms3", "avss"      */
const char *avs_split_name(avs_split s); /* "train", "val", "test"   */
int avs_task_parse(const char *name, avs_task *t, avs_err *e);
int avs_split_parse(const char *name, avs_split *s, avs_err *e);
int avs_task_frames(avs_task t); /* T: 5, 5, 10 */

enum { AVS_CLIP_MAX_FRAMES = 16 };
/* The word of an AVSBench-semantic class, "background" first; "?" outside. */
const char *avs_avss_name(int c);

typedef struct {
    const char *root; /* the data root (holds Single-source/, Multi-sources/, or metadata.csv) */
    avs_task task;
    avs_split split;
    int32_t height, width;             /* of the network input; AVSS training needs height == width */
    int32_t label_height, label_width; /* of labels and objects; 0: those of the input */
    bool stretch;                      /* AVSS training stretches too */
    float mean[3],
        std[3]; /* of the normalised image; all zero: ImageNet (0.485, 0.456, 0.406), (0.229, 0.224, 0.225) */
} avs_dataset_cfg;

typedef struct {
    const char *name;  /* NAME, or UID in AVSS: unique inside (task, split, group)     */
    const char *group; /* s4: category; ms3: ""; avss: subset v1s, v1m or v2           */
    const char *words; /* avss: a_obj; else "" (never used for training or scoring)    */
    int n_frames;      /* frames on disk that are used, <= T                           */
    int T;             /* of the task                                                  */
    int line;          /* of the CSV                                                   */
    uint8_t frame_mask[AVS_CLIP_MAX_FRAMES]; /* [T] 1 where the frame exists (the video mask of AVSS)   */
    uint8_t label_mask[AVS_CLIP_MAX_FRAMES]; /* [T] 1 where the frame is labelled and enters the loss   */
} avs_clip;

typedef struct avs_dataset avs_dataset;

int avs_dataset_open(avs_dataset **out, const avs_dataset_cfg *cfg, avs_err *e);
void avs_dataset_close(avs_dataset *ds); /* accepts NULL */
int avs_dataset_count(const avs_dataset *ds);
const avs_clip *avs_dataset_clip(const avs_dataset *ds, int i); /* 0 <= i < count */
const avs_dataset_cfg *avs_dataset_config(const avs_dataset *ds);

/* Which frames of a clip. frames NULL: 0 .. n-1. flip mirrors image, label and objects left to right. */
typedef struct {
    int n;
    const int32_t *frames; /* [n] each 0..T-1, any order, repeats allowed */
    bool flip;
} avs_pick;

/* Where the parts go; a NULL part is neither read nor decoded. H, W of the view, of the labels for target, classes,
 * labels_u8 and objects; n of the pick. */
typedef struct {
    float *frames;      /* f32 [n,H,W,3] normalised, channels last                                          */
    uint8_t *frames_u8; /* u8  [n,H,W,3] before normalisation                                               */
    float *logmel;      /* f32 [n,96,64]; row k is the example of frame pick.frames[k]                      */
    float *target;      /* f32 [n,H,W] 0 or 1 (s4, ms3; avss: 1 where the class is not 0)                   */
    int32_t *classes;   /* i32 [n,H,W] class index (s4, ms3: 0 or 1)                                        */
    uint8_t *labels_u8; /* u8  [n,H,W] class index (s4, ms3: 0 or 1)                                        */
    float *row_weight;  /* f32 [n] label_mask of the frame: 1 where it enters the loss                      */
    float *frame_weight; /* f32 [n] frame_mask of the frame */
    uint8_t *objects; /* u8  [n,H,W] 1 where any visible object is (composed data only: sidecar gt_objects);
                         AVS_EMISSING where the data set has none                                         */
} avs_clip_out;

/* A frame without a label on disk (s4 training, frames 1..4) has target 0 and row_weight 0. */
int avs_clip_load(const avs_dataset *ds, int i, const avs_pick *pick, const avs_clip_out *out, avs_err *e);

/* Decodes frames, labels and log-mel of the clips into memory with n_threads threads, from clip 0 on until
 * max_bytes are used (0: no limit); clips beyond the limit are read from disk as before. Results do not
 * depend on it. */
int avs_dataset_preload(avs_dataset *ds, int n_threads, size_t max_bytes, avs_err *e);
int avs_dataset_preloaded(const avs_dataset *ds); /* clips in memory */

/* Reads every frame, label and sound of the split once; the first clip (in order) that fails gives the error.
 * *odd_masks (may be NULL): binary mask files that hold bytes other than 0 and 255 (they are cut at > 127).
 */
int avs_dataset_check(const avs_dataset *ds, int n_threads, int64_t *odd_masks, avs_err *e);

#endif
