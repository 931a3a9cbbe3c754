/* `avsweep db init|migrate|check|snapshot|merge|gc`: looking after a result database. Returns the exit status. */
#ifndef AVS_ORCHESTRATOR_DB_COMMAND_H
#define AVS_ORCHESTRATOR_DB_COMMAND_H

#include "orchestrator/cli.h"

int avs_command_db(const avs_options *o);

#endif
