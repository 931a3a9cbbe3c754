/* libs: avs_tensor avs_base */
/* The pickle machine alone: no checksum stands between the bytes and the opcodes. */
#include <stdint.h>
#include <stdlib.h>
#include "engine/tensor/pth_pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    avs_err e = AVS_ERR_INIT;
    char text[64];
    avs_pk_node *root = NULL;
    avs_pk p = {.arena = avs_arena_new(), .what = "fuzz", .data = data, .n = n};
    if (!p.arena) abort();
    if (avs_pk_run(&p, &root, &e) == AVS_OK) {
        if (!root || p.at > n || root->depth > 64) abort();
        (void)avs_pk_text(root, text, sizeof text);
        (void)avs_pk_get(root, "state_dict");
    }
    avs_pk_fini(&p);
    avs_arena_free(p.arena);
    return 0;
}
