/* Expansion: walk the blocks of a stage depth first, one point at a time; each point is completed by `let`, filtered
 * by the rules, resolved against the schema, hashed, and multiplied by the seeds.
 *
 * A point is a stack of settings that grows and shrinks with the walk, so memory is that of one point plus the result.
 * What a point needs for itself lives in a scratch arena; configurations and trials live in the sweep's arena. A
 * configuration keeps its settings, not its texts: those are written again when they are asked for (sweep.c). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "sweeps/identity.h"
#include "sweeps/shape.h"
#include "sweeps/table.h"

enum { MAX_NEEDS = 16 };

typedef struct cont { /* what remains of the walk */
    const avs_block *block;
    struct cont *next;
} cont;

/* When only counts and the digest are wanted, this is all that is kept of a configuration or trial. */
typedef struct {
    _Alignas(8) uint8_t hash[32];
    int32_t seen; /* as in avs_sweep_config */
} mark;

typedef struct {
    avs_parse *p;
    avs_err *e;
    int rc;
    avs_stage_def *s;
    int stage;
    avs_point point;
    avs_arena *scratch;
    int64_t walked, limit, repeated, shared;
    avs_join **joins;
    bool *join_failed;
    bool counting;             /* keep marks alone */
    avs_table configs, trials; /* of the whole sweep */
    uint32_t *members;         /* of the stage: ordinals */
    uint64_t n_members, cap_members;
    int64_t n_trials;
    avs_sha256 digest;
} expansion;

static bool stop(const expansion *x)
{
    return x->rc != AVS_OK || avs_diag_full(x->p->d);
}

static void out_of_memory(expansion *x)
{
    if (x->rc == AVS_OK) x->rc = avs_fail(x->e, AVS_ENOMEM, "no memory to expand the sweep");
}

/* True when the point stays. */
static bool passes(expansion *x)
{
    for (int i = 0; i < x->s->out->n_rules; i++) {
        bool holds = false;
        if (!avs_point_holds(&x->point, x->scratch, x->s->rules[i].expr, x->s->rules[i].node, &holds))
            return false;
        if (holds != x->s->out->rules[i].is_require) {
            x->s->out->rules[i].dropped++;
            return false;
        }
    }
    return true;
}

/* ---- configurations --------------------------------------------------------------------------------------------- */

static void report_problem(expansion *x, const avs_problem *q)
{
    static const char *const codes[] = {
        [AVS_P_UNKNOWN] = "E012",  [AVS_P_NO_MODEL] = "E018", [AVS_P_TYPE] = "E015",
        [AVS_P_OPTION] = "E013",   [AVS_P_RANGE] = "E014",    [AVS_P_MISSING] = "E026",
        [AVS_P_INACTIVE] = "E016", [AVS_P_CONFLICT] = "E017", [AVS_P_RESERVED] = "E019"};
    const avs_setting *s = avs_point_find(&x->point, q->key),
                      *other = q->other ? avs_point_find(&x->point, q->other) : NULL;
    bool at_key = q->kind == AVS_P_UNKNOWN || q->kind == AVS_P_RESERVED;
    avs_pos pos = s       ? (at_key ? s->key_node->pos : avs_setting_pos(s))
                  : other ? avs_setting_pos(other)
                          : x->s->node->pos;
    if (s && other && s != other)
        avs_diag_add(x->p->d, codes[q->kind], pos, q->help, "%s (%s is set on line %u)", q->text, q->other,
                     other->key_node->pos.line);
    else
        avs_diag_add(x->p->d, codes[q->kind], pos, q->help, "%s", q->text);
}

static bool amount(expansion *x, const avs_amount *m, const char *what, double hi, double *out)
{
    avs_json v;
    *out = m->value;
    if (!m->given || !m->expr) return true;
    if (!avs_point_eval(&x->point, x->scratch, m->expr, m->node, &v)) return false;
    bool is_num = v.kind == AVS_J_INT || v.kind == AVS_J_FLOAT;
    if (!is_num || !(fabs(v.d) <= hi) || (hi < 1e9 && v.d < 0)) {
        avs_diag_add(x->p->d, "E040", m->node->pos, NULL, "%s comes out as %s, outside 0 to 1000000", what,
                     is_num ? "a number" : "something that is no number");
        return false;
    }
    *out = v.d;
    return true;
}

static bool resources(expansion *x, avs_sweep_resources *r, double *priority)
{
    const avs_stage_def *s = x->s;
    double gpus, cpus, per_gpu;
    *r = s->resources;
    if (!amount(x, &s->gpus, "gpus", 1e6, &gpus) || !amount(x, &s->cpus, "cpus", 1e6, &cpus) ||
        !amount(x, &s->cpus_per_gpu, "cpus_per_gpu", 1e6, &per_gpu) ||
        !amount(x, &s->mem_gb, "mem_gb", 1e6, &r->mem_gb) ||
        !amount(x, &s->priority, "priority", 1e15, priority))
        return false;
    const avs_amount *whole[] = {&s->gpus, &s->cpus, &s->cpus_per_gpu};
    double values[] = {gpus, cpus, per_gpu};
    for (int i = 0; i < 3; i++)
        if (values[i] != floor(values[i])) {
            avs_diag_add(x->p->d, "E040", whole[i]->node->pos, NULL,
                         "a count of GPUs or cores is a whole number");
            return false;
        }
    r->gpus = (int)gpus;
    r->cpus = (int)cpus;
    r->cpus_per_gpu = (int)per_gpu;
    return true;
}

/* Settings of blocks, without what `let` computed. */
static bool keep_point(expansion *x, avs_sweep_config *c)
{
    int n = 0;
    while (n < x->point.n && !x->point.at[n]->computed) n++;
    c->n_settings = n;
    c->settings = n ? avs_arena_dup(x->p->a, x->point.at, (size_t)n * sizeof *x->point.at) : NULL;
    return n == 0 || c->settings;
}

static int32_t *seen_in(const expansion *x, void *record)
{
    return x->counting ? &((mark *)record)->seen : &((avs_sweep_config *)record)->seen;
}

/* The configuration of this point, new or from an earlier stage; NULL when this stage has it already, or on error. A
 * stage with needs may have it again: with other upstream trials it makes other trials. */
static const avs_sweep_config *make_config(expansion *x, const avs_filled *f)
{
    avs_sweep_config c = {.stage = x->stage};
    if (!resources(x, &c.resources, &c.priority)) return NULL;
    avs_filled_hash(f, c.hash);
    void *known = avs_table_find(&x->configs, c.hash);
    if (known && *seen_in(x, known) == x->stage + 1) {
        if (x->s->n_needs > 0) return known;
        x->repeated++;
        return NULL;
    }
    x->s->out->n_configs++;
    if (!known) {
        known = avs_table_add(&x->configs, c.hash);
        avs_filled_names(f, &c);
        if (!known || (!x->counting && !keep_point(x, &c))) {
            out_of_memory(x);
            return NULL;
        }
        if (!x->counting) memcpy(known, &c, sizeof c);
    }
    *seen_in(x, known) = x->stage + 1; /* 0: no stage yet */
    return known;
}

/* ---- trials ------------------------------------------------------------------------------------------------------- */

static void seeds_text(const avs_stage_def *s, char out[48])
{
    bool run = true;
    for (int64_t i = 1; i < s->n_seeds; i++) run &= s->seeds[i] == s->seeds[i - 1] + 1;
    if (s->n_seeds == 1)
        (void)snprintf(out, 48, "%u", s->seeds[0]);
    else if (run)
        (void)snprintf(out, 48, "%u-%u", s->seeds[0], s->seeds[s->n_seeds - 1]);
    else
        (void)snprintf(out, 48, "%lld values", (long long)s->n_seeds);
}

static void no_match(expansion *x, int at, int64_t count, const char *key)
{
    const avs_need_def *need = &x->s->needs[at];
    const avs_stage_def *up = &x->p->stages[need->from];
    avs_buf keys = AVS_BUF_INIT, help = AVS_BUF_INIT;
    bool by_seed = false;
    for (int i = 0; i < need->n_match; i++) {
        avs_buf_fmt(&keys, "%s%s", i ? ", " : "", need->match[i]);
        by_seed |= strcmp(need->match[i], "seed") == 0;
    }
    char here[48], there[48];
    seeds_text(x->s, here);
    seeds_text(up, there);
    if (count == 0 && by_seed && strcmp(here, there) != 0)
        avs_buf_fmt(&help, "stage '%s' has seeds %s, stage '%s' asks for %s", up->out->name, there,
                    x->s->out->name, here);
    else if (count > 1)
        avs_buf_str(&help, "name more keys under match, so that one is left");
    x->join_failed[at] = true; /* the first one says it; the others are alike */
    if (count == 0)
        avs_diag_add(x->p->d, "E034", need->node->pos, help.len ? avs_buf_cstr(&help) : NULL,
                     "stage '%s' needs exactly one '%s' per (%s); none for %s", x->s->out->name,
                     up->out->name, avs_buf_cstr(&keys), key);
    else
        avs_diag_add(x->p->d, "E034", need->node->pos, avs_buf_cstr(&help),
                     "stage '%s' needs exactly one '%s' per (%s); %lld for %s", x->s->out->name,
                     up->out->name, avs_buf_cstr(&keys), (long long)count, key);
    avs_buf_free(&keys);
    avs_buf_free(&help);
}

/* The upstream trials of one trial; false when one is missing. */
static bool join(expansion *x, const avs_json *params, uint32_t seed, avs_sweep_need *needs)
{
    for (int i = 0; i < x->s->n_needs; i++) {
        int64_t count = 0;
        const char *key = NULL;
        const avs_sweep_trial *t =
            avs_join_find(x->joins[i], x->scratch, params, &x->point, seed, &count, &key);
        if (count == -1) out_of_memory(x);
        if (count != 1) {
            if (count >= 0 && !x->join_failed[i]) no_match(x, i, count, key);
            return false;
        }
        needs[i] = (avs_sweep_need){x->s->needs[i].alias, t};
    }
    return true;
}

static bool add_member(expansion *x, uint32_t ordinal)
{
    if (x->n_members == x->cap_members) {
        uint64_t cap = x->cap_members ? 2 * x->cap_members : 1024;
        uint32_t *more = avs_xrealloc(x->members, cap * sizeof *more);
        if (!more) {
            out_of_memory(x);
            return false;
        }
        x->members = more;
        x->cap_members = cap;
    }
    x->members[x->n_members++] = ordinal;
    return true;
}

/* A trial that is only counted. Trials of one stage differ in configuration or seed, so one stage needs no table. */
static void count_trial(expansion *x, const uint8_t hash[32])
{
    x->s->out->n_trials++;
    if (x->p->sweep->n_stages > 1) {
        if (avs_table_find(&x->trials, hash)) {
            x->shared++;
            return;
        }
        if (!avs_table_add(&x->trials, hash)) {
            out_of_memory(x);
            return;
        }
    }
    x->n_trials++;
    avs_sha256_put(&x->digest, hash, 32);
}

static void make_trial(expansion *x, const avs_json *params, const avs_sweep_config *c, uint32_t seed)
{
    avs_sweep_need needs[MAX_NEEDS];
    uint8_t upstream[MAX_NEEDS][32], hash[32];
    int n = x->s->n_needs;
    if (n && !join(x, params, seed, needs)) return;
    for (int i = 0; i < n; i++) memcpy(upstream[i], needs[i].upstream->hash, 32);
    avs_trial_hash(c->hash, seed, upstream, n, hash);
    if (x->counting) {
        count_trial(x, hash);
        return;
    }
    avs_sweep_trial *t = avs_table_find(&x->trials, hash);
    if (t && t->stage == x->stage) {
        x->repeated++;
        return;
    }
    if (t) {
        x->shared++;
        (void)add_member(x, t->ordinal);
        return;
    }
    t = avs_table_add(&x->trials, hash);
    avs_sweep_need *kept = n && t ? avs_arena_dup(x->p->a, needs, (size_t)n * sizeof *needs) : NULL;
    if (!t || (n && !kept)) {
        out_of_memory(x);
        return;
    }
    t->config = c;
    t->needs = kept;
    t->seed = seed;
    t->ordinal = (uint32_t)(x->trials.n - 1);
    t->stage = x->stage;
    t->n_needs = n;
    x->n_trials++;
    avs_sha256_put(&x->digest, hash, 32);
    (void)add_member(x, t->ordinal);
}

/* The resolved parameters, for the join; NULL without memory. */
static const avs_json *params_of(expansion *x, const avs_filled *f)
{
    avs_buf b = AVS_BUF_INIT;
    avs_json *out = NULL;
    avs_filled_params(f, &b);
    if (!avs_buf_ok(&b) ||
        avs_json_parse(x->scratch, "parameters", avs_buf_cstr(&b), b.len, &out, NULL) != AVS_OK)
        out_of_memory(x);
    avs_buf_free(&b);
    return out;
}

static void finish_point(expansion *x)
{
    avs_filled f;
    avs_problem *problems = NULL;
    if (!avs_point_lets(&x->point, x->scratch) || !passes(x)) return;
    int rc = avs_shapes_resolve(x->p->shapes, &x->point, x->scratch, &f, &problems, x->e);
    if (rc == AVS_ENOMEM) out_of_memory(x);
    for (; problems; problems = problems->next) report_problem(x, problems);
    if (rc != AVS_OK) return;
    const avs_sweep_config *c = make_config(x, &f);
    if (!c) return;
    if (x->n_trials + x->s->n_seeds > x->limit) {
        avs_diag_add(x->p->d, "E024", x->s->node->pos, NULL, "the sweep has more than %lld trials",
                     (long long)x->limit);
        x->rc = AVS_EPARSE;
        return;
    }
    const avs_json *params = x->s->n_needs ? params_of(x, &f) : NULL;
    for (int64_t i = 0; i < x->s->n_seeds && !stop(x); i++) make_trial(x, params, c, x->s->seeds[i]);
}

static void on_point(expansion *x)
{
    if (++x->walked > x->limit) {
        avs_diag_add(x->p->d, "E024", x->s->node->pos, NULL, "the sweep has more than %lld points",
                     (long long)x->limit);
        x->rc = AVS_EPARSE;
        return;
    }
    int n = x->point.n;
    x->s->out->n_points++;
    finish_point(x);
    if (x->point.no_memory) out_of_memory(x);
    x->point.n = n; /* the lets go before their memory does */
    avs_arena_reset(x->scratch);
}

/* ---- the walk ------------------------------------------------------------------------------------------------------ */

static void walk(expansion *x, cont *k);

static void walk_grid(expansion *x, const avs_block *b, int64_t axis, cont *next)
{
    if (axis == b->n_axes) {
        walk(x, next);
        return;
    }
    for (int64_t i = 0; i < b->axes[axis].n && !stop(x); i++) {
        int n = x->point.n;
        if (avs_point_set(&x->point, &b->axes[axis].values[i])) walk_grid(x, b, axis + 1, next);
        x->point.n = n;
    }
}

static void walk_zip(expansion *x, const avs_block *b, cont *next)
{
    for (int64_t i = 0; i < b->axes[0].n && !stop(x); i++) {
        int n = x->point.n;
        bool ok = true;
        for (int64_t k = 0; k < b->n_axes; k++) ok = avs_point_set(&x->point, &b->axes[k].values[i]) && ok;
        if (ok) walk(x, next);
        x->point.n = n;
    }
}

static void walk_list(expansion *x, const avs_block *b, cont *next)
{
    for (int64_t i = 0; i < b->n_axes && !stop(x); i++) {
        int n = x->point.n;
        bool ok = true;
        for (int64_t k = 0; k < b->axes[i].n; k++) ok = avs_point_set(&x->point, &b->axes[i].values[k]) && ok;
        if (ok) walk(x, next);
        x->point.n = n;
    }
}

static void walk_block(expansion *x, const avs_block *b, cont *next)
{
    switch (b->kind) {
    case AVS_B_GRID:
        walk_grid(x, b, 0, next);
        break;
    case AVS_B_ZIP:
        walk_zip(x, b, next);
        break;
    case AVS_B_LIST:
        walk_list(x, b, next);
        break;
    case AVS_B_ANY:
        for (const avs_block *alt = b->alternatives; alt && !stop(x); alt = alt->next) {
            cont one = {alt, next};
            walk(x, &one);
        }
        break;
    }
}

static void walk(expansion *x, cont *k)
{
    if (stop(x)) return;
    if (!k) {
        on_point(x);
        return;
    }
    const avs_block *b = k->block;
    bool holds = true;
    if (b->when) {
        bool ok = avs_point_holds(&x->point, x->scratch, b->when, b->when_node, &holds);
        avs_arena_reset(x->scratch);
        if (!ok) return;
    }
    if (holds)
        walk_block(x, b, k->next);
    else
        walk(x, k->next);
}

/* ---- stages --------------------------------------------------------------------------------------------------------- */

static bool make_joins(expansion *x)
{
    int n = x->s->n_needs;
    x->joins = AVS_NEW_N(x->p->a, avs_join *, n + 1);
    x->join_failed = AVS_NEW_N(x->p->a, bool, n + 1);
    if (!x->joins || !x->join_failed) out_of_memory(x);
    for (int i = 0; x->rc == AVS_OK && i < n; i++) {
        if (x->p->stages[x->s->needs[i].from].broken) return false; /* its own errors are enough */
        x->joins[i] = avs_join_new(x->p->sweep, x->p->a, &x->s->needs[i]);
        if (!x->joins[i]) out_of_memory(x);
    }
    return x->rc == AVS_OK;
}

static void warn(expansion *x)
{
    const avs_sweep_stage *out = x->s->out;
    int n_exclude = 0, n_require = 0;
    for (int i = 0; i < out->n_rules; i++) {
        const avs_sweep_rule *r = &out->rules[i];
        int number = r->is_require ? ++n_require : ++n_exclude;
        if (r->dropped == 0 && out->n_points > 0)
            avs_diag_add(x->p->d, "W031", r->pos, NULL, "%s rule %d (line %u) %s",
                         r->is_require ? "require" : "exclude", number, r->pos.line,
                         r->is_require ? "drops no point" : "matched no point");
    }
    if (x->repeated)
        avs_diag_add(x->p->d, "W030", x->s->node->pos, NULL,
                     "%lld point%s of stage '%s' repeat%s an earlier configuration and %s left out",
                     (long long)x->repeated, x->repeated == 1 ? "" : "s", out->name,
                     x->repeated == 1 ? "s" : "", x->repeated == 1 ? "is" : "are");
    if (x->shared)
        avs_diag_add(x->p->d, "W033", x->s->node->pos, NULL,
                     "%lld trial%s of stage '%s' %s in an earlier stage too and run%s once",
                     (long long)x->shared, x->shared == 1 ? "" : "s", out->name,
                     x->shared == 1 ? "is" : "are", x->shared == 1 ? "s" : "");
    if (out->n_trials == 0)
        avs_diag_add(x->p->d, "W032", x->s->node->pos, NULL,
                     "stage '%s' has no trials: all %lld points are dropped", out->name,
                     (long long)out->n_points);
}

/* The members of a stage as pointers. */
static void list_members(expansion *x)
{
    avs_sweep_stage *out = x->s->out;
    if (x->counting) return;
    out->n_trials = (int64_t)x->n_members;
    out->trials = AVS_NEW_N(x->p->a, avs_sweep_trial *, x->n_members + 1);
    if (!out->trials) {
        out_of_memory(x);
        return;
    }
    for (uint64_t i = 0; i < x->n_members; i++) out->trials[i] = avs_table_at(&x->trials, x->members[i]);
}

static void expand_stage(expansion *x, int index)
{
    x->s = &x->p->stages[index];
    x->stage = index;
    x->point.s = x->s;
    x->point.n = 0;
    x->n_members = 0;
    x->repeated = x->shared = 0;
    int before = x->p->d->n_errors;
    if (!make_joins(x)) {
        x->s->broken = true;
        return;
    }
    cont *first = NULL, **at = &first;
    for (const avs_block *b = x->s->blocks; b; b = b->next) {
        cont *k = AVS_NEW(x->p->a, cont);
        if (!k) {
            out_of_memory(x);
            return;
        }
        k->block = b;
        *at = k;
        at = &k->next;
    }
    walk(x, first);
    list_members(x);
    x->s->broken = x->p->d->n_errors > before;
    if (!x->s->broken) warn(x);
}

static void finish(expansion *x)
{
    avs_sweep *s = x->p->sweep;
    s->n_trials = x->n_trials;
    s->data_indexed = !x->p->unindexed;
    avs_sha256_end(&x->digest, s->digest);
    if (x->counting || x->rc != AVS_OK) return;
    if (s->n_stages == 1 && s->stages[0].n_trials == s->n_trials) {
        s->trials = s->stages[0].trials;
        return;
    }
    s->trials = AVS_NEW_N(x->p->a, avs_sweep_trial *, x->n_trials + 1);
    if (!s->trials) out_of_memory(x);
    for (int64_t i = 0; s->trials && i < x->n_trials; i++)
        s->trials[i] = avs_table_at(&x->trials, (uint64_t)i);
}

int avs_expand(avs_parse *p, avs_err *e)
{
    int64_t limit = p->o->max_trials > 0 ? p->o->max_trials : AVS_SWEEP_MAX_TRIALS;
    expansion *x = AVS_NEW(p->a, expansion);
    p->shapes = avs_shapes_new(p);
    avs_arena *scratch = avs_arena_new();
    if (!x || !p->shapes || !scratch) {
        avs_arena_free(scratch);
        return avs_fail(e, AVS_ENOMEM, "no memory to expand the sweep");
    }
    *x = (expansion){.p = p, .e = e, .rc = AVS_OK, .limit = limit, .scratch = scratch, .point = {.d = p->d}};
    x->counting = p->o->count_only;
    for (int i = 0; i < p->sweep->n_stages; i++)
        if (p->stages[i].n_needs) x->counting = false; /* a join wants the trials */
    x->configs = (avs_table){.a = p->a, .size = x->counting ? sizeof(mark) : sizeof(avs_sweep_config)};
    x->trials = (avs_table){.a = p->a, .size = x->counting ? sizeof(mark) : sizeof(avs_sweep_trial)};
    avs_sha256_init(&x->digest);
    for (int i = 0; i < p->sweep->n_stages && !stop(x); i++)
        if (!p->stages[i].broken) expand_stage(x, i);
    finish(x);
    avs_table_free(&x->configs);
    avs_table_free(&x->trials);
    free(x->members);
    avs_arena_free(scratch);
    return x->rc == AVS_ENOMEM ? AVS_ENOMEM : AVS_OK;
}
