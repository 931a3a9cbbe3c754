/* NVML by dlopen with declarations of our own (its ABI is stable: names carry a version where a structure changed). */
#include "orchestrator/gpu_inventory.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

typedef int nvml_return; /* 0: done; 3: not supported by this GPU; 7: a buffer is too small */
typedef void *nvml_device;
typedef struct {
    unsigned long long total, free, used;
} nvml_memory;

enum { NVML_OK = 0, NVML_SMALL = 7, CLOCK_SM = 1, CLOCK_MEM = 2, TEMPERATURE_GPU = 0 };

typedef struct {
    void *lib;
    nvml_return (*init)(void);
    nvml_return (*shutdown)(void);
    const char *(*error)(nvml_return);
    nvml_return (*count)(unsigned *);
    nvml_return (*handle)(unsigned, nvml_device *);
    nvml_return (*uuid)(nvml_device, char *, unsigned);
    nvml_return (*name)(nvml_device, char *, unsigned);
    nvml_return (*memory)(nvml_device, nvml_memory *);
    nvml_return (*clock)(nvml_device, int, unsigned *);
    nvml_return (*max_clock)(nvml_device, int, unsigned *);
    nvml_return (*throttle)(nvml_device, unsigned long long *);
    nvml_return (*processes)(nvml_device, unsigned *, void *);
    nvml_return (*capability)(nvml_device, int *, int *);
    nvml_return (*temperature)(nvml_device, int, unsigned *);
    nvml_return (*driver)(char *, unsigned);
    nvml_return (*cuda)(int *);
} nvml;

typedef struct {
    const char *name;
    size_t at;
    int is_needed;
} symbol;

static const symbol symbols[] = {
    {"nvmlInit_v2", offsetof(nvml, init), 1},
    {"nvmlShutdown", offsetof(nvml, shutdown), 1},
    {"nvmlErrorString", offsetof(nvml, error), 1},
    {"nvmlDeviceGetCount_v2", offsetof(nvml, count), 1},
    {"nvmlDeviceGetHandleByIndex_v2", offsetof(nvml, handle), 1},
    {"nvmlDeviceGetUUID", offsetof(nvml, uuid), 1},
    {"nvmlDeviceGetName", offsetof(nvml, name), 1},
    {"nvmlDeviceGetMemoryInfo", offsetof(nvml, memory), 1},
    {"nvmlDeviceGetClockInfo", offsetof(nvml, clock), 0},
    {"nvmlDeviceGetMaxClockInfo", offsetof(nvml, max_clock), 0},
    {"nvmlDeviceGetCurrentClocksThrottleReasons", offsetof(nvml, throttle), 0},
    {"nvmlDeviceGetComputeRunningProcesses_v3", offsetof(nvml, processes), 0},
    {"nvmlDeviceGetCudaComputeCapability", offsetof(nvml, capability), 0},
    {"nvmlDeviceGetTemperature", offsetof(nvml, temperature), 0},
    {"nvmlSystemGetDriverVersion", offsetof(nvml, driver), 0},
    {"nvmlSystemGetCudaDriverVersion", offsetof(nvml, cuda), 0},
};

static int load(nvml *l, const char *path, avs_err *e)
{
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *f = dlsym(l->lib, symbols[i].name);
        if (!f && symbols[i].is_needed)
            return avs_fail(e, AVS_ELIB, "%s has no %s: it is no NVML of this decade", path, symbols[i].name);
        memcpy((char *)l + symbols[i].at, &f, sizeof f);
    }
    return AVS_OK;
}

static int told(const nvml *l, nvml_return r, const char *what, avs_err *e)
{
    return r == NVML_OK ? AVS_OK : avs_fail(e, AVS_ELIB, "%s: %s", what, l->error(r));
}

static int32_t clock_of(nvml_return (*f)(nvml_device, int, unsigned *), nvml_device d, int which)
{
    unsigned mhz = 0;
    return f && f(d, which, &mhz) == NVML_OK ? (int32_t)mhz : -1;
}

/* With room for none the call says how many there are. */
static int32_t processes_of(const nvml *l, nvml_device d)
{
    unsigned n = 0;
    if (!l->processes) return -1;
    const nvml_return r = l->processes(d, &n, NULL);
    return r == NVML_OK || r == NVML_SMALL ? (int32_t)n : -1;
}

static int read_gpu(const nvml *l, unsigned i, avs_gpu *g, avs_err *e)
{
    nvml_device d = NULL;
    nvml_memory m = {0};
    unsigned long long reasons = 0;
    unsigned celsius = 0;
    int major = 0, minor = 0, rc = AVS_OK;
    AVS_TRY(told(l, l->handle(i, &d), "a GPU's handle", e));
    AVS_TRY(told(l, l->uuid(d, g->uuid, sizeof g->uuid), "a GPU's UUID", e));
    AVS_TRY(told(l, l->name(d, g->model, sizeof g->model), "a GPU's name", e));
    AVS_TRY(told(l, l->memory(d, &m), "a GPU's memory", e));
    g->mem_bytes = (int64_t)m.total;
    g->mem_free = (int64_t)m.free;
    g->mem_used = (int64_t)m.used;
    g->sm_mhz = clock_of(l->clock, d, CLOCK_SM);
    g->mem_mhz = clock_of(l->clock, d, CLOCK_MEM);
    g->sm_max_mhz = clock_of(l->max_clock, d, CLOCK_SM);
    if (l->throttle && l->throttle(d, &reasons) == NVML_OK) g->throttle = reasons;
    g->processes = processes_of(l, d);
    g->capability = l->capability && l->capability(d, &major, &minor) == NVML_OK ? major * 10 + minor : -1;
    g->celsius =
        l->temperature && l->temperature(d, TEMPERATURE_GPU, &celsius) == NVML_OK ? (int32_t)celsius : -1;
out:
    return rc;
}

int avs_gpu_inventory_read(avs_gpu_inventory *out, const char *library, avs_err *e)
{
    const char *path = library ? library : "libnvidia-ml.so.1";
    nvml l = {.lib = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    unsigned n = 0;
    *out = (avs_gpu_inventory){.cuda = -1};
    if (!l.lib) return AVS_OK;
    out->is_there = true;
    int rc = load(&l, path, e), cuda = 0;
    if (rc == AVS_OK) rc = told(&l, l.init(), "nvmlInit", e);
    const int is_open = rc == AVS_OK;
    if (rc == AVS_OK) rc = told(&l, l.count(&n), "the number of GPUs", e);
    if (n > AVS_GPUS_MAX) n = AVS_GPUS_MAX;
    for (unsigned i = 0; i < n && rc == AVS_OK; i++) {
        avs_err why = AVS_ERR_INIT;
        avs_gpu *g = &out->gpu[out->n++];
        if (read_gpu(&l, i, g, &why) == AVS_OK) continue;
        *g = (avs_gpu){0};
        snprintf(g->fault, sizeof g->fault, "%s", why.msg);
    }
    if (rc == AVS_OK && l.driver && l.driver(out->driver, sizeof out->driver) != NVML_OK) out->driver[0] = 0;
    if (rc == AVS_OK && l.cuda && l.cuda(&cuda) == NVML_OK) out->cuda = cuda;
    if (is_open) (void)l.shutdown();
    (void)dlclose(l.lib);
    return rc;
}

/* ------------------------------------------------------------------ as JSON */

static void text(avs_buf *b, const char *key, const char *value)
{
    avs_json_write_str(b, key);
    avs_buf_char(b, ':');
    avs_json_write_str(b, value);
    avs_buf_char(b, ',');
}

static void number(avs_buf *b, const char *key, int64_t value)
{
    avs_json_write_str(b, key);
    avs_buf_fmt(b, ":%lld,", (long long)value);
}

/* Names of the bits, as nvidia-smi says them; idle is no slow-down. */
static void reasons(avs_buf *b, uint64_t bits)
{
    static const struct {
        uint64_t bit;
        const char *name;
    } names[] = {{1U << 1, "application_clocks"}, {1U << 2, "sw_power_cap"},  {1U << 3, "hw_slowdown"},
                 {1U << 4, "sync_boost"},         {1U << 5, "sw_thermal"},    {1U << 6, "hw_thermal"},
                 {1U << 7, "hw_power_brake"},     {1U << 8, "display_clocks"}};
    int n = 0;
    avs_json_write_str(b, "throttle");
    avs_buf_fmt(b, ":[");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!(bits & names[i].bit)) continue;
        if (n++) avs_buf_char(b, ',');
        avs_json_write_str(b, names[i].name);
    }
    avs_buf_fmt(b, "],");
}

void avs_gpu_inventory_json(avs_buf *out, const avs_gpu_inventory *g)
{
    avs_buf_char(out, '[');
    for (int32_t i = 0; i < g->n; i++) {
        const avs_gpu *x = &g->gpu[i];
        if (i) avs_buf_char(out, ',');
        avs_buf_char(out, '{');
        text(out, "uuid", x->uuid);
        text(out, "model", x->model);
        number(out, "mem_bytes", x->mem_bytes);
        number(out, "mem_free", x->mem_free);
        number(out, "sm_mhz", x->sm_mhz);
        number(out, "mem_mhz", x->mem_mhz);
        number(out, "sm_max_mhz", x->sm_max_mhz);
        reasons(out, x->throttle);
        number(out, "capability", x->capability);
        number(out, "celsius", x->celsius);
        text(out, "driver", g->driver);
        avs_json_write_str(out, "processes");
        avs_buf_fmt(out, ":%d}", (int)x->processes);
    }
    avs_buf_char(out, ']');
}
