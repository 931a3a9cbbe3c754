/* The dual-source bodies for the GPU: one warp per row or pixel (lanes over the last axis), 4 warps per block; one
 * thread per element for EW and dropout, 256 per block. No shared memory. */
#include "engine/kernel/softmax.k.h"
#include "engine/kernel/layernorm.k.h"
#include "engine/kernel/pool.k.h"
#include "engine/kernel/resize.k.h"
#include "engine/kernel/msdeform.k.h"
#include "engine/kernel/ew.k.h"
#include "engine/kernel/philox.k.h"
