/* Whether a GPU and its libraries fit this build: rules alone, so that they are tested without either. */
#include "engine/backend/cuda/cuda.h"

#include <stdlib.h>

/* Machine code of sm_XY runs on X.Y and later ones of X; the last architecture is also there as PTX. */
int avs_cuda_fits_arch(const char *gpu, int major, int minor, const char *archs, avs_err *e)
{
    const int have = major * 10 + minor;
    int last = 0;
    for (const char *p = archs; *p;) {
        char *end;
        const int arch = (int)strtol(p, &end, 10);
        if (arch / 10 == major && arch <= have) return AVS_OK;
        last = arch;
        p = *end ? end + 1 : end;
    }
    if (have >= last) return AVS_OK;
    return avs_fail(e, AVS_EMISSING,
                    "%s is sm_%d, this build has kernels for %s; configure with AVS_CUDA_ARCHS=%d", gpu, have,
                    archs, have);
}

int avs_cuda_fits_version(const char *library, size_t have, size_t need, avs_err *e)
{
    if (have / 10000 == need / 10000 && have >= need) return AVS_OK;
    return avs_fail(e, AVS_EMISSING,
                    "%s %zu.%zu.%zu is installed, this build needs %zu.%zu.%zu or a later one of %zu",
                    library, have / 10000, have / 100 % 100, have % 100, need / 10000, need / 100 % 100,
                    need % 100, need / 10000);
}
