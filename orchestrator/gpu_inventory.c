/* NVML by dlopen with declarations of our own (its ABI is stable: names carry a version where a structure changed). */
#include "orchestrator/gpu_inventory.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int nvml_return; /* 0: done; 3: not supported by this GPU; 7: a buffer is too small */
typedef void *nvml_device;
typedef struct {
    unsigned long long total, free, used;
} nvml_memory;
typedef struct {
    char legacy[16];
    unsigned domain, bus, device, ids, subsystem;
    char text[32];
} nvml_pci;

enum { NVML_OK = 0, NVML_SMALL = 7, CLOCK_SM = 1, CLOCK_MEM = 2, TEMPERATURE_GPU = 0, P2P_NVLINK = 2 };

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
    nvml_return (*by_uuid)(const char *, nvml_device *);
    nvml_return (*pci)(nvml_device, nvml_pci *);
    nvml_return (*p2p)(nvml_device, nvml_device, int, int *);
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
    {"nvmlDeviceGetHandleByUUID", offsetof(nvml, by_uuid), 0},
    {"nvmlDeviceGetPciInfo_v3", offsetof(nvml, pci), 0},
    {"nvmlDeviceGetP2PStatus", offsetof(nvml, p2p), 0},
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

static int32_t numa_of(const nvml *l, nvml_device d)
{
    nvml_pci at = {0};
    char path[96], line[32];
    int node = -1;
    if (!l->pci || l->pci(d, &at) != NVML_OK) return -1;
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%04x:%02x:%02x.0/numa_node", at.domain, at.bus,
             at.device);
    FILE *f = fopen(path, "re");
    if (!f) return -1;
    if (fgets(line, sizeof line, f)) node = (int)strtol(line, NULL, 10);
    (void)fclose(f);
    return node;
}

static int read_gpu(const nvml *l, nvml_device d, avs_gpu *g, avs_err *e)
{
    nvml_memory m = {0};
    unsigned long long reasons = 0;
    unsigned celsius = 0;
    int major = 0, minor = 0, rc = AVS_OK;
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
    g->numa = numa_of(l, d);
    g->capability = l->capability && l->capability(d, &major, &minor) == NVML_OK ? major * 10 + minor : -1;
    g->celsius =
        l->temperature && l->temperature(d, TEMPERATURE_GPU, &celsius) == NVML_OK ? (int32_t)celsius : -1;
out:
    return rc;
}

/* One more entry; what is wrong with it is its fault. */
static void add(const nvml *l, avs_gpu_inventory *out, nvml_device at[], nvml_return found, nvml_device d)
{
    avs_err why = AVS_ERR_INIT;
    const int32_t k = out->n++;
    avs_gpu *g = &out->gpu[k];
    *g = (avs_gpu){0};
    at[k] = d;
    if (told(l, found, "a GPU's handle", &why) != AVS_OK || read_gpu(l, d, g, &why) != AVS_OK) {
        *g = (avs_gpu){0};
        snprintf(g->fault, sizeof g->fault, "%s", why.msg);
    }
    g->island = k;
    for (int32_t j = 0; j < k && l->p2p && !g->fault[0]; j++) {
        int status = -1;
        if (out->gpu[j].fault[0] || l->p2p(at[j], d, P2P_NVLINK, &status) != NVML_OK || status != 0) continue;
        g->island = out->gpu[j].island;
        break;
    }
}

static void add_index(const nvml *l, avs_gpu_inventory *out, nvml_device at[], unsigned i)
{
    nvml_device d = NULL;
    const nvml_return r = l->handle(i, &d);
    add(l, out, at, r, d);
}

static bool has(const avs_gpu_inventory *g, const char *uuid)
{
    for (int32_t i = 0; i < g->n; i++)
        if (strcmp(g->gpu[i].uuid, uuid) == 0) return true;
    return false;
}

/* The number of the GPU whose UUID begins so; -1: none. */
static int by_prefix(const nvml *l, unsigned n, const char *prefix)
{
    for (unsigned i = 0; i < n; i++) {
        nvml_device d = NULL;
        char uuid[96] = "";
        if (l->handle(i, &d) != NVML_OK || l->uuid(d, uuid, sizeof uuid) != NVML_OK) continue;
        if (strncmp(uuid, prefix, strlen(prefix)) == 0) return (int)i;
    }
    return -1;
}

static void add_visible(const nvml *l, avs_gpu_inventory *out, nvml_device at[], unsigned n,
                        const char *visible)
{
    while (*visible && out->n < AVS_GPUS_MAX) {
        char word[96], *end;
        nvml_device d = NULL;
        const size_t len = strcspn(visible, ",");
        if (len == 0 || len >= sizeof word) return;
        memcpy(word, visible, len);
        word[len] = '\0';
        visible += len + (visible[len] == ',');
        long i = strtol(word, &end, 10);
        if (*end) i = strncmp(word, "GPU-", 4) == 0 ? by_prefix(l, n, word) : -1;
        if (i >= 0 && i < (long)n)
            add_index(l, out, at, (unsigned)i);
        else if (strncmp(word, "MIG-", 4) == 0 && l->by_uuid && l->by_uuid(word, &d) == NVML_OK)
            add(l, out, at, NVML_OK, d);
        else
            return;
        avs_gpu *last = &out->gpu[out->n - 1];
        out->n--;
        if (last->fault[0] || !has(out, last->uuid)) out->n++;
    }
}

int avs_gpu_inventory_read(avs_gpu_inventory *out, const char *library, const char *visible, avs_err *e)
{
    nvml_device at[AVS_GPUS_MAX];
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
    if (rc == AVS_OK && visible) add_visible(&l, out, at, n, visible);
    for (unsigned i = 0; i < n && i < AVS_GPUS_MAX && rc == AVS_OK && !visible; i++)
        add_index(&l, out, at, i);
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
        number(out, "numa", x->numa);
        number(out, "island", x->island);
        text(out, "driver", g->driver);
        avs_json_write_str(out, "processes");
        avs_buf_fmt(out, ":%d}", (int)x->processes);
    }
    avs_buf_char(out, ']');
}

void avs_gpu_inventory_parse(const avs_json *list, avs_gpu_inventory *out)
{
    *out = (avs_gpu_inventory){.cuda = -1};
    if (!list || list->kind != AVS_J_ARR) return;
    for (size_t i = 0; i < list->len && out->n < AVS_GPUS_MAX; i++) {
        const avs_json *x = avs_json_at(list, i);
        avs_gpu *g = &out->gpu[out->n];
        snprintf(g->uuid, sizeof g->uuid, "%s", avs_json_str(x, "uuid", ""));
        snprintf(g->model, sizeof g->model, "%s", avs_json_str(x, "model", ""));
        g->mem_bytes = avs_json_int(x, "mem_bytes", 0);
        g->capability = (int32_t)avs_json_int(x, "capability", -1);
        g->numa = (int32_t)avs_json_int(x, "numa", -1);
        g->island = (int32_t)avs_json_int(x, "island", out->n);
        out->n++;
    }
}
