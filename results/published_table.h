/* The bytes of results/published.csv, made into an array at build time. Private to this room. */
#ifndef AVS_RESULTS_PUBLISHED_TABLE_H
#define AVS_RESULTS_PUBLISHED_TABLE_H

#include <stddef.h>

extern const unsigned char avs_published_table[];
extern const size_t avs_published_table_len;

#endif
