/* `repro HASH`: one trial of a database as a command of its own; with --exec it is run and its numbers are compared. */
#ifndef AVS_ORCHESTRATOR_REPRO_H
#define AVS_ORCHESTRATOR_REPRO_H

#include "orchestrator/cli.h"

/* Exit 0: printed, or run with the same results; 1: it failed or a result differs. */
int avs_command_repro(const avs_options *o);

#endif
