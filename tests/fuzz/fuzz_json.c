/* libs: avs_base */
/* The JSON reader on any bytes; what it accepts is written, read again and must give the same canonical text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    avs_arena *a = avs_arena_new();
    avs_json *v, *w;
    avs_err e = AVS_ERR_INIT;
    if (avs_json_parse(a, "fuzz", (const char *)data, n, &v, &e) == AVS_OK) {
        avs_buf one = AVS_BUF_INIT, two = AVS_BUF_INIT;
        avs_json_write(&one, v, true);
        if (avs_json_parse(a, "again", avs_buf_cstr(&one), one.len, &w, &e) != AVS_OK) abort();
        avs_json_write(&two, w, true);
        if (strcmp(avs_buf_cstr(&one), avs_buf_cstr(&two)) != 0) abort();
        avs_buf_free(&one);
        avs_buf_free(&two);
    }
    avs_arena_free(a);
    return 0;
}
