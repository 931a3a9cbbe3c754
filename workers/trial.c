/* `avsweep-trial run JOB.json`: reads the job, opens the control channel and the ring, runs the kind, says how it ended. */
#include "workers/trial.h"

#include <omp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "engine/plan/plan.h"
#include "workers/env.h"
#include "workers/exec.h"
#include "workers/net.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_STOPPED = 75, RING_TIMEOUT_MS = 60000 };

static bool is_across_nodes(const avs_job *job)
{
    return job->ranks > 1 && strcmp(job->ring, "tcp") == 0;
}

static int open_ring(avs_trial *t, avs_err *e)
{
    const avs_job *job = t->job;
    if (!is_across_nodes(job))
        return avs_ring_open(&t->ring, job->ring, job->rank, job->ranks, RING_TIMEOUT_MS, e);
    if (!t->control.ring[0])
        return avs_fail(e, AVS_EMISSING,
                        "GO did not tell where rank 0 is: ring 'tcp' needs an agent that does");
    avs_ring_meet *meet = t->meet;
    t->meet = NULL;
    return avs_ring_open_tcp(&t->ring, meet, t->control.ring, job->rank, job->ranks, RING_TIMEOUT_MS, e);
}

static int run_kind(avs_trial *t, avs_err *e)
{
    const avs_job *job = t->job;
    int rc = job->ranks > 1 ? avs_control_await_go(&t->control, e) : AVS_OK;
    if (rc != AVS_OK || job->kind == AVS_JOB_NOOP) return rc;
    if (job->kind == AVS_JOB_EXEC) return avs_exec_run(t, e);
    rc = avs_fs_mkdirs(job->work_dir, e);
    if (rc == AVS_OK && job->cache_dir[0]) rc = avs_fs_mkdirs(job->cache_dir, e);
    if (rc == AVS_OK) rc = open_ring(t, e);
    if (rc != AVS_OK) return rc;
    if (job->kind == AVS_JOB_TRAIN)
        rc = avs_train_run(t, e);
    else if (job->rank == 0)
        rc = job->kind == AVS_JOB_EVAL ? avs_eval_run(t, e) : avs_latency_run(t, e);
    return rc;
}

static int finish(avs_trial *t, int rc, const avs_err *e)
{
    t->control.device_peak = (int64_t)avs_plan_device_peak(avs_net_backend());
    if (rc == AVS_OK) {
        avs_control_done(&t->control);
        return EXIT_DONE;
    }
    /* An external command may be preempted without having been asked by us. */
    if (rc == AVS_ECANCEL && (t->job->kind == AVS_JOB_EXEC || avs_control_poll(&t->control))) {
        avs_control_stopped(&t->control, t->stopped_at);
        return EXIT_STOPPED;
    }
    if (t->crashed)
        fprintf(stderr, "error: %s\n", e->msg); /* no FAIL: the agent quotes the last line of the log */
    else
        avs_control_fail(&t->control, e);
    return EXIT_FAILED;
}

/* Replaces the text by that of an external command. */
static int exec_env(const avs_job *job, avs_buf *env, avs_err *e)
{
    avs_buf own = AVS_BUF_INIT;
    int rc = avs_exec_env(job, avs_buf_cstr(env), &own, e);
    avs_buf_free(env);
    *env = own;
    return rc;
}

int avs_trial_main(const char *job_path)
{
    avs_err e = AVS_ERR_INIT;
    avs_job job = {0};
    avs_trial t = {.job = &job};
    avs_buf env = AVS_BUF_INIT;
    const bool is_child = avs_control_present();
    const pid_t parent = getppid();
    if (is_child) {
        /* first act: end with the spawner; then see whether it is already gone */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) return EXIT_FAILED;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    avs_arena *a = avs_arena_new();
    int rc = a ? avs_job_read(a, job_path, &job, &e) : avs_fail(&e, AVS_ENOMEM, "out of memory");
    avs_control_open(&t.control, is_child, job.epoch, (uint64_t)job.attempt);
    if (rc == AVS_OK) {
        t.control.is_quiet = job.rank != 0;
        avs_fault_arm("trial", (int64_t)job.seed);
        omp_set_num_threads(job.threads);
        if (job.backend[0]) (void)setenv("AVSWEEP_BACKEND", job.backend, 1);
        avs_env_json(&env, job.threads,
                     job.cfg && avs_cfg_has(job.cfg, "precision") ? avs_cfg_str(job.cfg, "precision")
                                                                  : "fp32",
                     job.kind != AVS_JOB_NOOP && job.kind != AVS_JOB_EXEC);
        if (job.kind == AVS_JOB_EXEC) rc = exec_env(&job, &env, &e);
        char address[AVS_RING_ADDRESS] = "";
        if (rc == AVS_OK && is_across_nodes(&job) && job.rank == 0)
            rc = avs_ring_listen(&t.meet, address, &e);
        avs_control_hello(&t.control, address[0] ? address : NULL);
        avs_control_env(&t.control, avs_buf_cstr(&env));
        if (rc == AVS_OK) rc = run_kind(&t, &e);
    }
    const int status = finish(&t, rc, &e);
    avs_ring_unlisten(t.meet);
    avs_ring_close(t.ring);
    avs_control_close(&t.control);
    avs_buf_free(&env);
    avs_arena_free(a);
    return status;
}
