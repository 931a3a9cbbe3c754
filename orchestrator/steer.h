/* retry, cancel, pause, prioritise: each names trials and changes what becomes of them. */
#ifndef AVS_ORCHESTRATOR_STEER_H
#define AVS_ORCHESTRATOR_STEER_H

#include "orchestrator/cli.h"

int avs_command_retry(const avs_options *o);
int avs_command_cancel(const avs_options *o);
int avs_command_pause(const avs_options *o);
int avs_command_prioritise(const avs_options *o);

#endif
