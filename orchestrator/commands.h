/* The commands that only look: check, expand, report, explain, version, completion, help; and the words that
 * belong to avsweep-trial. Each returns the exit status. */
#ifndef AVS_ORCHESTRATOR_COMMANDS_H
#define AVS_ORCHESTRATOR_COMMANDS_H

#include "orchestrator/cli.h"
#include "sweeps/sweep.h"

int avs_command_check(const avs_options *o);
int avs_command_expand(const avs_options *o);
int avs_command_report(const avs_options *o);
int avs_command_export(const avs_options *o);
int avs_command_explain(const avs_options *o);
int avs_command_version(const avs_options *o);
int avs_command_completion(const avs_options *o);
int avs_command_help(const avs_options *o);
int avs_command_trial(const avs_options *o); /* replaces this process by avsweep-trial */

/* The sweep file o->words[0] with --set and --allow-env; what is wrong with it goes to stderr. NULL: exit 3. */
avs_sweep *avs_load_sweep(avs_arena *a, const avs_options *o);

#endif
