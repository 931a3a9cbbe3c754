/* Floors and ceiling: constant answers and the objects of the sidecar, scored as a model is. */
#include "workers/floors.h"

#include <string.h>

#include "base/arena.h"
#include "data/constant.h"
#include "metrics/mask.h"
#include "metrics/semantic.h"

/* ------------------------------------------------------------------ one class */

typedef struct {
    const avs_dataset *ds;
    float *target; /* [T,H,W] */
    uint8_t *pred; /* [T,H,W] */
} plain;

static int plain_open(plain *p, const avs_dataset *ds, avs_err *e)
{
    const avs_dataset_cfg *c = avs_dataset_config(ds);
    const size_t n = (size_t)avs_task_frames(c->task) * (size_t)c->label_height * (size_t)c->label_width;
    *p = (plain){.ds = ds, .target = avs_xalloc(n * sizeof(float)), .pred = avs_xalloc(n)};
    return p->target && p->pred ? AVS_OK : avs_fail(e, AVS_ENOMEM, "out of memory for masks");
}

static void plain_close(plain *p)
{
    avs_xfree(p->target);
    avs_xfree(p->pred);
}

/* Mean frame IoU of a fixed mask (mask) or of the objects of each frame (mask NULL). */
static int plain_score(plain *p, const uint8_t *mask, double *miou, avs_err *e)
{
    const avs_dataset_cfg *dc = avs_dataset_config(p->ds);
    const int64_t n = (int64_t)dc->label_height * dc->label_width;
    const int T = avs_task_frames(dc->task);
    avs_mask_score s;
    avs_mask_result r = {0};
    avs_mask_score_init(&s, 1);
    int rc = AVS_OK;
    for (int i = 0; i < avs_dataset_count(p->ds) && rc == AVS_OK; i++) {
        const avs_clip *c = avs_dataset_clip(p->ds, i);
        rc = avs_clip_load(p->ds, i, &(avs_pick){.n = T},
                           &(avs_clip_out){.target = p->target, .objects = mask ? NULL : p->pred}, e);
        for (int t = 0; t < T && rc == AVS_OK; t++)
            if (c->frame_mask[t])
                rc = avs_mask_score_add_binary(&s, mask ? mask : p->pred + t * n, p->target + t * n,
                                               dc->label_height, dc->label_width, e);
        avs_mask_score_end_clip(&s);
    }
    if (rc == AVS_OK) rc = avs_mask_score_finish(&s, &r, e);
    *miou = r.miou;
    avs_mask_score_fini(&s);
    return rc;
}

static int score_constant(void *ctx, const uint8_t *mask, double *score, avs_err *e)
{
    return plain_score(ctx, mask, score, e);
}

static int best_mask(const avs_dataset *train, const avs_dataset *ds, int threads, double *miou, avs_err *e)
{
    const avs_dataset_cfg *c = avs_dataset_config(train);
    const int64_t n = (int64_t)c->label_height * c->label_width;
    float *mean = avs_xalloc((size_t)n * sizeof(float));
    uint8_t *best = avs_xalloc((size_t)n);
    plain p = {0};
    avs_constant_winner winner = {0};
    int rc =
        mean && best ? plain_open(&p, ds, e) : avs_fail(e, AVS_ENOMEM, "out of memory for the mean mask");
    if (rc == AVS_OK) rc = avs_constant_mean(train, threads, mean, NULL, e);
    if (rc == AVS_OK) rc = avs_constant_best(mean, n, 20, score_constant, &p, best, &winner, e);
    *miou = winner.score;
    plain_close(&p);
    avs_xfree(mean);
    avs_xfree(best);
    return rc;
}

/* ------------------------------------------------------------------ classes */

/* The same class map for every frame that exists. */
static int score_map(const avs_dataset *ds, const int32_t *map, int classes, double *miou, avs_err *e)
{
    const avs_dataset_cfg *c = avs_dataset_config(ds);
    avs_semantic_score s = {0};
    avs_semantic_result r = {0};
    int32_t *label = avs_xalloc(sizeof *label * (size_t)c->label_height * (size_t)c->label_width);
    int rc = label ? avs_semantic_init(&s, classes, e) : avs_fail(e, AVS_ENOMEM, "out of memory for a label");
    for (int i = 0; i < avs_dataset_count(ds) && rc == AVS_OK; i++) {
        const avs_clip *clip = avs_dataset_clip(ds, i);
        for (int32_t t = 0; t < clip->T && rc == AVS_OK; t++) {
            if (!clip->frame_mask[t]) continue;
            rc =
                avs_clip_load(ds, i, &(avs_pick){.n = 1, .frames = &t}, &(avs_clip_out){.classes = label}, e);
            if (rc == AVS_OK) rc = avs_semantic_add(&s, map, label, c->label_height, c->label_width, e);
        }
    }
    if (rc == AVS_OK) rc = avs_semantic_finish(&s, &r, NULL, NULL, e);
    *miou = r.miou;
    avs_semantic_fini(&s);
    avs_xfree(label);
    return rc;
}

/* Most frequent class of every pixel over the labelled frames; ties to the lowest. */
static int frequent_map(const avs_dataset *train, int classes, int32_t *map, avs_err *e)
{
    const avs_dataset_cfg *c = avs_dataset_config(train);
    const int64_t n = (int64_t)c->label_height * c->label_width;
    uint32_t *count = avs_xalloc(sizeof *count * (size_t)(n * classes));
    uint8_t *label = avs_xalloc((size_t)n);
    int rc = count && label ? AVS_OK : avs_fail(e, AVS_ENOMEM, "out of memory for counts of classes");
    if (rc == AVS_OK) memset(count, 0, sizeof *count * (size_t)(n * classes));
    for (int i = 0; i < avs_dataset_count(train) && rc == AVS_OK; i++) {
        const avs_clip *clip = avs_dataset_clip(train, i);
        for (int32_t t = 0; t < clip->T && rc == AVS_OK; t++) {
            if (!clip->label_mask[t]) continue;
            rc = avs_clip_load(train, i, &(avs_pick){.n = 1, .frames = &t},
                               &(avs_clip_out){.labels_u8 = label}, e);
            for (int64_t p = 0; p < n && rc == AVS_OK; p++)
                if (label[p] < classes) count[p * classes + label[p]]++;
        }
    }
    for (int64_t p = 0; p < n && rc == AVS_OK; p++) {
        map[p] = 0;
        for (int k = 1; k < classes; k++)
            if (count[p * classes + k] > count[p * classes + map[p]]) map[p] = k;
    }
    avs_xfree(count);
    avs_xfree(label);
    return rc;
}

static int best_map(const avs_dataset *train, const avs_dataset *ds, int classes, double *miou, avs_err *e)
{
    const avs_dataset_cfg *c = avs_dataset_config(train);
    const size_t n = (size_t)c->label_height * (size_t)c->label_width;
    double empty = 0, frequent = 0;
    int32_t *map = avs_xalloc(sizeof *map * n);
    if (!map) return avs_fail(e, AVS_ENOMEM, "out of memory for a class map");
    memset(map, 0, sizeof *map * n);
    int rc = score_map(ds, map, classes, &empty, e);
    if (rc == AVS_OK) rc = frequent_map(train, classes, map, e);
    if (rc == AVS_OK) rc = score_map(ds, map, classes, &frequent, e);
    *miou = frequent > empty ? frequent : empty;
    avs_xfree(map);
    return rc;
}

int avs_floor_constant(const avs_dataset *train, const avs_dataset *ds, int classes, int threads,
                       double *miou, avs_err *e)
{
    return classes > 1 ? best_map(train, ds, classes, miou, e) : best_mask(train, ds, threads, miou, e);
}

int avs_floor_objects(const avs_dataset *ds, double *miou, avs_err *e)
{
    plain p;
    int rc = plain_open(&p, ds, e);
    if (rc == AVS_OK) rc = plain_score(&p, NULL, miou, e);
    plain_close(&p);
    return rc;
}
