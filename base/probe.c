/* Probe tensors. unit_i is splitmix64 at state h + i*gamma, its upper 24 bits mapped to [-1,1); see probe.h.
 */
#include "base/probe.h"

#include <math.h>
#include <string.h>
#include "base/hash.h"

/* avs_splitmix64 written out, so that the fill loops inline it: 72 million elements in 0.1 s, page faults apart.
 */
static inline double unit(uint64_t hash, uint64_t i)
{
    uint64_t z = hash + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z = z ^ (z >> 31);
    return (double)(int32_t)(z >> 40) * 0x1p-23 - 1.0; /* both steps are exact */
}

double avs_probe_unit(uint64_t hash, int64_t i)
{
    return unit(hash, (uint64_t)i);
}

void avs_probe_tensor(const char *name, int64_t n, double scale, double offset, float *out)
{
    uint64_t hash = avs_fnv1a64_str(name);
    for (int64_t i = 0; i < n; i++) out[i] = (float)(offset + scale * unit(hash, (uint64_t)i));
}

static int ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && memcmp(s + n - m, tail, m) == 0;
}

void avs_probe_param(const char *name, const int64_t *d, int rank, float *out)
{
    double scale = 0.1, offset = 0, fan_in = 1;
    int64_t n = rank > 0 ? d[0] : 1;
    for (int i = 1; i < rank; i++) {
        n *= d[i];
        fan_in *= (double)d[i];
    }
    if (rank >= 2)
        scale = sqrt(3.0 / fan_in);
    else if (ends_with(name, "running_var") || ends_with(name, ".weight"))
        offset = 1;
    avs_probe_tensor(name, n, scale, offset, out);
}

/* Unit value of the block that holds pixel (l,y,x) of a lead x h x w field. */
static double block_unit(uint64_t hash, int64_t l, int64_t y, int64_t x, int64_t h, int64_t w, int64_t cell)
{
    int64_t rows = (h + cell - 1) / cell, cols = (w + cell - 1) / cell;
    return unit(hash, (uint64_t)((l * rows + y / cell) * cols + x / cell));
}

void avs_probe_mask(const char *name, int64_t lead, int64_t h, int64_t w, double fraction, int64_t cell,
                    float *out)
{
    uint64_t hash = avs_fnv1a64_str(name);
    for (int64_t l = 0; l < lead; l++)
        for (int64_t y = 0; y < h; y++)
            for (int64_t x = 0; x < w; x++)
                *out++ = block_unit(hash, l, y, x, h, w, cell) < 2 * fraction - 1 ? 1.0f : 0.0f;
}

void avs_probe_classes(const char *name, int64_t lead, int64_t h, int64_t w, int64_t count, int64_t cell,
                       int32_t *out)
{
    uint64_t hash = avs_fnv1a64_str(name);
    for (int64_t l = 0; l < lead; l++)
        for (int64_t y = 0; y < h; y++)
            for (int64_t x = 0; x < w; x++) {
                double c = floor((block_unit(hash, l, y, x, h, w, cell) + 1) / 2 * (double)count);
                *out++ = c < (double)count - 1 ? (int32_t)c : (int32_t)(count - 1);
            }
}

void avs_probe_grey(const char *name, int64_t lead, int64_t h, int64_t w, int64_t cell, float *out)
{
    uint64_t hash = avs_fnv1a64_str(name);
    for (int64_t l = 0; l < lead; l++)
        for (int64_t y = 0; y < h; y++)
            for (int64_t x = 0; x < w; x++) *out++ = (float)((block_unit(hash, l, y, x, h, w, cell) + 1) / 2);
}

double avs_probe_dot(const char *name, const float *x, int64_t n)
{
    uint64_t hash = avs_fnv1a64_str(name);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * unit(hash, (uint64_t)i);
    return sum;
}
