/* libs: avs_base */
/* The frame reader on any byte stream, fed in two pieces; every field of an accepted frame is looked up. */
#include <stdint.h>
#include "base/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    avs_frame_reader r = {0};
    avs_arena *a = avs_arena_new();
    avs_frame f;
    avs_err e = AVS_ERR_INIT;
    bool got = true;
    size_t cut = n ? data[n / 2] % (n + 1) : 0;
    for (int piece = 0; piece < 2; piece++) {
        avs_frame_feed(&r, piece ? data + cut : data, piece ? n - cut : cut);
        while (avs_frame_next(&r, &f, &got, &e) == AVS_OK && got)
            for (uint16_t tag = 0; tag < 70; tag++) {
                (void)avs_frame_i64(&f, tag, 0);
                (void)avs_frame_str(&f, tag, a);
            }
    }
    avs_arena_free(a);
    avs_frame_reader_free(&r);
    return 0;
}
