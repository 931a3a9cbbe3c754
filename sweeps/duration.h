/* Durations as sweep files and the command line have them: 90s, 30m, 6h, 2d, 1h30m; a bare number is seconds. */
#ifndef AVS_SWEEPS_DURATION_H
#define AVS_SWEEPS_DURATION_H

#include <stdbool.h>

/* Seconds of the text; false where it is none, or more than 1e9 s. */
bool avs_duration_read(const char *text, double *seconds);

#endif
