/* Medians of what was seen, and the sums over a list. */
#include "orchestrator/estimate.h"

#include <math.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"

typedef struct {
    const avs_store_past *past;
    size_t n;
    double *scratch; /* n values to take a median of */
} history;

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

static int by_config(const void *x, const void *y)
{
    return memcmp(((const avs_store_past *)x)->config_hash, ((const avs_store_past *)y)->config_hash, 32);
}

/* The attempts of one configuration lie together. 0: none. */
static double of_config(const history *h, const uint8_t hash[32])
{
    size_t lo = 0, hi = h->n, n = 0;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (memcmp(h->past[mid].config_hash, hash, 32) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < h->n && memcmp(h->past[lo].config_hash, hash, 32) == 0; lo++)
        h->scratch[n++] = h->past[lo].seconds;
    return n ? median(h->scratch, n) : 0;
}

static bool gpu_fits(const regex_t *want, const char *have)
{
    return !want || !have[0] || regexec(want, have, 0, NULL, 0) == 0;
}

/* Of equal model, task and kind; or per pixel, of equal model and kind. */
static double of_like(const history *h, const avs_sweep_config *c, bool per_pixel)
{
    regex_t re, *want = NULL;
    size_t n = 0;
    if (strcmp(c->resources.gpu_model, "any") != 0 &&
        regcomp(&re, c->resources.gpu_model, REG_EXTENDED | REG_NOSUB) == 0)
        want = &re;
    for (size_t i = 0; i < h->n; i++) {
        const avs_store_past *p = &h->past[i];
        if (strcmp(p->model, c->model) != 0 || strcmp(p->kind, c->kind) != 0 || !gpu_fits(want, p->gpu))
            continue;
        if (per_pixel ? !(p->pixels > 0) : strcmp(p->task, c->task) != 0) continue;
        h->scratch[n++] = per_pixel ? p->seconds / p->pixels : p->seconds;
    }
    if (want) regfree(want);
    return n ? median(h->scratch, n) : 0;
}

static double pixels_of(const avs_sweep *s, const avs_sweep_config *c, avs_arena *a)
{
    avs_json *p = NULL;
    const char *text = avs_sweep_params(s, c, a);
    if (!text || avs_json_parse(a, "params", text, strlen(text), &p, NULL) != AVS_OK) return 0;
    const avs_json *r = avs_json_get(p, "resolution");
    if (!r) return 0;
    if (r->kind == AVS_J_ARR && r->len == 2) return r->first->d * r->first->next->d;
    return r->d * r->d;
}

/* Medians by model, task, kind and GPU are taken once. */
typedef struct {
    const avs_sweep_config *of;
    double seconds, per_pixel;
} known;
enum { KNOWN = 128 };

typedef struct {
    history h;
    known known[KNOWN];
    int n_known;
} guesser;

static const known *find_known(guesser *g, const avs_sweep_config *c)
{
    for (int i = 0; i < g->n_known; i++) {
        const avs_sweep_config *k = g->known[i].of;
        if (strcmp(k->model, c->model) == 0 && strcmp(k->task, c->task) == 0 &&
            strcmp(k->kind, c->kind) == 0 && strcmp(k->resources.gpu_model, c->resources.gpu_model) == 0)
            return &g->known[i];
    }
    if (g->n_known == KNOWN) g->n_known = 0;
    known *k = &g->known[g->n_known++];
    *k = (known){c, of_like(&g->h, c, false), of_like(&g->h, c, true)};
    return k;
}

static double guess(guesser *g, const avs_sweep *s, const avs_sweep_config *c, double limit, avs_arena *a,
                    uint8_t *basis)
{
    double v = g->h.n ? of_config(&g->h, c->hash) : 0;
    *basis = AVS_EST_CONFIG;
    if (v > 0) return v;
    const known *k = g->h.n ? find_known(g, c) : NULL;
    *basis = AVS_EST_LIKE;
    if (k && k->seconds > 0) return k->seconds;
    *basis = AVS_EST_SCALED;
    if (k && k->per_pixel > 0) v = k->per_pixel * pixels_of(s, c, a);
    if (v > 0) return v;
    *basis = limit > 0 ? AVS_EST_LIMIT : AVS_EST_NONE;
    return limit;
}

int avs_estimates_make(avs_estimates *x, avs_arena *a, const avs_sweep *s, avs_store *db, bool states,
                       avs_err *e)
{
    size_t n = (size_t)s->n_trials + 1;
    avs_arena *scratch = avs_arena_new();
    guesser *g = avs_xalloc(sizeof *g);
    avs_store_past *past = NULL;
    int rc = AVS_OK;
    *x = (avs_estimates){AVS_NEW_N(a, double, n), AVS_NEW_N(a, uint8_t, n), AVS_NEW_N(a, uint8_t, n)};
    if (!x->seconds || !x->basis || !x->state || !scratch || !g) {
        rc = avs_fail(e, AVS_ENOMEM, "no memory for estimates");
        goto out;
    }
    memset(x->state, AVS_TRIAL_STATES, n);
    if (db) {
        AVS_TRY(avs_store_past_attempts(db, a, &past, &g->h.n, e));
        g->h.past = past;
        g->h.scratch = AVS_NEW_N(a, double, g->h.n + 1);
        if (!g->h.scratch) rc = avs_fail(e, AVS_ENOMEM, "no memory for estimates");
        if (g->h.n) qsort(past, g->h.n, sizeof *past, by_config);
    }
    const avs_sweep_config *last = NULL;
    for (int64_t i = 0; i < s->n_trials && rc == AVS_OK; i++) {
        const avs_sweep_trial *t = s->trials[i];
        avs_trial_state state;
        bool found = false;
        if (t->config == last) {
            x->seconds[i] = x->seconds[i - 1];
            x->basis[i] = x->basis[i - 1];
        } else {
            x->seconds[i] = guess(g, s, t->config, s->stages[t->stage].limits.time_s, scratch, &x->basis[i]);
            avs_arena_reset(scratch);
        }
        last = t->config;
        if (db && states) rc = avs_store_state_of(db, t->hash, &found, &state, e);
        if (found) x->state[i] = (uint8_t)state;
    }
out:
    avs_arena_free(scratch);
    avs_xfree(g);
    return rc;
}

static bool will_run(uint8_t state, const avs_trial_list_options *o)
{
    if (state == AVS_TRIAL_DONE) return o->fresh;
    return state != AVS_TRIAL_FAILED || o->retry_failed || o->retry_lost;
}

int avs_estimates_sum(const avs_estimates *x, const avs_trial_list *l, const avs_trial_list_options *o,
                      avs_estimate_sum *out, avs_err *e)
{
    size_t n = (size_t)l->sweep->n_trials + 1;
    double *end = avs_xrealloc(NULL, n * sizeof *end); /* by ordinal: when it is over at the earliest */
    bool *listed = avs_xrealloc(NULL, n);
    *out = (avs_estimate_sum){0};
    int rc = end && listed ? AVS_OK : avs_fail(e, AVS_ENOMEM, "no memory for estimates");
    if (rc == AVS_OK) {
        memset(listed, 0, n);
        for (int32_t i = 0; i < l->n; i++) listed[l->at[i].trial->ordinal] = true;
    }
    for (int64_t i = 0; rc == AVS_OK && i < l->sweep->n_trials; i++) { /* upstream trials come earlier */
        const avs_sweep_trial *t = l->sweep->trials[i];
        bool runs = listed[i] && will_run(x->state[i], o);
        double start = 0;
        for (int k = 0; k < t->n_needs; k++) start = fmax(start, end[t->needs[k].upstream->ordinal]);
        end[i] = start + (runs ? x->seconds[i] : 0);
        out->longest_path = fmax(out->longest_path, end[i]);
        if (!runs) continue;
        const int gpus = t->config->resources.gpus;
        out->to_run++;
        out->basis[x->basis[i]]++;
        out->seconds += x->seconds[i];
        out->gpu_seconds += x->seconds[i] * gpus;
        if (gpus > out->most_gpus) out->most_gpus = gpus;
    }
    free(end);
    free(listed);
    return rc;
}

static const char *const basis_text[AVS_EST_BASES] = {
    [AVS_EST_NONE] = "unknown: no such attempt in this database and no limits.time",
    [AVS_EST_CONFIG] = "median of past attempts of the same configuration",
    [AVS_EST_LIKE] = "median of past attempts of equal model, task, kind and GPU",
    [AVS_EST_SCALED] = "past attempts of the same model, scaled by pixels",
    [AVS_EST_LIMIT] = "upper bound: limits.time"};

typedef struct {
    int64_t fresh, done, failed, other;
} tally;

static tally count_stage(const avs_estimates *x, const avs_sweep_stage *s)
{
    tally c = {0};
    for (int64_t i = 0; i < s->n_trials; i++) {
        uint8_t state = x->state[s->trials[i]->ordinal];
        c.fresh += state == AVS_TRIAL_STATES;
        c.done += state == AVS_TRIAL_DONE;
        c.failed += state == AVS_TRIAL_FAILED;
        c.other += state != AVS_TRIAL_STATES && state != AVS_TRIAL_DONE && state != AVS_TRIAL_FAILED;
    }
    return c;
}

static void put_time(avs_buf *out, double s)
{
    if (s < 120)
        avs_buf_fmt(out, "%.0f s", s);
    else if (s < 7200)
        avs_buf_fmt(out, "%.0f min", s / 60);
    else
        avs_buf_fmt(out, "%.1f h", s / 3600);
}

/* Seconds on so many GPUs; without GPUs one trial after the other. */
static double eta(const avs_estimate_sum *sum, int gpus)
{
    return fmax(sum->longest_path, sum->most_gpus ? sum->gpu_seconds / gpus : sum->seconds);
}

static void json_text(avs_buf *out, const avs_estimates *x, const avs_trial_list *l,
                      const avs_estimate_sum *sum, int gpus)
{
    static const char *const names[AVS_EST_BASES] = {"unknown", "config", "like", "scaled", "upper_bound"};
    const avs_sweep *s = l->sweep;
    avs_buf_str(out, "{\"type\":\"dry_run\",\"v\":1,\"sweep\":");
    avs_json_write_str(out, s->name);
    avs_buf_fmt(out, ",\"trials\":%lld,\"chosen\":%d,\"to_run\":%lld,\"stages\":[", (long long)s->n_trials,
                l->n, (long long)sum->to_run);
    for (int i = 0; i < s->n_stages; i++) {
        const avs_sweep_stage *g = &s->stages[i];
        tally c = count_stage(x, g);
        avs_buf_fmt(
            out, "%s{\"stage\":\"%s\",\"kind\":\"%s\",\"trials\":%lld,\"configurations\":%lld,\"new\":%lld,",
            i ? "," : "", g->name, g->kind, (long long)g->n_trials, (long long)g->n_configs,
            (long long)c.fresh);
        avs_buf_fmt(out, "\"reused\":%lld,\"failed\":%lld,\"begun\":%lld}", (long long)c.done,
                    (long long)c.failed, (long long)c.other);
    }
    avs_buf_str(out, "],\"gpu_hours\":");
    avs_json_write_num(out, sum->gpu_seconds / 3600);
    avs_buf_str(out, ",\"trial_hours\":");
    avs_json_write_num(out, sum->seconds / 3600);
    avs_buf_str(out, ",\"longest_path_s\":");
    avs_json_write_num(out, sum->longest_path);
    avs_buf_fmt(out, ",\"gpus\":%d,\"eta_s\":", gpus);
    avs_json_write_num(out, eta(sum, gpus));
    avs_buf_str(out, ",\"basis\":{");
    for (int b = 0; b < AVS_EST_BASES; b++)
        avs_buf_fmt(out, "%s\"%s\":%lld", b ? "," : "", names[b], (long long)sum->basis[b]);
    avs_buf_str(out, "}}\n");
}

void avs_dry_run_text(avs_buf *out, const avs_estimates *x, const avs_trial_list *l,
                      const avs_estimate_sum *sum, const avs_options *o)
{
    const avs_sweep *s = l->sweep;
    int gpus = o->gpus ? o->gpus : sum->most_gpus;
    if (o->json || (o->format && strcmp(o->format, "json") == 0)) {
        json_text(out, x, l, sum, gpus);
        return;
    }
    avs_buf_fmt(out, "%s: %lld trials, %lld to run\n", s->name, (long long)s->n_trials,
                (long long)sum->to_run);
    for (int i = 0; i < s->n_stages; i++) {
        const avs_sweep_stage *g = &s->stages[i];
        tally c = count_stage(x, g);
        avs_buf_fmt(out, "  %s: %lld trials of %lld configurations (%s): %lld new, %lld reused, %lld failed",
                    g->name, (long long)g->n_trials, (long long)g->n_configs, g->kind, (long long)c.fresh,
                    (long long)c.done, (long long)c.failed);
        if (c.other) avs_buf_fmt(out, ", %lld begun or waiting", (long long)c.other);
        avs_buf_char(out, '\n');
        for (int k = 0; k < g->n_rules; k++)
            avs_buf_fmt(out, "    %s %s: %lld points dropped\n",
                        g->rules[k].is_require ? "require" : "exclude", g->rules[k].text,
                        (long long)g->rules[k].dropped);
    }
    avs_buf_fmt(out, "estimate: %.1f GPU-hours, %.1f trial-hours; longest path ", sum->gpu_seconds / 3600,
                sum->seconds / 3600);
    put_time(out, sum->longest_path);
    if (sum->most_gpus)
        avs_buf_fmt(out, "; on %d GPU%s about ", gpus, gpus == 1 ? "" : "s");
    else
        avs_buf_str(out, "; one after the other ");
    put_time(out, eta(sum, gpus));
    avs_buf_char(out, '\n');
    for (int b = 0; b < AVS_EST_BASES; b++)
        if (sum->basis[b]) avs_buf_fmt(out, "  %lld trials: %s\n", (long long)sum->basis[b], basis_text[b]);
}
