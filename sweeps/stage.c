/* From the document to stages. A sweep without `stages` has one stage called main; a stage inherits what it does not
 * set: kind, seeds and objective whole, base, let, resources, limits and order merged, exclude and require joined. */
#include "sweeps/stage.h"

#include <ctype.h>
#include <string.h>
#include "models/schema.h"

enum { MAX_STAGES = 64, MAX_RULES = 256, MAX_NEEDS = 16 };

avs_pos avs_string_pos(const avs_ynode *n, size_t offset)
{
    avs_pos pos = n->pos;
    uint32_t chars = 0, before = 0;
    for (size_t i = 0; i < n->len; i++) {
        bool lead = ((unsigned char)n->s[i] & 0xC0) != 0x80;
        chars += lead;
        before += lead && i < offset;
    }
    uint32_t quote = n->plain ? 0 : 1;
    if (pos.len != chars + 2 * quote) return pos; /* folded or escaped: the string as a whole */
    pos.col += before + quote;
    pos.len = 1;
    return pos;
}

const avs_expr *avs_parse_expr(avs_parse *p, const avs_ynode *n)
{
    avs_expr_error e;
    if (n->kind != AVS_Y_STR) {
        avs_diag_add(p->d, "E011", n->pos, NULL, "an expression is expected, found %s", avs_yaml_kind(n));
        return NULL;
    }
    avs_expr *x = avs_expr_parse(p->a, n->s, &e);
    if (!x) avs_diag_add(p->d, "E030", avs_string_pos(n, e.offset), NULL, "%s", e.msg);
    return x;
}

static const avs_json *as_json(avs_parse *p, const avs_ynode *n)
{
    const avs_json *j = n ? avs_yaml_json(p->a, n) : avs_json_new(p->a, AVS_J_OBJ);
    if (!j) p->d->no_memory = true;
    return j;
}

static bool want_map(avs_parse *p, const avs_ynode *n, const char *what)
{
    if (!n || n->kind == AVS_Y_MAP) return true;
    avs_diag_add(p->d, "E011", n->pos, NULL, "%s wants a map, found %s", what, avs_yaml_kind(n));
    return false;
}

static void parse_base(avs_parse *p, const avs_ynode *n, avs_stage_def *s)
{
    if (!n || !want_map(p, n, "base")) return;
    if (n->n > AVS_MAX_KEYS) {
        avs_diag_add(p->d, "E024", n->pos, NULL, "more than %d keys in base", AVS_MAX_KEYS);
        return;
    }
    s->base = AVS_NEW_N(p->a, avs_setting, n->n + 1);
    if (!s->base) {
        p->d->no_memory = true;
        return;
    }
    avs_json *from = avs_json_new(p->a, AVS_J_OBJ);
    for (uint32_t i = 0; i < n->n; i++) {
        const avs_setting b = s->base[s->n_base++] = avs_parse_setting(p, n->keys[i], n->items[i]);
        const avs_pos at = b.value_node ? b.value_node->pos : b.key_node->pos;
        avs_json_add_str(p->a, from, b.key,
                         at.src->is_option ? "--set" : avs_arena_fmt(p->a, "%s:%u", at.src->path, at.line));
    }
    s->out->base_from = from;
}

static void parse_lets(avs_parse *p, const avs_ynode *n, avs_stage_def *s)
{
    if (!n || !want_map(p, n, "let")) return;
    if (n->n > AVS_MAX_KEYS) {
        avs_diag_add(p->d, "E024", n->pos, NULL, "more than %d keys in let", AVS_MAX_KEYS);
        return;
    }
    s->lets = AVS_NEW_N(p->a, avs_let, n->n + 1);
    if (!s->lets) {
        p->d->no_memory = true;
        return;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        avs_let *l = &s->lets[s->n_lets++];
        const avs_ynode *v = n->items[i];
        l->setting = avs_parse_setting(p, n->keys[i], v);
        if (v->kind == AVS_Y_STR) {
            l->setting.value = NULL;
            l->expr = avs_parse_expr(p, v);
        } else if (v->kind == AVS_Y_SEQ || v->kind == AVS_Y_MAP) {
            avs_diag_add(p->d, "E011", v->pos, NULL, "let wants an expression, found %s", avs_yaml_kind(v));
        }
    }
}

static void parse_rules(avs_parse *p, const avs_ynode *n, const char *what, bool is_require, avs_stage_def *s)
{
    if (!n) return;
    if (n->kind != AVS_Y_SEQ) {
        avs_diag_add(p->d, "E011", n->pos, NULL, "%s wants a list of expressions, found %s", what,
                     avs_yaml_kind(n));
        return;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        if (s->out->n_rules == MAX_RULES) {
            avs_diag_add(p->d, "E024", n->pos, NULL, "more than %d rules", MAX_RULES);
            return;
        }
        const avs_expr *x = avs_parse_expr(p, n->items[i]);
        s->rules[s->out->n_rules] = (avs_condition){x, n->items[i]};
        s->out->rules[s->out->n_rules++] = (avs_sweep_rule){n->items[i]->s, is_require, n->items[i]->pos, 0};
    }
}

static void parse_kind(avs_parse *p, const avs_ynode *n, avs_stage_def *s)
{
    static const char *const kinds[] = {"train", "eval", "latency", "noop", "exec"};
    enum { N_KINDS = sizeof kinds / sizeof *kinds };
    s->out->kind = "train";
    if (!n) {
        avs_diag_add(p->d, "E010", s->node->pos, "write kind: train (or eval, latency, noop, exec)",
                     "%s has no kind",
                     strcmp(s->out->name, "main") == 0 ? "the sweep"
                                                       : avs_arena_fmt(p->a, "stage '%.60s'", s->out->name));
        return;
    }
    for (int i = 0; n->kind == AVS_Y_STR && i < N_KINDS; i++)
        if (strcmp(n->s, kinds[i]) == 0) {
            s->out->kind = kinds[i];
            return;
        }
    const char *near = n->kind == AVS_Y_STR ? avs_nearest(n->s, kinds, N_KINDS) : NULL;
    avs_diag_add(p->d, "E013", n->pos, near ? avs_arena_fmt(p->a, "did you mean '%s'?", near) : NULL,
                 "kind wants train, eval, latency, noop or exec, found %s",
                 n->kind == AVS_Y_STR ? avs_arena_fmt(p->a, "'%.60s'", n->s) : avs_yaml_kind(n));
}

/* ---- needs ------------------------------------------------------------------------------------------------------ */

/* any: keys need not be parameters of a model. */
static void parse_match(avs_parse *p, const avs_ynode *n, bool any, avs_need_def *need)
{
    if (!n || n->kind != AVS_Y_SEQ || n->n == 0) {
        avs_diag_add(p->d, n ? "E011" : "E010", n ? n->pos : need->node->pos, NULL,
                     "needs wants match: a list of the keys whose values must be equal");
        return;
    }
    need->match = AVS_NEW_N(p->a, const char *, n->n);
    if (!need->match) {
        p->d->no_memory = true;
        return;
    }
    for (uint32_t i = 0; i < n->n; i++) {
        const char *key = n->items[i]->s;
        bool known = any || strcmp(key, "seed") == 0;
        for (const char *const *m = avs_schema_models(); *m && !known; m++)
            known = avs_schema_find(*m, key) != NULL;
        if (!known)
            avs_diag_add(p->d, "E035", n->items[i]->pos, NULL,
                         "match names '%.60s', which is neither a parameter nor seed", key);
        need->match[need->n_match++] = key;
    }
}

static void parse_needs(avs_parse *p, const avs_ynode *n, int index, avs_stage_def *s)
{
    static const char *const keys[] = {"from", "match", "require", NULL};
    if (!n || !want_map(p, n, "needs")) return;
    s->needs = AVS_NEW_N(p->a, avs_need_def, n->n + 1);
    if (!s->needs) {
        p->d->no_memory = true;
        return;
    }
    if (n->n > MAX_NEEDS)
        avs_diag_add(p->d, "E024", n->pos, NULL, "more than %d needs in one stage", MAX_NEEDS);
    for (uint32_t i = 0; i < n->n && i < MAX_NEEDS; i++) {
        const avs_ynode *v = n->items[i];
        avs_need_def *need = &s->needs[s->n_needs++];
        *need = (avs_need_def){.alias = n->keys[i]->s, .node = n->keys[i], .from = -1};
        if (!want_map(p, v, "a need")) continue;
        (void)avs_check_keys(p->d, v, keys, "in 'needs'");
        parse_match(p, avs_yaml_get(v, "match"), strcmp(s->out->kind, "exec") == 0, need);
        const avs_ynode *require = avs_yaml_get(v, "require"), *from = avs_yaml_get(v, "from");
        if (require && strcmp(require->s, "done") != 0)
            avs_diag_add(p->d, "E013", require->pos, NULL, "require wants done, found '%.60s'", require->s);
        const char *names[MAX_STAGES] = {NULL};
        for (int k = 0; k < index; k++) {
            names[k] = p->sweep->stages[k].name;
            if (from && strcmp(from->s, names[k]) == 0) need->from = k;
        }
        if (need->from >= 0) continue;
        const char *near = from ? avs_nearest(from->s, names, index) : NULL;
        avs_diag_add(
            p->d, "E035", from ? from->pos : n->keys[i]->pos,
            near ? avs_arena_fmt(p->a, "did you mean '%s'?", near) : "a stage can only need stages above it",
            from ? "there is no stage '%.60s' above this one" : "'%.60s' does not say from which stage",
            from ? from->s : need->alias);
    }
}

/* Every ${alias.checkpoint.best} must name a need of the stage. */
static void check_references(avs_parse *p, const avs_ynode *n, const avs_stage_def *s)
{
    for (uint32_t i = 0; i < n->n; i++) check_references(p, n->items[i], s);
    if (n->kind != AVS_Y_STR) return;
    for (const char *at = strstr(n->s, "${"); at; at = strstr(at + 2, "${")) {
        size_t len = strcspn(at + 2, ".}");
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): parse_kind always sets it */
        if (at[2 + len] == '}' && strcmp(s->out->kind, "exec") == 0)
            continue; /* a parameter in its command */
        const char *what = at + 2 + len;
        bool known = false;
        for (int k = 0; k < s->n_needs; k++)
            known |= strlen(s->needs[k].alias) == len && strncmp(at + 2, s->needs[k].alias, len) == 0;
        avs_pos pos = avs_string_pos(n, (size_t)(at - n->s));
        if (!known)
            avs_diag_add(
                p->d, "E035", pos, "needs: {ALIAS: {from: STAGE, match: [..]}} names what a stage builds on",
                "'%.*s' is no alias under 'needs' of this stage", (int)(len < 60 ? len : 60), at + 2);
        else if (strncmp(what, ".checkpoint.", 12) != 0 && strncmp(what, ".artifact.", 10) != 0 &&
                 strncmp(what, ".metric.", 8) != 0)
            avs_diag_add(p->d, "E035", pos, NULL,
                         "after the alias comes .checkpoint.NAME, .artifact.NAME or .metric.NAME");
    }
}

/* ---- stages ------------------------------------------------------------------------------------------------------ */

static const avs_ynode *inherit(avs_parse *p, const avs_ynode *root, const avs_ynode *stage, const char *key)
{
    avs_ynode *own = stage == root ? NULL : avs_yaml_get(stage, key), *above = avs_yaml_get(root, key);
    avs_ynode *n = avs_yaml_merge(p->a, above, own);
    if (!n && (own || above)) p->d->no_memory = true;
    return n;
}

static void parse_stage(avs_parse *p, const avs_ynode *root, const avs_ynode *node, int index)
{
    avs_stage_def *s = &p->stages[index];
    int before = p->d->n_errors;
    p->n_axes = p->n_blocks = 0;
    s->node = node;
    s->out = &p->sweep->stages[index];
    s->out->rules = AVS_NEW_N(p->a, avs_sweep_rule, MAX_RULES);
    s->rules = AVS_NEW_N(p->a, avs_condition, MAX_RULES);
    if (!s->out->rules || !s->rules) {
        p->d->no_memory = true;
        return;
    }
    parse_kind(p, inherit(p, root, node, "kind"), s);
    parse_base(p, inherit(p, root, node, "base"), s);
    parse_lets(p, inherit(p, root, node, "let"), s);
    const avs_ynode *sweep = avs_yaml_get(node, "sweep");
    if (sweep) s->blocks = avs_parse_blocks(p, sweep);
    parse_rules(p, avs_yaml_get(root, "exclude"), "exclude", false, s);
    parse_rules(p, avs_yaml_get(root, "require"), "require", true, s);
    if (node != root) {
        parse_rules(p, avs_yaml_get(node, "exclude"), "exclude", false, s);
        parse_rules(p, avs_yaml_get(node, "require"), "require", true, s);
        parse_needs(p, avs_yaml_get(node, "needs"), index, s);
    }
    avs_parse_seeds(p,
                    node != root && avs_yaml_get(node, "seeds") ? avs_yaml_get(node, "seeds")
                                                                : avs_yaml_get(root, "seeds"),
                    s);
    const avs_ynode *resources = inherit(p, root, node, "resources"),
                    *limits = inherit(p, root, node, "limits");
    const avs_ynode *objective = inherit(p, root, node, "objective");
    avs_parse_resources(p, resources, s);
    avs_parse_limits(p, limits, &s->out->limits);
    avs_parse_order(p, inherit(p, root, node, "order"), s);
    avs_parse_objective(p, objective, s->out);
    const avs_ynode *own_stop = avs_yaml_get(node, "stop");
    bool learns = s->out->kind && strcmp(s->out->kind, "latency") != 0 && strcmp(s->out->kind, "eval") != 0;
    if (own_stop || learns) avs_parse_stop(p, own_stop ? own_stop : avs_yaml_get(root, "stop"), s->out);
    s->out->resources_json = as_json(p, resources);
    s->out->limits_json = as_json(p, limits);
    s->out->objective_json = as_json(p, objective);
    const avs_ynode *base = avs_yaml_get(root, "base"),
                    *own = node == root ? NULL : avs_yaml_get(node, "base");
    if (base) check_references(p, base, s);
    if (own) check_references(p, own, s);
    if (sweep) check_references(p, sweep, s);
    s->broken = p->d->n_errors > before || p->d->no_memory;
}

static bool good_name(const avs_ynode *n)
{
    if (n->kind >= AVS_Y_SEQ || n->len == 0 || n->len > 64 ||
        !(islower((unsigned char)n->s[0]) || isdigit((unsigned char)n->s[0])))
        return false;
    return strspn(n->s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n->len;
}

static const char *stage_name(avs_parse *p, const avs_ynode *stage, int index)
{
    static const char *const keys[] = {"name",      "kind",    "base",    "let",   "sweep",
                                       "needs",     "exclude", "require", "seeds", "objective",
                                       "resources", "limits",  "order",   "stop",  NULL};
    (void)avs_check_keys(p->d, stage, keys, "in a stage");
    const avs_ynode *name = avs_yaml_get(stage, "name");
    if (!name || !good_name(name)) {
        avs_diag_add(p->d, name ? "E040" : "E010", name ? name->pos : stage->pos, NULL,
                     "a stage wants a name of small letters, digits, '.', '_' and '-'");
        return "";
    }
    for (int i = 0; i < index; i++)
        if (strcmp(p->sweep->stages[i].name, name->s) == 0)
            avs_diag_add(p->d, "E036", name->pos, NULL, "two stages are called '%.60s'", name->s);
    return name->s;
}

static void check_head(avs_parse *p, const avs_ynode *root)
{
    const avs_ynode *version = avs_yaml_get(root, "avsweep"), *name = avs_yaml_get(root, "name");
    (void)avs_check_keys(p->d, root, avs_document_keys(), "at the top level");
    if (!version)
        avs_diag_add(p->d, "E010", root->pos, "a sweep begins with 'avsweep: 1'",
                     "the language version is missing");
    else if (version->kind != AVS_Y_INT || version->i != AVS_SWEEP_LANGUAGE)
        avs_diag_add(p->d, "E040", version->pos, NULL,
                     "this program reads language version %d, found '%.60s'", AVS_SWEEP_LANGUAGE, version->s);
    if (!name)
        avs_diag_add(p->d, "E010", root->pos, "write name: my-sweep", "the sweep has no name");
    else if (!good_name(name))
        avs_diag_add(
            p->d, "E040", name->pos, NULL,
            "a name is 1 to 64 small letters, digits, '.', '_', '-', and begins with a letter or digit");
    p->sweep->name = name ? name->s : "";
    if (avs_yaml_get(root, "stages") && avs_yaml_get(root, "sweep"))
        avs_diag_add(p->d, "E037", avs_yaml_key(root, "sweep")->pos, "move the blocks into the stages",
                     "a sweep has 'sweep' or 'stages', not both");
}

void avs_parse_stages(avs_parse *p, const avs_ynode *root)
{
    const avs_ynode *list = avs_yaml_get(root, "stages");
    uint32_t n = list && list->kind == AVS_Y_SEQ ? list->n : 1;
    check_head(p, root);
    if (list && (list->kind != AVS_Y_SEQ || list->n == 0 || list->n > MAX_STAGES)) {
        avs_diag_add(p->d, "E011", list->pos, NULL, "stages wants a list of 1 to %d stages", MAX_STAGES);
        return;
    }
    p->stages = AVS_NEW_N(p->a, avs_stage_def, n);
    p->sweep->stages = AVS_NEW_N(p->a, avs_sweep_stage, n);
    if (!p->stages || !p->sweep->stages) {
        p->d->no_memory = true;
        return;
    }
    for (uint32_t i = 0; i < n && !p->d->no_memory; i++) {
        const avs_ynode *node = list ? list->items[i] : root;
        if (list && !want_map(p, node, "a stage")) return;
        p->sweep->stages[i].name = list ? stage_name(p, node, (int)i) : "main";
        p->sweep->n_stages = (int)i + 1;
        parse_stage(p, root, node, (int)i);
    }
    avs_parse_report(p, avs_yaml_get(root, "report"));
}
