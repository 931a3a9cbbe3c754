/* The inventory of GPUs against a management library of our own making. */
#include "orchestrator/gpu_inventory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"

static void gpus_are_told_with_what_they_know(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_gpu_inventory g;
    assert_int_equal(setenv("FAKE_GPUS", "2", 1), 0);
    if (avs_gpu_inventory_read(&g, AVS_FAKE_NVML_LIBRARY, &e) != AVS_OK) fail_msg("%s", e.msg);
    assert_true(g.is_there);
    assert_int_equal(g.n, 2);
    assert_int_equal(g.cuda, 13000);
    assert_string_equal(g.driver, "580.159.04");
    assert_string_equal(g.gpu[0].uuid, "GPU-fake-0");
    assert_int_equal(g.gpu[0].celsius, 41);
    assert_true(g.gpu[0].mem_used == 0 && g.gpu[1].mem_used == 30LL << 30);
    assert_string_equal(g.gpu[1].model, "NVIDIA A100-SXM4-40GB");
    assert_true(g.gpu[0].mem_bytes == 80LL << 30 && g.gpu[1].mem_free == 10LL << 30);
    assert_int_equal(g.gpu[0].mem_mhz, 2619);
    assert_int_equal(g.gpu[1].mem_mhz, -1); /* not supported there */
    assert_int_equal(g.gpu[1].processes, 3);
    assert_int_equal(g.gpu[0].processes, 0);
    assert_int_equal(g.gpu[1].capability, 80);
}

static void the_json_names_what_slows_a_gpu_down(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_gpu_inventory g;
    avs_buf b = AVS_BUF_INIT;
    avs_json *root = NULL;
    avs_arena *a = avs_arena_new();
    assert_int_equal(avs_gpu_inventory_read(&g, AVS_FAKE_NVML_LIBRARY, &e), AVS_OK);
    avs_gpu_inventory_json(&b, &g);
    if (avs_json_parse(a, "inventory", avs_buf_cstr(&b), b.len, &root, &e) != AVS_OK) fail_msg("%s", e.msg);
    const avs_json *second = avs_json_at(root, 1), *why = avs_json_get(second, "throttle");
    assert_int_equal(root->len, 2);
    assert_int_equal(avs_json_get(avs_json_at(root, 0), "throttle")->len, 0); /* idle is none */
    assert_int_equal(why->len, 2);
    assert_string_equal(avs_json_at(why, 0)->s, "sw_power_cap");
    assert_string_equal(avs_json_at(why, 1)->s, "hw_thermal");
    assert_string_equal(avs_json_str(second, "uuid", ""), "GPU-fake-1");
    avs_buf_free(&b);
    avs_arena_free(a);
}

static void a_machine_without_the_library_has_no_gpus(void **state)
{
    (void)state;
    avs_gpu_inventory g;
    avs_buf b = AVS_BUF_INIT;
    assert_int_equal(avs_gpu_inventory_read(&g, "/nowhere/libnvidia-ml.so.1", NULL), AVS_OK);
    assert_int_equal(g.n, 0);
    avs_gpu_inventory_json(&b, &g);
    assert_string_equal(avs_buf_cstr(&b), "[]");
    avs_buf_free(&b);
}

static void a_gpu_that_does_not_answer_leaves_the_others(void **state)
{
    (void)state;
    avs_gpu_inventory g;
    assert_int_equal(setenv("FAKE_GPUS", "3", 1), 0);
    assert_int_equal(setenv("FAKE_GPU_LOST", "1", 1), 0);
    assert_int_equal(avs_gpu_inventory_read(&g, AVS_FAKE_NVML_LIBRARY, NULL), AVS_OK);
    assert_int_equal(unsetenv("FAKE_GPU_LOST"), 0);
    assert_int_equal(g.n, 3);
    assert_string_equal(g.gpu[1].fault, "a GPU's handle: GPU is lost");
    assert_string_equal(g.gpu[1].uuid, "");
    assert_string_equal(g.gpu[2].uuid, "GPU-fake-2");
}

static void errors_of_the_library_are_named(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_gpu_inventory g;
    assert_int_equal(unsetenv("FAKE_GPUS"), 0);
    assert_int_equal(avs_gpu_inventory_read(&g, AVS_FAKE_NVML_LIBRARY, &e), AVS_ELIB);
    assert_string_equal(e.msg, "nvmlInit: Driver Not Loaded");
    assert_int_equal(avs_gpu_inventory_read(&g, "libm.so.6", &e), AVS_ELIB);
    assert_non_null(strstr(e.msg, "has no nvmlInit_v2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpus_are_told_with_what_they_know),
        cmocka_unit_test(the_json_names_what_slows_a_gpu_down),
        cmocka_unit_test(a_machine_without_the_library_has_no_gpus),
        cmocka_unit_test(a_gpu_that_does_not_answer_leaves_the_others),
        cmocka_unit_test(errors_of_the_library_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
