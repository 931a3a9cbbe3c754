/* libs: avs_sweeps avs_schema avs_base */
/* The whole sweep language on any bytes: an error says a place inside its text, and what is accepted is listed. */
#include <stdint.h>
#include <stdlib.h>
#include "sweeps/listing.h"

static void check_place(const avs_diag_item *x)
{
    uint32_t lines = 1;
    for (size_t i = 0; x->pos.src && i < x->pos.src->len; i++) lines += x->pos.src->text[i] == '\n';
    if (x->pos.line > lines) abort();
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
    avs_diag_write(&d, &out);
    if (s) avs_list_json(&out, s);
    avs_buf_free(&out);
    avs_arena_free(a);
    return 0;
}
