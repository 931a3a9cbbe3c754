/* Kinds of trials. Each returns an avs_code; AVS_ECANCEL means stopped on request with a checkpoint written. */
#ifndef AVS_WORKERS_TRIAL_H
#define AVS_WORKERS_TRIAL_H

#include "workers/control.h"
#include "workers/job.h"
#include "workers/ring.h"

typedef struct {
    const avs_job *job;
    avs_control control;
    avs_ring *ring;      /* NULL with one rank */
    avs_ring_meet *meet; /* rank 0 of a gang across nodes, until its ring is open */
    int64_t stopped_at;  /* step of the checkpoint after AVS_ECANCEL */
    bool crashed;        /* exec: the command died of a signal, so this is no FAIL but a crash */
} avs_trial;

/* `avsweep-trial run JOB.json`: exit status 0 done, 1 failed, 75 stopped. */
int avs_trial_main(const char *job_path);

int avs_train_run(avs_trial *t, avs_err *e);
int avs_eval_run(avs_trial *t, avs_err *e);
int avs_latency_run(avs_trial *t, avs_err *e);

#endif
