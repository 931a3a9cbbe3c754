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

/* Training has one rank per GPU (on the host ring too: that lies in the memory of one node); every other kind is one
 * process with all its GPUs. A trial without stated cores takes the node, for its kernels use every core. */
static avs_coord_class class_of(const avs_sweep_trial *t, const avs_sweep_limits *m)
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
                         .grace_ms = (int64_t)(m->grace_s * 1000),
                         .host_ok = strcmp(c->kind, "exec") != 0, /* what others wrote may need its GPU */
                         .resumes = trains,
                         .retries = m->retries};
    if (k.ranks > 1) {
        k.gpus = 1;
        k.cores = (k.cores + k.ranks - 1) / k.ranks;
        k.mem_mb /= k.ranks;
        if (k.pack != AVS_PACK_NUMA) k.pack = AVS_PACK_NODE;
    }
    k.no_retry[AVS_OUT_CRASH] = !(m->retry_on & AVS_RETRY_CRASH);
    k.no_retry[AVS_OUT_HANG] = !(m->retry_on & AVS_RETRY_HANG);
    k.no_retry[AVS_OUT_INFRA] = !(m->retry_on & AVS_RETRY_INFRA);
    k.no_retry[AVS_OUT_ERROR] = !(m->retry_on & AVS_RETRY_ERROR);
    k.no_retry[AVS_OUT_OOM] = !(m->retry_on & AVS_RETRY_OOM);
    return k;
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

static bool describe(avs_trial_list *l, avs_arena *a, int32_t i, int32_t *needs, const int32_t *place)
{
    avs_listed *x = &l->at[i];
    const avs_sweep_trial *t = x->trial;
    const avs_sweep_limits *m = &x->stage->limits;
    avs_hex(t->hash, 32, x->hex);
    x->time_ms = (int64_t)(m->time_s * 1000);
    x->hang_ms = (int64_t)(m->hang_s * 1000);
    for (int k = 0; k < t->n_needs; k++) needs[k] = place[t->needs[k].upstream->ordinal];
    const avs_coord_class class = class_of(t, m);
    /* The queue is sorted by priority already, so every trial has the same here. */
    l->coord[i] =
        (avs_coord_trial){.class_id = find_class(l, a, &class, i > 0 ? l->coord[i - 1].class_id : 0),
                          .need = needs,
                          .n_need = t->n_needs};
    return l->coord[i].class_id >= 0;
}

int avs_trial_list_make(avs_trial_list *l, avs_arena *a, const avs_sweep *s, avs_err *e)
{
    if (s->n_trials > INT32_MAX - 2)
        return avs_fail(e, AVS_ERANGE, "%lld trials are too many", (long long)s->n_trials);
    int32_t n = (int32_t)s->n_trials, n_needs = 0;
    sort_item *items = AVS_NEW_N(a, sort_item, n + 1);
    int32_t *place = AVS_NEW_N(a, int32_t, n + 1);
    l->at = AVS_NEW_N(a, avs_listed, n + 1);
    l->coord = AVS_NEW_N(a, avs_coord_trial, n + 1);
    l->n = n;
    if (!items || !place || !l->at || !l->coord) return avs_fail(e, AVS_ENOMEM, "no memory for %d trials", n);
    for (int st = 0; st < s->n_stages; st++) {
        const avs_sweep_stage *stage = &s->stages[st];
        uint32_t repeat = 0;
        for (int64_t k = 0; k < stage->n_trials; k++) {
            const avs_sweep_trial *t = stage->trials[k];
            repeat = k > 0 && stage->trials[k - 1]->config == t->config ? repeat + 1 : 0;
            if (t->stage != st) continue;
            sort_item *x = &items[t->ordinal];
            *x = (sort_item){.priority = t->config->priority, .stage = st, .index = (int32_t)t->ordinal};
            sort_keys(x, &stage->order, t, repeat);
            n_needs += t->n_needs;
        }
    }
    qsort(items, (size_t)n, sizeof *items, by_queue);
    for (int32_t i = 0; i < n; i++) {
        l->at[i].trial = s->trials[items[i].index];
        l->at[i].stage = &s->stages[l->at[i].trial->stage];
        place[items[i].index] = i;
    }
    int32_t *needs = AVS_NEW_N(a, int32_t, n_needs + 1);
    if (!needs) return avs_fail(e, AVS_ENOMEM, "no memory for %d trials", n);
    for (int32_t i = 0; i < n; i++) {
        if (!describe(l, a, i, needs, place)) return avs_fail(e, AVS_ENOMEM, "no memory for %d trials", n);
        needs += l->at[i].trial->n_needs;
    }
    return AVS_OK;
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

static avs_store_trial row_of(const avs_sweep_trial *t, int64_t stage_id, int64_t ordinal, avs_arena *a)
{
    avs_store_trial r = {.kind = t->config->kind,
                         .model = t->config->model,
                         .task = t->config->task,
                         .params_json = t->config->params,
                         .model_schema = 1,
                         .seed = t->seed,
                         .stage_id = stage_id,
                         .ordinal = ordinal,
                         .priority = t->config->priority};
    uint8_t *fp = t->config->data_fingerprint[0] ? avs_arena_alloc(a, 32) : NULL;
    if (fp && from_hex(t->config->data_fingerprint, fp)) r.data_fp = fp;
    memcpy(r.hash, t->hash, 32);
    memcpy(r.config_hash, t->config->hash, 32);
    return r;
}

static void take_over(avs_trial_list *l, const avs_store_trial *rows, const int32_t *place, int64_t n,
                      const avs_sweep_trial *const *of, bool retry_failed)
{
    for (int64_t k = 0; k < n; k++) {
        int32_t i = place[of[k]->ordinal];
        avs_coord_trial *c = &l->coord[i];
        if (l->at[i].trial_id) continue;
        l->at[i].trial_id = rows[k].trial_id;
        c->epoch = (uint32_t)rows[k].epoch;
        c->done = rows[k].state == AVS_TRIAL_DONE;
        c->failed = rows[k].state == AVS_TRIAL_FAILED && !retry_failed;
        l->reused += c->done;
        l->failed_before += c->failed;
    }
}

int avs_trial_list_register(avs_trial_list *l, avs_arena *a, const avs_sweep *s, avs_store *db,
                            const avs_trial_list_options *o, avs_err *e)
{
    int64_t total = 0, at = 0;
    int rc;
    for (int st = 0; st < s->n_stages; st++) total += s->stages[st].n_trials;
    avs_store_trial *rows = AVS_NEW_N(a, avs_store_trial, total + 1);
    const avs_sweep_trial **of = avs_arena_alloc(a, sizeof *of * (size_t)(total + 1));
    int32_t *place = AVS_NEW_N(a, int32_t, l->n + 1);
    if (!rows || !of || !place) return avs_fail(e, AVS_ENOMEM, "no memory for %lld trials", (long long)total);
    AVS_TRY(begin_sweep(l, a, s, db, o->argv_json, e));
    for (int st = 0; st < s->n_stages; st++) {
        const avs_sweep_stage *g = &s->stages[st];
        int64_t id = 0;
        const avs_store_stage_def def = {.name = g->name,
                                         .kind = g->kind,
                                         .objective_json = json_text(a, g->objective_json),
                                         .limits_json = json_text(a, g->limits_json),
                                         .resources_json = json_text(a, g->resources_json)};
        AVS_TRY(avs_store_stage(db, l->sweep_id, &def, &id, e));
        for (int64_t k = 0; k < g->n_trials; k++, at++) {
            of[at] = g->trials[k];
            rows[at] = row_of(g->trials[k], id, k, a);
        }
    }
    AVS_TRY(avs_store_register(db, l->sweep_id, rows, (size_t)total, e));
    for (int32_t i = 0; i < l->n; i++) place[l->at[i].trial->ordinal] = i;
    take_over(l, rows, place, total, of, o->retry_failed);
    AVS_TRY(avs_store_flush(db, e));
out:
    return rc;
}

int32_t avs_trial_list_find(const avs_trial_list *l, const char *hex)
{
    for (int32_t i = 0; i < l->n; i++)
        if (strcmp(l->at[i].hex, hex) == 0) return i;
    return -1;
}

void avs_trial_work_dir(const avs_trial_list *l, int32_t i, char *out, size_t n)
{
    snprintf(out, n, "%s/trials/%.12s", l->root, l->at[i].hex);
}

void avs_trial_log(const avs_trial_list *l, int32_t i, uint32_t epoch, char *out, size_t n)
{
    snprintf(out, n, "%s/logs/%.2s/%.12s-%u.log", l->root, l->at[i].hex, l->at[i].hex, epoch);
}

/* The canonical parameters, with data_root made absolute: the trial runs in a folder of its own. */
static int put_params(avs_buf *out, const avs_sweep_config *c, avs_err *e)
{
    avs_arena *a = avs_arena_new();
    avs_json *p = NULL;
    if (!a) return avs_fail(e, AVS_ENOMEM, "no memory for a job");
    int rc = avs_json_parse(a, "params", c->params, strlen(c->params), &p, e);
    if (rc == AVS_OK && c->data_root[0]) {
        char *whole = realpath(c->data_root, NULL);
        for (avs_json *m = p->first; m; m = m->next) {
            if (strcmp(m->key, "data_root") != 0 || m->kind != AVS_J_STR || !whole) continue;
            m->s = avs_arena_str(a, whole);
            m->len = strlen(whole);
        }
        free(whole);
    }
    if (rc == AVS_OK) avs_json_write(out, p, true);
    avs_arena_free(a);
    return rc;
}

int avs_trial_job(const avs_trial_list *l, int32_t i, uint64_t attempt, uint32_t epoch, int32_t cores,
                  avs_buf *out, avs_err *e)
{
    const avs_listed *x = &l->at[i];
    const avs_sweep_config *c = x->trial->config;
    char work[4096];
    avs_trial_work_dir(l, i, work, sizeof work);
    avs_buf_str(out, "{\"kind\":");
    avs_json_write_str(out, c->kind);
    avs_buf_str(out, ",\"model\":");
    avs_json_write_str(out, c->model ? c->model : "");
    avs_buf_str(out, ",\"task\":");
    avs_json_write_str(out, c->task ? c->task : "");
    avs_buf_str(out, ",\"params\":");
    int rc = put_params(out, c, e);
    if (rc != AVS_OK) return rc;
    avs_buf_fmt(out, ",\"seed\":%u,\"trial\":\"%s\",\"attempt\":%llu,\"epoch\":%u,\"ranks\":%d",
                x->trial->seed, x->hex, (unsigned long long)attempt, epoch,
                l->classes[l->coord[i].class_id].ranks);
    avs_buf_fmt(out, ",\"ring\":\"/avs-%.12s-%llu\",\"threads\":%d,\"work_dir\":", x->hex,
                (unsigned long long)attempt, cores);
    avs_json_write_str(out, work);
    snprintf(work, sizeof work, "%s/cache", l->root);
    avs_buf_str(out, ",\"cache_dir\":");
    avs_json_write_str(out, work);
    if (strcmp(c->kind, "exec") == 0 && getcwd(work, sizeof work)) { /* where its command starts */
        avs_buf_str(out, ",\"dir\":");
        avs_json_write_str(out, work);
    }
    avs_buf_str(out, ",\"limits\":{\"checkpoint_every_s\":");
    avs_json_write_num(out, x->stage->limits.checkpoint_every_s);
    avs_buf_char(out, '}');
    if (x->stage->metric) {
        avs_buf_str(out, ",\"objective\":{\"metric\":");
        avs_json_write_str(out, x->stage->metric);
        avs_buf_fmt(out, ",\"mode\":\"%s\"}", x->stage->maximise ? "max" : "min");
    }
    avs_buf_str(out, "}\n");
    return avs_buf_ok(out) ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for a job");
}
