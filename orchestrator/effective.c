/* A value of avs_options came from the environment when it is the very string that getenv gives. */
#include "orchestrator/effective.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/command_io.h"
#include "orchestrator/commands.h"

static void line(const avs_options *o, avs_buf *out, const char *stage, const char *name, const char *value,
                 const char *source)
{
    if (!o->json) {
        if (stage)
            avs_buf_fmt(out, "%-12s %-26s %-24s %s\n", stage, name, value, source);
        else
            avs_buf_fmt(out, "%-26s %-24s %s\n", name, value, source);
        return;
    }
    avs_buf_str(out, "{\"type\":\"setting\",\"v\":1,\"stage\":");
    if (stage)
        avs_json_write_str(out, stage);
    else
        avs_buf_str(out, "null");
    avs_buf_str(out, ",\"name\":");
    avs_json_write_str(out, name);
    avs_buf_str(out, ",\"value\":");
    avs_json_write_str(out, value);
    avs_buf_str(out, ",\"source\":");
    avs_json_write_str(out, source);
    avs_buf_str(out, "}\n");
}

/* value: what the options say after parsing, NULL where nobody said anything. */
static void setting(const avs_options *o, avs_buf *out, const char *name, const char *value,
                    const char *const *variables, const char *fallback)
{
    char source[64] = "default";
    const char *shown = value ? value : fallback;
    if (value) snprintf(source, sizeof source, "option");
    for (; *variables; variables++) {
        const char *v = getenv(*variables);
        if (!v || !*v) continue;
        if (value && value != v) continue;
        shown = v;
        snprintf(source, sizeof source, "environment %.40s", *variables);
        break;
    }
    line(o, out, NULL, name, shown, source);
}
#define VARIABLES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The word; or the variable's own string when that is what said it. */
static const char *loud(const char *word)
{
    const char *v = getenv("AVSWEEP_LOG");
    return v && strcmp(v, word) == 0 ? v : word;
}

static void options_part(const avs_options *o, avs_buf *out)
{
    setting(o, out, "db", o->db, VARIABLES("AVSWEEP_DB"), "none");
    setting(o, out, "end-time", o->end_time, VARIABLES("AVSWEEP_END_TIME", "SLURM_JOB_END_TIME"), "none");
    setting(o, out, "cores", NULL, VARIABLES("AVSWEEP_CORES"), "those of the node");
    setting(o, out, "trial-program", o->trial_program, VARIABLES("AVSWEEP_TRIAL"), "beside avsweep");
    setting(o, out, "scratch", NULL, VARIABLES("AVSWEEP_SCRATCH", "TMPDIR"), "/tmp");
    setting(o, out, "weights", NULL, VARIABLES("AVSWEEP_WEIGHTS"), "weights");
    setting(o, out, "log",
            o->quiet         ? loud("quiet")
            : o->verbose > 1 ? loud("debug")
            : o->verbose     ? loud("verbose")
                             : NULL,
            VARIABLES("AVSWEEP_LOG"), "normal");
    setting(o, out, "backend", NULL, VARIABLES("AVSWEEP_BACKEND"), "by the trial's GPUs");
    setting(o, out, "comm", NULL, VARIABLES("AVSWEEP_COMM"), "by the trial's GPUs");
    setting(o, out, "color", o->color, VARIABLES("NO_COLOR"), "auto");
    setting(o, out, "format", o->format, VARIABLES(NULL), "text");
}

static void stage_part(const avs_options *o, avs_buf *out, const avs_sweep *s, const avs_sweep_stage *g)
{
    avs_arena *a = avs_arena_new();
    avs_json *params = NULL;
    if (!a || g->n_trials == 0) {
        avs_arena_free(a);
        return;
    }
    const avs_sweep_config *c = g->trials[0]->config;
    const char *text = avs_sweep_params(s, c, a);
    const avs_json *axes = avs_sweep_axes(s, c, a);
    if (text && avs_json_parse(a, "params", text, strlen(text), &params, NULL) == AVS_OK)
        for (const avs_json *m = params->first; m; m = m->next) {
            avs_buf value = AVS_BUF_INIT;
            if (m->kind == AVS_J_STR)
                avs_buf_put(&value, m->s, m->len);
            else
                avs_json_write(&value, m, true);
            const char *source = avs_json_get(axes, m->key) ? "sweep or let (first configuration)"
                                                            : avs_json_str(g->base_from, m->key, "default");
            line(o, out, g->name, m->key, avs_buf_cstr(&value), source);
            avs_buf_free(&value);
        }
    avs_arena_free(a);
}

int avs_show_effective(const avs_options *o)
{
    avs_buf b = AVS_BUF_INIT;
    options_part(o, &b);
    if (o->n_words > 0) {
        avs_arena *a = avs_arena_new();
        const avs_sweep *s = a ? avs_load_sweep(a, o) : NULL;
        for (int i = 0; s && i < s->n_stages; i++) stage_part(o, &b, s, &s->stages[i]);
        avs_arena_free(a);
        if (!s) {
            avs_buf_free(&b);
            return AVS_EXIT_SWEEP;
        }
    }
    return avs_print(&b);
}
