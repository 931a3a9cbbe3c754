/* Initial values of parameters and buffers from their avs_init: one Philox stream per key, so that a parameter's start
 * does not depend on which others exist. */
#ifndef AVS_WORKERS_INIT_H
#define AVS_WORKERS_INIT_H

#include "engine/graph/graph.h"
#include "engine/plan/plan.h"

/* Counted up when the same seed gives other values: names of cached results hold it. */
enum { AVS_INIT_VERSION = 1 };

/* out: avs_type_count(t) floats in canonical layout. seed: of the stream "init" of the trial. */
void avs_init_fill(const avs_init *init, const avs_type *t, uint64_t seed, const char *key, float *out);
/* Every parameter and buffer of the plan, by the graph it was built from. */
int avs_init_plan(avs_plan *p, const avs_graph *g, uint64_t seed, avs_err *e);

#endif
