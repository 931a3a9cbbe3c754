/* Inside data/: how one benchmark setting lies on disk. A layout lists the clips of a split and names their files; reading
 * and caching (dataset.c, clip.c) is the same for all. */
#ifndef AVS_DATA_LAYOUT_H
#define AVS_DATA_LAYOUT_H

#include "base/arena.h"
#include "data/dataset.h"
#include "data/image.h"
#include "data/logmel.h"
#include "data/resample_image.h"

enum { AVS_PATH_MAX = 4096 };

typedef enum { AVS_PART_FRAME, AVS_PART_LABEL, AVS_PART_SOUND, AVS_PART_OBJECTS } avs_part;

/* What the cache holds for a clip: NULL frames means not in memory. */
typedef struct {
    uint8_t *frames; /* [n_frames,H,W,3]  */
    uint8_t *labels; /* [n_labels,H,W]    */
    float *logmel;   /* [T,96,64]         */
} avs_clip_cache;

typedef struct {
    avs_clip pub;
    int n_labels;      /* labels on disk: frames 0 .. n_labels-1 */
    const char *split; /* "train", .. : part of S4 and MS3 paths */
    avs_clip_cache cache;
} avs_clip_record;

typedef struct {
    const char *meta;    /* the CSV below ROOT                                         */
    const char *sidecar; /* the composer's CSV below ROOT, may be absent               */
    bool binary;         /* labels are masks; else colours of classes                  */
    avs_px label_px;     /* how a label file is decoded                                */
    avs_fit train_fit;
    avs_mel_pad mel_pad;
    /* Fills the array of records of the split from the CSV (strings in the arena). */
    int (*list)(avs_dataset *ds, const char *meta_path, avs_err *e);
    /* Path of part k (0-based frame) below ROOT; false: does not fit. */
    bool (*path)(const avs_clip_record *c, avs_part part, int k, char *buf, size_t n);
} avs_layout;

extern const avs_layout avs_layout_s4, avs_layout_ms3, avs_layout_avss;

struct avs_dataset {
    avs_dataset_cfg cfg;
    const avs_layout *layout;
    avs_arena *arena;
    avs_clip_record *clips;
    int n, cap;
    int n_preloaded;
};

/* Appends an empty record; AVS_ENOMEM. *rec is valid until the next call. */
int avs_layout_add(avs_dataset *ds, avs_clip_record **rec, avs_err *e);
/* A name from a CSV that becomes part of a path: not empty, no '/', not "." or "..". */
int avs_layout_name(const char *what, int line, const char *column, const char *name, avs_err *e);
/* Column index or AVS_EMISSING with the file's name. */
int avs_layout_col(const char *what, int found, const char *name, int *col, avs_err *e);
/* ROOT/part into buf. */
int avs_layout_path(const avs_dataset *ds, const avs_clip_record *c, avs_part part, int k,
                    char buf[AVS_PATH_MAX], avs_err *e);

/* clip.c: decodes one part. labels: binary 0/1 or classes; *odd counts files with bytes other than 0 and 255. */
int avs_clip_read_frame(const avs_dataset *ds, int i, int k, uint8_t *px, avs_err *e);
int avs_clip_read_label(const avs_dataset *ds, int i, int k, uint8_t *label, int64_t *odd, avs_err *e);
int avs_clip_read_objects(const avs_dataset *ds, int i, int k, uint8_t *objects, avs_err *e);
int avs_clip_read_logmel(const avs_dataset *ds, int i, int count, float *logmel, avs_err *e);

#endif
