/* Counter-based random numbers: Philox4x32-10 as published (Salmon et al., "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011) and splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
#include "base/rng.h"

#include <math.h>
#include "base/hash.h"

static const uint64_t GOLDEN_GAMMA = 0x9E3779B97F4A7C15u;

uint64_t avs_splitmix64(uint64_t x)
{
    uint64_t z = x + GOLDEN_GAMMA;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t avs_stream_seed(uint64_t trial_seed, const char *name)
{
    return avs_splitmix64(trial_seed ^ avs_fnv1a64_str(name));
}

void avs_philox4x32(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u; /* golden ratio    */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1     */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

avs_rng avs_rng_seed(uint64_t seed)
{
    return (avs_rng){.state = seed};
}

uint64_t avs_rng_u64(avs_rng *r)
{
    uint64_t v = avs_splitmix64(r->state);
    r->state += GOLDEN_GAMMA;
    return v;
}

double avs_rng_unit(avs_rng *r)
{
    return (double)(avs_rng_u64(r) >> 11) * 0x1p-53;
}

double avs_rng_uniform(avs_rng *r, double a, double b)
{
    double v = a + (b - a) * avs_rng_unit(r);
    return v < b ? v : a; /* a + (b-a)*u may round up to b */
}

/* One value of the pair per call: no hidden state, two draws per value. */
double avs_rng_normal(avs_rng *r)
{
    double u = 1.0 - avs_rng_unit(r), v = avs_rng_unit(r); /* u in (0,1] */
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

int64_t avs_rng_range(avs_rng *r, int64_t lo, int64_t hi)
{
    if (hi <= lo) return lo;
    uint64_t span = (uint64_t)hi - (uint64_t)lo + 1;
    if (span == 0) return (int64_t)avs_rng_u64(r);
    uint64_t reject = (0 - span) % span; /* 2^64 mod span values at the bottom would be drawn too often */
    uint64_t x;
    do x = avs_rng_u64(r);
    while (x < reject);
    return (int64_t)((uint64_t)lo + x % span);
}

void avs_rng_shuffle(avs_rng *r, int32_t *items, int64_t n)
{
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = avs_rng_range(r, 0, i);
        int32_t t = items[i];
        items[i] = items[j];
        items[j] = t;
    }
}
