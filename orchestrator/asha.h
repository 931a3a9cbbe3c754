/* Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020), as a pure
 * module: values at rungs go in, verdicts come out. One of them serves the trials of a stage.
 *
 * Rungs lie at min, min*eta, min*eta^2, .. below max.
 *  - promote: a trial pauses at each rung. The best floor(n/eta) of the n that have reached a rung are promoted, as soon
 *    as they are among the best. When nothing else can run any more, the rest is pruned; but somebody gets to the end:
 *    while nobody has, the best of the furthest rung goes on.
 *  - stop: a trial goes on when it is among the best max(1, floor(n/eta)) that have reached the rung so far, and is
 *    pruned otherwise. Nothing pauses; early trials get more than they deserve.
 * Ties go to the trial that came first. Same values in the same order, same verdicts. Thread rules: one thread. */
#ifndef AVS_ORCHESTRATOR_ASHA_H
#define AVS_ORCHESTRATOR_ASHA_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t min, max; /* of the resource: epochs or steps; 1 <= min < max */
    int32_t eta;      /* 2 or more */
    bool maximise, promote;
} avs_asha_rule;

typedef enum { AVS_ASHA_GO_ON, AVS_ASHA_PAUSE, AVS_ASHA_PRUNE } avs_asha_verdict;

typedef struct avs_asha avs_asha;

avs_asha *avs_asha_new(const avs_asha_rule *rule, int32_t n_trials); /* NULL: no memory */
void avs_asha_free(avs_asha *a);                                     /* accepts NULL    */
int32_t avs_asha_rungs(const avs_asha_rule *rule);

/* Trial 0..n-1 has reached `at` with this value; what is below its next rung is ignored. A value that is not finite is
 * the worst. AVS_ASHA_PAUSE: checkpoint and stop until avs_asha_next names it. */
avs_asha_verdict avs_asha_report(avs_asha *a, int32_t trial, int64_t at, double value);
/* After a report or an end: a paused trial that goes on now, -1 none. Ask until -1. */
int32_t avs_asha_next(avs_asha *a);
/* A trial is over, done or failed, and will report no more. */
void avs_asha_over(avs_asha *a, int32_t trial);
/* When no trial is left that could report: a paused one, which is pruned with this call; -1 none. Ask until -1. */
int32_t avs_asha_rest(avs_asha *a);

/* Before the first report of a run: what an earlier run has recorded, trial by trial in order, without verdicts. Then
 * every trial that is paused, pruned or over is told of; others count as promoted from where they are. */
void avs_asha_replay(avs_asha *a, int32_t trial, int64_t at, double value);
void avs_asha_was_paused(avs_asha *a, int32_t trial);
void avs_asha_was_pruned(avs_asha *a, int32_t trial);

#endif
