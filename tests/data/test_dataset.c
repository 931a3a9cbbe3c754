/* The three layouts over small trees made here: what a clip holds, which frames are labelled, what is missing and where. */
#include "scratch.h"

#include "base/arena.h"
#include "data/logmel.h"

enum { SIDE = 24, PX = SIDE * SIDE };

static void put_s4(scratch *s)
{
    static const char *const split[3] = {"train", "val", "test"};
    avs_buf csv = AVS_BUF_INIT;
    avs_buf_str(&csv, "who,when,category,split\n");
    for (int i = 0; i < 3; i++) {
        avs_buf_fmt(&csv, "v%d,3,dog_barking,%s\n", i, split[i]);
        for (int k = 1; k <= 5; k++) {
            put_png(scratch_path(s, "Single-source/s4_data/visual_frames/%s/dog_barking/v%d/v%d_%d.png",
                                 split[i], i, i, k),
                    test_picture(SIDE, SIDE, 3, i + k));
            if (i > 0 || k == 1)
                put_png(scratch_path(s, "Single-source/s4_data/gt_masks/%s/dog_barking/v%d/v%d_%d.png",
                                     split[i], i, i, k),
                        test_mask(SIDE, SIDE, k, 255));
        }
        put_tone(scratch_path(s, "Single-source/s4_data/audio_wav/%s/dog_barking/v%d.wav", split[i], i), 307,
                 3.1, 16000);
    }
    put_text(scratch_path(s, "Single-source/s4_meta_data.csv"), avs_buf_cstr(&csv));
    avs_buf_free(&csv);
}

/* Colour picture with a box of class j. */
static avs_image colour_label(int w, int h, int j, int number)
{
    avs_image mask = test_mask(w, h, number, 1), im;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_image_alloc(&im, w, h, 3, &e), e);
    for (int i = 0; i < w * h; i++) avs_palette_colour(mask.px[i] ? j : 0, im.px + 3 * i);
    avs_image_free(&mask);
    return im;
}

static void put_avss(scratch *s)
{
    static const char *const subset[3] = {"v1s", "v1m", "v2"};
    avs_buf csv = AVS_BUF_INIT;
    avs_buf_str(&csv, "vid,uid,s_min,s_sec,a_obj,split,label\n");
    for (int split = 0; split < 2; split++)
        for (int i = 0; i < 3; i++) {
            const int frames = i == 2 ? 10 : 5, labels = i == 0 && split == 0 ? 1 : frames;
            avs_buf_fmt(&csv, "x,u%d%d,0,0,dog_man,%s,%s\n", split, i, avs_split_name((avs_split)split),
                        subset[i]);
            for (int k = 0; k < frames; k++)
                put_jpeg(scratch_path(s, "%s/u%d%d/frames/%d.jpg", subset[i], split, i, k),
                         test_picture(60, 40, 3, k));
            for (int k = 0; k < labels; k++)
                put_png(scratch_path(s, "%s/u%d%d/labels_rgb/%d.png", subset[i], split, i, k),
                        colour_label(60, 40, 17 + i, k));
            put_tone(scratch_path(s, "%s/u%d%d/audio.wav", subset[i], split, i), 500, i == 2 ? 10 : 5,
                     i == 1 ? 44100 : 16000);
        }
    put_text(scratch_path(s, "metadata.csv"), avs_buf_cstr(&csv));
    avs_buf_free(&csv);
}

static void s4_training_has_one_labelled_frame_and_five_pictures(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    scratch_open(&s);
    put_s4(&s);
    avs_dataset *ds = open_split(s.dir, AVS_TASK_S4, AVS_SPLIT_TRAIN, SIDE);
    assert_int_equal(avs_dataset_count(ds), 1);
    const avs_clip *c = avs_dataset_clip(ds, 0);
    assert_string_equal(c->name, "v0");
    assert_string_equal(c->group, "dog_barking");
    assert_int_equal(c->T, 5);
    float *target = malloc(sizeof *target * 5 * PX), row[5], frame[5];
    uint8_t *px = malloc(5 * PX * 3);
    assert_ok(
        avs_clip_load(
            ds, 0, &(avs_pick){.n = 5},
            &(avs_clip_out){.target = target, .frames_u8 = px, .row_weight = row, .frame_weight = frame}, &e),
        e);
    avs_image mask = test_mask(SIDE, SIDE, 1, 1), picture = test_picture(SIDE, SIDE, 3, 3);
    for (int p = 0; p < PX; p++) assert_true(target[p] == (float)mask.px[p]);
    for (int p = PX; p < 5 * PX; p++) assert_true(target[p] == 0);
    assert_memory_equal(px + 2 * PX * 3, picture.px, PX * 3);
    for (int t = 0; t < 5; t++) {
        assert_true(row[t] == (t == 0 ? 1.0f : 0.0f));
        assert_true(frame[t] == 1);
    }
    avs_image_free(&mask);
    avs_image_free(&picture);
    avs_dataset_close(ds);
    ds = open_split(s.dir, AVS_TASK_S4, AVS_SPLIT_TEST, SIDE);
    assert_ok(
        avs_clip_load(ds, 0, &(avs_pick){.n = 5}, &(avs_clip_out){.target = target, .row_weight = row}, &e),
        e);
    mask = test_mask(SIDE, SIDE, 5, 1);
    for (int p = 0; p < PX; p++) assert_true(target[4 * PX + p] == (float)mask.px[p]);
    assert_true(row[4] == 1);
    avs_image_free(&mask);
    avs_dataset_close(ds);
    free(target);
    free(px);
    scratch_close(&s);
}

static void short_s4_sound_repeats_its_last_example(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    scratch_open(&s);
    put_s4(&s);
    avs_dataset *ds = open_split(s.dir, AVS_TASK_S4, AVS_SPLIT_VAL, SIDE);
    float *mel = malloc(sizeof *mel * 5 * AVS_MEL_EXAMPLE);
    const int32_t order[5] = {4, 3, 2, 1, 0};
    assert_ok(avs_clip_load(ds, 0, &(avs_pick){.n = 5, .frames = order}, &(avs_clip_out){.logmel = mel}, &e),
              e);
    assert_memory_equal(mel, mel + 2 * AVS_MEL_EXAMPLE, sizeof *mel * AVS_MEL_EXAMPLE);
    assert_memory_not_equal(mel, mel + 4 * AVS_MEL_EXAMPLE, sizeof *mel * AVS_MEL_EXAMPLE);
    free(mel);
    avs_dataset_close(ds);
    scratch_close(&s);
}

static void ms3_frames_are_normalised_channels_last_and_flipped_together(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    scratch_open(&s);
    put_ms3(&s, 2, SIDE);
    avs_dataset *ds = open_split(s.dir, AVS_TASK_MS3, AVS_SPLIT_VAL, SIDE);
    assert_int_equal(avs_dataset_count(ds), 2);
    assert_string_equal(avs_dataset_clip(ds, 1)->name, "clip4");
    const int32_t pick[2] = {3, 1};
    float *frames = malloc(sizeof *frames * 2 * PX * 3);
    int32_t *classes = malloc(sizeof *classes * 2 * PX);
    uint8_t *labels = malloc(2 * PX);
    const avs_clip_out out = {.frames = frames, .classes = classes, .labels_u8 = labels};
    assert_ok(avs_clip_load(ds, 1, &(avs_pick){.n = 2, .frames = pick, .flip = true}, &out, &e), e);
    avs_image im = test_picture(SIDE, SIDE, 3, 5 * 4 + 4), mask = test_mask(SIDE, SIDE, 4 + 4, 1);
    const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            const int at = y * SIDE + x, from = y * SIDE + SIDE - 1 - x;
            for (int c = 0; c < 3; c++)
                assert_true(fabsf(frames[3 * at + c] -
                                  ((float)im.px[3 * from + c] / 255 - mean[c]) / std[c]) < 1e-6f);
            assert_int_equal(classes[at], mask.px[from]);
            assert_int_equal(labels[at], mask.px[from]);
        }
    avs_image_free(&im);
    avs_image_free(&mask);
    free(frames);
    free(classes);
    free(labels);
    avs_dataset_close(ds);
    scratch_close(&s);
}

static void preloaded_clips_give_the_same_bytes_as_files(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    scratch_open(&s);
    put_ms3(&s, 3, SIDE);
    avs_dataset *a = open_split(s.dir, AVS_TASK_MS3, AVS_SPLIT_TRAIN, 16),
                *b = open_split(s.dir, AVS_TASK_MS3, AVS_SPLIT_TRAIN, 16);
    const size_t clip = 5 * 16 * 16 * 4 + 5 * sizeof(float) * AVS_MEL_EXAMPLE;
    assert_ok(avs_dataset_preload(b, 2, 2 * clip + 10, &e), e);
    assert_int_equal(avs_dataset_preloaded(b), 2);
    const size_t n_frames = 3 * 16 * 16 * 3, n_mel = 3 * AVS_MEL_EXAMPLE;
    const int32_t pick[3] = {4, 0, 4};
    float *f[2], *m[2], *t[2];
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 2; k++) {
            f[k] = calloc(n_frames, sizeof(float));
            m[k] = calloc(n_mel, sizeof(float));
            t[k] = calloc(3 * 256, sizeof(float));
            const avs_clip_out out = {.frames = f[k], .logmel = m[k], .target = t[k]};
            assert_ok(
                avs_clip_load(k ? b : a, i, &(avs_pick){.n = 3, .frames = pick, .flip = i == 1}, &out, &e),
                e);
        }
        assert_memory_equal(f[0], f[1], n_frames * sizeof(float));
        assert_memory_equal(m[0], m[1], n_mel * sizeof(float));
        assert_memory_equal(t[0], t[1], 3 * 256 * sizeof(float));
        for (int k = 0; k < 2; k++) free(f[k]), free(m[k]), free(t[k]);
    }
    avs_dataset_close(a);
    avs_dataset_close(b);
    scratch_close(&s);
}

static void avss_pads_to_ten_frames_and_crops_in_training(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    scratch_open(&s);
    put_avss(&s);
    for (int split = 0; split < 2; split++) {
        avs_dataset *ds = open_split(s.dir, AVS_TASK_AVSS, (avs_split)split, SIDE);
        assert_int_equal(avs_dataset_count(ds), 3);
        for (int i = 0; i < 3; i++) {
            const int frames = i == 2 ? 10 : 5, labels = i == 0 && split == 0 ? 1 : frames;
            float *f = malloc(sizeof *f * 10 * PX * 3), *mel = malloc(sizeof *mel * 10 * AVS_MEL_EXAMPLE),
                  row[10], video[10];
            int32_t *classes = malloc(sizeof *classes * 10 * PX);
            uint8_t *raw = malloc(10 * PX * 3);
            const avs_clip_out out = {.frames = f,
                                      .frames_u8 = raw,
                                      .logmel = mel,
                                      .classes = classes,
                                      .row_weight = row,
                                      .frame_weight = video};
            assert_ok(avs_clip_load(ds, i, &(avs_pick){.n = 10}, &out, &e), e);
            for (int t = 0; t < 10; t++) {
                avs_image file, want, label = colour_label(60, 40, 17 + i, t), fit;
                uint8_t want_class[PX];
                const avs_fit how = split == 0 ? AVS_FIT_CROP : AVS_FIT_STRETCH;
                assert_true(video[t] == (t < frames ? 1.0f : 0.0f));
                assert_true(row[t] == (t < (i == 0 ? 1 : frames) ? 1.0f : 0.0f));
                assert_ok(avs_fit_image(&fit, &label, SIDE, SIDE, how, true, &e), e);
                avs_label_decode(&fit, AVS_AVSS_CLASSES, want_class);
                for (int p = 0; p < PX; p++)
                    assert_int_equal(classes[t * PX + p], t < labels ? want_class[p] : 0);
                if (t < frames) {
                    assert_ok(avs_image_read(&file, AVS_PX_RGB,
                                             scratch_path(&s, "%s/u%d%d/frames/%d.jpg",
                                                          avs_dataset_clip(ds, i)->group, split, i, t),
                                             &e),
                              e);
                    assert_ok(avs_fit_image(&want, &file, SIDE, SIDE, how, false, &e), e);
                    assert_memory_equal(raw + t * PX * 3, want.px, PX * 3);
                    avs_image_free(&file);
                    avs_image_free(&want);
                } else {
                    for (int p = 0; p < PX * 3; p++) assert_true(f[t * PX * 3 + p] == 0);
                    for (int p = 0; p < AVS_MEL_EXAMPLE; p++) assert_true(mel[t * AVS_MEL_EXAMPLE + p] == 0);
                }
                avs_image_free(&label);
                avs_image_free(&fit);
            }
            assert_true(mel[0] != 0);
            free(f), free(mel), free(classes), free(raw);
        }
        avs_dataset_close(ds);
    }
    scratch_close(&s);
}

static void refuses(const scratch *s, avs_code code, const char *says)
{
    avs_dataset *ds;
    avs_err e = AVS_ERR_INIT;
    const avs_dataset_cfg cfg = {
        .root = s->dir, .task = AVS_TASK_MS3, .split = AVS_SPLIT_TRAIN, .height = 16, .width = 16};
    assert_int_equal(avs_dataset_open(&ds, &cfg, &e), code);
    assert_null(ds);
    if (!strstr(e.msg, says)) fail_msg("expected \"%s\" in: %s", says, e.msg);
}

static void a_missing_file_or_bad_row_is_named_with_file_and_line(void **state)
{
    (void)state;
    scratch s;
    scratch_open(&s);
    refuses(&s, AVS_EMISSING, "expected the file Multi-sources/ms3_meta_data.csv");
    put_ms3(&s, 2, SIDE);
    assert_int_equal(remove(scratch_path(&s, "Multi-sources/ms3_data/audio_wav/train/clip3.wav")), 0);
    refuses(&s, AVS_EMISSING, "ms3_meta_data.csv:5: clip clip3 has no sound");
    assert_int_equal(remove(scratch_path(&s, "Multi-sources/ms3_data/gt_masks/train/clip0/clip0_1.png")), 0);
    refuses(&s, AVS_EMISSING, "ms3_meta_data.csv:2: clip clip0 has no first mask");
    put_text(scratch_path(&s, "Multi-sources/ms3_meta_data.csv"),
             "video,split\nclip0,train\nclip1,training\n");
    refuses(&s, AVS_EPARSE, "ms3_meta_data.csv:3: expected split train, val or test, found \"training\"");
    put_text(scratch_path(&s, "Multi-sources/ms3_meta_data.csv"), "video,split\n../up,train\n");
    refuses(&s, AVS_EPARSE, "ms3_meta_data.csv:2: the name \"../up\" cannot be part of a path");
    put_text(scratch_path(&s, "Multi-sources/ms3_meta_data.csv"), "video,part\nclip0,train\n");
    refuses(&s, AVS_EMISSING, "no column \"split\"");
    put_text(scratch_path(&s, "Multi-sources/ms3_meta_data.csv"), "video,split\nclip1,val\n");
    refuses(&s, AVS_EMISSING, "no clip of the split train");
    scratch_close(&s);
}

static void check_finds_the_damaged_frame_and_counts_odd_masks(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    int64_t odd = -1;
    scratch_open(&s);
    put_ms3(&s, 3, SIDE);
    put_png(scratch_path(&s, "Multi-sources/ms3_data/gt_masks/train/clip3/clip3_2.png"),
            test_mask(SIDE, SIDE, 2, 130));
    avs_dataset *ds = open_split(s.dir, AVS_TASK_MS3, AVS_SPLIT_TRAIN, SIDE);
    assert_ok(avs_dataset_check(ds, 2, &odd, &e), e);
    assert_int_equal(odd, 1);
    avs_buf file = AVS_BUF_INIT;
    scratch_path(&s, "Multi-sources/ms3_data/visual_frames/clip6/clip6.mp4_4.png");
    assert_ok(avs_fs_read(s.path, 0, &file, &e), e);
    put_file(s.path, file.data, file.len / 2);
    assert_int_equal(avs_dataset_check(ds, 2, &odd, &e), AVS_EPARSE);
    assert_non_null(strstr(e.msg, "clip6.mp4_4.png"));
    assert_int_equal(avs_dataset_preload(ds, 2, 0, &e), AVS_EPARSE);
    avs_buf_free(&file);
    avs_dataset_close(ds);
    scratch_close(&s);
}

static void frames_outside_the_clip_are_refused(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    float row[1];
    scratch_open(&s);
    put_ms3(&s, 1, SIDE);
    avs_dataset *ds = open_split(s.dir, AVS_TASK_MS3, AVS_SPLIT_TRAIN, SIDE);
    for (int k = 0; k < 2; k++) {
        const int32_t frame = k ? 5 : -1;
        assert_int_equal(avs_clip_load(ds, 0, &(avs_pick){.n = 1, .frames = &frame},
                                       &(avs_clip_out){.row_weight = row}, &e),
                         AVS_ERANGE);
    }
    assert_int_equal(avs_clip_load(ds, 1, &(avs_pick){.n = 1}, &(avs_clip_out){.row_weight = row}, &e),
                     AVS_ERANGE);
    uint8_t objects[PX];
    assert_int_equal(avs_clip_load(ds, 0, &(avs_pick){.n = 1}, &(avs_clip_out){.objects = objects}, &e),
                     AVS_EMISSING);
    avs_dataset_close(ds);
    scratch_close(&s);
}

static void every_failing_allocation_is_an_error_without_leaks(void **state)
{
    (void)state;
    scratch s;
    avs_err e = AVS_ERR_INIT;
    scratch_open(&s);
    put_ms3(&s, 1, 16);
    const avs_dataset_cfg cfg = {
        .root = s.dir, .task = AVS_TASK_MS3, .split = AVS_SPLIT_TRAIN, .height = 12, .width = 12};
    float *f = malloc(sizeof *f * 12 * 12 * 3), *mel = malloc(sizeof *mel * AVS_MEL_EXAMPLE),
          *t = malloc(sizeof *t * 144);
    int rc = AVS_ENOMEM, n = 1;
    for (; n < 400 && rc != AVS_OK; n++) {
        avs_dataset *ds = NULL;
        avs_alloc_fail_after(n);
        rc = avs_dataset_open(&ds, &cfg, &e);
        if (rc == AVS_OK)
            rc = avs_clip_load(ds, 0, &(avs_pick){.n = 1},
                               &(avs_clip_out){.frames = f, .logmel = mel, .target = t}, &e);
        avs_alloc_fail_after(0);
        avs_dataset_close(ds);
    }
    assert_int_equal(rc, AVS_OK);
    if (n <= 10) fail_msg("only %d allocations were made to fail", n);
    free(f), free(mel), free(t);
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s4_training_has_one_labelled_frame_and_five_pictures),
        cmocka_unit_test(short_s4_sound_repeats_its_last_example),
        cmocka_unit_test(ms3_frames_are_normalised_channels_last_and_flipped_together),
        cmocka_unit_test(preloaded_clips_give_the_same_bytes_as_files),
        cmocka_unit_test(avss_pads_to_ten_frames_and_crops_in_training),
        cmocka_unit_test(a_missing_file_or_bad_row_is_named_with_file_and_line),
        cmocka_unit_test(check_finds_the_damaged_frame_and_counts_odd_masks),
        cmocka_unit_test(frames_outside_the_clip_are_refused),
        cmocka_unit_test(every_failing_allocation_is_an_error_without_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
