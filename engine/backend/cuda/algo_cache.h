/* Which algorithm was fastest, remembered on disk, so that a sweep measures each convolution once.
 *
 * One text file, one line per choice: KEY TAB NUMBER. A key holds everything that the choice depends on (GPU, driver,
 * version of the library, shape, precision) and no tab or line end. Lines are appended with one write each, so several
 * processes may share the file; of two lines with one key the later counts. A file that cannot be read or written
 * costs time, never a run. */
#ifndef AVS_ENGINE_BACKEND_CUDA_ALGO_CACHE_H
#define AVS_ENGINE_BACKEND_CUDA_ALGO_CACHE_H

#include "base/arena.h"
#include "base/err.h"

typedef struct avs_algo_cache avs_algo_cache;

/* path NULL: AVSWEEP_CACHE or XDG_CACHE_HOME or ~/.cache, then avsweep/cudnn-algorithms.txt. Never fails for the sake of
 * the file; NULL when memory is out. Everything lies in the arena. */
avs_algo_cache *avs_algo_cache_open(avs_arena *a, const char *path);
int avs_algo_cache_find(const avs_algo_cache *c, const char *key); /* -1: not known */
void avs_algo_cache_put(avs_algo_cache *c, const char *key, int choice);

#endif
