/* Linear probing at a load of at most one half; removal shifts back what follows, so no tombstones pile up. */
#include "orchestrator/id_map.h"

#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/rng.h"

static int32_t home(const avs_id_map *m, uint64_t key)
{
    return (int32_t)(avs_splitmix64(key) & (uint64_t)(m->cap - 1));
}

static int32_t find(const avs_id_map *m, uint64_t key)
{
    int32_t i = home(m, key);
    while (m->at[i].key != 0 && m->at[i].key != key) i = (i + 1) & (m->cap - 1);
    return i;
}

static bool grow(avs_id_map *m)
{
    avs_id_map wide = {.cap = m->cap ? 2 * m->cap : 64};
    wide.at = avs_xrealloc(NULL, sizeof *wide.at * (size_t)wide.cap);
    if (!wide.at) return false;
    memset(wide.at, 0, sizeof *wide.at * (size_t)wide.cap);
    for (int32_t i = 0; i < m->cap; i++)
        if (m->at[i].key) wide.at[find(&wide, m->at[i].key)] = m->at[i];
    wide.n = m->n;
    free(m->at);
    *m = wide;
    return true;
}

bool avs_id_put(avs_id_map *m, uint64_t key, int32_t value)
{
    if (2 * (m->n + 1) > m->cap && !grow(m)) return false;
    int32_t i = find(m, key);
    m->n += m->at[i].key == 0;
    m->at[i] = (avs_id_entry){key, value};
    return true;
}

int32_t avs_id_get(const avs_id_map *m, uint64_t key)
{
    if (m->n == 0 || key == 0) return -1;
    int32_t i = find(m, key);
    return m->at[i].key ? m->at[i].value : -1;
}

void avs_id_drop(avs_id_map *m, uint64_t key)
{
    if (m->n == 0 || key == 0) return;
    int32_t i = find(m, key), mask = m->cap - 1;
    if (m->at[i].key == 0) return;
    for (int32_t k = (i + 1) & mask; m->at[k].key != 0; k = (k + 1) & mask) {
        int32_t from_home = (k - home(m, m->at[k].key)) & mask, gap = (k - i) & mask;
        if (from_home < gap) continue; /* it lies between its home and the hole: it stays */
        m->at[i] = m->at[k];
        i = k;
    }
    m->at[i].key = 0;
    m->n--;
}

void avs_id_free(avs_id_map *m)
{
    free(m->at);
    *m = (avs_id_map){0};
}
