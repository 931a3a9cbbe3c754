/* Types: counts, sizes and their text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "engine/tensor/type.h"

static void counts_are_64_bit_products(void **state)
{
    (void)state;
    avs_type t = AVS_F32T(100000, 100000, 3);
    assert_int_equal(avs_type_count(&t), 30000000000);
    t = avs_type_of(AVS_I32, 0, NULL);
    assert_int_equal(avs_type_count(&t), 1);
    t = AVS_F32T(4, 0, 3);
    assert_int_equal(avs_type_count(&t), 0);
}

static void shapes_are_compared_without_the_dtype(void **state)
{
    (void)state;
    avs_type a = AVS_F32T(2, 3), b = AVS_TYPE(AVS_BF16, 2, 3), c = AVS_F32T(3, 2), d = AVS_F32T(2, 3, 1);
    assert_true(avs_type_same_shape(&a, &b));
    assert_false(avs_type_same_shape(&a, &c));
    assert_false(avs_type_same_shape(&a, &d));
}

static void every_dtype_has_a_size_and_a_name(void **state)
{
    (void)state;
    static const struct {
        avs_dtype d;
        size_t size;
        const char *name;
    } rows[] = {{AVS_F32, 4, "f32"},
                {AVS_BF16, 2, "bf16"},
                {AVS_I32, 4, "i32"},
                {AVS_U8, 1, "u8"},
                {AVS_F64, 8, "f64"}};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(avs_dtype_size(rows[i].d), rows[i].size);
        assert_string_equal(avs_dtype_name(rows[i].d), rows[i].name);
    }
}

static void text_is_cut_but_terminated(void **state)
{
    (void)state;
    avs_type t = AVS_F32T(2, 16, 256), s = avs_type_of(AVS_U8, 0, NULL);
    char buf[64];
    assert_string_equal(avs_type_text(&t, buf, sizeof buf), "f32[2,16,256]");
    assert_string_equal(avs_type_text(&s, buf, sizeof buf), "u8[]");
    for (size_t n = 1; n < 13; n++) {
        avs_type_text(&t, buf, n);
        assert_int_equal(strlen(buf), n - 1);
        assert_memory_equal(buf, "f32[2,16,256]", n - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_64_bit_products),
        cmocka_unit_test(shapes_are_compared_without_the_dtype),
        cmocka_unit_test(every_dtype_has_a_size_and_a_name),
        cmocka_unit_test(text_is_cut_but_terminated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
