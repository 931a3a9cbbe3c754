/* Seeded order, frame choice and flips. Draws are keyed by (seed, sample number), never by call order. */
#include "workers/sampler.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"

/* Frames of a clip that a sample may use, ascending. */
static int usable(const avs_sampler *s, int clip, int32_t *frames)
{
    const avs_clip *c = avs_dataset_clip(s->ds, clip);
    int n = 0;
    for (int t = 0; t < c->T && n < AVS_CLIP_MAX_FRAMES; t++)
        if (s->all_frames ? c->frame_mask[t] : c->label_mask[t]) frames[n++] = t;
    return n;
}

static int list_frames(avs_sampler *s, avs_err *e)
{
    const int clips = avs_dataset_count(s->ds);
    s->frame_of = avs_xrealloc(NULL, sizeof(int32_t) * (size_t)clips * AVS_CLIP_MAX_FRAMES);
    if (!s->frame_of) return avs_fail(e, AVS_ENOMEM, "out of memory for %d clips", clips);
    for (int c = 0; c < clips; c++) {
        const avs_clip *clip = avs_dataset_clip(s->ds, c);
        for (int t = 0; t < clip->T; t++)
            if (clip->label_mask[t]) s->frame_of[s->n_samples++] = c * AVS_CLIP_MAX_FRAMES + t;
    }
    return AVS_OK;
}

int avs_sampler_init(avs_sampler *s, const avs_dataset *ds, const avs_cfg *cfg, uint64_t trial_seed,
                     avs_err *e)
{
    const int clips = avs_dataset_count(ds), per_clip = (int)avs_cfg_int(cfg, "frames_per_clip");
    int32_t frames[AVS_CLIP_MAX_FRAMES];
    int most = 0;
    *s = (avs_sampler){.ds = ds,
                       .order_seed = avs_stream_seed(trial_seed, "order"),
                       .augment_seed = avs_stream_seed(trial_seed, "augment"),
                       .batch = (int)avs_cfg_int(cfg, "batch"),
                       .shuffle = avs_cfg_bool(cfg, "shuffle"),
                       .by_frame = avs_cfg_is(cfg, "sample", "frame"),
                       .all_frames = avs_cfg_is(cfg, "train_frames", "all"),
                       .flip = avs_cfg_is(cfg, "augment", "flip"),
                       .flip_per_batch = avs_cfg_is(cfg, "flip_unit", "batch"),
                       .flip_probability = avs_cfg_num(cfg, "flip_probability"),
                       .order_epoch = -1};
    if (clips < 1)
        return avs_fail(e, AVS_EMISSING, "the training split of %s holds no clip",
                        avs_dataset_config(ds)->root);
    if (s->by_frame) {
        int rc = list_frames(s, e);
        if (rc != AVS_OK) return rc;
        s->rows_per_sample = 1;
    } else {
        s->n_samples = clips;
        for (int c = 0; c < clips; c++) {
            const int n = usable(s, c, frames);
            most = n > most ? n : most;
        }
        s->rows_per_sample = per_clip > 0 && per_clip < most ? per_clip : most;
    }
    if (s->n_samples < 1 || s->rows_per_sample < 1)
        return avs_fail(e, AVS_EMISSING, "no labelled frame in the training split of %s",
                        avs_dataset_config(ds)->root);
    s->order = avs_xrealloc(NULL, sizeof(int32_t) * (size_t)s->n_samples);
    return s->order ? AVS_OK : avs_fail(e, AVS_ENOMEM, "out of memory for %d samples", s->n_samples);
}

void avs_sampler_fini(avs_sampler *s)
{
    free(s->frame_of);
    free(s->order);
    s->frame_of = s->order = NULL;
}

static void order_of(avs_sampler *s, int64_t epoch)
{
    if (s->order_epoch == epoch) return;
    s->order_epoch = epoch;
    for (int i = 0; i < s->n_samples; i++) s->order[i] = i;
    if (!s->shuffle) return;
    avs_rng r = avs_rng_seed(avs_splitmix64(s->order_seed ^ (uint64_t)epoch));
    avs_rng_shuffle(&r, s->order, s->n_samples);
}

/* The first `want` of a seeded partial shuffle, put back in ascending order. */
static void choose(avs_rng *r, int32_t *frames, int n, int want)
{
    for (int i = 0; i < want && want < n; i++) {
        const int64_t j = avs_rng_range(r, i, n - 1);
        const int32_t t = frames[i];
        frames[i] = frames[j];
        frames[j] = t;
    }
    for (int i = 1; i < want; i++)
        for (int j = i; j > 0 && frames[j] < frames[j - 1]; j--) {
            const int32_t t = frames[j];
            frames[j] = frames[j - 1];
            frames[j - 1] = t;
        }
}

void avs_sampler_items(avs_sampler *s, int64_t step, int first, int n, avs_loader_item *items, int *counted)
{
    for (int i = 0; i < n; i++) {
        const int64_t sample = step * s->batch + first + i;
        int32_t frames[AVS_CLIP_MAX_FRAMES];
        order_of(s, sample / s->n_samples);
        const int32_t id = s->order[sample % s->n_samples],
                      clip = s->by_frame ? s->frame_of[id] / AVS_CLIP_MAX_FRAMES : id;
        avs_rng r = avs_rng_seed(avs_splitmix64(s->augment_seed + (uint64_t)sample));
        int have = 1;
        if (s->by_frame)
            frames[0] = s->frame_of[id] % AVS_CLIP_MAX_FRAMES;
        else
            have = usable(s, clip, frames);
        const int take = have < s->rows_per_sample ? have : s->rows_per_sample;
        choose(&r, frames, have, take);
        if (s->flip_per_batch) r = avs_rng_seed(avs_splitmix64(~s->augment_seed + (uint64_t)step));
        items[i] = (avs_loader_item){.clip = clip, .sound = clip, .n = s->rows_per_sample};
        items[i].flip = s->flip && avs_rng_unit(&r) < s->flip_probability;
        for (int k = 0; k < s->rows_per_sample; k++) items[i].frames[k] = k < take ? frames[k] : 0;
        counted[i] = take;
    }
}
