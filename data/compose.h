/* The composer: clips that need listening, made from cut-outs with sounds over photographs, in AVSBench's own
 * layout.
 *
 * A clip is 5 frames of S x S and 5 s of 16 kHz mono. 2 to 4 objects of different classes move over a
 * background; in each second none, one or two of them sound, at least one is always silent; the mask of a
 * second is what is visible of the objects that sound. Picture and sound rules: demo data recipe, sections 4
 * (constants in scene.c and sound.c).
 *
 *   ms3   as above                              Multi-sources/ms3_meta_data.csv, ms3_data/..
 *   s4    one object sounds in all five seconds  Single-source/s4_meta_data.csv, s4_data/.., category = its
 * class; training masks for the first frame only avss  ms3 scenes of classes that exist among AVSBench's 71
 * (class masks)   metadata.csv, label2idx.json, v1s/ (as s4), v1m/ (as ms3), v2/ (ten seconds and frames);
 * thirds of the clips, in turns
 *
 * Sidecars, which a model never sees: SETTING_compose.csv beside each meta file (clip, split, visible
 * classes, sounding classes per second, owned pixels), and gt_objects/ parallel to gt_masks/ (objects_N.png
 * in AVSS clip folders): every pixel that any object owns.
 *
 * Every clip draws from its own stream, seeded by (seed, setting, split, number): same bytes for any number
 * of workers and any number of clips. Classes, backgrounds and recordings are read from folders; nothing is
 * built in but the class list of the Tux Paint stamps. Backgrounds are dealt to the splits (index mod 5: 3
 * val, 4 test, else train) so that no background is in two splits. Options of `data compose OUT`: --settings,
 * --classes, --size, --train, --val, --test, --seed, --stamps, --list,
 * --backgrounds, --replace, --threads (one per field below). */
#ifndef AVS_DATA_COMPOSE_H
#define AVS_DATA_COMPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/log.h"

enum { AVS_COMPOSE_S4 = 1, AVS_COMPOSE_MS3 = 2, AVS_COMPOSE_AVSS = 4 };
enum { AVS_COMPOSE_MAX_CLASSES = 64 };

typedef struct {
    const char *out; /* data root; made when missing. An existing setting in it is an error unless replace */
    bool replace; /* write over an existing setting of the same shape                                     */
    unsigned settings;  /* AVS_COMPOSE_* bits  */
    const char *stamps; /* folder searched (deep) for STEM.png + STEM.{ogg,wav,flac}; NULL:
                           /usr/share/tuxpaint/stamps */
    const char *list; /* text file, one stem per line, # comments; NULL: the built-in list when `stamps` holds
                         it, else every stem found, sorted. A stem of the list that is missing is an error. */
    const char *const *backgrounds; /* [n_backgrounds] folders (not deep) of JPEG or PNG files; n 0: the
                                       wallpapers of lomiri-wallpapers-16.04 and mate-backgrounds */
    int n_backgrounds;
    int n_classes;  /* first n of the list, 4..AVS_COMPOSE_MAX_CLASSES                                      */
    int size;       /* S, 16..512                                                                           */
    int n_clips[3]; /* train, val, test                                                                     */
    uint64_t seed;
    int n_threads;
    const avs_log *log; /* milestones; NULL: silent */
} avs_compose_cfg;

/* The demo profile: ms3, 16 classes, S = 96, 800/128/128, seed 1, all CPUs. out is left NULL. */
avs_compose_cfg avs_compose_demo(void);

typedef struct {
    int64_t clips, frames, bytes;
    double foreground, objects, empty; /* ms3 (or the only setting): mean share of mask pixels, of owned
                                          pixels, share of frames with an empty mask */
} avs_compose_info;

/* "s4,ms3,avss" to bits. */
int avs_compose_settings_parse(const char *text, unsigned *bits, avs_err *e);
/* Errors: AVS_EMISSING names the package or stem that is absent; AVS_ERANGE; those of the decoders. */
int avs_compose(const avs_compose_cfg *cfg, avs_compose_info *info, avs_err *e);

#endif
