/* Resolving a configuration: given values are checked against their specs, the rest is filled in by the default rules,
 * inactive parameters are dropped, and the constraints between parameters are checked last.
 *
 * Defaults depend on each other (batch on resolution, resolution on task), so every parameter is resolved when it is
 * first asked for; the rules have no cycles, which a test walks through for all models. */
#include "models/schema_cfg.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static avs_slot *resolve(avs_cfg *c, int at);

/* ---- conditions -------------------------------------------------------------------------------------------- */

static bool slot_equals(const avs_param_spec *spec, const avs_slot *s, const char *text, size_t len)
{
    switch (spec->type) {
    case AVS_P_CHOICE:
    case AVS_P_STRING:
        return s->s && strlen(s->s) == len && strncmp(s->s, text, len) == 0;
    case AVS_P_BOOL:
        return (s->i != 0) == (len == 4 && strncmp(text, "true", 4) == 0);
    default:
        return s->d >= strtod(text, NULL) && s->d <= strtod(text, NULL);
    }
}

static bool clause_holds(avs_cfg *c, const char *p, size_t len)
{
    const char *end = p + len, *op = p;
    while (op < end && !strchr("=!<>", *op)) op++;
    bool not_equal = *op == '!', less = *op == '<', at_least = *op == '>';
    const char *v = op + (less ? 1 : (not_equal || at_least) ? 2 : 1);
    size_t name_len = (size_t)(op - p);
    bool is_kind = name_len == 4 && strncmp(p, "kind", 4) == 0;
    int at = is_kind ? -1 : avs_cfg_find(c, p, name_len);
    assert(is_kind || at >= 0);
    if (!is_kind && at < 0) return false;
    const avs_slot *s = is_kind ? NULL : resolve(c, at);
    if (less || at_least) {
        if (!s) return false; /* the kind has no order */
        double have = c->specs[at].type == AVS_P_SIZE ? fmax((double)s->i, s->n) : s->d,
               bound = strtod(v, NULL);
        return less ? have < bound : have >= bound;
    }
    bool any = false;
    while (v < end && !any) {
        size_t n = 0;
        while (v + n < end && v[n] != '|') n++;
        any = is_kind ? strlen(c->kind) == n && strncmp(c->kind, v, n) == 0
                      : slot_equals(&c->specs[at], s, v, n);
        v += n + 1;
    }
    return any != not_equal;
}

static bool holds(avs_cfg *c, const char *when)
{
    const char *at = when, *word;
    size_t len;
    while (avs_schema_word(&at, &word, &len))
        if (!clause_holds(c, word, len)) return false;
    return true;
}

/* ---- defaults ----------------------------------------------------------------------------------------------- */

/* Reads a default of our own tables; `N*name` is N times another parameter. */
static void slot_from_text(avs_cfg *c, const avs_param_spec *spec, const char *text, size_t len, avs_slot *s)
{
    char word[256];
    assert(len < sizeof word);
    memcpy(word, text, len);
    word[len] = '\0';
    const char *star = strchr(word, '*');
    switch (spec->type) {
    case AVS_P_BOOL:
        s->i = strcmp(word, "true") == 0;
        break;
    case AVS_P_INT:
        s->i = strtoll(word, NULL, 10);
        if (star) {
            int of = avs_cfg_find(c, star + 1, strlen(star + 1));
            assert(of >= 0);
            s->i *= resolve(c, of)->i;
        }
        s->d = (double)s->i;
        break;
    case AVS_P_FLOAT:
        s->d = strtod(word, NULL);
        break;
    case AVS_P_CHOICE:
    case AVS_P_STRING:
        s->s = avs_arena_str(c->a, word);
        if (!s->s) c->no_memory = true;
        break;
    case AVS_P_SIZE:
        s->i = strtoll(word, NULL, 10);
        s->n = (int)s->i;
        s->d = (double)s->i;
        break;
    case AVS_P_INT_LIST:
    case AVS_P_INT_OR_LIST: {
        int64_t *items = AVS_NEW_N(c->a, int64_t, AVS_CFG_MAX_LIST);
        s->n = 0;
        if (!items) c->no_memory = true;
        for (char *p = word; items && *p && s->n < AVS_CFG_MAX_LIST; p += *p == ',')
            items[s->n++] = strtoll(p, &p, 10);
        s->list = items;
        break;
    }
    }
}

static void fill_default(avs_cfg *c, int at, avs_slot *s)
{
    const avs_param_spec *spec = &c->specs[at];
    size_t name_len = strlen(spec->name), len = 0;
    const char *value = spec->fallback;
    if (value) len = strlen(value);
    for (int i = 0; i < c->n_defaults; i++) {
        const avs_default_rule *r = c->defaults[i];
        const char *walk = r->sets, *word;
        size_t n;
        while (avs_schema_word(&walk, &word, &n))
            if (n > name_len && word[name_len] == '=' && strncmp(word, spec->name, name_len) == 0 &&
                holds(c, r->when)) {
                value = word + name_len + 1;
                len = n - name_len - 1;
            }
    }
    s->none = value == NULL;
    if (value) slot_from_text(c, spec, value, len, s);
    if (!value && (spec->type == AVS_P_STRING || spec->type == AVS_P_CHOICE)) s->s = "";
}

static avs_slot *resolve(avs_cfg *c, int at)
{
    avs_slot *s = &c->slots[at];
    assert(s->state != AVS_SLOT_BUSY); /* the default rules have no cycle */
    if (s->state == AVS_SLOT_DONE) return s;
    s->state = AVS_SLOT_BUSY;
    fill_default(c, at, s);
    s->state = AVS_SLOT_DONE;
    return s;
}

/* ---- activity and constraints ------------------------------------------------------------------------------- */

static bool is_custom(avs_cfg *c)
{
    const char *b = resolve(c, avs_cfg_find(c, "backbone", 8))->s;
    size_t n = b ? strlen(b) : 0;
    return n > 7 && strcmp(b + n - 7, "_custom") == 0;
}

static bool kind_uses(const avs_cfg *c, avs_pgroup group)
{
    bool train = strcmp(c->kind, "train") == 0 || strcmp(c->kind, "noop") == 0;
    switch (group) {
    case AVS_G_TRAINING:
        return train;
    case AVS_G_EVALUATION:
        return train || strcmp(c->kind, "eval") == 0;
    case AVS_G_LATENCY:
        return strcmp(c->kind, "latency") == 0;
    default:
        return true;
    }
}

static bool same_value(const avs_param_spec *spec, const avs_slot *x, const avs_slot *y)
{
    switch (spec->type) {
    case AVS_P_CHOICE:
    case AVS_P_STRING:
        return x->s && y->s && strcmp(x->s, y->s) == 0;
    case AVS_P_SIZE:
        return x->i == y->i && x->n == y->n;
    case AVS_P_BOOL:
        return x->i == y->i;
    case AVS_P_INT:
    case AVS_P_FLOAT:
        return x->d >= y->d && x->d <= y->d;
    default:
        return x->n == y->n && (x->n == 0 || (x->list && y->list &&
                                              memcmp(x->list, y->list, (size_t)x->n * sizeof *x->list) == 0));
    }
}

/* The condition that switches parameter `at` off, or NULL. */
static const char *switched_off(avs_cfg *c, int at)
{
    size_t name_len = strlen(c->specs[at].name);
    for (int i = 0; i < c->n_actives; i++) {
        const avs_active_rule *r = c->actives[i];
        const char *walk = r->names, *word;
        size_t n;
        while (avs_schema_word(&walk, &word, &n))
            if (n == name_len && strncmp(word, c->specs[at].name, n) == 0 && !holds(c, r->when))
                return r->when;
    }
    return NULL;
}

static void decide_activity(avs_cfg *c)
{
    for (int i = 0; i < c->n; i++) (void)resolve(c, i);
    for (int i = 0; i < c->n; i++) {
        const avs_param_spec *spec = &c->specs[i];
        avs_slot *s = &c->slots[i];
        s->active = kind_uses(c, spec->group);
        if (spec->group == AVS_G_SIZES) {
            s->active = is_custom(c);
            if (s->active && !s->given && !spec->fallback)
                avs_cfg_problem(c, AVS_P_MISSING, spec, "backbone",
                                avs_arena_fmt(c->a, "%s must be given with backbone '%s'", spec->name,
                                              resolve(c, avs_cfg_find(c, "backbone", 8))->s),
                                NULL);
            if (!s->active && s->given)
                avs_cfg_problem(c, AVS_P_CONFLICT, spec, "backbone",
                                avs_arena_fmt(c->a, "%s goes only with a custom backbone, not with '%s'",
                                              spec->name, resolve(c, avs_cfg_find(c, "backbone", 8))->s),
                                NULL);
            continue;
        }
        const char *off = switched_off(c, i);
        if (!off) continue;
        if (s->given && !s->bad && s->active) {
            avs_slot fallback = {0};
            fill_default(c, i, &fallback);
            if (!same_value(spec, s, &fallback))
                avs_cfg_problem(
                    c, AVS_P_INACTIVE, spec, NULL,
                    avs_arena_fmt(c->a, "%s has no effect here: it acts only where %s", spec->name, off),
                    "leave it out where it does not act (a `when` in the sweep does that)");
        }
        s->active = false;
    }
}

static void refuse_pair(avs_cfg *c, const char *key, const char *other, const char *text)
{
    const avs_slot *k = &c->slots[avs_cfg_find(c, key, strlen(key))];
    const avs_slot *o = other ? &c->slots[avs_cfg_find(c, other, strlen(other))] : NULL;
    bool swap = !k->given && o && o->given; /* point at what the user wrote */
    const char *named = swap ? other : key, *second = swap ? key : other;
    avs_cfg_problem(c, AVS_P_CONFLICT, &c->specs[avs_cfg_find(c, named, strlen(named))], second, text, NULL);
}

/* The matching loss compares with the sound that reached a stage: a stage that is asked for must hear, and one must. */
static void check_matched_stages(avs_cfg *c, const avs_slot *matched, const avs_slot *hearing)
{
    const bool is_default = matched->n == 4; /* all there are: it stands for those that hear */
    int n = 0;
    for (int i = 0; i < matched->n; i++) {
        bool hears = false;
        for (int k = 0; k < hearing->n; k++) hears |= hearing->list[k] == matched->list[i];
        n += hears;
        if (hears || is_default) continue;
        refuse_pair(c, "avm_stages", "tpavi_stages",
                    avs_arena_fmt(c->a, "avm_stages has stage %lld, which is not in tpavi_stages",
                                  (long long)matched->list[i]));
        return;
    }
    if (n == 0)
        refuse_pair(c, "avm_stages", "tpavi_stages",
                    "aux_loss avm needs a stage that is in avm_stages and in tpavi_stages");
}

static void check_odd_ones(avs_cfg *c)
{
#define SLOT(name)                                                                                           \
    (avs_cfg_find(c, name, sizeof(name) - 1) < 0 ? NULL : &c->slots[avs_cfg_find(c, name, sizeof(name) - 1)])
    const avs_slot *s = SLOT("elf_stages"), *t;
    if (s && (strlen(s->s) != 3 || strspn(s->s, "CT") != 3))
        avs_cfg_problem(c, AVS_P_RANGE, &c->specs[s - c->slots], NULL,
                        avs_arena_fmt(c->a, "elf_stages is '%.60s', not three letters C or T", s->s), NULL);
    s = SLOT("neck_kernel_size");
    if (s && s->i % 2 == 0)
        avs_cfg_problem(c, AVS_P_RANGE, &c->specs[s - c->slots], NULL,
                        avs_arena_fmt(c->a, "neck_kernel_size is %lld, not odd", (long long)s->i), NULL);
    s = SLOT("audio_channels");
    if (s && s->i == 2)
        avs_cfg_problem(c, AVS_P_RANGE, &c->specs[s - c->slots], NULL, "audio_channels is 2, neither 1 nor 3",
                        NULL);
    s = SLOT("key_threshold_low");
    t = SLOT("key_threshold_high");
    if (s && t && s->active && s->d > t->d)
        refuse_pair(c, "key_threshold_low", "key_threshold_high",
                    "key_threshold_low is above key_threshold_high");
    s = SLOT("stage1_masks");
    if (s && s->active && s->s[0] == '\0') {
        const avs_slot *in_training = SLOT("stage1_mask_train"), *in_evaluation = SLOT("stage1_mask_eval");
        bool train = kind_uses(c, AVS_G_TRAINING) && in_training && strcmp(in_training->s, "predicted") == 0;
        bool eval =
            kind_uses(c, AVS_G_EVALUATION) && in_evaluation && strcmp(in_evaluation->s, "predicted") == 0;
        if (train || eval)
            avs_cfg_problem(c, AVS_P_MISSING, &c->specs[s - c->slots],
                            train ? "stage1_mask_train" : "stage1_mask_eval",
                            avs_arena_fmt(c->a, "stage1_masks must be given where %s is predicted",
                                          train ? "stage1_mask_train" : "stage1_mask_eval"),
                            NULL);
    }
    s = SLOT("avm_stages");
    t = SLOT("tpavi_stages");
    if (s && t && s->active && !s->bad && !t->bad) check_matched_stages(c, s, t);
    s = SLOT("resolution");
    t = SLOT("backbone_patch_size");
    if (SLOT("agve") && s && !s->bad && (s->i < 64 || s->n < 64))
        avs_cfg_problem(
            c, AVS_P_RANGE, &c->specs[s - c->slots], NULL,
            avs_arena_fmt(c->a, "resolution is %lld, below 64", (long long)(s->i < s->n ? s->i : s->n)),
            NULL);
    const avs_slot *adapter = SLOT("image_adapter");
    if (adapter && adapter->i && s && t && t->active && t->i > 0 &&
        (s->i / t->i % 2 || s->i % t->i || s->n / t->i % 2 || s->n % t->i))
        refuse_pair(c, "resolution", "image_adapter", "image_adapter needs an even number of patches a side");
#undef SLOT
}

static void check_constraints(avs_cfg *c)
{
    for (const avs_constraint_rule *r = avs_constraint_rules; r->models; r++)
        if (avs_schema_lists(r->models, c->model) && holds(c, r->when) && !holds(c, r->then))
            refuse_pair(c, r->key, r->other, r->text);
    for (const avs_multiple_rule *r = avs_multiple_rules; r->models; r++) {
        if (!avs_schema_lists(r->models, c->model)) continue;
        int at = avs_cfg_find(c, r->key, strlen(r->key));
        const avs_slot *s = &c->slots[at];
        int64_t n = r->n ? r->n : c->slots[avs_cfg_find(c, r->of, strlen(r->of))].i;
        int64_t w = c->specs[at].type == AVS_P_SIZE ? s->n : s->i;
        if (s->bad || n <= 0 || (s->i % n == 0 && w % n == 0)) continue;
        const char *text = avs_arena_fmt(c->a, "%s is %lld, not a multiple of %s%s%lld", r->key,
                                         (long long)(s->i % n ? s->i : w), r->of ? r->of : "",
                                         r->of ? " " : "", (long long)n);
        if (r->of)
            refuse_pair(c, r->key, r->of, text);
        else
            avs_cfg_problem(c, AVS_P_RANGE, &c->specs[at], NULL, text, NULL);
    }
    check_odd_ones(c);
}

/* ---- canonical form ----------------------------------------------------------------------------------------- */

static bool put_json(avs_cfg *c, avs_json *out, const avs_param_spec *spec, const avs_slot *s)
{
    avs_json *list;
    switch (spec->type) {
    case AVS_P_BOOL:
        return avs_json_add_bool(c->a, out, spec->name, s->i != 0);
    case AVS_P_INT:
        return avs_json_add_int(c->a, out, spec->name, s->i);
    case AVS_P_FLOAT:
        return avs_json_add_num(c->a, out, spec->name, s->d);
    case AVS_P_CHOICE:
    case AVS_P_STRING:
        return avs_json_add_str(c->a, out, spec->name, s->s);
    case AVS_P_SIZE:
        if (s->i == s->n) return avs_json_add_int(c->a, out, spec->name, s->i);
        list = avs_json_add(c->a, out, spec->name, avs_json_new(c->a, AVS_J_ARR));
        return list && avs_json_add_int(c->a, list, NULL, s->i) && avs_json_add_int(c->a, list, NULL, s->n);
    case AVS_P_INT_OR_LIST:
        if (s->n == 1) return avs_json_add_int(c->a, out, spec->name, s->list[0]);
        break;
    case AVS_P_INT_LIST:
        break;
    }
    list = avs_json_add(c->a, out, spec->name, avs_json_new(c->a, AVS_J_ARR));
    for (int i = 0; list && i < s->n; i++)
        if (!avs_json_add_int(c->a, list, NULL, s->list[i])) return false;
    return list != NULL;
}

static void make_json(avs_cfg *c)
{
    c->json = avs_json_new(c->a, AVS_J_OBJ);
    c->identity = avs_json_new(c->a, AVS_J_OBJ);
    for (int i = 0; c->json && c->identity && i < c->n; i++) {
        const avs_slot *s = &c->slots[i];
        if (!s->active || s->none) continue;
        bool data_root = strcmp(c->specs[i].name, "data_root") == 0;
        if (!put_json(c, c->json, &c->specs[i], s)) c->no_memory = true;
        if (!data_root && !put_json(c, c->identity, &c->specs[i], s)) c->no_memory = true;
    }
    if (!c->json || !c->identity) c->no_memory = true;
}

static void find_rules(avs_cfg *c)
{
    for (const avs_default_rule *r = avs_default_rules; r->models; r++)
        if (avs_schema_lists(r->models, c->model)) {
            assert(c->n_defaults < AVS_CFG_MAX_RULES);
            c->defaults[c->n_defaults++] = r;
        }
    for (const avs_active_rule *r = avs_active_rules; r->models; r++)
        if (avs_schema_lists(r->models, c->model)) {
            assert(c->n_actives < AVS_CFG_MAX_RULES);
            c->actives[c->n_actives++] = r;
        }
}

static void no_model(avs_cfg *c, const avs_json *model)
{
    const char *const *names = avs_schema_models();
    int n = 0;
    while (names[n]) n++;
    const char *found = model && model->kind == AVS_J_STR ? model->s : NULL;
    const char *near = found ? avs_nearest(found, names, n) : NULL;
    avs_buf list = AVS_BUF_INIT;
    for (int i = 0; i < n; i++) avs_buf_fmt(&list, "%s%s", i ? ", " : "", names[i]);
    avs_cfg_problem_at(c, AVS_P_NO_MODEL, "model", 0, NULL,
                       !model ? "no model is given"
                       : found
                           ? avs_arena_fmt(c->a, "there is no model '%.60s'", found)
                           : avs_arena_fmt(c->a, "model wants a name, found %s", avs_cfg_show(c->a, model)),
                       near ? avs_arena_fmt(c->a, "did you mean '%s'?", near)
                            : avs_arena_fmt(c->a, "the models are %s", avs_buf_cstr(&list)));
    avs_buf_free(&list);
}

int avs_cfg_resolve(avs_arena *a, const char *kind, const avs_json *given, avs_cfg **out,
                    avs_problem **problems, avs_err *e)
{
    *out = NULL;
    if (problems) *problems = NULL;
    avs_cfg *c = AVS_NEW(a, avs_cfg);
    if (!c) return avs_fail(e, AVS_ENOMEM, "no memory to resolve a configuration");
    if (!given || given->kind != AVS_J_OBJ)
        return avs_fail(e, AVS_EPARSE, "the parameters are not an object");
    const bool exec = strcmp(kind, "exec") == 0;
    if (!exec && strcmp(kind, "train") != 0 && strcmp(kind, "eval") != 0 && strcmp(kind, "latency") != 0 &&
        strcmp(kind, "noop") != 0)
        return avs_fail(e, AVS_EPARSE, "there is no kind of trial '%s' (train, eval, latency, noop, exec)",
                        kind);
    c->a = a;
    c->kind = avs_arena_str(a, kind);
    const avs_json *model = avs_json_get(given, "model");
    const char *name = avs_json_str(given, "model", NULL);
    if (!exec) c->specs = avs_schema_of(name);
    if (exec) {
        avs_cfg_take_exec(c, given);
    } else if (!c->specs) {
        no_model(c, model);
    } else {
        c->model = name;
        while (c->specs[c->n].name) c->n++;
        c->slots = AVS_NEW_N(a, avs_slot, c->n);
        c->n_given = (int)given->len;
        if (!c->slots || !c->kind) return avs_fail(e, AVS_ENOMEM, "no memory to resolve a configuration");
        find_rules(c);
        avs_cfg_take_all(c, given);
        decide_activity(c);
        if (!c->no_memory) check_constraints(c);
        if (!c->problems) make_json(c);
    }
    if (c->no_memory) return avs_fail(e, AVS_ENOMEM, "no memory to resolve a configuration");
    if (c->problems) {
        for (avs_ordered *o = c->problems; o; o = o->next) o->p.next = o->next ? &o->next->p : NULL;
        if (problems) *problems = &c->problems->p;
        return avs_fail(e, AVS_EPARSE, "%s%s%s", c->problems->p.text, c->problems->p.help ? "; " : "",
                        c->problems->p.help ? c->problems->p.help : "");
    }
    *out = c;
    return AVS_OK;
}

/* ---- getters ------------------------------------------------------------------------------------------------ */

const avs_json *avs_cfg_json(const avs_cfg *c)
{
    return c->json;
}
const avs_json *avs_cfg_identity_json(const avs_cfg *c)
{
    return c->identity;
}
const char *avs_cfg_kind(const avs_cfg *c)
{
    return c->kind;
}
const avs_param_spec *avs_cfg_specs(const avs_cfg *c)
{
    return c->specs;
}

static const avs_slot *get(const avs_cfg *c, const char *name)
{
    int at = avs_cfg_find(c, name, strlen(name));
    assert(at >= 0);
    return &c->slots[at < 0 ? 0 : at];
}

bool avs_cfg_has(const avs_cfg *c, const char *name)
{
    int at = avs_cfg_find(c, name, strlen(name));
    return at >= 0 && c->slots[at].active;
}

int64_t avs_cfg_int(const avs_cfg *c, const char *name)
{
    return get(c, name)->i;
}
double avs_cfg_num(const avs_cfg *c, const char *name)
{
    return get(c, name)->d;
}
bool avs_cfg_bool(const avs_cfg *c, const char *name)
{
    return get(c, name)->i != 0;
}
const char *avs_cfg_str(const avs_cfg *c, const char *name)
{
    return get(c, name)->s;
}

bool avs_cfg_is(const avs_cfg *c, const char *name, const char *value)
{
    const char *s = get(c, name)->s;
    return s && strcmp(s, value) == 0;
}

void avs_cfg_size(const avs_cfg *c, const char *name, int *h, int *w)
{
    const avs_slot *s = get(c, name);
    *h = (int)s->i;
    *w = s->n;
}

int avs_cfg_list(const avs_cfg *c, const char *name, const int64_t **items)
{
    const avs_slot *s = get(c, name);
    *items = s->list;
    return s->n;
}
