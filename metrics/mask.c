/* Binary mask scores. The 255-threshold curve comes from one histogram: every score is put into the bin of
 * the largest threshold it reaches, foreground and all pixels apart, and suffix sums give the counts of all
 * thresholds: O(H*W + 255) instead of 255*H*W, with the same integers. All ratios are float32, as in the
 * reference. */
#include "metrics/mask.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"

enum { HALF = 127 }; /* avs_f_thresholds[127] is exactly 0.5 */

typedef struct {
    int64_t all[AVS_F_THRESHOLDS], hit[AVS_F_THRESHOLDS]; /* pixels per bin; those of them in the target */
    int64_t pixels, target, inter, unite;                 /* counts of the frame at the mask itself      */
} counts;

float avs_sigmoid_f32(float logit)
{
    return (float)(1.0 / (1.0 + exp(-(double)logit)));
}

/* Largest k with th_k <= s, for s in [0,1]. The guess is off by at most one; the table decides. */
static int bin_of(float s)
{
    int k = (int)(s * 254.0f);
    while (k < AVS_F_THRESHOLDS - 1 && avs_f_thresholds[k + 1] <= s) k++;
    while (k > 0 && avs_f_thresholds[k] > s) k--;
    return k;
}

static int check_extent(int64_t H, int64_t W, avs_err *e)
{
    if (H < 1 || W < 1 || H >= (1 << 24) || W >= (1 << 24) || H * W >= (1 << 24))
        return avs_fail(e, AVS_ERANGE,
                        "a mask of %lld x %lld pixels cannot be scored: 1 to 2^24-1 pixels are", (long long)H,
                        (long long)W);
    return AVS_OK;
}

/* One pixel: t is the target, p the prediction, s its score (NaN: reaches no threshold). */
static inline void count_pixel(counts *c, int t, int p, float s)
{
    c->target += t;
    c->inter += t & p;
    c->unite += t | p;
    if (s >= 0.0f) {
        int k = bin_of(s);
        c->all[k]++;
        c->hit[k] += t;
    }
}

static float f_of(int64_t tp, int64_t chosen, int64_t target)
{
    float P = (float)tp / ((float)chosen + 1e-20f);
    float R = (float)tp / ((float)target + 1e-20f);
    float F = 1.3f * P * R / (0.3f * P + R);
    return isnan(F) ? 0.0f : F;
}

static void frame_from_counts(const counts *c, avs_mask_frame *out, float *curve)
{
    float own[AVS_F_THRESHOLDS];

    *out = (avs_mask_frame){.target_is_empty = c->target == 0};
    if (!curve) curve = own;
    if (out->target_is_empty) {
        /* unite counts the pixels predicted 1 here; the others are right */
        out->iou = (float)(c->pixels - c->unite) / ((float)c->pixels + 1e-7f);
        memset(curve, 0, sizeof own);
        return;
    }
    out->iou = (float)c->inter / ((float)c->unite + 1e-7f);
    int64_t chosen = 0, tp = 0;
    for (int k = AVS_F_THRESHOLDS - 1; k >= 0; k--) {
        chosen += c->all[k];
        tp += c->hit[k];
        curve[k] = f_of(tp, chosen, c->target);
        if (curve[k] > out->f_max) out->f_max = curve[k];
    }
    out->f_at_half = curve[HALF];
}

/* is_raw: the curve is that of the logits themselves. */
static int frame_of_logits(const float *logits, const float *target, const int64_t HW[2], bool is_raw,
                           avs_mask_frame *out, float *curve, avs_err *e)
{
    int rc = check_extent(HW[0], HW[1], e);
    if (rc != AVS_OK) return rc;
    const int64_t n = HW[0] * HW[1];
    counts c = {.pixels = n};
    for (int64_t i = 0; i < n; i++) {
        const float s = avs_sigmoid_f32(logits[i]), raw = logits[i] > 1.0f ? 1.0f : logits[i];
        count_pixel(&c, target[i] > 0.5f, s > 0.5f, is_raw ? raw : s);
    }
    frame_from_counts(&c, out, curve);
    return AVS_OK;
}

int avs_mask_frame_logits(const float *logits, const float *target, int64_t H, int64_t W, avs_mask_frame *out,
                          float *curve, avs_err *e)
{
    return frame_of_logits(logits, target, (const int64_t[]){H, W}, false, out, curve, e);
}

int avs_mask_frame_raw(const float *logits, const float *target, int64_t H, int64_t W, avs_mask_frame *out,
                       float *curve, avs_err *e)
{
    return frame_of_logits(logits, target, (const int64_t[]){H, W}, true, out, curve, e);
}

int avs_mask_frame_binary(const uint8_t *pred, const float *target, int64_t H, int64_t W, avs_mask_frame *out,
                          float *curve, avs_err *e)
{
    int rc = check_extent(H, W, e);
    if (rc != AVS_OK) return rc;
    counts c = {.pixels = H * W};
    for (int64_t i = 0; i < H * W; i++)
        count_pixel(&c, target[i] > 0.5f, pred[i] != 0, pred[i] ? 1.0f : 0.0f);
    frame_from_counts(&c, out, curve);
    return AVS_OK;
}

int avs_mask_frame_two_channel(const float *logits, const float *target, int64_t H, int64_t W,
                               avs_mask_frame *out, float *curve, avs_err *e)
{
    int rc = check_extent(H, W, e);
    if (rc != AVS_OK) return rc;
    const float *l0 = logits, *l1 = logits + H * W;
    counts c = {.pixels = H * W};
    for (int64_t i = 0; i < H * W;
         i++) /* parity: weight 2 on the foreground logit; see golden metrics/two_channel */
        count_pixel(&c, target[i] > 0.5f, l1[i] > l0[i], avs_sigmoid_f32(2.0f * l1[i] - l0[i]));
    frame_from_counts(&c, out, curve);
    return AVS_OK;
}

/* ---- the gathering object ---- */

void avs_mask_score_init(avs_mask_score *s, int fscore_batch)
{
    *s = (avs_mask_score){.fscore_batch = fscore_batch < 1 ? 1 : fscore_batch};
}

void avs_mask_score_fini(avs_mask_score *s)
{
    free(s->frames);
    *s = (avs_mask_score){0};
}

static int keep_frame(avs_mask_score *s, const avs_mask_frame *f, const float *curve, avs_err *e)
{
    if ((size_t)s->n_frames == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        avs_mask_frame *grown = avs_xrealloc(s->frames, cap * sizeof *grown);
        if (!grown) return avs_fail(e, AVS_ENOMEM, "no memory to keep the scores of %zu frames", cap);
        s->frames = grown;
        s->cap = cap;
    }
    s->frames[s->n_frames++] = *f;
    s->batch_frames++;
    s->iou_sum += f->iou;
    if (!f->target_is_empty) {
        for (int k = 0; k < AVS_F_THRESHOLDS; k++) s->curve_sum[k] += curve[k];
        s->curve_frames++;
    }
    return AVS_OK;
}

int avs_mask_score_add(avs_mask_score *s, const float *logits, const float *target, int64_t H, int64_t W,
                       avs_err *e)
{
    avs_mask_frame f;
    float curve[AVS_F_THRESHOLDS];
    int rc = frame_of_logits(logits, target, (const int64_t[]){H, W}, s->on_logits, &f, curve, e);
    return rc != AVS_OK ? rc : keep_frame(s, &f, curve, e);
}

int avs_mask_score_add_binary(avs_mask_score *s, const uint8_t *pred, const float *target, int64_t H,
                              int64_t W, avs_err *e)
{
    avs_mask_frame f;
    float curve[AVS_F_THRESHOLDS];
    int rc = avs_mask_frame_binary(pred, target, H, W, &f, curve, e);
    return rc != AVS_OK ? rc : keep_frame(s, &f, curve, e);
}

int avs_mask_score_add_two_channel(avs_mask_score *s, const float *logits, const float *target, int64_t H,
                                   int64_t W, avs_err *e)
{
    avs_mask_frame f;
    float curve[AVS_F_THRESHOLDS];
    int rc = avs_mask_frame_two_channel(logits, target, H, W, &f, curve, e);
    return rc != AVS_OK ? rc : keep_frame(s, &f, curve, e);
}

static void close_batch(avs_mask_score *s)
{
    float best = 0.0f;

    if (s->batch_frames > 0) {
        for (int k = 0; k < AVS_F_THRESHOLDS && s->curve_frames > 0; k++) {
            float mean = s->curve_sum[k] / (float)s->curve_frames;
            if (mean > best) best = mean;
        }
        s->f_sum += (double)best;
        s->batch_iou_sum += (double)(s->iou_sum / (float)s->batch_frames);
        s->n_batches++;
    }
    memset(s->curve_sum, 0, sizeof s->curve_sum);
    s->curve_frames = 0;
    s->batch_frames = 0;
    s->iou_sum = 0.0f;
    s->clips_in_batch = 0;
}

void avs_mask_score_end_clip(avs_mask_score *s)
{
    s->n_clips++;
    if (++s->clips_in_batch == s->fscore_batch) close_batch(s);
}

int avs_mask_score_finish(avs_mask_score *s, avs_mask_result *out, avs_err *e)
{
    *out = (avs_mask_result){0};
    if (s->n_frames == 0) return avs_fail(e, AVS_EMISSING, "no frame was scored, so there is no mIoU");
    if (s->batch_frames > 0) close_batch(s);

    double iou = 0, iou_nonempty = 0, half = 0;
    for (int64_t i = 0; i < s->n_frames; i++) {
        const avs_mask_frame *f = &s->frames[i];
        iou += (double)f->iou;
        if (f->target_is_empty) continue;
        iou_nonempty += (double)f->iou;
        half += (double)f->f_at_half;
        out->n_nonempty++;
    }
    out->n_frames = s->n_frames;
    out->n_clips = s->n_clips;
    out->n_batches = s->n_batches;
    out->miou = iou / (double)s->n_frames;
    if (out->n_nonempty > 0) {
        out->miou_nonempty = iou_nonempty / (double)out->n_nonempty;
        out->fscore_at_half = half / (double)out->n_nonempty;
    }
    out->miou_published = s->batch_iou_sum / (double)s->n_batches;
    out->fscore = s->f_sum / (double)s->n_batches;
    return AVS_OK;
}
