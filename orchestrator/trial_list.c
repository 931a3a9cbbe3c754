/* Queue order, registration and job texts of the trials of a run. */
#include "orchestrator/trial_list.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "avs_version.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/rng.h"
#include "orchestrator/references.h"
#include "sweeps/expr.h"

typedef struct {
    double priority;
    int stage;
    uint64_t key, key2;
    int32_t index; /* into avs_sweep.trials */
} sort_item;

static int by_queue(const void *x, const void *y)
{
    const sort_item *a = x, *b = y;
    if (a->priority != b->priority) return a->priority > b->priority ? -1 : 1;
    if (a->stage != b->stage) return a->stage < b->stage ? -1 : 1;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    if (a->key2 != b->key2) return a->key2 < b->key2 ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static uint64_t hash_word(const uint8_t h[32])
{
    uint64_t v;
    memcpy(&v, h, sizeof v);
    return v;
}

/* repeat: which repetition of its configuration the trial is, 0 first (seeds are fastest in a stage). */
static void sort_keys(sort_item *k, const avs_sweep_order *o, const avs_sweep_trial *t, uint32_t repeat)
{
    bool by_config = strcmp(o->group, "config") == 0, by_repeat = strcmp(o->group, "repeat") == 0;
    if (strcmp(o->mode, "shuffle") == 0) {
        uint64_t draw = avs_splitmix64(o->seed ^ hash_word(by_config ? t->config->hash : t->hash));
        k->key = by_repeat ? repeat : draw;
        k->key2 = by_repeat ? draw : 0;
    } else if (strcmp(o->mode, "seeds-last") == 0) {
        k->key = repeat;
    }
}

static avs_pack pack_of(const char *word)
{
    if (strcmp(word, "node") == 0) return AVS_PACK_NODE;
    if (strcmp(word, "numa") == 0) return AVS_PACK_NUMA;
    return strcmp(word, "spread") == 0 ? AVS_PACK_SPREAD : AVS_PACK_ANY;
}

static avs_exclusive exclusive_of(const char *word)
{
    if (strcmp(word, "node") == 0) return AVS_EXCL_NODE;
    if (strcmp(word, "numa") == 0) return AVS_EXCL_NUMA;
    return strcmp(word, "gpu") == 0 ? AVS_EXCL_GPU : AVS_EXCL_NONE;
}

/* What others wrote may need its GPU; and whoever asks for the GPU's backend wants no other. */
static bool may_use_host(const char *kind)
{
    const char *backend = getenv("AVSWEEP_BACKEND");
    return strcmp(kind, "exec") != 0 && !(backend && strcmp(backend, "cuda") == 0);
}

/* Training has one rank per GPU (on the host ring too), on one node or several; every other kind is one process with all
 * its GPUs. A trial without stated cores takes the node, for its kernels use every core. */
static avs_coord_class class_of(const avs_sweep_trial *t, const avs_sweep_limits *m, int64_t expect_ms)
{
    const avs_sweep_config *c = t->config;
    const avs_sweep_resources *r = &c->resources;
    bool trains = strcmp(c->kind, "train") == 0, is_latency = strcmp(c->kind, "latency") == 0;
    int32_t cores = r->cpus > 0 ? r->cpus : r->gpus * r->cpus_per_gpu;
    avs_coord_class k = {.ranks = trains && r->gpus > 1 ? r->gpus : 1,
                         .gpus = r->gpus,
                         .cores = cores > 0                      ? cores
                                  : strcmp(c->kind, "noop") == 0 ? 1
                                                                 : 0,
                         .mem_mb = (int32_t)(r->mem_gb * 1024),
                         .pack = pack_of(r->pack),
                         .exclusive = is_latency ? AVS_EXCL_NODE : exclusive_of(r->exclusive),
                         .nvlink = strcmp(r->prefer, "nvlink") == 0,
                         .gpu_model = strcmp(r->gpu_model, "any") == 0 ? NULL : r->gpu_model,
                         .limit_ms = (int64_t)(m->time_s * 1000),
                         .expect_ms = expect_ms,
                         .grace_ms = (int64_t)(m->grace_s * 1000),
                         .host_ok = may_use_host(c->kind),
                         .resumes = trains,
                         .retries = m->retries};
    if (k.ranks > 1) {
        k.gpus = 1;
        k.cores = (k.cores + k.ranks - 1) / k.ranks;
        k.mem_mb /= k.ranks;
    }
    k.no_retry[AVS_OUT_CRASH] = !(m->retry_on & AVS_RETRY_CRASH);
    k.no_retry[AVS_OUT_HANG] = !(m->retry_on & AVS_RETRY_HANG);
    k.no_retry[AVS_OUT_INFRA] = !(m->retry_on & AVS_RETRY_INFRA);
    k.no_retry[AVS_OUT_ERROR] = !(m->retry_on & AVS_RETRY_ERROR);
    k.no_retry[AVS_OUT_OOM] = k.no_retry[AVS_OUT_OOM_GPU] = !(m->retry_on & AVS_RETRY_OOM);
    return k;
}

/* A measured length, rounded up to three binary digits so that trials of about one length share their class; 0: none. */
static int64_t expected_ms(const avs_trial_list_options *o, const avs_sweep_trial *t)
{
    if (!o || !o->seconds || !o->basis) return 0;
    uint8_t b = o->basis[t->ordinal];
    double ms = o->seconds[t->ordinal] * 1000;
    if ((b != AVS_EST_CONFIG && b != AVS_EST_LIKE && b != AVS_EST_SCALED) || !(ms > 0) || ms > 1e15) return 0;
    int64_t v = (int64_t)ceil(ms), step = 1;
    while (v / step >= 8) step *= 2;
    return (v + step - 1) / step * step;
}

static bool same_class(const avs_coord_class *x, const avs_coord_class *y)
{
    bool model = x->gpu_model == y->gpu_model ||
                 (x->gpu_model && y->gpu_model && strcmp(x->gpu_model, y->gpu_model) == 0);
    return model && x->ranks == y->ranks && x->gpus == y->gpus && x->cores == y->cores &&
           x->mem_mb == y->mem_mb && x->pack == y->pack && x->exclusive == y->exclusive &&
           x->nvlink == y->nvlink && x->limit_ms == y->limit_ms && x->expect_ms == y->expect_ms &&
           x->grace_ms == y->grace_ms && x->host_ok == y->host_ok && x->resumes == y->resumes &&
           x->retries == y->retries && memcmp(x->no_retry, y->no_retry, sizeof x->no_retry) == 0;
}

/* The number of this class; neighbours in the queue mostly share theirs. */
static int32_t find_class(avs_trial_list *l, avs_arena *a, const avs_coord_class *k, int32_t last)
{
    if (last < l->n_classes && same_class(&l->classes[last], k)) return last;
    for (int32_t j = 0; j < l->n_classes; j++)
        if (same_class(&l->classes[j], k)) return j;
    if (l->n_classes == l->cap_classes) {
        int32_t cap = l->cap_classes ? 2 * l->cap_classes : 16;
        avs_coord_class *wide = AVS_NEW_N(a, avs_coord_class, cap);
        if (!wide) return -1;
        if (l->n_classes > 0) memcpy(wide, l->classes, sizeof *wide * (size_t)l->n_classes);
        l->classes = wide;
        l->cap_classes = cap;
    }
    l->classes[l->n_classes] = *k;
    return l->n_classes++;
}

static bool describe(avs_trial_list *l, avs_arena *a, int32_t i, int32_t *needs, const int32_t *place,
                     const avs_trial_list_options *o)
{
    const avs_sweep_trial *t = l->at[i].trial;
    const avs_sweep_limits *m = &avs_trial_stage(l, i)->limits;
    for (int k = 0; k < t->n_needs; k++) needs[k] = place[t->needs[k].upstream->ordinal];
    const avs_coord_class class = class_of(t, m, expected_ms(o, t));
    /* The queue is sorted by priority already, so every trial has the same here. */
    l->coord[i] =
        (avs_coord_trial){.class_id = find_class(l, a, &class, i > 0 ? l->coord[i - 1].class_id : 0),
                          .need = needs,
                          .n_need = t->n_needs};
    return l->coord[i].class_id >= 0;
}

/* ---- choice ---- */

typedef struct {
    const avs_json *params;
    avs_json seed, stage, kind;
} seen_trial;

static const avs_json *look_up(void *ctx, const char *name)
{
    const seen_trial *t = ctx;
    if (strcmp(name, "seed") == 0) return &t->seed;
    if (strcmp(name, "stage") == 0 && !avs_json_get(t->params, "stage")) return &t->stage;
    if (strcmp(name, "kind") == 0) return &t->kind;
    return avs_json_get(t->params, name);
}

static avs_json text_value(const char *s)
{
    return (avs_json){.kind = AVS_J_STR, .s = s, .len = strlen(s)};
}

/* Marks the trials for which the expression holds, and all that they need. */
static int choose(const avs_sweep *s, const char *only, bool *chosen, avs_err *e)
{
    avs_arena *a = avs_arena_new(), *texts = avs_arena_new();
    avs_expr_error why;
    const avs_expr *x = a ? avs_expr_parse(a, only, &why) : NULL;
    const avs_sweep_config *last = NULL;
    avs_json *params = NULL;
    int rc = a && texts ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory to choose trials");
    if (rc == AVS_OK && !x)
        rc = avs_fail(e, AVS_EPARSE, "--only '%s': %s at character %zu", only, why.msg, why.offset + 1);
    for (int64_t i = 0; i < s->n_trials && rc == AVS_OK; i++) {
        const avs_sweep_trial *t = s->trials[i];
        avs_json v;
        if (i == 0 || t->config != last) {
            avs_arena_reset(texts);
            const char *text = avs_sweep_params(s, t->config, texts);
            rc = text ? avs_json_parse(texts, "params", text, strlen(text), &params, e)
                      : avs_fail(e, AVS_ENOMEM, "no memory to choose trials");
            last = t->config;
            if (rc != AVS_OK) break;
        }
        seen_trial seen = {.params = params,
                           .seed = {.kind = AVS_J_INT, .i = t->seed, .d = t->seed},
                           .stage = text_value(s->stages[t->stage].name),
                           .kind = text_value(t->config->kind)};
        if (avs_expr_eval(x, texts, look_up, &seen, &v, &why) != AVS_OK)
            rc = avs_fail(e, AVS_EPARSE, "--only '%s': %s", only, why.msg);
        else if (v.kind != AVS_J_BOOL)
            rc = avs_fail(e, AVS_EPARSE, "--only '%s' is neither true nor false", only);
        else
            chosen[i] = v.b;
    }
    for (int64_t i = s->n_trials; i-- > 0 && rc == AVS_OK;) /* upstream trials come earlier */
        for (int k = 0; chosen[i] && k < s->trials[i]->n_needs; k++)
            chosen[s->trials[i]->needs[k].upstream->ordinal] = true;
    avs_arena_free(a);
    avs_arena_free(texts);
    return rc;
}

/* The chosen trials of all stages as keys to sort by; how many. */
static int32_t fill_keys(const avs_sweep *s, const avs_trial_list_options *o, const bool *chosen,
                         sort_item *items, int64_t *n_needs)
{
    int32_t n = 0;
    *n_needs = 0;
    for (int st = 0; st < s->n_stages; st++) {
        const avs_sweep_stage *stage = &s->stages[st];
        uint32_t repeat = 0;
        for (int64_t k = 0; k < stage->n_trials; k++) {
            const avs_sweep_trial *t = stage->trials[k];
            repeat = k > 0 && stage->trials[k - 1]->config == t->config ? repeat + 1 : 0;
            if (t->stage != st || (chosen && !chosen[t->ordinal])) continue;
            sort_item *x = &items[n++];
            *x = (sort_item){.priority = t->config->priority, .stage = st, .index = (int32_t)t->ordinal};
            sort_keys(x, &stage->order, t, repeat);
            if (strcmp(stage->order.mode, "longest-first") == 0 && o && o->seconds)
                x->key = UINT64_MAX - (uint64_t)(o->seconds[t->ordinal] * 1000);
            *n_needs += t->n_needs;
        }
    }
    return n;
}

int avs_trial_list_make(avs_trial_list *l, avs_arena *a, const avs_sweep *s, const avs_trial_list_options *o,
                        avs_err *e)
{
    if (s->n_trials > INT32_MAX - 2)
        return avs_fail(e, AVS_ERANGE, "%lld trials are too many", (long long)s->n_trials);
    int64_t n_needs = 0;
    size_t total = (size_t)s->n_trials + 1;
    sort_item *items = avs_xrealloc(NULL, sizeof *items * total);
    int32_t *place = avs_xrealloc(NULL, sizeof *place * total);
    bool *chosen = o && o->only ? avs_xrealloc(NULL, total) : NULL;
    int rc = items && place && (chosen || !o || !o->only)
                 ? AVS_OK
                 : avs_fail(e, AVS_ENOMEM, "no memory for %zu trials", total);
    if (rc == AVS_OK && chosen) rc = choose(s, o->only, chosen, e);
    if (rc != AVS_OK) goto out;
    int32_t n = fill_keys(s, o, chosen, items, &n_needs);
    l->sweep = s;
    l->n = n;
    l->at = AVS_NEW_N(a, avs_listed, n + 1);
    l->coord = avs_xalloc(sizeof *l->coord * ((size_t)n + 1));
    l->held = AVS_NEW_N(a, bool, n + 1);
    int32_t *needs = AVS_NEW_N(a, int32_t, n_needs + 1);
    if (!l->at || !l->coord || !l->held || !needs) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for %d trials", n);
        goto out;
    }
    qsort(items, (size_t)n, sizeof *items, by_queue);
    for (int32_t i = 0; i < n; i++) {
        l->at[i].trial = s->trials[items[i].index];
        place[items[i].index] = i;
    }
    for (int32_t i = 0; i < n; i++) {
        if (!describe(l, a, i, needs, place, o)) {
            rc = avs_fail(e, AVS_ENOMEM, "no memory for %d trials", n);
            goto out;
        }
        needs += l->at[i].trial->n_needs;
    }
out:
    free(items);
    free(place);
    free(chosen);
    return rc;
}

static const char *json_text(avs_arena *a, const avs_json *j)
{
    avs_buf b = AVS_BUF_INIT;
    if (!j) return NULL;
    avs_json_write(&b, j, true);
    const char *out = avs_buf_ok(&b) ? avs_arena_str(a, avs_buf_cstr(&b)) : NULL;
    avs_buf_free(&b);
    return out;
}

static bool from_hex(const char *hex, uint8_t out[32])
{
    return strlen(hex) == 64 && avs_unhex(hex, 32, out);
}

static int begin_sweep(avs_trial_list *l, avs_arena *a, const avs_sweep *s, avs_store *db,
                       const char *argv_json, avs_err *e)
{
    avs_store_source *src = AVS_NEW_N(a, avs_store_source, s->n_sources + 1);
    if (!src) return avs_fail(e, AVS_ENOMEM, "no memory for the sweep");
    for (int i = 0; i < s->n_sources; i++)
        src[i] = (avs_store_source){s->sources[i].src->path, s->sources[i].src->text, s->sources[i].src->len};
    avs_store_sweep w = {.name = s->name,
                         .sources = src,
                         .n_sources = (size_t)s->n_sources,
                         .argv_json = argv_json,
                         .report_json = json_text(a, s->report),
                         .tool_version = AVS_VERSION,
                         .git_commit = AVS_COMMIT,
                         .git_dirty = AVS_COMMIT_DIRTY};
    memcpy(w.file_hash, s->file_hash, 32);
    return avs_store_sweep_begin(db, &w, &l->sweep_id, &l->resumed, e);
}

/* ---- registration ---- */

enum { BATCH = 1024 };

/* As an attempt records it (results/write_attempt.c). */
static const char *const code_now = AVS_COMMIT_DIRTY ? AVS_COMMIT "+" : AVS_COMMIT;

typedef struct {
    avs_trial_list *l;
    const avs_trial_list_options *o;
    bool other_code; /* there are results of other code, and somebody wants to know */
    avs_arena *a;    /* of the batch */
    avs_store_trial rows[BATCH];
    const avs_sweep_trial *of[BATCH];
    size_t n;
    int32_t *place; /* by ordinal; -1: not chosen */
} registrar;

static bool row_of(registrar *g, const avs_sweep_trial *t, int64_t stage_id, int64_t ordinal)
{
    const avs_sweep_config *c = t->config;
    avs_store_trial *r = &g->rows[g->n];
    bool same = g->n > 0 && g->of[g->n - 1]->config == c;
    *r = (avs_store_trial){.kind = c->kind,
                           .model = c->model,
                           .task = c->task,
                           .params_json = same ? r[-1].params_json : avs_sweep_params(g->l->sweep, c, g->a),
                           .model_schema = 1,
                           .seed = t->seed,
                           .stage_id = stage_id,
                           .ordinal = ordinal,
                           .priority = c->priority};
    uint8_t *fp = c->data_fingerprint[0] ? avs_arena_alloc(g->a, 32) : NULL;
    if (fp && from_hex(c->data_fingerprint, fp)) r->data_fp = fp;
    memcpy(r->hash, t->hash, 32);
    memcpy(r->config_hash, c->hash, 32);
    g->of[g->n++] = t;
    return r->params_json != NULL;
}

/* Puts the folder of a done trial aside and makes the trial pending. */
static int begin_afresh(registrar *g, int32_t i, const avs_store_trial *r, avs_err *e)
{
    char from[4096], to[4128];
    avs_trial_work_dir(g->l, i, from, sizeof from);
    snprintf(to, sizeof to, "%s.before-%d", from, r->epoch);
    bool moved = avs_fs_exists(from) && rename(from, to) == 0;
    return avs_store_forget_done(g->l->db, r->trial_id, moved ? from : NULL, to, e);
}

/* Whether a done trial counts as done; what it was done with may be another version of the code. */
static int still_done(registrar *g, int32_t i, const avs_store_trial *r, bool *done, avs_err *e)
{
    bool rerun = g->o->fresh;
    *done = true;
    if (!rerun && g->other_code) {
        const char *code = NULL;
        int rc = avs_store_code_of(g->l->db, r->trial_id, g->a, &code, e);
        if (rc != AVS_OK) return rc;
        bool same = !code || strcmp(code, code_now) == 0;
        g->l->n_stale += !same;
        rerun = !same && g->o->stale == AVS_STALE_RERUN;
    }
    if (!rerun) return AVS_OK;
    *done = false;
    return begin_afresh(g, i, r, e);
}

static int still_failed(const registrar *g, const avs_store_trial *r, bool *failed, avs_err *e)
{
    avs_end_reason why = AVS_END_NONE;
    *failed = r->state == AVS_TRIAL_FAILED && !g->o->retry_failed;
    if (!*failed || !g->o->retry_lost) return AVS_OK;
    int rc = avs_store_last_reason(g->l->db, r->trial_id, &why, e);
    *failed = why != AVS_END_LOST && why != AVS_END_INFRA;
    return rc;
}

/* What the database knows of one trial. */
static int take_over(registrar *g, size_t k, avs_err *e)
{
    const avs_sweep_trial *t = g->of[k];
    const avs_store_trial *r = &g->rows[k];
    avs_trial_list *l = g->l;
    int rc = AVS_OK;
    if (l->ids[t->ordinal]) return AVS_OK; /* listed by an earlier stage */
    l->ids[t->ordinal] = r->trial_id;
    for (int i = 0; i < t->n_needs; i++) {
        const avs_sweep_need *need = &t->needs[i];
        if (!r->reused)
            AVS_TRY(avs_store_dep(l->db, r->trial_id, l->ids[need->upstream->ordinal], need->alias, e));
    }
    int32_t i = g->place[t->ordinal];
    if (i < 0) return AVS_OK;
    avs_coord_trial *c = &l->coord[i];
    c->epoch = (uint32_t)r->epoch;
    if (r->state == AVS_TRIAL_DONE) AVS_TRY(still_done(g, i, r, &c->done, e));
    AVS_TRY(still_failed(g, r, &c->failed, e));
    c->cancelled = r->state == AVS_TRIAL_CANCELLED;
    c->pruned = r->state == AVS_TRIAL_PRUNED;
    l->held[i] = r->state == AVS_TRIAL_PAUSED;
    if (l->resumed && r->reused) c->priority = (float)r->priority; /* `avsweep prioritise` */
    l->reused += c->done;
    l->failed_before += c->failed;
out:
    return rc;
}

static int flush_batch(registrar *g, avs_err *e)
{
    int rc;
    AVS_TRY(avs_store_register(g->l->db, g->l->sweep_id, g->rows, g->n, e));
    for (size_t k = 0; k < g->n; k++) AVS_TRY(take_over(g, k, e));
    g->n = 0;
    avs_arena_reset(g->a);
out:
    return rc;
}

static int register_stage(registrar *g, const avs_sweep_stage *s, avs_err *e)
{
    int64_t id = 0;
    int rc;
    const avs_store_stage_def def = {.name = s->name,
                                     .kind = s->kind,
                                     .objective_json = json_text(g->a, s->objective_json),
                                     .limits_json = json_text(g->a, s->limits_json),
                                     .resources_json = json_text(g->a, s->resources_json)};
    AVS_TRY(avs_store_stage(g->l->db, g->l->sweep_id, &def, &id, e));
    for (int64_t k = 0; k < s->n_trials; k++) {
        if (!row_of(g, s->trials[k], id, k)) return avs_fail(e, AVS_ENOMEM, "no memory to register trials");
        if (g->n == BATCH) AVS_TRY(flush_batch(g, e));
    }
    AVS_TRY(flush_batch(g, e)); /* a stage is known before what builds on it */
out:
    return rc;
}

int avs_trial_list_register(avs_trial_list *l, avs_arena *a, const avs_sweep *s, avs_store *db,
                            const avs_trial_list_options *o, avs_err *e)
{
    size_t total = (size_t)s->n_trials + 1;
    int rc;
    l->db = db;
    l->ids = AVS_NEW_N(a, int64_t, total);
    registrar *g = avs_xalloc(sizeof *g);
    int32_t *place = avs_xrealloc(NULL, sizeof *place * total);
    if (g) {
        g->l = l;
        g->o = o;
        g->place = place;
        g->a = avs_arena_new();
    }
    if (!g || !place || !g->a || !l->ids) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for %zu trials", total);
        goto out;
    }
    for (size_t i = 0; i < total; i++) place[i] = -1;
    for (int32_t i = 0; i < l->n; i++) place[l->at[i].trial->ordinal] = i;
    avs_store_bulk(db, true);
    AVS_TRY(begin_sweep(l, a, s, db, o->argv_json, e));
    if (o->stale != AVS_STALE_KEEP) AVS_TRY(avs_store_has_other_code(db, code_now, &g->other_code, e));
    for (int st = 0; st < s->n_stages; st++) AVS_TRY(register_stage(g, &s->stages[st], e));
    AVS_TRY(avs_store_flush(db, e));
out:
    if (g) avs_arena_free(g->a);
    avs_xfree(g);
    free(place);
    avs_store_bulk(db, false);
    return rc;
}

int32_t avs_trial_list_find(const avs_trial_list *l, const char *hex)
{
    uint8_t hash[32];
    if (!from_hex(hex, hash)) return -1;
    for (int32_t i = 0; i < l->n; i++)
        if (memcmp(l->at[i].trial->hash, hash, 32) == 0) return i;
    return -1;
}

void avs_trial_list_told(avs_trial_list *l)
{
    avs_xfree(l->coord);
    l->coord = NULL;
}

const char *avs_trial_hex(const avs_trial_list *l, int32_t i, char out[65])
{
    avs_hex(l->at[i].trial->hash, 32, out);
    return out;
}

int64_t avs_trial_row(const avs_trial_list *l, int32_t i)
{
    return l->ids ? l->ids[l->at[i].trial->ordinal] : 0;
}

const avs_sweep_stage *avs_trial_stage(const avs_trial_list *l, int32_t i)
{
    return &l->sweep->stages[l->at[i].trial->stage];
}

void avs_trial_work_dir(const avs_trial_list *l, int32_t i, char *out, size_t n)
{
    char hex[65];
    snprintf(out, n, "%s/trials/%.12s", l->root, avs_trial_hex(l, i, hex));
}

void avs_trial_log(const avs_trial_list *l, int32_t i, uint32_t epoch, char *out, size_t n)
{
    char hex[65];
    avs_trial_hex(l, i, hex);
    snprintf(out, n, "%s/logs/%.2s/%.12s-%u.log", l->root, hex, hex, epoch);
}

/* The canonical parameters, with data_root made absolute (the trial runs in a folder of its own) and what it takes over
 * from upstream trials filled in. */
static int put_params(avs_buf *out, const avs_trial_list *l, const avs_sweep_trial *t, avs_err *e)
{
    const avs_sweep_config *c = t->config;
    avs_arena *a = avs_arena_new();
    avs_json *p = NULL;
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for a job");
    const char *text = avs_sweep_params(l->sweep, c, a);
    int rc = text ? avs_json_parse(a, "params", text, strlen(text), &p, e)
                  : avs_fail(e, AVS_ENOMEM, "no memory for a job");
    if (rc == AVS_OK && c->data_root[0]) {
        char *whole = realpath(c->data_root, NULL);
        for (avs_json *m = p->first; m; m = m->next) {
            if (strcmp(m->key, "data_root") != 0 || m->kind != AVS_J_STR || !whole) continue;
            m->s = avs_arena_str(a, whole);
            m->len = strlen(whole);
        }
        free(whole);
    }
    if (rc == AVS_OK) rc = avs_references_fill(l, t, p, a, e);
    if (rc == AVS_OK) avs_json_write(out, p, true);
    avs_arena_free(a);
    return rc;
}

int avs_trial_job(const avs_trial_list *l, const avs_action *start, uint64_t attempt, bool on_gpu,
                  avs_buf *out, avs_err *e)
{
    const int32_t i = start->trial;
    const avs_sweep_trial *t = l->at[i].trial;
    const avs_sweep_stage *stage = avs_trial_stage(l, i);
    const avs_sweep_config *c = t->config;
    char work[4096], hex[65];
    avs_trial_hex(l, i, hex);
    avs_trial_work_dir(l, i, work, sizeof work);
    avs_buf_str(out, "{\"kind\":");
    avs_json_write_str(out, c->kind);
    avs_buf_str(out, ",\"model\":");
    avs_json_write_str(out, c->model ? c->model : "");
    avs_buf_str(out, ",\"task\":");
    avs_json_write_str(out, c->task ? c->task : "");
    avs_buf_str(out, ",\"params\":");
    int rc = put_params(out, l, t, e);
    if (rc != AVS_OK) return rc;
    avs_buf_fmt(out, ",\"seed\":%u,\"trial\":\"%s\",\"attempt\":%llu,\"epoch\":%u,\"ranks\":%d", t->seed, hex,
                (unsigned long long)attempt, start->epoch, start->ranks);
    if (start->n_ranks < start->ranks) /* on several nodes */
        avs_buf_str(out, ",\"ring\":\"tcp\"");
    else
        avs_buf_fmt(out, ",\"ring\":\"/avs-%.12s-%llu\"", hex, (unsigned long long)attempt);
    avs_buf_fmt(out, ",\"threads\":%d,\"work_dir\":", start->cores);
    avs_json_write_str(out, work);
    snprintf(work, sizeof work, "%s/cache", l->root);
    avs_buf_str(out, ",\"cache_dir\":");
    avs_json_write_str(out, work);
    const char *wish = getenv("AVSWEEP_BACKEND"); /* inherited by the trial */
    if (on_gpu && !(wish && *wish)) avs_buf_str(out, ",\"backend\":\"cuda\"");
    if (strcmp(c->kind, "exec") == 0 && getcwd(work, sizeof work)) { /* where its command starts */
        avs_buf_str(out, ",\"dir\":");
        avs_json_write_str(out, work);
    }
    avs_buf_str(out, ",\"limits\":{\"checkpoint_every_s\":");
    avs_json_write_num(out, stage->limits.checkpoint_every_s);
    avs_buf_char(out, '}');
    if (stage->metric) {
        avs_buf_str(out, ",\"objective\":{\"metric\":");
        avs_json_write_str(out, stage->metric);
        avs_buf_fmt(out, ",\"mode\":\"%s\"}", stage->maximise ? "max" : "min");
    }
    avs_buf_str(out, "}\n");
    return avs_buf_ok(out) ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for a job");
}
