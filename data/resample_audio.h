/* Band-limited sinc resampling, equal to resampy's `kaiser_best` sample by sample (double precision).
 * Source: J. O. Smith, digital audio resampling; resampy 0.4.3 and 0.2.2; golden `mel-frontend`. */
#ifndef AVS_DATA_RESAMPLE_AUDIO_H
#define AVS_DATA_RESAMPLE_AUDIO_H

#include <stdint.h>
#include "base/err.h"

typedef enum {
    AVS_RESAMPY_043, /* 50 zero crossings, 8192 table entries each: resampy 0.3 and later (used by the
                        readers) */
    AVS_RESAMPY_022  /* 64 zero crossings, 512 entries each: resampy 0.2.2 and earlier  */
} avs_resampler;

/* Samples that n samples at from_hz become at to_hz. */
int64_t avs_resample_length(avs_resampler kind, int64_t n, int32_t from_hz, int32_t to_hz);
/* out [avs_resample_length]; from_hz == to_hz copies. Errors: AVS_ENOMEM, AVS_ERANGE (rates below 1). */
int avs_resample(avs_resampler kind, const double *x, int64_t n, int32_t from_hz, int32_t to_hz, double *out,
                 avs_err *e);
/* The right half of the filter: *n = Z * P + 1 values, malloc'ed, the caller frees. */
int avs_resample_table(avs_resampler kind, double **table, int64_t *n, avs_err *e);

#endif
