/* Which trials a database holds: one row each, chosen by hash, sweep and state. Readers of a whole table of trials
 * (`ls`, the steering commands) and of one by its hash (`show`, `logs`, `repro`) begin here. */
#ifndef AVS_RESULTS_TRIAL_ROWS_H
#define AVS_RESULTS_TRIAL_ROWS_H

#include "results/store.h"

typedef struct {
    int64_t trial_id, config_id, seed, attempts;
    double priority;
    const char *hash; /* 64 hex digits */
    const char *state, *kind, *model, *task;
    const char *params; /* JSON text */
} avs_trial_row;

typedef struct {
    const char *prefix; /* NULL: any hash; else one that begins with these 1 to 64 hex digits */
    const char *sweep;  /* NULL: of all sweeps, else of the newest sweep of this name */
    const char *state;  /* NULL: in every state */
} avs_trial_filter;

/* The strings of a row die with the call. Anything but AVS_OK ends the walk and is its result. */
typedef int (*avs_trial_row_fn)(void *ctx, const avs_trial_row *t, avs_err *e);

/* Calls each for every trial that fits, in order of registration. A look for a prefix reads one small index, not the
 * trials. Not to be called from `each`. AVS_EMISSING: there is no such sweep. */
int avs_store_trials(avs_store *s, const avs_trial_filter *f, avs_trial_row_fn each, void *ctx, avs_err *e);

/* The one trial whose hash begins with the prefix: its id and its 64 hex digits. AVS_EMISSING none, AVS_ERANGE several
 * or no prefix. */
int avs_store_trial_by_prefix(avs_store *s, const char *prefix, int64_t *trial_id, char hex[65], avs_err *e);

/* The trial's result of the name name[0..n), split test before none before others; *found false: there is none. */
int avs_store_trial_metric(avs_store *s, int64_t trial_id, const char *name, size_t n, bool *found,
                           double *value, avs_err *e);

bool avs_is_hash_prefix(const char *text); /* 6 to 64 hex digits */

#endif
