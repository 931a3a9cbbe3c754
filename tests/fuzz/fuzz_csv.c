/* libs: avs_data avs_base */
/* The CSV reader on any bytes; an accepted table has every cell and rising line numbers. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "data/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    avs_arena *a = avs_arena_new();
    avs_csv c;
    avs_err e = AVS_ERR_INIT;
    if (avs_csv_parse(&c, a, "fuzz", (const char *)data, n, &e) == AVS_OK) {
        size_t total = 0;
        for (int r = 0; r < c.n_rows; r++) {
            if (r > 0 && c.line[r] <= c.line[r - 1]) abort();
            for (int k = 0; k < c.n_cols; k++) total += strlen(avs_csv_at(&c, r, k));
        }
        if (total > n || avs_csv_col(&c, c.header[0]) != 0) abort();
    }
    avs_arena_free(a);
    return 0;
}
