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
    if (avs_gpu_inventory_read(&g, AVS_FAKE_NVML_LIBRARY, NULL, &e) != AVS_OK) fail_msg("%s", e.msg);
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
    assert_int_equal(avs_gpu_inventory_read(&g, AVS_FAKE_NVML_LIBRARY, NULL, &e), AVS_OK);
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
    assert_int_equal(avs_gpu_inventory_read(&g, "/nowhere/libnvidia-ml.so.1", NULL, NULL), AVS_OK);
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
    assert_int_equal(avs_gpu_inventory_read(&g, AVS_FAKE_NVML_LIBRARY, NULL, NULL), AVS_OK);
    assert_int_equal(unsetenv("FAKE_GPU_LOST"), 0);
    assert_int_equal(g.n, 3);
    assert_string_equal(g.gpu[1].fault, "a GPU's handle: GPU is lost");
    assert_string_equal(g.gpu[1].uuid, "");
    assert_string_equal(g.gpu[2].uuid, "GPU-fake-2");
}

/* The UUIDs that remain, without their "GPU-fake-" and "MIG-fake-". */
static const char *seen(const char *visible, char out[64])
{
    avs_gpu_inventory g;
    out[0] = '\0';
    assert_int_equal(avs_gpu_inventory_read(&g, AVS_FAKE_NVML_LIBRARY, visible, NULL), AVS_OK);
    for (int32_t i = 0; i < g.n; i++) {
        strcat(out, g.gpu[i].uuid + 9);
        strcat(out, " ");
    }
    return out;
}

static void what_cuda_visible_devices_names_remains(void **state)
{
    (void)state;
    char out[64];
    assert_int_equal(setenv("FAKE_GPUS", "4", 1), 0);
    assert_string_equal(seen(NULL, out), "0 1 2 3 ");
    assert_string_equal(seen("2,0", out), "2 0 ");
    assert_string_equal(seen("GPU-fake-3,1", out), "3 1 ");
    assert_string_equal(seen("GPU-fake", out), "0 "); /* a beginning */
    assert_string_equal(seen("1,1", out), "1 ");
    assert_string_equal(seen("0,7,1", out), "0 "); /* up to the first that is not there */
    assert_string_equal(seen("-1", out), "");
    assert_string_equal(seen("", out), "");
    assert_string_equal(seen("NoDevFiles", out), "");
    assert_string_equal(seen("MIG-fake-5", out), "5 ");
}

static void links_and_json_come_back(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_gpu_inventory g, back;
    avs_buf b = AVS_BUF_INIT;
    avs_json *root = NULL;
    avs_arena *a = avs_arena_new();
    assert_int_equal(setenv("FAKE_GPUS", "3", 1), 0);
    assert_int_equal(avs_gpu_inventory_read(&g, AVS_FAKE_NVML_LIBRARY, NULL, &e), AVS_OK);
    assert_true(g.gpu[0].island == g.gpu[2].island && g.gpu[0].island != g.gpu[1].island);
    avs_gpu_inventory_json(&b, &g);
    if (avs_json_parse(a, "inventory", avs_buf_cstr(&b), b.len, &root, &e) != AVS_OK) fail_msg("%s", e.msg);
    avs_gpu_inventory_parse(root, &back);
    assert_int_equal(back.n, 3);
    for (int32_t i = 0; i < 3; i++) {
        const avs_gpu *x = &g.gpu[i], *y = &back.gpu[i];
        assert_string_equal(x->uuid, y->uuid);
        assert_string_equal(x->model, y->model);
        assert_true(x->mem_bytes == y->mem_bytes && x->capability == y->capability && x->numa == y->numa &&
                    x->island == y->island);
    }
    avs_gpu_inventory_parse(NULL, &back);
    assert_int_equal(back.n, 0);
    avs_buf_free(&b);
    avs_arena_free(a);
}

static void errors_of_the_library_are_named(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    avs_gpu_inventory g;
    assert_int_equal(unsetenv("FAKE_GPUS"), 0);
    assert_int_equal(avs_gpu_inventory_read(&g, AVS_FAKE_NVML_LIBRARY, NULL, &e), AVS_ELIB);
    assert_string_equal(e.msg, "nvmlInit: Driver Not Loaded");
    assert_int_equal(avs_gpu_inventory_read(&g, "libm.so.6", NULL, &e), AVS_ELIB);
    assert_non_null(strstr(e.msg, "has no nvmlInit_v2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpus_are_told_with_what_they_know),
        cmocka_unit_test(the_json_names_what_slows_a_gpu_down),
        cmocka_unit_test(a_machine_without_the_library_has_no_gpus),
        cmocka_unit_test(a_gpu_that_does_not_answer_leaves_the_others),
        cmocka_unit_test(what_cuda_visible_devices_names_remains),
        cmocka_unit_test(links_and_json_come_back),
        cmocka_unit_test(errors_of_the_library_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
