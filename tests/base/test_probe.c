/* Probe tensors against tests/golden/probe.json, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/hash.h"
#include "base/json.h"
#include "base/probe.h"

static avs_arena *arena;
static avs_json *root;

static int load(void **state)
{
    (void)state;
    arena = avs_arena_new();
    return avs_json_file(arena, AVS_SOURCE_DIR "/tests/golden/probe.json", &root, NULL);
}

static int unload(void **state)
{
    (void)state;
    avs_arena_free(arena);
    return 0;
}

static void hashes_equal_the_golden(void **state)
{
    (void)state;
    const avs_json *rows = avs_json_get(root, "fnv1a64");
    assert_int_equal(rows->len, 3);
    for (const avs_json *c = rows->first; c; c = c->next)
        assert_true(avs_fnv1a64_str(c->key) == strtoull(c->s, NULL, 16));
}

static void units_equal_the_golden(void **state)
{
    (void)state;
    const avs_json *row = avs_json_get(avs_json_get(root, "unit"), "conv1.weight");
    uint64_t hash = avs_fnv1a64_str("conv1.weight");
    float t[8];
    avs_probe_tensor("conv1.weight", 8, 1, 0, t);
    assert_int_equal(row->len, 8);
    for (int64_t i = 0; i < 8; i++) {
        double want = avs_json_at(row, (size_t)i)->d;
        assert_true(avs_probe_unit(hash, i) == want);
        assert_true((double)t[i] == want);
    }
}

static void check_param(const char *label, const char *name, const int64_t *d, int rank, int64_t count)
{
    const avs_json *row = avs_json_get(avs_json_get(root, "param"), label);
    assert_non_null(row);
    float *x = malloc(sizeof *x * (size_t)count);
    avs_probe_param(name, d, rank, x);
    for (size_t i = 0; i < row->len; i++) assert_true((double)x[i] == avs_json_at(row, i)->d);
    free(x);
}

static void parameters_equal_the_golden(void **state)
{
    (void)state;
    check_param("conv1.weight (64,3,7,7)", "conv1.weight", (const int64_t[]){64, 3, 7, 7}, 4, 64 * 3 * 7 * 7);
    check_param("bn1.running_var (64,)", "bn1.running_var", (const int64_t[]){64}, 1, 64);
    check_param("bn1.bias (64,)", "bn1.bias", (const int64_t[]){64}, 1, 64);
}

static void masks_equal_the_golden(void **state)
{
    (void)state;
    const avs_json *row = avs_json_get(root, "mask(t,(1,1,64,64),0.25,16) blocks");
    static float m[64 * 64];
    avs_probe_mask("t", 1, 64, 64, 0.25, 16, m);
    assert_int_equal(row->len, 16);
    for (int y = 0; y < 64; y++)
        for (int x = 0; x < 64; x++)
            assert_true((double)m[y * 64 + x] == avs_json_at(row, (size_t)(y / 16 * 4 + x / 16))->d);
}

static void classes_equal_the_golden(void **state)
{
    (void)state;
    const avs_json *row = avs_json_get(root, "classes(t,(1,64,64),71,16) blocks");
    static int32_t c[64 * 64];
    static float g[64 * 64];
    avs_probe_classes("t", 1, 64, 64, 71, 16, c);
    avs_probe_grey("t", 1, 64, 64, 16, g);
    assert_int_equal(row->len, 16);
    for (int y = 0; y < 64; y++)
        for (int x = 0; x < 64; x++) {
            int64_t want = avs_json_at(row, (size_t)(y / 16 * 4 + x / 16))->i;
            assert_int_equal(c[y * 64 + x], want);
            assert_int_equal((int64_t)(g[y * 64 + x] * 71.0f), want); /* the same unit value, unscaled */
        }
}

static void blocks_of_ragged_sizes_are_numbered_by_the_ceiling(void **state)
{
    (void)state;
    float m[2 * 5 * 7];
    avs_probe_grey("r", 2, 5, 7, 3, m); /* 2 x 2 x 3 blocks */
    uint64_t hash = avs_fnv1a64_str("r");
    for (int l = 0; l < 2; l++)
        for (int y = 0; y < 5; y++)
            for (int x = 0; x < 7; x++) {
                double u = avs_probe_unit(hash, (l * 2 + y / 3) * 3 + x / 3);
                assert_true(m[(l * 5 + y) * 7 + x] == (float)((u + 1) / 2));
            }
}

static void dot_is_the_inner_product_with_unit(void **state)
{
    (void)state;
    float e[10] = {0};
    e[3] = 2;
    assert_true(avs_probe_dot("act:x", e, 10) == 2 * avs_probe_unit(avs_fnv1a64_str("act:x"), 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_equal_the_golden),
        cmocka_unit_test(units_equal_the_golden),
        cmocka_unit_test(parameters_equal_the_golden),
        cmocka_unit_test(masks_equal_the_golden),
        cmocka_unit_test(classes_equal_the_golden),
        cmocka_unit_test(blocks_of_ragged_sizes_are_numbered_by_the_ceiling),
        cmocka_unit_test(dot_is_the_inner_product_with_unit),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
