/* The elementary functions of engine/kernel/math.k.h against the C library in double, over every 997th float and the
 * special values. The bounds are what the header promises. */
#include "engine/kernel/math.k.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

typedef struct {
    const char *name;
    float (*mine)(float);
    double (*exact)(double);
    double lo, hi;   /* range swept           */
    double rel, abs; /* |error| <= rel |y| + abs */
} bound;

static float my_exp(float x)
{
    return avs_expf(x);
}
static float my_log(float x)
{
    return avs_logf(x);
}
static float my_log1p(float x)
{
    return avs_log1pf(x);
}
static float my_erf(float x)
{
    return avs_erff(x);
}
static float my_tanh(float x)
{
    return avs_tanhf(x);
}
static float my_sin(float x)
{
    return avs_sinf(x);
}
static float my_cos(float x)
{
    return avs_cosf(x);
}
static float my_sigmoid(float x)
{
    return avs_sigmoidf(x);
}
static float my_gelu(float x)
{
    return avs_geluf(x);
}
static float my_gelu_grad(float x)
{
    return avs_gelu_gradf(x);
}
static float my_silu(float x)
{
    return avs_siluf(x);
}
static float my_silu_grad(float x)
{
    return avs_silu_gradf(x);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}
static double gelu(double x)
{
    return 0.5 * x * erfc(-x * sqrt(0.5));
}
static double gelu_grad(double x)
{
    return 0.5 * erfc(-x * sqrt(0.5)) + x * exp(-0.5 * x * x) * 0.3989422804014327;
}
static double silu(double x)
{
    return x * sigmoid(x);
}
static double silu_grad(double x)
{
    return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
}

static void check_range(const bound *b)
{
    double worst = 0;
    float at = 0;
    for (uint64_t u = 0; u < 0x100000000ull; u += 997) {
        const float x = avs_float((uint32_t)u);
        if (!((double)x >= b->lo && (double)x <= b->hi)) continue;
        const double want = b->exact((double)x), got = (double)b->mine(x);
        const double e = fabs(got - want) / (b->rel * fabs(want) + b->abs);
        if (!(e <= worst)) {
            worst = e;
            at = x;
        }
    }
    if (!(worst <= 1)) fail_msg("%s(%.9g) is %.3g times its error bound away", b->name, (double)at, worst);
}

static void functions_stay_within_their_bounds(void **state)
{
    (void)state;
    const double denormal = 1.5e-45; /* results near the bottom of the range are rounded to denormals */
    const bound all[] = {
        {"exp", my_exp, exp, -110, 88.7, 2e-7, denormal},
        {"log", my_log, log, 1e-45, FLT_MAX, 1.2e-7, 3e-8},
        {"log1p", my_log1p, log1p, 0, 1, 2.5e-7, denormal},
        {"erf", my_erf, erf, -FLT_MAX, FLT_MAX, 2e-7, denormal},
        {"tanh", my_tanh, tanh, -FLT_MAX, FLT_MAX, 2e-7, denormal},
        {"sin", my_sin, sin, -1e4, 1e4, 0, 1.2e-7},
        {"cos", my_cos, cos, -1e4, 1e4, 0, 1.2e-7},
        {"sigmoid", my_sigmoid, sigmoid, -87, FLT_MAX, 3e-7, denormal},
        {"gelu", my_gelu, gelu, -1e4, 1e4, 2e-7, 3e-7},
        {"gelu'", my_gelu_grad, gelu_grad, -1e4, 1e4, 3e-7, 3e-7},
        {"silu", my_silu, silu, -80, 1e4, 5e-7, denormal},
        {"silu'", my_silu_grad, silu_grad, -80, 80, 3e-7, 3e-7},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) check_range(&all[i]);
}

static void special_values_come_out_as_in_the_c_library(void **state)
{
    (void)state;
    const float inf = INFINITY, nan = NAN;
    assert_true(avs_expf(inf) == inf && avs_expf(-inf) == 0 && avs_expf(0) == 1 && isnan(avs_expf(nan)));
    assert_true(avs_expf(88.73f) == inf && avs_expf(-200) == 0 && avs_expf(FLT_MAX) == inf);
    assert_true(avs_expf(-103.2f) > 0);
    assert_true(avs_logf(0) == -inf && avs_logf(-0.f) == -inf && avs_logf(inf) == inf && avs_logf(1) == 0);
    assert_true(isnan(avs_logf(-1)) && isnan(avs_logf(nan)) && isnan(avs_logf(-inf)));
    assert_true(fabs((double)avs_logf(1.4e-45f) + 103.27892990343185) < 2e-5);
    assert_true(avs_log1pf(0) == 0 && avs_log1pf(1e-20f) == 1e-20f);
    assert_true(avs_erff(inf) == 1 && avs_erff(-inf) == -1 && avs_erff(0) == 0 && isnan(avs_erff(nan)));
    assert_true(avs_tanhf(0) == 0 && avs_tanhf(-0.f) == 0);
    assert_true(avs_tanhf(inf) == 1 && avs_tanhf(-inf) == -1 && isnan(avs_tanhf(nan)));
    assert_true(avs_sigmoidf(inf) == 1 && avs_sigmoidf(-inf) == 0 && isnan(avs_sigmoidf(nan)));
    assert_true(avs_sinf(0) == 0 && avs_cosf(0) == 1 && isnan(avs_sinf(nan)) && isnan(avs_cosf(inf)));
    assert_true(avs_geluf(0) == 0 && isnan(avs_geluf(nan)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_stay_within_their_bounds),
        cmocka_unit_test(special_values_come_out_as_in_the_c_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
