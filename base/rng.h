/* Random numbers. Two generators, both pure functions of a key and a counter, so that nothing depends on the
 * order of calls, on threads or on ranks.
 *
 *  - Philox4x32-10 (Salmon et al., SC 2011): masks of dropout, initial values. key = seed, counter =
 *    (stream id, step, global sample, element/4 inside the sample).
 *  - splitmix64: seeds of the streams of a trial, seq draws of the composer and of random sweeps. */
#ifndef AVS_BASE_RNG_H
#define AVS_BASE_RNG_H

#include <stdint.h>

uint64_t avs_splitmix64(uint64_t x); /* the output function for state x (x + golden gamma is mixed) */

/* Seed of the stream `name` of a trial: splitmix64(seed xor FNV-1a64(name)). Names in use: init, order, augment,
 * dropout. */
uint64_t avs_stream_seed(uint64_t trial_seed, const char *name);

void avs_philox4x32(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);

/* Sequential generator (splitmix64 in counter mode): for tests, shuffles and the composer. */
typedef struct {
    uint64_t state;
} avs_rng;
avs_rng avs_rng_seed(uint64_t seed);
uint64_t avs_rng_u64(avs_rng *r);
double avs_rng_unit(avs_rng *r);                             /* [0,1), 53 bits         */
double avs_rng_uniform(avs_rng *r, double a, double b);      /* [a,b)                  */
double avs_rng_normal(avs_rng *r);                           /* N(0,1), Box-Muller     */
int64_t avs_rng_range(avs_rng *r, int64_t lo, int64_t hi);   /* lo..hi inclusive, unbiased */
void avs_rng_shuffle(avs_rng *r, int32_t *items, int64_t n); /* Fisher-Yates       */

#endif
