/* Which trials of a database a user means: a hash prefix, or an expression of the sweep language over what is stored.
 *
 * Names in the expression: every parameter of the trial, and trial (12 digits), kind, model, task, seed, state,
 * attempts, priority, metric.NAME (the result; split test before the others). A name that a trial does not have makes
 * the expression false for it; if no trial matches and some lacked a name, that is the error. */
#ifndef AVS_ORCHESTRATOR_SELECT_H
#define AVS_ORCHESTRATOR_SELECT_H

#include "base/buf.h"
#include "base/json.h"
#include "results/trial_rows.h"

typedef struct {
    const char *expr;  /* NULL: all; 6 to 64 hex digits: trials whose hash begins so */
    const char *sweep; /* NULL: of all sweeps, else of the newest sweep of this name */
    const char *state; /* NULL: in every state */
} avs_selection;

typedef struct {
    const avs_trial_row *row;
    const avs_json *params; /* of the row, read */
    avs_store *db;          /* avs_selected_metric's */
} avs_selected;

typedef void (*avs_selected_fn)(void *ctx, const avs_selected *t); /* strings die with the call */

/* Calls each for every match in order of registration; *n counts them. AVS_ERANGE: the expression is wrong. */
int avs_select(avs_store *db, const avs_selection *q, avs_selected_fn each, void *ctx, int64_t *n,
               avs_err *e);
/* The trial's result of that name, as metric.NAME has it; false: none. For use in the call. */
bool avs_selected_metric(const avs_selected *t, const char *name, size_t n, double *v);

#endif
