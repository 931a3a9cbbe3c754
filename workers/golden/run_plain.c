/* Golden cases without a network: probe values, scores, the log-mel front end, image preparation. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/probe.h"
#include "data/logmel.h"
#include "data/resample_audio.h"
#include "data/resample_image.h"
#include "metrics/mask.h"
#include "metrics/semantic.h"
#include "workers/golden/run.h"

/* ------------------------------------------------------------------ probe */

/* "conv1.weight (64,3,7,7)" -> name and extents */
static int split_label(avs_golden_case *c, const char *label, char **name, int64_t *d, int *rank)
{
    const char *open = strchr(label, '(');
    *rank = 0;
    if (!open) return -1;
    size_t n = (size_t)(open - label);
    while (n && label[n - 1] == ' ') n--;
    *name = avs_arena_strn(c->arena, label, n);
    for (const char *p = open + 1; *p && *p != ')' && *rank < AVS_MAX_RANK;) {
        char *end;
        d[(*rank)++] = strtoll(p, &end, 10);
        if (end == p) return -1;
        p = *end == ',' ? end + 1 : end;
    }
    return *name ? 0 : -1;
}

static void probe_values(avs_golden_case *c, const char *what, const char *label, const float *got, int64_t n,
                         const avs_json *want)
{
    int64_t i = 0;
    for (const avs_json *w = want->first; w && i < n; w = w->next, i++)
        if ((double)got[i] != w->d) {
            avs_golden_number(c->report, what, label, (double)got[i], w->d, 0, 0);
            return;
        }
    avs_golden_number(c->report, what, label, 0, 0, 0, 0);
}

/* "mask(t,(1,1,64,64),0.25,16) blocks": name, h, w, value, cell; lists one value per block. */
static void probe_blocks(avs_golden_case *c, const avs_json *w)
{
    int64_t d[4], n = 0;
    double value;
    long long cell;
    char name[64];
    const bool mask = !strncmp(w->key, "mask(", 5);
    const char *p = strchr(w->key, '('), *comma = p ? strchr(p, ',') : NULL;
    if (!comma || (size_t)(comma - p) > sizeof name) return;
    snprintf(name, sizeof name, "%.*s", (int)(comma - p - 1), p + 1);
    p = strchr(comma, '(');
    for (char *next; p && *p != ')' && n < 4; p = next) d[n++] = strtoll(p + 1, &next, 10);
    char *end = NULL;
    if (!p || n < 2 || strncmp(p, "),", 2) != 0) return;
    value = strtod(p + 2, &end);
    cell = *end == ',' ? strtoll(end + 1, NULL, 10) : 0;
    if (cell < 1) return;
    const int64_t h = d[n - 2], wd = d[n - 1];
    float *v = AVS_NEW_N(c->arena, float, h *wd);
    int32_t *k = AVS_NEW_N(c->arena, int32_t, h * wd);
    if (!v || !k) return;
    if (mask)
        avs_probe_mask(name, 1, h, wd, value, cell, v);
    else
        avs_probe_classes(name, 1, h, wd, (int64_t)value, cell, k);
    const int64_t across = (wd + cell - 1) / cell;
    int64_t b = 0;
    for (const avs_json *x = w->first; x; x = x->next, b++) {
        const int64_t at = b / across * cell * wd + b % across * cell;
        if (at >= h * wd) break;
        avs_golden_number(c->report, "blocks", w->key, mask ? (double)v[at] : (double)k[at], x->d, 0, 0);
    }
}

int avs_golden_run_probe(avs_golden_case *c, avs_err *e)
{
    const avs_json *hash = avs_json_get(c->root, "fnv1a64"), *unit = avs_json_get(c->root, "unit"),
                   *param = avs_json_get(c->root, "param");
    for (const avs_json *h = hash ? hash->first : NULL; h; h = h->next) {
        char text[32];
        snprintf(text, sizeof text, "0x%016llx", (unsigned long long)avs_fnv1a64_str(h->key));
        if (strcmp(text, h->s) != 0) avs_golden_miss(c->report, "fnv1a64", h->key, text);
        avs_golden_number(c->report, "fnv1a64", h->key, 0, 0, 0, 0);
    }
    for (const avs_json *u = unit ? unit->first : NULL; u; u = u->next) {
        float *v = AVS_NEW_N(c->arena, float, u->len + 1);
        if (!v) return avs_fail(e, AVS_ENOMEM, "out of memory");
        avs_probe_tensor(u->key, (int64_t)u->len, 1, 0, v);
        probe_values(c, "unit", u->key, v, (int64_t)u->len, u);
    }
    for (const avs_json *p = param ? param->first : NULL; p; p = p->next) {
        int64_t d[AVS_MAX_RANK], n = 1;
        int rank;
        char *name;
        if (split_label(c, p->key, &name, d, &rank))
            return avs_fail(e, AVS_EPARSE, "cannot read the label '%s'", p->key);
        for (int i = 0; i < rank; i++) n *= d[i];
        float *v = AVS_NEW_N(c->arena, float, n);
        if (!v) return avs_fail(e, AVS_ENOMEM, "out of memory");
        avs_probe_param(name, d, rank, v);
        probe_values(c, "param", p->key, v, n, p);
    }
    for (const avs_json *b = c->root->first; b; b = b->next)
        if (b->kind == AVS_J_ARR && (!strncmp(b->key, "mask(", 5) || !strncmp(b->key, "classes(", 8)))
            probe_blocks(c, b);
    return AVS_OK;
}

/* ------------------------------------------------------------------ scores */

static int make(avs_golden_case *c, const avs_json *node, avs_golden_inputs *in, avs_err *e)
{
    const avs_golden_source src = {
        .arena = c->arena, .root = c->root, .list = avs_json_get(node, "inputs"), .files = &c->files};
    return avs_golden_make(&src, in, e);
}

static int logits_and_target(avs_golden_case *c, const avs_json *node, const avs_golden_tensor **l,
                             const avs_golden_tensor **t, avs_err *e)
{
    avs_golden_inputs in;
    int rc = make(c, node, &in, e);
    if (rc == AVS_OK) rc = avs_golden_need(&in, "logits", l, e);
    if (rc == AVS_OK) rc = avs_golden_need(&in, "target", t, e);
    if (rc == AVS_OK && ((*l)->rank < 3 || (*t)->rank < 3))
        rc = avs_fail(e, AVS_ESHAPE, "%s: logits and target need at least three axes", node->key);
    return rc;
}

static void number(avs_golden_case *c, const avs_json *node, const char *key, double got, double bound)
{
    const avs_json *w = avs_json_get(node, key);
    if (w && w->kind != AVS_J_NULL)
        avs_golden_number(c->report, node->key ? node->key : "score", key, got, w->d, 1e-3, bound);
}

/* One frame a row; two: two-channel logits. */
static int run_binary(avs_golden_case *c, const avs_json *node, bool two, avs_err *e)
{
    const avs_golden_tensor *l, *t;
    int rc = logits_and_target(c, node, &l, &t, e);
    if (rc != AVS_OK) return rc;
    const int64_t H = t->d[t->rank - 2], W = t->d[t->rank - 1], N = t->n / (H * W), k = two ? 2 : 1;
    if (l->n != k * t->n) return avs_fail(e, AVS_ESHAPE, "%s: logits and target differ in size", node->key);
    const avs_json *per_frame = avs_json_get(node, "mask_iou_per_frame");
    float sum[AVS_F_THRESHOLDS] = {0}, iou = 0;
    int64_t counted = 0;
    for (int64_t i = 0; i < N; i++) {
        avs_mask_frame f;
        float curve[AVS_F_THRESHOLDS];
        rc = two ? avs_mask_frame_two_channel(l->v + i * 2 * H * W, t->v + i * H * W, H, W, &f, curve, e)
                 : avs_mask_frame_logits(l->v + i * H * W, t->v + i * H * W, H, W, &f, curve, e);
        if (rc != AVS_OK) return rc;
        iou += f.iou;
        const avs_json *w = avs_json_at(per_frame, (size_t)i);
        if (w) avs_golden_number(c->report, "frame iou", node->key, (double)f.iou, w->d, 1e-3, 1e-6);
        if (f.target_is_empty) continue;
        counted++;
        for (int j = 0; j < AVS_F_THRESHOLDS; j++) sum[j] += curve[j];
    }
    float best = 0;
    int arg = 0;
    for (int j = 0; j < AVS_F_THRESHOLDS; j++) {
        if (counted) sum[j] /= (float)counted;
        if (sum[j] > best) {
            best = sum[j];
            arg = j;
        }
    }
    number(c, node, "mask_iou", (double)(iou / (float)N), 1e-6);
    number(c, node, "f_max", (double)best, 1e-6);
    number(c, node, "frames_counted", (double)counted, 0);
    if (counted) number(c, node, "f_argmax", arg, 0);
    const char *curve_name = avs_arena_fmt(c->arena, two ? "fcurve.two%s" : "fcurve.%s",
                                           two ? node->key + strlen(node->key) - 1 : node->key);
    const avs_type type = AVS_F32T(AVS_F_THRESHOLDS);
    if (curve_name && avs_st_find(&c->files, curve_name)) avs_golden_output(c, curve_name, NULL, sum, &type);
    return AVS_OK;
}

static void class_sums(avs_golden_case *c, const avs_json *node, const char *key, const float *f,
                       const int64_t *n)
{
    int i = 0;
    const avs_json *list = avs_json_get(node, key);
    for (const avs_json *w = list ? list->first : NULL; w; w = w->next, i++)
        avs_golden_number(c->report, key, node->key,
                          f   ? (double)f[i]
                          : n ? (double)n[i]
                              : (double)NAN,
                          w->d, 1e-3, 1e-6);
}

static int run_semantic(avs_golden_case *c, const avs_json *node, avs_err *e)
{
    const avs_golden_tensor *l, *t;
    avs_semantic_score s = {0};
    avs_semantic_result r;
    int rc = logits_and_target(c, node, &l, &t, e);
    if (rc != AVS_OK) return rc;
    const int64_t H = t->d[t->rank - 2], W = t->d[t->rank - 1], N = t->n / (H * W), C = l->n / t->n;
    int32_t *target = AVS_NEW_N(c->arena, int32_t, t->n);
    if (!target) return avs_fail(e, AVS_ENOMEM, "out of memory for a class map");
    for (int64_t i = 0; i < t->n; i++) target[i] = (int32_t)t->v[i];
    rc = avs_semantic_init(&s, (int)C, e);
    for (int64_t i = 0; i < N && rc == AVS_OK; i++)
        rc = avs_semantic_add_logits(&s, l->v + i * C * H * W, target + i * H * W, H, W, e);
    if (rc == AVS_OK) rc = avs_semantic_finish(&s, &r, NULL, NULL, e);
    if (rc == AVS_OK) {
        class_sums(c, node, "miou_sum_per_class", s.iou, NULL);
        class_sums(c, node, "f_sum_per_class", s.f, NULL);
        class_sums(c, node, "count_per_class", NULL, s.count);
        number(c, node, "miou", r.miou, 1e-5);
        number(c, node, "f", r.f, 1e-5);
        number(c, node, "classes_absent", r.classes_absent, 0);
        number(c, avs_json_get(node, "avsbench_noBg_drops_last"), "miou", r.miou_no_last, 1e-5);
        number(c, avs_json_get(node, "avsbench_noBg_drops_last"), "f", r.f_no_last, 1e-5);
        number(c, avs_json_get(node, "stepping_stones_noBg_drops_first"), "miou", r.miou_no_first, 1e-5);
        number(c, avs_json_get(node, "stepping_stones_noBg_drops_first"), "f", r.f_no_first, 1e-5);
        number(c, avs_json_get(node, "running_over_present"), "miou", r.miou_present, 1e-5);
        number(c, avs_json_get(node, "running_over_present"), "f", r.f_present, 1e-5);
    }
    avs_semantic_fini(&s);
    return rc;
}

static int run_batching(avs_golden_case *c, const avs_json *node, avs_err *e)
{
    const avs_golden_tensor *l, *t;
    const avs_json *runs = avs_json_get(node, "runs");
    int rc = logits_and_target(c, node, &l, &t, e);
    if (rc != AVS_OK) return rc;
    const int64_t clips = t->d[0], H = t->d[t->rank - 2], W = t->d[t->rank - 1], T = t->n / (clips * H * W);
    for (const avs_json *r = runs ? runs->first : NULL; r && rc == AVS_OK; r = r->next) {
        avs_mask_score s;
        avs_mask_result res;
        avs_mask_score_init(&s, (int)strtol(r->key, NULL, 10));
        for (int64_t i = 0; i < clips * T && rc == AVS_OK; i++) {
            rc = avs_mask_score_add(&s, l->v + i * H * W, t->v + i * H * W, H, W, e);
            if (rc == AVS_OK && (i + 1) % T == 0) avs_mask_score_end_clip(&s);
        }
        if (rc == AVS_OK) rc = avs_mask_score_finish(&s, &res, e);
        if (rc == AVS_OK) {
            number(c, r, "mask_iou", res.miou_published, 1e-6);
            number(c, r, "f", res.fscore, 1e-6);
        }
        avs_mask_score_fini(&s);
    }
    return rc;
}

int avs_golden_run_metrics(avs_golden_case *c, avs_err *e)
{
    static const char *const groups[3] = {"binary", "two_channel", "semantic"};
    const avs_type type = AVS_F32T(AVS_F_THRESHOLDS);
    int rc = AVS_OK;
    if (avs_st_find(&c->files, "thresholds"))
        avs_golden_output(c, "thresholds", NULL, avs_f_thresholds, &type);
    for (int i = 0; i < 3; i++) {
        const avs_json *g = avs_json_get(c->root, groups[i]);
        for (const avs_json *n = g ? g->first : NULL; n && rc == AVS_OK; n = n->next)
            rc = i < 2 ? run_binary(c, n, i == 1, e) : run_semantic(c, n, e);
    }
    const avs_json *batching = avs_json_get(c->root, "batching");
    return rc == AVS_OK && batching ? run_batching(c, batching, e) : rc;
}

/* ------------------------------------------------------------------ log-mel */

static float *to_float(avs_golden_case *c, const double *x, int64_t n)
{
    float *f = AVS_NEW_N(c->arena, float, n);
    for (int64_t i = 0; f && i < n; i++) f[i] = (float)x[i];
    return f;
}

static void leading_output(avs_golden_case *c, const char *name, const float *got, int64_t n)
{
    const avs_type t = AVS_F32T(n);
    if (avs_st_find(&c->files, name)) avs_golden_output(c, name, NULL, got, &t);
}

/* 16 kHz mono in [-1,1] from int16 columns, by one resampler. */
static int resampled(avs_golden_case *c, const double *mono, int64_t n, int32_t rate, avs_resampler kind,
                     double **out, int64_t *n_out, avs_err *e)
{
    *n_out = avs_resample_length(kind, n, rate, AVS_MEL_RATE);
    *out = AVS_NEW_N(c->arena, double, *n_out + 1);
    if (!*out) return avs_fail(e, AVS_ENOMEM, "out of memory for %lld samples", (long long)*n_out);
    return avs_resample(kind, mono, n, rate, AVS_MEL_RATE, *out, e);
}

static int run_mel_case(avs_golden_case *c, const avs_json *node, avs_err *e)
{
    avs_golden_inputs in;
    const avs_golden_tensor *wave;
    int rc = make(c, node, &in, e);
    if (rc == AVS_OK) rc = avs_golden_need(&in, "waveform", &wave, e);
    if (rc != AVS_OK) return rc;
    const int64_t channels = wave->rank > 1 ? wave->d[1] : 1, n = wave->n / channels;
    const int32_t rate = (int32_t)avs_json_int(node, "sample_rate", AVS_MEL_RATE);
    double *mono = AVS_NEW_N(c->arena, double, n), *x = mono, total = 0;
    int64_t made = 0, count = n;
    if (!mono) return avs_fail(e, AVS_ENOMEM, "out of memory for %lld samples", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < channels; k++) {
            mono[i] += (double)wave->v[i * channels + k] / 32768.0;
            total += (double)wave->v[i * channels + k];
        }
        mono[i] /= (double)channels;
    }
    number(c, node, "int16_sum", total, 0);
    if (rate != AVS_MEL_RATE) {
        static const struct {
            avs_resampler kind;
            const char *key;
        } kinds[2] = {{AVS_RESAMPY_022, "resampled_0.2.2"}, {AVS_RESAMPY_043, "resampled"}};
        for (int k = 0; k < 2 && rc == AVS_OK; k++) {
            rc = resampled(c, mono, n, rate, kinds[k].kind, &x, &count, e);
            const avs_json *want = avs_json_get(node, kinds[k].key);
            float *f = rc == AVS_OK ? to_float(c, x, count) : NULL;
            if (f && want && want->kind == AVS_J_OBJ)
                avs_golden_summary(c->report, "resampled",
                                   avs_arena_fmt(c->arena, "%s.%s", node->key, kinds[k].key), f, count, want,
                                   1e-6);
            if (f) leading_output(c, avs_arena_fmt(c->arena, "%s.%s", node->key, kinds[k].key), f, count);
        }
    }
    const int64_t examples = avs_logmel_examples(count);
    float *mel = AVS_NEW_N(c->arena, float, examples *AVS_MEL_EXAMPLE + 1);
    if (rc == AVS_OK && !mel) rc = avs_fail(e, AVS_ENOMEM, "out of memory for log-mel");
    if (rc != AVS_OK) return rc;
    made = avs_logmel(x, count, examples, mel);
    leading_output(c, avs_arena_fmt(c->arena, "%s.examples", node->key), mel, made * AVS_MEL_EXAMPLE);
    const avs_json *summary = avs_json_get(node, "summary");
    if (summary)
        avs_golden_summary(c->report, "examples", avs_arena_fmt(c->arena, "%s.examples", node->key), mel,
                           made * AVS_MEL_EXAMPLE, summary, 1e-5);
    return AVS_OK;
}

int avs_golden_run_mel(avs_golden_case *c, avs_err *e)
{
    double *matrix = AVS_NEW_N(c->arena, double, AVS_MEL_BINS *AVS_MEL_BANDS), window[AVS_MEL_WINDOW];
    int rc = AVS_OK;
    if (!matrix) return avs_fail(e, AVS_ENOMEM, "out of memory for the mel matrix");
    avs_logmel_matrix(matrix);
    avs_logmel_window(window);
    leading_output(c, "mel_matrix", to_float(c, matrix, (int64_t)AVS_MEL_BINS * AVS_MEL_BANDS),
                   (int64_t)AVS_MEL_BINS * AVS_MEL_BANDS);
    leading_output(c, "window", to_float(c, window, AVS_MEL_WINDOW), AVS_MEL_WINDOW);
    const avs_json *cases = avs_json_get(c->root, "cases");
    for (const avs_json *n = cases ? cases->first : NULL; n && rc == AVS_OK; n = n->next)
        rc = run_mel_case(c, n, e);
    return rc;
}

/* ------------------------------------------------------------------ images */

static int to_image(const avs_golden_tensor *t, avs_image *im, avs_err *e)
{
    int rc = avs_image_alloc(im, t->d[1], t->d[0], 3, e);
    for (int64_t i = 0; rc == AVS_OK && i < t->n; i++) im->px[i] = (uint8_t)t->v[i];
    return rc;
}

static int run_fit(avs_golden_case *c, const avs_json *node, const char *path, const avs_image *image,
                   const avs_image *label, avs_fit fit, avs_err *e)
{
    static const float mean[3] = {0.485F, 0.456F, 0.406F}, std[3] = {0.229F, 0.224F, 0.225F};
    const int64_t S = avs_json_int(node, "out", 224), n = S * S;
    const avs_json *want = avs_json_get(node, path);
    avs_image im = AVS_IMAGE_INIT, lb = AVS_IMAGE_INIT;
    float *f = AVS_NEW_N(c->arena, float, 3 * n), *chw = AVS_NEW_N(c->arena, float, 3 * n);
    uint8_t *classes = AVS_NEW_N(c->arena, uint8_t, n);
    int rc = f && chw && classes ? AVS_OK : avs_fail(e, AVS_ENOMEM, "out of memory for a picture");
    if (rc == AVS_OK) rc = avs_fit_image(&im, image, S, S, fit, false, e);
    if (rc == AVS_OK) rc = avs_fit_image(&lb, label, S, S, fit, true, e);
    if (rc == AVS_OK) {
        double sum = 0;
        for (int64_t i = 0; i < 3 * n; i++) {
            f[i] = (float)im.px[i];
            sum += im.px[i];
        }
        leading_output(c, avs_arena_fmt(c->arena, "%s.%s.image", node->key, path), f, 3 * n);
        number(c, want, "image_sum", sum, 0);
        avs_normalise(im.px, n, mean, std, f);
        for (int64_t i = 0; i < 3 * n; i++) chw[i % 3 * n + i / 3] = f[i];
        const avs_json *norm = avs_json_get(want, "normalised");
        if (norm)
            avs_golden_summary(c->report, "normalised",
                               avs_arena_fmt(c->arena, "%s.%s.normalised", node->key, path), chw, 3 * n, norm,
                               1e-6);
        avs_label_decode(&lb, AVS_AVSS_CLASSES, classes);
        sum = 0;
        for (int64_t i = 0; i < n; i++) {
            f[i] = (float)classes[i];
            sum += classes[i];
        }
        leading_output(c, avs_arena_fmt(c->arena, "%s.%s.label", node->key, path), f, n);
        number(c, want, "label_sum", sum, 0);
    }
    avs_image_free(&im);
    avs_image_free(&lb);
    return rc;
}

int avs_golden_run_preprocess(avs_golden_case *c, avs_err *e)
{
    const avs_json *cases = avs_json_get(c->root, "cases"), *palette = avs_json_get(c->root, "palette");
    int rc = AVS_OK, j = 0;
    for (const avs_json *p = palette ? palette->first : NULL; p; p = p->next, j++) {
        uint8_t rgb[3];
        avs_palette_colour(j, rgb);
        for (size_t k = 0; k < 3; k++)
            avs_golden_number(c->report, "palette", "colour", rgb[k], avs_golden_item(p, k)->d, 0, 0);
    }
    for (const avs_json *n = cases ? cases->first : NULL; n && rc == AVS_OK; n = n->next) {
        avs_golden_inputs in;
        const avs_golden_tensor *image, *label;
        avs_image im = AVS_IMAGE_INIT, lb = AVS_IMAGE_INIT;
        rc = make(c, n, &in, e);
        if (rc == AVS_OK) rc = avs_golden_need(&in, "image", &image, e);
        if (rc == AVS_OK) rc = avs_golden_need(&in, "label", &label, e);
        if (rc == AVS_OK) rc = to_image(image, &im, e);
        if (rc == AVS_OK) rc = to_image(label, &lb, e);
        if (rc == AVS_OK) rc = run_fit(c, n, "resize", &im, &lb, AVS_FIT_STRETCH, e);
        if (rc == AVS_OK) rc = run_fit(c, n, "crop", &im, &lb, AVS_FIT_CROP, e);
        avs_image_free(&im);
        avs_image_free(&lb);
    }
    return rc;
}
