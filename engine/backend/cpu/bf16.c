/* Precision bf16: which processors have it, and which products gain from it.
 *
 * Operands lie in memory as f32 and are rounded to bf16 (nearest, ties to even) just before the product, which
 * accumulates in f32 and writes f32. One thread of Zen 4 (AVX512-BF16): products twice as fast at every shape tried
 * (convolutions 115 to 235 GFLOP/s, matrices 115 to 230), rounding 0.07 to 0.3 ns per element. */
#include "engine/backend/cpu/dnnl_step.h"

static const char *isa_name(unsigned isa)
{
    static const struct {
        unsigned isa;
        const char *name;
    } rows[] = {{dnnl_cpu_isa_avx512_core_vnni, "AVX-512 with VNNI"},
                {dnnl_cpu_isa_avx512_core, "AVX-512"},
                {dnnl_cpu_isa_avx2, "AVX2"},
                {dnnl_cpu_isa_avx, "AVX"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((isa & rows[i].isa) == rows[i].isa) return rows[i].name;
    return "SSE";
}

int avs_cpu_bf16_probe(double *speed, avs_err *e)
{
    const unsigned isa = dnnl_get_effective_cpu_isa(), need = dnnl_cpu_isa_avx512_core_bf16;
    /* measured on 3x3 and 1x1 forward convolutions: 1.9 to 2.1 on Zen 4, 5 to 11 on a Xeon with AMX */
    *speed = (isa & dnnl_cpu_isa_avx512_core_amx) == dnnl_cpu_isa_avx512_core_amx ? 8 : 2;
    if ((isa & need) == need) return AVS_OK; /* AMX includes it */
    return avs_fail(
        e, AVS_EMISSING,
        "precision bf16 needs a CPU with AVX512-BF16 or AMX, this one offers %s at most (as oneDNN sees "
        "it; DNNL_MAX_CPU_ISA lowers that); use precision fp32 or another node",
        isa_name(isa));
}

bool avs_bf16_pays(double macs, double rounded, int64_t depth)
{
    return depth >= 16 && macs >= 32 * rounded;
}

double avs_dnnl_elements(const dnnl_memory_desc_t *md)
{
    double n = 1;
    for (int i = 0; i < md->ndims; i++) n *= (double)md->dims[i];
    return n;
}

dnnl_memory_desc_t avs_bf16_desc(const dnnl_memory_desc_t *md)
{
    dnnl_memory_desc_t out = *md;
    out.data_type = dnnl_bf16;
    return out;
}
