/* The optimiser against the formulas of the papers in double, its segments, and its independence of threads. */
#include "engine/optim/adamw.h"
#include "base/rng.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N = 50021, STEPS = 5 };

typedef struct {
    float w[N], g[N], m[N], v[N];
} slab;

static slab *slab_new(uint64_t seed)
{
    slab *s = calloc(1, sizeof(*s));
    avs_rng r = avs_rng_seed(seed);
    assert_non_null(s);
    for (int i = 0; i < N; i++) s->w[i] = (float)avs_rng_normal(&r);
    return s;
}

static void new_gradient(slab *s, uint64_t seed)
{
    avs_rng r = avs_rng_seed(seed);
    for (int i = 0; i < N; i++) s->g[i] = (float)avs_rng_normal(&r) * (i % 3 ? 1.f : 1e-4f);
}

static const avs_opt_segment segments[] = {
    {.off = 0, .len = 20000, .lr_mult = 1.f, .weight_decay = 0.05f},
    {.off = 20000, .len = 17, .lr_mult = 0.f, .weight_decay = 0.05f},
    {.off = 20017, .len = N - 20017, .lr_mult = 0.1f, .weight_decay = 0.f},
};

static void compare_with_double(bool is_decoupled)
{
    const avs_adamw_cfg cfg = {
        .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .decoupled = is_decoupled};
    const float grad_scale = 0.25f;
    slab *s = slab_new(1);
    double *w = malloc(N * sizeof(double)), *m = calloc(N, sizeof(double)), *v = calloc(N, sizeof(double));
    const double b1 = (double)cfg.beta1, b2 = (double)cfg.beta2;
    for (int i = 0; i < N; i++) w[i] = (double)s->w[i];
    for (int t = 1; t <= STEPS; t++) {
        new_gradient(s, (uint64_t)t);
        avs_adamw_step(&(avs_adamw_arrays){s->w, s->g, s->m, s->v}, segments, 3, &cfg, t, grad_scale);
        for (int k = 0; k < 3; k++) {
            const double lr = (double)cfg.lr * (double)segments[k].lr_mult,
                         wd = (double)segments[k].weight_decay;
            if (segments[k].lr_mult == 0.f) continue;
            for (int64_t i = segments[k].off; i < segments[k].off + segments[k].len; i++) {
                double g = (double)s->g[i] * (double)grad_scale;
                if (!is_decoupled) g += wd * w[i];
                m[i] = b1 * m[i] + (1 - b1) * g;
                v[i] = b2 * v[i] + (1 - b2) * g * g;
                if (is_decoupled) w[i] -= lr * wd * w[i];
                w[i] -= lr * (m[i] / (1 - pow(b1, t))) / (sqrt(v[i] / (1 - pow(b2, t))) + (double)cfg.eps);
            }
        }
    }
    for (int i = 0; i < N; i++) {
        const double far = fabs((double)s->w[i] - w[i]);
        if (!(far <= 1e-6 + 1e-6 * fabs(w[i])))
            fail_msg("element %d: %.9g, expected %.9g", i, (double)s->w[i], w[i]);
    }
    free(w);
    free(m);
    free(v);
    free(s);
}

static void adamw_follows_the_formula(void **state)
{
    (void)state;
    compare_with_double(true);
}

static void adam_adds_the_decay_to_the_gradient(void **state)
{
    (void)state;
    compare_with_double(false);
}

static void a_segment_with_multiplier_zero_is_untouched(void **state)
{
    (void)state;
    const avs_adamw_cfg cfg = {.lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .decoupled = true};
    slab *s = slab_new(3), *before = slab_new(3);
    new_gradient(s, 4);
    avs_adamw_step(&(avs_adamw_arrays){s->w, s->g, s->m, s->v}, segments, 3, &cfg, 1, 1.f);
    assert_memory_equal(s->w + 20000, before->w + 20000, 17 * sizeof(float));
    assert_memory_equal(s->m + 20000, before->m + 20000, 17 * sizeof(float));
    assert_memory_not_equal(s->w, before->w, 20000 * sizeof(float));
    free(before);
    free(s);
}

/* As torch's AdamW counts for a parameter that had no gradient until then. */
static void a_segment_that_joins_later_moves_as_from_the_first_step(void **state)
{
    (void)state;
    const avs_adamw_cfg cfg = {.lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .decoupled = true};
    const int late = 7;
    slab *a = slab_new(3), *b = slab_new(3);
    avs_opt_segment seg = {.len = N, .lr_mult = 1.f, .weight_decay = 0.05f};
    for (int t = 1; t <= STEPS; t++) {
        new_gradient(a, (uint64_t)t);
        avs_adamw_step(&(avs_adamw_arrays){a->w, a->g, a->m, a->v}, &seg, 1, &cfg, t, 1.f);
    }
    seg.idle = late;
    for (int t = 1; t <= late + STEPS; t++) {
        seg.lr_mult = t <= late ? 0.f : 1.f;
        new_gradient(b, (uint64_t)(t <= late ? t : t - late));
        avs_adamw_step(&(avs_adamw_arrays){b->w, b->g, b->m, b->v}, &seg, 1, &cfg, t, 1.f);
    }
    assert_memory_equal(a->w, b->w, sizeof a->w);
    assert_memory_equal(a->v, b->v, sizeof a->v);
    free(a);
    free(b);
}

static void the_norm_is_that_of_double_and_does_not_depend_on_threads(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 31, 4096, 4097, N};
    slab *s = slab_new(5);
    new_gradient(s, 6);
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        double sum = 0, first = 0;
        for (int64_t i = 0; i < sizes[k]; i++) sum += (double)s->g[i] * (double)s->g[i];
        for (int threads = 1; threads <= 3; threads++) {
            omp_set_num_threads(threads);
            const double norm = avs_grad_norm(s->g, sizes[k]);
            if (threads == 1) first = norm;
            assert_true(fabs(norm - sqrt(sum)) <= 1e-12 * sqrt(sum));
            assert_memory_equal(&norm, &first, sizeof(norm));
        }
    }
    free(s);
}

/* 5 million elements are more chunks than there are parts. */
static void the_norm_of_a_large_slab_counts_every_element(void **state)
{
    (void)state;
    const int64_t n = 5000000;
    float *g = malloc((size_t)n * sizeof(float));
    assert_non_null(g);
    for (int64_t i = 0; i < n; i++) g[i] = 0.5f;
    assert_true(avs_grad_norm(g, n) == sqrt(0.25 * (double)n));
    free(g);
}

static void steps_do_not_depend_on_the_number_of_threads(void **state)
{
    (void)state;
    const avs_adamw_cfg cfg = {.lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .decoupled = true};
    slab *first = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        slab *s = slab_new(7);
        omp_set_num_threads(threads);
        for (int t = 1; t <= 3; t++) {
            new_gradient(s, (uint64_t)t + 10);
            avs_adamw_step(&(avs_adamw_arrays){s->w, s->g, s->m, s->v}, segments, 3, &cfg, t, 1.f);
        }
        if (first) {
            assert_memory_equal(s, first, sizeof(*s));
            free(s);
        } else {
            first = s;
        }
    }
    free(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_follows_the_formula),
        cmocka_unit_test(adam_adds_the_decay_to_the_gradient),
        cmocka_unit_test(a_segment_with_multiplier_zero_is_untouched),
        cmocka_unit_test(a_segment_that_joins_later_moves_as_from_the_first_step),
        cmocka_unit_test(the_norm_is_that_of_double_and_does_not_depend_on_threads),
        cmocka_unit_test(the_norm_of_a_large_slab_counts_every_element),
        cmocka_unit_test(steps_do_not_depend_on_the_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
