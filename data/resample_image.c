/* Pillow's resize in C: coefficients once per axis, then two passes of integer multiply-adds. */
#include "data/resample_image.h"

#include "base/arena.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PRECISION = 22 };

typedef struct {
    int64_t support; /* weights kept per output */
    int32_t *first;  /* [out] first source index */
    int32_t *count;  /* [out] */
    int32_t *weight; /* [out * support] */
} axis;

static void axis_free(axis *a)
{
    free(a->first);
    free(a->count);
    free(a->weight);
}

static int axis_make(axis *a, int64_t in, int64_t out, avs_err *e)
{
    const double scale = (double)in / (double)out, f = scale < 1 ? 1 : scale;
    a->support = (int64_t)ceil(f) * 2 + 1;
    a->first = avs_xrealloc(NULL, sizeof(int32_t) * (size_t)out);
    a->count = avs_xrealloc(NULL, sizeof(int32_t) * (size_t)out);
    a->weight = avs_xrealloc(NULL, sizeof(int32_t) * (size_t)(out * a->support));
    double *w = avs_xrealloc(NULL, sizeof(double) * (size_t)a->support);
    if (!a->first || !a->count || !a->weight || !w) {
        free(w);
        return avs_fail(e, AVS_ENOMEM, "no memory for resize weights %lld -> %lld", (long long)in,
                        (long long)out);
    }
    for (int64_t o = 0; o < out; o++) {
        const double c = ((double)o + 0.5) * scale;
        int64_t lo = (int64_t)(c - f + 0.5), hi = (int64_t)(c + f + 0.5);
        if (lo < 0) lo = 0;
        if (hi > in) hi = in;
        double sum = 0;
        for (int64_t k = lo; k < hi; k++) {
            const double d = fabs(((double)k - c + 0.5) * (1.0 / f));
            w[k - lo] = d < 1 ? 1 - d : 0;
            sum += w[k - lo];
        }
        for (int64_t k = 0; k < hi - lo; k++)
            a->weight[o * a->support + k] =
                (int32_t)((sum != 0 ? w[k] / sum : w[k]) * (1 << PRECISION) + 0.5);
        a->first[o] = (int32_t)lo;
        a->count[o] = (int32_t)(hi - lo);
    }
    free(w);
    return AVS_OK;
}

static inline uint8_t clip8(int32_t v)
{
    v >>= PRECISION;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void pass_horizontal(avs_image *out, const avs_image *in, const axis *a)
{
    const int C = in->channels;
    for (int64_t y = 0; y < in->h; y++) {
        const uint8_t *row = in->px + y * in->w * C;
        uint8_t *to = out->px + y * out->w * C;
        for (int64_t o = 0; o < out->w; o++) {
            const int32_t *w = a->weight + o * a->support;
            const uint8_t *from = row + (int64_t)a->first[o] * C;
            for (int c = 0; c < C; c++) {
                int32_t s = 1 << (PRECISION - 1);
                for (int32_t k = 0; k < a->count[o]; k++) s += w[k] * from[(int64_t)k * C + c];
                *to++ = clip8(s);
            }
        }
    }
}

static void pass_vertical(avs_image *out, const avs_image *in, const axis *a, int32_t *sum)
{
    const int64_t stride = (int64_t)in->w * in->channels;
    for (int64_t o = 0; o < out->h; o++) {
        const int32_t *w = a->weight + o * a->support;
        for (int64_t x = 0; x < stride; x++) sum[x] = 1 << (PRECISION - 1);
        for (int32_t k = 0; k < a->count[o]; k++) {
            const uint8_t *from = in->px + (a->first[o] + k) * stride;
            for (int64_t x = 0; x < stride; x++) sum[x] += w[k] * from[x];
        }
        for (int64_t x = 0; x < stride; x++) out->px[o * stride + x] = clip8(sum[x]);
    }
}

static int copy_image(avs_image *out, const avs_image *in, avs_err *e)
{
    int rc = avs_image_alloc(out, in->w, in->h, in->channels, e);
    if (rc == AVS_OK) memcpy(out->px, in->px, (size_t)((int64_t)in->w * in->h * in->channels));
    return rc;
}

int avs_resize_bilinear(avs_image *out, const avs_image *in, int64_t w, int64_t h, avs_err *e)
{
    avs_image mid = AVS_IMAGE_INIT;
    axis ax = {0}, ay = {0};
    int32_t *sum = NULL;
    int rc;
    *out = AVS_IMAGE_INIT;
    if (w == in->w && h == in->h) return copy_image(out, in, e);
    const avs_image *src = in;
    if (w != in->w) {
        AVS_TRY(avs_image_alloc(&mid, w, in->h, in->channels, e));
        AVS_TRY(axis_make(&ax, in->w, w, e));
        pass_horizontal(&mid, in, &ax);
        src = &mid;
    }
    if (h == in->h) {
        *out = mid;
        mid = AVS_IMAGE_INIT;
        rc = AVS_OK;
        goto out;
    }
    sum = avs_xrealloc(NULL, sizeof(int32_t) * (size_t)(w * in->channels));
    if (!sum) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory to resize a row of %lld pixels", (long long)w);
        goto out;
    }
    AVS_TRY(axis_make(&ay, in->h, h, e));
    AVS_TRY(avs_image_alloc(out, w, h, in->channels, e));
    pass_vertical(out, src, &ay, sum);
out:
    free(sum);
    axis_free(&ax);
    axis_free(&ay);
    avs_image_free(&mid);
    return rc;
}

/* Pillow adds up the step; floor((o + 0.5) * in / out) differs at many pixels. */
static void nearest_index(int32_t *index, int64_t in, int64_t out)
{
    const double s = (double)in / (double)out;
    double v = 0.5 * s;
    for (int64_t o = 0; o < out; o++) {
        int64_t i = (int64_t)v;
        index[o] = (int32_t)(i >= in ? in - 1 : i);
        v += s;
    }
}

int avs_resize_nearest(avs_image *out, const avs_image *in, int64_t w, int64_t h, avs_err *e)
{
    *out = AVS_IMAGE_INIT;
    if (w == in->w && h == in->h) return copy_image(out, in, e);
    int rc = avs_image_alloc(out, w, h, in->channels, e);
    if (rc != AVS_OK) return rc;
    int32_t *ix = avs_xrealloc(NULL, sizeof(int32_t) * (size_t)(w + h));
    if (!ix) {
        avs_image_free(out);
        return avs_fail(e, AVS_ENOMEM, "no memory to resize to %lld x %lld", (long long)w, (long long)h);
    }
    int32_t *iy = ix + w;
    nearest_index(ix, in->w, w);
    nearest_index(iy, in->h, h);
    uint8_t *to = out->px;
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++, to += in->channels)
            memcpy(to, in->px + ((int64_t)iy[y] * in->w + ix[x]) * in->channels, (size_t)in->channels);
    free(ix);
    return AVS_OK;
}

static int resize(avs_image *out, const avs_image *in, int64_t w, int64_t h, bool nearest, avs_err *e)
{
    return nearest ? avs_resize_nearest(out, in, w, h, e) : avs_resize_bilinear(out, in, w, h, e);
}

int avs_fit_image(avs_image *out, const avs_image *in, int64_t w, int64_t h, avs_fit fit, bool nearest,
                  avs_err *e)
{
    *out = AVS_IMAGE_INIT;
    if (fit == AVS_FIT_STRETCH) return resize(out, in, w, h, nearest, e);
    if (w != h)
        return avs_fail(e, AVS_ERANGE,
                        "the centre crop of AVSS training needs a square size, not %lld x %lld", (long long)w,
                        (long long)h);
    int64_t ow = w, oh = h;
    if (in->w > in->h)
        ow = (int64_t)((double)(in->w * w) / (double)in->h);
    else
        oh = (int64_t)((double)(in->h * h) / (double)in->w);
    avs_image big = AVS_IMAGE_INIT;
    int rc = resize(&big, in, ow, oh, nearest, e);
    if (rc == AVS_OK) rc = avs_image_alloc(out, w, h, in->channels, e);
    if (rc == AVS_OK && big.px) {
        const int64_t x1 = (int64_t)nearbyint((double)(ow - w) / 2),
                      y1 = (int64_t)nearbyint((double)(oh - h) / 2);
        const int C = in->channels;
        for (int64_t y = 0; y < h; y++)
            memcpy(out->px + y * w * C, big.px + ((y + y1) * ow + x1) * C, (size_t)(w * C));
    }
    avs_image_free(&big);
    return rc;
}

void avs_palette_colour(int j, uint8_t rgb[3])
{
    int c[3] = {0, 0, 0};
    for (int i = 0, lab = j; lab > 0 && i < 8; i++, lab >>= 3)
        for (int k = 0; k < 3; k++) c[k] |= ((lab >> k) & 1) << (7 - i);
    for (int k = 0; k < 3; k++) rgb[k] = (uint8_t)c[k];
}

void avs_label_decode(const avs_image *rgb, int n_classes, uint8_t *classes)
{
    uint32_t table[256], last = 0;
    uint8_t last_class = 0;
    if (n_classes > 256) n_classes = 256;
    for (int j = 0; j < n_classes; j++) {
        uint8_t c[3];
        avs_palette_colour(j, c);
        table[j] = (uint32_t)c[0] << 16 | (uint32_t)c[1] << 8 | c[2];
    }
    const int64_t n = (int64_t)rgb->w * rgb->h;
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *p = rgb->px + 3 * i;
        const uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        if (v != last) {
            last = v;
            last_class = 0;
            for (int j = 1; j < n_classes; j++)
                if (table[j] == v) {
                    last_class = (uint8_t)j;
                    break;
                }
        }
        classes[i] = last_class;
    }
}

void avs_normalise(const uint8_t *px, int64_t n_pixels, const float mean[3], const float std[3], float *out)
{
    float table[3][256]; /* 768 values instead of two divisions per element; same results */
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) table[c][v] = ((float)v / 255.0f - mean[c]) / std[c];
    for (int64_t i = 0; i < n_pixels; i++)
        for (int c = 0; c < 3; c++) out[3 * i + c] = table[c][px[3 * i + c]];
}
