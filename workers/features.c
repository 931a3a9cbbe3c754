/* Cached features of a frozen audio encoder: an own small graph, run over every example of the split. */
#include "workers/features.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "data/index.h"
#include "data/logmel.h"
#include "engine/graph/ops.h"
#include "engine/tensor/safetensors.h"
#include "models/model.h"
#include "workers/init.h"
#include "workers/start.h"

enum { EXAMPLE = 96 * 64, AT_ONCE = 10 };

typedef struct {
    avs_arena *arena;
    avs_plan *plan;
    float *in;
    const char *prefix;
} encoder;

static int open_encoder(encoder *c, avs_net *weights, const avs_cfg *cfg, const char *prefix, avs_err *e)
{
    c->arena = avs_arena_new();
    avs_graph *g = c->arena ? avs_graph_new(c->arena, false) : NULL;
    avs_type t;
    if (!g) return avs_fail(e, AVS_ENOMEM, "out of memory for the audio encoder");
    avs_val y = avs_model_encoder(g, cfg, avs_input(g, "audio", AVS_F32T(AT_ONCE, 96, 64, 1)));
    avs_graph_output(g, "feature", y);
    int rc = avs_graph_check(g, e);
    if (rc == AVS_OK) rc = avs_plan_build(&c->plan, g, &(avs_plan_cfg){.backend = avs_net_backend()}, e);
    for (int i = 0; rc == AVS_OK && i < avs_plan_n_params(c->plan); i++) {
        const avs_plan_param *p = avs_plan_param_at(c->plan, i);
        char key[256];
        snprintf(key, sizeof key, "%s%s", prefix, p->key);
        float *x = avs_xalloc((size_t)avs_type_count(&p->type) * sizeof(float));
        rc = x ? avs_plan_param_get(weights->plan, key, x, e)
               : avs_fail(e, AVS_ENOMEM, "out of memory for %s", key);
        if (rc == AVS_OK) rc = avs_plan_param_set(c->plan, p->key, x, e);
        avs_xfree(x);
    }
    if (rc == AVS_OK) c->in = avs_plan_input(c->plan, "audio", &t);
    return rc;
}

/* The net with the encoder's weights, opened when it is first needed. */
static int open_source(avs_features_source *from, avs_err *e)
{
    int h, w;
    if (from->net.plan) return AVS_OK;
    avs_cfg_size(from->cfg, "resolution", &h, &w);
    const avs_net_cfg nc = {.rows = 1, .height = h, .width = w, .seed = from->seed};
    const int rc = avs_net_open(&from->net, from->cfg, &nc, e);
    return rc == AVS_OK ? avs_weights_start(&from->net, from->cfg, e) : rc;
}

void avs_features_source_close(avs_features_source *s)
{
    avs_net_close(&s->net);
}

/* Nothing but the seed decides the values of an encoder that starts at random. */
static bool is_random(const avs_cfg *cfg)
{
    return avs_cfg_is(cfg, "audio_weights", "random") &&
           (!avs_cfg_has(cfg, "init") || !avs_cfg_str(cfg, "init")[0]);
}

static void hash_seed(avs_sha256 *h, const avs_features_source *from)
{
    static const char *const keys[] = {"model", "audio_backbone"};
    const uint64_t numbers[2] = {AVS_INIT_VERSION, from->seed};
    avs_sha256_put(h, "random", 7);
    for (int i = 0; i < 2; i++) {
        const char *word = avs_cfg_str(from->cfg, keys[i]);
        avs_sha256_put(h, word, strlen(word) + 1);
    }
    avs_sha256_put(h, numbers, sizeof numbers);
}

static int hash_weights(avs_sha256 *h, avs_features_source *from, const char *prefix, avs_err *e)
{
    int rc = open_source(from, e);
    for (int i = 0; rc == AVS_OK && i < avs_plan_n_params(from->net.plan); i++) {
        const avs_plan_param *p = avs_plan_param_at(from->net.plan, i);
        if (strncmp(p->key, prefix, strlen(prefix)) != 0) continue;
        const size_t bytes = (size_t)avs_type_count(&p->type) * sizeof(float);
        float *x = avs_xalloc(bytes);
        rc = x ? avs_plan_param_get(from->net.plan, p->key, x, e)
               : avs_fail(e, AVS_ENOMEM, "out of memory for %s", p->key);
        if (rc == AVS_OK) avs_sha256_put(h, x, bytes);
        avs_xfree(x);
    }
    return rc;
}

static int cache_key(const avs_dataset *ds, avs_features_source *from, const char *prefix, char name[65],
                     avs_err *e)
{
    const avs_dataset_cfg *dc = avs_dataset_config(ds);
    avs_sha256 h;
    uint8_t fp[32];
    bool found = false;
    int rc = avs_data_fingerprint(dc->root, fp, &found, e);
    avs_sha256_init(&h);
    avs_sha256_put(&h, "avs-audio-features-3", 20);
    if (found)
        avs_sha256_put(&h, fp, 32);
    else
        avs_sha256_put(&h, dc->root, strlen(dc->root));
    const int where[2] = {(int)dc->task, (int)dc->split};
    avs_sha256_put(&h, where, sizeof where);
    for (int i = 0; i < avs_dataset_count(ds); i++) {
        const avs_clip *c = avs_dataset_clip(ds, i);
        avs_sha256_put(&h, c->group, strlen(c->group) + 1);
        avs_sha256_put(&h, c->name, strlen(c->name) + 1);
    }
    if (rc == AVS_OK && is_random(from->cfg))
        hash_seed(&h, from);
    else if (rc == AVS_OK)
        rc = hash_weights(&h, from, prefix, e);
    avs_sha256_end(&h, fp);
    avs_hex(fp, 32, name);
    return rc;
}

static int compute(avs_features *f, const avs_dataset *ds, encoder *c, avs_err *e)
{
    const int64_t n = (int64_t)f->clips * f->T;
    float *mel = avs_xalloc(sizeof(float) * EXAMPLE * (size_t)f->T);
    int rc = mel ? AVS_OK : avs_fail(e, AVS_ENOMEM, "out of memory for log-mel");
    int64_t done = 0, queued = 0;
    avs_type t;
    for (int i = 0; rc == AVS_OK && i < f->clips; i++) {
        rc = avs_clip_load(ds, i, &(avs_pick){.n = f->T}, &(avs_clip_out){.logmel = mel}, e);
        for (int k = 0; rc == AVS_OK && k < f->T; k++) {
            memcpy(c->in + queued % AT_ONCE * EXAMPLE, mel + (int64_t)k * EXAMPLE, EXAMPLE * sizeof(float));
            if (++queued % AT_ONCE && queued < n) continue;
            rc = avs_plan_run(c->plan, e);
            const float *y = avs_plan_output(c->plan, "feature", &t);
            if (rc == AVS_OK)
                memcpy(f->x + done * f->width, y, (size_t)((queued - done) * f->width) * sizeof(float));
            done = queued;
        }
    }
    for (int i = 0; i < AT_ONCE * EXAMPLE; i++) c->in[i] = AVS_LOGMEL_SILENCE;
    if (rc == AVS_OK) rc = avs_plan_run(c->plan, e);
    if (rc == AVS_OK)
        memcpy(f->silence, avs_plan_output(c->plan, "feature", &t), (size_t)f->width * sizeof(float));
    avs_xfree(mel);
    return rc;
}

/* true when the cache held it */
static bool read_cache(avs_features *f, const char *path)
{
    avs_st_file st = {0};
    avs_err err = AVS_ERR_INIT;
    bool ok = false;
    if (avs_fs_exists(path) && avs_st_open(&st, path, &err) == AVS_OK) {
        const avs_st_tensor *t = avs_st_find(&st, "feature"), *q = avs_st_find(&st, "silence");
        ok = t && t->count == (int64_t)f->clips * f->T * f->width && avs_st_f32(t, f->x, &err) == AVS_OK &&
             q && q->count == f->width && avs_st_f32(q, f->silence, &err) == AVS_OK;
    }
    avs_st_close(&st);
    return ok; /* a damaged cache is computed again */
}

static int write_cache(const avs_features *f, const char *path, avs_err *e)
{
    avs_arena *a = avs_arena_new();
    avs_st_writer *w = a ? avs_st_writer_new(a) : NULL;
    const int64_t d[3] = {f->clips, f->T, f->width};
    int rc = w ? avs_fs_mkdirs_for(path, e) : avs_fail(e, AVS_ENOMEM, "out of memory");
    if (rc == AVS_OK && (avs_st_writer_add(w, "feature", "F32", 3, d, f->x) != AVS_OK ||
                         avs_st_writer_add(w, "silence", "F32", 1, d + 2, f->silence) != AVS_OK))
        rc = avs_fail(e, AVS_ENOMEM, "out of memory");
    if (rc == AVS_OK) rc = avs_st_writer_write(w, path, NULL, e);
    avs_arena_free(a);
    return rc;
}

int avs_features_open(avs_features *f, const avs_dataset *ds, avs_features_source *from,
                      const char *cache_dir, avs_err *e)
{
    char name[65], path[4096] = "";
    encoder c = {0};
    const char *prefix;
    int width;
    if (!avs_model_frozen_audio(from->cfg, &prefix, &width))
        return avs_fail(e, AVS_ERANGE, "an audio encoder that is trained has no features to keep");
    *f = (avs_features){
        .clips = avs_dataset_count(ds), .T = avs_task_frames(avs_dataset_config(ds)->task), .width = width};
    f->x = avs_xalloc(sizeof(float) * (size_t)f->clips * (size_t)f->T * (size_t)width);
    f->silence = avs_xalloc(sizeof(float) * (size_t)width);
    int rc = f->x && f->silence ? AVS_OK : avs_fail(e, AVS_ENOMEM, "out of memory for audio features");
    if (rc == AVS_OK && cache_dir[0]) {
        rc = cache_key(ds, from, prefix, name, e);
        if (rc == AVS_OK) snprintf(path, sizeof path, "%s/audio-features/%s.safetensors", cache_dir, name);
        if (rc == AVS_OK && read_cache(f, path)) return AVS_OK;
    }
    if (rc == AVS_OK) rc = open_source(from, e);
    if (rc == AVS_OK) rc = open_encoder(&c, &from->net, from->cfg, prefix, e);
    if (rc == AVS_OK) rc = compute(f, ds, &c, e);
    if (rc == AVS_OK && path[0]) rc = write_cache(f, path, e);
    avs_plan_free(c.plan);
    avs_arena_free(c.arena);
    if (rc != AVS_OK) avs_features_close(f);
    return rc;
}

void avs_features_close(avs_features *f)
{
    avs_xfree(f->x);
    avs_xfree(f->silence);
    *f = (avs_features){0};
}

const float *avs_features_at(const avs_features *f, int clip, int frame)
{
    return f->x + ((int64_t)clip * f->T + frame) * f->width;
}
