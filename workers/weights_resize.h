/* Position tables of another size, as rules of AVS_KEY_RESIZE ask for (sources: SAM's get_rel_pos, SAM-Med2D's loading of
 * 1024-pixel checkpoints): linear along the axes of position, pixel centres (align_corners = false), no smoothing when a
 * table shrinks. */
#ifndef AVS_WORKERS_WEIGHTS_RESIZE_H
#define AVS_WORKERS_WEIGHTS_RESIZE_H

#include "engine/tensor/safetensors.h"
#include "engine/tensor/type.h"

/* [rows,d] by rows or [1,h,w,d] by h and w; d must be the same, nothing may be empty. */
bool avs_weights_can_resize(const avs_st_tensor *t, const avs_type *want);
/* from: t->count floats; to: avs_type_count(want). Only after avs_weights_can_resize. */
void avs_weights_resize(const avs_st_tensor *t, const float *from, const avs_type *want, float *to);

#endif
