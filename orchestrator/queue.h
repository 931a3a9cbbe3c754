/* A binary min-heap of (key, item): the queue of trials by position and the pauses by end time.
 * Removal is lazy: whoever pops decides whether an entry still counts. Memory grows on the heap; avs_queue_free. */
#ifndef AVS_ORCHESTRATOR_QUEUE_H
#define AVS_ORCHESTRATOR_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t key;
    int32_t item;
} avs_queue_entry;

typedef struct {
    avs_queue_entry *at;
    int32_t n, cap;
} avs_queue;

bool avs_queue_push(avs_queue *q, int64_t key, int32_t item); /* false: memory is out */
bool avs_queue_pop(avs_queue *q, avs_queue_entry *out);       /* false: empty         */
void avs_queue_free(avs_queue *q);

#endif
