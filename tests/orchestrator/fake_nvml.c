/* A libnvidia-ml.so.1 for tests: FAKE_GPUS GPUs (unset: the driver is not loaded), GPU FAKE_GPU_LOST does not answer.
 * Even ones are free H100s of one NVLink island; odd ones are A100s that somebody uses and that know less. */
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    unsigned long long total, free, used;
} memory;

int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int r);
int nvmlDeviceGetCount_v2(unsigned *n);
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d);
int nvmlDeviceGetHandleByUUID(const char *uuid, void **d);
int nvmlDeviceGetName(void *d, char *out, unsigned n);
int nvmlDeviceGetUUID(void *d, char *out, unsigned n);
int nvmlDeviceGetMemoryInfo(void *d, memory *m);
int nvmlDeviceGetTemperature(void *d, int sensor, unsigned *t);
int nvmlDeviceGetClockInfo(void *d, int which, unsigned *mhz);
int nvmlDeviceGetMaxClockInfo(void *d, int which, unsigned *mhz);
int nvmlDeviceGetCurrentClocksThrottleReasons(void *d, unsigned long long *bits);
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *n, void *out);
int nvmlDeviceGetCudaComputeCapability(void *d, int *major, int *minor);
int nvmlDeviceGetP2PStatus(void *a, void *b, int what, int *status);
int nvmlSystemGetDriverVersion(char *out, unsigned n);
int nvmlSystemGetCudaDriverVersion(int *v);

enum {
    MOST = 16,
    MIG = 100,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    SMALL = 7,
    NOT_LOADED = 9,
    LOST = 15,
    NVLINK = 2
};

static int gpus[MOST];
static int is_open;

static int odd(void *d)
{
    return *(int *)d & 1;
}

int nvmlInit_v2(void)
{
    if (!getenv("FAKE_GPUS")) return NOT_LOADED;
    is_open++;
    return 0;
}

int nvmlShutdown(void)
{
    return --is_open;
}

const char *nvmlErrorString(int r)
{
    return r == NOT_LOADED ? "Driver Not Loaded" : r == LOST ? "GPU is lost" : "Unknown Error";
}

int nvmlDeviceGetCount_v2(unsigned *n)
{
    *n = (unsigned)atoi(getenv("FAKE_GPUS"));
    return is_open ? 0 : 1;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d)
{
    const char *lost = getenv("FAKE_GPU_LOST");
    if (i >= MOST) return NOT_FOUND;
    if (lost && (unsigned)atoi(lost) == i) return LOST;
    gpus[i] = (int)i;
    *d = &gpus[i];
    return 0;
}

/* MIG instances alone. */
int nvmlDeviceGetHandleByUUID(const char *uuid, void **d)
{
    static int instance;
    if (sscanf(uuid, "MIG-fake-%d", &instance) != 1) return NOT_FOUND;
    instance += MIG;
    *d = &instance;
    return 0;
}

int nvmlDeviceGetName(void *d, char *out, unsigned n)
{
    (void)snprintf(out, n, "%s", odd(d) ? "NVIDIA A100-SXM4-40GB" : "NVIDIA H100 80GB HBM3");
    return 0;
}

int nvmlDeviceGetUUID(void *d, char *out, unsigned n)
{
    const int k = *(int *)d;
    (void)snprintf(out, n, "%s-fake-%d", k >= MIG ? "MIG" : "GPU", k >= MIG ? k - MIG : k);
    return 0;
}

int nvmlDeviceGetMemoryInfo(void *d, memory *m)
{
    *m = odd(d) ? (memory){40ULL << 30, 10ULL << 30, 30ULL << 30} : (memory){80ULL << 30, 80ULL << 30, 0};
    return 0;
}

int nvmlDeviceGetTemperature(void *d, int sensor, unsigned *t)
{
    (void)d;
    (void)sensor;
    *t = 41;
    return 0;
}

int nvmlDeviceGetClockInfo(void *d, int which, unsigned *mhz)
{
    *mhz = which == 1 ? 1410 : 2619;
    return odd(d) && which == 2 ? NOT_SUPPORTED : 0;
}

int nvmlDeviceGetMaxClockInfo(void *d, int which, unsigned *mhz)
{
    (void)d;
    *mhz = which == 1 ? 1980 : 2619;
    return 0;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *d, unsigned long long *bits)
{
    *bits = odd(d) ? 4 | 64 : 1; /* power cap and heat; idle */
    return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *n, void *out)
{
    (void)out;
    *n = odd(d) ? 3 : 0;
    return *n ? SMALL : 0;
}

int nvmlDeviceGetCudaComputeCapability(void *d, int *major, int *minor)
{
    *major = odd(d) ? 8 : 9;
    *minor = 0;
    return 0;
}

int nvmlDeviceGetP2PStatus(void *a, void *b, int what, int *status)
{
    *status = what == NVLINK && !odd(a) && !odd(b) ? 0 : 1;
    return 0;
}

int nvmlSystemGetDriverVersion(char *out, unsigned n)
{
    (void)snprintf(out, n, "580.159.04");
    return 0;
}

int nvmlSystemGetCudaDriverVersion(int *v)
{
    *v = 13000;
    return 0;
}
