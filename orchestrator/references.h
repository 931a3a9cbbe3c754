/* ${alias.checkpoint.best}, ${alias.artifact.NAME} and ${alias.metric.NAME} in the parameters of a trial. */
#ifndef AVS_ORCHESTRATOR_REFERENCES_H
#define AVS_ORCHESTRATOR_REFERENCES_H

#include "base/json.h"
#include "orchestrator/trial_list.h"

/* Replaces them in the strings of `params` by paths and numbers of the upstream trials, which are done. What an
 * upstream trial does not have stays as it is written, so that the trial fails by naming it, and a no-op runs.
 * AVS_EDB, AVS_ENOMEM. Strings belong to a. */
int avs_references_fill(const avs_trial_list *l, const avs_sweep_trial *t, avs_json *params, avs_arena *a,
                        avs_err *e);

#endif
