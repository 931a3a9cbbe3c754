/* libs: avs_tensor avs_base */
/* The checkpoint reader on any bytes; every tensor it accepts must be readable to its last element. */
#include <stdint.h>
#include <stdlib.h>
#include "engine/tensor/pth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    avs_st_file f;
    avs_pth_info info;
    avs_err e = AVS_ERR_INIT;
    if (avs_pth_parse(&f, "fuzz", data, n, NULL, &info, &e) != AVS_OK) return 0;
    for (int i = 0; i < f.n; i++) {
        float *x = malloc((size_t)f.t[i].count * sizeof *x + 1);
        if (!x || avs_st_f32(&f.t[i], x, &e) != AVS_OK) abort();
        free(x);
    }
    avs_st_close(&f);
    return 0;
}
