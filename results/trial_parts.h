/* All that a database knows of one trial: its parts as cells for a printer that need not know them, what is needed to run
 * it once more, and where its attempts have their logs. */
#ifndef AVS_RESULTS_TRIAL_PARTS_H
#define AVS_RESULTS_TRIAL_PARTS_H

#include "results/store.h"

typedef enum {
    AVS_PART_TRIAL,    /* hash, state, kind, model, task, seed, config_hash, params, .. */
    AVS_PART_ATTEMPT,  /* n, reason, seconds, host, message, log_path, .. */
    AVS_PART_ENV,      /* n, host, cpu, code_fp, .. */
    AVS_PART_RESULT,   /* metric, split, value, unit, .. */
    AVS_PART_ARTIFACT, /* name, kind, bytes, path, .. */
    AVS_PARTS          /* how many */
} avs_trial_part;
const char *avs_trial_part_name(avs_trial_part p);

typedef enum { AVS_CELL_NULL, AVS_CELL_INTEGER, AVS_CELL_NUMBER, AVS_CELL_TEXT, AVS_CELL_JSON } avs_cell_kind;
typedef struct {
    const char *name;
    avs_cell_kind kind;
    int64_t i;
    double d;
    const char *text; /* of every kind; "" for NULL */
} avs_cell;

enum { AVS_PART_CELLS = 24 };
typedef void (*avs_trial_part_fn)(void *ctx, avs_trial_part p, const avs_cell *cells, int n);
/* Calls each for every row of the part, in order; cells die with the call. */
int avs_store_trial_part(avs_store *s, int64_t trial_id, avs_trial_part p, avs_trial_part_fn each, void *ctx,
                         avs_err *e);

typedef struct {
    const char *name, *split, *unit;
    double value;
} avs_recorded;

/* What the attempt that counts (or the newest) was, and the results it left. Strings are "" where nothing is known. */
typedef struct {
    const char *kind, *model, *task, *params, *host, *cpu, *code, *tool, *objective;
    int64_t seed, threads, attempt, ranks; /* attempt: its number, 0: never started */
    avs_recorded *results;
    size_t n_results;
} avs_trial_record;
/* Owner: the arena. */
int avs_store_trial_record(avs_store *s, int64_t trial_id, avs_arena *a, avs_trial_record *out, avs_err *e);

typedef struct {
    char path[4096];
    int n;
    bool ended;
} avs_attempt_log;
/* The log of attempt n, 0: the newest. *found false: there is no such attempt. */
int avs_store_attempt_log(avs_store *s, int64_t trial_id, int n, bool *found, avs_attempt_log *out,
                          avs_err *e);

#endif
