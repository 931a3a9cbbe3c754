/* Binary heap on an array; ties are broken by item so that the order never depends on insertion history. */
#include "orchestrator/queue.h"

#include <stdlib.h>
#include "base/arena.h"

static bool before(avs_queue_entry a, avs_queue_entry b)
{
    return a.key != b.key ? a.key < b.key : a.item < b.item;
}

bool avs_queue_push(avs_queue *q, int64_t key, int32_t item)
{
    if (q->n == q->cap) {
        int32_t cap = q->cap ? 2 * q->cap : 64;
        avs_queue_entry *at = avs_xrealloc(q->at, sizeof *at * (size_t)cap);
        if (!at) return false;
        q->at = at;
        q->cap = cap;
    }
    avs_queue_entry e = {key, item};
    int32_t i = q->n++;
    while (i > 0 && before(e, q->at[(i - 1) / 2])) {
        q->at[i] = q->at[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    q->at[i] = e;
    return true;
}

bool avs_queue_pop(avs_queue *q, avs_queue_entry *out)
{
    if (q->n == 0) return false;
    *out = q->at[0];
    avs_queue_entry e = q->at[--q->n];
    int32_t i = 0;
    for (;;) {
        int32_t k = 2 * i + 1;
        if (k >= q->n) break;
        if (k + 1 < q->n && before(q->at[k + 1], q->at[k])) k++;
        if (!before(q->at[k], e)) break;
        q->at[i] = q->at[k];
        i = k;
    }
    if (q->n > 0) q->at[i] = e;
    return true;
}

void avs_queue_free(avs_queue *q)
{
    free(q->at);
    *q = (avs_queue){0};
}
