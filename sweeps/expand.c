/* Expansion: walk the blocks of a stage depth first, one point at a time; each point is completed by `let`, filtered
 * by the rules, resolved against the schema, hashed, and multiplied by the seeds.
 *
 * A point is a stack of settings that grows and shrinks with the walk, so memory is that of one point plus the result.
 * What a point needs for itself lives in a scratch arena; configurations and trials live in the sweep's arena. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "sweeps/identity.h"
#include "sweeps/stage.h"

typedef struct cont { /* what remains of the walk */
    const avs_block *block;
    struct cont *next;
} cont;

typedef struct {
    avs_sweep_config *config;
    int stage; /* last stage that listed it */
} config_slot;

typedef struct {
    avs_parse *p;
    avs_err *e;
    int rc;
    avs_stage_def *s;
    int stage;
    avs_setting point[AVS_MAX_KEYS];
    int n_point;
    int64_t walked, limit, repeated, shared;
    const char *first_repeat;
    avs_join **joins;
    bool *join_failed;
    config_slot *configs; /* open addressing by hash */
    uint64_t n_configs, config_cap;
    avs_sweep_trial **trials, **table; /* of the whole sweep, in order; by hash */
    uint64_t n_trials, trial_cap, table_cap;
    avs_sweep_trial **members; /* of the stage */
    uint64_t n_members, member_cap;
    const char *seen_root, *seen_print; /* last data_root and its fingerprint */
    bool unindexed;
} expansion;

static bool stop(const expansion *x)
{
    return x->rc != AVS_OK || avs_diag_full(x->p->d);
}

static void out_of_memory(expansion *x)
{
    if (x->rc == AVS_OK) x->rc = avs_fail(x->e, AVS_ENOMEM, "no memory to expand the sweep");
}

/* Doubles an array of `size` bytes an item when it is full. */
static bool grow(expansion *x, void **items, uint64_t n, uint64_t *cap, size_t size)
{
    if (n < *cap) return true;
    uint64_t want = *cap ? 2 * *cap : 256;
    void *p = avs_xrealloc(*items, want * size);
    if (!p) {
        out_of_memory(x);
        return false;
    }
    *items = p;
    *cap = want;
    return true;
}

static uint64_t short_hash(const uint8_t hash[32])
{
    uint64_t v;
    memcpy(&v, hash, sizeof v);
    return v;
}

/* ---- the point -------------------------------------------------------------------------------------------------- */

static const avs_setting *find_setting(const expansion *x, const char *key)
{
    for (int i = x->n_point; i-- > 0;)
        if (strcmp(x->point[i].key, key) == 0) return &x->point[i];
    for (int i = 0; i < x->s->n_base; i++)
        if (strcmp(x->s->base[i].key, key) == 0) return &x->s->base[i];
    return NULL;
}

static const avs_json *lookup(void *ctx, const char *name)
{
    const avs_setting *s = find_setting(ctx, name);
    return s ? s->value : NULL;
}

static avs_pos value_pos(const avs_setting *s)
{
    return s->value_node ? s->value_node->pos : s->key_node->pos;
}

/* Pushes a setting; false when the key already has another value. */
static bool set(expansion *x, const avs_setting *s)
{
    const avs_setting *before = find_setting(x, s->key);
    if (before && avs_value_equal(before->value, s->value)) return true;
    if (before) {
        avs_diag_add(
            x->p->d, "E022", s->key_node->pos, "a point sets a key once; remove one of the two",
            "'%.60s' is set twice with different values (first on line %u%s%s)", s->key,
            before->key_node->pos.line, before->key_node->pos.src != s->key_node->pos.src ? " of " : "",
            before->key_node->pos.src != s->key_node->pos.src ? before->key_node->pos.src->path : "");
        return false;
    }
    if (x->n_point == AVS_MAX_KEYS) {
        avs_diag_add(x->p->d, "E024", s->key_node->pos, NULL, "more than %d keys on one point", AVS_MAX_KEYS);
        return false;
    }
    x->point[x->n_point++] = *s;
    return true;
}

static bool evaluate(expansion *x, avs_arena *scratch, const avs_expr *expr, const avs_ynode *node,
                     avs_json *out)
{
    avs_expr_error e;
    if (avs_expr_eval(expr, scratch, lookup, x, out, &e) == AVS_OK) return true;
    avs_diag_add(x->p->d, "E031", avs_string_pos(node, e.offset),
                 "an expression sees what base, sweep blocks and let set, not the defaults of the model",
                 "%s", e.msg);
    return false;
}

static bool condition(expansion *x, avs_arena *scratch, const avs_expr *expr, const avs_ynode *node,
                      bool *out)
{
    avs_json v;
    if (!evaluate(x, scratch, expr, node, &v)) return false;
    if (v.kind != AVS_J_BOOL) {
        avs_diag_add(x->p->d, "E031", node->pos, NULL, "the condition is neither true nor false");
        return false;
    }
    *out = v.b;
    return true;
}

static bool apply_lets(expansion *x, avs_arena *scratch)
{
    for (int i = 0; i < x->s->n_lets; i++) {
        const avs_let *l = &x->s->lets[i];
        avs_setting s = l->setting;
        if (l->expr) {
            avs_json *v = avs_json_new(scratch, AVS_J_NULL);
            if (!v) {
                out_of_memory(x);
                return false;
            }
            if (!evaluate(x, scratch, l->expr, s.value_node, v)) return false;
            s.value = v;
        }
        if (!set(x, &s)) return false;
    }
    return true;
}

/* True when the point stays. *ok is false after an error. */
static bool passes(expansion *x, avs_arena *scratch, bool *ok)
{
    for (int i = 0; i < x->s->out->n_rules; i++) {
        bool holds = false;
        *ok = condition(x, scratch, x->s->rules[i].expr, x->s->rules[i].node, &holds);
        if (!*ok) return false;
        if (holds != x->s->out->rules[i].is_require) {
            x->s->out->rules[i].dropped++;
            return false;
        }
    }
    return true;
}

/* ---- configurations --------------------------------------------------------------------------------------------- */

static bool add_copy(avs_arena *a, avs_json *object, const avs_setting *s)
{
    avs_json *v = AVS_NEW(a, avs_json);
    if (!v) return false;
    *v = *s->value;
    v->next = NULL;
    return avs_json_add(a, object, s->key, v) != NULL;
}

/* null means: leave it to the default. */
static avs_json *given_json(expansion *x, avs_arena *scratch)
{
    avs_json *given = avs_json_new(scratch, AVS_J_OBJ);
    bool ok = given != NULL;
    for (int i = 0; ok && i < x->s->n_base; i++)
        if (x->s->base[i].value->kind != AVS_J_NULL) ok = add_copy(scratch, given, &x->s->base[i]);
    for (int i = 0; ok && i < x->n_point; i++)
        if (x->point[i].value->kind != AVS_J_NULL) ok = add_copy(scratch, given, &x->point[i]);
    if (!ok) out_of_memory(x);
    return ok ? given : NULL;
}

static void report_problem(expansion *x, const avs_problem *q)
{
    static const char *const codes[] = {
        [AVS_P_UNKNOWN] = "E012",  [AVS_P_NO_MODEL] = "E018", [AVS_P_TYPE] = "E015",
        [AVS_P_OPTION] = "E013",   [AVS_P_RANGE] = "E014",    [AVS_P_MISSING] = "E026",
        [AVS_P_INACTIVE] = "E016", [AVS_P_CONFLICT] = "E017", [AVS_P_RESERVED] = "E019"};
    const avs_setting *s = find_setting(x, q->key), *other = q->other ? find_setting(x, q->other) : NULL;
    bool at_key = q->kind == AVS_P_UNKNOWN || q->kind == AVS_P_RESERVED;
    avs_pos pos = s ? (at_key ? s->key_node->pos : value_pos(s)) : other ? value_pos(other) : x->s->node->pos;
    if (s && other && s != other)
        avs_diag_add(x->p->d, codes[q->kind], pos, q->help, "%s (%s is set on line %u)", q->text, q->other,
                     other->key_node->pos.line);
    else
        avs_diag_add(x->p->d, codes[q->kind], pos, q->help, "%s", q->text);
}

static const char *fingerprint(expansion *x, const avs_cfg *cfg)
{
    const char *root = avs_cfg_str(cfg, "data_root"), *kind = avs_cfg_kind(cfg);
    uint8_t print[32];
    char hex[65] = "";
    if (strcmp(kind, "train") != 0 && strcmp(kind, "eval") != 0) return "";
    if (x->seen_root && strcmp(x->seen_root, root) == 0) return x->seen_print;
    const avs_sweep_options *o = x->p->o;
    if (root[0] && o->fingerprint && o->fingerprint(o->ctx, root, print))
        avs_hex(print, 32, hex);
    else
        x->unindexed = true;
    x->seen_root = avs_arena_str(x->p->a, root);
    x->seen_print = avs_arena_str(x->p->a, hex);
    if (!x->seen_root || !x->seen_print) {
        out_of_memory(x);
        x->seen_root = NULL;
        return "";
    }
    return x->seen_print;
}

static bool amount(expansion *x, avs_arena *scratch, const avs_amount *m, const char *what, double hi,
                   double *out)
{
    avs_json v;
    *out = m->value;
    if (!m->given || !m->expr) return true;
    if (!evaluate(x, scratch, m->expr, m->node, &v)) return false;
    bool is_num = v.kind == AVS_J_INT || v.kind == AVS_J_FLOAT;
    if (!is_num || !(fabs(v.d) <= hi) || (hi < 1e9 && v.d < 0)) {
        avs_diag_add(x->p->d, "E040", m->node->pos, NULL, "%s comes out as %s, outside 0 to 1000000", what,
                     is_num ? "a number" : "something that is no number");
        return false;
    }
    *out = v.d;
    return true;
}

static bool resources(expansion *x, avs_arena *scratch, avs_sweep_resources *r, double *priority)
{
    const avs_stage_def *s = x->s;
    double gpus, cpus, per_gpu;
    *r = s->resources;
    if (!amount(x, scratch, &s->gpus, "gpus", 1e6, &gpus) ||
        !amount(x, scratch, &s->cpus, "cpus", 1e6, &cpus) ||
        !amount(x, scratch, &s->cpus_per_gpu, "cpus_per_gpu", 1e6, &per_gpu) ||
        !amount(x, scratch, &s->mem_gb, "mem_gb", 1e6, &r->mem_gb) ||
        !amount(x, scratch, &s->priority, "priority", 1e15, priority))
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

static const char *persist(expansion *x, avs_buf *b)
{
    const char *s = avs_buf_ok(b) ? avs_arena_strn(x->p->a, avs_buf_cstr(b), b->len) : NULL;
    if (!s) out_of_memory(x);
    return s;
}

/* What the sweep and `let` set, in order, copied out of the scratch arena. */
static const avs_json *axes_json(expansion *x)
{
    avs_json *out = avs_json_new(x->p->a, AVS_J_OBJ);
    bool ok = out != NULL;
    for (int i = 0; ok && i < x->n_point; i++) {
        const avs_setting *s = &x->point[i];
        if (s->value->kind == AVS_J_NULL) continue;
        avs_setting copy = *s;
        if (s->value->kind == AVS_J_ARR || s->value->kind == AVS_J_STR) { /* may point into scratch */
            avs_buf b = AVS_BUF_INIT;
            avs_json *parsed = NULL;
            avs_json_write(&b, s->value, false);
            ok = avs_buf_ok(&b) &&
                 avs_json_parse(x->p->a, "value", avs_buf_cstr(&b), b.len, &parsed, NULL) == AVS_OK;
            avs_buf_free(&b);
            copy.value = parsed;
        }
        ok = ok && add_copy(x->p->a, out, &copy);
    }
    if (!ok) out_of_memory(x);
    return ok ? out : NULL;
}

static config_slot *config_at(expansion *x, const uint8_t hash[32])
{
    uint64_t at = short_hash(hash) & (x->config_cap - 1);
    while (x->configs[at].config && memcmp(x->configs[at].config->hash, hash, 32) != 0)
        at = (at + 1) & (x->config_cap - 1);
    return &x->configs[at];
}

static bool room_for_config(expansion *x)
{
    if (2 * (x->n_configs + 1) < x->config_cap) return true;
    config_slot *old = x->configs;
    uint64_t n = x->config_cap;
    x->config_cap = n ? 2 * n : 1024;
    x->configs = avs_xrealloc(NULL, x->config_cap * sizeof *x->configs);
    if (!x->configs) {
        x->configs = old;
        x->config_cap = n;
        out_of_memory(x);
        return false;
    }
    memset(x->configs, 0, x->config_cap * sizeof *x->configs);
    for (uint64_t i = 0; i < n; i++)
        if (old[i].config) *config_at(x, old[i].config->hash) = old[i];
    free(old);
    return true;
}

/* The configuration of this point, new or from an earlier stage; NULL when this stage has it already, or on error. */
static avs_sweep_config *make_config(expansion *x, avs_arena *scratch, const avs_cfg *cfg)
{
    avs_sweep_config c = {.kind = x->s->out->kind};
    avs_buf b = AVS_BUF_INIT;
    avs_sweep_config *out = NULL;
    if (!resources(x, scratch, &c.resources, &c.priority) || !room_for_config(x)) return NULL;
    c.data_fingerprint = fingerprint(x, cfg);
    if (avs_identity_text(&b, cfg, c.data_fingerprint, c.resources.gpu_model, x->e) != AVS_OK) {
        out_of_memory(x);
        goto done;
    }
    avs_config_hash(avs_buf_cstr(&b), c.hash);
    config_slot *slot = config_at(x, c.hash);
    if (slot->config) {
        out = slot->stage == x->stage ? NULL : slot->config;
        if (!out) x->repeated++;
        slot->stage = x->stage;
        goto done;
    }
    c.identity = persist(x, &b);
    avs_buf_clear(&b);
    avs_json_write(&b, avs_cfg_json(cfg), true);
    c.params = persist(x, &b);
    c.model = avs_arena_str(x->p->a, avs_cfg_str(cfg, "model"));
    c.task = avs_arena_str(x->p->a, avs_cfg_str(cfg, "task"));
    c.data_root = avs_arena_str(x->p->a, avs_cfg_str(cfg, "data_root"));
    c.axes = axes_json(x);
    out = avs_arena_dup(x->p->a, &c, sizeof c);
    if (!c.identity || !c.params || !c.model || !c.task || !c.data_root || !c.axes || !out) {
        out_of_memory(x);
        out = NULL;
        goto done;
    }
    *slot = (config_slot){out, x->stage};
    x->n_configs++;
done:
    avs_buf_free(&b);
    return x->rc == AVS_OK ? out : NULL;
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
static bool join(expansion *x, avs_arena *scratch, const avs_cfg *cfg, uint32_t seed, avs_sweep_need *needs)
{
    for (int i = 0; i < x->s->n_needs; i++) {
        int64_t count = 0;
        const char *key = NULL;
        const avs_sweep_trial *t = avs_join_find(x->joins[i], scratch, avs_cfg_json(cfg), seed, &count, &key);
        if (count == -1) out_of_memory(x);
        if (count != 1) {
            if (count >= 0 && !x->join_failed[i]) no_match(x, i, count, key);
            return false;
        }
        needs[i] = (avs_sweep_need){x->s->needs[i].alias, t};
    }
    return true;
}

static avs_sweep_trial **trial_at(expansion *x, const uint8_t hash[32])
{
    uint64_t at = short_hash(hash) & (x->table_cap - 1);
    while (x->table[at] && memcmp(x->table[at]->hash, hash, 32) != 0) at = (at + 1) & (x->table_cap - 1);
    return &x->table[at];
}

static bool room_for_trial(expansion *x)
{
    if (!grow(x, (void **)&x->trials, x->n_trials, &x->trial_cap, sizeof *x->trials) ||
        !grow(x, (void **)&x->members, x->n_members, &x->member_cap, sizeof *x->members))
        return false;
    if (2 * (x->n_trials + 1) < x->table_cap) return true;
    uint64_t cap = x->table_cap ? 2 * x->table_cap : 1024;
    avs_sweep_trial **table = avs_xrealloc(NULL, cap * sizeof *table);
    if (!table) {
        out_of_memory(x);
        return false;
    }
    memset(table, 0, cap * sizeof *table);
    free(x->table);
    x->table = table;
    x->table_cap = cap;
    for (uint64_t i = 0; i < x->n_trials; i++) *trial_at(x, x->trials[i]->hash) = x->trials[i];
    return true;
}

static void make_trial(expansion *x, avs_arena *scratch, const avs_cfg *cfg, const avs_sweep_config *c,
                       uint32_t seed)
{
    avs_sweep_need needs[16];
    uint8_t upstream[16][32], hash[32];
    int n = x->s->n_needs;
    if (!join(x, scratch, cfg, seed, needs) || !room_for_trial(x)) return;
    for (int i = 0; i < n; i++) memcpy(upstream[i], needs[i].upstream->hash, 32);
    avs_trial_hash(c->hash, seed, upstream, n, hash);
    avs_sweep_trial **slot = trial_at(x, hash);
    if (*slot) {
        x->shared++;
        x->members[x->n_members++] = *slot;
        return;
    }
    avs_sweep_trial *t = AVS_NEW(x->p->a, avs_sweep_trial);
    avs_sweep_need *kept = n ? avs_arena_dup(x->p->a, needs, (size_t)n * sizeof *needs) : NULL;
    if (!t || (n && !kept)) {
        out_of_memory(x);
        return;
    }
    *t = (avs_sweep_trial){.config = c,
                           .seed = seed,
                           .ordinal = (uint32_t)x->n_trials,
                           .stage = x->stage,
                           .n_needs = n,
                           .needs = kept};
    memcpy(t->hash, hash, 32);
    *slot = t;
    x->trials[x->n_trials++] = t;
    x->members[x->n_members++] = t;
}

static void finish_point(expansion *x, avs_arena *scratch)
{
    bool ok = true;
    if (!apply_lets(x, scratch) || !passes(x, scratch, &ok)) return;
    avs_json *given = given_json(x, scratch);
    avs_cfg *cfg = NULL;
    avs_problem *problems = NULL;
    if (!given) return;
    int rc = avs_cfg_resolve(scratch, x->s->out->kind, given, &cfg, &problems, x->e);
    if (rc == AVS_ENOMEM) out_of_memory(x);
    for (; problems; problems = problems->next) report_problem(x, problems);
    if (rc != AVS_OK) return;
    const avs_sweep_config *c = make_config(x, scratch, cfg);
    if (!c) return;
    x->s->out->n_configs++;
    if ((int64_t)x->n_trials + x->s->n_seeds > x->limit) {
        avs_diag_add(x->p->d, "E024", x->s->node->pos, NULL, "the sweep has more than %lld trials",
                     (long long)x->limit);
        x->rc = AVS_EPARSE;
        return;
    }
    for (int64_t i = 0; i < x->s->n_seeds && !stop(x); i++) make_trial(x, scratch, cfg, c, x->s->seeds[i]);
}

static void on_point(expansion *x)
{
    if (++x->walked > x->limit) {
        avs_diag_add(x->p->d, "E024", x->s->node->pos, NULL, "the sweep has more than %lld points",
                     (long long)x->limit);
        x->rc = AVS_EPARSE;
        return;
    }
    int n = x->n_point;
    avs_arena *scratch = avs_arena_new();
    x->s->out->n_points++;
    if (scratch)
        finish_point(x, scratch);
    else
        out_of_memory(x);
    x->n_point = n; /* the lets go before their memory does */
    avs_arena_free(scratch);
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
        int n = x->n_point;
        if (set(x, &b->axes[axis].values[i])) walk_grid(x, b, axis + 1, next);
        x->n_point = n;
    }
}

static void walk_zip(expansion *x, const avs_block *b, cont *next)
{
    for (int64_t i = 0; i < b->axes[0].n && !stop(x); i++) {
        int n = x->n_point;
        bool ok = true;
        for (int64_t k = 0; k < b->n_axes; k++) ok = set(x, &b->axes[k].values[i]) && ok;
        if (ok) walk(x, next);
        x->n_point = n;
    }
}

static void walk_list(expansion *x, const avs_block *b, cont *next)
{
    for (int64_t i = 0; i < b->n_axes && !stop(x); i++) {
        int n = x->n_point;
        bool ok = true;
        for (int64_t k = 0; k < b->axes[i].n; k++) ok = set(x, &b->axes[i].values[k]) && ok;
        if (ok) walk(x, next);
        x->n_point = n;
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
        avs_arena *scratch = avs_arena_new();
        bool ok = scratch && condition(x, scratch, b->when, b->when_node, &holds);
        if (!scratch) out_of_memory(x);
        avs_arena_free(scratch);
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
        x->joins[i] = avs_join_new(x->p->a, &x->s->needs[i], &x->p->sweep->stages[x->s->needs[i].from]);
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

static void expand_stage(expansion *x, int index)
{
    x->s = &x->p->stages[index];
    x->stage = index;
    x->n_point = 0;
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
    avs_sweep_stage *out = x->s->out;
    out->n_trials = (int64_t)x->n_members;
    out->trials = avs_arena_dup(x->p->a, x->members, x->n_members * sizeof *x->members);
    if (!out->trials && x->n_members) out_of_memory(x);
    x->s->broken = x->p->d->n_errors > before;
    if (!x->s->broken) warn(x);
}

int avs_expand(avs_parse *p, avs_err *e)
{
    int64_t limit = p->o->max_trials > 0 ? p->o->max_trials : AVS_SWEEP_MAX_TRIALS;
    expansion *x = AVS_NEW(p->a, expansion);
    if (!x) return avs_fail(e, AVS_ENOMEM, "no memory to expand the sweep");
    *x = (expansion){.p = p, .e = e, .rc = AVS_OK, .limit = limit};
    for (int i = 0; i < p->sweep->n_stages && !stop(x); i++)
        if (!p->stages[i].broken) expand_stage(x, i);
    p->sweep->n_trials = (int64_t)x->n_trials;
    p->sweep->trials = avs_arena_dup(p->a, x->trials, x->n_trials * sizeof *x->trials);
    p->sweep->data_indexed = !x->unindexed;
    if (!p->sweep->trials && x->n_trials) out_of_memory(x);
    free(x->configs);
    free(x->trials);
    free(x->table);
    free(x->members);
    return x->rc == AVS_ENOMEM ? AVS_ENOMEM : AVS_OK;
}
