/* The kernels of one instruction set, by op. */
#include "engine/backend/cpu/isa/isa.h"

#define AVS_WORK_0(name) NULL
#define AVS_WORK_1(name) AVS_ISA(avs_cpu_##name##_work)
const avs_cpu_kernel AVS_ISA(avs_cpu_table)[AVS_OP_COUNT] = {
#define X(E, name, has_work) [AVS_OP_##E] = {AVS_ISA(avs_cpu_##name), AVS_WORK_##has_work(name)},
    AVS_CPU_OWN_KERNELS(X)
#undef X
};
