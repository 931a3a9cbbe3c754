/* `show --effective [FILE]`: every setting that has a source, with its value and where the value came from. */
#ifndef AVS_ORCHESTRATOR_EFFECTIVE_H
#define AVS_ORCHESTRATOR_EFFECTIVE_H

#include "orchestrator/cli.h"

/* Without a file the options that an option or the environment can set; with one also every parameter of the first
 * configuration of each stage: sweep, FILE:LINE, --set or default. */
int avs_show_effective(const avs_options *o);

#endif
