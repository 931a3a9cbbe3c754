/* A management library with two GPUs, for the test of the inventory. AVS_FAKE_NVML=init makes it refuse to start,
 * =gpu makes the second GPU fail. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int r);
int nvmlDeviceGetCount_v2(unsigned *n);
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d);
int nvmlDeviceGetUUID(void *d, char *out, unsigned n);
int nvmlDeviceGetName(void *d, char *out, unsigned n);
int nvmlDeviceGetMemoryInfo(void *d, unsigned long long *m);
int nvmlDeviceGetClockInfo(void *d, int which, unsigned *mhz);
int nvmlDeviceGetMaxClockInfo(void *d, int which, unsigned *mhz);
int nvmlDeviceGetCurrentClocksThrottleReasons(void *d, unsigned long long *bits);
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *n, void *out);
int nvmlDeviceGetCudaComputeCapability(void *d, int *major, int *minor);
int nvmlSystemGetDriverVersion(char *out, unsigned n);
int nvmlSystemGetCudaDriverVersion(int *v);

static char gpus[2];
static int is_open;

static int fails(const char *where)
{
    const char *wish = getenv("AVS_FAKE_NVML");
    return wish && !strcmp(wish, where);
}
static int second(void *d)
{
    return (char *)d == &gpus[1];
}

int nvmlInit_v2(void)
{
    if (fails("init")) return 9;
    is_open++;
    return 0;
}
int nvmlShutdown(void)
{
    return --is_open;
}
const char *nvmlErrorString(int r)
{
    return r == 9 ? "Driver Not Loaded" : "Unknown Error";
}
int nvmlDeviceGetCount_v2(unsigned *n)
{
    *n = 2;
    return is_open ? 0 : 1;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d)
{
    if (i == 1 && fails("gpu")) return 999;
    *d = &gpus[i];
    return 0;
}
int nvmlDeviceGetUUID(void *d, char *out, unsigned n)
{
    snprintf(out, n, "GPU-0000000%d", second(d));
    return 0;
}
int nvmlDeviceGetName(void *d, char *out, unsigned n)
{
    snprintf(out, n, "%s", second(d) ? "NVIDIA A100-SXM4-40GB" : "NVIDIA H100 80GB HBM3");
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *d, unsigned long long *m)
{
    m[0] = second(d) ? 40ULL << 30 : 80ULL << 30;
    m[1] = m[0] - (1ULL << 30);
    m[2] = 1ULL << 30;
    return 0;
}
int nvmlDeviceGetClockInfo(void *d, int which, unsigned *mhz)
{
    *mhz = which == 1 ? 1410 : 2619;
    return second(d) && which == 2 ? 3 : 0; /* the second does not tell */
}
int nvmlDeviceGetMaxClockInfo(void *d, int which, unsigned *mhz)
{
    (void)d;
    *mhz = which == 1 ? 1980 : 2619;
    return 0;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *d, unsigned long long *bits)
{
    *bits = second(d) ? 4 | 64 : 1; /* power cap and heat; idle */
    return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *n, void *out)
{
    (void)out;
    *n = second(d) ? 3 : 0;
    return *n ? 7 : 0;
}
int nvmlDeviceGetCudaComputeCapability(void *d, int *major, int *minor)
{
    *major = second(d) ? 8 : 9;
    *minor = 0;
    return 0;
}
int nvmlSystemGetDriverVersion(char *out, unsigned n)
{
    snprintf(out, n, "580.159.04");
    return 0;
}
int nvmlSystemGetCudaDriverVersion(int *v)
{
    *v = 13000;
    return 0;
}
