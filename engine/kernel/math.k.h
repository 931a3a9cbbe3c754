/* Elementary functions for both devices: branch-free, so that loops over them vectorise, about 1 ulp to 2e-7 relative.
 *
 * exp: Cody-Waite reduction, Cephes polynomial, scaling in two steps so that results down to the smallest denormal
 * and up to overflow are right. erf: after N. Juffa's single-precision erff. tanh: Cephes polynomial near 0, else
 * from exp. sin and cos: Cephes. log: the fdlibm e_logf polynomial. NaN gives NaN. tests/engine/kernel/test_math.c has the error bounds. */
#ifndef AVS_ENGINE_KERNEL_MATH_K_H
#define AVS_ENGINE_KERNEL_MATH_K_H

#include "engine/kernel/lane.k.h"

#if defined(__CUDACC__)
AVS_FN uint32_t avs_bits(float x)
{
    return __float_as_uint(x);
}
AVS_FN float avs_float(uint32_t u)
{
    return __uint_as_float(u);
}
AVS_FN float avs_sqrtf(float x)
{
    return sqrtf(x);
}
#else
AVS_FN uint32_t avs_bits(float x)
{
    union {
        float f;
        uint32_t u;
    } v = {x};
    return v.u;
}
AVS_FN float avs_float(uint32_t u)
{
    union {
        uint32_t u;
        float f;
    } v = {u};
    return v.f;
}
AVS_FN float avs_sqrtf(float x)
{
    return __builtin_sqrtf(x);
}
#endif

AVS_FN float avs_absf(float x)
{
    return avs_float(avs_bits(x) & 0x7fffffffu);
}

AVS_FN float avs_expf(float x)
{
    /* 104 > -ln(smallest denormal / 2), 89 > ln(FLT_MAX): outside the result is 0 or inf anyway. */
    x = x < -104.f ? -104.f : x;
    x = x > 89.f ? 89.f : x;
    const float magic = 12582912.f; /* 1.5 * 2^23: the sum's low bits are the integer nearest to x log2(e) */
    const float t = x * 1.44269504088896341f + magic;
    const float n = t - magic;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.f;
    const int32_t k = (int32_t)(avs_bits(t) - 0x4b400000u), half = k >> 1;
    return p * avs_float((uint32_t)(half + 127) << 23) * avs_float((uint32_t)(k - half + 127) << 23);
}

AVS_FN float avs_logf(float x)
{
    const int is_tiny = x < 1.17549435e-38f;
    const float y = is_tiny ? x * 8388608.f : x;
    const uint32_t u = avs_bits(y) + (0x3f800000u - 0x3f3504f3u);
    const float k = (float)((int32_t)(u >> 23) - 127 - (is_tiny ? 23 : 0));
    const float f = avs_float((u & 0x007fffffu) + 0x3f3504f3u) - 1.f;
    const float s = f / (2.f + f), z = s * s, w = z * z;
    const float R = z * (0.66666662693f + w * 0.28498786688f) + w * (0.40000972152f + w * 0.24279078841f);
    const float h = 0.5f * f * f;
    float r = s * (h + R) + k * 9.0580006145e-06f - h + f + k * 6.9313812256e-01f;
    r = x > 3.40282347e+38f ? x : r;
    r = x == 0.f ? -avs_float(0x7f800000u) : r;
    return x >= 0.f ? r : avs_float(0x7fc00000u); /* negative or NaN */
}

/* log(1 + u) for u >= 0 with a small relative error also where 1 + u rounds. */
AVS_FN float avs_log1pf(float u)
{
    const float w = 1.f + u, d = w - 1.f;
    const float r = avs_logf(w) * (u / (d == 0.f ? 1.f : d));
    return d == 0.f ? u : r;
}

AVS_FN float avs_erff(float x)
{
    float t = avs_absf(x);
    const float s = x * x;
    t = t > 6.f ? 6.f : t; /* erf(4) is already 1 */
    const float t2 = t * t;
    float r = -1.72853470e-5f * t + 3.83197126e-4f;
    const float u = -3.88396438e-3f * t + 2.42546219e-2f;
    r = r * t2 + u;
    r = r * t - 1.06777877e-1f;
    r = r * t - 6.34846687e-1f;
    r = r * t - 1.28717512e-1f;
    r = r * t - t;
    const float e = 1.f - avs_expf(r);
    const float far = x < 0.f ? -e : e;
    float q = -5.96761703e-4f;
    q = q * s + 4.99119423e-3f;
    q = q * s - 2.67681349e-2f;
    q = q * s + 1.12819925e-1f;
    q = q * s - 3.76125336e-1f;
    q = q * s + 1.28379166e-1f;
    q = q * x + x;
    return t > 0.927734375f ? far : q;
}

AVS_FN float avs_tanhf(float x)
{
    const float t = avs_absf(x), z = x * x;
    const float e = 1.f - 2.f / (avs_expf(2.f * t) + 1.f);
    const float far = x < 0.f ? -e : e;
    float q = -5.70498872745e-3f;
    q = q * z + 2.06390887954e-2f;
    q = q * z - 5.37397155531e-2f;
    q = q * z + 1.33314422036e-1f;
    q = q * z - 3.33332819422e-1f;
    q = q * z * x + x;
    return t > 0.625f ? far : q;
}

/* sin(x + quarters * pi/2): x less the nearest multiple of pi/2, taken off in three parts (fdlibm), then the Cephes
 * polynomials on [-pi/4, pi/4]. |x| up to 1e4. */
AVS_FN float avs_sin_quarterf(float x, uint32_t quarters)
{
    const float magic = 12582912.f, t = x * 0.636619772367581343f + magic, n = t - magic;
    const uint32_t q = avs_bits(t) - 0x4b400000u + quarters;
    const float r = ((x - n * 1.5703125f) - n * 4.837512969970703125e-4f) - n * 7.549789948768648e-8f;
    const float z = r * r;
    float s = -1.9515295891e-4f, c = 2.443315711809948e-5f;
    s = s * z + 8.3321608736e-3f;
    s = s * z - 1.6666654611e-1f;
    s = s * z * r + r;
    c = c * z - 1.388731625493765e-3f;
    c = c * z + 4.166664568298827e-2f;
    c = c * z * z - 0.5f * z + 1.f;
    const float y = q & 1u ? c : s;
    return q & 2u ? -y : y;
}
AVS_FN float avs_sinf(float x)
{
    return avs_sin_quarterf(x, 0);
}
AVS_FN float avs_cosf(float x)
{
    return avs_sin_quarterf(x, 1);
}

AVS_FN float avs_sigmoidf(float x)
{
    return 1.f / (1.f + avs_expf(-x));
}
/* exact form: 0.5 x (1 + erf(x / sqrt 2)) */
AVS_FN float avs_geluf(float x)
{
    return 0.5f * x * (1.f + avs_erff(x * 0.70710678118654752f));
}
AVS_FN float avs_gelu_gradf(float x)
{
    return 0.5f * (1.f + avs_erff(x * 0.70710678118654752f)) +
           x * 0.39894228040143268f * avs_expf(-0.5f * x * x);
}
AVS_FN float avs_siluf(float x)
{
    return x * avs_sigmoidf(x);
}
AVS_FN float avs_silu_gradf(float x)
{
    const float e = avs_expf(-avs_absf(x)), big = 1.f / (1.f + e), small = e * big;
    const float s = x < 0.f ? small : big, rest = x < 0.f ? big : small; /* 1 - s without cancellation */
    return s * (1.f + x * rest);
}

#endif
