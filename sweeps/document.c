/* Includes, profiles, overrides and variables, in that order. Merging keeps the place of every node, so that a value
 * that comes from an included file or from --set is reported where it was written. */
#include "sweeps/document.h"

#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/hash.h"
#include "models/schema.h"

enum { MAX_SOURCES = 64, MAX_CHAIN = 16, MAX_STRING = 1 << 16 };

typedef struct {
    avs_arena *a;
    const avs_sweep_options *o;
    avs_diag *d;
    avs_document *doc;
    avs_err *e;
    const avs_ynode *vars;
    avs_ynode **resolved;               /* of vars, once each */
    const char *chain[MAX_CHAIN];       /* files being read, for cycles */
    int n_chain, var_depth, in_command; /* in_command: inside a key `command` */
    uint64_t nodes;
} loader;

const char *const *avs_document_keys(void)
{
    static const char *const keys[] = {"avsweep", "name",  "include",   "vars",      "base",
                                       "let",     "sweep", "stages",    "exclude",   "require",
                                       "seeds",   "kind",  "objective", "resources", "limits",
                                       "order",   "stop",  "report",    "profiles",  NULL};
    return keys;
}

bool avs_check_keys(avs_diag *d, const avs_ynode *map, const char *const *names, const char *where)
{
    int n = 0;
    bool ok = true;
    while (names[n]) n++;
    for (uint32_t i = 0; i < map->n; i++) {
        bool known = false;
        for (int k = 0; k < n; k++) known |= strcmp(map->keys[i]->s, names[k]) == 0;
        if (known) continue;
        const char *near = avs_nearest(map->keys[i]->s, names, n);
        avs_buf list = AVS_BUF_INIT;
        if (near)
            avs_buf_fmt(&list, "did you mean '%s'?", near);
        else
            avs_buf_str(&list, "the keys are");
        for (int k = 0; !near && k < n; k++) avs_buf_fmt(&list, "%s %s", k ? "," : "", names[k]);
        avs_diag_add(d, "E012", map->keys[i]->pos, avs_buf_cstr(&list), "unknown key '%.60s' %s",
                     map->keys[i]->s, where);
        avs_buf_free(&list);
        ok = false;
    }
    return ok;
}

static avs_ynode *no_memory(loader *l)
{
    l->d->no_memory = true;
    return NULL;
}

static avs_source *add_source(loader *l, const char *path, const char *text, size_t n)
{
    avs_source *src = AVS_NEW(l->a, avs_source);
    if (!src || !text) return (void)no_memory(l), NULL;
    bool bom = n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0;
    *src = (avs_source){path, text + (bom ? 3 : 0), n - (bom ? 3 : 0), false};
    avs_sweep_source *s = &l->doc->sources[l->doc->n_sources++];
    s->src = src;
    avs_sha256_of(text, n, s->sha256);
    return src;
}

static avs_ynode *read_source(loader *l, const avs_source *src);

/* path next to the file `from`. */
static const char *beside(loader *l, const char *from, const char *path)
{
    const char *slash = strrchr(from, '/');
    if (path[0] == '/' || !slash) return avs_arena_str(l->a, path);
    return avs_arena_fmt(l->a, "%.*s/%s", (int)(slash - from), from, path);
}

static avs_ynode *include_one(loader *l, const avs_source *from, const avs_ynode *item)
{
    if (item->kind != AVS_Y_STR || item->len == 0) {
        avs_diag_add(l->d, "E011", item->pos, NULL, "include wants file names, found %s",
                     avs_yaml_kind(item));
        return NULL;
    }
    const char *path = beside(l, from->path, item->s);
    if (!path) return no_memory(l);
    for (int i = 0; i < l->n_chain; i++)
        if (strcmp(l->chain[i], path) == 0) {
            avs_diag_add(l->d, "E046", item->pos, NULL, "'%.200s' includes itself", path);
            return NULL;
        }
    if (l->doc->n_sources == MAX_SOURCES || l->n_chain == MAX_CHAIN) {
        avs_diag_add(l->d, "E046", item->pos, NULL, "more than %d files, or includes nested deeper than %d",
                     MAX_SOURCES, MAX_CHAIN);
        return NULL;
    }
    avs_buf text = AVS_BUF_INIT;
    avs_err e = AVS_ERR_INIT;
    avs_ynode *root = NULL;
    if (avs_fs_read(path, AVS_YAML_BYTES, &text, &e) != AVS_OK) {
        avs_diag_add(l->d, "E009", item->pos, NULL, "%s", e.msg);
    } else {
        const avs_source *src =
            add_source(l, path, avs_arena_strn(l->a, avs_buf_cstr(&text), text.len), text.len);
        if (src) {
            l->chain[l->n_chain++] = path;
            root = read_source(l, src);
            l->n_chain--;
        }
    }
    avs_buf_free(&text);
    return root;
}

/* A file with what it includes merged under it. */
static avs_ynode *read_source(loader *l, const avs_source *src)
{
    avs_ynode *root = avs_yaml_parse(l->a, src, l->d), *below = NULL;
    if (!root) return NULL;
    if (root->kind != AVS_Y_MAP) {
        avs_diag_add(l->d, "E011", root->pos, "a sweep begins with 'avsweep: 1'",
                     "a sweep is a map, found %s", avs_yaml_kind(root));
        return NULL;
    }
    l->nodes += root->size;
    if (l->nodes > AVS_YAML_NODES) {
        avs_diag_add(l->d, "E008", root->pos, NULL, "the files have more than %d nodes together",
                     AVS_YAML_NODES);
        return NULL;
    }
    const avs_ynode *include = avs_yaml_get(root, "include");
    if (!include) return root;
    uint32_t n = include->kind == AVS_Y_SEQ ? include->n : 1;
    for (uint32_t i = 0; i < n; i++) {
        avs_ynode *one = include_one(l, src, include->kind == AVS_Y_SEQ ? include->items[i] : include);
        if (!one) return NULL;
        below = avs_yaml_merge(l->a, below, one);
        if (!below) return no_memory(l);
    }
    root = avs_yaml_merge(l->a, below, root);
    return root ? root : no_memory(l);
}

/* ---- --set and profiles -------------------------------------------------------------------------------------- */

static bool is_top_key(const char *word, size_t len)
{
    for (const char *const *k = avs_document_keys(); *k; k++)
        if (strlen(*k) == len && strncmp(*k, word, len) == 0) return true;
    return false;
}

/* A copy of the list of stages in which the stages that `by_name` names are merged with what it says. */
static avs_ynode *merge_stages(loader *l, const avs_ynode *list, const avs_ynode *by_name)
{
    avs_ynode *out = AVS_NEW(l->a, avs_ynode);
    if (!out) return no_memory(l);
    *out = *list;
    out->items = AVS_NEW_N(l->a, avs_ynode *, list->n + 1);
    if (!out->items) return no_memory(l);
    for (uint32_t i = 0; i < list->n; i++) out->items[i] = list->items[i];
    for (uint32_t k = 0; k < by_name->n; k++) {
        uint32_t at = 0;
        for (; at < list->n; at++) {
            const avs_ynode *name = avs_yaml_get(list->items[at], "name");
            if (name && name->s && strcmp(name->s, by_name->keys[k]->s) == 0) break;
        }
        if (at == list->n) {
            avs_diag_add(l->d, "E047", by_name->keys[k]->pos, NULL, "there is no stage '%.60s'",
                         by_name->keys[k]->s);
            return NULL;
        }
        out->items[at] = avs_yaml_merge(l->a, out->items[at], by_name->items[k]);
        if (!out->items[at]) return no_memory(l);
    }
    return out;
}

/* `over` on top of the document. A map under `stages` reaches stages by their names. */
static avs_ynode *lay_over(loader *l, avs_ynode *root, avs_ynode *over)
{
    avs_ynode *list = avs_yaml_get(root, "stages"), *by_name = avs_yaml_get(over, "stages");
    bool named = list && by_name && list->kind == AVS_Y_SEQ && by_name->kind == AVS_Y_MAP;
    avs_ynode *stages = named ? merge_stages(l, list, by_name) : NULL;
    if (named && !stages) return NULL;
    root = avs_yaml_merge(l->a, root, over);
    if (!root) return no_memory(l);
    for (uint32_t i = 0; named && i < root->n; i++)
        if (strcmp(root->keys[i]->s, "stages") == 0) root->items[i] = stages;
    return root;
}

static avs_ynode *apply_set(loader *l, avs_ynode *root, const char *set)
{
    const char *eq = strchr(set, '=');
    avs_source *src = AVS_NEW(l->a, avs_source);
    if (!src) return no_memory(l);
    *src = (avs_source){.path = "--set", .text = set, .len = strlen(set), .is_option = true};
    avs_pos pos = {src, 1, 1, eq ? (uint32_t)(eq - set) : 1};
    if (!eq || eq == set || strlen(set) > MAX_STRING) {
        avs_diag_add(l->d, "E048", pos, NULL, "--set wants KEY=VALUE");
        return NULL;
    }
    char *path = avs_arena_strn(l->a, set, (size_t)(eq - set));
    avs_source *value_src = AVS_NEW(l->a, avs_source);
    if (!path || !value_src) return no_memory(l);
    *value_src = (avs_source){.path = avs_arena_fmt(l->a, "--set %s", path),
                              .text = eq + 1,
                              .len = strlen(eq + 1),
                              .is_option = true};
    if (!value_src->path) return no_memory(l);
    avs_ynode *value = avs_yaml_parse(l->a, value_src, l->d);
    if (!value) return NULL;
    const char *dot = strchr(path, '.');
    size_t first = dot ? (size_t)(dot - path) : strlen(path);
    if (!is_top_key(path, first)) {
        if (dot) {
            avs_diag_add(l->d, "E048", pos, "begin with base., vars. or another key of the top level",
                         "'%.*s' is no key of a sweep", (int)first, path);
            return NULL;
        }
        const char *home = avs_yaml_get(avs_yaml_get(root, "vars"), path) ? "vars" : "base";
        path = avs_arena_fmt(l->a, "%s.%s", home, path);
        if (!path) return no_memory(l);
    }
    int levels = 0;
    for (char *cut = path + strlen(path); cut >= path; cut--) {
        if (cut != path && cut[-1] != '.') continue;
        if (*cut == '\0' || ++levels > 8) {
            avs_diag_add(l->d, "E048", pos, NULL, "'%.60s' is no path of keys", set);
            return NULL;
        }
        value = avs_yaml_map(l->a, avs_arena_str(l->a, cut), pos, value);
        if (!value) return no_memory(l);
        if (cut != path) cut[-1] = '\0';
    }
    return lay_over(l, root, value);
}

static avs_ynode *apply_profile(loader *l, avs_ynode *root, const char *name)
{
    static const char *const own[] = {"avsweep", "include", "profiles"};
    const avs_ynode *profiles = avs_yaml_get(root, "profiles");
    avs_ynode *chosen = avs_yaml_get(profiles, name);
    avs_pos pos = profiles ? avs_yaml_key(root, "profiles")->pos : root->pos;
    if (!chosen || chosen->kind != AVS_Y_MAP) {
        avs_diag_add(l->d, "E047", chosen ? chosen->pos : pos, NULL,
                     chosen ? "profile '%.60s' is no map" : "there is no profile '%.60s'", name);
        return NULL;
    }
    for (int i = 0; i < 3; i++)
        if (avs_yaml_get(chosen, own[i])) {
            avs_diag_add(l->d, "E047", avs_yaml_key(chosen, own[i])->pos, NULL, "a profile cannot set '%s'",
                         own[i]);
            return NULL;
        }
    return lay_over(l, root, chosen);
}

static avs_ynode *apply_options(loader *l, avs_ynode *root)
{
    for (int i = 0; root && i < l->o->n_sets; i++)
        if (strncmp(l->o->sets[i], "profile=", 8) == 0) root = apply_profile(l, root, l->o->sets[i] + 8);
    for (int i = 0; root && i < l->o->n_sets; i++)
        if (strncmp(l->o->sets[i], "profile=", 8) != 0) root = apply_set(l, root, l->o->sets[i]);
    return root;
}

/* ---- variables ------------------------------------------------------------------------------------------------ */

static avs_ynode *substitute(loader *l, avs_ynode *n);

static avs_ynode *env_value(loader *l, const avs_ynode *at, const char *name)
{
    const char *value = getenv(name);
    if (!l->o->allow_env) {
        avs_diag_add(l->d, "E033", at->pos, "pass --allow-env; the value is recorded with the sweep",
                     "${env:%.60s} reads the environment", name);
        return NULL;
    }
    if (!value) {
        avs_diag_add(l->d, "E033", at->pos, NULL, "the environment has no %.60s", name);
        return NULL;
    }
    avs_ynode *n = AVS_NEW(l->a, avs_ynode);
    if (!n) return no_memory(l);
    *n = (avs_ynode){.kind = AVS_Y_STR, .pos = at->pos, .plain = true, .size = 1, .height = 1};
    n->s = avs_arena_str(l->a, value);
    if (!n->s) return no_memory(l);
    n->len = strlen(n->s);
    for (size_t i = 0, step; i < n->len; i += step) {
        step = avs_utf8_len(n->s + i, n->len - i);
        if (step == 0) {
            avs_diag_add(l->d, "E033", at->pos, NULL, "the value of %.60s is no UTF-8", name);
            return NULL;
        }
    }
    avs_yaml_resolve(n);
    if (!avs_json_get(l->doc->env, name) && !avs_json_add_str(l->a, l->doc->env, name, value))
        return no_memory(l);
    return n;
}

static avs_ynode *var_value(loader *l, const avs_ynode *at, const char *name)
{
    if (strncmp(name, "env:", 4) == 0) return env_value(l, at, name + 4);
    uint32_t at_var = 0;
    while (l->vars && at_var < l->vars->n && strcmp(l->vars->keys[at_var]->s, name) != 0) at_var++;
    if (!l->vars || at_var == l->vars->n) {
        const char *names[64] = {NULL};
        int n = 0;
        for (; l->vars && n < 64 && (uint32_t)n < l->vars->n; n++) names[n] = l->vars->keys[n]->s;
        const char *near = avs_nearest(name, names, n);
        avs_diag_add(l->d, "E032", at->pos, near ? avs_arena_fmt(l->a, "did you mean '${%s}'?", near) : NULL,
                     "there is no variable '%.60s' under 'vars'", name);
        return NULL;
    }
    if (++l->var_depth > MAX_CHAIN) {
        avs_diag_add(l->d, "E032", at->pos, NULL, "the variable '%.60s' refers to itself", name);
        return NULL;
    }
    if (!l->resolved[at_var]) l->resolved[at_var] = substitute(l, l->vars->items[at_var]);
    l->var_depth--;
    return l->resolved[at_var];
}

/* Length of "${name}" at s, or 0 when it is no variable: "${stage.checkpoint.best}" stays for the trial. */
static size_t reference(const char *s, size_t *name_len)
{
    if (s[0] != '$' || s[1] != '{') return 0;
    size_t n = strcspn(s + 2, "}.");
    if (s[2 + n] != '}') return 0;
    *name_len = n;
    return n + 3;
}

static bool is_var(const loader *l, const char *name)
{
    if (strncmp(name, "env:", 4) == 0) return true;
    for (uint32_t i = 0; l->vars && i < l->vars->n; i++)
        if (strcmp(l->vars->keys[i]->s, name) == 0) return true;
    return false;
}

static avs_ynode *substitute_string(loader *l, avs_ynode *n)
{
    avs_buf out = AVS_BUF_INIT;
    avs_ynode *result = NULL;
    for (size_t i = 0; i < n->len;) {
        size_t name_len = 0, len = reference(n->s + i, &name_len);
        if (len == 0) {
            avs_buf_char(&out, n->s[i++]);
            continue;
        }
        const char *name = avs_arena_strn(l->a, n->s + i + 2, name_len);
        if (name && l->in_command && !is_var(l, name)) { /* a parameter, for the trial */
            avs_buf_put(&out, n->s + i, len);
            i += len;
            continue;
        }
        const avs_ynode *value = name ? var_value(l, n, name) : no_memory(l);
        if (!value) goto done;
        if (len == n->len) { /* the whole string: the value keeps its type */
            result = AVS_NEW(l->a, avs_ynode);
            if (!result)
                (void)no_memory(l);
            else {
                *result = *value;
                result->pos = n->pos;
            }
            goto done;
        }
        if (value->kind >= AVS_Y_SEQ || out.len + value->len > MAX_STRING) {
            avs_diag_add(l->d, "E032", n->pos, NULL, "'%.60s' is %s and cannot stand inside a string", name,
                         value->kind >= AVS_Y_SEQ ? avs_yaml_kind(value) : "too long");
            goto done;
        }
        avs_buf_put(&out, value->s, value->len);
        i += len;
    }
    result = AVS_NEW(l->a, avs_ynode);
    if (!result || !avs_buf_ok(&out)) {
        result = no_memory(l);
        goto done;
    }
    *result = *n;
    result->s = avs_arena_strn(l->a, avs_buf_cstr(&out), out.len);
    result->len = out.len;
    if (!result->s) result = no_memory(l);
done:
    avs_buf_free(&out);
    return result;
}

static avs_ynode *substitute(loader *l, avs_ynode *n)
{
    if (n->kind == AVS_Y_STR && strstr(n->s, "${")) return substitute_string(l, n);
    bool changed = false;
    avs_ynode *copy = n;
    for (uint32_t i = 0; i < n->n; i++) {
        const bool command =
            n->kind == AVS_Y_MAP && strcmp(n->keys[i]->s, "command") == 0; /* of kind: exec */
        l->in_command += command;
        avs_ynode *item = substitute(l, n->items[i]);
        l->in_command -= command;
        if (!item) return NULL;
        if (item == n->items[i]) continue;
        if (!changed) {
            copy = AVS_NEW(l->a, avs_ynode);
            if (!copy) return no_memory(l);
            *copy = *n;
            copy->items = avs_arena_dup(l->a, n->items, n->n * sizeof *n->items);
            if (!copy->items) return no_memory(l);
            changed = true;
        }
        copy->items[i] = item;
    }
    if (!changed) return n;
    copy->size = 1;
    copy->height = 1;
    for (uint32_t i = 0; i < n->n && copy->size <= AVS_YAML_NODES; i++) {
        copy->size += copy->items[i]->size + (n->kind == AVS_Y_MAP);
        if (copy->items[i]->height >= copy->height) copy->height = copy->items[i]->height + 1;
    }
    if (copy->size <= AVS_YAML_NODES && copy->height <= AVS_YAML_DEPTH) return copy;
    avs_diag_add(l->d, "E008", n->pos, NULL, "the variables grow the document above %d nodes or %d levels",
                 AVS_YAML_NODES, AVS_YAML_DEPTH);
    return NULL;
}

/* Every top-level value in turn, so that several unknown variables are reported at once. */
static avs_ynode *finish(loader *l, avs_ynode *root)
{
    static const char *const used_up[] = {"include", "vars", "profiles"};
    avs_ynode *out = AVS_NEW(l->a, avs_ynode);
    bool ok = true;
    l->vars = avs_yaml_get(root, "vars");
    if (l->vars && l->vars->kind != AVS_Y_MAP) {
        avs_diag_add(l->d, "E011", l->vars->pos, NULL, "vars wants a map, found %s", avs_yaml_kind(l->vars));
        return NULL;
    }
    l->resolved = AVS_NEW_N(l->a, avs_ynode *, l->vars ? l->vars->n + 1 : 1);
    if (!out || !l->resolved) return no_memory(l);
    *out = *root;
    out->keys = AVS_NEW_N(l->a, avs_ynode *, root->n + 1);
    out->items = AVS_NEW_N(l->a, avs_ynode *, root->n + 1);
    out->n = 0;
    if (!out->keys || !out->items) return no_memory(l);
    for (uint32_t i = 0; i < root->n; i++) {
        bool skip = false;
        for (int k = 0; k < 3; k++) skip |= strcmp(root->keys[i]->s, used_up[k]) == 0;
        if (skip) continue;
        avs_ynode *item = substitute(l, root->items[i]);
        ok = ok && item;
        out->keys[out->n] = root->keys[i];
        out->items[out->n++] = item;
    }
    return ok ? out : NULL;
}

int avs_document_load(avs_arena *a, const char *path, const char *text, size_t n, const avs_sweep_options *o,
                      avs_diag *d, avs_document *out, avs_err *e)
{
    avs_buf file = AVS_BUF_INIT;
    loader l = {.a = a, .o = o, .d = d, .doc = out, .e = e};
    int rc = AVS_OK;
    *out = (avs_document){.sources = AVS_NEW_N(a, avs_sweep_source, MAX_SOURCES),
                          .env = avs_json_new(a, AVS_J_OBJ)};
    if (!out->sources || !out->env) return avs_fail(e, AVS_ENOMEM, "%s: no memory to read the sweep", path);
    if (!text) {
        AVS_TRY(avs_fs_read(path, (size_t)2 * AVS_YAML_BYTES, &file, e));
        text = avs_buf_cstr(&file);
        n = file.len;
    }
    path = avs_arena_str(a, path);
    const avs_source *src = path ? add_source(&l, path, avs_arena_strn(a, text, n), n) : NULL;
    if (src) {
        l.chain[l.n_chain++] = path;
        avs_ynode *root = read_source(&l, src);
        if (root) root = apply_options(&l, root);
        out->root = root ? finish(&l, root) : NULL;
    }
    if (d->no_memory)
        rc = avs_fail(e, AVS_ENOMEM, "%s: no memory to read the sweep", path ? path : "");
    else if (!out->root)
        rc = avs_fail(e, AVS_EPARSE, "%s has errors", path);
out:
    avs_buf_free(&file);
    return rc;
}
