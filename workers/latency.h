/* Closed-loop latency of one configuration: one query in flight, monotonic clock around each. */
#ifndef AVS_WORKERS_LATENCY_H
#define AVS_WORKERS_LATENCY_H

#include <stdint.h>
#include "workers/control.h"
#include "workers/net.h"

typedef enum { AVS_SCOPE_MODEL, AVS_SCOPE_AUDIO, AVS_SCOPE_WAVEFORM } avs_latency_scope;

typedef struct {
    int64_t warmup, min_samples, capacity;
    double min_seconds, max_seconds;
    avs_latency_scope scope;
} avs_latency_cfg;

/* Queries in order, in units of nanoseconds; owner: caller (avs_latency_samples_free). latency: inputs resident until the output is
 * ready; e2e: from host buffers (scope waveform: from 15600 samples of sound) to a host mask. */
typedef struct {
    uint32_t *latency, *e2e;
    uint32_t *device;                           /* by the GPU's clock; NULL on a CPU */
    double latency_unit, e2e_unit, device_unit; /* ns */
    int64_t n;
} avs_latency_samples;

int avs_latency_measure(avs_net *n, const avs_latency_cfg *cfg, avs_control *control,
                        avs_latency_samples *out, avs_err *e);
void avs_latency_samples_free(avs_latency_samples *s);

#endif
