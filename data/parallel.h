/* Independent jobs 0..n-1 on a few threads. Jobs are taken in order; the error returned is that of the failed
 * job with the smallest number (later jobs may then not have run). */
#ifndef AVS_DATA_PARALLEL_H
#define AVS_DATA_PARALLEL_H

#include <stdint.h>
#include "base/err.h"

/* worker: 0..n_threads-1, for scratch memory of a thread. n_threads <= 1 runs in the calling thread. */
typedef int (*avs_job)(void *ctx, int64_t job, int worker, avs_err *e);
int avs_parallel(int64_t n_jobs, int n_threads, avs_job run, void *ctx, avs_err *e);
int avs_cpu_count(void); /* CPUs this process may run on, at least 1 */

#endif
