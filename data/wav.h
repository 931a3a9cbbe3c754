/* Sound files to and from samples.
 *
 * WAV is read by a strict parser of our own (PCM 8, 16, 24, 32 bits and 32-bit float, plain or extensible
 * header): a data chunk that promises more bytes than the file holds is an error with both numbers, where
 * libraries would hand out what is left. Ogg and FLAC files go through libsndfile.
 * Ownership: an avs_sound owns x; avs_sound_free leaves it empty and accepts an empty one. */
#ifndef AVS_DATA_WAV_H
#define AVS_DATA_WAV_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

typedef struct {
    double *x; /* [n] mono, mean over the channels; 16-bit samples are divided by 32768, nothing is clipped */
    int64_t n; /* samples */
    int32_t rate;     /* Hz, 1..768000 */
    int32_t channels; /* of the file */
} avs_sound;

void avs_sound_free(avs_sound *s);

enum { AVS_SOUND_MAX_SAMPLES = 1 << 28 }; /* samples times channels of one file */

/* what names the bytes in messages. Errors: AVS_EPARSE (not RIFF/WAVE, no fmt or data chunk, unknown format,
 * truncated chunk), AVS_ERANGE (too long), AVS_ENOMEM. */
int avs_wav_decode(avs_sound *out, const char *what, const void *data, size_t n, avs_err *e);
/* A file: Ogg or FLAC by its first bytes (libsndfile), else WAV. */
int avs_sound_read(avs_sound *out, const char *path, avs_err *e);

/* 16-bit PCM, mono, into *out. */
void avs_wav_encode(avs_buf *out, const int16_t *x, int64_t n, int32_t rate);

#endif
