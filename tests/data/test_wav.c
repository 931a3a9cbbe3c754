/* Sound files: what the parser accepts, what it refuses and says, and the library path for other containers. */
#include "scratch.h"

#include <sndfile.h>

static void le(uint8_t *p, uint32_t v, int n)
{
    for (int i = 0; i < n; i++) p[i] = (uint8_t)(v >> (8 * i));
}

/* Header of 44 bytes and the data. */
static size_t wav_of(uint8_t *out, int format, int channels, int bits, int rate, const void *data, size_t n)
{
    memcpy(out, "RIFF....WAVEfmt ", 16);
    le(out + 4, (uint32_t)(36 + n), 4);
    le(out + 16, 16, 4);
    le(out + 20, (uint32_t)format, 2);
    le(out + 22, (uint32_t)channels, 2);
    le(out + 24, (uint32_t)rate, 4);
    le(out + 28, (uint32_t)(rate * channels * bits / 8), 4);
    le(out + 32, (uint32_t)(channels * bits / 8), 2);
    le(out + 34, (uint32_t)bits, 2);
    memcpy(out + 36, "data", 4);
    le(out + 40, (uint32_t)n, 4);
    memcpy(out + 44, data, n);
    return 44 + n;
}

static void stereo_sixteen_bits_are_averaged_in_double(void **state)
{
    (void)state;
    const int16_t x[6] = {100, -300, 32767, 32767, -32768, 0};
    uint8_t b[128];
    avs_sound s;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_wav_decode(&s, "w", b, wav_of(b, 1, 2, 16, 44100, x, sizeof x), &e), e);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.rate, 44100);
    assert_int_equal(s.channels, 2);
    assert_true(s.x[0] == -100 / 32768.0);
    assert_true(s.x[1] == 32767 / 32768.0);
    assert_true(s.x[2] == -0.5);
    avs_sound_free(&s);
}

static void every_sample_format_gives_the_same_half(void **state)
{
    (void)state;
    const uint8_t u8[1] = {192}, s24[3] = {0, 0, 0x40}, s32[4] = {0, 0, 0, 0x40};
    const float f = 0.5f;
    const struct {
        int format, bits;
        const void *data;
    } kinds[] = {{1, 8, u8}, {1, 24, s24}, {1, 32, s32}, {3, 32, &f}};
    for (int i = 0; i < 4; i++) {
        uint8_t b[64];
        avs_sound s;
        avs_err e = AVS_ERR_INIT;
        const size_t n =
            wav_of(b, kinds[i].format, 1, kinds[i].bits, 8000, kinds[i].data, (size_t)kinds[i].bits / 8);
        assert_ok(avs_wav_decode(&s, "w", b, n, &e), e);
        assert_true(s.x[0] == 0.5);
        avs_sound_free(&s);
    }
}

static void chunks_before_the_data_are_skipped(void **state)
{
    (void)state;
    const int16_t x[2] = {16384, -16384};
    uint8_t b[128], c[160];
    const size_t n = wav_of(b, 1, 1, 16, 16000, x, sizeof x);
    memcpy(c, b, 36);
    memcpy(c + 36, "LIST\3\0\0\0abc\0", 12); /* odd size: one byte of padding */
    memcpy(c + 48, b + 36, n - 36);
    avs_sound s;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_wav_decode(&s, "w", c, n + 12, &e), e);
    assert_int_equal(s.n, 2);
    assert_true(s.x[0] == 0.5 && s.x[1] == -0.5);
    avs_sound_free(&s);
}

static void a_wav_cut_anywhere_is_an_error_that_names_the_file(void **state)
{
    (void)state;
    int16_t x[40] = {1, 2, 3};
    uint8_t b[128];
    avs_sound s;
    avs_err e = AVS_ERR_INIT;
    const size_t n = wav_of(b, 1, 2, 16, 16000, x, sizeof x);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *copy = malloc(cut ? cut : 1);
        memcpy(copy, b, cut);
        assert_int_equal(avs_wav_decode(&s, "cut.wav", copy, cut, &e), AVS_EPARSE);
        assert_non_null(strstr(e.msg, "cut.wav"));
        assert_null(s.x);
        free(copy);
    }
    assert_int_equal(avs_wav_decode(&s, "cut.wav", b, n - 1, &e), AVS_EPARSE);
    assert_non_null(strstr(e.msg, "promises 80 bytes, the file holds 79"));
}

static void a_wrong_header_says_what_is_wrong(void **state)
{
    (void)state;
    const int16_t x[2] = {1, 2};
    const struct {
        int at, n;
        uint32_t value;
        const char *says;
    } cases[] = {
        {0, 4, 0x20202020, "RIFF"},
        {8, 4, 0x20202020, "WAVE"},
        {20, 2, 2, "format 2"},
        {34, 2, 12, "12 bits"},
        {22, 2, 0, "0 channels"},
        {24, 4, 0, "0 Hz"},
        {32, 2, 4, "per frame"},
        {16, 4, 15, "15 bytes"},
        {12, 4, 0x20202020, "before any fmt"},
        {36, 4, 0x20202020, "without a data"},
        {40, 4, 3, "multiple of"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t b[64];
        avs_sound s;
        avs_err e = AVS_ERR_INIT;
        const size_t n = wav_of(b, 1, 1, 16, 16000, x, sizeof x);
        le(b + cases[i].at, cases[i].value, cases[i].n);
        assert_int_equal(avs_wav_decode(&s, "h.wav", b, n, &e), AVS_EPARSE);
        if (!strstr(e.msg, cases[i].says)) fail_msg("case %zu says: %s", i, e.msg);
    }
}

static void flipped_bytes_never_crash_the_parser(void **state)
{
    (void)state;
    int16_t x[50];
    uint8_t b[160];
    avs_rng r = avs_rng_seed(5);
    int refused = 0;
    for (int i = 0; i < 50; i++) x[i] = (int16_t)(i * 300);
    for (int trial = 0; trial < 4000; trial++) {
        const size_t n = wav_of(b, 1, 1 + trial % 2, 16, 16000, x, sizeof x);
        for (int k = 0; k < 1 + trial % 3; k++) b[avs_rng_range(&r, 0, 43)] = (uint8_t)avs_rng_u64(&r);
        avs_sound s;
        refused += avs_wav_decode(&s, "w", b, n, NULL) != AVS_OK;
        for (int64_t i = 0; i < s.n; i++) assert_true(s.x[i] - s.x[i] == 0);
        avs_sound_free(&s);
    }
    assert_true(refused > 1000);
}

static void written_samples_read_back_and_libsndfile_agrees(void **state)
{
    (void)state;
    scratch s;
    scratch_open(&s);
    put_tone(scratch_path(&s, "a.wav"), 440, 0.5, 22050);
    avs_sound mine;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_sound_read(&mine, s.path, &e), e);
    SF_INFO info = {0};
    SNDFILE *f = sf_open(s.path, SFM_READ, &info);
    assert_non_null(f);
    assert_int_equal(info.frames, mine.n);
    double *x = malloc(sizeof *x * (size_t)mine.n);
    assert_int_equal(sf_readf_double(f, x, mine.n), mine.n);
    for (int64_t i = 0; i < mine.n; i++) assert_true(x[i] == mine.x[i]);
    sf_close(f);
    free(x);
    avs_sound_free(&mine);
    scratch_close(&s);
}

static void flac_goes_through_libsndfile_and_a_broken_ogg_is_refused(void **state)
{
    (void)state;
    scratch s;
    scratch_open(&s);
    SF_INFO info = {.samplerate = 11025, .channels = 2, .format = SF_FORMAT_FLAC | SF_FORMAT_PCM_16};
    SNDFILE *f = sf_open(scratch_path(&s, "a.flac"), SFM_WRITE, &info);
    assert_non_null(f);
    short x[10000];
    for (int i = 0; i < 10000; i++) x[i] = (short)(i % 2 ? 16384 : 0);
    assert_int_equal(sf_writef_short(f, x, 5000), 5000);
    sf_close(f);
    avs_sound got;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_sound_read(&got, s.path, &e), e);
    assert_int_equal(got.n, 5000);
    assert_int_equal(got.rate, 11025);
    assert_true(got.x[77] == 0.25);
    avs_sound_free(&got);
    put_text(scratch_path(&s, "b.ogg"), "OggS and nothing more");
    assert_int_equal(avs_sound_read(&got, s.path, &e), AVS_EPARSE);
    assert_non_null(strstr(e.msg, "b.ogg"));
    assert_int_equal(avs_sound_read(&got, scratch_path(&s, "none.wav"), &e), AVS_EMISSING);
    scratch_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stereo_sixteen_bits_are_averaged_in_double),
        cmocka_unit_test(every_sample_format_gives_the_same_half),
        cmocka_unit_test(chunks_before_the_data_are_skipped),
        cmocka_unit_test(a_wav_cut_anywhere_is_an_error_that_names_the_file),
        cmocka_unit_test(a_wrong_header_says_what_is_wrong),
        cmocka_unit_test(flipped_bytes_never_crash_the_parser),
        cmocka_unit_test(written_samples_read_back_and_libsndfile_agrees),
        cmocka_unit_test(flac_goes_through_libsndfile_and_a_broken_ogg_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
