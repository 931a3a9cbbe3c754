/* Toy sources for the composer: make-toys DIR CLASSES writes DIR/stamps/cNN.{png,wav}, coloured shapes with a tone of their
 * own each, and DIR/backgrounds/bN.png, smooth noise. Nothing here is taken from any data set. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/rng.h"
#include "data/image.h"
#include "data/wav.h"

enum { SIDE = 96, SECONDS = 3, RATE = 16000, BACKGROUNDS = 10, BACK_SIDE = 160 };

/* Disc, square, triangle and ring by class, each class with a hue. */
static int inside(int shape, double x, double y)
{
    const double r = sqrt(x * x + y * y);
    switch (shape % 4) {
    case 0:
        return r < 0.95;
    case 1:
        return fabs(x) < 0.9 && fabs(y) < 0.9;
    case 2:
        return y < 0.9 && fabs(x) < (y + 0.95) / 1.9;
    default:
        return r < 0.95 && r > 0.4;
    }
}

static int stamp(const char *dir, int c, int n, avs_err *e)
{
    avs_image im = AVS_IMAGE_INIT;
    char path[4096];
    int rc = avs_image_alloc(&im, SIDE, SIDE, 4, e);
    const double hue = 6.283185307179586 * c / n;
    for (int i = 0; rc == AVS_OK && i < SIDE * SIDE; i++) {
        const double x = 2.0 * (i % SIDE) / SIDE - 1,
                     y = 2.0 * (int)(i / SIDE) / SIDE - 1; /* NOLINT(bugprone-integer-division): row number */
        for (int k = 0; k < 3; k++) im.px[4 * i + k] = (uint8_t)(127 + 120 * cos(hue + 2.0943951 * k));
        im.px[4 * i + 3] = inside(c, x, y) ? 255 : 0;
    }
    snprintf(path, sizeof path, "%s/stamps/c%02d.png", dir, c);
    if (rc == AVS_OK) rc = avs_png_write(path, &im, 6, e);
    avs_image_free(&im);
    return rc;
}

static int tone(const char *dir, int c, avs_err *e)
{
    static int16_t x[SECONDS * RATE];
    avs_buf b = AVS_BUF_INIT;
    char path[4096];
    const double f = 200.0 * pow(1.6, c);
    for (int i = 0; i < SECONDS * RATE; i++)
        x[i] = (int16_t)(9000 * sin(6.283185307179586 * f * i / RATE) +
                         3000 * sin(6.283185307179586 * 2.01 * f * i / RATE));
    avs_wav_encode(&b, x, SECONDS * RATE, RATE);
    snprintf(path, sizeof path, "%s/stamps/c%02d.wav", dir, c);
    int rc = avs_fs_write_atomic(path, b.data, b.len, e);
    avs_buf_free(&b);
    return rc;
}

static int background(const char *dir, int k, avs_err *e)
{
    avs_image im = AVS_IMAGE_INIT;
    char path[4096];
    avs_rng r = avs_rng_seed((uint64_t)k + 1);
    double p[6];
    int rc = avs_image_alloc(&im, BACK_SIDE, BACK_SIDE, 3, e);
    for (int i = 0; i < 6; i++) p[i] = avs_rng_uniform(&r, 0.02, 0.12);
    for (int i = 0; rc == AVS_OK && i < BACK_SIDE * BACK_SIDE; i++)
        for (int c = 0; c < 3; c++)
            im.px[3 * i + c] = (uint8_t)(110 + 40 * sin(p[c] * (i % BACK_SIDE)) +
                                         40 * cos(p[c + 3] * (double)i / BACK_SIDE));
    snprintf(path, sizeof path, "%s/backgrounds/b%d.png", dir, k);
    if (rc == AVS_OK) rc = avs_png_write(path, &im, 6, e);
    avs_image_free(&im);
    return rc;
}

int main(int argc, char **argv)
{
    avs_err e = AVS_ERR_INIT;
    const int n = argc == 3 ? (int)strtol(argv[2], NULL, 10) : 0;
    if (n < 1 || n > 16) {
        fprintf(stderr, "usage: make-toys DIR CLASSES (1 to 16)\n");
        return 2;
    }
    int rc = AVS_OK;
    for (int c = 0; c < n && rc == AVS_OK; c++)
        if ((rc = stamp(argv[1], c, n, &e)) == AVS_OK) rc = tone(argv[1], c, &e);
    for (int k = 0; k < BACKGROUNDS && rc == AVS_OK; k++) rc = background(argv[1], k, &e);
    if (rc != AVS_OK) fprintf(stderr, "error: %s\n", e.msg);
    return rc != AVS_OK;
}
