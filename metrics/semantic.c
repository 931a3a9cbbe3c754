/* Class-map scores. Pixels are counted in integers per frame (predicted, labelled, both, for every class);
 * the ratios and their sums over frames are float32 as in the reference; the final means over classes are
 * double. */
#include "metrics/semantic.h"

#include <math.h>
#include <string.h>
#include "base/arena.h"

enum { MAX_CLASSES = 65536 };

int avs_semantic_init(avs_semantic_score *s, int classes, avs_err *e)
{
    *s = (avs_semantic_score){.classes = classes};
    if (classes < 1 || classes > MAX_CLASSES)
        return avs_fail(e, AVS_ERANGE, "class maps have 1 to %d classes, not %d", (int)MAX_CLASSES, classes);
    s->iou = avs_xalloc((size_t)classes * sizeof *s->iou);
    s->f = avs_xalloc((size_t)classes * sizeof *s->f);
    s->count = avs_xalloc((size_t)classes * sizeof *s->count);
    if (s->iou && s->f && s->count) return AVS_OK;
    avs_semantic_fini(s);
    return avs_fail(e, AVS_ENOMEM, "no memory for the sums of %d classes", classes);
}

void avs_semantic_fini(avs_semantic_score *s)
{
    avs_xfree(s->iou);
    avs_xfree(s->f);
    avs_xfree(s->count);
    *s = (avs_semantic_score){0};
}

static float ratio_f(int64_t inter, int64_t pred, int64_t lab)
{
    float P = (float)inter / (float)pred, R = (float)inter / (float)lab;
    float F = 1.3f * P * R / (0.3f * P + R);
    return isnan(F) ? 0.0f : F;
}

int avs_semantic_add(avs_semantic_score *s, const int32_t *pred, const int32_t *target, int64_t H, int64_t W,
                     avs_err *e)
{
    const int C = s->classes;
    if (H < 1 || W < 1 || H >= (1 << 24) || W >= (1 << 24) || H * W >= (1 << 24))
        return avs_fail(e, AVS_ERANGE,
                        "a class map of %lld x %lld pixels cannot be scored: 1 to 2^24-1 pixels are",
                        (long long)H, (long long)W);
    int64_t *n = avs_xalloc(3 * (size_t)C * sizeof *n); /* predicted, labelled, both */
    if (!n) return avs_fail(e, AVS_ENOMEM, "no memory to count %d classes", C);
    for (int64_t i = 0; i < H * W; i++) {
        int32_t p = pred[i], t = target[i];
        if (p < 0 || p >= C || t < 0 || t >= C) {
            avs_xfree(n);
            return avs_fail(e, AVS_ERANGE,
                            "pixel %lld has class %d predicted and %d labelled; classes are 0..%d",
                            (long long)i, (int)p, (int)t, C - 1);
        }
        n[p]++;
        n[C + t]++;
        if (p == t) n[2 * C + p]++;
    }
    for (int c = 0; c < C; c++) {
        int64_t unite = n[c] + n[C + c] - n[2 * C + c];
        if (unite == 0) continue;
        s->iou[c] += (float)n[2 * C + c] / ((float)unite + 2.220446049250313e-16f);
        s->f[c] += ratio_f(n[2 * C + c], n[c], n[C + c]);
        s->count[c]++;
    }
    s->n_frames++;
    avs_xfree(n);
    return AVS_OK;
}

void avs_argmax_chw(const float *logits, int C, int64_t H, int64_t W, int32_t *pred)
{
    const int64_t n = H * W;
    for (int64_t i = 0; i < n; i++) {
        int32_t best = 0;
        float top = logits[i];
        for (int c = 1; c < C; c++) {
            float v = logits[c * n + i];
            if (v > top || (isnan(top) && !isnan(v))) {
                top = v;
                best = c;
            }
        }
        pred[i] = best;
    }
}

int avs_semantic_add_logits(avs_semantic_score *s, const float *logits, const int32_t *target, int64_t H,
                            int64_t W, avs_err *e)
{
    if (H < 1 || W < 1 || H >= (1 << 24) || W >= (1 << 24) || H * W >= (1 << 24))
        return avs_fail(e, AVS_ERANGE,
                        "class logits of %lld x %lld pixels cannot be scored: 1 to 2^24-1 pixels are",
                        (long long)H, (long long)W);
    int32_t *pred = avs_xalloc((size_t)(H * W) * sizeof *pred);
    if (!pred) return avs_fail(e, AVS_ENOMEM, "no memory for a class map of %lld pixels", (long long)(H * W));
    avs_argmax_chw(logits, s->classes, H, W, pred);
    int rc = avs_semantic_add(s, pred, target, H, W, e);
    avs_xfree(pred);
    return rc;
}

int avs_semantic_finish(const avs_semantic_score *s, avs_semantic_result *out, float *class_iou,
                        float *class_f, avs_err *e)
{
    const int C = s->classes;
    double iou = 0, f = 0, iou0 = 0, f0 = 0, iou1 = 0, f1 = 0;
    int present = 0;

    *out = (avs_semantic_result){0};
    if (s->n_frames == 0) return avs_fail(e, AVS_EMISSING, "no frame was scored, so there is no mIoU");
    for (int c = 0; c < C; c++) {
        float ci = s->count[c] ? s->iou[c] / (float)s->count[c] : 0.0f;
        float cf = s->count[c] ? s->f[c] / (float)s->count[c] : 0.0f;
        if (class_iou) class_iou[c] = ci;
        if (class_f) class_f[c] = cf;
        iou += (double)ci;
        f += (double)cf;
        if (c == 0) iou0 = (double)ci, f0 = (double)cf;
        if (c == C - 1) iou1 = (double)ci, f1 = (double)cf;
        present += s->count[c] > 0;
    }
    out->classes_absent = C - present;
    out->miou = iou / C;
    out->f = f / C;
    out->miou_present = iou / present;
    out->f_present = f / present;
    if (C > 1) {
        out->miou_no_first = (iou - iou0) / (C - 1);
        out->f_no_first = (f - f0) / (C - 1);
        out->miou_no_last = (iou - iou1) / (C - 1);
        out->f_no_last = (f - f1) / (C - 1);
    }
    return AVS_OK;
}
