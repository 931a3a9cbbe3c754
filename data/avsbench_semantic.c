/* AVSBench-semantic (AVSS): one folder per clip below v1s, v1m or v2, files numbered from 0. v1 clips have five frames of
 * the ten; the label mask is the same in every split and only weights the training loss, so the labels that exist beyond
 * it (v1s in val and test) are read too. */
#include "data/layout.h"

#include "data/csv.h"

#include <stdio.h>
#include <string.h>

static bool avss_path(const avs_clip_record *c, avs_part part, int k, char *buf, size_t n)
{
    int m;
    switch (part) {
    case AVS_PART_SOUND:
        m = snprintf(buf, n, "%s/%s/audio.wav", c->pub.group, c->pub.name);
        break;
    case AVS_PART_FRAME:
        m = snprintf(buf, n, "%s/%s/frames/%d.jpg", c->pub.group, c->pub.name, k);
        break;
    case AVS_PART_LABEL:
        m = snprintf(buf, n, "%s/%s/labels_rgb/%d.png", c->pub.group, c->pub.name, k);
        break;
    default:
        m = snprintf(buf, n, "%s/%s/objects/%d.png", c->pub.group, c->pub.name, k);
        break;
    }
    return m >= 0 && (size_t)m < n;
}

static int avss_add(avs_dataset *ds, const avs_csv *csv, int row, const int col[4], avs_err *e)
{
    const char *uid = avs_csv_at(csv, row, col[0]), *subset = avs_csv_at(csv, row, col[3]);
    const bool v1s = strcmp(subset, "v1s") == 0, v1m = strcmp(subset, "v1m") == 0;
    if (!v1s && !v1m && strcmp(subset, "v2") != 0)
        return avs_fail(e, AVS_EPARSE, "%s:%d: expected label v1s, v1m or v2, found \"%s\"", csv->what,
                        csv->line[row], subset);
    avs_clip_record *c;
    int rc = avs_layout_name(csv->what, csv->line[row], "uid", uid, e);
    if (rc == AVS_OK) rc = avs_layout_add(ds, &c, e);
    if (rc != AVS_OK) return rc;
    const int n = v1s || v1m ? 5 : 10, weighted = v1s ? 1 : n;
    c->pub = (avs_clip){.name = uid,
                        .group = subset,
                        .words = avs_csv_at(csv, row, col[1]),
                        .n_frames = n,
                        .T = 10,
                        .line = csv->line[row]};
    c->n_labels = v1s && ds->cfg.split == AVS_SPLIT_TRAIN ? 1 : n;
    c->split = avs_split_name(ds->cfg.split);
    for (int t = 0; t < 10; t++) {
        c->pub.frame_mask[t] = t < n;
        c->pub.label_mask[t] = t < weighted;
    }
    return AVS_OK;
}

static int avss_list(avs_dataset *ds, const char *path, avs_err *e)
{
    static const char *const names[4] = {"uid", "a_obj", "split", "label"};
    avs_csv csv;
    int col[4], rc = avs_csv_read(&csv, ds->arena, path, e);
    for (int i = 0; i < 4 && rc == AVS_OK; i++)
        rc = avs_layout_col(path, avs_csv_col(&csv, names[i]), names[i], &col[i], e);
    for (int r = 0; rc == AVS_OK && r < csv.n_rows; r++) {
        avs_split s;
        if (avs_split_parse(avs_csv_at(&csv, r, col[2]), &s, NULL) != AVS_OK)
            return avs_fail(e, AVS_EPARSE, "%s:%d: expected split train, val or test, found \"%s\"", path,
                            csv.line[r], avs_csv_at(&csv, r, col[2]));
        if (s == ds->cfg.split) rc = avss_add(ds, &csv, r, col, e);
    }
    return rc;
}

const avs_layout avs_layout_avss = {
    .meta = "metadata.csv",
    .sidecar = "avss_compose.csv",
    .binary = false,
    .label_px = AVS_PX_RGB,
    .train_fit = AVS_FIT_CROP,
    .mel_pad = AVS_MEL_ZEROS,
    .list = avss_list,
    .path = avss_path,
};
