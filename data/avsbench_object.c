/* AVSBench-object: Single-source (S4) and Multi-sources (MS3). The CSVs are read by position except `split`, which is
 * found by name: the names of the other columns are not established. Files are numbered from 1. */
#include "data/layout.h"

#include "data/csv.h"

#include <stdio.h>
#include <string.h>

static bool fits(int n, size_t cap)
{
    return n >= 0 && (size_t)n < cap;
}

static bool s4_path(const avs_clip_record *c, avs_part part, int k, char *buf, size_t n)
{
    static const char *const folder[] = {
        [AVS_PART_FRAME] = "visual_frames", [AVS_PART_LABEL] = "gt_masks", [AVS_PART_OBJECTS] = "gt_objects"};
    const char *name = c->pub.name, *category = c->pub.group;
    if (part == AVS_PART_SOUND)
        return fits(
            snprintf(buf, n, "Single-source/s4_data/audio_wav/%s/%s/%s.wav", c->split, category, name), n);
    return fits(snprintf(buf, n, "Single-source/s4_data/%s/%s/%s/%s/%s_%d.png", folder[part], c->split,
                         category, name, name, k + 1),
                n);
}

static bool ms3_path(const avs_clip_record *c, avs_part part, int k, char *buf, size_t n)
{
    const char *name = c->pub.name;
    switch (part) {
    case AVS_PART_SOUND:
        return fits(snprintf(buf, n, "Multi-sources/ms3_data/audio_wav/%s/%s.wav", c->split, name), n);
    case AVS_PART_FRAME: /* no split level, and ".mp4" inside the name */
        return fits(
            snprintf(buf, n, "Multi-sources/ms3_data/visual_frames/%s/%s.mp4_%d.png", name, name, k + 1), n);
    default:
        return fits(snprintf(buf, n, "Multi-sources/ms3_data/%s/%s/%s/%s_%d.png",
                             part == AVS_PART_LABEL ? "gt_masks" : "gt_objects", c->split, name, name, k + 1),
                    n);
    }
}

static int add_clip(avs_dataset *ds, const avs_csv *csv, int row, const char *name, const char *category,
                    avs_err *e)
{
    avs_clip_record *c;
    int rc = avs_layout_name(csv->what, csv->line[row], "name", name, e);
    if (rc == AVS_OK && category) rc = avs_layout_name(csv->what, csv->line[row], "category", category, e);
    if (rc == AVS_OK) rc = avs_layout_add(ds, &c, e);
    if (rc != AVS_OK) return rc;
    const bool first_only = category && ds->cfg.split == AVS_SPLIT_TRAIN;
    c->pub = (avs_clip){.name = name,
                        .group = category ? category : "",
                        .words = "",
                        .n_frames = 5,
                        .T = 5,
                        .line = csv->line[row]};
    c->n_labels = first_only ? 1 : 5;
    c->split = avs_split_name(ds->cfg.split);
    for (int t = 0; t < 5; t++) {
        c->pub.frame_mask[t] = 1;
        c->pub.label_mask[t] = t < c->n_labels;
    }
    return AVS_OK;
}

/* min_cols: positions that are read; category: its position or -1. */
static int list_clips(avs_dataset *ds, const char *path, int min_cols, int category, avs_err *e)
{
    avs_csv csv;
    int split = -1, rc = avs_csv_read(&csv, ds->arena, path, e);
    if (rc == AVS_OK) rc = avs_layout_col(path, avs_csv_col(&csv, "split"), "split", &split, e);
    if (rc != AVS_OK) return rc;
    if (csv.n_cols < min_cols)
        return avs_fail(e, AVS_EPARSE, "%s:1: expected at least %d columns, found %d", path, min_cols,
                        csv.n_cols);
    for (int r = 0; r < csv.n_rows && rc == AVS_OK; r++) {
        avs_split s;
        if (avs_split_parse(avs_csv_at(&csv, r, split), &s, NULL) != AVS_OK)
            return avs_fail(e, AVS_EPARSE, "%s:%d: expected split train, val or test, found \"%s\"", path,
                            csv.line[r], avs_csv_at(&csv, r, split));
        if (s == ds->cfg.split)
            rc = add_clip(ds, &csv, r, avs_csv_at(&csv, r, 0),
                          category < 0 ? NULL : avs_csv_at(&csv, r, category), e);
    }
    return rc;
}

static int s4_list(avs_dataset *ds, const char *path, avs_err *e)
{
    return list_clips(ds, path, 4, 2, e);
}
static int ms3_list(avs_dataset *ds, const char *path, avs_err *e)
{
    return list_clips(ds, path, 2, -1, e);
}

const avs_layout avs_layout_s4 = {
    .meta = "Single-source/s4_meta_data.csv",
    .sidecar = "Single-source/s4_compose.csv",
    .binary = true,
    .label_px = AVS_PX_GREY,
    .train_fit = AVS_FIT_STRETCH,
    .mel_pad = AVS_MEL_REPEAT,
    .list = s4_list,
    .path = s4_path,
};

const avs_layout avs_layout_ms3 = {
    .meta = "Multi-sources/ms3_meta_data.csv",
    .sidecar = "Multi-sources/ms3_compose.csv",
    .binary = true,
    .label_px = AVS_PX_INDEX, /* the stored byte: an index of a palette image, or the grey level */
    .train_fit = AVS_FIT_STRETCH,
    .mel_pad = AVS_MEL_REPEAT,
    .list = ms3_list,
    .path = ms3_path,
};
