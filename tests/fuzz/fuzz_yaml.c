/* libs: avs_sweeps avs_schema avs_base */
/* The whole sweep language on any bytes: an error says a place inside its text, and what is accepted is listed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "sweeps/listing.h"

/* The line exists, and the column is on it or right behind its last character. */
static void check_place(const avs_diag_item *x)
{
    const avs_source *src = x->pos.src;
    if (!src || x->pos.line == 0) return; /* of the file as a whole */
    size_t left = 0;
    const char *p = avs_source_line(src, x->pos.line, &left);
    if (!p) abort();
    uint32_t chars = 0;
    for (size_t step; left > 0; p += step, left -= step, chars++) {
        step = avs_utf8_len(p, left);
        if (step == 0) step = 1; /* a broken byte counts as one */
    }
    if (x->pos.col == 0 || x->pos.col > chars + 1) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    avs_arena *a = avs_arena_new();
    avs_sweep_options o = {.max_trials = 200};
    avs_diag d;
    avs_err e = AVS_ERR_INIT;
    avs_buf out = AVS_BUF_INIT;
    avs_diag_init(&d, a);
    const avs_sweep *s = avs_sweep_parse(a, "fuzz.yaml", (const char *)data, n, &o, &d, &e);
    if (!s && d.n_errors == 0) abort();
    for (int i = 0; i < d.n_errors && i < AVS_DIAG_MAX; i++) check_place(&d.errors[i]);
    for (int i = 0; i < d.n_warnings && i < AVS_DIAG_MAX; i++) check_place(&d.warnings[i]);
    avs_diag_write(&d, &out);
    if (s) avs_list_json(&out, s);
    avs_buf_free(&out);
    avs_arena_free(a);
    return 0;
}
