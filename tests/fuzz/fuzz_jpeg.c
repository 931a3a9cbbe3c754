/* libs: avs_data avs_base */
/* The JPEG decoder on any bytes, in every pixel layout and every size; an accepted picture has the size that
 * avs_jpeg_size says, divided and rounded up. */
#include <stdint.h>
#include <stdlib.h>
#include "data/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    int32_t w = 0, h = 0;
    avs_err e = AVS_ERR_INIT;
    const int known = avs_jpeg_size(&w, &h, "fuzz", data, n, &e);
    for (int px = AVS_PX_RGB; px <= AVS_PX_INDEX; px++) {
        const int shrink = 1 << px;
        avs_image im;
        unsigned sum = 0;
        const int rc = avs_jpeg_decode(&im, (avs_px)px, shrink, "fuzz", data, n, &e);
        if ((rc == AVS_OK) != (im.px != NULL)) abort();
        if (rc == AVS_OK && (known != AVS_OK || im.w != (w + shrink - 1) / shrink)) abort();
        if (rc == AVS_OK && im.h != (h + shrink - 1) / shrink) abort();
        for (int64_t i = 0; i < (int64_t)im.w * im.h * im.channels; i++) sum |= im.px[i];
        if (sum > 255) abort();
        avs_image_free(&im);
    }
    return 0;
}
