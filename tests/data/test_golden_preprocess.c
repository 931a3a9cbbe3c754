/* Golden preprocess: the palette, Pillow's resize and the centre crop of AVSS training, 8-bit exact. */
#include "scratch.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/probe.h"
#include "engine/tensor/safetensors.h"

static avs_arena *arena;
static avs_json *root;
static avs_st_file st;

static int open_golden(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    arena = avs_arena_new();
    if (avs_json_file(arena, AVS_SOURCE_DIR "/tests/golden/preprocess.json", &root, &e) != AVS_OK ||
        avs_st_open(&st, AVS_SOURCE_DIR "/tests/golden/preprocess.safetensors", &e) != AVS_OK) {
        print_error("%s\n", e.msg);
        return -1;
    }
    return 0;
}

static int close_golden(void **state)
{
    (void)state;
    avs_st_close(&st);
    avs_arena_free(arena);
    return 0;
}

static void palette_is_the_references(void **state)
{
    (void)state;
    const avs_json *p = avs_json_get(root, "palette");
    assert_int_equal(p->len, AVS_AVSS_CLASSES);
    for (int j = 0; j < AVS_AVSS_CLASSES; j++) {
        uint8_t rgb[3];
        avs_palette_colour(j, rgb);
        for (size_t c = 0; c < 3; c++) assert_int_equal(rgb[c], avs_json_at(avs_json_at(p, (size_t)j), c)->i);
    }
}

static avs_image build_image(const avs_json *in, int h, int w)
{
    const avs_json *blocks = avs_json_get(in, "blocks"), *noise = avs_json_get(in, "noise");
    int32_t *b = malloc(sizeof *b * (size_t)(3 * h * w));
    avs_probe_classes(avs_json_str(blocks, "name", ""), 3, h, w, avs_json_int(blocks, "count", 0),
                      avs_json_int(blocks, "cell", 1), b);
    const uint64_t hash = avs_fnv1a64_str(avs_json_str(noise, "name", ""));
    avs_image im;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_image_alloc(&im, w, h, 3, &e), e);
    for (int64_t i = 0; i < (int64_t)h * w; i++)
        for (int c = 0; c < 3; c++) {
            const int v = (int)floor((avs_probe_unit(hash, 3 * i + c) + 1) * 128);
            im.px[3 * i + c] = (uint8_t)((3 * b[(int64_t)c * h * w + i] + v) / 4);
        }
    free(b);
    return im;
}

static avs_image build_label(const avs_json *in, int h, int w)
{
    int32_t *k = malloc(sizeof *k * (size_t)(h * w));
    avs_probe_classes(avs_json_str(in, "name", ""), 1, h, w, avs_json_int(in, "count", 0),
                      avs_json_int(in, "cell", 1), k);
    avs_image im;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_image_alloc(&im, w, h, 3, &e), e);
    for (int i = 0; i < h * w; i++) avs_palette_colour(k[i], im.px + 3 * i);
    free(k);
    return im;
}

/* The stored tensor as bytes (it may be stored as any number type). */
static void check_bytes(const char *name, const uint8_t *got, int64_t n)
{
    const avs_st_tensor *t = avs_st_find(&st, name);
    assert_non_null(t);
    assert_int_equal(t->count, n);
    float *want = malloc(sizeof *want * (size_t)n);
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_st_f32(t, want, &e), e);
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) wrong += (float)got[i] != want[i];
    if (wrong) fail_msg("%s: %lld of %lld bytes differ", name, (long long)wrong, (long long)n);
    free(want);
}

static void check_normalised(const avs_json *s, const uint8_t *px, int64_t side)
{
    const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};
    const avs_json *samples = avs_json_get(s, "samples");
    float *x = malloc(sizeof *x * (size_t)(side * side * 3));
    double l2 = 0;
    avs_normalise(px, side * side, mean, std, x);
    for (int64_t i = 0; i < side * side * 3; i++) l2 += (double)x[i] * (double)x[i];
    assert_true(fabs(sqrt(l2) - avs_json_num(s, "l2", 0)) < 1e-5 * sqrt(l2));
    for (size_t k = 0; k < samples->len; k++) { /* the reference counts channel, row, column */
        const int64_t at = (int64_t)k * avs_json_int(s, "stride", 1), c = at / (side * side),
                      p = at % (side * side);
        assert_true(fabs((double)x[3 * p + c] - avs_json_at(samples, k)->d) < 1e-6);
    }
    free(x);
}

static void resize_and_crop_are_exact(void **state)
{
    (void)state;
    int n = 0;
    for (const avs_json *c = avs_json_get(root, "cases")->first; c; c = c->next, n++) {
        const int h = (int)avs_json_at(avs_json_get(c, "size"), 0)->i,
                  w = (int)avs_json_at(avs_json_get(c, "size"), 1)->i;
        const int side = (int)avs_json_int(c, "out", 0);
        avs_image im = build_image(avs_json_at(avs_json_get(c, "inputs"), 0), h, w);
        avs_image label = build_label(avs_json_at(avs_json_get(c, "inputs"), 1), h, w);
        uint8_t *classes = malloc((size_t)(side * side));
        for (int crop = 0; crop < 2; crop++) {
            const char *word = crop ? "crop" : "resize";
            const avs_fit fit = crop ? AVS_FIT_CROP : AVS_FIT_STRETCH;
            avs_image a, b;
            avs_err e = AVS_ERR_INIT;
            assert_ok(avs_fit_image(&a, &im, side, side, fit, false, &e), e);
            assert_ok(avs_fit_image(&b, &label, side, side, fit, true, &e), e);
            avs_label_decode(&b, AVS_AVSS_CLASSES, classes);
            check_bytes(avs_arena_fmt(arena, "%s.%s.image", c->key, word), a.px, side * side * 3);
            check_bytes(avs_arena_fmt(arena, "%s.%s.label", c->key, word), classes, side * side);
            check_normalised(avs_json_get(avs_json_get(c, word), "normalised"), a.px, side);
            avs_image_free(&a);
            avs_image_free(&b);
        }
        free(classes);
        avs_image_free(&im);
        avs_image_free(&label);
    }
    assert_int_equal(n, 3);
}

static void a_colour_outside_the_palette_is_background(void **state)
{
    (void)state;
    uint8_t px[9] = {128, 0, 0, 1, 2, 3, 128, 0, 0}, out[3];
    avs_label_decode(&(avs_image){.px = px, .w = 3, .h = 1, .channels = 3}, AVS_AVSS_CLASSES, out);
    assert_int_equal(out[0], 1);
    assert_int_equal(out[1], 0);
    assert_int_equal(out[2], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(palette_is_the_references),
        cmocka_unit_test(resize_and_crop_are_exact),
        cmocka_unit_test(a_colour_outside_the_palette_is_background),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
