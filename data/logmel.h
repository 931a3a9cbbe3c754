/* The log-mel front end of VGGish: examples of 96 x 64 from 16 kHz sound, float64 until the last cast.
 *
 * Window 400 (periodic Hann), hop 160, FFT 512, magnitudes, 64 mel bands from 125 to 7500 Hz, ln(mel + 0.01).
 * Example i covers samples 15360 i .. 15360 i + 15600. Silence is AVS_LOGMEL_SILENCE everywhere.
 * Source: torchvggish in OpenNLPLab/AVSBench; golden `mel-frontend`. Thread rules: all functions may run in
 * parallel. */
#ifndef AVS_DATA_LOGMEL_H
#define AVS_DATA_LOGMEL_H

#include <stdint.h>
#include "base/err.h"
#include "data/wav.h"

enum {
    AVS_MEL_FRAMES = 96,
    AVS_MEL_BANDS = 64,
    AVS_MEL_RATE = 16000,
    AVS_MEL_FFT = 512,
    AVS_MEL_BINS = 257,
    AVS_MEL_WINDOW = 400,
    AVS_MEL_HOP = 160,
    AVS_MEL_EXAMPLE = 96 * 64
};
#define AVS_LOGMEL_SILENCE (-4.605170185988091f) /* ln 0.01 */

typedef enum {
    AVS_MEL_REPEAT, /* too few examples: copies of the last one (S4, MS3) */
    AVS_MEL_ZEROS   /* too few examples: zeros (AVSS)                     */
} avs_mel_pad;

int64_t avs_logmel_examples(int64_t n_samples); /* whole examples in n samples at 16 kHz */
/* out f32 [count, 96, 64]: the first min(count, examples) examples of x [n] (16 kHz); the rest is untouched. Returns how
 * many were made. */
int64_t avs_logmel(const double *x, int64_t n, int64_t count, float *out);
/* A whole sound to exactly count examples: resampled (AVS_RESAMPY_043) to 16 kHz when needed, cut or padded.
 * Errors: AVS_ERANGE when AVS_MEL_REPEAT has not one example to repeat (less than 0.975 s). */
int avs_logmel_clip(const avs_sound *s, int64_t count, avs_mel_pad pad, float *out, avs_err *e);

/* The parts, for tests: window [400], matrix [257, 64]. */
void avs_logmel_window(double window[AVS_MEL_WINDOW]);
void avs_logmel_matrix(double *matrix);
/* Magnitudes [257] of 512 real samples. */
void avs_rfft_magnitude(const double x[AVS_MEL_FFT], double mag[AVS_MEL_BINS]);

#endif
