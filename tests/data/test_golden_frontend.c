/* Golden mel-frontend: examples, STFT, mel matrix, window and both resamplers against the reference's numbers. */
#include "scratch.h"

#include "base/json.h"
#include "base/hash.h"
#include "base/probe.h"
#include "data/logmel.h"
#include "data/resample_audio.h"
#include "engine/tensor/safetensors.h"

static avs_arena *arena;
static avs_json *root;
static avs_st_file st;

static int open_golden(void **state)
{
    (void)state;
    avs_err e = AVS_ERR_INIT;
    arena = avs_arena_new();
    if (avs_json_file(arena, AVS_SOURCE_DIR "/tests/golden/mel-frontend.json", &root, &e) != AVS_OK ||
        avs_st_open(&st, AVS_SOURCE_DIR "/tests/golden/mel-frontend.safetensors", &e) != AVS_OK) {
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

static const double PI2 = 6.283185307179586;

/* One channel by the formulas under `generators`. */
static void generate(const avs_json *g, double *x, int64_t n, int stride)
{
    const char *make = avs_json_str(g, "make", "");
    const uint64_t h = avs_fnv1a64_str(avs_json_str(g, "name", ""));
    const double sr = avs_json_num(g, "sample_rate", 16000), amp = avs_json_num(g, "amplitude", 0);
    for (int64_t i = 0; i < n; i++) {
        double v = 0;
        const double t = (double)i;
        if (strcmp(make, "noise") == 0)
            v = trunc(amp * avs_probe_unit(h, i));
        else if (strcmp(make, "tone") == 0)
            v = floor(32767 * (0.4 * sin(PI2 * 440 * t / sr) + 0.2 * sin(PI2 * 1234.5 * t / sr) +
                               0.1 * avs_probe_unit(h, i)) +
                      0.5);
        else if (strcmp(make, "fade") == 0)
            v = floor(20000 * exp(-3 * t / (double)n) * sin(PI2 * (200 + 1500 * t / (double)n) * t / sr) +
                      0.5);
        else if (strcmp(make, "constant") != 0)
            fail_msg("unknown generator %s", make);
        x[i * stride] = v;
    }
}

/* The waveform of a case through a 16-bit WAV image and the parser, as a clip is read. */
static avs_sound waveform(const avs_json *c)
{
    const int64_t n = avs_json_int(c, "samples", 0), channels = avs_json_int(c, "channels", 1);
    const avs_json *in = avs_json_at(avs_json_get(c, "inputs"), 0);
    double *x = calloc((size_t)(n * channels), sizeof *x);
    if (strcmp(avs_json_str(in, "make", ""), "columns") == 0)
        for (int64_t k = 0; k < channels; k++)
            generate(avs_json_at(avs_json_get(in, "of"), (size_t)k), x + k, n, (int)channels);
    else
        generate(in, x, n, 1);
    int16_t *s = malloc(sizeof *s * (size_t)(n * channels));
    int64_t sum = 0;
    for (int64_t i = 0; i < n * channels; i++) sum += s[i] = (int16_t)x[i];
    assert_int_equal(sum, avs_json_int(c, "int16_sum", -1));
    avs_buf b = AVS_BUF_INIT;
    const int rate = (int)avs_json_int(c, "sample_rate", 0);
    avs_wav_encode(&b, s, n * channels, rate);
    b.data[22] = (char)channels; /* the writer is mono: patch channels, byte rate and frame size */
    b.data[32] = (char)(2 * channels);
    avs_sound out;
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_wav_decode(&out, "golden", b.data, b.len, &e), e);
    assert_int_equal(out.n, n);
    avs_buf_free(&b);
    free(x);
    free(s);
    return out;
}

static double distance(const double *got, const double *want, int64_t n)
{
    double d = 0, w = 0;
    for (int64_t i = 0; i < n; i++) d += (got[i] - want[i]) * (got[i] - want[i]), w += want[i] * want[i];
    return sqrt(d) / (w > 0 ? sqrt(w) : 1);
}

static void check_summary(const char *what, const avs_json *s, const double *x, int64_t n, double tolerance)
{
    const avs_json *samples = avs_json_get(s, "samples");
    const int64_t stride = avs_json_int(s, "stride", 1);
    double l2 = 0, got[256], want[256];
    for (int64_t i = 0; i < n; i++) l2 += x[i] * x[i];
    const double ref = avs_json_num(s, "l2", -1);
    if (fabs(sqrt(l2) - ref) > tolerance * (ref > 0 ? ref : 1))
        fail_msg("%s: l2 %.12g, want %.12g", what, sqrt(l2), ref);
    int64_t m = 0;
    for (size_t k = 0; k < samples->len && (int64_t)k * stride < n; k++, m++) {
        got[m] = x[(int64_t)k * stride];
        want[m] = avs_json_at(samples, k)->d;
    }
    const double d = distance(got, want, m);
    if (!(d <= tolerance)) fail_msg("%s: samples differ by %g", what, d);
}

static void compare_tensor(const char *name, const double *got, int64_t n, double tolerance)
{
    const avs_st_tensor *t = avs_st_find(&st, name);
    assert_non_null(t);
    assert_int_equal(t->count, n);
    float *f = malloc(sizeof *f * (size_t)n);
    double *want = malloc(sizeof *want * (size_t)n);
    avs_err e = AVS_ERR_INIT;
    assert_ok(avs_st_f32(t, f, &e), e);
    for (int64_t i = 0; i < n; i++) want[i] = (double)f[i];
    const double d = distance(got, want, n);
    print_message("  %-24s %.3g\n", name, d);
    if (!(d <= tolerance)) fail_msg("%s differs by %g", name, d);
    free(f);
    free(want);
}

static void window_and_mel_matrix_are_the_reference_ones(void **state)
{
    (void)state;
    double window[AVS_MEL_WINDOW], *m = malloc(sizeof *m * AVS_MEL_BINS * AVS_MEL_BANDS);
    avs_logmel_window(window);
    avs_logmel_matrix(m);
    compare_tensor("window", window, AVS_MEL_WINDOW, 1e-7);
    compare_tensor("mel_matrix", m, AVS_MEL_BINS * AVS_MEL_BANDS, 1e-7);
    check_summary("mel_matrix", avs_json_get(root, "mel_matrix"), m, AVS_MEL_BINS * AVS_MEL_BANDS, 1e-7);
    int nonzero = 0;
    for (int i = 0; i < AVS_MEL_BINS * AVS_MEL_BANDS; i++) nonzero += m[i] > 0;
    assert_int_equal(nonzero, avs_json_int(avs_json_get(root, "mel_matrix"), "nonzero", 0));
    free(m);
}

static void filter_tables_are_the_shipped_ones(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        const avs_json *f =
            avs_json_get(avs_json_get(root, "filter_tables"), k == AVS_RESAMPY_043 ? "0.4.3" : "0.2.2");
        double *t, sum = 0;
        int64_t n;
        avs_err e = AVS_ERR_INIT;
        assert_ok(avs_resample_table((avs_resampler)k, &t, &n, &e), e);
        assert_int_equal(n, avs_json_int(f, "taps", 0));
        for (int64_t i = 0; i < n; i++) sum += t[i];
        assert_true(fabs(t[0] - avs_json_num(f, "first", 0)) < 1e-14);
        assert_true(fabs(t[1] - avs_json_num(f, "second", 0)) < 1e-14);
        assert_true(fabs(t[avs_json_int(f, "mid_index", 0)] - avs_json_num(f, "mid", 0)) < 1e-14);
        assert_true(fabs(sum - avs_json_num(f, "sum", 0)) < 1e-8);
        free(t);
    }
}

static void resampling_equals_both_versions(void **state)
{
    (void)state;
    static const char *const names[] = {"stereo44k", "mono8k"};
    for (int i = 0; i < 2; i++) {
        const avs_json *c = avs_json_get(avs_json_get(root, "cases"), names[i]);
        avs_sound s = waveform(c);
        avs_err e = AVS_ERR_INIT;
        for (int k = 0; k < 2; k++) {
            const int64_t n = avs_resample_length((avs_resampler)k, s.n, s.rate, 16000);
            assert_int_equal(n, avs_json_int(c, "resampled_samples", 0));
            double *y = malloc(sizeof *y * (size_t)n);
            assert_ok(avs_resample((avs_resampler)k, s.x, s.n, s.rate, 16000, y, &e), e);
            if (k == AVS_RESAMPY_043) {
                compare_tensor(avs_arena_fmt(arena, "%s.resampled", names[i]), y, 4000, 1e-7);
                check_summary("resampled", avs_json_get(c, "resampled"), y, n, 1e-7);
            } else {
                check_summary("resampled_0.2.2", avs_json_get(c, "resampled_0.2.2"), y, n, 1e-7);
            }
            free(y);
        }
        avs_sound_free(&s);
    }
}

static void stft_magnitudes_match(const avs_json *c, const avs_sound *s)
{
    double window[AVS_MEL_WINDOW];
    const int64_t n = avs_resample_length(AVS_RESAMPY_043, s->n, s->rate, 16000);
    const int64_t frames = 1 + (n - AVS_MEL_WINDOW) / AVS_MEL_HOP;
    double *x = malloc(sizeof *x * (size_t)n), *mag = malloc(sizeof *mag * (size_t)(frames * AVS_MEL_BINS));
    avs_err e = AVS_ERR_INIT;
    avs_logmel_window(window);
    assert_ok(avs_resample(AVS_RESAMPY_043, s->x, s->n, s->rate, 16000, x, &e), e);
    for (int64_t f = 0; f < frames; f++) {
        double in[AVS_MEL_FFT] = {0};
        for (int i = 0; i < AVS_MEL_WINDOW; i++) in[i] = x[f * AVS_MEL_HOP + i] * window[i];
        avs_rfft_magnitude(in, mag + f * AVS_MEL_BINS);
    }
    check_summary("stft", avs_json_get(c, "stft"), mag, frames * AVS_MEL_BINS, 1e-7);
    free(x);
    free(mag);
}

static void log_mel_examples_equal_the_reference(void **state)
{
    (void)state;
    int n_cases = 0;
    for (const avs_json *c = avs_json_get(root, "cases")->first; c; c = c->next, n_cases++) {
        avs_sound s = waveform(c);
        avs_err e = AVS_ERR_INIT;
        const int64_t count = avs_json_at(avs_json_get(c, "examples"), 0)->i;
        const int64_t n = count * AVS_MEL_EXAMPLE;
        float *f = malloc(sizeof *f * (size_t)n);
        double *d = malloc(sizeof *d * (size_t)n);
        assert_int_equal(avs_logmel_examples(avs_resample_length(AVS_RESAMPY_043, s.n, s.rate, 16000)),
                         count);
        assert_ok(avs_logmel_clip(&s, count, AVS_MEL_REPEAT, f, &e), e);
        for (int64_t i = 0; i < n; i++) d[i] = (double)f[i];
        compare_tensor(avs_arena_fmt(arena, "%s.examples", c->key), d, n, 1e-7);
        check_summary(c->key, avs_json_get(c, "summary"), d, n, 1e-6);
        stft_magnitudes_match(c, &s);
        free(f);
        free(d);
        avs_sound_free(&s);
    }
    assert_int_equal(n_cases, 6);
}

static void short_sound_is_padded_by_the_rule_of_its_reader(void **state)
{
    (void)state;
    const avs_json *c = avs_json_get(avs_json_get(root, "cases"), "short3100ms");
    avs_sound s = waveform(c);
    avs_err e = AVS_ERR_INIT;
    float *f = malloc(sizeof *f * 10 * AVS_MEL_EXAMPLE);
    double *d = malloc(sizeof *d * 10 * AVS_MEL_EXAMPLE);
    assert_ok(avs_logmel_clip(&s, 5, AVS_MEL_REPEAT, f, &e), e);
    for (int i = 0; i < 5 * AVS_MEL_EXAMPLE; i++) d[i] = (double)f[i];
    check_summary("padded_repeat_last", avs_json_get(c, "padded_repeat_last"), d, 5 * AVS_MEL_EXAMPLE, 1e-6);
    assert_ok(avs_logmel_clip(&s, 10, AVS_MEL_ZEROS, f, &e), e);
    for (int i = 0; i < 10 * AVS_MEL_EXAMPLE; i++) d[i] = (double)f[i];
    check_summary("padded_zero_10", avs_json_get(c, "padded_zero_10"), d, 10 * AVS_MEL_EXAMPLE, 1e-6);
    s.n = 15599; /* one sample short of an example */
    assert_int_equal(avs_logmel_clip(&s, 5, AVS_MEL_REPEAT, f, &e), AVS_ERANGE);
    assert_ok(avs_logmel_clip(&s, 2, AVS_MEL_ZEROS, f, &e), e);
    for (int i = 0; i < 2 * AVS_MEL_EXAMPLE; i++) assert_true(f[i] == 0.0f);
    free(f);
    free(d);
    avs_sound_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_and_mel_matrix_are_the_reference_ones),
        cmocka_unit_test(filter_tables_are_the_shipped_ones),
        cmocka_unit_test(resampling_equals_both_versions),
        cmocka_unit_test(log_mel_examples_equal_the_reference),
        cmocka_unit_test(short_sound_is_padded_by_the_rule_of_its_reader),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
