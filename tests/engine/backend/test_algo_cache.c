/* The memory of measured algorithms: it survives the process, two writers, a damaged file and a folder that cannot be
 * written. */
#include "engine/backend/cuda/algo_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[256];

static int make_path(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/avs-algo-%d/sub/choices.txt", (int)getpid());
    return 0;
}

static int drop_path(void **state)
{
    (void)state;
    unlink(path);
    for (int i = 0; i < 2; i++) {
        *strrchr(path, '/') = 0;
        rmdir(path);
    }
    return 0;
}

static void a_choice_is_found_by_the_next_process(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_algo_cache *one = avs_algo_cache_open(a, path), *two = avs_algo_cache_open(a, path);
    assert_int_equal(avs_algo_cache_find(one, "H100 driver 13000 3x3"), -1);
    avs_algo_cache_put(one, "H100 driver 13000 3x3", 4);
    avs_algo_cache_put(two, "H100 driver 13000 5x5", 7); /* opened before the first line was there */
    assert_int_equal(avs_algo_cache_find(one, "H100 driver 13000 3x3"), 4);
    avs_algo_cache *later = avs_algo_cache_open(a, path);
    assert_int_equal(avs_algo_cache_find(later, "H100 driver 13000 3x3"), 4);
    assert_int_equal(avs_algo_cache_find(later, "H100 driver 13000 5x5"), 7);
    assert_int_equal(avs_algo_cache_find(later, "H100 driver 13010 3x3"), -1);
    avs_algo_cache_put(later, "H100 driver 13000 3x3", 0);
    assert_int_equal(avs_algo_cache_find(avs_algo_cache_open(a, path), "H100 driver 13000 3x3"), 0);
    avs_arena_free(a);
}

static void damaged_lines_are_passed_over(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs("\n\t3\nnegative\t-2\nhuge\t99999999999999999999\nbytes\t1x\ngood\t2\nhalf\t", f);
    assert_int_equal(fclose(f), 0);
    avs_algo_cache *c = avs_algo_cache_open(a, path);
    static const char *const bad[] = {"", "negative", "huge", "bytes", "half"};
    for (int i = 0; i < 5; i++) assert_int_equal(avs_algo_cache_find(c, bad[i]), -1);
    assert_int_equal(avs_algo_cache_find(c, "good"), 2);
    avs_arena_free(a);
}

static void a_folder_that_cannot_be_written_costs_nothing_but_the_memory(void **state)
{
    (void)state;
    avs_arena *a = avs_arena_new();
    avs_algo_cache *c = avs_algo_cache_open(a, "/proc/avsweep/choices.txt");
    assert_non_null(c);
    avs_algo_cache_put(c, "key", 5);
    assert_int_equal(avs_algo_cache_find(c, "key"), 5);
    avs_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_choice_is_found_by_the_next_process),
        cmocka_unit_test(damaged_lines_are_passed_over),
        cmocka_unit_test(a_folder_that_cannot_be_written_costs_nothing_but_the_memory),
    };
    return cmocka_run_group_tests(tests, make_path, drop_path);
}
