/* Plans on a device, here the emulated one: recorded launches see new inputs, new parameters and new counters; slabs and
 * optimiser work where the host cannot reach; what does not fit is told before anything is allocated; precision bf16
 * stays near f32. With AVS_TEST_BACKEND=cuda the same tests run on a GPU. */
#include "tests/engine/plan/nets.h"

#include "engine/backend/cuda/cuda.h"
#include "engine/optim/adamw.h"

static const char *backend(void)
{
    const char *one = getenv("AVS_TEST_BACKEND");
    return one ? one : "cuda-emul";
}

static avs_plan *open_plan(net_fn net, avs_arena *a, avs_plan_cfg cfg)
{
    avs_err e = AVS_ERR_INIT;
    avs_plan *p = NULL;
    avs_graph *g = net(a);
    cfg.backend = cfg.backend ? cfg.backend : backend();
    if (avs_plan_build(&p, g, &cfg, &e) != AVS_OK) fail_msg("%s", e.msg);
    net_load(p, g);
    return p;
}

static void run(avs_plan *p)
{
    avs_err e = AVS_ERR_INIT;
    if (avs_plan_run(p, &e) != AVS_OK) fail_msg("%s", e.msg);
}

/* The first output of the plan, and how many elements it has. */
static const float *output(avs_plan *p, const char *name, int64_t *n)
{
    avs_type t;
    const float *y = avs_plan_output(p, name, &t);
    assert_non_null(y);
    *n = avs_type_count(&t);
    return y;
}

static void recorded_steps_give_the_bits_of_queued_ones_for_new_inputs_and_parameters(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_plan *queued = open_plan(net_conv_eval, a, (avs_plan_cfg){.no_capture = true});
    avs_plan *kept = open_plan(net_conv_eval, a, (avs_plan_cfg){0});
    const char *name = avs_plan_param_at(kept, 0)->key;
    for (int round = 0; round < 5; round++) {
        avs_type t;
        float *x[2] = {avs_plan_input(queued, "image", &t), avs_plan_input(kept, "image", &t)};
        for (int64_t i = 0; i < avs_type_count(&t); i++)
            x[0][i] = x[1][i] = (float)((i * 7 + round * 3) % 11) - 5.F;
        if (round == 3) { /* the recorded launch reads parameters where they are */
            const int64_t n = avs_type_count(&avs_plan_param_at(kept, 0)->type);
            float *w = malloc((size_t)n * sizeof *w);
            for (int64_t i = 0; i < n; i++) w[i] = (float)(i % 5) * 0.125F - 0.25F;
            assert_int_equal(avs_plan_param_set(queued, name, w, &e), AVS_OK);
            assert_int_equal(avs_plan_param_set(kept, name, w, &e), AVS_OK);
            free(w);
        }
        run(queued);
        run(kept);
        int64_t n, m;
        const float *want = output(queued, "y", &n), *got = output(kept, "y", &m);
        assert_int_equal(n, m);
        assert_memory_equal(want, got, (size_t)n * sizeof *got);
    }
    assert_int_equal(avs_plan_get_stats(queued).n_kernels, 0);
    assert_true(avs_plan_get_stats(kept).n_kernels > 0);
    assert_true(avs_plan_device_us(kept) >= 0);
    avs_plan_free(queued);
    avs_plan_free(kept);
    avs_arena_free(a);
}

/* Three optimiser steps with clipping and accumulation over two passes, on the device and on the CPU. */
static void training_steps_agree_with_the_cpu(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_err e = AVS_ERR_INIT;
    avs_plan *p[2] = {
        open_plan(net_tower_train, a, (avs_plan_cfg){.training = true, .backend = "cpu", .dropout_seed = 9}),
        open_plan(net_tower_train, a, (avs_plan_cfg){.training = true, .dropout_seed = 9})};
    const avs_adamw_cfg cfg = {.lr = 1e-2F, .beta1 = 0.9F, .beta2 = 0.999F, .eps = 1e-8F, .decoupled = true};
    float loss[2] = {0, 0};
    double norm[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
        avs_opt_segment seg[128];
        int n_seg = 0;
        int64_t n;
        for (int i = avs_plan_n_params(p[k]) - 1; i >= 0; i--) {
            const avs_plan_param *q = avs_plan_param_at(p[k], i);
            if (q->is_trainable)
                seg[n_seg++] = (avs_opt_segment){.off = q->slab_off,
                                                 .len = q->slab_len,
                                                 .lr_mult = i % 4 ? 1.F : 0.F,
                                                 .weight_decay = 0.01F};
        }
        float *m = avs_plan_slab_new(p[k], &e), *v = avs_plan_slab_new(p[k], &e),
              *sum = avs_plan_slab_new(p[k], &e);
        assert_true(m && v && sum);
        for (int64_t t = 1; t <= 3; t++) {
            for (int pass = 0; pass < 2; pass++) {
                avs_plan_set_step(p[k], t, pass * 2);
                run(p[k]);
                assert_int_equal(
                    avs_plan_slab_add(p[k], avs_plan_slab(p[k], AVS_SLAB_GRAD, &n), sum, pass > 0, &e),
                    AVS_OK);
            }
            assert_int_equal(avs_plan_grad_norm(p[k], sum, &norm[k], &e), AVS_OK);
            const float scale = (float)(0.5 / (norm[k] + 1e-6));
            const avs_adamw_arrays x = {avs_plan_slab(p[k], AVS_SLAB_PARAM, &n), sum, m, v};
            assert_int_equal(avs_plan_adamw(p[k], &x, seg, n_seg, &cfg, t, scale, &e), AVS_OK);
        }
        run(p[k]);
        loss[k] = *output(p[k], "loss", &n);
    }
    assert_true(fabs(norm[0] - norm[1]) <= 1e-4 * norm[0]);
    assert_true(fabs((double)loss[0] - (double)loss[1]) <= 1e-4 * fabs((double)loss[0]));
    for (int i = 0; i < avs_plan_n_params(p[0]); i++) {
        const avs_plan_param *q = avs_plan_param_at(p[0], i);
        const int64_t n = avs_type_count(&q->type);
        float *w[2] = {malloc((size_t)n * sizeof(float)), malloc((size_t)n * sizeof(float))};
        for (int k = 0; k < 2; k++) assert_int_equal(avs_plan_param_get(p[k], q->key, w[k], &e), AVS_OK);
        double d = 0, s = 0;
        for (int64_t j = 0; j < n; j++) {
            d += pow((double)w[0][j] - (double)w[1][j], 2);
            s += pow((double)w[0][j], 2);
        }
        /* AdamW moves an element whose gradient is rounding error by the whole rate: 3 steps of 1e-2 */
        if (strstr(q->key, "k.bias") == NULL && sqrt(d) > 2e-3 * (sqrt(s) + 0.1 * sqrt((double)n)))
            fail_msg("%s: %g of %g", q->key, sqrt(d), sqrt(s));
        free(w[0]);
        free(w[1]);
    }
    avs_plan_free(p[0]);
    avs_plan_free(p[1]);
    avs_arena_free(a);
}

static void optimiser_state_is_packed_and_unpacked_on_the_device(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_plan *p = open_plan(net_conv_train, a, (avs_plan_cfg){.training = true});
    float *m = avs_plan_slab_new(p, &e);
    assert_non_null(m);
    for (int i = 0; i < avs_plan_n_params(p); i++) {
        const avs_plan_param *q = avs_plan_param_at(p, i);
        const int64_t n = avs_type_count(&q->type);
        if (!q->is_trainable) continue;
        float *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y), z = 0;
        for (int64_t j = 0; j < n; j++) x[j] = (float)(j + i);
        assert_int_equal(avs_plan_pack(p, q->key, x, m, &e), AVS_OK);
        assert_int_equal(avs_plan_unpack(p, q->key, m, y, &e), AVS_OK);
        assert_memory_equal(x, y, (size_t)n * sizeof *x);
        assert_int_equal(avs_plan_slab_read(p, m, q->slab_off, 1, &z, &e), AVS_OK);
        assert_true(z == (float)i);
        free(x);
        free(y);
    }
    avs_plan_free(p);
    avs_arena_free(a);
}

static void a_range_of_a_slab_is_cleared_and_its_neighbours_stay(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_plan *p[2] = {open_plan(net_conv_train, a, (avs_plan_cfg){.training = true, .backend = "cpu"}),
                      open_plan(net_conv_train, a, (avs_plan_cfg){.training = true})};
    for (int k = 0; k < 2; k++) {
        int64_t n;
        float *g = avs_plan_slab(p[k], AVS_SLAB_GRAD, &n), *x = malloc((size_t)n * sizeof *x);
        assert_true(n > 16);
        for (int64_t i = 0; i < n; i++) x[i] = (float)i + 1;
        assert_int_equal(avs_plan_slab_write(p[k], g, 0, n, x, &e), AVS_OK);
        assert_int_equal(avs_plan_slab_clear(p[k], g, 5, n - 9, &e), AVS_OK);
        assert_int_equal(avs_plan_slab_read(p[k], g, 0, n, x, &e), AVS_OK);
        for (int64_t i = 0; i < n; i++) assert_true(x[i] == (i < 5 || i >= n - 4 ? (float)i + 1 : 0.F));
        free(x);
        avs_plan_free(p[k]);
    }
    avs_arena_free(a);
}

static void bf16_stays_near_f32(void **state)
{
    (void)state;
    static const net_fn nets[] = {net_conv_eval, net_conv_train, net_attention_eval, net_attention_train};
    for (int i = 0; i < 4; i++) {
        const avs_plan_cfg cfg = {
            .backend = backend(), .prec = AVS_PREC_BF16, .training = i % 2 == 1, .dropout_seed = 5};
        const double worst = net_worst(nets[i], &cfg, false);
        /* gradients through batch statistics of a few pixels magnify what rounding leaves */
        if (!(worst > 1e-6 && worst < (cfg.training ? 0.5 : 0.05)))
            fail_msg("net %d in bf16: relative L2 %g", i, worst);
    }
}

static void a_plan_that_does_not_fit_says_how_much_and_how_much_is_free(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_plan *p = NULL;
    if (getenv("AVS_TEST_BACKEND")) skip(); /* the emulated device's size is ours to choose */
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, false);
    avs_val x = avs_input(g, "x", AVS_F32T(1, 1024, 1024, 1));
    avs_graph_output(g, "y", avs_relu(g, x));
    assert_int_equal(setenv("AVS_EMUL_MEMORY_MIB", "3", 1), 0);
    assert_int_equal(avs_plan_build(&p, g, &(avs_plan_cfg){.backend = "cuda-emul"}, &e), AVS_ENOMEM);
    assert_int_equal(unsetenv("AVS_EMUL_MEMORY_MIB"), 0);
    if (!strstr(e.msg, "the plan (4.0 MiB activations") || !strstr(e.msg, "of whose 3.0 MiB 3.0 are free"))
        fail_msg("%s", e.msg);
    avs_arena_free(a);
}

static void the_most_memory_on_the_device_is_remembered(void **state)
{
    (void)state;
    if (getenv("AVS_TEST_BACKEND")) skip();
    const size_t before = avs_plan_device_peak("cuda-emul");
    avs_arena *a = avs_arena_new();
    avs_graph *g = avs_graph_new(a, false);
    avs_plan *p = NULL, *q = NULL;
    avs_val x = avs_input(g, "x", AVS_F32T(1, 2048, 2048, 1));
    avs_graph_output(g, "y", avs_relu(g, x));
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_plan_build(&p, g, &(avs_plan_cfg){.backend = "cuda-emul"}, &e), AVS_OK);
    const size_t one = avs_plan_get_stats(p).device_bytes, peak = avs_plan_device_peak("cuda-emul");
    assert_true(one >= (size_t)4 * 2048 * 2048 && peak >= one && peak >= before);
    assert_int_equal(avs_plan_build(&q, g, &(avs_plan_cfg){.backend = "cuda-emul"}, &e), AVS_OK);
    assert_true(avs_plan_device_peak("cuda-emul") >= 2 * one);
    avs_plan_free(p);
    avs_plan_free(q);
    assert_true(avs_plan_device_peak("cuda-emul") >= 2 * one); /* freeing does not forget */
    assert_int_equal(avs_plan_device_peak("cpu"), 0);
    assert_int_equal(avs_plan_device_peak("nothing"), 0);
    avs_arena_free(a);
}

static void gpus_and_libraries_that_do_not_fit_are_told_in_one_line(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    assert_int_equal(avs_cuda_fits_arch("A100", 8, 0, "80,90", &e), AVS_OK);
    assert_int_equal(avs_cuda_fits_arch("RTX 3090", 8, 6, "80,90", &e), AVS_OK);
    assert_int_equal(avs_cuda_fits_arch("B200", 10, 0, "80,90", &e), AVS_OK); /* PTX of the last */
    assert_int_equal(avs_cuda_fits_arch("V100", 7, 0, "80,90", &e), AVS_EMISSING);
    assert_string_equal(e.msg,
                        "V100 is sm_70, this build has kernels for 80,90; configure with AVS_CUDA_ARCHS=70");
    assert_int_equal(avs_cuda_fits_arch("A100", 8, 0, "86,90", &e), AVS_EMISSING);
    assert_int_equal(avs_cuda_fits_version("cuDNN", 91100, 90000, &e), AVS_OK);
    assert_int_equal(avs_cuda_fits_version("cuDNN", 80907, 90000, &e), AVS_EMISSING);
    assert_string_equal(e.msg, "cuDNN 8.9.7 is installed, this build needs 9.0.0 or a later one of 9");
    assert_int_equal(avs_cuda_fits_version("cuDNN", 100000, 90000, &e), AVS_EMISSING);
}

/* Every step of a training plan checked, one by one, through copies. */
static void check_nan_names_the_step_on_a_device(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    avs_plan *p = open_plan(net_conv_eval, a, (avs_plan_cfg){.check_nan = true});
    avs_type t;
    run(p);
    float *x = avs_plan_input(p, "image", &t);
    x[0] = NAN;
    assert_int_equal(avs_plan_run(p, &e), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "made nan"));
    avs_plan_free(p);
    avs_arena_free(a);
}

/* What a user without a GPU, or with a build without CUDA, reads. */
static void a_machine_without_a_gpu_says_what_is_missing(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_plan *p = NULL;
    avs_arena *a = avs_arena_new();
    avs_graph *g = net_conv_eval(a);
    if (avs_plan_build(&p, g, &(avs_plan_cfg){.backend = "cuda"}, &e) == AVS_OK) {
        avs_plan_free(p);
        avs_arena_free(a);
        skip();
    }
    assert_int_equal(e.code, AVS_EMISSING);
    if (!strstr(e.msg, "no NVIDIA GPU") &&
        !strstr(e.msg, "this build has no backend 'cuda': it needs nvcc") &&
        !strstr(e.msg, "which the loader did not find"))
        fail_msg("%s", e.msg);
    assert_null(strchr(e.msg, '\n'));
    avs_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_steps_give_the_bits_of_queued_ones_for_new_inputs_and_parameters),
        cmocka_unit_test(training_steps_agree_with_the_cpu),
        cmocka_unit_test(optimiser_state_is_packed_and_unpacked_on_the_device),
        cmocka_unit_test(a_range_of_a_slab_is_cleared_and_its_neighbours_stay),
        cmocka_unit_test(bf16_stays_near_f32),
        cmocka_unit_test(a_plan_that_does_not_fit_says_how_much_and_how_much_is_free),
        cmocka_unit_test(the_most_memory_on_the_device_is_remembered),
        cmocka_unit_test(gpus_and_libraries_that_do_not_fit_are_told_in_one_line),
        cmocka_unit_test(check_nan_names_the_step_on_a_device),
        cmocka_unit_test(a_machine_without_a_gpu_says_what_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
