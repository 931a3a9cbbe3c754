/* A libnvidia-ml.so.1 for tests: FAKE_GPUS GPUs, the second of which somebody uses. */
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    unsigned long long total, free, used;
} memory;

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetCount_v2(unsigned *n);
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d);
int nvmlDeviceGetName(void *d, char *out, unsigned n);
int nvmlDeviceGetUUID(void *d, char *out, unsigned n);
int nvmlDeviceGetMemoryInfo(void *d, memory *m);
int nvmlDeviceGetTemperature(void *d, int sensor, unsigned *t);
int nvmlSystemGetDriverVersion(char *out, unsigned n);

static int gpus[16];

int nvmlInit_v2(void)
{
    return getenv("FAKE_GPUS") ? 0 : 9;
}

int nvmlShutdown(void)
{
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *n)
{
    *n = (unsigned)atoi(getenv("FAKE_GPUS"));
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d)
{
    if (i >= 16) return 6;
    gpus[i] = (int)i;
    *d = &gpus[i];
    return 0;
}

int nvmlDeviceGetName(void *d, char *out, unsigned n)
{
    (void)d;
    (void)snprintf(out, n, "Fake H100");
    return 0;
}

int nvmlDeviceGetUUID(void *d, char *out, unsigned n)
{
    (void)snprintf(out, n, "GPU-fake-%d", *(int *)d);
    return 0;
}

int nvmlDeviceGetMemoryInfo(void *d, memory *m)
{
    *m = (memory){80ULL << 30, 80ULL << 30, 0};
    if (*(int *)d == 1) *m = (memory){80ULL << 30, 20ULL << 30, 60ULL << 30};
    return 0;
}

int nvmlDeviceGetTemperature(void *d, int sensor, unsigned *t)
{
    (void)d;
    (void)sensor;
    *t = 41;
    return 0;
}

int nvmlSystemGetDriverVersion(char *out, unsigned n)
{
    (void)snprintf(out, n, "550.54");
    return 0;
}
