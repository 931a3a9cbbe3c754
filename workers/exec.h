/* kind: exec. The trial is a command of the user's; this process is its keeper (docs/exec-trials.md). */
#ifndef AVS_WORKERS_EXEC_H
#define AVS_WORKERS_EXEC_H

#include "workers/trial.h"

/* ENV of such a trial: that of this process with the command's words and the fingerprint of its code. */
int avs_exec_env(const avs_job *job, const char *base_json, avs_buf *out, avs_err *e);
/* AVS_OK: exit 0 and the objective was reported. AVS_ECANCEL: stopped, to be resumed. Else why it failed. */
int avs_exec_run(avs_trial *t, avs_err *e);

#endif
