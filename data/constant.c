/* Mean mask and the best threshold on it. Counts are integers: the sum does not depend on who adds. */
#include "data/constant.h"

#include "base/arena.h"
#include "data/parallel.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const avs_dataset *ds;
    int64_t pixels;
    uint32_t *count;  /* [n_threads, pixels] */
    int64_t *frames;  /* [n_threads] */
    uint8_t *scratch; /* [n_threads, pixels] */
} sums;

static int add_clip(void *ctx, int64_t job, int worker, avs_err *e)
{
    sums *s = ctx;
    const avs_clip *c = avs_dataset_clip(s->ds, (int)job);
    uint8_t *label = s->scratch + worker * s->pixels;
    uint32_t *count = s->count + worker * s->pixels;
    for (int32_t t = 0; t < c->T; t++) {
        if (!c->label_mask[t]) continue;
        const avs_pick pick = {.n = 1, .frames = &t};
        int rc = avs_clip_load(s->ds, (int)job, &pick, &(avs_clip_out){.labels_u8 = label}, e);
        if (rc != AVS_OK) return rc;
        for (int64_t p = 0; p < s->pixels; p++) count[p] += label[p] != 0;
        s->frames[worker]++;
    }
    return AVS_OK;
}

int avs_constant_mean(const avs_dataset *ds, int n_threads, float *mean, int64_t *n_frames, avs_err *e)
{
    const avs_dataset_cfg *cfg = avs_dataset_config(ds);
    sums s = {.ds = ds, .pixels = (int64_t)cfg->label_height * cfg->label_width};
    if (n_threads < 1) n_threads = 1;
    const size_t all = (size_t)n_threads * (size_t)s.pixels;
    int rc = AVS_ENOMEM;
    s.count = avs_xalloc(sizeof *s.count * all);
    s.frames = avs_xalloc(sizeof *s.frames * (size_t)n_threads);
    s.scratch = avs_xalloc(all);
    if (!s.count || !s.frames || !s.scratch) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for the mean mask");
        goto out;
    }
    AVS_TRY(avs_parallel(avs_dataset_count(ds), n_threads, add_clip, &s, e));
    int64_t frames = 0;
    for (int w = 0; w < n_threads; w++) frames += s.frames[w];
    for (int64_t p = 0; p < s.pixels; p++) {
        uint64_t n = 0;
        for (int w = 0; w < n_threads; w++) n += s.count[w * s.pixels + p];
        mean[p] = frames ? (float)((double)n / (double)frames) : 0.0f;
    }
    if (n_frames) *n_frames = frames;
out:
    avs_xfree(s.count);
    avs_xfree(s.frames);
    avs_xfree(s.scratch);
    return rc;
}

int avs_constant_best(const float *mean, int64_t n_pixels, int n_levels, avs_constant_score score, void *ctx,
                      uint8_t *best, avs_constant_winner *winner, avs_err *e)
{
    float top = 0;
    for (int64_t p = 0; p < n_pixels; p++) top = mean[p] > top ? mean[p] : top;
    uint8_t *mask = avs_xalloc((size_t)n_pixels);
    if (!mask) return avs_fail(e, AVS_ENOMEM, "no memory for a mask of %lld pixels", (long long)n_pixels);
    int rc = AVS_OK;
    bool any = false;
    for (int k = -1; k <= n_levels; k++) { /* -1: the empty mask */
        const double cut = k < 0 ? 1.0 : (double)top * k / (n_levels + 1);
        double value;
        for (int64_t p = 0; p < n_pixels; p++) mask[p] = k >= 0 && (double)mean[p] > cut;
        AVS_TRY(score(ctx, mask, &value, e));
        if (any && !(value > winner->score)) continue;
        any = true;
        *winner = (avs_constant_winner){value, cut};
        memcpy(best, mask, (size_t)n_pixels);
    }
out:
    avs_xfree(mask);
    return rc;
}
