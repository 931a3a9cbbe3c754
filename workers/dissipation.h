/* Attention dissipation of a model on a split (docs/models.md), as results of the trial. Attention weights are the taps
 * PATH:attn of the model's graph [B,h,N,K], fused outputs the taps PATH:out.
 *
 *   dissipation_index, attention_entropy    means over the layers in which picture and sound meet (fuse, cross_attn, ..)
 *   replication_index                       the same of what these layers add to each place
 *   NAME/PATH                               of each layer
 *   generator_dissipation_index, ..         the same for the query generator's layers
 *
 * A model without such layers reports nothing. Frames: those that exist of at most 32 clips, evenly spaced. */
#ifndef AVS_WORKERS_DISSIPATION_H
#define AVS_WORKERS_DISSIPATION_H

#include "workers/evaluate.h"

/* ev: open, with the parameters to look at. features: of ds, or NULL when the net takes log-mel. */
int avs_dissipation_results(avs_control *c, avs_evaluator *ev, const avs_dataset *ds,
                            const avs_features *features, const char *split, avs_err *e);

#endif
