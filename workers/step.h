/* Training steps of a plan, for timings: forward, backward and AdamW over all trainable parameters. */
#ifndef AVS_WORKERS_STEP_H
#define AVS_WORKERS_STEP_H

#include "engine/plan/plan.h"

/* Gives every input of the plan seeded values: N(0,1) for frames and audio, 0 or 1 (class 0 or 1) for targets, 1 for
 * the weights of rows. */
void avs_step_fill(avs_plan *p);

/* Milliseconds of each of `runs` steps after `warmup` others. ms: owner: caller. Errors: AVS_ENOMEM, or the plan's. */
int avs_step_time(avs_plan *p, int warmup, int runs, double *ms, avs_err *e);

/* The largest resident size this process has had so far (VmHWM), in KiB; 0 where the system does not say. */
int64_t avs_peak_kib(void);

#endif
