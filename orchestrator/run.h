/* `avsweep run`: expand, resume, dispatch, commit. The shell around the state machine: it owns the database, the lease,
 * the connections and the clock, carries out actions, and tells the machine what came of them.
 *
 * Exit codes: 0, 1, 2, 3, 4, 6, 70, 75, 130 (avsweep help). */
#ifndef AVS_ORCHESTRATOR_RUN_H
#define AVS_ORCHESTRATOR_RUN_H

#include "orchestrator/cli.h"

int avs_run(const avs_options *o);

/* Body of `avsweep __agent PROGRAM ROOT CORES`: the agent of the coordinator's node, on fd 3. */
int avs_run_agent(int argc, char **argv);

/* Path of avsweep-trial: --trial-program, $AVSWEEP_TRIAL, beside this program. AVS_EMISSING names the places. */
int avs_trial_program(const char *wanted, char *out, size_t n, avs_err *e);

#endif
