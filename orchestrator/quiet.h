/* Whether a node was quiet while a latency was measured: what else its cores, clocks and GPUs did before and meanwhile.
 *
 * Before the start the agent waits until other processes take less than a fifth of the cores for a second (three
 * seconds with GPUs, whose temperatures must then keep within 2 K and on which nothing else may compute), at most
 * wait_s. While the trial runs it looks once a second. At the end come flags of metrics/latency.h and a JSON object:
 *   {"waited_s":1.0,"before":0.01,"seconds":12,"disturbed":0,"mean":0.02,"worst":0.05,"throttled":0,
 *    "mhz":[2400,3100],"governor":"performance","gpus_before":[..],"gpus_after":[..]}
 * before, mean, worst: cores' worth of other processes over the number of cores. Seconds with more than a fifth count
 * as disturbed; more than a tenth of them, or a mean above a fifth, make the measurement SHARED. What the kernel does
 * not tell is absent and judged by nobody. Linux: /proc/stat, /proc/PID/stat, /sys/devices/system/cpu. */
#ifndef AVS_ORCHESTRATOR_QUIET_H
#define AVS_ORCHESTRATOR_QUIET_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "orchestrator/gpu_inventory.h"

typedef struct {
    const char *root; /* in front of /proc and /sys: "" (tests: a folder)                      */
    int64_t wait_ns;  /* how long to wait for a quiet node                                     */
    int cores;        /* of the machine                                                        */
    bool with_gpus;
    int64_t begin_ns, start_ns, last_ns; /* of the waiting, of the trial, of the last look     */
    double busy_s, last_busy_s, own_s;   /* CPU seconds: all at start and last look, ours then */
    double before, worst;
    int n_seconds, n_disturbed;
    int64_t throttles; /* of the cores at the start; -1: not told                              */
    int mhz[2];        /* lowest and highest clock of a core seen; 0: not told                 */
    char governor[32];
    avs_gpu_inventory *gpus; /* before; owned, NULL: none                                      */
} avs_quiet;

/* Begins to wait. wait_s: AVSWEEP_QUIET_WAIT, 10 without it; 0: no waiting. */
void avs_quiet_begin(avs_quiet *q, const char *root, double wait_s, bool with_gpus, int64_t now_ns);
/* True: start now. Else ask again at *again_ns. */
bool avs_quiet_may_start(avs_quiet *q, int64_t now_ns, int64_t *again_ns);
/* Called while the trial runs; pids: its processes. Returns when to call again. */
int64_t avs_quiet_look(avs_quiet *q, const int64_t *pids, int n, int64_t now_ns);
/* Flags AVS_LAT_SHARED, AVS_LAT_THROTTLED, AVS_LAT_UNLOCKED of the whole run; the object is appended to *json. */
int avs_quiet_end(avs_quiet *q, avs_buf *json);
void avs_quiet_free(avs_quiet *q);

#endif
