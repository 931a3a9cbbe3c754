/* Seeds, resources, limits, order, objective and stop: small maps whose values are checked one by one. */
#include <math.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include "models/schema.h"
#include "sweeps/duration.h"
#include "sweeps/stage.h"

static bool is_num(const avs_ynode *n)
{
    return n->kind == AVS_Y_INT || n->kind == AVS_Y_FLOAT;
}

static bool want_map(avs_parse *p, const avs_ynode *n, const char *what)
{
    if (n->kind == AVS_Y_MAP) return true;
    avs_diag_add(p->d, "E011", n->pos, NULL, "%s wants a map, found %s", what, avs_yaml_kind(n));
    return false;
}

/* An integer key within bounds; leaves *out alone when absent or wrong. */
static void take_int(avs_parse *p, const avs_ynode *map, const char *key, int64_t lo, int64_t hi,
                     int64_t *out)
{
    const avs_ynode *n = avs_yaml_get(map, key);
    if (!n) return;
    if (n->kind != AVS_Y_INT)
        avs_diag_add(p->d, "E011", n->pos, NULL, "%s wants a whole number, found %s", key, avs_yaml_kind(n));
    else if (n->i < lo || n->i > hi)
        avs_diag_add(p->d, "E040", n->pos, NULL, "%s is %lld, outside %lld to %lld", key, (long long)n->i,
                     (long long)lo, (long long)hi);
    else
        *out = n->i;
}

/* One of the words of choices ("a|b"). */
static void take_choice(avs_parse *p, const avs_ynode *map, const char *key, const char *choices,
                        const char **out)
{
    const avs_ynode *n = avs_yaml_get(map, key);
    if (!n) return;
    size_t len = strlen(n->s);
    for (const char *c = choices; n->kind == AVS_Y_STR && *c;) {
        size_t k = strcspn(c, "|");
        if (k == len && strncmp(c, n->s, k) == 0) {
            *out = n->s;
            return;
        }
        c += k + (c[k] == '|');
    }
    avs_diag_add(p->d, "E013", n->pos, NULL, "%s wants one of %s, found %s%.60s%s", key, choices,
                 n->kind == AVS_Y_STR ? "'" : "", n->kind >= AVS_Y_SEQ ? avs_yaml_kind(n) : n->s,
                 n->kind == AVS_Y_STR ? "'" : "");
}

/* ---- seeds --------------------------------------------------------------------------------------------------- */

static void seed_range(avs_parse *p, const avs_ynode *n, int64_t first, int64_t count, avs_stage_def *s)
{
    if (count < 1 || count > AVS_MAX_VALUES || first < 0 || first + count - 1 > UINT32_MAX) {
        avs_diag_add(p->d, "E040", n->pos, NULL, "seeds wants 1 to %d seeds between 0 and 4294967295",
                     AVS_MAX_VALUES);
        return;
    }
    s->seeds = AVS_NEW_N(p->a, uint32_t, count);
    if (!s->seeds) {
        p->d->no_memory = true;
        return;
    }
    for (int64_t i = 0; i < count; i++) s->seeds[i] = (uint32_t)(first + i);
    s->n_seeds = count;
}

static int by_seed(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void seed_list(avs_parse *p, const avs_ynode *n, avs_stage_def *s)
{
    uint32_t *sorted = AVS_NEW_N(p->a, uint32_t, n->n + 1);
    s->seeds = AVS_NEW_N(p->a, uint32_t, n->n + 1);
    if (!s->seeds || !sorted) {
        p->d->no_memory = true;
        return;
    }
    if (n->n == 0) avs_diag_add(p->d, "E025", n->pos, NULL, "seeds is an empty list");
    for (uint32_t i = 0; i < n->n; i++) {
        const avs_ynode *x = n->items[i];
        if (x->kind != AVS_Y_INT || x->i < 0 || x->i > UINT32_MAX) {
            avs_diag_add(p->d, "E040", x->pos, NULL, "a seed is a whole number from 0 to 4294967295");
            return;
        }
        s->seeds[s->n_seeds++] = (uint32_t)x->i;
    }
    memcpy(sorted, s->seeds, n->n * sizeof *sorted);
    qsort(sorted, n->n, sizeof *sorted, by_seed);
    for (uint32_t i = 1; i < n->n; i++)
        if (sorted[i] == sorted[i - 1]) {
            avs_diag_add(p->d, "E040", n->pos, NULL, "the seed %u is listed twice", sorted[i]);
            return;
        }
}

void avs_parse_seeds(avs_parse *p, const avs_ynode *n, avs_stage_def *s)
{
    static const char *const keys[] = {"count", "first", NULL};
    s->seeds_node = n;
    if (!n) {
        seed_range(p, s->node, 0, 1, s);
    } else if (n->kind == AVS_Y_INT) {
        seed_range(p, n, 0, n->i, s);
    } else if (n->kind == AVS_Y_SEQ) {
        seed_list(p, n, s);
    } else if (n->kind == AVS_Y_MAP) {
        int64_t count = 1, first = 0;
        if (!avs_check_keys(p->d, n, keys, "in 'seeds'")) return;
        take_int(p, n, "count", 1, AVS_MAX_VALUES, &count);
        take_int(p, n, "first", 0, UINT32_MAX, &first);
        seed_range(p, n, first, count, s);
    } else {
        avs_diag_add(p->d, "E011", n->pos, NULL, "seeds wants a number, a list or {count, first}, found %s",
                     avs_yaml_kind(n));
    }
}

/* ---- resources ------------------------------------------------------------------------------------------------ */

static void take_amount(avs_parse *p, const avs_ynode *map, const char *key, avs_amount *out)
{
    const avs_ynode *n = avs_yaml_get(map, key);
    if (!n) return;
    out->given = true;
    out->node = n;
    if (is_num(n)) {
        out->value = n->d;
        if (!(n->d >= 0 && n->d <= 1e6))
            avs_diag_add(p->d, "E040", n->pos, NULL, "%s is %s, outside 0 to 1000000", key, n->s);
    } else if (n->kind == AVS_Y_STR) {
        out->expr = avs_parse_expr(p, n);
    } else {
        avs_diag_add(p->d, "E011", n->pos, NULL, "%s wants a number or an expression, found %s", key,
                     avs_yaml_kind(n));
    }
}

/* A regular expression that is none would fit no node, long after the file was taken for right. */
static void take_pattern(avs_parse *p, const avs_ynode *n, const char **out)
{
    regex_t re;
    char why[160];
    const int bad = regcomp(&re, n->s, REG_EXTENDED | REG_NOSUB);
    *out = n->s;
    if (!bad) {
        regfree(&re);
        return;
    }
    (void)regerror(bad, &re, why, sizeof why);
    avs_diag_add(p->d, "E040", n->pos, "write a name of a GPU, or several: \"H100|A100\"",
                 "gpu_model is no regular expression: %s", why);
}

void avs_parse_resources(avs_parse *p, const avs_ynode *n, avs_stage_def *s)
{
    static const char *const keys[] = {"gpus",      "cpus",      "cpus_per_gpu", "mem_gb", "pack",
                                       "gpu_model", "exclusive", "prefer",       NULL};
    avs_sweep_resources *r = &s->resources;
    *r = (avs_sweep_resources){.pack = "any", .gpu_model = "any", .exclusive = "none", .prefer = "any"};
    if (!n || !want_map(p, n, "resources")) return;
    (void)avs_check_keys(p->d, n, keys, "in 'resources'");
    take_amount(p, n, "gpus", &s->gpus);
    take_amount(p, n, "cpus", &s->cpus);
    take_amount(p, n, "cpus_per_gpu", &s->cpus_per_gpu);
    take_amount(p, n, "mem_gb", &s->mem_gb);
    take_choice(p, n, "pack", "node|numa|spread|any", &r->pack);
    take_choice(p, n, "exclusive", "none|gpu|numa|node", &r->exclusive);
    take_choice(p, n, "prefer", "any|nvlink", &r->prefer);
    const avs_ynode *model = avs_yaml_get(n, "gpu_model");
    if (model && model->kind == AVS_Y_STR)
        take_pattern(p, model, &r->gpu_model);
    else if (model)
        avs_diag_add(p->d, "E011", model->pos, NULL, "gpu_model wants a string, found %s",
                     avs_yaml_kind(model));
}

/* ---- limits --------------------------------------------------------------------------------------------------- */

static bool duration(const avs_ynode *n, double *out)
{
    if (n->kind == AVS_Y_STR) return avs_duration_read(n->s, out);
    *out = is_num(n) ? n->d : -1;
    return *out >= 0 && *out <= 1e9;
}

static void take_duration(avs_parse *p, const avs_ynode *map, const char *key, double *out)
{
    const avs_ynode *n = avs_yaml_get(map, key);
    if (!n || duration(n, out)) return;
    avs_diag_add(p->d, "E041", n->pos, "write 90s, 30m, 6h, 1h30m or a number of seconds",
                 "%s is no duration: '%.60s'", key, n->kind >= AVS_Y_SEQ ? avs_yaml_kind(n) : n->s);
}

static void take_causes(avs_parse *p, const avs_ynode *n, unsigned *out)
{
    static const char *const names[] = {"crash", "hang", "infra", "oom", "error"};
    if (!n) return;
    *out = 0;
    if (n->kind != AVS_Y_SEQ) {
        avs_diag_add(p->d, "E011", n->pos, NULL, "retry_on wants a list, found %s", avs_yaml_kind(n));
        return;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        unsigned bit = 0;
        for (unsigned k = 0; k < 5; k++)
            if (strcmp(n->items[i]->s, names[k]) == 0) bit = 1u << k;
        if (!bit)
            avs_diag_add(p->d, "E013", n->items[i]->pos, NULL,
                         "retry_on wants crash, hang, infra, oom or error, found '%.60s'", n->items[i]->s);
        *out |= bit;
    }
}

void avs_parse_limits(avs_parse *p, const avs_ynode *n, avs_sweep_limits *out)
{
    static const char *const keys[] = {"time",
                                       "hang",
                                       "grace",
                                       "retries",
                                       "retry_on",
                                       "max_failures",
                                       "checkpoint_every",
                                       "checkpoint_every_steps",
                                       NULL};
    int64_t retries = 2, max_failures = 0;
    *out = (avs_sweep_limits){
        .grace_s = 120, .retries = 2, .retry_on = AVS_RETRY_CRASH | AVS_RETRY_HANG | AVS_RETRY_INFRA};
    if (!n || !want_map(p, n, "limits")) return;
    (void)avs_check_keys(p->d, n, keys, "in 'limits'");
    take_duration(p, n, "time", &out->time_s);
    take_duration(p, n, "hang", &out->hang_s);
    take_duration(p, n, "grace", &out->grace_s);
    take_duration(p, n, "checkpoint_every", &out->checkpoint_every_s);
    take_int(p, n, "retries", 0, 1000, &retries);
    take_int(p, n, "max_failures", 0, AVS_MAX_VALUES, &max_failures);
    take_int(p, n, "checkpoint_every_steps", 0, 1000000000, &out->checkpoint_every_steps);
    take_causes(p, avs_yaml_get(n, "retry_on"), &out->retry_on);
    out->retries = (int)retries;
    out->max_failures = (int)max_failures;
}

/* ---- order and objective --------------------------------------------------------------------------------------- */

void avs_parse_order(avs_parse *p, const avs_ynode *n, avs_stage_def *s)
{
    static const char *const keys[] = {"mode", "seed", "group", "priority", NULL};
    int64_t seed = 0;
    s->out->order = (avs_sweep_order){.mode = "seeds-last", .group = "none"};
    if (!n || !want_map(p, n, "order")) return;
    (void)avs_check_keys(p->d, n, keys, "in 'order'");
    take_choice(p, n, "mode", "file|shuffle|seeds-last|longest-first", &s->out->order.mode);
    take_choice(p, n, "group", "none|config|repeat", &s->out->order.group);
    take_int(p, n, "seed", 0, INT64_MAX, &seed);
    s->out->order.seed = (uint64_t)seed;
    const avs_ynode *priority = avs_yaml_get(n, "priority");
    if (!priority) return;
    s->priority.given = true;
    s->priority.node = priority;
    if (is_num(priority))
        s->priority.value = priority->d;
    else if (priority->kind == AVS_Y_STR)
        s->priority.expr = avs_parse_expr(p, priority);
    else
        avs_diag_add(p->d, "E011", priority->pos, NULL, "priority wants a number or an expression, found %s",
                     avs_yaml_kind(priority));
}

void avs_parse_objective(avs_parse *p, const avs_ynode *n, avs_sweep_stage *out)
{
    static const char *const keys[] = {"metric", "mode", NULL};
    const char *mode = "max";
    out->maximise = true;
    if (!n || !want_map(p, n, "objective")) return;
    (void)avs_check_keys(p->d, n, keys, "in 'objective'");
    take_choice(p, n, "mode", "max|min", &mode);
    out->maximise = strcmp(mode, "max") == 0;
    const avs_ynode *metric = avs_yaml_get(n, "metric");
    if (metric && metric->kind == AVS_Y_STR && metric->len > 0)
        out->metric = metric->s;
    else
        avs_diag_add(p->d, metric ? "E011" : "E010", metric ? metric->pos : n->pos, NULL,
                     "objective wants the name of a metric, as in {metric: miou, mode: max}");
}

/* {asha: {rung: epoch, min: 5, eta: 3, max: 60, variant: promote}} */
void avs_parse_stop(avs_parse *p, const avs_ynode *n, avs_sweep_stage *out)
{
    static const char *const outer[] = {"asha", NULL};
    static const char *const keys[] = {"rung", "min", "eta", "max", "variant", NULL};
    const char *rung = "epoch", *variant = "promote";
    int64_t min = 1, eta = 3, max = 0;
    if (!n || !want_map(p, n, "stop")) return;
    if (!avs_check_keys(p->d, n, outer, "in 'stop'")) return;
    const avs_ynode *asha = avs_yaml_get(n, "asha");
    if (!asha || !want_map(p, asha, "asha")) {
        if (!asha) avs_diag_add(p->d, "E010", n->pos, NULL, "stop wants {asha: {min: 5, eta: 3, max: 60}}");
        return;
    }
    int before = p->d->n_errors;
    (void)avs_check_keys(p->d, asha, keys, "in 'asha'");
    take_choice(p, asha, "rung", "epoch|step", &rung);
    take_choice(p, asha, "variant", "promote|stop", &variant);
    take_int(p, asha, "min", 1, 1000000000, &min);
    take_int(p, asha, "eta", 2, 100, &eta);
    take_int(p, asha, "max", 1, 1000000000, &max);
    if (p->d->n_errors > before) return;
    if (max <= min)
        avs_diag_add(p->d, "E040", asha->pos, "max is how long a trial runs that is never stopped",
                     "asha wants max above min, found min %lld and max %lld", (long long)min, (long long)max);
    if (!out->metric)
        avs_diag_add(p->d, "E010", n->pos, "write objective: {metric: miou, mode: max}",
                     "'stop' compares trials by the objective, and there is none");
    if (out->kind && (strcmp(out->kind, "eval") == 0 || strcmp(out->kind, "latency") == 0))
        avs_diag_add(p->d, "E040", n->pos, NULL, "a trial of kind %s does not stop early", out->kind);
    out->stop = (avs_sweep_stop){.eta = (int)eta,
                                 .min = min,
                                 .max = max,
                                 .by_step = strcmp(rung, "step") == 0,
                                 .promote = strcmp(variant, "promote") == 0};
}
