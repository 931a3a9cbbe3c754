/* `avsweep compare A B --metric M [--threshold 1%]`: exit 7 when B is worse somewhere beyond doubt and threshold. */
#ifndef AVS_ORCHESTRATOR_COMPARE_COMMAND_H
#define AVS_ORCHESTRATOR_COMPARE_COMMAND_H

#include "orchestrator/cli.h"

enum { AVS_EXIT_REGRESSION = 7 };
int avs_command_compare(const avs_options *o);

#endif
