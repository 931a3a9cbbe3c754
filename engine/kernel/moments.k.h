/* Batch statistics of several ranks as one sum: per channel the first two moments about a number that all ranks hold (the
 * running mean), in double, so that adding them is all that ranks do: d_r = mean_r - shift,
 *   N = sum n_r,  mean = shift + sum n_r d_r / N,  M2 = sum (M2_r + n_r d_r^2) - N (mean - shift)^2
 * (Chan, Golub, LeVeque 1979). buf: N, C first moments, C second ones: AVS_MOMENTS(C) doubles. */
#ifndef AVS_ENGINE_KERNEL_MOMENTS_K_H
#define AVS_ENGINE_KERNEL_MOMENTS_K_H

#include "engine/kernel/math.k.h"

#define AVS_MOMENTS(C) (2 * (C) + 1)

/* Channel c of n elements; channel 0 also writes n. */
AVS_FN void avs_moments_put(double *buf, int64_t C, int64_t c, double n, double shift, double mean, double m2)
{
    const double d = mean - shift;
    if (c == 0) buf[0] = n;
    buf[1 + c] = n * d;
    buf[1 + C + c] = m2 + n * d * d;
}

/* Mean and sum of squared deviations of channel c over all buf[0] elements. */
AVS_FN void avs_moments_get(const double *buf, int64_t C, int64_t c, double shift, double *mean, double *m2)
{
    const double d = buf[1 + c] / buf[0], v = buf[1 + C + c] - buf[0] * d * d;
    *mean = shift + d;
    *m2 = v > 0 ? v : 0;
}

#endif
