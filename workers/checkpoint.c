/* Checkpoints between a plan and a safetensors file. */
#include "workers/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "avs_version.h"
#include "base/hash.h"
#include "engine/tensor/safetensors.h"

/* Of one tensor: its name, and its values eight bytes at a time. The sum over a file does not depend on their order. */
static uint64_t sum_of(const char *name, const void *data, size_t n)
{
    const uint8_t *at = data;
    uint64_t h = avs_fnv1a64_str(name) ^ n, word;
    for (; n >= sizeof word; n -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        h = (h ^ word) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    for (; n > 0; n--) h = (h ^ *at++) * 0x100000001b3u;
    return h ^ h >> 32;
}

/* A file without a sum is as good as its format. */
static int check_sum(const avs_st_file *f, avs_err *e)
{
    const char *said = avs_json_str(f->meta, "sum", NULL);
    char text[20];
    uint64_t sum = 0;
    if (!said) return AVS_OK;
    for (int i = 0; i < f->n; i++) sum += sum_of(f->t[i].name, f->t[i].data, f->t[i].bytes);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)sum);
    return strcmp(said, text) == 0
               ? AVS_OK
               : avs_fail(e, AVS_EPARSE, "is damaged: the checksum of its content is %s, not %s", text, said);
}

static int add(avs_st_writer *w, avs_arena *a, const char *prefix, const avs_plan_param *p, const float *data,
               uint64_t *sum, avs_err *e)
{
    int64_t d[AVS_MAX_RANK];
    char *name = avs_arena_fmt(a, "%s%s", prefix, p->key);
    for (int i = 0; i < p->type.rank; i++) d[i] = p->type.d[i];
    if (!name || avs_st_writer_add(w, name, "F32", p->type.rank, d, data) != AVS_OK)
        return avs_fail(e, AVS_ENOMEM, "out of memory for a checkpoint");
    *sum += sum_of(name, data, (size_t)avs_type_count(&p->type) * sizeof *data);
    return AVS_OK;
}

static int add_param(avs_st_writer *w, avs_arena *a, avs_plan *p, const avs_plan_param *info, const float *m,
                     const float *v, uint64_t *sum, avs_err *e)
{
    const size_t bytes = (size_t)avs_type_count(&info->type) * sizeof(float);
    const float *state[3] = {NULL, info->is_trainable ? m : NULL, info->is_trainable ? v : NULL};
    static const char *const prefix[3] = {"", "opt.m.", "opt.v."};
    int rc = AVS_OK;
    for (int k = 0; k < 3 && rc == AVS_OK; k++) {
        if (k && !state[k]) continue;
        float *x = avs_arena_alloc(a, bytes);
        if (!x) return avs_fail(e, AVS_ENOMEM, "out of memory for a checkpoint");
        rc = k ? avs_plan_unpack(p, info->key, state[k], x, e) : avs_plan_param_get(p, info->key, x, e);
        if (rc == AVS_OK) rc = add(w, a, prefix[k], info, x, sum, e);
    }
    return rc;
}

int avs_ckpt_save(avs_plan *p, const float *m, const float *v, const avs_ckpt_info *info, const char *path,
                  avs_err *e)
{
    avs_arena *a = avs_arena_new();
    avs_st_writer *w = a ? avs_st_writer_new(a) : NULL;
    int rc = w ? AVS_OK : avs_fail(e, AVS_ENOMEM, "out of memory for a checkpoint");
    if (rc == AVS_OK) {
        char best[40];
        snprintf(best, sizeof best, "%.17g", info->best_value);
        int bad = avs_st_writer_meta(w, "format", "avsweep-checkpoint-1");
        bad |= avs_st_writer_meta(w, "version", AVS_VERSION);
        bad |= avs_st_writer_meta(w, "step", avs_arena_fmt(a, "%lld", (long long)info->step));
        bad |= avs_st_writer_meta(w, "seed", avs_arena_fmt(a, "%llu", (unsigned long long)info->seed));
        bad |= avs_st_writer_meta(w, "trial", info->trial);
        bad |= avs_st_writer_meta(w, "config", info->config);
        bad |= avs_st_writer_meta(w, "best_step", avs_arena_fmt(a, "%lld", (long long)info->best_step));
        bad |= avs_st_writer_meta(w, "best_value", best);
        if (bad) rc = avs_fail(e, AVS_ENOMEM, "out of memory for a checkpoint");
    }
    uint64_t sum = 0;
    for (int i = 0; rc == AVS_OK && i < avs_plan_n_params(p); i++)
        rc = add_param(w, a, p, avs_plan_param_at(p, i), m, v, &sum, e);
    if (rc == AVS_OK && avs_st_writer_meta(w, "sum", avs_arena_fmt(a, "%016llx", (unsigned long long)sum)))
        rc = avs_fail(e, AVS_ENOMEM, "out of memory for a checkpoint");
    if (rc == AVS_OK) rc = avs_st_writer_write(w, path, NULL, e);
    avs_arena_free(a);
    return rc;
}

static int read_info(const avs_st_file *f, avs_arena *a, avs_ckpt_info *info, avs_err *e)
{
    const char *format = avs_json_str(f->meta, "format", "");
    if (strcmp(format, "avsweep-checkpoint-1") != 0)
        return avs_fail(e, AVS_EPARSE, "is no checkpoint of avsweep (metadata 'format' is '%s')", format);
    info->step = strtoll(avs_json_str(f->meta, "step", "0"), NULL, 10);
    info->best_step = strtoll(avs_json_str(f->meta, "best_step", "-1"), NULL, 10);
    info->best_value = strtod(avs_json_str(f->meta, "best_value", "0"), NULL);
    info->seed = strtoull(avs_json_str(f->meta, "seed", "0"), NULL, 10);
    info->trial = avs_arena_str(a, avs_json_str(f->meta, "trial", ""));
    info->config = avs_arena_str(a, avs_json_str(f->meta, "config", "{}"));
    return info->trial && info->config ? AVS_OK : avs_fail(e, AVS_ENOMEM, "out of memory");
}

int avs_ckpt_check(const char *path, avs_err *e)
{
    avs_st_file f = {0};
    int rc = avs_st_open(&f, path, e); /* names the path itself */
    if (rc != AVS_OK) return rc;
    if (strcmp(avs_json_str(f.meta, "format", ""), "avsweep-checkpoint-1") != 0)
        rc = avs_fail(e, AVS_EPARSE, "is no checkpoint of avsweep");
    if (rc == AVS_OK) rc = check_sum(&f, e);
    if (rc != AVS_OK) avs_ctx(e, "%s", path);
    avs_st_close(&f);
    return rc;
}

int avs_ckpt_read_info(avs_arena *a, const char *path, avs_ckpt_info *info, avs_err *e)
{
    avs_st_file f = {0};
    int rc = avs_st_open(&f, path, e);
    if (rc == AVS_OK && (rc = read_info(&f, a, info, e)) != AVS_OK) avs_ctx(e, "%s", path);
    avs_st_close(&f);
    return rc;
}

/* One tensor into dst (canonical floats). */
static int fetch(const avs_st_file *f, const char *name, const avs_type *want, float *dst, avs_err *e)
{
    const avs_st_tensor *t = avs_st_find(f, name);
    char text[96];
    if (!t) return avs_fail(e, AVS_EMISSING, "%s is missing", name);
    if (!avs_st_fits(t, want))
        return avs_fail(e, AVS_ESHAPE, "%s has %lld values in %d axes, the model wants %s", name,
                        (long long)t->count, t->rank, avs_type_text(want, text, sizeof text));
    return avs_st_f32(t, dst, e);
}

static int load_one(const avs_st_file *f, avs_plan *p, const avs_plan_param *info, float *state[2],
                    avs_err *e)
{
    static const char *const prefix[2] = {"opt.m.", "opt.v."};
    float *x = avs_xalloc((size_t)avs_type_count(&info->type) * sizeof(float));
    int rc = x ? fetch(f, info->key, &info->type, x, e)
               : avs_fail(e, AVS_ENOMEM, "out of memory for %s", info->key);
    if (rc == AVS_OK) rc = avs_plan_param_set(p, info->key, x, e);
    for (int k = 0; k < 2 && rc == AVS_OK && state[k] && info->is_trainable; k++) {
        char name[512];
        snprintf(name, sizeof name, "%s%s", prefix[k], info->key);
        rc = fetch(f, name, &info->type, x, e);
        if (rc == AVS_OK) rc = avs_plan_pack(p, info->key, x, state[k], e);
    }
    avs_xfree(x);
    return rc;
}

static bool holds_any(const avs_st_file *f, const char *prefix)
{
    for (int i = 0; i < f->n; i++)
        if (!strncmp(f->t[i].name, prefix, strlen(prefix))) return true;
    return false;
}

int avs_ckpt_load(avs_plan *p, float *m, float *v, avs_arena *a, avs_ckpt_info *info, const char *path,
                  const char *except, avs_err *e)
{
    avs_st_file f = {0};
    float *state[2] = {m, v};
    int rc = avs_st_open(&f, path, e);
    if (rc != AVS_OK) return rc;
    if (info) rc = read_info(&f, a, info, e);
    if (except && holds_any(&f, except)) except = NULL;
    for (int i = 0; rc == AVS_OK && i < avs_plan_n_params(p); i++) {
        const avs_plan_param *param = avs_plan_param_at(p, i);
        if (!except || strncmp(param->key, except, strlen(except)) != 0)
            rc = load_one(&f, p, param, state, e);
    }
    for (int i = 0; rc == AVS_OK && i < f.n; i++)
        if (strncmp(f.t[i].name, "opt.", 4) != 0 && !avs_plan_param_find(p, f.t[i].name))
            rc = avs_fail(e, AVS_EPARSE, "%s is no parameter of this model", f.t[i].name);
    if (rc != AVS_OK) avs_ctx(e, "%s", path);
    avs_st_close(&f);
    return rc;
}
