/* Open addressing with 32-bit numbers, at most three quarters full: a million records cost 8 MB beside themselves. */
#include "sweeps/table.h"

#include <stdlib.h>
#include <string.h>

static uint64_t word(const uint8_t hash[32])
{
    uint64_t v;
    memcpy(&v, hash, sizeof v);
    return v;
}

static uint64_t place(const avs_table *t, const uint8_t hash[32])
{
    uint64_t at = word(hash) & (t->n_slots - 1);
    while (t->slots[at] && memcmp(avs_table_at(t, t->slots[at] - 1), hash, 32) != 0)
        at = (at + 1) & (t->n_slots - 1);
    return at;
}

void *avs_table_find(const avs_table *t, const uint8_t hash[32])
{
    if (t->n_slots == 0) return NULL;
    uint32_t found = t->slots[place(t, hash)];
    return found ? avs_table_at(t, found - 1) : NULL;
}

static int grow_slots(avs_table *t)
{
    uint64_t n = t->n_slots ? 2 * t->n_slots : 1024;
    uint32_t *slots = avs_xrealloc(NULL, n * sizeof *slots);
    if (!slots) return 0;
    memset(slots, 0, n * sizeof *slots);
    free(t->slots);
    t->slots = slots;
    t->n_slots = n;
    for (uint64_t i = 0; i < t->n; i++) t->slots[place(t, avs_table_at(t, i))] = (uint32_t)i + 1;
    return 1;
}

static int grow_chunks(avs_table *t)
{
    uint64_t used = t->n / AVS_TABLE_CHUNK;
    if (used == t->cap_chunks) {
        uint64_t cap = t->cap_chunks ? 2 * t->cap_chunks : 16;
        char **chunks = avs_arena_alloc(t->a, cap * sizeof *chunks);
        if (!chunks) return 0;
        if (used) memcpy(chunks, t->chunks, used * sizeof *chunks);
        t->chunks = chunks;
        t->cap_chunks = cap;
    }
    t->chunks[used] = avs_arena_alloc(t->a, AVS_TABLE_CHUNK * t->size);
    return t->chunks[used] != NULL;
}

void *avs_table_add(avs_table *t, const uint8_t hash[32])
{
    if (t->n >= UINT32_MAX - 1) return NULL;
    if (4 * (t->n + 1) > 3 * t->n_slots && !grow_slots(t)) return NULL;
    if (t->n % AVS_TABLE_CHUNK == 0 && !grow_chunks(t)) return NULL;
    char *record = avs_table_at(t, t->n);
    memcpy(record, hash, 32);
    t->slots[place(t, hash)] = (uint32_t)++t->n;
    return record;
}

void avs_table_free(avs_table *t)
{
    free(t->slots);
    t->slots = NULL;
    t->n_slots = 0;
}
