/* libs: avs_data avs_base */
/* The WAV parser on any bytes; what it accepts is finite and inside the limits. */
#include <stdint.h>
#include <stdlib.h>
#include "data/wav.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    avs_sound s;
    avs_err e = AVS_ERR_INIT;
    int rc = avs_wav_decode(&s, "fuzz", data, n, &e);
    if ((rc == AVS_OK) != (s.x != NULL)) abort();
    if (rc == AVS_OK && (s.rate < 1 || s.channels < 1 || s.n > (int64_t)n)) abort();
    for (int64_t i = 0; i < s.n; i++)
        if (!(s.x[i] - s.x[i] == 0)) abort();
    avs_sound_free(&s);
    return 0;
}
