/* The NVIDIA GPUs of this machine, asked of the driver's management library (NVML).
 *
 * The library is loaded at run time and its functions are declared here: no header and no link is needed, and a machine
 * without a driver simply has none. What a GPU does not know (clocks of a virtual one, say) is -1 or empty. */
#ifndef AVS_ORCHESTRATOR_GPU_INVENTORY_H
#define AVS_ORCHESTRATOR_GPU_INVENTORY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

enum { AVS_GPUS_MAX = 32 };

typedef struct {
    char uuid[96];  /* "GPU-.." : what CUDA_VISIBLE_DEVICES takes */
    char model[96]; /* "NVIDIA H100 80GB HBM3"                    */
    int64_t mem_bytes, mem_free, mem_used;
    int32_t sm_mhz, mem_mhz, sm_max_mhz; /* clocks now, and the highest of the multiprocessors */
    uint64_t throttle;                   /* bits of nvmlClocksThrottleReasons; 0: none */
    int32_t processes;                   /* that compute on it */
    int32_t capability;                  /* 90 for sm_90 */
    int32_t celsius;
    int32_t numa;    /* memory node of the kernel that it is nearest to; -1: unknown                   */
    int32_t island;  /* GPUs of one number reach each other by NVLink                                  */
    char fault[480]; /* why it does not answer (the rest is empty then); "" for one that does */
} avs_gpu;

typedef struct {
    bool is_there; /* the library was found */
    int32_t n;
    avs_gpu gpu[AVS_GPUS_MAX];
    char driver[80];
    int32_t cuda; /* the newest CUDA of the driver: 13000 for 13.0 */
} avs_gpu_inventory;

/* library: NULL for libnvidia-ml.so.1. visible: a value of CUDA_VISIBLE_DEVICES, which leaves what it names in its order
 * (numbers as the library counts, UUIDs or their beginnings, UUIDs of MIG instances), as CUDA reads it up to the first
 * that is not there; NULL: all. A machine without it has no GPUs: AVS_OK, n 0 and is_there false. AVS_ELIB: it is
 * there and answers with an error, which is named; the error of a single GPU is that one's `fault`. */
int avs_gpu_inventory_read(avs_gpu_inventory *out, const char *library, const char *visible, avs_err *e);
/* [{"uuid":..,"model":..,"mem_bytes":..,"sm_mhz":..,"throttle":["sw_power_cap"],"processes":..},..] */
void avs_gpu_inventory_json(avs_buf *out, const avs_gpu_inventory *g);
/* Reads uuid, model, mem_bytes, capability, numa and island back. What is no such list: none. */
void avs_gpu_inventory_parse(const avs_json *list, avs_gpu_inventory *out);

#endif
