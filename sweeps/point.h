/* A point of a stage while it is walked to: a stack of settings over those of `base`. Nothing is copied: settings
 * belong to the blocks, those of `let` to the scratch arena that evaluated them. */
#ifndef AVS_SWEEPS_POINT_H
#define AVS_SWEEPS_POINT_H

#include "sweeps/stage.h"

struct avs_point {
    avs_diag *d;
    const avs_stage_def *s;
    avs_setting *at[AVS_MAX_KEYS];
    int n;
    bool no_memory;
};

const avs_setting *avs_point_find(const avs_point *pt, const char *key); /* also in base; NULL: not set */
avs_pos avs_setting_pos(const avs_setting *s);                           /* of the value */
/* Pushes a setting; false when the key already has another value (E022). */
bool avs_point_set(avs_point *pt, avs_setting *s);
/* False after a diagnostic. Lists that come out belong to a. */
bool avs_point_eval(avs_point *pt, avs_arena *a, const avs_expr *x, const avs_ynode *node, avs_json *out);
bool avs_point_holds(avs_point *pt, avs_arena *a, const avs_expr *x, const avs_ynode *node, bool *out);
/* Pushes what `let` computes. False after a diagnostic or without memory. */
bool avs_point_lets(avs_point *pt, avs_arena *a);
/* The parameters that base and the point set, without nulls. NULL: no memory. */
avs_json *avs_point_given(avs_point *pt, avs_arena *a);
/* What the blocks and `let` set, in order. Values are shared with the point. NULL: no memory. */
avs_json *avs_point_axes(avs_point *pt, avs_arena *a);

#endif
