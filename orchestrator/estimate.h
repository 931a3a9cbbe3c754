/* What a sweep will take, from what the database has seen, and what `run --dry-run` says.
 *
 * Of a trial, in this order: the median of past attempts of its configuration; of equal model, task, kind and a fitting
 * GPU; of the same model, scaled by pixels; limits.time, which is an upper bound; unknown (0 s). */
#ifndef AVS_ORCHESTRATOR_ESTIMATE_H
#define AVS_ORCHESTRATOR_ESTIMATE_H

#include "orchestrator/cli.h"
#include "orchestrator/trial_list.h"

typedef struct {
    double *seconds; /* by ordinal; NULL: nothing was estimated */
    uint8_t *basis;  /* avs_est_basis */
    uint8_t *state;  /* avs_trial_state in this database; AVS_TRIAL_STATES: not there */
} avs_estimates;

/* db may be NULL. states: look every trial up in the database (state is AVS_TRIAL_STATES otherwise). AVS_EDB, AVS_ENOMEM.
 * Everything belongs to a. */
int avs_estimates_make(avs_estimates *x, avs_arena *a, const avs_sweep *s, avs_store *db, bool states,
                       avs_err *e);

typedef struct {
    int64_t to_run;               /* trials */
    int64_t basis[AVS_EST_BASES]; /* of them */
    double gpu_seconds, seconds;  /* sums */
    double longest_path;          /* seconds through the trials that need each other */
    int most_gpus;                /* of one trial */
} avs_estimate_sum;

/* Over the trials of the list that are not done, and not failed unless they are to be retried. */
int avs_estimates_sum(const avs_estimates *x, const avs_trial_list *l, const avs_trial_list_options *o,
                      avs_estimate_sum *out, avs_err *e);
/* Counts, dropped points, sums, bases and the time on o->gpus GPUs; as one JSON object when o asks for JSON. */
void avs_dry_run_text(avs_buf *out, const avs_estimates *x, const avs_trial_list *l,
                      const avs_estimate_sum *sum, const avs_options *o);

#endif
