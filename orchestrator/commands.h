/* The commands that only look: check, expand, report, status, show, ls, explain, version, completion, help; and the words that
 * belong to avsweep-trial. Each returns the exit status. */
#ifndef AVS_ORCHESTRATOR_COMMANDS_H
#define AVS_ORCHESTRATOR_COMMANDS_H

#include "orchestrator/cli.h"

int avs_command_check(const avs_options *o);
int avs_command_expand(const avs_options *o);
int avs_command_report(const avs_options *o);
int avs_command_status(const avs_options *o);
int avs_command_show(const avs_options *o);
int avs_command_ls(const avs_options *o);
int avs_command_explain(const avs_options *o);
int avs_command_version(const avs_options *o);
int avs_command_completion(const avs_options *o);
int avs_command_help(const avs_options *o);
int avs_command_trial(const avs_options *o); /* replaces this process by avsweep-trial */

#endif
