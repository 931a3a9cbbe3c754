/* What a number depends on besides its configuration: sent with each attempt as one JSON object. */
#ifndef AVS_WORKERS_ENV_H
#define AVS_WORKERS_ENV_H

#include <stdbool.h>
#include "base/buf.h"

/* host, kernel, cpu, cores, threads, memory, load, versions (tool, commit, compiler, oneDNN), precision, determinism.
 * computes: the trial uses the engine; otherwise oneDNN is neither loaded nor named. */
void avs_env_json(avs_buf *out, int threads, const char *precision, bool computes);

#endif
