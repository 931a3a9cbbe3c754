/* GPUs by NVML. The library belongs to the driver, so it is opened at run time and may be missing. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/doctor.h"

typedef void *nvml_device;
typedef struct {
    unsigned long long total, free, used;
} nvml_memory;

enum { NVML_TEMPERATURE_GPU = 0, MAX_GPUS = 64 };

typedef struct {
    int (*init)(void);
    int (*shutdown)(void);
    int (*count)(unsigned *n);
    int (*handle)(unsigned i, nvml_device *d);
    int (*name)(nvml_device d, char *out, unsigned n);
    int (*uuid)(nvml_device d, char *out, unsigned n);
    int (*memory)(nvml_device d, nvml_memory *m);
    int (*temperature)(nvml_device d, int sensor, unsigned *t);
    int (*driver)(char *out, unsigned n);
} nvml;

static bool find(void *lib, const char *name, void *slot)
{
    void *at = dlsym(lib, name);
    memcpy(slot, &at, sizeof at); /* a function pointer out of an object pointer, as POSIX allows */
    return at != NULL;
}

static bool bind(void *lib, nvml *n)
{
    return find(lib, "nvmlInit_v2", &n->init) && find(lib, "nvmlShutdown", &n->shutdown) &&
           find(lib, "nvmlDeviceGetCount_v2", &n->count) &&
           find(lib, "nvmlDeviceGetHandleByIndex_v2", &n->handle) &&
           find(lib, "nvmlDeviceGetName", &n->name) && find(lib, "nvmlDeviceGetUUID", &n->uuid) &&
           find(lib, "nvmlDeviceGetMemoryInfo", &n->memory) &&
           find(lib, "nvmlDeviceGetTemperature", &n->temperature) &&
           find(lib, "nvmlSystemGetDriverVersion", &n->driver);
}

static void one(avs_doctor *d, const nvml *n, unsigned i)
{
    nvml_device gpu = NULL;
    char name[96] = "?", uuid[96] = "?";
    nvml_memory m = {0};
    unsigned t = 0;
    if (n->handle(i, &gpu) != 0) {
        avs_doc_say(d, AVS_DOC_FAIL, "gpu", "GPU %u does not answer", i);
        return;
    }
    (void)n->name(gpu, name, sizeof name);
    (void)n->uuid(gpu, uuid, sizeof uuid);
    const bool memory = n->memory(gpu, &m) == 0, warm = n->temperature(gpu, NVML_TEMPERATURE_GPU, &t) == 0;
    const double gib = 1024.0 * 1024 * 1024;
    /* Another process's memory: the GPU is not ours alone. */
    const bool used = memory && m.total > 0 && (double)m.used > 0.1 * (double)m.total;
    avs_doc_say(d, used ? AVS_DOC_WARN : AVS_DOC_OK, "gpu", "%u %s, %s, %.1f of %.1f GiB free%s, %u C", i,
                name, uuid, (double)m.free / gib, (double)m.total / gib, used ? " (somebody uses it)" : "",
                warm ? t : 0);
}

void avs_doc_gpus(avs_doctor *d)
{
    nvml n;
    unsigned count = 0;
    char driver[96] = "?";
    void *lib = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        avs_doc_say(d, AVS_DOC_SKIP, "gpu", "no libnvidia-ml.so.1 on this node: no NVIDIA driver");
        return;
    }
    if (!bind(lib, &n)) {
        avs_doc_say(d, AVS_DOC_FAIL, "gpu", "libnvidia-ml.so.1 lacks functions: %s", dlerror());
    } else if (n.init() != 0) {
        avs_doc_say(d, AVS_DOC_FAIL, "gpu", "the NVIDIA driver does not answer (nvmlInit)");
    } else {
        (void)n.driver(driver, sizeof driver);
        if (n.count(&count) != 0) count = 0;
        const char *visible = getenv("CUDA_VISIBLE_DEVICES");
        avs_doc_say(d, count ? AVS_DOC_OK : AVS_DOC_WARN, "gpu", "%u GPUs, driver %s%s%s", count, driver,
                    visible ? ", CUDA_VISIBLE_DEVICES=" : "", visible ? visible : "");
        for (unsigned i = 0; i < count && i < MAX_GPUS; i++) one(d, &n, i);
        (void)n.shutdown();
    }
    (void)dlclose(lib);
}
