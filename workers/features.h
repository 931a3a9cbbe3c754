/* Outputs of a frozen audio encoder, computed once per data set and cached on disk.
 *
 * The cache file is named after what determines it: the encoder's weights, the clips of the split and their sounds
 * (names, in order, and the fingerprint of the data if it is indexed). Ranks and trials share it; a writer uses a
 * temporary name and renames. */
#ifndef AVS_WORKERS_FEATURES_H
#define AVS_WORKERS_FEATURES_H

#include "data/dataset.h"
#include "workers/net.h"

typedef struct {
    float *x;       /* [clips, T, width]; owner: this object */
    float *silence; /* [width] of log-mel silence; likewise     */
    int clips, T, width;
} avs_features;

/* cache_dir "": nothing is stored. weights: a net whose plan holds the encoder of cfg, which is frozen
 * (avs_model_frozen_audio). */
int avs_features_open(avs_features *f, const avs_dataset *ds, avs_net *weights, const avs_cfg *cfg,
                      const char *cache_dir, avs_err *e);
void avs_features_close(avs_features *f);
const float *avs_features_at(const avs_features *f, int clip, int frame);

#endif
