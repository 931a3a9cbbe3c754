/* libs: avs_data avs_base */
/* The PNG decoder on any bytes, in every pixel layout; an accepted picture has the size it says. */
#include <stdint.h>
#include <stdlib.h>
#include "data/image.h"

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
