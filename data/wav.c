/* WAV parser and writer; other containers through libsndfile, which is loaded when the first of them is met (it brings
 * eight codecs along). The parser walks the chunks with every length checked
 * against the bytes at hand. */
#include "data/wav.h"

#include "base/arena.h"
#include "base/fs.h"

#include <dlfcn.h>
#include <sndfile.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void avs_sound_free(avs_sound *s)
{
    free(s->x);
    *s = (avs_sound){0};
}

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static uint32_t le16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

typedef struct {
    uint32_t format, channels, rate, align, bits;
    bool found;
} wav_format;

enum { FORMAT_PCM = 1, FORMAT_FLOAT = 3, FORMAT_EXTENSIBLE = 0xFFFE };

static int parse_format(wav_format *f, const char *what, const uint8_t *p, size_t n, avs_err *e)
{
    if (n < 16)
        return avs_fail(e, AVS_EPARSE, "%s: the fmt chunk has %zu bytes, at least 16 are needed", what, n);
    *f = (wav_format){le16(p), le16(p + 2), le32(p + 4), le16(p + 12), le16(p + 14), true};
    if (f->format == FORMAT_EXTENSIBLE) {
        if (n < 40)
            return avs_fail(e, AVS_EPARSE, "%s: the extensible fmt chunk has %zu bytes, not 40", what, n);
        f->format = le16(p + 24);
    }
    const bool pcm =
        f->format == FORMAT_PCM && (f->bits == 8 || f->bits == 16 || f->bits == 24 || f->bits == 32);
    const bool flt = f->format == FORMAT_FLOAT && f->bits == 32;
    if (!pcm && !flt)
        return avs_fail(e, AVS_EPARSE,
                        "%s: sample format %u with %u bits is not supported (PCM 8, 16, 24, 32; float 32)",
                        what, f->format, f->bits);
    if (f->channels < 1 || f->channels > 64 || f->rate < 1 || f->rate > 768000)
        return avs_fail(e, AVS_EPARSE, "%s: %u channels at %u Hz; expected 1..64 channels and 1..768000 Hz",
                        what, f->channels, f->rate);
    if (f->align != f->channels * (f->bits / 8))
        return avs_fail(e, AVS_EPARSE,
                        "%s: the fmt chunk says %u bytes per frame, %u channels of %u bits need %u", what,
                        f->align, f->channels, f->bits, f->channels * (f->bits / 8));
    return AVS_OK;
}

static double sample_of(const uint8_t *p, const wav_format *f)
{
    switch (f->bits) {
    case 8:
        return (p[0] - 128) / 128.0;
    case 16:
        return (int16_t)le16(p) / 32768.0;
    case 24:
        return (int32_t)((uint32_t)p[0] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 24) / 2147483648.0;
    default:
        break;
    }
    const uint32_t u = le32(p);
    if (f->format == FORMAT_PCM) return (int32_t)u / 2147483648.0;
    float v;
    memcpy(&v, &u, 4);
    return v == v && v - v == 0 ? (double)v : 0.0; /* NaN and infinity become silence */
}

static int decode_data(avs_sound *out, const wav_format *f, const char *what, const uint8_t *p, size_t n,
                       avs_err *e)
{
    if (n % f->align != 0)
        return avs_fail(e, AVS_EPARSE,
                        "%s: the data chunk has %zu bytes, not a multiple of the %u bytes of a frame", what,
                        n, f->align);
    const int64_t frames = (int64_t)(n / f->align);
    if (frames * f->channels > AVS_SOUND_MAX_SAMPLES)
        return avs_fail(e, AVS_ERANGE, "%s: %lld frames of %u channels are more than %d samples", what,
                        (long long)frames, f->channels, AVS_SOUND_MAX_SAMPLES);
    double *x = avs_xrealloc(NULL, sizeof(double) * (size_t)(frames ? frames : 1));
    if (!x) return avs_fail(e, AVS_ENOMEM, "%s: no memory for %lld samples", what, (long long)frames);
    for (int64_t i = 0; i < frames; i++) {
        double sum = 0;
        for (uint32_t c = 0; c < f->channels; c++)
            sum += sample_of(p + i * f->align + (size_t)c * (f->bits / 8), f);
        x[i] = f->channels == 1 ? sum : sum / f->channels;
    }
    *out = (avs_sound){.x = x, .n = frames, .rate = (int32_t)f->rate, .channels = (int32_t)f->channels};
    return AVS_OK;
}

int avs_wav_decode(avs_sound *out, const char *what, const void *data, size_t n, avs_err *e)
{
    const uint8_t *p = data;
    wav_format f = {0};
    *out = (avs_sound){0};
    if (n < 12 || memcmp(p, "RIFF", 4) != 0 || memcmp(p + 8, "WAVE", 4) != 0)
        return avs_fail(e, AVS_EPARSE, "%s: expected a WAV file (RIFF .. WAVE), found %zu other bytes", what,
                        n);
    for (size_t at = 12; at < n;) {
        if (n - at < 8)
            return avs_fail(e, AVS_EPARSE, "%s: a chunk header at byte %zu is cut off after %zu bytes", what,
                            at, n - at);
        const uint8_t *chunk = p + at;
        const size_t size = le32(chunk + 4), left = n - at - 8;
        const bool is_data = memcmp(chunk, "data", 4) == 0;
        if (size > left)
            return avs_fail(e, AVS_EPARSE, "%s: the %.4s chunk promises %zu bytes, the file holds %zu", what,
                            is_data                         ? "data"
                            : memcmp(chunk, "fmt ", 4) == 0 ? "fmt "
                                                            : "next",
                            size, left);
        if (memcmp(chunk, "fmt ", 4) == 0) {
            int rc = parse_format(&f, what, chunk + 8, size, e);
            if (rc != AVS_OK) return rc;
        }
        if (is_data) {
            if (!f.found)
                return avs_fail(e, AVS_EPARSE, "%s: the data chunk comes before any fmt chunk", what);
            return decode_data(out, &f, what, chunk + 8, size, e);
        }
        at += 8 + size + (size & 1);
    }
    return avs_fail(e, AVS_EPARSE, "%s: a WAV file without a data chunk", what);
}

/* The calls of libsndfile that are used here. */
typedef struct {
    __typeof__(&sf_open) open;
    __typeof__(&sf_close) close;
    __typeof__(&sf_error) error;
    __typeof__(&sf_strerror) strerror;
    __typeof__(&sf_readf_double) readf_double;
} sound_library;

static int load_library(sound_library *l, avs_err *e)
{
    static const char file[] = "libsndfile.so.1";
    static const char *const names[] = {"sf_open", "sf_close", "sf_error", "sf_strerror", "sf_readf_double"};
    void *lib = dlopen(file, RTLD_NOW | RTLD_LOCAL), *call;
    const char *why = lib ? NULL : dlerror();
    if (!lib)
        return avs_fail(e, AVS_EMISSING, "sound files other than WAV need %s: %s", file,
                        why ? why : "the loader gives no reason");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!(call = dlsym(lib, names[i])))
            return avs_fail(e, AVS_EMISSING, "%s has no %s: another version is installed", file, names[i]);
        memcpy((char *)l + i * sizeof call, &call, sizeof call);
    }
    return AVS_OK;
}
_Static_assert(sizeof(sound_library) == 5 * sizeof(void *), "the order of the names above");

/* Reads to the end whatever the header says about the length: Ogg files may not know it. */
static int read_library(avs_sound *out, const char *path, avs_err *e)
{
    enum { BLOCK = 4096 };
    SF_INFO info = {0};
    sound_library lib;
    int rc = load_library(&lib, e);
    if (rc != AVS_OK) return avs_ctx(e, "%s", path);
    SNDFILE *f = lib.open(path, SFM_READ, &info);
    if (!f)
        return avs_fail(e, AVS_EPARSE, "%s: expected a sound file, libsndfile says: %s", path,
                        lib.strerror(NULL));
    double *block = NULL, *x = NULL;
    int64_t n = 0, cap = 0;
    if (info.channels < 1 || info.channels > 64 || info.samplerate < 1 || info.samplerate > 768000) {
        rc = avs_fail(e, AVS_EPARSE, "%s: %d channels at %d Hz; expected 1..64 channels and 1..768000 Hz",
                      path, info.channels, info.samplerate);
        goto out;
    }
    block = avs_xrealloc(NULL, sizeof(double) * BLOCK * (size_t)info.channels);
    for (;;) {
        const sf_count_t got = block ? lib.readf_double(f, block, BLOCK) : 0;
        if (got <= 0) break;
        if ((n + got) * info.channels > AVS_SOUND_MAX_SAMPLES) {
            rc = avs_fail(e, AVS_ERANGE, "%s: more than %d samples", path, AVS_SOUND_MAX_SAMPLES);
            goto out;
        }
        if (n + got > cap) {
            cap = 2 * cap + BLOCK;
            double *grown = avs_xrealloc(x, sizeof(double) * (size_t)cap);
            if (!grown) {
                rc = avs_fail(e, AVS_ENOMEM, "%s: no memory for %lld samples", path, (long long)cap);
                goto out;
            }
            x = grown;
        }
        for (sf_count_t i = 0; i < got; i++) {
            double sum = 0;
            for (int c = 0; c < info.channels; c++) sum += block[i * info.channels + c];
            x[n + i] = sum / info.channels;
        }
        n += got;
    }
    if (!block)
        rc = avs_fail(e, AVS_ENOMEM, "%s: no memory to read", path);
    else if (lib.error(f) != SF_ERR_NO_ERROR)
        rc = avs_fail(e, AVS_EPARSE, "%s: libsndfile: %s", path, lib.strerror(f));
    else if (n == 0)
        rc = avs_fail(e, AVS_EPARSE, "%s: the file holds no samples", path);
out:
    free(block);
    if (rc == AVS_OK)
        *out = (avs_sound){.x = x, .n = n, .rate = info.samplerate, .channels = info.channels};
    else
        free(x);
    lib.close(f);
    return rc;
}

int avs_sound_read(avs_sound *out, const char *path, avs_err *e)
{
    avs_buf file = AVS_BUF_INIT;
    *out = (avs_sound){0};
    int rc = avs_fs_read(path, (size_t)1 << 30, &file, e);
    if (rc == AVS_OK) {
        const bool other =
            file.len >= 4 && (memcmp(file.data, "OggS", 4) == 0 || memcmp(file.data, "fLaC", 4) == 0);
        rc = other ? read_library(out, path, e) : avs_wav_decode(out, path, file.data, file.len, e);
    }
    avs_buf_free(&file);
    return rc;
}

void avs_wav_encode(avs_buf *out, const int16_t *x, int64_t n, int32_t rate)
{
    const uint32_t bytes = (uint32_t)(2 * n);
    avs_buf_put(out, "RIFF", 4);
    avs_buf_u32(out, 36 + bytes);
    avs_buf_put(out, "WAVEfmt ", 8);
    avs_buf_u32(out, 16);
    avs_buf_u16(out, FORMAT_PCM);
    avs_buf_u16(out, 1);
    avs_buf_u32(out, (uint32_t)rate);
    avs_buf_u32(out, (uint32_t)rate * 2);
    avs_buf_u16(out, 2);
    avs_buf_u16(out, 16);
    avs_buf_put(out, "data", 4);
    avs_buf_u32(out, bytes);
    for (int64_t i = 0; i < n; i++) avs_buf_u16(out, (uint16_t)x[i]);
}
