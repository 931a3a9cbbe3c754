/* A counter under a mutex hands out the jobs; a failure stops the handing out, and the smallest failed job wins. */
#include "data/parallel.h"

#include "base/arena.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

typedef struct {
    pthread_mutex_t lock;
    int64_t next, n_jobs, failed_job;
    avs_job run;
    void *ctx;
    avs_err err;
    int rc;
} pool;

typedef struct {
    pool *p;
    int number;
    pthread_t thread;
    bool started;
} worker;

static void *work(void *arg)
{
    worker *w = arg;
    pool *p = w->p;
    pthread_mutex_lock(&p->lock);
    while (p->next < p->n_jobs && p->rc == AVS_OK) {
        const int64_t job = p->next++;
        pthread_mutex_unlock(&p->lock);
        avs_err e = AVS_ERR_INIT;
        const int rc = p->run(p->ctx, job, w->number, &e);
        pthread_mutex_lock(&p->lock);
        if (rc != AVS_OK && (p->rc == AVS_OK || job < p->failed_job)) {
            p->rc = rc;
            p->failed_job = job;
            p->err = e;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int avs_parallel(int64_t n_jobs, int n_threads, avs_job run, void *ctx, avs_err *e)
{
    pool p = {.n_jobs = n_jobs, .run = run, .ctx = ctx};
    if (n_threads > n_jobs) n_threads = (int)n_jobs;
    if (n_threads < 1) n_threads = 1;
    worker *w = avs_xalloc(sizeof *w * (size_t)n_threads);
    if (!w) return avs_fail(e, AVS_ENOMEM, "no memory for %d threads", n_threads);
    pthread_mutex_init(&p.lock, NULL);
    /* A thread that cannot be started is no error: the others do its work. The calling thread is worker 0. */
    for (int i = 0; i < n_threads; i++) {
        w[i] = (worker){.p = &p, .number = i};
        if (i > 0) w[i].started = pthread_create(&w[i].thread, NULL, work, &w[i]) == 0;
    }
    work(&w[0]);
    for (int i = 1; i < n_threads; i++)
        if (w[i].started) pthread_join(w[i].thread, NULL);
    pthread_mutex_destroy(&p.lock);
    avs_xfree(w);
    if (p.rc != AVS_OK && e) *e = p.err;
    return p.rc;
}

int avs_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    const int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}
