/* Part of `avsweep bench-dispatch`: `avsweep run` on a sweep of a million trials, as a process of its own, from its
 * start to the first trial: new, and again on the same database. */
#ifndef AVS_ORCHESTRATOR_BENCH_SCALE_H
#define AVS_ORCHESTRATOR_BENCH_SCALE_H

#include "base/err.h"

typedef struct {
    double first_s; /* from the start of the process to the folder of the first trial's log */
    double cpu_s;   /* processor time of the process until then                             */
    double rss_mb;  /* resident then, MB of 1e6 bytes                                       */
} avs_scale_figures;

typedef struct {
    avs_scale_figures empty, fresh, resumed; /* empty: a sweep of a thousand trials */
} avs_scale;

/* Files lie in `folder`. AVS_EIO: a run did not start a trial; it is killed. */
int avs_bench_scale(const char *folder, const char *trial_program, avs_scale *out, avs_err *e);

#endif
