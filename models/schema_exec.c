/* The parameters of an external command (kind: exec): any names, and five with a meaning.
 *
 *   command  list of words: the program and its arguments; `${name}` stands for a parameter, for seed, or for one of
 *            the words of `builtin` below
 *   metrics  fd3 (default) or stdout: where the command writes its JSON lines
 *   cwd      folder in which it starts; default: where `avsweep run` was called
 *   code     list of files whose content is the code fingerprint; default: those of the command's words that are files
 *   model, task, data_root: free strings, for tables
 * cwd, code, metrics and data_root are no part of the identity. docs/exec-trials.md */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "models/schema_cfg.h"

static const char *const builtin[] = {"seed",  "params",  "work_dir", "attempt",
                                      "trial", "threads", "rank",     "ranks"};
enum { N_BUILTIN = sizeof builtin / sizeof *builtin };

static bool is_builtin(const char *name, size_t n)
{
    for (int i = 0; i < N_BUILTIN; i++)
        if (strlen(builtin[i]) == n && strncmp(builtin[i], name, n) == 0) return true;
    return false;
}

static bool plain_name(const char *s)
{
    if (!isalpha((unsigned char)*s) && *s != '_') return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("_-.", *s)) return false;
    return true;
}

static void problem(avs_cfg *c, avs_problem_kind kind, const char *key, int order, const char *help,
                    const char *fmt, ...) __attribute__((format(printf, 6, 7)));
static void problem(avs_cfg *c, avs_problem_kind kind, const char *key, int order, const char *help,
                    const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    const char *kept = avs_arena_str(c->a, text);
    if (!kept) c->no_memory = true;
    avs_cfg_problem_at(c, kind, key, order, NULL, kept ? kept : "", help);
}

static bool is_words(const avs_json *v, bool may_be_empty)
{
    if (v->kind != AVS_J_ARR || (!may_be_empty && v->len == 0)) return false;
    for (const avs_json *w = v->first; w; w = w->next)
        if (w->kind == AVS_J_OBJ || w->kind == AVS_J_ARR || w->kind == AVS_J_NULL) return false;
    return v->len == 0 || may_be_empty || (v->first && v->first->kind == AVS_J_STR && v->first->len > 0);
}

/* Every ${name} of the command must mean something. */
static void check_command(avs_cfg *c, const avs_json *given, const avs_json *command, int order)
{
    if (!is_words(command, false)) {
        problem(c, AVS_P_TYPE, "command", order, "write command: [python3, train.py, --lr, \"${lr}\"]",
                "command is a list of words that begins with the program");
        return;
    }
    for (const avs_json *w = command->first; w; w = w->next) {
        for (const char *p = w->kind == AVS_J_STR ? strstr(w->s, "${") : NULL; p; p = strstr(p, "${")) {
            p += 2;
            const size_t n = strcspn(p, "}");
            const char *name = avs_arena_strn(c->a, p, n);
            if (!name) c->no_memory = true;
            if (!name || strchr(name, '.')) continue; /* of another stage */
            if (p[n] && (is_builtin(p, n) || avs_json_get(given, name))) continue;
            const char *names[AVS_CFG_MAX_RULES];
            int k = 0;
            for (const avs_json *g = given->first; g && k < AVS_CFG_MAX_RULES; g = g->next)
                names[k++] = g->key;
            const char *near = avs_nearest(name, names, k);
            problem(c, AVS_P_UNKNOWN, "command", order,
                    near ? avs_arena_fmt(c->a, "did you mean '${%s}'?", near)
                         : "parameters and seed, params, work_dir, "
                           "attempt, trial, threads, rank, ranks can be named",
                    "the command names ${%.60s}, which is no parameter", name);
        }
    }
}

static void check_value(avs_cfg *c, const avs_json *given, const avs_json *v, int order)
{
    const bool text = v->kind == AVS_J_STR;
    if (strcmp(v->key, "seed") == 0)
        problem(c, AVS_P_RESERVED, v->key, order, "use seeds",
                "'seed' is set by the key `seeds` of the sweep");
    else if (!plain_name(v->key))
        problem(c, AVS_P_UNKNOWN, v->key, order, "letters, digits, _ . and -, a letter first",
                "'%.60s' is no name for a parameter", v->key);
    else if (v->kind == AVS_J_OBJ)
        problem(c, AVS_P_TYPE, v->key, order, NULL, "'%.60s' is a map; a parameter is a value or a list",
                v->key);
    else if (strcmp(v->key, "command") == 0)
        check_command(c, given, v, order);
    else if (strcmp(v->key, "metrics") == 0 &&
             !(text && (strcmp(v->s, "fd3") == 0 || strcmp(v->s, "stdout") == 0)))
        problem(c, AVS_P_OPTION, v->key, order, NULL, "metrics is fd3 or stdout");
    else if (strcmp(v->key, "code") == 0 && !is_words(v, true))
        problem(c, AVS_P_TYPE, v->key, order, NULL, "code is a list of files");
    else if (!text && (strcmp(v->key, "cwd") == 0 || strcmp(v->key, "model") == 0 ||
                       strcmp(v->key, "task") == 0 || strcmp(v->key, "data_root") == 0))
        problem(c, AVS_P_TYPE, v->key, order, NULL, "'%.60s' wants a text", v->key);
}

static bool in_identity(const char *key)
{
    static const char *const outside[] = {"cwd", "code", "metrics", "data_root"};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        if (strcmp(key, outside[i]) == 0) return false;
    return true;
}

static bool copy_into(avs_cfg *c, avs_json *object, const avs_json *v)
{
    avs_json *own = avs_arena_dup(c->a, v, sizeof *v);
    if (!own) return false;
    own->next = NULL;
    return avs_json_add(c->a, object, v->key, own) != NULL;
}

/* Slots for model, task and data_root, which everything else asks for by name. */
static bool make_slots(avs_cfg *c, const avs_json *given)
{
    static const avs_param_spec specs[] = {
        {"model", AVS_P_STRING, 0, 0, NULL, "", "-", "a name for tables", AVS_G_MODEL},
        {"task", AVS_P_STRING, 0, 0, NULL, "", "-", "a name for tables", AVS_G_MODEL},
        {"data_root", AVS_P_STRING, 0, 0, NULL, "", "-", "a folder", AVS_G_MODEL},
        {NULL, AVS_P_STRING, 0, 0, NULL, NULL, NULL, NULL, AVS_G_MODEL}};
    c->specs = specs;
    c->n = 3;
    c->slots = AVS_NEW_N(c->a, avs_slot, 3);
    if (!c->slots) return false;
    for (int i = 0; i < 3; i++) {
        const char *s = avs_json_str(given, specs[i].name, NULL);
        c->slots[i] =
            (avs_slot){.state = AVS_SLOT_DONE, .given = s != NULL, .active = s != NULL, .s = s ? s : ""};
    }
    return true;
}

void avs_cfg_take_exec(avs_cfg *c, const avs_json *given)
{
    int order = 0;
    c->model = "";
    c->json = avs_json_new(c->a, AVS_J_OBJ);
    c->identity = avs_json_new(c->a, AVS_J_OBJ);
    if (!c->json || !c->identity || !make_slots(c, given)) {
        c->no_memory = true;
        return;
    }
    if (!avs_json_get(given, "command"))
        problem(c, AVS_P_MISSING, "command", -1, "write command: [python3, train.py, --lr, \"${lr}\"]",
                "kind: exec needs a command");
    for (const avs_json *v = given->first; v; v = v->next, order++) {
        check_value(c, given, v, order);
        if (!copy_into(c, c->json, v)) c->no_memory = true;
        if (in_identity(v->key) && !copy_into(c, c->identity, v)) c->no_memory = true;
    }
}
