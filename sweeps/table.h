/* Records that begin with a 32-byte hash, in order of arrival, and found by it. Records never move.
 * Ownership: everything belongs to the arena, except the slots, which grow: avs_table_free. */
#ifndef AVS_SWEEPS_TABLE_H
#define AVS_SWEEPS_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"

enum { AVS_TABLE_CHUNK = 256 };

typedef struct {
    avs_arena *a;
    size_t size;   /* of a record */
    char **chunks; /* of AVS_TABLE_CHUNK records */
    uint64_t n, cap_chunks;
    uint32_t *slots; /* 1 + number of the record, 0: empty */
    uint64_t n_slots;
} avs_table;

static inline void *avs_table_at(const avs_table *t, uint64_t i)
{
    return t->chunks[i / AVS_TABLE_CHUNK] + i % AVS_TABLE_CHUNK * t->size;
}

void *avs_table_find(const avs_table *t, const uint8_t hash[32]); /* NULL: not there */
/* A zeroed record with this hash, which must not be there yet. NULL: no memory, or 2^32 - 2 records. */
void *avs_table_add(avs_table *t, const uint8_t hash[32]);
void avs_table_free(avs_table *t);

#endif
