/* When the values of a graph live, over the order of its nodes, and how many bytes that takes at each node.
 *
 * This is an estimate of what the planner will place, made without knowing the backend: elements as their dtype says, an
 * output of EW, DROPOUT or of a product with a residual in the place of an operand that dies there. Gradients of
 * parameters count nothing: they lie in a slab of their own. */
#ifndef AVS_ENGINE_PASS_LIVENESS_H
#define AVS_ENGINE_PASS_LIVENESS_H

#include "engine/pass/rewrite.h"

typedef struct {
    size_t *bytes; /* of each root value that takes part of the activations; 0: others               */
    uint32_t *first,
        *last;    /* node that makes it, last node that reads it; n_node for outputs and updates    */
    size_t *live; /* bytes at each node                                                             */
    size_t peak;  /* the largest of them                                                            */
    uint32_t at;  /* the first node where it is reached                                             */
} avs_life;

/* Tables in arena a: not the graph's, so that callers who ask often can throw them away. */
int avs_life_find(const avs_graph *g, avs_arena *a, avs_life *life, avs_err *e);

#endif
