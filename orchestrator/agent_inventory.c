/* Inventory from sched_getaffinity, /sys/devices/system/node and the memory limits of the cgroups; GPUs by NVML. */
#include "orchestrator/agent_inventory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "orchestrator/agent.h"

int avs_agent_cores(cpu_set_t *set)
{
    /* mpirun binds each rank to a core by default, which says nothing about the node: ask for all, the kernel
     * keeps what the cpuset allows. A binding by the user (taskset) or the batch system stays. */
    if (getenv("OMPI_COMM_WORLD_RANK")) {
        cpu_set_t every;
        memset(&every, 0xff, sizeof every);
        sched_setaffinity(0, sizeof every, &every);
    }
    CPU_ZERO(set);
    if (sched_getaffinity(0, sizeof *set, set) != 0) return 1;
    return CPU_COUNT(set);
}

/* "0-3,8,10-11" */
static void parse_list(const char *text, cpu_set_t *out)
{
    CPU_ZERO(out);
    while (*text >= '0' && *text <= '9') {
        char *end;
        long a = strtol(text, &end, 10), b = a;
        if (*end == '-') b = strtol(end + 1, &end, 10);
        for (long k = a; k <= b && k < CPU_SETSIZE; k++) CPU_SET((int)k, out);
        text = *end == ',' ? end + 1 : end;
    }
}

static bool read_text(const char *path, char *out, size_t n)
{
    FILE *f = fopen(path, "re");
    if (!f) return false;
    bool ok = fgets(out, (int)n, f) != NULL;
    (void)fclose(f);
    return ok;
}

static int64_t memory_mb(void)
{
    char text[512], path[700];
    int64_t mb = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE) >> 20;
    if (!read_text("/proc/self/cgroup", text, sizeof text) || strncmp(text, "0::", 3) != 0) return mb;
    text[strcspn(text, "\n")] = '\0';
    for (char *p = text + 3; *p; *strrchr(p, '/') = '\0') { /* limits of all levels count */
        char limit[64];
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", p);
        if (read_text(path, limit, sizeof limit) && limit[0] != 'm') {
            int64_t most = strtoll(limit, NULL, 10) >> 20;
            if (most > 0 && most < mb) mb = most;
        }
        if (!strchr(p, '/')) break;
    }
    return mb;
}

/* os: the kernel's numbers of v->numa. */
static void take_gpus(agent_inventory *v, const int os[AVS_NODE_NUMA])
{
    avs_err err = AVS_ERR_INIT;
    avs_gpu_inventory *g = &v->gpus;
    int32_t n = 0;
    if (avs_gpu_inventory_read(g, NULL, getenv("CUDA_VISIBLE_DEVICES"), &err) != AVS_OK) {
        snprintf(v->gpu_fault, sizeof v->gpu_fault, "%s", err.msg);
        g->n = 0;
    }
    for (int32_t i = 0; i < g->n; i++) {
        if (g->gpu[i].fault[0]) {
            snprintf(v->gpu_fault, sizeof v->gpu_fault, "GPU %d: %s", (int)i, g->gpu[i].fault);
            continue;
        }
        int32_t domain = -1;
        for (int d = 0; d < v->n_numa; d++)
            if (os[d] == g->gpu[i].numa) domain = d;
        g->gpu[n] = g->gpu[i];
        g->gpu[n++].numa = domain;
    }
    g->n = n;
}

void agent_inventory_take(agent_inventory *v, int cores)
{
    int os[AVS_NODE_NUMA] = {0};
    *v = (agent_inventory){.cores = cores, .mem_mb = memory_mb()};
    if (cores > 0) {
        take_gpus(v, os);
        return;
    }
    v->cores = avs_agent_cores(&v->all);
    for (int d = 0; d < AVS_NODE_NUMA; d++) {
        char path[64], text[1024];
        cpu_set_t set;
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", d);
        if (!read_text(path, text, sizeof text)) continue;
        parse_list(text, &set);
        CPU_AND(&set, &set, &v->all);
        if (CPU_COUNT(&set) == 0) continue;
        os[v->n_numa] = d;
        v->numa[v->n_numa++] = set;
    }
    take_gpus(v, os);
}

void agent_inventory_put(const agent_inventory *v, avs_buf *out)
{
    uint32_t per[AVS_NODE_NUMA];
    avs_frame_put_i64(out, AVS_T_CORES, v->cores);
    avs_frame_put_i64(out, AVS_T_MEM_MB, v->mem_mb);
    for (int d = 0; d < v->n_numa; d++) per[d] = (uint32_t)CPU_COUNT(&v->numa[d]);
    if (v->n_numa > 1) avs_frame_put(out, AVS_T_NUMA, per, sizeof *per * (size_t)v->n_numa);
    if (v->gpus.n == 0) return;
    avs_buf list = AVS_BUF_INIT;
    avs_gpu_inventory_json(&list, &v->gpus);
    avs_frame_put_str(out, AVS_T_GPUS, avs_buf_cstr(&list));
    if (!avs_buf_ok(&list)) out->failed = true;
    avs_buf_free(&list);
}

/* An agent without the field has no GPUs; so has one whose list makes no sense. */
static void read_gpus(const avs_frame *hello, avs_node_info *out, avs_gpu_inventory *gpus)
{
    size_t n = 0;
    avs_json *root = NULL;
    const uint8_t *text = avs_frame_get(hello, AVS_T_GPUS, &n);
    avs_arena *a = text ? avs_arena_new() : NULL;
    *gpus = (avs_gpu_inventory){.cuda = -1};
    if (a && avs_json_parse(a, "GPUs of a node", (const char *)text, n, &root, NULL) == AVS_OK)
        avs_gpu_inventory_parse(root, gpus);
    avs_arena_free(a);
    out->n_gpus = gpus->n;
    for (int32_t i = 0; i < gpus->n; i++)
        out->gpu[i] = (avs_node_gpu){
            .numa = gpus->gpu[i].numa, .island = gpus->gpu[i].island, .model = gpus->gpu[i].model};
}
_Static_assert((int)AVS_GPUS_MAX <= (int)AVS_NODE_GPUS, "a node's GPUs fit");

void agent_inventory_read(const avs_frame *hello, avs_node_info *out, avs_gpu_inventory *gpus)
{
    size_t n = 0;
    const uint8_t *per = avs_frame_get(hello, AVS_T_NUMA, &n);
    int64_t cores = avs_frame_i64(hello, AVS_T_CORES, 1), mb = avs_frame_i64(hello, AVS_T_MEM_MB, 0), sum = 0;
    *out = (avs_node_info){.cores = cores > 0 && cores < 1 << 20 ? (int32_t)cores : 1,
                           .mem_mb = mb > 0 && mb < INT32_MAX ? (int32_t)mb : 0};
    read_gpus(hello, out, gpus);
    if (!per || n % 4 != 0 || n / 4 > AVS_NODE_NUMA) return;
    for (size_t d = 0; d < n / 4; d++) {
        uint32_t k;
        memcpy(&k, per + 4 * d, sizeof k);
        out->numa_cores[d] = (int32_t)(k & 0xffff);
        sum += out->numa_cores[d];
    }
    if (sum == out->cores) out->n_numa = (int32_t)(n / 4);
}
