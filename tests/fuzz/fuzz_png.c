/* libs: avs_data avs_base */
/* The PNG decoder on any bytes, in every pixel layout; an accepted picture has the size it says. libFuzzer's mutations
 * get right checksums, because libpng reads no further than a wrong one. */
#include <stdint.h>
#include <stdlib.h>
#include "data/image.h"

static uint32_t crc_of(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
    }
    return ~crc;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t max_n, unsigned seed)
{
    n = LLVMFuzzerMutate(data, n, max_n);
    if (seed % 8 == 0) return n; /* wrong checksums and odd heads too */
    for (size_t at = 8; n >= 12 && at <= n - 12;) {
        const uint8_t *p = data + at;
        const size_t size = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (size > n - 12 - at) break;
        const uint32_t crc = crc_of(p + 4, size + 4);
        for (int i = 0; i < 4; i++) data[at + 8 + size + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += 12 + size;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    for (int px = AVS_PX_RGB; px <= AVS_PX_INDEX; px++) {
        avs_image im;
        unsigned sum = 0;
        avs_err e = AVS_ERR_INIT;
        int rc = avs_png_decode(&im, (avs_px)px, "fuzz", data, n, &e);
        if ((rc == AVS_OK) != (im.px != NULL)) abort();
        for (int64_t i = 0; i < (int64_t)im.w * im.h * im.channels; i++) sum |= im.px[i];
        if (sum > 255) abort();
        avs_image_free(&im);
    }
    return 0;
}
