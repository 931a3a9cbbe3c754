/* A backbone with weights from a file, run once: backbone-features NAME WEIGHTS OUT.safetensors. OUT holds the input (N(0,1)
 * numbers, engine layout) and every output; the SHA-256 of the file is printed, so that two runs compare in a line. */
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "workers/bare.h"
#include "workers/weights.h"

static int add(avs_st_writer *w, const char *name, const float *x, const avs_type *t, avs_err *e)
{
    int64_t d[AVS_MAX_RANK];
    for (int i = 0; i < t->rank; i++) d[i] = t->d[i];
    int rc = avs_st_writer_add(w, name, "F32", t->rank, d, x);
    return rc == AVS_OK ? AVS_OK : avs_fail(e, rc, "%s cannot be added", name);
}

static int write_all(avs_bare *b, const char *path, avs_err *e)
{
    uint8_t sha[32];
    char hex[65];
    avs_type t;
    avs_st_writer *w = avs_st_writer_new(b->arena);
    const char *input = avs_plan_input(b->plan, "frames", &t) ? "frames" : "audio";
    const float *x = avs_plan_input(b->plan, input, &t);
    int rc = w ? add(w, input, x, &t, e) : avs_fail(e, AVS_ENOMEM, "out of memory");
    for (int i = 0; i < 4 && rc == AVS_OK; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "out%d", i);
        const float *y = avs_plan_output(b->plan, name, &t);
        if (y) rc = add(w, avs_arena_str(b->arena, name), y, &t, e);
    }
    if (rc == AVS_OK) rc = avs_st_writer_write(w, path, sha, e);
    if (rc == AVS_OK) {
        avs_hex(sha, sizeof sha, hex);
        printf("%s\n", hex);
    }
    return rc;
}

int main(int argc, char **argv)
{
    avs_err e = AVS_ERR_INIT;
    avs_bare b = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: backbone-features NAME WEIGHTS OUT.safetensors\n");
        return 2;
    }
    const avs_bare_cfg cfg = {.name = argv[1], .rows = 1, .height = 64, .width = 64};
    const avs_weights_cfg wc = {.path = argv[2], .part = argv[1], .prefix = "", .exact = true};
    int rc = avs_bare_open(&b, &cfg, &e);
    if (rc == AVS_OK) rc = avs_weights_load(b.plan, &wc, stderr, &e);
    if (rc == AVS_OK) rc = avs_plan_run(b.plan, &e);
    if (rc == AVS_OK) rc = write_all(&b, argv[3], &e);
    avs_bare_close(&b);
    if (rc != AVS_OK) fprintf(stderr, "error: %s\n", e.msg);
    return rc != AVS_OK;
}
