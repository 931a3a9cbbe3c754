/* Latency trials: seeded inputs of the right statistics, warm-up outside the clock, stop when enough samples, enough
 * seconds and a settled median are there (or at the time bound). Raw samples are kept. */
#include "workers/latency.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"
#include "data/logmel.h"
#include "metrics/latency.h"
#include "workers/report_trial.h"
#include "workers/trial.h"

enum { WAVE_SAMPLES = 15600 };

typedef struct {
    float *frames, *audio, *logits; /* the host's copies */
    uint8_t *mask;
    double *wave;
    size_t frames_bytes, audio_bytes;
    int64_t logits_n;
} buffers;

static int open_buffers(buffers *b, const avs_net *n, avs_err *e)
{
    const int64_t pixels = (int64_t)n->build.rows * n->build.height * n->build.width;
    avs_rng r = avs_rng_seed(1);
    const int64_t scores = (int64_t)n->build.rows * n->label_h * n->label_w;
    b->logits_n = scores * n->classes;
    b->frames_bytes = (size_t)(pixels * 3) * sizeof(float);
    b->audio_bytes = n->audio ? (size_t)(n->build.rows * n->audio_width) * sizeof(float) : 0;
    b->frames = avs_xalloc(b->frames_bytes);
    b->audio = avs_xalloc(b->audio_bytes + 64);
    b->mask = avs_xalloc((size_t)scores);
    b->wave = avs_xalloc(sizeof(double) * WAVE_SAMPLES);
    if (!b->frames || !b->audio || !b->mask || !b->wave)
        return avs_fail(e, AVS_ENOMEM, "out of memory for latency inputs");
    for (int64_t i = 0; i < pixels * 3; i++) b->frames[i] = (float)avs_rng_normal(&r);
    for (size_t i = 0; i < b->audio_bytes / sizeof(float); i++)
        b->audio[i] = (float)(avs_rng_normal(&r) - 1.0);
    for (int64_t i = 0; n->stage1_mask && i < scores; i++)
        n->stage1_mask[i] = avs_rng_normal(&r) > 0 ? 1.F : 0.F;
    for (int i = 0; i < WAVE_SAMPLES; i++) b->wave[i] = avs_rng_uniform(&r, -0.5, 0.5);
    return AVS_OK;
}

static void close_buffers(buffers *b)
{
    avs_xfree(b->frames);
    avs_xfree(b->audio);
    avs_xfree(b->mask);
    avs_xfree(b->wave);
}

static void read_mask(const avs_net *n, buffers *b)
{
    avs_type t;
    const float *logits = avs_plan_output(n->plan, "logits", &t);
    const int64_t pixels = b->logits_n / n->classes;
    for (int64_t i = 0; i < pixels; i++) {
        int best = 0;
        if (n->classes == 1) best = logits[i] > 0.F;
        for (int k = 1; k < n->classes; k++)
            if (logits[i * n->classes + k] > logits[i * n->classes + best]) best = k;
        b->mask[i] = (uint8_t)best;
    }
}

/* One query. On a CPU host and device memory are the same: the two columns differ by the copies and the front end. On a
 * GPU inputs go over before t1 and the mask comes after t2; ns[2] is the device's own clock over the launch, or -1. */
static int query(avs_net *n, const avs_latency_cfg *cfg, buffers *b, int64_t ns[3], avs_err *e)
{
    const int64_t t0 = avs_now_ns();
    memcpy(n->frames, b->frames, b->frames_bytes);
    if (b->audio_bytes) memcpy(n->audio, b->audio, b->audio_bytes);
    if (cfg->scope == AVS_SCOPE_WAVEFORM && n->audio) avs_logmel(b->wave, WAVE_SAMPLES, 1, n->audio);
    int rc = avs_plan_upload(n->plan, e);
    const int64_t t1 = avs_now_ns();
    if (rc == AVS_OK) rc = avs_plan_execute(n->plan, e);
    const int64_t t2 = avs_now_ns();
    if (rc == AVS_OK) read_mask(n, b);
    const int64_t t3 = avs_now_ns();
    /* scope waveform counts the front end in both columns */
    ns[0] = t2 - (cfg->scope == AVS_SCOPE_WAVEFORM ? t0 : t1);
    ns[1] = t3 - t0;
    const double us = avs_plan_device_us(n->plan);
    ns[2] = us < 0 ? -1 : (int64_t)(1e3 * us);
    return rc;
}

static bool enough(const avs_latency_cfg *cfg, const avs_latency_samples *s, double seconds)
{
    if (seconds >= cfg->max_seconds || s->n >= cfg->capacity) return true;
    if (s->n < cfg->min_samples || seconds < cfg->min_seconds || s->n % 64) return false;
    avs_latency_stats stats;
    return avs_latency_summarise(s->latency, s->n, s->latency_unit, &stats, NULL) == AVS_OK &&
           avs_latency_is_settled(&stats, 0.01);
}

int avs_latency_measure(avs_net *n, const avs_latency_cfg *cfg, avs_control *control,
                        avs_latency_samples *out, avs_err *e)
{
    buffers b = {0};
    int64_t ns[3];
    *out = (avs_latency_samples){.latency_unit = 1, .e2e_unit = 1, .device_unit = 1};
    int rc = open_buffers(&b, n, e);
    out->latency = avs_xalloc(sizeof(uint32_t) * (size_t)cfg->capacity);
    out->e2e = avs_xalloc(sizeof(uint32_t) * (size_t)cfg->capacity);
    out->device = avs_plan_is_device(n->plan) ? avs_xalloc(sizeof(uint32_t) * (size_t)cfg->capacity) : NULL;
    if (rc == AVS_OK && (!out->latency || !out->e2e || (avs_plan_is_device(n->plan) && !out->device)))
        rc = avs_fail(e, AVS_ENOMEM, "out of memory for %lld samples", (long long)cfg->capacity);
    for (int64_t i = 0; i < cfg->warmup && rc == AVS_OK; i++) rc = query(n, cfg, &b, ns, e);
    const int64_t start = avs_now_ns();
    double seconds = 0;
    while (rc == AVS_OK && !enough(cfg, out, seconds)) {
        rc = query(n, cfg, &b, ns, e);
        avs_latency_put(out->latency, out->n, &out->latency_unit, ns[0]);
        if (out->device && ns[2] >= 0) avs_latency_put(out->device, out->n, &out->device_unit, ns[2]);
        avs_latency_put(out->e2e, out->n++, &out->e2e_unit, ns[1]);
        seconds = (double)(avs_now_ns() - start) * 1e-9;
        if (control && out->n % 16 == 0) {
            avs_control_progress(control, out->n, cfg->min_samples, (double)out->n / seconds, "latency",
                                 false);
            if (avs_control_poll(control)) rc = avs_fail(e, AVS_ECANCEL, "stopped on request while timing");
        }
    }
    close_buffers(&b);
    return rc;
}

void avs_latency_samples_free(avs_latency_samples *s)
{
    avs_xfree(s->latency);
    avs_xfree(s->e2e);
    avs_xfree(s->device);
    *s = (avs_latency_samples){0};
}

static void send(avs_control *c, const char *name, const uint32_t *samples, int64_t n, double unit_ns,
                 double max_seconds)
{
    avs_latency_stats s;
    avs_buf json = AVS_BUF_INIT;
    double load[1] = {0};
    if (avs_latency_summarise(samples, n, unit_ns, &s, NULL) != AVS_OK) return;
    const int cores = getloadavg(load, 1) == 1 ? 1 : 0;
    avs_buf_fmt(&json,
                "{\"n\":%lld,\"p50_ns\":%.0f,\"p90_ns\":%.0f,\"p99_ns\":%.0f,\"mean_ns\":%.0f,\"min_ns\":%."
                "0f,\"max_ns\":%.0f,\"p50_lo_ns\":%.0f,\"p50_hi_ns\":%.0f,\"trend_p\":%.4f,\"bound_s\":%.0f",
                (long long)n, s.p50, s.p90, s.p99, s.mean, s.min, s.max, s.p50_lo, s.p50_hi, s.trend_p,
                max_seconds);
    if (cores) avs_buf_fmt(&json, ",\"load\":%.2f", load[0]);
    avs_buf_char(&json, '}');
    avs_control_latency(c, name, samples, n, unit_ns, s.flags, avs_buf_cstr(&json));
    avs_buf_free(&json);
}

/* On a GPU: the median by its own clock, the kernels of one launch, and what the plan takes there. */
static void report_device(avs_control *c, const avs_net *n, const avs_latency_samples *s)
{
    avs_latency_stats stats;
    const avs_plan_stats p = avs_plan_get_stats(n->plan);
    if (!s->device || avs_latency_summarise(s->device, s->n, s->device_unit, &stats, NULL) != AVS_OK) return;
    avs_control_result(c, "latency_device_p50", "", stats.p50 * 1e-9, "s", -1);
    avs_control_result(c, "kernels_per_launch", "", p.n_kernels, "count", 0);
    avs_control_result(c, "device_bytes", "", (double)p.device_bytes, "count", 0);
}

int avs_latency_run(avs_trial *t, avs_err *e)
{
    const avs_cfg *cfg = t->job->cfg;
    avs_net n = {0};
    avs_latency_samples s = {0};
    int h, w;
    const char *prefix;
    int width;
    const avs_latency_scope scope = avs_cfg_is(cfg, "latency_scope", "model")   ? AVS_SCOPE_MODEL
                                    : avs_cfg_is(cfg, "latency_scope", "audio") ? AVS_SCOPE_AUDIO
                                                                                : AVS_SCOPE_WAVEFORM;
    avs_cfg_size(cfg, "resolution", &h, &w);
    const bool features = scope == AVS_SCOPE_MODEL && avs_model_frozen_audio(cfg, &prefix, &width);
    const avs_net_cfg nc = {.rows = (int)avs_cfg_int(cfg, "frames"),
                            .height = h,
                            .width = w,
                            .features = features,
                            .seed = t->job->seed};
    const avs_latency_cfg lc = {.warmup = avs_cfg_int(cfg, "latency_warmup"),
                                .min_samples = avs_cfg_int(cfg, "latency_min_samples"),
                                .capacity = avs_cfg_int(cfg, "latency_min_samples") + 1000000,
                                .min_seconds = avs_cfg_num(cfg, "latency_min_seconds"),
                                .max_seconds = avs_cfg_num(cfg, "latency_max_seconds"),
                                .scope = scope};
    int rc = avs_net_open(&n, cfg, &nc, e);
    if (rc == AVS_OK) rc = avs_latency_measure(&n, &lc, &t->control, &s, e);
    if (rc == AVS_OK) {
        avs_control_result(&t->control, "params", "", (double)avs_graph_param_count(n.graph, false), "count",
                           0);
        avs_control_result(&t->control, "macs", "", (double)avs_graph_macs(n.graph), "count", 0);
        send(&t->control, "latency", s.latency, s.n, s.latency_unit, lc.max_seconds);
        send(&t->control, "latency_e2e", s.e2e, s.n, s.e2e_unit, lc.max_seconds);
        report_device(&t->control, &n, &s);
    }
    avs_latency_samples_free(&s);
    avs_net_close(&n);
    return rc;
}
