/* PNG and JPEG: what is written is read back, what is damaged is refused at every length, whatever the bytes are. */
#include "scratch.h"

#include <png.h>

#include "base/arena.h"

static void png_of_every_channel_count_reads_back_exactly(void **state)
{
    (void)state;
    for (int channels = 1; channels <= 4; channels++) {
        if (channels == 2) continue;
        const avs_px px = channels == 1 ? AVS_PX_GREY : channels == 3 ? AVS_PX_RGB : AVS_PX_RGBA;
        avs_image im = test_picture(37, 19, channels, channels), back;
        avs_buf b = AVS_BUF_INIT, again = AVS_BUF_INIT;
        avs_err e = AVS_ERR_INIT;
        assert_ok(avs_png_encode(&b, &im, 6, &e), e);
        assert_ok(avs_png_encode(&again, &im, 6, &e), e);
        assert_int_equal(b.len, again.len);
        assert_memory_equal(b.data, again.data, b.len);
        assert_ok(avs_png_decode(&back, px, "x.png", b.data, b.len, &e), e);
        assert_int_equal(back.w, 37);
        assert_int_equal(back.h, 19);
        assert_int_equal(back.channels, channels);
        assert_memory_equal(back.px, im.px, (size_t)(37 * 19 * channels));
        avs_buf_free(&b);
        avs_buf_free(&again);
        avs_image_free(&im);
        avs_image_free(&back);
    }
}

/* A PNG of any colour type and depth through libpng itself: 5 x 3, rows of zeros except the bytes given. */
static void raw_png(avs_buf *out, int colour, int depth, const uint8_t *rows, size_t stride, bool interlaced)
{
    char *mem = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&mem, &n);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_init_io(png, f);
    png_set_IHDR(png, info, 5, 3, depth, colour, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_color palette[4] = {{0, 0, 0}, {255, 0, 0}, {0, 255, 0}, {10, 20, 30}};
    png_byte alpha[2] = {255, 40};
    if (colour == PNG_COLOR_TYPE_PALETTE) {
        png_set_PLTE(png, info, palette, 4);
        png_set_tRNS(png, info, alpha, 2, NULL);
    }
    png_write_info(png, info);
    png_bytep ptr[3];
    uint8_t copy[3][64];
    for (int y = 0; y < 3; y++) {
        memcpy(copy[y], rows + (size_t)y * stride, stride);
        ptr[y] = copy[y];
    }
    png_write_image(png, ptr);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    fclose(f);
    avs_buf_put(out, mem, n);
    free(mem);
}

static void palette_png_gives_index_colour_alpha_or_luma(void **state)
{
    (void)state;
    /* 2 bits per pixel: 0 1 2 3 | 1 */
    const uint8_t rows[6] = {0x1B, 0x40, 0x1B, 0x40, 0x1B, 0x40};
    avs_buf b = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    avs_image im;
    raw_png(&b, PNG_COLOR_TYPE_PALETTE, 2, rows, 2, false);
    assert_ok(avs_png_decode(&im, AVS_PX_INDEX, "p", b.data, b.len, &e), e);
    assert_int_equal(im.channels, 1);
    assert_memory_equal(im.px, ((uint8_t[]){0, 1, 2, 3, 1}), 5);
    avs_image_free(&im);
    assert_ok(avs_png_decode(&im, AVS_PX_RGB, "p", b.data, b.len, &e), e);
    assert_memory_equal(im.px, ((uint8_t[]){0, 0, 0, 255, 0, 0, 0, 255, 0, 10, 20, 30}), 12);
    avs_image_free(&im);
    assert_ok(avs_png_decode(&im, AVS_PX_RGBA, "p", b.data, b.len, &e), e);
    assert_memory_equal(im.px, ((uint8_t[]){0, 0, 0, 255, 255, 0, 0, 40, 0, 255, 0, 255}), 12);
    avs_image_free(&im);
    assert_ok(avs_png_decode(&im, AVS_PX_GREY, "p", b.data, b.len, &e), e);
    assert_memory_equal(im.px, ((uint8_t[]){0, 76, 150, 18, 76}), 5);
    avs_image_free(&im);
    avs_buf_free(&b);
}

static void grey_depths_and_alpha_become_eight_bits(void **state)
{
    (void)state;
    const uint8_t one[3] = {0xA8, 0xA8, 0xA8};                              /* 1 bit: 1 0 1 0 1 */
    const uint8_t ga16[60] = {0x80, 0xFF, 0x40, 0x01, 0x12, 0x34, 0, 0x77}; /* 16 bit grey and alpha */
    avs_buf b = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    avs_image im;
    for (int px = AVS_PX_GREY; px <= AVS_PX_INDEX; px++) {
        avs_buf_clear(&b);
        raw_png(&b, PNG_COLOR_TYPE_GRAY, 1, one, 1, true);
        assert_ok(avs_png_decode(&im, (avs_px)px, "g", b.data, b.len, &e), e);
        assert_memory_equal(im.px, ((uint8_t[]){255, 0, 255, 0, 255}), 5);
        avs_image_free(&im);
    }
    avs_buf_clear(&b);
    raw_png(&b, PNG_COLOR_TYPE_GRAY_ALPHA, 16, ga16, 20, false);
    assert_ok(avs_png_decode(&im, AVS_PX_RGBA, "ga", b.data, b.len, &e), e);
    assert_memory_equal(im.px, ((uint8_t[]){0x80, 0x80, 0x80, 0x40, 0x12, 0x12, 0x12, 0}), 8);
    avs_image_free(&im);
    assert_ok(avs_png_decode(&im, AVS_PX_GREY, "ga", b.data, b.len, &e), e);
    assert_memory_equal(im.px, ((uint8_t[]){0x80, 0x12}), 2);
    avs_image_free(&im);
    avs_buf_free(&b);
}

static void a_png_cut_anywhere_is_an_error_that_names_the_file(void **state)
{
    (void)state;
    avs_image im = test_picture(24, 24, 3, 1), out;
    avs_buf b = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_png_encode(&b, &im, 6, &e), e);
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *cut = malloc(n ? n : 1); /* exact size: a read beyond it is seen by the sanitizer */
        memcpy(cut, b.data, n);
        assert_int_equal(avs_png_decode(&out, AVS_PX_RGB, "cut.png", cut, n, &e), AVS_EPARSE);
        assert_non_null(strstr(e.msg, "cut.png"));
        assert_null(out.px);
        free(cut);
    }
    avs_buf_free(&b);
    avs_image_free(&im);
}

static void a_jpeg_cut_anywhere_is_an_error_that_names_the_file(void **state)
{
    (void)state;
    avs_image im = test_picture(40, 24, 3, 1), out;
    avs_buf b = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_jpeg_encode(&b, &im, 90, &e), e);
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, b.data, n);
        assert_int_equal(avs_jpeg_decode(&out, AVS_PX_RGB, 1, "cut.jpg", cut, n, &e), AVS_EPARSE);
        assert_non_null(strstr(e.msg, "cut.jpg"));
        assert_null(out.px);
        free(cut);
    }
    avs_buf_free(&b);
    avs_image_free(&im);
}

static void flipped_bytes_never_crash_a_decoder(void **state)
{
    (void)state;
    avs_image im = test_picture(20, 20, 3, 2), out;
    avs_buf png = AVS_BUF_INIT, jpeg = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    avs_rng r = avs_rng_seed(11);
    int refused = 0;
    assert_ok(avs_png_encode(&png, &im, 6, &e), e);
    assert_ok(avs_jpeg_encode(&jpeg, &im, 90, &e), e);
    for (int trial = 0; trial < 1500; trial++) {
        avs_buf *b = trial % 2 ? &png : &jpeg;
        const size_t at = (size_t)avs_rng_range(&r, 0, (int64_t)b->len - 1);
        const char old = b->data[at];
        b->data[at] = (char)avs_rng_u64(&r);
        int rc = trial % 2
                     ? avs_png_decode(&out, (avs_px)(trial % 4), "x", b->data, b->len, &e)
                     : avs_jpeg_decode(&out, (avs_px)(trial % 4), 1 << (trial % 4), "x", b->data, b->len, &e);
        refused += rc != AVS_OK;
        avs_image_free(&out);
        b->data[at] = old;
    }
    assert_true(refused > 500); /* every changed PNG chunk fails its checksum */
    avs_buf_free(&png);
    avs_buf_free(&jpeg);
    avs_image_free(&im);
}

static void a_png_with_too_many_pixels_is_refused_before_any_memory(void **state)
{
    (void)state;
    /* IHDR of 100000 x 100000 with a right checksum is made by libpng's writer on a small image and patched */
    avs_image im = test_picture(4, 4, 1, 0), out;
    avs_buf b = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_png_encode(&b, &im, 6, &e), e);
    const uint8_t size[8] = {0, 1, 0x86, 0xA0, 0, 1, 0x86, 0xA0};
    memcpy(b.data + 16, size, 8);
    uint32_t crc = 0xFFFFFFFFu;
    for (int i = 12; i < 29; i++) {
        crc ^= (uint8_t)b.data[i];
        for (int k = 0; k < 8; k++) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
    }
    crc = ~crc;
    for (int i = 0; i < 4; i++) b.data[29 + i] = (char)(crc >> (24 - 8 * i));
    assert_int_equal(avs_png_decode(&out, AVS_PX_GREY, "big.png", b.data, b.len, &e), AVS_EPARSE);
    assert_non_null(strstr(e.msg, "pixels"));
    avs_buf_free(&b);
    avs_image_free(&im);
}

/* Small files of the fuzzer's corpus that promise 8000 x 8000 and 65000 x 65000 pixels. */
static void a_picture_too_short_for_its_size_is_refused_unread(void **state)
{
    (void)state;
    static const struct {
        const char *path, *why;
    } k[] = {{"png/huge.png", "too short for its size"},
             {"jpeg/huge.jpg", "8000 x 8000 pixels are more than"},
             {"jpeg/huge-progressive.jpg", "65000 x 65000 pixels are more than"}};
    for (size_t i = 0; i < sizeof k / sizeof k[0]; i++) {
        char path[512];
        avs_image im;
        avs_err e = AVS_ERR_INIT;
        snprintf(path, sizeof path, "%s/tests/fuzz/corpus/%s", AVS_SOURCE_DIR, k[i].path);
        assert_int_equal(avs_image_read(&im, AVS_PX_RGB, path, &e), AVS_EPARSE);
        if (!strstr(e.msg, k[i].why)) fail_msg("%s: %s", k[i].path, e.msg);
    }
}

/* One colour over 4000 x 3000 pixels is the shortest that encoders make for its size. */
static void a_picture_of_one_colour_is_not_too_short(void **state)
{
    (void)state;
    avs_image im, out;
    avs_err e = AVS_ERR_INIT;
    avs_buf png = AVS_BUF_INIT, jpeg = AVS_BUF_INIT;
    assert_ok(avs_image_alloc(&im, 4000, 3000, 1, &e), e);
    assert_ok(avs_png_encode(&png, &im, 9, &e), e);
    assert_ok(avs_jpeg_encode(&jpeg, &im, 1, &e), e);
    assert_ok(avs_png_decode(&out, AVS_PX_GREY, "flat.png", png.data, png.len, &e), e);
    avs_image_free(&out);
    assert_ok(avs_jpeg_decode(&out, AVS_PX_GREY, 8, "flat.jpg", jpeg.data, jpeg.len, &e), e);
    avs_image_free(&out);
    avs_image_free(&im);
    avs_buf_free(&png);
    avs_buf_free(&jpeg);
}

static void jpeg_is_close_and_shrinks_by_rounding_up(void **state)
{
    (void)state;
    avs_image im, back;
    avs_buf b = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_image_alloc(&im, 50, 30, 3, &e), e);
    for (int i = 0; i < 50 * 30; i++)
        im.px[3 * i] = (uint8_t)(i % 50 * 4), im.px[3 * i + 1] = 90, im.px[3 * i + 2] = 30;
    assert_ok(avs_jpeg_encode(&b, &im, 95, &e), e);
    assert_ok(avs_jpeg_decode(&back, AVS_PX_RGB, 1, "x", b.data, b.len, &e), e);
    for (int i = 0; i < 50 * 30 * 3; i++) assert_in_range(back.px[i] - im.px[i] + 100, 90, 110);
    avs_image_free(&back);
    assert_ok(avs_jpeg_decode(&back, AVS_PX_GREY, 4, "x", b.data, b.len, &e), e);
    assert_int_equal(back.w, 13);
    assert_int_equal(back.h, 8);
    assert_int_equal(back.channels, 1);
    avs_image_free(&back);
    avs_image_free(&im);
    avs_buf_free(&b);
}

static void a_failed_allocation_is_an_error_without_leaks(void **state)
{
    (void)state;
    avs_image im = test_picture(30, 30, 3, 3), out;
    avs_buf b = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_png_encode(&b, &im, 6, &e), e);
    int rc = AVS_ENOMEM, n = 1;
    for (; n < 20 && rc != AVS_OK; n++) {
        avs_alloc_fail_after(n);
        rc = avs_png_decode(&out, AVS_PX_GREY, "x", b.data, b.len, &e);
        avs_alloc_fail_after(0);
        avs_image_free(&out);
    }
    assert_int_equal(rc, AVS_OK);
    assert_true(n > 2);
    avs_buf_free(&b);
    avs_image_free(&im);
}

static void resizing_a_constant_picture_keeps_it_constant(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    for (int w = 1; w < 60; w += 7) {
        avs_image im, a, b;
        assert_ok(avs_image_alloc(&im, 23, 17, 3, &e), e);
        memset(im.px, 201, 23 * 17 * 3);
        assert_ok(avs_resize_bilinear(&a, &im, w, 61 - w, &e), e);
        assert_ok(avs_resize_nearest(&b, &im, w, 61 - w, &e), e);
        for (int i = 0; i < w * (61 - w) * 3; i++) {
            assert_int_equal(a.px[i], 201);
            assert_int_equal(b.px[i], 201);
        }
        avs_image_free(&im);
        avs_image_free(&a);
        avs_image_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(png_of_every_channel_count_reads_back_exactly),
        cmocka_unit_test(palette_png_gives_index_colour_alpha_or_luma),
        cmocka_unit_test(grey_depths_and_alpha_become_eight_bits),
        cmocka_unit_test(a_png_cut_anywhere_is_an_error_that_names_the_file),
        cmocka_unit_test(a_jpeg_cut_anywhere_is_an_error_that_names_the_file),
        cmocka_unit_test(flipped_bytes_never_crash_a_decoder),
        cmocka_unit_test(a_png_with_too_many_pixels_is_refused_before_any_memory),
        cmocka_unit_test(a_picture_too_short_for_its_size_is_refused_unread),
        cmocka_unit_test(a_picture_of_one_colour_is_not_too_short),
        cmocka_unit_test(jpeg_is_close_and_shrinks_by_rounding_up),
        cmocka_unit_test(a_failed_allocation_is_an_error_without_leaks),
        cmocka_unit_test(resizing_a_constant_picture_keeps_it_constant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
