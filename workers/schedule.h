/* Learning-rate schedules: a pure function of the step. */
#ifndef AVS_WORKERS_SCHEDULE_H
#define AVS_WORKERS_SCHEDULE_H

#include <stdint.h>
#include "models/schema.h"

typedef struct {
    const char *kind; /* constant, polynomial, cosine */
    double lr, power, lr_min;
    int64_t steps, warmup, steps_per_epoch; /* per_epoch: the rate changes at epoch borders only */
    bool per_epoch;
} avs_schedule;

avs_schedule avs_schedule_of(const avs_cfg *cfg, int64_t steps, int64_t steps_per_epoch);
/* Rate of the optimiser step with number `step`, 0-based. Warm-up is linear from lr/warmup. */
double avs_schedule_lr(const avs_schedule *s, int64_t step);

#endif
