/* The join of stages: an index from the values of the match keys to the upstream trials that have them. */
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "sweeps/point.h"

typedef struct {
    const char *key; /* NULL: free */
    const avs_sweep_trial *trial;
    int64_t count;
} slot;

struct avs_join {
    const avs_need_def *need;
    slot *slots;
    uint64_t mask;
};

/* "backbone=swin_b, seed=3". A parameter that the kind of trial does not have (lr of an evaluation) counts with the
 * value that the point of the sweep sets. */
static const char *key_text(avs_arena *a, const avs_need_def *need, const avs_json *params,
                            const avs_point *pt, uint32_t seed)
{
    avs_buf b = AVS_BUF_INIT;
    for (int i = 0; i < need->n_match; i++) {
        const avs_json *v = avs_json_get(params, need->match[i]);
        const avs_setting *set = !v && pt ? avs_point_find(pt, need->match[i]) : NULL;
        if (set) v = set->value;
        avs_buf_fmt(&b, "%s%s=", i ? ", " : "", need->match[i]);
        if (strcmp(need->match[i], "seed") == 0)
            avs_buf_fmt(&b, "%u", seed);
        else if (!v)
            avs_buf_str(&b, "-");
        else if (v->kind == AVS_J_STR)
            avs_buf_str(&b, v->s);
        else
            avs_json_write(&b, v, true);
    }
    const char *text = avs_buf_ok(&b) ? avs_arena_str(a, avs_buf_cstr(&b)) : NULL;
    avs_buf_free(&b);
    return text;
}

static slot *find(const avs_join *j, const char *key)
{
    uint64_t at = avs_fnv1a64_str(key) & j->mask;
    while (j->slots[at].key && strcmp(j->slots[at].key, key) != 0) at = (at + 1) & j->mask;
    return &j->slots[at];
}

/* Key of trial i of the stage, in words, and its place among the slots. */
static bool enter(avs_join *j, avs_arena *a, const avs_sweep_trial *t, const avs_json *params)
{
    const char *key = key_text(a, j->need, params, NULL, t->seed);
    if (!key) return false;
    slot *s = find(j, key);
    if (!s->key) *s = (slot){key, t, 0};
    s->count++;
    return true;
}

avs_join *avs_join_new(const avs_sweep *sweep, avs_arena *a, const avs_need_def *need)
{
    const avs_sweep_stage *upstream = &sweep->stages[need->from];
    avs_join *j = AVS_NEW(a, avs_join);
    avs_arena *scratch = avs_arena_new();
    uint64_t cap = 16;
    while (cap < 2 * (uint64_t)upstream->n_trials) cap *= 2;
    bool ok = j && scratch;
    if (ok) {
        j->need = need;
        j->mask = cap - 1;
        j->slots = AVS_NEW_N(a, slot, cap);
        ok = j->slots != NULL;
    }
    const avs_sweep_config *last = NULL;
    avs_json *params = NULL;
    for (int64_t i = 0; ok && i < upstream->n_trials; i++) {
        const avs_sweep_trial *t = upstream->trials[i];
        if (t->config != last) {
            avs_arena_reset(scratch);
            const char *text = avs_sweep_params(sweep, t->config, scratch);
            ok = text && avs_json_parse(scratch, "parameters", text, strlen(text), &params, NULL) == AVS_OK;
        }
        last = t->config;
        ok = ok && enter(j, a, t, params);
    }
    avs_arena_free(scratch);
    return ok ? j : NULL;
}

const avs_sweep_trial *avs_join_find(avs_join *j, avs_arena *scratch, const avs_json *params,
                                     const avs_point *pt, uint32_t seed, int64_t *count, const char **key)
{
    *key = key_text(scratch, j->need, params, pt, seed);
    *count = -1; /* no memory */
    if (!*key) return NULL;
    const slot *s = find(j, *key);
    *count = s->key ? s->count : 0;
    return s->key ? s->trial : NULL;
}
