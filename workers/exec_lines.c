/* Bytes to lines, lines to frames. */
#include "workers/exec_lines.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

enum { NOTES = 5 };

static void note(avs_exec_stream *s, const char *what)
{
    if (++s->bad > NOTES) return;
    fprintf(stderr, "avsweep: line %lld on %s was not used: %s%s\n", (long long)s->number, s->what, what,
            s->bad == NOTES ? " (more are only counted)" : "");
}

/* Remembers a value; false when there is no room for another name. */
static bool remember(avs_exec_heard *h, const char *name, double value, bool is_result)
{
    for (int i = 0; i < h->n_names; i++)
        if (strcmp(h->names[i].name, name) == 0) {
            if (h->names[i].is_result && !is_result) return true;
            h->names[i].value = value;
            h->names[i].is_result = is_result;
            return true;
        }
    if (h->n_names == AVS_EXEC_NAMES || strlen(name) >= sizeof h->names[0].name) return false;
    (void)snprintf(h->names[h->n_names].name, sizeof h->names[0].name, "%s", name);
    h->names[h->n_names].value = value;
    h->names[h->n_names++].is_result = is_result;
    return true;
}

static bool is_number(const avs_json *v)
{
    return v && (v->kind == AVS_J_INT || v->kind == AVS_J_FLOAT) && isfinite(v->d);
}

static void take_results(avs_exec_stream *s, avs_exec_heard *h, const avs_json *line, const avs_json *results)
{
    const char *split = avs_json_str(line, "split", "");
    if (results->kind != AVS_J_OBJ || results->len == 0) {
        note(s, "result wants an object {name: number}");
        return;
    }
    for (const avs_json *r = results->first; r; r = r->next) {
        const bool rich = r->kind == AVS_J_OBJ;
        const avs_json *v = rich ? avs_json_get(r, "value") : r;
        const int64_t better = rich ? avs_json_int(r, "better", 0) : 0;
        if (!is_number(v)) {
            (void)snprintf(h->error, sizeof h->error, "the result %.100s is no finite number", r->key);
        } else if (better < -1 || better > 1 || !r->key[0] || !remember(h, r->key, v->d, true)) {
            note(s, "a result needs a name of 1 to 127 bytes, better is -1, 0 or 1, at most 256 names");
        } else {
            avs_control_result(s->control, r->key, split, v->d, rich ? avs_json_str(r, "unit", "") : "",
                               (int)better);
            h->n_results++;
        }
    }
}

/* "step" and numbers. */
static void take_points(avs_exec_stream *s, avs_exec_heard *h, const avs_json *line)
{
    const avs_json *step = avs_json_get(line, "step"), *steps = avs_json_get(line, "steps");
    if (!step || step->kind != AVS_J_INT || step->i < 0) {
        note(s, "neither a step (a whole number) nor result, checkpoint, artifact, resumed or error");
        return;
    }
    h->step = step->i;
    if (steps && steps->kind == AVS_J_INT) h->steps = steps->i;
    for (const avs_json *v = line->first; v; v = v->next) {
        if (v == step || v == steps || !is_number(v) || !v->key[0]) continue;
        if (!remember(h, v->key, v->d, false))
            note(s, "more than 256 names, or a name of more than 127 bytes");
        else
            avs_control_point(s->control, v->key, h->step, v->d);
    }
}

static void take_file(avs_exec_stream *s, avs_exec_heard *h, const avs_json *line, const char *path,
                      bool checkpoint)
{
    avs_err e = AVS_ERR_INIT;
    char whole[4096];
    const char *slash = strrchr(path, '/'),
               *kind = checkpoint ? "checkpoint" : avs_json_str(line, "kind", "file");
    const char *name = avs_json_str(line, "name", slash ? slash + 1 : path);
    const int64_t step = avs_json_int(line, "step", checkpoint ? h->step : -1);
    const int n = path[0] == '/' ? snprintf(whole, sizeof whole, "%s", path)
                                 : snprintf(whole, sizeof whole, "%s/%s", s->folder, path);
    if (n >= (int)sizeof whole)
        note(s, "the path is too long");
    else if (avs_control_file(s->control, name, kind, whole, step, &e) != AVS_OK)
        note(s, e.msg);
}

/* Python writes NaN and Infinity, which are no JSON; as something that is no number they cost their own value alone. */
static void mend(char *text)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    bool quoted = false;
    for (char *p = text; *p; p++) {
        if (*p == '\\' && quoted && p[1]) {
            p++;
            continue;
        }
        if (*p == '"') quoted = !quoted;
        for (int i = 0; !quoted && i < 3; i++) {
            const size_t n = strlen(words[i]);
            if (strncmp(p, words[i], n) != 0) continue;
            memset(p, ' ', n);
            memcpy(p, n < 4 ? "\"?\"" : "null",
                   n < 4 ? 3 : 4); /* null does not fit: a text is no number either */
            p += n - 1;
            break;
        }
    }
}

static void take_line(avs_exec_stream *s, avs_exec_heard *h, char *text, size_t n)
{
    avs_err e = AVS_ERR_INIT;
    avs_json *j = NULL;
    while (n > 0 && (text[n - 1] == '\r' || text[n - 1] == ' ')) n--;
    size_t from = strspn(text, " \t");
    if (from >= n || (s->only_objects && text[from] != '{')) return;
    text[n] = '\0';
    avs_arena *a = avs_arena_new();
    if (!a) return;
    mend(text);
    if (avs_json_parse(a, "line", text + from, n - from, &j, &e) != AVS_OK || j->kind != AVS_J_OBJ) {
        note(s, j ? "it is no object" : e.msg);
    } else {
        const avs_json *result = avs_json_get(j, "result");
        const char *ckpt = avs_json_str(j, "checkpoint", NULL), *file = avs_json_str(j, "artifact", NULL);
        const char *resumed = avs_json_str(j, "resumed", NULL), *error = avs_json_str(j, "error", NULL);
        if (result)
            take_results(s, h, j, result);
        else if (ckpt || file)
            take_file(s, h, j, ckpt ? ckpt : file, ckpt != NULL);
        else if (resumed)
            avs_control_resumed(s->control, resumed, avs_json_int(j, "step", 0));
        else if (error)
            (void)snprintf(h->error, sizeof h->error, "%s", error);
        else
            take_points(s, h, j);
        avs_control_progress(s->control, h->step, h->steps, 0, "", false);
    }
    avs_arena_free(a);
}

void avs_exec_feed(avs_exec_stream *s, avs_exec_heard *h, const char *data, size_t n)
{
    while (n > 0) {
        const char *nl = memchr(data, '\n', n);
        const size_t part = nl ? (size_t)(nl - data) : n;
        if (!s->skipping && s->line.len + part > AVS_EXEC_LINE) {
            s->skipping = true;
            avs_buf_free(&s->line);
        }
        if (!s->skipping) avs_buf_put(&s->line, data, part);
        if (!nl) return;
        s->number++;
        if (s->skipping) {
            note(s, "it is longer than 1 MiB");
        } else if (avs_buf_ok(&s->line) && s->line.len > 0) {
            take_line(s, h, s->line.data, s->line.len);
        }
        s->skipping = false;
        avs_buf_clear(&s->line);
        data = nl + 1;
        n -= part + 1;
    }
}

void avs_exec_end(avs_exec_stream *s, avs_exec_heard *h)
{
    if (s->line.len > 0 || s->skipping) avs_exec_feed(s, h, "\n", 1);
    if (s->bad > NOTES)
        fprintf(stderr, "avsweep: %lld lines on %s were not used\n", (long long)s->bad, s->what);
    avs_buf_free(&s->line);
}
