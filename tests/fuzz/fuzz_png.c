/* libs: avs_data avs_base */
/* The picture decoders on any bytes, in every pixel layout; an accepted picture has the size it says. */
#include <stdint.h>
#include <stdlib.h>
#include "data/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    for (int px = AVS_PX_RGB; px <= AVS_PX_INDEX; px++) {
        avs_image im;
        unsigned sum = 0;
        avs_err e = AVS_ERR_INIT;
        int rc = n && data[0] == 0xFF ? avs_jpeg_decode(&im, (avs_px)px, 1 << px, "fuzz", data, n, &e)
                                      : avs_png_decode(&im, (avs_px)px, "fuzz", data, n, &e);
        if ((rc == AVS_OK) != (im.px != NULL)) abort();
        for (int64_t i = 0; i < (int64_t)im.w * im.h * im.channels; i++) sum += im.px[i];
        if (sum > 255u * AVS_IMAGE_MAX_PIXELS) abort();
        avs_image_free(&im);
    }
    return 0;
}
