/* `avsweep bench-dispatch`: what the orchestration costs here, measured on no-op trials with the real event loop,
 * agents, spawners and database. */
#ifndef AVS_ORCHESTRATOR_BENCH_DISPATCH_H
#define AVS_ORCHESTRATOR_BENCH_DISPATCH_H

#include "orchestrator/cli.h"

int avs_bench_dispatch(const avs_options *o);

#endif
