/* Resizing as Pillow does it, 8-bit exact, and the spatial preparation of the AVSS reader.
 *
 * BILINEAR is an antialiased triangle filter in fixed point (22 bits), horizontal pass first, rounded to 8
 * bits between the passes; a pass whose size does not change is skipped. NEAREST walks the source with a
 * running sum. Source: Pillow 9.4 Resample.c and Geometry.c; golden `preprocess`. */
#ifndef AVS_DATA_RESAMPLE_IMAGE_H
#define AVS_DATA_RESAMPLE_IMAGE_H

#include <stdbool.h>
#include "data/image.h"

/* out is allocated (w x h, channels of in); in and out are different objects. */
int avs_resize_bilinear(avs_image *out, const avs_image *in, int64_t w, int64_t h, avs_err *e);
int avs_resize_nearest(avs_image *out, const avs_image *in, int64_t w, int64_t h, avs_err *e);

typedef enum {
    AVS_FIT_STRETCH, /* exactly w x h; the aspect ratio is not kept (val and test) */
    AVS_FIT_CROP /* shorter side to the wanted side, then centre crop, rounding half to even (AVSS training)
                  */
} avs_fit;

/* nearest: labels; else bilinear. AVS_FIT_CROP needs w == h (AVS_ERANGE otherwise). */
int avs_fit_image(avs_image *out, const avs_image *in, int64_t w, int64_t h, avs_fit fit, bool nearest,
                  avs_err *e);

/* Colour of class j, the bit interleave of PASCAL VOC. */
void avs_palette_colour(int j, uint8_t rgb[3]);

enum { AVS_AVSS_CLASSES = 71 };
/* RGB label picture (channels 3) to class indices [h, w]; a colour outside the first n_classes entries
 * becomes 0. */
void avs_label_decode(const avs_image *rgb, int n_classes, uint8_t *classes);

/* out f32 [h,w,3] = (px / 255 - mean) / std, in float32 as torchvision computes it; in: channels 3. */
void avs_normalise(const uint8_t *px, int64_t n_pixels, const float mean[3], const float std[3], float *out);

#endif
