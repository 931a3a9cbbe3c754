/* Scores, protocol and prediction sheet of one checkpoint. */
#include "workers/report_trial.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/resample_image.h"
#include "workers/checkpoint.h"
#include "workers/data.h"
#include "workers/dissipation.h"
#include "workers/floors.h"
#include "workers/sheet.h"
#include "workers/stage1.h"
#include "workers/start.h"

static void send_scores(avs_control *c, const char *suffix, const char *split, const avs_scores *s,
                        bool binary)
{
    char name[48];
    snprintf(name, sizeof name, "miou%s", suffix);
    avs_control_result(c, name, split, s->miou, "fraction", suffix[0] ? 0 : 1);
    snprintf(name, sizeof name, "fscore%s", suffix);
    avs_control_result(c, name, split, s->fscore, "fraction", suffix[0] ? 0 : 1);
    snprintf(name, sizeof name, "%s%s", binary ? "miou_nonempty" : "miou_present", suffix);
    avs_control_result(c, name, split, binary ? s->miou_nonempty : s->miou_present, "fraction",
                       suffix[0] ? 0 : 1);
    if (binary && !suffix[0])
        avs_control_result(c, "fscore_at_half", split, s->fscore_at_half, "fraction", 1);
    for (int i = 0; i < s->classes && !suffix[0]; i++) { /* for the report's table of classes */
        if (isnan(s->class_iou[i])) continue;
        if (s->classes == AVS_AVSS_CLASSES)
            snprintf(name, sizeof name, "iou_class_%s", avs_avss_name(i));
        else
            snprintf(name, sizeof name, "iou_class_%d", i);
        avs_control_result(c, name, split, (double)s->class_iou[i], "fraction", 1);
    }
}

/* swapped, silent, constant, objects */
static int protocol(avs_trial *t, const avs_cfg *cfg, avs_evaluator *ev, const avs_dataset *ds,
                    const avs_features *features, const avs_dataset *train, const char *split, avs_err *e)
{
    avs_scores s;
    avs_dataset *opened = NULL;
    double value;
    const int classes = ev->net.is_binary ? 1 : ev->net.classes;
    int rc = avs_evaluate(ev, ds, features, AVS_SOUND_SWAPPED, &s, NULL, NULL, e);
    if (rc == AVS_OK) send_scores(&t->control, "_swapped", split, &s, classes == 1);
    if (rc == AVS_OK) rc = avs_evaluate(ev, ds, features, AVS_SOUND_SILENT, &s, NULL, NULL, e);
    if (rc == AVS_OK) send_scores(&t->control, "_silent", split, &s, classes == 1);
    if (rc == AVS_OK && !train) rc = avs_data_open(&opened, cfg, AVS_SPLIT_TRAIN, t->job->threads, e);
    if (rc == AVS_OK)
        rc = avs_floor_constant(train ? train : opened, ds, classes, t->job->threads, &value, e);
    if (rc == AVS_OK) avs_control_result(&t->control, "miou_constant", split, value, "fraction", 0);
    if (rc == AVS_OK && classes == 1) {
        rc = avs_floor_objects(ds, &value, e);
        if (rc == AVS_OK) avs_control_result(&t->control, "miou_objects", split, value, "fraction", 0);
    }
    avs_dataset_close(opened);
    return rc;
}

static bool has_frozen_audio(const avs_cfg *cfg)
{
    const char *prefix;
    int width;
    return avs_model_frozen_audio(cfg, &prefix, &width);
}

/* The weights that are scored: a checkpoint's, or those that the configuration starts from. */
static int open_evaluator(avs_trial *t, const avs_cfg *cfg, const char *checkpoint, const avs_dataset *ds,
                          avs_evaluator *ev, avs_err *e)
{
    int rc = avs_evaluator_open(ev, cfg, ds, has_frozen_audio(cfg), t->job->seed, &t->control, e);
    if (rc == AVS_OK && checkpoint)
        return avs_ckpt_load(ev->net.plan, NULL, NULL, ev->net.arena, NULL, checkpoint, NULL, e);
    if (rc == AVS_OK) rc = avs_init_again(&ev->net, t->job->seed, e);
    return rc == AVS_OK ? avs_weights_start(&ev->net, cfg, e) : rc;
}

static int score_split(avs_trial *t, const avs_cfg *cfg, const char *checkpoint, const avs_dataset *ds,
                       const avs_dataset *train, const char *split, avs_err *e)
{
    avs_evaluator ev = {0};
    avs_features features = {0};
    avs_sheet sheet = {0};
    avs_stage1 masks;
    avs_scores s;
    char path[4096];
    const bool has_features = has_frozen_audio(cfg);
    avs_features_source from = {.cfg = cfg, .seed = t->job->seed};
    int rc = has_features ? avs_features_open(&features, ds, &from, t->job->cache_dir, e) : AVS_OK;
    avs_features_source_close(&from);
    if (rc == AVS_OK) rc = open_evaluator(t, cfg, checkpoint, ds, &ev, e);
    if (rc == AVS_OK && ev.net.stage1_mask) rc = avs_stage1_open(&masks, cfg, ds, NULL, e);
    ev.masks = &masks;
    if (rc == AVS_OK) rc = avs_sheet_open(&sheet, ds, ev.net.classes, ev.net.is_binary, e);
    const avs_features *f = has_features ? &features : NULL;
    if (rc == AVS_OK) rc = avs_evaluate(&ev, ds, f, AVS_SOUND_RIGHT, &s, avs_sheet_row, &sheet, e);
    if (rc == AVS_OK) {
        send_scores(&t->control, "", split, &s, ev.net.is_binary);
        snprintf(path, sizeof path, "%s/predictions.png", t->job->work_dir);
        rc = avs_sheet_write(&sheet, path, e);
    }
    if (rc == AVS_OK) rc = avs_control_file(&t->control, "predictions", "prediction", path, 0, e);
    if (rc == AVS_OK) rc = avs_dissipation_results(&t->control, &ev, ds, f, split, e);
    if (rc == AVS_OK && avs_cfg_is(cfg, "protocol", "listening"))
        rc = protocol(t, cfg, &ev, ds, f, train, split, e);
    avs_sheet_close(&sheet);
    avs_features_close(&features);
    avs_evaluator_close(&ev);
    return rc;
}

/* Writes what stage one predicts for every clip of a split. ev: opened at the first split, with its weights. */
static int write_split(avs_trial *t, const avs_cfg *cfg, const char *checkpoint, avs_split split,
                       avs_features_source *from, avs_evaluator *ev, const char *root, avs_err *e)
{
    const bool has_features = has_frozen_audio(cfg);
    avs_features features = {0};
    avs_dataset *ds = NULL;
    int rc = avs_data_open(&ds, cfg, split, t->job->threads, e);
    if (rc == AVS_OK && avs_dataset_count(ds)) {
        if (has_features) rc = avs_features_open(&features, ds, from, t->job->cache_dir, e);
        if (rc == AVS_OK && !ev->net.plan) rc = open_evaluator(t, cfg, checkpoint, ds, ev, e);
        if (rc == AVS_OK) rc = avs_stage1_write(ev, ds, has_features ? &features : NULL, root, e);
        avs_features_close(&features);
    }
    avs_dataset_close(ds);
    return rc;
}

/* The artefact "masks" of stage one: its predictions for all three splits. */
static int write_masks(avs_trial *t, const avs_cfg *cfg, const char *checkpoint, avs_err *e)
{
    uint8_t digest[32];
    char root[4096];
    int64_t bytes = 0;
    avs_features_source from = {.cfg = cfg, .seed = t->job->seed};
    avs_evaluator ev = {0};
    if (!avs_cfg_is(cfg, "model", "aavs") || !avs_cfg_is(cfg, "stage", "one")) return AVS_OK;
    snprintf(root, sizeof root, "%s/masks", t->job->work_dir);
    int rc = AVS_OK;
    for (int s = AVS_SPLIT_TRAIN; s <= AVS_SPLIT_TEST && rc == AVS_OK; s++)
        rc = write_split(t, cfg, checkpoint, (avs_split)s, &from, &ev, root, e);
    avs_evaluator_close(&ev);
    avs_features_source_close(&from);
    if (rc == AVS_OK) rc = avs_stage1_index(root, &bytes, digest, e);
    if (rc == AVS_OK) avs_control_folder(&t->control, "masks", "masks", root, bytes, digest);
    return rc;
}

int avs_report_scores(avs_trial *t, const avs_cfg *cfg, const char *checkpoint, const avs_dataset *train,
                      avs_err *e)
{
    avs_dataset *ds = NULL;
    avs_split split = AVS_SPLIT_TEST;
    const char *name = avs_cfg_str(cfg, "eval_split");
    int rc = avs_split_parse(name, &split, e);
    if (rc == AVS_OK) rc = avs_data_open(&ds, cfg, split, t->job->threads, e);
    if (rc == AVS_OK) rc = score_split(t, cfg, checkpoint, ds, train, name, e);
    avs_dataset_close(ds);
    return rc == AVS_OK ? write_masks(t, cfg, checkpoint, e) : rc;
}

int avs_eval_run(avs_trial *t, avs_err *e)
{
    return avs_report_scores(t, t->job->cfg, NULL, NULL, e);
}
