/* Probe tensors: values that any program rebuilds from a name and a shape, used by golden cases and tests.
 * Definition: tests/golden/FORMAT.md. Everything is computed in float64 and rounded once to float32. */
#ifndef AVS_BASE_PROBE_H
#define AVS_BASE_PROBE_H

#include <stdint.h>

/* Element i of unit(name): an exact multiple of 2^-23 in [-1,1). hash = avs_fnv1a64_str(name). */
double avs_probe_unit(uint64_t hash, int64_t i);

/* out[i] = offset + scale * unit_i, i = 0..n-1 */
void avs_probe_tensor(const char *name, int64_t n, double scale, double offset, float *out);

/* Value of a parameter or buffer called name with shape d[0..rank): scale and offset by the rule of FORMAT.md
 * (rank >= 2: sqrt(3/prod(d[1:])), 0; running_var and .weight of rank <= 1: 0.1, 1; else 0.1, 0). */
void avs_probe_param(const char *name, const int64_t *d, int rank, float *out);

/* Binary blocks: shape is lead x h x w; blocks of cell x cell pixels, on when unit < 2*fraction-1. */
void avs_probe_mask(const char *name, int64_t lead, int64_t h, int64_t w, double fraction, int64_t cell,
                    float *out);
/* Class blocks: min(floor((unit+1)/2*count), count-1). */
void avs_probe_classes(const char *name, int64_t lead, int64_t h, int64_t w, int64_t count, int64_t cell,
                       int32_t *out);
/* Grey blocks: (unit+1)/2. */
void avs_probe_grey(const char *name, int64_t lead, int64_t h, int64_t w, int64_t cell, float *out);

/* Inner product of x with unit(name), in float64; the digests of golden files. */
double avs_probe_dot(const char *name, const float *x, int64_t n);

#endif
