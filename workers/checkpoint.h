/* Checkpoints: safetensors with the reference's keys in canonical layout, so that they load anywhere.
 *
 *   KEY            every parameter and buffer
 *   opt.m.KEY, opt.v.KEY   optimiser state (only in resumable checkpoints)
 *   __metadata__   format, step, seed, trial, config (canonical JSON), best_step, best_value, version, sum
 * sum is a checksum over names and values, in hex; files without it (of earlier versions) are taken as they are.
 * Nothing that varies between equal runs is stored: same seeds give the same bytes. */
#ifndef AVS_WORKERS_CHECKPOINT_H
#define AVS_WORKERS_CHECKPOINT_H

#include "engine/plan/plan.h"
#include "models/schema.h"

typedef struct {
    int64_t step;      /* optimiser steps done */
    int64_t best_step; /* -1: none was selected yet */
    double best_value;
    uint64_t seed;
    const char *trial;
    const char *config; /* canonical JSON */
} avs_ckpt_info;

/* m and v: optimiser state with the slab's layout, or NULL. Written atomically. */
int avs_ckpt_save(avs_plan *p, const float *m, const float *v, const avs_ckpt_info *info, const char *path,
                  avs_err *e);
/* Restores what avs_ckpt_save wrote into the plan (and into m, v unless NULL): every parameter and buffer must be there
 * with its extents, and no other key but opt.*. Parameters below `except` (NULL: none) may all be missing: those of a
 * frozen encoder whose output was cached. info may be NULL; its strings belong to a. Files of other origin are loaded by
 * weights.h. */
int avs_ckpt_load(avs_plan *p, float *m, float *v, avs_arena *a, avs_ckpt_info *info, const char *path,
                  const char *except, avs_err *e);
/* Whether the file is whole: it opens, is a checkpoint, and its content has its checksum. AVS_EPARSE: it is not. */
int avs_ckpt_check(const char *path, avs_err *e);
/* Metadata alone. */
int avs_ckpt_read_info(avs_arena *a, const char *path, avs_ckpt_info *info, avs_err *e);

#endif
