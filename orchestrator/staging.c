/* A list of entries, one arena each. Lists inside an entry grow by doubling; strings live in the arena. */
#include "orchestrator/staging.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/json.h"

struct avs_staged {
    int peer;
    uint64_t attempt;
    uint32_t epoch;
    avs_arena *arena;
    avs_store_result *result;
    avs_store_point *point;
    avs_store_latency latency[2];
    avs_store_artifact *artifact;
    size_t n_result, n_point, n_latency, n_artifact;
    size_t cap_result, cap_point, cap_artifact;
    const char *env, *resumed_from;
    int64_t pid;
    char bad[240];
    struct avs_staged *next;
};

struct avs_staging {
    avs_staged *first;
};

avs_staging *avs_staging_new(void)
{
    avs_staging *s = avs_xrealloc(NULL, sizeof *s);
    if (s) *s = (avs_staging){0};
    return s;
}

static void free_one(avs_staged *g)
{
    free(g->result);
    free(g->point);
    free(g->artifact);
    avs_arena_free(g->arena);
    free(g);
}

void avs_staging_free(avs_staging *s)
{
    if (!s) return;
    while (s->first) {
        avs_staged *g = s->first;
        s->first = g->next;
        free_one(g);
    }
    free(s);
}

avs_staged *avs_staging_find(avs_staging *s, int peer, uint64_t attempt, uint32_t epoch)
{
    for (avs_staged *g = s->first; g; g = g->next)
        if (g->attempt == attempt && g->epoch == epoch && g->peer == peer) return g;
    return NULL;
}

void avs_staging_drop(avs_staging *s, int peer, uint64_t attempt, uint32_t epoch)
{
    for (avs_staged **at = &s->first; *at; at = &(*at)->next) {
        avs_staged *g = *at;
        if (g->attempt != attempt || g->epoch != epoch || g->peer != peer) continue;
        *at = g->next;
        free_one(g);
        return;
    }
}

static bool grow(void **at, size_t *cap, size_t n, size_t size)
{
    if (n < *cap) return true;
    size_t want = *cap ? 2 * *cap : 16;
    void *p = avs_xrealloc(*at, want * size);
    if (!p) return false;
    *at = p;
    *cap = want;
    return true;
}

static void mark_bad(avs_staged *g, const char *frame, const char *name, const char *why)
{
    if (!g->bad[0]) snprintf(g->bad, sizeof g->bad, "the trial sent %s %s %s", frame, name, why);
}

/* A JSON object or NULL: the store keeps text, and must never be handed half an object. */
static const char *object_text(avs_staged *g, const avs_frame *f)
{
    avs_json *j = NULL;
    char *text = avs_frame_str(f, AVS_T_JSON, g->arena);
    if (!text || avs_json_parse(g->arena, "json", text, strlen(text), &j, NULL) != AVS_OK) return NULL;
    return j->kind == AVS_J_OBJ ? text : NULL;
}

static int add_result(avs_staged *g, const avs_frame *f, const char *name, avs_err *e)
{
    avs_store_result r = {.name = name,
                          .split = avs_frame_str(f, AVS_T_SPLIT, g->arena),
                          .value = avs_frame_f64(f, AVS_T_VALUE, (double)NAN),
                          .unit = avs_frame_str(f, AVS_T_UNIT, g->arena),
                          .better = (int)avs_frame_i64(f, AVS_T_BETTER, 0)};
    if (!r.split) r.split = "";
    if (!isfinite(r.value)) {
        mark_bad(g, "RESULT", name, "whose value is not finite");
        return AVS_OK;
    }
    for (size_t i = 0; i < g->n_result; i++)
        if (strcmp(g->result[i].name, name) == 0 && strcmp(g->result[i].split, r.split) == 0) {
            g->result[i] = r;
            return AVS_OK;
        }
    void *at = g->result;
    if (!grow(&at, &g->cap_result, g->n_result, sizeof r))
        return avs_fail(e, AVS_ENOMEM, "no memory for results");
    g->result = at;
    g->result[g->n_result++] = r;
    return AVS_OK;
}

static int add_point(avs_staged *g, const avs_frame *f, const char *name, avs_err *e)
{
    avs_store_point p = {name, avs_frame_i64(f, AVS_T_STEP, -1), avs_frame_f64(f, AVS_T_VALUE, (double)NAN)};
    if (!isfinite(p.value)) return AVS_OK; /* a diverged loss is no reason to lose the attempt */
    void *at = g->point;
    if (!grow(&at, &g->cap_point, g->n_point, sizeof p))
        return avs_fail(e, AVS_ENOMEM, "no memory for points");
    g->point = at;
    g->point[g->n_point++] = p;
    return AVS_OK;
}

static int add_latency(avs_staged *g, const avs_frame *f, const char *name, avs_err *e)
{
    size_t n = 0, k = 0;
    const uint8_t *blob = avs_frame_get(f, AVS_T_BLOB, &n);
    if (!blob || n == 0 || n % 4 != 0) {
        mark_bad(g, "LATENCY", name, "without whole samples");
        return AVS_OK;
    }
    uint32_t *samples = avs_arena_alloc(g->arena, n);
    if (!samples) return avs_fail(e, AVS_ENOMEM, "no memory for %zu samples", n / 4);
    for (size_t i = 0; i < n / 4; i++)
        samples[i] = (uint32_t)blob[4 * i] | (uint32_t)blob[4 * i + 1] << 8 |
                     (uint32_t)blob[4 * i + 2] << 16 | (uint32_t)blob[4 * i + 3] << 24;
    while (k < g->n_latency && strcmp(g->latency[k].name, name) != 0) k++;
    if (k == sizeof g->latency / sizeof *g->latency) {
        mark_bad(g, "LATENCY", name, "as a third kind");
        return AVS_OK;
    }
    if (k == g->n_latency) g->n_latency++;
    avs_json *j = NULL;
    const char *text = object_text(g, f);
    if (text && avs_json_parse(g->arena, "json", text, strlen(text), &j, NULL) != AVS_OK) j = NULL;
    g->latency[k] = (avs_store_latency){.name = name,
                                        .samples = samples,
                                        .n = (int64_t)(n / 4),
                                        .unit_ns = avs_frame_f64(f, AVS_T_UNIT_NS, 1),
                                        .flags = (int)avs_frame_i64(f, AVS_T_FLAGS, 0),
                                        .h2d_ns = avs_json_num(j, "h2d_ns", (double)NAN),
                                        .d2h_ns = avs_json_num(j, "d2h_ns", (double)NAN),
                                        .json = text};
    return AVS_OK;
}

/* 64 hex digits or 32 raw bytes. */
static const uint8_t *digest(avs_staged *g, const avs_frame *f)
{
    size_t n = 0;
    const uint8_t *p = avs_frame_get(f, AVS_T_SHA256, &n);
    if (p && n == 32) return avs_arena_dup(g->arena, p, 32);
    if (!p || n != 64) return NULL;
    uint8_t *out = avs_arena_alloc(g->arena, 32);
    return out && avs_unhex((const char *)p, 32, out) ? out : NULL;
}

static int add_artifact(avs_staged *g, const avs_frame *f, const char *name, const char *kind, avs_err *e)
{
    avs_store_artifact a = {.name = name,
                            .kind = kind,
                            .path = avs_frame_str(f, AVS_T_PATH, g->arena),
                            .bytes = avs_frame_i64(f, AVS_T_BYTES, 0),
                            .sha256 = digest(g, f),
                            .step = avs_frame_i64(f, AVS_T_STEP, -1)};
    if (!a.path) {
        mark_bad(g, "ARTIFACT", name, "without a path");
        return AVS_OK;
    }
    for (size_t i = 0; i < g->n_artifact; i++)
        if (strcmp(g->artifact[i].name, name) == 0 && strcmp(g->artifact[i].path, a.path) == 0 &&
            g->artifact[i].step == a.step) {
            g->artifact[i] = a;
            return AVS_OK;
        }
    void *at = g->artifact;
    if (!grow(&at, &g->cap_artifact, g->n_artifact, sizeof a))
        return avs_fail(e, AVS_ENOMEM, "no memory for artifacts");
    g->artifact = at;
    g->artifact[g->n_artifact++] = a;
    return AVS_OK;
}

static avs_staged *find_or_add(avs_staging *s, int peer, const avs_frame *f)
{
    avs_staged *g = avs_staging_find(s, peer, f->attempt, f->epoch);
    if (g) return g;
    g = avs_xrealloc(NULL, sizeof *g);
    if (!g) return NULL;
    *g = (avs_staged){
        .peer = peer, .attempt = f->attempt, .epoch = f->epoch, .arena = avs_arena_new(), .next = s->first};
    if (!g->arena) {
        free(g);
        return NULL;
    }
    s->first = g;
    return g;
}

int avs_staging_add(avs_staging *s, int peer, const avs_frame *f, avs_err *e)
{
    avs_staged *g = find_or_add(s, peer, f);
    if (!g) return avs_fail(e, AVS_ENOMEM, "no memory for the results of an attempt");
    const char *name = avs_frame_str(f, AVS_T_NAME, g->arena);
    bool named = f->type == AVS_F_POINT || f->type == AVS_F_RESULT || f->type == AVS_F_LATENCY ||
                 f->type == AVS_F_ARTIFACT;
    if (named && (!name || !*name)) {
        mark_bad(g, "a frame", "", "without a name");
        return AVS_OK;
    }
    switch (f->type) {
    case AVS_F_HELLO:
        g->pid = avs_frame_i64(f, AVS_T_PID, 0);
        return AVS_OK;
    case AVS_F_ENV:
        g->env = object_text(g, f);
        return AVS_OK;
    case AVS_F_POINT:
        return add_point(g, f, name, e);
    case AVS_F_RESULT:
        return add_result(g, f, name, e);
    case AVS_F_LATENCY:
        return add_latency(g, f, name, e);
    case AVS_F_ARTIFACT: {
        const char *kind = avs_frame_str(f, AVS_T_KIND, g->arena);
        return add_artifact(g, f, name, kind ? kind : "file", e);
    }
    case AVS_F_CKPT:
        return add_artifact(g, f, "checkpoint", "checkpoint", e);
    case AVS_F_RESUMED:
        g->resumed_from = avs_frame_str(f, AVS_T_PATH, g->arena);
        return AVS_OK;
    default:
        return AVS_OK;
    }
}

int avs_staged_disturbed(avs_staged *g, int flags, const char *json)
{
    int all = 0;
    for (size_t i = 0; i < g->n_latency; i++) {
        avs_store_latency *l = &g->latency[i];
        size_t n = l->json ? strlen(l->json) : 0;
        const char *more =
            n > 2 ? avs_arena_fmt(g->arena, "%.*s,\"node\":%s}", (int)(n - 1), l->json, json ? json : "null")
                  : avs_arena_fmt(g->arena, "{\"node\":%s}", json ? json : "null");
        if (json && more) l->json = more;
        l->flags |= flags;
        all |= l->flags;
    }
    return all;
}

const char *avs_staged_bad(const avs_staged *g)
{
    return g->bad[0] ? g->bad : NULL;
}

void avs_staged_fill(const avs_staged *g, avs_store_end *end)
{
    end->results = g->result;
    end->n_results = g->n_result;
    end->points = g->point;
    end->n_points = g->n_point;
    end->latencies = g->latency;
    end->n_latencies = g->n_latency;
    end->artifacts = g->artifact;
    end->n_artifacts = g->n_artifact;
    end->env_json = g->env;
    end->resumed_from = g->resumed_from;
    end->pid = g->pid;
}

const avs_store_point *avs_staged_points(const avs_staged *g, size_t *n)
{
    *n = g->n_point;
    return g->point;
}

void avs_staged_points_stored(avs_staged *g)
{
    g->n_point = 0;
}
