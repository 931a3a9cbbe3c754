/* One trial with all its numbers, as the exporters see it, and small helpers to write files. Private to this room.
 * Ownership: texts and numbers belong to the arena. */
#ifndef AVS_RESULTS_EXPORT_TRIAL_H
#define AVS_RESULTS_EXPORT_TRIAL_H

#include "base/buf.h"
#include "base/json.h"
#include "results/export.h"

typedef struct {
    const char *name; /* "test/miou" */
    double value;
} avs_export_value;

typedef struct {
    const char *name;
    int64_t *step;
    double *value;
    size_t n;
} avs_export_series;

typedef struct {
    const char *hash, *config_hash; /* 64 hex digits */
    const char *kind, *model, *task, *state, *sweep, *host, *reason, *message;
    const avs_json *params;
    int64_t seed, attempts, started_us, ended_us; /* of the attempt that counts, else the newest; 0: none */
    avs_export_value *value;
    avs_export_series *series;
    int n_values, n_series;
    bool done;
} avs_export_trial;

int avs_export_load(avs_store *s, int64_t trial_id, avs_arena *a, avs_export_trial *t, avs_err *e);

/* Strings as they are, anything else as canonical JSON. Never NULL. */
const char *avs_export_param(avs_arena *a, const avs_json *p);
/* Letters, digits, '-', '.', and with slash '/', stay; all else is '_'; no part begins with a dot. Never NULL. */
const char *avs_export_name(avs_arena *a, const char *text, bool slash);
/* Writes FOLDER/NAME, folders included, without waiting for the disk: an export can be made again. */
int avs_export_put(const char *folder, const char *name, const avs_buf *bytes, avs_err *e);

/* Writers of one trial into a folder. */
int avs_export_mlflow(const char *folder, const avs_export_trial *t, avs_arena *a, avs_err *e);
int avs_export_wandb(const char *folder, const avs_export_trial *t, avs_arena *a, avs_err *e);
int avs_export_tensorboard(const char *folder, const avs_export_trial *t, avs_arena *a, avs_err *e);

#endif
