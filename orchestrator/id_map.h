/* A map from 64-bit numbers (attempt ids) to 32-bit places, by open addressing: lookups, inserts and removals in
 * constant time whatever the number of live attempts. The number 0 is no key. */
#ifndef AVS_ORCHESTRATOR_ID_MAP_H
#define AVS_ORCHESTRATOR_ID_MAP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t key;
    int32_t value;
} avs_id_entry;

typedef struct {
    avs_id_entry *at;
    int32_t n, cap; /* cap: a power of two */
} avs_id_map;

bool avs_id_put(avs_id_map *m, uint64_t key, int32_t value); /* replaces; false: memory is out */
int32_t avs_id_get(const avs_id_map *m, uint64_t key);       /* -1: absent                     */
void avs_id_drop(avs_id_map *m, uint64_t key);               /* absent: nothing                */
void avs_id_free(avs_id_map *m);

#endif
