/* The splits of a trial's data set, opened for its resolution and kept in memory where they fit. */
#ifndef AVS_WORKERS_DATA_H
#define AVS_WORKERS_DATA_H

#include "data/dataset.h"
#include "models/schema.h"

/* Opens data_root of cfg and preloads it (at most half of the machine's free memory). */
int avs_data_open(avs_dataset **ds, const avs_cfg *cfg, avs_split split, int threads, avs_err *e);

#endif
