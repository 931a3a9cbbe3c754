/* The bytes of results/published.csv, made into an array at build time: published sizes beside our own. */
#ifndef AVS_WORKERS_PUBLISHED_TABLE_H
#define AVS_WORKERS_PUBLISHED_TABLE_H

#include <stddef.h>

extern const unsigned char avs_published_sizes[];
extern const size_t avs_published_sizes_len;

#endif
