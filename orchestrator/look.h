/* Reading single trials out of a database: `ls`, `show HASH`, `logs HASH`. Opens the file read-only. */
#ifndef AVS_ORCHESTRATOR_LOOK_H
#define AVS_ORCHESTRATOR_LOOK_H

#include "orchestrator/cli.h"

int avs_command_ls(const avs_options *o);   /* hash, state, kind, model, task, seed, attempts, --metrics */
int avs_command_show(const avs_options *o); /* HASH, --schema MODEL or --effective [FILE] */
int avs_command_logs(const avs_options *o); /* the log of an attempt; -f goes on until it ends */

#endif
