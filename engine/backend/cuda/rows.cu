/* The dual-source bodies for the GPU: one warp per row or pixel (lanes over the last axis), 4 warps per block; one
 * thread per element for EW and AdamW and per four for dropout, 256 per block. No shared memory. On sm_90: 24 to 64
 * registers, no spills (scripts/cuda-compile.sh); not measured on a device yet. */
#define AVS_DEFINE_ROWS
#include "engine/backend/cuda/rows.h"
