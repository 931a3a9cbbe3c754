/* The composer over shapes and tones made here: same bytes for any number of workers, the layouts read back, the rules of
 * masks, owners, sounds and partners hold. */
#include "scratch.h"

#include "base/arena.h"
#include "data/compose.h"
#include "data/composer.h"
#include "data/constant.h"
#include "data/csv.h"
#include "data/index.h"
#include "data/logmel.h"
#include "data/swap.h"

enum { SIZE = 32, N_STAMPS = 6 };

/* Names that AVSBench-semantic has too, so that all settings can be composed. */
static const char *const names[N_STAMPS] = {"cat", "dog", "horse", "piano", "tuba", "wolf"};

static scratch sources;
static const char *folders[1];

/* Shapes of their own colour with alpha, tones of their own pitch; six backgrounds. */
static int make_sources(void **state)
{
    (void)state;
    scratch_open(&sources);
    for (int i = 0; i < N_STAMPS; i++) {
        avs_image im;
        if (avs_image_alloc(&im, 40 + 10 * i, 60, 4, NULL) != AVS_OK) return -1;
        for (int y = 0; y < im.h; y++)
            for (int x = 0; x < im.w; x++) {
                uint8_t *p = im.px + ((int64_t)y * im.w + x) * 4;
                const double dx = (x - im.w / 2.0) / (im.w / 2.0), dy = (y - 30) / 30.0;
                const bool in = i % 2 ? fabs(dx) + fabs(dy) < 0.9 : dx * dx + dy * dy < 0.8;
                p[0] = (uint8_t)(40 * i), p[1] = (uint8_t)(255 - 40 * i), p[2] = 128, p[3] = in ? 255 : 0;
            }
        put_png(scratch_path(&sources, "stamps/group%d/%s.png", i % 2, names[i]), im);
        put_tone(scratch_path(&sources, "stamps/group%d/%s.wav", i % 2, names[i]), 300 + 170 * i, 0.6,
                 i % 2 ? 16000 : 8000);
    }
    put_text(scratch_path(&sources, "stamps/group0/nosound.txt"), "");
    put_png(scratch_path(&sources, "stamps/group0/nosound.png"), test_picture(8, 8, 4, 1));
    for (int i = 0; i < 6; i++)
        put_png(scratch_path(&sources, "back/b%d.png", i), test_picture(90, 70, 3, i));
    static char back[300];
    snprintf(back, sizeof back, "%s/back", sources.dir);
    folders[0] = back;
    return 0;
}

static int drop_sources(void **state)
{
    (void)state;
    scratch_close(&sources);
    return 0;
}

static avs_compose_cfg config(const char *out, unsigned settings, int train, int val, int test, int threads)
{
    static char stamps[300];
    snprintf(stamps, sizeof stamps, "%s/stamps", sources.dir);
    return (avs_compose_cfg){.out = out,
                             .settings = settings,
                             .stamps = stamps,
                             .backgrounds = folders,
                             .n_backgrounds = 1,
                             .n_classes = N_STAMPS,
                             .size = SIZE,
                             .n_clips = {train, val, test},
                             .seed = 7,
                             .n_threads = threads};
}

static void one_worker_and_three_give_the_same_bytes(void **state)
{
    (void)state;
    scratch s[2];
    uint8_t print[2][32];
    avs_err e = AVS_ERR_INIT;
    for (int i = 0; i < 2; i++) {
        avs_compose_info info;
        avs_index_info index;
        scratch_open(&s[i]);
        const avs_compose_cfg c =
            config(s[i].dir, AVS_COMPOSE_S4 | AVS_COMPOSE_MS3 | AVS_COMPOSE_AVSS, 6, 3, 3, i ? 3 : 1);
        assert_ok(avs_compose(&c, &info, &e), e);
        assert_int_equal(info.clips, 36);
        assert_ok(avs_data_index(s[i].dir, 1, &index, &e), e);
        memcpy(print[i], index.fingerprint, 32);
    }
    assert_memory_equal(print[0], print[1], 32);
    for (int i = 0; i < 2; i++) scratch_close(&s[i]);
}

static void a_clip_does_not_depend_on_how_many_others_there_are(void **state)
{
    (void)state;
    scratch s[2];
    avs_err e = AVS_ERR_INIT;
    avs_buf f[2] = {AVS_BUF_INIT, AVS_BUF_INIT}, w[2] = {AVS_BUF_INIT, AVS_BUF_INIT};
    for (int i = 0; i < 2; i++) {
        avs_compose_info info;
        scratch_open(&s[i]);
        const avs_compose_cfg c = config(s[i].dir, AVS_COMPOSE_MS3, i ? 9 : 3, 0, 0, 2);
        assert_ok(avs_compose(&c, &info, &e), e);
        assert_ok(
            avs_fs_read(
                scratch_path(&s[i], "Multi-sources/ms3_data/visual_frames/train_00002/train_00002.mp4_4.png"),
                0, &f[i], &e),
            e);
        assert_ok(avs_fs_read(scratch_path(&s[i], "Multi-sources/ms3_data/audio_wav/train/train_00002.wav"),
                              0, &w[i], &e),
                  e);
    }
    assert_int_equal(f[0].len, f[1].len);
    assert_memory_equal(f[0].data, f[1].data, f[0].len);
    assert_int_equal(w[0].len, 44 + 160000);
    assert_memory_equal(w[0].data, w[1].data, w[0].len);
    for (int i = 0; i < 2; i++) {
        avs_buf_free(&f[i]);
        avs_buf_free(&w[i]);
        scratch_close(&s[i]);
    }
}

static void every_setting_reads_back_with_masks_inside_the_objects(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    avs_compose_info info;
    enum { PX = SIZE * SIZE };
    scratch_open(&s);
    const avs_compose_cfg c = config(s.dir, AVS_COMPOSE_S4 | AVS_COMPOSE_MS3 | AVS_COMPOSE_AVSS, 6, 3, 3, 2);
    assert_ok(avs_compose(&c, &info, &e), e);
    assert_true(info.objects > 0.05 && info.foreground > 0 && info.foreground < info.objects);
    for (int task = 0; task < 3; task++)
        for (int split = 0; split < 3; split++) {
            avs_dataset *ds = open_split(s.dir, (avs_task)task, (avs_split)split, SIZE);
            assert_int_equal(avs_dataset_count(ds), split == 0 ? 6 : 3);
            for (int i = 0; i < avs_dataset_count(ds); i++) {
                uint8_t label[10 * PX], objects[10 * PX];
                float row[10], *mel = malloc(sizeof *mel * 10 * AVS_MEL_EXAMPLE);
                const avs_clip *clip = avs_dataset_clip(ds, i);
                const avs_clip_out out = {
                    .labels_u8 = label, .objects = objects, .row_weight = row, .logmel = mel};
                assert_ok(avs_clip_load(ds, i, &(avs_pick){.n = clip->T}, &out, &e), e);
                int64_t in = 0, owned = 0;
                for (int p = 0; p < clip->n_frames * PX; p++) {
                    assert_true(!label[p] || objects[p] || task == AVS_TASK_AVSS);
                    in += label[p] != 0;
                    owned += objects[p];
                }
                assert_true(owned > in);
                assert_true(task != AVS_TASK_AVSS || clip->words[0]);
                if (task == AVS_TASK_S4) assert_true(in > 0 && row[1] == (split == 0 ? 0.0f : 1.0f));
                free(mel);
            }
            avs_dataset_close(ds);
        }
    scratch_close(&s);
}

static void sidecar_rules_hold(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    avs_compose_info info;
    scratch_open(&s);
    const avs_compose_cfg c = config(s.dir, AVS_COMPOSE_MS3 | AVS_COMPOSE_S4, 40, 5, 5, 2);
    assert_ok(avs_compose(&c, &info, &e), e);
    avs_arena *a = avs_arena_new();
    for (int single = 0; single < 2; single++) {
        avs_csv csv;
        assert_ok(avs_csv_read(&csv, a,
                               scratch_path(&s, single ? "Single-source/s4_compose.csv"
                                                       : "Multi-sources/ms3_compose.csv"),
                               &e),
                  e);
        assert_int_equal(csv.n_rows, 50);
        for (int r = 0; r < csv.n_rows; r++) {
            char *objects = avs_arena_str(a, avs_csv_at(&csv, r, avs_csv_col(&csv, "objects")));
            char *sounding = avs_arena_str(a, avs_csv_at(&csv, r, avs_csv_col(&csv, "sounding")));
            const char *back = avs_csv_at(&csv, r, avs_csv_col(&csv, "background")),
                       *split = avs_csv_at(&csv, r, 1);
            int n = 1;
            for (const char *p = objects; *p; p++) n += *p == '+';
            assert_in_range(n, 2, 4);
            char *rest = sounding;
            for (int t = 0; t < 5; t++) {
                char *second = strsep(&rest, "|"), *name;
                assert_non_null(second);
                int heard = 0;
                while ((name = strsep(&second, "+")) && *name) {
                    heard++;
                    assert_non_null(strstr(objects, name));
                    if (single) assert_string_equal(name, avs_csv_at(&csv, r, 2));
                }
                assert_true(heard < n && (!single || heard == 1));
            }
            assert_null(rest);
            assert_int_equal(back[1] - '0', strcmp(split, "val") == 0    ? 3
                                            : strcmp(split, "test") == 0 ? 4
                                                                         : back[1] - '0');
            if (strcmp(split, "train") == 0) assert_true(back[1] != '3' && back[1] != '4');
        }
    }
    avs_arena_free(a);
    scratch_close(&s);
}

static void a_second_with_sound_is_louder_than_a_silent_one(void **state)
{
    (void)state;
    double ring[16000];
    for (int i = 0; i < 16000; i++) ring[i] = 0.14 * sin(0.3 * i);
    const avs_stamp stamp = {.name = "x", .ring = ring, .ring_n = 16000};
    avs_scene sc = {.S = SIZE, .T = 5, .n = 2, .arena = avs_arena_new(), .sounding = {1, 0, 0, 1, 1}};
    avs_rng r = avs_rng_seed(3);
    avs_err e = AVS_ERR_INIT;
    int16_t *x = malloc(sizeof *x * 80000);
    assert_ok(avs_sound_mix(&sc, &stamp, &r, x, &e), e);
    for (int t = 0; t < 5;
         t++) { /* exactly the samples of the log-mel example, so no leak from the second before */
        double power = 0;
        for (int i = 15360 * t; i < 15360 * t + 15360; i++)
            power += (double)x[i] * x[i] / (32768.0 * 32768.0);
        const double rms = sqrt(power / 15360);
        assert_true(sc.sounding[t] ? rms > 0.04 : rms < 0.0075);
    }
    free(x);
    avs_arena_free(sc.arena);
}

static void transparent_pixels_leave_no_fringe(void **state)
{
    (void)state;
    avs_image im;
    avs_err e = AVS_ERR_INIT;
    avs_arena *a = avs_arena_new();
    assert_ok(avs_image_alloc(&im, 64, 64, 4, &e), e);
    for (int i = 0; i < 64 * 64; i++) { /* a grey disc whose surroundings hide pure green under alpha 0 */
        const double dx = i % 64 - 31.5, dy = i / 64 - 31.5;
        const bool in = dx * dx + dy * dy < 700;
        const uint8_t px[4] = {in ? 100 : 0, in ? 100 : 255, in ? 100 : 0, in ? 255 : 0};
        memcpy(im.px + 4 * i, px, 4);
    }
    static const int sizes[3] = {10, 25, 90}; /* area average, triangle, enlargement */
    for (int k = 0; k < 3; k++) {
        float *out;
        const int n = sizes[k];
        assert_ok(avs_sprite_resize(&out, a, &im, n, n, k == 1, 1.0, &e), e);
        for (int i = 0; i < n * n; i++) {
            const float *p = out + 4 * i;
            assert_true(fabsf(p[1] - 100 * p[3]) < 1e-3f && fabsf(p[0] - p[1]) < 1e-3f && p[3] <= 1.00001f);
        }
        assert_true(out[4 * (n / 2 * n + n / 2) + 3] > 0.999f);
    }
    avs_image_free(&im);
    avs_arena_free(a);
}

static void a_later_object_owns_what_it_hides(void **state)
{
    (void)state;
    enum { S = 16 };
    avs_arena *a = avs_arena_new();
    avs_err e = AVS_ERR_INIT;
    avs_scene sc = {.S = S, .T = 5, .n = 2, .arena = a};
    sc.background = avs_arena_alloc(a, sizeof(float) * S * S * 3);
    for (int k = 0; k < 2; k++) {
        avs_sprite *o = &sc.sprite[k];
        *o = (avs_sprite){
            .w = 8, .h = 8, .x = 4 * k, .y = 0, .rgba = avs_arena_alloc(a, sizeof(float) * 8 * 8 * 4)};
        for (int i = 0; i < 64; i++) {
            o->rgba[4 * i] = 200;
            o->rgba[4 * i + 3] = i % 8 == 0 && k ? 0.4f : 1; /* left edge of the upper one: less than half */
        }
    }
    sc.sprite[1].vx = 100; /* leaves to the right: clamped into the frame */
    uint8_t rgb[S * S * 3], owner[S * S];
    avs_rng noise = avs_rng_seed(1);
    assert_ok(avs_scene_frame(&sc, 2, &noise, rgb, owner, &e), e);
    assert_int_equal(owner[3], 0);
    assert_int_equal(owner[4], 0);
    assert_int_equal(owner[5], 1);
    assert_int_equal(owner[11], 1);
    assert_int_equal(owner[12], 255);
    assert_int_equal(owner[8 * S], 255);
    assert_in_range(rgb[0], 185, 215);
    assert_ok(avs_scene_frame(&sc, 4, &noise, rgb, owner, &e), e);
    assert_int_equal(owner[15], 1);
    assert_int_equal(owner[8], 255);
    avs_arena_free(a);
}

static void pauses_are_dropped_from_recordings_and_level_is_even(void **state)
{
    (void)state;
    double *x = calloc(16000, sizeof *x), *ring;
    int64_t n;
    avs_err e = AVS_ERR_INIT;
    for (int i = 4000; i < 8000; i++) x[i] = 0.7 * sin(0.2 * i); /* windows 5..9 of 20 */
    assert_ok(avs_stamp_ring(x, 16000, &ring, &n, &e), e);
    assert_int_equal(n, 7 * 800); /* five windows and a neighbour at each side */
    double power = 0;
    for (int64_t i = 0; i < n; i++) power += ring[i] * ring[i];
    assert_true(fabs(sqrt(power / (double)n) - 0.1) < 1e-12);
    free(ring);
    memset(x, 0, sizeof *x * 16000);
    assert_int_equal(avs_stamp_ring(x, 16000, &ring, &n, &e), AVS_ERANGE);
    free(x);
}

static void partners_share_no_sounding_class_or_are_the_next(void **state)
{
    (void)state;
    const uint64_t bits[5] = {1, 3, 4, 1, 0};
    int32_t partner[5];
    avs_swap_partners_of(bits, 5, partner);
    assert_memory_equal(partner, ((int32_t[]){2, 2, 3, 4, 0}), sizeof partner);
    const uint64_t same[3] = {1, 1, 3};
    avs_swap_partners_of(same, 3, partner);
    assert_memory_equal(partner, ((int32_t[]){1, 2, 0}), 3 * sizeof *partner);
}

static void partners_are_read_from_the_sidecar(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    int32_t partner[3];
    int fallbacks = -1;
    scratch_open(&s);
    put_ms3(&s, 3, SIZE);
    avs_dataset *ds = open_split(s.dir, AVS_TASK_MS3, AVS_SPLIT_TEST, SIZE); /* clip2, clip5, clip8 */
    assert_int_equal(avs_swap_partners(ds, partner, &fallbacks, &e), AVS_EMISSING);
    put_text(
        scratch_path(&s, "Multi-sources/ms3_compose.csv"),
        "name,split,sounding\nclip8,test,cat||dog|dog|\nclip2,test,dog|dog+cow|||\nclip5,test,cow||||\n");
    assert_ok(avs_swap_partners(ds, partner, &fallbacks, &e), e);
    assert_memory_equal(partner, ((int32_t[]){1, 2, 1}), sizeof partner);
    assert_int_equal(fallbacks, 1);
    put_text(scratch_path(&s, "Multi-sources/ms3_compose.csv"), "name,split,sounding\nclip2,test,dog\n");
    assert_int_equal(avs_swap_partners(ds, partner, NULL, &e), AVS_EMISSING);
    assert_non_null(strstr(e.msg, "clip5"));
    avs_dataset_close(ds);
    scratch_close(&s);
}

static int agreement(void *ctx, const uint8_t *mask, double *score, avs_err *e)
{
    const uint8_t *want = ctx;
    (void)e;
    *score = 0;
    for (int p = 0; p < 6; p++) *score += mask[p] == want[p];
    return AVS_OK;
}

static void best_constant_mask_is_a_threshold_or_empty(void **state)
{
    (void)state;
    const float mean[6] = {0, 0.1f, 0.2f, 0.3f, 0.4f, 0.05f};
    uint8_t want[6] = {0, 0, 1, 1, 1, 0}, none[6] = {0}, best[6];
    avs_constant_winner w;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_constant_best(mean, 6, 15, agreement, want, best, &w, &e), e);
    assert_memory_equal(best, want, 6);
    assert_true(w.score == 6 && w.threshold >= 0.1 && w.threshold < 0.2);
    assert_ok(avs_constant_best(mean, 6, 15, agreement, none, best, &w, &e), e);
    assert_memory_equal(best, none, 6);
    assert_true(w.score == 6 && w.threshold == 1);
}

static void mean_mask_counts_labelled_frames_only(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    avs_compose_info info;
    float mean[2][SIZE * SIZE];
    int64_t frames;
    scratch_open(&s);
    const avs_compose_cfg c = config(s.dir, AVS_COMPOSE_S4, 5, 0, 0, 2);
    assert_ok(avs_compose(&c, &info, &e), e);
    avs_dataset *ds = open_split(s.dir, AVS_TASK_S4, AVS_SPLIT_TRAIN, SIZE);
    assert_ok(avs_constant_mean(ds, 1, mean[0], &frames, &e), e);
    assert_int_equal(frames, 5);
    assert_ok(avs_constant_mean(ds, 3, mean[1], &frames, &e), e);
    assert_memory_equal(mean[0], mean[1], sizeof mean[0]);
    double sum = 0;
    for (int p = 0; p < SIZE * SIZE; p++) sum += (double)mean[0][p];
    double want = 0;
    for (int i = 0; i < 5; i++) {
        uint8_t label[SIZE * SIZE];
        assert_ok(avs_clip_load(ds, i, &(avs_pick){.n = 1}, &(avs_clip_out){.labels_u8 = label}, &e), e);
        for (int p = 0; p < SIZE * SIZE; p++) want += label[p];
    }
    assert_true(want > 0 && fabs(sum - want / 5) < 1e-4);
    avs_dataset_close(ds);
    scratch_close(&s);
}

static void what_cannot_be_composed_is_said(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    avs_compose_info info;
    scratch_open(&s);
    avs_compose_cfg c = config(s.dir, AVS_COMPOSE_MS3, 1, 0, 0, 1);
    c.n_classes = 7;
    assert_int_equal(avs_compose(&c, &info, &e), AVS_EMISSING);
    assert_non_null(strstr(e.msg, "7 classes are wanted, 6 cut-outs"));
    c.n_classes = 3;
    assert_int_equal(avs_compose(&c, &info, &e), AVS_ERANGE);
    c.n_classes = 4;
    put_text(scratch_path(&s, "list"), "# order\nwolf\ncat # second\n\nunicorn\ndog\n");
    c.list = s.path;
    assert_int_equal(avs_compose(&c, &info, &e), AVS_EMISSING);
    assert_non_null(strstr(e.msg, "unicorn.png"));
    c.list = NULL;
    assert_ok(avs_compose(&c, &info, &e), e);
    assert_int_equal(avs_compose(&c, &info, &e), AVS_ERANGE);
    assert_non_null(strstr(e.msg, "already there"));
    c.replace = true;
    assert_ok(avs_compose(&c, &info, &e), e);
    unsigned bits;
    assert_ok(avs_compose_settings_parse("avss,s4", &bits, &e), e);
    assert_int_equal(bits, AVS_COMPOSE_AVSS | AVS_COMPOSE_S4);
    assert_int_equal(avs_compose_settings_parse("s4,ms4", &bits, &e), AVS_ERANGE);
    assert_int_equal(avs_compose_settings_parse("", &bits, &e), AVS_ERANGE);
    scratch_close(&s);
}

static void a_failed_allocation_anywhere_is_an_error_without_leaks(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    avs_rng r = avs_rng_seed(2);
    int failed = 0;
    scratch_open(&s);
    avs_compose_cfg c = config(s.dir, AVS_COMPOSE_MS3 | AVS_COMPOSE_AVSS, 2, 0, 0, 1);
    c.replace = true;
    for (int i = 0; i < 24;
         i++) { /* the first ones in order, then anywhere in a run of about 450 allocations */
        avs_compose_info info;
        avs_alloc_fail_after(i < 8 ? i + 1 : avs_rng_range(&r, 9, 450));
        const int rc = avs_compose(&c, &info, &e);
        avs_alloc_fail_after(0);
        failed += rc != AVS_OK;
        if (rc != AVS_OK && !strstr(e.msg, "memory")) fail_msg("%s", e.msg);
    }
    assert_true(failed > 20);
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_worker_and_three_give_the_same_bytes),
        cmocka_unit_test(a_clip_does_not_depend_on_how_many_others_there_are),
        cmocka_unit_test(every_setting_reads_back_with_masks_inside_the_objects),
        cmocka_unit_test(sidecar_rules_hold),
        cmocka_unit_test(a_second_with_sound_is_louder_than_a_silent_one),
        cmocka_unit_test(transparent_pixels_leave_no_fringe),
        cmocka_unit_test(a_later_object_owns_what_it_hides),
        cmocka_unit_test(pauses_are_dropped_from_recordings_and_level_is_even),
        cmocka_unit_test(partners_share_no_sounding_class_or_are_the_next),
        cmocka_unit_test(partners_are_read_from_the_sidecar),
        cmocka_unit_test(best_constant_mask_is_a_threshold_or_empty),
        cmocka_unit_test(mean_mask_counts_labelled_frames_only),
        cmocka_unit_test(what_cannot_be_composed_is_said),
        cmocka_unit_test(a_failed_allocation_anywhere_is_an_error_without_leaks),
    };
    return cmocka_run_group_tests(tests, make_sources, drop_sources);
}
