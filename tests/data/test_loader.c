/* The loader: order, places, and errors do not depend on the number of threads or slots. */
#include "scratch.h"

#include "base/arena.h"
#include "base/hash.h"
#include "data/loader.h"
#include "data/logmel.h"

enum { SIDE = 16, N_BATCHES = 12 };

static scratch tree;

static int open_tree(void **state)
{
    (void)state;
    scratch_open(&tree);
    put_ms3(&tree, 4, SIDE);
    return 0;
}

static int close_tree(void **state)
{
    (void)state;
    scratch_close(&tree);
    return 0;
}

static int make_items(avs_loader_item *items, int batch)
{
    avs_rng r = avs_rng_seed((uint64_t)batch);
    const int n = 1 + batch % 3;
    for (int k = 0; k < n; k++) {
        items[k] =
            (avs_loader_item){.clip = (int32_t)avs_rng_range(&r, 0, 3), .n = 2, .flip = avs_rng_u64(&r) & 1};
        items[k].sound = batch % 4 == 3 ? (items[k].clip + 1) % 4 : items[k].clip;
        for (int f = 0; f < 2; f++) items[k].frames[f] = (int32_t)avs_rng_range(&r, 0, 4);
    }
    return n;
}

/* Hash of every batch of one run. */
static void run(const avs_dataset *ds, int n_threads, int n_slots, int ahead, uint64_t hash[N_BATCHES])
{
    avs_loader *l;
    avs_err e = AVS_ERR_INIT;
    const avs_loader_cfg cfg = {.ds = ds,
                                .n_threads = n_threads,
                                .n_slots = n_slots,
                                .max_rows = 6,
                                .want_frames = true,
                                .want_logmel = true,
                                .want_target = true,
                                .want_classes = true};
    assert_ok(avs_loader_new(&l, &cfg, &e), e);
    for (int pushed = 0, got = 0; got < N_BATCHES; got++) {
        const avs_batch *b;
        avs_loader_item items[3];
        for (; pushed < N_BATCHES && pushed < got + ahead; pushed++) {
            const int n = make_items(items, pushed);
            assert_ok(avs_loader_push(l, items, n, &e), e);
        }
        assert_int_equal(avs_loader_pending(l), pushed - got);
        assert_ok(avs_loader_next(l, &b, &e), e);
        const int n = make_items(items, got);
        assert_int_equal(b->number, got);
        assert_int_equal(b->n_items, n);
        assert_int_equal(b->n_rows, 2 * n);
        assert_int_equal(b->items[n - 1].clip, items[n - 1].clip);
        const size_t rows = (size_t)b->n_rows, px = SIDE * SIDE;
        avs_sha256 s;
        uint8_t out[32];
        avs_sha256_init(&s);
        avs_sha256_put(&s, b->frames, rows * px * 3 * sizeof(float));
        avs_sha256_put(&s, b->logmel, rows * AVS_MEL_EXAMPLE * sizeof(float));
        avs_sha256_put(&s, b->target, rows * px * sizeof(float));
        avs_sha256_put(&s, b->classes, rows * px * sizeof(int32_t));
        avs_sha256_put(&s, b->row_weight, rows * sizeof(float));
        avs_sha256_put(&s, b->frame_weight, rows * sizeof(float));
        avs_sha256_end(&s, out);
        memcpy(&hash[got], out, 8);
    }
    avs_loader_free(l);
}

static void batches_are_the_same_for_any_number_of_threads_and_slots(void **state)
{
    (void)state;
    avs_dataset *ds = open_split(tree.dir, AVS_TASK_MS3, AVS_SPLIT_TRAIN, SIDE);
    uint64_t want[N_BATCHES], got[N_BATCHES];
    avs_err e = AVS_ERR_INIT;
    run(ds, 1, 2, 1, want);
    for (int i = 0; i < N_BATCHES; i++)
        for (int j = 0; j < i; j++) assert_true(want[i] != want[j]);
    run(ds, 3, 2, N_BATCHES, got);
    assert_memory_equal(want, got, sizeof want);
    assert_ok(avs_dataset_preload(ds, 2, 0, &e), e);
    run(ds, 4, 5, 3, got);
    assert_memory_equal(want, got, sizeof want);
    avs_dataset_close(ds);
}

static void a_batch_equals_its_clips_and_takes_the_sound_of_another_clip(void **state)
{
    (void)state;
    avs_dataset *ds = open_split(tree.dir, AVS_TASK_MS3, AVS_SPLIT_TEST, SIDE);
    avs_loader *l;
    avs_err e = AVS_ERR_INIT;
    const avs_batch *b;
    const avs_loader_cfg cfg = {
        .ds = ds, .n_threads = 2, .n_slots = 2, .max_rows = 4, .want_frames = true, .want_logmel = true};
    const avs_loader_item items[2] = {{.clip = 1, .sound = 1, .n = 2, .frames = {4, 2}},
                                      {.clip = 0, .sound = 3, .n = 2, .frames = {0, 1}}};
    assert_ok(avs_loader_new(&l, &cfg, &e), e);
    assert_ok(avs_loader_push(l, items, 2, &e), e);
    assert_ok(avs_loader_next(l, &b, &e), e);
    assert_null(b->target);
    float frames[2 * SIDE * SIDE * 3], *mel = malloc(sizeof *mel * 2 * AVS_MEL_EXAMPLE);
    for (int k = 0; k < 2; k++) {
        const avs_pick pick = {.n = 2, .frames = items[k].frames};
        assert_ok(avs_clip_load(ds, items[k].clip, &pick, &(avs_clip_out){.frames = frames}, &e), e);
        assert_ok(avs_clip_load(ds, items[k].sound, &pick, &(avs_clip_out){.logmel = mel}, &e), e);
        assert_memory_equal(b->frames + k * 2 * SIDE * SIDE * 3, frames, sizeof frames);
        assert_memory_equal(b->logmel + k * 2 * AVS_MEL_EXAMPLE, mel, sizeof *mel * 2 * AVS_MEL_EXAMPLE);
    }
    free(mel);
    avs_loader_free(l);
    avs_dataset_close(ds);
}

static void a_broken_frame_is_reported_in_its_batch_and_order(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    scratch_open(&s);
    put_ms3(&s, 3, SIDE);
    put_text(scratch_path(&s, "Multi-sources/ms3_data/visual_frames/clip3/clip3.mp4_2.png"), "no picture");
    avs_dataset *ds = open_split(s.dir, AVS_TASK_MS3, AVS_SPLIT_TRAIN, SIDE);
    for (int threads = 1; threads <= 3; threads += 2) {
        avs_loader *l;
        const avs_batch *b;
        const avs_loader_cfg cfg = {
            .ds = ds, .n_threads = threads, .n_slots = 3, .max_rows = 4, .want_frames = true};
        assert_ok(avs_loader_new(&l, &cfg, &e), e);
        for (int i = 0; i < 3; i++) {
            const avs_loader_item item = {.clip = i, .sound = i, .n = 2, .frames = {0, 1}};
            assert_ok(avs_loader_push(l, &item, 1, &e), e);
        }
        assert_ok(avs_loader_next(l, &b, &e), e);
        assert_int_equal(avs_loader_next(l, &b, &e), AVS_EPARSE);
        assert_non_null(strstr(e.msg, "clip3.mp4_2.png"));
        assert_null(b);
        avs_loader_free(l);
    }
    avs_dataset_close(ds);
    scratch_close(&s);
}

static void wrong_lists_and_unpushed_batches_are_refused(void **state)
{
    (void)state;
    avs_dataset *ds = open_split(tree.dir, AVS_TASK_MS3, AVS_SPLIT_VAL, SIDE);
    avs_loader *l;
    avs_err e = AVS_ERR_INIT;
    const avs_batch *b;
    const avs_loader_cfg cfg = {.ds = ds, .n_threads = 1, .n_slots = 2, .max_rows = 3, .want_frames = true};
    assert_ok(avs_loader_new(&l, &cfg, &e), e);
    const avs_loader_item wrong[] = {
        {.clip = 4, .n = 1},  {.clip = 0, .sound = -1, .n = 1},   {.clip = 0, .n = 0},
        {.clip = 0, .n = 17}, {.clip = 0, .n = 1, .frames = {5}}, {.clip = 0, .n = 4}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(avs_loader_push(l, &wrong[i], 1, &e), AVS_ERANGE);
    assert_int_equal(avs_loader_push(l, wrong, 0, &e), AVS_ERANGE);
    assert_int_equal(avs_loader_next(l, &b, &e), AVS_EMISSING);
    avs_loader_free(l);
    avs_dataset_close(ds);
}

static void freeing_a_busy_loader_drops_what_is_queued(void **state)
{
    (void)state;
    avs_dataset *ds = open_split(tree.dir, AVS_TASK_MS3, AVS_SPLIT_TRAIN, SIDE);
    for (int round = 0; round < 8; round++) {
        avs_loader *l;
        avs_err e = AVS_ERR_INIT;
        const avs_batch *b;
        const avs_loader_cfg cfg = {
            .ds = ds, .n_threads = 2, .n_slots = 2, .max_rows = 2, .want_frames = true, .want_logmel = true};
        assert_ok(avs_loader_new(&l, &cfg, &e), e);
        for (int i = 0; i < 6; i++) {
            const avs_loader_item item = {.clip = i % 4, .sound = i % 4, .n = 1};
            assert_ok(avs_loader_push(l, &item, 1, &e), e);
        }
        for (int i = 0; i < round % 3; i++) assert_ok(avs_loader_next(l, &b, &e), e);
        assert_int_equal(avs_loader_pending(l), 6 - round % 3);
        avs_loader_free(l);
    }
    avs_dataset_close(ds);
}

static void a_failed_allocation_is_an_error_without_leaks(void **state)
{
    (void)state;
    avs_dataset *ds = open_split(tree.dir, AVS_TASK_MS3, AVS_SPLIT_VAL, SIDE);
    const avs_loader_cfg cfg = {
        .ds = ds, .n_threads = 2, .n_slots = 3, .max_rows = 3, .want_frames = true, .want_classes = true};
    const avs_loader_item item = {.clip = 1, .sound = 1, .n = 2};
    avs_err e = AVS_ERR_INIT;
    int rc = AVS_ENOMEM, n = 1;
    for (; n < 60 && rc != AVS_OK; n++) {
        avs_loader *l = NULL;
        avs_alloc_fail_after(n);
        rc = avs_loader_new(&l, &cfg, &e);
        if (rc == AVS_OK) rc = avs_loader_push(l, &item, 1, &e);
        avs_alloc_fail_after(0);
        if (rc != AVS_OK) assert_int_equal(rc, AVS_ENOMEM);
        avs_loader_free(l);
    }
    assert_int_equal(rc, AVS_OK);
    assert_true(n > 15); /* the loader, its lists, three slots of four arrays */
    avs_dataset_close(ds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_the_same_for_any_number_of_threads_and_slots),
        cmocka_unit_test(a_batch_equals_its_clips_and_takes_the_sound_of_another_clip),
        cmocka_unit_test(a_broken_frame_is_reported_in_its_batch_and_order),
        cmocka_unit_test(wrong_lists_and_unpushed_batches_are_refused),
        cmocka_unit_test(freeing_a_busy_loader_drops_what_is_queued),
        cmocka_unit_test(a_failed_allocation_is_an_error_without_leaks),
    };
    return cmocka_run_group_tests(tests, open_tree, close_tree);
}
