/* `status --watch`: the status of a database, again and again, until the run ends or q is pressed. */
#ifndef AVS_ORCHESTRATOR_WATCH_H
#define AVS_ORCHESTRATOR_WATCH_H

#include "orchestrator/cli.h"

/* On a terminal the whole screen (the alternate one, so what was there comes back), twice a second; otherwise a line
 * every 30 s, or every --every. Ends with q, Ctrl-C (130 is not used: watching kills nothing), or when no run lives. */
int avs_watch(const avs_options *o);

#endif
