/* The papers' words as parameters: one row of the published table becomes a config_match. Private to this room. */
#ifndef AVS_RESULTS_PUBLISHED_MAP_H
#define AVS_RESULTS_PUBLISHED_MAP_H

#include <stdbool.h>
#include "base/buf.h"

typedef struct {
    const char *source, *table, *method, *backbone, *setting, *variant, *metric, *unit;
} avs_published_row;

/* Appends the JSON of config_match; *metric and *factor say which of our metrics the value becomes. False: this row has no
 * counterpart here (another method, a number that was copied from another paper, a setting that is not a result). */
bool avs_published_map(const avs_published_row *r, avs_buf *match, const char **metric, double *factor);

#endif
