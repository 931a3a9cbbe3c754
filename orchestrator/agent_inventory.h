/* What a node has: cores by NUMA domain, memory, GPUs. What the cpuset, the cgroup and CUDA_VISIBLE_DEVICES of this process
 * allow counts, not what the machine has. Read by the agent, told in M_HELLO, read back by the coordinator. */
#ifndef AVS_ORCHESTRATOR_AGENT_INVENTORY_H
#define AVS_ORCHESTRATOR_AGENT_INVENTORY_H

#include <sched.h>
#include "base/buf.h"
#include "base/frame.h"
#include "orchestrator/coordinator.h"
#include "orchestrator/gpu_inventory.h"

typedef struct {
    int cores, n_numa;
    cpu_set_t all, numa[AVS_NODE_NUMA]; /* `all` empty: trials are not bound (a number of cores was given) */
    int64_t mem_mb;                     /* 0: unknown */
    avs_gpu_inventory gpus;             /* those that answer, `numa` an index into numa */
    char gpu_fault[512];                /* why some or all GPUs are left out; "": none is */
} agent_inventory;

/* cores: 0: those of this process; else so many in one domain, which need not exist (tests). */
void agent_inventory_take(agent_inventory *v, int cores);
/* Appends the fields of M_HELLO. */
void agent_inventory_put(const agent_inventory *v, avs_buf *out);
/* Reads them back (the coordinator's side). Names of GPUs in *out lie in *gpus. */
void agent_inventory_read(const avs_frame *hello, avs_node_info *out, avs_gpu_inventory *gpus);

#endif
