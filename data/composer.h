/* Inside data/: the parts of the composer. A clip is composed in three steps from one random stream: the scene (who is
 * where), who sounds when, the sound track. */
#ifndef AVS_DATA_COMPOSER_H
#define AVS_DATA_COMPOSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/rng.h"
#include "data/compose.h"
#include "data/image.h"

enum { AVS_SCENE_OBJECTS = 4, AVS_SCENE_SECONDS = 10, AVS_SCENE_RATE = 16000 };

/* classes.c: names. */
extern const char *const avs_avss_names[71]; /* class index -> name, background first */
extern const char *const avs_stamp_list[];   /* stems in the order of the demo data, NULL at the end */
int avs_avss_class_of(const char *stem);     /* AVSBench-semantic class of a stem, -1: none */

/* stamps.c: a cut-out and its recording. */
typedef struct {
    const char *name;        /* stem */
    const char *png, *sound; /* paths */
    avs_image cut;           /* RGBA, straight alpha, cropped to alpha > 127 */
    double *ring;            /* 16 kHz mono, pauses dropped, RMS 0.1; used cyclically */
    int64_t ring_n;
    int avss; /* class index or -1 */
} avs_stamp;

/* Finds and chooses the first n of the list; strings in the arena. *out lives in the arena. */
int avs_stamps_find(avs_stamp **out, avs_arena *a, const char *root, const char *list, int n, avs_err *e);
int avs_stamp_load(avs_stamp *s, avs_err *e);
void avs_stamp_unload(avs_stamp *s);
/* Cuts an RGBA picture to the box of alpha > 127; AVS_ERANGE when there is none. */
int avs_stamp_crop(avs_image *out, const avs_image *rgba, avs_err *e);
/* Recording to ring: *ring malloc'ed. AVS_ERANGE when silent. */
int avs_stamp_ring(const double *x, int64_t n, double **ring, int64_t *ring_n, avs_err *e);

/* Background photographs in the order of the data set (path list in the arena). */
int avs_backgrounds_find(const char ***paths, int *n, avs_arena *a, const char *const *folders, int n_folders,
                         avs_err *e);
/* RGB, shorter side at most limit. */
int avs_background_load(avs_image *out, const char *path, int limit, avs_err *e);

/* scene.c: the picture. */
typedef struct {
    int stamp; /* index into the stamps */
    int w, h;
    float *rgba;         /* [h,w,4] premultiplied, 0..255 and alpha 0..1 */
    double x, y, vx, vy; /* top left corner at the middle frame, pixels; pixels per second */
} avs_sprite;

typedef struct {
    int S, T, n;
    avs_sprite sprite[AVS_SCENE_OBJECTS];
    float *background;                   /* [S,S,3] 0..255 */
    uint8_t sounding[AVS_SCENE_SECONDS]; /* bit k: object k sounds in second t */
    avs_arena *arena;
} avs_scene;

/* Draws the scene of the S, T and arena that the caller has set: classes from pool [n_pool] (indices into stamps). */
int avs_scene_make(avs_scene *s, avs_rng *r, const avs_stamp *stamps, const int *pool, int n_pool,
                   const avs_image *background, avs_err *e);
/* Frame t: rgb [S,S,3] with noise, owner [S,S] object that owns the pixel (0..n-1) or 255. */
int avs_scene_frame(const avs_scene *s, int t, avs_rng *noise, uint8_t *rgb, uint8_t *owner, avs_err *e);
/* Premultiplied resize of straight RGBA to w x h: area average for reductions above 2, else triangle filter. out [h,w,4]
 * in the arena. */
int avs_sprite_resize(float **out, avs_arena *a, const avs_image *im, int w, int h, bool mirror, double gain,
                      avs_err *e);

/* sound.c: who sounds and the track. */
void avs_sounding_draw(avs_scene *s, avs_rng *r);
/* out [16000 * T]: 16 kHz mono. */
int avs_sound_mix(const avs_scene *s, const avs_stamp *stamps, avs_rng *r, int16_t *out, avs_err *e);

/* n normal numbers times sigma, in pairs. */
void avs_noise_fill(avs_rng *r, float *out, int64_t n, double sigma);

/* compose_write.c: one composed clip and its files. */
typedef struct {
    int setting; /* one bit of AVS_COMPOSE_* */
    int split, number;
    /* results */
    char name[64], vid[40];
    const char *group; /* s4: category; avss: subset; ms3: "" */
    int T, n, cls[AVS_SCENE_OBJECTS];
    uint8_t sounding[AVS_SCENE_SECONDS];
    int background; /* index */
    int64_t mask_px, object_px, pixels, bytes;
    int empty; /* frames with an empty mask */
} avs_composed;

/* sources shared by all clips, read-only */
typedef struct {
    const avs_compose_cfg *cfg;
    const avs_stamp *stamps;
    const avs_image *backgrounds;
    const char **background_path;
    int n_backgrounds;
    int pool[AVS_COMPOSE_MAX_CLASSES], n_pool;           /* all classes */
    int avss_pool[AVS_COMPOSE_MAX_CLASSES], n_avss_pool; /* those of AVSBench-semantic */
} avs_sources;

int avs_compose_clip(const avs_sources *src, avs_composed *c, avs_err *e);
/* Meta file, sidecar (and label2idx.json) of a setting; clips in order. */
int avs_compose_meta(const avs_sources *src, int setting, const avs_composed *clips, int n, avs_err *e);

#endif
