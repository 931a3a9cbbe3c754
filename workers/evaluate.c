/* Evaluation: whole clips through an inference plan of fixed size; the last, smaller group repeats its first clip and the
 * repeats are not scored. */
#include "workers/evaluate.h"

#include <stdlib.h>
#include <math.h>
#include <string.h>

#include "data/logmel.h"
#include "data/swap.h"
#include "metrics/mask.h"
#include "metrics/semantic.h"
#include "workers/stage1.h"

int avs_evaluator_open(avs_evaluator *ev, const avs_cfg *cfg, const avs_dataset *ds, bool features,
                       uint64_t seed, avs_control *control, avs_err *e)
{
    return avs_evaluator_open_for(ev, cfg, ds,
                                  &(avs_evaluator_cfg){.features = features,
                                                       .seed = seed,
                                                       .control = control,
                                                       .clips = (int)avs_cfg_int(cfg, "eval_batch")},
                                  e);
}

int avs_evaluator_open_for(avs_evaluator *ev, const avs_cfg *cfg, const avs_dataset *ds,
                           const avs_evaluator_cfg *ec, avs_err *e)
{
    const avs_dataset_cfg *dc = avs_dataset_config(ds);
    *ev = (avs_evaluator){.cfg = cfg,
                          .clips_at_once = ec->clips,
                          .T = avs_task_frames(dc->task),
                          .task = dc->task,
                          .control = ec->control};
    const avs_net_cfg nc = {.rows = ev->clips_at_once * ev->T,
                            .clip_rows = ev->T,
                            .height = dc->height,
                            .width = dc->width,
                            .features = ec->features,
                            .bare = true,
                            .attention = ec->attention,
                            .seed = ec->seed};
    return avs_net_open(&ev->net, cfg, &nc, e);
}

void avs_evaluator_close(avs_evaluator *ev)
{
    avs_net_close(&ev->net);
}

typedef struct {
    avs_mask_score mask;
    avs_semantic_score semantic;
    float *target; /* [T,H,W] of one clip */
    int32_t *classes, *pred;
    float *planes; /* two channels one after the other */
    uint8_t exists[AVS_CLIP_MAX_FRAMES];
    bool by_class;
} scorer;

static int scorer_open(scorer *s, const avs_evaluator *ev, avs_err *e)
{
    const size_t n = (size_t)ev->T * (size_t)ev->net.label_h * (size_t)ev->net.label_w;
    *s = (scorer){.by_class = !ev->net.is_binary};
    avs_mask_score_init(&s->mask,
                        avs_cfg_has(ev->cfg, "fscore_batch") ? (int)avs_cfg_int(ev->cfg, "fscore_batch") : 1);
    s->mask.on_logits = avs_cfg_has(ev->cfg, "fscore_on_logits") && avs_cfg_bool(ev->cfg, "fscore_on_logits");
    s->target = avs_xalloc(n * sizeof(float));
    s->classes = avs_xalloc(n * sizeof(int32_t));
    s->pred = avs_xalloc(n * sizeof(int32_t));
    s->planes = avs_xalloc(2 * n * sizeof(float));
    if (!s->target || !s->classes || !s->pred || !s->planes)
        return avs_fail(e, AVS_ENOMEM, "out of memory for scores");
    return s->by_class ? avs_semantic_init(&s->semantic, ev->net.classes, e) : AVS_OK;
}

static void scorer_close(scorer *s)
{
    avs_mask_score_fini(&s->mask);
    avs_semantic_fini(&s->semantic);
    avs_xfree(s->target);
    avs_xfree(s->classes);
    avs_xfree(s->pred);
    avs_xfree(s->planes);
}

/* Highest class of each pixel of [H,W,K]; ties to the lowest class. */
static void argmax(const float *logits, int64_t pixels, int K, int32_t *pred)
{
    for (int64_t i = 0; i < pixels; i++) {
        int best = 0;
        for (int k = 1; k < K; k++)
            if (logits[i * K + k] > logits[i * K + best]) best = k;
        pred[i] = best;
    }
}

/* A frame of one logit a pixel, or of two scores. */
static int score_mask(scorer *s, const float *x, const float *target, int64_t H, int64_t W, int64_t K,
                      avs_err *e)
{
    if (K == 1) return avs_mask_score_add(&s->mask, x, target, H, W, e);
    for (int64_t i = 0; i < H * W; i++) {
        s->planes[i] = x[2 * i];
        s->planes[H * W + i] = x[2 * i + 1];
    }
    return avs_mask_score_add_two_channel(&s->mask, s->planes, target, H, W, e);
}

static int score_clip(scorer *s, const avs_evaluator *ev, const avs_dataset *ds, int clip,
                      const float *logits, avs_eval_row row, void *ctx, avs_err *e)
{
    const int64_t H = ev->net.label_h, W = ev->net.label_w, K = ev->net.classes;
    const avs_clip *c = avs_dataset_clip(ds, clip);
    int rc = avs_clip_load(
        ds, clip, &(avs_pick){.n = ev->T},
        s->by_class ? &(avs_clip_out){.classes = s->classes} : &(avs_clip_out){.target = s->target}, e);
    for (int t = 0; rc == AVS_OK && t < ev->T; t++) {
        const float *x = logits + t * H * W * K;
        if (!c->frame_mask[t]) continue;
        if (s->by_class) {
            argmax(x, H * W, (int)K, s->pred);
            rc = avs_semantic_add(&s->semantic, s->pred, s->classes + t * H * W, H, W, e);
        } else {
            rc = score_mask(s, x, s->target + t * H * W, H, W, K, e);
        }
        if (rc == AVS_OK && row) rc = row(ctx, clip, t, x, e);
    }
    if (rc == AVS_OK && !s->by_class) avs_mask_score_end_clip(&s->mask);
    return rc;
}

static int finish(scorer *s, avs_scores *out, avs_err *e)
{
    int rc;
    *out = (avs_scores){0};
    if (s->by_class) {
        avs_semantic_result r;
        if ((rc = avs_semantic_finish(&s->semantic, &r, out->class_iou, NULL, e)) == AVS_OK) {
            out->miou = r.miou;
            out->fscore = r.f;
            out->miou_present = r.miou_present;
            out->classes = s->semantic.classes;
            for (int c = 0; c < out->classes; c++)
                if (s->semantic.count[c] == 0) out->class_iou[c] = (float)NAN;
        }
    } else {
        avs_mask_result r;
        if ((rc = avs_mask_score_finish(&s->mask, &r, e)) == AVS_OK)
            *out = (avs_scores){.miou = r.miou,
                                .fscore = r.fscore,
                                .fscore_at_half = r.fscore_at_half,
                                .miou_nonempty = r.miou_nonempty};
    }
    return rc;
}

/* Sound of clip `sound` for the rows of one clip. */
static int fill_audio(avs_evaluator *ev, const avs_dataset *ds, const avs_features *features, int sound,
                      float *dst, avs_err *e)
{
    if (!dst) return AVS_OK; /* a model without audio */
    const int64_t w = ev->net.audio_width;
    if (sound < 0) {
        for (int64_t i = 0; i < ev->T * w; i++)
            dst[i] = features ? features->silence[i % w] : AVS_LOGMEL_SILENCE;
        return AVS_OK;
    }
    if (features) {
        memcpy(dst, avs_features_at(features, sound, 0), (size_t)(ev->T * w) * sizeof(float));
        return AVS_OK;
    }
    return avs_clip_load(ds, sound, &(avs_pick){.n = ev->T}, &(avs_clip_out){.logmel = dst}, e);
}

/* What one evaluation reads and where its rows go. */
typedef struct {
    const avs_dataset *ds;
    const avs_features *features; /* NULL: log-mel */
    const int32_t *partner;       /* clip -> the clip whose sound it gets; NULL: its own */
    bool silent;
    scorer *s;
    avs_eval_row row;
    void *ctx;
} reading;

int avs_evaluator_fill(avs_evaluator *ev, const avs_dataset *ds, const avs_features *features, int clip,
                       int sound, int at, avs_err *e)
{
    const int T = ev->T;
    const int64_t frame = (int64_t)ev->net.build.height * ev->net.build.width;
    int rc = avs_clip_load(ds, clip, &(avs_pick){.n = T},
                           &(avs_clip_out){.frames = ev->net.frames + (int64_t)at * T * frame * 3}, e);
    for (int f = 0; f < T && ev->net.frame_mask; f++)
        ev->net.frame_mask[at * T + f] = avs_dataset_clip(ds, clip)->frame_mask[f] ? 1.F : 0.F;
    if (rc == AVS_OK && ev->net.stage1_mask)
        rc = avs_stage1_load(ev->masks, clip, &(avs_pick){.n = T},
                             ev->net.stage1_mask + (int64_t)at * T * ev->net.label_h * ev->net.label_w, e);
    float *audio = ev->net.audio ? ev->net.audio + (int64_t)at * T * ev->net.audio_width : NULL;
    return rc == AVS_OK ? fill_audio(ev, ds, features, sound, audio, e) : rc;
}

/* Clips first .. first + clips_at_once - 1. */
static int run_group(avs_evaluator *ev, const reading *r, int first, avs_err *e)
{
    const avs_dataset *ds = r->ds;
    const int n = avs_dataset_count(ds), T = ev->T;
    const int64_t label = (int64_t)ev->net.label_h * ev->net.label_w;
    avs_type t;
    int rc = AVS_OK;
    for (int k = 0; k < ev->clips_at_once && rc == AVS_OK; k++) {
        const int clip = first + k < n ? first + k : first;
        const int sound = r->silent ? -1 : r->partner ? r->partner[clip] : clip;
        rc = avs_evaluator_fill(ev, ds, r->features, clip, sound, k, e);
    }
    if (rc == AVS_OK) rc = avs_plan_run(ev->net.plan, e);
    if (rc != AVS_OK) return rc;
    const float *logits = avs_plan_output(ev->net.plan, "logits", &t);
    for (int k = 0; k < ev->clips_at_once && first + k < n && rc == AVS_OK; k++)
        rc = score_clip(r->s, ev, ds, first + k, logits + (int64_t)k * T * label * ev->net.classes, r->row,
                        r->ctx, e);
    return rc;
}

int avs_evaluate(avs_evaluator *ev, const avs_dataset *ds, const avs_features *features, avs_eval_sound sound,
                 avs_scores *out, avs_eval_row row, void *ctx, avs_err *e)
{
    const int n = avs_dataset_count(ds);
    int32_t *partner = NULL;
    scorer s;
    if (n < 1)
        return avs_fail(e, AVS_EMISSING, "the %s split of %s holds no clip",
                        avs_split_name(avs_dataset_config(ds)->split), avs_dataset_config(ds)->root);
    int rc = scorer_open(&s, ev, e);
    if (rc == AVS_OK && sound == AVS_SOUND_SWAPPED) {
        partner = avs_xalloc(sizeof(int32_t) * (size_t)n);
        rc = partner ? avs_swap_partners(ds, partner, NULL, e)
                     : avs_fail(e, AVS_ENOMEM, "out of memory for %d clips", n);
    }
    const reading r = {.ds = ds,
                       .features = features,
                       .partner = partner,
                       .silent = sound == AVS_SOUND_SILENT,
                       .s = &s,
                       .row = row,
                       .ctx = ctx};
    for (int i = 0; i < n && rc == AVS_OK; i += ev->clips_at_once) {
        if (ev->control && avs_control_poll(ev->control))
            rc = avs_fail(e, AVS_ECANCEL, "stopped on request while evaluating");
        if (rc == AVS_OK) rc = run_group(ev, &r, i, e);
        if (ev->control) avs_control_progress(ev->control, i, n, 0, "evaluate", false);
    }
    if (rc == AVS_OK) rc = finish(&s, out, e);
    avs_xfree(partner);
    scorer_close(&s);
    return rc;
}
