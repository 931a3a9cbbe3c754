/* Outputs of a frozen audio encoder, computed once per data set and cached on disk.
 *
 * The cache file is named after what determines it: the encoder's weights (a random one: its model and seed), the clips of the split and their sounds
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

/* Where the encoder's weights come from. Whether the cache holds what a random encoder gives is known from its seed, so that
 * the net, which may have 70 million initial values, is opened only when something has to be computed or hashed. */
typedef struct {
    const avs_cfg *cfg; /* its audio encoder is frozen (avs_model_frozen_audio) */
    uint64_t seed;      /* of the trial */
    avs_net net;        /* no plan until it is needed; owner: this object */
} avs_features_source;
void avs_features_source_close(avs_features_source *s);

/* cache_dir "": nothing is stored. */
int avs_features_open(avs_features *f, const avs_dataset *ds, avs_features_source *from,
                      const char *cache_dir, avs_err *e);
void avs_features_close(avs_features *f);
const float *avs_features_at(const avs_features *f, int clip, int frame);

#endif
