/* Chooses among the instruction sets that this build has. Compiled once, for the baseline. */
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/winograd.h"

extern const avs_cpu_kernel avs_cpu_table_v1[AVS_OP_COUNT];
extern const avs_winograd_kernel avs_winograd_v1;
extern const avs_winograd_weight_kernel avs_winograd_weight_v1;
#ifdef AVS_HAVE_ISA_V3
extern const avs_cpu_kernel avs_cpu_table_v3[AVS_OP_COUNT];
extern const avs_cpu_kernel avs_cpu_table_v4[AVS_OP_COUNT];
extern const avs_winograd_kernel avs_winograd_v3, avs_winograd_v4;
extern const avs_winograd_weight_kernel avs_winograd_weight_v3, avs_winograd_weight_v4;

/* By features, not by level names, which clang 14 does not know. Every processor with the last feature of a list has
 * the rest of its level too. */
static bool has_v3(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}
static bool has_v4(void)
{
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

const avs_cpu_kernel *avs_cpu_kernel_variant(int i, const char **name)
{
    static const char *const names[] = {"x86-64", "x86-64-v3", "x86-64-v4"};
    const avs_cpu_kernel *table = NULL;
    if (i == 0) table = avs_cpu_table_v1;
#ifdef AVS_HAVE_ISA_V3
    if (i == 1 && has_v3()) table = avs_cpu_table_v3;
    if (i == 2 && has_v4()) table = avs_cpu_table_v4;
#endif
    if (table && name) *name = names[i];
    return table;
}

const avs_cpu_kernel *avs_cpu_kernel_table(void)
{
    const avs_cpu_kernel *best = avs_cpu_table_v1;
    for (int i = 1;; i++) {
        const avs_cpu_kernel *t = avs_cpu_kernel_variant(i, NULL);
        if (!t) return best;
        best = t;
    }
}

const avs_winograd_kernel *avs_winograd_variant(int i)
{
    if (i == 0) return &avs_winograd_v1;
#ifdef AVS_HAVE_ISA_V3
    if (i == 1 && has_v3()) return &avs_winograd_v3;
    if (i == 2 && has_v4()) return &avs_winograd_v4;
#endif
    return NULL;
}

const avs_winograd_kernel *avs_winograd_best(void)
{
    int i = 0;
    while (avs_winograd_variant(i + 1)) i++;
    return avs_winograd_variant(i);
}

const avs_winograd_weight_kernel *avs_winograd_weight_variant(int i)
{
    if (i == 0) return &avs_winograd_weight_v1;
#ifdef AVS_HAVE_ISA_V3
    if (i == 1 && has_v3()) return &avs_winograd_weight_v3;
    if (i == 2 && has_v4()) return &avs_winograd_weight_v4;
#endif
    return NULL;
}

const avs_winograd_weight_kernel *avs_winograd_weight_best(void)
{
    int i = 0;
    while (avs_winograd_weight_variant(i + 1)) i++;
    return avs_winograd_weight_variant(i);
}
