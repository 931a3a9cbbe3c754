/* Reading single trials out of a database, for `ls` and `show HASH`. Opens the file read-only. */
#ifndef AVS_ORCHESTRATOR_LOOK_H
#define AVS_ORCHESTRATOR_LOOK_H

#include <stdbool.h>
#include "base/buf.h"
#include "base/err.h"

/* path: of the database. One line per trial: hash, state, kind, model, task, seed, attempts. Filters may be NULL. json: one object a line.
 * AVS_EMISSING: no trial matches. */
int avs_look_list(const char *path, const char *sweep, const char *state, bool json, avs_buf *out,
                  avs_err *e);
/* Everything about one trial. prefix: 6 hex digits or more. AVS_EMISSING: none; AVS_ERANGE: several or too short. */
int avs_look_trial(const char *path, const char *prefix, avs_buf *out, avs_err *e);

#endif
