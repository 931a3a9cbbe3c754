/* The picture of a composed clip: a still background, objects that move across it, who owns which pixel. */
#include "data/composer.h"

#include "data/resample_image.h"

#include <math.h>
#include <string.h>

/* Weights of one axis for one output, over source pixels first .. first + count - 1. */
typedef struct {
    int first, count;
} span;

static void axis_spans(span *s, float *weight, int support, int in, int out)
{
    const double scale = (double)in / out;
    for (int o = 0; o < out; o++) {
        double sum = 0;
        int lo, hi;
        float *w = weight + (int64_t)o * support;
        if (scale > 2) { /* area average: the share of each source pixel that lies in the output pixel */
            const double a = o * scale, b = (o + 1) * scale;
            lo = (int)a;
            hi = (int)ceil(b);
            if (hi > in) hi = in;
            for (int k = lo; k < hi; k++) w[k - lo] = (float)(fmin(b, k + 1.0) - fmax(a, k));
        } else {
            const double f = scale < 1 ? 1 : scale, c = (o + 0.5) * scale;
            lo = (int)fmax(0, c - f + 0.5);
            hi = (int)fmin(in, c + f + 0.5);
            for (int k = lo; k < hi; k++) w[k - lo] = (float)fmax(0, 1 - fabs((k + 0.5 - c) / f));
        }
        for (int k = 0; k < hi - lo; k++) sum += (double)w[k];
        for (int k = 0; k < hi - lo; k++) w[k] = (float)((double)w[k] / sum);
        s[o] = (span){lo, hi - lo};
    }
}

int avs_sprite_resize(float **out, avs_arena *a, const avs_image *im, int w, int h, bool mirror, double gain,
                      avs_err *e)
{
    const int sx = (int)ceil((double)im->w / w) * 2 + 3, sy = (int)ceil((double)im->h / h) * 2 + 3;
    span *ax = AVS_NEW_N(a, span, w), *ay = AVS_NEW_N(a, span, h);
    float *wx = AVS_NEW_N(a, float, (int64_t)w *sx), *wy = AVS_NEW_N(a, float, (int64_t)h *sy);
    float *mid = AVS_NEW_N(a, float, (int64_t)im->h *w * 4), *to = AVS_NEW_N(a, float, (int64_t)h *w * 4);
    if (!ax || !ay || !wx || !wy || !mid || !to)
        return avs_fail(e, AVS_ENOMEM, "no memory for a sprite of %d x %d", w, h);
    axis_spans(ax, wx, sx, im->w, w);
    axis_spans(ay, wy, sy, im->h, h);
    for (int y = 0; y < im->h; y++)
        for (int x = 0; x < w; x++) {
            const uint8_t *p = im->px + ((int64_t)y * im->w + ax[x].first) * 4;
            float acc[4] = {0, 0, 0, 0};
            for (int k = 0; k < ax[x].count; k++, p += 4) {
                const float alpha =
                    wx[(int64_t)x * sx + k] * (float)p[3] / 255.0f; /* premultiplied from here on */
                for (int c = 0; c < 3; c++) acc[c] += alpha * (float)p[c];
                acc[3] += alpha;
            }
            memcpy(mid + ((int64_t)y * w + x) * 4, acc, sizeof acc);
        }
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            float acc[4] = {0, 0, 0, 0};
            for (int k = 0; k < ay[y].count; k++) {
                const float wt = wy[(int64_t)y * sy + k], *p = mid + ((int64_t)(ay[y].first + k) * w + x) * 4;
                for (int c = 0; c < 4; c++) acc[c] += wt * p[c];
            }
            for (int c = 0; c < 3; c++) acc[c] = fminf(acc[c] * (float)gain, 255.0f * acc[3]);
            memcpy(to + ((int64_t)y * w + (mirror ? w - 1 - x : x)) * 4, acc, sizeof acc);
        }
    *out = to;
    return AVS_OK;
}

static int draw_background(avs_scene *s, avs_rng *r, const avs_image *photo, avs_err *e)
{
    const int S = s->S, shorter = photo->w < photo->h ? photo->w : photo->h;
    int side = (int)(avs_rng_uniform(r, 0.4, 1.0) * shorter + 0.5);
    if (side < 1) side = 1;
    const int x0 = (int)avs_rng_range(r, 0, photo->w - side), y0 = (int)avs_rng_range(r, 0, photo->h - side);
    const bool mirror = avs_rng_unit(r) < 0.5;
    const float gain = (float)avs_rng_uniform(r, 0.7, 1.1);
    avs_image crop = AVS_IMAGE_INIT, small = AVS_IMAGE_INIT;
    int rc;
    s->background = AVS_NEW_N(s->arena, float, (int64_t)S *S * 3);
    if (!s->background) return avs_fail(e, AVS_ENOMEM, "no memory for a background of %d x %d", S, S);
    AVS_TRY(avs_image_alloc(&crop, side, side, 3, e));
    for (int y = 0; y < side; y++)
        memcpy(crop.px + (int64_t)y * side * 3, photo->px + ((int64_t)(y0 + y) * photo->w + x0) * 3,
               (size_t)side * 3);
    AVS_TRY(avs_resize_bilinear(&small, &crop, S, S, e));
    for (int y = 0; y < S; y++)
        for (int x = 0; x < S; x++) {
            const uint8_t *p = small.px + ((int64_t)y * S + (mirror ? S - 1 - x : x)) * 3;
            for (int c = 0; c < 3; c++)
                s->background[((int64_t)y * S + x) * 3 + c] = fminf(255.0f, gain * (float)p[c]);
        }
out:
    avs_image_free(&crop);
    avs_image_free(&small);
    return rc;
}

/* Share of the smaller box that two boxes have in common. */
static double overlap(const avs_sprite *a, const avs_sprite *b)
{
    const double w = fmin(a->x + a->w, b->x + b->w) - fmax(a->x, b->x);
    const double h = fmin(a->y + a->h, b->y + b->h) - fmax(a->y, b->y);
    const double small = fmin((double)a->w * a->h, (double)b->w * b->h);
    return w <= 0 || h <= 0 ? 0 : w * h / small;
}

static int draw_object(avs_scene *s, int k, avs_rng *r, const avs_stamp *stamp, avs_err *e)
{
    enum { TRIES = 30 };
    avs_sprite *o = &s->sprite[k];
    const avs_image *cut = &stamp->cut;
    const double longer = cut->w > cut->h ? cut->w : cut->h,
                 ratio = (cut->w < cut->h ? cut->w : cut->h) / longer;
    const double grow = ratio < 0.7 ? fmin(1.4, sqrt(0.7 / ratio)) : 1;
    const bool mirror = avs_rng_unit(r) < 0.5;
    const double gain = avs_rng_uniform(r, 0.8, 1.15);
    for (int t = 0; t < TRIES; t++) {
        const double shrink = 1 - 0.25 * t / (TRIES - 1);
        const double L = fmin(s->S, s->S * avs_rng_uniform(r, 0.30, 0.55) * shrink * grow);
        o->w = (int)fmax(1, L * cut->w / longer + 0.5);
        o->h = (int)fmax(1, L * cut->h / longer + 0.5);
        o->x = avs_rng_uniform(r, 0, s->S - o->w + 1e-9);
        o->y = avs_rng_uniform(r, 0, s->S - o->h + 1e-9);
        bool free_place = true;
        for (int j = 0; j < k; j++) free_place = free_place && overlap(o, &s->sprite[j]) < 0.3;
        if (free_place) break;
    }
    o->vx = s->S * avs_rng_uniform(r, -0.03, 0.03);
    o->vy = s->S * avs_rng_uniform(r, -0.03, 0.03);
    return avs_sprite_resize(&o->rgba, s->arena, cut, o->w, o->h, mirror, gain, e);
}

int avs_scene_make(avs_scene *s, avs_rng *r, const avs_stamp *stamps, const int *pool, int n_pool,
                   const avs_image *background, avs_err *e)
{
    int32_t order[AVS_COMPOSE_MAX_CLASSES];
    int rc = draw_background(s, r, background, e);
    s->n = (int)avs_rng_range(r, 2, AVS_SCENE_OBJECTS);
    for (int i = 0; i < n_pool; i++) order[i] = pool[i];
    avs_rng_shuffle(r, order, n_pool);
    for (int k = 0; k < s->n && rc == AVS_OK; k++) {
        s->sprite[k].stamp = order[k];
        rc = draw_object(s, k, r, &stamps[order[k]], e);
    }
    return rc;
}

static int place(double start, double v, double t, int room)
{
    const int p = (int)floor(start + v * t + 0.5);
    return p < 0 ? 0 : p > room ? room : p;
}

int avs_scene_frame(const avs_scene *s, int t, avs_rng *noise, uint8_t *rgb, uint8_t *owner, avs_err *e)
{
    const int S = s->S, middle = (s->T - 1) / 2;
    const int64_t n = (int64_t)S * S * 3;
    float *px = avs_arena_alloc(s->arena, sizeof(float) * (size_t)n);
    float *grain = avs_arena_alloc(s->arena, sizeof(float) * (size_t)n);
    if (!px || !grain) return avs_fail(e, AVS_ENOMEM, "no memory for a frame of %d x %d", S, S);
    memset(owner, 255, (size_t)S * (size_t)S);
    memcpy(px, s->background, sizeof(float) * (size_t)n);
    for (int k = 0; k < s->n; k++) {
        const avs_sprite *o = &s->sprite[k];
        const double dt = t - middle;
        const int x0 = place(o->x, o->vx, dt, S - o->w), y0 = place(o->y, o->vy, dt, S - o->h);
        for (int y = 0; y < o->h; y++)
            for (int x = 0; x < o->w; x++) {
                const float *p = o->rgba + ((int64_t)y * o->w + x) * 4;
                const int64_t at = (int64_t)(y0 + y) * S + x0 + x;
                for (int c = 0; c < 3; c++) px[3 * at + c] = p[c] + (1 - p[3]) * px[3 * at + c];
                if (p[3] > 0.5f) owner[at] = (uint8_t)k;
            }
    }
    avs_noise_fill(noise, grain, n, 2.55);
    for (int64_t i = 0; i < n; i++) {
        const float v = floorf(px[i] + grain[i] + 0.5f);
        rgb[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
    return AVS_OK;
}
