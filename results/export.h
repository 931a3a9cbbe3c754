/* Exports: every trial with its parameters, final numbers and series, as files of other programs. Nothing is sent anywhere.
 *
 *   csv          one line per trial, one column per parameter and per metric and split
 *   json         JSON lines: one object per trial, series included
 *   sqlite       a compact copy of the whole database, readable by stock sqlite3
 *   mlflow       a file store (mlruns): one experiment per sweep, one run per trial
 *   wandb        offline run folders for `wandb sync`
 *   tensorboard  one event file per trial
 *
 * Names of final numbers: SPLIT/NAME ("test/miou", "final/params"); latency percentiles are final/latency_p50_ns and so on.
 * Stored values in full precision (TensorBoard: float32, its format). Characters that a format's file names cannot hold become
 * '_'. A second export to the same place replaces the first, trial by trial. */
#ifndef AVS_RESULTS_EXPORT_H
#define AVS_RESULTS_EXPORT_H

#include "results/store.h"

typedef enum {
    AVS_EXPORT_CSV,
    AVS_EXPORT_JSON,
    AVS_EXPORT_SQLITE,
    AVS_EXPORT_MLFLOW,
    AVS_EXPORT_WANDB,
    AVS_EXPORT_TENSORBOARD
} avs_export_to;
/* "csv", "json", "jsonl", "sqlite", "mlflow", "wandb", "tensorboard". AVS_ERANGE names the choices. */
int avs_export_parse(const char *word, avs_export_to *out, avs_err *e);

typedef struct {
    avs_export_to to;
    const char *sweep, *where; /* as in reports; NULL: all */
} avs_export_spec;

/* path: a file for csv, json ("-": stdout) and sqlite, else a folder, which is made. Errors: AVS_EMISSING when no trial
 * matches, AVS_EIO with the path. */
int avs_export(avs_store *s, const avs_export_spec *spec, const char *path, avs_err *e);

#endif
